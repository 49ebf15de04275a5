#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"

#include <string.h>

static const uint64_t UNTOUCHED = 0x5a5a5a5a5a5a5a5a;

static void assert_ns(const char *text, uint64_t expected)
{
    uint64_t ns = UNTOUCHED;

    if (!hcs_parse_duration(text, &ns)) {
        fail_msg("\"%s\" was refused", text);
    }
    assert_int_equal(ns, expected);
}

static void assert_refused(const char *text)
{
    uint64_t ns = UNTOUCHED;

    if (hcs_parse_duration(text, &ns)) {
        fail_msg("\"%s\" was taken", text);
    }
    assert_int_equal(ns, UNTOUCHED);
}

static void each_unit_has_its_length(void **state)
{
    (void)state;
    assert_ns("1ns", 1);
    assert_ns("1us", 1000);
    assert_ns("1ms", 1000 * 1000);
    assert_ns("1s", 1000 * 1000 * 1000);
    assert_ns("1m", UINT64_C(60) * 1000 * 1000 * 1000);
    assert_ns("1h", UINT64_C(3600) * 1000 * 1000 * 1000);
}

static void digits_are_a_decimal_number(void **state)
{
    (void)state;
    assert_ns("0s", 0);
    assert_ns("0ns", 0);
    assert_ns("250ms", 250000000);
    assert_ns("1234567890ns", 1234567890);
    assert_ns("010ns", 10); /* not octal */
    assert_ns("00000000000000000000000000000007us", 7000);
}

static void the_largest_of_each_unit_fits_and_one_more_does_not(void **state)
{
    (void)state;
    assert_ns("18446744073709551615ns", UINT64_MAX);
    assert_refused("18446744073709551616ns");
    assert_ns("18446744073709551us", UINT64_C(18446744073709551000));
    assert_refused("18446744073709552us");
    assert_ns("18446744073709ms", UINT64_C(18446744073709000000));
    assert_refused("18446744073710ms");
    assert_ns("18446744073s", UINT64_C(18446744073000000000));
    assert_refused("18446744074s");
    assert_ns("307445734m", UINT64_C(18446744040000000000));
    assert_refused("307445735m");
    assert_ns("5124095h", UINT64_C(18446742000000000000));
    assert_refused("5124096h");
}

static void digits_that_wrap_round_are_refused(void **state)
{
    (void)state;
    assert_refused("18446744073709551626ns"); /* 2^64 + 10 */
    assert_refused("184467440737095516150ns");
    assert_refused("36893488147419103233ns"); /* 2 * 2^64 + 1 */
    assert_refused("99999999999999999999999999999999999999999999s");
}

static void a_number_needs_a_unit_and_a_unit_a_number(void **state)
{
    (void)state;
    assert_refused("");
    assert_refused("0");
    assert_refused("15");
    assert_refused("s");
    assert_refused("ms");
}

static void nothing_stands_before_between_or_behind(void **state)
{
    (void)state;
    assert_refused("+1s");
    assert_refused("-1s");
    assert_refused("-0s");
    assert_refused(" 1s");
    assert_refused("1 s");
    assert_refused("1s ");
    assert_refused("1s\n");
    assert_refused("1.5s");
    assert_refused("1,5s");
    assert_refused("1e3s");
    assert_refused("0x10s");
    assert_refused("1m30s");
    assert_refused("1ss");
    assert_refused("1s1");
}

static void only_the_known_units_are_taken(void **state)
{
    (void)state;
    assert_refused("1S");
    assert_refused("1MS");
    assert_refused("1H");
    assert_refused("1d");
    assert_refused("1n");
    assert_refused("1u");
    assert_refused("1sec");
    assert_refused("1min");
    assert_refused("1\xc2\xb5s");    /* micro sign */
    assert_refused("\xd9\xa1s");     /* a digit one, but not ours */
    assert_refused("1\xef\xbd\x93"); /* a full-width s */
}

/* --- Sizes. */

static void assert_bytes(const char *text, uint64_t expected)
{
    uint64_t bytes = UNTOUCHED;

    if (!hcs_parse_size(text, &bytes)) {
        fail_msg("\"%s\" was refused", text);
    }
    assert_int_equal(bytes, expected);
}

static void size_is_bytes_or_has_a_unit(void **state)
{
    (void)state;
    assert_bytes("0", 0);
    assert_bytes("17", 17);
    assert_bytes("0017", 17);
    assert_bytes("17B", 17);
    assert_bytes("64KiB", 65536);
    assert_bytes("1MiB", 1 << 20);
    assert_bytes("3GiB", UINT64_C(3) << 30);
    assert_bytes("2TiB", UINT64_C(2) << 40);
    assert_bytes("18446744073709551615", UINT64_MAX);
    assert_bytes("16777215TiB", UINT64_C(16777215) << 40);
}

static void size_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {"", "B", "KiB", "1K", "1kib", "1KB", "1k",
        "1MIB", "1 KiB", " 1", "1 ", "-1", "+1", "1.5MiB", "0x10", "1KiB1",
        "1KiBB", "18446744073709551616", "18446744073709551616B", "16777216TiB",
        "99999999999999999999999"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t bytes = UNTOUCHED;

        if (hcs_parse_size(bad[i], &bytes)) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
        assert_int_equal(bytes, UNTOUCHED);
    }
}

/* --- Texts of durations. */

static void duration_is_told_in_the_largest_unit_that_fits(void **state)
{
    static const char *const texts[] = {"0s", "1ns", "999ns", "1us", "1001ns",
        "250ms", "1s", "59s", "1m", "90s", "1h", "90m", "24h", "25h",
        "3600001ms", "18446744073709551615ns", "5124095h"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char out[HCS_DURATION_TEXT];
        uint64_t ns = UNTOUCHED;

        assert_true(hcs_parse_duration(texts[i], &ns));
        hcs_duration_text(out, ns);
        assert_string_equal(out, texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_unit_has_its_length),
        cmocka_unit_test(digits_are_a_decimal_number),
        cmocka_unit_test(the_largest_of_each_unit_fits_and_one_more_does_not),
        cmocka_unit_test(digits_that_wrap_round_are_refused),
        cmocka_unit_test(a_number_needs_a_unit_and_a_unit_a_number),
        cmocka_unit_test(nothing_stands_before_between_or_behind),
        cmocka_unit_test(only_the_known_units_are_taken),
        cmocka_unit_test(size_is_bytes_or_has_a_unit),
        cmocka_unit_test(size_that_is_none_is_refused),
        cmocka_unit_test(duration_is_told_in_the_largest_unit_that_fits),
    };

    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
