#include "handlers/sql/statements.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A text that grows. */
struct text {
    char *bytes;
    size_t length;
    size_t size;
};

struct reader {
    struct hcs_statements *set;
    enum hcs_dialect dialect;
    char *error;
    size_t error_size;

    /* The statement that is being read. */
    struct hcs_statement *statement;
    const char *at;
    const char *end;
    unsigned line;
    struct text text;
    bool has_code;  /* more than comments */
    bool has_ended; /* by a semicolon */
};

__attribute__((format(printf, 3, 4))) static int fail(
    struct reader *r, unsigned line, const char *format, ...)
{
    int length =
        snprintf(r->error, r->error_size, "%s:%u: ", r->set->file, line);
    va_list arguments;

    if (length > 0 && (size_t)length < r->error_size) {
        va_start(arguments, format);
        (void)vsnprintf(r->error + length, r->error_size - (size_t)length,
            format, arguments);
        va_end(arguments);
    }
    return -1;
}

static int no_memory(struct reader *r)
{
    (void)snprintf(r->error, r->error_size, "out of memory");
    return -1;
}

/* --- The set. */

static void drop_statement(struct hcs_statement *statement)
{
    for (size_t i = 0; i < statement->parameter_count; i++) {
        free((char *)statement->parameters[i].name);
    }
    free(statement->parameters);
    free((char *)statement->name);
    free((char *)statement->text);
}

void hcs_statements_close(struct hcs_statements *set)
{
    if (set == NULL) {
        return;
    }
    for (size_t i = 0; i < set->count; i++) {
        drop_statement(&set->all[i]);
    }
    free(set->all);
    free(set->file);
    free(set);
}

static int compare_names(const void *left, const void *right)
{
    const struct hcs_statement *a = left;
    const struct hcs_statement *b = right;

    return strcmp(a->name, b->name);
}

const struct hcs_statement *hcs_statements_find(
    const struct hcs_statements *set, const char *name, size_t length)
{
    char text[HCS_SQL_NAME_MAX + 1];
    struct hcs_statement key = {.name = text};

    if (length > HCS_SQL_NAME_MAX || memchr(name, '\0', length) != NULL) {
        return NULL;
    }
    memcpy(text, name, length);
    text[length] = '\0';
    return bsearch(&key, set->all, set->count, sizeof *set->all, compare_names);
}

unsigned hcs_statement_line(
    const struct hcs_statement *statement, size_t offset)
{
    unsigned line = statement->text_line;

    for (size_t i = 0; i < offset && statement->text[i] != '\0'; i++) {
        line += statement->text[i] == '\n';
    }
    return line;
}

static int sort(struct reader *r)
{
    struct hcs_statements *set = r->set;

    qsort(set->all, set->count, sizeof *set->all, compare_names);
    for (size_t i = 1; i < set->count; i++) {
        const struct hcs_statement *a = &set->all[i - 1];
        const struct hcs_statement *b = &set->all[i];

        if (strcmp(a->name, b->name) == 0) {
            return fail(r, a->line > b->line ? a->line : b->line,
                "line %u already has a statement %s",
                a->line < b->line ? a->line : b->line, a->name);
        }
    }
    return 0;
}

/* --- The text of a statement, token by token. */

static bool append(struct text *text, const char *bytes, size_t length)
{
    if (text->size - text->length < length) {
        size_t size = 2 * text->size + length + 256;
        char *grown = realloc(text->bytes, size);

        if (grown == NULL) {
            return false;
        }
        text->bytes = grown;
        text->size = size;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    return true;
}

static bool begins_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Gives the byte at that distance from the next one; NUL behind the end. */
static char peek(const struct reader *r, size_t more)
{
    return (size_t)(r->end - r->at) > more ? r->at[more] : '\0';
}

/* Copies the next bytes to the text of the statement. */
static int take(struct reader *r, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        r->line += r->at[i] == '\n';
    }
    if (!append(&r->text, r->at, length)) {
        return no_memory(r);
    }
    r->at += length;
    return 0;
}

/* The length of the word or number that begins here. In both dialects it may
 * hold a $. */
static size_t word_length(const struct reader *r)
{
    size_t length = 1;

    while (begins_word(peek(r, length)) || is_digit(peek(r, length)) ||
           peek(r, length) == '$') {
        length++;
    }
    return length;
}

/* Takes a quoted text up to its closing quote. Two quotes in a row stand for
 * one. prefix: bytes before the opening quote. */
static int take_quoted(
    struct reader *r, size_t prefix, char end, bool backslash)
{
    size_t length = prefix + 1;

    for (; peek(r, length) != '\0'; length++) {
        if (backslash && peek(r, length) == '\\') {
            length++;
        } else if (peek(r, length) == end) {
            if (end == ']' || peek(r, length + 1) != end) {
                return take(r, length + 1);
            }
            length++;
        }
    }
    return fail(r, r->line, "the text that %c opens here is not closed by %c",
        r->at[prefix], end);
}

static int take_line_comment(struct reader *r)
{
    const char *end = memchr(r->at, '\n', (size_t)(r->end - r->at));

    return take(r, (size_t)((end == NULL ? r->end : end) - r->at));
}

/* In PostgreSQL a comment may hold other comments. */
static int take_comment(struct reader *r)
{
    unsigned depth = 1;
    size_t length = 2;

    for (; peek(r, length) != '\0'; length++) {
        if (peek(r, length) == '*' && peek(r, length + 1) == '/') {
            length++;
            if (--depth == 0) {
                return take(r, length + 1);
            }
        } else if (r->dialect == HCS_DIALECT_POSTGRES &&
                   peek(r, length) == '/' && peek(r, length + 1) == '*') {
            length++;
            depth++;
        }
    }
    return fail(r, r->line, "the comment that begins here is not closed");
}

/* $$...$$ or $tag$...$tag$. */
static int take_dollar(struct reader *r)
{
    size_t tag = 1;
    const char *close;

    if (is_digit(peek(r, 1))) {
        return fail(r, r->line, "parameters are written :name, not $1");
    }
    while (begins_word(peek(r, tag)) || is_digit(peek(r, tag))) {
        tag++;
    }
    if (peek(r, tag) != '$') {
        return take(r, 1);
    }
    tag++;
    close = memmem(r->at + tag, (size_t)(r->end - r->at) - tag, r->at, tag);
    if (close == NULL) {
        return fail(r, r->line, "the text that %.*s opens here is not closed",
            (int)tag, r->at);
    }
    return take(r, (size_t)(close - r->at) + tag);
}

static int take_word(struct reader *r)
{
    size_t length = word_length(r);

    if (r->dialect == HCS_DIALECT_POSTGRES && length == 1 &&
        (*r->at == 'e' || *r->at == 'E') && peek(r, 1) == '\'') {
        return take_quoted(r, 1, '\'', true);
    }
    return take(r, length);
}

/* Gives the number of the parameter, from 1. Adds the parameter if it is new. 0
 * when there is no memory. */
static size_t parameter_number(
    struct hcs_statement *statement, const char *name, size_t length)
{
    struct hcs_parameter *grown;
    char *copy;

    for (size_t i = 0; i < statement->parameter_count; i++) {
        const char *known = statement->parameters[i].name;

        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            return i + 1;
        }
    }
    grown = reallocarray(
        statement->parameters, statement->parameter_count + 1, sizeof *grown);
    if (grown == NULL) {
        return 0;
    }
    statement->parameters = grown;
    copy = strndup(name, length);
    if (copy == NULL) {
        return 0;
    }
    grown[statement->parameter_count] = (struct hcs_parameter){.name = copy};
    return ++statement->parameter_count;
}

static int take_parameter(struct reader *r)
{
    const char *name = r->at + 1;
    size_t length = 0;
    size_t number;
    char placeholder[24];

    while (begins_word(name[length]) || is_digit(name[length])) {
        length++;
        if (length == (size_t)(r->end - name)) {
            break;
        }
    }
    if (length > HCS_SQL_NAME_MAX) {
        return fail(r, r->line, "a parameter's name has at most %d bytes",
            HCS_SQL_NAME_MAX);
    }
    number = parameter_number(r->statement, name, length);
    if (number == 0) {
        return no_memory(r);
    }
    if (r->dialect == HCS_DIALECT_SQLITE) {
        return take(r, length + 1);
    }
    (void)snprintf(placeholder, sizeof placeholder, "$%zu", number);
    r->at += length + 1;
    return append(&r->text, placeholder, strlen(placeholder)) ? 0
                                                              : no_memory(r);
}

static int take_colon(struct reader *r)
{
    if (begins_word(peek(r, 1))) {
        return take_parameter(r);
    }
    /* The :: of a cast, the := of a named argument, or the : of a slice. */
    return take(r, peek(r, 1) == ':' ? 2 : 1);
}

static int take_sqlite(struct reader *r)
{
    switch (*r->at) {
    case '`':
        return take_quoted(r, 0, '`', false);
    case '[':
        return take_quoted(r, 0, ']', false);
    case '?':
    case '@':
    case '$':
        return fail(r, r->line, "parameters are written :name, not %c", *r->at);
    default:
        return take(r, 1);
    }
}

static int take_code(struct reader *r)
{
    char c = *r->at;

    if (r->has_ended) {
        return fail(r, r->line,
            "a second statement after %s; each statement needs a line "
            "\"-- name: NAME\"",
            r->statement->name);
    }
    if (c == ';') {
        r->has_ended = true;
        return take(r, 1);
    }
    r->has_code = true;
    if (c == '\'' || c == '"') {
        return take_quoted(r, 0, c, false);
    }
    if (begins_word(c) || is_digit(c)) {
        return take_word(r);
    }
    if (c == ':') {
        return take_colon(r);
    }
    if (r->dialect == HCS_DIALECT_SQLITE) {
        return take_sqlite(r);
    }
    return c == '$' ? take_dollar(r) : take(r, 1);
}

static int take_token(struct reader *r)
{
    if (is_space(*r->at)) {
        return take(r, 1);
    }
    if (*r->at == '-' && peek(r, 1) == '-') {
        return take_line_comment(r);
    }
    if (*r->at == '/' && peek(r, 1) == '*') {
        return take_comment(r);
    }
    return take_code(r);
}

static int read_text(struct reader *r)
{
    while (r->at < r->end) {
        if (take_token(r) != 0) {
            return -1;
        }
    }
    if (!r->has_code) {
        return fail(r, r->statement->line, "the statement %s is empty",
            r->statement->name);
    }
    if (!append(&r->text, "", 1)) {
        return no_memory(r);
    }
    r->statement->text = r->text.bytes;
    r->text = (struct text){0};
    return 0;
}

/* --- The file, line by line. */

static const char *line_end(const char *at, const char *end)
{
    const char *found = memchr(at, '\n', (size_t)(end - at));

    return found == NULL ? end : found;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && is_space(*at)) {
        at++;
    }
    return at;
}

/* Gives what follows "-- name:" in the line; NULL when the line has no such. */
static const char *name_in_line(const char *at, const char *end)
{
    static const char word[] = "name";

    at = skip_blanks(at, end);
    if (end - at < 2 || memcmp(at, "--", 2) != 0) {
        return NULL;
    }
    at = skip_blanks(at + 2, end);
    if ((size_t)(end - at) < strlen(word) ||
        memcmp(at, word, strlen(word)) != 0) {
        return NULL;
    }
    at = skip_blanks(at + strlen(word), end);
    return at < end && *at == ':' ? skip_blanks(at + 1, end) : NULL;
}

static int add_statement(
    struct reader *r, unsigned line, const char *name, const char *end)
{
    struct hcs_statements *set = r->set;
    size_t length = 0;
    struct hcs_statement *grown;

    while (
        name + length < end &&
        (begins_word(name[length]) || (length > 0 && is_digit(name[length]))) &&
        (unsigned char)name[length] < 0x80) {
        length++;
    }
    if (length == 0 || length > HCS_SQL_NAME_MAX ||
        skip_blanks(name + length, end) != end) {
        return fail(r, line,
            "a name is one word of at most %d letters, digits and _, and does "
            "not begin with a digit",
            HCS_SQL_NAME_MAX);
    }
    grown = reallocarray(set->all, set->count + 1, sizeof *grown);
    if (grown == NULL) {
        return no_memory(r);
    }
    set->all = grown;
    r->statement = &grown[set->count];
    *r->statement = (struct hcs_statement){.line = line, .text_line = line + 1};
    set->count++;
    r->statement->name = strndup(name, length);
    return r->statement->name == NULL ? no_memory(r) : 0;
}

/* Before the first name only comments are allowed. */
static int check_preamble(struct reader *r)
{
    while (r->at < r->end) {
        bool is_code = !is_space(*r->at) &&
                       !(*r->at == '-' && peek(r, 1) == '-') &&
                       !(*r->at == '/' && peek(r, 1) == '*');

        if (is_code) {
            return fail(r, r->line,
                "a statement needs a line \"-- name: NAME\" before it");
        }
        if (take_token(r) != 0) {
            return -1;
        }
    }
    r->text.length = 0;
    return 0;
}

/* Reads a part of the file: from a name to the next one, or what precedes the
 * first name. */
static int read_part(
    struct reader *r, unsigned line, const char *at, const char *end)
{
    r->line = line;
    r->at = at;
    r->end = end;
    r->has_code = false;
    r->has_ended = false;
    return r->statement == NULL ? check_preamble(r) : read_text(r);
}

static int read_parts(struct reader *r, const char *text, const char *end)
{
    const char *part = text;
    unsigned part_line = 1;
    unsigned line = 1;

    for (const char *at = text; at < end; line++) {
        const char *stop = line_end(at, end);
        const char *name = name_in_line(at, stop);

        if (name != NULL) {
            if (read_part(r, part_line, part, at) != 0 ||
                add_statement(r, line, name, stop) != 0) {
                return -1;
            }
            part = stop < end ? stop + 1 : end;
            part_line = line + 1;
        }
        at = stop < end ? stop + 1 : end;
    }
    if (read_part(r, part_line, part, end) != 0) {
        return -1;
    }
    if (r->set->count == 0) {
        (void)snprintf(r->error, r->error_size,
            "%s: the file has no line \"-- name: NAME\"", r->set->file);
        return -1;
    }
    return sort(r);
}

int hcs_statements_parse(struct hcs_statements **out, const char *file,
    const char *text, size_t length, enum hcs_dialect dialect, char *error,
    size_t error_size)
{
    struct reader r = {
        .dialect = dialect, .error = error, .error_size = error_size};
    const char *nul = memchr(text, '\0', length);
    int rc = -1;

    r.set = calloc(1, sizeof *r.set);
    if (r.set == NULL) {
        return no_memory(&r);
    }
    r.set->file = strdup(file);
    if (r.set->file == NULL) {
        rc = no_memory(&r);
    } else if (nul != NULL) {
        (void)snprintf(error, error_size, "%s: byte %zu is a NUL", file,
            (size_t)(nul - text));
    } else {
        rc = read_parts(&r, text, text + length);
    }
    free(r.text.bytes);
    if (rc != 0) {
        hcs_statements_close(r.set);
        return rc;
    }
    *out = r.set;
    return 0;
}

static int read_all(int fd, char *bytes, size_t *length)
{
    while (*length <= HCS_SQL_FILE_MAX) {
        ssize_t n = read(fd, bytes + *length, HCS_SQL_FILE_MAX + 1 - *length);

        if (n == 0) {
            return 0;
        }
        if (n > 0) {
            *length += (size_t)n;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return -EFBIG;
}

int hcs_sql_read_file(char **out, size_t *length, const char *file, char *error,
    size_t error_size)
{
    char *bytes = malloc(HCS_SQL_FILE_MAX + 2);
    int rc = -ENOMEM;

    *length = 0;
    if (bytes != NULL) {
        int fd = open(file, O_RDONLY | O_CLOEXEC);

        rc = fd < 0 ? -errno : read_all(fd, bytes, length);
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    if (rc != 0) {
        (void)snprintf(error, error_size, "%s: %s", file,
            rc == -EFBIG ? "larger than 1 MiB" : strerror(-rc));
        free(bytes);
        return -1;
    }
    bytes[*length] = '\0';
    *out = bytes;
    return 0;
}

int hcs_statements_open(struct hcs_statements **out, const char *file,
    enum hcs_dialect dialect, char *error, size_t error_size)
{
    char *text;
    size_t length;
    int rc = hcs_sql_read_file(&text, &length, file, error, error_size);

    if (rc == 0) {
        rc = hcs_statements_parse(
            out, file, text, length, dialect, error, error_size);
        free(text);
    }
    return rc;
}
