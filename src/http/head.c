#include "http/head.h"

#include "http/octets.h"
#include "http/syntax.h"
#include "http/target.h"

#include <assert.h>
#include <string.h>

enum { REQUEST_ID_MAX = 128 };

/* The known fields: hcsd acts on their values. */
enum field {
    OTHER,
    CONNECTION, /* from here to LISTS: read element by element */
    EXPECT,
    IF_MATCH,
    IF_NONE_MATCH,
    LISTS = IF_NONE_MATCH,
    ACCEPT,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    REQUEST_ID,
    TRANSFER_ENCODING,
    FIELD_COUNT
};

_Static_assert(
    FIELD_COUNT == sizeof(((struct hcs_head_reading *)NULL)->values) /
                       sizeof(struct hcs_span),
    "a value for each field");

/* Compares 8 bytes at p with those of a lower-case literal. Setting one bit
 * makes letters lower-case and leaves digits and "-" as they are. No other
 * octet of a token becomes one of these. */
static inline bool same8(const char *p, const char *lower)
{
    return (hcs_octets_load64(p) | 0x2020202020202020U) ==
           hcs_octets_load64(lower);
}

static inline bool same4(const char *p, const char *lower)
{
    return (hcs_octets_load32(p) | 0x20202020U) == hcs_octets_load32(lower);
}

/* Compares longer names as two words, which may overlap. */
static inline enum field field_of(const char *name, size_t length)
{
    switch (length) {
    case 4:
        return same4(name, "host") ? HOST : OTHER;
    case 6:
        if (same4(name, "acce") && same4(name + 2, "cept")) {
            return ACCEPT;
        }
        return same4(name, "expe") && same4(name + 2, "pect") ? EXPECT : OTHER;
    case 8:
        return same8(name, "if-match") ? IF_MATCH : OTHER;
    case 10:
        return same8(name, "connecti") && same4(name + 6, "tion") ? CONNECTION
                                                                  : OTHER;
    case 12:
        if (same8(name, "content-") && same4(name + 8, "type")) {
            return CONTENT_TYPE;
        }
        return same8(name, "x-reques") && same4(name + 8, "t-id") ? REQUEST_ID
                                                                  : OTHER;
    case 13:
        return same8(name, "if-none-") && same8(name + 5, "ne-match")
                   ? IF_NONE_MATCH
                   : OTHER;
    case 14:
        return same8(name, "content-") && same8(name + 6, "t-length")
                   ? CONTENT_LENGTH
                   : OTHER;
    case 16:
        return same8(name, "content-") && same8(name + 8, "encoding")
                   ? CONTENT_ENCODING
                   : OTHER;
    case 17:
        return same8(name, "transfer") && same8(name + 8, "-encodin") &&
                       hcs_octet_fold(name[16]) == 'g'
                   ? TRANSFER_ENCODING
                   : OTHER;
    default:
        return OTHER;
    }
}

/* Compares with a lower-case word of letters, digits and "-". */
static bool same_word(const char *p, const char *end, const char *lower)
{
    size_t length = strlen(lower);

    if ((size_t)(end - p) != length) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (hcs_octet_fold(p[i]) != lower[i]) {
            return false;
        }
    }
    return true;
}

/* Takes the next element of the comma list [*p, end), without the blanks around
 * it. False when there is no element left. */
static bool next_element(
    const char **p, const char *end, const char **element, const char **past)
{
    const char *comma;

    if (*p > end) {
        return false;
    }
    comma = memchr(*p, ',', (size_t)(end - *p));
    if (comma == NULL) {
        comma = end;
    }
    *element = hcs_octets_skip_blank(*p, comma);
    *past = hcs_octets_trim_end(*element, comma);
    *p = comma + 1;
    return true;
}

static void take_connection(
    struct hcs_head_reading *reading, const char *p, const char *end)
{
    const char *option, *past;

    while (next_element(&p, end, &option, &past)) {
        if (same_word(option, past, "close")) {
            reading->close = true;
        } else if (same_word(option, past, "keep-alive")) {
            reading->keep = true;
        } else if (hcs_octets_skip(option, past, HCS_OCTET_TOKEN) != past) {
            reading->bad_connection = true;
        }
    }
}

/* The list may be empty, and may have empty elements (RFC 9110, 5.6.1.2). */
static void take_expect(
    struct hcs_head_reading *reading, const char *p, const char *end)
{
    const char *expectation, *past;

    while (next_element(&p, end, &expectation, &past)) {
        if (same_word(expectation, past, "100-continue")) {
            reading->expects_continue = true;
        } else if (expectation != past) {
            reading->expects_else = true;
        }
    }
}

/* Several lines are one list (RFC 9110, 5.3), in which "*" must stand alone. */
static void take_tags(uint8_t *tags, const char *p, const char *end)
{
    enum hcs_tags here = hcs_syntax_tags(p, end);

    if (*tags == HCS_TAGS_ABSENT ||
        (*tags == HCS_TAGS_LIST && here == HCS_TAGS_LIST)) {
        *tags = (uint8_t)here;
    } else {
        *tags = HCS_TAGS_BAD;
    }
}

static void take_list(struct hcs_head_reading *reading, enum field field,
    const char *value, const char *end)
{
    if (field == CONNECTION) {
        take_connection(reading, value, end);
    } else if (field == EXPECT) {
        take_expect(reading, value, end);
    } else {
        take_tags(field == IF_MATCH ? &reading->match : &reading->none_match,
            value, end);
    }
}

/* Notes the value of one known field. judge looks at all fields together, so
 * the verdict does not depend on their order, or on where llhttp stopped. */
static inline void take_field(struct hcs_head_reading *reading,
    enum field field, const char *value, const char *end)
{
    struct hcs_span *known = &reading->values[field];
    unsigned bit = 1U << field;

    if (field <= LISTS) {
        take_list(reading, field, value, end);
        return;
    }
    if ((reading->seen & bit) != 0) {
        reading->repeated |= bit;
        /* Both fields are lists, which may be repeated. Of several content
         * codings, keep one that is not "identity"; of Accept, the first. */
        if (field == ACCEPT ||
            (field == CONTENT_ENCODING && known->length != 0 &&
                !same_word(reading->base + known->offset,
                    reading->base + known->offset + known->length,
                    "identity"))) {
            return;
        }
    }
    reading->seen |= bit;
    *known = hcs_span_of(reading->base, value, end);
}

/* Whether no HTAB stands beside the value. Other servers take an HTAB for a
 * part of the value, and so do some versions of llhttp. */
static bool among_spaces(const char *value, const char *end)
{
    while (value[-1] == ' ') {
        value--;
    }
    while (*end == ' ') {
        end++;
    }
    return value[-1] == ':' && *end == '\r';
}

/* A Content-Length: only digits, no leading zero, and below 2^63. */
static bool read_length(const char *p, const char *end, uint64_t *length)
{
    const uint64_t most = INT64_MAX;
    uint64_t sum = 0;

    if (p == end || (*p == '0' && end - p > 1) || !among_spaces(p, end)) {
        return false;
    }
    for (; p < end; p++) {
        unsigned digit = (unsigned)(*p - '0');

        if (!hcs_octet_is(*p, HCS_OCTET_DIGIT) || sum > (most - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *length = sum;
    return true;
}

/* The reason for transfer codings that are not "chunked" alone. If chunked is
 * not the last one, the end of the body is unknown: 400 (RFC 9112, 6.3). If it
 * is, the end is known, but hcsd cannot decode the body: 501. */
static enum hcs_reason coding_reason(const char *p, const char *end)
{
    return hcs_syntax_ends_in_chunked(p, end)
               ? HCS_REASON_BAD_CODING
               : HCS_REASON_BAD_TRANSFER_ENCODING;
}

/* Most requests of a connection repeat the same Host, so the last valid one is
 * kept and not checked again. */
static bool valid_host(struct hcs_parser *parser, struct hcs_span span)
{
    const char *host = parser->reading.base + span.offset;

    if (span.length == parser->host_length && span.length != 0 &&
        memcmp(host, parser->host, span.length) == 0) {
        return true;
    }
    if (!hcs_target_is_authority(host, host + span.length, false)) {
        return false;
    }
    if (span.length <= sizeof parser->host) {
        memcpy(parser->host, host, span.length);
        parser->host_length = span.length;
    }
    return true;
}

static inline bool was_seen(
    const struct hcs_head_reading *reading, enum field field)
{
    return (reading->seen & 1U << field) != 0;
}

static inline bool was_repeated(
    const struct hcs_head_reading *reading, enum field field)
{
    return (reading->repeated & 1U << field) != 0;
}

/* How the body is framed (RFC 9112, 6.3). */
static enum hcs_reason judge_body(
    const struct hcs_head_reading *reading, struct hcs_head *head)
{
    bool coded = was_seen(reading, TRANSFER_ENCODING);
    bool counted = was_seen(reading, CONTENT_LENGTH);
    struct hcs_span span;
    const char *value, *end;

    if (!coded && !counted) {
        return HCS_REASON_NONE;
    }
    span = reading->values[coded ? TRANSFER_ENCODING : CONTENT_LENGTH];
    value = reading->base + span.offset;
    end = value + span.length;
    if (coded) {
        if (counted || was_repeated(reading, TRANSFER_ENCODING) ||
            head->minor == 0) {
            return HCS_REASON_BAD_TRANSFER_ENCODING;
        }
        head->chunked = same_word(value, end, "chunked");
        if (head->chunked && !among_spaces(value, end)) {
            return HCS_REASON_BAD_TRANSFER_ENCODING;
        }
        return head->chunked ? HCS_REASON_NONE : coding_reason(value, end);
    }
    head->has_length = !was_repeated(reading, CONTENT_LENGTH) &&
                       read_length(value, end, &head->content_length);
    return head->has_length ? HCS_REASON_NONE : HCS_REASON_BAD_CONTENT_LENGTH;
}

/* The fields whose values other files look at. */
static void collect(
    const struct hcs_head_reading *reading, struct hcs_head *head)
{
    if (was_seen(reading, ACCEPT)) {
        head->accept = reading->values[ACCEPT];
    }
    if (was_seen(reading, CONTENT_ENCODING)) {
        head->content_encoding = reading->values[CONTENT_ENCODING];
    }
    if (was_seen(reading, CONTENT_TYPE)) {
        head->content_type = reading->values[CONTENT_TYPE];
    }
    if (was_seen(reading, REQUEST_ID) && !was_repeated(reading, REQUEST_ID)) {
        struct hcs_span id = reading->values[REQUEST_ID];
        const char *end = reading->base + id.offset + id.length;

        if (id.length <= REQUEST_ID_MAX &&
            hcs_octets_skip(reading->base + id.offset, end, HCS_OCTET_ID) ==
                end) {
            head->request_id = id;
        }
    }
}

static enum hcs_precondition precondition_of(
    const struct hcs_head_reading *reading)
{
    if (reading->match == HCS_TAGS_BAD || reading->none_match == HCS_TAGS_BAD) {
        return HCS_PRECONDITION_BAD;
    }
    if (reading->match == HCS_TAGS_LIST) {
        return HCS_PRECONDITION_NO_MATCH;
    }
    return reading->none_match == HCS_TAGS_ANY ? HCS_PRECONDITION_EXISTS
                                               : HCS_PRECONDITION_HOLDS;
}

/* The verdict on all fields together. A malformed section goes before a section
 * that asks for something that hcsd does not offer. */
static inline enum hcs_reason judge(struct hcs_parser *parser)
{
    const struct hcs_head_reading *reading = &parser->reading;
    struct hcs_head *head = parser->head;
    enum hcs_reason reason = HCS_REASON_NONE;

    head->keep_alive = !reading->close && (head->minor != 0 || reading->keep);
    if ((reading->seen & ~(1U << HOST)) != 0) {
        collect(reading, head);
        reason = judge_body(reading, head);
        if (reason != HCS_REASON_NONE && reason != HCS_REASON_BAD_CODING) {
            return reason;
        }
    }
    if (was_seen(reading, HOST)) {
        if (was_repeated(reading, HOST) ||
            !valid_host(parser, reading->values[HOST])) {
            return HCS_REASON_BAD_HOST;
        }
        if (head->host.length == 0) { /* else the host of the target counts */
            head->host = reading->values[HOST];
        }
    } else if (head->minor != 0) {
        return HCS_REASON_BAD_HOST;
    }
    if (reading->bad_connection || was_repeated(reading, CONTENT_TYPE)) {
        return HCS_REASON_BAD_FIELD;
    }
    if (reason == HCS_REASON_NONE && reading->expects_else) {
        return HCS_REASON_BAD_EXPECTATION;
    }
    /* RFC 9110, 10.1.1: from 1.0 it is ignored. */
    head->expect_continue = reading->expects_continue && head->minor != 0;
    if ((reading->match | reading->none_match) != HCS_TAGS_ABSENT) {
        head->precondition = (uint8_t)precondition_of(reading);
    }
    return reason;
}

/* Reads target and version of a line that passed the scan. end is behind the
 * target. */
static inline void take_request_line(
    struct hcs_parser *parser, const char *target, const char *end)
{
    struct hcs_head *head = parser->head;
    struct hcs_head_reading *reading = &parser->reading;
    const char *base = reading->base;

    reading->next = end + 1 + HCS_HEAD_VERSION_LINE;
    reading->minor = end[8]; /* " HTTP/1.x" */
    head->minor = reading->minor != '0';
    (void)hcs_target_split(base,
        head->method == HCS_METHOD_OTHER &&
            hcs_method_is_connect(base, (size_t)(target - base - 1)),
        target, end, head);
}

/* Starts the reading of a section that passed the scan, and reads its
 * method. */
static inline void start_reading(
    struct hcs_parser *parser, const char *bytes, const char *end)
{
    struct hcs_head_reading *reading = &parser->reading;
    unsigned method_length = 0;
    enum hcs_method method = hcs_method_served(bytes, &method_length);

    if (method == HCS_METHOD_OTHER) {
        const char *space = memchr(bytes, ' ', (size_t)(end - bytes));

        assert(space != NULL);
        method_length = (unsigned)(space - bytes);
    }
    *parser->head = (struct hcs_head){.method = method};
    reading->base = bytes;
    reading->end = end;
    reading->next =
        end; /* no field may start before the request line was read */
    reading->target = bytes + method_length + 1;
    reading->colon = NULL;
    reading->names = 0;
    reading->seen = 0;
    reading->repeated = 0;
    reading->field = OTHER;
    reading->minor = '1';
    reading->stand_in = false;
    reading->complete = false;
    reading->fields = 0;
    reading->close = false;
    reading->keep = false;
    reading->bad_connection = false;
    reading->expects_continue = false;
    reading->expects_else = false;
    reading->match = HCS_TAGS_ABSENT;
    reading->none_match = HCS_TAGS_ABSENT;
    parser->llhttp = parser->fresh; /* as llhttp_reset, but quicker */
}

static void read_request_line(struct hcs_parser *parser)
{
    const char *target = parser->reading.target;
    const char *space =
        memchr(target, ' ', (size_t)(parser->reading.end - target));

    assert(space != NULL);
    take_request_line(parser, target, space);
}

/* ---- llhttp ---- */

/* No version of llhttp may make hcsd accept something else than the lines that
 * passed the scan. The callbacks check that:
 * - The target starts where the request line has it, and ends at the only space
 *   behind it.
 * - Each field starts where the last field or the request line ended, and ends
 *   where a line ends. There are as many fields as lines, so each field is one
 *   line.
 * - Each name ends at a colon, so not before the first colon of its line. All
 *   names together are as long as the scan found them, so none ends later. */

/* Returned by a callback, STOP ends llhttp, which reads the bytes in another
 * way than we do. */
enum { STOP = -1 };

static int on_url(llhttp_t *llhttp, const char *at, size_t length)
{
    static const uint8_t methods[] = {
        [HCS_GET] = HTTP_GET,
        [HCS_HEAD] = HTTP_HEAD,
        [HCS_POST] = HTTP_POST,
        [HCS_OPTIONS] = HTTP_OPTIONS,
    };
    struct hcs_parser *parser = (struct hcs_parser *)llhttp;
    struct hcs_head_reading *reading = &parser->reading;

    if (reading->stand_in) {
        return 0;
    }
    if (at != reading->target || reading->next != reading->end ||
        length >= (size_t)(reading->end - at) - HCS_HEAD_VERSION_LINE ||
        at[length] != ' ' || llhttp->method != methods[parser->head->method]) {
        return STOP;
    }
    take_request_line(parser, at, at + length);
    return reading->minor > '1' ? STOP : 0;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct hcs_head_reading *reading = &((struct hcs_parser *)llhttp)->reading;

    if (at != reading->next || length >= (size_t)(reading->end - at) ||
        at[length] != ':') {
        return STOP;
    }
    reading->names += (uint32_t)length;
    reading->colon = at + length;
    reading->field = (uint8_t)field_of(at, length);
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct hcs_head_reading *reading = &((struct hcs_parser *)llhttp)->reading;
    const char *value, *end;

    if (reading->colon == NULL) { /* no name, or a second value for it */
        return STOP;
    }
    value = reading->colon + 1;
    while (hcs_octet_is_blank(*value)) {
        value++;
    }
    /* llhttp counts the blanks behind a value as a part of it. Where llhttp
     * says that an empty value is has no meaning. */
    if ((length != 0 && at != value) ||
        length > (size_t)(reading->end - value) - 2 ||
        !hcs_octets_at_crlf(value + length)) {
        return STOP;
    }
    end = value + length;
    reading->colon = NULL;
    reading->next = end + 2;
    reading->fields++;
    if (reading->field != OTHER) {
        take_field(reading, (enum field)reading->field, value,
            hcs_octets_trim_end(value, end));
    }
    return 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct hcs_parser *parser = (struct hcs_parser *)llhttp;
    struct hcs_head_reading *reading = &parser->reading;

    reading->complete =
        reading->stand_in ||
        (llhttp->http_major == 1 && llhttp->http_minor == parser->head->minor);
    /* llhttp must not read the body, nor what follows an Upgrade. */
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
};

/* The reason for a section that only llhttp refuses. */
static enum hcs_reason reason_of(llhttp_errno_t error)
{
    switch (error) {
    case HPE_INVALID_METHOD:
        return HCS_REASON_BAD_REQUEST_LINE;
    case HPE_INVALID_URL:
        return HCS_REASON_BAD_TARGET;
    case HPE_INVALID_CONSTANT:
    case HPE_INVALID_VERSION:
        return HCS_REASON_BAD_VERSION;
    case HPE_LF_EXPECTED: /* HPE_CR_EXPECTED is not in all versions */
        return HCS_REASON_BAD_LINE_END;
    case HPE_INVALID_CONTENT_LENGTH:
        return HCS_REASON_BAD_CONTENT_LENGTH;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING:
        return HCS_REASON_BAD_TRANSFER_ENCODING;
    default:
        return HCS_REASON_BAD_FIELD;
    }
}

/* Whether llhttp saw the same lines as the scan, and the next line is the empty
 * one. */
static inline bool agrees(
    const struct hcs_head_reading *reading, const struct hcs_head_scan *scan)
{
    return reading->complete && reading->end - reading->next == 2 &&
           reading->fields + 1U == scan->lines && reading->names == scan->names;
}

/* llhttp may not know a method or a version, or may treat a method in a special
 * way (CONNECT). For those it gets another request line, which it accepts. */
static llhttp_errno_t execute_with_stand_in(struct hcs_parser *parser)
{
    static const char line[] = "GET / HTTP/1.1\r\n";
    struct hcs_head_reading *reading = &parser->reading;
    llhttp_errno_t error;

    start_reading(parser, reading->base, reading->end);
    read_request_line(parser);
    reading->stand_in = true;
    error = llhttp_execute(&parser->llhttp, line, sizeof line - 1);
    if (error == HPE_OK) {
        error = llhttp_execute(&parser->llhttp, reading->next,
            (size_t)(reading->end - reading->next));
    }
    return error;
}

/* Reads the whole section again without llhttp, after llhttp refused it. The
 * reason that is found here is more exact, and does not depend on the version
 * of llhttp. */
static enum hcs_reason read_alone(struct hcs_parser *parser)
{
    struct hcs_head_reading *reading = &parser->reading;
    const char *line, *end = reading->end;

    start_reading(parser, reading->base, end);
    read_request_line(parser);
    for (line = reading->next; end - line > 2; line = reading->next) {
        const char *colon = memchr(line, ':', (size_t)(end - line));
        const char *value_end = memchr(line, '\r', (size_t)(end - line));
        enum field field;

        assert(colon != NULL && value_end != NULL && colon < value_end);
        field = field_of(line, (size_t)(colon - line));
        if (field != OTHER) {
            const char *value = hcs_octets_skip_blank(colon + 1, value_end);

            take_field(
                reading, field, value, hcs_octets_trim_end(value, value_end));
        }
        reading->next = value_end + 2;
    }
    return judge(parser);
}

void hcs_parser_init(struct hcs_parser *parser)
{
    *parser = (struct hcs_parser){.head = NULL};
    llhttp_init(&parser->fresh, HTTP_REQUEST, &settings);
}

enum hcs_reason hcs_head_parse(struct hcs_parser *parser,
    const struct hcs_head_scan *scan, const char *bytes, size_t head_length,
    struct hcs_head *head)
{
    llhttp_errno_t error = HPE_USER;
    enum hcs_reason reason;

    assert(head_length >= HCS_HEAD_REQUEST_LINE_MIN + 2);
    parser->head = head;
    start_reading(parser, bytes, bytes + head_length);
    if (head->method != HCS_METHOD_OTHER) {
        error = llhttp_execute(&parser->llhttp, bytes, head_length);
    }
    if (error != HPE_PAUSED &&
        (head->method == HCS_METHOD_OTHER || parser->reading.minor > '1')) {
        error = execute_with_stand_in(parser);
    }
    if (error == HPE_PAUSED && agrees(&parser->reading, scan)) {
        return judge(parser);
    }
    reason = read_alone(parser);
    return reason != HCS_REASON_NONE ? reason : reason_of(error);
}

bool hcs_head_field(const char *bytes, size_t head_length, const char *name,
    struct hcs_span *value)
{
    const char *end = bytes + head_length;
    const char *line = memchr(bytes, '\n', head_length);
    size_t name_length = strlen(name);

    while (line != NULL && end - ++line > 2) {
        size_t i = 0;

        while (i < name_length && line[i] != '\r' &&
               hcs_octet_lower(line[i]) == hcs_octet_lower(name[i])) {
            i++;
        }
        if (i == name_length && line[i] == ':') {
            const char *start = hcs_octets_skip_blank(line + i + 1, end);
            const char *past = memchr(start, '\r', (size_t)(end - start));

            assert(past != NULL);
            *value =
                hcs_span_of(bytes, start, hcs_octets_trim_end(start, past));
            return true;
        }
        line = memchr(line, '\n', (size_t)(end - line));
    }
    return false;
}
