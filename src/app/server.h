/*
 * server - the daemon: start, serve, drain, end.
 *
 * Owns:    listeners, loops, pool, log: everything that runs.
 * Threads: main only.
 * Waits:   hcs_server_run, until a signal ends the daemon.
 */
#ifndef HCS_APP_SERVER_H
#define HCS_APP_SERVER_H

#include "app/config.h"

#include <stddef.h>

/* Opens every handler of the configuration and closes it again. 0, or
 * -EINVAL with one line in error, or -ENOMEM. */
int hcs_server_check(
    const struct hcs_config *config, char *error, size_t error_size);

/* Serves until SIGTERM or SIGINT; gives the exit status. What goes wrong at the
 * start is said in one line on standard error. notify_socket: $NOTIFY_SOCKET,
 * or NULL. inherited: so many listeners of a service manager are taken, from
 * HCS_INHERITED_FIRST on, instead of PORT and ADDRESS. */
int hcs_server_run(const struct hcs_config *config, const char *version,
    const char *notify_socket, unsigned inherited);

#endif
