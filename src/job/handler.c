#include "job/handler.h"

#include <assert.h>
#include <string.h>

/* A module does not initialise padding, so hcs_handler_check would take padding
 * for a member that is set. So a new member is a pointer, or 8 bytes long. */
static_assert(offsetof(struct hcs_handler, name) == 16 &&
                  HCS_HANDLER_SIZE_MIN == 16 + 6 * sizeof(void *),
    "struct hcs_handler has no padding");

enum hcs_handler_fit hcs_handler_check(
    const struct hcs_handler *theirs, size_t own_size)
{
    const unsigned char *bytes = (const unsigned char *)theirs;

    if (theirs->abi != HCS_HANDLER_ABI) {
        return HCS_HANDLER_OTHER_ABI;
    }
    if (theirs->size < HCS_HANDLER_SIZE_MIN ||
        theirs->size > HCS_HANDLER_SIZE_MAX) {
        return HCS_HANDLER_BAD_SIZE;
    }
    if ((theirs->flags & ~(uint64_t)HCS_HANDLER_BRIEF) != 0) {
        return HCS_HANDLER_TOO_NEW; /* a flag may change what a call means */
    }
    for (size_t i = own_size; i < theirs->size; i++) {
        if (bytes[i] != 0) {
            return HCS_HANDLER_TOO_NEW;
        }
    }
    return HCS_HANDLER_FITS;
}

void hcs_handler_copy(
    struct hcs_handler *own, size_t own_size, const struct hcs_handler *theirs)
{
    size_t length = theirs->size < own_size ? theirs->size : own_size;

    memset(own, 0, own_size);
    memcpy(own, theirs, length);
}
