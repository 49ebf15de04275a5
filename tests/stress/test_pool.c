/* ctest: cores=2 slow */
#include "sync/pool.h"

#include "sync/mailbox.h"

#include "storm.h"

#include <errno.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include <cmocka.h>

enum { LOOPS = 2, TASKS = 48, RUN_MS = 1200 };

/* The workers' sleep, for which they take shelter from the storm. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list arguments;
    long values[6];
    long result;
    bool sleeps;

    va_start(arguments, number);
    for (int i = 0; i < 6; i++) {
        values[i] = va_arg(arguments, long);
    }
    va_end(arguments);
    sleeps =
        number == SYS_futex && ((int)values[1] & FUTEX_CMD_MASK) == FUTEX_WAIT;
    if (sleeps) {
        storm_set_shelter(true);
    }
    result = __real_syscall(number, values[0], values[1], values[2], values[3],
        values[4], values[5]);
    if (sleeps) {
        storm_set_shelter(false);
    }
    return result;
}

struct loop;

struct job {
    struct hcs_task task; /* first */
    struct loop *loop;
    unsigned runs;          /* since it was submitted */
    bool out;               /* its loop's */
    bool cancelled;         /* its loop's */
    _Atomic unsigned *gate; /* as in test_parking */
    unsigned gate_count;
    unsigned nap_us;
};

struct loop {
    struct hcs_mailbox box;
    struct hcs_pool *pool;
    struct job jobs[TASKS];
    unsigned index;
    unsigned out;
    pthread_t thread;
    uint64_t submitted;
    uint64_t refused;
    uint64_t ran;
    uint64_t cancelled;
    bool cancels;
    bool must_cancel; /* at least once */
    uint64_t end_ms;
};

struct counts {
    _Atomic unsigned open;
    _Atomic uint64_t run;
};

static void *open_worker(void *context, unsigned index)
{
    struct counts *counts = context;

    (void)index;
    atomic_fetch_add(&counts->open, 1);
    storm_join();
    return counts;
}

static void close_worker(void *worker)
{
    struct counts *counts = worker;

    atomic_fetch_sub(&counts->open, 1);
    storm_leave();
}

static bool run_job(void *worker, struct hcs_task *task)
{
    struct counts *counts = worker;
    struct job *job = (struct job *)(void *)task;

    CHECK(atomic_load(&task->state) == HCS_TASK_TAKEN);
    CHECK(++job->runs == 1);
    if (job->gate != NULL) {
        atomic_fetch_add(job->gate, 1);
        while (atomic_load(job->gate) < job->gate_count) {
            storm_nap_us(10);
        }
    }
    if (job->nap_us > 0) {
        storm_nap_us((long)job->nap_us);
    }
    atomic_fetch_add(&counts->run, 1);
    storm_progress();
    return true;
}

static const struct hcs_pool_work work_of_tests = {
    .open = open_worker,
    .run = run_job,
    .close = close_worker,
};

static struct hcs_pool *start_pool(
    unsigned workers, size_t queue_size, struct counts *counts)
{
    struct hcs_pool_work work = work_of_tests;
    struct hcs_pool *pool;

    memset(counts, 0, sizeof(*counts));
    work.context = counts;
    pool = hcs_pool_create(workers, queue_size, &work);
    CHECK(pool != NULL);
    CHECK(hcs_pool_start(pool) == 0);
    CHECK(atomic_load(&counts->open) == workers);
    return pool;
}

static void stop_pool(struct hcs_pool *pool, const struct counts *counts)
{
    CHECK(hcs_pool_stop(pool, STORM_PATIENCE_S * 1000));
    CHECK(atomic_load(&counts->open) == 0);
    CHECK(hcs_pool_depth(pool) == 0);
    CHECK(hcs_pool_busy(pool) == 0);
    hcs_pool_destroy(pool);
}

static void receive(struct loop *loop)
{
    struct hcs_task *task = hcs_mailbox_take(&loop->box);

    while (task != NULL) {
        struct hcs_task *next = task->next;
        struct job *job = (struct job *)(void *)task;

        CHECK(job->loop == loop);
        CHECK(job->out);
        CHECK(job->runs == (job->cancelled ? 0 : 1));
        CHECK(atomic_load(&task->state) ==
              (job->cancelled ? HCS_TASK_CANCELLED : HCS_TASK_TAKEN));
        loop->ran += !job->cancelled;
        job->out = false;
        loop->out--;
        atomic_store(&task->state, HCS_TASK_IDLE);
        task = next;
    }
}

static bool submit(struct loop *loop, struct job *job)
{
    job->runs = 0;
    job->cancelled = false;
    job->out = true;
    if (!hcs_pool_submit(loop->pool, &job->task)) {
        job->out = false;
        loop->refused++;
        return false;
    }
    loop->out++;
    loop->submitted++;
    return true;
}

/* Until then a loop goes on, however long its machine lets it wait. */
static bool has_seen_all(const struct loop *loop)
{
    return loop->ran > 0 && (!loop->must_cancel || loop->cancelled > 0);
}

/* A turn: take what came home, submit a few, wake once, and sleep until the
 * doorbell rings while anything is out. Every loop waits for all it has out
 * now and then, so that nothing that is slept on is woken by chance. */
static void *turn_round(void *argument)
{
    struct loop *loop = argument;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    uint64_t state = 15485863u * (loop->index + 1);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    bool quiet = false;

    CHECK(epoll >= 0);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, loop->box.fd, &event) == 0);
    storm_join();
    for (;;) {
        bool over = storm_now_ms() >= loop->end_ms && has_seen_all(loop);
        bool submitted = false;

        receive(loop);
        quiet = loop->out > 0 && (quiet || storm_random(&state) % 16 == 0);
        if (over && loop->out == 0) {
            break;
        }
        for (unsigned i = 0; !over && !quiet && i < 6; i++) {
            uint64_t random = storm_random(&state);
            struct job *job = &loop->jobs[random % TASKS];

            if (!job->out) {
                job->task.brief = (random >> 20) % 4 != 0;
                job->nap_us =
                    !job->task.brief && (random >> 30) % 8 == 0 ? 100 : 0;
                submitted |= submit(loop, job);
            } else if (loop->cancels && !job->cancelled &&
                       hcs_pool_cancel(loop->pool, &job->task)) {
                job->cancelled = true;
                loop->cancelled++;
            }
            CHECK(hcs_pool_depth(loop->pool) <=
                  hcs_pool_capacity(loop->pool) + hcs_pool_workers(loop->pool));
            CHECK(hcs_pool_busy(loop->pool) <= hcs_pool_workers(loop->pool));
        }
        if (submitted) {
            hcs_pool_wake(loop->pool);
        }
        if (loop->out > 0 && hcs_mailbox_sleep(&loop->box)) {
            storm_set_shelter(true);
            CHECK(epoll_wait(epoll, &event, 1, -1) >= 0);
            storm_set_shelter(false);
        }
    }
    storm_leave();
    close(epoll);
    return NULL;
}

static void loop_init(
    struct loop *loop, unsigned index, struct hcs_pool *pool, bool cancels)
{
    memset(loop, 0, sizeof(*loop));
    CHECK(hcs_mailbox_open(&loop->box) == 0);
    loop->pool = pool;
    loop->index = index;
    loop->cancels = cancels;
    loop->end_ms = storm_now_ms() + RUN_MS;
    for (unsigned i = 0; i < TASKS; i++) {
        loop->jobs[i].loop = loop;
        loop->jobs[i].task.home = &loop->box;
    }
}

static void run_loops(unsigned workers, size_t queue_size, bool cancels)
{
    static struct loop loops[LOOPS];
    static struct counts counts;
    struct hcs_pool *pool;
    uint64_t ran = 0;

    storm_begin("pool");
    pool = start_pool(workers, queue_size, &counts);
    for (unsigned i = 0; i < LOOPS; i++) {
        loop_init(&loops[i], i, pool, cancels);
        loops[i].must_cancel = cancels && queue_size >= 3;
        CHECK(
            pthread_create(&loops[i].thread, NULL, turn_round, &loops[i]) == 0);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        pthread_join(loops[i].thread, NULL);
        CHECK(loops[i].ran + loops[i].cancelled == loops[i].submitted);
        ran += loops[i].ran;
    }
    stop_pool(pool, &counts);
    storm_end();
    CHECK(atomic_load(&counts.run) == ran);
    for (unsigned i = 0; i < LOOPS; i++) {
        CHECK(hcs_mailbox_take(&loops[i].box) == NULL);
        hcs_mailbox_close(&loops[i].box);
    }
}

static void every_result_comes_home_once(void **state)
{
    (void)state;
    run_loops(4, 10000, false);
}

static void every_result_comes_home_once_past_cancels_and_a_full_queue(
    void **state)
{
    (void)state;
    run_loops(3, 3, true);
    run_loops(1, 1, true);
}

/* Jobs that end only when as many run as there are workers, among brief ones:
 * the pool must bring up every worker, however few wake-ups it was given. */
static void as_many_blocking_jobs_run_at_once_as_there_are_workers(void **state)
{
    enum { WORKERS = 4 };
    static struct loop loop;
    static struct counts counts;
    struct hcs_pool *pool;
    uint64_t random = 31337;
    uint64_t rounds = 0;

    (void)state;
    storm_begin("blocking jobs");
    pool = start_pool(WORKERS, TASKS, &counts);
    loop_init(&loop, 0, pool, false);
    do {
        _Atomic unsigned gate = 0;
        unsigned blocking = 0;

        for (unsigned i = 0; i < TASKS; i++) {
            struct job *job = &loop.jobs[i];
            bool blocks =
                blocking < WORKERS && (storm_random(&random) % 4 == 0 ||
                                          TASKS - i <= WORKERS - blocking);

            job->task.brief = !blocks;
            job->gate = blocks ? &gate : NULL;
            job->gate_count = WORKERS;
            blocking += blocks;
            CHECK(submit(&loop, job));
            if (storm_random(&random) % 32 == 0) {
                hcs_pool_wake(pool);
            }
        }
        hcs_pool_wake(pool);
        while (loop.out > 0) {
            receive(&loop);
            storm_nap_us(20);
        }
        rounds++;
    } while (storm_now_ms() < loop.end_ms);
    stop_pool(pool, &counts);
    storm_end();
    assert_int_equal(atomic_load(&counts.run), rounds * TASKS);
    hcs_mailbox_close(&loop.box);
}

/* Stop is told while jobs are queued and workers lie down. */
static void stopping_runs_what_waits_and_wakes_who_sleeps(void **state)
{
    static struct loop loop;
    static struct counts counts;
    uint64_t end_ms = storm_now_ms() + RUN_MS;
    uint64_t random = 271828;

    (void)state;
    storm_begin("stopping");
    while (storm_now_ms() < end_ms) {
        struct hcs_pool *pool = start_pool(3, TASKS, &counts);
        unsigned jobs = (unsigned)(storm_random(&random) % TASKS);

        loop_init(&loop, 0, pool, false);
        for (unsigned i = 0; i < jobs; i++) {
            loop.jobs[i].task.brief = i % 2 == 0;
            CHECK(submit(&loop, &loop.jobs[i]));
        }
        if (storm_random(&random) % 2 == 0) {
            hcs_pool_wake(pool);
        }
        stop_pool(pool, &counts);
        receive(&loop);
        CHECK(loop.out == 0);
        CHECK(atomic_load(&counts.run) == jobs);
        hcs_mailbox_close(&loop.box);
        storm_progress();
    }
    storm_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_result_comes_home_once),
        cmocka_unit_test(
            every_result_comes_home_once_past_cancels_and_a_full_queue),
        cmocka_unit_test(
            as_many_blocking_jobs_run_at_once_as_there_are_workers),
        cmocka_unit_test(stopping_runs_what_waits_and_wakes_who_sleeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
