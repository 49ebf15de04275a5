/*
 * resources - how many cores and how much memory this process may really use.
 *
 * A container or a service with a quota sees the machine's cores and memory,
 * and is slowed down or killed when it believes them. So the affinity mask and
 * the limits of the process's control group and of all groups above it count
 * too: version 2 (cpu.max, memory.max) and version 1 (cpu.cfs_quota_us over
 * cpu.cfs_period_us, memory.limit_in_bytes), wherever they are mounted.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   only for reading /proc and the cgroup files.
 *
 * root stands before every path that is read: "" in the daemon; a test gives a
 * directory that holds proc and sys of its own. What cannot be read limits
 * nothing.
 */
#ifndef HCS_APP_RESOURCES_H
#define HCS_APP_RESOURCES_H

#include <stdint.h>

/* The cores in the affinity mask, or the quota in cores, rounded up, if that
 * is less. At least 1. */
unsigned hcs_resources_cores(const char *root);

/* Bytes: the machine's memory, or the smallest limit of a group if that is
 * less. */
uint64_t hcs_resources_memory(const char *root);

#endif
