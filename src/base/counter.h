/*
 * counter - a number that one thread counts up and any thread may read.
 *
 * Owns:    nothing; the counter lies in its writer's memory. Counters of one
 *          writer share cache lines with each other, not with another writer's.
 * Threads: add from one, the writer; get from any.
 * Waits:   never.
 *
 * Relaxed order is enough, since a counter publishes nothing but itself: no
 * reader follows it to other memory, and a sum over threads that change
 * meanwhile is never of one instant anyway. The access is atomic, so a value is
 * never torn, and successive reads by one thread never go back. With one writer
 * nothing can come between its load and its store, so the addition needs no
 * locked instruction; a second writer would lose counts.
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
