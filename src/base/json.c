#include "base/json.h"

#include "base/text.h"

#include <assert.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* A byte in each of the eight places of a word. */
#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

enum { WORD_BYTES = 8 };

struct reader {
    const uint8_t *begin;
    const uint8_t *end;
    const uint8_t *wrong; /* where error was found */
    enum hcs_json_error error;
    struct hcs_json_members *members; /* to be noted; NULL if not */
    struct hcs_json_place *open;      /* the one whose value is being passed */
};

/* Every refusal goes through here. Where the text ends nothing is wrong but
 * the end, whatever was looked for. */
static const uint8_t *refuse(
    struct reader *r, const uint8_t *at, enum hcs_json_error error)
{
    r->error = at == r->end ? HCS_JSON_TRUNCATED : error;
    r->wrong = at;
    return NULL;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_letter(uint8_t byte)
{
    return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

static bool is_hex(uint8_t byte)
{
    return is_digit(byte) || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f');
}

static unsigned hex_value(uint8_t digit)
{
    return is_digit(digit) ? digit - (unsigned)'0'
                           : (digit | 0x20u) - 'a' + 10u;
}

static unsigned hex4_value(const uint8_t *digits)
{
    return hex_value(digits[0]) << 12 | hex_value(digits[1]) << 8 |
           hex_value(digits[2]) << 4 | hex_value(digits[3]);
}

/* True for a byte there is, and that is the wanted one. */
static bool is_at(const uint8_t *at, const uint8_t *end, uint8_t byte)
{
    return at < end && *at == byte;
}

static uint64_t load_word(const uint8_t *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return le64toh(word); /* the first byte is the lowest */
}

/* The next eight bytes, with zeros for those behind the end. Never reads
 * outside of begin .. end: the last bytes come from an overlapping load. */
static uint64_t next_word(
    const uint8_t *begin, const uint8_t *at, const uint8_t *end)
{
    size_t left = (size_t)(end - at);
    uint64_t word = 0;

    if (left >= WORD_BYTES) {
        return load_word(at);
    }
    if (end - begin >= WORD_BYTES) {
        /* two shifts, because left may be 0 and a shift by 64 is undefined */
        return load_word(end - WORD_BYTES) >> (8 * (7 - left)) >> 8;
    }
    for (size_t i = 0; i < left; i++) {
        word |= (uint64_t)at[i] << (8 * i);
    }
    return word;
}

/* The marks below are the top bits of the bytes that were looked for. Borrows
 * may set wrong ones, but only above a right one: the lowest can be trusted. */
static size_t first_mark(uint64_t marks)
{
    return (size_t)__builtin_ctzll(marks) / 8;
}

static uint64_t mark_zeros(uint64_t word)
{
    return (word - EACH(0x01)) & ~word & EACH(0x80);
}

/* Marks what is no plain byte of a string: quote, backslash, control byte (and
 * so the zeros behind the end), not ASCII. Bytes that are not ASCII are marked
 * by themselves, so the "& ~word" of mark_zeros is not needed. */
static uint64_t mark_special(uint64_t word)
{
    uint64_t quotes = (word ^ EACH('"')) - EACH(0x01);
    uint64_t slashes = (word ^ EACH('\\')) - EACH(0x01);
    uint64_t controls = word - EACH(0x20);

    return (quotes | slashes | controls | word) & EACH(0x80);
}

/* Behind plain bytes of a string, as many as can be passed sixteen at a time:
 * for long strings. Most are short, and there a word does better. */
static const uint8_t *skip_plain(const uint8_t *at, const uint8_t *end)
{
#ifdef __SSE2__
    const ptrdiff_t step = sizeof(__m128i);

    while (end - at >= step) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
        __m128i slashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
        /* As signed bytes those that are not ASCII are below the space too. */
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

static const uint8_t *skip_space(const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at <= ' ' &&
           (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
        at++;
    }
    return at;
}

static const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end)
{
    while (at < end && is_digit(*at)) {
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

static const uint8_t *pass_hex4(struct reader *r, const uint8_t *at)
{
    for (int i = 0; i < 4; i++, at++) {
        if (at == r->end || !is_hex(*at)) {
            return refuse(r, at, HCS_JSON_STRING);
        }
    }
    return at;
}

/* The second escape of a surrogate pair. The first byte that shows that it is
 * none is the wrong one. */
static const uint8_t *pass_low_surrogate(struct reader *r, const uint8_t *at)
{
    if (!is_at(at, r->end, '\\')) {
        return refuse(r, at, HCS_JSON_SURROGATE);
    }
    at++;
    if (!is_at(at, r->end, 'u')) {
        return refuse(r, at, HCS_JSON_SURROGATE);
    }
    at++;
    if (at == r->end || (*at | 0x20) != 'd') {
        return refuse(r, at, HCS_JSON_SURROGATE);
    }
    if (at + 1 == r->end || !is_hex(at[1]) || hex_value(at[1]) < 0xc) {
        return refuse(r, at + 1, HCS_JSON_SURROGATE);
    }
    return pass_hex4(r, at);
}

/* What follows the "u" of an escape. */
static const uint8_t *pass_code_unit(struct reader *r, const uint8_t *at)
{
    unsigned second = 0; /* the second digit behind a "d", which makes a unit
                            a surrogate: 8 to b the first half, c to f the
                            second */
    const uint8_t *behind;

    if (r->end - at >= 2 && (*at | 0x20) == 'd' && is_hex(at[1])) {
        second = hex_value(at[1]);
    }
    if (second >= 0xc) {
        return refuse(r, at + 1, HCS_JSON_SURROGATE); /* but it comes first */
    }
    behind = pass_hex4(r, at);
    if (behind != NULL && second >= 0x8) {
        return pass_low_surrogate(r, behind);
    }
    return behind;
}

/* From the backslash. */
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

/* From behind the opening quote to behind the closing one. */
static const uint8_t *pass_string(struct reader *r, const uint8_t *at)
{
    const uint8_t *begin = r->begin;
    const uint8_t *end = r->end;

    while (at != NULL) {
        uint64_t marks = mark_special(next_word(begin, at, end));

        if (marks == 0) {
            at = skip_plain(at + WORD_BYTES, end);
            continue;
        }
        at += first_mark(marks);
        if (is_at(at, end, '"')) {
            return at + 1;
        }
        if (is_at(at, end, '\\')) {
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

/* Section 6. What follows directly is not looked at here. */
static const uint8_t *pass_number(struct reader *r, const uint8_t *at)
{
    const uint8_t *end = r->end;

    if (*at == '-') {
        at++;
    }
    if (at == end || !is_digit(*at)) {
        return refuse(r, at, HCS_JSON_NUMBER);
    }
    at = *at == '0' ? at + 1 : skip_digits(at, end);
    if (is_at(at, end, '.')) {
        at++;
        if (at == end || !is_digit(*at)) {
            return refuse(r, at, HCS_JSON_NUMBER);
        }
        at = skip_digits(at, end);
    }
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        if (at < end && (*at == '+' || *at == '-')) {
            at++;
        }
        if (at == end || !is_digit(*at)) {
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
        if (!is_at(at, r->end, (uint8_t)*literal)) {
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
    case '+': /* what other languages let a number start with */
    case '.':
        return refuse(r, at, HCS_JSON_NUMBER);
    default:
        return refuse(r, at, HCS_JSON_SYNTAX);
    }
}

/* A name of the outermost object was passed, and what is behind it up to the
 * value. */
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

/* A value that has nothing but the outermost array or object around it. */
static void note_value(struct reader *r, const uint8_t *end)
{
    if (r->open != NULL) {
        r->open->value_length = (size_t)(end - r->begin) - r->open->value;
        r->open = NULL;
    }
}

/* A member's name, its colon, and the white space before the value. */
static const uint8_t *pass_name(
    struct reader *r, const uint8_t *at, bool outermost)
{
    const uint8_t *name;
    const uint8_t *name_end;

    if (!is_at(at, r->end, '"')) {
        return refuse(r, at, HCS_JSON_SYNTAX);
    }
    name = at + 1;
    at = pass_string(r, name);
    if (at == NULL) {
        return NULL;
    }
    name_end = at - 1;
    at = skip_space(at, r->end);
    if (!is_at(at, r->end, ':')) {
        return refuse(r, at, HCS_JSON_SYNTAX);
    }
    at = skip_space(at + 1, r->end);
    if (outermost) {
        note_name(r, name, name_end, at);
    }
    return at;
}

/* A byte that may not follow a value. Directly behind a digit (only numbers
 * end in one) it is most likely part of a bad number: 01, 1.2.3, 0x10. */
static const uint8_t *refuse_after_value(
    struct reader *r, const uint8_t *at, enum hcs_json_error error)
{
    if (at < r->end && is_digit(at[-1]) &&
        (is_digit(*at) || is_letter(*at) || *at == '.' || *at == '+' ||
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

    *word &= ~(UINT64_C(1) << place); /* left by what stood here before */
    *word |= (uint64_t)object << place;
    nest->depth++;
}

/* The byte that closes the innermost of them; 0 when there is none. */
static uint8_t nest_closer(const struct nest *nest)
{
    unsigned top = nest->depth - 1;

    if (nest->depth == 0) {
        return 0;
    }
    return (nest->objects[top / 64] >> (top % 64) & 1) != 0 ? '}' : ']';
}

/* One value with all that is in it, from its first byte to behind its last. */
static const uint8_t *pass_value(struct reader *r, const uint8_t *at)
{
    const uint8_t *end = r->end;
    struct nest nest = {0};
    uint8_t closer = 0; /* what nest_closer says */

    for (;;) {
        if (closer == '}') {
            at = pass_name(r, at, nest.depth == 1);
            if (at == NULL) {
                return NULL;
            }
        }
        if (is_at(at, end, '{') || is_at(at, end, '[')) {
            if (nest.depth == HCS_JSON_DEPTH_MAX) {
                return refuse(r, at, HCS_JSON_DEPTH);
            }
            nest_push(&nest, *at == '{');
            closer = *at == '{' ? '}' : ']';
            at = skip_space(at + 1, end);
            if (!is_at(at, end, closer)) {
                continue; /* its first value */
            }
        } else {
            at = pass_scalar(r, at);
            if (at == NULL) {
                return NULL;
            }
        }

        /* a value ended, and with it whatever is closed behind it */
        while (nest.depth > 0) {
            if (nest.depth == 1) {
                note_value(r, at);
            }
            at = skip_space(at, end);
            if (!is_at(at, end, closer)) {
                break;
            }
            at++;
            nest.depth--;
            closer = nest_closer(&nest);
        }
        if (nest.depth == 0) {
            return at;
        }
        if (!is_at(at, end, ',')) {
            return refuse_after_value(r, at, HCS_JSON_SYNTAX);
        }
        at = skip_space(at + 1, end);
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
    if (length == 0) { /* text may be NULL, which has no NULL + 0 */
        result.error = HCS_JSON_EMPTY;
        return result;
    }
    r.begin = (const uint8_t *)text;
    r.end = r.begin + length;
    at = skip_space(r.begin, r.end);
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
        at = skip_space(at, r.end);
        if (at == r.end) {
            return result;
        }
        (void)refuse_after_value(&r, at, HCS_JSON_TRAILING);
    }
    result.error = r.error;
    result.offset = (size_t)(r.wrong - r.begin);
    return result;
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
        return "a string may not hold a bare control byte, nor a backslash "
               "that starts none of the escapes of JSON";
    case HCS_JSON_UTF8:
        return "a string holds bytes that are not UTF-8";
    case HCS_JSON_SURROGATE:
        return "a \\u escape is half of a surrogate pair and lacks the other "
               "half";
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

/* From here on the text is known to be valid: only ends are looked for. */

/* From behind the opening quote to behind the closing one. */
static const uint8_t *string_end(
    const uint8_t *begin, const uint8_t *at, const uint8_t *end)
{
    for (;;) {
        uint64_t word = next_word(begin, at, end);
        uint64_t marks =
            mark_zeros(word ^ EACH('"')) | mark_zeros(word ^ EACH('\\'));

        if (marks == 0) {
            at += WORD_BYTES;
            assert(at < end);
            continue;
        }
        at += first_mark(marks);
        if (*at == '"') {
            return at + 1;
        }
        at += 2; /* the backslash and what it escapes */
        assert(at < end);
    }
}

/* From an opening bracket to behind the one that closes it. Byte by byte: in
 * small texts a stop is never far, and words were slower there. */
static const uint8_t *nested_end(
    const uint8_t *begin, const uint8_t *at, const uint8_t *end)
{
    size_t depth = 0;

    for (;;) {
        uint8_t byte = *at++;

        if (byte == '"') {
            at = string_end(begin, at, end);
        } else if (byte == '[' || byte == '{') {
            depth++;
        } else if (byte == ']' || byte == '}') {
            depth--;
            if (depth == 0) {
                return at;
            }
        }
        assert(at < end);
    }
}

static const uint8_t *value_end(
    const uint8_t *begin, const uint8_t *at, const uint8_t *end)
{
    assert(at < end);
    if (*at == '"') {
        return string_end(begin, at + 1, end);
    }
    if (*at == '[' || *at == '{') {
        return nested_end(begin, at, end);
    }
    while (at < end && *at != ',' && *at != '}' && *at > ' ') {
        at++;
    }
    return at;
}

/* Writes a code point as UTF-8; gives the number of bytes. */
static size_t encode_utf8(uint8_t out[4], uint32_t point)
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xc0 | point >> 6);
        out[1] = (uint8_t)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (uint8_t)(0xe0 | point >> 12);
        out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | point >> 18);
    out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (point & 0x3f));
    return 4;
}

/* The bytes that the escape at *at stands for; moves *at behind it. */
static size_t unescape(uint8_t out[4], const uint8_t **at)
{
    const uint8_t *escape = *at;
    uint32_t point;

    *at += 2;
    switch (escape[1]) {
    case 'b':
        point = '\b';
        break;
    case 'f':
        point = '\f';
        break;
    case 'n':
        point = '\n';
        break;
    case 'r':
        point = '\r';
        break;
    case 't':
        point = '\t';
        break;
    case 'u':
        point = hex4_value(escape + 2);
        *at += 4;
        if (point >= 0xd800 && point <= 0xdbff) {
            point = 0x10000 + ((point - 0xd800) << 10) +
                    (hex4_value(escape + 8) - 0xdc00);
            *at += 6;
        }
        break;
    default: /* quote, backslash, slash */
        point = escape[1];
        break;
    }
    return encode_utf8(out, point);
}

/* Compares what stands between the quotes of a name with a name. */
static bool same_name(const uint8_t *raw, const uint8_t *raw_end,
    const char *name, size_t name_length)
{
    size_t raw_length = (size_t)(raw_end - raw);

    if (raw_length < name_length) {
        return false; /* no escape is shorter than what it stands for */
    }
    if (memchr(raw, '\\', raw_length) == NULL) {
        return raw_length == name_length && memcmp(raw, name, raw_length) == 0;
    }
    while (raw < raw_end) {
        uint8_t bytes[4];
        size_t count = 1;

        if (*raw == '\\') {
            count = unescape(bytes, &raw);
        } else {
            bytes[0] = *raw++;
        }
        if (count > name_length || memcmp(bytes, name, count) != 0) {
            return false;
        }
        name += count;
        name_length -= count;
    }
    return name_length == 0;
}

bool hcs_json_is_valid(const char *text, size_t length)
{
    return hcs_json_validate(text, length).error == HCS_JSON_OK;
}

bool hcs_json_next(const char *text, size_t length, struct hcs_json_pair *pair)
{
    const uint8_t *begin = (const uint8_t *)text;
    const uint8_t *end;
    const uint8_t *at;
    const uint8_t *start;

    if (!hcs_json_is_object(text, length)) {
        return false;
    }
    end = begin + length;
    /* Behind the brace; or the comma, or the last brace. */
    at = pair->value == NULL
             ? begin
             : (const uint8_t *)pair->value + pair->value_length;
    at = skip_space(skip_space(at, end) + 1, end);
    if (!is_at(at, end, '"')) {
        return false;
    }
    start = at + 1;
    at = string_end(begin, start, end);
    pair->name = (const char *)start;
    pair->name_length = (size_t)(at - 1 - start);
    start = skip_space(skip_space(at, end) + 1, end); /* behind the colon */
    pair->value = (const char *)start;
    pair->value_length = (size_t)(value_end(begin, start, end) - start);
    return true;
}

bool hcs_json_member(const char *text, size_t length, const char *name,
    const char **value, size_t *value_length)
{
    struct hcs_json_pair pair = {0};
    size_t name_length = strlen(name);

    while (hcs_json_next(text, length, &pair)) {
        const uint8_t *raw = (const uint8_t *)pair.name;

        if (same_name(raw, raw + pair.name_length, name, name_length)) {
            *value = pair.value;
            *value_length = pair.value_length;
            return true;
        }
    }
    return false;
}

size_t hcs_json_unescape(const char *text, size_t length, char *out)
{
    const uint8_t *at = (const uint8_t *)text;
    const uint8_t *end = at + length;
    uint8_t *to = (uint8_t *)out;

    if (length >= 2 && *at == '"') {
        at++;
        end--;
    }
    while (at < end) {
        if (*at == '\\') {
            uint8_t bytes[4];
            size_t count = unescape(bytes, &at);

            memcpy(to, bytes, count);
            to += count;
        } else {
            *to++ = *at++;
        }
    }
    return (size_t)(to - (uint8_t *)out);
}

bool hcs_json_noted_member(const struct hcs_json_members *members,
    const char *text, size_t length, const char *name, const char **value,
    size_t *value_length)
{
    const uint8_t *begin = (const uint8_t *)text;
    size_t name_length = strlen(name);

    for (size_t i = 0; i < members->count; i++) {
        const struct hcs_json_place *place = &members->at[i];

        if (i ==
            HCS_JSON_MEMBERS_MAX) { /* it is none of those that are noted */
            return hcs_json_member(text, length, name, value, value_length);
        }
        if (same_name(begin + place->name,
                begin + place->name + place->name_length, name, name_length)) {
            *value = text + place->value;
            *value_length = place->value_length;
            return true;
        }
    }
    return false;
}

bool hcs_json_is_object(const char *text, size_t length)
{
    const uint8_t *begin = (const uint8_t *)text;

    if (length == 0) {
        return false; /* text may be NULL, which has no NULL + 0 */
    }
    return is_at(skip_space(begin, begin + length), begin + length, '{');
}

size_t hcs_json_plain(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t done = 0;

    while (done < length && at[done] != '"' && at[done] != '\\' &&
           at[done] >= 0x20) {
        bool valid = true;
        size_t step = at[done] < 0x80
                          ? 1
                          : hcs_text_utf8(at + done, length - done, &valid);

        if (!valid) {
            break;
        }
        done += step;
    }
    return done;
}

size_t hcs_json_escape(const char *text, size_t length,
    char out[HCS_JSON_ESCAPE_MAX], size_t *written)
{
    static const char digits[] = "0123456789abcdef";
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    unsigned char byte = (unsigned char)*text;
    bool valid;

    if (byte >= 0x80) {
        memcpy(out, "\xef\xbf\xbd", 3); /* U+FFFD */
        *written = 3;
        return hcs_text_utf8((const unsigned char *)text, length, &valid);
    }
    for (const char *pair = shorts; *pair != '\0'; pair += 2) {
        if (*pair == *text) {
            out[0] = '\\';
            out[1] = pair[1];
            *written = 2;
            return 1;
        }
    }
    memcpy(out, "\\u00", 4);
    out[4] = digits[byte >> 4];
    out[5] = digits[byte & 15];
    *written = HCS_JSON_ESCAPE_MAX;
    return 1;
}
