/* Percent-encoding. */
#include "base/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Texts that may hold a NUL, each with its length. */
#define TEXT(literal) (literal), sizeof(literal) - 1

static const struct {
    const char *encoded;
    size_t encoded_length;
    const char *decoded;
    size_t decoded_length;
    bool is_encoded; /* two digits follow each "%" */
} CASES[] = {
    {TEXT(""), TEXT(""), true},
    {TEXT("a"), TEXT("a"), true},
    {TEXT("/a/b.c~d"), TEXT("/a/b.c~d"), true},
    {TEXT("a+b"), TEXT("a+b"), true}, /* a plus is not a blank */
    {TEXT("%41"), TEXT("A"), true},
    {TEXT("%41%42"), TEXT("AB"), true},
    {TEXT("x%41y"), TEXT("xAy"), true},
    {TEXT("%2f%2F"), TEXT("//"), true},
    {TEXT("%aF%Af"), TEXT("\xaf\xaf"), true},
    {TEXT("%c3%A9"), TEXT("\xc3\xa9"), true},
    {TEXT("%ff%FE"), TEXT("\xff\xfe"), true},
    {TEXT("\xff\xfe"), TEXT("\xff\xfe"), true},
    {TEXT("%00"), TEXT("\0"), true},
    {TEXT("a%00b"), TEXT("a\0b"), true},
    {TEXT("a\0b"), TEXT("a\0b"), true},
    {TEXT("%25"), TEXT("%"), true},
    {TEXT("%2541"), TEXT("%41"), true}, /* once, not twice */
    {TEXT("%25%34%31"), TEXT("%41"), true},
    {TEXT("%"), TEXT("%"), false},
    {TEXT("%4"), TEXT("%4"), false},
    {TEXT("a%"), TEXT("a%"), false},
    {TEXT("a%4"), TEXT("a%4"), false},
    {TEXT("%%41"), TEXT("%A"), false},
    {TEXT("%4%41"), TEXT("%4A"), false},
    {TEXT("%41%"), TEXT("A%"), false},
    {TEXT("%4g"), TEXT("%4g"), false},
    {TEXT("%g4"), TEXT("%g4"), false},
    {TEXT("%:0"), TEXT("%:0"), false}, /* the neighbours of the digits */
    {TEXT("%/0"), TEXT("%/0"), false},
    {TEXT("%0@"), TEXT("%0@"), false},
    {TEXT("%0G"), TEXT("%0G"), false},
    {TEXT("%0`"), TEXT("%0`"), false},
    {TEXT("% 4"), TEXT("% 4"), false},
    {TEXT("%+4"), TEXT("%+4"), false},
    {TEXT("%\x11\x11"), TEXT("%\x11\x11"), false}, /* '1' without 0x20 */
    {TEXT("%0x41"), TEXT("%0x41"), false},
    {TEXT("%\0"
          "41"),
        TEXT("%\0"
             "41"),
        false},
};

enum { CASE_COUNT = sizeof(CASES) / sizeof(CASES[0]), ROOM = 16 };

static void text_is_decoded_and_other_percent_signs_stay(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        char out[ROOM];
        size_t used = SIZE_MAX;

        assert_true(hcs_uri_decode(CASES[i].encoded, CASES[i].encoded_length,
            out, CASES[i].decoded_length, &used));
        assert_int_equal(used, CASES[i].decoded_length);
        assert_memory_equal(out, CASES[i].decoded, used);
    }
}

static void result_that_has_no_room_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        for (size_t room = 0; room < CASES[i].decoded_length; room++) {
            char out[ROOM];
            size_t used;

            memset(out, '#', sizeof(out));
            assert_false(hcs_uri_decode(
                CASES[i].encoded, CASES[i].encoded_length, out, room, &used));
            assert_int_equal(out[room], '#');
        }
    }
}

static void two_digits_must_follow_each_percent_sign(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        if (hcs_uri_is_encoded(CASES[i].encoded, CASES[i].encoded_length) !=
            CASES[i].is_encoded) {
            fail_msg("\"%s\"", CASES[i].encoded);
        }
    }
}

static void text_is_decoded_in_place_and_ended(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        char text[ROOM];
        size_t length = CASES[i].decoded_length;
        bool has_nul = memchr(CASES[i].decoded, '\0', length) != NULL;

        memset(text, '#', sizeof(text));
        memcpy(text, CASES[i].encoded, CASES[i].encoded_length);
        assert_int_equal(
            hcs_uri_decode_text(text, CASES[i].encoded_length, text), !has_nul);
        assert_memory_equal(text, CASES[i].decoded, length);
        assert_int_equal(text[length], '\0');
        assert_int_equal(text[CASES[i].encoded_length + 1], '#');
    }
}

/* Bytes behind the length are not read, even if they are digits. */
static void length_ends_the_text(void **state)
{
    char out[ROOM];
    size_t used;

    (void)state;
    assert_false(hcs_uri_is_encoded("%412", 2));
    assert_true(hcs_uri_decode("%412", 2, out, sizeof(out), &used));
    assert_int_equal(used, 2);
    assert_memory_equal(out, "%4", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_decoded_and_other_percent_signs_stay),
        cmocka_unit_test(result_that_has_no_room_is_refused),
        cmocka_unit_test(two_digits_must_follow_each_percent_sign),
        cmocka_unit_test(text_is_decoded_in_place_and_ended),
        cmocka_unit_test(length_ends_the_text),
    };

    return cmocka_run_group_tests_name("uri", tests, NULL, NULL);
}
