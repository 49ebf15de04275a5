#include "app/pid_file.h"

#include "app/fail.h"

#include <bsd/libutil.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sysexits.h>

enum { READABLE_BY_ALL = 0644 };

static int refuse(const char *path, pid_t other)
{
    if (errno == EEXIST && other > 0) {
        return hcs_fail(EX_UNAVAILABLE,
            "PID_FILE=%s: process %d runs with this file; stop it, or name "
            "another file",
            path, (int)other);
    }
    if (errno == EEXIST) { /* which has not written its number yet */
        return hcs_fail(EX_UNAVAILABLE,
            "PID_FILE=%s: another process starts with this file; name another "
            "file",
            path);
    }
    return hcs_fail(EX_CANTCREAT, "PID_FILE=%s: %s", path, strerror(errno));
}

int hcs_pid_file_open(struct pidfh **out, const char *path)
{
    pid_t other = -1;

    *out = NULL;
    if (path == NULL) {
        return 0;
    }
    *out = pidfile_open(path, READABLE_BY_ALL, &other);
    if (*out == NULL) {
        return refuse(path, other);
    }
    /* libbsd leaves that out, and a program that a module starts would keep the
     * lock. */
    if (fcntl(pidfile_fileno(*out), F_SETFD, FD_CLOEXEC) != 0 ||
        pidfile_write(*out) != 0) {
        int error = errno;

        hcs_pid_file_remove(*out);
        *out = NULL;
        return hcs_fail(EX_IOERR, "PID_FILE=%s: %s", path, strerror(error));
    }
    return 0;
}

void hcs_pid_file_remove(struct pidfh *file)
{
    if (file != NULL) {
        (void)pidfile_remove(file);
    }
}
