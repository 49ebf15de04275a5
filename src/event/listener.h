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

/* address: a literal IPv4 or IPv6 address, or NULL for all addresses. NULL
 * gives one socket for IPv6 and IPv4; where the kernel has no IPv6, it gives
 * IPv4 alone and sets *v4_only. 0, or -errno. */
int hcs_address_make(
    struct hcs_address *out, const char *address, uint16_t port, bool *v4_only);

/* "127.0.0.1:8080", "[::]:8080". */
void hcs_address_text(
    const struct hcs_address *address, char out[HCS_LISTENER_TEXT]);

bool hcs_address_equal(
    const struct hcs_address *a, const struct hcs_address *b);

/* Opens count listeners on one address, one for each loop, with SO_REUSEPORT
 * and with TCP_NODELAY, which accepted sockets inherit. The first is bound
 * without SO_REUSEPORT. So a second daemon on the same port fails with
 * -EADDRINUSE, instead of taking half of the connections. For port 0, *address
 * gets the port that the kernel has chosen. 0; or -errno, and none is left
 * open. */
int hcs_listener_open(struct hcs_address *address, int *fds, size_t count);

/* Prepares a listener that another program has opened: makes it non-blocking
 * and sets the options that accepted sockets inherit. Gives its address. 0;
 * -ENOTSOCK, -EAFNOSUPPORT (neither IPv4 nor IPv6), -EPROTOTYPE (not TCP),
 * -EINVAL (it does not listen), or another -errno. */
int hcs_listener_adopt(int fd, struct hcs_address *address);

/* From now on the kernel drops new connection attempts at this listener, and
 * completes handshakes that have begun. Call it some time before the listener
 * is closed, because a close resets the connections that wait in it. 0, or
 * -errno. */
int hcs_listener_drop_new(int fd);

/* How many connections wait to be accepted; -errno if that is unknown. */
int hcs_listener_waiting(int fd);

#endif
