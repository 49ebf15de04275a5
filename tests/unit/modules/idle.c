/* A module that lacks run. */
#include "hcs/handler.h"

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI, .size = sizeof(struct hcs_handler), .name = "idle"};
