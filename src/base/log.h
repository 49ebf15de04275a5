/*
 * log - one line for each event on standard error, without blocking a loop.
 *
 * The thread that logs formats the line, and writes it to a pipe by one
 * write(2) of at most PIPE_BUF bytes, so lines never mix. The pipe does not
 * block: when it is full, the line is dropped and counted. The thread of the
 * log copies the pipe to standard error, and may block there.
 *
 * Owns:    the pipe and the thread of the log.
 * Threads: any thread may log; main opens and closes the log.
 * Waits:   hcs_log_close waits until all lines are written, but at most as long
 *          as it is told. Nothing else waits.
 *
 * The log may be NULL everywhere. Then no line is written.
 */
#ifndef HCS_BASE_LOG_H
#define HCS_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hcs_log_level { HCS_LOG_ERROR, HCS_LOG_WARN, HCS_LOG_INFO, HCS_LOG_DEBUG };
enum hcs_log_format { HCS_LOG_TEXT, HCS_LOG_JSON, HCS_LOG_LOGFMT };

struct hcs_log; /* opaque */

/* A field of a line: a text, or a number if text is NULL. A name consists of
 * letters, digits, '_', '-' and '.'; any other byte of it is written as '_'. A
 * text may hold any bytes: bytes that are not UTF-8 are written as U+FFFD, and
 * control characters are escaped. */
struct hcs_log_field {
    const char *name;
    const char *text;
    uint64_t number;
    size_t length; /* of text. 0: the text ends at its NUL, so give an empty
                      part of a longer text as "" */
};

/* Lines go to fd, which stays the caller's. 0, or -errno when there is no pipe
 * or no thread. */
int hcs_log_open(struct hcs_log **out, int fd, enum hcs_log_level level,
    enum hcs_log_format format);

/* Writes the lines that are left, and ends the thread. No thread may log from
 * now on. If fd does not take all lines within wait_ms, the thread keeps its
 * memory and the pipe, and goes on until fd has taken the rest. Then fd has to
 * stay open until the process ends. */
void hcs_log_close(struct hcs_log *log, unsigned wait_ms);

/* The pipe's write end. A thread that makes its descriptor table private has to
 * keep it open. -1 without a log. */
int hcs_log_fd(const struct hcs_log *log);

bool hcs_log_wants(const struct hcs_log *log, enum hcs_log_level level);

/* Writes one line, if the level is wanted: the message, then the fields. A line
 * is at most PIPE_BUF bytes long. A text that does not fit ends with "...", and
 * the fields after it are left out, so give a long text last. errno stays as it
 * was. */
void hcs_log_write(struct hcs_log *log, enum hcs_log_level level,
    const char *message, const struct hcs_log_field *fields, size_t count);

/* Writes one line with a formatted message and no fields. */
__attribute__((format(printf, 3, 4))) void hcs_log_print(
    struct hcs_log *log, enum hcs_log_level level, const char *format, ...);

/* How many lines were dropped because the pipe was full. */
uint64_t hcs_log_dropped(const struct hcs_log *log);

#endif
