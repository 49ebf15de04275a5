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

/* Takes ownership of fd, a connected socket that does not block. If the gate
 * refuses the connection, answers 503. site: index of the site that serves the
 * client. */
void hcs_conn_open(struct hcs_shard *shard, int fd, unsigned site,
    const struct hcs_peer *peer);

/* Takes ownership of fd, answers 503 with the reason, and lingers, so that the
 * client can read the answer. spare: the descriptor is lent from the spares. */
void hcs_conn_refuse(struct hcs_shard *shard, int fd,
    const struct hcs_peer *peer, enum hcs_reason reason, bool spare);

/* A job's task came home. Delivers its request to the waiter, if there is
 * one. */
void hcs_conn_result(struct hcs_shard *shard, struct hcs_request *request);

/* The connection's timer has passed. */
void hcs_conn_expired(struct hcs_timer *timer);

/* For every connection of the shard: from now on a reply is the last one, and
 * an idle connection closes after DRAIN_IDLE. */
void hcs_conn_drain_all(struct hcs_shard *shard);

/* Ends every connection of the shard. Requests that still wait get 503. */
void hcs_conn_cut_all(struct hcs_shard *shard);

/* Closes every connection, in whatever state. */
void hcs_conn_close_all(struct hcs_shard *shard);

/* Closes the refused connection that has lingered longest, if there is one. */
void hcs_conn_close_shed(struct hcs_shard *shard);

#endif
