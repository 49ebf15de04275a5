/*
 * statements - the SQL statements that jobs may run, from a file.
 *
 *   -- name: user_by_id
 *   SELECT id, name FROM users WHERE id = :id;
 *
 * A line "-- name:" begins a statement, which ends before the next such line or
 * at the end of the file. Before the first one only comments are allowed.
 *
 * Owns:    the statements.
 * Threads: any, once read; a driver marks parameters as raw before that.
 * Waits:   open, for the file.
 */
#ifndef HCS_HANDLERS_SQL_STATEMENTS_H
#define HCS_HANDLERS_SQL_STATEMENTS_H

#include <stdbool.h>
#include <stddef.h>

enum {
    /* The length of PostgreSQL's identifiers. */
    HCS_SQL_NAME_MAX = 63,
    HCS_SQL_FILE_MAX = 1024 * 1024,
};

/* Decides how texts are quoted, and how ":name" is passed on: as it is to
 * SQLite, as $1, $2, ... to PostgreSQL. */
enum hcs_dialect { HCS_DIALECT_SQLITE, HCS_DIALECT_POSTGRES };

struct hcs_parameter {
    const char *name;
    bool raw; /* gets JSON text: strings keep their quotes */
};

struct hcs_statement {
    const char *name;
    unsigned line;      /* of the name, in the file */
    unsigned text_line; /* of the first byte of text, in the file */
    const char *text;   /* for the database; has the line feeds of the file */
    size_t parameter_count;
    struct hcs_parameter *parameters; /* in the order of their first use */
};

struct hcs_statements {
    char *file; /* for messages */
    size_t count;
    struct hcs_statement *all; /* sorted by name */
};

/* Reads the file. 0, and gives the set; or -1 and one line in error that says
 * what is wrong and where. */
int hcs_statements_open(struct hcs_statements **out, const char *file,
    enum hcs_dialect dialect, char *error, size_t error_size);

/* The same from text. file is for messages. */
int hcs_statements_parse(struct hcs_statements **out, const char *file,
    const char *text, size_t length, enum hcs_dialect dialect, char *error,
    size_t error_size);

/* Takes set. NULL is fine. */
void hcs_statements_close(struct hcs_statements *set);

/* NULL when no statement has the name. */
const struct hcs_statement *hcs_statements_find(
    const struct hcs_statements *set, const char *name, size_t length);

/* Gives the line of the file that holds text[offset]. */
unsigned hcs_statement_line(
    const struct hcs_statement *statement, size_t offset);

/* Gives a whole file as text that ends with a NUL, to be freed by free(3). 0,
 * or -1 and one line in error. */
int hcs_sql_read_file(char **out, size_t *length, const char *file, char *error,
    size_t error_size);

#endif
