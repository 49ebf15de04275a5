/*
 * hcs/handler.h - what the author of a handler needs, and all of it.
 *
 * A handler does the work of the jobs that arrive on its path. hcsd has done
 * the rest: the request was read whole, its body is valid JSON (RFC 8259) or
 * empty, and it waited in the queue. `run` is called on a worker, may block,
 * and says what to answer by the functions below; what it writes is sent when
 * it returns.
 *
 * Owns:    a job lends everything it gives until run returns.
 * Threads: run is called by many workers at once with the same self; the
 *          functions below are for the worker that runs the job, inside run.
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

enum { HCS_HANDLER_ABI = 1 };

struct hcs_job; /* opaque */

enum hcs_outcome {
    HCS_OK = 0,    /* answered with what was written */
    HCS_INVALID,   /* 422: valid JSON, but no job for this handler */
    HCS_FAILED,    /* 500: the handler could not do it */
    HCS_NO_MEMORY, /* 503: try again later */
};

/* Flags of a handler. */
enum {
    /* run takes microseconds and never blocks, so a worker that takes such a
     * job does not wake another one for the jobs behind it. */
    HCS_HANDLER_BRIEF = 1u << 0,
};

struct hcs_handler {
    uint32_t abi; /* HCS_HANDLER_ABI */
    uint32_t flags;
    const char *name; /* as in HANDLERS: PATH=NAME[:ARGUMENT][?key=value&...] */

    /* Called once at start for each path it is mapped to. argument is the text
     * behind the colon, or NULL. 0, or -1 with one line in error that says what
     * is wrong and what is allowed. May be NULL if there is nothing to open;
     * an argument is then refused. */
    int (*open)(
        void **self, const char *argument, char *error, size_t error_size);

    enum hcs_outcome (*run)(void *self, struct hcs_job *job);

    /* Called once when no job runs any more; may be NULL. */
    void (*close)(void *self);
};

/* --- What was asked. Texts are not terminated by NUL. */

/* The body as it was sent; NULL and 0 without one. */
const char *hcs_job_body(const struct hcs_job *job, size_t *length);

/* The raw text of a member of the body, byte for byte; false when the body is
 * empty, no object, or has no such member. */
bool hcs_job_member(const struct hcs_job *job, const char *name,
    const char **value, size_t *length);

/* The body as a tree, built on the first call; NULL without a body, and when
 * there is no memory for it (the client gets 503 whatever run returns) or
 * cJSON cannot hold it (422, unless run returns HCS_OK). The tree belongs to
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

/* True once nobody waits for the answer any more: the client left, or its
 * deadline passed. Long work should look now and then, and return. */
bool hcs_job_cancelled(const struct hcs_job *job);

/* --- What is answered. 200 and application/json unless said otherwise. */

/* Appends to the reply's body. False when there is no memory: the client gets
 * 503 whatever run returns. */
bool hcs_job_write(struct hcs_job *job, const void *bytes, size_t length);

/* Appends a tree as JSON text; the tree stays the caller's. */
bool hcs_job_write_json(struct hcs_job *job, const struct cJSON *tree);

/* False, and the status stays as it was, when it is not 200..599, or is one that
 * RFC 9110 ties to what a handler cannot say, a field or the end of the
 * connection: 205, 206, 226, all 3xx, 401, 405, 407, 408, 416, 426 and 511.
 * With 204 what is written is not sent. */
bool hcs_job_set_status(struct hcs_job *job, unsigned status);

/* text: borrowed for good (a literal). */
void hcs_job_set_content_type(struct hcs_job *job, const char *text);

/* What is wrong, for the problem document that HCS_INVALID or HCS_FAILED
 * sends; copied, cut at 200 bytes. */
void hcs_job_set_detail(struct hcs_job *job, const char *detail);

/* --- For arguments. */

/* "15s", "250ms", "100us", "2m", "1h": nanoseconds. False when it is none of
 * them, or does not fit. */
bool hcs_parse_duration(const char *text, uint64_t *ns);

#ifdef __cplusplus
}
#endif

#endif
