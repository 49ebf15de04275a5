#include "client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <llhttp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 512,
    INPUT_BYTES = 64 * 1024,
    SLOW_RECEIVE_BUFFER = 4096,
};

static const uint64_t SECOND_NS = 1000000000;
static const uint64_t REOPEN_NS = 100000000; /* after a connection failed */

enum conn_state {
    CONN_CLOSED,
    CONN_CONNECTING,
    CONN_IDLE,
    CONN_SENDING,
    CONN_WAITING, /* the request was sent whole */
    CONN_ENDING,  /* the reply was the last one: the server closes */
};

struct conn {
    TAILQ_ENTRY(conn) link;
    struct conn_list *in; /* the list that holds it; it is always in a list */
    int fd;
    enum conn_state state;
    bool owes;    /* a request is due on it, and has no outcome yet */
    bool served;  /* a reply has come since it was opened */
    bool parses;  /* the parser has seen a byte since the request */
    bool begun;   /* the parser is within a reply */
    bool replied; /* the parser has seen the end of a reply */
    bool keeps;   /* the connection stays open after that reply */
    bool spoke;   /* bytes have come behind that reply */
    bool slow_reader;
    bool slow_sender;
    size_t sent;
    uint64_t since_ns; /* when it came into its list */
    uint64_t due_ns;
    uint64_t progress_ns; /* of a slow one: when bytes last came or went */
    llhttp_t parser;
};

TAILQ_HEAD(conn_list, conn);

struct client {
    const struct options *o;
    struct tally *tally;
    const struct board *board;
    const struct part *part;
    struct conn *conns;
    char *input;
    llhttp_settings_t on_reply;
    int epoll;
    struct conn_list closed;
    struct conn_list idle;    /* the one that is idle longest is first */
    struct conn_list waiting; /* for a connection or an answer, oldest first */
    struct conn_list delayed; /* each is due delay_ns after it was put there */
    uint64_t delay_ns;
    uint64_t now_ns;
    unsigned connecting;
    unsigned owing;
    bool repeats; /* closed connections are opened again */
    bool go;
    bool stop;
};

uint64_t load_clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "hcsd-load: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* --- States and lists of connections. */

static void move(struct client *c, struct conn *conn, struct conn_list *to)
{
    if (conn->in != NULL) {
        TAILQ_REMOVE(conn->in, conn, link);
    }
    TAILQ_INSERT_TAIL(to, conn, link);
    conn->in = to;
    conn->since_ns = c->now_ns;
}

static void enter(struct client *c, struct conn *conn, enum conn_state state,
    struct conn_list *to)
{
    conn->state = state;
    move(c, conn, to);
}

/* --- Ends of requests and connections. */

static void conclude(struct client *c, struct conn *conn, enum outcome outcome)
{
    assert(conn->owes);
    conn->owes = false;
    c->owing--;
    tally_add(&c->tally->outcomes[outcome], 1);
}

/* If the server is gone or refuses connections, the connection is opened again
 * later. */
static void close_conn(struct client *c, struct conn *conn)
{
    bool was_open = conn->state != CONN_CONNECTING;

    if (was_open) {
        tally_add(&c->tally->open_now, UINT64_MAX);
    } else {
        c->connecting--;
        tally_add(&c->tally->open_failed, 1);
    }
    if (conn->fd >= 0) {
        close(conn->fd);
        conn->fd = -1;
    }
    enter(c, conn, CONN_CLOSED,
        conn->served || !c->repeats ? &c->closed : &c->delayed);
}

/* The connection ended in a way that was not asked for. */
static void fail(struct client *c, struct conn *conn, enum fault fault)
{
    if (conn->owes) {
        tally_add(&c->tally->faults[fault], 1);
        conclude(c, conn,
            conn->state == CONN_WAITING && !conn->begun ? OUTCOME_LOST
                                                        : OUTCOME_FAILED);
    } else if (conn->state == CONN_IDLE &&
               (fault == FAULT_CLOSED || fault == FAULT_RESET)) {
        tally_add(&c->tally->closed_by_server, 1);
    } else if (conn->state != CONN_ENDING || fault == FAULT_UNASKED ||
               fault == FAULT_LEFT_OPEN) {
        tally_add(&c->tally->faults[fault], 1);
    }
    close_conn(c, conn);
}

/* --- Replies. */

static int on_message_begin(llhttp_t *parser)
{
    struct conn *conn = parser->data;

    conn->begun = true;
    conn->spoke = conn->replied;
    return 0;
}

/* A reply to HEAD has no body, whatever its fields say. */
static int on_headers_complete(llhttp_t *parser)
{
    (void)parser;
    return 1;
}

static int on_message_complete(llhttp_t *parser)
{
    struct conn *conn = parser->data;

    conn->begun = false;
    if (parser->status_code >= 200) { /* the reply comes after an interim one */
        conn->replied = true;
        conn->keeps = llhttp_should_keep_alive(parser) != 0;
    }
    return 0;
}

static void finish_reply(struct client *c, struct conn *conn)
{
    unsigned status = conn->parser.status_code;
    bool last = !conn->keeps || conn->sent < c->o->request_bytes;
    uint64_t now_ns = load_clock_ns();

    tally_add(&c->tally->statuses[status < STATUS_MOST ? status : 0], 1);
    conn->served = true;
    histogram_record(
        &c->tally->latency, now_ns > conn->due_ns ? now_ns - conn->due_ns : 0);
    conclude(c, conn,
        status == 429 || status == 503 ? OUTCOME_REFUSED : OUTCOME_ANSWERED);
    if (conn->spoke) {
        fail(c, conn, FAULT_UNASKED);
    } else if (c->o->shape == SHAPE_CHURN && last) {
        /* The side that closes first keeps its port in TIME_WAIT. That should
         * be the server, because the client has few ports. */
        enter(c, conn, CONN_ENDING, &c->delayed);
    } else if (c->o->shape == SHAPE_CHURN || last) {
        close_conn(c, conn);
    } else {
        enter(c, conn, CONN_IDLE, &c->idle);
    }
}

static void take_input(
    struct client *c, struct conn *conn, const char *input, size_t bytes)
{
    llhttp_errno_t error;

    if (!conn->owes) {
        fail(c, conn, FAULT_UNASKED);
        return;
    }
    tally_add(&c->tally->reply_bytes, bytes);
    if (!conn->parses) {
        llhttp_init(&conn->parser, HTTP_RESPONSE, &c->on_reply);
        conn->parser.data = conn;
        conn->parses = true;
        conn->replied = false;
        conn->spoke = false;
    }
    error = llhttp_execute(&conn->parser, input, bytes);
    if (conn->replied) {
        conn->spoke = conn->spoke || error != HPE_OK;
        finish_reply(c, conn);
    } else if (error != HPE_OK) {
        conn->begun = true; /* by these bytes */
        fail(c, conn, FAULT_BAD_REPLY);
    } else if (conn->in == &c->waiting) {
        move(c, conn, &c->waiting); /* --timeout begins anew */
    }
}

/* The server has sent its last byte. */
static void take_end(struct client *c, struct conn *conn)
{
    bool within = conn->owes && conn->begun;

    if (within && llhttp_finish(&conn->parser) == HPE_OK && conn->replied) {
        finish_reply(c, conn); /* the reply lasts until the connection ends */
    } else {
        fail(c, conn, within ? FAULT_CUT_REPLY : FAULT_CLOSED);
    }
}

/* Reads until the socket is empty. most: the most bytes to read. True when any
 * byte came. */
static bool read_some(struct client *c, struct conn *conn, size_t most)
{
    bool any = false;

    while (conn->state >= CONN_IDLE) {
        ssize_t n = read(conn->fd, c->input, most);

        if (n > 0) {
            any = true;
            take_input(c, conn, c->input, (size_t)n);
            /* After a short read the socket is empty (epoll(7)). If the
             * server's side ended at the same time, an edge will tell of it, or
             * the events of this turn do. */
            if ((size_t)n < most || most < INPUT_BYTES) {
                return true;
            }
        } else if (n == 0) {
            take_end(c, conn);
        } else if (errno == EAGAIN) {
            return any;
        } else if (errno != EINTR) {
            fail(c, conn,
                conn->owes && conn->begun ? FAULT_CUT_REPLY : FAULT_RESET);
        }
    }
    return any;
}

/* --- Requests. */

/* Sends what is left of the request. most: the most bytes to send. */
static void send_some(struct client *c, struct conn *conn, size_t most)
{
    const struct options *o = c->o;
    size_t until = o->request_bytes - conn->sent < most ? o->request_bytes
                                                        : conn->sent + most;

    while (conn->sent < until) {
        ssize_t n = send(conn->fd, o->request + conn->sent, until - conn->sent,
            MSG_NOSIGNAL);

        if (n >= 0) {
            conn->sent += (size_t)n;
            conn->progress_ns = c->now_ns;
        } else if (errno == EAGAIN) {
            if (conn->in == &c->waiting && conn->progress_ns == c->now_ns) {
                move(c, conn, &c->waiting); /* --timeout begins anew */
            }
            return; /* an edge will tell when there is room */
        } else if (errno != EINTR) {
            /* The server may have sent a reply before it stopped reading. */
            (void)read_some(c, conn, INPUT_BYTES);
            if (conn->state == CONN_SENDING) {
                fail(c, conn, FAULT_SEND_ERROR);
            }
            return;
        }
    }
    if (conn->sent == o->request_bytes) {
        tally_add(&c->tally->sent, 1);
        enter(c, conn, CONN_WAITING,
            conn->slow_reader ? &c->delayed : &c->waiting);
    }
}

static void send_request(struct client *c, struct conn *conn)
{
    conn->sent = 0;
    conn->parses = false;
    conn->begun = false;
    conn->progress_ns = c->now_ns;
    if (conn->slow_sender) {
        enter(c, conn, CONN_SENDING, &c->delayed);
    } else {
        enter(c, conn, CONN_SENDING, &c->waiting);
        send_some(c, conn, SIZE_MAX);
    }
}

/* --- Opening. */

static enum fault fault_of_connecting(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return FAULT_CONNECT_REFUSED;
    case ETIMEDOUT:
        return FAULT_CONNECT_TIMEOUT;
    case EADDRNOTAVAIL:
        return FAULT_NO_PORT;
    case EMFILE:
    case ENFILE:
        return FAULT_NO_DESCRIPTOR;
    default:
        return FAULT_CONNECT_ERROR;
    }
}

static int prepare_socket(const struct client *c, const struct conn *conn)
{
    unsigned number = c->part->first + (unsigned)(conn - c->conns);
    int small = SLOW_RECEIVE_BUFFER;
    int on = 1;

    if (setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        (conn->slow_reader && setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF,
                                  &small, sizeof(small)) != 0)) {
        return errno;
    }
    if (c->o->sources > 0) {
        struct sockaddr_in source = {
            .sin_family = AF_INET,
            .sin_addr.s_addr =
                htonl(INADDR_LOOPBACK + 1 + number % c->o->sources),
        };

        /* The kernel chooses the port at connect, when the peer is known: else
         * a source address has only so many ports for all peers together
         * (ip(7)). */
        if (setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
                sizeof(on)) != 0 ||
            bind(conn->fd, (const struct sockaddr *)&source, sizeof(source)) !=
                0) {
            return errno;
        }
    }
    return 0;
}

static int start_connect(struct client *c, struct conn *conn)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.ptr = conn,
    };
    int error;

    conn->fd = socket(
        c->o->server.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        return errno;
    }
    error = prepare_socket(c, conn);
    if (error == 0 &&
        connect(conn->fd, (const struct sockaddr *)&c->o->server,
            c->o->server_length) != 0 &&
        errno != EINPROGRESS) {
        error = errno;
    }
    if (error == 0 &&
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, conn->fd, &event) != 0) {
        error = errno;
    }
    return error;
}

static void open_conn(struct client *c, struct conn *conn)
{
    int error;

    c->connecting++;
    conn->served = false;
    enter(c, conn, CONN_CONNECTING, &c->waiting);
    error = start_connect(c, conn);
    if (error != 0) {
        fail(c, conn, fault_of_connecting(error));
    }
}

/* A request is due, on a connection that is idle or that must be opened
 * first. */
static void begin(struct client *c, struct conn *conn, uint64_t due_ns)
{
    assert(!conn->owes);
    conn->owes = true;
    conn->due_ns = due_ns;
    c->owing++;
    tally_add(&c->tally->due, 1);
    if (conn->state == CONN_IDLE) {
        send_request(c, conn);
    } else if (conn->state == CONN_CLOSED) {
        open_conn(c, conn);
    } else {
        assert(conn->state ==
               CONN_CONNECTING); /* the request is sent when it is open */
    }
}

static void finish_connect(struct client *c, struct conn *conn)
{
    int error = 0;
    socklen_t length = sizeof(error);
    uint64_t open_now;

    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        error = errno;
    }
    if (error != 0) {
        fail(c, conn, fault_of_connecting(error));
        return;
    }
    c->connecting--;
    tally_add(&c->tally->opened, 1);
    tally_add(&c->tally->open_now, 1);
    open_now = tally_get(&c->tally->open_now);
    if (open_now > tally_get(&c->tally->most_open)) {
        tally_add(&c->tally->most_open, 1);
    }
    enter(c, conn, CONN_IDLE, &c->idle);
    if (conn->owes) {
        send_request(c, conn);
    }
}

/* --- Turns. */

static void apply_command(struct client *c)
{
    char command;
    ssize_t n = read(c->part->commands, &command, 1);

    if (n < 0 && errno == EINTR) {
        return; /* the parent is still there */
    }
    if (n <= 0) {
        exit(EXIT_FAILURE); /* the parent is gone */
    }
    c->go = command == COMMAND_GO;
    c->stop = command == COMMAND_STOP;
}

static void handle(struct client *c, struct conn *conn, unsigned events)
{
    bool ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;

    if (conn->state == CONN_CONNECTING) {
        if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) == 0) {
            return;
        }
        finish_connect(c, conn);
    } else if (conn->state == CONN_SENDING && (events & EPOLLOUT) != 0 &&
               !conn->slow_sender) {
        send_some(c, conn, SIZE_MAX);
    }
    if (conn->slow_reader && conn->owes) {
        return; /* take_piece reads when the time comes */
    }
    if ((events & EPOLLIN) != 0 || ended) {
        (void)read_some(c, conn, INPUT_BYTES);
    }
    /* The read before may have been short, and may not have reached the end. */
    if (ended && conn->state >= CONN_IDLE && conn->fd >= 0) {
        (void)read_some(c, conn, INPUT_BYTES);
    }
}

/* Sends or reads a piece of a slow request or a slow reply. */
static void take_piece(struct client *c, struct conn *conn)
{
    move(c, conn, &c->delayed);
    if (conn->state == CONN_SENDING) {
        send_some(c, conn, c->o->step_bytes);
    } else if (read_some(c, conn, c->o->step_bytes)) {
        conn->progress_ns = c->now_ns;
    }
    if (conn->owes && c->now_ns - conn->progress_ns > c->o->timeout_ns) {
        fail(c, conn, FAULT_TIMEOUT);
    }
}

static void take_step(struct client *c, struct conn *conn)
{
    if (conn->state == CONN_CLOSED) {
        move(c, conn, &c->closed); /* it may be opened again */
    } else if (conn->state == CONN_ENDING) {
        fail(c, conn, FAULT_LEFT_OPEN);
    } else {
        take_piece(c, conn);
    }
}

static void expire(struct client *c)
{
    struct conn *conn;

    while ((conn = TAILQ_FIRST(&c->waiting)) != NULL &&
           c->now_ns >= conn->since_ns + c->o->timeout_ns) {
        fail(c, conn,
            conn->state == CONN_CONNECTING ? FAULT_CONNECT_TIMEOUT
                                           : FAULT_TIMEOUT);
    }
    /* Each step puts the connection at the end again, with a time that is not
     * yet due. */
    while ((conn = TAILQ_FIRST(&c->delayed)) != NULL &&
           c->now_ns >= conn->since_ns + c->delay_ns) {
        take_step(c, conn);
    }
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

static int wait_for_events(
    struct client *c, struct epoll_event *events, uint64_t wait_ns)
{
    struct timespec wait = {
        .tv_sec = (time_t)(wait_ns / SECOND_NS),
        .tv_nsec = (long)(wait_ns % SECOND_NS),
    };
    int count = epoll_pwait2(c->epoll, events, EVENTS, &wait, NULL);

    if (count < 0 && errno == ENOSYS) { /* before Linux 5.11 */
        count = epoll_wait(
            c->epoll, events, EVENTS, (int)((wait_ns + 999999) / 1000000));
    }
    return count;
}

/* Waits for a batch of events, at most until until_ns. True when there were
 * any. */
static bool turn(struct client *c, uint64_t until_ns)
{
    struct epoll_event events[EVENTS];
    struct conn *first = TAILQ_FIRST(&c->waiting);
    int count;

    if (first != NULL) {
        until_ns = earlier(until_ns, first->since_ns + c->o->timeout_ns);
    }
    first = TAILQ_FIRST(&c->delayed);
    if (first != NULL) {
        until_ns = earlier(until_ns, first->since_ns + c->delay_ns);
    }
    c->now_ns = load_clock_ns();
    until_ns = until_ns > c->now_ns ? until_ns - c->now_ns : 0;
    count = wait_for_events(c, events, earlier(until_ns, SECOND_NS));
    if (count < 0 && errno != EINTR) {
        die("epoll_wait");
    }
    c->now_ns = load_clock_ns();
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == NULL) {
            apply_command(c);
        } else {
            handle(c, events[i].data.ptr, events[i].events);
        }
    }
    expire(c);
    return count > 0;
}

/* --- Schedules. The event number k of all processes is due at start + k /
 * rate. With n processes, each has every n-th event. */

struct schedule {
    double rate; /* 0: no rate, whenever there is room */
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t taken; /* events that this process has taken */
};

static uint64_t next_due_ns(const struct client *c, const struct schedule *s)
{
    double number;

    if (s->rate == 0) {
        return c->now_ns;
    }
    number = (double)s->taken * c->o->processes + c->part->index;
    return s->start_ns + (uint64_t)(number / s->rate * (double)SECOND_NS);
}

static bool is_due(const struct client *c, const struct schedule *s)
{
    uint64_t due_ns = next_due_ns(c, s);

    return due_ns <= c->now_ns && due_ns < s->end_ns;
}

/* Whether the schedule is over. For a while after its end, requests that were
 * due before the end are still sent. */
static bool is_over(const struct client *c, const struct schedule *s)
{
    return c->now_ns >= s->end_ns && c->now_ns - s->end_ns > c->o->timeout_ns;
}

/* Whether no connection will become free any more. */
static bool is_dry(const struct client *c, const struct conn_list *free)
{
    return TAILQ_EMPTY(free) && c->owing == 0 && c->connecting == 0 &&
           !c->repeats;
}

/* How many connections may be opened at the same time. */
static unsigned most_opening(const struct client *c)
{
    unsigned most = c->o->in_flight / c->o->processes;

    return most == 0 ? 1 : most;
}

static void open_again(struct client *c)
{
    while (!TAILQ_EMPTY(&c->closed) && c->connecting < most_opening(c)) {
        open_conn(c, TAILQ_FIRST(&c->closed));
    }
}

/* Sends each request when it is due, on a connection of the list free. If no
 * connection is free, the request is sent when one is, even after the end: to
 * drop it would hide that the server was too slow. A command of the parent is
 * an end, too. After the command to stop, nothing more is sent. */
static void keep_schedule(
    struct client *c, struct schedule *s, struct conn_list *free)
{
    uint64_t not_sent = 0;
    bool stopped = false;

    while (true) {
        bool more;

        c->now_ns = load_clock_ns();
        if ((c->stop || c->go) && s->end_ns > c->now_ns) {
            s->end_ns = c->now_ns;
        }
        c->repeats = c->repeats && !c->stop;
        if (c->repeats && free != &c->closed) {
            open_again(c);
        }
        while (
            !TAILQ_EMPTY(free) && is_due(c, s) && !is_over(c, s) && !stopped) {
            uint64_t due_ns = next_due_ns(c, s);

            s->taken++;
            begin(c, TAILQ_FIRST(free), due_ns);
        }
        stopped = c->stop; /* after the requests that were due were sent */
        more = next_due_ns(c, s) < s->end_ns && !is_over(c, s) && !stopped &&
               (c->now_ns < s->end_ns || !is_dry(c, free));
        if (!more && c->owing == 0 && c->now_ns >= s->end_ns) {
            break;
        }
        turn(c, more && !TAILQ_EMPTY(free) ? next_due_ns(c, s)
                : c->now_ns < s->end_ns    ? s->end_ns
                                           : UINT64_MAX);
    }
    for (; s->rate > 0 && next_due_ns(c, s) < s->end_ns; s->taken++) {
        not_sent++;
    }
    tally_add(&c->tally->due, not_sent);
    tally_add(&c->tally->outcomes[OUTCOME_FAILED], not_sent);
    tally_add(&c->tally->faults[FAULT_NOT_SENT], not_sent);
}

/* --- Shapes. */

/* Opens all connections, at the rate that is asked for, and not too many at
 * once. ask: each connection sends a first request. */
static void open_all(struct client *c, bool ask)
{
    unsigned most = most_opening(c);
    struct schedule s = {
        .rate = c->o->shape == SHAPE_RATE ? 0 : c->o->rate,
        .start_ns = load_clock_ns(),
        .end_ns = UINT64_MAX,
    };

    while (true) {
        bool more = s.taken < c->part->count && !c->stop;
        bool room = c->connecting < most && c->owing < most;

        c->now_ns = load_clock_ns();
        if (more && room && is_due(c, &s)) {
            uint64_t due_ns = next_due_ns(c, &s);
            struct conn *conn = &c->conns[s.taken++];

            if (ask) {
                begin(c, conn, due_ns);
            } else {
                open_conn(c, conn);
            }
        } else if (more || c->connecting > 0 || c->owing > 0) {
            turn(c, more && room ? next_due_ns(c, &s) : UINT64_MAX);
        } else {
            return;
        }
    }
}

/* When the time is over, requests that are slow by intent are given up. */
static void abandon(struct client *c)
{
    for (unsigned i = 0; i < c->part->count; i++) {
        struct conn *conn = &c->conns[i];

        if (conn->owes) {
            conn->begun = true; /* not lost: this client gave the request up */
            fail(c, conn, FAULT_UNFINISHED);
        }
    }
}

static void ask_on_all(struct client *c, const struct schedule *s)
{
    bool slow = c->o->shape == SHAPE_TRICKLE;

    for (unsigned i = 0; i < c->part->count; i++) {
        c->now_ns = load_clock_ns();
        begin(c, &c->conns[i], s->start_ns);
    }
    while (c->owing > 0) {
        turn(c, slow ? s->end_ns : UINT64_MAX);
        if (slow && (c->stop || c->now_ns >= s->end_ns)) {
            abandon(c);
        }
    }
}

static void run_stage(struct client *c, unsigned done)
{
    struct schedule s = {
        .rate = c->o->rate,
        .start_ns =
            atomic_load_explicit(&c->board->start_ns, memory_order_acquire),
    };

    s.end_ns =
        c->o->duration_ns == 0 ? UINT64_MAX : s.start_ns + c->o->duration_ns;
    c->now_ns = load_clock_ns();
    switch (c->o->shape) {
    case SHAPE_HOLD:
        if (done == 1) {
            open_all(c, true);
        } else {
            s.rate = c->o->held_rate;
            s.end_ns = UINT64_MAX;
            keep_schedule(c, &s, &c->idle);
            c->go = false;
        }
        return;
    case SHAPE_BURST:
    case SHAPE_TRICKLE:
        ask_on_all(c, &s);
        return;
    case SHAPE_RATE:
    case SHAPE_CHURN:
        c->repeats = true;
        keep_schedule(c, &s, c->o->shape == SHAPE_RATE ? &c->idle : &c->closed);
        return;
    }
}

static void init(struct client *c)
{
    const struct options *o = c->o;
    struct epoll_event event = {.events = EPOLLIN};

    llhttp_settings_init(&c->on_reply);
    c->on_reply.on_message_begin = on_message_begin;
    c->on_reply.on_message_complete = on_message_complete;
    if (strncmp(o->request, "HEAD ", strlen("HEAD ")) == 0) {
        c->on_reply.on_headers_complete = on_headers_complete;
    }
    TAILQ_INIT(&c->closed);
    TAILQ_INIT(&c->idle);
    TAILQ_INIT(&c->waiting);
    TAILQ_INIT(&c->delayed);
    c->delay_ns = o->shape == SHAPE_TRICKLE ? o->interval_ns : REOPEN_NS;

    c->conns = calloc(c->part->count, sizeof(*c->conns));
    c->input = malloc(INPUT_BYTES);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->conns == NULL || c->input == NULL || c->epoll < 0 ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->part->commands, &event) != 0) {
        die("start");
    }
    /* Without this call a wait may be 50 us longer than asked for
     * (prctl(2)). */
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    for (unsigned i = 0; i < c->part->count; i++) {
        struct conn *conn = &c->conns[i];

        conn->fd = -1;
        conn->slow_sender =
            o->shape == SHAPE_TRICKLE && (c->part->first + i) % 2 == 0;
        conn->slow_reader = o->shape == SHAPE_TRICKLE && !conn->slow_sender;
        move(c, conn, &c->closed);
    }
}

int client_run(
    const struct options *o, struct board *board, const struct part *part)
{
    struct share *share = &board->shares[part->index];
    struct client c = {
        .o = o, .tally = &share->tally, .board = board, .part = part};

    init(&c);
    if (o->shape != SHAPE_HOLD && o->shape != SHAPE_CHURN) {
        open_all(&c, false);
    }
    for (unsigned done = 1;; done++) {
        atomic_store_explicit(&share->stage, done, memory_order_release);
        (void)eventfd_write(part->arrivals, 1);
        while (!c.go && !c.stop) {
            turn(&c, UINT64_MAX);
        }
        if (c.stop) {
            break;
        }
        c.go = false;
        run_stage(&c, done);
    }
    /* Counts the connections that the server has closed by now. */
    for (uint64_t end_ns = c.now_ns + SECOND_NS;
         turn(&c, 0) && c.now_ns < end_ns;) {
    }
    free(c.input);
    free(c.conns);
    return EXIT_SUCCESS; /* the end of the process closes the connections */
}
