/*
 * call - the statement and parameters of a job, and the JSON of its reply.
 *
 *   {"statement": "user_by_id", "parameters": {"id": 42}}
 *   {"rows": [{"id": 42, "name": "x"}], "changes": 0}
 *
 * Owns:    nothing; a call is in the job's memory.
 * Threads: the thread that has the job.
 * Waits:   never.
 */
#ifndef HCS_HANDLERS_SQL_CALL_H
#define HCS_HANDLERS_SQL_CALL_H

#include "handlers/sql/statements.h"
#include "hcs/handler.h"

enum hcs_value_kind {
    HCS_VALUE_NULL,
    HCS_VALUE_FALSE,
    HCS_VALUE_TRUE,
    HCS_VALUE_NUMBER, /* text: as it was sent */
    HCS_VALUE_STRING, /* text: without quotes and escapes */
    HCS_VALUE_JSON,   /* text: JSON. An array or an object; for a raw parameter
                         any value but null */
};

struct hcs_value {
    enum hcs_value_kind kind;
    const char *text; /* ends with a NUL; may hold others */
    size_t length;
};

struct hcs_call {
    const struct hcs_statement *statement;
    struct hcs_value values[]; /* one for each parameter of the statement */
};

/* HCS_OK, and gives the call; else the outcome of the job, whose detail is
 * set. */
enum hcs_outcome hcs_call_read(struct hcs_job *job,
    const struct hcs_statements *set, struct hcs_call **out);

/* --- The reply. Called in this order; false when there is no memory. */

bool hcs_reply_begin(struct hcs_job *job);
bool hcs_reply_begin_row(struct hcs_job *job, size_t row);
bool hcs_reply_column(struct hcs_job *job, size_t column, const char *name);
bool hcs_reply_text(struct hcs_job *job, const char *text); /* raw JSON */
bool hcs_reply_integer(struct hcs_job *job, int64_t value);
/* The shortest digits that read back as the same value; infinities and NaN as
 * strings. */
bool hcs_reply_real(struct hcs_job *job, double value);
bool hcs_reply_base64(struct hcs_job *job, const void *bytes, size_t length);
bool hcs_reply_end_row(struct hcs_job *job);
bool hcs_reply_end(struct hcs_job *job, int64_t changes);

/* hcs_job_set_detail with a format. */
__attribute__((format(printf, 2, 3))) void hcs_sql_detail(
    struct hcs_job *job, const char *format, ...);

#endif
