/* JSON: our validation against that of others, and what we write as JSON
 * against our validation.
 *
 * The input is the text. One that starts with "%" is percent-encoded behind
 * it, so that bytes that cannot be seen can stand in a seed.
 *
 * The oracle is Jansson, which is strict; where it was not found, only cJSON,
 * which is not, says what has to be taken. They differ from us in this, and in
 * nothing else:
 *
 *   - Jansson refuses numbers that fit no double, and NUL in a name, and takes
 *     a NUL byte behind a value for nothing, or for the end;
 *   - Jansson nests 2048 deep and cJSON 1000, we 512;
 *   - some cJSON read no more than 63 characters of a number. */
#include "fuzz.h"

#include "base/json.h"
#include "base/json_escape.h"
#include "base/json_members.h"
#include "base/text.h"
#include "http/problem.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#if defined(HCS_FUZZ_JANSSON)
#include <jansson.h>
#endif

enum { INPUT_MAX = 64 * 1024, CJSON_DIGITS_MAX = 63 };

/* --- The verdict and its place. */

/* What stands before the wrong byte is the start of some valid text, and no
 * text goes on with that byte. */
static void check_place(
    const char *text, size_t length, struct hcs_json_result result)
{
    struct hcs_json_result before;
    struct hcs_json_result upto;

    switch (result.error) {
    case HCS_JSON_OK:
    case HCS_JSON_EMPTY:
    case HCS_JSON_TRUNCATED:
        fuzz_check(result.offset == length, "%s, at %zu of %zu",
            hcs_json_error_text(result.error), result.offset, length);
        return;
    case HCS_JSON_BOM: /* known only with its third byte */
        fuzz_check(result.offset == 0, "a BOM in the middle");
        return;
    case HCS_JSON_SYNTAX:
    case HCS_JSON_NUMBER:
    case HCS_JSON_STRING:
    case HCS_JSON_UTF8:
    case HCS_JSON_SURROGATE:
    case HCS_JSON_TRAILING:
    case HCS_JSON_DEPTH:
        break;
    }
    fuzz_check(result.offset < length, "wrong behind the end");
    before = hcs_json_validate(text, result.offset);
    fuzz_check(before.error == HCS_JSON_OK || before.error == HCS_JSON_EMPTY ||
                   before.error == HCS_JSON_TRUNCATED,
        "wrong at %zu, and before: %s", result.offset,
        hcs_json_error_text(before.error));
    upto = hcs_json_validate(text, result.offset + 1);
    fuzz_check(upto.error != HCS_JSON_OK && upto.error != HCS_JSON_EMPTY &&
                   upto.error != HCS_JSON_TRUNCATED &&
                   upto.offset == result.offset,
        "wrong at %zu (%s), but what ends there is: %s, at %zu", result.offset,
        hcs_json_error_text(result.error), hcs_json_error_text(upto.error),
        upto.offset);
}

/* What was found good stays good without its white space around it, and as an
 * element of an array. */
static void check_wrapped(const char *text, size_t length)
{
    char *wrapped = malloc(length + 4);
    struct hcs_json_result result;

    fuzz_check(wrapped != NULL, "no memory");
    wrapped[0] = '[';
    memcpy(wrapped + 1, text, length);
    memcpy(wrapped + 1 + length, ",1]", 3);
    result = hcs_json_validate(wrapped, length + 4);
    fuzz_check(result.error == HCS_JSON_OK || result.error == HCS_JSON_DEPTH,
        "good alone, and in an array: %s", hcs_json_error_text(result.error));
    free(wrapped);
}

/* --- cJSON takes all that we take. */

static bool has_long_number(const char *text, size_t length)
{
    size_t run = 0;

    for (size_t i = 0; i < length; i++) {
        run = text[i] != '\0' && strchr("0123456789+-.eE", text[i]) != NULL
                  ? run + 1
                  : 0;
        if (run > CJSON_DIGITS_MAX) {
            return true;
        }
    }
    return false;
}

static void check_cjson(const char *text, size_t length)
{
    cJSON *tree;

    if (has_long_number(text, length)) {
        return;
    }
    tree = cJSON_ParseWithLengthOpts(text, length, NULL, 0);
    fuzz_check(tree != NULL, "valid, and cJSON refuses it");
    fuzz_check(cJSON_IsObject(tree) == hcs_json_is_object(text, length),
        "an object to cJSON or to us alone");
    cJSON_Delete(tree);
}

/* --- Jansson. */

#if defined(HCS_FUZZ_JANSSON)
enum { FLAGS = JSON_DECODE_ANY | JSON_ALLOW_NUL };

static bool is_known_difference(enum json_error_code code)
{
    return code == json_error_numeric_overflow ||
           code == json_error_null_byte_in_key;
}

/* Each member that Jansson found in an object without repeated names. */
static void check_members(const char *text, size_t length, json_t *object)
{
    const char *name;
    json_t *theirs;

    json_object_foreach(object, name, theirs)
    {
        const char *value = NULL;
        size_t value_length = 0;
        json_error_t error;
        json_t *ours;

        fuzz_check(hcs_json_member(text, length, name, &value, &value_length),
            "a member is there and not found: %s", name);
        fuzz_check(value >= text && value_length > 0 &&
                       value + value_length <= text + length,
            "a member that is not in the text");
        fuzz_check(hcs_json_validate(value, value_length).error == HCS_JSON_OK,
            "the raw text of a member is not valid: %s", name);
        ours = json_loadb(value, value_length, FLAGS, &error);
        fuzz_check(ours != NULL && json_equal(ours, theirs),
            "another value of a member: %s", name);
        json_decref(ours);
    }
}

static void check_jansson(
    const char *text, size_t length, struct hcs_json_result result)
{
    json_error_t error;
    json_t *value = json_loadb(text, length, FLAGS, &error);

    if (result.error == HCS_JSON_OK) {
        fuzz_check(
            value != NULL || is_known_difference(json_error_code(&error)),
            "we say it is valid, Jansson says: %s", error.text);
    } else {
        bool at_nul = result.offset < length && text[result.offset] == '\0';

        fuzz_check(value == NULL || result.error == HCS_JSON_DEPTH || at_nul,
            "Jansson says it is valid, we say: %s, at %zu",
            hcs_json_error_text(result.error), result.offset);
    }
    json_decref(value);
    if (result.error != HCS_JSON_OK) {
        return;
    }
    value = json_loadb(text, length, FLAGS | JSON_REJECT_DUPLICATES, &error);
    if (value != NULL) {
        fuzz_check(json_is_object(value) == hcs_json_is_object(text, length),
            "an object to Jansson or to us alone");
        if (json_is_object(value)) {
            check_members(text, length, value);
        }
    }
    json_decref(value);
}
#else
static void check_jansson(
    const char *text, size_t length, struct hcs_json_result result)
{
    (void)text;
    (void)length;
    (void)result;
}
#endif

/* --- Members, without an oracle: found or not, what is given is a value. */

static void check_member(const char *text, size_t length, const char *name)
{
    const char *value = NULL;
    size_t value_length = 0;
    bool found = hcs_json_member(text, length, name, &value, &value_length);
    struct hcs_json_members members;
    const char *noted = NULL;
    size_t noted_length = 0;

    (void)hcs_json_validate_members(text, length, &members);
    fuzz_check(hcs_json_noted_member(&members, text, length, name, &noted,
                   &noted_length) == found &&
                   noted == value && noted_length == value_length,
        "what was noted of a member is not what is found");
    if (found) {
        fuzz_check(hcs_json_is_object(text, length), "a member of no object");
        fuzz_check(value >= text && value_length > 0 &&
                       value + value_length <= text + length,
            "a member that is not in the text");
        fuzz_check(hcs_json_validate(value, value_length).error == HCS_JSON_OK,
            "the raw text of a member is not valid");
    }
}

/* --- A problem document says what it was given. */

/* How many of the bytes are one character, which is no ASCII, by what the
 * validation lets stand in a string; 0: none. */
static size_t character(const char *text, size_t length)
{
    char quoted[6] = {'"'};

    for (size_t bytes = 2; bytes <= 4 && bytes <= length; bytes++) {
        memcpy(quoted + 1, text, bytes);
        quoted[bytes + 1] = '"';
        if ((uint8_t)text[bytes - 1] < 0x80) {
            return 0;
        }
        if (hcs_json_validate(quoted, bytes + 2).error == HCS_JSON_OK) {
            return bytes;
        }
    }
    return 0;
}

/* What can be read stays, and the rest is a question mark a piece. */
static void check_detail(const char *text, size_t length, const char *said)
{
    for (size_t i = 0; i < length;) {
        size_t bytes = 1;
        bool readable = text[i] >= ' ' && text[i] <= '~';

        if ((uint8_t)text[i] >= 0x80) {
            bool valid;

            bytes = character(text + i, length - i);
            readable = bytes > 0;
            if (!readable) {
                bytes = hcs_text_utf8(
                    (const unsigned char *)text + i, length - i, &valid);
            }
        }
        if (readable) {
            fuzz_check(strncmp(said, text + i, bytes) == 0,
                "byte %02x and its like became %02x",
                (unsigned)(uint8_t)text[i], (unsigned)(uint8_t)*said);
            said += bytes;
        } else {
            fuzz_check(*said == '?', "byte %02x became %02x",
                (unsigned)(uint8_t)text[i], (unsigned)(uint8_t)*said);
            said++;
        }
        i += bytes;
    }
    fuzz_check(*said == '\0', "a detail with more than was given");
}

static void check_problem(const char *text, size_t length)
{
    struct hcs_problem problem = {
        .reason = HCS_REASON_INVALID_JOB,
        .detail = text,
        .detail_length = length,
        .retry_after_ms = length % 3,
        .queue_depth = length,
    };
    char *page = malloc(HCS_PROBLEM_MAX);
    size_t shown =
        length < HCS_PROBLEM_DETAIL_MAX ? length : HCS_PROBLEM_DETAIL_MAX;
    const cJSON *detail;
    cJSON *tree;
    size_t page_length;

    fuzz_check(page != NULL, "no memory");
    page_length = hcs_problem_write(page, &problem);
    fuzz_check(
        page_length <= HCS_PROBLEM_MAX, "a document of %zu bytes", page_length);
    fuzz_check(hcs_json_validate(page, page_length).error == HCS_JSON_OK,
        "a problem document that is no JSON");
    tree = cJSON_ParseWithLength(page, page_length);
    detail = cJSON_GetObjectItemCaseSensitive(tree, "detail");
    fuzz_check(cJSON_IsString(detail), "a problem document without detail");
    check_detail(text, shown, detail->valuestring);
    cJSON_Delete(tree);
    free(page);
}

/* --- */

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t decode(char *out, const uint8_t *data, size_t size)
{
    size_t used = 0;
    bool encoded = size > 0 && data[0] == '%';

    for (size_t i = encoded ? 1 : 0; i < size; i++) {
        if (encoded && data[i] == '%' && size - i > 2 &&
            hex(data[i + 1]) >= 0 && hex(data[i + 2]) >= 0) {
            out[used++] = (char)(hex(data[i + 1]) * 16 + hex(data[i + 2]));
            i += 2;
        } else {
            out[used++] = (char)data[i];
        }
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char decoded[INPUT_MAX];
    struct hcs_json_result result;
    size_t length;
    char *text;

    if (size > INPUT_MAX) {
        return 0;
    }
    length = decode(decoded, data, size);
    text = malloc(length > 0 ? length : 1); /* to its last byte */
    fuzz_check(text != NULL, "no memory");
    memcpy(text, decoded, length);

    result = hcs_json_validate(text, length);
    check_place(text, length, result);
    check_jansson(text, length, result);
    if (result.error == HCS_JSON_OK) {
        check_wrapped(text, length);
        check_cjson(text, length);
        check_member(text, length, "data");
        check_member(text, length, "");
    }
    check_problem(text, length);
    free(text);
    return 0;
}
