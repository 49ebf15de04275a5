/* A module whose handler does what its query says: for what no built-in handler
 * does. PATH=module:FILE in HANDLERS.
 *
 *     ?field=NAME   answers with the field's value, as hcs_job_field gives it, or
 *                   with nothing where it gives none
 *     ?status=N     sets that status, and says whether it could
 */
#include "hcs/handler.h"

#include <string.h>

enum { NAME_MAX_LENGTH = 63 };

static enum hcs_outcome write_field(
    struct hcs_job *job, const char *name, size_t name_length)
{
    char copy[NAME_MAX_LENGTH + 1];
    const char *value;
    size_t length;

    if (name_length > NAME_MAX_LENGTH) {
        return HCS_INVALID;
    }
    memcpy(copy, name, name_length);
    copy[name_length] = '\0';
    value = hcs_job_field(job, copy, &length);
    hcs_job_set_content_type(job, "text/plain");
    return value == NULL || hcs_job_write(job, value, length) ? HCS_OK
                                                              : HCS_NO_MEMORY;
}

static enum hcs_outcome set_status(
    struct hcs_job *job, const char *digits, size_t length)
{
    unsigned status = 0;
    bool set;

    for (size_t i = 0; i < length && i < 6; i++) {
        status = status * 10 + (unsigned)(digits[i] - '0');
    }
    set = hcs_job_set_status(job, status);
    return hcs_job_write(
               job, set ? "{\"set\":true}" : "{\"set\":false}", set ? 12 : 13)
               ? HCS_OK
               : HCS_NO_MEMORY;
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    static const char field[] = "field=";
    static const char status[] = "status=";
    size_t length;
    const char *query = hcs_job_query(job, &length);

    (void)self;
    if (length >= sizeof field - 1 &&
        memcmp(query, field, sizeof field - 1) == 0) {
        return write_field(
            job, query + sizeof field - 1, length - (sizeof field - 1));
    }
    if (length >= sizeof status - 1 &&
        memcmp(query, status, sizeof status - 1) == 0) {
        return set_status(
            job, query + sizeof status - 1, length - (sizeof status - 1));
    }
    return HCS_INVALID;
}

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "play",
    .run = run,
};
