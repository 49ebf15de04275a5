/*
 * postgres_cancel - asks a PostgreSQL server to end the statement that runs.
 *
 * PQcancel asks on a connection of its own and waits until the server closes
 * it. A server that has stopped never does. So a thread calls PQcancel, and is
 * left behind when it does not return in time.
 *
 * Owns:    the thread, also when it was left behind.
 * Threads: the thread that has the connection.
 * Waits:   for the server, at most five seconds; half a second while the pool
 *          stops.
 */
#ifndef HCS_HANDLERS_SQL_POSTGRES_CANCEL_H
#define HCS_HANDLERS_SQL_POSTGRES_CANCEL_H

#include "handlers/sql/pool.h"

#include <libpq-fe.h>

/* The result of the statement is still to be read. Sets error when the server
 * could not be asked. */
void hcs_postgres_cancel(
    PGconn *pg, const atomic_bool *stopping, struct hcs_sql_error *error);

#endif
