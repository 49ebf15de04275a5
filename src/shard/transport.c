#include "shard/transport.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a read of room bytes came to. */
static enum hcs_io judge_read(ssize_t n, size_t room, size_t *count)
{
    *count = n > 0 ? (size_t)n : 0;
    if (n > 0) {
        /* A read that is shorter than its room has emptied the socket
         * (epoll(7)): no second one is needed to see EAGAIN. */
        return (size_t)n < room ? HCS_IO_DRAINED : HCS_IO_MORE;
    }
    if (n == 0) {
        return HCS_IO_END;
    }
    return errno == EAGAIN ? HCS_IO_DRAINED : HCS_IO_FAILED;
}

enum hcs_io hcs_transport_receive(
    struct hcs_transport *transport, char *at, size_t room, size_t *count)
{
    ssize_t n;

    do {
        n = read(transport->fd, at, room);
    } while (n < 0 && errno == EINTR);
    return judge_read(n, room, count);
}

enum hcs_io hcs_transport_discard(
    struct hcs_transport *transport, char *scratch, size_t room, size_t *count)
{
    ssize_t n;

    do {
        /* MSG_TRUNC spares the copy (tcp(7)). */
        n = recv(transport->fd, scratch, room, MSG_TRUNC);
    } while (n < 0 && errno == EINTR);
    return judge_read(n, room, count);
}

static ssize_t send_parts(int fd, struct iovec *parts, size_t count)
{
    if (count == 1) {
        return send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
    }
    return sendmsg(fd, &(struct msghdr){.msg_iov = parts, .msg_iovlen = count},
        MSG_NOSIGNAL);
}

enum hcs_io hcs_transport_send(struct hcs_transport *transport,
    struct iovec *parts, size_t part_count, size_t *count)
{
    ssize_t n;

    *count = 0;
    do {
        n = send_parts(transport->fd, parts, part_count);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        *count = (size_t)n;
        return HCS_IO_MORE;
    }
    if (errno == ENOBUFS || errno == ENOMEM) {
        return HCS_IO_STARVED;
    }
    return errno == EAGAIN ? HCS_IO_DRAINED : HCS_IO_FAILED;
}

enum hcs_reason hcs_transport_failure(void)
{
    bool peer = errno == EPIPE || errno == ECONNRESET || errno == ETIMEDOUT;

    return peer ? HCS_REASON_CLIENT_RESET : HCS_REASON_IO_ERROR;
}

bool hcs_transport_has_input(const struct hcs_transport *transport)
{
    int waiting = 0;

    return ioctl(transport->fd, FIONREAD, &waiting) == 0 && waiting > 0;
}

int hcs_transport_untaken(const struct hcs_transport *transport)
{
    int bytes = 0;

    return ioctl(transport->fd, TIOCOUTQ, &bytes) == 0 ? bytes : 0; /* tcp(7) */
}

uint32_t hcs_transport_end_events(const struct hcs_transport *transport)
{
    struct pollfd look = {.fd = transport->fd, .events = POLLRDHUP};
    uint32_t seen = 0;

    if (poll(&look, 1, 0) > 0) {
        seen |= (look.revents & POLLRDHUP) != 0 ? EPOLLRDHUP : 0;
        seen |= (look.revents & POLLHUP) != 0 ? EPOLLHUP : 0;
        seen |= (look.revents & POLLERR) != 0 ? EPOLLERR : 0;
    }
    return seen;
}

bool hcs_transport_shut(struct hcs_transport *transport)
{
    return shutdown(transport->fd, SHUT_WR) == 0;
}

void hcs_transport_abort(struct hcs_transport *transport)
{
    (void)setsockopt(transport->fd, SOL_SOCKET, SO_LINGER,
        &(struct linger){.l_onoff = 1}, sizeof(struct linger));
}

void hcs_transport_close(struct hcs_transport *transport)
{
    close(transport->fd);
    transport->fd = -1;
}
