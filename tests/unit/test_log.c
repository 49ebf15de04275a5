/* ctest: builds=release,asan,tsan */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/json_members.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define BAD "\xef\xbf\xbd" /* U+FFFD */

enum {
    CLOSE_MS = 60000, /* never reached, unless close waits for ever */
    TEXT_HEAD = 31,   /* bytes of "2026-11-23T01:02:03.456Z info  " */
};

/* ---- Calls that can fail ---- */

/* Faults for one descriptor, while there are some left. */
static _Atomic int fault_fd = -1;
static _Atomic int fault_errno; /* 0: a write of one byte */
enum { OF_NOTHING = -1 };       /* a write of no byte, and no error */
static _Atomic int faults_left;

ssize_t __real_write(int fd, const void *bytes, size_t length);
ssize_t __wrap_write(int fd, const void *bytes, size_t length);

ssize_t __wrap_write(int fd, const void *bytes, size_t length)
{
    if (fd >= 0 && fd == fault_fd && atomic_fetch_sub(&faults_left, 1) > 0) {
        if (fault_errno == OF_NOTHING) {
            return 0;
        }
        if (fault_errno != 0) {
            errno = fault_errno;
            return -1;
        }
        length = length > 0 ? 1 : 0;
    }
    return __real_write(fd, bytes, length);
}

static bool no_memory;
static bool no_threads;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *arg);

void *__wrap_calloc(size_t count, size_t size)
{
    return no_memory ? NULL : __real_calloc(count, size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *arg)
{
    return no_threads ? EAGAIN
                      : __real_pthread_create(thread, attributes, run, arg);
}

static void break_writes(int fd, int error, int times)
{
    fault_errno = error;
    faults_left = times;
    fault_fd = fd;
}

/* ---- What the tests share ---- */

static struct hcs_log *open_log(
    int fd, enum hcs_log_level level, enum hcs_log_format format)
{
    struct hcs_log *log = NULL;

    assert_int_equal(hcs_log_open(&log, fd, level, format), 0);
    assert_non_null(log);
    return log;
}

static int open_file(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* Gives the whole file with a NUL, and closes it. */
static char *read_file(int fd, size_t *length)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char *text;

    assert_true(end >= 0);
    text = malloc((size_t)end + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)end, 0), end);
    text[end] = '\0';
    close(fd);
    *length = (size_t)end;
    return text;
}

/* Closes the log, and gives its file as read_file does. */
static char *close_and_read(struct hcs_log *log, int fd, size_t *length)
{
    hcs_log_close(log, CLOSE_MS);
    return read_file(fd, length);
}

/* Gives the one line that this makes, without its newline. */
static char *one_line(enum hcs_log_format format, enum hcs_log_level level,
    const char *message, const struct hcs_log_field *fields, size_t count)
{
    int fd = open_file();
    struct hcs_log *log = open_log(fd, HCS_LOG_DEBUG, format);
    size_t length;
    char *line;

    hcs_log_write(log, level, message, fields, count);
    assert_int_equal(hcs_log_dropped(log), 0);
    line = close_and_read(log, fd, &length);
    assert_true(length > 0 && length <= PIPE_BUF);
    assert_ptr_equal(strchr(line, '\n'), line + length - 1);
    line[length - 1] = '\0';
    return line;
}

static void assert_stamp(const char *text)
{
    static const char pattern[] = "dddd-dd-ddTdd:dd:dd.dddZ";

    for (size_t i = 0; pattern[i] != '\0'; i++) {
        if (pattern[i] == 'd') {
            assert_in_range(text[i], '0', '9');
        } else {
            assert_int_equal(text[i], pattern[i]);
        }
    }
}

static void assert_json(const char *line)
{
    struct hcs_json_result result = hcs_json_validate(line, strlen(line));

    if (result.error != HCS_JSON_OK) {
        fail_msg("%s at %zu of %s", hcs_json_error_text(result.error),
            result.offset, line);
    }
    assert_true(hcs_json_is_object(line, strlen(line)));
}

/* What comes after the time, the level and the message "m". */
static void assert_field(
    enum hcs_log_format format, struct hcs_log_field field, const char *text)
{
    char *line = one_line(format, HCS_LOG_INFO, "m", &field, 1);
    const char *rest = strstr(line, format == HCS_LOG_TEXT   ? " m "
                                    : format == HCS_LOG_JSON ? "\"m\","
                                                             : " msg=m ");

    assert_non_null(rest);
    rest += format == HCS_LOG_LOGFMT ? 7 : 3;
    assert_string_equal(rest, text);
    if (format == HCS_LOG_JSON) {
        assert_json(line);
    }
    free(line);
}

static struct hcs_log_field text_field(const char *text, size_t length)
{
    return (struct hcs_log_field){.name = "f", .text = text, .length = length};
}

static void nap(long ms)
{
    struct timespec time = {
        .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static size_t count_entries(const char *path)
{
    DIR *directory = opendir(path);
    size_t entries = 0;

    assert_non_null(directory);
    while (readdir(directory) != NULL) {
        entries++;
    }
    closedir(directory);
    return entries;
}

static size_t count_descriptors(void)
{
    return count_entries("/proc/self/fd");
}

/* The thread of the log, or 0 when there is none. */
static int find_thread(void)
{
    DIR *directory = opendir("/proc/self/task");
    int found = 0;

    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[300];
        char name[32] = "";
        FILE *file;

        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        file = fopen(path, "r");
        if (file != NULL) {
            if (fgets(name, sizeof name, file) != NULL &&
                strcmp(name, "hcsd-log\n") == 0) {
                found = atoi(entry->d_name);
            }
            fclose(file);
        }
    }
    closedir(directory);
    return found;
}

/* How often a thread went to sleep. */
static long count_sleeps(int tid)
{
    static const char key[] = "voluntary_ctxt_switches:";
    char path[64];
    char line[256];
    long sleeps = -1;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, sizeof key - 1) == 0) {
            sleeps = atol(line + sizeof key - 1);
        }
    }
    fclose(file);
    assert_true(sleeps >= 0);
    return sleeps;
}

/* ---- The three formats ---- */

static const struct hcs_log_field three_fields[] = {
    {.name = "request_id", .text = "test-123"},
    {.name = "status", .number = 200},
    {.name = "route", .text = "/a b/rest", .length = 4},
};

static void line_has_time_level_message_and_fields_in_order(void **state)
{
    static const struct {
        enum hcs_log_format format;
        enum hcs_log_level level;
        const char *before; /* the time */
        const char *behind;
    } lines[] = {
        {HCS_LOG_JSON, HCS_LOG_WARN, "{\"ts\":\"",
            "\",\"level\":\"warn\",\"msg\":\"a message\","
            "\"request_id\":\"test-123\",\"status\":200,"
            "\"route\":\"/a b\"}"},
        {HCS_LOG_LOGFMT, HCS_LOG_ERROR, "ts=",
            " level=error msg=\"a message\" request_id=test-123 status=200 "
            "route=\"/a b\""},
        {HCS_LOG_TEXT, HCS_LOG_INFO, "",
            " info  a message request_id=test-123 status=200 route=\"/a b\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        size_t before = strlen(lines[i].before);
        char *line = one_line(
            lines[i].format, lines[i].level, "a message", three_fields, 3);

        assert_memory_equal(line, lines[i].before, before);
        assert_stamp(line + before);
        assert_string_equal(line + before + 24, lines[i].behind);
        if (lines[i].format == HCS_LOG_JSON) {
            assert_json(line);
        }
        free(line);
    }
}

static void text_messages_start_in_one_column(void **state)
{
    static const char *const levels[] = {
        " error m", " warn  m", " info  m", " debug m"};

    (void)state;
    for (int level = HCS_LOG_ERROR; level <= HCS_LOG_DEBUG; level++) {
        char *line =
            one_line(HCS_LOG_TEXT, (enum hcs_log_level)level, "m", NULL, 0);

        assert_string_equal(line + 24, levels[level]);
        free(line);
    }
}

static void time_is_that_of_the_writing(void **state)
{
    struct timespec before;
    struct timespec after;
    char *line;
    struct tm at = {0};
    time_t second;

    (void)state;
    clock_gettime(CLOCK_REALTIME, &before);
    line = one_line(HCS_LOG_TEXT, HCS_LOG_INFO, "m", NULL, 0);
    clock_gettime(CLOCK_REALTIME, &after);
    assert_non_null(strptime(line, "%Y-%m-%dT%H:%M:%S", &at));
    second = timegm(&at);
    assert_in_range(second, before.tv_sec, after.tv_sec);
    free(line);
}

static void numbers_are_written_with_all_their_digits(void **state)
{
    struct hcs_log_field field = {.name = "n", .number = UINT64_MAX};

    (void)state;
    assert_field(HCS_LOG_JSON, field, ",\"n\":18446744073709551615}");
    assert_field(HCS_LOG_LOGFMT, field, "n=18446744073709551615");
    field.number = 0;
    assert_field(HCS_LOG_JSON, field, ",\"n\":0}");
}

static void printed_message_is_formatted(void **state)
{
    /* A wide character that the locale has no bytes for: the format is written
     * as it stands. */
    static const wchar_t unknown[] = {0x20AC, 0};
    int fd = open_file();
    struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
    size_t length;
    char *text;

    (void)state;
    hcs_log_print(log, HCS_LOG_INFO, "port %d of \"%s\"", 8080, "::1");
    hcs_log_print(log, HCS_LOG_INFO, "costs 5 %ls", unknown);
    text = close_and_read(log, fd, &length);
    assert_non_null(strstr(text, "\"msg\":\"port 8080 of \\\"::1\\\"\"}\n"));
    assert_non_null(strstr(text, "\"msg\":\"costs 5 %ls\"}\n"));
    free(text);
}

/* ---- Escapes ---- */

/* A text, and how JSON shows it between the quotes. */
static const struct {
    const char *text;
    size_t length; /* 0: up to its NUL */
    const char *shown;
} in_json[] = {
    {"a\"b\\c/d", 0, "a\\\"b\\\\c/d"},
    {"\n\r\t\x01\x1b\x1f", 0, "\\n\\r\\t\\u0001\\u001b\\u001f"},
    {"a\0b", 3, "a\\u0000b"}, {"", 0, ""},
    /* ESC, DEL, and CSI as the one character U+009B: commands to a terminal */
    {"\x1b[2J\x7f\xc2\x9b", 0, "\\u001b[2J\\u007f\\u009b"},
    /* UTF-8 of each length, the first and the last, around the surrogates, and
     * U+00A0, the first character behind the controls */
    {"\xc2\xa0\xdf\xbf", 0, "\xc2\xa0\xdf\xbf"},
    {"\xe0\xa0\x80\xed\x9f\xbf", 0, "\xe0\xa0\x80\xed\x9f\xbf"},
    {"\xee\x80\x80\xef\xbf\xbf", 0, "\xee\x80\x80\xef\xbf\xbf"},
    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 0, "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    /* bytes that are not UTF-8 */
    {"a\x80z", 0, "a" BAD "z"},                      /* nothing to continue */
    {"\xff\xfe", 0, BAD BAD},                        /* never in UTF-8 */
    {"\xc0\xaf", 0, BAD BAD},                        /* overlong '/' */
    {"\xe0\x80\xaf", 0, BAD BAD BAD},                /* overlong '/' */
    {"\xf0\x80\x80\xaf", 0, BAD BAD BAD BAD},        /* overlong '/' */
    {"\xed\xa0\x80", 0, BAD BAD BAD},                /* a surrogate */
    {"\xf4\x90\x80\x80", 0, BAD BAD BAD BAD},        /* above U+10FFFF */
    {"\xf5\x80\x80\x80", 0, BAD BAD BAD BAD},        /* above U+10FFFF */
    {"\xe2\x82z", 0, BAD "z"},                       /* its third is missing */
    {"\xf0\x9f\x98\"", 0, BAD "\\\""},               /* its fourth is missing */
    {"\xc3", 0, BAD},                                /* ends inside */
    {"\xf0\x9f\x98", 0, BAD},                        /* ends inside */
    {"\xe2\x82\xe2\x82\xac", 0, BAD "\xe2\x82\xac"}, /* one inside another */
    {"\xe2\x82\xac", 2, BAD}, /* the third is behind the length */
};

static void text_is_escaped_in_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof in_json / sizeof *in_json; i++) {
        char expected[64];

        snprintf(expected, sizeof expected, ",\"f\":\"%s\"}", in_json[i].shown);
        assert_field(HCS_LOG_JSON,
            text_field(in_json[i].text, in_json[i].length), expected);
    }
}

static void words_are_bare_and_the_rest_is_quoted(void **state)
{
    static const char *const texts[][2] = {
        {"/a-b_c.d:80", "f=/a-b_c.d:80"},
        {"", "f=\"\""},
        {"a b", "f=\"a b\""},
        {"a=b", "f=\"a=b\""},
        {"a\"b", "f=\"a\\\"b\""},
        {"a\\b", "f=\"a\\\\b\""},
        {"a\nb", "f=\"a\\nb\""},
        {"\xc3\xa9", "f=\"\xc3\xa9\""},
        {"\x1b[2J\x7f\xc2\x9b", "f=\"\\u001b[2J\\u007f\\u009b\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_field(HCS_LOG_LOGFMT, text_field(texts[i][0], 0), texts[i][1]);
        assert_field(HCS_LOG_TEXT, text_field(texts[i][0], 0), texts[i][1]);
    }
}

static void a_message_cannot_start_a_second_line(void **state)
{
    static const char evil[] = "a\n2026-01-01T00:00:00.000Z error b\x1b[m";
    static const char shown[] = "a\\n2026-01-01T00:00:00.000Z error b\\u001b[m";
    char *line = one_line(HCS_LOG_TEXT, HCS_LOG_INFO, evil, NULL, 0);

    (void)state;
    assert_string_equal(line + TEXT_HEAD, shown);
    free(line);
    line = one_line(HCS_LOG_JSON, HCS_LOG_INFO, evil, NULL, 0);
    assert_non_null(strstr(line, shown));
    assert_json(line);
    free(line);
}

static void a_name_cannot_break_the_line(void **state)
{
    struct hcs_log_field field = {.name = "a\"b c=d\n.e-f_G9~", .number = 1};

    (void)state;
    assert_field(HCS_LOG_JSON, field, ",\"a_b_c_d_.e-f_G9_\":1}");
    assert_field(HCS_LOG_LOGFMT, field, "a_b_c_d_.e-f_G9_=1");
}

static void any_bytes_give_valid_json(void **state)
{
    int fd = open_file();
    struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
    uint64_t random = 42;
    size_t length;
    char *text;
    char *rest;
    uint64_t lines;

    (void)state;
    for (int i = 0; i < 500; i++) {
        char bytes[200];
        struct hcs_log_field field = {
            .name = "f", .text = bytes, .length = 1 + (size_t)i % 200};

        for (size_t k = 0; k < sizeof bytes; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            /* Mostly bytes that belong to longer characters. */
            bytes[k] =
                (char)(random >> 33 & 1 ? 0x80 | random >> 40 : random >> 40);
        }
        hcs_log_write(log, HCS_LOG_INFO, "m", &field, 1);
    }
    lines = hcs_log_dropped(log);
    text = close_and_read(log, fd, &length);
    rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        assert_json(line);
        lines++;
    }
    assert_int_equal(lines, 500);
    free(text);
}

/* ---- Levels ---- */

static void only_wanted_levels_are_written(void **state)
{
    (void)state;
    for (int limit = HCS_LOG_ERROR; limit <= HCS_LOG_DEBUG; limit++) {
        int fd = open_file();
        struct hcs_log *log =
            open_log(fd, (enum hcs_log_level)limit, HCS_LOG_LOGFMT);
        size_t length;
        char *text;
        int lines = 0;

        for (int level = HCS_LOG_ERROR; level <= HCS_LOG_DEBUG; level++) {
            assert_int_equal(
                hcs_log_wants(log, (enum hcs_log_level)level), level <= limit);
            hcs_log_write(log, (enum hcs_log_level)level, "written", NULL, 0);
            hcs_log_print(log, (enum hcs_log_level)level, "%s", "printed");
        }
        assert_int_equal(hcs_log_dropped(log), 0);
        text = close_and_read(log, fd, &length);
        for (size_t i = 0; i < length; i++) {
            lines += text[i] == '\n' ? 1 : 0;
        }
        assert_int_equal(lines, 2 * (limit + 1));
        free(text);
    }
}

static void no_log_wants_nothing(void **state)
{
    (void)state;
    assert_false(hcs_log_wants(NULL, HCS_LOG_ERROR));
    hcs_log_write(NULL, HCS_LOG_ERROR, "m", three_fields, 3);
    hcs_log_print(NULL, HCS_LOG_ERROR, "%d", 1);
    assert_int_equal(hcs_log_dropped(NULL), 0);
    assert_int_equal(hcs_log_fd(NULL), -1);
    hcs_log_close(NULL, CLOSE_MS);
}

/* ---- Cutting ---- */

static char *repeat(const char *unit, size_t times)
{
    size_t length = strlen(unit);
    char *text = malloc(length * times + 1);

    assert_non_null(text);
    for (size_t i = 0; i < times; i++) {
        memcpy(text + i * length, unit, length);
    }
    text[length * times] = '\0';
    return text;
}

/* The raw value of f in a line, without its quotes. */
static const char *json_value(const char *line, size_t *length)
{
    const char *value = NULL;

    if (!hcs_json_member(line, strlen(line), "f", &value, length)) {
        return NULL;
    }
    assert_true(value[0] == '"' && value[*length - 1] == '"');
    *length -= 2;
    return value + 1;
}

static void a_text_that_just_fits_is_not_cut(void **state)
{
    char *probe = one_line(HCS_LOG_JSON, HCS_LOG_INFO, "m",
        &(struct hcs_log_field){.name = "f", .text = ""}, 1);
    size_t room = PIPE_BUF - (strlen(probe) + 1);

    (void)state;
    free(probe);
    for (size_t length = room - 8; length <= room + 8; length++) {
        char *text = repeat("x", length);
        /* Its length told or not. */
        struct hcs_log_field field =
            text_field(text, length % 2 == 0 ? length : 0);
        char *line = one_line(HCS_LOG_JSON, HCS_LOG_INFO, "m", &field, 1);
        size_t shown_length;
        const char *shown;

        assert_json(line);
        shown = json_value(line, &shown_length);
        assert_non_null(shown);
        if (length <= room) {
            assert_int_equal(shown_length, length);
            assert_memory_equal(shown, text, length);
        } else {
            assert_int_equal(strlen(line) + 1, PIPE_BUF);
            assert_int_equal(shown_length, room);
            assert_memory_equal(shown, text, room - 3);
            assert_memory_equal(shown + room - 3, "...", 3);
        }
        free(line);
        free(text);
    }
}

static void a_number_that_just_fits_is_kept(void **state)
{
    struct hcs_log_field fields[] = {
        {.name = "pad", .text = ""},
        {.name = "n", .number = 12345},
    };
    char *probe = one_line(HCS_LOG_JSON, HCS_LOG_INFO, "m", fields, 2);
    size_t room = PIPE_BUF - (strlen(probe) + 1);

    (void)state;
    free(probe);
    for (size_t length = room - 1; length <= room + 1; length++) {
        char *pad = repeat("x", length);
        char *line;

        fields[0].text = pad;
        line = one_line(HCS_LOG_JSON, HCS_LOG_INFO, "m", fields, 2);
        assert_json(line);
        if (length <= room) {
            assert_int_equal(strlen(line) + 1, PIPE_BUF - (room - length));
            assert_non_null(strstr(line, "x\",\"n\":12345}"));
        } else {
            assert_null(strstr(line, "\"n\""));
        }
        free(line);
        free(pad);
    }
}

/* At every position of the end within a unit that takes several bytes. */
static void a_cut_is_never_inside_a_character_or_an_escape(void **state)
{
    static const struct {
        const char *unit;
        const char *shown;
    } cases[] = {
        {"\xc3\xa9", "\xc3\xa9"},
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\"", "\\\""},
        {"\n", "\\n"},
        {"\x01", "\\u0001"},
        {"\xff", BAD},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t unit = strlen(cases[i].shown);

        for (size_t shift = 0; shift < 8; shift++) {
            char *units = repeat(cases[i].unit, PIPE_BUF);
            struct hcs_log_field fields[] = {
                {.name = "pad", .text = &"xxxxxxxx"[8 - shift]},
                {.name = "f", .text = units},
            };
            char *line = one_line(HCS_LOG_JSON, HCS_LOG_INFO, "m", fields, 2);
            size_t length;
            const char *shown;

            assert_json(line);
            /* All room is used, but for what a whole unit does not fit in. */
            assert_true(strlen(line) + 1 + unit > PIPE_BUF);
            shown = json_value(line, &length);
            assert_non_null(shown);
            assert_memory_equal(shown + length - 3, "...", 3);
            assert_int_equal((length - 3) % unit, 0);
            for (size_t k = 0; k < length - 3; k += unit) {
                assert_memory_equal(shown + k, cases[i].shown, unit);
            }
            free(line);
            free(units);
        }
    }
}

/* Moves the end of the line through every byte of two small fields. */
static void a_field_without_room_is_left_out_with_those_after_it(void **state)
{
    static const enum hcs_log_format formats[] = {
        HCS_LOG_JSON, HCS_LOG_LOGFMT, HCS_LOG_TEXT};

    (void)state;
    for (int i = 0; i < 3; i++) {
        bool json = formats[i] == HCS_LOG_JSON;
        bool seen_all = false;
        bool seen_cut = false;
        bool seen_one = false;
        bool seen_none = false;

        for (size_t pad = PIPE_BUF - 180; pad < PIPE_BUF - 30; pad++) {
            char *text = repeat("x", pad);
            struct hcs_log_field fields[] = {
                {.name = "pad", .text = text},
                {.name = "number", .number = 12345},
                {.name = "f", .text = "three words here"},
                {.name = "z", .number = 7},
            };
            char *line = one_line(formats[i], HCS_LOG_INFO, "m", fields, 4);
            bool number = strstr(line, json ? "\"number\":12345"
                                            : " number=12345") != NULL;
            bool whole = strstr(line, "\"three words here\"") != NULL;
            bool cut =
                !whole && strstr(line, json ? ",\"f\":\"" : " f=\"") != NULL;
            bool last = strstr(line, json ? ",\"z\":7}" : " z=7") != NULL;

            if (json) {
                assert_json(line);
            }
            assert_true(number || strstr(line, "number") == NULL);
            assert_true(number || (!whole && !cut));
            assert_true(whole || !last);
            if (cut) {
                assert_non_null(strstr(line, json ? "...\"}" : "...\""));
            }
            seen_all = seen_all || last;
            seen_cut = seen_cut || cut;
            seen_one = seen_one || (number && !whole && !cut);
            seen_none = seen_none || !number;
            free(line);
            free(text);
        }
        assert_true(seen_all && seen_cut && seen_one && seen_none);
    }
}

static void a_long_message_is_cut(void **state)
{
    static const enum hcs_log_format formats[] = {
        HCS_LOG_JSON, HCS_LOG_LOGFMT, HCS_LOG_TEXT};
    char *message = repeat("word ", PIPE_BUF);

    (void)state;
    for (int i = 0; i < 3; i++) {
        char *line =
            one_line(formats[i], HCS_LOG_INFO, message, three_fields, 3);

        assert_int_equal(strlen(line) + 1, PIPE_BUF);
        assert_string_equal(line + strlen(line) -
                                (formats[i] == HCS_LOG_JSON      ? 5
                                    : formats[i] == HCS_LOG_TEXT ? 3
                                                                 : 4),
            formats[i] == HCS_LOG_JSON   ? "...\"}"
            : formats[i] == HCS_LOG_TEXT ? "..."
                                         : "...\"");
        free(line);
    }
    free(message);
}

static void a_long_printed_message_is_cut(void **state)
{
    int fd = open_file();
    struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
    char *message = repeat("x", 3 * PIPE_BUF);
    size_t length;
    char *line;

    (void)state;
    hcs_log_print(log, HCS_LOG_INFO, "%s", message);
    line = close_and_read(log, fd, &length);
    assert_int_equal(length, PIPE_BUF);
    assert_string_equal(line + length - 6, "...\"}\n");
    line[length - 1] = '\0';
    assert_json(line);
    free(line);
    free(message);
}

static void a_long_name_is_left_out(void **state)
{
    char *name = repeat("n", 2 * PIPE_BUF);
    struct hcs_log_field fields[] = {
        {.name = name, .number = 1}, {.name = "f", .number = 2}};
    char *line = one_line(HCS_LOG_JSON, HCS_LOG_INFO, "m", fields, 2);

    (void)state;
    assert_json(line);
    assert_non_null(strstr(line, "\"msg\":\"m\"}"));
    free(line);
    free(name);
}

/* ---- Pipe and thread ---- */

/* A pipe in the place of standard error, with as little room as possible. */
static void open_small_pipe(int ends[2], int flags)
{
    assert_int_equal(pipe2(ends, O_CLOEXEC | flags), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
}

struct reader {
    int fd;
    long pause_ms; /* before each read */
    size_t length;
    char *text;
};

/* Reads up to end-of-file. */
static void *read_slowly(void *arg)
{
    struct reader *reader = arg;
    size_t size = 0;

    for (;;) {
        ssize_t n;

        if (size - reader->length < 4096) {
            size += 1024 * 1024;
            reader->text = realloc(reader->text, size);
        }
        if (reader->pause_ms > 0) {
            nap(reader->pause_ms);
        }
        n = read(reader->fd, reader->text + reader->length, 4095);
        if (n <= 0) {
            reader->text[reader->length] = '\0';
            return NULL;
        }
        reader->length += (size_t)n;
    }
}

/* Logs numbered lines until the log drops, and so many more. */
static uint64_t fill_up(struct hcs_log *log, uint64_t more)
{
    uint64_t lines = 0;
    uint64_t extra = 0;

    while (extra < more || hcs_log_dropped(log) == 0) {
        struct hcs_log_field field = {.name = "n", .number = lines++};

        assert_true(lines < 10000000);
        hcs_log_write(log, HCS_LOG_INFO, "filling up the pipe", &field, 1);
        extra += hcs_log_dropped(log) > 0 ? 1 : 0;
    }
    return lines;
}

/* Every line is whole, and their numbers go up. Returns how many. */
static uint64_t assert_numbered_lines(char *text)
{
    uint64_t lines = 0;
    uint64_t last = 0;
    char *rest = text;

    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        const char *name = strstr(line, ",\"n\":");
        char *end = NULL;
        uint64_t number;

        assert_memory_equal(line, "{\"ts\":\"2", 8);
        assert_non_null(name);
        number = strtoull(name + 5, &end, 10);
        assert_string_equal(end, "}");
        assert_true(lines == 0 || number > last);
        last = number;
        lines++;
    }
    return lines;
}

/* A log whose lines go into a small pipe, and the thread that reads it. */
struct slow {
    int ends[2];
    struct hcs_log *log;
    struct reader reader;
    pthread_t thread;
};

static void slow_open(struct slow *slow, int flags)
{
    *slow = (struct slow){.log = NULL};
    open_small_pipe(slow->ends, flags);
    assert_int_equal(fcntl(slow->ends[0], F_SETFL, 0), 0);
    slow->log = open_log(slow->ends[1], HCS_LOG_INFO, HCS_LOG_JSON);
}

static void slow_read(struct slow *slow, long pause_ms)
{
    slow->reader.fd = slow->ends[0];
    slow->reader.pause_ms = pause_ms;
    assert_int_equal(
        pthread_create(&slow->thread, NULL, read_slowly, &slow->reader), 0);
}

/* Closes the log, and gives what was read. */
static char *slow_close(struct slow *slow)
{
    hcs_log_close(slow->log, CLOSE_MS);
    close(slow->ends[1]);
    pthread_join(slow->thread, NULL);
    close(slow->ends[0]);
    return slow->reader.text;
}

static void log_numbers(struct hcs_log *log, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct hcs_log_field field = {.name = "n", .number = i};

        hcs_log_write(log, HCS_LOG_INFO, "m", &field, 1);
    }
}

static void a_full_pipe_drops_whole_lines_and_counts_them(void **state)
{
    struct slow slow;
    uint64_t lines;
    uint64_t dropped;
    char *text;

    (void)state;
    slow_open(&slow, 0);
    /* Nobody reads: a write that waits would hang here. */
    lines = fill_up(slow.log, 100);
    dropped = hcs_log_dropped(slow.log);
    assert_true(dropped > 0 && dropped < lines);
    slow_read(&slow, 0);
    text = slow_close(&slow);
    assert_int_equal(assert_numbered_lines(text), lines - dropped);
    free(text);
}

static void the_pipe_has_room_again_after_it_was_full(void **state)
{
    struct slow slow;
    uint64_t dropped;
    struct hcs_log_field field = {.name = "n", .number = 1000000000};
    char *text;

    (void)state;
    slow_open(&slow, 0);
    (void)fill_up(slow.log, 1);
    slow_read(&slow, 0);
    do { /* until one is taken */
        dropped = hcs_log_dropped(slow.log);
        field.number++;
        nap(1);
        hcs_log_write(slow.log, HCS_LOG_INFO, "again", &field, 1);
    } while (hcs_log_dropped(slow.log) != dropped);
    text = slow_close(&slow);
    assert_non_null(strstr(text, "\"again\""));
    (void)assert_numbered_lines(text);
    free(text);
}

static void writing_leaves_errno_alone(void **state)
{
    struct slow slow;

    (void)state;
    slow_open(&slow, 0);
    (void)fill_up(slow.log, 1);
    errno = ENOTTY;
    hcs_log_write(slow.log, HCS_LOG_INFO, "dropped with EAGAIN", NULL, 0);
    assert_int_equal(errno, ENOTTY);
    hcs_log_print(slow.log, HCS_LOG_INFO, "dropped with %s", "EAGAIN");
    assert_int_equal(errno, ENOTTY);
    slow_read(&slow, 0);
    free(slow_close(&slow));
}

/* Also where standard error does not block. */
static void closing_writes_what_a_slow_reader_has_not_taken(void **state)
{
    static const int flags[] = {0, O_NONBLOCK};

    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        struct slow slow;
        char *text;

        slow_open(&slow, flags[i]);
        slow_read(&slow, 1);
        log_numbers(slow.log, 500);
        assert_int_equal(hcs_log_dropped(slow.log), 0);
        text = slow_close(&slow);
        assert_int_equal(assert_numbered_lines(text), 500);
        free(text);
    }
}

/* 0: short writes. */
static void writes_that_fail_for_now_are_repeated(void **state)
{
    static const int errors[] = {0, EINTR, EAGAIN};

    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        int fd = open_file();
        struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
        size_t length;
        char *text;

        break_writes(fd, errors[i], 50);
        log_numbers(log, 500);
        hcs_log_close(log, CLOSE_MS);
        assert_true(faults_left <= 0);
        break_writes(-1, 0, 0);
        text = read_file(fd, &length);
        assert_int_equal(assert_numbered_lines(text), 500);
        free(text);
    }
}

static void refused_writes_are_discarded_and_later_ones_go_on(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EPIPE, OF_NOTHING};

    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        int fd = open_file();
        struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
        size_t length;
        char *text;

        break_writes(fd, errors[i], 1);
        hcs_log_write(log, HCS_LOG_INFO, "lost", NULL, 0);
        while (faults_left > 0) {
            nap(1);
        }
        hcs_log_write(log, HCS_LOG_INFO, "found", NULL, 0);
        hcs_log_close(log, CLOSE_MS);
        break_writes(-1, 0, 0);
        text = read_file(fd, &length);
        assert_null(strstr(text, "lost"));
        assert_non_null(strstr(text, "\"found\""));
        free(text);
    }
}

static void a_closed_reader_neither_kills_nor_stops_the_log(void **state)
{
    int ends[2];
    struct hcs_log *log;
    void (*before)(int) = signal(SIGPIPE, SIG_DFL);

    (void)state;
    open_small_pipe(ends, 0);
    log = open_log(ends[1], HCS_LOG_INFO, HCS_LOG_JSON);
    close(ends[0]);
    /* Several times what the log's pipe holds: it is emptied, or this hangs. */
    for (int i = 0; i < 20000; i++) {
        uint64_t dropped;

        do {
            dropped = hcs_log_dropped(log);
            hcs_log_write(log, HCS_LOG_INFO, "nobody reads this", NULL, 0);
        } while (hcs_log_dropped(log) != dropped);
    }
    hcs_log_close(log, CLOSE_MS);
    close(ends[1]);
    signal(SIGPIPE, before);
}

static void closing_gives_up_after_its_time_and_the_rest_follows(void **state)
{
    enum { TEXT_BYTES = 4 * 1024 * 1024 };
    size_t descriptors = count_descriptors();
    int ends[2];
    struct hcs_log *log;
    uint64_t lines;
    uint64_t start;
    uint64_t seen = 0;
    char *text = malloc(TEXT_BYTES);
    size_t length = 0;

    (void)state;
    assert_non_null(text);
    open_small_pipe(ends, 0);
    log = open_log(ends[1], HCS_LOG_INFO, HCS_LOG_JSON);
    lines = fill_up(log, 1);
    lines -= hcs_log_dropped(log);
    start = now_ms();
    hcs_log_close(log, 150);
    assert_in_range(now_ms() - start, 149, 20000);
    assert_true(find_thread() != 0);

    /* The thread that was left behind goes on when there is room again. */
    while (seen < lines) {
        assert_true(length < TEXT_BYTES - 1);
        assert_int_equal(read(ends[0], text + length, 1), 1);
        seen += text[length] == '\n' ? 1 : 0;
        length++;
    }
    text[length] = '\0';
    assert_int_equal(assert_numbered_lines(text), lines);
    free(text);

    /* Then it ends and leaves nothing behind. */
    start = now_ms();
    while (find_thread() != 0) {
        assert_true(now_ms() - start < CLOSE_MS);
        nap(1);
    }
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(count_descriptors(), descriptors);
}

static void closing_leaves_no_thread_and_no_descriptor(void **state)
{
    size_t descriptors = count_descriptors();
    int fd = open_file();
    struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);

    (void)state;
    hcs_log_write(log, HCS_LOG_INFO, "m", NULL, 0);
    hcs_log_close(log, CLOSE_MS);
    assert_int_equal(find_thread(), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC); /* still the caller's */
    close(fd);
    assert_int_equal(count_descriptors(), descriptors);
}

struct writer {
    struct hcs_log *log;
    uint64_t who;
};

enum { WRITERS = 4, LINES_EACH = 2000 };

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz";

static void *log_many(void *arg)
{
    const struct writer *writer = arg;

    for (uint64_t i = 0; i < LINES_EACH; i++) {
        struct hcs_log_field fields[] = {
            {.name = "who", .number = writer->who},
            {.name = "text", .text = alphabet + i % 26},
            {.name = "n", .number = i},
        };

        hcs_log_write(writer->log, HCS_LOG_INFO, "m", fields, 3);
    }
    return NULL;
}

static void lines_of_many_threads_stay_whole_and_in_their_order(void **state)
{
    int fd = open_file();
    struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    uint64_t next[WRITERS] = {0};
    uint64_t lines;
    size_t length;
    char *text;
    char *rest;

    (void)state;
    for (uint64_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.log = log, .who = i};
        assert_int_equal(
            pthread_create(&threads[i], NULL, log_many, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    lines = hcs_log_dropped(log);
    text = close_and_read(log, fd, &length);
    rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        char letters[32];
        unsigned who;
        uint64_t number;
        const char *fields = strstr(line, ",\"who\":");

        assert_json(line);
        assert_non_null(fields);
        assert_int_equal(
            sscanf(fields, ",\"who\":%u,\"text\":\"%31[a-z]\",\"n\":%" SCNu64,
                &who, letters, &number),
            3);
        assert_true(who < WRITERS);
        assert_true(number >= next[who]);
        next[who] = number + 1;
        assert_string_equal(letters, alphabet + number % 26);
        lines++;
    }
    assert_int_equal(lines, WRITERS * LINES_EACH);
    free(text);
}

static void an_idle_log_makes_no_wake_ups(void **state)
{
    int fd = open_file();
    struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
    int tid;
    long sleeps;

    (void)state;
    hcs_log_write(log, HCS_LOG_INFO, "m", NULL, 0);
    while (lseek(fd, 0, SEEK_END) == 0) {
        nap(1);
    }
    nap(100); /* for the thread to fall asleep */
    tid = find_thread();
    assert_true(tid != 0);
    sleeps = count_sleeps(tid);
    assert_true(sleeps > 0);
    nap(300);
    assert_int_equal(count_sleeps(tid), sleeps);
    hcs_log_close(log, CLOSE_MS);
    close(fd);
}

static void the_thread_takes_no_signal(void **state)
{
    int fd = open_file();
    struct timespec patience = {.tv_sec = 10};
    struct hcs_log *log;
    sigset_t before;
    sigset_t after;
    sigset_t user;

    (void)state;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_false(sigismember(&before, SIGUSR1));
    log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal_number = 1; signal_number < SIGRTMIN; signal_number++) {
        assert_int_equal(sigismember(&after, signal_number),
            sigismember(&before, signal_number));
    }

    /* Blocked here, it goes to any thread that has it open; and kills. */
    sigemptyset(&user);
    sigaddset(&user, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &user, NULL);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    nap(20);
    assert_int_equal(sigtimedwait(&user, NULL, &patience), SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    hcs_log_close(log, CLOSE_MS);
    close(fd);
}

struct tenant {
    struct hcs_log *log;
    _Atomic int step; /* 1: has its own table and logged; 2: may end */
    _Atomic int error;
};

static void *log_from_own_table(void *arg)
{
    struct tenant *tenant = arg;

    tenant->error = unshare(CLONE_FILES) == 0 ? 0 : errno;
    hcs_log_write(tenant->log, HCS_LOG_INFO, "from its own table", NULL, 0);
    tenant->step = 1;
    while (tenant->step != 2) {
        nap(1);
    }
    return NULL;
}

static void closing_ends_though_other_tables_hold_the_pipe(void **state)
{
    int fd = open_file();
    struct tenant tenant = {.log = NULL};
    uint64_t start;
    pthread_t thread;
    size_t length;
    char *text;

    (void)state;
    tenant.log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
    assert_int_equal(
        pthread_create(&thread, NULL, log_from_own_table, &tenant), 0);
    while (tenant.step != 1) {
        nap(1);
    }
    start = now_ms();
    hcs_log_close(tenant.log, CLOSE_MS);
    assert_true(now_ms() - start < CLOSE_MS / 2);
    tenant.step = 2;
    pthread_join(thread, NULL);
    text = read_file(fd, &length);
    assert_non_null(strstr(text, "from its own table"));
    free(text);
    if (tenant.error != 0) {
        print_message(
            "no private descriptor tables here: %s\n", strerror(tenant.error));
        skip();
    }
}

static void log_fd_is_the_end_that_lines_go_into(void **state)
{
    int fd = open_file();
    struct hcs_log *log = open_log(fd, HCS_LOG_INFO, HCS_LOG_JSON);
    size_t length;
    char *text;

    (void)state;
    assert_int_equal(fcntl(hcs_log_fd(log), F_GETFL) & (O_ACCMODE | O_NONBLOCK),
        O_WRONLY | O_NONBLOCK);
    assert_int_equal(fcntl(hcs_log_fd(log), F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(hcs_log_fd(log), "by hand\n", 8), 8);
    text = close_and_read(log, fd, &length);
    assert_string_equal(text, "by hand\n");
    free(text);
}

static void opening_without_descriptors_fails_and_leaves_nothing(void **state)
{
    struct rlimit before;
    struct rlimit tight;
    size_t descriptors = count_descriptors();
    int fds[3];
    struct hcs_log *log = NULL;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 3; i++) { /* those that the log would get */
        fds[i] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
        assert_true(fds[i] > 0);
    }
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    tight = before;
    for (int i = 0; i < 3; i++) {
        int rc;

        tight.rlim_cur = (rlim_t)fds[i];
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        rc = hcs_log_open(&log, STDERR_FILENO, HCS_LOG_INFO, HCS_LOG_JSON);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(rc, -EMFILE);
        assert_null(log);
        assert_int_equal(count_descriptors(), descriptors);
    }
}

static void opening_without_memory_or_a_thread_fails_and_leaves_nothing(
    void **state)
{
    size_t descriptors = count_descriptors();
    struct hcs_log *log = NULL;
    sigset_t mask;
    int rc;

    (void)state;
    no_memory = true;
    rc = hcs_log_open(&log, STDERR_FILENO, HCS_LOG_INFO, HCS_LOG_JSON);
    no_memory = false;
    assert_int_equal(rc, -ENOMEM);
    assert_null(log);

    no_threads = true;
    rc = hcs_log_open(&log, STDERR_FILENO, HCS_LOG_INFO, HCS_LOG_JSON);
    no_threads = false;
    assert_int_equal(rc, -EAGAIN);
    assert_null(log);
    assert_int_equal(count_descriptors(), descriptors);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGUSR1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_has_time_level_message_and_fields_in_order),
        cmocka_unit_test(text_messages_start_in_one_column),
        cmocka_unit_test(time_is_that_of_the_writing),
        cmocka_unit_test(numbers_are_written_with_all_their_digits),
        cmocka_unit_test(printed_message_is_formatted),
        cmocka_unit_test(text_is_escaped_in_json),
        cmocka_unit_test(words_are_bare_and_the_rest_is_quoted),
        cmocka_unit_test(a_message_cannot_start_a_second_line),
        cmocka_unit_test(a_name_cannot_break_the_line),
        cmocka_unit_test(any_bytes_give_valid_json),
        cmocka_unit_test(only_wanted_levels_are_written),
        cmocka_unit_test(no_log_wants_nothing),
        cmocka_unit_test(a_text_that_just_fits_is_not_cut),
        cmocka_unit_test(a_number_that_just_fits_is_kept),
        cmocka_unit_test(a_cut_is_never_inside_a_character_or_an_escape),
        cmocka_unit_test(a_field_without_room_is_left_out_with_those_after_it),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(a_long_printed_message_is_cut),
        cmocka_unit_test(a_long_name_is_left_out),
        cmocka_unit_test(a_full_pipe_drops_whole_lines_and_counts_them),
        cmocka_unit_test(the_pipe_has_room_again_after_it_was_full),
        cmocka_unit_test(writing_leaves_errno_alone),
        cmocka_unit_test(closing_writes_what_a_slow_reader_has_not_taken),
        cmocka_unit_test(writes_that_fail_for_now_are_repeated),
        cmocka_unit_test(refused_writes_are_discarded_and_later_ones_go_on),
        cmocka_unit_test(a_closed_reader_neither_kills_nor_stops_the_log),
        cmocka_unit_test(closing_gives_up_after_its_time_and_the_rest_follows),
        cmocka_unit_test(closing_leaves_no_thread_and_no_descriptor),
        cmocka_unit_test(lines_of_many_threads_stay_whole_and_in_their_order),
        cmocka_unit_test(an_idle_log_makes_no_wake_ups),
        cmocka_unit_test(the_thread_takes_no_signal),
        cmocka_unit_test(closing_ends_though_other_tables_hold_the_pipe),
        cmocka_unit_test(log_fd_is_the_end_that_lines_go_into),
        cmocka_unit_test(opening_without_descriptors_fails_and_leaves_nothing),
        cmocka_unit_test(
            opening_without_memory_or_a_thread_fails_and_leaves_nothing),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
