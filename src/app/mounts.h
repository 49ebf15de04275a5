/*
 * mounts - the handlers of the configuration, each as a mount of a router.
 *
 * Owns:    nothing; it gives routers.
 * Threads: main.
 * Waits:   make, as long as loading modules takes; check, as long as handlers
 *          take to open.
 */
#ifndef HCS_APP_MOUNTS_H
#define HCS_APP_MOUNTS_H

#include "app/config.h"
#include "app/kinds.h"
#include "job/router.h"

#include <stddef.h>

/* Gives a router with a mount for each route of config; no mount is open. 0; or
 * -EINVAL or -ENOMEM with one line in error. */
int hcs_mounts_make(struct hcs_router **out, const struct hcs_host *host,
    const struct hcs_kinds *kinds, const struct hcs_config *config, char *error,
    size_t error_size);

/* Writes one line to error: which mount of the router failed, and why. There has
 * to be one (hcs_router_fault). */
void hcs_mounts_say_fault(const struct hcs_router *router,
    const struct hcs_config *config, char *error, size_t error_size);

/* Opens every handler of config and closes it again. 0; or -EINVAL or -ENOMEM
 * with one line in error. */
int hcs_mounts_check(
    const struct hcs_config *config, char *error, size_t error_size);

#endif
