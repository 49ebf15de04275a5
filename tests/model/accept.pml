/*
 * accept - loops that wait at one listener, of which some pause.
 *
 * Mirrors:  hcs_acceptor_ready, accept_batch, pause_accepting and
 *           resume_accepting in src/shard/acceptor.c, on_bell in
 *           src/shard/run.c, hcs_shard_ask in src/shard/shard.c,
 *           hcs_balance_hand_over in src/shard/balance.c, hcs_loop_run in
 *           src/event/loop.c; of the kernel, what a listener does with
 *           EPOLLEXCLUSIVE | EPOLLET.
 * Claims:   when nothing happens any more, the backlog is empty; each
 *           connection is accepted once; a loop is asked only where that has a
 *           use.
 * Left out: how many connections a loop has. Which loop pauses, which one it asks,
 *           and which one comes back by itself are free choices here, so nothing depends on
 *           counters being new or right. Memory: what passes between loops goes
 *           through the kernel's locks, of the eventfd (mailbox.pml) and of the
 *           listener. Accepting that fails, which a timer tries again.
 * Size:     three loops, four connections, of which one may leave.
 */
#define LOOPS 3
#define CONNECTIONS 4

byte backlog;
byte accepted;
byte arrived;
bool waits[LOOPS] = true; /* its epoll is in the listener's wait queue */
bool ready[LOOPS];   /* the listener is in its epoll's ready list */
bool bell[LOOPS];    /* an edge of its doorbell */
bool asked[LOOPS];   /* [shard.asked] */
bool paused[LOOPS];
bool again[LOOPS];   /* hcs_loop_post of its watch */

/* ep_poll_callback and __wake_up_common tell the first loop that sleeps, and
 * those before it in the queue; when none sleeps, all. Nothing here needs as
 * much: one that waits is told, whichever, asleep or awake. */
inline tell()
{
    if
    :: waits[0] -> ready[0] = true
    :: waits[1] -> ready[1] = true
    :: waits[2] -> ready[2] = true
    :: !waits[0] && !waits[1] && !waits[2]
    fi
}

active proctype clients()
{
    do
    :: arrived < CONNECTIONS ->
        atomic {
            arrived++;
            backlog++;
            tell()
        }
    :: else -> break
    od
}

/* EPOLL_CTL_ADD: what waits already makes it ready at once (ep_insert). */
inline watch_all()
{
    atomic {
        if
        :: !waits[i] ->
            waits[i] = true;
#ifndef ADD_TELLS_NOTHING
            ready[i] = (backlog > 0)
#endif
        :: else
        fi;
        paused[i] = false
    }
}

inline ask(other)
{
    atomic { /* hcs_shard_ask [shard.asked] */
#ifndef LEAVES_SILENTLY
        asked[other] = true;
        bell[other] = true /* [bell] */
#else
        skip
#endif
    }
}

inline stop_waiting()
{
    atomic {
        waits[i] = false;
        ready[i] = false;
        again[i] = false;
        paused[i] = true
    }
}

inline pause_accepting()
{
#ifdef ASKS_FIRST
    ask((i + 1 + choice) % LOOPS);
    stop_waiting();
#else
    stop_waiting();
    ask((i + 1 + choice) % LOOPS);
#endif
    choice = 0
}

/* Takes until there is none, or it pauses, or it has done enough for a turn. */
inline accept_batch()
{
    do
    :: atomic {
        backlog > 0 ->
        backlog--;
        accepted++
       };
       if
       :: true /* goes on */
       :: choice = 0; pause_accepting(); break
       :: choice = 1; pause_accepting(); break
       :: atomic {
#ifndef STOPS_EARLY
            again[i] = true;
#endif
            break
          }
       fi
    :: atomic { backlog == 0 -> break } /* EAGAIN */
    od
}

inline resume_accepting()
{
#ifdef LOOKS_THEN_WAITS
    accept_batch();
    watch_all()
#else
    watch_all();
#ifndef ATTENDS_WITHOUT_A_LOOK
    accept_batch()
#endif
#endif
}

/* Events are taken one a turn, in any order; the kernel gives several, which
 * is the same without the sleep between them. */
proctype loop(byte i)
{
    byte choice;
    bool leaves; /* a connection of its, some time */

    if
    :: i == 0 -> leaves = true
    :: true
    fi;
end_sleeping: /* epoll_wait */
    if
    :: atomic {
        ready[i] ->
        ready[i] = false
       };
       accept_batch()
    :: atomic {
        bell[i] ->
        bell[i] = false;
        if
        :: asked[i] -> asked[i] = false /* [shard.asked] */
        :: else -> goto end_sleeping
        fi
#ifdef ONLY_WHO_RESTS_COMES
        ;
        if
        :: !paused[i] -> goto end_sleeping
        :: else
        fi
#endif
       };
       resume_accepting()
    :: atomic { /* hcs_loop_post */
        again[i] ->
        again[i] = false
       };
       if
       :: paused[i] -> resume_accepting()
       :: else -> accept_batch()
       fi
    :: atomic { /* it is closed: a paused loop may be under its share now */
        leaves && accepted > 0 && paused[i] ->
        leaves = false
       };
       resume_accepting()
    fi;
    goto end_sleeping
}

init {
    atomic {
        byte n = 0;
        do
        :: n < LOOPS ->
            run loop(n);
            n++
        :: else -> break
        od
    }
}

/* When no process can do anything. */
active proctype quiet()
{
    timeout ->
    assert(arrived == CONNECTIONS);
    assert(backlog == 0); /* else it waits for ever */
    assert(accepted == CONNECTIONS)
}
