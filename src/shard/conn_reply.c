#include "shard/conn_reply.h"

#include "http/problem.h"

#include <assert.h>
#include <string.h>

/* In a drain a request that has arrived is still answered. So a reply is the
 * last one only if no further request has arrived. */
static enum hcs_reply_connection decide_connection(
    struct hcs_conn *c, const struct hcs_exchange *exchange, bool more)
{
    if (hcs_conn_is_ending(c)) {
        return HCS_REPLY_CLOSE;
    }
    if (!exchange->keep_alive) {
        c->end_reason = HCS_REASON_KEEPALIVE_END;
        return HCS_REPLY_CLOSE;
    }
    if (c->shard->applied != HCS_COMMAND_RUN && !more &&
        !hcs_conn_has_more_input(c)) {
        c->end_reason = HCS_REASON_DRAINED;
        return HCS_REPLY_CLOSE;
    }
    return exchange->minor ? HCS_REPLY_KEEP : HCS_REPLY_KEEP_SAID;
}

void hcs_conn_compose(struct hcs_conn *c, struct hcs_exchange *exchange,
    struct hcs_reply *reply, const char *text, const struct hcs_body *body,
    bool more)
{
    struct hcs_shard *shard = c->shard;
    char *out = shard->out + shard->out_length;
    size_t length;

    reply->connection = decide_connection(c, exchange, more);
    hcs_exchange_end(shard, exchange);
    length = hcs_response_head(out, exchange, reply, hcs_shard_date(shard));
    if (text != NULL && !exchange->head_only) {
        memcpy(out + length, text, exchange->bytes_out);
        length += exchange->bytes_out;
    }
    shard->out_length += length;
    if (body != NULL) {
        assert(!exchange->head_only);
        hcs_conn_flush(c, body);
    }
}

/* The exchange's identifier if it is a UUID: 36 bytes, hexadecimal digits with
 * dashes in their places. Else NULL. */
static const char *as_uuid(const struct hcs_exchange *exchange)
{
    if (exchange->id_length != HCS_EXCHANGE_ID_MADE) {
        return NULL;
    }
    for (size_t i = 0; i < HCS_EXCHANGE_ID_MADE; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char at = exchange->id[i];
        bool digit = (at >= '0' && at <= '9') || (at >= 'a' && at <= 'f') ||
                     (at >= 'A' && at <= 'F');

        if (dash ? at != '-' : !digit) {
            return NULL;
        }
    }
    return exchange->id;
}

void hcs_conn_refuse_request(struct hcs_conn *c, struct hcs_exchange *exchange,
    const struct hcs_refusal *refusal)
{
    struct hcs_shard *shard = c->shard;
    char fallback[HCS_EXCHANGE_ID_MADE];
    char body[HCS_PROBLEM_MAX];
    struct hcs_problem problem = {
        .reason = refusal->reason,
        .detail = refusal->detail,
        .detail_length = refusal->detail_length,
        .instance = as_uuid(exchange),
    };
    struct hcs_reply reply = {
        .content_type = "application/problem+json",
        .allow = refusal->allow,
        .accept_json = refusal->reason == HCS_REASON_BAD_MEDIA_TYPE,
    };

    exchange->reason = refusal->reason;
    exchange->status = hcs_reason_status(refusal->reason);
    if (problem.instance == NULL) {
        hcs_shard_make_id(shard, fallback);
        problem.instance = fallback;
    }
    if (exchange->status == 503) { /* refused for lack of capacity */
        struct hcs_gate_advice advice = hcs_gate_advise(
            &shard->service->gate, hcs_random_next(&shard->random));

        reply.retry_after_s = advice.retry_after_s;
        problem.retry_after_ms = advice.retry_after_s * 1000ULL;
        problem.queue_depth = advice.queue_depth;
    }
    if (refusal->close) {
        c->end_reason = (unsigned char)refusal->reason;
    }
    exchange->bytes_out = hcs_problem_write(body, &problem);
    hcs_conn_compose(c, exchange, &reply, body, NULL, refusal->more);
}

void hcs_conn_refuse_first(struct hcs_conn *c, const char *bytes, size_t length,
    enum hcs_reason reason)
{
    struct hcs_refusal refusal = {.reason = reason, .close = true};
    struct hcs_exchange exchange;

    if (c->request != NULL && c->request->head_length > 0) {
        hcs_exchange_from_request(
            &exchange, c->shard, &c->peer, c->request, false);
    } else {
        hcs_exchange_unknown(&exchange, c->shard, &c->peer);
        /* A client that sent HEAD reads no body, even if the rest of its
         * request was wrong. */
        exchange.head_only = length >= 5 && memcmp(bytes, "HEAD ", 5) == 0;
        hcs_counter_add(&c->shard->counts.requests, 1);
    }
    hcs_conn_refuse_request(c, &exchange, &refusal);
    if (c->state == HCS_CONN_READING) {
        hcs_conn_drop_request(c);
        hcs_conn_enter(c, HCS_CONN_IDLE);
    }
}

void hcs_conn_refuse_reading(struct hcs_conn *c, enum hcs_reason reason)
{
    const struct hcs_request *request = c->request;

    hcs_conn_refuse_first(c, request != NULL ? request->in : NULL,
        request != NULL ? request->in_length : 0, reason);
}

void hcs_conn_answer_precondition(struct hcs_conn *c,
    struct hcs_exchange *exchange, const struct hcs_head *head, bool no_store,
    bool more)
{
    struct hcs_refusal refusal = {
        .reason = HCS_REASON_PRECONDITION_FAILED, .more = more};

    assert(head->precondition != HCS_PRECONDITION_HOLDS);
    if (head->precondition == HCS_PRECONDITION_EXISTS &&
        (head->method == HCS_GET || head->method == HCS_HEAD)) {
        struct hcs_reply reply = {.no_store = no_store};

        exchange->status = 304;
        hcs_conn_compose(c, exchange, &reply, NULL, NULL, more);
        return;
    }
    if (head->precondition == HCS_PRECONDITION_BAD) {
        refusal.reason = HCS_REASON_BAD_FIELD;
        refusal.close = true;
    }
    hcs_conn_refuse_request(c, exchange, &refusal);
}

void hcs_conn_answer_options(struct hcs_conn *c, struct hcs_exchange *exchange,
    const char *allow, bool more)
{
    struct hcs_reply reply = {.allow = allow};

    exchange->status = 204;
    hcs_conn_compose(c, exchange, &reply, NULL, NULL, more);
}
