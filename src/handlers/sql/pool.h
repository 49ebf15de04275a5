/*
 * pool - jobs that wait for one of a few connections to a database.
 *
 * Each connection has a thread. A job is deferred and waits in line, so it
 * holds no worker, and its wait ends at its deadline. A connection that is
 * lost is made again, with pauses that grow; while there is none, jobs are
 * refused at once, with the reason. No statement is run twice.
 *
 * Owns:    its threads and their connections, not the database's settings.
 * Threads: submit from any; open and close from the mount's.
 * Waits:   open until the first connection is there; close until statements
 *          that run are stopped. submit never.
 */
#ifndef HCS_HANDLERS_SQL_POOL_H
#define HCS_HANDLERS_SQL_POOL_H

#include "handlers/sql/call.h"

#include <stdatomic.h>

/* Why there is no connection. */
struct hcs_trouble {
    bool lasting;     /* waiting does not help: a wrong password, a statement
                         that does not fit the tables */
    char text[640];   /* for the log; empty: there is none */
    char reason[120]; /* for clients: without hosts, files and names */
};

/* A kind of database. Each call but connect is made by one thread at a time. */
struct hcs_driver {
    const char *name; /* of its threads */

    /* How long a connection may be idle before it is checked. */
    uint64_t check_ns;

    /* Gives a connection with all statements prepared; false, and trouble.
     * Gives up when stopping turns true. */
    bool (*connect)(void *database, const atomic_bool *stopping,
        void **connection, struct hcs_trouble *trouble);

    /* Whether the connection can be used; else trouble. Before each job, and
     * without waiting; check may ask the server. */
    bool (*is_alive)(void *connection, struct hcs_trouble *trouble);
    bool (*check)(void *connection, const atomic_bool *stopping,
        struct hcs_trouble *trouble);

    /* Does the job, up to completing it. Gives up when nobody waits for it and
     * when stopping turns true. Trouble: the connection is of no more use. */
    enum hcs_outcome (*run)(void *connection, const atomic_bool *stopping,
        struct hcs_job *job, const struct hcs_call *call,
        struct hcs_trouble *trouble);

    void (*disconnect)(void *connection);
};

enum { HCS_SQL_POOL_SIZE_MAX = 256, HCS_SQL_POOL_SIZE_DEFAULT = 4 };

/* What both kinds of database are told. */
struct hcs_sql_pool_settings {
    const char *place; /* what stands behind KIND and a colon */
    struct hcs_statements *statements;
    unsigned size;
};

/* Reads them, and the file of statements. 0 and the caller's statements, or -1
 * after hcs_mount_fail. example: of the place, for messages. */
int hcs_sql_pool_read_settings(struct hcs_sql_pool_settings *out,
    struct hcs_mount *mount, enum hcs_dialect dialect, const char *example);

struct hcs_sql_pool; /* opaque */

/* From a handler's open: makes the first connection, waiting for a database
 * that is not there yet, and starts the threads. 0, or -1 after hcs_mount_fail.
 * Borrows database and the statements until closed. */
int hcs_sql_pool_open(struct hcs_sql_pool **out, struct hcs_mount *mount,
    const struct hcs_driver *driver, void *database,
    const struct hcs_sql_pool_settings *settings);

/* A handler's run: what to return. */
enum hcs_outcome hcs_sql_pool_submit(
    struct hcs_sql_pool *pool, struct hcs_job *job);

void hcs_sql_pool_close(struct hcs_sql_pool *pool);

uint64_t hcs_sql_now_ns(void); /* CLOCK_MONOTONIC */

#endif
