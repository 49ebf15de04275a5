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
    CAUSE_BYTES = 192,
    DETAIL_BYTES = 384,
    ENDING_MS = 1000,     /* for a child to end by itself at a stop */
    STATUS_WAIT_MS = 100, /* from the end of a child's output to its own end */
};

static const uint64_t BACKOFF_FIRST_NS = 100 * UINT64_C(1000000);
static const uint64_t BACKOFF_MAX_NS = 10 * UINT64_C(1000000000);
static const uint64_t MS_NS = 1000000;

struct exec {
    struct hcs_mount *mount;
    struct hcs_spawner *spawner;
    struct hcs_stderr_reader *stderr_reader;
    struct hcs_exec_program program;
    struct hcs_metric *children;
    struct hcs_metric *starts;
    struct hcs_metric *deaths;
    struct hcs_metric *backoffs;
    atomic_bool spawner_loss_logged; /* the log says so once */
};

struct worker {
    struct hcs_exec_child child;
    uint64_t jobs;     /* how many it had; the number of the last is its id */
    unsigned failures; /* in a row */
    char cause[CAUSE_BYTES]; /* of the last failure: "ended with status 1" */
    uint64_t not_before_ns;  /* no child is started before */
    struct hcs_exec_buffer buffer;
};

/* --- Children. */

/* 0, or -errno and a line that says why. */
static int start_child(
    struct exec *exec, struct worker *worker, char *line, size_t size)
{
    enum hcs_spawn_step step;
    int rc = hcs_exec_child_start(&worker->child, exec->spawner, &exec->program,
        exec->stderr_reader, &step);

    if (rc == 0) {
        hcs_metric_add(exec->starts, 1);
        hcs_metric_add(exec->children, 1);
        return 0;
    }
    hcs_exec_program_explain(&exec->program, rc, step, line, size);
    return rc;
}

/* Counts one more failure in a row. After the first one a child is started at
 * once, after each later one with a pause. */
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

/* Logs each failure, but the loss of the spawner only once. */
static void note_failed_start(
    struct exec *exec, struct worker *worker, int rc, const char *line)
{
    count_failure(worker);
    (void)snprintf(
        worker->cause, sizeof(worker->cause), "cannot be started: %s", line);
    if (rc == -EPIPE) {
        if (!atomic_exchange_explicit(
                &exec->spawner_loss_logged, true, memory_order_relaxed)) {
            hcs_mount_log(exec->mount, HCS_ERROR,
                "%s: hcsd starts no programs until it is restarted", line);
        }
        return;
    }
    hcs_mount_log(exec->mount, HCS_WARN, "%s", line);
}

/* Ends a child that failed. why: as in "did not answer in time", or NULL to
 * take how the child ended as the cause. True when the child had read nothing
 * of its job. */
static bool fail_child(struct exec *exec, struct worker *worker,
    unsigned grace_ms, const char *why)
{
    pid_t pid = worker->child.program.pid;
    bool unread = hcs_exec_child_end(&worker->child, exec->spawner,
        exec->stderr_reader, grace_ms, worker->cause, sizeof(worker->cause));

    hcs_metric_add(exec->children, -1);
    hcs_metric_add(exec->deaths, 1);
    if (why != NULL) {
        (void)snprintf(worker->cause, sizeof(worker->cause), "%s", why);
    }
    hcs_mount_log(exec->mount, HCS_WARN, "pid %d: the program %s", (int)pid,
        worker->cause);
    count_failure(worker);
    return unread;
}

/* After the first failure in a row starts a child at once, so that the next job
 * does not wait for the start. */
static void restart_at_once(struct exec *exec, struct worker *worker)
{
    char line[DETAIL_BYTES];

    if (worker->child.program.pid == 0 && worker->failures <= 1) {
        int rc = start_child(exec, worker, line, sizeof(line));

        if (rc != 0) {
            note_failed_start(exec, worker, rc, line);
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
        left_ms / 1000, left_ms % 1000 / 100, worker->failures, worker->cause);
    hcs_metric_add(exec->backoffs, 1);
    hcs_job_set_detail(job, detail);
    return HCS_UNAVAILABLE;
}

/* Replaces a child that has used half of its CPU time. The limit counts for the
 * whole life of a process. Replaced between two jobs, a child reaches it only
 * in a job that takes the other half alone. */
static void replace_worn(struct exec *exec, struct worker *worker)
{
    uint64_t limit = exec->program.spawn.cpu_seconds;
    struct timespec used;
    clockid_t clock;
    char cause[CAUSE_BYTES];

    if (limit == HCS_SPAWN_NO_LIMIT ||
        clock_getcpuclockid(worker->child.program.pid, &clock) != 0 ||
        clock_gettime(clock, &used) != 0 || (uint64_t)used.tv_sec * 2 < limit) {
        return;
    }
    (void)hcs_exec_child_close_stdin(&worker->child, STATUS_WAIT_MS);
    (void)hcs_exec_child_end(&worker->child, exec->spawner, exec->stderr_reader,
        0, cause, sizeof(cause));
    hcs_metric_add(exec->children, -1);
    hcs_mount_log(exec->mount, HCS_DEBUG,
        "a child was replaced: it had used half of its CPU time");
}

/* HCS_OK: the worker has a child, and the child waits for a line. */
static enum hcs_outcome get_child(
    struct exec *exec, struct worker *worker, struct hcs_job *job)
{
    char line[DETAIL_BYTES];
    int rc;

    if (worker->child.program.pid != 0) {
        switch (hcs_exec_child_state(&worker->child)) {
        case HCS_EXEC_IDLE:
            return HCS_OK;
        case HCS_EXEC_ENDED:
            (void)fail_child(exec, worker, STATUS_WAIT_MS, NULL);
            break;
        case HCS_EXEC_UNEXPECTED_OUTPUT:
            (void)fail_child(
                exec, worker, 0, "wrote a line although it had no job");
            break;
        }
    }
    if (hcs_exec_now_ns() < worker->not_before_ns) {
        return refuse(exec, worker, job);
    }
    rc = start_child(exec, worker, line, sizeof(line));
    if (rc != 0) {
        note_failed_start(exec, worker, rc, line);
        hcs_job_set_detail(job, line);
        return HCS_UNAVAILABLE;
    }
    return HCS_OK;
}

/* --- Jobs. */

/* NULL: how the child ended says it, or nothing is wrong. */
static const char *what_is_wrong(enum hcs_exec_result result)
{
    switch (result) {
    case HCS_EXEC_ANSWERED_EARLY:
        return "answered before it had read the whole job";
    case HCS_EXEC_LINE_TOO_LONG:
        return "answered with a line that is longer than output= allows";
    case HCS_EXEC_SECOND_LINE:
        return "answered with more than one line";
    case HCS_EXEC_TIMED_OUT:
        return "did not answer in time";
    case HCS_EXEC_CLIENT_LEFT:
        return "did not answer in time after its client had left";
    case HCS_EXEC_ANSWERED:
    case HCS_EXEC_OUTPUT_ENDED:
    case HCS_EXEC_NO_MEMORY:
        return NULL;
    }
    return NULL;
}

/* The child has failed: gives the job the cause. */
static enum hcs_outcome report_failure(
    const struct worker *worker, struct hcs_job *job)
{
    char detail[DETAIL_BYTES];

    (void)snprintf(detail, sizeof(detail), "the program %s", worker->cause);
    hcs_job_set_detail(job, detail);
    return HCS_DIED;
}

static enum hcs_outcome fail_job(struct exec *exec, struct worker *worker,
    struct hcs_job *job, const char *wrong)
{
    enum hcs_outcome outcome;

    (void)fail_child(exec, worker, 0, wrong);
    outcome = report_failure(worker, job); /* a start may change the cause */
    restart_at_once(exec, worker);
    return outcome;
}

/* The child has closed its output. HCS_PENDING: it had read nothing of the job,
 * which may be given to another child. */
static enum hcs_outcome lose_child(struct exec *exec, struct worker *worker,
    struct hcs_job *job, bool may_retry)
{
    bool unread = fail_child(exec, worker, STATUS_WAIT_MS, NULL);
    enum hcs_outcome outcome =
        unread && may_retry ? HCS_PENDING : report_failure(worker, job);

    restart_at_once(exec, worker);
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
    replace_worn(exec, worker);
    return outcome;
}

/* HCS_PENDING: as in lose_child, and the job has no detail yet. */
static enum hcs_outcome run_once(struct exec *exec, struct worker *worker,
    struct hcs_job *job, bool may_retry)
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
    case HCS_EXEC_OUTPUT_ENDED:
        return lose_child(exec, worker, job, may_retry);
    case HCS_EXEC_TIMED_OUT:
        (void)fail_job(exec, worker, job, what_is_wrong(result));
        return HCS_TIMED_OUT;
    case HCS_EXEC_ANSWERED_EARLY:
    case HCS_EXEC_LINE_TOO_LONG:
    case HCS_EXEC_SECOND_LINE:
    case HCS_EXEC_CLIENT_LEFT:
        break;
    }
    return fail_job(exec, worker, job, what_is_wrong(result));
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    struct exec *exec = self;
    struct worker *worker = hcs_job_worker_state(job);
    enum hcs_outcome outcome = run_once(exec, worker, job, true);

    /* The child died after the look at its state and before it read the job.
     * The job was not begun, so another child gets it. */
    return outcome == HCS_PENDING ? run_once(exec, worker, job, false)
                                  : outcome;
}

/* --- Start and end. */

int hcs_exec_prepare(void **context)
{
    struct hcs_spawner *spawner = NULL;
    int rc = hcs_spawner_start(&spawner);

    *context = spawner;
    return rc;
}

void hcs_exec_finish(void *context)
{
    hcs_spawner_stop(context);
}

static void close_exec(void *self)
{
    struct exec *exec = self;

    hcs_stderr_reader_close(exec->stderr_reader);
    hcs_exec_program_fini(&exec->program);
    free(exec);
}

static void open_metrics(struct exec *exec)
{
    exec->children = hcs_mount_metric(
        exec->mount, HCS_GAUGE, "exec_children", "Programs that are running.");
    exec->starts = hcs_mount_metric(exec->mount, HCS_COUNTER,
        "exec_starts_total", "Programs that were started.");
    exec->deaths = hcs_mount_metric(exec->mount, HCS_COUNTER,
        "exec_deaths_total", "Programs that died, hung or broke the protocol.");
    exec->backoffs = hcs_mount_metric(exec->mount, HCS_COUNTER,
        "exec_refused_total",
        "Jobs refused because a program that keeps failing was not started.");
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
    atomic_init(&exec->spawner_loss_logged, false);
    rc = hcs_exec_program_read(&exec->program, mount);
    if (rc == 0) {
        rc = hcs_stderr_reader_open(&exec->stderr_reader, mount);
        if (rc != 0) {
            hcs_mount_fail(
                mount, "cannot read standard error: %s", strerror(-rc));
        }
    }
    if (rc != 0) {
        close_exec(exec);
        return -1;
    }
    open_metrics(exec);
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
    worker->child.program.pid = 0;
    worker->jobs = 0;
    worker->failures = 0;
    worker->not_before_ns = 0;
    worker->cause[0] = '\0';
    worker->buffer.size = sizeof(worker->buffer.bytes);
    if (exec->spawner == NULL) {
        hcs_mount_fail(exec->mount, "the spawner was not started");
    } else if (start_child(exec, worker, line, sizeof(line)) != 0) {
        hcs_mount_fail(exec->mount, "%s", line);
    } else {
        *state = worker;
        return 0;
    }
    free(worker);
    return -1;
}

/* The end of its input tells the child to end, and the child has ENDING_MS for
 * that. A child that is still there after that is killed without a grace: the
 * spawner would wait for one child after the other. */
static void close_worker(void *self, void *state)
{
    struct exec *exec = self;
    struct worker *worker = state;
    char cause[CAUSE_BYTES];

    if (worker->child.program.pid != 0) {
        bool ended = hcs_exec_child_close_stdin(&worker->child, ENDING_MS);

        (void)hcs_exec_child_end(&worker->child, exec->spawner,
            exec->stderr_reader, ended ? STATUS_WAIT_MS : 0, cause,
            sizeof(cause));
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
