#include "handlers/exec/stderr_reader.h"

#include <bsd/sys/queue.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 1000,
    READ_BYTES = 16 * 1024,
    LINE_COST = 100, /* bytes that even an empty line takes in the log */

    /* The thread pauses after each PAUSE_COST: about 3 MiB a second. */
    PAUSE_COST = 16 * 1024,
    PAUSE_NS = 5 * 1000000,

    /* The most that is read of a child that has ended. A full pipe costs less,
     * unless nearly all of its lines are empty. */
    LAST_COST = 1024 * 1024,
    EVENTS = 16,
};

struct hcs_stderr_stream {
    LIST_ENTRY(hcs_stderr_stream) link; /* under the lock */
    bool released;                      /* under the lock */
    int fd;
    pid_t pid;
    bool at_end;   /* the thread's own: the end of file was read */
    size_t length; /* of line; the rest of a longer line is left out */
    char line[LINE_MAX_BYTES];
};

LIST_HEAD(stream_list, hcs_stderr_stream);

struct hcs_stderr_reader {
    struct hcs_mount *mount;
    pthread_t thread;
    int epoll;
    int bell;             /* eventfd: a stream was released, or close */
    pthread_mutex_t lock; /* of the next two, and of released in each stream */
    bool closing;
    struct stream_list streams;
    char buffer[READ_BYTES]; /* the thread's own, like the next two */
    uint64_t cost;           /* of everything that was read */
    uint64_t paused_at;      /* the cost at the last pause */
};

static bool is_closing(struct hcs_stderr_reader *reader)
{
    bool closing;

    pthread_mutex_lock(&reader->lock);
    closing = reader->closing;
    pthread_mutex_unlock(&reader->lock);
    return closing;
}

/* A line costs more than its bytes. Otherwise a child that writes only line
 * feeds would fill the log, and displace all other lines. While the daemon
 * stops there are no pauses. */
static void throttle(struct hcs_stderr_reader *reader, size_t cost)
{
    static const struct timespec pause = {.tv_nsec = PAUSE_NS};

    reader->cost += cost;
    if (reader->cost - reader->paused_at >= PAUSE_COST) {
        reader->paused_at = reader->cost;
        if (!is_closing(reader)) {
            (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        }
    }
}

static void log_line(
    struct hcs_stderr_reader *reader, struct hcs_stderr_stream *stream)
{
    hcs_mount_log(reader->mount, HCS_INFO, "pid %d: %.*s", (int)stream->pid,
        (int)stream->length, stream->line);
    stream->length = 0;
    throttle(reader, LINE_COST);
}

/* Splits what is in the buffer, and logs each line that is complete. */
static void split_lines(struct hcs_stderr_reader *reader,
    struct hcs_stderr_stream *stream, size_t length)
{
    const char *text = reader->buffer;
    const char *end = text + length;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t bytes = (size_t)((newline != NULL ? newline : end) - text);
        size_t room = LINE_MAX_BYTES - stream->length;
        size_t kept = bytes < room ? bytes : room;

        memcpy(stream->line + stream->length, text, kept);
        stream->length += kept;
        text += bytes;
        if (newline != NULL) {
            log_line(reader, stream);
            text++;
        }
    }
}

/* False when the pipe is empty, or at its end. */
static bool read_stream(
    struct hcs_stderr_reader *reader, struct hcs_stderr_stream *stream)
{
    ssize_t n = read(stream->fd, reader->buffer, READ_BYTES);

    if (n > 0) {
        split_lines(reader, stream, (size_t)n);
        throttle(reader, (size_t)n);
        return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        stream->at_end = true;
        (void)epoll_ctl(reader->epoll, EPOLL_CTL_DEL, stream->fd, NULL);
        if (stream->length > 0) {
            log_line(reader, stream);
        }
    }
    return false;
}

/* Logs what a child that has ended left in its pipe. Takes the stream. */
static void finish_stream(
    struct hcs_stderr_reader *reader, struct hcs_stderr_stream *stream)
{
    uint64_t most = reader->cost + LAST_COST;

    while (
        !stream->at_end && reader->cost < most && read_stream(reader, stream)) {
    }
    if (stream->length > 0) {
        log_line(reader, stream);
    }
    if (!stream->at_end) {
        (void)epoll_ctl(reader->epoll, EPOLL_CTL_DEL, stream->fd, NULL);
    }
    close(stream->fd);
    free(stream);
}

/* Moves the streams that were released to a list of their own. */
static void take_released(
    struct hcs_stderr_reader *reader, struct stream_list *released)
{
    struct hcs_stderr_stream *stream;
    struct hcs_stderr_stream *next;

    LIST_INIT(released);
    pthread_mutex_lock(&reader->lock);
    LIST_FOREACH_SAFE (stream, &reader->streams, link, next) {
        if (stream->released) {
            LIST_REMOVE(stream, link);
            LIST_INSERT_HEAD(released, stream, link);
        }
    }
    pthread_mutex_unlock(&reader->lock);
}

/* False when the thread is to end. Called after the events of a round were
 * handled, since an event of the same round may name a stream that is freed
 * here. */
static bool handle_bell(struct hcs_stderr_reader *reader)
{
    struct stream_list released;
    eventfd_t count;
    bool closing;

    (void)eventfd_read(reader->bell, &count);
    closing = is_closing(reader);
    take_released(reader, &released);
    while (!LIST_EMPTY(&released)) {
        struct hcs_stderr_stream *stream = LIST_FIRST(&released);

        LIST_REMOVE(stream, link);
        finish_stream(reader, stream);
    }
    return !closing;
}

static void *run(void *argument)
{
    struct hcs_stderr_reader *reader = argument;
    bool go = true;

    while (go) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(reader->epoll, events, EVENTS, -1);
        bool rung = false;

        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                rung = true;
            } else {
                (void)read_stream(reader, events[i].data.ptr);
            }
        }
        if (rung) {
            go = handle_bell(reader);
        }
    }
    return NULL;
}

struct hcs_stderr_stream *hcs_stderr_reader_add(
    struct hcs_stderr_reader *reader, int fd, pid_t pid)
{
    struct hcs_stderr_stream *stream = malloc(sizeof(*stream));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};

    if (stream == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    stream->released = false;
    stream->fd = fd;
    stream->pid = pid;
    stream->at_end = false;
    stream->length = 0;
    if (epoll_ctl(reader->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        free(stream);
        return NULL;
    }
    pthread_mutex_lock(&reader->lock);
    LIST_INSERT_HEAD(&reader->streams, stream, link);
    pthread_mutex_unlock(&reader->lock);
    return stream;
}

void hcs_stderr_reader_release(
    struct hcs_stderr_reader *reader, struct hcs_stderr_stream *stream)
{
    pthread_mutex_lock(&reader->lock);
    stream->released = true;
    pthread_mutex_unlock(&reader->lock);
    (void)eventfd_write(reader->bell, 1);
}

static int open_descriptors(struct hcs_stderr_reader *reader)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    reader->bell = -1;
    reader->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (reader->epoll >= 0) {
        reader->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    if (reader->bell < 0 ||
        epoll_ctl(reader->epoll, EPOLL_CTL_ADD, reader->bell, &event) != 0) {
        return -errno;
    }
    return 0;
}

static void close_descriptors(struct hcs_stderr_reader *reader)
{
    if (reader->epoll >= 0) {
        close(reader->epoll);
    }
    if (reader->bell >= 0) {
        close(reader->bell);
    }
}

int hcs_stderr_reader_open(
    struct hcs_stderr_reader **out, struct hcs_mount *mount)
{
    struct hcs_stderr_reader *reader = malloc(sizeof(*reader));
    int rc;

    if (reader == NULL) {
        return -ENOMEM;
    }
    reader->mount = mount;
    reader->closing = false;
    LIST_INIT(&reader->streams);
    reader->cost = 0;
    reader->paused_at = 0;
    pthread_mutex_init(&reader->lock, NULL);
    rc = open_descriptors(reader);
    if (rc == 0) {
        rc = -pthread_create(&reader->thread, NULL, run, reader);
    }
    if (rc != 0) {
        close_descriptors(reader);
        pthread_mutex_destroy(&reader->lock);
        free(reader);
        return rc;
    }
    (void)pthread_setname_np(reader->thread, "hcsd-stderr");
    *out = reader;
    return 0;
}

void hcs_stderr_reader_close(struct hcs_stderr_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    pthread_mutex_lock(&reader->lock);
    reader->closing = true;
    pthread_mutex_unlock(&reader->lock);
    (void)eventfd_write(reader->bell, 1);
    pthread_join(reader->thread, NULL);
    close_descriptors(reader);
    pthread_mutex_destroy(&reader->lock);
    free(reader);
}
