/*
 * resources - how many cores and how much memory this process may really use.
 *
 * A container or a service with a quota sees all cores and all memory of the
 * machine. A process that uses more than its quota is slowed down or killed. So
 * these count too: the affinity mask, and the limits of the process's control
 * group and of all groups above it. Version 2 (cpu.max, memory.max) and version
 * 1 (cpu.cfs_quota_us over cpu.cfs_period_us, memory.limit_in_bytes) are read,
 * wherever they are mounted.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   only for reading /proc and the cgroup files.
 *
 * root is put before every path that is read. It is "" in the daemon; a test
 * gives a directory with its own proc and sys. A file that cannot be read sets
 * no limit.
 */
#ifndef HCS_APP_RESOURCES_H
#define HCS_APP_RESOURCES_H

#include <stdint.h>

/* The smaller of the cores in the affinity mask and the quota in cores, rounded
 * up. At least 1. */
unsigned hcs_resources_cores(const char *root);

/* Bytes: the smaller of the machine's memory and the smallest limit of a
 * group. */
uint64_t hcs_resources_memory(const char *root);

#endif
