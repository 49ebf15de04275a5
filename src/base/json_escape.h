/*
 * json_escape - writes the strings of JSON.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never; no allocation.
 */
#ifndef HCS_BASE_JSON_ESCAPE_H
#define HCS_BASE_JSON_ESCAPE_H

#include <stddef.h>

enum { HCS_JSON_ESCAPE_MAX = 6 };

/* How many bytes at the start of the text need no escape. */
size_t hcs_json_plain(const char *text, size_t length);

/* Writes the first character of the text as a string of JSON shows it, where
 * hcs_json_plain gives 0. *written says how many bytes of out it took. Bytes
 * that are not UTF-8 become U+FFFD. Returns how many bytes of the text it
 * stands for. */
size_t hcs_json_escape(const char *text, size_t length,
    char out[HCS_JSON_ESCAPE_MAX], size_t *written);

#endif
