/*
 * peer - the address of a client, in one form for IPv4 and IPv6.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_BASE_PEER_H
#define HCS_BASE_PEER_H

#include <netinet/in.h>
#include <sys/socket.h>

/* IPv6 in network order. IPv4 is mapped (RFC 4291, section 2.5.5.2). All zero:
 * not known. */
struct hcs_peer {
    unsigned char address[16];
};

/* What accept4(2) fills in. */
union hcs_peer_socket {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

enum { HCS_PEER_TEXT = INET6_ADDRSTRLEN };

void hcs_peer_from_socket(
    struct hcs_peer *peer, const union hcs_peer_socket *from);

/* "192.0.2.1" or "2001:db8::1"; "" where the address is not known. */
const char *hcs_peer_text(const struct hcs_peer *peer, char out[HCS_PEER_TEXT]);

#endif
