/*
 * fdtable - gives a thread a private descriptor table.
 *
 * RLIMIT_NOFILE limits each table. So threads with private tables can together
 * have many times as many descriptors. Accept and close on different cores do
 * not wait for one lock. And the kernel looks up a descriptor faster in a
 * table with one user. A descriptor is then good only in the table that opened
 * it, except for those that were opened before and kept.
 *
 * Owns:    nothing.
 * Threads: acts on the calling thread.
 * Waits:   never.
 */
#ifndef HCS_BASE_FDTABLE_H
#define HCS_BASE_FDTABLE_H

#include <stddef.h>

/* Gives the calling thread a copy of the table. Only standard input, output and
 * error and the descriptors in keep stay open in it; keep is sorted by the
 * call. highest: no open descriptor is above it; needed only where the kernel
 * has no close_range(2). 0; or -errno where the kernel or a sandbox forbids
 * it: then the table is shared as before, and nothing was closed. */
int hcs_fdtable_make_private(int *keep, size_t count, int highest);

#endif
