/*
 * slab - an allocator of records of one size, for one thread.
 *
 * Owns:    its chunks (anonymous mappings) and every record in them.
 * Threads: one, its owner.
 * Waits:   never, but for mmap(2) and munmap(2).
 *
 * A chunk is mapped at once, but its pages become resident only as its records
 * are first used. A chunk is unmapped when its last record is freed. One empty
 * chunk is kept, so that a connection that comes and goes costs no system call.
 * Fuller chunks are used first, so that emptier ones drain.
 */
#ifndef HCS_BASE_SLAB_H
#define HCS_BASE_SLAB_H

#include "base/budget_fn.h"

#include <stddef.h>

struct hcs_slab; /* opaque */

enum { HCS_SLAB_CHUNK = 64 * 1024 };

/* record_bytes: 16 .. HCS_SLAB_CHUNK / 8; rounded up to a multiple of 16.
 * If budget is not NULL, take is called before each chunk is mapped, and give
 * after each chunk is unmapped. NULL when there is no memory. */
struct hcs_slab *hcs_slab_create(size_t record_bytes, hcs_budget_take_fn *take,
    hcs_budget_give_fn *give, void *budget);

/* Frees the records that are still in use, too. NULL is allowed. */
void hcs_slab_destroy(struct hcs_slab *slab);

/* Gives one record, which is not cleared. NULL when there is no memory. */
void *hcs_slab_alloc(struct hcs_slab *slab);

/* Takes a record of this slab back; NULL is allowed. */
void hcs_slab_free(struct hcs_slab *slab, void *record);

/* Calls visit for each record in use, in no particular order. visit may free
 * the record that it is given, but no other. */
void hcs_slab_each(
    struct hcs_slab *slab, void (*visit)(void *record, void *arg), void *arg);

#endif
