#include "base/slab.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SLAB_POISONS 1
#endif

#if defined(SLAB_POISONS)
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

enum {
    RECORD_ALIGN = 16,
    CACHE_LINE = 64,
    WORD_BITS = 64,
    MAX_WORDS = HCS_SLAB_CHUNK / RECORD_ALIGN / WORD_BITS,
};

/* Lies in a freed record. */
struct free_record {
    struct free_record *next;
};

/* Lies at the start of its HCS_SLAB_CHUNK bytes, which are aligned at their
 * size, so that a record's address masked is its chunk. Records follow at
 * slab->first_offset. */
struct chunk {
    struct hcs_slab *slab;
    struct chunk *next; /* all chunks of the slab */
    struct chunk *prev;
    struct chunk *next_roomy; /* those with records and room */
    struct chunk *prev_roomy;
    struct free_record *freed;
    uint32_t used;
    uint32_t carved;   /* records from here on were never handed out */
    uint64_t in_use[]; /* a bit for each record */
};

struct hcs_slab {
    struct chunk *roomy; /* allocated from at its head */
    struct chunk *spare; /* the one empty chunk that is kept, or NULL */
    struct chunk *chunks;
    size_t used;
    size_t bytes;
    uint32_t record_bytes;
    uint32_t reciprocal; /* 2^32 / record_bytes, rounded up */
    uint32_t first_offset;
    uint32_t chunk_records;
    hcs_budget_take_fn *take;
    hcs_budget_give_fn *give;
    void *budget;
};

/* The sanitizer is told which bytes nobody may touch. Its shadow outlives an
 * munmap, so whoever maps that address next would inherit the poison: allow()
 * before unmapping. */
static void forbid(void *at, size_t bytes)
{
#if defined(SLAB_POISONS)
    ASAN_POISON_MEMORY_REGION(at, bytes);
#else
    (void)at;
    (void)bytes;
#endif
}

static void allow(void *at, size_t bytes)
{
#if defined(SLAB_POISONS)
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
#else
    (void)at;
    (void)bytes;
#endif
}

/* The leak checker does not search anonymous mappings by itself: what only a
 * record points at would be reported. */
static void show_to_leak_checker(struct chunk *chunk)
{
#if defined(SLAB_POISONS)
    __lsan_register_root_region(chunk, HCS_SLAB_CHUNK);
#else
    (void)chunk;
#endif
}

static void hide_from_leak_checker(struct chunk *chunk)
{
#if defined(SLAB_POISONS)
    __lsan_unregister_root_region(chunk, HCS_SLAB_CHUNK);
#else
    (void)chunk;
#endif
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static size_t words_for(size_t records)
{
    return (records + WORD_BITS - 1) / WORD_BITS;
}

static size_t header_bytes(size_t records, size_t record_bytes)
{
    size_t bytes = sizeof(struct chunk) + words_for(records) * sizeof(uint64_t);
    /* Records of whole cache lines are worth starting on one. */
    size_t align = record_bytes % CACHE_LINE == 0 ? CACHE_LINE : RECORD_ALIGN;

    return round_up(bytes, align);
}

struct hcs_slab *hcs_slab_create(size_t record_bytes, hcs_budget_take_fn *take,
    hcs_budget_give_fn *give, void *budget)
{
    struct hcs_slab *slab;
    size_t records;

    assert(record_bytes >= RECORD_ALIGN);
    assert(record_bytes <= HCS_SLAB_CHUNK / 8);
    assert(budget == NULL || (take != NULL && give != NULL));
    record_bytes = round_up(record_bytes, RECORD_ALIGN);

    records = HCS_SLAB_CHUNK / record_bytes;
    while (header_bytes(records, record_bytes) + records * record_bytes >
           HCS_SLAB_CHUNK) {
        records--;
    }
    assert(words_for(records) <= MAX_WORDS);

    slab = calloc(1, sizeof(*slab));
    if (slab == NULL) {
        return NULL;
    }
    slab->record_bytes = (uint32_t)record_bytes;
    slab->reciprocal = (uint32_t)(UINT32_MAX / record_bytes + 1);
    slab->first_offset = (uint32_t)header_bytes(records, record_bytes);
    slab->chunk_records = (uint32_t)records;
    slab->take = take;
    slab->give = give;
    slab->budget = budget;
    return slab;
}

/* Anonymous, untouched, aligned at its size; NULL when there is no memory.
 * Below the chunk before, if there is one and that place is free: aligned at
 * once, and one area to the kernel, whose number it limits. */
static void *map_aligned(const struct chunk *above)
{
    const int prot = PROT_READ | PROT_WRITE;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    const uintptr_t mask = HCS_SLAB_CHUNK - 1;
    const uintptr_t hint =
        above != NULL ? (uintptr_t)above - HCS_SLAB_CHUNK : 0;
    char *at = mmap((void *)hint, HCS_SLAB_CHUNK, prot, flags, -1, 0);
    size_t before;

    if (at == MAP_FAILED) {
        return NULL;
    }
    if (((uintptr_t)at & mask) == 0) {
        return at;
    }
    (void)munmap(at, HCS_SLAB_CHUNK);

    /* Twice the size holds an aligned chunk wherever it starts. */
    at = mmap(NULL, (size_t)2 * HCS_SLAB_CHUNK, prot, flags, -1, 0);
    if (at == MAP_FAILED) {
        return NULL;
    }
    before = (size_t)(-(uintptr_t)at & mask);
    if (before > 0) {
        (void)munmap(at, before);
    }
    (void)munmap(at + before + HCS_SLAB_CHUNK, HCS_SLAB_CHUNK - before);
    return at + before;
}

static struct chunk *map_chunk(struct hcs_slab *slab)
{
    struct chunk *chunk;

    if (slab->budget != NULL && !slab->take(slab->budget, HCS_SLAB_CHUNK)) {
        return NULL;
    }
    chunk = map_aligned(slab->chunks);
    if (chunk == NULL) {
        if (slab->budget != NULL) {
            slab->give(slab->budget, HCS_SLAB_CHUNK);
        }
        return NULL;
    }
    /* Neighbouring chunks are one area to the kernel, and a huge page in it
     * would make records resident that nobody has used. Where there are no
     * huge pages this fails, and nothing is lost. */
    (void)madvise(chunk, HCS_SLAB_CHUNK, MADV_NOHUGEPAGE);

    chunk->slab = slab; /* all else is zero from the kernel */
    chunk->next = slab->chunks;
    if (chunk->next != NULL) {
        chunk->next->prev = chunk;
    }
    slab->chunks = chunk;
    slab->bytes += HCS_SLAB_CHUNK;
    show_to_leak_checker(chunk);
    forbid((char *)chunk + slab->first_offset,
        HCS_SLAB_CHUNK - slab->first_offset);
    return chunk;
}

/* The chunk is on no list but that of all chunks. */
static void unmap_chunk(struct hcs_slab *slab, struct chunk *chunk)
{
    if (chunk->prev != NULL) {
        chunk->prev->next = chunk->next;
    } else {
        slab->chunks = chunk->next;
    }
    if (chunk->next != NULL) {
        chunk->next->prev = chunk->prev;
    }
    slab->bytes -= HCS_SLAB_CHUNK;
    hide_from_leak_checker(chunk);
    allow(chunk, HCS_SLAB_CHUNK);
    (void)munmap(chunk, HCS_SLAB_CHUNK);
    if (slab->budget != NULL) {
        slab->give(slab->budget, HCS_SLAB_CHUNK);
    }
}

void hcs_slab_destroy(struct hcs_slab *slab)
{
    if (slab == NULL) {
        return;
    }
    while (slab->chunks != NULL) {
        unmap_chunk(slab, slab->chunks);
    }
    free(slab);
}

/* At the head, so that the chunk that was full last, and so is the fullest, is
 * used first: those behind it are left alone and drain. At the tail the chunk
 * used next would be the one that has drained the longest. */
static void put_roomy(struct hcs_slab *slab, struct chunk *chunk)
{
    chunk->prev_roomy = NULL;
    chunk->next_roomy = slab->roomy;
    if (chunk->next_roomy != NULL) {
        chunk->next_roomy->prev_roomy = chunk;
    }
    slab->roomy = chunk;
}

static void drop_roomy(struct hcs_slab *slab, struct chunk *chunk)
{
    if (chunk->prev_roomy != NULL) {
        chunk->prev_roomy->next_roomy = chunk->next_roomy;
    } else {
        slab->roomy = chunk->next_roomy;
    }
    if (chunk->next_roomy != NULL) {
        chunk->next_roomy->prev_roomy = chunk->prev_roomy;
    }
}

static void *record_at(
    const struct hcs_slab *slab, struct chunk *chunk, uint32_t index)
{
    return (char *)chunk + slab->first_offset +
           (size_t)index * slab->record_bytes;
}

static uint32_t index_of(
    const struct hcs_slab *slab, const struct chunk *chunk, const void *record)
{
    size_t offset = (size_t)((const char *)record - (const char *)chunk) -
                    slab->first_offset;
    /* Division by a multiplication: exact, since offset is below 2^16 and
     * record_bytes at most 2^13. */
    uint32_t index = (uint32_t)((uint64_t)offset * slab->reciprocal >> 32);

    /* An address in the header gives an offset that wrapped: not equal. */
    assert((size_t)index * slab->record_bytes == offset);
    return index;
}

static void *take_record(const struct hcs_slab *slab, struct chunk *chunk)
{
    struct free_record *freed = chunk->freed;
    void *record;
    uint32_t index;

    if (freed != NULL) {
        record = freed;
        allow(record, slab->record_bytes);
        chunk->freed = freed->next;
        index = index_of(slab, chunk, record);
    } else {
        index = chunk->carved++;
        record = record_at(slab, chunk, index);
        allow(record, slab->record_bytes);
    }
    chunk->in_use[index / WORD_BITS] |= UINT64_C(1) << index % WORD_BITS;
    chunk->used++;
    return record;
}

void *hcs_slab_alloc(struct hcs_slab *slab)
{
    struct chunk *chunk = slab->roomy;
    void *record;

    if (chunk == NULL) {
        chunk = slab->spare != NULL ? slab->spare : map_chunk(slab);
        if (chunk == NULL) {
            return NULL;
        }
        slab->spare = NULL;
        put_roomy(slab, chunk);
    }
    record = take_record(slab, chunk);
    if (chunk->used == slab->chunk_records) {
        drop_roomy(slab, chunk);
    }
    slab->used++;
    return record;
}

void hcs_slab_free(struct hcs_slab *slab, void *record)
{
    struct free_record *freed = record;
    struct chunk *chunk;
    uint32_t index;
    uint64_t bit;

    if (record == NULL) {
        return;
    }
    chunk =
        (struct chunk *)((uintptr_t)record & ~(uintptr_t)(HCS_SLAB_CHUNK - 1));
    assert(chunk->slab == slab);
    index = index_of(slab, chunk, record);
    bit = UINT64_C(1) << index % WORD_BITS;
    assert(index < chunk->carved);                  /* else never given */
    assert(chunk->in_use[index / WORD_BITS] & bit); /* else freed before */

    chunk->in_use[index / WORD_BITS] &= ~bit;
    freed->next = chunk->freed;
    chunk->freed = freed;
    forbid(record, slab->record_bytes);
    slab->used--;

    if (chunk->used-- == slab->chunk_records) {
        put_roomy(slab, chunk);
    }
    if (chunk->used == 0) {
        drop_roomy(slab, chunk);
        /* The spare stays and this one goes, not the other way round: each()
         * relies on a free to unmap no other chunk. */
        if (slab->spare == NULL) {
            slab->spare = chunk;
        } else {
            unmap_chunk(slab, chunk);
        }
    }
}

size_t hcs_slab_used(const struct hcs_slab *slab)
{
    return slab->used;
}

size_t hcs_slab_bytes(const struct hcs_slab *slab)
{
    return slab->bytes;
}

void hcs_slab_each(
    struct hcs_slab *slab, void (*visit)(void *record, void *arg), void *arg)
{
    const size_t words = words_for(slab->chunk_records);
    struct chunk *chunk = slab->chunks;

    while (chunk != NULL) {
        struct chunk *next = chunk->next;
        uint64_t in_use[MAX_WORDS];

        /* A copy, because visit may free the last record and the chunk with
         * it: the chunk is not looked into again. */
        memcpy(in_use, chunk->in_use, words * sizeof(in_use[0]));
        for (size_t w = 0; w < words; w++) {
            for (uint64_t left = in_use[w]; left != 0; left &= left - 1) {
                uint32_t index =
                    (uint32_t)(w * WORD_BITS) + (uint32_t)__builtin_ctzll(left);

                visit(record_at(slab, chunk, index), arg);
            }
        }
        chunk = next;
    }
}
