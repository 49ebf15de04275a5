/*
 * task - goes from a loop through the queue to a worker, and back.
 *
 * It is embedded in the record of a request. Its state says which one owns it:
 *
 *   IDLE       its loop
 *   QUEUED     the queue; its loop may cancel it, and a worker may take it
 *   TAKEN      the worker that took it, until it puts it into the mailbox
 *   CANCELLED  the queue: a dead entry that no worker runs, until a worker or a
 *              sweep finds it and sends it home
 *
 * One compare-and-swap ends QUEUED. So either the loop or a worker wins, and
 * both know which one.
 *
 * Owns:    nothing.
 * Threads: as above.
 * Waits:   never.
 */
#ifndef HCS_SYNC_TASK_H
#define HCS_SYNC_TASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hcs_mailbox;

enum hcs_task_state {
    HCS_TASK_IDLE,
    HCS_TASK_QUEUED,
    HCS_TASK_TAKEN,
    HCS_TASK_CANCELLED,
};

struct hcs_task {
    struct hcs_task *next;       /* in the mailbox */
    struct hcs_mailbox *home;    /* of its loop */
    _Atomic uint64_t deferral;   /* a token, or 0: deferral.h */
    _Atomic unsigned char state; /* enum hcs_task_state */
    bool brief;                  /* its run takes microseconds, never blocks */
};

#endif
