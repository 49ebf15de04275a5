/*
 * queue - loops that push and cancel, a worker that pops, over several laps.
 *
 * Mirrors:  src/sync/queue.c, whole.
 * Claims:   a task that was taken into the queue comes home once, either run
 *           by a worker or, if its loop's cancel won, not run; what is in it is
 *           seen whole by the worker and by its loop; no more than capacity
 *           tasks are ever QUEUED.
 * Left out: how a worker sleeps (parking.pml): here it waits until there is
 *           something in the ring, which a lost task never is. The mailbox
 *           (mailbox.pml): tasks come home by a word of its kind.
 * Size:     a ring of two cells for one place; loop A pushes three tasks, loop
 *           B one, each is cancelled or not; one worker. Two dead entries fill
 *           the ring, so pushers sweep, both at once and beside the worker.
 *           With -DLIVING a ring that is full at the start, two dead entries
 *           and a living one, which a sweep has to carry round while it is
 *           popped or cancelled. (Three cells for two places, not four:
 *           fewer states, and less room than the code has.)
 *           With -DBY_ITSELF loop A is alone, as when every worker is stuck in
 *           a handler, and cancels all: then no push may be refused.
 */
#ifdef BY_ITSELF
#define ALONE 1
#else
#define ALONE 0
#endif

#ifdef LIVING /* entries: dead 1, living 4, dead 2 */
#define TASKS_MAX 5 /* 3 is not used */
#define CELLS 3
#define POSITIONS 7
#define CAPACITY 2
#define FIRST_TURN 1
#define FIRST_TAIL 3
#define FIRST_PLACES 1
#else
#define TASKS_MAX 5 /* 5 is not used */
#define CELLS 2
#define POSITIONS 8
#define CAPACITY 1
#define FIRST_TURN 0
#define FIRST_TAIL 0
#define FIRST_PLACES 0
#endif

/* Threads are 0 .. 2. */
#define CELL_VIEW 3
#define STATE_VIEW (CELL_VIEW + CELLS - 1) /* of task 1: one more */
#define HOME (STATE_VIEW + TASKS_MAX + 1)
#define VIEWS (HOME + 1)

#define TAIL_AT 0
#define HEAD_AT POSITIONS
#define TURN_AT (2 * POSITIONS)
#ifdef LIVING
#define FIRST_SEEN (7 | 1 << 14 | 1 << 20 | 1 << 26)
#else
#define FIRST_SEEN 0
#endif

#define CONTENT(cell) (1 << (cell))
#define STATE(task) (8 << (task))
#define LINK(task) (256 << (task))
#define BODY(task) (8192 << (task))
#define ALL_DATA ((1 << 19) - 1)

#include "memory.inc"

bool was_full;
byte arrived[TASKS_MAX + 1];
bool ran[TASKS_MAX + 1];
byte loops_done;

inline come_home(task)
{
    atomic {
        touch(LINK(task));
        assert(arrived[task] == 0); /* doubled */
        arrived[task]++;
        release_more(HOME)
    }
}

#define send_home(task) come_home(task)

#include "queue.inc"

inline offer(task)
{
    touch(LINK(task));
    touch(BODY(task));
    queue_push(task, at, t, ok, other, count);
#ifdef BY_ITSELF
    assert(ok);
#endif
    if
    :: ok ->
        ok = false;
        atomic {
            assert((state[1] == QUEUED) + (state[2] == QUEUED) +
                (state[3] == QUEUED) + (state[4] == QUEUED) +
                (state[5] == QUEUED) <= CAPACITY)
        };
        if
        :: queue_cancel(task, ok)
#ifndef BY_ITSELF
        :: skip
#endif
        fi;
        if
        :: ok -> cancelled = cancelled | (1 << task)
        :: else
        fi;
        ok = false;
        pushed = pushed | (1 << task)
    :: else
    fi
}

inline expect(task)
{
    if
    :: (pushed >> task) & 1 ->
        atomic {
            arrived[task] == 1; /* else it is lost */
            acquire(HOME);
            touch(LINK(task));
            touch(BODY(task));
            forget(LINK(task) | BODY(task) | STATE(task));
            relaxed_store(STATE_VIEW + task);
            assert(ran[task] == !((cancelled >> task) & 1))
        }
    :: else
    fi
}

active proctype loop_a()
{
    byte at, t, other, count, pushed, cancelled, kept_1, kept_2, kept_3;
    bool ok;

#ifdef LIVING
    cancelled = 2 + 4; /* tasks 1 and 2 */
    pushed = cancelled;
    offer(5);
    expect(5);
#else
    offer(1);
    offer(2);
    offer(3);
#endif
#ifndef BY_ITSELF
    expect(1);
    expect(2);
    expect(3);
#endif
    loops_done++
}

#ifndef BY_ITSELF
active proctype loop_b()
{
    byte at, t, other, count, pushed, cancelled, kept_1, kept_2, kept_3;
    bool ok;

#ifdef LIVING
    pushed = 16;
    if
    :: queue_cancel(4, ok)
    :: skip
    fi;
    if
    :: ok -> cancelled = 16
    :: else
    fi;
    ok = false;
#else
    offer(4);
#endif
    expect(4);
    loops_done++
}

active proctype worker()
{
    byte task, at, t;
    bool won;

    do
    :: atomic {
            turn[CELL(head)] == WANT_TAKE(head);
            ring_claim_pop(task, at, t)
        };
        if
        :: task != 0 ->
            finish_pop(task, at, won);
            if
            :: task != 0 ->
                atomic {
                    touch(BODY(task));
                    assert(!ran[task]); /* doubled */
                    ran[task] = true;
                    release_place()
                };
                come_home(task);
                task = 0
            :: else
            fi
        :: else
        fi
    :: loops_done == 2 -> break
    od;
    assert(places == 0);
    assert(head == tail)
}
#endif
