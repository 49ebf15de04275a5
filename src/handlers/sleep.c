#include "handlers/builtin.h"
#include "handlers/work.h"

#include <errno.h>
#include <time.h>

enum { SECOND_NS = 1000000000 };

static const uint64_t SLICE_NS = 50 * UINT64_C(1000000);
static const uint64_t LONGEST_NS = 3600 * UINT64_C(1000000000);

static int open_sleep(void **self, struct hcs_mount *mount)
{
    return hcs_work_open(self, mount, LONGEST_NS,
        "sleep needs a duration of at most 1h, such as sleep:100ms");
}

static struct timespec later(struct timespec time, uint64_t ns)
{
    time.tv_sec += (time_t)(ns / SECOND_NS);
    time.tv_nsec += (long)(ns % SECOND_NS);
    if (time.tv_nsec >= SECOND_NS) {
        time.tv_nsec -= SECOND_NS;
        time.tv_sec++;
    }
    return time;
}

/* Sleeps in slices, and looks between them whether the job was cancelled: then
 * false. Each slice ends at a time counted from the start, so that a slice that
 * sleeps too long shortens the next one. */
static bool sleep_unless_cancelled(const struct hcs_job *job, uint64_t ns)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    while (ns > 0) {
        uint64_t slice_ns = ns < SLICE_NS ? ns : SLICE_NS;

        if (hcs_job_cancelled(job)) {
            return false;
        }
        at = later(at, slice_ns);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) ==
               EINTR) {
        }
        ns -= slice_ns;
    }
    return true;
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    enum hcs_outcome outcome = hcs_work_parse(job);

    if (outcome != HCS_OK) {
        return outcome;
    }
    if (!sleep_unless_cancelled(job, hcs_work_ns(self))) {
        return HCS_FAILED; /* nobody gets the reply */
    }
    return hcs_work_reply(job);
}

const struct hcs_handler hcs_sleep = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "sleep",
    .open = open_sleep,
    .run = run,
    .close = hcs_work_close,
};
