#include "app/listeners.h"

#include "app/fail.h"
#include "app/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

bool hcs_listeners_init(
    struct hcs_listeners *listeners, unsigned loops, unsigned inherited)
{
    unsigned count = inherited > 0 ? inherited : loops;

    *listeners = (struct hcs_listeners){
        .fds = malloc(count * sizeof(*listeners->fds)),
        .loops = loops,
        .inherited = inherited,
        .origin = HCS_LISTENER_OWN,
    };
    if (listeners->fds == NULL) {
        return false;
    }
    listeners->count = count;
    for (unsigned i = 0; i < count; i++) {
        listeners->fds[i] = inherited > 0 ? HCS_INHERITED_FIRST + (int)i : -1;
    }
    return true;
}

void hcs_listeners_fini(struct hcs_listeners *listeners)
{
    free(listeners->fds);
}

unsigned hcs_listeners_each(const struct hcs_listeners *listeners)
{
    return listeners->count / listeners->loops;
}

const int *hcs_listeners_of(
    const struct hcs_listeners *listeners, unsigned loop)
{
    return &listeners->fds[loop * hcs_listeners_each(listeners)];
}

int hcs_listeners_highest(const struct hcs_listeners *listeners)
{
    int highest = -1;

    for (unsigned i = 0; i < listeners->count; i++) {
        if (listeners->fds[i] > highest) {
            highest = listeners->fds[i];
        }
    }
    return highest;
}

/* --- Opened here. */

static int fail_to_open(const struct hcs_listeners *listeners,
    const struct hcs_config *config, int rc)
{
    char text[HCS_LISTENER_TEXT];

    if (rc == -EADDRINUSE) {
        return hcs_fail(EX_UNAVAILABLE,
            "PORT=%u: already in use; stop the process that uses this port, "
            "or choose another port",
            config->port);
    }
    if (rc == -EACCES) {
        return hcs_fail(EX_NOPERM,
            "PORT=%u: not permitted; ports below 1024 need "
            "CAP_NET_BIND_SERVICE",
            config->port);
    }
    hcs_address_text(&listeners->address, text);
    return hcs_fail(
        EX_UNAVAILABLE, "cannot listen on %s: %s", text, strerror(-rc));
}

static int open_own(struct hcs_listeners *listeners,
    const struct hcs_config *config, struct hcs_log *log)
{
    bool v4_only = false;
    int rc = hcs_address_make(
        &listeners->address, config->address, config->port, &v4_only);

    if (rc == 0) {
        rc = hcs_listener_open(
            &listeners->address, listeners->fds, listeners->loops);
    }
    if (rc != 0) {
        return fail_to_open(listeners, config, rc);
    }
    if (v4_only) {
        hcs_log_print(
            log, HCS_LOG_INFO, "no IPv6 here: listening on IPv4 alone");
    }
    return 0;
}

/* --- Inherited. */

/* Why a service manager's descriptor cannot be a listener of this daemon; NULL:
 * rc is no such reason. */
static const char *why_unfit(int rc)
{
    switch (rc) {
    case -ENOTSOCK:
        return "is not a socket";
    case -EAFNOSUPPORT:
        return "is neither IPv4 nor IPv6";
    case -EPROTOTYPE:
        return "is not TCP";
    case -EINVAL:
        return "does not listen";
    default:
        return NULL;
    }
}

static int refuse_inherited(
    const struct hcs_listeners *listeners, int fd, int rc)
{
    const char *why = why_unfit(rc);

    if (why == NULL) {
        return hcs_fail(EX_OSERR, "LISTEN_FDS=%u: descriptor %d: %s",
            listeners->inherited, fd, strerror(-rc));
    }
    return hcs_fail(EX_CONFIG,
        "LISTEN_FDS=%u: descriptor %d %s; allowed: TCP sockets that listen, "
        "IPv4 or IPv6 (ListenStream=, Accept=no)",
        listeners->inherited, fd, why);
}

/* *alike: all listeners have the same address. */
static int adopt_each(
    struct hcs_listeners *listeners, struct hcs_log *log, bool *alike)
{
    *alike = true;
    for (unsigned i = 0; i < listeners->inherited; i++) {
        int fd = listeners->fds[i];
        struct hcs_address address;
        char text[HCS_LISTENER_TEXT];
        int rc = hcs_listener_adopt(fd, &address);

        if (rc != 0) {
            return refuse_inherited(listeners, fd, rc);
        }
        if (i == 0) {
            listeners->address = address;
        }
        *alike = *alike && hcs_address_equal(&address, &listeners->address);
        hcs_address_text(&address, text);
        hcs_log_write(log, HCS_LOG_INFO, "inherited",
            (struct hcs_log_field[]){
                {.name = "listener", .text = text},
                {.name = "fd", .number = (uint64_t)fd},
            },
            2);
    }
    return 0;
}

/* Makes copies of all listeners for each loop. So a loop can close its copies
 * without asking the others, in a private descriptor table and in a shared one.
 */
static int copy_for_each_loop(struct hcs_listeners *listeners)
{
    unsigned each = listeners->inherited;
    unsigned count = each * listeners->loops;
    int *more = realloc(listeners->fds, count * sizeof(*more));

    if (more == NULL) {
        return hcs_fail(EX_OSERR, "out of memory");
    }
    listeners->fds = more;
    while (listeners->count < count) {
        int fd = fcntl(more[listeners->count % each], F_DUPFD_CLOEXEC, 0);

        if (fd < 0) {
            return hcs_fail(EX_OSERR,
                "LISTEN_FDS=%u: cannot make a copy for each of %u loops: %s",
                each, listeners->loops, strerror(errno));
        }
        more[listeners->count++] = fd;
    }
    return 0;
}

/* Where all listeners have one address (SO_REUSEPORT), the kernel spreads
 * connections over them, so each loop gets its own, if there are as many for
 * each. Otherwise all loops wait at all listeners: one address may be busy and
 * another idle, and every loop has to have its share of the busy one. */
static int adopt(struct hcs_listeners *listeners, struct hcs_log *log)
{
    bool alike;
    int rc = adopt_each(listeners, log, &alike);

    if (rc != 0) {
        return rc;
    }
    if (listeners->loops == 1 ||
        (alike && listeners->inherited % listeners->loops == 0)) {
        listeners->origin = HCS_LISTENER_INHERITED;
        return 0;
    }
    listeners->origin = HCS_LISTENER_SHARED;
    return copy_for_each_loop(listeners);
}

int hcs_listeners_open(struct hcs_listeners *listeners,
    const struct hcs_config *config, struct hcs_log *log)
{
    return listeners->inherited > 0 ? adopt(listeners, log)
                                    : open_own(listeners, config, log);
}

/* --- The end. */

void hcs_listeners_drop_new(
    const struct hcs_listeners *listeners, struct hcs_log *log)
{
    if (listeners->origin != HCS_LISTENER_OWN) {
        return;
    }
    for (unsigned i = 0; i < listeners->count; i++) {
        int rc = hcs_listener_drop_new(listeners->fds[i]);

        if (rc != 0) {
            hcs_log_print(log, HCS_LOG_WARN,
                "connections that arrive now may be reset: %s", strerror(-rc));
        }
    }
}

void hcs_listeners_close(struct hcs_listeners *listeners)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        if (listeners->fds[i] >= 0) {
            close(listeners->fds[i]);
            listeners->fds[i] = -1;
        }
    }
}

void hcs_listeners_forget(struct hcs_listeners *listeners, unsigned loop)
{
    unsigned each = hcs_listeners_each(listeners);

    for (unsigned i = 0; i < each; i++) {
        listeners->fds[loop * each + i] = -1;
    }
}
