#include "guard/gate.h"

#include <string.h>

enum {
    RETRY_MAX_S = 30,
    RETRY_UNKNOWN_S = 5, /* jobs wait, but none has ended in the last seconds */
};

void hcs_gate_init(struct hcs_gate *gate, unsigned max_connections)
{
    memset(gate, 0, sizeof(*gate));
    gate->max_connections = max_connections;
    atomic_init(&gate->jobs_per_second, 0);
    atomic_init(&gate->connections, 0);
}

void hcs_gate_set_queue(
    struct hcs_gate *gate, const struct hcs_gate_queue *queue)
{
    gate->queue = *queue;
}

void hcs_gate_set_drain_rate(struct hcs_gate *gate, uint64_t jobs_per_second)
{
    /* Relaxed, as everywhere in this file: each number stands for itself. */
    atomic_store_explicit(
        &gate->jobs_per_second, jobs_per_second, memory_order_relaxed);
}

enum hcs_reason hcs_gate_connect(
    struct hcs_gate *gate, const struct hcs_peer *peer)
{
    /* Counts first, then compares. If two loops accept at the same time, one of
     * them sees the other's connection. */
    unsigned others =
        atomic_fetch_add_explicit(&gate->connections, 1, memory_order_relaxed);

    if (others >= gate->max_connections) {
        hcs_gate_disconnect(gate, peer);
        return HCS_REASON_TOO_MANY_CONNECTIONS;
    }
    return HCS_REASON_NONE;
}

void hcs_gate_disconnect(struct hcs_gate *gate, const struct hcs_peer *peer)
{
    (void)peer;
    atomic_fetch_sub_explicit(&gate->connections, 1, memory_order_relaxed);
}

unsigned hcs_gate_connections(const struct hcs_gate *gate)
{
    return atomic_load_explicit(&gate->connections, memory_order_relaxed);
}

enum hcs_reason hcs_gate_admit(struct hcs_gate *gate, struct hcs_task *task)
{
    return gate->queue.submit(gate->queue.queue, task) ? HCS_REASON_NONE
                                                       : HCS_REASON_QUEUE_FULL;
}

struct hcs_gate_advice hcs_gate_advise(
    const struct hcs_gate *gate, uint64_t random)
{
    uint64_t rate =
        atomic_load_explicit(&gate->jobs_per_second, memory_order_relaxed);
    size_t depth = gate->queue.depth(gate->queue.queue);
    uint64_t wait_s = depth == 0 ? 1 : RETRY_UNKNOWN_S;

    if (rate > 0) {
        wait_s = depth / rate + 1;
    }
    wait_s += random % (wait_s / 4 + 2);
    return (struct hcs_gate_advice){
        .retry_after_s =
            wait_s < RETRY_MAX_S ? (unsigned)wait_s : (unsigned)RETRY_MAX_S,
        .queue_depth = depth,
    };
}
