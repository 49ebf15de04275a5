/*
 * conn_state - the record of a connection: states, deadlines, the end.
 *
 * Between requests a connection is only a record of about a hundred bytes. If a
 * request cannot be answered at once, the connection gets a request's record
 * until the last byte of the reply.
 *
 * A call of this file, or of a file above it in the ladder, may close the
 * connection. The record stays until the end of the turn, so the caller can
 * look at the state afterwards.
 *
 * Owns:    the transport, the request unless it is detached, and unsent bytes.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_CONN_STATE_H
#define HCS_SHARD_CONN_STATE_H

#include "base/peer.h"
#include "http/response.h"
#include "job/request.h"
#include "shard/shard.h"
#include "shard/transport.h"

enum {
    HCS_CONN_READ_BUDGET = 4 * HCS_SHARD_IN, /* bytes in a turn */
    HCS_CONN_COPY_MAX = 16 * 1024,  /* larger bodies are sent without a copy */
    HCS_CONN_STARVED_RETRY_MS = 50, /* until sending is tried again */
};

/* A body that is sent from where it lies, without a copy. */
struct hcs_body {
    const char *bytes; /* not NULL */
    size_t length;
    /* Frees the memory of bytes, called when they were sent or given up. NULL:
     * there is nothing to free. */
    void (*release)(struct hcs_shard *shard, void *owner);
    void *owner;
};

/* What could not be sent yet: bytes, then a body. */
struct hcs_write_queue {
    size_t length;
    size_t sent;
    struct hcs_body body;
    size_t body_sent;
    uint64_t since_ms; /* when the client last took a byte */
    int untaken;       /* bytes in the socket's buffer, at the last look */
    char bytes[];
};

/* Bytes that were read, and that wait for the reply before them. */
struct hcs_read_ahead {
    size_t length;
    size_t used;
    char bytes[];
};

struct hcs_conn {
    struct hcs_watch watch; /* first: a watch is cast to its connection */
    struct hcs_timer timer;
    struct hcs_shard *shard;
    struct hcs_request *request;
    struct hcs_write_queue *write_queue;
    struct hcs_read_ahead *read_ahead;
    TAILQ_ENTRY(hcs_conn) entry; /* in the shard's list shed or closed */
    uint64_t linger_until_ms;
    uint32_t lingered_bytes;
    struct hcs_transport transport;
    struct hcs_peer peer;
    unsigned char state;
    unsigned char end_reason;  /* NONE; or why it closes: no further request is
                                  read, and close counts this reason */
    unsigned char empty_lines; /* so far, before the next request */
    unsigned char site;        /* index of the site that serves the client */
    bool timed : 1;            /* the deadline of this state is set */
    bool input_waits : 1; /* there may be input of which no edge will tell */
    bool shed : 1;        /* refused: does not count in MAX_CONNECTIONS */
    bool spare : 1;       /* its descriptor is lent from the spares */
    bool wants_out : 1;   /* EPOLLOUT is watched */
    bool starved : 1;     /* the kernel lacks memory, and no edge will come */
};

/* Bytes of a record. */
size_t hcs_conn_record_bytes(void);

struct hcs_conn *hcs_conn_of_timer(struct hcs_timer *timer);

/* The only writer of c->state. */
void hcs_conn_enter(struct hcs_conn *c, enum hcs_conn_state next);

/* Sets the deadline of the connection's state. UINT64_MAX: no deadline. */
void hcs_conn_arm(struct hcs_conn *c, uint64_t after_ms);

/* No further request is read: the last reply is composed, or the client's side
 * has ended. */
static inline bool hcs_conn_is_ending(const struct hcs_conn *c)
{
    return c->end_reason != HCS_REASON_NONE;
}

static inline bool hcs_conn_takes_requests(const struct hcs_conn *c)
{
    return (c->state == HCS_CONN_IDLE || c->state == HCS_CONN_READING) &&
           !hcs_conn_is_ending(c) && c->write_queue == NULL;
}

/* Whether bytes of a further request have arrived. */
bool hcs_conn_has_more_input(const struct hcs_conn *c);

/* Both end the connection's part in its request. If the queue or a worker still
 * has the request, it is detached, and is freed when it comes home.
 * hcs_conn_drop_overdue: its deadline has passed. */
void hcs_conn_drop_request(struct hcs_conn *c);
void hcs_conn_drop_overdue(struct hcs_conn *c);
void hcs_conn_release_request(
    struct hcs_shard *shard, struct hcs_request *request);

/* If there is a request, it will not be answered: ends its exchange, and drops
 * it. */
void hcs_conn_abandon_request(struct hcs_conn *c, enum hcs_reason reason);

/* NULL is allowed. */
void hcs_conn_release_body(
    struct hcs_shard *shard, const struct hcs_body *body);
void hcs_conn_free_write_queue(struct hcs_conn *c);
void hcs_conn_free_read_ahead(struct hcs_conn *c);

void hcs_conn_close(struct hcs_conn *c, enum hcs_reason reason);

/* At the end of a turn: frees the records of connections that closed in it. */
void hcs_conn_free_closed(struct hcs_shard *shard);

#endif
