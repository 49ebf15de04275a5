/* A handler's mount: the settings it asks for, what it says, its metrics_made, and
 * its life. */
/* wrap: malloc calloc strdup */
#include "job/mount.h"

#include "base/log.h"
#include "observe/counts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint64_t MS = 1000000;
static const uint64_t HOUR_NS = 3600 * UINT64_C(1000000000);

/* --- Memory: the allocation, counted from 0, that fails. */

static int failing = -1;

static bool fails(void)
{
    return failing >= 0 && failing-- == 0;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

/* --- The log: keeps the last line. */

static struct {
    enum hcs_log_level wanted; /* and those above it */
    unsigned lines;
    enum hcs_log_level level;
    char message[4096];
    char route[64];
} logged;

bool __wrap_hcs_log_wants(const struct hcs_log *log, enum hcs_log_level level);
bool __wrap_hcs_log_wants(const struct hcs_log *log, enum hcs_log_level level)
{
    assert_null(log);
    return level <= logged.wanted;
}

void __wrap_hcs_log_write(struct hcs_log *log, enum hcs_log_level level,
    const char *message, const struct hcs_log_field *fields, size_t count);
void __wrap_hcs_log_write(struct hcs_log *log, enum hcs_log_level level,
    const char *message, const struct hcs_log_field *fields, size_t count)
{
    assert_null(log);
    assert_int_equal(count, 1);
    assert_string_equal(fields[0].name, "route");
    logged.lines++;
    logged.level = level;
    (void)snprintf(logged.message, sizeof(logged.message), "%s", message);
    (void)snprintf(logged.route, sizeof(logged.route), "%s", fields[0].text);
}

/* --- A handler that asks what a test wants to know. */

typedef bool ask_fn(struct hcs_mount *mount);

static ask_fn *ask;
static unsigned opened, closed, workers_opened, workers_closed;
static int open_gives;
static int worker_gives;
static void *context;
static int marker;

static int open_asking(void **self, struct hcs_mount *mount)
{
    context = *self;
    if (ask != NULL && !ask(mount)) {
        return -1;
    }
    if (open_gives != 0) {
        return open_gives;
    }
    opened++;
    *self = &marker;
    return 0;
}

static int open_worker(void *self, unsigned worker, void **state)
{
    assert_ptr_equal(self, &marker);
    if (worker_gives != 0) {
        return worker_gives;
    }
    *state = (char *)&marker + worker;
    workers_opened++;
    return 0;
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    return HCS_OK;
}

static void close_worker(void *self, void *state)
{
    assert_ptr_equal(self, &marker);
    assert_ptr_equal(state, (char *)&marker + 3);
    workers_closed++;
}

static void close_asking(void *self)
{
    assert_ptr_equal(self, &marker);
    closed++;
}

static const struct hcs_handler ASKING = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "asking",
    .open = open_asking,
    .open_worker = open_worker,
    .run = run,
    .close_worker = close_worker,
    .close = close_asking,
};

static const struct hcs_handler PLAIN = {.abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "plain",
    .run = run};

static const struct hcs_host HOST = {.workers = 7, .job_timeout_ms = 1500};

static int reset(void **state)
{
    (void)state;
    failing = -1;
    memset(&logged, 0, sizeof(logged));
    logged.wanted = HCS_LOG_DEBUG;
    ask = NULL;
    opened = 0;
    closed = 0;
    workers_opened = 0;
    workers_closed = 0;
    open_gives = 0;
    worker_gives = 0;
    context = NULL;
    return 0;
}

static struct hcs_mount *create(const struct hcs_handler *handler,
    const char *argument, const char *settings)
{
    struct hcs_mount *mount =
        hcs_mount_create(&HOST, handler, NULL, "/p", argument, settings);

    assert_non_null(mount);
    return mount;
}

/* It opens with the settings; what was asked is where ask has put it. */
static void opens(ask_fn *with, const char *settings)
{
    struct hcs_mount *mount = create(&ASKING, NULL, settings);
    unsigned before = opened;

    ask = with;
    if (hcs_mount_open(mount) != 0) {
        fail_msg("%s: %s", settings, hcs_mount_error(mount));
    }
    assert_null(hcs_mount_error(mount));
    assert_int_equal(opened, before + 1);
    hcs_mount_destroy(mount);
    assert_int_equal(closed, opened);
}

/* It does not, for exactly this reason. */
static void refused(ask_fn *with, const char *settings, const char *error)
{
    struct hcs_mount *mount = create(&ASKING, NULL, settings);

    ask = with;
    assert_int_equal(hcs_mount_open(mount), -EINVAL);
    assert_string_equal(hcs_mount_error(mount), error);
    hcs_mount_destroy(mount);
    assert_int_equal(closed, opened);
}

struct bad {
    const char *setting; /* NAME=value */
    const char *why;
};

/* Likewise, and the message ends in what is allowed. */
static void refused_for(
    ask_fn *with, const struct bad *bad, const char *allowed)
{
    char error[HCS_MOUNT_ERROR];

    (void)snprintf(error, sizeof(error), "%s: %s; allowed: %s", bad->setting,
        bad->why, allowed);
    refused(with, bad->setting, error);
}

/* --- Settings, kind by kind. */

static const char *text;
static char text_copy[64];

static bool ask_text(struct hcs_mount *mount)
{
    text = "default";
    if (!hcs_mount_text(mount, "name", &text)) {
        assert_string_equal(text, "default");
        return false;
    }
    (void)snprintf(text_copy, sizeof(text_copy), "%s", text);
    return true;
}

static void text_is_what_was_given_or_the_default(void **state)
{
    (void)state;
    opens(ask_text, NULL);
    assert_string_equal(text_copy, "default");
    opens(ask_text, "");
    assert_string_equal(text_copy, "default");
    opens(ask_text, "name=x");
    assert_string_equal(text_copy, "x");
    opens(ask_text, "name=a=b=c");
    assert_string_equal(text_copy, "a=b=c");
    opens(ask_text, "&&name=two words&");
    assert_string_equal(text_copy, "two words");
    refused(ask_text, "name=", "name is empty");
    refused(ask_text, "name=a&name=a", "name is set twice");
}

static void settings_are_percent_encoded(void **state)
{
    (void)state;
    opens(ask_text, "name=a%26b%3dc%20%C3%a9");
    assert_string_equal(text_copy, "a&b=c \xc3\xa9");
    opens(ask_text, "n%61me=x");
    assert_string_equal(text_copy, "x");
    opens(ask_text, "name=100%&");
    assert_string_equal(text_copy, "100%");
    opens(ask_text, "name=%4&");
    assert_string_equal(text_copy, "%4");
    opens(ask_text, "name=%2541"); /* once */
    assert_string_equal(text_copy, "%41");
    opens(ask_text, "name=a+b");
    assert_string_equal(text_copy, "a+b");
}

static void settings_that_are_none_are_refused_before_open(void **state)
{
    static const char NUL[] = "a setting may not hold a NUL";

    (void)state;
    refused(ask_text, "name=a%00b", NUL);
    refused(ask_text, "na%00me=a", NUL);
    refused(ask_text, "name", "?name: settings are name=value, with & between");
    refused(ask_text,
        "a=1&name&=", "?name: settings are name=value, with & between");
    refused(ask_text, "=x", "?: settings are name=value, with & between");
    refused(ask_text, "=", "?: settings are name=value, with & between");
    assert_int_equal(opened, 0);
}

static int64_t integer;

static bool ask_integer(struct hcs_mount *mount)
{
    integer = 42;
    return hcs_mount_integer(mount, "n", -10, 5000, &integer);
}

static bool ask_any_integer(struct hcs_mount *mount)
{
    return hcs_mount_integer(mount, "n", INT64_MIN, INT64_MAX, &integer);
}

static void integer_is_whole_and_in_its_range(void **state)
{
    static const struct bad bad[] = {
        {"n=-11", "too small"},
        {"n=5001", "too large"},
        {"n=", "not a whole number"},
        {"n=x", "not a whole number"},
        {"n=1x", "not a whole number"},
        {"n=1.0", "not a whole number"},
        {"n=+1", "not a whole number"},
        {"n= 1", "not a whole number"},
        {"n=1 ", "not a whole number"},
        {"n=--1", "not a whole number"},
        {"n=-", "not a whole number"},
        {"n=0x10", "not a whole number"},
        {"n=1e3", "not a whole number"},
        {"n=9223372036854775808", "too large"},
        {"n=99999999999999999999999", "too large"},
        {"n=\xd9\xa1", "not a whole number"},
    };

    (void)state;
    opens(ask_integer, NULL);
    assert_int_equal(integer, 42);
    opens(ask_integer, "n=-10");
    assert_int_equal(integer, -10);
    opens(ask_integer, "n=5000");
    assert_int_equal(integer, 5000);
    opens(ask_integer, "n=010");
    assert_int_equal(integer, 10); /* not octal */
    for (size_t i = 0; i < COUNT(bad); i++) {
        refused_for(ask_integer, &bad[i], "-10 to 5000");
        assert_int_equal(integer, 42);
    }
    refused(ask_integer, "n=1&n=2", "n is set twice");
    opens(ask_any_integer, "n=-9223372036854775808");
    assert_true(integer == INT64_MIN);
    opens(ask_any_integer, "n=9223372036854775807");
    assert_true(integer == INT64_MAX);
    refused(ask_any_integer, "n=-9223372036854775809",
        "n=-9223372036854775809: too small; allowed: "
        "-9223372036854775808 to 9223372036854775807");
}

static double number;

static bool ask_number(struct hcs_mount *mount)
{
    number = 0.25;
    return hcs_mount_number(mount, "x", -1.5, 1000, &number);
}

static void number_is_decimal_and_in_its_range(void **state)
{
    static const struct bad bad[] = {
        {"x=-1.6", "too small"},
        {"x=1000.1", "too large"},
        {"x=", "not a number"},
        {"x=x", "not a number"},
        {"x=1x", "not a number"},
        {"x= 1", "not a number"},
        {"x=0x1p3", "not a number"},
        {"x=nan", "not a number"},
        {"x=inf", "not a number"},
        {"x=-inf", "not a number"},
        {"x=1e999", "too large"},
        {"x=-1e999", "too small"},
        {"x=1e-999", "beyond what a double can hold"},
        {"x=1,5", "not a number"},
        {"x=.", "not a number"},
        {"x=e5", "not a number"},
        {"x=1e", "not a number"},
    };

    (void)state;
    opens(ask_number, NULL);
    assert_true(number == 0.25);
    opens(ask_number, "x=-1.5");
    assert_true(number == -1.5);
    opens(ask_number, "x=1e3");
    assert_true(number == 1000);
    opens(ask_number, "x=+.5E%2B1"); /* as in C; a plus is itself */
    assert_true(number == 5);
    for (size_t i = 0; i < COUNT(bad); i++) {
        refused_for(ask_number, &bad[i], "-1.5 to 1000");
        assert_true(number == 0.25);
    }
    refused(ask_number, "x=1&x=1", "x is set twice");
}

static uint64_t unsigned_value;

static bool ask_duration(struct hcs_mount *mount)
{
    unsigned_value = 7;
    return hcs_mount_duration(mount, "t", 5 * MS, HOUR_NS, &unsigned_value);
}

static void duration_is_in_its_range(void **state)
{
    static const char UNIT[] = "the unit must be ns, us, ms, s, m or h";
    const struct bad bad[] = {
        {"t=4ms", "too small"},
        {"t=4999999ns", "too small"},
        {"t=61m", "too large"},
        {"t=2h", "too large"},
        {"t=", "not a duration"},
        {"t=5", "no unit; write 5s or 5ms"},
        {"t=ms", "not a duration"},
        {"t=-5ms", "not a duration"},
        {"t=5.5ms", "a fraction; write a whole number of a smaller unit"},
        {"t=5 ms", UNIT},
        {"t=5d", UNIT},
        {"t=99999999999999999999s", "too large"},
    };

    (void)state;
    opens(ask_duration, NULL);
    assert_int_equal(unsigned_value, 7);
    opens(ask_duration, "t=5ms");
    assert_int_equal(unsigned_value, 5 * MS);
    opens(ask_duration, "t=60m");
    assert_int_equal(unsigned_value, HOUR_NS);
    for (size_t i = 0; i < COUNT(bad); i++) {
        refused_for(ask_duration, &bad[i], "5ms to 60m");
        assert_int_equal(unsigned_value, 7);
    }
    refused(ask_duration, "t=1s&t=1s", "t is set twice");
}

static bool ask_size(struct hcs_mount *mount)
{
    unsigned_value = 7;
    return hcs_mount_size(mount, "s", 1024, 1 << 20, &unsigned_value);
}

static void size_is_in_its_range(void **state)
{
    static const char UNIT[] = "the unit must be B, KiB, MiB, GiB or TiB";
    const struct bad bad[] = {
        {"s=1023", "too small"},
        {"s=1MiBx", UNIT},
        {"s=1048577", "too large"},
        {"s=2MiB", "too large"},
        {"s=", "not a size"},
        {"s=KiB", "not a size"},
        {"s=-1", "not a size"},
        {"s=64kib", UNIT},
        {"s=64K", UNIT},
        {"s=64 KiB", UNIT},
        {"s=1.5KiB", "a fraction; write a whole number of a smaller unit"},
        {"s=99999999999999999999TiB", "too large"},
    };

    (void)state;
    opens(ask_size, NULL);
    assert_int_equal(unsigned_value, 7);
    opens(ask_size, "s=1024");
    assert_int_equal(unsigned_value, 1024);
    opens(ask_size, "s=64KiB");
    assert_int_equal(unsigned_value, 65536);
    opens(ask_size, "s=1MiB");
    assert_int_equal(unsigned_value, 1 << 20);
    for (size_t i = 0; i < COUNT(bad); i++) {
        refused_for(ask_size, &bad[i], "1KiB to 1MiB");
        assert_int_equal(unsigned_value, 7);
    }
    refused(ask_size, "s=1KiB&s=1KiB", "s is set twice");
}

static bool ask_all_values(struct hcs_mount *mount)
{
    size_t cursor = 0;
    const char *value;

    text_copy[0] = '\0';
    while ((value = hcs_mount_next(mount, "v", &cursor)) != NULL) {
        strcat(strcat(text_copy, value), ";");
    }
    assert_null(hcs_mount_next(mount, "v", &cursor)); /* and stays there */
    return true;
}

static void each_of_many_values_is_given_in_order(void **state)
{
    (void)state;
    opens(ask_all_values, NULL);
    assert_string_equal(text_copy, "");
    opens(ask_all_values, "v=b&v=a&v=&v=b");
    assert_string_equal(text_copy, "b;a;;b;");
}

/* --- What was given and not asked for. */

static bool ask_several(struct hcs_mount *mount)
{
    size_t cursor = 0;

    return ask_text(mount) && ask_integer(mount) && ask_integer(mount) &&
           hcs_mount_next(mount, "v", &cursor) == NULL;
}

static bool ask_without_end(struct hcs_mount *mount)
{
    static char names[200][16];
    int64_t value = 0;

    for (size_t i = 0; i < 200; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "number_%zu", i);
        (void)hcs_mount_integer(mount, names[i], 0, 1, &value);
    }
    return true;
}

static void setting_that_nobody_asks_for_is_refused_with_what_is_allowed(
    void **state)
{
    struct hcs_mount *mount;

    (void)state;
    refused(ask_several, "m=1&n=1",
        "asking has no setting m; allowed: timeout, name, n, v");
    refused(ask_several, "Name=x",
        "asking has no setting Name; allowed: timeout, name, n, v");
    refused(NULL, "x=1", "asking has no setting x; allowed: timeout");
    mount = create(&PLAIN, NULL, "x=1");
    assert_int_equal(hcs_mount_open(mount), -EINVAL);
    assert_string_equal(
        hcs_mount_error(mount), "plain has no setting x; allowed: timeout");
    hcs_mount_destroy(mount);
    /* However many. */
    opens(ask_without_end, "number_199=1");
    mount = create(&ASKING, NULL, "x=1");
    ask = ask_without_end;
    assert_int_equal(hcs_mount_open(mount), -EINVAL);
    assert_int_equal(strlen(hcs_mount_error(mount)), HCS_MOUNT_ERROR - 1);
    hcs_mount_destroy(mount);
}

static bool ask_argument(struct hcs_mount *mount)
{
    text = hcs_mount_argument(mount);
    return true;
}

static void argument_that_nobody_asks_for_is_refused(void **state)
{
    struct hcs_mount *mount = create(&ASKING, "a b", NULL);

    (void)state;
    ask = ask_argument;
    assert_int_equal(hcs_mount_open(mount), 0);
    assert_string_equal(text, "a b");
    hcs_mount_destroy(mount);
    opens(ask_argument, NULL);
    assert_null(text);

    for (size_t i = 0; i < 2; i++) {
        static const struct hcs_handler *const handlers[] = {&ASKING, &PLAIN};
        char error[64];

        ask = NULL;
        mount = create(handlers[i], "a", NULL);
        (void)snprintf(
            error, sizeof(error), "%s takes no argument", handlers[i]->name);
        assert_int_equal(hcs_mount_open(mount), -EINVAL);
        assert_string_equal(hcs_mount_error(mount), error);
        hcs_mount_destroy(mount);
    }
    assert_int_equal(closed, opened);
}

static void every_mount_has_a_timeout(void **state)
{
    static const struct {
        const char *settings;
        uint64_t ms;
    } pairs[] = {
        {NULL, 1500}, /* the host's */
        {"timeout=2s", 2000},
        {"timeout=0s", 0},
        {"timeout=0", 0},
        {"timeout=1ns", 1}, /* not off */
        {"timeout=1000001ns", 2},
        {"timeout=24h", 24 * 3600 * 1000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct hcs_mount *mount = create(&PLAIN, NULL, pairs[i].settings);

        assert_int_equal(hcs_mount_open(mount), 0);
        assert_int_equal(mount->job_timeout_ms, pairs[i].ms);
        hcs_mount_destroy(mount);
    }
    refused(NULL, "timeout=25h", "timeout=25h: too large; allowed: 0s to 24h");
    refused(NULL, "timeout=1",
        "timeout=1: no unit; write 1s or 1ms; allowed: 0s to 24h");
    refused(NULL, "timeout=1s&timeout=2s", "timeout is set twice");
    assert_int_equal(opened, 0); /* it was not asked */
}

static bool ask_where(struct hcs_mount *mount)
{
    assert_string_equal(hcs_mount_path(mount), "/p");
    assert_int_equal(hcs_mount_workers(mount), 7);
    assert_false(hcs_mount_checks(mount));
    return true;
}

static void handler_knows_where_it_is(void **state)
{
    (void)state;
    opens(ask_where, NULL);
}

/* --- What it says. */

static bool fail_twice(struct hcs_mount *mount)
{
    hcs_mount_fail(mount, "%s %d", "first", 1);
    hcs_mount_fail(mount, "second");
    return true;
}

static bool fail_silently(struct hcs_mount *mount)
{
    (void)mount;
    return false;
}

static bool fail_at_length(struct hcs_mount *mount)
{
    char words[2 * HCS_MOUNT_ERROR];

    memset(words, 'w', sizeof(words) - 1);
    words[sizeof(words) - 1] = '\0';
    hcs_mount_fail(mount, "%s", words);
    return true;
}

/* As libraries say it. */
static bool fail_in_lines(struct hcs_mount *mount)
{
    hcs_mount_fail(mount, "no server\n\tat \"x\x7f\"\xc3\xa9\r\n\n");
    return true;
}

static bool fail_without_words(struct hcs_mount *mount)
{
    hcs_mount_fail(mount, "%s", "\n");
    return true;
}

static void first_error_wins(void **state)
{
    (void)state;
    refused(fail_twice, NULL, "first 1");
    refused(fail_twice, "timeout=1",
        "timeout=1: no unit; write 1s or 1ms; allowed: 0s to 24h");
    refused(fail_twice, "unknown=1", "first 1");
    refused(fail_silently, NULL, "asking does not open");
}

static void error_is_one_line_with_words(void **state)
{
    char longest[HCS_MOUNT_ERROR];

    (void)state;
    memset(longest, 'w', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    refused(fail_at_length, NULL, longest);
    refused(fail_in_lines, NULL, "no server  at \"x \"\xc3\xa9");
    refused(fail_without_words, NULL, "failed, and did not say why");
}

static void handler_that_fails_and_opens_is_closed(void **state)
{
    (void)state;
    refused(fail_twice, NULL, "first 1");
    assert_int_equal(opened, 1);
    assert_int_equal(closed, 1);
}

static void lines_in_the_log_have_level_and_path(void **state)
{
    static const enum hcs_log_level levels[] = {
        HCS_LOG_ERROR, HCS_LOG_WARN, HCS_LOG_INFO, HCS_LOG_DEBUG};
    struct hcs_mount *mount = create(&PLAIN, NULL, NULL);
    char words[8192];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        hcs_mount_log(mount, (enum hcs_level)i, "line %u", i);
        assert_int_equal(logged.lines, i + 1);
        assert_int_equal(logged.level, levels[i]);
        assert_string_equal(logged.route, "/p");
        assert_int_equal(logged.message[5], '0' + (int)i);
    }
    hcs_mount_log(mount, (enum hcs_level)4, "none");
    hcs_mount_log(mount, (enum hcs_level)77, "none");
    logged.wanted = HCS_LOG_WARN;
    hcs_mount_log(mount, HCS_INFO, "none");
    assert_int_equal(logged.lines, 4);
    memset(words, 'w', sizeof(words) - 1);
    words[sizeof(words) - 1] = '\0';
    hcs_mount_log(mount, HCS_WARN, "%s", words);
    assert_int_equal(logged.lines, 5);
    assert_in_range(strlen(logged.message), 1000, 4000);
    hcs_mount_destroy(mount);
}

/* --- Metrics. */

static struct hcs_metric *metrics_made[3];

static bool make_metrics(struct hcs_mount *mount)
{
    metrics_made[0] =
        hcs_mount_metric(mount, HCS_COUNTER, "jobs_total", "Jobs.");
    metrics_made[1] =
        hcs_mount_metric(mount, HCS_GAUGE, "children_2", "Children.");
    return metrics_made[0] != NULL && metrics_made[1] != NULL;
}

static void metrics_count(void **state)
{
    struct hcs_mount *mount = create(&ASKING, NULL, NULL);
    struct hcs_custom_metric metrics[3];

    (void)state;
    assert_int_equal(hcs_mount_metric_count(mount), 0);
    assert_int_equal(hcs_mount_metrics(mount, metrics, 3), 0);
    ask = make_metrics;
    assert_int_equal(hcs_mount_open(mount), 0);
    assert_int_equal(hcs_mount_metric_count(mount), 2);
    hcs_metric_add(metrics_made[0], 1);
    hcs_metric_add(metrics_made[0], 41);
    hcs_metric_set(metrics_made[1], 5);
    hcs_metric_add(metrics_made[1], -8);
    hcs_metric_add(NULL, 1);
    hcs_metric_set(NULL, 1);

    assert_int_equal(hcs_mount_metrics(mount, metrics, 3), 2);
    assert_string_equal(metrics[0].name, "jobs_total");
    assert_string_equal(metrics[0].help, "Jobs.");
    assert_int_equal(metrics[0].kind, HCS_COUNTER);
    assert_int_equal(metrics[0].value, 42);
    assert_string_equal(metrics[1].name, "children_2");
    assert_int_equal(metrics[1].kind, HCS_GAUGE);
    assert_int_equal(metrics[1].value, -3);
    /* No more than there is room for. */
    metrics[1].name = NULL;
    assert_int_equal(hcs_mount_metrics(mount, metrics, 1), 1);
    assert_string_equal(metrics[0].name, "jobs_total");
    assert_null(metrics[1].name);
    /* Pages rely on a fixed number of metrics. */
    assert_null(hcs_mount_metric(mount, HCS_GAUGE, "late", "Late."));
    assert_null(hcs_mount_error(mount));
    hcs_mount_destroy(mount);
}

static const char *metric_name;
static const char *metric_help = "What it is.";
static enum hcs_metric_kind metric_kind;

static bool make_one(struct hcs_mount *mount)
{
    metrics_made[2] =
        hcs_mount_metric(mount, metric_kind, metric_name, metric_help);
    return true;
}

static bool make_twice(struct hcs_mount *mount)
{
    assert_non_null(hcs_mount_metric(mount, HCS_GAUGE, "twin", "First."));
    assert_null(hcs_mount_metric(mount, HCS_GAUGE, "twin", "Second."));
    return true;
}

/* "a" to "aaa...": as many as there may be, and one more. */
static bool make_many(struct hcs_mount *mount)
{
    static char names[65 * 66];

    for (size_t i = 0; i < 65; i++) {
        char *name = names + i * 66;

        memset(name, 'a', i + 1);
        name[i + 1] = '\0';
        assert_true((hcs_mount_metric(mount, HCS_GAUGE, name, "One.") !=
                        NULL) == (i < 64));
    }
    return true;
}

static void metrics_of_a_handler_have_a_limit(void **state)
{
    (void)state;
    refused(make_many, NULL,
        "metric "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        ": one more than the 64 that a handler may have");
}

static void metric_has_a_name_that_prometheus_takes(void **state)
{
    static const struct {
        enum hcs_metric_kind kind;
        const char *name;
    } bad[] = {
        {HCS_GAUGE, ""},
        {HCS_GAUGE, "Big"},
        {HCS_GAUGE, "with-dash"},
        {HCS_GAUGE, "with blank"},
        {HCS_GAUGE, "\xc3\xa9"},
        {HCS_GAUGE, "gauge_total"},
        {HCS_COUNTER, "counter"},
        {HCS_COUNTER, "_total"},
        {HCS_COUNTER, "counter_total_"},
    };
    char longest[HCS_CUSTOM_METRIC_NAME + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char error[160];

        metric_kind = bad[i].kind;
        metric_name = bad[i].name;
        (void)snprintf(error, sizeof(error),
            "metric %s: must be at most 100 lower-case letters, digits and _, "
            "and end in _total if, and only if, it is a counter",
            metric_name);
        refused(make_one, NULL, error);
        assert_null(metrics_made[2]);
    }
    refused(make_twice, NULL, "metric twin: made twice");
    memset(longest, 'f', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    metric_kind = HCS_GAUGE;
    metric_name = longest + 1;
    opens(make_one, NULL);
    metric_name = longest;
    ask = make_one;
    metrics_made[2] = NULL;
    {
        struct hcs_mount *mount = create(&ASKING, NULL, NULL);

        assert_int_equal(hcs_mount_open(mount), -EINVAL);
        hcs_mount_destroy(mount);
    }
    assert_null(metrics_made[2]);
}

/* Prometheus throws the whole page away for what it cannot read. */
static void metric_has_a_help_that_prometheus_takes(void **state)
{
    static const char *const bad[] = {
        "two\nlines", "a\\b", "a \"b\"", "a\tb", "\x7f", "\xc3\xa9"};

    (void)state;
    metric_kind = HCS_GAUGE;
    metric_name = "helped";
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        metric_help = bad[i];
        refused(make_one, NULL,
            "metric helped: its help must be one line of ASCII, without \\ and "
            "\"");
        assert_null(metrics_made[2]);
    }
    metric_help = "What it is.";
    opens(make_one, NULL);
}

static bool make_without_memory(struct hcs_mount *mount)
{
    failing = 0;
    assert_null(hcs_mount_metric(mount, HCS_GAUGE, "metric", "Metric."));
    assert_int_equal(failing, -1);
    assert_non_null(hcs_mount_metric(mount, HCS_GAUGE, "metric", "Metric."));
    return true;
}

static void metric_without_memory_stops_nothing(void **state)
{
    (void)state;
    opens(make_without_memory, NULL);
}

/* --- Life. */

static void context_is_what_open_finds(void **state)
{
    struct hcs_mount *mount =
        hcs_mount_create(&HOST, &ASKING, &closed, "/p", NULL, NULL);

    (void)state;
    assert_int_equal(hcs_mount_open(mount), 0);
    assert_ptr_equal(context, &closed);
    assert_ptr_equal(mount->self, &marker);
    hcs_mount_destroy(mount);
}

static void open_and_close_come_in_pairs(void **state)
{
    struct hcs_mount *mount = create(&ASKING, NULL, NULL);

    (void)state;
    hcs_mount_close(mount); /* was not open */
    assert_int_equal(closed, 0);
    assert_int_equal(hcs_mount_open(mount), 0);
    hcs_mount_close(mount);
    assert_int_equal(closed, 1);
    hcs_mount_close(mount);
    hcs_mount_destroy(mount);
    assert_int_equal(closed, 1);

    open_gives = 5; /* anything but 0 */
    refused(NULL, NULL, "asking does not open");
    assert_int_equal(closed, 1);
    hcs_mount_destroy(NULL);
}

static void workers_have_states(void **state)
{
    struct hcs_mount *mount = create(&ASKING, NULL, NULL);
    void *of_worker = &mount;

    (void)state;
    assert_int_equal(hcs_mount_open(mount), 0);
    assert_int_equal(hcs_mount_open_worker(mount, 3, &of_worker), 0);
    assert_ptr_equal(of_worker, (char *)&marker + 3);
    hcs_mount_close_worker(mount, of_worker);
    assert_int_equal(workers_closed, 1);
    worker_gives = -1;
    of_worker = &mount;
    assert_int_equal(hcs_mount_open_worker(mount, 6, &of_worker), -EINVAL);
    assert_null(of_worker);
    assert_string_equal(
        hcs_mount_error(mount), "asking does not open on worker 6");
    assert_int_equal(workers_opened, 1);
    hcs_mount_destroy(mount);
}

static void worker_without_a_state_needs_no_calls(void **state)
{
    struct hcs_handler half = ASKING;
    struct hcs_mount *mount = create(&PLAIN, NULL, NULL);
    void *of_worker = &mount;

    (void)state;
    assert_int_equal(hcs_mount_open(mount), 0);
    assert_int_equal(hcs_mount_open_worker(mount, 0, &of_worker), 0);
    assert_null(of_worker);
    hcs_mount_close_worker(mount, of_worker);
    hcs_mount_destroy(mount);

    half.close_worker = NULL;
    mount = create(&half, NULL, NULL);
    assert_int_equal(hcs_mount_open(mount), 0);
    assert_int_equal(hcs_mount_open_worker(mount, 0, &of_worker), 0);
    hcs_mount_close_worker(mount, of_worker);
    hcs_mount_destroy(mount);

    /* Nothing was opened that could be closed. */
    half = ASKING;
    half.open_worker = NULL;
    mount = create(&half, NULL, NULL);
    assert_int_equal(hcs_mount_open(mount), 0);
    assert_int_equal(hcs_mount_open_worker(mount, 0, &of_worker), 0);
    assert_null(of_worker);
    hcs_mount_close_worker(mount, of_worker);
    hcs_mount_destroy(mount);
    assert_int_equal(workers_closed, 0);
}

static void create_says_that_there_is_no_memory(void **state)
{
    struct hcs_mount *mount = NULL;
    int tries = 0;

    (void)state;
    while (mount == NULL) {
        failing = tries++;
        mount =
            hcs_mount_create(&HOST, &ASKING, NULL, "/p", "argument", "a=1&b=2");
        assert_true(tries < 100);
    }
    failing = -1;
    assert_int_equal(tries, 7); /* record, inside, path, argument, settings */
    hcs_mount_destroy(mount);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(text_is_what_was_given_or_the_default, reset),
        cmocka_unit_test_setup(settings_are_percent_encoded, reset),
        cmocka_unit_test_setup(
            settings_that_are_none_are_refused_before_open, reset),
        cmocka_unit_test_setup(integer_is_whole_and_in_its_range, reset),
        cmocka_unit_test_setup(number_is_decimal_and_in_its_range, reset),
        cmocka_unit_test_setup(duration_is_in_its_range, reset),
        cmocka_unit_test_setup(size_is_in_its_range, reset),
        cmocka_unit_test_setup(each_of_many_values_is_given_in_order, reset),
        cmocka_unit_test_setup(
            setting_that_nobody_asks_for_is_refused_with_what_is_allowed,
            reset),
        cmocka_unit_test_setup(argument_that_nobody_asks_for_is_refused, reset),
        cmocka_unit_test_setup(every_mount_has_a_timeout, reset),
        cmocka_unit_test_setup(handler_knows_where_it_is, reset),
        cmocka_unit_test_setup(first_error_wins, reset),
        cmocka_unit_test_setup(error_is_one_line_with_words, reset),
        cmocka_unit_test_setup(handler_that_fails_and_opens_is_closed, reset),
        cmocka_unit_test_setup(lines_in_the_log_have_level_and_path, reset),
        cmocka_unit_test_setup(metrics_count, reset),
        cmocka_unit_test_setup(metrics_of_a_handler_have_a_limit, reset),
        cmocka_unit_test_setup(metric_has_a_name_that_prometheus_takes, reset),
        cmocka_unit_test_setup(metric_has_a_help_that_prometheus_takes, reset),
        cmocka_unit_test_setup(metric_without_memory_stops_nothing, reset),
        cmocka_unit_test_setup(context_is_what_open_finds, reset),
        cmocka_unit_test_setup(open_and_close_come_in_pairs, reset),
        cmocka_unit_test_setup(workers_have_states, reset),
        cmocka_unit_test_setup(worker_without_a_state_needs_no_calls, reset),
        cmocka_unit_test_setup(create_says_that_there_is_no_memory, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
