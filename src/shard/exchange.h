/*
 * exchange - fills in the facts of an exchange, and ends it once.
 *
 * Code that counts, logs, traces or judges requests that have ended is called
 * from hcs_exchange_end, and from nowhere else.
 *
 * Owns:    nothing.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_EXCHANGE_H
#define HCS_SHARD_EXCHANGE_H

#include "http/exchange.h"
#include "job/request.h"
#include "shard/shard.h"

/* Fills in the exchange from a header section: its bytes, and their meaning in
 * head. Makes an identifier if the client sent none. */
void hcs_exchange_from_head(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer, const char *bytes,
    const struct hcs_head *head);

/* Fills in the exchange from the record of a request whose header section is
 * complete. admitted: the request is a job that was queued. Until the task is
 * back, this function reads only fields that no worker writes. */
void hcs_exchange_from_request(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer,
    const struct hcs_request *request, bool admitted);

/* Fills in the exchange of a request whose header section is not known, or
 * cannot be trusted. */
void hcs_exchange_unknown(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer);

/* The exchange has ended; its status and reason say how. Counts and logs it. */
void hcs_exchange_end(
    struct hcs_shard *shard, const struct hcs_exchange *exchange);

#endif
