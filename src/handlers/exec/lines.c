#include "handlers/exec/lines.h"

#include "handlers/exec/child.h"
#include "hcs/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    HEAD_BYTES = 512, /* of the line before the body, without the texts */
    STATUS_DEFAULT = 200,
    STATUS_NO_CONTENT = 204,
    STATUS_INVALID = 422,
    STATUS_FAILED = 500,
    STATUS_UNAVAILABLE = 503,
};

static const uint64_t MS_NS = 1000000;

/* --- The line to the child. */

/* Writes text as the inside of a JSON string, at most six bytes for each byte.
 * (A path or query holds neither control bytes nor anything but ASCII.) */
static char *put_escaped(char *to, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\') {
            *to++ = '\\';
            *to++ = text[i];
        } else if ((unsigned char)text[i] < ' ' ||
                   (unsigned char)text[i] > '~') {
            to += snprintf(to, 7, "\\u%04x", (unsigned char)text[i]);
        } else {
            *to++ = text[i];
        }
    }
    return to;
}

static char *put_text(char *to, const char *text)
{
    size_t length = strlen(text);

    memcpy(to, text, length);
    return to + length;
}

/* ,"NAME":"TEXT" or ,"NAME":null */
static char *put_member(
    char *to, const char *name, const char *text, size_t length)
{
    to = put_text(to, ",\"");
    to = put_text(to, name);
    to = put_text(to, "\":");
    if (text == NULL) {
        return put_text(to, "null");
    }
    *to++ = '"';
    to = put_escaped(to, text, length);
    *to++ = '"';
    return to;
}

static char *put_deadline(char *to, const struct hcs_job *job)
{
    uint64_t deadline_ns = hcs_job_deadline_ns(job);
    uint64_t now_ns = hcs_exec_now_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

    to = put_text(to, ",\"deadline_ms\":");
    if (deadline_ns == UINT64_MAX) {
        return put_text(to, "null");
    }
    return to + snprintf(to, 24, "%" PRIu64, left_ns / MS_NS);
}

/* Gives the body on one line. In JSON a line feed can only be white space, so a
 * blank means the same. Carriage returns become blanks too, since some programs
 * end a line at them. NULL when there is no memory. */
static const char *put_on_one_line(
    struct hcs_job *job, const char *body, size_t length)
{
    char *flat;

    if (memchr(body, '\n', length) == NULL &&
        memchr(body, '\r', length) == NULL) {
        return body;
    }
    flat = hcs_job_alloc(job, length);
    if (flat == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < length; i++) {
        flat[i] = body[i] == '\n' || body[i] == '\r' ? ' ' : body[i];
    }
    return flat;
}

bool hcs_exec_request_make(
    struct hcs_exec_request *request, struct hcs_job *job, uint64_t number)
{
    size_t id_length;
    size_t path_length;
    size_t query_length;
    size_t body_length;
    const char *method = hcs_job_method(job);
    const char *id = hcs_job_request_id(job, &id_length);
    const char *path = hcs_job_path(job, &path_length);
    const char *query = hcs_job_query(job, &query_length);
    const char *body = hcs_job_body(job, &body_length);
    char *head = hcs_job_alloc(
        job, HEAD_BYTES + 6 * (id_length + path_length + query_length));
    char *to = head;

    if (body != NULL) {
        body = put_on_one_line(job, body, body_length);
    } else {
        body = "null";
        body_length = strlen(body);
    }
    if (head == NULL || body == NULL) {
        return false;
    }
    (void)snprintf(request->id, sizeof(request->id), "%" PRIu64, number);
    to = put_text(to, "{\"id\":\"");
    to = put_text(to, request->id);
    to = put_text(to, "\"");
    to = put_member(to, "request_id", id, id_length);
    to = put_member(to, "method", method, strlen(method));
    to = put_member(to, "path", path, path_length);
    to = put_member(to, "query", query, query_length);
    to = put_deadline(to, job);
    to = put_text(to, ",\"body\":");
    request->parts[0] = (struct iovec){head, (size_t)(to - head)};
    request->parts[1] = (struct iovec){(void *)(uintptr_t)body, body_length};
    request->parts[2] = (struct iovec){(void *)(uintptr_t) "}\n", 2};
    return true;
}

/* --- The line from the child. */

struct value {
    const char *text; /* raw JSON; NULL: the line has no such member */
    size_t length;
};

struct answer {
    struct value id;
    struct value body;
    struct value error;
    struct value status;
    struct value fields;
};

static void find_value(
    const char *line, size_t length, const char *name, struct value *value)
{
    if (!hcs_json_member(line, length, name, &value->text, &value->length)) {
        value->text = NULL;
    }
}

static bool is_text(const struct value *value)
{
    return value->text != NULL && value->text[0] == '"';
}

static bool is_id(const struct value *value, const char *id)
{
    char plain[256];
    size_t length;

    if (!is_text(value) || value->length > sizeof(plain)) {
        return false;
    }
    length = hcs_json_unescape(value->text, value->length, plain);
    return length == strlen(id) && memcmp(plain, id, length) == 0;
}

/* Leaves the status as it is when the line has none. False unless the value is
 * a number of three digits. */
static bool read_status(const struct value *value, unsigned *status)
{
    if (value->text == NULL) {
        return true;
    }
    if (value->length != 3) {
        return false;
    }
    *status = 0;
    for (size_t i = 0; i < 3; i++) {
        if (value->text[i] < '0' || value->text[i] > '9') {
            return false;
        }
        *status = *status * 10 + (unsigned)(value->text[i] - '0');
    }
    return true;
}

/* NULL, or what is wrong with the line, as in "the program ...". */
static const char *read_answer(
    const char *line, size_t length, const char *id, struct answer *answer)
{
    if (!hcs_json_is_valid(line, length)) {
        return "answered with something that is not JSON";
    }
    find_value(line, length, "id", &answer->id);
    find_value(line, length, "body", &answer->body);
    find_value(line, length, "error", &answer->error);
    find_value(line, length, "status", &answer->status);
    find_value(line, length, "fields", &answer->fields);
    if (!is_id(&answer->id, id)) {
        return answer->id.text == NULL ? "answered without an id"
                                       : "answered with the id of another job";
    }
    if (answer->error.text != NULL && answer->body.text != NULL) {
        return "answered with both a body and an error";
    }
    return NULL;
}

static enum hcs_outcome write_error(
    struct hcs_job *job, const struct answer *answer, const char **wrong)
{
    unsigned status = STATUS_INVALID;
    char *text;
    size_t length;

    if (!is_text(&answer->error)) {
        *wrong = "answered with an error that is not a string";
        return HCS_DIED;
    }
    if (!read_status(&answer->status, &status) ||
        (status != STATUS_INVALID && status != STATUS_FAILED &&
            status != STATUS_UNAVAILABLE)) {
        *wrong = "answered with an error and a status other than 422, 500 "
                 "or 503";
        return HCS_DIED;
    }
    text = hcs_job_alloc(job, answer->error.length + 1);
    if (text == NULL) {
        return HCS_NO_MEMORY;
    }
    length = hcs_json_unescape(answer->error.text, answer->error.length, text);
    text[length] = '\0';
    hcs_job_set_detail(job, text);
    switch (status) {
    case STATUS_FAILED:
        return HCS_FAILED;
    case STATUS_UNAVAILABLE:
        return HCS_UNAVAILABLE;
    default:
        return HCS_INVALID;
    }
}

/* Unescapes a raw JSON string to a C string at *to, and moves *to behind it.
 * False when the string holds a NUL. */
static bool put_string(char **to, const char *raw, size_t length)
{
    size_t used = hcs_json_unescape(raw, length, *to);
    bool whole = memchr(*to, '\0', used) == NULL;

    (*to)[used] = '\0';
    *to += used + 1;
    return whole;
}

/* Adds one member of "fields". False when a handler may not add such a
 * field. */
static bool add_field(
    struct hcs_job *job, const struct hcs_json_pair *pair, char *room)
{
    char *name = room;
    char *value = NULL;

    if (pair->value[0] != '"' ||
        !put_string(&room, pair->name, pair->name_length)) {
        return false;
    }
    value = room;
    return put_string(&room, pair->value, pair->value_length) &&
           hcs_job_add_field(job, name, value);
}

/* HCS_OK also when the answer has no fields. */
static enum hcs_outcome write_fields(
    struct hcs_job *job, const struct answer *answer, const char **wrong)
{
    struct hcs_json_pair pair = {0};
    const struct value *fields = &answer->fields;

    if (fields->text != NULL && fields->text[0] != '{') {
        *wrong = "answered with fields that are not an object";
        return HCS_DIED;
    }
    while (fields->text != NULL &&
           hcs_json_next(fields->text, fields->length, &pair)) {
        char *room =
            hcs_job_alloc(job, pair.name_length + pair.value_length + 2);

        if (room == NULL) {
            return HCS_NO_MEMORY;
        }
        if (!add_field(job, &pair, room)) {
            *wrong = "answered with a field that a handler may not give";
            return HCS_DIED;
        }
    }
    return HCS_OK;
}

static enum hcs_outcome write_body(
    struct hcs_job *job, const struct answer *answer, const char **wrong)
{
    unsigned status = STATUS_DEFAULT;
    enum hcs_outcome outcome = write_fields(job, answer, wrong);

    if (outcome != HCS_OK) {
        return outcome;
    }
    if (!read_status(&answer->status, &status) ||
        (answer->status.text != NULL && !hcs_job_set_status(job, status))) {
        *wrong = "answered with a status that a handler may not give";
        return HCS_DIED;
    }
    if (status == STATUS_NO_CONTENT) {
        return HCS_OK;
    }
    if (answer->body.text == NULL) {
        *wrong = "answered with neither a body nor an error";
        return HCS_DIED;
    }
    return hcs_job_write(job, answer->body.text, answer->body.length)
               ? HCS_OK
               : HCS_NO_MEMORY;
}

enum hcs_outcome hcs_exec_answer_pass(struct hcs_job *job, const char *line,
    size_t length, const char *id, const char **wrong)
{
    struct answer answer;

    *wrong = read_answer(line, length, id, &answer);
    if (*wrong != NULL) {
        return HCS_DIED;
    }
    return answer.error.text != NULL ? write_error(job, &answer, wrong)
                                     : write_body(job, &answer, wrong);
}
