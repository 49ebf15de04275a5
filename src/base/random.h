/*
 * random - numbers that differ, quickly: request identifiers, jitter, picks.
 *
 * Not for secrets: who sees a few numbers can compute the next ones.
 *
 * Owns:    nothing; the state is the caller's.
 * Threads: one, the owner of the state; give each thread its own.
 * Waits:   never, not even for the kernel's entropy early at boot.
 */
#ifndef HCS_BASE_RANDOM_H
#define HCS_BASE_RANDOM_H

#include <stdint.h>

struct hcs_random {
    uint64_t state[4]; /* xoshiro256**; never all zero */
};

/* Seeds from the kernel; where it gives nothing, from the clocks, the process
 * and the address of the state, so that two states still differ. */
void hcs_random_init(struct hcs_random *random);

uint64_t hcs_random_next(struct hcs_random *random);

#endif
