/*
 * job - a request on a worker: what hcs/handler.h offers to handlers.
 *
 * Owns:    each worker's arena for parse trees, and its mounts' states.
 * Threads: as hcs/handler.h and hcs_pool_work say.
 * Waits:   running a job, as long as the handler does.
 */
#ifndef HCS_JOB_JOB_H
#define HCS_JOB_JOB_H

#include "guard/budget.h"
#include "job/router.h"
#include "sync/pool.h"

/* What the pool's threads share, and the context of their work. */
struct hcs_job_context {
    struct hcs_budget *budget;
    struct hcs_router *router; /* open; its mounts' states are each worker's */
};

/* Makes cJSON allocate parse trees in the arena of the worker that parses,
 * within the budget. Once, before any thread. */
void hcs_job_install_allocator(void);

/* What the pool's threads do; context is a struct hcs_job_context. */
extern const struct hcs_pool_work HCS_JOB_WORK;

#endif
