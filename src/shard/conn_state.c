#include "shard/conn_state.h"

#include "shard/exchange.h"
#include "shard/spares.h"
#include "sync/deferral.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

/* With the peer's address; 128 bytes without it. */
static_assert(sizeof(struct hcs_conn) <= 128 + sizeof(struct hcs_peer),
    "an idle connection has become larger");

static const unsigned may_follow[] = {
    [HCS_CONN_IDLE] = 1u << HCS_CONN_READING | 1u << HCS_CONN_WRITING |
                      1u << HCS_CONN_LINGERING | 1u << HCS_CONN_CLOSED,
    [HCS_CONN_READING] =
        1u << HCS_CONN_IDLE | 1u << HCS_CONN_WORKING | 1u << HCS_CONN_CLOSED,
    [HCS_CONN_WORKING] = 1u << HCS_CONN_IDLE | 1u << HCS_CONN_CLOSED,
    [HCS_CONN_WRITING] = 1u << HCS_CONN_IDLE | 1u << HCS_CONN_CLOSED,
    [HCS_CONN_LINGERING] = 1u << HCS_CONN_CLOSED,
    [HCS_CONN_CLOSED] = 0,
};

size_t hcs_conn_record_bytes(void)
{
    return sizeof(struct hcs_conn);
}

struct hcs_conn *hcs_conn_of_timer(struct hcs_timer *timer)
{
    return (struct hcs_conn *)(void *)((char *)timer -
                                       offsetof(struct hcs_conn, timer));
}

void hcs_conn_enter(struct hcs_conn *c, enum hcs_conn_state next)
{
    struct hcs_counter *states = c->shard->counts.states;

    assert(may_follow[c->state] & 1u << next);
    hcs_counter_add(&states[c->state], UINT64_MAX);
    if (next != HCS_CONN_CLOSED) {
        hcs_counter_add(&states[next], 1);
    }
    c->state = (unsigned char)next;
    c->timed = false;
}

void hcs_conn_arm(struct hcs_conn *c, uint64_t after_ms)
{
    struct hcs_loop *loop = &c->shard->loop;

    c->timed = true;
    hcs_wheel_arm(loop->wheel, &c->timer,
        after_ms == UINT64_MAX ? UINT64_MAX : loop->now_ms + after_ms);
}

bool hcs_conn_has_more_input(const struct hcs_conn *c)
{
    return c->read_ahead != NULL || hcs_transport_has_input(&c->transport);
}

/* --- The request. */

void hcs_conn_release_request(
    struct hcs_shard *shard, struct hcs_request *request)
{
    hcs_request_fini(request);
    hcs_slab_free(shard->requests, request);
}

/* A request that a worker has, or that waits in the queue as a dead entry,
 * comes home later and is freed then. Proved in tests/model/detach.pml and
 * deferral.pml. */
static void drop_request(struct hcs_conn *c, bool is_overdue)
{
    struct hcs_request *request = c->request;
    struct hcs_shard *shard = c->shard;

    c->request = NULL;
    if (request == NULL) {
        return;
    }
    request->waiter.owner = NULL;
    if (c->state != HCS_CONN_WORKING) {
        hcs_conn_release_request(shard, request);
        return;
    }
    /* [request.cancelled] Relaxed: a hint for the handler. */
    atomic_store_explicit(&request->cancelled, true, memory_order_relaxed);
    if (hcs_pool_cancel(shard->service->pool, &request->task) ||
        atomic_load_explicit(&request->task.state, memory_order_relaxed) ==
            HCS_TASK_CANCELLED) {
        hcs_request_fini(request); /* nobody reads a dead entry's bytes */
        return;
    }
    switch (hcs_deferrals_abandon(shard->service->deferrals, &request->task)) {
    case HCS_ABANDONED_OWNED:
        hcs_conn_release_request(shard, request);
        return;
    case HCS_ABANDONED_RUNNING:
        if (is_overdue) {
            request->overdue = true;
            hcs_counter_add(&shard->counts.stuck, 1);
        }
        return;
    case HCS_ABANDONED_CLAIMED:
        return;
    }
}

void hcs_conn_drop_request(struct hcs_conn *c)
{
    drop_request(c, false);
}

void hcs_conn_drop_overdue(struct hcs_conn *c)
{
    drop_request(c, true);
}

void hcs_conn_abandon_request(struct hcs_conn *c, enum hcs_reason reason)
{
    struct hcs_exchange exchange;

    /* It counted as a request when its header section was complete. */
    if (c->request != NULL && c->request->head_length > 0) {
        hcs_exchange_from_request(&exchange, c->shard, &c->peer, c->request,
            c->state == HCS_CONN_WORKING);
        exchange.reason = reason;
        hcs_exchange_end(c->shard, &exchange);
    }
    hcs_conn_drop_request(c);
}

/* --- Bytes that wait. */

void hcs_conn_release_body(struct hcs_shard *shard, const struct hcs_body *body)
{
    if (body != NULL && body->release != NULL) {
        body->release(shard, body->owner);
    }
}

void hcs_conn_free_write_queue(struct hcs_conn *c)
{
    struct hcs_write_queue *queue = c->write_queue;

    c->write_queue = NULL;
    if (queue != NULL) {
        hcs_conn_release_body(c->shard, &queue->body);
        hcs_budget_free(c->shard->service->budget, queue);
    }
}

void hcs_conn_free_read_ahead(struct hcs_conn *c)
{
    hcs_budget_free(c->shard->service->budget, c->read_ahead);
    c->read_ahead = NULL;
}

/* --- The end. */

static void close_transport(struct hcs_conn *c)
{
    if (c->spare) {
        hcs_spares_take_back(c->shard, c->transport.fd);
        c->transport.fd = -1;
    } else {
        hcs_transport_close(&c->transport);
    }
}

void hcs_conn_close(struct hcs_conn *c, enum hcs_reason reason)
{
    struct hcs_shard *shard = c->shard;

    if (c->state == HCS_CONN_CLOSED) {
        return;
    }
    if (c->state == HCS_CONN_LINGERING) {
        shard->lingering--;
    }
    shard->out_length = 0; /* what was composed was for nobody else */
    hcs_conn_abandon_request(c, reason);
    hcs_conn_free_write_queue(c);
    hcs_conn_free_read_ahead(c);
    hcs_wheel_remove(shard->loop.wheel, &c->timer);
    hcs_loop_forget(&shard->loop, &c->watch);
    if (reason == HCS_REASON_WRITE_TIMEOUT) {
        hcs_transport_abort(&c->transport);
    }
    close_transport(c);
    hcs_conn_enter(c, HCS_CONN_CLOSED);
    if (c->shed) {
        TAILQ_REMOVE(&shard->shed, c, entry);
        shard->shed_count--;
    } else {
        hcs_counter_add(&shard->counts.closed[reason], 1);
        hcs_gate_disconnect(&shard->service->gate, &c->peer);
    }
    /* Not freed yet: callers up the stack still look at its state. */
    TAILQ_INSERT_HEAD(&shard->closed, c, entry);
    hcs_spares_refill(shard); /* if one was lost */
    shard->descriptor_freed = true;
}

void hcs_conn_free_closed(struct hcs_shard *shard)
{
    struct hcs_conn *c;

    while ((c = TAILQ_FIRST(&shard->closed)) != NULL) {
        TAILQ_REMOVE(&shard->closed, c, entry);
        hcs_slab_free(shard->conns, c);
    }
}
