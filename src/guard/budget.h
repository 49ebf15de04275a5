/*
 * budget - MEMORY_BUDGET: the ceiling over bodies, parse trees and replies.
 *
 * Whoever allocates asks here first, and is told no before the machine is. It
 * starts with what the process already uses, and is corrected by what the
 * kernel says it uses (fragmentation, stacks), so that the resident set stays
 * below the limit and not only the sum of what was asked for.
 *
 * Owns:    nothing.
 * Threads: any; the first correction before others start.
 * Waits:   never.
 */
#ifndef HCS_GUARD_BUDGET_H
#define HCS_GUARD_BUDGET_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Looks at the resident set and calls hcs_budget_correct. refusing: a no is all
 * that is left, so what was freed and is still resident may go first. */
typedef void hcs_budget_look_fn(void *context, bool refusing);

struct hcs_budget {
    alignas(64) _Atomic size_t used; /* taken and not given back */
    _Atomic size_t overhead;         /* resident, but never asked for */
    size_t limit;
    size_t kept_back;      /* never given */
    size_t baseline;       /* overhead at the first correction */
    _Atomic size_t unseen; /* taken since the last look */
    size_t look_bytes;
    hcs_budget_look_fn *look;
    void *look_context;
};

void hcs_budget_init(struct hcs_budget *budget, size_t limit_bytes);

/* Before the first take: so much of the limit is never given away. Between two
 * corrections stacks deepen, code is used for the first time, and malloc keeps
 * what was freed in small pieces. */
void hcs_budget_keep_back(struct hcs_budget *budget, size_t bytes);

/* Before any thread starts: look is called, on the thread that takes, whenever
 * so many bytes were taken since it was called last, and before a no. Blocks
 * that were freed may stay resident between their neighbours, and were the
 * same bytes given away again before anybody looks, the resident set could grow
 * to twice the limit. */
void hcs_budget_look_every(struct hcs_budget *budget, size_t bytes,
    hcs_budget_look_fn *look, void *context);

/* As hcs_budget_take_fn and hcs_budget_give_fn. */
bool hcs_budget_take(void *context, size_t bytes);
void hcs_budget_give(void *context, size_t bytes);

/* As hcs_budget_take, but never says no: for what another setting bounds and
 * what must be had to say no at all, such as the record of a connection. */
bool hcs_budget_charge(void *context, size_t bytes);

/* The resident set as the kernel has it: what it has beyond what was taken
 * counts against the limit from now on, and never less than at the first
 * call, when little of what was taken had been left untouched. Gives that
 * excess. */
size_t hcs_budget_correct(struct hcs_budget *budget, size_t resident_bytes);

size_t hcs_budget_used(const struct hcs_budget *budget);

/* malloc(3) and friends within the budget; NULL when either says no. The
 * charge is the block's whole size, so free needs no length. Resizing that
 * fails leaves the block as it was. */
void *hcs_budget_alloc(struct hcs_budget *budget, size_t bytes);
void *hcs_budget_resize(struct hcs_budget *budget, void *block, size_t bytes);
void hcs_budget_free(struct hcs_budget *budget, void *block);

/* As hcs_budget_alloc, but only malloc says no; as hcs_budget_charge. */
void *hcs_budget_alloc_charged(struct hcs_budget *budget, size_t bytes);

#endif
