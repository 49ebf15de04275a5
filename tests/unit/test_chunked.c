/* The chunked coding: every body is decoded whole, in pieces of every size and
 * cut at every position, and has to come out the same. */
#include "http/chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct decoded {
    enum hcs_chunk end;
    size_t used;
    char *data;
    size_t data_length;
};

/* Feeds one piece, from memory of exactly its size, so that the sanitizer sees
 * a read beyond it. */
static void feed(struct hcs_chunked *chunked, const char *bytes, size_t length,
    struct decoded *out)
{
    char *piece = malloc(length > 0 ? length : 1);
    size_t at = 0;

    assert_non_null(piece);
    memcpy(piece, bytes, length);
    do {
        const char *data = NULL;
        size_t used = SIZE_MAX;
        size_t data_length = 0;

        out->end = hcs_chunked_decode(
            chunked, piece + at, length - at, &used, &data, &data_length);
        assert_true(used <= length - at);
        if (out->end == HCS_CHUNK_DATA) {
            assert_true(data_length > 0);
            assert_true(data >= piece + at);
            assert_ptr_equal(data + data_length, piece + at + used);
            memcpy(out->data + out->data_length, data, data_length);
            out->data_length += data_length;
        }
        if (out->end == HCS_CHUNK_MORE) {
            assert_int_equal(used, length - at);
        }
        at += used;
    } while (out->end == HCS_CHUNK_DATA);
    out->used += at;
    free(piece);
}

/* The first piece has the length first, all others the length step. */
static struct decoded decode(
    const char *bytes, size_t length, size_t first, size_t step)
{
    struct hcs_chunked chunked = {0};
    struct decoded out = {.end = HCS_CHUNK_MORE, .data = malloc(length + 1)};
    size_t at = 0;

    assert_non_null(out.data);
    while (at < length && out.end == HCS_CHUNK_MORE) {
        size_t piece = at == 0 ? first : step;

        if (piece > length - at) {
            piece = length - at;
        }
        feed(&chunked, bytes + at, piece, &out);
        at += piece;
    }
    return out;
}

static void expect_same(
    const struct decoded *expected, const char *bytes, size_t length)
{
    for (size_t step = 1; step <= length; step++) {
        /* A cut at step, and then pieces of step bytes. */
        for (int round = 0; round < 2; round++) {
            struct decoded got =
                decode(bytes, length, step, round == 0 ? length : step);

            assert_int_equal(got.end, expected->end);
            assert_int_equal(got.used, expected->used);
            assert_int_equal(got.data_length, expected->data_length);
            assert_memory_equal(got.data, expected->data, got.data_length);
            free(got.data);
        }
    }
}

static void expect(const char *bytes, size_t length, enum hcs_chunk end,
    size_t used, const char *data, size_t data_length)
{
    struct decoded got = decode(bytes, length, length, length);

    if (got.end != end || got.used != used || got.data_length != data_length) {
        print_message("body: %.*s\n", (int)length, bytes);
    }
    assert_int_equal(got.end, end);
    assert_int_equal(got.used, used);
    assert_int_equal(got.data_length, data_length);
    assert_memory_equal(got.data, data, data_length);
    if (length <= 400) {
        expect_same(&got, bytes, length);
    }
    free(got.data);
}

/* A row is a body, or the name of the test that the rows below it make. */
struct row {
    const char *test; /* NULL: a body */
    const char *bytes;
    size_t length;
    enum hcs_chunk end;
    size_t used; /* at the end, or at the first wrong byte */
    const char *data;
    size_t data_length;
};

#define TEST(name)                                                             \
    {                                                                          \
        .test = #name                                                          \
    }
#define DONE(body, joined)                                                     \
    {                                                                          \
        NULL, body, sizeof(body) - 1, HCS_CHUNK_DONE, sizeof(body) - 1,        \
            joined, sizeof(joined) - 1                                         \
    }
/* All of the body is in order but for the byte behind good. */
#define BAD(good, rest, joined)                                                \
    {                                                                          \
        NULL, good rest, sizeof(good rest) - 1, HCS_CHUNK_BAD,                 \
            sizeof(good) - 1, joined, sizeof(joined) - 1                       \
    }

static const struct row rows[] = {
    TEST(chunks_are_joined),
    DONE("0\r\n\r\n", ""),
    DONE("5\r\nhello\r\n0\r\n\r\n", "hello"),
    DONE("1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", "abcdef"),
    DONE("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "01234567890123456789"),
    DONE("1F\r\n0123456789012345678901234567890\r\n000\r\n\r\n",
        "0123456789012345678901234567890"),
    /* Data that looks like framing. */
    DONE("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n"),
    DONE("3\r\n\0\r\n\r\n0\r\n\r\n", "\0\r\n"),

    TEST(size_is_hexadecimal_digits_only),
    BAD("", "\r\n\r\n", ""),
    BAD("", "g\r\n", ""),
    BAD("", "-1\r\n", ""),
    BAD("", "+1\r\na\r\n", ""),
    BAD("", " 1\r\na\r\n", ""),
    BAD("", "\t1\r\na\r\n", ""),
    BAD("", ";a\r\n", ""),
    BAD("0", "x1\r\na\r\n", ""),
    BAD("1 ", "\r\na\r\n", ""),
    BAD("1\t", "\r\na\r\n", ""),
    BAD("1", "_0\r\n", ""),
    BAD("1", ",1\r\n", ""),
    BAD("1", ".0\r\n", ""),
    BAD("1", "\0\r\n", ""),
    BAD("1", "\xb2\r\n", ""),
    BAD("1", "@\r\n", ""),
    BAD("1", "G\r\n", ""),
    BAD("1", "`\r\n", ""),
    BAD("1", "/\r\n", ""),
    BAD("1", ":\r\n", ""),
    BAD("1\r\na\r\n", "\r\n0\r\n\r\n", "a"),

    TEST(size_has_fifteen_digits_at_most),
    DONE("000000000000001\r\na\r\n000000000000000\r\n\r\n", "a"),
    BAD("000000000000000", "1\r\na\r\n", ""),
    BAD("fffffffffffffff", "f\r\n", ""),
    BAD("1\r\na\r\n000000000000000", "0\r\n\r\n", "a"),

    TEST(lines_end_in_crlf_exactly),
    BAD("1", "\na\r\n0\r\n\r\n", ""),
    BAD("1\r", "a\r\n", ""),
    BAD("1\r", "\r\na\r\n", ""),
    BAD("1\r\na", "\n0\r\n\r\n", "a"),
    BAD("1\r\na\r", "0\r\n\r\n", "a"),
    BAD("1\r\na", "b\r\n", "a"),
    BAD("1\r\na", "0\r\n\r\n", "a"),
    BAD("0", "\n\n", ""),
    BAD("0\r\n", "\n", ""),
    BAD("0\r\n\r", "\r\n", ""),
    BAD("0\r\n\r", "G", ""),
    BAD("1;a", "\nb\r\n", ""),
    BAD("0\r\nA:b", "\n\r\n", ""),
    BAD("0\r\nA:b\r", "\r\n", ""),

    TEST(extensions_are_checked_and_dropped),
    DONE("1;a\r\nx\r\n0;b\r\n\r\n", "x"),
    DONE("1;a=b;c;d=e\r\nx\r\n0\r\n\r\n", "x"),
    DONE("1;a=\"\"\r\nx\r\n0\r\n\r\n", "x"),
    DONE("1;a=\"b;c=\\\"d\\\\ \t\xff\";e\r\nx\r\n0\r\n\r\n", "x"),
    DONE(
        "1;!#$%&'*+-.^_`|~09AZaz=!#$%&'*+-.^_`|~09AZaz\r\nx\r\n0\r\n\r\n", "x"),
    BAD("1;", "\r\nx\r\n", ""),
    BAD("1;", ";a\r\nx\r\n", ""),
    BAD("1;", "=a\r\nx\r\n", ""),
    BAD("1;", "\"a\"\r\nx\r\n", ""),
    BAD("1;a=", "\r\nx\r\n", ""),
    BAD("1;a=", ";b\r\nx\r\n", ""),
    BAD("1;a=b", "=c\r\nx\r\n", ""),
    BAD("1;a=b", "\"c\"\r\nx\r\n", ""),
    BAD("1;a=\"b\"", "c\r\nx\r\n", ""),
    BAD("1;a=\"b", "\r\nx\r\n", ""),
    BAD("1;a=\"b", "\n\"\r\nx\r\n", ""),
    BAD("1;a=\"b", "\0\"\r\nx\r\n", ""),
    BAD("1;a=\"b", "\x7f\"\r\nx\r\n", ""),
    BAD("1;a=\"\\", "\r\nx\r\n", ""),
    BAD("1;a=\"\\", "\x01\"\r\nx\r\n", ""),
    BAD("1;a", "\0\r\nx\r\n", ""),
    BAD("1;a", "\x80\r\nx\r\n", ""),
    BAD("1;a", ",b\r\nx\r\n", ""),

    /* RFC 9112, 7.1.1 and RFC 9110, 5.6.3: what old senders do. */
    TEST(blanks_stand_around_the_signs_of_extensions_alone),
    DONE("1 ;a\r\nx\r\n0\t ; b\r\n\r\n", "x"),
    DONE("1; \ta \t=\t b ; c=\"d\" ;e\r\nx\r\n0\r\n\r\n", "x"),
    DONE("1;a ;b = c;d\r\nx\r\n0\r\n\r\n", "x"),
    BAD("1 ", "\r\nx\r\n", ""),
    BAD("1 ", "1\r\nx\r\n", ""),
    BAD("1\t", "=a\r\nx\r\n", ""),
    BAD("1; ", "\r\nx\r\n", ""),
    BAD("1; ", ";a\r\nx\r\n", ""),
    BAD("1;a ", "\r\nx\r\n", ""),
    BAD("1;a ", "b\r\nx\r\n", ""),
    BAD("1;a= ", "\r\nx\r\n", ""),
    BAD("1;a= ", ";b\r\nx\r\n", ""),
    BAD("1;a=b ", "\r\nx\r\n", ""),
    BAD("1;a=b ", "c\r\nx\r\n", ""),
    BAD("1;a=b ", "=c\r\nx\r\n", ""),
    BAD("1;a=\"b\" ", "\r\nx\r\n", ""),
    BAD("1;a", "\x0b;b\r\nx\r\n", ""),
    BAD("", " 1\r\nx\r\n", ""),

    TEST(trailers_are_checked_and_dropped),
    DONE("0\r\nA:b\r\n\r\n", ""),
    DONE("1\r\nx\r\n0\r\nA: b\r\nC:\r\nX-!#$%&'*+.^_`|~: d e\t\xff\r\n\r\n",
        "x"),
    BAD("0\r\n", ":b\r\n\r\n", ""),
    BAD("0\r\n", " A:b\r\n\r\n", ""),
    BAD("0\r\nA", " :b\r\n\r\n", ""),
    BAD("0\r\nA", "\t:b\r\n\r\n", ""),
    BAD("0\r\nA", "\r\n\r\n", ""),
    BAD("0\r\nA", "\0:b\r\n\r\n", ""),
    BAD("0\r\nA", "\xe9:b\r\n\r\n", ""),
    BAD("0\r\nA", "@:b\r\n\r\n", ""),
    BAD("0\r\nA", "/:b\r\n\r\n", ""),
    BAD("0\r\nA", "(:b\r\n\r\n", ""),
    BAD("0\r\nA:b\r\n", " folded\r\n\r\n", ""),
    BAD("0\r\nA:b\r\n", "\tfolded\r\n\r\n", ""),
    BAD("0\r\nA:b", "\0\r\n\r\n", ""),
    BAD("0\r\nA:b", "\x01\r\n\r\n", ""),
    BAD("0\r\nA:b", "\x7f\r\n\r\n", ""),
    BAD("0\r\nA:b", "\x0b\r\n\r\n", ""),
};

enum { ROWS = sizeof rows / sizeof rows[0] };

/* The rows behind the one that state points at. */
static void check_rows(void **state)
{
    const struct row *test = *state;

    for (const struct row *row = test + 1;
         row < rows + ROWS && row->test == NULL; row++) {
        expect(row->bytes, row->length, row->end, row->used, row->data,
            row->data_length);
    }
}

static void bytes_behind_the_body_are_left(void **state)
{
    static const char body[] = "3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";

    (void)state;
    expect(body, sizeof body - 1, HCS_CHUNK_DONE, 13, "abc", 3);
}

static void ended_body_takes_nothing_more(void **state)
{
    struct hcs_chunked chunked = {0};
    const char *data;
    size_t used, data_length;

    (void)state;
    assert_int_equal(hcs_chunked_decode(
                         &chunked, "0\r\n\r\n", 5, &used, &data, &data_length),
        HCS_CHUNK_DONE);
    assert_int_equal(
        hcs_chunked_decode(&chunked, "0\r\n", 3, &used, &data, &data_length),
        HCS_CHUNK_DONE);
    assert_int_equal(used, 0);
}

static void broken_body_stays_broken(void **state)
{
    struct hcs_chunked chunked = {0};
    const char *data;
    size_t used, data_length;

    (void)state;
    assert_int_equal(
        hcs_chunked_decode(&chunked, "x", 1, &used, &data, &data_length),
        HCS_CHUNK_BAD);
    assert_int_equal(hcs_chunked_decode(
                         &chunked, "0\r\n\r\n", 5, &used, &data, &data_length),
        HCS_CHUNK_BAD);
    assert_int_equal(used, 0);
}

static void no_bytes_are_no_news(void **state)
{
    struct hcs_chunked chunked = {0};
    const char *data;
    size_t used = 1, data_length;

    (void)state;
    assert_int_equal(
        hcs_chunked_decode(&chunked, "", 0, &used, &data, &data_length),
        HCS_CHUNK_MORE);
    assert_int_equal(used, 0);
}

static void size_of_fifteen_digits_is_the_longest(void **state)
{
    static const char most[] = "fffffffffffffff\r\nabc";
    struct hcs_chunked chunked = {0};
    struct decoded out = {.data = malloc(sizeof most)};

    (void)state;
    assert_non_null(out.data);
    feed(&chunked, most, sizeof most - 1, &out);
    assert_int_equal(out.end, HCS_CHUNK_MORE);
    assert_int_equal(out.data_length, 3);
    assert_true(chunked.left == UINT64_C(0xfffffffffffffff) - 3);
    free(out.data);
}

static void last_chunk_without_its_empty_line_is_not_the_end(void **state)
{
    static const char body[] = "1\r\na\r\n0\r\n";

    (void)state;
    expect(body, sizeof body - 1, HCS_CHUNK_MORE, sizeof body - 1, "a", 1);
}

/* Writes a body whose extensions, over two chunks, have that many bytes. */
static size_t with_extensions(char *out, size_t extension_bytes)
{
    size_t half = extension_bytes / 2;
    size_t length = 0;

    for (int i = 0; i < 2; i++) {
        size_t bytes = i == 0 ? half : extension_bytes - half;

        out[length++] = '1';
        out[length++] = ';';
        memset(out + length, 'e', bytes - 1);
        length += bytes - 1;
        memcpy(out + length, "\r\nx\r\n", 5);
        length += 5;
    }
    memcpy(out + length, "0\r\n\r\n", 5);
    return length + 5;
}

static void extensions_of_a_message_are_bounded(void **state)
{
    char body[HCS_CHUNK_EXTENSION_MAX + 64];
    size_t length = with_extensions(body, HCS_CHUNK_EXTENSION_MAX);
    struct decoded got;

    (void)state;
    expect(body, length, HCS_CHUNK_DONE, length, "xx", 2);
    length = with_extensions(body, HCS_CHUNK_EXTENSION_MAX + 1);
    /* Refused at the byte too many: the last one before its CRLF. */
    expect(body, length, HCS_CHUNK_BAD, length - 5 - 5 - 1, "x", 1);
    got = decode(body, length, 1, 1);
    assert_int_equal(got.end, HCS_CHUNK_BAD);
    assert_int_equal(got.used, length - 5 - 5 - 1);
    free(got.data);
}

static void trailers_are_bounded_apart_from_extensions(void **state)
{
    static char body[HCS_CHUNK_EXTENSION_MAX + HCS_CHUNK_TRAILER_MAX + 64];
    size_t length = with_extensions(body, HCS_CHUNK_EXTENSION_MAX) - 2;
    size_t end = length + HCS_CHUNK_TRAILER_MAX;

    (void)state;
    /* Fields of 8 bytes, and the last one as long as it may be. */
    while (end - length >= 32) {
        memcpy(body + length, "Ab: cd\r\n", 8);
        length += 8;
    }
    memset(body + length, 'x', end - length);
    body[length + 1] = ':';
    memcpy(body + end - 2, "\r\n\r\n", 4);
    expect(body, end + 2, HCS_CHUNK_DONE, end + 2, "xx", 2);

    memcpy(body + end - 2, "x\r\n\r\n", 5);
    expect(body, end + 3, HCS_CHUNK_BAD, end, "xx", 2);
}

static void state_stays_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct hcs_chunked) <= 16);
}

/* Whatever bytes come: whole and in pieces there is one verdict. */
static void mutated_bodies_have_one_verdict(void **state)
{
    static const char seed[] =
        "5;a=\"q\\\"\";b\r\nhello\r\n1\r\nx\r\n0;c\r\nA: b\r\nC:\r\n\r\nrest";
    static const char alphabet[] = "0aAfFgx;=\"\\:\r\n \t\0\x7f\x80";
    uint32_t random = 1;
    unsigned ends[4] = {0};

    (void)state;
    for (int round = 0; round < 4000; round++) {
        char body[sizeof seed];
        struct decoded whole;

        memcpy(body, seed, sizeof seed);
        for (int i = 0; i < 1 + round % 3; i++) {
            random = random * 1664525 + 1013904223;
            body[(random >> 8) % (sizeof seed - 1)] =
                alphabet[(random >> 20) % (sizeof alphabet - 1)];
        }
        whole = decode(body, sizeof seed - 1, sizeof seed, sizeof seed);
        ends[whole.end]++;
        expect_same(&whole, body, sizeof seed - 1);
        free(whole.data);
    }
    assert_true(ends[HCS_CHUNK_DONE] > 0 && ends[HCS_CHUNK_BAD] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_behind_the_body_are_left),
        cmocka_unit_test(ended_body_takes_nothing_more),
        cmocka_unit_test(broken_body_stays_broken),
        cmocka_unit_test(no_bytes_are_no_news),
        cmocka_unit_test(size_of_fifteen_digits_is_the_longest),
        cmocka_unit_test(last_chunk_without_its_empty_line_is_not_the_end),
        cmocka_unit_test(extensions_of_a_message_are_bounded),
        cmocka_unit_test(trailers_are_bounded_apart_from_extensions),
        cmocka_unit_test(state_stays_small),
        cmocka_unit_test(mutated_bodies_have_one_verdict),
    };

    struct CMUnitTest tables[ROWS] = {{0}}; /* unnamed: no test */
    size_t count = 0;

    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].test != NULL) {
            tables[count].name = rows[i].test;
            tables[count].test_func = check_rows;
            tables[count++].initial_state = (void *)&rows[i];
        }
    }
    return cmocka_run_group_tests_name("chunked: rows", tables, NULL, NULL) +
           cmocka_run_group_tests_name("chunked", tests, NULL, NULL);
}
