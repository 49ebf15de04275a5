/*
 * spares - descriptors that a loop keeps to refuse connections with.
 *
 * When the descriptor table is full, a loop closes one of its spares, accepts a
 * connection under the spare's number, and tells the client why it is refused.
 * When that connection closes, its number becomes a spare again.
 *
 * Owns:    the descriptors in shard->spares.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_SPARES_H
#define HCS_SHARD_SPARES_H

#include "shard/shard.h"

/* If a spare is missing, tries to make one. */
void hcs_spares_refill(struct hcs_shard *shard);

/* Closes a spare. The caller opens a descriptor under its number at once, and
 * then calls hcs_spares_lend; or, if that fails, hcs_spares_refill. False:
 * there is no spare. */
bool hcs_spares_free_one(struct hcs_shard *shard);

/* A connection has the number of the spare that was closed. */
void hcs_spares_lend(struct hcs_shard *shard);

/* Closes the connection under a lent number. The number becomes a spare
 * again. */
void hcs_spares_take_back(struct hcs_shard *shard, int fd);

/* Closes all spares, at the loop's end. */
void hcs_spares_close(struct hcs_shard *shard);

#endif
