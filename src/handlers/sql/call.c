#include "handlers/sql/call.h"

#include "hcs/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DETAIL_BYTES = 200,

    /* Each byte of a name may be written as \u00XX. A longer text is no
     * name. */
    RAW_NAME_MAX = 6 * HCS_SQL_NAME_MAX,
};

void hcs_sql_detail(struct hcs_job *job, const char *format, ...)
{
    char detail[DETAIL_BYTES + 1];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    hcs_job_set_detail(job, detail);
}

/* --- The call. */

/* How many bytes of a client's text a message repeats. */
static int shown(size_t length)
{
    return length < HCS_SQL_NAME_MAX ? (int)length : HCS_SQL_NAME_MAX;
}

static enum hcs_outcome find_statement(struct hcs_job *job,
    const struct hcs_statements *set, const struct hcs_statement **statement)
{
    char name[RAW_NAME_MAX + 2];
    const char *value;
    size_t length;

    if (!hcs_job_member(job, "statement", &value, &length) || value[0] != '"') {
        hcs_job_set_detail(job,
            "expected {\"statement\": NAME, \"parameters\": {...}} by POST");
        return HCS_INVALID;
    }
    *statement = NULL;
    if (length <= sizeof name) {
        *statement = hcs_statements_find(
            set, name, hcs_json_unescape(value, length, name));
    }
    if (*statement == NULL) {
        hcs_sql_detail(job, "there is no statement %.*s", shown(length), value);
        return HCS_INVALID;
    }
    return HCS_OK;
}

/* Gives the parameter's index; parameter_count when the statement has no
 * parameter of that name. */
static size_t find_parameter(
    const struct hcs_statement *statement, const struct hcs_json_pair *pair)
{
    char name[RAW_NAME_MAX];
    size_t count = statement->parameter_count;
    size_t length;

    if (pair->name_length > sizeof name) {
        return count;
    }
    length = hcs_json_unescape(pair->name, pair->name_length, name);
    for (size_t i = 0; i < count; i++) {
        const char *known = statement->parameters[i].name;

        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            return i;
        }
    }
    return count;
}

static enum hcs_value_kind kind_of(char first, bool raw)
{
    if (first == 'n') {
        return HCS_VALUE_NULL;
    }
    if (raw || first == '{' || first == '[') {
        return HCS_VALUE_JSON;
    }
    switch (first) {
    case '"':
        return HCS_VALUE_STRING;
    case 't':
        return HCS_VALUE_TRUE;
    case 'f':
        return HCS_VALUE_FALSE;
    default:
        return HCS_VALUE_NUMBER;
    }
}

/* Copies the value to memory. Gives the first byte behind it. */
static char *keep_value(struct hcs_value *value, bool raw,
    const struct hcs_json_pair *pair, char *memory)
{
    value->kind = kind_of(pair->value[0], raw);
    value->text = memory;
    if (value->kind == HCS_VALUE_STRING) {
        value->length =
            hcs_json_unescape(pair->value, pair->value_length, memory);
    } else {
        memcpy(memory, pair->value, pair->value_length);
        value->length = pair->value_length;
    }
    memory[value->length] = '\0';
    return memory + value->length + 1;
}

/* Before this call no value has a text. */
static enum hcs_outcome read_parameters(struct hcs_job *job,
    struct hcs_call *call, const char *object, size_t length, char *memory)
{
    const struct hcs_statement *statement = call->statement;
    struct hcs_json_pair pair = {0};

    while (hcs_json_next(object, length, &pair)) {
        size_t i = find_parameter(statement, &pair);

        if (i == statement->parameter_count) {
            hcs_sql_detail(job, "the statement %s has no parameter \"%.*s\"",
                statement->name, shown(pair.name_length), pair.name);
            return HCS_INVALID;
        }
        /* Of members with the same name the first counts, as in
         * hcs_job_member. */
        if (call->values[i].text == NULL) {
            memory = keep_value(
                &call->values[i], statement->parameters[i].raw, &pair, memory);
        }
    }
    for (size_t i = 0; i < statement->parameter_count; i++) {
        if (call->values[i].text == NULL) {
            hcs_sql_detail(job, "the statement %s needs the parameter \"%s\"",
                statement->name, statement->parameters[i].name);
            return HCS_INVALID;
        }
    }
    return HCS_OK;
}

enum hcs_outcome hcs_call_read(struct hcs_job *job,
    const struct hcs_statements *set, struct hcs_call **out)
{
    const struct hcs_statement *statement = NULL;
    const char *object = "{}";
    size_t length = strlen(object);
    size_t values;
    struct hcs_call *call;
    enum hcs_outcome outcome = find_statement(job, set, &statement);

    if (outcome != HCS_OK) {
        return outcome;
    }
    if (hcs_job_member(job, "parameters", &object, &length) &&
        object[0] != '{') {
        hcs_job_set_detail(job, "\"parameters\" must be an object");
        return HCS_INVALID;
    }
    /* The values fit in as many bytes as their JSON: each has room for its NUL,
     * since its name had two quotes. */
    values = sizeof *call + statement->parameter_count * sizeof call->values[0];
    call = hcs_job_alloc(job, values + length);
    if (call == NULL) {
        return HCS_NO_MEMORY;
    }
    memset(call, 0, values);
    call->statement = statement;
    *out = call;
    return read_parameters(job, call, object, length, (char *)call + values);
}

/* --- The reply. */

bool hcs_reply_text(struct hcs_job *job, const char *text)
{
    return hcs_job_write(job, text, strlen(text));
}

bool hcs_reply_begin(struct hcs_job *job)
{
    return hcs_reply_text(job, "{\"rows\":[");
}

bool hcs_reply_begin_row(struct hcs_job *job, size_t row)
{
    return hcs_reply_text(job, row == 0 ? "{" : ",{");
}

bool hcs_reply_column(struct hcs_job *job, size_t column, const char *name)
{
    return (column == 0 || hcs_job_write(job, ",", 1)) &&
           hcs_job_write_string(job, name, strlen(name)) &&
           hcs_job_write(job, ":", 1);
}

bool hcs_reply_integer(struct hcs_job *job, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%" PRId64, value);
    return hcs_reply_text(job, text);
}

bool hcs_reply_real(struct hcs_job *job, double value)
{
    char text[40];

    if (isnan(value)) {
        return hcs_reply_text(job, "\"NaN\"");
    }
    if (isinf(value)) {
        return hcs_reply_text(
            job, value < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    /* A real of a whole value is told from an integer. */
    if (strpbrk(text, ".e") == NULL) {
        memcpy(text + strlen(text), ".0", sizeof ".0");
    }
    return hcs_reply_text(job, text);
}

bool hcs_reply_base64(struct hcs_job *job, const void *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    char out[1024];
    size_t used = 0;

    if (!hcs_job_write(job, "\"", 1)) {
        return false;
    }
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t three = (uint32_t)in[i] << 16 |
                         (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                         (left > 2 ? (uint32_t)in[i + 2] : 0);

        out[used++] = digits[three >> 18];
        out[used++] = digits[three >> 12 & 63];
        out[used++] = left > 1 ? digits[three >> 6 & 63] : '=';
        out[used++] = left > 2 ? digits[three & 63] : '=';
        if (used == sizeof out) {
            if (!hcs_job_write(job, out, used)) {
                return false;
            }
            used = 0;
        }
    }
    return hcs_job_write(job, out, used) && hcs_job_write(job, "\"", 1);
}

bool hcs_reply_end_row(struct hcs_job *job)
{
    return hcs_job_write(job, "}", 1);
}

bool hcs_reply_end(struct hcs_job *job, int64_t changes)
{
    return hcs_reply_text(job, "],\"changes\":") &&
           hcs_reply_integer(job, changes) && hcs_job_write(job, "}", 1);
}
