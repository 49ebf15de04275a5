/*
 * exec - runs jobs in any program: a line of JSON to its standard input, a line
 * of JSON back from its standard output.
 *
 * exec:PROGRAM?arg=...&user=...: each worker keeps one child, which has one job
 * at a time. When a child dies, hangs or breaks the protocol, only its own job
 * fails. Its process group is killed, and the worker starts another child. When
 * that happens again and again, the worker pauses before each start, longer
 * each time. docs/exec.md describes the protocol.
 *
 * Owns:    the children, and a thread that reads their standard error.
 * Threads: as for every handler (hcs/handler.h).
 * Waits:   run, for the child; start and end of a child, for the spawner.
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

/* open borrows the context of hcs_exec_prepare until close. NULL is enough for
 * a mount that only checks its settings: then open_worker fails. */
extern const struct hcs_handler hcs_exec;

#endif
