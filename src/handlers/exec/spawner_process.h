/*
 * spawner_process - the other side of the spawner's socket.
 *
 * Messages are structures, since both sides are one program. An order is
 * followed by its groups and its texts.
 *
 * Owns:    in the spawner's process: everything.
 * Threads: one.
 * Waits:   run, for orders and for children; start, until the program was
 *          executed.
 */
#ifndef HCS_HANDLERS_SPAWNER_PROCESS_H
#define HCS_HANDLERS_SPAWNER_PROCESS_H

#include "handlers/exec/spawner.h"

enum hcs_order_kind { HCS_ORDER_SPAWN, HCS_ORDER_END };

struct hcs_order {
    enum hcs_order_kind kind;
    uint64_t number; /* END alone, like grace_ms */
    unsigned grace_ms;
    bool change_user; /* SPAWN alone, like all below */
    uid_t user;
    gid_t group;
    uint64_t cpu_seconds;
    uint64_t memory_bytes;
    uint64_t files;
    size_t group_count;
    size_t word_count;
    size_t text_bytes;
    /* gid_t groups[group_count]; char texts[text_bytes]: program, directory or
     * nothing, words; each with its NUL */
};

enum {
    HCS_ORDER_MAX = sizeof(struct hcs_order) +
                    HCS_SPAWN_GROUPS_MAX * sizeof(gid_t) + HCS_SPAWN_TEXT_MAX,
};

/* To the first one nobody asked: the process is ready, or why not. */
struct hcs_answer {
    int error; /* 0 or -errno */
    enum hcs_spawn_step step;
    struct hcs_spawned program;
    struct hcs_spawn_status status;
};

/* What a child writes before it gives up; nothing once it was executed. */
struct hcs_spawn_failure {
    int error;
    enum hcs_spawn_step step;
};

/* The life of the spawner, in the process that was forked for it. socket: its
 * end, taken. Never returns. */
_Noreturn void hcs_spawner_process(int socket);

/* The short life of a child between fork and execution. ends: as in struct
 * hcs_spawn. report: where a failure is written to. */
_Noreturn void hcs_spawner_child(const struct hcs_spawn *spawn, int report);

/* Closes every descriptor from first on. */
void hcs_spawner_close_from(unsigned first);

#endif
