/*
 * fail - what stops the daemon, said in one line on standard error.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   as long as writing to standard error does.
 */
#ifndef HCS_APP_FAIL_H
#define HCS_APP_FAIL_H

/* Writes "hcsd: " and the message, a line; gives status, so that a caller can
 * say "return hcs_fail(EX_OSERR, ...)". A message is cut at about 1000 bytes. */
__attribute__((format(printf, 2, 3))) int hcs_fail(
    int status, const char *format, ...);

#endif
