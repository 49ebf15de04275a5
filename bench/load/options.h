/*
 * options - the options of the command line.
 *
 * Owns:    the request, which is built or read once, and never freed.
 * Threads: main's.
 * Waits:   for the resolver, when the URL has a name.
 */
#ifndef HCS_LOAD_OPTIONS_H
#define HCS_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum shape { SHAPE_HOLD, SHAPE_BURST, SHAPE_RATE, SHAPE_CHURN, SHAPE_TRICKLE };

enum { LOAD_USAGE = 2 }; /* exit status */

struct options {
    enum shape shape;
    const char *shape_word;
    const char *url;
    struct sockaddr_storage server;
    socklen_t server_length;
    char *request;
    size_t request_bytes;
    unsigned connections;
    unsigned rounds;
    unsigned processes;
    unsigned sources;   /* 0: the system's choice */
    unsigned in_flight; /* the most connections that are being opened at once */
    unsigned step_bytes;
    double rate; /* a second; 0: as fast as it goes */
    double held_rate;
    uint64_t duration_ns;
    uint64_t timeout_ns;
    uint64_t interval_ns;
    pid_t pid; /* 0: none */
    bool until_eof;
    bool json;
    bool quiet;
};

/* Reads the command line. Exits with status 0 after --help, and with LOAD_USAGE
 * when an option is wrong. */
void options_take(struct options *o, int argc, char **argv);

#endif
