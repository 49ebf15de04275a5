#include "shard/snapshot.h"

#include "base/clock.h"
#include "shard/shard.h"
#include "sync/deferral.h"

#include <string.h>

enum { STANDARD_FDS = 3 };

/* Each loop with its own descriptor table has copies of what all have: the
 * three standard ones, the log's pipe, the counter of loops that ended, statm,
 * and the doorbells of the other loops. */
static uint64_t copied_fds(const struct hcs_service *service)
{
    uint64_t each = STANDARD_FDS + 3 + service->shard_count - 1;

    return service->private_tables ? service->shard_count * each : 0;
}

static uint64_t pulse(const _Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

size_t hcs_service_custom_metrics(const struct hcs_service *service)
{
    size_t sum = 0;

    for (size_t i = 0; hcs_service_is_open(service) &&
                       i < hcs_router_jobs(hcs_service_router(service));
         i++) {
        sum += hcs_mount_metric_count(
            hcs_router_job(hcs_service_router(service), i)->mount);
    }
    return sum;
}

/* If the handlers were opened after the caller asked for the number of custom
 * metrics, there is no room for those metrics, and they are left out. */
static void read_handlers(const struct hcs_service *service,
    struct hcs_metrics_handler *handlers, struct hcs_custom_metric *custom,
    size_t room)
{
    for (size_t i = 0; i < hcs_router_jobs(hcs_service_router(service)); i++) {
        const struct hcs_route *route =
            hcs_router_job(hcs_service_router(service), i);
        size_t count = 0;

        if (room > 0) {
            count = hcs_mount_metrics(route->mount, custom, room);
        }
        handlers[i] = (struct hcs_metrics_handler){
            .name = route->mount->handler->name,
            .path = route->path,
            .custom = custom,
            .custom_count = count,
        };
        custom += count;
        room -= count;
        for (unsigned j = 0; j < service->shard_count; j++) {
            hcs_counts_add_route(
                &handlers[i], &service->shards[j]->counts.routes[i]);
        }
    }
}

static void read_process(
    const struct hcs_service *service, struct hcs_metrics *metrics)
{
    metrics->version = service->version;
    metrics->compiler = __VERSION__;
    metrics->start_time_seconds = service->started_at;
    metrics->resident_bytes = pulse(&service->pulse.resident_bytes);
    metrics->virtual_bytes = pulse(&service->pulse.virtual_bytes);
    metrics->cpu_seconds = (double)pulse(&service->pulse.cpu_ms) / 1e3;
    metrics->threads = pulse(&service->pulse.threads);
    metrics->open_fds = service->main_fds + copied_fds(service) +
                        metrics->own_fds +
                        hcs_metrics_open_connections(metrics);
    metrics->max_fds =
        service->max_fds * (service->private_tables ? service->shard_count : 1);
    metrics->memory_budget_bytes = service->budget->limit;
    metrics->memory_used_bytes = hcs_budget_used(service->budget);
    metrics->allocated_bytes =
        metrics->memory_used_bytes + hcs_pool_bytes(service->pool) +
        service->shard_count *
            (sizeof(struct hcs_shard) + HCS_SHARD_IN + HCS_SHARD_OUT);
    metrics->log_lines_dropped = hcs_log_dropped(service->log);
}

static void read_service(
    const struct hcs_service *service, struct hcs_metrics *metrics)
{
    uint64_t uptime_ns = hcs_clock_ns() - service->started_ns;

    metrics->uptime_seconds = (double)uptime_ns / 1e9;
    metrics->requests_per_second =
        (double)metrics->requests / ((double)uptime_ns / 1e9);
    metrics->requests_per_second_10s =
        (double)pulse(&service->pulse.requests_10s_milli) / 1e3;
    metrics->queue_depth = hcs_pool_depth(service->pool);
    metrics->queue_capacity = hcs_pool_capacity(service->pool);
    metrics->workers = hcs_pool_workers(service->pool);
    metrics->workers_busy = hcs_pool_busy(service->pool);
    metrics->jobs_deferred = hcs_deferrals_open_count(service->deferrals);
    metrics->starting = !hcs_service_is_open(service);
    metrics->draining = hcs_service_is_draining(service);
}

void hcs_service_snapshot(const struct hcs_service *service,
    struct hcs_metrics *metrics, struct hcs_metrics_loop *loops,
    struct hcs_metrics_handler *handlers, struct hcs_custom_metric *custom,
    size_t custom_count)
{
    memset(metrics, 0, sizeof(*metrics));
    for (unsigned i = 0; i < service->shard_count; i++) {
        hcs_counts_add(metrics, &service->shards[i]->counts, &loops[i]);
    }
    metrics->loops = loops;
    metrics->loop_count = service->shard_count;
    read_handlers(service, handlers, custom, custom_count);
    metrics->handlers = handlers;
    metrics->handler_count = hcs_router_jobs(hcs_service_router(service));
    read_process(service, metrics);
    read_service(service, metrics);
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

        for (size_t j = 0; j < hcs_router_jobs(hcs_service_router(service));
             j++) {
            sum += hcs_counter_get(&shard->counts.routes[j].ok) +
                   hcs_counter_get(&shard->counts.routes[j].error);
        }
    }
    return sum;
}
