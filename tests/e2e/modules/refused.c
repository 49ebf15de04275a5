/* Modules that are not let in, for test_modules.py: built with one of -DOLD,
 * -DSIZELESS, -DNAMELESS, -DIDLE, -DLOST and -DOPEN_END. */
#include <hcs/handler.h>

#ifdef OPEN_END
void function_that_is_nowhere(void);
#endif

#ifdef IDLE
static void close_idle(void *self)
{
    (void)self;
}
#else
static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
#ifdef OPEN_END
    function_that_is_nowhere();
#endif
    return hcs_job_write(job, "{}", 2) ? HCS_OK : HCS_NO_MEMORY;
}
#endif

#ifdef LOST
#define hcs_module other_name
extern const struct hcs_handler other_name;
#endif

const struct hcs_handler hcs_module = {
#ifdef OLD
    .abi = HCS_HANDLER_ABI - 1,
#else
    .abi = HCS_HANDLER_ABI,
#endif
#ifndef SIZELESS
    .size = sizeof(struct hcs_handler),
#endif
#ifndef NAMELESS
    .name = "refused",
#endif
#ifdef IDLE
    .close = close_idle,
#else
    .run = run,
#endif
};
