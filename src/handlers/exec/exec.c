#include "handlers/exec/exec.h"

#include "handlers/exec/child.h"
#include "handlers/exec/lines.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    HOW_BYTES = 192,
    DETAIL_BYTES = 384,
    ENDING_MS = 1000,     /* to end by itself, when the daemon ends */
    STATUS_WAIT_MS = 100, /* from the end of its output to its own */
};

static const uint64_t BACKOFF_FIRST_NS = 100 * UINT64_C(1000000);
static const uint64_t BACKOFF_MAX_NS = 10 * UINT64_C(1000000000);
static const uint64_t MS_NS = 1000000;

struct exec {
    struct hcs_mount *mount;
    struct hcs_spawner *spawner;
    struct hcs_exec_errors *errors;
    struct hcs_exec_program program;
    struct hcs_metric *children;
    struct hcs_metric *starts;
    struct hcs_metric *deaths;
    struct hcs_metric *backoffs;
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
        hcs_metric_add(exec->starts, 1);
        hcs_metric_add(exec->children, 1);
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
    (void)snprintf(
        worker->how, sizeof(worker->how), "cannot be started: %s", line);
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
    pid_t pid = worker->child.program.pid;
    bool unread = hcs_exec_child_end(&worker->child, exec->spawner,
        exec->errors, grace_ms, worker->how, sizeof(worker->how));

    hcs_metric_add(exec->children, -1);
    hcs_metric_add(exec->deaths, 1);
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

    if (worker->child.program.pid == 0 && worker->failures <= 1) {
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
        "the program is started again in %" PRIu64 ".%" PRIu64
        " s, after %u failures in a row: it %s",
        left_ms / 1000, left_ms % 1000 / 100, worker->failures, worker->how);
    hcs_metric_add(exec->backoffs, 1);
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
        clock_getcpuclockid(worker->child.program.pid, &clock) != 0 ||
        clock_gettime(clock, &used) != 0 || (uint64_t)used.tv_sec * 2 < limit) {
        return;
    }
    (void)hcs_exec_child_part(&worker->child, STATUS_WAIT_MS);
    (void)hcs_exec_child_end(
        &worker->child, exec->spawner, exec->errors, 0, how, sizeof(how));
    hcs_metric_add(exec->children, -1);
    hcs_mount_log(exec->mount, HCS_DEBUG,
        "a child that had used half of its CPU time was replaced");
}

/* HCS_OK: there is a child, and it waits for a line. */
static enum hcs_outcome get_child(
    struct exec *exec, struct worker *worker, struct hcs_job *job)
{
    char line[DETAIL_BYTES];
    int rc;

    if (worker->child.program.pid != 0) {
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
        return "did not answer in time after its client had left";
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
    enum hcs_outcome outcome;

    (void)fail_child(exec, worker, 0, wrong);
    outcome = tell_failure(worker, job); /* before a start fails too */
    start_again_at_once(exec, worker);
    return outcome;
}

/* Its output is at its end. HCS_PENDING when the job may be asked of another
 * child, since this one has read nothing of it. */
static enum hcs_outcome lose_job(struct exec *exec, struct worker *worker,
    struct hcs_job *job, bool may_ask_again)
{
    bool unread = fail_child(exec, worker, STATUS_WAIT_MS, NULL);
    enum hcs_outcome outcome =
        unread && may_ask_again ? HCS_PENDING : tell_failure(worker, job);

    start_again_at_once(exec, worker);
    return outcome;
}

static enum hcs_outcome finish_job(struct exec *exec, struct worker *worker,
    struct hcs_job *job, const struct hcs_exec_request *request,
    const char *line, size_t length)
{
    const char *wrong = NULL;
    enum hcs_outcome outcome =
        hcs_exec_answer_pass(job, line, length, request->id, &wrong);

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
    struct hcs_exec_request request;
    const char *line;
    size_t length;
    enum hcs_exec_result result;
    enum hcs_outcome outcome = get_child(exec, worker, job);

    if (outcome != HCS_OK) {
        return outcome;
    }
    if (!hcs_exec_request_make(&request, job, ++worker->jobs)) {
        return HCS_NO_MEMORY;
    }
    result = hcs_exec_child_exchange(&worker->child, job, request.parts,
        HCS_EXEC_PARTS, exec->program.output_bytes, &worker->buffer, &line,
        &length);
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
    exec->children = hcs_mount_metric(
        exec->mount, HCS_GAUGE, "exec_children", "Programs that run.");
    exec->starts = hcs_mount_metric(exec->mount, HCS_COUNTER,
        "exec_starts_total", "Programs that were started.");
    exec->deaths = hcs_mount_metric(exec->mount, HCS_COUNTER,
        "exec_deaths_total",
        "Programs that died, hung, or answered nonsense, and were replaced.");
    exec->backoffs =
        hcs_mount_metric(exec->mount, HCS_COUNTER, "exec_refused_total",
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
    worker->child = (struct hcs_exec_child){.program.pid = 0};
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

/* Its input ends, so it may put in order what it has. Who has not used that
 * time gets no more: the spawner would wait for one after the other. */
static void close_worker(void *self, void *state)
{
    struct exec *exec = self;
    struct worker *worker = state;
    char how[HOW_BYTES];

    if (worker->child.program.pid != 0) {
        bool ends = hcs_exec_child_part(&worker->child, ENDING_MS);

        (void)hcs_exec_child_end(&worker->child, exec->spawner, exec->errors,
            ends ? STATUS_WAIT_MS : 0, how, sizeof(how));
        hcs_metric_add(exec->children, -1);
    }
    free(worker);
}

const struct hcs_handler hcs_exec = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "exec",
    .open = open_exec,
    .open_worker = open_worker,
    .run = run,
    .close_worker = close_worker,
    .close = close_exec,
};
