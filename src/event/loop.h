/*
 * loop - the edge-triggered epoll loop of one thread, with its clock and
 * timers.
 *
 * A turn: wait for events; read the clock once; call the watches that are
 * ready, then the posted watches, then the expired timers, then the owner's
 * hook.
 *
 * Owns:    the epoll descriptor and the wheel; never the watches.
 * Threads: one, the thread that runs the loop; every call below asserts it.
 *          Init on that thread, so that the descriptor is in its table.
 * Waits:   hcs_loop_run only, in epoll_wait(2).
 */
#ifndef HCS_EVENT_LOOP_H
#define HCS_EVENT_LOOP_H

#include "event/timer.h"

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Embedded by its owner, one for each descriptor. Zero but for ready. */
struct hcs_watch {
    void (*ready)(struct hcs_watch *watch, uint32_t events);
    TAILQ_ENTRY(hcs_watch) posted; /* of the loop alone */
};

struct hcs_loop_hooks {
    /* The deadline of a timer has passed. */
    void (*expired)(struct hcs_timer *timer, void *owner);
    /* The end of a turn. */
    void (*turned)(void *owner);
    /* The loop is about to sleep. False: it takes another turn instead. */
    bool (*may_sleep)(void *owner);
};

struct hcs_loop {
    int fd;
    bool stopping;
    uint64_t now_ns; /* of this turn, CLOCK_MONOTONIC */
    uint64_t now_ms;
    struct hcs_wheel *wheel;
    TAILQ_HEAD(, hcs_watch) posted;
    const struct hcs_loop_hooks *hooks;
    void *owner;
    unsigned long thread; /* pthread_self, for the assertions */
};

/* 0, or -errno. hooks is borrowed until fini. */
int hcs_loop_init(
    struct hcs_loop *loop, const struct hcs_loop_hooks *hooks, void *owner);
void hcs_loop_fini(struct hcs_loop *loop);
bool hcs_loop_is_mine(const struct hcs_loop *loop);

/* Takes turns until hcs_loop_stop. */
void hcs_loop_run(struct hcs_loop *loop);
void hcs_loop_stop(struct hcs_loop *loop);

/* Watches fd for events (EPOLLET is added). watch is borrowed until fd is
 * closed. 0, or -errno. */
int hcs_loop_add(
    struct hcs_loop *loop, int fd, struct hcs_watch *watch, uint32_t events);
int hcs_loop_change(
    struct hcs_loop *loop, int fd, struct hcs_watch *watch, uint32_t events);

/* For a descriptor that has a copy elsewhere: epoll(7) goes on watching it
 * after a close here. */
int hcs_loop_remove(struct hcs_loop *loop, int fd);

/* Calls watch->ready(watch, EPOLLIN) once, in this turn or the next. For an
 * owner that stopped reading before EAGAIN: epoll(7) does not repeat an edge.
 * A watch that is posted already stays where it is. */
void hcs_loop_post(struct hcs_loop *loop, struct hcs_watch *watch);

/* Takes back a post, if there is one. Call it before the watch is freed. */
void hcs_loop_forget(struct hcs_loop *loop, struct hcs_watch *watch);

#endif
