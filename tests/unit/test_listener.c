#include "event/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum call { SOCKET, BIND, LISTEN, OPTION, NAME, GET_OPTION, CALLS };

/* The nth call of a kind fails, counted from 0; error 0: none does. */
static struct {
    int error[CALLS];
    unsigned nth[CALLS];
    unsigned seen[CALLS];
} kernel;

static bool fails(enum call call)
{
    if (kernel.seen[call]++ == kernel.nth[call] && kernel.error[call] != 0) {
        errno = kernel.error[call];
        return true;
    }
    return false;
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
    return fails(SOCKET) ? -1 : __real_socket(domain, type, protocol);
}

int __real_bind(int fd, const struct sockaddr *at, socklen_t length);
int __wrap_bind(int fd, const struct sockaddr *at, socklen_t length)
{
    return fails(BIND) ? -1 : __real_bind(fd, at, length);
}

int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog)
{
    return fails(LISTEN) ? -1 : __real_listen(fd, backlog);
}

static int v6_only; /* as it was last asked for */

int __real_setsockopt(
    int fd, int level, int option, const void *value, socklen_t length);
int __wrap_setsockopt(
    int fd, int level, int option, const void *value, socklen_t length)
{
    if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY) {
        memcpy(&v6_only, value, sizeof(v6_only));
    }
    /* Works without this one. */
    bool needed = level != IPPROTO_TCP || option != TCP_NOTSENT_LOWAT;

    return needed && fails(OPTION)
               ? -1
               : __real_setsockopt(fd, level, option, value, length);
}

int __real_getsockname(int fd, struct sockaddr *at, socklen_t *length);
int __wrap_getsockname(int fd, struct sockaddr *at, socklen_t *length)
{
    return fails(NAME) ? -1 : __real_getsockname(fd, at, length);
}

int __real_getsockopt(
    int fd, int level, int option, void *value, socklen_t *length);
int __wrap_getsockopt(
    int fd, int level, int option, void *value, socklen_t *length)
{
    if (fails(GET_OPTION)) { /* as an emulator that knows only numbers */
        memset(value, 0, sizeof(int));
        *length = sizeof(int);
        return 0;
    }
    return __real_getsockopt(fd, level, option, value, length);
}

static int reset(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    return 0;
}

static int next_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    close(fd);
    return fd;
}

static struct hcs_address address_of(const char *text, uint16_t port)
{
    struct hcs_address address;
    bool v4_only;

    assert_int_equal(hcs_address_make(&address, text, port, &v4_only), 0);
    return address;
}

static struct hcs_address loopback(void)
{
    return address_of("127.0.0.1", 0);
}

/* A connected socket, or -errno within 300 ms. */
static int connect_to(const struct hcs_address *address)
{
    int fd = __real_socket(
        address->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t length = sizeof(error);

    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&address->at, address->length) !=
        0) {
        assert_true(errno == EINPROGRESS || errno == ECONNREFUSED);
        if (errno == ECONNREFUSED) {
            close(fd);
            return -ECONNREFUSED;
        }
        if (poll(&ready, 1, 300) != 1) {
            close(fd);
            return -ETIMEDOUT;
        }
        assert_int_equal(
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
    }
    if (error != 0) {
        close(fd);
        return -error;
    }
    return fd;
}

static void addresses_are_read_and_written(void **state)
{
    static const struct {
        const char *address;
        uint16_t port;
        const char *text;
    } cases[] = {
        {"127.0.0.1", 8080, "127.0.0.1:8080"},
        {"0.0.0.0", 65535, "0.0.0.0:65535"},
        {"255.255.255.255", 0, "255.255.255.255:0"},
        {"::", 1, "[::]:1"},
        {"::1", 8080, "[::1]:8080"},
        {"2001:db8:1111:2222:3333:4444:5555:6666", 65535,
            "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"},
        {"::ffff:255.255.255.255", 65535, "[::ffff:255.255.255.255]:65535"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hcs_address address;
        bool v4_only = true;
        char text[HCS_LISTENER_TEXT];

        assert_int_equal(hcs_address_make(&address, cases[i].address,
                             cases[i].port, &v4_only),
            0);
        assert_false(v4_only);
        hcs_address_text(&address, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void what_is_no_literal_address_is_refused(void **state)
{
    static const char *const bad[] = {"", "localhost", "127.0.0", "127.0.0.256",
        "[::1]", "::1%lo", ":::", "1.2.3.4:80", " 127.0.0.1"};
    struct hcs_address address;
    bool v4_only;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(
            hcs_address_make(&address, bad[i], 80, &v4_only), -EINVAL);
    }
}

static void no_address_is_all_of_v6_or_of_v4_where_there_is_no_v6(void **state)
{
    struct hcs_address address;
    bool v4_only = true;
    char text[HCS_LISTENER_TEXT];

    (void)state;
    assert_int_equal(hcs_address_make(&address, NULL, 80, &v4_only), 0);
    hcs_address_text(&address, text);
    assert_string_equal(text, v4_only ? "0.0.0.0:80" : "[::]:80");
    reset(NULL);
    kernel.error[SOCKET] = EAFNOSUPPORT;
    assert_int_equal(hcs_address_make(&address, NULL, 80, &v4_only), 0);
    assert_true(v4_only);
    hcs_address_text(&address, text);
    assert_string_equal(text, "0.0.0.0:80");

    /* No other failure says that there is no v6: opening will tell. */
    reset(NULL);
    kernel.error[SOCKET] = EMFILE;
    assert_int_equal(hcs_address_make(&address, NULL, 80, &v4_only), 0);
    assert_false(v4_only);
    hcs_address_text(&address, text);
    assert_string_equal(text, "[::]:80");
}

static void listeners_share_a_port_that_was_picked(void **state)
{
    struct hcs_address address = loopback();
    int fds[3];
    const struct sockaddr_in *in =
        (const struct sockaddr_in *)(const void *)&address.at;

    (void)state;
    assert_int_equal(hcs_listener_open(&address, fds, 3), 0);
    assert_true(ntohs(in->sin_port) != 0);
    for (size_t i = 0; i < 3; i++) {
        struct sockaddr_in at;
        socklen_t length = sizeof(at);
        int value = 0;
        socklen_t value_length = sizeof(value);

        assert_int_equal(
            __real_getsockname(fds[i], (struct sockaddr *)&at, &length), 0);
        assert_int_equal(at.sin_port, in->sin_port);
        assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &value,
                             &value_length),
            0);
        assert_int_equal(value, 1);
        assert_true((fcntl(fds[i], F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(fds[i], F_GETFD) & FD_CLOEXEC) != 0);
    }
    for (size_t i = 0; i < 3; i++) {
        close(fds[i]);
    }
}

static void accepted_sockets_send_at_once(void **state)
{
    struct hcs_address address = loopback();
    int listener;
    int client;
    int accepted;
    int value = 0;
    socklen_t length = sizeof(value);

    (void)state;
    assert_int_equal(hcs_listener_open(&address, &listener, 1), 0);
    client = connect_to(&address);
    assert_true(client >= 0);
    accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    assert_int_equal(
        getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    assert_int_equal(value, 1);
    close(accepted);
    close(client);
    close(listener);
}

/* Whoever is first on a port keeps it: with SO_REUSEPORT from the start, a
 * second daemon of the same user would take half of the connections. */
static void a_port_in_use_is_an_error_also_for_a_second_daemon(void **state)
{
    struct hcs_address address = loopback();
    struct hcs_address again;
    int first[2];
    int second[2];
    int before;

    (void)state;
    assert_int_equal(hcs_listener_open(&address, first, 2), 0);
    again = address;
    before = next_fd();
    assert_int_equal(hcs_listener_open(&again, second, 2), -EADDRINUSE);
    assert_int_equal(hcs_listener_open(&again, second, 1), -EADDRINUSE);
    assert_int_equal(next_fd(), before);
    close(first[0]);
    close(first[1]);
    assert_int_equal(hcs_listener_open(&again, second, 2), 0); /* at once */
    close(second[0]);
    close(second[1]);
}

static void a_port_whose_last_daemon_left_connections_is_free_at_once(
    void **state)
{
    struct hcs_address address = loopback();
    int listener;
    int client;
    int accepted;

    (void)state;
    assert_int_equal(hcs_listener_open(&address, &listener, 1), 0);
    client = connect_to(&address);
    assert_true(client >= 0);
    accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    close(listener);
    close(accepted); /* our side first: it stays in TIME_WAIT */
    close(client);
    assert_int_equal(hcs_listener_open(&address, &listener, 1), 0);
    close(listener);
}

static void an_unspecified_v6_address_takes_v4_too_and_others_do_not(
    void **state)
{
    struct hcs_address all;
    struct hcs_address v4;
    bool v4_only;
    int fd = -1;
    int client;

    (void)state;
    assert_int_equal(hcs_address_make(&all, NULL, 0, &v4_only), 0);
    if (v4_only || hcs_listener_open(&all, &fd, 1) != 0) {
        skip(); /* no v6 here */
    }
    v4 = address_of("127.0.0.1",
        ntohs(((const struct sockaddr_in6 *)(const void *)&all.at)->sin6_port));
    client = connect_to(&v4);
    assert_true(client >= 0);
    close(client);
    close(fd);
    all = address_of("::1", 0);
    if (hcs_listener_open(&all, &fd, 1) != 0) {
        skip();
    }
    v4 = address_of("127.0.0.1",
        ntohs(((const struct sockaddr_in6 *)(const void *)&all.at)->sin6_port));
    assert_int_equal(connect_to(&v4), -ECONNREFUSED);
    close(fd);
}

static void whatever_fails_leaves_no_descriptor_open(void **state)
{
    static const struct {
        enum call call;
        unsigned calls; /* in an opening of three listeners */
        int error;
    } cases[] = {
        {SOCKET, 3, EMFILE},
        {SOCKET, 3, ENFILE},
        {SOCKET, 3, ENOMEM},
        {BIND, 3, EACCES},
        {BIND, 3, EADDRNOTAVAIL},
        {LISTEN, 3, EADDRINUSE},
        {OPTION, 9, ENOMEM},
        {NAME, 1, ENOBUFS},
    };
    const int before = next_fd();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned nth = 0; nth < cases[i].calls; nth++) {
            struct hcs_address address = loopback();
            int fds[3];

            reset(NULL);
            kernel.error[cases[i].call] = cases[i].error;
            kernel.nth[cases[i].call] = nth;
            assert_int_equal(
                hcs_listener_open(&address, fds, 3), -cases[i].error);
            assert_int_equal(next_fd(), before);
        }
    }
}

static void whatever_fails_for_v6_leaves_no_descriptor_open(void **state)
{
    enum { OPTIONS = 4 };
    const int before = next_fd();
    int probe = __real_socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    if (probe < 0) {
        skip();
    }
    close(probe);
    for (unsigned nth = 0; nth < OPTIONS; nth++) {
        struct hcs_address address = address_of(nth % 2 ? "::1" : "::", 0);
        int fd;

        reset(NULL);
        kernel.error[OPTION] = ENOMEM;
        kernel.nth[OPTION] = nth;
        assert_int_equal(hcs_listener_open(&address, &fd, 1), -ENOMEM);
        assert_int_equal(next_fd(), before);
    }
}

static void only_the_address_of_all_takes_v4_too(void **state)
{
    static const struct {
        const char *address;
        int v6_only;
    } cases[] = {
        {"::", 0},
        {"::1", 1},
        {"::1:0:0", 1},
        {"::1:0:0:0:0", 1},
        {"1::", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hcs_address address = address_of(cases[i].address, 0);
        int fd;

        reset(NULL);
        v6_only = -1;
        kernel.error[BIND] = EADDRNOTAVAIL; /* some are nobody's */
        if (hcs_listener_open(&address, &fd, 1) == -EAFNOSUPPORT) {
            skip();
        }
        assert_int_equal(v6_only, cases[i].v6_only);
    }
}

/* User-mode emulators know neither option that the rest of this needs. */
static void skip_where_emulated(int listener)
{
    int waiting = hcs_listener_waiting(listener);

    if (waiting == -EOPNOTSUPP || waiting == -ENOPROTOOPT) {
        print_message("no TCP_INFO here: skipped\n");
        skip();
    }
}

static void waiting_counts_completed_connections(void **state)
{
    struct hcs_address address = loopback();
    int listener;
    int clients[3];

    (void)state;
    assert_int_equal(hcs_listener_open(&address, &listener, 1), 0);
    skip_where_emulated(listener);
    assert_int_equal(hcs_listener_waiting(listener), 0);
    for (int i = 0; i < 3; i++) {
        clients[i] = connect_to(&address);
        assert_true(clients[i] >= 0);
        assert_int_equal(hcs_listener_waiting(listener), i + 1);
    }
    for (int i = 3; i > 0; i--) {
        int accepted = accept(listener, NULL, NULL);

        assert_true(accepted >= 0);
        assert_int_equal(hcs_listener_waiting(listener), i - 1);
        close(accepted);
        close(clients[i - 1]);
    }
    close(listener);
    assert_int_equal(hcs_listener_waiting(listener), -EBADF);
}

static void what_waits_is_unknown_where_the_kernel_does_not_say(void **state)
{
    struct hcs_address address = loopback();
    int listener;

    (void)state;
    assert_int_equal(hcs_listener_open(&address, &listener, 1), 0);
    kernel.error[GET_OPTION] = EINVAL; /* any: the call says nothing of it */
    kernel.nth[GET_OPTION] = kernel.seen[GET_OPTION];
    assert_int_equal(hcs_listener_waiting(listener), -EOPNOTSUPP);
    close(listener);
}

/* What a drain relies on. */
static void dropping_new_ones_keeps_those_that_connected_whole(void **state)
{
    struct hcs_address address = loopback();
    int listeners[2];
    int client;
    int accepted;
    char byte;

    (void)state;
    assert_int_equal(hcs_listener_open(&address, listeners, 2), 0);
    skip_where_emulated(listeners[0]);
    client = connect_to(&address);
    assert_true(client >= 0);
    assert_int_equal(hcs_listener_drop_new(listeners[0]), 0);
    assert_int_equal(hcs_listener_drop_new(listeners[1]), 0);
    /* Silence, and not a refusal that would end the client's patience. */
    assert_int_equal(connect_to(&address), -ETIMEDOUT);
    assert_int_equal(
        hcs_listener_waiting(listeners[0]) + hcs_listener_waiting(listeners[1]),
        1);
    accepted = accept(listeners[0], NULL, NULL);
    if (accepted < 0) {
        accepted = accept(listeners[1], NULL, NULL);
    }
    assert_true(accepted >= 0);
    close(listeners[0]);
    close(listeners[1]);
    /* It talks in both directions, though it inherited the filter. */
    assert_int_equal(write(client, "q", 1), 1);
    assert_int_equal(read(accepted, &byte, 1), 1);
    assert_int_equal(write(accepted, "a", 1), 1);
    assert_int_equal(poll(&(struct pollfd){client, POLLIN, 0}, 1, 5000), 1);
    assert_int_equal(read(client, &byte, 1), 1);
    assert_int_equal(byte, 'a');
    close(accepted);
    close(client);
    assert_int_equal(connect_to(&address), -ECONNREFUSED);
    assert_int_equal(hcs_listener_drop_new(listeners[0]), -EBADF);
}

/* --- Listeners of others. */

static int plain_listener(int family)
{
    struct hcs_address at =
        address_of(family == AF_INET ? "127.0.0.1" : "::1", 0);
    int fd = __real_socket(family, SOCK_STREAM, 0);

    if (fd >= 0) {
        assert_int_equal(
            __real_bind(fd, (struct sockaddr *)&at.at, at.length), 0);
        assert_int_equal(__real_listen(fd, 5), 0);
    }
    return fd;
}

static void a_listener_of_others_becomes_as_ours(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        int listener = plain_listener(i == 0 ? AF_INET : AF_INET6);
        struct hcs_address address;
        char text[HCS_LISTENER_TEXT];
        int client;
        int accepted;
        int value = 0;
        socklen_t length = sizeof(value);

        if (listener < 0) {
            continue; /* no v6 here */
        }
        memset(&address, 0xff, sizeof(address));
        assert_int_equal(hcs_listener_adopt(listener, &address), 0);
        hcs_address_text(&address, text);
        assert_int_equal(strncmp(text, i == 0 ? "127.0.0.1:" : "[::1]:", 6), 0);
        assert_true((fcntl(listener, F_GETFL) & O_NONBLOCK) != 0);
        assert_int_equal(accept(listener, NULL, NULL), -1);
        assert_int_equal(errno, EAGAIN);
        client = connect_to(&address);
        assert_true(client >= 0);
        accepted = accept(listener, NULL, NULL);
        assert_true(accepted >= 0);
        assert_int_equal(
            getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
        assert_int_equal(value, 1);
        close(accepted);
        close(client);
        close(listener);
    }
}

static void what_is_no_tcp_listener_is_not_adopted(void **state)
{
    struct hcs_address address = loopback();
    int ends[2];
    int fd;

    (void)state;
    assert_int_equal(hcs_listener_adopt(9999, &address), -EBADF);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(hcs_listener_adopt(fd, &address), -ENOTSOCK);
    close(fd);
    fd = __real_socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(hcs_listener_adopt(fd, &address), -EPROTOTYPE);
    close(fd);
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(hcs_listener_adopt(ends[0], &address), -EAFNOSUPPORT);
    close(ends[0]);
    close(ends[1]);
    fd = __real_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(hcs_listener_adopt(fd, &address), -EINVAL);
    close(fd);
    /* A connection, as Accept=yes hands it over. */
    fd = plain_listener(AF_INET);
    assert_int_equal(hcs_listener_adopt(fd, &address), 0);
    ends[0] = connect_to(&address);
    assert_true(ends[0] >= 0);
    ends[1] = accept(fd, NULL, NULL);
    assert_int_equal(hcs_listener_adopt(ends[1], &address), -EINVAL);
    close(ends[0]);
    close(ends[1]);
    close(fd);
}

static void what_fails_while_adopting_is_said(void **state)
{
    int fd = plain_listener(AF_INET);
    struct hcs_address address;

    (void)state;
    kernel.error[OPTION] = ENOMEM;
    assert_int_equal(hcs_listener_adopt(fd, &address), -ENOMEM);
    reset(NULL);
    kernel.error[NAME] = ENOBUFS;
    assert_int_equal(hcs_listener_adopt(fd, &address), -ENOBUFS);
    close(fd);
}

static void addresses_are_equal_when_family_host_and_port_are(void **state)
{
    struct hcs_address one = address_of("127.0.0.1", 80);
    struct hcs_address same = address_of("127.0.0.1", 80);
    struct hcs_address others[] = {address_of("127.0.0.1", 81),
        address_of("127.0.0.2", 80), address_of("::ffff:127.0.0.1", 80)};

    (void)state;
    assert_true(hcs_address_equal(&one, &same));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(hcs_address_equal(&one, &others[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(addresses_are_read_and_written, reset),
        cmocka_unit_test_setup(what_is_no_literal_address_is_refused, reset),
        cmocka_unit_test_setup(
            no_address_is_all_of_v6_or_of_v4_where_there_is_no_v6, reset),
        cmocka_unit_test_setup(listeners_share_a_port_that_was_picked, reset),
        cmocka_unit_test_setup(accepted_sockets_send_at_once, reset),
        cmocka_unit_test_setup(
            a_port_in_use_is_an_error_also_for_a_second_daemon, reset),
        cmocka_unit_test_setup(
            a_port_whose_last_daemon_left_connections_is_free_at_once, reset),
        cmocka_unit_test_setup(
            an_unspecified_v6_address_takes_v4_too_and_others_do_not, reset),
        cmocka_unit_test_setup(whatever_fails_leaves_no_descriptor_open, reset),
        cmocka_unit_test_setup(
            whatever_fails_for_v6_leaves_no_descriptor_open, reset),
        cmocka_unit_test_setup(only_the_address_of_all_takes_v4_too, reset),
        cmocka_unit_test_setup(waiting_counts_completed_connections, reset),
        cmocka_unit_test_setup(
            what_waits_is_unknown_where_the_kernel_does_not_say, reset),
        cmocka_unit_test_setup(
            dropping_new_ones_keeps_those_that_connected_whole, reset),
        cmocka_unit_test_setup(a_listener_of_others_becomes_as_ours, reset),
        cmocka_unit_test_setup(what_is_no_tcp_listener_is_not_adopted, reset),
        cmocka_unit_test_setup(what_fails_while_adopting_is_said, reset),
        cmocka_unit_test_setup(
            addresses_are_equal_when_family_host_and_port_are, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
