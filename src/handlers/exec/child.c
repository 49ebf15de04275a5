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
    CHECK_MS = 100, /* between two checks whether the client has left */
};

/* So long may a child still answer after its client has left. To start another
 * child mostly costs more than to let this one finish. */
static const uint64_t CLIENT_LEFT_WAIT_NS = 5 * UINT64_C(1000000000);
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

/* Opens a pipe. The end at index ours does not block. The child's end blocks:
 * the two ends are different open file descriptions. */
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

/* Ends a program whose start cannot be completed on our side. */
static void undo_spawn(
    struct hcs_exec_child *child, struct hcs_spawner *spawner)
{
    struct hcs_spawn_status status;

    (void)hcs_spawner_end(spawner, child->program, 0, &status);
    child->program.pid = 0;
}

int hcs_exec_child_start(struct hcs_exec_child *child,
    struct hcs_spawner *spawner, const struct hcs_exec_program *program,
    struct hcs_stderr_reader *stderr_reader, enum hcs_spawn_step *step)
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
        child->stderr_stream = hcs_stderr_reader_add(
            stderr_reader, pipes[2][0], child->program.pid);
        if (child->stderr_stream == NULL) {
            rc = -errno;
            *step = HCS_SPAWN_DESCRIPTORS;
            undo_spawn(child, spawner);
        }
    }
    if (rc == 0) {
        child->written = 0;
        child->in = pipes[0][1];
        child->out = pipes[1][0];
        pipes[0][1] = -1; /* kept in child */
        pipes[1][0] = -1; /* kept in child */
        pipes[2][0] = -1; /* taken by stderr_reader */
    } else {
        child->program.pid = 0;
    }
    for (int i = 0; i < 3; i++) {
        close_ends(pipes[i]);
    }
    return rc;
}

static void describe_end(
    const struct hcs_spawn_status *status, char *cause, size_t size)
{
    switch (status->end) {
    case HCS_SPAWN_EXITED:
        (void)snprintf(cause, size, "ended with status %d", status->value);
        return;
    case HCS_SPAWN_SIGNALLED:
        (void)snprintf(cause, size, "was killed by signal %d", status->value);
        return;
    case HCS_SPAWN_KILLED:
        (void)snprintf(cause, size, "closed its standard input or output");
        return;
    }
}

static void close_stdin(struct hcs_exec_child *child)
{
    if (child->in >= 0) {
        close(child->in);
        child->in = -1;
    }
}

bool hcs_exec_child_close_stdin(struct hcs_exec_child *child, unsigned wait_ms)
{
    struct pollfd fd = {.fd = child->out}; /* no events: POLLHUP alone */

    close_stdin(child);
    return poll(&fd, 1, (int)wait_ms) > 0;
}

/* Whether everything that was written is still in the pipe. Called after the
 * child has ended: before that it may still read. */
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
    struct hcs_spawner *spawner, struct hcs_stderr_reader *stderr_reader,
    unsigned grace_ms, char *cause, size_t size)
{
    struct hcs_spawn_status status;
    bool unread;
    int rc;

    assert(child->program.pid != 0);
    rc = hcs_spawner_end(spawner, child->program, grace_ms, &status);
    unread = is_unread(child);
    close_stdin(child);
    close(child->out);
    if (rc == 0) {
        describe_end(&status, cause, size);
    } else {
        (void)snprintf(cause, size, "is lost, because the spawner is gone");
    }
    hcs_stderr_reader_release(stderr_reader, child->stderr_stream);
    child->program.pid = 0;
    return unread;
}

enum hcs_exec_state hcs_exec_child_state(const struct hcs_exec_child *child)
{
    struct pollfd fd = {.fd = child->out, .events = POLLIN};

    if (poll(&fd, 1, 0) <= 0) {
        return HCS_EXEC_IDLE;
    }
    return (fd.revents & POLLIN) != 0 ? HCS_EXEC_UNEXPECTED_OUTPUT
                                      : HCS_EXEC_ENDED;
}

/* --- An exchange. */

struct exchange {
    struct hcs_exec_child *child;
    struct hcs_job *job;
    struct iovec *parts; /* what is left to write */
    int part_count;
    uint64_t end_ns;  /* when to give up */
    bool client_left; /* then end_ns is shorter than the job's deadline */
    size_t max_bytes; /* of the line that the child answers */
    bool discards;    /* no memory: the line is read to its end and dropped */
    size_t dropped;   /* bytes of the line that were dropped */
    char *line;
    size_t room;   /* bytes that line may have */
    size_t length; /* bytes of line that were read */
    struct hcs_exec_buffer *buffer;
};

/* The exchange has no result yet. No value of enum hcs_exec_result. */
enum { CONTINUES = -1 };

static int write_parts(struct exchange *exchange)
{
    while (exchange->part_count > 0) {
        ssize_t n =
            writev(exchange->child->in, exchange->parts, exchange->part_count);

        if (n < 0 && errno == EAGAIN) {
            return CONTINUES;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return HCS_EXEC_OUTPUT_ENDED;
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
    return CONTINUES;
}

/* The line is full, and may be longer: gives it twice the room, from the job's
 * memory. */
static void make_room(struct exchange *exchange)
{
    size_t most = exchange->max_bytes + 1; /* with the newline */
    size_t room = exchange->room * 2 < most ? exchange->room * 2 : most;
    char *line;

    line = exchange->discards ? NULL : hcs_job_alloc(exchange->job, room);
    if (line == NULL) {
        /* The child did nothing wrong and is kept, so its line is read to the
         * end. */
        exchange->discards = true;
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

/* n more bytes of the line were read. */
static int find_end(struct exchange *exchange, size_t n)
{
    const char *fresh = exchange->line + exchange->length;
    const char *newline = memchr(fresh, '\n', n);

    exchange->length += n;
    if (newline != NULL) {
        if (newline + 1 != exchange->line + exchange->length) {
            return HCS_EXEC_SECOND_LINE;
        }
        exchange->length--;
    }
    if (exchange->dropped + exchange->length > exchange->max_bytes) {
        return HCS_EXEC_LINE_TOO_LONG;
    }
    if (newline == NULL) {
        return CONTINUES;
    }
    if (exchange->part_count > 0) {
        return HCS_EXEC_ANSWERED_EARLY;
    }
    return exchange->discards ? HCS_EXEC_NO_MEMORY : HCS_EXEC_ANSWERED;
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
        return find_end(exchange, (size_t)n);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return CONTINUES;
    }
    return HCS_EXEC_OUTPUT_ENDED;
}

/* How long poll may wait: until the deadline or the next check, at least 1
 * ms. */
static int wait_ms(const struct exchange *exchange, uint64_t now_ns)
{
    uint64_t left_ms = (exchange->end_ns - now_ns + MS_NS - 1) / MS_NS;

    return left_ms < CHECK_MS ? (int)left_ms : CHECK_MS;
}

static int check_time(struct exchange *exchange, uint64_t now_ns)
{
    if (now_ns >= exchange->end_ns) {
        return exchange->client_left ? HCS_EXEC_CLIENT_LEFT
                                     : HCS_EXEC_TIMED_OUT;
    }
    if (!exchange->client_left && hcs_job_cancelled(exchange->job)) {
        exchange->client_left = true;
        if (exchange->end_ns - now_ns > CLIENT_LEFT_WAIT_NS) {
            exchange->end_ns = now_ns + CLIENT_LEFT_WAIT_NS;
        }
    }
    return CONTINUES;
}

/* Whether the child has ended although its output is open. A process that it
 * started in another session may hold the output. If its pid is another
 * process's by now, the answer is wrong, and the deadline ends the exchange. */
static bool has_ended(const struct hcs_exec_child *child)
{
    return kill(child->program.pid, 0) != 0 && errno == ESRCH;
}

/* Waits once, then reads and writes what is possible. A child may fill its
 * output before it has read the whole line, so neither may wait for the
 * other. */
static int step(struct exchange *exchange)
{
    bool writes = exchange->part_count > 0;
    struct pollfd fds[] = {
        {.fd = exchange->child->out, .events = POLLIN},
        {.fd = writes ? exchange->child->in : -1, .events = POLLOUT},
    };
    uint64_t now_ns = hcs_exec_now_ns();
    int result = check_time(exchange, now_ns);
    int ready;

    if (result != CONTINUES) {
        return result;
    }
    ready = poll(fds, 2, wait_ms(exchange, now_ns));
    if (ready <= 0) {
        return ready == 0 && has_ended(exchange->child) ? HCS_EXEC_OUTPUT_ENDED
                                                        : CONTINUES;
    }
    /* Reading comes first: the write fails when the child has died, but the
     * child may have answered before that. */
    if (fds[0].revents != 0) {
        result = read_some(exchange);
    }
    if (result == CONTINUES && fds[1].revents != 0) {
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
    result = write_parts(&exchange); /* mostly the whole line */
    while (result == CONTINUES) {
        result = step(&exchange);
    }
    *line = exchange.line;
    *length = exchange.length;
    return (enum hcs_exec_result)result;
}
