/*
 * spawner_process - the spawner itself, at its end of the socket.
 *
 * Owns:    everything in the spawner's process.
 * Threads: one.
 * Waits:   for commands, and for the end of children; a start, until the
 *          program was executed.
 */
#ifndef HCS_HANDLERS_SPAWNER_PROCESS_H
#define HCS_HANDLERS_SPAWNER_PROCESS_H

/* Runs the spawner, in the process that was forked for it. Takes socket, the
 * spawner's end. */
_Noreturn void hcs_spawner_process(int socket);

#endif
