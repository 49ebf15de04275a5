#include "http/conn.h"

#include "base/text.h"
#include "http/problem.h"
#include "http/request.h"
#include "http/response.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    READ_BUDGET = 4 * HCS_SHARD_IN, /* bytes a connection may read a turn */
    READ_DIRECT = 4096,   /* a body with more to come is read where it stays */
    COPY_MAX = 16 * 1024, /* larger bodies are sent where they lie */
    OUT_RESERVE = HCS_RESPONSE_HEAD_MAX + COPY_MAX, /* for one more reply */
    BRIEF_BODY_MAX = 4096, /* beyond it no job is brief */
    LINGER_IDLE_MS = 5000, /* without a byte, after the last reply */
    LINGER_MAX_MS = 30000,
    LINGER_MAX_BYTES = 64 * 1024 * 1024,
    LINGER_MAX_CONNS = 4096, /* a loop */
    SHED_MAX = 128,          /* refused ones that linger, a loop */
};

enum conn_state {
    CONN_IDLE,      /* no request */
    CONN_READING,   /* the request is incomplete; the loop owns all of it */
    CONN_WORKING,   /* queue or worker borrow the request, which is pinned */
    CONN_WRITING,   /* the client does not take its reply as fast as it came */
    CONN_LINGERING, /* reply sent, our side shut; input is thrown away */
    CONN_CLOSED,    /* freed after this turn; a request that a worker still
                       has was detached and outlives us */
};

static const unsigned may_follow[] = {
    [CONN_IDLE] = 1u << CONN_READING | 1u << CONN_WRITING |
                  1u << CONN_LINGERING | 1u << CONN_CLOSED,
    [CONN_READING] = 1u << CONN_IDLE | 1u << CONN_WORKING | 1u << CONN_CLOSED,
    [CONN_WORKING] = 1u << CONN_IDLE | 1u << CONN_CLOSED,
    [CONN_WRITING] = 1u << CONN_IDLE | 1u << CONN_CLOSED,
    [CONN_LINGERING] = 1u << CONN_CLOSED,
    [CONN_CLOSED] = 0,
};

/* What the client has not taken yet: bytes, then a body where it lies. */
struct outbox {
    size_t length;
    size_t sent;
    const char *body;
    size_t body_length;
    size_t body_sent;
    int on_its_way; /* sent, not taken by the client, when last looked at */
    struct hcs_request *request; /* that the body lies in, or NULL */
    void *block;                 /* that the body is, or NULL */
    char bytes[];
};

/* Bytes that were read and have to wait for the reply before them. */
struct pending {
    size_t length;
    size_t used;
    char bytes[];
};

struct hcs_conn {
    struct hcs_watch watch; /* first, so that the one is the other */
    struct hcs_timer timer;
    struct hcs_shard *shard;
    struct hcs_request *request;
    struct outbox *outbox;
    struct pending *pending;
    struct hcs_conn *next;  /* among the shed, or the closed of this turn */
    struct hcs_conn **link; /* among the shed; NULL when not */
    uint64_t linger_until_ms;
    uint32_t lingered_bytes;
    int fd;
    unsigned char state;
    unsigned char end_reason; /* what close counts after lingering */
    bool timed : 1;           /* the deadline of this state is set */
    bool input_waits : 1;     /* no edge will tell of what is to be read */
    bool last : 1;            /* the last reply is out or composed */
    bool ended : 1;           /* the client has sent its last byte */
    bool shed : 1;            /* refused: not one of MAX_CONNECTIONS */
    bool spare : 1;           /* its descriptor is one of the spares */
    bool wants_out : 1;       /* EPOLLOUT is watched */
};

/* What a reply has to know of its request. */
struct asked {
    bool head_only;
    bool minor;
    bool keep_alive;
    const char *id;
    size_t id_length;
    char made_id[HCS_REQUEST_ID_MADE];
};

/* A body that is too large to be copied behind its head. */
struct large {
    const char *bytes;
    size_t length;
    struct hcs_request *request; /* taken: freed when sent */
    void *block;                 /* taken: freed when sent */
};

size_t hcs_conn_record_bytes(void)
{
    return sizeof(struct hcs_conn);
}

static struct hcs_conn *conn_of_timer(struct hcs_timer *timer)
{
    return (struct hcs_conn *)(void *)((char *)timer -
                                       offsetof(struct hcs_conn, timer));
}

static enum hcs_gauge_state gauge(enum conn_state state)
{
    switch (state) {
    case CONN_IDLE:
        return HCS_GAUGE_IDLE;
    case CONN_READING:
        return HCS_GAUGE_READING;
    case CONN_WORKING:
        return HCS_GAUGE_QUEUED;
    case CONN_WRITING:
        return HCS_GAUGE_WRITING;
    case CONN_LINGERING:
    case CONN_CLOSED:
        break;
    }
    return HCS_GAUGE_LINGERING;
}

/* The only writer of c->state. */
static void enter(struct hcs_conn *c, enum conn_state next)
{
    struct hcs_counter *states = c->shard->counts.states;

    assert(may_follow[c->state] & 1u << next);
    hcs_counter_add(&states[gauge((enum conn_state)c->state)], UINT64_MAX);
    if (next != CONN_CLOSED) {
        hcs_counter_add(&states[gauge(next)], 1);
    }
    c->state = (unsigned char)next;
    c->timed = false;
}

static void arm(struct hcs_conn *c, uint64_t after_ms)
{
    struct hcs_loop *loop = &c->shard->loop;

    c->timed = true;
    hcs_wheel_arm(loop->wheel, &c->timer, loop->now_ms + after_ms);
}

/* --- Ends. */

static void release_request(
    struct hcs_shard *shard, struct hcs_request *request)
{
    hcs_request_fini(request);
    hcs_slab_free(shard->requests, request);
}

/* The connection has no request any more. One that a worker has, or that waits
 * in the queue as a dead entry, comes home later and is freed then. */
static void drop_request(struct hcs_conn *c)
{
    struct hcs_request *request = c->request;
    struct hcs_shard *shard = c->shard;

    c->request = NULL;
    if (request == NULL) {
        return;
    }
    request->conn = NULL;
    if (c->state != CONN_WORKING) {
        release_request(shard, request);
        return;
    }
    /* Relaxed: a hint for the handler. */
    atomic_store_explicit(&request->cancelled, true, memory_order_relaxed);
    if (hcs_pool_cancel(shard->service->pool, &request->task) ||
        atomic_load_explicit(&request->task.state, memory_order_relaxed) ==
            HCS_TASK_CANCELLED) {
        hcs_request_fini(request); /* nobody reads a dead entry's bytes */
    }
}

static void free_outbox(struct hcs_conn *c)
{
    struct outbox *outbox = c->outbox;

    c->outbox = NULL;
    if (outbox != NULL) {
        if (outbox->request != NULL) {
            release_request(c->shard, outbox->request);
        }
        hcs_budget_free(c->shard->service->budget, outbox->block);
        hcs_budget_free(c->shard->service->budget, outbox);
    }
}

static void unlist_shed(struct hcs_conn *c)
{
    struct hcs_conn_list *list = &c->shard->shed;

    if (c->link == NULL) {
        return;
    }
    *c->link = c->next;
    if (c->next != NULL) {
        c->next->link = c->link;
    } else {
        list->end = c->link;
    }
    c->link = NULL;
    list->count--;
}

static void close_conn(struct hcs_conn *c, enum hcs_reason reason)
{
    struct hcs_shard *shard = c->shard;

    if (c->state == CONN_CLOSED) {
        return;
    }
    if (c->state == CONN_WORKING) {
        hcs_counter_add(&shard->counts.cancelled, 1);
        hcs_counter_add(
            &shard->counts.routes[c->request->route->index].cancelled, 1);
    } else if (c->state == CONN_READING && c->request->head_length > 0) {
        /* Counted as a request when its header section was complete. */
        hcs_counter_add(&shard->counts.cancelled, 1);
    } else if (c->state == CONN_LINGERING) {
        shard->lingering--;
    }
    shard->out_length = 0; /* what was composed was for nobody else */
    drop_request(c);
    free_outbox(c);
    hcs_budget_free(shard->service->budget, c->pending);
    c->pending = NULL;
    hcs_wheel_remove(shard->loop.wheel, &c->timer);
    hcs_loop_forget(&shard->loop, &c->watch);
    unlist_shed(c);
    close(c->fd);
    c->fd = -1;
    enter(c, CONN_CLOSED);
    if (c->shed) {
        if (c->spare) {
            shard->spares_lent--;
        }
    } else {
        hcs_counter_add(&shard->counts.closed[reason], 1);
        shard->connections--;
        atomic_fetch_sub_explicit(
            &shard->service->connections, 1, memory_order_relaxed);
    }
    /* Not freed yet: callers up the stack still look at its state. */
    c->next = shard->closed;
    shard->closed = c;
    hcs_shard_descriptor_freed(shard);
}

void hcs_conn_free_closed(struct hcs_shard *shard)
{
    while (shard->closed != NULL) {
        struct hcs_conn *c = shard->closed;

        shard->closed = c->next;
        hcs_slab_free(shard->conns, c);
    }
}

/* --- Writing. */

static bool send_failed(struct hcs_conn *c)
{
    bool peer = errno == EPIPE || errno == ECONNRESET || errno == ETIMEDOUT;

    close_conn(c, peer ? HCS_REASON_CLIENT_RESET : HCS_REASON_IO_ERROR);
    return false;
}

/* As sendmsg(2) without blocking: bytes sent, 0 when the socket is full. False
 * when the connection was closed for it. */
static bool send_some(
    struct hcs_conn *c, struct iovec *parts, size_t count, size_t *sent)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t n;

    *sent = 0;
    do {
        n = count == 1
                ? send(c->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL)
                : sendmsg(c->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) {
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
        close_conn(c, HCS_REASON_IO_ERROR);
        return false;
    }
    c->wants_out = want;
    return true;
}

/* Keeps what could not be sent: bytes, then the large body, if any, which is
 * taken. */
static void keep_unsent(struct hcs_conn *c, const char *bytes, size_t length,
    struct large *large, size_t large_sent)
{
    struct hcs_budget *budget = c->shard->service->budget;
    struct outbox *box = hcs_budget_alloc(budget, sizeof(*box) + length);

    if (box == NULL) {
        if (large != NULL && large->request != NULL) {
            release_request(c->shard, large->request);
        }
        hcs_budget_free(budget, large != NULL ? large->block : NULL);
        close_conn(c, HCS_REASON_MEMORY_PRESSURE);
        return;
    }
    *box = (struct outbox){.length = length};
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
static void append_unsent(
    struct hcs_conn *c, const char *bytes, size_t length, struct large *large)
{
    struct outbox *box = c->outbox;
    size_t old = box->length - box->sent;
    size_t old_body = box->body_length - box->body_sent;
    size_t joined = old + old_body + length;
    char *copy = hcs_budget_alloc(c->shard->service->budget, joined);

    if (copy == NULL) {
        if (large != NULL && large->request != NULL) {
            release_request(c->shard, large->request);
        }
        hcs_budget_free(
            c->shard->service->budget, large != NULL ? large->block : NULL);
        close_conn(c, HCS_REASON_MEMORY_PRESSURE);
        return;
    }
    memcpy(copy, box->bytes + box->sent, old);
    if (old_body > 0) {
        memcpy(copy + old, box->body + box->body_sent, old_body);
    }
    memcpy(copy + old + old_body, bytes, length);
    free_outbox(c);
    keep_unsent(c, copy, joined, large, 0);
    hcs_budget_free(c->shard->service->budget, copy);
}

/* Sends what was composed, and the large body behind it. */
static void flush(struct hcs_conn *c, struct large *large)
{
    struct hcs_shard *shard = c->shard;
    size_t length = shard->out_length;
    struct iovec parts[2] = {{shard->out, length}, {NULL, 0}};
    size_t sent = 0;

    shard->out_length = 0;
    if (c->state == CONN_CLOSED || (length == 0 && large == NULL)) {
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
            release_request(shard, large->request);
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
            release_request(shard, large->request);
        }
        hcs_budget_free(shard->service->budget, large->block);
    }
}

/* Sends more of what is unsent. True when the connection lives. */
static bool write_more(struct hcs_conn *c)
{
    struct outbox *box = c->outbox;

    for (;;) {
        struct iovec parts[2] = {
            {box->bytes + box->sent, box->length - box->sent},
            {(char *)(uintptr_t)box->body + box->body_sent,
                box->body_length - box->body_sent},
        };
        size_t sent;

        if (parts[0].iov_len + parts[1].iov_len == 0) {
            free_outbox(c);
            return want_out(c, false);
        }
        if (!send_some(c, parts, 2, &sent)) {
            return false;
        }
        if (sent == 0) {
            return true; /* an edge tells when there is room */
        }
        c->timed = false; /* the client took something */
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

static void await_room(struct hcs_conn *c)
{
    c->outbox->on_its_way = on_its_way(c);
    arm(c, c->shard->service->limits.write_timeout_ms);
}

/* A third of the socket's buffer has to become free before an edge tells of
 * room. A slow client may take longer than WRITE_TIMEOUT for that, and takes
 * bytes all the time. */
static void writing_expired(struct hcs_conn *c)
{
    if (on_its_way(c) < c->outbox->on_its_way) {
        await_room(c);
    } else {
        close_conn(c, HCS_REASON_WRITE_TIMEOUT);
    }
}

/* --- Lingering. */

/* Each byte that comes while it lingers gives it more time, up to a bound. */
static void arm_linger(struct hcs_conn *c)
{
    uint64_t now_ms = c->shard->loop.now_ms;
    uint64_t left =
        c->linger_until_ms > now_ms ? c->linger_until_ms - now_ms : 0;

    if (!c->timed) {
        arm(c, left < LINGER_IDLE_MS ? left : LINGER_IDLE_MS);
    }
}

/* Throws input away until the client closes. MSG_TRUNC spares the copy
 * (tcp(7)). */
static void discard(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;

    for (int i = 0; i < READ_BUDGET / HCS_SHARD_IN; i++) {
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
            close_conn(c, (enum hcs_reason)c->end_reason);
            return;
        }
    }
    arm_linger(c);
    hcs_loop_revisit(&shard->loop, &c->watch);
}

/* The last reply was sent: our side is shut, so that the client sees its end,
 * and input is thrown away for a while. A bare close would make the kernel
 * answer what still arrives with a reset, which can cost the client the reply
 * (RFC 9112, section 9.6). */
static void linger(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;

    if (c->ended || shard->lingering >= LINGER_MAX_CONNS ||
        shutdown(c->fd, SHUT_WR) != 0) {
        close_conn(c, (enum hcs_reason)c->end_reason);
        return;
    }
    enter(c, CONN_LINGERING);
    shard->lingering++;
    hcs_budget_free(shard->service->budget, c->pending);
    c->pending = NULL;
    c->linger_until_ms = shard->loop.now_ms + LINGER_MAX_MS;
    c->lingered_bytes = 0;
    arm(c, LINGER_IDLE_MS);
    if (c->input_waits) {
        discard(c);
    }
}

/* --- Composing replies. */

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

static void make_id(struct hcs_shard *shard, char out[HCS_REQUEST_ID_MADE])
{
    uint64_t a = hcs_random_next(&shard->random);
    uint64_t b = hcs_random_next(&shard->random);

    hcs_text_uuid7(out, hcs_shard_realtime_ms(shard), a, b);
}

/* Makes an identifier if the client sent none; not without a shard. */
static void know_asked(struct asked *asked, struct hcs_shard *shard,
    const char *bytes, const struct hcs_head *head)
{
    asked->head_only = head->method == HCS_HEAD;
    asked->minor = head->minor > 0;
    asked->keep_alive = head->keep_alive;
    asked->id = bytes + head->request_id.offset;
    asked->id_length = head->request_id.length;
    if (asked->id_length == 0 && shard != NULL) {
        make_id(shard, asked->made_id);
        asked->id = asked->made_id;
        asked->id_length = HCS_REQUEST_ID_MADE;
    }
}

/* Of a request whose header section is not known, or cannot be trusted. */
static void know_nothing(struct asked *asked, struct hcs_shard *shard)
{
    static const struct hcs_head nothing = {
        .method = HCS_GET,
        .minor = 1,
        .keep_alive = false,
    };

    know_asked(asked, shard, "", &nothing);
}

static void know_request(struct asked *asked, struct hcs_shard *shard,
    const struct hcs_request *request)
{
    bool made = request->id_length > 0; /* when it was queued */

    know_asked(asked, made ? NULL : shard, request->in, &request->head);
    if (made) {
        asked->id = request->made_id;
        asked->id_length = request->id_length;
    }
}

/* During drain a reply is the last one only if the client has sent no further
 * request: what was received is answered. */
static bool has_more_input(const struct hcs_conn *c)
{
    int waiting = 0;

    return c->pending != NULL ||
           (ioctl(c->fd, FIONREAD, &waiting) == 0 && waiting > 0);
}

static enum hcs_reply_connection decide_connection(
    struct hcs_conn *c, const struct asked *asked, bool more)
{
    if (!asked->keep_alive) {
        c->last = true;
        c->end_reason = HCS_REASON_KEEPALIVE_END;
    } else if (c->shard->obeyed != HCS_COMMAND_RUN && !more &&
               !has_more_input(c)) {
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

static void log_reply(
    struct hcs_conn *c, const struct hcs_reply *reply, enum hcs_reason reason)
{
    struct hcs_log *log = c->shard->service->log;
    const char *word = hcs_reason_word(reason);
    struct hcs_log_field fields[] = {
        {.name = "request_id",
            .text = reply->request_id,
            .length = reply->request_id_length},
        {.name = "status", .number = reply->status},
        {.name = "bytes_out", .number = reply->body_length},
        {.name = "queue_us", .number = reply->queue_ns / 1000},
        {.name = "run_us", .number = reply->run_ns / 1000},
        {.name = "reason", .text = word},
    };

    hcs_log_write(log, HCS_LOG_DEBUG, "request", fields,
        sizeof(fields) / sizeof(fields[0]));
}

/* Composes a reply behind those that were composed before. A body that is
 * copied is at most COPY_MAX; a large one is sent at once, with all that was
 * composed. more: bytes of a further request are at hand. */
static void compose(struct hcs_conn *c, struct hcs_reply *reply,
    const struct asked *asked, enum hcs_reason reason, const char *body,
    struct large *large, bool more)
{
    struct hcs_shard *shard = c->shard;
    char *out = shard->out + shard->out_length;
    size_t length;

    reply->connection = decide_connection(c, asked, more);
    reply->request_id = asked->id;
    reply->request_id_length = asked->id_length;
    count_reply(shard, reply->status);
    if (hcs_log_wants(shard->service->log, HCS_LOG_DEBUG)) {
        log_reply(c, reply, reason);
    }
    length = hcs_response_head(out, reply, date(shard));
    if (large == NULL && !asked->head_only && reply->body_length > 0) {
        memcpy(out + length, body, reply->body_length);
        length += reply->body_length;
    }
    shard->out_length += length;
    if (large != NULL) {
        flush(c, large);
    }
}

/* 36 bytes that are a UUID: hexadecimal with dashes in their places. */
static const char *as_uuid(const struct asked *asked)
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

struct refusal {
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

static void refuse(
    struct hcs_conn *c, struct asked *asked, const struct refusal *refusal)
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
        make_id(shard, fallback);
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
    compose(c, &reply, asked, refusal->reason, body, NULL, refusal->more);
    if (refusal->close) {
        c->end_reason = (unsigned char)refusal->reason;
    }
}

/* Refuses the request that is being read, and ends the connection with it. */
static void refuse_reading(struct hcs_conn *c, enum hcs_reason reason)
{
    struct refusal refusal = {.reason = reason, .close = true};
    struct asked asked;

    if (c->request != NULL && c->request->head_length > 0) {
        know_request(&asked, c->shard, c->request);
    } else {
        know_nothing(&asked, c->shard);
        hcs_counter_add(&c->shard->counts.requests, 1);
    }
    refuse(c, &asked, &refusal);
    if (c->state == CONN_READING) {
        drop_request(c);
        enter(c, CONN_IDLE);
    }
}

/* --- What is answered on the loop. */

static const char ALLOW_JOB[] = "GET, HEAD, POST, OPTIONS";
static const char ALLOW_PAGE[] = "GET, HEAD, OPTIONS";

static void answer_metrics(struct hcs_conn *c, const struct asked *asked,
    const char *bytes, const struct hcs_head *head, bool more)
{
    struct hcs_service *service = c->shard->service;
    struct hcs_snapshot snapshot;
    struct hcs_metrics_loop loops[service->shard_count];
    struct hcs_metrics_handler handlers[hcs_router_jobs(service->router) + 1];
    enum hcs_metrics_format format =
        hcs_metrics_choose(bytes + head->accept.offset, head->accept.length,
            bytes + head->query.offset, head->query.length);
    struct hcs_reply reply = {
        .status = 200,
        .content_type = hcs_metrics_content_type(format),
        .no_store = true,
    };
    char small[COPY_MAX];
    struct large page = {0};
    struct asked copy = *asked;

    hcs_service_snapshot(service, &snapshot, loops, handlers);
    page.length =
        hcs_metrics_write(&snapshot.metrics, format, small, sizeof(small));
    reply.body_length = page.length;
    /* Needs no memory, so that it is seen what took it all. */
    if (asked->head_only || page.length <= sizeof(small)) {
        compose(c, &reply, asked, HCS_REASON_NONE, small, NULL, more);
        return;
    }
    page.block = hcs_budget_alloc(service->budget, page.length);
    if (page.block == NULL) {
        refuse(c, &copy,
            &(struct refusal){
                .reason = HCS_REASON_MEMORY_PRESSURE, .more = more});
        return;
    }
    page.bytes = page.block;
    hcs_metrics_write(&snapshot.metrics, format, page.block, page.length);
    compose(c, &reply, asked, HCS_REASON_NONE, NULL, &page, more);
}

static void answer_text(struct hcs_conn *c, const struct asked *asked,
    const char *body, size_t length, bool more)
{
    struct hcs_reply reply = {
        .status = 200,
        .content_type = "application/json",
        .body_length = length,
        .no_store = true,
    };

    compose(c, &reply, asked, HCS_REASON_NONE, body, NULL, more);
}

static void answer_health(
    struct hcs_conn *c, const struct asked *asked, bool more)
{
    static const char ok[] = "{\"status\":\"ok\"}";
    static const char draining[] = "{\"status\":\"draining\"}";

    if (atomic_load_explicit(
            &c->shard->service->draining, memory_order_relaxed)) {
        answer_text(c, asked, draining, sizeof(draining) - 1, more);
    } else {
        answer_text(c, asked, ok, sizeof(ok) - 1, more);
    }
}

static void answer_ready(struct hcs_conn *c, struct asked *asked, bool more)
{
    struct hcs_service *service = c->shard->service;
    struct refusal refusal = {.reason = HCS_REASON_NONE, .more = more};
    size_t capacity = hcs_pool_capacity(service->pool);

    if (atomic_load_explicit(&service->draining, memory_order_relaxed)) {
        refusal.reason = HCS_REASON_DRAINING;
    } else if (hcs_pool_depth(service->pool) >= capacity - capacity / 10) {
        refusal.reason = HCS_REASON_QUEUE_FULL; /* or nearly */
    }
    if (refusal.reason == HCS_REASON_NONE) {
        answer_text(c, asked, "{\"status\":\"ready\"}", 18, more);
    } else {
        refuse(c, asked, &refusal);
    }
}

static void answer_problem(struct hcs_conn *c, struct asked *asked,
    const char *bytes, const struct hcs_head *head,
    const struct hcs_route *route, bool more)
{
    char page[HCS_PROBLEM_MAX];
    char path[HCS_PROBLEM_MAX];
    size_t path_length;
    size_t length = 0;

    if (hcs_router_decode(bytes + head->path.offset, head->path.length, path,
            sizeof(path), &path_length)) {
        length = hcs_problem_page(
            page, path + route->path_length, path_length - route->path_length);
    }
    if (length > 0) {
        answer_text(c, asked, page, length, more);
    } else {
        refuse(c, asked,
            &(struct refusal){.reason = HCS_REASON_NOT_FOUND, .more = more});
    }
}

static void answer_options(
    struct hcs_conn *c, const struct asked *asked, const char *allow, bool more)
{
    struct hcs_reply reply = {.status = 204, .allow = allow};

    compose(c, &reply, asked, HCS_REASON_NONE, NULL, NULL, more);
}

static void answer_page(struct hcs_conn *c, struct asked *asked,
    const char *bytes, const struct hcs_head *head,
    const struct hcs_route *route, bool more)
{
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

/* --- Reading requests. */

static bool has_body(const struct hcs_head *head)
{
    return head->chunked || head->content_length > 0;
}

static bool ends_with_json(const char *type, size_t length)
{
    return length >= 5 && strncasecmp(type + length - 5, "+json", 5) == 0;
}

/* Content-Type: application/json or anything +json, with any parameters. */
static bool is_json(const char *type, size_t length)
{
    const char *end = memchr(type, ';', length);

    if (end != NULL) {
        length = (size_t)(end - type);
    }
    while (
        length > 0 && (type[length - 1] == ' ' || type[length - 1] == '\t')) {
        length--;
    }
    return (length == 16 && strncasecmp(type, "application/json", 16) == 0) ||
           ends_with_json(type, length);
}

/* Why the header alone refuses the job; NONE when it does not. */
static enum hcs_reason check_job(const struct hcs_shard *shard,
    const char *bytes, const struct hcs_head *head)
{
    struct hcs_span type = head->content_type;
    struct hcs_span encoding = head->content_encoding;

    if (!has_body(head)) {
        return HCS_REASON_NONE;
    }
    if (type.length > 0 && !is_json(bytes + type.offset, type.length)) {
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
        request->conn = c;
        c->request = request;
    }
    return request;
}

/* The request is complete: to the queue, or refused. more as in compose. */
static void submit(struct hcs_conn *c, bool more)
{
    struct hcs_shard *shard = c->shard;
    struct hcs_request *request = c->request;
    struct refusal refusal = {.reason = HCS_REASON_QUEUE_FULL, .more = more};
    struct asked asked;

    if (request->head.request_id.length == 0) {
        make_id(shard, request->made_id);
        request->id_length = HCS_REQUEST_ID_MADE;
    }
    request->admitted_ns = shard->loop.now_ns;
    request->task.brief =
        (request->route->handler->flags & HCS_HANDLER_BRIEF) != 0 &&
        request->in_length - request->head_length <= BRIEF_BODY_MAX;
    if (hcs_pool_submit(shard->service->pool, &request->task)) {
        shard->submitted = true;
        enter(c, CONN_WORKING);
        return;
    }
    know_request(&asked, shard, request);
    refuse(c, &asked, &refusal);
    drop_request(c);
    enter(c, CONN_IDLE);
}

/* The header section is complete and was accepted for a job: bytes is the
 * section, available how much of the body is at hand behind it. */
static void begin_job(struct hcs_conn *c, const char *bytes, size_t head_length,
    const struct hcs_head *head, const struct hcs_route *route,
    size_t available)
{
    struct hcs_shard *shard = c->shard;
    struct hcs_request *request = c->request;

    if (request == NULL) { /* else the section is already in it */
        request = new_request(c);
        if (request == NULL ||
            !hcs_request_append(request, bytes, head_length)) {
            struct asked asked;

            know_asked(&asked, shard, bytes, head);
            refuse(c, &asked,
                &(struct refusal){
                    .reason = HCS_REASON_MEMORY_PRESSURE, .close = true});
            drop_request(c);
            return;
        }
    }
    request->head = *head;
    request->head_length = (uint32_t)head_length;
    request->route = route;
    request->chunked = (struct hcs_chunked){0};
    if (c->state == CONN_IDLE) {
        enter(c, CONN_READING);
    }
    if (!has_body(head)) {
        submit(c, available > 0);
    } else if (head->expect_continue && available == 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

        memcpy(shard->out + shard->out_length, go_on, sizeof(go_on) - 1);
        shard->out_length += sizeof(go_on) - 1;
    }
}

/* A header section is complete. Answers, refuses or begins a job; returns how
 * many of the available bytes behind the section were skipped as a body that
 * nobody wants. */
static size_t begin(
    struct hcs_conn *c, const char *bytes, size_t head_length, size_t available)
{
    struct hcs_shard *shard = c->shard;
    struct hcs_head head;
    struct refusal refusal = {0};
    const struct hcs_route *route = NULL;
    const char *allow = ALLOW_PAGE;
    struct asked asked;
    bool whole; /* the body, if any, is at hand */

    refusal.reason = hcs_head_parse(&shard->parser, bytes, head_length, &head);
    hcs_counter_add(&shard->counts.requests, 1);
    if (refusal.reason != HCS_REASON_NONE) {
        know_asked(&asked, shard, bytes, &head);
        refusal.close = true;
        refuse(c, &asked, &refusal);
        return available;
    }
    if (!head.asterisk) {
        route = head.path.length == 0
                    ? hcs_router_find(shard->service->router, "/", 1)
                    : hcs_router_find(shard->service->router,
                          bytes + head.path.offset, head.path.length);
        if (route == NULL) {
            refusal.reason = HCS_REASON_NOT_FOUND;
        } else if (route->resource == HCS_RESOURCE_JOB) {
            allow = ALLOW_JOB;
            refusal.reason = check_job(shard, bytes, &head);
        }
        if (route != NULL && (head.method == HCS_METHOD_OTHER ||
                                 (head.method == HCS_POST &&
                                     route->resource != HCS_RESOURCE_JOB))) {
            refusal.reason = HCS_REASON_METHOD_NOT_ALLOWED;
            refusal.allow = allow;
        }
    } else {
        allow = ALLOW_JOB;
    }
    if (refusal.reason == HCS_REASON_NONE && route != NULL &&
        route->resource == HCS_RESOURCE_JOB && head.method != HCS_OPTIONS) {
        begin_job(c, bytes, head_length, &head, route, available);
        return 0;
    }
    /* Answered without the body, which is skipped if it is at hand; else the
     * answer is the last one, since where the next request begins is not
     * known before the body was read. */
    whole = !head.chunked && head.content_length <= available;
    know_asked(&asked, shard, bytes, &head);
    available -= whole ? (size_t)head.content_length : 0;
    refusal.more = available > 0;
    if (!whole) {
        asked.keep_alive = false;
        refusal.close = true;
    }
    if (refusal.reason != HCS_REASON_NONE) {
        refuse(c, &asked, &refusal);
    } else if (head.method == HCS_OPTIONS) {
        answer_options(c, &asked, allow, refusal.more);
    } else {
        answer_page(c, &asked, bytes, &head, route, refusal.more);
    }
    return whole ? (size_t)head.content_length : available;
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
        return empty;
    }
    if (length > 1 || bytes[0] != '\r') { /* may become an empty line */
        verdict = hcs_head_scan(&scan, bytes, length,
            c->shard->service->limits.max_header_bytes, &head_length, &reason);
    }
    switch (verdict) {
    case HCS_SCAN_DONE:
        return head_length + begin(c, bytes, head_length, length - head_length);
    case HCS_SCAN_BAD:
        refuse_reading(c, reason);
        return length;
    case HCS_SCAN_MORE:
        break;
    }
    request = new_request(c);
    if (request == NULL || !hcs_request_append(request, bytes, length)) {
        refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
        drop_request(c);
        return length;
    }
    request->scan = scan;
    enter(c, CONN_READING);
    return length;
}

/* More bytes of a header section that is incomplete. */
static size_t take_head(struct hcs_conn *c, const char *bytes, size_t length)
{
    struct hcs_request *request = c->request;
    size_t before = request->in_length;
    size_t limit = c->shard->service->limits.max_header_bytes;
    /* Not more than can be of use: one byte beyond the limit refuses. */
    size_t take = limit + 1 - before < length ? limit + 1 - before : length;
    enum hcs_reason reason = HCS_REASON_NONE;
    size_t head_length = 0;

    if (!hcs_request_append(request, bytes, take)) {
        refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
        return length;
    }
    if (before == 1 && request->in[0] == '\r' && request->in[1] == '\n') {
        /* The empty line before a request that came in two. */
        request->in_length = 0;
        drop_request(c);
        enter(c, CONN_IDLE);
        return 1;
    }
    switch (hcs_head_scan(&request->scan, request->in, request->in_length,
        limit, &head_length, &reason)) {
    case HCS_SCAN_DONE:
        break;
    case HCS_SCAN_BAD:
        refuse_reading(c, reason);
        return length;
    case HCS_SCAN_MORE:
        return take;
    }
    take = head_length - before;
    request->in_length = (uint32_t)head_length;
    take += begin(c, request->in, head_length, length - take);
    if (c->state == CONN_READING && c->request->head_length == 0) {
        drop_request(c); /* it was answered without becoming a job */
        enter(c, CONN_IDLE);
    }
    return take;
}

static size_t body_left(const struct hcs_request *request)
{
    return (size_t)request->head.content_length -
           (request->in_length - request->head_length);
}

/* More bytes of a body with a known length. */
static size_t take_counted(struct hcs_conn *c, const char *bytes, size_t length)
{
    size_t left = body_left(c->request);
    size_t take = left < length ? left : length;

    if (!hcs_request_append(c->request, bytes, take)) {
        refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
        return length;
    }
    if (take == left) {
        submit(c, take < length);
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
        switch (chunk) {
        case HCS_CHUNK_DATA:
            if (request->in_length - request->head_length + data_length > max) {
                refuse_reading(c, HCS_REASON_BODY_TOO_LARGE);
                return length;
            }
            if (!hcs_request_append(request, data, data_length)) {
                refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
                return length;
            }
            break;
        case HCS_CHUNK_DONE:
            submit(c, done < length);
            return done;
        case HCS_CHUNK_BAD:
            refuse_reading(c, HCS_REASON_BAD_CHUNK);
            return length;
        case HCS_CHUNK_MORE:
            return done;
        }
    }
}

static bool takes_requests(const struct hcs_conn *c)
{
    return (c->state == CONN_IDLE || c->state == CONN_READING) && !c->last &&
           c->outbox == NULL;
}

/* Reads requests from bytes, as many as can be; returns how many bytes were
 * used. The rest has to wait for a reply, or for the client to take one. */
static size_t consume(struct hcs_conn *c, const char *bytes, size_t length)
{
    size_t done = 0;

    while (done < length && takes_requests(c)) {
        if (c->shard->out_length + OUT_RESERVE > HCS_SHARD_OUT) {
            flush(c, NULL);
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

/* --- Turns of a connection. */

/* After whatever was done to it: sends what was composed, and sets the deadline
 * of the state it is in. */
static void settle(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;
    const struct hcs_limits *limits = &shard->service->limits;

    flush(c, NULL);
    if (c->state == CONN_IDLE && c->outbox != NULL) {
        enter(c, CONN_WRITING);
    } else if (c->state == CONN_IDLE && c->last) {
        linger(c);
    }
    switch ((enum conn_state)c->state) {
    case CONN_IDLE:
        arm(c, shard->obeyed == HCS_COMMAND_RUN ||
                       limits->drain_idle_ms > limits->idle_timeout_ms
                   ? limits->idle_timeout_ms
                   : limits->drain_idle_ms);
        return;
    case CONN_READING:
        if (!c->timed) {
            arm(c, limits->read_timeout_ms);
        }
        return;
    case CONN_WORKING:
        if (!c->timed) {
            uint64_t first = limits->queue_timeout_ms;

            if (first == 0 || (limits->job_timeout_ms != 0 &&
                                  limits->job_timeout_ms < first)) {
                first = limits->job_timeout_ms;
            }
            if (first != 0) {
                arm(c, first);
            } else {
                hcs_wheel_arm(shard->loop.wheel, &c->timer, UINT64_MAX);
                c->timed = true;
            }
        }
        return;
    case CONN_WRITING:
        if (!c->timed) {
            await_room(c);
        }
        return;
    case CONN_LINGERING:
    case CONN_CLOSED:
        return;
    }
}

/* The client's last byte was read. */
static void read_end(struct hcs_conn *c)
{
    c->ended = true;
    if (c->state == CONN_READING) {
        flush(c, NULL);
        close_conn(c, HCS_REASON_REQUEST_TRUNCATED);
        return;
    }
    c->last = true; /* after the replies that it still gets */
    c->end_reason = HCS_REASON_CLIENT_CLOSED;
    settle(c);
}

static void client_left(struct hcs_conn *c)
{
    close_conn(c, HCS_REASON_CLIENT_LEFT);
}

/* A job waits or runs: input has to wait for its end, unless it is the client's
 * end. */
static void look_while_working(struct hcs_conn *c, uint32_t seen)
{
    if ((seen & (EPOLLERR | EPOLLHUP)) != 0 ||
        ((seen & EPOLLRDHUP) != 0 &&
            c->shard->service->limits.half_close == HCS_HALF_CLOSE_CANCEL)) {
        client_left(c);
        return;
    }
    if ((seen & (EPOLLIN | EPOLLRDHUP)) != 0) {
        c->input_waits = true;
    }
    if ((seen & EPOLLOUT) != 0 && c->outbox != NULL) {
        (void)write_more(c);
    }
}

/* What epoll would say of the client's end. Asked where the edge that told of
 * it is past, or never was. */
static uint32_t look_for_end(const struct hcs_conn *c)
{
    struct pollfd look = {.fd = c->fd, .events = POLLRDHUP};
    uint32_t seen = 0;

    if (poll(&look, 1, 0) > 0) {
        seen |= (look.revents & POLLRDHUP) != 0 ? EPOLLRDHUP : 0;
        seen |= (look.revents & POLLHUP) != 0 ? EPOLLHUP : 0;
        seen |= (look.revents & POLLERR) != 0 ? EPOLLERR : 0;
    }
    return seen;
}

static void keep_pending(struct hcs_conn *c, const char *bytes, size_t length)
{
    struct pending *pending =
        hcs_budget_alloc(c->shard->service->budget, sizeof(*pending) + length);

    if (pending == NULL) {
        flush(c, NULL);
        close_conn(c, HCS_REASON_MEMORY_PRESSURE);
        return;
    }
    pending->length = length;
    pending->used = 0;
    memcpy(pending->bytes, bytes, length);
    c->pending = pending;
}

/* A body with a known length and much to come is read where it stays; all else
 * into the loop's buffer. */
static bool reads_directly(const struct hcs_conn *c)
{
    return c->request != NULL && c->request->head_length > 0 &&
           !c->request->head.chunked && body_left(c->request) >= READ_DIRECT;
}

/* Room for the next read: false when there is no memory. */
static bool place_input(struct hcs_conn *c, char **at, size_t *room)
{
    struct hcs_request *request = c->request;
    size_t left;

    if (!reads_directly(c)) {
        *at = c->shard->in;
        *room = HCS_SHARD_IN;
        return true;
    }
    left = body_left(request);
    *room = left < HCS_SHARD_IN ? left : HCS_SHARD_IN;
    if (!hcs_request_reserve(request, *room)) {
        return false;
    }
    *at = request->in + request->in_length;
    return true;
}

static void took_input(struct hcs_conn *c, const char *at, size_t length)
{
    size_t used;

    hcs_counter_add(&c->shard->counts.received_bytes, length);
    if (at != c->shard->in) {
        c->request->in_length += (uint32_t)length;
        if (body_left(c->request) == 0) {
            submit(c, false);
        }
        return;
    }
    used = consume(c, at, length);
    if (used < length && c->state != CONN_CLOSED && !c->last) {
        keep_pending(c, at + used, length - used);
    }
    if (used < length && c->last) {
        c->input_waits = true; /* there may be more to throw away */
    }
}

/* Reads until the socket is empty, the connection waits for something else, or
 * the budget of this turn is spent. A read that is shorter than its room has
 * emptied the socket (epoll(7)), so EAGAIN need not be seen; but when the
 * client's end was announced with this edge, no other one tells of it. */
static void read_input(struct hcs_conn *c, uint32_t seen)
{
    bool to_the_end = (seen & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    size_t budget = READ_BUDGET;

    c->input_waits = false;
    while (takes_requests(c)) {
        char *at;
        size_t room;
        ssize_t n;

        if (!place_input(c, &at, &room)) {
            refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
            c->input_waits = true;
            break;
        }
        n = read(c->fd, at, room);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            close_conn(c, errno == ECONNRESET || errno == ETIMEDOUT
                              ? HCS_REASON_CLIENT_RESET
                              : HCS_REASON_IO_ERROR);
            return;
        }
        if (n == 0) {
            read_end(c);
            return;
        }
        took_input(c, at, (size_t)n);
        if ((size_t)n < room && !to_the_end) {
            break;
        }
        if (!takes_requests(c)) {
            c->input_waits = true;
            break;
        }
        budget -= (size_t)n < budget ? (size_t)n : budget;
        if (budget == 0) {
            c->input_waits = true;
            hcs_loop_revisit(&c->shard->loop, &c->watch);
            break;
        }
    }
    settle(c);
    if (c->state == CONN_WORKING && to_the_end) {
        look_while_working(c, look_for_end(c));
    }
}

/* Nothing stands before the next request any more: those that were read, then
 * those that were not. */
static void go_on(struct hcs_conn *c)
{
    while (c->pending != NULL && takes_requests(c)) {
        struct pending *pending = c->pending;

        /* What is being consumed does not wait: or a drain would take the
         * last request in it for one that others follow. */
        c->pending = NULL;
        pending->used += consume(
            c, pending->bytes + pending->used, pending->length - pending->used);
        if (pending->used < pending->length && c->state != CONN_CLOSED) {
            c->pending = pending;
            continue;
        }
        hcs_budget_free(c->shard->service->budget, pending);
        if (c->state == CONN_CLOSED) {
            return;
        }
    }
    if (c->input_waits && takes_requests(c)) {
        /* The end may be among what waits, and no edge tells of it again. */
        read_input(c, EPOLLIN | EPOLLRDHUP);
        return;
    }
    settle(c);
    if (c->state == CONN_WORKING && c->input_waits) {
        /* The client may have left while its bytes waited. */
        look_while_working(c, look_for_end(c));
    }
}

static void on_ready(struct hcs_watch *watch, uint32_t seen)
{
    struct hcs_conn *c = (struct hcs_conn *)(void *)watch;

    switch ((enum conn_state)c->state) {
    case CONN_IDLE:
    case CONN_READING:
        if ((seen & EPOLLOUT) != 0 && c->outbox != NULL && !write_more(c)) {
            return;
        }
        if (c->outbox != NULL) {
            c->input_waits = true; /* an interim reply is stuck */
            return;
        }
        read_input(c, c->input_waits ? seen | EPOLLRDHUP : seen);
        return;
    case CONN_WORKING:
        look_while_working(c, seen);
        return;
    case CONN_WRITING:
        c->input_waits |= (seen & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0;
        if ((seen & EPOLLERR) != 0) {
            close_conn(c, HCS_REASON_CLIENT_RESET);
        } else if ((seen & EPOLLOUT) != 0 && write_more(c)) {
            if (c->outbox == NULL) {
                enter(c, CONN_IDLE);
                go_on(c);
            } else {
                settle(c);
            }
        }
        return;
    case CONN_LINGERING:
        discard(c);
        return;
    case CONN_CLOSED:
        /* In this turn, by what another one needed: a refused connection gives
         * way to the next one, while its own event is still to come. */
        return;
    }
    assert(false);
}

/* --- Results. */

static void count_outcome(struct hcs_shard *shard,
    const struct hcs_request *request, enum hcs_reason reason)
{
    struct hcs_route_counts *counts =
        &shard->counts.routes[request->route->index];

    switch (reason) {
    case HCS_REASON_NONE:
        hcs_counter_add(&counts->ok, 1);
        return;
    case HCS_REASON_DEADLINE_EXCEEDED:
    case HCS_REASON_QUEUE_TIMEOUT:
        hcs_counter_add(&counts->timeout, 1);
        return;
    default:
        hcs_counter_add(&counts->error, 1);
        return;
    }
}

/* Ends a job that is not going to be answered by its worker. */
static void refuse_working(struct hcs_conn *c, enum hcs_reason reason)
{
    struct refusal refusal = {
        .reason = reason,
        .close = reason == HCS_REASON_DRAINING,
    };
    struct asked asked;

    /* What the loop wrote before the job was queued may be read by both. */
    know_request(&asked, c->shard, c->request);
    count_outcome(c->shard, c->request, reason);
    refuse(c, &asked, &refusal);
    drop_request(c);
    enter(c, CONN_IDLE);
    go_on(c);
}

/* RFC 9110, section 6.4.1. */
static bool has_no_body(unsigned status)
{
    return status == 204 || status == 304;
}

/* How the job ended, as a reply. The request is freed, or lent to the reply
 * until it is sent. */
static void reply_result(struct hcs_conn *c, struct hcs_request *request)
{
    struct hcs_shard *shard = c->shard;
    uint64_t started_ns =
        atomic_load_explicit(&request->started_ns, memory_order_relaxed);
    uint64_t queue_ns = started_ns > request->admitted_ns
                            ? started_ns - request->admitted_ns
                            : 0;
    struct asked asked;

    know_request(&asked, shard, request);
    count_outcome(shard, request, request->reason);
    if (request->reason != HCS_REASON_NONE) {
        struct refusal refusal = {
            .reason = request->reason,
            .detail = request->out_length > 0 ? request->out : NULL,
            .detail_length = request->out_length,
            .timed = true,
            .queue_ns = queue_ns,
            .run_ns = request->run_ns,
        };

        refuse(c, &asked, &refusal);
    } else {
        struct hcs_reply reply = {
            .status = request->status,
            .content_type = request->content_type,
            .body_length =
                has_no_body(request->status) ? 0 : request->out_length,
            .timed = true,
            .queue_ns = queue_ns,
            .run_ns = request->run_ns,
        };
        struct large large = {request->out, reply.body_length, request, NULL};

        if (reply.body_length > COPY_MAX && !asked.head_only) {
            compose(c, &reply, &asked, HCS_REASON_NONE, NULL, &large, false);
            return;
        }
        compose(c, &reply, &asked, HCS_REASON_NONE, request->out, NULL, false);
    }
    release_request(shard, request);
}

void hcs_conn_result(struct hcs_shard *shard, struct hcs_request *request)
{
    struct hcs_conn *c = request->conn;

    if (c == NULL) {
        /* [task.state] Acquire came with the mailbox. */
        if (atomic_load_explicit(&request->task.state, memory_order_relaxed) ==
            HCS_TASK_TAKEN) {
            hcs_counter_add(&shard->counts.late, 1);
        }
        release_request(shard, request);
        return;
    }
    c->request = NULL;
    enter(c, CONN_IDLE);
    reply_result(c, request);
    if (c->state != CONN_CLOSED) {
        go_on(c);
    }
}

/* --- Deadlines. */

/* A job's deadline, or the time to look for it: QUEUE_TIMEOUT runs from its
 * admission until a worker takes it, JOB_TIMEOUT from then on. */
static void working_expired(struct hcs_conn *c)
{
    struct hcs_request *request = c->request;
    const struct hcs_limits *limits = &c->shard->service->limits;
    uint64_t now_ms = c->shard->loop.now_ms;
    uint64_t queue_end_ms =
        request->admitted_ns / 1000000 + limits->queue_timeout_ms;
    uint64_t started_ns =
        atomic_load_explicit(&request->started_ns, memory_order_relaxed);

    if (limits->queue_timeout_ms != 0 && now_ms >= queue_end_ms &&
        hcs_pool_cancel(c->shard->service->pool, &request->task)) {
        refuse_working(c, HCS_REASON_QUEUE_TIMEOUT);
        return;
    }
    if (atomic_load_explicit(&request->task.state, memory_order_relaxed) ==
        HCS_TASK_QUEUED) {
        /* Not before the queue's deadline, and a job that is taken in the next
         * moment has all of its own time. */
        uint64_t wait = limits->job_timeout_ms;

        if (limits->queue_timeout_ms != 0 &&
            (wait == 0 || queue_end_ms - now_ms < wait)) {
            wait = queue_end_ms - now_ms;
        }
        arm(c, wait);
        return;
    }
    if (limits->job_timeout_ms == 0) {
        return; /* it runs as long as it runs */
    }
    uint64_t end_ms = (started_ns != 0 ? started_ns / 1000000 : now_ms) +
                      limits->job_timeout_ms;

    if (now_ms >= end_ms) {
        refuse_working(c, HCS_REASON_DEADLINE_EXCEEDED);
    } else {
        arm(c, end_ms - now_ms);
    }
}

/* A last look at the socket: what has arrived is served. */
static void idle_expired(struct hcs_conn *c)
{
    if (has_more_input(c)) {
        read_input(c, EPOLLIN | EPOLLRDHUP);
        return;
    }
    close_conn(c, c->shard->obeyed == HCS_COMMAND_RUN ? HCS_REASON_IDLE_TIMEOUT
                                                      : HCS_REASON_DRAINED);
}

void hcs_conn_expired(struct hcs_timer *timer)
{
    struct hcs_conn *c = conn_of_timer(timer);

    switch ((enum conn_state)c->state) {
    case CONN_IDLE:
        idle_expired(c);
        return;
    case CONN_READING:
        refuse_reading(c, c->request->head_length == 0
                              ? HCS_REASON_HEADER_TIMEOUT
                              : HCS_REASON_BODY_TIMEOUT);
        settle(c);
        return;
    case CONN_WORKING:
        working_expired(c);
        return;
    case CONN_WRITING:
        writing_expired(c);
        return;
    case CONN_LINGERING:
        close_conn(c, (enum hcs_reason)c->end_reason);
        return;
    case CONN_CLOSED:
        break;
    }
    assert(false);
}

/* --- Beginnings. */

static struct hcs_conn *make(struct hcs_shard *shard, int fd)
{
    struct hcs_conn *c = hcs_slab_alloc(shard->conns);

    if (c == NULL) {
        return NULL;
    }
    memset(c, 0, sizeof(*c));
    c->watch.ready = on_ready;
    c->shard = shard;
    c->fd = fd;
    hcs_timer_init(&c->timer);
    if (hcs_loop_add(&shard->loop, fd, &c->watch, EPOLLIN | EPOLLRDHUP) != 0) {
        hcs_slab_free(shard->conns, c);
        return NULL;
    }
    hcs_counter_add(&shard->counts.states[HCS_GAUGE_IDLE], 1);
    return c;
}

void hcs_conn_open(struct hcs_shard *shard, int fd)
{
    struct hcs_service *service = shard->service;
    unsigned others = atomic_fetch_add_explicit(
        &service->connections, 1, memory_order_relaxed);
    enum hcs_reason reason = HCS_REASON_TOO_MANY_CONNECTIONS;
    struct hcs_conn *c = NULL;

    if (others < service->limits.max_connections) {
        reason = HCS_REASON_MEMORY_PRESSURE;
        c = make(shard, fd);
    }
    if (c == NULL) {
        atomic_fetch_sub_explicit(
            &service->connections, 1, memory_order_relaxed);
        hcs_conn_refuse(shard, fd, reason, false);
        return;
    }
    hcs_counter_add(&shard->counts.accepted, 1);
    shard->connections++;
    settle(c);
}

void hcs_conn_refuse(
    struct hcs_shard *shard, int fd, enum hcs_reason reason, bool spare)
{
    struct refusal refusal = {.reason = reason, .close = true};
    struct asked asked;
    struct hcs_conn *c;

    hcs_counter_add(&shard->counts.rejected[reason], 1);
    if (shard->shed.count >= SHED_MAX) {
        (void)hcs_conn_close_shed(shard);
    }
    c = make(shard, fd);
    if (c == NULL) {
        close(fd);
        if (spare) {
            shard->spares_lent--;
            hcs_shard_make_spare(shard);
        }
        return;
    }
    c->shed = true;
    c->spare = spare;
    c->link = shard->shed.end;
    *shard->shed.end = c;
    shard->shed.end = &c->next;
    shard->shed.count++;
    know_nothing(&asked, shard);
    hcs_counter_add(&shard->counts.requests, 1);
    refuse(c, &asked, &refusal);
    settle(c);
}

bool hcs_conn_close_shed(struct hcs_shard *shard)
{
    struct hcs_conn *c = shard->shed.first;

    if (c == NULL) {
        return false;
    }
    close_conn(c, (enum hcs_reason)c->end_reason);
    return true;
}

/* --- All of a shard's. */

static void drain(void *record, void *arg)
{
    struct hcs_conn *c = record;

    (void)arg;
    if (c->state == CONN_IDLE) {
        settle(c);
    }
}

void hcs_conn_drain_all(struct hcs_shard *shard)
{
    hcs_slab_each(shard->conns, drain, NULL);
}

static void cut(void *record, void *arg)
{
    struct hcs_conn *c = record;

    (void)arg;
    switch ((enum conn_state)c->state) {
    case CONN_IDLE:
        close_conn(c, HCS_REASON_SHUTDOWN);
        return;
    case CONN_READING:
        refuse_reading(c, HCS_REASON_DRAINING);
        settle(c);
        return;
    case CONN_WORKING:
        refuse_working(c, HCS_REASON_DRAINING);
        return;
    case CONN_WRITING:
    case CONN_LINGERING: /* have until the end of the cut */
    case CONN_CLOSED:
        return;
    }
}

void hcs_conn_cut_all(struct hcs_shard *shard)
{
    hcs_slab_each(shard->conns, cut, NULL);
}

static void end(void *record, void *arg)
{
    struct hcs_conn *c = record;

    (void)arg;
    if (c->state != CONN_CLOSED) {
        close_conn(c, HCS_REASON_SHUTDOWN);
    }
}

void hcs_conn_close_all(struct hcs_shard *shard)
{
    hcs_slab_each(shard->conns, end, NULL);
}
