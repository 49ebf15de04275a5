/*
 * queue - a bounded first-in-first-out queue of tasks for any number of
 * threads, in which a waiting task can be cancelled.
 *
 * The bound is exact, and need not be a power of two. A counter of places
 * admits tasks. A ring with at least twice as many cells (Vyukov's bounded
 * MPMC queue) holds them. A task keeps its place until it is cancelled or,
 * after a pop, released. A cancelled task stays in the ring as a dead entry.
 * The thread that pops the dead entry sends the task home. If dead entries
 * fill the ring because no worker pops, a pusher sweeps them out.
 *
 * Owns:    its cells; never the tasks.
 * Threads: push, pop, release and depth from any; cancel from the task's own
 *          loop; create and destroy while no other thread uses the queue.
 * Waits:   never. "Full" and "empty" are results. (A sweep that needs a cell
 *          may yield the processor to the thread that is popping it.)
 */
#ifndef HCS_SYNC_QUEUE_H
#define HCS_SYNC_QUEUE_H

#include "sync/task.h"

#include <stdbool.h>
#include <stddef.h>

enum { HCS_QUEUE_MAX = (1 << 24) + 65535 }; /* tasks that wait or run */

struct hcs_queue; /* opaque */

/* capacity: 1 .. HCS_QUEUE_MAX. NULL when there is no memory. The cells become
 * resident only as they are used. */
struct hcs_queue *hcs_queue_create(size_t capacity);
void hcs_queue_destroy(struct hcs_queue *queue);

/* Takes an IDLE task, which becomes QUEUED. False: the queue is full, and the
 * task is still the caller's, and IDLE. The queue also counts as full if a
 * popper was stopped in the middle of a pop while others went once round the
 * ring. */
bool hcs_queue_push(struct hcs_queue *queue, struct hcs_task *task);

/* Gives the oldest task that was not cancelled; it becomes TAKEN and keeps its
 * place until release. NULL when there is none. */
struct hcs_task *hcs_queue_pop(struct hcs_queue *queue);

/* Frees the place of a popped task. A worker holds the place while it works. So
 * idle workers count as room, and a burst is not refused because the workers
 * have not popped it yet. */
void hcs_queue_release(struct hcs_queue *queue);

/* True: the task will not run, and its place is free. The task comes home
 * through its mailbox, CANCELLED, when a worker or a sweep finds the dead
 * entry. Until then only its loop may touch the record around the task, and no
 * thread may touch the struct hcs_task itself. False: a worker has taken the
 * task. */
bool hcs_queue_cancel(struct hcs_queue *queue, struct hcs_task *task);

/* How many places are taken: by tasks that wait and by tasks that were
 * popped. */
size_t hcs_queue_depth(const struct hcs_queue *queue);

/* Bytes mapped for the cells. */
size_t hcs_queue_bytes(const struct hcs_queue *queue);

/* A hint: whether a pop is likely to find an entry, live or dead. */
bool hcs_queue_has_entries(const struct hcs_queue *queue);

#endif
