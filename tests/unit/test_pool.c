/* ctest: builds=release,asan,tsan */
#include "sync/pool.h"

#include "sync/mailbox.h"
#include "sync/parking.h"
#include "sync/queue.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000, NO_FAILURE = -1 };

static bool mmap_fails;
static int create_fails_after = NO_FAILURE; /* so many threads */

void *__real_mmap(
    void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(
    void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (mmap_fails) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(at, length, protection, flags, fd, offset);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument)
{
    if (create_fails_after == 0) {
        return EAGAIN;
    }
    if (create_fails_after > 0) {
        create_fails_after--;
    }
    return __real_pthread_create(thread, attributes, run, argument);
}

/* A worker looks into the queue when it has nothing to do, and once more after
 * it has announced that it lies down. With the pause, whatever that second look
 * found is known to it only after a stop was begun. */
static bool second_look_pauses;
static _Atomic unsigned empty_looks;
static _Atomic unsigned stops;

struct hcs_task *__real_hcs_queue_pop(struct hcs_queue *queue);
struct hcs_task *__wrap_hcs_queue_pop(struct hcs_queue *queue)
{
    struct hcs_task *task = __real_hcs_queue_pop(queue);

    if (second_look_pauses && task == NULL &&
        atomic_fetch_add(&empty_looks, 1) == 1) {
        for (unsigned ms = 0; atomic_load(&stops) == 0; ms++) {
            assert_true(ms < PATIENCE_MS);
            usleep(1000);
        }
    }
    return task;
}

void __real_hcs_parking_wake_all(struct hcs_parking *parking);
void __wrap_hcs_parking_wake_all(struct hcs_parking *parking)
{
    __real_hcs_parking_wake_all(parking);
    atomic_fetch_add(&stops, 1);
}

struct plant {
    _Atomic unsigned opened;
    _Atomic unsigned closed;
    _Atomic unsigned begun;
    _Atomic unsigned run;
    _Atomic unsigned returned;
    _Atomic unsigned depth; /* when the last one returned */
    unsigned open_fails_at; /* index; UINT_MAX: none */
    sem_t go;               /* one for each task that holds */
    struct hcs_mailbox home;
    struct hcs_pool *pool;
};

struct job {
    struct hcs_task task;   /* first */
    bool deferred;          /* run says so */
    bool goes_home;         /* then returned says so */
    bool holds;             /* until the test lets it go */
    _Atomic unsigned place; /* when it was run: 1 for the first */
};

static void *open_worker(void *context, unsigned index)
{
    struct plant *plant = context;

    atomic_fetch_add(&plant->opened, 1);
    return index == plant->open_fails_at ? NULL : plant;
}

static bool run_job(void *worker, struct hcs_task *task)
{
    struct plant *plant = worker;
    struct job *job = (struct job *)(void *)task;

    atomic_store(&job->place, atomic_fetch_add(&plant->begun, 1) + 1);
    if (job->holds) {
        while (sem_wait(&plant->go) != 0) {
        }
    }
    atomic_fetch_add(&plant->run, 1);
    return !job->deferred;
}

/* Its place is free by then. */
static bool returned(void *worker, struct hcs_task *task)
{
    struct plant *plant = worker;
    const struct job *job = (const struct job *)(const void *)task;

    assert_true(job->deferred);
    atomic_store(&plant->depth, (unsigned)hcs_pool_depth(plant->pool));
    atomic_fetch_add(&plant->returned, 1);
    return job->goes_home;
}

static void close_worker(void *worker)
{
    struct plant *plant = worker;

    atomic_fetch_add(&plant->closed, 1);
}

static void make_plant(struct plant *plant, unsigned workers, size_t queue_size)
{
    const struct hcs_pool_work work = {
        .context = plant,
        .open = open_worker,
        .run = run_job,
        .returned = returned,
        .close = close_worker,
    };

    memset(plant, 0, sizeof(*plant));
    plant->open_fails_at = UINT32_MAX;
    assert_int_equal(sem_init(&plant->go, 0, 0), 0);
    assert_int_equal(hcs_mailbox_open(&plant->home), 0);
    plant->pool = hcs_pool_create(workers, queue_size, &work);
    assert_non_null(plant->pool);
}

static void break_plant(struct plant *plant)
{
    hcs_pool_destroy(plant->pool);
    hcs_mailbox_close(&plant->home);
    sem_destroy(&plant->go);
}

static void wait_until(_Atomic unsigned *number, unsigned value)
{
    for (unsigned ms = 0; atomic_load(number) < value; ms++) {
        assert_true(ms < PATIENCE_MS);
        usleep(1000);
    }
    assert_int_equal(atomic_load(number), value);
}

static bool submit(struct plant *plant, struct job *job)
{
    job->task.home = &plant->home;
    return hcs_pool_submit(plant->pool, &job->task);
}

static unsigned count_home(struct plant *plant, unsigned wanted)
{
    unsigned count = 0;

    for (unsigned ms = 0; count < wanted && ms < PATIENCE_MS; ms++) {
        struct hcs_task *task = hcs_mailbox_take(&plant->home);

        for (; task != NULL; task = task->next) {
            count++;
        }
        usleep(1000);
    }
    return count;
}

static void a_started_pool_is_open_idle_and_stops(void **state)
{
    struct plant plant;

    (void)state;
    make_plant(&plant, 4, 7);
    assert_int_equal(hcs_pool_workers(plant.pool), 4);
    assert_int_equal(hcs_pool_capacity(plant.pool), 7);
    assert_true(hcs_pool_bytes(plant.pool) >= 16 * 16);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    assert_int_equal(atomic_load(&plant.opened), 4);
    assert_int_equal(hcs_pool_busy(plant.pool), 0);
    assert_int_equal(hcs_pool_depth(plant.pool), 0);
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    assert_int_equal(atomic_load(&plant.closed), 4);
    break_plant(&plant);
}

static void results_come_home_and_the_doorbell_rings(void **state)
{
    struct plant plant;
    struct job jobs[3] = {0};
    uint64_t rings;

    (void)state;
    make_plant(&plant, 1, 3);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    assert_true(hcs_mailbox_sleep(&plant.home));
    for (size_t i = 0; i < 3; i++) {
        jobs[i].task.brief = true;
        assert_true(submit(&plant, &jobs[i]));
    }
    hcs_pool_wake(plant.pool);
    for (unsigned ms = 0;
         read(plant.home.fd, &rings, sizeof(rings)) != sizeof(rings); ms++) {
        assert_true(ms < PATIENCE_MS);
        usleep(1000);
    }
    assert_int_equal(count_home(&plant, 3), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&jobs[i].place), i + 1); /* in order */
        assert_int_equal(atomic_load(&jobs[i].task.state), HCS_TASK_TAKEN);
    }
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    break_plant(&plant);
}

static void busy_and_depth_count_what_runs_and_what_waits(void **state)
{
    struct plant plant;
    struct job jobs[5] = {0};

    (void)state;
    make_plant(&plant, 2, 3);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    for (size_t i = 0; i < 5; i++) {
        jobs[i].holds = true;
    }
    /* One wake-up for both: the first worker wakes the second. */
    assert_true(submit(&plant, &jobs[0]));
    assert_true(submit(&plant, &jobs[1]));
    hcs_pool_wake(plant.pool);
    wait_until(&plant.begun, 2);
    assert_int_equal(hcs_pool_busy(plant.pool), 2);
    assert_int_equal(hcs_pool_depth(plant.pool), 0);
    for (size_t i = 2; i < 5; i++) {
        assert_true(submit(&plant, &jobs[i]));
    }
    assert_int_equal(hcs_pool_depth(plant.pool), 3);
    for (int i = 0; i < 5; i++) {
        sem_post(&plant.go);
    }
    hcs_pool_wake(plant.pool);
    assert_int_equal(count_home(&plant, 5), 5);
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    assert_int_equal(hcs_pool_busy(plant.pool), 0);
    break_plant(&plant);
}

/* Who is free to work is room, before it has woken up. */
static void a_burst_finds_the_idle_workers_and_the_whole_queue(void **state)
{
    struct plant plant;
    struct job jobs[6] = {0};

    (void)state;
    make_plant(&plant, 2, 3);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    for (size_t i = 0; i < 5; i++) {
        jobs[i].holds = true;
        assert_true(submit(&plant, &jobs[i]));
    }
    assert_false(submit(&plant, &jobs[5])); /* which lets workers look */
    hcs_pool_wake(plant.pool);
    wait_until(&plant.begun, 2);
    assert_int_equal(hcs_pool_depth(plant.pool), 3);
    assert_false(submit(&plant, &jobs[5])); /* no more for that */
    sem_post(&plant.go);
    wait_until(&plant.begun, 3);
    jobs[5].holds = true;
    assert_true(submit(&plant, &jobs[5])); /* one has ended */
    for (int i = 0; i < 5; i++) {
        sem_post(&plant.go);
    }
    hcs_pool_wake(plant.pool);
    assert_int_equal(count_home(&plant, 6), 6);
    assert_int_equal(hcs_pool_depth(plant.pool), 0);
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    break_plant(&plant);
}

static void a_full_queue_refuses_until_a_waiting_task_is_cancelled(void **state)
{
    struct plant plant;
    struct job jobs[4] = {0};

    (void)state;
    make_plant(&plant, 1, 2);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    jobs[0].holds = true;
    assert_true(submit(&plant, &jobs[0]));
    hcs_pool_wake(plant.pool);
    wait_until(&plant.begun, 1);
    assert_true(submit(&plant, &jobs[1]));
    assert_true(submit(&plant, &jobs[2]));
    assert_false(submit(&plant, &jobs[3]));
    assert_false(hcs_pool_cancel(plant.pool, &jobs[0].task)); /* runs */
    assert_true(hcs_pool_cancel(plant.pool, &jobs[1].task));
    assert_true(submit(&plant, &jobs[3]));
    hcs_pool_wake(plant.pool);
    sem_post(&plant.go);
    assert_int_equal(count_home(&plant, 4), 4); /* the dead one too */
    assert_int_equal(atomic_load(&plant.run), 3);
    assert_int_equal(atomic_load(&jobs[1].place), 0);
    assert_int_equal(atomic_load(&jobs[1].task.state), HCS_TASK_CANCELLED);
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    break_plant(&plant);
}

/* A brief task's result may wait for others of its kind, but not for a task
 * that takes long. */
static void a_result_is_announced_before_a_task_that_may_block(void **state)
{
    struct plant plant;
    struct job jobs[2] = {0};
    uint64_t rings;

    (void)state;
    make_plant(&plant, 1, 2);
    jobs[0].task.brief = true;
    jobs[1].holds = true;
    assert_true(hcs_mailbox_sleep(&plant.home));
    assert_true(submit(&plant, &jobs[0]));
    assert_true(submit(&plant, &jobs[1]));
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    wait_until(&plant.begun, 2); /* the second holds the only worker */
    assert_int_equal(read(plant.home.fd, &rings, sizeof(rings)), sizeof(rings));
    assert_int_equal(count_home(&plant, 1), 1);
    sem_post(&plant.go);
    assert_int_equal(count_home(&plant, 1), 1);
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    break_plant(&plant);
}

static void stopping_runs_what_waits(void **state)
{
    struct plant plant;
    struct job jobs[10] = {0};

    (void)state;
    make_plant(&plant, 2, 10);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    for (size_t i = 0; i < 10; i++) {
        assert_true(submit(&plant, &jobs[i])); /* and nobody is woken */
    }
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    assert_int_equal(atomic_load(&plant.run), 10);
    assert_int_equal(count_home(&plant, 10), 10);
    break_plant(&plant);
}

static void stopping_runs_what_came_just_after_the_last_look(void **state)
{
    struct plant plant;
    struct job job = {0};

    (void)state;
    atomic_store(&empty_looks, 0);
    atomic_store(&stops, 0);
    second_look_pauses = true;
    make_plant(&plant, 1, 1);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    wait_until(&empty_looks, 2);
    assert_true(submit(&plant, &job));
    hcs_pool_wake(plant.pool);
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    second_look_pauses = false;
    assert_int_equal(atomic_load(&plant.run), 1);
    assert_int_equal(count_home(&plant, 1), 1);
    break_plant(&plant);
}

static void stopping_gives_up_on_a_stuck_task_in_time_and_can_be_repeated(
    void **state)
{
    struct plant plant;
    struct job job = {0};
    struct timespec before;
    struct timespec after;
    long waited_ms;

    (void)state;
    make_plant(&plant, 2, 1);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    job.holds = true;
    assert_true(submit(&plant, &job));
    hcs_pool_wake(plant.pool);
    wait_until(&plant.begun, 1);
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_false(hcs_pool_stop(plant.pool, 50));
    clock_gettime(CLOCK_MONOTONIC, &after);
    waited_ms = (after.tv_sec - before.tv_sec) * 1000 +
                (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(waited_ms >= 49 && waited_ms < PATIENCE_MS);
    assert_false(hcs_pool_stop(plant.pool, 0));
    sem_post(&plant.go);
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    assert_int_equal(count_home(&plant, 1), 1);
    break_plant(&plant);
}

static void a_worker_without_memory_fails_the_start_and_ends_the_others(
    void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct plant plant;

        make_plant(&plant, 3, 1);
        plant.open_fails_at = i;
        assert_int_equal(hcs_pool_start(plant.pool), -ENOMEM);
        assert_int_equal(atomic_load(&plant.opened), 3);
        assert_int_equal(atomic_load(&plant.closed), 2);
        break_plant(&plant);
    }
}

static void a_thread_that_cannot_be_had_fails_the_start_and_ends_the_others(
    void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct plant plant;

        make_plant(&plant, 3, 1);
        create_fails_after = i;
        assert_int_equal(hcs_pool_start(plant.pool), -EAGAIN);
        create_fails_after = NO_FAILURE;
        assert_int_equal(atomic_load(&plant.opened), i);
        assert_int_equal(atomic_load(&plant.closed), i);
        break_plant(&plant);
    }
}

static void no_memory_for_the_queue_gives_no_pool(void **state)
{
    const struct hcs_pool_work work = {
        .open = open_worker, .run = run_job, .close = close_worker};
    struct hcs_pool *pool;

    (void)state;
    mmap_fails = true;
    pool = hcs_pool_create(2, 100, &work);
    mmap_fails = false;
    assert_null(pool);
    hcs_pool_destroy(NULL);
}

static void a_deferred_task_comes_home_only_if_that_is_said(void **state)
{
    struct job jobs[3] = {
        {.deferred = true},
        {.deferred = true, .goes_home = true},
        {.deferred = false},
    };
    struct plant plant;

    (void)state;
    make_plant(&plant, 1, 1);
    assert_int_equal(hcs_pool_start(plant.pool), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(submit(&plant, &jobs[i]));
        hcs_pool_wake(plant.pool);
        wait_until(&plant.run, i + 1);
        wait_until(&plant.returned, i < 2 ? i + 1 : 2);
    }
    assert_true(hcs_pool_stop(plant.pool, PATIENCE_MS));
    assert_int_equal(atomic_load(&plant.returned), 2);
    assert_int_equal(atomic_load(&plant.depth), 0);
    assert_ptr_equal(jobs[0].task.next, NULL);
    assert_int_equal(count_home(&plant, 2), 2);
    assert_null(hcs_mailbox_take(&plant.home));
    break_plant(&plant);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_started_pool_is_open_idle_and_stops),
        cmocka_unit_test(results_come_home_and_the_doorbell_rings),
        cmocka_unit_test(busy_and_depth_count_what_runs_and_what_waits),
        cmocka_unit_test(a_burst_finds_the_idle_workers_and_the_whole_queue),
        cmocka_unit_test(
            a_full_queue_refuses_until_a_waiting_task_is_cancelled),
        cmocka_unit_test(a_result_is_announced_before_a_task_that_may_block),
        cmocka_unit_test(stopping_runs_what_waits),
        cmocka_unit_test(stopping_runs_what_came_just_after_the_last_look),
        cmocka_unit_test(
            stopping_gives_up_on_a_stuck_task_in_time_and_can_be_repeated),
        cmocka_unit_test(
            a_worker_without_memory_fails_the_start_and_ends_the_others),
        cmocka_unit_test(
            a_thread_that_cannot_be_had_fails_the_start_and_ends_the_others),
        cmocka_unit_test(a_deferred_task_comes_home_only_if_that_is_said),
        cmocka_unit_test(no_memory_for_the_queue_gives_no_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
