#include "base/fdtable.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same on all architectures */
#endif

enum { FIRST_OWN = 3, UNSHARE = 2 /* CLOSE_RANGE_UNSHARE */ };

static int close_range_call(unsigned first, unsigned last, unsigned flags)
{
    return syscall(SYS_close_range, first, last, flags) == 0 ? 0 : -errno;
}

static int compare(const void *a, const void *b)
{
    int left = *(const int *)a;
    int right = *(const int *)b;

    return (left > right) - (left < right);
}

/* Not closefrom(3bsd): it reads /proc/self/fd where the kernel has no
 * close_range(2), and that is the table of the main thread. */
static void close_between(int first, int last, int highest)
{
    if (first > last ||
        close_range_call((unsigned)first, (unsigned)last, 0) == 0) {
        return;
    }
    for (int fd = first; fd <= last && fd <= highest; fd++) {
        close(fd);
    }
}

int hcs_fdtable_make_private(int *keep, size_t count, int highest)
{
    int next = FIRST_OWN;

    /* Some sandboxes forbid one of these calls and allow the other. unshare(2)
     * comes first, because valgrind 3.19 accepts CLOSE_RANGE_UNSHARE and
     * ignores it; then the closing below would act on the shared table. The
     * range given here holds no descriptor, so this call closes nothing. */
    if (unshare(CLONE_FILES) != 0) {
        int rc = close_range_call(UINT_MAX, UINT_MAX, UNSHARE);

        if (rc != 0) {
            return rc;
        }
    }
    qsort(keep, count, sizeof(*keep), compare);
    for (size_t i = 0; i < count; i++) {
        close_between(next, keep[i] - 1, highest);
        if (keep[i] >= next) {
            next = keep[i] + 1;
        }
    }
    close_between(next, INT_MAX, highest);
    return 0;
}
