/*
 * log - one line an event on standard error, without ever blocking a loop.
 *
 * A line is formatted by the thread that has something to say and written, in
 * one write of at most PIPE_BUF bytes, to a pipe that does not block; a thread
 * of the log's own copies the pipe to standard error and may block there. A
 * full pipe drops the line and counts it. So the kernel keeps the ring, and
 * lines never mix.
 *
 * Owns:    the pipe and its thread.
 * Threads: any may log; open and close by main.
 * Waits:   hcs_log_close waits, so long and no longer, until what was logged
 *          is written. Nothing else does.
 *
 * No log (NULL) is allowed everywhere: it wants no line.
 */
#ifndef HCS_BASE_LOG_H
#define HCS_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hcs_log_level { HCS_LOG_ERROR, HCS_LOG_WARN, HCS_LOG_INFO, HCS_LOG_DEBUG };
enum hcs_log_format { HCS_LOG_TEXT, HCS_LOG_JSON, HCS_LOG_LOGFMT };

struct hcs_log; /* opaque */

/* A field of a line: a text, or a number when text is NULL. A name is letters,
 * digits, '_', '-' and '.', and any other byte of it is written as '_'. A text
 * may hold any bytes: what is not UTF-8 is written as U+FFFD, and control
 * characters are escaped. */
struct hcs_log_field {
    const char *name;
    const char *text;
    uint64_t number;
    size_t length; /* of text; 0: up to its NUL, so that an empty slice of
                      something longer has to be given as "" */
};

/* 0, or -errno when there is no pipe or no thread. fd: where lines go; it
 * stays the caller's. Descriptors: the pipe stays open in every table. */
int hcs_log_open(struct hcs_log **out, int fd, enum hcs_log_level level,
    enum hcs_log_format format);

/* Writes what is left and ends the thread. Nobody may log any more. If fd
 * does not take it all within wait_ms, the thread is left behind with its
 * memory and the pipe, and ends when fd has taken the rest; so fd has to stay
 * open then, until the process ends. */
void hcs_log_close(struct hcs_log *log, unsigned wait_ms);

/* The descriptor that must survive when a thread closes what is not its own:
 * the pipe's writing end. -1 without a log. */
int hcs_log_fd(const struct hcs_log *log);

bool hcs_log_wants(const struct hcs_log *log, enum hcs_log_level level);

/* One line: message, then the fields as given, if the level is wanted. A line
 * longer than PIPE_BUF is cut: the text that reaches the end gets "..." for its
 * rest, and the fields after it are left out; so a long one is best the last.
 * Leaves errno as it was. */
void hcs_log_write(struct hcs_log *log, enum hcs_log_level level,
    const char *message, const struct hcs_log_field *fields, size_t count);

/* One line with a formatted message and no fields. */
__attribute__((format(printf, 3, 4))) void hcs_log_print(
    struct hcs_log *log, enum hcs_log_level level, const char *format, ...);

/* Lines dropped because the pipe was full. */
uint64_t hcs_log_dropped(const struct hcs_log *log);

#endif
