#include "shard/conn_record.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    LINGER_IDLE_MS = 5000, /* without a byte, after the last reply */
    LINGER_MAX_MS = 30000,
    LINGER_MAX_BYTES = 64 * 1024 * 1024,
    LINGER_MAX_CONNS = 4096,  /* a loop */
    BOX_NEVER_REFUSED = 1024, /* for a reply's head and a few small replies */
};

static bool send_failed(struct hcs_conn *c)
{
    bool peer = errno == EPIPE || errno == ECONNRESET || errno == ETIMEDOUT;

    hcs_conn_close(c, peer ? HCS_REASON_CLIENT_RESET : HCS_REASON_IO_ERROR);
    return false;
}

static ssize_t send_parts(int fd, struct iovec *parts, size_t count)
{
    if (count == 1) {
        return send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
    }
    return sendmsg(fd, &(struct msghdr){.msg_iov = parts, .msg_iovlen = count},
        MSG_NOSIGNAL);
}

/* As sendmsg(2) without blocking: bytes sent, 0 when the socket is full. False
 * when the connection was closed for it. */
static bool send_some(
    struct hcs_conn *c, struct iovec *parts, size_t count, size_t *sent)
{
    ssize_t n;

    *sent = 0;
    do {
        n = send_parts(c->fd, parts, count);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == ENOBUFS || errno == ENOMEM)) {
        c->starved = true;
    } else if (n < 0 && errno != EAGAIN) {
        return send_failed(c);
    }
    if (n > 0) {
        *sent = (size_t)n;
        hcs_counter_add(&c->shard->counts.sent_bytes, (uint64_t)n);
    }
    return true;
}

static bool want_out(struct hcs_conn *c, bool want)
{
    if (c->wants_out == want) {
        return true;
    }
    if (hcs_loop_change(&c->shard->loop, c->fd, &c->watch,
            EPOLLIN | EPOLLRDHUP | (want ? EPOLLOUT : 0)) != 0) {
        hcs_conn_close(c, HCS_REASON_IO_ERROR);
        return false;
    }
    c->wants_out = want;
    return true;
}

/* Keeps what could not be sent: bytes, then the large body, if any, which is
 * taken. */
static void keep_unsent(struct hcs_conn *c, const char *bytes, size_t length,
    struct hcs_large *large, size_t large_sent)
{
    struct hcs_budget *budget = c->shard->service->budget;
    size_t box_bytes = sizeof(struct hcs_outbox) + length;
    /* The reply is there already, and the client has seen its beginning: not
     * for want of so little. MAX_CONNECTIONS bounds it. */
    struct hcs_outbox *box = box_bytes <= BOX_NEVER_REFUSED
                                 ? hcs_budget_alloc_charged(budget, box_bytes)
                                 : hcs_budget_alloc(budget, box_bytes);

    if (box == NULL) {
        if (large != NULL && large->request != NULL) {
            hcs_conn_release_request(c->shard, large->request);
        }
        hcs_budget_free(budget, large != NULL ? large->block : NULL);
        hcs_conn_close(c, HCS_REASON_MEMORY_PRESSURE);
        return;
    }
    *box = (struct hcs_outbox){
        .length = length,
        .body = "", /* not NULL, which has no NULL + 0 */
        .since_ms = c->shard->loop.now_ms,
    };
    memcpy(box->bytes, bytes, length);
    if (large != NULL) {
        box->body = large->bytes;
        box->body_length = large->length;
        box->body_sent = large_sent;
        box->request = large->request;
        box->block = large->block;
    }
    c->outbox = box;
    (void)want_out(c, true);
}

/* More bytes for a client that has not taken those before them. */
static void append_unsent(struct hcs_conn *c, const char *bytes, size_t length,
    struct hcs_large *large)
{
    struct hcs_outbox *box = c->outbox;
    size_t old = box->length - box->sent;
    size_t old_body = box->body_length - box->body_sent;
    size_t joined = old + old_body + length;
    struct hcs_budget *budget = c->shard->service->budget;
    char *copy = joined <= BOX_NEVER_REFUSED /* as in keep_unsent */
                     ? hcs_budget_alloc_charged(budget, joined)
                     : hcs_budget_alloc(budget, joined);

    if (copy == NULL) {
        if (large != NULL && large->request != NULL) {
            hcs_conn_release_request(c->shard, large->request);
        }
        hcs_budget_free(budget, large != NULL ? large->block : NULL);
        hcs_conn_close(c, HCS_REASON_MEMORY_PRESSURE);
        return;
    }
    memcpy(copy, box->bytes + box->sent, old);
    if (old_body > 0) {
        memcpy(copy + old, box->body + box->body_sent, old_body);
    }
    memcpy(copy + old + old_body, bytes, length);
    hcs_conn_free_outbox(c);
    keep_unsent(c, copy, joined, large, 0);
    hcs_budget_free(budget, copy);
}

/* Sends what was composed, and the large body behind it. */
void hcs_conn_flush(struct hcs_conn *c, struct hcs_large *large)
{
    struct hcs_shard *shard = c->shard;
    size_t length = shard->out_length;
    struct iovec parts[2] = {{shard->out, length}, {NULL, 0}};
    size_t sent = 0;

    shard->out_length = 0;
    if (c->state == HCS_CONN_CLOSED || (length == 0 && large == NULL)) {
        return;
    }
    if (c->outbox != NULL) {
        append_unsent(c, shard->out, length, large);
        return;
    }
    if (large != NULL) {
        parts[1].iov_base = (char *)(uintptr_t)large->bytes;
        parts[1].iov_len = large->length;
    }
    if (!send_some(c, parts, large != NULL ? 2 : 1, &sent)) {
        if (large != NULL && large->request != NULL) {
            hcs_conn_release_request(shard, large->request);
        }
        hcs_budget_free(
            shard->service->budget, large != NULL ? large->block : NULL);
        return;
    }
    if (sent < length) {
        keep_unsent(c, shard->out + sent, length - sent, large, 0);
    } else if (large != NULL && sent - length < large->length) {
        keep_unsent(c, "", 0, large, sent - length);
    } else if (large != NULL) {
        if (large->request != NULL) {
            hcs_conn_release_request(shard, large->request);
        }
        hcs_budget_free(shard->service->budget, large->block);
    }
}

/* Sends more of what is unsent. True when the connection lives. */
bool hcs_conn_write_more(struct hcs_conn *c)
{
    struct hcs_outbox *box = c->outbox;

    if (c->starved) {
        c->starved = false;
        c->timed = false; /* what is set is the time of this try */
    }
    for (;;) {
        struct iovec parts[2] = {
            {box->bytes + box->sent, box->length - box->sent},
            {(char *)(uintptr_t)box->body + box->body_sent,
                box->body_length - box->body_sent},
        };
        size_t sent;

        if (parts[0].iov_len + parts[1].iov_len == 0) {
            hcs_conn_free_outbox(c);
            return want_out(c, false);
        }
        if (!send_some(c, parts, 2, &sent)) {
            return false;
        }
        if (sent == 0) {
            return true; /* an edge tells when there is room */
        }
        c->timed = false; /* the client took something */
        box->since_ms = c->shard->loop.now_ms;
        if (sent < parts[0].iov_len) {
            box->sent += sent;
        } else {
            box->sent = box->length;
            box->body_sent += sent - parts[0].iov_len;
        }
    }
}

/* How much the client has yet to take of what was sent. */
static int on_its_way(const struct hcs_conn *c)
{
    int bytes = 0;

    return ioctl(c->fd, TIOCOUTQ, &bytes) == 0 ? bytes : 0; /* tcp(7) */
}

void hcs_conn_await_room(struct hcs_conn *c)
{
    c->outbox->on_its_way = on_its_way(c);
    hcs_conn_arm(c, c->shard->service->limits.write_timeout_ms);
}

/* A third of the socket's buffer has to become free before an edge tells of
 * room. A slow client may take longer than WRITE_TIMEOUT for that, and takes
 * bytes all the time. */
bool hcs_conn_may_write_again(struct hcs_conn *c)
{
    struct hcs_outbox *box = c->outbox;
    uint64_t now_ms = c->shard->loop.now_ms;

    if (on_its_way(c) < box->on_its_way) {
        box->since_ms = now_ms;
    } else if (now_ms >=
               box->since_ms + c->shard->service->limits.write_timeout_ms) {
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

/* Throws input away until the client closes. MSG_TRUNC spares the copy
 * (tcp(7)). */
void hcs_conn_discard(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;

    for (int i = 0; i < HCS_CONN_READ_BUDGET / HCS_SHARD_IN; i++) {
        ssize_t n = recv(c->fd, shard->in, HCS_SHARD_IN, MSG_TRUNC);

        if (n > 0) {
            hcs_counter_add(&shard->counts.received_bytes, (uint64_t)n);
            c->lingered_bytes += (uint32_t)n;
            c->timed = false;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            arm_linger(c);
            return;
        }
        if (n <= 0 || c->lingered_bytes > LINGER_MAX_BYTES) {
            hcs_conn_close(c, (enum hcs_reason)c->end_reason);
            return;
        }
    }
    arm_linger(c);
    hcs_loop_post(&shard->loop, &c->watch);
}

/* The last reply was sent: our side is shut, so that the client sees its end,
 * and input is thrown away for a while. A bare close would make the kernel
 * answer what still arrives with a reset, which can cost the client the reply
 * (RFC 9112, section 9.6). */
void hcs_conn_linger(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;

    if (c->ended || shard->lingering >= LINGER_MAX_CONNS ||
        shutdown(c->fd, SHUT_WR) != 0) {
        hcs_conn_close(c, (enum hcs_reason)c->end_reason);
        return;
    }
    hcs_conn_enter(c, HCS_CONN_LINGERING);
    shard->lingering++;
    hcs_budget_free(shard->service->budget, c->pending);
    c->pending = NULL;
    c->linger_until_ms = shard->loop.now_ms + LINGER_MAX_MS;
    c->lingered_bytes = 0;
    hcs_conn_arm(c, LINGER_IDLE_MS);
    if (c->input_waits) {
        hcs_conn_discard(c);
    }
}
