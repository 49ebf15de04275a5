#include "app/sampler.h"

#include "base/clock.h"
#include "guard/budget.h"
#include "shard/snapshot.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    TRIM_EXCESS = 4 * 1024 * 1024, /* bytes that malloc may keep */
    TRIM_TICKS = 5,                /* at least, between two trims */
    TRIM_HURRY_MS = 1000,          /* the same, when memory is refused */
    STATM_MAX = 128,
};

void hcs_sampler_open(struct hcs_sampler *sampler, struct hcs_service *service)
{
    sampler->service = service;
    sampler->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

void hcs_sampler_close(struct hcs_sampler *sampler)
{
    if (sampler->statm >= 0) {
        close(sampler->statm);
    }
}

/* --- Memory. */

/* False when the kernel does not tell. */
static bool read_memory(const struct hcs_sampler *sampler,
    size_t *virtual_bytes, size_t *resident_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char text[STATM_MAX];
    ssize_t n = pread(sampler->statm, text, sizeof(text) - 1, 0);
    unsigned long long virtual_pages;
    unsigned long long resident_pages;

    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    if (sscanf(text, "%llu %llu", &virtual_pages, &resident_pages) != 2) {
        return false;
    }
    *virtual_bytes = (size_t)virtual_pages * page;
    *resident_bytes = (size_t)resident_pages * page;
    return true;
}

/* A trim takes milliseconds at 64 MiB and tenths of a second at 1 GiB, and holds
 * malloc's lock. That is better than to refuse memory, but not for each of many
 * refusals in a row. False: another trim was too short a while ago. */
static bool trim_in_a_hurry(struct hcs_sampler *sampler)
{
    uint64_t now_ms = hcs_clock_ms();
    uint64_t last_ms =
        atomic_load_explicit(&sampler->hurried_ms, memory_order_relaxed);

    if (now_ms < last_ms + TRIM_HURRY_MS ||
        !atomic_compare_exchange_strong_explicit(&sampler->hurried_ms, &last_ms,
            now_ms, memory_order_relaxed, memory_order_relaxed)) {
        return false;
    }
    malloc_trim(0);
    atomic_store_explicit(
        &sampler->hurried_ms, hcs_clock_ms(), memory_order_relaxed);
    return true;
}

/* For the budget, on whichever thread takes from it. */
static void look_for_budget(void *context, bool refusing)
{
    struct hcs_sampler *sampler = context;
    struct hcs_budget *budget = sampler->service->budget;
    size_t virtual_bytes;
    size_t resident_bytes;

    if (!read_memory(sampler, &virtual_bytes, &resident_bytes)) {
        return;
    }
    if (hcs_budget_correct(budget, resident_bytes) >
            budget->baseline + TRIM_EXCESS &&
        refusing && trim_in_a_hurry(sampler) &&
        read_memory(sampler, &virtual_bytes, &resident_bytes)) {
        (void)hcs_budget_correct(budget, resident_bytes);
    }
}

void hcs_sampler_watch_budget(struct hcs_sampler *sampler)
{
    struct hcs_budget *budget = sampler->service->budget;

    hcs_budget_look_every(
        budget, budget->kept_back / 2, look_for_budget, sampler);
}

static void sample_memory(struct hcs_sampler *sampler)
{
    struct hcs_budget *budget = sampler->service->budget;
    struct hcs_pulse *pulse = &sampler->service->pulse;
    size_t virtual_bytes;
    size_t resident_bytes;
    size_t overhead;

    if (!read_memory(sampler, &virtual_bytes, &resident_bytes)) {
        return;
    }
    atomic_store_explicit(
        &pulse->virtual_bytes, virtual_bytes, memory_order_relaxed);
    atomic_store_explicit(
        &pulse->resident_bytes, resident_bytes, memory_order_relaxed);
    overhead = hcs_budget_correct(budget, resident_bytes);
    /* Freed blocks that malloc keeps go back to the kernel. Not often, since
     * other threads that want memory wait meanwhile. */
    if (overhead > budget->baseline + TRIM_EXCESS &&
        sampler->ticks >= sampler->trimmed_tick + TRIM_TICKS) {
        sampler->trimmed_tick = sampler->ticks;
        malloc_trim(0);
    }
}

/* --- Rates, threads, processor time. */

/* Handlers have threads of their own, and only the kernel knows how many. */
static void sample_threads(struct hcs_sampler *sampler)
{
    enum { NOT_THREADS = 2 }; /* links to a folder: its own and its parent's */
    struct stat tasks;

    if (stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > NOT_THREADS) {
        atomic_store_explicit(&sampler->service->pulse.threads,
            (uint64_t)tasks.st_nlink - NOT_THREADS, memory_order_relaxed);
    }
}

static void sample_cpu(struct hcs_sampler *sampler)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    atomic_store_explicit(&sampler->service->pulse.cpu_ms,
        (uint64_t)at.tv_sec * 1000 + (uint64_t)at.tv_nsec / 1000000,
        memory_order_relaxed);
}

static void sample_rates(struct hcs_sampler *sampler)
{
    struct hcs_pulse *pulse = &sampler->service->pulse;
    uint64_t past = HCS_SAMPLER_PAST;
    uint64_t now = sampler->ticks % past;
    uint64_t span = sampler->ticks < past - 1 ? sampler->ticks : past - 1;
    uint64_t then = (sampler->ticks - span) % past;
    uint64_t before = (sampler->ticks + past - 1) % past;

    sampler->requests[now] = hcs_service_requests(sampler->service);
    sampler->jobs[now] = hcs_service_jobs_ended(sampler->service);
    if (span == 0) {
        return;
    }
    atomic_store_explicit(&pulse->requests_10s_milli,
        (sampler->requests[now] - sampler->requests[then]) * 1000 / span,
        memory_order_relaxed);
    hcs_gate_set_drain_rate(
        &sampler->service->gate, sampler->jobs[now] - sampler->jobs[before]);
}

void hcs_sampler_tick(struct hcs_sampler *sampler)
{
    sample_rates(sampler);
    sample_memory(sampler);
    sample_threads(sampler);
    sample_cpu(sampler);
    sampler->ticks++;
}
