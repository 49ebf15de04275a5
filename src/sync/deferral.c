#include "sync/deferral.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

/* A token: a generation in the upper half, from 1, and the number of a place in
 * the lower, from the second bit on. The first bit belongs to the task's word. A
 * place's word: its generation, and below it what has happened. */
enum {
    NOBODY_WAITS = 1u << 0, /* of the task's word: its loop has said so */

    RUNNING = 1u << 0, /* of a place's word */
    CLAIMED = 1u << 1,
    DONE = 1u << 2,
    ABANDONED = 1u << 3,
    FREE = 1u << 4, /* no token of this generation yet */

    HALF = 32, /* bits */
    BLOCK_PLACES = 1024,
    BLOCKS_MAX = 16 * 1024, /* 16 million tokens */
};

static const uint32_t NONE = UINT32_MAX; /* the end of the list of free ones */

struct place {
    _Atomic uint64_t word;
    /* Of the task, written before the token is known; while the place is free,
     * the number of the next free one. Atomic for those who look at a free place
     * that was just taken; then their exchange fails. Relaxed: the words order
     * it. */
    _Atomic uintptr_t held;
};

struct hcs_deferrals {
    hcs_budget_take_fn *take;
    hcs_budget_give_fn *give;
    void *budget;
    /* A stack: index below, and above it a count of changes, so that a pop that
     * was overtaken does not take the same top for the same stack. */
    _Atomic uint64_t free;
    _Atomic size_t count; /* open */
    pthread_mutex_t growing;
    uint32_t block_count;
    _Atomic(struct place *) blocks[BLOCKS_MAX];
};

struct hcs_deferrals *hcs_deferrals_create(
    hcs_budget_take_fn *take, hcs_budget_give_fn *give, void *budget)
{
    struct hcs_deferrals *deferrals = calloc(1, sizeof(*deferrals));

    if (deferrals == NULL) {
        return NULL;
    }
    deferrals->take = take;
    deferrals->give = give;
    deferrals->budget = budget;
    atomic_init(&deferrals->free, NONE);
    pthread_mutex_init(&deferrals->growing, NULL);
    return deferrals;
}

void hcs_deferrals_destroy(struct hcs_deferrals *deferrals)
{
    if (deferrals == NULL) {
        return;
    }
    for (uint32_t i = 0; i < deferrals->block_count; i++) {
        free(atomic_load_explicit(&deferrals->blocks[i], memory_order_relaxed));
        if (deferrals->budget != NULL) {
            deferrals->give(
                deferrals->budget, BLOCK_PLACES * sizeof(struct place));
        }
    }
    pthread_mutex_destroy(&deferrals->growing);
    free(deferrals);
}

/* --- Places. */

static uint32_t index_of(uint64_t token)
{
    return (uint32_t)token >> 1;
}

static struct place *place_at(
    const struct hcs_deferrals *deferrals, uint32_t index)
{
    /* [deferral.block] acquire: a place that is asked for by somebody who made
     * its number up may be of a block that has just come. */
    struct place *block = atomic_load_explicit(
        &deferrals->blocks[index / BLOCK_PLACES], memory_order_acquire);

    return block == NULL ? NULL : &block[index % BLOCK_PLACES];
}

/* The place that a token names, whatever is there now; NULL for a number that
 * never was a token. */
static struct place *find(const struct hcs_deferrals *deferrals, uint64_t token)
{
    uint32_t index = index_of(token);

    return (token & NOBODY_WAITS) == 0 && index / BLOCK_PLACES < BLOCKS_MAX
               ? place_at(deferrals, index)
               : NULL;
}

static void push_free(struct hcs_deferrals *deferrals, uint32_t index)
{
    struct place *place = place_at(deferrals, index);
    uint64_t top = atomic_load_explicit(&deferrals->free, memory_order_relaxed);
    uint64_t next;

    do {
        atomic_store_explicit(
            &place->held, (uint32_t)top, memory_order_relaxed);
        next = ((top >> HALF) + 1) << HALF | index;
        /* [deferral.free] release: who pops it sees next, and the task that
         * stood there is done with. */
    } while (!atomic_compare_exchange_weak_explicit(&deferrals->free, &top,
        next, memory_order_release, memory_order_relaxed));
}

/* NONE when there is none. */
static uint32_t pop_free(struct hcs_deferrals *deferrals)
{
    /* [deferral.free] acquire. */
    uint64_t top = atomic_load_explicit(&deferrals->free, memory_order_acquire);

    while ((uint32_t)top != NONE) {
        uint32_t index = (uint32_t)top;
        uint32_t below = (uint32_t)atomic_load_explicit(
            &place_at(deferrals, index)->held, memory_order_relaxed);
        uint64_t next = ((top >> HALF) + 1) << HALF | below;

        if (atomic_compare_exchange_weak_explicit(&deferrals->free, &top, next,
                memory_order_acquire, memory_order_acquire)) {
            return index;
        }
    }
    return NONE;
}

/* Adds a block of places. False when there is no memory. */
static bool grow(struct hcs_deferrals *deferrals)
{
    size_t bytes = BLOCK_PLACES * sizeof(struct place);
    uint32_t first = deferrals->block_count * BLOCK_PLACES;
    struct place *block;

    if (deferrals->block_count == BLOCKS_MAX ||
        (deferrals->budget != NULL &&
            !deferrals->take(deferrals->budget, bytes))) {
        return false;
    }
    block = malloc(bytes);
    if (block == NULL) {
        if (deferrals->budget != NULL) {
            deferrals->give(deferrals->budget, bytes);
        }
        return false;
    }
    for (uint32_t i = 0; i < BLOCK_PLACES; i++) {
        atomic_init(&block[i].word, UINT64_C(1) << HALF | FREE);
        atomic_init(&block[i].held, NONE);
    }
    /* [deferral.block] release. */
    atomic_store_explicit(&deferrals->blocks[deferrals->block_count++], block,
        memory_order_release);
    for (uint32_t i = BLOCK_PLACES; i > 0; i--) {
        push_free(deferrals, first + i - 1);
    }
    return true;
}

static uint32_t take_place(struct hcs_deferrals *deferrals)
{
    uint32_t index = pop_free(deferrals);

    if (index != NONE) {
        return index;
    }
    pthread_mutex_lock(&deferrals->growing);
    index = pop_free(deferrals); /* another thread may have made some */
    if (index == NONE && grow(deferrals)) {
        index = pop_free(deferrals);
    }
    pthread_mutex_unlock(&deferrals->growing);
    return index;
}

/* --- Words. */

static uint64_t generation_of(uint64_t word)
{
    return word >> HALF;
}

/* The word of the place when its token is dead. No token is of generation 0,
 * which comes after the last. */
static uint64_t next_generation(uint64_t word)
{
    return (generation_of(word) + 1) << HALF | FREE;
}

/* Of a token that is dead. A place whose generations are used up is given to
 * nobody any more, or an old token would mean another task: 16 bytes for each
 * four thousand million. */
static void give_place(struct hcs_deferrals *deferrals, uint64_t token)
{
    atomic_fetch_sub_explicit(&deferrals->count, 1, memory_order_relaxed);
    if (generation_of(token) != UINT32_MAX) {
        push_free(deferrals, index_of(token));
    }
}

/* Puts next in the place of now, if that is still what it is; else now is what
 * it has become. */
static bool change(struct place *place, uint64_t *now, uint64_t next)
{
    /* [deferral.word] acquire and release: who comes later sees all that those
     * before have written to the task. */
    return atomic_compare_exchange_weak_explicit(
        &place->word, now, next, memory_order_acq_rel, memory_order_acquire);
}

static uint64_t look(struct place *place)
{
    /* [deferral.word] acquire. */
    return atomic_load_explicit(&place->word, memory_order_acquire);
}

/* Of the task's word; 0: none. */
static uint64_t token_of(uint64_t word)
{
    return word & ~(uint64_t)NOBODY_WAITS;
}

/* The token that its own worker opened, or who has claimed it found. */
static uint64_t own_token(const struct hcs_task *task)
{
    /* [deferral.task] Relaxed: this thread has written it, or has learnt of it
     * by the place's word. */
    return token_of(
        atomic_load_explicit(&task->deferral, memory_order_relaxed));
}

uint64_t hcs_deferrals_open(
    struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint32_t index = take_place(deferrals);
    struct place *place;
    uint64_t word;
    uint64_t token;
    uint64_t none = 0;

    if (index == NONE) {
        return 0;
    }
    place = place_at(deferrals, index);
    atomic_store_explicit(&place->held, (uintptr_t)task, memory_order_relaxed);
    word = atomic_load_explicit(&place->word, memory_order_relaxed);
    assert((word & FREE) != 0);
    word &= ~(uint64_t)FREE;
    token = word | (uint64_t)index << 1;
    atomic_fetch_add_explicit(&deferrals->count, 1, memory_order_relaxed);
    /* [deferral.word] release: the task stands there. */
    atomic_store_explicit(&place->word, word | RUNNING, memory_order_release);
    /* [deferral.task] release: the loop that finds the token finds the place's
     * word as it is now. */
    if (!atomic_compare_exchange_strong_explicit(&task->deferral, &none, token,
            memory_order_release, memory_order_relaxed)) {
        assert(none == NOBODY_WAITS);
        /* [deferral.word] release, as all that end a generation. */
        atomic_store_explicit(
            &place->word, next_generation(word), memory_order_release);
        give_place(deferrals, token);
    }
    return token;
}

bool hcs_deferrals_returned(
    struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint64_t token = own_token(task);
    struct place *place;
    uint64_t now;
    bool home;

    if (token == 0) {
        return true; /* dead from the start */
    }
    place = place_at(deferrals, index_of(token));
    now = look(place);
    do {
        assert((now & RUNNING) != 0);
        home = (now & DONE) != 0 ||
               ((now & ABANDONED) != 0 && (now & CLAIMED) == 0);
    } while (!change(
        place, &now, home ? next_generation(now) : now & ~(uint64_t)RUNNING));
    if (home) {
        give_place(deferrals, token);
    }
    return home;
}

bool hcs_deferrals_withdraw(
    struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint64_t token = own_token(task);
    struct place *place;
    uint64_t now;

    if (token == 0) {
        return true;
    }
    place = place_at(deferrals, index_of(token));
    now = look(place);
    do {
        if ((now & CLAIMED) != 0) {
            return false;
        }
    } while (!change(place, &now, next_generation(now)));
    give_place(deferrals, token);
    return true;
}

static bool may_be_claimed(uint64_t token, uint64_t word)
{
    return generation_of(word) == generation_of(token) &&
           (word & (CLAIMED | ABANDONED | FREE)) == 0;
}

struct hcs_task *hcs_deferrals_claim(
    struct hcs_deferrals *deferrals, uint64_t token)
{
    struct place *place = find(deferrals, token);
    uint64_t now;

    if (place == NULL) {
        return NULL;
    }
    now = look(place);
    do {
        if (!may_be_claimed(token, now)) {
            return NULL;
        }
    } while (!change(place, &now, now | CLAIMED));
    return (struct hcs_task *)atomic_load_explicit(
        &place->held, memory_order_relaxed);
}

bool hcs_deferrals_done(struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint64_t token = own_token(task);
    struct place *place = place_at(deferrals, index_of(token));
    uint64_t now = look(place);
    bool home;

    do {
        assert((now & CLAIMED) != 0 && (now & DONE) == 0);
        home = (now & RUNNING) == 0;
    } while (!change(place, &now, home ? next_generation(now) : now | DONE));
    if (home) {
        give_place(deferrals, token);
    }
    return home;
}

bool hcs_deferrals_awaits(struct hcs_deferrals *deferrals, uint64_t token)
{
    struct place *place = find(deferrals, token);

    return place != NULL && may_be_claimed(token, look(place));
}

enum hcs_abandoned hcs_deferrals_abandon(
    struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    /* [deferral.task] acquire: a token's place is as its worker left it. */
    uint64_t token = token_of(atomic_fetch_or_explicit(
        &task->deferral, NOBODY_WAITS, memory_order_acquire));
    struct place *place;
    uint64_t now;
    bool alone;

    if (token == 0) {
        return HCS_ABANDONED_RUNNING;
    }
    place = place_at(deferrals, index_of(token));
    now = look(place);
    do {
        if (generation_of(now) != generation_of(token)) {
            return HCS_ABANDONED_CLAIMED; /* it is on its way home */
        }
        alone = (now & (RUNNING | CLAIMED)) == 0;
    } while (
        !change(place, &now, alone ? next_generation(now) : now | ABANDONED));
    if (alone) {
        give_place(deferrals, token);
        return HCS_ABANDONED_OWNED;
    }
    return (now & RUNNING) != 0 ? HCS_ABANDONED_RUNNING : HCS_ABANDONED_CLAIMED;
}

size_t hcs_deferrals_open_count(const struct hcs_deferrals *deferrals)
{
    return atomic_load_explicit(&deferrals->count, memory_order_relaxed);
}
