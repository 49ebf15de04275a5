/*
 * transport - the bytes of one client: receive, send, shut, close.
 *
 * Every call on a client's socket is made here, so that what carries the bytes
 * may be another thing than TCP one day.
 *
 * Owns:    the descriptor, until close or until the number is taken over.
 * Threads: the loop that has the descriptor in its table.
 * Waits:   never: the socket does not block.
 */
#ifndef HCS_SHARD_TRANSPORT_H
#define HCS_SHARD_TRANSPORT_H

#include "http/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct hcs_transport {
    int fd;
};

enum hcs_io {
    HCS_IO_MORE,    /* *count bytes went, and there may be more, or room for
                       more */
    HCS_IO_DRAINED, /* received: no more is here, beyond the *count bytes. Sent:
                       nothing, since there is no room. In both cases an edge
                       tells of a change */
    HCS_IO_STARVED, /* sent: the kernel had no memory. No edge tells when it
                       has some again */
    HCS_IO_END,     /* the client has sent its last byte */
    HCS_IO_FAILED,  /* the connection is of no use: hcs_transport_failure */
};

/* Receives at most room bytes (1 and above); *count: how many. */
enum hcs_io hcs_transport_receive(
    struct hcs_transport *transport, char *at, size_t room, size_t *count);

/* Receives and throws away, likewise; scratch has room bytes. */
enum hcs_io hcs_transport_discard(
    struct hcs_transport *transport, char *scratch, size_t room, size_t *count);

/* Sends parts in order; *count: how many bytes of them. */
enum hcs_io hcs_transport_send(struct hcs_transport *transport,
    struct iovec *parts, size_t part_count, size_t *count);

/* Why the call before has FAILED. */
enum hcs_reason hcs_transport_failure(void);

/* Whether bytes are here that were not received yet. */
bool hcs_transport_has_input(const struct hcs_transport *transport);

/* Bytes that were sent and that the client has not taken yet. */
int hcs_transport_untaken(const struct hcs_transport *transport);

/* What epoll would say of the client's end: EPOLLRDHUP, EPOLLHUP and EPOLLERR.
 * For a caller that has missed the edge. */
uint32_t hcs_transport_end_events(const struct hcs_transport *transport);

/* Tells the client that no more bytes come. False: the connection is broken. */
bool hcs_transport_shut(struct hcs_transport *transport);

/* Has close throw away what the client has not taken, instead of leaving it to
 * the kernel for minutes. */
void hcs_transport_abort(struct hcs_transport *transport);

void hcs_transport_close(struct hcs_transport *transport);

#endif
