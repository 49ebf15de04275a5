/* ctest: builds=release,asan,tsan */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const uint64_t LAST_SECOND = 253402300799; /* 9999-12-31T23:59:59Z */

static bool before_1970;

int __real_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out);

int __wrap_clock_gettime(clockid_t id, struct timespec *out)
{
    if (before_1970 && id == CLOCK_REALTIME) {
        *out = (struct timespec){.tv_sec = -1, .tv_nsec = 999999999};
        return 0;
    }
    return __real_clock_gettime(id, out);
}

static void assert_http_date(uint64_t realtime_s, const char *expected)
{
    char out[HCS_HTTP_DATE_LENGTH + 1];

    memset(out, '#', sizeof out);
    hcs_clock_http_date(realtime_s, out);
    assert_int_equal(out[HCS_HTTP_DATE_LENGTH], '#');
    out[HCS_HTTP_DATE_LENGTH] = '\0';
    assert_string_equal(out, expected);
}

static void assert_rfc3339(uint64_t realtime_ms, const char *expected)
{
    char out[HCS_RFC3339_LENGTH + 1];

    memset(out, '#', sizeof out);
    hcs_clock_rfc3339(realtime_ms, out);
    assert_int_equal(out[HCS_RFC3339_LENGTH], '#');
    out[HCS_RFC3339_LENGTH] = '\0';
    assert_string_equal(out, expected);
}

static void http_date_is_an_imf_fixdate(void **state)
{
    (void)state;
    assert_http_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_http_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_http_date(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_http_date(4107542399, "Sun, 28 Feb 2100 23:59:59 GMT");
    assert_http_date(4107542400, "Mon, 01 Mar 2100 00:00:00 GMT");
    assert_http_date(2147483648, "Tue, 19 Jan 2038 03:14:08 GMT");
}

static void http_date_after_9999_stays_at_its_last_second(void **state)
{
    (void)state;
    assert_http_date(LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_http_date(LAST_SECOND + 1, "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_http_date(UINT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
}

/* The other way to know a date: count every day since the first. */
static void http_date_is_right_on_every_day_up_to_9999(void **state)
{
    static const char *const weekdays[] = {
        "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May",
        "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const unsigned lengths[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t days = 0;

    (void)state;
    for (unsigned year = 1970; year <= 9999; year++) {
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

        for (unsigned month = 0; month < 12; month++) {
            unsigned length = lengths[month] + (month == 1 && leap ? 1 : 0);

            for (unsigned day = 1; day <= length; day++, days++) {
                char out[HCS_HTTP_DATE_LENGTH];
                char tens = (char)('0' + day / 10);
                char ones = (char)('0' + day % 10);

                hcs_clock_http_date(days * 86400 + days % 86400, out);
                if (memcmp(out, weekdays[days % 7], 3) != 0 || out[5] != tens ||
                    out[6] != ones || memcmp(out + 8, months[month], 3) != 0 ||
                    (unsigned)((out[12] - '0') * 1000 + (out[13] - '0') * 100 +
                               (out[14] - '0') * 10 + (out[15] - '0')) !=
                        year) {
                    fail_msg("day %u of month %u of %u is %.29s", day,
                        month + 1, year, out);
                }
            }
        }
    }
    assert_int_equal(days, LAST_SECOND / 86400 + 1);
}

static void both_formats_agree_with_gmtime(void **state)
{
    uint64_t realtime_s = 12345;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct tm at;
        time_t time;
        char date[64];
        char stamp[64];

        realtime_s = (realtime_s * 6364136223846793005u + 1442695040888963407u);
        time = (time_t)((realtime_s >> 16) % (LAST_SECOND + 1));
        assert_non_null(gmtime_r(&time, &at));
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &at);
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S.987Z", &at);
        assert_http_date((uint64_t)time, date);
        assert_rfc3339((uint64_t)time * 1000 + 987, stamp);
    }
}

static void rfc3339_follows_the_milliseconds_within_a_second(void **state)
{
    (void)state;
    assert_rfc3339(0, "1970-01-01T00:00:00.000Z");
    assert_rfc3339(784111777001, "1994-11-06T08:49:37.001Z");
    assert_rfc3339(784111777999, "1994-11-06T08:49:37.999Z");
    assert_rfc3339(784111777010, "1994-11-06T08:49:37.010Z");
}

static void rfc3339_follows_a_clock_that_jumps(void **state)
{
    (void)state;
    assert_rfc3339(784111777000, "1994-11-06T08:49:37.000Z");
    assert_rfc3339(784111778000, "1994-11-06T08:49:38.000Z");
    assert_rfc3339(784111777000, "1994-11-06T08:49:37.000Z");
    assert_rfc3339(0, "1970-01-01T00:00:00.000Z");
    assert_rfc3339(784111777000, "1994-11-06T08:49:37.000Z");
}

static void rfc3339_after_9999_stays_at_its_last_millisecond(void **state)
{
    uint64_t last_ms = LAST_SECOND * 1000 + 999;

    (void)state;
    assert_rfc3339(last_ms, "9999-12-31T23:59:59.999Z");
    assert_rfc3339(last_ms + 1, "9999-12-31T23:59:59.999Z");
    assert_rfc3339(UINT64_MAX, "9999-12-31T23:59:59.999Z");
}

struct stamper {
    pthread_barrier_t *start;
    uint64_t realtime_ms;
    const char *expected;
    unsigned long wrong;
};

static void *write_stamps(void *arg)
{
    struct stamper *stamper = arg;

    pthread_barrier_wait(stamper->start);
    for (int i = 0; i < 2000000; i++) {
        char out[HCS_RFC3339_LENGTH];

        hcs_clock_rfc3339(stamper->realtime_ms, out);
        if (memcmp(out, stamper->expected, sizeof out) != 0) {
            stamper->wrong++;
        }
    }
    return NULL;
}

static void rfc3339_of_one_thread_is_not_disturbed_by_another(void **state)
{
    pthread_t threads[2];
    pthread_barrier_t start;
    struct stamper stampers[] = {
        {.start = &start,
            .realtime_ms = 784111777001,
            .expected = "1994-11-06T08:49:37.001Z"},
        {.start = &start,
            .realtime_ms = 1,
            .expected = "1970-01-01T00:00:00.001Z"},
    };

    (void)state;
    assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_stamps, &stampers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(stampers[i].wrong, 0);
    }
    pthread_barrier_destroy(&start);
}

static void monotonic_clock_never_goes_back_and_does_advance(void **state)
{
    struct timespec nap = {.tv_nsec = 3000000};
    uint64_t first = hcs_clock_ns();
    uint64_t last = first;
    uint64_t first_ms = hcs_clock_ms();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        uint64_t now = hcs_clock_ns();

        assert_true(now >= last);
        last = now;
    }
    nanosleep(&nap, NULL);
    assert_true(hcs_clock_ns() - first >= 3000000);
    assert_true(hcs_clock_ms() - first_ms >= 2);
}

static void monotonic_units_agree(void **state)
{
    uint64_t before = hcs_clock_ns();
    uint64_t ms = hcs_clock_ms();
    uint64_t after = hcs_clock_ns();

    (void)state;
    assert_true(before / 1000000 <= ms);
    assert_true(ms <= after / 1000000);
}

static void realtime_agrees_with_the_system(void **state)
{
    struct timespec before;
    struct timespec after;
    uint64_t ms;

    (void)state;
    clock_gettime(CLOCK_REALTIME, &before);
    ms = hcs_clock_realtime_ms();
    clock_gettime(CLOCK_REALTIME, &after);
    assert_true(ms >= (uint64_t)before.tv_sec * 1000 +
                          (uint64_t)before.tv_nsec / 1000000);
    assert_true(ms <= (uint64_t)after.tv_sec * 1000 +
                          (uint64_t)after.tv_nsec / 1000000);
}

static void a_clock_set_before_1970_counts_as_its_first_moment(void **state)
{
    uint64_t ms;

    (void)state;
    before_1970 = true;
    ms = hcs_clock_realtime_ms();
    before_1970 = false;
    assert_int_equal(ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_date_is_an_imf_fixdate),
        cmocka_unit_test(http_date_after_9999_stays_at_its_last_second),
        cmocka_unit_test(http_date_is_right_on_every_day_up_to_9999),
        cmocka_unit_test(both_formats_agree_with_gmtime),
        cmocka_unit_test(rfc3339_follows_the_milliseconds_within_a_second),
        cmocka_unit_test(rfc3339_follows_a_clock_that_jumps),
        cmocka_unit_test(rfc3339_after_9999_stays_at_its_last_millisecond),
        cmocka_unit_test(rfc3339_of_one_thread_is_not_disturbed_by_another),
        cmocka_unit_test(monotonic_clock_never_goes_back_and_does_advance),
        cmocka_unit_test(monotonic_units_agree),
        cmocka_unit_test(realtime_agrees_with_the_system),
        cmocka_unit_test(a_clock_set_before_1970_counts_as_its_first_moment),
    };

    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
