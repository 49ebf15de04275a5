/*
 * hcs/json.h - JSON as text, for handlers that pass values on as they came.
 *
 * A tree (cJSON) keeps numbers as doubles and ends texts at their first NUL.
 * What is only passed on, compared or stored is better left as it is: these
 * functions find and turn texts, and build nothing.
 *
 * Owns:    nothing; results point into the caller's text.
 * Threads: any; no state.
 * Waits:   never; no recursion, no allocation.
 */
#ifndef HCS_JSON_H
#define HCS_JSON_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One JSON value with optional white space around it, as strict as RFC 8259. */
bool hcs_json_is_valid(const char *text, size_t length);

/* --- Of a text that is valid. */

/* The raw text of a top-level object's member, without the white space around
 * it. The first member of that name wins, as in cJSON; names are compared
 * after unescaping, and case matters. False when text is no object or has no
 * such member. */
bool hcs_json_member(const char *text, size_t length, const char *name,
    const char **value, size_t *value_length);

/* A member of an object: its name as it stands between the quotes, escapes and
 * all, and its value's raw text. */
struct hcs_json_pair {
    const char *name;
    size_t name_length;
    const char *value;
    size_t value_length;
};

/* The next member of the object; start with a pair that is all zero. False
 * behind the last one, and when text is no object. */
bool hcs_json_next(const char *text, size_t length, struct hcs_json_pair *pair);

/* A string value (its quotes included) or a name (without) as the UTF-8 that it
 * means, which may hold NULs; not terminated. out: room for length bytes. Gives
 * how many were written. */
size_t hcs_json_unescape(const char *text, size_t length, char *out);

#ifdef __cplusplus
}
#endif

#endif
