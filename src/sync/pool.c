#include "sync/pool.h"

#include "sync/mailbox.h"
#include "sync/parking.h"
#include "sync/queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Proved in tests/model/parking.pml and whole.pml, by the tags in brackets. */

enum {
    BRIEF_BATCH = 32,         /* results of brief tasks announced together */
    STACK_BYTES = 1024 * 1024 /* address space; touched as it is used */
};

struct worker {
    alignas(64) _Atomic bool busy; /* others read it: on a line of its own */
    struct hcs_pool *pool;
    pthread_t thread;
    void *state; /* of the work */
    unsigned index;
    unsigned unannounced;                 /* results since the last rings */
    unsigned owed;                        /* rings */
    struct hcs_mailbox *owe[BRIEF_BATCH]; /* the mailboxes to ring */
};

enum verdict { UNDECIDED, RUN, END };

struct hcs_pool {
    struct hcs_pool_work work;
    struct hcs_queue *queue;
    size_t queue_size;
    struct worker *workers;
    unsigned count;
    unsigned started;
    pthread_mutex_t lock;   /* of all up to ended */
    pthread_cond_t changed; /* open, failed or ended; start and stop wait */
    pthread_cond_t decided; /* the verdict; open workers wait */
    enum verdict verdict;   /* what open workers do, once all are open */
    unsigned open;
    unsigned failed;
    unsigned ended;
    _Atomic bool stopping;
    struct hcs_parking parking;
};

struct hcs_pool *hcs_pool_create(
    unsigned workers, size_t queue_size, const struct hcs_pool_work *work)
{
    struct hcs_pool *pool =
        aligned_alloc(alignof(struct hcs_pool), sizeof(struct hcs_pool));
    pthread_condattr_t monotonic;

    assert(workers >= 1 && workers <= 65535);
    if (pool == NULL) {
        return NULL;
    }
    memset(pool, 0, sizeof(*pool));
    pool->work = *work;
    pool->count = workers;
    atomic_init(&pool->stopping, false);
    hcs_parking_init(&pool->parking);
    /* A free worker is room for one more task, even before it has woken up.
     * Otherwise a burst that fills the queue would be refused while workers are
     * still waking up. */
    pool->queue = hcs_queue_create(queue_size + workers);
    pool->queue_size = queue_size;
    pool->workers =
        aligned_alloc(alignof(struct worker), workers * sizeof(struct worker));
    if (pool->queue == NULL || pool->workers == NULL) {
        hcs_queue_destroy(pool->queue);
        free(pool->workers);
        free(pool);
        return NULL;
    }
    memset(pool->workers, 0, workers * sizeof(struct worker));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&pool->decided, NULL);
    return pool;
}

void hcs_pool_destroy(struct hcs_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    hcs_queue_destroy(pool->queue);
    pthread_cond_destroy(&pool->decided);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

static void pay_rings(struct worker *worker)
{
    for (unsigned i = 0; i < worker->owed; i++) {
        hcs_mailbox_ring(worker->owe[i]);
    }
    worker->owed = 0;
    worker->unannounced = 0;
}

static void run_task(struct worker *worker, struct hcs_task *task)
{
    struct hcs_pool *pool = worker->pool;
    struct hcs_mailbox *home = task->home;
    bool ended;

    if (!task->brief) {
        pay_rings(worker);
        if (hcs_queue_has_entries(pool->queue)) {
            hcs_parking_wake(&pool->parking);
        }
    }
    /* Relaxed: it is a metric, and tells main whether a job has ended. */
    atomic_store_explicit(&worker->busy, true, memory_order_relaxed);
    ended = pool->work.run(worker->state, task);
    atomic_store_explicit(&worker->busy, false, memory_order_relaxed);
    /* Before the result goes home: its client may send the next job then. */
    hcs_queue_release(pool->queue);
    if (!ended && !pool->work.returned(worker->state, task)) {
        return; /* the thread that completes the task sends it home */
    }
    /* From here on the task belongs to its loop. */
    if (hcs_mailbox_put(home, task)) {
        worker->owe[worker->owed++] = home;
    }
    if (++worker->unannounced == BRIEF_BATCH) {
        pay_rings(worker);
    }
}

/* The next task; NULL when the pool ends. Sleeps while there is none. */
static struct hcs_task *next_task(struct worker *worker)
{
    struct hcs_pool *pool = worker->pool;
    struct hcs_task *task = hcs_queue_pop(pool->queue);

    while (task == NULL) {
        uint32_t epoch;
        bool stopping;

        pay_rings(worker);
        epoch = hcs_parking_announce(&pool->parking);
        /* [pool.stopping] acquire, and before the look at the queue: that look
         * finds every task that was submitted before the stop. A stop that comes
         * later wakes all workers, and the announcement is ordered with it. */
        stopping = atomic_load_explicit(&pool->stopping, memory_order_acquire);
        task = hcs_queue_pop(pool->queue);
        if (task != NULL) {
            hcs_parking_leave(&pool->parking);
        } else if (stopping) {
            hcs_parking_leave(&pool->parking);
            return NULL;
        } else {
            hcs_parking_wait(&pool->parking, epoch);
            task = hcs_queue_pop(pool->queue);
        }
    }
    return task;
}

/* A name has 15 bytes at most: pthread_setname_np(3). */
static void set_name(unsigned index)
{
    char name[16];

    (void)snprintf(name, sizeof(name),
        index < 1000 ? "hcsd-worker-%u" : "hcsd-work-%u", index % 100000);
    (void)pthread_setname_np(pthread_self(), name);
}

/* Waits until all workers are open, or one is not. True when tasks are to be
 * run: none is while another worker may still fail the start. */
static bool await_verdict(struct hcs_pool *pool, bool is_open)
{
    enum verdict verdict;

    pthread_mutex_lock(&pool->lock);
    pool->open += is_open;
    pool->failed += !is_open;
    pthread_cond_signal(&pool->changed);
    while (is_open && pool->verdict == UNDECIDED) {
        pthread_cond_wait(&pool->decided, &pool->lock);
    }
    verdict = pool->verdict;
    pthread_mutex_unlock(&pool->lock);
    return is_open && verdict == RUN;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct hcs_pool *pool = worker->pool;
    struct hcs_task *task;

    set_name(worker->index);
    worker->state = pool->work.open(pool->work.context, worker->index);
    if (await_verdict(pool, worker->state != NULL)) {
        while ((task = next_task(worker)) != NULL) {
            run_task(worker, task);
        }
    }
    if (worker->state != NULL) {
        pool->work.close(worker->state);
    }
    pthread_mutex_lock(&pool->lock);
    pool->ended++;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

int hcs_pool_start(struct hcs_pool *pool)
{
    pthread_attr_t attributes;
    int rc = -pthread_attr_init(&attributes);

    if (rc != 0) {
        return rc;
    }
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (rc == 0 && pool->started < pool->count) {
        struct worker *worker = &pool->workers[pool->started];

        worker->pool = pool;
        worker->index = pool->started;
        rc = -pthread_create(&worker->thread, &attributes, worker_main, worker);
        if (rc == 0) {
            pool->started++;
        }
    }
    pthread_attr_destroy(&attributes);
    pthread_mutex_lock(&pool->lock);
    while (pool->open + pool->failed < pool->started) {
        pthread_cond_wait(&pool->changed, &pool->lock);
    }
    if (rc == 0 && pool->failed > 0) {
        rc = -ENOMEM;
    }
    pool->verdict = rc == 0 ? RUN : END;
    pthread_cond_broadcast(&pool->decided);
    pthread_mutex_unlock(&pool->lock);
    if (rc != 0) {
        (void)hcs_pool_stop(pool, UINT32_MAX); /* no task has begun */
    }
    return rc;
}

static struct timespec from_now(unsigned wait_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += wait_ms / 1000;
    at.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

bool hcs_pool_stop(struct hcs_pool *pool, unsigned wait_ms)
{
    struct timespec until = from_now(wait_ms);
    bool all;
    int rc = 0;

    /* [pool.stopping] release: a worker that sees the stop also sees the tasks
     * that were submitted before it. */
    atomic_store_explicit(&pool->stopping, true, memory_order_release);
    hcs_parking_wake_all(&pool->parking);
    pthread_mutex_lock(&pool->lock);
    while (pool->ended < pool->started && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
    }
    all = pool->ended == pool->started;
    pthread_mutex_unlock(&pool->lock);
    if (all) {
        for (unsigned i = 0; i < pool->started; i++) {
            pthread_join(pool->workers[i].thread, NULL);
        }
        pool->started = 0;
        pool->ended = 0;
    }
    return all;
}

bool hcs_pool_submit(struct hcs_pool *pool, struct hcs_task *task)
{
    if (hcs_queue_push(pool->queue, task)) {
        return true;
    }
    /* The push may have swept the ring, and held the live tasks for a moment. A
     * worker that looked then found none, and is going to sleep. The caller does
     * not wake it, since its own task was refused. */
    hcs_parking_wake(&pool->parking);
    return false;
}

void hcs_pool_wake(struct hcs_pool *pool)
{
    hcs_parking_wake(&pool->parking);
}

bool hcs_pool_cancel(struct hcs_pool *pool, struct hcs_task *task)
{
    return hcs_queue_cancel(pool->queue, task);
}

unsigned hcs_pool_workers(const struct hcs_pool *pool)
{
    return pool->count;
}

unsigned hcs_pool_busy(const struct hcs_pool *pool)
{
    unsigned busy = 0;

    for (unsigned i = 0; i < pool->count; i++) {
        busy +=
            atomic_load_explicit(&pool->workers[i].busy, memory_order_relaxed);
    }
    return busy;
}

size_t hcs_pool_depth(const struct hcs_pool *pool)
{
    size_t places = hcs_queue_depth(pool->queue);
    size_t busy = hcs_pool_busy(pool);

    return places > busy ? places - busy : 0;
}

size_t hcs_pool_capacity(const struct hcs_pool *pool)
{
    return pool->queue_size;
}

size_t hcs_pool_bytes(const struct hcs_pool *pool)
{
    return hcs_queue_bytes(pool->queue) + pool->count * sizeof(struct worker);
}
