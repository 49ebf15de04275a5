#include "sync/deferral.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

/* A token has a generation, from 1 on, in its upper half. Its lower half is
 * twice the number of a slot; the lowest bit is used by the task's word alone.
 * A state word has the slot's generation in its upper half, and flags below. */
enum {
    NOBODY_WAITS = 1u << 0, /* of the task's word: the loop has abandoned it */

    RUNNING = 1u << 0, /* flags of a state word */
    CLAIMED = 1u << 1,
    DONE = 1u << 2,
    ABANDONED = 1u << 3,
    FREE = 1u << 4, /* this generation has no token yet */

    HALF = 32, /* bits */
    BLOCK_SLOTS = 1024,
    BLOCKS_MAX = 16 * 1024, /* 16 million tokens */
};

static const uint32_t NONE = UINT32_MAX; /* the end of the list of free slots */

struct slot {
    _Atomic uint64_t state;
    /* The task's address, written before the token is known; or, in a free
     * slot, the number of the next free slot. Atomic, because pop_free may
     * read it in a slot that another thread has just taken; then its exchange
     * fails. Relaxed, because the state words order it. */
    _Atomic uintptr_t held;
};

struct hcs_deferrals {
    hcs_budget_take_fn *take;
    hcs_budget_give_fn *give;
    void *budget;
    /* The top of the stack of free slots: its number in the lower half, a count
     * of changes in the upper. The count makes a pop fail if others have popped
     * and pushed the same slot meanwhile (the ABA problem). */
    _Atomic uint64_t free;
    _Atomic size_t count; /* tokens that are open */
    pthread_mutex_t growing;
    uint32_t block_count;
    _Atomic(struct slot *) blocks[BLOCKS_MAX];
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
                deferrals->budget, BLOCK_SLOTS * sizeof(struct slot));
        }
    }
    pthread_mutex_destroy(&deferrals->growing);
    free(deferrals);
}

/* --- Slots. */

static uint32_t index_of(uint64_t token)
{
    return (uint32_t)token >> 1;
}

static struct slot *slot_at(
    const struct hcs_deferrals *deferrals, uint32_t index)
{
    /* [deferral.block] acquire: a thread that made the number up may name a
     * slot of a block that was published just now. */
    struct slot *block = atomic_load_explicit(
        &deferrals->blocks[index / BLOCK_SLOTS], memory_order_acquire);

    return block == NULL ? NULL : &block[index % BLOCK_SLOTS];
}

/* The slot that the token names; the slot may have a newer generation. NULL for
 * a number that cannot be a token. */
static struct slot *find(const struct hcs_deferrals *deferrals, uint64_t token)
{
    uint32_t index = index_of(token);

    return (token & NOBODY_WAITS) == 0 && index / BLOCK_SLOTS < BLOCKS_MAX
               ? slot_at(deferrals, index)
               : NULL;
}

static void push_free(struct hcs_deferrals *deferrals, uint32_t index)
{
    struct slot *slot = slot_at(deferrals, index);
    uint64_t top = atomic_load_explicit(&deferrals->free, memory_order_relaxed);
    uint64_t next;

    do {
        atomic_store_explicit(&slot->held, (uint32_t)top, memory_order_relaxed);
        next = ((top >> HALF) + 1) << HALF | index;
        /* [deferral.free] release: a thread that pops the slot sees the number
         * stored above, and all that was done with the slot before. */
    } while (!atomic_compare_exchange_weak_explicit(&deferrals->free, &top,
        next, memory_order_release, memory_order_relaxed));
}

/* NONE when no slot is free. */
static uint32_t pop_free(struct hcs_deferrals *deferrals)
{
    /* [deferral.free] acquire. */
    uint64_t top = atomic_load_explicit(&deferrals->free, memory_order_acquire);

    while ((uint32_t)top != NONE) {
        uint32_t index = (uint32_t)top;
        uint32_t below = (uint32_t)atomic_load_explicit(
            &slot_at(deferrals, index)->held, memory_order_relaxed);
        uint64_t next = ((top >> HALF) + 1) << HALF | below;

        if (atomic_compare_exchange_weak_explicit(&deferrals->free, &top, next,
                memory_order_acquire, memory_order_acquire)) {
            return index;
        }
    }
    return NONE;
}

/* Adds a block of slots. False when there is no memory. */
static bool grow(struct hcs_deferrals *deferrals)
{
    size_t bytes = BLOCK_SLOTS * sizeof(struct slot);
    uint32_t first = deferrals->block_count * BLOCK_SLOTS;
    struct slot *block;

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
    for (uint32_t i = 0; i < BLOCK_SLOTS; i++) {
        atomic_init(&block[i].state, UINT64_C(1) << HALF | FREE);
        atomic_init(&block[i].held, NONE);
    }
    /* [deferral.block] release. */
    atomic_store_explicit(&deferrals->blocks[deferrals->block_count++], block,
        memory_order_release);
    for (uint32_t i = BLOCK_SLOTS; i > 0; i--) {
        push_free(deferrals, first + i - 1);
    }
    return true;
}

static uint32_t take_slot(struct hcs_deferrals *deferrals)
{
    uint32_t index = pop_free(deferrals);

    if (index != NONE) {
        return index;
    }
    pthread_mutex_lock(&deferrals->growing);
    index = pop_free(deferrals); /* another thread may have added a block */
    if (index == NONE && grow(deferrals)) {
        index = pop_free(deferrals);
    }
    pthread_mutex_unlock(&deferrals->growing);
    return index;
}

/* --- State words. */

/* Of a token or a state word. */
static uint64_t generation_of(uint64_t word)
{
    return word >> HALF;
}

/* The state word after its token has died. After the last generation comes 0,
 * which no token has. */
static uint64_t next_generation(uint64_t state)
{
    return (generation_of(state) + 1) << HALF | FREE;
}

/* The token is dead. A slot that has used all its generations is not used
 * again, or an old token would mean another task. That loses 16 bytes for
 * every four thousand million tokens. */
static void give_slot(struct hcs_deferrals *deferrals, uint64_t token)
{
    atomic_fetch_sub_explicit(&deferrals->count, 1, memory_order_relaxed);
    if (generation_of(token) != UINT32_MAX) {
        push_free(deferrals, index_of(token));
    }
}

/* Changes the state word from *now to next. False: the word is unchanged, and
 * *now is its value. */
static bool change(struct slot *slot, uint64_t *now, uint64_t next)
{
    /* [deferral.state] acquire and release: a thread that comes later sees all
     * that earlier threads have written to the task. */
    return atomic_compare_exchange_weak_explicit(
        &slot->state, now, next, memory_order_acq_rel, memory_order_acquire);
}

static uint64_t look(struct slot *slot)
{
    /* [deferral.state] acquire. */
    return atomic_load_explicit(&slot->state, memory_order_acquire);
}

/* The token in the task's word; 0 when it has none. */
static uint64_t token_of(uint64_t word)
{
    return word & ~(uint64_t)NOBODY_WAITS;
}

/* The task's token, for the worker that opened it or a thread that has claimed
 * it. */
static uint64_t own_token(const struct hcs_task *task)
{
    /* [deferral.task] Relaxed: this thread has written it, or has seen it
     * through the slot's state word. */
    return token_of(
        atomic_load_explicit(&task->deferral, memory_order_relaxed));
}

uint64_t hcs_deferrals_open(
    struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint32_t index = take_slot(deferrals);
    struct slot *slot;
    uint64_t state;
    uint64_t token;
    uint64_t none = 0;

    if (index == NONE) {
        return 0;
    }
    slot = slot_at(deferrals, index);
    atomic_store_explicit(&slot->held, (uintptr_t)task, memory_order_relaxed);
    state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    assert((state & FREE) != 0);
    state &= ~(uint64_t)FREE;
    token = state | (uint64_t)index << 1;
    atomic_fetch_add_explicit(&deferrals->count, 1, memory_order_relaxed);
    /* [deferral.state] release: the slot holds the task. */
    atomic_store_explicit(&slot->state, state | RUNNING, memory_order_release);
    /* [deferral.task] release: the loop that finds the token finds the state
     * word as it is now. */
    if (!atomic_compare_exchange_strong_explicit(&task->deferral, &none, token,
            memory_order_release, memory_order_relaxed)) {
        assert(none == NOBODY_WAITS);
        /* [deferral.state] release, as for every end of a generation. */
        atomic_store_explicit(
            &slot->state, next_generation(state), memory_order_release);
        give_slot(deferrals, token);
    }
    return token;
}

bool hcs_deferrals_returned(
    struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint64_t token = own_token(task);
    struct slot *slot;
    uint64_t now;
    bool home;

    if (token == 0) {
        return true; /* dead from the start */
    }
    slot = slot_at(deferrals, index_of(token));
    now = look(slot);
    do {
        assert((now & RUNNING) != 0);
        home = (now & DONE) != 0 ||
               ((now & ABANDONED) != 0 && (now & CLAIMED) == 0);
    } while (!change(
        slot, &now, home ? next_generation(now) : now & ~(uint64_t)RUNNING));
    if (home) {
        give_slot(deferrals, token);
    }
    return home;
}

bool hcs_deferrals_withdraw(
    struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint64_t token = own_token(task);
    struct slot *slot;
    uint64_t now;

    if (token == 0) {
        return true;
    }
    slot = slot_at(deferrals, index_of(token));
    now = look(slot);
    do {
        if ((now & CLAIMED) != 0) {
            return false;
        }
    } while (!change(slot, &now, next_generation(now)));
    give_slot(deferrals, token);
    return true;
}

static bool may_be_claimed(uint64_t token, uint64_t state)
{
    return generation_of(state) == generation_of(token) &&
           (state & (CLAIMED | ABANDONED | FREE)) == 0;
}

struct hcs_task *hcs_deferrals_claim(
    struct hcs_deferrals *deferrals, uint64_t token)
{
    struct slot *slot = find(deferrals, token);
    uint64_t now;

    if (slot == NULL) {
        return NULL;
    }
    now = look(slot);
    do {
        if (!may_be_claimed(token, now)) {
            return NULL;
        }
    } while (!change(slot, &now, now | CLAIMED));
    return (struct hcs_task *)atomic_load_explicit(
        &slot->held, memory_order_relaxed);
}

bool hcs_deferrals_done(struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint64_t token = own_token(task);
    struct slot *slot = slot_at(deferrals, index_of(token));
    uint64_t now = look(slot);
    bool home;

    do {
        assert((now & CLAIMED) != 0 && (now & DONE) == 0);
        home = (now & RUNNING) == 0;
    } while (!change(slot, &now, home ? next_generation(now) : now | DONE));
    if (home) {
        give_slot(deferrals, token);
    }
    return home;
}

bool hcs_deferrals_awaits(struct hcs_deferrals *deferrals, uint64_t token)
{
    struct slot *slot = find(deferrals, token);

    return slot != NULL && may_be_claimed(token, look(slot));
}

enum hcs_abandoned hcs_deferrals_abandon(
    struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    /* [deferral.task] acquire: the token's slot is as the worker has left
     * it. */
    uint64_t token = token_of(atomic_fetch_or_explicit(
        &task->deferral, NOBODY_WAITS, memory_order_acquire));
    struct slot *slot;
    uint64_t now;
    bool alone;

    if (token == 0) {
        return HCS_ABANDONED_RUNNING;
    }
    slot = slot_at(deferrals, index_of(token));
    now = look(slot);
    do {
        if (generation_of(now) != generation_of(token)) {
            return HCS_ABANDONED_CLAIMED; /* the task is on its way home */
        }
        alone = (now & (RUNNING | CLAIMED)) == 0;
    } while (
        !change(slot, &now, alone ? next_generation(now) : now | ABANDONED));
    if (alone) {
        give_slot(deferrals, token);
        return HCS_ABANDONED_OWNED;
    }
    return (now & RUNNING) != 0 ? HCS_ABANDONED_RUNNING : HCS_ABANDONED_CLAIMED;
}

size_t hcs_deferrals_open_count(const struct hcs_deferrals *deferrals)
{
    return atomic_load_explicit(&deferrals->count, memory_order_relaxed);
}
