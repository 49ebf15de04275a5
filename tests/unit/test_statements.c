/* The file of SQL statements: what is read, and each refusal with its place. */
#include "handlers/sql/statements.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

/* How many more allocations succeed; below 0: all. */
static int allocations_left = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__real_strndup(const char *text, size_t most);
char *__wrap_strndup(const char *text, size_t most);

static bool may_allocate(void)
{
    if (allocations_left < 0) {
        return true;
    }
    return allocations_left-- > 0 || (allocations_left = 0);
}

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return may_allocate() ? __real_calloc(count, size) : NULL;
}

void *__wrap_realloc(void *old, size_t size)
{
    return may_allocate() ? __real_realloc(old, size) : NULL;
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return may_allocate() ? __real_reallocarray(old, count, size) : NULL;
}

char *__wrap_strdup(const char *text)
{
    return may_allocate() ? __real_strdup(text) : NULL;
}

char *__wrap_strndup(const char *text, size_t most)
{
    return may_allocate() ? __real_strndup(text, most) : NULL;
}

/* What read does next: this error, or bytes at a time; 0: as it is. */
static int read_errno;
static size_t read_most;

ssize_t __real_read(int fd, void *buffer, size_t size);
ssize_t __wrap_read(int fd, void *buffer, size_t size);

ssize_t __wrap_read(int fd, void *buffer, size_t size)
{
    if (read_errno != 0) {
        errno = read_errno;
        read_errno = read_errno == EINTR ? 0 : read_errno;
        return -1;
    }
    return __real_read(
        fd, buffer, read_most > 0 && read_most < size ? read_most : size);
}

static struct hcs_statements *read_text(
    const char *text, enum hcs_dialect dialect)
{
    struct hcs_statements *set = NULL;
    char error[400] = "";

    if (hcs_statements_parse(&set, "x.sql", text, strlen(text), dialect, error,
            sizeof error) != 0) {
        fail_msg("%s", error);
    }
    return set;
}

static const struct hcs_statement *find(
    const struct hcs_statements *set, const char *name)
{
    const struct hcs_statement *found =
        hcs_statements_find(set, name, strlen(name));

    assert_non_null(found);
    return found;
}

/* text is refused with the error. */
static void refuses(
    enum hcs_dialect dialect, const char *text, const char *error)
{
    struct hcs_statements *set = NULL;
    char said[400] = "";

    assert_int_equal(hcs_statements_parse(&set, "x.sql", text, strlen(text),
                         dialect, said, sizeof said),
        -1);
    assert_null(set);
    assert_string_equal(said, error);
}

static void refuses_both(const char *text, const char *error)
{
    refuses(HCS_DIALECT_SQLITE, text, error);
    refuses(HCS_DIALECT_POSTGRES, text, error);
}

/* The statement's SQL becomes this, and has these parameters. */
static void becomes(enum hcs_dialect dialect, const char *sql,
    const char *expected, const char *parameters)
{
    char text[1024];
    char names[256] = "";
    struct hcs_statements *set;
    const struct hcs_statement *statement;

    (void)snprintf(text, sizeof text, "-- name: s\n%s", sql);
    set = read_text(text, dialect);
    statement = find(set, "s");
    assert_string_equal(statement->text, expected);
    for (size_t i = 0; i < statement->parameter_count; i++) {
        (void)strcat(names, i > 0 ? " " : "");
        (void)strcat(names, statement->parameters[i].name);
    }
    assert_string_equal(names, parameters);
    hcs_statements_close(set);
}

static void statements_are_found_by_their_names(void **state)
{
    struct hcs_statements *set = read_text("-- What users may do.\n"
                                           "/* and\n more */\n\n"
                                           "-- name: user_by_id\n"
                                           "-- One user.\n"
                                           "SELECT 1;\n"
                                           "  --name:all_2  \r\n"
                                           "SELECT 2\n",
        HCS_DIALECT_SQLITE);

    (void)state;
    assert_int_equal(set->count, 2);
    assert_string_equal(
        find(set, "user_by_id")->text, "-- One user.\nSELECT 1;\n");
    assert_int_equal(find(set, "user_by_id")->line, 5);
    assert_string_equal(find(set, "all_2")->text, "SELECT 2\n");
    assert_null(hcs_statements_find(set, "user_by_i", 9));
    assert_null(hcs_statements_find(set, "", 0));
    assert_null(hcs_statements_find(set, "all_2\0x", 7));
    assert_null(hcs_statements_find(set, "all_2\0", 6));
    hcs_statements_close(set);
}

static void a_name_as_long_as_allowed_is_found_and_a_longer_one_not(
    void **state)
{
    char text[200];
    char name[HCS_SQL_NAME_MAX + 2];
    struct hcs_statements *set;

    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[HCS_SQL_NAME_MAX] = '\0';
    (void)snprintf(text, sizeof text, "-- name: %s\nSELECT 1", name);
    set = read_text(text, HCS_DIALECT_SQLITE);
    (void)find(set, name);
    name[HCS_SQL_NAME_MAX] = 'n';
    assert_null(hcs_statements_find(set, name, HCS_SQL_NAME_MAX + 1));
    hcs_statements_close(set);
    (void)snprintf(
        text, sizeof text, "-- name: n%.*s\nSELECT 1", HCS_SQL_NAME_MAX, name);
    refuses(HCS_DIALECT_SQLITE, text,
        "x.sql:1: a name is one word of at most 63 letters, digits and _, and "
        "does not begin with a digit");
}

static void lines_are_those_of_the_file(void **state)
{
    struct hcs_statements *set =
        read_text("\n-- name: s\nSELECT\n  :a,\n  wrong", HCS_DIALECT_POSTGRES);
    const struct hcs_statement *statement = find(set, "s");

    (void)state;
    assert_int_equal(hcs_statement_line(statement, 0), 3);
    assert_int_equal(
        hcs_statement_line(statement,
            (size_t)(strstr(statement->text, "wrong") - statement->text)),
        5);
    assert_int_equal(hcs_statement_line(statement, 1000), 5);
    hcs_statements_close(set);
}

static void sqlite_keeps_its_parameters(void **state)
{
    (void)state;
    becomes(
        HCS_DIALECT_SQLITE, "SELECT :a, :b, :a;", "SELECT :a, :b, :a;", "a b");
    becomes(HCS_DIALECT_SQLITE,
        "SELECT ':a', \":b\", `:c`, [:d] -- :e\n/* :f "
        "/* */",
        "SELECT ':a', \":b\", `:c`, [:d] -- :e\n/* :f /* */", "");
    becomes(HCS_DIALECT_SQLITE, "SELECT 'it''s :a', 'E\\', :b",
        "SELECT 'it''s :a', 'E\\', :b", "b");
    becomes(
        HCS_DIALECT_SQLITE, "SELECT a$b, 5-:x--", "SELECT a$b, 5-:x--", "x");
}

static void postgres_gets_numbers(void **state)
{
    (void)state;
    becomes(
        HCS_DIALECT_POSTGRES, "SELECT :b, :a, :b", "SELECT $1, $2, $1", "b a");
    becomes(HCS_DIALECT_POSTGRES, "SELECT :a::int, :b ::text",
        "SELECT $1::int, $2 ::text", "a b");
    becomes(HCS_DIALECT_POSTGRES, "SELECT f(x := :x), a[1:2]",
        "SELECT f(x := $1), a[1:2]", "x");
    becomes(HCS_DIALECT_POSTGRES, "SELECT :_x1y", "SELECT $1", "_x1y");
    becomes(HCS_DIALECT_POSTGRES, "SELECT :\xc3\xa4", "SELECT $1", "\xc3\xa4");
    becomes(HCS_DIALECT_POSTGRES, "SELECT :a,:b,:c,:d,:e,:f,:g,:h,:i,:j,:k",
        "SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11", "a b c d e f g h i j k");
}

static void postgres_quotes_hide_colons(void **state)
{
    static const char *const same[] = {
        "SELECT ':a'",
        "SELECT 'it''s :a'",
        "SELECT 'a\\', ' :b'",
        "SELECT E'it\\'s :a'",
        "SELECT e'\\\\', ' :a'",
        "SELECT \"a:b\"\":c\"",
        "SELECT $$ :a ' $$",
        "SELECT $q$ :a $$ :b $q $q$",
        "SELECT $q1$ $q$ :a $q1$",
        "SELECT 1 -- :a 'x\n",
        "SELECT 1 /* :a /* :b */ :c ' */",
        "SELECT a$1:: int, b$x",
        "SELECT x ? 'a', y @> 'b', z #> 'c'",
        "SELECT 1 $",
        "SELECT a - 1 / 2",
        "SELECT E 'it\\', ':a'",
        "SELECT name'x\\', ':a'",
    };

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        becomes(HCS_DIALECT_POSTGRES, same[i], same[i], "");
    }
    becomes(HCS_DIALECT_POSTGRES, "SELECT 'a\\', :b", "SELECT 'a\\', $1", "b");
    becomes(
        HCS_DIALECT_POSTGRES, "SELECT $x$ $x$, :b", "SELECT $x$ $x$, $1", "b");
}

static void a_semicolon_ends_the_statement(void **state)
{
    (void)state;
    becomes(HCS_DIALECT_POSTGRES, "SELECT ';' ; -- ; more\n/* ; */ \n",
        "SELECT ';' ; -- ; more\n/* ; */ \n", "");
    refuses_both("-- name: s\nSELECT 1;\n\nSELECT 2;",
        "x.sql:4: a second statement after s; each statement needs a line "
        "\"-- name: NAME\"");
    refuses_both("-- name: s\nSELECT 1;;",
        "x.sql:2: a second statement after s; each statement needs a line "
        "\"-- name: NAME\"");
}

static void what_is_not_closed_is_refused_where_it_opens(void **state)
{
    (void)state;
    refuses_both("-- name: s\nSELECT\n'a\nb",
        "x.sql:3: the text that ' opens here is not closed by '");
    refuses_both("-- name: s\nSELECT \"a\n\n-- name: t\nSELECT 1",
        "x.sql:2: the text that \" opens here is not closed by \"");
    refuses_both("-- name: s\nSELECT 1\n/* a",
        "x.sql:3: the comment that begins here is not closed");
    refuses_both("/*\n-- name: s\nSELECT 1",
        "x.sql:1: the comment that begins here is not closed");
    refuses(HCS_DIALECT_SQLITE, "-- name: s\nSELECT [a",
        "x.sql:2: the text that [ opens here is not closed by ]");
    refuses(HCS_DIALECT_POSTGRES, "-- name: s\nSELECT 1 /* /* */",
        "x.sql:2: the comment that begins here is not closed");
    refuses(HCS_DIALECT_POSTGRES, "-- name: s\nSELECT E'\\'",
        "x.sql:2: the text that ' opens here is not closed by '");
    refuses(HCS_DIALECT_POSTGRES, "-- name: s\nSELECT E'\\",
        "x.sql:2: the text that ' opens here is not closed by '");
    refuses(HCS_DIALECT_POSTGRES, "-- name: s\nSELECT $a$ $b$",
        "x.sql:2: the text that $a$ opens here is not closed");
}

static void other_ways_to_write_parameters_are_refused(void **state)
{
    (void)state;
    refuses(HCS_DIALECT_POSTGRES, "-- name: s\nSELECT\n$1",
        "x.sql:3: parameters are written :name, not $1");
    refuses(HCS_DIALECT_SQLITE, "-- name: s\nSELECT ?",
        "x.sql:2: parameters are written :name, not ?");
    refuses(HCS_DIALECT_SQLITE, "-- name: s\nSELECT @a",
        "x.sql:2: parameters are written :name, not @");
    refuses(HCS_DIALECT_SQLITE, "-- name: s\nSELECT $a",
        "x.sql:2: parameters are written :name, not $");
}

static void names_are_checked(void **state)
{
    static const char *const bad[] = {"", "1a", "a-b", "a b", "a!", "\xc3\xa4"};
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(text, sizeof text, "--\n-- name: %s\nSELECT 1", bad[i]);
        refuses(HCS_DIALECT_SQLITE, text,
            "x.sql:2: a name is one word of at most 63 letters, digits and "
            "_, and does not begin with a digit");
    }
    refuses_both("-- name: b\nSELECT 1\n-- name: a\nSELECT 1\n"
                 "-- name: b\nSELECT 1",
        "x.sql:5: line 1 already has a statement b");
    refuses_both(
        "-- name: s\nSELECT :"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aa",
        "x.sql:2: a parameter's name has at most 63 bytes");
}

static void what_is_no_statement_is_refused(void **state)
{
    (void)state;
    refuses_both("", "x.sql: the file has no line \"-- name: NAME\"");
    refuses_both("-- nothing\n-- named: x\n-- nam",
        "x.sql: the file has no line \"-- name: NAME\"");
    refuses_both("-- names\n\nSELECT 1;\n-- name: s\nSELECT 1",
        "x.sql:3: a statement needs a line \"-- name: NAME\" before it");
    refuses_both("-- name: s\n-- soon\n/* later */\n-- name: t\nSELECT 1",
        "x.sql:1: the statement s is empty");
    refuses_both("-- name: s\n;", "x.sql:1: the statement s is empty");
    refuses_both("-- name: s", "x.sql:1: the statement s is empty");
}

static void a_nul_is_refused(void **state)
{
    static const char text[] = "-- name: s\nSELECT '\0'";
    struct hcs_statements *set = NULL;
    char error[100];

    (void)state;
    assert_int_equal(hcs_statements_parse(&set, "x.sql", text, sizeof text - 1,
                         HCS_DIALECT_SQLITE, error, sizeof error),
        -1);
    assert_string_equal(error, "x.sql: byte 19 is a NUL");
}

static void without_memory_it_says_so_and_leaks_nothing(void **state)
{
    static const char text[] = "-- name: s\nSELECT :a, :b\n"
                               "-- name: t\nSELECT $$ :a $$";
    struct hcs_statements *set = NULL;
    char error[100];
    int given = 0;
    int rc = -1;

    (void)state;
    for (; rc != 0; given++) {
        assert_in_range(given, 0, 100);
        allocations_left = given;
        rc = hcs_statements_parse(&set, "x.sql", text, strlen(text),
            HCS_DIALECT_POSTGRES, error, sizeof error);
        allocations_left = -1;
        if (rc != 0) {
            assert_null(set);
            assert_string_equal(error, "out of memory");
        }
    }
    assert_in_range(given, 10, 100);
    hcs_statements_close(set);
    hcs_statements_close(NULL);
}

static void write_file(const char *name, size_t padding)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    (void)fprintf(file, "-- name: s\nSELECT 1\n");
    for (size_t i = 0; i < padding; i++) {
        (void)fputc(' ', file);
    }
    assert_int_equal(fclose(file), 0);
}

static void files_are_read_in_pieces(void **state)
{
    char name[] = "/tmp/hcs-statements-XXXXXX";
    int fd = mkstemp(name);
    struct hcs_statements *set = NULL;
    char error[200] = "";

    (void)state;
    assert_true(fd >= 0);
    (void)close(fd);
    write_file(name, 0);
    read_most = 3;
    read_errno = EINTR;
    assert_int_equal(hcs_statements_open(
                         &set, name, HCS_DIALECT_SQLITE, error, sizeof error),
        0);
    read_most = 0;
    assert_string_equal(find(set, "s")->text, "SELECT 1\n");
    hcs_statements_close(set);
    (void)unlink(name);
}

static void files_that_cannot_be_read_are_named(void **state)
{
    char name[] = "/tmp/hcs-statements-XXXXXX";
    int fd = mkstemp(name);
    struct hcs_statements *set = NULL;
    char error[200];
    char expected[200];

    (void)state;
    assert_true(fd >= 0);
    (void)close(fd);
    write_file(name, HCS_SQL_FILE_MAX);
    assert_int_equal(hcs_statements_open(
                         &set, name, HCS_DIALECT_SQLITE, error, sizeof error),
        -1);
    (void)snprintf(expected, sizeof expected, "%s: larger than 1 MiB", name);
    assert_string_equal(error, expected);

    read_errno = EIO;
    assert_int_equal(hcs_statements_open(
                         &set, name, HCS_DIALECT_SQLITE, error, sizeof error),
        -1);
    read_errno = 0;
    (void)snprintf(expected, sizeof expected, "%s: Input/output error", name);
    assert_string_equal(error, expected);

    allocations_left = 0;
    assert_int_equal(hcs_statements_open(
                         &set, name, HCS_DIALECT_SQLITE, error, sizeof error),
        -1);
    allocations_left = -1;
    (void)snprintf(
        expected, sizeof expected, "%s: Cannot allocate memory", name);
    assert_string_equal(error, expected);

    (void)unlink(name);
    assert_int_equal(hcs_statements_open(
                         &set, name, HCS_DIALECT_SQLITE, error, sizeof error),
        -1);
    (void)snprintf(
        expected, sizeof expected, "%s: No such file or directory", name);
    assert_string_equal(error, expected);
    assert_null(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_are_found_by_their_names),
        cmocka_unit_test(
            a_name_as_long_as_allowed_is_found_and_a_longer_one_not),
        cmocka_unit_test(lines_are_those_of_the_file),
        cmocka_unit_test(sqlite_keeps_its_parameters),
        cmocka_unit_test(postgres_gets_numbers),
        cmocka_unit_test(postgres_quotes_hide_colons),
        cmocka_unit_test(a_semicolon_ends_the_statement),
        cmocka_unit_test(what_is_not_closed_is_refused_where_it_opens),
        cmocka_unit_test(other_ways_to_write_parameters_are_refused),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(what_is_no_statement_is_refused),
        cmocka_unit_test(a_nul_is_refused),
        cmocka_unit_test(without_memory_it_says_so_and_leaks_nothing),
        cmocka_unit_test(files_are_read_in_pieces),
        cmocka_unit_test(files_that_cannot_be_read_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
