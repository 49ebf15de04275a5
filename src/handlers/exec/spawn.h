/*
 * spawn - what to start, and how a program ended: the words of the daemon, its
 * spawner and a child.
 *
 * Owns:    nothing; the texts and lists are borrowed.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_HANDLERS_SPAWN_H
#define HCS_HANDLERS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    HCS_SPAWN_TEXT_MAX = 64 * 1024, /* bytes of all texts, with their NULs */
    HCS_SPAWN_ARGUMENTS_MAX = 1024, /* argv[0] among them */
    HCS_SPAWN_GROUPS_MAX = 1024,
};

/* The program gets the limit that the daemon was started with. */
#define HCS_SPAWN_NO_LIMIT UINT64_MAX

/* The step at which a start failed. */
enum hcs_spawn_step {
    HCS_SPAWN_REQUEST, /* the spawner did not get the request, or is dead */
    HCS_SPAWN_FORK,
    HCS_SPAWN_DESCRIPTORS,
    HCS_SPAWN_CPU,
    HCS_SPAWN_MEMORY,
    HCS_SPAWN_FILES,
    HCS_SPAWN_GROUP,
    HCS_SPAWN_USER,
    HCS_SPAWN_DIRECTORY,
    HCS_SPAWN_EXEC,
};

struct hcs_spawn {
    const char *program;     /* a path with a slash; PATH is not searched */
    const char *const *argv; /* ends with NULL */
    const char *directory;   /* NULL: the daemon's */
    bool change_user;        /* else the next four are not used */
    uid_t user;
    gid_t group;
    const gid_t *groups; /* supplementary ones */
    size_t group_count;
    uint64_t cpu_seconds;  /* soft and hard limit, or HCS_SPAWN_NO_LIMIT */
    uint64_t memory_bytes; /* the same */
    uint64_t files;        /* the same */
    int ends[3];           /* its standard input, output and error; borrowed */
};

/* A program that was started. Requests name it by its number: after it has
 * ended, its pid may be another process's. */
struct hcs_spawned {
    pid_t pid;
    uint64_t number;
};

enum hcs_spawn_end {
    HCS_SPAWN_EXITED,    /* value: the exit status */
    HCS_SPAWN_SIGNALLED, /* value: the signal, which the spawner did not send */
    HCS_SPAWN_KILLED,    /* by the spawner */
};

struct hcs_spawn_status {
    enum hcs_spawn_end end;
    int value;
};

#endif
