#include "shard/exchange.h"

#include "shard/access_log.h"

#include <string.h>

static void make_id(struct hcs_exchange *exchange, struct hcs_shard *shard)
{
    hcs_shard_make_id(shard, exchange->made_id);
    exchange->id = exchange->made_id;
    exchange->id_length = HCS_EXCHANGE_ID_MADE;
}

/* Everything but the identifier. */
static void fill(struct hcs_exchange *exchange, const struct hcs_peer *peer,
    const struct hcs_head *head)
{
    exchange->method = head->method;
    exchange->understood = true;
    exchange->head_only = head->method == HCS_HEAD;
    exchange->minor = head->minor > 0;
    exchange->keep_alive = head->keep_alive;
    exchange->peer = peer;
    exchange->bytes_in = head->content_length;
    memset(&exchange->route, 0,
        offsetof(struct hcs_exchange, made_id) -
            offsetof(struct hcs_exchange, route));
}

void hcs_exchange_from_head(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer, const char *bytes,
    const struct hcs_head *head)
{
    fill(exchange, peer, head);
    exchange->id = bytes + head->request_id.offset;
    exchange->id_length = head->request_id.length;
    if (exchange->id_length == 0) {
        make_id(exchange, shard);
    }
}

void hcs_exchange_from_request(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer,
    const struct hcs_request *request, bool admitted)
{
    fill(exchange, peer, &request->head);
    exchange->id = hcs_request_id(request, &exchange->id_length);
    if (exchange->id_length == 0) { /* it was not queued */
        make_id(exchange, shard);
    }
    exchange->route = request->route->path;
    exchange->job = request->route->index;
    exchange->admitted = admitted;
    exchange->bytes_in = request->in_length - request->head_length;
    exchange->began_ns = request->began_ms != 0 ? request->began_ms * 1000000
                                                : request->admitted_ns;
}

void hcs_exchange_unknown(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer)
{
    static const struct hcs_head nothing = {.method = HCS_GET, .minor = 1};

    fill(exchange, peer, &nothing);
    exchange->understood = false;
    make_id(exchange, shard);
}

/* How a job ended that was queued. */
static struct hcs_counter *outcome(
    struct hcs_route_counts *counts, const struct hcs_exchange *exchange)
{
    if (exchange->status == 0) {
        return &counts->cancelled;
    }
    switch (exchange->reason) {
    case HCS_REASON_NONE:
        return &counts->ok;
    case HCS_REASON_DEADLINE_EXCEEDED:
    case HCS_REASON_QUEUE_TIMEOUT:
        return &counts->timeout;
    default:
        return &counts->error;
    }
}

static void count(
    struct hcs_counts *counts, const struct hcs_exchange *exchange)
{
    if (exchange->status == 0) {
        hcs_counter_add(&counts->cancelled, 1);
    } else {
        hcs_counter_add(
            exchange->status < 400 ? &counts->completed : &counts->errors, 1);
        if (exchange->reason != HCS_REASON_NONE) {
            hcs_counter_add(&counts->refused[exchange->reason], 1);
        }
    }
    if (exchange->admitted) {
        hcs_counter_add(outcome(&counts->routes[exchange->job], exchange), 1);
    }
}

void hcs_exchange_end(
    struct hcs_shard *shard, const struct hcs_exchange *exchange)
{
    count(&shard->counts, exchange);
    if (exchange->status != 0) {
        hcs_access_log_write(shard->service->log, exchange, shard->loop.now_ns);
    }
}
