#include "base/random.h"

#include <bsd/stdlib.h>

static uint64_t rotate_left(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

/* The function of libbsd never waits. It asks getrandom(2) with GRND_NONBLOCK,
 * then /dev/urandom, and makes do with clocks, addresses and counters where a
 * sandbox forbids both. The function of the same name in glibc 2.36 would wait
 * or abort there; libbsd is linked first. A state of zeros, from which
 * xoshiro256** never gets away, has a probability of 2^-256. */
void hcs_random_init(struct hcs_random *random)
{
    arc4random_buf(random->state, sizeof(random->state));
}

uint64_t hcs_random_next(struct hcs_random *random)
{
    uint64_t *state = random->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t mixed = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= mixed;
    state[3] = rotate_left(state[3], 45);
    return result;
}
