/*
 * floor - what a request costs before any code looks at it.
 *
 * A bare epoll server: it reads, sends a constant, and parses nothing. Its CPU
 * time per request is the price of the system calls alone, on this machine, at
 * this moment; compare.sh divides by it. It is made like hcsd where that
 * changes the price: a listener, an epoll and a descriptor table per loop,
 * edge-triggered, a batch of accepts, the same socket options, a reply of the
 * size of /health's.
 *
 * It answers each read, not each request, so it must not be sent pipelined
 * requests, nor any that come in pieces.
 *
 * Environment:
 *   PORT               8080; 0 picks one. Bound to 127.0.0.1.
 *   LOOPS              1
 *   REPLY_BYTES        size of the reply's body; the size of /health's
 *   CLOSE              1: close after each reply, as if asked to
 *   PRIVATE_FD_TABLES  on; off shares one table between all threads
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    EVENTS = 512,
    LOOPS_MAX = 1024,
    READ_BYTES = 64 * 1024,
    REPLY_BYTES_MAX = 1024 * 1024,
    REPLY_HEAD_MAX = 512,
};

static const char health[] = "{\"status\":\"ok\"}";

/* Written by main before the first loop starts, only read afterwards. */
struct floor {
    int listeners[LOOPS_MAX];
    int loops;
    bool private_tables;
    bool close_each;
    char *reply;
    size_t reply_bytes;
};

struct loop {
    const struct floor *floor;
    int index;
};

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static int setting(const char *name, int otherwise, int lowest, int highest)
{
    const char *text = getenv(name);
    char *end = NULL;
    long value;

    if (text == NULL || *text == '\0') {
        return otherwise;
    }
    errno = 0;
    value = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < lowest || value > highest) {
        fprintf(stderr, "floor: %s=%s: want %d to %d\n", name, text, lowest,
            highest);
        exit(EXIT_FAILURE);
    }
    return (int)value;
}

static void make_reply(struct floor *f, size_t body_bytes)
{
    char *reply = malloc(REPLY_HEAD_MAX + body_bytes);
    int head;

    if (reply == NULL) {
        die("reply");
    }
    head = snprintf(reply, REPLY_HEAD_MAX,
        "HTTP/1.1 200 OK\r\n"
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        "Content-Type: application/json\r\n"
        "Content-Length: %zu\r\n"
        "%s"
        "Cache-Control: no-store\r\n"
        "X-Request-ID: 00000000-0000-7000-8000-000000000000\r\n"
        "\r\n",
        body_bytes, f->close_each ? "Connection: close\r\n" : "");
    if (body_bytes == sizeof(health) - 1) {
        memcpy(reply + head, health, body_bytes);
    } else {
        memset(reply + head, '0', body_bytes);
    }
    f->reply = reply;
    f->reply_bytes = (size_t)head + body_bytes;
}

static void enable(int fd, int level, int option)
{
    int on = 1;

    if (setsockopt(fd, level, option, &on, sizeof(on)) != 0) {
        die("setsockopt");
    }
}

/* The first listener is bound before it allows for siblings: a second floor on
 * the same port then fails, instead of taking half of the connections. */
static int open_listener(in_port_t port, bool first)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET,
        .sin_port = port,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        die("socket");
    }
    enable(fd, SOL_SOCKET, SO_REUSEADDR);
    if (!first) {
        enable(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0) {
        die("bind");
    }
    if (first) {
        enable(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    /* Accepted sockets inherit it: no system call for each connection. */
    enable(fd, IPPROTO_TCP, TCP_NODELAY);
    if (listen(fd, BACKLOG) != 0) {
        die("listen");
    }
    return fd;
}

static in_port_t port_of(int fd)
{
    struct sockaddr_in at = {0};
    socklen_t len = sizeof(at);

    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        die("getsockname");
    }
    return at.sin_port;
}

/* A table with one user costs the kernel less at each call. Some containers
 * forbid the one call and allow the other; the range given is empty. */
static void take_private_table(const struct loop *loop)
{
    const struct floor *f = loop->floor;

    if (syscall(SYS_close_range, ~0u, ~0u, CLOSE_RANGE_UNSHARE) != 0 &&
        unshare(CLONE_FILES) != 0) {
        if (loop->index == 0) {
            fprintf(stderr, "floor: descriptor tables are shared: %s\n",
                strerror(errno));
        }
        return;
    }
    for (int i = 0; i < f->loops; i++) {
        if (i != loop->index) {
            close(f->listeners[i]);
        }
    }
}

static void watch(int epoll, int fd, unsigned what)
{
    struct epoll_event event = {.events = what, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

static void accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            watch(epoll, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            die("accept");
        }
    }
}

/* A short read means that the socket is drained: the next byte is a new edge.
 * A reply that does not fit into the socket is beyond a floor: the client sees
 * its connection close, and its run fails. */
static void answer(const struct floor *f, int fd, char *input)
{
    ssize_t got;

    do {
        got = read(fd, input, READ_BYTES);
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        if (got <= 0 || send(fd, f->reply, f->reply_bytes, MSG_NOSIGNAL) !=
                            (ssize_t)f->reply_bytes) {
            close(fd);
            return;
        }
    } while (got == READ_BYTES);
    if (f->close_each) {
        close(fd);
    }
}

static void *run_loop(void *argument)
{
    const struct loop *loop = argument;
    const struct floor *f = loop->floor;
    struct epoll_event events[EVENTS];
    char input[READ_BYTES];
    int listener = f->listeners[loop->index];
    int epoll;

    if (f->private_tables) {
        take_private_table(loop);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) {
        die("epoll_create1");
    }
    watch(epoll, listener, EPOLLIN | EPOLLET);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        if (count < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd == listener) {
                accept_all(epoll, listener);
            } else if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
                close(fd);
            } else {
                answer(f, fd, input);
            }
        }
    }
    return NULL;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(void)
{
    static struct floor f;
    static struct loop loops[LOOPS_MAX];
    const char *tables = getenv("PRIVATE_FD_TABLES");
    in_port_t port = htons((in_port_t)setting("PORT", 8080, 0, 65535));

    f.loops = setting("LOOPS", 1, 1, LOOPS_MAX);
    f.close_each = setting("CLOSE", 0, 0, 1) != 0;
    f.private_tables = tables == NULL || strcmp(tables, "off") != 0;
    make_reply(&f, (size_t)setting("REPLY_BYTES", (int)sizeof(health) - 1, 0,
                       REPLY_BYTES_MAX));
    raise_descriptor_limit();
    for (int i = 0; i < f.loops; i++) {
        f.listeners[i] = open_listener(port, i == 0);
        port = port_of(f.listeners[i]); /* the siblings of PORT=0 join it */
    }
    for (int i = 0; i < f.loops; i++) {
        pthread_t thread;
        int rc;

        loops[i] = (struct loop){.floor = &f, .index = i};
        rc = pthread_create(&thread, NULL, run_loop, &loops[i]);
        if (rc != 0) {
            errno = rc;
            die("pthread_create");
        }
    }
    printf("listening on 127.0.0.1:%u\n", (unsigned)ntohs(port));
    fflush(stdout);
    for (;;) {
        pause();
    }
}
