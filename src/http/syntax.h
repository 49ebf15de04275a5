/*
 * syntax - field values that are read by the whole of their grammar.
 *
 * Those that are seldom anything but what an exact comparison knows; the
 * callers compare first. Values come without the white space around them.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_SYNTAX_H
#define HCS_HTTP_SYNTAX_H

#include <stdbool.h>

/* Whether [p, end) is a list of transfer codings (RFC 9112, 7) of which
 * "chunked" is the last and no other. Lists with empty members are none: not
 * all recipients read them alike. */
bool hcs_syntax_ends_in_chunked(const char *p, const char *end);

#endif
