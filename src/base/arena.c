#include "base/arena.h"

#include <assert.h>
#include <bsd/sys/queue.h>
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

/* The header of a mapping. Blocks follow it. */
struct chunk {
    _Alignas(BLOCK_ALIGN) SLIST_ENTRY(chunk) entry;
    size_t bytes; /* of the mapping */
};

struct hcs_arena {
    uint8_t *next_block; /* where the next block begins in the current chunk */
    uint8_t *latest;     /* the block before it, or NULL if that was freed */
    size_t room;         /* bytes from next_block to the end of the chunk */
    struct chunk *first; /* the chunk that a reset keeps, or NULL */
    SLIST_HEAD(, chunk) others;
    size_t next_bytes; /* the size of the next chunk */
    size_t page_bytes;
    hcs_budget_take_fn *take;
    hcs_budget_give_fn *give;
    void *budget;
};

/* Tells the address sanitizer which bytes must not be touched. So it reports
 * the use of a block after a reset. This mark outlives munmap(2), and the next
 * mapping at the same address would inherit it. So call allow() before
 * unmapping. */
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
    chunk->bytes = bytes;
    forbid(chunk + 1, bytes - sizeof(*chunk));
    return chunk;
}

static void unmap_chunk(struct hcs_arena *arena, struct chunk *chunk)
{
    size_t bytes = chunk->bytes;

    allow(chunk, bytes);
    if (munmap(chunk, bytes) != 0) {
        /* The kernel joins neighbouring mappings. munmap(2) may have to cut one
         * in two, and fails where that would exceed vm.max_map_count. Then only
         * the addresses are lost, and the memory goes back. */
        (void)madvise(chunk, bytes, MADV_DONTNEED);
    }
    if (arena->budget != NULL) {
        arena->give(arena->budget, bytes);
    }
}

static void make_current(struct hcs_arena *arena, struct chunk *chunk)
{
    arena->next_block = (uint8_t *)(chunk + 1);
    arena->latest = NULL;
    arena->room = chunk->bytes - sizeof(*chunk);
}

/* Maps the next chunk and makes it the current one. False when the budget or
 * the system refuses. */
static bool grow(struct hcs_arena *arena)
{
    struct chunk *chunk = map_chunk(arena, arena->next_bytes);

    if (chunk == NULL) {
        return false;
    }
    if (arena->first == NULL) {
        arena->first = chunk;
    } else {
        SLIST_INSERT_HEAD(&arena->others, chunk, entry);
    }
    if (arena->next_bytes < HCS_ARENA_CHUNK_MAX) {
        arena->next_bytes *= 2;
    }
    make_current(arena, chunk);
    return true;
}

/* Maps a chunk for one large block. The current chunk stays the current one. */
static void *alloc_own_chunk(struct hcs_arena *arena, size_t bytes)
{
    struct chunk *chunk =
        map_chunk(arena, round_up(sizeof(*chunk) + bytes, arena->page_bytes));

    if (chunk == NULL) {
        return NULL;
    }
    SLIST_INSERT_HEAD(&arena->others, chunk, entry);
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
        return NULL; /* so that no addition below overflows */
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
    block = arena->next_block;
    arena->latest = arena->next_block;
    arena->next_block += taken;
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
    taken = (size_t)(arena->next_block - arena->latest);
    arena->next_block = arena->latest;
    arena->latest = NULL;
    arena->room += taken;
    forbid(block, taken);
}

void hcs_arena_reset(struct hcs_arena *arena)
{
    while (!SLIST_EMPTY(&arena->others)) {
        struct chunk *chunk = SLIST_FIRST(&arena->others);

        SLIST_REMOVE_HEAD(&arena->others, entry);
        unmap_chunk(arena, chunk);
    }
    if (arena->first != NULL) {
        make_current(arena, arena->first);
        forbid(arena->next_block, arena->room);
        arena->next_bytes = 2 * HCS_ARENA_CHUNK_MIN;
    }
}
