/*
 * deferral - tokens for tasks that are answered later, by any thread.
 *
 * A worker that runs a task may open a token for the task, and end the run
 * without a result. A thread that has the token may claim the task, once, and
 * then sends the task home. The task's loop may abandon the task when the
 * client has left or the deadline has passed. Before a claim, that ends the
 * token.
 *
 * Two words decide. Each is changed only by read-modify-write. So two threads
 * that come at once both learn which thread was first:
 *
 *   the task's word (hcs_task.deferral)
 *       none -> the token, by its worker; either -> abandoned, by its loop
 *   the state word of the token's slot in the table
 *       a generation, which the token has to match, and these flags:
 *
 *   RUNNING     the worker has not returned from the run that opened the token
 *   CLAIMED     a thread has claimed the task, and has it alone
 *   DONE        that thread has finished, and leaves the task to its worker
 *   ABANDONED   the client does not wait any more; the last thread that has the
 *               task sends it home
 *
 * If the token is neither RUNNING nor CLAIMED, no thread has the task. Then the
 * loop that abandons the task owns it at once.
 *
 * A slot gets a new generation each time that it is given back. A slot that has
 * used all its generations is never used again. So a token never means another
 * task.
 *
 * A worker hands a token to another thread as any data that threads share:
 * under a lock, or by a release and an acquire.
 *
 * Proved in tests/model/deferral.pml and slots.pml, by the tags in brackets.
 *
 * Owns:    the slots; never the tasks.
 * Threads: open, returned and withdraw from the worker that runs the task;
 *          claim, done and awaits from any; abandon from the task's loop.
 * Waits:   never, except that open may wait a moment for another thread that
 *          allocates slots.
 */
#ifndef HCS_SYNC_DEFERRAL_H
#define HCS_SYNC_DEFERRAL_H

#include "base/budget_fn.h"
#include "sync/task.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_deferrals; /* opaque */

/* The table takes its memory from budget, if budget is not NULL: 16 bytes for
 * each token, for the most tokens that were ever open at once. NULL when there
 * is no memory. */
struct hcs_deferrals *hcs_deferrals_create(
    hcs_budget_take_fn *take, hcs_budget_give_fn *give, void *budget);
void hcs_deferrals_destroy(struct hcs_deferrals *deferrals);

/* Opens a token for the task, which has none yet. 0 when there is no memory. If
 * the task is abandoned already, the token is dead from the start. */
uint64_t hcs_deferrals_open(
    struct hcs_deferrals *deferrals, struct hcs_task *task);

/* Whether the task has a token. Only its worker may ask. */
static inline bool hcs_deferrals_opened(const struct hcs_task *task)
{
    /* [deferral.task] Relaxed: this thread has written it. 1: abandoned. */
    return atomic_load_explicit(&task->deferral, memory_order_relaxed) > 1;
}

/* The run that opened the token has ended without a result. True: no other
 * thread has the task, and the caller sends it home. */
bool hcs_deferrals_returned(
    struct hcs_deferrals *deferrals, struct hcs_task *task);

/* The run has ended with a result, although it opened a token. True: the token
 * is dead, and the caller sends the task home. False: another thread has
 * claimed it and brings the result; call hcs_deferrals_returned next. */
bool hcs_deferrals_withdraw(
    struct hcs_deferrals *deferrals, struct hcs_task *task);

/* Gives the task to the caller alone. NULL when the token is dead. */
struct hcs_task *hcs_deferrals_claim(
    struct hcs_deferrals *deferrals, uint64_t token);

/* Ends a claim. True: the caller sends the task home. False: the task's worker
 * does. */
bool hcs_deferrals_done(struct hcs_deferrals *deferrals, struct hcs_task *task);

/* Whether the token can still be claimed. */
bool hcs_deferrals_awaits(struct hcs_deferrals *deferrals, uint64_t token);

enum hcs_abandoned {
    HCS_ABANDONED_OWNED,   /* by the caller: no other thread has the task */
    HCS_ABANDONED_RUNNING, /* a worker runs the task, and sends it home */
    HCS_ABANDONED_CLAIMED, /* a thread has claimed the task, and sends it home
                              or has just done so */
};

/* The client does not wait any more, and a worker has taken the task. Call it
 * once for each task. */
enum hcs_abandoned hcs_deferrals_abandon(
    struct hcs_deferrals *deferrals, struct hcs_task *task);

/* How many tokens are open. */
size_t hcs_deferrals_open_count(const struct hcs_deferrals *deferrals);

#endif
