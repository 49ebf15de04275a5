/*
 * loops - the event loops, each on a thread of its own.
 *
 * Owns:    the shards, their threads, and an eventfd to which each thread that
 *          ends adds 1.
 * Threads: main.
 * Waits:   start, until every loop is open; join, until every thread has ended.
 */
#ifndef HCS_APP_LOOPS_H
#define HCS_APP_LOOPS_H

#include "app/listeners.h"
#include "shard/run.h"
#include "shard/service.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct hcs_loops;

struct hcs_loop_thread {
    struct hcs_loops *loops;
    struct hcs_shard *shard;
    pthread_t id;
};

struct hcs_loops {
    struct hcs_listeners *listeners;
    struct hcs_shard **shards;
    struct hcs_loop_thread *threads;
    unsigned count;
    unsigned started;
    unsigned ended;
    int ended_fd; /* eventfd */

    /* Constant while threads run. */
    bool private_tables; /* asked for; see table_error */
    const int *kept;     /* descriptors that every thread uses */
    size_t kept_count;
    int highest_fd; /* of all that was open before the threads began */

    pthread_mutex_t lock; /* of all below, and of changed */
    pthread_cond_t changed;
    unsigned opened;
    unsigned failed;
    int error;       /* of the first loop that failed */
    int table_error; /* why a loop's descriptor table is shared, or 0 */
    unsigned shared; /* loops whose table could not be made private */
    bool go;         /* the loops may run */
};

/* False when there is no memory; fini is to be called all the same. */
bool hcs_loops_init(struct hcs_loops *loops, unsigned count);
void hcs_loops_fini(struct hcs_loops *loops);

/* Opens the eventfd. 0, or -errno. */
int hcs_loops_open(struct hcs_loops *loops);

/* Makes the shards; service and listeners are borrowed until destroy. 0, or an
 * exit status with what went wrong said. */
int hcs_loops_make(struct hcs_loops *loops, struct hcs_service *service,
    struct hcs_listeners *listeners);
void hcs_loops_destroy(struct hcs_loops *loops);

/* Starts the threads, each with a descriptor table of its own if private_tables.
 * kept: open descriptors that every thread uses; borrowed until join. highest: no
 * open descriptor but those of listeners and loops is above it. 0, or -errno: the
 * threads that were started end. */
int hcs_loops_start(struct hcs_loops *loops, bool private_tables,
    const int *kept, size_t kept_count, int highest);

/* After start: whether the descriptor tables are private. */
bool hcs_loops_are_private(const struct hcs_loops *loops);

/* After start, one of the two: the loops serve, or end without serving. */
void hcs_loops_run(struct hcs_loops *loops);
void hcs_loops_call_off(struct hcs_loops *loops);

void hcs_loops_command(struct hcs_loops *loops, enum hcs_command command);

/* Counts what ended_fd tells. True when every thread has ended. */
bool hcs_loops_have_ended(struct hcs_loops *loops);

void hcs_loops_join(struct hcs_loops *loops);

#endif
