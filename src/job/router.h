/*
 * router - which resource a path names.
 *
 * Owns:    its routes, and the mounts behind them.
 * Threads: built and destroyed by main; read by all in between.
 * Waits:   in open and close, as long as the handlers' own do.
 */
#ifndef HCS_JOB_ROUTER_H
#define HCS_JOB_ROUTER_H

#include "http/method.h"
#include "job/mount.h"

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>

struct hcs_page; /* whoever serves pages defines it */

struct hcs_route {
    const struct hcs_page *page; /* NULL: the route is a job's */
    const char *path;            /* decoded */
    size_t path_length;
    unsigned methods; /* a set: http/method.h */
    unsigned index;   /* of a job's route, in the order they were added */
    struct hcs_mount *mount;
    SLIST_ENTRY(hcs_route) next; /* the router's */
};

struct hcs_router; /* opaque */

struct hcs_router *hcs_router_create(void);

/* NULL is allowed. */
void hcs_router_destroy(struct hcs_router *router);

/* Takes the mount, also when it fails. The mount's path is decoded, and matches
 * exactly. 0, or -EINVAL when the path is taken, or -ENOMEM, also when mount is
 * NULL. */
int hcs_router_add(struct hcs_router *router, struct hcs_mount *mount);

/* A path that ends in "/" stands for all paths that begin with it. 0, or
 * -ENOMEM. */
int hcs_router_add_page(struct hcs_router *router, const struct hcs_page *page,
    const char *path, unsigned methods);

/* Opens the mounts, in the order they were added. 0; or -EINVAL: then
 * hcs_router_fault gives the mount that could not be opened; or -ECANCELED:
 * called off. Where it is not 0, no mount is open. */
int hcs_router_open(struct hcs_router *router);

/* Closes the mounts. No job may run any more. */
void hcs_router_close(struct hcs_router *router);

/* The first mount that failed, in open or on a worker, or NULL. */
struct hcs_mount *hcs_router_fault(const struct hcs_router *router);

/* The route of a path as it was sent, percent-encoded or not: both are the same
 * path (RFC 3986, section 6.2.2). NULL when there is no such resource. */
const struct hcs_route *hcs_router_find(
    const struct hcs_router *router, const char *path, size_t length);

size_t hcs_router_jobs(const struct hcs_router *router);
const struct hcs_route *hcs_router_job(
    const struct hcs_router *router, size_t index);

#endif
