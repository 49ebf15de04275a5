/*
 * json_scan - single bytes and eight at a time, for the readers of JSON text.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_BASE_JSON_SCAN_H
#define HCS_BASE_JSON_SCAN_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A word whose eight bytes are all this byte. */
#define HCS_SCAN_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

enum { HCS_SCAN_WORD = 8 };

static inline bool hcs_scan_is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static inline unsigned hcs_scan_hex_value(uint8_t digit)
{
    return hcs_scan_is_digit(digit) ? digit - (unsigned)'0'
                                    : (digit | 0x20u) - 'a' + 10u;
}

/* Whether there is a byte at this address, and it is the wanted one. */
static inline bool hcs_scan_is_at(
    const uint8_t *at, const uint8_t *end, uint8_t byte)
{
    return at < end && *at == byte;
}

static inline uint64_t hcs_scan_load_word(const uint8_t *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return le64toh(word); /* the first byte is the lowest */
}

/* The next eight bytes as a word, the first in its lowest byte. Bytes behind
 * the end are zero. Reads nothing outside of begin .. end: near the end it
 * loads the last eight bytes of the text, and shifts. */
static inline uint64_t hcs_scan_next_word(
    const uint8_t *begin, const uint8_t *at, const uint8_t *end)
{
    size_t left = (size_t)(end - at);
    uint64_t word = 0;

    if (left >= HCS_SCAN_WORD) {
        return hcs_scan_load_word(at);
    }
    if (end - begin >= HCS_SCAN_WORD) {
        /* Two shifts: left may be 0, and a shift by 64 is undefined. */
        return hcs_scan_load_word(end - HCS_SCAN_WORD) >> (8 * (7 - left)) >> 8;
    }
    for (size_t i = 0; i < left; i++) {
        word |= (uint64_t)at[i] << (8 * i);
    }
    return word;
}

/* The index of the first marked byte of a word. A byte is marked by its top
 * bit. The subtractions that find bytes may borrow, and then mark wrong bytes
 * above a right one. So only the lowest mark is certain. */
static inline size_t hcs_scan_first_mark(uint64_t marks)
{
    return (size_t)__builtin_ctzll(marks) / 8;
}

static inline const uint8_t *hcs_scan_skip_space(
    const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at <= ' ' &&
           (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
        at++;
    }
    return at;
}

#endif
