/*
 * The header section, from bytes to meaning or to the reason of its refusal.
 * Each section is checked whole, growing byte by byte, and cut in two at every
 * position, always in memory of exactly its size: the verdict must be one, and
 * fall at the same byte.
 */
#include "http/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "head_cases.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 16 * 1024 };

struct verdict {
    enum hcs_scan scan;
    enum hcs_reason reason;
    size_t head_length;
};

/* One for all tests, as a loop has one for all connections: what one section
 * leaves in it must not show in the next. */
static struct hcs_parser parser;

static char *copy_of(const char *bytes, size_t length)
{
    char *copy = malloc(length > 0 ? length : 1);

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    return copy;
}

static struct verdict look(struct hcs_head_scan *scan, const char *bytes,
    size_t length, size_t max_bytes)
{
    struct verdict verdict = {.head_length = SIZE_MAX};
    char *copy = copy_of(bytes, length);

    verdict.scan = hcs_head_scan(
        scan, copy, length, max_bytes, &verdict.head_length, &verdict.reason);
    free(copy);
    return verdict;
}

static void same_in_pieces(const char *bytes, size_t length, size_t max_bytes,
    const struct verdict *whole)
{
    struct hcs_head_scan growing = {0};
    struct verdict verdict = {.scan = HCS_SCAN_MORE};

    for (size_t cut = 0; cut <= length; cut++) {
        struct hcs_head_scan scan = {0};
        struct verdict piece = look(&scan, bytes, cut, max_bytes);

        if (verdict.scan == HCS_SCAN_MORE) {
            verdict = look(&growing, bytes, cut, max_bytes);
        }
        assert_int_equal(verdict.scan, piece.scan);
        if (piece.scan == HCS_SCAN_MORE) {
            piece = look(&scan, bytes, length, max_bytes);
        } else if (piece.scan == HCS_SCAN_DONE) {
            assert_true(cut >= whole->head_length);
        }
        assert_int_equal(piece.scan, whole->scan);
        assert_int_equal(piece.reason, whole->reason);
        assert_int_equal(piece.head_length, whole->head_length);
    }
    assert_int_equal(verdict.scan, whole->scan);
    assert_int_equal(verdict.reason, whole->reason);
    assert_int_equal(verdict.head_length, whole->head_length);
}

/* Scan and parse. */
static enum hcs_reason judge(
    const char *bytes, size_t length, struct hcs_head *head)
{
    struct hcs_head_scan scan = {0};
    struct verdict whole = look(&scan, bytes, length, LIMIT);
    enum hcs_reason reason;
    char *section;

    same_in_pieces(bytes, length, LIMIT, &whole);
    assert_int_not_equal(whole.scan, HCS_SCAN_MORE);
    if (whole.scan == HCS_SCAN_BAD) {
        assert_int_not_equal(whole.reason, HCS_REASON_NONE);
        return whole.reason;
    }
    section = copy_of(bytes, whole.head_length);
    memset(head, 0xaa, sizeof *head);
    reason = hcs_head_parse(&parser, &scan, section, whole.head_length, head);
    free(section);
    return reason;
}

/* The rows of head_cases behind the one that state points at. */
static void check_rows(void **state)
{
    const struct head_case *test = *state;

    for (const struct head_case *row = test + 1;
         row < head_cases + HEAD_CASES && row->test == NULL; row++) {
        struct hcs_head head;
        enum hcs_reason got = judge(row->bytes, row->length, &head);

        if (got != row->reason) {
            print_message("row %d, %s instead of %s:\n%.*s\n",
                (int)(row - test), hcs_reason_word(got),
                hcs_reason_word(row->reason), (int)row->length, row->bytes);
        }
        assert_int_equal(got, row->reason);
    }
}

/* A section that is in order; for a closer look at what was read. */
static struct hcs_head read_head(const char *text)
{
    struct hcs_head head;
    enum hcs_reason reason = judge(text, strlen(text), &head);

    if (reason != HCS_REASON_NONE) {
        print_message("%s:\n%s\n", hcs_reason_word(reason), text);
    }
    assert_int_equal(reason, HCS_REASON_NONE);
    return head;
}

static void assert_span(
    const char *text, struct hcs_span span, const char *expected)
{
    assert_int_equal(span.length, strlen(expected));
    assert_memory_equal(text + span.offset, expected, span.length);
}

/* ---- request line ---- */

static void methods_served_elsewhere_are_passed_on(void **state)
{
    static const char *const others[] = {"PUT", "DELETE", "PATCH", "TRACE",
        "COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH",
        "UNLOCK", "BIND", "REBIND", "UNBIND", "ACL", "REPORT", "MKACTIVITY",
        "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE",
        "PURGE", "MKCALENDAR", "LINK", "UNLINK", "SOURCE"};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char text[128];
        struct hcs_head head;

        snprintf(text, sizeof text,
            "%s /p?q HTTP/1.1\r\nContent-Length: 7\r\nHost: b:1\r\n\r\n",
            others[i]);
        head = read_head(text);
        assert_int_equal(head.method, HCS_METHOD_OTHER);
        assert_span(text, head.path, "/p");
        assert_span(text, head.query, "q");
        assert_span(text, head.host, "b:1");
        assert_true(head.has_length && head.content_length == 7);
        assert_true(head.keep_alive && head.minor == 1);
    }
}

static void methods_served_here_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(read_head(LINE HOST END).method, HCS_GET);
    assert_int_equal(
        read_head("HEAD / HTTP/1.1\r\n" HOST END).method, HCS_HEAD);
    assert_int_equal(
        read_head("POST / HTTP/1.1\r\n" HOST END).method, HCS_POST);
    assert_int_equal(
        read_head("OPTIONS / HTTP/1.1\r\n" HOST END).method, HCS_OPTIONS);
}

static void later_minor_versions_are_read_as_1_1(void **state)
{
    (void)state;
    for (int minor = '0'; minor <= '9'; minor++) {
        char text[] = "POST /p?q HTTP/1.x\r\nHost: b\r\nContent-Length: 3\r\n"
                      "Expect: 100-continue\r\n\r\n";
        struct hcs_head head;

        *strchr(text, 'x') = (char)minor;
        head = read_head(text);
        assert_int_equal(head.minor, minor != '0');
        assert_int_equal(head.keep_alive, minor != '0');
        assert_int_equal(head.expect_continue, minor != '0');
        assert_int_equal(head.method, HCS_POST);
        assert_span(text, head.path, "/p");
        assert_span(text, head.query, "q");
        assert_span(text, head.host, "b");
        assert_true(head.content_length == 3);
    }
}

/* ---- target ---- */

static void absolute_form_has_the_say_over_host(void **state)
{
    static const char *const texts[] = {
        "GET http://b:81/p/q?r=s HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT http://b:81/p/q?r=s HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET https://b:81/p/q?r=s HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET http://b:81/p/q?r=s HTTP/1.0\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct hcs_head head = read_head(texts[i]);

        assert_span(texts[i], head.host, "b:81");
        assert_span(texts[i], head.path, "/p/q");
        assert_span(texts[i], head.query, "r=s");
        assert_false(head.asterisk);
    }
}

static void https_is_told_from_http(void **state)
{
    (void)state;
    assert_true(
        read_head("GET https://b/p HTTP/1.1\r\nHost: a\r\n\r\n").secure);
    assert_true(
        read_head("OPTIONS HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n").secure);
    assert_false(
        read_head("GET http://b/p HTTP/1.1\r\nHost: a\r\n\r\n").secure);
    assert_false(
        read_head("GET http://https/ HTTP/1.1\r\nHost: a\r\n\r\n").secure);
    assert_false(
        read_head("GET /https://b/ HTTP/1.1\r\nHost: a\r\n\r\n").secure);
    assert_false(
        read_head("CONNECT https:443 HTTP/1.1\r\nHost: a\r\n\r\n").secure);
}

static void empty_path_is_a_slash(void **state)
{
    const char *text = "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n";
    struct hcs_head head = read_head(text);

    (void)state;
    assert_span(text, head.path, "/");
    assert_span(text, head.query, "");
    assert_span(text, head.host, "b");

    text = "GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n";
    head = read_head(text);
    assert_span(text, head.path, "/");
    assert_span(text, head.query, "q");
}

static void asterisk_is_told(void **state)
{
    const char *text = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    struct hcs_head head = read_head(text);

    (void)state;
    assert_true(head.asterisk);
    assert_int_equal(head.path.length, 0);
    assert_span(text, head.host, "a");

    /* The absolute form of the same (RFC 9112, 3.2.4). */
    text = "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n";
    head = read_head(text);
    assert_true(head.asterisk);
    assert_span(text, head.host, "b");

    text = "OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n";
    head = read_head(text);
    assert_false(head.asterisk);
    assert_span(text, head.path, "/");
    text = "OPTIONS http://b?q HTTP/1.1\r\nHost: a\r\n\r\n";
    head = read_head(text);
    assert_false(head.asterisk);
    assert_span(text, head.path, "/");
    assert_span(text, head.query, "q");
    assert_false(read_head("OPTIONS /* HTTP/1.1\r\n" HOST END).asterisk);
}

static void authority_form_gives_the_host(void **state)
{
    const char *text = "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n"
                       "Upgrade: x\r\nConnection: upgrade\r\n\r\n";
    struct hcs_head head = read_head(text);

    (void)state;
    assert_int_equal(head.method, HCS_METHOD_OTHER);
    assert_span(text, head.host, "b:443");
    assert_int_equal(head.path.length, 0);
    assert_true(head.keep_alive);
}

static void path_and_query_are_split_at_the_first_mark(void **state)
{
    static const struct {
        const char *target, *path, *query;
    } rows[] = {
        {"/", "/", ""},
        {"/?", "/", ""},
        {"/a", "/a", ""},
        {"/a?b", "/a", "b"},
        {"/a?b?c", "/a", "b?c"},
        {"//a//b", "//a//b", ""},
        {"/a/../b/./c;d=e:f@g", "/a/../b/./c;d=e:f@g", ""},
        {"/%41%zz", NULL, NULL},
        {"/%2F%00%ff?%3f", "/%2F%00%ff", "%3f"},
        {"/0123456789/0123456789/0123456789?0123456789012345678901234",
            "/0123456789/0123456789/0123456789", "0123456789012345678901234"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        struct hcs_head head;

        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n",
            rows[i].target);
        if (rows[i].path == NULL) {
            assert_int_equal(
                judge(text, strlen(text), &head), HCS_REASON_BAD_TARGET);
            continue;
        }
        head = read_head(text);
        assert_span(text, head.path, rows[i].path);
        assert_span(text, head.query, rows[i].query);
    }
}

/* ---- every octet in every place ---- */

static const char token_octets[] = "!#$%&'*+-.^_`|~0123456789"
                                   "abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/* The reason for each octet in the gap between before and after, in four
 * positions, so that it is met by a vector search as well as at its end. */
static void check_octets(const char *before, const char *after,
    enum hcs_reason (*expected)(unsigned char octet))
{
    static const char *const fillers[] = {
        "", "x", "xxxxxxx", "xxxxxxxxxxxxxxx", "xxxxxxxxxxxxxxxxxxxxxxxxxxx"};

    for (unsigned octet = 0; octet < 256; octet++) {
        for (size_t i = 0; i < sizeof fillers / sizeof fillers[0]; i++) {
            char text[256];
            size_t length;
            struct hcs_head head;
            enum hcs_reason reason;

            snprintf(text, sizeof text, "%s%s", before, fillers[i]);
            length = strlen(text);
            text[length++] = (char)octet;
            snprintf(
                text + length, sizeof text - length, "%s%s", fillers[i], after);
            length += strlen(fillers[i]) + strlen(after);
            reason = judge(text, length, &head);
            if (reason != expected((unsigned char)octet)) {
                print_message("octet %02x in %s: %s\n", octet, before,
                    hcs_reason_word(reason));
            }
            assert_int_equal(reason, expected((unsigned char)octet));
        }
    }
}

static bool among(unsigned char octet, const char *octets)
{
    return octet != '\0' && strchr(octets, octet) != NULL;
}

static enum hcs_reason in_path(unsigned char octet)
{
    /* RFC 3986: pchar, "/" and "?" */
    static const char allowed[] = "-._~!$&'()*+,;=:@/?0123456789"
                                  "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return octet == '\n' || octet == '\r' ? HCS_REASON_BAD_LINE_END
           : octet == ' '                 ? HCS_REASON_BAD_REQUEST_LINE
           : among(octet, allowed)        ? HCS_REASON_NONE
                                          : HCS_REASON_BAD_TARGET;
}

static enum hcs_reason in_name(unsigned char octet)
{
    return octet == '\n' || octet == '\r' ? HCS_REASON_BAD_LINE_END
           : octet == ':' || among(octet, token_octets) ? HCS_REASON_NONE
                                                        : HCS_REASON_BAD_FIELD;
}

static enum hcs_reason in_value(unsigned char octet)
{
    return octet == '\n' || octet == '\r' ? HCS_REASON_BAD_LINE_END
           : octet == '\t' || (octet >= ' ' && octet != 0x7f)
               ? HCS_REASON_NONE
               : HCS_REASON_BAD_FIELD;
}

static void path_holds_what_a_uri_may(void **state)
{
    (void)state;
    check_octets("GET /", " HTTP/1.1\r\n" HOST END, in_path);
}

static void query_holds_what_a_uri_may(void **state)
{
    (void)state;
    check_octets("GET /?", " HTTP/1.1\r\n" HOST END, in_path);
    check_octets("GET http://a/", " HTTP/1.1\r\n" HOST END, in_path);
}

static void name_is_a_token(void **state)
{
    (void)state;
    check_octets(LINE HOST "X", "Y: b\r\n\r\n", in_name);
}

static void value_has_no_controls(void **state)
{
    (void)state;
    check_octets(LINE HOST "A: b", "c\r\n\r\n", in_value);
    check_octets(LINE HOST "A: b",
        "c\r\nB: a much longer line, behind it\r\n"
        "\r\n",
        in_value);
}

static enum hcs_reason in_host(unsigned char octet)
{
    /* RFC 3986: reg-name, but for the comma; ":" would need digits behind it */
    static const char allowed[] = "-._~!$&'()*+;=0123456789"
                                  "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return octet == '\n' || octet == '\r' ? HCS_REASON_BAD_LINE_END
           : octet < ' ' && octet != '\t' ? HCS_REASON_BAD_FIELD
           : octet == 0x7f                ? HCS_REASON_BAD_FIELD
           : among(octet, allowed)        ? HCS_REASON_NONE
                                          : HCS_REASON_BAD_HOST;
}

static void host_holds_what_a_name_may(void **state)
{
    (void)state;
    check_octets(LINE "Host: a", "b\r\n\r\n", in_host);
}

/* ---- lines and fields ---- */

static void section_ends_at_its_empty_line(void **state)
{
    static const char bytes[] = LINE HOST END "GET /next HTTP/1.1\r\n\n\0";
    struct hcs_head_scan scan = {0};
    struct verdict verdict =
        look(&scan, bytes, sizeof bytes - 1, sizeof bytes * 2);

    (void)state;
    assert_int_equal(verdict.scan, HCS_SCAN_DONE);
    assert_int_equal(verdict.head_length, sizeof LINE HOST END - 1);
    same_in_pieces(bytes, sizeof bytes - 1, sizeof bytes * 2, &verdict);
}

static void incomplete_section_waits(void **state)
{
    static const char section[] =
        "POST http://a%41:80/b?c%20d HTTP/1.1\r\nHost: a\r\n"
        "Content-Type: application/json; charset=utf-8\r\nEmpty:\r\n\r\n";

    (void)state;
    for (size_t length = 0; length < sizeof section - 1; length++) {
        struct hcs_head_scan scan = {0};

        assert_int_equal(
            look(&scan, section, length, LIMIT).scan, HCS_SCAN_MORE);
    }
}

/* The bytes of a line that is still arriving, refused when the byte that
 * breaks it is there. */
static void incomplete_line_is_refused_at_its_first_wrong_byte(void **state)
{
    static const char *const lines[] = {
        "GE(",
        "GET  ",
        "GET /\x01",
        "GET /\x80",
        "GET /#",
        "GET /%g",
        "GET /a b",
        "GET / HTTP/1.x",
        "GET / HTTP/1.1 ",
        LINE " ",
        LINE "A ",
        LINE ":",
        LINE HOST "A: b\x01",
        LINE HOST "A: b\x7f",
        LINE HOST "\x80",
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        size_t length = strlen(lines[i]);
        struct hcs_head_scan scan = {0};

        assert_int_equal(
            look(&scan, lines[i], length - 1, LIMIT).scan, HCS_SCAN_MORE);
        assert_int_equal(
            look(&scan, lines[i], length, LIMIT).scan, HCS_SCAN_BAD);
    }
}

static void tls_hello_is_refused_at_its_first_byte(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

    (void)state;
    for (size_t length = 1; length < sizeof hello; length++) {
        struct hcs_head_scan scan = {0};
        struct verdict verdict = look(&scan, hello, length, LIMIT);

        assert_int_equal(verdict.scan, HCS_SCAN_BAD);
        assert_int_equal(verdict.reason, HCS_REASON_BAD_REQUEST_LINE);
    }
}

static void long_line_in_pieces_is_refused_at_a_control_byte(void **state)
{
    static char bytes[4096];
    struct hcs_head_scan scan = {0};
    size_t length = sizeof LINE HOST "A: " - 1;
    struct verdict verdict;

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, LINE HOST "A: ", length);
    for (; length < 3000; length += 7) {
        assert_int_equal(look(&scan, bytes, length, LIMIT).scan, HCS_SCAN_MORE);
    }
    bytes[length - 3] = '\v';
    verdict = look(&scan, bytes, length, LIMIT);
    assert_int_equal(verdict.scan, HCS_SCAN_BAD);
    assert_int_equal(verdict.reason, HCS_REASON_BAD_FIELD);
}

static void long_line_in_pieces_is_refused_at_a_bare_cr(void **state)
{
    static char bytes[1024];
    struct hcs_head_scan scan = {0};
    struct verdict verdict;

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, LINE HOST "A: ", sizeof LINE HOST "A: " - 1);
    bytes[999] = '\r';
    assert_int_equal(look(&scan, bytes, 900, LIMIT).scan, HCS_SCAN_MORE);
    assert_int_equal(look(&scan, bytes, 1000, LIMIT).scan, HCS_SCAN_MORE);
    verdict = look(&scan, bytes, 1001, LIMIT);
    assert_int_equal(verdict.scan, HCS_SCAN_BAD);
    assert_int_equal(verdict.reason, HCS_REASON_BAD_LINE_END);
}

/* Wherever its pieces end, and whatever comes behind the wrong byte. */
static void long_line_is_refused_at_its_first_wrong_byte(void **state)
{
    static const struct {
        const char *start; /* then as many of fill as the line is long, */
        const char *fill;
        const char *wrong; /* of which the last byte is what is wrong */
        enum hcs_reason reason;
    } rows[] = {
        {"GET /", "a", "{", HCS_REASON_BAD_TARGET},
        {"GET /", "a", "#", HCS_REASON_BAD_TARGET},
        {"GET /", "a", "[", HCS_REASON_BAD_TARGET},
        {"GET /", "a", "\x80", HCS_REASON_BAD_TARGET},
        {"GET /", "a", "\rx", HCS_REASON_BAD_LINE_END},
        {"GET /", "a", "\n", HCS_REASON_BAD_LINE_END},
        {"GET /", "%41", "%4x", HCS_REASON_BAD_TARGET},
        {"GET /", "%41", "%x", HCS_REASON_BAD_TARGET},
        {"GET /?", "a=%41&", "{", HCS_REASON_BAD_TARGET},
        {"GET /", "a", "  ", HCS_REASON_BAD_REQUEST_LINE},
        {"GET /", "a", " HTTP/1.x", HCS_REASON_BAD_REQUEST_LINE},
        {"GET /", "%41", " HTTP/1.1 ", HCS_REASON_BAD_REQUEST_LINE},
        {"GET /", "a", " HTTP/1.1\rx", HCS_REASON_BAD_LINE_END},
        {"GET /", "a", " HTTP/2.0\r\n", HCS_REASON_BAD_VERSION},
        {"PROPFIND /", "a", "{", HCS_REASON_BAD_TARGET},
        {"GET http://[::1]/", "a", "{", HCS_REASON_BAD_TARGET},
        {"GET http://a/", "[", " HTTP/1.1\r\n", HCS_REASON_BAD_TARGET},
        {LINE, "a", " ", HCS_REASON_BAD_FIELD},
        {LINE, "a", "\x80", HCS_REASON_BAD_FIELD},
        {LINE, "a", "\r\n", HCS_REASON_BAD_FIELD},
        {LINE, "a", "\rx", HCS_REASON_BAD_LINE_END},
        {LINE HOST "A:", "b", "\x01", HCS_REASON_BAD_FIELD},
        {LINE HOST "A:", ":", "\x7f", HCS_REASON_BAD_FIELD},
        {LINE HOST "A:", " ", "\n", HCS_REASON_BAD_LINE_END},
        {LINE HOST "A:", "\x80", "\rx", HCS_REASON_BAD_LINE_END},
        {LINE HOST "A: b\r\n", "a", "\t", HCS_REASON_BAD_FIELD},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char bytes[512];
        size_t length = 0, wrong_at;
        struct hcs_head_scan scan = {0};
        struct verdict verdict;

        for (const char *p = rows[i].start; *p != '\0'; p++) {
            bytes[length++] = *p;
        }
        for (int k = 0; k < 150; k += (int)strlen(rows[i].fill)) {
            for (const char *p = rows[i].fill; *p != '\0'; p++) {
                bytes[length++] = *p;
            }
        }
        wrong_at = length;
        for (const char *p = rows[i].wrong; *p != '\0'; p++) {
            bytes[length++] = *p;
        }
        memset(bytes + length, 'a', 40);
        verdict = look(&scan, bytes, length + 40, LIMIT);
        assert_int_equal(verdict.scan, HCS_SCAN_BAD);
        assert_int_equal(verdict.reason, rows[i].reason);
        same_in_pieces(bytes, length + 40, LIMIT, &verdict);
        for (size_t end = length - 1; end <= length; end++) {
            /* In steps of all sizes to the byte before it, and to it. */
            for (size_t step = 1; step < 70; step++) {
                scan = (struct hcs_head_scan){0};
                for (size_t at = step; at < end; at += step) {
                    assert_int_equal(
                        look(&scan, bytes, at, LIMIT).scan, HCS_SCAN_MORE);
                }
                verdict = look(&scan, bytes, end, LIMIT);
                assert_int_equal(
                    verdict.scan, end == length ? HCS_SCAN_BAD : HCS_SCAN_MORE);
            }
        }
        assert_true(wrong_at < length);
        assert_int_equal(verdict.reason, rows[i].reason);
    }
}

/* What the scan keeps of a line from call to call is all it needs. */
static void long_lines_in_steps_of_any_size_are_taken(void **state)
{
    static char bytes[2048];
    size_t length = 0;

    (void)state;
    length += (size_t)snprintf(bytes, sizeof bytes, "OPTIONS http://[::1]:80/");
    for (int i = 0; i < 40; i++) {
        length += (size_t)snprintf(
            bytes + length, sizeof bytes - length, "%%4%dab;c=[d", i % 10);
        length -= 2; /* a bracket is not for a path */
    }
    length += (size_t)snprintf(
        bytes + length, sizeof bytes - length, " HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 5; i++) {
        memset(bytes + length, 'N', 90);
        bytes[length + 90] = ':';
        memset(bytes + length + 91, ':', 90);
        memcpy(bytes + length + 181, "\r\n", 2);
        length += 183;
    }
    memcpy(bytes + length, "\r\n", 2);
    length += 2;
    for (size_t step = 1; step < length; step++) {
        struct hcs_head_scan scan = {0};
        struct verdict verdict;
        struct hcs_head head;

        for (size_t at = step; at < length; at += step) {
            assert_int_equal(look(&scan, bytes, at, LIMIT).scan, HCS_SCAN_MORE);
        }
        verdict = look(&scan, bytes, length, LIMIT);
        assert_int_equal(verdict.scan, HCS_SCAN_DONE);
        assert_int_equal(verdict.head_length, length);
        assert_int_equal(scan.names, 5 * 90 + 4);
        assert_int_equal(hcs_head_parse(&parser, &scan, bytes, length, &head),
            HCS_REASON_NONE);
    }
}

static void empty_lines_before_a_request_are_counted(void **state)
{
    (void)state;
    assert_int_equal(hcs_head_skip_empty("", 0), 0);
    assert_int_equal(hcs_head_skip_empty("\r", 1), 0);
    assert_int_equal(hcs_head_skip_empty("\n", 1), 0);
    assert_int_equal(hcs_head_skip_empty("\r\n", 2), 2);
    assert_int_equal(hcs_head_skip_empty("\r\n\r", 3), 2);
    assert_int_equal(hcs_head_skip_empty("\r\n\r\n", 4), 4);
    assert_int_equal(hcs_head_skip_empty("\r\r\n", 3), 0);
    assert_int_equal(hcs_head_skip_empty("\n\r\n", 3), 0);
    assert_int_equal(hcs_head_skip_empty("\r\n\r\nGET", 7), 4);
    assert_int_equal(hcs_head_skip_empty("GET\r\n", 5), 0);
}

/* ---- body framing ---- */

static void content_length_is_read(void **state)
{
    struct hcs_head head =
        read_head(LINE HOST "Content-Length: 9223372036854775807\r\n" END);

    (void)state;
    assert_true(head.has_length && !head.chunked);
    assert_true(head.content_length == INT64_MAX);

    head = read_head(LINE HOST "Content-Length: 0\r\n" END);
    assert_true(head.has_length && head.content_length == 0);

    head = read_head("GET / HTTP/1.0\r\nContent-Length: 120\r\n" END);
    assert_true(head.has_length && head.content_length == 120);

    head = read_head(LINE HOST "Content-Lengths: 5\r\n" END);
    assert_false(head.has_length || head.chunked);
    assert_true(head.content_length == 0);
}

/* RFC 9112, 6.3: where "chunked" is not last, nobody can tell the end. */
static void chunked_is_told(void **state)
{
    struct hcs_head head =
        read_head("POST / HTTP/1.1\r\n" HOST "TRANSFER-ENCODING: chunked\r\n"
                  "Connection: close\r\n" END);

    (void)state;
    assert_true(head.chunked && !head.has_length && !head.keep_alive);
    head = read_head(LINE HOST "X-Transfer-Encoding: chunked\r\n" END);
    assert_false(head.chunked);
    head = read_head(LINE HOST "Transfer_Encoding: chunked\r\n" END);
    assert_false(head.chunked);
}

/* Two ways to tell where the body ends: each a way past a proxy. */
/* ---- Expect, Connection, and what is handed on ---- */

static void preconditions_are_read_together(void **state)
{
    static const struct {
        const char *fields;
        enum hcs_precondition precondition;
    } rows[] = {
        {"", HCS_PRECONDITION_HOLDS},
        {"If-Match: *\r\n", HCS_PRECONDITION_HOLDS},
        {"If-Match:*\r\n", HCS_PRECONDITION_HOLDS},
        {"If-Match: \"a\"\r\n", HCS_PRECONDITION_NO_MATCH},
        {"IF-MATCH:\t\"a\"\t,W/\"\" \r\n", HCS_PRECONDITION_NO_MATCH},
        {"If-Match:\r\n", HCS_PRECONDITION_NO_MATCH},
        {"If-Match: ,, ,\r\n", HCS_PRECONDITION_NO_MATCH},
        {"If-Match: \"*\"\r\n", HCS_PRECONDITION_NO_MATCH},
        {"If-Match: \"!#,\\~\x80\xff\"\r\n", HCS_PRECONDITION_NO_MATCH},
        {"If-None-Match: *\r\n", HCS_PRECONDITION_EXISTS},
        {"if-none-match: \"a\"\r\n", HCS_PRECONDITION_HOLDS},
        {"If-None-Match:\r\n", HCS_PRECONDITION_HOLDS},
        {"If-None-Match: W/\"a\",\"b\"\r\n", HCS_PRECONDITION_HOLDS},
        {"If-Match: *\r\nIf-None-Match: *\r\n", HCS_PRECONDITION_EXISTS},
        {"If-None-Match: *\r\nIf-Match: \"a\"\r\n", HCS_PRECONDITION_NO_MATCH},
        {"If-Match: \"a\"\r\nIf-Match: \"b\"\r\n", HCS_PRECONDITION_NO_MATCH},
        {"If-Match: *\r\nIf-Match: *\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: *\r\nIf-Match:\r\n", HCS_PRECONDITION_BAD},
        {"If-None-Match: \"a\"\r\nIf-None-Match: *\r\n", HCS_PRECONDITION_BAD},
        {"If-None-Match: a\r\nIf-None-Match: \"a\"\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: *\r\nIf-None-Match: *, *\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: a\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: \"a\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: \"\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: W/\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: W\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: w/\"a\"\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: \"a\"\"b\"\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: \"a b\"\r\n", HCS_PRECONDITION_BAD},
        {"If-Match: \"a\tb\"\r\n", HCS_PRECONDITION_BAD},
        /* Only like them. */
        {"If-Matchs: \"a\"\r\n", HCS_PRECONDITION_HOLDS},
        {"If_Match: \"a\"\r\n", HCS_PRECONDITION_HOLDS},
        {"If-None-Matsh: *\r\n", HCS_PRECONDITION_HOLDS},
        {"If-Nune-Match: *\r\n", HCS_PRECONDITION_HOLDS},
        {"If-Range: *\r\n", HCS_PRECONDITION_HOLDS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];

        snprintf(text, sizeof text, LINE HOST "%s\r\n", rows[i].fields);
        assert_int_equal(read_head(text).precondition, rows[i].precondition);
        snprintf(text, sizeof text, "TRACE / HTTP/1.0\r\n%s" HOST "\r\n",
            rows[i].fields);
        assert_int_equal(read_head(text).precondition, rows[i].precondition);
    }
}

static void expectation_is_100_continue_or_refused(void **state)
{
    struct hcs_head head;

    (void)state;
    head = read_head(LINE HOST "Expect: 100-continue\r\n" END);
    assert_true(head.expect_continue);
    head = read_head(LINE HOST "EXPECT:100-Continue \r\n" END);
    assert_true(head.expect_continue);
    head = read_head(LINE HOST "Expect: ,\r\nExpect:100-continue,\r\n"
                               "Expect: \t100-Continue\r\n" END);
    assert_true(head.expect_continue);
    head = read_head(LINE HOST "Expect:\r\n" END);
    assert_false(head.expect_continue);
    head = read_head("GET / HTTP/1.0\r\nExpect: 100-continue\r\n" END);
    assert_false(head.expect_continue);
    head = read_head(
        "GET / HTTP/1.0\r\nExpect: 100-continue, 100-continue\r\n" END);
    assert_false(head.expect_continue);
    head = read_head(LINE HOST "Expects: 100-continue\r\n" END);
    assert_false(head.expect_continue);
}

static void connection_says_whether_to_stay(void **state)
{
    static const struct {
        const char *fields;
        bool under_1_0, under_1_1;
    } rows[] = {
        {"", false, true},
        {"Connection:\r\n", false, true},
        {"Connection: close\r\n", false, false},
        {"connection:CLOSE\r\n", false, false},
        {"Connection: keep-alive\r\n", true, true},
        {"CONNECTION: Keep-Alive \t\r\n", true, true},
        {"Connection: x\r\n", false, true},
        {"Connection: x, close\r\n", false, false},
        {"Connection: x,close,y\r\n", false, false},
        {"Connection: x ,\tkeep-alive\r\n", true, true},
        {"Connection: ,,keep-alive,\r\n", true, true},
        {"Connection: keep-alive, close\r\n", false, false},
        {"Connection: close, keep-alive\r\n", false, false},
        {"Connection: close\r\nConnection: keep-alive\r\n", false, false},
        {"Connection: keep-alive\r\nConnection: close\r\n", false, false},
        {"Connection: x\r\nA: b\r\nConnection: keep-alive\r\n", true, true},
        {"Connection: closed\r\n", false, true},
        {"Connection: clos\r\n", false, true},
        {"Connection: keep-alives, not-close\r\n", false, true},
        {"Connections: close\r\n", false, true},
        {"Proxy-Connection: close\r\n", false, true},
        {"Proxy-Connection: keep-alive\r\n", false, true},
        {"Keep-Alive: timeout=5\r\n", false, true},
        {"Upgrade: h2c\r\nConnection: upgrade\r\n", false, true},
        {"Connection: Upgrade, close\r\nUpgrade: websocket\r\n", false, false},
        {"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", false,
            true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int k = 0; k < 4; k++) {
            char text[256];
            bool keep_alive;

            snprintf(text, sizeof text, "%s / HTTP/1.%d\r\nHost: a\r\n%s\r\n",
                k < 2 ? "POST" : "PATCH", k % 2, rows[i].fields);
            keep_alive = read_head(text).keep_alive;
            if (keep_alive != (k % 2 ? rows[i].under_1_1 : rows[i].under_1_0)) {
                print_message("%s", text);
                fail();
            }
        }
    }
}

static void fields_that_are_handed_on_are_found(void **state)
{
    const char *text =
        "POST /a HTTP/1.1\r\naccept: text/plain;version=0.0.4 \r\n"
        "CONTENT-TYPE:\tapplication/json; charset=utf-8\t\r\nHost: [::1]:80\r\n"
        "Content-Encoding: gzip\r\nX-Request-Id: test-123\r\n"
        "Content-Length: 24\r\n\r\n";
    struct hcs_head head = read_head(text);

    (void)state;
    assert_span(text, head.accept, "text/plain;version=0.0.4");
    assert_span(text, head.content_type, "application/json; charset=utf-8");
    assert_span(text, head.content_encoding, "gzip");
    assert_span(text, head.request_id, "test-123");
    assert_span(text, head.host, "[::1]:80");
    assert_true(head.content_length == 24);

    text = LINE "Host: a\r\nAcceptx: 1\r\nContent-Typo: 2\r\n"
                "Content-Encodinx: 3\r\nX-Request-Ix: 4\r\nExpecx: 5\r\n"
                "Accepx: 6\r\nXccept: 7\r\nConnectiox: close\r\n"
                "Content-Lengtx: x\r\nTransfer-Encodinx: x\r\n"
                "Xontent-Encoding: 3\r\nXontent-Length: x\r\n"
                "Xransfer-Encoding: x\r\n"
                "Transfer-Xncoding: x\r\nX-Xequest-Id: 4\r\n\r\n";
    head = read_head(text);
    assert_int_equal(head.accept.length, 0);
    assert_int_equal(head.content_type.length, 0);
    assert_int_equal(head.content_encoding.length, 0);
    assert_int_equal(head.request_id.length, 0);
    assert_int_equal(head.query.length, 0);
    assert_true(head.keep_alive && !head.has_length && !head.chunked);
}

static void empty_values_are_empty(void **state)
{
    const char *text =
        LINE "Accept:\r\nContent-Type: \t\r\nHost: a\r\nX-Request-ID:\r\n"
             "Content-Encoding:  \r\nConnection:\r\n\r\n";
    struct hcs_head head = read_head(text);

    (void)state;
    assert_int_equal(head.accept.length, 0);
    assert_int_equal(head.content_type.length, 0);
    assert_int_equal(head.content_encoding.length, 0);
    assert_int_equal(head.request_id.length, 0);
    assert_span(text, head.host, "a");
}

static void repeated_fields_keep_one_meaning(void **state)
{
    const char *text = LINE HOST "Accept: x\r\nAccept: y\r\n"
                                 "Content-Encoding: identity\r\n"
                                 "Content-Encoding: gzip\r\n"
                                 "Content-Encoding: Identity\r\n"
                                 "X-Request-ID: x\r\nX-Request-ID: x\r\n\r\n";
    struct hcs_head head = read_head(text);

    (void)state;
    assert_span(text, head.accept, "x");
    assert_span(text, head.content_encoding, "gzip");
    assert_int_equal(head.request_id.length, 0);

    text = LINE HOST "Content-Encoding:\r\nContent-Encoding: br\r\n\r\n";
    head = read_head(text);
    assert_span(text, head.content_encoding, "br");
}

static void unsafe_request_id_is_absent(void **state)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "-._~+/=:@";
    char id[130] = {0};

    (void)state;
    for (unsigned octet = 0x20; octet < 256; octet++) {
        char text[64];
        struct hcs_head head;

        if (octet == 0x7f) {
            continue;
        }
        snprintf(text, sizeof text, LINE HOST "X-Request-ID: a%cb\r\n\r\n",
            (int)octet);
        head = read_head(text);
        assert_int_equal(
            head.request_id.length, among((unsigned char)octet, safe) ? 3 : 0);
    }
    for (size_t length = 127; length <= 129; length++) {
        char text[256];
        struct hcs_head head;

        memset(id, 'i', length);
        snprintf(text, sizeof text, LINE HOST "X-Request-ID: %s\r\n\r\n", id);
        head = read_head(text);
        assert_int_equal(head.request_id.length, length <= 128 ? length : 0);
    }
}

static void refused_section_still_tells_method_and_version(void **state)
{
    static const struct {
        const char *text;
        enum hcs_reason reason;
        enum hcs_method method;
        int minor;
        bool keep_alive;
    } rows[] = {
        {"HEAD / HTTP/1.1\r\n\r\n", HCS_REASON_BAD_HOST, HCS_HEAD, 1, true},
        {"HEAD / HTTP/1.1\r\nExpect: x\r\n" HOST END,
            HCS_REASON_BAD_EXPECTATION, HCS_HEAD, 1, true},
        {"POST / HTTP/1.0\r\nContent-Length: x\r\nConnection: keep-alive\r\n"
         "\r\n",
            HCS_REASON_BAD_CONTENT_LENGTH, HCS_POST, 0, true},
        {"POST / HTTP/1.1\r\nContent-Length: x\r\nConnection: close\r\n"
         "\r\n",
            HCS_REASON_BAD_CONTENT_LENGTH, HCS_POST, 1, false},
        {"OPTIONS * HTTP/1.5\r\nTransfer-Encoding: a,chunked\r\n" HOST END,
            HCS_REASON_BAD_CODING, HCS_OPTIONS, 1, true},
        {"PUT / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            HCS_REASON_BAD_CONTENT_LENGTH, HCS_METHOD_OTHER, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hcs_head head = {0};

        assert_int_equal(
            judge(rows[i].text, strlen(rows[i].text), &head), rows[i].reason);
        assert_int_equal(head.method, rows[i].method);
        assert_int_equal(head.minor, rows[i].minor);
        assert_int_equal(head.keep_alive, rows[i].keep_alive);
    }
}

/* Field order decides nothing: each pair of fields is tried both ways. */
static void verdict_does_not_depend_on_field_order(void **state)
{
    static const char *const fields[] = {
        "Host: a\r\n",
        "Host: a/b\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: x\r\n",
        "Content-Length:\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding:\r\n",
        "Connection: close\r\n",
        "Connection: (\r\n",
        "Expect: 100-continue\r\n",
        "Expect: x\r\n",
        "Content-Type: a/b\r\n",
        "Upgrade: x\r\n",
    };
    const size_t count = sizeof fields / sizeof fields[0];

    (void)state;
    for (size_t i = 0; i < count * count * 2; i++) {
        const char *first = fields[i / 2 % count];
        const char *second = fields[i / 2 / count];
        const char *line = i % 2 ? LINE : "PUT / HTTP/1.1\r\n";
        char one[128], other[128];
        struct hcs_head head;

        snprintf(one, sizeof one, "%s%s%s\r\n", line, first, second);
        snprintf(other, sizeof other, "%s%s%s\r\n", line, second, first);
        assert_int_equal(
            judge(one, strlen(one), &head), judge(other, strlen(other), &head));
    }
}

/* ---- limits ---- */

static char *section_of(size_t length)
{
    static const char start[] = LINE HOST "A: ";
    char *bytes = malloc(length);

    assert_non_null(bytes);
    memset(bytes, 'x', length);
    memcpy(bytes, start, sizeof start - 1);
    memcpy(bytes + length - 4, "\r\n\r\n", 4);
    return bytes;
}

static void section_may_have_max_bytes_and_not_one_more(void **state)
{
    (void)state;
    for (size_t max = 64; max <= 1024; max *= 4) {
        for (size_t over = 0; over <= 2; over++) {
            char *bytes = section_of(max + over);
            struct hcs_head_scan scan = {0};
            struct verdict verdict = look(&scan, bytes, max + over, max);

            same_in_pieces(bytes, max + over, max, &verdict);
            if (over == 0) {
                assert_int_equal(verdict.scan, HCS_SCAN_DONE);
                assert_int_equal(verdict.head_length, max);
            } else {
                assert_int_equal(verdict.scan, HCS_SCAN_BAD);
                assert_int_equal(verdict.reason, HCS_REASON_HEADER_TOO_LARGE);
            }
            free(bytes);
        }
    }
}

static void full_section_without_end_is_refused_at_once(void **state)
{
    char *bytes = section_of(4096);
    struct hcs_head_scan scan = {0};

    (void)state;
    assert_int_equal(look(&scan, bytes, 1023, 1024).scan, HCS_SCAN_MORE);
    assert_int_equal(look(&scan, bytes, 1024, 1024).scan, HCS_SCAN_BAD);
    free(bytes);
}

static void limit_lowered_meanwhile_holds(void **state)
{
    static char bytes[2048];
    size_t length = sizeof LINE - 1;

    (void)state;
    memcpy(bytes, LINE, length);
    for (; length <= sizeof bytes - 32; length += 32) {
        memcpy(bytes + length, "A: 456789012345678901234567890\r\n", 32);
    }
    for (size_t max = 1; max <= 1024; max++) {
        struct hcs_head_scan scan = {0};
        struct verdict verdict;

        assert_int_equal(
            look(&scan, bytes, length - 1, LIMIT).scan, HCS_SCAN_MORE);
        verdict = look(&scan, bytes, length, max);
        assert_int_equal(verdict.scan, HCS_SCAN_BAD);
        assert_int_equal(verdict.reason, HCS_REASON_HEADER_TOO_LARGE);
    }
}

static void body_behind_the_section_does_not_count(void **state)
{
    static const char bytes[] = LINE HOST END "a body that is long enough";
    size_t head_length = sizeof LINE HOST END - 1;
    struct hcs_head_scan scan = {0};
    struct verdict verdict = look(&scan, bytes, sizeof bytes - 1, head_length);

    (void)state;
    assert_int_equal(verdict.scan, HCS_SCAN_DONE);
    same_in_pieces(bytes, sizeof bytes - 1, head_length, &verdict);
}

static void request_line_without_end_is_too_long(void **state)
{
    static char bytes[2048];
    struct verdict verdict;
    struct hcs_head_scan scan = {0};

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, "GET /", 5);
    verdict = look(&scan, bytes, 1025, 1024);
    assert_int_equal(verdict.scan, HCS_SCAN_BAD);
    assert_int_equal(verdict.reason, HCS_REASON_TARGET_TOO_LONG);
    same_in_pieces(bytes, 1025, 1024, &verdict);

    /* The line has an end, but not within the limit; and just within it. */
    memcpy(bytes + 1024 - 10, " HTTP/1.1\r\n" HOST END,
        sizeof " HTTP/1.1\r\n" HOST END - 1);
    scan = (struct hcs_head_scan){0};
    verdict = look(&scan, bytes, 1060, 1024);
    assert_int_equal(verdict.reason, HCS_REASON_TARGET_TOO_LONG);
    same_in_pieces(bytes, 1060, 1024, &verdict);
    scan = (struct hcs_head_scan){0};
    verdict = look(&scan, bytes, 1060, 1025);
    assert_int_equal(verdict.scan, HCS_SCAN_BAD);
    assert_int_equal(verdict.reason, HCS_REASON_HEADER_TOO_LARGE);
    same_in_pieces(bytes, 1060, 1025, &verdict);

    /* A wrong byte in it comes first, wherever the cuts were. */
    bytes[500] = '\x80';
    scan = (struct hcs_head_scan){0};
    verdict = look(&scan, bytes, 1000, 900);
    assert_int_equal(verdict.reason, HCS_REASON_BAD_TARGET);
    same_in_pieces(bytes, 1000, 900, &verdict);
    scan = (struct hcs_head_scan){0};
    verdict = look(&scan, bytes, 1060, 1024);
    assert_int_equal(verdict.reason, HCS_REASON_BAD_TARGET);
    same_in_pieces(bytes, 1060, 1024, &verdict);
}

static void field_lines_are_counted(void **state)
{
    static char bytes[LIMIT];
    size_t length = sizeof LINE HOST - 1;
    struct hcs_head_scan scan = {0};
    struct verdict verdict;
    struct hcs_head head;

    (void)state;
    memcpy(bytes, LINE HOST, length);
    for (int i = 1; i < HCS_HEAD_FIELDS_MAX; i++) {
        memcpy(bytes + length, "A:b\r\n", 5);
        length += 5;
    }
    memcpy(bytes + length, "\r\n", 2);
    verdict = look(&scan, bytes, length + 2, LIMIT);
    assert_int_equal(verdict.scan, HCS_SCAN_DONE);
    same_in_pieces(bytes, length + 2, LIMIT, &verdict);
    assert_int_equal(hcs_head_parse(&parser, &scan, bytes, length + 2, &head),
        HCS_REASON_NONE);

    memcpy(bytes + length, "A:b\r\n\r\n", 7);
    scan = (struct hcs_head_scan){0};
    verdict = look(&scan, bytes, length + 7, LIMIT);
    assert_int_equal(verdict.scan, HCS_SCAN_BAD);
    assert_int_equal(verdict.reason, HCS_REASON_HEADER_TOO_LARGE);
    same_in_pieces(bytes, length + 7, LIMIT, &verdict);
    scan = (struct hcs_head_scan){0};
    assert_int_equal(look(&scan, bytes, length, LIMIT).scan, HCS_SCAN_MORE);
    assert_int_equal(look(&scan, bytes, length + 1, LIMIT).scan, HCS_SCAN_BAD);
}

/* ---- two readers ---- */

/* Callbacks between llhttp and the parser that change what llhttp says. */
static llhttp_settings_t original;
static bool silent;

static int url_is_shorter(llhttp_t *llhttp, const char *at, size_t length)
{
    return original.on_url(llhttp, at, length - 1);
}

static int url_starts_later(llhttp_t *llhttp, const char *at, size_t length)
{
    return original.on_url(llhttp, at + 1, length - 1);
}

static int url_with_other_method(
    llhttp_t *llhttp, const char *at, size_t length)
{
    llhttp->method = HTTP_PUT;
    return original.on_url(llhttp, at, length);
}

static int url_with_other_version(
    llhttp_t *llhttp, const char *at, size_t length)
{
    int result = original.on_url(llhttp, at, length);

    ((struct hcs_parser *)llhttp)->head->minor ^= 1;
    return result;
}

static int name_is_shorter(llhttp_t *llhttp, const char *at, size_t length)
{
    return original.on_header_field(llhttp, at, length - 1);
}

static int name_starts_later(llhttp_t *llhttp, const char *at, size_t length)
{
    return original.on_header_field(llhttp, at + 1, length - 1);
}

static int value_is_shorter(llhttp_t *llhttp, const char *at, size_t length)
{
    return original.on_header_value(llhttp, at, length - 1);
}

static int value_starts_later(llhttp_t *llhttp, const char *at, size_t length)
{
    return original.on_header_value(llhttp, at + 1, length - 1);
}

/* The last field is kept back. */
static int last_name_is_lost(llhttp_t *llhttp, const char *at, size_t length)
{
    silent = at[0] == 'Z';
    return silent ? 0 : original.on_header_field(llhttp, at, length);
}

static int last_value_is_lost(llhttp_t *llhttp, const char *at, size_t length)
{
    return silent ? 0 : original.on_header_value(llhttp, at, length);
}

static enum hcs_reason scan_and_parse(
    struct hcs_parser *with, const char *text, struct hcs_head *head)
{
    struct hcs_head_scan scan = {0};
    struct verdict verdict = look(&scan, text, strlen(text), LIMIT);

    assert_int_equal(verdict.scan, HCS_SCAN_DONE);
    return hcs_head_parse(with, &scan, text, verdict.head_length, head);
}

static enum hcs_reason parse_through(
    const llhttp_settings_t *settings, const char *text)
{
    struct hcs_parser tampered = parser;
    struct hcs_head head;
    llhttp_settings_t copy = *settings;

    tampered.fresh.settings = &copy;
    return scan_and_parse(&tampered, text, &head);
}

static void readers_that_differ_are_a_refusal(void **state)
{
    static const char text[] =
        "POST /ab HTTP/1.1\r\nHost: ab\r\nZz: ab\r\n\r\n";
    static const char coded[] = "POST /ab HTTP/1.1\r\nHost: ab\r\n"
                                "Transfer-Encoding: ab, chunked\r\n"
                                "Zz: ab\r\n\r\n";
    llhttp_settings_t settings[9];

    (void)state;
    memcpy(&original, parser.fresh.settings, sizeof original);
    for (size_t i = 0; i < 9; i++) {
        settings[i] = original;
    }
    settings[0].on_url = url_is_shorter;
    settings[1].on_url = url_starts_later;
    settings[2].on_url = url_with_other_method;
    settings[3].on_url = url_with_other_version;
    settings[4].on_header_field = name_is_shorter;
    settings[5].on_header_field = name_starts_later;
    settings[6].on_header_value = value_is_shorter;
    settings[7].on_header_value = value_starts_later;
    settings[8].on_header_field = last_name_is_lost;
    settings[8].on_header_value = last_value_is_lost;

    assert_int_equal(parse_through(&original, text), HCS_REASON_NONE);
    for (size_t i = 0; i < 9; i++) {
        silent = false;
        assert_int_equal(
            parse_through(&settings[i], text), HCS_REASON_BAD_FIELD);
        /* What we find wrong ourselves has the better name. */
        silent = false;
        assert_int_equal(
            parse_through(&settings[i], coded), HCS_REASON_BAD_CODING);
    }
}

static void objection_of_llhttp_alone_is_a_refusal(void **state)
{
    static const char *const texts[] = {
        LINE HOST END,
        "POST http://a HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
    };
    static const char bad[] = LINE END;
    struct hcs_parser tampered = parser;
    struct hcs_head head;

    (void)state;
    /* It waits for a response, so it takes none of these. */
    tampered.fresh.type = HTTP_RESPONSE;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_not_equal(
            scan_and_parse(&tampered, texts[i], &head), HCS_REASON_NONE);
        assert_int_equal(head.method, i == 0 ? HCS_GET : HCS_POST);
    }
    assert_int_equal(
        scan_and_parse(&tampered, bad, &head), HCS_REASON_BAD_HOST);
}

/* ---- one field by name ---- */

static void field_is_found_by_name(void **state)
{
    static const char text[] =
        "GET /A:b HTTP/1.1\r\nHost: a\r\nTraceparent:  00-x \t\r\nAB: 1\r\n"
        "A: 2\r\nA: 3\r\nEmpty:\r\nBlank: \t\r\nLast: z\r\n\r\nBody: 9\r\n\r\n";
    size_t length = strlen(text) - sizeof "Body: 9\r\n\r\n" + 1;
    struct hcs_span span = {0};

    (void)state;
    assert_true(hcs_head_field(text, length, "traceparent", &span));
    assert_span(text, span, "00-x");
    assert_true(hcs_head_field(text, length, "TRACEPARENT", &span));
    assert_span(text, span, "00-x");
    assert_true(hcs_head_field(text, length, "A", &span));
    assert_span(text, span, "2");
    assert_true(hcs_head_field(text, length, "ab", &span));
    assert_span(text, span, "1");
    assert_true(hcs_head_field(text, length, "host", &span));
    assert_span(text, span, "a");
    assert_true(hcs_head_field(text, length, "last", &span));
    assert_span(text, span, "z");
    assert_true(hcs_head_field(text, length, "empty", &span));
    assert_span(text, span, "");
    assert_true(hcs_head_field(text, length, "blank", &span));
    assert_span(text, span, "");
    assert_false(hcs_head_field(text, length, "body", &span));
    assert_false(hcs_head_field(text, length, "tracepar", &span));
    assert_false(hcs_head_field(text, length, "traceparents", &span));
    assert_false(hcs_head_field(text, length, "GET /A", &span));
    assert_false(hcs_head_field(text, length, "", &span));
    assert_false(hcs_head_field(LINE END, sizeof LINE END - 1, "host", &span));
}

/* "^" and "~" differ in the bit that makes letters lower-case. */
static void names_are_compared_as_letters_only(void **state)
{
    static const char text[] = LINE HOST "A~: 1\r\n\r\n";
    struct hcs_span span;

    (void)state;
    assert_false(hcs_head_field(text, sizeof text - 1, "A^", &span));
    assert_true(hcs_head_field(text, sizeof text - 1, "a~", &span));
}

/* ---- whatever comes ---- */

/* Mutated sections: one verdict however they are cut, and what is accepted has
 * the properties that no accepted section may lack. */
static void mutated_sections_have_one_verdict(void **state)
{
    static const char *const seeds[] = {
        "GET /health?x=%20 HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n"
        "Connection: close\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\nHost: [::1]\r\nExpect: 100-continue\r\n\r\n",
        "PUT http://a/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n"
        "\r\n",
    };
    static const char alphabet[] =
        "\r\n\r\n :,;/?#%[]@*.0195aAzZ-~^_\"(\\\t\0\x01\x7f\x80\xff";
    uint32_t random = 7;
    unsigned accepted = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[256];
        size_t length = strlen(seeds[round % 4]);
        struct hcs_head_scan scan = {0};
        struct verdict verdict;
        struct hcs_head head;

        memcpy(text, seeds[round % 4], length);
        for (int i = 0; i < 1 + round % 3; i++) {
            size_t at;

            random = random * 1664525 + 1013904223;
            at = (random >> 8) % length;
            switch (random >> 30) {
            case 0: /* a byte is lost */
                memmove(text + at, text + at + 1, length - at - 1);
                length--;
                break;
            case 1: /* or doubled */
                memmove(text + at + 1, text + at, length - at);
                length++;
                break;
            default:
                text[at] = alphabet[(random >> 20) % (sizeof alphabet - 1)];
            }
        }
        verdict = look(&scan, text, length, LIMIT);
        same_in_pieces(text, length, LIMIT, &verdict);
        if (verdict.scan != HCS_SCAN_DONE ||
            hcs_head_parse(&parser, &scan, text, verdict.head_length, &head) !=
                HCS_REASON_NONE) {
            continue;
        }
        accepted++;
        assert_memory_equal(text + verdict.head_length - 4, "\r\n\r\n", 4);
        for (size_t i = 0; i < verdict.head_length; i++) {
            unsigned char octet = (unsigned char)text[i];

            assert_true(octet >= ' ' || octet == '\t' || octet == '\r' ||
                        octet == '\n');
            assert_int_not_equal(octet, 0x7f);
            if (octet == '\r') {
                assert_int_equal(text[i + 1], '\n');
                assert_true(i + 2 == verdict.head_length ||
                            (text[i + 2] != ' ' && text[i + 2] != '\t'));
            } else if (octet == '\n') {
                assert_int_equal(text[i - 1], '\r');
            }
        }
        assert_false(head.chunked && head.has_length);
        assert_true(head.minor == 0 || head.host.length > 0);
        assert_true(head.asterisk || head.path.length > 0);
        assert_true(head.asterisk || text[head.path.offset] == '/');
    }
    assert_true(accepted > 1000);
}

static int set_up(void **state)
{
    (void)state;
    hcs_parser_init(&parser);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_served_elsewhere_are_passed_on),
        cmocka_unit_test(methods_served_here_are_told_apart),
        cmocka_unit_test(later_minor_versions_are_read_as_1_1),
        cmocka_unit_test(absolute_form_has_the_say_over_host),
        cmocka_unit_test(https_is_told_from_http),
        cmocka_unit_test(empty_path_is_a_slash),
        cmocka_unit_test(asterisk_is_told),
        cmocka_unit_test(authority_form_gives_the_host),
        cmocka_unit_test(path_and_query_are_split_at_the_first_mark),
        cmocka_unit_test(path_holds_what_a_uri_may),
        cmocka_unit_test(query_holds_what_a_uri_may),
        cmocka_unit_test(name_is_a_token),
        cmocka_unit_test(value_has_no_controls),
        cmocka_unit_test(host_holds_what_a_name_may),
        cmocka_unit_test(section_ends_at_its_empty_line),
        cmocka_unit_test(incomplete_section_waits),
        cmocka_unit_test(incomplete_line_is_refused_at_its_first_wrong_byte),
        cmocka_unit_test(tls_hello_is_refused_at_its_first_byte),
        cmocka_unit_test(long_line_in_pieces_is_refused_at_a_control_byte),
        cmocka_unit_test(long_line_in_pieces_is_refused_at_a_bare_cr),
        cmocka_unit_test(long_line_is_refused_at_its_first_wrong_byte),
        cmocka_unit_test(long_lines_in_steps_of_any_size_are_taken),
        cmocka_unit_test(empty_lines_before_a_request_are_counted),
        cmocka_unit_test(content_length_is_read),
        cmocka_unit_test(chunked_is_told),
        cmocka_unit_test(preconditions_are_read_together),
        cmocka_unit_test(expectation_is_100_continue_or_refused),
        cmocka_unit_test(connection_says_whether_to_stay),
        cmocka_unit_test(fields_that_are_handed_on_are_found),
        cmocka_unit_test(empty_values_are_empty),
        cmocka_unit_test(repeated_fields_keep_one_meaning),
        cmocka_unit_test(unsafe_request_id_is_absent),
        cmocka_unit_test(refused_section_still_tells_method_and_version),
        cmocka_unit_test(verdict_does_not_depend_on_field_order),
        cmocka_unit_test(section_may_have_max_bytes_and_not_one_more),
        cmocka_unit_test(full_section_without_end_is_refused_at_once),
        cmocka_unit_test(limit_lowered_meanwhile_holds),
        cmocka_unit_test(body_behind_the_section_does_not_count),
        cmocka_unit_test(request_line_without_end_is_too_long),
        cmocka_unit_test(field_lines_are_counted),
        cmocka_unit_test(readers_that_differ_are_a_refusal),
        cmocka_unit_test(objection_of_llhttp_alone_is_a_refusal),
        cmocka_unit_test(field_is_found_by_name),
        cmocka_unit_test(names_are_compared_as_letters_only),
        cmocka_unit_test(mutated_sections_have_one_verdict),
    };

    struct CMUnitTest sections[HEAD_CASES] = {{0}}; /* unnamed: no test */
    size_t count = 0;

    for (size_t i = 0; i < HEAD_CASES; i++) {
        if (head_cases[i].test != NULL) {
            sections[count].name = head_cases[i].test;
            sections[count].test_func = check_rows;
            sections[count++].initial_state = (void *)&head_cases[i];
        }
    }
    return cmocka_run_group_tests_name("head: rows", sections, set_up, NULL) +
           cmocka_run_group_tests_name("head", tests, set_up, NULL);
}
