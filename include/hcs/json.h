/*
 * hcs/json.h - JSON as text, for handlers that pass values on unchanged.
 *
 * A tree (cJSON) turns numbers into doubles, and texts end at their first NUL
 * there. A value that is only passed on, compared or stored is better left as
 * text. These functions find values in a text; they build no tree.
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

/* Whether text is one JSON value (RFC 8259, read strictly), which may have
 * white space around it. */
bool hcs_json_is_valid(const char *text, size_t length);

/* --- The text of the functions below must be valid JSON. */

/* Finds a member of an object: the raw text of its value, without the white
 * space around it. If several members have that name, it is the first one, as
 * in cJSON. Names are compared after unescaping, and case matters. False if
 * text is no object or has no such member. */
bool hcs_json_member(const char *text, size_t length, const char *name,
    const char **value, size_t *value_length);

/* A member of an object: the raw text between the quotes of its name, and the
 * raw text of its value. */
struct hcs_json_pair {
    const char *name;
    size_t name_length;
    const char *value;
    size_t value_length;
};

/* Moves pair to the next member of the object. Before the first call, pair is
 * all zero. False behind the last member, and if text is no object. */
bool hcs_json_next(const char *text, size_t length, struct hcs_json_pair *pair);

/* Writes a string value (with its quotes) or a name (without quotes) as UTF-8,
 * with its escapes resolved. The result may hold NULs and does not end in one.
 * out has room for length bytes. Returns how many bytes it wrote. */
size_t hcs_json_unescape(const char *text, size_t length, char *out);

#ifdef __cplusplus
}
#endif

#endif
