/*
 * Loops of which only the numbers of connections are there.
 */
#include "shard/balance.h"

#include "shard/shard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { LOOPS_MAX = 64 };

static struct hcs_service service;
static struct hcs_shard *shards[LOOPS_MAX];
static unsigned asked[LOOPS_MAX];

void __wrap_hcs_shard_ask(struct hcs_shard *shard);
void __wrap_hcs_shard_ask(struct hcs_shard *shard)
{
    asked[shard->index]++;
}

static void set_loops(unsigned count, const unsigned *connections)
{
    unsigned all = 0;

    memset(asked, 0, sizeof(asked));
    service.shards = shards;
    service.shard_count = count;
    for (unsigned i = 0; i < count; i++) {
        if (shards[i] == NULL) {
            shards[i] = aligned_alloc(
                alignof(struct hcs_shard), sizeof(struct hcs_shard));
            assert_non_null(shards[i]);
        }
        memset(shards[i], 0, sizeof(struct hcs_shard));
        shards[i]->service = &service;
        shards[i]->index = i;
        hcs_counter_add(
            &shards[i]->counts.states[HCS_CONN_IDLE], connections[i]);
        all += connections[i];
    }
    atomic_store(&service.gate.connections, all);
}

static int free_loops(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LOOPS_MAX; i++) {
        free(shards[i]);
        shards[i] = NULL;
    }
    return 0;
}

static void the_limit_is_the_mean_and_a_32nd_but_at_least_8_more(void **state)
{
    (void)state;
    assert_int_equal(hcs_balance_limit(0, 4), 8);
    assert_int_equal(hcs_balance_limit(3, 4), 8);
    assert_int_equal(hcs_balance_limit(40, 4), 18);
    assert_int_equal(hcs_balance_limit(8 * 287, 8), 287 + 8);
    assert_int_equal(hcs_balance_limit(8 * 288, 8), 288 + 9);
    assert_int_equal(hcs_balance_limit(10000, 8), 1250 + 39);
    assert_int_equal(hcs_balance_limit(1000000, 51), 19607 + 612);
}

/* What the header says: as far above the mean as below it. */
static void with_100_each_no_loop_has_12_times_anothers(void **state)
{
    (void)state;
    for (uint64_t mean = 100; mean < 100000; mean += 7) {
        uint64_t most = hcs_balance_limit(mean * 8, 8) + 1;
        uint64_t least = mean - (most - mean);

        assert_true(most * 10 <= least * 12);
    }
}

static void over_share_is_above_the_limit_and_under_share_up_to_the_mean(
    void **state)
{
    (void)state;
    set_loops(4, (unsigned[]){18, 19, 10, 11});
    /* 58 in all: a mean of 14.5 */
    assert_false(hcs_balance_is_over_share(shards[0]));
    assert_false(hcs_balance_is_under_share(shards[0]));
    assert_true(hcs_balance_is_under_share(shards[2]));
    set_loops(4, (unsigned[]){22, 23, 10, 3});
    assert_false(hcs_balance_is_over_share(shards[0]));
    assert_true(hcs_balance_is_over_share(shards[1]));
    set_loops(2, (unsigned[]){0, 0});
    assert_true(
        hcs_balance_is_under_share(shards[0])); /* or no loop would be */
    set_loops(3, (unsigned[]){5, 5, 5});
    assert_true(hcs_balance_is_under_share(shards[0]));
    set_loops(3, (unsigned[]){5, 5, 4});
    assert_false(hcs_balance_is_under_share(shards[0]));
}

static void the_emptiest_loop_is_asked_whether_it_is_paused_or_not(void **state)
{
    (void)state;
    set_loops(4, (unsigned[]){30, 7, 6, 9});
    hcs_balance_hand_over(shards[0]);
    assert_int_equal(asked[0], 0);
    assert_int_equal(asked[1], 0);
    assert_int_equal(asked[2], 1);
    assert_int_equal(asked[3], 0);
    set_loops(2, (unsigned[]){5, 5});
    hcs_balance_hand_over(shards[1]);
    assert_int_equal(asked[0], 1);
    assert_int_equal(asked[1], 0); /* never itself, whatever it has */
}

static void a_paused_loop_under_its_share_is_asked_as_well(void **state)
{
    (void)state;
    set_loops(5, (unsigned[]){30, 7, 6, 9, 20});
    atomic_store(&shards[0]->paused, true);
    atomic_store(&shards[3]->paused, true);
    atomic_store(&shards[4]->paused, true); /* not under its share */
    hcs_balance_hand_over(shards[0]);
    assert_int_equal(asked[0], 0);
    assert_int_equal(asked[1], 0);
    assert_int_equal(asked[2], 1);
    assert_int_equal(asked[3], 1);
    assert_int_equal(asked[4], 0);
}

/* However few they are and whatever they have, another loop is asked. */
static void there_is_always_a_loop_to_hand_over_to(void **state)
{
    unsigned connections[LOOPS_MAX] = {0};

    (void)state;
    for (unsigned count = 2; count <= LOOPS_MAX; count++) {
        unsigned all = 0;

        for (unsigned i = 0; i < count; i++) {
            connections[i] = (i * 7919 + count) % 13;
        }
        set_loops(count, connections);
        hcs_balance_hand_over(shards[count / 2]);
        for (unsigned i = 0; i < count; i++) {
            all += asked[i];
        }
        assert_int_equal(all, 1);
        assert_int_equal(asked[count / 2], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_is_the_mean_and_a_32nd_but_at_least_8_more),
        cmocka_unit_test(with_100_each_no_loop_has_12_times_anothers),
        cmocka_unit_test(
            over_share_is_above_the_limit_and_under_share_up_to_the_mean),
        cmocka_unit_test(
            the_emptiest_loop_is_asked_whether_it_is_paused_or_not),
        cmocka_unit_test(a_paused_loop_under_its_share_is_asked_as_well),
        cmocka_unit_test(there_is_always_a_loop_to_hand_over_to),
    };

    return cmocka_run_group_tests(tests, NULL, free_loops);
}
