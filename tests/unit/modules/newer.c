/* Two modules of a later header, whose struct has one more member: newer.so sets
 * it, newer_unused.c leaves it NULL. */
#include "hcs/handler.h"

struct later_handler {
    struct hcs_handler first;
    void (*later)(void);
};

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    return HCS_OK;
}

#ifndef LATER
static void later(void)
{
}
#define LATER later
#endif

/* The header declares hcs_module with another type. */
extern const struct later_handler later_module __asm__("hcs_module");
const struct later_handler later_module = {
    .first =
        {
            .abi = HCS_HANDLER_ABI,
            .size = sizeof(struct later_handler),
            .name = "newer",
            .run = run,
        },
    .later = LATER,
};
