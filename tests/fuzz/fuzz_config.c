/* Settings: from any environment, with any HANDLERS_FILE; and the router that
 * is built from them.
 *
 * The input is lines NAME=value, then, if there is a line "---", what stands in
 * the file that HANDLERS_FILE=@ names. \r \n \0 \xHH are single bytes. */
#include "fuzz.h"

#include "app/config.h"
#include "app/resources.h"
#include "handlers/builtin.h"
#include "job/router.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    INPUT_MAX = 32 * 1024,
    VARIABLES_MAX = 64,
    ERROR_MAX = 512, /* any message, config.h says */
};

/* --- The machine. */

static char file[2 * INPUT_MAX + 1];
static size_t file_length;
static bool has_file;

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
unsigned __wrap_hcs_resources_cores(const char *root);
uint64_t __wrap_hcs_resources_memory(const char *root);
int __wrap_isatty(int fd);

static bool running;

/* Nothing else is opened: a name that was made up may be anything. */
FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (!running) {
        return __real_fopen(path, mode);
    }
    if (!has_file || strcmp(path, "@") != 0) {
        return NULL;
    }
    /* An empty one is refused by some versions of fmemopen(3). */
    return file_length == 0 ? __real_fopen("/dev/null", mode)
                            : fmemopen(file, file_length, "r");
}

unsigned __wrap_hcs_resources_cores(const char *root)
{
    (void)root;
    return 700; /* and twice as many workers */
}

uint64_t __wrap_hcs_resources_memory(const char *root)
{
    (void)root;
    return UINT64_C(8) << 30;
}

int __wrap_isatty(int fd)
{
    (void)fd;
    return 0;
}

/* --- The environment. */

struct environment {
    char *variables[VARIABLES_MAX + 1]; /* as environ */
    size_t count;
};

static void add_variable(
    struct environment *env, const char *text, size_t length)
{
    char *decoded = malloc(2 * length + 1);
    char *exact;

    fuzz_check(decoded != NULL, "no memory");
    decoded[fuzz_decode(decoded, text, length, FUZZ_LINES_KEEP)] = '\0';
    exact = strdup(decoded); /* to its last byte */
    free(decoded);
    fuzz_check(exact != NULL, "no memory");
    env->variables[env->count++] = exact;
    env->variables[env->count] = NULL;
}

static void free_environment(struct environment *env)
{
    for (size_t i = 0; i < env->count; i++) {
        free(env->variables[i]);
    }
}

static void read_input(struct environment *env, const char *text, size_t length)
{
    const char *end = text + length;

    has_file = false;
    file_length = 0;
    while (text < end) {
        const char *past = memchr(text, '\n', (size_t)(end - text));

        past = past != NULL ? past : end;
        if (past - text == 3 && memcmp(text, "---", 3) == 0) {
            text = past < end ? past + 1 : end;
            has_file = true;
            file_length =
                fuzz_decode(file, text, (size_t)(end - text), FUZZ_LINES_KEEP);
            return;
        }
        if (env->count < VARIABLES_MAX) {
            add_variable(env, text, (size_t)(past - text));
        }
        text = past < end ? past + 1 : end;
    }
}

/* --- What is refused. */

static void check_refusal(const struct hcs_config *config, const char *error)
{
    const char *bytes = (const char *)config;
    size_t length = strlen(error);

    for (size_t i = 0; i < sizeof *config; i++) {
        fuzz_check(bytes[i] == 0, "refused, and something is left");
    }
    fuzz_check(
        length > 0 && length < ERROR_MAX - 1, "a message of %zu bytes", length);
    for (size_t i = 0; i < length; i++) {
        fuzz_check(error[i] >= ' ' && error[i] <= '~', "byte %02x in a message",
            (unsigned)(unsigned char)error[i]);
    }
    fuzz_check(error[0] >= 'A' && error[0] <= 'Z' && strchr(error, '=') != NULL,
        "which variable? %s", error);
}

/* --- What is taken. */

static char *print(const struct hcs_config *config, char *const env[])
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    fuzz_check(out != NULL, "no memory");
    hcs_config_print(config, env, out);
    (void)fclose(out);
    fuzz_check(strlen(text) == length, "NUL in what is printed");
    return text;
}

/* The lines of a print without what is said of their source. */
static void read_print(struct environment *env, const char *text)
{
    while (*text != '\0') {
        const char *past = strchr(text, '\n');
        const char *tab = strchr(text, '\t');

        fuzz_check(past != NULL && tab != NULL && tab < past &&
                       strncmp(tab, "\t# ", 3) == 0,
            "a line without its source");
        /* The routes stand in HANDLERS, wherever they came from. */
        if (strncmp(text, "HANDLERS_FILE=", 14) != 0) {
            char *line = strndup(text, (size_t)(tab - text));

            fuzz_check(line != NULL && env->count < VARIABLES_MAX, "no room");
            env->variables[env->count++] = line;
            env->variables[env->count] = NULL;
        }
        text = past + 1;
    }
}

/* What is printed is read as the same, and printed as the same. */
static void check_printed(const struct hcs_config *config, char *const env[])
{
    struct environment once = {.count = 0};
    struct environment twice = {.count = 0};
    struct hcs_config again;
    char error[ERROR_MAX];
    char *text = print(config, env);
    char *text_again;

    read_print(&once, text);
    fuzz_check(
        hcs_config_load(&again, once.variables, error, sizeof error) == 0,
        "it printed what it does not take: %s", error);
    text_again = print(&again, once.variables);
    read_print(&twice, text_again);
    fuzz_check(once.count == twice.count, "more lines, or fewer");
    for (size_t i = 0; i < once.count; i++) {
        fuzz_check(strcmp(once.variables[i], twice.variables[i]) == 0,
            "printed %s, then %s", once.variables[i], twice.variables[i]);
    }
    hcs_config_fini(&again);
    free_environment(&once);
    free_environment(&twice);
    free(text);
    free(text_again);
}

static void check_range(uint64_t value, uint64_t min, uint64_t max)
{
    fuzz_check(value >= min && value <= max, "%llu is not in %llu to %llu",
        (unsigned long long)value, (unsigned long long)min,
        (unsigned long long)max);
}

static void check_values(const struct hcs_config *config)
{
    const uint64_t day = 24 * 60 * 60 * 1000;
    const uint64_t gib = UINT64_C(1) << 30;

    check_range(config->loops, 1, 1024);
    check_range(config->workers, 1, 65535);
    check_range(config->queue_size, 1, 1 << 24);
    check_range(config->max_connections, 1, 100000000);
    check_range(config->read_timeout_ms, 1, day);
    check_range(config->write_timeout_ms, 1, day);
    check_range(config->idle_timeout_ms, 1, day);
    check_range(config->shutdown_timeout_ms, 1, day);
    check_range(config->drain_delay_ms, 0, day);
    check_range(config->drain_idle_ms, 0, day);
    check_range(config->queue_timeout_ms, 0, day);
    check_range(config->job_timeout_ms, 0, day);
    check_range(config->max_header_bytes, 256, 1 << 20);
    check_range(config->max_body_bytes, 0, gib);
    check_range(config->memory_budget_bytes, 16 << 20, gib << 20);
    check_range(config->half_close, 0, HCS_HALF_CLOSE_SERVE);
    check_range(config->log_level, 0, HCS_LOG_DEBUG);
    check_range(config->log_format, 0, HCS_LOG_LOGFMT);
    check_range(config->routes.count, 1, HCS_ROUTES_MAX);
}

/* --- The router. */

static const struct hcs_host HOST = {.workers = 1};

/* A handler that asks for a setting of each kind. */
static int open_asking(void **self, struct hcs_mount *mount)
{
    const char *text = "default";
    int64_t integer = 0;
    double number = 0;
    uint64_t ns = 5;
    uint64_t bytes = 7;
    size_t cursor = 0;
    size_t values = 0;

    (void)self;
    (void)hcs_mount_argument(mount);
    if (!hcs_mount_text(mount, "text", &text) ||
        !hcs_mount_integer(mount, "integer", -5, 1000, &integer) ||
        !hcs_mount_number(mount, "number", -0.5, 1e6, &number) ||
        !hcs_mount_duration(mount, "duration", 5, 3600000000000, &ns) ||
        !hcs_mount_size(mount, "size", 7, 1 << 30, &bytes)) {
        fuzz_check(hcs_mount_error(mount) != NULL, "refused without a reason");
        return -1;
    }
    fuzz_check(text[0] != '\0' && integer >= -5 && integer <= 1000 &&
                   number >= -0.5 && number <= 1e6 && ns >= 5 &&
                   ns <= 3600000000000 && bytes >= 7 && bytes <= 1 << 30,
        "a setting out of its range");
    while (hcs_mount_next(mount, "more", &cursor) != NULL) {
        values++;
        fuzz_check(cursor == values, "the cursor is not where it is");
    }
    return 0;
}

static enum hcs_outcome run_nothing(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    return HCS_OK;
}

static const struct hcs_handler ASKING = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "asking",
    .open = open_asking,
    .run = run_nothing,
};

static const struct hcs_handler *handler_of(const char *kind)
{
    static const struct hcs_handler *const all[] = {
        &hcs_echo, &hcs_sleep, &hcs_spin};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i]->name, kind) == 0) {
            return all[i];
        }
    }
    return &ASKING;
}

/* The path with each byte percent-encoded. */
static char *encode(const char *path)
{
    char *out = malloc(3 * strlen(path) + 1);
    char *at = out;

    fuzz_check(out != NULL, "no memory");
    for (; *path != '\0'; path++) {
        at += sprintf(at, *path % 2 == 0 ? "%%%02x" : "%%%02X",
            (unsigned)(unsigned char)*path);
    }
    *at = '\0';
    return out;
}

static void check_found(const struct hcs_router *router, const char *path)
{
    const struct hcs_route *route = hcs_router_find(router, path, strlen(path));
    size_t length = strlen(path);
    char *encoded = encode(path);

    fuzz_check(
        route != NULL && route->page == NULL && strcmp(route->path, path) == 0,
        "%s was added and is not found", path);
    fuzz_check(length > 1024 || /* which no decoded path may be */
                   hcs_router_find(router, encoded, strlen(encoded)) == route,
        "%s is another path when encoded", path);
    fuzz_check(hcs_router_find(router, path, length - 1) != route,
        "%s without its last byte is the same path", path);
    free(encoded);
}

static void check_open(struct hcs_router *router)
{
    int rc = hcs_router_open(router);
    struct hcs_mount *fault = hcs_router_fault(router);
    const char *error = fault != NULL ? hcs_mount_error(fault) : NULL;

    fuzz_check((rc == -EINVAL) == (fault != NULL) && (rc == 0 || error != NULL),
        "%d, and not for a reason", rc);
    for (; error != NULL && *error != '\0'; error++) {
        fuzz_check((unsigned char)*error >= ' ' && *error != '\x7f',
            "the reason is no line: byte %02x",
            (unsigned)(unsigned char)*error);
    }
}

static void check_router(const struct hcs_config *config)
{
    struct hcs_router *router = hcs_router_create();
    size_t added = 0;

    fuzz_check(router != NULL, "no memory");
    for (size_t i = 0; i < config->routes.count; i++) {
        const struct hcs_routes_entry *route = &config->routes.entries[i];

        fuzz_check(route->path[0] == '/' && route->kind[0] != '\0',
            "a route without path or handler");
        if (hcs_router_add(
                router, hcs_mount_create(&HOST, handler_of(route->kind), NULL,
                            route->path, route->argument, route->query)) != 0) {
            break; /* taken: the start ends here */
        }
        added++;
        fuzz_check(
            hcs_router_add(router, hcs_mount_create(&HOST, &hcs_echo, NULL,
                                       route->path, NULL, NULL)) == -EINVAL,
            "%s was added twice", route->path);
    }
    check_open(router);
    for (size_t i = 0; i < added; i++) {
        check_found(router, config->routes.entries[i].path);
    }
    hcs_router_destroy(router);
}

/* A message that has no room is cut, and the rest of the buffer left alone. */
static void check_small_error(char *const env[], size_t room, int expected)
{
    struct hcs_config config;
    char *error = malloc(room > 0 ? room : 1);

    fuzz_check(error != NULL, "no memory");
    fuzz_check(hcs_config_load(&config, env, error, room) == expected,
        "another verdict with less room for words");
    fuzz_check(room == 0 || strnlen(error, room) < room, "no end");
    hcs_config_fini(&config);
    free(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct environment env = {.count = 0};
    struct hcs_config config;
    char error[ERROR_MAX];
    int rc;

    if (size > INPUT_MAX) {
        return 0;
    }
    read_input(&env, (const char *)data, size);
    running = true;
    memset(error, 'x', sizeof error);
    rc = hcs_config_load(&config, env.variables, error, sizeof error);
    if (rc != 0) {
        check_refusal(&config, error);
    } else {
        check_values(&config);
        check_printed(&config, env.variables);
        check_router(&config);
    }
    check_small_error(env.variables, size % 64, rc);
    hcs_config_fini(&config);
    running = false;
    free_environment(&env);
    return 0;
}
