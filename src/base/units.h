/*
 * units - quantities as people write them.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never; no allocation, no locale.
 */
#ifndef HCS_BASE_UNITS_H
#define HCS_BASE_UNITS_H

#include <stdbool.h>
#include <stdint.h>

/* Promised to the authors of handlers as well, by hcs/handler.h; declared here
 * again because nothing in base includes from above. The unit test includes
 * both headers, so they cannot come apart.
 *
 * Digits and one of ns, us, ms, s, m, h: no sign, no blanks, no decimals, no
 * number without a unit, not even 0. False for anything else, and for what is
 * more than UINT64_MAX nanoseconds (584 years); *ns is then as it was. */
bool hcs_parse_duration(const char *text, uint64_t *ns);

#endif
