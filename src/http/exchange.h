/*
 * exchange - one request and its reply, as plain facts.
 *
 * The loop that serves the client fills the exchange in, and ends it once.
 * Whoever limits, counts, logs or traces requests looks at these facts, and at
 * nothing of the connection.
 *
 * Owns:    nothing but an identifier that was made. Texts are lent until the
 *          exchange ends.
 * Threads: the loop that fills it in.
 * Waits:   never.
 */
#ifndef HCS_HTTP_EXCHANGE_H
#define HCS_HTTP_EXCHANGE_H

#include "http/reason.h"
#include "http/request_head.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_peer;

enum { HCS_EXCHANGE_ID_MADE = 36 }; /* bytes of a UUID */

/* What is not known at first is 0, and stands together, so that clearing it is
 * cheap. */
struct hcs_exchange {
    /* What was asked. */
    enum hcs_method method; /* counts only where understood is true */
    bool understood;        /* the header section was read and accepted */
    bool head_only;         /* the reply has no body: HEAD */
    bool minor;             /* HTTP/1.1 and above, not 1.0 */
    bool keep_alive;        /* another request may follow this one */
    const struct hcs_peer *peer;
    const char *id; /* of the client, or one that was made */
    size_t id_length;
    uint64_t bytes_in; /* of the body */
    const char *route; /* the path or page that matched; NULL: none */
    uint64_t began_ns; /* CLOCK_MONOTONIC; 0: in this turn of the loop */
    unsigned job;      /* index of a job's route; counts where admitted */
    bool admitted;     /* the job was queued */

    /* How it ended. */
    bool timed; /* queue_ns and run_ns are known */
    uint64_t queue_ns;
    uint64_t run_ns;
    uint64_t bytes_out;     /* of the body, also where HEAD leaves it out */
    unsigned status;        /* 0: without a reply */
    enum hcs_reason reason; /* NONE: answered as asked */

    char made_id[HCS_EXCHANGE_ID_MADE];
};

#endif
