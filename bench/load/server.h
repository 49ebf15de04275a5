/*
 * server - memory and CPU time of a process on this machine, from /proc
 * (proc(5)).
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   for the kernel to walk the process's pages: 0.1 s and more at a GiB.
 */
#ifndef HCS_LOAD_SERVER_H
#define HCS_LOAD_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct usage {
    double cpu_seconds; /* user and system, also of threads that ended */
    uint64_t resident_bytes;
    uint64_t private_dirty_bytes; /* written by this process, and not shared */
};

/* False: there is no such process, or this user may not look at it. */
bool server_usage(pid_t pid, struct usage *usage);

#endif
