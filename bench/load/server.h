/*
 * server - what a process on this machine uses, as /proc tells it (proc(5)).
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
    double cpu_seconds; /* user and system, of all threads that are or were */
    uint64_t resident_bytes;
    uint64_t private_dirty_bytes; /* written to by the process alone */
};

/* False when there is no such process, or it may not be looked at. */
bool server_usage(pid_t pid, struct usage *usage);

#endif
