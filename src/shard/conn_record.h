/*
 * conn_record - the inside of a connection, for the files conn*.c alone.
 *
 *   conn.c        life: states, turns, results of jobs, deadlines, the end
 *   conn_read.c   bytes to requests: answered, refused, or a job
 *   conn_reply.c  replies, problem documents and the daemon's own pages
 *   conn_write.c  bytes to the client, and lingering after the last ones
 *
 * Any of the calls below may close the connection; its record stays until the
 * end of the turn, so the caller looks at the state.
 *
 * Owns:    as conn.h says. Threads: the shard's loop. Waits: never.
 */
#ifndef HCS_SHARD_CONN_RECORD_H
#define HCS_SHARD_CONN_RECORD_H

#include "http/response.h"
#include "job/request.h"
#include "observe/counts.h"
#include "shard/conn.h"

enum {
    HCS_CONN_READ_BUDGET = 4 * HCS_SHARD_IN, /* bytes a connection may read a
                                                turn */
    HCS_CONN_COPY_MAX = 16 * 1024, /* larger bodies are sent where they lie */
};

/* What the client has not taken yet: bytes, then a body where it lies. */
struct hcs_outbox {
    size_t length;
    size_t sent;
    const char *body;
    size_t body_length;
    size_t body_sent;
    uint64_t since_ms; /* when the client last took a byte */
    int on_its_way;    /* sent, not taken by the client, when last looked at */
    struct hcs_request *request; /* that the body lies in, or NULL */
    void *block;                 /* that the body is, or NULL */
    char bytes[];
};

/* Bytes that were read and have to wait for the reply before them. */
struct hcs_pending {
    size_t length;
    size_t used;
    char bytes[];
};

struct hcs_conn {
    struct hcs_watch watch; /* first, so that the one is the other */
    struct hcs_timer timer;
    struct hcs_shard *shard;
    struct hcs_request *request;
    struct hcs_outbox *outbox;
    struct hcs_pending *pending;
    struct hcs_conn *next;  /* among the shed, or the closed of this turn */
    struct hcs_conn **link; /* among the shed; NULL when not */
    uint64_t linger_until_ms;
    uint32_t lingered_bytes;
    int fd;
    unsigned char state;
    unsigned char end_reason;  /* what close counts after lingering */
    unsigned char empty_lines; /* before the request that is to come */
    bool timed : 1;            /* the deadline of this state is set */
    bool input_waits : 1;      /* no edge will tell of what is to be read */
    bool last : 1;             /* the last reply is out or composed */
    bool ended : 1;            /* the client has sent its last byte */
    bool shed : 1;             /* refused: not one of MAX_CONNECTIONS */
    bool spare : 1;            /* its descriptor is one of the spares */
    bool wants_out : 1;        /* EPOLLOUT is watched */
    bool starved : 1;          /* the kernel had no memory: no edge will come */
};

/* What a reply has to know of its request. */
struct hcs_asked {
    bool head_only;
    bool minor;
    bool keep_alive;
    const char *id;
    size_t id_length;
    char made_id[HCS_REQUEST_ID_MADE];
    const struct hcs_head *head; /* NULL: cannot be trusted */
    /* for the log alone */
    const struct hcs_route *route; /* NULL: none */
    uint64_t bytes_in;             /* of the body */
    uint64_t began_ns;             /* 0: in this turn */
};

/* A body that is too large to be copied behind its head. */
struct hcs_large {
    const char *bytes;
    size_t length;
    struct hcs_request *request; /* taken: freed when sent */
    void *block;                 /* taken: freed when sent */
};

struct hcs_refusal {
    enum hcs_reason reason;
    const char *detail; /* NULL: the reason's own words */
    size_t detail_length;
    const char *allow;
    bool close; /* what follows on the connection cannot be read */
    bool more;
    uint64_t queue_ns; /* of a job */
    uint64_t run_ns;
    bool timed;
};

/* --- conn.c */

/* The only writer of c->state. */
void hcs_conn_enter(struct hcs_conn *c, enum hcs_conn_state next);

/* Sets the deadline of the state it is in. */
void hcs_conn_arm(struct hcs_conn *c, uint64_t after_ms);

void hcs_conn_close(struct hcs_conn *c, enum hcs_reason reason);

/* The connection has no request any more; one that queue or worker still have
 * is detached, and freed when it comes home. */
void hcs_conn_drop_request(struct hcs_conn *c);
void hcs_conn_release_request(
    struct hcs_shard *shard, struct hcs_request *request);
void hcs_conn_free_outbox(struct hcs_conn *c);

/* --- conn_read.c */

/* Reads requests from bytes, as many as can be; returns how many bytes were
 * used. The rest has to wait for a reply, or for the client to take one. */
size_t hcs_conn_consume(struct hcs_conn *c, const char *bytes, size_t length);
bool hcs_conn_takes_requests(const struct hcs_conn *c);

/* Bytes of a body with a known length that are still to come. */
size_t hcs_conn_body_left(const struct hcs_request *request);

/* The request is complete: to the queue, or refused. more: bytes of a further
 * request are at hand. */
void hcs_conn_submit(struct hcs_conn *c, bool more);

/* --- conn_reply.c */

/* Makes an identifier if the client sent none; not without a shard. */
void hcs_conn_know_asked(struct hcs_asked *asked, struct hcs_shard *shard,
    const char *bytes, const struct hcs_head *head);
void hcs_conn_know_request(struct hcs_asked *asked, struct hcs_shard *shard,
    const struct hcs_request *request);
void hcs_conn_know_nothing(struct hcs_asked *asked, struct hcs_shard *shard);
void hcs_conn_make_id(struct hcs_shard *shard, char out[HCS_REQUEST_ID_MADE]);

/* Whether the client has sent more than was read and answered. */
bool hcs_conn_has_more_input(const struct hcs_conn *c);

/* Composes a reply behind those that were composed before. A body that is
 * copied is at most HCS_CONN_COPY_MAX; a large one is sent at once, with all
 * that was composed. more as in hcs_conn_submit. */
void hcs_conn_compose(struct hcs_conn *c, struct hcs_reply *reply,
    const struct hcs_asked *asked, enum hcs_reason reason, const char *body,
    struct hcs_large *large, bool more);
void hcs_conn_refuse_request(struct hcs_conn *c, struct hcs_asked *asked,
    const struct hcs_refusal *refusal);

/* Refuses the request that is being read, and ends the connection with it. */
void hcs_conn_refuse_reading(struct hcs_conn *c, enum hcs_reason reason);

/* The same where its first bytes are not yet in a record. */
void hcs_conn_refuse_first(struct hcs_conn *c, const char *bytes, size_t length,
    enum hcs_reason reason);
void hcs_conn_answer_page(struct hcs_conn *c, struct hcs_asked *asked,
    const char *bytes, const struct hcs_head *head,
    const struct hcs_route *route, bool more);

/* Answers where a precondition fails, in place of a 2xx. */
void hcs_conn_answer_precondition(
    struct hcs_conn *c, const struct hcs_asked *asked, bool more);
void hcs_conn_answer_options(struct hcs_conn *c, const struct hcs_asked *asked,
    const char *allow, bool more);

/* --- conn_write.c */

/* Sends what was composed, and the large body behind it. */
void hcs_conn_flush(struct hcs_conn *c, struct hcs_large *large);

/* Sends more of what is unsent. True when the connection lives; starved then
 * says that the kernel had no memory for it. */
bool hcs_conn_write_more(struct hcs_conn *c);

/* Gives the client WRITE_TIMEOUT from now to take a byte. */
void hcs_conn_await_room(struct hcs_conn *c);

/* Its time is up, and the connection closed; or, true, sending is to be tried
 * again, since no edge tells of it. */
bool hcs_conn_may_write_again(struct hcs_conn *c);

/* The last reply was sent: shuts our side and throws input away for a while. */
void hcs_conn_linger(struct hcs_conn *c);
void hcs_conn_discard(struct hcs_conn *c);

#endif
