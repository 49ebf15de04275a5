/*
 * exec_lines - the two lines of a job, as docs/exec.md describes them.
 *
 * Owns:    nothing; what it makes is the job's memory.
 * Threads: the job's.
 * Waits:   never.
 */
#ifndef HCS_HANDLERS_EXEC_LINES_H
#define HCS_HANDLERS_EXEC_LINES_H

#include "hcs/handler.h"

#include <sys/uio.h>

enum { HCS_EXEC_PARTS = 3 };

struct hcs_exec_request {
    struct iovec parts[HCS_EXEC_PARTS]; /* one line, with its newline */
    char id[32];
};

/* number: what makes the id one that no other job of the child has. False when
 * there is no memory. */
bool hcs_exec_request_make(
    struct hcs_exec_request *request, struct hcs_job *job, uint64_t number);

/* Writes what the line answers. HCS_DIED, and nothing is written: *wrong says
 * what is wrong with it, as in "the program ..."; NULL otherwise. */
enum hcs_outcome hcs_exec_answer_pass(struct hcs_job *job, const char *line,
    size_t length, const char *id, const char **wrong);

#endif
