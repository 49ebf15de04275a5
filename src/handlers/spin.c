#include "handlers/builtin.h"
#include "handlers/work.h"

#include <time.h>

enum {
    /* Rounds between two looks at the clock, which is a system call. The most
     * take far longer than the call, the least a fraction of 100 us. */
    ROUNDS_MIN = 256,
    ROUNDS_MAX = 64 * 1024,
};

static const uint64_t LONGEST_NS = 10 * UINT64_C(1000000000);

static int open_spin(void **self, struct hcs_mount *mount)
{
    return hcs_work_open(self, mount, LONGEST_NS,
        "spin needs a duration of at most 10s, such as spin:100us");
}

/* The CPU time of this thread: so the work does not depend on how often the
 * thread is interrupted. */
static uint64_t cpu_ns(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Each round needs the one before it (xorshift64), and the last is stored where
 * the compiler may not leave it out. */
static void compute(uint64_t seed, unsigned rounds)
{
    volatile uint64_t result;
    uint64_t x = seed | 1;

    for (; rounds > 0; rounds--) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    result = x;
    (void)result;
}

/* The last rounds took took_ns. Gives the number of the next ones: twice as
 * many, but no more than left_ns allows. */
static unsigned next_rounds(unsigned rounds, uint64_t took_ns, uint64_t left_ns)
{
    uint64_t next = 2 * (uint64_t)rounds;

    if (took_ns > 0 && left_ns < 2 * took_ns) {
        next = rounds * left_ns / took_ns;
    }
    next = next > ROUNDS_MIN ? next : ROUNDS_MIN;
    return next < ROUNDS_MAX ? (unsigned)next : ROUNDS_MAX;
}

/* False when the job was cancelled. */
static bool spin_unless_cancelled(const struct hcs_job *job, uint64_t ns)
{
    uint64_t now_ns = cpu_ns();
    uint64_t end_ns = now_ns + ns;
    unsigned rounds = ROUNDS_MIN;

    while (now_ns < end_ns) {
        uint64_t before_ns = now_ns;

        if (hcs_job_cancelled(job)) {
            return false;
        }
        compute(now_ns, rounds);
        now_ns = cpu_ns();
        if (now_ns < end_ns) {
            rounds = next_rounds(rounds, now_ns - before_ns, end_ns - now_ns);
        }
    }
    return true;
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    enum hcs_outcome outcome = hcs_work_parse(job);

    if (outcome != HCS_OK) {
        return outcome;
    }
    if (!spin_unless_cancelled(job, hcs_work_ns(self))) {
        return HCS_FAILED; /* nobody gets the reply */
    }
    return hcs_work_reply(job);
}

const struct hcs_handler hcs_spin = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "spin",
    .open = open_spin,
    .run = run,
    .close = hcs_work_close,
};
