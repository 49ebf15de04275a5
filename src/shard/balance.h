/*
 * balance - which of the loops that wait at the same listeners accepts.
 *
 * Listeners that a service manager handed over may be fewer than the loops, so
 * that all loops wait at each of them, with EPOLLEXCLUSIVE. The kernel then
 * wakes the first loop that sleeps there, which for connections that come one
 * by one is always the same (4,000 of them over four loops: 0/4000/0/0). So a
 * loop that is well over its share pauses: it stops waiting there until it has
 * its share again or less.
 *
 * At all times a loop waits at the listeners, or is about to: a loop that
 * pauses asks another one to resume. That loop then waits, whatever it has, and
 * looks at once what is there. So no connection stays in the backlog with no
 * loop to take it. tests/model/accept.pml proves it, for any choice of which
 * loop pauses, which one is asked and which one comes back.
 *
 * Owns:    nothing.
 * Threads: the loop of the shard that is given.
 * Waits:   never.
 */
#ifndef HCS_SHARD_BALANCE_H
#define HCS_SHARD_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

struct hcs_shard;

/* Of so many connections that all loops have together, a loop with more than
 * this pauses. Above the mean by so much that no loop pauses for a few more, and
 * by so little that with 100 or more each, none has 1.2 times another's. */
uint64_t hcs_balance_limit(uint64_t connections, unsigned loops);

/* The loop has more than that. */
bool hcs_balance_is_over_share(const struct hcs_shard *shard);

/* The loop has its share or less. */
bool hcs_balance_is_under_share(const struct hcs_shard *shard);

/* By a loop that has just paused: asks the loop with the fewest connections to
 * resume, and all that are paused although they are under their share. */
void hcs_balance_hand_over(struct hcs_shard *shard);

#endif
