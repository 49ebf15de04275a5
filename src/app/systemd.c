#include "app/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    MESSAGE_MAX = 1024, /* systemd reads datagrams up to 4096 bytes */
    PATIENCE_MS = 1000, /* for a message that must not get lost */
};

/* The address, and its length, which says where an abstract name ends;
 * unix(7). */
static int name_to_address(
    const char *path, struct sockaddr_un *address, socklen_t *length)
{
    size_t bytes = strlen(path);
    bool abstract = path[0] == '@';

    if ((path[0] != '/' && !abstract) || bytes < 2) {
        return -EINVAL;
    }
    /* A path keeps its NUL; an abstract name has none. */
    if (bytes + (abstract ? 0 : 1) > sizeof address->sun_path) {
        return -ENAMETOOLONG;
    }
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, bytes);
    if (abstract) {
        address->sun_path[0] = '\0';
    }
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes +
                          (abstract ? 0 : 1));
    return 0;
}

int hcs_notify_open(struct hcs_notify *notify, const char *socket_path)
{
    struct sockaddr_un address;
    socklen_t length;
    int rc;

    notify->fd = -1;
    if (socket_path == NULL || socket_path[0] == '\0') {
        return 0;
    }
    rc = name_to_address(socket_path, &address, &length);
    if (rc != 0) {
        return rc;
    }
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (notify->fd < 0) {
        rc = -errno;
        notify->fd = -1;
        return rc;
    }
    if (connect(notify->fd, (const struct sockaddr *)&address, length) != 0) {
        rc = -errno;
        hcs_notify_close(notify);
    }
    return rc;
}

void hcs_notify_close(struct hcs_notify *notify)
{
    if (notify->fd >= 0) {
        close(notify->fd);
        notify->fd = -1;
    }
}

/* True when the listener's queue has room again within wait_ms. */
static bool wait_for_room(int fd, int wait_ms)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    int rc;

    do {
        rc = poll(&room, 1, wait_ms);
    } while (rc < 0 && errno == EINTR);
    return rc > 0 && (room.revents & POLLOUT) != 0;
}

static void send_message(
    struct hcs_notify *notify, const char *message, int wait_ms)
{
    size_t length = strlen(message);
    bool waited = false;

    while (send(notify->fd, message, length, MSG_NOSIGNAL) < 0) {
        if (errno == EINTR) {
            continue;
        }
        /* The listener's queue is full (net.unix.max_dgram_qlen). Tried again
         * once only: other senders may fill the room that poll saw. */
        if (errno != EAGAIN || waited || !wait_for_room(notify->fd, wait_ms)) {
            return;
        }
        waited = true;
    }
}

/* before, and then STATUS=; NULL is no status. A line feed in it would end the
 * field and start another one. */
static void send_status(struct hcs_notify *notify, const char *before,
    const char *status, int wait_ms)
{
    char message[MESSAGE_MAX];
    size_t start = strlen(before);

    if (notify->fd < 0) {
        return;
    }
    (void)snprintf(message, sizeof message, "%s%s%s", before,
        status != NULL ? "STATUS=" : "", status != NULL ? status : "");
    for (char *c = message + start; *c != '\0'; c++) {
        if (*c == '\n') {
            *c = ' ';
        }
    }
    if (message[0] != '\0') {
        send_message(notify, message, wait_ms);
    }
}

void hcs_notify_ready(struct hcs_notify *notify, const char *status)
{
    send_status(notify, "READY=1\n", status, PATIENCE_MS);
}

void hcs_notify_status(struct hcs_notify *notify, const char *status)
{
    send_status(notify, "", status, 0);
}

void hcs_notify_stopping(struct hcs_notify *notify, const char *status)
{
    send_status(notify, "STOPPING=1\n", status, PATIENCE_MS);
}

void hcs_notify_extend_timeout(struct hcs_notify *notify, uint64_t usec)
{
    char message[64];

    if (notify->fd < 0) {
        return;
    }
    (void)snprintf(
        message, sizeof message, "EXTEND_TIMEOUT_USEC=%" PRIu64, usec);
    send_message(notify, message, 0);
}

/* --- Socket activation. */

enum { MANY = 1000000000 }; /* more than any process id or descriptor */

/* The whole number in text, without a sign; -1: text is no such number. */
static long read_number(const char *text)
{
    long number = 0;

    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9') {
            return -1;
        }
        number = number < MANY ? number * 10 + (*c - '0') : number;
    }
    return number;
}

/* An empty variable counts as one that is not set. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool is_name(const char *name, size_t length, const char *wanted)
{
    return length == strlen(wanted) && memcmp(name, wanted, length) == 0;
}

/* Names that systemd gives to descriptors without a name: the unit's, "unknown",
 * or "connection". The last one is no listener, and hcs_listener_adopt refuses
 * it. systemd.socket(5), FileDescriptorName=; sd_listen_fds(3). */
static bool is_nobodys_choice(const char *name, size_t length)
{
    static const char suffix[] = ".socket";
    size_t end = sizeof(suffix) - 1;

    return length == 0 || is_name(name, length, "unknown") ||
           is_name(name, length, "connection") ||
           (length > end && memcmp(name + length - end, suffix, end) == 0);
}

static int read_names(
    const char *names, unsigned count, char *error, size_t error_size)
{
    unsigned seen = 0;
    const char *name = names;

    for (bool more = true; more; seen++) {
        size_t length = strcspn(name, ":");

        if (is_name(name, length, "admin")) {
            (void)snprintf(error, error_size,
                "LISTEN_FDNAMES=%s: admin is not served yet; allowed: http",
                names);
            return -EINVAL;
        }
        if (!is_name(name, length, "http") &&
            !is_nobodys_choice(name, length)) {
            (void)snprintf(error, error_size,
                "LISTEN_FDNAMES=%s: %.*s is not known; allowed: http", names,
                (int)length, name);
            return -EINVAL;
        }
        more = name[length] == ':';
        name += length + (more ? 1 : 0);
    }
    if (seen != count) {
        (void)snprintf(error, error_size,
            "LISTEN_FDNAMES=%s: a list of %u; allowed: as many as LISTEN_FDS, "
            "%u",
            names, seen, count);
        return -EINVAL;
    }
    return 0;
}

static int read_inherited(unsigned *count, char *error, size_t error_size)
{
    const char *pid = variable("LISTEN_PID");
    const char *fds = variable("LISTEN_FDS");
    const char *names = variable("LISTEN_FDNAMES");
    long number = pid != NULL ? read_number(pid) : 0;

    *count = 0;
    if (number < 0) {
        (void)snprintf(error, error_size,
            "LISTEN_PID=%s: not a number; allowed: a process id", pid);
        return -EINVAL;
    }
    if (fds == NULL || number != getpid()) {
        return 0; /* meant for a parent that passed its environment on */
    }
    number = read_number(fds);
    if (number < 1 || number > HCS_INHERITED_MAX) {
        (void)snprintf(error, error_size, "LISTEN_FDS=%s: %s; allowed: 1 to %d",
            fds, number < 0 ? "not a number" : "out of range",
            HCS_INHERITED_MAX);
        return -EINVAL;
    }
    for (int i = 0; i < number; i++) {
        /* This also shows whether the descriptor is there. Now is the time: no
         * file of the daemon can have its number yet. */
        if (fcntl(HCS_INHERITED_FIRST + i, F_SETFD, FD_CLOEXEC) != 0) {
            (void)snprintf(error, error_size,
                "LISTEN_FDS=%s: descriptor %d: %s", fds,
                HCS_INHERITED_FIRST + i, strerror(errno));
            return -EINVAL;
        }
    }
    if (names != NULL &&
        read_names(names, (unsigned)number, error, error_size) != 0) {
        return -EINVAL;
    }
    *count = (unsigned)number;
    return 0;
}

int hcs_inherited_read(unsigned *count, char *error, size_t error_size)
{
    int rc = read_inherited(count, error, error_size);

    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_PIDFDID"); /* the same, said more surely */
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return rc;
}
