/*
 * mailbox - takes results back to the loop that waits for them.
 *
 * A list of tasks. Any thread adds a task; one loop takes all of them at once.
 * Tasks are linked through themselves, so there is always room for one more.
 *
 * The doorbell is an eventfd in the loop's epoll set. It is edge-triggered and
 * never read: each write is a new edge. It has to ring only when the loop may
 * be asleep, and only once until the loop is awake again. One word, the head
 * of the list, decides both:
 *
 *   EMPTY   no task; the loop is awake, and looks before it sleeps
 *   ASLEEP  no task; the loop sleeps or is about to
 *   a task  the newest one; the thread that replaced ASLEEP owes a ring
 *
 * Put, take and sleep are read-modify-writes of this word, so each sees what
 * the one before it left. If a task is put before the loop says that it
 * sleeps, the loop stays awake. If it is put afterwards, its thread owes a
 * ring. So no wake-up is lost.
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

/* 0, or -errno. Open the mailbox before threads make their descriptor tables
 * private, and close it after the last ring. */
int hcs_mailbox_open(struct hcs_mailbox *box);
void hcs_mailbox_close(struct hcs_mailbox *box);

/* Adds the task. True: the caller owes one hcs_mailbox_ring. It may put more
 * tasks first, but rings before it does anything that may take long. */
bool hcs_mailbox_put(struct hcs_mailbox *box, struct hcs_task *task);
void hcs_mailbox_ring(struct hcs_mailbox *box);

/* Takes all tasks: the oldest, with the others behind it by next. NULL when
 * there are none. The loop counts as awake from now on. */
struct hcs_task *hcs_mailbox_take(struct hcs_mailbox *box);

/* The loop is about to sleep. False: there are tasks; take them first. */
bool hcs_mailbox_sleep(struct hcs_mailbox *box);

#endif
