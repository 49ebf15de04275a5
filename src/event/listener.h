/*
 * listener - listening TCP sockets.
 *
 * Owns:    nothing: descriptors are the caller's.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_EVENT_LISTENER_H
#define HCS_EVENT_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { HCS_LISTENER_TEXT = 64 };

struct hcs_address {
    struct sockaddr_storage at;
    socklen_t length;
};

/* address: a literal v4 or v6 address, or NULL for all (v6 and v4 in one
 * socket; v4 alone where there is no v6, then *v4_only is set). 0 or -errno. */
int hcs_address_make(
    struct hcs_address *out, const char *address, uint16_t port, bool *v4_only);

/* "127.0.0.1:8080", "[::]:8080". */
void hcs_address_text(
    const struct hcs_address *address, char out[HCS_LISTENER_TEXT]);

bool hcs_address_equal(
    const struct hcs_address *a, const struct hcs_address *b);

/* Opens count listeners on one address, one for each loop, all
 * SO_REUSEPORT, TCP_NODELAY (accepted sockets inherit it). The first is bound
 * without SO_REUSEPORT, so that a second daemon on the same port fails with
 * -EADDRINUSE instead of taking half of the connections. *address gets the port
 * that was picked for port 0. 0, or -errno with none left open. */
int hcs_listener_open(struct hcs_address *address, int *fds, size_t count);

/* Makes ready a listener that somebody else opened, as hcs_listener_open does
 * its own: non-blocking, and the options that accepted sockets inherit. Gives
 * its address. 0; -ENOTSOCK, -EAFNOSUPPORT (neither v4 nor v6), -EPROTOTYPE
 * (not TCP), -EINVAL (it does not listen), or another -errno. */
int hcs_listener_adopt(int fd, struct hcs_address *address);

/* From now on the kernel drops new connection attempts at this listener, and
 * completes those that have begun: before a listener is closed, since closing
 * resets what waits in it. 0, or -errno. */
int hcs_listener_drop_new(int fd);

/* Completed connections that wait to be accepted; -errno when unknown. */
int hcs_listener_waiting(int fd);

#endif
