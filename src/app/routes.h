/*
 * routes - which handler serves which path: the language of HANDLERS and of
 * HANDLERS_FILE.
 *
 * An entry is PATH=KIND[:ARGUMENT][?key=value&...]. Entries stand between
 * blanks; in a file, each on a line of its own, with # comments. Double quotes
 * keep blanks. %XX is decoded in PATH and ARGUMENT.
 *
 * Owns:    the texts in struct hcs_routes (hcs_routes_fini).
 * Threads: one at a time.
 * Waits:   never, but for reading the file.
 */
#ifndef HCS_APP_ROUTES_H
#define HCS_APP_ROUTES_H

#include "app/message.h"

#include <stddef.h>
#include <stdio.h>

enum { HCS_ROUTES_MAX = 256 };

/* One entry, taken apart. */
struct hcs_routes_entry {
    char *path;     /* starts with "/", and is decoded; all its characters may
                       stand in a path as they are (RFC 3986, section 3.3) */
    char *kind;     /* of handler */
    char *argument; /* decoded; NULL when there is no ":..." */
    char *query;    /* NULL when there is no "?...": raw key=value&... */
};

struct hcs_routes {
    struct hcs_routes_entry *entries;
    size_t count;
};

/* Adds the entries of text, or of a file. 0, or -EINVAL or -ENOMEM after error
 * was told what is wrong; entries before the wrong one stay. */
int hcs_routes_parse(
    struct hcs_routes *routes, const char *text, struct hcs_message *error);
int hcs_routes_read_file(
    struct hcs_routes *routes, const char *name, struct hcs_message *error);

/* Prints the entries so that hcs_routes_parse would read the same. */
void hcs_routes_print(const struct hcs_routes *routes, FILE *out);

/* Frees the entries; no entry is left. */
void hcs_routes_fini(struct hcs_routes *routes);

#endif
