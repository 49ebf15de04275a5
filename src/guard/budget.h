/*
 * budget - MEMORY_BUDGET: the limit of bodies, parse trees and replies.
 *
 * An allocator asks the budget before it allocates, and is refused before the
 * machine runs out of memory. The budget also counts memory that no allocator
 * asked for, such as stacks and fragments: a sampler tells the budget the
 * resident set of the process. So the resident set stays below the limit, not
 * only the sum of the bytes that were taken.
 *
 * Owns:    nothing.
 * Threads: any. The first correction comes before other threads start.
 * Waits:   never.
 */
#ifndef HCS_GUARD_BUDGET_H
#define HCS_GUARD_BUDGET_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Looks at the resident set and calls hcs_budget_correct. refusing: the budget
 * is about to refuse, so it is time to give freed memory back to the system. */
typedef void hcs_budget_look_fn(void *context, bool refusing);

struct hcs_budget {
    alignas(64) _Atomic size_t used; /* taken and not given back */
    _Atomic size_t overhead;         /* resident, but never taken */
    size_t limit;
    size_t kept_back;      /* never granted */
    size_t baseline;       /* overhead at the first correction */
    _Atomic size_t unseen; /* taken since the last look */
    size_t look_bytes;
    hcs_budget_look_fn *look;
    void *look_context;
};

void hcs_budget_init(struct hcs_budget *budget, size_t limit_bytes);

/* Keeps back a part of the limit, which take never grants. Call it before the
 * first take. Between two corrections stacks grow, code is used for the first
 * time, and malloc(3) keeps freed memory in small pieces. */
void hcs_budget_keep_back(struct hcs_budget *budget, size_t bytes);

/* Has look called whenever this number of bytes was taken since the last call,
 * and before a refusal, on the thread that takes. Call it before any thread
 * starts. Freed blocks may stay resident between their neighbours. If their
 * bytes were granted again before the next look, the resident set could grow
 * to twice the limit. */
void hcs_budget_look_every(struct hcs_budget *budget, size_t bytes,
    hcs_budget_look_fn *look, void *context);

/* As hcs_budget_take_fn and hcs_budget_give_fn. */
bool hcs_budget_take(void *context, size_t bytes);
void hcs_budget_give(void *context, size_t bytes);

/* As hcs_budget_take, but never refuses. For memory that another setting
 * bounds, and without which no client can be refused, such as the record of a
 * connection. */
bool hcs_budget_charge(void *context, size_t bytes);

/* Tells the budget the size of the resident set. Its excess over the bytes
 * that were taken counts against the limit from now on. It never counts less
 * than at the first call, because bytes that are taken but untouched hide a
 * part of it later. Returns the excess. */
size_t hcs_budget_correct(struct hcs_budget *budget, size_t resident_bytes);

size_t hcs_budget_used(const struct hcs_budget *budget);

/* malloc(3), realloc(3) and free(3) within the budget. NULL when the budget or
 * malloc refuses; then resize leaves the block as it was. The whole size of the
 * block is counted, so free needs no length. */
void *hcs_budget_alloc(struct hcs_budget *budget, size_t bytes);
void *hcs_budget_resize(struct hcs_budget *budget, void *block, size_t bytes);
void hcs_budget_free(struct hcs_budget *budget, void *block);

/* As hcs_budget_alloc, but the budget never refuses, as in
 * hcs_budget_charge. */
void *hcs_budget_alloc_charged(struct hcs_budget *budget, size_t bytes);

#endif
