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
    TAILQ_INIT(&loop->posted);
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

/* A watch that is in no list points back at nothing. A flag beside the entry
 * would make each connection's record larger. */
static bool is_posted(const struct hcs_watch *watch)
{
    return watch->posted.tqe_prev != NULL;
}

void hcs_loop_post(struct hcs_loop *loop, struct hcs_watch *watch)
{
    assert(hcs_loop_is_mine(loop));
    if (!is_posted(watch)) {
        TAILQ_INSERT_TAIL(&loop->posted, watch, posted);
    }
}

void hcs_loop_forget(struct hcs_loop *loop, struct hcs_watch *watch)
{
    assert(hcs_loop_is_mine(loop));
    if (is_posted(watch)) {
        TAILQ_REMOVE(&loop->posted, watch, posted);
        watch->posted.tqe_prev = NULL;
    }
}

/* Calls the watches that are posted now, each once. A watch that is posted
 * again meanwhile waits for the next turn, so that it does not starve the
 * others. */
static void call_posted(struct hcs_loop *loop)
{
    struct hcs_watch marker = {.ready = NULL};
    struct hcs_watch *watch;

    if (TAILQ_EMPTY(&loop->posted)) {
        return;
    }
    hcs_loop_post(loop, &marker);
    while ((watch = TAILQ_FIRST(&loop->posted)) != &marker) {
        hcs_loop_forget(loop, watch);
        watch->ready(watch, EPOLLIN);
    }
    hcs_loop_forget(loop, &marker);
}

static int sleep_ms(struct hcs_loop *loop)
{
    if (!TAILQ_EMPTY(&loop->posted) || !loop->hooks->may_sleep(loop->owner)) {
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

        /* The only error here is EINTR: a debugger, or SIGSTOP and SIGCONT. */
        assert(count >= 0 || errno == EINTR);
        read_clock(loop);
        hcs_wheel_tell_time(loop->wheel, loop->now_ms);
        for (int i = 0; i < count; i++) {
            struct hcs_watch *watch = events[i].data.ptr;

            watch->ready(watch, events[i].events);
        }
        call_posted(loop);
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
