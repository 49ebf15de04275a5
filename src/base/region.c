#include "base/region.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REGION_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define REGION_POISONS 1
#endif

#if defined(REGION_POISONS)
#include <sanitizer/asan_interface.h>
#endif

enum { BLOCK_ALIGN = 16 };

/* Lies at the start of its mapping; blocks follow. */
struct chunk {
    _Alignas(BLOCK_ALIGN) struct chunk *next;
    size_t bytes; /* of the mapping */
};

struct hcs_region {
    uint8_t *place;       /* of the next block in the current chunk */
    uint8_t *latest;      /* the block before it, or NULL if that was freed */
    size_t room;          /* bytes from there to the chunk's end */
    struct chunk *first;  /* the one that a reset keeps, or NULL */
    struct chunk *others; /* in no order */
    size_t next_bytes;    /* the size of the next chunk */
    size_t bytes;         /* mapped */
    size_t page_bytes;
    hcs_budget_take_fn *take;
    hcs_budget_give_fn *give;
    void *budget;
};

/* The sanitizer is told which bytes nobody may touch, so that it sees who still
 * uses a block after the reset. Its shadow outlives an munmap: allow() first,
 * or whoever maps that address next inherits the poison. */
static void forbid(void *at, size_t bytes)
{
#if defined(REGION_POISONS)
    ASAN_POISON_MEMORY_REGION(at, bytes);
#else
    (void)at;
    (void)bytes;
#endif
}

static void allow(void *at, size_t bytes)
{
#if defined(REGION_POISONS)
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
#else
    (void)at;
    (void)bytes;
#endif
}

static size_t round_up(size_t bytes, size_t grain)
{
    return (bytes + grain - 1) / grain * grain;
}

static struct chunk *map_chunk(struct hcs_region *region, size_t bytes)
{
    void *at;
    struct chunk *chunk;

    if (region->budget != NULL && !region->take(region->budget, bytes)) {
        return NULL;
    }
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
        -1, 0);
    if (at == MAP_FAILED) {
        if (region->budget != NULL) {
            region->give(region->budget, bytes);
        }
        return NULL;
    }
    chunk = at;
    chunk->next = NULL;
    chunk->bytes = bytes;
    region->bytes += bytes;
    forbid(chunk + 1, bytes - sizeof(*chunk));
    return chunk;
}

static void unmap_chunk(struct hcs_region *region, struct chunk *chunk)
{
    size_t bytes = chunk->bytes;

    allow(chunk, bytes);
    if (munmap(chunk, bytes) != 0) {
        /* Neighbouring mappings are one to the kernel, and cutting one in two
         * fails at vm.max_map_count. Then only the address space is lost. */
        (void)madvise(chunk, bytes, MADV_DONTNEED);
    }
    region->bytes -= bytes;
    if (region->budget != NULL) {
        region->give(region->budget, bytes);
    }
}

static void make_current(struct hcs_region *region, struct chunk *chunk)
{
    region->place = (uint8_t *)(chunk + 1);
    region->latest = NULL;
    region->room = chunk->bytes - sizeof(*chunk);
}

static void link_chunk(struct hcs_region *region, struct chunk *chunk)
{
    chunk->next = region->others;
    region->others = chunk;
}

/* The next chunk in size becomes the current one. False when refused. */
static bool grow(struct hcs_region *region)
{
    struct chunk *chunk = map_chunk(region, region->next_bytes);

    if (chunk == NULL) {
        return false;
    }
    if (region->first == NULL) {
        region->first = chunk;
    } else {
        link_chunk(region, chunk);
    }
    if (region->next_bytes < HCS_REGION_CHUNK_MAX) {
        region->next_bytes *= 2;
    }
    make_current(region, chunk);
    return true;
}

/* Blocks go on being taken from the current chunk. */
static void *alloc_own_chunk(struct hcs_region *region, size_t bytes)
{
    struct chunk *chunk =
        map_chunk(region, round_up(sizeof(*chunk) + bytes, region->page_bytes));

    if (chunk == NULL) {
        return NULL;
    }
    link_chunk(region, chunk);
    allow(chunk + 1, bytes);
    return chunk + 1;
}

struct hcs_region *hcs_region_create(
    hcs_budget_take_fn *take, hcs_budget_give_fn *give, void *budget)
{
    struct hcs_region *region;

    assert(budget == NULL || (take != NULL && give != NULL));
    region = calloc(1, sizeof(*region));
    if (region == NULL) {
        return NULL;
    }
    region->next_bytes = HCS_REGION_CHUNK_MIN;
    region->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    region->take = take;
    region->give = give;
    region->budget = budget;
    return region;
}

void hcs_region_destroy(struct hcs_region *region)
{
    if (region == NULL) {
        return;
    }
    hcs_region_reset(region);
    if (region->first != NULL) {
        unmap_chunk(region, region->first);
    }
    free(region);
}

void *hcs_region_alloc(struct hcs_region *region, size_t bytes)
{
    size_t taken;
    void *block;

    if (bytes > PTRDIFF_MAX) {
        return NULL; /* so that no sum below overflows */
    }
    taken = bytes == 0 ? BLOCK_ALIGN : round_up(bytes, BLOCK_ALIGN);
    if (taken > region->room) {
        if (taken > region->next_bytes - sizeof(struct chunk)) {
            return alloc_own_chunk(region, taken);
        }
        if (!grow(region)) {
            return NULL;
        }
    }
    block = region->place;
    region->latest = region->place;
    region->place += taken;
    region->room -= taken;
    allow(block, bytes);
    return block;
}

void hcs_region_free(struct hcs_region *region, void *block)
{
    size_t taken;

    if (block == NULL || block != region->latest) {
        return;
    }
    taken = (size_t)(region->place - region->latest);
    region->place = region->latest;
    region->latest = NULL;
    region->room += taken;
    forbid(block, taken);
}

void hcs_region_reset(struct hcs_region *region)
{
    while (region->others != NULL) {
        struct chunk *chunk = region->others;

        region->others = chunk->next;
        unmap_chunk(region, chunk);
    }
    if (region->first != NULL) {
        make_current(region, region->first);
        forbid(region->place, region->room);
        region->next_bytes = 2 * HCS_REGION_CHUNK_MIN;
    }
}

size_t hcs_region_bytes(const struct hcs_region *region)
{
    return region->bytes;
}
