/* ctest: builds=release,asan,tsan */
#include "guard/budget.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LIMIT = 100000, THREADS = 4, ROUNDS = 20000 };

static bool realloc_fails;

void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes)
{
    return realloc_fails ? NULL : __real_realloc(block, bytes);
}

static void takes_up_to_the_limit_and_not_a_byte_more(void **state)
{
    struct hcs_budget budget;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_int_equal(hcs_budget_used(&budget), 0);
    assert_false(hcs_budget_take(&budget, LIMIT + 1));
    assert_int_equal(hcs_budget_used(&budget), 0);
    assert_true(hcs_budget_take(&budget, LIMIT - 1));
    assert_false(hcs_budget_take(&budget, 2));
    assert_true(hcs_budget_take(&budget, 1));
    assert_false(hcs_budget_take(&budget, 1));
    assert_true(hcs_budget_take(&budget, 0));
    hcs_budget_give(&budget, 10);
    assert_false(hcs_budget_take(&budget, 11));
    assert_true(hcs_budget_take(&budget, 10));
    assert_int_equal(hcs_budget_used(&budget), LIMIT);
}

static void a_charge_is_never_refused_and_counts_against_the_others(
    void **state)
{
    struct hcs_budget budget;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_true(hcs_budget_take(&budget, LIMIT - 10));
    assert_true(hcs_budget_charge(&budget, 100));
    assert_int_equal(hcs_budget_used(&budget), LIMIT + 90);
    assert_false(hcs_budget_take(&budget, 1));
    hcs_budget_give(&budget, 100);
    assert_true(hcs_budget_take(&budget, 10));
}

static void a_size_that_would_wrap_round_is_refused(void **state)
{
    struct hcs_budget budget;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_true(hcs_budget_take(&budget, 100));
    assert_false(hcs_budget_take(&budget, SIZE_MAX));
    assert_false(hcs_budget_take(&budget, SIZE_MAX - 99));
    assert_int_equal(hcs_budget_used(&budget), 100);
}

static void what_is_resident_beyond_what_was_taken_counts_too(void **state)
{
    struct hcs_budget budget;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_int_equal(hcs_budget_correct(&budget, 10000), 10000);
    assert_false(hcs_budget_take(&budget, LIMIT - 10000 + 1));
    assert_true(hcs_budget_take(&budget, LIMIT - 10000));
    hcs_budget_give(&budget, LIMIT - 10000);

    assert_true(hcs_budget_take(&budget, 1000));
    assert_int_equal(hcs_budget_correct(&budget, 61000), 60000);
    assert_false(hcs_budget_take(&budget, 39001));
    assert_true(hcs_budget_take(&budget, 39000));
}

static void a_correction_never_falls_below_the_first_one(void **state)
{
    struct hcs_budget budget;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_int_equal(hcs_budget_correct(&budget, 10000), 10000);
    assert_true(hcs_budget_take(&budget, 50000));
    /* Taken and not touched yet: the kernel does not have it as resident. */
    assert_int_equal(hcs_budget_correct(&budget, 12000), 10000);
    assert_int_equal(hcs_budget_correct(&budget, 65000), 15000);
    assert_int_equal(hcs_budget_correct(&budget, 30000), 10000);
}

static void more_resident_than_the_limit_refuses_all_until_corrected(
    void **state)
{
    struct hcs_budget budget;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_int_equal(hcs_budget_correct(&budget, 1000), 1000);
    assert_true(hcs_budget_take(&budget, 5000));
    assert_int_equal(hcs_budget_correct(&budget, LIMIT + 5000), (size_t)LIMIT);
    assert_false(hcs_budget_take(&budget, 1));
    assert_int_equal(
        hcs_budget_correct(&budget, 2 * LIMIT), (size_t)2 * LIMIT - 5000);
    assert_false(hcs_budget_take(&budget, 1));
    /* Taken before, and now above what is left: no wrap round either. */
    assert_int_equal(
        hcs_budget_correct(&budget, LIMIT + 1000), (size_t)LIMIT - 4000);
    assert_false(hcs_budget_take(&budget, 1));
    assert_int_equal(hcs_budget_correct(&budget, 6000), 1000);
    assert_true(hcs_budget_take(&budget, 1));
}

struct looker {
    struct hcs_budget *budget;
    size_t resident;     /* as the next look finds it */
    size_t after_a_trim; /* and then, when it is about a no; 0: as before */
    unsigned looks;
    unsigned refusing;
};

static void look(void *context, bool refusing)
{
    struct looker *looker = context;

    looker->looks++;
    if (refusing) {
        looker->refusing++;
        if (looker->after_a_trim != 0) {
            looker->resident = looker->after_a_trim;
        }
    }
    (void)hcs_budget_correct(looker->budget, looker->resident);
}

static void what_was_freed_and_stays_resident_is_not_given_twice(void **state)
{
    struct hcs_budget budget;
    struct looker looker = {.budget = &budget, .resident = 1000};

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_int_equal(hcs_budget_correct(&budget, 1000), 1000);
    hcs_budget_look_every(&budget, 10000, look, &looker);
    for (int i = 0; i < 50; i++) {
        looker.resident += 1000;
        assert_true(hcs_budget_take(&budget, 1000));
    }
    assert_in_range(looker.looks, 3, 5);
    hcs_budget_give(&budget, 50000); /* resident is what it was */
    for (size_t taken = 0; taken < 48000; taken += 1000) {
        assert_true(hcs_budget_take(&budget, 1000));
        looker.resident += 1000;
    }
    assert_int_equal(looker.refusing, 0);
    assert_false(hcs_budget_take(&budget, 12000));
    assert_int_equal(looker.refusing, 1);
    looker.after_a_trim = 55000;
    assert_true(hcs_budget_take(&budget, 12000));
    assert_int_equal(looker.refusing, 2);
}

static void a_charged_block_is_had_when_nothing_is_left(void **state)
{
    struct hcs_budget budget;
    void *block;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_true(hcs_budget_take(&budget, LIMIT));
    assert_null(hcs_budget_alloc(&budget, 100));
    block = hcs_budget_alloc_charged(&budget, 100);
    assert_non_null(block);
    assert_in_range(hcs_budget_used(&budget), LIMIT + 100, LIMIT + 200);
    hcs_budget_free(&budget, block);
    assert_int_equal(hcs_budget_used(&budget), LIMIT);
}

static void blocks_are_charged_whole_and_given_back_whole(void **state)
{
    struct hcs_budget budget;
    char *block;
    size_t used;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    block = hcs_budget_alloc(&budget, 1000);
    assert_non_null(block);
    memset(block, 'x', 1000);
    used = hcs_budget_used(&budget);
    assert_true(used >= malloc_usable_size(block));
    assert_true(used > 1000 && used < 1100);
    block = hcs_budget_resize(&budget, block, 20000);
    assert_non_null(block);
    assert_int_equal(block[999], 'x');
    assert_true(hcs_budget_used(&budget) > 20000);
    assert_true(hcs_budget_used(&budget) < 25000);
    block = hcs_budget_resize(&budget, block, 100);
    assert_non_null(block);
    assert_true(hcs_budget_used(&budget) > 100);
    hcs_budget_free(&budget, block);
    assert_int_equal(hcs_budget_used(&budget), 0);
    hcs_budget_free(&budget, NULL);
    assert_int_equal(hcs_budget_used(&budget), 0);
}

static void a_block_beyond_the_limit_is_refused_and_the_old_one_stays(
    void **state)
{
    struct hcs_budget budget;
    char *block;
    size_t used;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    assert_null(hcs_budget_alloc(&budget, LIMIT));
    assert_int_equal(hcs_budget_used(&budget), 0);
    block = hcs_budget_alloc(&budget, 1000);
    assert_non_null(block);
    memset(block, 'y', 1000);
    used = hcs_budget_used(&budget);
    assert_null(hcs_budget_resize(&budget, block, LIMIT));
    assert_int_equal(hcs_budget_used(&budget), used);
    assert_int_equal(block[0], 'y');
    assert_int_equal(block[999], 'y');
    hcs_budget_free(&budget, block);
}

static void no_memory_in_the_machine_owes_the_budget_nothing(void **state)
{
    struct hcs_budget budget;
    char *block;
    char *moved;
    size_t used;

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    block = hcs_budget_alloc(&budget, 100);
    assert_non_null(block);
    used = hcs_budget_used(&budget);
    realloc_fails = true;
    moved = hcs_budget_resize(&budget, block, 5000);
    realloc_fails = false;
    assert_null(moved);
    assert_int_equal(hcs_budget_used(&budget), used);
    hcs_budget_free(&budget, block);
    realloc_fails = true;
    block = hcs_budget_alloc(&budget, 100);
    realloc_fails = false;
    assert_null(block);
    assert_int_equal(hcs_budget_used(&budget), 0);
}

static _Atomic unsigned over_limit;

static void *take_and_give(void *argument)
{
    struct hcs_budget *budget = argument;

    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t bytes = LIMIT / 3 + i % 100;

        if (hcs_budget_take(budget, bytes)) {
            if (hcs_budget_used(budget) > LIMIT) {
                atomic_fetch_add(&over_limit, 1);
            }
            hcs_budget_give(budget, bytes);
        }
    }
    return NULL;
}

static void threads_together_never_take_more_than_the_limit(void **state)
{
    struct hcs_budget budget;
    pthread_t threads[THREADS];

    (void)state;
    hcs_budget_init(&budget, LIMIT);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, take_and_give, &budget), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&over_limit), 0);
    assert_int_equal(hcs_budget_used(&budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_up_to_the_limit_and_not_a_byte_more),
        cmocka_unit_test(
            a_charge_is_never_refused_and_counts_against_the_others),
        cmocka_unit_test(a_size_that_would_wrap_round_is_refused),
        cmocka_unit_test(what_is_resident_beyond_what_was_taken_counts_too),
        cmocka_unit_test(a_correction_never_falls_below_the_first_one),
        cmocka_unit_test(
            more_resident_than_the_limit_refuses_all_until_corrected),
        cmocka_unit_test(what_was_freed_and_stays_resident_is_not_given_twice),
        cmocka_unit_test(a_charged_block_is_had_when_nothing_is_left),
        cmocka_unit_test(blocks_are_charged_whole_and_given_back_whole),
        cmocka_unit_test(
            a_block_beyond_the_limit_is_refused_and_the_old_one_stays),
        cmocka_unit_test(no_memory_in_the_machine_owes_the_budget_nothing),
        cmocka_unit_test(threads_together_never_take_more_than_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
