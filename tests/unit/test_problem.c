/* Problem documents: always JSON, whatever a handler or a client said. */
#include "http/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

static const char UUID[] = "01890a5d-ac96-774b-bcce-b302099a8057 and more";

/* What a handler left behind its end is not looked at. */
static char out[HCS_PROBLEM_MAX + 16];

static cJSON *parse(size_t length)
{
    const char *end = NULL;
    cJSON *tree;

    assert_in_range(length, 2, HCS_PROBLEM_MAX);
    for (size_t i = length; i < sizeof(out); i++) {
        assert_int_equal(out[i], 0x5a);
    }
    assert_int_equal(out[length - 1], '\n');
    out[length] = '\0';
    tree = cJSON_ParseWithOpts(out, &end, 0);
    if (tree == NULL) {
        fail_msg("no JSON: %s", out);
    }
    assert_ptr_equal(end, out + length - 1);
    return tree;
}

static cJSON *write(const struct hcs_problem *problem)
{
    memset(out, 0x5a, sizeof(out));
    return parse(hcs_problem_write(out, problem));
}

static const char *text(const cJSON *tree, const char *name)
{
    const char *value =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, name));

    assert_non_null(value);
    return value;
}

static double number(const cJSON *tree, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(tree, name);

    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void check_members(const cJSON *tree, enum hcs_reason reason)
{
    char type[64];

    snprintf(type, sizeof(type), "/problems/%s", hcs_reason_word(reason));
    assert_string_equal(text(tree, "type"), type);
    assert_string_equal(text(tree, "title"), hcs_reason_title(reason));
    assert_int_equal((int)number(tree, "status"), hcs_reason_status(reason));
}

static void each_reason_makes_a_document(void **state)
{
    (void)state;
    for (int i = HCS_REASON_NONE + 1; i < HCS_REASON_COUNT; i++) {
        enum hcs_reason reason = (enum hcs_reason)i;
        cJSON *tree = write(&(struct hcs_problem){.reason = reason});

        check_members(tree, reason);
        assert_string_equal(text(tree, "detail"), hcs_reason_advice(reason));
        assert_int_equal(cJSON_GetArraySize(tree), 4);
        cJSON_Delete(tree);
    }
}

static void each_reason_has_advice(void **state)
{
    (void)state;
    for (int i = HCS_REASON_NONE + 1; i < HCS_REASON_COUNT; i++) {
        size_t length = strlen(hcs_reason_advice((enum hcs_reason)i));

        if (length == 0) {
            fail_msg("none for %s", hcs_reason_word((enum hcs_reason)i));
        }
    }
    assert_string_equal(hcs_reason_advice(HCS_REASON_NONE), "");
}

static void each_reason_has_a_page_of_its_own(void **state)
{
    (void)state;
    for (int i = HCS_REASON_NONE + 1; i < HCS_REASON_COUNT; i++) {
        enum hcs_reason reason = (enum hcs_reason)i;
        const char *word = hcs_reason_word(reason);
        cJSON *tree;

        memset(out, 0x5a, sizeof(out));
        tree = parse(hcs_problem_page(out, word, strlen(word)));
        check_members(tree, reason);
        assert_string_equal(text(tree, "detail"), hcs_reason_advice(reason));
        cJSON_Delete(tree);
    }
}

static void other_words_have_no_page(void **state)
{
    static const char *const others[] = {
        "", "none", "queue", "queue-ful", "queue-fulll", "Queue-Full", "/"};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(
            hcs_problem_page(out, others[i], strlen(others[i])), 0);
    }
    /* The word ends where its length says. */
    assert_true(hcs_problem_page(out, "drainingXXX", 8) > 0);
}

static void instance_and_figures_stand_only_where_they_are_given(void **state)
{
    cJSON *tree = write(&(struct hcs_problem){
        .reason = HCS_REASON_QUEUE_FULL,
        .instance = UUID,
        .retry_after_ms = 5000,
        .queue_depth = 0,
    });

    (void)state;
    assert_string_equal(text(tree, "instance"),
        "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057");
    assert_int_equal((int)number(tree, "retry_after_ms"), 5000);
    assert_int_equal((int)number(tree, "queue_depth"), 0);
    assert_int_equal(cJSON_GetArraySize(tree), 7);
    cJSON_Delete(tree);

    tree = write(&(struct hcs_problem){
        .reason = HCS_REASON_QUEUE_FULL, .queue_depth = 7});
    assert_null(cJSON_GetObjectItem(tree, "queue_depth"));
    cJSON_Delete(tree);
}

static void every_byte_of_a_detail_keeps_the_document_json(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char detail[3] = {'<', (char)byte, '>'};
        char expected[4] = {
            '<', byte < 0x20 || byte >= 0x7f ? '?' : (char)byte, '>', '\0'};
        cJSON *tree = write(&(struct hcs_problem){
            .reason = HCS_REASON_INVALID_JOB,
            .detail = detail,
            .detail_length = sizeof(detail),
        });

        assert_string_equal(text(tree, "detail"), expected);
        cJSON_Delete(tree);
    }
}

static void detail_may_be_in_any_language_but_not_cut_within_a_character(
    void **state)
{
    static const struct {
        const char *detail;
        const char *expected;
    } cases[] = {
        {"\xc3\xa9t\xc3\xa9: \xe2\x82\xac, \xf0\x9f\x99\x82",
            "\xc3\xa9t\xc3\xa9: \xe2\x82\xac, \xf0\x9f\x99\x82"},
        {"\xe2\x82", "?"},        /* cut */
        {"\xed\xa0\x80", "???"},  /* a surrogate */
        {"\xc0\xaf.", "??."},     /* overlong */
        {"a\xe2\"\x82", "a?\"?"}, /* a quote within */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cJSON *tree = write(&(struct hcs_problem){
            .reason = HCS_REASON_INVALID_JOB,
            .detail = cases[i].detail,
            .detail_length = strlen(cases[i].detail),
        });

        assert_string_equal(text(tree, "detail"), cases[i].expected);
        cJSON_Delete(tree);
    }
}

static void long_detail_is_cut_and_fits_however_hostile(void **state)
{
    static const char hostile[] = {'"', '\\', '\0', '\n', (char)0xff, 'a'};
    static char detail[100000];

    (void)state;
    for (size_t i = 0; i < sizeof(hostile); i++) {
        for (int r = HCS_REASON_NONE + 1; r < HCS_REASON_COUNT; r++) {
            cJSON *tree;

            memset(detail, hostile[i], sizeof(detail));
            tree = write(&(struct hcs_problem){
                .reason = (enum hcs_reason)r,
                .detail = detail,
                .detail_length = sizeof(detail),
                .instance = UUID,
                .retry_after_ms = UINT64_MAX,
                .queue_depth = UINT64_MAX,
            });
            assert_int_equal(
                strlen(text(tree, "detail")), HCS_PROBLEM_DETAIL_MAX);
            cJSON_Delete(tree);
        }
    }
}

static void empty_detail_is_not_replaced(void **state)
{
    cJSON *tree = write(&(struct hcs_problem){
        .reason = HCS_REASON_INVALID_JOB, .detail = "x", .detail_length = 0});

    (void)state;
    assert_string_equal(text(tree, "detail"), "");
    cJSON_Delete(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reason_makes_a_document),
        cmocka_unit_test(each_reason_has_advice),
        cmocka_unit_test(each_reason_has_a_page_of_its_own),
        cmocka_unit_test(other_words_have_no_page),
        cmocka_unit_test(instance_and_figures_stand_only_where_they_are_given),
        cmocka_unit_test(every_byte_of_a_detail_keeps_the_document_json),
        cmocka_unit_test(
            detail_may_be_in_any_language_but_not_cut_within_a_character),
        cmocka_unit_test(long_detail_is_cut_and_fits_however_hostile),
        cmocka_unit_test(empty_detail_is_not_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
