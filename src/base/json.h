/*
 * json - strict validation of JSON text (RFC 8259).
 *
 * cJSON accepts numbers like 01, bare control bytes, bad UTF-8 and text behind
 * the value. It keeps numbers as doubles, and ends strings at \u0000. So each
 * body is validated here first, and a value that is passed on is copied as raw
 * text.
 *
 * Owns:    nothing; results point into the caller's text.
 * Threads: any; no state.
 * Waits:   never; one pass over the text, no recursion, no allocation.
 */
#ifndef HCS_BASE_JSON_H
#define HCS_BASE_JSON_H

#include "hcs/json.h"

#include <stddef.h>

struct hcs_json_members;

/* Of nested arrays and objects. Below cJSON's own limit of 1000. */
enum { HCS_JSON_DEPTH_MAX = 512 };

enum hcs_json_error {
    HCS_JSON_OK = 0,
    HCS_JSON_EMPTY,     /* only white space, or nothing */
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
    size_t offset; /* of the first wrong byte: the bytes before it are the
                      start of a valid text. The length of the text, if it ends
                      too early or nothing is wrong. */
};

/* Validates the whole text: one JSON value, with optional white space around
 * it. */
struct hcs_json_result hcs_json_validate(const char *text, size_t length);

/* As hcs_json_validate, and notes the members of the outermost object (see
 * json_members.h). They mean nothing if the text is not valid. */
struct hcs_json_result hcs_json_validate_members(
    const char *text, size_t length, struct hcs_json_members *members);

/* A few words for people, without the offset: "something follows the value".
 * Never NULL. */
const char *hcs_json_error_text(enum hcs_json_error error);

#endif
