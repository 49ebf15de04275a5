/*
 * deferral - tokens of tasks that are answered later, by any thread.
 *
 * A worker that runs a task may open a token for it, and end the run without a
 * result. Whoever has the token claims the task, once, and sends it home. Until
 * then the task's loop may abandon it: its client left, or its time is up.
 *
 * Two words decide, each changed only by read-modify-write, so that two who
 * come at once both learn who was first:
 *
 *   the task's (hcs_task.deferral)   none -> the token, by its worker;
 *                                    either -> abandoned, by its loop
 *   the token's place in the table   a generation, which a token has to match,
 *                                    and what has happened since it was opened
 *
 *   RUNNING     its worker has not returned from the run that opened it
 *   CLAIMED     by one thread, which has the task for itself
 *   DONE        that thread has ended, and left the task to its worker
 *   ABANDONED   nobody waits, and who is last to have it sends it home
 *
 * A token that is neither RUNNING nor CLAIMED has the task alone, so a loop that
 * abandons it then owns the task at once. A place that was given back has
 * another generation, and one whose generations are used up is not used again: a
 * token never means another task.
 *
 * A token goes from its worker to whoever claims it as all that threads share:
 * under a lock, or by a release and an acquire.
 *
 * Proved in tests/model/deferral.pml and places.pml, by the tags in brackets.
 *
 * Owns:    the places; never the tasks.
 * Threads: open, returned and withdraw by the worker that runs the task; claim,
 *          done and awaits from any; abandon by the task's loop.
 * Waits:   never, but that open may for a moment, while another thread
 *          allocates.
 */
#ifndef HCS_SYNC_DEFERRAL_H
#define HCS_SYNC_DEFERRAL_H

#include "base/budget_fn.h"
#include "sync/task.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_deferrals; /* opaque */

/* budget, if not NULL, is asked for the table's memory, which grows with the
 * most tokens that were ever open at once, by 16 bytes each. NULL when there is
 * no memory. */
struct hcs_deferrals *hcs_deferrals_create(
    hcs_budget_take_fn *take, hcs_budget_give_fn *give, void *budget);
void hcs_deferrals_destroy(struct hcs_deferrals *deferrals);

/* Opens a token for the task, which has none yet. 0 when there is no memory.
 * Where nobody waits for the task any more it is dead from the start. */
uint64_t hcs_deferrals_open(
    struct hcs_deferrals *deferrals, struct hcs_task *task);

/* Whether its worker opened one: for that worker. */
static inline bool hcs_deferrals_opened(const struct hcs_task *task)
{
    /* [deferral.task] Relaxed: this thread has written it. 1: nobody waits. */
    return atomic_load_explicit(&task->deferral, memory_order_relaxed) > 1;
}

/* The run that opened the token has ended without a result. True: nobody else
 * has the task, and the caller sends it home. */
bool hcs_deferrals_returned(
    struct hcs_deferrals *deferrals, struct hcs_task *task);

/* The run has ended with a result after all. True: the token is dead, and the
 * caller sends the task home; false: it was claimed, and the result comes from
 * there: go on as with hcs_deferrals_returned. */
bool hcs_deferrals_withdraw(
    struct hcs_deferrals *deferrals, struct hcs_task *task);

/* The task, for the caller alone; NULL when the token is dead. */
struct hcs_task *hcs_deferrals_claim(
    struct hcs_deferrals *deferrals, uint64_t token);

/* Ends what claim began. True: the caller sends the task home; false: its
 * worker does. */
bool hcs_deferrals_done(struct hcs_deferrals *deferrals, struct hcs_task *task);

/* Whether the token may still be claimed. */
bool hcs_deferrals_awaits(struct hcs_deferrals *deferrals, uint64_t token);

enum hcs_abandoned {
    HCS_ABANDONED_OWNED,   /* by the caller: nobody else has the task */
    HCS_ABANDONED_RUNNING, /* a worker is in its run, and sends it home */
    HCS_ABANDONED_CLAIMED, /* by a thread that sends it home, or has just */
};

/* Nobody waits for the taken task any more. Once. */
enum hcs_abandoned hcs_deferrals_abandon(
    struct hcs_deferrals *deferrals, struct hcs_task *task);

/* Tokens that are open. */
size_t hcs_deferrals_open_count(const struct hcs_deferrals *deferrals);

#endif
