/*
 * exec_child - one running program, and a line to it and one back.
 *
 * Owns:    the child's process and our ends of its pipes.
 * Threads: one at a time has a child.
 * Waits:   start and end, for the spawner; exchange, for the child, until the
 *          job's deadline.
 */
#ifndef HCS_HANDLERS_EXEC_CHILD_H
#define HCS_HANDLERS_EXEC_CHILD_H

#include "handlers/exec/errors.h"
#include "handlers/exec/program.h"
#include "handlers/exec/spawner.h"
#include "hcs/handler.h"

#include <sys/uio.h>

struct hcs_exec_child {
    struct hcs_spawned program; /* pid 0: none, and nothing else counts */
    int in;                     /* its standard input; -1 once closed */
    int out;                    /* and output */
    size_t written;             /* to it, of the last line */
    struct hcs_exec_voice *voice;
};

/* 0, or -errno and the step, for hcs_exec_program_explain. */
int hcs_exec_child_start(struct hcs_exec_child *child,
    struct hcs_spawner *spawner, const struct hcs_exec_program *program,
    struct hcs_exec_errors *errors, enum hcs_spawn_step *step);

/* Closes its standard input, after which it may end by itself within wait_ms.
 * False when it did not: its output is still open. */
bool hcs_exec_child_part(struct hcs_exec_child *child, unsigned wait_ms);

/* Ends it, after grace_ms in which it may end by itself; says in how what became
 * of it: "was killed by signal 9". The spawner does nothing else meanwhile. True
 * when it has read nothing of the last line, so that it did nothing about it. */
bool hcs_exec_child_end(struct hcs_exec_child *child,
    struct hcs_spawner *spawner, struct hcs_exec_errors *errors,
    unsigned grace_ms, char *how, size_t size);

/* Whether it waits for a line, as far as can be seen. */
enum hcs_exec_mood {
    HCS_EXEC_WAITS,
    HCS_EXEC_ENDED, /* its output is at its end */
    HCS_EXEC_TALKS, /* out of turn */
};
enum hcs_exec_mood hcs_exec_child_mood(const struct hcs_exec_child *child);

/* What was said, for ever or until the child is given up. */
enum hcs_exec_result {
    HCS_EXEC_ANSWERED,
    HCS_EXEC_GONE,      /* its output is at its end */
    HCS_EXEC_EARLY,     /* it answered before it had read the whole line */
    HCS_EXEC_LONG,      /* more than so many bytes without a newline */
    HCS_EXEC_MORE,      /* something behind the newline */
    HCS_EXEC_LATE,      /* past the deadline */
    HCS_EXEC_LEFT,      /* the client left, and the child was given time */
    HCS_EXEC_NO_MEMORY, /* for its line, which was read to its end */
};

/* A worker's buffer; longer lines go to the job's memory. */
struct hcs_exec_buffer {
    size_t size;
    char bytes[64 * 1024];
};

/* Sends the parts, which make up one line (and are used up), and gives the line
 * that comes back, without its newline: lent until the next exchange or the
 * job's end. */
enum hcs_exec_result hcs_exec_child_exchange(struct hcs_exec_child *child,
    struct hcs_job *job, struct iovec *parts, int part_count,
    uint64_t output_bytes, struct hcs_exec_buffer *buffer, const char **line,
    size_t *length);

/* CLOCK_MONOTONIC, as deadlines are. */
uint64_t hcs_exec_now_ns(void);

#endif
