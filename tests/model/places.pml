/*
 * places - the stack of free places for tokens, with its count of changes.
 *
 * Mirrors:  push_free and pop_free in src/sync/deferral.c.
 * Claims:   a place is given to one at a time; who gets it knows all that was
 *           done with it before.
 * Left out: that more are made when there is none (the lock of grow orders it).
 *           An older top only fails, or says that there is none where one has
 *           just come back.
 * Size:     two places, three threads that take and give back as they like,
 *           and between the two write something else where the next free one
 *           stood.
 */
#define PLACES 2
#define NONE 0
#define TASK 7 /* what stands in a place that is taken */
#define OPERATIONS 3
#define STORES 14 /* of one place */

/* Threads are 0 .. 2. */
#define FREE_VIEW 3
#define VIEWS 4

#define STORE(place, n) (1 << (((place) - 1) * STORES + (n)))
#define FIRST_SEEN (STORE(1, 0) | STORE(2, 0))
#define PLACE(place) (1 << (place)) /* its word, and the task that stood there */
#define ALL_DATA 7

#include "memory.inc"

byte top = 1;
byte changes;
byte held[PLACES * STORES] = {2, NONE}; /* all that ever stood there */
byte stores[PLACES + 1] = 1;
bool is_taken[PLACES + 1];
hidden byte the_model_is_too_small; /* never: words for check.py */

#define HELD(place, n) held[((place) - 1) * STORES + (n)]

inline store_held(place, value)
{
    assert(stores[place] < STORES || the_model_is_too_small);
    HELD(place, stores[place]) = value;
    seen[me] = seen[me] | STORE(place, stores[place]);
    stores[place]++
}

/* From the last that I know to the newest. */
inline load_held(place, out)
{
    out = stores[place] - 1;
    do
    :: (seen[me] & STORE(place, out)) == 0 -> out--
    :: break
    od;
    out = HELD(place, out)
}

inline pop_free(place)
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
                assert(below <= PLACES); /* or it was no place */
                top = below;
#ifndef COUNTS_GIVEN_ALONE
                changes++;
#endif
#ifndef NO_POP_ACQUIRE
                acquire(FREE_VIEW);
#endif
                assert(!is_taken[at]); /* doubled */
                is_taken[at] = true;
                place = at
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
 * failed is overwritten by the next, and read only by who fails too. */
inline push_free(place)
{
    atomic { /* [deferral.free] */
        store_held(place, top);
        is_taken[place] = false;
        top = place;
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
    byte place, at, below, count;
    bool won;

    do
    :: left > 0 && second == 0 ->
        left--;
        pop_free(place);
        atomic {
            if
            :: place != 0 ->
                touch(PLACE(place));
                store_held(place, TASK);
                second = first;
                first = place;
                place = 0
            :: else
            fi
        }
    :: atomic { left > 0 && first != 0 ->
            left--;
            if
            :: true
            :: second != 0 -> /* the one that it took before */
                place = first;
                first = second;
                second = place
            fi;
            place = first;
            first = second;
            second = 0;
            touch(PLACE(place))
        };
        push_free(place);
        place = 0
    :: break
    od
}
