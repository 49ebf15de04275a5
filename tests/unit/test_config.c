/*
 * Linked with -Wl,--wrap= for each of reallocarray, strdup, isatty,
 * hcs_resources_cores and hcs_resources_memory, so that a lack of memory, a
 * terminal, and machines of any size are ordinary cases.
 */
#include "app/config.h"

#include "app/resources.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint64_t MIB = UINT64_C(1) << 20;
static const uint64_t GIB = UINT64_C(1) << 30;

/* --- What the wrapped functions answer. */

static unsigned machine_cores = 4;
static uint64_t machine_memory = UINT64_C(8) << 30;
static int stderr_is_terminal;
static int allocations_left = INT_MAX;

void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
int __wrap_isatty(int fd);
unsigned __wrap_hcs_resources_cores(const char *root);
uint64_t __wrap_hcs_resources_memory(const char *root);

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return allocations_left-- > 0 ? __real_reallocarray(old, count, size)
                                  : NULL;
}

char *__wrap_strdup(const char *text)
{
    return allocations_left-- > 0 ? __real_strdup(text) : NULL;
}

int __wrap_isatty(int fd)
{
    assert_int_equal(fd, STDERR_FILENO);
    return stderr_is_terminal;
}

unsigned __wrap_hcs_resources_cores(const char *root)
{
    assert_string_equal(root, "");
    return machine_cores;
}

uint64_t __wrap_hcs_resources_memory(const char *root)
{
    assert_string_equal(root, "");
    return machine_memory;
}

static int reset_machine(void **state)
{
    (void)state;
    machine_cores = 4;
    machine_memory = UINT64_C(8) << 30;
    stderr_is_terminal = 0;
    allocations_left = INT_MAX;
    return 0;
}

/* --- Loading. */

enum { ERROR_SIZE = 1024 };

static int load(struct hcs_config *config, const char *variable, char *error)
{
    char *env[] = {(char *)(uintptr_t)variable, NULL};

    return hcs_config_load(config, env, error, ERROR_SIZE);
}

/* "NAME=value" must load. */
static void load_good(struct hcs_config *config, const char *variable)
{
    char error[ERROR_SIZE] = "untouched";

    if (load(config, variable, error) != 0) {
        fail_msg("%s was refused: %s", variable, error);
    }
    assert_string_equal(error, "");
}

/* "NAME=value" must be refused with exactly this line, and leave nothing. */
static void load_bad(const char *variable, const char *line)
{
    static const struct hcs_config empty;
    struct hcs_config config;
    char error[ERROR_SIZE];

    memset(&config, 0x5a, sizeof config);
    if (load(&config, variable, error) == 0) {
        fail_msg("%s was accepted", variable);
    }
    assert_string_equal(error, line);
    assert_null(strchr(error, '\n'));
    assert_memory_equal(&config, &empty, sizeof config);
}

/* What hcs_config_print says; the caller frees it. */
static char *printed(const struct hcs_config *config, char *const env[])
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    assert_non_null(out);
    hcs_config_print(config, env, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* The line of one setting, without its line feed. */
static void printed_line(const char *text, const char *name, char line[512])
{
    size_t length = strlen(name);

    for (; *text != '\0'; text += strcspn(text, "\n") + 1) {
        if (strncmp(text, name, length) == 0 && text[length] == '=') {
            (void)snprintf(line, 512, "%.*s", (int)strcspn(text, "\n"), text);
            return;
        }
    }
    fail_msg("no line for %s", name);
}

/* The name that a line starts with. */
static void copy_name(const char *line, char name[64])
{
    size_t length = strcspn(line, "=");

    assert_in_range(length, 1, 63);
    memcpy(name, line, length);
    name[length] = '\0';
}

/* The line that "NAME=value" is printed as. */
static void print_variable(const char *variable, char line[512])
{
    struct hcs_config config;
    char *env[] = {(char *)(uintptr_t)variable, NULL};
    char name[64];
    char *text;

    copy_name(variable, name);
    load_good(&config, variable);
    text = printed(&config, env);
    printed_line(text, name, line);
    free(text);
    hcs_config_fini(&config);
}

static void assert_printed(const char *variable, const char *expected)
{
    char line[512];

    print_variable(variable, line);
    assert_string_equal(line, expected);
}

/* --- Every bound of every setting, and one beyond it. */

struct good {
    const char *variable; /* NAME=value */
    size_t offset, size;
    uint64_t value;
};

#define GOOD(text, member, expected)                                           \
    {                                                                          \
        (text), offsetof(struct hcs_config, member),                           \
            sizeof(((struct hcs_config *)NULL)->member), (expected)            \
    }

static uint64_t number_in(const struct hcs_config *config, const struct good *g)
{
    const char *place = (const char *)config + g->offset;
    uint8_t byte;
    uint16_t half;
    uint32_t word;
    uint64_t whole;

    switch (g->size) {
    case sizeof byte:
        memcpy(&byte, place, sizeof byte);
        return byte;
    case sizeof half:
        memcpy(&half, place, sizeof half);
        return half;
    case sizeof word:
        memcpy(&word, place, sizeof word);
        return word;
    default:
        assert_int_equal(g->size, sizeof whole);
        memcpy(&whole, place, sizeof whole);
        return whole;
    }
}

static const struct good *good_cases(size_t *count)
{
    static const struct good cases[] = {
        GOOD("PORT=0", port, 0),
        GOOD("PORT=65535", port, 65535),
        GOOD("PORT=", port, 8080),
        GOOD("LOOPS=1", loops, 1),
        GOOD("LOOPS=1024", loops, 1024),
        GOOD("LOOPS=auto", loops, 4),
        GOOD("LOOPS=", loops, 4),
        GOOD("WORKERS=1", workers, 1),
        GOOD("WORKERS=65535", workers, 65535),
        GOOD("WORKERS=auto", workers, 8),
        GOOD("WORKERS=", workers, 8),
        GOOD("QUEUE_SIZE=1", queue_size, 1),
        GOOD("QUEUE_SIZE=3", queue_size, 3),
        GOOD("QUEUE_SIZE=16777216", queue_size, 16777216),
        GOOD("QUEUE_SIZE=", queue_size, 10000),
        GOOD("MAX_CONNECTIONS=1", max_connections, 1),
        GOOD("MAX_CONNECTIONS=100000000", max_connections, 100000000),
        GOOD("MAX_CONNECTIONS=", max_connections, 100000),
        GOOD("READ_TIMEOUT=1ms", read_timeout_ms, 1),
        GOOD("READ_TIMEOUT=24h", read_timeout_ms, 86400000),
        GOOD("READ_TIMEOUT=", read_timeout_ms, 15000),
        GOOD("MIN_UPLOAD_RATE=", min_upload_rate, 240),
        GOOD("MIN_UPLOAD_RATE=1", min_upload_rate, 1),
        GOOD("MIN_UPLOAD_RATE=64KiB", min_upload_rate, 65536),
        GOOD("MIN_UPLOAD_RATE=0", min_upload_rate, 0),
        GOOD("MIN_UPLOAD_RATE=off", min_upload_rate, 0),
        GOOD("WRITE_TIMEOUT=1ms", write_timeout_ms, 1),
        GOOD("WRITE_TIMEOUT=1440m", write_timeout_ms, 86400000),
        GOOD("WRITE_TIMEOUT=", write_timeout_ms, 15000),
        GOOD("IDLE_TIMEOUT=1ms", idle_timeout_ms, 1),
        GOOD("IDLE_TIMEOUT=86400s", idle_timeout_ms, 86400000),
        GOOD("IDLE_TIMEOUT=", idle_timeout_ms, 60000),
        GOOD("SHUTDOWN_TIMEOUT=1ms", shutdown_timeout_ms, 1),
        GOOD("SHUTDOWN_TIMEOUT=86400000ms", shutdown_timeout_ms, 86400000),
        GOOD("SHUTDOWN_TIMEOUT=", shutdown_timeout_ms, 30000),
        GOOD("DRAIN_DELAY=0", drain_delay_ms, 0),
        GOOD("DRAIN_DELAY=0s", drain_delay_ms, 0),
        GOOD("DRAIN_DELAY=1ms", drain_delay_ms, 1),
        GOOD("DRAIN_DELAY=24h", drain_delay_ms, 86400000),
        GOOD("DRAIN_DELAY=", drain_delay_ms, 0),
        GOOD("DRAIN_IDLE=0", drain_idle_ms, 0),
        GOOD("DRAIN_IDLE=250ms", drain_idle_ms, 250),
        GOOD("DRAIN_IDLE=24h", drain_idle_ms, 86400000),
        GOOD("DRAIN_IDLE=", drain_idle_ms, 1000),
        GOOD("MAX_HEADER_SIZE=256", max_header_bytes, 256),
        GOOD("MAX_HEADER_SIZE=256B", max_header_bytes, 256),
        GOOD("MAX_HEADER_SIZE=64KiB", max_header_bytes, 65536),
        GOOD("MAX_HEADER_SIZE=1MiB", max_header_bytes, 1048576),
        GOOD("MAX_HEADER_SIZE=", max_header_bytes, 16384),
        GOOD("MAX_BODY_SIZE=0", max_body_bytes, 0),
        GOOD("MAX_BODY_SIZE=0MiB", max_body_bytes, 0),
        GOOD("MAX_BODY_SIZE=1GiB", max_body_bytes, 1073741824),
        GOOD("MAX_BODY_SIZE=", max_body_bytes, 1048576),
        GOOD("MEMORY_BUDGET=16MiB", memory_budget_bytes, 16777216),
        GOOD("MEMORY_BUDGET=1024TiB", memory_budget_bytes, UINT64_C(1) << 50),
        GOOD("MEMORY_BUDGET=auto", memory_budget_bytes, UINT64_C(4) << 30),
        GOOD("MEMORY_BUDGET=", memory_budget_bytes, UINT64_C(4) << 30),
        GOOD("QUEUE_TIMEOUT=0", queue_timeout_ms, 0),
        GOOD("QUEUE_TIMEOUT=off", queue_timeout_ms, 0),
        GOOD("QUEUE_TIMEOUT=1ms", queue_timeout_ms, 1),
        GOOD("QUEUE_TIMEOUT=24h", queue_timeout_ms, 86400000),
        GOOD("QUEUE_TIMEOUT=", queue_timeout_ms, 30000),
        GOOD("JOB_TIMEOUT=0s", job_timeout_ms, 0),
        GOOD("JOB_TIMEOUT=1ms", job_timeout_ms, 1),
        GOOD("JOB_TIMEOUT=24h", job_timeout_ms, 86400000),
        GOOD("JOB_TIMEOUT=", job_timeout_ms, 0),
        GOOD("HALF_CLOSE=cancel", half_close, HCS_HALF_CLOSE_CANCEL),
        GOOD("HALF_CLOSE=serve", half_close, HCS_HALF_CLOSE_SERVE),
        GOOD("HALF_CLOSE=", half_close, HCS_HALF_CLOSE_CANCEL),
        GOOD("PRIVATE_FD_TABLES=on", private_fd_tables, true),
        GOOD("PRIVATE_FD_TABLES=off", private_fd_tables, false),
        GOOD("PRIVATE_FD_TABLES=", private_fd_tables, true),
        GOOD("LOG_LEVEL=error", log_level, HCS_LOG_ERROR),
        GOOD("LOG_LEVEL=warn", log_level, HCS_LOG_WARN),
        GOOD("LOG_LEVEL=info", log_level, HCS_LOG_INFO),
        GOOD("LOG_LEVEL=debug", log_level, HCS_LOG_DEBUG),
        GOOD("LOG_LEVEL=", log_level, HCS_LOG_INFO),
        GOOD("LOG_FORMAT=text", log_format, HCS_LOG_TEXT),
        GOOD("LOG_FORMAT=json", log_format, HCS_LOG_JSON),
        GOOD("LOG_FORMAT=logfmt", log_format, HCS_LOG_LOGFMT),
        GOOD("LOG_FORMAT=auto", log_format, HCS_LOG_JSON),
        GOOD("LOG_FORMAT=", log_format, HCS_LOG_JSON),
    };

    *count = COUNT(cases);
    return cases;
}

static void values_up_to_the_bounds_are_taken(void **state)
{
    size_t count;
    const struct good *cases = good_cases(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        struct hcs_config config;
        uint64_t got;

        load_good(&config, cases[i].variable);
        got = number_in(&config, &cases[i]);
        if (got != cases[i].value) {
            fail_msg("%s became %" PRIu64, cases[i].variable, got);
        }
        hcs_config_fini(&config);
    }
}

struct bad {
    const char *variable;
    const char *why; /* behind "NAME=value: " */
};

#define PORT_RANGE "; allowed: 0 to 65535"
#define LOOPS_RANGE "; allowed: 1 to 1024, or auto"
#define WORKERS_RANGE "; allowed: 1 to 65535, or auto"
#define QUEUE_RANGE "; allowed: 1 to 16777216"
#define CONNECTIONS_RANGE "; allowed: 1 to 100000000"
#define TIME_RANGE "; allowed: 1ms to 24h"
#define ZERO_TIME_RANGE "; allowed: 0s to 24h"
#define OFF_TIME_RANGE "; allowed: 1ms to 24h, or 0 for off"
#define HEADER_RANGE "; allowed: 256B to 1MiB"
#define BODY_RANGE "; allowed: 0B to 1GiB"
#define RATE_RANGE "; allowed: 1B to 1GiB, or 0 for off"
#define BUDGET_RANGE "; allowed: 16MiB to 1024TiB, or auto"
#define ADDRESS_RANGE "; allowed: an IPv4 or IPv6 address, or empty for all"
#define ENTRIES "; allowed: PATH=KIND[:ARGUMENT][?key=value&...]"
#define FILES "; allowed: a file, one entry of HANDLERS a line"
#define TIME_UNIT "the unit must be ms, s, m or h"
#define SIZE_UNIT "the unit must be B, KiB, MiB, GiB or TiB"
#define FRACTION "a fraction; write a whole number of a smaller unit"

static const struct bad *bad_cases(size_t *count)
{
    static const struct bad cases[] = {
        {"PORT=65536", "too large" PORT_RANGE},
        {"PORT=-1", "too small" PORT_RANGE},
        {"PORT=+1", "not a whole number" PORT_RANGE},
        {"PORT= 80", "not a whole number" PORT_RANGE},
        {"PORT=80 ", "not a whole number" PORT_RANGE},
        {"PORT=0x50", "not a whole number" PORT_RANGE},
        {"PORT=80.0", "not a whole number" PORT_RANGE},
        {"PORT=auto", "not a whole number" PORT_RANGE},
        {"PORT=off", "not a whole number" PORT_RANGE},
        {"PORT=65616", "too large" PORT_RANGE}, /* 80 in 16 bits */
        {"LOOPS=0", "too small" LOOPS_RANGE},
        {"LOOPS=1025", "too large" LOOPS_RANGE},
        {"LOOPS=AUTO", "not a whole number" LOOPS_RANGE},
        {"LOOPS=auto1", "not a whole number" LOOPS_RANGE},
        {"WORKERS=0", "too small" WORKERS_RANGE},
        {"WORKERS=65536", "too large" WORKERS_RANGE},
        {"QUEUE_SIZE=0", "too small" QUEUE_RANGE},
        {"QUEUE_SIZE=16777217", "too large" QUEUE_RANGE},
        {"QUEUE_SIZE=abc", "not a whole number" QUEUE_RANGE},
        {"QUEUE_SIZE=1e3", "not a whole number" QUEUE_RANGE},
        {"QUEUE_SIZE=4294967297", "too large" QUEUE_RANGE},
        {"QUEUE_SIZE=18446744073709551615", "too large" QUEUE_RANGE},
        {"QUEUE_SIZE=18446744073709551617", "too large" QUEUE_RANGE},
        {"QUEUE_SIZE=184467440737095516170", "too large" QUEUE_RANGE},
        /* 4 in 64 bits, where only the multiplication overflows */
        {"QUEUE_SIZE=18446744073709551620", "too large" QUEUE_RANGE},
        {"QUEUE_SIZE=99999999999999999999999999", "too large" QUEUE_RANGE},
        {"MAX_CONNECTIONS=0", "too small" CONNECTIONS_RANGE},
        {"MAX_CONNECTIONS=100000001", "too large" CONNECTIONS_RANGE},
        {"READ_TIMEOUT=0", "too small" TIME_RANGE},
        {"READ_TIMEOUT=0s", "too small" TIME_RANGE},
        {"READ_TIMEOUT=off", "not a duration" TIME_RANGE},
        {"READ_TIMEOUT=86400001ms", "too large" TIME_RANGE},
        {"READ_TIMEOUT=15", "no unit; write 15s or 15ms" TIME_RANGE},
        {"READ_TIMEOUT=1.5s", FRACTION TIME_RANGE},
        {"READ_TIMEOUT=1.s", TIME_UNIT TIME_RANGE},
        {"READ_TIMEOUT=.5s", "not a duration" TIME_RANGE},
        {"READ_TIMEOUT=1,5s", TIME_UNIT TIME_RANGE},
        {"READ_TIMEOUT=15S", TIME_UNIT TIME_RANGE},
        {"READ_TIMEOUT=15 s", TIME_UNIT TIME_RANGE},
        {"READ_TIMEOUT=1m30s", TIME_UNIT TIME_RANGE},
        {"READ_TIMEOUT=1d", TIME_UNIT TIME_RANGE},
        {"READ_TIMEOUT=500us", TIME_UNIT TIME_RANGE},
        {"READ_TIMEOUT=s", "not a duration" TIME_RANGE},
        {"READ_TIMEOUT=-1s", "not a duration" TIME_RANGE},
        /* 2^64 ms and a second: 744 ms in 64 bits */
        {"READ_TIMEOUT=18446744073709552s", "too large" TIME_RANGE},
        {"READ_TIMEOUT=18446744073709551617h", "too large" TIME_RANGE},
        {"WRITE_TIMEOUT=0", "too small" TIME_RANGE},
        {"WRITE_TIMEOUT=1441m", "too large" TIME_RANGE},
        {"IDLE_TIMEOUT=0ms", "too small" TIME_RANGE},
        {"IDLE_TIMEOUT=86401s", "too large" TIME_RANGE},
        {"SHUTDOWN_TIMEOUT=0", "too small" TIME_RANGE},
        {"SHUTDOWN_TIMEOUT=25h", "too large" TIME_RANGE},
        {"DRAIN_DELAY=86400001ms", "too large" ZERO_TIME_RANGE},
        {"DRAIN_DELAY=off", "not a duration" ZERO_TIME_RANGE},
        {"DRAIN_DELAY=5", "no unit; write 5s or 5ms" ZERO_TIME_RANGE},
        {"DRAIN_IDLE=86400001ms", "too large" ZERO_TIME_RANGE},
        {"MIN_UPLOAD_RATE=1025MiB", "too large" RATE_RANGE},
        {"MIN_UPLOAD_RATE=-1", "not a size" RATE_RANGE},
        {"MIN_UPLOAD_RATE=240B/s", SIZE_UNIT RATE_RANGE},
        {"MAX_HEADER_SIZE=255", "too small" HEADER_RANGE},
        {"MAX_HEADER_SIZE=255B", "too small" HEADER_RANGE},
        {"MAX_HEADER_SIZE=1048577", "too large" HEADER_RANGE},
        {"MAX_HEADER_SIZE=1025KiB", "too large" HEADER_RANGE},
        {"MAX_HEADER_SIZE=64KB", SIZE_UNIT HEADER_RANGE},
        {"MAX_HEADER_SIZE=64k", SIZE_UNIT HEADER_RANGE},
        {"MAX_HEADER_SIZE=64kib", SIZE_UNIT HEADER_RANGE},
        {"MAX_HEADER_SIZE=0.5MiB", FRACTION HEADER_RANGE},
        {"MAX_HEADER_SIZE=big", "not a size" HEADER_RANGE},
        {"MAX_HEADER_SIZE=auto", "not a size" HEADER_RANGE},
        {"MAX_BODY_SIZE=1073741825", "too large" BODY_RANGE},
        {"MAX_BODY_SIZE=2GiB", "too large" BODY_RANGE},
        /* 2^24 TiB is 2^64 bytes: 0 in 64 bits */
        {"MAX_BODY_SIZE=16777216TiB", "too large" BODY_RANGE},
        {"MAX_BODY_SIZE=-1", "not a size" BODY_RANGE},
        {"MEMORY_BUDGET=16777215", "too small" BUDGET_RANGE},
        {"MEMORY_BUDGET=0", "too small" BUDGET_RANGE},
        {"MEMORY_BUDGET=1025TiB", "too large" BUDGET_RANGE},
        {"MEMORY_BUDGET=1125899906842625", "too large" BUDGET_RANGE},
        {"QUEUE_TIMEOUT=86400001ms", "too large" OFF_TIME_RANGE},
        {"QUEUE_TIMEOUT=OFF", "not a duration" OFF_TIME_RANGE},
        {"QUEUE_TIMEOUT=30", "no unit; write 30s or 30ms" OFF_TIME_RANGE},
        {"JOB_TIMEOUT=86400001ms", "too large" OFF_TIME_RANGE},
        {"JOB_TIMEOUT=never", "not a duration" OFF_TIME_RANGE},
        {"HALF_CLOSE=maybe", "unknown; allowed: cancel, serve"},
        {"HALF_CLOSE=cancel ", "unknown; allowed: cancel, serve"},
        {"PRIVATE_FD_TABLES=1", "unknown; allowed: off, on"},
        {"LOG_LEVEL=INFO", "unknown; allowed: error, warn, info, debug"},
        {"LOG_LEVEL=warning", "unknown; allowed: error, warn, info, debug"},
        {"LOG_FORMAT=xml", "unknown; allowed: text, json, logfmt, auto"},
        {"ADDRESS=[::1]", "write the address without brackets" ADDRESS_RANGE},
        {"ADDRESS=localhost", "not an IP address" ADDRESS_RANGE},
        {"ADDRESS=127.0.0.1:80", "not an IP address" ADDRESS_RANGE},
        {"ADDRESS=256.0.0.1", "not an IP address" ADDRESS_RANGE},
        {"ADDRESS=127.1", "not an IP address" ADDRESS_RANGE},
        {"ADDRESS=1::2::3", "not an IP address" ADDRESS_RANGE},
        {"ADDRESS=fe80::1%lo", "not an IP address" ADDRESS_RANGE},
        {"ADDRESS=*", "not an IP address" ADDRESS_RANGE},
        {"HANDLERS= ", "no entry" ENTRIES},
        {"HANDLERS=/a", "\"/a\": no =KIND behind the path" ENTRIES},
        {"HANDLERS=/health=c",
            "\"/health=c\": the path is one of the daemon's own" ENTRIES},
        {"HANDLERS_FILE=/nonexistent/handlers",
            "No such file or directory" FILES},
        {"HANDLERS_FILE=/tmp", "Is a directory" FILES},
        {"HANDLERS_FILE=/dev/zero",
            "line 1: a NUL byte; not a text file" FILES},
    };

    *count = COUNT(cases);
    return cases;
}

static void values_beyond_the_bounds_are_refused_in_one_line(void **state)
{
    size_t count;
    const struct bad *cases = bad_cases(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        char line[ERROR_SIZE];

        (void)snprintf(
            line, sizeof line, "%s: %s", cases[i].variable, cases[i].why);
        load_bad(cases[i].variable, line);
    }
}

static bool names(const char *variable, const char *name, size_t length)
{
    return strncmp(variable, name, length) == 0 && variable[length] == '=';
}

/* Settings that are texts have cases of their own. */
static void every_setting_is_tested_at_its_bounds(void **state)
{
    struct hcs_config config;
    size_t good_count;
    size_t bad_count;
    const struct good *good = good_cases(&good_count);
    const struct bad *bad = bad_cases(&bad_count);
    size_t settings = 0;
    char *text;

    (void)state;
    load_good(&config, "UNRELATED=1");
    text = printed(&config, NULL);
    for (const char *line = text; *line != '\0';
         line += strcspn(line, "\n") + 1) {
        size_t length = strcspn(line, "=");
        size_t hits = 0;
        size_t misses = 0;

        settings++;
        if (names("HANDLERS=", line, length) ||
            names("HANDLERS_FILE=", line, length) ||
            names("ADDRESS=", line, length) ||
            names("PID_FILE=", line, length)) {
            continue;
        }
        for (size_t i = 0; i < good_count; i++) {
            hits += names(good[i].variable, line, length);
        }
        for (size_t i = 0; i < bad_count; i++) {
            misses += names(bad[i].variable, line, length);
        }
        if (hits < 2 || misses < 1) {
            fail_msg(
                "%.*s has %zu and %zu cases", (int)length, line, hits, misses);
        }
    }
    assert_int_equal(settings, 25);
    free(text);
    hcs_config_fini(&config);
}

static void pid_file_is_kept_as_it_is(void **state)
{
    struct hcs_config config;
    char line[512];

    (void)state;
    load_good(&config, "PID_FILE=/run/hcsd.pid");
    assert_string_equal(config.pid_file, "/run/hcsd.pid");
    hcs_config_fini(&config);
    load_good(&config, "PID_FILE=");
    assert_null(config.pid_file);
    hcs_config_fini(&config);
    print_variable("PID_FILE=/run/hcsd.pid", line);
    assert_string_equal(line, "PID_FILE=/run/hcsd.pid\t# environment");
}

/* --- The environment. */

static void no_environment_gives_the_defaults(void **state)
{
    struct hcs_config config;
    char error[ERROR_SIZE];
    char *none[] = {NULL};

    (void)state;
    assert_int_equal(hcs_config_load(&config, NULL, error, sizeof error), 0);
    assert_int_equal(config.port, 8080);
    assert_null(config.address);
    assert_null(config.handlers_file);
    assert_int_equal(config.routes.count, 1);
    assert_string_equal(config.routes.entries[0].path, "/");
    assert_string_equal(config.routes.entries[0].kind, "echo");
    assert_null(config.routes.entries[0].argument);
    assert_null(config.routes.entries[0].query);
    hcs_config_fini(&config);

    assert_int_equal(hcs_config_load(&config, none, error, sizeof error), 0);
    assert_int_equal(config.queue_size, 10000);
    hcs_config_fini(&config);
}

static void other_variables_are_left_alone(void **state)
{
    struct hcs_config config;
    char error[ERROR_SIZE];
    char *env[] = {"PORTS=x", "POR=x", "MY_PORT=x", "PORT", "port=x", "=PORT=x",
        "QUEUE_SIZ=x", "PORT=81", NULL};

    (void)state;
    assert_int_equal(hcs_config_load(&config, env, error, sizeof error), 0);
    assert_int_equal(config.port, 81);
    hcs_config_fini(&config);
}

static void first_of_two_variables_counts(void **state)
{
    struct hcs_config config;
    char error[ERROR_SIZE];
    char *env[] = {"PORT=81", "PORT=82", NULL};

    (void)state;
    assert_int_equal(hcs_config_load(&config, env, error, sizeof error), 0);
    assert_int_equal(config.port, 81);
    hcs_config_fini(&config);
}

static void addresses_of_both_families_are_taken(void **state)
{
    static const char *const addresses[] = {"127.0.0.1", "0.0.0.0", "::", "::1",
        "2001:db8::8:800:200c:417a", "::ffff:192.0.2.1"};

    (void)state;
    for (size_t i = 0; i < COUNT(addresses); i++) {
        struct hcs_config config;
        char variable[64];

        (void)snprintf(variable, sizeof variable, "ADDRESS=%s", addresses[i]);
        load_good(&config, variable);
        assert_string_equal(config.address, addresses[i]);
        hcs_config_fini(&config);
    }
}

static void message_is_one_line_whatever_the_value(void **state)
{
    char variable[4096];
    char line[ERROR_SIZE];

    (void)state;
    load_bad("PORT=8\n0\x1b[2J\xff",
        "PORT=8\\x0A0\\x1B[2J\\xFF: not a whole number" PORT_RANGE);
    load_bad("HANDLERS=\"/a=c:x\ny\"", "HANDLERS=\"/a=c:x\\x0Ay\": a control "
                                       "character; write it as %XX" ENTRIES);

    (void)snprintf(variable, sizeof variable, "PORT=%02000d", 1);
    memset(variable + 5, 'x', 2000);
    (void)snprintf(line, sizeof line,
        "%.165s...: not a whole number" PORT_RANGE, variable);
    load_bad(variable, line);
}

static void message_is_cut_at_the_end_of_the_buffer(void **state)
{
    struct hcs_config config;
    char *env[] = {"QUEUE_SIZE=abc", NULL};
    char error[64];

    (void)state;
    for (size_t size = 0; size < sizeof error; size++) {
        const char *whole = "QUEUE_SIZE=abc: not a whole number" QUEUE_RANGE;

        memset(error, '#', sizeof error);
        assert_int_equal(hcs_config_load(&config, env, error, size), -EINVAL);
        if (size > 0) {
            size_t length = strlen(whole) < size ? strlen(whole) : size - 1;

            assert_int_equal(strlen(error), length);
            assert_memory_equal(error, whole, length);
        }
        assert_int_equal(error[size], '#');
    }
}

/* --- auto. */

static void loops_and_workers_follow_the_cores(void **state)
{
    static const struct {
        unsigned cores, loops, workers;
    } cases[] = {{1, 1, 2}, {60, 60, 120}, {1024, 1024, 2048},
        {1025, 1024, 2050}, {32768, 1024, 65535}, {UINT_MAX, 1024, 65535}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct hcs_config config;

        machine_cores = cases[i].cores;
        load_good(&config, "LOOPS=");
        assert_int_equal(config.loops, cases[i].loops);
        assert_int_equal(config.workers, cases[i].workers);
        hcs_config_fini(&config);

        /* Workers follow the cores, not the loops. */
        load_good(&config, "LOOPS=7");
        assert_int_equal(config.loops, 7);
        assert_int_equal(config.workers, cases[i].workers);
        hcs_config_fini(&config);
    }
}

static void memory_budget_is_half_of_the_memory(void **state)
{
    const struct {
        uint64_t memory, budget;
    } cases[] = {{8 * GIB, 4 * GIB}, {0, 64 * MIB}, {127 * MIB, 64 * MIB},
        {128 * MIB, 64 * MIB}, {130 * MIB, 65 * MIB},
        {UINT64_MAX, UINT64_C(1) << 50}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct hcs_config config;

        machine_memory = cases[i].memory;
        load_good(&config, "MEMORY_BUDGET=auto");
        assert_int_equal(config.memory_budget_bytes, cases[i].budget);
        hcs_config_fini(&config);
    }
}

static void log_format_is_text_on_a_terminal_else_json(void **state)
{
    struct hcs_config config;

    (void)state;
    stderr_is_terminal = 1;
    load_good(&config, "LOG_FORMAT=");
    assert_int_equal(config.log_format, HCS_LOG_TEXT);
    hcs_config_fini(&config);
    load_good(&config, "LOG_FORMAT=logfmt");
    assert_int_equal(config.log_format, HCS_LOG_LOGFMT);
    hcs_config_fini(&config);
    stderr_is_terminal = 0;
    load_good(&config, "LOG_FORMAT=");
    assert_int_equal(config.log_format, HCS_LOG_JSON);
    hcs_config_fini(&config);
}

/* --- HANDLERS_FILE. */

/* Loads HANDLERS_FILE with a file of that content. */
static int load_file(struct hcs_config *config, const char *content,
    size_t length, char name[64], char *error)
{
    char variable[128];
    int fd;
    int rc;

    (void)snprintf(name, 64, "/tmp/hcs-handlers-XXXXXX");
    fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, length), (ssize_t)length);
    close(fd);
    (void)snprintf(variable, sizeof variable, "HANDLERS_FILE=%s", name);
    rc = load(config, variable, error);
    assert_int_equal(unlink(name), 0);
    return rc;
}

static void handlers_and_file_exclude_each_other(void **state)
{
    struct hcs_config config;
    char error[ERROR_SIZE];
    char *both[] = {"HANDLERS=/=echo", "HANDLERS_FILE=/x", NULL};
    char *one[] = {"HANDLERS=/a=sleep", "HANDLERS_FILE=", NULL};
    char *other[] = {"HANDLERS=", "HANDLERS_FILE=/nonexistent/x", NULL};

    (void)state;
    assert_int_equal(
        hcs_config_load(&config, both, error, sizeof error), -EINVAL);
    assert_string_equal(error,
        "HANDLERS_FILE=/x: HANDLERS is set too; allowed: one of the two");
    assert_int_equal(hcs_config_load(&config, one, error, sizeof error), 0);
    assert_string_equal(config.routes.entries[0].kind, "sleep");
    hcs_config_fini(&config);
    assert_int_equal(
        hcs_config_load(&config, other, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "No such file"));
}

/* --- No memory. */

static void lack_of_memory_is_reported(void **state)
{
    struct hcs_config config;
    char error[ERROR_SIZE];
    char *env[] = {"ADDRESS=::1", "HANDLERS=/=echo /a=b:c?d", NULL};
    int failures = 0;

    (void)state;
    for (int allowed = 0; allowed < 100; allowed++) {
        int rc;

        allocations_left = allowed;
        rc = hcs_config_load(&config, env, error, sizeof error);
        allocations_left = INT_MAX;
        if (rc == 0) {
            assert_int_equal(config.routes.count, 2);
            hcs_config_fini(&config);
            break;
        }
        failures++;
        assert_int_equal(rc, -ENOMEM);
        assert_non_null(strstr(error, ": out of memory"));
        assert_null(strstr(error, "allowed"));
        assert_null(config.address);
        assert_null(config.routes.entries);
        assert_int_equal(config.routes.count, 0);
    }
    /* The address, a copy of HANDLERS, twice the array, and the parts. */
    assert_int_equal(failures, 1 + 1 + 2 + 2 + 4);
}

static void lack_of_memory_for_the_file_name_is_reported(void **state)
{
    static const char content[] = "/=echo\n";
    struct hcs_config config;
    char error[ERROR_SIZE];
    char name[64];

    (void)state;
    /* HANDLERS' default takes a copy, an array and two parts; so does the
     * file, but for the copy; then comes its name. */
    allocations_left = 4 + 3;
    assert_int_equal(
        load_file(&config, content, sizeof content - 1, name, error), -ENOMEM);
    assert_non_null(strstr(error, ": out of memory"));
    assert_null(config.routes.entries);
}

static void fini_may_be_called_twice(void **state)
{
    struct hcs_config config;

    (void)state;
    load_good(&config, "ADDRESS=::1");
    hcs_config_fini(&config);
    assert_null(config.address);
    assert_null(config.routes.entries);
    hcs_config_fini(&config);
}

/* --- Printing. */

static void print_shows_values_and_sources_in_order(void **state)
{
    struct hcs_config config;
    char error[ERROR_SIZE];
    char *env[] = {"ADDRESS=127.0.0.1", "LOOPS=auto", "WORKERS=3",
        "READ_TIMEOUT=90000ms", "JOB_TIMEOUT=0", "LOG_LEVEL=", NULL};
    char *text;

    (void)state;
    assert_int_equal(hcs_config_load(&config, env, error, sizeof error), 0);
    text = printed(&config, env);
    assert_string_equal(text, "PORT=8080\t# default\n"
                              "ADDRESS=127.0.0.1\t# environment\n"
                              "LOOPS=4\t# auto\n"
                              "WORKERS=3\t# environment\n"
                              "QUEUE_SIZE=10000\t# default\n"
                              "MAX_CONNECTIONS=100000\t# default\n"
                              "READ_TIMEOUT=90s\t# environment\n"
                              "MIN_UPLOAD_RATE=240B\t# default\n"
                              "WRITE_TIMEOUT=15s\t# default\n"
                              "IDLE_TIMEOUT=60s\t# default\n"
                              "SHUTDOWN_TIMEOUT=30s\t# default\n"
                              "DRAIN_DELAY=0s\t# default\n"
                              "DRAIN_IDLE=1s\t# default\n"
                              "MAX_HEADER_SIZE=16KiB\t# default\n"
                              "MAX_BODY_SIZE=1MiB\t# default\n"
                              "MEMORY_BUDGET=4GiB\t# auto\n"
                              "QUEUE_TIMEOUT=30s\t# default\n"
                              "JOB_TIMEOUT=off\t# environment\n"
                              "HALF_CLOSE=cancel\t# default\n"
                              "HANDLERS=/=echo\t# default\n"
                              "HANDLERS_FILE=\t# default\n"
                              "PID_FILE=\t# default\n"
                              "PRIVATE_FD_TABLES=on\t# default\n"
                              "LOG_LEVEL=info\t# default\n"
                              "LOG_FORMAT=json\t# auto\n");
    free(text);
    hcs_config_fini(&config);
}

static void print_chooses_the_unit(void **state)
{
    static const struct {
        const char *variable, *line;
    } cases[] = {
        {"READ_TIMEOUT=1ms", "READ_TIMEOUT=1ms\t# environment"},
        {"READ_TIMEOUT=1500ms", "READ_TIMEOUT=1500ms\t# environment"},
        {"READ_TIMEOUT=119s", "READ_TIMEOUT=119s\t# environment"},
        {"READ_TIMEOUT=120s", "READ_TIMEOUT=2m\t# environment"},
        {"READ_TIMEOUT=60m", "READ_TIMEOUT=60m\t# environment"},
        {"READ_TIMEOUT=120m", "READ_TIMEOUT=2h\t# environment"},
        {"DRAIN_IDLE=0", "DRAIN_IDLE=0s\t# environment"},
        {"MAX_BODY_SIZE=0", "MAX_BODY_SIZE=0B\t# environment"},
        {"MAX_BODY_SIZE=1023", "MAX_BODY_SIZE=1023B\t# environment"},
        {"MAX_BODY_SIZE=1024", "MAX_BODY_SIZE=1KiB\t# environment"},
        {"MAX_BODY_SIZE=1GiB", "MAX_BODY_SIZE=1GiB\t# environment"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_printed(cases[i].variable, cases[i].line);
    }
}

static void what_is_printed_reads_back_as_the_same(void **state)
{
    size_t count;
    const struct good *cases = good_cases(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        struct hcs_config config;
        char again[512];

        print_variable(cases[i].variable, again);
        again[strcspn(again, "\t")] = '\0'; /* without its source */
        load_good(&config, again);
        if (number_in(&config, &cases[i]) != cases[i].value) {
            fail_msg("%s printed as %s", cases[i].variable, again);
        }
        hcs_config_fini(&config);
    }
}

static void handlers_of_a_file_are_printed_with_their_source(void **state)
{
    static const char content[] = "/a=echo\n/b=sleep:1s\n";
    struct hcs_config config;
    char error[ERROR_SIZE];
    char name[64];
    char variable[128];
    char *env[] = {variable, NULL};
    char expected[160];
    char line[512];
    char *text;

    (void)state;
    assert_int_equal(
        load_file(&config, content, sizeof content - 1, name, error), 0);
    (void)snprintf(variable, sizeof variable, "HANDLERS_FILE=%s", name);
    text = printed(&config, env);
    printed_line(text, "HANDLERS", line);
    assert_string_equal(line, "HANDLERS=/a=echo /b=sleep:1s\t# HANDLERS_FILE");
    printed_line(text, "HANDLERS_FILE", line);
    (void)snprintf(expected, sizeof expected, "%s\t# environment", variable);
    assert_string_equal(line, expected);
    free(text);
    hcs_config_fini(&config);
}

/* A file may be called what it likes, but its line stays one line. */
static void printed_file_name_cannot_start_another_line(void **state)
{
    static const char odd[] = "/tmp/hcs\nPORT=1\033[2J\177";
    char variable[128];
    FILE *file;

    (void)state;
    file = fopen(odd, "w");
    assert_non_null(file);
    assert_true(fputs("/a=echo\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    (void)snprintf(variable, sizeof variable, "HANDLERS_FILE=%s", odd);
    assert_printed(variable,
        "HANDLERS_FILE=/tmp/hcs\\x0APORT=1\\x1B[2J\\x7F\t# environment");
    assert_int_equal(unlink(odd), 0);
}

/* --- Help, manual page, and the example file. */

static char *collect(void (*write_to)(FILE *out))
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    assert_non_null(out);
    write_to(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void help_names_default_and_range_of_each_setting(void **state)
{
    struct hcs_config config;
    char *help = collect(hcs_config_help);
    char *text;

    (void)state;
    load_good(&config, "X=");
    text = printed(&config, NULL);
    for (const char *line = text; *line != '\0';
         line += strcspn(line, "\n") + 1) {
        char name[64];
        char start[80];

        copy_name(line, name);
        (void)snprintf(start, sizeof start, "\n%-18s ", name);
        if (strstr(help, start) == NULL) {
            fail_msg("no help on%s", start);
        }
    }
    assert_non_null(strstr(help, "\nQUEUE_SIZE         10000    1 to 16777216\n"
                                 "    How many jobs may wait"));
    assert_non_null(strstr(help, "\nREAD_TIMEOUT       15s      1ms to 24h\n"));
    assert_non_null(strstr(help, "\nADDRESS            all      an IPv4"));
    for (const char *line = help; *line != '\0';
         line += strcspn(line, "\n") + 1) {
        assert_in_range(strcspn(line, "\n"), 1, 80);
        assert_true(line[strcspn(line, "\n") - 1] != ' ');
    }
    free(text);
    free(help);
    hcs_config_fini(&config);
}

static void manual_has_an_item_for_each_setting(void **state)
{
    struct hcs_config config;
    char *man = collect(hcs_config_man);
    size_t items = 0;
    char *text;

    (void)state;
    load_good(&config, "X=");
    text = printed(&config, NULL);
    for (const char *line = text; *line != '\0';
         line += strcspn(line, "\n") + 1) {
        char name[64];
        char item[80];

        copy_name(line, name);
        (void)snprintf(item, sizeof item, ".It Ev %s\n", name);
        assert_non_null(strstr(man, item));
        items++;
    }
    assert_null(strchr(man, '\\'));
    for (const char *line = man; *line != '\0';
         line += strcspn(line, "\n") + 1) {
        bool is_item = strncmp(line, ".It Ev ", 7) == 0;

        items -= is_item;
        assert_true(
            is_item || strncmp(line, ".br\n", 4) == 0 ||
            (*line != '.' && *line != '\'' && *line != ' ' && *line != '\n'));
    }
    assert_int_equal(items, 0);
    assert_non_null(strstr(man, "\nDefault: 16KiB; allowed: 256B to 1MiB.\n"));
    free(text);
    free(man);
    hcs_config_fini(&config);
}

/* scripts/deploy/hcsd.env, found from where this file was compiled. */
static FILE *open_example(void)
{
    static const char below[] = "tests/unit/test_config.c";
    char path[PATH_MAX] = __FILE__;
    FILE *in;

    assert_true(strlen(path) >= strlen(below));
    path[strlen(path) - strlen(below)] = '\0';
    (void)strncat(
        path, "scripts/deploy/hcsd.env", sizeof path - strlen(path) - 1);
    in = fopen(path, "r");
    if (in == NULL) {
        fail_msg("%s: cannot be opened", path);
    }
    return in;
}

/* Every setting is in it once, as a comment, in the table's order, and taking
 * all the comment signs away changes nothing. */
static void example_file_shows_every_setting_with_its_default(void **state)
{
    FILE *in = open_example();
    struct hcs_config config;
    char lines[64][256];
    char *env[65] = {NULL};
    size_t count = 0;
    char line[256];
    char error[ERROR_SIZE];
    char *expected;
    char *got;
    const char *rest;

    (void)state;
    while (fgets(line, sizeof line, in) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' && line[1] >= 'A' && line[1] <= 'Z' &&
            line[1 + strspn(line + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_")] == '=') {
            assert_in_range(count, 0, COUNT(lines) - 1);
            (void)snprintf(lines[count], sizeof lines[count], "%s", line + 1);
            env[count] = lines[count];
            count++;
        } else {
            assert_true(line[0] == '#' || line[0] == '\0');
        }
    }
    assert_int_equal(fclose(in), 0);

    load_good(&config, "X=");
    expected = printed(&config, NULL);
    rest = expected;
    for (size_t i = 0; i < count; i++) {
        size_t length = strcspn(lines[i], "=");

        assert_true(names(rest, lines[i], length));
        rest += strcspn(rest, "\n") + 1;
    }
    assert_string_equal(rest, "");
    hcs_config_fini(&config);

    if (hcs_config_load(&config, env, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    got = printed(&config, NULL);
    assert_string_equal(got, expected);
    free(got);
    free(expected);
    hcs_config_fini(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_up_to_the_bounds_are_taken),
        cmocka_unit_test(values_beyond_the_bounds_are_refused_in_one_line),
        cmocka_unit_test(every_setting_is_tested_at_its_bounds),
        cmocka_unit_test(pid_file_is_kept_as_it_is),
        cmocka_unit_test(no_environment_gives_the_defaults),
        cmocka_unit_test(other_variables_are_left_alone),
        cmocka_unit_test(first_of_two_variables_counts),
        cmocka_unit_test(addresses_of_both_families_are_taken),
        cmocka_unit_test(message_is_one_line_whatever_the_value),
        cmocka_unit_test(message_is_cut_at_the_end_of_the_buffer),
        cmocka_unit_test_setup(
            loops_and_workers_follow_the_cores, reset_machine),
        cmocka_unit_test_setup(
            memory_budget_is_half_of_the_memory, reset_machine),
        cmocka_unit_test_setup(
            log_format_is_text_on_a_terminal_else_json, reset_machine),
        cmocka_unit_test(handlers_and_file_exclude_each_other),
        cmocka_unit_test_setup(lack_of_memory_is_reported, reset_machine),
        cmocka_unit_test_setup(
            lack_of_memory_for_the_file_name_is_reported, reset_machine),
        cmocka_unit_test_setup(fini_may_be_called_twice, reset_machine),
        cmocka_unit_test_setup(
            print_shows_values_and_sources_in_order, reset_machine),
        cmocka_unit_test(print_chooses_the_unit),
        cmocka_unit_test(what_is_printed_reads_back_as_the_same),
        cmocka_unit_test(handlers_of_a_file_are_printed_with_their_source),
        cmocka_unit_test(printed_file_name_cannot_start_another_line),
        cmocka_unit_test(help_names_default_and_range_of_each_setting),
        cmocka_unit_test(manual_has_an_item_for_each_setting),
        cmocka_unit_test(example_file_shows_every_setting_with_its_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
