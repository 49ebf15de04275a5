#include "guard/budget.h"

#include <malloc.h>
#include <stdlib.h>

enum { BLOCK_HEADER = 16 }; /* malloc's own bytes beside a block */

void hcs_budget_init(struct hcs_budget *budget, size_t limit_bytes)
{
    atomic_init(&budget->used, 0);
    atomic_init(&budget->overhead, 0);
    budget->limit = limit_bytes;
    budget->kept_back = 0;
    budget->baseline = 0;
    atomic_init(&budget->unseen, 0);
    budget->look = NULL;
}

void hcs_budget_look_every(struct hcs_budget *budget, size_t bytes,
    hcs_budget_look_fn *look, void *context)
{
    budget->look_bytes = bytes;
    budget->look = look;
    budget->look_context = context;
}

void hcs_budget_keep_back(struct hcs_budget *budget, size_t bytes)
{
    budget->kept_back = bytes;
    atomic_store_explicit(&budget->overhead, bytes, memory_order_relaxed);
}

/* Relaxed here and below: the counters publish nothing but themselves. */
static void look_if_due(struct hcs_budget *budget, size_t bytes)
{
    if (atomic_fetch_add_explicit(&budget->unseen, bytes,
            memory_order_relaxed) >= budget->look_bytes) {
        atomic_store_explicit(&budget->unseen, 0, memory_order_relaxed);
        budget->look(budget->look_context, false);
    }
}

static bool take(struct hcs_budget *budget, size_t bytes)
{
    size_t overhead =
        atomic_load_explicit(&budget->overhead, memory_order_relaxed);
    size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);

    do {
        if (overhead >= budget->limit || used > budget->limit - overhead ||
            bytes > budget->limit - overhead - used) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&budget->used, &used,
        used + bytes, memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool hcs_budget_take(void *context, size_t bytes)
{
    struct hcs_budget *budget = context;

    if (budget->look == NULL) {
        return take(budget, bytes);
    }
    look_if_due(budget, bytes);
    if (take(budget, bytes)) {
        return true;
    }
    budget->look(budget->look_context, true);
    return take(budget, bytes);
}

void hcs_budget_give(void *context, size_t bytes)
{
    struct hcs_budget *budget = context;

    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}

bool hcs_budget_charge(void *context, size_t bytes)
{
    struct hcs_budget *budget = context;

    atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed);
    return true;
}

size_t hcs_budget_correct(struct hcs_budget *budget, size_t resident_bytes)
{
    size_t used = hcs_budget_used(budget);
    size_t overhead = resident_bytes > used ? resident_bytes - used : 0;

    if (budget->baseline == 0) {
        budget->baseline = overhead;
    }
    if (overhead < budget->baseline) {
        overhead = budget->baseline;
    }
    atomic_store_explicit(
        &budget->overhead, overhead + budget->kept_back, memory_order_relaxed);
    return overhead;
}

size_t hcs_budget_used(const struct hcs_budget *budget)
{
    return atomic_load_explicit(&budget->used, memory_order_relaxed);
}

void *hcs_budget_alloc(struct hcs_budget *budget, size_t bytes)
{
    return hcs_budget_resize(budget, NULL, bytes);
}

static size_t charge(void *block)
{
    return block == NULL ? 0 : malloc_usable_size(block) + BLOCK_HEADER;
}

void *hcs_budget_resize(struct hcs_budget *budget, void *block, size_t bytes)
{
    size_t before = charge(block);
    size_t asked = bytes + BLOCK_HEADER;
    size_t after;
    void *moved;

    /* Both the old block and the new one may exist for a moment. */
    if (!hcs_budget_take(budget, asked)) {
        return NULL;
    }
    moved = realloc(block, bytes);
    if (moved == NULL) {
        hcs_budget_give(budget, asked);
        return NULL;
    }
    after = charge(moved);
    if (after > asked) { /* malloc rounds up: too little to refuse for */
        atomic_fetch_add_explicit(
            &budget->used, after - asked, memory_order_relaxed);
    } else {
        hcs_budget_give(budget, asked - after);
    }
    hcs_budget_give(budget, before);
    return moved;
}

void *hcs_budget_alloc_charged(struct hcs_budget *budget, size_t bytes)
{
    void *block = malloc(bytes);

    (void)hcs_budget_charge(budget, charge(block));
    return block;
}

void hcs_budget_free(struct hcs_budget *budget, void *block)
{
    size_t before = charge(block);

    free(block);
    hcs_budget_give(budget, before);
}
