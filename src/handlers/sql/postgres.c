/*
 * postgres - jobs for a PostgreSQL server:
 * postgres:CONNECTION_STRING?statements=FILE.
 *
 * A connection does not block, so that its thread sees when the job's client
 * does not wait any more, and when the pool stops. Only a look-up of a host's
 * name blocks.
 *
 * Owns:    a pool, whose threads own the connections.
 * Threads: as for every handler (hcs/handler.h).
 * Waits:   in the pool's threads, and in open.
 */
#include "handlers/sql/pool.h"
#include "handlers/sql/postgres_cancel.h"
#include "handlers/sql/postgres_error.h"
#include "handlers/sql/postgres_value.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MS_NS = 1000000,
    CHECK_MS = 50, /* between two checks whether the client still waits */
};

static const uint64_t CHECK_NS = 5 * UINT64_C(1000000000);
static const uint64_t CONNECT_DEFAULT_NS = 5 * UINT64_C(1000000000);
static const uint64_t CONNECT_MIN_NS = 10 * UINT64_C(1000000);
static const uint64_t CONNECT_MAX_NS = 600 * UINT64_C(1000000000);
/* For a statement that was cancelled to end. */
static const uint64_t DRAIN_NS = 5 * UINT64_C(1000000000);

struct database {
    struct hcs_mount *mount;
    const char *connection_string;
    unsigned hosts; /* in it; each may take connect_ns to answer */
    uint64_t connect_ns;
    struct hcs_statements *statements;
    struct hcs_sql_pool *pool;
    bool is_open; /* the first connection was made */
};

struct connection {
    const struct database *database;
    const atomic_bool *stopping;
    PGconn *pg;
    char farewell[200]; /* why the server closes an idle connection */
};

/* --- Waiting. */

/* Waits for the socket, at most CHECK_MS. */
static void wait_for_socket(const struct connection *c, bool writes)
{
    struct pollfd pollfd = {.fd = PQsocket(c->pg),
        .events = (short)(POLLIN | (writes ? POLLOUT : 0))};

    (void)poll(&pollfd, 1, CHECK_MS);
}

enum wait { WAIT_READY, WAIT_BROKEN, WAIT_GIVEN_UP };

static bool gives_up(const struct connection *c, const struct hcs_job *job)
{
    return atomic_load(c->stopping) || (job != NULL && hcs_job_cancelled(job));
}

/* Waits until PQgetResult does not block. Gives up at until_ns, when the pool
 * stops, and when there is a job whose client does not wait any more. */
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
            /* The server may have sent a result before it closed. */
            return PQisBusy(c->pg) ? WAIT_BROKEN : WAIT_READY;
        }
    }
}

/* Gives the one result of what was just sent, for PQclear. NULL: none came in
 * time, or the connection broke. */
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

/* The connection string may override the options before it. With these a server
 * that was cut off is noticed in about 30 seconds; the system's own settings
 * take two hours. And a host that does not answer leaves time for the next
 * one. */
static PGconn *start_connecting(const struct database *database)
{
    char unanswered_ms[24];
    const char *const names[] = {"fallback_application_name", "keepalives_idle",
        "keepalives_interval", "keepalives_count", "tcp_user_timeout", "dbname",
        "client_encoding", NULL};
    const char *const values[] = {"hcsd", "15", "5", "3", unanswered_ms,
        database->connection_string, "UTF8", NULL};

    (void)snprintf(unanswered_ms, sizeof unanswered_ms, "%llu",
        (unsigned long long)(database->connect_ns / MS_NS));
    return PQconnectStartParams(names, values, 1);
}

static bool poll_connection(
    const struct connection *c, uint64_t until_ns, struct hcs_sql_error *error)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    while (PQstatus(c->pg) != CONNECTION_BAD) {
        struct pollfd pollfd = {.fd = PQsocket(c->pg),
            .events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT};

        if (atomic_load(c->stopping) || hcs_sql_now_ns() >= until_ns) {
            return hcs_postgres_set_error(error, "it does not answer",
                "the server does not answer in time (connect_timeout)");
        }
        if (poll(&pollfd, 1, CHECK_MS) <= 0) {
            continue;
        }
        status = PQconnectPoll(c->pg);
        if (status == PGRES_POLLING_OK) {
            return true;
        }
    }
    return hcs_postgres_connect_error(c->pg, error);
}

/* Sets error to why a statement of the file could not be prepared. */
static bool statement_error(const struct connection *c,
    const struct hcs_statement *statement, const PGresult *result,
    struct hcs_sql_error *error)
{
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *at = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
    size_t offset = 0;

    if (result == NULL || message == NULL) {
        error->lasting = false;
        return hcs_postgres_set_error(error, "it does not answer",
            "no answer from the server while preparing %s: %s", statement->name,
            PQerrorMessage(c->pg));
    }
    /* The position counts characters, from 1. */
    for (long left = at == NULL ? 0 : strtol(at, NULL, 10) - 1; left > 0;
         offset++) {
        if (statement->text[offset] == '\0') {
            break;
        }
        left -= (statement->text[offset + 1] & 0xc0) != 0x80;
    }
    error->lasting = state == NULL || !hcs_postgres_is_passing(state);
    return hcs_postgres_set_error(error, "a statement cannot be prepared",
        "%s:%u: statement %s: %s", c->database->statements->file,
        hcs_statement_line(statement, offset), statement->name, message);
}

/* False when two columns have the same name: in JSON one would hide the
 * other. */
static bool check_columns(const struct connection *c,
    const struct hcs_statement *statement, const PGresult *described,
    struct hcs_sql_error *error)
{
    int count = PQnfields(described);

    for (int i = 1; i < count; i++) {
        for (int j = 0; j < i; j++) {
            if (strcmp(PQfname(described, i), PQfname(described, j)) == 0) {
                error->lasting = true;
                return hcs_postgres_set_error(error,
                    "a statement cannot be prepared",
                    "%s:%u: statement %s: two columns are called \"%s\"; name "
                    "one by AS",
                    c->database->statements->file, statement->line,
                    statement->name, PQfname(described, i));
            }
        }
    }
    return true;
}

/* A parameter of type json takes any JSON value. Called once, before there are
 * other threads. */
static void mark_parameters(
    struct hcs_statement *statement, const PGresult *described)
{
    for (size_t i = 0; i < statement->parameter_count; i++) {
        statement->parameters[i].raw =
            hcs_postgres_is_json(PQparamtype(described, (int)i));
    }
}

static bool describe(struct connection *c, struct hcs_statement *statement,
    struct hcs_sql_error *error)
{
    PGresult *described = NULL;
    bool good;

    if (PQsendDescribePrepared(c->pg, statement->name)) {
        described = only_result(c, c->database->connect_ns);
    }
    good = PQresultStatus(described) == PGRES_COMMAND_OK;
    if (!good) {
        (void)statement_error(c, statement, described, error);
    } else {
        mark_parameters(statement, described);
        good = check_columns(c, statement, described, error);
    }
    PQclear(described);
    return good;
}

static bool prepare(struct connection *c, struct hcs_statement *statement,
    struct hcs_sql_error *error)
{
    PGresult *prepared = NULL;
    bool good;

    if (PQsendPrepare(c->pg, statement->name, statement->text, 0, NULL)) {
        prepared = only_result(c, c->database->connect_ns);
    }
    good = PQresultStatus(prepared) == PGRES_COMMAND_OK;
    if (!good) {
        (void)statement_error(c, statement, prepared, error);
    }
    PQclear(prepared);
    return good && (c->database->is_open || describe(c, statement, error));
}

static bool prepare_all(struct connection *c, struct hcs_sql_error *error)
{
    struct hcs_statements *set = c->database->statements;

    for (size_t i = 0; i < set->count; i++) {
        if (!prepare(c, &set->all[i], error)) {
            return false;
        }
    }
    return true;
}

static bool set_up(struct connection *c, struct hcs_sql_error *error)
{
    const struct database *database = c->database;

    if (c->pg == NULL) {
        return hcs_postgres_set_error(error, "out of memory", "out of memory");
    }
    /* For hcs_postgres_connect_error. */
    (void)PQsetErrorVerbosity(c->pg, PQERRORS_VERBOSE);
    if (!poll_connection(c,
            hcs_sql_now_ns() + database->hosts * database->connect_ns, error)) {
        return false;
    }
    (void)PQsetErrorVerbosity(c->pg, PQERRORS_DEFAULT);
    if (PQsetnonblocking(c->pg, 1) != 0) {
        return hcs_postgres_connect_error(c->pg, error);
    }
    return prepare_all(c, error);
}

static void disconnect(void *argument)
{
    struct connection *c = argument;

    PQfinish(c->pg);
    free(c);
}

/* Keeps the notice that the server closes the connection: the end of the
 * connection may come later. Other notices are dropped. */
static void keep_farewell(void *argument, const PGresult *notice)
{
    struct connection *c = argument;
    const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

    if (message != NULL && hcs_postgres_is_fatal(notice)) {
        hcs_postgres_copy_line(c->farewell, sizeof c->farewell, message);
    }
}

static bool connect_server(void *argument, const atomic_bool *stopping,
    void **connection, struct hcs_sql_error *error)
{
    struct database *database = argument;
    struct connection *c = calloc(1, sizeof *c);

    *error = (struct hcs_sql_error){0};
    if (c == NULL) {
        return hcs_postgres_set_error(error, "out of memory", "out of memory");
    }
    c->database = database;
    c->stopping = stopping;
    c->pg = start_connecting(database);
    if (c->pg != NULL) {
        (void)PQsetNoticeReceiver(c->pg, keep_farewell, c);
    }
    if (!set_up(c, error)) {
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

/* On an idle connection the server sends only notices, and why it closes. */
static bool is_alive(void *argument, struct hcs_sql_error *error)
{
    struct connection *c = argument;
    struct pollfd pollfd = {.fd = PQsocket(c->pg), .events = POLLIN};

    if (poll(&pollfd, 1, 0) == 0) {
        return true;
    }
    /* PQisBusy takes in the notices that were read. The second PQconsumeInput
     * sees the end of the connection, if it has come already. */
    if (PQconsumeInput(c->pg) && !PQisBusy(c->pg) && c->farewell[0] == '\0' &&
        PQconsumeInput(c->pg) && PQstatus(c->pg) == CONNECTION_OK) {
        return true;
    }
    if (c->farewell[0] != '\0') {
        return hcs_postgres_set_error(error, c->farewell, "%s", c->farewell);
    }
    return hcs_postgres_loss_error(c->pg, error);
}

static bool check(
    void *argument, const atomic_bool *stopping, struct hcs_sql_error *error)
{
    struct connection *c = argument;
    PGresult *result = NULL;
    bool good;

    (void)stopping; /* c has it too */
    if (!is_alive(c, error)) {
        return false;
    }
    if (PQsendQuery(c->pg, "")) {
        result = only_result(c, c->database->connect_ns);
    }
    good = PQresultStatus(result) == PGRES_EMPTY_QUERY;
    PQclear(result);
    return good || hcs_postgres_loss_error(c->pg, error);
}

/* --- Running. */

static enum hcs_outcome send_call(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, bool *sent)
{
    const struct hcs_statement *statement = call->statement;
    const char **values;
    enum hcs_outcome outcome = hcs_postgres_values(job, call, &values);

    if (outcome != HCS_OK) {
        return outcome;
    }
    /* Single rows are written as they come. So a large result is in memory
     * once, within the budget, and not also in libpq's memory. */
    *sent = PQsendQueryPrepared(c->pg, statement->name,
                (int)statement->parameter_count, values, NULL, NULL, 0) &&
            PQsetSingleRowMode(c->pg);
    return HCS_OK;
}

static enum hcs_outcome fail_broken(struct hcs_job *job)
{
    hcs_job_set_detail(job,
        "the connection to the database broke; the statement may or may not "
        "have been executed");
    return HCS_UNAVAILABLE;
}

static enum hcs_outcome fail_with(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, const PGresult *result,
    struct hcs_sql_error *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    enum hcs_outcome outcome;

    if (state == NULL || message == NULL) {
        (void)hcs_postgres_loss_error(
            c->pg, error); /* libpq's, not the server's */
        return fail_broken(job);
    }
    if (hcs_postgres_is_fatal(result)) {
        (void)hcs_postgres_set_error(error, message, "%s", message);
        return fail_broken(job);
    }
    if (hcs_postgres_is_stale(state, message)) {
        (void)hcs_postgres_set_error(error, "statements are prepared again",
            "statement %s has to be prepared again: %s", call->statement->name,
            message);
        hcs_job_set_detail(job,
            "the statement was not run, because tables have changed; it is "
            "being prepared again");
        return HCS_UNAVAILABLE;
    }
    outcome = hcs_postgres_outcome(state);
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
    struct hcs_sql_error *error)
{
    bool written;

    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
        return hcs_postgres_write_row(job, result, (*row)++) ? HCS_OK
                                                             : HCS_NO_MEMORY;
    case PGRES_TUPLES_OK: /* behind the last row; holds none */
    case PGRES_COMMAND_OK:
        written = hcs_reply_end(job, hcs_postgres_changes(result));
        return written ? HCS_OK : HCS_NO_MEMORY;
    case PGRES_FATAL_ERROR:
        return fail_with(c, job, call, result, error);
    default:
        /* COPY. The connection cannot be used for anything else. */
        (void)hcs_postgres_set_error(error, "a statement that jobs cannot run",
            "statement %s is a COPY, which jobs cannot run",
            call->statement->name);
        hcs_job_set_detail(
            job, "the statement is a COPY, which jobs cannot run");
        return HCS_FAILED;
    }
}

static enum hcs_outcome take_results(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, struct hcs_sql_error *error)
{
    enum hcs_outcome outcome = HCS_OK;
    size_t row = 0;

    while (outcome == HCS_OK) {
        PGresult *result;

        switch (wait_for_result(c, UINT64_MAX, job)) {
        case WAIT_READY:
            break;
        case WAIT_BROKEN:
            (void)hcs_postgres_loss_error(c->pg, error);
            return fail_broken(job);
        case WAIT_GIVEN_UP:
            hcs_job_set_detail(job, "the statement was cancelled, because its "
                                    "client waits no more");
            return HCS_UNAVAILABLE;
        }
        result = PQgetResult(c->pg);
        if (result == NULL) {
            break;
        }
        outcome = take_result(c, job, call, result, &row, error);
        PQclear(result);
    }
    return outcome;
}

/* Cancels a statement that still runs. */
static void cancel(struct connection *c, struct hcs_sql_error *error)
{
    if (error->text[0] == '\0' &&
        PQtransactionStatus(c->pg) == PQTRANS_ACTIVE) {
        hcs_postgres_cancel(c->pg, c->stopping, error);
    }
}

/* Drops the remaining results of the statement, so that the next one can be
 * sent. */
static void drain(struct connection *c, struct hcs_sql_error *error)
{
    uint64_t until_ns = hcs_sql_now_ns() + DRAIN_NS;
    PGresult *result;

    while (error->text[0] == '\0' &&
           PQtransactionStatus(c->pg) == PQTRANS_ACTIVE) {
        if (wait_for_result(c, until_ns, NULL) != WAIT_READY) {
            (void)hcs_postgres_loss_error(c->pg, error);
            return;
        }
        result = PQgetResult(c->pg);
        if (PQresultStatus(result) == PGRES_COPY_IN ||
            PQresultStatus(result) == PGRES_COPY_OUT) {
            (void)hcs_postgres_set_error(error,
                "a statement that jobs cannot run",
                "a connection was left in the middle of COPY");
        }
        PQclear(result);
    }
}

/* A job's statement is a transaction of its own. After a BEGIN the next job
 * would be part of it, so the connection is given up. */
static enum hcs_outcome end_transaction(struct connection *c,
    struct hcs_job *job, const struct hcs_call *call, enum hcs_outcome outcome,
    struct hcs_sql_error *error)
{
    if (error->text[0] != '\0' || PQtransactionStatus(c->pg) == PQTRANS_IDLE) {
        return outcome;
    }
    if (PQtransactionStatus(c->pg) == PQTRANS_UNKNOWN) {
        (void)hcs_postgres_loss_error(
            c->pg, error); /* lost after the statement */
        return outcome;
    }
    (void)hcs_postgres_set_error(error, "a transaction was left open",
        "statement %s left a transaction open; it is rolled back",
        call->statement->name);
    hcs_job_set_detail(job, "the statement left a transaction open");
    return HCS_FAILED;
}

static enum hcs_outcome run_call(void *argument, const atomic_bool *stopping,
    struct hcs_job *job, const struct hcs_call *call,
    struct hcs_sql_error *error)
{
    struct connection *c = argument;
    bool sent = false;
    enum hcs_outcome outcome = send_call(c, job, call, &sent);

    (void)stopping; /* c has it too */
    if (outcome != HCS_OK) {
        return outcome;
    }
    if (!sent) {
        (void)hcs_postgres_loss_error(c->pg, error);
        return fail_broken(job);
    }
    outcome = hcs_reply_begin(job) ? take_results(c, job, call, error)
                                   : HCS_NO_MEMORY;
    if (outcome == HCS_NO_MEMORY || gives_up(c, job)) {
        cancel(c, error);
    }
    drain(c, error);
    return end_transaction(c, job, call, outcome, error);
}

static const struct hcs_driver driver = {
    .thread_name = "hcsd-pg",
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

/* How many hosts an option of the connection string names; 1 for other
 * options. */
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

static int check_connection_string(struct database *database)
{
    char *error = NULL;
    PQconninfoOption *options =
        PQconninfoParse(database->connection_string, &error);

    if (options == NULL) {
        char line[200];

        hcs_postgres_copy_line(
            line, sizeof line, error == NULL ? "out of memory" : error);
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
    database->connection_string = settings.connection_string;
    database->statements = settings.statements;
    if (check_connection_string(database) != 0) {
        return -1;
    }
    if (hcs_mount_checks(mount)) {
        return 0; /* only the start looks for the database */
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
