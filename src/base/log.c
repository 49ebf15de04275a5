#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    PIPE_BYTES = 256 * 1024,
    COPY_BYTES = 16 * 1024, /* read from the pipe at once */
    UNIT_BYTES = 6,         /* the longest escape, \u001b */
    MARK_BYTES = 3,         /* "...", the mark of a cut */
};

struct hcs_log {
    int fd; /* the caller's */
    int read_fd;
    int write_fd;
    int stop_fd; /* readable once hcs_log_close was called */
    enum hcs_log_level level;
    enum hcs_log_format format;
    _Atomic uint64_t dropped;
    pthread_t thread;
    pthread_mutex_t lock; /* of the two below */
    pthread_cond_t changed;
    bool ended;     /* the thread does not touch the log any more */
    bool abandoned; /* hcs_log_close has returned; the thread frees the log */
};

/* A line on the stack of the thread that logs. */
struct line {
    enum hcs_log_format format;
    bool full;    /* a part was cut or left out; nothing may follow */
    size_t used;  /* of bytes */
    size_t limit; /* of used, so that the end of the line has room */
    char bytes[PIPE_BUF];
};

/* ---- Text ---- */

static size_t escape_control(char unit[UNIT_BYTES], unsigned char control)
{
    static const char hex[] = "0123456789abcdef";

    if (control == '\n' || control == '\r' || control == '\t') {
        unit[0] = '\\';
        unit[1] = control == '\n' ? 'n' : control == '\r' ? 'r' : 't';
        return 2;
    }
    memcpy(unit, "\\u00", 4);
    unit[4] = hex[control >> 4];
    unit[5] = hex[control & 0xf];
    return UNIT_BYTES;
}

/* Writes the first character of text as the line shows it, and returns how many
 * bytes it wrote, 1 .. UNIT_BYTES. *taken says how many bytes of text it has
 * taken. All three formats escape as JSON does (RFC 8259, section 7). DEL and
 * U+0080 to U+009F are escaped, too, since a terminal obeys them. */
static size_t put_unit(char unit[UNIT_BYTES], const unsigned char *text,
    size_t left, bool quoted, size_t *taken)
{
    bool valid;

    *taken = 1;
    if (text[0] < 0x20 || text[0] == 0x7f) {
        return escape_control(unit, text[0]);
    }
    if (quoted && (text[0] == '"' || text[0] == '\\')) {
        unit[0] = '\\';
        unit[1] = (char)text[0];
        return 2;
    }
    if (text[0] < 0x80) {
        unit[0] = (char)text[0];
        return 1;
    }
    *taken = hcs_text_utf8(text, left, &valid);
    if (!valid) {
        memcpy(unit, "\xef\xbf\xbd", 3); /* U+FFFD */
        return 3;
    }
    if (text[0] == 0xc2 && text[1] < 0xa0) {
        return escape_control(unit, text[1]);
    }
    memcpy(unit, text, *taken);
    return *taken;
}

/* How many bytes at the start of text are written as they are, in each
 * format. */
static size_t count_plain(const unsigned char *text, size_t length)
{
    size_t plain = 0;

    while (plain < length && text[plain] >= ' ' && text[plain] < 0x7f &&
           text[plain] != '"' && text[plain] != '\\') {
        plain++;
    }
    return plain;
}

/* Writes all bytes or none. */
static bool put_bytes(struct line *line, const char *bytes, size_t length)
{
    if (length > line->limit - line->used) {
        line->full = true;
        return false;
    }
    memcpy(line->bytes + line->used, bytes, length);
    line->used += length;
    return true;
}

static bool put_string(struct line *line, const char *string)
{
    return put_bytes(line, string, strlen(string));
}

/* Writes text up to used == limit. A text that does not fit is cut and ends
 * with "...", never inside a character or an escape. False: there is no room
 * even for "...", and the bytes written are of no use. */
static bool put_escaped(struct line *line, const char *text, size_t length,
    bool quoted, size_t limit)
{
    const unsigned char *at = (const unsigned char *)text;
    bool may_cut = false;
    size_t cut = 0; /* where "..." goes, if the text does not fit */

    while (length > 0) {
        char unit[UNIT_BYTES];
        size_t taken;
        size_t unit_length;

        /* Most texts are plain. Leaves room for "...". */
        if (line->used + MARK_BYTES < limit) {
            size_t room = limit - line->used - MARK_BYTES;
            size_t plain = count_plain(at, length < room ? length : room);

            memcpy(line->bytes + line->used, at, plain);
            line->used += plain;
            at += plain;
            length -= plain;
            if (length == 0) {
                break;
            }
        }
        unit_length = put_unit(unit, at, length, quoted, &taken);
        if (line->used + MARK_BYTES <= limit) {
            cut = line->used;
            may_cut = true;
        }
        if (line->used + unit_length > limit) {
            line->full = true;
            if (may_cut) {
                memcpy(line->bytes + cut, "...", MARK_BYTES);
                line->used = cut + MARK_BYTES;
            }
            return may_cut;
        }
        memcpy(line->bytes + line->used, unit, unit_length);
        line->used += unit_length;
        at += taken;
        length -= taken;
    }
    return true;
}

static bool put_quoted(struct line *line, const char *text, size_t length)
{
    if (line->limit - line->used < 2) {
        line->full = true;
        return false;
    }
    line->bytes[line->used++] = '"';
    if (!put_escaped(line, text, length, true, line->limit - 1)) {
        return false;
    }
    line->bytes[line->used++] = '"';
    return true;
}

/* Whether a value needs no quotes in logfmt and for people. */
static bool is_word(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];

        if (byte <= ' ' || byte >= 0x7f || byte == '"' || byte == '=' ||
            byte == '\\') {
            return false;
        }
    }
    return length > 0;
}

static bool put_value(struct line *line, const char *text, size_t length)
{
    if (line->format != HCS_LOG_JSON && is_word(text, length)) {
        return put_escaped(line, text, length, false, line->limit);
    }
    return put_quoted(line, text, length);
}

/* ---- Fields ---- */

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-' ||
           byte == '.';
}

static bool put_name(struct line *line, const char *name)
{
    size_t start;

    if (!put_string(line, line->format == HCS_LOG_JSON ? ",\"" : " ")) {
        return false;
    }
    start = line->used;
    if (!put_string(line, name)) {
        return false;
    }
    for (size_t i = start; i < line->used; i++) {
        if (!is_name_byte(line->bytes[i])) {
            line->bytes[i] = '_';
        }
    }
    return put_string(line, line->format == HCS_LOG_JSON ? "\":" : "=");
}

/* The length of a text, at most PIPE_BUF: each byte of it takes at least one
 * byte of the line, so later bytes would not fit. */
static size_t text_length(const char *text, size_t length)
{
    if (length == 0) {
        return strnlen(text, PIPE_BUF);
    }
    return length < PIPE_BUF ? length : PIPE_BUF;
}

static void put_field(struct line *line, const struct hcs_log_field *field)
{
    size_t start = line->used;
    bool fits = put_name(line, field->name);

    if (fits && field->text != NULL) {
        fits = put_value(
            line, field->text, text_length(field->text, field->length));
    } else if (fits) {
        char digits[HCS_TEXT_U64_MAX];

        fits = put_bytes(line, digits, hcs_text_u64(digits, field->number));
    }
    if (!fits) {
        line->used = start;
    }
}

/* ---- Lines ---- */

/* Writes time, level and message. These always fit, since the message may be
 * cut. */
static void put_head(
    struct line *line, enum hcs_log_level level, const char *message)
{
    static const char *const names[] = {
        [HCS_LOG_ERROR] = "error",
        [HCS_LOG_WARN] = "warn",
        [HCS_LOG_INFO] = "info",
        [HCS_LOG_DEBUG] = "debug",
    };
    static const char *const columns[] = {
        [HCS_LOG_ERROR] = " error ",
        [HCS_LOG_WARN] = " warn  ",
        [HCS_LOG_INFO] = " info  ",
        [HCS_LOG_DEBUG] = " debug ",
    };
    size_t length = text_length(message, 0);
    char ts[HCS_RFC3339_LENGTH];

    hcs_clock_rfc3339(hcs_clock_realtime_ms(), ts);
    switch (line->format) {
    case HCS_LOG_TEXT:
        put_bytes(line, ts, sizeof ts);
        put_string(line, columns[level]);
        put_escaped(line, message, length, false, line->limit);
        break;
    case HCS_LOG_JSON:
        put_string(line, "{\"ts\":\"");
        put_bytes(line, ts, sizeof ts);
        put_string(line, "\",\"level\":\"");
        put_string(line, names[level]);
        put_string(line, "\",\"msg\":");
        put_quoted(line, message, length);
        break;
    case HCS_LOG_LOGFMT:
        put_string(line, "ts=");
        put_bytes(line, ts, sizeof ts);
        put_string(line, " level=");
        put_string(line, names[level]);
        put_string(line, " msg=");
        put_value(line, message, length);
        break;
    }
}

bool hcs_log_wants(const struct hcs_log *log, enum hcs_log_level level)
{
    return log != NULL && level <= log->level;
}

void hcs_log_write(struct hcs_log *log, enum hcs_log_level level,
    const char *message, const struct hcs_log_field *fields, size_t count)
{
    int caller_errno = errno;
    struct line line;
    const char *closing;
    size_t closing_length;
    ssize_t written;

    if (!hcs_log_wants(log, level)) {
        return;
    }
    closing = log->format == HCS_LOG_JSON ? "}\n" : "\n";
    closing_length = strlen(closing);
    line.format = log->format;
    line.full = false;
    line.used = 0;
    line.limit = sizeof line.bytes - closing_length;
    put_head(&line, level, message);
    for (size_t i = 0; i < count && !line.full; i++) {
        put_field(&line, &fields[i]);
    }
    memcpy(line.bytes + line.used, closing, closing_length);
    line.used += closing_length;

    /* At most PIPE_BUF bytes, and the pipe does not block: the whole line is
     * written, or nothing, with EAGAIN (pipe(7)). */
    written = write(log->write_fd, line.bytes, line.used);
    if (written != (ssize_t)line.used) {
        /* Relaxed: a count, which orders nothing. */
        atomic_fetch_add_explicit(&log->dropped, 1, memory_order_relaxed);
    }
    errno = caller_errno;
}

void hcs_log_print(
    struct hcs_log *log, enum hcs_log_level level, const char *format, ...)
{
    int caller_errno = errno;
    char message[PIPE_BUF]; /* a longer message would fit no line, either */
    va_list arguments;
    int length;

    if (!hcs_log_wants(log, level)) {
        return;
    }
    va_start(arguments, format);
    length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    hcs_log_write(log, level, length < 0 ? format : message, NULL, 0);
    errno = caller_errno;
}

uint64_t hcs_log_dropped(const struct hcs_log *log)
{
    if (log == NULL) {
        return 0;
    }
    return atomic_load_explicit(&log->dropped, memory_order_relaxed);
}

int hcs_log_fd(const struct hcs_log *log)
{
    return log == NULL ? -1 : log->write_fd;
}

/* ---- The thread ---- */

static void close_if_open(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static void destroy(struct hcs_log *log)
{
    close_if_open(log->read_fd);
    close_if_open(log->write_fd);
    close_if_open(log->stop_fd);
    pthread_cond_destroy(&log->changed);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

/* Writes all bytes, and waits while fd is full. After any other error the bytes
 * are dropped: the reader has left (EPIPE), the terminal was hung up (EIO), the
 * disk is full. The daemon and this thread go on, because the pipe must not
 * fill up, and fd may work again later. */
static void write_out(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);

        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            /* Another program that shares standard error may have made it
             * non-blocking. */
            struct pollfd room = {.fd = fd, .events = POLLOUT};

            (void)poll(&room, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            return;
        }
    }
}

/* Waits, without a timeout, until there are lines or hcs_log_close was called.
 * True in the second case. The end of the pipe cannot tell: threads with a
 * private descriptor table keep a copy of its write end open. */
static bool wait_for_lines(const struct hcs_log *log)
{
    struct pollfd waits[] = {
        {.fd = log->read_fd, .events = POLLIN},
        {.fd = log->stop_fd, .events = POLLIN},
    };

    return poll(waits, 2, -1) > 0 && waits[1].revents != 0;
}

static void *copy_lines(void *arg)
{
    struct hcs_log *log = arg;
    char bytes[COPY_BYTES];
    bool stopping = false;
    bool abandoned;

    (void)pthread_setname_np(pthread_self(), "hcsd-log");
    for (;;) {
        ssize_t n = read(log->read_fd, bytes, sizeof bytes);

        if (n > 0) {
            write_out(log->fd, bytes, (size_t)n);
        } else if (n < 0 && errno == EAGAIN && !stopping) {
            /* Read once more before the end: a line may have come after poll(2)
             * looked at the pipe, and before it looked at stop_fd. */
            stopping = wait_for_lines(log);
        } else if (n == 0 || errno != EINTR) {
            break; /* stopping, and the pipe is empty */
        }
    }

    pthread_mutex_lock(&log->lock);
    log->ended = true;
    abandoned = log->abandoned;
    pthread_cond_signal(&log->changed);
    pthread_mutex_unlock(&log->lock);
    if (abandoned) {
        destroy(log);
    }
    return NULL;
}

/* The new thread inherits the signal mask. So it never takes a signal that is
 * meant for signalfd(2), and never dies of SIGPIPE. */
static int start_thread(struct hcs_log *log)
{
    sigset_t all;
    sigset_t before;
    int rc;

    sigfillset(&all);
    rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    assert(rc == 0);
    rc = pthread_create(&log->thread, NULL, copy_lines, log);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

static void init_lock(struct hcs_log *log)
{
    pthread_condattr_t attributes;
    int rc = pthread_mutex_init(&log->lock, NULL);

    rc |= pthread_condattr_init(&attributes);
    rc |= pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    rc |= pthread_cond_init(&log->changed, &attributes);
    rc |= pthread_condattr_destroy(&attributes);
    assert(rc == 0); /* Linux needs no memory for these */
    (void)rc;
}

/* Opens the pipe and the eventfd between the callers and the log's thread. 0, or
 * -errno. */
static int open_channel(struct hcs_log *log)
{
    int ends[2];

    /* The read end does not block either: the thread must see that the pipe is
     * empty, and then look at stop_fd. */
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -errno;
    }
    log->read_fd = ends[0];
    log->write_fd = ends[1];
    /* The kernel refuses this beyond the user's share of pipe memory. Then 64 KiB
     * are enough. */
    (void)fcntl(log->write_fd, F_SETPIPE_SZ, PIPE_BYTES);
    log->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return log->stop_fd < 0 ? -errno : 0;
}

int hcs_log_open(struct hcs_log **out, int fd, enum hcs_log_level level,
    enum hcs_log_format format)
{
    int rc;
    struct hcs_log *log = calloc(1, sizeof *log);

    if (log == NULL) {
        return -ENOMEM;
    }
    log->fd = fd;
    log->read_fd = -1;
    log->write_fd = -1;
    log->stop_fd = -1;
    log->level = level;
    log->format = format;
    init_lock(log);
    rc = open_channel(log);
    if (rc == 0) {
        rc = start_thread(log);
    }
    if (rc != 0) {
        destroy(log);
        return rc;
    }
    *out = log;
    return 0;
}

void hcs_log_close(struct hcs_log *log, unsigned wait_ms)
{
    enum { NS_PER_S = 1000000000, NS_PER_MS = 1000000 };
    struct timespec deadline;
    pthread_t thread;
    bool ended;
    uint64_t until_ns;
    int rc = 0;

    if (log == NULL) {
        return;
    }
    thread = log->thread;
    until_ns = hcs_clock_ns() + (uint64_t)wait_ms * NS_PER_MS;
    deadline.tv_sec = (time_t)(until_ns / NS_PER_S);
    deadline.tv_nsec = (long)(until_ns % NS_PER_S);
    (void)eventfd_write(log->stop_fd, 1);

    pthread_mutex_lock(&log->lock);
    while (!log->ended && rc == 0) {
        rc = pthread_cond_timedwait(&log->changed, &log->lock, &deadline);
    }
    ended = log->ended;
    log->abandoned = !ended;
    pthread_mutex_unlock(&log->lock);

    if (ended) {
        (void)pthread_join(thread, NULL);
        destroy(log);
    } else {
        /* The thread is blocked in write(2) or poll(2) on fd, perhaps for ever.
         * So it now owns the memory of the log. The process is about to end,
         * and ends both. */
        (void)pthread_detach(thread);
    }
}
