/* A shared object that is no module. */
#include "hcs/handler.h"

int hcs_not_a_module(void);

int hcs_not_a_module(void)
{
    return HCS_HANDLER_ABI;
}
