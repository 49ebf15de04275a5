/*
 * sampler - metrics that need a look at the kernel or at the past, taken once a
 * second; and memory that is given back to the kernel.
 *
 * Owns:    a descriptor of /proc/self/statm.
 * Threads: main; what watches the budget, on whichever thread takes memory.
 * Waits:   for malloc_trim(3), at most every few seconds.
 */
#ifndef HCS_APP_SAMPLER_H
#define HCS_APP_SAMPLER_H

#include "shard/service.h"

#include <stdatomic.h>
#include <stdint.h>

enum { HCS_SAMPLER_PAST = 11 }; /* samples that span ten seconds */

struct hcs_sampler {
    struct hcs_service *service;
    int statm; /* -1: the kernel does not tell */
    uint64_t requests[HCS_SAMPLER_PAST];
    uint64_t jobs[HCS_SAMPLER_PAST];
    uint64_t ticks;
    uint64_t trimmed_tick;
    _Atomic uint64_t hurried_ms; /* of the last trim before a refusal */
};

/* service is borrowed until close. */
void hcs_sampler_open(struct hcs_sampler *sampler, struct hcs_service *service);
void hcs_sampler_close(struct hcs_sampler *sampler);

/* Takes all samples; once a second. */
void hcs_sampler_tick(struct hcs_sampler *sampler);

/* From now on the budget has the resident memory looked at as it is taken. */
void hcs_sampler_watch_budget(struct hcs_sampler *sampler);

#endif
