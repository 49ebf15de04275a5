/*
 * fail - prints on standard error, in one line, why the daemon stops.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   as long as writing to standard error does.
 */
#ifndef HCS_APP_FAIL_H
#define HCS_APP_FAIL_H

/* Prints a line, "hcsd: " and the message, which is cut at about 1000 bytes.
 * Returns status, so that a caller can write "return hcs_fail(EX_OSERR,
 * ...)". */
__attribute__((format(printf, 2, 3))) int hcs_fail(
    int status, const char *format, ...);

#endif
