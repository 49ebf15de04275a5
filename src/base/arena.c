#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#endif

#if defined(ARENA_POISONS)
#include <sanitizer/asan_interface.h>
#endif

enum { BLOCK_ALIGN = 16 };

/* Lies at the start of its mapping; blocks follow. */
struct chunk {
    _Alignas(BLOCK_ALIGN) struct chunk *next;
    size_t bytes; /* of the mapping */
};

struct hcs_arena {
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
#if defined(ARENA_POISONS)
    ASAN_POISON_MEMORY_REGION(at, bytes);
#else
    (void)at;
    (void)bytes;
#endif
}

static void allow(void *at, size_t bytes)
{
#if defined(ARENA_POISONS)
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

static struct chunk *map_chunk(struct hcs_arena *arena, size_t bytes)
{
    void *at;
    struct chunk *chunk;

    if (arena->budget != NULL && !arena->take(arena->budget, bytes)) {
        return NULL;
    }
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
        -1, 0);
    if (at == MAP_FAILED) {
        if (arena->budget != NULL) {
            arena->give(arena->budget, bytes);
        }
        return NULL;
    }
    chunk = at;
    chunk->next = NULL;
    chunk->bytes = bytes;
    arena->bytes += bytes;
    forbid(chunk + 1, bytes - sizeof(*chunk));
    return chunk;
}

static void unmap_chunk(struct hcs_arena *arena, struct chunk *chunk)
{
    size_t bytes = chunk->bytes;

    allow(chunk, bytes);
    if (munmap(chunk, bytes) != 0) {
        /* Neighbouring mappings are one to the kernel, and cutting one in two
         * fails at vm.max_map_count. Then only the address space is lost. */
        (void)madvise(chunk, bytes, MADV_DONTNEED);
    }
    arena->bytes -= bytes;
    if (arena->budget != NULL) {
        arena->give(arena->budget, bytes);
    }
}

static void make_current(struct hcs_arena *arena, struct chunk *chunk)
{
    arena->place = (uint8_t *)(chunk + 1);
    arena->latest = NULL;
    arena->room = chunk->bytes - sizeof(*chunk);
}

static void link_chunk(struct hcs_arena *arena, struct chunk *chunk)
{
    chunk->next = arena->others;
    arena->others = chunk;
}

/* The next chunk in size becomes the current one. False when refused. */
static bool grow(struct hcs_arena *arena)
{
    struct chunk *chunk = map_chunk(arena, arena->next_bytes);

    if (chunk == NULL) {
        return false;
    }
    if (arena->first == NULL) {
        arena->first = chunk;
    } else {
        link_chunk(arena, chunk);
    }
    if (arena->next_bytes < HCS_ARENA_CHUNK_MAX) {
        arena->next_bytes *= 2;
    }
    make_current(arena, chunk);
    return true;
}

/* Blocks go on being taken from the current chunk. */
static void *alloc_own_chunk(struct hcs_arena *arena, size_t bytes)
{
    struct chunk *chunk =
        map_chunk(arena, round_up(sizeof(*chunk) + bytes, arena->page_bytes));

    if (chunk == NULL) {
        return NULL;
    }
    link_chunk(arena, chunk);
    allow(chunk + 1, bytes);
    return chunk + 1;
}

struct hcs_arena *hcs_arena_create(
    hcs_budget_take_fn *take, hcs_budget_give_fn *give, void *budget)
{
    struct hcs_arena *arena;

    assert(budget == NULL || (take != NULL && give != NULL));
    arena = calloc(1, sizeof(*arena));
    if (arena == NULL) {
        return NULL;
    }
    arena->next_bytes = HCS_ARENA_CHUNK_MIN;
    arena->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    arena->take = take;
    arena->give = give;
    arena->budget = budget;
    return arena;
}

void hcs_arena_destroy(struct hcs_arena *arena)
{
    if (arena == NULL) {
        return;
    }
    hcs_arena_reset(arena);
    if (arena->first != NULL) {
        unmap_chunk(arena, arena->first);
    }
    free(arena);
}

void *hcs_arena_alloc(struct hcs_arena *arena, size_t bytes)
{
    size_t taken;
    void *block;

    if (bytes > PTRDIFF_MAX) {
        return NULL; /* so that no sum below overflows */
    }
    taken = bytes == 0 ? BLOCK_ALIGN : round_up(bytes, BLOCK_ALIGN);
    if (taken > arena->room) {
        if (taken > arena->next_bytes - sizeof(struct chunk)) {
            return alloc_own_chunk(arena, taken);
        }
        if (!grow(arena)) {
            return NULL;
        }
    }
    block = arena->place;
    arena->latest = arena->place;
    arena->place += taken;
    arena->room -= taken;
    allow(block, bytes);
    return block;
}

void hcs_arena_free(struct hcs_arena *arena, void *block)
{
    size_t taken;

    if (block == NULL || block != arena->latest) {
        return;
    }
    taken = (size_t)(arena->place - arena->latest);
    arena->place = arena->latest;
    arena->latest = NULL;
    arena->room += taken;
    forbid(block, taken);
}

void hcs_arena_reset(struct hcs_arena *arena)
{
    while (arena->others != NULL) {
        struct chunk *chunk = arena->others;

        arena->others = chunk->next;
        unmap_chunk(arena, chunk);
    }
    if (arena->first != NULL) {
        make_current(arena, arena->first);
        forbid(arena->place, arena->room);
        arena->next_bytes = 2 * HCS_ARENA_CHUNK_MIN;
    }
}

size_t hcs_arena_bytes(const struct hcs_arena *arena)
{
    return arena->bytes;
}
