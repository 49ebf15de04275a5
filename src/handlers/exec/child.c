#include "handlers/exec/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_MS = 100, /* between two looks whether the client has left */
};

/* For a child whose client has left: an end costs it more than the rest of the
 * job would. */
static const uint64_t LEFT_WAIT_NS = 5 * UINT64_C(1000000000);
static const uint64_t MS_NS = 1000000;

uint64_t hcs_exec_now_ns(void)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

/* --- Start and end. */

static void close_ends(const int ends[2])
{
    for (size_t i = 0; i < 2; i++) {
        if (ends[i] >= 0) {
            close(ends[i]);
        }
    }
}

/* A pipe whose end at index ours does not block; the other one does, since it is
 * another file description. */
static int open_pipe(int ends[2], int ours)
{
    int rc = 0;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        rc = -errno;
        ends[0] = -1;
        ends[1] = -1;
        return rc;
    }
    return fcntl(ends[ours], F_SETFL, O_NONBLOCK) != 0 ? -errno : 0;
}

static int open_pipes(int pipes[3][2])
{
    int rc = 0;

    for (int i = 0; i < 3; i++) {
        pipes[i][0] = -1;
        pipes[i][1] = -1;
    }
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = open_pipe(pipes[i], i == 0 ? 1 : 0);
    }
    return rc;
}

/* Ends what is said to have started. */
static void take_back(struct hcs_exec_child *child, struct hcs_spawner *spawner)
{
    struct hcs_spawn_status status;

    (void)hcs_spawner_end(spawner, child->program, 0, &status);
    child->program.pid = 0;
}

int hcs_exec_child_start(struct hcs_exec_child *child,
    struct hcs_spawner *spawner, const struct hcs_exec_program *program,
    struct hcs_exec_errors *errors, enum hcs_spawn_step *step)
{
    struct hcs_spawn spawn = program->spawn;
    int pipes[3][2];
    int rc = open_pipes(pipes);

    *step = HCS_SPAWN_DESCRIPTORS;
    child->program.pid = 0;
    if (rc == 0) {
        spawn.ends[0] = pipes[0][0];
        spawn.ends[1] = pipes[1][1];
        spawn.ends[2] = pipes[2][1];
        rc = hcs_spawner_spawn(spawner, &spawn, &child->program, step);
    }
    if (rc == 0) {
        child->voice =
            hcs_exec_errors_add(errors, pipes[2][0], child->program.pid);
        if (child->voice == NULL) {
            rc = -errno;
            *step = HCS_SPAWN_DESCRIPTORS;
            take_back(child, spawner);
        }
    }
    if (rc == 0) {
        child->written = 0;
        child->in = pipes[0][1];
        child->out = pipes[1][0];
        pipes[0][1] = -1; /* the child's now, like the next two */
        pipes[1][0] = -1;
        pipes[2][0] = -1; /* its voice's */
    } else {
        child->program.pid = 0;
    }
    for (int i = 0; i < 3; i++) {
        close_ends(pipes[i]);
    }
    return rc;
}

static void describe(
    const struct hcs_spawn_status *status, char *how, size_t size)
{
    switch (status->end) {
    case HCS_SPAWN_EXITED:
        (void)snprintf(how, size, "ended with status %d", status->value);
        return;
    case HCS_SPAWN_SIGNALLED:
        (void)snprintf(how, size, "was killed by signal %d", status->value);
        return;
    case HCS_SPAWN_KILLED:
        (void)snprintf(how, size, "closed its standard input or output");
        return;
    }
}

static void close_in(struct hcs_exec_child *child)
{
    if (child->in >= 0) {
        close(child->in);
        child->in = -1;
    }
}

bool hcs_exec_child_part(struct hcs_exec_child *child, unsigned wait_ms)
{
    struct pollfd fd = {.fd = child->out}; /* no events: only its end counts */

    close_in(child);
    return poll(&fd, 1, (int)wait_ms) > 0;
}

/* All that was written is still in the pipe; pipe(7). */
static bool is_unread(const struct hcs_exec_child *child)
{
    int bytes = 0;

    if (child->written == 0) {
        return true;
    }
    return child->in >= 0 && ioctl(child->in, FIONREAD, &bytes) == 0 &&
           (size_t)bytes == child->written;
}

bool hcs_exec_child_end(struct hcs_exec_child *child,
    struct hcs_spawner *spawner, struct hcs_exec_errors *errors,
    unsigned grace_ms, char *how, size_t size)
{
    struct hcs_spawn_status status;
    bool unread;
    int rc;

    assert(child->program.pid != 0);
    rc = hcs_spawner_end(spawner, child->program, grace_ms, &status);
    unread = is_unread(child); /* not before it is dead */
    close_in(child);
    close(child->out);
    if (rc == 0) {
        describe(&status, how, size);
    } else {
        (void)snprintf(how, size, "is lost, with the process that started it");
    }
    hcs_exec_errors_release(errors, child->voice);
    child->program.pid = 0;
    return unread;
}

enum hcs_exec_mood hcs_exec_child_mood(const struct hcs_exec_child *child)
{
    struct pollfd fd = {.fd = child->out, .events = POLLIN};

    if (poll(&fd, 1, 0) <= 0) {
        return HCS_EXEC_WAITS;
    }
    return (fd.revents & POLLIN) != 0 ? HCS_EXEC_TALKS : HCS_EXEC_ENDED;
}

/* --- An exchange. */

struct exchange {
    struct hcs_exec_child *child;
    struct hcs_job *job;
    struct iovec *parts; /* what is left to write */
    int part_count;
    uint64_t end_ns;   /* when to give up */
    bool left;         /* the client, which set end_ns */
    size_t max_bytes;  /* of the line */
    bool without_room; /* the line is read to its end and thrown away */
    size_t room;       /* at line */
    size_t length;     /* read so far */
    size_t dropped;    /* of a line that has no room */
    char *line;
    struct hcs_exec_buffer *buffer;
};

/* Goes on: -1. */
enum { GOES_ON = -1 };

static int write_parts(struct exchange *exchange)
{
    while (exchange->part_count > 0) {
        ssize_t n =
            writev(exchange->child->in, exchange->parts, exchange->part_count);

        if (n < 0 && errno == EAGAIN) {
            return GOES_ON;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return HCS_EXEC_GONE;
        }
        exchange->child->written += (size_t)n;
        while (
            exchange->part_count > 0 && (size_t)n >= exchange->parts->iov_len) {
            n -= (ssize_t)exchange->parts->iov_len;
            exchange->parts++;
            exchange->part_count--;
        }
        if (exchange->part_count > 0) {
            exchange->parts->iov_base = (char *)exchange->parts->iov_base + n;
            exchange->parts->iov_len -= (size_t)n;
        }
    }
    return GOES_ON;
}

/* The buffer is full, and the line is not too long: twice as much from the
 * job's memory. */
static void make_room(struct exchange *exchange)
{
    size_t most = exchange->max_bytes + 1; /* with the newline */
    size_t room = exchange->room * 2 < most ? exchange->room * 2 : most;
    char *line;

    line = exchange->without_room ? NULL : hcs_job_alloc(exchange->job, room);
    if (line == NULL) {
        /* The child is not to blame, and shall not die of it. */
        exchange->without_room = true;
        exchange->dropped += exchange->length;
        exchange->length = 0;
        exchange->line = exchange->buffer->bytes;
        exchange->room = exchange->buffer->size;
        return;
    }
    memcpy(line, exchange->line, exchange->length);
    exchange->line = line;
    exchange->room = room;
}

/* n bytes came behind those that were there. */
static int look_for_end(struct exchange *exchange, size_t n)
{
    const char *fresh = exchange->line + exchange->length;
    const char *newline = memchr(fresh, '\n', n);

    exchange->length += n;
    if (newline != NULL) {
        if (newline + 1 != exchange->line + exchange->length) {
            return HCS_EXEC_MORE;
        }
        exchange->length--;
    }
    if (exchange->dropped + exchange->length > exchange->max_bytes) {
        return HCS_EXEC_LONG;
    }
    if (newline == NULL) {
        return GOES_ON;
    }
    if (exchange->part_count > 0) {
        return HCS_EXEC_EARLY;
    }
    return exchange->without_room ? HCS_EXEC_NO_MEMORY : HCS_EXEC_ANSWERED;
}

static int read_some(struct exchange *exchange)
{
    ssize_t n;

    if (exchange->length == exchange->room) {
        make_room(exchange);
    }
    n = read(exchange->child->out, exchange->line + exchange->length,
        exchange->room - exchange->length);
    if (n > 0) {
        return look_for_end(exchange, (size_t)n);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return GOES_ON;
    }
    return HCS_EXEC_GONE;
}

/* Milliseconds until there is something else to do than to wait, at least 1. */
static int wait_ms(const struct exchange *exchange, uint64_t now_ns)
{
    uint64_t left_ms = (exchange->end_ns - now_ns + MS_NS - 1) / MS_NS;

    return left_ms < LOOK_MS ? (int)left_ms : LOOK_MS;
}

static int look_at_time(struct exchange *exchange, uint64_t now_ns)
{
    if (now_ns >= exchange->end_ns) {
        return exchange->left ? HCS_EXEC_LEFT : HCS_EXEC_LATE;
    }
    if (!exchange->left && hcs_job_cancelled(exchange->job)) {
        exchange->left = true;
        if (exchange->end_ns - now_ns > LEFT_WAIT_NS) {
            exchange->end_ns = now_ns + LEFT_WAIT_NS;
        }
    }
    return GOES_ON;
}

/* What it left behind in a session of its own may keep its output open. (Another
 * process may have its pid: then the deadline has to do.) */
static bool has_ended(const struct hcs_exec_child *child)
{
    return kill(child->program.pid, 0) != 0 && errno == ESRCH;
}

/* Both ways at once: a child may fill its output before it has read all. */
static int take_turn(struct exchange *exchange)
{
    bool writes = exchange->part_count > 0;
    struct pollfd fds[] = {
        {.fd = exchange->child->out, .events = POLLIN},
        {.fd = writes ? exchange->child->in : -1, .events = POLLOUT},
    };
    uint64_t now_ns = hcs_exec_now_ns();
    int result = look_at_time(exchange, now_ns);
    int ready;

    if (result != GOES_ON) {
        return result;
    }
    ready = poll(fds, 2, wait_ms(exchange, now_ns));
    if (ready <= 0) {
        return ready == 0 && has_ended(exchange->child) ? HCS_EXEC_GONE
                                                        : GOES_ON;
    }
    /* What it said before it died is an answer too, so reading comes first. */
    if (fds[0].revents != 0) {
        result = read_some(exchange);
    }
    if (result == GOES_ON && fds[1].revents != 0) {
        result = write_parts(exchange);
    }
    return result;
}

enum hcs_exec_result hcs_exec_child_exchange(struct hcs_exec_child *child,
    struct hcs_job *job, struct iovec *parts, int part_count,
    uint64_t output_bytes, struct hcs_exec_buffer *buffer, const char **line,
    size_t *length)
{
    struct exchange exchange = {
        .child = child,
        .job = job,
        .parts = parts,
        .part_count = part_count,
        .end_ns = hcs_job_deadline_ns(job),
        .max_bytes = (size_t)output_bytes,
        .room = buffer->size,
        .line = buffer->bytes,
        .buffer = buffer,
    };
    int result;

    child->written = 0;
    result = write_parts(&exchange); /* mostly all of it */
    while (result == GOES_ON) {
        result = take_turn(&exchange);
    }
    *line = exchange.line;
    *length = exchange.length;
    return (enum hcs_exec_result)result;
}
