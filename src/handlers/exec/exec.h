/*
 * exec - jobs for any program: a JSON line to its standard input, a JSON line
 * back from its standard output.
 *
 * exec:PROGRAM?arg=...&user=...: each worker keeps one child, which has one job
 * at a time. One that dies, hangs, or answers nonsense costs the job that it
 * had; it is killed with its process group and started again, with growing
 * pauses when that happens again and again. docs/exec.md has the protocol.
 *
 * Owns:    the children, and a thread for what they write to standard error.
 * Threads: as for every handler (hcs/handler.h).
 * Waits:   for its child; start and end for the spawner.
 */
#ifndef HCS_HANDLERS_EXEC_H
#define HCS_HANDLERS_EXEC_H

#include "hcs/handler.h"

/* Starts the process that starts the programs. Called before the daemon has any
 * other thread, once for all mounts of exec. Gives *context, which open expects
 * in *self. 0, or -errno. */
int hcs_exec_prepare(void **context);

/* Takes the context, when all mounts of exec are closed. Ends all programs, and
 * waits for their end, at most five seconds. NULL is fine. */
void hcs_exec_finish(void *context);

/* open borrows the context of hcs_exec_prepare until close. NULL is enough for a
 * mount that only checks its settings: then open_worker fails. */
extern const struct hcs_handler hcs_exec;

#endif
