#include "base/json.h"

#include "base/json_members.h"
#include "base/json_scan.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct reader {
    const uint8_t *begin;
    const uint8_t *end;
    const uint8_t *wrong; /* where the error was found */
    enum hcs_json_error error;
    struct hcs_json_members *members; /* to fill in, or NULL */
    struct hcs_json_member_at *open;  /* the noted member whose value is read */
};

/* The functions pass_... read one part of the text each. They return the
 * address behind that part, or NULL after a call of refuse. */

/* Every refusal is made here. At the end of the text the error is always that
 * the text ends too early. */
static const uint8_t *refuse(
    struct reader *r, const uint8_t *at, enum hcs_json_error error)
{
    r->error = at == r->end ? HCS_JSON_TRUNCATED : error;
    r->wrong = at;
    return NULL;
}

/* Marks the bytes that are not plain bytes of a string: a quote, a backslash, a
 * control byte, a byte that is not ASCII. The zeros that hcs_scan_next_word
 * puts behind the end are control bytes. A byte that is not ASCII has its top
 * bit set, so the usual "& ~word" of a search for zeros is not needed. */
static uint64_t mark_special(uint64_t word)
{
    uint64_t quotes = (word ^ HCS_SCAN_EACH('"')) - HCS_SCAN_EACH(0x01);
    uint64_t slashes = (word ^ HCS_SCAN_EACH('\\')) - HCS_SCAN_EACH(0x01);
    uint64_t controls = word - HCS_SCAN_EACH(0x20);

    return (quotes | slashes | controls | word) & HCS_SCAN_EACH(0x80);
}

/* Skips plain bytes of a string, sixteen at a time, as far as it can. For long
 * strings; most strings are short, and there one word at a time is faster. */
static const uint8_t *skip_plain(const uint8_t *at, const uint8_t *end)
{
#ifdef __SSE2__
    const ptrdiff_t step = sizeof(__m128i);

    while (end - at >= step) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
        __m128i slashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
        /* Bytes that are not ASCII are negative here, so below the space
         * too. */
        __m128i others = _mm_cmplt_epi8(bytes, _mm_set1_epi8(' '));
        int mask = _mm_movemask_epi8(
            _mm_or_si128(_mm_or_si128(quotes, slashes), others));

        if (mask != 0) {
            return at + __builtin_ctz((unsigned)mask);
        }
        at += step;
    }
#else
    (void)end;
#endif
    return at;
}

static const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end)
{
    while (at < end && hcs_scan_is_digit(*at)) {
        at++;
    }
    return at;
}

/* One sequence of two to four bytes: RFC 3629, section 4. */
static const uint8_t *pass_utf8(struct reader *r, const uint8_t *at)
{
    uint8_t lead = *at;
    uint8_t low = 0x80; /* bounds of the second byte */
    uint8_t high = 0xbf;
    int more;

    if (lead < 0xc2 || lead > 0xf4) {
        return refuse(r, at, HCS_JSON_UTF8);
    }
    more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (lead == 0xe0) {
        low = 0xa0; /* below: overlong */
    } else if (lead == 0xed) {
        high = 0x9f; /* above: surrogates */
    } else if (lead == 0xf0) {
        low = 0x90; /* below: overlong */
    } else if (lead == 0xf4) {
        high = 0x8f; /* above: no code points */
    }
    for (at++; more > 0; more--, at++) {
        if (at == r->end || *at < low || *at > high) {
            return refuse(r, at, HCS_JSON_UTF8);
        }
        low = 0x80;
        high = 0xbf;
    }
    return at;
}

static bool is_hex(uint8_t byte)
{
    return hcs_scan_is_digit(byte) ||
           ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f');
}

static const uint8_t *pass_hex4(struct reader *r, const uint8_t *at)
{
    for (int i = 0; i < 4; i++, at++) {
        if (at == r->end || !is_hex(*at)) {
            return refuse(r, at, HCS_JSON_STRING);
        }
    }
    return at;
}

/* The second escape of a surrogate pair. The first byte that cannot be part of
 * one is the wrong one. */
static const uint8_t *pass_low_surrogate(struct reader *r, const uint8_t *at)
{
    if (!hcs_scan_is_at(at, r->end, '\\')) {
        return refuse(r, at, HCS_JSON_SURROGATE);
    }
    at++;
    if (!hcs_scan_is_at(at, r->end, 'u')) {
        return refuse(r, at, HCS_JSON_SURROGATE);
    }
    at++;
    if (at == r->end || (*at | 0x20) != 'd') {
        return refuse(r, at, HCS_JSON_SURROGATE);
    }
    if (at + 1 == r->end || !is_hex(at[1]) || hcs_scan_hex_value(at[1]) < 0xc) {
        return refuse(r, at + 1, HCS_JSON_SURROGATE);
    }
    return pass_hex4(r, at);
}

/* The digits behind the "u" of an escape. The digits d8 to db start the first
 * half of a surrogate pair, dc to df the second half. */
static const uint8_t *pass_code_unit(struct reader *r, const uint8_t *at)
{
    unsigned second = 0; /* the digit behind a "d" */
    const uint8_t *behind;

    if (r->end - at >= 2 && (*at | 0x20) == 'd' && is_hex(at[1])) {
        second = hcs_scan_hex_value(at[1]);
    }
    if (second >= 0xc) {
        /* The second half comes first. */
        return refuse(r, at + 1, HCS_JSON_SURROGATE);
    }
    behind = pass_hex4(r, at);
    if (behind != NULL && second >= 0x8) {
        return pass_low_surrogate(r, behind);
    }
    return behind;
}

/* An escape, from its backslash. */
static const uint8_t *pass_escape(struct reader *r, const uint8_t *at)
{
    at++;
    if (at == r->end) {
        return refuse(r, at, HCS_JSON_STRING);
    }
    switch (*at) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return at + 1;
    case 'u':
        return pass_code_unit(r, at + 1);
    default:
        return refuse(r, at, HCS_JSON_STRING);
    }
}

/* The rest of a string, from behind its opening quote. */
static const uint8_t *pass_string(struct reader *r, const uint8_t *at)
{
    const uint8_t *begin = r->begin;
    const uint8_t *end = r->end;

    while (at != NULL) {
        uint64_t marks = mark_special(hcs_scan_next_word(begin, at, end));

        if (marks == 0) {
            at = skip_plain(at + HCS_SCAN_WORD, end);
            continue;
        }
        at += hcs_scan_first_mark(marks);
        if (hcs_scan_is_at(at, end, '"')) {
            return at + 1;
        }
        if (hcs_scan_is_at(at, end, '\\')) {
            at = pass_escape(r, at);
        } else if (at == end || *at < 0x80) {
            return refuse(r, at, HCS_JSON_STRING);
        }
        while (at != NULL && at < end && *at >= 0x80) {
            at = pass_utf8(r, at);
        }
    }
    return NULL;
}

/* Section 6. Does not look at the byte behind the number. */
static const uint8_t *pass_number(struct reader *r, const uint8_t *at)
{
    const uint8_t *end = r->end;

    if (*at == '-') {
        at++;
    }
    if (at == end || !hcs_scan_is_digit(*at)) {
        return refuse(r, at, HCS_JSON_NUMBER);
    }
    at = *at == '0' ? at + 1 : skip_digits(at, end);
    if (hcs_scan_is_at(at, end, '.')) {
        at++;
        if (at == end || !hcs_scan_is_digit(*at)) {
            return refuse(r, at, HCS_JSON_NUMBER);
        }
        at = skip_digits(at, end);
    }
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        if (at < end && (*at == '+' || *at == '-')) {
            at++;
        }
        if (at == end || !hcs_scan_is_digit(*at)) {
            return refuse(r, at, HCS_JSON_NUMBER);
        }
        at = skip_digits(at, end);
    }
    return at;
}

static const uint8_t *pass_literal(
    struct reader *r, const uint8_t *at, const char *literal)
{
    for (; *literal != '\0'; literal++, at++) {
        if (!hcs_scan_is_at(at, r->end, (uint8_t)*literal)) {
            return refuse(r, at, HCS_JSON_SYNTAX);
        }
    }
    return at;
}

static const uint8_t *pass_scalar(struct reader *r, const uint8_t *at)
{
    if (at == r->end) {
        return refuse(r, at, HCS_JSON_SYNTAX);
    }
    switch (*at) {
    case '"':
        return pass_string(r, at + 1);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return pass_number(r, at);
    case 't':
        return pass_literal(r, at, "true");
    case 'f':
        return pass_literal(r, at, "false");
    case 'n':
        return pass_literal(r, at, "null");
    case '+': /* other languages let a number start with these two */
    case '.':
        return refuse(r, at, HCS_JSON_NUMBER);
    default:
        return refuse(r, at, HCS_JSON_SYNTAX);
    }
}

/* Notes a member of the outermost object: its name has been read, and its value
 * comes next. */
static void note_name(struct reader *r, const uint8_t *name,
    const uint8_t *name_end, const uint8_t *value)
{
    struct hcs_json_members *members = r->members;

    if (members != NULL && members->count++ < HCS_JSON_MEMBERS_MAX) {
        r->open = &members->at[members->count - 1];
        r->open->name = (size_t)(name - r->begin);
        r->open->name_length = (size_t)(name_end - name);
        r->open->value = (size_t)(value - r->begin);
    }
}

/* The value of the open member ends here. The value may also be an element of
 * an outermost array; then no member is open. */
static void note_value(struct reader *r, const uint8_t *end)
{
    if (r->open != NULL) {
        r->open->value_length = (size_t)(end - r->begin) - r->open->value;
        r->open = NULL;
    }
}

/* The name of a member, its colon, and the white space before its value. */
static const uint8_t *pass_name(
    struct reader *r, const uint8_t *at, bool outermost)
{
    const uint8_t *name;
    const uint8_t *name_end;

    if (!hcs_scan_is_at(at, r->end, '"')) {
        return refuse(r, at, HCS_JSON_SYNTAX);
    }
    name = at + 1;
    at = pass_string(r, name);
    if (at == NULL) {
        return NULL;
    }
    name_end = at - 1;
    at = hcs_scan_skip_space(at, r->end);
    if (!hcs_scan_is_at(at, r->end, ':')) {
        return refuse(r, at, HCS_JSON_SYNTAX);
    }
    at = hcs_scan_skip_space(at + 1, r->end);
    if (outermost) {
        note_name(r, name, name_end, at);
    }
    return at;
}

static bool is_letter(uint8_t byte)
{
    return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

/* Refuses a byte that may not follow a value. Only numbers end in a digit, so
 * behind a digit the byte is most likely part of a bad number: 01, 1.2.3,
 * 0x10. */
static const uint8_t *refuse_after_value(
    struct reader *r, const uint8_t *at, enum hcs_json_error error)
{
    if (at < r->end && hcs_scan_is_digit(at[-1]) &&
        (hcs_scan_is_digit(*at) || is_letter(*at) || *at == '.' || *at == '+' ||
            *at == '-')) {
        error = HCS_JSON_NUMBER;
    }
    return refuse(r, at, error);
}

/* The arrays and objects around a value: a bit for each, set for objects. */
struct nest {
    unsigned depth;
    uint64_t objects[HCS_JSON_DEPTH_MAX / 64];
};

static void nest_push(struct nest *nest, bool object)
{
    uint64_t *word = &nest->objects[nest->depth / 64];
    unsigned place = nest->depth % 64;

    *word &= ~(UINT64_C(1) << place); /* may be left from an earlier nest */
    *word |= (uint64_t)object << place;
    nest->depth++;
}

/* The byte that closes the innermost array or object; 0 when there is none. */
static uint8_t nest_closer(const struct nest *nest)
{
    unsigned top = nest->depth - 1;

    if (nest->depth == 0) {
        return 0;
    }
    return (nest->objects[top / 64] >> (top % 64) & 1) != 0 ? '}' : ']';
}

/* One value with all its nested values. */
static const uint8_t *pass_value(struct reader *r, const uint8_t *at)
{
    const uint8_t *end = r->end;
    struct nest nest = {0};
    uint8_t closer = 0; /* as nest_closer returns it */

    for (;;) {
        if (closer == '}') {
            at = pass_name(r, at, nest.depth == 1);
            if (at == NULL) {
                return NULL;
            }
        }
        if (hcs_scan_is_at(at, end, '{') || hcs_scan_is_at(at, end, '[')) {
            if (nest.depth == HCS_JSON_DEPTH_MAX) {
                return refuse(r, at, HCS_JSON_DEPTH);
            }
            nest_push(&nest, *at == '{');
            closer = *at == '{' ? '}' : ']';
            at = hcs_scan_skip_space(at + 1, end);
            if (!hcs_scan_is_at(at, end, closer)) {
                continue; /* its first value */
            }
        } else {
            at = pass_scalar(r, at);
            if (at == NULL) {
                return NULL;
            }
        }

        /* A value has ended. Close the arrays and objects that end with it. */
        while (nest.depth > 0) {
            if (nest.depth == 1) {
                note_value(r, at);
            }
            at = hcs_scan_skip_space(at, end);
            if (!hcs_scan_is_at(at, end, closer)) {
                break;
            }
            at++;
            nest.depth--;
            closer = nest_closer(&nest);
        }
        if (nest.depth == 0) {
            return at;
        }
        if (!hcs_scan_is_at(at, end, ',')) {
            return refuse_after_value(r, at, HCS_JSON_SYNTAX);
        }
        at = hcs_scan_skip_space(at + 1, end);
    }
}

struct hcs_json_result hcs_json_validate(const char *text, size_t length)
{
    return hcs_json_validate_members(text, length, NULL);
}

struct hcs_json_result hcs_json_validate_members(
    const char *text, size_t length, struct hcs_json_members *members)
{
    static const uint8_t order_mark[] = {0xef, 0xbb, 0xbf};
    struct hcs_json_result result = {HCS_JSON_OK, length};
    struct reader r;
    const uint8_t *at;

    r.members = members;
    r.open = NULL;
    if (members != NULL) {
        members->count = 0;
    }
    if (length == 0) { /* text may be NULL, and NULL + 0 is undefined */
        result.error = HCS_JSON_EMPTY;
        return result;
    }
    r.begin = (const uint8_t *)text;
    r.end = r.begin + length;
    at = hcs_scan_skip_space(r.begin, r.end);
    if (at == r.end) {
        result.error = HCS_JSON_EMPTY;
        return result;
    }
    if (length >= sizeof(order_mark) &&
        memcmp(text, order_mark, sizeof(order_mark)) == 0) {
        result.error = HCS_JSON_BOM;
        result.offset = 0;
        return result;
    }
    at = pass_value(&r, at);
    if (at != NULL) {
        at = hcs_scan_skip_space(at, r.end);
        if (at == r.end) {
            return result;
        }
        (void)refuse_after_value(&r, at, HCS_JSON_TRAILING);
    }
    result.error = r.error;
    result.offset = (size_t)(r.wrong - r.begin);
    return result;
}

bool hcs_json_is_valid(const char *text, size_t length)
{
    return hcs_json_validate(text, length).error == HCS_JSON_OK;
}

const char *hcs_json_error_text(enum hcs_json_error error)
{
    switch (error) {
    case HCS_JSON_OK:
        return "the text is valid JSON";
    case HCS_JSON_EMPTY:
        return "there is no value, only white space or nothing at all";
    case HCS_JSON_SYNTAX:
        return "a byte that JSON does not allow in this place";
    case HCS_JSON_NUMBER:
        return "a number needs digits in front of and behind its point and in "
               "its exponent, and may not start with + or a needless 0";
    case HCS_JSON_STRING:
        return "a string may not hold a bare control byte, or a backslash that "
               "starts no escape of JSON";
    case HCS_JSON_UTF8:
        return "a string holds bytes that are not UTF-8";
    case HCS_JSON_SURROGATE:
        return "a \\u escape is one half of a surrogate pair, and the other "
               "half is missing";
    case HCS_JSON_BOM:
        return "the text may not start with a byte order mark";
    case HCS_JSON_TRAILING:
        return "something follows the value";
    case HCS_JSON_DEPTH:
        return "arrays and objects are nested too deep";
    case HCS_JSON_TRUNCATED:
        return "the text ends before its value does";
    }
    return "the text is not valid JSON";
}
