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

/* Whether [p, end) is a media type (RFC 9110, 8.3.1) that stands for JSON:
 * application/json, or one whose subtype ends in "+json" (RFC 6839), with any
 * parameters. */
bool hcs_syntax_is_json(const char *p, const char *end);

/* Whether [p, end) is a token, such as the name of a field (RFC 9110, 5.6.2). */
bool hcs_syntax_is_token(const char *p, const char *end);

/* Whether [p, end) is what a field value may be (RFC 9110, 5.5): no control
 * bytes, and no white space around it. */
bool hcs_syntax_is_field_value(const char *p, const char *end);

enum hcs_tags {
    HCS_TAGS_ABSENT, /* no field of that name */
    HCS_TAGS_LIST,   /* of entity tags, or of none */
    HCS_TAGS_ANY,    /* "*" */
    HCS_TAGS_BAD,    /* neither */
};

/* What If-Match and If-None-Match hold (RFC 9110, 8.8.3 and 13.1). */
enum hcs_tags hcs_syntax_tags(const char *p, const char *end);

#endif
