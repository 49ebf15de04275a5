/* Handlers whose struct is shorter or longer than this daemon's. */
#include "job/handler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* As a later header has it. */
struct later_handler {
    struct hcs_handler first;
    void (*later)(void);
};

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    return HCS_OK;
}

static void later(void)
{
}

static struct later_handler make_handler(uint32_t size)
{
    return (struct later_handler){
        .first = {.abi = HCS_HANDLER_ABI,
            .size = size,
            .flags = HCS_HANDLER_BRIEF,
            .name = "module",
            .run = run},
        .later = later,
    };
}

static void assert_fit(
    struct later_handler handler, size_t own_size, enum hcs_handler_fit fit)
{
    assert_int_equal(hcs_handler_check(&handler.first, own_size), fit);
}

static void handler_of_our_size_fits(void **state)
{
    (void)state;
    assert_fit(make_handler(sizeof(struct hcs_handler)),
        sizeof(struct hcs_handler), HCS_HANDLER_FITS);
    assert_fit(make_handler(HCS_HANDLER_SIZE_MIN), sizeof(struct hcs_handler),
        HCS_HANDLER_FITS);
}

static void handler_of_another_version_is_known_by_its_first_number(
    void **state)
{
    struct later_handler handler = make_handler(0);

    (void)state;
    handler.first.abi = HCS_HANDLER_ABI - 1;
    assert_fit(handler, sizeof(struct hcs_handler), HCS_HANDLER_OTHER_ABI);
    handler.first.abi = HCS_HANDLER_ABI + 1;
    assert_fit(handler, sizeof(struct hcs_handler), HCS_HANDLER_OTHER_ABI);
}

static void size_that_no_header_had_is_refused(void **state)
{
    static const uint32_t sizes[] = {
        0, 8, HCS_HANDLER_SIZE_MIN - 1, HCS_HANDLER_SIZE_MAX + 1, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_fit(make_handler(sizes[i]), sizeof(struct hcs_handler),
            HCS_HANDLER_BAD_SIZE);
    }
}

/* Behind its size a module has other things. */
static void older_module_lacks_what_came_later(void **state)
{
    struct later_handler theirs = make_handler(sizeof(struct hcs_handler));
    struct later_handler own;

    (void)state;
    memset(&own, 0xff, sizeof(own));
    assert_fit(theirs, sizeof(own), HCS_HANDLER_FITS);
    hcs_handler_copy(&own.first, sizeof(own), &theirs.first);
    assert_memory_equal(&own.first, &theirs.first, sizeof(own.first));
    assert_true(own.later == NULL);
}

static void module_of_our_header_has_all(void **state)
{
    struct later_handler theirs = make_handler(sizeof(struct later_handler));
    struct later_handler own;

    (void)state;
    assert_fit(theirs, sizeof(own), HCS_HANDLER_FITS);
    hcs_handler_copy(&own.first, sizeof(own), &theirs.first);
    assert_memory_equal(&own, &theirs, sizeof(own));
}

static void flag_that_is_not_known_is_refused(void **state)
{
    struct later_handler theirs = make_handler(sizeof(struct hcs_handler));

    (void)state;
    theirs.first.flags = HCS_HANDLER_BRIEF;
    assert_fit(theirs, sizeof(struct hcs_handler), HCS_HANDLER_FITS);
    theirs.first.flags = UINT64_C(1) << 40;
    assert_fit(theirs, sizeof(struct hcs_handler), HCS_HANDLER_TOO_NEW);
}

static void newer_module_fits_if_it_does_not_use_what_is_new(void **state)
{
    struct later_handler theirs = make_handler(sizeof(struct later_handler));
    struct hcs_handler own[2];

    (void)state;
    assert_fit(theirs, sizeof(own[0]), HCS_HANDLER_TOO_NEW);
    theirs.later = NULL;
    assert_fit(theirs, sizeof(own[0]), HCS_HANDLER_FITS);
    memset(own, 0xff, sizeof(own));
    hcs_handler_copy(own, sizeof(own[0]), &theirs.first);
    assert_memory_equal(own, &theirs, sizeof(own[0]));
    assert_int_equal(own[1].abi, UINT32_MAX); /* nothing behind it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handler_of_our_size_fits),
        cmocka_unit_test(
            handler_of_another_version_is_known_by_its_first_number),
        cmocka_unit_test(size_that_no_header_had_is_refused),
        cmocka_unit_test(older_module_lacks_what_came_later),
        cmocka_unit_test(module_of_our_header_has_all),
        cmocka_unit_test(flag_that_is_not_known_is_refused),
        cmocka_unit_test(newer_module_fits_if_it_does_not_use_what_is_new),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
