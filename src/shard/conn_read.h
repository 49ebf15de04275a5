/*
 * conn_read - turns a client's bytes into requests, which are answered, refused
 * or queued as jobs.
 *
 * Any call may close the connection, so the caller looks at the state
 * afterwards.
 *
 * Owns:    nothing.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_CONN_READ_H
#define HCS_SHARD_CONN_READ_H

#include "shard/conn_state.h"

/* Takes as many requests from bytes as possible. Returns how many bytes were
 * used. The rest must wait until a reply is composed, or until the client takes
 * one. */
size_t hcs_conn_consume(struct hcs_conn *c, const char *bytes, size_t length);

/* Of a body with a known length: the bytes that have not arrived yet. */
size_t hcs_conn_body_left(const struct hcs_request *request);

/* The request is complete: queues its job, or refuses it. more: bytes of a
 * further request are at hand. */
void hcs_conn_submit(struct hcs_conn *c, bool more);

#endif
