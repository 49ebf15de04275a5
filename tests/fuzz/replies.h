/*
 * replies - what a daemon sent on a connection, read strictly.
 *
 * Any byte that is not as it should be is a finding.
 *
 * Owns:    nothing; texts lie in the bytes that were read.
 * Threads: one. Waits: never.
 */
#ifndef HCS_FUZZ_REPLIES_H
#define HCS_FUZZ_REPLIES_H

#include <stdbool.h>
#include <stddef.h>

enum { REPLIES_MAX = 4096 };

struct text {
    const char *at;
    size_t length;
};

struct reply {
    unsigned status;
    bool last; /* Connection: close */
    bool job;  /* with Server-Timing: a worker had it */
    struct text id;
    struct text type;
    struct text body; /* empty for HEAD */
};

struct replies {
    struct reply list[REPLIES_MAX];
    size_t count;
    size_t without_body; /* that said they had one: answers to HEAD */
    bool cut;            /* the last one is not all there, and not counted */
};

void replies_read(struct replies *replies, const char *bytes, size_t length);

/* A UUID as the daemon makes them up. */
bool replies_is_made(struct text id);

#endif
