#include "base/uri.h"

#include <string.h>

/* -1: not a hexadecimal digit. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "%XX" at text stands for, or -1 when it is not that. */
static int encoded_byte(const char *text, size_t length)
{
    int high;
    int low;

    if (text[0] != '%' || length < 3) {
        return -1;
    }
    high = hex_value(text[1]);
    low = hex_value(text[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool hcs_uri_is_encoded(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '%' && encoded_byte(text + i, length - i) < 0) {
            return false;
        }
    }
    return true;
}

bool hcs_uri_decode(
    const char *from, size_t length, char *to, size_t room, size_t *used)
{
    *used = 0;
    for (size_t i = 0; i < length; i++) {
        int byte = encoded_byte(from + i, length - i);
        char c = from[i];

        if (*used == room) {
            return false;
        }
        if (byte >= 0) {
            c = (char)byte;
            i += 2;
        }
        to[(*used)++] = c;
    }
    return true;
}

bool hcs_uri_decode_text(const char *from, size_t length, char *to)
{
    size_t used;

    (void)hcs_uri_decode(from, length, to, length, &used);
    to[used] = '\0';
    return memchr(to, '\0', used) == NULL;
}
