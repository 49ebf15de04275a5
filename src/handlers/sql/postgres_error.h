/*
 * postgres_error - what the errors of libpq and of a PostgreSQL server mean.
 *
 * Owns:    nothing.
 * Threads: the thread that has the connection.
 * Waits:   never.
 */
#ifndef HCS_HANDLERS_SQL_POSTGRES_ERROR_H
#define HCS_HANDLERS_SQL_POSTGRES_ERROR_H

#include "handlers/sql/pool.h"

#include <libpq-fe.h>

/* Copies the first line of text. */
void hcs_postgres_copy_line(char *out, size_t size, const char *text);

/* Sets error; lasting stays as it is. False, so that a caller can return it. */
__attribute__((format(printf, 3, 4))) bool hcs_postgres_set_error(
    struct hcs_sql_error *error, const char *reason, const char *format, ...);

/* Sets error to why a connection could not be made. The verbosity has to be
 * PQERRORS_VERBOSE until the server was reached. False. */
bool hcs_postgres_connect_error(const PGconn *pg, struct hcs_sql_error *error);

/* Sets error to why a connection was lost. False. */
bool hcs_postgres_loss_error(const PGconn *pg, struct hcs_sql_error *error);

/* Whether a server that reports this SQLSTATE may later report another: it is
 * starting, stopping or out of resources. */
bool hcs_postgres_is_passing(const char *state);

/* Whether the server closes the connection after this result. */
bool hcs_postgres_is_fatal(const PGresult *result);

/* Whether a prepared statement has to be prepared again: tables were altered,
 * or a proxy has lost it. It was not executed. */
bool hcs_postgres_is_stale(const char *state, const char *message);

/* The outcome of a job whose statement failed with this SQLSTATE. */
enum hcs_outcome hcs_postgres_outcome(const char *state);

#endif
