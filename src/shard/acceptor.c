#include "shard/acceptor.h"

#include "base/peer.h"
#include "event/listener.h"
#include "shard/balance.h"
#include "shard/conn.h"
#include "shard/spares.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_BATCH = 64,
    ACCEPT_RETRY_MS = 100, /* after the kernel had no room */
    DRAIN_QUIET_MS = 100,  /* no new connection for so long: all are here */
    DRAIN_ACCEPT_MS = 1000,
    LAST_BATCHES = 1024,
};

/* In a table of all loops, one accepts at a time: a loop that gives up a spare
 * has to get its number, and not a loop that found none a moment before. */
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

/* A descriptor, or -errno. */
static int accept_locked(
    const struct hcs_shard_listener *listener, struct hcs_peer *peer)
{
    union hcs_peer_socket from = {0};
    socklen_t length = sizeof(from);
    int fd =
        accept4(listener->fd, &from.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    hcs_peer_from_socket(peer, &from);
    return fd;
}

static int accept_one(
    const struct hcs_shard_listener *listener, struct hcs_peer *peer)
{
    struct hcs_shard *shard = listener->shard;
    int fd;

    lock_table(shard);
    fd = accept_locked(listener, peer);
    unlock_table(shard);
    return fd;
}

/* Out of descriptors: gives one of the spares for a connection that is refused,
 * or takes it back from the one that was refused first. 0 to go on accepting,
 * or errno. */
static int shed_one(const struct hcs_shard_listener *listener)
{
    struct hcs_shard *shard = listener->shard;
    struct hcs_peer peer;
    int fd;

    if (shard->spare_count == 0) {
        hcs_conn_close_shed(shard);
    }
    lock_table(shard);
    if (!hcs_spares_free_one(shard)) {
        unlock_table(shard);
        return EMFILE;
    }
    fd = accept_locked(listener, &peer);
    if (fd < 0) {
        hcs_spares_refill(shard);
    }
    unlock_table(shard);
    if (fd < 0) {
        return -fd;
    }
    hcs_spares_lend(shard);
    hcs_conn_refuse(shard, fd, &peer, HCS_REASON_NO_DESCRIPTORS, true);
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
static int watch_all(struct hcs_shard *shard)
{
    uint32_t events = EPOLLIN | (shard->shared ? (uint32_t)EPOLLEXCLUSIVE : 0);

    for (unsigned i = 0; i < shard->listener_count; i++) {
        struct hcs_shard_listener *listener = &shard->listeners[i];
        int rc = 0;

        if (!listener->watched) {
            rc = hcs_loop_add(
                &shard->loop, listener->fd, &listener->watch, events);
        }
        if (rc != 0) {
            return rc;
        }
        listener->watched = true;
    }
    return 0;
}

/* No event of theirs reaches the loop any more. */
static void watch_none(struct hcs_shard *shard)
{
    for (unsigned i = 0; i < shard->listener_count; i++) {
        struct hcs_shard_listener *listener = &shard->listeners[i];

        hcs_loop_forget(&shard->loop, &listener->watch);
        if (listener->watched) {
            (void)hcs_loop_remove(&shard->loop, listener->fd);
            listener->watched = false;
        }
    }
}

static void set_paused(struct hcs_shard *shard, bool paused)
{
    atomic_store_explicit(&shard->paused, paused, memory_order_relaxed);
}

/* Leaves the listeners to other loops. First this loop stops to wait there: what
 * comes afterwards wakes another one. What came before, perhaps told to this
 * loop alone, is there when the loop that is asked looks. */
static void pause_accepting(struct hcs_shard *shard)
{
    watch_none(shard);
    set_paused(shard, true);
    hcs_balance_hand_over(shard);
}

/* In a drain each takes what there is, until it closes its own. */
static bool may_pause(const struct hcs_shard *shard)
{
    return !hcs_shard_is_paused(shard) && shard->applied == HCS_COMMAND_RUN &&
           hcs_balance_is_over_share(shard);
}

/* Whether accept(2) has said something of a connection that is gone, or of the
 * network, so that it is to be called again. */
static bool is_passing(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
        return true;
    default:
        return false;
    }
}

/* Accepts a batch; how many were taken. */
static unsigned accept_batch(struct hcs_shard_listener *listener)
{
    struct hcs_shard *shard = listener->shard;
    unsigned taken = 0;

    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct hcs_peer peer;
        int fd = accept_one(listener, &peer);
        int error = fd < 0 ? -fd : 0;

        if (error == EMFILE || error == ENFILE) {
            error = shed_one(listener);
        } else if (fd >= 0) {
            hcs_conn_open(shard, fd, listener->site, &peer);
        }
        if (error == EAGAIN) {
            return taken;
        }
        if (error != 0 && !is_passing(error)) {
            stall(shard); /* no memory, no buffers, no descriptor even for a
                             no */
            return taken;
        }
        taken += error == 0;
        /* A loop that hands over has taken one, so that loops do not pass on
         * for ever what none of them takes. */
        if (shard->shared && error == 0 && may_pause(shard)) {
            pause_accepting(shard);
            return taken;
        }
    }
    hcs_loop_post(&shard->loop, &listener->watch);
    return taken;
}

/* Waits at all listeners, first, and then looks what is there: what comes in
 * between is an event. How many were taken. */
static unsigned resume_accepting(struct hcs_shard *shard)
{
    unsigned taken = 0;

    shard->accept_stalled = false;
    if (hcs_shard_is_paused(shard)) {
        if (watch_all(shard) == 0) {
            set_paused(shard, false);
        } else {
            stall(shard); /* no memory; what is there is taken none the less */
        }
    }
    for (unsigned i = 0; i < shard->listener_count; i++) {
        taken += accept_batch(&shard->listeners[i]);
        if (hcs_shard_is_paused(shard) && !shard->accept_stalled) {
            break; /* what is left was handed over */
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

static void extend_drain(struct hcs_shard *shard, unsigned taken)
{
    if (taken > 0 && shard->applied == HCS_COMMAND_DRAIN) {
        arm_quiet(shard);
    }
}

void hcs_acceptor_ready(struct hcs_watch *watch, uint32_t seen)
{
    struct hcs_shard_listener *listener =
        (struct hcs_shard_listener *)(void *)watch;
    struct hcs_shard *shard = listener->shard;

    (void)seen;
    if (!shard->accept_stalled && !hcs_shard_is_paused(shard)) {
        extend_drain(shard, accept_batch(listener));
    } else if (shard->accept_stalled || hcs_balance_is_under_share(shard)) {
        extend_drain(shard, resume_accepting(shard));
    } /* else told before it paused, and another loop was asked */
}

void hcs_acceptor_come_when_asked(struct hcs_shard *shard)
{
    if (shard->is_open) {
        extend_drain(shard, resume_accepting(shard));
    }
}

void hcs_acceptor_close(struct hcs_shard *shard)
{
    if (!shard->is_open) {
        return;
    }
    shard->is_open = false;
    hcs_wheel_remove(shard->loop.wheel, &shard->accept_timer);
    /* In a shared table main may hold no copy; in private ones it has closed
     * its own before, so this is the last, and the port closes. A service
     * manager's has copies elsewhere. */
    watch_none(shard);
    for (unsigned i = 0; i < shard->listener_count; i++) {
        close(shard->listeners[i].fd);
        shard->listeners[i].fd = -1;
        hcs_counter_add(&shard->counts.own_fds, UINT64_MAX);
    }
}

/* Completed connections that wait to be accepted. */
static bool connections_wait(const struct hcs_shard *shard)
{
    for (unsigned i = 0; i < shard->listener_count; i++) {
        if (hcs_listener_waiting(shard->listeners[i].fd) > 0) {
            return true;
        }
    }
    return false;
}

/* The time to try again has come, or it was quiet for a while. */
void hcs_acceptor_expired(struct hcs_shard *shard)
{
    unsigned taken = resume_accepting(shard);
    bool in_time = shard->loop.now_ms < shard->accept_until_ms;

    if (shard->applied != HCS_COMMAND_DRAIN) {
        return;
    }
    if (shard->accept_stalled && (in_time || !shard->inherited)) {
        return; /* its timer is armed, and time bounds the drain */
    }
    if (in_time && (taken > 0 || connections_wait(shard))) {
        arm_quiet(shard);
        return;
    }
    /* New ones are dropped, so this ends; were the filter refused, here. What
     * comes to a service manager's listener is for our successor. */
    for (int i = 0;
         !shard->inherited && i < LAST_BATCHES && resume_accepting(shard) > 0;
         i++) {
    }
    hcs_acceptor_close(shard);
}

int hcs_acceptor_open(struct hcs_shard *shard)
{
    return watch_all(shard);
}

void hcs_acceptor_descriptor_freed(struct hcs_shard *shard)
{
    if (!shard->is_open) {
        return;
    }
    if (shard->accept_stalled) {
        for (unsigned i = 0; i < shard->listener_count; i++) {
            hcs_loop_post(&shard->loop, &shard->listeners[i].watch);
        }
    } else if (hcs_shard_is_paused(shard) &&
               hcs_balance_is_under_share(shard)) {
        hcs_loop_post(&shard->loop, &shard->listeners[0].watch);
    }
}

void hcs_acceptor_drain(struct hcs_shard *shard)
{
    shard->accept_until_ms = shard->loop.now_ms + DRAIN_ACCEPT_MS;
    if (shard->is_open) {
        (void)resume_accepting(shard);
        arm_quiet(shard);
    }
}
