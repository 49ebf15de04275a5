/*
 * tally - what became of every connection and every request.
 *
 * Each request that is due ends in exactly one outcome, and whoever prints a
 * tally checks that the sum is right.
 *
 * Owns:    its counters, in memory that parent and children share.
 * Threads: the child whose tally it is writes; the parent reads meanwhile.
 * Waits:   never.
 */
#ifndef HCS_LOAD_TALLY_H
#define HCS_LOAD_TALLY_H

#include "histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum outcome {
    OUTCOME_ANSWERED, /* a whole reply, of whatever status but those below */
    OUTCOME_REFUSED,  /* a whole reply that says: not now (429, 503) */
    OUTCOME_FAILED,   /* not sent, not sent whole, or the reply is broken */
    OUTCOME_LOST,     /* sent whole, and nothing came back */
    OUTCOMES,
};

/* Why a request failed or was lost, or a connection ended in a strange way.
 * The words are FAULT_WORDS's. */
enum fault {
    FAULT_CONNECT_REFUSED,
    FAULT_CONNECT_TIMEOUT,
    FAULT_CONNECT_ERROR,
    FAULT_NO_DESCRIPTOR, /* ours */
    FAULT_NO_PORT,       /* ours, for this source address */
    FAULT_NOT_SENT,      /* due, and no connection was free in time */
    FAULT_SEND_ERROR,
    FAULT_CLOSED,     /* in order, before the first byte of a reply */
    FAULT_RESET,      /* likewise, but by a reset */
    FAULT_TIMEOUT,    /* nothing came for --timeout */
    FAULT_CUT_REPLY,  /* the connection ended within a reply */
    FAULT_BAD_REPLY,  /* not HTTP, or more than the reply */
    FAULT_UNASKED,    /* bytes on a connection that had asked for nothing */
    FAULT_LEFT_OPEN,  /* by the server, after a reply that said close */
    FAULT_UNFINISHED, /* cut by our own end */
    FAULTS,
};

extern const char *const FAULT_WORDS[FAULTS];
extern const char *const OUTCOME_WORDS[OUTCOMES];

enum { STATUS_MOST = 600 }; /* status codes below; others count as 0 */

struct tally { /* all zero: nothing happened */
    _Atomic uint64_t opened;
    _Atomic uint64_t open_failed;
    _Atomic uint64_t open_now;
    _Atomic uint64_t most_open;
    _Atomic uint64_t closed_by_server; /* while no request was on the way */
    _Atomic uint64_t due;
    _Atomic uint64_t sent; /* whole */
    _Atomic uint64_t reply_bytes;
    _Atomic uint64_t outcomes[OUTCOMES];
    _Atomic uint64_t faults[FAULTS];
    _Atomic uint64_t statuses[STATUS_MOST];
    struct histogram latency; /* of whole replies */
};

static inline uint64_t tally_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* By the one writer. */
static inline void tally_add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(
        counter, tally_get(counter) + value, memory_order_relaxed);
}

/* Adds other to sum, less what base, an earlier state of it, had; open_now and
 * most_open are levels and no counts, and are added as they are. sum is the
 * caller's alone. */
void tally_sum(
    struct tally *sum, const struct tally *other, const struct tally *base);

/* Every request that was due has had one outcome. */
bool tally_adds_up(const struct tally *t);

#endif
