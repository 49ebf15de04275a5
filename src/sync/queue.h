/*
 * queue - bounded first-in-first-out queue of tasks, any number of pushers and
 * poppers, whose waiting tasks can be cancelled where they stand.
 *
 * The bound is exact and need be no power of two: a counter of places admits,
 * a ring of at least twice as many cells (Vyukov's bounded MPMC ring) carries. A
 * task has its place until it is cancelled or, once popped, released. Cancelling
 * leaves a dead entry in the ring; whoever pops it sends it home. Should dead
 * entries fill the ring, because no worker pops, a pusher sweeps them out.
 *
 * Owns:    its cells; never the tasks.
 * Threads: push, pop, release and depth from any; cancel from the task's own loop;
 *          create and destroy while no other looks.
 * Waits:   never. Full and empty are answers, and the caller decides. (A sweep
 *          yields the processor to a popper that it meets half-way.)
 */
#ifndef HCS_SYNC_QUEUE_H
#define HCS_SYNC_QUEUE_H

#include "sync/task.h"

#include <stdbool.h>
#include <stddef.h>

enum { HCS_QUEUE_MAX = (1 << 24) + 65535 }; /* to wait and to be run */

struct hcs_queue; /* opaque */

/* capacity: 1 .. HCS_QUEUE_MAX. NULL when there is no memory. Nothing is
 * touched in advance. */
struct hcs_queue *hcs_queue_create(size_t capacity);
void hcs_queue_destroy(struct hcs_queue *queue);

/* Takes an IDLE task, which becomes QUEUED. False when full, or when a popper
 * has been stopped in the middle of a pop for a whole lap of the ring, which has
 * at least twice as many cells as there are places: the task is still the
 * caller's, and IDLE. */
bool hcs_queue_push(struct hcs_queue *queue, struct hcs_task *task);

/* Gives the oldest task that was not cancelled, TAKEN; NULL when there is none.
 * It keeps its place until release. */
struct hcs_task *hcs_queue_pop(struct hcs_queue *queue);

/* Frees the place of a task that was popped. Whoever pops in order to work holds
 * it as long as the work lasts: then those who are free to work count as room,
 * and a burst is not refused because they have not come to it yet. */
void hcs_queue_release(struct hcs_queue *queue);

/* True: the task will not be run, its place is free; the task itself comes
 * home through its mailbox, CANCELLED, when its entry is come across, and must
 * not be touched until then but by its loop, outside struct hcs_task. False: a
 * worker took it. */
bool hcs_queue_cancel(struct hcs_queue *queue, struct hcs_task *task);

/* Places taken: by tasks that wait, and by those that were popped. */
size_t hcs_queue_depth(const struct hcs_queue *queue);

/* Bytes mapped for the cells. */
size_t hcs_queue_bytes(const struct hcs_queue *queue);

/* A hint: whether an entry, live or dead, is likely to be popped. */
bool hcs_queue_has_entries(const struct hcs_queue *queue);

#endif
