/*
 * chunked - strict decoder of the chunked transfer coding (RFC 9112, 7.1).
 *
 * Ours and not llhttp's: its versions differ in what they let through (bare LF
 * after a size, unbounded extensions), and this keeps 16 bytes of state in a
 * waiting upload where llhttp keeps a hundred.
 *
 * Owns:    nothing. Threads: one at a time. Waits: never.
 */
#ifndef HCS_HTTP_CHUNKED_H
#define HCS_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

enum {
    HCS_CHUNK_EXTENSION_MAX = 4096, /* bytes of extensions in one message */
    HCS_CHUNK_TRAILER_MAX = 8192,   /* bytes of the trailer section */
};

/* Zeroed: at the start of a body. */
struct hcs_chunked {
    uint64_t left;  /* bytes of this chunk still to come */
    uint16_t extra; /* extension bytes so far, then trailer bytes */
    uint8_t state;
    uint8_t digits; /* of the size; at most 15, leading zeros counted */
};

enum hcs_chunk {
    HCS_CHUNK_MORE, /* all input used, the body goes on */
    HCS_CHUNK_DATA, /* *data and *data_length are body bytes; call again */
    HCS_CHUNK_DONE, /* the body ended; *used says where */
    HCS_CHUNK_BAD,  /* framing error */
};

/* Decodes from bytes[0..length); *used: how many were taken. Data is never
 * copied, *data points into bytes. Trailer fields are checked (name is a token,
 * no control bytes, CRLF) and dropped. */
enum hcs_chunk hcs_chunked_decode(struct hcs_chunked *chunked,
    const char *bytes, size_t length, size_t *used, const char **data,
    size_t *data_length);

/* Bytes that a complete size line has announced and that are still to come. */
uint64_t hcs_chunked_announced(const struct hcs_chunked *chunked);

#endif
