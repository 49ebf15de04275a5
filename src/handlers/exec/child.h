/*
 * child - one running program of exec, which gets a line and answers with one.
 *
 * Owns:    the child process, and our ends of its pipes.
 * Threads: one at a time uses a child.
 * Waits:   start and end, for the spawner; exchange, for the child, until the
 *          deadline of the job.
 */
#ifndef HCS_HANDLERS_EXEC_CHILD_H
#define HCS_HANDLERS_EXEC_CHILD_H

#include "handlers/exec/program.h"
#include "handlers/exec/spawner.h"
#include "handlers/exec/stderr_reader.h"
#include "hcs/handler.h"

#include <sys/uio.h>

struct hcs_exec_child {
    struct hcs_spawned program; /* pid 0: no child, and the rest is not set */
    int in;                     /* its standard input; -1 once closed */
    int out;                    /* its standard output */
    size_t written;             /* bytes of the last line that it was sent */
    struct hcs_stderr_stream *stderr_stream;
};

/* 0, or -errno and the step that failed, for hcs_exec_program_explain. */
int hcs_exec_child_start(struct hcs_exec_child *child,
    struct hcs_spawner *spawner, const struct hcs_exec_program *program,
    struct hcs_stderr_reader *stderr_reader, enum hcs_spawn_step *step);

/* Closes the child's standard input, which asks the child to end, and waits at
 * most wait_ms for the end. False when its standard output is still open. */
bool hcs_exec_child_close_stdin(struct hcs_exec_child *child, unsigned wait_ms);

/* Kills the child, unless it ends by itself within grace_ms. The spawner serves
 * no other worker during that time. Writes to cause how the child ended, as in
 * "was killed by signal 9". True when the child had read nothing of the last
 * line: then another child may be given the same job. */
bool hcs_exec_child_end(struct hcs_exec_child *child,
    struct hcs_spawner *spawner, struct hcs_stderr_reader *stderr_reader,
    unsigned grace_ms, char *cause, size_t size);

/* The state of a child that has no job. */
enum hcs_exec_state {
    HCS_EXEC_IDLE,              /* it waits for a line, as far as can be seen */
    HCS_EXEC_ENDED,             /* its standard output is closed */
    HCS_EXEC_UNEXPECTED_OUTPUT, /* it has written something without a job */
};
enum hcs_exec_state hcs_exec_child_state(const struct hcs_exec_child *child);

/* The result of an exchange. After all but ANSWERED and NO_MEMORY the child has
 * to be ended. */
enum hcs_exec_result {
    HCS_EXEC_ANSWERED,
    HCS_EXEC_OUTPUT_ENDED,   /* the child closed its standard output */
    HCS_EXEC_ANSWERED_EARLY, /* it answered before it had read the whole line */
    HCS_EXEC_LINE_TOO_LONG,
    HCS_EXEC_SECOND_LINE, /* there were bytes behind the newline */
    HCS_EXEC_TIMED_OUT,   /* the deadline passed */
    HCS_EXEC_CLIENT_LEFT, /* the child did not answer soon after that */
    HCS_EXEC_NO_MEMORY,   /* the answer was read to its end and dropped */
};

/* A worker's buffer. The job's memory takes lines that are longer. */
struct hcs_exec_buffer {
    size_t size;
    char bytes[64 * 1024];
};

/* Sends the parts, which make up one line. Their iovecs are changed. Lends the
 * line that the child answers, without its newline, until the next exchange or
 * the end of the job. */
enum hcs_exec_result hcs_exec_child_exchange(struct hcs_exec_child *child,
    struct hcs_job *job, struct iovec *parts, int part_count,
    uint64_t output_bytes, struct hcs_exec_buffer *buffer, const char **line,
    size_t *length);

/* By CLOCK_MONOTONIC, like the deadlines of jobs. */
uint64_t hcs_exec_now_ns(void);

#endif
