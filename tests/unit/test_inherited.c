/*
 * What a service manager says of the listeners that it hands over. Descriptors
 * are made up: those from 3 on, so many, are open.
 */
#include "app/systemd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_count;
static int closed_on_exec; /* of them */

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list arguments;
    int argument;

    va_start(arguments, command);
    argument = va_arg(arguments, int);
    va_end(arguments);
    if (command != F_SETFD) {
        return __real_fcntl(fd, command, argument);
    }
    assert_int_equal(argument, FD_CLOEXEC);
    assert_int_equal(fd, HCS_INHERITED_FIRST + closed_on_exec);
    if (closed_on_exec == open_count) {
        errno = EBADF;
        return -1;
    }
    closed_on_exec++;
    return 0;
}

static const char *const VARIABLES[] = {
    "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"};

static char error[256];

/* NULL: not set. mine: LISTEN_PID is this process. */
static int read_them(
    const char *pid, const char *fds, const char *names, unsigned *count)
{
    char mine[32];
    const char *values[] = {pid, "1234", fds, names};
    int rc;

    (void)snprintf(mine, sizeof(mine), "%d", (int)getpid());
    if (pid != NULL && strcmp(pid, "mine") == 0) {
        values[0] = mine;
    }
    for (size_t i = 0; i < 4; i++) {
        if (values[i] != NULL) {
            assert_int_equal(setenv(VARIABLES[i], values[i], 1), 0);
        }
    }
    closed_on_exec = 0;
    *count = 77;
    error[0] = '\0';
    rc = hcs_inherited_read(count, error, sizeof(error));
    for (size_t i = 0; i < 4; i++) {
        assert_null(getenv(VARIABLES[i])); /* whatever came of it */
    }
    return rc;
}

static void assert_gives(
    unsigned wanted, const char *pid, const char *fds, const char *names)
{
    unsigned count;

    assert_int_equal(read_them(pid, fds, names, &count), 0);
    assert_int_equal(count, wanted);
    assert_int_equal(closed_on_exec, wanted);
    assert_string_equal(error, "");
}

static void assert_refused(
    const char *pid, const char *fds, const char *names, const char *said)
{
    unsigned count;

    assert_int_equal(read_them(pid, fds, names, &count), -EINVAL);
    assert_int_equal(count, 0);
    assert_string_equal(error, said);
}

static int open_two(void **state)
{
    (void)state;
    open_count = 2;
    return 0;
}

static void those_for_this_process_are_taken(void **state)
{
    (void)state;
    assert_gives(1, "mine", "1", NULL);
    assert_gives(2, "mine", "2", NULL);
    assert_gives(2, "mine", "02", NULL);
    open_count = HCS_INHERITED_MAX;
    assert_gives(HCS_INHERITED_MAX, "mine", "1024", NULL);
}

static void those_for_somebody_else_are_left_alone(void **state)
{
    (void)state;
    assert_gives(0, NULL, NULL, NULL);
    assert_gives(0, NULL, "1", NULL);
    assert_gives(0, "1", "1", "http");
    assert_gives(0, "mine", NULL, NULL);
    assert_gives(0, "mine", NULL, "http");
    assert_gives(0, "", "1", NULL); /* empty is as good as not set */
    assert_gives(0, "mine", "", "");
    /* What is wrong with them is not ours to say. */
    assert_gives(0, "1", "many", "what");
    assert_gives(0, "99999999999999999999", "1", NULL);
}

static void numbers_have_to_be_some(void **state)
{
    (void)state;
    assert_refused(
        "me", "1", NULL, "LISTEN_PID=me: not a number; allowed: a process id");
    assert_refused(
        "-1", "1", NULL, "LISTEN_PID=-1: not a number; allowed: a process id");
    assert_refused("mine", "two", NULL,
        "LISTEN_FDS=two: not a number; allowed: 1 to 1024");
    assert_refused(
        "mine", "-1", NULL, "LISTEN_FDS=-1: not a number; allowed: 1 to 1024");
    assert_refused(
        "mine", "1 ", NULL, "LISTEN_FDS=1 : not a number; allowed: 1 to 1024");
    assert_refused(
        "mine", "0", NULL, "LISTEN_FDS=0: out of range; allowed: 1 to 1024");
    assert_refused("mine", "1025", NULL,
        "LISTEN_FDS=1025: out of range; allowed: 1 to 1024");
    assert_refused("mine", "18446744073709551617", NULL,
        "LISTEN_FDS=18446744073709551617: out of range; allowed: 1 to 1024");
}

static void each_has_to_be_open(void **state)
{
    (void)state;
    assert_refused(
        "mine", "3", NULL, "LISTEN_FDS=3: descriptor 5: Bad file descriptor");
}

static void names_that_nobody_chose_mean_http(void **state)
{
    (void)state;
    assert_gives(1, "mine", "1", "http");
    assert_gives(1, "mine", "1", "hcsd.socket");
    assert_gives(1, "mine", "1", "web@8080.socket");
    assert_gives(1, "mine", "1", "unknown");
    assert_gives(1, "mine", "1", "connection"); /* which does not listen */
    assert_gives(2, "mine", "2", "http:http");
    assert_gives(2, "mine", "2", "unknown:http");
    assert_gives(2, "mine", "2", ":");
    assert_gives(2, "mine", "2", "http:");
    assert_gives(1, "mine", "1", "");
}

static void other_names_are_refused(void **state)
{
    (void)state;
    assert_refused("mine", "1", "admin",
        "LISTEN_FDNAMES=admin: admin is not served yet; allowed: http");
    assert_refused("mine", "2", "http:admin",
        "LISTEN_FDNAMES=http:admin: admin is not served yet; allowed: http");
    assert_refused("mine", "1", "https",
        "LISTEN_FDNAMES=https: https is not known; allowed: http");
    assert_refused("mine", "2", "http:db:x",
        "LISTEN_FDNAMES=http:db:x: db is not known; allowed: http");
    assert_refused("mine", "1", ".socket",
        "LISTEN_FDNAMES=.socket: .socket is not known; allowed: http");
    assert_refused("mine", "1", "HTTP",
        "LISTEN_FDNAMES=HTTP: HTTP is not known; allowed: http");
}

static void there_is_a_name_for_each(void **state)
{
    (void)state;
    assert_refused("mine", "2", "http",
        "LISTEN_FDNAMES=http: a list of 1; allowed: as many as LISTEN_FDS, 2");
    assert_refused("mine", "1", "http:http",
        "LISTEN_FDNAMES=http:http: a list of 2; allowed: as many as "
        "LISTEN_FDS, 1");
}

#define TEST(name) cmocka_unit_test_setup(name, open_two)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(those_for_this_process_are_taken),
        TEST(those_for_somebody_else_are_left_alone),
        TEST(numbers_have_to_be_some),
        TEST(each_has_to_be_open),
        TEST(names_that_nobody_chose_mean_http),
        TEST(other_names_are_refused),
        TEST(there_is_a_name_for_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
