#include "sync/parking.h"

#include <linux/futex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include <cmocka.h>

/* What is asked of the kernel, which is told nothing: these tests have one
 * thread only, and play both sides. */
static struct {
    unsigned waits;
    unsigned wakes;
    uint32_t expected; /* of the last wait: the value to sleep on */
    uint32_t found;    /* there */
    uint32_t woken;    /* asked for by the last wake */
} kernel;

long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list arguments;
    const uint32_t *at;
    int operation;
    uint32_t value;

    va_start(arguments, number);
    at = va_arg(arguments, const uint32_t *);
    operation = va_arg(arguments, int);
    value = va_arg(arguments, uint32_t);
    va_end(arguments);
    assert_int_equal(number, SYS_futex);
    assert_true((operation & FUTEX_PRIVATE_FLAG) != 0);
    if ((operation & FUTEX_CMD_MASK) == FUTEX_WAIT) {
        kernel.waits++;
        kernel.expected = value;
        kernel.found = *at;
    } else {
        assert_int_equal(operation & FUTEX_CMD_MASK, FUTEX_WAKE);
        kernel.wakes++;
        kernel.woken = value;
    }
    return 0;
}

static int reset(void **state)
{
    (void)state;
    kernel.waits = 0;
    kernel.wakes = 0;
    return 0;
}

/* Parked workers, and 1 << 31 while one is being woken. */
static uint32_t low_half(struct hcs_parking *parking)
{
    return (uint32_t)atomic_load(&parking->word);
}

enum { WAKING_BIT = 31 };
static const uint32_t waking = UINT32_C(1) << WAKING_BIT;

static void waking_nobody_is_no_system_call(void **state)
{
    struct hcs_parking parking;

    (void)state;
    hcs_parking_init(&parking);
    hcs_parking_wake(&parking);
    hcs_parking_wake(&parking);
    assert_int_equal(kernel.wakes, 0);
    assert_int_equal(low_half(&parking), 0);
}

static void a_worker_sleeps_on_the_epoch_of_its_announcement(void **state)
{
    struct hcs_parking parking;
    uint32_t epoch;

    (void)state;
    hcs_parking_init(&parking);
    hcs_parking_wake(&parking);
    epoch = hcs_parking_announce(&parking);
    assert_int_equal(low_half(&parking), 1);
    hcs_parking_wait(&parking, epoch);
    assert_int_equal(kernel.waits, 1);
    assert_int_equal(kernel.expected, kernel.found); /* it did sleep */
    assert_int_equal(low_half(&parking), 0);
}

/* The case that it is all about. */
static void a_wake_up_after_the_announcement_keeps_the_worker_up(void **state)
{
    struct hcs_parking parking;
    uint32_t epoch;

    (void)state;
    hcs_parking_init(&parking);
    epoch = hcs_parking_announce(&parking);
    hcs_parking_wake(&parking);
    assert_int_equal(kernel.wakes, 1);
    assert_int_equal(kernel.woken, 1);
    hcs_parking_wait(&parking, epoch);
    assert_int_not_equal(kernel.expected, kernel.found);
    assert_int_equal(low_half(&parking), 0);
}

static void one_wake_up_at_a_time_is_under_way(void **state)
{
    struct hcs_parking parking;
    uint32_t first;
    uint32_t second;

    (void)state;
    hcs_parking_init(&parking);
    first = hcs_parking_announce(&parking);
    second = hcs_parking_announce(&parking);
    hcs_parking_wake(&parking);
    hcs_parking_wake(&parking);
    hcs_parking_wake(&parking);
    assert_int_equal(kernel.wakes, 1);
    assert_int_equal(low_half(&parking), 2 | waking);
    hcs_parking_wait(&parking, first); /* is up, and looks for work */
    assert_int_equal(low_half(&parking), 1);
    hcs_parking_wake(&parking); /* so the next may be woken */
    assert_int_equal(kernel.wakes, 2);
    hcs_parking_wait(&parking, second);
    assert_int_equal(low_half(&parking), 0);
}

static void leaving_ends_the_wake_up_too(void **state)
{
    struct hcs_parking parking;

    (void)state;
    hcs_parking_init(&parking);
    (void)hcs_parking_announce(&parking);
    (void)hcs_parking_announce(&parking);
    hcs_parking_wake(&parking);
    hcs_parking_leave(&parking);
    assert_int_equal(low_half(&parking), 1);
    hcs_parking_wake(&parking);
    assert_int_equal(kernel.wakes, 2);
}

/* Or who announces itself next would have no order with the work that was
 * published. */
static void each_wake_up_advances_the_epoch_even_for_nobody(void **state)
{
    struct hcs_parking parking;
    uint32_t epoch;

    (void)state;
    hcs_parking_init(&parking);
    epoch = hcs_parking_announce(&parking);
    hcs_parking_leave(&parking);
    hcs_parking_wake(&parking);
    assert_int_equal(hcs_parking_announce(&parking), epoch + 1);
    hcs_parking_wake(&parking);
    hcs_parking_wake(&parking);
    hcs_parking_leave(&parking);
    assert_int_equal(hcs_parking_announce(&parking), epoch + 3);
}

static void the_epoch_wraps_without_touching_the_count(void **state)
{
    struct hcs_parking parking;

    (void)state;
    hcs_parking_init(&parking);
    atomic_store(&parking.word, (uint64_t)UINT32_MAX << 32 | 5);
    assert_int_equal(hcs_parking_announce(&parking), UINT32_MAX);
    hcs_parking_wake(&parking);
    assert_true(atomic_load(&parking.word) == (6 | (uint64_t)waking));
}

static void wake_all_wakes_all_and_keeps_up_who_is_about_to_sleep(void **state)
{
    struct hcs_parking parking;
    uint32_t epoch;

    (void)state;
    hcs_parking_init(&parking);
    (void)hcs_parking_announce(&parking);
    epoch = hcs_parking_announce(&parking);
    hcs_parking_wake(&parking);
    hcs_parking_wake_all(&parking); /* though one is being woken */
    assert_int_equal(kernel.wakes, 2);
    assert_true(kernel.woken >= 65535);
    hcs_parking_wait(&parking, epoch);
    assert_int_not_equal(kernel.expected, kernel.found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(waking_nobody_is_no_system_call, reset),
        cmocka_unit_test_setup(
            a_worker_sleeps_on_the_epoch_of_its_announcement, reset),
        cmocka_unit_test_setup(
            a_wake_up_after_the_announcement_keeps_the_worker_up, reset),
        cmocka_unit_test_setup(one_wake_up_at_a_time_is_under_way, reset),
        cmocka_unit_test_setup(leaving_ends_the_wake_up_too, reset),
        cmocka_unit_test_setup(
            each_wake_up_advances_the_epoch_even_for_nobody, reset),
        cmocka_unit_test_setup(
            the_epoch_wraps_without_touching_the_count, reset),
        cmocka_unit_test_setup(
            wake_all_wakes_all_and_keeps_up_who_is_about_to_sleep, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
