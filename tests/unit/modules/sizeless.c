/* A module that forgot its size. */
#include "hcs/handler.h"

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    return HCS_OK;
}

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI, .name = "sizeless", .run = run};
