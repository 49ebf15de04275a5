/*
 * gate - a module whose jobs run until a test lets them end.
 *
 * /PATH=module:gate.so?file=FILE: a job ends as soon as FILE is there, or when
 * it is cancelled. So a test does not depend on how long a job takes.
 */
#include <hcs/handler.h>

#include <time.h>
#include <unistd.h>

static int open_self(void **self, struct hcs_mount *mount)
{
    const char *file = NULL;

    if (!hcs_mount_text(mount, "file", &file) || file == NULL) {
        hcs_mount_fail(mount, "file=FILE is missing");
        return -1;
    }
    *self = (void *)file; /* lives as long as the mount */
    return 0;
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    while (access(self, F_OK) != 0 && !hcs_job_cancelled(job)) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return hcs_job_write(job, "{}", 2) ? HCS_OK : HCS_NO_MEMORY;
}

static void close_self(void *self)
{
    (void)self;
}

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "gate",
    .open = open_self,
    .run = run,
    .close = close_self,
};
