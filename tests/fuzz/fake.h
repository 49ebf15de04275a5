/*
 * fake - a kernel for one shard: sockets, epoll, descriptors, clock, memory.
 *
 * Takes the place of the system calls that a shard and its connections make.
 * Numbers of descriptors are never given out twice, so that a use after the
 * close is always seen; it is a finding, as is a second close, or one missing
 * at the end. Edges are told as epoll(7) tells them: once, when something
 * arrived, with all that is true when epoll_wait(2) is called.
 *
 * Owns:    all of it. Threads: one. Waits: never; the clock is told to move on.
 */
#ifndef HCS_FUZZ_FAKE_H
#define HCS_FUZZ_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FAKE_CLIENTS = 8 };

/* A client, and the two directions of its connection. */
struct fake_client {
    bool connected; /* it has asked to be */
    bool accepted;
    bool closed; /* by the daemon */

    char *in; /* all that it sends */
    size_t in_length;
    size_t in_arrived; /* of it */
    size_t in_read;    /* of that, by the daemon */
    bool fin;          /* its end has arrived */
    bool fin_late;     /* arrives with what has not arrived yet */
    bool reset;        /* the connection is gone */
    int error;         /* which the next call will report */
    int read_fault;    /* errno for the next read */

    char *out; /* all that the daemon sent */
    size_t out_length;
    size_t out_acked;
    size_t out_limit; /* the socket's buffer; 0: the client takes all at once */
    bool no_space;    /* the daemon waits for room */
    bool shut;        /* by the daemon */
    int send_fault;
};

/* Called by epoll_wait, before it looks what is ready: the world goes on.
 * timeout_ms as given to it. False: interrupted by a signal. */
typedef bool fake_world_fn(void *world, int timeout_ms);

void fake_begin(fake_world_fn *world, void *arg);

/* Frees all; a finding when a descriptor is still open. */
void fake_end(void);

/* A listening socket: a descriptor. */
int fake_listen(void);

struct fake_client *fake_client(size_t index);

/* Asks to be connected; once. */
void fake_connect(size_t index);

/* Bytes that arrive now; or late: when the daemon has read once more. */
void fake_arrive(size_t index, const char *bytes, size_t length, bool late);
void fake_fin(size_t index);
void fake_reset(size_t index, int error);

/* From now on the client takes what it is told to, and the socket holds so many
 * bytes that it has not taken. 0: takes all at once. */
void fake_limit(size_t index, size_t bytes);
void fake_take(size_t index, size_t bytes);

/* Whatever was late has arrived, every client takes all at once, and no fault
 * is left. */
void fake_calm(void);

/* epoll_wait would find something. */
bool fake_ready(void);

uint64_t fake_now_ms(void);
void fake_advance(uint64_t ms);

/* No more than so many descriptors beside those that are open. */
void fake_spare_descriptors(size_t count);

/* The allocation after so many others fails; once. */
void fake_fail_allocation(size_t after);

/* The next accept4, or epoll_ctl, fails. */
void fake_fail_accept(int error);
void fake_fail_control(int error);

/* Allocations count, and fail, from here on; or no longer. */
void fake_watch_memory(bool watch);

unsigned fake_accepted(void);

#endif
