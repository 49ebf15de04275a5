#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "observe/metrics.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const enum hcs_metrics_format text_formats[] = {
    HCS_METRICS_PROMETHEUS, HCS_METRICS_OPENMETRICS};

/* --- A snapshot in which every number differs from every other. */

static const struct hcs_metrics_loop two_loops[] = {
    {.connections = 401, .accepted = 402, .requests = 403},
    {.connections = 404, .accepted = 405, .requests = 406},
};
static const struct hcs_metrics_handler three_handlers[] = {
    {.name = "echo", .path = "/", .outcomes = {501, 502, 503, 504}},
    {.name = "sleep", .path = "/slow", .outcomes = {505}},
    {.name = "echo", .path = "/again", .outcomes = {1000, 2000, 3000, 4000}},
};

static struct hcs_metrics make_metrics(void)
{
    return (struct hcs_metrics){
        .version = "0.1.0",
        .compiler = "gcc 12.2",
        .uptime_seconds = 12.3456,
        .start_time_seconds = 1700000000.25,
        .states = {101, 102, 523, 105, 106},
        .accepted = 807,
        .requests = 201,
        .completed = 202,
        .errors = 203,
        .cancelled = 204,
        .requests_per_second = 16.5,
        .requests_per_second_10s = 20.0004,
        .allocated_bytes = 3 * 1024 * 1024 / 2,
        .resident_bytes = 5 * 1024 * 1024 / 4,
        .virtual_bytes = 205,
        .cpu_seconds = 0.9996,
        .threads = 206,
        .queue_depth = 207,
        .queue_capacity = 208,
        .workers = 219,
        .workers_busy = 209,
        .stuck = 9,
        .jobs_deferred = 220,
        .open_fds = 210,
        .max_fds = UINT64_MAX,
        .late = 211,
        .log_lines_dropped = 212,
        .received_bytes = 213,
        .sent_bytes = 214,
        .memory_budget_bytes = UINT64_C(64) << 30,
        .memory_used_bytes = 1024,
        .starting = true,
        .draining = true,
        .rejected = {[HCS_REASON_QUEUE_FULL] = 301},
        .closed = {[HCS_REASON_NONE] = 7777, [HCS_REASON_IDLE_TIMEOUT] = 302},
        .refused = {[HCS_REASON_BAD_JSON] = 303},
        .loops = two_loops,
        .loop_count = 2,
        .handlers = three_handlers,
        .handler_count = 3,
    };
}

/* The page as a string; gives. */
static char *write_page(
    const struct hcs_metrics *metrics, enum hcs_metrics_format format)
{
    size_t length = hcs_metrics_write(metrics, format, NULL, 0);
    char *page = malloc(length + 1);

    assert_non_null(page);
    page[length] = '#';
    assert_int_equal(hcs_metrics_write(metrics, format, page, length), length);
    assert_int_equal(page[length], '#'); /* nothing behind the end */
    page[length] = '\0';
    assert_int_equal(strlen(page), length);
    return page;
}

/* --- JSON. */

/* Gives the tree of a page that is strictly JSON. */
static cJSON *read_json(const struct hcs_metrics *metrics)
{
    char *page = write_page(metrics, HCS_METRICS_JSON);
    struct hcs_json_result result = hcs_json_validate(page, strlen(page));
    cJSON *tree;

    if (result.error != HCS_JSON_OK) {
        fail_msg("%s at %zu: %s", hcs_json_error_text(result.error),
            result.offset, page);
    }
    tree = cJSON_Parse(page);
    assert_non_null(tree);
    assert_true(cJSON_IsObject(tree));
    free(page);
    return tree;
}

static void assert_number(const cJSON *tree, const char *name, double expected)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(tree, name);

    if (!cJSON_IsNumber(item)) {
        fail_msg("no number %s", name);
    }
    if (fabs(item->valuedouble - expected) > 1e-9) {
        fail_msg("%s: %f, not %f", name, item->valuedouble, expected);
    }
}

/* The whole member as compact text. */
static void assert_member(
    const cJSON *tree, const char *name, const char *expected)
{
    char *text =
        cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(tree, name));

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void json_has_its_keys_in_order(void **state)
{
    static const char *const expected[] = {"active_connections",
        "total_requests", "completed_requests", "error_count", "uptime_seconds",
        "requests_per_sec", "requests_per_sec_10s", "memory_alloc_mb",
        "memory_sys_mb", "num_threads", "queue_depth", "queue_capacity",
        "workers_busy", "open_fds", "workers", "workers_stuck", "jobs_deferred",
        "cancelled_requests", "late_results_discarded", "connections",
        "connections_accepted", "connections_rejected", "connections_closed",
        "requests_rejected", "loops", "handlers", "memory_budget_mb",
        "memory_used_mb", "received_bytes", "sent_bytes", "log_lines_dropped",
        "starting", "draining"};
    struct hcs_metrics metrics = make_metrics();
    cJSON *tree = read_json(&metrics);
    const cJSON *item = tree->child;

    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        /* New keys may stand in between. */
        while (item != NULL && strcmp(item->string, expected[i]) != 0) {
            item = item->next;
        }
        if (item == NULL) {
            fail_msg("no key %s in its place", expected[i]);
        }
    }
    cJSON_Delete(tree);
}

static void json_has_each_metric_of_the_snapshot(void **state)
{
    struct hcs_metrics metrics = make_metrics();
    cJSON *tree = read_json(&metrics);

    (void)state;
    assert_number(tree, "active_connections", 937);
    assert_number(tree, "total_requests", 201);
    assert_number(tree, "completed_requests", 202);
    assert_number(tree, "error_count", 203);
    assert_number(tree, "cancelled_requests", 204);
    assert_number(tree, "uptime_seconds", 12.346);
    assert_number(tree, "requests_per_sec", 16.5);
    assert_number(tree, "requests_per_sec_10s", 20);
    assert_number(tree, "memory_alloc_mb", 1.5);
    assert_number(tree, "memory_sys_mb", 1.25);
    assert_number(tree, "num_threads", 206);
    assert_number(tree, "queue_depth", 207);
    assert_number(tree, "queue_capacity", 208);
    assert_number(tree, "workers", 219);
    assert_number(tree, "workers_busy", 209);
    assert_number(tree, "workers_stuck", 9);
    assert_number(tree, "jobs_deferred", 220);
    assert_member(tree, "starting", "true");
    assert_number(tree, "open_fds", 210);
    assert_number(tree, "late_results_discarded", 211);
    assert_number(tree, "log_lines_dropped", 212);
    assert_number(tree, "received_bytes", 213);
    assert_number(tree, "sent_bytes", 214);
    assert_number(tree, "memory_budget_mb", 65536);
    assert_number(tree, "memory_used_mb", 0.001);
    assert_number(tree, "connections_accepted", 807);
    assert_member(tree, "connections",
        "{\"idle\":101,\"reading\":102,\"queued\":103,\"running\":420,"
        "\"writing\":105,\"lingering\":106}");
    assert_member(tree, "connections_rejected", "{\"queue-full\":301}");
    assert_member(tree, "connections_closed", "{\"idle-timeout\":302}");
    assert_member(tree, "requests_rejected", "{\"bad-json\":303}");
    assert_member(tree, "loops",
        "[{\"connections\":401,\"accepted\":402,\"requests\":403},"
        "{\"connections\":404,\"accepted\":405,\"requests\":406}]");
    assert_member(tree, "handlers",
        "[{\"path\":\"/\",\"handler\":\"echo\",\"ok\":501,\"error\":502,"
        "\"timeout\":503,\"cancelled\":504},"
        "{\"path\":\"/slow\",\"handler\":\"sleep\",\"ok\":505,\"error\":0,"
        "\"timeout\":0,\"cancelled\":0},"
        "{\"path\":\"/again\",\"handler\":\"echo\",\"ok\":1000,"
        "\"error\":2000,\"timeout\":3000,\"cancelled\":4000}]");
    assert_member(tree, "draining", "true");
    cJSON_Delete(tree);
}

static void json_of_an_empty_snapshot_is_whole(void **state)
{
    struct hcs_metrics metrics = {.version = "", .compiler = ""};
    cJSON *tree = read_json(&metrics);

    (void)state;
    assert_number(tree, "active_connections", 0);
    assert_member(tree, "connections_rejected", "{}");
    assert_member(tree, "connections_closed", "{}");
    assert_member(tree, "requests_rejected", "{}");
    assert_member(tree, "loops", "[]");
    assert_member(tree, "handlers", "[]");
    assert_member(tree, "draining", "false");
    cJSON_Delete(tree);
}

static void whole_numbers_are_exact_up_to_the_largest(void **state)
{
    struct hcs_metrics metrics = make_metrics();
    char *page;

    (void)state;
    metrics.received_bytes = UINT64_MAX;
    metrics.sent_bytes = UINT64_C(9007199254740993); /* no double */
    page = write_page(&metrics, HCS_METRICS_JSON);
    assert_non_null(strstr(page, "\"received_bytes\": 18446744073709551615,"));
    assert_non_null(strstr(page, "\"sent_bytes\": 9007199254740993,"));
    free(page);
}

static void assert_uptime(double uptime_seconds, const char *expected)
{
    struct hcs_metrics metrics = make_metrics();
    char line[128];
    char *page;

    metrics.uptime_seconds = uptime_seconds;
    cJSON_Delete(read_json(&metrics));
    page = write_page(&metrics, HCS_METRICS_JSON);
    (void)snprintf(
        line, sizeof line, "\n  \"uptime_seconds\": %s,\n", expected);
    if (strstr(page, line) == NULL) {
        fail_msg("no %s for %f in %s", expected, uptime_seconds, page);
    }
    free(page);
}

static void decimals_are_three_and_rounded(void **state)
{
    (void)state;
    assert_uptime(0, "0.000");
    assert_uptime(0.0004, "0.000");
    assert_uptime(0.0006, "0.001");
    assert_uptime(0.01, "0.010");
    assert_uptime(0.9994, "0.999");
    assert_uptime(0.9996, "1.000");
    assert_uptime(99.9999, "100.000");
    assert_uptime(1234567.125, "1234567.125");
}

static void decimals_that_no_metric_has_are_still_numbers(void **state)
{
    (void)state;
    assert_uptime((double)NAN, "0.000");
    assert_uptime(-(double)NAN, "0.000");
    assert_uptime((double)INFINITY, "0.000");
    assert_uptime(-(double)INFINITY, "0.000");
    assert_uptime(-1.5, "0.000");
    assert_uptime(-0.0, "0.000");
    assert_uptime(5e-324, "0.000");
    assert_uptime(1e18, "1000000000000000000.000");
    assert_uptime(1e300, "1000000000000000000.000");
}

/* Any text may be the name and the path, and comes back as it was. */
static void assert_json_text(const char *text, const char *expected)
{
    struct hcs_metrics metrics = make_metrics();
    struct hcs_metrics_handler handler = {.name = text, .path = text};
    const cJSON *item;
    cJSON *tree;

    metrics.handlers = &handler;
    metrics.handler_count = 1;
    tree = read_json(&metrics);
    item = cJSON_GetObjectItem(tree, "handlers")->child;
    assert_string_equal(
        cJSON_GetObjectItem(item, "path")->valuestring, expected);
    assert_string_equal(
        cJSON_GetObjectItem(item, "handler")->valuestring, expected);
    cJSON_Delete(tree);
}

static void json_strings_are_escaped(void **state)
{
    char controls[0x20];

    (void)state;
    for (size_t i = 0; i < 0x1f; i++) {
        controls[i] = (char)(i + 1);
    }
    controls[0x1f] = '\0';
    assert_json_text(controls, controls);
    assert_json_text("a\"b\\c/\x7f", "a\"b\\c/\x7f");
    assert_json_text("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

#define BAD "\xef\xbf\xbd" /* U+FFFD */

static void bytes_that_are_not_utf8_are_replaced(void **state)
{
    (void)state;
    assert_json_text("a\x80z", "a" BAD "z");
    assert_json_text("\xff", BAD);
    assert_json_text("\xc3", BAD);                 /* cut short */
    assert_json_text("\xe2\x82", BAD BAD);         /* cut short */
    assert_json_text("\xf0\x9f\x98", BAD BAD BAD); /* cut short */
    assert_json_text("\xc0\xaf", BAD BAD);         /* overlong */
    assert_json_text("\xe0\x9f\xbf", BAD BAD BAD); /* overlong */
    assert_json_text("\xf0\x8f\xbf\xbf", BAD BAD BAD BAD);
    assert_json_text("\xed\xa0\x80", BAD BAD BAD); /* a surrogate */
    assert_json_text("\xf4\x90\x80\x80", BAD BAD BAD BAD);
    assert_json_text("\xf5\x80\x80\x80", BAD BAD BAD BAD);
    /* the first and the last of each length */
    assert_json_text("\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf");
    assert_json_text("\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf");
    assert_json_text("\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80");
    assert_json_text(
        "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
}

/* --- Text: a reader that takes nothing but what the formats allow. */

enum { NAMES_MAX = 512, NAME_SIZE = 160, SERIES_SIZE = 256 };

struct names {
    char text[NAMES_MAX][SERIES_SIZE];
    size_t count;
};

static void add_name(struct names *names, const char *text, size_t length)
{
    assert_true(names->count < NAMES_MAX);
    assert_true(length < SERIES_SIZE);
    for (size_t i = 0; i < names->count; i++) {
        if (strncmp(names->text[i], text, length) == 0 &&
            names->text[i][length] == '\0') {
            fail_msg("%s twice", names->text[i]);
        }
    }
    memcpy(names->text[names->count], text, length);
    names->text[names->count++][length] = '\0';
}

static const char *read_name(const char *at, char name[NAME_SIZE])
{
    size_t length = 0;

    assert_true(isalpha((unsigned char)*at) || *at == '_');
    while (isalnum((unsigned char)*at) || *at == '_') {
        assert_true(length < NAME_SIZE - 1);
        name[length++] = *at++;
    }
    name[length] = '\0';
    return at;
}

static const char *expect(const char *at, const char *text)
{
    if (strncmp(at, text, strlen(text)) != 0) {
        fail_msg("no \"%s\" at: %.80s", text, at);
    }
    return at + strlen(text);
}

static const char *read_line(const char *at, char line[SERIES_SIZE])
{
    const char *end = strchr(at, '\n');

    assert_non_null(end);
    assert_in_range(end - at, 1, SERIES_SIZE - 1);
    memcpy(line, at, (size_t)(end - at));
    line[end - at] = '\0';
    return end + 1;
}

static const char *read_labels(const char *at)
{
    struct names names = {.count = 0};

    at = expect(at, "{");
    for (;;) {
        char name[NAME_SIZE];

        at = read_name(at, name);
        add_name(&names, name, strlen(name));
        at = expect(at, "=\"");
        for (; *at != '"'; at++) {
            assert_true(*at != '\0' && *at != '\n');
            if (*at == '\\') {
                at++;
                assert_true(*at == '\\' || *at == '"' || *at == 'n');
            }
        }
        at++;
        if (*at != ',') {
            return expect(at, "}");
        }
        at++;
    }
}

static const char *read_value(const char *at)
{
    size_t digits;

    at += *at == '-';
    digits = strspn(at, "0123456789");
    assert_true(digits > 0);
    at += digits;
    if (*at == '.') {
        digits = strspn(at + 1, "0123456789");
        assert_true(digits > 0);
        at += 1 + digits;
    }
    return expect(at, "\n");
}

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text);

    return length >= strlen(end) &&
           strcmp(text + length - strlen(end), end) == 0;
}

/* HELP, TYPE, perhaps UNIT, then the samples of one family. */
static const char *read_family(
    const char *at, bool is_open, struct names *families, struct names *series)
{
    char family[NAME_SIZE];
    char again[NAME_SIZE];
    char sample[NAME_SIZE];
    char line[SERIES_SIZE];
    const char *suffix = "";

    at = read_name(expect(at, "# HELP "), family);
    add_name(families, family, strlen(family));
    at = read_line(expect(at, " "), line);
    assert_null(strchr(line, '\\'));

    at = read_name(expect(at, "# TYPE "), again);
    assert_string_equal(again, family);
    at = read_line(expect(at, " "), line);
    if (strcmp(line, "counter") == 0) {
        assert_int_equal(ends_in(family, "_total"), !is_open);
        suffix = is_open ? "_total" : "";
    } else if (strcmp(line, "info") == 0) {
        assert_true(is_open);
        suffix = "_info";
    } else {
        assert_string_equal(line, "gauge");
        assert_false(ends_in(family, "_total"));
        assert_false(is_open && ends_in(family, "_info"));
    }
    if (strncmp(at, "# UNIT ", 7) == 0) {
        assert_true(is_open);
        at = read_name(expect(at, "# UNIT "), again);
        assert_string_equal(again, family);
        at = read_line(expect(at, " "), line);
        assert_true(ends_in(family, line));
        assert_int_equal(family[strlen(family) - strlen(line) - 1], '_');
    } else if (is_open) {
        assert_false(ends_in(family, "_seconds") || ends_in(family, "_bytes"));
    }

    strcat(family, suffix);
    while (*at != '#' && *at != '\0') {
        const char *start = at;

        at = read_name(at, sample);
        assert_string_equal(sample, family);
        if (*at == '{') {
            at = read_labels(at);
        }
        add_name(series, start, (size_t)(at - start));
        at = read_value(expect(at, " "));
    }
    return at;
}

/* Gives a page that is in order. */
static char *read_text(
    const struct hcs_metrics *metrics, enum hcs_metrics_format format)
{
    static struct names families, series;
    bool is_open = format == HCS_METRICS_OPENMETRICS;
    char *page = write_page(metrics, format);
    const char *at = page;

    families.count = 0;
    series.count = 0;
    while (*at != '\0' && strncmp(at, "# EOF", 5) != 0) {
        at = read_family(at, is_open, &families, &series);
    }
    assert_true(families.count > 20);
    if (is_open) {
        at = expect(at, "# EOF\n");
    }
    assert_int_equal(*at, '\0');
    return page;
}

static bool has_line(const char *page, const char *line)
{
    const char *at = page;
    size_t length = strlen(line);

    while ((at = strstr(at, line)) != NULL) {
        if ((at == page || at[-1] == '\n') && at[length] == '\n') {
            return true;
        }
        at++;
    }
    return false;
}

static void assert_line(const char *page, const char *line)
{
    if (!has_line(page, line)) {
        fail_msg("no line %s in:\n%s", line, page);
    }
}

static void text_has_each_metric_of_the_snapshot(void **state)
{
    static const char *const lines[] = {
        "hcsd_build_info{version=\"0.1.0\",compiler=\"gcc 12.2\"} 1",
        "process_cpu_seconds_total 1.000",
        "process_resident_memory_bytes 1310720",
        "process_virtual_memory_bytes 205",
        "process_open_fds 210",
        "process_max_fds 18446744073709551615",
        "process_start_time_seconds 1700000000.250",
        "process_threads 206",
        "hcsd_connections{state=\"idle\"} 101",
        "hcsd_connections{state=\"reading\"} 102",
        "hcsd_connections{state=\"queued\"} 103",
        "hcsd_connections{state=\"running\"} 420",
        "hcsd_connections{state=\"writing\"} 105",
        "hcsd_connections{state=\"lingering\"} 106",
        "hcsd_connections_accepted_total{loop=\"0\"} 402",
        "hcsd_connections_accepted_total{loop=\"1\"} 405",
        "hcsd_connections_rejected_total{reason=\"queue-full\"} 301",
        "hcsd_connections_rejected_total{reason=\"draining\"} 0",
        "hcsd_connections_closed_total{reason=\"idle-timeout\"} 302",
        "hcsd_loop_connections{loop=\"0\"} 401",
        "hcsd_loop_connections{loop=\"1\"} 404",
        "hcsd_requests_total 201",
        "hcsd_requests_completed_total 202",
        "hcsd_requests_failed_total 203",
        "hcsd_requests_cancelled_total 204",
        "hcsd_requests_rejected_total{reason=\"bad-json\"} 303",
        "hcsd_loop_requests_total{loop=\"0\"} 403",
        "hcsd_loop_requests_total{loop=\"1\"} 406",
        "hcsd_queue_depth 207",
        "hcsd_queue_capacity 208",
        "hcsd_jobs_completed_total{handler=\"sleep\",outcome=\"ok\"} 505",
        "hcsd_jobs_completed_total{handler=\"sleep\",outcome=\"error\"} 0",
        "hcsd_late_results_discarded_total 211",
        "hcsd_workers{state=\"busy\"} 200",
        "hcsd_workers{state=\"stuck\"} 9",
        "hcsd_workers{state=\"idle\"} 10",
        "hcsd_jobs_deferred 220",
        "hcsd_starting 1",
        "hcsd_memory_budget_bytes 68719476736",
        "hcsd_memory_budget_used_bytes 1024",
        "hcsd_memory_allocated_bytes 1572864",
        "hcsd_network_receive_bytes_total 213",
        "hcsd_network_transmit_bytes_total 214",
        "hcsd_log_lines_dropped_total 212",
        "hcsd_draining 1",
    };
    struct hcs_metrics metrics = make_metrics();

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *page = read_text(&metrics, text_formats[i]);

        for (size_t j = 0; j < sizeof lines / sizeof lines[0]; j++) {
            assert_line(page, lines[j]);
        }
        free(page);
    }
}

static void counters_are_named_as_each_format_wants(void **state)
{
    struct hcs_metrics metrics = make_metrics();
    char *page = read_text(&metrics, HCS_METRICS_PROMETHEUS);

    (void)state;
    assert_line(page, "# TYPE hcsd_requests_total counter");
    assert_line(
        page, "# HELP hcsd_requests_total Requests, understood or refused.");
    assert_line(page, "# TYPE hcsd_build_info gauge");
    assert_null(strstr(page, "# UNIT"));
    assert_null(strstr(page, "# EOF"));
    free(page);

    page = read_text(&metrics, HCS_METRICS_OPENMETRICS);
    assert_line(page, "# TYPE hcsd_requests counter");
    assert_line(page, "# HELP hcsd_requests Requests, understood or refused.");
    assert_line(page, "# TYPE hcsd_build info");
    assert_line(page, "# UNIT process_cpu_seconds seconds");
    assert_line(page, "# UNIT hcsd_network_receive_bytes bytes");
    assert_true(ends_in(page, "\n# EOF\n"));
    free(page);
}

static void paths_of_one_handler_are_added_up(void **state)
{
    struct hcs_metrics metrics = make_metrics();

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *page = read_text(&metrics, text_formats[i]);

        assert_line(page,
            "hcsd_jobs_completed_total{handler=\"echo\",outcome=\"ok\"} 1501");
        assert_line(page, "hcsd_jobs_completed_total{handler=\"echo\","
                          "outcome=\"error\"} 2502");
        assert_line(page, "hcsd_jobs_completed_total{handler=\"echo\","
                          "outcome=\"timeout\"} 3503");
        assert_line(page, "hcsd_jobs_completed_total{handler=\"echo\","
                          "outcome=\"cancelled\"} 4504");
        free(page);
    }
}

static void reason_none_is_on_no_page(void **state)
{
    struct hcs_metrics metrics = make_metrics();

    (void)state;
    for (int format = HCS_METRICS_JSON; format <= HCS_METRICS_OPENMETRICS;
         format++) {
        char *page = write_page(&metrics, (enum hcs_metrics_format)format);

        assert_null(strstr(page, "7777"));
        free(page);
    }
}

/* In the text a reason that never happened is a series too. */
static void text_has_zeros_of_reasons(void **state)
{
    struct hcs_metrics metrics = make_metrics();

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *page = read_text(&metrics, text_formats[i]);

        for (int j = HCS_REASON_NONE + 1; j < HCS_REASON_COUNT; j++) {
            char line[128];

            (void)snprintf(line, sizeof line,
                "hcsd_requests_rejected_total{reason=\"%s\"} %d",
                hcs_reason_word((enum hcs_reason)j),
                j == HCS_REASON_BAD_JSON ? 303 : 0);
            assert_line(page, line);
        }
        free(page);
    }
}

static void labels_are_escaped(void **state)
{
    struct hcs_metrics metrics = make_metrics();

    (void)state;
    metrics.compiler = "a\"b\\c\nd\te/\xc3\xa9\xff{},=";
    for (size_t i = 0; i < 2; i++) {
        char *page = read_text(&metrics, text_formats[i]);

        assert_line(page,
            "hcsd_build_info{version=\"0.1.0\","
            "compiler=\"a\\\"b\\\\c\\nd\te/\xc3\xa9" BAD "{},=\"} 1");
        free(page);
    }
}

static void more_busy_workers_than_workers_leave_none_idle(void **state)
{
    struct hcs_metrics metrics = make_metrics();
    char *page;

    (void)state;
    metrics.workers = 3;
    metrics.workers_busy = 4;
    page = read_text(&metrics, HCS_METRICS_PROMETHEUS);
    assert_line(page, "hcsd_workers{state=\"busy\"} 0");
    assert_line(page, "hcsd_workers{state=\"stuck\"} 3");
    assert_line(page, "hcsd_workers{state=\"idle\"} 0");
    free(page);
}

static void stuck_workers_are_no_busy_ones(void **state)
{
    static const struct {
        uint64_t all, busy, stuck;
        const char *lines[3];
    } cases[] = {
        {4, 3, 2,
            {"hcsd_workers{state=\"busy\"} 1",
                "hcsd_workers{state=\"stuck\"} 2",
                "hcsd_workers{state=\"idle\"} 1"}},
        {4, 2, 2,
            {"hcsd_workers{state=\"busy\"} 0",
                "hcsd_workers{state=\"stuck\"} 2",
                "hcsd_workers{state=\"idle\"} 2"}},
        /* Not read at one instant. */
        {4, 1, 3,
            {"hcsd_workers{state=\"busy\"} 0",
                "hcsd_workers{state=\"stuck\"} 1",
                "hcsd_workers{state=\"idle\"} 3"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hcs_metrics metrics = make_metrics();
        char *page;

        metrics.workers = cases[i].all;
        metrics.workers_busy = cases[i].busy;
        metrics.stuck = cases[i].stuck;
        page = read_text(&metrics, HCS_METRICS_OPENMETRICS);
        for (size_t j = 0; j < 3; j++) {
            assert_line(page, cases[i].lines[j]);
        }
        free(page);
    }
}

/* Of connections whose job waits or runs, so many run as workers and deferred
 * jobs say, without the stuck workers: nobody waits for theirs. */
static void connections_that_work_are_queued_or_running(void **state)
{
    static const struct {
        uint64_t working, busy, deferred, stuck, queued, running;
    } cases[] = {
        {10, 3, 2, 0, 5, 5},
        {10, 3, 2, 1, 6, 4},
        {4, 3, 2, 0, 0, 4}, /* not read at one instant */
        {4, 1, 0, 3, 4, 0},
        {0, 5, 5, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hcs_metrics metrics = {
            .states = {[HCS_CONN_WORKING] = cases[i].working},
            .workers_busy = cases[i].busy,
            .jobs_deferred = cases[i].deferred,
            .stuck = cases[i].stuck,
        };
        struct hcs_share shares[HCS_STATE_SHARES];

        hcs_metrics_states(&metrics, shares);
        assert_string_equal(shares[2].word, "queued");
        assert_int_equal(shares[2].count, cases[i].queued);
        assert_string_equal(shares[3].word, "running");
        assert_int_equal(shares[3].count, cases[i].running);
    }
}

/* --- The counters of the loops. */

static void counters_of_loops_are_added_up(void **state)
{
    static struct hcs_counts counts[2];
    struct hcs_route_counts routes[2] = {0};
    struct hcs_metrics metrics = {0};
    struct hcs_metrics_loop loops[2];
    struct hcs_metrics_handler handler = {0};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t n = i + 1;

        hcs_counter_add(&counts[i].accepted, 10 * n);
        hcs_counter_add(&counts[i].requests, 100 * n);
        hcs_counter_add(&counts[i].closed[HCS_REASON_DRAINED], 1000 * n);
        hcs_counter_add(&counts[i].states[HCS_CONN_IDLE], n);
        hcs_counter_add(&counts[i].states[HCS_CONN_LINGERING], 5 * n);
        hcs_counter_add(&routes[i].timeout, 7 * n);
        hcs_counts_add(&metrics, &counts[i], &loops[i]);
        hcs_counts_add_route(&handler, &routes[i]);
        assert_int_equal(loops[i].accepted, 10 * n);
        assert_int_equal(loops[i].requests, 100 * n);
        assert_int_equal(loops[i].connections, 6 * n);
    }
    assert_int_equal(metrics.accepted, 30);
    assert_int_equal(metrics.requests, 300);
    assert_int_equal(metrics.closed[HCS_REASON_DRAINED], 3000);
    assert_int_equal(metrics.closed[HCS_REASON_NONE], 0);
    assert_int_equal(metrics.states[HCS_CONN_IDLE], 3);
    assert_int_equal(hcs_metrics_open_connections(&metrics), 18);
    assert_int_equal(handler.outcomes[HCS_JOB_END_timeout], 21);
    assert_int_equal(handler.outcomes[HCS_JOB_END_ok], 0);
}

/* A row of the table is enough: what loops count is in the pages that the row
 * names. */
static void each_counter_is_in_its_pages(void **state)
{
    size_t count;
    const struct hcs_metric_row *rows = hcs_metric_rows(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        struct hcs_metrics metrics = make_metrics();
        char line[128];
        char *page;

        if (rows[i].shape != HCS_METRIC_COUNT) {
            continue;
        }
        *(uint64_t *)(void *)((char *)&metrics + rows[i].offset) = 987654321;
        if (rows[i].json != NULL) {
            page = write_page(&metrics, HCS_METRICS_JSON);
            (void)snprintf(
                line, sizeof line, "\"%s\": 987654321", rows[i].json);
            assert_non_null(strstr(page, line));
            free(page);
        }
        if (rows[i].name != NULL) {
            page = write_page(&metrics, HCS_METRICS_PROMETHEUS);
            (void)snprintf(line, sizeof line, "%s%s 987654321", rows[i].name,
                rows[i].type == HCS_METRIC_COUNTER ? "_total" : "");
            assert_line(page, line);
            free(page);
        }
    }
}

/* --- Metrics that handlers made. */

static const struct hcs_custom_metric custom_of_first[] = {
    {.name = "jobs_total", .help = "Jobs.", .kind = HCS_COUNTER, .value = 7},
    {.name = "children",
        .help = "Children here.",
        .kind = HCS_GAUGE,
        .value = -3},
};
static const struct hcs_custom_metric custom_of_third[] = {
    {.name = "children",
        .help = "Another help.",
        .kind = HCS_GAUGE,
        .value = INT64_MIN},
    {.name = "jobs_total",
        .help = "Another.",
        .kind = HCS_COUNTER,
        .value = INT64_MAX},
    {.name = "job", .help = "Is a part of another name.", .kind = HCS_GAUGE},
};

static struct hcs_metrics make_metrics_with_custom(
    struct hcs_metrics_handler handlers[3])
{
    struct hcs_metrics metrics = make_metrics();

    memcpy(handlers, three_handlers, sizeof three_handlers);
    handlers[0].custom = custom_of_first;
    handlers[0].custom_count = 2;
    handlers[2].name = "other";
    handlers[2].path = "/a\"b";
    handlers[2].custom = custom_of_third;
    handlers[2].custom_count = 3;
    metrics.handlers = handlers;
    return metrics;
}

static void json_has_custom_metrics_with_their_handler(void **state)
{
    struct hcs_metrics_handler handlers[3];
    struct hcs_metrics metrics = make_metrics_with_custom(handlers);
    char *page = write_page(&metrics, HCS_METRICS_JSON);

    (void)state;
    assert_true(hcs_json_is_valid(page, strlen(page)));
    assert_non_null(strstr(page, "\"cancelled\": 504, \"figures\": "
                                 "{\"jobs_total\": 7, \"children\": -3}}"));
    /* As text: a tree would round them. */
    assert_non_null(
        strstr(page, "\"figures\": {\"children\": -9223372036854775808, "
                     "\"jobs_total\": 9223372036854775807, \"job\": 0}}"));
    assert_null(
        strstr(strstr(page, "\"/slow\""), "\"figures\": {\"jobs_total"));
    free(page);
}

/* A name is one family, whoever has it; the reader looks that none comes twice
 * and that its samples stand together. */
static void custom_metric_of_two_handlers_is_one_family(void **state)
{
    static const char *const lines[] = {
        "hcsd_handler_children{handler=\"echo\",path=\"/\"} -3",
        "hcsd_handler_children{handler=\"other\",path=\"/a\\\"b\"} "
        "-9223372036854775808",
        "hcsd_handler_jobs_total{handler=\"echo\",path=\"/\"} 7",
        "hcsd_handler_jobs_total{handler=\"other\",path=\"/a\\\"b\"} "
        "9223372036854775807",
        "hcsd_handler_job{handler=\"other\",path=\"/a\\\"b\"} 0",
        "# HELP hcsd_handler_children Children here.",
        "# TYPE hcsd_handler_children gauge",
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct hcs_metrics_handler handlers[3];
        struct hcs_metrics metrics = make_metrics_with_custom(handlers);
        char *page = read_text(&metrics, text_formats[i]);

        for (size_t j = 0; j < sizeof lines / sizeof lines[0]; j++) {
            assert_line(page, lines[j]);
        }
        assert_line(page, text_formats[i] == HCS_METRICS_OPENMETRICS
                              ? "# TYPE hcsd_handler_jobs counter"
                              : "# TYPE hcsd_handler_jobs_total counter");
        free(page);
    }
}

/* OpenMetrics has one name for a counter jobs_total and a gauge jobs. */
static void of_two_kinds_in_one_family_the_first_is_shown(void **state)
{
    static const struct hcs_custom_metric gauge = {
        .name = "jobs", .help = "Now.", .kind = HCS_GAUGE, .value = 3};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct hcs_metrics_handler handlers[3];
        struct hcs_metrics metrics = make_metrics_with_custom(handlers);
        char *page;

        handlers[1].custom = &gauge;
        handlers[1].custom_count = 1;
        page = read_text(&metrics, text_formats[i]);
        assert_line(
            page, "hcsd_handler_jobs_total{handler=\"echo\",path=\"/\"} 7");
        assert_null(strstr(page, "hcsd_handler_jobs{"));
        assert_null(strstr(page, "# TYPE hcsd_handler_jobs gauge"));
        free(page);
    }
}

static void custom_metric_with_the_longest_name_is_whole(void **state)
{
    char name[HCS_CUSTOM_METRIC_NAME + 1];
    struct hcs_custom_metric metric = {
        .name = name, .help = "Long.", .kind = HCS_GAUGE};
    struct hcs_metrics_handler handlers[3];
    struct hcs_metrics metrics = make_metrics_with_custom(handlers);
    char line[256];
    char *page;

    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    handlers[0].custom = &metric;
    handlers[0].custom_count = 1;
    page = read_text(&metrics, HCS_METRICS_PROMETHEUS);
    (void)snprintf(line, sizeof line,
        "hcsd_handler_%s{handler=\"echo\",path=\"/\"} 0", name);
    assert_line(page, line);
    free(page);
}

static void text_of_an_empty_snapshot_is_whole(void **state)
{
    struct hcs_metrics metrics = {.version = "", .compiler = ""};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *page = read_text(&metrics, text_formats[i]);

        assert_line(page, "hcsd_draining 0");
        assert_line(page, "hcsd_build_info{version=\"\",compiler=\"\"} 1");
        free(page);
    }
}

/* --- The end of the page. */

static void page_that_does_not_fit_is_cut_and_its_length_is_told(void **state)
{
    struct hcs_metrics metrics = make_metrics();

    (void)state;
    for (int i = HCS_METRICS_JSON; i <= HCS_METRICS_OPENMETRICS; i++) {
        enum hcs_metrics_format format = (enum hcs_metrics_format)i;
        char *page = write_page(&metrics, format);
        size_t length = strlen(page);

        for (size_t size = 0; size <= length; size++) {
            char *out = malloc(size + 1); /* exact, for the sanitizer */

            assert_non_null(out);
            out[size] = '#';
            assert_int_equal(
                hcs_metrics_write(&metrics, format, out, size), length);
            assert_memory_equal(out, page, size);
            assert_int_equal(out[size], '#');
            free(out);
        }
        free(page);
    }
}

/* --- The choice of a format. */

static void assert_choice(
    const char *accept, const char *query, enum hcs_metrics_format expected)
{
    /* Neither is terminated in a request. */
    size_t accept_length = strlen(accept);
    size_t query_length = strlen(query);
    char *accept_bytes = malloc(accept_length + 1);
    char *query_bytes = malloc(query_length + 1);
    enum hcs_metrics_format chosen;

    assert_non_null(accept_bytes);
    assert_non_null(query_bytes);
    memcpy(accept_bytes + 1, accept, accept_length);
    memcpy(query_bytes + 1, query, query_length);
    chosen = hcs_metrics_choose(
        accept_bytes + 1, accept_length, query_bytes + 1, query_length);
    free(accept_bytes);
    free(query_bytes);
    if (chosen != expected) {
        fail_msg("%d for Accept: %s, query %s", (int)chosen, accept, query);
    }
}

static void json_is_what_who_wants_nothing_gets(void **state)
{
    (void)state;
    assert_int_equal(hcs_metrics_choose(NULL, 0, NULL, 0), HCS_METRICS_JSON);
    assert_choice("", "", HCS_METRICS_JSON);
    assert_choice("*/*", "", HCS_METRICS_JSON);
    assert_choice("application/*", "", HCS_METRICS_JSON);
    assert_choice("image/png", "", HCS_METRICS_JSON);
    assert_choice("application/json", "", HCS_METRICS_JSON);
    /* a browser */
    assert_choice("text/html,application/xhtml+xml,application/xml;q=0.9,"
                  "image/avif,image/webp,*/*;q=0.8",
        "", HCS_METRICS_JSON);
    /* a script's usual default */
    assert_choice("application/json, text/plain, */*", "", HCS_METRICS_JSON);
}

static void prometheus_gets_its_text(void **state)
{
    (void)state;
    assert_choice("text/plain;version=0.0.4", "", HCS_METRICS_PROMETHEUS);
    assert_choice(
        "text/plain; version=0.0.4; charset=utf-8", "", HCS_METRICS_PROMETHEUS);
    assert_choice(
        "TEXT/Plain ;\tVersion=\"0.0.4\"", "", HCS_METRICS_PROMETHEUS);
    assert_choice("text/plain", "", HCS_METRICS_PROMETHEUS);
    assert_choice("text/*", "", HCS_METRICS_PROMETHEUS);
    assert_choice("text/plain, */*", "", HCS_METRICS_PROMETHEUS);
    /* before OpenMetrics 1.0.0 */
    assert_choice("application/openmetrics-text; version=0.0.1,"
                  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "", HCS_METRICS_PROMETHEUS);
}

static void prometheus_gets_openmetrics_where_it_prefers_it(void **state)
{
    (void)state;
    assert_choice("application/openmetrics-text;version=1.0.0", "",
        HCS_METRICS_OPENMETRICS);
    assert_choice("application/openmetrics-text", "", HCS_METRICS_OPENMETRICS);
    /* 2.42 */
    assert_choice("application/openmetrics-text;version=1.0.0,"
                  "application/openmetrics-text;version=0.0.1;q=0.75,"
                  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "", HCS_METRICS_OPENMETRICS);
    /* 3.0 */
    assert_choice("application/openmetrics-text;version=1.0.0;"
                  "escaping=allow-utf-8;q=0.6,"
                  "application/openmetrics-text;version=0.0.1;q=0.5,"
                  "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
                  "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "", HCS_METRICS_OPENMETRICS);
}

static void weights_decide(void **state)
{
    (void)state;
    assert_choice(
        "text/plain;q=0.4,application/json;q=0.5", "", HCS_METRICS_JSON);
    assert_choice(
        "text/plain;q=0.51,application/json;q=0.5", "", HCS_METRICS_PROMETHEUS);
    assert_choice("text/plain;q=0.501,application/json;q=0.5", "",
        HCS_METRICS_PROMETHEUS);
    assert_choice("text/plain;q=1.000,application/json;q=0.999", "",
        HCS_METRICS_PROMETHEUS);
    assert_choice("text/plain; Q=0, */*", "", HCS_METRICS_JSON);
    assert_choice(
        "application/json;q=0, application/*", "", HCS_METRICS_OPENMETRICS);
    assert_choice("application/json;q=0, application/openmetrics-text;q=0, "
                  "*/*;q=0.1",
        "", HCS_METRICS_PROMETHEUS);
    assert_choice("application/openmetrics-text;version=1.0.0;q=0.2,"
                  "text/plain;version=0.0.4;q=0.7",
        "", HCS_METRICS_PROMETHEUS);
    assert_choice(
        "text/plain;q=0.45,application/json;q=0.5", "", HCS_METRICS_JSON);
    assert_choice("text/plain;q=0.1,text/plain;version=0.0.4;q=0.9,"
                  "application/json;q=0.5",
        "", HCS_METRICS_PROMETHEUS);
    assert_choice("text/plain,text/plain;q=0,application/json;q=0.5", "",
        HCS_METRICS_PROMETHEUS);
    /* a type that is named counts for itself, whatever the star says */
    assert_choice("*/*;q=0.9, text/plain;q=0.3", "", HCS_METRICS_JSON);
}

static void broken_accept_does_no_harm(void **state)
{
    static const char *const accepts[] = {",", ",,;;,", ";q=1", "/", "text",
        "text/", "/plain", "*", "text/plain;q=", "text/plain;q=x",
        "text/plain;q=0.x", "text/plain;q=2", "text/plain;q=.9",
        "text/plain;q=5.9", "text/plain;q=0x9", "text/plain;q=0.-",
        "text/plain;q=0.9/", "text/plain;version",
        "text/plain;version=", "text/plain;version=\"",
        "text/plain;version=\"\\", "text/plain;version=0.0.40", "text/plainer",
        "tex/plain", "image/png;a=\"text/plain", "\""};

    (void)state;
    for (size_t i = 0; i < sizeof accepts / sizeof accepts[0]; i++) {
        assert_choice(accepts[i], "", HCS_METRICS_JSON);
    }
}

static void quoted_strings_hide_what_they_hold(void **state)
{
    (void)state;
    assert_choice("image/png;a=\",text/plain,\"", "", HCS_METRICS_JSON);
    assert_choice("image/png;a=\"\\\",text/plain,\"", "", HCS_METRICS_JSON);
    assert_choice(
        "image/png;a=\"\\\"\",text/plain", "", HCS_METRICS_PROMETHEUS);
}

static void query_goes_before_accept(void **state)
{
    (void)state;
    assert_choice(
        "application/json", "format=prometheus", HCS_METRICS_PROMETHEUS);
    assert_choice("*/*", "format=openmetrics", HCS_METRICS_OPENMETRICS);
    assert_choice("text/plain", "format=json", HCS_METRICS_JSON);
    assert_choice("", "a=b&format=prometheus&c", HCS_METRICS_PROMETHEUS);
    assert_choice("", "a=\"&format=prometheus", HCS_METRICS_PROMETHEUS);
    assert_choice("", "&&format=prometheus", HCS_METRICS_PROMETHEUS);
}

static void query_that_names_no_format_leaves_it_to_accept(void **state)
{
    static const char *const queries[] = {"format", "format=", "format=xml",
        "format=prometheu", "format=prometheus2", "xformat=prometheus",
        "prometheus", "formatprometheus", "=prometheus", "a=format=prometheus"};

    (void)state;
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        assert_choice("", queries[i], HCS_METRICS_JSON);
        assert_choice("application/openmetrics-text", queries[i],
            HCS_METRICS_OPENMETRICS);
    }
}

static void each_format_says_what_it_is(void **state)
{
    (void)state;
    assert_string_equal(
        hcs_metrics_content_type(HCS_METRICS_JSON), "application/json");
    assert_string_equal(hcs_metrics_content_type(HCS_METRICS_PROMETHEUS),
        "text/plain; version=0.0.4; charset=utf-8");
    assert_string_equal(hcs_metrics_content_type(HCS_METRICS_OPENMETRICS),
        "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_its_keys_in_order),
        cmocka_unit_test(json_has_each_metric_of_the_snapshot),
        cmocka_unit_test(json_of_an_empty_snapshot_is_whole),
        cmocka_unit_test(whole_numbers_are_exact_up_to_the_largest),
        cmocka_unit_test(decimals_are_three_and_rounded),
        cmocka_unit_test(decimals_that_no_metric_has_are_still_numbers),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
        cmocka_unit_test(text_has_each_metric_of_the_snapshot),
        cmocka_unit_test(counters_are_named_as_each_format_wants),
        cmocka_unit_test(paths_of_one_handler_are_added_up),
        cmocka_unit_test(reason_none_is_on_no_page),
        cmocka_unit_test(text_has_zeros_of_reasons),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(more_busy_workers_than_workers_leave_none_idle),
        cmocka_unit_test(stuck_workers_are_no_busy_ones),
        cmocka_unit_test(connections_that_work_are_queued_or_running),
        cmocka_unit_test(counters_of_loops_are_added_up),
        cmocka_unit_test(each_counter_is_in_its_pages),
        cmocka_unit_test(json_has_custom_metrics_with_their_handler),
        cmocka_unit_test(custom_metric_of_two_handlers_is_one_family),
        cmocka_unit_test(of_two_kinds_in_one_family_the_first_is_shown),
        cmocka_unit_test(custom_metric_with_the_longest_name_is_whole),
        cmocka_unit_test(text_of_an_empty_snapshot_is_whole),
        cmocka_unit_test(page_that_does_not_fit_is_cut_and_its_length_is_told),
        cmocka_unit_test(json_is_what_who_wants_nothing_gets),
        cmocka_unit_test(prometheus_gets_its_text),
        cmocka_unit_test(prometheus_gets_openmetrics_where_it_prefers_it),
        cmocka_unit_test(weights_decide),
        cmocka_unit_test(broken_accept_does_no_harm),
        cmocka_unit_test(quoted_strings_hide_what_they_hold),
        cmocka_unit_test(query_goes_before_accept),
        cmocka_unit_test(query_that_names_no_format_leaves_it_to_accept),
        cmocka_unit_test(each_format_says_what_it_is),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
