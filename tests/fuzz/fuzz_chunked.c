/* The chunked coding: any cut gives the same, and the same as a plain reading
 * of the whole by the grammar of RFC 9112, section 7.1.
 *
 * The input is the bytes as text: a line feed stands for CR LF, and \r \n \0
 * \xHH for single bytes. */
#include "fuzz.h"

#include "http/chunked.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 32 * 1024, DIGITS_MAX = 15 };

struct outcome {
    enum hcs_chunk verdict; /* never DATA */
    size_t used;
    size_t data_length;
    char *data;
};

/* --- The decoder, on bytes that come in pieces. */

static struct outcome decode_in_steps(
    const char *bytes, size_t length, size_t step_max, uint64_t seed)
{
    struct hcs_chunked chunked = {0};
    struct outcome outcome = {.verdict = HCS_CHUNK_MORE};
    size_t here = 0;

    outcome.data = malloc(length + 1);
    fuzz_check(outcome.data != NULL, "no memory");
    while (here < length && outcome.verdict == HCS_CHUNK_MORE) {
        size_t step =
            step_max == SIZE_MAX ? SIZE_MAX : 1 + fuzz_next(&seed) % step_max;
        /* A copy that ends where the piece ends. */
        char *piece;
        size_t done = 0;

        step = step < length - here ? step : length - here;
        piece = malloc(step);
        fuzz_check(piece != NULL, "no memory");
        memcpy(piece, bytes + here, step);
        do {
            const char *data = NULL;
            size_t data_length = 0;
            size_t used = 0;

            outcome.verdict = hcs_chunked_decode(&chunked, piece + done,
                step - done, &used, &data, &data_length);
            fuzz_check(used <= step - done, "used more than there was");
            if (outcome.verdict == HCS_CHUNK_DATA) {
                fuzz_check(data >= piece + done && data_length > 0 &&
                               data + data_length == piece + done + used,
                    "data that is not where it was");
                memcpy(outcome.data + outcome.data_length, data, data_length);
                outcome.data_length += data_length;
            }
            done += used;
        } while (outcome.verdict == HCS_CHUNK_DATA);
        fuzz_check(outcome.verdict != HCS_CHUNK_MORE || done == step,
            "more is wanted, and bytes are left");
        here += done;
        free(piece);
    }
    outcome.used = here;
    return outcome;
}

/* --- The plain reading, recursive descent over the whole. */

struct reader {
    const unsigned char *at;
    const unsigned char *end;
    bool wrong; /* else what stopped it is the end */
    size_t extensions;
    size_t trailers;
};

static bool is_tchar(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c >= 'a' && c <= 'z') ||
           (c > ' ' && c < 0x7f && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_vchar_or_blank(int c)
{
    return c == '\t' || (c >= ' ' && c <= 0xff && c != 0x7f);
}

/* The next byte; -1 at the end. */
static int peek(const struct reader *r)
{
    return r->at < r->end ? *r->at : -1;
}

static bool stop(struct reader *r)
{
    r->wrong = r->at < r->end;
    return false;
}

static bool expect(struct reader *r, int c)
{
    if (peek(r) != c) {
        return stop(r);
    }
    r->at++;
    return true;
}

/* One byte that counts against a bound, which the byte beyond breaks. */
static bool take(struct reader *r, size_t *count, size_t most)
{
    if (++*count > most) {
        return stop(r);
    }
    r->at++;
    return true;
}

static bool take_extension_byte(struct reader *r)
{
    return take(r, &r->extensions, HCS_CHUNK_EXTENSION_MAX);
}

static bool read_token(struct reader *r)
{
    if (!is_tchar(peek(r))) {
        return stop(r);
    }
    while (is_tchar(peek(r))) {
        if (!take_extension_byte(r)) {
            return false;
        }
    }
    return true;
}

static bool read_quoted(struct reader *r)
{
    if (!take_extension_byte(r)) {
        return false;
    }
    while (peek(r) != '"') {
        bool escape = peek(r) == '\\';

        if (!is_vchar_or_blank(peek(r))) {
            return stop(r);
        }
        if (!take_extension_byte(r)) {
            return false;
        }
        if (escape) {
            if (!is_vchar_or_blank(peek(r))) {
                return stop(r);
            }
            if (!take_extension_byte(r)) {
                return false;
            }
        }
    }
    return take_extension_byte(r);
}

static bool read_blanks(struct reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t') {
        if (!take_extension_byte(r)) {
            return false;
        }
    }
    return true;
}

/* The sign that was found, and the blanks behind it. */
static bool read_sign(struct reader *r)
{
    return take_extension_byte(r) && read_blanks(r);
}

/* At a blank or a ";": blanks, which only those signs may follow. */
static bool read_blanks_before(struct reader *r, char one, char other)
{
    const unsigned char *before = r->at;

    if (!read_blanks(r)) {
        return false;
    }
    return r->at == before || peek(r) == one || peek(r) == other || stop(r);
}

static bool read_extensions(struct reader *r)
{
    if (!read_blanks_before(r, ';', ';')) {
        return false;
    }
    while (peek(r) == ';') {
        if (!read_sign(r) || !read_token(r) ||
            !read_blanks_before(r, ';', '=')) {
            return false;
        }
        if (peek(r) == '=') {
            if (!read_sign(r)) {
                return false;
            }
            if (peek(r) == '"' ? !read_quoted(r) : !read_token(r)) {
                return false;
            }
            if (!read_blanks_before(r, ';', ';')) {
                return false;
            }
        }
    }
    return true;
}

static bool read_size(struct reader *r, uint64_t *size)
{
    unsigned digits = 0;

    *size = 0;
    for (;; digits++) {
        int c = peek(r);
        int value = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (value < 0) {
            return digits > 0 ? true : stop(r);
        }
        if (digits == DIGITS_MAX) {
            return stop(r);
        }
        *size = *size * 16 + (unsigned)value;
        r->at++;
    }
}

static bool take_trailer_byte(struct reader *r)
{
    return take(r, &r->trailers, HCS_CHUNK_TRAILER_MAX);
}

static bool read_trailer_field(struct reader *r)
{
    if (!is_tchar(peek(r))) {
        return stop(r);
    }
    while (is_tchar(peek(r))) {
        if (!take_trailer_byte(r)) {
            return false;
        }
    }
    if (peek(r) != ':') {
        return stop(r);
    }
    while (peek(r) != '\r') {
        if (!is_vchar_or_blank(peek(r))) {
            return stop(r);
        }
        if (!take_trailer_byte(r)) {
            return false;
        }
    }
    if (!take_trailer_byte(r)) {
        return false;
    }
    return peek(r) == '\n' ? take_trailer_byte(r) : stop(r);
}

/* True: the body ended. */
static bool read_body(struct reader *r, struct outcome *outcome)
{
    uint64_t size;

    for (;;) {
        if (!read_size(r, &size) || !read_extensions(r) || !expect(r, '\r') ||
            !expect(r, '\n')) {
            return false;
        }
        if (size == 0) {
            break;
        }
        size_t left = (size_t)(r->end - r->at);
        size_t piece = size < left ? (size_t)size : left;

        memcpy(outcome->data + outcome->data_length, r->at, piece);
        outcome->data_length += piece;
        r->at += piece;
        if (!expect(r, '\r') || !expect(r, '\n')) {
            return false;
        }
    }
    while (peek(r) != '\r') {
        if (!read_trailer_field(r)) {
            return false;
        }
    }
    return expect(r, '\r') && expect(r, '\n');
}

static struct outcome read_plainly(const char *bytes, size_t length)
{
    struct outcome outcome = {.data = malloc(length + 1)};
    struct reader r = {
        .at = (const unsigned char *)bytes,
        .end = (const unsigned char *)bytes + length,
    };
    bool ended;

    fuzz_check(outcome.data != NULL, "no memory");
    ended = read_body(&r, &outcome);
    outcome.verdict = ended     ? HCS_CHUNK_DONE
                      : r.wrong ? HCS_CHUNK_BAD
                                : HCS_CHUNK_MORE;
    outcome.used = (size_t)((const char *)r.at - bytes);
    return outcome;
}

static void check_same(
    const struct outcome *plain, struct outcome cut, const char *how)
{
    fuzz_check(plain->verdict == cut.verdict, "read plainly: %d; %s: %d",
        (int)plain->verdict, how, (int)cut.verdict);
    fuzz_check(plain->used == cut.used, "read plainly: at byte %zu; %s: %zu",
        plain->used, how, cut.used);
    fuzz_check(plain->data_length == cut.data_length &&
                   memcmp(plain->data, cut.data, cut.data_length) == 0,
        "read plainly: %zu bytes of data; %s: %zu, or others",
        plain->data_length, how, cut.data_length);
    free(cut.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[2 * INPUT_MAX];
    uint64_t seed = fuzz_hash(data, size);
    struct outcome plain;
    size_t length;

    if (size > INPUT_MAX) {
        return 0;
    }
    length = fuzz_decode(bytes, (const char *)data, size, FUZZ_LINES_CRLF);
    plain = read_plainly(bytes, length);
    check_same(&plain, decode_in_steps(bytes, length, SIZE_MAX, 0), "whole");
    check_same(&plain, decode_in_steps(bytes, length, 1, 0), "byte by byte");
    check_same(&plain, decode_in_steps(bytes, length, 40, seed), "in pieces");
    free(plain.data);
    return 0;
}
