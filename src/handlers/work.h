/*
 * work - what the built-in handlers have in common.
 *
 * Owns:    the duration that hcs_work_open gives, until hcs_work_close.
 * Threads: any; the duration is constant.
 * Waits:   never.
 */
#ifndef HCS_HANDLERS_WORK_H
#define HCS_HANDLERS_WORK_H

#include "hcs/handler.h"

/* Gives the mount's argument, a duration of at most max_ns. False after
 * hcs_mount_fail with allowed, a line that says which durations are allowed. */
bool hcs_work_duration(struct hcs_mount *mount, uint64_t max_ns,
    const char *allowed, uint64_t *ns);

/* The open of a handler that has such a duration and nothing else. Gives self:
 * hcs_work_ns reads it, and hcs_work_close takes it. */
int hcs_work_open(
    void **self, struct hcs_mount *mount, uint64_t max_ns, const char *allowed);
uint64_t hcs_work_ns(const void *self);
void hcs_work_close(void *self);

/* HCS_OK when the body is an object, or the job has none; else HCS_INVALID, and
 * the detail is set. */
enum hcs_outcome hcs_work_check(struct hcs_job *job);

/* The same, and parses the body into a tree: HCS_NO_MEMORY when that fails. */
enum hcs_outcome hcs_work_parse(struct hcs_job *job);

/* Writes the reply of a job that hcs_work_check has passed. */
enum hcs_outcome hcs_work_reply(struct hcs_job *job);

#endif
