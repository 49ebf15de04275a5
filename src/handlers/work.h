/*
 * work - what the built-in handlers have in common.
 *
 * Owns:    the duration that an open gives (hcs_work_close).
 * Threads: any; what opens keep is constant until closed.
 * Waits:   never.
 */
#ifndef HCS_HANDLERS_WORK_H
#define HCS_HANDLERS_WORK_H

#include "hcs/handler.h"

/* The mount's argument, a duration from 0 to max_ns. False, with the mount
 * failed by allowed, one line that says what it may be. */
bool hcs_work_duration(struct hcs_mount *mount, uint64_t max_ns,
    const char *allowed, uint64_t *ns);

/* An open for handlers whose argument is such a duration, and that need no more:
 * gives self, which hcs_work_ns reads and hcs_work_close takes. */
int hcs_work_open(
    void **self, struct hcs_mount *mount, uint64_t max_ns, const char *allowed);
uint64_t hcs_work_ns(const void *self);
void hcs_work_close(void *self);

/* HCS_OK when the body is an object or there is none; else HCS_INVALID, and the
 * detail is set. */
enum hcs_outcome hcs_work_check(struct hcs_job *job);

/* The same, and builds the body's tree: HCS_NO_MEMORY when that fails. */
enum hcs_outcome hcs_work_parse(struct hcs_job *job);

/* Writes the answer of a job whose body is in order. */
enum hcs_outcome hcs_work_reply(struct hcs_job *job);

#endif
