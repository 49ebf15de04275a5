#include "sync/parking.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Proved in tests/model/parking.pml, by the tags in brackets. */

/* The word: epoch in the upper half, which is what the futex looks at, then
 * one bit, then the number of parked workers. */
#define EPOCH ((uint64_t)1 << 32)
#define WAKING ((uint64_t)1 << 31)
#define PARKED (WAKING - 1)

static uint32_t *futex_half(struct hcs_parking *parking)
{
    uint32_t *halves = (uint32_t *)(void *)&parking->word;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return &halves[1];
#else
    return &halves[0];
#endif
}

/* futex(2). Its result does not matter: who wakes for no reason looks again. */
static void futex(uint32_t *at, int operation, uint32_t value)
{
    (void)syscall(
        SYS_futex, at, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void hcs_parking_init(struct hcs_parking *parking)
{
    atomic_init(&parking->word, 0);
}

uint32_t hcs_parking_announce(struct hcs_parking *parking)
{
    /* [park] acquire: what was published before an earlier look is seen by the
     * caller's second look for work. */
    uint64_t word =
        atomic_fetch_add_explicit(&parking->word, 1, memory_order_acq_rel);

    return (uint32_t)(word >> 32);
}

/* Also ends the wake-up that is under way, whether it was meant for us or not:
 * then a second one may start too early, which costs a wake-up; a mark left
 * behind would cost all later ones. */
void hcs_parking_leave(struct hcs_parking *parking)
{
    uint64_t word = atomic_load_explicit(&parking->word, memory_order_relaxed);

    /* [park] acquire: as in announce, for the caller that looks for work now. */
    while (!atomic_compare_exchange_weak_explicit(&parking->word, &word,
        (word - 1) & ~WAKING, memory_order_acq_rel, memory_order_relaxed)) {
    }
}

void hcs_parking_wait(struct hcs_parking *parking, uint32_t epoch)
{
    futex(futex_half(parking), FUTEX_WAIT, epoch);
    hcs_parking_leave(parking);
}

void hcs_parking_wake(struct hcs_parking *parking)
{
    uint64_t word = atomic_load_explicit(&parking->word, memory_order_relaxed);
    uint64_t next;

    /* The word must change even when nobody is woken, or whoever announces
     * itself next would not see our work; the epoch is what changes. */
    do {
        next = word + EPOCH;
        if ((word & PARKED) != 0) {
            next |= WAKING;
        }
        /* [park] release: the work published before goes with the word. */
    } while (!atomic_compare_exchange_weak_explicit(&parking->word, &word, next,
        memory_order_acq_rel, memory_order_relaxed));
    if ((word & PARKED) != 0 && (word & WAKING) == 0) {
        futex(futex_half(parking), FUTEX_WAKE, 1);
    }
}

void hcs_parking_wake_all(struct hcs_parking *parking)
{
    /* [park] release: as in wake. */
    atomic_fetch_add_explicit(&parking->word, EPOCH, memory_order_acq_rel);
    futex(futex_half(parking), FUTEX_WAKE, INT_MAX);
}
