#include "observe/counts.h"

#include <string.h>

/* --- Sums over the loops. */

void hcs_counts_add(struct hcs_metrics *sums, const struct hcs_counts *counts,
    struct hcs_metrics_loop *loop)
{
    *loop = (struct hcs_metrics_loop){
        .accepted = hcs_counter_get(&counts->accepted),
        .requests = hcs_counter_get(&counts->requests),
    };
#define COUNTED(field, ...) sums->field += hcs_counter_get(&counts->field);
#define BY_REASON(field, ...)                                                  \
    for (size_t i = 0; i < HCS_REASON_COUNT; i++) {                            \
        sums->field[i] += hcs_counter_get(&counts->field[i]);                  \
    }
    HCS_METRICS(COUNTED, BY_REASON, HCS_COUNTS_NONE, HCS_COUNTS_NONE)
#undef COUNTED
#undef BY_REASON
    for (size_t i = 0; i < HCS_CONN_OPEN_STATES; i++) {
        uint64_t open = hcs_counter_get(&counts->states[i]);

        sums->states[i] += open;
        loop->connections += open;
    }
}

void hcs_counts_add_route(
    struct hcs_metrics_handler *sums, const struct hcs_route_counts *counts)
{
#define X(outcome)                                                             \
    sums->outcomes[HCS_JOB_END_##outcome] += hcs_counter_get(&counts->outcome);
    HCS_JOB_ENDS(X)
#undef X
}

const char *hcs_job_end_word(enum hcs_job_end outcome)
{
    static const char *const words[] = {
#define X(outcome) #outcome,
        HCS_JOB_ENDS(X)
#undef X
    };

    return words[outcome];
}

/* --- Numbers that have to be made from several. */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t hcs_metrics_open_connections(const struct hcs_metrics *metrics)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < HCS_CONN_OPEN_STATES; i++) {
        sum += metrics->states[i];
    }
    return sum;
}

/* A connection whose job waits and one whose job runs are in the same state,
 * because only the workers know which of the jobs they run. */
void hcs_metrics_states(const struct hcs_metrics *metrics,
    struct hcs_share shares[HCS_STATE_SHARES])
{
    uint64_t working = metrics->states[HCS_CONN_WORKING];
    uint64_t running = metrics->workers_busy + metrics->jobs_deferred;

    /* No connection waits for the job of a stuck worker. */
    running -= smaller(running, metrics->stuck);
    running = smaller(running, working); /* not read at one instant */
    memcpy(shares,
        (struct hcs_share[HCS_STATE_SHARES]){
            {"idle", metrics->states[HCS_CONN_IDLE]},
            {"reading", metrics->states[HCS_CONN_READING]},
            {"queued", working - running},
            {"running", running},
            {"writing", metrics->states[HCS_CONN_WRITING]},
            {"lingering", metrics->states[HCS_CONN_LINGERING]},
        },
        HCS_STATE_SHARES * sizeof(*shares));
}

void hcs_metrics_workers(const struct hcs_metrics *metrics,
    struct hcs_share shares[HCS_WORKER_SHARES])
{
    /* The three numbers were not read at one instant. */
    uint64_t busy = smaller(metrics->workers_busy, metrics->workers);
    uint64_t stuck = smaller(metrics->stuck, busy);

    shares[0] = (struct hcs_share){"busy", busy - stuck};
    shares[1] = (struct hcs_share){"stuck", stuck};
    shares[2] = (struct hcs_share){"idle", metrics->workers - busy};
}

/* --- The rows. */

#define AT(field) offsetof(struct hcs_metrics, field)
#define COUNTED(field, type, name, unit, json, help)                           \
    {HCS_METRIC_COUNT, HCS_METRIC_##type, AT(field), name, unit, help, json},
#define BY_REASON(field, name, json, help)                                     \
    {HCS_METRIC_REASONS, HCS_METRIC_COUNTER, AT(field), name, NULL, help, json},
#define READ(ctype, field, shape, type, name, unit, json, help)                \
    {HCS_METRIC_##shape, HCS_METRIC_##type, AT(field), name, unit, help, json},
#define VIEW(shape, type, name, json, help)                                    \
    {HCS_METRIC_##shape, HCS_METRIC_##type, 0, name, NULL, help, json},

static const struct hcs_metric_row rows[] = {
    HCS_METRICS(COUNTED, BY_REASON, READ, VIEW)};

const struct hcs_metric_row *hcs_metric_rows(size_t *count)
{
    *count = sizeof(rows) / sizeof(rows[0]);
    return rows;
}
