/*
 * spares - descriptors that a loop keeps for saying no.
 *
 * When the table is full, a loop closes one of its spares, accepts a connection
 * under the number, and tells the client why it is refused. When that
 * connection closes, its number becomes a spare again.
 *
 * Owns:    the descriptors in shard->spares.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_SPARES_H
#define HCS_SHARD_SPARES_H

#include "shard/shard.h"

/* Makes one more where one is missing, if it can. */
void hcs_spares_refill(struct hcs_shard *shard);

/* Closes one, for the caller to open its number at once. False: there is none.
 * Afterwards the caller calls hcs_spares_lend or hcs_spares_refill. */
bool hcs_spares_free_one(struct hcs_shard *shard);

/* The number that was freed is a connection now. */
void hcs_spares_lend(struct hcs_shard *shard);

/* Closes the connection under a lent number, which becomes a spare again. */
void hcs_spares_take_back(struct hcs_shard *shard, int fd);

/* At the end: closes all. */
void hcs_spares_close(struct hcs_shard *shard);

#endif
