/* Numbers, durations and sizes as people write them. */
#include "base/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint64_t UNTOUCHED = 0x5a5a5a5a5a5a5a5a;

/* --- hcs_parse_duration, which handlers call. */

static void duration_has_digits_and_a_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {
        {"1ns", 1},
        {"1us", 1000},
        {"1ms", 1000 * 1000},
        {"1s", 1000 * 1000 * 1000},
        {"1m", UINT64_C(60) * 1000 * 1000 * 1000},
        {"1h", UINT64_C(3600) * 1000 * 1000 * 1000},
        {"0s", 0},
        {"0ns", 0},
        {"250ms", 250000000},
        {"1234567890ns", 1234567890},
        {"010ns", 10}, /* not octal */
        {"00000000000000000000000000000007us", 7000},
        /* The largest of each unit. */
        {"18446744073709551615ns", UINT64_MAX},
        {"18446744073709551us", UINT64_C(18446744073709551000)},
        {"18446744073709ms", UINT64_C(18446744073709000000)},
        {"18446744073s", UINT64_C(18446744073000000000)},
        {"307445734m", UINT64_C(18446744040000000000)},
        {"5124095h", UINT64_C(18446742000000000000)},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t ns = UNTOUCHED;

        if (!hcs_parse_duration(cases[i].text, &ns)) {
            fail_msg("\"%s\" was refused", cases[i].text);
        }
        assert_int_equal(ns, cases[i].ns);
    }
}

static void duration_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {
        /* One more than the largest of each unit. */
        "18446744073709551616ns", "18446744073709552us", "18446744073710ms",
        "18446744074s", "307445735m", "5124096h",
        /* Digits that wrap round: 2^64 + 10, and 2 * 2^64 + 1. */
        "18446744073709551626ns", "184467440737095516150ns",
        "36893488147419103233ns",
        "99999999999999999999999999999999999999999999s",
        /* A number needs a unit, and a unit a number. */
        "", "0", "15", "s", "ms",
        /* Nothing stands before, between or behind. */
        "+1s", "-1s", "-0s", " 1s", "1 s", "1s ", "1s\n", "1.5s", "1,5s",
        "1e3s", "0x10s", "1m30s", "1ss", "1s1",
        /* Units that are not known. */
        "1S", "1MS", "1H", "1d", "1n", "1u", "1sec", "1min",
        "1\xc2\xb5s",    /* micro sign */
        "\xd9\xa1s",     /* a digit one, but not ours */
        "1\xef\xbd\x93", /* a full-width s */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint64_t ns = UNTOUCHED;

        if (hcs_parse_duration(bad[i], &ns)) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
        assert_int_equal(ns, UNTOUCHED);
    }
}

/* --- What settings hold. */

#define NS_UNIT "the unit must be ns, us, ms, s, m or h"
#define MS_UNIT "the unit must be ms, s, m or h"
#define BYTE_UNIT "the unit must be B, KiB, MiB, GiB or TiB"
#define FRACTION "a fraction; write a whole number of a smaller unit"

static void quantity_is_taken_or_the_reason_is_said(void **state)
{
    static const struct {
        enum hcs_quantity quantity;
        const char *text;
        const char *why; /* NULL: it is taken */
        uint64_t value;
        uint64_t min, max; /* max 0: all */
    } cases[] = {
        {HCS_BYTES, "0", NULL, 0, 0, 0},
        {HCS_BYTES, "17", NULL, 17, 0, 0},
        {HCS_BYTES, "0017", NULL, 17, 0, 0},
        {HCS_BYTES, "17B", NULL, 17, 0, 0},
        {HCS_BYTES, "64KiB", NULL, 65536, 0, 0},
        {HCS_BYTES, "1MiB", NULL, 1 << 20, 0, 0},
        {HCS_BYTES, "3GiB", NULL, UINT64_C(3) << 30, 0, 0},
        {HCS_BYTES, "2TiB", NULL, UINT64_C(2) << 40, 0, 0},
        {HCS_BYTES, "18446744073709551615", NULL, UINT64_MAX, 0, 0},
        {HCS_BYTES, "16777215TiB", NULL, UINT64_C(16777215) << 40, 0, 0},
        {HCS_BYTES, "7", NULL, 7, 7, 7},
        {HCS_BYTES, "6", "too small", 0, 7, 8},
        {HCS_BYTES, "9", "too large", 0, 7, 8},
        {HCS_BYTES, "", "not a size", 0, 0, 0},
        {HCS_BYTES, "B", "not a size", 0, 0, 0},
        {HCS_BYTES, "KiB", "not a size", 0, 0, 0},
        {HCS_BYTES, " 1", "not a size", 0, 0, 0},
        {HCS_BYTES, "-1", "not a size", 0, 0, 0},
        {HCS_BYTES, "+1", "not a size", 0, 0, 0},
        {HCS_BYTES, "1K", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1kib", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1KB", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1k", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1MIB", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1 KiB", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1 ", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "0x10", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1KiB1", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1KiBB", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1.MiB", BYTE_UNIT, 0, 0, 0},
        {HCS_BYTES, "1.5MiB", FRACTION, 0, 0, 0},
        {HCS_BYTES, "18446744073709551616", "too large", 0, 0, 0},
        {HCS_BYTES, "18446744073709551616B", "too large", 0, 0, 0},
        {HCS_BYTES, "16777216TiB", "too large", 0, 0, 0},
        {HCS_BYTES, "99999999999999999999999", "too large", 0, 0, 0},

        {HCS_NANOSECONDS, "0", NULL, 0, 0, 0},
        {HCS_NANOSECONDS, "00", NULL, 0, 0, 0},
        {HCS_NANOSECONDS, "1us", NULL, 1000, 0, 0},
        {HCS_NANOSECONDS, "0", "too small", 0, 1, 5},
        {HCS_NANOSECONDS, "5", "no unit; write 5s or 5ms", 0, 0, 0},
        {HCS_NANOSECONDS, "18446744073709551616",
            "no unit; write 18446744073709551616s or 18446744073709551616ms", 0,
            0, 0},
        {HCS_NANOSECONDS, "1d", NS_UNIT, 0, 0, 0},
        {HCS_NANOSECONDS, "1.5s", FRACTION, 0, 0, 0},
        {HCS_NANOSECONDS, "soon", "not a duration", 0, 0, 0},

        {HCS_MILLISECONDS, "0", NULL, 0, 0, 0},
        {HCS_MILLISECONDS, "0h", NULL, 0, 0, 0},
        {HCS_MILLISECONDS, "7ms", NULL, 7, 0, 0},
        {HCS_MILLISECONDS, "7s", NULL, 7000, 0, 0},
        {HCS_MILLISECONDS, "7m", NULL, 420000, 0, 0},
        {HCS_MILLISECONDS, "7h", NULL, 25200000, 0, 0},
        {HCS_MILLISECONDS, "18446744073709551615ms", NULL, UINT64_MAX, 0, 0},
        {HCS_MILLISECONDS, "18446744073709552s", "too large", 0, 0, 0},
        {HCS_MILLISECONDS, "7us", MS_UNIT, 0, 0, 0},
        {HCS_MILLISECONDS, "7000000ns", MS_UNIT, 0, 0, 0},
        {HCS_MILLISECONDS, "", "not a duration", 0, 0, 0},

        {HCS_COUNT, "0", NULL, 0, 0, 0},
        {HCS_COUNT, "010", NULL, 10, 0, 0},
        {HCS_COUNT, "9223372036854775807", NULL, INT64_MAX, 0, 0},
        {HCS_COUNT, "9223372036854775808", "too large", 0, 0, 0},
        {HCS_COUNT, "18446744073709551617", "too large", 0, 0, 0},
        {HCS_COUNT, "-1", "too small", 0, 0, 0},
        {HCS_COUNT, "6", "too small", 0, 7, 8},
        {HCS_COUNT, "9", "too large", 0, 7, 8},
        {HCS_COUNT, "", "not a whole number", 0, 0, 0},
        {HCS_COUNT, "+1", "not a whole number", 0, 0, 0},
        {HCS_COUNT, " 1", "not a whole number", 0, 0, 0},
        {HCS_COUNT, "1 ", "not a whole number", 0, 0, 0},
        {HCS_COUNT, "1.5", "not a whole number", 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t all = cases[i].quantity == HCS_COUNT ? INT64_MAX : UINT64_MAX;
        uint64_t value = UNTOUCHED;
        char why[HCS_UNITS_WHY] = "";

        if (hcs_units_read(cases[i].quantity, cases[i].text, cases[i].min,
                cases[i].max != 0 ? cases[i].max : all, &value,
                why) != (cases[i].why == NULL)) {
            fail_msg("\"%s\": %s", cases[i].text, why);
        }
        assert_string_equal(why, cases[i].why != NULL ? cases[i].why : "");
        assert_int_equal(
            value, cases[i].why != NULL ? UNTOUCHED : cases[i].value);
    }
}

static void integer_may_be_negative(void **state)
{
    static const struct {
        const char *text;
        const char *why; /* NULL: it is taken */
        int64_t value;
        int64_t min, max;
    } cases[] = {
        {"-10", NULL, -10, -10, 5},
        {"-9", NULL, -9, -10, 5},
        {"5", NULL, 5, -10, 5},
        {"-11", "too small", 0, -10, 5},
        {"6", "too large", 0, -10, 5},
        {"-9223372036854775808", NULL, INT64_MIN, INT64_MIN, INT64_MAX},
        {"9223372036854775807", NULL, INT64_MAX, INT64_MIN, INT64_MAX},
        {"-9223372036854775809", "too small", 0, INT64_MIN, INT64_MAX},
        {"9223372036854775808", "too large", 0, INT64_MIN, INT64_MAX},
        {"-", "not a whole number", 0, -10, 5},
        {"--1", "not a whole number", 0, -10, 5},
        {"- 1", "not a whole number", 0, -10, 5},
        {" -1", "not a whole number", 0, -10, 5},
        {"-1s", "not a whole number", 0, -10, 5},
        {"0x1", "not a whole number", 0, -10, 5},
        {"\xd9\xa1", "not a whole number", 0, -10, 5},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t value = -77;
        char why[HCS_UNITS_WHY] = "";

        if (hcs_units_read_integer(cases[i].text, cases[i].min, cases[i].max,
                &value, why) != (cases[i].why == NULL)) {
            fail_msg("\"%s\": %s", cases[i].text, why);
        }
        assert_string_equal(why, cases[i].why != NULL ? cases[i].why : "");
        assert_true(value == (cases[i].why != NULL ? -77 : cases[i].value));
    }
}

/* --- Printing. */

static void quantity_is_printed_in_the_largest_unit_that_fits(void **state)
{
    static const struct {
        enum hcs_quantity quantity;
        const char *text;
        const char *printed; /* NULL: the same */
    } cases[] = {
        {HCS_NANOSECONDS, "0s", NULL},
        {HCS_NANOSECONDS, "1ns", NULL},
        {HCS_NANOSECONDS, "999ns", NULL},
        {HCS_NANOSECONDS, "1us", NULL},
        {HCS_NANOSECONDS, "1001ns", NULL},
        {HCS_NANOSECONDS, "250ms", NULL},
        {HCS_NANOSECONDS, "1s", NULL},
        {HCS_NANOSECONDS, "59s", NULL},
        {HCS_NANOSECONDS, "1m", "60s"},
        {HCS_NANOSECONDS, "90s", NULL},
        {HCS_NANOSECONDS, "120s", "2m"},
        {HCS_NANOSECONDS, "1h", "60m"},
        {HCS_NANOSECONDS, "90m", NULL},
        {HCS_NANOSECONDS, "2h", NULL},
        {HCS_NANOSECONDS, "24h", NULL},
        {HCS_NANOSECONDS, "25h", NULL},
        {HCS_NANOSECONDS, "3600001ms", NULL},
        {HCS_NANOSECONDS, "18446744073709551615ns", NULL},
        {HCS_NANOSECONDS, "5124095h", NULL},
        {HCS_MILLISECONDS, "0", "0s"},
        {HCS_MILLISECONDS, "1ms", NULL},
        {HCS_MILLISECONDS, "1000ms", "1s"},
        {HCS_MILLISECONDS, "119s", NULL},
        {HCS_MILLISECONDS, "120s", "2m"},
        {HCS_MILLISECONDS, "24h", NULL},
        {HCS_MILLISECONDS, "18446744073709551615ms", NULL},
        {HCS_BYTES, "0", "0B"},
        {HCS_BYTES, "1023", "1023B"},
        {HCS_BYTES, "1024", "1KiB"},
        {HCS_BYTES, "1025KiB", NULL},
        {HCS_BYTES, "1024MiB", "1GiB"},
        {HCS_BYTES, "1024TiB", NULL},
        {HCS_BYTES, "18446744073709551615B", NULL},
        {HCS_COUNT, "0", NULL},
        {HCS_COUNT, "100000", NULL},
        {HCS_COUNT, "9223372036854775807", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t all = cases[i].quantity == HCS_COUNT ? INT64_MAX : UINT64_MAX;
        const char *expected =
            cases[i].printed != NULL ? cases[i].printed : cases[i].text;
        char out[HCS_UNITS_TEXT];
        char why[HCS_UNITS_WHY];
        uint64_t value = UNTOUCHED;
        uint64_t again = UNTOUCHED;

        assert_true(hcs_units_read(
            cases[i].quantity, cases[i].text, 0, all, &value, why));
        hcs_units_print(out, cases[i].quantity, value);
        assert_string_equal(out, expected);
        assert_true(
            hcs_units_read(cases[i].quantity, out, 0, all, &again, why));
        assert_int_equal(again, value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duration_has_digits_and_a_unit),
        cmocka_unit_test(duration_that_is_none_is_refused),
        cmocka_unit_test(quantity_is_taken_or_the_reason_is_said),
        cmocka_unit_test(integer_may_be_negative),
        cmocka_unit_test(quantity_is_printed_in_the_largest_unit_that_fits),
    };

    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
