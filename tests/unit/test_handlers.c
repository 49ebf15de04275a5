/* ctest: builds=release,asan,tsan */
/* The built-in handlers against mounts and jobs that are played here: this file
 * defines every function of the public header that they call, so the linker
 * takes none from the daemon. */
/* wrap: clock_gettime clock_nanosleep */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "handlers/builtin.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const uint64_t MS = 1000000;

/* --- The played job. */

enum { ALWAYS = 1000000, TOKENS_MAX = 2000 };

struct hcs_mount {
    const char *argument;
    char error[256];
};

struct hcs_job {
    const char *body;
    cJSON *tree;
    unsigned trees_built;
    bool tree_fails;
    unsigned looks;           /* calls of cancelled */
    unsigned cancelled_after; /* looks that still say no */
    unsigned writes_allowed;
    unsigned writes;
    char reply[4096];
    size_t reply_length;
    char detail[256];
    bool defer_fails;
    bool dead;                /* nobody waits by the time it is resumed */
    enum hcs_outcome outcome; /* that it was completed with */
    unsigned place;           /* when: 1 for the first */
};

/* Jobs that were deferred, by token, and shared with who completes them. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t completed;
    struct hcs_job *jobs[TOKENS_MAX];
    unsigned count;
    unsigned resumes;
    unsigned completions;
} tokens = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .completed = PTHREAD_COND_INITIALIZER};

static struct hcs_job make_job(const char *body)
{
    return (struct hcs_job){
        .body = body,
        .cancelled_after = ALWAYS,
        .writes_allowed = ALWAYS,
    };
}

static void drop_job(struct hcs_job *job)
{
    cJSON_Delete(job->tree);
    job->tree = NULL;
}

const char *hcs_mount_argument(struct hcs_mount *mount)
{
    return mount->argument;
}

void hcs_mount_fail(struct hcs_mount *mount, const char *format, ...)
{
    va_list arguments;

    assert_string_equal(mount->error, "");
    va_start(arguments, format);
    assert_in_range(
        vsnprintf(mount->error, sizeof mount->error, format, arguments), 1,
        sizeof mount->error - 1);
    va_end(arguments);
}

const char *hcs_job_body(const struct hcs_job *job, size_t *length)
{
    *length = job->body != NULL ? strlen(job->body) : 0;
    return job->body;
}

bool hcs_job_member(const struct hcs_job *job, const char *name,
    const char **value, size_t *length)
{
    return job->body != NULL &&
           hcs_json_member(job->body, strlen(job->body), name, value, length);
}

struct cJSON *hcs_job_json(struct hcs_job *job)
{
    if (job->body == NULL || job->tree_fails) {
        return NULL;
    }
    if (job->tree == NULL) {
        job->trees_built++;
        job->tree = cJSON_Parse(job->body);
    }
    return job->tree;
}

const char *hcs_job_method(const struct hcs_job *job)
{
    return job->body != NULL ? "POST" : "GET";
}

const char *hcs_job_path(const struct hcs_job *job, size_t *length)
{
    (void)job;
    *length = 1;
    return "/";
}

const char *hcs_job_query(const struct hcs_job *job, size_t *length)
{
    (void)job;
    *length = 0;
    return NULL;
}

const char *hcs_job_request_id(const struct hcs_job *job, size_t *length)
{
    (void)job;
    *length = 8;
    return "test-123 and what follows it in the input";
}

const char *hcs_job_field(
    const struct hcs_job *job, const char *name, size_t *length)
{
    (void)job;
    (void)name;
    *length = 0;
    return NULL;
}

bool hcs_job_cancelled(const struct hcs_job *job)
{
    struct hcs_job *counted = (struct hcs_job *)(uintptr_t)job;

    return counted->looks++ >= counted->cancelled_after;
}

bool hcs_job_write(struct hcs_job *job, const void *bytes, size_t length)
{
    if (job->writes++ >= job->writes_allowed) {
        return false;
    }
    assert_true(length < sizeof job->reply - job->reply_length);
    memcpy(job->reply + job->reply_length, bytes, length);
    job->reply_length += length;
    job->reply[job->reply_length] = '\0';
    return true;
}

bool hcs_job_write_json(struct hcs_job *job, const struct cJSON *tree)
{
    char *text = cJSON_PrintUnformatted(tree);
    bool written = text != NULL && hcs_job_write(job, text, strlen(text));

    cJSON_free(text);
    return written;
}

bool hcs_job_set_status(struct hcs_job *job, unsigned status)
{
    (void)job;
    fail_msg("status %u was set", status);
    return false;
}

void hcs_job_set_content_type(struct hcs_job *job, const char *text)
{
    (void)job;
    fail_msg("content type %s was set", text);
}

void hcs_job_set_detail(struct hcs_job *job, const char *detail)
{
    assert_true(strlen(detail) < 200);
    strcpy(job->detail, detail);
}

bool hcs_job_defer(struct hcs_job *job, struct hcs_token *token)
{
    if (job->defer_fails) {
        return false;
    }
    pthread_mutex_lock(&tokens.lock);
    assert_true(tokens.count < TOKENS_MAX);
    tokens.jobs[tokens.count++] = job;
    token->value = tokens.count;
    pthread_mutex_unlock(&tokens.lock);
    return true;
}

struct hcs_job *hcs_mount_resume(
    struct hcs_mount *mount, struct hcs_token token)
{
    struct hcs_job *job;

    (void)mount;
    pthread_mutex_lock(&tokens.lock);
    assert_in_range(token.value, 1, tokens.count);
    tokens.resumes++;
    job = tokens.jobs[token.value - 1];
    pthread_mutex_unlock(&tokens.lock);
    return job->dead ? NULL : job;
}

bool hcs_mount_awaits(struct hcs_mount *mount, struct hcs_token token)
{
    bool dead;

    (void)mount;
    pthread_mutex_lock(&tokens.lock);
    assert_in_range(token.value, 1, tokens.count);
    dead = tokens.jobs[token.value - 1]->dead;
    pthread_mutex_unlock(&tokens.lock);
    return !dead;
}

void hcs_job_complete(struct hcs_job *job, enum hcs_outcome outcome)
{
    pthread_mutex_lock(&tokens.lock);
    assert_int_equal(job->place, 0);
    job->outcome = outcome;
    job->place = ++tokens.completions;
    pthread_cond_broadcast(&tokens.completed);
    pthread_mutex_unlock(&tokens.lock);
}

static void await_completion(struct hcs_job *job)
{
    pthread_mutex_lock(&tokens.lock);
    while (job->place == 0) {
        pthread_cond_wait(&tokens.completed, &tokens.lock);
    }
    pthread_mutex_unlock(&tokens.lock);
}

/* --- Memory and threads: one that fails. */

static _Atomic unsigned mallocs;
static _Atomic unsigned frees;
static bool malloc_fails, calloc_fails, thread_fails;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    mallocs += !malloc_fails;
    return malloc_fails ? NULL : __real_malloc(bytes);
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
    frees += block != NULL;
    __real_free(block);
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return calloc_fails ? NULL : __real_calloc(count, bytes);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument)
{
    return thread_fails
               ? EAGAIN
               : __real_pthread_create(thread, attributes, run, argument);
}

/* --- The clocks: real ones, or sleeps that only take note. */

enum { NAPS_MAX = 100000 };

static struct {
    bool played;
    unsigned interruptions; /* EINTR before the next nap succeeds */
    unsigned naps;
    uint64_t start_ns;
    uint64_t until_ns[NAPS_MAX];
    unsigned cpu_reads;
    uint64_t cpu_grain_ns; /* the processor's clock moves in such steps */
} clocks;

int __real_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out);
int __real_clock_nanosleep(clockid_t id, int flags, const struct timespec *time,
    struct timespec *left);
int __wrap_clock_nanosleep(clockid_t id, int flags, const struct timespec *time,
    struct timespec *left);

static uint64_t to_ns(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

static uint64_t read_clock(clockid_t id)
{
    struct timespec time;

    assert_int_equal(__real_clock_gettime(id, &time), 0);
    return to_ns(&time);
}

int __wrap_clock_gettime(clockid_t id, struct timespec *out)
{
    int rc = __real_clock_gettime(id, out);

    if (id == CLOCK_THREAD_CPUTIME_ID) {
        clocks.cpu_reads++;
        if (clocks.cpu_grain_ns != 0) {
            uint64_t ns =
                to_ns(out) / clocks.cpu_grain_ns * clocks.cpu_grain_ns;

            out->tv_sec = (time_t)(ns / 1000000000);
            out->tv_nsec = (long)(ns % 1000000000);
        }
    } else if (clocks.played) {
        assert_int_equal(id, CLOCK_MONOTONIC);
        out->tv_nsec = 950000000; /* 50 ms later is a whole second */
        clocks.start_ns = to_ns(out);
    }
    return rc;
}

int __wrap_clock_nanosleep(
    clockid_t id, int flags, const struct timespec *time, struct timespec *left)
{
    if (!clocks.played) {
        return __real_clock_nanosleep(id, flags, time, left);
    }
    assert_int_equal(id, CLOCK_MONOTONIC);
    assert_int_equal(flags, TIMER_ABSTIME);
    assert_in_range(time->tv_nsec, 0, 999999999);
    if (clocks.interruptions > 0) {
        clocks.interruptions--;
        return EINTR;
    }
    assert_true(clocks.naps < NAPS_MAX);
    clocks.until_ns[clocks.naps++] = to_ns(time) - clocks.start_ns;
    return 0;
}

static void play_clocks(void)
{
    memset(&clocks, 0, sizeof clocks);
    clocks.played = true;
}

static int reset(void **state)
{
    (void)state;
    memset(&clocks, 0, sizeof clocks);
    malloc_fails = false;
    calloc_fails = false;
    thread_fails = false;
    tokens.count = 0;
    tokens.resumes = 0;
    tokens.completions = 0;
    return 0;
}

/* --- Runs. */

static void *open_handler(const struct hcs_handler *handler,
    struct hcs_mount *mount, const char *argument)
{
    void *self = NULL;

    *mount = (struct hcs_mount){.argument = argument};
    if (handler->open == NULL) {
        return NULL;
    }
    if (handler->open(&self, mount) != 0) {
        fail_msg("%s:%s: %s", handler->name, argument, mount->error);
    }
    assert_string_equal(mount->error, "");
    assert_non_null(self);
    return self;
}

/* To the end, also of one that answers later. */
static enum hcs_outcome run_handler(const struct hcs_handler *handler,
    const char *argument, struct hcs_job *job)
{
    struct hcs_mount mount;
    void *self = open_handler(handler, &mount, argument);
    enum hcs_outcome outcome = handler->run(self, job);

    if (outcome == HCS_PENDING) {
        await_completion(job);
        outcome = job->outcome;
    }
    if (handler->close != NULL) {
        handler->close(self);
    }
    return outcome;
}

static const struct {
    const struct hcs_handler *handler;
    const char *argument;
    bool parses;
} all[] = {
    {&hcs_echo, NULL, false},
    {&hcs_sleep, "1ns", true},
    {&hcs_spin, "1ns", true},
    {&hcs_wait, "0s", false},
};

enum { ALL_COUNT = sizeof all / sizeof all[0] };

/* --- What all of them do. */

static void assert_reply(const char *body, const char *data)
{
    char expected[1024] = "{\"status\":\"ok\",\"request_id\":\"test-123\","
                          "\"data\":";

    strcat(strcat(expected, data), "}");
    for (size_t i = 0; i < ALL_COUNT; i++) {
        struct hcs_job job = make_job(body);

        assert_int_equal(
            run_handler(all[i].handler, all[i].argument, &job), HCS_OK);
        assert_string_equal(job.reply, expected);
        assert_string_equal(job.detail, "");
        drop_job(&job);
    }
}

static void reply_has_null_without_a_body(void **state)
{
    (void)state;
    assert_reply(NULL, "null");
}

static void reply_has_null_without_the_member(void **state)
{
    (void)state;
    assert_reply("{}", "null");
    assert_reply("{\"Data\":1,\"dat\":2,\"data2\":3}", "null");
    assert_reply("{\"inner\":{\"data\":1}}", "null");
}

static void reply_has_the_member_as_it_was_sent(void **state)
{
    static const char *const values[] = {
        "9007199254740993",
        "-0.10e+0",
        "1E400",
        "true",
        "null",
        "\"\"",
        "\"a\\u0000b\\/\\u00e9\\ud83d\\ude00\"",
        "\"\xc3\xa9\xf0\x9f\x98\x80\"",
        "[ 1 ,\t2,\n3 ]",
        "{ \"a\" : {\"data\": [] } , \"a\":0 }",
    };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char body[256] = "{\"first\":[\"data\"],\"data\":";

        strcat(strcat(body, values[i]), "}");
        assert_reply(body, values[i]);
    }
}

static void white_space_around_body_and_value_does_not_matter(void **state)
{
    (void)state;
    assert_reply(" \t\r\n{ \"data\" :\n 7\t }\n", "7");
}

static void body_that_is_no_object_is_invalid_and_says_what_is_wanted(
    void **state)
{
    static const char *const bodies[] = {
        "[]",
        "[{\"data\":1}]",
        "\"{\"",
        "1",
        "-1",
        "true",
        "null",
        " \n\t\r[]",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        for (size_t j = 0; j < ALL_COUNT; j++) {
            struct hcs_job job = make_job(bodies[i]);

            assert_int_equal(run_handler(all[j].handler, all[j].argument, &job),
                HCS_INVALID);
            assert_string_equal(job.detail,
                "the body must be an object, such as {\"data\": 1}");
            assert_int_equal(job.reply_length, 0);
            assert_int_equal(job.trees_built, 0);
            drop_job(&job);
        }
    }
}

static void reply_that_does_not_fit_is_no_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL_COUNT; i++) {
        struct hcs_job counted = make_job("{\"data\":1}");

        (void)run_handler(all[i].handler, all[i].argument, &counted);
        assert_in_range(counted.writes, 1, 100);
        for (unsigned writes = 0; writes < counted.writes; writes++) {
            struct hcs_job job = make_job("{\"data\":1}");

            job.writes_allowed = writes;
            assert_int_equal(run_handler(all[i].handler, all[i].argument, &job),
                HCS_NO_MEMORY);
            assert_int_equal(job.writes, writes + 1); /* none after it */
            drop_job(&job);
        }
        drop_job(&counted);
    }
}

static void only_those_that_play_parsing_build_a_tree(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL_COUNT; i++) {
        struct hcs_job job = make_job("{\"data\":1}");

        (void)run_handler(all[i].handler, all[i].argument, &job);
        assert_int_equal(job.trees_built, all[i].parses ? 1 : 0);
        drop_job(&job);
    }
}

static void tree_that_does_not_fit_is_no_memory_and_no_work_is_done(
    void **state)
{
    (void)state;
    play_clocks();
    for (size_t i = 0; i < ALL_COUNT; i++) {
        struct hcs_job job = make_job("{\"data\":1}");

        job.tree_fails = true;
        assert_int_equal(run_handler(all[i].handler, all[i].argument, &job),
            all[i].parses ? HCS_NO_MEMORY : HCS_OK);
        assert_int_equal(job.reply_length == 0, all[i].parses);
    }
    assert_int_equal(clocks.naps, 0);
    assert_int_equal(clocks.cpu_reads, 0);
}

static void handlers_say_who_they_are(void **state)
{
    (void)state;
    assert_string_equal(hcs_echo.name, "echo");
    assert_string_equal(hcs_sleep.name, "sleep");
    assert_string_equal(hcs_spin.name, "spin");
    assert_string_equal(hcs_wait.name, "wait");
    for (size_t i = 0; i < ALL_COUNT; i++) {
        assert_int_equal(all[i].handler->abi, HCS_HANDLER_ABI);
        assert_int_equal(all[i].handler->size, sizeof(struct hcs_handler));
    }
    assert_int_equal(hcs_echo.flags, HCS_HANDLER_BRIEF);
    assert_int_equal(hcs_sleep.flags, 0);
    assert_int_equal(hcs_spin.flags, 0);
    assert_int_equal(hcs_wait.flags, HCS_HANDLER_BRIEF);
    assert_null(hcs_echo.open); /* so an argument is refused */
}

/* --- Arguments. */

static void assert_open(const struct hcs_handler *handler, const char *argument)
{
    struct hcs_mount mount;
    void *self = open_handler(handler, &mount, argument);

    handler->close(self);
}

static void assert_not_open(const struct hcs_handler *handler,
    const char *argument, const char *expected)
{
    struct hcs_mount mount = {.argument = argument};
    void *self = NULL;

    assert_int_equal(handler->open(&self, &mount), -1);
    assert_null(self);
    assert_string_equal(mount.error, expected);
}

static void argument_is_a_duration_up_to_a_bound(void **state)
{
    static const char sleep_allows[] =
        "sleep needs a duration of at most 1h, such as sleep:100ms";
    static const char spin_allows[] =
        "spin needs a duration of at most 10s, such as spin:100us";
    static const char wait_allows[] =
        "wait needs a duration of at most 24h, such as wait:120s";
    static const char *const bad[] = {
        NULL,
        "",
        "0",
        "100",
        "ms",
        "-1ms",
        "1.5s",
        "1s ",
        "99999999999999999999s",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_not_open(&hcs_sleep, bad[i], sleep_allows);
        assert_not_open(&hcs_spin, bad[i], spin_allows);
        assert_not_open(&hcs_wait, bad[i], wait_allows);
    }
    assert_open(&hcs_sleep, "0s");
    assert_open(&hcs_sleep, "1h");
    assert_open(&hcs_sleep, "3600000000000ns");
    assert_not_open(&hcs_sleep, "3600000000001ns", sleep_allows);
    assert_not_open(&hcs_sleep, "2h", sleep_allows);
    assert_open(&hcs_spin, "0s");
    assert_open(&hcs_spin, "10s");
    assert_open(&hcs_spin, "10000000000ns");
    assert_not_open(&hcs_spin, "10000000001ns", spin_allows);
    assert_not_open(&hcs_spin, "1m", spin_allows);
    assert_open(&hcs_wait, "0s");
    assert_open(&hcs_wait, "24h");
    assert_open(&hcs_wait, "86400000000000ns");
    assert_not_open(&hcs_wait, "86400000000001ns", wait_allows);
    assert_not_open(&hcs_wait, "25h", wait_allows);
}

static void lack_of_memory_or_threads_is_said(void **state)
{
    (void)state;
    malloc_fails = true;
    assert_not_open(&hcs_sleep, "1s", "out of memory");
    assert_not_open(&hcs_spin, "1s", "out of memory");
    malloc_fails = false;
    calloc_fails = true;
    assert_not_open(&hcs_wait, "1s", "out of memory");
    calloc_fails = false;
    thread_fails = true;
    assert_not_open(&hcs_wait, "1s",
        "cannot start a thread: Resource temporarily unavailable");
}

/* --- sleep. */

static void sleep_takes_its_time(void **state)
{
    struct hcs_job job = make_job(NULL);
    uint64_t before_ns = read_clock(CLOCK_MONOTONIC);

    (void)state;
    assert_int_equal(run_handler(&hcs_sleep, "60ms", &job), HCS_OK);
    assert_true(read_clock(CLOCK_MONOTONIC) - before_ns >= 60 * MS);
}

static void short_sleep_is_one_nap(void **state)
{
    static const char *const durations[] = {"1ns", "30ms", "50ms"};
    static const uint64_t expected_ns[] = {1, 30000000, 50000000};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct hcs_job job = make_job(NULL);

        play_clocks();
        assert_int_equal(run_handler(&hcs_sleep, durations[i], &job), HCS_OK);
        assert_int_equal(clocks.naps, 1);
        assert_int_equal(clocks.until_ns[0], expected_ns[i]);
        assert_int_equal(job.looks, 1);
    }
}

static void long_sleep_looks_for_cancellation_each_50_ms(void **state)
{
    struct hcs_job job = make_job(NULL);

    (void)state;
    play_clocks();
    assert_int_equal(run_handler(&hcs_sleep, "1h", &job), HCS_OK);
    assert_int_equal(clocks.naps, 72000);
    assert_int_equal(job.looks, 72000);
    for (unsigned i = 0; i < clocks.naps; i++) {
        assert_int_equal(clocks.until_ns[i], (i + 1) * 50 * MS);
    }
}

static void last_nap_ends_with_the_sleep(void **state)
{
    struct hcs_job job = make_job(NULL);

    (void)state;
    play_clocks();
    assert_int_equal(run_handler(&hcs_sleep, "120ms", &job), HCS_OK);
    assert_int_equal(clocks.naps, 3);
    assert_int_equal(clocks.until_ns[2], 120 * MS);
}

static void no_sleep_is_no_nap(void **state)
{
    struct hcs_job job = make_job(NULL);

    (void)state;
    play_clocks();
    assert_int_equal(run_handler(&hcs_sleep, "0s", &job), HCS_OK);
    assert_int_equal(clocks.naps, 0);
    assert_true(job.reply_length > 0);
}

static void interrupted_nap_goes_on_to_the_same_end(void **state)
{
    struct hcs_job job = make_job(NULL);

    (void)state;
    play_clocks();
    clocks.interruptions = 3;
    assert_int_equal(run_handler(&hcs_sleep, "20ms", &job), HCS_OK);
    assert_int_equal(clocks.interruptions, 0);
    assert_int_equal(clocks.naps, 1);
    assert_int_equal(clocks.until_ns[0], 20 * MS);
}

static void cancelled_sleep_ends_early_and_answers_nothing(void **state)
{
    struct hcs_job job = make_job("{\"data\":1}");

    (void)state;
    play_clocks();
    job.cancelled_after = 2;
    assert_int_equal(run_handler(&hcs_sleep, "1h", &job), HCS_FAILED);
    assert_int_equal(clocks.naps, 2);
    assert_int_equal(job.writes, 0);
    drop_job(&job);
}

/* --- spin. */

static uint64_t cpu_of_spin(
    const char *argument, struct hcs_job *job, enum hcs_outcome expected)
{
    struct hcs_mount mount;
    void *self = open_handler(&hcs_spin, &mount, argument);
    uint64_t before_ns = read_clock(CLOCK_THREAD_CPUTIME_ID);
    uint64_t after_ns;

    assert_int_equal(hcs_spin.run(self, job), expected);
    after_ns = read_clock(CLOCK_THREAD_CPUTIME_ID);
    hcs_spin.close(self);
    return after_ns - before_ns;
}

static void spin_costs_its_duration_in_cpu_time(void **state)
{
    struct hcs_job job = make_job(NULL);
    uint64_t cost_ns = cpu_of_spin("20ms", &job, HCS_OK);

    (void)state;
    assert_true(cost_ns >= 20 * MS);
    assert_true(cost_ns < 100 * MS); /* not much more, on any machine */
}

static void spin_reads_the_clock_seldom(void **state)
{
    struct hcs_job job = make_job(NULL);

    (void)state;
    (void)cpu_of_spin("20ms", &job, HCS_OK);
    assert_in_range(clocks.cpu_reads, 2, 2000); /* 10 us apart, on average */
}

/* As where the kernel counts in ticks. */
static void spin_ends_also_on_a_clock_that_moves_in_steps(void **state)
{
    struct hcs_job job = make_job(NULL);
    uint64_t cost_ns;

    (void)state;
    clocks.cpu_grain_ns = 4 * MS;
    cost_ns = cpu_of_spin("20ms", &job, HCS_OK);
    assert_true(cost_ns >= 16 * MS);
    assert_true(cost_ns < 1000 * MS);
    assert_in_range(job.looks, 2, 1000000);
}

static void no_spin_costs_nothing(void **state)
{
    struct hcs_job job = make_job(NULL);

    (void)state;
    (void)cpu_of_spin("0s", &job, HCS_OK);
    assert_int_equal(job.looks, 0);
    assert_true(job.reply_length > 0);
}

static void cancelled_spin_ends_early_and_answers_nothing(void **state)
{
    struct hcs_job job = make_job("{\"data\":1}");

    (void)state;
    job.cancelled_after = 2;
    assert_true(cpu_of_spin("10s", &job, HCS_FAILED) < 1000 * MS);
    assert_int_equal(job.looks, 3);
    assert_int_equal(job.writes, 0);
    drop_job(&job);
}

static void spin_looks_for_cancellation_now_and_then(void **state)
{
    struct hcs_job job = make_job(NULL);

    (void)state;
    (void)cpu_of_spin("200ms", &job, HCS_OK);
    assert_true(job.looks >= 30); /* hundreds, but for the slowest machines */
}

/* --- wait. */

static void wait_takes_its_time(void **state)
{
    struct hcs_job job = make_job(NULL);
    uint64_t before_ns = read_clock(CLOCK_MONOTONIC);

    (void)state;
    assert_int_equal(run_handler(&hcs_wait, "60ms", &job), HCS_OK);
    assert_true(read_clock(CLOCK_MONOTONIC) - before_ns >= 60 * MS);
}

/* More than its list has room for at once, by a single thread. */
static void jobs_wait_without_a_worker_and_end_in_order(void **state)
{
    static struct hcs_job jobs[TOKENS_MAX / 2];
    enum { COUNT = sizeof jobs / sizeof jobs[0] };
    struct hcs_mount mount;
    void *self = open_handler(&hcs_wait, &mount, "20ms");

    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            jobs[i] = make_job("{\"data\":7}");
            assert_int_equal(hcs_wait.run(self, &jobs[i]), HCS_PENDING);
        }
        await_completion(&jobs[COUNT - 1]);
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(jobs[i].outcome, HCS_OK);
            assert_int_equal(jobs[i].place, round * COUNT + i + 1);
            assert_true(jobs[i].reply_length > 0);
        }
    }
    hcs_wait.close(self);
}

static void wait_for_which_nobody_waits_is_passed_over(void **state)
{
    struct hcs_job left = make_job(NULL);
    struct hcs_job stayed = make_job(NULL);
    struct hcs_mount mount;
    void *self = open_handler(&hcs_wait, &mount, "1ms");

    (void)state;
    left.dead = true;
    assert_int_equal(hcs_wait.run(self, &left), HCS_PENDING);
    assert_int_equal(hcs_wait.run(self, &stayed), HCS_PENDING);
    await_completion(&stayed);
    hcs_wait.close(self);
    assert_int_equal(left.place, 0);
    assert_int_equal(left.writes, 0);
    assert_int_equal(tokens.resumes, 2);
}

static void wait_that_cannot_be_deferred_is_no_memory(void **state)
{
    struct hcs_job refused = make_job(NULL);
    struct hcs_job taken = make_job(NULL);
    struct hcs_mount mount;
    void *self = open_handler(&hcs_wait, &mount, "1ms");

    (void)state;
    malloc_fails = true; /* for its list: no token is made that nobody has */
    assert_int_equal(hcs_wait.run(self, &refused), HCS_NO_MEMORY);
    malloc_fails = false;
    assert_int_equal(tokens.count, 0);
    refused.defer_fails = true;
    assert_int_equal(hcs_wait.run(self, &refused), HCS_NO_MEMORY);
    assert_int_equal(hcs_wait.run(self, &taken), HCS_PENDING);
    await_completion(&taken);
    hcs_wait.close(self);
    assert_int_equal(taken.outcome, HCS_OK);
    assert_int_equal(refused.place, 0);
    assert_int_equal(tokens.resumes, 1);
}

static void closing_leaves_those_that_wait(void **state)
{
    static struct hcs_job jobs[600];
    struct hcs_mount mount;
    void *self = open_handler(&hcs_wait, &mount, "24h");

    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        jobs[i] = make_job(NULL);
        assert_int_equal(hcs_wait.run(self, &jobs[i]), HCS_PENDING);
    }
    hcs_wait.close(self);
    assert_int_equal(tokens.resumes, 0);
    assert_int_equal(tokens.completions, 0);
}

/* Those of whom each hundredth stays. */
static struct hcs_job *crowd(void *self)
{
    static struct hcs_job jobs[TOKENS_MAX];

    for (unsigned i = 0; i < TOKENS_MAX; i++) {
        jobs[i] = make_job(NULL);
        jobs[i].dead = i % 100 != 0;
        assert_int_equal(hcs_wait.run(self, &jobs[i]), HCS_PENDING);
    }
    return jobs;
}

static void those_who_left_take_no_memory_for_as_long_as_they_would_have_waited(
    void **state)
{
    struct hcs_mount mount;
    void *self = open_handler(&hcs_wait, &mount, "24h");
    unsigned before = mallocs - frees;

    (void)state;
    (void)crowd(self);
    assert_in_range(mallocs - frees - before, 1, TOKENS_MAX / 255 / 2 + 1);
    assert_int_equal(tokens.resumes, 0);
    hcs_wait.close(self);
}

static void those_who_stay_among_them_are_answered_in_order(void **state)
{
    struct hcs_mount mount;
    void *self = open_handler(&hcs_wait, &mount, "300ms");
    struct hcs_job *jobs = crowd(self);

    (void)state;
    await_completion(&jobs[TOKENS_MAX - 100]);
    hcs_wait.close(self);
    for (unsigned i = 0; i < TOKENS_MAX; i++) {
        assert_int_equal(jobs[i].place, i % 100 == 0 ? i / 100 + 1 : 0);
    }
}

/* Nobody is left at all, and then some are. */
static void an_empty_list_goes_on(void **state)
{
    static struct hcs_job jobs[TOKENS_MAX];
    enum { LEFT = TOKENS_MAX - 100 };
    struct hcs_mount mount;
    void *self = open_handler(&hcs_wait, &mount, "20ms");

    (void)state;
    for (unsigned i = 0; i < TOKENS_MAX; i++) {
        jobs[i] = make_job(NULL);
        jobs[i].dead = i < LEFT;
        assert_int_equal(hcs_wait.run(self, &jobs[i]), HCS_PENDING);
    }
    await_completion(&jobs[TOKENS_MAX - 1]);
    hcs_wait.close(self);
    assert_int_equal(jobs[LEFT].place, 1);
    assert_int_equal(jobs[TOKENS_MAX - 1].place, 100);
}

#define RESET_TEST(function) cmocka_unit_test_setup(function, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RESET_TEST(reply_has_null_without_a_body),
        RESET_TEST(reply_has_null_without_the_member),
        RESET_TEST(reply_has_the_member_as_it_was_sent),
        RESET_TEST(white_space_around_body_and_value_does_not_matter),
        RESET_TEST(body_that_is_no_object_is_invalid_and_says_what_is_wanted),
        RESET_TEST(reply_that_does_not_fit_is_no_memory),
        RESET_TEST(only_those_that_play_parsing_build_a_tree),
        RESET_TEST(tree_that_does_not_fit_is_no_memory_and_no_work_is_done),
        RESET_TEST(handlers_say_who_they_are),
        RESET_TEST(argument_is_a_duration_up_to_a_bound),
        RESET_TEST(lack_of_memory_or_threads_is_said),
        RESET_TEST(sleep_takes_its_time),
        RESET_TEST(short_sleep_is_one_nap),
        RESET_TEST(long_sleep_looks_for_cancellation_each_50_ms),
        RESET_TEST(last_nap_ends_with_the_sleep),
        RESET_TEST(no_sleep_is_no_nap),
        RESET_TEST(interrupted_nap_goes_on_to_the_same_end),
        RESET_TEST(cancelled_sleep_ends_early_and_answers_nothing),
        RESET_TEST(spin_costs_its_duration_in_cpu_time),
        RESET_TEST(spin_reads_the_clock_seldom),
        RESET_TEST(spin_ends_also_on_a_clock_that_moves_in_steps),
        RESET_TEST(no_spin_costs_nothing),
        RESET_TEST(cancelled_spin_ends_early_and_answers_nothing),
        RESET_TEST(spin_looks_for_cancellation_now_and_then),
        RESET_TEST(wait_takes_its_time),
        RESET_TEST(jobs_wait_without_a_worker_and_end_in_order),
        RESET_TEST(wait_for_which_nobody_waits_is_passed_over),
        RESET_TEST(wait_that_cannot_be_deferred_is_no_memory),
        RESET_TEST(closing_leaves_those_that_wait),
        RESET_TEST(
            those_who_left_take_no_memory_for_as_long_as_they_would_have_waited),
        RESET_TEST(those_who_stay_among_them_are_answered_in_order),
        RESET_TEST(an_empty_list_goes_on),
    };

    return cmocka_run_group_tests_name("handlers", tests, NULL, NULL);
}
