/*
 * deferral - a worker that defers, threads that claim, a loop that abandons.
 *
 * Mirrors:  src/sync/deferral.c, but for its list of free slots (slots.pml);
 *           run_task in src/sync/pool.c; run_handler, hcs_mount_resume and
 *           hcs_job_complete in src/job/job.c; drop_request in
 *           src/shard/conn_state.c and hcs_conn_result in src/shard/conn.c.
 * Claims:   a task comes home once, or is the loop's at once, never both, and
 *           no thread has it afterwards; a dead token claims nothing, and one that
 *           is alive is not refused; what is in the task is seen whole by all
 *           threads that have it in turn; a slot is given back once.
 * Left out: the queue and its cancelling (queue.pml, detach.pml): the loop
 *           abandons only what a worker has taken. The mailbox (mailbox.pml).
 * Size:     two tasks one after the other, which the loop abandons at any
 *           moment or never; one slot, so that the second gets a token where
 *           the first one's was, or none; two threads that claim with either
 *           token, also when it is long dead, or with a number that they made
 *           up and that is no token yet.
 */
#define TASKS_MAX 2

/* Threads are 0 .. 3. */
#define STATE_VIEW 4  /* of the slot */
#define FREE_VIEW 5  /* of the list of free slots */
#define BLOCK_VIEW 6 /* of the pointer to the block */
#define HAND 6       /* where the handler leaves tokens 1 and 2: 7 and 8 */
#define OWN_VIEW 8   /* of the deferral of tasks 1 and 2: 9 and 10 */
#define BOX 11
#define CELL_VIEW 12
#define VIEWS 13

#define FIRST_SEEN 0
#define OPENED(generation) (1 << (generation)) /* stores to slot->state */
#define ENDED(generation) (8 << (generation))
#define HELD(generation) (64 << (generation))
#define OWN(task) (512 << (task))

#define LINK(task) (1 << (task))
#define INPUT(task) (4 << (task))   /* read by all threads that have it */
#define OUTPUT(task) (16 << (task)) /* of one at a time */
#define RUN(task) (64 << (task))    /* what the run reads until it returns */
#define BLOCK 512                   /* of slots */
#define ALL_DATA 1023
#define TASK(task) (LINK(task) | INPUT(task) | OUTPUT(task) | RUN(task))

#include "memory.inc"

/* The slot's state: flags, and a generation from here on up. */
#define RUNNING 1
#define CLAIMED 2
#define DONE 4
#define ABANDONED 8
#define FREE 16
#define GENERATION 32
#define OF(value) ((value) / GENERATION)

/* A task's: a token, which is its generation, and beside it this. */
#define NOBODY_WAITS 8
#define TOKEN(value) ((value) & 7)

byte state = GENERATION + FREE;
byte held; /* a task */
byte own[TASKS_MAX + 1];
bool slot_is_free = true;
bool has_block;

byte handed; /* tokens */
bool is_taken[TASKS_MAX + 1];
bool in_box[TASKS_MAX + 1];
bool has_begun;

/* For the claims alone, by token. */
byte task_of[TASKS_MAX + 1];
bool dead[TASKS_MAX + 1]; /* no thread may claim it any more */

/* A read while others may read: it must know of the last write. */
inline look_at(data)
{
    assert((has[me] & (data)) != 0) /* else a data race */
}

/* --- src/sync/deferral.c. */

/* A change of the state is one step with the look before it, which only guesses
 * what the compare-and-swap then has to find, or learns what stays true. Only
 * where a thread may not know that the token was opened it may find what was
 * before. */

inline end_generation(generation) /* next_generation */
{
#ifdef SAME_GENERATION
    state = (generation) * GENERATION + FREE;
#else
    state = ((generation) + 1) * GENERATION + FREE;
#endif
    dead[generation] = true;
    seen[me] = seen[me] | ENDED(generation)
}

/* Of the list only what passes from the thread that gives a slot to the thread
 * that takes it. */
inline give_slot()
{
    atomic { /* [deferral.free] */
        assert(!slot_is_free); /* doubled */
        slot_is_free = true;
#ifndef NO_GIVE_RELEASE
        release_more(FREE_VIEW)
#endif
    }
}

inline take_slot(generation)
{
    atomic {
        if
        :: !has_block -> /* grow: [deferral.block] */
            touch(BLOCK);
            has_block = true;
#ifndef NO_BLOCK_RELEASE
            release_store(BLOCK_VIEW)
#else
            relaxed_store(BLOCK_VIEW)
#endif
        :: else
        fi
    };
    atomic { /* [deferral.free] */
        if
        :: slot_is_free ->
            slot_is_free = false;
            generation = OF(state);
#ifndef NO_TAKE_SLOT_ACQUIRE
            acquire(FREE_VIEW)
#endif
        :: else
        fi
    }
}

/* hcs_deferrals_open. generation: of the token; 0 without a slot. */
inline open_token(task, generation, won)
{
    take_slot(generation);
    if
    :: generation != 0 ->
        atomic { /* [deferral.state] relaxed load, of the newest; store */
            assert(generation == 1 ||
                (seen[me] & ENDED(generation - 1)) != 0);
            assert(state == generation * GENERATION + FREE);
            held = task;
            task_of[generation] = task;
            state = generation * GENERATION + RUNNING;
            seen[me] = seen[me] | HELD(generation) | OPENED(generation);
#ifndef NO_OPEN_RELEASE
            release_store(STATE_VIEW)
#else
            relaxed_store(STATE_VIEW)
#endif
        };
#ifdef OPEN_LOOKS_THEN_STORES
        atomic { won = (own[task] == 0) };
#endif
        atomic { /* [deferral.task] */
#ifndef OPEN_LOOKS_THEN_STORES
            won = (own[task] == 0);
#endif
            if
            :: won ->
                own[task] = generation;
                seen[me] = seen[me] | OWN(task);
#ifndef NO_TOKEN_RELEASE
                release_more(OWN_VIEW + task)
#endif
            :: else
            fi
        };
        if
        :: won -> won = false
        :: else -> /* dead from the start */
            atomic { /* [deferral.state] */
                assert(state == generation * GENERATION + RUNNING);
                end_generation(generation);
#ifndef NO_DEAD_RELEASE
                release_store(STATE_VIEW)
#else
                relaxed_store(STATE_VIEW)
#endif
            };
            give_slot()
        fi
    :: else
    fi
}

/* hcs_deferrals_returned. */
inline token_returned(generation, now, home)
{
#ifdef RETURNED_LOOKS_THEN_STORES
    now = state;
#endif
    atomic { /* [deferral.state] */
#ifndef RETURNED_LOOKS_THEN_STORES
        now = state;
#endif
        assert(OF(now) == generation && (now & RUNNING) != 0);
#ifdef RETURNED_IGNORES_DONE
        home = (now & ABANDONED) != 0 && (now & CLAIMED) == 0;
#else
#ifdef RETURNED_IGNORES_CLAIM
        home = (now & (DONE | ABANDONED)) != 0;
#else
        home = (now & DONE) != 0 ||
            ((now & ABANDONED) != 0 && (now & CLAIMED) == 0);
#endif
#endif
#ifndef NO_RETURNED_ACQUIRE
        acquire(STATE_VIEW);
#endif
        if
        :: home -> end_generation(generation)
        :: else -> state = now - RUNNING
        fi;
#ifndef NO_RETURNED_RELEASE
        release_more(STATE_VIEW);
#endif
        now = 0
    };
    if
    :: home -> give_slot()
    :: else
    fi
}

inline withdraw(generation, now, home)
{
#ifdef WITHDRAW_LOOKS_THEN_STORES
    now = state;
#endif
    atomic { /* [deferral.state] */
#ifndef WITHDRAW_LOOKS_THEN_STORES
        now = state;
#endif
        home = ((now & CLAIMED) == 0);
        now = 0;
        if
        :: home ->
#ifndef NO_WITHDRAW_ACQUIRE
            acquire(STATE_VIEW);
#endif
            end_generation(generation);
#ifndef NO_WITHDRAW_RELEASE
            release_more(STATE_VIEW)
#endif
        :: else
        fi
    };
    if
    :: home -> give_slot()
    :: else
    fi
}

/* may_be_claimed */
#ifdef ANY_GENERATION
#define MAY_BE_CLAIMED(token, now) (((now) & (CLAIMED | ABANDONED | FREE)) == 0)
#else
#ifdef FREE_LOOKS_OPEN
#define MAY_BE_CLAIMED(token, now)                                             \
    (((now) & (CLAIMED | ABANDONED)) == 0 && OF(now) == (token))
#else
#define MAY_BE_CLAIMED(token, now)                                             \
    (((now) & (CLAIMED | ABANDONED | FREE)) == 0 && OF(now) == (token))
#endif
#endif

/* hcs_deferrals_claim. task: 0 when the token is dead. */
inline claim(token, now, task)
{
#ifdef CLAIM_LOOKS_THEN_STORES
    now = state;
#endif
    atomic { /* [deferral.state] */
#ifndef CLAIM_LOOKS_THEN_STORES
        now = state;
#endif
        if
        :: true
        :: (seen[me] & OPENED(token)) == 0 -> now = FREE /* an older one */
        fi;
        if
        :: MAY_BE_CLAIMED(token, now) ->
            assert(!dead[token]); /* a dead token claims */
            dead[token] = true;
            state = now | CLAIMED;
#ifndef NO_CLAIM_ACQUIRE
            acquire(STATE_VIEW);
#endif
#ifndef NO_CLAIM_RELEASE
            release_more(STATE_VIEW);
#endif
            assert((seen[me] & HELD(token)) != 0); /* else an older one */
            task = held;
            assert(task == task_of[token])
        :: else -> assert(dead[token]) /* one that is alive is refused */
        fi;
        now = 0
    }
}

/* hcs_deferrals_done. */
inline done(task, token, now, home)
{
#ifdef DONE_LOOKS_THEN_STORES
    now = state;
#endif
    atomic { /* [deferral.state] */
        /* own_token: [deferral.task] relaxed, so it may be an older one */
        assert((seen[me] & OWN(task)) != 0);
#ifndef DONE_LOOKS_THEN_STORES
        now = state;
#endif
        assert(OF(now) == token);
        assert((now & CLAIMED) != 0 && (now & DONE) == 0);
        home = (now & RUNNING) == 0;
#ifdef DONE_IGNORES_RUN
        home = true;
#endif
#ifndef NO_DONE_ACQUIRE
        acquire(STATE_VIEW);
#endif
        if
        :: home -> end_generation(token)
        :: else -> state = now | DONE
        fi;
#ifndef NO_DONE_RELEASE
        release_more(STATE_VIEW);
#endif
        now = 0
    };
    if
    :: home -> give_slot()
    :: else
    fi
}

/* hcs_deferrals_abandon. alone: the task is the caller's. */
inline abandon(task, token, now, alone)
{
#ifdef ABANDON_LOOKS_THEN_STORES
    token = own[task];
#endif
    atomic { /* [deferral.task] */
#ifndef ABANDON_LOOKS_THEN_STORES
        token = own[task];
#endif
        own[task] = token | NOBODY_WAITS;
#ifndef NO_TOKEN_ACQUIRE
        acquire(OWN_VIEW + task)
#endif
    };
    if
    :: token != 0 ->
#ifdef ABANDON_STATE_LOOKS_THEN_STORES
        now = state;
#endif
        atomic { /* [deferral.state] */
#ifndef ABANDON_STATE_LOOKS_THEN_STORES
            now = state;
#endif
            if
            :: true
            :: (seen[me] & OPENED(token)) == 0 -> now = FREE /* older */
            fi;
            if
            :: OF(now) != token -> skip /* on its way home */
            :: else ->
                alone = (now & (RUNNING | CLAIMED)) == 0;
#ifdef ABANDON_IGNORES_RUN
                alone = (now & CLAIMED) == 0;
#endif
#ifdef ABANDON_IGNORES_CLAIM
                alone = (now & RUNNING) == 0;
#endif
#ifndef NO_ABANDON_ACQUIRE
                acquire(STATE_VIEW);
#endif
                if
                :: alone -> end_generation(token)
                :: else ->
                    state = now | ABANDONED;
                    dead[token] = true
                fi;
#ifndef NO_ABANDON_RELEASE
                release_more(STATE_VIEW)
#endif
            fi;
            now = 0
        };
        if
        :: alone -> give_slot()
        :: else
        fi
    :: else
    fi
}

/* --- Who has a task. */

inline put(task)
{
    atomic { /* [mail] */
        touch(LINK(task));
        assert(!in_box[task]); /* doubled */
        in_box[task] = true;
        release_more(BOX)
    }
}

/* It is the loop's: it may be freed, and mean another request. */
inline end_task(task)
{
    assert(out[task]); /* doubled */
    out[task] = false;
    touch(TASK(task));
    forget(TASK(task))
}

active proctype loop()
{
    byte task, token, now;
    bool alone;
    bool out[TASKS_MAX + 1];
    bool abandoned[TASKS_MAX + 1];

    atomic {
        touch(TASK(1) | TASK(2));
        out[1] = true;
        out[2] = true;
        release_store(CELL_VIEW); /* [cell] */
        has_begun = true
    };
    do
    :: atomic { /* hcs_conn_result */
            in_box[1] || in_box[2];
            acquire(BOX); /* [mail] */
            task = (in_box[1] -> 1 : 2);
            in_box[task] = false;
            end_task(task);
            task = 0
        }
    :: atomic { /* a client leaves, a deadline passes, a drain cuts */
            if
            :: is_taken[1] && out[1] && !abandoned[1] -> task = 1
            :: is_taken[2] && out[2] && !abandoned[2] -> task = 2
            fi;
            abandoned[task] = true
        };
        abandon(task, token, now, alone);
        atomic {
            if
            :: alone -> end_task(task)
            :: else
            fi;
            alone = false;
            token = 0;
            task = 0
        }
    :: atomic { /* or one is lost, and nothing goes on */
            !out[1] && !out[2] && !in_box[1] && !in_box[2];
            assert(slot_is_free);
            break
        }
    od
}

active proctype worker()
{
    byte task, generation, now;
    bool won, home;

    has_begun;
again:
    atomic { /* hcs_queue_pop: [cell] */
        task++;
        acquire(CELL_VIEW);
        is_taken[task] = true;
        touch(OUTPUT(task) | RUN(task))
    };
    if
    :: open_token(task, generation, won)
    :: skip /* it does not */
    fi;
    if
    :: generation != 0 ->
        atomic { /* the handler lets others have it */
            handed = generation;
#ifndef HANDED_RELAXED
            release_store(HAND + generation)
#endif
        };
        atomic { /* and reads on */
            look_at(INPUT(task));
            touch(RUN(task))
        }
    :: else
    fi;
    if /* run_handler */
    :: TOKEN(own[task]) == 0 -> home = true
    :: TOKEN(own[task]) != 0 -> withdraw(generation, now, home)
    :: TOKEN(own[task]) != 0 -> token_returned(generation, now, home);
        goto returned
    fi;
    if
    :: home -> touch(OUTPUT(task)) /* conclude */
    :: else -> token_returned(generation, now, home)
    fi;
returned:
    generation = 0;
    if
    :: home ->
        put(task);
        home = false
    :: else
    fi;
    if
    :: task < TASKS_MAX -> goto again
    :: else
    fi
}

/* Each tries twice at the most. */
active [2] proctype claimer()
{
    byte tries, token, task, now;
    bool home;

    do
    :: atomic {
            tries < 2 && handed != 0;
            tries++;
            if
            :: token = 1
            :: handed == 2 -> token = 2
            fi;
#ifndef HANDED_RELAXED
            acquire(HAND + token)
#endif
        };
        claim(token, now, task);
        if
        :: task != 0 ->
            atomic {
                look_at(INPUT(task));
                touch(OUTPUT(task))
            };
            done(task, token, now, home);
            if
            :: home ->
                home = false;
                put(task)
            :: else
            fi;
            task = 0
        :: else
        fi;
        token = 0
    :: atomic { /* a number that is no token yet */
            tries < 2 && has_block && (state & FREE) != 0;
            tries++;
#ifndef NO_BLOCK_ACQUIRE
            acquire(BLOCK_VIEW); /* [deferral.block] */
#endif
            look_at(BLOCK);
            assert(!MAY_BE_CLAIMED(OF(state), state))
        }
    :: break
    od
}
