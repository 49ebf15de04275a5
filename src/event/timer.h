/*
 * timer - a hashed timing wheel: the deadlines of one loop.
 *
 * Owns:    its slots; a timer is embedded in the record of its owner.
 * Threads: one, its loop.
 * Waits:   never.
 *
 * The wheel is lazy. A deadline that moves later is only stored. When the
 * timer's slot comes up, the wheel looks at the timer and files it in a later
 * slot. A deadline that moves before the slot moves the timer at once. So most
 * requests move nothing in a list, and arming costs O(1).
 *
 * A timer never fires early. It fires late by at most hcs_wheel_slack_ms: far
 * deadlines are filed coarsely, so that a million idle connections wake their
 * loop about once a second.
 */
#ifndef HCS_EVENT_TIMER_H
#define HCS_EVENT_TIMER_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

struct hcs_timer {
    LIST_ENTRY(hcs_timer) entry;
    uint64_t deadline_ms; /* UINT64_MAX: none */
    uint32_t filed_tick;  /* low bits of the tick at which it is filed */
    bool filed;
};

struct hcs_wheel; /* opaque */

enum { HCS_WHEEL_NEVER = -1 };

/* now_ms, here and below: monotonic milliseconds, which never go back. NULL
 * when there is no memory. Destroy does not touch the timers. */
struct hcs_wheel *hcs_wheel_create(uint64_t now_ms);
void hcs_wheel_destroy(struct hcs_wheel *wheel);

void hcs_timer_init(struct hcs_timer *timer);

/* Sets the deadline, an absolute time. UINT64_MAX is no deadline: then the
 * timer may stay filed, and is dropped when its slot comes up. The slack
 * depends on how far ahead the deadline lies, counted from the time that the
 * wheel was last told by advance or tell_time. A timer that is due already
 * fires at the next advance, also when fire arms it. */
void hcs_wheel_arm(
    struct hcs_wheel *wheel, struct hcs_timer *timer, uint64_t deadline_ms);

/* Unfiles the timer, if it is filed, and clears its deadline. Call it before
 * the timer is freed. */
void hcs_wheel_remove(struct hcs_wheel *wheel, struct hcs_timer *timer);

/* Calls fire for each timer whose slot has come up and whose deadline is at or
 * before now_ms. The timer is unfiled and its deadline cleared before the call.
 * fire may arm, remove and free any timer, also the one that it is given. It
 * may not advance the wheel. */
void hcs_wheel_advance(struct hcs_wheel *wheel, uint64_t now_ms,
    void (*fire)(struct hcs_timer *timer, void *arg), void *arg);

/* Tells the wheel the time and nothing else. For a loop that has slept, and
 * arms timers before it advances the wheel. Without this call a near deadline
 * would seem far ahead, and would be filed coarsely. */
void hcs_wheel_tell_time(struct hcs_wheel *wheel, uint64_t now_ms);

/* Milliseconds from now_ms until the next advance is due, rounded up. 0 when it
 * is due already; HCS_WHEEL_NEVER when no timer is filed. Cheap, since each
 * turn of a loop calls it. */
int hcs_wheel_timeout_ms(const struct hcs_wheel *wheel, uint64_t now_ms);

/* How late, in ms, a timer may fire that is armed ahead_ms before its deadline:
 * 16 below one second, 128 below eight seconds, else 1024. */
uint32_t hcs_wheel_slack_ms(uint64_t ahead_ms);

#endif
