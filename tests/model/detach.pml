/*
 * detach - deadlines and leaving clients against workers, over one record.
 *
 * Mirrors:  drop_request and hcs_conn_close in src/shard/conn_state.c;
 *           refuse_working, hcs_conn_result and working_expired in conn.c;
 *           hcs_conn_submit in conn_read.c; run in src/job/worker.c; the state in
 *           src/sync/queue.c; hcs_request_init and hcs_request_fini. Of a job
 *           that is not deferred: else deferral.pml.
 * Claims:   a request is answered at most once, and with what was computed from
 *           it, or with a refusal; of a client that left none is answered; no
 *           record is given back while queue, worker or mailbox have it, and
 *           each is in the end; late results are told from dead entries.
 * Left out: the ring and the mailbox themselves, which are proved in queue.pml
 *           and mailbox.pml: here a line of tasks and a heap of results with
 *           the orders that they give.
 * Size:     one connection at a time, three requests one after the other, two
 *           records that are used again, two workers. Deadlines and the
 *           client's leaving come at any moment.
 */
#define REQUESTS 3
#define RECORDS 2
#define TASKS_MAX RECORDS

/* Threads are 0 .. 2. */
#define STATE_VIEW 2 /* of records 1 and 2: 3 and 4 */
#define CELL_VIEW 4  /* of their entries: 5 and 6 */
#define BOX 7
#define VIEWS 8

#define FIRST_SEEN 0
#define LINK(record) (1 << (record)) /* task.next, home, brief */
#define BODY(record) (4 << (record)) /* what the worker writes: out, reason */
#define STATE(record) (16 << (record))
#define BYTES(record) (64 << (record)) /* in: written by the loop, then read by
                                          loop and worker at the same time */
#define ALL_DATA 511

#include "memory.inc"

#define IDLE 0
#define QUEUED 1
#define TAKEN 2
#define CANCELLED 3

byte state[RECORDS + 1];
byte asked[RECORDS + 1];    /* input: the number of the request */
byte computed[RECORDS + 1]; /* output: of the request that it is for */
bool in_box[RECORDS + 1];
chan line = [RECORDS] of { byte };
bool over;

inline decide(record, next)
{
    state[record] = next;
    mine_alone(STATE(record))
}

/* A read while others may read: it must know of the last write. */
inline look_at(data)
{
    assert((has[me] & (data)) != 0) /* else a data race */
}

/* --- Workers. */

inline put(record)
{
    atomic { /* [mail] */
        touch(LINK(record));
        assert(!in_box[record]); /* doubled */
        in_box[record] = true;
#ifndef NO_PUT_RELEASE
        release_more(BOX)
#endif
    }
}

active [2] proctype worker()
{
    byte record, input;
    bool won;

    do
    :: atomic { /* the cell at the head: [cell] */
            line ? record;
#ifndef NO_EMPTY_ACQUIRE
            acquire(CELL_VIEW + record)
#endif
        };
#ifdef POP_LOOKS_THEN_STORES
        atomic { won = (state[record] == QUEUED) };
#endif
        atomic { /* hcs_queue_pop [task.state] */
#ifndef POP_LOOKS_THEN_STORES
            won = (state[record] == QUEUED);
#endif
#ifndef NO_POP_ACQUIRE
            acquire(STATE_VIEW + record);
#endif
            if
            :: won ->
                decide(record, TAKEN);
#ifndef NO_POP_RELEASE
                release_more(STATE_VIEW + record)
#endif
            :: else -> has[me] = has[me] | STATE(record)
            fi
        };
        if
        :: won ->
            won = false;
            atomic { /* [request.started] relaxed: nothing needs it */
                look_at(BYTES(record));
                input = asked[record]
            };
            atomic {
                look_at(BYTES(record));
                assert(asked[record] == input);
                touch(BODY(record));
                computed[record] = input;
                input = 0
            };
            put(record)
        :: else ->
#ifndef DEAD_ENTRY_IS_DROPPED
            put(record) /* send_home */
#endif
        fi;
        record = 0
    :: over -> break
    od
}

/* --- The loop. */

inline decide_or_lose()
{
#ifdef CANCEL_LOOKS_THEN_STORES
    atomic { won = (state[record] == QUEUED) };
#endif
    atomic { /* hcs_queue_cancel [task.state] */
#ifndef CANCEL_LOOKS_THEN_STORES
        won = (state[record] == QUEUED);
#endif
#ifndef NO_CANCEL_ACQUIRE
        acquire(STATE_VIEW + record);
#endif
        if
        :: won ->
            decide(record, CANCELLED);
#ifndef NO_CANCEL_RELEASE
            release_more(STATE_VIEW + record)
#endif
        :: else -> has[me] = has[me] | STATE(record)
        fi
    }
}

/* drop_request, WORKING. The hint to the handler is relaxed:
 * [request.cancelled]. */
inline drop_request()
{
#ifndef CONN_STAYS
    conn[record] = 0;
#endif
    decide_or_lose();
    atomic {
        if
#ifdef FINI_ALWAYS
        :: true ->
#else
        :: won || state[record] == CANCELLED -> /* hcs_request_fini */
#endif
            touch(BODY(record));
            touch(BYTES(record))
        :: else
        fi;
#ifdef FREE_AT_DETACH
        used[record] = false;
#endif
        record = 0;
        won = false
    }
}

inline refuse_working()
{
    atomic {
        look_at(BYTES(record)); /* hcs_exchange_from_request */
        assert(asked[record] == asking);
        asking = 0
    };
    drop_request()
}

active proctype loop()
{
    byte record;          /* c->request */
    byte conn[3];         /* request->waiter.owner; 0: NULL */
    bool used[3];         /* not in the slab */
    byte client = 1;      /* which connection it is */
    byte asking, request; /* which waits for its answer; the last sent */
    byte r;
    bool won;

turn:
    /* on_turned, hcs_conn_result */
    atomic {
#ifndef NO_TAKE_ACQUIRE
        acquire(BOX); /* [mail] */
#endif
        r = 1;
        do
        :: r <= RECORDS && in_box[r] ->
            in_box[r] = false;
            touch(LINK(r));
            touch(BODY(r));
            if
            :: conn[r] == 0 -> /* late, or dead: [task.state] relaxed */
                assert((has[me] & STATE(r)) != 0);
                assert(state[r] == TAKEN || state[r] == CANCELLED);
                assert((computed[r] != 0) == (state[r] == TAKEN))
            :: conn[r] != 0 -> /* the client that is there now asked this */
                assert(r == record && conn[r] == client);
                assert(asking != 0 && computed[r] == asking);
                asking = 0;
                record = 0
            fi;
            conn[r] = 0;
            used[r] = false; /* hcs_conn_release_request */
            touch(BYTES(r));
            r++
        :: r <= RECORDS && !in_box[r] -> r++
        :: r > RECORDS -> break
        od;
        r = 0
    };
    if
    :: atomic { /* IDLE: a request, and a record for it */
            asking == 0 && request < REQUESTS && !(used[1] && used[2]);
            record = (used[1] -> 2 : 1);
            used[record] = true;
            request++;
            asking = request;
            conn[record] = client;
            /* hcs_request_init */
            touch(LINK(record));
            touch(BODY(record));
            touch(BYTES(record));
            computed[record] = 0;
            asked[record] = request;
            decide(record, QUEUED); /* [task.state] relaxed store */
            relaxed_store(STATE_VIEW + record)
        };
        atomic { /* the cell at the tail: [cell] */
            line ! record;
#ifndef NO_FILL_RELEASE
            release_store(CELL_VIEW + record)
#else
            relaxed_store(CELL_VIEW + record)
#endif
        }
    :: asking != 0 -> /* working_expired: QUEUE_TIMEOUT */
        decide_or_lose();
        if
        :: won -> refuse_working()
        :: else
        fi
    :: asking != 0 -> /* working_expired: JOB_TIMEOUT, [task.state] relaxed */
        atomic {
            if
            :: won = (state[record] != QUEUED)
            :: (has[me] & STATE(record)) == 0 -> won = false /* older */
            fi
        };
        if
        :: won ->
            won = false;
            refuse_working()
        :: else
        fi
    :: asking != 0 -> refuse_working() /* cut: DRAINING */
    :: asking != 0 -> /* the client leaves: hcs_conn_close */
        atomic {
            asking = 0;
            client++
        };
        drop_request()
    :: in_box[1] || in_box[2] /* the doorbell, which mailbox.pml proves */
    :: asking == 0 && request == REQUESTS && !used[1] && !used[2] ->
        over = true;
        goto ended
    fi;
    goto turn;
ended:
    skip
}
