/*
 * parking - where idle workers sleep, on a futex.
 *
 * One word holds how many are parked, whether one of them is being woken, and
 * an epoch that each wake-up advances. A worker that wants to sleep announces
 * itself, looks for work once more, and only then sleeps; whoever publishes
 * work does so first and looks at the word second. Announcing and looking are
 * both read-modify-writes of the one word, so they have an order:
 *
 *   look first      the announcement sees it, so the worker's second look at
 *                   the queue finds the work
 *   announce first  the look sees a sleeper, and wakes
 *
 * At most one wake-up is under way at a time: a worker that was woken looks for
 * work before another is woken, and wakes the next one itself when it is going
 * to be busy and there is more (hcs_pool). So a burst of short jobs does not
 * wake every worker for nothing.
 *
 * Owns:    nothing but the word.
 * Threads: any.
 * Waits:   hcs_parking_wait only.
 */
#ifndef HCS_SYNC_PARKING_H
#define HCS_SYNC_PARKING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

struct hcs_parking {
    alignas(64) _Atomic uint64_t word;
};

void hcs_parking_init(struct hcs_parking *parking);

/* Announces the caller. Look for work afterwards, then call one of the two
 * below with what this returned. */
uint32_t hcs_parking_announce(struct hcs_parking *parking);

/* There is work after all. */
void hcs_parking_leave(struct hcs_parking *parking);

/* Sleeps until woken; may return early. The caller is no longer parked. */
void hcs_parking_wait(struct hcs_parking *parking, uint32_t epoch);

/* Work was published: wakes one parked worker, unless one is being woken. */
void hcs_parking_wake(struct hcs_parking *parking);

/* Wakes all. */
void hcs_parking_wake_all(struct hcs_parking *parking);

#endif
