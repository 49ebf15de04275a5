#include "shard/conn.h"

#include "shard/conn_record.h"

#include "sync/deferral.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_DIRECT = 4096, /* a body with more to come is read where it stays */
    SHED_MAX = 128,     /* refused ones that linger, a loop */
    UPLOAD_PERIOD_MS = 10000, /* over which MIN_UPLOAD_RATE is taken: time to
                                 type a request by hand */
    STARVED_RETRY_MS = 50,    /* until sending is tried again without an edge */
};

static const unsigned may_follow[] = {
    [HCS_CONN_IDLE] = 1u << HCS_CONN_READING | 1u << HCS_CONN_WRITING |
                      1u << HCS_CONN_LINGERING | 1u << HCS_CONN_CLOSED,
    [HCS_CONN_READING] =
        1u << HCS_CONN_IDLE | 1u << HCS_CONN_WORKING | 1u << HCS_CONN_CLOSED,
    [HCS_CONN_WORKING] = 1u << HCS_CONN_IDLE | 1u << HCS_CONN_CLOSED,
    [HCS_CONN_WRITING] = 1u << HCS_CONN_IDLE | 1u << HCS_CONN_CLOSED,
    [HCS_CONN_LINGERING] = 1u << HCS_CONN_CLOSED,
    [HCS_CONN_CLOSED] = 0,
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

void hcs_conn_enter(struct hcs_conn *c, enum hcs_conn_state next)
{
    struct hcs_counter *states = c->shard->counts.states;

    assert(may_follow[c->state] & 1u << next);
    hcs_counter_add(&states[c->state], UINT64_MAX);
    if (next != HCS_CONN_CLOSED) {
        hcs_counter_add(&states[next], 1);
    }
    c->state = (unsigned char)next;
    c->timed = false;
}

void hcs_conn_arm(struct hcs_conn *c, uint64_t after_ms)
{
    struct hcs_loop *loop = &c->shard->loop;

    c->timed = true;
    hcs_wheel_arm(loop->wheel, &c->timer, loop->now_ms + after_ms);
}
/* --- Ends. */

void hcs_conn_release_request(
    struct hcs_shard *shard, struct hcs_request *request)
{
    hcs_request_fini(request);
    hcs_slab_free(shard->requests, request);
}

/* The connection has no request any more. One that a worker has, or that waits
 * in the queue as a dead entry, comes home later and is freed then. Proved in
 * tests/model/detach.pml and deferral.pml. */
static void drop_request(struct hcs_conn *c, bool is_overdue)
{
    struct hcs_request *request = c->request;
    struct hcs_shard *shard = c->shard;

    c->request = NULL;
    if (request == NULL) {
        return;
    }
    request->conn = NULL;
    if (c->state != HCS_CONN_WORKING) {
        hcs_conn_release_request(shard, request);
        return;
    }
    /* [request.cancelled] Relaxed: a hint for the handler. */
    atomic_store_explicit(&request->cancelled, true, memory_order_relaxed);
    if (hcs_pool_cancel(shard->service->pool, &request->task) ||
        atomic_load_explicit(&request->task.state, memory_order_relaxed) ==
            HCS_TASK_CANCELLED) {
        hcs_request_fini(request); /* nobody reads a dead entry's bytes */
        return;
    }
    switch (hcs_deferrals_abandon(shard->service->deferrals, &request->task)) {
    case HCS_ABANDONED_OWNED:
        hcs_conn_release_request(shard, request);
        return;
    case HCS_ABANDONED_RUNNING:
        if (is_overdue) {
            request->overdue = true;
            hcs_counter_add(&shard->counts.stuck, 1);
        }
        return;
    case HCS_ABANDONED_CLAIMED:
        return;
    }
}

void hcs_conn_drop_request(struct hcs_conn *c)
{
    drop_request(c, false);
}

void hcs_conn_free_outbox(struct hcs_conn *c)
{
    struct hcs_outbox *outbox = c->outbox;

    c->outbox = NULL;
    if (outbox != NULL) {
        if (outbox->request != NULL) {
            hcs_conn_release_request(c->shard, outbox->request);
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

/* A request that will not arrive: it counted as one when its header section was
 * complete. */
static void count_unread(struct hcs_conn *c)
{
    if (c->request->head_length > 0) {
        hcs_counter_add(&c->shard->counts.cancelled, 1);
    }
}

void hcs_conn_close(struct hcs_conn *c, enum hcs_reason reason)
{
    struct hcs_shard *shard = c->shard;

    if (c->state == HCS_CONN_CLOSED) {
        return;
    }
    if (c->state == HCS_CONN_WORKING) {
        hcs_counter_add(&shard->counts.cancelled, 1);
        hcs_counter_add(
            &shard->counts.routes[c->request->route->index].cancelled, 1);
    } else if (c->state == HCS_CONN_READING) {
        count_unread(c);
    } else if (c->state == HCS_CONN_LINGERING) {
        shard->lingering--;
    }
    shard->out_length = 0; /* what was composed was for nobody else */
    hcs_conn_drop_request(c);
    hcs_conn_free_outbox(c);
    hcs_budget_free(shard->service->budget, c->pending);
    c->pending = NULL;
    hcs_wheel_remove(shard->loop.wheel, &c->timer);
    hcs_loop_forget(&shard->loop, &c->watch);
    unlist_shed(c);
    if (reason == HCS_REASON_WRITE_TIMEOUT) {
        /* What it has not taken would stay with the kernel for minutes more. */
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER,
            &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    }
    if (c->spare) {
        hcs_shard_close_lent(shard, c->fd);
    } else {
        close(c->fd);
    }
    c->fd = -1;
    hcs_conn_enter(c, HCS_CONN_CLOSED);
    if (!c->shed) {
        hcs_counter_add(&shard->counts.closed[reason], 1);
        hcs_counter_add(&shard->counts.connections, UINT64_MAX);
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

/* --- Turns of a connection. */

/* Until the next look at how a request arrives. */
static void arm_reading(struct hcs_conn *c)
{
    const struct hcs_limits *limits = &c->shard->service->limits;
    const struct hcs_request *request = c->request;
    uint64_t now_ms = c->shard->loop.now_ms;
    uint64_t next_ms = request->began_ms + limits->read_timeout_ms;
    uint64_t period_ms = request->period_began_ms + UPLOAD_PERIOD_MS;

    if (limits->min_upload_rate != 0 && period_ms < next_ms) {
        next_ms = period_ms;
    }
    if (c->starved && now_ms + STARVED_RETRY_MS < next_ms) {
        next_ms = now_ms + STARVED_RETRY_MS;
    }
    hcs_conn_arm(c, next_ms > now_ms ? next_ms - now_ms : 0);
}

/* The request's first byte has arrived, or sending its interim reply has
 * starved. */
static void await_request(struct hcs_conn *c)
{
    struct hcs_request *request = c->request;

    if (request->began_ms == 0) {
        request->began_ms = c->shard->loop.now_ms;
        request->period_began_ms = request->began_ms;
    }
    arm_reading(c);
}

/* From the start of its run to its end; 0: off. */
static uint64_t job_timeout_ms(const struct hcs_request *request)
{
    return request->route->mount->job_timeout_ms;
}

/* After whatever was done to it: sends what was composed, and sets the deadline
 * of the state it is in. */
static void settle(struct hcs_conn *c)
{
    struct hcs_shard *shard = c->shard;
    const struct hcs_limits *limits = &shard->service->limits;

    if (shard->out_length > 0) {
        hcs_conn_flush(c, NULL);
    }
    if (c->state == HCS_CONN_IDLE && c->outbox != NULL) {
        hcs_conn_enter(c, HCS_CONN_WRITING);
    } else if (c->state == HCS_CONN_IDLE && c->last) {
        hcs_conn_linger(c);
    }
    switch ((enum hcs_conn_state)c->state) {
    case HCS_CONN_IDLE:
        hcs_conn_arm(c, shard->obeyed == HCS_COMMAND_RUN ||
                                limits->drain_idle_ms > limits->idle_timeout_ms
                            ? limits->idle_timeout_ms
                            : limits->drain_idle_ms);
        return;
    case HCS_CONN_READING:
        if (!c->timed || c->starved) {
            await_request(c);
        }
        return;
    case HCS_CONN_WORKING:
        if (!c->timed) {
            uint64_t first = limits->queue_timeout_ms;
            uint64_t job_ms = job_timeout_ms(c->request);

            if (first == 0 || (job_ms != 0 && job_ms < first)) {
                first = job_ms;
            }
            if (first != 0) {
                hcs_conn_arm(c, first);
            } else {
                hcs_wheel_arm(shard->loop.wheel, &c->timer, UINT64_MAX);
                c->timed = true;
            }
        }
        return;
    case HCS_CONN_WRITING:
        if (c->starved) {
            hcs_conn_arm(c, STARVED_RETRY_MS);
        } else if (!c->timed) {
            hcs_conn_await_room(c);
        }
        return;
    case HCS_CONN_LINGERING:
    case HCS_CONN_CLOSED:
        return;
    }
}

/* The client's last byte was read. */
static void read_end(struct hcs_conn *c)
{
    c->ended = true;
    c->last = true; /* after the replies that it still gets */
    c->end_reason = HCS_REASON_CLIENT_CLOSED;
    if (c->state == HCS_CONN_READING) {
        c->end_reason = HCS_REASON_REQUEST_TRUNCATED;
        count_unread(c);
        hcs_conn_drop_request(c);
        hcs_conn_enter(c, HCS_CONN_IDLE);
    }
    settle(c);
}

static void client_left(struct hcs_conn *c)
{
    hcs_conn_close(c, HCS_REASON_CLIENT_LEFT);
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
        (void)hcs_conn_write_more(c);
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
    struct hcs_pending *pending =
        hcs_budget_alloc(c->shard->service->budget, sizeof(*pending) + length);

    if (pending == NULL) {
        hcs_conn_flush(c, NULL);
        hcs_conn_close(c, HCS_REASON_MEMORY_PRESSURE);
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
           !c->request->head.chunked &&
           hcs_conn_body_left(c->request) >= READ_DIRECT;
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
    left = hcs_conn_body_left(request);
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
        assert(c->request != NULL); /* in which at lies */
        c->request->in_length += (uint32_t)length;
        if (hcs_conn_body_left(c->request) == 0) {
            hcs_conn_submit(c, false);
        }
        return;
    }
    used = hcs_conn_consume(c, at, length);
    if (used < length && c->state != HCS_CONN_CLOSED && !c->last) {
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
    size_t budget = HCS_CONN_READ_BUDGET;

    c->input_waits = false;
    while (hcs_conn_takes_requests(c)) {
        char *at;
        size_t room;
        ssize_t n;

        if (!place_input(c, &at, &room)) {
            hcs_conn_refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
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
            hcs_conn_close(c, errno == ECONNRESET || errno == ETIMEDOUT
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
        if (!hcs_conn_takes_requests(c)) {
            c->input_waits = true;
            break;
        }
        budget -= (size_t)n < budget ? (size_t)n : budget;
        if (budget == 0) {
            c->input_waits = true;
            hcs_loop_post(&c->shard->loop, &c->watch);
            break;
        }
    }
    settle(c);
    if (c->state == HCS_CONN_WORKING && to_the_end) {
        look_while_working(c, look_for_end(c));
    }
}

/* Nothing stands before the next request any more: those that were read, then
 * those that were not. */
static void go_on(struct hcs_conn *c)
{
    while (c->pending != NULL && hcs_conn_takes_requests(c)) {
        struct hcs_pending *pending = c->pending;

        /* What is being consumed does not wait: or a drain would take the
         * last request in it for one that others follow. */
        c->pending = NULL;
        pending->used += hcs_conn_consume(
            c, pending->bytes + pending->used, pending->length - pending->used);
        if (pending->used < pending->length && c->state != HCS_CONN_CLOSED) {
            c->pending = pending;
            continue;
        }
        hcs_budget_free(c->shard->service->budget, pending);
        if (c->state == HCS_CONN_CLOSED) {
            return;
        }
    }
    if (c->input_waits && hcs_conn_takes_requests(c)) {
        /* The end may be among what waits, and no edge tells of it again. */
        read_input(c, EPOLLIN | EPOLLRDHUP);
        return;
    }
    settle(c);
    if (c->state == HCS_CONN_WORKING && c->input_waits) {
        /* The client may have left while its bytes waited. */
        look_while_working(c, look_for_end(c));
    }
}

/* There may be room for what is unsent. */
static void write_on(struct hcs_conn *c)
{
    if (!hcs_conn_write_more(c)) {
        return;
    }
    if (c->outbox == NULL) {
        hcs_conn_enter(c, HCS_CONN_IDLE);
        go_on(c);
    } else {
        settle(c);
    }
}

static void on_ready(struct hcs_watch *watch, uint32_t seen)
{
    struct hcs_conn *c = (struct hcs_conn *)(void *)watch;

    switch ((enum hcs_conn_state)c->state) {
    case HCS_CONN_IDLE:
    case HCS_CONN_READING:
        if (((seen & EPOLLOUT) != 0 || c->starved) && c->outbox != NULL &&
            !hcs_conn_write_more(c)) {
            return;
        }
        if (c->outbox != NULL) {
            c->input_waits = true; /* an interim reply is stuck */
            settle(c);
            return;
        }
        read_input(c, c->input_waits ? seen | EPOLLRDHUP : seen);
        return;
    case HCS_CONN_WORKING:
        look_while_working(c, seen);
        return;
    case HCS_CONN_WRITING:
        c->input_waits |= (seen & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0;
        if ((seen & EPOLLERR) != 0) {
            hcs_conn_close(c, HCS_REASON_CLIENT_RESET);
        } else if ((seen & EPOLLOUT) != 0) {
            write_on(c);
        }
        return;
    case HCS_CONN_LINGERING:
        hcs_conn_discard(c);
        return;
    case HCS_CONN_CLOSED:
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
    struct hcs_refusal refusal = {
        .reason = reason,
        .close = reason == HCS_REASON_DRAINING,
    };
    struct hcs_asked asked;

    /* What the loop wrote before the job was queued may be read by both. */
    hcs_conn_know_request(&asked, c->shard, c->request);
    count_outcome(c->shard, c->request, reason);
    hcs_conn_refuse_request(c, &asked, &refusal);
    drop_request(c, reason == HCS_REASON_DEADLINE_EXCEEDED);
    hcs_conn_enter(c, HCS_CONN_IDLE);
    go_on(c);
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
    struct hcs_asked asked;

    hcs_conn_know_request(&asked, shard, request);
    count_outcome(shard, request, request->reason);
    if (request->reason != HCS_REASON_NONE) {
        struct hcs_refusal refusal = {
            .reason = request->reason,
            .detail = request->out_length > 0 ? request->out : NULL,
            .detail_length = request->out_length,
            .timed = true,
            .queue_ns = queue_ns,
            .run_ns = request->run_ns,
        };

        hcs_conn_refuse_request(c, &asked, &refusal);
    } else {
        struct hcs_reply reply = {
            .status = request->status,
            .content_type = request->content_type,
            /* RFC 9110, section 6.4.1; no job is answered with a 304. */
            .body_length = request->status == 204
                               ? 0
                               : request->out_length - request->fields_length,
            .fields = request->out,
            .fields_length = request->fields_length,
            .timed = true,
            .queue_ns = queue_ns,
            .run_ns = request->run_ns,
        };
        const char *body = reply.body_length > 0
                               ? request->out + request->fields_length
                               : NULL;
        struct hcs_large large = {body, reply.body_length, request, NULL};

        if (reply.body_length > HCS_CONN_COPY_MAX && !asked.head_only) {
            hcs_conn_compose(
                c, &reply, &asked, HCS_REASON_NONE, NULL, &large, false);
            return;
        }
        hcs_conn_compose(c, &reply, &asked, HCS_REASON_NONE, body, NULL, false);
    }
    hcs_conn_release_request(shard, request);
}

void hcs_conn_result(struct hcs_shard *shard, struct hcs_request *request)
{
    struct hcs_conn *c = request->conn;

    if (c == NULL) {
        /* [task.state] Acquire came with the mailbox. */
        if (atomic_load_explicit(&request->task.state, memory_order_relaxed) ==
            HCS_TASK_TAKEN) {
            hcs_counter_add(&shard->counts.late, 1);
            hcs_counter_add(
                &shard->counts.stuck, request->overdue ? UINT64_MAX : 0);
        }
        hcs_conn_release_request(shard, request);
        return;
    }
    c->request = NULL;
    hcs_conn_enter(c, HCS_CONN_IDLE);
    reply_result(c, request);
    if (c->state != HCS_CONN_CLOSED) {
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
        uint64_t wait = job_timeout_ms(request);

        if (limits->queue_timeout_ms != 0 &&
            (wait == 0 || queue_end_ms - now_ms < wait)) {
            wait = queue_end_ms - now_ms;
        }
        hcs_conn_arm(c, wait);
        return;
    }
    if (job_timeout_ms(request) == 0) {
        return; /* it runs as long as it runs */
    }
    uint64_t end_ms = (started_ns != 0 ? started_ns / 1000000 : now_ms) +
                      job_timeout_ms(request);

    if (now_ms >= end_ms) {
        refuse_working(c, HCS_REASON_DEADLINE_EXCEEDED);
    } else {
        hcs_conn_arm(c, end_ms - now_ms);
    }
}

/* The time to look how a request arrives: it has READ_TIMEOUT in all, and in
 * each period it has to get on. Framing is no progress: of a chunked body only
 * its data counts. */
static void reading_expired(struct hcs_conn *c)
{
    struct hcs_request *request = c->request;
    const struct hcs_limits *limits = &c->shard->service->limits;
    uint64_t now_ms = c->shard->loop.now_ms;
    enum hcs_reason reason = HCS_REASON_NONE;

    if (c->starved) {
        if (c->outbox != NULL && !hcs_conn_write_more(c)) {
            return;
        }
        if (c->outbox == NULL && c->input_waits) {
            read_input(c, EPOLLIN | EPOLLRDHUP);
            return;
        }
    }
    if (now_ms >= request->began_ms + limits->read_timeout_ms) {
        reason = request->head_length == 0 ? HCS_REASON_HEADER_TIMEOUT
                                           : HCS_REASON_BODY_TIMEOUT;
    } else if (now_ms >= request->period_began_ms + UPLOAD_PERIOD_MS) {
        if (request->in_length - request->period_length <
            limits->min_upload_rate * UPLOAD_PERIOD_MS / 1000) {
            reason = HCS_REASON_UPLOAD_TOO_SLOW;
        }
        request->period_length = request->in_length;
        request->period_began_ms = now_ms;
    }
    if (reason == HCS_REASON_NONE) {
        arm_reading(c);
        return;
    }
    hcs_conn_refuse_reading(c, reason);
    settle(c);
}

/* A last look at the socket: what has arrived is served. */
static void idle_expired(struct hcs_conn *c)
{
    if (hcs_conn_has_more_input(c)) {
        read_input(c, EPOLLIN | EPOLLRDHUP);
        return;
    }
    hcs_conn_close(c, c->shard->obeyed == HCS_COMMAND_RUN
                          ? HCS_REASON_IDLE_TIMEOUT
                          : HCS_REASON_DRAINED);
}

void hcs_conn_expired(struct hcs_timer *timer)
{
    struct hcs_conn *c = conn_of_timer(timer);

    switch ((enum hcs_conn_state)c->state) {
    case HCS_CONN_IDLE:
        idle_expired(c);
        return;
    case HCS_CONN_READING:
        reading_expired(c);
        return;
    case HCS_CONN_WORKING:
        working_expired(c);
        return;
    case HCS_CONN_WRITING:
        if (hcs_conn_may_write_again(c)) {
            write_on(c);
        }
        return;
    case HCS_CONN_LINGERING:
        hcs_conn_close(c, (enum hcs_reason)c->end_reason);
        return;
    case HCS_CONN_CLOSED:
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
    hcs_counter_add(&shard->counts.states[HCS_CONN_IDLE], 1);
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
    hcs_counter_add(&shard->counts.connections, 1);
    settle(c);
}

void hcs_conn_refuse(
    struct hcs_shard *shard, int fd, enum hcs_reason reason, bool spare)
{
    struct hcs_refusal refusal = {.reason = reason, .close = true};
    struct hcs_asked asked;
    struct hcs_conn *c;

    hcs_counter_add(&shard->counts.rejected[reason], 1);
    if (shard->shed.count >= SHED_MAX) {
        (void)hcs_conn_close_shed(shard);
    }
    c = make(shard, fd);
    if (c == NULL) {
        if (spare) {
            hcs_shard_close_lent(shard, fd);
        } else {
            close(fd);
        }
        return;
    }
    c->shed = true;
    c->spare = spare;
    c->link = shard->shed.end;
    *shard->shed.end = c;
    shard->shed.end = &c->next;
    shard->shed.count++;
    hcs_conn_know_nothing(&asked, shard);
    hcs_counter_add(&shard->counts.requests, 1);
    hcs_conn_refuse_request(c, &asked, &refusal);
    settle(c);
}

bool hcs_conn_close_shed(struct hcs_shard *shard)
{
    struct hcs_conn *c = shard->shed.first;

    if (c == NULL) {
        return false;
    }
    hcs_conn_close(c, (enum hcs_reason)c->end_reason);
    return true;
}

/* --- All of a shard's. */

static void drain(void *record, void *arg)
{
    struct hcs_conn *c = record;

    (void)arg;
    if (c->state == HCS_CONN_IDLE) {
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
    switch ((enum hcs_conn_state)c->state) {
    case HCS_CONN_IDLE:
        hcs_conn_close(c, HCS_REASON_SHUTDOWN);
        return;
    case HCS_CONN_READING:
        hcs_conn_refuse_reading(c, HCS_REASON_DRAINING);
        settle(c);
        return;
    case HCS_CONN_WORKING:
        refuse_working(c, HCS_REASON_DRAINING);
        return;
    case HCS_CONN_WRITING:
    case HCS_CONN_LINGERING: /* have until the end of the cut */
    case HCS_CONN_CLOSED:
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
    if (c->state != HCS_CONN_CLOSED) {
        hcs_conn_close(c, HCS_REASON_SHUTDOWN);
    }
}

void hcs_conn_close_all(struct hcs_shard *shard)
{
    hcs_slab_each(shard->conns, end, NULL);
}
