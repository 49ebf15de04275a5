/*
 * hcs/handler.h - what the author of a handler needs, and all of it.
 *
 * A handler does the work of the jobs that arrive on its path. hcsd has done
 * the rest: the request was read whole, its body is valid JSON (RFC 8259) or
 * empty, and it waited in the queue. `run` is called on a worker, may block,
 * and says what to answer by the functions below; what it writes is sent when
 * it returns. A handler that waits for something else may answer later, from
 * any thread, and hold no worker meanwhile (hcs_job_defer).
 *
 * A module is a shared object that defines one handler:
 *
 *   const struct hcs_handler hcs_module = {.abi = HCS_HANDLER_ABI, ...};
 *
 * Owns:    a job lends everything it gives until run returns, or until it is
 *          completed; a mount until close returns.
 * Threads: run is called by many workers at once with the same self. A job's
 *          functions are for the thread that runs it or has resumed it, a
 *          mount's for any.
 * Waits:   none of the functions below waits.
 */
#ifndef HCS_HANDLER_H
#define HCS_HANDLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cJSON; /* <cjson/cJSON.h> */

/* Changes with whatever would break a module that was built before. */
enum { HCS_HANDLER_ABI = 2 };

struct hcs_job;   /* opaque: one request */
struct hcs_mount; /* opaque: a handler at its path, with its settings */

enum hcs_outcome {
    HCS_OK = 0,      /* answered with what was written */
    HCS_INVALID,     /* 422: valid JSON, but no job for this handler */
    HCS_FAILED,      /* 500: the handler could not do it */
    HCS_NO_MEMORY,   /* 503: try again later */
    HCS_UNAVAILABLE, /* 503: what the handler needs is away; try again later */
    HCS_DIED,        /* 502: what did the job ended, or answered nonsense */
    HCS_TIMED_OUT,   /* 504 */
    HCS_PENDING,     /* of run alone, after hcs_job_defer: answered later */
};

/* Flags of a handler. */
enum {
    /* run takes microseconds and never blocks, so a worker that takes such a
     * job does not wake another one for the jobs behind it. */
    HCS_HANDLER_BRIEF = 1u << 0,
};

/* The calls that may be NULL are those of which that is said. open and
 * open_worker return 0; or anything else after hcs_mount_fail has said what is
 * wrong, and the start stops with that line. */
struct hcs_handler {
    uint32_t abi; /* HCS_HANDLER_ABI; first in every version */
    uint32_t flags;
    const char *name; /* for people: in log lines, metrics and errors */

    /* Once at the start for each path, before any other call. It may take its
     * time: the daemon is alive meanwhile but not ready, and jobs wait in the
     * queue. NULL: nothing to open. */
    int (*open)(void **self, struct hcs_mount *mount);

    /* Once on each worker's own thread, 0 to hcs_mount_workers - 1, before its
     * first job: what it stores in *state is hcs_job_worker_state to the jobs
     * that this worker runs. NULL: no state. */
    int (*open_worker)(void *self, unsigned worker, void **state);

    enum hcs_outcome (*run)(void *self, struct hcs_job *job);

    /* For each open_worker that succeeded, on the same thread; may be NULL. */
    void (*close_worker)(void *self, void *state);

    /* Once, when no job runs any more; may be NULL. Jobs that were deferred
     * and not completed are nobody's by now, and their tokens dead; threads
     * of the handler's own have to end here. */
    void (*close)(void *self);
};

/* What a module defines. Declared here so that it is found whatever the module
 * is built with: C++, where a const is the file's own unless it is declared
 * before, and -fvisibility=hidden. */
extern __attribute__((visibility("default")))
const struct hcs_handler hcs_module;

/* --- The mount: where and how a handler serves.
 *
 * HANDLERS="/score=module:./score.so?threshold=0.5" mounts the handler of
 * score.so at /score; its settings are what stands behind the "?". A setting
 * that open does not ask for stops the start, and so does a value that does
 * not fit: then the function returns false, has said so itself, and open
 * returns -1. Where a setting is not given, *value stays as it was, which
 * makes that the default. */

const char *hcs_mount_path(const struct hcs_mount *mount);
unsigned hcs_mount_workers(const struct hcs_mount *mount);

/* Whether only the settings are checked (hcsd --check): what would wait, or
 * change something, can be left out. The handler is closed again, and its
 * workers are never opened. */
bool hcs_mount_checks(const struct hcs_mount *mount);

/* What stands behind KIND and a colon, or NULL; never the file of
 * "module:FILE". A handler that never asks takes none. */
const char *hcs_mount_argument(struct hcs_mount *mount);

/* For open alone. Texts are lent until close. */
bool hcs_mount_text(
    struct hcs_mount *mount, const char *name, const char **value);
bool hcs_mount_integer(struct hcs_mount *mount, const char *name, int64_t min,
    int64_t max, int64_t *value);
bool hcs_mount_number(struct hcs_mount *mount, const char *name, double min,
    double max, double *value);
/* "15s", "250ms", "100us", "2m", "1h", "0", in nanoseconds. */
bool hcs_mount_duration(struct hcs_mount *mount, const char *name,
    uint64_t min_ns, uint64_t max_ns, uint64_t *value_ns);
/* "64KiB", "1MiB", "2GiB", or plain bytes. */
bool hcs_mount_size(struct hcs_mount *mount, const char *name,
    uint64_t min_bytes, uint64_t max_bytes, uint64_t *value_bytes);

/* The values of a setting that may be given more than once, one a call: start
 * with *cursor 0. NULL behind the last. */
const char *hcs_mount_next(
    struct hcs_mount *mount, const char *name, size_t *cursor);

/* Says why open or open_worker fails: one line, what is wrong and what is
 * allowed. The first one counts. Any thread. */
__attribute__((format(printf, 2, 3))) void hcs_mount_fail(
    struct hcs_mount *mount, const char *format, ...);

enum hcs_level { HCS_ERROR, HCS_WARN, HCS_INFO, HCS_DEBUG };

/* A line in the daemon's log, with the path. It may be dropped when there are
 * too many, and is counted then. Any thread. */
__attribute__((format(printf, 3, 4))) void hcs_mount_log(
    struct hcs_mount *mount, enum hcs_level level, const char *format, ...);

/* A figure in /metrics: hcsd_handler_NAME{handler,path}, and NAME among the
 * handler's own in the JSON page. name and help are literals; a counter's name
 * ends in _total, and help is one line. For open alone; NULL when there is no
 * memory, which add and set allow, and after hcs_mount_fail. */
struct hcs_metric; /* opaque */
enum hcs_metric_kind { HCS_COUNTER, HCS_GAUGE };
struct hcs_metric *hcs_mount_metric(struct hcs_mount *mount,
    enum hcs_metric_kind kind, const char *name, const char *help);
/* Any thread. A counter only grows. */
void hcs_metric_add(struct hcs_metric *figure, int64_t more);
void hcs_metric_set(struct hcs_metric *figure, int64_t value);

/* "15s", "250ms", "100us", "2m", "1h": nanoseconds. False when it is none of
 * them, or does not fit. For arguments. */
bool hcs_parse_duration(const char *text, uint64_t *ns);

/* --- What was asked. Texts are not terminated by NUL. */

/* The body as it was sent; NULL and 0 without one. */
const char *hcs_job_body(const struct hcs_job *job, size_t *length);

/* The raw text of a member of the body, byte for byte; false when the body is
 * empty, no object, or has no such member. */
bool hcs_job_member(const struct hcs_job *job, const char *name,
    const char **value, size_t *length);

/* The body as a tree, built on the first call; NULL without a body, and when
 * there is no memory for it (the client gets 503 whatever is returned) or
 * cJSON cannot hold it (422, unless HCS_OK is returned). The tree belongs to
 * the job: do not delete it, do not keep it. */
struct cJSON *hcs_job_json(struct hcs_job *job);

/* "GET" or "POST". */
const char *hcs_job_method(const struct hcs_job *job);
const char *hcs_job_path(const struct hcs_job *job, size_t *length);
const char *hcs_job_query(const struct hcs_job *job, size_t *length);
const char *hcs_job_request_id(const struct hcs_job *job, size_t *length);

/* The first request field of that name; NULL when there is none. Host is the
 * authority of the request's target where that holds one, whatever the field
 * says (RFC 9112, section 3.2.2). */
const char *hcs_job_field(
    const struct hcs_job *job, const char *name, size_t *length);

/* When its client is told 504 (CLOCK_MONOTONIC), or UINT64_MAX: never. */
uint64_t hcs_job_deadline_ns(const struct hcs_job *job);

/* True once nobody waits for the answer any more: the client left, or its
 * deadline passed. Long work should look now and then, and return. */
bool hcs_job_cancelled(const struct hcs_job *job);

/* What open_worker stored; NULL in a job that was resumed. */
void *hcs_job_worker_state(const struct hcs_job *job);

/* Memory for the job's own use, within MEMORY_BUDGET, aligned to 16 bytes and
 * gone with the job; what a job took in run that is deferred, when run returns.
 * NULL: the client gets 503 whatever is returned. */
void *hcs_job_alloc(struct hcs_job *job, size_t bytes);

/* --- What is answered. 200 and application/json unless said otherwise. */

/* Appends to the reply's body. False when there is no memory: the client gets
 * 503 whatever is returned. */
bool hcs_job_write(struct hcs_job *job, const void *bytes, size_t length);

/* Appends a tree as JSON text; the tree stays the caller's. */
bool hcs_job_write_json(struct hcs_job *job, const struct cJSON *tree);

/* Appends a text as a JSON string: quoted and escaped, and what is not UTF-8
 * as U+FFFD. */
bool hcs_job_write_string(struct hcs_job *job, const char *text, size_t length);

/* Adds a response field. False, and nothing is added, when name is no token or
 * value no field value (RFC 9110, section 5), when it is one that the daemon
 * writes itself (Content-Type has a function of its own), when all together
 * take more than 4 KiB, and when there is no memory. Fields go with HCS_OK
 * alone. */
bool hcs_job_add_field(
    struct hcs_job *job, const char *name, const char *value);

/* False, and the status stays as it was, when it is not 200..599; when RFC 9110
 * ties it to a field that was not added before (301, 302, 303, 307 and 308 to
 * Location, 401 to WWW-Authenticate, 405 to Allow), or to what a handler cannot
 * say: 205, 206, 226, 300, 304 to 306, 407, 408, 416, 426 and 511. With 204 what
 * is written is not sent. */
bool hcs_job_set_status(struct hcs_job *job, unsigned status);

/* text: borrowed for good (a literal). */
void hcs_job_set_content_type(struct hcs_job *job, const char *text);

/* What is wrong, for the problem document of every outcome but HCS_OK; copied,
 * cut at 200 bytes. What was written before is dropped. */
void hcs_job_set_detail(struct hcs_job *job, const char *detail);

/* --- Answering later.
 *
 * In run, hcs_job_defer gives a token, and run returns HCS_PENDING. Any thread,
 * also before run has returned, resumes the job by it, writes the answer, and
 * completes it. Meanwhile the job is as one that runs: its client may leave,
 * its deadline pass, the daemon end, and then the token is dead. A token that
 * is never resumed is answered 504 at the deadline (JOB_TIMEOUT), and if there
 * is none, 503 when the daemon ends.
 *
 * A token is a number and stays safe to use for ever: once its job was resumed
 * or nobody waits for it, it is dead, and never means another job. It goes from
 * thread to thread as anything else that they share: under a lock, say. */

struct hcs_token {
    uint64_t value; /* 0: of no job */
};

/* False when there is no memory, and in a job that was deferred before; return
 * HCS_NO_MEMORY then. Afterwards the thread may read the job until run returns,
 * and no longer write. */
bool hcs_job_defer(struct hcs_job *job, struct hcs_token *token);

/* The job, for the caller alone; NULL when the token is dead. What was lent in
 * run is good again, but for the tree, which is built anew if asked for, and
 * for memory of hcs_job_alloc: both went when run returned. */
struct hcs_job *hcs_mount_resume(
    struct hcs_mount *mount, struct hcs_token token);

/* Ends what hcs_mount_resume began; the job is gone. Not HCS_PENDING. */
void hcs_job_complete(struct hcs_job *job, enum hcs_outcome outcome);

/* Whether the token is alive: for work that may be spared. */
bool hcs_mount_awaits(struct hcs_mount *mount, struct hcs_token token);

#ifdef __cplusplus
}
#endif

#endif
