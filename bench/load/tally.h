/*
 * tally - counts how every connection and every request ended.
 *
 * Each request that is due ends in exactly one outcome. Code that prints a
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
    OUTCOME_ANSWERED, /* a whole reply, of any status but those below */
    OUTCOME_REFUSED,  /* a whole reply with status 429 or 503 */
    OUTCOME_FAILED,   /* not sent, not sent whole, or the reply is broken */
    OUTCOME_LOST,     /* sent whole, but no reply came */
    OUTCOMES,
};

/* Why a request failed or was lost, or a connection ended in an unusual way.
 * FAULT_WORDS holds the words. */
enum fault {
    FAULT_CONNECT_REFUSED,
    FAULT_CONNECT_TIMEOUT,
    FAULT_CONNECT_ERROR,
    FAULT_NO_DESCRIPTOR, /* the client has none left */
    FAULT_NO_PORT,       /* the client's source address has none left */
    FAULT_NOT_SENT,      /* due, but no connection was free in time */
    FAULT_SEND_ERROR,
    FAULT_CLOSED,     /* by a FIN, before the first byte of a reply */
    FAULT_RESET,      /* by a reset, before the first byte of a reply */
    FAULT_TIMEOUT,    /* no byte came for --timeout */
    FAULT_CUT_REPLY,  /* the connection ended within a reply */
    FAULT_BAD_REPLY,  /* not HTTP, or bytes behind the reply */
    FAULT_UNASKED,    /* bytes on a connection without a request */
    FAULT_LEFT_OPEN,  /* by the server, after a reply with Connection: close */
    FAULT_UNFINISHED, /* not over when this program ended */
    FAULTS,
};

extern const char *const FAULT_WORDS[FAULTS];
extern const char *const OUTCOME_WORDS[OUTCOMES];

enum { STATUS_MOST = 600 }; /* higher status codes count as 0 */

struct tally { /* all zero: nothing was counted */
    _Atomic uint64_t opened;
    _Atomic uint64_t open_failed;
    _Atomic uint64_t open_now;
    _Atomic uint64_t most_open;
    _Atomic uint64_t closed_by_server; /* while no request was under way */
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

/* Called only by the tally's writer. */
static inline void tally_add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(
        counter, tally_get(counter) + value, memory_order_relaxed);
}

/* Adds other to sum, less base, which is an earlier state of other. open_now
 * and most_open are levels, and not counts: they are added without base. No
 * other thread uses sum. */
void tally_sum(
    struct tally *sum, const struct tally *other, const struct tally *base);

/* Whether every request that was due has had one outcome. */
bool tally_adds_up(const struct tally *t);

#endif
