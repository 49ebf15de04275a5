/*
 * metrics - the page /metrics: which format a client asks for, and its text.
 *
 * Knows no sockets and no threads: the caller fills in struct hcs_metrics.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_OBSERVE_METRICS_H
#define HCS_OBSERVE_METRICS_H

#include "observe/counts.h"

#include <stddef.h>

enum hcs_metrics_format {
    HCS_METRICS_JSON,
    HCS_METRICS_PROMETHEUS,  /* text/plain;version=0.0.4 */
    HCS_METRICS_OPENMETRICS, /* application/openmetrics-text;version=1.0.0 */
};

/* The format that an Accept value and a query ask for; either may be empty.
 * ?format=json, prometheus or openmetrics goes before Accept. JSON is the
 * default. */
enum hcs_metrics_format hcs_metrics_choose(const char *accept,
    size_t accept_length, const char *query, size_t query_length);

const char *hcs_metrics_content_type(enum hcs_metrics_format format);

/* Writes the page without a NUL, and returns the length of the whole page. If
 * that is more than size, the page was cut: call again with more room. */
size_t hcs_metrics_write(const struct hcs_metrics *metrics,
    enum hcs_metrics_format format, char *out, size_t size);

#endif
