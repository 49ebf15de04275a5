/*
 * pool - jobs that wait for one of a few connections to a database.
 *
 * Each connection has a thread. A job is deferred and waits in a queue, so it
 * holds no worker, and its wait ends at its deadline. A connection that is lost
 * is made again, with a pause before each attempt that doubles. While there is
 * no connection, jobs are refused at once, with the reason. No statement is run
 * twice.
 *
 * Owns:    its threads and their connections; not the database's settings.
 * Threads: submit from any; open and close from the mount's.
 * Waits:   open, for the first connection; close, until running statements are
 *          stopped; submit never.
 */
#ifndef HCS_HANDLERS_SQL_POOL_H
#define HCS_HANDLERS_SQL_POOL_H

#include "handlers/sql/call.h"

#include <stdatomic.h>

/* Why there is no connection. */
struct hcs_sql_error {
    bool lasting;     /* waiting does not help: a wrong password, a statement
                         that does not fit the tables */
    char text[640];   /* for the log; empty: no error */
    char reason[120]; /* for clients: without hosts, files and names */
};

/* A kind of database. Except for connect, only the thread of a connection calls
 * these. A call that fails returns false and sets error. */
struct hcs_driver {
    const char *thread_name; /* a number is appended; at most 11 bytes */

    /* A connection that was idle for so long is checked. */
    uint64_t check_ns;

    /* Gives a connection with all statements prepared. Gives up when stopping
     * becomes true. */
    bool (*connect)(void *database, const atomic_bool *stopping,
        void **connection, struct hcs_sql_error *error);

    /* Whether the connection can be used. Called before each job; may not
     * wait. */
    bool (*is_alive)(void *connection, struct hcs_sql_error *error);

    /* The same; may ask the server. */
    bool (*check)(void *connection, const atomic_bool *stopping,
        struct hcs_sql_error *error);

    /* Runs the job's statement and writes the reply; the pool completes the
     * job. Gives up when the client does not wait any more, and when stopping
     * becomes true. Sets error when the connection cannot be used any more. */
    enum hcs_outcome (*run)(void *connection, const atomic_bool *stopping,
        struct hcs_job *job, const struct hcs_call *call,
        struct hcs_sql_error *error);

    void (*disconnect)(void *connection);
};

enum { HCS_SQL_POOL_SIZE_MAX = 256, HCS_SQL_POOL_SIZE_DEFAULT = 4 };

/* The settings that all kinds of database have. */
struct hcs_sql_pool_settings {
    const char *connection_string; /* what follows the KIND and its colon */
    struct hcs_statements *statements;
    unsigned size;
};

/* Reads the settings and the file of statements. 0, and the statements are the
 * caller's; or -1 after hcs_mount_fail. example: KIND:CONNECTION_STRING, for
 * the message when it is missing. */
int hcs_sql_pool_read_settings(struct hcs_sql_pool_settings *out,
    struct hcs_mount *mount, enum hcs_dialect dialect, const char *example);

struct hcs_sql_pool; /* opaque */

/* Called from a handler's open. Makes the first connection, waits for a
 * database that cannot be reached yet, and starts the threads. 0, or -1 after
 * hcs_mount_fail. Borrows database and the statements until close. */
int hcs_sql_pool_open(struct hcs_sql_pool **out, struct hcs_mount *mount,
    const struct hcs_driver *driver, void *database,
    const struct hcs_sql_pool_settings *settings);

/* Called from a handler's run, which returns the outcome. */
enum hcs_outcome hcs_sql_pool_submit(
    struct hcs_sql_pool *pool, struct hcs_job *job);

void hcs_sql_pool_close(struct hcs_sql_pool *pool);

uint64_t hcs_sql_now_ns(void); /* CLOCK_MONOTONIC */

#endif
