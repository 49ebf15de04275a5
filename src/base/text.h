/*
 * text - numbers and identifiers as text, on the path of a request.
 *
 * Owns:    nothing; the caller's bytes are written, and no NUL after them.
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

/* Decimal digits; returns how many, 1 .. HCS_TEXT_U64_MAX. */
size_t hcs_text_u64(char *out, uint64_t value);

/* Nanoseconds as milliseconds with two decimals, as in Server-Timing: "1.20",
 * rounded to the nearest, a half up. Returns 4 .. HCS_TEXT_MS2_MAX. */
size_t hcs_text_ms2(char *out, uint64_t ns);

/* A UUID of version 7 (RFC 9562, section 5.7) in lower case: the low 48 bits of
 * realtime_ms, the low 12 of random_a and the low 62 of random_b. */
void hcs_text_uuid7(char out[HCS_TEXT_UUID_LENGTH], uint64_t realtime_ms,
    uint64_t random_a, uint64_t random_b);

/* The length of the character that starts at text, which is no ASCII; or,
 * *valid false, of the bytes there that are none and are best taken for one
 * (RFC 3629; Unicode, section 3.9, on U+FFFD). */
size_t hcs_text_utf8(const unsigned char *text, size_t left, bool *valid);

#endif
