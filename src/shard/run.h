/*
 * run - a shard's start, turns, commands from main, and end.
 *
 * Owns:    loop, mailbox, listeners, slabs, buffers and counters of the shard;
 *          the connections in it.
 * Threads: create and destroy by main; open and run by the loop's own thread;
 *          command by any thread.
 * Waits:   hcs_shard_run only.
 */
#ifndef HCS_SHARD_RUN_H
#define HCS_SHARD_RUN_H

#include "shard/shard.h"

/* Where a shard's listeners come from. */
enum hcs_listener_origin {
    HCS_LISTENER_OWN,       /* opened for this loop: a filter drops new
                               connections before they close */
    HCS_LISTENER_INHERITED, /* from a service manager, for this loop alone */
    HCS_LISTENER_SHARED,    /* from a service manager, for all loops */
};

/* Takes ownership of the listeners. Their numbers are those in the descriptor
 * table of the loop's thread: in a private table they are copies. NULL: there
 * is no memory or no descriptor. */
struct hcs_shard *hcs_shard_create(struct hcs_service *service, unsigned index,
    const int *listeners, unsigned count, enum hcs_listener_origin origin);

/* Called after the loop's thread has ended and the pool has stopped. Counts and
 * frees late results. NULL is allowed. */
void hcs_shard_destroy(struct hcs_shard *shard);

/* Called on the loop's thread, after it got its own descriptor table, if it
 * gets one. 0, or -errno. */
int hcs_shard_open(struct hcs_shard *shard);

/* Serves until a command ends the loop. Closes what hcs_shard_open opened. */
void hcs_shard_run(struct hcs_shard *shard);

/* Gives the loop a command, in the order of enum hcs_command: the loop never
 * goes back to an earlier one. Called on any thread. */
void hcs_shard_command(struct hcs_shard *shard, enum hcs_command command);

#endif
