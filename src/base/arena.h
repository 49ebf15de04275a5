/*
 * arena - memory for one job after another, all given back at once.
 *
 * A bump allocator: blocks lie side by side in large chunks, without a header
 * of their own. Made for parse trees, which are thousands of small nodes that
 * are dropped together.
 *
 * Owns:    its chunks (anonymous mappings) and so every block in them.
 * Threads: one, its owner.
 * Waits:   never, but for mmap and munmap.
 *
 * Nothing is mapped before the first block is asked for. Chunks start at
 * HCS_ARENA_CHUNK_MIN and double up to HCS_ARENA_CHUNK_MAX; a block that
 * would not fit the next one gets a mapping of its own. A reset keeps only the
 * first chunk, so that a small job costs no system call.
 */
#ifndef HCS_BASE_ARENA_H
#define HCS_BASE_ARENA_H

#include "base/budget_fn.h"

#include <stddef.h>

enum {
    HCS_ARENA_CHUNK_MIN = 64 * 1024,
    HCS_ARENA_CHUNK_MAX = 1024 * 1024,
};

struct hcs_arena; /* opaque */

/* budget, if not NULL, is asked before each mapping and told after each one
 * given back; it is borrowed until destroy. NULL when there is no memory. */
struct hcs_arena *hcs_arena_create(
    hcs_budget_take_fn *take, hcs_budget_give_fn *give, void *budget);

/* Every block goes with it. NULL is allowed. */
void hcs_arena_destroy(struct hcs_arena *arena);

/* Lends a block until the next reset: not cleared, aligned to 16 bytes, and
 * distinct from every other even when bytes is 0. NULL when the budget or the
 * system refuses; what was lent before stays good. */
void *hcs_arena_alloc(struct hcs_arena *arena, size_t bytes);

/* Takes one block back. Only the latest one's bytes are lent again: enough for
 * a parser that copies each number to read it (cJSON 1.7.19 does). Those of
 * others wait for the reset. NULL is allowed. */
void hcs_arena_free(struct hcs_arena *arena, void *block);

/* Takes every block back. The first chunk is kept, if it was ever made; the
 * others are unmapped and their bytes go back to the budget. */
void hcs_arena_reset(struct hcs_arena *arena);

/* Bytes mapped, which is what the budget was asked for. */
size_t hcs_arena_bytes(const struct hcs_arena *arena);

#endif
