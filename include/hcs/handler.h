/*
 * hcs/handler.h - all that the author of a handler needs.
 *
 * A handler does the work of the jobs that arrive on its path. Before that,
 * hcsd has read the request, checked that the body is valid JSON (RFC 8259) or
 * empty, and kept the job in its queue. A worker thread then calls `run`, which
 * may block. `run` writes the answer with the functions below; hcsd sends the
 * answer when `run` returns. A handler that waits for something else may answer
 * later, from any thread, and occupies no worker in the meantime
 * (hcs_job_defer).
 *
 * A module is a shared object that defines one handler:
 *
 *   const struct hcs_handler hcs_module = {
 *       .abi = HCS_HANDLER_ABI,
 *       .size = sizeof(struct hcs_handler),
 *       .name = "score",
 *       .run = run,
 *   };
 *
 * Owns:    a job lends everything that it gives until run returns, or, if it
 *          was deferred, until it is completed. A mount lends until close
 *          returns.
 * Threads: many workers call run at once, with the same self. The functions of
 *          a job are for the thread that runs it or has resumed it. Those of a
 *          mount are for any thread.
 * Waits:   no function below waits.
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

/* The version of this interface. It changes only if a module that was built
 * before would break. New members are added at the end of struct hcs_handler
 * without a new version. */
enum { HCS_HANDLER_ABI = 3 };

struct hcs_job;   /* opaque: one request */
struct hcs_mount; /* opaque: a handler at its path, with its settings */

enum hcs_outcome {
    HCS_OK = 0,      /* answered with what was written */
    HCS_INVALID,     /* 422: valid JSON, but no job for this handler */
    HCS_FAILED,      /* 500: the handler could not do the job */
    HCS_NO_MEMORY,   /* 503: the client may try again */
    HCS_UNAVAILABLE, /* 503: something that the handler needs is not available;
                        the client may try again */
    HCS_DIED,        /* 502: the program that did the job ended, or its answer
                        made no sense */
    HCS_TIMED_OUT,   /* 504 */
    HCS_PENDING,     /* answered later; only from run, after hcs_job_defer */
};

/* Flags of a handler. */
enum {
    /* run takes microseconds and never blocks. A worker that takes such a job
     * does not wake another worker for the jobs behind it. */
    HCS_HANDLER_BRIEF = 1u << 0,
};

/* A callback may be NULL only where its comment says so. open and open_worker
 * return 0 on success. On failure they call hcs_mount_fail and return anything
 * else; the start of the daemon stops with that line.
 *
 * Later versions of this header may have more members at the end. hcsd takes
 * the members that the module was compiled with, and reads NULL or 0 for the
 * others. */
struct hcs_handler {
    uint32_t abi;  /* HCS_HANDLER_ABI */
    uint32_t size; /* sizeof(struct hcs_handler) */
    uint64_t flags;
    const char *name; /* for people: in log lines, metrics and errors */

    /* Called once at the start for each path, before all other callbacks. It
     * may take its time: until it returns, the daemon is alive but not ready,
     * and jobs wait in the queue. May be NULL. */
    int (*open)(void **self, struct hcs_mount *mount);

    /* Called once on each worker thread, 0 to hcs_mount_workers - 1, before
     * that worker runs its first job. hcs_job_worker_state gives the jobs of
     * this worker what open_worker stored in *state. May be NULL: no state. */
    int (*open_worker)(void *self, unsigned worker, void **state);

    /* Called for each job, on any worker. */
    enum hcs_outcome (*run)(void *self, struct hcs_job *job);

    /* Called for each open_worker that succeeded, on the same thread. May be
     * NULL. */
    void (*close_worker)(void *self, void *state);

    /* Called once, when no job runs any more. The tokens of jobs that were
     * deferred and not completed are dead by then. Threads that the handler
     * started must end before close returns. May be NULL. */
    void (*close)(void *self);
};

/* The symbol that a module defines. It is declared here so that hcsd finds it
 * in modules in C++, where a const object is local to its file unless it was
 * declared before, and in modules built with -fvisibility=hidden. */
extern __attribute__((visibility("default")))
const struct hcs_handler hcs_module;

/* --- The mount: a handler at its path, with its settings.
 *
 * HANDLERS="/score=module:./score.so?threshold=0.5" mounts the handler of
 * score.so at /score. Its settings stand behind the "?". The functions that
 * read a setting return false if its value is not allowed. They have then
 * called hcs_mount_fail, so open only has to return -1. If a setting is not
 * given, *value is not changed: put the default there before. A setting that
 * open does not read stops the start. */

const char *hcs_mount_path(const struct hcs_mount *mount);
unsigned hcs_mount_workers(const struct hcs_mount *mount);

/* True under hcsd --check, which only checks the settings. open can then leave
 * out all that waits or changes something. hcsd calls close afterwards, and
 * never open_worker. */
bool hcs_mount_checks(const struct hcs_mount *mount);

/* The text behind KIND and a colon, or NULL. For "module:FILE" it is NULL. If
 * open does not ask for an argument, an argument stops the start. */
const char *hcs_mount_argument(struct hcs_mount *mount);

/* Only in open. Texts are lent until close returns. */
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

/* For a setting that may be given more than once: the next value, or NULL
 * behind the last one. *cursor is 0 before the first call. */
const char *hcs_mount_next(
    struct hcs_mount *mount, const char *name, size_t *cursor);

/* Says why open or open_worker fails, in one line: what is wrong and what is
 * allowed. Only the first call counts. Any thread. */
__attribute__((format(printf, 2, 3))) void hcs_mount_fail(
    struct hcs_mount *mount, const char *format, ...);

enum hcs_level { HCS_ERROR, HCS_WARN, HCS_INFO, HCS_DEBUG };

/* Writes a line to the daemon's log, with the path. If there are too many
 * lines, some are dropped and counted. Any thread. */
__attribute__((format(printf, 3, 4))) void hcs_mount_log(
    struct hcs_mount *mount, enum hcs_level level, const char *format, ...);

/* Makes a metric of /metrics. Prometheus text shows it as
 * hcsd_handler_NAME{handler,path}, and the JSON page with the handler. The
 * pointers name and help must stay valid until close returns: use literals. The
 * name of a counter ends in _total, no other name does. help is one line. Only
 * in open. NULL if there is no memory, which hcs_metric_add and hcs_metric_set
 * allow; also NULL if name or help is not allowed, after hcs_mount_fail. */
struct hcs_metric; /* opaque */
enum hcs_metric_kind { HCS_COUNTER, HCS_GAUGE };
struct hcs_metric *hcs_mount_metric(struct hcs_mount *mount,
    enum hcs_metric_kind kind, const char *name, const char *help);
/* Any thread. Only add to a counter, and nothing below 0. */
void hcs_metric_add(struct hcs_metric *metric, int64_t more);
void hcs_metric_set(struct hcs_metric *metric, int64_t value);

/* Reads a duration such as "15s", "250ms", "100us", "2m" or "1h", in
 * nanoseconds. False if text is no duration, or too long a one. For
 * arguments. */
bool hcs_parse_duration(const char *text, uint64_t *ns);

/* --- The request. Its texts do not end in NUL. */

/* The body as it was sent. NULL and 0 if there is none. */
const char *hcs_job_body(const struct hcs_job *job, size_t *length);

/* The raw text of a member of the body, byte for byte. False if the body is
 * empty, is no object, or has no such member. */
bool hcs_job_member(const struct hcs_job *job, const char *name,
    const char **value, size_t *length);

/* The body as a tree, built on the first call. The tree belongs to the job: do
 * not delete it, do not keep it. NULL in three cases: there is no body; there
 * is no memory (the client gets 503 whatever run returns); cJSON cannot hold
 * the body (the client gets 422, unless run returns HCS_OK). */
struct cJSON *hcs_job_json(struct hcs_job *job);

/* "GET" or "POST". */
const char *hcs_job_method(const struct hcs_job *job);
const char *hcs_job_path(const struct hcs_job *job, size_t *length);
const char *hcs_job_query(const struct hcs_job *job, size_t *length);
const char *hcs_job_request_id(const struct hcs_job *job, size_t *length);

/* The first request field of that name, or NULL. For Host: if the target of the
 * request has an authority, that authority and not the field (RFC 9112, section
 * 3.2.2). */
const char *hcs_job_field(
    const struct hcs_job *job, const char *name, size_t *length);

/* The time (CLOCK_MONOTONIC) when hcsd answers the client with 504, or
 * UINT64_MAX: never. */
uint64_t hcs_job_deadline_ns(const struct hcs_job *job);

/* True once the client does not wait for the answer any more: it left, or the
 * deadline passed. A job that takes long should ask now and then, and return
 * early. */
bool hcs_job_cancelled(const struct hcs_job *job);

/* What open_worker stored in *state. NULL in a job that was resumed. */
void *hcs_job_worker_state(const struct hcs_job *job);

/* Memory for this job, aligned to 16 bytes; it counts towards MEMORY_BUDGET. It
 * is freed when the job ends. If the job is deferred, memory that run took is
 * freed when run returns. NULL if there is no memory: the client gets 503
 * whatever run returns. */
void *hcs_job_alloc(struct hcs_job *job, size_t bytes);

/* --- The answer. Its status is 200 and its type application/json, unless the
 * handler sets another. */

/* Appends to the body of the answer. False if there is no memory: the client
 * gets 503 whatever run returns. */
bool hcs_job_write(struct hcs_job *job, const void *bytes, size_t length);

/* Appends a tree as JSON text. The caller keeps the tree. */
bool hcs_job_write_json(struct hcs_job *job, const struct cJSON *tree);

/* Appends a text as a JSON string: quoted and escaped. Bytes that are not UTF-8
 * become U+FFFD. */
bool hcs_job_write_string(struct hcs_job *job, const char *text, size_t length);

/* Adds a response field. It is sent only with HCS_OK. False, and nothing is
 * added, if
 * - name is no token or value no field value (RFC 9110, section 5);
 * - hcsd writes that field itself (for Content-Type there is a function below);
 * - all added fields together are longer than 4 KiB;
 * - there is no memory. */
bool hcs_job_add_field(
    struct hcs_job *job, const char *name, const char *value);

/* Sets the status, 200 to 599. With 204 no body is sent. False, and the status
 * stays as it was, if
 * - RFC 9110 ties the status to a field that was not added before: 301, 302,
 *   303, 307 and 308 to Location, 401 to WWW-Authenticate, 405 to Allow;
 * - the status says what a handler cannot say: 205, 206, 226, 300, 304 to 306,
 *   407, 408, 416, 426 and 511. */
bool hcs_job_set_status(struct hcs_job *job, unsigned status);

/* text must stay valid for ever: use a literal. */
void hcs_job_set_content_type(struct hcs_job *job, const char *text);

/* Says what is wrong. The problem document of every outcome but HCS_OK shows
 * the first 200 bytes. detail is copied. The body that was written so far is
 * dropped. */
void hcs_job_set_detail(struct hcs_job *job, const char *detail);

/* --- Answering later.
 *
 * In run, hcs_job_defer gives a token, and run returns HCS_PENDING. With the
 * token, any thread resumes the job, writes the answer and completes the job.
 * It may do so before run has returned. Until then the job is like one that
 * runs: its client may leave, its deadline may pass, the daemon may end. After
 * that the token is dead. If no thread resumes the job, hcsd answers it with
 * 504 at its deadline (JOB_TIMEOUT); without a deadline, with 503 when the
 * daemon ends.
 *
 * A token is a number that may be kept for ever. After its job was resumed, or
 * once the client does not wait any more, the token is dead. It never means
 * another job. Hand a token to another thread as you hand over other data: for
 * example under a lock. */

struct hcs_token {
    uint64_t value; /* 0: of no job */
};

/* False if there is no memory, or if the job was deferred before: then return
 * HCS_NO_MEMORY. After success, this thread may read the job until run returns,
 * but may not write. */
bool hcs_job_defer(struct hcs_job *job, struct hcs_token *token);

/* The job, for the caller alone. NULL if the token is dead. What the job lent
 * in run is valid again, with two exceptions, which were freed when run
 * returned: the tree (hcs_job_json builds a new one) and the memory of
 * hcs_job_alloc. */
struct hcs_job *hcs_mount_resume(
    struct hcs_mount *mount, struct hcs_token token);

/* Sends the answer of a job that was resumed. The job is gone afterwards.
 * outcome is not HCS_PENDING. */
void hcs_job_complete(struct hcs_job *job, enum hcs_outcome outcome);

/* Whether the token is alive. If it is not, the work can be left out. */
bool hcs_mount_awaits(struct hcs_mount *mount, struct hcs_token token);

#ifdef __cplusplus
}
#endif

#endif
