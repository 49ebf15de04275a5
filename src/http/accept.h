/*
 * accept - which of several media types an Accept field asks for.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_ACCEPT_H
#define HCS_HTTP_ACCEPT_H

#include <stddef.h>

struct hcs_media_type { /* all in lower case */
    const char *type;
    const char *subtype;
    const char *version; /* the parameter; NULL: any, or none */
};

/* The index of the type that the value of Accept prefers (RFC 9110, section
 * 12.5.1). Of types that it wants equally, the first one. 0 where it wants none
 * of them: an answer of another type is of more use than a refusal. */
size_t hcs_accept_choose(const char *accept, size_t length,
    const struct hcs_media_type *offers, size_t count);

#endif
