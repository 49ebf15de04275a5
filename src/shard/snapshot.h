/*
 * snapshot - collects the counts of all loops and the daemon's state.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_SHARD_SNAPSHOT_H
#define HCS_SHARD_SNAPSHOT_H

#include "observe/counts.h"
#include "shard/service.h"

/* Reads all metrics. The caller lends the arrays that metrics points at: loops
 * has shard_count elements, handlers has hcs_router_jobs, and custom has
 * custom_count, which hcs_service_custom_metrics returned. */
void hcs_service_snapshot(const struct hcs_service *service,
    struct hcs_metrics *metrics, struct hcs_metrics_loop *loops,
    struct hcs_metrics_handler *handlers, struct hcs_custom_metric *custom,
    size_t custom_count);

/* How many metrics the handlers made. 0 until all handlers are open. */
size_t hcs_service_custom_metrics(const struct hcs_service *service);

/* Sums over the loops. */
uint64_t hcs_service_requests(const struct hcs_service *service);
uint64_t hcs_service_jobs_ended(const struct hcs_service *service);

#endif
