#include "sync/mailbox.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

static int eventfd_error;

int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags)
{
    if (eventfd_error != 0) {
        errno = eventfd_error;
        return -1;
    }
    return __real_eventfd(count, flags);
}

static void a_new_mailbox_is_empty_and_its_loop_awake(void **state)
{
    struct hcs_mailbox box;
    struct hcs_task task;

    (void)state;
    assert_int_equal(hcs_mailbox_open(&box), 0);
    assert_null(hcs_mailbox_take(&box));
    assert_false(hcs_mailbox_put(&box, &task)); /* awake: no ring is owed */
    assert_ptr_equal(hcs_mailbox_take(&box), &task);
    assert_null(task.next);
    assert_null(hcs_mailbox_take(&box));
    hcs_mailbox_close(&box);
}

static void tasks_are_taken_oldest_first_and_all_at_once(void **state)
{
    struct hcs_mailbox box;
    struct hcs_task tasks[5];
    struct hcs_task *task;

    (void)state;
    assert_int_equal(hcs_mailbox_open(&box), 0);
    for (size_t i = 0; i < 5; i++) {
        (void)hcs_mailbox_put(&box, &tasks[i]);
    }
    task = hcs_mailbox_take(&box);
    for (size_t i = 0; i < 5; i++) {
        assert_ptr_equal(task, &tasks[i]);
        task = task->next;
    }
    assert_null(task);
    assert_null(hcs_mailbox_take(&box));
    hcs_mailbox_close(&box);
}

static void only_the_first_who_finds_the_loop_asleep_owes_a_ring(void **state)
{
    struct hcs_mailbox box;
    struct hcs_task tasks[3];

    (void)state;
    assert_int_equal(hcs_mailbox_open(&box), 0);
    assert_true(hcs_mailbox_sleep(&box));
    assert_true(hcs_mailbox_sleep(&box)); /* still */
    assert_true(hcs_mailbox_put(&box, &tasks[0]));
    assert_false(hcs_mailbox_put(&box, &tasks[1]));
    assert_false(hcs_mailbox_put(&box, &tasks[2]));
    assert_ptr_equal(hcs_mailbox_take(&box), &tasks[0]);
    /* Taking woke it. */
    assert_false(hcs_mailbox_put(&box, &tasks[0]));
    hcs_mailbox_close(&box);
}

static void taking_from_a_sleeping_mailbox_gives_nothing_and_wakes(void **state)
{
    struct hcs_mailbox box;
    struct hcs_task task;

    (void)state;
    assert_int_equal(hcs_mailbox_open(&box), 0);
    assert_true(hcs_mailbox_sleep(&box));
    assert_null(hcs_mailbox_take(&box));
    assert_false(hcs_mailbox_put(&box, &task));
    hcs_mailbox_close(&box);
}

static void a_loop_with_tasks_may_not_sleep(void **state)
{
    struct hcs_mailbox box;
    struct hcs_task task;

    (void)state;
    assert_int_equal(hcs_mailbox_open(&box), 0);
    assert_false(hcs_mailbox_put(&box, &task));
    assert_false(hcs_mailbox_sleep(&box));
    assert_ptr_equal(hcs_mailbox_take(&box), &task); /* and it is still there */
    assert_true(hcs_mailbox_sleep(&box));
    hcs_mailbox_close(&box);
}

/* The kernel's part of it: the descriptor stays readable for ever, and yet
 * each ring wakes the loop once. */
static void each_ring_is_a_new_edge_though_nobody_reads(void **state)
{
    struct hcs_mailbox box;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    (void)state;
    assert_int_equal(hcs_mailbox_open(&box), 0);
    assert_true(epoll >= 0);
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, box.fd, &event), 0);
    assert_int_equal(epoll_wait(epoll, &event, 1, 0), 0);
    for (int i = 0; i < 3; i++) {
        hcs_mailbox_ring(&box);
        assert_int_equal(epoll_wait(epoll, &event, 1, 1000), 1);
        assert_int_equal(epoll_wait(epoll, &event, 1, 0), 0);
    }
    hcs_mailbox_ring(&box);
    hcs_mailbox_ring(&box);
    assert_int_equal(epoll_wait(epoll, &event, 1, 1000), 1);
    assert_int_equal(epoll_wait(epoll, &event, 1, 0), 0);
    close(epoll);
    hcs_mailbox_close(&box);
}

static void without_a_descriptor_it_does_not_open_and_can_be_closed(
    void **state)
{
    struct hcs_mailbox box;

    (void)state;
    eventfd_error = EMFILE;
    assert_int_equal(hcs_mailbox_open(&box), -EMFILE);
    eventfd_error = ENOMEM;
    assert_int_equal(hcs_mailbox_open(&box), -ENOMEM);
    eventfd_error = 0;
    hcs_mailbox_close(&box);
    assert_int_equal(hcs_mailbox_open(&box), 0);
    hcs_mailbox_close(&box);
    assert_int_equal(box.fd, -1);
    hcs_mailbox_close(&box); /* twice does no harm */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_mailbox_is_empty_and_its_loop_awake),
        cmocka_unit_test(tasks_are_taken_oldest_first_and_all_at_once),
        cmocka_unit_test(only_the_first_who_finds_the_loop_asleep_owes_a_ring),
        cmocka_unit_test(
            taking_from_a_sleeping_mailbox_gives_nothing_and_wakes),
        cmocka_unit_test(a_loop_with_tasks_may_not_sleep),
        cmocka_unit_test(each_ring_is_a_new_edge_though_nobody_reads),
        cmocka_unit_test(
            without_a_descriptor_it_does_not_open_and_can_be_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
