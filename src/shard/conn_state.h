/*
 * conn_state - the record of a connection: states, deadlines, the end.
 *
 * Between requests a connection is a record of about a hundred bytes. A
 * request's record is lent to it from the request's first byte that could not
 * be answered at once to its reply's last.
 *
 * A call of this file, or of a file above it, may close the connection. The
 * record stays until the end of the turn, so the caller looks at the state.
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
    HCS_CONN_READ_BUDGET = 4 * HCS_SHARD_IN, /* bytes a connection may read a
                                                turn */
    HCS_CONN_COPY_MAX = 16 * 1024,  /* larger bodies are sent where they lie */
    HCS_CONN_STARVED_RETRY_MS = 50, /* until sending is tried again */
};

/* A body, where it lies. */
struct hcs_body {
    const char *bytes; /* not NULL */
    size_t length;
    /* Gives back what bytes lie in, once they are sent or given up. NULL: there
     * is nothing to give back. */
    void (*release)(struct hcs_shard *shard, void *owner);
    void *owner;
};

/* What the client has not taken yet: bytes, then a body. */
struct hcs_write_queue {
    size_t length;
    size_t sent;
    struct hcs_body body;
    size_t body_sent;
    uint64_t since_ms; /* when the client last took a byte */
    int untaken;       /* sent, not taken by the client, when last looked at */
    char bytes[];
};

/* Bytes that were read and have to wait for the reply before them. */
struct hcs_read_ahead {
    size_t length;
    size_t used;
    char bytes[];
};

struct hcs_conn {
    struct hcs_watch watch; /* first, so that the one is the other */
    struct hcs_timer timer;
    struct hcs_shard *shard;
    struct hcs_request *request;
    struct hcs_write_queue *write_queue;
    struct hcs_read_ahead *read_ahead;
    TAILQ_ENTRY(hcs_conn) entry; /* among the shed, or the closed of a turn */
    uint64_t linger_until_ms;
    uint32_t lingered_bytes;
    struct hcs_transport transport;
    struct hcs_peer peer;
    unsigned char state;
    unsigned char end_reason;  /* NONE; or the last reply is composed, and this
                                  is what close counts */
    unsigned char empty_lines; /* before the request that is to come */
    unsigned char site;        /* which of the service's sites it is served */
    bool timed : 1;            /* the deadline of this state is set */
    bool input_waits : 1;      /* no edge will tell of what is to be read */
    bool shed : 1;             /* refused: not one of MAX_CONNECTIONS */
    bool spare : 1;            /* its descriptor is one of the spares */
    bool wants_out : 1;        /* EPOLLOUT is watched */
    bool starved : 1;          /* the kernel had no memory: no edge will come */
};

/* Bytes of a record. */
size_t hcs_conn_record_bytes(void);

struct hcs_conn *hcs_conn_of_timer(struct hcs_timer *timer);

/* The only writer of c->state. */
void hcs_conn_enter(struct hcs_conn *c, enum hcs_conn_state next);

/* Sets the deadline of the state it is in. UINT64_MAX: none. */
void hcs_conn_arm(struct hcs_conn *c, uint64_t after_ms);

/* No further request is read: the last reply is composed, or there is none. */
static inline bool hcs_conn_is_ending(const struct hcs_conn *c)
{
    return c->end_reason != HCS_REASON_NONE;
}

static inline bool hcs_conn_takes_requests(const struct hcs_conn *c)
{
    return (c->state == HCS_CONN_IDLE || c->state == HCS_CONN_READING) &&
           !hcs_conn_is_ending(c) && c->write_queue == NULL;
}

/* Whether the client has sent more than was read and answered. */
bool hcs_conn_has_more_input(const struct hcs_conn *c);

/* The connection has no request any more. A request that queue or worker still
 * have is detached, and freed when it comes home; overdue: because its deadline
 * has passed. */
void hcs_conn_drop_request(struct hcs_conn *c);
void hcs_conn_drop_overdue(struct hcs_conn *c);
void hcs_conn_release_request(
    struct hcs_shard *shard, struct hcs_request *request);

/* The request, if there is one, will not be answered: ends its exchange, and
 * drops it. */
void hcs_conn_abandon_request(struct hcs_conn *c, enum hcs_reason reason);

/* NULL is allowed. */
void hcs_conn_release_body(
    struct hcs_shard *shard, const struct hcs_body *body);
void hcs_conn_free_write_queue(struct hcs_conn *c);
void hcs_conn_free_read_ahead(struct hcs_conn *c);

void hcs_conn_close(struct hcs_conn *c, enum hcs_reason reason);

/* At the end of a turn: frees the records of those that closed in it. */
void hcs_conn_free_closed(struct hcs_shard *shard);

#endif
