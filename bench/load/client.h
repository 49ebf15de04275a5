/*
 * client - one process with its share of the connections, and what they send.
 *
 * A limit of descriptors holds for each process, so a load has as many
 * processes as its connections need. Parent and children share a board. The
 * parent says when the next stage begins, so that all children begin a burst
 * together.
 *
 * Owns:    its connections.
 * Threads: one, of a process of its own.
 * Waits:   for its connections and for its parent.
 */
#ifndef HCS_LOAD_CLIENT_H
#define HCS_LOAD_CLIENT_H

#include "options.h"
#include "tally.h"

#include <stdatomic.h>
#include <stdint.h>

/* Commands that the parent writes into a child's pipe, a byte each. When the
 * pipe ends, the child exits: no child outlives its parent. */
enum {
    COMMAND_GO = 'g',   /* begin the next stage; or end the requests on held
                           connections */
    COMMAND_STOP = 's', /* send nothing more, wait for replies, end */
};

struct share {
    _Atomic unsigned stage; /* how many are done; the first one is opening, for
                               all shapes but hold and churn */
    struct tally tally;
};

struct board {                 /* in shared memory */
    _Atomic uint64_t start_ns; /* of the stage that begins, CLOCK_MONOTONIC */
    struct share shares[];     /* one for each process */
};

/* The part of the load that one process has. */
struct part {
    unsigned index;
    unsigned first; /* of its connections, among all */
    unsigned count;
    int commands; /* the pipe to read from */
    int arrivals; /* an eventfd: tells the parent that the stage is done */
};

uint64_t load_clock_ns(void);

/* Does its part of the load until the parent stops it. Then the caller ends the
 * process, with the exit status that is returned. */
int client_run(
    const struct options *o, struct board *board, const struct part *part);

#endif
