/*
 * spawner_message - what the daemon and its spawner send each other.
 *
 * Messages are structures, since both are the same executable. Behind a command
 * for a start come its groups and its texts.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never.
 */
#ifndef HCS_HANDLERS_SPAWNER_MESSAGE_H
#define HCS_HANDLERS_SPAWNER_MESSAGE_H

#include "handlers/exec/spawn.h"

enum hcs_spawner_command_kind { HCS_COMMAND_SPAWN, HCS_COMMAND_END };

struct hcs_spawner_command {
    enum hcs_spawner_command_kind kind;
    /* END */
    uint64_t number;
    unsigned grace_ms;
    /* SPAWN */
    bool change_user;
    uid_t user;
    gid_t group;
    uint64_t cpu_seconds;
    uint64_t memory_bytes;
    uint64_t files;
    size_t group_count;
    size_t argument_count;
    size_t text_bytes;
    /* gid_t groups[group_count]; char texts[text_bytes]: the program, the
     * directory or "", the arguments; each ends with a NUL */
};

enum {
    HCS_COMMAND_MAX = sizeof(struct hcs_spawner_command) +
                      HCS_SPAWN_GROUPS_MAX * sizeof(gid_t) + HCS_SPAWN_TEXT_MAX,
};

/* The spawner sends the first one without a command: it is ready, or why
 * not. */
struct hcs_spawner_reply {
    int error; /* 0 or -errno */
    enum hcs_spawn_step step;
    struct hcs_spawned program;
    struct hcs_spawn_status status;
};

#endif
