#include "observe/metrics_prometheus.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const char *const type_suffixes[] = {
    [HCS_METRIC_COUNTER] = "_total",
    [HCS_METRIC_GAUGE] = "",
    [HCS_METRIC_INFO] = "_info",
};

static const char *const type_words[] = {
    [HCS_METRIC_COUNTER] = "counter",
    [HCS_METRIC_GAUGE] = "gauge",
    [HCS_METRIC_INFO] = "info",
};

struct page {
    struct hcs_output *output;
    const struct hcs_metrics *metrics;
    bool is_openmetrics;
};

static void put_text(struct page *page, const char *text)
{
    hcs_output_text(page->output, text);
}

/* --- Samples: the lines of a family. */

struct label {
    const char *name; /* NULL ends a list */
    const char *value;
};

/* All of a sample but its value. */
static void put_series(struct page *page, const struct hcs_metric_row *row,
    const struct label *labels)
{
    const char *before = "{";

    put_text(page, row->name);
    put_text(page, type_suffixes[row->type]);
    for (; labels != NULL && labels->name != NULL; labels++) {
        put_text(page, before);
        put_text(page, labels->name);
        put_text(page, "=");
        hcs_output_quoted(page->output, labels->value);
        before = ",";
    }
    put_text(page, *before == '{' ? " " : "} ");
}

static void put_sample(struct page *page, const struct hcs_metric_row *row,
    const struct label *labels, uint64_t value)
{
    put_series(page, row, labels);
    hcs_output_u64(page->output, value);
    put_text(page, "\n");
}

static void put_labelled(struct page *page, const struct hcs_metric_row *row,
    const char *name, const char *value, uint64_t count)
{
    const struct label labels[] = {{name, value}, {NULL, NULL}};

    put_sample(page, row, labels, count);
}

static void put_decimal(
    struct page *page, const struct hcs_metric_row *row, double value)
{
    put_series(page, row, NULL);
    hcs_output_decimal(page->output, value);
    put_text(page, "\n");
}

static void put_build(struct page *page, const struct hcs_metric_row *row)
{
    const struct label labels[] = {
        {"version", page->metrics->version},
        {"compiler", page->metrics->compiler},
        {NULL, NULL},
    };

    put_sample(page, row, labels, 1);
}

static void put_shares(struct page *page, const struct hcs_metric_row *row,
    const struct hcs_share *shares, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put_labelled(page, row, "state", shares[i].word, shares[i].count);
    }
}

static void put_states(struct page *page, const struct hcs_metric_row *row)
{
    struct hcs_share shares[HCS_STATE_SHARES];

    hcs_metrics_states(page->metrics, shares);
    put_shares(page, row, shares, HCS_STATE_SHARES);
}

static void put_workers(struct page *page, const struct hcs_metric_row *row)
{
    struct hcs_share shares[HCS_WORKER_SHARES];

    hcs_metrics_workers(page->metrics, shares);
    put_shares(page, row, shares, HCS_WORKER_SHARES);
}

/* Zeros too: a rate over a series that appears with its first event misses that
 * event. */
static void put_reasons(
    struct page *page, const struct hcs_metric_row *row, const uint64_t *counts)
{
    for (int i = HCS_REASON_NONE + 1; i < HCS_REASON_COUNT; i++) {
        put_labelled(page, row, "reason", hcs_reason_word((enum hcs_reason)i),
            counts[i]);
    }
}

/* offset: of the number in struct hcs_metrics_loop. */
static void put_loops(
    struct page *page, const struct hcs_metric_row *row, size_t offset)
{
    for (size_t i = 0; i < page->metrics->loop_count; i++) {
        const void *value = (const char *)&page->metrics->loops[i] + offset;
        char number[HCS_TEXT_U64_MAX + 1];

        number[hcs_text_u64(number, i)] = '\0';
        put_labelled(page, row, "loop", number, *(const uint64_t *)value);
    }
}

/* --- Jobs by their handler. One handler may serve several paths, and the label
 * is its name. Those paths are added up, because two samples with the same
 * labels spoil the page. */

static bool is_first_of_name(const struct hcs_metrics *metrics, size_t index)
{
    const char *name = metrics->handlers[index].name;

    for (size_t i = 0; i < index; i++) {
        if (strcmp(metrics->handlers[i].name, name) == 0) {
            return false;
        }
    }
    return true;
}

static uint64_t sum_of_name(const struct hcs_metrics *metrics, const char *name,
    enum hcs_job_end outcome)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < metrics->handler_count; i++) {
        if (strcmp(metrics->handlers[i].name, name) == 0) {
            sum += metrics->handlers[i].outcomes[outcome];
        }
    }
    return sum;
}

static void put_outcomes(
    struct page *page, const struct hcs_metric_row *row, const char *name)
{
    for (int i = 0; i < HCS_JOB_END_COUNT; i++) {
        enum hcs_job_end outcome = (enum hcs_job_end)i;
        const struct label labels[] = {
            {"handler", name},
            {"outcome", hcs_job_end_word(outcome)},
            {NULL, NULL},
        };

        put_sample(
            page, row, labels, sum_of_name(page->metrics, name, outcome));
    }
}

static void put_handlers(struct page *page, const struct hcs_metric_row *row)
{
    for (size_t i = 0; i < page->metrics->handler_count; i++) {
        if (is_first_of_name(page->metrics, i)) {
            put_outcomes(page, row, page->metrics->handlers[i].name);
        }
    }
}

/* --- Families: a head and its samples. */

/* One line about a family. OpenMetrics calls a family by its bare name; the
 * older format knows no families and names the samples. */
static void put_about(struct page *page, const struct hcs_metric_row *row,
    const char *what, const char *text)
{
    put_text(page, "# ");
    put_text(page, what);
    put_text(page, " ");
    put_text(page, row->name);
    if (!page->is_openmetrics) {
        put_text(page, type_suffixes[row->type]);
    }
    put_text(page, " ");
    put_text(page, text);
    put_text(page, "\n");
}

static void put_head(struct page *page, const struct hcs_metric_row *row)
{
    enum hcs_metric_type type = row->type;

    if (!page->is_openmetrics && type == HCS_METRIC_INFO) {
        type = HCS_METRIC_GAUGE; /* the older format has no type info */
    }
    put_about(page, row, "HELP", row->help);
    put_about(page, row, "TYPE", type_words[type]);
    if (page->is_openmetrics && row->unit != NULL) {
        put_about(page, row, "UNIT", row->unit);
    }
}

static void put_samples(struct page *page, const struct hcs_metric_row *row)
{
    const void *field = (const char *)page->metrics + row->offset;

    switch (row->shape) {
    case HCS_METRIC_COUNT:
    case HCS_METRIC_MEMORY:
        put_sample(page, row, NULL, *(const uint64_t *)field);
        break;
    case HCS_METRIC_DECIMAL:
        put_decimal(page, row, *(const double *)field);
        break;
    case HCS_METRIC_BOOL:
        put_sample(page, row, NULL, *(const bool *)field ? 1 : 0);
        break;
    case HCS_METRIC_REASONS:
        put_reasons(page, row, field);
        break;
    case HCS_METRIC_BUILD:
        put_build(page, row);
        break;
    case HCS_METRIC_STATES:
        put_states(page, row);
        break;
    case HCS_METRIC_WORKERS:
        put_workers(page, row);
        break;
    case HCS_METRIC_LOOP_CONNECTIONS:
        put_loops(page, row, offsetof(struct hcs_metrics_loop, connections));
        break;
    case HCS_METRIC_LOOP_ACCEPTED:
        put_loops(page, row, offsetof(struct hcs_metrics_loop, accepted));
        break;
    case HCS_METRIC_LOOP_REQUESTS:
        put_loops(page, row, offsetof(struct hcs_metrics_loop, requests));
        break;
    case HCS_METRIC_HANDLERS:
        put_handlers(page, row);
        break;
    case HCS_METRIC_OPEN_CONNECTIONS: /* their rows have no name */
    case HCS_METRIC_LOOPS:
        break;
    }
}

/* --- Metrics that handlers made: a family for each name. */

/* OpenMetrics calls the family of a counter x_total by x, as that of a gauge
 * x. */
static size_t family_length(const char *name)
{
    static const char total[] = "_total";
    size_t length = strlen(name);
    size_t suffix = sizeof total - 1;

    return length > suffix && strcmp(name + length - suffix, total) == 0
               ? length - suffix
               : length;
}

/* Whether no metric before it is of the same family. A page may not have a
 * counter and a gauge in one family, so only the first of them is shown. */
static bool is_first_custom(
    const struct hcs_metrics *metrics, size_t handler, size_t index)
{
    const char *name = metrics->handlers[handler].custom[index].name;
    size_t length = family_length(name);

    for (size_t i = 0; i <= handler; i++) {
        const struct hcs_metrics_handler *before = &metrics->handlers[i];
        size_t count = i < handler ? before->custom_count : index;

        for (size_t j = 0; j < count; j++) {
            const char *other = before->custom[j].name;

            if (family_length(other) == length &&
                memcmp(other, name, length) == 0) {
                return false;
            }
        }
    }
    return true;
}

static void put_custom_sample(struct page *page,
    const struct hcs_metric_row *row, const struct hcs_metrics_handler *handler,
    int64_t value)
{
    const struct label labels[] = {
        {"handler", handler->name},
        {"path", handler->path},
        {NULL, NULL},
    };

    put_series(page, row, labels);
    hcs_output_i64(page->output, value);
    put_text(page, "\n");
}

/* first: the handler of that metric; none before it has one of that name. */
static void put_custom(
    struct page *page, size_t first, const struct hcs_custom_metric *metric)
{
    char name[HCS_CUSTOM_METRIC_NAME + sizeof("hcsd_handler_")];
    struct hcs_metric_row row = {
        .type =
            metric->kind == HCS_COUNTER ? HCS_METRIC_COUNTER : HCS_METRIC_GAUGE,
        .name = name,
        .help = metric->help,
    };

    /* The type puts the suffix of a counter behind the name. */
    (void)snprintf(name, sizeof(name), "hcsd_handler_%.*s",
        (int)family_length(metric->name), metric->name);
    put_head(page, &row);
    for (size_t i = first; i < page->metrics->handler_count; i++) {
        const struct hcs_metrics_handler *handler = &page->metrics->handlers[i];

        for (size_t j = 0; j < handler->custom_count; j++) {
            if (strcmp(handler->custom[j].name, metric->name) == 0) {
                put_custom_sample(
                    page, &row, handler, handler->custom[j].value);
            }
        }
    }
}

static void put_all_custom(struct page *page)
{
    for (size_t i = 0; i < page->metrics->handler_count; i++) {
        const struct hcs_metrics_handler *handler = &page->metrics->handlers[i];

        for (size_t j = 0; j < handler->custom_count; j++) {
            if (is_first_custom(page->metrics, i, j)) {
                put_custom(page, i, &handler->custom[j]);
            }
        }
    }
}

void hcs_metrics_prometheus(struct hcs_output *output,
    const struct hcs_metrics *metrics, bool is_openmetrics)
{
    struct page page = {output, metrics, is_openmetrics};
    size_t count;
    const struct hcs_metric_row *rows = hcs_metric_rows(&count);

    for (size_t i = 0; i < count; i++) {
        if (rows[i].name != NULL) {
            put_head(&page, &rows[i]);
            put_samples(&page, &rows[i]);
        }
    }
    put_all_custom(&page);
    if (is_openmetrics) {
        put_text(&page, "# EOF\n");
    }
}
