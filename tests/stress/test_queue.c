/* ctest: cores=2 slow */
#include "sync/queue.h"

#include "sync/mailbox.h"

#include "storm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum {
    PUSHERS = 3,
    POPPERS = 3,
    TASKS = 24,   /* of each pusher, for small queues */
    RUN_MS = 450, /* of each storm */
    FILL_MS = 400,
    SWEEP_MS = 1000,
};

/* One pusher's task. Only atomic where several threads look. */
struct item {
    struct hcs_task task; /* first */
    unsigned owner;
    uint64_t serial; /* of its push */
    unsigned pops;   /* since it was pushed; by who took it */
    bool out;        /* in the queue or with a worker; its owner's */
    bool cancelled;
};

struct pusher {
    struct hcs_mailbox home;
    struct item *items;
    unsigned count;
    unsigned index;
    pthread_t thread;
    struct rig *rig;
    uint64_t pushed;
    uint64_t refused;
    uint64_t cancelled;
    uint64_t came_back;
    uint64_t ran;
};

struct rig {
    struct hcs_queue *queue;
    size_t capacity;
    struct pusher pushers[PUSHERS];
    pthread_t poppers[POPPERS];
    pthread_barrier_t barrier;
    _Atomic bool stop;     /* for the pushers */
    _Atomic bool finished; /* for the poppers: all has come home */
    _Atomic uint64_t popped;
    uint64_t end_ms;
    bool cancels;
};

static struct item *item_of(struct hcs_task *task)
{
    return (struct item *)(void *)task;
}

static void rig_init(struct rig *rig, size_t capacity, unsigned tasks)
{
    memset(rig, 0, sizeof(*rig));
    rig->queue = hcs_queue_create(capacity);
    rig->capacity = capacity;
    assert_non_null(rig->queue);
    for (unsigned i = 0; i < PUSHERS; i++) {
        struct pusher *pusher = &rig->pushers[i];

        pusher->rig = rig;
        pusher->index = i;
        pusher->count = tasks;
        pusher->items = calloc(tasks, sizeof(*pusher->items));
        assert_non_null(pusher->items);
        assert_int_equal(hcs_mailbox_open(&pusher->home), 0);
        for (unsigned k = 0; k < tasks; k++) {
            pusher->items[k].task.home = &pusher->home;
            pusher->items[k].owner = i;
        }
    }
    pthread_barrier_init(&rig->barrier, NULL, PUSHERS);
}

static void rig_fini(struct rig *rig)
{
    for (unsigned i = 0; i < PUSHERS; i++) {
        hcs_mailbox_close(&rig->pushers[i].home);
        free(rig->pushers[i].items);
    }
    pthread_barrier_destroy(&rig->barrier);
    hcs_queue_destroy(rig->queue);
}

static void check_depth(const struct rig *rig)
{
    CHECK(hcs_queue_depth(rig->queue) <= rig->capacity);
}

/* What came home: each exactly once, and either run or cancelled. */
static void receive(struct pusher *pusher)
{
    struct hcs_task *task = hcs_mailbox_take(&pusher->home);

    while (task != NULL) {
        struct hcs_task *next = task->next;
        struct item *item = item_of(task);

        CHECK(item->owner == pusher->index);
        CHECK(item->out);
        if (item->cancelled) {
            CHECK(atomic_load(&task->state) == HCS_TASK_CANCELLED);
            CHECK(item->pops == 0);
        } else {
            CHECK(atomic_load(&task->state) == HCS_TASK_TAKEN);
            CHECK(item->pops == 1);
            pusher->ran++;
        }
        atomic_store(&task->state, HCS_TASK_IDLE);
        item->out = false;
        pusher->came_back++;
        storm_progress();
        task = next;
    }
}

static bool push(struct pusher *pusher, struct item *item)
{
    item->pops = 0;
    item->cancelled = false;
    item->out = true;
    item->serial = pusher->pushed;
    if (!hcs_queue_push(pusher->rig->queue, &item->task)) {
        CHECK(atomic_load(&item->task.state) == HCS_TASK_IDLE);
        item->out = false;
        pusher->refused++;
        return false;
    }
    pusher->pushed++;
    return true;
}

static bool cancel(struct pusher *pusher, struct item *item)
{
    if (!item->out || item->cancelled ||
        !hcs_queue_cancel(pusher->rig->queue, &item->task)) {
        return false;
    }
    item->cancelled = true;
    pusher->cancelled++;
    return true;
}

/* Until then a pusher goes on, however long its machine lets it wait. */
static bool has_seen_all(const struct pusher *pusher)
{
    return pusher->pushed > 0 &&
           (!pusher->rig->cancels || pusher->cancelled > 0);
}

static void *push_and_cancel(void *argument)
{
    struct pusher *pusher = argument;
    struct rig *rig = pusher->rig;
    uint64_t state = 1234567u + pusher->index;

    storm_join();
    while (storm_now_ms() < rig->end_ms || !has_seen_all(pusher)) {
        for (unsigned k = 0; k < 64; k++) {
            uint64_t random = storm_random(&state);
            struct item *item = &pusher->items[random % pusher->count];

            if (!item->out) {
                (void)push(pusher, item);
            } else if (rig->cancels && (random >> 32) % 3 == 0) {
                (void)cancel(pusher, item);
            }
            check_depth(rig);
            receive(pusher);
        }
    }
    while (pusher->came_back < pusher->pushed) { /* poppers still run */
        receive(pusher);
    }
    storm_leave();
    return NULL;
}

static void *pop_until_finished(void *argument)
{
    struct rig *rig = argument;
    uint64_t last[PUSHERS];
    bool seen[PUSHERS] = {false};

    storm_join();
    while (!atomic_load(&rig->finished)) {
        struct hcs_task *task = hcs_queue_pop(rig->queue);
        struct item *item;

        check_depth(rig);
        if (task == NULL) {
            continue;
        }
        item = item_of(task);
        CHECK(atomic_load(&task->state) == HCS_TASK_TAKEN);
        /* Where nothing is swept, what one pusher pushed comes in order. */
        if (!rig->cancels) {
            CHECK(!seen[item->owner] || item->serial > last[item->owner]);
            seen[item->owner] = true;
            last[item->owner] = item->serial;
        }
        item->pops++;
        atomic_fetch_add(&rig->popped, 1);
        hcs_queue_release(rig->queue);
        if (hcs_mailbox_put(task->home, task)) {
            hcs_mailbox_ring(task->home);
        }
    }
    storm_leave();
    return NULL;
}

static void run_rig(size_t capacity, unsigned tasks, bool cancels)
{
    static struct rig rig;
    uint64_t ran = 0;

    rig_init(&rig, capacity, tasks);
    rig.cancels = cancels;
    rig.end_ms = storm_now_ms() + RUN_MS;
    storm_begin("queue");
    for (unsigned i = 0; i < POPPERS; i++) {
        CHECK(pthread_create(&rig.poppers[i], NULL, pop_until_finished, &rig) ==
              0);
    }
    for (unsigned i = 0; i < PUSHERS; i++) {
        CHECK(pthread_create(&rig.pushers[i].thread, NULL, push_and_cancel,
                  &rig.pushers[i]) == 0);
    }
    for (unsigned i = 0; i < PUSHERS; i++) {
        pthread_join(rig.pushers[i].thread, NULL);
        ran += rig.pushers[i].ran;
        CHECK(rig.pushers[i].came_back == rig.pushers[i].pushed);
        CHECK(rig.pushers[i].ran + rig.pushers[i].cancelled ==
              rig.pushers[i].pushed);
    }
    atomic_store(&rig.finished, true);
    for (unsigned i = 0; i < POPPERS; i++) {
        pthread_join(rig.poppers[i], NULL);
    }
    storm_end();
    assert_int_equal(atomic_load(&rig.popped), ran);
    assert_int_equal(hcs_queue_depth(rig.queue), 0);
    assert_null(hcs_queue_pop(rig.queue));
    assert_false(hcs_queue_has_entries(rig.queue));
    rig_fini(&rig);
}

static void nothing_is_lost_or_doubled_through_one_place(void **state)
{
    (void)state;
    run_rig(1, TASKS, true);
}

static void nothing_is_lost_or_doubled_through_three_places(void **state)
{
    (void)state;
    run_rig(3, TASKS, true);
}

static void nothing_is_lost_or_doubled_through_ten_thousand_places(void **state)
{
    (void)state;
    run_rig(10000, 5000, true);
}

static void tasks_of_one_pusher_come_in_order(void **state)
{
    (void)state;
    run_rig(3, TASKS, false);
}

/* --- Without poppers. */

static unsigned push_until_refused(struct pusher *pusher)
{
    unsigned admitted = 0;

    for (unsigned k = 0; k < pusher->count; k++) {
        struct item *item = &pusher->items[k];

        check_depth(pusher->rig);
        if (!item->out) {
            if (!push(pusher, item)) {
                break;
            }
            admitted++;
        }
    }
    return admitted;
}

struct share {
    _Atomic unsigned admitted;
};

static struct share race_share;

/* Nobody pops and nobody cancels while all push: neither one too many nor one
 * too few may be let in. Then all leave, and so again: their places must be
 * free at once, though their entries are still in the ring. */
static void *fill_and_empty(void *argument)
{
    struct pusher *pusher = argument;
    struct rig *rig = pusher->rig;
    const unsigned capacity = (unsigned)rig->capacity;

    storm_join();
    for (;;) {
        bool first = pthread_barrier_wait(&rig->barrier) ==
                     PTHREAD_BARRIER_SERIAL_THREAD;

        if (first) {
            atomic_store(&race_share.admitted, 0);
            atomic_store(&rig->stop, storm_now_ms() >= rig->end_ms);
        }
        pthread_barrier_wait(&rig->barrier);
        if (atomic_load(&rig->stop)) {
            break;
        }
        /* Who sweeps may be stopped with a cell half emptied, and then others
         * are refused early: so until all have had a last word each. */
        atomic_fetch_add(&race_share.admitted, push_until_refused(pusher));
        pthread_barrier_wait(&rig->barrier);
        CHECK(atomic_load(&race_share.admitted) <= capacity);
        pthread_barrier_wait(&rig->barrier);
        if (pusher->index == 0) {
            atomic_fetch_add(&race_share.admitted, push_until_refused(pusher));
            receive(pusher);
        }
        pthread_barrier_wait(&rig->barrier);
        CHECK(atomic_load(&race_share.admitted) == capacity);
        CHECK(hcs_queue_depth(rig->queue) == capacity);
        pthread_barrier_wait(&rig->barrier);
        for (unsigned k = 0; k < pusher->count; k++) {
            struct item *item = &pusher->items[k];

            if (item->out && !item->cancelled) {
                CHECK(cancel(pusher, item)); /* nobody took it */
            }
        }
        receive(pusher);
        storm_progress();
    }
    receive(pusher);
    storm_leave();
    return NULL;
}

static void run_pushers(
    struct rig *rig, void *(*run)(void *), uint64_t run_ms, const char *what)
{
    rig->end_ms = storm_now_ms() + run_ms;
    storm_begin(what);
    for (unsigned i = 0; i < PUSHERS; i++) {
        CHECK(pthread_create(
                  &rig->pushers[i].thread, NULL, run, &rig->pushers[i]) == 0);
    }
    for (unsigned i = 0; i < PUSHERS; i++) {
        pthread_join(rig->pushers[i].thread, NULL);
    }
    storm_end();
    /* What is dead still stands in the ring; popping sends it home. */
    assert_int_equal(hcs_queue_depth(rig->queue), 0);
    assert_null(hcs_queue_pop(rig->queue));
    for (unsigned i = 0; i < PUSHERS; i++) {
        receive(&rig->pushers[i]);
        assert_int_equal(rig->pushers[i].came_back, rig->pushers[i].pushed);
        assert_int_equal(rig->pushers[i].cancelled, rig->pushers[i].pushed);
        assert_int_equal(rig->pushers[i].ran, 0);
    }
}

static void fill_and_empty_with(size_t capacity)
{
    static struct rig rig;

    /* Enough that one pusher alone can fill the queue, though all it had
     * pushed before still stands dead in the ring. */
    rig_init(&rig, capacity, (unsigned)(4 * capacity + 4));
    run_pushers(&rig, fill_and_empty, FILL_MS, "filling and emptying");
    rig_fini(&rig);
}

static void exactly_the_capacity_is_admitted_and_again_after_all_left(
    void **state)
{
    (void)state;
    fill_and_empty_with(1);
    fill_and_empty_with(3);
    fill_and_empty_with(100);
}

/* Each keeps one task waiting all the time while it pushes and cancels others,
 * so that all of them sweep, at once, with living tasks to be carried over. */
static void *sweep_past_the_living(void *argument)
{
    struct pusher *pusher = argument;
    struct rig *rig = pusher->rig;
    struct item *stays = &pusher->items[0];
    unsigned at = 1;

    storm_join();
    while (!push(pusher, stays)) {
    }
    for (;;) {
        /* In step: who would sweep for ever is not saved by the others. */
        if (pthread_barrier_wait(&rig->barrier) ==
            PTHREAD_BARRIER_SERIAL_THREAD) {
            atomic_store(&rig->stop, storm_now_ms() >= rig->end_ms);
        }
        pthread_barrier_wait(&rig->barrier);
        if (atomic_load(&rig->stop)) {
            break;
        }
        for (unsigned k = 0; k < 200; k++) {
            struct item *item = &pusher->items[at];

            at = at + 1 < pusher->count ? at + 1 : 1;
            if (!item->out && push(pusher, item)) {
                CHECK(cancel(pusher, item));
            }
            check_depth(rig);
            receive(pusher);
            CHECK(stays->out);
        }
    }
    CHECK(cancel(pusher, stays));
    storm_leave();
    return NULL;
}

static void pushers_that_sweep_at_once_keep_the_living(void **state)
{
    static struct rig rig;

    (void)state;
    /* One place is left beside those that stay. */
    rig_init(&rig, PUSHERS + 1, 40);
    run_pushers(&rig, sweep_past_the_living, SWEEP_MS, "sweeping");
    rig_fini(&rig);
    rig_init(&rig, 2 * PUSHERS, 40);
    run_pushers(&rig, sweep_past_the_living, SWEEP_MS, "sweeping");
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_or_doubled_through_one_place),
        cmocka_unit_test(nothing_is_lost_or_doubled_through_three_places),
        cmocka_unit_test(
            nothing_is_lost_or_doubled_through_ten_thousand_places),
        cmocka_unit_test(tasks_of_one_pusher_come_in_order),
        cmocka_unit_test(
            exactly_the_capacity_is_admitted_and_again_after_all_left),
        cmocka_unit_test(pushers_that_sweep_at_once_keep_the_living),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
