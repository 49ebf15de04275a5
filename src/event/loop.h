/*
 * loop - one thread's edge-triggered epoll loop, with its clock and timers.
 *
 * A turn: wait, read the clock once, tell the watches that are ready, then the
 * watches that were posted, then timers, then the owner's hook.
 *
 * Owns:    the epoll descriptor and the wheel; never the watches.
 * Threads: one, the one that runs it; every call below asserts it. Create on
 *          that thread, so that the descriptor is in its table.
 * Waits:   hcs_loop_run only, in epoll_wait(2).
 */
#ifndef HCS_EVENT_LOOP_H
#define HCS_EVENT_LOOP_H

#include "event/timer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* What an owner embeds for each descriptor. */
struct hcs_watch {
    void (*ready)(struct hcs_watch *watch, uint32_t events);
    struct hcs_watch *next;  /* in the list of those posted */
    struct hcs_watch **link; /* what points at us; NULL when not in it */
};

struct hcs_loop_hooks {
    /* A timer's deadline passed. */
    void (*expired)(struct hcs_timer *timer, void *owner);
    /* At the end of each turn. */
    void (*turned)(void *owner);
    /* Before the loop sleeps: false to go round once more instead. */
    bool (*may_sleep)(void *owner);
};

struct hcs_loop {
    int fd;
    bool stopping;
    uint64_t now_ns; /* of this turn, CLOCK_MONOTONIC */
    uint64_t now_ms;
    struct hcs_wheel *wheel;
    struct hcs_watch *posted;
    struct hcs_watch **posted_end;
    const struct hcs_loop_hooks *hooks;
    void *owner;
    unsigned long thread; /* pthread_self, for the assertions */
};

/* 0, or -errno. hooks is borrowed until fini. */
int hcs_loop_init(
    struct hcs_loop *loop, const struct hcs_loop_hooks *hooks, void *owner);
void hcs_loop_fini(struct hcs_loop *loop);
bool hcs_loop_is_mine(const struct hcs_loop *loop);

/* Turns until hcs_loop_stop. */
void hcs_loop_run(struct hcs_loop *loop);
void hcs_loop_stop(struct hcs_loop *loop);

/* Watches fd for events (EPOLLET is added). watch is borrowed until fd is
 * closed. 0, or -errno. */
int hcs_loop_add(
    struct hcs_loop *loop, int fd, struct hcs_watch *watch, uint32_t events);
int hcs_loop_change(
    struct hcs_loop *loop, int fd, struct hcs_watch *watch, uint32_t events);

/* For descriptors that stay open elsewhere: closing would not remove them. */
int hcs_loop_remove(struct hcs_loop *loop, int fd);

/* Calls watch->ready(watch, EPOLLIN) once more, in this turn or the next: for
 * who stopped before EAGAIN, since an edge is not repeated. */
void hcs_loop_post(struct hcs_loop *loop, struct hcs_watch *watch);

/* Before the watch's memory goes. */
void hcs_loop_forget(struct hcs_loop *loop, struct hcs_watch *watch);

#endif
