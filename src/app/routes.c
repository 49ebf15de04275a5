#include "app/routes.h"

#include "base/uri.h"
#include "shard/pages.h"

#include <bsd/stdlib.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { LINE_SIZE = 8192 }; /* of a file, with the NUL */

#define ALPHANUMERIC                                                           \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define KIND_CHARACTERS ALPHANUMERIC "-_"

/* "/", and pchar without "%" (RFC 3986, section 3.3). */
#define PATH_CHARACTERS ALPHANUMERIC "-._~!$&'()*+,;=:@/"

/* --- One entry. */

/* Decodes %XX in place. False when a "%" has no two digits behind it, or a NUL
 * would end the text early. */
static bool decode(char *text)
{
    size_t length = strlen(text);

    return hcs_uri_is_encoded(text, length) &&
           hcs_uri_decode_text(text, length, text);
}

/* The functions that take a part of an entry return NULL, or what is wrong. */
static const char *take_path(char *path)
{
    if (!decode(path)) {
        return "a bad percent-encoding in the path";
    }
    if (path[strspn(path, PATH_CHARACTERS)] != '\0') {
        return "the path may hold letters, digits and -._~!$&'()*+,;=:@/ only";
    }
    if (hcs_pages_is_reserved(path)) {
        return "the path is one of the daemon's own";
    }
    return NULL;
}

/* text: KIND[:ARGUMENT][?QUERY]. */
static const char *take_handler(char *text, struct hcs_routes_entry *parts)
{
    char *rest = text + strspn(text, KIND_CHARACTERS);

    if (rest == text || (*rest != '\0' && *rest != ':' && *rest != '?')) {
        return "the handler's name must be letters, digits, - and _";
    }
    parts->kind = text;
    parts->argument = NULL;
    parts->query = strchr(rest, '?');
    if (parts->query != NULL) {
        *parts->query++ = '\0';
    }
    if (*rest == ':') {
        *rest = '\0';
        parts->argument = rest + 1;
        if (!decode(parts->argument)) {
            return "a bad percent-encoding in the argument";
        }
    }
    return NULL;
}

/* Points parts into entry, which is cut up and decoded. */
static const char *take_apart(char *entry, struct hcs_routes_entry *parts)
{
    char *equals = strchr(entry, '=');
    const char *wrong;

    if (entry[0] != '/') {
        return "the path must start with /";
    }
    if (equals == NULL) {
        return "no =KIND behind the path";
    }
    *equals = '\0';
    parts->path = entry;
    wrong = take_path(entry);
    return wrong != NULL ? wrong : take_handler(equals + 1, parts);
}

static void free_entry(struct hcs_routes_entry *entry)
{
    free(entry->path);
    free(entry->kind);
    free(entry->argument);
    free(entry->query);
}

static bool copy_part(char **out, const char *part)
{
    *out = part != NULL ? strdup(part) : NULL;
    return part == NULL || *out != NULL;
}

/* False when there is no memory. */
static bool append_copy(
    struct hcs_routes *routes, const struct hcs_routes_entry *parts)
{
    struct hcs_routes_entry entry = {0};
    struct hcs_routes_entry *grown =
        reallocarray(routes->entries, routes->count + 1, sizeof *grown);

    if (grown == NULL) {
        return false;
    }
    routes->entries = grown;
    if (!copy_part(&entry.path, parts->path) ||
        !copy_part(&entry.kind, parts->kind) ||
        !copy_part(&entry.argument, parts->argument) ||
        !copy_part(&entry.query, parts->query)) {
        free_entry(&entry);
        return false;
    }
    routes->entries[routes->count++] = entry;
    return true;
}

static int add_entry(
    struct hcs_routes *routes, char *entry, struct hcs_message *error)
{
    size_t before = error->used;
    struct hcs_routes_entry parts;
    const char *wrong;

    hcs_message_add(error, "\"");
    hcs_message_add_shown(error, entry);
    hcs_message_add(error, "\": ");
    wrong = take_apart(entry, &parts);
    if (wrong != NULL) {
        hcs_message_add(error, "%s", wrong);
        return -EINVAL;
    }
    for (size_t i = 0; i < routes->count; i++) {
        if (strcmp(routes->entries[i].path, parts.path) == 0) {
            hcs_message_add(error, "a second handler on one path");
            return -EINVAL;
        }
    }
    if (routes->count == HCS_ROUTES_MAX) {
        hcs_message_add(error, "more than %d handlers", (int)HCS_ROUTES_MAX);
        return -EINVAL;
    }
    if (!append_copy(routes, &parts)) {
        hcs_message_add(error, "out of memory");
        return -ENOMEM;
    }
    hcs_message_cut(error, before);
    return 0;
}

/* --- Words. */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next word at *cursor, up to a blank that is not in quotes. The word is
 * ended with a NUL and its quotes are removed, in place. NULL when there is no
 * word, or when it is broken: then *wrong says how. */
static char *next_word(char **cursor, const char **wrong)
{
    char *from = *cursor;
    char *word;
    char *to;
    bool quoted = false;

    *wrong = NULL;
    while (is_blank(*from)) {
        from++;
    }
    if (*from == '\0') {
        return NULL;
    }
    word = from;
    to = from;
    for (; *from != '\0' && (quoted || !is_blank(*from)); from++) {
        if (*from == '"') {
            quoted = !quoted;
        } else if (iscntrl((unsigned char)*from)) {
            *wrong = "a control character; write it as %XX";
            return NULL;
        } else {
            *to++ = *from;
        }
    }
    if (quoted) {
        *wrong = "a quote is not closed";
        return NULL;
    }
    *cursor = *from != '\0' ? from + 1 : from;
    *to = '\0';
    return word;
}

/* --- HANDLERS. */

static int add_entries(
    struct hcs_routes *routes, char *text, struct hcs_message *error)
{
    const char *wrong;
    char *entry;

    while ((entry = next_word(&text, &wrong)) != NULL) {
        int rc = add_entry(routes, entry, error);

        if (rc != 0) {
            return rc;
        }
    }
    if (wrong == NULL && routes->count == 0) {
        wrong = "no entry";
    }
    if (wrong != NULL) {
        hcs_message_add(error, "%s", wrong);
        return -EINVAL;
    }
    return 0;
}

int hcs_routes_parse(
    struct hcs_routes *routes, const char *text, struct hcs_message *error)
{
    char *copy = strdup(text);
    int rc;

    if (copy == NULL) {
        hcs_message_add(error, "out of memory");
        return -ENOMEM;
    }
    rc = add_entries(routes, copy, error);
    free(copy);
    return rc;
}

/* --- HANDLERS_FILE. */

enum line { LINE_READ, LINE_END, LINE_TOO_LONG, LINE_NUL };

/* Reads a line without its line feed. getline(3) would read a wrong file, such
 * as /dev/zero, until there is no memory left. */
static enum line read_line(FILE *in, char *line, size_t size)
{
    size_t used = 0;
    int c;

    while ((c = getc(in)) != EOF && c != '\n') {
        if (c == '\0') {
            return LINE_NUL;
        }
        if (used + 1 == size) {
            return LINE_TOO_LONG;
        }
        line[used++] = (char)c;
    }
    line[used] = '\0';
    return c == EOF && used == 0 ? LINE_END : LINE_READ;
}

/* Ends the line before a comment: a # in front of a word, not in quotes. */
static void strip_comment(char *line)
{
    bool quoted = false;

    for (char *c = line; *c != '\0'; c++) {
        if (*c == '"') {
            quoted = !quoted;
        } else if (*c == '#' && !quoted && (c == line || is_blank(c[-1]))) {
            *c = '\0';
            return;
        }
    }
}

static int add_line(
    struct hcs_routes *routes, char *line, struct hcs_message *error)
{
    const char *wrong;
    char *entry;
    char *second = NULL;

    strip_comment(line);
    entry = next_word(&line, &wrong);
    if (entry != NULL) {
        second = next_word(&line, &wrong);
    }
    if (second != NULL) {
        wrong = "more than one entry; put blanks in quotes";
    }
    if (wrong != NULL) {
        hcs_message_add(error, "%s", wrong);
        return -EINVAL;
    }
    return entry == NULL ? 0 : add_entry(routes, entry, error);
}

static int add_lines(
    struct hcs_routes *routes, FILE *in, struct hcs_message *error)
{
    char line[LINE_SIZE];
    size_t before = error->used;

    for (size_t number = 1;; number++) {
        enum line got = read_line(in, line, sizeof line);
        int rc = -EINVAL;

        if (ferror(in)) {
            hcs_message_add(error, "%s", strerror(errno));
            return -EINVAL;
        }
        if (got == LINE_END) {
            break;
        }
        hcs_message_add(error, "line %zu: ", number);
        if (got == LINE_READ) {
            rc = add_line(routes, line, error);
        } else {
            hcs_message_add(error, "%s",
                got == LINE_NUL ? "a NUL byte; not a text file"
                                : "longer than 8191 bytes");
        }
        if (rc != 0) {
            return rc;
        }
        hcs_message_cut(error, before);
    }
    if (routes->count == 0) {
        hcs_message_add(error, "no entry");
        return -EINVAL;
    }
    return 0;
}

int hcs_routes_read_file(
    struct hcs_routes *routes, const char *name, struct hcs_message *error)
{
    FILE *in = fopen(name, "re");
    int rc;

    if (in == NULL) {
        hcs_message_add(error, "%s", strerror(errno));
        return -EINVAL;
    }
    rc = add_lines(routes, in, error);
    (void)fclose(in);
    return rc;
}

/* --- Printing. */

/* Encodes blanks, control characters and the special ones: those that would be
 * read as something else in this part of an entry. */
static void print_encoded(const char *text, const char *special, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == ' ' || iscntrl((unsigned char)*text) ||
            strchr(special, *text) != NULL) {
            (void)fprintf(out, "%%%02X", (unsigned)(unsigned char)*text);
        } else {
            (void)fputc(*text, out);
        }
    }
}

static void print_entry(const struct hcs_routes_entry *entry, FILE *out)
{
    /* The query is not decoded, so blanks in it need quotes. */
    bool quoted = entry->query != NULL && strchr(entry->query, ' ') != NULL;

    if (quoted) {
        (void)fputc('"', out);
    }
    print_encoded(entry->path, "=", out);
    (void)fprintf(out, "=%s", entry->kind);
    if (entry->argument != NULL) {
        (void)fputc(':', out);
        print_encoded(entry->argument, "%?\"", out);
    }
    if (entry->query != NULL) {
        (void)fprintf(out, "?%s", entry->query);
    }
    if (quoted) {
        (void)fputc('"', out);
    }
}

void hcs_routes_print(const struct hcs_routes *routes, FILE *out)
{
    for (size_t i = 0; i < routes->count; i++) {
        if (i > 0) {
            (void)fputc(' ', out);
        }
        print_entry(&routes->entries[i], out);
    }
}

void hcs_routes_fini(struct hcs_routes *routes)
{
    for (size_t i = 0; i < routes->count; i++) {
        free_entry(&routes->entries[i]);
    }
    free(routes->entries);
    *routes = (struct hcs_routes){0};
}
