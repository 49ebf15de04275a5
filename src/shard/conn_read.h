/*
 * conn_read - bytes of a client to requests: answered, refused, or queued.
 *
 * Any call may close the connection; the caller looks at the state.
 *
 * Owns:    nothing.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_CONN_READ_H
#define HCS_SHARD_CONN_READ_H

#include "shard/conn_state.h"

/* Reads requests from bytes, as many as can be; returns how many bytes were
 * used. The rest has to wait for a reply, or for the client to take one. */
size_t hcs_conn_consume(struct hcs_conn *c, const char *bytes, size_t length);

/* Bytes of a body with a known length that are still to come. */
size_t hcs_conn_body_left(const struct hcs_request *request);

/* The request is complete: queues its job, or refuses it. more: bytes of a
 * further request are at hand. */
void hcs_conn_submit(struct hcs_conn *c, bool more);

#endif
