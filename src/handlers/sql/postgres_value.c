#include "handlers/sql/postgres_value.h"

#include <stdlib.h>
#include <string.h>

/* Types that JSON has too (pg_type.dat). Their numbers never change. */
enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_OID = 26,
    OID_JSON = 114,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_NUMERIC = 1700,
    OID_JSONB = 3802,
};

bool hcs_postgres_is_json(Oid type)
{
    return type == OID_JSON || type == OID_JSONB;
}

enum hcs_outcome hcs_postgres_values(
    struct hcs_job *job, const struct hcs_call *call, const char ***out)
{
    const struct hcs_statement *statement = call->statement;
    size_t count = statement->parameter_count;
    const char **values = hcs_job_alloc(job, (count + 1) * sizeof *values);

    if (values == NULL) {
        return HCS_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const struct hcs_value *value = &call->values[i];

        if (strlen(value->text) != value->length) {
            hcs_sql_detail(job,
                "the parameter \"%s\" holds a NUL, which a text of PostgreSQL "
                "cannot hold",
                statement->parameters[i].name);
            return HCS_INVALID;
        }
        values[i] = value->kind == HCS_VALUE_NULL ? NULL : value->text;
    }
    *out = values;
    return HCS_OK;
}

/* Writes column i of the row. */
static bool write_value(struct hcs_job *job, const PGresult *result, int i)
{
    const char *text = PQgetvalue(result, 0, i);
    size_t length = (size_t)PQgetlength(result, 0, i);

    if (PQgetisnull(result, 0, i)) {
        return hcs_reply_text(job, "null");
    }
    switch (PQftype(result, i)) {
    case OID_BOOL:
        return hcs_reply_text(job, text[0] == 't' ? "true" : "false");
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_OID:
    case OID_JSON:
    case OID_JSONB:
        return hcs_job_write(job, text, length);
    case OID_FLOAT4:
    case OID_FLOAT8:
    case OID_NUMERIC:
        /* JSON has no NaN and no Infinity. */
        if (strspn(text, "-+.0123456789e") == length) {
            return hcs_job_write(job, text, length);
        }
        return hcs_job_write_string(job, text, length);
    default:
        return hcs_job_write_string(job, text, length);
    }
}

bool hcs_postgres_write_row(
    struct hcs_job *job, const PGresult *result, size_t row)
{
    int count = PQnfields(result);

    if (!hcs_reply_begin_row(job, row)) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (!hcs_reply_column(job, (size_t)i, PQfname(result, i)) ||
            !write_value(job, result, i)) {
            return false;
        }
    }
    return hcs_reply_end_row(job);
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

int64_t hcs_postgres_changes(PGresult *result)
{
    const char *tag = PQcmdStatus(result);

    if (begins(tag, "INSERT") || begins(tag, "UPDATE") ||
        begins(tag, "DELETE") || begins(tag, "MERGE")) {
        return strtoll(PQcmdTuples(result), NULL, 10);
    }
    return 0;
}
