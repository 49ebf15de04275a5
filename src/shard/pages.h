/*
 * pages - the daemon's own pages, such as /health and /metrics.
 *
 * Each page is one row of a table. The paths in the table are reserved: no
 * handler can have them.
 *
 * Owns:    nothing.
 * Threads: add_to and reserve by main; answer by the connection's loop.
 * Waits:   never.
 */
#ifndef HCS_SHARD_PAGES_H
#define HCS_SHARD_PAGES_H

#include "job/router.h"
#include "shard/conn_reply.h"

/* A request for a page. */
struct hcs_page_request {
    struct hcs_conn *c;
    struct hcs_exchange *exchange;
    const struct hcs_route *route;
    const char *bytes; /* of the header section */
    const struct hcs_head *head;
    bool more; /* as in hcs_conn_compose */
};

/* Adds all pages to the router of the main site. 0, or -ENOMEM. */
int hcs_pages_add_to(struct hcs_router *router);

/* Whether a decoded path belongs to a page. */
bool hcs_pages_is_reserved(const char *path);

/* Answers with the page of the route; or, if the request's precondition does
 * not hold, with a 304 or a 412 in its place. */
void hcs_pages_answer(const struct hcs_page_request *request);

#endif
