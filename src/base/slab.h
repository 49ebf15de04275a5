/*
 * slab - records of one size for one thread, from chunks that are given back.
 *
 * Owns:    its chunks (anonymous mappings) and so every record in them.
 * Threads: one, its owner.
 * Waits:   never, but for mmap and munmap.
 *
 * A chunk is touched record by record as it is first used, and unmapped when
 * its last record is freed (one empty chunk is kept, so that a connection that
 * comes and goes costs no system call). Fuller chunks are used first, so that
 * emptier ones can drain.
 */
#ifndef HCS_BASE_SLAB_H
#define HCS_BASE_SLAB_H

#include "base/budget_fn.h"

#include <stddef.h>

struct hcs_slab; /* opaque */

enum { HCS_SLAB_CHUNK = 64 * 1024 };

/* record_bytes: 16 .. HCS_SLAB_CHUNK / 8; rounded up to a multiple of 16.
 * budget, if not NULL, is asked before each new chunk and told after each
 * chunk given back. NULL when there is no memory. */
struct hcs_slab *hcs_slab_create(size_t record_bytes, hcs_budget_take_fn *take,
    hcs_budget_give_fn *give, void *budget);

/* Records that are still allocated go with it. NULL is allowed. */
void hcs_slab_destroy(struct hcs_slab *slab);

/* Gives one record, not cleared; NULL when there is no memory. */
void *hcs_slab_alloc(struct hcs_slab *slab);

/* Takes a record of this slab back; NULL is allowed. */
void hcs_slab_free(struct hcs_slab *slab, void *record);

/* Records in use, and bytes mapped for them. */
size_t hcs_slab_used(const struct hcs_slab *slab);
size_t hcs_slab_bytes(const struct hcs_slab *slab);

/* Calls visit for each record in use, in no order. visit may free the record
 * it is given, and no other. */
void hcs_slab_each(
    struct hcs_slab *slab, void (*visit)(void *record, void *arg), void *arg);

#endif
