/*
 * spawner_child - a child of the spawner, from its fork to the execution of its
 * program.
 *
 * Owns:    everything in the child's process.
 * Threads: one.
 * Waits:   never; the execution waits for the file system.
 */
#ifndef HCS_HANDLERS_SPAWNER_CHILD_H
#define HCS_HANDLERS_SPAWNER_CHILD_H

#include "handlers/exec/spawn.h"

/* A child writes one when it cannot execute its program. */
struct hcs_spawn_failure {
    int error;
    enum hcs_spawn_step step;
};

/* Executes the program. Writes a failure to the descriptor report. */
_Noreturn void hcs_spawner_child(const struct hcs_spawn *spawn, int report);

#endif
