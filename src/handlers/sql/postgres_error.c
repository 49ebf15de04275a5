#include "handlers/sql/postgres_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void hcs_postgres_copy_line(char *out, size_t size, const char *text)
{
    size_t length = strcspn(text, "\r\n");

    (void)snprintf(out, size, "%.*s", (int)length, text);
}

bool hcs_postgres_set_error(
    struct hcs_sql_error *error, const char *reason, const char *format, ...)
{
    char text[sizeof error->text];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    hcs_postgres_copy_line(error->text, sizeof error->text, text);
    hcs_postgres_copy_line(error->reason, sizeof error->reason, reason);
    return false;
}

/* Finds the SQLSTATE in "FATAL:  28P01: password ...": so libpq reports the
 * refusal of a server with PQERRORS_VERBOSE, and in no other way. NULL: the
 * message is not a server's, so the server was not reached. */
static const char *find_state(const char *message)
{
    const char *at = message;

    while ((at = strstr(at, ":  ")) != NULL) {
        at += strlen(":  ");
        if (strspn(at, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
            at[5] == ':') {
            return at;
        }
    }
    return NULL;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

bool hcs_postgres_is_passing(const char *state)
{
    return begins(state, "57P") || begins(state, "53") || begins(state, "08");
}

/* The same for a message of libpq itself. Messages that are not in the list,
 * such as those of a missing certificate or password, need an operator. */
static bool is_passing_message(const char *message)
{
    static const char *const known[] = {"Connection refused",
        "failed: No such file or directory", "timed out", "timeout expired",
        "could not translate host name", "No route to host",
        "Network is unreachable", "Network is down", "Host is down",
        "Connection reset", "Broken pipe", "closed the connection",
        "Resource temporarily unavailable", "out of memory"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strstr(message, known[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* Hosts, paths, users and databases are left out of the reason. They stand
 * before "failed: " or in quotes. */
static void write_reason(struct hcs_sql_error *error, const char *message)
{
    static const char before[] = "failed: ";
    const char *found = strstr(message, before);
    const char *state = find_state(message);

    if (state != NULL) {
        message = state + strlen("12345: ");
    } else if (found != NULL) {
        message = found + strlen(before);
    }
    (void)snprintf(error->reason, sizeof error->reason, "%.*s",
        (int)strcspn(message, "\"\r\n"), message);
}

bool hcs_postgres_connect_error(const PGconn *pg, struct hcs_sql_error *error)
{
    const char *message = PQerrorMessage(pg);
    const char *state = find_state(message);

    error->lasting = state != NULL ? !hcs_postgres_is_passing(state)
                                   : !is_passing_message(message);
    hcs_postgres_copy_line(error->text, sizeof error->text, message);
    write_reason(error, message);
    if (error->text[0] == '\0') {
        return hcs_postgres_set_error(error, "no connection", "no connection");
    }
    return false;
}

/* The message may begin with the error of an earlier statement, and end with
 * indented advice: the last line that is not indented counts. */
bool hcs_postgres_loss_error(const PGconn *pg, struct hcs_sql_error *error)
{
    const char *line = PQerrorMessage(pg);

    for (const char *at = line; (at = strchr(at, '\n')) != NULL; at++) {
        if (at[1] != '\t' && at[1] != '\0') {
            line = at + 1;
        }
    }
    if (line[0] == '\0' || PQstatus(pg) == CONNECTION_OK) {
        return hcs_postgres_set_error(
            error, "it does not answer", "the server does not answer");
    }
    hcs_postgres_copy_line(error->text, sizeof error->text, line);
    write_reason(error, line);
    return false;
}

bool hcs_postgres_is_fatal(const PGresult *result)
{
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    return severity != NULL &&
           (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* By the classes of SQLSTATE. */
enum hcs_outcome hcs_postgres_outcome(const char *state)
{
    static const struct {
        const char *with;
        enum hcs_outcome outcome;
    } table[] = {
        {"22", HCS_INVALID},        /* data exception */
        {"23", HCS_INVALID},        /* integrity constraint */
        {"P0001", HCS_INVALID},     /* RAISE EXCEPTION in a function */
        {"40", HCS_UNAVAILABLE},    /* serialization failure, deadlock */
        {"53", HCS_UNAVAILABLE},    /* resources */
        {"55P03", HCS_UNAVAILABLE}, /* lock not available */
        {"57P", HCS_UNAVAILABLE},   /* shutdown */
        {"57014", HCS_TIMED_OUT},   /* statement_timeout, or cancelled */
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (begins(state, table[i].with)) {
            return table[i].outcome;
        }
    }
    return HCS_FAILED;
}

bool hcs_postgres_is_stale(const char *state, const char *message)
{
    return strcmp(state, "26000") == 0 ||
           (strcmp(state, "0A000") == 0 &&
               strstr(message, "cached plan") != NULL);
}
