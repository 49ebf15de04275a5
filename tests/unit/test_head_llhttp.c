/*
 * The verdict on a header section does not hang on the version of llhttp: the
 * same cases as in test_head.c, with others in its place. What they let through
 * is refused by ourselves, for the same reason; and one that reports something
 * else than what stands there does not make us accept another meaning.
 */
/* ctest: timeout=120 */
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

enum {
    LIMIT = 16 * 1024,
    EVENTS_MAX = 3 * HCS_HEAD_FIELDS_MAX,
    NO_ERROR_ABOVE = 64, /* llhttp's codes are below it, in every version */
};

enum reader {
    LINKED,   /* the llhttp that hcsd is linked with */
    LENIENT,  /* the same, with all that it can let through let through */
    YIELDING, /* refuses nothing */
    MUTE,     /* refuses everything, and says nothing */
    LYING,    /* reports something else, as its lie says */
    READERS
};

/* ---- stand-ins ---- */

enum kind { ON_URL, ON_FIELD, ON_VALUE, ON_COMPLETE, KINDS };

/* What a callback is told. */
struct event {
    enum kind kind;
    const char *at;
    size_t length;
    uint8_t method, major, minor; /* as they stand in the llhttp_t then */
};

struct script {
    struct event events[EVENTS_MAX];
    size_t count;
    const char *bytes, *end; /* what was to be read */
    int result;              /* -1: what the callbacks lead to */
    bool deaf;               /* goes on when a callback says stop */
};

static enum reader reader; /* that is asked now */

/* Changes what LYING tells. */
static void (*lie)(struct script *script, uint32_t *random);
static uint32_t lie_seed;

void __real_llhttp_init(
    llhttp_t *llhttp, llhttp_type_t type, const llhttp_settings_t *settings);
llhttp_errno_t __real_llhttp_execute(
    llhttp_t *llhttp, const char *bytes, size_t length);

void __wrap_llhttp_init(
    llhttp_t *llhttp, llhttp_type_t type, const llhttp_settings_t *settings);
llhttp_errno_t __wrap_llhttp_execute(
    llhttp_t *llhttp, const char *bytes, size_t length);

void __wrap_llhttp_init(
    llhttp_t *llhttp, llhttp_type_t type, const llhttp_settings_t *settings)
{
    __real_llhttp_init(llhttp, type, settings);
    if (reader == LENIENT) {
#if LLHTTP_VERSION_MAJOR >= 3
        /* Those that a later version may add as well. */
        memset(&llhttp->lenient_flags, 0xff, sizeof llhttp->lenient_flags);
#endif
    }
}

static uint8_t method_of(const char *name, size_t length)
{
    static const struct {
        const char *name;
        uint8_t method;
    } methods[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_HEAD}, {"POST", HTTP_POST},
        {"OPTIONS", HTTP_OPTIONS}, {"PUT", HTTP_PUT},
        {"CONNECT", HTTP_CONNECT}};

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strlen(methods[i].name) == length &&
            memcmp(methods[i].name, name, length) == 0) {
            return methods[i].method;
        }
    }
    return HTTP_DELETE;
}

static void add_event(struct script *script, struct event event)
{
    assert_true(script->count < EVENTS_MAX);
    script->events[script->count++] = event;
}

static uint8_t digit_at(const char *p, const char *end)
{
    return p < end ? (uint8_t)(*p - '0') : 0;
}

/* Method, target and version: what stands around the first space and the last
 * one. */
static void read_request_line(
    struct script *script, const char *line, const char *end)
{
    const char *space = memchr(line, ' ', (size_t)(end - line));
    const char *last;

    if (space == NULL) {
        return;
    }
    last = memrchr(line, ' ', (size_t)(end - line));
    add_event(
        script, (struct event){.kind = ON_URL,
                    .at = space + 1,
                    .length = last > space ? (size_t)(last - space - 1) : 0,
                    .method = method_of(line, (size_t)(space - line)),
                    .major = digit_at(last + 6, end),
                    .minor = digit_at(last + 8, end)});
}

/* Whatever comes: lines end at a LF, and names at the first colon. */
static void read_section(struct script *script, bool with_request_line)
{
    const char *line = script->bytes;

    while (line < script->end) {
        const char *lf = memchr(line, '\n', (size_t)(script->end - line));
        const char *end = lf != NULL ? lf : script->end;
        const char *colon;

        if (end > line && end[-1] == '\r') {
            end--;
        }
        if (with_request_line) {
            read_request_line(script, line, end);
            with_request_line = false;
        } else if (end == line) {
            add_event(script, (struct event){.kind = ON_COMPLETE});
            return;
        } else {
            colon = memchr(line, ':', (size_t)(end - line));
            colon = colon != NULL ? colon : end;
            add_event(script, (struct event){.kind = ON_FIELD,
                                  .at = line,
                                  .length = (size_t)(colon - line)});
            colon += colon < end;
            while (colon < end && (*colon == ' ' || *colon == '\t')) {
                colon++;
            }
            add_event(script, (struct event){.kind = ON_VALUE,
                                  .at = colon,
                                  .length = (size_t)(end - colon)});
        }
        line = lf != NULL ? lf + 1 : script->end;
    }
}

static int tell(llhttp_t *llhttp, const struct event *event)
{
    const llhttp_settings_t *settings = llhttp->settings;

    switch (event->kind) {
    case ON_URL:
        llhttp->method = event->method;
        llhttp->http_major = event->major;
        llhttp->http_minor = event->minor;
        return settings->on_url(llhttp, event->at, event->length);
    case ON_FIELD:
        return settings->on_header_field(llhttp, event->at, event->length);
    case ON_VALUE:
        return settings->on_header_value(llhttp, event->at, event->length);
    case ON_COMPLETE:
    case KINDS:
        break;
    }
    return settings->on_headers_complete(llhttp);
}

llhttp_errno_t __wrap_llhttp_execute(
    llhttp_t *llhttp, const char *bytes, size_t length)
{
    static struct script script;
    uint32_t random = lie_seed;
    llhttp_errno_t result = HPE_OK;

    if (reader == LINKED || reader == LENIENT) {
        return __real_llhttp_execute(llhttp, bytes, length);
    }
    if (reader == MUTE) {
        return HPE_INTERNAL;
    }
    script.count = 0;
    script.bytes = bytes;
    script.end = bytes + length;
    script.result = -1;
    script.deaf = false;
    read_section(&script, llhttp->data == NULL);
    llhttp->data = llhttp; /* the request line has been seen */
    if (reader == LYING) {
        lie(&script, &random);
    }
    for (size_t i = 0; i < script.count; i++) {
        int answer = tell(llhttp, &script.events[i]);

        if (answer != 0) {
            result = answer == HPE_PAUSED ? HPE_PAUSED : HPE_USER;
            if (!script.deaf) {
                break;
            }
        }
    }
    return script.result < 0 ? result : (llhttp_errno_t)script.result;
}

/* ---- asking them ---- */

struct outcome {
    enum hcs_reason reason;
    bool scanned; /* refused before llhttp was asked */
    struct hcs_head head;
};

static struct hcs_parser parsers[READERS];

static struct outcome ask(enum reader who, const char *bytes, size_t length)
{
    struct hcs_head_scan scan = {0};
    struct outcome outcome = {.scanned = true};
    size_t head_length = 0;
    char *copy = malloc(length > 0 ? length : 1);
    enum hcs_scan verdict;
    char *section;

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    verdict = hcs_head_scan(
        &scan, copy, length, LIMIT, &head_length, &outcome.reason);
    if (verdict == HCS_SCAN_DONE) {
        /* No byte more than there is, so that a look beyond it is seen. */
        section = malloc(head_length);
        assert_non_null(section);
        memcpy(section, copy, head_length);
        reader = who;
        outcome.scanned = false;
        outcome.reason = hcs_head_parse(
            &parsers[who], &scan, section, head_length, &outcome.head);
        free(section);
    } else if (verdict == HCS_SCAN_MORE) {
        outcome.reason = HCS_REASON_BAD_REQUEST_LINE; /* as good as any */
    }
    free(copy);
    return outcome;
}

static bool same_span(struct hcs_span one, struct hcs_span other)
{
    return one.length == other.length &&
           (one.length == 0 || one.offset == other.offset);
}

static bool same_meaning(
    const struct hcs_head *one, const struct hcs_head *other)
{
    return one->method == other->method && one->minor == other->minor &&
           one->keep_alive == other->keep_alive &&
           one->chunked == other->chunked &&
           one->has_length == other->has_length &&
           one->expect_continue == other->expect_continue &&
           one->asterisk == other->asterisk &&
           one->precondition == other->precondition &&
           one->secure == other->secure &&
           one->content_length == other->content_length &&
           same_span(one->path, other->path) &&
           same_span(one->query, other->query) &&
           same_span(one->host, other->host) &&
           same_span(one->content_type, other->content_type) &&
           same_span(one->content_encoding, other->content_encoding) &&
           same_span(one->request_id, other->request_id) &&
           same_span(one->accept, other->accept);
}

static void show(const char *what, const char *bytes, size_t length,
    const struct outcome *got, const struct outcome *expected)
{
    print_message("%s: %s instead of %s:\n%.*s\n", what,
        hcs_reason_word(got->reason), hcs_reason_word(expected->reason),
        (int)length, bytes);
}

/* Accepted by all that let it through, and with one meaning; or refused by
 * each, for one reason. */
static bool all_agree(const char *bytes, size_t length)
{
    static const struct {
        const char *name;
        enum reader reader;
    } others[] = {{"lenient", LENIENT}, {"yielding", YIELDING}};
    struct outcome expected = ask(LINKED, bytes, length);
    struct outcome got;

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        got = ask(others[i].reader, bytes, length);
        if (got.reason != expected.reason ||
            (got.reason == HCS_REASON_NONE &&
                !same_meaning(&got.head, &expected.head))) {
            show(others[i].name, bytes, length, &got, &expected);
            fail();
        }
    }
    got = ask(MUTE, bytes, length);
    if (expected.reason == HCS_REASON_NONE ? got.reason == HCS_REASON_NONE
                                           : got.reason != expected.reason) {
        show("mute", bytes, length, &got, &expected);
        fail();
    }
    return expected.reason == HCS_REASON_NONE;
}

/* ---- what is refused, and what is accepted ---- */

static void each_refusal_is_our_own(void **state)
{
    const char *test = "";
    size_t scanned = 0, parsed = 0;

    (void)state;
    for (size_t i = 0; i < HEAD_CASES; i++) {
        const struct head_case *one = &head_cases[i];
        struct outcome expected = {.reason = one->reason};

        if (one->test != NULL) {
            test = one->test;
            continue;
        }
        for (enum reader who = LINKED; who <= MUTE; who++) {
            struct outcome got = ask(who, one->bytes, one->length);

            scanned += got.scanned;
            parsed += !got.scanned;
            /* The mute one is refused for its own sake. */
            if (who == MUTE && one->reason == HCS_REASON_NONE) {
                assert_int_not_equal(got.reason, HCS_REASON_NONE);
            } else if (got.reason != one->reason) {
                print_message("%s, reader %d\n", test, (int)who);
                show("reader", one->bytes, one->length, &got, &expected);
                fail();
            }
        }
        assert_int_equal(
            all_agree(one->bytes, one->length), one->reason == HCS_REASON_NONE);
    }
    assert_true(scanned > 400 && parsed > 400);
}

static const char *const sections[] = {
    "GET /a?b=%20c HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length: 12\r\nHost: a\r\n"
    "Content-Type: a/b\r\nX-Request-ID: a:b\r\n\r\n",
    "POST http://a:8/b HTTP/1.0\r\nHost: [::1]:80\r\n"
    "Connection: keep-alive\r\nExpect: 100-continue\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    "Upgrade: a\r\nConnection: upgrade, close\r\n\r\n",
    "CONNECT a:80 HTTP/1.7\r\nHost: a\r\nContent-Encoding: gzip\r\n\r\n",
    "PUT /a HTTP/1.1\r\nX: y:z\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
};

enum { SECTIONS = sizeof sections / sizeof sections[0] };

/* Every octet in the place of every other, and between any two. */
static void no_octet_is_left_to_llhttp(void **state)
{
    size_t accepted = 0, refused = 0;

    (void)state;
    for (size_t i = 0; i < SECTIONS; i++) {
        size_t length = strlen(sections[i]);

        for (size_t at = 0; at < length; at++) {
            for (unsigned octet = 0; octet < 256; octet++) {
                char bytes[256];
                bool accepts;

                memcpy(bytes, sections[i], length);
                bytes[at] = (char)octet;
                accepts = all_agree(bytes, length);
                accepted += accepts;
                refused += !accepts;
                memcpy(bytes + at + 1, sections[i] + at, length - at);
                accepts = all_agree(bytes, length + 1);
                accepted += accepts;
                refused += !accepts;
            }
        }
    }
    assert_true(accepted > 10000 && refused > 10000);
}

/* Every two lines, in one section: framing, Host and the rest together. */
static void no_pair_of_fields_is_left_to_llhttp(void **state)
{
    static const char *const lines[] = {"GET / HTTP/1.1\r\n",
        "POST / HTTP/1.0\r\n", "PUT / HTTP/1.1\r\n",
        "GET http://b HTTP/1.3\r\n", "CONNECT a:80 HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n"};
    static const char *const fields[] = {"Host: a\r\n", "Host: b:80\r\n",
        "Host:\r\n", "Content-Length: 5\r\n", "Content-Length: 05\r\n",
        "Content-Length: 5, 5\r\n", "Content-Length: +5\r\n",
        "Content-Length: 5 \t\r\n", "Content-Length:\t5\r\n",
        "Content-Length:\r\n", "Content-Length: 18446744073709551621\r\n",
        "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: Chunked \t\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n", "Transfer-Encoding: ,\r\n",
        "Transfer-Encoding: identity\r\n", "Transfer-Encoding: xchunked\r\n",
        "Connection: close\r\n", "Connection: keep-alive\r\n",
        "Connection: upgrade\r\n", "Upgrade: h2c\r\n",
        "Proxy-Connection: close\r\n", "Expect: 100-continue\r\n",
        "Content-Encoding: gzip\r\n", "Accept:\r\n", "A: \t b \t \r\n",
        "If-Match: \"a\" \t\r\n", "If-Match: *\r\n", "If-None-Match:*\t\r\n",
        "A: \x80\xff\r\n", "A: b\r\n c\r\n", ": b\r\n", "A : b\r\n"};
    const size_t count = sizeof fields / sizeof fields[0];
    size_t accepted = 0;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        for (size_t k = 0; k < count * count * 2; k++) {
            char bytes[512];

            snprintf(bytes, sizeof bytes, "%s%s%s%s\r\n", lines[i],
                k % 2 != 0 ? "Host: a\r\n" : "", fields[k / 2 % count],
                fields[k / 2 / count]);
            accepted += all_agree(bytes, strlen(bytes));
        }
    }
    assert_true(accepted > 500);
}

/* ---- an llhttp that reports something else ---- */

static uint32_t draw(uint32_t *random, uint32_t below)
{
    *random = *random * 1664525 + 1013904223;
    return below == 0 ? 0 : (*random >> 8) % below;
}

static struct event *nth(struct script *script, enum kind kind, size_t n)
{
    for (size_t i = 0; i < script->count; i++) {
        if (script->events[i].kind == kind && n-- == 0) {
            return &script->events[i];
        }
    }
    return NULL;
}

static void drop(struct script *script, size_t at)
{
    script->count--;
    memmove(&script->events[at], &script->events[at + 1],
        (script->count - at) * sizeof script->events[0]);
}

static void insert(struct script *script, size_t at, struct event event)
{
    if (script->count < EVENTS_MAX) {
        memmove(&script->events[at + 1], &script->events[at],
            (script->count - at) * sizeof script->events[0]);
        script->events[at] = event;
        script->count++;
    }
}

/* So long that it ends at that octet, the n-th of them behind its end. */
static void stretch(
    const struct script *script, struct event *event, char to, size_t n)
{
    const char *p;

    if (event == NULL || event->at < script->bytes ||
        event->at >= script->end ||
        event->length >= (size_t)(script->end - event->at)) {
        return;
    }
    p = event->at + event->length;
    do {
        p = memchr(p + 1, to, (size_t)(script->end - p - 1));
    } while (p != NULL && n-- > 0);
    if (p != NULL) {
        event->length = (size_t)(p - event->at);
    }
}

/* The verdict on a section that is in order, and on what is hidden in it. */
static enum hcs_reason lied_to(
    const char *text, void (*how)(struct script *script, uint32_t *random))
{
    lie = how;
    return ask(LYING, text, strlen(text)).reason;
}

static void tell_the_truth(struct script *script, uint32_t *random)
{
    (void)script;
    (void)random;
}

static void last_name_ends_at_a_later_colon(
    struct script *script, uint32_t *random)
{
    (void)random;
    stretch(script, &script->events[script->count - 3], ':', 0);
    script->events[script->count - 2].at =
        script->events[script->count - 3].at +
        script->events[script->count - 3].length + 1;
    script->events[script->count - 2].length = 2;
}

static void name_with_a_colon_hides_no_field(void **state)
{
    static const char two[] = LINE "Host: a\r\nHost: b:80\r\n\r\n";
    static const char one[] = "GET / HTTP/1.0\r\nHost: b:80\r\n\r\n";

    (void)state;
    assert_int_equal(lied_to(one, tell_the_truth), HCS_REASON_NONE);
    assert_int_equal(lied_to(two, tell_the_truth), HCS_REASON_BAD_HOST);
    assert_int_not_equal(
        lied_to(one, last_name_ends_at_a_later_colon), HCS_REASON_NONE);
    assert_int_equal(
        lied_to(two, last_name_ends_at_a_later_colon), HCS_REASON_BAD_HOST);
}

static void first_value_ends_a_line_later(
    struct script *script, uint32_t *random)
{
    (void)random;
    stretch(script, nth(script, ON_VALUE, 0), '\r', 0);
    drop(script, 3);
    drop(script, 3);
}

static void value_over_two_lines_hides_no_field(void **state)
{
    static const char text[] = LINE "A: b\r\nContent-Length: 5\r\n" HOST END;
    static const char two[] = LINE "A: b\r\nHost: b\r\n" HOST END;

    (void)state;
    assert_int_equal(lied_to(text, tell_the_truth), HCS_REASON_NONE);
    assert_int_not_equal(
        lied_to(text, first_value_ends_a_line_later), HCS_REASON_NONE);
    assert_int_equal(
        lied_to(two, first_value_ends_a_line_later), HCS_REASON_BAD_HOST);
}

static void target_ends_in_the_first_field(
    struct script *script, uint32_t *random)
{
    (void)random;
    stretch(script, nth(script, ON_URL, 0), ' ', 0);
    drop(script, 1);
    drop(script, 1);
}

static void target_over_two_lines_hides_no_field(void **state)
{
    /* Behind the space as much as a version takes, and its digit. */
    static const char text[] =
        "POST / HTTP/1.1\r\nContent-Length: 12345671\r\n" HOST END;
    static const char version[] = "POST / HTTP/1.1\r\nA: HTTP/1.1\r\n" HOST END;

    (void)state;
    assert_int_equal(lied_to(text, tell_the_truth), HCS_REASON_NONE);
    assert_int_not_equal(
        lied_to(text, target_ends_in_the_first_field), HCS_REASON_NONE);
    assert_int_not_equal(
        lied_to(version, target_ends_in_the_first_field), HCS_REASON_NONE);
}

/* The request line twice, and behind each time the second field only: as many
 * fields as there are, with names as long as they are. */
static void begin_twice(struct script *script, uint32_t *random)
{
    struct event complete = script->events[script->count - 1];

    target_ends_in_the_first_field(script, random);
    script->count--;
    for (size_t i = 0; i < 3; i++) {
        add_event(script, script->events[i]);
    }
    add_event(script, complete);
    script->deaf = true;
}

static void second_beginning_hides_no_field(void **state)
{
    static const char text[] = "POST / HTTP/1.0\r\nContent-Length: 12345670\r\n"
                               "X-Other-Field0: a\r\n" END;

    (void)state;
    assert_int_equal(lied_to(text, tell_the_truth), HCS_REASON_NONE);
    assert_int_not_equal(lied_to(text, begin_twice), HCS_REASON_NONE);
}

/* A line less, and a name that is longer by as much. */
static void make_up_for_a_lost_line(struct script *script, uint32_t *random)
{
    struct event *name;

    first_value_ends_a_line_later(script, random);
    name = &script->events[3];
    name->length += strlen("Content-Length");
    name[1].at = name->at + name->length + 1;
    name[1].length = 1;
}

/* The second name begins too late, since the value before it ended within the
 * line; the third one is longer by as much. */
static void make_up_for_half_a_name(struct script *script, uint32_t *random)
{
    struct event *name = nth(script, ON_FIELD, 1);

    (void)random;
    name->at += 6;
    name->length -= 6;
    name[-1].length = (size_t)(name->at - 2 - name[-1].at);
    name[2].length += 6;
    name[3].at = name[2].at + name[2].length + 1;
    name[3].length = 1;
}

static void lies_that_add_up_hide_no_field(void **state)
{
    static const char line[] =
        "POST / HTTP/1.0\r\nA: b\r\nContent-Length: 5\r\n"
        "X: 345678901234:b\r\n" END;
    static const char half[] =
        "POST / HTTP/1.0\r\nA: b\r\nContent-Length: 5\r\nX: 3456:b\r\n" END;

    (void)state;
    assert_int_equal(lied_to(line, tell_the_truth), HCS_REASON_NONE);
    assert_int_not_equal(
        lied_to(line, make_up_for_a_lost_line), HCS_REASON_NONE);
    assert_int_not_equal(
        lied_to(half, make_up_for_half_a_name), HCS_REASON_NONE);
}

static void leave_out_one(struct script *script, uint32_t *random)
{
    size_t field = draw(random, (uint32_t)(script->count - 2) / 2);

    drop(script, 1 + 2 * field);
    drop(script, 1 + 2 * field);
}

static void field_left_out_is_a_refusal(void **state)
{
    static const char text[] = "POST / HTTP/1.0\r\nA: b\r\nHost: a\r\n"
                               "Content-Length: 5\r\n" END;

    (void)state;
    for (lie_seed = 0; lie_seed < 100; lie_seed++) {
        assert_int_not_equal(lied_to(text, leave_out_one), HCS_REASON_NONE);
    }
}

static void fall_silent(struct script *script, uint32_t *random)
{
    script->count = draw(random, (uint32_t)script->count);
    script->result = (int)draw(random, NO_ERROR_ABOVE);
}

static void early_end_is_a_refusal(void **state)
{
    (void)state;
    for (size_t i = 0; i < SECTIONS; i++) {
        for (lie_seed = 0; lie_seed < 1000; lie_seed++) {
            assert_int_not_equal(
                lied_to(sections[i], fall_silent), HCS_REASON_NONE);
        }
    }
}

static void object_at_the_end(struct script *script, uint32_t *random)
{
    (void)random;
    script->result = (int)lie_seed;
}

static void objection_is_a_refusal_unless_it_is_our_pause(void **state)
{
    (void)state;
    for (size_t i = 0; i < SECTIONS; i++) {
        for (lie_seed = 0; lie_seed < NO_ERROR_ABOVE; lie_seed++) {
            enum hcs_reason reason = lied_to(sections[i], object_at_the_end);

            /* The second part of a section has a result of its own; OK before
             * its end is no objection. */
            if (lie_seed == HPE_PAUSED) {
                assert_true(reason == HCS_REASON_NONE || i >= 4);
            } else {
                assert_int_not_equal(reason, HCS_REASON_NONE);
            }
        }
    }
}

static void report_another_method_or_version(
    struct script *script, uint32_t *random)
{
    struct event *url = nth(script, ON_URL, 0);

    (void)random;
    if (url != NULL) {
        url->method = lie_seed % 3 == 0 ? (uint8_t)lie_seed : url->method;
        url->major = lie_seed % 3 == 1 ? (uint8_t)lie_seed : url->major;
        url->minor = lie_seed % 3 == 2 ? (uint8_t)lie_seed : url->minor;
    }
}

static void other_method_or_version_is_a_refusal(void **state)
{
    static const char text[] = "POST /a HTTP/1.1\r\n" HOST END;

    (void)state;
    for (lie_seed = 0; lie_seed < 256; lie_seed++) {
        bool same = lie_seed == (lie_seed % 3 == 0 ? HTTP_POST : 1);
        enum hcs_reason reason =
            lied_to(text, report_another_method_or_version);

        assert_int_equal(reason == HCS_REASON_NONE, same);
    }
}

/* ---- any llhttp at all ---- */

static void move_pointer(
    struct script *script, struct event *event, uint32_t *random)
{
    static char elsewhere[LIMIT];
    size_t offset;

    switch (draw(random, 7)) {
    case 0:
        event->at = NULL;
        event->length = 0;
        break;
    case 1:
        event->at = script->end;
        event->length = draw(random, 2);
        break;
    case 2: /* the same bytes, in other memory */
        if (event->at >= script->bytes && event->at <= script->end) {
            offset = (size_t)(event->at - script->bytes);
            memcpy(elsewhere, script->bytes,
                (size_t)(script->end - script->bytes));
            event->at = elsewhere + offset;
        }
        break;
    case 3:
        event->at = script->bytes;
        break;
    case 4:
        event->at = script->bytes +
                    draw(random, (uint32_t)(script->end - script->bytes));
        break;
    default:
        if (event->at != NULL && event->length > 0) {
            event->at++;
            event->length -= draw(random, 2);
        }
    }
}

static void change_length(
    struct script *script, struct event *event, uint32_t *random)
{
    static const char ends[] = " :\r\n";

    switch (draw(random, 8)) {
    case 0:
        event->length = 0;
        break;
    case 1:
        event->length = SIZE_MAX - draw(random, 40);
        break;
    case 2:
        event->length += draw(random, 20);
        break;
    case 3:
        event->length -= event->length > 0;
        break;
    case 4:
        event->length = draw(random, LIMIT * 4);
        break;
    default:
        stretch(script, event, ends[draw(random, 4)], draw(random, 3));
    }
}

/* One thing is not as it was. */
static void distort(struct script *script, uint32_t *random)
{
    size_t at = draw(random, (uint32_t)script->count);
    struct event *event = &script->events[at];
    size_t part;

    switch (draw(random, 12)) {
    case 0:
    case 1:
        drop(script, at);
        break;
    case 2:
        insert(script, at, *event);
        break;
    case 3:
        insert(script, draw(random, (uint32_t)script->count), *event);
        break;
    case 4: /* a pair again, or no longer */
        part = draw(random, 2);
        if (at + 1 < script->count && part == 0) {
            drop(script, at);
            drop(script, at);
        } else if (at + 1 < script->count) {
            struct event first = *event, second = event[1];

            insert(script, at, second);
            insert(script, at, first);
        }
        break;
    case 5: /* in two */
        if (event->at == NULL) {
            break;
        }
        part = draw(random, (uint32_t)event->length + 1);
        insert(script, at, *event);
        script->events[at].length = part;
        script->events[at + 1].at += part;
        script->events[at + 1].length -= part;
        break;
    case 6:
        move_pointer(script, event, random);
        break;
    case 7:
        event->method = (uint8_t)draw(random, 40);
        event->major = (uint8_t)draw(random, 3);
        event->minor = (uint8_t)draw(random, 3);
        break;
    case 8: /* an end before the end, or behind it */
        insert(
            script, at + draw(random, 2), (struct event){.kind = ON_COMPLETE});
        break;
    case 9:
        script->events[at].kind = (enum kind)draw(random, KINDS);
        break;
    default:
        change_length(script, event, random);
    }
}

static void lie_at_random(struct script *script, uint32_t *random)
{
    size_t times = 1 + draw(random, 6);

    for (size_t i = 0; i < times && script->count > 0; i++) {
        distort(script, random);
    }
    script->deaf = draw(random, 2) == 0;
    if (draw(random, 4) == 0) {
        script->result = (int)draw(random, NO_ERROR_ABOVE);
    } else if (draw(random, 4) != 0) {
        script->result = HPE_PAUSED;
    }
}

struct tally {
    size_t accepted, refused;
};

static void bear_lies(
    const char *bytes, size_t length, uint32_t lies, struct tally *tally)
{
    struct outcome expected = ask(LINKED, bytes, length);

    lie = lie_at_random;
    for (uint32_t i = 0; i < lies; i++) {
        struct outcome got;

        lie_seed = i * 2654435761U + (uint32_t)length;
        got = ask(LYING, bytes, length);
        if (got.reason == HCS_REASON_NONE &&
            (expected.reason != HCS_REASON_NONE ||
                !same_meaning(&got.head, &expected.head))) {
            print_message("lie %u\n", (unsigned)i);
            show("lying", bytes, length, &got, &expected);
            fail();
        }
        tally->accepted += got.reason == HCS_REASON_NONE;
        tally->refused += got.reason != HCS_REASON_NONE;
    }
}

static void no_llhttp_gives_another_meaning(void **state)
{
    static const char *const delicate[] = {
        "POST / HTTP/1.1\r\nContent-Length: 12345670\r\n"
        "X-Other-Field0: a\r\n" HOST END,
        "POST / HTTP/1.0\r\nX: HTTP/1.1\r\nContent-Length: 5\r\n"
        "X: a:b:c\r\nConnection: a, keep-alive\r\nHost: a:80\r\n" END,
        LINE "Host: a\r\nHost: a:80\r\n" END,
        LINE
        "X: y:z\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n" HOST
            END,
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nX: a:b\r\n" HOST END,
    };
    struct tally tally = {0};

    (void)state;
    for (size_t i = 0; i < SECTIONS; i++) {
        bear_lies(sections[i], strlen(sections[i]), 20000, &tally);
    }
    for (size_t i = 0; i < sizeof delicate / sizeof delicate[0]; i++) {
        bear_lies(delicate[i], strlen(delicate[i]), 20000, &tally);
    }
    for (size_t i = 0; i < HEAD_CASES; i++) {
        if (head_cases[i].test == NULL) {
            bear_lies(head_cases[i].bytes, head_cases[i].length, 300, &tally);
        }
    }
    assert_true(tally.accepted > 10000 && tally.refused > 10000);
}

static int set_up(void **state)
{
    (void)state;
    print_message("llhttp %d.%d.%d\n", LLHTTP_VERSION_MAJOR,
        LLHTTP_VERSION_MINOR, LLHTTP_VERSION_PATCH);
    for (reader = LINKED; reader < READERS; reader++) {
        hcs_parser_init(&parsers[reader]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_refusal_is_our_own),
        cmocka_unit_test(no_octet_is_left_to_llhttp),
        cmocka_unit_test(no_pair_of_fields_is_left_to_llhttp),
        cmocka_unit_test(name_with_a_colon_hides_no_field),
        cmocka_unit_test(value_over_two_lines_hides_no_field),
        cmocka_unit_test(target_over_two_lines_hides_no_field),
        cmocka_unit_test(second_beginning_hides_no_field),
        cmocka_unit_test(lies_that_add_up_hide_no_field),
        cmocka_unit_test(field_left_out_is_a_refusal),
        cmocka_unit_test(early_end_is_a_refusal),
        cmocka_unit_test(objection_is_a_refusal_unless_it_is_our_pause),
        cmocka_unit_test(other_method_or_version_is_a_refusal),
        cmocka_unit_test(no_llhttp_gives_another_meaning),
    };

    return cmocka_run_group_tests_name("head_llhttp", tests, set_up, NULL);
}
