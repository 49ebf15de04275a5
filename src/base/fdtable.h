/*
 * fdtable - a descriptor table of a thread's own.
 *
 * RLIMIT_NOFILE holds for each table, so threads with their own may together
 * hold many times the limit; accept and close on different cores do not meet
 * on one lock; and the kernel looks a descriptor up faster in a table with one
 * user. A descriptor is then good only in the table that opened it, but for
 * those opened before and kept.
 *
 * Owns:    nothing.
 * Threads: acts on the calling thread.
 * Waits:   never.
 */
#ifndef HCS_BASE_FDTABLE_H
#define HCS_BASE_FDTABLE_H

#include <stddef.h>

/* Gives the calling thread a copy of the table, in which only standard input,
 * output and error and the descriptors in keep (sorted here) are left open.
 * highest: no open descriptor is above it; needed only where close_range(2) is
 * missing. 0; or -errno where the kernel or a sandbox forbids it: the table is
 * shared as before, and nothing was closed. */
int hcs_fdtable_make_private(int *keep, size_t count, int highest);

#endif
