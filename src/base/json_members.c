#include "base/json_members.h"

#include "base/json_scan.h"

#include <assert.h>
#include <string.h>

/* The text is known to be valid. So these functions look for ends only. */

static uint64_t mark_zeros(uint64_t word)
{
    return (word - HCS_SCAN_EACH(0x01)) & ~word & HCS_SCAN_EACH(0x80);
}

/* at: behind the opening quote. Returns the address behind the closing
 * quote. */
static const uint8_t *string_end(
    const uint8_t *begin, const uint8_t *at, const uint8_t *end)
{
    for (;;) {
        uint64_t word = hcs_scan_next_word(begin, at, end);
        uint64_t marks = mark_zeros(word ^ HCS_SCAN_EACH('"')) |
                         mark_zeros(word ^ HCS_SCAN_EACH('\\'));

        if (marks == 0) {
            at += HCS_SCAN_WORD;
            assert(at < end);
            continue;
        }
        at += hcs_scan_first_mark(marks);
        if (*at == '"') {
            return at + 1;
        }
        at += 2; /* the backslash and the byte that it escapes */
        assert(at < end);
    }
}

/* at: an opening bracket. Returns the address behind its closing bracket. Reads
 * byte by byte: in small texts the next quote or bracket is near, and reading
 * words was slower. */
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

/* Writes a code point as UTF-8. Returns the number of bytes. */
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

static unsigned hex4_value(const uint8_t *digits)
{
    return hcs_scan_hex_value(digits[0]) << 12 |
           hcs_scan_hex_value(digits[1]) << 8 |
           hcs_scan_hex_value(digits[2]) << 4 | hcs_scan_hex_value(digits[3]);
}

/* Writes the bytes that the escape at *at stands for, and moves *at behind it.
 * Returns the number of bytes. */
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

/* Compares the raw text between the quotes of a name with a plain name. */
static bool same_name(const uint8_t *raw, const uint8_t *raw_end,
    const char *name, size_t name_length)
{
    size_t raw_length = (size_t)(raw_end - raw);

    if (raw_length < name_length) {
        return false; /* an escape is never shorter than its character */
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
    /* Skips the opening brace, a comma, or the closing brace. */
    at = pair->value == NULL
             ? begin
             : (const uint8_t *)pair->value + pair->value_length;
    at = hcs_scan_skip_space(hcs_scan_skip_space(at, end) + 1, end);
    if (!hcs_scan_is_at(at, end, '"')) {
        return false;
    }
    start = at + 1;
    at = string_end(begin, start, end);
    pair->name = (const char *)start;
    pair->name_length = (size_t)(at - 1 - start);
    start = hcs_scan_skip_space(
        hcs_scan_skip_space(at, end) + 1, end); /* behind the colon */
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
        const struct hcs_json_member_at *place = &members->at[i];

        if (i == HCS_JSON_MEMBERS_MAX) { /* the others are not noted */
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
        return false; /* text may be NULL, and NULL + 0 is undefined */
    }
    return hcs_scan_is_at(
        hcs_scan_skip_space(begin, begin + length), begin + length, '{');
}
