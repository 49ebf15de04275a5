#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "event/timer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    TICK_MS = 16,
    HORIZON_MS = 4096 * TICK_MS,
    /* Filed at least so far ahead if the deadline lies beyond the horizon. */
    REACH_MS = HORIZON_MS - 1024 - TICK_MS,
};

/* Neither zero nor the start of a tick or of a coarser step. */
static const uint64_t start_ms = 1234567;

/* xorshift64: the same sequence on every machine. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* What most tests fire: a timer that counts. */
struct alarm {
    struct hcs_timer timer;
    unsigned fired;
};

static void alarm_init(struct alarm *alarm)
{
    memset(alarm, 0, sizeof(*alarm));
    hcs_timer_init(&alarm->timer);
}

static struct alarm *alarm_of(struct hcs_timer *timer)
{
    return (struct alarm *)(void *)timer; /* its first member */
}

/* arg counts all that fire; NULL when it does not matter. */
static void count(struct hcs_timer *timer, void *arg)
{
    unsigned *total = arg;

    assert_false(timer->filed);
    assert_true(timer->deadline_ms == UINT64_MAX);
    alarm_of(timer)->fired++;
    if (total != NULL) {
        (*total)++;
    }
}

/* Sleeps as the loop would and returns when the alarm fired. wakeups may be
 * NULL. */
static uint64_t sleep_until_fired(struct hcs_wheel *wheel, uint64_t now_ms,
    const struct alarm *alarm, unsigned *wakeups)
{
    const unsigned fired = alarm->fired;

    for (unsigned turn = 0; alarm->fired == fired; turn++) {
        int timeout_ms = hcs_wheel_timeout_ms(wheel, now_ms);

        assert_true(timeout_ms >= 0);
        assert_true(turn < 1000);
        now_ms += (uint64_t)timeout_ms;
        hcs_wheel_advance(wheel, now_ms, count, NULL);
        if (wakeups != NULL) {
            (*wakeups)++;
        }
    }
    return now_ms;
}

static void slack_grows_with_the_distance(void **state)
{
    (void)state;
    assert_int_equal(hcs_wheel_slack_ms(0), 16);
    assert_int_equal(hcs_wheel_slack_ms(999), 16);
    assert_int_equal(hcs_wheel_slack_ms(1000), 128);
    assert_int_equal(hcs_wheel_slack_ms(7999), 128);
    assert_int_equal(hcs_wheel_slack_ms(8000), 1024);
    assert_int_equal(hcs_wheel_slack_ms(UINT64_MAX), 1024);
}

static void empty_wheel_never_wakes(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    unsigned total = 0;

    (void)state;
    assert_non_null(wheel);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);
    hcs_wheel_advance(wheel, start_ms + 1000000, count, &total);
    assert_int_equal(total, 0);
    assert_int_equal(
        hcs_wheel_timeout_ms(wheel, start_ms + 1000000), HCS_WHEEL_NEVER);
    hcs_wheel_destroy(wheel);
    hcs_wheel_destroy(NULL);
}

/* From many phases of the tick, for distances around every bound. */
static void fires_within_its_slack_and_never_early(void **state)
{
    static const uint64_t distances[] = {1, 2, 15, 16, 17, 100, 983, 984, 999,
        1000, 1001, 5000, 7999, 8000, 8001, 15000, 30000, 60000, 64000, 64500,
        HORIZON_MS - 1024, HORIZON_MS - 17, HORIZON_MS - 16, HORIZON_MS - 1,
        HORIZON_MS, HORIZON_MS + 1, 70000, 200000, 3600000};

    (void)state;
    for (uint64_t phase = 0; phase < 2048; phase += 7) {
        for (size_t d = 0; d < sizeof(distances) / sizeof(distances[0]); d++) {
            const uint64_t ahead_ms = distances[d];
            const uint64_t now_ms = start_ms + phase;
            const uint64_t deadline_ms = now_ms + ahead_ms;
            struct hcs_wheel *wheel = hcs_wheel_create(now_ms);
            struct alarm alarm;
            unsigned wakeups = 0;
            uint64_t at_ms;

            assert_non_null(wheel);
            alarm_init(&alarm);
            hcs_wheel_arm(wheel, &alarm.timer, deadline_ms);
            assert_true(hcs_wheel_timeout_ms(wheel, now_ms) >=
                        (int)(ahead_ms < REACH_MS ? ahead_ms : REACH_MS));
            at_ms = sleep_until_fired(wheel, now_ms, &alarm, &wakeups);
            assert_true(at_ms >= deadline_ms);
            assert_true(at_ms - deadline_ms < hcs_wheel_slack_ms(ahead_ms));
            assert_int_equal(alarm.fired, 1);
            /* Once for each horizon on the way, and no half-way looks. */
            assert_true(wakeups <= 1 + (ahead_ms + 1024) / REACH_MS);
            assert_int_equal(
                hcs_wheel_timeout_ms(wheel, at_ms), HCS_WHEEL_NEVER);
            hcs_wheel_destroy(wheel);
        }
    }
}

static void is_not_fired_while_the_deadline_lies_ahead(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm alarm;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&alarm);
    hcs_wheel_arm(wheel, &alarm.timer, start_ms + 500);
    for (uint64_t ms = 0; ms < 500; ms++) {
        hcs_wheel_advance(wheel, start_ms + ms, count, NULL);
        assert_int_equal(alarm.fired, 0);
    }
    hcs_wheel_advance(wheel, start_ms + 500 + TICK_MS, count, NULL);
    assert_int_equal(alarm.fired, 1);
    hcs_wheel_advance(wheel, start_ms + 100000, count, NULL);
    assert_int_equal(alarm.fired, 1);
    hcs_wheel_destroy(wheel);
}

static void deadline_that_has_passed_fires_on_the_next_advance(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm now;
    struct alarm past;
    struct alarm zero;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&now);
    alarm_init(&past);
    alarm_init(&zero);
    hcs_wheel_arm(wheel, &now.timer, start_ms);
    hcs_wheel_arm(wheel, &past.timer, start_ms - 100000);
    hcs_wheel_arm(wheel, &zero.timer, 0);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), 0);
    hcs_wheel_advance(wheel, start_ms, count, NULL); /* time stands still */
    assert_int_equal(now.fired, 1);
    assert_int_equal(past.fired, 1);
    assert_int_equal(zero.fired, 1);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);
    hcs_wheel_destroy(wheel);
}

static void timeout_counts_from_the_time_given(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(1000 * TICK_MS);
    struct alarm alarm;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&alarm);
    hcs_wheel_arm(wheel, &alarm.timer, 1010 * TICK_MS - 3);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, 1000 * TICK_MS), 160);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, 1000 * TICK_MS + 7), 153);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, 1010 * TICK_MS - 1), 1);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, 1010 * TICK_MS), 0);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, 2000 * TICK_MS), 0);
    hcs_wheel_destroy(wheel);
}

static void timeout_is_that_of_the_nearest(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm far;
    struct alarm middle;
    struct alarm near;
    int timeout_ms;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&far);
    alarm_init(&middle);
    alarm_init(&near);
    hcs_wheel_arm(wheel, &far.timer, start_ms + 60000);
    timeout_ms = hcs_wheel_timeout_ms(wheel, start_ms);
    assert_in_range(timeout_ms, 60000, 60000 + 1023);
    hcs_wheel_arm(wheel, &near.timer, start_ms + 100);
    timeout_ms = hcs_wheel_timeout_ms(wheel, start_ms);
    assert_in_range(timeout_ms, 100, 100 + 15);
    hcs_wheel_arm(wheel, &middle.timer, start_ms + 3000);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), timeout_ms);
    hcs_wheel_remove(wheel, &near.timer);
    timeout_ms = hcs_wheel_timeout_ms(wheel, start_ms);
    assert_in_range(timeout_ms, 3000, 3000 + 127);
    hcs_wheel_remove(wheel, &middle.timer);
    hcs_wheel_remove(wheel, &far.timer);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);
    hcs_wheel_destroy(wheel);
}

static void arming_later_moves_nothing(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm alarm;
    struct hcs_timer **link;
    uint32_t filed_tick;
    uint64_t now_ms = start_ms;
    unsigned wakeups = 0;
    uint64_t at_ms;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&alarm);
    hcs_wheel_arm(wheel, &alarm.timer, now_ms + 60000);
    link = alarm.timer.entry.le_prev;
    filed_tick = alarm.timer.filed_tick;
    assert_non_null(link);
    for (int request = 0; request < 50; request++) {
        now_ms += 1000;
        hcs_wheel_advance(wheel, now_ms, count, NULL);
        hcs_wheel_arm(wheel, &alarm.timer, now_ms + 60000);
        assert_ptr_equal(alarm.timer.entry.le_prev, link);
        assert_int_equal(alarm.timer.filed_tick, filed_tick);
    }
    /* It is looked at when its first deadline comes up, and then once more. */
    at_ms = sleep_until_fired(wheel, now_ms, &alarm, &wakeups);
    assert_in_range(at_ms - now_ms, 60000, 60000 + 1023);
    assert_int_equal(wakeups, 2);
    hcs_wheel_destroy(wheel);
}

static void arming_for_the_same_slot_moves_nothing(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(1024000);
    struct alarm alarm;
    struct alarm other;
    struct hcs_timer **link;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&alarm);
    alarm_init(&other);
    hcs_wheel_arm(wheel, &alarm.timer, 1024000 + 60000);
    hcs_wheel_arm(wheel, &other.timer, 1024000 + 60000);
    link = alarm.timer.entry.le_prev;
    hcs_wheel_arm(wheel, &alarm.timer, 1024000 + 60000);
    assert_ptr_equal(alarm.timer.entry.le_prev, link);
    hcs_wheel_arm(wheel, &alarm.timer, 1024000 + 59999);
    assert_ptr_equal(alarm.timer.entry.le_prev, link);
    assert_true(alarm.timer.deadline_ms == 1024000 + 59999);
    hcs_wheel_destroy(wheel);
}

static void the_last_moment_of_all_lies_far_ahead(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm alarm;
    unsigned total = 0;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&alarm);
    hcs_wheel_arm(wheel, &alarm.timer, UINT64_MAX - 1);
    assert_in_range(
        hcs_wheel_timeout_ms(wheel, start_ms), REACH_MS, HORIZON_MS);
    hcs_wheel_advance(wheel, start_ms + 10 * HORIZON_MS, count, &total);
    assert_int_equal(total, 0);
    assert_true(alarm.timer.filed);
    hcs_wheel_destroy(wheel);
}

static void arming_earlier_moves(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm alarm;
    uint64_t at_ms;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&alarm);
    hcs_wheel_arm(wheel, &alarm.timer, start_ms + 60000);
    hcs_wheel_arm(wheel, &alarm.timer, start_ms + 5000);
    hcs_wheel_arm(wheel, &alarm.timer, start_ms + 200);
    at_ms = sleep_until_fired(wheel, start_ms, &alarm, NULL);
    assert_in_range(at_ms - start_ms, 200, 215);
    /* No trace is left where it stood before. */
    assert_int_equal(hcs_wheel_timeout_ms(wheel, at_ms), HCS_WHEEL_NEVER);
    hcs_wheel_arm(wheel, &alarm.timer, at_ms + 100);
    hcs_wheel_arm(wheel, &alarm.timer, at_ms);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, at_ms), 0);
    hcs_wheel_advance(wheel, at_ms, count, NULL);
    assert_int_equal(alarm.fired, 2);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, at_ms), HCS_WHEEL_NEVER);
    hcs_wheel_destroy(wheel);
}

/* It stands in a coarse slot, and the new deadline, though later, is near by
 * now: it may not be as late as a far one. */
static void arming_later_when_near_keeps_the_near_slack(void **state)
{
    (void)state;
    for (uint64_t phase = 0; phase < 1024; phase += 16) {
        const uint64_t from_ms = start_ms + phase;
        struct hcs_wheel *wheel = hcs_wheel_create(from_ms);
        struct alarm alarm;
        uint64_t at_ms;

        assert_non_null(wheel);
        alarm_init(&alarm);
        hcs_wheel_arm(wheel, &alarm.timer, from_ms + 10000);
        hcs_wheel_advance(wheel, from_ms + 9500, count, NULL);
        hcs_wheel_arm(wheel, &alarm.timer, from_ms + 10001);
        at_ms = sleep_until_fired(wheel, from_ms + 9500, &alarm, NULL);
        assert_in_range(at_ms - from_ms, 10001, 10001 + 15);
        hcs_wheel_destroy(wheel);
    }
}

/* As a loop does that handles its events before its timers. */
static void arming_after_a_sleep_counts_from_the_time_told(void **state)
{
    static const uint64_t sleeps_ms[] = {
        900, 9000, 60000, HORIZON_MS - 1, HORIZON_MS, 3600000};

    (void)state;
    for (size_t s = 0; s < sizeof(sleeps_ms) / sizeof(sleeps_ms[0]); s++) {
        for (uint64_t phase = 0; phase < 1024; phase += 15) {
            const uint64_t woken_ms = start_ms + phase + sleeps_ms[s];
            struct hcs_wheel *wheel = hcs_wheel_create(start_ms + phase);
            struct alarm near;
            struct alarm due;
            uint64_t at_ms;

            assert_non_null(wheel);
            alarm_init(&near);
            alarm_init(&due);
            hcs_wheel_tell_time(wheel, woken_ms);
            hcs_wheel_arm(wheel, &near.timer, woken_ms + 500);
            hcs_wheel_arm(wheel, &due.timer, woken_ms);
            assert_int_equal(hcs_wheel_timeout_ms(wheel, woken_ms), 0);
            hcs_wheel_advance(wheel, woken_ms, count, NULL);
            assert_int_equal(due.fired, 1);
            assert_int_equal(near.fired, 0);
            at_ms = sleep_until_fired(wheel, woken_ms, &near, NULL);
            assert_in_range(at_ms - woken_ms, 500, 515);
            hcs_wheel_destroy(wheel);
        }
    }
}

static void deadline_of_none_is_dropped_when_its_slot_comes_up(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm alarm;

    (void)state;
    assert_non_null(wheel);
    alarm_init(&alarm);
    hcs_wheel_arm(wheel, &alarm.timer, UINT64_MAX);
    assert_false(alarm.timer.filed);
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);

    hcs_wheel_arm(wheel, &alarm.timer, start_ms + 100);
    hcs_wheel_arm(wheel, &alarm.timer, UINT64_MAX);
    hcs_wheel_advance(wheel, start_ms + 200, count, NULL);
    assert_int_equal(alarm.fired, 0);
    assert_false(alarm.timer.filed);
    assert_int_equal(
        hcs_wheel_timeout_ms(wheel, start_ms + 200), HCS_WHEEL_NEVER);

    /* Armed again before its slot comes up, it is an ordinary timer. */
    hcs_wheel_arm(wheel, &alarm.timer, start_ms + 300);
    hcs_wheel_arm(wheel, &alarm.timer, UINT64_MAX);
    hcs_wheel_arm(wheel, &alarm.timer, start_ms + 400);
    (void)sleep_until_fired(wheel, start_ms + 200, &alarm, NULL);
    hcs_wheel_destroy(wheel);
}

static void remove_works_in_every_state(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm alarm[5];
    unsigned total = 0;

    (void)state;
    assert_non_null(wheel);
    for (size_t i = 0; i < 5; i++) {
        alarm_init(&alarm[i]);
    }
    hcs_wheel_remove(wheel, &alarm[0].timer); /* never armed */
    hcs_wheel_arm(wheel, &alarm[0].timer, start_ms + 10);
    hcs_wheel_remove(wheel, &alarm[0].timer); /* filed */
    assert_false(alarm[0].timer.filed);
    assert_true(alarm[0].timer.deadline_ms == UINT64_MAX);
    hcs_wheel_remove(wheel, &alarm[0].timer); /* removed */
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);
    hcs_wheel_arm(wheel, &alarm[0].timer, start_ms);
    hcs_wheel_remove(wheel, &alarm[0].timer); /* due */
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);
    hcs_wheel_arm(wheel, &alarm[0].timer, start_ms + 10 * HORIZON_MS);
    hcs_wheel_remove(wheel, &alarm[0].timer); /* beyond the horizon */
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);
    hcs_wheel_arm(wheel, &alarm[0].timer, start_ms + 10);
    hcs_wheel_arm(wheel, &alarm[0].timer, UINT64_MAX);
    hcs_wheel_remove(wheel, &alarm[0].timer); /* filed without a deadline */
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);
    hcs_wheel_advance(wheel, start_ms + 1000, count, &total);
    assert_int_equal(total, 0);

    /* First, last and middle of one slot. */
    for (size_t i = 0; i < 5; i++) {
        hcs_wheel_arm(wheel, &alarm[i].timer, start_ms + 1500);
    }
    hcs_wheel_remove(wheel, &alarm[0].timer);
    hcs_wheel_remove(wheel, &alarm[4].timer);
    hcs_wheel_remove(wheel, &alarm[2].timer);
    hcs_wheel_advance(wheel, start_ms + 2000, count, &total);
    assert_int_equal(total, 2);
    assert_int_equal(alarm[1].fired, 1);
    assert_int_equal(alarm[3].fired, 1);
    hcs_wheel_remove(wheel, &alarm[1].timer); /* fired */
    hcs_wheel_destroy(wheel);
}

/* For fire functions that do something to the wheel. */
struct scene {
    struct hcs_wheel *wheel;
    struct alarm alarm[8];
    uint64_t rearm_ms;
    unsigned total;
};

static struct scene *scene_create(void)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    scene->wheel = hcs_wheel_create(start_ms);
    assert_non_null(scene->wheel);
    for (size_t i = 0; i < 8; i++) {
        alarm_init(&scene->alarm[i]);
    }
    return scene;
}

static void scene_destroy(struct scene *scene)
{
    hcs_wheel_destroy(scene->wheel);
    free(scene);
}

static void rearm_itself(struct hcs_timer *timer, void *arg)
{
    struct scene *scene = arg;

    scene->total++;
    assert_true(scene->total < 1000); /* or we are here for ever */
    hcs_wheel_arm(scene->wheel, timer, scene->rearm_ms);
}

static void fire_that_arms_for_the_past_is_called_once_an_advance(void **state)
{
    static const int64_t back_ms[] = {0, 1, 16, 100, 65536, 1000000};

    (void)state;
    for (size_t i = 0; i < sizeof(back_ms) / sizeof(back_ms[0]); i++) {
        struct scene *scene = scene_create();
        uint64_t now_ms = start_ms + 100;

        hcs_wheel_arm(scene->wheel, &scene->alarm[0].timer, start_ms + 50);
        hcs_wheel_arm(scene->wheel, &scene->alarm[1].timer, start_ms);
        for (unsigned round = 1; round <= 10; round++) {
            scene->rearm_ms = now_ms - (uint64_t)back_ms[i];
            hcs_wheel_advance(scene->wheel, now_ms, rearm_itself, scene);
            assert_int_equal(scene->total, 2 * round);
            assert_int_equal(hcs_wheel_timeout_ms(scene->wheel, now_ms), 0);
            now_ms += round % 3; /* sometimes time stands still */
        }
        scene_destroy(scene);
    }
}

/* The slots that an advance passes are those of the ticks to come, one turn of
 * the wheel later: what fire() files there must not fire now. */
static void fire_that_arms_into_slots_being_passed_is_called_once(void **state)
{
    (void)state;
    for (uint64_t ahead_ms = HORIZON_MS - 1100; ahead_ms < HORIZON_MS + 100;
         ahead_ms++) {
        struct scene *scene = scene_create();
        const uint64_t now_ms = start_ms + 10 * HORIZON_MS;

        hcs_wheel_arm(scene->wheel, &scene->alarm[0].timer, start_ms + 50);
        scene->rearm_ms = now_ms + ahead_ms;
        hcs_wheel_advance(scene->wheel, now_ms, rearm_itself, scene);
        assert_int_equal(scene->total, 1);
        hcs_wheel_advance(
            scene->wheel, now_ms + ahead_ms - 1, rearm_itself, scene);
        assert_int_equal(scene->total, 1);
        hcs_wheel_advance(
            scene->wheel, now_ms + ahead_ms + 1024, rearm_itself, scene);
        assert_int_equal(scene->total, 2);
        scene_destroy(scene);
    }
}

/* Whichever of them is first removes all the others. */
static void remove_the_others(struct hcs_timer *timer, void *arg)
{
    struct scene *scene = arg;

    scene->total++;
    for (size_t i = 0; i < 8; i++) {
        if (&scene->alarm[i].timer != timer) {
            hcs_wheel_remove(scene->wheel, &scene->alarm[i].timer);
        }
    }
    hcs_wheel_remove(scene->wheel, timer);
}

static void fire_may_remove_those_it_stands_with(void **state)
{
    /* In one slot, in neighbouring ones that the same advance passes, and
     * among those that were due when they were armed. */
    static const uint64_t apart_ms[] = {0, 16, 100};
    static const int64_t ahead_ms[] = {50, 5000, -1000};

    (void)state;
    for (size_t a = 0; a < 3; a++) {
        for (size_t d = 0; d < 3; d++) {
            struct scene *scene = scene_create();

            for (size_t i = 0; i < 8; i++) {
                hcs_wheel_arm(scene->wheel, &scene->alarm[i].timer,
                    start_ms + (uint64_t)ahead_ms[a] + i * apart_ms[d]);
            }
            hcs_wheel_advance(
                scene->wheel, start_ms + 10000, remove_the_others, scene);
            assert_int_equal(scene->total, 1);
            assert_int_equal(
                hcs_wheel_timeout_ms(scene->wheel, start_ms + 10000),
                HCS_WHEEL_NEVER);
            hcs_wheel_advance(
                scene->wheel, start_ms + 100000, remove_the_others, scene);
            assert_int_equal(scene->total, 1);
            scene_destroy(scene);
        }
    }
}

/* Whichever is first puts the others off. */
static void put_off_the_others(struct hcs_timer *timer, void *arg)
{
    struct scene *scene = arg;

    scene->total++;
    for (size_t i = 0; i < 8; i++) {
        if (&scene->alarm[i].timer != timer &&
            scene->alarm[i].timer.deadline_ms != UINT64_MAX) {
            hcs_wheel_arm(
                scene->wheel, &scene->alarm[i].timer, scene->rearm_ms);
        }
    }
}

static void fire_may_put_off_those_it_stands_with(void **state)
{
    struct scene *scene = scene_create();
    uint64_t now_ms = start_ms + 1000;

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        hcs_wheel_arm(scene->wheel, &scene->alarm[i].timer, start_ms + 100);
    }
    for (unsigned left = 8; left > 0; left--) {
        scene->rearm_ms = now_ms + 500;
        hcs_wheel_advance(scene->wheel, now_ms, put_off_the_others, scene);
        assert_int_equal(scene->total, 8 - left + 1);
        if (left > 1) {
            assert_in_range(
                hcs_wheel_timeout_ms(scene->wheel, now_ms), 500, 515);
        }
        now_ms += 520;
    }
    scene_destroy(scene);
}

/* Frees the timer it is given, and the partner if there still is one. */
struct pair {
    struct hcs_timer timer;
    struct pair *partner;
    struct hcs_wheel *wheel;
};

static void free_both(struct hcs_timer *timer, void *arg)
{
    struct pair *self = (struct pair *)(void *)timer;
    unsigned *fired = arg;

    (*fired)++;
    hcs_wheel_remove(self->wheel, &self->partner->timer);
    free(self->partner);
    free(self);
}

static void fire_may_free_its_timer_and_others(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    unsigned fired = 0;

    (void)state;
    assert_non_null(wheel);
    for (unsigned i = 0; i < 1000; i++) {
        struct pair *one = malloc(sizeof(*one));
        struct pair *two = malloc(sizeof(*two));

        assert_non_null(one);
        assert_non_null(two);
        *one = (struct pair){.partner = two, .wheel = wheel};
        *two = (struct pair){.partner = one, .wheel = wheel};
        hcs_timer_init(&one->timer);
        hcs_timer_init(&two->timer);
        hcs_wheel_arm(wheel, &one->timer, start_ms + i % 50);
        hcs_wheel_arm(wheel, &two->timer, start_ms + i % 7 * 10);
    }
    hcs_wheel_advance(wheel, start_ms + 1000, free_both, &fired);
    assert_int_equal(fired, 1000);
    assert_int_equal(
        hcs_wheel_timeout_ms(wheel, start_ms + 1000), HCS_WHEEL_NEVER);
    hcs_wheel_destroy(wheel);
}

static void a_long_sleep_fires_all_that_is_due_once(void **state)
{
    static const uint64_t jumps_ms[] = {HORIZON_MS - 17, HORIZON_MS - 16,
        HORIZON_MS, HORIZON_MS + 16, 2 * HORIZON_MS, UINT64_C(86400000),
        (UINT64_C(1) << 36) - 16, UINT64_C(1) << 36, UINT64_C(1) << 40};

    (void)state;
    for (size_t j = 0; j < sizeof(jumps_ms) / sizeof(jumps_ms[0]); j++) {
        enum { COUNT = 1000 };
        struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
        struct alarm *alarms = calloc(COUNT, sizeof(*alarms));
        const uint64_t now_ms = start_ms + jumps_ms[j];
        unsigned total = 0;
        int timeout_ms;

        assert_non_null(wheel);
        assert_non_null(alarms);
        for (size_t i = 0; i < COUNT; i++) {
            alarm_init(&alarms[i]);
            hcs_wheel_arm(wheel, &alarms[i].timer, start_ms + 64 * i);
        }
        /* One more, that the jump stops short of. */
        hcs_wheel_arm(wheel, &alarms[COUNT - 1].timer, now_ms + 500);
        hcs_wheel_advance(wheel, now_ms, count, &total);
        assert_int_equal(total, COUNT - 1);
        assert_int_equal(alarms[COUNT - 1].fired, 0);
        timeout_ms = hcs_wheel_timeout_ms(wheel, now_ms);
        assert_in_range(timeout_ms, 500, 515);
        hcs_wheel_advance(wheel, now_ms + (uint64_t)timeout_ms, count, &total);
        assert_int_equal(total, COUNT);
        free(alarms);
        hcs_wheel_destroy(wheel);
    }
}

static void far_deadlines_do_not_wake_early_and_often(void **state)
{
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm alarms[200];
    uint64_t now_ms = start_ms;
    unsigned total = 0;
    unsigned wakeups = 0;

    (void)state;
    assert_non_null(wheel);
    /* Filed at different times, all beyond the horizon: they meet in the same
     * coarse slots, not in a slot each. */
    for (size_t i = 0; i < 200; i++) {
        alarm_init(&alarms[i]);
        hcs_wheel_advance(wheel, now_ms, count, &total);
        hcs_wheel_arm(wheel, &alarms[i].timer, start_ms + 600000);
        now_ms += 20;
    }
    while (total < 200) {
        int timeout_ms = hcs_wheel_timeout_ms(wheel, now_ms);

        assert_true(timeout_ms >= 0);
        now_ms += (uint64_t)timeout_ms;
        hcs_wheel_advance(wheel, now_ms, count, &total);
        wakeups++;
    }
    assert_in_range(now_ms - start_ms, 600000, 600000 + 1023);
    assert_true(wakeups <= 60);
    hcs_wheel_destroy(wheel);
}

static void hundred_thousand_idle_wake_about_once_a_second(void **state)
{
    enum { COUNT = 100000, SECONDS = 60 };
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    struct alarm *alarms = calloc(COUNT, sizeof(*alarms));
    uint64_t now_ms = start_ms;
    unsigned total = 0;
    unsigned wakeups = 0;

    (void)state;
    assert_non_null(wheel);
    assert_non_null(alarms);
    /* They arrive evenly over a minute, and each idles for a minute. */
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t arrives_ms = start_ms + i * SECONDS * 1000 / COUNT;

        if (arrives_ms > now_ms) {
            now_ms = arrives_ms;
            hcs_wheel_advance(wheel, now_ms, count, &total);
        }
        alarm_init(&alarms[i]);
        hcs_wheel_arm(wheel, &alarms[i].timer, now_ms + 60000);
    }
    assert_int_equal(total, 0);
    while (total < COUNT) {
        int timeout_ms = hcs_wheel_timeout_ms(wheel, now_ms);

        assert_true(timeout_ms >= 0);
        now_ms += (uint64_t)timeout_ms;
        hcs_wheel_advance(wheel, now_ms, count, &total);
        wakeups++;
    }
    assert_in_range(wakeups, SECONDS - 5, SECONDS + 5);
    free(alarms);
    hcs_wheel_destroy(wheel);
}

static void idle_wheel_touches_little_memory(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct hcs_wheel *wheel = hcs_wheel_create(start_ms);
    unsigned char resident[16];
    size_t pages = (32768 + page - 1) / page;
    size_t touched = 0;

    (void)state;
    assert_non_null(wheel);
    assert_int_equal((uintptr_t)wheel % page, 0);
    assert_true(pages <= sizeof(resident));
    assert_int_equal(hcs_wheel_timeout_ms(wheel, start_ms), HCS_WHEEL_NEVER);
    hcs_wheel_advance(wheel, start_ms + 1000, count, NULL);
    assert_int_equal(mincore(wheel, 32768, resident), 0);
    for (size_t i = 0; i < pages; i++) {
        touched += resident[i] & 1;
    }
    assert_int_equal(touched, 1);
    hcs_wheel_destroy(wheel);
}

/* Where on_abort() goes on: abort() allows its handler to jump, and a child
 * process for each misuse would be more than emulators can do. */
static sigjmp_buf after_abort;

static void on_abort(int number)
{
    (void)number;
    siglongjmp(after_abort, 1);
}

/* True if misuse comes to abort(). What that prints is thrown away. */
static bool aborts(void (*misuse)(struct hcs_wheel *), struct hcs_wheel *wheel)
{
    const int saved_fd = dup(STDERR_FILENO);
    const int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    volatile bool aborted = true;
    void (*saved_handler)(int);

    assert_true(saved_fd >= 0 && null_fd >= 0);
    (void)dup2(null_fd, STDERR_FILENO);
    saved_handler = signal(SIGABRT, on_abort);
    if (sigsetjmp(after_abort, 1) == 0) {
        misuse(wheel);
        aborted = false;
    }
    (void)signal(SIGABRT, saved_handler);
    (void)dup2(saved_fd, STDERR_FILENO);
    (void)close(saved_fd);
    (void)close(null_fd);
    return aborted;
}

static void advance_again(struct hcs_timer *timer, void *arg)
{
    (void)timer;
    hcs_wheel_advance(arg, start_ms + 200, count, NULL);
}

static void advance_from_fire(struct hcs_wheel *wheel)
{
    struct alarm alarm;

    alarm_init(&alarm);
    hcs_wheel_arm(wheel, &alarm.timer, start_ms);
    hcs_wheel_advance(wheel, start_ms, advance_again, wheel);
}

static void go_back_in_time(struct hcs_wheel *wheel)
{
    hcs_wheel_advance(wheel, start_ms + 1, count, NULL);
    hcs_wheel_advance(wheel, start_ms, count, NULL);
}

static void stand_still(struct hcs_wheel *wheel)
{
    hcs_wheel_advance(wheel, start_ms, count, NULL);
    hcs_wheel_advance(wheel, start_ms, count, NULL);
}

static void misuse_aborts(void **state)
{
    struct hcs_wheel *wheels[3];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        wheels[i] = hcs_wheel_create(start_ms);
        assert_non_null(wheels[i]);
    }
    assert_true(aborts(advance_from_fire, wheels[0]));
    assert_true(aborts(go_back_in_time, wheels[1]));
    assert_false(aborts(stand_still, wheels[2]));
    for (size_t i = 0; i < 3; i++) {
        hcs_wheel_destroy(wheels[i]);
    }
}

/* The naive list that the wheel is compared with: each timer's deadline, and
 * by when it must have fired. */
enum { MODEL_TIMERS = 150 };

struct model;

struct model_timer {
    struct hcs_timer timer;
    struct model *model;
    uint64_t deadline_ms; /* UINT64_MAX: not armed */
    uint64_t latest_ms;   /* an advance to here or later fires it */
    unsigned armed_in;    /* which advance, if by fire */
};

struct model {
    struct hcs_wheel *wheel;
    uint64_t now_ms; /* as the wheel was told */
    uint64_t random;
    unsigned advance; /* the number of the current one; 0 outside */
    unsigned advances;
    unsigned fired;
    unsigned fired_in_advance;
    struct model_timer timers[MODEL_TIMERS];
};

static uint64_t pick(struct model *model, uint64_t below)
{
    return next_random(&model->random) % below;
}

static uint64_t random_deadline(struct model *model)
{
    const uint64_t now_ms = model->now_ms;

    switch (pick(model, 9)) {
    case 0:
        return now_ms - pick(model, 100);
    case 1:
        return now_ms + pick(model, 40);
    case 2:
        return now_ms + pick(model, 1010);
    case 3:
    case 4:
        return now_ms + pick(model, 8100);
    case 5:
    case 6:
        return now_ms + pick(model, 70000);
    case 7:
        return now_ms + pick(model, 600000);
    default:
        return UINT64_MAX;
    }
}

static void model_arm(struct model *model, struct model_timer *timer)
{
    uint64_t deadline_ms = random_deadline(model);

    timer->deadline_ms = deadline_ms;
    timer->armed_in = model->advance;
    if (deadline_ms <= model->now_ms) {
        timer->latest_ms = model->now_ms;
    } else if (deadline_ms != UINT64_MAX) {
        timer->latest_ms =
            deadline_ms - 1 + hcs_wheel_slack_ms(deadline_ms - model->now_ms);
    }
    hcs_wheel_arm(model->wheel, &timer->timer, deadline_ms);
}

static void model_remove(struct model *model, struct model_timer *timer)
{
    timer->deadline_ms = UINT64_MAX;
    hcs_wheel_remove(model->wheel, &timer->timer);
    assert_false(timer->timer.filed);
}

static void model_fire(struct hcs_timer *hcs_timer, void *arg)
{
    struct model_timer *timer = (struct model_timer *)(void *)hcs_timer;
    struct model *model = arg;

    assert_ptr_equal(timer->model, model);
    assert_true(timer->deadline_ms != UINT64_MAX);
    assert_true(timer->deadline_ms <= model->now_ms); /* never early */
    assert_false(hcs_timer->filed);
    assert_true(hcs_timer->deadline_ms == UINT64_MAX);
    timer->deadline_ms = UINT64_MAX;
    model->fired++;
    model->fired_in_advance++;
    assert_true(model->fired_in_advance <= 50 * MODEL_TIMERS);

    if (pick(model, 3) == 0) {
        model_arm(model, timer);
    }
    if (pick(model, 4) == 0) {
        model_arm(model, &model->timers[pick(model, MODEL_TIMERS)]);
    }
    if (pick(model, 4) == 0) {
        model_remove(model, &model->timers[pick(model, MODEL_TIMERS)]);
    }
}

static void model_advance(struct model *model, uint64_t by_ms)
{
    model->now_ms += by_ms;
    model->advance = ++model->advances;
    model->fired_in_advance = 0;
    hcs_wheel_advance(model->wheel, model->now_ms, model_fire, model);
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        const struct model_timer *timer = &model->timers[i];

        if (timer->deadline_ms != UINT64_MAX &&
            timer->armed_in != model->advance) {
            assert_true(timer->latest_ms > model->now_ms); /* never too late */
        }
    }
    model->advance = 0;
}

/* A loop that sleeps as it is told wakes in time for every timer. */
static void model_check_timeout(struct model *model)
{
    /* The clock may have moved on since the last advance. */
    const uint64_t now_ms = model->now_ms + pick(model, 20);
    const int timeout_ms = hcs_wheel_timeout_ms(model->wheel, now_ms);

    assert_true(timeout_ms == HCS_WHEEL_NEVER ||
                (timeout_ms >= 0 && timeout_ms <= HORIZON_MS));
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        const struct model_timer *timer = &model->timers[i];

        assert_true(timer->timer.deadline_ms == timer->deadline_ms);
        if (timer->deadline_ms == UINT64_MAX) {
            continue;
        }
        assert_int_not_equal(timeout_ms, HCS_WHEEL_NEVER);
        assert_true(timeout_ms == 0 ||
                    now_ms + (uint64_t)timeout_ms <= timer->latest_ms);
    }
}

static void model_step(struct model *model)
{
    uint64_t action = pick(model, 100);
    int timeout_ms;

    if (action < 50) {
        model_arm(model, &model->timers[pick(model, MODEL_TIMERS)]);
    } else if (action < 60) {
        model_remove(model, &model->timers[pick(model, MODEL_TIMERS)]);
    } else if (action < 65) {
        /* Asleep, awake, and what is armed next is armed before an advance. */
        model->now_ms += pick(model, action < 64 ? 100 : 100000);
        hcs_wheel_tell_time(model->wheel, model->now_ms);
    } else if (action < 85) {
        model_advance(model, pick(model, 40));
    } else if (action < 95) {
        timeout_ms = hcs_wheel_timeout_ms(model->wheel, model->now_ms);
        model_advance(model, timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
    } else if (action < 99) {
        model_advance(model, pick(model, 9000));
    } else {
        model_advance(model, pick(model, UINT64_C(3) * HORIZON_MS));
    }
    model_check_timeout(model);
}

static void run_model(uint64_t from_ms, uint64_t seed, int steps)
{
    struct model *model = calloc(1, sizeof(*model));

    assert_non_null(model);
    model->now_ms = from_ms;
    model->random = seed;
    model->wheel = hcs_wheel_create(from_ms);
    assert_non_null(model->wheel);
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        hcs_timer_init(&model->timers[i].timer);
        model->timers[i].model = model;
        model->timers[i].deadline_ms = UINT64_MAX;
    }
    for (int step = 0; step < steps; step++) {
        model_step(model);
    }
    assert_true(model->fired > (unsigned)steps / 20);
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        model_remove(model, &model->timers[i]);
    }
    assert_int_equal(
        hcs_wheel_timeout_ms(model->wheel, model->now_ms), HCS_WHEEL_NEVER);
    hcs_wheel_destroy(model->wheel);
    free(model);
}

static void behaves_like_a_naive_list(void **state)
{
    (void)state;
    run_model(start_ms, 1, 20000);
    run_model(0 + 200, 2, 20000);
    run_model(UINT64_C(1) << 50, 3, 20000);
}

/* filed_tick holds the low 32 bits of a tick of 2^4 ms. */
static void behaves_like_a_naive_list_where_ticks_wrap(void **state)
{
    const uint64_t wrap_ms = UINT64_C(1) << 36;

    (void)state;
    run_model(wrap_ms - 200000, 4, 20000);
    run_model(wrap_ms - 20, 5, 20000);
    /* Where the difference of two ticks changes its sign. */
    run_model(wrap_ms / 2 - 200000, 6, 20000);
    for (uint64_t seed = 7; seed < 40; seed++) {
        run_model(wrap_ms - 5000, seed, 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slack_grows_with_the_distance),
        cmocka_unit_test(empty_wheel_never_wakes),
        cmocka_unit_test(fires_within_its_slack_and_never_early),
        cmocka_unit_test(is_not_fired_while_the_deadline_lies_ahead),
        cmocka_unit_test(deadline_that_has_passed_fires_on_the_next_advance),
        cmocka_unit_test(timeout_counts_from_the_time_given),
        cmocka_unit_test(timeout_is_that_of_the_nearest),
        cmocka_unit_test(arming_later_moves_nothing),
        cmocka_unit_test(arming_for_the_same_slot_moves_nothing),
        cmocka_unit_test(the_last_moment_of_all_lies_far_ahead),
        cmocka_unit_test(arming_earlier_moves),
        cmocka_unit_test(arming_later_when_near_keeps_the_near_slack),
        cmocka_unit_test(arming_after_a_sleep_counts_from_the_time_told),
        cmocka_unit_test(deadline_of_none_is_dropped_when_its_slot_comes_up),
        cmocka_unit_test(remove_works_in_every_state),
        cmocka_unit_test(fire_that_arms_for_the_past_is_called_once_an_advance),
        cmocka_unit_test(fire_that_arms_into_slots_being_passed_is_called_once),
        cmocka_unit_test(fire_may_remove_those_it_stands_with),
        cmocka_unit_test(fire_may_put_off_those_it_stands_with),
        cmocka_unit_test(fire_may_free_its_timer_and_others),
        cmocka_unit_test(a_long_sleep_fires_all_that_is_due_once),
        cmocka_unit_test(far_deadlines_do_not_wake_early_and_often),
        cmocka_unit_test(hundred_thousand_idle_wake_about_once_a_second),
        cmocka_unit_test(idle_wheel_touches_little_memory),
        cmocka_unit_test(misuse_aborts),
        cmocka_unit_test(behaves_like_a_naive_list),
        cmocka_unit_test(behaves_like_a_naive_list_where_ticks_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
