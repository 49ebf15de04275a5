#include "shard/conn_read.h"

#include "http/syntax.h"
#include "shard/conn_reply.h"
#include "shard/pages.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

enum {
    OUT_RESERVE = HCS_RESPONSE_HEAD_MAX + HCS_CONN_COPY_MAX, /* for one more
                                                                reply */
    BRIEF_BODY_MAX = 4096, /* a job with a larger body is not brief */
    EMPTY_LINES_MAX = 8,   /* before a request */
};

static bool has_body(const struct hcs_head *head)
{
    return head->chunked || head->content_length > 0;
}

/* Content-Type: application/json or anything +json, with any parameters. */
static bool is_json(const char *type, size_t length)
{
    if (length == 16 && memcmp(type, "application/json", 16) == 0) {
        return true; /* nearly all clients send it so */
    }
    return hcs_syntax_is_json(type, type + length);
}

/* The reason for which the job is refused by its header section alone. NONE: it
 * is not refused. */
static enum hcs_reason check_job(const struct hcs_shard *shard,
    const char *bytes, const struct hcs_head *head)
{
    struct hcs_span type = head->content_type;
    struct hcs_span encoding = head->content_encoding;

    if (!has_body(head)) {
        return HCS_REASON_NONE;
    }
    if (type.offset > 0 && !is_json(bytes + type.offset, type.length)) {
        return HCS_REASON_BAD_MEDIA_TYPE;
    }
    if (encoding.length > 0 &&
        !(encoding.length == 8 &&
            strncasecmp(bytes + encoding.offset, "identity", 8) == 0)) {
        return HCS_REASON_BAD_CONTENT_ENCODING;
    }
    if (head->content_length > shard->service->limits.max_body_bytes) {
        return HCS_REASON_BODY_TOO_LARGE;
    }
    return HCS_REASON_NONE;
}

static struct hcs_request *new_request(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;
    struct hcs_request *request = hcs_slab_alloc(shard->requests);

    if (request != NULL) {
        hcs_request_init(request, shard->service->budget, &shard->mailbox);
        c->request = request;
    }
    return request;
}

void hcs_conn_submit(struct hcs_conn *c, bool more)
{
    struct hcs_shard *shard = c->shard;
    struct hcs_request *request = c->request;
    struct hcs_refusal refusal = {.more = more};
    struct hcs_exchange exchange;

    if (request->head.request_id.length == 0) {
        hcs_shard_make_id(shard, request->made_id);
        request->id_length = HCS_EXCHANGE_ID_MADE;
    }
    request->admitted_ns = shard->loop.now_ns;
    request->task.brief =
        (request->route->mount->handler->flags & HCS_HANDLER_BRIEF) != 0 &&
        request->in_length - request->head_length <= BRIEF_BODY_MAX;
    refusal.reason = hcs_gate_admit(&shard->service->gate, &request->task);
    if (refusal.reason == HCS_REASON_NONE) {
        shard->submitted = true;
        hcs_conn_enter(c, HCS_CONN_WORKING);
        return;
    }
    hcs_exchange_from_request(&exchange, shard, &c->peer, request, false);
    hcs_conn_refuse_request(c, &exchange, &refusal);
    hcs_conn_drop_request(c);
    hcs_conn_enter(c, HCS_CONN_IDLE);
}

/* Begins a job: its header section is complete and accepted. bytes: the
 * section. available: how many bytes have arrived behind it. */
static void begin_job(struct hcs_conn *c, const char *bytes, size_t head_length,
    const struct hcs_head *head, const struct hcs_route *route,
    size_t available)
{
    struct hcs_shard *shard = c->shard;
    struct hcs_request *request = c->request;

    if (request == NULL) { /* else its record holds the section already */
        request = new_request(c);
        if (request == NULL ||
            !hcs_request_append(request, bytes, head_length)) {
            struct hcs_exchange exchange;

            hcs_exchange_from_head(&exchange, shard, &c->peer, bytes, head);
            hcs_conn_refuse_request(c, &exchange,
                &(struct hcs_refusal){
                    .reason = HCS_REASON_MEMORY_PRESSURE, .close = true});
            hcs_conn_drop_request(c);
            return;
        }
    }
    request->head = *head;
    request->head_length = (uint32_t)head_length;
    request->route = route;
    request->chunked = (struct hcs_chunked){0};
    if (c->state == HCS_CONN_IDLE) {
        hcs_conn_enter(c, HCS_CONN_READING);
    }
    if (!has_body(head)) {
        hcs_conn_submit(c, available > 0);
    } else if (head->expect_continue && available == 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

        memcpy(shard->out + shard->out_length, go_on, sizeof(go_on) - 1);
        shard->out_length += sizeof(go_on) - 1;
    }
}

/* A request whose header section was read, and what the answer depends on. It
 * is filled in member by member: the head is large, and hcs_head_parse clears
 * it. */
struct asked {
    const char *bytes; /* of the header section */
    struct hcs_head head;
    const struct hcs_route *route; /* NULL: no route, or the target is "*" */
    bool is_job;                   /* the route is a job's */
    unsigned methods;              /* that the route allows; 0: no route */
    struct hcs_refusal refusal;
};

/* OPTIONS * and CONNECT have no path. */
static void judge_without_path(struct asked *asked)
{
    asked->methods = HCS_METHODS_JOB;
    if (!asked->head.asterisk) { /* CONNECT */
        asked->refusal.reason = HCS_REASON_METHOD_NOT_ALLOWED;
        /* The bytes that follow may be meant for the tunnel that was refused
         * (RFC 9931). */
        asked->refusal.close = true;
    }
}

static void judge_path(const struct hcs_conn *c, struct asked *asked)
{
    const struct hcs_head *head = &asked->head;

    asked->route = hcs_router_find(c->shard->service->sites[c->site].router,
        asked->bytes + head->path.offset, head->path.length);
    if (asked->route == NULL) {
        asked->refusal.reason = HCS_REASON_NOT_FOUND;
        return;
    }
    asked->is_job = asked->route->page == NULL;
    asked->methods = asked->route->methods;
    if ((asked->methods & 1u << head->method) == 0) {
        asked->refusal.reason = HCS_REASON_METHOD_NOT_ALLOWED;
    } else if (asked->is_job) {
        asked->refusal.reason = check_job(c->shard, asked->bytes, head);
    }
}

/* Answers a request that is no job, or that is refused by its header section
 * alone. If the whole body has arrived, it is skipped. Otherwise the answer is
 * the connection's last one: the daemon does not read the body, and so does not
 * know where the next request begins. Returns how many of the available bytes
 * were skipped. */
static size_t answer_at_once(
    struct hcs_conn *c, const struct asked *asked, size_t available)
{
    const struct hcs_head *head = &asked->head;
    struct hcs_refusal refusal = asked->refusal;
    bool whole = !head->chunked && head->content_length <= available;
    size_t skipped = whole ? (size_t)head->content_length : available;
    struct hcs_exchange exchange;
    char allow[HCS_ALLOW_MAX];

    hcs_exchange_from_head(&exchange, c->shard, &c->peer, asked->bytes, head);
    exchange.route = asked->route != NULL ? asked->route->path : NULL;
    refusal.more = available > skipped;
    if (!whole) {
        exchange.keep_alive = false;
        refusal.close = true;
    }
    if (refusal.reason != HCS_REASON_NONE) {
        /* Also where another reason goes before the method. */
        if (asked->methods != 0 && (asked->methods & 1u << head->method) == 0) {
            hcs_method_allow(asked->methods, allow);
            refusal.allow = allow;
        }
        hcs_conn_refuse_request(c, &exchange, &refusal);
    } else if (head->method == HCS_OPTIONS) {
        hcs_method_allow(asked->methods, allow);
        hcs_conn_answer_options(c, &exchange, allow, refusal.more);
    } else if (asked->is_job) {
        hcs_conn_answer_precondition(c, &exchange, head, false, refusal.more);
    } else {
        hcs_pages_answer(&(struct hcs_page_request){
            c, &exchange, asked->route, asked->bytes, head, refusal.more});
    }
    return skipped;
}

/* A header section is complete. Answers or refuses the request, or begins a
 * job. Returns how many of the available bytes behind the section were skipped,
 * as a body that is of no use. */
static size_t begin(struct hcs_conn *c, const struct hcs_head_scan *scan,
    const char *bytes, size_t head_length, size_t available)
{
    struct hcs_shard *shard = c->shard;
    struct hcs_exchange exchange;
    struct asked asked;

    asked.bytes = bytes;
    asked.route = NULL;
    asked.is_job = false;
    asked.methods = 0;
    asked.refusal = (struct hcs_refusal){0};
    asked.refusal.reason =
        hcs_head_parse(&shard->parser, scan, bytes, head_length, &asked.head);
    hcs_counter_add(&shard->counts.requests, 1);
    c->empty_lines = 0;
    if (asked.refusal.reason != HCS_REASON_NONE) {
        hcs_exchange_from_head(&exchange, shard, &c->peer, bytes, &asked.head);
        exchange.understood = false;
        asked.refusal.close = true;
        hcs_conn_refuse_request(c, &exchange, &asked.refusal);
        return available;
    }
    if (asked.head.path.length != 0) {
        judge_path(c, &asked);
    } else {
        judge_without_path(&asked);
    }
    if (asked.head.secure) { /* RFC 9110, section 7.4 */
        asked.refusal.reason = HCS_REASON_MISDIRECTED;
    }
    if (asked.refusal.reason == HCS_REASON_NONE && asked.is_job &&
        asked.head.method != HCS_OPTIONS &&
        asked.head.precondition == HCS_PRECONDITION_HOLDS) {
        begin_job(c, bytes, head_length, &asked.head, asked.route, available);
        return 0;
    }
    return answer_at_once(c, &asked, available);
}

/* A server should ignore at least one empty line before a request (RFC 9112,
 * section 2.2). Their number is bounded: else a client could keep its
 * connection open with empty lines, and no timeout and no drain would end
 * it. */
static bool skip_empty_lines(struct hcs_conn *c, size_t lines)
{
    if (lines > (size_t)(EMPTY_LINES_MAX - c->empty_lines)) {
        return false;
    }
    c->empty_lines = (unsigned char)(c->empty_lines + lines);
    return true;
}

/* The first bytes of a request. Returns how many were used. */
static size_t take_first(struct hcs_conn *c, const char *bytes, size_t length)
{
    struct hcs_head_scan scan = {0};
    enum hcs_scan verdict = HCS_SCAN_MORE;
    enum hcs_reason reason = HCS_REASON_NONE;
    size_t head_length = 0;
    size_t empty = hcs_head_skip_empty(bytes, length);
    struct hcs_request *request;

    if (empty > 0) {
        if (!skip_empty_lines(c, empty / 2)) {
            hcs_conn_refuse_first(
                c, bytes, length, HCS_REASON_BAD_REQUEST_LINE);
            return length;
        }
        return empty;
    }
    if (length > 1 || bytes[0] != '\r') { /* a CR alone may be an empty line */
        verdict = hcs_head_scan(&scan, bytes, length,
            c->shard->service->limits.max_header_bytes, &head_length, &reason);
    }
    switch (verdict) {
    case HCS_SCAN_DONE:
        return head_length +
               begin(c, &scan, bytes, head_length, length - head_length);
    case HCS_SCAN_BAD:
        hcs_conn_refuse_first(c, bytes, length, reason);
        return length;
    case HCS_SCAN_MORE:
        break;
    }
    request = new_request(c);
    if (request == NULL || !hcs_request_append(request, bytes, length)) {
        hcs_conn_refuse_first(c, bytes, length, HCS_REASON_MEMORY_PRESSURE);
        hcs_conn_drop_request(c);
        return length;
    }
    request->scan = scan;
    hcs_conn_enter(c, HCS_CONN_READING);
    return length;
}

/* More bytes of a header section that is incomplete. */
static size_t take_head(struct hcs_conn *c, const char *bytes, size_t length)
{
    struct hcs_request *request = c->request;
    size_t before = request->in_length;
    size_t limit = c->shard->service->limits.max_header_bytes;
    /* No more than one byte beyond the limit: that byte refuses the request. */
    size_t take = limit + 1 - before < length ? limit + 1 - before : length;
    enum hcs_reason reason = HCS_REASON_NONE;
    size_t head_length = 0;

    if (!hcs_request_append(request, bytes, take)) {
        hcs_conn_refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
        return length;
    }
    if (before == 1 && request->in[0] == '\r' && request->in[1] == '\n') {
        /* An empty line before a request: its CR and its LF arrived apart. */
        if (!skip_empty_lines(c, 1)) {
            hcs_conn_refuse_reading(c, HCS_REASON_BAD_REQUEST_LINE);
            return length;
        }
        request->in_length = 0;
        hcs_conn_drop_request(c);
        hcs_conn_enter(c, HCS_CONN_IDLE);
        return 1;
    }
    switch (hcs_head_scan(&request->scan, request->in, request->in_length,
        limit, &head_length, &reason)) {
    case HCS_SCAN_DONE:
        break;
    case HCS_SCAN_BAD:
        hcs_conn_refuse_reading(c, reason);
        return length;
    case HCS_SCAN_MORE:
        return take;
    }
    take = head_length - before;
    request->in_length = (uint32_t)head_length;
    take += begin(c, &request->scan, request->in, head_length, length - take);
    if (c->state == HCS_CONN_READING && c->request->head_length == 0) {
        hcs_conn_drop_request(c); /* answered: it did not become a job */
        hcs_conn_enter(c, HCS_CONN_IDLE);
    }
    return take;
}

size_t hcs_conn_body_left(const struct hcs_request *request)
{
    assert(request != NULL);
    return (size_t)request->head.content_length -
           (request->in_length - request->head_length);
}

/* More bytes of a body with a known length. */
static size_t take_counted(struct hcs_conn *c, const char *bytes, size_t length)
{
    size_t left = hcs_conn_body_left(c->request);
    size_t take = left < length ? left : length;

    if (!hcs_request_append(c->request, bytes, take)) {
        hcs_conn_refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
        return length;
    }
    if (take == left) {
        hcs_conn_submit(c, take < length);
    }
    return take;
}

static size_t take_chunked(struct hcs_conn *c, const char *bytes, size_t length)
{
    struct hcs_request *request = c->request;
    uint64_t max = c->shard->service->limits.max_body_bytes;
    size_t done = 0;

    for (;;) {
        const char *data = NULL;
        size_t data_length = 0;
        size_t used = 0;
        enum hcs_chunk chunk = hcs_chunked_decode(&request->chunked,
            bytes + done, length - done, &used, &data, &data_length);

        done += used;
        /* Refuses a chunk by the size that it announces, before its data
         * comes. */
        if (request->in_length - request->head_length + data_length +
                hcs_chunked_announced(&request->chunked) >
            max) {
            hcs_conn_refuse_reading(c, HCS_REASON_BODY_TOO_LARGE);
            return length;
        }
        switch (chunk) {
        case HCS_CHUNK_DATA:
            if (!hcs_request_append(request, data, data_length)) {
                hcs_conn_refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
                return length;
            }
            break;
        case HCS_CHUNK_DONE:
            hcs_conn_submit(c, done < length);
            return done;
        case HCS_CHUNK_BAD:
            hcs_conn_refuse_reading(c, HCS_REASON_BAD_CHUNK);
            return length;
        case HCS_CHUNK_MORE:
            return done;
        }
    }
}

size_t hcs_conn_consume(struct hcs_conn *c, const char *bytes, size_t length)
{
    size_t done = 0;

    while (done < length && hcs_conn_takes_requests(c)) {
        if (c->shard->out_length + OUT_RESERVE > HCS_SHARD_OUT) {
            hcs_conn_flush(c, NULL);
        } else if (c->request == NULL) {
            done += take_first(c, bytes + done, length - done);
        } else if (c->request->head_length == 0) {
            done += take_head(c, bytes + done, length - done);
        } else if (c->request->head.chunked) {
            done += take_chunked(c, bytes + done, length - done);
        } else {
            done += take_counted(c, bytes + done, length - done);
        }
    }
    return done;
}
