/*
 * arena - memory for one job; all its blocks are freed at once.
 *
 * A bump allocator: blocks lie side by side in large chunks, and have no header
 * of their own. It is made for parse trees, which are thousands of small nodes
 * that are freed together.
 *
 * Owns:    its chunks (anonymous mappings) and every block in them.
 * Threads: one, its owner.
 * Waits:   never, but for mmap(2) and munmap(2).
 *
 * The first chunk is mapped when the first block is asked for. Chunks start at
 * HCS_ARENA_CHUNK_MIN bytes and double up to HCS_ARENA_CHUNK_MAX. A block that
 * is too large for the next chunk gets a mapping of its own. A reset keeps the
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

/* If budget is not NULL, take is called before each mapping is made, and give
 * after each mapping is removed. budget is borrowed until destroy. NULL when
 * there is no memory. */
struct hcs_arena *hcs_arena_create(
    hcs_budget_take_fn *take, hcs_budget_give_fn *give, void *budget);

/* Frees every block, too. NULL is allowed. */
void hcs_arena_destroy(struct hcs_arena *arena);

/* Lends a block until the next reset. The block is not cleared, is aligned to
 * 16 bytes, and has an address of its own even when bytes is 0. NULL when the
 * budget or the system refuses; the other blocks stay good. */
void *hcs_arena_alloc(struct hcs_arena *arena, size_t bytes);

/* Takes one block back. The bytes of the latest block can be lent again at
 * once. That is enough for a parser that copies each number in order to read it
 * (cJSON 1.7.19 does). The bytes of an older block wait for the reset. NULL is
 * allowed. */
void hcs_arena_free(struct hcs_arena *arena, void *block);

/* Takes every block back. Keeps the first chunk, if there is one; unmaps the
 * others and gives their bytes back to the budget. */
void hcs_arena_reset(struct hcs_arena *arena);

#endif
