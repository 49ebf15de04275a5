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

/* The raw check's place in a section that is still arriving. Zeroed: at the
 * start. */
struct hcs_head_scan {
    uint32_t line;  /* offset of the first byte of the line not yet checked */
    uint32_t seek;  /* what lies before it was found right, so far */
    uint32_t names; /* how long all field names are that were checked so far */
    uint16_t lines; /* checked so far; 0: the request line is next */
    bool in_value;  /* that line is a field, and its name checked */
};

enum hcs_scan { HCS_SCAN_MORE, HCS_SCAN_DONE, HCS_SCAN_BAD };

/* Checks the lines of bytes[0..length) that are complete and were not checked
 * before. bytes starts at the request line: the caller has skipped empty lines
 * before it (hcs_head_skip_empty). DONE: *head_length is the section's length,
 * its empty line included. BAD: *reason says why. A line is judged by its first
 * wrong byte, and as soon as that is there (a TLS hello is refused at its first
 * bytes): so the verdict is the same, at the same byte, however the bytes were
 * cut on their way. What was checked is not checked again for each of many
 * small pieces. No end within max_bytes, or
 * more than HCS_HEAD_FIELDS_MAX fields: BAD with HEADER_TOO_LARGE, or
 * TARGET_TOO_LONG while in the request line. From call to call, length does not
 * shrink. */
enum hcs_scan hcs_head_scan(struct hcs_head_scan *scan, const char *bytes,
    size_t length, size_t max_bytes, size_t *head_length,
    enum hcs_reason *reason);

/* How many leading bytes are empty lines (CRLF) to be ignored before a request
 * line (RFC 9112, 2.2). A lone CR at the end is not counted: it may become
 * one. */
size_t hcs_head_skip_empty(const char *bytes, size_t length);

#endif
