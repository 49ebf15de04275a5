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

/* When open is called, *self is the struct hcs_spawner that starts its programs
 * (handlers/exec/spawner.h), borrowed until close. NULL will do to check settings:
 * then only open_worker fails. */
extern const struct hcs_handler hcs_exec;

#endif
