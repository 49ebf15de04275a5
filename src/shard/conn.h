/*
 * conn - one client's connection: its bytes, its requests, its end.
 *
 * Between requests it is a record of about a hundred bytes. A request's record
 * is lent to it from the request's first byte that could not be answered at
 * once to its reply's last.
 *
 * Owns:    its descriptor, its request unless that is detached, and unsent
 *          bytes.
 * Threads: its shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_CONN_H
#define HCS_SHARD_CONN_H

#include "http/reason.h"
#include "shard/shard.h"

struct hcs_request;

/* Takes fd, a connected socket that does not block. Refusals count against
 * nothing but the counters. */
void hcs_conn_open(struct hcs_shard *shard, int fd);

/* Takes fd; answers 503 for the reason and lingers, so that the client sees
 * it. spare: the descriptor came from the spares, and one is made again when
 * this one closes. */
void hcs_conn_refuse(
    struct hcs_shard *shard, int fd, enum hcs_reason reason, bool spare);

/* A task came home. */
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

/* Closes the oldest of the refused that linger; false when there is none. */
bool hcs_conn_close_shed(struct hcs_shard *shard);

/* At the end of a turn: the records of those that closed in it. */
void hcs_conn_free_closed(struct hcs_shard *shard);

size_t hcs_conn_record_bytes(void);

#endif
