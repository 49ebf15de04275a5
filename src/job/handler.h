/*
 * handler - struct hcs_handler of a module that may be older or newer than this
 * daemon, whose struct is then shorter or longer than ours.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_JOB_HANDLER_H
#define HCS_JOB_HANDLER_H

#include "hcs/handler.h"

#include <stddef.h>

enum {
    /* struct hcs_handler of the first header of this ABI. */
    HCS_HANDLER_SIZE_MIN =
        offsetof(struct hcs_handler, close) + sizeof(void (*)(void *)),
    /* A larger size is taken for a mistake. */
    HCS_HANDLER_SIZE_MAX = 4096,
};

enum hcs_handler_fit {
    HCS_HANDLER_FITS,
    HCS_HANDLER_OTHER_ABI, /* nothing but abi may be looked at */
    HCS_HANDLER_BAD_SIZE,
    HCS_HANDLER_TOO_NEW, /* sets a member that this daemon does not have */
};

/* own_size: sizeof(struct hcs_handler) in this daemon. */
enum hcs_handler_fit hcs_handler_check(
    const struct hcs_handler *theirs, size_t own_size);

/* Copies a handler that fits. Members of own that theirs lacks become NULL or 0.
 * own->size is what theirs says. */
void hcs_handler_copy(
    struct hcs_handler *own, size_t own_size, const struct hcs_handler *theirs);

#endif
