/*
 * problem - problem documents (RFC 9457).
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_PROBLEM_H
#define HCS_HTTP_PROBLEM_H

#include "http/reason.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HCS_PROBLEM_DETAIL_MAX = 200, /* bytes of a detail; more is cut */
    HCS_PROBLEM_MAX = 2048,       /* of a whole document */
};

struct hcs_problem {
    enum hcs_reason reason;
    const char *detail; /* NULL: the text of hcs_reason_advice */
    size_t detail_length;
    const char *instance;    /* 36 bytes of a UUID; NULL: none */
    uint64_t retry_after_ms; /* 0: it and queue_depth are left out */
    uint64_t queue_depth;
};

/* Writes the document to out, which has room for HCS_PROBLEM_MAX bytes. Returns
 * its length. */
size_t hcs_problem_write(char *out, const struct hcs_problem *problem);

/* What the reason means and what to do about it, in a sentence or two. "" if
 * there is nothing to say. */
const char *hcs_reason_advice(enum hcs_reason reason);

/* Writes the page /problems/WORD to out, which has room for HCS_PROBLEM_MAX
 * bytes. Returns its length, or 0 if no reason has that word. */
size_t hcs_problem_page(char *out, const char *word, size_t word_length);

#endif
