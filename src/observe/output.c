#include "observe/output.h"

#include "base/text.h"

#include <math.h>
#include <string.h>

void hcs_output_bytes(
    struct hcs_output *output, const void *bytes, size_t length)
{
    if (output->length < output->size) {
        size_t room = output->size - output->length;

        memcpy(
            output->out + output->length, bytes, length < room ? length : room);
    }
    output->length += length;
}

void hcs_output_text(struct hcs_output *output, const char *text)
{
    hcs_output_bytes(output, text, strlen(text));
}

void hcs_output_u64(struct hcs_output *output, uint64_t value)
{
    char digits[HCS_TEXT_U64_MAX];

    hcs_output_bytes(output, digits, hcs_text_u64(digits, value));
}

void hcs_output_i64(struct hcs_output *output, int64_t value)
{
    if (value < 0) {
        hcs_output_text(output, "-");
    }
    hcs_output_u64(output, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

/* Not printf, whose decimal point depends on the locale. JSON cannot express a
 * value that is no number. */
void hcs_output_decimal(struct hcs_output *output, double value)
{
    const double largest = 1e18; /* fits uint64_t */
    double known = isfinite(value) && value > 0 ? value : 0;
    uint64_t whole = (uint64_t)(known < largest ? known : largest);
    double fraction = known < largest ? known - (double)whole : 0;
    unsigned thousandths = (unsigned)(fraction * 1000 + 0.5);
    char decimals[4] = ".";

    whole += thousandths / 1000;
    decimals[1] = (char)('0' + thousandths / 100 % 10);
    decimals[2] = (char)('0' + thousandths / 10 % 10);
    decimals[3] = (char)('0' + thousandths % 10);
    hcs_output_u64(output, whole);
    hcs_output_bytes(output, decimals, sizeof decimals);
}

static void put_escaped(struct hcs_output *output, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";

    if (byte == '"' || byte == '\\') {
        char pair[2] = {'\\', (char)byte};

        hcs_output_bytes(output, pair, sizeof pair);
    } else if (byte == '\n') {
        hcs_output_text(output, "\\n");
    } else if (byte < 0x20 && output->hex_controls) {
        hcs_output_text(output, "\\u00");
        hcs_output_bytes(output, &hex[byte >> 4], 1);
        hcs_output_bytes(output, &hex[byte & 0xf], 1);
    } else { /* a label holds other control bytes as they are */
        hcs_output_bytes(output, &byte, 1);
    }
}

void hcs_output_quoted(struct hcs_output *output, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    hcs_output_text(output, "\"");
    while (*at != '\0') {
        bool valid = true;
        /* A character has at most four bytes, and none crosses the NUL. */
        size_t length = *at < 0x80 ? 1 : hcs_text_utf8(at, 4, &valid);

        if (!valid) {
            hcs_output_text(output, "\xef\xbf\xbd");
            length = 1;
        } else if (length == 1) {
            put_escaped(output, *at);
        } else {
            hcs_output_bytes(output, at, length);
        }
        at += length;
    }
    hcs_output_text(output, "\"");
}
