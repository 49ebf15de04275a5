/*
 * opening - opens the handlers and starts the workers, on a thread of its own,
 * and ends them.
 *
 * Opening may take long. Main answers signals meanwhile, and loops say that the
 * daemon is alive.
 *
 * Owns:    the thread, and an eventfd that is readable when it has ended.
 * Threads: main.
 * Waits:   await as long as it is told; stop and end_workers while handlers make
 *          progress.
 */
#ifndef HCS_APP_OPENING_H
#define HCS_APP_OPENING_H

#include "job/router.h"
#include "sync/pool.h"

#include <pthread.h>
#include <stdbool.h>

struct hcs_opening {
    struct hcs_router *router;
    struct hcs_pool *pool;
    struct hcs_handler_calls calls; /* for the host of the mounts */
    pthread_t thread;
    bool started;
    bool joined;
    int ended_fd; /* eventfd */
    int rc;       /* valid once it is joined: 0, or -errno */
};

/* 0, or -errno. */
int hcs_opening_open(struct hcs_opening *opening);
void hcs_opening_close(struct hcs_opening *opening);

/* Starts the thread; router and pool are borrowed until it has ended. It begins
 * after the loops have their descriptor tables, so that these hold nothing that
 * handlers open: else the end of a pipe would never be seen. 0, or -errno. */
int hcs_opening_start(struct hcs_opening *opening, struct hcs_router *router,
    struct hcs_pool *pool);

/* Waits at most wait_ms. True when no thread opens any more. */
bool hcs_opening_await(struct hcs_opening *opening, unsigned wait_ms);

/* Calls the opening off and waits until its thread has ended. False when that
 * thread, or a worker that it started, is stuck in one call of a handler. */
bool hcs_opening_stop(struct hcs_opening *opening);

/* Ends the workers, after start. False when a worker is stuck in a job, or in a handler's
 * close_worker. Workers that are slow to end are waited for: there may be many of
 * them, and few processors. */
bool hcs_opening_end_workers(struct hcs_opening *opening);

#endif
