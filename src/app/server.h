/*
 * server - the daemon: start, serve, drain, end.
 *
 * Owns:    everything that runs; its parts are listeners, loops, opening and
 *          sampler.
 * Threads: main only.
 * Waits:   hcs_server_run, until a signal ends the daemon.
 */
#ifndef HCS_APP_SERVER_H
#define HCS_APP_SERVER_H

#include "app/config.h"

/* Serves until SIGTERM or SIGINT; gives the exit status. If the start fails, one
 * line on standard error says why. notify_socket: $NOTIFY_SOCKET, or NULL.
 * inherited: how many descriptors, from HCS_INHERITED_FIRST on, are listeners of
 * a service manager, used instead of PORT and ADDRESS; 0: none. */
int hcs_server_run(const struct hcs_config *config, const char *version,
    const char *notify_socket, unsigned inherited);

#endif
