/*
 * router - which resource a path names.
 *
 * Owns:    its routes, and the opened handlers behind them.
 * Threads: built and destroyed by main; read by all in between.
 * Waits:   in add and destroy, as long as a handler's open and close do.
 */
#ifndef HCS_HTTP_ROUTER_H
#define HCS_HTTP_ROUTER_H

#include "hcs/handler.h"

#include <stdbool.h>
#include <stddef.h>

enum hcs_resource {
    HCS_RESOURCE_NONE, /* 404 */
    HCS_RESOURCE_JOB,
    HCS_RESOURCE_HEALTH, /* /health */
    HCS_RESOURCE_LIVE,   /* /livez, /healthz */
    HCS_RESOURCE_READY,  /* /readyz */
    HCS_RESOURCE_METRICS,
    HCS_RESOURCE_PROBLEM, /* /problems/NAME */
};

struct hcs_route {
    enum hcs_resource resource;
    const char *path; /* decoded */
    size_t path_length;
    unsigned index; /* of a job's route, in the order they were added */
    const struct hcs_handler *handler;
    void *self;             /* of the handler */
    struct hcs_route *next; /* the router's */
};

struct hcs_router; /* opaque */

struct hcs_router *hcs_router_create(void);

/* Closes the handlers. No job may run any more. NULL is allowed. */
void hcs_router_destroy(struct hcs_router *router);

/* Opens the handler for the path, which is exact and not reserved. path is
 * copied. 0, or -EINVAL with one line in error, or -ENOMEM. */
int hcs_router_add(struct hcs_router *router, const char *path,
    const struct hcs_handler *handler, const char *argument, char *error,
    size_t error_size);

/* The path as it was sent, percent-encoded or not (RFC 3986, 6.2.2: the two
 * are the same path). NULL when there is no such resource. */
const struct hcs_route *hcs_router_find(
    const struct hcs_router *router, const char *path, size_t length);

/* Decodes percent-encoding; a "%" without two digits stays. False when the
 * result has no room. */
bool hcs_router_decode(
    const char *from, size_t length, char *to, size_t room, size_t *used);

size_t hcs_router_jobs(const struct hcs_router *router);
const struct hcs_route *hcs_router_job(
    const struct hcs_router *router, size_t index);

#endif
