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

static uint64_t open_in_all(const struct hcs_service *service)
{
    return hcs_gate_connections(&service->gate);
}

bool hcs_balance_is_over_share(const struct hcs_shard *shard)
{
    const struct hcs_service *service = shard->service;

    return hcs_shard_connections(shard) >
           hcs_balance_limit(open_in_all(service), service->shard_count);
}

bool hcs_balance_is_under_share(const struct hcs_shard *shard)
{
    const struct hcs_service *service = shard->service;

    return hcs_shard_connections(shard) * service->shard_count <=
           open_in_all(service);
}

static struct hcs_shard *find_emptiest(const struct hcs_shard *but)
{
    const struct hcs_service *service = but->service;
    struct hcs_shard *emptiest = NULL;

    for (unsigned i = 0; i < service->shard_count; i++) {
        struct hcs_shard *shard = service->shards[i];

        if (shard != but &&
            (emptiest == NULL || hcs_shard_connections(shard) <
                                     hcs_shard_connections(emptiest))) {
            emptiest = shard;
        }
    }
    return emptiest;
}

void hcs_balance_hand_over(struct hcs_shard *shard)
{
    const struct hcs_service *service = shard->service;
    /* The counts may be old by now. That does no harm: any other loop will
     * do. */
    struct hcs_shard *emptiest = find_emptiest(shard);

    assert(emptiest != NULL);
    for (unsigned i = 0; i < service->shard_count; i++) {
        struct hcs_shard *other = service->shards[i];

        if (other == emptiest ||
            (other != shard && hcs_shard_is_paused(other) &&
                hcs_balance_is_under_share(other))) {
            hcs_shard_ask(other);
        }
    }
}
