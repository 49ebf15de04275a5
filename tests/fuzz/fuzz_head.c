/* The header section: raw check and parser, on bytes that come in any cut.
 *
 * The input is the bytes as text: a line feed stands for CR LF, and \r \n \0
 * \xHH for single bytes. */
#include "fuzz.h"

#include "http/head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    SECTION_MAX = 2048, /* the limit that most inputs are read with */
    INPUT_MAX = 8192,
};

struct verdict {
    enum hcs_scan scan;
    enum hcs_reason reason;
    size_t head_length;
    size_t at; /* so many bytes were there */
};

/* --- However it was cut, the verdict is one. */

/* Reads bytes that come in steps of next_step; what is not there yet may not
 * be looked at. */
static struct verdict scan_in_steps(const char *bytes, size_t length,
    size_t max_bytes, size_t (*next_step)(uint64_t *), uint64_t seed)
{
    struct verdict verdict = {.scan = HCS_SCAN_MORE};
    struct hcs_head_scan scan = {0};
    char *arrived = malloc(length > 0 ? length : 1);

    fuzz_check(arrived != NULL, "no memory");
    fuzz_forbid(arrived, length);
    while (verdict.scan == HCS_SCAN_MORE && verdict.at < length) {
        size_t step = next_step(&seed);

        step = step < length - verdict.at ? step : length - verdict.at;
        fuzz_allow(arrived, verdict.at + step);
        memcpy(arrived + verdict.at, bytes + verdict.at, step);
        verdict.at += step;
        verdict.scan = hcs_head_scan(&scan, arrived, verdict.at, max_bytes,
            &verdict.head_length, &verdict.reason);
    }
    fuzz_allow(arrived, length);
    free(arrived);
    return verdict;
}

static size_t all_at_once(uint64_t *seed)
{
    (void)seed;
    return SIZE_MAX;
}

static size_t one_by_one(uint64_t *seed)
{
    (void)seed;
    return 1;
}

static size_t anyhow(uint64_t *seed)
{
    uint64_t number = fuzz_next(seed);

    return 1 + number % (number % 5 == 0 ? 100 : 9);
}

static void check_same(struct verdict a, struct verdict b, const char *cut)
{
    fuzz_check(a.scan == b.scan, "whole: verdict %d; %s: %d", (int)a.scan, cut,
        (int)b.scan);
    if (a.scan == HCS_SCAN_BAD) {
        fuzz_check(a.reason == b.reason, "whole: %s; %s: %s",
            hcs_reason_word(a.reason), cut, hcs_reason_word(b.reason));
    } else if (a.scan == HCS_SCAN_DONE) {
        fuzz_check(a.head_length == b.head_length,
            "whole: section of %zu bytes; %s: %zu", a.head_length, cut,
            b.head_length);
    }
}

/* Byte by byte it falls at the first byte that allows it: with all bytes up to
 * there at once it is the same, and with one less there is none. */
static void check_first_byte(
    const char *bytes, size_t max_bytes, struct verdict verdict)
{
    struct verdict before;

    if (verdict.scan == HCS_SCAN_MORE) {
        return;
    }
    check_same(verdict,
        scan_in_steps(bytes, verdict.at, max_bytes, all_at_once, 0),
        "up to there");
    before = scan_in_steps(bytes, verdict.at - 1, max_bytes, all_at_once, 0);
    fuzz_check(before.scan == HCS_SCAN_MORE,
        "verdict %d at byte %zu, and %d before it", (int)verdict.scan,
        verdict.at, (int)before.scan);
}

/* --- A second reading of what was accepted, as plainly as can be. */

struct line {
    const char *name;
    size_t name_length;
    const char *value;
    size_t value_length;
};

static bool is_token_byte(char c)
{
    return c != '\0' &&
           strchr("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                  "abcdefghijklmnopqrstuvwxyz",
               c) != NULL;
}

/* Each line ends in CR LF, and nothing else holds a control byte but HTAB. */
static void check_bytes(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];

        if (c == '\r') {
            fuzz_check(i + 1 < length && bytes[i + 1] == '\n', "a bare CR");
        } else if (c == '\n') {
            fuzz_check(i > 0 && bytes[i - 1] == '\r', "a bare LF");
        } else {
            fuzz_check(c == '\t' || (c >= 0x20 && c != 0x7f),
                "control byte %02x at %zu", c, i);
        }
    }
}

static size_t split_lines(
    const char *bytes, size_t length, struct line *lines, size_t room)
{
    const char *end = bytes + length;
    const char *at = memchr(bytes, '\n', length);
    size_t count = 0;

    fuzz_check(at != NULL, "no line");
    for (at++; *at != '\r'; at++) {
        struct line *line = &lines[count++];
        const char *past = memchr(at, '\r', (size_t)(end - at));
        const char *colon = memchr(at, ':', (size_t)(end - at));

        fuzz_check(count <= room, "more than %zu fields", room);
        fuzz_check(past != NULL && colon != NULL && colon > at && colon < past,
            "a field line without a name");
        line->name = at;
        line->name_length = (size_t)(colon - at);
        for (const char *c = at; c < colon; c++) {
            fuzz_check(is_token_byte(*c), "a name with byte %02x",
                (unsigned)(unsigned char)*c);
        }
        for (colon++; colon < past && (*colon == ' ' || *colon == '\t');) {
            colon++;
        }
        line->value = colon;
        at = past + 1;
        while (past > colon && (past[-1] == ' ' || past[-1] == '\t')) {
            past--;
        }
        line->value_length = (size_t)(past - colon);
    }
    fuzz_check(end - at == 2, "the empty line is not the last");
    return count;
}

static bool is_named(const struct line *line, const char *name)
{
    return line->name_length == strlen(name) &&
           strncasecmp(line->name, name, line->name_length) == 0;
}

static size_t count_named(
    const struct line *lines, size_t count, const char *name)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        found += is_named(&lines[i], name) ? 1 : 0;
    }
    return found;
}

static const struct line *find_named(
    const struct line *lines, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (is_named(&lines[i], name)) {
            return &lines[i];
        }
    }
    return NULL;
}

static void check_span(struct hcs_span span, size_t length, const char *what)
{
    fuzz_check(span.offset <= length && span.length <= length - span.offset,
        "%s: %u bytes at %u, in a section of %zu", what, span.length,
        span.offset, length);
}

static void check_framing(
    const struct hcs_head *head, const struct line *lines, size_t count)
{
    size_t lengths = count_named(lines, count, "Content-Length");
    size_t codings = count_named(lines, count, "Transfer-Encoding");

    fuzz_check(lengths + codings <= 1, "%zu lengths and %zu codings", lengths,
        codings);
    fuzz_check(
        head->chunked == (codings == 1) && head->has_length == (lengths == 1),
        "a body that is read in another way than it is framed");
    if (codings == 1) {
        const struct line *line = find_named(lines, count, "Transfer-Encoding");

        fuzz_check(head->minor == 1, "chunked under HTTP/1.0");
        fuzz_check(line->value_length == 7 &&
                       strncasecmp(line->value, "chunked", 7) == 0,
            "a coding that is not chunked");
    }
    if (lengths == 1) {
        const struct line *line = find_named(lines, count, "Content-Length");
        char digits[32];
        int written = snprintf(digits, sizeof digits, "%llu",
            (unsigned long long)head->content_length);

        fuzz_check(line->value_length == (size_t)written &&
                       memcmp(line->value, digits, line->value_length) == 0,
            "Content-Length %.*s was read as %s", (int)line->value_length,
            line->value, digits);
    } else {
        fuzz_check(head->content_length == 0, "a length from nowhere");
    }
}

/* A list over all lines of that name; each element is 100-continue, or the
 * section was refused. */
static void check_expectation(
    const struct hcs_head *head, const struct line *lines, size_t count)
{
    bool expects = false;

    for (size_t i = 0; i < count; i++) {
        const char *at = lines[i].value;
        const char *end = at + lines[i].value_length;

        while (is_named(&lines[i], "Expect") && at < end) {
            if (*at == ',' || *at == ' ' || *at == '\t') {
                at++;
                continue;
            }
            fuzz_check(
                end - at >= 12 && strncasecmp(at, "100-continue", 12) == 0,
                "an expectation of something else");
            expects = true;
            for (at += 12; at < end && *at != ','; at++) {
                fuzz_check(
                    *at == ' ' || *at == '\t', "an expectation and more");
            }
        }
    }
    fuzz_check(head->expect_continue == (expects && head->minor == 1),
        "an expectation from nowhere, or lost");
}

static bool is_list_of_tags(const char *text, size_t length)
{
    enum { BEFORE, SLASH, QUOTE, INSIDE, BEHIND } state = BEFORE;

    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        switch (state) {
        case BEFORE:
            state = c == 'W' ? SLASH : c == '"' ? INSIDE : BEFORE;
            if (state == BEFORE && c != ' ' && c != '\t' && c != ',') {
                return false;
            }
            break;
        case SLASH:
            if (c != '/') {
                return false;
            }
            state = QUOTE;
            break;
        case QUOTE:
            if (c != '"') {
                return false;
            }
            state = INSIDE;
            break;
        case INSIDE:
            if (c == ' ' || c == '\t') {
                return false;
            }
            state = c == '"' ? BEHIND : INSIDE;
            break;
        case BEHIND:
            if (c != ' ' && c != '\t' && c != ',') {
                return false;
            }
            state = c == ',' ? BEFORE : BEHIND;
            break;
        }
    }
    return state == BEFORE || state == BEHIND;
}

/* What all lines of that name say: none, a list of tags, "*" alone, or neither. */
enum said { NOTHING, TAGS, ANY, NONSENSE };

static enum said said_by(
    const struct line *lines, size_t count, const char *name)
{
    enum said said = NOTHING;

    for (size_t i = 0; i < count; i++) {
        const struct line *line = &lines[i];
        bool any = line->value_length == 1 && line->value[0] == '*';

        if (!is_named(line, name)) {
            continue;
        }
        if ((any && said != NOTHING) || said == ANY || said == NONSENSE ||
            (!any && !is_list_of_tags(line->value, line->value_length))) {
            said = NONSENSE;
        } else {
            said = any ? ANY : TAGS;
        }
    }
    return said;
}

static void check_precondition(
    const struct hcs_head *head, const struct line *lines, size_t count)
{
    enum said match = said_by(lines, count, "If-Match");
    enum said none = said_by(lines, count, "If-None-Match");
    enum hcs_precondition wanted = HCS_PRECONDITION_HOLDS;

    if (match == NONSENSE || none == NONSENSE) {
        wanted = HCS_PRECONDITION_BAD;
    } else if (match == TAGS) {
        wanted = HCS_PRECONDITION_NO_MATCH;
    } else if (none == ANY) {
        wanted = HCS_PRECONDITION_EXISTS;
    }
    fuzz_check(head->precondition == wanted, "precondition %u, and not %u",
        (unsigned)head->precondition, (unsigned)wanted);
}

static void check_meaning(const char *bytes, size_t length,
    const struct hcs_head *head, const struct line *lines, size_t count)
{
    const struct hcs_span *spans[] = {&head->path, &head->query, &head->host,
        &head->content_type, &head->content_encoding, &head->request_id,
        &head->accept};
    static const char *const methods[] = {"GET ", "HEAD ", "POST ", "OPTIONS "};
    size_t hosts = count_named(lines, count, "Host");
    const char *version = memchr(bytes, '\r', length);

    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        check_span(*spans[i], length, "span");
        for (size_t j = 0; j < spans[i]->length; j++) {
            char c = bytes[spans[i]->offset + j];

            fuzz_check(c != '\r' && c != '\n' && c != '\0',
                "span %zu holds byte %02x", i, (unsigned)(unsigned char)c);
        }
    }
    check_framing(head, lines, count);
    fuzz_check(version != NULL && version - bytes > 8 &&
                   memcmp(version - 8, "HTTP/1.", 7) == 0,
        "no version of ours");
    fuzz_check(head->minor == (version[-1] != '0'), "wrong version");
    fuzz_check(hosts == 1 || (hosts == 0 && head->minor == 0),
        "%zu Host fields under HTTP/1.%u", hosts, head->minor);
    check_expectation(head, lines, count);
    check_precondition(head, lines, count);
    fuzz_check(head->path.length == 0 || bytes[head->path.offset] == '/',
        "a path that does not start with /");
    fuzz_check(!head->asterisk || head->method == HCS_OPTIONS, "an asterisk");
    if (head->method != HCS_METHOD_OTHER) {
        const char *method = methods[head->method];

        fuzz_check(strncmp(bytes, method, strlen(method)) == 0,
            "method %d from another word", (int)head->method);
        fuzz_check(head->asterisk || head->path.length > 0, "no path");
    }
    for (size_t i = 0; i < count; i++) {
        char name[64];
        struct hcs_span value;

        if (lines[i].name_length >= sizeof name) {
            continue;
        }
        memcpy(name, lines[i].name, lines[i].name_length);
        name[lines[i].name_length] = '\0';
        fuzz_check(hcs_head_field(bytes, length, name, &value),
            "%s is there and not found", name);
        const struct line *first = find_named(lines, count, name);

        fuzz_check(bytes + value.offset == first->value &&
                       value.length == first->value_length,
            "%s: another value than its first", name);
    }
}

/* --- The same section, written in another way. */

static bool same_text(const char *a_bytes, struct hcs_span a,
    const char *b_bytes, struct hcs_span b)
{
    return a.length == b.length &&
           memcmp(a_bytes + a.offset, b_bytes + b.offset, a.length) == 0;
}

static void check_same_meaning(const char *a_bytes, const struct hcs_head *a,
    const char *b_bytes, const struct hcs_head *b, const char *how)
{
    fuzz_check(a->method == b->method && a->minor == b->minor &&
                   a->keep_alive == b->keep_alive && a->chunked == b->chunked &&
                   a->has_length == b->has_length &&
                   a->expect_continue == b->expect_continue &&
                   a->asterisk == b->asterisk &&
                   a->precondition == b->precondition &&
                   a->content_length == b->content_length,
        "%s, it means something else", how);
    fuzz_check(
        same_text(a_bytes, a->path, b_bytes, b->path) &&
            same_text(a_bytes, a->query, b_bytes, b->query) &&
            same_text(a_bytes, a->host, b_bytes, b->host) &&
            same_text(a_bytes, a->content_type, b_bytes, b->content_type) &&
            same_text(
                a_bytes, a->content_encoding, b_bytes, b->content_encoding) &&
            same_text(a_bytes, a->request_id, b_bytes, b->request_id) &&
            same_text(a_bytes, a->accept, b_bytes, b->accept),
        "%s, a text differs", how);
}

static char *append(char *at, const char *text, size_t length)
{
    memcpy(at, text, length);
    return at + length;
}

/* Names in the other case, values with one space before them and none behind:
 * none of it means anything (RFC 9110, 5.1 and 5.5). A prefix of an empty line
 * does not either, and an unknown field is ignored. */
static void check_rewritten(const char *bytes, const struct hcs_head *head,
    const struct line *lines, size_t count)
{
    const char *fields = memchr(bytes, '\n', INPUT_MAX);
    size_t room = 4 * (size_t)INPUT_MAX + 64;
    char *copy = malloc(room);
    char *at;
    struct hcs_parser parser;
    struct hcs_head again;
    struct hcs_head_scan scan = {0};
    size_t head_length = 0;
    enum hcs_reason reason = HCS_REASON_NONE;

    fuzz_check(copy != NULL && fields != NULL, "no memory");
    at = append(copy, bytes, (size_t)(fields + 1 - bytes));
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < lines[i].name_length; j++) {
            char c = lines[i].name[j];

            *at++ = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                        ? (char)(c ^ 0x20)
                        : c;
        }
        at = append(at, ": ", 2);
        at = append(at, lines[i].value, lines[i].value_length);
        at = append(at, "\r\n", 2);
    }
    if (count < HCS_HEAD_FIELDS_MAX) {
        at = append(at, "X-Unknown:\t\r\n", 13);
    }
    at = append(at, "\r\n", 2);
    fuzz_check(hcs_head_scan(&scan, copy, (size_t)(at - copy), room,
                   &head_length, &reason) == HCS_SCAN_DONE &&
                   head_length == (size_t)(at - copy),
        "written in another way, it is refused: %s", hcs_reason_word(reason));
    hcs_parser_init(&parser);
    reason = hcs_head_parse(&parser, &scan, copy, head_length, &again);
    fuzz_check(reason == HCS_REASON_NONE,
        "written in another way, it is refused: %s", hcs_reason_word(reason));
    check_same_meaning(bytes, head, copy, &again, "written in another way");
    free(copy);
}

/* --- All of it. */

static void check_section(const char *bytes, size_t length)
{
    static struct hcs_parser used; /* by the inputs before: must not matter */
    static bool is_used;
    struct line lines[HCS_HEAD_FIELDS_MAX];
    struct hcs_parser fresh;
    struct hcs_head_scan scan = {0};
    struct hcs_head head, again;
    enum hcs_reason reason;
    size_t count, head_length;

    fuzz_check(hcs_head_scan(&scan, bytes, length, length, &head_length,
                   &reason) == HCS_SCAN_DONE,
        "a section that was whole is not");
    hcs_parser_init(&fresh);
    if (!is_used) {
        hcs_parser_init(&used);
        is_used = true;
    }
    reason = hcs_head_parse(&fresh, &scan, bytes, length, &head);
    fuzz_check(reason == hcs_head_parse(&used, &scan, bytes, length, &again),
        "another verdict by a parser that was used before");
    check_bytes(bytes, length);
    count = split_lines(bytes, length, lines, HCS_HEAD_FIELDS_MAX);
    check_span(head.request_id, length, "identifier of a refused request");
    if (reason != HCS_REASON_NONE) {
        fuzz_check(
            hcs_reason_status(reason) >= 400, "refused without a status");
        return;
    }
    check_same_meaning(bytes, &head, bytes, &again, "by a used parser");
    check_meaning(bytes, length, &head, lines, count);
    check_rewritten(bytes, &head, lines, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char decoded[2 * INPUT_MAX];
    uint64_t seed = fuzz_hash(data, size);
    struct verdict whole, slow;
    size_t length, empty, max_bytes;
    char *bytes;

    if (size == 0 || size > INPUT_MAX) {
        return 0;
    }
    length = fuzz_decode(decoded, (const char *)data, size, FUZZ_LINES_CRLF);
    empty = hcs_head_skip_empty(decoded, length);
    fuzz_check(empty <= length && empty % 2 == 0, "skipped %zu", empty);
    length -= empty;
    /* No byte more than there is, so that a look beyond the end is seen. */
    bytes = malloc(length > 0 ? length : 1);
    fuzz_check(bytes != NULL, "no memory");
    memcpy(bytes, decoded + empty, length);
    max_bytes = seed % 8 == 0 ? 256 : SECTION_MAX;

    whole = scan_in_steps(bytes, length, max_bytes, all_at_once, 0);
    slow = scan_in_steps(bytes, length, max_bytes, one_by_one, 0);
    check_same(whole, slow, "byte by byte");
    check_first_byte(bytes, max_bytes, slow);
    check_same(whole, scan_in_steps(bytes, length, max_bytes, anyhow, seed),
        "in pieces");
    if (whole.scan == HCS_SCAN_DONE) {
        fuzz_check(
            whole.head_length <= length && whole.head_length <= max_bytes,
            "a section longer than what came, or than allowed");
        /* What follows the section is none of its business. */
        fuzz_forbid(bytes + whole.head_length, length - whole.head_length);
        check_section(bytes, whole.head_length);
        fuzz_allow(bytes, length);
    } else if (whole.scan == HCS_SCAN_BAD) {
        fuzz_check(
            hcs_reason_status(whole.reason) >= 400, "refused without a status");
    } else {
        fuzz_check(length < max_bytes, "no verdict at the limit");
    }
    free(bytes);
    return 0;
}
