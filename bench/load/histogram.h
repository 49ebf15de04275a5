/*
 * histogram - latencies, to within one part in 128, from a nanosecond up.
 *
 * The buckets are those of an HDR histogram: 256 buckets of one nanosecond,
 * then 128 for each further power of two. So the error is relative, and no
 * latency is out of range.
 *
 * Owns:    its counts, in place: it may lie in memory that processes share.
 * Threads: one writes; others may read meanwhile, and see each count as it was
 *          a moment ago.
 * Waits:   never.
 */
#ifndef HCS_LOAD_HISTOGRAM_H
#define HCS_LOAD_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
    HISTOGRAM_LINEAR = 256,
    HISTOGRAM_OCTAVE = HISTOGRAM_LINEAR / 2,
    HISTOGRAM_BUCKETS = HISTOGRAM_LINEAR + (64 - 8) * HISTOGRAM_OCTAVE,
};

struct histogram { /* all zero: empty */
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_ns;
};

void histogram_record(struct histogram *h, uint64_t ns);

/* Adds other to sum, less base, which is an earlier state of other. No other
 * thread uses sum. */
void histogram_add(struct histogram *sum, const struct histogram *other,
    const struct histogram *base);

uint64_t histogram_count(const struct histogram *h);

/* The middle of the bucket that holds the percentile (0 to 100). 0: the
 * histogram is empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

double histogram_mean(const struct histogram *h);

#endif
