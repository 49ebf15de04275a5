/*
 * shard - the record of one loop: its connections and all that they need.
 *
 * The files of this folder form a ladder. A file calls only files below it:
 *
 *   run          start, turns, commands from main, end
 *   acceptor     new connections; balance: which loop takes them
 *   conn         events, deadlines and results of a connection
 *   conn_read    requests, which are answered, refused or queued as a job
 *   pages        the daemon's own pages
 *   conn_reply   replies and problem documents
 *   conn_write   sending bytes, and lingering after the last ones
 *   conn_state   the record of a connection: states, deadlines, the end
 *   exchange     the facts of a request and its reply, counted and logged once
 *   spares       descriptors kept to refuse connections with
 *   transport    the calls on a client's socket
 *   shard        this record
 *
 * Owns:    what run.h says.
 * Threads: the loop's own. Any thread may use command, asked, paused and the
 *          counters.
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
    HCS_SHARD_OUT = 64 * 1024, /* bytes of replies that are sent together */
    HCS_SHARD_SPARES = 8,      /* descriptors kept to refuse connections with */
};

struct hcs_conn;

enum hcs_command {
    HCS_COMMAND_RUN,
    HCS_COMMAND_DRAIN, /* accept what has connected, answer all, end */
    HCS_COMMAND_CUT,   /* end now: requests that still wait get 503 */
};

/* A loop's copy of a listener. */
struct hcs_shard_listener {
    struct hcs_watch watch; /* first: a watch is cast to its listener */
    struct hcs_shard *shard;
    int fd;        /* -1: closed */
    unsigned site; /* index of the site that serves its clients */
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
    bool is_open;        /* the listeners are not closed yet */
    bool inherited;      /* the service manager goes on using the listeners */
    bool shared;         /* other loops wait at the same listeners: balance.h */
    _Atomic bool paused; /* this loop does not wait there, and says so here */
    _Atomic bool asked;  /* another loop asks this one to wait there and look */
    bool descriptor_freed;         /* in this turn: accepting may succeed now */
    struct hcs_timer accept_timer; /* after a stall; drain: quiet for a while */
    uint64_t accept_until_ms;      /* drain: the latest end of accepting */
    bool accept_stalled; /* stopped before EAGAIN: no edge will come */
    int spares[HCS_SHARD_SPARES];
    unsigned spare_count;
    unsigned spares_lent;      /* to connections that were refused */
    struct hcs_conn_list shed; /* refused, and lingering; oldest first */
    unsigned shed_count;
    struct hcs_conn_list closed; /* in this turn; freed at the turn's end */
    unsigned lingering;

    _Atomic int command;      /* enum hcs_command; main stores it */
    enum hcs_command applied; /* the last command that this loop has applied */
    struct hcs_timer end_timer; /* after a cut: closes what is still open */

    struct hcs_slab *conns;
    struct hcs_slab *requests;
    struct hcs_parser parser;
    struct hcs_random random;
    bool submitted; /* a job in this turn: wake a worker at the turn's end */
    char *in;       /* HCS_SHARD_IN */
    char *out;      /* HCS_SHARD_OUT */
    size_t out_length;
    uint64_t realtime_offset_ms; /* CLOCK_REALTIME less CLOCK_MONOTONIC */
    uint64_t date_s;             /* the second that date shows */
    char date[HCS_HTTP_DATE_LENGTH];
};

/* --- For any thread. */

/* Asks the loop to wait at its listeners, and to accept at once what is
 * there. */
void hcs_shard_ask(struct hcs_shard *shard);

/* Whether the loop does not wait at the listeners. On another thread the answer
 * may be a moment old. */
bool hcs_shard_is_paused(const struct hcs_shard *shard);

/* How many connections the loop has open. On another thread the answer may be a
 * moment old. */
uint64_t hcs_shard_connections(const struct hcs_shard *shard);

/* --- For the loop itself. */

/* The time of this turn, as milliseconds since 1970. */
uint64_t hcs_shard_realtime_ms(const struct hcs_shard *shard);

/* The value of a Date field: HCS_HTTP_DATE_LENGTH bytes, lent until the next
 * call. */
const char *hcs_shard_date(struct hcs_shard *shard);

/* A new identifier of a request (UUIDv7, RFC 9562). */
void hcs_shard_make_id(struct hcs_shard *shard, char out[HCS_EXCHANGE_ID_MADE]);

#endif
