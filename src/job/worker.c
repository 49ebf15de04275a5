#include "job/worker.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/json_members.h"
#include "base/text.h"
#include "job/job.h"
#include "job/request.h"
#include "job/tree.h"
#include "sync/deferral.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static void close_worker(void *state)
{
    struct hcs_job_worker *worker = state;
    const struct hcs_router *router = worker->context->router;

    while (worker->state_count > 0) {
        size_t i = --worker->state_count;

        hcs_mount_close_worker(
            hcs_router_job(router, i)->mount, worker->states[i]);
    }
    hcs_arena_destroy(worker->arena);
    free(worker);
}

static void *open_worker(void *state, unsigned index)
{
    const struct hcs_job_context *context = state;
    size_t mounts = hcs_router_jobs(context->router);
    struct hcs_job_worker *worker =
        malloc(sizeof(*worker) + mounts * sizeof(worker->states[0]));

    if (worker == NULL) {
        return NULL;
    }
    worker->context = context;
    worker->state_count = 0;
    worker->arena =
        hcs_arena_create(hcs_budget_take, hcs_budget_give, context->budget);
    if (worker->arena == NULL) {
        free(worker);
        return NULL;
    }
    for (size_t i = 0; i < mounts; i++) {
        if (hcs_mount_open_worker(hcs_router_job(context->router, i)->mount,
                index, &worker->states[i]) != 0) {
            close_worker(worker);
            return NULL;
        }
        worker->state_count++;
    }
    return worker;
}

/* Makes the detail of the problem, such as "a number may not start with 0, at
 * byte 17". */
static void write_json_error(
    struct hcs_request *request, const struct hcs_json_result *result)
{
    const char *what = hcs_json_error_text(result->error);
    char offset[HCS_TEXT_U64_MAX];
    size_t digits = hcs_text_u64(offset, result->offset);

    request->reason = HCS_REASON_BAD_JSON;
    request->out_length = 0;
    if (!hcs_request_write(request, what, strlen(what)) ||
        !hcs_request_write(request, ", at byte ", 10) ||
        !hcs_request_write(request, offset, digits)) {
        request->out_length = 0; /* the reason has a text of its own */
    }
}

/* False: the job is deferred, and another thread completes it. */
static bool run_handler(struct hcs_job *job)
{
    struct hcs_request *request = job->request;
    const struct hcs_mount *mount = request->route->mount;
    enum hcs_outcome outcome;

    (void)hcs_tree_use(job->arena);
    outcome = mount->handler->run(mount->self, job);
    (void)hcs_tree_use(NULL);
    hcs_arena_reset(job->arena);
    if (hcs_deferrals_opened(&request->task) &&
        (outcome == HCS_PENDING ||
            !hcs_deferrals_withdraw(
                hcs_job_deferrals(request), &request->task))) {
        return false;
    }
    hcs_job_conclude(job, outcome);
    return true;
}

static bool run(void *state, struct hcs_task *task)
{
    struct hcs_request *request = (struct hcs_request *)(void *)task;
    struct hcs_job_worker *worker = state;
    struct hcs_job job = {
        .request = request, .worker = worker, .arena = worker->arena};
    struct hcs_json_result valid = {HCS_JSON_OK, 0};
    size_t length;
    const char *body = hcs_request_body(request, &length);

    /* [request.started] Relaxed: the loop's timer reads only this number, and
     * nothing else that the worker writes. */
    atomic_store_explicit(
        &request->started_ns, hcs_clock_ns(), memory_order_relaxed);
    if (length > 0) {
        valid = hcs_json_validate_members(body, length, &worker->members);
    }
    if (valid.error == HCS_JSON_OK) {
        return run_handler(&job);
    }
    hcs_job_conclude(&job, HCS_INVALID);
    write_json_error(request, &valid);
    return true;
}

static bool returned(void *state, struct hcs_task *task)
{
    (void)state;
    return hcs_deferrals_returned(
        hcs_job_deferrals((struct hcs_request *)(void *)task), task);
}

const struct hcs_pool_work HCS_JOB_WORK = {
    .open = open_worker,
    .run = run,
    .returned = returned,
    .close = close_worker,
};
