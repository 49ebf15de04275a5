/* A module that answers as echo does, and counts what is open on each worker.
 *
 *     ?pause=20ms   open takes so long
 *     ?fails=WHEN   "open", or "worker": what does not open
 */
#include "hcs/handler.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECOND_NS = 1000000000 };

struct mirror {
    struct hcs_mount *mount;
    struct hcs_metric *workers;
    struct hcs_metric *jobs;
    bool worker_fails;
};

static void pause_for(uint64_t ns)
{
    struct timespec left = {(time_t)(ns / SECOND_NS), (long)(ns % SECOND_NS)};

    while (nanosleep(&left, &left) != 0) {
    }
}

static int open_mirror(void **self, struct hcs_mount *mount)
{
    uint64_t pause_ns = 0;
    const char *fails = "";
    struct mirror *mirror;

    if (!hcs_mount_duration(
            mount, "pause", 0, 3600 * (uint64_t)SECOND_NS, &pause_ns) ||
        !hcs_mount_text(mount, "fails", &fails)) {
        return -1;
    }
    pause_for(pause_ns);
    if (strcmp(fails, "open") == 0) {
        hcs_mount_fail(mount, "told to fail");
        return -1;
    }
    mirror = calloc(1, sizeof(*mirror));
    if (mirror == NULL) {
        hcs_mount_fail(mount, "out of memory");
        return -1;
    }
    mirror->mount = mount;
    mirror->worker_fails = strcmp(fails, "worker") == 0;
    mirror->workers = hcs_mount_metric(
        mount, HCS_GAUGE, "mirror_workers", "Workers that are open.");
    mirror->jobs = hcs_mount_metric(
        mount, HCS_COUNTER, "mirror_jobs_total", "Jobs that were mirrored.");
    *self = mirror;
    return 0;
}

static int open_worker(void *self, unsigned worker, void **state)
{
    struct mirror *mirror = self;

    if (mirror->worker_fails &&
        worker + 1 == hcs_mount_workers(mirror->mount)) {
        hcs_mount_fail(mirror->mount, "told to fail on worker %u", worker);
        return -1;
    }
    hcs_metric_add(mirror->workers, 1);
    *state = mirror;
    return 0;
}

static bool write_text(struct hcs_job *job, const char *text)
{
    return hcs_job_write(job, text, strlen(text));
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    struct mirror *mirror = hcs_job_worker_state(job);
    const char *data = "null";
    size_t data_length = 4;
    size_t id_length;
    const char *id = hcs_job_request_id(job, &id_length);

    if (mirror != self) {
        return HCS_FAILED;
    }
    (void)hcs_job_member(job, "data", &data, &data_length);
    hcs_metric_add(mirror->jobs, 1);
    return write_text(job, "{\"status\":\"ok\",\"request_id\":") &&
                   hcs_job_write_string(job, id, id_length) &&
                   write_text(job, ",\"data\":") &&
                   hcs_job_write(job, data, data_length) && write_text(job, "}")
               ? HCS_OK
               : HCS_NO_MEMORY;
}

static void close_worker(void *self, void *state)
{
    struct mirror *mirror = state;

    (void)self;
    hcs_metric_add(mirror->workers, -1);
}

static void close_mirror(void *self)
{
    free(self);
}

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "mirror",
    .open = open_mirror,
    .open_worker = open_worker,
    .run = run,
    .close_worker = close_worker,
    .close = close_mirror,
};
