/*
 * acceptor - new connections of a loop, from its listeners.
 *
 * Owns:    the loop's copies of the listeners.
 * Threads: the shard's loop.
 * Waits:   never, but for another loop's accept where all share one table.
 */
#ifndef HCS_SHARD_ACCEPTOR_H
#define HCS_SHARD_ACCEPTOR_H

#include "shard/shard.h"

/* For the listeners that the record names. 0, or -errno: not all of them are
 * waited at. */
int hcs_acceptor_open(struct hcs_shard *shard);

/* The callback of a listener's watch. */
void hcs_acceptor_ready(struct hcs_watch *watch, uint32_t seen);

/* Another loop asked this one to wait at the listeners, and to look at once. */
void hcs_acceptor_come_when_asked(struct hcs_shard *shard);

/* Descriptors were freed in this turn: what waits may be accepted now. */
void hcs_acceptor_descriptor_freed(struct hcs_shard *shard);

/* The accept timer has passed. */
void hcs_acceptor_expired(struct hcs_shard *shard);

/* Accepts what has connected, until it is quiet, and then closes. */
void hcs_acceptor_drain(struct hcs_shard *shard);

void hcs_acceptor_close(struct hcs_shard *shard);

#endif
