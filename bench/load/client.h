/*
 * client - one process's share of the connections, and what they send.
 *
 * A descriptor limit holds for a table, so a load has as many processes as its
 * connections want. Parent and children share a board; the parent says when the
 * next stage begins, so that a burst is one burst.
 *
 * Owns:    its connections.
 * Threads: one, of a process of its own.
 * Waits:   for its connections and for its parent, all the time.
 */
#ifndef HCS_LOAD_CLIENT_H
#define HCS_LOAD_CLIENT_H

#include "options.h"
#include "tally.h"

#include <stdatomic.h>
#include <stdint.h>

/* What the parent writes into a child's pipe, a byte each. At its end a child
 * exits: none outlives its parent. */
enum {
    COMMAND_GO = 'g',   /* begin the next stage, or end asking on those that
                           are held */
    COMMAND_STOP = 's', /* send nothing more, take what is under way, end */
};

struct share {
    _Atomic unsigned stage; /* so many are done; the first is opening, for all
                               shapes but hold and churn */
    struct tally tally;
};

struct board {                 /* in shared memory */
    _Atomic uint64_t start_ns; /* of the stage that begins, CLOCK_MONOTONIC */
    struct share shares[];     /* one for each process */
};

/* Which part of the whole a process has. */
struct part {
    unsigned index;
    unsigned first; /* of its connections, among all */
    unsigned count;
    int commands; /* the pipe to read from */
    int arrivals; /* the eventfd that tells the parent of a stage's end */
};

uint64_t load_clock_ns(void);

/* Serves its parent until it stops; then its process is to end. Gives the
 * exit status. */
int client_run(
    const struct options *o, struct board *board, const struct part *part);

#endif
