#include "base/arena.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    KIB = 1024,
    CHUNK_MIN = HCS_ARENA_CHUNK_MIN,
    CHUNK_MAX = HCS_ARENA_CHUNK_MAX,
    NODE = 64, /* sizeof(cJSON) */
    TAKES_SEEN = 64,
};

/* The next munmap fails, and is told here. */
static bool munmap_fails;
static void *not_unmapped;
static size_t not_unmapped_bytes;

int __real_munmap(void *at, size_t length);
int __wrap_munmap(void *at, size_t length)
{
    if (munmap_fails) {
        munmap_fails = false;
        not_unmapped = at;
        not_unmapped_bytes = length;
        errno = ENOMEM;
        return -1;
    }
    return __real_munmap(at, length);
}

struct budget {
    size_t limit;
    size_t used;
    size_t takes; /* granted */
    size_t gives;
    size_t sizes[TAKES_SEEN]; /* of the first grants */
};

static bool take(void *arg, size_t bytes)
{
    struct budget *budget = arg;

    if (bytes > budget->limit - budget->used) {
        return false;
    }
    if (budget->takes < TAKES_SEEN) {
        budget->sizes[budget->takes] = bytes;
    }
    budget->used += bytes;
    budget->takes++;
    return true;
}

static void give(void *arg, size_t bytes)
{
    struct budget *budget = arg;

    assert_true(bytes <= budget->used);
    budget->used -= bytes;
    budget->gives++;
}

static size_t page_rounded(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (bytes + page - 1) / page * page;
}

static bool is_mapped(void *at)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char resident;

    if (mincore((void *)((uintptr_t)at / page * page), 1, &resident) == 0) {
        return true;
    }
    assert_int_equal(errno, ENOMEM);
    return false;
}

static void nothing_is_mapped_before_the_first_block(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);

    (void)state;
    assert_non_null(arena);
    hcs_arena_reset(arena); /* makes no first chunk either */
    assert_int_equal(budget.takes, 0);

    assert_non_null(hcs_arena_alloc(arena, 1));
    assert_int_equal(budget.used, CHUNK_MIN);
    hcs_arena_destroy(arena);
}

static void blocks_are_aligned_apart_and_keep_what_is_written(void **state)
{
    enum { COUNT = 3000 };
    struct hcs_arena *arena = hcs_arena_create(NULL, NULL, NULL);
    uint8_t **blocks = calloc(COUNT, sizeof(*blocks));
    size_t *sizes = calloc(COUNT, sizeof(*sizes));
    uint32_t random = 12345;

    (void)state;
    assert_non_null(arena);
    assert_non_null(blocks);
    assert_non_null(sizes);
    for (size_t i = 0; i < COUNT; i++) {
        random = random * 1664525u + 1013904223u;
        sizes[i] = (random >> 16) % 300;
        if (i % 100 == 99) {
            sizes[i] *= 700; /* up to 210 KB */
        }
        blocks[i] = hcs_arena_alloc(arena, sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)(i % 251), sizes[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t at = 0; at < sizes[i]; at++) {
            assert_int_equal(blocks[i][at], i % 251);
        }
    }
    free(sizes);
    free(blocks);
    hcs_arena_destroy(arena);
}

static void blocks_of_no_bytes_are_distinct(void **state)
{
    struct hcs_arena *arena = hcs_arena_create(NULL, NULL, NULL);
    void *one = hcs_arena_alloc(arena, 0);
    void *two = hcs_arena_alloc(arena, 0);

    (void)state;
    assert_non_null(one);
    assert_non_null(two);
    assert_ptr_not_equal(one, two);
    hcs_arena_destroy(arena);
}

static void chunks_double_up_to_the_largest(void **state)
{
    static const size_t wanted[] = {64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB,
        1024 * KIB, 1024 * KIB, 1024 * KIB};
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);
    size_t total = 0;

    (void)state;
    while (budget.takes < sizeof(wanted) / sizeof(wanted[0])) {
        assert_non_null(hcs_arena_alloc(arena, 1000));
    }
    for (size_t i = 0; i < budget.takes; i++) {
        assert_int_equal(budget.sizes[i], wanted[i]);
        total += wanted[i];
    }
    assert_int_equal(budget.used, total);
    hcs_arena_destroy(arena);
}

static void small_nodes_lie_side_by_side(void **state)
{
    struct hcs_arena *arena = hcs_arena_create(NULL, NULL, NULL);
    uint8_t *last = hcs_arena_alloc(arena, NODE);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint8_t *next = hcs_arena_alloc(arena, NODE);

        assert_ptr_equal(next, last + NODE);
        last = next;
    }
    hcs_arena_destroy(arena);
}

static void large_tree_costs_little_more_than_its_nodes(void **state)
{
    const size_t tree_bytes = (size_t)40 * KIB * KIB;
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);

    (void)state;
    for (size_t i = 0; i < tree_bytes / NODE; i++) {
        assert_non_null(hcs_arena_alloc(arena, NODE));
    }
    /* a part of the last chunk, and of each of the others not even a node */
    assert_true(budget.used <= tree_bytes + CHUNK_MAX + 64 * NODE);
    hcs_arena_destroy(arena);
    assert_int_equal(budget.used, 0);
}

static void block_that_fits_a_chunk_exactly_shares_it_with_none(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);
    size_t most = CHUNK_MIN - 16; /* the chunk's own header */
    uint8_t *block = hcs_arena_alloc(arena, most);

    (void)state;
    assert_non_null(block);
    assert_int_equal(budget.used, CHUNK_MIN);
    block[0] = 1;
    block[most - 1] = 1;
    assert_non_null(hcs_arena_alloc(arena, 1));
    assert_int_equal(budget.used, CHUNK_MIN + 2 * CHUNK_MIN);
    hcs_arena_destroy(arena);
}

static void large_block_gets_a_mapping_and_leaves_the_chunk_in_use(void **state)
{
    const size_t large = (size_t)3 * KIB * KIB + 5;
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);
    uint8_t *before = hcs_arena_alloc(arena, NODE);
    uint8_t *block = hcs_arena_alloc(arena, large);

    (void)state;
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 16, 0);
    memset(block, 7, large);
    assert_int_equal(budget.used, CHUNK_MIN + page_rounded(large + 16));
    assert_ptr_equal(hcs_arena_alloc(arena, NODE), before + NODE);

    /* what just does not fit the next chunk has one of its own, too */
    assert_non_null(hcs_arena_alloc(arena, 2 * CHUNK_MIN - 15));
    assert_int_equal(budget.sizes[2], page_rounded(2 * CHUNK_MIN + 16));
    assert_ptr_equal(hcs_arena_alloc(arena, NODE), before + 2 * NODE);
    hcs_arena_destroy(arena);
    assert_int_equal(budget.used, 0);
}

static void latest_block_can_be_had_again_when_freed(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);
    uint8_t *node = hcs_arena_alloc(arena, NODE);
    uint8_t *number = hcs_arena_alloc(arena, 2);
    uint8_t *most;

    (void)state;
    memset(node, 5, NODE);
    hcs_arena_free(arena, number);
    assert_ptr_equal(hcs_arena_alloc(arena, NODE), number);

    /* others, those freed before, and none: nothing happens */
    hcs_arena_free(arena, node);
    hcs_arena_free(arena, NULL);
    number = hcs_arena_alloc(arena, 20);
    assert_ptr_equal(number, node + 2 * NODE);
    hcs_arena_free(arena, number);
    hcs_arena_free(arena, number);
    hcs_arena_free(arena, node + NODE);
    hcs_arena_free(arena, NULL);
    assert_ptr_equal(hcs_arena_alloc(arena, 1), number);
    for (size_t i = 0; i < NODE; i++) {
        assert_int_equal(node[i], 5);
    }

    /* its room, too */
    most = hcs_arena_alloc(arena, CHUNK_MIN - 16 - 2 * NODE - 16);
    hcs_arena_free(arena, most);
    assert_ptr_equal(
        hcs_arena_alloc(arena, CHUNK_MIN - 16 - 2 * NODE - 16), most);
    assert_int_equal(budget.used, CHUNK_MIN);
    hcs_arena_destroy(arena);
}

static void freeing_a_large_block_waits_for_the_reset(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);
    uint8_t *small = hcs_arena_alloc(arena, NODE);
    uint8_t *large = hcs_arena_alloc(arena, CHUNK_MAX);
    size_t bytes = budget.used;

    (void)state;
    hcs_arena_free(arena, large);
    assert_int_equal(budget.used, bytes);
    assert_ptr_equal(hcs_arena_alloc(arena, NODE), small + NODE);
    hcs_arena_reset(arena);
    hcs_arena_free(arena, small + NODE); /* lent before the reset */
    assert_ptr_equal(hcs_arena_alloc(arena, NODE), small);
    assert_ptr_equal(hcs_arena_alloc(arena, NODE), small + NODE);
    hcs_arena_destroy(arena);
}

static void reset_keeps_the_first_chunk_and_unmaps_the_rest(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);
    void *first = hcs_arena_alloc(arena, NODE);
    void *second = NULL;
    void *large;
    size_t takes;

    (void)state;
    while (budget.takes < 5) {
        second = hcs_arena_alloc(arena, NODE);
    }
    large = hcs_arena_alloc(arena, 2 * CHUNK_MAX);
    assert_true(is_mapped(second));
    assert_true(is_mapped(large));

    hcs_arena_reset(arena);
    assert_int_equal(budget.used, CHUNK_MIN);
    assert_int_equal(budget.gives, 5);
    assert_true(is_mapped(first));
    assert_false(is_mapped(second));
    assert_false(is_mapped(large));

    /* the next job starts where this one did, without a system call */
    takes = budget.takes;
    assert_ptr_equal(hcs_arena_alloc(arena, NODE), first);
    assert_non_null(hcs_arena_alloc(arena, CHUNK_MIN - 16 - NODE));
    assert_int_equal(budget.takes, takes);

    /* and grows as it did */
    assert_non_null(hcs_arena_alloc(arena, 1));
    assert_int_equal(budget.sizes[takes], 2 * CHUNK_MIN);
    hcs_arena_destroy(arena);
    assert_int_equal(budget.used, 0);
}

static void reset_without_a_first_chunk_keeps_nothing(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);

    (void)state;
    assert_non_null(hcs_arena_alloc(arena, CHUNK_MIN));
    assert_int_equal(budget.used, page_rounded((size_t)CHUNK_MIN + 16));
    hcs_arena_reset(arena);
    assert_int_equal(budget.used, 0);

    assert_non_null(hcs_arena_alloc(arena, NODE));
    assert_int_equal(budget.used, CHUNK_MIN);
    hcs_arena_destroy(arena);
    assert_int_equal(budget.used, 0);
}

static void spent_budget_refuses_and_harms_nothing(void **state)
{
    struct budget budget = {.limit = 3 * CHUNK_MIN - 1};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);
    uint8_t *kept = hcs_arena_alloc(arena, 1000);

    (void)state;
    memset(kept, 42, 1000);
    assert_null(hcs_arena_alloc(arena, CHUNK_MIN - 1000)); /* a 2nd chunk */
    assert_null(hcs_arena_alloc(arena, 4 * CHUNK_MIN));    /* its own */
    assert_int_equal(budget.used, CHUNK_MIN);

    /* what the chunk has left is still there to be had */
    assert_non_null(hcs_arena_alloc(arena, CHUNK_MIN - 16 - 1008));
    assert_null(hcs_arena_alloc(arena, 1));
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(kept[i], 42);
    }

    budget.limit = 3 * CHUNK_MIN;
    assert_non_null(hcs_arena_alloc(arena, 1));
    hcs_arena_destroy(arena);
    assert_int_equal(budget.used, 0);
}

static void budget_without_room_at_all_refuses_the_first_block(void **state)
{
    struct budget budget = {.limit = CHUNK_MIN - 1};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);

    (void)state;
    assert_null(hcs_arena_alloc(arena, 1));
    assert_int_equal(budget.used, 0);
    hcs_arena_reset(arena);
    budget.limit++;
    assert_non_null(hcs_arena_alloc(arena, 1));
    hcs_arena_destroy(arena);
}

static void refused_mapping_goes_back_to_the_budget(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);

    (void)state;
    /* more than any address space */
    assert_null(hcs_arena_alloc(arena, PTRDIFF_MAX));
    assert_int_equal(budget.takes, 1);
    assert_int_equal(budget.gives, 1);
    assert_int_equal(budget.used, 0);

    /* would overflow when rounded: nobody is even asked */
    assert_null(hcs_arena_alloc(arena, SIZE_MAX));
    assert_null(hcs_arena_alloc(arena, SIZE_MAX - 15));
    assert_null(hcs_arena_alloc(arena, (size_t)PTRDIFF_MAX + 1));
    assert_int_equal(budget.takes, 1);

    assert_non_null(hcs_arena_alloc(arena, 1));
    hcs_arena_destroy(arena);
    assert_int_equal(budget.used, 0);
}

/* A mapping that the kernel cannot take out of the middle of others
 * (vm.max_map_count) keeps its addresses, but none of its memory. */
static void memory_goes_back_also_where_the_addresses_do_not(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct hcs_arena *arena = hcs_arena_create(take, give, &budget);
    unsigned char *block;

    (void)state;
    assert_non_null(hcs_arena_alloc(arena, 1));
    block = hcs_arena_alloc(arena, (size_t)4 * CHUNK_MAX);
    assert_non_null(block);
    memset(block, 'x', (size_t)4 * CHUNK_MAX);
    munmap_fails = true;
    hcs_arena_reset(arena);
    assert_false(munmap_fails);
    assert_int_equal(budget.used, CHUNK_MIN);

    assert_true(block > (unsigned char *)not_unmapped);
    assert_true(
        block + CHUNK_MAX < (unsigned char *)not_unmapped + not_unmapped_bytes);
    assert_int_equal(block[0], 0);
    assert_int_equal(block[CHUNK_MAX], 0);
    assert_int_equal(__real_munmap(not_unmapped, not_unmapped_bytes), 0);
    hcs_arena_destroy(arena);
    assert_int_equal(budget.used, 0);
}

static void destroy_takes_a_missing_arena(void **state)
{
    (void)state;
    hcs_arena_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_mapped_before_the_first_block),
        cmocka_unit_test(blocks_are_aligned_apart_and_keep_what_is_written),
        cmocka_unit_test(blocks_of_no_bytes_are_distinct),
        cmocka_unit_test(chunks_double_up_to_the_largest),
        cmocka_unit_test(small_nodes_lie_side_by_side),
        cmocka_unit_test(large_tree_costs_little_more_than_its_nodes),
        cmocka_unit_test(block_that_fits_a_chunk_exactly_shares_it_with_none),
        cmocka_unit_test(
            large_block_gets_a_mapping_and_leaves_the_chunk_in_use),
        cmocka_unit_test(latest_block_can_be_had_again_when_freed),
        cmocka_unit_test(freeing_a_large_block_waits_for_the_reset),
        cmocka_unit_test(reset_keeps_the_first_chunk_and_unmaps_the_rest),
        cmocka_unit_test(reset_without_a_first_chunk_keeps_nothing),
        cmocka_unit_test(spent_budget_refuses_and_harms_nothing),
        cmocka_unit_test(budget_without_room_at_all_refuses_the_first_block),
        cmocka_unit_test(refused_mapping_goes_back_to_the_budget),
        cmocka_unit_test(memory_goes_back_also_where_the_addresses_do_not),
        cmocka_unit_test(destroy_takes_a_missing_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
