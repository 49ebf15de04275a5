/* ctest: builds=release,asan,tsan */
/* The pool of connections, with a driver and a daemon made up for it: what
 * becomes of jobs when connections fail, and of everything when calls do. */
#include "handlers/sql/pool.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { JOBS = 300, PATIENCE_MS = 20000 };

/* --- The daemon. */

struct hcs_job {
    struct daemon *daemon;
    enum hcs_outcome outcome;
    bool done;
    bool gone; /* nobody waits */
    char detail[256];
    _Alignas(16) char memory[512];
    size_t used;
};

struct daemon {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct hcs_job jobs[JOBS];
    unsigned deferred;
    bool defers; /* there is memory to */
    char failure[256];
    unsigned lines; /* in the log */
    char line[256];

    /* The database. */
    unsigned away; /* so many attempts to connect fail; ~0u: all */
    bool lasting;
    bool broken;   /* connections that are there are not alive */
    bool held;     /* statements do not end */
    unsigned made; /* connections */
    unsigned ended;
    unsigned running;
    unsigned ran;
};

struct hcs_mount {
    struct daemon daemon;
};

static void set_up(struct hcs_mount *mount)
{
    memset(mount, 0, sizeof *mount);
    (void)pthread_mutex_init(&mount->daemon.lock, NULL);
    (void)pthread_cond_init(&mount->daemon.changed, NULL);
    mount->daemon.defers = true;
    for (unsigned i = 0; i < JOBS; i++) {
        mount->daemon.jobs[i].daemon = &mount->daemon;
    }
}

static void enter(struct daemon *daemon)
{
    (void)pthread_mutex_lock(&daemon->lock);
}

static void leave(struct daemon *daemon)
{
    (void)pthread_cond_broadcast(&daemon->changed);
    (void)pthread_mutex_unlock(&daemon->lock);
}

static void wait_until(struct daemon *daemon, bool (*is_so)(struct daemon *))
{
    struct timespec at;
    int rc = 0;

    (void)clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += PATIENCE_MS / 1000;
    enter(daemon);
    while (!is_so(daemon) && rc == 0) {
        rc = pthread_cond_timedwait(&daemon->changed, &daemon->lock, &at);
    }
    leave(daemon);
    assert_int_equal(rc, 0);
}

static void set_flag(struct daemon *daemon, bool *flag, bool value)
{
    enter(daemon);
    *flag = value;
    leave(daemon);
}

static void set_away(struct daemon *daemon, unsigned attempts)
{
    enter(daemon);
    daemon->away = attempts;
    leave(daemon);
}

bool hcs_job_defer(struct hcs_job *job, struct hcs_token *token)
{
    struct daemon *daemon = job->daemon;
    bool defers;

    enter(daemon);
    defers = daemon->defers;
    if (defers) {
        daemon->deferred++;
        token->value = (uint64_t)(job - daemon->jobs) + 1;
    }
    leave(daemon);
    return defers;
}

struct hcs_job *hcs_mount_resume(
    struct hcs_mount *mount, struct hcs_token token)
{
    struct hcs_job *job = &mount->daemon.jobs[token.value - 1];
    bool gone;

    enter(&mount->daemon);
    gone = job->gone;
    leave(&mount->daemon);
    return gone ? NULL : job;
}

bool hcs_mount_awaits(struct hcs_mount *mount, struct hcs_token token)
{
    return hcs_mount_resume(mount, token) != NULL;
}

void hcs_job_complete(struct hcs_job *job, enum hcs_outcome outcome)
{
    enter(job->daemon);
    job->outcome = outcome;
    job->done = true;
    leave(job->daemon);
}

void hcs_job_set_detail(struct hcs_job *job, const char *detail)
{
    (void)snprintf(job->detail, sizeof job->detail, "%s", detail);
}

void *hcs_job_alloc(struct hcs_job *job, size_t bytes)
{
    void *block = job->memory + job->used;

    bytes = (bytes + 15) / 16 * 16;
    assert_in_range(bytes, 0, sizeof job->memory - job->used);
    job->used += bytes;
    return block;
}

bool hcs_job_member(const struct hcs_job *job, const char *name,
    const char **value, size_t *length)
{
    (void)job;
    if (strcmp(name, "statement") != 0) {
        return false;
    }
    *value = "\"s\"";
    *length = 3;
    return true;
}

bool hcs_job_write(struct hcs_job *job, const void *bytes, size_t length)
{
    (void)job;
    (void)bytes;
    (void)length;
    return true;
}

bool hcs_job_write_string(struct hcs_job *job, const char *text, size_t length)
{
    return hcs_job_write(job, text, length);
}

void hcs_mount_fail(struct hcs_mount *mount, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(
        mount->daemon.failure, sizeof mount->daemon.failure, format, arguments);
    va_end(arguments);
}

void hcs_mount_log(
    struct hcs_mount *mount, enum hcs_level level, const char *format, ...)
{
    va_list arguments;

    (void)level;
    enter(&mount->daemon);
    mount->daemon.lines++;
    va_start(arguments, format);
    (void)vsnprintf(
        mount->daemon.line, sizeof mount->daemon.line, format, arguments);
    va_end(arguments);
    leave(&mount->daemon);
}

struct hcs_metric *hcs_mount_metric(struct hcs_mount *mount,
    enum hcs_metric_kind kind, const char *name, const char *help)
{
    (void)mount;
    (void)kind;
    (void)name;
    (void)help;
    return NULL;
}

void hcs_metric_add(struct hcs_metric *figure, int64_t more)
{
    (void)figure;
    (void)more;
}

void hcs_metric_set(struct hcs_metric *figure, int64_t value)
{
    (void)figure;
    (void)value;
}

const char *hcs_mount_argument(struct hcs_mount *mount)
{
    (void)mount;
    return "";
}

bool hcs_mount_text(
    struct hcs_mount *mount, const char *name, const char **value)
{
    (void)mount;
    (void)name;
    (void)value;
    return true;
}

bool hcs_mount_integer(struct hcs_mount *mount, const char *name, int64_t min,
    int64_t max, int64_t *value)
{
    (void)mount;
    (void)name;
    (void)min;
    (void)max;
    (void)value;
    return true;
}

/* --- The database. A connection is the mount. */

static bool say(struct hcs_sql_error *error, const char *text)
{
    (void)snprintf(error->text, sizeof error->text, "it said %s", text);
    (void)snprintf(error->reason, sizeof error->reason, "%s", text);
    return false;
}

static bool fake_connect(void *database, const atomic_bool *stopping,
    void **connection, struct hcs_sql_error *error)
{
    struct daemon *daemon = database;
    bool good;

    (void)stopping;
    *error = (struct hcs_sql_error){0};
    enter(daemon);
    good = daemon->away == 0;
    if (good) {
        daemon->made++;
    } else if (daemon->away != ~0u) {
        daemon->away--;
    }
    error->lasting = daemon->lasting;
    leave(daemon);
    *connection = database;
    return good || say(error, "away");
}

static bool fake_is_alive(void *connection, struct hcs_sql_error *error)
{
    struct daemon *daemon = connection;
    bool broken;

    enter(daemon);
    broken = daemon->broken;
    leave(daemon);
    return !broken || say(error, "broken");
}

static bool fake_check(
    void *connection, const atomic_bool *stopping, struct hcs_sql_error *error)
{
    (void)stopping;
    return fake_is_alive(connection, error);
}

static enum hcs_outcome fake_run(void *connection, const atomic_bool *stopping,
    struct hcs_job *job, const struct hcs_call *call,
    struct hcs_sql_error *error)
{
    struct daemon *daemon = connection;
    enum hcs_outcome outcome = HCS_OK;

    (void)job;
    (void)call;
    enter(daemon);
    daemon->running++;
    (void)pthread_cond_broadcast(&daemon->changed);
    while (daemon->held && !atomic_load(stopping)) {
        struct timespec at;

        (void)clock_gettime(CLOCK_REALTIME, &at);
        at.tv_nsec += 1000000;
        at.tv_sec += at.tv_nsec / 1000000000;
        at.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&daemon->changed, &daemon->lock, &at);
    }
    daemon->running--;
    daemon->ran++;
    if (daemon->broken) {
        (void)say(error, "broken");
        outcome = HCS_UNAVAILABLE;
    }
    leave(daemon);
    return outcome;
}

static void fake_disconnect(void *connection)
{
    struct daemon *daemon = connection;

    enter(daemon);
    daemon->ended++;
    leave(daemon);
}

static const struct hcs_driver driver = {
    .thread_name = "hcsd-fake",
    .check_ns = 20 * 1000000,
    .connect = fake_connect,
    .is_alive = fake_is_alive,
    .check = fake_check,
    .run = fake_run,
    .disconnect = fake_disconnect,
};

/* --- Calls that fail. */

static _Atomic int allocations_left = -1; /* below 0: all succeed */
static int threads_left = -1;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*main)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*main)(void *), void *argument);
int __real_pthread_condattr_init(pthread_condattr_t *attributes);
int __wrap_pthread_condattr_init(pthread_condattr_t *attributes);

static int condattr_error;

void *__wrap_malloc(size_t size)
{
    return allocations_left == 0 ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocations_left == 0 ? NULL : __real_calloc(count, size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*main)(void *), void *argument)
{
    if (threads_left == 0) {
        return EAGAIN;
    }
    threads_left -= threads_left > 0;
    return __real_pthread_create(thread, attributes, main, argument);
}

int __wrap_pthread_condattr_init(pthread_condattr_t *attributes)
{
    return condattr_error != 0 ? condattr_error
                               : __real_pthread_condattr_init(attributes);
}

/* --- Helpers. */

static struct hcs_statements *make_statements(void)
{
    static const char text[] = "-- name: s\nSELECT 1";
    struct hcs_statements *set = NULL;
    char error[100];

    assert_int_equal(hcs_statements_parse(&set, "x", text, strlen(text),
                         HCS_DIALECT_SQLITE, error, sizeof error),
        0);
    return set;
}

static int open_pool(struct hcs_sql_pool **pool, struct hcs_mount *mount,
    struct hcs_statements *set, unsigned size)
{
    struct hcs_sql_pool_settings settings = {.statements = set, .size = size};

    return hcs_sql_pool_open(pool, mount, &driver, &mount->daemon, &settings);
}

static bool all_connected(struct daemon *daemon)
{
    return daemon->made - daemon->ended == 2;
}

static bool none_connected(struct daemon *daemon)
{
    return daemon->made == daemon->ended;
}

static bool two_run(struct daemon *daemon)
{
    return daemon->running == 2;
}

static bool deferred_are_done(struct daemon *daemon)
{
    unsigned done = 0;

    for (unsigned i = 0; i < JOBS; i++) {
        done += daemon->jobs[i].done || daemon->jobs[i].gone;
    }
    return done >= daemon->deferred;
}

static void submit(struct hcs_sql_pool *pool, struct hcs_mount *mount,
    unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        assert_int_equal(
            hcs_sql_pool_submit(pool, &mount->daemon.jobs[i]), HCS_PENDING);
    }
}

static void assert_outcomes(struct hcs_mount *mount, unsigned from, unsigned to,
    enum hcs_outcome outcome, const char *detail)
{
    for (unsigned i = from; i < to; i++) {
        assert_true(mount->daemon.jobs[i].done);
        assert_int_equal(mount->daemon.jobs[i].outcome, outcome);
        assert_string_equal(mount->daemon.jobs[i].detail, detail);
    }
}

static struct hcs_mount mount;

struct fixture {
    struct hcs_statements *set;
    struct hcs_sql_pool *pool;
};

static struct fixture begin(void)
{
    struct fixture f = {.set = make_statements()};

    set_up(&mount);
    assert_int_equal(open_pool(&f.pool, &mount, f.set, 2), 0);
    wait_until(&mount.daemon, all_connected);
    return f;
}

static void end(struct fixture *f)
{
    hcs_sql_pool_close(f->pool);
    hcs_statements_close(f->set);
    assert_int_equal(mount.daemon.made, mount.daemon.ended);
}

/* Two jobs that run until they are let go. */
static void occupy(struct fixture *f)
{
    set_flag(&mount.daemon, &mount.daemon.held, true);
    submit(f->pool, &mount, 0, 2);
    wait_until(&mount.daemon, two_run);
}

/* --- Tests. */

static void jobs_in_line_are_done_when_there_is_a_connection(void **state)
{
    struct fixture f = begin();

    (void)state;
    occupy(&f);
    submit(f.pool, &mount, 2, JOBS);
    set_flag(&mount.daemon, &mount.daemon.held, false);
    wait_until(&mount.daemon, deferred_are_done);
    assert_outcomes(&mount, 0, JOBS, HCS_OK, "");
    assert_int_equal(mount.daemon.ran, JOBS);
    end(&f);
}

static void jobs_that_are_gone_make_room_in_line(void **state)
{
    struct fixture f = begin();

    (void)state;
    occupy(&f);
    submit(f.pool, &mount, 2, 66);
    for (unsigned i = 2; i < 66; i++) {
        set_flag(&mount.daemon, &mount.daemon.jobs[i].gone, true);
    }
    /* Without memory for a longer line. */
    allocations_left = 0;
    submit(f.pool, &mount, 66, 66 + 64);
    submit(f.pool, &mount, 130, 131);
    allocations_left = -1;
    assert_outcomes(&mount, 130, 131, HCS_NO_MEMORY, "");
    set_flag(&mount.daemon, &mount.daemon.held, false);
    wait_until(&mount.daemon, deferred_are_done);
    assert_outcomes(&mount, 66, 130, HCS_OK, "");
    assert_int_equal(mount.daemon.ran, 2 + 64);
    end(&f);
}

static void a_job_that_cannot_be_deferred_is_refused(void **state)
{
    struct fixture f = begin();

    (void)state;
    mount.daemon.defers = false;
    assert_int_equal(
        hcs_sql_pool_submit(f.pool, &mount.daemon.jobs[0]), HCS_NO_MEMORY);
    end(&f);
}

static void when_the_last_connection_goes_the_line_is_refused(void **state)
{
    struct fixture f = begin();

    (void)state;
    occupy(&f);
    submit(f.pool, &mount, 2, 100);
    set_away(&mount.daemon, ~0u);
    set_flag(&mount.daemon, &mount.daemon.broken, true);
    set_flag(&mount.daemon, &mount.daemon.held, false);
    wait_until(&mount.daemon, deferred_are_done);
    assert_outcomes(&mount, 2, 100, HCS_UNAVAILABLE,
        "the database cannot be reached: away");
    assert_int_equal(mount.daemon.ran, 2); /* no others, and none again */
    wait_until(&mount.daemon, none_connected);
    assert_int_equal(
        hcs_sql_pool_submit(f.pool, &mount.daemon.jobs[100]), HCS_UNAVAILABLE);
    assert_string_equal(
        mount.daemon.jobs[100].detail, "the database cannot be reached: away");

    set_flag(&mount.daemon, &mount.daemon.broken, false);
    set_away(&mount.daemon, 0);
    wait_until(&mount.daemon, all_connected);
    submit(f.pool, &mount, 101, 110);
    wait_until(&mount.daemon, deferred_are_done);
    assert_outcomes(&mount, 101, 110, HCS_OK, "");
    end(&f);
}

static void idle_connections_are_checked(void **state)
{
    struct fixture f = begin();

    (void)state;
    set_away(&mount.daemon, ~0u);
    set_flag(&mount.daemon, &mount.daemon.broken, true);
    wait_until(&mount.daemon, none_connected);
    set_flag(&mount.daemon, &mount.daemon.broken, false);
    set_away(&mount.daemon, 3); /* pauses grow, and end */
    wait_until(&mount.daemon, all_connected);
    end(&f);
}

static void closing_ends_what_runs_and_what_pauses(void **state)
{
    struct fixture f = begin();

    (void)state;
    occupy(&f);
    submit(f.pool, &mount, 2, 10);
    for (unsigned i = 2; i < 10; i++) { /* as the daemon's end makes them */
        set_flag(&mount.daemon, &mount.daemon.jobs[i].gone, true);
    }
    end(&f);
    assert_int_equal(mount.daemon.ran, 2);
}

static void a_database_that_is_away_at_the_start_is_waited_for(void **state)
{
    struct fixture f = {.set = make_statements()};

    (void)state;
    set_up(&mount);
    set_away(&mount.daemon, 2);
    assert_int_equal(open_pool(&f.pool, &mount, f.set, 1), 0);
    assert_int_equal(mount.daemon.lines, 2); /* once away, once there */
    assert_string_equal(mount.daemon.line, "connected to the database");
    end(&f);
}

static void lasting_error_fails_the_start(void **state)
{
    struct fixture f = {.set = make_statements()};

    (void)state;
    set_up(&mount);
    set_away(&mount.daemon, ~0u);
    mount.daemon.lasting = true;
    assert_int_equal(open_pool(&f.pool, &mount, f.set, 2), -1);
    assert_string_equal(mount.daemon.failure, "it said away");
    hcs_statements_close(f.set);
}

static void what_fails_at_the_start_leaves_nothing_behind(void **state)
{
    struct fixture f = {.set = make_statements()};

    (void)state;
    for (int threads = 0; threads < 3; threads++) {
        set_up(&mount);
        threads_left = threads;
        assert_int_equal(open_pool(&f.pool, &mount, f.set, 3), -1);
        threads_left = -1;
        assert_string_equal(mount.daemon.failure,
            "cannot start a thread for a connection: Resource temporarily "
            "unavailable");
        assert_int_equal(mount.daemon.made, mount.daemon.ended);
        assert_in_range(mount.daemon.made, 1, 3);
    }
    set_up(&mount);
    allocations_left = 0;
    assert_int_equal(open_pool(&f.pool, &mount, f.set, 3), -1);
    allocations_left = -1;
    assert_string_equal(mount.daemon.failure, "out of memory");
    condattr_error = ENOMEM;
    assert_int_equal(open_pool(&f.pool, &mount, f.set, 3), -1);
    condattr_error = 0;
    assert_int_equal(mount.daemon.made, 0);
    hcs_statements_close(f.set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_in_line_are_done_when_there_is_a_connection),
        cmocka_unit_test(jobs_that_are_gone_make_room_in_line),
        cmocka_unit_test(a_job_that_cannot_be_deferred_is_refused),
        cmocka_unit_test(when_the_last_connection_goes_the_line_is_refused),
        cmocka_unit_test(idle_connections_are_checked),
        cmocka_unit_test(closing_ends_what_runs_and_what_pauses),
        cmocka_unit_test(a_database_that_is_away_at_the_start_is_waited_for),
        cmocka_unit_test(lasting_error_fails_the_start),
        cmocka_unit_test(what_fails_at_the_start_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
