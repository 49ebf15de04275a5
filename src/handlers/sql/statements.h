/*
 * statements - the SQL that jobs may have run, from a file.
 *
 *   -- name: user_by_id
 *   SELECT id, name FROM users WHERE id = :id;
 *
 * A line "-- name:" begins a statement, which ends before the next one or with
 * the file. What stands before the first may only be comment.
 *
 * Owns:    the statements; the driver may mark parameters as raw.
 * Threads: any, once read; marks are set before.
 * Waits:   for the file, at the start.
 */
#ifndef HCS_HANDLERS_SQL_STATEMENTS_H
#define HCS_HANDLERS_SQL_STATEMENTS_H

#include <stdbool.h>
#include <stddef.h>

enum {
    /* As long as PostgreSQL's identifiers. */
    HCS_SQL_NAME_MAX = 63,
    HCS_SQL_FILE_MAX = 1024 * 1024,
};

/* What is quoted and how, and what becomes of ":name": SQLite knows it,
 * PostgreSQL gets $1, $2, ... */
enum hcs_dialect { HCS_DIALECT_SQLITE, HCS_DIALECT_POSTGRES };

struct hcs_parameter {
    const char *name;
    bool raw; /* wants JSON text, strings with their quotes */
};

struct hcs_statement {
    const char *name;
    unsigned line;      /* of its name */
    unsigned text_line; /* of the text's first byte */
    const char *text;   /* to be prepared; its lines are the file's */
    size_t parameter_count;
    struct hcs_parameter *parameters; /* in the order of their first use */
};

struct hcs_statements {
    char *file; /* for messages */
    size_t count;
    struct hcs_statement *all; /* by name */
};

/* Reads the file. 0 and the caller's set, or -1 with one line in error that says
 * what is wrong and where. */
int hcs_statements_open(struct hcs_statements **out, const char *file,
    enum hcs_dialect dialect, char *error, size_t error_size);

/* The same from text; file is for the messages. */
int hcs_statements_parse(struct hcs_statements **out, const char *file,
    const char *text, size_t length, enum hcs_dialect dialect, char *error,
    size_t error_size);

/* Takes set; NULL is none. */
void hcs_statements_close(struct hcs_statements *set);

/* NULL when none has the name. */
const struct hcs_statement *hcs_statements_find(
    const struct hcs_statements *set, const char *name, size_t length);

/* The line of the file in which text[offset] stands. */
unsigned hcs_statement_line(
    const struct hcs_statement *statement, size_t offset);

/* A whole file as text that ends with a NUL, for free(). 0, or -1 with one line
 * in error. */
int hcs_sql_read_file(char **out, size_t *length, const char *file, char *error,
    size_t error_size);

#endif
