#include "shard/balance.h"

#include "shard/shard.h"

#include <assert.h>

enum {
    SLACK_MIN = 8,
    SLACK_PART = 32, /* of the mean */
};

uint64_t hcs_balance_limit(uint64_t connections, unsigned loops)
{
    uint64_t mean = connections / loops;
    uint64_t slack = mean / SLACK_PART;

    return mean + (slack > SLACK_MIN ? slack : SLACK_MIN);
}

static uint64_t open_in(const struct hcs_shard *shard)
{
    return hcs_counter_get(&shard->counts.connections);
}

static uint64_t open_in_all(const struct hcs_service *service)
{
    return atomic_load_explicit(&service->connections, memory_order_relaxed);
}

bool hcs_balance_is_heavy(const struct hcs_shard *shard)
{
    const struct hcs_service *service = shard->service;

    return open_in(shard) >
           hcs_balance_limit(open_in_all(service), service->shard_count);
}

bool hcs_balance_is_light(const struct hcs_shard *shard)
{
    const struct hcs_service *service = shard->service;

    return open_in(shard) * service->shard_count <= open_in_all(service);
}

static struct hcs_shard *find_lightest(const struct hcs_shard *but)
{
    const struct hcs_service *service = but->service;
    struct hcs_shard *lightest = NULL;

    for (unsigned i = 0; i < service->shard_count; i++) {
        struct hcs_shard *shard = service->shards[i];

        if (shard != but &&
            (lightest == NULL || open_in(shard) < open_in(lightest))) {
            lightest = shard;
        }
    }
    return lightest;
}

void hcs_balance_hand_over(struct hcs_shard *shard)
{
    const struct hcs_service *service = shard->service;
    /* What it goes by may be old by now. Any other loop will do. */
    struct hcs_shard *lightest = find_lightest(shard);

    assert(lightest != NULL);
    for (unsigned i = 0; i < service->shard_count; i++) {
        struct hcs_shard *other = service->shards[i];

        if (other == lightest || (other != shard && hcs_shard_rests(other) &&
                                     hcs_balance_is_light(other))) {
            hcs_shard_ask(other);
        }
    }
}
