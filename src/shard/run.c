#include "shard/run.h"

#include "shard/acceptor.h"
#include "shard/conn.h"
#include "shard/conn_state.h"
#include "shard/spares.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { CUT_MS = 500 /* to send the last replies of a cut */ };

/* --- Commands. */

void hcs_shard_command(struct hcs_shard *shard, enum hcs_command command)
{
    /* [shard.command] Release: the loop sees what main did before. The ring
     * wakes the loop, or, if the loop is awake, keeps it from sleeping. */
    atomic_store_explicit(&shard->command, (int)command, memory_order_release);
    hcs_mailbox_ring(&shard->mailbox);
}

static void start_drain(struct hcs_shard *shard)
{
    hcs_conn_drain_all(shard);
    hcs_acceptor_drain(shard);
}

static void start_cut(struct hcs_shard *shard)
{
    hcs_acceptor_close(shard);
    hcs_conn_cut_all(shard);
    hcs_wheel_arm(
        shard->loop.wheel, &shard->end_timer, shard->loop.now_ms + CUT_MS);
}

static void apply_command(struct hcs_shard *shard)
{
    /* [shard.command] Acquire: the loop sees what main did before. */
    enum hcs_command command = (enum hcs_command)atomic_load_explicit(
        &shard->command, memory_order_acquire);

    if (command <= shard->applied) {
        return;
    }
    shard->applied = command;
    if (command == HCS_COMMAND_DRAIN) {
        start_drain(shard);
    } else {
        start_cut(shard);
    }
}

/* --- The loop's hooks. */

static void on_expired(struct hcs_timer *timer, void *owner)
{
    struct hcs_shard *shard = owner;

    if (timer == &shard->accept_timer) {
        hcs_acceptor_expired(shard);
    } else if (timer == &shard->end_timer) {
        hcs_conn_close_all(shard);
    } else {
        hcs_conn_expired(timer);
    }
}

static void take_results(struct hcs_shard *shard)
{
    struct hcs_task *task = hcs_mailbox_take(&shard->mailbox);

    while (task != NULL) {
        struct hcs_task *next = task->next;

        hcs_conn_result(shard, (struct hcs_request *)(void *)task);
        task = next;
    }
}

static bool may_end(const struct hcs_shard *shard)
{
    return shard->applied != HCS_COMMAND_RUN && !shard->is_open &&
           hcs_shard_connections(shard) == 0;
}

static void on_turned(void *owner)
{
    struct hcs_shard *shard = owner;

    take_results(shard);
    apply_command(shard);
    if (shard->descriptor_freed) {
        shard->descriptor_freed = false;
        hcs_conn_free_closed(shard);
        hcs_acceptor_descriptor_freed(shard);
    }
    if (shard->submitted) {
        /* One wake for all jobs of this turn. */
        shard->submitted = false;
        hcs_pool_wake(shard->service->pool);
    }
    if (may_end(shard)) {
        hcs_loop_stop(&shard->loop);
    }
}

static bool on_may_sleep(void *owner)
{
    struct hcs_shard *shard = owner;

    return hcs_mailbox_sleep(&shard->mailbox);
}

static void on_bell(struct hcs_watch *watch, uint32_t seen)
{
    struct hcs_shard *shard =
        (struct hcs_shard *)(void *)((char *)watch -
                                     offsetof(struct hcs_shard, bell));

    (void)seen; /* the end of each turn takes the results from the mailbox */
    /* [shard.asked] Relaxed: the kernel's locks order the ring [bell] after the
     * store, and this exchange after the ring. */
    if (shard->shared &&
        atomic_exchange_explicit(&shard->asked, false, memory_order_relaxed)) {
        hcs_acceptor_come_when_asked(shard);
    }
}

static const struct hcs_loop_hooks HOOKS = {
    .expired = on_expired,
    .turned = on_turned,
    .may_sleep = on_may_sleep,
};

/* --- Start and end. */

static bool make_listeners(
    struct hcs_shard *shard, const int *listeners, unsigned count)
{
    shard->listeners = calloc(count, sizeof(struct hcs_shard_listener));
    if (shard->listeners == NULL) {
        return false;
    }
    shard->listener_count = count;
    for (unsigned i = 0; i < count; i++) {
        shard->listeners[i] = (struct hcs_shard_listener){
            .watch.ready = hcs_acceptor_ready,
            .shard = shard,
            .site = HCS_SITE_MAIN,
            .fd = listeners[i],
        };
    }
    shard->is_open = true;
    return true;
}

static bool allocate(struct hcs_shard *shard)
{
    struct hcs_service *service = shard->service;

    shard->counts.routes =
        calloc(hcs_router_jobs(hcs_service_router(service)) + 1,
            sizeof(struct hcs_route_counts));
    shard->in = malloc(HCS_SHARD_IN);
    shard->out = malloc(HCS_SHARD_OUT);
    /* MAX_CONNECTIONS bounds these records, so they are charged even when the
     * budget is spent. A new connection then still gets its 503, and can read
     * /health and /metrics. */
    shard->conns = hcs_slab_create(hcs_conn_record_bytes(), hcs_budget_charge,
        hcs_budget_give, service->budget);
    shard->requests = hcs_slab_create(
        HCS_REQUEST_BYTES, hcs_budget_take, hcs_budget_give, service->budget);
    return shard->counts.routes != NULL && shard->in != NULL &&
           shard->out != NULL && shard->conns != NULL &&
           shard->requests != NULL;
}

struct hcs_shard *hcs_shard_create(struct hcs_service *service, unsigned index,
    const int *listeners, unsigned count, enum hcs_listener_origin origin)
{
    struct hcs_shard *shard =
        aligned_alloc(alignof(struct hcs_shard), sizeof(struct hcs_shard));

    if (shard == NULL) {
        return NULL;
    }
    memset(shard, 0, sizeof(*shard));
    shard->service = service;
    shard->index = index;
    shard->inherited = origin != HCS_LISTENER_OWN;
    shard->shared = origin == HCS_LISTENER_SHARED;
    shard->bell.ready = on_bell;
    TAILQ_INIT(&shard->shed);
    TAILQ_INIT(&shard->closed);
    shard->loop.fd = -1;
    atomic_init(&shard->paused, false);
    atomic_init(&shard->asked, false);
    atomic_init(&shard->command, HCS_COMMAND_RUN);
    hcs_timer_init(&shard->accept_timer);
    hcs_timer_init(&shard->end_timer);
    hcs_parser_init(&shard->parser);
    hcs_random_init(&shard->random);
    if (hcs_mailbox_open(&shard->mailbox) != 0) {
        free(shard);
        return NULL;
    }
    if (!make_listeners(shard, listeners, count) || !allocate(shard)) {
        hcs_shard_destroy(shard);
        return NULL;
    }
    return shard;
}

void hcs_shard_destroy(struct hcs_shard *shard)
{
    if (shard == NULL) {
        return;
    }
    take_results(shard); /* those that came home after the loop had ended */
    hcs_mailbox_close(&shard->mailbox);
    hcs_slab_destroy(shard->requests);
    hcs_slab_destroy(shard->conns);
    free(shard->listeners);
    free(shard->counts.routes);
    free(shard->in);
    free(shard->out);
    free(shard);
}

int hcs_shard_open(struct hcs_shard *shard)
{
    int rc = hcs_loop_init(&shard->loop, &HOOKS, shard);

    if (rc != 0) {
        return rc;
    }
    shard->realtime_offset_ms = hcs_clock_realtime_ms() - shard->loop.now_ms;
    /* epoll, doorbell, listeners */
    hcs_counter_add(&shard->counts.own_fds, 2 + shard->listener_count);
    rc = hcs_loop_add(&shard->loop, shard->mailbox.fd, &shard->bell, EPOLLIN);
    if (rc == 0) {
        rc = hcs_acceptor_open(shard);
    }
    if (rc != 0) {
        hcs_loop_fini(&shard->loop);
        return rc;
    }
    for (int i = 0; i < HCS_SHARD_SPARES; i++) {
        hcs_spares_refill(shard);
    }
    return 0;
}

void hcs_shard_run(struct hcs_shard *shard)
{
    /* First: if the start has failed, the loop accepts no connection. It may be
     * meant for the next process. */
    apply_command(shard);
    hcs_loop_run(&shard->loop);
    assert(hcs_shard_connections(shard) == 0);
    hcs_spares_close(shard);
    hcs_loop_fini(&shard->loop);
}
