/*
 * spawner - starts and ends programs for a process that has threads.
 *
 * The spawner is a small process with one thread. The daemon forks it before
 * the daemon has any other thread. This has three reasons:
 *
 * - A child inherits neither descriptors nor locks of the daemon.
 * - The kernel sends a child its death signal (PR_SET_PDEATHSIG) when the
 *   *thread* that forked it ends. Here that is when the spawner ends, and not
 *   when a worker does.
 * - When the daemon is gone, for whatever reason, the spawner still ends the
 *   programs and everything that they started: orphans among them become
 *   children of the spawner (PR_SET_CHILD_SUBREAPER).
 *
 * Owns:    the process, and the socket to it.
 * Threads: start and stop by main, start before any other thread exists; the
 *          rest by any, one request at a time.
 * Waits:   for the spawner, which replies within milliseconds unless a program
 *          hangs in its start or cannot be killed. After ten seconds without a
 *          reply, or when the spawner is dead, this request and all later ones
 *          fail with -EPIPE.
 */
#ifndef HCS_HANDLERS_SPAWNER_H
#define HCS_HANDLERS_SPAWNER_H

#include "handlers/exec/spawn.h"

struct hcs_spawner; /* opaque */

/* 0, or -errno. The spawner keeps the working directory, the environment and
 * the limits that the caller has now. Variables by which a service manager
 * speaks to the daemon are removed from the environment. */
int hcs_spawner_start(struct hcs_spawner **out);

/* Takes the spawner. Ends all programs, and waits up to five seconds for that.
 * NULL is fine. */
void hcs_spawner_stop(struct hcs_spawner *spawner);

/* Starts a program as leader of a new session, and waits until it was executed.
 * 0, or -errno and the step that failed. -E2BIG: too many texts, arguments or
 * groups. */
int hcs_spawner_spawn(struct hcs_spawner *spawner,
    const struct hcs_spawn *spawn, struct hcs_spawned *program,
    enum hcs_spawn_step *step);

/* Waits at most grace_ms (up to a second) for the program to end by itself,
 * then kills it and its process group. Has to be called once for each program
 * that was started, also when it has ended: until then the spawner keeps its
 * status. 0, or -errno: then status says HCS_SPAWN_KILLED. */
int hcs_spawner_end(struct hcs_spawner *spawner, struct hcs_spawned program,
    unsigned grace_ms, struct hcs_spawn_status *status);

#endif
