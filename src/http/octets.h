/*
 * octets - what a byte of HTTP may be part of, and quick searches by that.
 *
 * All is inline: these loops are most of what reading a header costs.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_OCTETS_H
#define HCS_HTTP_OCTETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { HCS_OCTETS_VECTOR = 16 }; /* bytes that are searched at once */

/* What an octet may be part of. */
enum {
    HCS_OCTET_TOKEN = 1,   /* a token (RFC 9110, 5.6.2) */
    HCS_OCTET_TARGET = 2,  /* path and query (RFC 3986, 3.3 and 3.4), without
                              "%" */
    HCS_OCTET_NAME = 4,    /* a reg-name (RFC 3986, 3.2.2), without "%", and
                              without the comma, which would make a list */
    HCS_OCTET_ID = 8,      /* X-Request-ID */
    HCS_OCTET_HEX = 16,    /* hexadecimal digits */
    HCS_OCTET_DIGIT = 32,  /* decimal digits */
    HCS_OCTET_BRACKET = 64 /* around an IPv6 address */
};

extern const uint8_t hcs_octet_classes[256];

static inline bool hcs_octet_is(char c, unsigned wanted)
{
    return (hcs_octet_classes[(unsigned char)c] & wanted) != 0;
}

static inline bool hcs_octet_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Lower case, for octets that are no control bytes. It also changes the octets
 * "@[\]^_`", so compare the result only with text that has none of "`{|}~". */
static inline char hcs_octet_fold(char c)
{
    return (char)(c | 0x20);
}

/* Lower case, for any octet. */
static inline char hcs_octet_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? hcs_octet_fold(c) : c;
}

/* Each is one load instruction; with a literal it is a constant. */
static inline uint16_t hcs_octets_load16(const char *p)
{
    uint16_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint32_t hcs_octets_load32(const char *p)
{
    uint32_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint64_t hcs_octets_load64(const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

static inline bool hcs_octets_at_crlf(const char *p)
{
    return hcs_octets_load16(p) == hcs_octets_load16("\r\n");
}

/* The first byte of [p, end) that is not of that class, or end. */
static inline const char *hcs_octets_skip(
    const char *p, const char *end, unsigned wanted)
{
    while (end - p >= 4) {
        if (!hcs_octet_is(p[0], wanted)) {
            return p;
        }
        if (!hcs_octet_is(p[1], wanted)) {
            return p + 1;
        }
        if (!hcs_octet_is(p[2], wanted)) {
            return p + 2;
        }
        if (!hcs_octet_is(p[3], wanted)) {
            return p + 3;
        }
        p += 4;
    }
    while (p < end && hcs_octet_is(*p, wanted)) {
        p++;
    }
    return p;
}

/* The same, but "%" and two hexadecimal digits count as of that class. */
static inline const char *hcs_octets_skip_encoded(
    const char *p, const char *end, unsigned wanted)
{
    for (;;) {
        p = hcs_octets_skip(p, end, wanted);
        if (end - p < 3 || *p != '%' || !hcs_octet_is(p[1], HCS_OCTET_HEX) ||
            !hcs_octet_is(p[2], HCS_OCTET_HEX)) {
            return p;
        }
        p += 3;
    }
}

static inline const char *hcs_octets_skip_blank(const char *p, const char *end)
{
    while (p < end && hcs_octet_is_blank(*p)) {
        p++;
    }
    return p;
}

static inline const char *hcs_octets_trim_end(
    const char *start, const char *end)
{
    while (end > start && hcs_octet_is_blank(end[-1])) {
        end--;
    }
    return end;
}

/* --- Three searches through [p, end), of many bytes at once where the
 * processor can do that.
 *
 * name_end and target_end skip bytes that are common in a field name or in a
 * target. They stop at the first other byte, or before it; look that byte up in
 * the table.
 *
 * find_control gives the first control byte but HTAB: a field value may hold
 * everything else (RFC 9110, 5.5). It reads from end - HCS_OCTETS_VECTOR on, so
 * that many bytes before end must be readable. */
#ifdef __SSE2__
static inline __m128i hcs_octets_load_vector(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline __m128i hcs_octets_equal(__m128i bytes, char c)
{
    return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c));
}

static inline __m128i hcs_octets_between(__m128i bytes, char first, char last)
{
    __m128i above = _mm_sub_epi8(bytes, _mm_set1_epi8(first));

    return _mm_cmpeq_epi8(
        _mm_min_epu8(above, _mm_set1_epi8((char)(last - first))), above);
}

static inline __m128i hcs_octets_letters(__m128i bytes)
{
    return hcs_octets_between(
        _mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z');
}

static inline unsigned hcs_octets_mask(__m128i bytes)
{
    return (unsigned)_mm_movemask_epi8(bytes);
}

/* Behind the leading bytes of p that are in the mask, which has 16 bits. */
static inline const char *hcs_octets_behind(const char *p, unsigned mask)
{
    return p + __builtin_ctz(~mask);
}

static inline const char *hcs_octets_name_end(const char *p, const char *end)
{
    if (end - p >= HCS_OCTETS_VECTOR) {
        __m128i bytes = hcs_octets_load_vector(p);

        p = hcs_octets_behind(
            p, hcs_octets_mask(_mm_or_si128(hcs_octets_letters(bytes),
                   _mm_or_si128(hcs_octets_between(bytes, '0', '9'),
                       hcs_octets_equal(bytes, '-')))));
    }
    return p;
}

static inline const char *hcs_octets_target_end(const char *p, const char *end)
{
    while (end - p >= HCS_OCTETS_VECTOR) {
        __m128i bytes = hcs_octets_load_vector(p);
        unsigned mask = hcs_octets_mask(
            _mm_or_si128(_mm_or_si128(hcs_octets_letters(bytes),
                             hcs_octets_between(bytes, '&', ';')),
                _mm_or_si128(hcs_octets_equal(bytes, '?'),
                    _mm_or_si128(hcs_octets_equal(bytes, '='),
                        hcs_octets_equal(bytes, '_')))));

        if (mask != 0xffff) {
            return hcs_octets_behind(p, mask);
        }
        p += HCS_OCTETS_VECTOR;
    }
    return p;
}

static inline unsigned hcs_octets_control_mask(const char *p)
{
    __m128i bytes = hcs_octets_load_vector(p);

    return hcs_octets_mask(
        _mm_or_si128(_mm_andnot_si128(hcs_octets_equal(bytes, '\t'),
                         hcs_octets_between(bytes, 0, 0x1f)),
            hcs_octets_equal(bytes, 0x7f)));
}

static inline const char *hcs_octets_find_control(
    const char *p, const char *end)
{
    unsigned mask;

    while (end - p >= HCS_OCTETS_VECTOR) {
        mask = hcs_octets_control_mask(p);
        if (mask != 0) {
            return p + __builtin_ctz(mask);
        }
        p += HCS_OCTETS_VECTOR;
    }
    /* The last HCS_OCTETS_VECTOR bytes, without those that lie before p. */
    mask = hcs_octets_control_mask(end - HCS_OCTETS_VECTOR) >>
           (HCS_OCTETS_VECTOR - (end - p));
    return mask != 0 ? p + __builtin_ctz(mask) : end;
}
#else
static inline const char *hcs_octets_name_end(const char *p, const char *end)
{
    (void)end;
    return p;
}

static inline const char *hcs_octets_target_end(const char *p, const char *end)
{
    (void)end;
    return p;
}

/* Without vectors: eight bytes at once in a plain register. No sum here carries
 * from one byte to the next, so the highest bit of each byte is exact. */
static inline bool hcs_octets_has_control(uint64_t bytes)
{
    const uint64_t each = 0x0101010101010101U;
    const uint64_t low = 0x7f * each;
    uint64_t below = ~((bytes & low) + 0x60 * each);
    uint64_t tab = ~(((bytes ^ '\t' * each) & low) + low);
    uint64_t del = ~(((bytes ^ 0x7f * each) & low) + low);

    return (((below & ~tab) | del) & ~bytes & ~low) != 0;
}

static inline const char *hcs_octets_find_control(
    const char *p, const char *end)
{
    while (end - p >= 8 && !hcs_octets_has_control(hcs_octets_load64(p))) {
        p += 8;
    }
    while (p < end && (unsigned char)*p != 0x7f &&
           ((unsigned char)*p >= 0x20 || *p == '\t')) {
        p++;
    }
    return p;
}
#endif

#endif
