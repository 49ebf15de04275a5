/*
 * mailbox - a loop that sleeps, workers that bring results, main that commands.
 *
 * Mirrors:  src/sync/mailbox.c; run_task, next_task and pay_rings in
 *           src/sync/pool.c as far as they put and ring; sleep_ms and
 *           hcs_loop_run in src/event/loop.c; on_turned,
 *           apply_command and hcs_shard_command in src/shard/run.c.
 * Claims:   each result arrives once, whole, and by itself ends the loop's
 *           sleep; a command ends it too, and what main did before it is done;
 *           all come to their end.
 * Left out: everything else that could wake the loop, but for one such event
 *           (clients and deadlines hide a lost wake-up, they do not cause one);
 *           where tasks come from.
 * Size:     two workers, three results, one command.
 */
#define RESULTS 3
#define TASKS_MAX RESULTS
#define LOOP 0
#define BOX 4
#define BELL 5
#define COMMAND 6
#define VIEWS 7

/* Stores. */
#define FIRST_SEEN 0
#define COMMANDED 1

/* Data: the links and the results of tasks 1 .. 3, and what main closes before
 * it commands. */
#define LINK(task) (1 << (task))
#define RESULT(task) (16 << (task))
#define LISTENER 1
#define FLAG 256 /* the newest value of asleep_flag */
#define ALL_DATA 511

#include "memory.inc"
#include "mailbox.inc"

bool commanded;
byte arrived[RESULTS + 1];
byte results;
#ifdef FLAG_BESIDE
bool asleep_flag;
#endif

/* hcs_loop_run with on_turned as its only hook. */
active proctype loop()
{
    byte task, next;
    bool may, drains;
    bool clients = true; /* one event that is not the doorbell */

turn:
    mailbox_take(task);
    atomic {
        do
        :: task != EMPTY ->
            touch(LINK(task));
            touch(RESULT(task));
            next = next_of[task];
            next_of[task] = EMPTY;
            assert(arrived[task] == 0); /* doubled */
            arrived[task]++;
            results++;
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
            touch(LISTENER)
        :: !drains && (seen[me] & COMMANDED) == 0 /* the old one */
        fi
    };
    if
    :: drains && results == RESULTS -> goto stopped
    :: else
    fi;
#ifdef FLAG_BESIDE
    /* The usual form: a flag, then a look at the list. */
    atomic {
        asleep_flag = true;
        mine_alone(FLAG)
    };
    atomic {
        may = (box_head == EMPTY);
        if
        :: !may ->
            asleep_flag = false;
            mine_alone(FLAG)
        :: else
        fi
    };
#else
    mailbox_sleep(may);
#endif
#ifdef SLEEP_WITHOUT_LOOK
    may = true;
#endif
    if
    :: may ->
        if
        :: epoll_wait()
        :: atomic { clients -> clients = false }
        fi
    :: else -> epoll_look()
    fi;
    goto turn;
stopped:
    skip
}

inline bring(task)
{
    touch(RESULT(task)); /* pool->work.run */
#ifdef RING_BEFORE_PUT
    atomic {
        if
        :: box_head == ASLEEP -> mailbox_ring()
        :: else
        fi
    };
    mailbox_put(task, owes);
    owes = false;
#else
    mailbox_put(task, owes);
#endif
#ifdef FLAG_BESIDE
    atomic {
        if
        :: owes = asleep_flag
#ifndef FLAG_IS_SEQ_CST
        :: (has[me] & FLAG) == 0 -> owes = !asleep_flag /* an older value */
#endif
        fi
    };
#endif
#ifdef NO_RING
    owes = false;
#endif
    owed = owed | owes;
    owes = false
}

/* hcs_pool's worker. Results of brief tasks are announced together, so a ring
 * may be owed over the next task, but not when the worker lies down. */
inline pay_rings()
{
    if
    :: owed ->
        mailbox_ring();
        owed = false
    :: else
    fi
}

active proctype worker_a()
{
    bool owes, owed;

    bring(1);
    if
    :: pay_rings()
    :: skip /* both were brief */
    fi;
    bring(2);
#ifndef NO_PAY_BEFORE_PARKING
    pay_rings()
#endif
}

active proctype worker_b()
{
    bool owes, owed;

    bring(3);
    pay_rings()
}

active proctype main_thread()
{
    touch(LISTENER); /* start_draining closes main's copies */
#ifdef COMMAND_RINGS_FIRST
    mailbox_ring();
#endif
    atomic { /* hcs_shard_command [shard.command] */
        commanded = true;
        seen[me] = seen[me] | COMMANDED;
#ifndef NO_COMMAND_RELEASE
        release_store(COMMAND)
#else
        relaxed_store(COMMAND)
#endif
    };
#ifndef COMMAND_RINGS_FIRST
    mailbox_ring()
#endif
}
