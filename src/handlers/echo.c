#include "handlers/builtin.h"
#include "handlers/work.h"

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    enum hcs_outcome outcome = hcs_work_check(job);

    (void)self;
    return outcome == HCS_OK ? hcs_work_reply(job) : outcome;
}

const struct hcs_handler hcs_echo = {
    .abi = HCS_HANDLER_ABI,
    .flags = HCS_HANDLER_BRIEF,
    .name = "echo",
    .run = run,
};
