/*
 * request - a request from its first byte to its reply's last byte.
 *
 * A request is a record from its loop's slab. The task that travels to a worker
 * is embedded in the record, so that handing a job over allocates nothing.
 * Small requests and replies lie in the record itself. Larger ones lie in
 * blocks within the budget.
 *
 * Owns:    its input and output bytes.
 * Threads: its loop. While the task is TAKEN: its worker. The fields marked
 *          "loop" stay the loop's. The atomic fields are for both.
 * Waits:   never.
 */
#ifndef HCS_JOB_REQUEST_H
#define HCS_JOB_REQUEST_H

#include "guard/budget.h"
#include "http/chunked.h"
#include "http/exchange.h"
#include "http/head.h"
#include "http/response.h"
#include "job/router.h"
#include "sync/task.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;
struct hcs_job_worker;
struct hcs_arena;

/* A request as seen by the thread that has its job: a worker, or the thread
 * that resumed the job. */
struct hcs_job {
    struct hcs_request *request;
    struct hcs_job_worker *worker; /* NULL: the job was resumed */
    struct hcs_arena *arena;       /* NULL: none yet */
    struct cJSON *tree;
    uint32_t detail_length; /* bytes of the problem's detail; 0: none is set */
    bool no_memory;         /* for the reply, the tree or hcs_job_alloc */
    bool beyond_cjson;      /* the body is valid JSON, but cJSON refuses it */
};

enum {
    /* A whole record. A waiting request costs less than 1 KiB: this record, the
     * connection's record, a token, the handler's own note, the queue's cell,
     * and the unused rest of the slabs. A chunk of a slab holds 80 records. */
    HCS_REQUEST_BYTES = 816,
};

/* The owner gets the request back when its job has ended. Only the loop uses
 * this. */
struct hcs_waiter {
    void (*deliver)(void *owner, struct hcs_request *request);
    void *owner; /* NULL: the result is not wanted any more */
};

struct hcs_request {
    struct hcs_task task;     /* first: a task is cast to its request */
    struct hcs_waiter waiter; /* loop */
    const struct hcs_route *route;
    struct hcs_budget *budget;

    char *in; /* header section, then body (decoded) */
    uint32_t in_length;
    uint32_t in_capacity;
    uint32_t head_length;     /* 0 while the header section is incomplete */
    uint32_t period_length;   /* loop; in_length when the period began */
    uint64_t began_ms;        /* loop; when the first byte arrived */
    uint64_t period_began_ms; /* loop; the period of MIN_UPLOAD_RATE */
    struct hcs_head head;
    union {
        struct hcs_head_scan scan;  /* until the header section is complete */
        struct hcs_chunked chunked; /* while a chunked body arrives */
        struct hcs_job job; /* deferred: of the thread that resumes it */
    };

    char *out; /* the reply's fields and its body, or the problem's detail */
    uint32_t out_length;
    uint32_t out_capacity;
    uint32_t fields_length; /* out begins with the fields: NAME: VALUE CRLF */
    enum hcs_reason reason;
    const char *content_type;

    _Atomic uint64_t started_ns; /* when a worker took the job; 0: not yet */
    uint64_t admitted_ns;        /* when the job was queued */
    uint64_t run_ns;

    uint16_t status;        /* when reason is NONE */
    _Atomic bool cancelled; /* the result will not be sent to the client */
    bool overdue; /* loop; the deadline passed while a worker ran the job */
    uint8_t id_length; /* of made_id; 0: the client sent an identifier */
    char made_id[HCS_EXCHANGE_ID_MADE];
    char inline_bytes[]; /* up to HCS_REQUEST_BYTES */
};

/* Makes a record from the slab a new request. home: the mailbox that its task
 * is put into when the job has ended. */
void hcs_request_init(struct hcs_request *request, struct hcs_budget *budget,
    struct hcs_mailbox *home);

/* Frees what the record owns, not the record. */
void hcs_request_fini(struct hcs_request *request);

/* Makes room for more input bytes behind in_length; false when there is no
 * memory. */
bool hcs_request_reserve(struct hcs_request *request, size_t more);
bool hcs_request_append(
    struct hcs_request *request, const char *bytes, size_t length);

/* Appends to the reply's body; false when there is no memory. */
bool hcs_request_write(
    struct hcs_request *request, const void *bytes, size_t length);

/* Appends to the reply's fields, before the body; false when there is no
 * memory. */
bool hcs_request_write_field(
    struct hcs_request *request, const char *name, const char *value);

static inline const char *hcs_request_body(
    const struct hcs_request *request, size_t *length)
{
    *length = request->in_length - request->head_length;
    return *length == 0 ? NULL : request->in + request->head_length;
}

/* The client's identifier, or the one that the daemon made. */
const char *hcs_request_id(const struct hcs_request *request, size_t *length);

#endif
