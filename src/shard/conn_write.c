#include "shard/conn_write.h"

#include <string.h>

enum {
    LINGER_IDLE_MS = 5000, /* without a byte, after the last reply */
    LINGER_MAX_MS = 30000,
    LINGER_MAX_BYTES = 64 * 1024 * 1024,
    LINGER_MAX_CONNS = 4096,    /* a loop */
    QUEUE_NEVER_REFUSED = 1024, /* for a reply's head and a few small replies */
};

/* Bytes sent, 0 when the socket is full or the kernel has no memory. False when
 * the connection was closed for it. */
static bool send_some(
    struct hcs_conn *c, struct iovec *parts, size_t count, size_t *sent)
{
    switch (hcs_transport_send(&c->transport, parts, count, sent)) {
    case HCS_IO_MORE:
    case HCS_IO_DRAINED:
        break;
    case HCS_IO_STARVED:
        c->starved = true;
        return true;
    case HCS_IO_END: /* of what the client sends: not told by sending */
    case HCS_IO_FAILED:
        hcs_conn_close(c, hcs_transport_failure());
        return false;
    }
    if (*sent > 0) {
        hcs_counter_add(&c->shard->counts.sent_bytes, *sent);
    }
    return true;
}

static bool want_out(struct hcs_conn *c, bool want)
{
    if (c->wants_out == want) {
        return true;
    }
    if (hcs_loop_change(&c->shard->loop, c->transport.fd, &c->watch,
            EPOLLIN | EPOLLRDHUP | (want ? EPOLLOUT : 0)) != 0) {
        hcs_conn_close(c, HCS_REASON_IO_ERROR);
        return false;
    }
    c->wants_out = want;
    return true;
}

/* Room for bytes that a client does not take. The reply is there already, and
 * the client has seen its beginning: so a few bytes are never refused.
 * MAX_CONNECTIONS bounds them. */
static void *alloc_unsent(struct hcs_budget *budget, size_t bytes)
{
    return bytes <= QUEUE_NEVER_REFUSED
               ? hcs_budget_alloc_charged(budget, bytes)
               : hcs_budget_alloc(budget, bytes);
}

static void close_for_memory(struct hcs_conn *c, const struct hcs_body *body)
{
    hcs_conn_release_body(c->shard, body);
    hcs_conn_close(c, HCS_REASON_MEMORY_PRESSURE);
}

/* Keeps what could not be sent: bytes, then the body, which is taken; NULL:
 * none. */
static void keep_unsent(struct hcs_conn *c, const char *bytes, size_t length,
    const struct hcs_body *body, size_t body_sent)
{
    static const struct hcs_body none = {.bytes = ""};
    struct hcs_write_queue *queue =
        alloc_unsent(c->shard->service->budget, sizeof(*queue) + length);

    if (queue == NULL) {
        close_for_memory(c, body);
        return;
    }
    *queue = (struct hcs_write_queue){
        .length = length,
        .body = body != NULL ? *body : none,
        .body_sent = body_sent,
        .since_ms = c->shard->loop.now_ms,
    };
    memcpy(queue->bytes, bytes, length);
    c->write_queue = queue;
    (void)want_out(c, true);
}

/* More bytes for a client that has not taken those before them. */
static void append_unsent(struct hcs_conn *c, const char *bytes, size_t length,
    const struct hcs_body *body)
{
    struct hcs_write_queue *queue = c->write_queue;
    size_t old = queue->length - queue->sent;
    size_t old_body = queue->body.length - queue->body_sent;
    size_t joined = old + old_body + length;
    struct hcs_budget *budget = c->shard->service->budget;
    char *copy = alloc_unsent(budget, joined);

    if (copy == NULL) {
        close_for_memory(c, body);
        return;
    }
    memcpy(copy, queue->bytes + queue->sent, old);
    memcpy(copy + old, queue->body.bytes + queue->body_sent, old_body);
    memcpy(copy + old + old_body, bytes, length);
    hcs_conn_free_write_queue(c);
    keep_unsent(c, copy, joined, body, 0);
    hcs_budget_free(budget, copy);
}

void hcs_conn_flush(struct hcs_conn *c, const struct hcs_body *body)
{
    struct hcs_shard *shard = c->shard;
    size_t length = shard->out_length;
    size_t body_length = body != NULL ? body->length : 0;
    struct iovec parts[2] = {{shard->out, length}, {NULL, 0}};
    size_t sent = 0;

    shard->out_length = 0;
    if (c->state == HCS_CONN_CLOSED || length + body_length == 0) {
        hcs_conn_release_body(shard, body);
        return;
    }
    if (c->write_queue != NULL) {
        append_unsent(c, shard->out, length, body);
        return;
    }
    if (body != NULL) {
        parts[1].iov_base = (char *)(uintptr_t)body->bytes;
        parts[1].iov_len = body_length;
    }
    if (!send_some(c, parts, body_length > 0 ? 2 : 1, &sent) ||
        sent == length + body_length) {
        hcs_conn_release_body(shard, body);
    } else if (sent < length) {
        keep_unsent(c, shard->out + sent, length - sent, body, 0);
    } else {
        keep_unsent(c, "", 0, body, sent - length);
    }
}

bool hcs_conn_write_more(struct hcs_conn *c)
{
    struct hcs_write_queue *queue = c->write_queue;

    if (c->starved) {
        c->starved = false;
        c->timed = false; /* what is set is the time of this try */
    }
    for (;;) {
        struct iovec parts[2] = {
            {queue->bytes + queue->sent, queue->length - queue->sent},
            {(char *)(uintptr_t)queue->body.bytes + queue->body_sent,
                queue->body.length - queue->body_sent},
        };
        size_t sent;

        if (parts[0].iov_len + parts[1].iov_len == 0) {
            hcs_conn_free_write_queue(c);
            return want_out(c, false);
        }
        if (!send_some(c, parts, 2, &sent)) {
            return false;
        }
        if (sent == 0) {
            return true; /* an edge tells when there is room */
        }
        c->timed = false; /* the client took something */
        queue->since_ms = c->shard->loop.now_ms;
        if (sent < parts[0].iov_len) {
            queue->sent += sent;
        } else {
            queue->sent = queue->length;
            queue->body_sent += sent - parts[0].iov_len;
        }
    }
}

void hcs_conn_await_room(struct hcs_conn *c)
{
    c->write_queue->untaken = hcs_transport_untaken(&c->transport);
    hcs_conn_arm(c, c->shard->service->limits.write_timeout_ms);
}

/* A third of the socket's buffer has to become free before an edge tells of
 * room. A slow client may take longer than WRITE_TIMEOUT for that, and takes
 * bytes all the time. */
bool hcs_conn_may_write_again(struct hcs_conn *c)
{
    struct hcs_write_queue *queue = c->write_queue;
    uint64_t now_ms = c->shard->loop.now_ms;

    if (hcs_transport_untaken(&c->transport) < queue->untaken) {
        queue->since_ms = now_ms;
    } else if (now_ms >=
               queue->since_ms + c->shard->service->limits.write_timeout_ms) {
        hcs_conn_close(c, HCS_REASON_WRITE_TIMEOUT);
        return false;
    }
    if (c->starved) {
        return true;
    }
    hcs_conn_await_room(c);
    return false;
}

/* --- Lingering. */

/* Each byte that comes while it lingers gives it more time, up to a bound. */
static void arm_linger(struct hcs_conn *c)
{
    uint64_t now_ms = c->shard->loop.now_ms;
    uint64_t left =
        c->linger_until_ms > now_ms ? c->linger_until_ms - now_ms : 0;

    if (!c->timed) {
        hcs_conn_arm(c, left < LINGER_IDLE_MS ? left : LINGER_IDLE_MS);
    }
}

void hcs_conn_discard(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;

    for (int i = 0; i < HCS_CONN_READ_BUDGET / HCS_SHARD_IN; i++) {
        size_t count;
        enum hcs_io end = hcs_transport_discard(
            &c->transport, shard->in, HCS_SHARD_IN, &count);

        if (count == 0 && end == HCS_IO_DRAINED) {
            arm_linger(c);
            return;
        }
        hcs_counter_add(&shard->counts.received_bytes, count);
        c->lingered_bytes += (uint32_t)count;
        if (count == 0 || c->lingered_bytes > LINGER_MAX_BYTES) {
            hcs_conn_close(c, (enum hcs_reason)c->end_reason);
            return;
        }
        c->timed = false;
    }
    arm_linger(c);
    hcs_loop_post(&shard->loop, &c->watch);
}

/* The client has sent its last byte. Whoever read it has said so. */
static bool has_ended(const struct hcs_conn *c)
{
    return c->end_reason == HCS_REASON_CLIENT_CLOSED ||
           c->end_reason == HCS_REASON_REQUEST_TRUNCATED;
}

/* A bare close would make the kernel answer what still arrives with a reset,
 * which can cost the client the reply (RFC 9112, section 9.6). */
void hcs_conn_linger(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;

    if (has_ended(c) || shard->lingering >= LINGER_MAX_CONNS ||
        !hcs_transport_shut(&c->transport)) {
        hcs_conn_close(c, (enum hcs_reason)c->end_reason);
        return;
    }
    hcs_conn_enter(c, HCS_CONN_LINGERING);
    shard->lingering++;
    hcs_conn_free_read_ahead(c);
    c->linger_until_ms = shard->loop.now_ms + LINGER_MAX_MS;
    c->lingered_bytes = 0;
    hcs_conn_arm(c, LINGER_IDLE_MS);
    if (c->input_waits) {
        hcs_conn_discard(c);
    }
}
