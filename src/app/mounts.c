#include "app/mounts.h"

#include "shard/pages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_LENGTH = 1024 };

/* "HANDLERS: /score=module: why", or the same with HANDLERS_FILE=NAME. */
static void say_wrong(const struct hcs_config *config, const char *path,
    const char *kind, const char *why, char *error, size_t error_size)
{
    const char *file = config->handlers_file;

    (void)snprintf(error, error_size, "%s%s: %s=%s: %s",
        file != NULL ? "HANDLERS_FILE=" : "HANDLERS", file != NULL ? file : "",
        path, kind, why);
}

/* 0, or -EINVAL or -ENOMEM with one line in error. */
static int add_mount(struct hcs_router *router, const struct hcs_host *host,
    const struct hcs_kinds *kinds, const struct hcs_config *config,
    const struct hcs_routes_entry *route, char *error, size_t error_size)
{
    const struct hcs_handler *handler = NULL;
    char why[ERROR_LENGTH] = "a second handler on one path";
    int rc = hcs_kinds_find(
        route->kind, route->argument, &handler, why, sizeof(why));

    if (rc == 0) {
        rc = hcs_router_add(router,
            hcs_mount_create(host, handler, hcs_kinds_context(kinds, handler),
                route->path,
                hcs_kinds_is_module(route->kind) ? NULL : route->argument,
                route->query));
    }
    if (rc != 0) {
        say_wrong(config, route->path, route->kind,
            rc == -ENOMEM ? "out of memory" : why, error, error_size);
    }
    return rc;
}

int hcs_mounts_make(struct hcs_router **out, const struct hcs_host *host,
    const struct hcs_kinds *kinds, const struct hcs_config *config, char *error,
    size_t error_size)
{
    struct hcs_router *router = hcs_router_create();
    int rc = 0;

    if (router == NULL || hcs_pages_add_to(router) != 0) {
        (void)snprintf(error, error_size, "out of memory");
        hcs_router_destroy(router);
        return -ENOMEM;
    }
    for (size_t i = 0; rc == 0 && i < config->routes.count; i++) {
        rc = add_mount(router, host, kinds, config, &config->routes.entries[i],
            error, error_size);
    }
    if (rc != 0) {
        hcs_router_destroy(router);
        return rc;
    }
    *out = router;
    return 0;
}

void hcs_mounts_say_fault(const struct hcs_router *router,
    const struct hcs_config *config, char *error, size_t error_size)
{
    struct hcs_mount *fault = hcs_router_fault(router);
    const char *path = hcs_mount_path(fault);
    const char *kind = "";

    for (size_t i = 0; i < config->routes.count; i++) {
        if (strcmp(config->routes.entries[i].path, path) == 0) {
            kind = config->routes.entries[i].kind;
        }
    }
    say_wrong(config, path, kind, hcs_mount_error(fault), error, error_size);
}

int hcs_mounts_check(
    const struct hcs_config *config, char *error, size_t error_size)
{
    const struct hcs_kinds kinds = {{NULL}};
    struct hcs_host host = {
        .workers = config->workers,
        .checks = true,
        .job_timeout_ms = config->job_timeout_ms,
    };
    struct hcs_router *router = NULL;
    int rc = hcs_mounts_make(&router, &host, &kinds, config, error, error_size);

    if (rc == 0) {
        rc = hcs_router_open(router);
        if (rc != 0) {
            hcs_mounts_say_fault(router, config, error, error_size);
        }
    }
    hcs_router_destroy(router);
    return rc;
}
