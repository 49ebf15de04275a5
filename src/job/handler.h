/*
 * handler - checks and copies the struct hcs_handler of a module.
 *
 * A module may be older or newer than this daemon. Its struct is then shorter
 * or longer than the daemon's.
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
    /* The size of struct hcs_handler in the first header of this ABI. */
    HCS_HANDLER_SIZE_MIN =
        offsetof(struct hcs_handler, close) + sizeof(void (*)(void *)),
    /* A larger size must be a mistake. */
    HCS_HANDLER_SIZE_MAX = 4096,
};

enum hcs_handler_fit {
    HCS_HANDLER_FITS,
    HCS_HANDLER_OTHER_ABI, /* only the member abi may be read */
    HCS_HANDLER_BAD_SIZE,
    HCS_HANDLER_TOO_NEW, /* sets a member that this daemon does not know */
};

/* own_size: sizeof(struct hcs_handler) in this daemon. */
enum hcs_handler_fit hcs_handler_check(
    const struct hcs_handler *theirs, size_t own_size);

/* Copies a handler that fits. Members that theirs does not have become NULL or
 * 0 in own. own->size becomes theirs->size. */
void hcs_handler_copy(
    struct hcs_handler *own, size_t own_size, const struct hcs_handler *theirs);

#endif
