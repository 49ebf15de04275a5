/*
 * job - a request as its handler sees it: hcs_job_* of hcs/handler.h.
 *
 * Owns:    the arena of a job that was resumed.
 * Threads: the one that has the job: a worker, or the thread that resumed it.
 *          hcs_mount_resume and hcs_mount_awaits by any.
 * Waits:   never.
 */
#ifndef HCS_JOB_JOB_H
#define HCS_JOB_JOB_H

#include "base/json_members.h"
#include "job/request.h"
#include "sync/deferral.h"

#include <stddef.h>

/* What a worker lends to the job that it runs. */
struct hcs_job_worker {
    const struct hcs_job_context *context;
    struct hcs_arena *arena;
    struct hcs_json_members members; /* of the job's body, if there is one */
    size_t state_count;              /* states that are open */
    void *states[];                  /* of the mounts, in the router's order */
};

/* The deferrals in which the request's job may be deferred. */
static inline struct hcs_deferrals *hcs_job_deferrals(
    const struct hcs_request *request)
{
    return request->route->mount->host->deferrals;
}

/* The job is done: stores in the request what the loop is to answer. */
void hcs_job_conclude(struct hcs_job *job, enum hcs_outcome outcome);

#endif
