/*
 * parking - an eventcount: idle workers sleep here, on a futex.
 *
 * One word holds the number of parked workers, a mark that one of them is being
 * woken, and an epoch that each wake-up advances. A worker that wants to sleep
 * announces itself, looks for work once more, and only then sleeps. A thread
 * that publishes work calls wake afterwards. Announce and wake are both
 * read-modify-writes of the word, so one of them comes first:
 *
 *   wake first      the announcement sees the new epoch, so the worker's second
 *                   look for work finds it
 *   announce first  wake sees a parked worker, and wakes it
 *
 * At most one wake-up is under way at a time. A woken worker looks for work
 * before another one is woken. If there is more work and the worker is going to
 * be busy, it wakes the next one itself (pool.c). So a burst of short jobs does
 * not wake every worker for nothing.
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

/* Announces that the caller wants to sleep. Look for work afterwards. Then call
 * hcs_parking_leave, or hcs_parking_wait with the epoch that this returned. */
uint32_t hcs_parking_announce(struct hcs_parking *parking);

/* The caller does not sleep: it has found work. */
void hcs_parking_leave(struct hcs_parking *parking);

/* Sleeps until woken; may return early. The caller is not parked any more. */
void hcs_parking_wait(struct hcs_parking *parking, uint32_t epoch);

/* Call it after publishing work. Wakes one parked worker, unless one is being
 * woken already. */
void hcs_parking_wake(struct hcs_parking *parking);

/* Wakes all parked workers. */
void hcs_parking_wake_all(struct hcs_parking *parking);

#endif
