/*
 * metrics - the daemon's figures as a page: JSON, or Prometheus text.
 *
 * Knows no sockets and no threads: whoever serves the page fills in a snapshot.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_OBSERVE_METRICS_H
#define HCS_OBSERVE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hcs_gauge_state { /* of a connection */
    HCS_GAUGE_IDLE,
    HCS_GAUGE_READING,
    HCS_GAUGE_QUEUED,
    HCS_GAUGE_RUNNING,
    HCS_GAUGE_WRITING,
    HCS_GAUGE_LINGERING,
    HCS_GAUGE_COUNT
};

/* A counter split by reason: counts[i] belongs to words[i]; those that are 0
 * are left out of the JSON, and kept in the text only if they are closed sets
 * of at most 64. */
struct hcs_metrics_split {
    const char *const *words; /* NULL among them: not of this set, left out */
    const uint64_t *counts;
    size_t count;
};

struct hcs_metrics_loop { /* one for each loop, in order */
    uint64_t connections; /* open now */
    uint64_t accepted;    /* since the start */
    uint64_t requests;
};

enum { HCS_METRICS_CUSTOM_NAME = 100 }; /* characters at most */

struct hcs_metrics_custom { /* of a handler's own */
    const char *name;       /* a part of a metric's name; a counter's ends in
                               "_total" */
    const char *help;
    bool counter;
    int64_t value;
};

struct hcs_metrics_handler { /* one for each route */
    const char *name;        /* "echo" */
    const char *path;
    uint64_t ok, error, timeout, cancelled;
    const struct hcs_metrics_custom *figures;
    size_t figure_count;
};

struct hcs_metrics {
    const char *version;
    const char *compiler;
    double uptime_seconds;
    double start_time_seconds; /* since 1970 */
    uint64_t connections[HCS_GAUGE_COUNT];
    uint64_t requests;  /* every request that was understood or refused */
    uint64_t completed; /* answered with a status below 400 */
    uint64_t errors;    /* answered with 400 or above */
    uint64_t cancelled; /* whose client left before the answer */
    double requests_per_second;     /* since the start */
    double requests_per_second_10s; /* over the last ten seconds */
    uint64_t allocated_bytes;
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    double cpu_seconds;
    uint64_t threads;
    uint64_t queue_depth, queue_capacity;
    uint64_t workers, workers_busy; /* busy: with the stuck ones */
    uint64_t workers_stuck;         /* in jobs whose deadline has passed */
    uint64_t jobs_deferred;         /* that hold no worker */
    uint64_t open_fds, max_fds;
    uint64_t late_results;
    uint64_t log_lines_dropped;
    uint64_t received_bytes, sent_bytes;
    uint64_t memory_budget_bytes, memory_used_bytes; /* of MEMORY_BUDGET */
    bool starting;
    bool draining;
    struct hcs_metrics_split connections_rejected; /* before a request */
    struct hcs_metrics_split connections_closed;
    struct hcs_metrics_split requests_rejected; /* every answer of 400 and
                                                   above, by its reason */
    const struct hcs_metrics_loop *loops;
    size_t loop_count;
    const struct hcs_metrics_handler *handlers;
    size_t handler_count;
};

enum hcs_metrics_format {
    HCS_METRICS_JSON,
    HCS_METRICS_PROMETHEUS,  /* text/plain;version=0.0.4 */
    HCS_METRICS_OPENMETRICS, /* application/openmetrics-text;version=1.0.0 */
};

/* Which format an Accept value and a query ask for (either may be empty):
 * ?format=json, prometheus or openmetrics wins; JSON by default. */
enum hcs_metrics_format hcs_metrics_choose(const char *accept,
    size_t accept_length, const char *query, size_t query_length);

const char *hcs_metrics_content_type(enum hcs_metrics_format format);

/* Writes the page, and a NUL is not added. Returns its whole length; if that
 * is more than size, the page was cut and must be asked for again with more. */
size_t hcs_metrics_write(const struct hcs_metrics *metrics,
    enum hcs_metrics_format format, char *out, size_t size);

#endif
