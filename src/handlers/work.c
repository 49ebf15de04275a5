#include "handlers/work.h"

#include <stdlib.h>
#include <string.h>

bool hcs_work_duration(
    struct hcs_mount *mount, uint64_t max_ns, const char *allowed, uint64_t *ns)
{
    const char *argument = hcs_mount_argument(mount);

    if (argument == NULL || !hcs_parse_duration(argument, ns) || *ns > max_ns) {
        hcs_mount_fail(mount, "%s", allowed);
        return false;
    }
    return true;
}

int hcs_work_open(
    void **self, struct hcs_mount *mount, uint64_t max_ns, const char *allowed)
{
    uint64_t ns;
    uint64_t *kept;

    if (!hcs_work_duration(mount, max_ns, allowed, &ns)) {
        return -1;
    }
    kept = malloc(sizeof *kept);
    if (kept == NULL) {
        hcs_mount_fail(mount, "out of memory");
        return -1;
    }
    *kept = ns;
    *self = kept;
    return 0;
}

uint64_t hcs_work_ns(const void *self)
{
    const uint64_t *kept = self;

    return *kept;
}

void hcs_work_close(void *self)
{
    free(self);
}

/* The white space of RFC 8259, section 2. */
static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

enum hcs_outcome hcs_work_check(struct hcs_job *job)
{
    size_t length;
    const char *body = hcs_job_body(job, &length);
    size_t i = 0;

    if (body == NULL) {
        return HCS_OK;
    }
    /* The body is valid JSON, so its first byte behind white space shows its
     * type. */
    while (i < length && is_space(body[i])) {
        i++;
    }
    if (i == length || body[i] != '{') {
        hcs_job_set_detail(
            job, "the body must be an object, such as {\"data\": 1}");
        return HCS_INVALID;
    }
    return HCS_OK;
}

enum hcs_outcome hcs_work_parse(struct hcs_job *job)
{
    enum hcs_outcome outcome = hcs_work_check(job);
    size_t length;

    if (outcome == HCS_OK && hcs_job_body(job, &length) != NULL &&
        hcs_job_json(job) == NULL) {
        outcome = HCS_NO_MEMORY;
    }
    return outcome;
}

static bool write_text(struct hcs_job *job, const char *text)
{
    return hcs_job_write(job, text, strlen(text));
}

enum hcs_outcome hcs_work_reply(struct hcs_job *job)
{
    size_t id_length;
    const char *id = hcs_job_request_id(job, &id_length);
    const char *data = "null";
    size_t data_length = strlen(data);
    bool written;

    (void)hcs_job_member(job, "data", &data, &data_length);
    /* A request's id holds only bytes that need no escaping. */
    written = write_text(job, "{\"status\":\"ok\",\"request_id\":\"") &&
              hcs_job_write(job, id, id_length) &&
              write_text(job, "\",\"data\":") &&
              hcs_job_write(job, data, data_length) && write_text(job, "}");
    return written ? HCS_OK : HCS_NO_MEMORY;
}
