#include "event/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BACKLOG = 65535, /* the kernel cuts it to net.core.somaxconn */
    TCP_FLAGS_OFFSET = 13,
    TCP_FLAG_SYN = 0x02,
    TCP_FLAG_ACK = 0x10,
    UNSENT_MAX = 128 * 1024, /* twice what one send of small replies holds */
};

int hcs_address_make(
    struct hcs_address *out, const char *address, uint16_t port, bool *v4_only)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&out->at;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&out->at;
    int fd;

    memset(out, 0, sizeof(*out));
    *v4_only = false;
    if (address != NULL && inet_pton(AF_INET, address, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        out->length = sizeof(*in);
        return 0;
    }
    if (address != NULL) {
        if (inet_pton(AF_INET6, address, &in6->sin6_addr) != 1) {
            return -EINVAL;
        }
    } else {
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 && errno == EAFNOSUPPORT) {
            *v4_only = true;
            return hcs_address_make(out, "0.0.0.0", port, &(bool){false});
        }
        if (fd >= 0) {
            close(fd);
        }
        in6->sin6_addr = in6addr_any;
    }
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    out->length = sizeof(*in6);
    return 0;
}

void hcs_address_text(
    const struct hcs_address *address, char out[HCS_LISTENER_TEXT])
{
    const struct sockaddr_in *in =
        (const struct sockaddr_in *)(const void *)&address->at;
    const struct sockaddr_in6 *in6 =
        (const struct sockaddr_in6 *)(const void *)&address->at;
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->at.ss_family == AF_INET) {
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, HCS_LISTENER_TEXT, "%s:%u", host, ntohs(in->sin_port));
    } else {
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(
            out, HCS_LISTENER_TEXT, "[%s]:%u", host, ntohs(in6->sin6_port));
    }
}

static int turn_on(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value));
}

/* Sets the options that accepted sockets inherit. 0, or -1 and errno. */
static int set_inherited_options(int fd)
{
    if (turn_on(fd, IPPROTO_TCP, TCP_NODELAY, 1) != 0) {
        return -1;
    }
    /* Without this option the kernel would buffer megabytes for each client
     * that does not read (tcp_wmem), beyond MEMORY_BUDGET. Bytes that the
     * kernel does not take stay in the daemon, within MEMORY_BUDGET. If the
     * option fails, all works as well. */
    (void)turn_on(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MAX);
    return 0;
}

/* first: binds alone, then lets the other listeners join. */
static int open_one(int *out, const struct hcs_address *address, bool first)
{
    const struct sockaddr *at = (const struct sockaddr *)&address->at;
    int rc = 0;
    int fd =
        socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || turn_on(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0 ||
        set_inherited_options(fd) != 0 ||
        (at->sa_family == AF_INET6 && /* IPv4, too, but for "::" only */
            turn_on(fd, IPPROTO_IPV6, IPV6_V6ONLY,
                !IN6_IS_ADDR_UNSPECIFIED(
                    &((const struct sockaddr_in6 *)(const void *)at)
                         ->sin6_addr)) != 0) ||
        (!first && turn_on(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0) ||
        bind(fd, at, address->length) != 0 ||
        (first && turn_on(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0)) {
        rc = -errno;
        goto out;
    }
    *out = fd;
    fd = -1; /* given to the caller */
out:
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

int hcs_listener_open(struct hcs_address *address, int *fds, size_t count)
{
    size_t opened = 0;
    int rc = 0;

    assert(count >= 1);
    while (opened < count) {
        rc = open_one(&fds[opened], address, opened == 0);
        if (rc != 0) {
            goto out;
        }
        opened++;
        if (opened == 1 && getsockname(fds[0], (struct sockaddr *)&address->at,
                               &address->length) != 0) {
            rc = -errno;
            goto out;
        }
    }
    /* Listen only when all are bound. A listener that is alone for a moment
     * would collect the connections of the others. */
    for (size_t i = 0; i < count; i++) {
        if (listen(fds[i], BACKLOG) != 0) {
            rc = -errno;
            goto out;
        }
    }
    opened = 0; /* given to the caller */
out:
    while (opened > 0) {
        close(fds[--opened]);
        fds[opened] = -1; /* the caller closes all that is not -1 */
    }
    return rc;
}

static int ask(int fd, int option, int *value)
{
    socklen_t length = sizeof(*value);

    return getsockopt(fd, SOL_SOCKET, option, value, &length) == 0 ? 0 : -errno;
}

int hcs_listener_adopt(int fd, struct hcs_address *address)
{
    int type;
    int family;
    int protocol;
    int listens;
    int flags;
    int rc = ask(fd, SO_TYPE, &type);

    if (rc != 0 || (rc = ask(fd, SO_DOMAIN, &family)) != 0 ||
        (rc = ask(fd, SO_PROTOCOL, &protocol)) != 0 ||
        (rc = ask(fd, SO_ACCEPTCONN, &listens)) != 0) {
        return rc;
    }
    if (family != AF_INET && family != AF_INET6) {
        return -EAFNOSUPPORT;
    }
    if (type != SOCK_STREAM || protocol != IPPROTO_TCP) {
        return -EPROTOTYPE;
    }
    if (listens == 0) {
        return -EINVAL;
    }
    flags = fcntl(fd, F_GETFL, 0);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        set_inherited_options(fd) != 0) {
        return -errno;
    }
    address->length = sizeof(address->at);
    return getsockname(fd, (struct sockaddr *)&address->at, &address->length) ==
                   0
               ? 0
               : -errno;
}

bool hcs_address_equal(const struct hcs_address *a, const struct hcs_address *b)
{
    /* getsockname(2) sets all bytes of an address, so memcmp can compare. */
    return a->length == b->length && memcmp(&a->at, &b->at, a->length) == 0;
}

int hcs_listener_drop_new(int fd)
{
    /* socket(7), SO_ATTACH_FILTER: the program sees the segment from its TCP
     * header on. A bare SYN is dropped; the ACK that completes a handshake
     * passes. Accepted sockets inherit it, and never receive a bare SYN. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS_OFFSET),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TCP_FLAG_SYN | TCP_FLAG_ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TCP_FLAG_SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {
        .len = sizeof(code) / sizeof(code[0]),
        .filter = code,
    };

    return setsockopt(
               fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0
               ? 0
               : -errno;
}

int hcs_listener_waiting(int fd)
{
    struct tcp_info info;
    socklen_t length = sizeof(info);

    /* For a listener tcpi_unacked is the length of its accept queue. */
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
        return -errno;
    }
    if (length <
        offsetof(struct tcp_info, tcpi_unacked) + sizeof(info.tcpi_unacked)) {
        return -EOPNOTSUPP; /* an emulator gives only a part of the struct */
    }
    return (int)info.tcpi_unacked;
}
