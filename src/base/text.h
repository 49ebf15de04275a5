/*
 * text - writes numbers and identifiers as text, fast enough for each request.
 *
 * Owns:    nothing; writes into the caller's bytes, without a NUL.
 * Threads: any; no state.
 * Waits:   never; no allocation, no locale, no floating point.
 */
#ifndef HCS_BASE_TEXT_H
#define HCS_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HCS_TEXT_U64_MAX = 20,
    HCS_TEXT_MS2_MAX = 17,
    HCS_TEXT_UUID_LENGTH = 36,
};

/* Writes decimal digits. Returns how many, 1 .. HCS_TEXT_U64_MAX. */
size_t hcs_text_u64(char *out, uint64_t value);

/* Writes nanoseconds as milliseconds with two decimals, as in Server-Timing:
 * "1.20". Rounds to the nearest, a half up. Returns the length,
 * 4 .. HCS_TEXT_MS2_MAX. */
size_t hcs_text_ms2(char *out, uint64_t ns);

/* Writes a UUID of version 7 (RFC 9562, section 5.7) in lower case. It holds
 * the low 48 bits of realtime_ms, the low 12 bits of random_a and the low 62
 * bits of random_b. */
void hcs_text_uuid7(char out[HCS_TEXT_UUID_LENGTH], uint64_t realtime_ms,
    uint64_t random_a, uint64_t random_b);

/* The length of the UTF-8 character at the start of text; its first byte is not
 * ASCII. *valid is false if there is none (RFC 3629): then the length is that
 * of the bytes to replace by one U+FFFD (Unicode, section 3.9). */
size_t hcs_text_utf8(const unsigned char *text, size_t left, bool *valid);

#endif
