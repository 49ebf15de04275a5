#include "observe/metrics.h"

#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    CLOSED_SET_MAX = 64, /* words of a split whose zeros are shown as well */
    QUALITY_MAX = 1000,  /* a weight of 1, in thousandths */
};

static const char *const state_words[HCS_GAUGE_COUNT] = {
    [HCS_GAUGE_IDLE] = "idle",
    [HCS_GAUGE_READING] = "reading",
    [HCS_GAUGE_QUEUED] = "queued",
    [HCS_GAUGE_RUNNING] = "running",
    [HCS_GAUGE_WRITING] = "writing",
    [HCS_GAUGE_LINGERING] = "lingering",
};

/* --- The page: bytes beyond its end are counted, and dropped. */

struct page {
    char *out;
    size_t size;
    size_t length; /* of the whole, so it may be more than size */
    enum hcs_metrics_format format;
};

static void put_bytes(struct page *page, const void *bytes, size_t length)
{
    if (page->length < page->size) {
        size_t room = page->size - page->length;

        memcpy(page->out + page->length, bytes, length < room ? length : room);
    }
    page->length += length;
}

static void put_text(struct page *page, const char *text)
{
    put_bytes(page, text, strlen(text));
}

static void put_u64(struct page *page, uint64_t value)
{
    char digits[HCS_TEXT_U64_MAX];

    put_bytes(page, digits, hcs_text_u64(digits, value));
}

/* Three decimals. Not printf, whose decimal point is the locale's. What is no
 * number, which JSON has no word for, or below 0, which no figure is, is 0. */
static void put_decimal(struct page *page, double value)
{
    const double largest = 1e18; /* fits uint64_t */
    double known = isfinite(value) && value > 0 ? value : 0;
    uint64_t whole = (uint64_t)(known < largest ? known : largest);
    double fraction = known < largest ? known - (double)whole : 0;
    unsigned thousandths = (unsigned)(fraction * 1000 + 0.5);
    char decimals[4] = ".";

    whole += thousandths / 1000;
    decimals[1] = (char)('0' + thousandths / 100 % 10);
    decimals[2] = (char)('0' + thousandths / 10 % 10);
    decimals[3] = (char)('0' + thousandths % 10);
    put_u64(page, whole);
    put_bytes(page, decimals, sizeof decimals);
}

static void put_escaped(struct page *page, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";

    if (byte == '"' || byte == '\\') {
        char pair[2] = {'\\', (char)byte};

        put_bytes(page, pair, sizeof pair);
    } else if (byte == '\n') {
        put_text(page, "\\n");
    } else if (byte < 0x20 && page->format == HCS_METRICS_JSON) {
        put_text(page, "\\u00");
        put_bytes(page, &hex[byte >> 4], 1);
        put_bytes(page, &hex[byte & 0xf], 1);
    } else { /* other controls stand for themselves in a label */
        put_bytes(page, &byte, 1);
    }
}

/* The text in quotes, as a JSON string or the value of a label. All formats are
 * UTF-8, and readers throw the whole page away for one byte that is not, so
 * such a byte becomes U+FFFD. */
static void put_quoted(struct page *page, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    put_text(page, "\"");
    while (*at != '\0') {
        bool valid = true;
        /* No longer than four bytes, and none goes beyond the NUL. */
        size_t length = *at < 0x80 ? 1 : hcs_text_utf8(at, 4, &valid);

        if (!valid) {
            put_text(page, "\xef\xbf\xbd");
            length = 1;
        } else if (length == 1) {
            put_escaped(page, *at);
        } else {
            put_bytes(page, at, length);
        }
        at += length;
    }
    put_text(page, "\"");
}

/* --- Figures that the snapshot has in parts. */

static uint64_t all_connections(const struct hcs_metrics *metrics)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < HCS_GAUGE_COUNT; i++) {
        sum += metrics->connections[i];
    }
    return sum;
}

static uint64_t all_accepted(const struct hcs_metrics *metrics)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < metrics->loop_count; i++) {
        sum += metrics->loops[i].accepted;
    }
    return sum;
}

/* --- JSON. */

struct key {
    const char *name;
    void (*put)(struct page *page, const struct hcs_metrics *metrics,
        const void *field);
    size_t offset; /* of field */
};

static void key_count(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)metrics;
    put_u64(page, *(const uint64_t *)field);
}

static void key_decimal(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)metrics;
    put_decimal(page, *(const double *)field);
}

static void key_megabytes(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)metrics;
    put_decimal(page, (double)*(const uint64_t *)field / (1024 * 1024));
}

static void key_bool(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)metrics;
    put_text(page, *(const bool *)field ? "true" : "false");
}

static void key_all_connections(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    put_u64(page, all_connections(metrics));
}

static void key_all_accepted(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    put_u64(page, all_accepted(metrics));
}

/* before: what stands in front of the member, "{" for the first. */
static void put_member(
    struct page *page, const char *before, const char *name, uint64_t value)
{
    put_text(page, before);
    put_quoted(page, name);
    put_text(page, ": ");
    put_u64(page, value);
}

static void key_states(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    for (size_t i = 0; i < HCS_GAUGE_COUNT; i++) {
        put_member(
            page, i == 0 ? "{" : ", ", state_words[i], metrics->connections[i]);
    }
    put_text(page, "}");
}

static void key_split(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    const struct hcs_metrics_split *split = field;
    const char *before = "{";

    (void)metrics;
    for (size_t i = 0; i < split->count; i++) {
        if (split->words[i] != NULL && split->counts[i] != 0) {
            put_member(page, before, split->words[i], split->counts[i]);
            before = ", ";
        }
    }
    put_text(page, *before == '{' ? "{}" : "}");
}

static void key_loops(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    put_text(page, "[");
    for (size_t i = 0; i < metrics->loop_count; i++) {
        const struct hcs_metrics_loop *loop = &metrics->loops[i];

        put_text(page, i == 0 ? "\n    " : ",\n    ");
        put_member(page, "{", "connections", loop->connections);
        put_member(page, ", ", "accepted", loop->accepted);
        put_member(page, ", ", "requests", loop->requests);
        put_text(page, "}");
    }
    put_text(page, metrics->loop_count == 0 ? "]" : "\n  ]");
}

static void put_i64(struct page *page, int64_t value)
{
    if (value < 0) {
        put_text(page, "-");
    }
    put_u64(page, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

static void key_figures(
    struct page *page, const struct hcs_metrics_handler *handler)
{
    put_text(page, ", \"figures\": {");
    for (size_t i = 0; i < handler->figure_count; i++) {
        put_text(page, i == 0 ? "" : ", ");
        put_quoted(page, handler->figures[i].name);
        put_text(page, ": ");
        put_i64(page, handler->figures[i].value);
    }
    put_text(page, "}");
}

static void key_handlers(
    struct page *page, const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    put_text(page, "[");
    for (size_t i = 0; i < metrics->handler_count; i++) {
        const struct hcs_metrics_handler *handler = &metrics->handlers[i];

        put_text(page, i == 0 ? "\n    " : ",\n    ");
        put_text(page, "{\"path\": ");
        put_quoted(page, handler->path);
        put_text(page, ", \"handler\": ");
        put_quoted(page, handler->name);
        put_member(page, ", ", "ok", handler->ok);
        put_member(page, ", ", "error", handler->error);
        put_member(page, ", ", "timeout", handler->timeout);
        put_member(page, ", ", "cancelled", handler->cancelled);
        if (handler->figure_count > 0) {
            key_figures(page, handler);
        }
        put_text(page, "}");
    }
    put_text(page, metrics->handler_count == 0 ? "]" : "\n  ]");
}

#define FIELD(name) offsetof(struct hcs_metrics, name)

static const struct key keys[] = {
    {"active_connections", key_all_connections, 0},
    {"total_requests", key_count, FIELD(requests)},
    {"completed_requests", key_count, FIELD(completed)},
    {"error_count", key_count, FIELD(errors)},
    {"uptime_seconds", key_decimal, FIELD(uptime_seconds)},
    {"requests_per_sec", key_decimal, FIELD(requests_per_second)},
    {"requests_per_sec_10s", key_decimal, FIELD(requests_per_second_10s)},
    {"memory_alloc_mb", key_megabytes, FIELD(allocated_bytes)},
    {"memory_sys_mb", key_megabytes, FIELD(resident_bytes)},
    {"num_threads", key_count, FIELD(threads)},
    {"queue_depth", key_count, FIELD(queue_depth)},
    {"queue_capacity", key_count, FIELD(queue_capacity)},
    {"workers_busy", key_count, FIELD(workers_busy)},
    {"open_fds", key_count, FIELD(open_fds)},
    {"workers", key_count, FIELD(workers)},
    {"workers_stuck", key_count, FIELD(workers_stuck)},
    {"jobs_deferred", key_count, FIELD(jobs_deferred)},
    {"cancelled_requests", key_count, FIELD(cancelled)},
    {"late_results_discarded", key_count, FIELD(late_results)},
    {"connections", key_states, 0},
    {"connections_accepted", key_all_accepted, 0},
    {"connections_rejected", key_split, FIELD(connections_rejected)},
    {"connections_closed", key_split, FIELD(connections_closed)},
    {"requests_rejected", key_split, FIELD(requests_rejected)},
    {"loops", key_loops, 0},
    {"handlers", key_handlers, 0},
    {"memory_budget_mb", key_megabytes, FIELD(memory_budget_bytes)},
    {"memory_used_mb", key_megabytes, FIELD(memory_used_bytes)},
    {"received_bytes", key_count, FIELD(received_bytes)},
    {"sent_bytes", key_count, FIELD(sent_bytes)},
    {"log_lines_dropped", key_count, FIELD(log_lines_dropped)},
    {"starting", key_bool, FIELD(starting)},
    {"draining", key_bool, FIELD(draining)},
};

enum { KEY_COUNT = sizeof keys / sizeof keys[0] };

static void put_json(struct page *page, const struct hcs_metrics *metrics)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        put_text(page, i == 0 ? "{\n  " : ",\n  ");
        put_quoted(page, keys[i].name);
        put_text(page, ": ");
        keys[i].put(page, metrics, (const char *)metrics + keys[i].offset);
    }
    put_text(page, "\n}\n");
}

/* --- Prometheus and OpenMetrics: families of samples. */

enum family_type { COUNTER, GAUGE, INFO };

static const char *const type_suffixes[] = {
    [COUNTER] = "_total",
    [GAUGE] = "",
    [INFO] = "_info",
};

static const char *const type_words[] = {
    [COUNTER] = "counter",
    [GAUGE] = "gauge",
    [INFO] = "info",
};

struct family {
    const char *name; /* without the suffix of its type */
    enum family_type type;
    const char *unit; /* which the name ends in; NULL: none */
    const char *help; /* needs no escaping */
    void (*put)(struct page *page, const struct family *family,
        const struct hcs_metrics *metrics, const void *field);
    size_t offset; /* of field */
};

struct label {
    const char *name; /* NULL ends a list */
    const char *value;
};

/* All of a sample but its value. */
static void put_series(
    struct page *page, const struct family *family, const struct label *labels)
{
    const char *before = "{";

    put_text(page, family->name);
    put_text(page, type_suffixes[family->type]);
    for (; labels != NULL && labels->name != NULL; labels++) {
        put_text(page, before);
        put_text(page, labels->name);
        put_text(page, "=");
        put_quoted(page, labels->value);
        before = ",";
    }
    put_text(page, *before == '{' ? " " : "} ");
}

static void put_sample(struct page *page, const struct family *family,
    const struct label *labels, uint64_t value)
{
    put_series(page, family, labels);
    put_u64(page, value);
    put_text(page, "\n");
}

static void put_labelled(struct page *page, const struct family *family,
    const char *name, const char *value, uint64_t count)
{
    const struct label labels[] = {{name, value}, {NULL, NULL}};

    put_sample(page, family, labels, count);
}

static void family_count(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    (void)metrics;
    put_sample(page, family, NULL, *(const uint64_t *)field);
}

static void family_decimal(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    (void)metrics;
    put_series(page, family, NULL);
    put_decimal(page, *(const double *)field);
    put_text(page, "\n");
}

static void family_bool(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    (void)metrics;
    put_sample(page, family, NULL, *(const bool *)field ? 1 : 0);
}

static void family_build(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    const struct label labels[] = {
        {"version", metrics->version},
        {"compiler", metrics->compiler},
        {NULL, NULL},
    };

    (void)field;
    put_sample(page, family, labels, 1);
}

static void family_states(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    for (size_t i = 0; i < HCS_GAUGE_COUNT; i++) {
        put_labelled(
            page, family, "state", state_words[i], metrics->connections[i]);
    }
}

static void family_workers(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    uint64_t all = metrics->workers;
    uint64_t busy = metrics->workers_busy;
    uint64_t stuck = metrics->workers_stuck;

    (void)field;
    /* They were not read at one instant. */
    busy = busy < all ? busy : all;
    stuck = stuck < busy ? stuck : busy;
    put_labelled(page, family, "state", "busy", busy - stuck);
    put_labelled(page, family, "state", "stuck", stuck);
    put_labelled(page, family, "state", "idle", all - busy);
}

static void family_split(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    const struct hcs_metrics_split *split = field;

    (void)metrics;
    for (size_t i = 0; i < split->count; i++) {
        /* A zero is worth its line: a rate over a series that appears with its
         * first event misses that event. */
        if (split->words[i] != NULL &&
            (split->counts[i] != 0 || split->count <= CLOSED_SET_MAX)) {
            put_labelled(
                page, family, "reason", split->words[i], split->counts[i]);
        }
    }
}

/* offset: of the figure in struct hcs_metrics_loop. */
static void put_loops(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, size_t offset)
{
    for (size_t i = 0; i < metrics->loop_count; i++) {
        const char *loop = (const char *)&metrics->loops[i];
        char number[HCS_TEXT_U64_MAX + 1];

        number[hcs_text_u64(number, i)] = '\0';
        put_labelled(page, family, "loop", number,
            *(const uint64_t *)(const void *)(loop + offset));
    }
}

static void family_loop_connections(struct page *page,
    const struct family *family, const struct hcs_metrics *metrics,
    const void *field)
{
    (void)field;
    put_loops(
        page, family, metrics, offsetof(struct hcs_metrics_loop, connections));
}

static void family_loop_accepted(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    put_loops(
        page, family, metrics, offsetof(struct hcs_metrics_loop, accepted));
}

static void family_loop_requests(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    put_loops(
        page, family, metrics, offsetof(struct hcs_metrics_loop, requests));
}

static void put_outcome(struct page *page, const struct family *family,
    const char *handler, const char *outcome, uint64_t count)
{
    const struct label labels[] = {
        {"handler", handler},
        {"outcome", outcome},
        {NULL, NULL},
    };

    put_sample(page, family, labels, count);
}

static bool is_first_of_name(const struct hcs_metrics *metrics, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(metrics->handlers[i].name, metrics->handlers[index].name) ==
            0) {
            return false;
        }
    }
    return true;
}

/* One handler may serve several paths, and the label is its name: they are
 * added up, since two samples with the same labels spoil the page. */
static void family_jobs(struct page *page, const struct family *family,
    const struct hcs_metrics *metrics, const void *field)
{
    (void)field;
    for (size_t i = 0; i < metrics->handler_count; i++) {
        const char *name = metrics->handlers[i].name;
        struct hcs_metrics_handler sum = {0};

        if (!is_first_of_name(metrics, i)) {
            continue;
        }
        for (size_t j = i; j < metrics->handler_count; j++) {
            const struct hcs_metrics_handler *same = &metrics->handlers[j];

            if (strcmp(same->name, name) == 0) {
                sum.ok += same->ok;
                sum.error += same->error;
                sum.timeout += same->timeout;
                sum.cancelled += same->cancelled;
            }
        }
        put_outcome(page, family, name, "ok", sum.ok);
        put_outcome(page, family, name, "error", sum.error);
        put_outcome(page, family, name, "timeout", sum.timeout);
        put_outcome(page, family, name, "cancelled", sum.cancelled);
    }
}

static const struct family families[] = {
    {"hcsd_build", INFO, NULL, "What is running; the value is always 1.",
        family_build, 0},
    {"process_cpu_seconds", COUNTER, "seconds",
        "CPU time used by all threads, in user and system mode.",
        family_decimal, FIELD(cpu_seconds)},
    {"process_resident_memory_bytes", GAUGE, "bytes", "Memory that is in RAM.",
        family_count, FIELD(resident_bytes)},
    {"process_virtual_memory_bytes", GAUGE, "bytes", "Address space in use.",
        family_count, FIELD(virtual_bytes)},
    {"process_open_fds", GAUGE, NULL, "Open file descriptors, of all tables.",
        family_count, FIELD(open_fds)},
    {"process_max_fds", GAUGE, NULL, "Limit on open file descriptors.",
        family_count, FIELD(max_fds)},
    {"process_start_time_seconds", GAUGE, "seconds",
        "When the process was started, since 1970.", family_decimal,
        FIELD(start_time_seconds)},
    {"process_threads", GAUGE, NULL, "Threads of the process.", family_count,
        FIELD(threads)},

    {"hcsd_connections", GAUGE, NULL, "Open connections, by what they do.",
        family_states, 0},
    {"hcsd_connections_accepted", COUNTER, NULL,
        "Connections accepted, by the loop that serves them.",
        family_loop_accepted, 0},
    {"hcsd_connections_rejected", COUNTER, NULL,
        "Connections refused before their first request.", family_split,
        FIELD(connections_rejected)},
    {"hcsd_connections_closed", COUNTER, NULL, "Connections closed.",
        family_split, FIELD(connections_closed)},
    {"hcsd_loop_connections", GAUGE, NULL,
        "Open connections, by the loop that serves them.",
        family_loop_connections, 0},

    {"hcsd_requests", COUNTER, NULL, "Requests, understood or refused.",
        family_count, FIELD(requests)},
    {"hcsd_requests_completed", COUNTER, NULL,
        "Requests answered with a status below 400.", family_count,
        FIELD(completed)},
    {"hcsd_requests_failed", COUNTER, NULL,
        "Requests answered with a status of 400 or above.", family_count,
        FIELD(errors)},
    {"hcsd_requests_cancelled", COUNTER, NULL,
        "Requests whose client left before the answer.", family_count,
        FIELD(cancelled)},
    {"hcsd_requests_rejected", COUNTER, NULL,
        "Requests answered with a status of 400 or above, by its reason.",
        family_split, FIELD(requests_rejected)},
    {"hcsd_loop_requests", COUNTER, NULL,
        "Requests, by the loop that served them.", family_loop_requests, 0},

    {"hcsd_queue_depth", GAUGE, NULL, "Jobs that wait for a worker.",
        family_count, FIELD(queue_depth)},
    {"hcsd_queue_capacity", GAUGE, NULL, "Jobs that may wait for a worker.",
        family_count, FIELD(queue_capacity)},
    {"hcsd_jobs_completed", COUNTER, NULL,
        "Jobs that came to an end, by how they did.", family_jobs, 0},
    {"hcsd_late_results_discarded", COUNTER, NULL,
        "Results for which nobody waited any more.", family_count,
        FIELD(late_results)},
    {"hcsd_workers", GAUGE, NULL,
        "Workers, by what they do; stuck: in a job whose deadline has passed.",
        family_workers, 0},
    {"hcsd_jobs_deferred", GAUGE, NULL,
        "Jobs that are to be answered later, and hold no worker.", family_count,
        FIELD(jobs_deferred)},

    {"hcsd_memory_budget_bytes", GAUGE, "bytes",
        "Memory that bodies, parse trees and replies may take.", family_count,
        FIELD(memory_budget_bytes)},
    {"hcsd_memory_budget_used_bytes", GAUGE, "bytes",
        "Memory that bodies, parse trees and replies take.", family_count,
        FIELD(memory_used_bytes)},
    {"hcsd_memory_allocated_bytes", GAUGE, "bytes", "Memory allocated.",
        family_count, FIELD(allocated_bytes)},
    {"hcsd_network_receive_bytes", COUNTER, "bytes",
        "Bytes read from connections.", family_count, FIELD(received_bytes)},
    {"hcsd_network_transmit_bytes", COUNTER, "bytes",
        "Bytes written to connections.", family_count, FIELD(sent_bytes)},
    {"hcsd_log_lines_dropped", COUNTER, NULL,
        "Log lines lost because their reader was too slow.", family_count,
        FIELD(log_lines_dropped)},
    {"hcsd_starting", GAUGE, NULL, "1 until all handlers are open.",
        family_bool, FIELD(starting)},
    {"hcsd_draining", GAUGE, NULL, "1 while the daemon shuts down.",
        family_bool, FIELD(draining)},
};

enum { FAMILY_COUNT = sizeof families / sizeof families[0] };

/* One line about a family. OpenMetrics calls it by its bare name; the older
 * format knows no families, and names the samples. */
static void put_about(struct page *page, const struct family *family,
    const char *what, const char *text)
{
    put_text(page, "# ");
    put_text(page, what);
    put_text(page, " ");
    put_text(page, family->name);
    if (page->format == HCS_METRICS_PROMETHEUS) {
        put_text(page, type_suffixes[family->type]);
    }
    put_text(page, " ");
    put_text(page, text);
    put_text(page, "\n");
}

static void put_family_head(struct page *page, const struct family *family)
{
    bool is_open = page->format == HCS_METRICS_OPENMETRICS;
    enum family_type type = family->type;

    if (!is_open && type == INFO) {
        type = GAUGE; /* the older format has no such type */
    }
    put_about(page, family, "HELP", family->help);
    put_about(page, family, "TYPE", type_words[type]);
    if (is_open && family->unit != NULL) {
        put_about(page, family, "UNIT", family->unit);
    }
}

/* --- Figures of handlers' own: a family for each name. */

/* OpenMetrics calls a counter x_total by x, as a gauge x. */
static size_t family_length(const char *name)
{
    static const char total[] = "_total";
    size_t length = strlen(name);
    size_t suffix = sizeof total - 1;

    return length > suffix && strcmp(name + length - suffix, total) == 0
               ? length - suffix
               : length;
}

/* Whether no figure before it is of its family: of two kinds of figure in one,
 * which a page may not have, the first is shown. */
static bool is_first_figure(
    const struct hcs_metrics *metrics, size_t handler, size_t index)
{
    const char *name = metrics->handlers[handler].figures[index].name;
    size_t length = family_length(name);

    for (size_t i = 0; i <= handler; i++) {
        const struct hcs_metrics_handler *before = &metrics->handlers[i];
        size_t count = i < handler ? before->figure_count : index;

        for (size_t j = 0; j < count; j++) {
            const char *other = before->figures[j].name;

            if (family_length(other) == length &&
                memcmp(other, name, length) == 0) {
                return false;
            }
        }
    }
    return true;
}

static void put_figure(struct page *page, const struct hcs_metrics *metrics,
    size_t first, const struct hcs_metrics_custom *figure)
{
    char name[HCS_METRICS_CUSTOM_NAME + sizeof("hcsd_handler_")];
    struct family family = {
        name, figure->counter ? COUNTER : GAUGE, NULL, figure->help, NULL, 0};

    /* A counter's suffix is put behind by its type. */
    (void)snprintf(name, sizeof(name), "hcsd_handler_%.*s",
        (int)family_length(figure->name), figure->name);
    put_family_head(page, &family);
    for (size_t i = first; i < metrics->handler_count; i++) {
        const struct hcs_metrics_handler *handler = &metrics->handlers[i];
        const struct label labels[] = {
            {"handler", handler->name},
            {"path", handler->path},
            {NULL, NULL},
        };

        for (size_t j = 0; j < handler->figure_count; j++) {
            if (strcmp(handler->figures[j].name, figure->name) == 0) {
                put_series(page, &family, labels);
                put_i64(page, handler->figures[j].value);
                put_text(page, "\n");
            }
        }
    }
}

static void put_figures(struct page *page, const struct hcs_metrics *metrics)
{
    for (size_t i = 0; i < metrics->handler_count; i++) {
        const struct hcs_metrics_handler *handler = &metrics->handlers[i];

        for (size_t j = 0; j < handler->figure_count; j++) {
            if (is_first_figure(metrics, i, j)) {
                put_figure(page, metrics, i, &handler->figures[j]);
            }
        }
    }
}

static void put_families(struct page *page, const struct hcs_metrics *metrics)
{
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        const struct family *family = &families[i];

        put_family_head(page, family);
        family->put(
            page, family, metrics, (const char *)metrics + family->offset);
    }
    put_figures(page, metrics);
    if (page->format == HCS_METRICS_OPENMETRICS) {
        put_text(page, "# EOF\n");
    }
}

size_t hcs_metrics_write(const struct hcs_metrics *metrics,
    enum hcs_metrics_format format, char *out, size_t size)
{
    struct page page = {.out = out, .size = size, .format = format};

    if (format == HCS_METRICS_JSON) {
        put_json(&page, metrics);
    } else {
        put_families(&page, metrics);
    }
    return page.length;
}

/* --- What the client asks for. */

static const struct format {
    const char *word; /* in ?format= */
    const char *type; /* in Accept */
    const char *subtype;
    const char *version; /* NULL: any, or none */
    const char *content_type;
} formats[] = {
    [HCS_METRICS_JSON] = {"json", "application", "json", NULL,
        "application/json"},
    [HCS_METRICS_PROMETHEUS] = {"prometheus", "text", "plain", "0.0.4",
        "text/plain; version=0.0.4; charset=utf-8"},
    [HCS_METRICS_OPENMETRICS] = {"openmetrics", "application",
        "openmetrics-text", "1.0.0",
        "application/openmetrics-text; version=1.0.0; charset=utf-8"},
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

struct slice {
    const char *at;
    size_t length;
};

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static struct slice trim(struct slice text)
{
    while (text.length > 0 && is_blank(text.at[0])) {
        text.at++;
        text.length--;
    }
    while (text.length > 0 && is_blank(text.at[text.length - 1])) {
        text.length--;
    }
    return text;
}

/* Takes that many bytes off the text, and the mark behind them. */
static struct slice take(struct slice *text, size_t length)
{
    struct slice part = {text->at, length};

    if (length < text->length) {
        text->at += length + 1;
        text->length -= length + 1;
    } else {
        text->length = 0;
    }
    return part;
}

/* Takes what stands in front of the next mark, or all. A mark within a quoted
 * string is none (RFC 9110, section 5.6.4). */
static struct slice cut(struct slice *text, char mark)
{
    bool quoted = false;
    size_t i = 0;

    for (; i < text->length && (quoted || text->at[i] != mark); i++) {
        if (text->at[i] == '"') {
            quoted = !quoted;
        } else if (quoted && text->at[i] == '\\' && i + 1 < text->length) {
            i++; /* what is escaped ends no string */
        }
    }
    return take(text, i);
}

/* The same in a query, where quotes mean nothing. */
static struct slice cut_plain(struct slice *text, char mark)
{
    const char *found = memchr(text->at, mark, text->length);

    return take(
        text, found != NULL ? (size_t)(found - text->at) : text->length);
}

static char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

/* Whatever the case; word is in lower case. */
static bool is_word(struct slice text, const char *word)
{
    if (text.length != strlen(word)) {
        return false;
    }
    for (size_t i = 0; i < text.length; i++) {
        if (lower(text.at[i]) != word[i]) {
            return false;
        }
    }
    return true;
}

/* A weight (RFC 9110, section 12.4.2) in thousandths; 0 when it is none. */
static unsigned read_quality(struct slice text)
{
    unsigned quality = 0;
    unsigned scale = QUALITY_MAX;

    if (text.length > 0 && text.at[0] == '1') {
        return QUALITY_MAX;
    }
    if (text.length < 3 || text.at[0] != '0' || text.at[1] != '.') {
        return 0;
    }
    for (size_t i = 2; i < text.length; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return 0;
        }
        scale /= 10;
        quality += scale * (unsigned)(text.at[i] - '0');
    }
    return quality;
}

/* How well a format meets an Accept value: the weight of the most specific
 * range that it falls into (RFC 9110, section 12.5.1). */
struct match {
    unsigned detail; /* 0: none, 1: any type, 2: any subtype, 3, 4: a version */
    unsigned quality;
};

static struct match match_range(const struct format *format, struct slice range)
{
    struct match match = {0, QUALITY_MAX};
    struct slice subtype = cut(&range, ';');
    struct slice type = trim(cut(&subtype, '/'));
    bool wanted = true;

    subtype = trim(subtype);
    if (is_word(type, "*") && is_word(subtype, "*")) {
        match.detail = 1;
    } else if (is_word(type, format->type) && is_word(subtype, "*")) {
        match.detail = 2;
    } else if (is_word(type, format->type) &&
               is_word(subtype, format->subtype)) {
        match.detail = 3;
    }
    while (range.length > 0) {
        struct slice value = cut(&range, ';');
        struct slice name = trim(cut(&value, '='));

        value = trim(value);
        if (value.length >= 2 && value.at[0] == '"') {
            value.at++;
            value.length -= 2;
        }
        if (is_word(name, "q")) {
            match.quality = read_quality(value);
        } else if (is_word(name, "version") && format->version != NULL) {
            wanted = is_word(value, format->version);
            match.detail = match.detail == 3 ? 4 : match.detail;
        }
    }
    return wanted ? match : (struct match){0, 0};
}

static struct match match_accept(
    const struct format *format, struct slice accept)
{
    struct match best = {0, 0};

    while (accept.length > 0) {
        struct match match = match_range(format, cut(&accept, ','));

        if (match.detail > best.detail) {
            best = match;
        }
    }
    return best;
}

static enum hcs_metrics_format choose_by_accept(struct slice accept)
{
    /* Of those that are wanted equally, the first. */
    static const enum hcs_metrics_format order[FORMAT_COUNT] = {
        HCS_METRICS_JSON, HCS_METRICS_OPENMETRICS, HCS_METRICS_PROMETHEUS};
    enum hcs_metrics_format chosen = HCS_METRICS_JSON;
    struct match best = {0, 0};

    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        struct match match = match_accept(&formats[order[i]], accept);

        /* What is named goes before what is merely not excluded. */
        if (match.quality > best.quality ||
            (match.quality == best.quality && match.quality > 0 &&
                match.detail > best.detail)) {
            best = match;
            chosen = order[i];
        }
    }
    return chosen;
}

enum hcs_metrics_format hcs_metrics_choose(const char *accept,
    size_t accept_length, const char *query, size_t query_length)
{
    struct slice rest = {query, query_length};

    while (rest.length > 0) {
        struct slice value = cut_plain(&rest, '&');

        if (!is_word(cut_plain(&value, '='), "format")) {
            continue;
        }
        for (size_t i = 0; i < FORMAT_COUNT; i++) {
            if (is_word(value, formats[i].word)) {
                return (enum hcs_metrics_format)i;
            }
        }
    }
    return choose_by_accept((struct slice){accept, accept_length});
}

const char *hcs_metrics_content_type(enum hcs_metrics_format format)
{
    return formats[format].content_type;
}
