/*
 * conn_write - sends bytes to a client, and lingers after the last ones.
 *
 * Any call may close the connection, so the caller looks at the state
 * afterwards.
 *
 * Owns:    the write queue of the connection.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_CONN_WRITE_H
#define HCS_SHARD_CONN_WRITE_H

#include "shard/conn_state.h"

/* Sends what was composed, and the body behind it. Takes ownership of the body;
 * NULL: there is none. */
void hcs_conn_flush(struct hcs_conn *c, const struct hcs_body *body);

/* Sends more of the write queue. False: the connection was closed. If it was
 * not, c->starved says whether the kernel had no memory. */
bool hcs_conn_write_more(struct hcs_conn *c);

/* Gives the client WRITE_TIMEOUT from now to take a byte. */
void hcs_conn_await_room(struct hcs_conn *c);

/* The deadline of the state WRITING has passed. True: the caller tries to send
 * again, since no edge will tell when the kernel has memory. False: the client
 * has more time, or the connection was closed. */
bool hcs_conn_may_write_again(struct hcs_conn *c);

/* The last reply was sent. Shuts the daemon's side, and throws input away for a
 * while. */
void hcs_conn_linger(struct hcs_conn *c);

/* The connection lingers: throws away the input that has arrived. */
void hcs_conn_discard(struct hcs_conn *c);

#endif
