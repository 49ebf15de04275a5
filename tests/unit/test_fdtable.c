/* ctest: builds=release,asan,tsan */
#include "base/fdtable.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* What a sandbox or an old kernel would answer; 0: what this kernel does. */
static int unshare_error;
static int close_range_error;
static unsigned closed_one_by_one;

int __real_unshare(int flags);
int __wrap_unshare(int flags)
{
    assert_int_equal(flags, CLONE_FILES);
    if (unshare_error != 0) {
        errno = unshare_error;
        return -1;
    }
    return __real_unshare(flags);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list arguments;
    unsigned first;
    unsigned last;
    unsigned flags;

    va_start(arguments, number);
    first = va_arg(arguments, unsigned);
    last = va_arg(arguments, unsigned);
    flags = va_arg(arguments, unsigned);
    va_end(arguments);
    assert_int_equal(number, SYS_close_range);
    if (close_range_error != 0) {
        errno = close_range_error;
        return -1;
    }
    return __real_syscall(number, first, last, flags);
}

int __real_close(int fd);
int __wrap_close(int fd)
{
    closed_one_by_one++;
    return __real_close(fd);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

enum { PIPES = 4, FDS = 2 * PIPES };

struct trial {
    int fds[FDS];
    int keep[4];
    size_t keep_count;
    int highest;
    int rc;
    bool open[FDS]; /* as the thread has it, at its end */
    bool standard_open;
};

/* In a thread of its own, whose table goes with it. */
static void *in_thread(void *argument)
{
    struct trial *trial = argument;

    trial->rc = hcs_fdtable_make_private(
        trial->keep, trial->keep_count, trial->highest);
    for (size_t i = 0; i < FDS; i++) {
        trial->open[i] = is_open(trial->fds[i]);
    }
    trial->standard_open = is_open(STDIN_FILENO) && is_open(STDOUT_FILENO) &&
                           is_open(STDERR_FILENO);
    return NULL;
}

static void open_pipes(struct trial *trial)
{
    for (size_t i = 0; i < PIPES; i++) {
        assert_int_equal(pipe2(&trial->fds[2 * i], O_CLOEXEC), 0);
    }
    for (size_t i = 0; i < FDS; i++) {
        if (trial->fds[i] > trial->highest) {
            trial->highest = trial->fds[i];
        }
    }
}

static void close_pipes(struct trial *trial)
{
    for (size_t i = 0; i < FDS; i++) {
        __real_close(trial->fds[i]);
    }
}

static void run(struct trial *trial)
{
    pthread_t thread;

    closed_one_by_one = 0;
    assert_int_equal(pthread_create(&thread, NULL, in_thread, trial), 0);
    pthread_join(thread, NULL);
    unshare_error = 0;
    close_range_error = 0;
}

/* Keeps the sixth and the second, told in this order. */
static void expect_private(struct trial *trial)
{
    open_pipes(trial);
    trial->keep[0] = trial->fds[5];
    trial->keep[1] = trial->fds[1];
    trial->keep_count = 2;
    run(trial);
    assert_int_equal(trial->rc, 0);
    assert_true(trial->standard_open);
    for (size_t i = 0; i < FDS; i++) {
        assert_int_equal(trial->open[i], i == 1 || i == 5);
        assert_true(is_open(trial->fds[i])); /* here nothing was closed */
    }
    close_pipes(trial);
}

/* Where this process may not have private tables at all. */
static void skip_without_private_tables(void)
{
    struct trial trial = {.keep_count = 0};

    open_pipes(&trial);
    run(&trial);
    close_pipes(&trial);
    if (trial.rc != 0) {
        skip();
    }
}

static void only_what_is_kept_stays_open_in_the_thread(void **state)
{
    struct trial trial = {.keep_count = 0};

    (void)state;
    skip_without_private_tables();
    expect_private(&trial);
    assert_int_equal(closed_one_by_one, 0);
}

static void without_close_range_they_are_closed_one_by_one(void **state)
{
    struct trial trial = {.keep_count = 0};

    (void)state;
    skip_without_private_tables();
    close_range_error = ENOSYS;
    expect_private(&trial);
    assert_true(closed_one_by_one >= FDS - 2);
}

static void without_unshare_close_range_makes_the_table_private(void **state)
{
    struct trial trial = {.keep_count = 0};
    static const int errors[] = {EPERM, ENOSYS};

    (void)state;
    skip_without_private_tables();
    if (__real_syscall(SYS_close_range, UINT_MAX, UINT_MAX, 0u) != 0) {
        skip(); /* before Linux 5.9 */
    }
    for (size_t i = 0; i < 2; i++) {
        unshare_error = errors[i];
        trial.highest = 0;
        expect_private(&trial);
    }
}

static void where_neither_is_allowed_all_stays_open_and_shared(void **state)
{
    struct trial trial = {.keep_count = 0};

    (void)state;
    unshare_error = EPERM;
    close_range_error = EPERM;
    open_pipes(&trial);
    run(&trial);
    assert_int_equal(trial.rc, -EPERM);
    assert_int_equal(closed_one_by_one, 0);
    for (size_t i = 0; i < FDS; i++) {
        assert_true(trial.open[i]);
        assert_true(is_open(trial.fds[i]));
    }
    close_pipes(&trial);
}

static void nothing_kept_closes_all_but_the_standard_ones(void **state)
{
    struct trial trial = {.keep_count = 0};

    (void)state;
    skip_without_private_tables();
    open_pipes(&trial);
    run(&trial);
    assert_int_equal(trial.rc, 0);
    assert_true(trial.standard_open);
    for (size_t i = 0; i < FDS; i++) {
        assert_false(trial.open[i]);
        assert_true(is_open(trial.fds[i]));
    }
    close_pipes(&trial);
}

static void keeping_one_twice_a_standard_one_and_a_bad_one_does_no_harm(
    void **state)
{
    struct trial trial = {.keep_count = 0};

    (void)state;
    skip_without_private_tables();
    open_pipes(&trial);
    trial.keep[0] = trial.fds[2];
    trial.keep[1] = STDERR_FILENO;
    trial.keep[2] = trial.fds[2];
    trial.keep[3] = -1;
    trial.keep_count = 4;
    run(&trial);
    assert_int_equal(trial.rc, 0);
    assert_true(trial.standard_open);
    for (size_t i = 0; i < FDS; i++) {
        assert_int_equal(trial.open[i], i == 2);
    }
    close_pipes(&trial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_kept_stays_open_in_the_thread),
        cmocka_unit_test(without_close_range_they_are_closed_one_by_one),
        cmocka_unit_test(without_unshare_close_range_makes_the_table_private),
        cmocka_unit_test(where_neither_is_allowed_all_stays_open_and_shared),
        cmocka_unit_test(nothing_kept_closes_all_but_the_standard_ones),
        cmocka_unit_test(
            keeping_one_twice_a_standard_one_and_a_bad_one_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
