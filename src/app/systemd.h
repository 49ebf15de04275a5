/*
 * systemd - readiness notification (sd_notify(3)) and socket activation
 * (sd_listen_fds(3)), without libsystemd.
 *
 * Owns:    its datagram socket.
 * Threads: main only.
 * Waits:   ready and stopping, up to a second, when systemd's queue is full:
 *          their messages must not get lost. The others never wait.
 *
 * Without $NOTIFY_SOCKET every call of notify does nothing.
 */
#ifndef HCS_APP_SYSTEMD_H
#define HCS_APP_SYSTEMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_notify {
    int fd; /* -1: there is no socket to send to */
};

/* socket_path: $NOTIFY_SOCKET, or NULL; a leading "@" means the abstract
 * namespace. 0, or -errno: the path is unusable (then fd is -1). */
int hcs_notify_open(struct hcs_notify *notify, const char *socket_path);
void hcs_notify_close(struct hcs_notify *notify);

/* Each call sends one datagram. A failure is ignored: it must not stop the
 * daemon. status is one line for people, cut at about 1000 bytes; NULL:
 * none. */
void hcs_notify_ready(struct hcs_notify *notify, const char *status);
void hcs_notify_status(struct hcs_notify *notify, const char *status);
void hcs_notify_stopping(struct hcs_notify *notify, const char *status);
void hcs_notify_extend_timeout(struct hcs_notify *notify, uint64_t usec);

enum {
    HCS_INHERITED_FIRST = 3, /* SD_LISTEN_FDS_START */
    HCS_INHERITED_MAX = 1024,
};

/* Reads from $LISTEN_PID, $LISTEN_FDS and $LISTEN_FDNAMES how many listeners
 * for HTTP a service manager hands over to this process; *count 0: none. They
 * are descriptors HCS_INHERITED_FIRST and following, and become close-on-exec.
 * hcs_listener_adopt finds out whether they can be used. Removes the variables
 * from the environment, so that no child takes them for its own. Called before
 * any file is opened, and while there is one thread. 0, or -EINVAL with one
 * line in error. */
int hcs_inherited_read(unsigned *count, char *error, size_t error_size);

#endif
