/*
 * response - the status line and the fields of a reply, as bytes.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_RESPONSE_H
#define HCS_HTTP_RESPONSE_H

#include "http/exchange.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HCS_RESPONSE_FIELDS_MAX = 4096, /* bytes of fields that a handler adds */
    HCS_RESPONSE_HEAD_MAX =
        768 + HCS_RESPONSE_FIELDS_MAX, /* bytes that hcs_response_head writes */
    HCS_REQUEST_ID_MAX = 128,
    HCS_CONTENT_TYPE_MAX = 128,
};

enum hcs_reply_connection {
    HCS_REPLY_KEEP,      /* HTTP/1.1: stays open without a Connection field */
    HCS_REPLY_KEEP_SAID, /* HTTP/1.0: stays open with Connection: keep-alive */
    HCS_REPLY_CLOSE,     /* the last reply on this connection */
};

/* What a reply says beyond the facts of its exchange. */
struct hcs_reply {
    enum hcs_reply_connection connection;
    const char *content_type; /* cut at HCS_CONTENT_TYPE_MAX */
    const char *fields;       /* further fields, each with its CRLF */
    size_t fields_length;     /* at most HCS_RESPONSE_FIELDS_MAX */
    const char *allow;        /* NULL: no Allow field */
    bool accept_json;         /* Accept: application/json, with 415 */
    bool no_store;            /* Cache-Control: no-store */
    unsigned retry_after_s;   /* 0: no Retry-After field */
};

/* Writes status line, fields and the empty line to out, which has room for
 * HCS_RESPONSE_HEAD_MAX bytes. Reads the status, identifier, bytes_out and
 * times of the exchange. date has 29 bytes. Returns the length. */
size_t hcs_response_head(char *out, const struct hcs_exchange *exchange,
    const struct hcs_reply *reply, const char *date);

/* "OK" for 200. "" for a status that is not registered, or that is never
 * sent. */
const char *hcs_status_text(unsigned status);

#endif
