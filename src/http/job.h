/*
 * job - a request on a worker: what hcs/handler.h offers to handlers.
 *
 * Owns:    each worker's region for parse trees.
 * Threads: a struct hcs_worker belongs to one worker.
 * Waits:   hcs_job_run, as long as the handler does.
 */
#ifndef HCS_HTTP_JOB_H
#define HCS_HTTP_JOB_H

#include "guard/budget.h"
#include "sync/pool.h"

/* Makes cJSON allocate parse trees in the region of the worker that parses,
 * within the budget. Once, before any thread. */
void hcs_job_install_allocator(void);

/* What the pool's threads do; context is the struct hcs_budget. */
extern const struct hcs_pool_work HCS_JOB_WORK;

#endif
