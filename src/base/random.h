/*
 * random - a fast generator: request identifiers, jitter, picks.
 *
 * Not for secrets: a reader of a few numbers can compute the next ones.
 *
 * Owns:    nothing; the state is the caller's.
 * Threads: one, the owner of the state. Give each thread its own.
 * Waits:   never, not even for the kernel's entropy early at boot.
 */
#ifndef HCS_BASE_RANDOM_H
#define HCS_BASE_RANDOM_H

#include <stdint.h>

struct hcs_random {
    uint64_t state[4]; /* xoshiro256** */
};

/* Seeds the state, by arc4random_buf(3bsd). */
void hcs_random_init(struct hcs_random *random);

uint64_t hcs_random_next(struct hcs_random *random);

#endif
