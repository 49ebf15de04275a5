#include "observe/metrics.h"

#include "http/accept.h"
#include "observe/metrics_json.h"
#include "observe/metrics_prometheus.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* In the order of our preference. */
static const struct hcs_media_type media_types[] = {
    {"application", "json", NULL},
    {"application", "openmetrics-text", "1.0.0"},
    {"text", "plain", "0.0.4"},
};

static const enum hcs_metrics_format formats[] = {
    HCS_METRICS_JSON, HCS_METRICS_OPENMETRICS, HCS_METRICS_PROMETHEUS};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

/* Whether [text, text + length) is that word, in any case. */
static bool is_word(const char *text, size_t length, const char *word)
{
    return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

/* One name=value of a query. False if it does not name a format. */
static bool read_parameter(
    const char *text, size_t length, enum hcs_metrics_format *format)
{
    static const char *const words[] = {
        [HCS_METRICS_JSON] = "json",
        [HCS_METRICS_PROMETHEUS] = "prometheus",
        [HCS_METRICS_OPENMETRICS] = "openmetrics",
    };
    static const char name[] = "format=";
    size_t name_length = sizeof name - 1;

    if (length < name_length || strncasecmp(text, name, name_length) != 0) {
        return false;
    }
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        if (is_word(text + name_length, length - name_length, words[i])) {
            *format = (enum hcs_metrics_format)i;
            return true;
        }
    }
    return false;
}

enum hcs_metrics_format hcs_metrics_choose(const char *accept,
    size_t accept_length, const char *query, size_t query_length)
{
    enum hcs_metrics_format format;

    while (query_length > 0) {
        const char *mark = memchr(query, '&', query_length);
        size_t length = mark != NULL ? (size_t)(mark - query) : query_length;

        if (read_parameter(query, length, &format)) {
            return format;
        }
        length += mark != NULL;
        query += length;
        query_length -= length;
    }
    return formats[hcs_accept_choose(
        accept, accept_length, media_types, FORMAT_COUNT)];
}

const char *hcs_metrics_content_type(enum hcs_metrics_format format)
{
    static const char *const types[] = {
        [HCS_METRICS_JSON] = "application/json",
        [HCS_METRICS_PROMETHEUS] = "text/plain; version=0.0.4; charset=utf-8",
        [HCS_METRICS_OPENMETRICS] =
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
    };

    return types[format];
}

size_t hcs_metrics_write(const struct hcs_metrics *metrics,
    enum hcs_metrics_format format, char *out, size_t size)
{
    struct hcs_output output = {.out = out, .size = size};

    if (format == HCS_METRICS_JSON) {
        output.hex_controls = true;
        hcs_metrics_json(&output, metrics);
    } else {
        hcs_metrics_prometheus(
            &output, metrics, format == HCS_METRICS_OPENMETRICS);
    }
    return output.length;
}
