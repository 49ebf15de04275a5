#include "base/json.h"
#include "base/json_escape.h"
#include "base/json_members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

/* Texts are validated between two pages that nobody may touch, so that a read
 * beyond either end is a crash. */
enum { YARD_BYTES = 64 * 1024 };

static char *yard; /* YARD_BYTES of it; made by the group's setup */

static int make_yard(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *at = mmap(NULL, YARD_BYTES + 2 * page, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    if (at == MAP_FAILED ||
        mprotect(at + page, YARD_BYTES, PROT_READ | PROT_WRITE) != 0) {
        return -1;
    }
    yard = at + page;
    return 0;
}

static int remove_yard(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    return munmap(yard - page, YARD_BYTES + 2 * page);
}

/* Copies the text against the yard's end; this copy is the one that is borrowed
 * until the next call. */
static const char *put(const char *text, size_t length)
{
    char *at = yard + YARD_BYTES - length;

    assert_true(length <= YARD_BYTES);
    if (length > 0) {
        memmove(at, text, length);
    }
    return at;
}

static struct hcs_json_result validate(const char *text, size_t length)
{
    struct hcs_json_result at_end;
    struct hcs_json_result at_start;

    at_end = hcs_json_validate(put(text, length), length);
    memmove(yard, yard + YARD_BYTES - length, length);
    at_start = hcs_json_validate(yard, length);
    assert_int_equal(at_end.error, at_start.error);
    assert_int_equal(at_end.offset, at_start.offset);
    return at_end;
}

static void expect(const char *text, size_t length, enum hcs_json_error error,
    size_t offset, int line)
{
    struct hcs_json_result result = validate(text, length);

    if (result.error != error || result.offset != offset) {
        fail_msg("line %d: \"%.*s\" gives error %d at %zu, not %d at %zu", line,
            (int)length, text, (int)result.error, result.offset, (int)error,
            offset);
    }
}

/* A text, and what its validation gives. */
struct verdict {
    int line;
    const char *text;
    size_t length;
    enum hcs_json_error error;
    size_t offset;
};

/* For literals, so that they may hold zeros. */
#define VERDICT(error, offset, text)                                           \
    {                                                                          \
        __LINE__, text, sizeof(text) - 1, HCS_JSON_##error, offset             \
    }
#define ACCEPTED(text) VERDICT(OK, sizeof(text) - 1, text)
#define REFUSED(error, offset, text) VERDICT(error, offset, text)
#define TRUNCATED(text) VERDICT(TRUNCATED, sizeof(text) - 1, text)

static const struct verdict verdicts[] = {
    /* every kind of value is accepted */
    ACCEPTED("true"), ACCEPTED("false"), ACCEPTED("null"), ACCEPTED("0"),
    ACCEPTED("\"\""), ACCEPTED("\"text\""), ACCEPTED("[]"), ACCEPTED("{}"),
    ACCEPTED("[1]"), ACCEPTED("[1,2,\"three\",[],{},null]"),
    ACCEPTED("{\"a\":1}"),
    ACCEPTED("{\"a\":{\"b\":[{\"c\":[]},{}]},\"d\":\"e\"}"),
    ACCEPTED("{\"same\":1,\"same\":2}"), ACCEPTED("{\"\":\"\"}"),
    /* white space is allowed between tokens only */
    ACCEPTED(" \t\r\n1 \t\r\n"), ACCEPTED(" [ ] "), ACCEPTED(" { } "),
    ACCEPTED("\n[\n1\n,\n2\n]\n"),
    ACCEPTED("\t{\t\"a\"\t:\t1\t,\t\"b\"\t:\t[\t]\t}\t"),
    ACCEPTED("{\n                    \"deep\": 1\n}"),
    REFUSED(SYNTAX, 0, "\v1"), REFUSED(SYNTAX, 0, "\f1"),
    REFUSED(SYNTAX, 0, "\0001"), REFUSED(SYNTAX, 1, "[\xc2\xa0]"),
    REFUSED(TRAILING, 1, "1\f"), REFUSED(SYNTAX, 3, "nul l"),
    REFUSED(TRAILING, 2, "1 2"), REFUSED(NUMBER, 1, "- 1"),
    /* text without a value is empty */
    REFUSED(EMPTY, 0, ""), REFUSED(EMPTY, 1, " "), REFUSED(EMPTY, 4, " \t\r\n"),
    /* number grammar is that of section 6 */
    ACCEPTED("-0"), ACCEPTED("9"), ACCEPTED("10"), ACCEPTED("-10.01"),
    ACCEPTED("0.5"), ACCEPTED("0e0"), ACCEPTED("-0.0e-0"), ACCEPTED("1e5"),
    ACCEPTED("1E+5"), ACCEPTED("1e-05"), ACCEPTED("1.0E00"), ACCEPTED("1e400"),
    ACCEPTED("-1e-400"), ACCEPTED("9007199254740993"),
    ACCEPTED("123456789012345678901234567890.123456789012345678901234567890"),
    ACCEPTED("[0,-0,1e5,0.1]"), ACCEPTED("[0 ,1\t]"), REFUSED(NUMBER, 1, "01"),
    REFUSED(NUMBER, 1, "00"), REFUSED(NUMBER, 2, "-01"),
    REFUSED(NUMBER, 2, "[01]"), REFUSED(NUMBER, 0, ".5"),
    REFUSED(NUMBER, 1, "-.5"), REFUSED(NUMBER, 0, "+1"),
    REFUSED(NUMBER, 1, "--1"), REFUSED(NUMBER, 1, "-a"),
    REFUSED(NUMBER, 1, "-Infinity"), REFUSED(NUMBER, 3, "[1.]"),
    REFUSED(NUMBER, 2, "1.e5"), REFUSED(NUMBER, 3, "[1e]"),
    REFUSED(NUMBER, 4, "[1e+]"), REFUSED(NUMBER, 2, "1e.5"),
    REFUSED(NUMBER, 3, "1e+-5"), REFUSED(NUMBER, 3, "1e5.5"),
    REFUSED(NUMBER, 3, "1.2.3"), REFUSED(NUMBER, 1, "0x10"),
    REFUSED(NUMBER, 3, "1e5e5"), REFUSED(NUMBER, 1, "1-2"),
    REFUSED(NUMBER, 1, "1+2"), REFUSED(NUMBER, 3, "123abc"),
    REFUSED(SYNTAX, 4, "[1,2_000]"), REFUSED(SYNTAX, 2, "[1\"a\"]"),
    REFUSED(SYNTAX, 0, "Infinity"), REFUSED(SYNTAX, 0, "NaN"),
    REFUSED(SYNTAX, 1, "nan"),
    REFUSED(SYNTAX, 0, "\xef\xbc\x91"), /* a full-width 1 */
    TRUNCATED("-"), TRUNCATED("1."), TRUNCATED("1e"), TRUNCATED("1E+"),
    TRUNCATED("1E-"), TRUNCATED("[-"), TRUNCATED("[1"),
    /* literals are exact */
    ACCEPTED("[true,false,null]"), TRUNCATED("t"), TRUNCATED("tru"),
    TRUNCATED("fals"), TRUNCATED("nul"), TRUNCATED("[nul"),
    REFUSED(SYNTAX, 4, "[tru]"), REFUSED(SYNTAX, 3, "nul1"),
    REFUSED(SYNTAX, 0, "True"), REFUSED(SYNTAX, 1, "tRUE"),
    REFUSED(SYNTAX, 1, "fASLE"), REFUSED(TRAILING, 4, "truee"),
    REFUSED(TRAILING, 4, "null0"), REFUSED(SYNTAX, 5, "[truefalse]"),
    REFUSED(SYNTAX, 0, "undefined"),
    /* structure is checked */
    REFUSED(SYNTAX, 0, "]"), REFUSED(SYNTAX, 0, ","), REFUSED(SYNTAX, 0, ":"),
    REFUSED(SYNTAX, 0, "'a'"), REFUSED(SYNTAX, 0, "\xff"),
    REFUSED(SYNTAX, 0, "//1"), REFUSED(SYNTAX, 3, "[1,]"),
    REFUSED(SYNTAX, 1, "[,1]"), REFUSED(SYNTAX, 3, "[1,,2]"),
    REFUSED(SYNTAX, 3, "[1 2]"), REFUSED(SYNTAX, 2, "[1:2]"),
    REFUSED(SYNTAX, 2, "[1}"), REFUSED(SYNTAX, 1, "[}"),
    REFUSED(SYNTAX, 1, "{]"), REFUSED(SYNTAX, 1, "{a:1}"),
    REFUSED(SYNTAX, 1, "{1:1}"), REFUSED(SYNTAX, 1, "{null:1}"),
    REFUSED(SYNTAX, 1, "{,}"), REFUSED(SYNTAX, 1, "{'a':1}"),
    REFUSED(SYNTAX, 4, "{\"a\"}"), REFUSED(SYNTAX, 4, "{\"a\",1}"),
    REFUSED(SYNTAX, 5, "{\"a\":}"), REFUSED(SYNTAX, 5, "{\"a\":,}"),
    REFUSED(SYNTAX, 5, "{\"a\"::1}"), REFUSED(SYNTAX, 7, "{\"a\":1,}"),
    REFUSED(SYNTAX, 6, "{\"a\":1]"), REFUSED(SYNTAX, 6, "{\"a\":1:2}"),
    REFUSED(SYNTAX, 7, "{\"a\":1 \"b\":2}"), REFUSED(SYNTAX, 7, "{\"a\":1,2}"),
    REFUSED(SYNTAX, 2, "[1/**/]"), TRUNCATED("["), TRUNCATED("[1"),
    TRUNCATED("[1,"), TRUNCATED("[[]"), TRUNCATED("{"), TRUNCATED("{\"a"),
    TRUNCATED("{\"a\""), TRUNCATED("{\"a\":"), TRUNCATED("{\"a\":1"),
    TRUNCATED("{\"a\":1,"), TRUNCATED("{\"a\":1,\"b\" "),
    /* nothing may follow the value */
    REFUSED(TRAILING, 2, "{}{}"), REFUSED(TRAILING, 2, "[]]"),
    REFUSED(TRAILING, 2, "{}}"), REFUSED(TRAILING, 1, "1,"),
    REFUSED(TRAILING, 1, "1]"), REFUSED(TRAILING, 3, "{} x"),
    REFUSED(TRAILING, 4, "null\0"), REFUSED(TRAILING, 2, "\"\"\"\""),
    REFUSED(TRAILING, 2, "[]\xef\xbb\xbf"),
    REFUSED(TRAILING, 4, "[]\r\n// a comment"),
    /* byte order mark is named */
    REFUSED(BOM, 0, "\xef\xbb\xbf{}"), REFUSED(BOM, 0, "\xef\xbb\xbf"),
    REFUSED(SYNTAX, 1, " \xef\xbb\xbf{}"), /* not at the start: no mark */
    REFUSED(SYNTAX, 0, "\xef\xbb"),
    REFUSED(SYNTAX, 0, "\xff\xfe[\0]\0"), /* UTF-16 */
    REFUSED(SYNTAX, 0, "\0[\0]"),
    ACCEPTED("\"\xef\xbb\xbf\""), /* U+FEFF is a character like others */
    /* escapes are those of section 7 */
    ACCEPTED("\"\\u0000\""),
    ACCEPTED("{\"\\u0000\":\"\\\\\\\"\\/\\b\\f\\n\\r\\t\\u00e9\"}"),
    TRUNCATED("\"\\"), TRUNCATED("\"\\\""), TRUNCATED("\"\\u"),
    TRUNCATED("\"\\u00e"), TRUNCATED("\"\\u00e9"),
    REFUSED(STRING, 3, "\"\\u\""), REFUSED(STRING, 6, "\"\\u00e\""),
    REFUSED(STRING, 2, "\"\\U00e9\""), REFUSED(STRING, 3, "\"a\\\n\""),
    /* escaped surrogates come in pairs */
    ACCEPTED("\"\\ud83d\\ude00\""), ACCEPTED("\"\\uD83D\\uDE00\""),
    ACCEPTED("\"\\uD800\\uDC00\\uDBFF\\uDFFF\""),
    ACCEPTED("\"\\ud7ff\\ue000\\uffff\\ufffe\""),
    REFUSED(SURROGATE, 7, "\"\\ud800\""), REFUSED(SURROGATE, 7, "\"\\ud800x\""),
    REFUSED(SURROGATE, 7, "\"\\ud800\n\""),
    REFUSED(SURROGATE, 8, "\"\\ud800\\n\""),
    REFUSED(SURROGATE, 9, "\"\\ud800\\u0041\""),
    REFUSED(SURROGATE, 10, "\"\\ud800\\ud7ff\""),
    REFUSED(SURROGATE, 10, "\"\\ud800\\ud800\\udc00\""),
    REFUSED(SURROGATE, 4, "\"\\udc00\""),
    REFUSED(SURROGATE, 4, "\"\\uDFFF\\uD800\""),
    REFUSED(SURROGATE, 16, "\"\\ud800\\udc00\\udc00\""),
    REFUSED(SURROGATE, 10, "\"\\ud800\\udx\""),
    REFUSED(STRING, 5, "\"\\ud8x\""), REFUSED(STRING, 11, "\"\\ud800\\udcx\""),
    REFUSED(STRING, 4, "\"\\ud\""), TRUNCATED("\"\\ud"), TRUNCATED("\"\\ud8"),
    TRUNCATED("\"\\ud800"), TRUNCATED("\"\\ud800\\"), TRUNCATED("\"\\ud800\\u"),
    TRUNCATED("\"\\ud800\\ud"), TRUNCATED("\"\\ud800\\udc"),
    TRUNCATED("\"\\ud800\\udc0"), TRUNCATED("\"\\ud800\\udc00"),
    /* strings are utf8 */
    ACCEPTED("\"\xc2\x80\xdf\xbf\""),
    ACCEPTED("\"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\""),
    ACCEPTED("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""),
    ACCEPTED(
        "{\"na\xc3\xafve\":\"\xe6\x97\xa5\xe6\x9c\xac, \xf0\x9f\x98\x80!\"}"),
    REFUSED(UTF8, 1, "\"\x80\""),     /* nothing to continue */
    REFUSED(UTF8, 1, "\"\xc0\xaf\""), /* overlong */
    REFUSED(UTF8, 1, "\"\xc1\xbf\""), REFUSED(UTF8, 2, "\"\xe0\x9f\xbf\""),
    REFUSED(UTF8, 2, "\"\xf0\x8f\xbf\xbf\""),
    REFUSED(UTF8, 2, "\"\xed\xa0\x80\""),     /* U+D800 */
    REFUSED(UTF8, 2, "\"\xed\xbf\xbf\""),     /* U+DFFF */
    REFUSED(UTF8, 2, "\"\xf4\x90\x80\x80\""), /* U+110000 */
    REFUSED(UTF8, 1, "\"\xf5\x80\x80\x80\""),
    REFUSED(UTF8, 1, "\"\xf8\x88\x80\x80\x80\""), REFUSED(UTF8, 1, "\"\xff\""),
    REFUSED(UTF8, 2, "\"\xc3\""), /* cut by the quote */
    REFUSED(UTF8, 3, "\"\xe2\x82\""), REFUSED(UTF8, 4, "\"\xf0\x9f\x98\""),
    REFUSED(UTF8, 3,
        "\"\xe2\x82"
        "A\""),
    REFUSED(UTF8, 10, "\"abcdefgh\xc3(\""), REFUSED(UTF8, 2, "{\"\xff\":1}"),
    TRUNCATED("\"\xc3"), TRUNCATED("\"\xe2\x82"), TRUNCATED("\"\xf0\x9f\x98"),
    REFUSED(UTF8, 2, "\"\xe0\x80"), /* wrong before it is cut */
};

static void each_text_gets_its_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
        const struct verdict *v = &verdicts[i];

        expect(v->text, v->length, v->error, v->offset, v->line);
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed * UINT64_C(0x2545f4914f6cdd1d) >> 32;
}

static void text_without_a_value_is_empty(void **state)
{
    struct hcs_json_result none = hcs_json_validate(NULL, 0);

    (void)state;
    assert_int_equal(none.error, HCS_JSON_EMPTY);
    assert_int_equal(none.offset, 0);
}

static void escapes_are_those_of_section_7(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[] = {'"', '\\', (char)byte, '"'};
        bool good = byte != 0 && strchr("\"\\/bfnrt", (int)byte) != NULL;

        if (byte == 'u') {
            expect(text, sizeof(text), HCS_JSON_STRING, 3, __LINE__);
        } else if (good) {
            expect(text, sizeof(text), HCS_JSON_OK, sizeof(text), __LINE__);
        } else {
            expect(text, sizeof(text), HCS_JSON_STRING, 2, __LINE__);
        }
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        bool good =
            byte != 0 && strchr("0123456789abcdefABCDEF", (int)byte) != NULL;

        for (size_t i = 0; i < 4; i++) {
            char text[] = "\"\\u0000\"";

            text[3 + i] = (char)byte;
            if (good) {
                expect(text, sizeof(text) - 1, HCS_JSON_OK, sizeof(text) - 1,
                    __LINE__);
            } else {
                expect(
                    text, sizeof(text) - 1, HCS_JSON_STRING, 3 + i, __LINE__);
            }
        }
    }
}

static bool is_high(unsigned unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low(unsigned unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

static void escaped_surrogates_come_in_pairs(void **state)
{
    static const unsigned firsts[] = {
        0x0041, 0xd7ff, 0xd800, 0xd83d, 0xdbff, 0xdc00, 0xdfff, 0xe000};

    (void)state;
    for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
        unsigned first = firsts[i];

        for (unsigned second = 0; second <= 0xffff; second++) {
            char text[32];
            size_t length = (size_t)snprintf(
                text, sizeof(text), "\"\\u%04x\\u%04X\"", first, second);
            bool good = is_high(first) ? is_low(second)
                                       : !is_low(first) && !is_high(second) &&
                                             !is_low(second);
            struct hcs_json_result result = hcs_json_validate(text, length);

            assert_int_equal(
                result.error, good ? HCS_JSON_OK : HCS_JSON_SURROGATE);
        }
    }
}

/* Section 4 of RFC 3629, spelled out otherwise than in json.c: decodes, and
 * looks at the code point. Gives the sequence's length, or 0. */
static size_t utf8_length(const uint8_t *bytes, size_t length)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t count = bytes[0] < 0x80           ? 1
                   : (bytes[0] >> 5) == 0x06 ? 2
                   : (bytes[0] >> 4) == 0x0e ? 3
                   : (bytes[0] >> 3) == 0x1e ? 4
                                             : 0;
    uint32_t point;

    if (count < 2 || count > length) {
        return count == 1 ? 1 : 0;
    }
    point = bytes[0] & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (bytes[i] & 0x3f);
    }
    if (point < least[count] || point > 0x10ffff ||
        (point >= 0xd800 && point <= 0xdfff)) {
        return 0;
    }
    return count;
}

/* A string of up to four bytes, none of them ASCII but in its tail. */
static void check_utf8(const uint8_t *bytes, size_t count)
{
    char text[8] = {'"'};
    bool good = true;
    struct hcs_json_result result;

    for (size_t at = 0; at < count && good;) {
        size_t step = utf8_length(bytes + at, count - at);

        good = step > 0;
        at += step;
    }
    memcpy(text + 1, bytes, count);
    text[count + 1] = '"';
    result = hcs_json_validate(text, count + 2);
    if (result.error != (good ? HCS_JSON_OK : HCS_JSON_UTF8)) {
        fail_msg("%02x %02x %02x %02x, of which %zu: error %d", bytes[0],
            bytes[1], bytes[2], bytes[3], count, (int)result.error);
    }
}

static void strings_are_utf8(void **state)
{
    static const uint8_t thirds[] = {0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xff};

    (void)state;
    for (unsigned lead = 0x80; lead <= 0xff; lead++) {
        for (unsigned next = 0x80; next <= 0xff; next++) {
            uint8_t bytes[4] = {(uint8_t)lead, (uint8_t)next};

            check_utf8(bytes, 1);
            check_utf8(bytes, 2);
            for (unsigned third = 0x80; third <= 0xff; third++) {
                bytes[2] = (uint8_t)third;
                check_utf8(bytes, 3);
            }
            for (size_t i = 0; i < sizeof(thirds) * sizeof(thirds); i++) {
                bytes[2] = thirds[i / sizeof(thirds)];
                bytes[3] = thirds[i % sizeof(thirds)];
                check_utf8(bytes, 4);
            }
        }
    }
}

/* Each byte at each place of a run of plain ones: the run is looked at eight or
 * sixteen bytes at a time, and nothing of that may show. */
static void every_byte_is_seen_at_every_place_of_a_string(void **state)
{
    enum { RUN_MAX = 44 };

    (void)state;
    for (size_t run = 1; run <= RUN_MAX; run++) {
        for (size_t place = 0; place < run; place++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                char text[RUN_MAX + 2];
                size_t length = run + 2;
                enum hcs_json_error error = HCS_JSON_OK;
                size_t offset = length;

                memset(text, 'a', length);
                text[0] = '"';
                text[run + 1] = '"';
                text[1 + place] = (char)byte;
                if (byte < 0x20) {
                    error = HCS_JSON_STRING;
                    offset = 1 + place;
                } else if (byte == '"') {
                    error = HCS_JSON_TRAILING;
                    offset = 2 + place;
                } else if (byte == '\\' && place + 1 == run) {
                    error = HCS_JSON_TRUNCATED; /* escapes the last quote */
                } else if (byte == '\\') {
                    error = HCS_JSON_STRING;
                    offset = 2 + place;
                } else if (byte >= 0xc2 && byte <= 0xf4) {
                    error = HCS_JSON_UTF8;
                    offset = 2 + place;
                } else if (byte >= 0x80) {
                    error = HCS_JSON_UTF8;
                    offset = 1 + place;
                }
                expect(text, length, error, offset, __LINE__);
            }
        }
    }
}

static void depth_is_limited(void **state)
{
    enum { TOO_DEEP = HCS_JSON_DEPTH_MAX + 1 };
    static char text[6 * TOO_DEEP];
    size_t length;

    (void)state;
    memset(text, '[', TOO_DEEP);
    memset(text + HCS_JSON_DEPTH_MAX, ']', HCS_JSON_DEPTH_MAX);
    length = 2 * HCS_JSON_DEPTH_MAX;
    expect(text, length, HCS_JSON_OK, length, __LINE__);

    memset(text, '[', TOO_DEEP);
    expect(text, TOO_DEEP, HCS_JSON_DEPTH, HCS_JSON_DEPTH_MAX, __LINE__);
    text[HCS_JSON_DEPTH_MAX] = '{';
    expect(text, TOO_DEEP, HCS_JSON_DEPTH, HCS_JSON_DEPTH_MAX, __LINE__);

    length = 0;
    for (size_t i = 0; i < HCS_JSON_DEPTH_MAX; i++) {
        memcpy(text + length, "{\"\":", 4);
        length += 4;
    }
    text[length++] = '{';
    expect(text, length, HCS_JSON_DEPTH, length - 1, __LINE__);
    text[length - 1] = '1';
    memset(text + length, '}', HCS_JSON_DEPTH_MAX);
    length += HCS_JSON_DEPTH_MAX;
    expect(text, length, HCS_JSON_OK, length, __LINE__);
}

static void depth_counts_what_is_open_and_not_what_was(void **state)
{
    static char text[4 * 2000];
    size_t length = 0;

    (void)state;
    text[length++] = '[';
    for (int i = 0; i < 2000; i++) {
        memcpy(text + length, i % 2 == 0 ? "[]," : "{},", 3);
        length += 3;
    }
    text[length - 1] = ']';
    expect(text, length, HCS_JSON_OK, length, __LINE__);
}

/* Arrays and objects mixed at random: each closes only with its own bracket,
 * at every depth, also where others stood before. */
static void each_level_closes_with_its_own_bracket(void **state)
{
    enum { ROUNDS = 20 };
    static char text[8 * HCS_JSON_DEPTH_MAX];
    uint64_t seed = 20240229;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        bool object[HCS_JSON_DEPTH_MAX];
        size_t depth = 1 + next_random(&seed) % HCS_JSON_DEPTH_MAX;
        size_t length = 0;
        size_t closers;

        text[length++] = '[';
        for (size_t i = 1; i < depth; i++) { /* dirties the bits */
            text[length++] = '[';
        }
        for (size_t i = 1; i < depth; i++) {
            text[length++] = ']';
        }
        text[length++] = ',';
        for (size_t i = 1; i < depth; i++) {
            object[i] = next_random(&seed) % 2 == 0;
            if (object[i]) {
                memcpy(text + length, "{\"\":", 4);
                length += 4;
            } else {
                text[length++] = '[';
            }
        }
        text[length++] = '7';
        closers = length;
        for (size_t i = depth - 1; i >= 1; i--) {
            text[length++] = object[i] ? '}' : ']';
        }
        text[length++] = ']';
        expect(text, length, HCS_JSON_OK, length, __LINE__);
        for (size_t at = closers; at < length; at++) {
            char right = text[at];

            text[at] = right == '}' ? ']' : '}';
            expect(text, length, HCS_JSON_SYNTAX, at, __LINE__);
            text[at] = right;
        }
    }
}

/* Valid texts: for the tests that cut, mutate and compare. */
static const char *const samples[] = {
    "{\"data\":{\"hello\":\"world\"}}",
    "{\"request_id\":\"test-123\",\"data\":{\"key\":\"value\",\"n\":"
    "9007199254740993}}",
    " { \"a\" : [ 1 , -2.5e+10 , true , false , null ] , \"b\" : { } } ",
    "[[[]],[{}],{\"a\":[[{\"b\":{}}]]},\"\",0]",
    "{\"data\":[0,-0,0.0,1e5,1E-7,123456789012345678901234567890]}",
    "\"\\u00e9\\ud83d\\ude00 \\\"quoted\\\" \\\\ \\/ \\b\\f\\n\\r\\t plain\"",
    "{\"na\xc3\xafve\":\"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e "
    "\xf0\x9f\x98\x80\",\"d\\u0061ta\":1}",
    "[\"a long string that takes more than one step of eight bytes\",\"b\"]",
    "\n{\n    \"pretty\": [\n        {\n            \"a\": 1\n        }\n    "
    "]\n}\n",
    "{\"a\":1,\"a\":2,\"A\":3,\"\":4,\"b\":\"[{\\\"]}\"}",
    "-12.5e-3",
    "null",
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

static void every_prefix_is_truncated_or_valid_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        const char *text = samples[i];
        size_t length = strlen(text);
        size_t valid = 0;

        expect(text, length, HCS_JSON_OK, length, __LINE__);
        for (size_t cut = 0; cut < length; cut++) {
            if (strspn(text, " \n") >= cut) {
                expect(text, cut, HCS_JSON_EMPTY, cut, __LINE__);
            } else if (validate(text, cut).error == HCS_JSON_OK) {
                valid++;
            } else {
                expect(text, cut, HCS_JSON_TRUNCATED, cut, __LINE__);
            }
        }
        /* -1 -12 -12.5 -12.5e-3, and texts that end in white space */
        if (text[0] == '-') {
            assert_int_equal(valid, 3);
        } else {
            assert_int_equal(
                valid, text[length - 1] == ' ' || text[length - 1] == '\n');
        }
    }
}

enum { MUTANT_MAX = 512 };

/* A sample with a few random changes. */
static size_t mutate(char mutant[MUTANT_MAX], uint64_t *seed)
{
    static const char *const tokens[] = {"[", "]", "{", "}", ",", ":", "\"",
        "\\", "0", "-", ".", "e", "1", "true", "null", "\"a\":", "[]", "{}",
        "\\u0000", "\\ud800", "\\udc00", "\xc3\xa9", "\xed\xa0\x80", " ", "\n",
        "\t", "\"x\"", ",1", "1e9", "\\n"};
    const char *sample = samples[next_random(seed) % SAMPLES];
    size_t length = strlen(sample);
    size_t changes = next_random(seed) % 4;

    memcpy(mutant, sample, length);
    for (size_t i = 0; i < changes; i++) {
        size_t at = next_random(seed) % (length + 1);
        size_t from = next_random(seed) % (length + 1);
        const char *token = NULL;
        size_t added = 0;
        char copy[16];

        switch (next_random(seed) % 6) {
        case 0: /* another byte */
            if (at < length) {
                mutant[at] = (char)next_random(seed);
            }
            break;
        case 1: /* a byte less */
            if (at < length) {
                memmove(mutant + at, mutant + at + 1, length - at - 1);
                length--;
            }
            break;
        case 2: /* a byte of the text itself */
            if (at < length && from < length) {
                mutant[at] = mutant[from];
            }
            break;
        case 3: /* a piece twice */
            added = 1 + next_random(seed) % sizeof(copy);
            if (from + added > length) {
                added = length - from;
            }
            memcpy(copy, mutant + from, added);
            token = copy;
            break;
        default:
            token = tokens[next_random(seed) %
                           (sizeof(tokens) / sizeof(tokens[0]))];
            added = strlen(token);
            break;
        }
        if (token != NULL && length + added <= MUTANT_MAX) {
            memmove(mutant + at + added, mutant + at, length - at);
            memcpy(mutant + at, token, added);
            length += added;
        }
    }
    return length;
}

/* The offset says: so far it could have become valid, and with this byte it no
 * longer can, whatever follows. */
static void offset_is_that_of_the_first_wrong_byte(void **state)
{
    enum { ROUNDS = 60000 };
    uint64_t seed = 8259;
    size_t refused = 0;
    size_t seen[HCS_JSON_TRUNCATED + 1] = {0};

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        char mutant[MUTANT_MAX];
        size_t length = mutate(mutant, &seed);
        struct hcs_json_result whole = validate(mutant, length);
        struct hcs_json_result before;
        struct hcs_json_result with;

        seen[whole.error]++;
        if (whole.error == HCS_JSON_OK || whole.error == HCS_JSON_EMPTY ||
            whole.error == HCS_JSON_TRUNCATED) {
            assert_int_equal(whole.offset, length);
            continue;
        }
        refused++;
        assert_true(whole.offset < length);
        before = hcs_json_validate(mutant, whole.offset);
        with = hcs_json_validate(mutant, whole.offset + 1);
        if ((before.error != HCS_JSON_OK && before.error != HCS_JSON_EMPTY &&
                before.error != HCS_JSON_TRUNCATED) ||
            with.error != whole.error || with.offset != whole.offset) {
            fail_msg("\"%.*s\": error %d at %zu; before it %d, with it %d",
                (int)length, mutant, (int)whole.error, whole.offset,
                (int)before.error, (int)with.error);
        }
    }
    assert_true(refused > ROUNDS / 3);
    assert_true(seen[HCS_JSON_OK] > ROUNDS / 4);
    assert_true(seen[HCS_JSON_TRUNCATED] > ROUNDS / 100);
    assert_true(seen[HCS_JSON_SYNTAX] > ROUNDS / 100);
    assert_true(seen[HCS_JSON_NUMBER] > ROUNDS / 100);
    assert_true(seen[HCS_JSON_STRING] > ROUNDS / 100);
    assert_true(seen[HCS_JSON_UTF8] > ROUNDS / 100);
    assert_true(seen[HCS_JSON_TRAILING] > ROUNDS / 100);
    assert_true(seen[HCS_JSON_SURROGATE] > 100);
}

/* cJSON before 1.7.19 reads at most 63 bytes of a number, and fails. */
static bool has_long_number(const char *text, size_t length)
{
    size_t run = 0;

    for (size_t i = 0; i < length; i++) {
        run = text[i] != '\0' && strchr("+-.0123456789Ee", text[i]) != NULL
                  ? run + 1
                  : 0;
        if (run > 63) {
            return true;
        }
    }
    return false;
}

/* Gives the tree, or NULL: of a text that is ours to splice and so must be
 * cJSON's to read, and all of it. */
static cJSON *parse_all(const char *text, size_t length)
{
    char terminated[MUTANT_MAX + 1];
    const char *end;

    memcpy(terminated, text, length);
    terminated[length] = '\0';
    return cJSON_ParseWithLengthOpts(terminated, length + 1, &end, true);
}

static void whatever_is_accepted_cjson_accepts_too(void **state)
{
    enum { ROUNDS = 100000 };
    uint64_t seed = 7159;
    size_t accepted = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        char mutant[MUTANT_MAX];
        size_t length = mutate(mutant, &seed);
        const char *end;
        cJSON *tree;

        if (hcs_json_validate(mutant, length).error != HCS_JSON_OK ||
            has_long_number(mutant, length)) {
            continue;
        }
        accepted++;
        tree = cJSON_ParseWithLengthOpts(mutant, length, &end, false);
        if (tree == NULL) {
            fail_msg("cJSON refuses \"%.*s\"", (int)length, mutant);
        }
        cJSON_Delete(tree);
        tree = parse_all(mutant, length);
        if (tree == NULL) {
            fail_msg("cJSON leaves some of \"%.*s\"", (int)length, mutant);
        }
        cJSON_Delete(tree);
    }
    assert_true(accepted > ROUNDS / 4);
}

static void each_error_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (int error = HCS_JSON_OK; error <= HCS_JSON_TRUNCATED; error++) {
        const char *text = hcs_json_error_text((enum hcs_json_error)error);

        assert_non_null(text);
        assert_true(strlen(text) > 10);
        for (const char *at = text; *at != '\0'; at++) {
            assert_true(*at >= ' ' && *at <= '~');
        }
        for (int other = HCS_JSON_OK; other < error; other++) {
            assert_string_not_equal(
                text, hcs_json_error_text((enum hcs_json_error)other));
        }
    }
    assert_non_null(
        hcs_json_error_text((enum hcs_json_error)(HCS_JSON_TRUNCATED + 1)));
}

/* What is known of a member without its name being looked for in the text: the
 * same. */
static void expect_noted(const char *text, size_t length, const char *name,
    bool wanted, const char *value, size_t value_length)
{
    struct hcs_json_members members;
    struct hcs_json_result result =
        hcs_json_validate_members(text, length, &members);
    const char *noted = NULL;
    size_t noted_length = 0;

    assert_int_equal(result.error, HCS_JSON_OK);
    assert_int_equal(hcs_json_noted_member(
                         &members, text, length, name, &noted, &noted_length),
        wanted);
    if (wanted) {
        assert_ptr_equal(noted, value);
        assert_int_equal(noted_length, value_length);
    }
}

/* wanted NULL: there is no such member. */
static void expect_member(
    const char *text, const char *name, const char *wanted, int line)
{
    size_t length = strlen(text);
    const char *copy;
    const char *value = NULL;
    size_t value_length = 0;
    bool found;

    expect(text, length, HCS_JSON_OK, length, line);
    copy = put(text, length);
    found = hcs_json_member(copy, length, name, &value, &value_length);
    if (found != (wanted != NULL) ||
        (found && (value_length != strlen(wanted) ||
                      memcmp(value, wanted, value_length) != 0))) {
        fail_msg("line %d: %s in %s is %.*s", line, name, text,
            found ? (int)value_length : 7, found ? value : "missing");
    }
    if (found) {
        assert_true(value >= copy && value + value_length < copy + length);
    }
    expect_noted(copy, length, name, found, value, value_length);
}

#define MEMBER(text, name, wanted) expect_member(text, name, wanted, __LINE__)

static const struct {
    int line;
    const char *text;
    const char *name;
    const char *wanted;
} lookups[] = {
    /* member gives the raw value */
    {__LINE__, "{\"data\":9007199254740993}", "data", "9007199254740993"},
    {__LINE__, "{\"data\":-0.0e+00}", "data", "-0.0e+00"},
    {__LINE__, "{\"data\":null}", "data", "null"},
    {__LINE__, "{\"data\":true,\"b\":false}", "data", "true"},
    {__LINE__, "{\"data\":true,\"b\":false}", "b", "false"},
    {__LINE__, "{\"data\":\"\"}", "data", "\"\""},
    {__LINE__, "{\"data\":\"a\\\"}\\\\\"}", "data", "\"a\\\"}\\\\\""},
    {__LINE__, "{\"data\":\"\\u0000\"}", "data", "\"\\u0000\""},
    {__LINE__, "{\"data\":[]}", "data", "[]"},
    {__LINE__, "{\"data\":{}}", "data", "{}"},
    {__LINE__, "{\"data\":[1, 2 ,[3]],\"b\":4}", "data", "[1, 2 ,[3]]"},
    {__LINE__, "{\"data\":{\"a\":[{\"b\":\"]}\"}]},\"c\":1}", "data",
        "{\"a\":[{\"b\":\"]}\"}]}"},
    {__LINE__, "{\"data\":[\"\\\\\",\"]\\\"]\"],\"c\":1}", "data",
        "[\"\\\\\",\"]\\\"]\"]"},
    {__LINE__,
        "{\"data\":\"\xc3\xa9\xf0\x9f\x98\x80, of more than eight bytes\"}",
        "data", "\"\xc3\xa9\xf0\x9f\x98\x80, of more than eight bytes\""},
    /* member leaves white space out */
    {__LINE__, " {\n\"data\" :\t 1 \r\n} ", "data", "1"},
    {__LINE__, " { \"a\" : [ ] , \"data\" : [ 1 ] , \"b\" : 2 } ", "data",
        "[ 1 ]"},
    {__LINE__, "{ \"a\" : \"x\" , \"data\" : { } }", "data", "{ }"},
    {__LINE__, "{\"data\":true\n,\"b\":1\t}", "data", "true"},
    {__LINE__, "{\"data\":true\n,\"b\":1\t}", "b", "1"},
    /* member is found behind others */
    {__LINE__, "{\"a\":1,\"b\":[{\"data\":2}],\"c\":{\"data\":3},\"data\":4}",
        "data", "4"},
    {__LINE__, "{\"a\":\"\\\"data\\\":1\",\"data\":2}", "data", "2"},
    {__LINE__, "{\"x\":\"data\",\"data\":\"x\"}", "data", "\"x\""},
    {__LINE__, "{\"dat\":1,\"dataa\":2,\"Data\":3,\"data\":4}", "data", "4"},
    /* member that is missing is not found */
    {__LINE__, "{}", "data", NULL},
    {__LINE__, " { } ", "data", NULL},
    {__LINE__, "{\"a\":1}", "data", NULL},
    {__LINE__, "{\"a\":{\"data\":1}}", "data", NULL},
    {__LINE__, "{\"DATA\":1}", "data", NULL},
    {__LINE__, "{\"dat\":1,\"datax\":2}", "data", NULL},
    {__LINE__, "{\"data and much more than that\":1}", "data", NULL},
    {__LINE__, "{\"a\":1}", "", NULL},
    {__LINE__, "[{\"data\":1}]", "data", NULL},
    {__LINE__, "\"data\"", "data", NULL},
    {__LINE__, "1", "data", NULL},
    {__LINE__, "null", "data", NULL},
    /* first member of a name wins */
    {__LINE__, "{\"data\":1,\"data\":2}", "data", "1"},
    {__LINE__, "{\"d\\u0061ta\":1,\"data\":2}", "data", "1"},
    {__LINE__, "{\"\":1,\"\":2}", "", "1"},
    /* member names are compared unescaped */
    {__LINE__, "{\"\\u0064\\u0061\\u0074\\u0061\":1}", "data", "1"},
    {__LINE__, "{\"\\u00E9\":1}", "\xc3\xa9", "1"},
    {__LINE__, "{\"\xc3\xa9\":1}", "\xc3\xa9", "1"},
    {__LINE__, "{\"\\u007f\\u0080\":1}", "\x7f\xc2\x80", "1"},
    {__LINE__, "{\"\\u65e5x\":1}", "\xe6\x97\xa5x", "1"},
    {__LINE__, "{\"\\uD83D\\ude00!\":1}", "\xf0\x9f\x98\x80!", "1"},
    {__LINE__, "{\"\\u07ff\\u0800\\uffff\\udbff\\udfff\":1}",
        "\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf", "1"},
    {__LINE__, "{\"\\\"\\\\\\/\\b\\f\\n\\r\\t\":1}", "\"\\/\b\f\n\r\t", "1"},
    {__LINE__, "{\"dat\\u0061x\":1}", "data", NULL},
    {__LINE__, "{\"dat\\u0062\":1}", "data", NULL},
    {__LINE__, "{\"d\\u0061t\":1}", "data", NULL},
    {__LINE__, "{\"\\u65e5\":1}", "\xe6\x97", NULL}, /* half a character */
    /* member name with a zero matches no shorter one */
    {__LINE__, "{\"data\\u0000\":1}", "data", NULL},
    {__LINE__, "{\"data\\u0000x\":1,\"data\":2}", "data", "2"},
    {__LINE__, "{\"\\u0000\":1}", "", NULL},
};

static void each_member_is_found_or_known_to_be_missing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lookups) / sizeof(lookups[0]); i++) {
        expect_member(lookups[i].text, lookups[i].name, lookups[i].wanted,
            lookups[i].line);
    }
}

static void members_beyond_those_that_are_noted_are_found(void **state)
{
    char text[1024] = "";
    char name[32];
    char wanted[32];

    (void)state;
    for (int count = 0; count <= HCS_JSON_MEMBERS_MAX + 2; count++) {
        char *at = text;

        *at++ = '{';
        for (int i = 0; i < count; i++) {
            at += sprintf(
                at, "%s\"m%d\": [%d, {\"m\": {}}]", i > 0 ? " , " : "", i, i);
        }
        (void)sprintf(at, "}");
        for (int i = 0; i < count; i++) {
            (void)sprintf(name, "m%d", i);
            (void)sprintf(wanted, "[%d, {\"m\": {}}]", i);
            MEMBER(text, name, wanted);
        }
        MEMBER(text, "m", NULL);
        (void)sprintf(name, "m%d", count);
        MEMBER(text, name, NULL);
    }
}

static void members_are_noted_anew_for_each_text(void **state)
{
    struct hcs_json_members members;
    const char *value;
    size_t length;

    (void)state;
    (void)hcs_json_validate_members("{\"a\":1}", 7, &members);
    assert_int_equal(members.count, 1);
    (void)hcs_json_validate_members("[{\"a\":1}]", 9, &members);
    assert_int_equal(members.count, 0);
    assert_false(hcs_json_noted_member(
        &members, "[{\"a\":1}]", 9, "a", &value, &length));
    (void)hcs_json_validate_members(NULL, 0, &members);
    assert_int_equal(members.count, 0);
}

/* Against cJSON's tree: the first child of each name, printed. */
static void members_are_those_that_cjson_finds(void **state)
{
    enum { ROUNDS = 60000 };
    uint64_t seed = 4627;
    size_t compared = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        char mutant[MUTANT_MAX];
        size_t length = mutate(mutant, &seed);
        const cJSON *child;
        cJSON *tree;

        if (hcs_json_validate(mutant, length).error != HCS_JSON_OK ||
            has_long_number(mutant, length) ||
            memmem(mutant, length, "\\u0000", 6) != NULL) {
            continue; /* the last: cJSON cuts names there */
        }
        tree = parse_all(mutant, length);
        assert_non_null(tree);
        assert_int_equal(
            hcs_json_is_object(mutant, length), cJSON_IsObject(tree));
        cJSON_ArrayForEach(child, tree)
        {
            const char *value;
            size_t value_length;
            cJSON *copy;
            char *wanted;
            char *got;

            if (child->string == NULL) {
                break; /* an array's */
            }
            assert_true(hcs_json_member(
                mutant, length, child->string, &value, &value_length));
            expect_noted(
                mutant, length, child->string, true, value, value_length);
            copy = parse_all(value, value_length);
            assert_non_null(copy);
            wanted = cJSON_PrintUnformatted(
                cJSON_GetObjectItemCaseSensitive(tree, child->string));
            got = cJSON_PrintUnformatted(copy);
            assert_string_equal(got, wanted);
            cJSON_free(got);
            cJSON_free(wanted);
            cJSON_Delete(copy);
            compared++;
        }
        cJSON_Delete(tree);
    }
    assert_true(compared > ROUNDS / 4);
}

static void objects_are_told_from_other_values(void **state)
{
    (void)state;
    assert_true(hcs_json_is_object(put("{}", 2), 2));
    assert_true(hcs_json_is_object(put(" \t\r\n{}", 6), 6));
    assert_false(hcs_json_is_object(put("[{}]", 4), 4));
    assert_false(hcs_json_is_object(put("\"{}\"", 4), 4));
    assert_false(hcs_json_is_object(put("1", 1), 1));
    assert_false(hcs_json_is_object(put("  ", 2), 2));
    assert_false(hcs_json_is_object(NULL, 0));
}

/* --- Members one by one. */

/* Their names and values, as "name=value;", of the text at its exact end. */
static const char *list(const char *text)
{
    static char out[1024];
    size_t length = strlen(text);
    const char *copy = put(text, length);
    struct hcs_json_pair pair = {0};

    assert_true(hcs_json_is_valid(copy, length));
    out[0] = '\0';
    while (hcs_json_next(copy, length, &pair)) {
        size_t used = strlen(out);

        (void)snprintf(out + used, sizeof out - used, "%.*s=%.*s;",
            (int)pair.name_length, pair.name, (int)pair.value_length,
            pair.value);
    }
    return out;
}

static void each_member_is_given_in_order(void **state)
{
    (void)state;
    assert_string_equal(list("{}"), "");
    assert_string_equal(list(" { } "), "");
    assert_string_equal(list("{\"a\":1}"), "a=1;");
    assert_string_equal(list("{\"a\":1,\"b\":[2,{\"c\":3}],\"a\":\"x\"}"),
        "a=1;b=[2,{\"c\":3}];a=\"x\";");
    assert_string_equal(
        list("\t{ \"\" : null ,\n\"x\\\"y\\u0041\" :{ \"}\":\"{\" } \r}\n"),
        "=null;x\\\"y\\u0041={ \"}\":\"{\" };");
}

static void values_that_are_no_objects_have_no_members(void **state)
{
    (void)state;
    assert_string_equal(list("[{\"a\":1}]"), "");
    assert_string_equal(list("\"{}\""), "");
    assert_string_equal(list(" -1.5e3 "), "");
    assert_string_equal(list("null"), "");
}

static void member_after_the_last_is_none_however_often(void **state)
{
    const char *text = put("{\"a\":1}  ", 9);
    struct hcs_json_pair pair = {0};

    (void)state;
    assert_true(hcs_json_next(text, 9, &pair));
    assert_false(hcs_json_next(text, 9, &pair));
    assert_false(hcs_json_next(text, 9, &pair));
}

static void text_is_valid_or_not(void **state)
{
    (void)state;
    assert_true(hcs_json_is_valid(put(" [1] ", 5), 5));
    assert_false(hcs_json_is_valid(put("[1", 2), 2));
    assert_false(hcs_json_is_valid(put("[1] x", 5), 5));
    assert_false(hcs_json_is_valid(put("", 0), 0));
}

/* --- Strings, read and written. */

static void expect_unescaped(
    const char *text, const char *expected, size_t expected_length)
{
    size_t length = strlen(text);
    char *out = malloc(length > 0 ? length : 1); /* a sanitizer watches */

    assert_non_null(out);
    assert_int_equal(
        hcs_json_unescape(put(text, length), length, out), expected_length);
    assert_memory_equal(out, expected, expected_length);
    free(out);
}

static void string_is_read_as_what_it_means(void **state)
{
    (void)state;
    expect_unescaped("\"\"", "", 0);
    expect_unescaped("\"plain \xc3\xa9\"", "plain \xc3\xa9", 8);
    expect_unescaped("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
    expect_unescaped("\"a\\u0000b\"", "a\0b", 3);
    expect_unescaped("\"\\u00E9\\u20ac\"", "\xc3\xa9\xe2\x82\xac", 5);
    expect_unescaped("\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", 4);
}

static void name_is_read_without_quotes(void **state)
{
    (void)state;
    expect_unescaped("", "", 0);
    expect_unescaped("x", "x", 1);
    expect_unescaped("\\\"q\\\"", "\"q\"", 3);
    expect_unescaped("\\n\\u0041", "\nA", 2);
}

/* As a handler's text is written into a reply. */
static size_t write_string(const char *text, size_t length, char *out)
{
    size_t used = 1;

    out[0] = '"';
    while (length > 0) {
        size_t plain = hcs_json_plain(text, length);

        memcpy(out + used, text, plain);
        used += plain;
        text += plain;
        length -= plain;
        if (length > 0) {
            char escape[HCS_JSON_ESCAPE_MAX];
            size_t written;
            size_t taken = hcs_json_escape(text, length, escape, &written);

            assert_in_range(taken, 1, length);
            assert_in_range(written, 1, HCS_JSON_ESCAPE_MAX);
            memcpy(out + used, escape, written);
            used += written;
            text += taken;
            length -= taken;
        }
    }
    out[used++] = '"';
    return used;
}

static void expect_written(
    const char *text, size_t length, const char *expected)
{
    char out[256];
    size_t used = write_string(put(text, length), length, out);

    assert_int_equal(used, strlen(expected));
    assert_memory_equal(out, expected, used);
    assert_true(hcs_json_is_valid(out, used));
}

static void string_is_written_with_what_needs_it_escaped(void **state)
{
    (void)state;
    expect_written("", 0, "\"\"");
    expect_written("plain", 5, "\"plain\"");
    expect_written("\"\\/", 3, "\"\\\"\\\\/\"");
    expect_written("\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"");
    expect_written("\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\"");
    expect_written("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9,
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

#define FFFD "\xef\xbf\xbd"

/* One for each piece that could have become a character (Unicode, 3.9). */
static void bytes_that_are_not_utf8_are_written_as_a_replacement(void **state)
{
    (void)state;
    expect_written("\xff", 1, "\"" FFFD "\"");
    expect_written("a\x80z", 3, "\"a" FFFD "z\"");
    expect_written("\xc3", 1, "\"" FFFD "\"");
    expect_written("\xe2\x82", 2, "\"" FFFD "\"");
    expect_written("\xe2\x82z", 3, "\"" FFFD "z\"");
    expect_written("\xc0\xaf", 2, "\"" FFFD FFFD "\"");
    expect_written("\xed\xa0\x80", 3, "\"" FFFD FFFD FFFD "\"");
    expect_written("\xf4\x90\x80\x80", 4, "\"" FFFD FFFD FFFD FFFD "\"");
    expect_written("\xf0\x9f\x98", 3, "\"" FFFD "\"");
    expect_written("\xf0\x9f\x98\"", 4, "\"" FFFD "\\\"\"");
}

/* Whatever the bytes: what is written is valid, and reads as them. */
static void any_text_is_written_and_read_back(void **state)
{
    uint64_t seed = 0x9e3779b97f4a7c15;
    size_t same = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        static const unsigned char alphabet[] = {0, '\n', '"', '\\', '/', 'u',
            'a', 0x7f, 0x80, 0xbf, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xed, 0xf0,
            0x9f, 0x98, 0xf4, 0xff, 0x1f};
        char text[16];
        char out[128];
        char back[128];
        size_t length;
        size_t used;
        size_t back_length;

        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        length = (size_t)(seed >> 60);
        for (size_t i = 0; i < length; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            text[i] = (char)alphabet[(seed >> 33) % sizeof alphabet];
        }
        used = write_string(text, length, out);
        assert_true(hcs_json_is_valid(out, used));
        back_length = hcs_json_unescape(out, used, back);
        if (memmem(back, back_length, FFFD, 3) == NULL) {
            assert_int_equal(back_length, length);
            assert_memory_equal(back, text, length);
            same++;
        }
    }
    assert_true(same > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_text_gets_its_verdict),
        cmocka_unit_test(text_without_a_value_is_empty),
        cmocka_unit_test(escapes_are_those_of_section_7),
        cmocka_unit_test(escaped_surrogates_come_in_pairs),
        cmocka_unit_test(strings_are_utf8),
        cmocka_unit_test(every_byte_is_seen_at_every_place_of_a_string),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(depth_counts_what_is_open_and_not_what_was),
        cmocka_unit_test(each_level_closes_with_its_own_bracket),
        cmocka_unit_test(every_prefix_is_truncated_or_valid_itself),
        cmocka_unit_test(offset_is_that_of_the_first_wrong_byte),
        cmocka_unit_test(whatever_is_accepted_cjson_accepts_too),
        cmocka_unit_test(each_error_has_a_text_of_its_own),
        cmocka_unit_test(each_member_is_found_or_known_to_be_missing),
        cmocka_unit_test(members_beyond_those_that_are_noted_are_found),
        cmocka_unit_test(members_are_noted_anew_for_each_text),
        cmocka_unit_test(members_are_those_that_cjson_finds),
        cmocka_unit_test(objects_are_told_from_other_values),
        cmocka_unit_test(each_member_is_given_in_order),
        cmocka_unit_test(values_that_are_no_objects_have_no_members),
        cmocka_unit_test(member_after_the_last_is_none_however_often),
        cmocka_unit_test(text_is_valid_or_not),
        cmocka_unit_test(string_is_read_as_what_it_means),
        cmocka_unit_test(name_is_read_without_quotes),
        cmocka_unit_test(string_is_written_with_what_needs_it_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_are_written_as_a_replacement),
        cmocka_unit_test(any_text_is_written_and_read_back),
    };

    return cmocka_run_group_tests(tests, make_yard, remove_yard);
}
