#include "job/job.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json_escape.h"
#include "http/problem.h"
#include "http/response.h"
#include "http/syntax.h"
#include "job/tree.h"
#include "sync/mailbox.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

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
    case HCS_PENDING: /* a mistake: the handler has not deferred the job */
        break;
    }
    return HCS_REASON_HANDLER_FAILED; /* also for a value that is no outcome */
}

/* The reply is a problem document instead of the handler's. Drops the fields
 * and the body that the handler wrote; the detail, if there is one, stays. */
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

void hcs_job_conclude(struct hcs_job *job, enum hcs_outcome outcome)
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

/* The job's arena; NULL when there is no memory. A worker has one arena for all
 * its jobs. A job that was resumed gets an arena of its own here, at the first
 * call that needs it. */
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
    struct hcs_arena *arena;
    bool no_memory = true;
    size_t length;
    const char *body = hcs_request_body(job->request, &length);

    if (job->tree != NULL || body == NULL) {
        return job->tree;
    }
    arena = arena_of(job);
    if (arena != NULL) {
        job->tree = hcs_tree_parse(arena, body, length, &no_memory);
    }
    job->no_memory |= no_memory;
    /* The worker has validated the body, so it is cJSON's limits that it is
     * beyond. */
    job->beyond_cjson = job->tree == NULL && !no_memory;
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
    uint64_t timeout_ms = job->request->route->mount->job_timeout_ms;

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
    if (job->request->head.path.length == 0) {
        /* The target is in absolute form and has no path. */
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
        /* RFC 9112, section 3.2.2: a host in the target replaces the field. */
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
    /* [request.cancelled] Relaxed: a hint. If this call misses the store, a
     * later call sees it. */
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

/* Fields that a handler cannot set: the daemon writes them itself, or they
 * frame the message, or they belong to one connection (RFC 9110, section
 * 7.6.1). */
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
    const char *at = request->out; /* may be NULL if there are no fields */
    size_t left = request->fields_length;
    size_t length = strlen(name);

    while (left > 0) {
        const char *next = memchr(at, '\n', left);

        assert(next != NULL); /* each field ends in CRLF */
        if ((size_t)(next - at) > length && at[length] == ':' &&
            strncasecmp(at, name, length) == 0) {
            return true;
        }
        left -= (size_t)(next + 1 - at);
        at = next + 1;
    }
    return false;
}

/* Whether the reply holds all that the status needs (RFC 9110, section 15). A
 * status that needs more than a handler can say is never complete. */
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
    case 205: /* must have no content */
    case 206: /* needs Content-Range */
    case 226: /* needs IM (RFC 3229) */
    case 407: /* only a proxy sends it */
    case 408: /* needs the connection to be closed */
    case 416: /* needs Content-Range */
    case 426: /* needs Upgrade */
    case 511: /* an origin server does not send it (RFC 6585) */
        return false;
    default:
        /* The other 3xx need a list of choices (300) or a validator (304). */
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

/* --- Deferral. */

bool hcs_job_defer(struct hcs_job *job, struct hcs_token *token)
{
    struct hcs_request *request = job->request;

    *token = (struct hcs_token){0};
    if (job->worker == NULL || hcs_deferrals_opened(&request->task)) {
        return false; /* the job was deferred before */
    }
    /* What the worker has done so far, for the thread that resumes the job. */
    request->job = (struct hcs_job){
        .request = request,
        .detail_length = job->detail_length,
        .no_memory = job->no_memory,
    };
    token->value =
        hcs_deferrals_open(hcs_job_deferrals(request), &request->task);
    return token->value != 0;
}

struct hcs_job *hcs_mount_resume(
    struct hcs_mount *mount, struct hcs_token token)
{
    struct hcs_deferrals *deferrals = mount->host->deferrals;
    /* Where only settings are checked, there are no deferrals and no jobs. */
    struct hcs_task *task =
        deferrals != NULL ? hcs_deferrals_claim(deferrals, token.value) : NULL;
    struct hcs_request *request = (struct hcs_request *)(void *)task;

    return request != NULL ? &request->job : NULL;
}

void hcs_job_complete(struct hcs_job *job, enum hcs_outcome outcome)
{
    struct hcs_request *request = job->request;
    struct hcs_mailbox *home = request->task.home;

    assert(job->worker == NULL); /* the job is one of hcs_mount_resume's */
    hcs_job_conclude(job, outcome);
    hcs_arena_destroy(job->arena);
    job->arena = NULL;
    if (hcs_deferrals_done(hcs_job_deferrals(request), &request->task) &&
        hcs_mailbox_put(home, &request->task)) {
        hcs_mailbox_ring(home);
    }
}

bool hcs_mount_awaits(struct hcs_mount *mount, struct hcs_token token)
{
    struct hcs_deferrals *deferrals = mount->host->deferrals;

    return deferrals != NULL && hcs_deferrals_awaits(deferrals, token.value);
}
