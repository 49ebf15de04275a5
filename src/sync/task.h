/*
 * task - what travels from a loop through the queue to a worker and back.
 *
 * Embedded in the record of a request. Its state says who owns it:
 *
 *   IDLE       its loop
 *   QUEUED     the queue; its loop may cancel it, a worker may take it
 *   TAKEN      the worker that took it, until it is put into its mailbox
 *   CANCELLED  the queue, as a dead entry that nobody runs, until somebody
 *              comes across it and sends it home
 *
 * QUEUED is left by one compare-and-swap, so either the loop or a worker has
 * the last word and both know it.
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
    struct hcs_task *next;     /* in the mailbox */
    struct hcs_mailbox *home;  /* of the loop that owns it */
    _Atomic uint64_t deferral; /* deferral.h: a token, or 0 */
    _Atomic unsigned char state;
    bool brief; /* takes microseconds and never blocks */
};

#endif
