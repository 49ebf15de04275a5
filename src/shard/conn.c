#include "shard/conn.h"

#include "shard/conn_read.h"
#include "shard/conn_reply.h"
#include "shard/conn_state.h"
#include "shard/conn_write.h"
#include "shard/exchange.h"
#include "shard/spares.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_DIRECT = 4096, /* missing bytes: a body is read into its record */
    SHED_MAX = 128,     /* refused connections of a loop that linger */
    /* MIN_UPLOAD_RATE is the mean over this time. A request can be typed by
     * hand within it. */
    UPLOAD_PERIOD_MS = 10000,
};

/* --- Turns of a connection. */

/* Sets the time of the next look at how the request arrives. */
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
    if (c->starved && now_ms + HCS_CONN_STARVED_RETRY_MS < next_ms) {
        next_ms = now_ms + HCS_CONN_STARVED_RETRY_MS;
    }
    hcs_conn_arm(c, next_ms > now_ms ? next_ms - now_ms : 0);
}

/* The request's first byte has arrived; or the interim reply could not be sent,
 * because the kernel had no memory. */
static void await_request(struct hcs_conn *c)
{
    struct hcs_request *request = c->request;

    if (request->began_ms == 0) {
        request->began_ms = c->shard->loop.now_ms;
        request->period_began_ms = request->began_ms;
    }
    arm_reading(c);
}

/* The most time from the start of the job's run to its end; 0: no limit. */
static uint64_t job_timeout_ms(const struct hcs_request *request)
{
    return request->route->mount->job_timeout_ms;
}

static void deliver(void *owner, struct hcs_request *request);

/* The job was queued: its deadlines begin now. */
static void await_result(struct hcs_conn *c)
{
    uint64_t queue_ms = c->shard->service->limits.queue_timeout_ms;
    uint64_t job_ms = job_timeout_ms(c->request);
    uint64_t first_ms = queue_ms;

    c->request->waiter = (struct hcs_waiter){deliver, c};
    if (first_ms == 0 || (job_ms != 0 && job_ms < first_ms)) {
        first_ms = job_ms;
    }
    hcs_conn_arm(c, first_ms != 0 ? first_ms : UINT64_MAX);
}

/* In a drain an idle connection has less time to send a request. */
static void await_next_request(struct hcs_conn *c)
{
    const struct hcs_limits *limits = &c->shard->service->limits;
    bool draining = c->shard->applied != HCS_COMMAND_RUN;

    hcs_conn_arm(c, draining && limits->drain_idle_ms < limits->idle_timeout_ms
                        ? limits->drain_idle_ms
                        : limits->idle_timeout_ms);
}

/* After every event: sends what was composed, and sets the deadline of the
 * connection's state. */
static void after_io(struct hcs_conn *c)
{
    if (c->shard->out_length > 0) {
        hcs_conn_flush(c, NULL);
    }
    if (c->state == HCS_CONN_IDLE && c->write_queue != NULL) {
        hcs_conn_enter(c, HCS_CONN_WRITING);
    } else if (c->state == HCS_CONN_IDLE && hcs_conn_is_ending(c)) {
        hcs_conn_linger(c);
    }
    switch ((enum hcs_conn_state)c->state) {
    case HCS_CONN_IDLE:
        await_next_request(c);
        return;
    case HCS_CONN_READING:
        if (!c->timed || c->starved) {
            await_request(c);
        }
        return;
    case HCS_CONN_WORKING:
        if (!c->timed) {
            await_result(c);
        }
        return;
    case HCS_CONN_WRITING:
        if (c->starved) {
            hcs_conn_arm(c, HCS_CONN_STARVED_RETRY_MS);
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
    c->end_reason = HCS_REASON_CLIENT_CLOSED;
    if (c->state == HCS_CONN_READING) {
        c->end_reason = HCS_REASON_REQUEST_TRUNCATED;
        hcs_conn_abandon_request(c, HCS_REASON_REQUEST_TRUNCATED);
        hcs_conn_enter(c, HCS_CONN_IDLE);
    }
    after_io(c);
}

static void client_left(struct hcs_conn *c)
{
    hcs_conn_close(c, HCS_REASON_CLIENT_LEFT);
}

/* A job waits or runs. The end of the client's side may cancel the job; other
 * input waits for the job's end. */
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
    if ((seen & EPOLLOUT) != 0 && c->write_queue != NULL) {
        (void)hcs_conn_write_more(c);
    }
}

static void keep_read_ahead(
    struct hcs_conn *c, const char *bytes, size_t length)
{
    struct hcs_read_ahead *ahead =
        hcs_budget_alloc(c->shard->service->budget, sizeof(*ahead) + length);

    if (ahead == NULL) {
        hcs_conn_flush(c, NULL);
        hcs_conn_close(c, HCS_REASON_MEMORY_PRESSURE);
        return;
    }
    ahead->length = length;
    ahead->used = 0;
    memcpy(ahead->bytes, bytes, length);
    c->read_ahead = ahead;
}

/* If much of a body with a known length is missing, it is read into the
 * request's record. All else is read into the loop's buffer. */
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
        assert(c->request != NULL); /* at lies in the request's input */
        c->request->in_length += (uint32_t)length;
        if (hcs_conn_body_left(c->request) == 0) {
            hcs_conn_submit(c, false);
        }
        return;
    }
    used = hcs_conn_consume(c, at, length);
    if (used == length || c->state == HCS_CONN_CLOSED) {
        return;
    }
    if (hcs_conn_is_ending(c)) {
        c->input_waits = true; /* there may be more input to throw away */
    } else {
        keep_read_ahead(c, at + used, length - used);
    }
}

/* One read. False: reading is over for now. */
static bool read_once(struct hcs_conn *c, bool to_the_end, size_t *budget)
{
    char *at;
    size_t room;
    size_t count;
    enum hcs_io io;

    if (!place_input(c, &at, &room)) {
        hcs_conn_refuse_reading(c, HCS_REASON_MEMORY_PRESSURE);
        c->input_waits = true;
        return false;
    }
    io = hcs_transport_receive(&c->transport, at, room, &count);
    if (io == HCS_IO_FAILED) {
        hcs_conn_close(c, hcs_transport_failure());
        return false;
    }
    if (io == HCS_IO_END) {
        read_end(c);
        return false;
    }
    if (count == 0) {
        return false;
    }
    took_input(c, at, count);
    if (io == HCS_IO_DRAINED && !to_the_end) {
        return false;
    }
    if (!hcs_conn_takes_requests(c)) {
        c->input_waits = true;
        return false;
    }
    *budget -= count < *budget ? count : *budget;
    if (*budget == 0) {
        c->input_waits = true;
        hcs_loop_post(&c->shard->loop, &c->watch);
    }
    return *budget > 0;
}

/* Reads until the socket is empty, the connection waits for something else, or
 * the budget of this turn is spent. If this edge announced the end of the
 * client's side, no other edge will: then reads until that end. */
static void read_input(struct hcs_conn *c, uint32_t seen)
{
    bool to_the_end = (seen & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    size_t budget = HCS_CONN_READ_BUDGET;

    c->input_waits = false;
    while (hcs_conn_takes_requests(c) && read_once(c, to_the_end, &budget)) {
    }
    after_io(c);
    if (c->state == HCS_CONN_WORKING && to_the_end) {
        look_while_working(c, hcs_transport_end_events(&c->transport));
    }
}

/* The reply before has left, so that the next request may begin. Takes requests
 * from the read-ahead first, then from the socket. */
static void resume(struct hcs_conn *c)
{
    while (c->read_ahead != NULL && hcs_conn_takes_requests(c)) {
        struct hcs_read_ahead *ahead = c->read_ahead;

        /* Bytes that are being consumed are not read-ahead any more. Else, in a
         * drain, hcs_conn_has_more_input would be true for the last request in
         * them, and its reply would not close the connection. */
        c->read_ahead = NULL;
        ahead->used += hcs_conn_consume(
            c, ahead->bytes + ahead->used, ahead->length - ahead->used);
        if (ahead->used < ahead->length && c->state != HCS_CONN_CLOSED) {
            c->read_ahead = ahead;
            continue;
        }
        hcs_budget_free(c->shard->service->budget, ahead);
        if (c->state == HCS_CONN_CLOSED) {
            return;
        }
    }
    if (c->input_waits && hcs_conn_takes_requests(c)) {
        /* The end of the client's side may be among the input that waits. No
         * edge tells of it again. */
        read_input(c, EPOLLIN | EPOLLRDHUP);
        return;
    }
    after_io(c);
    if (c->state == HCS_CONN_WORKING && c->input_waits) {
        /* The client may have left while its bytes waited. */
        look_while_working(c, hcs_transport_end_events(&c->transport));
    }
}

/* There may be room in the socket: sends more of the write queue. */
static void write_on(struct hcs_conn *c)
{
    if (!hcs_conn_write_more(c)) {
        return;
    }
    if (c->write_queue == NULL) {
        hcs_conn_enter(c, HCS_CONN_IDLE);
        resume(c);
    } else {
        after_io(c);
    }
}

static void on_ready(struct hcs_watch *watch, uint32_t seen)
{
    struct hcs_conn *c = (struct hcs_conn *)(void *)watch;

    switch ((enum hcs_conn_state)c->state) {
    case HCS_CONN_IDLE:
    case HCS_CONN_READING:
        if (((seen & EPOLLOUT) != 0 || c->starved) && c->write_queue != NULL &&
            !hcs_conn_write_more(c)) {
            return;
        }
        if (c->write_queue != NULL) {
            c->input_waits = true; /* the interim reply is not sent yet */
            after_io(c);
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
        /* The connection was refused, and was closed earlier in this turn to
         * make room for the next refused one. Its own event comes only now. */
        return;
    }
    assert(false);
}

/* --- Results. */

/* Answers in place of the worker, and drops the job. */
static void refuse_working(struct hcs_conn *c, enum hcs_reason reason)
{
    struct hcs_refusal refusal = {
        .reason = reason,
        .close = reason == HCS_REASON_DRAINING,
    };
    struct hcs_exchange exchange;

    hcs_exchange_from_request(&exchange, c->shard, &c->peer, c->request, true);
    hcs_conn_refuse_request(c, &exchange, &refusal);
    if (reason == HCS_REASON_DEADLINE_EXCEEDED) {
        hcs_conn_drop_overdue(c);
    } else {
        hcs_conn_drop_request(c);
    }
    hcs_conn_enter(c, HCS_CONN_IDLE);
    resume(c);
}

static void release_request(struct hcs_shard *shard, void *request)
{
    hcs_conn_release_request(shard, request);
}

/* Sends the reply that a handler wrote. The request is freed at once, or, if
 * the reply is sent from its record, when the reply was sent. */
static void reply_written(struct hcs_conn *c, struct hcs_exchange *exchange,
    struct hcs_request *request)
{
    struct hcs_reply reply = {
        .content_type = request->content_type,
        .fields = request->out,
        .fields_length = request->fields_length,
    };
    struct hcs_body body = {
        .bytes =
            request->out != NULL ? request->out + request->fields_length : "",
        .length = request->out_length - request->fields_length,
        .release = release_request,
        .owner = request,
    };

    exchange->status = request->status;
    /* A 204 has no content (RFC 9110, section 6.4.1). Nor has a 304, but no
     * handler can set that status. */
    exchange->bytes_out = request->status == 204 ? 0 : body.length;
    if (exchange->bytes_out > HCS_CONN_COPY_MAX && !exchange->head_only) {
        hcs_conn_compose(c, exchange, &reply, NULL, &body, false);
        return;
    }
    hcs_conn_compose(c, exchange, &reply, body.bytes, NULL, false);
    hcs_conn_release_request(c->shard, request);
}

/* The job has ended: answers with its result, or with a problem document. */
static void reply_result(struct hcs_conn *c, struct hcs_request *request)
{
    uint64_t started_ns =
        atomic_load_explicit(&request->started_ns, memory_order_relaxed);
    struct hcs_exchange exchange;

    hcs_exchange_from_request(&exchange, c->shard, &c->peer, request, true);
    exchange.timed = true;
    exchange.queue_ns = started_ns > request->admitted_ns
                            ? started_ns - request->admitted_ns
                            : 0;
    exchange.run_ns = request->run_ns;
    if (request->reason == HCS_REASON_NONE) {
        reply_written(c, &exchange, request);
        return;
    }
    hcs_conn_refuse_request(c, &exchange,
        &(struct hcs_refusal){
            .reason = request->reason,
            .detail = request->out_length > 0 ? request->out : NULL,
            .detail_length = request->out_length,
        });
    hcs_conn_release_request(c->shard, request);
}

static void deliver(void *owner, struct hcs_request *request)
{
    struct hcs_conn *c = owner;

    c->request = NULL;
    hcs_conn_enter(c, HCS_CONN_IDLE);
    reply_result(c, request);
    if (c->state != HCS_CONN_CLOSED) {
        resume(c);
    }
}

void hcs_conn_result(struct hcs_shard *shard, struct hcs_request *request)
{
    if (request->waiter.owner != NULL) {
        request->waiter.deliver(request->waiter.owner, request);
        return;
    }
    /* [task.state] Relaxed: taking the task from the mailbox was an acquire. */
    if (atomic_load_explicit(&request->task.state, memory_order_relaxed) ==
        HCS_TASK_TAKEN) {
        hcs_counter_add(&shard->counts.late, 1);
        hcs_counter_add(
            &shard->counts.stuck, request->overdue ? UINT64_MAX : 0);
    }
    hcs_conn_release_request(shard, request);
}

/* --- Deadlines. */

/* A deadline of the job may have passed. QUEUE_TIMEOUT runs from the job's
 * admission until a worker takes the job. JOB_TIMEOUT runs from then on. */
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
        /* The job still waits. The next look is at the queue's deadline, or
         * after a whole JOB_TIMEOUT. The job cannot be overdue earlier, even if
         * a worker takes it in the next moment. */
        uint64_t wait = job_timeout_ms(request);

        if (limits->queue_timeout_ms != 0 &&
            (wait == 0 || queue_end_ms - now_ms < wait)) {
            wait = queue_end_ms - now_ms;
        }
        hcs_conn_arm(c, wait);
        return;
    }
    if (job_timeout_ms(request) == 0) {
        return; /* there is no limit to how long it runs */
    }
    uint64_t end_ms = (started_ns != 0 ? started_ns / 1000000 : now_ms) +
                      job_timeout_ms(request);

    if (now_ms >= end_ms) {
        refuse_working(c, HCS_REASON_DEADLINE_EXCEEDED);
    } else {
        hcs_conn_arm(c, end_ms - now_ms);
    }
}

/* It is time to look at how a request arrives. The request has READ_TIMEOUT in
 * all. In each period it must arrive at MIN_UPLOAD_RATE. Of a chunked body only
 * the data counts, and not the framing. */
static void reading_expired(struct hcs_conn *c)
{
    struct hcs_request *request = c->request;
    const struct hcs_limits *limits = &c->shard->service->limits;
    uint64_t now_ms = c->shard->loop.now_ms;
    enum hcs_reason reason = HCS_REASON_NONE;

    if (c->starved) {
        if (c->write_queue != NULL && !hcs_conn_write_more(c)) {
            return;
        }
        if (c->write_queue == NULL && c->input_waits) {
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
    after_io(c);
}

/* The idle time has passed. Looks at the socket once more: a request that has
 * arrived is served. */
static void idle_expired(struct hcs_conn *c)
{
    if (hcs_conn_has_more_input(c)) {
        read_input(c, EPOLLIN | EPOLLRDHUP);
        return;
    }
    hcs_conn_close(c, c->shard->applied == HCS_COMMAND_RUN
                          ? HCS_REASON_IDLE_TIMEOUT
                          : HCS_REASON_DRAINED);
}

void hcs_conn_expired(struct hcs_timer *timer)
{
    struct hcs_conn *c = hcs_conn_of_timer(timer);

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

/* --- New connections. */

static struct hcs_conn *make(
    struct hcs_shard *shard, int fd, const struct hcs_peer *peer)
{
    struct hcs_conn *c = hcs_slab_alloc(shard->conns);

    if (c == NULL) {
        return NULL;
    }
    memset(c, 0, sizeof(*c));
    c->watch.ready = on_ready;
    c->shard = shard;
    c->transport.fd = fd;
    c->peer = *peer;
    hcs_timer_init(&c->timer);
    if (hcs_loop_add(&shard->loop, fd, &c->watch, EPOLLIN | EPOLLRDHUP) != 0) {
        hcs_slab_free(shard->conns, c);
        return NULL;
    }
    hcs_counter_add(&shard->counts.states[HCS_CONN_IDLE], 1);
    return c;
}

void hcs_conn_open(
    struct hcs_shard *shard, int fd, unsigned site, const struct hcs_peer *peer)
{
    struct hcs_gate *gate = &shard->service->gate;
    enum hcs_reason reason = hcs_gate_connect(gate, peer);
    struct hcs_conn *c = NULL;

    if (reason == HCS_REASON_NONE) {
        c = make(shard, fd, peer);
        if (c == NULL) {
            hcs_gate_disconnect(gate, peer);
            reason = HCS_REASON_MEMORY_PRESSURE;
        }
    }
    if (c == NULL) {
        hcs_conn_refuse(shard, fd, peer, reason, false);
        return;
    }
    c->site = (unsigned char)site;
    hcs_counter_add(&shard->counts.accepted, 1);
    after_io(c);
}

void hcs_conn_refuse(struct hcs_shard *shard, int fd,
    const struct hcs_peer *peer, enum hcs_reason reason, bool spare)
{
    struct hcs_refusal refusal = {.reason = reason, .close = true};
    struct hcs_exchange exchange;
    struct hcs_conn *c;

    hcs_counter_add(&shard->counts.rejected[reason], 1);
    if (shard->shed_count >= SHED_MAX) {
        hcs_conn_close_shed(shard);
    }
    c = make(shard, fd, peer);
    if (c == NULL) {
        if (spare) {
            hcs_spares_take_back(shard, fd);
        } else {
            close(fd);
        }
        return;
    }
    c->shed = true;
    c->spare = spare;
    TAILQ_INSERT_TAIL(&shard->shed, c, entry);
    shard->shed_count++;
    hcs_exchange_unknown(&exchange, shard, &c->peer);
    hcs_counter_add(&shard->counts.requests, 1);
    hcs_conn_refuse_request(c, &exchange, &refusal);
    after_io(c);
}

void hcs_conn_close_shed(struct hcs_shard *shard)
{
    struct hcs_conn *c = TAILQ_FIRST(&shard->shed);

    if (c != NULL) {
        hcs_conn_close(c, (enum hcs_reason)c->end_reason);
    }
}

/* --- All connections of a shard. */

static void drain(void *record, void *arg)
{
    struct hcs_conn *c = record;

    (void)arg;
    if (c->state == HCS_CONN_IDLE) {
        after_io(c);
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
        after_io(c);
        return;
    case HCS_CONN_WORKING:
        refuse_working(c, HCS_REASON_DRAINING);
        return;
    case HCS_CONN_WRITING:
    case HCS_CONN_LINGERING: /* the shard's end_timer closes these two */
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
