/*
 * program - what happens to a shard, as text.
 *
 * A line is a word and its arguments; what is no such line is skipped. I is a
 * client, 0 to 7; TEXT is decoded (fuzz_decode) and goes to the line's end.
 *
 *   set NAME N       a setting, wherever the line stands: header body queue
 *                    conns read write idle drain_idle queue_timeout
 *                    job_timeout half_close rate shared
 *   open I           connects
 *   send I TEXT      its bytes arrive
 *   late I TEXT      they arrive once the daemon has read what is there
 *   fill I N         N bytes "x" arrive
 *   fin I            sends no more
 *   reset I          is gone
 *   limit I N        its socket holds N bytes that it has not taken; 0: any
 *   sip I N          takes N of them
 *   turn             the loop wakes up, if there is a reason to
 *   intr             a signal wakes it up
 *   take             a worker takes the oldest job
 *   run K            the Kth of those that have one runs it
 *   put K            and hands the result back
 *   work             all three, for the oldest job
 *   tick N           N milliseconds pass
 *   jump N           they pass while the process is stopped
 *   drain, stop      main's commands
 *   nomem N          the allocation behind N others fails
 *   budget N         there is room for N more KiB
 *   fds N            and for N more descriptors
 *   fault CALL E     accept or watch fails with E, once
 *   fault CALL I E   read or send does, for that client
 *
 * Owns:    what struct program points at. Threads: one. Waits: never.
 */
#ifndef HCS_FUZZ_PROGRAM_H
#define HCS_FUZZ_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

enum op {
    OP_NONE,
    OP_SET,
    OP_OPEN,
    OP_SEND,
    OP_LATE,
    OP_FILL,
    OP_FIN,
    OP_RESET,
    OP_LIMIT,
    OP_SIP,
    OP_TURN,
    OP_INTR,
    OP_TAKE,
    OP_RUN,
    OP_PUT,
    OP_WORK,
    OP_TICK,
    OP_JUMP,
    OP_DRAIN,
    OP_STOP,
    OP_NOMEM,
    OP_BUDGET,
    OP_FDS,
    OP_FAULT,
};

enum setting {
    SET_HEADER,
    SET_BODY,
    SET_QUEUE,
    SET_CONNS,
    SET_READ,
    SET_WRITE,
    SET_IDLE,
    SET_DRAIN_IDLE,
    SET_QUEUE_TIMEOUT,
    SET_JOB_TIMEOUT,
    SET_HALF_CLOSE,
    SET_RATE,
    SET_SHARED,
    SET_COUNT,
};

enum call { CALL_READ, CALL_SEND, CALL_ACCEPT, CALL_WATCH };

enum {
    PROGRAM_LINES_MAX = 400,
    PROGRAM_NUMBER_MAX = 1 << 20, /* larger ones are taken modulo it */
};

struct step {
    enum op op;
    unsigned which; /* client, setting, call */
    size_t client;  /* of a fault */
    size_t number;
    int error;
    const char *text; /* decoded */
    size_t length;
};

struct program {
    struct step steps[PROGRAM_LINES_MAX];
    size_t count;
    char *texts;
};

void program_read(struct program *program, const char *text, size_t length);
void program_free(struct program *program);

/* The words, for those who make lines up. */
extern const char *const program_words[];
extern const size_t program_word_count;
extern const char *const program_settings[SET_COUNT];

#endif
