/* ctest: builds=release,asan,tsan */
/* exec with real programs, mounts and spawner, against jobs that are played
 * here, and calls that fail when a test says so. */
/* wrap: clock_getcpuclockid */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "handlers/exec/exec.h"
#include "handlers/exec/program.h"
#include "handlers/exec/spawner.h"
#include "job/mount.h"
#include "subreaper.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ALWAYS = 1000000 };

static const uint64_t SECOND_NS = 1000000000;

/* --- The played job. */

enum { BLOCKS_MAX = 16 };

struct hcs_job {
    const char *method;
    const char *body;
    const char *path;
    const char *query;
    void *state;
    uint64_t deadline_ns;
    bool cancelled;
    unsigned allocs_allowed;
    bool write_fails;
    unsigned status;
    void *blocks[BLOCKS_MAX];
    size_t block_count;
    char reply[256];
    size_t reply_length; /* of all; more than fits is counted */
    char field[64];      /* the last one */
    char detail[256];
};

static struct hcs_job make_job(void *state, const char *body)
{
    return (struct hcs_job){
        .method = body != NULL ? "POST" : "GET",
        .body = body,
        .path = "/",
        .state = state,
        .deadline_ns = UINT64_MAX,
        .allocs_allowed = ALWAYS,
        .status = 200,
    };
}

static void drop_job(struct hcs_job *job)
{
    while (job->block_count > 0) {
        free(job->blocks[--job->block_count]);
    }
}

const char *hcs_job_body(const struct hcs_job *job, size_t *length)
{
    *length = job->body != NULL ? strlen(job->body) : 0;
    return job->body;
}

const char *hcs_job_method(const struct hcs_job *job)
{
    return job->method;
}

const char *hcs_job_path(const struct hcs_job *job, size_t *length)
{
    *length = strlen(job->path);
    return job->path;
}

const char *hcs_job_query(const struct hcs_job *job, size_t *length)
{
    *length = job->query != NULL ? strlen(job->query) : 0;
    return job->query;
}

const char *hcs_job_request_id(const struct hcs_job *job, size_t *length)
{
    (void)job;
    *length = 8;
    return "test-123 and what follows it in the input";
}

uint64_t hcs_job_deadline_ns(const struct hcs_job *job)
{
    return job->deadline_ns;
}

bool hcs_job_cancelled(const struct hcs_job *job)
{
    return job->cancelled;
}

void *hcs_job_worker_state(const struct hcs_job *job)
{
    return job->state;
}

void *hcs_job_alloc(struct hcs_job *job, size_t bytes)
{
    if (job->allocs_allowed == 0) {
        return NULL;
    }
    job->allocs_allowed--;
    assert_true(job->block_count < BLOCKS_MAX);
    job->blocks[job->block_count] = malloc(bytes);
    assert_non_null(job->blocks[job->block_count]);
    return job->blocks[job->block_count++];
}

bool hcs_job_write(struct hcs_job *job, const void *bytes, size_t length)
{
    if (job->write_fails) {
        return false;
    }
    if (length < sizeof(job->reply)) {
        memcpy(job->reply, bytes, length);
        job->reply[length] = '\0';
    }
    job->reply_length += length;
    return true;
}

bool hcs_job_add_field(struct hcs_job *job, const char *name, const char *value)
{
    (void)job;
    (void)name;
    (void)value;
    return true;
}

bool hcs_job_set_status(struct hcs_job *job, unsigned status)
{
    if (status < 200 || status > 599) {
        return false;
    }
    job->status = status;
    return true;
}

void hcs_job_set_detail(struct hcs_job *job, const char *detail)
{
    (void)snprintf(job->detail, sizeof(job->detail), "%s", detail);
}

/* --- What fails. */

static struct {
    unsigned mallocs_allowed;
    unsigned callocs_allowed;
    int pipe_error;
    int epoll_error;
    int epoll_ctl_error;
    int eventfd_error;
    int thread_error;
    int getcwd_error;
    int user_error;
    int user_ranges; /* so often the record has no room */
    int group_error;
    int group_list_error;
    int clock_error;
    bool writes_in_bits;
    int reads_interrupted;
    uid_t euid; /* 0: the real one */
} faults;

static char last_log[512];
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static bool here(int error)
{
    errno = error;
    return error != 0;
}

static bool runs_out(unsigned *allowed)
{
    if (*allowed == 0) {
        return true;
    }
    (*allowed)--;
    return false;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return runs_out(&faults.mallocs_allowed) ? NULL : __real_malloc(bytes);
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return runs_out(&faults.callocs_allowed) ? NULL
                                             : __real_calloc(count, bytes);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
    return runs_out(&faults.mallocs_allowed) ? NULL : __real_strdup(text);
}

int __real_pipe2(int ends[2], int flags);
int __wrap_pipe2(int ends[2], int flags);
int __wrap_pipe2(int ends[2], int flags)
{
    return here(faults.pipe_error) ? -1 : __real_pipe2(ends, flags);
}

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
    return here(faults.epoll_error) ? -1 : __real_epoll_create1(flags);
}

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *e);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *e);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *e)
{
    return operation == EPOLL_CTL_ADD && here(faults.epoll_ctl_error)
               ? -1
               : __real_epoll_ctl(epoll, operation, fd, e);
}

int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags)
{
    return here(faults.eventfd_error) ? -1 : __real_eventfd(count, flags);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument)
{
    return faults.thread_error != 0
               ? faults.thread_error
               : __real_pthread_create(thread, attributes, run, argument);
}

char *__real_getcwd(char *path, size_t size);
char *__wrap_getcwd(char *path, size_t size);
char *__wrap_getcwd(char *path, size_t size)
{
    return here(faults.getcwd_error) ? NULL : __real_getcwd(path, size);
}

int __real_getpwnam_r(const char *name, struct passwd *user, char *room,
    size_t size, struct passwd **found);
int __wrap_getpwnam_r(const char *name, struct passwd *user, char *room,
    size_t size, struct passwd **found);
int __wrap_getpwnam_r(const char *name, struct passwd *user, char *room,
    size_t size, struct passwd **found)
{
    *found = NULL;
    if (faults.user_error != 0) {
        return faults.user_error;
    }
    if (faults.user_ranges > 0) {
        faults.user_ranges--;
        return ERANGE;
    }
    return __real_getpwnam_r(name, user, room, size, found);
}

int __real_getgrnam_r(const char *name, struct group *group, char *room,
    size_t size, struct group **found);
int __wrap_getgrnam_r(const char *name, struct group *group, char *room,
    size_t size, struct group **found);
int __wrap_getgrnam_r(const char *name, struct group *group, char *room,
    size_t size, struct group **found)
{
    *found = NULL;
    return faults.group_error != 0
               ? faults.group_error
               : __real_getgrnam_r(name, group, room, size, found);
}

int __real_getgrouplist(
    const char *name, gid_t group, gid_t *groups, int *count);
int __wrap_getgrouplist(
    const char *name, gid_t group, gid_t *groups, int *count);
int __wrap_getgrouplist(
    const char *name, gid_t group, gid_t *groups, int *count)
{
    return faults.group_list_error != 0
               ? -1
               : __real_getgrouplist(name, group, groups, count);
}

uid_t __real_geteuid(void);
uid_t __wrap_geteuid(void);
uid_t __wrap_geteuid(void)
{
    return faults.euid != 0 ? faults.euid : __real_geteuid();
}

int __real_clock_getcpuclockid(pid_t pid, clockid_t *clock);
int __wrap_clock_getcpuclockid(pid_t pid, clockid_t *clock);
int __wrap_clock_getcpuclockid(pid_t pid, clockid_t *clock)
{
    return faults.clock_error != 0 ? faults.clock_error
                                   : __real_clock_getcpuclockid(pid, clock);
}

ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    static unsigned calls;

    if (!faults.writes_in_bits) {
        return __real_writev(fd, parts, count);
    }
    switch (calls++ % 3) {
    case 0:
        errno = EINTR;
        return -1;
    case 1:
        errno = EAGAIN;
        return -1;
    default:
        return write(fd, parts->iov_base, parts->iov_len > 7 ? 7 : 1);
    }
}

/* Of the lines of a mount, the last one. */
void __wrap_hcs_mount_log(
    struct hcs_mount *mount, enum hcs_level level, const char *format, ...);
void __wrap_hcs_mount_log(
    struct hcs_mount *mount, enum hcs_level level, const char *format, ...)
{
    va_list arguments;

    (void)mount;
    (void)level;
    pthread_mutex_lock(&log_lock);
    va_start(arguments, format);
    (void)vsnprintf(last_log, sizeof(last_log), format, arguments);
    va_end(arguments);
    pthread_mutex_unlock(&log_lock);
}

/* --- The daemon's side. */

static void *context; /* of hcs_exec_prepare */
static const struct hcs_host host = {.workers = 1};

static void allow_all(void)
{
    memset(&faults, 0, sizeof(faults));
    faults.mallocs_allowed = ALWAYS;
    faults.callocs_allowed = ALWAYS;
}

static int set_up_all(void **state)
{
    (void)state;
    allow_all();
    (void)signal(SIGPIPE, SIG_IGN);
    return hcs_exec_prepare(&context);
}

static int tear_down_all(void **state)
{
    (void)state;
    hcs_exec_finish(context);
    return 0;
}

static int reset(void **state)
{
    (void)state;
    allow_all();
    return 0;
}

static struct hcs_mount *make_mount(
    void *with, const char *program, const char *settings)
{
    struct hcs_mount *mount =
        hcs_mount_create(&host, &hcs_exec, with, "/", program, settings);

    assert_non_null(mount);
    return mount;
}

struct service {
    struct hcs_mount *mount;
    void *worker;
};

static struct service serve(const char *program, const char *settings)
{
    struct service service = {.mount = make_mount(context, program, settings)};

    assert_int_equal(hcs_mount_open(service.mount), 0);
    assert_int_equal(
        hcs_mount_open_worker(service.mount, 0, &service.worker), 0);
    return service;
}

/* A shell that runs the script, in which blanks and & are percent-encoded. */
static struct service serve_script(const char *script)
{
    char settings[1024];

    (void)snprintf(settings, sizeof(settings), "arg=-c&arg=%s", script);
    return serve("sh", settings);
}

static void stop(struct service *service)
{
    hcs_mount_close_worker(service->mount, service->worker);
    hcs_mount_destroy(service->mount);
}

static enum hcs_outcome run(struct service *service, struct hcs_job *job)
{
    job->state = service->worker;
    return hcs_exec.run(service->mount->self, job);
}

static void assert_serves(struct service *service)
{
    struct hcs_job job = make_job(NULL, "[1]");

    assert_int_equal(run(service, &job), HCS_OK);
    assert_string_equal(job.reply, "[1]");
    drop_job(&job);
}

static void assert_refused(
    const char *program, const char *settings, const char *why)
{
    struct hcs_mount *mount = make_mount(context, program, settings);

    assert_int_not_equal(hcs_mount_open(mount), 0);
    assert_non_null(strstr(hcs_mount_error(mount), why));
    hcs_mount_destroy(mount);
}

/* --- Lines. */

static void odd_bytes_are_escaped(void **state)
{
    struct service service = serve("cat", NULL);
    struct hcs_job job = make_job(NULL, "{\"a\":\r\n1}");

    (void)state;
    job.path = "/\"\\\x01\xff~ ";
    job.query = "";
    assert_int_equal(run(&service, &job), HCS_OK);
    assert_string_equal(job.reply, "{\"a\":  1}");
    drop_job(&job);
    stop(&service);
}

static void line_is_written_in_bits_if_need_be(void **state)
{
    struct service service = serve("cat", NULL);

    (void)state;
    faults.writes_in_bits = true;
    assert_serves(&service);
    stop(&service);
}

/* --- Memory. */

static const char *long_body(size_t length)
{
    static char text[256 * 1024];

    assert_true(length < sizeof(text));
    memset(text, 'x', length);
    text[0] = '"';
    text[length - 1] = '"';
    text[length] = '\0';
    return text;
}

static void job_without_memory_leaves_its_child(void **state)
{
    struct service service = serve("cat", NULL);
    struct hcs_job job;

    (void)state;
    /* For the head; for the body on one line; for a long answer, once and
     * twice as long as the worker's buffer. */
    for (unsigned allowed = 0; allowed < 4; allowed++) {
        job = make_job(NULL, allowed < 2 ? "{\n}" : long_body(200 * 1024));
        job.allocs_allowed = allowed < 2 ? allowed : allowed - 1;
        assert_int_equal(run(&service, &job), HCS_NO_MEMORY);
        assert_int_equal(job.reply_length, 0);
        drop_job(&job);
    }
    job = make_job(NULL, long_body(200 * 1024));
    assert_int_equal(run(&service, &job), HCS_OK);
    assert_int_equal(job.reply_length, 200 * 1024);
    drop_job(&job);
    job = make_job(NULL, "1");
    job.write_fails = true;
    assert_int_equal(run(&service, &job), HCS_NO_MEMORY);
    drop_job(&job);
    assert_serves(&service);
    /* All of that was one child. */
    stop(&service);
    assert_null(strstr(last_log, "the program"));
}

static void line_too_long_is_so_without_memory_too(void **state)
{
    struct service service = serve("cat", "output=100KiB");
    struct hcs_job job = make_job(NULL, long_body(200 * 1024));

    (void)state;
    job.allocs_allowed = 1;
    assert_int_equal(run(&service, &job), HCS_DIED);
    assert_non_null(strstr(job.detail, "longer than output="));
    drop_job(&job);
    assert_serves(&service);
    stop(&service);
}

static void error_without_memory_is_not_told(void **state)
{
    struct service service = serve_script(
        "while%20read%20l;do%20i=$((i%2B1));"
        "echo%20%22{%5C%22id%5C%22:%5C%22$i%5C%22,%5C%22error%5C%22:%5C%22no"
        "%5C%22}%22;done");
    struct hcs_job job = make_job(NULL, "1");

    (void)state;
    job.allocs_allowed = 1;
    assert_int_equal(run(&service, &job), HCS_NO_MEMORY);
    drop_job(&job);
    job = make_job(NULL, "1");
    assert_int_equal(run(&service, &job), HCS_INVALID);
    assert_string_equal(job.detail, "no");
    drop_job(&job);
    stop(&service);
}

/* --- Time. */

static uint64_t now_ns(void)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * SECOND_NS + (uint64_t)at.tv_nsec;
}

static void deadline_that_has_passed_costs_the_child(void **state)
{
    struct service service = serve("sleep", "arg=1000");
    struct hcs_job job = make_job(NULL, "1");

    (void)state;
    job.deadline_ns = now_ns() - SECOND_NS;
    assert_int_equal(run(&service, &job), HCS_TIMED_OUT);
    assert_string_equal(job.detail, "the program did not answer in time");
    drop_job(&job);
    stop(&service);
}

static void deadline_holds_for_a_job_that_nobody_awaits(void **state)
{
    struct service service = serve("sleep", "arg=1000");
    struct hcs_job job = make_job(NULL, "1");

    (void)state;
    job.cancelled = true;
    job.deadline_ns = now_ns() + SECOND_NS / 5;
    assert_int_equal(run(&service, &job), HCS_DIED);
    assert_true(now_ns() >= job.deadline_ns);
    assert_non_null(strstr(job.detail, "after its client had left"));
    drop_job(&job);
    stop(&service);
}

/* --- Starts. */

static void start_that_fails_later_is_tried_again(void **state)
{
    /* Answers once, and ends. */
    struct service service = serve_script("read%20l;echo%20%22$l%22");
    struct hcs_job job;

    (void)state;
    assert_serves(&service);
    faults.pipe_error = EMFILE;
    do { /* until its end is seen */
        job = make_job(NULL, "1");
        drop_job(&job);
        job = make_job(NULL, "1");
    } while (run(&service, &job) == HCS_OK);
    assert_non_null(strstr(job.detail, "cannot open pipes"));
    drop_job(&job);
    job = make_job(NULL, "1");
    assert_int_equal(run(&service, &job), HCS_UNAVAILABLE);
    assert_non_null(strstr(job.detail, "the program is started again in 0."));
    drop_job(&job);
    faults.pipe_error = 0;
    do {
        struct timespec pause = {.tv_nsec = 10 * 1000000};

        (void)nanosleep(&pause, NULL);
        job = make_job(NULL, "1");
        drop_job(&job);
        job = make_job(NULL, "1");
    } while (run(&service, &job) != HCS_OK);
    drop_job(&job);
    stop(&service);
}

static void worker_needs_all_that_a_child_needs(void **state)
{
    struct hcs_mount *mount;
    void *worker = NULL;

    (void)state;
    for (int i = 0; i < 4; i++) {
        allow_all();
        mount = make_mount(i == 0 ? NULL : context, "cat", NULL);
        assert_int_equal(hcs_mount_open(mount), 0);
        faults.pipe_error = i == 1 ? ENFILE : 0;
        faults.epoll_ctl_error = i == 2 ? ENOSPC : 0;
        faults.mallocs_allowed = i == 3 ? 0 : ALWAYS;
        assert_int_not_equal(hcs_mount_open_worker(mount, 0, &worker), 0);
        assert_non_null(strstr(hcs_mount_error(mount),
            (const char *[]){"spawner was not started",
                "cannot open pipes: Too many", "cannot open pipes: No space",
                "out of memory"}[i]));
        hcs_mount_destroy(mount);
    }
    allow_all();
    mount = make_mount(context, "cat", NULL);
    assert_int_equal(hcs_mount_open(mount), 0);
    faults.mallocs_allowed = 1; /* not for its stderr_stream */
    assert_int_not_equal(hcs_mount_open_worker(mount, 0, &worker), 0);
    hcs_mount_destroy(mount);
}

static void open_without_memory_says_so(void **state)
{
    static const char settings[] = "arg=a&arg=b";
    unsigned failures = 0;

    (void)state;
    for (unsigned allowed = 0;; allowed++) {
        struct hcs_mount *mount = make_mount(context, "/bin/cat", settings);
        int rc;

        faults.mallocs_allowed = allowed % 2 == 0 ? allowed / 2 : ALWAYS;
        faults.callocs_allowed = allowed % 2 == 1 ? allowed / 2 : ALWAYS;
        rc = hcs_mount_open(mount);
        allow_all();
        if (rc != 0) {
            assert_non_null(hcs_mount_error(mount));
            failures++;
        }
        hcs_mount_destroy(mount);
        if (allowed > 24) {
            break;
        }
    }
    assert_true(failures >= 4);
}

static void open_needs_a_thread_and_descriptors(void **state)
{
    (void)state;
    faults.epoll_error = EMFILE;
    assert_refused("cat", NULL, "Too many open files");
    allow_all();
    faults.eventfd_error = ENFILE;
    assert_refused("cat", NULL, "Too many open files");
    allow_all();
    faults.epoll_ctl_error = ENOSPC;
    assert_refused("cat", NULL, "No space");
    allow_all();
    faults.thread_error = EAGAIN;
    assert_refused("cat", NULL, "cannot read standard error");
}

/* --- Users and files. */

static void user_is_looked_up_with_room_enough(void **state)
{
    struct hcs_mount *mount = make_mount(context, "cat", "user=root");

    (void)state;
    faults.user_ranges = 2;
    assert_int_equal(hcs_mount_open(mount), 0);
    hcs_mount_destroy(mount);
    faults.user_ranges = 100;
    assert_refused("cat", "user=root", "user=root: ");
}

static void who_cannot_be_looked_up_is_refused(void **state)
{
    (void)state;
    faults.user_error = EIO;
    assert_refused("cat", "user=root", "user=root: Input/output error");
    allow_all();
    faults.group_error = EIO;
    assert_refused("cat", "group=root", "group=root: Input/output error");
    allow_all();
    faults.group_list_error = 1;
    faults.euid = 77777; /* so that root is somebody else */
    assert_refused("cat", "user=root", "user=root: Argument list too long");
    assert_refused("cat", "user=99999999999&group=1", "there is no such user");
    assert_refused("cat", "user=12x", "there is no such user");
}

static void program_is_found_though_its_folder_is_gone(void **state)
{
    struct hcs_mount *mount = make_mount(context, "./no-such-program", NULL);

    (void)state;
    faults.getcwd_error = ENOENT;
    assert_int_not_equal(hcs_mount_open(mount), 0);
    assert_non_null(strstr(hcs_mount_error(mount), "./no-such-program"));
    hcs_mount_destroy(mount);
    mount = make_mount(context, "/bin/cat", NULL);
    assert_int_equal(hcs_mount_open(mount), 0);
    hcs_mount_destroy(mount);
}

static void path_has_a_default(void **state)
{
    char *path = __real_strdup(getenv("PATH"));
    struct hcs_mount *mount = make_mount(context, "cat", NULL);

    (void)state;
    (void)unsetenv("PATH");
    assert_int_equal(hcs_mount_open(mount), 0);
    hcs_mount_destroy(mount);
    (void)setenv("PATH", "", 1); /* the working directory */
    assert_refused("no-such-program", NULL, "in PATH");
    (void)setenv("PATH", path, 1);
    free(path);
}

static void child_of_unknown_age_is_kept(void **state)
{
    struct service service = serve("cat", "cpu=1s");

    (void)state;
    assert_serves(&service);
    faults.clock_error = ESRCH;
    assert_serves(&service);
    assert_serves(&service);
    stop(&service);
}

static void each_failure_is_explained(void **state)
{
    static const struct {
        enum hcs_spawn_step step;
        int rc;
        const char *line;
    } cases[] = {
        {HCS_SPAWN_REQUEST, -EPIPE,
            "the spawner, which starts programs, is gone"},
        {HCS_SPAWN_REQUEST, -ENOMEM,
            "cannot reach the spawner: Cannot allocate memory"},
        {HCS_SPAWN_FORK, -EAGAIN,
            "cannot start a process: Resource temporarily unavailable"},
        {HCS_SPAWN_DESCRIPTORS, -EMFILE,
            "cannot open pipes: Too many open files"},
        {HCS_SPAWN_CPU, -EPERM, "cpu=7s: Operation not permitted"},
        {HCS_SPAWN_MEMORY, -EPERM, "memory=4096: Operation not permitted"},
        {HCS_SPAWN_FILES, -EPERM,
            "files=9: Operation not permitted; the daemon's own hard limit is "
            "lower"},
        {HCS_SPAWN_FILES, -EINVAL, "files=9: Invalid argument"},
        {HCS_SPAWN_USER, -EPERM,
            "user=you: Operation not permitted; to change the user, the "
            "daemon has to be root, or to have CAP_SETUID, CAP_SETGID and "
            "CAP_KILL"},
        {HCS_SPAWN_DIRECTORY, -ENOENT,
            "directory=/d: No such file or "
            "directory"},
        {HCS_SPAWN_EXEC, -ENOENT,
            "/p: No such file or directory; or the interpreter in its first "
            "line (#!) is missing"},
        {HCS_SPAWN_EXEC, -ENOEXEC,
            "/p: Exec format error; a script needs a first line such as "
            "#!/bin/sh"},
        {HCS_SPAWN_EXEC, -EACCES,
            "/p: Permission denied; its user may not execute it, or may not "
            "enter its directory"},
        {HCS_SPAWN_EXEC, -ETXTBSY, "/p: Text file busy"},
    };
    struct hcs_exec_program program = {
        .path = (char *)(uintptr_t) "/p",
        .user_text = "you",
        .group_text = "us",
        .directory = "/d",
        .spawn = {.cpu_seconds = 7, .memory_bytes = 4096, .files = 9},
    };
    char line[256];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hcs_exec_program_explain(
            &program, cases[i].rc, cases[i].step, line, sizeof(line));
        assert_string_equal(line, cases[i].line);
    }
    program.user_text = NULL;
    hcs_exec_program_explain(
        &program, -EINVAL, HCS_SPAWN_GROUP, line, sizeof(line));
    assert_string_equal(line, "group=us: Invalid argument");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(odd_bytes_are_escaped, reset),
        cmocka_unit_test_setup(line_is_written_in_bits_if_need_be, reset),
        cmocka_unit_test_setup(job_without_memory_leaves_its_child, reset),
        cmocka_unit_test_setup(line_too_long_is_so_without_memory_too, reset),
        cmocka_unit_test_setup(error_without_memory_is_not_told, reset),
        cmocka_unit_test_setup(deadline_that_has_passed_costs_the_child, reset),
        cmocka_unit_test_setup(
            deadline_holds_for_a_job_that_nobody_awaits, reset),
        cmocka_unit_test_setup(start_that_fails_later_is_tried_again, reset),
        cmocka_unit_test_setup(worker_needs_all_that_a_child_needs, reset),
        cmocka_unit_test_setup(open_without_memory_says_so, reset),
        cmocka_unit_test_setup(open_needs_a_thread_and_descriptors, reset),
        cmocka_unit_test_setup(user_is_looked_up_with_room_enough, reset),
        cmocka_unit_test_setup(who_cannot_be_looked_up_is_refused, reset),
        cmocka_unit_test_setup(
            program_is_found_though_its_folder_is_gone, reset),
        cmocka_unit_test_setup(path_has_a_default, reset),
        cmocka_unit_test_setup(child_of_unknown_age_is_kept, reset),
        cmocka_unit_test_setup(each_failure_is_explained, reset),
    };

    skip_without_subreaper();
    setproctitle_init(argc, argv, environ);
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
