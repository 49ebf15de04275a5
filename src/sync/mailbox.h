/*
 * mailbox - results on their way to the loop that waits for them.
 *
 * A list of tasks that any thread adds to and one loop takes whole. Tasks are
 * linked through themselves, so a mailbox can always take one more.
 *
 * The doorbell is an eventfd in the loop's epoll set, edge-triggered, so that
 * it is never read: each ring is a new edge. It has to ring only when the loop
 * may be asleep, and only once until the loop is awake again. Both are decided
 * by the one word that the tasks hang on:
 *
 *   EMPTY   no task, the loop is awake and will look before it sleeps
 *   ASLEEP  no task, the loop sleeps or is about to
 *   a task  the last one put; whoever replaced ASLEEP owes a ring
 *
 * Since put, take and sleep are all read-modify-writes of that word, each sees
 * what the one before it left: a task put before the loop lies down keeps it
 * up, one put after it owes a ring. Nothing is slept on.
 *
 * Owns:    the eventfd; never the tasks.
 * Threads: put and ring from any; take and sleep from the loop.
 * Waits:   never.
 */
#ifndef HCS_SYNC_MAILBOX_H
#define HCS_SYNC_MAILBOX_H

#include "sync/task.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>

struct hcs_mailbox {
    alignas(64) _Atomic(struct hcs_task *) head;
    int fd;
};

/* 0, or -errno. The descriptor must be opened before tables are made private
 * and be closed after the last ring. */
int hcs_mailbox_open(struct hcs_mailbox *box);
void hcs_mailbox_close(struct hcs_mailbox *box);

/* Puts the task. True: the caller owes one hcs_mailbox_ring, at once or after
 * more puts, but before it does anything that may take long. */
bool hcs_mailbox_put(struct hcs_mailbox *box, struct hcs_task *task);
void hcs_mailbox_ring(struct hcs_mailbox *box);

/* The tasks put so far, oldest first, linked by next; NULL when there are
 * none. Marks the loop as awake. */
struct hcs_task *hcs_mailbox_take(struct hcs_mailbox *box);

/* The loop is about to sleep. False: there are tasks, take them first. */
bool hcs_mailbox_sleep(struct hcs_mailbox *box);

#endif
