/*
 * spawner - starts and ends programs for a process that has threads.
 *
 * A small process of one thread, forked before the daemon has any other, does
 * it on request. So no child inherits a descriptor or a lock of the daemon; the
 * death signal of a child (PR_SET_PDEATHSIG), which is sent when the *thread*
 * that forked it ends, comes when the spawner does; and when the daemon is gone,
 * however it ended, somebody is there to end the programs and all that they
 * started, since the orphans among them become the spawner's children
 * (PR_SET_CHILD_SUBREAPER).
 *
 * Owns:    the process, and the socket to it.
 * Threads: start and stop by main, start before any other thread exists; the
 *          rest from any, one request at a time.
 * Waits:   for the spawner, which answers within milliseconds unless a program
 *          hangs in its start or cannot be killed. When it does not answer
 *          within ten seconds, or is dead, every request fails with -EPIPE from
 *          then on.
 */
#ifndef HCS_HANDLERS_SPAWNER_H
#define HCS_HANDLERS_SPAWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct hcs_spawner; /* opaque */

enum {
    HCS_SPAWN_TEXT_MAX = 64 * 1024, /* bytes of all texts, with their NULs */
    HCS_SPAWN_WORDS_MAX = 1024,
    HCS_SPAWN_GROUPS_MAX = 1024,
};

/* A limit that is left as the daemon was started with it. */
#define HCS_SPAWN_NO_LIMIT UINT64_MAX

/* What a start failed at. */
enum hcs_spawn_step {
    HCS_SPAWN_ASK, /* the spawner could not be asked: see above */
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
    const char *program;      /* a path with a slash; PATH is not searched */
    const char *const *words; /* argv; ends with NULL */
    const char *directory;    /* NULL: the daemon's */
    bool change_user;         /* the four below count */
    uid_t user;
    gid_t group;
    const gid_t *groups; /* supplementary ones */
    size_t group_count;
    uint64_t cpu_seconds; /* the three: soft and hard, or NO_LIMIT */
    uint64_t memory_bytes;
    uint64_t files;
    int ends[3]; /* its standard input, output and error; borrowed */
};

/* A program that was started. The number is what it is known by: its pid may be
 * another process's once it has ended. */
struct hcs_spawned {
    pid_t pid;
    uint64_t number;
};

enum hcs_spawn_end {
    HCS_SPAWN_EXITED,    /* value: the status */
    HCS_SPAWN_SIGNALLED, /* value: the signal, and nobody here sent it */
    HCS_SPAWN_KILLED,    /* by us */
};

struct hcs_spawn_status {
    enum hcs_spawn_end end;
    int value;
};

/* 0, or -errno. The process keeps the working directory, the environment (save
 * what a service manager put there for the daemon alone) and the limits that
 * the caller has now. */
int hcs_spawner_start(struct hcs_spawner **out);

/* Ends all programs, and waits up to five seconds for that. NULL is fine. */
void hcs_spawner_stop(struct hcs_spawner *spawner);

/* Starts a program, as leader of a session of its own. Returns when it was
 * executed: 0, or -errno and what that comes from in *step; -E2BIG when the
 * texts, words or groups are too many. */
int hcs_spawner_spawn(struct hcs_spawner *spawner,
    const struct hcs_spawn *spawn, struct hcs_spawned *program,
    enum hcs_spawn_step *step);

/* Gives a program up: lets it end by itself for grace_ms (at most a second),
 * then kills it and its process group. Each one that was started has to be given
 * up once, also when the program has ended; until then its status is kept. 0,
 * or -errno: then status says HCS_SPAWN_KILLED. */
int hcs_spawner_end(struct hcs_spawner *spawner, struct hcs_spawned program,
    unsigned grace_ms, struct hcs_spawn_status *status);

#endif
