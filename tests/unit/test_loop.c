/* ctest: builds=release,asan,tsan */
#include "event/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    int create_error;   /* of epoll_create1 */
    unsigned interrupt; /* so many epoll_waits */
    bool wheel_fails;
    unsigned waits;
    int last_timeout_ms;
} kernel;

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
    if (kernel.create_error != 0) {
        errno = kernel.create_error;
        return -1;
    }
    return __real_epoll_create1(flags);
}

int __real_epoll_wait(
    int fd, struct epoll_event *events, int count, int timeout_ms);
int __wrap_epoll_wait(
    int fd, struct epoll_event *events, int count, int timeout_ms)
{
    kernel.waits++;
    kernel.last_timeout_ms = timeout_ms;
    if (kernel.interrupt > 0) {
        kernel.interrupt--;
        errno = EINTR;
        return -1;
    }
    return __real_epoll_wait(fd, events, count, timeout_ms);
}

struct hcs_wheel *__real_hcs_wheel_create(uint64_t now_ms);
struct hcs_wheel *__wrap_hcs_wheel_create(uint64_t now_ms)
{
    return kernel.wheel_fails ? NULL : __real_hcs_wheel_create(now_ms);
}

enum { STEPS = 64 };

struct rig {
    struct hcs_loop loop;
    unsigned turns;      /* seen by the hook */
    unsigned stop_after; /* so many turns */
    bool awake;          /* may not sleep */
    char steps[STEPS];   /* what happened, a letter each */
    size_t step_count;
};

struct watcher {
    struct hcs_watch watch; /* first */
    struct rig *rig;
    char name;
    unsigned calls;
    uint32_t seen;
    bool again;                /* is posted again, each time */
    struct hcs_watch *forgets; /* another one */
    struct hcs_watch *posts;   /* another one */
};

static void note(struct rig *rig, char step)
{
    if (rig->step_count < STEPS - 1) {
        rig->steps[rig->step_count++] = step;
    }
}

static void on_ready(struct hcs_watch *watch, uint32_t events)
{
    struct watcher *watcher = (struct watcher *)(void *)watch;

    watcher->calls++;
    watcher->seen = events;
    note(watcher->rig, watcher->name);
    if (watcher->again) {
        hcs_loop_post(&watcher->rig->loop, watch);
    }
    if (watcher->forgets != NULL) {
        hcs_loop_forget(&watcher->rig->loop, watcher->forgets);
    }
    if (watcher->posts != NULL) {
        hcs_loop_post(&watcher->rig->loop, watcher->posts);
    }
}

static void on_expired(struct hcs_timer *timer, void *owner)
{
    (void)timer;
    note(owner, '!');
}

static void on_turned(void *owner)
{
    struct rig *rig = owner;

    note(rig, '.');
    if (++rig->turns >= rig->stop_after) {
        hcs_loop_stop(&rig->loop);
    }
}

static bool may_sleep(void *owner)
{
    return !((struct rig *)owner)->awake;
}

static const struct hcs_loop_hooks HOOKS = {
    .expired = on_expired,
    .turned = on_turned,
    .may_sleep = may_sleep,
};

static void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    memset(&kernel, 0, sizeof(kernel));
    assert_int_equal(hcs_loop_init(&rig->loop, &HOOKS, rig), 0);
    rig->stop_after = 1;
    rig->awake = true; /* a test that sleeps says so */
}

static void rig_fini(struct rig *rig)
{
    hcs_loop_fini(&rig->loop);
    assert_int_equal(rig->loop.fd, -1);
}

static struct watcher watcher(struct rig *rig, char name)
{
    return (struct watcher){.watch.ready = on_ready, .rig = rig, .name = name};
}

static void run_turns(struct rig *rig, unsigned turns)
{
    rig->turns = 0;
    rig->stop_after = turns;
    rig->loop.stopping = false;
    hcs_loop_run(&rig->loop);
}

static void an_edge_is_told_once(void **state)
{
    struct rig rig;
    struct watcher reader;
    int ends[2];

    (void)state;
    rig_init(&rig);
    reader = watcher(&rig, 'r');
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(
        hcs_loop_add(&rig.loop, ends[0], &reader.watch, EPOLLIN), 0);
    run_turns(&rig, 2);
    assert_int_equal(reader.calls, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    run_turns(&rig, 3); /* it stays readable, and no edge comes */
    assert_int_equal(reader.calls, 1);
    assert_true((reader.seen & EPOLLIN) != 0);
    assert_int_equal(write(ends[1], "y", 1), 1);
    run_turns(&rig, 2);
    assert_int_equal(reader.calls, 2);
    close(ends[1]);
    run_turns(&rig, 1);
    assert_true((reader.seen & EPOLLHUP) != 0);
    close(ends[0]);
    rig_fini(&rig);
}

static void change_asks_for_other_events_and_remove_for_none(void **state)
{
    struct rig rig;
    struct watcher writer;
    int ends[2];

    (void)state;
    rig_init(&rig);
    writer = watcher(&rig, 'w');
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(hcs_loop_add(&rig.loop, ends[1], &writer.watch, 0), 0);
    run_turns(&rig, 1);
    assert_int_equal(writer.calls, 0);
    assert_int_equal(
        hcs_loop_change(&rig.loop, ends[1], &writer.watch, EPOLLOUT), 0);
    run_turns(&rig, 2);
    assert_int_equal(writer.calls, 1);
    assert_true((writer.seen & EPOLLOUT) != 0);
    assert_int_equal(hcs_loop_remove(&rig.loop, ends[1]), 0);
    close(ends[0]);
    run_turns(&rig, 1);
    assert_int_equal(writer.calls, 1);
    assert_int_equal(hcs_loop_remove(&rig.loop, ends[1]), -ENOENT);
    assert_int_equal(
        hcs_loop_change(&rig.loop, ends[1], &writer.watch, EPOLLIN), -ENOENT);
    assert_int_equal(
        hcs_loop_add(&rig.loop, ends[1], &writer.watch, EPOLLIN), 0);
    assert_int_equal(
        hcs_loop_add(&rig.loop, ends[1], &writer.watch, EPOLLIN), -EEXIST);
    close(ends[1]);
    assert_int_equal(
        hcs_loop_add(&rig.loop, ends[1], &writer.watch, EPOLLIN), -EBADF);
    rig_fini(&rig);
}

static void a_post_is_called_once_in_order_and_without_sleeping(void **state)
{
    struct rig rig;
    struct watcher first;
    struct watcher second;

    (void)state;
    rig_init(&rig);
    rig.awake = false;
    first = watcher(&rig, 'a');
    second = watcher(&rig, 'b');
    hcs_loop_post(&rig.loop, &first.watch);
    hcs_loop_post(&rig.loop, &second.watch);
    hcs_loop_post(&rig.loop, &first.watch); /* twice is once */
    run_turns(&rig, 1);
    assert_int_equal(kernel.last_timeout_ms, 0);
    assert_string_equal(rig.steps, "ab.");
    assert_int_equal(first.seen, EPOLLIN);
    /* The list is whole again, also after its last one was forgotten. */
    hcs_loop_post(&rig.loop, &first.watch);
    hcs_loop_forget(&rig.loop, &first.watch);
    hcs_loop_post(&rig.loop, &second.watch);
    run_turns(&rig, 1);
    assert_string_equal(rig.steps, "ab.b.");
    rig_fini(&rig);
}

/* Fair: a watch that is posted each time is called once a turn. */
static void a_post_made_during_the_call_waits_for_the_next_turn(void **state)
{
    struct rig rig;
    struct watcher greedy;
    struct watcher modest;

    (void)state;
    rig_init(&rig);
    greedy = watcher(&rig, 'g');
    modest = watcher(&rig, 'm');
    greedy.again = true;
    hcs_loop_post(&rig.loop, &greedy.watch);
    hcs_loop_post(&rig.loop, &modest.watch);
    run_turns(&rig, 3);
    assert_string_equal(rig.steps, "gm.g.g.");
    hcs_loop_forget(&rig.loop, &greedy.watch);
    run_turns(&rig, 1);
    assert_string_equal(rig.steps, "gm.g.g..");
    rig_fini(&rig);
}

static void a_forgotten_post_is_not_called_even_during_another_call(
    void **state)
{
    struct rig rig;
    struct watcher watchers[4];

    (void)state;
    rig_init(&rig);
    for (size_t i = 0; i < 4; i++) {
        watchers[i] = watcher(&rig, (char)('a' + i));
        hcs_loop_post(&rig.loop, &watchers[i].watch);
    }
    hcs_loop_forget(&rig.loop, &watchers[1].watch);
    watchers[0].forgets = &watchers[3].watch; /* the last, before the end */
    watchers[2].posts = &watchers[1].watch;
    run_turns(&rig, 2);
    assert_string_equal(rig.steps, "ac.b.");
    hcs_loop_forget(&rig.loop, &watchers[1].watch); /* not in it: no harm */
    rig_fini(&rig);
}

static void timers_fire_after_events_and_posts(void **state)
{
    struct rig rig;
    struct watcher reader;
    struct watcher posted;
    struct hcs_timer timer;
    int ends[2];

    (void)state;
    rig_init(&rig);
    reader = watcher(&rig, 'r');
    posted = watcher(&rig, 'v');
    hcs_timer_init(&timer);
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(
        hcs_loop_add(&rig.loop, ends[0], &reader.watch, EPOLLIN), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    hcs_loop_post(&rig.loop, &posted.watch);
    hcs_wheel_arm(rig.loop.wheel, &timer, rig.loop.now_ms);
    run_turns(&rig, 1);
    assert_string_equal(rig.steps, "rv!.");
    close(ends[0]);
    close(ends[1]);
    rig_fini(&rig);
}

static void it_sleeps_until_the_next_timer_and_not_when_it_may_not(void **state)
{
    struct rig rig;
    struct hcs_timer timer;
    uint64_t before_ms;

    (void)state;
    rig_init(&rig);
    hcs_timer_init(&timer);
    before_ms = rig.loop.now_ms;
    hcs_wheel_arm(rig.loop.wheel, &timer, before_ms + 30);
    run_turns(&rig, 1);
    assert_int_equal(kernel.last_timeout_ms, 0);
    rig.awake = false;
    while (strchr(rig.steps, '!') == NULL) {
        assert_true(kernel.waits < 20);
        run_turns(&rig, 1);
    }
    assert_true(rig.loop.now_ms >= before_ms + 30);
    rig_fini(&rig);
}

static void a_wait_that_is_interrupted_is_an_empty_turn(void **state)
{
    struct rig rig;
    struct watcher reader;
    int ends[2];

    (void)state;
    rig_init(&rig);
    reader = watcher(&rig, 'r');
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(
        hcs_loop_add(&rig.loop, ends[0], &reader.watch, EPOLLIN), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    kernel.interrupt = 2;
    run_turns(&rig, 3);
    assert_string_equal(rig.steps, "..r.");
    assert_int_equal(rig.turns, 3);
    close(ends[0]);
    close(ends[1]);
    rig_fini(&rig);
}

static void the_clock_is_of_this_turn(void **state)
{
    struct rig rig;
    uint64_t before_ns;

    (void)state;
    rig_init(&rig);
    before_ns = rig.loop.now_ns;
    usleep(3000);
    assert_true(rig.loop.now_ns == before_ns);
    run_turns(&rig, 1);
    assert_true(rig.loop.now_ns >= before_ns + 3000000);
    assert_true(rig.loop.now_ms == rig.loop.now_ns / 1000000);
    rig_fini(&rig);
}

static void *is_mine(void *argument)
{
    return hcs_loop_is_mine(argument) ? argument : NULL;
}

static void it_belongs_to_the_thread_that_made_it(void **state)
{
    struct rig rig;
    pthread_t thread;
    void *answer;

    (void)state;
    rig_init(&rig);
    assert_true(hcs_loop_is_mine(&rig.loop));
    assert_int_equal(pthread_create(&thread, NULL, is_mine, &rig.loop), 0);
    pthread_join(thread, &answer);
    assert_null(answer);
    rig_fini(&rig);
}

static void without_descriptor_or_memory_it_does_not_begin(void **state)
{
    struct rig rig;
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int after;

    (void)state;
    close(before);
    memset(&kernel, 0, sizeof(kernel));
    kernel.create_error = EMFILE;
    assert_int_equal(hcs_loop_init(&rig.loop, &HOOKS, &rig), -EMFILE);
    kernel.create_error = ENOMEM;
    assert_int_equal(hcs_loop_init(&rig.loop, &HOOKS, &rig), -ENOMEM);
    kernel.create_error = 0;
    kernel.wheel_fails = true;
    assert_int_equal(hcs_loop_init(&rig.loop, &HOOKS, &rig), -ENOMEM);
    kernel.wheel_fails = false;
    assert_int_equal(rig.loop.fd, -1);
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(after, before); /* none was left open */
    close(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edge_is_told_once),
        cmocka_unit_test(change_asks_for_other_events_and_remove_for_none),
        cmocka_unit_test(a_post_is_called_once_in_order_and_without_sleeping),
        cmocka_unit_test(a_post_made_during_the_call_waits_for_the_next_turn),
        cmocka_unit_test(
            a_forgotten_post_is_not_called_even_during_another_call),
        cmocka_unit_test(timers_fire_after_events_and_posts),
        cmocka_unit_test(
            it_sleeps_until_the_next_timer_and_not_when_it_may_not),
        cmocka_unit_test(a_wait_that_is_interrupted_is_an_empty_turn),
        cmocka_unit_test(the_clock_is_of_this_turn),
        cmocka_unit_test(it_belongs_to_the_thread_that_made_it),
        cmocka_unit_test(without_descriptor_or_memory_it_does_not_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
