#include "shard/conn_record.h"

#include "base/text.h"
#include "http/problem.h"
#include "observe/metrics.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static const char *date(struct hcs_shard *shard)
{
    uint64_t now_s = hcs_shard_realtime_ms(shard) / 1000;

    if (now_s != shard->date_s) {
        /* Once a second is often enough to notice a clock that was set. */
        shard->realtime_offset_ms =
            hcs_clock_realtime_ms() - shard->loop.now_ms;
        shard->date_s = hcs_shard_realtime_ms(shard) / 1000;
        hcs_clock_http_date(shard->date_s, shard->date);
    }
    return shard->date;
}

void hcs_conn_make_id(struct hcs_shard *shard, char out[HCS_REQUEST_ID_MADE])
{
    uint64_t a = hcs_random_next(&shard->random);
    uint64_t b = hcs_random_next(&shard->random);

    hcs_text_uuid7(out, hcs_shard_realtime_ms(shard), a, b);
}

/* Makes an identifier if the client sent none; not without a shard. */
void hcs_conn_know_asked(struct hcs_asked *asked, struct hcs_shard *shard,
    const char *bytes, const struct hcs_head *head)
{
    asked->head_only = head->method == HCS_HEAD;
    asked->minor = head->minor > 0;
    asked->keep_alive = head->keep_alive;
    asked->id = bytes + head->request_id.offset;
    asked->id_length = head->request_id.length;
    asked->head = head;
    asked->route = NULL;
    asked->bytes_in = head->content_length;
    asked->began_ns = 0;
    if (asked->id_length == 0 && shard != NULL) {
        hcs_conn_make_id(shard, asked->made_id);
        asked->id = asked->made_id;
        asked->id_length = HCS_REQUEST_ID_MADE;
    }
}

/* Of a request whose header section is not known, or cannot be trusted. */
void hcs_conn_know_nothing(struct hcs_asked *asked, struct hcs_shard *shard)
{
    static const struct hcs_head nothing = {
        .method = HCS_GET,
        .minor = 1,
        .keep_alive = false,
    };

    hcs_conn_know_asked(asked, shard, "", &nothing);
    asked->head = NULL;
}

void hcs_conn_know_request(struct hcs_asked *asked, struct hcs_shard *shard,
    const struct hcs_request *request)
{
    bool made = request->id_length > 0; /* when it was queued */

    hcs_conn_know_asked(
        asked, made ? NULL : shard, request->in, &request->head);
    if (made) {
        asked->id = request->made_id;
        asked->id_length = request->id_length;
    }
    asked->route = request->route;
    asked->bytes_in = request->in_length - request->head_length;
    asked->began_ns = request->began_ms != 0 ? request->began_ms * 1000000
                                             : request->admitted_ns;
}

/* During drain a reply is the last one only if the client has sent no further
 * request: what was received is answered. */
bool hcs_conn_has_more_input(const struct hcs_conn *c)
{
    int waiting = 0;

    return c->pending != NULL ||
           (ioctl(c->fd, FIONREAD, &waiting) == 0 && waiting > 0);
}

static enum hcs_reply_connection decide_connection(
    struct hcs_conn *c, const struct hcs_asked *asked, bool more)
{
    if (!asked->keep_alive) {
        c->last = true;
        c->end_reason = HCS_REASON_KEEPALIVE_END;
    } else if (c->shard->obeyed != HCS_COMMAND_RUN && !more &&
               !hcs_conn_has_more_input(c)) {
        c->last = true;
        c->end_reason = HCS_REASON_DRAINED;
    }
    if (c->last) {
        return HCS_REPLY_CLOSE;
    }
    return asked->minor ? HCS_REPLY_KEEP : HCS_REPLY_KEEP_SAID;
}

static void count_reply(struct hcs_shard *shard, unsigned status)
{
    hcs_counter_add(
        status < 400 ? &shard->counts.completed : &shard->counts.errors, 1);
}

/* The client's address, or "" when it is gone already. */
static const char *name_client(int fd, char out[INET6_ADDRSTRLEN])
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer = {0};
    socklen_t length = sizeof(peer);
    const char *name = NULL;

    if (getpeername(fd, &peer.any, &length) != 0) {
        return "";
    }
    if (peer.any.sa_family == AF_INET) {
        name = inet_ntop(AF_INET, &peer.v4.sin_addr, out, INET6_ADDRSTRLEN);
    } else if (peer.any.sa_family == AF_INET6 &&
               IN6_IS_ADDR_V4MAPPED(&peer.v6.sin6_addr)) {
        name = inet_ntop(
            AF_INET, &peer.v6.sin6_addr.s6_addr[12], out, INET6_ADDRSTRLEN);
    } else if (peer.any.sa_family == AF_INET6) {
        name = inet_ntop(AF_INET6, &peer.v6.sin6_addr, out, INET6_ADDRSTRLEN);
    }
    return name != NULL ? name : "";
}

/* As metrics call it too: of unknown ones there is no end. */
static const char *name_method(const struct hcs_head *head)
{
    static const char *const names[] = {
        [HCS_GET] = "GET",
        [HCS_HEAD] = "HEAD",
        [HCS_POST] = "POST",
        [HCS_OPTIONS] = "OPTIONS",
        [HCS_METHOD_OTHER] = "_OTHER",
    };

    return head != NULL ? names[head->method] : "";
}

static void log_reply(struct hcs_conn *c, const struct hcs_reply *reply,
    const struct hcs_asked *asked, enum hcs_reason reason)
{
    struct hcs_log *log = c->shard->service->log;
    const char *word = hcs_reason_word(reason);
    uint64_t now_ns = c->shard->loop.now_ns;
    char client[INET6_ADDRSTRLEN];
    struct hcs_log_field fields[] = {
        {.name = "request_id",
            .text = reply->request_id,
            .length = reply->request_id_length},
        {.name = "client", .text = name_client(c->fd, client)},
        {.name = "method", .text = name_method(asked->head)},
        {.name = "route", .text = asked->route ? asked->route->path : ""},
        {.name = "status", .number = reply->status},
        {.name = "bytes_in", .number = asked->bytes_in},
        {.name = "bytes_out", .number = reply->body_length},
        {.name = "queue_us", .number = reply->queue_ns / 1000},
        {.name = "run_us", .number = reply->run_ns / 1000},
        {.name = "total_us",
            .number = asked->began_ns != 0 && asked->began_ns < now_ns
                          ? (now_ns - asked->began_ns) / 1000
                          : 0},
        {.name = "reason", .text = word},
    };

    hcs_log_write(log, HCS_LOG_DEBUG, "request", fields,
        sizeof(fields) / sizeof(fields[0]));
}

/* Composes a reply behind those that were composed before. A body that is
 * copied is at most HCS_CONN_COPY_MAX; a large one is sent at once, with all that was
 * composed. more: bytes of a further request are at hand. */
void hcs_conn_compose(struct hcs_conn *c, struct hcs_reply *reply,
    const struct hcs_asked *asked, enum hcs_reason reason, const char *body,
    struct hcs_large *large, bool more)
{
    struct hcs_shard *shard = c->shard;
    char *out = shard->out + shard->out_length;
    size_t length;

    reply->connection = decide_connection(c, asked, more);
    reply->request_id = asked->id;
    reply->request_id_length = asked->id_length;
    count_reply(shard, reply->status);
    if (hcs_log_wants(shard->service->log, HCS_LOG_DEBUG)) {
        log_reply(c, reply, asked, reason);
    }
    length = hcs_response_head(out, reply, date(shard));
    if (large == NULL && !asked->head_only && reply->body_length > 0) {
        memcpy(out + length, body, reply->body_length);
        length += reply->body_length;
    }
    shard->out_length += length;
    if (large != NULL) {
        hcs_conn_flush(c, large);
    }
}

/* 36 bytes that are a UUID: hexadecimal with dashes in their places. */
static const char *as_uuid(const struct hcs_asked *asked)
{
    if (asked->id_length != HCS_REQUEST_ID_MADE) {
        return NULL;
    }
    for (size_t i = 0; i < HCS_REQUEST_ID_MADE; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char at = asked->id[i];
        bool digit = (at >= '0' && at <= '9') || (at >= 'a' && at <= 'f') ||
                     (at >= 'A' && at <= 'F');

        if (dash ? at != '-' : !digit) {
            return NULL;
        }
    }
    return asked->id;
}

static bool is_capacity(enum hcs_reason reason)
{
    return hcs_reason_status(reason) == 503;
}

void hcs_conn_refuse_request(struct hcs_conn *c, struct hcs_asked *asked,
    const struct hcs_refusal *refusal)
{
    struct hcs_shard *shard = c->shard;
    char fallback[HCS_REQUEST_ID_MADE];
    char body[HCS_PROBLEM_MAX];
    struct hcs_problem problem = {
        .reason = refusal->reason,
        .detail = refusal->detail,
        .detail_length = refusal->detail_length,
        .instance = as_uuid(asked),
    };
    struct hcs_reply reply = {
        .status = hcs_reason_status(refusal->reason),
        .content_type = "application/problem+json",
        .allow = refusal->allow,
        .accept_json = refusal->reason == HCS_REASON_BAD_MEDIA_TYPE,
        .timed = refusal->timed,
        .queue_ns = refusal->queue_ns,
        .run_ns = refusal->run_ns,
    };

    if (problem.instance == NULL) {
        hcs_conn_make_id(shard, fallback);
        problem.instance = fallback;
    }
    if (is_capacity(refusal->reason)) {
        reply.retry_after_s = hcs_service_retry_after_s(
            shard->service, hcs_random_next(&shard->random));
        problem.retry_after_ms = reply.retry_after_s * 1000ULL;
        problem.queue_depth = hcs_pool_depth(shard->service->pool);
    }
    hcs_counter_add(&shard->counts.refused[refusal->reason], 1);
    if (refusal->close) {
        asked->keep_alive = false;
    }
    reply.body_length = hcs_problem_write(body, &problem);
    hcs_conn_compose(
        c, &reply, asked, refusal->reason, body, NULL, refusal->more);
    if (refusal->close) {
        c->end_reason = (unsigned char)refusal->reason;
    }
}

/* bytes: those of the request that have arrived, while its header section is
 * incomplete. */
void hcs_conn_refuse_first(struct hcs_conn *c, const char *bytes, size_t length,
    enum hcs_reason reason)
{
    struct hcs_refusal refusal = {.reason = reason, .close = true};
    struct hcs_asked asked;

    if (c->request != NULL && c->request->head_length > 0) {
        hcs_conn_know_request(&asked, c->shard, c->request);
    } else {
        hcs_conn_know_nothing(&asked, c->shard);
        /* Who sent HEAD reads no body, whatever was wrong with the rest. */
        asked.head_only = length >= 5 && memcmp(bytes, "HEAD ", 5) == 0;
        hcs_counter_add(&c->shard->counts.requests, 1);
    }
    hcs_conn_refuse_request(c, &asked, &refusal);
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

/* --- What is answered on the loop. */

void hcs_conn_answer_precondition(
    struct hcs_conn *c, const struct hcs_asked *asked, bool more)
{
    const struct hcs_head *head = asked->head;
    struct hcs_asked copy = *asked;
    struct hcs_refusal refusal = {
        .reason = HCS_REASON_PRECONDITION_FAILED, .more = more};

    assert(head->precondition != HCS_PRECONDITION_HOLDS);
    if (head->precondition == HCS_PRECONDITION_EXISTS &&
        (head->method == HCS_GET || head->method == HCS_HEAD)) {
        struct hcs_reply reply = {.status = 304,
            .no_store = asked->route->resource != HCS_RESOURCE_JOB};

        hcs_conn_compose(c, &reply, asked, HCS_REASON_NONE, NULL, NULL, more);
        return;
    }
    if (head->precondition == HCS_PRECONDITION_BAD) {
        refusal.reason = HCS_REASON_BAD_FIELD;
        refusal.close = true;
    }
    hcs_conn_refuse_request(c, &copy, &refusal);
}

static void answer_metrics(struct hcs_conn *c, const struct hcs_asked *asked,
    const char *bytes, const struct hcs_head *head, bool more)
{
    struct hcs_service *service = c->shard->service;
    struct hcs_metrics metrics;
    struct hcs_metrics_loop loops[service->shard_count];
    struct hcs_metrics_handler handlers[hcs_router_jobs(service->router) + 1];
    size_t custom_count = hcs_service_custom_metrics(service);
    struct hcs_custom_metric custom[custom_count + 1];
    enum hcs_metrics_format format =
        hcs_metrics_choose(bytes + head->accept.offset, head->accept.length,
            bytes + head->query.offset, head->query.length);
    struct hcs_reply reply = {
        .status = 200,
        .content_type = hcs_metrics_content_type(format),
        .no_store = true,
    };
    char small[HCS_CONN_COPY_MAX];
    struct hcs_large page = {0};
    struct hcs_asked copy = *asked;

    hcs_service_snapshot(
        service, &metrics, loops, handlers, custom, custom_count);
    page.length = hcs_metrics_write(&metrics, format, small, sizeof(small));
    reply.body_length = page.length;
    /* Needs no memory, so that it is seen what took it all. */
    if (asked->head_only || page.length <= sizeof(small)) {
        hcs_conn_compose(c, &reply, asked, HCS_REASON_NONE, small, NULL, more);
        return;
    }
    page.block = hcs_budget_alloc(service->budget, page.length);
    if (page.block == NULL) {
        hcs_conn_refuse_request(c, &copy,
            &(struct hcs_refusal){
                .reason = HCS_REASON_MEMORY_PRESSURE, .more = more});
        return;
    }
    page.bytes = page.block;
    hcs_metrics_write(&metrics, format, page.block, page.length);
    hcs_conn_compose(c, &reply, asked, HCS_REASON_NONE, NULL, &page, more);
}

static void answer_text(struct hcs_conn *c, const struct hcs_asked *asked,
    const char *body, size_t length, bool more)
{
    struct hcs_reply reply = {
        .status = 200,
        .content_type = "application/json",
        .body_length = length,
        .no_store = true,
    };

    hcs_conn_compose(c, &reply, asked, HCS_REASON_NONE, body, NULL, more);
}

static void answer_health(
    struct hcs_conn *c, const struct hcs_asked *asked, bool more)
{
    static const char ok[] = "{\"status\":\"ok\"}";
    static const char draining[] = "{\"status\":\"draining\"}";
    static const char starting[] = "{\"status\":\"starting\"}";

    if (hcs_service_is_draining(c->shard->service)) {
        answer_text(c, asked, draining, sizeof(draining) - 1, more);
    } else if (!hcs_service_is_open(c->shard->service)) {
        answer_text(c, asked, starting, sizeof(starting) - 1, more);
    } else {
        answer_text(c, asked, ok, sizeof(ok) - 1, more);
    }
}

static enum hcs_reason why_not_ready(const struct hcs_service *service)
{
    size_t capacity = hcs_pool_capacity(service->pool);

    if (hcs_service_is_draining(service)) {
        return HCS_REASON_DRAINING;
    }
    if (!hcs_service_is_open(service)) {
        return HCS_REASON_STARTING;
    }
    if (hcs_pool_depth(service->pool) >= capacity - capacity / 10) {
        return HCS_REASON_QUEUE_FULL; /* or nearly */
    }
    return HCS_REASON_NONE;
}

static void answer_ready(struct hcs_conn *c, struct hcs_asked *asked, bool more)
{
    struct hcs_refusal refusal = {
        .reason = why_not_ready(c->shard->service), .more = more};

    if (refusal.reason == HCS_REASON_NONE) {
        answer_text(c, asked, "{\"status\":\"ready\"}", 18, more);
    } else {
        hcs_conn_refuse_request(c, asked, &refusal);
    }
}

/* 0: there is no such problem. */
static size_t write_problem(char page[HCS_PROBLEM_MAX], const char *bytes,
    const struct hcs_head *head, const struct hcs_route *route)
{
    char path[HCS_PROBLEM_MAX];
    size_t path_length;

    if (!hcs_router_decode(bytes + head->path.offset, head->path.length, path,
            sizeof(path), &path_length)) {
        return 0;
    }
    return hcs_problem_page(
        page, path + route->path_length, path_length - route->path_length);
}

static void answer_problem(struct hcs_conn *c, struct hcs_asked *asked,
    const char *bytes, const struct hcs_head *head,
    const struct hcs_route *route, bool more)
{
    char page[HCS_PROBLEM_MAX];
    size_t length = write_problem(page, bytes, head, route);

    if (length > 0) {
        answer_text(c, asked, page, length, more);
    } else {
        hcs_conn_refuse_request(c, asked,
            &(struct hcs_refusal){
                .reason = HCS_REASON_NOT_FOUND, .more = more});
    }
}

void hcs_conn_answer_options(struct hcs_conn *c, const struct hcs_asked *asked,
    const char *allow, bool more)
{
    struct hcs_reply reply = {.status = 204, .allow = allow};

    hcs_conn_compose(c, &reply, asked, HCS_REASON_NONE, NULL, NULL, more);
}

/* Whether the page would come with a 2xx; else a precondition means nothing. */
static bool is_there(const struct hcs_conn *c, const char *bytes,
    const struct hcs_head *head, const struct hcs_route *route)
{
    char page[HCS_PROBLEM_MAX];

    if (route->resource == HCS_RESOURCE_READY) {
        return why_not_ready(c->shard->service) == HCS_REASON_NONE;
    }
    return route->resource != HCS_RESOURCE_PROBLEM ||
           write_problem(page, bytes, head, route) > 0;
}

void hcs_conn_answer_page(struct hcs_conn *c, struct hcs_asked *asked,
    const char *bytes, const struct hcs_head *head,
    const struct hcs_route *route, bool more)
{
    if (head->precondition != HCS_PRECONDITION_HOLDS &&
        is_there(c, bytes, head, route)) {
        hcs_conn_answer_precondition(c, asked, more);
        return;
    }
    switch (route->resource) {
    case HCS_RESOURCE_HEALTH:
        answer_health(c, asked, more);
        return;
    case HCS_RESOURCE_LIVE:
        answer_text(c, asked, "{\"status\":\"alive\"}", 18, more);
        return;
    case HCS_RESOURCE_READY:
        answer_ready(c, asked, more);
        return;
    case HCS_RESOURCE_METRICS:
        answer_metrics(c, asked, bytes, head, more);
        return;
    case HCS_RESOURCE_PROBLEM:
        answer_problem(c, asked, bytes, head, route, more);
        return;
    case HCS_RESOURCE_NONE:
    case HCS_RESOURCE_JOB:
        break;
    }
    assert(false);
}
