/*
 * postgres_value - values of PostgreSQL: parameters from JSON, rows to JSON.
 *
 * Owns:    nothing; the parameters are in the job's memory.
 * Threads: the thread that has the job.
 * Waits:   never.
 */
#ifndef HCS_HANDLERS_SQL_POSTGRES_VALUE_H
#define HCS_HANDLERS_SQL_POSTGRES_VALUE_H

#include "handlers/sql/call.h"

#include <libpq-fe.h>

/* Whether a parameter of the type takes JSON: then it is marked as raw. */
bool hcs_postgres_is_json(Oid type);

/* Gives the values for PQsendQueryPrepared, as texts. HCS_OK; else the outcome
 * of the job. */
enum hcs_outcome hcs_postgres_values(
    struct hcs_job *job, const struct hcs_call *call, const char ***out);

/* Writes the one row of result as row number row. False when there is no
 * memory. */
bool hcs_postgres_write_row(
    struct hcs_job *job, const PGresult *result, size_t row);

/* How many rows a statement changed. Rows of SELECT do not count. */
int64_t hcs_postgres_changes(PGresult *result);

#endif
