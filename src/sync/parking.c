#include "sync/parking.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Proved in tests/model/parking.pml, by the tags in brackets. */

/* The word: the epoch in the upper half, which the futex compares; then one
 * bit; then the number of parked workers. */
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

/* futex(2). Its result does not matter: a worker that wakes for no reason looks
 * for work and parks again. */
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
    /* [park] acquire: the caller's second look for work sees all that was
     * published before an earlier wake. */
    uint64_t word =
        atomic_fetch_add_explicit(&parking->word, 1, memory_order_acq_rel);

    return (uint32_t)(word >> 32);
}

/* Also clears the mark of a wake-up that is under way, even if it was meant for
 * another worker. Then a second wake-up may start too early, and that costs
 * little. A mark left behind would prevent all later wake-ups. */
void hcs_parking_leave(struct hcs_parking *parking)
{
    uint64_t word = atomic_load_explicit(&parking->word, memory_order_relaxed);

    /* [park] acquire: as in announce; the caller looks for work next. */
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

    /* The word changes even when no worker is parked. Else a worker that
     * announces itself next would not see the caller's work. */
    do {
        next = word + EPOCH;
        if ((word & PARKED) != 0) {
            next |= WAKING;
        }
        /* [park] release: a worker that sees the word sees the work, too. */
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
