/*
 * conn - one client's connection: its events, its deadlines, its results.
 *
 * Owns:    as conn_state.h says.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_CONN_H
#define HCS_SHARD_CONN_H

#include "base/peer.h"
#include "http/reason.h"
#include "shard/shard.h"

struct hcs_request;

/* Takes fd, a connected socket that does not block. A connection that the gate
 * refuses is told so. site: which of the service's sites the client is
 * served. */
void hcs_conn_open(struct hcs_shard *shard, int fd, unsigned site,
    const struct hcs_peer *peer);

/* Takes fd; answers 503 for the reason and lingers, so that the client sees
 * it. spare: the descriptor is lent from the spares. */
void hcs_conn_refuse(struct hcs_shard *shard, int fd,
    const struct hcs_peer *peer, enum hcs_reason reason, bool spare);

/* A task came home: its request goes to whoever waits for it. */
void hcs_conn_result(struct hcs_shard *shard, struct hcs_request *request);

/* Its timer passed. */
void hcs_conn_expired(struct hcs_timer *timer);

/* Every connection of the shard: from now on replies are the last ones, and
 * idle ones end after DRAIN_IDLE. */
void hcs_conn_drain_all(struct hcs_shard *shard);

/* Every connection of the shard ends: 503 for requests that still wait. */
void hcs_conn_cut_all(struct hcs_shard *shard);

/* Closes every connection, whatever it does. */
void hcs_conn_close_all(struct hcs_shard *shard);

/* Closes the oldest of the refused that linger, if there is one. */
void hcs_conn_close_shed(struct hcs_shard *shard);

#endif
