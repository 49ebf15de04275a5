/*
 * stderr_reader - copies what programs write to standard error into the log.
 *
 * One thread reads for all children of a mount. A line longer than 1000 bytes
 * is cut. The thread reads at most about 3 MiB a second, and counts a hundred
 * bytes for each line beside its text. A child that writes faster waits for its
 * pipe, so a flood slows down the child and not the daemon. The log drops and
 * counts the lines for which it has no room.
 *
 * Owns:    the thread, and the descriptors that were added.
 * Threads: add and release from any; open and close by one.
 * Waits:   close, for the thread.
 */
#ifndef HCS_HANDLERS_STDERR_READER_H
#define HCS_HANDLERS_STDERR_READER_H

#include "hcs/handler.h"

#include <sys/types.h>

struct hcs_stderr_reader; /* opaque */
struct hcs_stderr_stream; /* opaque: standard error of one child */

/* 0, or -errno. Borrows the mount until close. */
int hcs_stderr_reader_open(
    struct hcs_stderr_reader **out, struct hcs_mount *mount);

/* Every stream was released before. The thread logs what is left of them and
 * ends. NULL is fine. */
void hcs_stderr_reader_close(struct hcs_stderr_reader *reader);

/* Takes fd, the reading end of a pipe, which must not block. Gives a stream, to
 * be released. NULL with errno set on failure: fd is still the caller's. */
struct hcs_stderr_stream *hcs_stderr_reader_add(
    struct hcs_stderr_reader *reader, int fd, pid_t pid);

/* Called when the child has ended. Takes the stream. The thread logs what the
 * child had written, then closes the descriptor, even if another process still
 * holds the writing end. */
void hcs_stderr_reader_release(
    struct hcs_stderr_reader *reader, struct hcs_stderr_stream *stream);

#endif
