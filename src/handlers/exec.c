#include "handlers/exec.h"

#include "handlers/exec_child.h"
#include "hcs/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    HEAD_BYTES = 512, /* of a request, without path, query and ids */
    HOW_BYTES = 128,
    DETAIL_BYTES = 256,
    ENDING_MS = 1000,     /* to end by itself, when the daemon ends */
    STATUS_WAIT_MS = 100, /* from the end of its output to its own */
    STATUS_DEFAULT = 200,
    STATUS_NO_CONTENT = 204,
};

static const uint64_t BACKOFF_FIRST_NS = 100 * UINT64_C(1000000);
static const uint64_t BACKOFF_MAX_NS = 10 * UINT64_C(1000000000);
static const uint64_t MS_NS = 1000000;

struct exec {
    struct hcs_mount *mount;
    struct hcs_spawner *spawner;
    struct hcs_exec_errors *errors;
    struct hcs_exec_program program;
    struct hcs_figure *children;
    struct hcs_figure *starts;
    struct hcs_figure *deaths;
    struct hcs_figure *backoffs;
    atomic_bool lost_said; /* that the spawner is gone; once is enough */
};

struct worker {
    struct hcs_exec_child child;
    uint64_t jobs;          /* the number of the last one is its id */
    unsigned failures;      /* in a row */
    char how[HOW_BYTES];    /* of the last: "ended with status 1" */
    uint64_t not_before_ns; /* no start until then */
    struct hcs_exec_buffer buffer;
};

/* --- Children. */

/* -errno, and line says why. */
static int start_child(
    struct exec *exec, struct worker *worker, char *line, size_t size)
{
    enum hcs_spawn_step step;
    int rc = hcs_exec_child_start(
        &worker->child, exec->spawner, &exec->program, exec->errors, &step);

    if (rc == 0) {
        hcs_figure_add(exec->starts, 1);
        hcs_figure_add(exec->children, 1);
        return 0;
    }
    hcs_exec_program_explain(&exec->program, rc, step, line, size);
    return rc;
}

/* One more failure in a row: the first costs nothing, the next ones time. */
static void count_failure(struct worker *worker)
{
    uint64_t wait_ns = 0;

    worker->failures++;
    for (unsigned i = 1; i < worker->failures && wait_ns < BACKOFF_MAX_NS;
         i++) {
        wait_ns = wait_ns == 0 ? BACKOFF_FIRST_NS : 2 * wait_ns;
    }
    wait_ns = wait_ns < BACKOFF_MAX_NS ? wait_ns : BACKOFF_MAX_NS;
    worker->not_before_ns = hcs_exec_now_ns() + wait_ns;
}

/* Says so in the log, save that the spawner is gone, which is said once. */
static void start_failed(
    struct exec *exec, struct worker *worker, int rc, const char *line)
{
    count_failure(worker);
    (void)snprintf(worker->how, sizeof(worker->how), "cannot be started");
    if (rc == -EPIPE) {
        if (!atomic_exchange_explicit(
                &exec->lost_said, true, memory_order_relaxed)) {
            hcs_mount_log(exec->mount, HCS_ERROR,
                "%s: no program is started any more until hcsd is restarted",
                line);
        }
        return;
    }
    hcs_mount_log(exec->mount, HCS_WARN, "%s", line);
}

/* Ends a child that failed; why: "did not answer in time", or NULL when what
 * became of it says that. True when it had read nothing of its job. */
static bool fail_child(struct exec *exec, struct worker *worker,
    unsigned grace_ms, const char *why)
{
    pid_t pid = worker->child.pid;
    bool unread = hcs_exec_child_end(&worker->child, exec->spawner,
        exec->errors, grace_ms, worker->how, sizeof(worker->how));

    hcs_figure_add(exec->children, -1);
    hcs_figure_add(exec->deaths, 1);
    if (why != NULL) {
        (void)snprintf(worker->how, sizeof(worker->how), "%s", why);
    }
    hcs_mount_log(
        exec->mount, HCS_WARN, "pid %d: the program %s", (int)pid, worker->how);
    count_failure(worker);
    return unread;
}

/* After a first failure at once, so that the next job need not wait for it. */
static void start_again_at_once(struct exec *exec, struct worker *worker)
{
    char line[DETAIL_BYTES];

    if (worker->child.pid == 0 && worker->failures <= 1) {
        int rc = start_child(exec, worker, line, sizeof(line));

        if (rc != 0) {
            start_failed(exec, worker, rc, line);
        }
    }
}

static enum hcs_outcome refuse(
    struct exec *exec, const struct worker *worker, struct hcs_job *job)
{
    char detail[DETAIL_BYTES];
    uint64_t now_ns = hcs_exec_now_ns();
    uint64_t left_ms =
        now_ns < worker->not_before_ns
            ? (worker->not_before_ns - now_ns + MS_NS - 1) / MS_NS
            : 0;

    (void)snprintf(detail, sizeof(detail),
        "the program %s (failure %u in a row); it is started again in "
        "%" PRIu64 ".%" PRIu64 " s",
        worker->how, worker->failures, left_ms / 1000, left_ms % 1000 / 100);
    hcs_figure_add(exec->backoffs, 1);
    hcs_job_set_detail(job, detail);
    return HCS_UNAVAILABLE;
}

/* A child that has used up half of its CPU time is replaced between two jobs:
 * the limit is for all that a process does, and is to meet none but a job that
 * takes the other half by itself. */
static void renew_worn(struct exec *exec, struct worker *worker)
{
    uint64_t limit = exec->program.spawn.cpu_seconds;
    struct timespec used;
    clockid_t clock;
    char how[HOW_BYTES];

    if (limit == HCS_SPAWN_NO_LIMIT ||
        clock_getcpuclockid(worker->child.pid, &clock) != 0 ||
        clock_gettime(clock, &used) != 0 || (uint64_t)used.tv_sec * 2 < limit) {
        return;
    }
    hcs_exec_child_part(&worker->child, STATUS_WAIT_MS);
    (void)hcs_exec_child_end(
        &worker->child, exec->spawner, exec->errors, 0, how, sizeof(how));
    hcs_figure_add(exec->children, -1);
    hcs_mount_log(exec->mount, HCS_DEBUG,
        "a child that had used half of its CPU time was replaced");
}

/* HCS_OK: there is a child, and it waits for a line. */
static enum hcs_outcome get_child(
    struct exec *exec, struct worker *worker, struct hcs_job *job)
{
    char line[DETAIL_BYTES];
    int rc;

    if (worker->child.pid != 0) {
        switch (hcs_exec_child_mood(&worker->child)) {
        case HCS_EXEC_WAITS:
            return HCS_OK;
        case HCS_EXEC_ENDED:
            (void)fail_child(exec, worker, STATUS_WAIT_MS, NULL);
            break;
        case HCS_EXEC_TALKS:
            (void)fail_child(
                exec, worker, 0, "wrote a line that nobody had asked for");
            break;
        }
    }
    if (hcs_exec_now_ns() < worker->not_before_ns) {
        return refuse(exec, worker, job);
    }
    rc = start_child(exec, worker, line, sizeof(line));
    if (rc != 0) {
        start_failed(exec, worker, rc, line);
        hcs_job_set_detail(job, line);
        return HCS_UNAVAILABLE;
    }
    return HCS_OK;
}

/* --- The line to the child. */

struct request {
    struct iovec parts[3];
    char id[32];
};

/* Bytes of text as part of a JSON string; at most six each. Path and query are
 * what the client sent, without control bytes or anything that is not ASCII. */
static char *put_escaped(char *to, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\') {
            *to++ = '\\';
            *to++ = text[i];
        } else if ((unsigned char)text[i] < ' ' ||
                   (unsigned char)text[i] > '~') {
            to += snprintf(to, 7, "\\u%04x", (unsigned char)text[i]);
        } else {
            *to++ = text[i];
        }
    }
    return to;
}

static char *put_text(char *to, const char *text)
{
    size_t length = strlen(text);

    memcpy(to, text, length);
    return to + length;
}

/* ,"NAME":"TEXT" or ,"NAME":null */
static char *put_member(
    char *to, const char *name, const char *text, size_t length)
{
    to = put_text(to, ",\"");
    to = put_text(to, name);
    to = put_text(to, "\":");
    if (text == NULL) {
        return put_text(to, "null");
    }
    *to++ = '"';
    to = put_escaped(to, text, length);
    *to++ = '"';
    return to;
}

static char *put_deadline(char *to, const struct hcs_job *job)
{
    uint64_t deadline_ns = hcs_job_deadline_ns(job);
    uint64_t now_ns = hcs_exec_now_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

    to = put_text(to, ",\"deadline_ms\":");
    if (deadline_ns == UINT64_MAX) {
        return put_text(to, "null");
    }
    return to + snprintf(to, 24, "%" PRIu64, left_ns / MS_NS);
}

/* The body on one line. What ends a line stands in JSON for white space, so
 * blanks mean the same; carriage returns too, since there are readers for whom
 * they end one. NULL without memory. */
static const char *flatten(struct hcs_job *job, const char *body, size_t length)
{
    char *flat;

    if (memchr(body, '\n', length) == NULL &&
        memchr(body, '\r', length) == NULL) {
        return body;
    }
    flat = hcs_job_alloc(job, length);
    if (flat == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < length; i++) {
        flat[i] = body[i] == '\n' || body[i] == '\r' ? ' ' : body[i];
    }
    return flat;
}

/* False when there is no memory. */
static bool make_request(
    struct request *request, struct hcs_job *job, uint64_t number)
{
    size_t id_length;
    size_t path_length;
    size_t query_length;
    size_t body_length;
    const char *method = hcs_job_method(job);
    const char *id = hcs_job_request_id(job, &id_length);
    const char *path = hcs_job_path(job, &path_length);
    const char *query = hcs_job_query(job, &query_length);
    const char *body = hcs_job_body(job, &body_length);
    char *head = hcs_job_alloc(
        job, HEAD_BYTES + 6 * (id_length + path_length + query_length));
    char *to = head;

    if (body != NULL) {
        body = flatten(job, body, body_length);
    } else {
        body = "null";
        body_length = strlen(body);
    }
    if (head == NULL || body == NULL) {
        return false;
    }
    (void)snprintf(request->id, sizeof(request->id), "%" PRIu64, number);
    to = put_text(to, "{\"id\":\"");
    to = put_text(to, request->id);
    to = put_text(to, "\"");
    to = put_member(to, "request_id", id, id_length);
    to = put_member(to, "method", method, strlen(method));
    to = put_member(to, "path", path, path_length);
    to = put_member(to, "query", query, query_length);
    to = put_deadline(to, job);
    to = put_text(to, ",\"body\":");
    request->parts[0] = (struct iovec){head, (size_t)(to - head)};
    request->parts[1] = (struct iovec){(void *)(uintptr_t)body, body_length};
    request->parts[2] = (struct iovec){(void *)(uintptr_t) "}\n", 2};
    return true;
}

/* --- The line from the child. */

struct value {
    const char *text; /* raw JSON; NULL: there is none */
    size_t length;
};

struct answer {
    struct value id;
    struct value body;
    struct value error;
    struct value status;
};

static void find_value(
    const char *line, size_t length, const char *name, struct value *value)
{
    if (!hcs_json_member(line, length, name, &value->text, &value->length)) {
        value->text = NULL;
    }
}

static bool is_text(const struct value *value)
{
    return value->text != NULL && value->text[0] == '"';
}

static bool is_id(const struct value *value, const char *id)
{
    char plain[256];
    size_t length;

    if (!is_text(value) || value->length > sizeof(plain)) {
        return false;
    }
    length = hcs_json_unescape(value->text, value->length, plain);
    return length == strlen(id) && memcmp(plain, id, length) == 0;
}

/* Three digits. False when it is anything else. */
static bool read_status(const struct value *value, unsigned *status)
{
    if (value->text == NULL) {
        return true;
    }
    if (value->length != 3) {
        return false;
    }
    *status = 0;
    for (size_t i = 0; i < 3; i++) {
        if (value->text[i] < '0' || value->text[i] > '9') {
            return false;
        }
        *status = *status * 10 + (unsigned)(value->text[i] - '0');
    }
    return true;
}

/* NULL, or what is wrong with the line. */
static const char *read_answer(
    const char *line, size_t length, const char *id, struct answer *answer)
{
    if (!hcs_json_is_valid(line, length)) {
        return "answered with something that is not JSON";
    }
    find_value(line, length, "id", &answer->id);
    find_value(line, length, "body", &answer->body);
    find_value(line, length, "error", &answer->error);
    find_value(line, length, "status", &answer->status);
    if (!is_id(&answer->id, id)) {
        return answer->id.text == NULL ? "answered without an id"
                                       : "answered with the id of another job";
    }
    if (answer->error.text != NULL && answer->body.text != NULL) {
        return "answered with both a body and an error";
    }
    return NULL;
}

static enum hcs_outcome write_error(
    struct hcs_job *job, const struct answer *answer, const char **wrong)
{
    unsigned status = 422;
    char *text;
    size_t length;

    if (!is_text(&answer->error)) {
        *wrong = "answered with an error that is not a string";
        return HCS_DIED;
    }
    if (!read_status(&answer->status, &status) ||
        (status != 422 && status != 500 && status != 503)) {
        *wrong = "answered with an error and a status that is none of 422, "
                 "500 and 503";
        return HCS_DIED;
    }
    text = hcs_job_alloc(job, answer->error.length + 1);
    if (text == NULL) {
        return HCS_NO_MEMORY;
    }
    length = hcs_json_unescape(answer->error.text, answer->error.length, text);
    text[length] = '\0';
    hcs_job_set_detail(job, text);
    switch (status) {
    case 500:
        return HCS_FAILED;
    case 503:
        return HCS_UNAVAILABLE;
    default:
        return HCS_INVALID;
    }
}

static enum hcs_outcome write_body(
    struct hcs_job *job, const struct answer *answer, const char **wrong)
{
    unsigned status = STATUS_DEFAULT;

    if (!read_status(&answer->status, &status) ||
        (answer->status.text != NULL && !hcs_job_set_status(job, status))) {
        *wrong = "answered with a status that it cannot give";
        return HCS_DIED;
    }
    if (status == STATUS_NO_CONTENT) {
        return HCS_OK;
    }
    if (answer->body.text == NULL) {
        *wrong = "answered with neither a body nor an error";
        return HCS_DIED;
    }
    return hcs_job_write(job, answer->body.text, answer->body.length)
               ? HCS_OK
               : HCS_NO_MEMORY;
}

/* HCS_DIED: *wrong says what is wrong with the line. */
static enum hcs_outcome pass_on(struct hcs_job *job, const char *line,
    size_t length, const char *id, const char **wrong)
{
    struct answer answer;

    *wrong = read_answer(line, length, id, &answer);
    if (*wrong != NULL) {
        return HCS_DIED;
    }
    return answer.error.text != NULL ? write_error(job, &answer, wrong)
                                     : write_body(job, &answer, wrong);
}

/* --- Jobs. */

static const char *what_is_wrong(enum hcs_exec_result result)
{
    switch (result) {
    case HCS_EXEC_EARLY:
        return "answered before it had read the whole job";
    case HCS_EXEC_LONG:
        return "answered with a line that is longer than its output= allows";
    case HCS_EXEC_MORE:
        return "answered with more than one line";
    case HCS_EXEC_LATE:
        return "did not answer in time";
    case HCS_EXEC_LEFT:
        return "did not answer within 5 s after its client had left";
    case HCS_EXEC_ANSWERED:
    case HCS_EXEC_GONE:
    case HCS_EXEC_NO_MEMORY:
        return NULL; /* what became of it says it, or nothing is */
    }
    return NULL;
}

/* The child is dead; says so to the job. */
static enum hcs_outcome tell_failure(
    const struct worker *worker, struct hcs_job *job)
{
    char detail[DETAIL_BYTES];

    (void)snprintf(detail, sizeof(detail), "the program %s", worker->how);
    hcs_job_set_detail(job, detail);
    return HCS_DIED;
}

static enum hcs_outcome fail_job(struct exec *exec, struct worker *worker,
    struct hcs_job *job, const char *wrong)
{
    (void)fail_child(exec, worker, 0, wrong);
    start_again_at_once(exec, worker);
    return tell_failure(worker, job);
}

/* Its output is at its end. HCS_PENDING when the job may be asked of another
 * child, since this one has read nothing of it. */
static enum hcs_outcome lose_job(struct exec *exec, struct worker *worker,
    struct hcs_job *job, bool may_ask_again)
{
    bool unread = fail_child(exec, worker, STATUS_WAIT_MS, NULL);

    start_again_at_once(exec, worker);
    return unread && may_ask_again ? HCS_PENDING : tell_failure(worker, job);
}

static enum hcs_outcome finish_job(struct exec *exec, struct worker *worker,
    struct hcs_job *job, const struct request *request, const char *line,
    size_t length)
{
    const char *wrong = NULL;
    enum hcs_outcome outcome = pass_on(job, line, length, request->id, &wrong);

    if (wrong != NULL) {
        return fail_job(exec, worker, job, wrong);
    }
    worker->failures = 0;
    worker->not_before_ns = 0;
    renew_worn(exec, worker);
    return outcome;
}

/* HCS_PENDING: as lose_job, and nothing is said to the job yet. */
static enum hcs_outcome run_once(struct exec *exec, struct worker *worker,
    struct hcs_job *job, bool may_ask_again)
{
    struct request request;
    const char *line;
    size_t length;
    enum hcs_exec_result result;
    enum hcs_outcome outcome = get_child(exec, worker, job);

    if (outcome != HCS_OK) {
        return outcome;
    }
    if (!make_request(&request, job, ++worker->jobs)) {
        return HCS_NO_MEMORY;
    }
    result = hcs_exec_child_exchange(&worker->child, job, request.parts, 3,
        exec->program.output_bytes, &worker->buffer, &line, &length);
    switch (result) {
    case HCS_EXEC_ANSWERED:
        return finish_job(exec, worker, job, &request, line, length);
    case HCS_EXEC_NO_MEMORY:
        return HCS_NO_MEMORY;
    case HCS_EXEC_GONE:
        return lose_job(exec, worker, job, may_ask_again);
    case HCS_EXEC_LATE:
        (void)fail_job(exec, worker, job, what_is_wrong(result));
        return HCS_TIMED_OUT;
    case HCS_EXEC_EARLY:
    case HCS_EXEC_LONG:
    case HCS_EXEC_MORE:
    case HCS_EXEC_LEFT:
        break;
    }
    return fail_job(exec, worker, job, what_is_wrong(result));
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    struct exec *exec = self;
    struct worker *worker = hcs_job_worker_state(job);
    enum hcs_outcome outcome = run_once(exec, worker, job, true);

    /* It died after the look at it and before it read the job: no other job,
     * and this one neither, has to pay for that. */
    return outcome == HCS_PENDING ? run_once(exec, worker, job, false)
                                  : outcome;
}

/* --- Beginning and end. */

static void close_exec(void *self)
{
    struct exec *exec = self;

    hcs_exec_errors_close(exec->errors);
    hcs_exec_program_fini(&exec->program);
    free(exec);
}

static void open_figures(struct exec *exec)
{
    exec->children = hcs_mount_figure(
        exec->mount, HCS_GAUGE, "exec_children", "Programs that run.");
    exec->starts = hcs_mount_figure(exec->mount, HCS_COUNTER,
        "exec_starts_total", "Programs that were started.");
    exec->deaths = hcs_mount_figure(exec->mount, HCS_COUNTER,
        "exec_deaths_total",
        "Programs that died, hung, or answered nonsense, and were replaced.");
    exec->backoffs =
        hcs_mount_figure(exec->mount, HCS_COUNTER, "exec_refused_total",
            "Jobs refused while a program that keeps failing is not started.");
}

static int open_exec(void **self, struct hcs_mount *mount)
{
    struct exec *exec = calloc(1, sizeof(*exec));
    int rc;

    if (exec == NULL) {
        hcs_mount_fail(mount, "out of memory");
        return -1;
    }
    exec->mount = mount;
    exec->spawner = *self;
    atomic_init(&exec->lost_said, false);
    rc = hcs_exec_program_read(&exec->program, mount);
    if (rc == 0) {
        rc = hcs_exec_errors_open(&exec->errors, mount);
        if (rc != 0) {
            hcs_mount_fail(
                mount, "a thread for standard error: %s", strerror(-rc));
        }
    }
    if (rc != 0) {
        close_exec(exec);
        return -1;
    }
    open_figures(exec);
    *self = exec;
    return 0;
}

static int open_worker(void *self, unsigned number, void **state)
{
    struct exec *exec = self;
    struct worker *worker = malloc(sizeof(*worker));
    char line[DETAIL_BYTES];

    (void)number;
    if (worker == NULL) {
        hcs_mount_fail(exec->mount, "out of memory");
        return -1;
    }
    worker->child = (struct hcs_exec_child){.pid = 0};
    worker->jobs = 0;
    worker->failures = 0;
    worker->not_before_ns = 0;
    worker->how[0] = '\0';
    worker->buffer.size = sizeof(worker->buffer.bytes);
    if (exec->spawner == NULL) {
        hcs_mount_fail(exec->mount, "exec is not available");
    } else if (start_child(exec, worker, line, sizeof(line)) != 0) {
        hcs_mount_fail(exec->mount, "%s", line);
    } else {
        *state = worker;
        return 0;
    }
    free(worker);
    return -1;
}

/* Its input ends, so it may put in order what it has. */
static void close_worker(void *self, void *state)
{
    struct exec *exec = self;
    struct worker *worker = state;
    char how[HOW_BYTES];

    if (worker->child.pid != 0) {
        hcs_exec_child_part(&worker->child, ENDING_MS);
        (void)hcs_exec_child_end(&worker->child, exec->spawner, exec->errors,
            STATUS_WAIT_MS, how, sizeof(how));
        hcs_figure_add(exec->children, -1);
    }
    free(worker);
}

const struct hcs_handler hcs_exec = {
    .abi = HCS_HANDLER_ABI,
    .name = "exec",
    .open = open_exec,
    .open_worker = open_worker,
    .run = run,
    .close_worker = close_worker,
    .close = close_exec,
};
