#include "job/router.h"

#include "base/uri.h"

#include <assert.h>
#include <bsd/stdlib.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { PATH_MAX_DECODED = 1024 };

/* Lists of the hash table. Few paths are known, and two of them seldom have the
 * same length and the same three bytes that bucket() reads. So nearly every
 * list has at most one route. */
enum { BUCKETS = 512 };

SLIST_HEAD(hcs_route_list, hcs_route);

struct hcs_router {
    struct hcs_route_list buckets[BUCKETS];
    struct hcs_route **jobs; /* routes of mounts, in the order of adding */
    size_t job_count;
    struct hcs_route_list prefixes; /* of pages whose path ends in "/" */
};

static size_t bucket(const char *path, size_t length)
{
    size_t middle = (unsigned char)path[length / 2];
    size_t last = (unsigned char)path[length - 1];
    size_t first = (unsigned char)path[length > 1];

    return (length + middle * 5 + last * 17 + first * 31) % BUCKETS;
}

static struct hcs_route_list *list_of(
    struct hcs_router *router, const char *path, size_t length, bool is_page)
{
    return is_page && path[length - 1] == '/'
               ? &router->prefixes
               : &router->buckets[bucket(path, length)];
}

static struct hcs_route *insert(struct hcs_router *router,
    const struct hcs_page *page, const char *path, unsigned methods)
{
    size_t length = strlen(path);
    struct hcs_route *route = calloc(1, sizeof(*route));
    char *copy = strdup(path);
    struct hcs_route_list *list;

    if (route == NULL || copy == NULL) {
        free(route);
        free(copy);
        return NULL;
    }
    list = list_of(router, path, length, page != NULL);
    route->page = page;
    route->path = copy;
    route->path_length = length;
    route->methods = methods;
    SLIST_INSERT_HEAD(list, route, next);
    return route;
}

struct hcs_router *hcs_router_create(void)
{
    return calloc(1, sizeof(struct hcs_router));
}

static void free_list(struct hcs_route_list *list)
{
    struct hcs_route *route;

    while ((route = SLIST_FIRST(list)) != NULL) {
        SLIST_REMOVE_HEAD(list, next);
        free((char *)(uintptr_t)route->path);
        free(route);
    }
}

void hcs_router_destroy(struct hcs_router *router)
{
    if (router == NULL) {
        return;
    }
    for (size_t i = 0; i < router->job_count; i++) {
        hcs_mount_destroy(router->jobs[i]->mount);
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        free_list(&router->buckets[i]);
    }
    free_list(&router->prefixes);
    free(router->jobs);
    free(router);
}

int hcs_router_add(struct hcs_router *router, struct hcs_mount *mount)
{
    const char *path;
    struct hcs_route **jobs;
    struct hcs_route *route;

    if (mount == NULL) {
        return -ENOMEM;
    }
    path = hcs_mount_path(mount);
    if (hcs_router_find(router, path, strlen(path)) != NULL) {
        hcs_mount_destroy(mount);
        return -EINVAL;
    }
    jobs = reallocarray(router->jobs, router->job_count + 1, sizeof(*jobs));
    if (jobs != NULL) {
        router->jobs = jobs;
    }
    route = jobs == NULL ? NULL : insert(router, NULL, path, HCS_METHODS_JOB);
    if (route == NULL) {
        hcs_mount_destroy(mount);
        return -ENOMEM;
    }
    route->mount = mount;
    route->index = (unsigned)router->job_count;
    jobs[router->job_count++] = route;
    return 0;
}

int hcs_router_add_page(struct hcs_router *router, const struct hcs_page *page,
    const char *path, unsigned methods)
{
    return insert(router, page, path, methods) != NULL ? 0 : -ENOMEM;
}

int hcs_router_open(struct hcs_router *router)
{
    for (size_t i = 0; i < router->job_count; i++) {
        int rc = hcs_mount_open(router->jobs[i]->mount);

        if (rc != 0) {
            hcs_router_close(router);
            return rc;
        }
    }
    return 0;
}

void hcs_router_close(struct hcs_router *router)
{
    for (size_t i = 0; i < router->job_count; i++) {
        hcs_mount_close(router->jobs[i]->mount);
    }
}

struct hcs_mount *hcs_router_fault(const struct hcs_router *router)
{
    for (size_t i = 0; i < router->job_count; i++) {
        if (hcs_mount_error(router->jobs[i]->mount) != NULL) {
            return router->jobs[i]->mount;
        }
    }
    return NULL;
}

static const struct hcs_route *find_decoded(
    const struct hcs_router *router, const char *path, size_t length)
{
    const struct hcs_route *route;

    if (length == 0) {
        return NULL;
    }
    SLIST_FOREACH (route, &router->buckets[bucket(path, length)], next) {
        if (route->path_length == length &&
            memcmp(route->path, path, length) == 0) {
            return route;
        }
    }
    SLIST_FOREACH (route, &router->prefixes, next) {
        if (length >= route->path_length &&
            memcmp(path, route->path, route->path_length) == 0) {
            return route;
        }
    }
    return NULL;
}

const struct hcs_route *hcs_router_find(
    const struct hcs_router *router, const char *path, size_t length)
{
    char decoded[PATH_MAX_DECODED];
    size_t used;

    if (memchr(path, '%', length) == NULL) {
        return find_decoded(router, path, length);
    }
    if (!hcs_uri_decode(path, length, decoded, sizeof(decoded), &used)) {
        return NULL; /* the path is longer than that of any route */
    }
    return find_decoded(router, decoded, used);
}

size_t hcs_router_jobs(const struct hcs_router *router)
{
    return router->job_count;
}

const struct hcs_route *hcs_router_job(
    const struct hcs_router *router, size_t index)
{
    assert(index < router->job_count);
    return router->jobs[index];
}
