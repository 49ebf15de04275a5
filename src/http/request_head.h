/*
 * request_head - what a request's header section says: plain values.
 *
 * Owns:    nothing; spans are offsets from the first byte of the section, so
 *          that the bytes may move.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_HTTP_REQUEST_HEAD_H
#define HCS_HTTP_REQUEST_HEAD_H

#include "http/method.h"

#include <stdbool.h>
#include <stdint.h>

struct hcs_span {
    uint32_t offset;
    uint32_t length; /* 0: absent or empty */
};

static inline struct hcs_span hcs_span_of(
    const char *base, const char *start, const char *end)
{
    return (struct hcs_span){
        .offset = (uint32_t)(start - base),
        .length = (uint32_t)(end - start),
    };
}

/* The result of If-Match and If-None-Match. Each path has a representation, and
 * no representation has an entity tag (RFC 9110, 13.1.1, 13.1.2 and 13.2.2). */
enum hcs_precondition {
    HCS_PRECONDITION_HOLDS,    /* or the request has none */
    HCS_PRECONDITION_NO_MATCH, /* If-Match: none of its tags matches */
    HCS_PRECONDITION_EXISTS,   /* If-None-Match: * is not true */
    HCS_PRECONDITION_BAD,      /* the value is no list of tags */
};

struct hcs_head {
    enum hcs_method method;
    uint8_t minor;   /* of HTTP/1.minor: 0, or 1 for 1 and above */
    bool keep_alive; /* by version and Connection */
    bool chunked;
    bool has_length;
    bool expect_continue; /* Expect: 100-continue, under 1.1 */
    bool asterisk;        /* OPTIONS * */
    bool secure;          /* the target has the scheme https */
    uint8_t precondition; /* enum hcs_precondition */
    uint64_t content_length;
    struct hcs_span path;  /* of a target in origin or absolute form, with the
                              percent-encoding as sent; "/" if an absolute form
                              has none; absent with "*" and CONNECT */
    struct hcs_span query; /* behind the "?" */
    struct hcs_span host;  /* of the target if it has one, else of Host */
    struct hcs_span content_type; /* offset 0: absent; else it may be empty */
    struct hcs_span content_encoding;
    struct hcs_span request_id; /* X-Request-ID, if it is 1-128 safe bytes
                                   ([A-Za-z0-9] and -._~+/=:@), else absent */
    struct hcs_span accept;     /* of several fields, the first one */
};

#endif
