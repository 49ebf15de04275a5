#include "fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#endif

#if defined(HAS_ASAN)
#include <sanitizer/asan_interface.h>
#endif

void fuzz_fail(const char *format, ...)
{
    va_list values;

    (void)fputs("\nfuzz: FOUND: ", stderr);
    va_start(values, format);
    (void)vfprintf(stderr, format, values);
    va_end(values);
    (void)fputc('\n', stderr);
    (void)fflush(stderr);
    abort();
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of the escape at text; *used: its length, 0 when it is none. */
static char unescape(const char *text, size_t length, size_t *used)
{
    *used = 0;
    if (length < 2 || text[0] != '\\') {
        return 0;
    }
    if (text[1] == 'x') {
        if (length < 4 || hex(text[2]) < 0 || hex(text[3]) < 0) {
            return 0;
        }
        *used = 4;
        return (char)(hex(text[2]) * 16 + hex(text[3]));
    }
    *used = 2;
    switch (text[1]) {
    case 'r':
        return '\r';
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case '0':
        return '\0';
    case '\\':
        return '\\';
    default:
        *used = 0;
        return 0;
    }
}

size_t fuzz_decode(
    char *out, const char *text, size_t length, enum fuzz_lines lines)
{
    size_t written = 0;
    size_t used;

    for (size_t i = 0; i < length; i += used) {
        char c = unescape(text + i, length - i, &used);

        if (used == 0) {
            used = 1;
            c = text[i];
            if (c == '\n' && lines == FUZZ_LINES_CRLF) {
                out[written++] = '\r';
            }
        }
        out[written++] = c;
    }
    return written;
}

uint64_t fuzz_hash(const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t fuzz_next(uint64_t *state) /* splitmix64 */
{
    uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);

    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

void fuzz_forbid(void *at, size_t length)
{
#if defined(HAS_ASAN)
    ASAN_POISON_MEMORY_REGION(at, length);
#else
    (void)at;
    (void)length;
#endif
}

void fuzz_allow(void *at, size_t length)
{
#if defined(HAS_ASAN)
    ASAN_UNPOISON_MEMORY_REGION(at, length);
#else
    (void)at;
    (void)length;
#endif
}
