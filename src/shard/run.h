/*
 * run - the life of a shard: start, turns, commands of main, end.
 *
 * Owns:    loop, mailbox, listeners, slabs, buffers and counters of the shard;
 *          the connections in it.
 * Threads: create and destroy by main; open and run by the loop's own thread;
 *          command by any.
 * Waits:   hcs_shard_run only.
 */
#ifndef HCS_SHARD_RUN_H
#define HCS_SHARD_RUN_H

#include "shard/shard.h"

/* Where a shard's listeners come from. */
enum hcs_listener_origin {
    HCS_LISTENER_OWN,       /* opened for this loop: filtered before they
                               close */
    HCS_LISTENER_INHERITED, /* from a service manager, for this loop alone */
    HCS_LISTENER_SHARED,    /* from a service manager; all loops wait there */
};

/* Takes the listeners (their numbers in the table of the thread that will run
 * it; in private tables they are copies). NULL when there is no memory or no
 * descriptor. */
struct hcs_shard *hcs_shard_create(struct hcs_service *service, unsigned index,
    const int *listeners, unsigned count, enum hcs_listener_origin origin);

/* After its thread has ended and the pool has stopped: late results are
 * counted and freed. NULL is allowed. */
void hcs_shard_destroy(struct hcs_shard *shard);

/* On the thread that will run it, in its own descriptor table if it is to have
 * one. 0, or -errno. */
int hcs_shard_open(struct hcs_shard *shard);

/* Serves until a command ends it; closes what open opened. */
void hcs_shard_run(struct hcs_shard *shard);

/* From any thread. A later command never goes back to an earlier one. */
void hcs_shard_command(struct hcs_shard *shard, enum hcs_command command);

#endif
