/*
 * budget_fn - how an allocator asks for memory and tells that it gave it back.
 *
 * Owns:    nothing; two function types.
 * Threads: the functions are called on the allocator's own thread; a budget
 *          that several threads share must allow for that.
 * Waits:   never; an implementation may not either.
 */
#ifndef HCS_BASE_BUDGET_FN_H
#define HCS_BASE_BUDGET_FN_H

#include <stdbool.h>
#include <stddef.h>

/* Asked before bytes are mapped. False refuses them, and nothing is owed. */
typedef bool hcs_budget_take_fn(void *budget, size_t bytes);

/* Told after bytes were unmapped, or when taken bytes could not be mapped. */
typedef void hcs_budget_give_fn(void *budget, size_t bytes);

#endif
