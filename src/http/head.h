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

/* One reading of a section; private to head.c. */
struct hcs_head_reading {
    const char *base;                 /* the section */
    const char *end;                  /* behind it */
    const char *next;                 /* where the next line must start */
    const char *target;               /* where it must start */
    const char *colon;                /* of the field whose value comes next */
    struct hcs_span values[12];       /* of the fields that mean something */
    unsigned seen, repeated;          /* a bit for each of them */
    uint32_t names;                   /* as in the scan */
    uint32_t fields;                  /* so far */
    uint8_t field;                    /* the one whose value comes next */
    char minor;                       /* the digit */
    bool stand_in;                    /* llhttp is given another request line */
    bool complete;                    /* llhttp has seen the end */
    bool close, keep, bad_connection; /* Connection */
    bool expects_continue;            /* Expect: 100-continue */
    bool expects_else;                /* something other than that */
    uint8_t match, none_match;        /* enum hcs_tags: of If-(None-)Match */
};

struct hcs_parser {
    llhttp_t llhttp; /* first: its callbacks find the parser by it */
    llhttp_t fresh;  /* as llhttp_init leaves it */
    struct hcs_head *head;
    struct hcs_head_reading reading;
    uint32_t host_length; /* of host: the last one that was found valid */
    char host[64];
};

void hcs_parser_init(struct hcs_parser *parser);

/* Parses a whole section that this scan called DONE. NONE, or why it is
 * refused: *head is then only partly filled, but method and minor are valid
 * where they could be read. */
enum hcs_reason hcs_head_parse(struct hcs_parser *parser,
    const struct hcs_head_scan *scan, const char *bytes, size_t head_length,
    struct hcs_head *head);

/* The value of the first field of that name (compared without case) in a
 * section that was parsed, without white space around it; found by a walk over
 * the lines. False when there is none. */
bool hcs_head_field(const char *bytes, size_t head_length, const char *name,
    struct hcs_span *value);

#endif
