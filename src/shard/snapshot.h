/*
 * snapshot - what all loops have counted, and how the daemon is, at a moment.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_SHARD_SNAPSHOT_H
#define HCS_SHARD_SNAPSHOT_H

#include "observe/counts.h"
#include "shard/service.h"

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

#endif
