/*
 * sqlite - jobs for a SQLite database in a file: sqlite:PATH?statements=FILE.
 *
 * Owns:    a pool, whose threads own the connections.
 * Threads: as for every handler (hcs/handler.h). SQLite expects that a process
 *          has one set of file locks, but the kernel keeps a set for each table
 *          of descriptors. The thread that opens and the threads of the pool,
 *          which alone use connections, share one table.
 * Waits:   in the pool's threads, and in open.
 */
#include "handlers/sql/pool.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    /* Instructions of SQLite's virtual machine between two checks whether the
     * client still waits. They take well below a millisecond. */
    INSTRUCTIONS_PER_CHECK = 4000,

    SECOND_NS = 1000000000,
    MS_NS = 1000000,
};

static const uint64_t CHECK_NS = 5 * UINT64_C(1000000000);
static const uint64_t BUSY_DEFAULT_NS = 5 * UINT64_C(1000000000);
static const uint64_t BUSY_MAX_NS = 3600 * UINT64_C(1000000000);

struct database {
    struct hcs_mount *mount;
    const char *path;
    const char *schema_file; /* NULL: none */
    uint64_t busy_ns;
    struct hcs_statements *statements;
    struct hcs_sql_pool *pool;
    bool is_open; /* the first connection was made */
};

struct connection {
    const struct database *database;
    sqlite3 *db;
    const atomic_bool *stopping;
    const struct hcs_job *job; /* whose statement runs; or NULL */
    uint64_t busy_until_ns;
    sqlite3_stmt *prepared[]; /* one for each statement */
};

/* --- Errors. */

/* False, so that a caller can return it. */
__attribute__((format(printf, 2, 3))) static bool set_error(
    struct hcs_sql_error *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return false;
}

/* Whether the error may pass by itself. */
static bool is_passing(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
    case SQLITE_NOMEM:
        return true;
    default:
        return false;
    }
}

static void classify(struct connection *c, struct hcs_sql_error *error)
{
    int rc = sqlite3_errcode(c->db);

    error->lasting = !is_passing(rc);
    (void)snprintf(
        error->reason, sizeof error->reason, "%s", sqlite3_errstr(rc));
}

/* The offset of the error in the statement's text; 0 when it is not known. */
static size_t error_offset(sqlite3 *db)
{
#if SQLITE_VERSION_NUMBER >= 3038000
    int offset = sqlite3_error_offset(db);

    return offset < 0 ? 0 : (size_t)offset;
#else
    (void)db;
    return 0;
#endif
}

/* --- Giving up. */

static bool gives_up(const struct connection *c)
{
    return atomic_load(c->stopping) ||
           (c->job != NULL && hcs_job_cancelled(c->job));
}

static int check_progress(void *argument)
{
    return gives_up(argument);
}

/* Called while another connection or process has the database locked. Waits,
 * longer each time. 0: gives up. */
static int wait_for_lock(void *argument, int tries)
{
    struct connection *c = argument;
    uint64_t now_ns = hcs_sql_now_ns();
    int wait_ms = tries < 6 ? 1 << tries : 50;
    struct timespec pause = {.tv_nsec = (long)wait_ms * MS_NS};

    if (tries == 0) {
        c->busy_until_ns = now_ns + c->database->busy_ns;
    }
    if (now_ns >= c->busy_until_ns || gives_up(c)) {
        return 0;
    }
    (void)nanosleep(&pause, NULL);
    return 1;
}

/* --- Connecting. */

static unsigned line_of(const char *text, const char *at)
{
    unsigned line = 1;

    for (; text < at; text++) {
        line += *text == '\n';
    }
    return line;
}

/* Runs the next statement of the text, and moves *at behind it. *wrong: the
 * offset of an error in it. */
static int run_next(sqlite3 *db, const char **at, size_t *wrong)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, *at, -1, &statement, at);

    *wrong = rc == SQLITE_OK ? 0 : error_offset(db);
    if (statement == NULL) {
        return rc; /* an error, or a comment */
    }
    do {
        rc = sqlite3_step(statement);
    } while (rc == SQLITE_ROW);
    (void)sqlite3_finalize(statement);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static bool run_schema(
    struct connection *c, const char *text, struct hcs_sql_error *error)
{
    const char *at = text;

    while (*at != '\0') {
        const char *begin = at + strspn(at, " \t\r\n");
        size_t wrong;

        at = begin;
        if (run_next(c->db, &at, &wrong) != SQLITE_OK) {
            classify(c, error);
            return set_error(error, "%s:%u: %s", c->database->schema_file,
                line_of(text, begin + wrong), sqlite3_errmsg(c->db));
        }
    }
    return true;
}

static bool make_schema(struct connection *c, struct hcs_sql_error *error)
{
    char *text;
    size_t length;
    bool made;

    if (c->database->is_open || c->database->schema_file == NULL) {
        return true;
    }
    if (hcs_sql_read_file(&text, &length, c->database->schema_file, error->text,
            sizeof error->text) != 0) {
        error->lasting = true;
        return false;
    }
    made = run_schema(c, text, error);
    free(text);
    return made;
}

/* SQLite knows more ways to write a parameter than the file of statements. */
static bool check_parameters(const struct hcs_statement *statement,
    sqlite3_stmt *prepared, struct hcs_sql_error *error, const char *file)
{
    size_t count = (size_t)sqlite3_bind_parameter_count(prepared);
    bool same = count == statement->parameter_count;

    for (size_t i = 0; same && i < count; i++) {
        const char *name = sqlite3_bind_parameter_name(prepared, (int)i + 1);

        same = name != NULL &&
               strcmp(name + 1, statement->parameters[i].name) == 0;
    }
    return same || set_error(error,
                       "%s:%u: statement %s: parameters are written :name, of "
                       "letters, digits and _",
                       file, statement->line, statement->name);
}

static bool check_columns(const struct hcs_statement *statement,
    sqlite3_stmt *prepared, struct hcs_sql_error *error, const char *file)
{
    int count = sqlite3_column_count(prepared);

    for (int i = 1; i < count; i++) {
        const char *name = sqlite3_column_name(prepared, i);

        for (int j = 0; name != NULL && j < i; j++) {
            const char *other = sqlite3_column_name(prepared, j);

            if (other != NULL && strcmp(name, other) == 0) {
                return set_error(error,
                    "%s:%u: statement %s: two columns are called \"%s\"; name "
                    "one by AS",
                    file, statement->line, statement->name, name);
            }
        }
    }
    return true;
}

static bool prepare(
    struct connection *c, size_t index, struct hcs_sql_error *error)
{
    const struct hcs_statements *set = c->database->statements;
    const struct hcs_statement *statement = &set->all[index];
    int rc = sqlite3_prepare_v3(c->db, statement->text, -1,
        SQLITE_PREPARE_PERSISTENT, &c->prepared[index], NULL);

    if (rc != SQLITE_OK) {
        classify(c, error);
        return set_error(error, "%s:%u: statement %s: %s", set->file,
            hcs_statement_line(statement, error_offset(c->db)), statement->name,
            sqlite3_errmsg(c->db));
    }
    error->lasting = true; /* if one of the next checks fails */
    return check_parameters(statement, c->prepared[index], error, set->file) &&
           check_columns(statement, c->prepared[index], error, set->file);
}

static bool prepare_all(struct connection *c, struct hcs_sql_error *error)
{
    for (size_t i = 0; i < c->database->statements->count; i++) {
        if (!prepare(c, i, error)) {
            return false;
        }
    }
    return true;
}

/* Only the start may create the file. When the file is gone later, an empty one
 * would hide the loss. */
static bool open_file(struct connection *c, struct hcs_sql_error *error)
{
    bool creates = !c->database->is_open && c->database->schema_file != NULL;
    int flags = SQLITE_OPEN_READWRITE | (creates ? SQLITE_OPEN_CREATE : 0) |
                SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI;
    int rc = sqlite3_open_v2(c->database->path, &c->db, flags, NULL);
    const char *file;

    if (c->db == NULL) {
        return set_error(error, "out of memory");
    }
    if (rc != SQLITE_OK) {
        classify(c, error);
        return set_error(error, "%s: %s%s", c->database->path,
            sqlite3_errmsg(c->db),
            c->database->schema_file == NULL
                ? " (with schema=FILE it would be created)"
                : "");
    }
    file = sqlite3_db_filename(c->db, "main");
    if (file == NULL || file[0] == '\0') {
        error->lasting = true;
        return set_error(error,
            "%s is not a file: each connection of the pool would have its "
            "own database",
            c->database->path);
    }
    return true;
}

/* Settings that are not kept in the file. Foreign keys are enforced. A text in
 * double quotes is a column or an error, never a string. */
static bool set_up(struct connection *c, struct hcs_sql_error *error)
{
    (void)sqlite3_extended_result_codes(c->db, 1);
    (void)sqlite3_busy_handler(c->db, wait_for_lock, c);
    sqlite3_progress_handler(c->db, INSTRUCTIONS_PER_CHECK, check_progress, c);
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    if (sqlite3_exec(c->db, "PRAGMA foreign_keys=ON", NULL, NULL, NULL) !=
        SQLITE_OK) {
        classify(c, error);
        return set_error(
            error, "%s: %s", c->database->path, sqlite3_errmsg(c->db));
    }
    return true;
}

static void disconnect(void *argument)
{
    struct connection *c = argument;

    for (size_t i = 0; i < c->database->statements->count; i++) {
        (void)sqlite3_finalize(c->prepared[i]);
    }
    (void)sqlite3_close(c->db);
    free(c);
}

static bool connect_file(void *argument, const atomic_bool *stopping,
    void **connection, struct hcs_sql_error *error)
{
    struct database *database = argument;
    struct connection *c = calloc(
        1, sizeof *c + database->statements->count * sizeof c->prepared[0]);

    *error = (struct hcs_sql_error){0};
    if (c == NULL) {
        return set_error(error, "out of memory");
    }
    c->database = database;
    c->stopping = stopping;
    if (!open_file(c, error) || !set_up(c, error) || !make_schema(c, error) ||
        !prepare_all(c, error)) {
        disconnect(c);
        return false;
    }
    *error = (struct hcs_sql_error){0};
    if (!database->is_open) {
        database->is_open = true; /* no other thread yet */
    }
    *connection = c;
    return true;
}

/* When the file was removed or replaced, what is written to it is lost. */
static bool is_alive(void *argument, struct hcs_sql_error *error)
{
    struct connection *c = argument;
    int has_moved = 0;

    if (sqlite3_file_control(
            c->db, "main", SQLITE_FCNTL_HAS_MOVED, &has_moved) == SQLITE_OK &&
        has_moved) {
        (void)snprintf(error->reason, sizeof error->reason,
            "its file was removed or replaced");
        return set_error(
            error, "%s was removed or replaced", c->database->path);
    }
    return true;
}

static bool check(
    void *argument, const atomic_bool *stopping, struct hcs_sql_error *error)
{
    struct connection *c = argument;
    int rc;

    (void)stopping;
    if (!is_alive(c, error)) {
        return false;
    }
    rc = sqlite3_exec(c->db, "PRAGMA schema_version", NULL, NULL, NULL);
    if (rc != SQLITE_OK && !is_passing(rc)) {
        classify(c, error);
        return set_error(
            error, "%s: %s", c->database->path, sqlite3_errmsg(c->db));
    }
    return true;
}

/* --- Running. */

/* Binds an integer of 64 bits or a real. False when the number fits neither. */
static bool bind_number(
    sqlite3_stmt *statement, int index, const struct hcs_value *value, int *rc)
{
    char *end;

    errno = 0;
    if (strpbrk(value->text, ".eE") == NULL) {
        long long integer = strtoll(value->text, &end, 10);

        *rc = sqlite3_bind_int64(statement, index, integer);
    } else {
        double real = strtod(value->text, &end);

        /* Too small becomes 0 or nearly 0. Too large is an error. */
        if (errno == ERANGE && real > -1 && real < 1) {
            errno = 0;
        }
        *rc = sqlite3_bind_double(statement, index, real);
    }
    return errno != ERANGE;
}

/* SQLite does not copy texts: they are in the job's memory, which is freed
 * later than the statement is reset. False when a number does not fit. */
static bool bind_value(
    sqlite3_stmt *statement, int index, const struct hcs_value *value, int *rc)
{
    switch (value->kind) {
    case HCS_VALUE_NULL:
        *rc = sqlite3_bind_null(statement, index);
        break;
    case HCS_VALUE_FALSE:
    case HCS_VALUE_TRUE:
        *rc = sqlite3_bind_int(statement, index, value->kind == HCS_VALUE_TRUE);
        break;
    case HCS_VALUE_NUMBER:
        return bind_number(statement, index, value, rc);
    case HCS_VALUE_STRING:
    case HCS_VALUE_JSON:
        *rc = sqlite3_bind_text64(statement, index, value->text, value->length,
            SQLITE_STATIC, SQLITE_UTF8);
        break;
    }
    return true;
}

/* Whether the file has to be opened again. */
static bool is_broken(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
        return true;
    default:
        return rc == SQLITE_READONLY_DBMOVED;
    }
}

/* Gives the outcome and the detail of the job. Logs errors that are not the
 * client's. */
static enum hcs_outcome fail(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, int rc, struct hcs_sql_error *error)
{
    const char *message = sqlite3_errmsg(c->db);

    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
        hcs_job_set_detail(job, message);
        return HCS_INVALID;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_FULL:
        hcs_sql_detail(job, "the statement was not run: %s", message);
        return HCS_UNAVAILABLE;
    case SQLITE_NOMEM:
        return HCS_NO_MEMORY;
    case SQLITE_INTERRUPT:
        hcs_job_set_detail(
            job, "the statement was ended, because its client waits no more");
        return HCS_UNAVAILABLE;
    default:
        break;
    }
    hcs_mount_log(c->database->mount, HCS_ERROR, "statement %s: %s (%d)",
        call->statement->name, message, rc);
    if (is_broken(rc)) {
        classify(c, error);
        (void)set_error(error, "%s: %s", c->database->path, message);
    }
    hcs_job_set_detail(job, "the database could not run the statement");
    return HCS_FAILED;
}

static bool write_value(struct hcs_job *job, sqlite3_stmt *statement, int i)
{
    switch (sqlite3_column_type(statement, i)) {
    case SQLITE_INTEGER:
        return hcs_reply_integer(job, sqlite3_column_int64(statement, i));
    case SQLITE_FLOAT:
        return hcs_reply_real(job, sqlite3_column_double(statement, i));
    case SQLITE_TEXT: {
        const char *text = (const char *)sqlite3_column_text(statement, i);

        return text != NULL && hcs_job_write_string(job, text,
                                   (size_t)sqlite3_column_bytes(statement, i));
    }
    case SQLITE_BLOB: {
        const void *bytes = sqlite3_column_blob(statement, i);

        return hcs_reply_base64(
            job, bytes, (size_t)sqlite3_column_bytes(statement, i));
    }
    default:
        return hcs_reply_text(job, "null");
    }
}

static bool write_row(struct hcs_job *job, sqlite3_stmt *statement, size_t row)
{
    int count = sqlite3_column_count(statement);

    if (!hcs_reply_begin_row(job, row)) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        const char *name = sqlite3_column_name(statement, i);

        if (name == NULL || !hcs_reply_column(job, (size_t)i, name) ||
            !write_value(job, statement, i)) {
            return false;
        }
    }
    return hcs_reply_end_row(job);
}

/* Runs the statement to its end. *full: there was no memory for the rows. */
static int step_all(struct connection *c, struct hcs_job *job,
    sqlite3_stmt *statement, bool *full)
{
    size_t row = 0;
    int rc = SQLITE_NOMEM;

    *full = !hcs_reply_begin(job);
    while (!*full && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        *full = !write_row(job, statement, row++);
    }
    if (*full && row > 0) {
        /* A reset would commit the statement; an interrupt rolls it back. */
        sqlite3_interrupt(c->db);
        rc = sqlite3_step(statement);
    }
    return rc;
}

static int64_t changes_since(sqlite3 *db, int total_before)
{
    /* sqlite3_changes is the count of an earlier statement when this one
     * changed nothing. sqlite3_total_changes also counts triggers and foreign
     * keys. */
    return sqlite3_total_changes(db) == total_before ? 0 : sqlite3_changes(db);
}

/* Runs the statement, whose values are bound, and writes the reply. */
static enum hcs_outcome execute(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, sqlite3_stmt *statement,
    struct hcs_sql_error *error)
{
    int before = sqlite3_total_changes(c->db);
    bool full;
    int rc = step_all(c, job, statement, &full);

    if (full) {
        return HCS_NO_MEMORY;
    }
    if (rc != SQLITE_DONE) {
        return fail(c, job, call, rc, error);
    }
    return hcs_reply_end(job, changes_since(c->db, before)) ? HCS_OK
                                                            : HCS_NO_MEMORY;
}

static enum hcs_outcome bind_all(struct connection *c, struct hcs_job *job,
    const struct hcs_call *call, sqlite3_stmt *statement,
    struct hcs_sql_error *error)
{
    for (size_t i = 0; i < call->statement->parameter_count; i++) {
        int rc = SQLITE_OK;

        if (!bind_value(statement, (int)i + 1, &call->values[i], &rc)) {
            hcs_sql_detail(job, "the parameter \"%s\" is too large for SQLite",
                call->statement->parameters[i].name);
            return HCS_INVALID;
        }
        if (rc != SQLITE_OK) {
            return fail(c, job, call, rc, error);
        }
    }
    return HCS_OK;
}

/* A job's statement is a transaction of its own. After a BEGIN the next job
 * would be part of it. */
static enum hcs_outcome end_transaction(struct connection *c,
    struct hcs_job *job, const struct hcs_call *call, enum hcs_outcome outcome)
{
    if (sqlite3_get_autocommit(c->db)) {
        return outcome;
    }
    (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    hcs_mount_log(c->database->mount, HCS_ERROR,
        "statement %s left a transaction open; it was rolled back",
        call->statement->name);
    hcs_job_set_detail(job, "the statement left a transaction open");
    return HCS_FAILED;
}

static enum hcs_outcome run_call(void *argument, const atomic_bool *stopping,
    struct hcs_job *job, const struct hcs_call *call,
    struct hcs_sql_error *error)
{
    struct connection *c = argument;
    size_t index = (size_t)(call->statement - c->database->statements->all);
    sqlite3_stmt *statement = c->prepared[index];
    enum hcs_outcome outcome = bind_all(c, job, call, statement, error);

    (void)stopping; /* c has it too */
    if (outcome == HCS_OK) {
        c->job = job;
        outcome = execute(c, job, call, statement, error);
        (void)sqlite3_reset(statement); /* repeats the error of step */
        c->job = NULL;
    }
    (void)sqlite3_clear_bindings(statement);
    return end_transaction(c, job, call, outcome);
}

static const struct hcs_driver driver = {
    .thread_name = "hcsd-sqlite",
    .check_ns = CHECK_NS,
    .connect = connect_file,
    .is_alive = is_alive,
    .check = check,
    .run = run_call,
    .disconnect = disconnect,
};

/* --- The handler. */

static void close_sqlite(void *self)
{
    struct database *database = self;

    if (database->pool != NULL) {
        hcs_sql_pool_close(database->pool);
    }
    hcs_statements_close(database->statements);
    free(database);
}

static int open_database(struct database *database, struct hcs_mount *mount)
{
    struct hcs_sql_pool_settings settings;

    database->mount = mount;
    database->busy_ns = BUSY_DEFAULT_NS;
    if (!hcs_mount_text(mount, "schema", &database->schema_file) ||
        !hcs_mount_duration(
            mount, "busy", 0, BUSY_MAX_NS, &database->busy_ns) ||
        hcs_sql_pool_read_settings(
            &settings, mount, HCS_DIALECT_SQLITE, "sqlite:notes.db") != 0) {
        return -1;
    }
    database->path = settings.connection_string;
    database->statements = settings.statements;
    if (hcs_mount_checks(mount)) {
        return 0; /* only the start looks for the database */
    }
    return hcs_sql_pool_open(
        &database->pool, mount, &driver, database, &settings);
}

static int open_sqlite(void **self, struct hcs_mount *mount)
{
    struct database *database = calloc(1, sizeof *database);

    if (database == NULL) {
        hcs_mount_fail(mount, "out of memory");
        return -1;
    }
    if (open_database(database, mount) != 0) {
        close_sqlite(database);
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
    .name = "sqlite",
    .open = open_sqlite,
    .run = run,
    .close = close_sqlite,
};
