/*
 * timer - a hashed wheel of deadlines, one for each loop.
 *
 * Owns:    its slots; the timers are embedded in their owners' records.
 * Threads: one, its loop.
 * Waits:   never.
 *
 * Lazy: moving a deadline later only stores it; the wheel looks at the timer
 * when the slot it stands in comes up, and files it anew. Only a deadline
 * moved earlier than the slot where the timer stands moves the timer. So a
 * request costs no list move, and arming is O(1).
 *
 * Fires never early, and late by at most the slack of hcs_wheel_slack: far
 * deadlines are filed coarsely, so that a million idle connections wake their
 * loop about once a second.
 */
#ifndef HCS_EVENT_TIMER_H
#define HCS_EVENT_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct hcs_timer {
    struct hcs_timer *next;
    struct hcs_timer **link; /* what points at us; NULL when not filed */
    uint64_t deadline_ms;    /* UINT64_MAX: none */
    uint32_t filed_tick;     /* where it stands, low bits of the tick */
};

struct hcs_wheel; /* opaque */

enum { HCS_WHEEL_NEVER = -1 };

/* now_ms: monotonic milliseconds, as in every call below; it never goes back.
 * NULL when there is no memory. Destroy does not touch the timers. */
struct hcs_wheel *hcs_wheel_create(uint64_t now_ms);
void hcs_wheel_destroy(struct hcs_wheel *wheel);

void hcs_timer_init(struct hcs_timer *timer);

/* Sets the deadline (absolute; UINT64_MAX for none: the timer may stay filed
 * and is dropped when its slot comes up). How far ahead it lies, which decides
 * its slack, is counted from the time the wheel was last told, by advance or
 * tell_time. One that is due already fires on the next advance, also when armed
 * by fire. */
void hcs_wheel_arm(
    struct hcs_wheel *wheel, struct hcs_timer *timer, uint64_t deadline_ms);

/* Unfiles the timer and clears its deadline: needed before its memory goes.
 * It need not be filed. */
void hcs_wheel_remove(struct hcs_wheel *wheel, struct hcs_timer *timer);

/* Calls fire for each timer whose slot has come up and whose deadline is at or
 * before now_ms, unfiled and with its deadline cleared (UINT64_MAX). fire may
 * arm, remove and free any timer, the one it is given too; it may not advance
 * the wheel. */
void hcs_wheel_advance(struct hcs_wheel *wheel, uint64_t now_ms,
    void (*fire)(struct hcs_timer *timer, void *arg), void *arg);

/* Only says what time it is. For a loop that has slept, and arms timers before
 * it advances the wheel: a deadline near by now lay far ahead when it fell
 * asleep, and would be filed as coarsely. */
void hcs_wheel_tell_time(struct hcs_wheel *wheel, uint64_t now_ms);

/* Milliseconds from now_ms until the wheel has to be advanced, rounded up; 0
 * when it is time already, HCS_WHEEL_NEVER when nothing is filed. Cheap: called
 * once a turn. */
int hcs_wheel_timeout_ms(const struct hcs_wheel *wheel, uint64_t now_ms);

/* How late a deadline that lies ahead_ms in the future may fire, in ms: at most
 * 16 under a second, 128 under eight seconds, 1024 beyond. */
uint32_t hcs_wheel_slack_ms(uint64_t ahead_ms);

#endif
