#include "event/loop.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 256 };

bool hcs_loop_is_mine(const struct hcs_loop *loop)
{
    return loop->thread == (unsigned long)pthread_self();
}

static void read_clock(struct hcs_loop *loop)
{
    loop->now_ns = hcs_clock_ns();
    loop->now_ms = loop->now_ns / 1000000;
}

int hcs_loop_init(
    struct hcs_loop *loop, const struct hcs_loop_hooks *hooks, void *owner)
{
    *loop = (struct hcs_loop){
        .hooks = hooks,
        .owner = owner,
        .thread = (unsigned long)pthread_self(),
    };
    loop->posted_end = &loop->posted;
    read_clock(loop);
    loop->fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->fd < 0) {
        return -errno;
    }
    loop->wheel = hcs_wheel_create(loop->now_ms);
    if (loop->wheel == NULL) {
        close(loop->fd);
        loop->fd = -1;
        return -ENOMEM;
    }
    return 0;
}

void hcs_loop_fini(struct hcs_loop *loop)
{
    assert(hcs_loop_is_mine(loop));
    hcs_wheel_destroy(loop->wheel);
    close(loop->fd);
    loop->fd = -1;
}

static int control(struct hcs_loop *loop, int operation, int fd,
    struct hcs_watch *watch, uint32_t events)
{
    struct epoll_event event = {
        .events = events | EPOLLET,
        .data.ptr = watch,
    };

    assert(hcs_loop_is_mine(loop));
    return epoll_ctl(loop->fd, operation, fd, &event) == 0 ? 0 : -errno;
}

int hcs_loop_add(
    struct hcs_loop *loop, int fd, struct hcs_watch *watch, uint32_t events)
{
    return control(loop, EPOLL_CTL_ADD, fd, watch, events);
}

int hcs_loop_change(
    struct hcs_loop *loop, int fd, struct hcs_watch *watch, uint32_t events)
{
    return control(loop, EPOLL_CTL_MOD, fd, watch, events);
}

int hcs_loop_remove(struct hcs_loop *loop, int fd)
{
    return control(loop, EPOLL_CTL_DEL, fd, NULL, 0);
}

void hcs_loop_post(struct hcs_loop *loop, struct hcs_watch *watch)
{
    assert(hcs_loop_is_mine(loop));
    if (watch->link == NULL) {
        watch->next = NULL;
        watch->link = loop->posted_end;
        *loop->posted_end = watch;
        loop->posted_end = &watch->next;
    }
}

void hcs_loop_forget(struct hcs_loop *loop, struct hcs_watch *watch)
{
    assert(hcs_loop_is_mine(loop));
    if (watch->link == NULL) {
        return;
    }
    *watch->link = watch->next;
    if (watch->next != NULL) {
        watch->next->link = watch->link;
    } else {
        loop->posted_end = watch->link;
    }
    watch->link = NULL;
}

/* Those that stand in the list now, each once: who asks again while it is
 * visited waits for the next turn, so that nobody starves the others. */
static void revisit(struct hcs_loop *loop)
{
    struct hcs_watch *last;

    if (loop->posted == NULL) {
        return;
    }
    struct hcs_watch marker = {.ready = NULL};

    hcs_loop_post(loop, &marker);
    last = &marker;
    while (loop->posted != last) {
        struct hcs_watch *watch = loop->posted;

        hcs_loop_forget(loop, watch);
        watch->ready(watch, EPOLLIN);
    }
    hcs_loop_forget(loop, &marker);
}

static int sleep_ms(struct hcs_loop *loop)
{
    if (loop->posted != NULL || !loop->hooks->may_sleep(loop->owner)) {
        return 0;
    }
    return hcs_wheel_timeout_ms(loop->wheel, loop->now_ms);
}

void hcs_loop_run(struct hcs_loop *loop)
{
    struct epoll_event events[EVENTS_PER_WAIT];

    assert(hcs_loop_is_mine(loop));
    while (!loop->stopping) {
        int count =
            epoll_wait(loop->fd, events, EVENTS_PER_WAIT, sleep_ms(loop));

        /* Only EINTR is possible here (a debugger, a stop and continue). */
        assert(count >= 0 || errno == EINTR);
        read_clock(loop);
        hcs_wheel_tell_time(loop->wheel, loop->now_ms);
        for (int i = 0; i < count; i++) {
            struct hcs_watch *watch = events[i].data.ptr;

            watch->ready(watch, events[i].events);
        }
        revisit(loop);
        hcs_wheel_advance(
            loop->wheel, loop->now_ms, loop->hooks->expired, loop->owner);
        loop->hooks->turned(loop->owner);
    }
}

void hcs_loop_stop(struct hcs_loop *loop)
{
    assert(hcs_loop_is_mine(loop));
    loop->stopping = true;
}
