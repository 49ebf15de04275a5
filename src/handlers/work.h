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

/* An open for handlers whose argument is a duration from 0 to max_ns. Gives
 * self, which hcs_work_ns reads and hcs_work_close takes. 0, or -1 with allowed
 * in error: one line that says what the argument may be. */
int hcs_work_open(void **self, const char *argument, uint64_t max_ns,
    const char *allowed, char *error, size_t error_size);
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
