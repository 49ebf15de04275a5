/*
 * units - quantities as people write them.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never; no allocation, no locale.
 */
#ifndef HCS_BASE_UNITS_H
#define HCS_BASE_UNITS_H

#include "hcs/handler.h" /* promises hcs_parse_duration to others too */

#include <stdbool.h>
#include <stdint.h>

/* hcs_parse_duration takes digits and one of ns, us, ms, s, m, h: no sign, no
 * blanks, no decimals, no number without a unit, not even 0. False for anything
 * else, and for what is more than UINT64_MAX nanoseconds (584 years); *ns is then
 * as it was. */

/* Digits and one of B, KiB, MiB, GiB, TiB, or digits alone: bytes. False for
 * anything else, and for what does not fit; *bytes is then as it was. */
bool hcs_parse_size(const char *text, uint64_t *bytes);

enum { HCS_DURATION_TEXT = 24 };

/* The duration in the largest unit that leaves no remainder. */
void hcs_duration_text(char out[HCS_DURATION_TEXT], uint64_t ns);

#endif
