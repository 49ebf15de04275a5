/*
 * head - a request's header section, from bytes to meaning.
 *
 * Two readers look at each section. head_scan checks the lines while they
 * arrive. Then llhttp reads the whole section once, and gives method, target,
 * version and fields. So no field is ever split over two callbacks.
 *
 * Owns:    nothing; the spans of struct hcs_head are offsets.
 * Threads: one at a time for each object; a parser serves one loop.
 * Waits:   never.
 */
#ifndef HCS_HTTP_HEAD_H
#define HCS_HTTP_HEAD_H

#include "http/head_scan.h"
#include "http/reason.h"
#include "http/request_head.h"

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The state of one reading of a section; private to head.c. */
struct hcs_head_reading {
    const char *base;                 /* the section */
    const char *end;                  /* behind the section */
    const char *next;                 /* where the next line must start */
    const char *target;               /* where the target must start */
    const char *colon;                /* of the field whose value comes next */
    struct hcs_span values[12];       /* of the known fields */
    unsigned seen, repeated;          /* a bit for each known field */
    uint32_t names;                   /* as in struct hcs_head_scan */
    uint32_t fields;                  /* so far */
    uint8_t field;                    /* the one whose value comes next */
    char minor;                       /* the digit of the version */
    bool stand_in;                    /* llhttp got another request line */
    bool complete;                    /* llhttp has seen the end */
    bool close, keep, bad_connection; /* Connection */
    bool expects_continue;            /* Expect: 100-continue */
    bool expects_else;                /* Expect: something else */
    uint8_t match, none_match;        /* enum hcs_tags: of If-(None-)Match */
};

struct hcs_parser {
    llhttp_t llhttp; /* first, so that its callbacks find the parser */
    llhttp_t fresh;  /* as llhttp_init leaves it */
    struct hcs_head *head;
    struct hcs_head_reading reading;
    uint32_t host_length; /* of host, the last Host that was valid */
    char host[64];
};

void hcs_parser_init(struct hcs_parser *parser);

/* Parses a whole section; scan called it DONE. HCS_REASON_NONE, or why the
 * section is refused: *head is then filled in part, but method and minor are
 * valid where they could be read. */
enum hcs_reason hcs_head_parse(struct hcs_parser *parser,
    const struct hcs_head_scan *scan, const char *bytes, size_t head_length,
    struct hcs_head *head);

/* Finds the first field of that name, in any case, in a section that was
 * parsed. *value is without the white space around it. False if there is no
 * such field. Walks over all lines. */
bool hcs_head_field(const char *bytes, size_t head_length, const char *name,
    struct hcs_span *value);

#endif
