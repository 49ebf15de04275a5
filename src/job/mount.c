#include "job/mount.h"

#include "base/log.h"
#include "base/units.h"
#include "base/uri.h"
#include "job/handler.h"
#include "observe/counts.h"

#include <assert.h>
#include <bsd/sys/queue.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASKED_MAX = 64, METRICS_MAX = 64, MESSAGE_MAX = 2048 };

struct setting {
    STAILQ_ENTRY(setting) next;
    bool asked;
    const char *value; /* stored behind the name */
    char name[];
};

struct hcs_metric {
    struct hcs_metric *next;
    const char *name;
    const char *help;
    enum hcs_metric_kind kind;
    _Atomic int64_t value;
};

struct hcs_mount_inside {
    struct hcs_handler handler; /* a copy, of this daemon's size */
    char *path;
    char *argument;
    bool argument_asked;
    bool is_open;
    STAILQ_HEAD(, setting) settings; /* in the order they were given */
    const char *asked[ASKED_MAX];    /* names that the handler asked for */
    unsigned asked_count;
    struct hcs_metric *metrics;
    struct hcs_metric **last_metric;
    size_t metric_count;
    pthread_mutex_t lock; /* protects error */
    char error[HCS_MOUNT_ERROR];
};

/* --- Settings. */

/* Adds one setting, name=value. False: there is no memory. */
static bool add_setting(
    struct hcs_mount *mount, const char *text, size_t length)
{
    const char *equals = memchr(text, '=', length);
    size_t name_length = equals != NULL ? (size_t)(equals - text) : length;
    size_t value_length = equals != NULL ? length - name_length - 1 : 0;
    struct setting *setting = malloc(sizeof(*setting) + length + 2);
    char *value;

    if (setting == NULL) {
        return false;
    }
    value = setting->name + name_length + 1;
    *setting = (struct setting){.value = value};
    if (!hcs_uri_decode_text(text, name_length, setting->name) ||
        !hcs_uri_decode_text(
            equals != NULL ? equals + 1 : "", value_length, value)) {
        hcs_mount_fail(mount, "a setting may not hold a NUL");
    } else if (equals == NULL || name_length == 0) {
        hcs_mount_fail(mount, "?%s: settings are name=value, with & between",
            setting->name);
    }
    STAILQ_INSERT_TAIL(&mount->inside->settings, setting, next);
    return true;
}

static bool read_settings(struct hcs_mount *mount, const char *text)
{
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, "&");

        if (length > 0 && !add_setting(mount, text, length)) {
            return false;
        }
        text += length;
        text += *text == '&';
    }
    return true;
}

static void note_asked(struct hcs_mount *mount, const char *name)
{
    struct hcs_mount_inside *inside = mount->inside;

    for (unsigned i = 0; i < inside->asked_count; i++) {
        if (strcmp(inside->asked[i], name) == 0) {
            return;
        }
    }
    if (inside->asked_count < ASKED_MAX) {
        inside->asked[inside->asked_count++] = name;
    }
}

const char *hcs_mount_next(
    struct hcs_mount *mount, const char *name, size_t *cursor)
{
    const char *found = NULL;
    struct setting *at;
    size_t index = 0;

    note_asked(mount, name);
    STAILQ_FOREACH (at, &mount->inside->settings, next) {
        if (strcmp(at->name, name) != 0) {
            continue;
        }
        at->asked = true;
        if (found == NULL && index == *cursor) {
            found = at->value;
        }
        index++;
    }
    *cursor += found != NULL;
    return found;
}

/* *value becomes NULL if the setting is not given. False: it is given twice. */
static bool look_up(
    struct hcs_mount *mount, const char *name, const char **value)
{
    size_t cursor = 0;

    *value = hcs_mount_next(mount, name, &cursor);
    if (*value != NULL && hcs_mount_next(mount, name, &cursor) != NULL) {
        hcs_mount_fail(mount, "%s is set twice", name);
        return false;
    }
    return true;
}

bool hcs_mount_text(
    struct hcs_mount *mount, const char *name, const char **value)
{
    const char *text;

    if (!look_up(mount, name, &text)) {
        return false;
    }
    if (text != NULL && *text == '\0') {
        hcs_mount_fail(mount, "%s is empty", name);
        return false;
    }
    *value = text != NULL ? text : *value;
    return true;
}

static void refuse_value(struct hcs_mount *mount, const char *name,
    const char *text, const char *why, const char *min, const char *max)
{
    hcs_mount_fail(
        mount, "%s=%s: %s; allowed: %s to %s", name, text, why, min, max);
}

bool hcs_mount_integer(struct hcs_mount *mount, const char *name, int64_t min,
    int64_t max, int64_t *value)
{
    char why[HCS_UNITS_WHY];
    char least[HCS_UNITS_TEXT];
    char most[HCS_UNITS_TEXT];
    const char *text;

    if (!look_up(mount, name, &text)) {
        return false;
    }
    if (text == NULL || hcs_units_read_integer(text, min, max, value, why)) {
        return true;
    }
    (void)snprintf(least, sizeof(least), "%" PRId64, min);
    (void)snprintf(most, sizeof(most), "%" PRId64, max);
    refuse_value(mount, name, text, why, least, most);
    return false;
}

/* Returns NULL, or what is wrong with text. */
static const char *read_number(
    const char *text, double min, double max, double *value)
{
    char *end;
    double number;

    errno = 0;
    number = strtod(text, &end);
    /* strtod(3) also reads blanks, hexadecimal numbers, and words such as
     * inf. */
    if (end == text || *end != '\0' ||
        strspn(text, "+-.0123456789eE") != strlen(text)) {
        return "not a number";
    }
    if (number < min) {
        return "too small";
    }
    if (number > max) {
        return "too large";
    }
    if (errno != 0) { /* ERANGE: too near to 0 for a double */
        return "beyond what a double can hold";
    }
    *value = number;
    return NULL;
}

bool hcs_mount_number(struct hcs_mount *mount, const char *name, double min,
    double max, double *value)
{
    char least[HCS_UNITS_TEXT];
    char most[HCS_UNITS_TEXT];
    const char *text;
    const char *why;

    if (!look_up(mount, name, &text)) {
        return false;
    }
    why = text != NULL ? read_number(text, min, max, value) : NULL;
    if (why != NULL) {
        (void)snprintf(least, sizeof(least), "%g", min);
        (void)snprintf(most, sizeof(most), "%g", max);
        refuse_value(mount, name, text, why, least, most);
    }
    return why == NULL;
}

static bool read_quantity(struct hcs_mount *mount, const char *name,
    enum hcs_quantity quantity, uint64_t min, uint64_t max, uint64_t *value)
{
    char why[HCS_UNITS_WHY];
    char least[HCS_UNITS_TEXT];
    char most[HCS_UNITS_TEXT];
    const char *text;

    if (!look_up(mount, name, &text)) {
        return false;
    }
    if (text == NULL || hcs_units_read(quantity, text, min, max, value, why)) {
        return true;
    }
    hcs_units_print(least, quantity, min);
    hcs_units_print(most, quantity, max);
    refuse_value(mount, name, text, why, least, most);
    return false;
}

bool hcs_mount_duration(struct hcs_mount *mount, const char *name,
    uint64_t min_ns, uint64_t max_ns, uint64_t *value_ns)
{
    return read_quantity(
        mount, name, HCS_NANOSECONDS, min_ns, max_ns, value_ns);
}

bool hcs_mount_size(struct hcs_mount *mount, const char *name,
    uint64_t min_bytes, uint64_t max_bytes, uint64_t *value_bytes)
{
    return read_quantity(
        mount, name, HCS_BYTES, min_bytes, max_bytes, value_bytes);
}

const char *hcs_mount_argument(struct hcs_mount *mount)
{
    mount->inside->argument_asked = true;
    return mount->inside->argument;
}

const char *hcs_mount_path(const struct hcs_mount *mount)
{
    return mount->inside->path;
}

unsigned hcs_mount_workers(const struct hcs_mount *mount)
{
    return mount->host->workers;
}

bool hcs_mount_checks(const struct hcs_mount *mount)
{
    return mount->host->checks;
}

/* --- Errors and log lines. */

/* The message that fails the start must be one line. The text may hold a value
 * with control characters, or the message of a library that ends in a line
 * feed. */
static void make_one_line(char *text)
{
    size_t length = 0;

    for (size_t i = 0; text[i] != '\0'; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            text[i] = ' ';
        }
        length = text[i] != ' ' ? i + 1 : length;
    }
    text[length] = '\0';
}

void hcs_mount_fail(struct hcs_mount *mount, const char *format, ...)
{
    struct hcs_mount_inside *inside = mount->inside;
    va_list arguments;

    va_start(arguments, format);
    pthread_mutex_lock(&inside->lock);
    if (inside->error[0] == '\0') {
        (void)vsnprintf(
            inside->error, sizeof(inside->error), format, arguments);
        make_one_line(inside->error);
        if (inside->error[0] == '\0') { /* an empty text would mean success */
            strcpy(inside->error, "failed, and did not say why");
        }
    }
    pthread_mutex_unlock(&inside->lock);
    va_end(arguments);
}

const char *hcs_mount_error(struct hcs_mount *mount)
{
    bool failed;

    pthread_mutex_lock(&mount->inside->lock);
    failed = mount->inside->error[0] != '\0';
    pthread_mutex_unlock(&mount->inside->lock);
    return failed ? mount->inside->error : NULL; /* it never changes again */
}

void hcs_mount_log(
    struct hcs_mount *mount, enum hcs_level level, const char *format, ...)
{
    static const enum hcs_log_level levels[] = {
        [HCS_ERROR] = HCS_LOG_ERROR,
        [HCS_WARN] = HCS_LOG_WARN,
        [HCS_INFO] = HCS_LOG_INFO,
        [HCS_DEBUG] = HCS_LOG_DEBUG,
    };
    struct hcs_log_field route = {.name = "route", .text = mount->inside->path};
    char message[MESSAGE_MAX];
    va_list arguments;

    if ((unsigned)level > HCS_DEBUG ||
        !hcs_log_wants(mount->host->log, levels[level])) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    hcs_log_write(mount->host->log, levels[level], message, &route, 1);
}

/* --- Metrics. */

/* Whether Prometheus takes the name. The daemon puts a prefix before it. */
static bool is_metric_name(const char *name, enum hcs_metric_kind kind)
{
    static const char TOTAL[] = "_total";
    size_t length = strlen(name);
    bool total = length >= sizeof(TOTAL) - 1 &&
                 strcmp(name + length - (sizeof(TOTAL) - 1), TOTAL) == 0;

    return length > (total ? sizeof(TOTAL) - 1 : 0) &&
           length <= HCS_CUSTOM_METRIC_NAME &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == length &&
           total == (kind == HCS_COUNTER);
}

/* Whether the help is one line that needs no escaping in any format. */
static bool is_metric_help(const char *help)
{
    for (; *help != '\0'; help++) {
        if (*help < 0x20 || *help > 0x7e || *help == '\\' || *help == '"') {
            return false;
        }
    }
    return true;
}

struct hcs_metric *hcs_mount_metric(struct hcs_mount *mount,
    enum hcs_metric_kind kind, const char *name, const char *help)
{
    struct hcs_mount_inside *inside = mount->inside;
    struct hcs_metric *metric;

    if (inside->is_open) {
        return NULL; /* pages need a number of metrics that stays the same */
    }
    if (!is_metric_name(name, kind)) {
        hcs_mount_fail(mount,
            "metric %s: a name has at most 100 lower-case letters, digits and "
            "_; it ends in _total if, and only if, the metric is a counter",
            name);
        return NULL;
    }
    if (!is_metric_help(help)) {
        hcs_mount_fail(mount,
            "metric %s: its help must be one line of ASCII, without \\ and \"",
            name);
        return NULL;
    }
    for (metric = inside->metrics; metric != NULL; metric = metric->next) {
        if (strcmp(metric->name, name) == 0) {
            hcs_mount_fail(mount, "metric %s: the name is used twice", name);
            return NULL;
        }
    }
    if (inside->metric_count == METRICS_MAX) {
        hcs_mount_fail(mount,
            "metric %s: a handler may have at most %d metrics", name,
            (int)METRICS_MAX);
        return NULL;
    }
    metric = malloc(sizeof(*metric));
    if (metric == NULL) {
        return NULL;
    }
    metric->next = NULL;
    metric->name = name;
    metric->help = help;
    metric->kind = kind;
    atomic_init(&metric->value, 0);
    *inside->last_metric = metric;
    inside->last_metric = &metric->next;
    inside->metric_count++;
    return metric;
}

/* Relaxed: a metric publishes nothing but its own value. */
void hcs_metric_add(struct hcs_metric *metric, int64_t more)
{
    if (metric != NULL) {
        atomic_fetch_add_explicit(&metric->value, more, memory_order_relaxed);
    }
}

void hcs_metric_set(struct hcs_metric *metric, int64_t value)
{
    if (metric != NULL) {
        atomic_store_explicit(&metric->value, value, memory_order_relaxed);
    }
}

size_t hcs_mount_metrics(
    const struct hcs_mount *mount, struct hcs_custom_metric *out, size_t room)
{
    const struct hcs_metric *metric = mount->inside->metrics;
    size_t count = 0;

    for (; metric != NULL && count < room; metric = metric->next) {
        out[count++] = (struct hcs_custom_metric){
            .name = metric->name,
            .help = metric->help,
            .kind = metric->kind,
            .value = atomic_load_explicit(&metric->value, memory_order_relaxed),
        };
    }
    return count;
}

size_t hcs_mount_metric_count(const struct hcs_mount *mount)
{
    return mount->inside->metric_count;
}

/* --- Creating and destroying. */

static bool copy(char **out, const char *text)
{
    *out = text != NULL ? strdup(text) : NULL;
    return text == NULL || *out != NULL;
}

/* Reads the settings that every mount has, with any handler. */
static bool read_common(struct hcs_mount *mount)
{
    static const uint64_t MS = 1000000;
    static const uint64_t DAY_MS = 24 * 3600 * UINT64_C(1000);
    uint64_t ns = mount->job_timeout_ms * MS;

    if (!hcs_mount_duration(mount, "timeout", 0, DAY_MS * MS, &ns)) {
        return false;
    }
    /* Rounded up: 0 would mean off. */
    mount->job_timeout_ms = (ns + MS - 1) / MS;
    return true;
}

struct hcs_mount *hcs_mount_create(const struct hcs_host *host,
    const struct hcs_handler *handler, void *context, const char *path,
    const char *argument, const char *settings)
{
    struct hcs_mount *mount = calloc(1, sizeof(*mount));
    struct hcs_mount_inside *inside = calloc(1, sizeof(*inside));

    if (mount == NULL || inside == NULL) {
        free(mount);
        free(inside);
        return NULL;
    }
    hcs_handler_copy(&inside->handler, sizeof(inside->handler), handler);
    mount->handler = &inside->handler;
    mount->self = context;
    mount->host = host;
    mount->job_timeout_ms = host->job_timeout_ms;
    mount->inside = inside;
    inside->last_metric = &inside->metrics;
    STAILQ_INIT(&inside->settings);
    pthread_mutex_init(&inside->lock, NULL);
    if (!copy(&inside->path, path) || !copy(&inside->argument, argument) ||
        !read_settings(mount, settings)) {
        hcs_mount_destroy(mount);
        return NULL;
    }
    /* Here, and not in hcs_mount_open: a job may wait before its handler is
     * open, and its loop reads the timeout meanwhile. hcs_mount_open reports a
     * bad value. */
    (void)read_common(mount);
    return mount;
}

void hcs_mount_destroy(struct hcs_mount *mount)
{
    struct hcs_mount_inside *inside;

    if (mount == NULL) {
        return;
    }
    hcs_mount_close(mount);
    inside = mount->inside;
    while (!STAILQ_EMPTY(&inside->settings)) {
        struct setting *setting = STAILQ_FIRST(&inside->settings);

        STAILQ_REMOVE_HEAD(&inside->settings, next);
        free(setting);
    }
    while (inside->metrics != NULL) {
        struct hcs_metric *next = inside->metrics->next;

        free(inside->metrics);
        inside->metrics = next;
    }
    pthread_mutex_destroy(&inside->lock);
    free(inside->path);
    free(inside->argument);
    free(inside);
    free(mount);
}

/* Refuses an argument and settings that the handler did not ask for. */
static void refuse_leftovers(struct hcs_mount *mount)
{
    struct hcs_mount_inside *inside = mount->inside;
    const struct setting *at;
    char names[HCS_MOUNT_ERROR] = "";
    size_t used = 0;

    if (inside->argument != NULL && !inside->argument_asked) {
        hcs_mount_fail(mount, "%s takes no argument", mount->handler->name);
    }
    for (unsigned i = 0; i < inside->asked_count; i++) {
        int more = snprintf(names + used, sizeof(names) - used, "%s%s",
            i > 0 ? ", " : "", inside->asked[i]);

        used += (size_t)more < sizeof(names) - used ? (size_t)more : 0;
    }
    STAILQ_FOREACH (at, &inside->settings, next) {
        if (!at->asked) {
            hcs_mount_fail(mount, "%s has no setting %s; allowed: %s",
                mount->handler->name, at->name, names);
        }
    }
}

/* --- Calls of the handler.
 *
 * Relaxed everywhere: main only compares the counts. Before main reads anything
 * else that the threads wrote, it joins them. */

static bool is_called_off(const struct hcs_mount *mount)
{
    const struct hcs_handler_calls *calls = mount->host->calls;

    return calls != NULL &&
           atomic_load_explicit(&calls->called_off, memory_order_relaxed);
}

static void begin_call(const struct hcs_mount *mount)
{
    struct hcs_handler_calls *calls = mount->host->calls;

    if (calls != NULL) {
        atomic_fetch_add_explicit(&calls->inside, 1, memory_order_relaxed);
    }
}

static void end_call(const struct hcs_mount *mount)
{
    struct hcs_handler_calls *calls = mount->host->calls;

    if (calls != NULL) {
        atomic_fetch_sub_explicit(&calls->inside, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&calls->ended, 1, memory_order_relaxed);
    }
}

int hcs_mount_open(struct hcs_mount *mount)
{
    const struct hcs_handler *handler = mount->handler;
    int rc = 0;

    assert(!mount->inside->is_open);
    if (is_called_off(mount)) {
        return -ECANCELED;
    }
    if (hcs_mount_error(mount) == NULL) {
        if (handler->open != NULL) {
            begin_call(mount);
            rc = handler->open(&mount->self, mount);
            end_call(mount);
        }
        if (rc != 0) {
            hcs_mount_fail(mount, "%s does not open", handler->name);
        } else {
            mount->inside->is_open =
                true; /* so it is closed, even if refused */
            refuse_leftovers(mount);
        }
    }
    return hcs_mount_error(mount) == NULL ? 0 : -EINVAL;
}

void hcs_mount_close(struct hcs_mount *mount)
{
    if (mount->inside->is_open) {
        mount->inside->is_open = false;
        if (mount->handler->close != NULL) {
            begin_call(mount);
            mount->handler->close(mount->self);
            end_call(mount);
        }
    }
}

int hcs_mount_open_worker(
    struct hcs_mount *mount, unsigned worker, void **state)
{
    const struct hcs_handler *handler = mount->handler;
    int rc;

    *state = NULL;
    if (is_called_off(mount)) {
        return -ECANCELED;
    }
    if (handler->open_worker == NULL) {
        return 0;
    }
    begin_call(mount);
    rc = handler->open_worker(mount->self, worker, state);
    end_call(mount);
    if (rc == 0) {
        return 0;
    }
    hcs_mount_fail(
        mount, "%s does not open on worker %u", handler->name, worker);
    return -EINVAL;
}

void hcs_mount_close_worker(struct hcs_mount *mount, void *state)
{
    if (mount->handler->open_worker != NULL &&
        mount->handler->close_worker != NULL) {
        begin_call(mount);
        mount->handler->close_worker(mount->self, state);
        end_call(mount);
    }
}
