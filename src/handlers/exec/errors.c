#include "handlers/exec/errors.h"

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
    LINE_COST = 100,        /* bytes, of a line in the log with nothing in it */
    PAUSE_COST = 16 * 1024, /* after each so much, a pause: */
    PAUSE_NS = 5 * 1000000, /* some 3 MiB a second, whatever the lines */
    LAST_COST = 1024 * 1024, /* of a child that has ended: a full pipe, unless
                                its lines are all but empty */
    EVENTS = 16,
};

struct hcs_exec_voice {
    int fd;
    pid_t pid;
    bool released;  /* with the lock */
    bool heard_all; /* the thread's own: the end was read */
    size_t length;  /* of line; more is left out */
    char line[LINE_MAX_BYTES];
    struct hcs_exec_voice *next;
};

struct hcs_exec_errors {
    struct hcs_mount *mount;
    pthread_t thread;
    int epoll;
    int bell;             /* eventfd: look at the list */
    pthread_mutex_t lock; /* of the two below, and each released */
    bool closing;
    struct hcs_exec_voice *voices;
    char buffer[READ_BYTES]; /* the thread's own, like the next two */
    uint64_t cost;           /* of all that was heard */
    uint64_t paused_at;      /* that cost */
};

static bool is_closing(struct hcs_exec_errors *errors)
{
    bool closing;

    pthread_mutex_lock(&errors->lock);
    closing = errors->closing;
    pthread_mutex_unlock(&errors->lock);
    return closing;
}

/* A line costs more than its bytes: who writes line feeds alone would fill the
 * log, and take the place of everybody's lines. At the end nobody has time for
 * pauses. */
static void spend(struct hcs_exec_errors *errors, size_t cost)
{
    static const struct timespec pause = {.tv_nsec = PAUSE_NS};

    errors->cost += cost;
    if (errors->cost - errors->paused_at >= PAUSE_COST) {
        errors->paused_at = errors->cost;
        if (!is_closing(errors)) {
            (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        }
    }
}

static void print_line(
    struct hcs_exec_errors *errors, struct hcs_exec_voice *voice)
{
    hcs_mount_log(errors->mount, HCS_INFO, "pid %d: %.*s", (int)voice->pid,
        (int)voice->length, voice->line);
    voice->length = 0;
    spend(errors, LINE_COST);
}

static void hear(
    struct hcs_exec_errors *errors, struct hcs_exec_voice *voice, size_t length)
{
    const char *text = errors->buffer;
    const char *end = text + length;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t part = (size_t)((newline != NULL ? newline : end) - text);
        size_t room = LINE_MAX_BYTES - voice->length;

        memcpy(voice->line + voice->length, text, part < room ? part : room);
        voice->length += part < room ? part : room;
        text += part;
        if (newline != NULL) {
            print_line(errors, voice);
            text++;
        }
    }
}

/* False when there is nothing to be heard for now, or ever. */
static bool listen_to(
    struct hcs_exec_errors *errors, struct hcs_exec_voice *voice)
{
    ssize_t n = read(voice->fd, errors->buffer, READ_BYTES);

    if (n > 0) {
        hear(errors, voice, (size_t)n);
        spend(errors, (size_t)n);
        return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        voice->heard_all = true;
        (void)epoll_ctl(errors->epoll, EPOLL_CTL_DEL, voice->fd, NULL);
        if (voice->length > 0) {
            print_line(errors, voice);
        }
    }
    return false;
}

static void fall_silent(
    struct hcs_exec_errors *errors, struct hcs_exec_voice *voice)
{
    uint64_t enough = errors->cost + LAST_COST;

    while (!voice->heard_all && errors->cost < enough &&
           listen_to(errors, voice)) {
    }
    if (voice->length > 0) {
        print_line(errors, voice);
    }
    if (!voice->heard_all) {
        (void)epoll_ctl(errors->epoll, EPOLL_CTL_DEL, voice->fd, NULL);
    }
    close(voice->fd);
    free(voice);
}

/* Those that were released since. */
static struct hcs_exec_voice *take_released(struct hcs_exec_errors *errors)
{
    struct hcs_exec_voice **at = &errors->voices;
    struct hcs_exec_voice *released = NULL;

    pthread_mutex_lock(&errors->lock);
    while (*at != NULL) {
        struct hcs_exec_voice *voice = *at;

        if (voice->released) {
            *at = voice->next;
            voice->next = released;
            released = voice;
        } else {
            at = &voice->next;
        }
    }
    pthread_mutex_unlock(&errors->lock);
    return released;
}

/* False when all is over. Called behind a round of events, of which none may
 * name a voice that is freed here. */
static bool answer_bell(struct hcs_exec_errors *errors)
{
    struct hcs_exec_voice *voice;
    eventfd_t count;
    bool closing;

    (void)eventfd_read(errors->bell, &count);
    closing = is_closing(errors);
    voice = take_released(errors);
    while (voice != NULL) {
        struct hcs_exec_voice *next = voice->next;

        fall_silent(errors, voice);
        voice = next;
    }
    return !closing;
}

static void *run(void *argument)
{
    struct hcs_exec_errors *errors = argument;
    bool go = true;

    while (go) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(errors->epoll, events, EVENTS, -1);
        bool rung = false;

        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                rung = true;
            } else {
                (void)listen_to(errors, events[i].data.ptr);
            }
        }
        if (rung) {
            go = answer_bell(errors);
        }
    }
    return NULL;
}

struct hcs_exec_voice *hcs_exec_errors_add(
    struct hcs_exec_errors *errors, int fd, pid_t pid)
{
    struct hcs_exec_voice *voice = malloc(sizeof(*voice));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = voice};

    if (voice == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    *voice = (struct hcs_exec_voice){.fd = fd, .pid = pid};
    if (epoll_ctl(errors->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        free(voice);
        return NULL;
    }
    pthread_mutex_lock(&errors->lock);
    voice->next = errors->voices;
    errors->voices = voice;
    pthread_mutex_unlock(&errors->lock);
    return voice;
}

void hcs_exec_errors_release(
    struct hcs_exec_errors *errors, struct hcs_exec_voice *voice)
{
    pthread_mutex_lock(&errors->lock);
    voice->released = true;
    pthread_mutex_unlock(&errors->lock);
    (void)eventfd_write(errors->bell, 1);
}

static int open_descriptors(struct hcs_exec_errors *errors)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    errors->bell = -1;
    errors->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (errors->epoll >= 0) {
        errors->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    if (errors->bell < 0 ||
        epoll_ctl(errors->epoll, EPOLL_CTL_ADD, errors->bell, &event) != 0) {
        return -errno;
    }
    return 0;
}

static void close_descriptors(struct hcs_exec_errors *errors)
{
    if (errors->epoll >= 0) {
        close(errors->epoll);
    }
    if (errors->bell >= 0) {
        close(errors->bell);
    }
}

int hcs_exec_errors_open(struct hcs_exec_errors **out, struct hcs_mount *mount)
{
    struct hcs_exec_errors *errors = malloc(sizeof(*errors));
    int rc;

    if (errors == NULL) {
        return -ENOMEM;
    }
    errors->mount = mount;
    errors->closing = false;
    errors->voices = NULL;
    errors->cost = 0;
    errors->paused_at = 0;
    pthread_mutex_init(&errors->lock, NULL);
    rc = open_descriptors(errors);
    if (rc == 0) {
        rc = -pthread_create(&errors->thread, NULL, run, errors);
    }
    if (rc != 0) {
        close_descriptors(errors);
        pthread_mutex_destroy(&errors->lock);
        free(errors);
        return rc;
    }
    (void)pthread_setname_np(errors->thread, "exec-errors");
    *out = errors;
    return 0;
}

void hcs_exec_errors_close(struct hcs_exec_errors *errors)
{
    if (errors == NULL) {
        return;
    }
    pthread_mutex_lock(&errors->lock);
    errors->closing = true;
    pthread_mutex_unlock(&errors->lock);
    (void)eventfd_write(errors->bell, 1);
    pthread_join(errors->thread, NULL);
    close_descriptors(errors);
    pthread_mutex_destroy(&errors->lock);
    free(errors);
}
