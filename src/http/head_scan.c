#include "http/head_scan.h"

#include "http/method.h"
#include "http/octets.h"
#include "http/target.h"

#include <assert.h>

enum {
    /* More than any method has. A longer token is refused without waiting for
     * its end (RFC 9112, 3). */
    METHOD_MAX = 32,
    /* An unfinished request line is checked again from so many bytes before its
     * end: there a "%" may have lacked its digits, or the version an octet. */
    UNFINISHED = HCS_HEAD_VERSION_LINE + 2,
};

static_assert((int)HCS_HEAD_REQUEST_LINE_MIN >= (int)HCS_OCTETS_VECTOR,
    "find_control may look back behind any request line");

/* The verdict on a line in which something else had to stand at p. MORE, if p
 * is the end of the bytes so far. Lines are read from left to right, and each
 * wrong byte has its reason, so the verdict does not depend on how the line was
 * cut on its way. early: the reason if the line ends at p, with CRLF. wrong:
 * the reason for all other bytes. */
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

    for (size_t i = 0; i < HCS_HEAD_VERSION_LINE; i++) {
        const char *p = version + i;

        if (p == end || !(shape[i] == 'd' ? hcs_octet_is(*p, HCS_OCTET_DIGIT)
                                          : *p == shape[i])) {
            /* A wrong byte behind CR is a bad line end: look at the CR. */
            return refuse_line(shape[i] == '\n' ? p - 1 : p, end, reason);
        }
    }
    return HCS_SCAN_DONE;
}

/* Checks a request line, which may be incomplete. DONE: *next is behind it. The
 * syntax is checked first, from left to right, and then the meaning: in a
 * version of HTTP that hcsd does not speak, the method has no meaning. The
 * first checked bytes of the line passed an earlier call. */
static inline enum hcs_scan check_request_line(const char *line, size_t checked,
    const char *end, const char **next, enum hcs_reason *reason)
{
    const char *p, *target, *start, *space;
    enum hcs_method method = HCS_METHOD_OTHER;
    unsigned method_length = 0;

    if (end - line >= HCS_HEAD_REQUEST_LINE_MIN) {
        method = hcs_method_served(line, &method_length);
    }
    if (method == HCS_METHOD_OTHER) {
        p = hcs_octets_skip(line, end, HCS_OCTET_TOKEN);
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
    p = hcs_octets_target_end(start, end);
    if (p == end || *p != ' ' || *target != '/') {
        bool origin = target < end && *target == '/';

        p = hcs_octets_skip_encoded(start, end,
            origin ? HCS_OCTET_TARGET : HCS_OCTET_TARGET | HCS_OCTET_BRACKET);
        if (p == target && p < end && *p == ' ') {
            *reason = HCS_REASON_BAD_REQUEST_LINE; /* two spaces */
            return HCS_SCAN_BAD;
        }
        if (p == end || *p != ' ') {
            if (p < end && *p == '%') { /* one of its two digits is wrong */
                p += end - p >= 2 && hcs_octet_is(p[1], HCS_OCTET_HEX) ? 2 : 1;
            }
            return refuse(p, end, HCS_REASON_BAD_TARGET,
                HCS_REASON_BAD_REQUEST_LINE, reason);
        }
    }
    space = p++;

    if (end - p < HCS_HEAD_VERSION_LINE ||
        hcs_octets_load64(p) != hcs_octets_load64("HTTP/1.1") ||
        !hcs_octets_at_crlf(p + 8)) {
        enum hcs_scan result = check_version(p, end, reason);

        if (result != HCS_SCAN_DONE) {
            return result;
        }
        if (p[5] != '1') {
            *reason = HCS_REASON_BAD_VERSION;
            return HCS_SCAN_BAD;
        }
    }
    *next = p + HCS_HEAD_VERSION_LINE;

    if (method == HCS_METHOD_OTHER &&
        !hcs_method_is_known(line, method_length)) {
        *reason = HCS_REASON_NOT_IMPLEMENTED;
        return HCS_SCAN_BAD;
    }
    if (method == HCS_METHOD_OTHER || *target != '/') {
        struct hcs_head head = {.method = method};

        if (!hcs_target_split(line, hcs_method_is_connect(line, method_length),
                target, space, &head)) {
            *reason = HCS_REASON_BAD_TARGET;
            return HCS_SCAN_BAD;
        }
    }
    return HCS_SCAN_DONE;
}

/* ---- header section ---- */

/* Checks the value of a field from any of its bytes on. DONE: *next is behind
 * the line. */
static inline enum hcs_scan check_value(
    const char *p, const char *end, const char **next, enum hcs_reason *reason)
{
    p = hcs_octets_find_control(p, end);
    if (end - p < 2 || !hcs_octets_at_crlf(p)) {
        return refuse(
            p, end, HCS_REASON_BAD_FIELD, HCS_REASON_BAD_FIELD, reason);
    }
    *next = p + 2;
    return HCS_SCAN_DONE;
}

/* Checks a field line (RFC 9112, 5), which may be incomplete. The first checked
 * bytes of its name passed an earlier call. DONE: *next is behind the line. If
 * the name is complete, *names grows by its length; MORE then sets
 * *in_value. */
static inline enum hcs_scan check_field_line(const char *line, size_t checked,
    const char *end, const char **next, uint32_t *names, bool *in_value,
    enum hcs_reason *reason)
{
    const char *p = hcs_octets_name_end(line + checked, end);
    enum hcs_scan result;

    if (p == end || *p != ':') {
        p = hcs_octets_skip(p, end, HCS_OCTET_TOKEN);
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
    size_t checked = scan->seek - scan->line; /* bytes of this line */
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
        if (end - line >= 2 && hcs_octets_at_crlf(line)) {
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

    if (scan->seek <=
        limit) { /* else max_bytes is lower than in the last call */
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
        scan->seek--; /* the next byte shows whether it ends the line */
    }
    return HCS_SCAN_MORE;
}

size_t hcs_head_skip_empty(const char *bytes, size_t length)
{
    size_t i = 0;

    while (length - i >= 2 && hcs_octets_at_crlf(bytes + i)) {
        i += 2;
    }
    return i;
}
