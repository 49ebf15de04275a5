/*
 * json - strict RFC 8259 validation, and raw access to members.
 *
 * cJSON takes numbers like 01, raw control bytes, bad UTF-8 and trailing text,
 * keeps numbers as doubles and cuts strings at \u0000. So every body is
 * validated here first, and values that pass through are spliced as raw text.
 *
 * Owns:    nothing; results point into the caller's text.
 * Threads: any; no state.
 * Waits:   never; one pass over the text, no recursion, no allocation.
 */
#ifndef HCS_BASE_JSON_H
#define HCS_BASE_JSON_H

#include "hcs/json.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    HCS_JSON_DEPTH_MAX = 512
}; /* nested arrays and objects; below cJSON's
                                      own limit of 1000 */

enum hcs_json_error {
    HCS_JSON_OK = 0,
    HCS_JSON_EMPTY,     /* nothing but white space */
    HCS_JSON_SYNTAX,    /* unexpected byte */
    HCS_JSON_NUMBER,    /* not the number grammar of section 6 */
    HCS_JSON_STRING,    /* raw control byte, or a bad escape */
    HCS_JSON_UTF8,      /* not UTF-8 (overlong, surrogate, > U+10FFFF) */
    HCS_JSON_SURROGATE, /* \uD800 escape without its other half */
    HCS_JSON_BOM,       /* starts with a byte order mark (section 8.1) */
    HCS_JSON_TRAILING,  /* something after the value */
    HCS_JSON_DEPTH,     /* nested deeper than HCS_JSON_DEPTH_MAX */
    HCS_JSON_TRUNCATED, /* ends inside a value */
};

struct hcs_json_result {
    enum hcs_json_error error;
    size_t offset; /* of the first byte that is wrong: the bytes before it are
                      the start of some valid text. The length when the end
                      came too early, or nothing is wrong. */
};

/* Validates the whole text as one JSON value with optional white space around
 * it. */
struct hcs_json_result hcs_json_validate(const char *text, size_t length);

/* Where the members of the outermost object are, as validation came across
 * them; what needs them need not pass over the text again. */
enum { HCS_JSON_MEMBERS_MAX = 8 }; /* that are noted, the first ones */

struct hcs_json_members {
    size_t count; /* of all */
    struct hcs_json_place {
        size_t name; /* offset of its first byte, behind the quote */
        size_t name_length;
        size_t value; /* offset; white space around it left out */
        size_t value_length;
    } at[HCS_JSON_MEMBERS_MAX];
};

/* The same, and notes the members; of no use where the text is not valid. */
struct hcs_json_result hcs_json_validate_members(
    const char *text, size_t length, struct hcs_json_members *members);

/* A few words for people, without the offset: "something follows the value".
 * Never NULL. */
const char *hcs_json_error_text(enum hcs_json_error error);

/* As hcs_json_member, of a text whose members were noted. */
bool hcs_json_noted_member(const struct hcs_json_members *members,
    const char *text, size_t length, const char *name, const char **value,
    size_t *value_length);

/* --- Writing strings. */

enum { HCS_JSON_ESCAPE_MAX = 6 };

/* How many of the bytes stand in a string as they are. */
size_t hcs_json_plain(const char *text, size_t length);

/* What stands for the first character of a text where nothing is plain: the
 * bytes in out, *written of them. What is not UTF-8 becomes U+FFFD. Gives how
 * many bytes of the text that was. */
size_t hcs_json_escape(const char *text, size_t length,
    char out[HCS_JSON_ESCAPE_MAX], size_t *written);

/* True when the validated text is an object. */
bool hcs_json_is_object(const char *text, size_t length);

#endif
