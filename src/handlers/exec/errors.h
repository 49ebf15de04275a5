/*
 * exec_errors - what children write to standard error, into the log.
 *
 * One thread for all children of a mount. A line is cut at 1000 bytes. What is
 * written faster than some 3 MiB a second, a hundred bytes added to each line, waits
 * in its pipe, and the child with it, so a flood costs its child more than the
 * daemon; the log drops and counts what it has no room for.
 *
 * Owns:    the thread, and the descriptors it was given.
 * Threads: add and release from any; open and close by one.
 * Waits:   close, for the thread.
 */
#ifndef HCS_HANDLERS_EXEC_ERRORS_H
#define HCS_HANDLERS_EXEC_ERRORS_H

#include "hcs/handler.h"

#include <sys/types.h>

struct hcs_exec_errors; /* opaque */
struct hcs_exec_voice;  /* opaque: one child's */

/* 0, or -errno. The mount is borrowed until close. */
int hcs_exec_errors_open(struct hcs_exec_errors **out, struct hcs_mount *mount);

/* What was released is logged first. NULL is fine. */
void hcs_exec_errors_close(struct hcs_exec_errors *errors);

/* Takes fd, the reading end, which must not block; gives a voice that has to be
 * released. NULL, with errno set, when that fails: fd is still the caller's. */
struct hcs_exec_voice *hcs_exec_errors_add(
    struct hcs_exec_errors *errors, int fd, pid_t pid);

/* The child has ended: what it wrote is still logged, then the descriptor is
 * closed, whoever else may hold the other end. Takes the voice. */
void hcs_exec_errors_release(
    struct hcs_exec_errors *errors, struct hcs_exec_voice *voice);

#endif
