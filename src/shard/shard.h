/*
 * shard - one loop's share of the daemon: its connections and all they need.
 *
 * Owns:    loop, mailbox, listeners, slabs, buffers and counters; the
 *          connections in it.
 * Threads: create and destroy by main; run by the loop's own thread; command
 *          and the counters' readers from any.
 * Waits:   run only.
 */
#ifndef HCS_SHARD_SHARD_H
#define HCS_SHARD_SHARD_H

#include "base/clock.h"
#include "base/random.h"
#include "base/slab.h"
#include "event/loop.h"
#include "http/head.h"
#include "observe/counts.h"
#include "shard/service.h"
#include "sync/mailbox.h"

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
struct hcs_entrance {
    struct hcs_watch watch;
    struct hcs_shard *shard;
    int fd; /* -1: closed */
    bool watched;
};

/* A list of connections that were refused and only linger: oldest first. */
struct hcs_conn_list {
    struct hcs_conn *first;
    struct hcs_conn **end;
    unsigned count;
};

struct hcs_shard {
    struct hcs_mailbox mailbox; /* first, for its alignment */
    struct hcs_counts counts;
    struct hcs_service *service;
    unsigned index;
    struct hcs_loop loop;
    struct hcs_watch bell; /* the mailbox's descriptor */

    struct hcs_entrance *entrances;
    unsigned entrance_count;
    bool is_open;       /* until they are closed */
    bool handed;        /* over by a service manager, who goes on using them */
    bool shares;        /* other loops wait at the same ones: balance.h */
    _Atomic bool rests; /* does not wait there; its own loop stores it */
    _Atomic bool asked; /* to wait there and look: by another loop */
    struct hcs_timer accept_timer; /* to try again, or quiet during drain */
    uint64_t accept_until_ms;      /* drain: the latest end of accepting */
    bool accept_stalled;           /* stopped before EAGAIN: no edge comes */
    int spares[HCS_SHARD_SPARES];
    unsigned spare_count;
    unsigned spares_lent; /* to connections that are refused */
    struct hcs_conn_list shed;
    struct hcs_conn *closed; /* in this turn; freed at its end */
    unsigned lingering;

    _Atomic int command; /* enum hcs_command, by main */
    enum hcs_command obeyed;
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

enum hcs_shard_door { /* where a shard's listeners come from */
    HCS_DOOR_OWN,     /* opened for this loop: filtered before they close */
    HCS_DOOR_HANDED,  /* by a service manager, for this loop alone */
    HCS_DOOR_SHARED,  /* by a service manager; all loops wait at them */
};

/* Takes the listeners (their numbers in the table of the thread that will run
 * it; in private tables they are copies). NULL when there is no memory or no
 * descriptor. */
struct hcs_shard *hcs_shard_create(struct hcs_service *service, unsigned index,
    const int *listeners, unsigned count, enum hcs_shard_door door);

/* After its thread has ended and the pool has stopped: late results are
 * counted and freed. */
void hcs_shard_destroy(struct hcs_shard *shard);

/* On the thread that will run it, in its own descriptor table if it is to have
 * one. 0, or -errno. */
int hcs_shard_open(struct hcs_shard *shard);

/* Serves until a command ends it; closes what open opened. */
void hcs_shard_run(struct hcs_shard *shard);

/* From any thread. A later command never goes back to an earlier one. */
void hcs_shard_command(struct hcs_shard *shard, enum hcs_command command);

/* --- For other loops that share its listeners. */

/* Asks it to attend: to wait at the listeners, and to look at once what is
 * there. From any thread. */
void hcs_shard_ask(struct hcs_shard *shard);

/* It does not wait at the listeners; as of lately. */
bool hcs_shard_rests(const struct hcs_shard *shard);

/* --- For connections. */

/* Closes the connection of a spare descriptor, which becomes a spare again. */
void hcs_shard_close_lent(struct hcs_shard *shard, int fd);

/* A descriptor was closed: what waits in the listener may be accepted now. */
void hcs_shard_descriptor_freed(struct hcs_shard *shard);

/* The time of this turn, for people. */
uint64_t hcs_shard_realtime_ms(const struct hcs_shard *shard);

#endif
