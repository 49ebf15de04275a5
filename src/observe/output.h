/*
 * output - text written into a buffer of a fixed size; bytes beyond its end are
 * counted and dropped.
 *
 * Owns:    nothing.
 * Threads: one at a time for each output.
 * Waits:   never; no allocation, no locale.
 */
#ifndef HCS_OBSERVE_OUTPUT_H
#define HCS_OBSERVE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_output {
    char *out;
    size_t size;
    size_t length;     /* of the whole text; may be more than size */
    bool hex_controls; /* strings in quotes have control bytes as \u00XX, as in
                          JSON; else such bytes are written as they are */
};

void hcs_output_bytes(
    struct hcs_output *output, const void *bytes, size_t length);
void hcs_output_text(struct hcs_output *output, const char *text);
void hcs_output_u64(struct hcs_output *output, uint64_t value);
void hcs_output_i64(struct hcs_output *output, int64_t value);

/* Three decimals. A value that is below 0 or no number is written as 0. */
void hcs_output_decimal(struct hcs_output *output, double value);

/* The text in quotes: a JSON string or the value of a label. All pages are
 * UTF-8, and readers refuse a whole page for one byte that is not, so such a
 * byte becomes U+FFFD. */
void hcs_output_quoted(struct hcs_output *output, const char *text);

#endif
