/*
 * head - a request's header section, from bytes to meaning.
 *
 * Two readers look at each header section: a raw check of our own, line by
 * line as the lines arrive, which refuses what the versions of llhttp let
 * through, and llhttp, once, over the whole section, which
 * gives method, target, version and fields. So no field is ever split over two
 * callbacks, and a section that does not end is refused at its first bad line.
 *
 * Owns:    nothing; spans are offsets from the section's first byte, so that
 *          the bytes may move.
 * Threads: one at a time for each object; a parser serves one loop.
 * Waits:   never.
 */
#ifndef HCS_HTTP_HEAD_H
#define HCS_HTTP_HEAD_H

#include "http/reason.h"

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_span {
    uint32_t offset;
    uint32_t length; /* 0: absent or empty */
};

enum hcs_method { /* those hcsd knows; order of the Allow field */
    HCS_GET,
    HCS_HEAD,
    HCS_POST,
    HCS_OPTIONS,
    HCS_METHOD_OTHER, /* known to HTTP, not allowed here: PUT, TRACE, ... */
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

/* What If-Match and If-None-Match come to where there is a representation, and
 * none has an entity tag (RFC 9110, 13.1.1, 13.1.2 and 13.2.2). */
enum hcs_precondition {
    HCS_PRECONDITION_HOLDS,    /* or there is none */
    HCS_PRECONDITION_NO_MATCH, /* If-Match: no tag is the one that is asked for */
    HCS_PRECONDITION_EXISTS,   /* If-None-Match: there is something */
    HCS_PRECONDITION_BAD,      /* a value that is no list of tags */
};

struct hcs_head {
    enum hcs_method method;
    uint8_t minor;   /* of HTTP/1.minor: 0; or 1, also for all above */
    bool keep_alive; /* by version and Connection */
    bool chunked;
    bool has_length;
    bool expect_continue; /* Expect: 100-continue, under 1.1 */
    bool asterisk;        /* OPTIONS * */
    bool secure;          /* absolute form, and its scheme is https */
    uint8_t precondition; /* enum hcs_precondition */
    uint64_t content_length;
    struct hcs_span path;  /* of the target in origin or absolute form ("/",
                              where that has none), percent-encoding as sent;
                              absent with "*" and CONNECT */
    struct hcs_span query; /* behind the "?" */
    struct hcs_span host;  /* of the target, where it holds one, else Host */
    struct hcs_span content_type; /* offset 0: absent, and not only empty */
    struct hcs_span content_encoding;
    struct hcs_span request_id; /* X-Request-ID, if it is 1-128 safe bytes
                                   ([A-Za-z0-9] and -._~+/=:@), else absent */
    struct hcs_span accept;     /* of several, the first */
};

/* One reading of a section; private to head.c. */
struct hcs_head_reading {
    const char *base;                 /* the section */
    const char *end;                  /* behind it */
    const char *next;                 /* where the next line must start */
    const char *target;               /* where it must start */
    const char *colon;                /* of the field whose value comes next */
    struct hcs_span values[12];       /* of the fields that mean something */
    unsigned seen, repeated;          /* a bit for each of them */
    uint32_t names;                   /* as in the scan */
    uint32_t fields;                  /* so far */
    uint8_t field;                    /* the one whose value comes next */
    char minor;                       /* the digit */
    bool stand_in;                    /* llhttp is given another request line */
    bool complete;                    /* llhttp has seen the end */
    bool close, keep, bad_connection; /* Connection */
    bool expects_continue;            /* Expect: 100-continue */
    bool expects_else;                /* something other than that */
    uint8_t match, none_match;        /* enum hcs_tags: of If-(None-)Match */
};

struct hcs_parser {
    llhttp_t llhttp; /* first: its callbacks find the parser by it */
    llhttp_t fresh;  /* as llhttp_init leaves it */
    struct hcs_head *head;
    struct hcs_head_reading reading;
    uint32_t host_length; /* of host: the last one that was found valid */
    char host[64];
};

void hcs_parser_init(struct hcs_parser *parser);

/* Parses a whole section that this scan called DONE. NONE, or why it is
 * refused: *head is then only partly filled, but method and minor are valid
 * where they could be read. */
enum hcs_reason hcs_head_parse(struct hcs_parser *parser,
    const struct hcs_head_scan *scan, const char *bytes, size_t head_length,
    struct hcs_head *head);

/* The value of the first field of that name (compared without case) in a
 * section that was parsed, without white space around it; found by a walk over
 * the lines. False when there is none. */
bool hcs_head_field(const char *bytes, size_t head_length, const char *name,
    struct hcs_span *value);

#endif
