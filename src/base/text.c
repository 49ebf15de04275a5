#include "base/text.h"

#include <string.h>

/* With this table two digits cost one division instead of two. */
static const char decimal_pairs[] = "00010203040506070809"
                                    "10111213141516171819"
                                    "20212223242526272829"
                                    "30313233343536373839"
                                    "40414243444546474849"
                                    "50515253545556575859"
                                    "60616263646566676869"
                                    "70717273747576777879"
                                    "80818283848586878889"
                                    "90919293949596979899";

static const char hex_pairs[] = "000102030405060708090a0b0c0d0e0f"
                                "101112131415161718191a1b1c1d1e1f"
                                "202122232425262728292a2b2c2d2e2f"
                                "303132333435363738393a3b3c3d3e3f"
                                "404142434445464748494a4b4c4d4e4f"
                                "505152535455565758595a5b5c5d5e5f"
                                "606162636465666768696a6b6c6d6e6f"
                                "707172737475767778797a7b7c7d7e7f"
                                "808182838485868788898a8b8c8d8e8f"
                                "909192939495969798999a9b9c9d9e9f"
                                "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
                                "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
                                "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
                                "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
                                "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"
                                "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

static size_t count_digits(uint64_t value)
{
    size_t digits = 1;

    for (;;) {
        if (value < 10) {
            return digits;
        }
        if (value < 100) {
            return digits + 1;
        }
        if (value < 1000) {
            return digits + 2;
        }
        if (value < 10000) {
            return digits + 3;
        }
        value /= 10000;
        digits += 4;
    }
}

size_t hcs_text_u64(char *out, uint64_t value)
{
    size_t digits = count_digits(value);
    char *at = out + digits;

    while (value >= 100) {
        at -= 2;
        memcpy(at, decimal_pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        memcpy(out, decimal_pairs + 2 * value, 2);
    } else {
        out[0] = (char)('0' + value);
    }
    return digits;
}

size_t hcs_text_ms2(char *out, uint64_t ns)
{
    /* Not (ns + 5000) / 10000: the sum wraps round for the largest values. */
    uint64_t hundredths = ns / 10000 + (ns % 10000 >= 5000 ? 1 : 0);
    size_t length = hcs_text_u64(out, hundredths / 100);

    out[length] = '.';
    memcpy(out + length + 1, decimal_pairs + 2 * (hundredths % 100), 2);
    return length + 3;
}

/* Writes the lowest bytes of value, in hexadecimal, the highest of them
 * first. */
static char *put_hex(char *out, uint64_t value, int bytes)
{
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
        memcpy(out, hex_pairs + 2 * (value >> shift & 0xff), 2);
        out += 2;
    }
    return out;
}

void hcs_text_uuid7(char out[HCS_TEXT_UUID_LENGTH], uint64_t realtime_ms,
    uint64_t random_a, uint64_t random_b)
{
    uint64_t versioned = 0x7000 | (random_a & 0xfff);
    uint64_t variant = UINT64_C(2) << 62 | (random_b & UINT64_MAX >> 2);
    char *at = put_hex(out, realtime_ms >> 16, 4);

    *at++ = '-';
    at = put_hex(at, realtime_ms, 2);
    *at++ = '-';
    at = put_hex(at, versioned, 2);
    *at++ = '-';
    at = put_hex(at, variant >> 48, 2);
    *at++ = '-';
    (void)put_hex(at, variant, 6);
}

size_t hcs_text_utf8(const unsigned char *text, size_t left, bool *valid)
{
    unsigned char lead = text[0];
    unsigned char low = lead == 0xe0   ? 0xa0 /* else overlong */
                        : lead == 0xf0 ? 0x90 /* else overlong */
                                       : 0x80;
    unsigned char high = lead == 0xed   ? 0x9f /* else a surrogate */
                         : lead == 0xf4 ? 0x8f /* else above U+10FFFF */
                                        : 0xbf;
    size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    *valid = false;
    if (lead < 0xc2 || lead > 0xf4) {
        return 1;
    }
    for (size_t i = 1; i < length; i++) {
        if (i == left || text[i] < low || text[i] > high) {
            return i;
        }
        low = 0x80;
        high = 0xbf;
    }
    *valid = true;
    return length;
}
