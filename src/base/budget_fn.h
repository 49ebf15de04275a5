/*
 * budget_fn - how an allocator asks a budget for memory, and gives it back.
 *
 * Owns:    nothing; these are two function types.
 * Threads: the functions are called on the thread that uses the allocator. A
 *          budget that several threads share must be safe for them.
 * Waits:   never; an implementation may not wait either.
 */
#ifndef HCS_BASE_BUDGET_FN_H
#define HCS_BASE_BUDGET_FN_H

#include <stdbool.h>
#include <stddef.h>

/* Called before an allocator gets these bytes from the system. False refuses
 * them; then the allocator may not call give for them. */
typedef bool hcs_budget_take_fn(void *budget, size_t bytes);

/* Called after an allocator has given these bytes back to the system, or when
 * the system refused bytes that take had granted. */
typedef void hcs_budget_give_fn(void *budget, size_t bytes);

#endif
