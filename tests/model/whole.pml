/*
 * whole - a loop, a worker and main, from the first request to the end.
 *
 * Mirrors:  all that the other models do, put together: hcs_loop_run with
 *           on_turned, hcs_conn_submit, working_expired and hcs_conn_result on
 *           the loop; worker_main; hcs_shard_command, join_loops, stop_pool
 *           and hcs_shard_destroy in main.
 * Claims:   each client is answered once; each task comes home once; loop,
 *           worker and main come to their end, with nothing left in queue and
 *           mailbox.
 * Left out: a second lap of the ring (queue.pml), a second worker
 *           (parking.pml), records that are used again (detach.pml).
 * Size:     two jobs, each brief or not; the first has a deadline, which may
 *           pass at any moment or never.
 */
#define JOBS 2
#define WORKERS 1
#define FIRST_WORKER 1
#define TASKS_MAX JOBS

#define CELLS 2
#define POSITIONS 2
#define CAPACITY 2
#define FIRST_TURN 0
#define FIRST_TAIL 0
#define FIRST_PLACES 0
#define ALONE 0

/* Threads are 0 .. 2. */
#define CELL_VIEW 3
#define STATE_VIEW 4 /* of tasks 1 and 2: 5 and 6 */
#define PARK 7
#define STOP 8
#define BOX 9
#define BELL 10
#define COMMAND 11
#define JOINED 12
#define VIEWS 13

#define FIRST_SEEN 0
#define TAIL_AT 0
#define HEAD_AT 2
#define TURN_AT 4
#define STOPPED (1 << 8)
#define COMMANDED (1 << 9)

#define CONTENT(cell) (1 << (cell))
#define STATE(task) (2 << (task))
#define LINK(task) (8 << (task))
#define BODY(task) (32 << (task))
#define LISTENER 256
#define ALL_DATA 511

#include "memory.inc"
#include "mailbox.inc"

#define send_home(task)                                                        \
    mailbox_put(task, owes);                                                   \
    ring_if_owed()

inline ring_if_owed()
{
    if
    :: owes ->
        owes = false;
        mailbox_ring()
    :: else
    fi
}

bool was_full;
bool commanded;
bool loop_ended, worker_ended;
bool ran[JOBS + 1];
bool home[JOBS + 1];

#include "queue.inc"
#include "parking.inc"

/* --- The worker. */

inline is_brief(task, out)
{
    if
    :: out = true
    :: out = false
    fi
}

inline run_job(task)
{
    atomic {
        touch(BODY(task));
        assert(!ran[task]); /* doubled */
        ran[task] = true;
        brief = false
    }
}

inline put_result(task)
{
    mailbox_put(task, owes);
    atomic {
        owed = owed || owes;
        owes = false
    }
}

inline pay_rings()
{
    if
    :: owed ->
        owed = false;
        mailbox_ring()
    :: else
    fi
}

#ifdef NO_PAY_BEFORE_PARKING
#define PAY_RINGS skip
#else
#define PAY_RINGS pay_rings()
#endif

#include "pool.inc"

/* For pthread_join, and for the lock that says how many workers have ended. */
inline end_thread()
{
    release_more(JOINED);
    relaxed_store(me) /* fewer states */
}

inline arrive(task)
{
    touch(LINK(task));
    touch(BODY(task));
    forget(LINK(task) | BODY(task));
    next = next_of[task];
    next_of[task] = EMPTY;
    assert(!home[task]); /* doubled */
    assert(ran[task] == (state[task] == TAKEN));
    home[task] = true
}

active proctype loop()
{
    byte task, at, t, next;
    bool may, ok, drains, submitted, alone;
    bool waits[JOBS + 1]; /* a client for this answer */
    byte sent, answered;
    bool deadline = true;

round:
    mailbox_take(task);
    atomic { /* hcs_conn_result */
        do
        :: task != EMPTY ->
            arrive(task);
            answered = answered + waits[task];
            waits[task] = false;
            task = next
        :: else -> break
        od;
        next = 0
    };
    atomic { /* apply_command */
        if
        :: drains
        :: !drains && commanded -> /* [shard.command] the new value */
            seen[me] = seen[me] | COMMANDED;
#ifndef NO_COMMAND_ACQUIRE
            acquire(COMMAND);
#endif
            drains = true;
            touch(LISTENER);
            forget(LISTENER)
        :: !drains && (seen[me] & COMMANDED) == 0 /* the old one */
        fi
    };
    if
    :: submitted ->
        submitted = false;
#ifndef NO_WAKE
        parking_wake(alone)
#endif
    :: else
    fi;
    if
    :: drains && answered == JOBS -> goto stopped
    :: else
    fi;
    mailbox_sleep(may);
    if
    :: atomic {
            bell && may;
            bell = false;
            acquire(BELL);
            may = false
        }
    :: atomic { !may -> skip };
        epoll_look()
    :: atomic { /* a client speaks */
            sent < JOBS;
            may = false;
            sent++;
            waits[sent] = true;
            submitted = true;
            touch(LINK(sent));
            touch(BODY(sent))
        };
        take_place(sent, ok);
        assert(ok);
        ring_push(sent, at, t, ok);
        assert(ok);
        ok = false
    :: atomic { /* the deadline of the first job */
            deadline && waits[1];
            may = false;
            deadline = false
        };
        queue_cancel(1, ok);
        atomic {
            if
            :: ok ->
                waits[1] = false;
                answered++
            :: else
            fi;
            ok = false
        }
    fi;
    goto round;
stopped:
    atomic {
        end_thread();
        loop_ended = true
    }
}

active proctype worker()
{
    byte task, at, t, at_epoch;
    bool won, ends, again, brief, owes, owed;

    work();
    atomic {
        end_thread();
        worker_ended = true
    }
}

active proctype main_thread()
{
    byte task, next;

    touch(LISTENER); /* start_draining closes main's copies */
    atomic { /* hcs_shard_command [shard.command] */
        commanded = true;
        seen[me] = seen[me] | COMMANDED;
#ifndef NO_COMMAND_RELEASE
        release_store(COMMAND)
#else
        relaxed_store(COMMAND)
#endif
    };
    mailbox_ring();
    atomic {
        loop_ended; /* pthread_join */
        acquire(JOINED)
    };
    pool_stop();
    atomic {
        worker_ended;
        acquire(JOINED)
    };
    mailbox_take(task); /* hcs_shard_destroy */
    atomic {
        do
        :: task != EMPTY ->
            arrive(task);
            task = next
        :: else -> break
        od
    };
    assert(home[1] && home[2]); /* else lost */
    assert(head == tail && places == 0)
}
