/*
 * conn_reply - composes replies and problem documents.
 *
 * A call of this file ends the exchange that it is given. It may close the
 * connection, so the caller looks at the state afterwards.
 *
 * Owns:    nothing.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_CONN_REPLY_H
#define HCS_SHARD_CONN_REPLY_H

#include "shard/conn_write.h"
#include "shard/exchange.h"

struct hcs_refusal {
    enum hcs_reason reason;
    const char *detail; /* NULL: the text of the reason */
    size_t detail_length;
    const char *allow; /* NULL: no Allow field */
    bool close;        /* the next request on the connection cannot be read */
    bool more;         /* as in hcs_conn_compose */
};

/* Composes a reply behind those that were composed before, and ends the
 * exchange. The caller has set the exchange's status, bytes_out and times. At
 * least one of text and body is NULL:
 * - text is copied: exchange->bytes_out bytes, at most HCS_CONN_COPY_MAX;
 * - the call takes ownership of body, and sends at once all that was composed.
 * more: bytes of a further request have arrived. */
void hcs_conn_compose(struct hcs_conn *c, struct hcs_exchange *exchange,
    struct hcs_reply *reply, const char *text, const struct hcs_body *body,
    bool more);

/* Answers with the problem document of the refusal. */
void hcs_conn_refuse_request(struct hcs_conn *c, struct hcs_exchange *exchange,
    const struct hcs_refusal *refusal);

/* Refuses the request that is being read. The reply is the connection's
 * last. */
void hcs_conn_refuse_reading(struct hcs_conn *c, enum hcs_reason reason);

/* The same, for a request that has no record yet. bytes: what has arrived of
 * it. */
void hcs_conn_refuse_first(struct hcs_conn *c, const char *bytes, size_t length,
    enum hcs_reason reason);

/* Answers a request whose precondition does not hold, in place of a 2xx. */
void hcs_conn_answer_precondition(struct hcs_conn *c,
    struct hcs_exchange *exchange, const struct hcs_head *head, bool no_store,
    bool more);

/* Answers OPTIONS. */
void hcs_conn_answer_options(struct hcs_conn *c, struct hcs_exchange *exchange,
    const char *allow, bool more);

#endif
