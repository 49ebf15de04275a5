/*
 * syntax - field values that are read by their whole grammar.
 *
 * Slow path; callers try the common spelling first. Values come without the
 * white space around them.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_SYNTAX_H
#define HCS_HTTP_SYNTAX_H

#include <stdbool.h>

/* Whether [p, end) is a list of transfer codings (RFC 9112, 7) in which the
 * last one, and only the last one, is "chunked". A list with empty members is
 * refused, because recipients read such lists in different ways. */
bool hcs_syntax_ends_in_chunked(const char *p, const char *end);

/* Whether [p, end) is a media type (RFC 9110, 8.3.1) of JSON: application/json,
 * or a type whose subtype ends in "+json" (RFC 6839), with any parameters. */
bool hcs_syntax_is_json(const char *p, const char *end);

/* Whether [p, end) is a token, such as the name of a field (RFC 9110,
 * 5.6.2). */
bool hcs_syntax_is_token(const char *p, const char *end);

/* Whether [p, end) is a field value (RFC 9110, 5.5): it has no control bytes
 * but HTAB, and no white space around it. */
bool hcs_syntax_is_field_value(const char *p, const char *end);

enum hcs_tags {
    HCS_TAGS_ABSENT, /* no field of that name */
    HCS_TAGS_LIST,   /* a list of entity tags, which may be empty */
    HCS_TAGS_ANY,    /* "*" */
    HCS_TAGS_BAD,    /* neither a list nor "*" */
};

/* Reads the value of If-Match or If-None-Match (RFC 9110, 8.8.3 and 13.1).
 * Never HCS_TAGS_ABSENT. */
enum hcs_tags hcs_syntax_tags(const char *p, const char *end);

#endif
