#include "event/timer.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

enum {
    TICK_SHIFT = 4,
    TICK_MS = 1 << TICK_SHIFT,
    SLOTS = 4096,
    SLOT_MASK = SLOTS - 1,
    WORD_BITS = 64,
    WORDS = SLOTS / WORD_BITS,
    FINE_MS = TICK_MS,
    MIDDLE_MS = 128,
    COARSE_MS = 1024,
    COARSE_TICKS = COARSE_MS / TICK_MS,
    HORIZON_MS = SLOTS * TICK_MS,
};

static const uint64_t no_deadline = UINT64_MAX;

LIST_HEAD(timer_list, hcs_timer);

/* A timer that is filed at tick t is in slots[t % SLOTS]. The wheel looks at it
 * when advance passes t. Timers are filed at most SLOTS - 1 ticks after the
 * current one, so all timers of a slot have the same tick. */
struct hcs_wheel {
    uint64_t now_ms;          /* as told last */
    uint64_t tick;            /* the current one: passed by the last advance */
    struct timer_list due;    /* filed at the current tick: armed when due */
    struct timer_list walked; /* the list that advance works on */
    bool advancing;
    uint64_t filled_words;  /* a bit for each word of filled that is not 0 */
    uint64_t filled[WORDS]; /* a bit for each slot that is not empty */
    struct timer_list slots[SLOTS];
};

_Static_assert((int)WORDS == (int)WORD_BITS,
    "filled_words has a bit for each word of filled");

struct hcs_wheel *hcs_wheel_create(uint64_t now_ms)
{
    /* Not from the heap, which would clear it by writing: the wheel of an idle
     * loop costs one page. Zero pages are empty lists. */
    struct hcs_wheel *wheel = mmap(NULL, sizeof(*wheel), PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (wheel == MAP_FAILED) {
        return NULL;
    }
    wheel->now_ms = now_ms;
    wheel->tick = now_ms >> TICK_SHIFT;
    return wheel;
}

void hcs_wheel_destroy(struct hcs_wheel *wheel)
{
    if (wheel != NULL) {
        (void)munmap(wheel, sizeof(*wheel));
    }
}

void hcs_timer_init(struct hcs_timer *timer)
{
    *timer = (struct hcs_timer){.deadline_ms = no_deadline};
}

uint32_t hcs_wheel_slack_ms(uint64_t ahead_ms)
{
    if (ahead_ms < 1000) {
        return FINE_MS;
    }
    return ahead_ms < 8000 ? MIDDLE_MS : COARSE_MS;
}

/* The tick at which to file a timer. When it is due already, the current tick;
 * else the first tick after the deadline, rounded up to the slack. */
static uint64_t tick_for(const struct hcs_wheel *wheel, uint64_t deadline_ms)
{
    /* The last tick that the slots reach, rounded down to a coarse step, so
     * that all timers beyond it share few slots. After a long sleep this tick
     * may be over, too. Then the advance that is due files the timer again. */
    uint64_t last = (wheel->tick + SLOTS - 1) & ~(uint64_t)(COARSE_TICKS - 1);
    uint64_t ahead_ms;
    uint64_t slack_ms;
    uint64_t tick;

    if (deadline_ms <= wheel->now_ms) {
        return wheel->tick;
    }
    ahead_ms = deadline_ms - wheel->now_ms;
    if (ahead_ms >= HORIZON_MS) {
        return last;
    }
    slack_ms = hcs_wheel_slack_ms(ahead_ms); /* a power of two */
    tick = ((deadline_ms + slack_ms - 1) & ~(slack_ms - 1)) >> TICK_SHIFT;
    return tick < last ? tick : last;
}

static void file(
    struct hcs_wheel *wheel, struct hcs_timer *timer, uint64_t tick)
{
    uint32_t slot = (uint32_t)tick & SLOT_MASK;

    timer->filed_tick = (uint32_t)tick;
    timer->filed = true;
    if (tick == wheel->tick) {
        /* Not into a slot: advance has passed the slot of the current tick. And
         * a timer that fire arms again would keep advance busy for ever. */
        LIST_INSERT_HEAD(&wheel->due, timer, entry);
    } else {
        LIST_INSERT_HEAD(&wheel->slots[slot], timer, entry);
        wheel->filled[slot / WORD_BITS] |= UINT64_C(1) << slot % WORD_BITS;
        wheel->filled_words |= UINT64_C(1) << slot / WORD_BITS;
    }
}

static void unfile(struct hcs_wheel *wheel, struct hcs_timer *timer)
{
    uint32_t slot = timer->filed_tick & SLOT_MASK;

    LIST_REMOVE(timer, entry);
    timer->filed = false;
    /* A timer of the due or the walked list was not in this slot. Then the bit
     * is set to what it was. */
    if (LIST_EMPTY(&wheel->slots[slot])) {
        wheel->filled[slot / WORD_BITS] &= ~(UINT64_C(1) << slot % WORD_BITS);
        if (wheel->filled[slot / WORD_BITS] == 0) {
            wheel->filled_words &= ~(UINT64_C(1) << slot / WORD_BITS);
        }
    }
}

void hcs_wheel_arm(
    struct hcs_wheel *wheel, struct hcs_timer *timer, uint64_t deadline_ms)
{
    uint64_t tick;

    timer->deadline_ms = deadline_ms;
    if (deadline_ms == no_deadline) {
        return;
    }
    tick = tick_for(wheel, deadline_ms);
    if (timer->filed) {
        /* The low bits are enough while the two ticks are less than 2^31 apart,
         * which is a year. After a longer sleep a timer of the walked list is
         * moved without need, but to the right slot. */
        if ((int32_t)((uint32_t)tick - timer->filed_tick) >= 0) {
            return;
        }
        unfile(wheel, timer);
    }
    file(wheel, timer, tick);
}

void hcs_wheel_remove(struct hcs_wheel *wheel, struct hcs_timer *timer)
{
    timer->deadline_ms = no_deadline;
    if (timer->filed) {
        unfile(wheel, timer);
    }
}

/* How many slots, from the slot of tick on, are empty before the first with a
 * timer. At most limit. */
static uint32_t empty_run(
    const struct hcs_wheel *wheel, uint64_t tick, uint32_t limit)
{
    const uint32_t slot = (uint32_t)tick & SLOT_MASK;
    const uint32_t word = slot / WORD_BITS;
    const uint32_t bit = slot % WORD_BITS;
    const uint64_t here = wheel->filled[word] >> bit;
    uint32_t run;

    if (here != 0) {
        run = (uint32_t)__builtin_ctzll(here);
    } else {
        /* The words that follow, in their order. This word comes last: its bits
         * below bit are of slots that lie a turn of the wheel ahead. */
        const uint32_t next = (word + 1) % WORDS;
        const uint64_t words = wheel->filled_words >> next |
                               wheel->filled_words << (WORDS - next) % WORDS;
        uint32_t skip;

        if (words == 0) {
            return limit;
        }
        skip = (uint32_t)__builtin_ctzll(words);
        run = WORD_BITS - bit + skip * WORD_BITS +
              (uint32_t)__builtin_ctzll(wheel->filled[(next + skip) % WORDS]);
    }
    return run < limit ? run : limit;
}

/* Empties the list: fires the timers that are due and files the others again.
 * fire may arm, remove and free timers that are still in the list, because the
 * loop below holds only the head of the list. It ends, because no timer is ever
 * added to the walked list. */
static void walk(struct hcs_wheel *wheel, struct timer_list *list,
    void (*fire)(struct hcs_timer *timer, void *arg), void *arg)
{
    struct hcs_timer *timer;

    LIST_SWAP(&wheel->walked, list, hcs_timer, entry); /* walked was empty */
    while ((timer = LIST_FIRST(&wheel->walked)) != NULL) {
        unfile(wheel, timer);
        if (timer->deadline_ms <= wheel->now_ms) {
            timer->deadline_ms = no_deadline;
            fire(timer, arg); /* may free the timer */
        } else if (timer->deadline_ms != no_deadline) {
            file(wheel, timer, tick_for(wheel, timer->deadline_ms));
        }
    }
}

void hcs_wheel_tell_time(struct hcs_wheel *wheel, uint64_t now_ms)
{
    assert(now_ms >= wheel->now_ms);
    wheel->now_ms = now_ms;
}

void hcs_wheel_advance(struct hcs_wheel *wheel, uint64_t now_ms,
    void (*fire)(struct hcs_timer *timer, void *arg), void *arg)
{
    const uint64_t first = wheel->tick + 1;
    const uint64_t passed = (now_ms >> TICK_SHIFT) - wheel->tick;
    /* After a long sleep, too, each slot is looked at only once. */
    const uint32_t limit = passed < SLOTS ? (uint32_t)passed : SLOTS;

    assert(!wheel->advancing); /* fire may not advance the wheel */
    wheel->advancing = true;
    /* The time moves first. A timer that is filed from here on goes into a
     * later slot or into the due list, which is for the next advance. */
    hcs_wheel_tell_time(wheel, now_ms);
    wheel->tick = now_ms >> TICK_SHIFT;

    walk(wheel, &wheel->due, fire, arg);
    for (uint32_t run = empty_run(wheel, first, limit); run < limit;
         run += 1 + empty_run(wheel, first + run + 1, limit - run - 1)) {
        walk(wheel, &wheel->slots[(first + run) & SLOT_MASK], fire, arg);
    }
    wheel->advancing = false;
}

int hcs_wheel_timeout_ms(const struct hcs_wheel *wheel, uint64_t now_ms)
{
    const uint64_t first = wheel->tick + 1;
    uint32_t run;
    uint64_t at_ms;

    if (!LIST_EMPTY(&wheel->due)) {
        return 0;
    }
    run = empty_run(wheel, first, SLOTS);
    if (run == SLOTS) {
        return HCS_WHEEL_NEVER;
    }
    at_ms = (first + run) << TICK_SHIFT;
    return at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}
