/*
 * opening - opens the handlers and starts the workers on a thread of its own,
 * and ends the workers.
 *
 * Opening may take long. Meanwhile main answers signals, and the loops answer
 * that the daemon is alive.
 *
 * Owns:    the thread, and an eventfd that is readable when the thread ended.
 * Threads: main.
 * Waits:   await: at most the time that it is given; stop and end_workers: as
 *          long as handlers make progress.
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
    int rc;       /* valid after the join: 0, or -errno */
};

/* 0, or -errno. */
int hcs_opening_open(struct hcs_opening *opening);
void hcs_opening_close(struct hcs_opening *opening);

/* Starts the thread. router and pool are borrowed until it has ended. Called
 * after the loops have their descriptor tables, so that these hold no
 * descriptor that a handler opens. Otherwise the end of a handler's pipe would
 * never be seen. 0, or -errno. */
int hcs_opening_start(struct hcs_opening *opening, struct hcs_router *router,
    struct hcs_pool *pool);

/* Waits at most wait_ms. True: the thread has ended, or was not started. */
bool hcs_opening_await(struct hcs_opening *opening, unsigned wait_ms);

/* Calls the opening off, and waits until its thread has ended. False: that
 * thread, or a worker that it started, is stuck in one call of a handler. */
bool hcs_opening_stop(struct hcs_opening *opening);

/* Ends the workers, after start. False: a worker is stuck in a job, or in a
 * handler's close_worker. This call waits for workers that end slowly: there
 * may be many workers, and few processors. */
bool hcs_opening_end_workers(struct hcs_opening *opening);

#endif
