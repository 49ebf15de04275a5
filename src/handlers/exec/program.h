/*
 * exec_program - the program of an exec handler: which, how, as whom.
 *
 * Owns:    the texts and lists it is made of (hcs_exec_program_fini).
 * Threads: read in open; constant from then on, for any.
 * Waits:   for the file system, and for those who know users and groups
 *          (nsswitch.conf(5)).
 */
#ifndef HCS_HANDLERS_EXEC_PROGRAM_H
#define HCS_HANDLERS_EXEC_PROGRAM_H

#include "handlers/exec/spawner.h"
#include "hcs/handler.h"

struct hcs_exec_program {
    const char *name; /* as it was given; lent by the mount */
    char *path;       /* absolute */
    const char **words;
    gid_t *groups;
    const char *user_text; /* as given, or NULL; like the next two */
    const char *group_text;
    const char *directory;
    uint64_t output_bytes;  /* the longest line it may answer */
    struct hcs_spawn spawn; /* all but the ends */
};

/* 0, or -1 when the mount was told what is wrong. */
int hcs_exec_program_read(
    struct hcs_exec_program *program, struct hcs_mount *mount);

/* Of one that was read, in part too, or is all zero. */
void hcs_exec_program_fini(struct hcs_exec_program *program);

/* Why it could not be started, from what hcs_spawner_spawn gave: one line. */
void hcs_exec_program_explain(const struct hcs_exec_program *program, int rc,
    enum hcs_spawn_step step, char *line, size_t size);

#endif
