#include "fake.h"

#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST = 1 << 20, /* of our numbers: none of the process's own */
    FILES_MAX = 16 * 1024,
    WATCHED_MAX = 64,
};

enum kind { CLOSED, EPOLL, BELL, COPY, LISTENER, SOCKET };

struct file {
    enum kind kind;
    struct fake_client *client; /* of a socket */
    uint64_t rings;             /* of a bell */
    bool watched;
    bool edge;
    uint64_t edge_order;
    uint32_t events; /* that are watched for */
    epoll_data_t data;
};

static struct {
    bool running;
    fake_world_fn *world;
    void *arg;
    struct file files[FILES_MAX];
    size_t files_used;
    size_t open;
    size_t open_max;
    struct file *watched[WATCHED_MAX];
    size_t watched_count;
    uint64_t edges;
    struct file *listener;
    struct fake_client clients[FAKE_CLIENTS];
    size_t backlog[FAKE_CLIENTS];
    size_t backlog_length;
    unsigned accepted;
    uint64_t now_ns;
    uint64_t random;
    bool memory_is_watched;
    size_t allocations_left; /* until one fails; 0: none will */
    int accept_fault;
    int control_fault;
} fake;

/* --- Descriptors. */

static bool is_ours(int fd)
{
    return fake.running && fd >= FIRST;
}

static struct file *file_of(int fd, const char *call)
{
    size_t index = (size_t)(fd - FIRST);

    fuzz_check(fd >= FIRST && index < fake.files_used, "%s of descriptor %d",
        call, fd);
    fuzz_check(
        fake.files[index].kind != CLOSED, "%s of a closed descriptor", call);
    return &fake.files[index];
}

static int number_of(const struct file *file)
{
    return FIRST + (int)(file - fake.files);
}

/* NULL and errno when there may be no more. */
static struct file *open_file(enum kind kind)
{
    struct file *file;

    if (fake.open >= fake.open_max) {
        errno = EMFILE;
        return NULL;
    }
    fuzz_check(fake.files_used < FILES_MAX, "descriptors without end");
    file = &fake.files[fake.files_used++];
    *file = (struct file){.kind = kind};
    fake.open++;
    return file;
}

static void unwatch(struct file *file)
{
    for (size_t i = 0; i < fake.watched_count; i++) {
        if (fake.watched[i] == file) {
            fake.watched[i] = fake.watched[--fake.watched_count];
        }
    }
    file->watched = false;
    file->edge = false;
}

static void close_file(struct file *file)
{
    if (file->watched) {
        unwatch(file);
    }
    if (file->client != NULL) {
        file->client->closed = true;
        file->client = NULL;
    }
    if (file == fake.listener) {
        fake.listener = NULL;
        for (size_t i = 0; i < fake.backlog_length; i++) {
            fake.clients[fake.backlog[i]].closed = true;
        }
        fake.backlog_length = 0;
    }
    file->kind = CLOSED;
    fake.open--;
}

static struct file *file_of_client(const struct fake_client *client)
{
    for (size_t i = 0; i < fake.watched_count; i++) {
        if (fake.watched[i]->client == client) {
            return fake.watched[i];
        }
    }
    return NULL;
}

/* --- What is ready. */

static size_t room_of(const struct fake_client *client)
{
    size_t unacked = client->out_length - client->out_acked;

    if (client->out_limit == 0) {
        return SIZE_MAX;
    }
    return unacked < client->out_limit ? client->out_limit - unacked : 0;
}

/* Only a third of the buffer is room that is worth telling of. */
static bool is_writable(const struct fake_client *client)
{
    return client->shut || client->reset || client->out_limit == 0 ||
           room_of(client) >= client->out_limit / 3 + 1;
}

static uint32_t socket_events(struct fake_client *client)
{
    uint32_t events = 0;

    if (client->in_read < client->in_arrived || client->fin || client->reset) {
        events |= EPOLLIN;
    }
    if (client->fin || client->reset) {
        events |= EPOLLRDHUP;
    }
    if (client->reset || (client->fin && client->shut)) {
        events |= EPOLLHUP;
    }
    if (client->error != 0) {
        events |= EPOLLERR;
    }
    if (is_writable(client)) {
        events |= EPOLLOUT;
    } else {
        client->no_space = true; /* who asks is told when there is */
    }
    return events;
}

static uint32_t file_events(const struct file *file)
{
    uint32_t events = 0;

    switch (file->kind) {
    case BELL:
        events = file->rings > 0 ? EPOLLIN : 0;
        break;
    case LISTENER:
        events = fake.backlog_length > 0 ? EPOLLIN : 0;
        break;
    case SOCKET:
        events = socket_events(file->client);
        break;
    case CLOSED:
    case EPOLL:
    case COPY:
        break;
    }
    return events & (file->events | EPOLLERR | EPOLLHUP);
}

static void tell(struct file *file)
{
    if (file != NULL && file->watched && !file->edge) {
        file->edge = true;
        file->edge_order = fake.edges++;
    }
}

static void tell_client(const struct fake_client *client)
{
    tell(file_of_client(client));
}

bool fake_ready(void)
{
    for (size_t i = 0; i < fake.watched_count; i++) {
        if (fake.watched[i]->edge && file_events(fake.watched[i]) != 0) {
            return true;
        }
    }
    return false;
}

static struct file *oldest_edge(void)
{
    struct file *oldest = NULL;

    for (size_t i = 0; i < fake.watched_count; i++) {
        struct file *file = fake.watched[i];

        if (file->edge &&
            (oldest == NULL || file->edge_order < oldest->edge_order)) {
            oldest = file;
        }
    }
    return oldest;
}

static int collect(struct epoll_event *events, int most)
{
    int count = 0;

    while (count < most) {
        struct file *file = oldest_edge();

        if (file == NULL) {
            break;
        }
        file->edge = false;
        if (file_events(file) != 0) {
            events[count].events = file_events(file);
            events[count].data = file->data;
            count++;
        }
    }
    return count;
}

/* --- The clients. */

struct fake_client *fake_client(size_t index)
{
    return &fake.clients[index];
}

void fake_connect(size_t index)
{
    struct fake_client *client = &fake.clients[index];

    if (client->connected || fake.listener == NULL) {
        return;
    }
    client->connected = true;
    fake.backlog[fake.backlog_length++] = index;
    tell(fake.listener);
}

static bool is_over(const struct fake_client *client)
{
    return !client->connected || client->closed || client->reset ||
           client->fin || client->fin_late;
}

static void grow(char **bytes, size_t length, size_t more)
{
    /* In steps, or long streams would be copied again for each piece. */
    size_t step = 4096;
    size_t old = (length + step - 1) / step;
    size_t new = (length + more + step - 1) / step;

    if (new > old) {
        bool watched = fake.memory_is_watched;

        fake.memory_is_watched = false;
        *bytes = realloc(*bytes, new *step);
        fuzz_check(*bytes != NULL, "no memory");
        fake.memory_is_watched = watched;
    }
}

void fake_arrive(size_t index, const char *bytes, size_t length, bool late)
{
    struct fake_client *client = &fake.clients[index];

    if (is_over(client) || length == 0) {
        return;
    }
    grow(&client->in, client->in_length, length);
    memcpy(client->in + client->in_length, bytes, length);
    client->in_length += length;
    if (!late) {
        client->in_arrived = client->in_length; /* and what was late before */
        tell_client(client);
    }
}

void fake_fin(size_t index)
{
    struct fake_client *client = &fake.clients[index];

    if (is_over(client)) {
        return;
    }
    if (client->in_arrived < client->in_length) {
        client->fin_late = true;
    } else {
        client->fin = true;
        tell_client(client);
    }
}

void fake_reset(size_t index, int error)
{
    struct fake_client *client = &fake.clients[index];

    if (!client->connected || client->closed || client->reset) {
        return;
    }
    client->in_length = client->in_arrived; /* what was on its way is lost */
    client->reset = true;
    client->error = error;
    tell_client(client);
}

static void tell_of_room(struct fake_client *client)
{
    if (client->no_space && is_writable(client)) {
        client->no_space = false;
        tell_client(client);
    }
}

void fake_limit(size_t index, size_t bytes)
{
    struct fake_client *client = &fake.clients[index];

    client->out_limit = bytes;
    if (bytes == 0) {
        client->out_acked = client->out_length;
    }
    tell_of_room(client);
}

void fake_take(size_t index, size_t bytes)
{
    struct fake_client *client = &fake.clients[index];
    size_t unacked = client->out_length - client->out_acked;

    client->out_acked += bytes < unacked ? bytes : unacked;
    tell_of_room(client);
}

static void let_arrive(struct fake_client *client)
{
    if (client->in_arrived < client->in_length) {
        client->in_arrived = client->in_length;
        if (client->fin_late) {
            client->fin = true;
        }
        tell_client(client);
    }
}

void fake_calm(void)
{
    fake.open_max = SIZE_MAX;
    fake.allocations_left = 0;
    fake.accept_fault = 0;
    fake.control_fault = 0;
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        struct fake_client *client = &fake.clients[i];

        client->read_fault = 0;
        client->send_fault = 0;
        if (!client->reset) {
            let_arrive(client);
        }
        fake_limit(i, 0);
    }
}

/* --- All of it. */

void fake_begin(fake_world_fn *world, void *arg)
{
    fuzz_check(!fake.running, "a kernel in a kernel");
    fake.running = true;
    fake.world = world;
    fake.arg = arg;
    fake.files_used = 0;
    fake.open = 0;
    fake.open_max = SIZE_MAX;
    fake.watched_count = 0;
    fake.edges = 0;
    fake.listener = NULL;
    fake.backlog_length = 0;
    fake.accepted = 0;
    fake.now_ns = UINT64_C(1000) * 1000000000;
    fake.random = 1;
    fake.memory_is_watched = false;
    fake.allocations_left = 0;
    fake.accept_fault = 0;
    fake.control_fault = 0;
    memset(fake.clients, 0, sizeof fake.clients);
}

void fake_end(void)
{
    for (size_t i = 0; i < fake.files_used; i++) {
        fuzz_check(fake.files[i].kind == CLOSED,
            "a descriptor is left open, of kind %d", (int)fake.files[i].kind);
    }
    fake.running = false;
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        free(fake.clients[i].in);
        free(fake.clients[i].out);
    }
}

int fake_listen(void)
{
    fake.listener = open_file(LISTENER);
    return number_of(fake.listener);
}

uint64_t fake_now_ms(void)
{
    return fake.now_ns / 1000000;
}

void fake_advance(uint64_t ms)
{
    fake.now_ns += ms * 1000000;
}

void fake_spare_descriptors(size_t count)
{
    fake.open_max = fake.open + count;
}

void fake_fail_allocation(size_t after)
{
    fake.allocations_left = after + 1;
}

void fake_fail_accept(int error)
{
    fake.accept_fault = error;
}

void fake_fail_control(int error)
{
    fake.control_fault = error;
}

void fake_watch_memory(bool watch)
{
    fake.memory_is_watched = watch;
}

unsigned fake_accepted(void)
{
    return fake.accepted;
}

/* --- System calls: descriptors. Those that are not ours are passed on. */

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_dup3(int from, int to, int flags);
int __real_fcntl(int fd, int operation, ...);
int __wrap_fcntl(int fd, int operation, ...);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd_write(int fd, eventfd_t count);

int __wrap_close(int fd)
{
    if (!is_ours(fd)) {
        fuzz_check(!fake.running, "close of descriptor %d", fd);
        return __real_close(fd);
    }
    close_file(file_of(fd, "close"));
    return 0;
}

int __wrap_dup3(int from, int to, int flags)
{
    struct file *file = file_of(to, "dup3");

    fuzz_check(
        file_of(from, "dup3")->kind == BELL && from != to && flags == O_CLOEXEC,
        "dup3 of something else");
    close_file(file);
    *file = (struct file){.kind = COPY};
    fake.open++;
    return to;
}

int __wrap_fcntl(int fd, int operation, ...)
{
    struct file *file;
    va_list rest;
    int argument;

    va_start(rest, operation);
    argument = va_arg(rest, int);
    va_end(rest);
    if (!is_ours(fd)) {
        return __real_fcntl(fd, operation, argument);
    }
    (void)file_of(fd, "fcntl");
    fuzz_check(operation == F_DUPFD_CLOEXEC, "fcntl of another kind");
    file = open_file(COPY);
    return file != NULL ? number_of(file) : -1;
}

int __wrap_eventfd(unsigned count, int flags)
{
    struct file *file;

    fuzz_check(count == 0 && flags == (EFD_NONBLOCK | EFD_CLOEXEC),
        "a bell of another kind");
    file = open_file(BELL);
    return file != NULL ? number_of(file) : -1;
}

int __wrap_eventfd_write(int fd, eventfd_t count)
{
    struct file *file = file_of(fd, "eventfd_write");

    fuzz_check(file->kind == BELL, "a ring of what is no bell");
    file->rings += count;
    tell(file); /* each write is an edge, read or not */
    return 0;
}

/* --- System calls: epoll. */

int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(
    int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_wait(
    int epoll, struct epoll_event *events, int most, int timeout_ms);

int __wrap_epoll_create1(int flags)
{
    struct file *file = open_file(EPOLL);

    fuzz_check(flags == EPOLL_CLOEXEC, "epoll of another kind");
    return file != NULL ? number_of(file) : -1;
}

int __wrap_epoll_ctl(
    int epoll, int operation, int fd, struct epoll_event *event)
{
    struct file *file = file_of(fd, "epoll_ctl");

    (void)file_of(epoll, "epoll_ctl");
    if (operation != EPOLL_CTL_DEL && fake.control_fault != 0) {
        errno = fake.control_fault;
        fake.control_fault = 0;
        return -1;
    }
    fuzz_check(file->watched == (operation != EPOLL_CTL_ADD),
        "watched twice, or not at all");
    if (operation == EPOLL_CTL_DEL) {
        unwatch(file);
        return 0;
    }
    fuzz_check((event->events & EPOLLET) != 0, "not edge-triggered");
    if (operation == EPOLL_CTL_ADD) {
        fuzz_check(fake.watched_count < WATCHED_MAX, "too many are watched");
        fake.watched[fake.watched_count++] = file;
        file->watched = true;
    }
    file->events = event->events;
    file->data = event->data;
    if (file_events(file) != 0) {
        tell(file);
    }
    return 0;
}

int __wrap_epoll_wait(
    int epoll, struct epoll_event *events, int most, int timeout_ms)
{
    bool watched = fake.memory_is_watched;
    int count = -1;

    (void)file_of(epoll, "epoll_wait");
    fake.memory_is_watched = false;
    if (fake.world(fake.arg, timeout_ms)) {
        count = collect(events, most);
    } else {
        errno = EINTR;
    }
    fake.memory_is_watched = watched;
    return count;
}

/* --- System calls: sockets. */

int __wrap_accept4(
    int fd, struct sockaddr *address, socklen_t *length, int flags);
int __wrap_shutdown(int fd, int how);
ssize_t __real_read(int fd, void *at, size_t room);
ssize_t __wrap_read(int fd, void *at, size_t room);
ssize_t __wrap_recv(int fd, void *at, size_t room, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_getsockopt(
    int fd, int level, int option, void *value, socklen_t *length);

static struct fake_client *client_of(int fd, const char *call)
{
    struct file *file = file_of(fd, call);

    fuzz_check(file->kind == SOCKET, "%s of what is no socket", call);
    return file->client;
}

int __wrap_accept4(
    int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    struct file *file = file_of(fd, "accept4");
    struct fake_client *client;

    fuzz_check(file->kind == LISTENER && address != NULL &&
                   *length >= sizeof(struct sockaddr_in) &&
                   flags == (SOCK_NONBLOCK | SOCK_CLOEXEC),
        "accept4 of another kind");
    if (fake.accept_fault != 0) {
        errno = fake.accept_fault;
        fake.accept_fault = 0;
        return -1;
    }
    /* The kernel looks for a descriptor first (inet_csk_accept comes later). */
    if (fake.open < fake.open_max && fake.backlog_length == 0) {
        errno = EAGAIN;
        return -1;
    }
    file = open_file(SOCKET);
    if (file == NULL) {
        return -1;
    }
    client = &fake.clients[fake.backlog[0]];
    fake.backlog_length--;
    memmove(fake.backlog, fake.backlog + 1,
        fake.backlog_length * sizeof fake.backlog[0]);
    client->accepted = true;
    file->client = client;
    fake.accepted++;
    memcpy(address,
        &(struct sockaddr_in){
            .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
        sizeof(struct sockaddr_in));
    *length = sizeof(struct sockaddr_in);
    return number_of(file);
}

int __wrap_shutdown(int fd, int how)
{
    struct fake_client *client = client_of(fd, "shutdown");

    fuzz_check(how == SHUT_WR && !client->shut, "a second shutdown");
    if (client->reset) {
        errno = ENOTCONN;
        return -1;
    }
    client->shut = true;
    tell_client(client);
    return 0;
}

/* What a read gives, before the bytes: 0 at the end, -1 and errno. */
static ssize_t take_input(struct fake_client *client, size_t room)
{
    size_t left = client->in_arrived - client->in_read;
    size_t n = left < room ? left : room;

    if (client->read_fault != 0) {
        errno = client->read_fault;
        client->read_fault = 0;
        return -1;
    }
    if (left > 0) {
        client->in_read += n;
        return (ssize_t)n;
    }
    if (client->error != 0) {
        errno = client->error;
        client->error = 0;
        return -1;
    }
    if (client->fin || client->reset) {
        return 0;
    }
    errno = EAGAIN;
    return -1;
}

static ssize_t receive(struct fake_client *client, void *at, size_t room)
{
    size_t before = client->in_read;
    ssize_t n;

    fuzz_check(room > 0, "a read without room"); /* its 0 would be an end */
    n = take_input(client, room);
    if (n > 0 && at != NULL) {
        memcpy(at, client->in + before, (size_t)n);
    }
    if (n > 0 || errno == EAGAIN) {
        int error = errno;

        let_arrive(client);
        errno = error;
    }
    return n;
}

ssize_t __wrap_read(int fd, void *at, size_t room)
{
    return is_ours(fd) ? receive(client_of(fd, "read"), at, room)
                       : __real_read(fd, at, room);
}

ssize_t __wrap_recv(int fd, void *at, size_t room, int flags)
{
    struct fake_client *client = client_of(fd, "recv");

    (void)at;
    fuzz_check(flags == MSG_TRUNC, "recv of another kind");
    return receive(client, NULL, room);
}

/* Errors after which nothing can be sent any more. */
static bool is_final(int error)
{
    return error != EINTR && error != EAGAIN && error != ENOBUFS &&
           error != ENOMEM;
}

static ssize_t transmit(
    struct fake_client *client, const struct iovec *parts, size_t count)
{
    size_t room = room_of(client);
    size_t sent = 0;
    size_t wanted = 0;

    fuzz_check(!client->shut, "sent behind the end");
    if (client->send_fault != 0) {
        errno = client->send_fault;
        client->send_fault = 0;
        client->reset |= is_final(errno);
        return -1;
    }
    if (client->reset) {
        errno = client->error != 0 ? client->error : EPIPE;
        client->error = 0;
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        size_t piece =
            parts[i].iov_len < room - sent ? parts[i].iov_len : room - sent;

        wanted += parts[i].iov_len;
        grow(&client->out, client->out_length, piece);
        memcpy(client->out + client->out_length, parts[i].iov_base, piece);
        client->out_length += piece;
        sent += piece;
    }
    if (client->out_limit == 0) {
        client->out_acked = client->out_length;
    }
    client->no_space |= sent < wanted;
    if (sent == 0 && wanted > 0) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)sent;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags)
{
    struct iovec part = {(char *)(uintptr_t)bytes, length};

    fuzz_check(flags == MSG_NOSIGNAL, "a send that may end the process");
    return transmit(client_of(fd, "send"), &part, 1);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    fuzz_check(flags == MSG_NOSIGNAL, "a send that may end the process");
    return transmit(
        client_of(fd, "sendmsg"), message->msg_iov, message->msg_iovlen);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    struct fake_client *client;
    va_list rest;
    int *out;

    va_start(rest, request);
    out = va_arg(rest, int *);
    va_end(rest);
    if (!is_ours(fd)) {
        return __real_ioctl(fd, request, out);
    }
    client = client_of(fd, "ioctl");
    if (request == FIONREAD) {
        *out = (int)(client->in_arrived - client->in_read);
    } else {
        fuzz_check(request == TIOCOUTQ, "ioctl of another kind");
        *out = (int)(client->out_length - client->out_acked);
    }
    return 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    uint32_t wanted;

    if (count != 1 || !is_ours(fds[0].fd)) {
        return __real_poll(fds, count, timeout_ms);
    }
    fuzz_check(timeout_ms == 0, "a poll that waits");
    /* The bits of poll(2) and epoll(7) are the same. */
    wanted = (uint16_t)fds[0].events;
    wanted |= EPOLLERR | EPOLLHUP;
    wanted &= socket_events(client_of(fds[0].fd, "poll"));
    fds[0].revents = (short)wanted;
    return fds[0].revents != 0;
}

int __wrap_getsockopt(
    int fd, int level, int option, void *value, socklen_t *length)
{
    struct tcp_info info = {.tcpi_unacked = (uint32_t)fake.backlog_length};

    fuzz_check(file_of(fd, "getsockopt")->kind == LISTENER &&
                   level == IPPROTO_TCP && option == TCP_INFO &&
                   *length == sizeof info,
        "getsockopt of another kind");
    memcpy(value, &info, sizeof info);
    return 0;
}

/* --- Clock and chance. */

int __real_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);
void __real_arc4random_buf(void *at, size_t length);
void __wrap_arc4random_buf(void *at, size_t length);

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    uint64_t now_ns = fake.now_ns;

    if (!fake.running) {
        return __real_clock_gettime(clock, out);
    }
    if (clock == CLOCK_REALTIME) {
        now_ns += UINT64_C(1700000000) * 1000000000;
    }
    out->tv_sec = (time_t)(now_ns / 1000000000);
    out->tv_nsec = (long)(now_ns % 1000000000);
    return 0;
}

void __wrap_arc4random_buf(void *at, size_t length)
{
    if (!fake.running) {
        __real_arc4random_buf(at, length);
        return;
    }
    for (size_t i = 0; i < length; i++) {
        ((char *)at)[i] = (char)fuzz_next(&fake.random);
    }
}

/* --- Memory. */

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__real_mmap(
    void *hint, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(
    void *hint, size_t length, int prot, int flags, int fd, off_t offset);

static bool fails(void)
{
    if (!fake.memory_is_watched || fake.allocations_left == 0 ||
        --fake.allocations_left > 0) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    return fails() ? NULL : __real_realloc(block, bytes);
}

void *__wrap_mmap(
    void *hint, size_t length, int prot, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED
                   : __real_mmap(hint, length, prot, flags, fd, offset);
}
