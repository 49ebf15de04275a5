/* ctest: cores=2 slow */
#include "sync/parking.h"

#include "sync/mailbox.h"
#include "sync/queue.h"

#include "storm.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Workers here do what the pool's do, with the real queue, and hold still in
 * between. */

enum { WORKERS = 4, PUSHERS = 3, BURST_MAX = 8, RUN_MS = 1200 };

struct job {
    struct hcs_task task;      /* first */
    _Atomic unsigned finished; /* 1 when it was run */
    _Atomic unsigned *gate;    /* it counts itself in there, and waits */
    unsigned gate_count;       /* until so many are in */
};

struct lot {
    struct hcs_parking parking;
    struct hcs_queue *queue;
    struct hcs_mailbox unused; /* no task comes home dead */
    pthread_t workers[WORKERS];
    pthread_t pushers[PUSHERS];
    _Atomic bool stopping;
    _Atomic uint64_t run;
    uint64_t pushed[PUSHERS];
    uint64_t end_ms;
};

static struct lot lot;

struct pusher {
    unsigned index;
};

static struct hcs_task *pop(struct hcs_queue *queue)
{
    struct hcs_task *task = hcs_queue_pop(queue);

    if (task != NULL) {
        hcs_queue_release(queue);
    }
    return task;
}

static struct hcs_task *next_task(void)
{
    struct hcs_task *task = pop(lot.queue);

    while (task == NULL) {
        uint32_t epoch = hcs_parking_announce(&lot.parking);

        task = pop(lot.queue);
        if (task != NULL) {
            hcs_parking_leave(&lot.parking);
        } else if (atomic_load(&lot.stopping)) {
            hcs_parking_leave(&lot.parking);
            return NULL;
        } else {
            storm_set_shelter(true);
            hcs_parking_wait(&lot.parking, epoch);
            storm_set_shelter(false);
            task = pop(lot.queue);
        }
    }
    return task;
}

static void *work(void *argument)
{
    struct hcs_task *task;

    (void)argument;
    storm_join();
    while ((task = next_task()) != NULL) {
        struct job *job = (struct job *)(void *)task;

        if (!task->brief && hcs_queue_has_entries(lot.queue)) {
            hcs_parking_wake(&lot.parking);
        }
        if (job->gate != NULL) {
            atomic_fetch_add(job->gate, 1);
            while (atomic_load(job->gate) < job->gate_count) {
                storm_nap_us(10);
            }
        }
        atomic_fetch_add(&lot.run, 1);
        storm_progress();
        CHECK(atomic_load(&job->finished) == 0);
        atomic_store(&job->finished, 1);
    }
    storm_leave();
    return NULL;
}

static void push_one(
    struct job *job, bool brief, _Atomic unsigned *gate, unsigned gate_count)
{
    atomic_store(&job->finished, 0);
    atomic_store(&job->task.state, HCS_TASK_IDLE);
    job->task.brief = brief;
    job->task.home = &lot.unused;
    job->gate = gate;
    job->gate_count = gate_count;
    /* There is a place for it. But a worker that is stopped in the middle of a
     * pop, while the others go once round the ring, is in the way. */
    while (!hcs_queue_push(lot.queue, &job->task)) {
        storm_nap_us(10);
    }
}

/* A burst, one wake-up, and then it waits for its jobs, as the others do for
 * theirs: a wake-up that is lost is not made good by a later one. */
static void *push_bursts(void *argument)
{
    const unsigned index = ((const struct pusher *)argument)->index;
    uint64_t state = 7919u * (index + 1);
    struct job jobs[BURST_MAX];

    memset(jobs, 0, sizeof(jobs));
    storm_join();
    while (storm_now_ms() < lot.end_ms) {
        uint64_t random = storm_random(&state);
        unsigned burst = 1 + (unsigned)(random % BURST_MAX);

        for (unsigned i = 0; i < burst; i++) {
            push_one(&jobs[i], (random >> (8 + i)) % 2 == 0, NULL, 0);
        }
        hcs_parking_wake(&lot.parking);
        lot.pushed[index] += burst;
        for (unsigned i = 0; i < burst; i++) {
            while (atomic_load(&jobs[i].finished) == 0) {
                if (storm_random(&state) % 64 == 0) {
                    storm_nap_us(5);
                }
            }
        }
        if (random >> 60 == 0) {
            storm_nap_us(200); /* let all workers fall asleep */
        }
    }
    storm_leave();
    return NULL;
}

static void lot_init(void)
{
    memset(&lot, 0, sizeof(lot));
    hcs_parking_init(&lot.parking);
    lot.queue = hcs_queue_create(PUSHERS * BURST_MAX);
    assert_non_null(lot.queue);
    lot.end_ms = storm_now_ms() + RUN_MS;
    storm_begin("parking");
    for (unsigned i = 0; i < WORKERS; i++) {
        CHECK(pthread_create(&lot.workers[i], NULL, work, NULL) == 0);
    }
}

static void lot_fini(void)
{
    atomic_store(&lot.stopping, true);
    hcs_parking_wake_all(&lot.parking);
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(lot.workers[i], NULL);
    }
    storm_end();
    /* Nobody is parked, and no wake-up is under way. */
    assert_int_equal((uint32_t)atomic_load(&lot.parking.word), 0);
    hcs_queue_destroy(lot.queue);
}

static void no_burst_is_slept_through(void **state)
{
    struct pusher pushers[PUSHERS];
    uint64_t pushed = 0;

    (void)state;
    lot_init();
    for (unsigned i = 0; i < PUSHERS; i++) {
        pushers[i].index = i;
        CHECK(pthread_create(&lot.pushers[i], NULL, push_bursts, &pushers[i]) ==
              0);
    }
    for (unsigned i = 0; i < PUSHERS; i++) {
        pthread_join(lot.pushers[i], NULL);
        pushed += lot.pushed[i];
    }
    lot_fini();
    assert_int_equal(atomic_load(&lot.run), pushed);
}

/* As many jobs as there are workers, each of which ends only when all run: one
 * wake-up for all of them must bring up every worker, one by one. */
static void one_wake_up_brings_a_worker_for_each_blocking_job(void **state)
{
    struct job jobs[WORKERS];
    uint64_t rounds = 0;

    (void)state;
    memset(jobs, 0, sizeof(jobs));
    lot_init();
    do {
        _Atomic unsigned gate = 0;

        for (unsigned i = 0; i < WORKERS; i++) {
            push_one(&jobs[i], false, &gate, WORKERS);
        }
        hcs_parking_wake(&lot.parking);
        for (unsigned i = 0; i < WORKERS; i++) {
            while (atomic_load(&jobs[i].finished) == 0) {
                storm_nap_us(20);
            }
        }
        rounds++;
    } while (storm_now_ms() < lot.end_ms);
    lot_fini();
    assert_int_equal(atomic_load(&lot.run), rounds * WORKERS);
}

/* Two workers, one job back and forth: the case in which each side is most
 * often on its way to sleep when the other publishes. */
static void no_single_job_is_slept_through(void **state)
{
    struct job job;
    uint64_t rounds = 0;
    uint64_t random = 4711;

    (void)state;
    memset(&job, 0, sizeof(job));
    lot_init();
    while (storm_now_ms() < lot.end_ms) {
        push_one(&job, rounds % 2 == 0, NULL, 0);
        hcs_parking_wake(&lot.parking);
        while (atomic_load(&job.finished) == 0) {
            if (storm_random(&random) % 64 == 0) {
                storm_nap_us(2);
            }
        }
        for (uint64_t i = storm_random(&random) % 256; i > 0; i--) {
            atomic_signal_fence(memory_order_seq_cst);
        }
        rounds++;
    }
    lot_fini();
    assert_int_equal(atomic_load(&lot.run), rounds);
}

/* --- Store buffering: each side writes, then looks at what the other wrote,
 * and one of them at least has to see it. Both set off together, millions of
 * times and without ever sleeping, since the window is a few nanoseconds. */

struct duel {
    struct hcs_parking parking;
    struct hcs_queue *queue;
    struct hcs_task task;
    alignas(64) _Atomic uint64_t pusher_round;
    alignas(64) _Atomic uint64_t worker_round;
    uint32_t epoch;        /* the worker would sleep on */
    struct hcs_task *seen; /* at its second look */
    _Atomic bool over;
};

static struct duel duel;

/* Both sides say which step they are at, and wait until the other is there. */
static void meet(
    _Atomic uint64_t *mine, const _Atomic uint64_t *others, uint64_t step)
{
    atomic_store_explicit(mine, step, memory_order_release);
    for (unsigned spins = 0;
         atomic_load_explicit(others, memory_order_acquire) < step; spins++) {
        if (spins > 20000) { /* one core, or the other has lost its own */
            storm_nap_us(1);
            spins = 0;
        }
    }
}

static void *announce_and_look(void *argument)
{
    uint64_t step = 0;
    uint64_t random = 2718281;

    (void)argument;
    for (;;) {
        meet(&duel.worker_round, &duel.pusher_round, ++step);
        if (atomic_load(&duel.over)) {
            return NULL;
        }
        /* About as long as the other one takes to push: then it looks. */
        for (uint64_t i = storm_random(&random) % 400; i > 0; i--) {
            atomic_signal_fence(memory_order_seq_cst);
        }
        duel.epoch = hcs_parking_announce(&duel.parking);
        duel.seen = pop(duel.queue);
        meet(&duel.worker_round, &duel.pusher_round, ++step);
        /* The other one looks at what came out of it. */
        meet(&duel.worker_round, &duel.pusher_round, ++step);
        hcs_parking_leave(&duel.parking);
        if (duel.seen == NULL) {
            CHECK(pop(duel.queue) == &duel.task);
        }
    }
}

static void who_publishes_or_who_lies_down_sees_the_other(void **state)
{
    pthread_t worker;
    uint64_t step = 0;
    uint64_t end_ms = storm_now_ms() + RUN_MS;
    uint64_t rounds = 0;

    (void)state;
    memset(&duel, 0, sizeof(duel));
    hcs_parking_init(&duel.parking);
    duel.queue = hcs_queue_create(1);
    assert_non_null(duel.queue);
    assert_int_equal(pthread_create(&worker, NULL, announce_and_look, NULL), 0);
    for (;;) {
        if (++rounds % 1024 == 0 && storm_now_ms() >= end_ms) {
            atomic_store(&duel.over, true);
        }
        meet(&duel.pusher_round, &duel.worker_round, ++step);
        if (atomic_load(&duel.over)) {
            break;
        }
        CHECK(hcs_queue_push(duel.queue, &duel.task));
        hcs_parking_wake(&duel.parking);
        meet(&duel.pusher_round, &duel.worker_round, ++step);
        CHECK(duel.seen != NULL ||
              (uint32_t)(atomic_load(&duel.parking.word) >> 32) != duel.epoch);
        meet(&duel.pusher_round, &duel.worker_round, ++step);
    }
    pthread_join(worker, NULL);
    hcs_queue_destroy(duel.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_publishes_or_who_lies_down_sees_the_other),
        cmocka_unit_test(no_burst_is_slept_through),
        cmocka_unit_test(one_wake_up_brings_a_worker_for_each_blocking_job),
        cmocka_unit_test(no_single_job_is_slept_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
