/*
 * units - numbers, durations and sizes as people write them.
 *
 * Settings of the daemon and settings of handlers are read here. So both accept
 * the same texts, and refuse others with the same words.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never; no allocation, no locale.
 */
#ifndef HCS_BASE_UNITS_H
#define HCS_BASE_UNITS_H

#include "hcs/handler.h" /* declares hcs_parse_duration for handlers too */

#include <stdbool.h>
#include <stdint.h>

/* What a number counts. */
enum hcs_quantity {
    HCS_COUNT,        /* digits alone; at most INT64_MAX */
    HCS_NANOSECONDS,  /* digits and one of ns, us, ms, s, m, h */
    HCS_MILLISECONDS, /* digits and one of ms, s, m, h */
    HCS_BYTES,        /* digits, and one of B, KiB, MiB, GiB, TiB, or nothing */
};

enum {
    HCS_UNITS_TEXT = 32, /* bytes that hold any printed quantity, */
    HCS_UNITS_WHY = 80,  /* and any reason; the NUL is counted */
};

/* Reads a quantity from min to max into *out. False when text is not one: then
 * why says what is wrong with text, and *out stays. No sign, no blanks, no
 * fraction. A duration needs a unit, unless it is 0. */
bool hcs_units_read(enum hcs_quantity quantity, const char *text, uint64_t min,
    uint64_t max, uint64_t *out, char why[HCS_UNITS_WHY]);

/* Likewise a whole number, which may be negative. */
bool hcs_units_read_integer(const char *text, int64_t min, int64_t max,
    int64_t *out, char why[HCS_UNITS_WHY]);

/* Prints a quantity as hcs_units_read would read it, in the largest unit that
 * leaves no remainder. Minutes and hours are used from two on: 60s, not 1m. */
void hcs_units_print(
    char out[HCS_UNITS_TEXT], enum hcs_quantity quantity, uint64_t value);

/* hcs_parse_duration reads nanoseconds up to UINT64_MAX (584 years), and takes
 * no number without a unit, not even 0. */

#endif
