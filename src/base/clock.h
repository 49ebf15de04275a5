/*
 * clock - reads the time, and writes it in two formats.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never. Reading the time is no system call where the kernel has a
 *          vdso(7).
 */
#ifndef HCS_BASE_CLOCK_H
#define HCS_BASE_CLOCK_H

#include <stdint.h>

enum {
    HCS_HTTP_DATE_LENGTH = 29,
    HCS_RFC3339_LENGTH = 24,
};

/* CLOCK_MONOTONIC: for deadlines and durations. Never goes back. */
uint64_t hcs_clock_ns(void);
uint64_t hcs_clock_ms(void);

/* CLOCK_REALTIME since 1970: for people. May jump. */
uint64_t hcs_clock_realtime_ms(void);

/* Writes the 29 bytes of an IMF-fixdate (RFC 9110, section 5.6.7), without a
 * NUL: "Sun, 06 Nov 1994 08:49:37 GMT". A time after the year 9999 is written
 * as the last second of that year. */
void hcs_clock_http_date(uint64_t realtime_s, char out[HCS_HTTP_DATE_LENGTH]);

/* Writes the 24 bytes of an RFC 3339 time in UTC, without a NUL:
 * "1994-11-06T08:49:37.000Z". A time after the year 9999 is written as the last
 * millisecond of that year. */
void hcs_clock_rfc3339(uint64_t realtime_ms, char out[HCS_RFC3339_LENGTH]);

#endif
