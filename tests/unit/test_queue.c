#include "sync/queue.h"

#include "sync/mailbox.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static bool mmap_fails;

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

struct rig {
    struct hcs_queue *queue;
    struct hcs_mailbox home;
    struct hcs_task *tasks;
    size_t count;
};

static void rig_init(struct rig *rig, size_t capacity, size_t count)
{
    rig->queue = hcs_queue_create(capacity);
    assert_non_null(rig->queue);
    assert_int_equal(hcs_mailbox_open(&rig->home), 0);
    rig->tasks = calloc(count, sizeof(*rig->tasks));
    assert_non_null(rig->tasks);
    rig->count = count;
    for (size_t i = 0; i < count; i++) {
        rig->tasks[i].home = &rig->home;
    }
}

static void rig_fini(struct rig *rig)
{
    hcs_queue_destroy(rig->queue);
    hcs_mailbox_close(&rig->home);
    free(rig->tasks);
}

static unsigned state_of(struct hcs_task *task)
{
    return atomic_load(&task->state);
}

/* Counts what came home dead, and makes it usable again. */
static size_t receive_dead(struct rig *rig)
{
    struct hcs_task *task = hcs_mailbox_take(&rig->home);
    size_t count = 0;

    while (task != NULL) {
        struct hcs_task *next = task->next;

        assert_int_equal(state_of(task), HCS_TASK_CANCELLED);
        atomic_store(&task->state, HCS_TASK_IDLE);
        count++;
        task = next;
    }
    return count;
}

/* As somebody who is done with it at once. */
static struct hcs_task *pop(struct hcs_queue *queue)
{
    struct hcs_task *task = hcs_queue_pop(queue);

    if (task != NULL) {
        hcs_queue_release(queue);
    }
    return task;
}

static void an_empty_queue_gives_nothing(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, 3, 1);
    assert_null(pop(rig.queue));
    assert_int_equal(hcs_queue_depth(rig.queue), 0);
    assert_false(hcs_queue_has_entries(rig.queue));
    rig_fini(&rig);
}

static void tasks_come_in_the_order_in_which_they_were_pushed(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, 5, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(hcs_queue_push(rig.queue, &rig.tasks[i]));
        assert_int_equal(state_of(&rig.tasks[i]), HCS_TASK_QUEUED);
        assert_int_equal(hcs_queue_depth(rig.queue), i + 1);
    }
    assert_true(hcs_queue_has_entries(rig.queue));
    for (size_t i = 0; i < 5; i++) {
        assert_ptr_equal(pop(rig.queue), &rig.tasks[i]);
        assert_int_equal(state_of(&rig.tasks[i]), HCS_TASK_TAKEN);
        assert_int_equal(hcs_queue_depth(rig.queue), 4 - i);
    }
    assert_null(pop(rig.queue));
    assert_false(hcs_queue_has_entries(rig.queue));
    rig_fini(&rig);
}

static void a_popped_task_keeps_its_place_until_it_is_released(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, 2, 3);
    assert_true(hcs_queue_push(rig.queue, &rig.tasks[0]));
    assert_true(hcs_queue_push(rig.queue, &rig.tasks[1]));
    assert_ptr_equal(hcs_queue_pop(rig.queue), &rig.tasks[0]);
    assert_int_equal(hcs_queue_depth(rig.queue), 2);
    assert_false(hcs_queue_push(rig.queue, &rig.tasks[2]));
    hcs_queue_release(rig.queue);
    assert_int_equal(hcs_queue_depth(rig.queue), 1);
    assert_true(hcs_queue_push(rig.queue, &rig.tasks[2]));
    assert_ptr_equal(pop(rig.queue), &rig.tasks[1]);
    assert_ptr_equal(pop(rig.queue), &rig.tasks[2]);
    rig_fini(&rig);
}

/* Whatever the capacity, exactly so many and not one more; and again after
 * each pop, for several laps of the ring. */
static void queue_when_full_leaves_task_with_caller(void **state)
{
    static const size_t capacities[] = {1, 2, 3, 4, 5, 7, 8, 9, 100, 10000};

    (void)state;
    for (size_t c = 0; c < sizeof(capacities) / sizeof(capacities[0]); c++) {
        const size_t capacity = capacities[c];
        struct rig rig;
        size_t oldest = 0;

        rig_init(&rig, capacity, capacity + 1);
        for (size_t i = 0; i < capacity; i++) {
            assert_true(hcs_queue_push(rig.queue, &rig.tasks[i]));
        }
        for (size_t i = 0; i < 5 * capacity; i++) {
            struct hcs_task *more = &rig.tasks[(oldest + capacity) % rig.count];

            assert_false(hcs_queue_push(rig.queue, more));
            assert_int_equal(state_of(more), HCS_TASK_IDLE);
            assert_int_equal(hcs_queue_depth(rig.queue), capacity);
            assert_ptr_equal(pop(rig.queue), &rig.tasks[oldest]);
            atomic_store(&rig.tasks[oldest].state, HCS_TASK_IDLE);
            assert_int_equal(hcs_queue_depth(rig.queue), capacity - 1);
            assert_true(hcs_queue_push(rig.queue, more));
            oldest = (oldest + 1) % rig.count;
        }
        rig_fini(&rig);
    }
}

static void a_cancelled_task_is_not_run_and_comes_home_when_passed(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, 3, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(hcs_queue_push(rig.queue, &rig.tasks[i]));
    }
    assert_true(hcs_queue_cancel(rig.queue, &rig.tasks[0]));
    assert_true(hcs_queue_cancel(rig.queue, &rig.tasks[2]));
    assert_int_equal(hcs_queue_depth(rig.queue), 1);
    assert_null(hcs_mailbox_take(&rig.home)); /* its entry is not passed yet */
    assert_ptr_equal(pop(rig.queue), &rig.tasks[1]);
    assert_int_equal(receive_dead(&rig), 1);
    assert_true(hcs_queue_has_entries(rig.queue)); /* a dead one */
    assert_null(pop(rig.queue));
    assert_int_equal(receive_dead(&rig), 1);
    assert_int_equal(hcs_queue_depth(rig.queue), 0);
    rig_fini(&rig);
}

static void cancel_says_no_once_a_worker_has_the_task_or_it_was_cancelled(
    void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, 2, 2);
    assert_true(hcs_queue_push(rig.queue, &rig.tasks[0]));
    assert_true(hcs_queue_push(rig.queue, &rig.tasks[1]));
    assert_ptr_equal(pop(rig.queue), &rig.tasks[0]);
    assert_false(hcs_queue_cancel(rig.queue, &rig.tasks[0]));
    assert_int_equal(state_of(&rig.tasks[0]), HCS_TASK_TAKEN);
    assert_true(hcs_queue_cancel(rig.queue, &rig.tasks[1]));
    assert_false(hcs_queue_cancel(rig.queue, &rig.tasks[1]));
    assert_int_equal(hcs_queue_depth(rig.queue), 0); /* not freed twice */
    rig_fini(&rig);
}

/* Nobody pops: the ring holds twice the capacity, then it has to be swept. */
static void cancelled_places_are_free_at_once_however_often(void **state)
{
    static const size_t capacities[] = {1, 3, 4, 100};

    (void)state;
    for (size_t c = 0; c < sizeof(capacities) / sizeof(capacities[0]); c++) {
        const size_t capacity = capacities[c];
        struct rig rig;
        size_t next = 0;
        size_t pushed = 0;
        size_t home = 0;

        rig_init(&rig, capacity, 4 * capacity + 4);
        for (int round = 0; round < 10; round++) {
            for (size_t i = 0; i < capacity; i++) {
                struct hcs_task *task = &rig.tasks[next % rig.count];

                home += receive_dead(&rig);
                assert_int_equal(state_of(task), HCS_TASK_IDLE);
                assert_true(hcs_queue_push(rig.queue, task));
                pushed++;
                next++;
            }
            assert_int_equal(hcs_queue_depth(rig.queue), capacity);
            for (size_t i = 0; i < capacity; i++) {
                assert_true(hcs_queue_cancel(
                    rig.queue, &rig.tasks[(next - 1 - i) % rig.count]));
            }
            assert_int_equal(hcs_queue_depth(rig.queue), 0);
        }
        assert_null(pop(rig.queue));
        home += receive_dead(&rig);
        assert_int_equal(home, pushed);
        rig_fini(&rig);
    }
}

static void sweeping_keeps_the_living_in_their_order(void **state)
{
    struct rig rig;
    size_t next = 3;

    (void)state;
    rig_init(&rig, 4, 40);
    for (size_t i = 0; i < 3; i++) {
        assert_true(hcs_queue_push(rig.queue, &rig.tasks[i]));
    }
    for (; next < 40; next++) { /* eight cells: the sixth has no room */
        assert_true(hcs_queue_push(rig.queue, &rig.tasks[next]));
        assert_true(hcs_queue_cancel(rig.queue, &rig.tasks[next]));
    }
    assert_true(receive_dead(&rig) >= 37 - 8);
    assert_int_equal(hcs_queue_depth(rig.queue), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_ptr_equal(pop(rig.queue), &rig.tasks[i]);
    }
    assert_null(pop(rig.queue));
    rig_fini(&rig);
}

static void the_ring_is_at_least_twice_the_capacity(void **state)
{
    static const struct {
        size_t capacity;
        size_t cells;
    } cases[] = {{1, 2}, {2, 4}, {3, 8}, {4, 8}, {5, 16}, {10000, 32768}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hcs_queue *queue = hcs_queue_create(cases[i].capacity);

        assert_non_null(queue);
        assert_int_equal(hcs_queue_bytes(queue), cases[i].cells * 16);
        hcs_queue_destroy(queue);
    }
}

static void the_largest_queue_touches_no_memory_in_advance(void **state)
{
    struct hcs_queue *queue = hcs_queue_create(HCS_QUEUE_MAX);
    struct hcs_task task = {.next = NULL};

    (void)state;
    if (queue == NULL) {
        skip(); /* so much address space is not allowed here */
    }
    assert_true(hcs_queue_push(queue, &task));
    assert_ptr_equal(pop(queue), &task);
    hcs_queue_destroy(queue);
}

static void no_memory_for_the_ring_gives_no_queue(void **state)
{
    struct hcs_queue *queue;

    (void)state;
    mmap_fails = true;
    queue = hcs_queue_create(100);
    mmap_fails = false;
    assert_null(queue);
    hcs_queue_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_queue_gives_nothing),
        cmocka_unit_test(tasks_come_in_the_order_in_which_they_were_pushed),
        cmocka_unit_test(a_popped_task_keeps_its_place_until_it_is_released),
        cmocka_unit_test(queue_when_full_leaves_task_with_caller),
        cmocka_unit_test(
            a_cancelled_task_is_not_run_and_comes_home_when_passed),
        cmocka_unit_test(
            cancel_says_no_once_a_worker_has_the_task_or_it_was_cancelled),
        cmocka_unit_test(cancelled_places_are_free_at_once_however_often),
        cmocka_unit_test(sweeping_keeps_the_living_in_their_order),
        cmocka_unit_test(the_ring_is_at_least_twice_the_capacity),
        cmocka_unit_test(the_largest_queue_touches_no_memory_in_advance),
        cmocka_unit_test(no_memory_for_the_ring_gives_no_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
