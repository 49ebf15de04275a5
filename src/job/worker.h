/*
 * worker - what a thread of the pool does: it runs jobs.
 *
 * Owns:    each worker's arena for parse trees, and the states that the mounts
 *          opened for this worker.
 * Threads: as hcs_pool_work says.
 * Waits:   run: as long as the handler's run does.
 */
#ifndef HCS_JOB_WORKER_H
#define HCS_JOB_WORKER_H

#include "guard/budget.h"
#include "job/router.h"
#include "sync/pool.h"

/* What all workers share. */
struct hcs_job_context {
    struct hcs_budget *budget;
    struct hcs_router
        *router; /* open: each worker opens a state of each mount */
};

/* The work of the pool; its context is a struct hcs_job_context. */
extern const struct hcs_pool_work HCS_JOB_WORK;

#endif
