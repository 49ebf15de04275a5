/*
 * exchange - fills in the facts of an exchange, and ends it once.
 *
 * Whatever counts, logs, traces or judges requests that are over is called from
 * hcs_exchange_end, and from nowhere else.
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

/* From a header section that was read, bytes, and its meaning. Makes an
 * identifier where the client sent none. */
void hcs_exchange_from_head(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer, const char *bytes,
    const struct hcs_head *head);

/* From the record of a request whose header section is whole. admitted: it is
 * a job that was queued; then of the record only fields are read that the
 * worker may read too, until the task is back. */
void hcs_exchange_from_request(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer,
    const struct hcs_request *request, bool admitted);

/* Of a request whose header section is not known, or cannot be trusted. */
void hcs_exchange_unknown(struct hcs_exchange *exchange,
    struct hcs_shard *shard, const struct hcs_peer *peer);

/* It is over: how stands in the exchange. Counts and logs it. */
void hcs_exchange_end(
    struct hcs_shard *shard, const struct hcs_exchange *exchange);

#endif
