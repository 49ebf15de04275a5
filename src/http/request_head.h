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

#endif
