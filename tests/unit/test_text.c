#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_u64(uint64_t value)
{
    char expected[32];
    char out[HCS_TEXT_U64_MAX + 1];
    int length = snprintf(expected, sizeof expected, "%" PRIu64, value);

    memset(out, '#', sizeof out);
    assert_int_equal(hcs_text_u64(out, value), length);
    assert_memory_equal(out, expected, (size_t)length);
    assert_int_equal(out[length], '#');
}

static void assert_ms2(uint64_t ns, const char *expected)
{
    char out[HCS_TEXT_MS2_MAX + 1];
    size_t length = strlen(expected);

    memset(out, '#', sizeof out);
    assert_int_equal(hcs_text_ms2(out, ns), length);
    assert_memory_equal(out, expected, length);
    assert_int_equal(out[length], '#');
}

static void u64_is_right_on_both_sides_of_each_length(void **state)
{
    uint64_t power = 1;

    (void)state;
    assert_u64(0);
    for (int digits = 1; digits < HCS_TEXT_U64_MAX; digits++) {
        power *= 10;
        assert_u64(power - 1);
        assert_u64(power);
        assert_u64(power + 1);
    }
    assert_u64(UINT64_MAX);
}

static void u64_is_right_for_each_pair_of_digits(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 20000; value++) {
        assert_u64(value);
    }
}

static void u64_is_right_for_values_of_any_size(void **state)
{
    uint64_t value = 1;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        value = value * 6364136223846793005u + 1442695040888963407u;
        assert_u64(value >> i % 64);
    }
}

static void ms2_always_has_two_decimals(void **state)
{
    (void)state;
    assert_ms2(0, "0.00");
    assert_ms2(10000, "0.01");
    assert_ms2(1200000, "1.20");
    assert_ms2(1000000, "1.00");
    assert_ms2(3410000, "3.41");
    assert_ms2(60000000000, "60000.00");
}

static void ms2_rounds_to_the_nearest_hundredth(void **state)
{
    (void)state;
    assert_ms2(4999, "0.00");
    assert_ms2(5000, "0.01");
    assert_ms2(14999, "0.01");
    assert_ms2(15000, "0.02");
    assert_ms2(994999, "0.99");
    assert_ms2(995000, "1.00");
    assert_ms2(9999999, "10.00");
}

static void ms2_takes_the_largest_time(void **state)
{
    (void)state;
    assert_ms2(UINT64_MAX, "18446744073709.55");
    assert_ms2(UINT64_MAX - 551615, "18446744073709.00");
}

static void assert_uuid7(uint64_t realtime_ms, uint64_t random_a,
    uint64_t random_b, const char *expected)
{
    char out[HCS_TEXT_UUID_LENGTH + 1];

    memset(out, '#', sizeof out);
    hcs_text_uuid7(out, realtime_ms, random_a, random_b);
    assert_int_equal(out[HCS_TEXT_UUID_LENGTH], '#');
    out[HCS_TEXT_UUID_LENGTH] = '\0';
    assert_string_equal(out, expected);
}

static void uuid7_matches_the_example_of_rfc_9562(void **state)
{
    (void)state; /* appendix A.6 */
    assert_uuid7(0x017f22e279b0, 0xcc3, 0x18c4dc0c0c07398f,
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

static void uuid7_keeps_version_and_variant_whatever_the_rest(void **state)
{
    (void)state;
    assert_uuid7(0, 0, 0, "00000000-0000-7000-8000-000000000000");
    assert_uuid7(UINT64_MAX, UINT64_MAX, UINT64_MAX,
        "ffffffff-ffff-7fff-bfff-ffffffffffff");
}

static void uuid7_puts_each_byte_in_its_place(void **state)
{
    (void)state;
    assert_uuid7(0x0123456789ab, 0xcde, 0x0f1e2d3c4b5a6978,
        "01234567-89ab-7cde-8f1e-2d3c4b5a6978");
    assert_uuid7(0xfedcba987654, 0x321, 0x3a0b1c2d3e4f5061,
        "fedcba98-7654-7321-ba0b-1c2d3e4f5061");
}

static void uuid7_writes_every_byte_as_its_two_digits(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        char expected[HCS_TEXT_UUID_LENGTH + 1];

        snprintf(expected, sizeof expected,
            "00000000-00%02x-7000-8000-0000000000%02x", byte, 255 - byte);
        assert_uuid7(byte, 0, 255 - byte, expected);
    }
}

static void uuid7_sorts_by_time(void **state)
{
    char earlier[HCS_TEXT_UUID_LENGTH];

    (void)state;
    hcs_text_uuid7(earlier, 1700000000000, UINT64_MAX, UINT64_MAX);
    for (uint64_t ms = 1; ms < 1000000000000; ms *= 3) {
        char later[HCS_TEXT_UUID_LENGTH];

        hcs_text_uuid7(later, 1700000000000 + ms, 0, 0);
        assert_true(memcmp(earlier, later, sizeof later) < 0);
        memcpy(earlier, later, sizeof later);
    }
}

/* --- UTF-8. */

/* At the exact end of a block, so that a sanitizer sees a look behind it. */
static void assert_utf8(
    const char *bytes, size_t length, size_t expected, bool expected_valid)
{
    unsigned char *copy = malloc(length);
    bool valid = !expected_valid;

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    assert_int_equal(hcs_text_utf8(copy, length, &valid), expected);
    assert_int_equal(valid, expected_valid);
    free(copy);
}

static void utf8_knows_each_character(void **state)
{
    (void)state;
    for (uint32_t point = 0x80; point < 0x110000; point++) {
        unsigned char bytes[5] = {0};
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        size_t length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        bool valid;
        size_t taken;

        for (size_t i = length - 1; i > 0; i--) {
            bytes[i] =
                (unsigned char)(0x80 | (point >> 6 * (length - 1 - i) & 0x3f));
        }
        bytes[0] = (unsigned char)((0xf00 >> length & 0xff) |
                                   point >> 6 * (length - 1));
        taken = hcs_text_utf8(bytes, length, &valid);
        assert_int_equal(valid, !surrogate);
        assert_int_equal(taken, surrogate ? 1 : length);
    }
}

/* Unicode, section 3.9: as much as could have become one character. */
static void utf8_takes_what_is_none_in_the_best_pieces(void **state)
{
    (void)state;
    assert_utf8("\x80", 1, 1, false);
    assert_utf8("\xbf\x80", 2, 1, false);
    assert_utf8("\xc0\x80", 2, 1, false); /* overlong */
    assert_utf8("\xc1\xbf", 2, 1, false);
    assert_utf8("\xe0\x9f\xbf", 3, 1, false);
    assert_utf8("\xf0\x8f\xbf\xbf", 4, 1, false);
    assert_utf8("\xed\xa0\x80", 3, 1, false); /* a surrogate */
    assert_utf8("\xf4\x90\x80\x80", 4, 1, false);
    assert_utf8("\xf5\x80\x80\x80", 4, 1, false);
    assert_utf8("\xff", 1, 1, false);
    assert_utf8("\xc3", 1, 1, false); /* cut */
    assert_utf8("\xe2\x82", 2, 2, false);
    assert_utf8("\xf0\x9f\x98", 3, 3, false);
    assert_utf8("\xc3z", 2, 1, false);
    assert_utf8("\xe2\x82z", 3, 2, false);
    assert_utf8("\xf0\x9f\x98\xc3", 4, 3, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(u64_is_right_on_both_sides_of_each_length),
        cmocka_unit_test(u64_is_right_for_each_pair_of_digits),
        cmocka_unit_test(u64_is_right_for_values_of_any_size),
        cmocka_unit_test(ms2_always_has_two_decimals),
        cmocka_unit_test(ms2_rounds_to_the_nearest_hundredth),
        cmocka_unit_test(ms2_takes_the_largest_time),
        cmocka_unit_test(uuid7_matches_the_example_of_rfc_9562),
        cmocka_unit_test(uuid7_keeps_version_and_variant_whatever_the_rest),
        cmocka_unit_test(uuid7_puts_each_byte_in_its_place),
        cmocka_unit_test(uuid7_writes_every_byte_as_its_two_digits),
        cmocka_unit_test(uuid7_sorts_by_time),
        cmocka_unit_test(utf8_knows_each_character),
        cmocka_unit_test(utf8_takes_what_is_none_in_the_best_pieces),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
