/*
 * shard - the record of one loop: its connections and all that they need.
 *
 * The files of this folder form a ladder, and nobody calls up:
 *
 *   run          start, turns, commands of main, end
 *   acceptor     new connections; balance: which loop takes them
 *   conn         events, deadlines and results of a connection
 *   conn_read    bytes to requests: answered, refused, or queued as a job
 *   pages        the daemon's own pages
 *   conn_reply   replies and problem documents
 *   conn_write   bytes to the client, and lingering after the last ones
 *   conn_state   the record of a connection: states, deadlines, the end
 *   exchange     the facts of a request and its reply, counted and logged once
 *   spares       descriptors kept for saying no
 *   transport    the calls on a client's socket
 *   shard        this record
 *
 * Owns:    what run.h says.
 * Threads: the loop's own; command, asked, paused and the counters are for any.
 * Waits:   never.
 */
#ifndef HCS_SHARD_SHARD_H
#define HCS_SHARD_SHARD_H

#include "base/clock.h"
#include "base/random.h"
#include "base/slab.h"
#include "event/loop.h"
#include "http/exchange.h"
#include "http/head.h"
#include "observe/counts.h"
#include "shard/service.h"
#include "sync/mailbox.h"

#include <bsd/sys/queue.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HCS_SHARD_IN = 64 * 1024,  /* bytes of one read */
    HCS_SHARD_OUT = 64 * 1024, /* of replies that leave together */
    HCS_SHARD_SPARES = 8,      /* descriptors kept for saying no */
};

struct hcs_conn;

enum hcs_command {
    HCS_COMMAND_RUN,
    HCS_COMMAND_DRAIN, /* accept what has connected, answer all, end */
    HCS_COMMAND_CUT,   /* end now: 503 for what still waits */
};

/* A listener, as its loop has it. */
struct hcs_shard_listener {
    struct hcs_watch watch; /* first, so that the one is the other */
    struct hcs_shard *shard;
    int fd;        /* -1: closed */
    unsigned site; /* which of the service's sites its clients are served */
    bool watched;
};

TAILQ_HEAD(hcs_conn_list, hcs_conn);

struct hcs_shard {
    struct hcs_mailbox mailbox; /* first, for its alignment */
    struct hcs_counts counts;
    struct hcs_service *service;
    unsigned index;
    struct hcs_loop loop;
    struct hcs_watch bell; /* the mailbox's descriptor */

    struct hcs_shard_listener *listeners;
    unsigned listener_count;
    bool is_open;          /* until they are closed */
    bool inherited;        /* from a service manager, who goes on using them */
    bool shared;           /* other loops wait at the same ones: balance.h */
    _Atomic bool paused;   /* does not wait there; its own loop stores it */
    _Atomic bool asked;    /* to wait there and look: by another loop */
    bool descriptor_freed; /* in this turn: what waits there may be accepted */
    struct hcs_timer accept_timer; /* to try again, or quiet during drain */
    uint64_t accept_until_ms;      /* drain: the latest end of accepting */
    bool accept_stalled;           /* stopped before EAGAIN: no edge comes */
    int spares[HCS_SHARD_SPARES];
    unsigned spare_count;
    unsigned spares_lent;      /* to connections that are refused */
    struct hcs_conn_list shed; /* refused, and only lingering; oldest first */
    unsigned shed_count;
    struct hcs_conn_list closed; /* in this turn; freed at its end */
    unsigned lingering;

    _Atomic int command;        /* enum hcs_command, by main */
    enum hcs_command applied;   /* the last one that this loop has applied */
    struct hcs_timer end_timer; /* after a cut, what is left is closed */

    struct hcs_slab *conns;
    struct hcs_slab *requests;
    struct hcs_parser parser;
    struct hcs_random random;
    bool submitted; /* jobs in this turn: wake a worker at its end */
    char *in;       /* HCS_SHARD_IN */
    char *out;      /* HCS_SHARD_OUT */
    size_t out_length;
    uint64_t realtime_offset_ms; /* CLOCK_REALTIME less CLOCK_MONOTONIC */
    uint64_t date_s;             /* which second date shows */
    char date[HCS_HTTP_DATE_LENGTH];
};

/* --- For any thread. */

/* Asks the loop to wait at its listeners, and to look at once what is there. */
void hcs_shard_ask(struct hcs_shard *shard);

/* Whether the loop does not wait at the listeners; as of lately. */
bool hcs_shard_is_paused(const struct hcs_shard *shard);

/* Connections that the loop has open; as of lately. */
uint64_t hcs_shard_connections(const struct hcs_shard *shard);

/* --- For the loop itself. */

/* The time of this turn, for people. */
uint64_t hcs_shard_realtime_ms(const struct hcs_shard *shard);

/* The value of a Date field: HCS_HTTP_DATE_LENGTH bytes, lent until the next
 * call. */
const char *hcs_shard_date(struct hcs_shard *shard);

/* A new identifier of a request (UUIDv7, RFC 9562). */
void hcs_shard_make_id(struct hcs_shard *shard, char out[HCS_EXCHANGE_ID_MADE]);

#endif
