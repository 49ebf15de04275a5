/*
 * heads - reads one request's header section again and again, and nothing else.
 *
 * In hcsd the compiler inlines the raw check and llhttp into their callers, so
 * a profile cannot tell their costs apart. Here they are called through
 * pointers, which prevents inlining, and one part at a time:
 *
 *     heads PART TIMES FILE
 *
 * FILE holds a request. PART is "scan" (the raw check), "llhttp" (llhttp
 * without callbacks), "parse" (llhttp, with hcsd's callbacks and the comparison
 * with hcsd's own reading) or "nothing" (the loop alone). Run it under
 * callgrind with two values of TIMES. The difference of the two counts, divided
 * by the difference of TIMES, is the cost of one section.
 */
#include "http/head.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_MAX = 64 * 1024, EXIT_USAGE = 2 };

struct subject {
    char bytes[REQUEST_MAX];
    size_t length, head_length;
    struct hcs_head_scan scan;
    struct hcs_parser parser;
    llhttp_t fresh, llhttp;
};

static int pause_here(llhttp_t *llhttp)
{
    (void)llhttp;
    return HPE_PAUSED;
}

static bool do_nothing(struct subject *s)
{
    return s->length > 0;
}

static bool do_scan(struct subject *s)
{
    enum hcs_reason reason = HCS_REASON_NONE;

    s->scan = (struct hcs_head_scan){0};
    return hcs_head_scan(&s->scan, s->bytes, s->length, REQUEST_MAX,
               &s->head_length, &reason) == HCS_SCAN_DONE;
}

static bool do_llhttp(struct subject *s)
{
    s->llhttp = s->fresh;
    return llhttp_execute(&s->llhttp, s->bytes, s->head_length) == HPE_PAUSED;
}

static bool do_parse(struct subject *s)
{
    struct hcs_head head;

    return hcs_head_parse(&s->parser, &s->scan, s->bytes, s->head_length,
               &head) == HCS_REASON_NONE;
}

static bool read_file(struct subject *s, const char *name)
{
    FILE *file = fopen(name, "rb");

    if (file == NULL) {
        perror(name);
        return false;
    }
    s->length = fread(s->bytes, 1, sizeof s->bytes, file);
    fclose(file);
    return s->length > 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool (*run)(struct subject *s);
    } parts[] = {{"nothing", do_nothing}, {"scan", do_scan},
        {"llhttp", do_llhttp}, {"parse", do_parse}};
    static const llhttp_settings_t deaf = {.on_headers_complete = pause_here};
    static struct subject subject;
    bool (*volatile run)(struct subject * s) = NULL;

    for (size_t i = 0; argc == 4 && i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(argv[1], parts[i].name) == 0) {
            run = parts[i].run;
        }
    }
    if (run == NULL) {
        fputs("usage: heads nothing|scan|llhttp|parse TIMES FILE\n", stderr);
        return EXIT_USAGE;
    }
    hcs_parser_init(&subject.parser);
    llhttp_init(&subject.fresh, HTTP_REQUEST, &deaf);
    if (!read_file(&subject, argv[3]) || !do_scan(&subject)) {
        fputs("heads: no request that is in order\n", stderr);
        return EXIT_FAILURE;
    }
    for (long times = strtol(argv[2], NULL, 10); times > 0; times--) {
        if (!run(&subject)) {
            fputs("heads: refused\n", stderr);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}
