/*
 * balance - spreads connections over loops that wait at the same listeners.
 *
 * A service manager may hand over fewer listeners than there are loops. Then
 * all loops wait at each listener, with EPOLLEXCLUSIVE. The kernel wakes the
 * first loop that sleeps there. If connections come one by one, that is always
 * the same loop (4,000 connections over four loops: 0/4000/0/0). So a loop that
 * is well over its share pauses: it stops waiting there until it is under its
 * share.
 *
 * At all times at least one loop waits at the listeners, or is about to. A loop
 * that pauses asks another loop to resume. That loop waits there, however many
 * connections it has, and accepts at once what is there. So no connection stays
 * in the backlog without a loop that accepts it. tests/model/accept.pml proves
 * this, whichever loop pauses, is asked or resumes.
 *
 * Owns:    nothing.
 * Threads: the shard's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_BALANCE_H
#define HCS_SHARD_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

struct hcs_shard;

/* connections: of all loops together. A loop that has more than the result
 * pauses. The result is enough above the mean that no loop pauses for a few
 * connections more. It is so little above that, with 100 or more connections
 * for each loop, no loop has 1.2 times as many as another. */
uint64_t hcs_balance_limit(uint64_t connections, unsigned loops);

/* The loop has more connections than hcs_balance_limit. */
bool hcs_balance_is_over_share(const struct hcs_shard *shard);

/* The loop has the mean or less. */
bool hcs_balance_is_under_share(const struct hcs_shard *shard);

/* Called by a loop that has just paused. Asks the loop with the fewest
 * connections to resume, and also each paused loop that is under its share. */
void hcs_balance_hand_over(struct hcs_shard *shard);

#endif
