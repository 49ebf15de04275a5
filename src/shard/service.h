/*
 * service - what all loops of the daemon share.
 *
 * Constant after the start, but for the atomic fields.
 *
 * Owns:    nothing; main owns what it points at.
 * Threads: any reads; who writes an atomic field is said beside it.
 * Waits:   never.
 */
#ifndef HCS_SHARD_SERVICE_H
#define HCS_SHARD_SERVICE_H

#include "base/log.h"
#include "guard/budget.h"
#include "job/router.h"
#include "observe/counts.h"
#include "shard/limits.h"
#include "sync/pool.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hcs_shard;

/* Numbers that come from the kernel or from the past. main reads them once a
 * second. */
struct hcs_pulse {
    _Atomic uint64_t resident_bytes;
    _Atomic uint64_t virtual_bytes;
    _Atomic uint64_t cpu_ms;
    _Atomic uint64_t threads;
    _Atomic uint64_t requests_10s_milli; /* requests per 1000 s, lately */
    _Atomic uint64_t jobs_per_second;    /* ended lately: the drain rate */
};

struct hcs_service {
    struct hcs_limits limits;
    struct hcs_router *router;
    struct hcs_pool *pool;
    struct hcs_deferrals *deferrals;
    struct hcs_budget *budget;
    struct hcs_log *log;
    struct hcs_shard *const *shards;
    unsigned shard_count;
    bool private_tables;         /* each loop has its own descriptor table */
    pthread_mutex_t accept_lock; /* taken where the table is one for all */
    const char *version;
    uint64_t started_ns; /* monotonic */
    double started_at;   /* seconds since 1970 */
    uint64_t max_fds;    /* of one table */
    unsigned main_fds;   /* open in main's table */
    struct hcs_pulse pulse;
    _Atomic bool is_open;  /* all handlers and workers; main's */
    _Atomic bool draining; /* main's */
    alignas(64) _Atomic unsigned connections; /* of all loops */
};

/* Whether jobs are taken yet. */
static inline bool hcs_service_is_open(const struct hcs_service *service)
{
    /* [service.is_open] acquire: the handlers are as main left them. */
    return atomic_load_explicit(&service->is_open, memory_order_acquire);
}

/* Reads all metrics. The caller lends room for what metrics points at: loops
 * for shard_count, handlers for the jobs of the router, and custom for as many
 * as hcs_service_custom_metrics said. */
void hcs_service_snapshot(const struct hcs_service *service,
    struct hcs_metrics *metrics, struct hcs_metrics_loop *loops,
    struct hcs_metrics_handler *handlers, struct hcs_custom_metric *custom,
    size_t custom_count);

/* How many metrics the handlers made. 0 while handlers are being opened. */
size_t hcs_service_custom_metrics(const struct hcs_service *service);

/* Sums over the loops. */
uint64_t hcs_service_requests(const struct hcs_service *service);
uint64_t hcs_service_jobs_ended(const struct hcs_service *service);

/* Seconds after which a refused client may try again: what waits over what
 * lately left the queue, 1 to 30, with jitter from random. */
unsigned hcs_service_retry_after_s(
    const struct hcs_service *service, uint64_t random);

#endif
