/*
 * uri - percent-encoding (RFC 3986, section 2.1).
 *
 * Owns:    nothing; the caller's bytes are read and written.
 * Threads: any; no state.
 * Waits:   never; no allocation, no locale.
 */
#ifndef HCS_BASE_URI_H
#define HCS_BASE_URI_H

#include <stdbool.h>
#include <stddef.h>

/* Whether two hexadecimal digits follow each "%". */
bool hcs_uri_is_encoded(const char *text, size_t length);

/* Decodes length bytes at from to at most room bytes at to, and stores their
 * number in *used. A "%" that two hexadecimal digits do not follow stays as it
 * is. False when the result has no room. to may be the same as from. */
bool hcs_uri_decode(
    const char *from, size_t length, char *to, size_t room, size_t *used);

/* Likewise, and ends the result with a NUL: to has room for length + 1 bytes.
 * False when the result holds another NUL, which would end the text early. */
bool hcs_uri_decode_text(const char *from, size_t length, char *to);

#endif
