/*
 * slots - the stack of free slots for tokens, with its count of changes.
 *
 * Mirrors:  push_free and pop_free in src/sync/deferral.c.
 * Claims:   a slot is given to one thread at a time; that thread knows all
 *           that was done with the slot before.
 * Left out: that more are made when there is none (the lock of grow orders it).
 *           An older top only fails, or says that there is none where one has
 *           just come back.
 * Size:     two slots, three threads that take and give back as they like,
 *           and between the two write something else where the next free one
 *           stood.
 */
#define SLOTS 2
#define NONE 0
#define TASK 7 /* what stands in a slot that is taken */
#define OPERATIONS 3
#define STORES 14 /* of one slot */

/* Threads are 0 .. 2. */
#define FREE_VIEW 3
#define VIEWS 4

#define STORE(slot, n) (1 << (((slot) - 1) * STORES + (n)))
#define FIRST_SEEN (STORE(1, 0) | STORE(2, 0))
#define SLOT(slot) (1 << (slot)) /* its word, and the task that stood there */
#define ALL_DATA 7

#include "memory.inc"

byte top = 1;
byte changes;
byte held[SLOTS * STORES] = {2, NONE}; /* all that ever stood there */
byte stores[SLOTS + 1] = 1;
bool is_taken[SLOTS + 1];
hidden byte the_model_is_too_small; /* never: words for check.py */

#define HELD(slot, n) held[((slot) - 1) * STORES + (n)]

inline store_held(slot, value)
{
    assert(stores[slot] < STORES || the_model_is_too_small);
    HELD(slot, stores[slot]) = value;
    seen[me] = seen[me] | STORE(slot, stores[slot]);
    stores[slot]++
}

/* From the last that I know to the newest. */
inline load_held(slot, out)
{
    out = stores[slot] - 1;
    do
    :: (seen[me] & STORE(slot, out)) == 0 -> out--
    :: break
    od;
    out = HELD(slot, out)
}

inline pop_free(slot)
{
    do
    :: atomic { /* [deferral.free], and after a try that failed the same */
            at = top;
            count = changes;
            if
            :: at == NONE -> break
            :: else
            fi;
#ifndef NO_TOP_ACQUIRE
            acquire(FREE_VIEW)
#endif
        };
        atomic { /* [deferral.free] */
            load_held(at, below);
#ifdef NO_COUNT
            won = (at == top);
#else
            won = (at == top && count == changes);
#endif
            if
            :: won ->
                assert(below <= SLOTS); /* or it was no slot */
                top = below;
#ifndef COUNTS_GIVEN_ALONE
                changes++;
#endif
#ifndef NO_POP_ACQUIRE
                acquire(FREE_VIEW);
#endif
                assert(!is_taken[at]); /* doubled */
                is_taken[at] = true;
                slot = at
            :: else
            fi;
            below = 0;
            at = NONE;
            count = 0;
            if
            :: won ->
                won = false;
                break
            :: else
            fi
        }
    od;
    count = 0
}

/* The store and the compare-and-swap are one step: what a try stored that then
 * failed is overwritten by the next, and read only by threads that fail too. */
inline push_free(slot)
{
    atomic { /* [deferral.free] */
        store_held(slot, top);
        is_taken[slot] = false;
        top = slot;
        changes++;
#ifndef NO_PUSH_RELEASE
        release_more(FREE_VIEW)
#endif
    }
}

active [3] proctype thread()
{
    byte left = OPERATIONS;
    byte first, second; /* what it has taken */
    byte slot, at, below, count;
    bool won;

    do
    :: left > 0 && second == 0 ->
        left--;
        pop_free(slot);
        atomic {
            if
            :: slot != 0 ->
                touch(SLOT(slot));
                store_held(slot, TASK);
                second = first;
                first = slot;
                slot = 0
            :: else
            fi
        }
    :: atomic { left > 0 && first != 0 ->
            left--;
            if
            :: true
            :: second != 0 -> /* the one that it took before */
                slot = first;
                first = second;
                second = slot
            fi;
            slot = first;
            first = second;
            second = 0;
            touch(SLOT(slot))
        };
        push_free(slot);
        slot = 0
    :: break
    od
}
