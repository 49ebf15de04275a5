/*
 * sampler - once a second, takes metrics that come from the kernel or from
 * earlier samples; and gives memory back to the kernel.
 *
 * Owns:    a descriptor of /proc/self/statm.
 * Threads: main; the watch of the budget, on any thread that takes memory.
 * Waits:   for malloc_trim(3), at most every few seconds.
 */
#ifndef HCS_APP_SAMPLER_H
#define HCS_APP_SAMPLER_H

#include "shard/service.h"

#include <stdatomic.h>
#include <stdint.h>

enum { HCS_SAMPLER_PAST = 11 }; /* samples, over ten seconds */

struct hcs_sampler {
    struct hcs_service *service;
    int statm; /* -1: the kernel does not tell */
    uint64_t requests[HCS_SAMPLER_PAST];
    uint64_t jobs[HCS_SAMPLER_PAST];
    uint64_t ticks;
    uint64_t trimmed_tick;
    _Atomic uint64_t hurried_ms; /* when trim_in_a_hurry trimmed last */
};

/* service is borrowed until close. */
void hcs_sampler_open(struct hcs_sampler *sampler, struct hcs_service *service);
void hcs_sampler_close(struct hcs_sampler *sampler);

/* Takes all samples; once a second. */
void hcs_sampler_tick(struct hcs_sampler *sampler);

/* From now on the budget has this sampler read the resident memory, when memory
 * is taken. */
void hcs_sampler_watch_budget(struct hcs_sampler *sampler);

#endif
