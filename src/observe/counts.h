/*
 * counts - the table of metrics: one row for each metric of the daemon.
 *
 * A row gives the field, the type, the name in Prometheus text, the unit, the
 * key in JSON and the help. From the rows come the counters of a loop, their
 * sum over all loops, and both pages. To add a counter, add a row and the line
 * that counts.
 *
 * Owns:    nothing; the counters lie in the memory of their loop.
 * Threads: a loop writes its own struct hcs_counts; any thread reads it.
 * Waits:   never.
 */
#ifndef HCS_OBSERVE_COUNTS_H
#define HCS_OBSERVE_COUNTS_H

#include "base/counter.h"
#include "hcs/handler.h"
#include "http/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hcs_conn_state {
    HCS_CONN_IDLE,    /* no request */
    HCS_CONN_READING, /* the request is incomplete; the loop owns all of it */
    HCS_CONN_WORKING, /* the queue or a worker borrows the request, which is
                         pinned; the pages show "queued" and "running" */
    HCS_CONN_WRITING, /* the client takes its reply more slowly than we write */
    HCS_CONN_LINGERING, /* reply sent, our side shut; input is thrown away */
    HCS_CONN_CLOSED, /* freed at the end of this turn; a request that a worker
                        still borrows was detached and outlives it */
};

/* Connections are counted in each state but the last one. */
enum { HCS_CONN_OPEN_STATES = HCS_CONN_CLOSED };

/* --- The table. The name of a counter is written without its "_total". NULL
 * stands for: no unit, not in that page, no help because it is not in the text.
 *
 * COUNTED(field, type, name, unit, json, help): each loop counts; the pages
 *     show the sum over the loops.
 * BY_REASON(field, name, json, help): a counter for each reason.
 * READ(ctype, field, shape, type, name, unit, json, help): read when a page is
 *     asked for.
 * VIEW(shape, type, name, json, help): made from several fields; the shape
 *     knows which.
 *
 * The rows stand in the order of the JSON page. Histograms will be one more
 * kind of row and one more shape. */
#define HCS_METRICS(COUNTED, BY_REASON, READ, VIEW)                            \
    VIEW(BUILD, INFO, "hcsd_build", NULL,                                      \
        "What is running; the value is always 1.")                             \
    VIEW(OPEN_CONNECTIONS, GAUGE, NULL, "active_connections", NULL)            \
    COUNTED(requests, COUNTER, "hcsd_requests", NULL, "total_requests",        \
        "Requests, understood or refused.")                                    \
    COUNTED(completed, COUNTER, "hcsd_requests_completed", NULL,               \
        "completed_requests", "Requests answered with a status below 400.")    \
    COUNTED(errors, COUNTER, "hcsd_requests_failed", NULL, "error_count",      \
        "Requests answered with a status of 400 or above.")                    \
    READ(double, uptime_seconds, DECIMAL, GAUGE, NULL, NULL, "uptime_seconds", \
        NULL)                                                                  \
    READ(double, start_time_seconds, DECIMAL, GAUGE,                           \
        "process_start_time_seconds", "seconds", NULL,                         \
        "When the process was started, since 1970.")                           \
    READ(double, requests_per_second, DECIMAL, GAUGE, NULL, NULL,              \
        "requests_per_sec", NULL) /* since the start */                        \
    READ(double, requests_per_second_10s, DECIMAL, GAUGE, NULL, NULL,          \
        "requests_per_sec_10s", NULL) /* over the last ten seconds */          \
    READ(double, cpu_seconds, DECIMAL, COUNTER, "process_cpu_seconds",         \
        "seconds", NULL,                                                       \
        "CPU time used by all threads, in user and system mode.")              \
    READ(uint64_t, allocated_bytes, MEMORY, GAUGE,                             \
        "hcsd_memory_allocated_bytes", "bytes", "memory_alloc_mb",             \
        "Memory allocated.")                                                   \
    READ(uint64_t, resident_bytes, MEMORY, GAUGE,                              \
        "process_resident_memory_bytes", "bytes", "memory_sys_mb",             \
        "Memory that is in RAM.")                                              \
    READ(uint64_t, virtual_bytes, MEMORY, GAUGE,                               \
        "process_virtual_memory_bytes", "bytes", NULL,                         \
        "Address space in use.")                                               \
    READ(uint64_t, threads, COUNT, GAUGE, "process_threads", NULL,             \
        "num_threads", "Threads of the process.")                              \
    READ(uint64_t, queue_depth, COUNT, GAUGE, "hcsd_queue_depth", NULL,        \
        "queue_depth", "Jobs that wait for a worker.")                         \
    READ(uint64_t, queue_capacity, COUNT, GAUGE, "hcsd_queue_capacity", NULL,  \
        "queue_capacity", "Jobs that may wait for a worker.")                  \
    READ(uint64_t, workers_busy, COUNT, GAUGE, NULL, NULL, "workers_busy",     \
        NULL) /* the stuck ones are among them */                              \
    READ(uint64_t, open_fds, COUNT, GAUGE, "process_open_fds", NULL,           \
        "open_fds", "Open file descriptors, of all tables.")                   \
    READ(uint64_t, max_fds, COUNT, GAUGE, "process_max_fds", NULL, NULL,       \
        "Limit on open file descriptors.")                                     \
    READ(uint64_t, workers, COUNT, GAUGE, NULL, NULL, "workers", NULL)         \
    VIEW(WORKERS, GAUGE, "hcsd_workers", NULL,                                 \
        "Workers, by what they do; stuck: in a job whose deadline has "        \
        "passed.")                                                             \
    COUNTED(stuck, GAUGE, NULL, NULL, "workers_stuck", NULL)                   \
    READ(uint64_t, jobs_deferred, COUNT, GAUGE, "hcsd_jobs_deferred", NULL,    \
        "jobs_deferred",                                                       \
        "Jobs that are to be answered later, and hold no worker.")             \
    COUNTED(cancelled, COUNTER, "hcsd_requests_cancelled", NULL,               \
        "cancelled_requests", "Requests whose client left before the answer.") \
    COUNTED(late, COUNTER, "hcsd_late_results_discarded", NULL,                \
        "late_results_discarded",                                              \
        "Results of jobs whose clients did not wait any more.")                \
    VIEW(STATES, GAUGE, "hcsd_connections", "connections",                     \
        "Open connections, by what they do.")                                  \
    COUNTED(accepted, COUNTER, NULL, NULL, "connections_accepted", NULL)       \
    VIEW(LOOP_ACCEPTED, COUNTER, "hcsd_connections_accepted", NULL,            \
        "Connections accepted, by the loop that serves them.")                 \
    BY_REASON(rejected, "hcsd_connections_rejected", "connections_rejected",   \
        "Connections refused before their first request.")                     \
    BY_REASON(closed, "hcsd_connections_closed", "connections_closed",         \
        "Connections closed.")                                                 \
    BY_REASON(refused, "hcsd_requests_rejected", "requests_rejected",          \
        "Requests answered with a status of 400 or above, by its reason.")     \
    VIEW(LOOPS, GAUGE, NULL, "loops", NULL)                                    \
    VIEW(LOOP_CONNECTIONS, GAUGE, "hcsd_loop_connections", NULL,               \
        "Open connections, by the loop that serves them.")                     \
    VIEW(LOOP_REQUESTS, COUNTER, "hcsd_loop_requests", NULL,                   \
        "Requests, by the loop that served them.")                             \
    VIEW(HANDLERS, COUNTER, "hcsd_jobs_completed", "handlers",                 \
        "Jobs that came to an end, by how they did.")                          \
    READ(uint64_t, memory_budget_bytes, MEMORY, GAUGE,                         \
        "hcsd_memory_budget_bytes", "bytes", "memory_budget_mb",               \
        "Memory that bodies, parse trees and replies may take.")               \
    READ(uint64_t, memory_used_bytes, MEMORY, GAUGE,                           \
        "hcsd_memory_budget_used_bytes", "bytes", "memory_used_mb",            \
        "Memory that bodies, parse trees and replies take.")                   \
    COUNTED(received_bytes, COUNTER, "hcsd_network_receive_bytes", "bytes",    \
        "received_bytes", "Bytes read from connections.")                      \
    COUNTED(sent_bytes, COUNTER, "hcsd_network_transmit_bytes", "bytes",       \
        "sent_bytes", "Bytes written to connections.")                         \
    READ(uint64_t, log_lines_dropped, COUNT, COUNTER,                          \
        "hcsd_log_lines_dropped", NULL, "log_lines_dropped",                   \
        "Log lines lost because their reader was too slow.")                   \
    READ(bool, starting, BOOL, GAUGE, "hcsd_starting", NULL, "starting",       \
        "1 until all handlers are open.")                                      \
    READ(bool, draining, BOOL, GAUGE, "hcsd_draining", NULL, "draining",       \
        "1 while the daemon shuts down.")                                      \
    /* In no page: open descriptors beside those of connections. */            \
    COUNTED(own_fds, GAUGE, NULL, NULL, NULL, NULL)

/* How the job of a route ended: the field and the word. */
#define HCS_JOB_ENDS(X)                                                        \
    X(ok)                                                                      \
    X(error)                                                                   \
    X(timeout)                                                                 \
    X(cancelled)

#define HCS_COUNTS_NONE(...)

/* --- What a loop counts. */

struct hcs_route_counts {
#define X(outcome) struct hcs_counter outcome;
    HCS_JOB_ENDS(X)
#undef X
};

struct hcs_counts {
#define COUNTED(field, ...) struct hcs_counter field;
#define BY_REASON(field, ...) struct hcs_counter field[HCS_REASON_COUNT];
    HCS_METRICS(COUNTED, BY_REASON, HCS_COUNTS_NONE, HCS_COUNTS_NONE)
#undef COUNTED
#undef BY_REASON
    struct hcs_counter states[HCS_CONN_OPEN_STATES]; /* connections in each */
    struct hcs_route_counts *routes; /* one for each job's route */
};

/* --- What a page shows. */

struct hcs_metrics_loop { /* one for each loop, in order */
    uint64_t connections; /* open now, with the refused ones */
    uint64_t accepted;
    uint64_t requests;
};

enum { HCS_CUSTOM_METRIC_NAME = 100 }; /* characters at most */

struct hcs_custom_metric { /* one that a handler made */
    const char *name;      /* a part of the name in Prometheus text; ends in
                              "_total" if it is a counter */
    const char *help;
    enum hcs_metric_kind kind;
    int64_t value;
};

enum hcs_job_end {
#define X(outcome) HCS_JOB_END_##outcome,
    HCS_JOB_ENDS(X)
#undef X
        HCS_JOB_END_COUNT
};

struct hcs_metrics_handler { /* one for each route of jobs */
    const char *name;        /* "echo" */
    const char *path;
    uint64_t outcomes[HCS_JOB_END_COUNT];
    const struct hcs_custom_metric *custom;
    size_t custom_count;
};

struct hcs_metrics {
#define COUNTED(field, ...) uint64_t field;
#define BY_REASON(field, ...) uint64_t field[HCS_REASON_COUNT];
#define READ(ctype, field, ...) ctype field;
    HCS_METRICS(COUNTED, BY_REASON, READ, HCS_COUNTS_NONE)
#undef COUNTED
#undef BY_REASON
#undef READ
    uint64_t states[HCS_CONN_OPEN_STATES];
    const char *version;
    const char *compiler;
    const struct hcs_metrics_loop *loops;
    size_t loop_count;
    const struct hcs_metrics_handler *handlers;
    size_t handler_count;
};

/* Adds the counters of one loop to the sums, and says what that loop has. */
void hcs_counts_add(struct hcs_metrics *sums, const struct hcs_counts *counts,
    struct hcs_metrics_loop *loop);

void hcs_counts_add_route(
    struct hcs_metrics_handler *sums, const struct hcs_route_counts *counts);

/* "ok" and so on: the label of Prometheus text and the key in JSON. */
const char *hcs_job_end_word(enum hcs_job_end outcome);

/* --- Numbers that have to be made from several. */

enum { HCS_STATE_SHARES = 6, HCS_WORKER_SHARES = 3 };

struct hcs_share { /* of connections or workers that do the same */
    const char *word;
    uint64_t count;
};

uint64_t hcs_metrics_open_connections(const struct hcs_metrics *metrics);
void hcs_metrics_states(const struct hcs_metrics *metrics,
    struct hcs_share shares[HCS_STATE_SHARES]);
void hcs_metrics_workers(const struct hcs_metrics *metrics,
    struct hcs_share shares[HCS_WORKER_SHARES]);

/* --- The rows, for code that writes a page. */

enum hcs_metric_type {
    HCS_METRIC_COUNTER,
    HCS_METRIC_GAUGE,
    HCS_METRIC_INFO,
};

enum hcs_metric_shape {
    HCS_METRIC_COUNT,   /* uint64_t at offset */
    HCS_METRIC_DECIMAL, /* double */
    HCS_METRIC_MEMORY,  /* uint64_t, in bytes; JSON has megabytes */
    HCS_METRIC_BOOL,
    HCS_METRIC_REASONS, /* uint64_t[HCS_REASON_COUNT] */
    /* views, which have no offset */
    HCS_METRIC_BUILD,
    HCS_METRIC_OPEN_CONNECTIONS,
    HCS_METRIC_STATES,
    HCS_METRIC_WORKERS,
    HCS_METRIC_LOOPS,
    HCS_METRIC_LOOP_CONNECTIONS,
    HCS_METRIC_LOOP_ACCEPTED,
    HCS_METRIC_LOOP_REQUESTS,
    HCS_METRIC_HANDLERS,
};

struct hcs_metric_row {
    enum hcs_metric_shape shape;
    enum hcs_metric_type type;
    size_t offset;    /* of the field in struct hcs_metrics */
    const char *name; /* in the text, without the suffix of the type; or NULL */
    const char *unit; /* the name ends in it; or NULL */
    const char *help; /* needs no escaping */
    const char *json; /* or NULL */
};

const struct hcs_metric_row *hcs_metric_rows(size_t *count);

#endif
