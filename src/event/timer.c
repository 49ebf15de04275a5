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

/* A timer filed at tick t stands in slots[t % SLOTS] and is looked at when
 * advance() passes t. All ticks that are filed at lie within SLOTS - 1 of the
 * current one, so a slot belongs to one tick at a time. */
struct hcs_wheel {
    uint64_t now_ms;          /* as told last */
    uint64_t tick;            /* passed by the last advance */
    struct hcs_timer *due;    /* armed when already due: filed at tick itself */
    struct hcs_timer *walked; /* the list that advance() is working on */
    bool advancing;
    uint64_t filled_words;  /* a bit for each word of filled that is not 0 */
    uint64_t filled[WORDS]; /* a bit for each slot that is not empty */
    struct hcs_timer *slots[SLOTS];
};

_Static_assert(
    (int)WORDS == (int)WORD_BITS, "one word tells of all the others");

struct hcs_wheel *hcs_wheel_create(uint64_t now_ms)
{
    /* Not from the heap, which would clear it by writing: there is a wheel for
     * each loop, and one that stays idle should cost one page. */
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
    timer->next = NULL;
    timer->link = NULL;
    timer->deadline_ms = no_deadline;
    timer->filed_tick = 0;
}

uint32_t hcs_wheel_slack_ms(uint64_t ahead_ms)
{
    if (ahead_ms < 1000) {
        return FINE_MS;
    }
    return ahead_ms < 8000 ? MIDDLE_MS : COARSE_MS;
}

/* The tick to look at the timer: the first that begins at or after the
 * deadline, up to its slack; the current one when it is due already. */
static uint64_t tick_for(const struct hcs_wheel *wheel, uint64_t deadline_ms)
{
    /* As far as the slots reach, in coarse steps, so that those beyond meet in
     * few slots. After a long sleep this tick may be over too: the advance that
     * is due then files the timer anew. */
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

static void put_first(struct hcs_timer **list, struct hcs_timer *timer)
{
    timer->next = *list;
    timer->link = list;
    if (timer->next != NULL) {
        timer->next->link = &timer->next;
    }
    *list = timer;
}

static void file(
    struct hcs_wheel *wheel, struct hcs_timer *timer, uint64_t tick)
{
    uint32_t slot = (uint32_t)tick & SLOT_MASK;

    timer->filed_tick = (uint32_t)tick;
    if (tick == wheel->tick) {
        /* Not into a slot: that of the current tick was passed, and a timer
         * that its own fire() arms anew would keep advance() busy for ever. */
        put_first(&wheel->due, timer);
    } else {
        put_first(&wheel->slots[slot], timer);
        wheel->filled[slot / WORD_BITS] |= UINT64_C(1) << slot % WORD_BITS;
        wheel->filled_words |= UINT64_C(1) << slot / WORD_BITS;
    }
}

static void unfile(struct hcs_wheel *wheel, struct hcs_timer *timer)
{
    uint32_t slot = timer->filed_tick & SLOT_MASK;

    *timer->link = timer->next;
    if (timer->next != NULL) {
        timer->next->link = timer->link;
    }
    timer->next = NULL;
    timer->link = NULL;
    /* If it stood on the due or the walked list, this says of its slot what is
     * true all the same. */
    if (wheel->slots[slot] == NULL) {
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
    if (timer->link != NULL) {
        /* Low bits suffice: the two are less than 2^31 ticks apart, which is a
         * year. After a longer sleep a timer on the walked list is moved for
         * nothing, to where it belongs. */
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
    if (timer->link != NULL) {
        unfile(wheel, timer);
    }
}

/* Slots from that of tick on, at most limit, before the first with a timer. */
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
        /* The words that follow, in their order; this one comes last, for what
         * it holds below bit lies a turn of the wheel ahead. */
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

/* Empties the list: fires what is due and files the rest anew. fire() may do
 * what it likes with timers still on the list, since it holds on to nothing
 * but its head; and nothing is ever put on it, so this ends. */
static void walk(struct hcs_wheel *wheel, struct hcs_timer **list,
    void (*fire)(struct hcs_timer *timer, void *arg), void *arg)
{
    struct hcs_timer *timer = *list;

    *list = NULL;
    wheel->walked = timer;
    if (timer != NULL) {
        timer->link = &wheel->walked;
    }
    while ((timer = wheel->walked) != NULL) {
        unfile(wheel, timer);
        if (timer->deadline_ms <= wheel->now_ms) {
            timer->deadline_ms = no_deadline;
            fire(timer, arg); /* it may be freed now */
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
    /* However long we slept, a slot need not be looked at twice. */
    const uint32_t limit = passed < SLOTS ? (uint32_t)passed : SLOTS;

    assert(!wheel->advancing); /* not from within fire() */
    wheel->advancing = true;
    /* Time moves first: whatever is filed from here on is filed ahead of it,
     * or on the due list, which is for the next advance. */
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

    if (wheel->due != NULL) {
        return 0;
    }
    run = empty_run(wheel, first, SLOTS);
    if (run == SLOTS) {
        return HCS_WHEEL_NEVER;
    }
    at_ms = (first + run) << TICK_SHIFT;
    return at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}
