#include "http/job.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/region.h"
#include "base/text.h"
#include "http/problem.h"
#include "http/request.h"

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct worker {
    struct hcs_region *region;
    struct hcs_json_members members; /* of its job's body, if there is one */
};

struct hcs_job {
    struct hcs_request *request;
    struct worker *worker;
    cJSON *tree;
    bool beyond_cjson;      /* valid JSON that cJSON does not take */
    uint32_t detail_length; /* of the output, when it is a detail */
};

/* The region of this thread's job. A thread-local, since cJSON's hooks carry
 * no context; NULL outside of run, where trees live on the heap. */
static _Thread_local struct hcs_region *current_region;
static _Thread_local bool region_refused; /* since the tree was begun */

/* Stands before each block that cJSON gets: free has to know whose it is. */
union origin {
    bool in_region;
    max_align_t align;
};

static void *tree_alloc(size_t bytes)
{
    union origin *origin;

    if (bytes > SIZE_MAX - sizeof(*origin)) {
        return NULL;
    }
    if (current_region != NULL) {
        origin = hcs_region_alloc(current_region, bytes + sizeof(*origin));
    } else {
        origin = malloc(bytes + sizeof(*origin));
    }
    if (origin == NULL) {
        region_refused = true;
        return NULL;
    }
    origin->in_region = current_region != NULL;
    return origin + 1;
}

static void tree_free(void *block)
{
    union origin *origin = block;

    if (block == NULL) {
        return;
    }
    if (!origin[-1].in_region) {
        free(&origin[-1]);
    } else if (current_region != NULL) {
        /* Takes back only the latest block, which is what cJSON's copy of each
         * number is; the rest goes when the job ends. */
        hcs_region_free(current_region, &origin[-1]);
    }
}

void hcs_job_install_allocator(void)
{
    cJSON_Hooks hooks = {.malloc_fn = tree_alloc, .free_fn = tree_free};

    cJSON_InitHooks(&hooks);
}

static void *open_worker(void *context, unsigned index)
{
    struct worker *worker = malloc(sizeof(*worker));

    (void)index;
    if (worker == NULL) {
        return NULL;
    }
    worker->region =
        hcs_region_create(hcs_budget_take, hcs_budget_give, context);
    if (worker->region == NULL) {
        free(worker);
        return NULL;
    }
    return worker;
}

static void close_worker(void *state)
{
    struct worker *worker = state;

    hcs_region_destroy(worker->region);
    free(worker);
}

/* "a number may not start with 0, at byte 17" */
static void say_what_is_wrong(
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
        request->out_length = 0; /* the reason's own words will do */
    }
}

static enum hcs_reason run_handler(struct hcs_job *job)
{
    struct hcs_request *request = job->request;
    const struct hcs_route *route = request->route;
    enum hcs_outcome outcome;

    current_region = job->worker->region;
    outcome = route->handler->run(route->self, job);
    current_region = NULL;
    hcs_region_reset(job->worker->region);
    if (request->no_memory) {
        outcome = HCS_NO_MEMORY;
    } else if (job->beyond_cjson && outcome != HCS_OK) {
        /* The handler could not tell this from a lack of memory. */
        hcs_job_set_detail(job, "cJSON cannot hold this body: a number of more "
                                "than 63 characters, or deeper nesting");
        outcome = HCS_INVALID;
    }
    if (outcome != HCS_OK && request->out_length > job->detail_length) {
        /* What was written of a reply is no detail. */
        request->out_length = job->detail_length;
    }
    switch (outcome) {
    case HCS_OK:
        return HCS_REASON_NONE;
    case HCS_INVALID:
        return HCS_REASON_INVALID_JOB;
    case HCS_NO_MEMORY:
        request->out_length = 0;
        return HCS_REASON_MEMORY_PRESSURE;
    case HCS_FAILED:
        break;
    }
    return HCS_REASON_HANDLER_FAILED;
}

static void run(void *state, struct hcs_task *task)
{
    struct hcs_request *request = (struct hcs_request *)(void *)task;
    struct hcs_job job = {.request = request, .worker = state};
    uint64_t started_ns = hcs_clock_ns();
    struct hcs_json_result valid = {HCS_JSON_OK, 0};
    size_t length;
    const char *body = hcs_request_body(request, &length);

    /* [request.started] Relaxed: the loop's timer looks at the number, at
     * nothing behind it. */
    atomic_store_explicit(
        &request->started_ns, started_ns, memory_order_relaxed);
    if (length > 0) {
        valid = hcs_json_validate_members(body, length, &job.worker->members);
    }
    if (valid.error == HCS_JSON_OK) {
        request->reason = run_handler(&job);
    } else {
        say_what_is_wrong(request, &valid);
    }
    request->run_ns = hcs_clock_ns() - started_ns;
}

const struct hcs_pool_work HCS_JOB_WORK = {
    .open = open_worker,
    .run = run,
    .close = close_worker,
};

const char *hcs_job_body(const struct hcs_job *job, size_t *length)
{
    return hcs_request_body(job->request, length);
}

bool hcs_job_member(const struct hcs_job *job, const char *name,
    const char **value, size_t *length)
{
    size_t body_length;
    const char *body = hcs_request_body(job->request, &body_length);

    return body != NULL && hcs_json_noted_member(&job->worker->members, body,
                               body_length, name, value, length);
}

/* cJSON reads the start of a number that is too long for it, and of a body that
 * is nothing else it would say that this was all. NULL then: the tree goes with
 * the region. */
static cJSON *parse_whole(const char *body, size_t length)
{
    const char *end = NULL;
    cJSON *tree = cJSON_ParseWithLengthOpts(body, length, &end, false);

    if (tree == NULL) {
        return NULL;
    }
    while (end < body + length && memchr(" \t\n\r", *end, 4) != NULL) {
        end++;
    }
    return end == body + length ? tree : NULL;
}

struct cJSON *hcs_job_json(struct hcs_job *job)
{
    size_t length;
    const char *body = hcs_request_body(job->request, &length);

    if (job->tree == NULL && body != NULL) {
        region_refused = false;
        job->tree = parse_whole(body, length);
        if (job->tree == NULL && region_refused) {
            job->request->no_memory = true;
        }
        /* It was validated, so what else cJSON refuses is beyond it. */
        job->beyond_cjson = job->tree == NULL && !region_refused;
    }
    return job->tree;
}

const char *hcs_job_method(const struct hcs_job *job)
{
    return job->request->head.method == HCS_POST ? "POST" : "GET";
}

static const char *lend(
    const struct hcs_request *request, struct hcs_span span, size_t *length)
{
    *length = span.length;
    return span.length == 0 ? NULL : request->in + span.offset;
}

const char *hcs_job_path(const struct hcs_job *job, size_t *length)
{
    if (job->request->head.path.length == 0) { /* absolute form without one */
        *length = 1;
        return "/";
    }
    return lend(job->request, job->request->head.path, length);
}

const char *hcs_job_query(const struct hcs_job *job, size_t *length)
{
    return lend(job->request, job->request->head.query, length);
}

const char *hcs_job_request_id(const struct hcs_job *job, size_t *length)
{
    return hcs_request_id(job->request, length);
}

const char *hcs_job_field(
    const struct hcs_job *job, const char *name, size_t *length)
{
    const struct hcs_request *request = job->request;
    struct hcs_span value;

    if (strcasecmp(name, "Host") == 0) {
        /* RFC 9112, 3.2.2: the target's, where it holds one. */
        return lend(request, request->head.host, length);
    }
    if (!hcs_head_field(request->in, request->head_length, name, &value)) {
        *length = 0;
        return NULL;
    }
    *length = value.length;
    return request->in + value.offset;
}

bool hcs_job_cancelled(const struct hcs_job *job)
{
    /* [request.cancelled] Relaxed: a hint, and a later look sees it. */
    return atomic_load_explicit(&job->request->cancelled, memory_order_relaxed);
}

bool hcs_job_write(struct hcs_job *job, const void *bytes, size_t length)
{
    if (!hcs_request_write(job->request, bytes, length)) {
        job->request->no_memory = true;
        return false;
    }
    return true;
}

bool hcs_job_write_json(struct hcs_job *job, const struct cJSON *tree)
{
    char *text = cJSON_PrintUnformatted(tree);
    bool written;

    if (text == NULL) {
        job->request->no_memory = true;
        return false;
    }
    written = hcs_job_write(job, text, strlen(text));
    cJSON_free(text);
    return written;
}

/* Whether a reply may have the status without more fields than a handler can
 * set (RFC 9110, section 15). */
static bool is_complete_status(unsigned status)
{
    switch (status) {
    case 205: /* its content is empty by definition */
    case 206: /* Content-Range */
    case 226: /* IM (RFC 3229) */
    case 401: /* WWW-Authenticate */
    case 405: /* Allow */
    case 407: /* Proxy-Authenticate */
    case 408: /* the end of the connection */
    case 416: /* Content-Range */
    case 426: /* Upgrade */
    case 511: /* not of an origin server (RFC 6585) */
        return false;
    default:
        /* 3xx: Location; or, 304, a validator. */
        return (status >= 200 && status <= 299) ||
               (status >= 400 && status <= 599);
    }
}

bool hcs_job_set_status(struct hcs_job *job, unsigned status)
{
    if (!is_complete_status(status)) {
        return false;
    }
    job->request->status = (uint16_t)status;
    return true;
}

void hcs_job_set_content_type(struct hcs_job *job, const char *text)
{
    job->request->content_type = text;
}

void hcs_job_set_detail(struct hcs_job *job, const char *detail)
{
    job->request->out_length = 0;
    (void)hcs_request_write(
        job->request, detail, strnlen(detail, HCS_PROBLEM_DETAIL_MAX));
    job->detail_length = job->request->out_length;
}
