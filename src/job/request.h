/*
 * request - a request from its first byte to its reply's last.
 *
 * A record from its loop's slab. The task that travels to a worker is embedded
 * in it, so nothing is allocated to hand a job over. Small requests and replies
 * live in the record itself; larger ones in blocks within the budget.
 *
 * Owns:    its input and output bytes.
 * Threads: its loop's; while the task is TAKEN its worker's, but for the fields
 *          marked "loop", which stay the loop's, and the atomic ones.
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

/* A request as the thread sees it that does its job: a worker, or whoever has
 * resumed it. */
struct hcs_job {
    struct hcs_request *request;
    struct hcs_job_worker *worker; /* NULL: resumed */
    struct hcs_arena *arena;       /* NULL: none yet */
    struct cJSON *tree;
    uint32_t detail_length; /* of the output, when it is a detail */
    bool no_memory;         /* for the reply, the tree, or in hcs_job_alloc */
    bool beyond_cjson;      /* valid JSON that cJSON does not take */
};

enum {
    HCS_REQUEST_BYTES = 816, /* of a whole record: with the connection, a token
                                and what the handler notes, the slabs' slack
                                and the queue's cell below 1 KiB a waiting
                                request; 80 fill a slab's chunk */
};

/* Who gets a request back when its job has ended. Its loop alone looks here. */
struct hcs_waiter {
    void (*deliver)(void *owner, struct hcs_request *request);
    void *owner; /* NULL: nobody waits any more */
};

struct hcs_request {
    struct hcs_task task;     /* first, so that the one is the other */
    struct hcs_waiter waiter; /* loop */
    const struct hcs_route *route;
    struct hcs_budget *budget;

    char *in; /* header section, then body (decoded) */
    uint32_t in_length;
    uint32_t in_capacity;
    uint32_t head_length;     /* 0 while the section is incomplete */
    uint32_t period_length;   /* loop; in_length when the period began */
    uint64_t began_ms;        /* loop; arrival of its first byte, and */
    uint64_t period_began_ms; /* of the period that MIN_UPLOAD_RATE looks at */
    struct hcs_head head;
    union {
        struct hcs_head_scan scan;  /* until the section is complete */
        struct hcs_chunked chunked; /* of a chunked body */
        struct hcs_job job;         /* deferred: of who resumes it */
    };

    char *out; /* the reply's fields and its body, or the problem's detail */
    uint32_t out_length;
    uint32_t out_capacity;
    uint32_t fields_length; /* of what out begins with: NAME: VALUE CRLF ... */
    enum hcs_reason reason;
    const char *content_type;

    _Atomic uint64_t started_ns; /* when a worker took it; 0 before */
    uint64_t admitted_ns;        /* when it was queued */
    uint64_t run_ns;

    uint16_t status;        /* when reason is NONE */
    _Atomic bool cancelled; /* nobody waits any more */
    bool overdue;      /* loop; its deadline passed while a worker ran it */
    uint8_t id_length; /* of made_id, when the client sent none */
    char made_id[HCS_EXCHANGE_ID_MADE];
    char inline_bytes[]; /* up to HCS_REQUEST_BYTES */
};

/* A fresh record from the slab, for a task that comes home to the mailbox. */
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

/* The client's identifier, or the one that was made. */
const char *hcs_request_id(const struct hcs_request *request, size_t *length);

#endif
