/*
 * acceptor - accepts the new connections of a loop at its listeners.
 *
 * Owns:    the loop's copies of the listeners.
 * Threads: the shard's loop.
 * Waits:   never; if all loops share one descriptor table, for another loop's
 *          accept.
 */
#ifndef HCS_SHARD_ACCEPTOR_H
#define HCS_SHARD_ACCEPTOR_H

#include "shard/shard.h"

/* Has the loop wait at all listeners of its record. 0, or -errno: the loop does
 * not wait at some of them. */
int hcs_acceptor_open(struct hcs_shard *shard);

/* The callback of a listener's watch. */
void hcs_acceptor_ready(struct hcs_watch *watch, uint32_t seen);

/* Another loop has asked this loop to wait at the listeners. Waits there, and
 * accepts at once what has connected. */
void hcs_acceptor_come_when_asked(struct hcs_shard *shard);

/* Descriptors were freed in this turn: waiting connections may be accepted
 * now. */
void hcs_acceptor_descriptor_freed(struct hcs_shard *shard);

/* The accept timer has passed. */
void hcs_acceptor_expired(struct hcs_shard *shard);

/* Accepts what has connected. When no connection has come for a while, closes
 * the listeners. */
void hcs_acceptor_drain(struct hcs_shard *shard);

void hcs_acceptor_close(struct hcs_shard *shard);

#endif
