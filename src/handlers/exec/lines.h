/*
 * lines - the two lines of JSON that a job and its child exchange.
 *
 * docs/exec.md describes them.
 *
 * Owns:    nothing; what it makes is in the job's memory.
 * Threads: the thread that has the job.
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

/* Makes the line to the child. No other job of the child may have the same
 * number. False when there is no memory. */
bool hcs_exec_request_make(
    struct hcs_exec_request *request, struct hcs_job *job, uint64_t number);

/* Writes the reply from the line that the child answered. When the line breaks
 * the protocol, nothing is written, the outcome is HCS_DIED, and *wrong says
 * what is wrong, as in "the program ..."; otherwise *wrong is NULL. */
enum hcs_outcome hcs_exec_answer_pass(struct hcs_job *job, const char *line,
    size_t length, const char *id, const char **wrong);

#endif
