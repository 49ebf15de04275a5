#include "app/opening.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    STUCK_OPEN_MS = 1000, /* in one call of open, open_worker or close */
    STUCK_JOB_MS = 200,   /* in one job, or close_worker */
};

int hcs_opening_open(struct hcs_opening *opening)
{
    opening->ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return opening->ended_fd < 0 ? -errno : 0;
}

void hcs_opening_close(struct hcs_opening *opening)
{
    if (opening->ended_fd >= 0) {
        close(opening->ended_fd);
    }
}

static void *opening_main(void *argument)
{
    struct hcs_opening *opening = argument;
    int rc;

    (void)pthread_setname_np(pthread_self(), "hcsd-opening");
    rc = hcs_router_open(opening->router);
    if (rc == 0) {
        rc = hcs_pool_start(opening->pool);
    }
    opening->rc = rc;
    (void)eventfd_write(opening->ended_fd, 1);
    return NULL;
}

int hcs_opening_start(struct hcs_opening *opening, struct hcs_router *router,
    struct hcs_pool *pool)
{
    int rc;

    opening->router = router;
    opening->pool = pool;
    rc = -pthread_create(&opening->thread, NULL, opening_main, opening);
    opening->started = rc == 0;
    return rc;
}

bool hcs_opening_await(struct hcs_opening *opening, unsigned wait_ms)
{
    struct pollfd end = {.fd = opening->ended_fd, .events = POLLIN};
    uint64_t until_ms = hcs_clock_ms() + wait_ms;

    if (!opening->started || opening->joined) {
        return true;
    }
    /* It fails by EINTR, or when the kernel has no memory for a moment. */
    while (poll(&end, 1, (int)wait_ms) < 0 && wait_ms > 0) {
        uint64_t now_ms = hcs_clock_ms();

        wait_ms = now_ms < until_ms ? (unsigned)(until_ms - now_ms) : 0;
    }
    if ((end.revents & POLLIN) == 0) {
        return false;
    }
    pthread_join(opening->thread, NULL);
    opening->joined = true;
    return true;
}

/* --- The end. */

/* What changes while handlers make progress. */
struct progress {
    unsigned inside; /* calls of handlers that have not returned */
    unsigned ended;  /* calls that have returned */
    unsigned busy;   /* workers that run a job */
};

static struct progress look(struct hcs_opening *opening)
{
    struct hcs_handler_calls *calls = &opening->calls;

    return (struct progress){
        .inside = atomic_load_explicit(&calls->inside, memory_order_relaxed),
        .ended = atomic_load_explicit(&calls->ended, memory_order_relaxed),
        .busy = opening->pool != NULL ? hcs_pool_busy(opening->pool) : 0,
    };
}

/* *before: as the last look saw it; becomes what this look sees. True when a
 * thread is in a handler, and no call and no job has returned in between. */
static bool is_stuck(struct hcs_opening *opening, struct progress *before)
{
    struct progress now = look(opening);
    bool stuck = now.inside + now.busy > 0 && now.ended == before->ended &&
                 now.busy == before->busy;

    *before = now;
    return stuck;
}

bool hcs_opening_stop(struct hcs_opening *opening)
{
    struct progress seen = look(opening);

    atomic_store_explicit(
        &opening->calls.called_off, true, memory_order_relaxed);
    while (!hcs_opening_await(opening, STUCK_OPEN_MS)) {
        if (is_stuck(opening, &seen)) {
            return false;
        }
    }
    return true;
}

bool hcs_opening_end_workers(struct hcs_opening *opening)
{
    struct progress seen = look(opening);

    while (!hcs_pool_stop(opening->pool, STUCK_JOB_MS)) {
        if (is_stuck(opening, &seen)) {
            return false;
        }
    }
    return true;
}
