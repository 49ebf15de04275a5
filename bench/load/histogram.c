#include "histogram.h"

#include <math.h>

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* A load and a store, both relaxed: there is one writer, and readers need no
 * order. */
static void add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, load(counter) + value, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t ns)
{
    unsigned shift;

    if (ns < HISTOGRAM_LINEAR) {
        return (unsigned)ns;
    }
    /* Such that ns >> shift is 128 to 255. */
    shift = 64 - 8 - (unsigned)__builtin_clzll(ns);
    return HISTOGRAM_LINEAR + (shift - 1) * HISTOGRAM_OCTAVE +
           (unsigned)(ns >> shift) - HISTOGRAM_OCTAVE;
}

static uint64_t middle_of(unsigned bucket)
{
    unsigned shift;
    uint64_t lowest;

    if (bucket < HISTOGRAM_LINEAR) {
        return bucket;
    }
    bucket -= HISTOGRAM_LINEAR;
    shift = bucket / HISTOGRAM_OCTAVE + 1;
    lowest = (uint64_t)(bucket % HISTOGRAM_OCTAVE + HISTOGRAM_OCTAVE) << shift;
    return lowest + ((uint64_t)1 << shift) / 2;
}

void histogram_record(struct histogram *h, uint64_t ns)
{
    add(&h->counts[bucket_of(ns)], 1);
    add(&h->sum_ns, ns);
}

void histogram_add(struct histogram *sum, const struct histogram *other,
    const struct histogram *base)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        add(&sum->counts[i], load(&other->counts[i]) - load(&base->counts[i]));
    }
    add(&sum->sum_ns, load(&other->sum_ns) - load(&base->sum_ns));
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += load(&h->counts[i]);
    }
    return count;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    uint64_t count = histogram_count(h);
    uint64_t rank = (uint64_t)ceil(percent / 100 * (double)count);
    uint64_t seen = 0;

    if (rank == 0) {
        rank = 1;
    }
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += load(&h->counts[i]);
        if (seen >= rank) {
            return middle_of(i);
        }
    }
    return 0;
}

double histogram_mean(const struct histogram *h)
{
    uint64_t count = histogram_count(h);

    return count == 0 ? 0 : (double)load(&h->sum_ns) / (double)count;
}
