#include "observe/metrics_json.h"

/* before: what stands in front of the member, "{" for the first one. */
static void put_member(struct hcs_output *output, const char *before,
    const char *name, uint64_t value)
{
    hcs_output_text(output, before);
    hcs_output_quoted(output, name);
    hcs_output_text(output, ": ");
    hcs_output_u64(output, value);
}

static void put_states(
    struct hcs_output *output, const struct hcs_metrics *metrics)
{
    struct hcs_share shares[HCS_STATE_SHARES];

    hcs_metrics_states(metrics, shares);
    for (size_t i = 0; i < HCS_STATE_SHARES; i++) {
        put_member(
            output, i == 0 ? "{" : ", ", shares[i].word, shares[i].count);
    }
    hcs_output_text(output, "}");
}

/* A reason that never happened is left out. */
static void put_reasons(struct hcs_output *output, const uint64_t *counts)
{
    const char *before = "{";

    for (int i = HCS_REASON_NONE + 1; i < HCS_REASON_COUNT; i++) {
        if (counts[i] != 0) {
            put_member(
                output, before, hcs_reason_word((enum hcs_reason)i), counts[i]);
            before = ", ";
        }
    }
    hcs_output_text(output, *before == '{' ? "{}" : "}");
}

static void put_loops(
    struct hcs_output *output, const struct hcs_metrics *metrics)
{
    hcs_output_text(output, "[");
    for (size_t i = 0; i < metrics->loop_count; i++) {
        const struct hcs_metrics_loop *loop = &metrics->loops[i];

        hcs_output_text(output, i == 0 ? "\n    " : ",\n    ");
        put_member(output, "{", "connections", loop->connections);
        put_member(output, ", ", "accepted", loop->accepted);
        put_member(output, ", ", "requests", loop->requests);
        hcs_output_text(output, "}");
    }
    hcs_output_text(output, metrics->loop_count == 0 ? "]" : "\n  ]");
}

/* The key is older than the word "metric". */
static void put_custom(
    struct hcs_output *output, const struct hcs_metrics_handler *handler)
{
    hcs_output_text(output, ", \"figures\": {");
    for (size_t i = 0; i < handler->custom_count; i++) {
        hcs_output_text(output, i == 0 ? "" : ", ");
        hcs_output_quoted(output, handler->custom[i].name);
        hcs_output_text(output, ": ");
        hcs_output_i64(output, handler->custom[i].value);
    }
    hcs_output_text(output, "}");
}

static void put_handler(
    struct hcs_output *output, const struct hcs_metrics_handler *handler)
{
    hcs_output_text(output, "{\"path\": ");
    hcs_output_quoted(output, handler->path);
    hcs_output_text(output, ", \"handler\": ");
    hcs_output_quoted(output, handler->name);
    for (int i = 0; i < HCS_JOB_END_COUNT; i++) {
        put_member(output, ", ", hcs_job_end_word((enum hcs_job_end)i),
            handler->outcomes[i]);
    }
    if (handler->custom_count > 0) {
        put_custom(output, handler);
    }
    hcs_output_text(output, "}");
}

static void put_handlers(
    struct hcs_output *output, const struct hcs_metrics *metrics)
{
    hcs_output_text(output, "[");
    for (size_t i = 0; i < metrics->handler_count; i++) {
        hcs_output_text(output, i == 0 ? "\n    " : ",\n    ");
        put_handler(output, &metrics->handlers[i]);
    }
    hcs_output_text(output, metrics->handler_count == 0 ? "]" : "\n  ]");
}

static void put_value(struct hcs_output *output,
    const struct hcs_metrics *metrics, const struct hcs_metric_row *row)
{
    const void *field = (const char *)metrics + row->offset;

    switch (row->shape) {
    case HCS_METRIC_COUNT:
        hcs_output_u64(output, *(const uint64_t *)field);
        break;
    case HCS_METRIC_DECIMAL:
        hcs_output_decimal(output, *(const double *)field);
        break;
    case HCS_METRIC_MEMORY:
        hcs_output_decimal(
            output, (double)*(const uint64_t *)field / (1024 * 1024));
        break;
    case HCS_METRIC_BOOL:
        hcs_output_text(output, *(const bool *)field ? "true" : "false");
        break;
    case HCS_METRIC_REASONS:
        put_reasons(output, field);
        break;
    case HCS_METRIC_OPEN_CONNECTIONS:
        hcs_output_u64(output, hcs_metrics_open_connections(metrics));
        break;
    case HCS_METRIC_STATES:
        put_states(output, metrics);
        break;
    case HCS_METRIC_LOOPS:
        put_loops(output, metrics);
        break;
    case HCS_METRIC_HANDLERS:
        put_handlers(output, metrics);
        break;
    case HCS_METRIC_BUILD: /* their rows have no key */
    case HCS_METRIC_WORKERS:
    case HCS_METRIC_LOOP_CONNECTIONS:
    case HCS_METRIC_LOOP_ACCEPTED:
    case HCS_METRIC_LOOP_REQUESTS:
        break;
    }
}

void hcs_metrics_json(
    struct hcs_output *output, const struct hcs_metrics *metrics)
{
    const char *before = "{\n  ";
    size_t count;
    const struct hcs_metric_row *rows = hcs_metric_rows(&count);

    for (size_t i = 0; i < count; i++) {
        if (rows[i].json != NULL) {
            hcs_output_text(output, before);
            hcs_output_quoted(output, rows[i].json);
            hcs_output_text(output, ": ");
            put_value(output, metrics, &rows[i]);
            before = ",\n  ";
        }
    }
    hcs_output_text(output, "\n}\n");
}
