#include "http/router.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MAX_DECODED = 1024 };

static const char PROBLEMS[] = "/problems/";

struct hcs_router {
    struct hcs_route **sorted; /* by length, then bytes */
    size_t count;
    struct hcs_route **jobs; /* as they were added */
    size_t job_count;
    struct hcs_route problem;
};

static int compare(
    const char *a, size_t a_length, const char *b, size_t b_length)
{
    if (a_length != b_length) {
        return a_length < b_length ? -1 : 1;
    }
    return memcmp(a, b, a_length);
}

/* Where the path stands, or would stand. */
static size_t place(
    const struct hcs_router *router, const char *path, size_t length)
{
    size_t low = 0;
    size_t high = router->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct hcs_route *route = router->sorted[middle];

        if (compare(route->path, route->path_length, path, length) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct hcs_route *insert(
    struct hcs_router *router, enum hcs_resource resource, const char *path)
{
    size_t length = strlen(path);
    size_t at = place(router, path, length);
    struct hcs_route **sorted =
        realloc(router->sorted, (router->count + 1) * sizeof(*sorted));
    struct hcs_route *route;
    char *copy;

    if (sorted == NULL) {
        return NULL;
    }
    router->sorted = sorted;
    route = calloc(1, sizeof(*route));
    copy = strdup(path);
    if (route == NULL || copy == NULL) {
        free(route);
        free(copy);
        return NULL;
    }
    route->resource = resource;
    route->path = copy;
    route->path_length = length;
    memmove(&sorted[at + 1], &sorted[at],
        (router->count - at) * sizeof(struct hcs_route *));
    sorted[at] = route;
    router->count++;
    return route;
}

struct hcs_router *hcs_router_create(void)
{
    static const struct {
        const char *path;
        enum hcs_resource resource;
    } own[] = {
        {"/health", HCS_RESOURCE_HEALTH},
        {"/livez", HCS_RESOURCE_LIVE},
        {"/healthz", HCS_RESOURCE_LIVE},
        {"/readyz", HCS_RESOURCE_READY},
        {"/metrics", HCS_RESOURCE_METRICS},
    };
    struct hcs_router *router = calloc(1, sizeof(*router));

    if (router == NULL) {
        return NULL;
    }
    router->problem.resource = HCS_RESOURCE_PROBLEM;
    router->problem.path = PROBLEMS;
    router->problem.path_length = sizeof(PROBLEMS) - 1;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (insert(router, own[i].resource, own[i].path) == NULL) {
            hcs_router_destroy(router);
            return NULL;
        }
    }
    return router;
}

void hcs_router_destroy(struct hcs_router *router)
{
    if (router == NULL) {
        return;
    }
    for (size_t i = 0; i < router->job_count; i++) {
        struct hcs_route *route = router->jobs[i];

        if (route->handler != NULL && route->handler->close != NULL) {
            route->handler->close(route->self);
        }
    }
    for (size_t i = 0; i < router->count; i++) {
        free((char *)(uintptr_t)router->sorted[i]->path);
        free(router->sorted[i]);
    }
    free(router->sorted);
    free(router->jobs);
    free(router);
}

int hcs_router_add(struct hcs_router *router, const char *path,
    const struct hcs_handler *handler, const char *argument, char *error,
    size_t error_size)
{
    struct hcs_route **jobs;
    struct hcs_route *route;

    if (hcs_router_find(router, path, strlen(path)) != NULL) {
        snprintf(error, error_size, "%s is taken", path);
        return -1;
    }
    jobs = realloc(router->jobs, (router->job_count + 1) * sizeof(*jobs));
    if (jobs != NULL) {
        router->jobs = jobs;
    }
    route = jobs == NULL ? NULL : insert(router, HCS_RESOURCE_JOB, path);
    if (route == NULL) {
        snprintf(error, error_size, "out of memory");
        return -1;
    }
    route->index = (unsigned)router->job_count;
    jobs[router->job_count++] = route;
    if (handler->abi != HCS_HANDLER_ABI) {
        snprintf(error, error_size,
            "%s: built for handler ABI %u; this hcsd has %u", handler->name,
            (unsigned)handler->abi, (unsigned)HCS_HANDLER_ABI);
        return -1;
    }
    if (handler->open != NULL) {
        if (handler->open(&route->self, argument, error, error_size) != 0) {
            return -1;
        }
    } else if (argument != NULL) {
        snprintf(error, error_size, "%s takes no argument", handler->name);
        return -1;
    }
    route->handler = handler; /* open: to be closed */
    return 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes percent-encoding; a "%" without two digits stays. False when the
 * result is longer than any path here. */
static bool decode(
    const char *from, size_t length, char *to, size_t room, size_t *used)
{
    *used = 0;
    for (size_t i = 0; i < length; i++) {
        char c = from[i];

        if (c == '%' && i + 2 < length && hex(from[i + 1]) >= 0 &&
            hex(from[i + 2]) >= 0) {
            c = (char)(hex(from[i + 1]) * 16 + hex(from[i + 2]));
            i += 2;
        }
        if (*used == room) {
            return false;
        }
        to[(*used)++] = c;
    }
    return true;
}

static const struct hcs_route *find_decoded(
    const struct hcs_router *router, const char *path, size_t length)
{
    size_t at = place(router, path, length);

    if (at < router->count &&
        compare(router->sorted[at]->path, router->sorted[at]->path_length, path,
            length) == 0) {
        return router->sorted[at];
    }
    if (length >= sizeof(PROBLEMS) - 1 &&
        memcmp(path, PROBLEMS, sizeof(PROBLEMS) - 1) == 0) {
        return &router->problem;
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
    if (!decode(path, length, decoded, sizeof(decoded), &used)) {
        return NULL;
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
