/* The table of reasons: what stands in logs, metrics and problem documents. */
#include "http/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <string.h>

static void words_are_lower_case_with_single_dashes(void **state)
{
    (void)state;
    for (int i = 0; i < HCS_REASON_COUNT; i++) {
        const char *word = hcs_reason_word((enum hcs_reason)i);
        size_t length = strlen(word);

        assert_true(length > 0);
        for (size_t k = 0; k < length; k++) {
            if (word[k] == '-') {
                assert_true(k > 0 && k + 1 < length && word[k + 1] != '-');
            } else {
                assert_true(islower((unsigned char)word[k]));
            }
        }
    }
}

static void words_are_unique(void **state)
{
    (void)state;
    for (int i = 0; i < HCS_REASON_COUNT; i++) {
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(hcs_reason_word((enum hcs_reason)i),
                hcs_reason_word((enum hcs_reason)k));
        }
    }
}

static void statuses_are_those_that_hcsd_sends(void **state)
{
    static const unsigned known[] = {0, 400, 404, 405, 408, 412, 413, 414, 415,
        417, 421, 422, 431, 500, 501, 502, 503, 504, 505};

    (void)state;
    for (int i = 0; i < HCS_REASON_COUNT; i++) {
        unsigned status = hcs_reason_status((enum hcs_reason)i);
        unsigned found = 0;

        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
            found += known[k] == status;
        }
        assert_int_equal(found, 1);
    }
}

static void answers_have_a_title_and_silent_closes_have_none(void **state)
{
    (void)state;
    for (int i = 0; i < HCS_REASON_COUNT; i++) {
        enum hcs_reason reason = (enum hcs_reason)i;

        assert_int_equal(hcs_reason_status(reason) != 0,
            hcs_reason_title(reason)[0] != '\0');
    }
}

static void rows_stand_at_their_names(void **state)
{
    (void)state;
    assert_string_equal(hcs_reason_word(HCS_REASON_NONE), "none");
    assert_int_equal(hcs_reason_status(HCS_REASON_NONE), 0);
    assert_string_equal(hcs_reason_word(HCS_REASON_QUEUE_FULL), "queue-full");
    assert_int_equal(hcs_reason_status(HCS_REASON_QUEUE_FULL), 503);
    assert_string_equal(
        hcs_reason_title(HCS_REASON_QUEUE_FULL), "The queue is full");
    assert_string_equal(hcs_reason_word(HCS_REASON_IO_ERROR), "io-error");
    assert_int_equal(hcs_reason_status(HCS_REASON_BAD_VERSION), 505);
    assert_int_equal(hcs_reason_status(HCS_REASON_BAD_CODING), 501);
    assert_int_equal(hcs_reason_status(HCS_REASON_TARGET_TOO_LONG), 414);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_lower_case_with_single_dashes),
        cmocka_unit_test(words_are_unique),
        cmocka_unit_test(statuses_are_those_that_hcsd_sends),
        cmocka_unit_test(answers_have_a_title_and_silent_closes_have_none),
        cmocka_unit_test(rows_stand_at_their_names),
    };

    return cmocka_run_group_tests_name("reason", tests, NULL, NULL);
}
