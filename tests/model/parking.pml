/*
 * parking - loops that submit, workers that lie down, main that stops them.
 *
 * Mirrors:  src/sync/parking.c; next_task, run_task, hcs_pool_submit,
 *           hcs_pool_wake and hcs_pool_stop in src/sync/pool.c; the ring and
 *           the task's state in src/sync/queue.c; hcs_loops_join in
 *           src/app/loops.c and finish in src/app/server.c.
 * Claims:   every job is run once; while one runs that may block, the others
 *           do not wait for it if a worker sleeps; the stop ends every worker,
 *           after the last job.
 * Left out: cancelling and the second lap of the ring (queue.pml), results
 *           (mailbox.pml), wake-ups of a futex for no reason, which only hide.
 * Size:     two loops with a job each, each brief or one that ends only when
 *           both have begun; two workers; a ring of two cells.
 */
#define JOBS 2
#define WORKERS 2
#define FIRST_WORKER 2
#define TASKS_MAX JOBS

#define CELLS 2
#define POSITIONS 2
#define CAPACITY 2
#define FIRST_TURN 0
#define FIRST_TAIL 0
#define FIRST_PLACES 0
#define ALONE 0

/* Threads are 0 .. 4. */
#define CELL_VIEW 5
#define STATE_VIEW 0
#define PARK 7
#define STOP 8
#define JOINED 9
#define VIEWS 10
#define NOTHING_IS_CANCELLED

#define FIRST_SEEN 0
#define TAIL_AT 0
#define HEAD_AT 2
#define TURN_AT 4
#define STOPPED (1 << 8)

#define CONTENT(cell) (1 << (cell))
#define STATE(task) 0
#define BODY(task) (2 << (task))
#define ALL_DATA 15

/* Chosen when it is first asked, which is as good as when it was submitted. */
inline is_brief(task, out)
{
    if
    :: out = true
    :: out = false
    fi
}

#define send_home(task) assert(false) /* nothing is cancelled here */

#include "memory.inc"

bool was_full; /* no task is refused: CAPACITY is JOBS */
byte begun;
bool ran[JOBS + 1];
byte loops_ended;
byte workers_ended;

#include "queue.inc"
#include "parking.inc"

inline run_job(task)
{
    atomic {
        touch(BODY(task));
        forget(BODY(task));
        assert(!ran[task]); /* doubled */
        ran[task] = true;
        begun++;
        if
        :: brief -> brief = false
        :: else -> blocks = true
        fi
    };
    if
    :: !blocks
    :: blocks && begun == JOBS -> blocks = false
    fi
}

#define put_result(task) skip

#include "pool.inc"

inline submit(task)
{
    atomic {
        touch(BODY(task))
    };
    ring_push(task, at, t, ok);
    assert(ok)
}

/* For pthread_join. */
inline end_thread()
{
    release_more(JOINED);
    relaxed_store(me) /* fewer states */
}

inline loop_body(task)
{
    submit(task);
#ifndef NO_WAKE
    parking_wake(alone);
#endif
    atomic {
        end_thread();
        loops_ended++
    }
}

active proctype loop_a()
{
    byte at, t;
    bool ok, alone;

    loop_body(1)
}

active proctype loop_b()
{
    byte at, t;
    bool ok, alone;

    loop_body(2)
}

active [WORKERS] proctype worker()
{
    byte task, at, t, at_epoch;
    bool won, ends, again, brief, blocks;

    work();
    atomic {
        end_thread();
        workers_ended++
    }
}

active proctype main_thread()
{
    atomic { /* pthread_join */
        loops_ended == 2;
        acquire(JOINED)
    };
#ifndef STOPS_EARLY
    begun == JOBS; /* or its wake-up would stand in for a lost one */
#endif
    pool_stop();
    workers_ended == WORKERS;
    assert(begun == JOBS)
}
