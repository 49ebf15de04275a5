/*
 * tree - cJSON's parse trees, allocated in an arena within the budget.
 *
 * Owns:    nothing; the arena is lent.
 * Threads: hcs_tree_install_allocator by main, before there are other threads;
 *          the others by any. Each thread has an arena of its own in use.
 * Waits:   never.
 */
#ifndef HCS_JOB_TREE_H
#define HCS_JOB_TREE_H

#include <stdbool.h>
#include <stddef.h>

struct cJSON;
struct hcs_arena;

/* Makes cJSON allocate in the arena that hcs_tree_use names, on every
 * thread. */
void hcs_tree_install_allocator(void);

/* From now on cJSON allocates in the arena on this thread. NULL: on the heap.
 * Returns the arena that was in use before. */
struct hcs_arena *hcs_tree_use(struct hcs_arena *arena);

/* Parses the whole body into a tree in the arena. The tree is freed with the
 * arena. NULL with *no_memory true: there is no memory. NULL with *no_memory
 * false: cJSON does not take the body. */
struct cJSON *hcs_tree_parse(
    struct hcs_arena *arena, const char *body, size_t length, bool *no_memory);

#endif
