/*
 * head_scan - a check of a request's header section by lines, as they arrive.
 *
 * Refuses what some version of llhttp lets through. A section that does not end
 * is refused at its first bad line.
 *
 * Owns:    nothing.
 * Threads: one at a time for each object.
 * Waits:   never.
 */
#ifndef HCS_HTTP_HEAD_SCAN_H
#define HCS_HTTP_HEAD_SCAN_H

#include "http/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a request line that passes the check. */
enum {
    /* "GET / HTTP/1.1\r\n" is the shortest. So behind the line the vector
     * searches of octets.h may look back. */
    HCS_HEAD_REQUEST_LINE_MIN = 16,
    HCS_HEAD_VERSION_LINE = sizeof "HTTP/1.1\r\n" - 1,
};

enum { HCS_HEAD_FIELDS_MAX = 256 }; /* field lines in one section */

/* How far the check is in a section that is still arriving. All zero at the
 * start. */
struct hcs_head_scan {
    uint32_t line;  /* offset of the line that is not checked whole yet */
    uint32_t seek;  /* all bytes before this offset were checked */
    uint32_t names; /* sum of the lengths of the field names so far */
    uint16_t lines; /* checked whole so far; 0: the request line is next */
    bool in_value;  /* the line is a field whose name is checked */
};

enum hcs_scan { HCS_SCAN_MORE, HCS_SCAN_DONE, HCS_SCAN_BAD };

/* Checks the bytes that came since the last call. bytes[0..length) starts at
 * the request line: the caller has skipped empty lines before it
 * (hcs_head_skip_empty). From call to call, length does not shrink.
 *
 * DONE: *head_length is the length of the section with its empty line.
 * BAD:  *reason says why. Without an end within max_bytes it is
 *       HEADER_TOO_LARGE, or TARGET_TOO_LONG while in the request line. More
 *       than HCS_HEAD_FIELDS_MAX fields are HEADER_TOO_LARGE.
 * MORE: nothing is wrong so far.
 *
 * A line is refused at its first wrong byte, as soon as that byte is here (a
 * TLS hello is refused at its first bytes). So the verdict does not depend on
 * how the bytes were cut on their way. Bytes that were checked are not checked
 * again, so many small pieces cost no more than one large piece. */
enum hcs_scan hcs_head_scan(struct hcs_head_scan *scan, const char *bytes,
    size_t length, size_t max_bytes, size_t *head_length,
    enum hcs_reason *reason);

/* How many leading bytes are empty lines (CRLF), which a server ignores before
 * a request line (RFC 9112, 2.2). A lone CR at the end is not counted, because
 * its LF may still come. */
size_t hcs_head_skip_empty(const char *bytes, size_t length);

#endif
