#include "sync/deferral.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One thread plays worker, claimers and loop: every order in which they may
 * come. The orders of their memory accesses are the model's. */

enum {
    SLOT_BYTES = 16,
    SLOTS = 1024, /* of a block */
    BLOCK_BYTES = SLOTS * SLOT_BYTES,
    BLOCKS_MOST = 16 * 1024,
};

/* The last block of slots, which a test may look at and set. A slot is its
 * state word, with the generation in the upper half, and what it holds. */
static struct {
    uint64_t *last;
    unsigned made;
    bool none_left;
} blocks;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    void *block;

    if (bytes != BLOCK_BYTES) {
        return __real_malloc(bytes);
    }
    block = blocks.none_left ? NULL : __real_malloc(bytes);
    if (block != NULL) {
        blocks.last = block;
        blocks.made++;
    }
    return block;
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return blocks.none_left ? NULL : __real_calloc(count, bytes);
}

struct purse {
    size_t left;
    size_t taken;
};

static bool take(void *budget, size_t bytes)
{
    struct purse *purse = budget;

    if (bytes > purse->left) {
        return false;
    }
    purse->left -= bytes;
    purse->taken += bytes;
    return true;
}

static void give(void *budget, size_t bytes)
{
    struct purse *purse = budget;

    purse->left += bytes;
    purse->taken -= bytes;
}

static int set_up(void **state)
{
    memset(&blocks, 0, sizeof(blocks));
    *state = hcs_deferrals_create(take, give, NULL);
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    bool all_closed = hcs_deferrals_open_count(*state) == 0;

    hcs_deferrals_destroy(*state);
    return all_closed ? 0 : -1;
}

/* A task, for which a token was opened. */
static uint64_t open_for(struct hcs_deferrals *deferrals, struct hcs_task *task)
{
    uint64_t token;

    memset(task, 0, sizeof(*task));
    token = hcs_deferrals_open(deferrals, task);
    assert_true(token > 1);
    assert_true(hcs_deferrals_opened(task));
    return token;
}

static void assert_dead(struct hcs_deferrals *deferrals, uint64_t token)
{
    assert_false(hcs_deferrals_awaits(deferrals, token));
    assert_null(hcs_deferrals_claim(deferrals, token));
}

/* --- Every order of what happens to one token. */

static void a_claim_after_the_run_sends_the_task_home(void **state)
{
    struct hcs_task task;
    uint64_t token = open_for(*state, &task);

    assert_true(hcs_deferrals_awaits(*state, token));
    assert_false(hcs_deferrals_returned(*state, &task));
    assert_true(hcs_deferrals_awaits(*state, token));
    assert_int_equal(hcs_deferrals_open_count(*state), 1);
    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_dead(*state, token);
    assert_int_equal(hcs_deferrals_open_count(*state), 1);
    assert_true(hcs_deferrals_done(*state, &task));
    assert_dead(*state, token);
    assert_int_equal(hcs_deferrals_open_count(*state), 0);
    /* What the loop may learn no more: it is on its way. */
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_CLAIMED);
}

static void a_claim_that_ends_before_the_run_leaves_the_task_to_it(void **state)
{
    struct hcs_task task;
    uint64_t token = open_for(*state, &task);

    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_dead(*state, token);
    assert_false(hcs_deferrals_done(*state, &task));
    assert_dead(*state, token);
    assert_int_equal(hcs_deferrals_open_count(*state), 1);
    assert_true(hcs_deferrals_returned(*state, &task));
    assert_int_equal(hcs_deferrals_open_count(*state), 0);
    assert_dead(*state, token);
}

static void a_claim_that_ends_after_the_run_sends_the_task_home(void **state)
{
    struct hcs_task task;
    uint64_t token = open_for(*state, &task);

    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_false(hcs_deferrals_returned(*state, &task));
    assert_dead(*state, token);
    assert_true(hcs_deferrals_done(*state, &task));
    assert_int_equal(hcs_deferrals_open_count(*state), 0);
}

static void a_token_is_withdrawn_before_it_is_claimed(void **state)
{
    struct hcs_task task;
    uint64_t token = open_for(*state, &task);

    assert_true(hcs_deferrals_withdraw(*state, &task));
    assert_dead(*state, token);
    assert_int_equal(hcs_deferrals_open_count(*state), 0);
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_CLAIMED);
}

static void a_token_that_is_claimed_cannot_be_withdrawn(void **state)
{
    struct hcs_task task;
    uint64_t token = open_for(*state, &task);

    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_false(hcs_deferrals_withdraw(*state, &task));
    assert_false(hcs_deferrals_returned(*state, &task));
    assert_true(hcs_deferrals_done(*state, &task));

    token = open_for(*state, &task);
    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_false(hcs_deferrals_done(*state, &task));
    assert_false(hcs_deferrals_withdraw(*state, &task));
    assert_true(hcs_deferrals_returned(*state, &task));
}

static void a_task_that_waits_is_at_once_whose_who_abandons_it(void **state)
{
    struct hcs_task task;
    uint64_t token = open_for(*state, &task);

    assert_false(hcs_deferrals_returned(*state, &task));
    assert_int_equal(hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_OWNED);
    assert_int_equal(hcs_deferrals_open_count(*state), 0);
    assert_dead(*state, token);
}

static void a_task_abandoned_in_its_run_comes_home_from_there(void **state)
{
    struct hcs_task task;
    uint64_t token = open_for(*state, &task);

    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_RUNNING);
    assert_dead(*state, token);
    assert_true(hcs_deferrals_opened(&task));
    assert_true(hcs_deferrals_returned(*state, &task));
    assert_int_equal(hcs_deferrals_open_count(*state), 0);

    token = open_for(*state, &task);
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_RUNNING);
    assert_true(hcs_deferrals_withdraw(*state, &task));
    assert_dead(*state, token);
}

static void a_task_abandoned_while_it_is_claimed_comes_home_from_there(
    void **state)
{
    struct hcs_task task;
    uint64_t token = open_for(*state, &task);

    /* After its run. */
    assert_false(hcs_deferrals_returned(*state, &task));
    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_CLAIMED);
    assert_true(hcs_deferrals_done(*state, &task));

    /* In it, which ends first. */
    token = open_for(*state, &task);
    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_RUNNING);
    assert_false(hcs_deferrals_withdraw(*state, &task));
    assert_false(hcs_deferrals_returned(*state, &task));
    assert_true(hcs_deferrals_done(*state, &task));

    /* In it, which ends last. */
    token = open_for(*state, &task);
    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_RUNNING);
    assert_false(hcs_deferrals_done(*state, &task));
    assert_true(hcs_deferrals_returned(*state, &task));

    /* When the claim has ended already. */
    token = open_for(*state, &task);
    assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
    assert_false(hcs_deferrals_done(*state, &task));
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_RUNNING);
    assert_dead(*state, token);
    assert_true(hcs_deferrals_returned(*state, &task));
}

static void a_token_for_whom_nobody_waits_is_dead_from_the_start(void **state)
{
    struct hcs_task task = {0};
    uint64_t token;

    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_RUNNING);
    assert_false(hcs_deferrals_opened(&task));
    token = hcs_deferrals_open(*state, &task);
    assert_true(token > 1); /* which the handler need not tell from another */
    assert_false(hcs_deferrals_opened(&task));
    assert_dead(*state, token);
    assert_int_equal(hcs_deferrals_open_count(*state), 0);
    assert_true(hcs_deferrals_withdraw(*state, &task));
    assert_true(hcs_deferrals_returned(*state, &task));
}

static void a_task_without_a_token_is_its_workers(void **state)
{
    struct hcs_task task = {0};

    assert_false(hcs_deferrals_opened(&task));
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_RUNNING);
    assert_null(blocks.last); /* and took no memory */
}

/* --- Tokens that mean nothing. */

static void an_old_token_never_means_the_task_that_is_there_now(void **state)
{
    enum { TIMES = 100 };
    struct hcs_task task;
    uint64_t tokens[TIMES];

    for (int i = 0; i < TIMES; i++) {
        tokens[i] = open_for(*state, &task);
        for (int old = 0; old < i; old++) {
            assert_true(tokens[old] != tokens[i]);
            /* The same slot, as long as it is free. */
            assert_int_equal((uint32_t)tokens[old], (uint32_t)tokens[i]);
            assert_dead(*state, tokens[old]);
        }
        assert_true(hcs_deferrals_awaits(*state, tokens[i]));
        assert_false(hcs_deferrals_returned(*state, &task));
        assert_int_equal(
            hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_OWNED);
    }
}

static void numbers_that_are_no_tokens_claim_nothing(void **state)
{
    struct hcs_task task;
    uint64_t token;
    static const uint64_t made_up[] = {0, 1, 2, UINT32_MAX, (uint64_t)1 << 32,
        (uint64_t)1 << 32 | UINT32_MAX, UINT64_MAX, UINT64_MAX - 1};

    for (size_t i = 0; i < sizeof(made_up) / sizeof(made_up[0]); i++) {
        assert_dead(*state, made_up[i]); /* before there is any slot */
    }
    token = open_for(*state, &task);
    for (size_t i = 0; i < sizeof(made_up) / sizeof(made_up[0]); i++) {
        if (made_up[i] != token) {
            assert_dead(*state, made_up[i]);
        }
    }
    assert_dead(*state, token + 1); /* the bit that is no token's */
    assert_true(hcs_deferrals_withdraw(*state, &task));

    /* Those that are yet to come, in slots that are free. */
    assert_dead(*state, token + ((uint64_t)1 << 32));
    for (uint64_t slot = 0; slot < 2 * SLOTS; slot++) {
        for (uint64_t generation = 0; generation < 4; generation++) {
            assert_dead(*state, generation << 32 | slot << 1);
        }
    }
    /* None of which has done any harm. */
    for (int i = 0; i < 2 * SLOTS; i++) {
        token = open_for(*state, &task);
        assert_ptr_equal(hcs_deferrals_claim(*state, token), &task);
        assert_false(hcs_deferrals_done(*state, &task));
        assert_true(hcs_deferrals_returned(*state, &task));
    }
}

/* Leaves two free slots of a new block, of which one was taken and given. */
static void shorten(void)
{
    blocks.last[SLOT_BYTES / sizeof(uint64_t) + 1] = UINT32_MAX;
}

/* Sets the generation of each slot that is free. */
static void age(uint32_t generation)
{
    for (size_t i = 0; i < SLOTS; i++) {
        uint64_t *word = &blocks.last[i * SLOT_BYTES / sizeof(uint64_t)];

        *word = (uint64_t)generation << 32 | (uint32_t)*word;
    }
}

static void a_slot_whose_generations_are_used_up_is_left_alone(void **state)
{
    struct hcs_task task;
    uint64_t first = open_for(*state, &task);
    uint64_t last;
    uint64_t other;

    assert_true(hcs_deferrals_withdraw(*state, &task));
    age(UINT32_MAX);
    last = open_for(*state, &task);
    assert_int_equal(last >> 32, UINT32_MAX);
    assert_int_equal((uint32_t)last, (uint32_t)first);
    assert_false(hcs_deferrals_returned(*state, &task));
    assert_ptr_equal(hcs_deferrals_claim(*state, last), &task);
    assert_true(hcs_deferrals_done(*state, &task));
    assert_dead(*state, last);
    assert_dead(*state, first);
    assert_dead(*state, (uint32_t)last);
    other = open_for(*state, &task);
    assert_int_not_equal((uint32_t)other, (uint32_t)last);
    assert_dead(*state, first);
    assert_true(hcs_deferrals_withdraw(*state, &task));

    /* When all have come to that, new slots are made. */
    for (int i = 2; i < SLOTS; i++) {
        (void)open_for(*state, &task);
        assert_true(hcs_deferrals_withdraw(*state, &task));
    }
    assert_int_equal(blocks.made, 1);
    other = open_for(*state, &task);
    assert_int_equal(blocks.made, 2);
    assert_int_equal(other >> 32, 1);
    assert_true(hcs_deferrals_withdraw(*state, &task));
}

/* --- Memory. */

static void all_tokens_of_a_crowd_are_different(void **state)
{
    enum { CROWD = 2 * SLOTS + 1 };
    struct hcs_task *tasks = calloc(CROWD, sizeof(*tasks));
    uint64_t *tokens = calloc(CROWD, sizeof(*tokens));
    bool used[4 * SLOTS] = {false};

    assert_non_null(tasks);
    assert_non_null(tokens);
    for (int i = 0; i < CROWD; i++) {
        uint64_t slot;

        tokens[i] = open_for(*state, &tasks[i]);
        slot = (uint32_t)tokens[i] >> 1;
        assert_true(slot < sizeof(used));
        assert_false(used[slot]);
        used[slot] = true;
        assert_false(hcs_deferrals_returned(*state, &tasks[i]));
    }
    assert_int_equal(hcs_deferrals_open_count(*state), CROWD);
    assert_int_equal(blocks.made, 3);
    for (int i = CROWD - 1; i >= 0; i--) {
        assert_ptr_equal(hcs_deferrals_claim(*state, tokens[i]), &tasks[i]);
        assert_true(hcs_deferrals_done(*state, &tasks[i]));
    }
    /* The next crowd has room where this one was. */
    for (int i = 0; i < CROWD; i++) {
        (void)open_for(*state, &tasks[i]);
        assert_false(hcs_deferrals_returned(*state, &tasks[i]));
    }
    assert_int_equal(blocks.made, 3);
    for (int i = 0; i < CROWD; i++) {
        assert_dead(*state, tokens[i]);
        assert_int_equal(
            hcs_deferrals_abandon(*state, &tasks[i]), HCS_ABANDONED_OWNED);
    }
    free(tokens);
    free(tasks);
}

static void without_memory_there_is_no_table(void **state)
{
    (void)state;
    blocks.none_left = true;
    assert_null(hcs_deferrals_create(take, give, NULL));
    blocks.none_left = false;
    hcs_deferrals_destroy(NULL);
}

static void without_memory_there_is_no_token(void **state)
{
    struct hcs_task task = {0};

    blocks.none_left = true;
    assert_int_equal(hcs_deferrals_open(*state, &task), 0);
    assert_false(hcs_deferrals_opened(&task));
    assert_int_equal(hcs_deferrals_open_count(*state), 0);
    assert_int_equal(
        hcs_deferrals_abandon(*state, &task), HCS_ABANDONED_RUNNING);
    blocks.none_left = false;
    (void)open_for(*state, &task);
    assert_true(hcs_deferrals_withdraw(*state, &task));
}

static void its_memory_is_the_budgets(void **state)
{
    struct purse purse = {.left = 2 * BLOCK_BYTES - 1};
    struct hcs_deferrals *deferrals = hcs_deferrals_create(take, give, &purse);
    struct hcs_task task;
    uint64_t last = 0;

    (void)state;
    assert_non_null(deferrals);
    assert_int_equal(purse.taken, 0);
    for (int i = 0; i < SLOTS; i++) {
        last = open_for(deferrals, &task);
        assert_int_equal(purse.taken, BLOCK_BYTES);
    }
    task = (struct hcs_task){0};
    assert_int_equal(hcs_deferrals_open(deferrals, &task), 0);

    /* What the budget gives and malloc does not is given back. */
    purse.left++;
    blocks.none_left = true;
    assert_int_equal(hcs_deferrals_open(deferrals, &task), 0);
    assert_int_equal(purse.taken, BLOCK_BYTES);
    blocks.none_left = false;
    assert_true(hcs_deferrals_open(deferrals, &task) > last);
    assert_int_equal(purse.taken, 2 * BLOCK_BYTES);
    assert_int_equal(purse.left, 0);
    hcs_deferrals_destroy(deferrals);
    assert_int_equal(purse.taken, 0);
}

static void there_is_an_end_to_it(void **state)
{
    struct hcs_task task;

    for (int i = 0; i < BLOCKS_MOST; i++) {
        (void)open_for(*state, &task);
        assert_true(hcs_deferrals_withdraw(*state, &task));
        shorten();
        age(UINT32_MAX);
        for (int slot = 0; slot < 2; slot++) {
            (void)open_for(*state, &task);
            assert_true(hcs_deferrals_withdraw(*state, &task));
        }
        assert_int_equal(blocks.made, i + 1);
    }
    task = (struct hcs_task){0};
    assert_int_equal(hcs_deferrals_open(*state, &task), 0);
    assert_int_equal(blocks.made, BLOCKS_MOST);
    assert_dead(*state, UINT64_MAX - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_claim_after_the_run_sends_the_task_home),
        TEST(a_claim_that_ends_before_the_run_leaves_the_task_to_it),
        TEST(a_claim_that_ends_after_the_run_sends_the_task_home),
        TEST(a_token_is_withdrawn_before_it_is_claimed),
        TEST(a_token_that_is_claimed_cannot_be_withdrawn),
        TEST(a_task_that_waits_is_at_once_whose_who_abandons_it),
        TEST(a_task_abandoned_in_its_run_comes_home_from_there),
        TEST(a_task_abandoned_while_it_is_claimed_comes_home_from_there),
        TEST(a_token_for_whom_nobody_waits_is_dead_from_the_start),
        TEST(a_task_without_a_token_is_its_workers),
        TEST(an_old_token_never_means_the_task_that_is_there_now),
        TEST(numbers_that_are_no_tokens_claim_nothing),
        TEST(a_slot_whose_generations_are_used_up_is_left_alone),
        TEST(all_tokens_of_a_crowd_are_different),
        TEST(without_memory_there_is_no_table),
        TEST(without_memory_there_is_no_token),
        TEST(its_memory_is_the_budgets),
        TEST(there_is_an_end_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
