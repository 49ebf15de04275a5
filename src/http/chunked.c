#include "http/chunked.h"

#include <assert.h>
#include <stdbool.h>

enum {
    SIZE_DIGITS_MAX = 15, /* 60 bits: no chunk can overflow a sum of sizes */
};

enum state {
    SIZE, /* 0, because an object that is all zero is at the start of a body */
    SIZE_LF,
    EXTENSION_NEXT, /* blanks, then the next extension; from here ... */
    EXTENSION_NAME_START,
    EXTENSION_NAME,
    EXTENSION_NAME_END, /* blanks, then a value or the next extension */
    EXTENSION_VALUE_START,
    EXTENSION_TOKEN,
    EXTENSION_QUOTED,
    EXTENSION_ESCAPED,
    EXTENSION_QUOTED_END, /* ... to here, bytes count as extensions */
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START, /* from here ... */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF, /* ... to here, bytes count as trailers */
    FINAL_LF,
    ENDED,
    BROKEN,
};

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* tchar of RFC 9110, 5.6.2: one bit for each of the first 128 octets. */
static bool is_token(unsigned char c)
{
    static const uint32_t set[] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff};

    return c < 128 && (set[c >> 5] >> (c & 31) & 1) != 0;
}

/* HTAB, SP, VCHAR or obs-text: the octets of a field value, of the inside of a
 * quoted string, and of a quoted pair. */
static bool is_text(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t';
}

/* The state behind a size or an extension, after the byte c. Blanks may stand
 * around ";" and "=" (RFC 9112, section 7.1.1). They may stand nowhere else, so
 * none before the end of the line. */
static enum state after_extension(unsigned char c)
{
    return c == '\r'     ? SIZE_LF
           : c == ';'    ? EXTENSION_NAME_START
           : is_blank(c) ? EXTENSION_NEXT
                         : BROKEN;
}

static enum state in_size(struct hcs_chunked *chunked, unsigned char c)
{
    int digit = hex_value(c);

    if (digit < 0) {
        return chunked->digits == 0 ? BROKEN : after_extension(c);
    }
    if (chunked->digits == SIZE_DIGITS_MAX) {
        return BROKEN;
    }
    chunked->digits++;
    chunked->left = chunked->left << 4 | (unsigned)digit;
    return SIZE;
}

/* The state after one byte of framing; BROKEN if that byte may not stand
 * there. */
static enum state step(struct hcs_chunked *chunked, unsigned char c)
{
    switch ((enum state)chunked->state) {
    case SIZE:
        return in_size(chunked, c);
    case SIZE_LF:
        if (c != '\n') {
            return BROKEN;
        }
        chunked->digits = 0;
        if (chunked->left != 0) {
            return DATA;
        }
        chunked->extra = 0; /* counts the trailer section from here on */
        return TRAILER_START;
    case EXTENSION_NEXT:
        return is_blank(c) || c == ';' ? after_extension(c) : BROKEN;
    case EXTENSION_NAME_START:
        return is_token(c)   ? EXTENSION_NAME
               : is_blank(c) ? EXTENSION_NAME_START
                             : BROKEN;
    case EXTENSION_NAME:
        if (is_token(c)) {
            return EXTENSION_NAME;
        }
        if (c == '\r') {
            return SIZE_LF;
        }
        /* fall through */
    case EXTENSION_NAME_END:
        return c == '='      ? EXTENSION_VALUE_START
               : c == ';'    ? EXTENSION_NAME_START
               : is_blank(c) ? EXTENSION_NAME_END
                             : BROKEN;
    case EXTENSION_VALUE_START:
        return c == '"'      ? EXTENSION_QUOTED
               : is_token(c) ? EXTENSION_TOKEN
               : is_blank(c) ? EXTENSION_VALUE_START
                             : BROKEN;
    case EXTENSION_TOKEN:
        return is_token(c) ? EXTENSION_TOKEN : after_extension(c);
    case EXTENSION_QUOTED:
        return c == '"'     ? EXTENSION_QUOTED_END
               : c == '\\'  ? EXTENSION_ESCAPED
               : is_text(c) ? EXTENSION_QUOTED
                            : BROKEN;
    case EXTENSION_ESCAPED:
        return is_text(c) ? EXTENSION_QUOTED : BROKEN;
    case EXTENSION_QUOTED_END:
        return after_extension(c);
    case DATA_CR:
        return c == '\r' ? DATA_LF : BROKEN;
    case DATA_LF:
        return c == '\n' ? SIZE : BROKEN;
    case TRAILER_START:
        return c == '\r' ? FINAL_LF : is_token(c) ? TRAILER_NAME : BROKEN;
    case TRAILER_NAME:
        return c == ':' ? TRAILER_VALUE : is_token(c) ? TRAILER_NAME : BROKEN;
    case TRAILER_VALUE:
        return c == '\r' ? TRAILER_LF : is_text(c) ? TRAILER_VALUE : BROKEN;
    case TRAILER_LF:
        return c == '\n' ? TRAILER_START : BROKEN;
    case FINAL_LF:
        return c == '\n' ? ENDED : BROKEN;
    case DATA:
    case ENDED:
    case BROKEN:
        break;
    }
    assert(false && "not a state of framing");
    return BROKEN;
}

/* hcsd ignores extensions and trailers. It only counts their bytes, because a
 * client may not make it read bytes without end. False: more than the limit. A
 * ";" that opens an extension counts, and so does the CRLF of a trailer field.
 * The CRLFs that end a size line and the whole body do not count. */
static bool count_extra(struct hcs_chunked *chunked, enum state next)
{
    if (next >= EXTENSION_NEXT && next <= EXTENSION_QUOTED_END) {
        return ++chunked->extra <= HCS_CHUNK_EXTENSION_MAX;
    }
    if (chunked->state >= TRAILER_START && chunked->state <= TRAILER_LF &&
        next != FINAL_LF) {
        return ++chunked->extra <= HCS_CHUNK_TRAILER_MAX;
    }
    return true;
}

enum hcs_chunk hcs_chunked_decode(struct hcs_chunked *chunked,
    const char *bytes, size_t length, size_t *used, const char **data,
    size_t *data_length)
{
    size_t i = 0;

    while (i < length && chunked->state != ENDED && chunked->state != BROKEN) {
        if (chunked->state == DATA) {
            size_t piece = length - i;

            if (piece >= chunked->left) {
                piece = (size_t)chunked->left;
                chunked->state = DATA_CR;
            }
            chunked->left -= piece;
            *data = bytes + i;
            *data_length = piece;
            *used = i + piece;
            return HCS_CHUNK_DATA;
        }
        enum state next = step(chunked, (unsigned char)bytes[i]);

        chunked->state = count_extra(chunked, next) ? (uint8_t)next : BROKEN;
        if (chunked->state != BROKEN) {
            i++;
        }
    }
    *used = i;
    return chunked->state == ENDED    ? HCS_CHUNK_DONE
           : chunked->state == BROKEN ? HCS_CHUNK_BAD
                                      : HCS_CHUNK_MORE;
}

uint64_t hcs_chunked_announced(const struct hcs_chunked *chunked)
{
    return chunked->state == DATA ? chunked->left : 0;
}
