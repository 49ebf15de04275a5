#include "http/head.h"

#include "http/syntax.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    /* "GET / HTTP/1.1\r\n": no request line that passes is shorter, so behind
     * it one may always look VECTOR bytes back. */
    REQUEST_LINE_MIN = 16,
    VECTOR = 16,
    /* More than any method has; a longer token is refused without waiting for
     * its end (RFC 9112, 3). */
    METHOD_MAX = 32,
    VERSION_LINE = sizeof "HTTP/1.1\r\n" - 1,
    /* From so far before the end of an unfinished request line on it is checked
     * again: there a "%" may have lacked its digits, or the version an octet. */
    UNFINISHED = VERSION_LINE + 2,
    PORT_MAX = 65535,
    REQUEST_ID_MAX = 128,
};

/* What an octet may be part of. */
enum {
    TOKEN = 1,   /* a token (RFC 9110, 5.6.2) */
    TARGET = 2,  /* path and query (RFC 3986, 3.3 and 3.4); "%" apart */
    NAME = 4,    /* a reg-name (RFC 3986, 3.2.2); "%" apart, and without the
                    comma, which would make a list */
    ID = 8,      /* X-Request-ID */
    HEX = 16,    /* hexadecimal digits */
    DIGIT = 32,  /* decimal digits */
    BRACKET = 64 /* around an IPv6 address */
};

#define LETTER (TOKEN | TARGET | NAME | ID)
#define SUB_DELIM (TARGET | NAME)

static const uint8_t classes[256] = {
    ['!'] = SUB_DELIM | TOKEN,
    ['#'] = TOKEN,
    ['$'] = SUB_DELIM | TOKEN,
    ['%'] = TOKEN,
    ['&'] = SUB_DELIM | TOKEN,
    ['\''] = SUB_DELIM | TOKEN,
    ['('] = SUB_DELIM,
    [')'] = SUB_DELIM,
    ['*'] = SUB_DELIM | TOKEN,
    ['+'] = SUB_DELIM | TOKEN | ID,
    [','] = TARGET,
    ['-'] = LETTER,
    ['.'] = LETTER,
    ['/'] = TARGET | ID,
    ['0'] = LETTER | HEX | DIGIT,
    ['1'] = LETTER | HEX | DIGIT,
    ['2'] = LETTER | HEX | DIGIT,
    ['3'] = LETTER | HEX | DIGIT,
    ['4'] = LETTER | HEX | DIGIT,
    ['5'] = LETTER | HEX | DIGIT,
    ['6'] = LETTER | HEX | DIGIT,
    ['7'] = LETTER | HEX | DIGIT,
    ['8'] = LETTER | HEX | DIGIT,
    ['9'] = LETTER | HEX | DIGIT,
    [':'] = TARGET | ID,
    [';'] = SUB_DELIM,
    ['='] = SUB_DELIM | ID,
    ['?'] = TARGET,
    ['@'] = TARGET | ID,
    ['A'] = LETTER | HEX,
    ['B'] = LETTER | HEX,
    ['C'] = LETTER | HEX,
    ['D'] = LETTER | HEX,
    ['E'] = LETTER | HEX,
    ['F'] = LETTER | HEX,
    ['G'] = LETTER,
    ['H'] = LETTER,
    ['I'] = LETTER,
    ['J'] = LETTER,
    ['K'] = LETTER,
    ['L'] = LETTER,
    ['M'] = LETTER,
    ['N'] = LETTER,
    ['O'] = LETTER,
    ['P'] = LETTER,
    ['Q'] = LETTER,
    ['R'] = LETTER,
    ['S'] = LETTER,
    ['T'] = LETTER,
    ['U'] = LETTER,
    ['V'] = LETTER,
    ['W'] = LETTER,
    ['X'] = LETTER,
    ['Y'] = LETTER,
    ['Z'] = LETTER,
    ['['] = BRACKET,
    [']'] = BRACKET,
    ['^'] = TOKEN,
    ['_'] = LETTER,
    ['`'] = TOKEN,
    ['a'] = LETTER | HEX,
    ['b'] = LETTER | HEX,
    ['c'] = LETTER | HEX,
    ['d'] = LETTER | HEX,
    ['e'] = LETTER | HEX,
    ['f'] = LETTER | HEX,
    ['g'] = LETTER,
    ['h'] = LETTER,
    ['i'] = LETTER,
    ['j'] = LETTER,
    ['k'] = LETTER,
    ['l'] = LETTER,
    ['m'] = LETTER,
    ['n'] = LETTER,
    ['o'] = LETTER,
    ['p'] = LETTER,
    ['q'] = LETTER,
    ['r'] = LETTER,
    ['s'] = LETTER,
    ['t'] = LETTER,
    ['u'] = LETTER,
    ['v'] = LETTER,
    ['w'] = LETTER,
    ['x'] = LETTER,
    ['y'] = LETTER,
    ['z'] = LETTER,
    ['|'] = TOKEN,
    ['~'] = LETTER,
};

static inline bool is(char c, unsigned wanted)
{
    return (classes[(unsigned char)c] & wanted) != 0;
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Lower case, for octets that are no controls: "@[\]^_`" change too, so what
 * it is compared with must not hold "`{|}~". */
static inline char fold(char c)
{
    return (char)(c | 0x20);
}

/* Lower case, for names that come from elsewhere. */
static inline char lower_case(char c)
{
    return c >= 'A' && c <= 'Z' ? fold(c) : c;
}

/* The compiler makes one load of each, and a constant of a literal. */
static inline uint16_t load16(const char *p)
{
    uint16_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint32_t load32(const char *p)
{
    uint32_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint64_t load64(const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

static inline bool at_crlf(const char *p)
{
    return load16(p) == load16("\r\n");
}

/* The first byte of [p, end) that is not of that class. */
static inline const char *skip(const char *p, const char *end, unsigned wanted)
{
    while (end - p >= 4) {
        if (!is(p[0], wanted)) {
            return p;
        }
        if (!is(p[1], wanted)) {
            return p + 1;
        }
        if (!is(p[2], wanted)) {
            return p + 2;
        }
        if (!is(p[3], wanted)) {
            return p + 3;
        }
        p += 4;
    }
    while (p < end && is(*p, wanted)) {
        p++;
    }
    return p;
}

/* The same, where "%" and two hexadecimal digits may stand in between. */
static inline const char *skip_encoded(
    const char *p, const char *end, unsigned wanted)
{
    for (;;) {
        p = skip(p, end, wanted);
        if (end - p < 3 || *p != '%' || !is(p[1], HEX) || !is(p[2], HEX)) {
            return p;
        }
        p += 3;
    }
}

static const char *skip_blank(const char *p, const char *end)
{
    while (p < end && is_blank(*p)) {
        p++;
    }
    return p;
}

static const char *trim_end(const char *start, const char *end)
{
    while (end > start && is_blank(end[-1])) {
        end--;
    }
    return end;
}

/* Three searches through [p, end), many bytes at once where the processor can:
 * name_end and target_end stop at the first byte that is not of the usual kind
 * for a field name or a target, or before it; what a stop means, the table
 * says. find_control finds the first control byte, HTAB apart: all else may
 * stand in a field value (RFC 9110, 5.5). It reads from end - VECTOR on. */
#ifdef __SSE2__
static inline __m128i load_vector(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline __m128i equal(__m128i bytes, char c)
{
    return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c));
}

static inline __m128i between(__m128i bytes, char first, char last)
{
    __m128i above = _mm_sub_epi8(bytes, _mm_set1_epi8(first));

    return _mm_cmpeq_epi8(
        _mm_min_epu8(above, _mm_set1_epi8((char)(last - first))), above);
}

static inline __m128i letters(__m128i bytes)
{
    return between(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z');
}

static inline unsigned mask_of(__m128i bytes)
{
    return (unsigned)_mm_movemask_epi8(bytes);
}

/* Behind the leading bytes of p that are in the mask; 16, if all are. */
static inline const char *behind(const char *p, unsigned mask)
{
    return p + __builtin_ctz(~mask);
}

static inline const char *name_end(const char *p, const char *end)
{
    if (end - p >= VECTOR) {
        __m128i bytes = load_vector(p);

        p = behind(
            p, mask_of(_mm_or_si128(letters(bytes),
                   _mm_or_si128(between(bytes, '0', '9'), equal(bytes, '-')))));
    }
    return p;
}

static inline const char *target_end(const char *p, const char *end)
{
    while (end - p >= VECTOR) {
        __m128i bytes = load_vector(p);
        unsigned mask = mask_of(
            _mm_or_si128(_mm_or_si128(letters(bytes), between(bytes, '&', ';')),
                _mm_or_si128(equal(bytes, '?'),
                    _mm_or_si128(equal(bytes, '='), equal(bytes, '_')))));

        if (mask != 0xffff) {
            return behind(p, mask);
        }
        p += VECTOR;
    }
    return p;
}

static inline unsigned control_mask(const char *p)
{
    __m128i bytes = load_vector(p);

    return mask_of(_mm_or_si128(
        _mm_andnot_si128(equal(bytes, '\t'), between(bytes, 0, 0x1f)),
        equal(bytes, 0x7f)));
}

static inline const char *find_control(const char *p, const char *end)
{
    unsigned mask;

    while (end - p >= VECTOR) {
        mask = control_mask(p);
        if (mask != 0) {
            return p + __builtin_ctz(mask);
        }
        p += VECTOR;
    }
    /* The last VECTOR bytes, without those that lie before p. */
    mask = control_mask(end - VECTOR) >> (VECTOR - (end - p));
    return mask != 0 ? p + __builtin_ctz(mask) : end;
}
#else
static inline const char *name_end(const char *p, const char *end)
{
    (void)end;
    return p;
}

static inline const char *target_end(const char *p, const char *end)
{
    (void)end;
    return p;
}

/* Without vectors, eight bytes at once in a plain register. No sum in here
 * carries from byte to byte, so the highest bit of each byte is exact. */
static inline bool has_control(uint64_t bytes)
{
    const uint64_t each = 0x0101010101010101U;
    const uint64_t low = 0x7f * each;
    uint64_t below = ~((bytes & low) + 0x60 * each);
    uint64_t tab = ~(((bytes ^ '\t' * each) & low) + low);
    uint64_t del = ~(((bytes ^ 0x7f * each) & low) + low);

    return (((below & ~tab) | del) & ~bytes & ~low) != 0;
}

static inline const char *find_control(const char *p, const char *end)
{
    while (end - p >= 8 && !has_control(load64(p))) {
        p += 8;
    }
    while (p < end && (unsigned char)*p != 0x7f &&
           ((unsigned char)*p >= 0x20 || *p == '\t')) {
        p++;
    }
    return p;
}
#endif

/* ---- request line ---- */

/* The method, if it is one that is served here, and its length; of eight
 * readable bytes. */
static inline enum hcs_method served_method(const char *p, unsigned *length)
{
    uint32_t word = load32(p);

    if (word == load32("GET ")) {
        *length = 3;
        return HCS_GET;
    }
    if (word == load32("POST") && p[4] == ' ') {
        *length = 4;
        return HCS_POST;
    }
    if (word == load32("HEAD") && p[4] == ' ') {
        *length = 4;
        return HCS_HEAD;
    }
    if (load64(p) == load64("OPTIONS ")) {
        *length = 7;
        return HCS_OPTIONS;
    }
    return HCS_METHOD_OTHER;
}

/* Methods that exist, but not here. A list of our own, so that the answer does
 * not depend on the parser's version. */
static bool known_method(const char *method, size_t length)
{
    static const char *const names[] = {"ACL", "BIND", "CHECKOUT", "CONNECT",
        "COPY", "DELETE", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY",
        "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PATCH", "PROPFIND",
        "PROPPATCH", "PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SOURCE",
        "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i]) == length &&
            memcmp(names[i], method, length) == 0) {
            return true;
        }
    }
    return false;
}

static bool valid_ipv6(const char *address, size_t length)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr parsed;

    if (length >= sizeof text) {
        return false;
    }
    memcpy(text, address, length);
    text[length] = '\0';
    return inet_pton(AF_INET6, text, &parsed) == 1;
}

/* uri-host [ ":" port ] (RFC 9110, 7.2), the host not empty (RFC 9110, 4.2.1)
 * and the port one that exists, if it is there. User information is refused
 * (RFC 9110, 4.2.4), and so are the IPvFuture addresses that nobody uses. */
static bool valid_authority(const char *p, const char *end, bool needs_port)
{
    const char *host = p;
    unsigned port = 0;

    if (p < end && *p == '[') {
        p = memchr(p, ']', (size_t)(end - p));
        if (p == NULL || !valid_ipv6(host + 1, (size_t)(p - host - 1))) {
            return false;
        }
        p++;
    } else {
        p = skip_encoded(p, end, NAME);
        if (p == host) {
            return false;
        }
    }
    if (p == end) {
        return !needs_port;
    }
    if (*p != ':') {
        return false;
    }
    for (p++; p < end; p++) {
        if (!is(*p, DIGIT)) {
            return false;
        }
        port = port * 10 + (unsigned)(*p - '0');
        if (port > PORT_MAX) {
            return false;
        }
    }
    return !needs_port || port != 0; /* RFC 9110, 9.3.6 */
}

static struct hcs_span span_of(
    const char *base, const char *start, const char *end)
{
    return (struct hcs_span){
        .offset = (uint32_t)(start - base),
        .length = (uint32_t)(end - start),
    };
}

static inline void split_query(
    const char *base, const char *path, const char *end, struct hcs_head *head)
{
    const char *mark = memchr(path, '?', (size_t)(end - path));

    if (mark != NULL) {
        head->query = span_of(base, mark + 1, end);
        end = mark;
    }
    head->path = span_of(base, path, end);
}

static bool split_absolute(const char *base, const char *target,
    const char *end, struct hcs_head *head)
{
    static const char scheme[] = "https://";
    const char *p = target;
    const char *authority;

    for (size_t i = 0; i < sizeof scheme - 1; i++) {
        if (scheme[i] == 's' && p < end && *p == ':') {
            continue; /* http */
        }
        if (p == end || fold(*p) != scheme[i]) {
            return false;
        }
        p++;
    }
    authority = p;
    while (p < end && *p != '/' && *p != '?') {
        p++;
    }
    if (!valid_authority(authority, p, false) ||
        skip_encoded(p, end, TARGET) != end) { /* a bracket */
        return false;
    }
    head->secure = authority - target == sizeof scheme - 1;
    head->host = span_of(base, authority, p);
    if (p < end && *p == '/') {
        split_query(base, p, end, head);
    } else if (p == end && head->method == HCS_OPTIONS) {
        head->asterisk = true; /* RFC 9112, 3.2.4 */
    } else {
        /* An empty path is "/": there is one in front of the authority. */
        split_query(base, p, end, head);
        head->path = span_of(base, authority - 1, authority);
    }
    return true;
}

/* Splits a target, whose octets were checked, by the form that goes with the
 * method (RFC 9112, 3.2). False: it has none of these forms. */
static inline bool split_target(const char *base, bool connect,
    const char *target, const char *end, struct hcs_head *head)
{
    if (connect) {
        head->host = span_of(base, target, end);
        return valid_authority(target, end, true);
    }
    if (*target == '/') {
        split_query(base, target, end, head);
        return true;
    }
    if (*target == '*' && end - target == 1) {
        head->asterisk = true;
        return head->method == HCS_OPTIONS;
    }
    return split_absolute(base, target, end, head);
}

static inline bool is_connect(const char *method, size_t length)
{
    return length == 7 && memcmp(method, "CONNECT", 7) == 0;
}

/* At p something else had to stand: MORE, if that is only the end of what is
 * here. Since a line is read from left to right and each wrong byte has its
 * reason, the verdict does not depend on how the line was cut on its way. early
 * is for a line that ends, with CRLF, where it may not. */
static enum hcs_scan refuse(const char *p, const char *end,
    enum hcs_reason wrong, enum hcs_reason early, enum hcs_reason *reason)
{
    if (p == end || (*p == '\r' && end - p < 2)) {
        return HCS_SCAN_MORE;
    }
    if (*p == '\n' || (*p == '\r' && p[1] != '\n')) {
        *reason = HCS_REASON_BAD_LINE_END;
    } else {
        *reason = *p == '\r' ? early : wrong;
    }
    return HCS_SCAN_BAD;
}

static enum hcs_scan refuse_line(
    const char *p, const char *end, enum hcs_reason *reason)
{
    return refuse(p, end, HCS_REASON_BAD_REQUEST_LINE,
        HCS_REASON_BAD_REQUEST_LINE, reason);
}

/* HTTP-version CRLF (RFC 9112, 2.3), octet by octet. */
static enum hcs_scan check_version(
    const char *version, const char *end, enum hcs_reason *reason)
{
    static const char shape[] = "HTTP/d.d\r\n";

    for (size_t i = 0; i < VERSION_LINE; i++) {
        const char *p = version + i;

        if (p == end || !(shape[i] == 'd' ? is(*p, DIGIT) : *p == shape[i])) {
            /* Behind a CR there is only one thing to wait for. */
            return refuse_line(shape[i] == '\n' ? p - 1 : p, end, reason);
        }
    }
    return HCS_SCAN_DONE;
}

/* A request line of whatever length from its start on; DONE: *next is behind
 * it. Syntax comes first, from left to right, then what it means: in a version
 * that is not ours the method means nothing. Of a line that grows, checked bytes
 * were found right before. */
static inline enum hcs_scan check_request_line(const char *line, size_t checked,
    const char *end, const char **next, enum hcs_reason *reason)
{
    const char *p, *target, *start, *space;
    enum hcs_method method = HCS_METHOD_OTHER;
    unsigned method_length = 0;

    if (end - line >= REQUEST_LINE_MIN) {
        method = served_method(line, &method_length);
    }
    if (method == HCS_METHOD_OTHER) {
        p = skip(line, end, TOKEN);
        if (p - line > METHOD_MAX) {
            *reason = HCS_REASON_NOT_IMPLEMENTED;
            return HCS_SCAN_BAD;
        }
        if (p == end || *p != ' ' || p == line) {
            return refuse_line(p, end, reason);
        }
        method_length = (unsigned)(p - line);
    }

    target = line + method_length + 1;
    start = target;
    if (checked > method_length + 1 + UNFINISHED) {
        start = line + checked - UNFINISHED;
    }
    p = target_end(start, end);
    if (p == end || *p != ' ' || *target != '/') {
        bool origin = target < end && *target == '/';

        p = skip_encoded(start, end, origin ? TARGET : TARGET | BRACKET);
        if (p == target && p < end && *p == ' ') {
            *reason = HCS_REASON_BAD_REQUEST_LINE; /* two spaces */
            return HCS_SCAN_BAD;
        }
        if (p == end || *p != ' ') {
            if (p < end && *p == '%') { /* one of its digits is wrong */
                p += end - p >= 2 && is(p[1], HEX) ? 2 : 1;
            }
            return refuse(p, end, HCS_REASON_BAD_TARGET,
                HCS_REASON_BAD_REQUEST_LINE, reason);
        }
    }
    space = p++;

    if (end - p < VERSION_LINE || load64(p) != load64("HTTP/1.1") ||
        !at_crlf(p + 8)) {
        enum hcs_scan result = check_version(p, end, reason);

        if (result != HCS_SCAN_DONE) {
            return result;
        }
        if (p[5] != '1') {
            *reason = HCS_REASON_BAD_VERSION;
            return HCS_SCAN_BAD;
        }
    }
    *next = p + VERSION_LINE;

    if (method == HCS_METHOD_OTHER && !known_method(line, method_length)) {
        *reason = HCS_REASON_NOT_IMPLEMENTED;
        return HCS_SCAN_BAD;
    }
    if (method == HCS_METHOD_OTHER || *target != '/') {
        struct hcs_head head = {.method = method};

        if (!split_target(
                line, is_connect(line, method_length), target, space, &head)) {
            *reason = HCS_REASON_BAD_TARGET;
            return HCS_SCAN_BAD;
        }
    }
    return HCS_SCAN_DONE;
}

/* ---- header section ---- */

/* A field's value, from any byte of it on; DONE: *next is behind its line. */
static inline enum hcs_scan check_value(
    const char *p, const char *end, const char **next, enum hcs_reason *reason)
{
    p = find_control(p, end);
    if (end - p < 2 || !at_crlf(p)) {
        return refuse(
            p, end, HCS_REASON_BAD_FIELD, HCS_REASON_BAD_FIELD, reason);
    }
    *next = p + 2;
    return HCS_SCAN_DONE;
}

/* A field line (RFC 9112, 5) of whatever length, of which checked bytes of its
 * name were found right before; DONE: *next is behind it. With the name whole,
 * *names grew by its length; then MORE leaves *in_value true. */
static inline enum hcs_scan check_field_line(const char *line, size_t checked,
    const char *end, const char **next, uint32_t *names, bool *in_value,
    enum hcs_reason *reason)
{
    const char *p = name_end(line + checked, end);
    enum hcs_scan result;

    if (p == end || *p != ':') {
        p = skip(p, end, TOKEN);
    }
    if (p == end || *p != ':' || p == line) {
        return refuse(
            p, end, HCS_REASON_BAD_FIELD, HCS_REASON_BAD_FIELD, reason);
    }
    *names += (uint32_t)(p - line);
    result = check_value(p + 1, end, next, reason);
    if (result == HCS_SCAN_MORE) {
        *in_value = true;
    }
    return result;
}

static enum hcs_scan check_lines(struct hcs_head_scan *scan, const char *bytes,
    const char *end, size_t *head_length, enum hcs_reason *reason)
{
    const char *line = bytes + scan->line;
    size_t checked = scan->seek - scan->line; /* of a line that grows */
    unsigned lines = scan->lines;
    uint32_t names = scan->names;
    enum hcs_scan result = HCS_SCAN_DONE;

    if (lines == 0) {
        result = check_request_line(line, checked, end, &line, reason);
        lines = result == HCS_SCAN_DONE;
        checked = 0;
    } else if (scan->in_value) {
        result = check_value(line + checked, end, &line, reason);
        scan->in_value = result == HCS_SCAN_MORE;
        lines += result == HCS_SCAN_DONE;
        checked = 0;
    }
    while (result == HCS_SCAN_DONE) {
        if (end - line >= 2 && at_crlf(line)) {
            *head_length = (size_t)(line - bytes) + 2;
            break;
        }
        if (lines > HCS_HEAD_FIELDS_MAX && line < end && *line != '\r') {
            *reason = HCS_REASON_HEADER_TOO_LARGE;
            return HCS_SCAN_BAD;
        }
        result = check_field_line(
            line, checked, end, &line, &names, &scan->in_value, reason);
        lines += result == HCS_SCAN_DONE;
        checked = 0;
    }
    scan->line = (uint32_t)(line - bytes);
    scan->names = names;
    scan->lines = (uint16_t)lines;
    return result;
}

enum hcs_scan hcs_head_scan(struct hcs_head_scan *scan, const char *bytes,
    size_t length, size_t max_bytes, size_t *head_length,
    enum hcs_reason *reason)
{
    size_t limit = length < max_bytes ? length : max_bytes;
    const char *end = bytes + limit;

    assert(max_bytes <= UINT32_MAX && scan->seek <= length);

    if (scan->seek <= limit) { /* else the limit was lowered meanwhile */
        enum hcs_scan result =
            check_lines(scan, bytes, end, head_length, reason);

        if (result != HCS_SCAN_MORE) {
            return result;
        }
    }
    if (limit == max_bytes) {
        *reason = scan->lines == 0 ? HCS_REASON_TARGET_TOO_LONG
                                   : HCS_REASON_HEADER_TOO_LARGE;
        return HCS_SCAN_BAD;
    }
    scan->seek = (uint32_t)limit;
    if (limit > 0 && end[-1] == '\r') {
        scan->seek--; /* what it is, only the next byte tells */
    }
    return HCS_SCAN_MORE;
}

size_t hcs_head_skip_empty(const char *bytes, size_t length)
{
    size_t i = 0;

    while (length - i >= 2 && at_crlf(bytes + i)) {
        i += 2;
    }
    return i;
}

/* ---- meaning ---- */

/* The fields that mean something here. */
enum field {
    OTHER,
    CONNECTION, /* from here to LISTS: taken element by element */
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

/* Compares 8 bytes at p with a lower-case literal's. Setting one bit makes
 * letters lower-case and leaves digits and "-"; no other octet of a token
 * becomes one of these. */
static inline bool same8(const char *p, const char *lower)
{
    return (load64(p) | 0x2020202020202020U) == load64(lower);
}

static inline bool same4(const char *p, const char *lower)
{
    return (load32(p) | 0x20202020U) == load32(lower);
}

/* Longer names as two words, which overlap where they must. */
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
                       fold(name[16]) == 'g'
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
        if (fold(p[i]) != lower[i]) {
            return false;
        }
    }
    return true;
}

/* Takes the next element of a comma list off [*p, end), without the blanks
 * around it; false when there is none left. */
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
    *element = skip_blank(*p, comma);
    *past = trim_end(*element, comma);
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
        } else if (skip(option, past, TOKEN) != past) {
            reading->bad_connection = true;
        }
    }
}

/* A list may have empty elements, and be empty (RFC 9110, 5.6.1.2). */
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

/* Lines are joined (RFC 9110, 5.3): a "*" beside another one is none. */
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

/* Notes one field that means something. Nothing is judged before all have been
 * seen: so the verdict does not depend on their order, or on where llhttp
 * stopped. */
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
        /* Both are lists, which may be repeated. Of several content codings,
         * one that says more than "identity" is kept; of Accept, the first. */
        if (field == ACCEPT ||
            (field == CONTENT_ENCODING && known->length != 0 &&
                !same_word(reading->base + known->offset,
                    reading->base + known->offset + known->length,
                    "identity"))) {
            return;
        }
    }
    reading->seen |= bit;
    *known = span_of(reading->base, value, end);
}

/* No HTAB stands beside the value: other servers take it for a part of it, and
 * the answer is not to depend on the version of llhttp either. */
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

/* Only digits, no leading zero, and below 2^63. */
static bool read_length(const char *p, const char *end, uint64_t *length)
{
    const uint64_t most = INT64_MAX;
    uint64_t sum = 0;

    if (p == end || (*p == '0' && end - p > 1) || !among_spaces(p, end)) {
        return false;
    }
    for (; p < end; p++) {
        unsigned digit = (unsigned)(*p - '0');

        if (!is(*p, DIGIT) || sum > (most - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *length = sum;
    return true;
}

/* What is wrong with transfer codings that are not "chunked" alone. Where that is
 * not the last of them, the end of the body cannot be known: 400 (RFC 9112,
 * 6.3). Else it could be, and what is in it could not. */
static enum hcs_reason coding_reason(const char *p, const char *end)
{
    return hcs_syntax_ends_in_chunked(p, end)
               ? HCS_REASON_BAD_CODING
               : HCS_REASON_BAD_TRANSFER_ENCODING;
}

/* A host is checked once, not again in each request that repeats it. */
static bool valid_host(struct hcs_parser *parser, struct hcs_span span)
{
    const char *host = parser->reading.base + span.offset;

    if (span.length == parser->host_length && span.length != 0 &&
        memcmp(host, parser->host, span.length) == 0) {
        return true;
    }
    if (!valid_authority(host, host + span.length, false)) {
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

/* Where the body ends (RFC 9112, 6.3). */
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

/* The fields that are only handed on. */
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
            skip(reading->base + id.offset, end, ID) == end) {
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

/* The verdict on all fields together: what is malformed before what is merely
 * not offered here. */
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
        if (head->host.length == 0) { /* else the target's has the say */
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

/* Target and version, of a line that passed the scan; end is behind the
 * target. */
static inline void take_request_line(
    struct hcs_parser *parser, const char *target, const char *end)
{
    struct hcs_head *head = parser->head;
    struct hcs_head_reading *reading = &parser->reading;
    const char *base = reading->base;

    reading->next = end + 1 + VERSION_LINE;
    reading->minor = end[8]; /* " HTTP/1.x" */
    head->minor = reading->minor != '0';
    (void)split_target(base,
        head->method == HCS_METHOD_OTHER &&
            is_connect(base, (size_t)(target - base - 1)),
        target, end, head);
}

/* Makes ready for a section that passed the scan, and reads its method. */
static inline void start_reading(
    struct hcs_parser *parser, const char *bytes, const char *end)
{
    struct hcs_head_reading *reading = &parser->reading;
    unsigned method_length = 0;
    enum hcs_method method = served_method(bytes, &method_length);

    if (method == HCS_METHOD_OTHER) {
        const char *space = memchr(bytes, ' ', (size_t)(end - bytes));

        assert(space != NULL);
        method_length = (unsigned)(space - bytes);
    }
    *parser->head = (struct hcs_head){.method = method};
    reading->base = bytes;
    reading->end = end;
    reading->next = end; /* where no field is: the request line comes first */
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
    parser->llhttp = parser->fresh; /* llhttp_reset, only quicker */
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

/* Whatever a version of llhttp may report, nothing is accepted that means
 * something else than the lines which passed the scan. Each field begins where
 * the last one ended, or the request line, and ends with a line. There are as
 * many fields as lines, so each is one line; and the target, which the request
 * line has on its side, ends at the only space that line has behind it. Each
 * name ends at a colon, and so not before the first one of its line; together
 * they are no longer than the scan found them, so none ends behind it. */

/* Stops llhttp: it reads something else than we do, or cannot read it. */
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
        length >= (size_t)(reading->end - at) - VERSION_LINE ||
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

    if (reading->colon == NULL) { /* no name, or its value was there before */
        return STOP;
    }
    value = reading->colon + 1;
    while (is_blank(*value)) {
        value++;
    }
    /* llhttp counts the blanks behind a value in, and where it puts an empty
     * value means nothing. */
    if ((length != 0 && at != value) ||
        length > (size_t)(reading->end - value) - 2 ||
        !at_crlf(value + length)) {
        return STOP;
    }
    end = value + length;
    reading->colon = NULL;
    reading->next = end + 2;
    reading->fields++;
    if (reading->field != OTHER) {
        take_field(
            reading, (enum field)reading->field, value, trim_end(value, end));
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
    /* What follows is not for llhttp: not a body, and no other protocol. */
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
};

/* Where only llhttp objects. */
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

/* llhttp saw the lines that we saw, and no others; the next is the empty one. */
static inline bool agrees(
    const struct hcs_head_reading *reading, const struct hcs_head_scan *scan)
{
    return reading->complete && reading->end - reading->next == 2 &&
           reading->fields + 1U == scan->lines && reading->names == scan->names;
}

/* Methods and versions that llhttp may not know, or treats in a special way
 * (CONNECT), are hidden from it behind a request line that it takes. */
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

/* All of it again, without llhttp: when it objects, our own verdict has the
 * better name, and one that does not differ between its versions. */
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
            const char *value = skip_blank(colon + 1, value_end);

            take_field(reading, field, value, trim_end(value, value_end));
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

    assert(head_length >= REQUEST_LINE_MIN + 2);
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
               lower_case(line[i]) == lower_case(name[i])) {
            i++;
        }
        if (i == name_length && line[i] == ':') {
            const char *start = skip_blank(line + i + 1, end);
            const char *past = memchr(start, '\r', (size_t)(end - start));

            assert(past != NULL);
            *value = span_of(bytes, start, trim_end(start, past));
            return true;
        }
        line = memchr(line, '\n', (size_t)(end - line));
    }
    return false;
}
