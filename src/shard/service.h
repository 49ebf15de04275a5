/*
 * service - what all loops of the daemon share.
 *
 * Only the atomic fields change after the start.
 *
 * Owns:    nothing; main owns the objects that it points at.
 * Threads: any thread reads it. Main writes the atomic fields.
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

/* The resources that clients of a listener can reach. */
struct hcs_site {
    struct hcs_router *router; /* pages and jobs by their paths */
};

enum { HCS_SITE_MAIN, HCS_SITE_COUNT };

/* Numbers that main samples once a second: from the kernel, or over the last
 * seconds. */
struct hcs_pulse {
    _Atomic uint64_t resident_bytes;
    _Atomic uint64_t virtual_bytes;
    _Atomic uint64_t cpu_ms;
    _Atomic uint64_t threads;
    _Atomic uint64_t requests_10s_milli; /* a 1000 s, in the last 10 s */
};

/* The phases of the daemon, in their order. */
enum hcs_phase {
    HCS_PHASE_SERVING,
    HCS_PHASE_DELAYING, /* told to stop, still accepting for DRAIN_DELAY */
    HCS_PHASE_DRAINING, /* requests that have begun are finished */
    HCS_PHASE_CUT,      /* requests that still wait get 503 */
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
    pthread_mutex_t accept_lock; /* taken if all loops share one table */
    const char *version;
    uint64_t started_ns; /* monotonic */
    double started_at;   /* seconds since 1970 */
    uint64_t max_fds;    /* of one table */
    unsigned main_fds;   /* open in main's table */
    struct hcs_pulse pulse;
    _Atomic bool is_open; /* all handlers and workers are open; set by main */
    _Atomic int phase;    /* enum hcs_phase; set by main */
};

/* Called before there are loops. Jobs that the gate admits go to the pool,
 * which is lent. */
void hcs_service_set_pool(struct hcs_service *service, struct hcs_pool *pool);

/* The router of the jobs. */
static inline struct hcs_router *hcs_service_router(
    const struct hcs_service *service)
{
    return service->sites[HCS_SITE_MAIN].router;
}

/* Whether all handlers and workers are open. Jobs that come before wait in the
 * queue. */
static inline bool hcs_service_is_open(const struct hcs_service *service)
{
    /* [service.is_open] Acquire: the caller sees the handlers as main left
     * them. */
    return atomic_load_explicit(&service->is_open, memory_order_acquire);
}

static inline enum hcs_phase hcs_service_phase(
    const struct hcs_service *service)
{
    /* Relaxed: pages only report the phase. Loops act on commands instead. */
    return (enum hcs_phase)atomic_load_explicit(
        &service->phase, memory_order_relaxed);
}

/* Whether the daemon was told to stop. */
static inline bool hcs_service_is_draining(const struct hcs_service *service)
{
    return hcs_service_phase(service) != HCS_PHASE_SERVING;
}

#endif
