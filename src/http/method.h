/*
 * method - the methods that hcsd serves, and those that it only knows.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_METHOD_H
#define HCS_HTTP_METHOD_H

#include "http/octets.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum hcs_method { /* those that hcsd serves; in the order of the Allow field */
    HCS_GET,
    HCS_HEAD,
    HCS_POST,
    HCS_OPTIONS,
    HCS_METHOD_OTHER, /* known to HTTP, not served here: PUT, TRACE, ... */
};

enum { /* sets of methods: a bit for each */
    HCS_METHODS_READ = 1u << HCS_GET | 1u << HCS_HEAD | 1u << HCS_OPTIONS,
    HCS_METHODS_JOB = HCS_METHODS_READ | 1u << HCS_POST,
};

enum { HCS_ALLOW_MAX = 64 }; /* bytes of any value of Allow, with its NUL */

/* The method at p and its length, if hcsd serves it; else HCS_METHOD_OTHER, and
 * *length is as it was. Eight bytes at p are readable. */
static inline enum hcs_method hcs_method_served(const char *p, unsigned *length)
{
    uint32_t word = hcs_octets_load32(p);

    if (word == hcs_octets_load32("GET ")) {
        *length = 3;
        return HCS_GET;
    }
    if (word == hcs_octets_load32("POST") && p[4] == ' ') {
        *length = 4;
        return HCS_POST;
    }
    if (word == hcs_octets_load32("HEAD") && p[4] == ' ') {
        *length = 4;
        return HCS_HEAD;
    }
    if (hcs_octets_load64(p) == hcs_octets_load64("OPTIONS ")) {
        *length = 7;
        return HCS_OPTIONS;
    }
    return HCS_METHOD_OTHER;
}

static inline bool hcs_method_is_connect(const char *method, size_t length)
{
    return length == 7 && memcmp(method, "CONNECT", 7) == 0;
}

/* Whether HTTP has that method, though hcsd does not serve it. */
bool hcs_method_is_known(const char *method, size_t length);

/* "GET"; "_OTHER" for all that hcsd does not serve, as metrics call them. */
const char *hcs_method_word(enum hcs_method method);

/* Writes the value of an Allow field for a set: "GET, HEAD, OPTIONS". */
void hcs_method_allow(unsigned methods, char out[HCS_ALLOW_MAX]);

#endif
