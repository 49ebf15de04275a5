#include "base/peer.h"

#include <arpa/inet.h>
#include <string.h>

static const unsigned char MAPPED[12] = {[10] = 0xff, [11] = 0xff};

void hcs_peer_from_socket(
    struct hcs_peer *peer, const union hcs_peer_socket *from)
{
    if (from->any.sa_family == AF_INET6) {
        memcpy(peer->address, &from->v6.sin6_addr, sizeof(peer->address));
    } else if (from->any.sa_family == AF_INET) {
        memcpy(peer->address, MAPPED, sizeof(MAPPED));
        memcpy(peer->address + sizeof(MAPPED), &from->v4.sin_addr,
            sizeof(from->v4.sin_addr));
    } else {
        memset(peer->address, 0, sizeof(peer->address));
    }
}

const char *hcs_peer_text(const struct hcs_peer *peer, char out[HCS_PEER_TEXT])
{
    static const struct hcs_peer unknown;
    const char *text;

    if (memcmp(peer, &unknown, sizeof(unknown)) == 0) {
        return "";
    }
    if (memcmp(peer->address, MAPPED, sizeof(MAPPED)) == 0) {
        text = inet_ntop(
            AF_INET, peer->address + sizeof(MAPPED), out, HCS_PEER_TEXT);
    } else {
        text = inet_ntop(AF_INET6, peer->address, out, HCS_PEER_TEXT);
    }
    return text != NULL ? text : "";
}
