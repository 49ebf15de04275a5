/*
 * report - prints a tally, as text or as JSON.
 *
 * Owns:    nothing.
 * Threads: main's.
 * Waits:   for standard output.
 */
#ifndef HCS_LOAD_REPORT_H
#define HCS_LOAD_REPORT_H

#include "options.h"
#include "server.h"
#include "tally.h"

#include <stdbool.h>

struct report {
    const struct options *o;
    const struct tally *tally;
    double seconds;
    bool with_server; /* the members that follow are known */
    struct usage before;
    struct usage after;
    uint64_t most_private_dirty_bytes;
};

/* False: a request failed or was lost, or the sum is wrong. */
bool report_is_good(const struct tally *t);

void report_text(const struct report *r);

/* Prints one line. False: there is no memory for it. */
bool report_json(const struct report *r);

/* Prints a line on standard error while the load runs: the state, and what
 * happened since the last line. seconds: the time since that line. */
void report_progress(const struct tally *t, const struct tally *last,
    double at_seconds, double seconds);

#endif
