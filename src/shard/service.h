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
#include "guard/gate.h"
#include "job/router.h"
#include "shard/limits.h"
#include "sync/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hcs_shard;

/* What the clients of a listener are served. */
struct hcs_site {
    struct hcs_router *router; /* pages and jobs by their paths */
};

enum { HCS_SITE_MAIN, HCS_SITE_COUNT };

/* Numbers that come from the kernel or from the past. main reads them once a
 * second. */
struct hcs_pulse {
    _Atomic uint64_t resident_bytes;
    _Atomic uint64_t virtual_bytes;
    _Atomic uint64_t cpu_ms;
    _Atomic uint64_t threads;
    _Atomic uint64_t requests_10s_milli; /* requests per 1000 s, lately */
};

/* Of the daemon, from its start on. */
enum hcs_phase {
    HCS_PHASE_SERVING,
    HCS_PHASE_DELAYING, /* DRAIN_DELAY: told to stop, still accepting */
    HCS_PHASE_DRAINING, /* what has begun is finished */
    HCS_PHASE_CUT,      /* what still waits gets 503 */
};

struct hcs_service {
    struct hcs_limits limits;
    struct hcs_site sites[HCS_SITE_COUNT];
    struct hcs_gate gate;
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
    _Atomic bool is_open; /* all handlers and workers; main's */
    _Atomic int phase;    /* enum hcs_phase; main's */
};

/* Before there are loops: the pool, which is lent, is where jobs go that the
 * gate admits. */
void hcs_service_set_pool(struct hcs_service *service, struct hcs_pool *pool);

/* The router of the jobs. */
static inline struct hcs_router *hcs_service_router(
    const struct hcs_service *service)
{
    return service->sites[HCS_SITE_MAIN].router;
}

/* Whether all handlers and workers are open. Jobs are taken before: they wait in
 * the queue. */
static inline bool hcs_service_is_open(const struct hcs_service *service)
{
    /* [service.is_open] acquire: the handlers are as main left them. */
    return atomic_load_explicit(&service->is_open, memory_order_acquire);
}

static inline enum hcs_phase hcs_service_phase(
    const struct hcs_service *service)
{
    /* Relaxed: loops act on commands; this is what pages tell. */
    return (enum hcs_phase)atomic_load_explicit(
        &service->phase, memory_order_relaxed);
}

/* Whether the daemon was told to stop. */
static inline bool hcs_service_is_draining(const struct hcs_service *service)
{
    return hcs_service_phase(service) != HCS_PHASE_SERVING;
}

#endif
