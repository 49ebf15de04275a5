#include "job/tree.h"

#include "base/arena.h"

#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The arena that this thread's trees are allocated in. Thread-local, because
 * cJSON's hooks carry no context. NULL: trees are allocated on the heap. That
 * is so outside of a handler's run, and, for a job that was resumed, outside of
 * hcs_tree_parse. */
static _Thread_local struct hcs_arena *current_arena;
static _Thread_local bool allocation_failed; /* since parsing began */

/* Stands before each block that cJSON gets. tree_free needs to know whether the
 * block is in the arena or on the heap. */
union origin {
    bool in_arena;
    max_align_t align;
};

static void *tree_alloc(size_t bytes)
{
    union origin *origin;

    if (bytes > SIZE_MAX - sizeof(*origin)) {
        return NULL;
    }
    if (current_arena != NULL) {
        origin = hcs_arena_alloc(current_arena, bytes + sizeof(*origin));
    } else {
        origin = malloc(bytes + sizeof(*origin));
    }
    if (origin == NULL) {
        allocation_failed = true;
        return NULL;
    }
    origin->in_arena = current_arena != NULL;
    return origin + 1;
}

static void tree_free(void *block)
{
    union origin *origin = block;

    if (block == NULL) {
        return;
    }
    if (!origin[-1].in_arena) {
        free(&origin[-1]);
    } else if (current_arena != NULL) {
        /* hcs_arena_free takes back only the latest block. The copy that cJSON
         * makes of each number, to convert it, is the latest block. All other
         * blocks are freed when the job ends. */
        hcs_arena_free(current_arena, &origin[-1]);
    }
}

void hcs_tree_install_allocator(void)
{
    cJSON_Hooks hooks = {.malloc_fn = tree_alloc, .free_fn = tree_free};

    cJSON_InitHooks(&hooks);
}

struct hcs_arena *hcs_tree_use(struct hcs_arena *arena)
{
    struct hcs_arena *before = current_arena;

    current_arena = arena;
    return before;
}

/* Where a number is too long for cJSON, cJSON reads only its beginning. If the
 * body is nothing but this number, cJSON succeeds with a part of it.
 * parse_whole returns NULL then; the tree is freed with the arena. */
static cJSON *parse_whole(const char *body, size_t length)
{
    const char *end = NULL;
    cJSON *tree = cJSON_ParseWithLengthOpts(body, length, &end, false);

    if (tree == NULL) {
        return NULL;
    }
    while (end < body + length && memchr(" \t\n\r", *end, 4) != NULL) {
        end++;
    }
    return end == body + length ? tree : NULL;
}

struct cJSON *hcs_tree_parse(
    struct hcs_arena *arena, const char *body, size_t length, bool *no_memory)
{
    struct hcs_arena *before = hcs_tree_use(arena);
    cJSON *tree;

    allocation_failed = false;
    tree = parse_whole(body, length);
    current_arena = before;
    *no_memory = tree == NULL && allocation_failed;
    return tree;
}
