#include "base/slab.h"

#include <assert.h>
#include <bsd/sys/queue.h>
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

/* Lies in the memory of a freed record. */
struct free_record {
    SLIST_ENTRY(free_record) entry;
};

/* The header of a chunk. A chunk is aligned to its size, HCS_SLAB_CHUNK, so the
 * address of a record, with its low bits cleared, is the address of its chunk.
 * The records follow the header at slab->first_offset. */
struct chunk {
    struct hcs_slab *slab;
    LIST_ENTRY(chunk) in_all;
    LIST_ENTRY(chunk) in_roomy;
    SLIST_HEAD(, free_record) freed;
    uint32_t used;     /* records in use */
    uint32_t carved;   /* records from this index on were never handed out */
    uint64_t in_use[]; /* a bit for each record */
};

LIST_HEAD(chunk_list, chunk);

struct hcs_slab {
    struct chunk_list roomy; /* chunks with records in use and with room */
    struct chunk *spare;     /* the one empty chunk that is kept, or NULL */
    struct chunk_list all;
    uint32_t record_bytes;
    uint32_t reciprocal; /* 2^32 / record_bytes, rounded up */
    uint32_t first_offset;
    uint32_t chunk_records;
    hcs_budget_take_fn *take;
    hcs_budget_give_fn *give;
    void *budget;
};

/* Tells the address sanitizer which bytes must not be touched. This mark
 * outlives munmap(2), and the next mapping at the same address would inherit
 * it. So call allow() before unmapping. */
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

/* The leak checker does not search anonymous mappings by itself. Without this
 * call it would report memory that only a record points at. */
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
    /* A record that fills whole cache lines starts on a cache line. */
    size_t align = record_bytes % CACHE_LINE == 0 ? CACHE_LINE : RECORD_ALIGN;

    return round_up(bytes, align);
}

/* How many records a chunk holds behind its header. */
static size_t records_of_chunk(size_t record_bytes)
{
    size_t records = HCS_SLAB_CHUNK / record_bytes;

    while (header_bytes(records, record_bytes) + records * record_bytes >
           HCS_SLAB_CHUNK) {
        records--;
    }
    assert(words_for(records) <= MAX_WORDS);
    return records;
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
    records = records_of_chunk(record_bytes);
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

/* Maps an anonymous, untouched chunk, aligned to its size. NULL when there is
 * no memory. Asks for the addresses just below the chunk above, if there is
 * one: these are aligned at once, and the kernel joins the two mappings. That
 * matters because the kernel limits their number (vm.max_map_count). */
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

    /* A mapping of twice the size holds an aligned chunk, wherever it
     * starts. */
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
    chunk = map_aligned(LIST_FIRST(&slab->all));
    if (chunk == NULL) {
        if (slab->budget != NULL) {
            slab->give(slab->budget, HCS_SLAB_CHUNK);
        }
        return NULL;
    }
    /* The kernel joins neighbouring chunks into one area. A huge page there
     * would make records resident that were never used. The call fails where
     * the kernel has no huge pages, and then it is not needed. */
    (void)madvise(chunk, HCS_SLAB_CHUNK, MADV_NOHUGEPAGE);

    chunk->slab = slab; /* the other fields are zero from the kernel */
    LIST_INSERT_HEAD(&slab->all, chunk, in_all);
    show_to_leak_checker(chunk);
    forbid((char *)chunk + slab->first_offset,
        HCS_SLAB_CHUNK - slab->first_offset);
    return chunk;
}

/* The chunk is not in the list of roomy chunks. */
static void unmap_chunk(struct hcs_slab *slab, struct chunk *chunk)
{
    LIST_REMOVE(chunk, in_all);
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
    while (!LIST_EMPTY(&slab->all)) {
        unmap_chunk(slab, LIST_FIRST(&slab->all));
    }
    free(slab);
}

/* Records are allocated from the head of this list. The chunk that was full
 * last is the fullest, so it goes to the head, and the chunks behind it drain.
 * With the tail instead, the next chunk in use would be the one that has
 * drained the longest. */
static void put_roomy(struct hcs_slab *slab, struct chunk *chunk)
{
    LIST_INSERT_HEAD(&slab->roomy, chunk, in_roomy);
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
    /* A multiplication divides faster. The result is exact, because offset is
     * below 2^16 and record_bytes is at most 2^13. */
    uint32_t index = (uint32_t)((uint64_t)offset * slab->reciprocal >> 32);

    /* An address in the header gives an offset that has wrapped round, and
     * then the two differ. */
    assert((size_t)index * slab->record_bytes == offset);
    return index;
}

static void *take_record(const struct hcs_slab *slab, struct chunk *chunk)
{
    struct free_record *freed = SLIST_FIRST(&chunk->freed);
    void *record;
    uint32_t index;

    if (freed != NULL) {
        record = freed;
        allow(record, slab->record_bytes);
        SLIST_REMOVE_HEAD(&chunk->freed, entry);
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
    struct chunk *chunk = LIST_FIRST(&slab->roomy);
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
        LIST_REMOVE(chunk, in_roomy);
    }
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
    assert(index < chunk->carved);                  /* else never allocated */
    assert(chunk->in_use[index / WORD_BITS] & bit); /* else freed before */

    chunk->in_use[index / WORD_BITS] &= ~bit;
    SLIST_INSERT_HEAD(&chunk->freed, freed, entry);
    forbid(record, slab->record_bytes);

    if (chunk->used-- == slab->chunk_records) {
        put_roomy(slab, chunk);
    }
    if (chunk->used == 0) {
        LIST_REMOVE(chunk, in_roomy);
        /* Keep the spare and unmap this chunk, not the other way round:
         * hcs_slab_each relies on a free unmapping no other chunk. */
        if (slab->spare == NULL) {
            slab->spare = chunk;
        } else {
            unmap_chunk(slab, chunk);
        }
    }
}

void hcs_slab_each(
    struct hcs_slab *slab, void (*visit)(void *record, void *arg), void *arg)
{
    const size_t words = words_for(slab->chunk_records);
    struct chunk *chunk;
    struct chunk *next;

    LIST_FOREACH_SAFE (chunk, &slab->all, in_all, next) {
        uint64_t in_use[MAX_WORDS];

        /* A copy, because visit may free the last record of the chunk, which
         * unmaps the chunk. */
        memcpy(in_use, chunk->in_use, words * sizeof(in_use[0]));
        for (size_t w = 0; w < words; w++) {
            for (uint64_t left = in_use[w]; left != 0; left &= left - 1) {
                uint32_t index =
                    (uint32_t)(w * WORD_BITS) + (uint32_t)__builtin_ctzll(left);

                visit(record_at(slab, chunk, index), arg);
            }
        }
    }
}
