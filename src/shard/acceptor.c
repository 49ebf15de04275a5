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
    ACCEPT_RETRY_MS = 100, /* after the kernel had no memory or descriptor */
    DRAIN_QUIET_MS = 100,  /* drain: if none connects for so long, all have */
    DRAIN_ACCEPT_MS = 1000,
    LAST_BATCHES = 1024,
};

/* If all loops share one descriptor table, one loop accepts at a time. A loop
 * that closes a spare must get the spare's number. Without the lock, another
 * loop that has just failed for lack of a number could get it. */
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

/* There are no descriptors left. Accepts one connection under the number of a
 * spare, and refuses it. If no spare is left, first closes the connection that
 * was refused longest ago, whose number is a spare again. 0: the caller goes on
 * accepting; or errno. */
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

/* A loop that stops before EAGAIN gets no edge for connections that already
 * wait. So it tries again when a descriptor becomes free, or after a while. */
static void stall(struct hcs_shard *shard)
{
    shard->accept_stalled = true;
    hcs_wheel_arm(shard->loop.wheel, &shard->accept_timer,
        shard->loop.now_ms + ACCEPT_RETRY_MS);
}

/* Has the loop wait at its listeners. 0, or -errno: the loop does not wait at
 * some of them. */
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

/* Afterwards no event of a listener reaches the loop. */
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

/* Leaves the listeners to other loops. First this loop stops waiting there:
 * connections that come afterwards wake another loop. Connections that came
 * before may have been told to this loop only. The loop that is asked looks at
 * once, and finds them. */
static void pause_accepting(struct hcs_shard *shard)
{
    watch_none(shard);
    set_paused(shard, true);
    hcs_balance_hand_over(shard);
}

/* In a drain no loop pauses: each accepts what there is, until it closes its
 * listeners. */
static bool may_pause(const struct hcs_shard *shard)
{
    return !hcs_shard_is_paused(shard) && shard->applied == HCS_COMMAND_RUN &&
           hcs_balance_is_over_share(shard);
}

/* Whether the error of accept(2) is about one connection, which is gone, or
 * about the network. Then accept(2) is to be called again. */
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

/* Accepts a batch. Returns how many connections were accepted. */
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
            /* No memory, no buffers, or no descriptor even to refuse with. */
            stall(shard);
            return taken;
        }
        taken += error == 0;
        /* A loop pauses only after it has accepted a connection. Else loops
         * could pass a connection on for ever, and none would accept it. */
        if (shard->shared && error == 0 && may_pause(shard)) {
            pause_accepting(shard);
            return taken;
        }
    }
    hcs_loop_post(&shard->loop, &listener->watch);
    return taken;
}

/* First waits at all listeners, then accepts what is there. So a connection
 * that comes in between is an event. Returns how many connections were
 * accepted. */
static unsigned resume_accepting(struct hcs_shard *shard)
{
    unsigned taken = 0;

    shard->accept_stalled = false;
    if (hcs_shard_is_paused(shard)) {
        if (watch_all(shard) == 0) {
            set_paused(shard, false);
        } else {
            stall(shard); /* no memory to wait; the loop accepts all the same */
        }
    }
    for (unsigned i = 0; i < shard->listener_count; i++) {
        taken += accept_batch(&shard->listeners[i]);
        if (hcs_shard_is_paused(shard) && !shard->accept_stalled) {
            break; /* what is left was handed over to another loop */
        }
    }
    return taken;
}

/* The timer passes when no connection has come for DRAIN_QUIET_MS, or at
 * accept_until_ms. Without that limit a drain might not end: clients go on
 * connecting at a listener that the service manager keeps open. */
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
    } /* else: an event from before the pause; another loop was asked */
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
    /* These are the daemon's last copies of the loop's listeners: with a shared
     * table main has no copies, and with private tables main has closed its own
     * before. So the port closes. An inherited listener stays open in the
     * service manager. */
    watch_none(shard);
    for (unsigned i = 0; i < shard->listener_count; i++) {
        close(shard->listeners[i].fd);
        shard->listeners[i].fd = -1;
        hcs_counter_add(&shard->counts.own_fds, UINT64_MAX);
    }
}

/* Whether connections wait to be accepted. */
static bool connections_wait(const struct hcs_shard *shard)
{
    for (unsigned i = 0; i < shard->listener_count; i++) {
        if (hcs_listener_waiting(shard->listeners[i].fd) > 0) {
            return true;
        }
    }
    return false;
}

/* It is time to try again after a stall; or, in a drain, no connection has come
 * for a while. */
void hcs_acceptor_expired(struct hcs_shard *shard)
{
    unsigned taken = resume_accepting(shard);
    bool in_time = shard->loop.now_ms < shard->accept_until_ms;

    if (shard->applied != HCS_COMMAND_DRAIN) {
        return;
    }
    if (shard->accept_stalled && (in_time || !shard->inherited)) {
        return; /* the timer is armed; SHUTDOWN_TIMEOUT ends the drain */
    }
    if (in_time && (taken > 0 || connections_wait(shard))) {
        arm_quiet(shard);
        return;
    }
    /* The kernel drops new connection attempts by now, so the loop finds
     * nothing more and ends. If the kernel refused the filter, LAST_BATCHES
     * ends it. Connections at an inherited listener wait for the next
     * process. */
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
