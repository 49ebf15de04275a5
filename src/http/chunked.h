/*
 * chunked - strict decoder of the chunked transfer coding (RFC 9112, 7.1).
 *
 * hcsd does not use the decoder of llhttp. Versions of llhttp differ in what
 * they let through (a bare LF after a size, extensions without a limit). This
 * decoder needs 16 bytes of state for an upload that waits; llhttp needs a
 * hundred.
 *
 * Owns:    nothing; data points into the caller's bytes.
 * Threads: one at a time for each object.
 * Waits:   never.
 */
#ifndef HCS_HTTP_CHUNKED_H
#define HCS_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

enum {
    HCS_CHUNK_EXTENSION_MAX = 4096, /* bytes of extensions in one message */
    HCS_CHUNK_TRAILER_MAX = 8192,   /* bytes of the trailer section */
};

/* All zero at the start of a body. */
struct hcs_chunked {
    uint64_t left;  /* bytes of this chunk that have not come yet */
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

/* Decodes from bytes[0..length), and sets *used to the number of bytes it took.
 * Data is not copied: *data points into bytes. Trailer fields are checked (the
 * name is a token, no control bytes, CRLF) and dropped. */
enum hcs_chunk hcs_chunked_decode(struct hcs_chunked *chunked,
    const char *bytes, size_t length, size_t *used, const char **data,
    size_t *data_length);

/* Of the chunk whose size line is complete, the bytes that have not come
 * yet. */
uint64_t hcs_chunked_announced(const struct hcs_chunked *chunked);

#endif
