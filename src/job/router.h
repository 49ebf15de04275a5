/*
 * router - finds the page or the mount of a path.
 *
 * Owns:    its routes and their mounts.
 * Threads: main builds and destroys it. In between all threads read it.
 * Waits:   open and close: as long as the handlers' open and close do.
 */
#ifndef HCS_JOB_ROUTER_H
#define HCS_JOB_ROUTER_H

#include "http/method.h"
#include "job/mount.h"

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>

struct hcs_page; /* the router does not look into it */

struct hcs_route {
    const struct hcs_page *page; /* NULL: the route leads to a mount */
    const char *path;            /* decoded */
    size_t path_length;
    unsigned methods; /* a set: http/method.h */
    unsigned index;   /* among the routes of mounts, in the order of adding */
    struct hcs_mount *mount;
    SLIST_ENTRY(hcs_route) next; /* in a list of the router */
};

struct hcs_router; /* opaque */

struct hcs_router *hcs_router_create(void);

/* NULL is allowed. */
void hcs_router_destroy(struct hcs_router *router);

/* Takes ownership of the mount, even if the call fails. The mount's path is
 * decoded; a request's path must be equal to it. Returns 0; -EINVAL: the path
 * is taken; -ENOMEM: no memory, or mount is NULL. */
int hcs_router_add(struct hcs_router *router, struct hcs_mount *mount);

/* A path that ends in "/" stands for all paths that begin with it. Returns 0 or
 * -ENOMEM. */
int hcs_router_add_page(struct hcs_router *router, const struct hcs_page *page,
    const char *path, unsigned methods);

/* Opens the mounts, in the order they were added. Returns 0; -EINVAL: a mount
 * could not be opened, and hcs_router_fault returns it; -ECANCELED: main has
 * called the start off. If the call fails, no mount is open. */
int hcs_router_open(struct hcs_router *router);

/* Closes the mounts. Before, all jobs must have ended. */
void hcs_router_close(struct hcs_router *router);

/* The first mount whose open or open_worker failed, or NULL. */
struct hcs_mount *hcs_router_fault(const struct hcs_router *router);

/* The route of a path as the client sent it. A path names the same resource
 * with and without percent-encoding (RFC 3986, section 6.2.2). NULL: there is
 * no such resource. */
const struct hcs_route *hcs_router_find(
    const struct hcs_router *router, const char *path, size_t length);

size_t hcs_router_jobs(const struct hcs_router *router);
const struct hcs_route *hcs_router_job(
    const struct hcs_router *router, size_t index);

#endif
