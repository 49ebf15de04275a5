#include "base/json_escape.h"

#include "base/text.h"

#include <stdbool.h>
#include <string.h>

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
