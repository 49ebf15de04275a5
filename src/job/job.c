#include "job/job.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/json_escape.h"
#include "base/json_members.h"
#include "base/text.h"
#include "http/problem.h"
#include "http/response.h"
#include "http/syntax.h"
#include "job/request.h"
#include "sync/deferral.h"
#include "sync/mailbox.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct hcs_job_worker {
    const struct hcs_job_context *context;
    struct hcs_arena *arena;
    struct hcs_json_members members; /* of its job's body, if there is one */
    size_t state_count;              /* as many as are open */
    void *states[];                  /* of the mounts, in the router's order */
};

/* The arena of this thread's job. A thread-local, since cJSON's hooks carry
 * no context; NULL outside of run, and outside of parsing in a job that was
 * resumed, where trees live on the heap. */
static _Thread_local struct hcs_arena *current_arena;
static _Thread_local bool arena_refused; /* since the tree was begun */

/* Stands before each block that cJSON gets: free has to know whose it is. */
union origin {
    bool in_arena;
    max_align_t align;
};

static void *tree_alloc(size_t bytes)
{
    union origin *origin;

    if (bytes > SIZE_MAX - sizeof(*origin)) {
        return NULL;
    }
    if (current_arena != NULL) {
        origin = hcs_arena_alloc(current_arena, bytes + sizeof(*origin));
    } else {
        origin = malloc(bytes + sizeof(*origin));
    }
    if (origin == NULL) {
        arena_refused = true;
        return NULL;
    }
    origin->in_arena = current_arena != NULL;
    return origin + 1;
}

static void tree_free(void *block)
{
    union origin *origin = block;

    if (block == NULL) {
        return;
    }
    if (!origin[-1].in_arena) {
        free(&origin[-1]);
    } else if (current_arena != NULL) {
        /* Takes back only the latest block, which is what cJSON's copy of each
         * number is; the rest goes when the job ends. */
        hcs_arena_free(current_arena, &origin[-1]);
    }
}

void hcs_job_install_allocator(void)
{
    cJSON_Hooks hooks = {.malloc_fn = tree_alloc, .free_fn = tree_free};

    cJSON_InitHooks(&hooks);
}

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

static enum hcs_reason reason_for(enum hcs_outcome outcome)
{
    switch (outcome) {
    case HCS_OK:
        return HCS_REASON_NONE;
    case HCS_INVALID:
        return HCS_REASON_INVALID_JOB;
    case HCS_NO_MEMORY:
        return HCS_REASON_MEMORY_PRESSURE;
    case HCS_UNAVAILABLE:
        return HCS_REASON_HANDLER_UNAVAILABLE;
    case HCS_DIED:
        return HCS_REASON_HANDLER_DIED;
    case HCS_TIMED_OUT:
        return HCS_REASON_DEADLINE_EXCEEDED;
    case HCS_FAILED:
    case HCS_PENDING: /* and there is no token */
        break;
    }
    return HCS_REASON_HANDLER_FAILED; /* and what is no outcome */
}

/* What a reply that is none of the handler's leaves of what it wrote. */
static void keep_detail(struct hcs_job *job)
{
    struct hcs_request *request = job->request;

    if (job->detail_length > 0) {
        memmove(request->out, request->out + request->fields_length,
            job->detail_length);
    }
    request->fields_length = 0;
    request->out_length = job->detail_length;
}

/* The job is done: what its loop is to answer. */
static void conclude(struct hcs_job *job, enum hcs_outcome outcome)
{
    struct hcs_request *request = job->request;

    if (job->no_memory) {
        outcome = HCS_NO_MEMORY;
        job->detail_length = 0;
    } else if (job->beyond_cjson && outcome != HCS_OK) {
        /* The handler could not tell this from a lack of memory. */
        hcs_job_set_detail(job, "cJSON cannot hold this body: a number of more "
                                "than 63 characters, or deeper nesting");
        outcome = HCS_INVALID;
    }
    if (outcome != HCS_OK) {
        keep_detail(job);
    }
    request->reason = reason_for(outcome);
    request->run_ns =
        hcs_clock_ns() -
        atomic_load_explicit(&request->started_ns, memory_order_relaxed);
}

static struct hcs_mount *mount_of(const struct hcs_request *request)
{
    return request->route->mount;
}

static struct hcs_deferrals *deferrals_of(const struct hcs_request *request)
{
    return mount_of(request)->host->deferrals;
}

/* False when it is deferred. */
static bool run_handler(struct hcs_job *job)
{
    struct hcs_request *request = job->request;
    const struct hcs_mount *mount = mount_of(request);
    enum hcs_outcome outcome;

    current_arena = job->arena;
    outcome = mount->handler->run(mount->self, job);
    current_arena = NULL;
    hcs_arena_reset(job->arena);
    if (hcs_deferrals_opened(&request->task) &&
        (outcome == HCS_PENDING ||
            !hcs_deferrals_withdraw(deferrals_of(request), &request->task))) {
        return false;
    }
    conclude(job, outcome);
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

    /* [request.started] Relaxed: the loop's timer looks at the number, at
     * nothing behind it. */
    atomic_store_explicit(
        &request->started_ns, hcs_clock_ns(), memory_order_relaxed);
    if (length > 0) {
        valid = hcs_json_validate_members(body, length, &worker->members);
    }
    if (valid.error == HCS_JSON_OK) {
        return run_handler(&job);
    }
    conclude(&job, HCS_INVALID);
    say_what_is_wrong(request, &valid);
    return true;
}

static bool returned(void *state, struct hcs_task *task)
{
    (void)state;
    return hcs_deferrals_returned(
        deferrals_of((struct hcs_request *)(void *)task), task);
}

const struct hcs_pool_work HCS_JOB_WORK = {
    .open = open_worker,
    .run = run,
    .returned = returned,
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

    if (body == NULL) {
        return false;
    }
    if (job->worker == NULL) {
        return hcs_json_member(body, body_length, name, value, length);
    }
    return hcs_json_noted_member(
        &job->worker->members, body, body_length, name, value, length);
}

/* cJSON reads the start of a number that is too long for it, and of a body that
 * is nothing else it would say that this was all. NULL then: the tree goes with
 * the arena. */
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

/* The job's arena; NULL when there is no memory. A worker has one for all its
 * jobs, and a job that was resumed gets one of its own when it needs one. */
static struct hcs_arena *arena_of(struct hcs_job *job)
{
    if (job->arena == NULL) {
        job->arena = hcs_arena_create(
            hcs_budget_take, hcs_budget_give, job->request->budget);
    }
    return job->arena;
}

struct cJSON *hcs_job_json(struct hcs_job *job)
{
    struct hcs_arena *before = current_arena;
    size_t length;
    const char *body = hcs_request_body(job->request, &length);

    if (job->tree != NULL || body == NULL) {
        return job->tree;
    }
    current_arena = arena_of(job);
    arena_refused = current_arena == NULL;
    if (!arena_refused) {
        job->tree = parse_whole(body, length);
    }
    current_arena = before;
    job->no_memory |= job->tree == NULL && arena_refused;
    /* It was validated, so what else cJSON refuses is beyond it. */
    job->beyond_cjson = job->tree == NULL && !arena_refused;
    return job->tree;
}

void *hcs_job_alloc(struct hcs_job *job, size_t bytes)
{
    struct hcs_arena *arena = arena_of(job);
    void *block = arena != NULL ? hcs_arena_alloc(arena, bytes) : NULL;

    job->no_memory |= block == NULL;
    return block;
}

void *hcs_job_worker_state(const struct hcs_job *job)
{
    return job->worker != NULL ? job->worker->states[job->request->route->index]
                               : NULL;
}

uint64_t hcs_job_deadline_ns(const struct hcs_job *job)
{
    uint64_t timeout_ms = mount_of(job->request)->job_timeout_ms;

    return timeout_ms == 0 ? UINT64_MAX
                           : atomic_load_explicit(&job->request->started_ns,
                                 memory_order_relaxed) +
                                 timeout_ms * 1000000;
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
        job->no_memory = true;
        return false;
    }
    return true;
}

bool hcs_job_write_json(struct hcs_job *job, const struct cJSON *tree)
{
    char *text = cJSON_PrintUnformatted(tree);
    bool written;

    if (text == NULL) {
        job->no_memory = true;
        return false;
    }
    written = hcs_job_write(job, text, strlen(text));
    cJSON_free(text);
    return written;
}

bool hcs_job_write_string(struct hcs_job *job, const char *text, size_t length)
{
    const char *end = text + length;

    if (!hcs_job_write(job, "\"", 1)) {
        return false;
    }
    while (text < end) {
        char escape[HCS_JSON_ESCAPE_MAX];
        size_t escaped;
        size_t plain = hcs_json_plain(text, (size_t)(end - text));

        if (plain > 0 && !hcs_job_write(job, text, plain)) {
            return false;
        }
        text += plain;
        if (text < end) {
            text +=
                hcs_json_escape(text, (size_t)(end - text), escape, &escaped);
            if (!hcs_job_write(job, escape, escaped)) {
                return false;
            }
        }
    }
    return hcs_job_write(job, "\"", 1);
}

/* What the daemon writes itself, and what frames a message or belongs to one
 * connection (RFC 9110, section 7.6.1). */
static bool is_own_field(const char *name)
{
    static const char *const own[] = {
        "Connection",
        "Content-Length",
        "Content-Type",
        "Date",
        "Keep-Alive",
        "Proxy-Connection",
        "Server-Timing",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "X-Request-ID",
    };

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strcasecmp(own[i], name) == 0) {
            return true;
        }
    }
    return false;
}

bool hcs_job_add_field(struct hcs_job *job, const char *name, const char *value)
{
    size_t name_length = strlen(name);
    size_t value_length = strlen(value);

    if (!hcs_syntax_is_token(name, name + name_length) || is_own_field(name) ||
        !hcs_syntax_is_field_value(value, value + value_length) ||
        job->request->fields_length + name_length + value_length + 4 >
            HCS_RESPONSE_FIELDS_MAX) {
        return false;
    }
    if (!hcs_request_write_field(job->request, name, value)) {
        job->no_memory = true;
        return false;
    }
    return true;
}

static bool has_field(const struct hcs_job *job, const char *name)
{
    const struct hcs_request *request = job->request;
    const char *at = request->out; /* may be NULL while there are none */
    size_t left = request->fields_length;
    size_t length = strlen(name);

    while (left > 0) {
        const char *next = memchr(at, '\n', left);

        assert(next != NULL); /* each ends in CRLF */
        if ((size_t)(next - at) > length && at[length] == ':' &&
            strncasecmp(at, name, length) == 0) {
            return true;
        }
        left -= (size_t)(next + 1 - at);
        at = next + 1;
    }
    return false;
}

/* Whether the reply may have the status with no more fields than a handler has
 * set (RFC 9110, section 15). */
static bool is_complete_status(const struct hcs_job *job, unsigned status)
{
    switch (status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
        return has_field(job, "Location");
    case 401:
        return has_field(job, "WWW-Authenticate");
    case 405:
        return has_field(job, "Allow");
    case 205: /* its content is empty by definition */
    case 206: /* Content-Range */
    case 226: /* IM (RFC 3229) */
    case 407: /* of a proxy */
    case 408: /* the end of the connection */
    case 416: /* Content-Range */
    case 426: /* Upgrade */
    case 511: /* not of an origin server (RFC 6585) */
        return false;
    default:
        /* Other 3xx: a list of choices; a validator. */
        return (status >= 200 && status <= 299) ||
               (status >= 400 && status <= 599);
    }
}

bool hcs_job_set_status(struct hcs_job *job, unsigned status)
{
    if (!is_complete_status(job, status)) {
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
    job->request->fields_length = 0;
    job->request->out_length = 0;
    (void)hcs_request_write(
        job->request, detail, strnlen(detail, HCS_PROBLEM_DETAIL_MAX));
    job->detail_length = job->request->out_length;
}

/* --- Answering later. */

bool hcs_job_defer(struct hcs_job *job, struct hcs_token *token)
{
    struct hcs_request *request = job->request;

    *token = (struct hcs_token){0};
    if (job->worker == NULL || hcs_deferrals_opened(&request->task)) {
        return false; /* it was deferred before */
    }
    /* What it has come to so far, for whoever resumes it. */
    request->job = (struct hcs_job){
        .request = request,
        .detail_length = job->detail_length,
        .no_memory = job->no_memory,
    };
    token->value = hcs_deferrals_open(deferrals_of(request), &request->task);
    return token->value != 0;
}

struct hcs_job *hcs_mount_resume(
    struct hcs_mount *mount, struct hcs_token token)
{
    struct hcs_deferrals *deferrals = mount->host->deferrals;
    /* None where settings are checked, and no job either. */
    struct hcs_task *task =
        deferrals != NULL ? hcs_deferrals_claim(deferrals, token.value) : NULL;
    struct hcs_request *request = (struct hcs_request *)(void *)task;

    return request != NULL ? &request->job : NULL;
}

void hcs_job_complete(struct hcs_job *job, enum hcs_outcome outcome)
{
    struct hcs_request *request = job->request;
    struct hcs_mailbox *home = request->task.home;

    assert(job->worker == NULL); /* of hcs_mount_resume */
    conclude(job, outcome);
    hcs_arena_destroy(job->arena);
    job->arena = NULL;
    if (hcs_deferrals_done(deferrals_of(request), &request->task) &&
        hcs_mailbox_put(home, &request->task)) {
        hcs_mailbox_ring(home);
    }
}

bool hcs_mount_awaits(struct hcs_mount *mount, struct hcs_token token)
{
    struct hcs_deferrals *deferrals = mount->host->deferrals;

    return deferrals != NULL && hcs_deferrals_awaits(deferrals, token.value);
}
