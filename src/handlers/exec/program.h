/*
 * program - what an exec mount starts, from its settings: the file, its
 * arguments, its user and its limits.
 *
 * Owns:    the texts and lists of the settings (hcs_exec_program_fini).
 * Threads: written in open; constant after that, for any thread.
 * Waits:   read, for the file system, and for the databases of users and groups
 *          (nsswitch.conf(5)).
 */
#ifndef HCS_HANDLERS_EXEC_PROGRAM_H
#define HCS_HANDLERS_EXEC_PROGRAM_H

#include "handlers/exec/spawn.h"
#include "hcs/handler.h"

struct hcs_exec_program {
    const char *name; /* as in the settings; lent by the mount */
    char *path;       /* absolute */
    const char **argv;
    gid_t *groups;
    const char *user_text;  /* as in the settings, or NULL; lent by the mount */
    const char *group_text; /* the same */
    const char *directory;  /* the same */
    uint64_t output_bytes;  /* the longest line that it may answer */
    struct hcs_spawn spawn; /* complete but for the ends of the pipes */
};

/* 0, or -1 after hcs_mount_fail. */
int hcs_exec_program_read(
    struct hcs_exec_program *program, struct hcs_mount *mount);

/* Also after a read that failed, and for a program that is all zero. */
void hcs_exec_program_fini(struct hcs_exec_program *program);

/* Writes one line: why hcs_spawner_spawn failed with rc at step. */
void hcs_exec_program_explain(const struct hcs_exec_program *program, int rc,
    enum hcs_spawn_step step, char *line, size_t size);

#endif
