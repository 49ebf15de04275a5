/* The least that a module can be, for test_modules.py. */
#include <hcs/handler.h>

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
    return hcs_job_write(job, "{\"plain\":true}", 14) ? HCS_OK : HCS_NO_MEMORY;
}

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "plain",
    .run = run,
};
