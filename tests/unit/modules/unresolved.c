/* A module that calls what no hcsd offers. */
#include "hcs/handler.h"

enum hcs_outcome hcs_job_of_a_newer_hcsd(struct hcs_job *job);

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
    return hcs_job_of_a_newer_hcsd(job);
}

const struct hcs_handler hcs_module = {.abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "unresolved",
    .run = run};
