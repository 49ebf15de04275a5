/*
 * poke - a client that does the same work each time it is run.
 *
 * wrk sends as much as it can for a while, so no two runs are alike, and it
 * gives up on a server that a tracer has made a hundred times slower. poke
 * opens so many connections, sends so many requests on each, in lock-step,
 * checks every reply and counts. It also holds connections open by the ten
 * thousand, from several processes (a descriptor limit is per table) and
 * several source addresses (so are ephemeral ports).
 *
 * Lock-step: a request goes out on each connection, then all their replies are
 * awaited, then comes the next round. With -i, so many connections at a time.
 *
 *     poke -c 64 -n 100 -q 'GET / HTTP/1.1\r\nHost: x\r\n\r\n' 8080
 *     poke -c 15000 -i 64 -p 2 -s 4 -k -f request.bin 8080
 *
 * It prints one line of counts, exit status 0 if every request got its reply
 * and 1 if not. With -k it prints that line, keeps the connections until its
 * standard input ends, then prints a second one, of how many were lost.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 10000000,
    CONNECTING_MAX = 256, /* stays below the backlog of any server */
    COMPLAINTS_MAX = 5,
    EVENTS = 512,
    EXIT_USAGE = 2,
    LINE_MAX_BYTES = 128,
    PROCESSES_MAX = 1000,
    READ_BYTES = 64 * 1024,
    REQUEST_MAX = 16 * 1024 * 1024,
    SOURCES_MAX = 250,
};

struct options {
    struct sockaddr_in server;
    char *request;
    size_t request_bytes;
    int connections;
    int requests; /* on each connection */
    int at_once;
    int processes;
    int sources; /* 0: let the kernel choose */
    int timeout_ms;
    bool keep;
};

/* What a process tells its parent, by one write to a pipe. */
struct tally {
    uint64_t connections;
    uint64_t requests;
    uint64_t replies;
    uint64_t reply_bytes;
    uint64_t failed; /* connections that did not get all their replies */
    uint64_t lost;   /* connections that closed while they were held */
};

enum conn_state {
    CONN_CLOSED,
    CONN_CONNECTING,
    CONN_IDLE,
    CONN_SENDING,
    CONN_HEAD, /* of the reply */
    CONN_BODY,
};

struct conn {
    int fd;
    enum conn_state state;
    size_t sent;
    int status;
    uint64_t body_left;
    bool has_length;
    unsigned char line_bytes;
    char line[LINE_MAX_BYTES];
};

/* One process's share of the work. */
struct client {
    const struct options *options;
    struct conn *conns;
    char *input;
    int count;
    int first; /* this process's first connection is the so-manieth of all */
    int epoll;
    int connecting;
    int awaited; /* replies that the current step waits for */
    int complaints;
    bool holding;
    bool released; /* by the parent, which may also be gone */
    struct tally tally;
};

static const char usage[] =
    "usage: poke [options] [ADDRESS:]PORT\n"
    "  -q TEXT     the request; \\r, \\n and \\\\ are understood\n"
    "  -f FILE     the request, as it is\n"
    "  -c NUMBER   connections, of all processes together (64)\n"
    "  -n NUMBER   requests on each connection (1; 0 only connects)\n"
    "  -i NUMBER   connections of a process that are busy at once (all)\n"
    "  -p NUMBER   processes (1)\n"
    "  -s NUMBER   source addresses, from 127.0.0.2 on (the system's choice)\n"
    "  -t SECONDS  give up when nothing comes for so long (120)\n"
    "  -k          keep the connections until standard input ends\n";

static void die(const char *what)
{
    fprintf(stderr, "poke: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void complain(struct client *c, const struct conn *conn, const char *why)
{
    if (c->complaints++ < COMPLAINTS_MAX) {
        fprintf(stderr, "poke: connection %d: %s\n",
            c->first + (int)(conn - c->conns), why);
    }
}

static void watch(struct client *c, int fd, void *data, unsigned what)
{
    struct epoll_event event = {.events = what, .data.ptr = data};

    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

static bool is_awaited(const struct conn *conn)
{
    return conn->state == CONN_SENDING || conn->state == CONN_HEAD ||
           conn->state == CONN_BODY;
}

static void give_up(struct client *c, struct conn *conn, const char *why)
{
    complain(c, conn, why);
    if (c->holding) {
        c->tally.lost++;
    } else {
        c->tally.failed++;
    }
    if (conn->state == CONN_CONNECTING) {
        c->connecting--;
    } else if (is_awaited(conn)) {
        c->awaited--;
    }
    close(conn->fd);
    conn->state = CONN_CLOSED;
}

static void send_more(struct client *c, struct conn *conn)
{
    const struct options *o = c->options;

    while (conn->sent < o->request_bytes) {
        ssize_t n = send(conn->fd, o->request + conn->sent,
            o->request_bytes - conn->sent, MSG_NOSIGNAL);

        if (n >= 0) {
            conn->sent += (size_t)n;
        } else if (errno == EAGAIN) {
            return; /* an edge comes when there is room */
        } else if (errno != EINTR) {
            give_up(c, conn, strerror(errno));
            return;
        }
    }
    conn->state = CONN_HEAD;
}

static void start_request(struct client *c, struct conn *conn)
{
    conn->state = CONN_SENDING;
    conn->sent = 0;
    conn->status = 0;
    conn->body_left = 0;
    conn->has_length = false;
    conn->line_bytes = 0;
    c->awaited++;
    c->tally.requests++;
    send_more(c, conn);
}

static void finish_reply(struct client *c, struct conn *conn)
{
    if (conn->status < 200 || conn->status > 299) {
        char why[32];

        snprintf(why, sizeof(why), "status %d", conn->status);
        give_up(c, conn, why);
        return;
    }
    conn->state = CONN_IDLE;
    c->awaited--;
    c->tally.replies++;
}

/* A line of the reply's head, without its end. False when it is none. */
static bool take_line(struct client *c, struct conn *conn)
{
    static const char length[] = "Content-Length:";
    static const char version[] = "HTTP/1.1 ";

    if (conn->line_bytes > 0 && conn->line[conn->line_bytes - 1] == '\r') {
        conn->line_bytes--;
    }
    conn->line[conn->line_bytes] = '\0';
    if (conn->status == 0) {
        if (strncmp(conn->line, version, strlen(version)) != 0) {
            give_up(c, conn, "no HTTP/1.1 status line");
            return false;
        }
        conn->status = atoi(conn->line + strlen(version));
    } else if (conn->line_bytes == 0) {
        if (!conn->has_length) {
            give_up(c, conn, "no Content-Length");
            return false;
        }
        conn->state = CONN_BODY;
    } else if (strncasecmp(conn->line, length, strlen(length)) == 0) {
        conn->has_length = true;
        conn->body_left = strtoull(conn->line + strlen(length), NULL, 10);
    }
    conn->line_bytes = 0;
    return true;
}

static void take_input(
    struct client *c, struct conn *conn, const char *input, size_t bytes)
{
    size_t at = 0;

    if (!is_awaited(conn)) {
        give_up(c, conn, "bytes that belong to no reply");
        return;
    }
    if (conn->state == CONN_SENDING) {
        conn->state = CONN_HEAD; /* a refusal may overtake the request */
    }
    c->tally.reply_bytes += bytes;
    while (at < bytes && conn->state == CONN_HEAD) {
        char byte = input[at++];

        if (byte == '\n') {
            if (!take_line(c, conn)) {
                return;
            }
        } else if (conn->line_bytes < LINE_MAX_BYTES - 1) {
            conn->line[conn->line_bytes++] = byte; /* the rest of a long line
                                                      is of no interest */
        }
    }
    if (conn->state != CONN_BODY) {
        return;
    }
    if (bytes - at > conn->body_left) {
        give_up(c, conn, "bytes after the reply");
        return;
    }
    conn->body_left -= bytes - at;
    if (conn->body_left == 0) {
        finish_reply(c, conn);
    }
}

static void read_all(struct client *c, struct conn *conn)
{
    while (conn->state != CONN_CLOSED) {
        ssize_t n = read(conn->fd, c->input, READ_BYTES);

        if (n > 0) {
            take_input(c, conn, c->input, (size_t)n);
            if (n < READ_BYTES) {
                return; /* drained: the next byte is a new edge */
            }
        } else if (n == 0) {
            give_up(c, conn, "closed by the server");
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            give_up(c, conn, strerror(errno));
        }
    }
}

static void finish_connect(struct client *c, struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 ||
        error != 0) {
        give_up(c, conn, strerror(error));
        return;
    }
    conn->state = CONN_IDLE;
    c->connecting--;
    c->tally.connections++;
}

static void start_connect(struct client *c, struct conn *conn, int number)
{
    const struct options *o = c->options;
    int on = 1;

    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        die("socket");
    }
    if (setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
        die("setsockopt");
    }
    if (o->sources > 0) {
        struct sockaddr_in source = {
            .sin_family = AF_INET,
            .sin_addr.s_addr =
                htonl(INADDR_LOOPBACK + 1 + (uint32_t)(number % o->sources)),
        };

        /* Choose the port at connect, when the peer is known: else a source
         * address has only so many ports for all peers together. */
        if (setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
                sizeof(on)) != 0 ||
            bind(conn->fd, (const struct sockaddr *)&source, sizeof(source)) !=
                0) {
            die("bind");
        }
    }
    conn->state = CONN_CONNECTING;
    c->connecting++;
    if (connect(conn->fd, (const struct sockaddr *)&o->server,
            sizeof(o->server)) != 0 &&
        errno != EINPROGRESS) {
        give_up(c, conn, strerror(errno));
        return;
    }
    watch(c, conn->fd, conn, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void handle(struct client *c, struct conn *conn, unsigned events)
{
    if (conn->state == CONN_CONNECTING) {
        finish_connect(c, conn);
    }
    if (conn->state == CONN_SENDING && (events & EPOLLOUT)) {
        send_more(c, conn);
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        read_all(c, conn);
    }
}

/* Waits for one batch of events. False when nothing came in time. */
static bool wait_once(struct client *c, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(c->epoll, events, EVENTS, timeout_ms);

    if (count < 0 && errno != EINTR) {
        die("epoll_wait");
    }
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == NULL) {
            c->released = true;
        } else {
            handle(c, events[i].data.ptr, events[i].events);
        }
    }
    if (c->released && !c->holding) {
        exit(EXIT_FAILURE); /* nobody is left to tell */
    }
    return count != 0;
}

static void fail_the_awaited(struct client *c)
{
    for (int i = 0; i < c->count; i++) {
        struct conn *conn = &c->conns[i];

        if (conn->state == CONN_CONNECTING || is_awaited(conn)) {
            give_up(c, conn, "nothing came in time");
        }
    }
}

static void open_all(struct client *c)
{
    for (int i = 0; i < c->count || c->connecting > 0;) {
        if (i < c->count && c->connecting < CONNECTING_MAX) {
            start_connect(c, &c->conns[i], c->first + i);
            i++;
        } else if (!wait_once(c, c->options->timeout_ms)) {
            fail_the_awaited(c);
        }
    }
}

/* A request on each of a slice of the connections, then all their replies. */
static void step(struct client *c, int from, int to)
{
    for (int i = from; i < to; i++) {
        if (c->conns[i].state == CONN_IDLE) {
            start_request(c, &c->conns[i]);
        }
    }
    while (c->awaited > 0) {
        if (!wait_once(c, c->options->timeout_ms)) {
            fail_the_awaited(c);
        }
    }
}

static void request_all(struct client *c)
{
    int at_once = c->options->at_once;

    for (int round = 0; round < c->options->requests; round++) {
        for (int from = 0; from < c->count; from += at_once) {
            step(
                c, from, c->count - from < at_once ? c->count : from + at_once);
        }
    }
}

static void report(int to, const struct tally *tally)
{
    if (write(to, tally, sizeof(*tally)) != (ssize_t)sizeof(*tally)) {
        die("pipe");
    }
}

static void run_child(
    const struct options *o, int first, int count, int to, int released)
{
    struct client c = {.options = o, .first = first, .count = count};

    c.conns = calloc((size_t)count, sizeof(*c.conns));
    c.input = malloc(READ_BYTES);
    c.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c.conns == NULL || c.input == NULL || c.epoll < 0) {
        die("start");
    }
    watch(&c, released, NULL, EPOLLIN);
    open_all(&c);
    request_all(&c);
    report(to, &c.tally);
    if (o->keep) {
        c.holding = true;
        while (!c.released) {
            wait_once(&c, -1);
        }
        report(to, &c.tally);
    }
    free(c.conns);
    free(c.input);
    exit(EXIT_SUCCESS);
}

static struct tally collect(int from, int processes)
{
    struct tally sum = {0};

    for (int i = 0; i < processes; i++) {
        struct tally one;

        if (read(from, &one, sizeof(one)) != (ssize_t)sizeof(one)) {
            fprintf(stderr, "poke: a process ended early\n");
            exit(EXIT_FAILURE);
        }
        sum.connections += one.connections;
        sum.requests += one.requests;
        sum.replies += one.replies;
        sum.reply_bytes += one.reply_bytes;
        sum.failed += one.failed;
        sum.lost += one.lost;
    }
    return sum;
}

/* The write ends of `release` are closed in the children, so that they notice
 * when the parent closes its own, or is gone. */
static void start_children(
    const struct options *o, const int results[2], const int release[2])
{
    int share = o->connections / o->processes;
    int rest = o->connections % o->processes;
    int first = 0;

    for (int i = 0; i < o->processes; i++) {
        int count = share + (i < rest ? 1 : 0);
        pid_t pid = fork();

        if (pid < 0) {
            die("fork");
        }
        if (pid == 0) {
            close(results[0]);
            close(release[1]);
            run_child(o, first, count, results[1], release[0]);
        }
        first += count;
    }
    close(results[1]);
    close(release[0]);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void await_end_of_input(void)
{
    char rest[256];
    ssize_t n;

    do {
        n = read(STDIN_FILENO, rest, sizeof(rest));
    } while (n > 0 || (n < 0 && errno == EINTR));
}

static int run(const struct options *o)
{
    int results[2];
    int release[2];
    double start = now();
    struct tally sum;

    if (pipe(results) != 0 || pipe(release) != 0) {
        die("pipe");
    }
    start_children(o, results, release);
    sum = collect(results[0], o->processes);
    printf("connections=%" PRIu64 " requests=%" PRIu64 " replies=%" PRIu64
           " reply_bytes=%" PRIu64 " failed=%" PRIu64 " seconds=%.3f\n",
        sum.connections, sum.requests, sum.replies, sum.reply_bytes, sum.failed,
        now() - start);
    fflush(stdout);
    if (o->keep) {
        await_end_of_input();
        close(release[1]);
        sum = collect(results[0], o->processes);
        printf("lost=%" PRIu64 "\n", sum.lost);
    }
    while (wait(NULL) > 0) {
    }
    return sum.failed == 0 && sum.lost == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void refuse(const char *why)
{
    fprintf(stderr, "poke: %s\n%s", why, usage);
    exit(EXIT_USAGE);
}

static int number(const char *text, int lowest, int highest)
{
    char *end = NULL;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < lowest ||
        value > highest) {
        refuse("a number is wrong, or out of range");
    }
    return (int)value;
}

static void take_request_text(struct options *o, const char *text)
{
    char *out = malloc(strlen(text) + 1);
    size_t bytes = 0;

    if (out == NULL) {
        die("request");
    }
    for (const char *at = text; *at != '\0'; at++) {
        char byte = *at;

        if (byte == '\\' && at[1] != '\0') {
            at++;
            byte = *at == 'r' ? '\r' : *at == 'n' ? '\n' : *at;
        }
        out[bytes++] = byte;
    }
    free(o->request);
    o->request = out;
    o->request_bytes = bytes;
}

static void take_request_file(struct options *o, const char *path)
{
    FILE *file = fopen(path, "rb");
    char *out = malloc(REQUEST_MAX);

    if (file == NULL || out == NULL) {
        die(path);
    }
    o->request_bytes = fread(out, 1, REQUEST_MAX, file);
    if (ferror(file) || !feof(file)) {
        refuse("the request cannot be read, or is too large");
    }
    fclose(file);
    free(o->request);
    o->request = out;
}

static void take_server(struct options *o, const char *text)
{
    const char *colon = strrchr(text, ':');
    char address[INET_ADDRSTRLEN] = "127.0.0.1";

    if (colon != NULL) {
        size_t bytes = (size_t)(colon - text);

        if (bytes >= sizeof(address)) {
            refuse("the address is not an IPv4 one");
        }
        memcpy(address, text, bytes);
        address[bytes] = '\0';
        text = colon + 1;
    }
    o->server.sin_family = AF_INET;
    o->server.sin_port = htons((in_port_t)number(text, 1, 65535));
    if (inet_pton(AF_INET, address, &o->server.sin_addr) != 1) {
        refuse("the address is not an IPv4 one");
    }
}

static void take_options(struct options *o, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "q:f:c:n:i:p:s:t:k")) != -1) {
        switch (option) {
        case 'q':
            take_request_text(o, optarg);
            break;
        case 'f':
            take_request_file(o, optarg);
            break;
        case 'c':
            o->connections = number(optarg, 1, CONNECTIONS_MAX);
            break;
        case 'n':
            o->requests = number(optarg, 0, 1000000000);
            break;
        case 'i':
            o->at_once = number(optarg, 1, CONNECTIONS_MAX);
            break;
        case 'p':
            o->processes = number(optarg, 1, PROCESSES_MAX);
            break;
        case 's':
            o->sources = number(optarg, 1, SOURCES_MAX);
            break;
        case 't':
            o->timeout_ms = number(optarg, 1, 86400) * 1000;
            break;
        case 'k':
            o->keep = true;
            break;
        default:
            refuse("what is that?");
        }
    }
    if (optind != argc - 1) {
        refuse("one server is wanted");
    }
    take_server(o, argv[optind]);
    if (o->requests > 0 && o->request_bytes == 0) {
        refuse("a request is wanted");
    }
    if (o->processes > o->connections) {
        o->processes = o->connections;
    }
}

int main(int argc, char **argv)
{
    struct options o = {
        .connections = 64,
        .requests = 1,
        .at_once = CONNECTIONS_MAX,
        .processes = 1,
        .timeout_ms = 120 * 1000,
    };
    struct rlimit limit;
    int rc;

    take_options(&o, argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    rc = run(&o);
    free(o.request);
    return rc;
}
