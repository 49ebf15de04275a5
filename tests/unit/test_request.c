/* A request's bytes: in its record, then in blocks within the budget. */
/* wrap: realloc */
#include "job/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "sync/mailbox.h"

enum {
    INLINE = HCS_REQUEST_BYTES - offsetof(struct hcs_request, inline_bytes),
    PLENTY = 64 * 1024 * 1024,
};

static bool no_memory;

void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);

void *__wrap_realloc(void *block, size_t bytes)
{
    return no_memory ? NULL : __real_realloc(block, bytes);
}

struct fixture {
    struct hcs_budget budget;
    struct hcs_mailbox home;
    struct hcs_request *request;
};

static int set_up(void **state)
{
    struct fixture *f = malloc(sizeof(*f));

    no_memory = false;
    hcs_budget_init(&f->budget, PLENTY);
    /* A block of exactly its size: a sanitizer sees a byte too many. */
    f->request = malloc(HCS_REQUEST_BYTES);
    memset(f->request, 0xee, HCS_REQUEST_BYTES); /* a record is not cleared */
    hcs_request_init(f->request, &f->budget, &f->home);
    *state = f;
    return 0;
}

/* Whatever a test did: what fini leaves behind counts nothing. */
static int tear_down(void **state)
{
    struct fixture *f = *state;
    int rc;

    hcs_request_fini(f->request);
    rc = hcs_budget_used(&f->budget) == 0 ? 0 : -1;
    free(f->request);
    free(f);
    return rc;
}

static char pattern(size_t i)
{
    return (char)('!' + i % 89);
}

static char *patterned(size_t from, size_t length)
{
    char *bytes = malloc(length > 0 ? length : 1);

    for (size_t i = 0; i < length; i++) {
        bytes[i] = pattern(from + i);
    }
    return bytes;
}

static void append(struct hcs_request *request, size_t length)
{
    char *bytes = patterned(request->in_length, length);

    assert_true(hcs_request_append(request, bytes, length));
    free(bytes);
}

static void output(struct hcs_request *request, size_t length)
{
    char *bytes = patterned(request->out_length, length);

    assert_true(hcs_request_write(request, bytes, length));
    free(bytes);
}

static void check(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != pattern(i)) {
            fail_msg("byte %zu of %zu", i, length);
        }
    }
}

static bool in_record(const struct hcs_request *request, const char *at)
{
    return at >= request->inline_bytes &&
           at < (const char *)request + HCS_REQUEST_BYTES;
}

/* --- Its beginning. */

static void fresh_request_has_defaults_and_costs_nothing(void **state)
{
    struct fixture *f = *state;
    size_t length = 1;

    assert_ptr_equal(f->request->task.home, &f->home);
    assert_null(f->request->waiter.owner);
    assert_int_equal(f->request->status, 200);
    assert_int_equal(f->request->reason, HCS_REASON_NONE);
    assert_string_equal(f->request->content_type, "application/json");
    assert_null(hcs_request_body(f->request, &length));
    assert_int_equal(length, 0);
    assert_int_equal(hcs_budget_used(&f->budget), 0);
}

static void record_holds_a_usual_request(void **state)
{
    struct fixture *f = *state;

    (void)f;
    assert_true((int)INLINE >= 384);
    assert_int_equal(HCS_REQUEST_BYTES % 16, 0); /* of the slab */
}

/* --- Input. */

static void input_stays_in_the_record_while_it_fits(void **state)
{
    struct fixture *f = *state;

    append(f->request, 1);
    append(f->request, INLINE - 1);
    assert_true(in_record(f->request, f->request->in));
    assert_int_equal(hcs_budget_used(&f->budget), 0);
    check(f->request->in, INLINE);
}

static void input_moves_to_a_block_with_its_next_byte(void **state)
{
    struct fixture *f = *state;

    append(f->request, INLINE);
    append(f->request, 1);
    assert_false(in_record(f->request, f->request->in));
    assert_true(hcs_budget_used(&f->budget) > INLINE);
    check(f->request->in, INLINE + 1);
    hcs_request_fini(f->request);
    assert_int_equal(hcs_budget_used(&f->budget), 0);
}

static void input_that_grows_by_little_keeps_every_byte(void **state)
{
    struct fixture *f = *state;
    const char *before = NULL;
    unsigned moves = 0;

    for (size_t i = 0; i < 300000; i += 37) {
        append(f->request, 37);
        moves += f->request->in != before;
        before = f->request->in;
        assert_true(f->request->in_length <= f->request->in_capacity);
    }
    check(f->request->in, f->request->in_length);
    assert_true(moves < 40); /* not a copy each time */
}

/* Pages of [at, at + bytes) that the kernel has memory for, and all of them. */
static void count_resident(
    const char *at, size_t bytes, size_t *resident, size_t *all)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)at / page * page;
    unsigned char seen[1024];

    *all = ((uintptr_t)at + bytes - first + page - 1) / page;
    assert_true(*all <= sizeof seen);
    assert_int_equal(mincore((void *)first, *all * page, seen), 0);
    *resident = 0;
    for (size_t i = 0; i < *all; i++) {
        *resident += seen[i] & 1;
    }
}

/* Or it would hide from the budget what else is resident. */
static void room_is_resident_as_soon_as_it_counts(void **state)
{
    struct fixture *f = *state;
    size_t resident, all;

    f->request->head_length = 1;
    f->request->head.content_length = 4000000;
    assert_true(hcs_request_append(f->request, "x", 1));
    for (size_t room = 200000; room < 2000000; room += 600000) {
        assert_true(hcs_request_reserve(f->request, room));
        count_resident(
            f->request->in, f->request->in_capacity, &resident, &all);
        assert_true(all > room / 65536);
        assert_int_equal(resident, all);
        assert_memory_equal(f->request->in, "x", 1);
    }
}

static void reserve_gives_room_and_counts_nothing_as_input(void **state)
{
    struct fixture *f = *state;

    append(f->request, 10);
    assert_true(hcs_request_reserve(f->request, 100000));
    assert_int_equal(f->request->in_length, 10);
    assert_true(f->request->in_capacity >= 100010);
    memset(f->request->in + 10, 'x', 100000);
    check(f->request->in, 10);
}

static void block_is_no_larger_than_a_body_of_known_length(void **state)
{
    struct fixture *f = *state;

    append(f->request, 200);
    f->request->head_length = 200;
    f->request->head.content_length = 100000;
    for (size_t i = 0; i < 100; i++) {
        append(f->request, 1000);
        assert_true(f->request->in_capacity <= 100200);
    }
    assert_int_equal(f->request->in_length, 100200);
    check(f->request->in, 100200);
}

static void body_stands_behind_the_head(void **state)
{
    struct fixture *f = *state;
    size_t length;

    append(f->request, 30);
    f->request->head_length = 20;
    assert_ptr_equal(
        hcs_request_body(f->request, &length), f->request->in + 20);
    assert_int_equal(length, 10);
}

/* --- Output. */

static void output_stands_behind_the_input_in_the_record(void **state)
{
    struct fixture *f = *state;

    append(f->request, 100);
    output(f->request, 1);
    output(f->request, INLINE - 101);
    assert_ptr_equal(f->request->out, f->request->inline_bytes + 100);
    assert_int_equal(hcs_budget_used(&f->budget), 0);
    check(f->request->in, 100);
    check(f->request->out, INLINE - 100);
}

static void output_moves_to_a_block_with_its_next_byte(void **state)
{
    struct fixture *f = *state;

    append(f->request, 100);
    output(f->request, INLINE - 100);
    output(f->request, 1);
    assert_false(in_record(f->request, f->request->out));
    check(f->request->in, 100);
    check(f->request->out, INLINE - 99);
    assert_true(hcs_budget_used(&f->budget) > 0);
}

static void output_has_the_whole_record_when_the_input_has_a_block(void **state)
{
    struct fixture *f = *state;
    size_t used;

    append(f->request, 5000);
    used = hcs_budget_used(&f->budget);
    output(f->request, INLINE);
    assert_true(in_record(f->request, f->request->out));
    assert_int_equal(hcs_budget_used(&f->budget), used);
    check(f->request->in, 5000);
    check(f->request->out, INLINE);
}

/* The end of the record is no place in it. */
static void input_that_fills_the_record_leaves_no_place_for_output(void **state)
{
    struct fixture *f = *state;

    append(f->request, INLINE);
    assert_true(hcs_request_write(f->request, "", 0));
    assert_int_equal(f->request->out_length, 0);
    output(f->request, 50);
    assert_false(in_record(f->request, f->request->out));
    output(f->request, 5000);
    check(f->request->in, INLINE);
    check(f->request->out, 5050);
}

static void writing_nothing_is_nothing(void **state)
{
    struct fixture *f = *state;

    assert_true(hcs_request_write(f->request, NULL, 0));
    assert_int_equal(f->request->out_length, 0);
    output(f->request, 3);
    assert_true(hcs_request_write(f->request, NULL, 0));
    assert_int_equal(f->request->out_length, 3);
}

static void every_split_of_the_record_keeps_input_and_output(void **state)
{
    struct fixture *f = *state;

    for (size_t in = 1; in <= INLINE + 2; in++) {
        hcs_request_init(f->request, &f->budget, &f->home);
        append(f->request, in);
        output(f->request, 5);
        output(f->request, 90);
        check(f->request->in, in);
        check(f->request->out, 95);
        hcs_request_fini(f->request);
        assert_int_equal(hcs_budget_used(&f->budget), 0);
    }
}

/* Fields between what is there and what comes; the record moves to a block on
 * the way, whatever the input left of it. */
static void fields_stand_before_the_body(void **state)
{
    struct fixture *f = *state;
    static const char fields[] = "A: one\r\nLonger-Name: \r\nB: two\r\n";
    size_t length = sizeof(fields) - 1;

    for (size_t in = INLINE - 200; in <= INLINE; in++) {
        hcs_request_init(f->request, &f->budget, &f->home);
        append(f->request, in);
        assert_true(hcs_request_write_field(f->request, "A", "one"));
        assert_int_equal(f->request->fields_length, 8);
        assert_true(hcs_request_write(f->request, "{\"a\":", 5));
        assert_true(hcs_request_write_field(f->request, "Longer-Name", ""));
        assert_true(hcs_request_write_field(f->request, "B", "two"));
        assert_true(hcs_request_write(f->request, "1}", 2));
        assert_int_equal(f->request->fields_length, length);
        assert_int_equal(f->request->out_length, length + 7);
        assert_memory_equal(f->request->out, fields, length);
        assert_memory_equal(f->request->out + length, "{\"a\":1}", 7);
        check(f->request->in, in);
        hcs_request_fini(f->request);
    }
}

static void field_that_is_refused_leaves_all_as_it_was(void **state)
{
    struct fixture *f = *state;
    static char value[4000];

    memset(value, 'v', sizeof(value) - 1);
    for (int by_system = 0; by_system < 2; by_system++) {
        hcs_request_init(f->request, &f->budget, &f->home);
        append(f->request, 100);
        assert_true(hcs_request_write_field(f->request, "A", "one"));
        assert_true(hcs_request_write(f->request, "body", 4));
        no_memory = by_system;
        f->budget.limit = by_system ? PLENTY : 0;
        assert_false(hcs_request_write_field(f->request, "B", value));
        no_memory = false;
        f->budget.limit = PLENTY;
        assert_int_equal(f->request->fields_length, 8);
        assert_int_equal(f->request->out_length, 12);
        assert_memory_equal(f->request->out, "A: one\r\nbody", 12);
        hcs_request_fini(f->request);
    }
}

/* --- Refusals. */

static void check_refused(struct fixture *f, bool by_system)
{
    struct hcs_request before = *f->request;
    size_t used = hcs_budget_used(&f->budget);
    char *large = patterned(0, 4 * PLENTY / 64);

    no_memory = by_system;
    f->budget.limit = by_system ? PLENTY : used + 16;
    assert_false(hcs_request_append(f->request, large, 4 * PLENTY / 64));
    assert_false(hcs_request_reserve(f->request, 4 * PLENTY / 64));
    assert_false(hcs_request_write(f->request, large, 4 * PLENTY / 64));
    no_memory = false;
    f->budget.limit = PLENTY;
    free(large);
    assert_ptr_equal(f->request->in, before.in);
    assert_int_equal(f->request->in_length, before.in_length);
    assert_int_equal(f->request->in_capacity, before.in_capacity);
    assert_int_equal(f->request->out_length, before.out_length);
    assert_int_equal(hcs_budget_used(&f->budget), used);
    check(f->request->in, before.in_length);
    check(f->request->out, before.out_length);
    /* And may go on. */
    append(f->request, 2000);
    output(f->request, 2000);
    check(f->request->in, f->request->in_length);
    check(f->request->out, f->request->out_length);
}

static void refusal_leaves_the_record_intact(void **state)
{
    struct fixture *f = *state;

    append(f->request, 300);
    check_refused(f, false);
}

static void refusal_leaves_a_full_record_intact(void **state)
{
    struct fixture *f = *state;

    append(f->request, INLINE);
    check_refused(f, false);
}

static void refusal_leaves_blocks_intact(void **state)
{
    struct fixture *f = *state;

    append(f->request, 3000);
    output(f->request, 3000);
    check_refused(f, false);
}

static void lack_of_memory_leaves_the_record_intact(void **state)
{
    struct fixture *f = *state;

    append(f->request, 300);
    output(f->request, 20);
    check_refused(f, true);
}

static void lack_of_memory_leaves_blocks_intact(void **state)
{
    struct fixture *f = *state;

    append(f->request, 3000);
    output(f->request, 3000);
    check_refused(f, true);
}

static void fini_may_be_called_again(void **state)
{
    struct fixture *f = *state;

    append(f->request, 3000);
    output(f->request, 3000);
    hcs_request_fini(f->request);
    hcs_request_fini(f->request);
    assert_int_equal(hcs_budget_used(&f->budget), 0);
}

/* --- The identifier. */

static void identifier_is_the_clients_or_the_one_that_was_made(void **state)
{
    struct fixture *f = *state;
    size_t length;

    append(f->request, 50);
    f->request->head.request_id = (struct hcs_span){.offset = 7, .length = 5};
    assert_ptr_equal(hcs_request_id(f->request, &length), f->request->in + 7);
    assert_int_equal(length, 5);

    f->request->head.request_id.length = 0;
    f->request->id_length = HCS_EXCHANGE_ID_MADE;
    assert_ptr_equal(hcs_request_id(f->request, &length), f->request->made_id);
    assert_int_equal(length, HCS_EXCHANGE_ID_MADE);
}

/* Lengths are of 32 bits. */
static void more_than_a_length_can_say_is_refused(void **state)
{
    struct fixture *f = *state;

    append(f->request, 10);
    f->budget.limit = SIZE_MAX / 2;
    assert_false(hcs_request_reserve(f->request, (size_t)UINT32_MAX - 9));
    assert_false(hcs_request_reserve(f->request, (size_t)UINT32_MAX * 2));
    f->budget.limit = PLENTY; /* as much as it can say, but not as we have */
    assert_false(hcs_request_reserve(f->request, (size_t)UINT32_MAX - 10));
    assert_int_equal(hcs_budget_used(&f->budget), 0);
    assert_int_equal(f->request->in_length, 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fresh_request_has_defaults_and_costs_nothing),
        TEST(record_holds_a_usual_request),
        TEST(input_stays_in_the_record_while_it_fits),
        TEST(input_moves_to_a_block_with_its_next_byte),
        TEST(input_that_grows_by_little_keeps_every_byte),
        TEST(room_is_resident_as_soon_as_it_counts),
        TEST(reserve_gives_room_and_counts_nothing_as_input),
        TEST(block_is_no_larger_than_a_body_of_known_length),
        TEST(body_stands_behind_the_head),
        TEST(output_stands_behind_the_input_in_the_record),
        TEST(output_moves_to_a_block_with_its_next_byte),
        TEST(output_has_the_whole_record_when_the_input_has_a_block),
        TEST(input_that_fills_the_record_leaves_no_place_for_output),
        TEST(writing_nothing_is_nothing),
        TEST(every_split_of_the_record_keeps_input_and_output),
        TEST(fields_stand_before_the_body),
        TEST(field_that_is_refused_leaves_all_as_it_was),
        TEST(refusal_leaves_the_record_intact),
        TEST(refusal_leaves_a_full_record_intact),
        TEST(refusal_leaves_blocks_intact),
        TEST(lack_of_memory_leaves_the_record_intact),
        TEST(lack_of_memory_leaves_blocks_intact),
        TEST(more_than_a_length_can_say_is_refused),
        TEST(fini_may_be_called_again),
        TEST(identifier_is_the_clients_or_the_one_that_was_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
