#include "base/random.h"

#include "base/clock.h"

#include <stdbool.h>
#include <sys/random.h>
#include <sys/types.h>
#include <unistd.h>

static uint64_t rotate_left(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

/* splitmix64: makes four good words of one that is only different. No two of
 * its successive outputs are equal, so they are never all zero. */
static uint64_t split(uint64_t *seed)
{
    uint64_t value = *seed += UINT64_C(0x9e3779b97f4a7c15);

    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

/* False when the kernel has no entropy yet, or a sandbox forbids to ask. */
static bool seed_from_kernel(struct hcs_random *random)
{
    uint64_t *state = random->state;

    if (getrandom(state, sizeof random->state, GRND_NONBLOCK) !=
        (ssize_t)sizeof random->state) {
        return false;
    }
    /* From a state of zeros xoshiro never gets away. */
    return (state[0] | state[1] | state[2] | state[3]) != 0;
}

void hcs_random_init(struct hcs_random *random)
{
    uint64_t seed;

    if (seed_from_kernel(random)) {
        return;
    }
    /* Each part goes through split, or like bits of two parts would cancel. */
    seed = hcs_clock_ns();
    seed = split(&seed) ^ hcs_clock_realtime_ms();
    seed = split(&seed) ^ (uint64_t)getpid();
    seed = split(&seed) ^ (uint64_t)(uintptr_t)random;
    for (int i = 0; i < 4; i++) {
        random->state[i] = split(&seed);
    }
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
