/*
 * transport - the bytes of one client: receive, send, shut, close.
 *
 * Every call on a client's socket is made here, so that another transport than
 * TCP can take its place.
 *
 * Owns:    the descriptor, until close or until the spares take it back.
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
    HCS_IO_MORE,    /* receive: got *count bytes, and there may be more. Send:
                       sent *count bytes, and there may be room for more */
    HCS_IO_DRAINED, /* receive: got *count bytes, and there are no more. Send:
                       sent nothing, as there is no room. An edge will tell
                       of a change */
    HCS_IO_STARVED, /* send: the kernel had no memory. No edge will tell when
                       it has */
    HCS_IO_END,     /* receive: the client has sent its last byte */
    HCS_IO_FAILED,  /* the connection is broken: hcs_transport_failure */
};

/* Receives at most room bytes; room is at least 1. *count: how many came. */
enum hcs_io hcs_transport_receive(
    struct hcs_transport *transport, char *at, size_t room, size_t *count);

/* Likewise, but throws the bytes away. scratch has room bytes. */
enum hcs_io hcs_transport_discard(
    struct hcs_transport *transport, char *scratch, size_t room, size_t *count);

/* Sends the parts in order. *count: how many bytes were sent. */
enum hcs_io hcs_transport_send(struct hcs_transport *transport,
    struct iovec *parts, size_t part_count, size_t *count);

/* Why the last call returned HCS_IO_FAILED. */
enum hcs_reason hcs_transport_failure(void);

/* Whether the kernel has bytes that were not received yet. */
bool hcs_transport_has_input(const struct hcs_transport *transport);

/* Bytes that were sent, but that the client has not acknowledged yet. */
int hcs_transport_untaken(const struct hcs_transport *transport);

/* Which of EPOLLRDHUP, EPOLLHUP and EPOLLERR hold now. For a caller that may
 * have missed the edge. */
uint32_t hcs_transport_end_events(const struct hcs_transport *transport);

/* Tells the client that no more bytes follow. False: the connection is
 * broken. */
bool hcs_transport_shut(struct hcs_transport *transport);

/* Makes close throw away the bytes that the client has not taken. Without this
 * call the kernel would keep them for minutes. */
void hcs_transport_abort(struct hcs_transport *transport);

void hcs_transport_close(struct hcs_transport *transport);

#endif
