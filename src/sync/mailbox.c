#include "sync/mailbox.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Proved in tests/model/mailbox.pml, by the tags in brackets. */

/* The address of this stands for ASLEEP. No task has this address. */
static struct hcs_task asleep_mark;
#define ASLEEP (&asleep_mark)
#define EMPTY ((struct hcs_task *)NULL)

int hcs_mailbox_open(struct hcs_mailbox *box)
{
    atomic_init(&box->head, EMPTY);
    box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return box->fd < 0 ? -errno : 0;
}

void hcs_mailbox_close(struct hcs_mailbox *box)
{
    if (box->fd >= 0) {
        close(box->fd);
        box->fd = -1;
    }
}

bool hcs_mailbox_put(struct hcs_mailbox *box, struct hcs_task *task)
{
    struct hcs_task *head =
        atomic_load_explicit(&box->head, memory_order_relaxed);

    do {
        task->next = head == ASLEEP ? NULL : head;
        /* [mail] release: the loop sees the content of the task. */
    } while (!atomic_compare_exchange_weak_explicit(
        &box->head, &head, task, memory_order_release, memory_order_relaxed));
    return head == ASLEEP;
}

void hcs_mailbox_ring(struct hcs_mailbox *box)
{
    /* [bell] Cannot fail: EAGAIN would need 2^64 rings, and EINTR does not
     * happen on a descriptor that does not block. Each write is new input, for
     * which epoll(7) promises an edge, whether the earlier input was read or
     * not. */
    (void)eventfd_write(box->fd, 1);
}

struct hcs_task *hcs_mailbox_take(struct hcs_mailbox *box)
{
    /* [mail] acquire: pairs with the release in put. */
    struct hcs_task *task =
        atomic_exchange_explicit(&box->head, EMPTY, memory_order_acquire);
    struct hcs_task *oldest = NULL;

    if (task == ASLEEP) {
        return NULL;
    }
    while (task != NULL) { /* the newest task is the head: reverse the list */
        struct hcs_task *next = task->next;

        task->next = oldest;
        oldest = task;
        task = next;
    }
    return oldest;
}

bool hcs_mailbox_sleep(struct hcs_mailbox *box)
{
    struct hcs_task *head = EMPTY;

    /* [mail.sleep] Relaxed: the loop neither reads nor publishes anything by
     * it. */
    return atomic_compare_exchange_strong_explicit(&box->head, &head, ASLEEP,
               memory_order_relaxed, memory_order_relaxed) ||
           head == ASLEEP;
}
