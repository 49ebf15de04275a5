/* What hcs/handler.h offers to a handler, through a route whose handler is
 * played here, on a worker's state as the pool opens it. */
#include "job/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/arena.h"
#include "http/problem.h"
#include "job/request.h"
#include "sync/deferral.h"
#include "sync/mailbox.h"

enum { PLENTY = 64 * 1024 * 1024 };

/* A cJSON that reads no more than 63 characters of a number, as those before
 * 1.7.19 do unless their distribution mended them. */
static bool short_numbers;

cJSON *__real_cJSON_ParseWithLengthOpts(
    const char *text, size_t length, const char **end, cJSON_bool terminated);
cJSON *__wrap_cJSON_ParseWithLengthOpts(
    const char *text, size_t length, const char **end, cJSON_bool terminated);

cJSON *__wrap_cJSON_ParseWithLengthOpts(
    const char *text, size_t length, const char **end, cJSON_bool terminated)
{
    return __real_cJSON_ParseWithLengthOpts(
        text, short_numbers && length > 63 ? 63 : length, end, terminated);
}

static const char HEAD[] =
    "POST /a%20b?x=1&y HTTP/1.1\r\nHost: here\r\nX-Mine:  one two \t\r\n"
    "X-Request-ID: id-7\r\nX-Empty:\r\n\r\n";

static struct hcs_budget budget;
static struct hcs_mailbox home;
static struct hcs_request *request;
/* What run of the handler does; the mount has a copy of the handler. */
static enum hcs_outcome (*running)(void *self, struct hcs_job *job);

static enum hcs_outcome run_what_is_set(void *self, struct hcs_job *job)
{
    return running(self, job);
}

static struct hcs_handler handler = {.abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "played",
    .run = run_what_is_set};
static struct hcs_host host;
static struct hcs_router *router;
static struct hcs_job_context context;
static void *worker;
static unsigned runs;
static int marker;

static int set_up(void **state)
{
    (void)state;
    runs = 0;
    hcs_budget_init(&budget, PLENTY);
    host = (struct hcs_host){.budget = &budget, .workers = 1};
    host.deferrals =
        hcs_deferrals_create(hcs_budget_take, hcs_budget_give, &budget);
    router = hcs_router_create();
    if (host.deferrals == NULL || router == NULL ||
        hcs_router_add(router, hcs_mount_create(&host, &handler, &marker,
                                   "/played", NULL, NULL)) != 0 ||
        hcs_router_open(router) != 0) {
        return -1;
    }
    context = (struct hcs_job_context){&budget, router};
    worker = HCS_JOB_WORK.open(&context, 0);
    request = malloc(HCS_REQUEST_BYTES);
    return worker != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    HCS_JOB_WORK.close(worker);
    hcs_router_destroy(router);
    hcs_deferrals_destroy(host.deferrals);
    free(request);
    return hcs_budget_used(&budget) == 0 ? 0 : -1;
}

static struct hcs_span span_of(const char *text)
{
    const char *at = strstr(HEAD, text);

    assert_non_null(at);
    return (struct hcs_span){
        .offset = (uint32_t)(at - HEAD), .length = (uint32_t)strlen(text)};
}

/* Queued, as a loop would. */
static void make_request(const char *body, size_t length)
{
    hcs_request_init(request, &budget, &home);
    assert_true(hcs_request_append(request, HEAD, sizeof(HEAD) - 1));
    request->head_length = sizeof(HEAD) - 1;
    request->head.method = HCS_POST;
    request->head.path = span_of("/a%20b");
    request->head.query = span_of("x=1&y");
    request->head.request_id = span_of("id-7");
    request->head.host = span_of("here");
    assert_true(hcs_request_append(request, body, length));
    request->route = hcs_router_job(router, 0);
}

/* Then run by the worker. */
static void run_bytes(enum hcs_outcome (*run)(void *, struct hcs_job *),
    const char *body, size_t length)
{
    make_request(body, length);
    running = run;
    assert_true(HCS_JOB_WORK.run(worker, &request->task));
}

static void run_job(
    enum hcs_outcome (*run)(void *, struct hcs_job *), const char *body)
{
    run_bytes(run, body, strlen(body));
}

static void check_output(const char *expected)
{
    assert_int_equal(request->out_length, strlen(expected));
    if (request->out_length > 0) {
        assert_memory_equal(request->out, expected, strlen(expected));
    }
}

/* Ends what run_job began; what it cost has to be back. */
static void drop(void)
{
    hcs_request_fini(request);
    assert_true(hcs_budget_used(&budget) <= HCS_ARENA_CHUNK_MIN);
}

/* --- What was asked. */

static void is_text(const char *at, const size_t *length, const char *expected)
{
    assert_non_null(at);
    assert_int_equal(*length, strlen(expected));
    assert_memory_equal(at, expected, *length);
}

static enum hcs_outcome look(void *self, struct hcs_job *job)
{
    size_t length;
    const char *value;

    runs++;
    assert_ptr_equal(self, &marker);
    is_text(hcs_job_body(job, &length), &length, "{\"a\": [1, 2] }");
    assert_true(hcs_job_member(job, "a", &value, &length));
    is_text(value, &length, "[1, 2]");
    assert_false(hcs_job_member(job, "b", &value, &length));
    assert_string_equal(hcs_job_method(job), "POST");
    is_text(hcs_job_path(job, &length), &length, "/a%20b");
    is_text(hcs_job_query(job, &length), &length, "x=1&y");
    is_text(hcs_job_request_id(job, &length), &length, "id-7");
    is_text(hcs_job_field(job, "x-mine", &length), &length, "one two");
    is_text(hcs_job_field(job, "HOST", &length), &length, "here");
    is_text(hcs_job_field(job, "x-request-id", &length), &length, "id-7");
    /* As the head has it, which may be from the target. */
    request->head.host = span_of("/a%20b");
    is_text(hcs_job_field(job, "Host", &length), &length, "/a%20b");
    request->head.host = (struct hcs_span){0};
    assert_null(hcs_job_field(job, "Host", &length));
    assert_int_equal(length, 0);
    assert_non_null(hcs_job_field(job, "X-Empty", &length));
    assert_int_equal(length, 0);
    length = 1;
    assert_null(hcs_job_field(job, "X-Min", &length));
    assert_int_equal(length, 0);
    assert_false(hcs_job_cancelled(job));
    atomic_store(&request->cancelled, true);
    assert_true(hcs_job_cancelled(job));
    return HCS_OK;
}

static void handler_sees_what_was_asked(void **state)
{
    (void)state;
    run_job(look, "{\"a\": [1, 2] }");
    assert_int_equal(runs, 1);
    assert_int_equal(request->reason, HCS_REASON_NONE);
    assert_true(atomic_load(&request->started_ns) > 0);
    drop();
}

static enum hcs_outcome look_at_nothing(void *self, struct hcs_job *job)
{
    size_t length = 1;
    const char *value;

    (void)self;
    runs++;
    assert_null(hcs_job_body(job, &length));
    assert_int_equal(length, 0);
    assert_false(hcs_job_member(job, "a", &value, &length));
    assert_null(hcs_job_json(job));
    return HCS_OK;
}

static void job_without_a_body_is_run(void **state)
{
    (void)state;
    run_job(look_at_nothing, "");
    assert_int_equal(runs, 1);
    assert_int_equal(request->reason, HCS_REASON_NONE);
    drop();
}

static enum hcs_outcome look_at_root(void *self, struct hcs_job *job)
{
    size_t length;

    (void)self;
    request->head.path.length = 0;
    request->head.query.length = 0;
    request->head.method = HCS_GET;
    is_text(hcs_job_path(job, &length), &length, "/");
    assert_null(hcs_job_query(job, &length));
    assert_int_equal(length, 0);
    assert_string_equal(hcs_job_method(job), "GET");
    return HCS_OK;
}

static void absolute_form_without_a_path_names_the_root(void **state)
{
    (void)state;
    run_job(look_at_root, "1");
    assert_int_equal(request->reason, HCS_REASON_NONE);
    drop();
}

/* --- Validation. */

static enum hcs_outcome never(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    fail_msg("run with a body that is no JSON");
    return HCS_OK;
}

static void body_that_is_no_json_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *body;
        const char *end; /* of the detail */
    } bad[] = {
        {"{\"a\": 01}", ", at byte 7"},
        {"[1,]", ", at byte 3"},
        {"{", ", at byte 1"},
        {" ", ", at byte 1"},
        {"1 2", ", at byte 2"},
        {"\"\xff\"", ", at byte 1"},
        {"nul", ", at byte 3"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        size_t length = strlen(bad[i].end);

        run_job(never, bad[i].body);
        assert_int_equal(request->reason, HCS_REASON_BAD_JSON);
        assert_true(request->out_length > length + 5);
        assert_memory_equal(
            request->out + request->out_length - length, bad[i].end, length);
        drop();
    }
}

/* Whatever part of the record the input leaves for the detail. */
static void refusal_says_what_it_has_room_for(void **state)
{
    char body[HCS_REQUEST_BYTES];

    (void)state;
    memset(body, ' ', sizeof(body));
    for (size_t length = 1; length < sizeof(body); length++) {
        run_bytes(never, body, length);
        assert_int_equal(request->reason, HCS_REASON_BAD_JSON);
        assert_true(request->out_length > 0);
        drop();
    }
    budget.limit = 0;
    run_bytes(never, body,
        HCS_REQUEST_BYTES - offsetof(struct hcs_request, inline_bytes) -
            (sizeof(HEAD) - 1));
    assert_int_equal(request->reason, HCS_REASON_BAD_JSON);
    assert_int_equal(request->out_length, 0);
    drop();
}

/* --- The tree. */

static enum hcs_outcome sum_up(void *self, struct hcs_job *job)
{
    cJSON *tree = hcs_job_json(job);
    const cJSON *item;
    double sum = 0;

    (void)self;
    runs++;
    if (tree == NULL) {
        return HCS_NO_MEMORY;
    }
    assert_ptr_equal(hcs_job_json(job), tree); /* built once */
    cJSON_ArrayForEach(item, tree)
    {
        sum += item->valuedouble;
    }
    tree = cJSON_CreateObject();
    cJSON_AddNumberToObject(tree, "sum", sum);
    assert_true(hcs_job_write_json(job, tree));
    cJSON_Delete(tree);
    return HCS_OK;
}

static void tree_is_built_and_printed_within_the_budget(void **state)
{
    (void)state;
    run_job(sum_up, " [1, 2.5, 10]\r\n");
    assert_int_equal(request->reason, HCS_REASON_NONE);
    check_output("{\"sum\":13.5}");
    assert_true(hcs_budget_used(&budget) > 0);
    drop();
}

static char *zeros(size_t count)
{
    char *body = malloc(2 * count + 2);

    body[0] = '[';
    for (size_t i = 0; i < count; i++) {
        memcpy(body + 1 + 2 * i, i + 1 < count ? "0," : "0]", 2);
    }
    body[1 + 2 * count] = '\0';
    return body;
}

static void tree_goes_back_to_the_budget_when_the_job_ends(void **state)
{
    char *body = zeros(50000);

    (void)state;
    for (int i = 0; i < 3; i++) {
        run_job(sum_up, body);
        assert_int_equal(request->reason, HCS_REASON_NONE);
        check_output("{\"sum\":0}");
        drop();
    }
    free(body);
}

static void tree_beyond_the_budget_is_memory_pressure(void **state)
{
    char *body = zeros(50000); /* 100 KB, and some megabytes of nodes */

    (void)state;
    budget.limit = 1024 * 1024;
    run_job(sum_up, body);
    assert_int_equal(runs, 1);
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    assert_int_equal(request->out_length, 0);
    drop();
    /* And the next one is served. */
    run_job(sum_up, "[4]");
    assert_int_equal(request->reason, HCS_REASON_NONE);
    check_output("{\"sum\":4}");
    drop();
    free(body);
}

static enum hcs_outcome shrug_off(void *self, struct hcs_job *job)
{
    (void)self;
    (void)hcs_job_json(job);
    (void)hcs_job_write(job, "fine", 4);
    return HCS_OK;
}

static void handler_that_ignores_it_does_not_hide_the_lack(void **state)
{
    char *body = zeros(50000);

    (void)state;
    budget.limit = 1024 * 1024;
    run_job(shrug_off, body);
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    assert_int_equal(request->out_length, 0);
    drop();
    free(body);
}

/* Leaves no memory for what is printed of a tree, and says that all is fine. */
static enum hcs_outcome print_without_memory(void *self, struct hcs_job *job)
{
    char text[200000];
    cJSON *tree;

    (void)self;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    tree = cJSON_CreateString(text);
    assert_non_null(tree);
    budget.limit = hcs_budget_used(&budget);
    assert_false(hcs_job_write_json(job, tree));
    budget.limit = PLENTY;
    cJSON_Delete(tree);
    return HCS_OK;
}

static void tree_that_cannot_be_printed_is_memory_pressure(void **state)
{
    (void)state;
    run_job(print_without_memory, "1");
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    assert_int_equal(request->out_length, 0);
    drop();
}

static enum hcs_outcome ask_for_odd_blocks(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    cJSON_free(NULL);
    assert_null(cJSON_malloc(SIZE_MAX));
    assert_null(cJSON_malloc(SIZE_MAX - 8));
    return HCS_OK;
}

static void blocks_of_no_size_and_of_all_sizes_do_no_harm(void **state)
{
    (void)state;
    run_job(ask_for_odd_blocks, "1");
    assert_int_equal(request->reason, HCS_REASON_NONE);
    drop();
}

/* --- Numbers that some versions of cJSON cannot hold (those before 1.7.19: 63
 * characters). The right value or none, never another one. */

static enum hcs_outcome read_number(void *self, struct hcs_job *job)
{
    cJSON *tree = hcs_job_json(job);

    (void)self;
    runs++;
    if (tree == NULL) {
        return HCS_NO_MEMORY;
    }
    if (cJSON_IsArray(tree)) {
        tree = cJSON_GetArrayItem(tree, 0);
    }
    assert_true(tree->valuedouble > 0.99e99 && tree->valuedouble < 1.01e99);
    return HCS_OK;
}

static void check_number(const char *body)
{
    run_job(read_number, body);
    if (request->reason != HCS_REASON_NONE) {
        assert_int_equal(request->reason, HCS_REASON_INVALID_JOB);
        assert_true(request->out_length > 5);
        assert_memory_equal(request->out, "cJSON", 5);
    }
    drop();
}

static void number_of_a_hundred_digits_is_right_or_refused(void **state)
{
    static const char white[] = " \t\r\n";
    char digits[101];
    char body[128];

    (void)state;
    memset(digits, '0', 100);
    digits[0] = '1';
    digits[100] = '\0';
    check_number(digits);
    for (size_t i = 0; i < 4; i++) {
        body[0] = white[i];
        strcpy(body + 1, digits);
        strcat(body, white + i);
        check_number(body);
    }
    strcpy(body, "[");
    strcat(body, digits);
    strcat(body, ", 2]");
    check_number(body);
    assert_int_equal(runs, 6);
}

static void start_of_a_number_is_not_taken_for_all_of_it(void **state)
{
    char digits[101];

    (void)state;
    memset(digits, '0', 100);
    digits[0] = '1';
    digits[100] = '\0';
    short_numbers = true;
    run_job(read_number, digits);
    short_numbers = false;
    assert_int_equal(request->reason, HCS_REASON_INVALID_JOB);
    assert_true(request->out_length > 5);
    assert_memory_equal(request->out, "cJSON", 5);
    drop();
}

static enum hcs_outcome pass_through(void *self, struct hcs_job *job)
{
    const char *value;
    size_t length;

    (void)self;
    (void)hcs_job_json(job);
    assert_true(hcs_job_member(job, "n", &value, &length));
    assert_true(hcs_job_write(job, value, length));
    return HCS_OK;
}

static void member_passes_through_however_long(void **state)
{
    char body[256] = "{\"n\": ";
    char digits[151];

    (void)state;
    memset(digits, '9', 150);
    digits[150] = '\0';
    strcat(body, digits);
    strcat(body, "}");
    run_job(pass_through, body);
    assert_int_equal(request->reason, HCS_REASON_NONE);
    check_output(digits);
    drop();
}

/* --- How it ends. */

static enum hcs_outcome outcome;
static const char *detail;
static const char *before, *after; /* what is written around the detail */

static enum hcs_outcome end(void *self, struct hcs_job *job)
{
    (void)self;
    if (before != NULL) {
        assert_true(hcs_job_write(job, before, strlen(before)));
    }
    if (detail != NULL) {
        hcs_job_set_detail(job, detail);
    }
    if (after != NULL) {
        assert_true(hcs_job_write(job, after, strlen(after)));
    }
    return outcome;
}

static void end_with(enum hcs_outcome how, const char *said,
    const char *written_before, const char *written_after)
{
    outcome = how;
    detail = said;
    before = written_before;
    after = written_after;
    run_job(end, "1");
}

static void outcome_names_the_reason(void **state)
{
    static const struct {
        enum hcs_outcome outcome;
        enum hcs_reason reason;
    } pairs[] = {
        {HCS_OK, HCS_REASON_NONE},
        {HCS_INVALID, HCS_REASON_INVALID_JOB},
        {HCS_FAILED, HCS_REASON_HANDLER_FAILED},
        {HCS_NO_MEMORY, HCS_REASON_MEMORY_PRESSURE},
        {HCS_UNAVAILABLE, HCS_REASON_HANDLER_UNAVAILABLE},
        {HCS_DIED, HCS_REASON_HANDLER_DIED},
        {HCS_TIMED_OUT, HCS_REASON_DEADLINE_EXCEEDED},
        {HCS_PENDING, HCS_REASON_HANDLER_FAILED}, /* it has no token */
        {(enum hcs_outcome)77, HCS_REASON_HANDLER_FAILED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        end_with(pairs[i].outcome, NULL, NULL, NULL);
        assert_int_equal(request->reason, pairs[i].reason);
        check_output("");
        drop();
    }
}

static void what_was_written_is_the_reply(void **state)
{
    (void)state;
    end_with(HCS_OK, NULL, "{\"a\":", "1}");
    check_output("{\"a\":1}");
    drop();
}

static void detail_is_what_was_set_and_nothing_written(void **state)
{
    (void)state;
    end_with(HCS_INVALID, "no such table", NULL, NULL);
    check_output("no such table");
    drop();
    end_with(HCS_FAILED, "no such table", "{\"half\":", "of a reply}");
    check_output("no such table");
    drop();
    end_with(HCS_FAILED, NULL, "{\"half\":", "of a reply}");
    check_output("");
    drop();
    end_with(HCS_NO_MEMORY, "no such table", NULL, NULL);
    check_output("no such table");
    drop();
}

static void long_detail_is_cut(void **state)
{
    static char text[100000];

    (void)state;
    memset(text, 'd', sizeof(text) - 1);
    end_with(HCS_INVALID, text, NULL, NULL);
    assert_int_equal(request->out_length, HCS_PROBLEM_DETAIL_MAX);
    text[HCS_PROBLEM_DETAIL_MAX] = '\0';
    check_output(text);
    drop();
}

static enum hcs_outcome set_all(void *self, struct hcs_job *job)
{
    (void)self;
    assert_true(hcs_job_set_status(job, 201));
    hcs_job_set_content_type(job, "text/csv");
    assert_false(hcs_job_set_status(job, 199));
    assert_false(hcs_job_set_status(job, 600));
    assert_false(hcs_job_set_status(job, 65736)); /* 200 in 16 bits */
    return HCS_OK;
}

static void status_outside_of_its_range_is_not_set(void **state)
{
    (void)state;
    run_job(set_all, "1");
    assert_int_equal(request->status, 201);
    assert_string_equal(request->content_type, "text/csv");
    drop();
}

/* RFC 9110, 15: each of these needs what no function here can give. */
static enum hcs_outcome set_each(void *self, struct hcs_job *job)
{
    static const unsigned refused[] = {
        205, 206, 226, 401, 405, 407, 408, 416, 426, 511};

    (void)self;
    for (unsigned status = 0; status < 1000; status++) {
        bool allowed =
            (status >= 200 && status < 300) || (status >= 400 && status < 600);

        for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
            allowed = allowed && status != refused[i];
        }
        assert_true(hcs_job_set_status(job, 299));
        assert_int_equal(hcs_job_set_status(job, status), allowed);
        assert_int_equal(request->status, allowed ? status : 299);
    }
    return HCS_OK;
}

static void status_that_needs_more_is_not_set(void **state)
{
    (void)state;
    run_job(set_each, "1");
    drop();
}

static enum hcs_outcome write_too_much(void *self, struct hcs_job *job)
{
    static char block[65536];
    unsigned count = 0;

    (void)self;
    while (hcs_job_write(job, block, sizeof(block))) {
        count++;
        assert_true(count < 64);
    }
    assert_true(count > 2);
    return HCS_OK;
}

static void reply_beyond_the_budget_is_memory_pressure(void **state)
{
    (void)state;
    budget.limit = 2 * 1024 * 1024;
    run_job(write_too_much, "1");
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    assert_int_equal(request->out_length, 0);
    drop();
}

/* --- Strings and fields. */

static enum hcs_outcome write_strings(void *self, struct hcs_job *job)
{
    (void)self;
    return hcs_job_write(job, "[", 1) && hcs_job_write_string(job, "", 0) &&
                   hcs_job_write(job, ",", 1) &&
                   hcs_job_write_string(job, "a\"b\\\n\0\xff\xc3\xa9z", 10) &&
                   hcs_job_write(job, "]", 1)
               ? HCS_OK
               : HCS_NO_MEMORY;
}

static void strings_are_quoted_and_escaped(void **state)
{
    (void)state;
    run_job(write_strings, "1");
    check_output("[\"\",\"a\\\"b\\\\\\n\\u0000\xef\xbf\xbd\xc3\xa9z\"]");
    drop();
}

/* Whatever is left of the record: each piece may be the one too many. */
static enum hcs_outcome write_string_without_memory(
    void *self, struct hcs_job *job)
{
    static const char text[] = "\"\"\"\"\"\"\"\"plain\"\"\"\"\"\"\"\"plain";

    (void)self;
    budget.limit = 0;
    while (hcs_job_write_string(job, text, sizeof(text) - 1)) {
    }
    budget.limit = PLENTY;
    return HCS_OK;
}

static void string_that_does_not_fit_is_memory_pressure(void **state)
{
    char body[64] = "                                                       ";

    (void)state;
    for (size_t length = 1; length < 64; length++) {
        body[length - 1] = '1';
        run_bytes(write_string_without_memory, body, length);
        body[length - 1] = ' ';
        assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
        check_output("");
        drop();
    }
}

static enum hcs_outcome add_fields(void *self, struct hcs_job *job)
{
    (void)self;
    assert_true(hcs_job_add_field(job, "ETag", "\"7\""));
    assert_true(hcs_job_write(job, "{\"a\":", 5));
    assert_true(hcs_job_add_field(job, "X-Long_Name!", "one two\t\xc3\xa9"));
    assert_true(hcs_job_write(job, "1}", 2));
    assert_true(hcs_job_add_field(job, "x-empty", ""));
    return HCS_OK;
}

static void fields_stand_before_the_body_in_order(void **state)
{
    static const char fields[] =
        "ETag: \"7\"\r\nX-Long_Name!: one two\t\xc3\xa9\r\nx-empty: \r\n";

    (void)state;
    run_job(add_fields, "1");
    assert_int_equal(request->fields_length, sizeof(fields) - 1);
    assert_int_equal(request->out_length, sizeof(fields) - 1 + 7);
    assert_memory_equal(request->out, fields, sizeof(fields) - 1);
    assert_memory_equal(request->out + sizeof(fields) - 1, "{\"a\":1}", 7);
    drop();
}

static enum hcs_outcome add_bad_fields(void *self, struct hcs_job *job)
{
    static const char *const names[] = {"", " ", "a b", "a:", "a\r\nB", "\r\n",
        "\xc3\xa9", "a\x7f", "(a)", "a\t", ":status", "Connection",
        "content-length", "CONTENT-TYPE", "Date", "keep-alive",
        "Proxy-Connection", "Server-Timing", "te", "Trailer",
        "Transfer-Encoding", "Upgrade", "x-request-id"};
    static const char *const values[] = {" a", "a ", "\ta", "a\t", " ",
        "a\r\nSet-Cookie: b", "a\nb", "a\rb", "\r\n\r\n<html>", "a\x01",
        "a\x7f"};

    (void)self;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (hcs_job_add_field(job, names[i], "value")) {
            fail_msg("\"%s\" was added", names[i]);
        }
    }
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (hcs_job_add_field(job, "X-Field", values[i])) {
            fail_msg("\"%s\" was added", values[i]);
        }
    }
    return HCS_OK;
}

static void field_that_is_none_or_not_the_handlers_is_not_added(void **state)
{
    (void)state;
    run_job(add_bad_fields, "1");
    assert_int_equal(request->reason, HCS_REASON_NONE);
    check_output("");
    drop();
}

/* Of 4096 bytes, in fields of 64. */
static enum hcs_outcome add_many_fields(void *self, struct hcs_job *job)
{
    static const char value[] =
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789a";

    (void)self;
    assert_int_equal(1 + 2 + sizeof(value) - 1 + 2, 64);
    for (unsigned i = 0; i < 63; i++) {
        assert_true(hcs_job_add_field(job, "A", value));
    }
    assert_false(hcs_job_add_field(job, "AB", value));
    assert_true(hcs_job_add_field(job, "A", value));
    assert_false(hcs_job_add_field(job, "A", ""));
    return hcs_job_write(job, "7", 1) ? HCS_OK : HCS_NO_MEMORY;
}

static void fields_together_have_a_limit(void **state)
{
    (void)state;
    run_job(add_many_fields, "1");
    assert_int_equal(request->reason, HCS_REASON_NONE);
    assert_int_equal(request->fields_length, 4096);
    assert_int_equal(request->out_length, 4097);
    assert_int_equal(request->out[4096], '7');
    drop();
}

static enum hcs_outcome add_field_without_memory(
    void *self, struct hcs_job *job)
{
    static char value[2000];

    (void)self;
    memset(value, 'v', sizeof(value) - 1);
    budget.limit = 0;
    assert_false(hcs_job_add_field(job, "A", value));
    budget.limit = PLENTY;
    return HCS_OK;
}

static void field_without_memory_is_memory_pressure(void **state)
{
    (void)state;
    run_job(add_field_without_memory, "1");
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    check_output("");
    drop();
}

static enum hcs_outcome set_tied_statuses(void *self, struct hcs_job *job)
{
    static const struct {
        unsigned status;
        const char *field;
    } tied[] = {{301, "Location"}, {302, "location"}, {303, "LOCATION"},
        {307, "Location"}, {308, "Location"}, {401, "WWW-Authenticate"},
        {405, "allow"}};
    struct hcs_request *its = request;

    (void)self;
    for (size_t i = 0; i < sizeof(tied) / sizeof(tied[0]); i++) {
        its->fields_length = 0;
        its->out_length = 0;
        /* Neither in the body, nor as a part or the value of another. */
        assert_true(hcs_job_write(job, "Location: /\r\nAllow: GET\r\n", 25));
        assert_true(hcs_job_add_field(job, "X-Location", "Location: /"));
        assert_true(hcs_job_add_field(job, "Allow-Not", "Allow"));
        assert_true(hcs_job_add_field(job, "WWW-Authenticat", "Basic"));
        assert_false(hcs_job_set_status(job, tied[i].status));
        assert_true(hcs_job_add_field(job, tied[i].field, "x"));
        assert_true(hcs_job_add_field(job, "Last", "y"));
        assert_true(hcs_job_set_status(job, tied[i].status));
        assert_int_equal(its->status, tied[i].status);
    }
    return HCS_OK;
}

static void status_that_is_tied_to_a_field_is_set_with_it(void **state)
{
    (void)state;
    run_job(set_tied_statuses, "1");
    drop();
}

static enum hcs_outcome fail_around_fields(void *self, struct hcs_job *job)
{
    (void)self;
    assert_true(hcs_job_add_field(job, "Before", "1"));
    assert_true(hcs_job_write(job, "lost", 4));
    hcs_job_set_detail(job, "why it ");
    assert_true(hcs_job_add_field(job, "After", "1"));
    hcs_job_set_detail(job, "why it failed");
    assert_true(hcs_job_add_field(job, "After", "1"));
    assert_true(hcs_job_write(job, "lost", 4));
    return HCS_FAILED;
}

static enum hcs_outcome fail_with_fields_alone(void *self, struct hcs_job *job)
{
    (void)self;
    assert_true(hcs_job_add_field(job, "Before", "1"));
    assert_true(hcs_job_write(job, "lost", 4));
    return HCS_DIED;
}

static void fields_go_with_a_reply_of_the_handlers_own(void **state)
{
    (void)state;
    run_job(fail_around_fields, "1");
    assert_int_equal(request->reason, HCS_REASON_HANDLER_FAILED);
    assert_int_equal(request->fields_length, 0);
    check_output("why it failed");
    drop();
    run_job(fail_with_fields_alone, "1");
    assert_int_equal(request->reason, HCS_REASON_HANDLER_DIED);
    assert_int_equal(request->fields_length, 0);
    check_output("");
    drop();
}

/* --- Memory, time and state. */

static enum hcs_outcome take_memory(void *self, struct hcs_job *job)
{
    (void)self;
    for (size_t bytes = 0; bytes < 3000; bytes += 7) {
        char *block = hcs_job_alloc(job, bytes);

        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        memset(block, 'b', bytes);
    }
    assert_non_null(hcs_job_alloc(job, 1000000));
    assert_true(hcs_budget_used(&budget) > 1000000);
    return HCS_OK;
}

static enum hcs_outcome take_too_much(void *self, struct hcs_job *job)
{
    (void)self;
    assert_null(hcs_job_alloc(job, PLENTY));
    assert_null(hcs_job_alloc(job, SIZE_MAX));
    return HCS_OK;
}

static void memory_of_a_job_is_of_the_budget_and_gone_with_it(void **state)
{
    (void)state;
    run_job(take_memory, "1");
    assert_int_equal(request->reason, HCS_REASON_NONE);
    drop(); /* looks that it is back */
    run_job(take_too_much, "1");
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    drop();
}

static enum hcs_outcome look_at_deadline(void *self, struct hcs_job *job)
{
    struct hcs_mount *mount = hcs_router_job(router, 0)->mount;
    uint64_t started_ns = atomic_load(&request->started_ns);

    (void)self;
    runs++;
    assert_true(hcs_job_deadline_ns(job) == UINT64_MAX);
    mount->job_timeout_ms = 1500;
    assert_int_equal(hcs_job_deadline_ns(job), started_ns + 1500000000);
    mount->job_timeout_ms = 0;
    assert_null(hcs_job_worker_state(job)); /* none was opened */
    return HCS_OK;
}

static void deadline_counts_from_the_start_of_the_run(void **state)
{
    (void)state;
    run_job(look_at_deadline, "1");
    assert_int_equal(runs, 1);
    drop();
}

static unsigned states_open, worker_that_fails;

static int open_state(void *self, unsigned index, void **state)
{
    if (index == worker_that_fails && self == &states_open) {
        return -1;
    }
    *state = self;
    states_open++;
    return 0;
}

static void close_state(void *self, void *state)
{
    assert_ptr_equal(state, self);
    states_open--;
}

static enum hcs_outcome look_at_state(void *self, struct hcs_job *job)
{
    runs++;
    assert_ptr_equal(self, &states_open);
    assert_ptr_equal(hcs_job_worker_state(job), &states_open);
    return HCS_OK;
}

static void each_mount_has_its_state_on_each_worker(void **state)
{
    struct hcs_router *both = hcs_router_create();
    struct hcs_job_context jobs = {&budget, both};
    void *second;

    (void)state;
    handler.open_worker = open_state;
    handler.close_worker = close_state;
    worker_that_fails = 1;
    assert_int_equal(hcs_router_add(both, hcs_mount_create(&host, &handler,
                                              &marker, "/1", NULL, NULL)),
        0);
    assert_int_equal(hcs_router_add(both, hcs_mount_create(&host, &handler,
                                              &states_open, "/2", NULL, NULL)),
        0);
    assert_int_equal(hcs_router_open(both), 0);
    second = HCS_JOB_WORK.open(&jobs, 0);
    assert_non_null(second);
    assert_int_equal(states_open, 2);
    assert_null(HCS_JOB_WORK.open(&jobs, 1)); /* closes what was open */
    assert_int_equal(states_open, 2);
    assert_ptr_equal(hcs_router_fault(both), hcs_router_job(both, 1)->mount);

    run_job(look_at_nothing, "");
    drop();
    make_request("1", 1);
    request->route = hcs_router_job(both, 1);
    running = look_at_state;
    assert_true(HCS_JOB_WORK.run(second, &request->task));
    assert_int_equal(request->reason, HCS_REASON_NONE);
    assert_int_equal(runs, 2);
    drop();
    HCS_JOB_WORK.close(second);
    assert_int_equal(states_open, 0);
    hcs_router_destroy(both);
    handler.open_worker = NULL;
    handler.close_worker = NULL;
}

/* --- cJSON outside of a job. */

static enum hcs_outcome delete_foreign(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    cJSON_Delete((cJSON *)(uintptr_t)detail);
    return HCS_OK;
}

static void tree_made_outside_may_be_deleted_inside(void **state)
{
    cJSON *tree = cJSON_Parse("{\"kept\": [1, 2, 3]}");

    (void)state;
    assert_non_null(tree);
    detail = (const char *)tree;
    run_job(delete_foreign, "1"); /* a leak would be the sanitizer's to find */
    detail = NULL;
    drop();
}

/* --- Answered later. */

static struct {
    struct hcs_token token;
    enum hcs_outcome returned;
    bool completes_early;
} later;

static struct hcs_mount *mount(void)
{
    return request->route->mount;
}

static void complete(enum hcs_outcome how)
{
    struct hcs_job *job = hcs_mount_resume(mount(), later.token);

    assert_non_null(job);
    assert_null(hcs_mount_resume(mount(), later.token));
    assert_true(after == NULL || hcs_job_write(job, after, strlen(after)));
    hcs_job_complete(job, how);
}

static enum hcs_outcome defer(void *self, struct hcs_job *job)
{
    (void)self;
    if (before != NULL) {
        (void)hcs_job_write(job, before, strlen(before));
    }
    if (detail != NULL) {
        hcs_job_set_detail(job, detail);
    }
    assert_true(hcs_job_defer(job, &later.token));
    assert_true(hcs_mount_awaits(mount(), later.token));
    if (later.completes_early) {
        complete(outcome);
    }
    return later.returned;
}

/* True when the worker sends it home. */
static bool run_deferring(const char *body)
{
    make_request(body, strlen(body));
    running = defer;
    return HCS_JOB_WORK.run(worker, &request->task) ||
           HCS_JOB_WORK.returned(worker, &request->task);
}

static void say_later(const char *said, const char *written_before,
    const char *written_after, enum hcs_outcome returned)
{
    memset(&later, 0, sizeof(later));
    detail = said;
    before = written_before;
    after = written_after;
    later.returned = returned;
}

static void assert_is_home(bool by_completer)
{
    assert_ptr_equal(
        hcs_mailbox_take(&home), by_completer ? &request->task : NULL);
    assert_false(hcs_mount_awaits(mount(), later.token));
    assert_null(hcs_mount_resume(mount(), later.token));
    assert_int_equal(hcs_deferrals_open_count(host.deferrals), 0);
}

/* What tokens cost stays for the next. */
static void drop_deferred(void)
{
    enum { TOKENS = 16 * 1024 };

    hcs_request_fini(request);
    assert_true(hcs_budget_used(&budget) <= HCS_ARENA_CHUNK_MIN + TOKENS);
}

static void deferred_job_is_answered_when_it_is_completed(void **state)
{
    (void)state;
    say_later(NULL, "{\"a\":", "1}", HCS_PENDING);
    assert_false(run_deferring("1"));
    assert_true(hcs_mount_awaits(mount(), later.token));
    assert_null(hcs_mailbox_take(&home));
    complete(HCS_OK);
    assert_is_home(true);
    assert_int_equal(request->reason, HCS_REASON_NONE);
    check_output("{\"a\":1}");
    drop_deferred();
}

static void deferred_job_may_be_completed_before_run_returns(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        say_later(NULL, "{\"a\":", "1}", i == 0 ? HCS_PENDING : HCS_FAILED);
        later.completes_early = true;
        outcome = HCS_OK;
        assert_true(run_deferring("1"));
        assert_is_home(false);
        assert_int_equal(request->reason, HCS_REASON_NONE);
        check_output("{\"a\":1}");
        drop_deferred();
    }
}

static void deferral_that_run_does_not_keep_to_is_withdrawn(void **state)
{
    (void)state;
    say_later(NULL, "{\"a\":1}", NULL, HCS_OK);
    assert_true(run_deferring("1"));
    assert_is_home(false);
    assert_int_equal(request->reason, HCS_REASON_NONE);
    check_output("{\"a\":1}");
    drop_deferred();
}

static void detail_may_be_set_before_it_is_deferred(void **state)
{
    (void)state;
    say_later("no such table", "{\"half\":", NULL, HCS_PENDING);
    assert_false(run_deferring("1"));
    complete(HCS_INVALID);
    assert_is_home(true);
    assert_int_equal(request->reason, HCS_REASON_INVALID_JOB);
    check_output("no such table");
    drop_deferred();
}

static void outcome_of_a_deferred_job_is_never_pending(void **state)
{
    (void)state;
    say_later(NULL, NULL, NULL, HCS_PENDING);
    assert_false(run_deferring("1"));
    complete(HCS_PENDING);
    assert_is_home(true);
    assert_int_equal(request->reason, HCS_REASON_HANDLER_FAILED);
    drop_deferred();
}

static void lack_of_memory_before_it_is_deferred_is_not_forgotten(void **state)
{
    char *large = malloc(PLENTY + 1);

    (void)state;
    assert_non_null(large);
    memset(large, ' ', PLENTY);
    large[PLENTY] = '\0';
    say_later(NULL, large, "1", HCS_PENDING);
    assert_false(run_deferring("1"));
    complete(HCS_OK);
    assert_is_home(true);
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    check_output("");
    drop_deferred();
    free(large);
}

static void resumed_job_has_what_was_asked_and_memory_of_its_own(void **state)
{
    struct hcs_job *job;
    const char *value;
    size_t length;

    (void)state;
    say_later(NULL, NULL, NULL, HCS_PENDING);
    assert_false(run_deferring("{\"a\": [1, 2] }"));
    job = hcs_mount_resume(mount(), later.token);
    assert_non_null(job);
    assert_null(hcs_job_worker_state(job));
    is_text(hcs_job_body(job, &length), &length, "{\"a\": [1, 2] }");
    assert_true(hcs_job_member(job, "a", &value, &length));
    is_text(value, &length, "[1, 2]");
    is_text(hcs_job_request_id(job, &length), &length, "id-7");
    memset(hcs_job_alloc(job, 100000), 1, 100000);
    assert_int_equal(cJSON_GetArraySize(hcs_job_json(job)), 1);
    assert_true(hcs_budget_used(&budget) > 100000);
    assert_true(hcs_job_write_json(job, hcs_job_json(job)));
    hcs_job_complete(job, HCS_OK);
    assert_is_home(true);
    check_output("{\"a\":[1,2]}");
    drop_deferred();
}

static void resumed_job_beyond_the_budget_is_memory_pressure(void **state)
{
    struct hcs_job *job;

    (void)state;
    say_later(NULL, NULL, NULL, HCS_PENDING);
    assert_false(run_deferring("{\"a\": 1}"));
    job = hcs_mount_resume(mount(), later.token);
    assert_non_null(job);
    budget.limit = 1;
    assert_null(hcs_job_json(job));
    budget.limit = PLENTY;
    hcs_job_complete(job, HCS_OK);
    assert_is_home(true);
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    drop_deferred();
}

static enum hcs_outcome defer_twice(void *self, struct hcs_job *job)
{
    struct hcs_token second = {1};

    (void)self;
    assert_true(hcs_job_defer(job, &later.token));
    assert_false(hcs_job_defer(job, &second));
    assert_int_equal(second.value, 0);
    return HCS_PENDING;
}

static void job_is_deferred_once(void **state)
{
    struct hcs_token again;
    struct hcs_job *job;

    (void)state;
    make_request("1", 1);
    running = defer_twice;
    assert_false(HCS_JOB_WORK.run(worker, &request->task));
    assert_false(HCS_JOB_WORK.returned(worker, &request->task));
    job = hcs_mount_resume(mount(), later.token);
    assert_non_null(job);
    assert_false(hcs_job_defer(job, &again));
    hcs_job_complete(job, HCS_OK);
    assert_is_home(true);
    drop_deferred();
}

static enum hcs_outcome cannot_defer(void *self, struct hcs_job *job)
{
    (void)self;
    budget.limit = 1;
    assert_false(hcs_job_defer(job, &later.token));
    budget.limit = PLENTY;
    return HCS_NO_MEMORY;
}

static void job_that_cannot_be_deferred_is_memory_pressure(void **state)
{
    (void)state;
    run_job(cannot_defer, "1");
    assert_int_equal(later.token.value, 0);
    assert_int_equal(request->reason, HCS_REASON_MEMORY_PRESSURE);
    drop();
}

static int install(void **state)
{
    (void)state;
    hcs_job_install_allocator();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(handler_sees_what_was_asked),
        TEST(job_without_a_body_is_run),
        TEST(absolute_form_without_a_path_names_the_root),
        TEST(body_that_is_no_json_is_refused_with_its_place),
        TEST(refusal_says_what_it_has_room_for),
        TEST(tree_is_built_and_printed_within_the_budget),
        TEST(tree_goes_back_to_the_budget_when_the_job_ends),
        TEST(tree_beyond_the_budget_is_memory_pressure),
        TEST(tree_that_cannot_be_printed_is_memory_pressure),
        TEST(blocks_of_no_size_and_of_all_sizes_do_no_harm),
        TEST(handler_that_ignores_it_does_not_hide_the_lack),
        TEST(number_of_a_hundred_digits_is_right_or_refused),
        TEST(start_of_a_number_is_not_taken_for_all_of_it),
        TEST(member_passes_through_however_long),
        TEST(outcome_names_the_reason),
        TEST(what_was_written_is_the_reply),
        TEST(detail_is_what_was_set_and_nothing_written),
        TEST(long_detail_is_cut),
        TEST(status_outside_of_its_range_is_not_set),
        TEST(status_that_needs_more_is_not_set),
        TEST(reply_beyond_the_budget_is_memory_pressure),
        TEST(strings_are_quoted_and_escaped),
        TEST(string_that_does_not_fit_is_memory_pressure),
        TEST(fields_stand_before_the_body_in_order),
        TEST(field_that_is_none_or_not_the_handlers_is_not_added),
        TEST(fields_together_have_a_limit),
        TEST(field_without_memory_is_memory_pressure),
        TEST(status_that_is_tied_to_a_field_is_set_with_it),
        TEST(fields_go_with_a_reply_of_the_handlers_own),
        TEST(memory_of_a_job_is_of_the_budget_and_gone_with_it),
        TEST(deadline_counts_from_the_start_of_the_run),
        TEST(each_mount_has_its_state_on_each_worker),
        TEST(tree_made_outside_may_be_deleted_inside),
        TEST(deferred_job_is_answered_when_it_is_completed),
        TEST(deferred_job_may_be_completed_before_run_returns),
        TEST(deferral_that_run_does_not_keep_to_is_withdrawn),
        TEST(detail_may_be_set_before_it_is_deferred),
        TEST(outcome_of_a_deferred_job_is_never_pending),
        TEST(lack_of_memory_before_it_is_deferred_is_not_forgotten),
        TEST(resumed_job_has_what_was_asked_and_memory_of_its_own),
        TEST(resumed_job_beyond_the_budget_is_memory_pressure),
        TEST(job_is_deferred_once),
        TEST(job_that_cannot_be_deferred_is_memory_pressure),
    };

    return cmocka_run_group_tests(tests, install, NULL);
}
