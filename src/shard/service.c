#include "shard/service.h"

#include "base/clock.h"
#include "http/reason.h"
#include "shard/shard.h"
#include "sync/deferral.h"

#include <assert.h>
#include <string.h>

enum { RETRY_MAX_S = 30, RETRY_UNKNOWN_S = 5, STANDARD_FDS = 3 };

static_assert(HCS_REASON_COUNT <= 64, "struct hcs_snapshot holds 64 reasons");

static void fill_words(const char *words[HCS_REASON_COUNT])
{
    for (int i = 0; i < HCS_REASON_COUNT; i++) {
        words[i] = hcs_reason_word((enum hcs_reason)i);
    }
}

static uint64_t pulse(const _Atomic uint64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

static void add_shard(struct hcs_snapshot *out, const struct hcs_shard *shard,
    struct hcs_metrics_loop *loop)
{
    const struct hcs_shard_counts *counts = &shard->counts;
    struct hcs_metrics *metrics = &out->metrics;

    memset(loop, 0, sizeof(*loop));
    loop->accepted = hcs_counter_get(&counts->accepted);
    loop->requests = hcs_counter_get(&counts->requests);
    for (int i = 0; i < HCS_GAUGE_COUNT; i++) {
        uint64_t open = hcs_counter_get(&counts->states[i]);

        metrics->connections[i] += open;
        loop->connections += open;
    }
    metrics->open_fds += loop->connections + hcs_counter_get(&counts->own_fds);
    metrics->requests += loop->requests;
    metrics->completed += hcs_counter_get(&counts->completed);
    metrics->errors += hcs_counter_get(&counts->errors);
    metrics->cancelled += hcs_counter_get(&counts->cancelled);
    metrics->late_results += hcs_counter_get(&counts->late);
    metrics->workers_stuck += hcs_counter_get(&counts->stuck);
    metrics->received_bytes += hcs_counter_get(&counts->received_bytes);
    metrics->sent_bytes += hcs_counter_get(&counts->sent_bytes);
    for (int i = 0; i < HCS_REASON_COUNT; i++) {
        out->rejected[i] += hcs_counter_get(&counts->rejected[i]);
        out->closed[i] += hcs_counter_get(&counts->closed[i]);
        out->refused[i] += hcs_counter_get(&counts->refused[i]);
    }
}

static void add_handlers(const struct hcs_service *service,
    const struct hcs_shard *shard, struct hcs_metrics_handler *handlers)
{
    for (size_t i = 0; i < hcs_router_jobs(service->router); i++) {
        const struct hcs_route_counts *counts = &shard->counts.routes[i];

        handlers[i].ok += hcs_counter_get(&counts->ok);
        handlers[i].error += hcs_counter_get(&counts->error);
        handlers[i].timeout += hcs_counter_get(&counts->timeout);
        handlers[i].cancelled += hcs_counter_get(&counts->cancelled);
    }
}

static size_t add_figures(
    const struct hcs_mount *mount, struct hcs_metrics_custom *figures)
{
    const struct hcs_metric *figure = NULL;
    struct hcs_mount_metric one;
    size_t count = 0;

    while ((figure = hcs_mount_next_metric(mount, figure, &one)) != NULL) {
        figures[count++] = (struct hcs_metrics_custom){
            .name = one.name,
            .help = one.help,
            .counter = one.kind == HCS_COUNTER,
            .value = one.value,
        };
    }
    return count;
}

size_t hcs_service_custom_metrics(const struct hcs_service *service)
{
    size_t sum = 0;

    for (size_t i = 0;
         hcs_service_is_open(service) && i < hcs_router_jobs(service->router);
         i++) {
        sum +=
            hcs_mount_metric_count(hcs_router_job(service->router, i)->mount);
    }
    return sum;
}

/* Connections that wait for a job are of two kinds, and only the workers know
 * which of theirs they run. */
static void split_working(struct hcs_metrics *metrics)
{
    uint64_t working = metrics->connections[HCS_GAUGE_QUEUED];
    /* Nobody waits for what the stuck ones run. */
    uint64_t running = metrics->workers_busy + metrics->jobs_deferred;

    running -=
        running < metrics->workers_stuck ? running : metrics->workers_stuck;
    running = running < working ? running : working;
    metrics->connections[HCS_GAUGE_RUNNING] = running;
    metrics->connections[HCS_GAUGE_QUEUED] = working - running;
}

void hcs_service_snapshot(const struct hcs_service *service,
    struct hcs_snapshot *out, struct hcs_metrics_loop *loops,
    struct hcs_metrics_handler *handlers, struct hcs_metrics_custom *figures,
    size_t figure_count)
{
    const char **words = out->words;
    struct hcs_metrics *metrics = &out->metrics;
    uint64_t uptime_ns = hcs_clock_ns() - service->started_ns;
    size_t jobs = hcs_router_jobs(service->router);

    memset(out, 0, sizeof(*out));
    fill_words(words);
    for (size_t i = 0; i < jobs; i++) {
        const struct hcs_route *route = hcs_router_job(service->router, i);

        handlers[i] = (struct hcs_metrics_handler){
            .name = route->mount->handler->name,
            .path = route->path,
            .figures = figures,
        };
        /* None, if they were opened since the caller has asked how many. */
        if (figure_count > 0) {
            handlers[i].figure_count = add_figures(route->mount, figures);
            figures += handlers[i].figure_count;
        }
    }
    metrics->open_fds = service->main_fds;
    for (unsigned i = 0; i < service->shard_count; i++) {
        add_shard(out, service->shards[i], &loops[i]);
        add_handlers(service, service->shards[i], handlers);
        if (service->private_tables) {
            /* Copies of what all have: those, the log's pipe, the counter of
             * loops that ended, statm, and the other loops' doorbells. */
            metrics->open_fds += STANDARD_FDS + 3 + service->shard_count - 1;
        }
    }
    metrics->version = service->version;
    metrics->compiler = __VERSION__;
    metrics->uptime_seconds = (double)uptime_ns / 1e9;
    metrics->start_time_seconds = service->started_at;
    metrics->requests_per_second =
        (double)metrics->requests / ((double)uptime_ns / 1e9);
    metrics->requests_per_second_10s =
        (double)pulse(&service->pulse.requests_10s_milli) / 1e3;
    metrics->resident_bytes = pulse(&service->pulse.resident_bytes);
    metrics->virtual_bytes = pulse(&service->pulse.virtual_bytes);
    metrics->cpu_seconds = (double)pulse(&service->pulse.cpu_ms) / 1e3;
    metrics->threads = pulse(&service->pulse.threads);
    metrics->queue_depth = hcs_pool_depth(service->pool);
    metrics->queue_capacity = hcs_pool_capacity(service->pool);
    metrics->workers = hcs_pool_workers(service->pool);
    metrics->workers_busy = hcs_pool_busy(service->pool);
    metrics->jobs_deferred = hcs_deferrals_open_count(service->deferrals);
    metrics->starting = !hcs_service_is_open(service);
    metrics->max_fds =
        service->max_fds * (service->private_tables ? service->shard_count : 1);
    metrics->memory_budget_bytes = service->budget->limit;
    metrics->memory_used_bytes = hcs_budget_used(service->budget);
    metrics->allocated_bytes =
        metrics->memory_used_bytes + hcs_pool_bytes(service->pool) +
        service->shard_count *
            (sizeof(struct hcs_shard) + HCS_SHARD_IN + HCS_SHARD_OUT);
    metrics->log_lines_dropped = hcs_log_dropped(service->log);
    metrics->draining =
        atomic_load_explicit(&service->draining, memory_order_relaxed);
    split_working(metrics);
    /* Entry 0 is the reason for nothing. */
    metrics->connections_rejected = (struct hcs_metrics_split){
        words + 1, out->rejected + 1, HCS_REASON_COUNT - 1};
    metrics->connections_closed = (struct hcs_metrics_split){
        words + 1, out->closed + 1, HCS_REASON_COUNT - 1};
    metrics->requests_rejected = (struct hcs_metrics_split){
        words + 1, out->refused + 1, HCS_REASON_COUNT - 1};
    metrics->loops = loops;
    metrics->loop_count = service->shard_count;
    metrics->handlers = handlers;
    metrics->handler_count = jobs;
}

uint64_t hcs_service_requests(const struct hcs_service *service)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < service->shard_count; i++) {
        sum += hcs_counter_get(&service->shards[i]->counts.requests);
    }
    return sum;
}

uint64_t hcs_service_jobs_ended(const struct hcs_service *service)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < service->shard_count; i++) {
        const struct hcs_shard *shard = service->shards[i];

        for (size_t j = 0; j < hcs_router_jobs(service->router); j++) {
            sum += hcs_counter_get(&shard->counts.routes[j].ok) +
                   hcs_counter_get(&shard->counts.routes[j].error);
        }
    }
    return sum;
}

unsigned hcs_service_retry_after_s(
    const struct hcs_service *service, uint64_t random)
{
    uint64_t rate = pulse(&service->pulse.jobs_per_second);
    uint64_t depth = hcs_pool_depth(service->pool);
    uint64_t wait_s = depth == 0 ? 1 : RETRY_UNKNOWN_S;

    if (rate > 0) {
        wait_s = depth / rate + 1;
    }
    /* So that all who were refused together do not return together. */
    wait_s += random % (wait_s / 4 + 2);
    return wait_s < RETRY_MAX_S ? (unsigned)wait_s : RETRY_MAX_S;
}
