/*
 * metrics_json - the metrics as a JSON object.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_OBSERVE_METRICS_JSON_H
#define HCS_OBSERVE_METRICS_JSON_H

#include "observe/counts.h"
#include "observe/output.h"

/* hex_controls of the output is set. */
void hcs_metrics_json(
    struct hcs_output *output, const struct hcs_metrics *metrics);

#endif
