/* ctest: builds=release,asan,tsan */
/*
 * The test plays the service manager's socket. Linked with -Wl,--wrap=send,
 * poll and socket, so that interruptions and failures are ordinary cases.
 */
#include "app/systemd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* --- Calls that are cut short. */

static int send_interruptions; /* how often before the call works */
static int poll_interruptions;
static int poll_error;     /* each poll fails so; 0: none does */
static int socket_error;   /* as well */
static bool room_is_told;  /* by poll, though there is none */
static bool close_at_poll; /* the manager goes away meanwhile */
static int manager = -1;
static int sends;
static int polls;

ssize_t __real_send(int fd, const void *bytes, size_t length, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

static int is_interrupted(int *times)
{
    if (*times == 0) {
        return 0;
    }
    (*times)--;
    errno = EINTR;
    return 1;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags)
{
    sends++;
    return is_interrupted(&send_interruptions)
               ? -1
               : __real_send(fd, bytes, length, flags);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    polls++;
    if (poll_error != 0) {
        errno = poll_error;
        return -1;
    }
    if (room_is_told) {
        fds[0].revents = POLLOUT;
        return 1;
    }
    if (close_at_poll) {
        close_at_poll = false;
        close(manager);
        manager = -1;
    }
    return is_interrupted(&poll_interruptions)
               ? -1
               : __real_poll(fds, count, timeout_ms);
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
    if (socket_error != 0) {
        errno = socket_error;
        return -1;
    }
    return __real_socket(domain, type, protocol);
}

/* --- The service manager. */

static char directory[64];
static char path[108]; /* of its socket, as $NOTIFY_SOCKET would say */

static int listen_at(const struct sockaddr_un *address, size_t name_bytes)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(
        bind(fd, (const struct sockaddr *)address,
            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_bytes)),
        0);
    return fd;
}

static int listen_at_path(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_true(strlen(name) < sizeof address.sun_path);
    memcpy(address.sun_path, name, strlen(name) + 1);
    return listen_at(&address, strlen(name) + 1);
}

static int start_manager(void **state)
{
    (void)state;
    send_interruptions = 0;
    poll_interruptions = 0;
    poll_error = 0;
    socket_error = 0;
    sends = 0;
    polls = 0;
    (void)snprintf(directory, sizeof directory, "/tmp/hcs-notify-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/socket", directory);
    manager = listen_at_path(path);
    return 0;
}

static int stop_manager(void **state)
{
    (void)state;
    if (manager >= 0) {
        close(manager);
    }
    (void)unlink(path);
    return rmdir(directory);
}

/* The next datagram of fd must be this one. */
static void assert_received(int fd, const char *expected)
{
    char message[8192];
    ssize_t length = recv(fd, message, sizeof message - 1, 0);

    assert_true(length >= 0);
    message[length] = '\0';
    assert_string_equal(message, expected);
}

static void assert_silent(int fd)
{
    char message[16];

    assert_int_equal(recv(fd, message, sizeof message, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static struct hcs_notify open_good(const char *name)
{
    struct hcs_notify notify = {.fd = -2};

    assert_int_equal(hcs_notify_open(&notify, name), 0);
    assert_true(notify.fd >= 0);
    return notify;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- What is said. */

static void each_message_is_one_datagram(void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    hcs_notify_status(&notify, "starting");
    hcs_notify_ready(&notify, "serving on port 8080");
    hcs_notify_ready(&notify, NULL);
    hcs_notify_stopping(&notify, "draining");
    hcs_notify_stopping(&notify, NULL);
    hcs_notify_extend_timeout(&notify, 30000000);
    hcs_notify_extend_timeout(&notify, UINT64_MAX);
    hcs_notify_status(&notify, "");
    assert_received(manager, "STATUS=starting");
    assert_received(manager, "READY=1\nSTATUS=serving on port 8080");
    assert_received(manager, "READY=1\n");
    assert_received(manager, "STOPPING=1\nSTATUS=draining");
    assert_received(manager, "STOPPING=1\n");
    assert_received(manager, "EXTEND_TIMEOUT_USEC=30000000");
    assert_received(manager, "EXTEND_TIMEOUT_USEC=18446744073709551615");
    assert_received(manager, "STATUS=");
    assert_silent(manager);
    hcs_notify_close(&notify);
}

static void status_cannot_add_fields(void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    hcs_notify_ready(&notify, "one\nSTOPPING=1\n");
    assert_received(manager, "READY=1\nSTATUS=one STOPPING=1 ");
    hcs_notify_close(&notify);
}

static void long_status_is_cut(void **state)
{
    struct hcs_notify notify = open_good(path);
    char status[5000];
    char expected[1024];

    (void)state;
    memset(status, 's', sizeof status - 1);
    status[sizeof status - 1] = '\0';
    hcs_notify_ready(&notify, status);
    memset(expected, 's', sizeof expected - 1);
    memcpy(expected, "READY=1\nSTATUS=", strlen("READY=1\nSTATUS="));
    expected[sizeof expected - 1] = '\0';
    assert_received(manager, expected);
    hcs_notify_close(&notify);
}

static void nothing_is_sent_when_nobody_listens(void **state)
{
    struct hcs_notify notify = {.fd = 7};

    (void)state;
    assert_int_equal(hcs_notify_open(&notify, NULL), 0);
    assert_int_equal(notify.fd, -1);
    notify.fd = 7;
    assert_int_equal(hcs_notify_open(&notify, ""), 0);
    assert_int_equal(notify.fd, -1);
    hcs_notify_ready(&notify, "x");
    hcs_notify_status(&notify, "x");
    hcs_notify_stopping(&notify, "x");
    hcs_notify_extend_timeout(&notify, 1);
    hcs_notify_status(&notify, NULL);
    assert_int_equal(sends, 0);
    hcs_notify_close(&notify);
    hcs_notify_close(&notify);
}

static void status_of_nothing_sends_nothing(void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    hcs_notify_status(&notify, NULL);
    assert_int_equal(sends, 0);
    hcs_notify_close(&notify);
}

static void close_gives_the_descriptor_back(void **state)
{
    struct hcs_notify notify = open_good(path);
    int fd = notify.fd;

    (void)state;
    hcs_notify_close(&notify);
    assert_int_equal(notify.fd, -1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void programs_started_later_do_not_inherit_the_socket(void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    assert_int_equal(fcntl(notify.fd, F_GETFD), FD_CLOEXEC);
    assert_true((fcntl(notify.fd, F_GETFL) & O_NONBLOCK) != 0);
    hcs_notify_close(&notify);
}

/* --- Where it is said. */

static void abstract_sockets_are_reached(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[32];
    struct hcs_notify notify;
    int fd;

    (void)state;
    (void)snprintf(name, sizeof name, "@hcs-%ld", (long)getpid());
    memcpy(address.sun_path, name, strlen(name));
    address.sun_path[0] = '\0';
    fd = listen_at(&address, strlen(name));
    notify = open_good(name);
    hcs_notify_ready(&notify, NULL);
    assert_received(fd, "READY=1\n");
    hcs_notify_close(&notify);
    close(fd);
}

static void longest_names_fit_and_longer_ones_are_refused(void **state)
{
    enum { ROOM = sizeof(((struct sockaddr_un *)NULL)->sun_path) };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[ROOM + 2];
    struct hcs_notify notify;
    int fd;

    (void)state;
    /* A path, and its NUL. */
    memset(name, 'p', sizeof name);
    memcpy(name, directory, strlen(directory));
    name[strlen(directory)] = '/';
    name[ROOM - 1] = '\0';
    fd = listen_at_path(name);
    notify = open_good(name);
    hcs_notify_ready(&notify, NULL);
    assert_received(fd, "READY=1\n");
    hcs_notify_close(&notify);
    close(fd);
    assert_int_equal(unlink(name), 0);

    name[ROOM - 1] = 'p';
    name[ROOM] = '\0';
    assert_int_equal(hcs_notify_open(&notify, name), -ENAMETOOLONG);
    assert_int_equal(notify.fd, -1);

    /* An abstract name has no NUL behind it. */
    memset(name, 'a', sizeof name);
    (void)snprintf(name, sizeof name, "@%0*ld", ROOM - 1, (long)getpid());
    assert_int_equal(strlen(name), ROOM);
    memcpy(address.sun_path, name, ROOM);
    address.sun_path[0] = '\0';
    fd = listen_at(&address, ROOM);
    notify = open_good(name);
    hcs_notify_ready(&notify, NULL);
    assert_received(fd, "READY=1\n");
    hcs_notify_close(&notify);
    close(fd);

    (void)snprintf(name, sizeof name, "@%0*ld", ROOM, (long)getpid());
    assert_int_equal(hcs_notify_open(&notify, name), -ENAMETOOLONG);
    assert_int_equal(notify.fd, -1);
}

static void unusable_names_are_refused(void **state)
{
    struct hcs_notify notify;
    char name[sizeof directory + 16];

    (void)state;
    (void)snprintf(name, sizeof name, "%s/nobody", directory);
    assert_int_equal(hcs_notify_open(&notify, name), -ENOENT);
    assert_int_equal(notify.fd, -1);
    assert_int_equal(hcs_notify_open(&notify, "relative"), -EINVAL);
    assert_int_equal(notify.fd, -1);
    assert_int_equal(hcs_notify_open(&notify, "vsock:2:9"), -EINVAL);
    assert_int_equal(hcs_notify_open(&notify, "/"), -EINVAL);
    assert_int_equal(hcs_notify_open(&notify, "@"), -EINVAL);
    assert_int_equal(notify.fd, -1);

    close(manager);
    manager = -1;
    assert_int_equal(hcs_notify_open(&notify, path), -ECONNREFUSED);
    assert_int_equal(notify.fd, -1);
}

/* --- When it cannot be said. */

static void interrupted_calls_are_tried_again(void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    send_interruptions = 3;
    hcs_notify_ready(&notify, NULL);
    assert_int_equal(sends, 4);
    assert_received(manager, "READY=1\n");
    assert_silent(manager);
    hcs_notify_close(&notify);
}

static void manager_that_went_away_does_no_harm(void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    close(manager);
    manager = -1;
    hcs_notify_ready(&notify, "x");
    hcs_notify_extend_timeout(&notify, 1);
    assert_int_equal(sends, 2);
    assert_int_equal(polls, 0);
    hcs_notify_close(&notify);
}

/* Sends until the manager's queue is full (net.unix.max_dgram_qlen, or its
 * receive buffer); gives how many messages are in it. */
static int fill_queue(const struct hcs_notify *notify)
{
    int count = 0;

    while (__real_send(notify->fd, "x", 1, MSG_NOSIGNAL) == 1) {
        count++;
        assert_in_range(count, 1, 100000);
    }
    assert_int_equal(errno, EAGAIN);
    return count;
}

static void status_is_dropped_at_once_when_the_queue_is_full(void **state)
{
    struct hcs_notify notify = open_good(path);
    int count = fill_queue(&notify);
    uint64_t start = now_ms();

    (void)state;
    hcs_notify_status(&notify, "lost");
    hcs_notify_extend_timeout(&notify, 1);
    assert_in_range(now_ms() - start, 0, 500);
    for (int i = 0; i < count; i++) {
        assert_received(manager, "x");
    }
    assert_silent(manager);
    hcs_notify_close(&notify);
}

static void ready_gives_up_when_the_queue_stays_full(void **state)
{
    struct hcs_notify notify = open_good(path);
    uint64_t start;

    (void)state;
    (void)fill_queue(&notify);
    start = now_ms();
    hcs_notify_ready(&notify, NULL);
    assert_in_range(now_ms() - start, 900, 10000);
    hcs_notify_close(&notify);
}

static void *read_late(void *arg)
{
    const struct timespec delay = {.tv_nsec = 50 * 1000 * 1000};
    int count = *(const int *)arg;

    (void)nanosleep(&delay, NULL);
    for (int i = 0; i < count; i++) {
        char message[16];

        (void)recv(manager, message, sizeof message, 0);
    }
    return NULL;
}

static void ready_waits_for_room_in_the_queue(void **state)
{
    struct hcs_notify notify = open_good(path);
    int count = fill_queue(&notify);
    pthread_t reader;

    (void)state;
    poll_interruptions = 2;
    assert_int_equal(pthread_create(&reader, NULL, read_late, &count), 0);
    hcs_notify_ready(&notify, "at last");
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(polls, 3);
    assert_received(manager, "READY=1\nSTATUS=at last");
    hcs_notify_close(&notify);
}

static void ready_does_not_wait_where_waiting_fails(void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    (void)fill_queue(&notify);
    poll_error = ENOMEM;
    hcs_notify_ready(&notify, "lost");
    assert_int_equal(polls, 1);
    assert_int_equal(sends, 1);
    hcs_notify_close(&notify);
}

static void room_that_somebody_else_fills_is_not_waited_for_twice(void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    room_is_told = true;
    (void)fill_queue(&notify);
    hcs_notify_ready(&notify, "lost");
    room_is_told = false;
    assert_int_equal(polls, 1);
    assert_int_equal(sends, 2);
    hcs_notify_close(&notify);
}

static void a_manager_that_goes_away_while_its_queue_is_full_ends_the_wait(
    void **state)
{
    struct hcs_notify notify = open_good(path);

    (void)state;
    (void)fill_queue(&notify);
    close_at_poll = true;
    hcs_notify_ready(&notify, "lost");
    assert_int_equal(manager, -1);
    assert_int_equal(polls, 1);
    hcs_notify_close(&notify);
}

static void without_a_descriptor_nobody_is_told_anything(void **state)
{
    struct hcs_notify notify = {.fd = 7};

    (void)state;
    socket_error = EMFILE;
    assert_int_equal(hcs_notify_open(&notify, path), -EMFILE);
    assert_int_equal(notify.fd, -1);
    hcs_notify_ready(&notify, "lost");
    hcs_notify_close(&notify);
    assert_int_equal(sends, 0);
    assert_silent(manager);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, start_manager, stop_manager)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_message_is_one_datagram),
        TEST(status_cannot_add_fields),
        TEST(long_status_is_cut),
        TEST(nothing_is_sent_when_nobody_listens),
        TEST(status_of_nothing_sends_nothing),
        TEST(close_gives_the_descriptor_back),
        TEST(programs_started_later_do_not_inherit_the_socket),
        TEST(abstract_sockets_are_reached),
        TEST(longest_names_fit_and_longer_ones_are_refused),
        TEST(unusable_names_are_refused),
        TEST(interrupted_calls_are_tried_again),
        TEST(manager_that_went_away_does_no_harm),
        TEST(status_is_dropped_at_once_when_the_queue_is_full),
        TEST(ready_gives_up_when_the_queue_stays_full),
        TEST(ready_waits_for_room_in_the_queue),
        TEST(ready_does_not_wait_where_waiting_fails),
        TEST(room_that_somebody_else_fills_is_not_waited_for_twice),
        TEST(a_manager_that_goes_away_while_its_queue_is_full_ends_the_wait),
        TEST(without_a_descriptor_nobody_is_told_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
