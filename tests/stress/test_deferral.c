/* ctest: cores=2 slow */
#include "sync/deferral.h"

#include "sync/mailbox.h"
#include "sync/queue.h"

#include "storm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { LOOPS = 2, WORKERS = 2, CLAIMERS = 2, JOBS = 24, HANDED = 8 };
enum { RUN_MS = 1500 };

struct job {
    struct hcs_task task; /* first */
    /* Its loop's. */
    bool out;
    bool abandoned;
    /* Of who has the task, and read by the loop when it is home. */
    uint64_t run; /* how often it was submitted */
    unsigned runs;
    unsigned answers;
};

/* What workers handed to whom it may concern, overwritten at random, so that
 * most of it is old. */
struct handed {
    uint64_t token;
    struct job *job;
    uint64_t run;
};

struct scene {
    struct hcs_deferrals *deferrals;
    struct hcs_queue *queue;
    uint64_t end_ms;
    _Atomic unsigned loops_left;
    pthread_mutex_t lock;
    struct handed handed[HANDED]; /* under the lock */
    /* What came to pass, all of which has to. */
    _Atomic uint64_t answered, withdrawn, deferred, owned, late, refused;
};

struct loop {
    struct scene *scene;
    struct hcs_mailbox box;
    struct job jobs[JOBS];
    unsigned out;
    uint64_t random;
};

static struct scene scene;

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void nap_sometimes(uint64_t *random)
{
    if (storm_random(random) % 4 == 0) {
        storm_nap_us((long)(storm_random(random) % 40));
    }
}

/* --- The worker. */

static void hand(struct job *job, uint64_t token, uint64_t random)
{
    pthread_mutex_lock(&scene.lock);
    scene.handed[random % HANDED] = (struct handed){token, job, job->run};
    pthread_mutex_unlock(&scene.lock);
}

/* As pool.c's run_task and job.c's run_handler do. True: it goes home. */
static bool run(struct job *job, uint64_t *random)
{
    uint64_t token = 0;
    uint64_t run = job->run;

    CHECK(++job->runs == 1);
    nap_sometimes(random);
    if (storm_random(random) % 8 != 0) {
        token = hcs_deferrals_open(scene.deferrals, &job->task);
        CHECK(token != 0);
        hand(job, token, storm_random(random));
        nap_sometimes(random);
        CHECK(job->run == run); /* it is still the run's to read */
    }
    if (hcs_deferrals_opened(&job->task)) {
        if (storm_random(random) % 4 != 0 ||
            !hcs_deferrals_withdraw(scene.deferrals, &job->task)) {
            bool home = hcs_deferrals_returned(scene.deferrals, &job->task);

            count(home ? &scene.late : &scene.deferred);
            return home;
        }
        count(&scene.withdrawn);
    }
    CHECK(++job->answers == 1);
    return true;
}

static void put(struct hcs_mailbox *home, struct job *job)
{
    if (hcs_mailbox_put(home, &job->task)) {
        hcs_mailbox_ring(home);
    }
}

static void *work(void *argument)
{
    uint64_t random = 104729 * (uint64_t)((uintptr_t)argument + 1);

    storm_join();
    while (atomic_load(&scene.loops_left) > 0) {
        struct hcs_task *task = hcs_queue_pop(scene.queue);
        struct job *job = (struct job *)(void *)task;

        if (job != NULL) {
            struct hcs_mailbox *home = job->task.home;
            bool ended = run(job, &random);

            hcs_queue_release(scene.queue);
            if (ended) {
                put(home, job);
            }
        } else {
            storm_nap_us(10);
        }
    }
    storm_leave();
    return NULL;
}

/* --- Who claims. */

static void *claim(void *argument)
{
    uint64_t random = 1299709 * (uint64_t)((uintptr_t)argument + 1);

    storm_join();
    while (atomic_load(&scene.loops_left) > 0) {
        struct handed handed;
        struct hcs_task *task;

        pthread_mutex_lock(&scene.lock);
        handed = scene.handed[storm_random(&random) % HANDED];
        pthread_mutex_unlock(&scene.lock);
        nap_sometimes(&random);
        task = hcs_deferrals_claim(scene.deferrals, handed.token);
        if (task != NULL) {
            struct job *job = handed.job;
            struct hcs_mailbox *home = job->task.home;

            CHECK(task == &job->task);
            CHECK(job->run == handed.run); /* not a later one */
            CHECK(job->runs == 1);
            CHECK(++job->answers == 1);
            CHECK(!hcs_deferrals_awaits(scene.deferrals, handed.token));
            CHECK(hcs_deferrals_claim(scene.deferrals, handed.token) == NULL);
            nap_sometimes(&random);
            count(&scene.answered);
            if (hcs_deferrals_done(scene.deferrals, task)) {
                put(home, job);
            }
        } else {
            count(&scene.refused);
        }
    }
    storm_leave();
    return NULL;
}

/* --- The loop. */

static void receive(struct loop *loop)
{
    struct hcs_task *task = hcs_mailbox_take(&loop->box);

    while (task != NULL) {
        struct hcs_task *next = task->next;
        struct job *job = (struct job *)(void *)task;

        CHECK(job->out);
        CHECK(job->runs == 1);
        CHECK(job->answers == 1 || (job->abandoned && job->answers == 0));
        job->out = false;
        loop->out--;
        storm_progress();
        task = next;
    }
}

static void submit(struct loop *loop, struct job *job)
{
    uint64_t run = job->run;

    memset(job, 0, sizeof(*job)); /* as a record that is used again */
    job->run = run + 1;
    job->task.home = &loop->box;
    job->out = true;
    if (hcs_queue_push(loop->scene->queue, &job->task)) {
        loop->out++;
    } else {
        job->out = false;
    }
}

/* As conn.c's drop_request does. */
static void abandon(struct loop *loop, struct job *job)
{
    if (job->abandoned || atomic_load_explicit(&job->task.state,
                              memory_order_relaxed) != HCS_TASK_TAKEN) {
        return;
    }
    job->abandoned = true;
    if (hcs_deferrals_abandon(scene.deferrals, &job->task) ==
        HCS_ABANDONED_OWNED) {
        CHECK(job->runs == 1);
        CHECK(job->answers == 0);
        job->out = false;
        loop->out--;
        count(&scene.owned);
        storm_progress();
    }
}

/* Until then the loops go on, however long their machine lets them wait. */
static bool have_seen_all(void)
{
    return atomic_load(&scene.answered) > 0 &&
           atomic_load(&scene.withdrawn) > 0 &&
           atomic_load(&scene.deferred) > 0 && atomic_load(&scene.owned) > 0 &&
           atomic_load(&scene.late) > 0 && atomic_load(&scene.refused) > 0;
}

static void *turn_round(void *argument)
{
    struct loop *loop = argument;
    bool over = false;

    storm_join();
    while (!over || loop->out > 0) {
        receive(loop);
        over = storm_now_ms() >= scene.end_ms && have_seen_all();
        for (unsigned i = 0; i < 8; i++) {
            uint64_t random = storm_random(&loop->random);
            struct job *job = &loop->jobs[random % JOBS];

            if (job->out) {
                if (over || (random >> 20) % 8 == 0) {
                    abandon(loop, job);
                }
            } else if (!over) {
                submit(loop, job);
            }
        }
        storm_nap_us((long)((loop->random >> 20) % 20));
    }
    storm_leave();
    atomic_fetch_sub(&scene.loops_left, 1);
    return NULL;
}

static void every_task_is_somebodys_and_only_once(void **state)
{
    static struct loop loops[LOOPS];
    pthread_t threads[LOOPS + WORKERS + CLAIMERS];
    unsigned started = 0;

    (void)state;
    storm_begin("deferral");
    scene.deferrals = hcs_deferrals_create(NULL, NULL, NULL);
    scene.queue = hcs_queue_create(LOOPS * JOBS);
    CHECK(scene.deferrals != NULL && scene.queue != NULL);
    CHECK(pthread_mutex_init(&scene.lock, NULL) == 0);
    scene.end_ms = storm_now_ms() + RUN_MS;
    atomic_store(&scene.loops_left, LOOPS);
    for (unsigned i = 0; i < LOOPS; i++) {
        loops[i].scene = &scene;
        loops[i].random = 15485863u * (i + 1);
        CHECK(hcs_mailbox_open(&loops[i].box) == 0);
        CHECK(pthread_create(
                  &threads[started++], NULL, turn_round, &loops[i]) == 0);
    }
    for (uintptr_t i = 0; i < WORKERS; i++) {
        CHECK(pthread_create(&threads[started++], NULL, work, (void *)i) == 0);
    }
    for (uintptr_t i = 0; i < CLAIMERS; i++) {
        CHECK(pthread_create(&threads[started++], NULL, claim, (void *)i) == 0);
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    storm_end();
    for (unsigned i = 0; i < LOOPS; i++) {
        CHECK(hcs_mailbox_take(&loops[i].box) == NULL);
        hcs_mailbox_close(&loops[i].box);
    }
    for (unsigned i = 0; i < HANDED; i++) {
        CHECK(hcs_deferrals_claim(scene.deferrals, scene.handed[i].token) ==
              NULL);
    }
    assert_int_equal(hcs_deferrals_open_count(scene.deferrals), 0);
    hcs_queue_destroy(scene.queue);
    hcs_deferrals_destroy(scene.deferrals);
    pthread_mutex_destroy(&scene.lock);
}

/* --- Places. */

enum { TAKERS = 4, HOLDS = 400, SLOTS_MOST = 8192 };

static struct {
    struct hcs_deferrals *deferrals;
    uint64_t end_ms;
    _Atomic unsigned char is_taken[SLOTS_MOST];
} crowd;

static void open_one(struct hcs_task *task)
{
    uint64_t token;
    uint32_t slot;

    memset(task, 0, sizeof(*task));
    token = hcs_deferrals_open(crowd.deferrals, task);
    slot = (uint32_t)token >> 1;
    CHECK(token != 0);
    CHECK(slot < SLOTS_MOST);
    CHECK(atomic_exchange_explicit(
              &crowd.is_taken[slot], 1, memory_order_relaxed) == 0);
}

static void close_one(struct hcs_task *task)
{
    uint64_t token =
        atomic_load_explicit(&task->deferral, memory_order_relaxed);
    uint32_t slot = (uint32_t)token >> 1;

    CHECK(atomic_exchange_explicit(
              &crowd.is_taken[slot], 0, memory_order_relaxed) == 1);
    CHECK(hcs_deferrals_withdraw(crowd.deferrals, task));
}

/* Holds now a few and now many, so that the list runs empty and grows while
 * others take from it, and is short most of the time: a pop that stands still
 * finds the same top again. */
static void *take_and_give(void *argument)
{
    struct hcs_task tasks[HOLDS];
    uint64_t random = 32452843 * (uint64_t)((uintptr_t)argument + 1);
    unsigned held = 0;
    unsigned most = 1;

    storm_join();
    while (storm_now_ms() < crowd.end_ms) {
        if (storm_random(&random) % 256 == 0) {
            most = storm_random(&random) % 8 == 0 ? HOLDS : 3;
        }
        for (unsigned i = 0; i < 64; i++) {
            if (held < most && storm_random(&random) % 2 == 0) {
                open_one(&tasks[held++]);
            } else if (held > 0) {
                close_one(&tasks[--held]);
            }
        }
        storm_progress();
    }
    while (held > 0) {
        close_one(&tasks[--held]);
    }
    storm_leave();
    return NULL;
}

static void no_slot_is_given_to_two(void **state)
{
    pthread_t threads[TAKERS];

    (void)state;
    storm_begin("slots");
    crowd.deferrals = hcs_deferrals_create(NULL, NULL, NULL);
    CHECK(crowd.deferrals != NULL);
    crowd.end_ms = storm_now_ms() + RUN_MS;
    for (uintptr_t i = 0; i < TAKERS; i++) {
        CHECK(pthread_create(&threads[i], NULL, take_and_give, (void *)i) == 0);
    }
    for (unsigned i = 0; i < TAKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    storm_end();
    assert_int_equal(hcs_deferrals_open_count(crowd.deferrals), 0);
    hcs_deferrals_destroy(crowd.deferrals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_is_somebodys_and_only_once),
        cmocka_unit_test(no_slot_is_given_to_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
