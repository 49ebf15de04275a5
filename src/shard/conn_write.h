/*
 * conn_write - bytes to a client, and lingering after the last ones.
 *
 * Any call may close the connection; the caller looks at the state.
 *
 * Owns:    the write queue of the connection.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_CONN_WRITE_H
#define HCS_SHARD_CONN_WRITE_H

#include "shard/conn_state.h"

/* Sends what was composed, and behind it body, which is taken; NULL: none. */
void hcs_conn_flush(struct hcs_conn *c, const struct hcs_body *body);

/* Sends more of what is unsent. True when the connection lives; c->starved then
 * says that the kernel had no memory for it. */
bool hcs_conn_write_more(struct hcs_conn *c);

/* Gives the client WRITE_TIMEOUT from now to take a byte. */
void hcs_conn_await_room(struct hcs_conn *c);

/* The deadline of the state WRITING has passed. True: sending is to be tried
 * again, since no edge tells when. False: the client has more time, or the
 * connection was closed. */
bool hcs_conn_may_write_again(struct hcs_conn *c);

/* The last reply was sent: shuts our side, and throws input away for a
 * while. */
void hcs_conn_linger(struct hcs_conn *c);

/* Throws away what has come while it lingers. */
void hcs_conn_discard(struct hcs_conn *c);

#endif
