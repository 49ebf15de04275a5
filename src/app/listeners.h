/*
 * listeners - the sockets at which the daemon listens: opened here, or handed
 * over by a service manager.
 *
 * Owns:    main's copies of the descriptors. With private descriptor tables
 *          each loop has copies of its own. With a shared table the loops use
 *          main's copies, and a loop that has ended calls hcs_listeners_forget.
 * Threads: main; forget by the thread of a loop that ends.
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

/* inherited: how many descriptors, from HCS_INHERITED_FIRST on, are listeners
 * of a service manager; 0: none. False when there is no memory. */
bool hcs_listeners_init(
    struct hcs_listeners *listeners, unsigned loops, unsigned inherited);
void hcs_listeners_fini(struct hcs_listeners *listeners);

/* Opens listeners at PORT and ADDRESS, or takes the inherited ones. 0; or,
 * after a message, an exit status. */
int hcs_listeners_open(struct hcs_listeners *listeners,
    const struct hcs_config *config, struct hcs_log *log);

/* The listeners of one loop; and how many each loop has. */
const int *hcs_listeners_of(
    const struct hcs_listeners *listeners, unsigned loop);
unsigned hcs_listeners_each(const struct hcs_listeners *listeners);

/* The highest descriptor. */
int hcs_listeners_highest(const struct hcs_listeners *listeners);

/* Before the listeners are closed: makes the kernel drop new connection
 * attempts. Inherited listeners are left alone: there new connections wait for
 * the next process. */
void hcs_listeners_drop_new(
    const struct hcs_listeners *listeners, struct hcs_log *log);

void hcs_listeners_close(struct hcs_listeners *listeners);
void hcs_listeners_forget(struct hcs_listeners *listeners, unsigned loop);

#endif
