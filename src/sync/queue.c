#include "sync/queue.h"

#include "sync/mailbox.h"

#include <assert.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Proved in tests/model/queue.pml, by the tags in brackets. */

/* turn counts how often the cell was filled and emptied. It is 2 * lap while
 * the cell waits to be filled in that lap, and 2 * lap + 1 while it waits to be
 * emptied. It starts at 0, so that a fresh zero page is an empty ring. */
struct cell {
    _Atomic uint64_t turn;
    struct hcs_task *task;
};

struct hcs_queue {
    struct cell *cells;
    uint64_t mask;
    unsigned shift; /* position >> shift is the lap */
    size_t capacity;
    alignas(64) _Atomic uint64_t tail;   /* next position to fill */
    alignas(64) _Atomic uint64_t head;   /* next position to empty */
    alignas(64) _Atomic uint64_t places; /* taken */
};

struct hcs_queue *hcs_queue_create(size_t capacity)
{
    struct hcs_queue *queue;
    unsigned shift = 1;

    assert(capacity >= 1 && capacity <= HCS_QUEUE_MAX);
    while ((size_t)1 << shift < 2 * capacity) {
        shift++;
    }
    queue = aligned_alloc(alignof(struct hcs_queue), sizeof(*queue));
    if (queue == NULL) {
        return NULL;
    }
    queue->shift = shift;
    queue->mask = ((uint64_t)1 << shift) - 1;
    queue->capacity = capacity;
    atomic_init(&queue->tail, 0);
    atomic_init(&queue->head, 0);
    atomic_init(&queue->places, 0);
    /* mmap, not calloc: the pages are zero, and nothing writes them. */
    queue->cells = mmap(NULL, hcs_queue_bytes(queue), PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (queue->cells == MAP_FAILED) {
        free(queue);
        return NULL;
    }
    return queue;
}

void hcs_queue_destroy(struct hcs_queue *queue)
{
    if (queue != NULL) {
        munmap(queue->cells, hcs_queue_bytes(queue));
        free(queue);
    }
}

size_t hcs_queue_bytes(const struct hcs_queue *queue)
{
    return (size_t)(queue->mask + 1) * sizeof(struct cell);
}

/* False when the cell at the tail is still full. */
static bool ring_push(struct hcs_queue *queue, struct hcs_task *task)
{
    uint64_t at = atomic_load_explicit(&queue->tail, memory_order_relaxed);

    for (;;) {
        struct cell *cell = &queue->cells[at & queue->mask];
        uint64_t want = (at >> queue->shift) * 2;
        /* [cell] acquire: the popper of the lap before has read the cell. */
        uint64_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);

        if (turn == want) {
            /* [queue.position] Relaxed: it only divides the cells among the
             * pushers; the turn of the cell publishes the content. */
            if (atomic_compare_exchange_weak_explicit(&queue->tail, &at, at + 1,
                    memory_order_relaxed, memory_order_relaxed)) {
                cell->task = task;
                /* [cell] release: the popper sees the content of the task. */
                atomic_store_explicit(
                    &cell->turn, want + 1, memory_order_release);
                return true;
            }
        } else if (turn < want) {
            return false; /* the cell holds the entry of the lap before */
        } else {
            at = atomic_load_explicit(&queue->tail, memory_order_relaxed);
        }
    }
}

/* NULL when the cell at the head is not filled yet. */
static struct hcs_task *ring_pop(struct hcs_queue *queue)
{
    uint64_t at = atomic_load_explicit(&queue->head, memory_order_relaxed);

    for (;;) {
        struct cell *cell = &queue->cells[at & queue->mask];
        uint64_t want = (at >> queue->shift) * 2 + 1;
        /* [cell] acquire: pairs with the release in ring_push. */
        uint64_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);

        if (turn == want) {
            /* [queue.position] Relaxed: as in ring_push. */
            if (atomic_compare_exchange_weak_explicit(&queue->head, &at, at + 1,
                    memory_order_relaxed, memory_order_relaxed)) {
                struct hcs_task *task = cell->task;

                /* [cell] release: the cell has been read, and may be filled. */
                atomic_store_explicit(
                    &cell->turn, want + 1, memory_order_release);
                return task;
            }
        } else if (turn < want) {
            return NULL;
        } else {
            at = atomic_load_explicit(&queue->head, memory_order_relaxed);
        }
    }
}

static bool take_place(struct hcs_queue *queue)
{
    uint64_t taken = atomic_load_explicit(&queue->places, memory_order_relaxed);

    /* Not an addition that is taken back when the queue is full: meanwhile
     * another pusher would see a full queue that is not full. [queue.places]
     * Relaxed: it only counts. */
    do {
        if (taken >= queue->capacity) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&queue->places, &taken,
        taken + 1, memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void free_place(struct hcs_queue *queue)
{
    /* [queue.places] Relaxed: it only counts. */
    atomic_fetch_sub_explicit(&queue->places, 1, memory_order_relaxed);
}

static void send_home(struct hcs_task *task)
{
    struct hcs_mailbox *home = task->home;

    if (hcs_mailbox_put(home, task)) {
        hcs_mailbox_ring(home);
    }
}

static bool is_cancelled(struct hcs_task *task)
{
    /* [task.state] May still read QUEUED; then the sweep keeps a dead entry. */
    return atomic_load_explicit(&task->state, memory_order_acquire) ==
           HCS_TASK_CANCELLED;
}

/* Goes once through the entries of the ring. Dead entries go home. Live
 * entries go back to the end, in their order. Tasks of other pushers may come
 * between them: where clients leave by the thousand, room matters more than
 * order. */
static void sweep(struct hcs_queue *queue)
{
    /* Read the head first. A tail that was read before the head may be behind
     * it, because others push and sweep, too, and then the difference would
     * wrap round. Never go through more than one lap, or live entries would be
     * carried round for ever. */
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    uint64_t count = tail - head <= queue->mask ? tail - head : queue->mask + 1;
    struct hcs_task *kept = NULL;
    struct hcs_task **end = &kept;

    while (count-- > 0) {
        struct hcs_task *task = ring_pop(queue);

        if (task == NULL) {
            break;
        }
        if (is_cancelled(task)) {
            send_home(task);
            continue;
        }
        /* next is free for use while the task is in no ring and no mailbox. */
        task->next = NULL;
        *end = task;
        end = &task->next;
        /* Put entries back as soon as there is room: workers cannot pop the
         * entries that are kept here. */
        while (kept != NULL) {
            struct hcs_task *next = kept->next;

            if (!ring_push(queue, kept)) {
                break;
            }
            kept = next;
            if (kept == NULL) {
                end = &kept;
            }
        }
    }
    /* The ring is full. It holds at least as many dead entries as are kept
     * here, because the places allow live entries in only half of the cells. */
    while (kept != NULL) {
        struct hcs_task *next = kept->next;
        struct hcs_task *task;

        if (ring_push(queue, kept)) {
            kept = next;
            continue;
        }
        task = ring_pop(queue);
        if (task == NULL) {
            /* A thread has claimed the cell that is needed, and was stopped
             * before it emptied the cell. Let it run. */
            sched_yield();
        } else if (is_cancelled(task)) {
            send_home(task);
        } else {
            task->next = NULL;
            for (end = &kept; *end != NULL;) {
                end = &(*end)->next;
            }
            *end = task;
        }
    }
}

bool hcs_queue_push(struct hcs_queue *queue, struct hcs_task *task)
{
    if (!take_place(queue)) {
        return false;
    }
    /* [task.state] Relaxed: the ring publishes it. */
    atomic_store_explicit(&task->state, HCS_TASK_QUEUED, memory_order_relaxed);
    if (ring_push(queue, task)) {
        return true;
    }
    sweep(queue);
    if (ring_push(queue, task)) {
        return true;
    }
    /* A popper was stopped between claiming the cell and emptying it, a whole
     * lap ago. So the ring is full. */
    atomic_store_explicit(&task->state, HCS_TASK_IDLE, memory_order_relaxed);
    free_place(queue);
    return false;
}

struct hcs_task *hcs_queue_pop(struct hcs_queue *queue)
{
    struct hcs_task *task;

    while ((task = ring_pop(queue)) != NULL) {
        unsigned char queued = HCS_TASK_QUEUED;

        /* [task.state] This decides between the worker and the loop. */
        if (atomic_compare_exchange_strong_explicit(&task->state, &queued,
                HCS_TASK_TAKEN, memory_order_acq_rel, memory_order_acquire)) {
            return task;
        }
        send_home(task);
    }
    return NULL;
}

void hcs_queue_release(struct hcs_queue *queue)
{
    free_place(queue);
}

bool hcs_queue_cancel(struct hcs_queue *queue, struct hcs_task *task)
{
    unsigned char queued = HCS_TASK_QUEUED;

    /* [task.state] Release: the thread that pops the dead entry sees all that
     * the loop has done to the record before. */
    if (!atomic_compare_exchange_strong_explicit(&task->state, &queued,
            HCS_TASK_CANCELLED, memory_order_acq_rel, memory_order_acquire)) {
        return false;
    }
    free_place(queue);
    return true;
}

size_t hcs_queue_depth(const struct hcs_queue *queue)
{
    return (size_t)atomic_load_explicit(&queue->places, memory_order_relaxed);
}

bool hcs_queue_has_entries(const struct hcs_queue *queue)
{
    /* [queue.position] Relaxed: a worker that was woken for an entry sees
     * it. */
    return atomic_load_explicit(&queue->tail, memory_order_relaxed) !=
           atomic_load_explicit(&queue->head, memory_order_relaxed);
}
