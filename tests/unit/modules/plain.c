/* A module that is whole, and calls nothing. */
#include "hcs/handler.h"

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    return HCS_OK;
}

const struct hcs_handler hcs_module = {.abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "of-a-module",
    .run = run};
