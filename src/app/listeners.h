/*
 * listeners - the sockets at which the daemon listens: opened here, or handed
 * over by a service manager.
 *
 * Owns:    main's copies of the descriptors. In private descriptor tables each
 *          loop has copies of its own; in a shared table main's copies are the
 *          loops' own, and a loop that has ended forgets its part.
 * Threads: main; forget by a loop's thread that ends, for its own part.
 * Waits:   never.
 */
#ifndef HCS_APP_LISTENERS_H
#define HCS_APP_LISTENERS_H

#include "app/config.h"
#include "base/log.h"
#include "event/listener.h"
#include "shard/run.h"

#include <stdbool.h>

struct hcs_listeners {
    int *fds; /* loop by loop; -1: closed, or forgotten */
    unsigned count;
    unsigned loops;
    unsigned inherited; /* from a service manager; 0: opened here */
    enum hcs_listener_origin origin;
    struct hcs_address address; /* of the first */
};

/* inherited: so many descriptors, from HCS_INHERITED_FIRST on, are listeners of
 * a service manager; 0: none. False when there is no memory. */
bool hcs_listeners_init(
    struct hcs_listeners *listeners, unsigned loops, unsigned inherited);
void hcs_listeners_fini(struct hcs_listeners *listeners);

/* Opens listeners at PORT and ADDRESS, or takes those that were inherited. 0, or
 * an exit status with what went wrong said. */
int hcs_listeners_open(struct hcs_listeners *listeners,
    const struct hcs_config *config, struct hcs_log *log);

/* Listeners of one loop, and how many each loop has. */
const int *hcs_listeners_of(
    const struct hcs_listeners *listeners, unsigned loop);
unsigned hcs_listeners_each(const struct hcs_listeners *listeners);

/* The highest descriptor. */
int hcs_listeners_highest(const struct hcs_listeners *listeners);

/* Has the kernel drop new connection attempts, before the listeners are closed.
 * Not at inherited listeners: connections that come from now on wait there for
 * the next process. */
void hcs_listeners_drop_new(
    const struct hcs_listeners *listeners, struct hcs_log *log);

void hcs_listeners_close(struct hcs_listeners *listeners);
void hcs_listeners_forget(struct hcs_listeners *listeners, unsigned loop);

#endif
