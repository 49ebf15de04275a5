/*
 * pool - a fixed number of threads that run the tasks of one queue.
 *
 * Owns:    the queue, the threads and their parking place.
 * Threads: submit, wake, cancel and the counts from any; create, start, stop
 *          and destroy by one at a time.
 * Waits:   start and stop only.
 *
 * A task that may block (not brief) is run only after the results before it
 * were announced, and after another worker was woken if more tasks wait: so
 * the pool is work-conserving. Brief tasks are run in a row, and their results
 * are announced together.
 */
#ifndef HCS_SYNC_POOL_H
#define HCS_SYNC_POOL_H

#include "sync/task.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_pool; /* opaque */

struct hcs_pool_work {
    void *context;
    /* Called on the worker's thread, once, before its first task; gives the
     * worker's own state. NULL: no memory, the start fails. */
    void *(*open)(void *context, unsigned index);
    /* True: the task has ended, and the pool sends it home. False: it is deferred.
     * Then the pool gives the task's place up and calls returned. If returned
     * gives true, the pool sends the task home; otherwise another thread does. */
    bool (*run)(void *worker, struct hcs_task *task);
    bool (*returned)(void *worker, struct hcs_task *task);
    void (*close)(void *worker);
};

/* workers: 1 .. 65535; queue_size, the tasks that may wait when all workers are
 * busy: 1 .. HCS_QUEUE_MAX - workers. work is copied. NULL when there is no
 * memory. */
struct hcs_pool *hcs_pool_create(
    unsigned workers, size_t queue_size, const struct hcs_pool_work *work);

/* Starts the threads and waits until each is open. Tasks may be submitted
 * before: they wait, and the first is run when all workers are open. 0; or
 * -errno: the workers that were started have ended, and no task was run. */
int hcs_pool_start(struct hcs_pool *pool);

/* Lets the queue run empty, and ends the threads. False when they did not end
 * within wait_ms: the pool must not be destroyed, and stop may be called again.
 */
bool hcs_pool_stop(struct hcs_pool *pool, unsigned wait_ms);
void hcs_pool_destroy(struct hcs_pool *pool);

/* Queues a task; false when the queue is full. The caller has to call
 * hcs_pool_wake afterwards, once for all tasks that it submitted in one turn. */
bool hcs_pool_submit(struct hcs_pool *pool, struct hcs_task *task);
void hcs_pool_wake(struct hcs_pool *pool);

/* As hcs_queue_cancel. */
bool hcs_pool_cancel(struct hcs_pool *pool, struct hcs_task *task);

unsigned hcs_pool_workers(const struct hcs_pool *pool);
unsigned hcs_pool_busy(const struct hcs_pool *pool);

/* The tasks that wait, and how many may wait while all workers are busy. */
size_t hcs_pool_depth(const struct hcs_pool *pool);
size_t hcs_pool_capacity(const struct hcs_pool *pool);
size_t hcs_pool_bytes(const struct hcs_pool *pool);

#endif
