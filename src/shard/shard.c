#include "shard/shard.h"

#include "event/listener.h"
#include "job/request.h"
#include "shard/balance.h"
#include "shard/conn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_BATCH = 64,
    ACCEPT_RETRY_MS = 100, /* after the kernel had no room */
    DRAIN_QUIET_MS = 100,  /* no new connection for so long: all are here */
    DRAIN_ACCEPT_MS = 1000,
    LAST_BATCHES = 1024,
    CUT_MS = 500, /* for the last replies of a cut to leave */
};

/* --- Accepting. */

static void close_fd(struct hcs_shard *shard, int *fd)
{
    close(*fd);
    *fd = -1;
    hcs_counter_add(&shard->counts.own_fds, UINT64_MAX);
}

static void revisit_all(struct hcs_shard *shard)
{
    for (unsigned i = 0; i < shard->entrance_count; i++) {
        hcs_loop_post(&shard->loop, &shard->entrances[i].watch);
    }
}

static void make_spare(struct hcs_shard *shard)
{
    int fd;

    if (shard->spare_count + shard->spares_lent >= HCS_SHARD_SPARES) {
        return;
    }
    fd = fcntl(shard->mailbox.fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0) {
        shard->spares[shard->spare_count++] = fd;
        hcs_counter_add(&shard->counts.own_fds, 1);
    }
}

void hcs_shard_close_lent(struct hcs_shard *shard, int fd)
{
    assert(shard->spares_lent > 0);
    shard->spares_lent--;
    /* In one step: between two, another loop that shares the table could take
     * the number. */
    if (dup3(shard->mailbox.fd, fd, O_CLOEXEC) == fd) {
        shard->spares[shard->spare_count++] = fd;
        hcs_counter_add(&shard->counts.own_fds, 1);
    } else {
        close(fd);
    }
}

void hcs_shard_descriptor_freed(struct hcs_shard *shard)
{
    make_spare(shard); /* if one was lost */
    if (!shard->is_open) {
        return;
    }
    if (shard->accept_stalled) {
        revisit_all(shard);
    } else if (hcs_shard_rests(shard) && hcs_balance_is_light(shard)) {
        /* Not from here: who closes may stand in the middle of accepting. */
        hcs_loop_post(&shard->loop, &shard->entrances[0].watch);
    }
}

/* In a table of all loops, one accepts at a time: whoever gives up a spare has
 * to get its number, and not a loop that found none a moment before. */
static void lock_table(struct hcs_shard *shard)
{
    if (!shard->service->private_tables) {
        pthread_mutex_lock(&shard->service->accept_lock);
    }
}

static void unlock_table(struct hcs_shard *shard)
{
    if (!shard->service->private_tables) {
        pthread_mutex_unlock(&shard->service->accept_lock);
    }
}

static int accept_locked(const struct hcs_entrance *entrance)
{
    return accept4(entrance->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* A descriptor, or -errno. */
static int accept_one(const struct hcs_entrance *entrance)
{
    struct hcs_shard *shard = entrance->shard;
    int fd;

    lock_table(shard);
    fd = accept_locked(entrance);
    fd = fd < 0 ? -errno : fd;
    unlock_table(shard);
    return fd;
}

/* Out of descriptors: gives one of the spares for a connection that is refused,
 * or takes it back from the one that was refused first. 0 to go on accepting,
 * or errno. */
static int shed_one(const struct hcs_entrance *entrance)
{
    struct hcs_shard *shard = entrance->shard;
    int fd;

    if (shard->spare_count == 0) {
        (void)hcs_conn_close_shed(shard);
    }
    if (shard->spare_count == 0) {
        return EMFILE;
    }
    lock_table(shard);
    close_fd(shard, &shard->spares[--shard->spare_count]);
    fd = accept_locked(entrance);
    if (fd < 0) {
        fd = -errno;
        make_spare(shard);
    }
    unlock_table(shard);
    if (fd < 0) {
        return -fd;
    }
    shard->spares_lent++;
    hcs_conn_refuse(shard, fd, HCS_REASON_NO_DESCRIPTORS, true);
    return 0;
}

/* No edge tells of what already waits, so who stops before EAGAIN comes back:
 * when a descriptor is free, or after a while. */
static void stall(struct hcs_shard *shard)
{
    shard->accept_stalled = true;
    hcs_wheel_arm(shard->loop.wheel, &shard->accept_timer,
        shard->loop.now_ms + ACCEPT_RETRY_MS);
}

/* Has the loop wait at its listeners. 0, or -errno: not at all of them. */
static int wait_at_all(struct hcs_shard *shard)
{
    uint32_t events = EPOLLIN | (shard->shares ? (uint32_t)EPOLLEXCLUSIVE : 0);

    for (unsigned i = 0; i < shard->entrance_count; i++) {
        struct hcs_entrance *entrance = &shard->entrances[i];
        int rc = 0;

        if (!entrance->watched) {
            rc = hcs_loop_add(
                &shard->loop, entrance->fd, &entrance->watch, events);
        }
        if (rc != 0) {
            return rc;
        }
        entrance->watched = true;
    }
    return 0;
}

/* No event of theirs reaches the loop any more. */
static void wait_at_none(struct hcs_shard *shard)
{
    for (unsigned i = 0; i < shard->entrance_count; i++) {
        struct hcs_entrance *entrance = &shard->entrances[i];

        hcs_loop_forget(&shard->loop, &entrance->watch);
        if (entrance->watched) {
            (void)hcs_loop_remove(&shard->loop, entrance->fd);
            entrance->watched = false;
        }
    }
}

bool hcs_shard_rests(const struct hcs_shard *shard)
{
    /* Relaxed: to others it is a hint, for whom to ask. */
    return atomic_load_explicit(&shard->rests, memory_order_relaxed);
}

static void set_resting(struct hcs_shard *shard, bool rests)
{
    atomic_store_explicit(&shard->rests, rests, memory_order_relaxed);
}

/* Leaves the listeners to the others. First it stops to wait there: what comes
 * afterwards wakes another one, and what came before, perhaps with this loop as
 * the only one to be told, is there when the one that is asked looks. */
static void rest(struct hcs_shard *shard)
{
    wait_at_none(shard);
    set_resting(shard, true);
    hcs_balance_hand_over(shard);
}

/* In a drain each takes what there is, until it closes its own. */
static bool may_rest(const struct hcs_shard *shard)
{
    return !hcs_shard_rests(shard) && shard->obeyed == HCS_COMMAND_RUN &&
           hcs_balance_is_heavy(shard);
}

/* Accepts a batch; how many were taken. */
static unsigned accept_batch(struct hcs_entrance *entrance)
{
    struct hcs_shard *shard = entrance->shard;
    unsigned taken = 0;

    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept_one(entrance);
        int error = fd < 0 ? -fd : 0;

        if (error == EMFILE || error == ENFILE) {
            error = shed_one(entrance);
        } else if (fd >= 0) {
            hcs_conn_open(shard, fd);
        }
        switch (error) {
        case 0:
            taken++;
            break;
        case EAGAIN:
            return taken;
        case EINTR:
        case ECONNABORTED: /* and what accept(2) says of errors of the network
                              on the new socket: to be tried again */
        case EPROTO:
        case ENETDOWN:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case EOPNOTSUPP:
        case ENETUNREACH:
        case EPERM:
            break;
        default: /* no memory, no buffers, no descriptor even for a no */
            stall(shard);
            return taken;
        }
        /* Whoever hands over has taken one, so that loops do not pass on for
         * ever what none of them takes. */
        if (shard->shares && error == 0 && may_rest(shard)) {
            rest(shard);
            return taken;
        }
    }
    hcs_loop_post(&shard->loop, &entrance->watch);
    return taken;
}

/* Waits at all listeners, first, and then looks what is there: what comes in
 * between is an event. How many were taken. */
static unsigned attend(struct hcs_shard *shard)
{
    unsigned taken = 0;

    shard->accept_stalled = false;
    if (hcs_shard_rests(shard)) {
        if (wait_at_all(shard) == 0) {
            set_resting(shard, false);
        } else {
            stall(shard); /* no memory; what is there is taken none the less */
        }
    }
    for (unsigned i = 0; i < shard->entrance_count; i++) {
        taken += accept_batch(&shard->entrances[i]);
        if (hcs_shard_rests(shard) && !shard->accept_stalled) {
            break; /* the rest was handed over */
        }
    }
    return taken;
}

/* Until it was quiet for a while, and no longer than there is time: others
 * connect for ever at a listener that goes on without us. */
static void arm_quiet(struct hcs_shard *shard)
{
    uint64_t quiet_ms = shard->loop.now_ms + DRAIN_QUIET_MS;

    hcs_wheel_arm(shard->loop.wheel, &shard->accept_timer,
        quiet_ms < shard->accept_until_ms ? quiet_ms : shard->accept_until_ms);
}

static void took(struct hcs_shard *shard, unsigned taken)
{
    if (taken > 0 && shard->obeyed == HCS_COMMAND_DRAIN) {
        arm_quiet(shard);
    }
}

static void on_listening(struct hcs_watch *watch, uint32_t seen)
{
    struct hcs_entrance *entrance = (struct hcs_entrance *)(void *)watch;
    struct hcs_shard *shard = entrance->shard;

    (void)seen;
    if (!shard->accept_stalled && !hcs_shard_rests(shard)) {
        took(shard, accept_batch(entrance));
    } else if (shard->accept_stalled || hcs_balance_is_light(shard)) {
        took(shard, attend(shard));
    } /* else told before it rested, and somebody else was asked */
}

/* By another loop, whatever this one has. */
static void come_when_asked(struct hcs_shard *shard)
{
    if (shard->is_open) {
        took(shard, attend(shard));
    }
}

static void close_listeners(struct hcs_shard *shard)
{
    if (!shard->is_open) {
        return;
    }
    shard->is_open = false;
    hcs_wheel_remove(shard->loop.wheel, &shard->accept_timer);
    /* In a shared table main may hold no copy; in private ones it has closed
     * its own before, so this is the last, and the port closes. A service
     * manager's has copies elsewhere. */
    wait_at_none(shard);
    for (unsigned i = 0; i < shard->entrance_count; i++) {
        close_fd(shard, &shard->entrances[i].fd);
    }
}

/* Completed connections that wait to be accepted. */
static bool somebody_waits(const struct hcs_shard *shard)
{
    for (unsigned i = 0; i < shard->entrance_count; i++) {
        if (hcs_listener_waiting(shard->entrances[i].fd) > 0) {
            return true;
        }
    }
    return false;
}

/* The time to try again has come, or it was quiet for a while. */
static void accept_expired(struct hcs_shard *shard)
{
    unsigned taken = attend(shard);
    bool in_time = shard->loop.now_ms < shard->accept_until_ms;

    if (shard->obeyed != HCS_COMMAND_DRAIN) {
        return;
    }
    if (shard->accept_stalled && (in_time || !shard->handed)) {
        return; /* its timer is armed, and time bounds the drain */
    }
    if (in_time && (taken > 0 || somebody_waits(shard))) {
        arm_quiet(shard);
        return;
    }
    /* New ones are dropped, so this ends; were the filter refused, here. What
     * comes to a service manager's listener is for our successor. */
    for (int i = 0; !shard->handed && i < LAST_BATCHES && attend(shard) > 0;
         i++) {
    }
    close_listeners(shard);
}

/* --- Commands. */

void hcs_shard_command(struct hcs_shard *shard, enum hcs_command command)
{
    /* [shard.command] release: what main did before is done; the ring wakes
     * the loop whether it sleeps or not. */
    atomic_store_explicit(&shard->command, (int)command, memory_order_release);
    hcs_mailbox_ring(&shard->mailbox);
}

static void start_drain(struct hcs_shard *shard)
{
    shard->accept_until_ms = shard->loop.now_ms + DRAIN_ACCEPT_MS;
    hcs_conn_drain_all(shard);
    if (shard->is_open) {
        (void)attend(shard);
        arm_quiet(shard);
    }
}

static void start_cut(struct hcs_shard *shard)
{
    close_listeners(shard);
    hcs_conn_cut_all(shard);
    hcs_wheel_arm(
        shard->loop.wheel, &shard->end_timer, shard->loop.now_ms + CUT_MS);
}

static void obey(struct hcs_shard *shard)
{
    /* [shard.command] acquire. */
    enum hcs_command command = (enum hcs_command)atomic_load_explicit(
        &shard->command, memory_order_acquire);

    if (command <= shard->obeyed) {
        return;
    }
    shard->obeyed = command;
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
        accept_expired(shard);
    } else if (timer == &shard->end_timer) {
        hcs_conn_close_all(shard);
    } else {
        hcs_conn_expired(timer);
    }
}

static void on_turned(void *owner)
{
    struct hcs_shard *shard = owner;
    struct hcs_task *task = hcs_mailbox_take(&shard->mailbox);

    while (task != NULL) {
        struct hcs_task *next = task->next;

        hcs_conn_result(shard, (struct hcs_request *)(void *)task);
        task = next;
    }
    obey(shard);
    hcs_conn_free_closed(shard);
    if (shard->submitted) {
        /* Once for all jobs of this turn. */
        shard->submitted = false;
        hcs_pool_wake(shard->service->pool);
    }
    if (shard->obeyed != HCS_COMMAND_RUN && !shard->is_open &&
        hcs_counter_get(&shard->counts.connections) == 0 &&
        shard->shed.count == 0) {
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

    (void)seen; /* each turn looks into the mailbox at its end */
    /* [shard.asked] Relaxed: the kernel's locks order the ring [bell] behind
     * the store, and this behind the ring. */
    if (shard->shares &&
        atomic_exchange_explicit(&shard->asked, false, memory_order_relaxed)) {
        come_when_asked(shard);
    }
}

void hcs_shard_ask(struct hcs_shard *shard)
{
    /* [shard.asked] */
    atomic_store_explicit(&shard->asked, true, memory_order_relaxed);
    hcs_mailbox_ring(&shard->mailbox);
}

static const struct hcs_loop_hooks HOOKS = {
    .expired = on_expired,
    .turned = on_turned,
    .may_sleep = on_may_sleep,
};

/* --- Life. */

static bool make_entrances(
    struct hcs_shard *shard, const int *listeners, unsigned count)
{
    shard->entrances = calloc(count, sizeof(struct hcs_entrance));
    if (shard->entrances == NULL) {
        return false;
    }
    shard->entrance_count = count;
    for (unsigned i = 0; i < count; i++) {
        shard->entrances[i].watch.ready = on_listening;
        shard->entrances[i].shard = shard;
        shard->entrances[i].fd = listeners[i];
    }
    shard->is_open = true;
    return true;
}

struct hcs_shard *hcs_shard_create(struct hcs_service *service, unsigned index,
    const int *listeners, unsigned count, enum hcs_shard_door door)
{
    struct hcs_shard *shard =
        aligned_alloc(alignof(struct hcs_shard), sizeof(struct hcs_shard));

    if (shard == NULL) {
        return NULL;
    }
    memset(shard, 0, sizeof(*shard));
    shard->service = service;
    shard->index = index;
    shard->handed = door != HCS_DOOR_OWN;
    shard->shares = door == HCS_DOOR_SHARED;
    shard->bell.ready = on_bell;
    shard->shed.end = &shard->shed.first;
    shard->loop.fd = -1;
    atomic_init(&shard->rests, false);
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
    shard->counts.routes = calloc(
        hcs_router_jobs(service->router) + 1, sizeof(struct hcs_route_counts));
    shard->in = malloc(HCS_SHARD_IN);
    shard->out = malloc(HCS_SHARD_OUT);
    /* MAX_CONNECTIONS bounds these: with the budget spent, a new connection
     * still learns why, and sees /health and /metrics. */
    shard->conns = hcs_slab_create(hcs_conn_record_bytes(), hcs_budget_charge,
        hcs_budget_give, service->budget);
    shard->requests = hcs_slab_create(
        HCS_REQUEST_BYTES, hcs_budget_take, hcs_budget_give, service->budget);
    if (!make_entrances(shard, listeners, count) ||
        shard->counts.routes == NULL || shard->in == NULL ||
        shard->out == NULL || shard->conns == NULL || shard->requests == NULL) {
        hcs_shard_destroy(shard);
        return NULL;
    }
    return shard;
}

void hcs_shard_destroy(struct hcs_shard *shard)
{
    struct hcs_task *task;

    if (shard == NULL) {
        return;
    }
    /* What came home after the loop had ended. */
    task = hcs_mailbox_take(&shard->mailbox);
    while (task != NULL) {
        struct hcs_task *next = task->next;

        hcs_conn_result(shard, (struct hcs_request *)(void *)task);
        task = next;
    }
    hcs_mailbox_close(&shard->mailbox);
    hcs_slab_destroy(shard->requests);
    hcs_slab_destroy(shard->conns);
    free(shard->entrances);
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
    hcs_counter_add(&shard->counts.own_fds, 2 + shard->entrance_count);
    rc = hcs_loop_add(&shard->loop, shard->mailbox.fd, &shard->bell, EPOLLIN);
    if (rc == 0) {
        rc = wait_at_all(shard);
    }
    if (rc != 0) {
        hcs_loop_fini(&shard->loop);
        return rc;
    }
    for (int i = 0; i < HCS_SHARD_SPARES; i++) {
        make_spare(shard);
    }
    return 0;
}

void hcs_shard_run(struct hcs_shard *shard)
{
    obey(shard); /* a start that failed takes nothing from a successor */
    hcs_loop_run(&shard->loop);
    assert(hcs_counter_get(&shard->counts.connections) == 0);
    while (shard->spare_count > 0) {
        close_fd(shard, &shard->spares[--shard->spare_count]);
    }
    hcs_loop_fini(&shard->loop);
}

uint64_t hcs_shard_realtime_ms(const struct hcs_shard *shard)
{
    return shard->loop.now_ms + shard->realtime_offset_ms;
}
