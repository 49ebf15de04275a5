/*
 * counter - a number that one thread counts up and any thread may read.
 *
 * Owns:    nothing; the counter lies in the memory of its writer. Counters of
 *          one writer may share a cache line; counters of two writers may not.
 * Threads: add from one thread, the writer; get from any.
 * Waits:   never.
 *
 * Relaxed order is enough, because a counter publishes nothing else: no reader
 * goes on from it to other memory. The accesses are atomic, so a value is never
 * torn, and a thread that reads twice never sees it go back. There is one
 * writer, so nothing changes the counter between its load and its store, and
 * the addition needs no locked instruction. A second writer would lose counts.
 */
#ifndef HCS_BASE_COUNTER_H
#define HCS_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

struct hcs_counter {
    _Atomic uint64_t value;
};

/* By the writer only. Wraps round at 2^64. */
static inline void hcs_counter_add(struct hcs_counter *counter, uint64_t n)
{
    uint64_t value =
        atomic_load_explicit(&counter->value, memory_order_relaxed);

    atomic_store_explicit(&counter->value, value + n, memory_order_relaxed);
}

static inline uint64_t hcs_counter_get(const struct hcs_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

#endif
