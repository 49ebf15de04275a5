/*
 * postgres - a PostgreSQL server: postgres:CONNINFO?statements=FILE.
 *
 * libpq is used without blocking, so that a thread notices when nobody waits
 * for its job any more and when the pool ends. Only the resolver may block it
 * all the same.
 *
 * Owns:    a pool, whose threads own the connections.
 * Threads: as for every handler (hcs/handler.h).
 * Waits:   in the pool's threads, and in open.
 */
#include "handlers/sql/pool.h"

#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SECOND_NS = 1000000000,
    MS_NS = 1000000,
    LOOK_MS = 50, /* between two looks at whether anybody still waits */

    /* Types with a JSON form of their own (pg_type.dat; they never change). */
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

static const uint64_t CHECK_NS = 5 * UINT64_C(1000000000);
static const uint64_t CONNECT_DEFAULT_NS = 5 * UINT64_C(1000000000);
static const uint64_t CONNECT_MIN_NS = 10 * UINT64_C(1000000);
static const uint64_t CONNECT_MAX_NS = 600 * UINT64_C(1000000000);
/* For a statement that was cancelled to end, and for the server to say so. */
static const uint64_t CANCEL_NS = 5 * UINT64_C(1000000000);
static const uint64_t CANCEL_AT_END_NS = 500 * UINT64_C(1000000);

struct database {
    struct hcs_mount *mount;
    const char *conninfo;
    unsigned hosts; /* that it names: each has its time to answer */
    uint64_t connect_ns;
    struct hcs_statements *statements;
    struct hcs_sql_pool *pool;
    bool is_open; /* the first connection was made */
};

struct connection {
    const struct database *database;
    const atomic_bool *stopping;
    PGconn *pg;
    char last_word[200]; /* of a server that ends an idle connection */
};

/* --- What is wrong. */

/* One line of what may be several. */
static void copy_line(char *out, size_t size, const char *text)
{
    size_t length = strcspn(text, "\r\n");

    (void)snprintf(out, size, "%.*s", (int)length, text);
}

__attribute__((format(printf, 3, 4))) static bool say(
    struct hcs_trouble *trouble, const char *reason, const char *format, ...)
{
    char text[sizeof trouble->text];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    copy_line(trouble->text, sizeof trouble->text, text);
    copy_line(trouble->reason, sizeof trouble->reason, reason);
    return false;
}

/* The SQLSTATE in "FATAL:  28P01: password ...", as a server's refusal reads
 * with PQERRORS_VERBOSE; libpq tells it in no other way. NULL: the server said
 * nothing, as the trouble is on the way there. */
static const char *state_in(const char *message)
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

/* Whether a server that says so will, some time, say something else. */
static bool is_passing_state(const char *state)
{
    return begins(state, "57P") || begins(state, "53") || begins(state, "08");
}

/* The same for what goes wrong before a server speaks. What is not known here,
 * such as a certificate or a password that is missing, is for people. */
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

/* Without hosts, paths, users and databases, which are in front of "failed: "
 * or in quotes. */
static void write_reason(struct hcs_trouble *trouble, const char *message)
{
    static const char before[] = "failed: ";
    const char *found = strstr(message, before);
    const char *state = state_in(message);

    if (state != NULL) {
        message = state + strlen("12345: ");
    } else if (found != NULL) {
        message = found + strlen(before);
    }
    (void)snprintf(trouble->reason, sizeof trouble->reason, "%.*s",
        (int)strcspn(message, "\"\r\n"), message);
}

/* Why there is no connection. */
static bool blame_connection(
    const struct connection *c, struct hcs_trouble *trouble)
{
    const char *message = PQerrorMessage(c->pg);
    const char *state = state_in(message);

    trouble->lasting =
        state != NULL ? !is_passing_state(state) : !is_passing_message(message);
    copy_line(trouble->text, sizeof trouble->text, message);
    write_reason(trouble, message);
    if (trouble->text[0] == '\0') {
        return say(trouble, "no connection", "no connection");
    }
    return false;
}

/* Why a connection is lost. The message may begin with what an earlier
 * statement was told, and end in advice, which is indented. */
static bool blame_loss(const struct connection *c, struct hcs_trouble *trouble)
{
    const char *line = PQerrorMessage(c->pg);

    for (const char *at = line; (at = strchr(at, '\n')) != NULL; at++) {
        if (at[1] != '\t' && at[1] != '\0') {
            line = at + 1;
        }
    }
    if (line[0] == '\0' || PQstatus(c->pg) == CONNECTION_OK) {
        return say(trouble, "it does not answer", "the server does not answer");
    }
    copy_line(trouble->text, sizeof trouble->text, line);
    write_reason(trouble, line);
    return false;
}

/* Whether the server ends the connection with it. */
static bool is_last_word(const PGresult *result)
{
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    return severity != NULL &&
           (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* --- Waiting. */

/* Until the socket is ready, or LOOK_MS passed. */
static void wait_for_socket(const struct connection *c, bool writes)
{
    struct pollfd pollfd = {.fd = PQsocket(c->pg),
        .events = (short)(POLLIN | (writes ? POLLOUT : 0))};

    (void)poll(&pollfd, 1, LOOK_MS);
}

enum wait { WAIT_READY, WAIT_BROKEN, WAIT_GIVEN_UP };

static bool gives_up(const struct connection *c, const struct hcs_job *job)
{
    return atomic_load(c->stopping) || (job != NULL && hcs_job_cancelled(job));
}

/* Until PQgetResult does not block. Gives up at until_ns, when the pool ends
 * and, if there is a job, when nobody waits for that. */
static enum wait wait_for_result(
    struct connection *c, uint64_t until_ns, const struct hcs_job *job)
{
    for (;;) {
        int left = PQflush(c->pg);

        if (left < 0 || PQstatus(c->pg) == CONNECTION_BAD) {
            return WAIT_BROKEN;
        }
        if (!PQisBusy(c->pg)) {
            return WAIT_READY;
        }
        if (gives_up(c, job) || hcs_sql_now_ns() >= until_ns) {
            return WAIT_GIVEN_UP;
        }
        wait_for_socket(c, left > 0);
        if (!PQconsumeInput(c->pg)) {
            /* What the server said before it left is still to be read. */
            return PQisBusy(c->pg) ? WAIT_BROKEN : WAIT_READY;
        }
    }
}

/* The one result of what was just sent, for PQclear; NULL: none in time, or
 * the connection broke. */
static PGresult *only_result(struct connection *c, uint64_t timeout_ns)
{
    uint64_t until_ns = hcs_sql_now_ns() + timeout_ns;
    PGresult *result = NULL;

    for (;;) {
        PGresult *next;

        if (wait_for_result(c, until_ns, NULL) != WAIT_READY) {
            break;
        }
        next = PQgetResult(c->pg);
        if (next == NULL) {
            return result;
        }
        PQclear(result);
        result = next;
    }
    PQclear(result);
    return NULL;
}

/* --- Connecting. */

/* Names end the lists. What stands before the conninfo it may override; a
 * server that is cut off is noticed in about 30 seconds, where the system's
 * own settings take two hours, and a host that does not answer leaves the
 * next one its time. */
static PGconn *start_connecting(const struct database *database)
{
    char unanswered_ms[24];
    const char *const names[] = {"fallback_application_name", "keepalives_idle",
        "keepalives_interval", "keepalives_count", "tcp_user_timeout", "dbname",
        "client_encoding", NULL};
    const char *const values[] = {"hcsd", "15", "5", "3", unanswered_ms,
        database->conninfo, "UTF8", NULL};

    (void)snprintf(unanswered_ms, sizeof unanswered_ms, "%llu",
        (unsigned long long)(database->connect_ns / MS_NS));
    return PQconnectStartParams(names, values, 1);
}

static bool poll_connection(
    const struct connection *c, uint64_t until_ns, struct hcs_trouble *trouble)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    while (PQstatus(c->pg) != CONNECTION_BAD) {
        struct pollfd pollfd = {.fd = PQsocket(c->pg),
            .events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT};

        if (atomic_load(c->stopping) || hcs_sql_now_ns() >= until_ns) {
            return say(trouble, "it does not answer",
                "the server does not answer in time (connect_timeout)");
        }
        if (poll(&pollfd, 1, LOOK_MS) <= 0) {
            continue;
        }
        status = PQconnectPoll(c->pg);
        if (status == PGRES_POLLING_OK) {
            return true;
        }
    }
    return blame_connection(c, trouble);
}

/* What a server answered to a statement of the file. */
static bool blame_statement(const struct connection *c,
    const struct hcs_statement *statement, const PGresult *result,
    struct hcs_trouble *trouble)
{
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *at = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
    size_t offset = 0;

    if (result == NULL || message == NULL) {
        trouble->lasting = false;
        return say(trouble, "it does not answer",
            "no answer from the server while preparing %s: %s", statement->name,
            PQerrorMessage(c->pg));
    }
    /* In characters, from 1. */
    for (long left = at == NULL ? 0 : strtol(at, NULL, 10) - 1; left > 0;
         offset++) {
        if (statement->text[offset] == '\0') {
            break;
        }
        left -= (statement->text[offset + 1] & 0xc0) != 0x80;
    }
    trouble->lasting = state == NULL || !is_passing_state(state);
    return say(trouble, "a statement cannot be prepared",
        "%s:%u: statement %s: %s", c->database->statements->file,
        hcs_statement_line(statement, offset), statement->name, message);
}

/* Whether two columns have a name: one would hide the other. */
static bool check_columns(const struct connection *c,
    const struct hcs_statement *statement, const PGresult *described,
    struct hcs_trouble *trouble)
{
    int count = PQnfields(described);

    for (int i = 1; i < count; i++) {
        for (int j = 0; j < i; j++) {
            if (strcmp(PQfname(described, i), PQfname(described, j)) == 0) {
                trouble->lasting = true;
                return say(trouble, "a statement cannot be prepared",
                    "%s:%u: statement %s: two columns are called \"%s\"; name "
                    "one by AS",
                    c->database->statements->file, statement->line,
                    statement->name, PQfname(described, i));
            }
        }
    }
    return true;
}

/* Once, before there are other threads: what a parameter of type json is given
 * are not texts but values. */
static void mark_parameters(
    struct hcs_statement *statement, const PGresult *described)
{
    for (size_t i = 0; i < statement->parameter_count; i++) {
        Oid type = PQparamtype(described, (int)i);

        statement->parameters[i].raw = type == OID_JSON || type == OID_JSONB;
    }
}

static bool describe(struct connection *c, struct hcs_statement *statement,
    struct hcs_trouble *trouble)
{
    PGresult *described = NULL;
    bool good;

    if (PQsendDescribePrepared(c->pg, statement->name)) {
        described = only_result(c, c->database->connect_ns);
    }
    good = PQresultStatus(described) == PGRES_COMMAND_OK;
    if (!good) {
        (void)blame_statement(c, statement, described, trouble);
    } else {
        mark_parameters(statement, described);
        good = check_columns(c, statement, described, trouble);
    }
    PQclear(described);
    return good;
}

static bool prepare(struct connection *c, struct hcs_statement *statement,
    struct hcs_trouble *trouble)
{
    PGresult *prepared = NULL;
    bool good;

    if (PQsendPrepare(c->pg, statement->name, statement->text, 0, NULL)) {
        prepared = only_result(c, c->database->connect_ns);
    }
    good = PQresultStatus(prepared) == PGRES_COMMAND_OK;
    if (!good) {
        (void)blame_statement(c, statement, prepared, trouble);
    }
    PQclear(prepared);
    return good && (c->database->is_open || describe(c, statement, trouble));
}

static bool prepare_all(struct connection *c, struct hcs_trouble *trouble)
{
    struct hcs_statements *set = c->database->statements;

    for (size_t i = 0; i < set->count; i++) {
        if (!prepare(c, &set->all[i], trouble)) {
            return false;
        }
    }
    return true;
}

static bool set_up(struct connection *c, struct hcs_trouble *trouble)
{
    const struct database *database = c->database;

    if (c->pg == NULL) {
        return say(trouble, "out of memory", "out of memory");
    }
    /* For state_in. */
    (void)PQsetErrorVerbosity(c->pg, PQERRORS_VERBOSE);
    if (!poll_connection(c,
            hcs_sql_now_ns() + database->hosts * database->connect_ns,
            trouble)) {
        return false;
    }
    (void)PQsetErrorVerbosity(c->pg, PQERRORS_DEFAULT);
    if (PQsetnonblocking(c->pg, 1) != 0) {
        return blame_connection(c, trouble);
    }
    return prepare_all(c, trouble);
}

static void disconnect(void *argument)
{
    struct connection *c = argument;

    PQfinish(c->pg);
    free(c);
}

/* What a server has to tell besides answers is for nobody here, but that it
 * ends the connection: the end itself may come later. */
static void take_notice(void *argument, const PGresult *notice)
{
    struct connection *c = argument;
    const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

    if (message != NULL && is_last_word(notice)) {
        copy_line(c->last_word, sizeof c->last_word, message);
    }
}

static bool connect_server(void *argument, const atomic_bool *stopping,
    void **connection, struct hcs_trouble *trouble)
{
    struct database *database = argument;
    struct connection *c = calloc(1, sizeof *c);

    *trouble = (struct hcs_trouble){0};
    if (c == NULL) {
        return say(trouble, "out of memory", "out of memory");
    }
    c->database = database;
    c->stopping = stopping;
    c->pg = start_connecting(database);
    if (c->pg != NULL) {
        (void)PQsetNoticeReceiver(c->pg, take_notice, c);
    }
    if (!set_up(c, trouble)) {
        disconnect(c);
        return false;
    }
    if (!database->is_open) {
        database->is_open = true; /* no other thread yet */
    }
    *connection = c;
    return true;
}

/* --- Health. */

/* An idle connection has nothing to say, but that it ends. */
static bool is_alive(void *argument, struct hcs_trouble *trouble)
{
    struct connection *c = argument;
    struct pollfd pollfd = {.fd = PQsocket(c->pg), .events = POLLIN};

    if (poll(&pollfd, 1, 0) == 0) {
        return true;
    }
    /* A notice, perhaps; or the server's last word, with the end behind it or
     * still to come. PQisBusy reads what is there, and the end is seen when
     * nothing else is left. */
    if (PQconsumeInput(c->pg) && !PQisBusy(c->pg) && c->last_word[0] == '\0' &&
        PQconsumeInput(c->pg) && PQstatus(c->pg) == CONNECTION_OK) {
        return true;
    }
    if (c->last_word[0] != '\0') {
        return say(trouble, c->last_word, "%s", c->last_word);
    }
    return blame_loss(c, trouble);
}

static bool check(
    void *argument, const atomic_bool *stopping, struct hcs_trouble *trouble)
{
    struct connection *c = argument;
    PGresult *result = NULL;
    bool good;

    (void)stopping; /* known since connecting */
    if (!is_alive(c, trouble)) {
        return false;
    }
    if (PQsendQuery(c->pg, "")) {
        result = only_result(c, c->database->connect_ns);
    }
    good = PQresultStatus(result) == PGRES_EMPTY_QUERY;
    PQclear(result);
    return good || blame_loss(c, trouble);
}

/* --- Running. */

static enum hcs_outcome send_call(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, bool *sent)
{
    const struct hcs_statement *statement = call->statement;
    size_t count = statement->parameter_count;
    const char **values = hcs_job_alloc(job, (count + 1) * sizeof *values);

    *sent = false;
    if (values == NULL) {
        return HCS_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const struct hcs_value *value = &call->values[i];

        if (strlen(value->text) != value->length) {
            hcs_sql_detail(job,
                "the parameter \"%s\" holds a NUL, which PostgreSQL's texts "
                "cannot",
                statement->parameters[i].name);
            return HCS_INVALID;
        }
        values[i] = value->kind == HCS_VALUE_NULL ? NULL : value->text;
    }
    /* Rows are passed on as they come, so that a large result is in memory once,
     * within the budget, and not also in libpq's. */
    *sent = PQsendQueryPrepared(
                c->pg, statement->name, (int)count, values, NULL, NULL, 0) &&
            PQsetSingleRowMode(c->pg);
    return HCS_OK;
}

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
        /* NaN and Infinity are no JSON. */
        if (strspn(text, "-+.0123456789e") == length) {
            return hcs_job_write(job, text, length);
        }
        return hcs_job_write_string(job, text, length);
    default:
        return hcs_job_write_string(job, text, length);
    }
}

static bool write_row(struct hcs_job *job, const PGresult *result, size_t row)
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

/* Rows that a statement changed; those that SELECT gave do not count. */
static int64_t changes_of(PGresult *result)
{
    const char *tag = PQcmdStatus(result);

    if (begins(tag, "INSERT") || begins(tag, "UPDATE") ||
        begins(tag, "DELETE") || begins(tag, "MERGE")) {
        return strtoll(PQcmdTuples(result), NULL, 10);
    }
    return 0;
}

static enum hcs_outcome fail_broken(struct hcs_job *job)
{
    hcs_job_set_detail(job,
        "the connection to the database broke; the statement may or may not "
        "have been executed");
    return HCS_UNAVAILABLE;
}

/* What a state means for the job, by its class. */
static enum hcs_outcome outcome_of(const char *state)
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

/* Tables that were altered make a prepared statement useless, and a proxy may
 * lose it: neither was executed, and a new connection has it again. */
static bool is_stale(const char *state, const char *message)
{
    return strcmp(state, "26000") == 0 ||
           (strcmp(state, "0A000") == 0 &&
               strstr(message, "cached plan") != NULL);
}

static enum hcs_outcome fail_with(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, const PGresult *result,
    struct hcs_trouble *trouble)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    enum hcs_outcome outcome;

    if (state == NULL || message == NULL) {
        (void)blame_loss(c, trouble); /* libpq speaks, not the server */
        return fail_broken(job);
    }
    if (is_last_word(result)) {
        (void)say(trouble, message, "%s", message);
        return fail_broken(job);
    }
    if (is_stale(state, message)) {
        (void)say(trouble, "statements are prepared again",
            "statement %s has to be prepared again: %s", call->statement->name,
            message);
        hcs_job_set_detail(job,
            "the statement was not run, as tables have changed; it is being "
            "prepared again");
        return HCS_UNAVAILABLE;
    }
    outcome = outcome_of(state);
    if (outcome == HCS_FAILED) {
        hcs_mount_log(c->database->mount, HCS_ERROR, "statement %s: %s (%s)",
            call->statement->name, message, state);
        message = "the database could not run the statement";
    }
    hcs_job_set_detail(job, message);
    return outcome;
}

/* One of a statement's results. */
static enum hcs_outcome take_result(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, PGresult *result, size_t *row,
    struct hcs_trouble *trouble)
{
    bool written;

    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
        return write_row(job, result, (*row)++) ? HCS_OK : HCS_NO_MEMORY;
    case PGRES_TUPLES_OK: /* the last row was before */
    case PGRES_COMMAND_OK:
        written = hcs_reply_end(job, changes_of(result));
        return written ? HCS_OK : HCS_NO_MEMORY;
    case PGRES_FATAL_ERROR:
        return fail_with(c, job, call, result, trouble);
    default:
        /* COPY; the connection would be in the middle of it. */
        (void)say(trouble, "a statement that is none for jobs",
            "statement %s cannot be run here (COPY)", call->statement->name);
        hcs_job_set_detail(job, "the statement is none that can be run here");
        return HCS_FAILED;
    }
}

static enum hcs_outcome take_results(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, struct hcs_trouble *trouble)
{
    enum hcs_outcome outcome = HCS_OK;
    size_t row = 0;

    while (outcome == HCS_OK) {
        PGresult *result;

        switch (wait_for_result(c, UINT64_MAX, job)) {
        case WAIT_READY:
            break;
        case WAIT_BROKEN:
            (void)blame_loss(c, trouble);
            return fail_broken(job);
        case WAIT_GIVEN_UP:
            hcs_job_set_detail(job, "the statement was ended, as nobody waits");
            return HCS_UNAVAILABLE;
        }
        result = PQgetResult(c->pg);
        if (result == NULL) {
            break;
        }
        outcome = take_result(c, job, call, result, &row, trouble);
        PQclear(result);
    }
    return outcome;
}

/* PQcancel asks on a connection of its own, and waits until the server closes
 * that: for ever, if the server has stopped. So a thread does it, which can be
 * left behind. */
struct canceller {
    PGcancel *handle;
    pthread_mutex_t lock; /* of the next three */
    pthread_cond_t ended;
    bool is_over;
    bool is_left; /* the thread frees it */
    bool done;
    char error[256];
};

static struct canceller *make_canceller(PGconn *pg)
{
    struct canceller *canceller = calloc(1, sizeof *canceller);
    pthread_condattr_t attributes;

    if (canceller == NULL) {
        return NULL;
    }
    canceller->handle = PQgetCancel(pg);
    if (canceller->handle == NULL || pthread_condattr_init(&attributes) != 0) {
        PQfreeCancel(canceller->handle);
        free(canceller);
        return NULL;
    }
    /* These cannot fail with these arguments (glibc). */
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&canceller->lock, NULL);
    (void)pthread_cond_init(&canceller->ended, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return canceller;
}

static void drop_canceller(struct canceller *canceller)
{
    (void)pthread_cond_destroy(&canceller->ended);
    (void)pthread_mutex_destroy(&canceller->lock);
    PQfreeCancel(canceller->handle);
    free(canceller);
}

static void *ask_to_cancel(void *argument)
{
    struct canceller *canceller = argument;
    bool is_left;

    canceller->done =
        PQcancel(canceller->handle, canceller->error, sizeof canceller->error);
    (void)pthread_mutex_lock(&canceller->lock);
    canceller->is_over = true;
    is_left = canceller->is_left;
    (void)pthread_cond_signal(&canceller->ended);
    (void)pthread_mutex_unlock(&canceller->lock);
    if (is_left) {
        drop_canceller(canceller);
    }
    return NULL;
}

/* Whether the thread ended in time. Else it is left behind, with canceller. */
static bool await_canceller(
    const struct connection *c, struct canceller *canceller)
{
    uint64_t began_ns = hcs_sql_now_ns();
    uint64_t now_ns = began_ns;
    bool is_over;

    (void)pthread_mutex_lock(&canceller->lock);
    while (!canceller->is_over &&
           now_ns - began_ns <
               (atomic_load(c->stopping) ? CANCEL_AT_END_NS : CANCEL_NS)) {
        uint64_t next_ns = now_ns + (uint64_t)LOOK_MS * MS_NS;
        struct timespec at = {.tv_sec = (time_t)(next_ns / SECOND_NS),
            .tv_nsec = (long)(next_ns % SECOND_NS)};

        (void)pthread_cond_timedwait(&canceller->ended, &canceller->lock, &at);
        now_ns = hcs_sql_now_ns();
    }
    is_over = canceller->is_over;
    canceller->is_left = !is_over;
    (void)pthread_mutex_unlock(&canceller->lock);
    return is_over;
}

/* Takes canceller. */
static void run_canceller(const struct connection *c,
    struct canceller *canceller, struct hcs_trouble *trouble)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, ask_to_cancel, canceller);

    if (rc == 0 && !await_canceller(c, canceller)) {
        (void)pthread_detach(thread);
        (void)say(trouble, "it does not answer",
            "a statement could not be cancelled: no answer");
        return;
    }
    if (rc == 0) {
        (void)pthread_join(thread, NULL);
    }
    if (rc != 0 || !canceller->done) {
        (void)say(trouble, "a statement was not cancelled",
            "a statement could not be cancelled: %s",
            rc != 0 ? strerror(rc) : canceller->error);
    }
    drop_canceller(canceller);
}

/* Ends what still runs, which nobody wants to know of any more; the connection
 * is as before. Else trouble. */
static void cancel(struct connection *c, struct hcs_trouble *trouble)
{
    struct canceller *canceller;

    if (trouble->text[0] != '\0' ||
        PQtransactionStatus(c->pg) != PQTRANS_ACTIVE) {
        return;
    }
    canceller = make_canceller(c->pg);
    if (canceller == NULL) {
        (void)say(trouble, "out of memory", "out of memory");
        return;
    }
    run_canceller(c, canceller, trouble);
}

/* Up to the end of the statement, so that the next one can be sent. */
static void drain(struct connection *c, struct hcs_trouble *trouble)
{
    uint64_t until_ns = hcs_sql_now_ns() + CANCEL_NS;
    PGresult *result;

    while (trouble->text[0] == '\0' &&
           PQtransactionStatus(c->pg) == PQTRANS_ACTIVE) {
        if (wait_for_result(c, until_ns, NULL) != WAIT_READY) {
            (void)blame_loss(c, trouble);
            return;
        }
        result = PQgetResult(c->pg);
        if (PQresultStatus(result) == PGRES_COPY_IN ||
            PQresultStatus(result) == PGRES_COPY_OUT) {
            (void)say(trouble, "a statement that is none for jobs",
                "a connection was left in the middle of COPY");
        }
        PQclear(result);
    }
}

/* A statement of a job is a transaction; BEGIN would make the next job's part
 * of this one. A new connection has none. */
static enum hcs_outcome end_transaction(struct connection *c,
    struct hcs_job *job, const struct hcs_call *call, enum hcs_outcome outcome,
    struct hcs_trouble *trouble)
{
    if (trouble->text[0] != '\0' ||
        PQtransactionStatus(c->pg) == PQTRANS_IDLE) {
        return outcome;
    }
    if (PQtransactionStatus(c->pg) == PQTRANS_UNKNOWN) {
        (void)blame_loss(c, trouble); /* after the statement had ended */
        return outcome;
    }
    (void)say(trouble, "a transaction was left open",
        "statement %s left a transaction open; it is rolled back",
        call->statement->name);
    hcs_job_set_detail(job, "the statement left a transaction open");
    return HCS_FAILED;
}

static enum hcs_outcome run_call(void *argument, const atomic_bool *stopping,
    struct hcs_job *job, const struct hcs_call *call,
    struct hcs_trouble *trouble)
{
    struct connection *c = argument;
    bool sent;
    enum hcs_outcome outcome = send_call(c, job, call, &sent);

    (void)stopping; /* known since connecting */
    if (outcome != HCS_OK) {
        return outcome;
    }
    if (!sent) {
        (void)blame_loss(c, trouble);
        return fail_broken(job);
    }
    outcome = hcs_reply_begin(job) ? take_results(c, job, call, trouble)
                                   : HCS_NO_MEMORY;
    if (outcome == HCS_NO_MEMORY || gives_up(c, job)) {
        cancel(c, trouble);
    }
    drain(c, trouble);
    return end_transaction(c, job, call, outcome, trouble);
}

static const struct hcs_driver driver = {
    .name = "postgres",
    .check_ns = CHECK_NS,
    .connect = connect_server,
    .is_alive = is_alive,
    .check = check,
    .run = run_call,
    .disconnect = disconnect,
};

/* --- The handler. */

static void close_postgres(void *self)
{
    struct database *database = self;

    if (database->pool != NULL) {
        hcs_sql_pool_close(database->pool);
    }
    hcs_statements_close(database->statements);
    free(database);
}

/* How many hosts the option names. */
static unsigned count_hosts(const PQconninfoOption *option)
{
    unsigned count = 1;

    if (option->val != NULL && (strcmp(option->keyword, "host") == 0 ||
                                   strcmp(option->keyword, "hostaddr") == 0)) {
        for (const char *at = option->val; *at != '\0'; at++) {
            count += *at == ',';
        }
    }
    return count;
}

static int read_conninfo(struct database *database)
{
    char *error = NULL;
    PQconninfoOption *options = PQconninfoParse(database->conninfo, &error);

    if (options == NULL) {
        char line[200];

        copy_line(line, sizeof line, error == NULL ? "out of memory" : error);
        hcs_mount_fail(
            database->mount, "the connection string cannot be read: %s", line);
        PQfreemem(error);
        return -1;
    }
    database->hosts = 1;
    for (const PQconninfoOption *option = options; option->keyword != NULL;
         option++) {
        unsigned count = count_hosts(option);

        database->hosts = count > database->hosts ? count : database->hosts;
    }
    PQconninfoFree(options);
    return 0;
}

static int open_database(struct database *database, struct hcs_mount *mount)
{
    struct hcs_sql_pool_settings settings;

    database->mount = mount;
    database->connect_ns = CONNECT_DEFAULT_NS;
    if (!hcs_mount_duration(mount, "connect_timeout", CONNECT_MIN_NS,
            CONNECT_MAX_NS, &database->connect_ns) ||
        hcs_sql_pool_read_settings(&settings, mount, HCS_DIALECT_POSTGRES,
            "postgres:host=/run/postgresql") != 0) {
        return -1;
    }
    database->conninfo = settings.place;
    database->statements = settings.statements;
    if (read_conninfo(database) != 0) {
        return -1;
    }
    if (hcs_mount_checks(mount)) {
        return 0; /* whether the database is there, the start will see */
    }
    return hcs_sql_pool_open(
        &database->pool, mount, &driver, database, &settings);
}

static int open_postgres(void **self, struct hcs_mount *mount)
{
    struct database *database = calloc(1, sizeof *database);

    if (database == NULL) {
        hcs_mount_fail(mount, "out of memory");
        return -1;
    }
    if (open_database(database, mount) != 0) {
        close_postgres(database);
        return -1;
    }
    *self = database;
    return 0;
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    const struct database *database = self;

    return hcs_sql_pool_submit(database->pool, job);
}

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .flags = HCS_HANDLER_BRIEF,
    .name = "postgres",
    .open = open_postgres,
    .run = run,
    .close = close_postgres,
};
