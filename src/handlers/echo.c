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
    .size = sizeof(struct hcs_handler),
    .flags = HCS_HANDLER_BRIEF,
    .name = "echo",
    .run = run,
};
