/* ctest: builds=release,asan,tsan */
/*
 * The daemon in a child process, in which one call of its start or its end
 * fails. What it says and how it ends is looked at from outside, as a service
 * manager does; the child itself looks for descriptors that were left open.
 * wrap: _exit
 */
#include "app/server.h"

#include "app/mounts.h"
#include "app/systemd.h"
#include "base/clock.h"
#include "base/fdtable.h"
#include "event/listener.h"
#include "job/router.h"
#include "shard/run.h"
#include "sync/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    PATIENCE_S = 120, /* then a child that hangs is ended */
    LEFT_OPEN = 99,   /* exit status: descriptors were */
    OUTPUT_MAX = 16 * 1024,
};

/* --- One call that fails, once. */

enum call {
    NOTHING,
    SIGMASK,
    SIGNALFD,
    EVENTFD,
    SOCKET_V6,
    BIND,
    GETRLIMIT,
    SETRLIMIT,
    STATM_READ,
    STATM_TEXT,
    THREAD,
    MALLOC, /* of the main thread, since the server runs */
    CALLOC,
    ROUTER,
    POOL,
    SHARD,
    SHARD_OPEN,
    PRIVATE_TABLE, /* every one */
    ONE_PRIVATE_TABLE,
    DROP_NEW,
    CUT,       /* nothing fails: another signal arrives meanwhile */
    POOL_STOP, /* as if a handler did not return; each one up to the nth */
    POOL_STOP_SIGNAL, /* the same, while another signal arrives */
    MEMORY_GROWS,     /* nothing fails: the kernel says so, and time flies */
    OPENING,          /* takes long; and what looks whether it has ended */
};

static _Atomic enum call faulty;
static _Atomic int before; /* so many of its calls work, and then one fails */
static int fault_errno;

static bool fails(enum call call)
{
    if (call != faulty || atomic_fetch_sub(&before, 1) != 0) {
        return false;
    }
    errno = fault_errno;
    return true;
}

static bool main_runs;

static bool fails_in_main(enum call call)
{
    return main_runs && faulty == call && gettid() == getpid() && fails(call);
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return fails_in_main(MALLOC) ? NULL : __real_malloc(bytes);
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails_in_main(CALLOC) ? NULL : __real_calloc(count, bytes);
}

int __real_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return fails(SIGMASK) ? fault_errno : __real_pthread_sigmask(how, set, old);
}

int __real_signalfd(int fd, const sigset_t *set, int flags);
int __wrap_signalfd(int fd, const sigset_t *set, int flags);
int __wrap_signalfd(int fd, const sigset_t *set, int flags)
{
    return fails(SIGNALFD) ? -1 : __real_signalfd(fd, set, flags);
}

int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags)
{
    return fails(EVENTFD) ? -1 : __real_eventfd(count, flags);
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
    return domain == AF_INET6 && fails(SOCKET_V6)
               ? -1
               : __real_socket(domain, type, protocol);
}

int __real_bind(int fd, const struct sockaddr *at, socklen_t length);
int __wrap_bind(int fd, const struct sockaddr *at, socklen_t length);
int __wrap_bind(int fd, const struct sockaddr *at, socklen_t length)
{
    return fails(BIND) ? -1 : __real_bind(fd, at, length);
}

int __real_getrlimit(__rlimit_resource_t resource, struct rlimit *limit);
int __wrap_getrlimit(__rlimit_resource_t resource, struct rlimit *limit);
int __wrap_getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    return fails(GETRLIMIT) ? -1 : __real_getrlimit(resource, limit);
}

int __real_setrlimit(__rlimit_resource_t resource, const struct rlimit *limit);
int __wrap_setrlimit(__rlimit_resource_t resource, const struct rlimit *limit);
int __wrap_setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    return fails(SETRLIMIT) ? -1 : __real_setrlimit(resource, limit);
}

ssize_t __real_pread(int fd, void *bytes, size_t length, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t length, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t length, off_t offset)
{
    if (fails(STATM_READ)) {
        return -1;
    }
    if (fails(STATM_TEXT)) {
        memcpy(bytes, "nonsense", 8);
        return 8;
    }
    if (faulty == MEMORY_GROWS) {
        static unsigned looks;

        looks++;
        return snprintf(
            bytes, length, "100000 %u 1 1 0 1 0\n", looks > 1 ? 20000U : 1000U);
    }
    return __real_pread(fd, bytes, length, offset);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument)
{
    return fails(THREAD)
               ? fault_errno
               : __real_pthread_create(thread, attributes, run, argument);
}

struct hcs_router *__real_hcs_router_create(void);
struct hcs_router *__wrap_hcs_router_create(void);
struct hcs_router *__wrap_hcs_router_create(void)
{
    return fails(ROUTER) ? NULL : __real_hcs_router_create();
}

int __real_hcs_router_open(struct hcs_router *router);
int __wrap_hcs_router_open(struct hcs_router *router);
int __wrap_hcs_router_open(struct hcs_router *router)
{
    if (faulty == OPENING) {
        (void)usleep(400 * 1000);
    }
    return __real_hcs_router_open(router);
}

struct hcs_pool *__real_hcs_pool_create(
    unsigned workers, size_t queue_size, const struct hcs_pool_work *work);
struct hcs_pool *__wrap_hcs_pool_create(
    unsigned workers, size_t queue_size, const struct hcs_pool_work *work);
struct hcs_pool *__wrap_hcs_pool_create(
    unsigned workers, size_t queue_size, const struct hcs_pool_work *work)
{
    return fails(POOL) ? NULL
                       : __real_hcs_pool_create(workers, queue_size, work);
}

struct hcs_shard *__real_hcs_shard_create(struct hcs_service *service,
    unsigned index, const int *listeners, unsigned count,
    enum hcs_listener_origin origin);
struct hcs_shard *__wrap_hcs_shard_create(struct hcs_service *service,
    unsigned index, const int *listeners, unsigned count,
    enum hcs_listener_origin origin);
struct hcs_shard *__wrap_hcs_shard_create(struct hcs_service *service,
    unsigned index, const int *listeners, unsigned count,
    enum hcs_listener_origin origin)
{
    return fails(SHARD) ? NULL
                        : __real_hcs_shard_create(
                              service, index, listeners, count, origin);
}

int __real_hcs_shard_open(struct hcs_shard *shard);
int __wrap_hcs_shard_open(struct hcs_shard *shard);
int __wrap_hcs_shard_open(struct hcs_shard *shard)
{
    return fails(SHARD_OPEN) ? -fault_errno : __real_hcs_shard_open(shard);
}

int __real_hcs_fdtable_make_private(int *keep, size_t count, int highest);
int __wrap_hcs_fdtable_make_private(int *keep, size_t count, int highest);
int __wrap_hcs_fdtable_make_private(int *keep, size_t count, int highest)
{
    return faulty == PRIVATE_TABLE || fails(ONE_PRIVATE_TABLE)
               ? -fault_errno
               : __real_hcs_fdtable_make_private(keep, count, highest);
}

int __real_hcs_listener_drop_new(int fd);
int __wrap_hcs_listener_drop_new(int fd);
int __wrap_hcs_listener_drop_new(int fd)
{
    return fails(DROP_NEW) ? -fault_errno : __real_hcs_listener_drop_new(fd);
}

void __real_hcs_shard_command(
    struct hcs_shard *shard, enum hcs_command command);
void __wrap_hcs_shard_command(
    struct hcs_shard *shard, enum hcs_command command);
void __wrap_hcs_shard_command(struct hcs_shard *shard, enum hcs_command command)
{
    __real_hcs_shard_command(shard, command);
    if (command == HCS_COMMAND_DRAIN && faulty == CUT) {
        (void)kill(getpid(), SIGINT);
    }
    if (command == HCS_COMMAND_CUT && fails(CUT)) {
        (void)kill(getpid(), SIGTERM);
    }
}

/* A handler that does not return. */
bool __real_hcs_pool_stop(struct hcs_pool *pool, unsigned wait_ms);
bool __wrap_hcs_pool_stop(struct hcs_pool *pool, unsigned wait_ms);
bool __wrap_hcs_pool_stop(struct hcs_pool *pool, unsigned wait_ms)
{
    if (faulty == POOL_STOP_SIGNAL) {
        (void)kill(getpid(), SIGINT);
    }
    if ((faulty == POOL_STOP || faulty == POOL_STOP_SIGNAL) &&
        atomic_fetch_sub(&before, 1) > 0) {
        (void)usleep(wait_ms * 1000);
        return false;
    }
    return __real_hcs_pool_stop(pool, wait_ms);
}

/* Where it did not, it holds a worker. */
unsigned __real_hcs_pool_busy(const struct hcs_pool *pool);
unsigned __wrap_hcs_pool_busy(const struct hcs_pool *pool);
unsigned __wrap_hcs_pool_busy(const struct hcs_pool *pool)
{
    return faulty == POOL_STOP || faulty == POOL_STOP_SIGNAL
               ? 1
               : __real_hcs_pool_busy(pool);
}

/* By which a daemon ends that leaves a handler behind. Here as any other end,
 * so that whatever has to be written at exit is. */
_Noreturn void __wrap__exit(int status);
_Noreturn void __wrap__exit(int status)
{
    fprintf(stderr, "at once\n");
    exit(status);
}

enum { SPEED = 20 }; /* of the time that flies */

uint64_t __real_hcs_clock_ms(void);
uint64_t __wrap_hcs_clock_ms(void);
uint64_t __wrap_hcs_clock_ms(void)
{
    uint64_t now_ms = __real_hcs_clock_ms();

    return faulty == MEMORY_GROWS ? now_ms * SPEED : now_ms;
}

int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (count == 1 && timeout_ms == 0 && fails(OPENING)) {
        return -1;
    }
    return __real_poll(fds, count,
        faulty == MEMORY_GROWS && timeout_ms > 0 ? timeout_ms / SPEED + 1
                                                 : timeout_ms);
}

int __real_malloc_trim(size_t pad);
int __wrap_malloc_trim(size_t pad);
int __wrap_malloc_trim(size_t pad)
{
    fprintf(stderr, "trimmed\n");
    return __real_malloc_trim(pad);
}

/* --- A daemon. */

struct daemon {
    pid_t pid;
    int output; /* what it says on standard error */
    char text[OUTPUT_MAX];
    size_t length;
};

static unsigned open_descriptors(void)
{
    DIR *all = opendir("/proc/self/fd");
    unsigned count = 0;

    if (all == NULL) {
        return 0;
    }
    while (readdir(all) != NULL) {
        count++;
    }
    closedir(all);
    return count;
}

static int handed = -1; /* a listener that the daemon inherits */

/* The setting goes before those of every test: two loops, one worker, and the
 * one table of descriptors that the thread sanitizer can follow. */
static int run_daemon(const char *setting)
{
    char *settings[] = {(char *)(uintptr_t)setting, "LOOPS=2", "WORKERS=1",
        "PORT=0", "ADDRESS=127.0.0.1", "LOG_FORMAT=json",
        "PRIVATE_FD_TABLES=off", "SHUTDOWN_TIMEOUT=1s", NULL};
    struct hcs_config config;
    char error[512];
    unsigned were_open;
    unsigned are_open;
    int rc;

    if (hcs_config_load(&config, settings, error, sizeof(error)) != 0) {
        fprintf(stderr, "%s\n", error);
        return EX_USAGE;
    }
    were_open = open_descriptors();
    main_runs = true;
    rc = hcs_server_run(&config, "1.2.3", NULL, handed >= 0 ? 1 : 0);
    main_runs = false;
    are_open = open_descriptors() + (handed >= 0 ? 1 : 0); /* it is closed */
    hcs_config_fini(&config);
    if (were_open != are_open) {
        fprintf(
            stderr, "%u descriptors before, %u after\n", were_open, are_open);
        return LEFT_OPEN;
    }
    return rc;
}

static void start_with(struct daemon *daemon, enum call call, int nth,
    int error, const char *setting)
{
    int ends[2];

    memset(daemon, 0, sizeof(*daemon));
    assert_int_equal(pipe(ends), 0);
    (void)fflush(NULL);
    daemon->pid = fork();
    assert_true(daemon->pid >= 0);
    if (daemon->pid == 0) {
        (void)alarm(PATIENCE_S);
        (void)dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (handed >= 0 && handed != HCS_INHERITED_FIRST) {
            (void)dup2(handed, HCS_INHERITED_FIRST);
            close(handed);
        }
        faulty = call;
        atomic_store(&before, nth);
        fault_errno = error;
        exit(run_daemon(setting));
    }
    close(ends[1]);
    daemon->output = ends[0];
}

static void start(struct daemon *daemon, enum call call, int nth, int error)
{
    start_with(daemon, call, nth, error, "LOG_LEVEL=info");
}

/* More of what it says; false at its end. */
static bool read_more(struct daemon *daemon)
{
    ssize_t n = read(daemon->output, daemon->text + daemon->length,
        sizeof(daemon->text) - 1 - daemon->length);

    assert_true(n >= 0);
    daemon->length += (size_t)n;
    return n > 0;
}

static bool said(const struct daemon *daemon, const char *words)
{
    return strstr(daemon->text, words) != NULL;
}

static void wait_until_said(struct daemon *daemon, const char *words)
{
    while (!said(daemon, words)) {
        if (!read_more(daemon)) {
            fail_msg("it never said \"%s\": %s", words, daemon->text);
        }
    }
}

/* Waits for its end; gives the exit status. */
static int end(struct daemon *daemon)
{
    int status;

    while (read_more(daemon)) {
    }
    close(daemon->output);
    assert_int_equal(waitpid(daemon->pid, &status, 0), daemon->pid);
    if (!WIFEXITED(status)) {
        fail_msg("signal %d: %s", WTERMSIG(status), daemon->text);
    }
    return WEXITSTATUS(status);
}

static int stop(struct daemon *daemon)
{
    assert_int_equal(kill(daemon->pid, SIGTERM), 0);
    return end(daemon);
}

/* The start fails: exactly this line is said, beside what is logged. */
static void assert_does_not_start(
    enum call call, int nth, int error, int status, const char *line)
{
    struct daemon daemon;
    int got;

    start(&daemon, call, nth, error);
    got = end(&daemon);
    if (got != status || !said(&daemon, line)) {
        fail_msg("status %d, wanted %d and \"%s\": %s", got, status, line,
            daemon.text);
    }
    assert_false(said(&daemon, "listening"));
}

/* It serves all the same, says so, and ends as it should. */
static void assert_serves_and_says(
    enum call call, int nth, int error, const char *words)
{
    struct daemon daemon;

    start(&daemon, call, nth, error);
    wait_until_said(&daemon, "listening");
    assert_int_equal(stop(&daemon), 0);
    if (!said(&daemon, words)) {
        fail_msg("it never said \"%s\": %s", words, daemon.text);
    }
}

/* --- Starting. */

static void a_daemon_serves_until_a_signal_and_leaves_nothing_open(void **state)
{
    struct daemon daemon;

    (void)state;
    start(&daemon, NOTHING, 0, 0);
    wait_until_said(&daemon, "\"msg\":\"listening\"");
    assert_true(said(&daemon, "\"version\":\"1.2.3\""));
    assert_false(said(&daemon, "stopping"));
    assert_int_equal(stop(&daemon), 0);
    assert_true(said(&daemon, "\"msg\":\"stopping"));
    assert_true(said(&daemon, "\"msg\":\"stopped\""));
}

static void without_signals_it_does_not_start(void **state)
{
    (void)state;
    assert_does_not_start(
        SIGNALFD, 0, EMFILE, EX_OSERR, "hcsd: signalfd: Too many open files\n");
    assert_does_not_start(SIGMASK, 0, EINVAL, EX_OSERR, "hcsd: signalfd: ");
}

static void without_memory_it_does_not_start(void **state)
{
    static const char SAID[] = "hcsd: out of memory\n";

    (void)state;
    assert_does_not_start(MALLOC, 0, ENOMEM, EX_OSERR, SAID);
    assert_does_not_start(CALLOC, 0, ENOMEM, EX_OSERR, SAID);
    assert_does_not_start(CALLOC, 1, ENOMEM, EX_OSERR, SAID);
    assert_does_not_start(
        POOL, 0, ENOMEM, EX_OSERR, "hcsd: no memory for the queue\n");
    assert_does_not_start(SHARD, 0, ENOMEM, EX_OSERR,
        "hcsd: no memory or descriptor for loop 0\n");
    assert_does_not_start(SHARD, 1, ENOMEM, EX_OSERR,
        "hcsd: no memory or descriptor for loop 1\n");
}

static void without_memory_for_routes_it_does_not_start(void **state)
{
    (void)state;
    assert_does_not_start(ROUTER, 0, ENOMEM, EX_OSERR, "hcsd: out of memory\n");
}

static void settings_that_cannot_be_checked_for_memory_are_no_good(void **state)
{
    struct hcs_config config;
    char error[512] = "";

    (void)state;
    assert_int_equal(hcs_config_load(&config, NULL, error, sizeof(error)), 0);
    assert_int_equal(hcs_mounts_check(&config, error, sizeof(error)), 0);
    faulty = ROUTER;
    atomic_store(&before, 0);
    assert_int_equal(hcs_mounts_check(&config, error, sizeof(error)), -ENOMEM);
    faulty = NOTHING;
    assert_string_equal(error, "out of memory");
    hcs_config_fini(&config);
}

static void without_descriptors_it_does_not_start(void **state)
{
    (void)state;
    assert_does_not_start(
        EVENTFD, 0, EMFILE, EX_OSERR, "hcsd: eventfd: Too many open files\n");
    assert_does_not_start(
        EVENTFD, 1, EMFILE, EX_OSERR, "hcsd: eventfd: Too many open files\n");
    assert_does_not_start(
        EVENTFD, 2, EMFILE, EX_OSERR, "hcsd: log: Too many open files\n");
    assert_does_not_start(EVENTFD, 3, EMFILE, EX_OSERR,
        "hcsd: no memory or descriptor for loop 0\n");
    assert_does_not_start(EVENTFD, 4, EMFILE, EX_OSERR,
        "hcsd: no memory or descriptor for loop 1\n");
}

static void without_threads_it_does_not_start(void **state)
{
    static const char WHY[] = "Resource temporarily unavailable\n";
    static const char *const WHO[] = {
        "hcsd: log: ",
        "hcsd: LOOPS=2: cannot start: ",
        "hcsd: LOOPS=2: cannot start: ", /* the first runs already */
        "hcsd: cannot start a thread: ",
        "hcsd: WORKERS=1: cannot start: ",
    };

    (void)state;
    for (int i = 0; i < 5; i++) {
        char line[128];

        (void)snprintf(line, sizeof(line), "%s%s", WHO[i], WHY);
        assert_does_not_start(THREAD, i, EAGAIN, EX_OSERR, line);
    }
}

static void a_loop_that_cannot_open_ends_the_start(void **state)
{
    static const char SAID[] =
        "hcsd: LOOPS=2: cannot start: Too many open files\n";

    (void)state;
    assert_does_not_start(SHARD_OPEN, 0, EMFILE, EX_OSERR, SAID);
    assert_does_not_start(SHARD_OPEN, 1, EMFILE, EX_OSERR, SAID);
}

/* What waits there is for who starts next. */
static void a_start_that_fails_takes_nothing_from_an_inherited_listener(
    void **state)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(at);
    int client = __real_socket(AF_INET, SOCK_STREAM, 0);
    int accepted;

    (void)state;
    handed = __real_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(
        __real_bind(handed, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(handed, 5), 0);
    assert_int_equal(getsockname(handed, (struct sockaddr *)&at, &length), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&at, length), 0);
    for (int nth = 0; nth < 2; nth++) {
        assert_does_not_start(SHARD_OPEN, nth, EMFILE, EX_OSERR,
            "hcsd: LOOPS=2: cannot start: Too many open files\n");
        assert_does_not_start(
            THREAD, 1 + nth, EAGAIN, EX_OSERR, "hcsd: LOOPS=2: cannot start");
    }
    assert_int_equal(fcntl(handed, F_SETFL, O_NONBLOCK), 0);
    accepted = accept(handed, NULL, NULL);
    close(handed);
    handed = -1; /* or the tests that follow would go on with it */
    assert_true(accepted >= 0);
    close(accepted);
    close(client);
}

static void a_port_that_is_not_permitted_says_what_permits_it(void **state)
{
    (void)state;
    assert_does_not_start(BIND, 0, EACCES, EX_NOPERM,
        "hcsd: PORT=0: not permitted; ports below 1024 need "
        "CAP_NET_BIND_SERVICE\n");
}

static void a_port_in_use_names_it(void **state)
{
    (void)state;
    assert_does_not_start(BIND, 0, EADDRINUSE, EX_UNAVAILABLE,
        "hcsd: PORT=0: already in use; stop the process that uses this port, "
        "or choose another port\n");
    assert_does_not_start(BIND, 1, EADDRINUSE, EX_UNAVAILABLE, "in use");
}

static void an_address_of_others_is_named(void **state)
{
    (void)state;
    assert_does_not_start(BIND, 0, EADDRNOTAVAIL, EX_UNAVAILABLE,
        "hcsd: cannot listen on 127.0.0.1:0: Cannot assign requested "
        "address\n");
}

/* --- Serving with less than all. */

static void without_ipv6_it_serves_on_ipv4_and_says_so(void **state)
{
    struct daemon daemon;

    (void)state;
    start_with(&daemon, SOCKET_V6, 0, EAFNOSUPPORT, "ADDRESS=");
    wait_until_said(&daemon, "\"address\":\"0.0.0.0:");
    assert_int_equal(stop(&daemon), 0);
    assert_true(said(&daemon, "no IPv6 here: listening on IPv4 alone"));
}

static void a_limit_that_cannot_be_read_counts_as_the_usual_one(void **state)
{
    (void)state;
    assert_serves_and_says(GETRLIMIT, 0, EPERM,
        "MAX_CONNECTIONS=100000 cannot be reached: 1024 descriptors in each of "
        "1 tables");
}

static void a_limit_that_cannot_be_raised_stays_and_is_said(void **state)
{
    struct rlimit was;
    struct rlimit low;

    (void)state;
    assert_int_equal(__real_getrlimit(RLIMIT_NOFILE, &was), 0);
    low = (struct rlimit){.rlim_cur = 300, .rlim_max = was.rlim_max};
    assert_int_equal(__real_setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_serves_and_says(SETRLIMIT, 0, EPERM,
        "MAX_CONNECTIONS=100000 cannot be reached: 300 descriptors in each of "
        "1 tables");
    assert_int_equal(__real_setrlimit(RLIMIT_NOFILE, &was), 0);
}

static void a_limit_that_can_be_raised_is(void **state)
{
    struct rlimit was;
    struct rlimit low;
    char words[64];

    (void)state;
    assert_int_equal(__real_getrlimit(RLIMIT_NOFILE, &was), 0);
    low =
        (struct rlimit){.rlim_cur = was.rlim_max / 2, .rlim_max = was.rlim_max};
    assert_int_equal(__real_setrlimit(RLIMIT_NOFILE, &low), 0);
    (void)snprintf(words, sizeof(words), "\"max_fds\":%llu,",
        (unsigned long long)was.rlim_max);
    assert_serves_and_says(NOTHING, 0, 0, words);
    assert_int_equal(__real_setrlimit(RLIMIT_NOFILE, &was), 0);
}

static void where_tables_cannot_be_private_one_serves_for_all(void **state)
{
    struct daemon daemon;

    (void)state;
    start_with(&daemon, PRIVATE_TABLE, 0, EPERM, "PRIVATE_FD_TABLES=on");
    wait_until_said(&daemon, "\"fd_tables\":\"shared\"");
    assert_int_equal(stop(&daemon), 0);
    assert_true(said(&daemon,
        "descriptor tables cannot be private here (Operation not permitted): "
        "all loops share one"));
}

/* Main's copies of the listeners go by one rule for all loops. */
static void tables_are_private_for_all_loops_or_for_none(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    skip(); /* it knows descriptors by their number */
#endif
    for (int i = 0; i < 2; i++) {
        struct daemon daemon;

        start_with(
            &daemon, ONE_PRIVATE_TABLE, i, ENOMEM, "PRIVATE_FD_TABLES=on");
        assert_int_equal(end(&daemon), EX_OSERR);
        assert_true(said(
            &daemon, "hcsd: LOOPS=2: cannot start: Cannot allocate memory\n"));
    }
}

static void memory_figures_that_cannot_be_read_stop_nothing(void **state)
{
    (void)state;
    assert_serves_and_says(STATM_READ, 0, EIO, "stopped");
    assert_serves_and_says(STATM_TEXT, 0, 0, "stopped");
}

/* Handlers may take long to open. */
static void it_says_once_that_it_is_ready(void **state)
{
    static const char SAID[] = "\"msg\":\"ready\"";

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct daemon daemon;
        const char *once;

        start(&daemon, i == 0 ? NOTHING : OPENING, 0, ENOMEM);
        wait_until_said(&daemon, SAID);
        assert_int_equal(stop(&daemon), 0);
        once = strstr(daemon.text, SAID);
        assert_non_null(once);
        assert_null(strstr(once + 1, SAID));
    }
}

/* --- Ending. */

static void connections_that_cannot_be_held_off_in_drain_are_warned_of(
    void **state)
{
    (void)state;
    assert_serves_and_says(DROP_NEW, 0, EPERM,
        "connections that arrive now may be reset: Operation not permitted");
}

static void a_third_signal_changes_nothing(void **state)
{
    static const char SAID[] = "second signal: ending without waiting";
    struct daemon daemon;
    const char *once;

    (void)state;
    start(&daemon, CUT, 0, 0);
    wait_until_said(&daemon, "listening");
    assert_int_equal(stop(&daemon), 0);
    once = strstr(daemon.text, SAID);
    assert_non_null(once);
    assert_null(strstr(once + 1, SAID));
    assert_true(said(&daemon, "stopped"));
}

/* A job for which nobody waits any more still runs. */
static void a_handler_that_returns_within_the_timeout_is_waited_for(
    void **state)
{
    struct daemon daemon;

    (void)state;
    start_with(&daemon, POOL_STOP, 6, 0, "SHUTDOWN_TIMEOUT=1h");
    wait_until_said(&daemon, "listening");
    assert_int_equal(stop(&daemon), 0);
    assert_false(said(&daemon, "did not return"));
    assert_false(said(&daemon, "at once"));
    assert_true(said(&daemon, "\"msg\":\"stopped\""));
}

static void a_handler_that_does_not_return_is_left_behind_in_the_end(
    void **state)
{
    struct daemon daemon;

    (void)state;
    start(&daemon, POOL_STOP, 1000000, 0);
    wait_until_said(&daemon, "listening");
    assert_int_equal(stop(&daemon), 0);
    assert_true(
        said(&daemon, "a handler did not return in time; ending without it"));
    assert_true(said(&daemon, "at once\n"));
    assert_false(said(&daemon, "\"msg\":\"stopped\""));
}

static void a_second_signal_ends_the_wait_for_a_handler(void **state)
{
    struct daemon daemon;

    (void)state;
    start_with(&daemon, POOL_STOP_SIGNAL, 1000000, 0, "SHUTDOWN_TIMEOUT=1h");
    wait_until_said(&daemon, "listening");
    assert_int_equal(stop(&daemon), 0);
    assert_true(said(&daemon, "second signal: ending without waiting"));
    assert_true(said(&daemon, "at once\n"));
}

/* --- Each second. */

static void memory_that_malloc_keeps_is_given_back_now_and_then(void **state)
{
    struct daemon daemon;

    (void)state;
    start(&daemon, MEMORY_GROWS, 0, 0);
    wait_until_said(&daemon, "trimmed\ntrimmed\n");
    assert_int_equal(stop(&daemon), 0);

    start(&daemon, NOTHING, 0, 0);
    wait_until_said(&daemon, "listening");
    assert_int_equal(stop(&daemon), 0);
    assert_false(said(&daemon, "trimmed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_daemon_serves_until_a_signal_and_leaves_nothing_open),
        cmocka_unit_test(without_signals_it_does_not_start),
        cmocka_unit_test(without_memory_it_does_not_start),
        cmocka_unit_test(without_memory_for_routes_it_does_not_start),
        cmocka_unit_test(
            settings_that_cannot_be_checked_for_memory_are_no_good),
        cmocka_unit_test(without_descriptors_it_does_not_start),
        cmocka_unit_test(without_threads_it_does_not_start),
        cmocka_unit_test(a_loop_that_cannot_open_ends_the_start),
        cmocka_unit_test(
            a_start_that_fails_takes_nothing_from_an_inherited_listener),
        cmocka_unit_test(a_port_that_is_not_permitted_says_what_permits_it),
        cmocka_unit_test(a_port_in_use_names_it),
        cmocka_unit_test(an_address_of_others_is_named),
        cmocka_unit_test(without_ipv6_it_serves_on_ipv4_and_says_so),
        cmocka_unit_test(a_limit_that_cannot_be_read_counts_as_the_usual_one),
        cmocka_unit_test(a_limit_that_cannot_be_raised_stays_and_is_said),
        cmocka_unit_test(a_limit_that_can_be_raised_is),
        cmocka_unit_test(where_tables_cannot_be_private_one_serves_for_all),
        cmocka_unit_test(tables_are_private_for_all_loops_or_for_none),
        cmocka_unit_test(memory_figures_that_cannot_be_read_stop_nothing),
        cmocka_unit_test(it_says_once_that_it_is_ready),
        cmocka_unit_test(
            connections_that_cannot_be_held_off_in_drain_are_warned_of),
        cmocka_unit_test(a_third_signal_changes_nothing),
        cmocka_unit_test(
            a_handler_that_returns_within_the_timeout_is_waited_for),
        cmocka_unit_test(
            a_handler_that_does_not_return_is_left_behind_in_the_end),
        cmocka_unit_test(a_second_signal_ends_the_wait_for_a_handler),
        cmocka_unit_test(memory_that_malloc_keeps_is_given_back_now_and_then),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
