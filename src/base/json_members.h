/*
 * json_members - raw access to the members of a valid JSON object.
 *
 * Implements hcs_json_member, hcs_json_next and hcs_json_unescape of
 * hcs/json.h, too.
 *
 * Owns:    nothing; results point into the caller's text.
 * Threads: any; no state.
 * Waits:   never; no recursion, no allocation.
 */
#ifndef HCS_BASE_JSON_MEMBERS_H
#define HCS_BASE_JSON_MEMBERS_H

#include "hcs/json.h"

#include <stdbool.h>
#include <stddef.h>

enum { HCS_JSON_MEMBERS_MAX = 8 }; /* only the first ones are noted */

/* Where the members of the outermost object are. hcs_json_validate_members
 * notes them, so that a look for one need not pass over the text again. */
struct hcs_json_members {
    size_t count; /* of all members, also of those that are not noted */
    struct hcs_json_member_at {
        size_t name; /* offset of its first byte, behind the quote */
        size_t name_length;
        size_t value; /* offset, behind the white space */
        size_t value_length;
    } at[HCS_JSON_MEMBERS_MAX];
};

/* As hcs_json_member, for a text whose members were noted. */
bool hcs_json_noted_member(const struct hcs_json_members *members,
    const char *text, size_t length, const char *name, const char **value,
    size_t *value_length);

/* Whether the valid text is an object. */
bool hcs_json_is_object(const char *text, size_t length);

#endif
