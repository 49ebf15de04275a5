/*
 * pid_file - the file that says which process the daemon is (pidfile(3bsd)).
 *
 * The file is locked while the daemon lives, so that a second daemon with the
 * same file does not start.
 *
 * Owns:    the file and its lock, until remove.
 * Threads: main.
 * Waits:   as long as writing the file does.
 */
#ifndef HCS_APP_PID_FILE_H
#define HCS_APP_PID_FILE_H

struct pidfh;

/* Writes the file. path NULL: none is asked for, and *out is NULL. 0; or an exit
 * status with what went wrong said. Call it before there are threads, and after
 * processes were forked that may outlive this one: they would keep the lock. */
int hcs_pid_file_open(struct pidfh **out, const char *path);

/* NULL is allowed. */
void hcs_pid_file_remove(struct pidfh *file);

#endif
