/*
 * metrics_prometheus - the metrics as Prometheus text 0.0.4 or OpenMetrics 1.0.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_OBSERVE_METRICS_PROMETHEUS_H
#define HCS_OBSERVE_METRICS_PROMETHEUS_H

#include "observe/counts.h"
#include "observe/output.h"

#include <stdbool.h>

/* hex_controls of the output is not set. */
void hcs_metrics_prometheus(struct hcs_output *output,
    const struct hcs_metrics *metrics, bool is_openmetrics);

#endif
