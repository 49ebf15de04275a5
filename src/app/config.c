#include "app/config.h"

#include "app/message.h"
#include "app/resources.h"
#include "app/setting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

enum { DAY_MS = 24 * 60 * 60 * 1000 };

/* --- The values of "auto". */

static uint64_t automatic_loops(void)
{
    return hcs_resources_cores("");
}

static uint64_t automatic_workers(void)
{
    return 2 * (uint64_t)hcs_resources_cores("");
}

/* Half of the memory. The other half is for stacks, idle connections, handlers
 * and the system. */
static uint64_t automatic_memory(void)
{
    uint64_t half = hcs_resources_memory("") / 2;

    return half > 64 * MIB ? half : 64 * MIB;
}

static uint64_t automatic_log_format(void)
{
    return isatty(STDERR_FILENO) ? HCS_LOG_TEXT : HCS_LOG_JSON;
}

/* --- HANDLERS and HANDLERS_FILE. */

static int parse_handlers(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error)
{
    struct hcs_config *config = values;

    (void)setting;
    return hcs_routes_parse(&config->routes, text, error);
}

static void print_handlers(
    const struct hcs_setting *setting, const void *values, FILE *out)
{
    const struct hcs_config *config = values;

    (void)setting;
    hcs_routes_print(&config->routes, out);
}

static void allow_handlers(
    const struct hcs_setting *setting, struct hcs_message *out)
{
    (void)setting;
    hcs_message_add(out, "PATH=KIND[:ARGUMENT][?key=value&...]");
}

static const struct hcs_setting_type handlers = {.parse = parse_handlers,
    .print = print_handlers,
    .allowed = allow_handlers};

static int parse_handlers_file(const struct hcs_setting *setting,
    const char *text, void *values, struct hcs_message *error)
{
    struct hcs_config *config = values;
    int rc;

    if (*text == '\0') {
        return 0;
    }
    hcs_routes_fini(&config->routes); /* the default of HANDLERS */
    rc = hcs_routes_read_file(&config->routes, text, error);
    return rc == 0 ? hcs_setting_keep_text(setting, text, values, error) : rc;
}

static void allow_handlers_file(
    const struct hcs_setting *setting, struct hcs_message *out)
{
    (void)setting;
    hcs_message_add(out, "a file, one entry of HANDLERS a line");
}

static const struct hcs_setting_type handlers_file = {
    .parse = parse_handlers_file,
    .print = hcs_setting_print_text,
    .allowed = allow_handlers_file};

/* --- The table. */

static const char *const half_close_words[] = {
    [HCS_HALF_CLOSE_CANCEL] = "cancel", [HCS_HALF_CLOSE_SERVE] = "serve"};

static const char *const switch_words[] = {[false] = "off", [true] = "on"};

static const char *const log_level_words[] = {[HCS_LOG_ERROR] = "error",
    [HCS_LOG_WARN] = "warn",
    [HCS_LOG_INFO] = "info",
    [HCS_LOG_DEBUG] = "debug"};

static const char *const log_format_words[] = {[HCS_LOG_TEXT] = "text",
    [HCS_LOG_JSON] = "json",
    [HCS_LOG_LOGFMT] = "logfmt"};

/* The place of a setting in struct hcs_config; and the words of a choice. */
#define PLACE(member)                                                          \
    .offset = offsetof(struct hcs_config, member),                             \
    .size = sizeof(((struct hcs_config *)NULL)->member)
#define WORDS(array)                                                           \
    .words = (array), .word_count = sizeof(array) / sizeof((array)[0]),        \
    .max = sizeof(array) / sizeof((array)[0]) - 1

static const struct hcs_setting settings[] = {
    {.name = "PORT",
        .initial = "8080",
        .type = &hcs_setting_number,
        PLACE(port),
        .min = 0,
        .max = 65535,
        .meaning = "TCP port to serve on. 0 picks a free one and logs it."},
    {.name = "ADDRESS",
        .initial = "",
        .unset = "all",
        .type = &hcs_setting_address,
        PLACE(address),
        .meaning =
            "Address to serve on. all means IPv6 and IPv4, or IPv4 alone "
            "where there is no IPv6."},
    {.name = "LOOPS",
        .initial = "auto",
        .type = &hcs_setting_number,
        PLACE(loops),
        .min = 1,
        .max = 1024,
        .automatic = automatic_loops,
        .meaning = "Threads that serve connections. auto is one for each core "
                   "that CPU affinity and the cgroup's quota allow."},
    {.name = "WORKERS",
        .initial = "auto",
        .type = &hcs_setting_number,
        PLACE(workers),
        .min = 1,
        .max = 65535,
        .automatic = automatic_workers,
        .meaning =
            "Threads that run jobs. auto is two for each core. Handlers "
            "that wait for something else, such as a database, need more."},
    {.name = "QUEUE_SIZE",
        .initial = "10000",
        .type = &hcs_setting_number,
        PLACE(queue_size),
        .min = 1,
        .max = 16777216,
        .meaning =
            "How many jobs may wait while all workers are busy. A job that "
            "finds the queue full is answered 503."},
    {.name = "MAX_CONNECTIONS",
        .initial = "100000",
        .type = &hcs_setting_number,
        PLACE(max_connections),
        .min = 1,
        .max = 100000000,
        .meaning =
            "How many clients may be connected. One more is answered 503 "
            "and closed."},
    {.name = "READ_TIMEOUT",
        .initial = "15s",
        .type = &hcs_setting_duration,
        PLACE(read_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .meaning =
            "How long a request may take from its first byte to its last. "
            "Then it is answered 408."},
    {.name = "MIN_UPLOAD_RATE",
        .initial = "240B",
        .type = &hcs_setting_size,
        PLACE(min_upload_rate),
        .min = 1,
        .max = GIB,
        .zero_is_off = true,
        .meaning = "How many bytes of a request must arrive each second, on "
                   "average over 10 seconds. A slower request is answered 408, "
                   "even before READ_TIMEOUT."},
    {.name = "WRITE_TIMEOUT",
        .initial = "15s",
        .type = &hcs_setting_duration,
        PLACE(write_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .meaning = "How long a client may take no byte of its reply. Then its "
                   "connection is closed."},
    {.name = "IDLE_TIMEOUT",
        .initial = "60s",
        .type = &hcs_setting_duration,
        PLACE(idle_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .meaning =
            "How long a connection may stay silent between requests. Then "
            "it is closed."},
    {.name = "SHUTDOWN_TIMEOUT",
        .initial = "30s",
        .type = &hcs_setting_duration,
        PLACE(shutdown_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .meaning =
            "How long requests may take to finish after SIGTERM. Those that "
            "are left then are answered 503."},
    {.name = "DRAIN_DELAY",
        .initial = "0s",
        .type = &hcs_setting_duration,
        PLACE(drain_delay_ms),
        .min = 0,
        .max = DAY_MS,
        .meaning =
            "How long to go on serving after SIGTERM while /readyz already "
            "says 503, so that a load balancer can look elsewhere."},
    {.name = "DRAIN_IDLE",
        .initial = "1s",
        .type = &hcs_setting_duration,
        PLACE(drain_idle_ms),
        .min = 0,
        .max = DAY_MS,
        .meaning =
            "How long an idle connection may still send a request after the "
            "port is closed."},
    {.name = "MAX_HEADER_SIZE",
        .initial = "16KiB",
        .type = &hcs_setting_size,
        PLACE(max_header_bytes),
        .min = 256,
        .max = MIB,
        .meaning = "How long a request's header section may be. Longer is "
                   "answered 431."},
    {.name = "MAX_BODY_SIZE",
        .initial = "1MiB",
        .type = &hcs_setting_size,
        PLACE(max_body_bytes),
        .min = 0,
        .max = GIB,
        .meaning = "How long a request's body may be. Longer is answered 413."},
    {.name = "MEMORY_BUDGET",
        .initial = "auto",
        .type = &hcs_setting_size,
        PLACE(memory_budget_bytes),
        .min = 16 * MIB,
        .max = 1024 * TIB,
        .automatic = automatic_memory,
        .meaning =
            "How much memory bodies, parse trees and replies may take in "
            "all. Beyond it requests are answered 503. auto is half of what "
            "the cgroup or the machine allows, at least 64MiB."},
    {.name = "QUEUE_TIMEOUT",
        .initial = "30s",
        .type = &hcs_setting_duration,
        PLACE(queue_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .zero_is_off = true,
        .meaning =
            "How long a job may wait for a worker. Then it is answered 503."},
    {.name = "JOB_TIMEOUT",
        .initial = "off",
        .type = &hcs_setting_duration,
        PLACE(job_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .zero_is_off = true,
        .meaning = "How long a job may run before its client is answered 504."},
    {.name = "HALF_CLOSE",
        .initial = "cancel",
        .type = &hcs_setting_choice,
        PLACE(half_close),
        WORDS(half_close_words),
        .meaning =
            "What it means when a client shuts its sending side while its "
            "job waits or runs. cancel: the client left. serve: the client "
            "still reads."},
    {.name = "HANDLERS",
        .initial = "/=echo",
        .type = &handlers,
        PLACE(routes),
        .meaning =
            "Which handler serves which path. KIND is echo, sleep, spin, "
            "wait, exec, module, or the name of an installed module, such "
            "as sqlite or postgres. Entries stand between blanks. Double "
            "quotes keep blanks. %XX is decoded in PATH and ARGUMENT. Paths "
            "are exact."},
    {.name = "HANDLERS_FILE",
        .initial = "",
        .unset = "none",
        .type = &handlers_file,
        PLACE(handlers_file),
        .meaning =
            "Read the handlers from this file instead of HANDLERS. It may "
            "hold # comments."},
    {.name = "PID_FILE",
        .initial = "",
        .unset = "none",
        .type = &hcs_setting_path,
        PLACE(pid_file),
        .meaning = "Write the number of the daemon's process to this file, and "
                   "remove it at the end. A second daemon with the same file "
                   "does not start."},
    {.name = "PRIVATE_FD_TABLES",
        .initial = "on",
        .type = &hcs_setting_choice,
        PLACE(private_fd_tables),
        WORDS(switch_words),
        .meaning =
            "Give each loop a table of descriptors of its own, so that the "
            "limit on open files counts for each loop alone."},
    {.name = "LOG_LEVEL",
        .initial = "info",
        .type = &hcs_setting_choice,
        PLACE(log_level),
        WORDS(log_level_words),
        .meaning = "How much to log: this level, and the more serious ones."},
    {.name = "LOG_FORMAT",
        .initial = "auto",
        .type = &hcs_setting_choice,
        PLACE(log_format),
        WORDS(log_format_words),
        .automatic = automatic_log_format,
        .meaning = "How log lines look. auto is text if standard error is a "
                   "terminal, else json."},
};

enum { SETTING_COUNT = sizeof settings / sizeof settings[0] };

/* --- Loading. */

/* The value of a variable. NULL when it is empty or not set. If it is set
 * twice, the first value counts, as for getenv(3). */
static const char *look_up(char *const env[], const char *name)
{
    size_t length = strlen(name);

    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, name, length) == 0 && (*env)[length] == '=') {
            return (*env)[length + 1] != '\0' ? *env + length + 1 : NULL;
        }
    }
    return NULL;
}

/* The value of the setting's variable, or its default. */
static const char *text_of(const struct hcs_setting *setting, char *const env[])
{
    const char *text = look_up(env, setting->name);

    return text != NULL ? text : setting->initial;
}

int hcs_config_load(struct hcs_config *config, char *const env[], char *error,
    size_t error_size)
{
    struct hcs_message message;
    const char *file = look_up(env, "HANDLERS_FILE");

    hcs_message_init(&message, error, error_size);
    memset(config, 0, sizeof *config);
    if (file != NULL && look_up(env, "HANDLERS") != NULL) {
        hcs_setting_begin_error(&message, "HANDLERS_FILE", file);
        hcs_message_add(
            &message, "HANDLERS is set too; allowed: one of the two");
        return -EINVAL;
    }
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        int rc = hcs_setting_read(
            &settings[i], text_of(&settings[i], env), config, &message);

        if (rc != 0) {
            hcs_config_fini(config);
            return rc;
        }
    }
    hcs_message_cut(&message, 0);
    return 0;
}

void hcs_config_fini(struct hcs_config *config)
{
    hcs_routes_fini(&config->routes);
    free(config->address);
    free(config->handlers_file);
    free(config->pid_file);
    memset(config, 0, sizeof *config);
}

/* --- The values in --print-config. */

static const char *source_of(const struct hcs_setting *setting,
    const struct hcs_config *config, char *const env[])
{
    if (setting->type == &handlers && config->handlers_file != NULL) {
        return "HANDLERS_FILE";
    }
    if (hcs_setting_is_auto(setting, text_of(setting, env))) {
        return "auto";
    }
    return look_up(env, setting->name) != NULL ? "environment" : "default";
}

void hcs_config_print(
    const struct hcs_config *config, char *const env[], FILE *out)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct hcs_setting *setting = &settings[i];

        (void)fprintf(out, "%s=", setting->name);
        setting->type->print(setting, config, out);
        (void)fprintf(out, "\t# %s\n", source_of(setting, config, env));
    }
}

/* --- The table in --help and in the manual. */

static const char *shown_default(const struct hcs_setting *setting)
{
    return *setting->initial != '\0' ? setting->initial : setting->unset;
}

/* Lines of at most 76 columns, indented. */
static void print_wrapped(const char *text, FILE *out)
{
    enum { WIDTH = 72 };

    while (*text != '\0') {
        size_t length = strlen(text);

        if (length > WIDTH) {
            length = WIDTH;
            while (length > 1 && text[length] != ' ') {
                length--;
            }
        }
        (void)fprintf(out, "    %.*s\n", (int)length, text);
        text += length + (text[length] == ' ');
    }
}

void hcs_config_help(FILE *out)
{
    (void)fprintf(out, "%-18s %-8s %s\n", "SETTING", "DEFAULT", "ALLOWED");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct hcs_setting *setting = &settings[i];
        char buffer[128];
        struct hcs_message allowed;

        hcs_message_init(&allowed, buffer, sizeof buffer);
        setting->type->allowed(setting, &allowed);
        (void)fprintf(out, "%-18s %-8s %s\n", setting->name,
            shown_default(setting), buffer);
        print_wrapped(setting->meaning, out);
    }
}

/* Prints each sentence on a line of its own, so that roff puts its own space
 * between them. */
static void print_sentences(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        (void)fputc(*text, out);
        if (text[0] == '.' && text[1] == ' ') {
            (void)fputc('\n', out);
            text++;
        }
    }
    (void)fputc('\n', out);
}

/* roff would take a backslash for an escape, and a dot or an apostrophe at the
 * start of a line for a request. No text of the table has one there, and a test
 * checks that. */
void hcs_config_man(FILE *out)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct hcs_setting *setting = &settings[i];
        char buffer[128];
        struct hcs_message allowed;

        hcs_message_init(&allowed, buffer, sizeof buffer);
        setting->type->allowed(setting, &allowed);
        (void)fprintf(out, ".It Ev %s\n", setting->name);
        print_sentences(setting->meaning, out);
        (void)fprintf(out, ".br\nDefault: %s; allowed: %s.\n",
            shown_default(setting), buffer);
    }
}
