#include "app/server.h"

#include "app/kinds.h"
#include "app/systemd.h"
#include "base/clock.h"
#include "base/fdtable.h"
#include "base/log.h"
#include "event/listener.h"
#include "guard/budget.h"
#include "handlers/exec/exec.h"
#include "handlers/exec/spawner.h"
#include "job/job.h"
#include "shard/pages.h"
#include "shard/run.h"
#include "shard/snapshot.h"
#include "sync/deferral.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 1000,
    PAST_TICKS = 11, /* samples for ten seconds */
    LOG_FLUSH_MS = 2000,
    STUCK_JOB_MS = 200,   /* for a job to return, after a cut */
    STUCK_OPEN_MS = 1000, /* for one call of a handler's open, or close */
    EXTEND_MS = 15000,    /* asked of systemd each second of a drain */
    MMAP_THRESHOLD = 128 * 1024,
    TRIM_EXCESS = 4 * 1024 * 1024,
    TRIM_TICKS = 5,
    TRIM_HURRY_MS = 1000, /* when memory is refused */
    KEPT_BACK_PART = 32,  /* of MEMORY_BUDGET: a 32nd, */
    KEPT_BACK_MIN = 1024 * 1024,
    KEPT_BACK_MAX = 64 * 1024 * 1024,
    ERROR_LENGTH = 1024,
    OPEN_GRACE_MS = 200, /* to open the handlers, before the loops run */
};

enum phase { SERVING, DELAYING, DRAINING, CUT };

/* Opening the handlers, and starting the workers, by a thread of its own: main
 * answers signals meanwhile, and loops say that the daemon is alive. */
struct opening {
    pthread_t thread;
    bool started;
    bool joined;
    int ended; /* eventfd: 1 when it has */
    int rc;    /* then */
};

struct server {
    const struct hcs_config *config;
    struct hcs_service service;
    struct hcs_budget budget;
    struct hcs_host host;
    struct hcs_handler_calls calls;
    struct hcs_spawner *spawner; /* NULL: no handler needs it */
    struct hcs_job_context jobs;
    struct hcs_log *log;
    struct hcs_notify notify;
    struct hcs_address address;
    unsigned inherited; /* listeners, from descriptor 3 on; 0: opens its own */
    enum hcs_listener_origin origin;
    int *listeners; /* main's copies, loop by loop; -1 when closed */
    unsigned listener_count;
    struct hcs_shard **shards;
    pthread_t *threads;
    unsigned threads_started;
    int signals;     /* signalfd */
    int loops_ended; /* eventfd: each loop that ends adds 1 */
    struct opening opening;
    int statm;            /* /proc/self/statm */
    int highest_fd;       /* of all that was open before the loops began */
    pthread_mutex_t lock; /* of the five below, and changed */
    pthread_cond_t changed;
    unsigned opened;
    unsigned failed;
    int error;       /* of the first that failed */
    int table_error; /* why a table is shared, or 0 */
    unsigned shared; /* loops whose table could not be made private */
    bool go;         /* all are open: run */
    enum phase phase;
    uint64_t phase_end_ms;
    unsigned ended;   /* loops */
    uint64_t tick_ms; /* the next one */
    uint64_t past_requests[PAST_TICKS];
    uint64_t past_jobs[PAST_TICKS];
    uint64_t ticks;
    uint64_t trimmed_tick;
    _Atomic uint64_t hurried_ms; /* the last trim before a refusal */
};

__attribute__((format(printf, 2, 3))) static int fail(
    int status, const char *format, ...)
{
    char line[ERROR_LENGTH];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    fprintf(stderr, "hcsd: %s\n", line);
    return status;
}

/* --- Handlers. */

/* "HANDLERS: /score=module: why", or of HANDLERS_FILE. */
static void say_wrong(const struct hcs_config *config, const char *path,
    const char *kind, const char *why, char *error, size_t error_size)
{
    const char *file = config->handlers_file;

    (void)snprintf(error, error_size, "%s%s: %s=%s: %s",
        file != NULL ? "HANDLERS_FILE=" : "HANDLERS", file != NULL ? file : "",
        path, kind, why);
}

/* The mount of one entry. 0, or -EINVAL or -ENOMEM with one line in error. */
static int add_mount(struct hcs_router *router, const struct hcs_host *host,
    struct hcs_spawner *spawner, const struct hcs_config *config,
    const struct hcs_routes_entry *route, char *error, size_t error_size)
{
    const struct hcs_handler *handler = NULL;
    char why[ERROR_LENGTH] = "a second handler on one path";
    int rc = hcs_kinds_find(
        route->kind, route->argument, &handler, why, sizeof(why));

    if (rc == 0) {
        rc = hcs_router_add(router,
            hcs_mount_create(host, handler,
                handler == &hcs_exec ? spawner : NULL, route->path,
                hcs_kinds_is_module(route->kind) ? NULL : route->argument,
                route->query));
    }
    if (rc != 0) {
        say_wrong(config, route->path, route->kind,
            rc == -ENOMEM ? "out of memory" : why, error, error_size);
    }
    return rc;
}

/* Gives the router, with nothing open. */
static int make_router(struct hcs_router **out, const struct hcs_host *host,
    struct hcs_spawner *spawner, const struct hcs_config *config, char *error,
    size_t error_size)
{
    struct hcs_router *router = hcs_router_create();
    int rc = 0;

    if (router == NULL || hcs_pages_add_to(router) != 0) {
        (void)snprintf(error, error_size, "out of memory");
        hcs_router_destroy(router);
        return -ENOMEM;
    }
    for (size_t i = 0; rc == 0 && i < config->routes.count; i++) {
        rc = add_mount(router, host, spawner, config,
            &config->routes.entries[i], error, error_size);
    }
    if (rc != 0) {
        hcs_router_destroy(router);
        return rc;
    }
    *out = router;
    return 0;
}

/* One line: which mount does not open, and why. */
static void say_fault(const struct hcs_router *router,
    const struct hcs_config *config, char *error, size_t error_size)
{
    struct hcs_mount *fault = hcs_router_fault(router);
    const char *path = hcs_mount_path(fault);
    const char *kind = "";

    for (size_t i = 0; i < config->routes.count; i++) {
        if (strcmp(config->routes.entries[i].path, path) == 0) {
            kind = config->routes.entries[i].kind;
        }
    }
    say_wrong(config, path, kind, hcs_mount_error(fault), error, error_size);
}

int hcs_server_check(
    const struct hcs_config *config, char *error, size_t error_size)
{
    struct hcs_host host = {
        .workers = config->workers,
        .checks = true,
        .job_timeout_ms = config->job_timeout_ms,
    };
    struct hcs_router *router = NULL;
    int rc = make_router(&router, &host, NULL, config, error, error_size);

    if (rc == 0) {
        rc = hcs_router_open(router);
        if (rc != 0) {
            say_fault(router, config, error, error_size);
        }
    }
    hcs_router_destroy(router);
    return rc;
}

/* --- The loops' threads. */

struct loop_start {
    struct server *server;
    struct hcs_shard *shard;
};

static int highest_fd(const struct server *server)
{
    int highest = server->loops_ended > server->opening.ended
                      ? server->loops_ended
                      : server->opening.ended;

    for (unsigned i = 0; i < server->service.shard_count; i++) {
        if (server->shards[i]->mailbox.fd > highest) {
            highest = server->shards[i]->mailbox.fd;
        }
    }
    for (unsigned i = 0; i < server->listener_count; i++) {
        if (server->listeners[i] > highest) {
            highest = server->listeners[i];
        }
    }
    return highest;
}

static int enter_private_table(
    const struct server *server, const struct hcs_shard *shard)
{
    unsigned loops = server->service.shard_count;
    int keep[3 + shard->listener_count + loops];
    size_t count = 0;

    keep[count++] = hcs_log_fd(server->log);
    keep[count++] = server->loops_ended;
    if (server->statm >= 0) {
        keep[count++] = server->statm;
    }
    for (unsigned i = 0; i < shard->listener_count; i++) {
        keep[count++] = shard->listeners[i].fd;
    }
    /* Every doorbell: who finds another loop's dead entry in the queue rings
     * there, and under its number must not stand a client. */
    for (unsigned i = 0; i < loops; i++) {
        keep[count++] = server->shards[i]->mailbox.fd;
    }
    return hcs_fdtable_make_private(keep, count, server->highest_fd);
}

/* Nobody cancels a thread here. For those who do, glibc (2.36, for one) marks
 * the beginning and the end of each read, send and wait with a locked
 * instruction. A thread that may be cancelled anywhere needs no such marks: so
 * that is what it says it is, once it has said that it may not be cancelled. */
static void rule_out_cancellation(void)
{
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
}

static unsigned listeners_each(const struct server *server)
{
    return server->listener_count / server->service.shard_count;
}

static void forget_listeners(
    struct server *server, const struct hcs_shard *shard)
{
    unsigned each = listeners_each(server);

    for (unsigned i = 0; i < each; i++) {
        server->listeners[shard->index * each + i] = -1;
    }
}

static void *loop_main(void *argument)
{
    struct loop_start start = *(struct loop_start *)argument;
    struct server *server = start.server;
    int table_error = 0;
    int rc;
    bool go;

    free(argument);
    rule_out_cancellation();
    if (server->config->private_fd_tables) {
        table_error = enter_private_table(server, start.shard);
    }
    rc = hcs_shard_open(start.shard);
    pthread_mutex_lock(&server->lock);
    if (table_error != 0) {
        server->table_error = table_error;
        server->shared++;
    }
    if (rc == 0) {
        server->opened++;
    } else {
        server->failed++;
        server->error = rc;
    }
    pthread_cond_broadcast(&server->changed);
    while (!server->go && server->failed == 0) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    go = server->go;
    pthread_mutex_unlock(&server->lock);
    if (rc == 0) {
        if (!go) { /* another one failed */
            hcs_shard_command(start.shard, HCS_COMMAND_CUT);
        }
        hcs_shard_run(start.shard);
        if (!server->config->private_fd_tables || table_error != 0) {
            /* They were main's too. Main looks after it has joined us. */
            forget_listeners(server, start.shard);
        }
    }
    (void)eventfd_write(server->loops_ended, 1);
    return NULL;
}

/* 0, or -errno. Those that were started run, or have been told to end. */
static int start_loops(struct server *server)
{
    int rc = 0;

    server->highest_fd = highest_fd(server);
    for (unsigned i = 0; rc == 0 && i < server->service.shard_count; i++) {
        struct loop_start *start = malloc(sizeof(*start));

        if (start == NULL) {
            rc = -ENOMEM;
            break;
        }
        *start = (struct loop_start){server, server->shards[i]};
        rc = -pthread_create(&server->threads[i], NULL, loop_main, start);
        if (rc != 0) {
            free(start);
        } else {
            server->threads_started++;
        }
    }
    pthread_mutex_lock(&server->lock);
    if (rc != 0) {
        server->failed++;
        server->error = rc;
        pthread_cond_broadcast(&server->changed);
    }
    while (
        server->opened < server->service.shard_count && server->failed == 0) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    if (server->failed == 0 && server->shared > 0 &&
        server->shared < server->service.shard_count) {
        /* Not forbidden, then, but short of something. Main's copies of the
         * listeners go by one rule for all loops. */
        server->failed++;
        server->error = server->table_error;
        pthread_cond_broadcast(&server->changed);
    }
    rc = server->failed > 0 ? server->error : 0;
    pthread_mutex_unlock(&server->lock);
    return rc;
}

static void let_loops_run(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->go = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static void join_loops(struct server *server)
{
    for (unsigned i = 0; i < server->threads_started; i++) {
        pthread_join(server->threads[i], NULL);
    }
    server->threads_started = 0;
}

static void command_all(struct server *server, enum hcs_command command)
{
    for (unsigned i = 0; i < server->service.shard_count; i++) {
        hcs_shard_command(server->shards[i], command);
    }
}

/* They wait, or will: they end instead of running. */
static void call_off_loops(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->failed++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* --- Opening the handlers. */

static void *opening_main(void *argument)
{
    struct server *server = argument;
    int rc = hcs_router_open(hcs_service_router(&server->service));

    if (rc == 0) {
        rc = hcs_pool_start(server->service.pool);
    }
    server->opening.rc = rc;
    (void)eventfd_write(server->opening.ended, 1);
    return NULL;
}

/* 0, or -errno. After the loops have their tables, so that these hold nothing
 * of what handlers open: else the end of a pipe would never be seen. */
static int start_opening(struct server *server)
{
    int rc =
        -pthread_create(&server->opening.thread, NULL, opening_main, server);

    server->opening.started = rc == 0;
    return rc;
}

/* Waits so long. True when it has ended: opening.rc counts. */
static bool await_opening(struct server *server, unsigned wait_ms)
{
    struct pollfd end = {.fd = server->opening.ended, .events = POLLIN};
    uint64_t until_ms = hcs_clock_ms() + wait_ms;

    if (!server->opening.started || server->opening.joined) {
        return true;
    }
    /* EINTR, or no memory for a moment. */
    while (poll(&end, 1, (int)wait_ms) < 0 && wait_ms > 0) {
        uint64_t now_ms = hcs_clock_ms();

        wait_ms = now_ms < until_ms ? (unsigned)(until_ms - now_ms) : 0;
    }
    if ((end.revents & POLLIN) == 0) {
        return false;
    }
    pthread_join(server->opening.thread, NULL);
    server->opening.joined = true;
    return true;
}

/* 0, or an exit status with what went wrong said. */
static int conclude_opening(struct server *server)
{
    const struct hcs_config *config = server->config;
    char error[ERROR_LENGTH];
    int rc = server->opening.rc;

    if (rc == 0) {
        /* [service.is_open] release. */
        atomic_store_explicit(
            &server->service.is_open, true, memory_order_release);
        return 0;
    }
    if (hcs_router_fault(hcs_service_router(&server->service)) != NULL) {
        say_fault(
            hcs_service_router(&server->service), config, error, sizeof(error));
        return fail(EX_CONFIG, "%s", error);
    }
    return fail(EX_OSERR, "WORKERS=%u: cannot start: %s", config->workers,
        strerror(-rc));
}

/* --- Figures, once a second. */

/* False when the kernel does not tell. */
static bool read_memory(
    const struct server *server, size_t *virtual_bytes, size_t *resident_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char text[128];
    ssize_t n = pread(server->statm, text, sizeof(text) - 1, 0);
    unsigned long long virtual_pages;
    unsigned long long resident_pages;

    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    if (sscanf(text, "%llu %llu", &virtual_pages, &resident_pages) != 2) {
        return false;
    }
    *virtual_bytes = (size_t)virtual_pages * page;
    *resident_bytes = (size_t)resident_pages * page;
    return true;
}

/* For the budget, on whichever thread takes from it. A trim takes milliseconds
 * at 64 MiB and tenths of a second at 1 GiB, and keeps malloc's lock: better
 * than a refusal, but not for each of a flood. */
static void look_for_budget(void *context, bool refusing)
{
    struct server *server = context;
    size_t virtual_bytes;
    size_t resident_bytes;

    if (!read_memory(server, &virtual_bytes, &resident_bytes)) {
        return;
    }
    if (hcs_budget_correct(&server->budget, resident_bytes) >
            server->budget.baseline + TRIM_EXCESS &&
        refusing) {
        uint64_t now_ms = hcs_clock_ms();
        uint64_t last_ms =
            atomic_load_explicit(&server->hurried_ms, memory_order_relaxed);

        if (now_ms >= last_ms + TRIM_HURRY_MS &&
            atomic_compare_exchange_strong_explicit(&server->hurried_ms,
                &last_ms, now_ms, memory_order_relaxed, memory_order_relaxed)) {
            malloc_trim(0);
            atomic_store_explicit(
                &server->hurried_ms, hcs_clock_ms(), memory_order_relaxed);
            if (read_memory(server, &virtual_bytes, &resident_bytes)) {
                (void)hcs_budget_correct(&server->budget, resident_bytes);
            }
        }
    }
}

static void look_at_memory(struct server *server)
{
    struct hcs_pulse *pulse = &server->service.pulse;
    size_t virtual_bytes;
    size_t resident_bytes;
    size_t overhead;

    if (!read_memory(server, &virtual_bytes, &resident_bytes)) {
        return;
    }
    atomic_store_explicit(
        &pulse->virtual_bytes, virtual_bytes, memory_order_relaxed);
    atomic_store_explicit(
        &pulse->resident_bytes, resident_bytes, memory_order_relaxed);
    overhead = hcs_budget_correct(&server->budget, resident_bytes);
    /* Freed blocks that malloc keeps go back to the kernel; seldom, since
     * others who want memory wait for it. */
    if (overhead > server->budget.baseline + TRIM_EXCESS &&
        server->ticks >= server->trimmed_tick + TRIM_TICKS) {
        server->trimmed_tick = server->ticks;
        malloc_trim(0);
    }
}

/* Handlers have threads of their own, and only the kernel knows how many. */
static void count_threads(struct server *server)
{
    enum { NOT_THREADS = 2 }; /* links to a folder: its own and its parent's */
    struct stat tasks;

    if (stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > NOT_THREADS) {
        atomic_store_explicit(&server->service.pulse.threads,
            (uint64_t)tasks.st_nlink - NOT_THREADS, memory_order_relaxed);
    }
}

static uint64_t process_cpu_ms(void)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * 1000 + (uint64_t)at.tv_nsec / 1000000;
}

static void look_at_rates(struct server *server)
{
    struct hcs_pulse *pulse = &server->service.pulse;
    uint64_t now = server->ticks % PAST_TICKS;
    uint64_t span =
        server->ticks < PAST_TICKS - 1 ? server->ticks : PAST_TICKS - 1;
    uint64_t then = (server->ticks - span) % PAST_TICKS;
    uint64_t before = (server->ticks + PAST_TICKS - 1) % PAST_TICKS;

    server->past_requests[now] = hcs_service_requests(&server->service);
    server->past_jobs[now] = hcs_service_jobs_ended(&server->service);
    if (span == 0) {
        return;
    }
    atomic_store_explicit(&pulse->requests_10s_milli,
        (server->past_requests[now] - server->past_requests[then]) * 1000 /
            span,
        memory_order_relaxed);
    hcs_gate_set_drain_rate(&server->service.gate,
        server->past_jobs[now] - server->past_jobs[before]);
}

static void tell_drain(struct server *server)
{
    char status[80];

    snprintf(status, sizeof(status), "Draining: %u connections left",
        hcs_gate_connections(&server->service.gate));
    hcs_notify_status(&server->notify, status);
    hcs_notify_extend_timeout(&server->notify, EXTEND_MS * 1000ULL);
}

static void tick(struct server *server)
{
    look_at_rates(server);
    look_at_memory(server);
    count_threads(server);
    atomic_store_explicit(
        &server->service.pulse.cpu_ms, process_cpu_ms(), memory_order_relaxed);
    if (server->phase != SERVING) {
        tell_drain(server);
    } else if (!hcs_service_is_open(&server->service)) {
        hcs_notify_extend_timeout(&server->notify, EXTEND_MS * 1000ULL);
    }
    server->ticks++;
}

/* --- The end. */

/* Main's copies. In a shared table they are the loops' own. */
static void close_listeners(struct server *server)
{
    if (server->go && !server->service.private_tables) {
        return;
    }
    for (unsigned i = 0; i < server->listener_count; i++) {
        if (server->listeners[i] >= 0) {
            close(server->listeners[i]);
            server->listeners[i] = -1;
        }
    }
}

/* Of our own listeners. Who handed others over to us goes on with them: what
 * comes from now on waits there for our successor. */
static void drop_new_connections(struct server *server)
{
    if (server->origin != HCS_LISTENER_OWN) {
        return;
    }
    for (unsigned i = 0; i < server->listener_count; i++) {
        int rc = hcs_listener_drop_new(server->listeners[i]);

        if (rc != 0) {
            hcs_log_print(server->log, HCS_LOG_WARN,
                "connections that arrive now may be reset: %s", strerror(-rc));
        }
    }
}

static void start_draining(struct server *server, uint64_t now_ms)
{
    server->phase = DRAINING;
    server->phase_end_ms = now_ms + server->config->shutdown_timeout_ms;
    drop_new_connections(server);
    /* First main's copies, so that each loop's own is the last, closed right
     * after it found nothing more to accept. */
    close_listeners(server);
    command_all(server, HCS_COMMAND_DRAIN);
}

static void cut(struct server *server)
{
    server->phase = CUT;
    server->phase_end_ms = UINT64_MAX; /* the loops bound it */
    close_listeners(server);
    command_all(server, HCS_COMMAND_CUT);
}

static void stop_requested(struct server *server, uint64_t now_ms)
{
    switch (server->phase) {
    case SERVING:
        atomic_store_explicit(
            &server->service.draining, true, memory_order_relaxed);
        hcs_log_print(server->log, HCS_LOG_INFO,
            "stopping: %u connections, %zu jobs waiting",
            hcs_gate_connections(&server->service.gate),
            hcs_pool_depth(server->service.pool));
        hcs_notify_stopping(&server->notify, "Draining");
        hcs_notify_extend_timeout(&server->notify, EXTEND_MS * 1000ULL);
        if (server->config->drain_delay_ms > 0) {
            server->phase = DELAYING;
            server->phase_end_ms = now_ms + server->config->drain_delay_ms;
        } else {
            start_draining(server, now_ms);
        }
        return;
    case DELAYING:
    case DRAINING:
        hcs_log_print(
            server->log, HCS_LOG_WARN, "second signal: ending without waiting");
        cut(server);
        return;
    case CUT:
        return;
    }
}

static void phase_ended(struct server *server, uint64_t now_ms)
{
    if (server->phase == DELAYING) {
        start_draining(server, now_ms);
    } else if (server->phase == DRAINING) {
        hcs_log_print(server->log, HCS_LOG_WARN,
            "SHUTDOWN_TIMEOUT passed: 503 for what still waits");
        cut(server);
    }
}

static void read_signals(struct server *server, uint64_t now_ms)
{
    struct signalfd_siginfo info;

    while (read(server->signals, &info, sizeof(info)) == sizeof(info)) {
        stop_requested(server, now_ms);
    }
}

static void read_ended(struct server *server)
{
    eventfd_t count;

    if (eventfd_read(server->loops_ended, &count) == 0) {
        server->ended += (unsigned)count;
    }
}

static void say_ready(struct server *server)
{
    char address[HCS_LISTENER_TEXT];
    char status[HCS_LISTENER_TEXT + 32];

    hcs_address_text(&server->address, address);
    hcs_log_print(server->log, HCS_LOG_INFO, "ready");
    (void)snprintf(status, sizeof(status), "Serving on %s", address);
    hcs_notify_ready(&server->notify, status);
}

/* The handlers are open, or cannot be: gives an exit status. */
static int read_opening(struct server *server)
{
    int rc;

    if (!await_opening(server, 0)) {
        return 0; /* poll(2) had no memory: it is looked at again */
    }
    rc = conclude_opening(server);
    if (rc != 0 && server->phase != CUT) {
        cut(server);
    } else if (rc == 0 && server->phase == SERVING) {
        say_ready(server); /* to whoever has not asked us to end meanwhile */
    }
    return rc;
}

/* Until every loop has ended. 0, or an exit status with what went wrong said. */
static int serve(struct server *server)
{
    int rc = 0;

    server->tick_ms = hcs_clock_ms() + TICK_MS;
    while (server->ended < server->threads_started) {
        struct pollfd fds[] = {
            {.fd = server->signals, .events = POLLIN},
            {.fd = server->loops_ended, .events = POLLIN},
            {.fd = server->opening.joined ? -1 : server->opening.ended,
                .events = POLLIN},
        };
        uint64_t now_ms = hcs_clock_ms();
        uint64_t next_ms = server->tick_ms;

        if (server->phase != SERVING && server->phase_end_ms < next_ms) {
            next_ms = server->phase_end_ms;
        }
        (void)poll(fds, 3, next_ms > now_ms ? (int)(next_ms - now_ms) : 0);
        now_ms = hcs_clock_ms();
        if ((fds[0].revents & POLLIN) != 0) {
            read_signals(server, now_ms);
        }
        if ((fds[1].revents & POLLIN) != 0) {
            read_ended(server);
        }
        if ((fds[2].revents & POLLIN) != 0) {
            rc = read_opening(server);
        }
        if (now_ms >= server->tick_ms) {
            tick(server);
            server->tick_ms = now_ms + TICK_MS;
        }
        if (server->phase != SERVING && now_ms >= server->phase_end_ms) {
            phase_ended(server, now_ms);
        }
    }
    return rc;
}

/* --- The beginning. */

/* Soft to hard: there is no reason to have less. Gives the limit. */
static uint64_t raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 1024;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {limit.rlim_max, limit.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            limit = raised;
        }
    }
    return limit.rlim_cur;
}

static int block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    /* In main before any thread starts: all inherit it. */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    signal(SIGPIPE, SIG_IGN); /* standard error may be a pipe that closed */
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void copy_limits(
    struct hcs_limits *limits, const struct hcs_config *config)
{
    *limits = (struct hcs_limits){
        .read_timeout_ms = config->read_timeout_ms,
        .min_upload_rate = config->min_upload_rate,
        .write_timeout_ms = config->write_timeout_ms,
        .idle_timeout_ms = config->idle_timeout_ms,
        .drain_idle_ms = config->drain_idle_ms,
        .queue_timeout_ms = config->queue_timeout_ms,
        .max_header_bytes = config->max_header_bytes,
        .max_body_bytes = config->max_body_bytes,
        .half_close = config->half_close,
    };
}

static int open_descriptors(struct server *server)
{
    server->signals = block_signals();
    if (server->signals < 0) {
        return fail(EX_OSERR, "signalfd: %s", strerror(errno));
    }
    server->loops_ended = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->loops_ended < 0) {
        return fail(EX_OSERR, "eventfd: %s", strerror(errno));
    }
    server->opening.ended = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->opening.ended < 0) {
        return fail(EX_OSERR, "eventfd: %s", strerror(errno));
    }
    server->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    return 0;
}

static int open_own_listeners(struct server *server)
{
    const struct hcs_config *config = server->config;
    unsigned loops = server->service.shard_count;
    char text[HCS_LISTENER_TEXT];
    bool v4_only;
    int rc = hcs_address_make(
        &server->address, config->address, config->port, &v4_only);

    if (rc == 0) {
        rc = hcs_listener_open(&server->address, server->listeners, loops);
    }
    if (rc == -EADDRINUSE) {
        return fail(EX_UNAVAILABLE,
            "PORT=%u: already in use; end who uses it, or choose another port",
            config->port);
    }
    if (rc == -EACCES) {
        return fail(EX_NOPERM,
            "PORT=%u: not permitted; ports below 1024 need "
            "CAP_NET_BIND_SERVICE",
            config->port);
    }
    if (rc != 0) {
        hcs_address_text(&server->address, text);
        return fail(
            EX_UNAVAILABLE, "cannot listen on %s: %s", text, strerror(-rc));
    }
    if (v4_only) {
        hcs_log_print(
            server->log, HCS_LOG_INFO, "no IPv6 here: listening on IPv4 alone");
    }
    return 0;
}

/* --- Listeners of a service manager. */

/* NULL: not for what it is. */
static const char *why_unfit(int rc)
{
    switch (rc) {
    case -ENOTSOCK:
        return "is not a socket";
    case -EAFNOSUPPORT:
        return "is neither IPv4 nor IPv6";
    case -EPROTOTYPE:
        return "is not TCP";
    case -EINVAL:
        return "does not listen";
    default:
        return NULL;
    }
}

static int refuse_inherited(const struct server *server, int fd, int rc)
{
    const char *why = why_unfit(rc);

    if (why == NULL) {
        return fail(EX_OSERR, "LISTEN_FDS=%u: descriptor %d: %s",
            server->inherited, fd, strerror(-rc));
    }
    return fail(EX_CONFIG,
        "LISTEN_FDS=%u: descriptor %d %s; allowed: TCP sockets that listen, "
        "IPv4 or IPv6 (ListenStream=, Accept=no)",
        server->inherited, fd, why);
}

/* alike: all have one address. */
static int adopt_all(struct server *server, bool *alike)
{
    *alike = true;
    for (unsigned i = 0; i < server->inherited; i++) {
        int fd = server->listeners[i];
        struct hcs_address address;
        char text[HCS_LISTENER_TEXT];
        int rc = hcs_listener_adopt(fd, &address);

        if (rc != 0) {
            return refuse_inherited(server, fd, rc);
        }
        if (i == 0) {
            server->address = address;
        }
        *alike = *alike && hcs_address_equal(&address, &server->address);
        hcs_address_text(&address, text);
        hcs_log_write(server->log, HCS_LOG_INFO, "inherited",
            (struct hcs_log_field[]){
                {.name = "listener", .text = text},
                {.name = "fd", .number = (uint64_t)fd},
            },
            2);
    }
    return 0;
}

/* Each loop its own copies, as it has its own listeners otherwise: so it can
 * close them without asking, in a table of its own or in that of all. */
static int share_listeners(struct server *server)
{
    unsigned each = server->inherited;
    unsigned count = each * server->service.shard_count;
    int *more = realloc(server->listeners, count * sizeof(*more));

    if (more == NULL) {
        return fail(EX_OSERR, "out of memory");
    }
    server->listeners = more;
    while (server->listener_count < count) {
        int fd = fcntl(more[server->listener_count % each], F_DUPFD_CLOEXEC, 0);

        if (fd < 0) {
            return fail(EX_OSERR,
                "LISTEN_FDS=%u: cannot make a copy for each of %u loops: %s",
                each, server->service.shard_count, strerror(errno));
        }
        more[server->listener_count++] = fd;
    }
    return 0;
}

/* Where all have one address (SO_REUSEPORT), the kernel spreads connections
 * over them, so each loop has its own, if there are as many for each. Else all
 * loops wait at all of them: there may be much to do at one and little at
 * another, and every loop has to have its share of that. */
static int adopt_listeners(struct server *server)
{
    unsigned loops = server->service.shard_count;
    bool alike;
    int rc = adopt_all(server, &alike);

    if (rc != 0) {
        return rc;
    }
    if (loops == 1 || (alike && server->inherited % loops == 0)) {
        server->origin = HCS_LISTENER_INHERITED;
        return 0;
    }
    server->origin = HCS_LISTENER_SHARED;
    return share_listeners(server);
}

static int open_listeners(struct server *server)
{
    return server->inherited > 0 ? adopt_listeners(server)
                                 : open_own_listeners(server);
}

static int make_shards(struct server *server)
{
    unsigned each = listeners_each(server);

    for (unsigned i = 0; i < server->service.shard_count; i++) {
        server->shards[i] = hcs_shard_create(&server->service, i,
            &server->listeners[i * each], each, server->origin);
        if (server->shards[i] == NULL) {
            return fail(EX_OSERR, "no memory or descriptor for loop %u", i);
        }
    }
    server->service.shards = server->shards;
    return 0;
}

static void warn_about_limits(struct server *server)
{
    const struct hcs_config *config = server->config;
    uint64_t tables =
        server->service.private_tables ? server->service.shard_count : 1;
    uint64_t reachable = server->service.max_fds * tables;

    if (server->table_error != 0) {
        hcs_log_print(server->log, HCS_LOG_WARN,
            "descriptor tables cannot be private here (%s): all loops share "
            "one",
            strerror(-server->table_error));
    }
    if (config->max_connections > reachable) {
        hcs_log_print(server->log, HCS_LOG_WARN,
            "MAX_CONNECTIONS=%u cannot be reached: %llu descriptors in each "
            "of %llu tables; raise the limit (LimitNOFILE, ulimit -n) or LOOPS",
            config->max_connections,
            (unsigned long long)server->service.max_fds,
            (unsigned long long)tables);
    }
}

static void say_listening(struct server *server)
{
    const struct hcs_config *config = server->config;
    char address[HCS_LISTENER_TEXT];
    struct hcs_log_field fields[] = {
        {.name = "version", .text = server->service.version},
        {.name = "address", .text = address},
        {.name = "inherited", .number = server->inherited},
        {.name = "loops", .number = config->loops},
        {.name = "workers", .number = config->workers},
        {.name = "queue_size", .number = config->queue_size},
        {.name = "max_connections", .number = config->max_connections},
        {.name = "max_header_bytes", .number = config->max_header_bytes},
        {.name = "max_body_bytes", .number = config->max_body_bytes},
        {.name = "memory_budget_bytes", .number = config->memory_budget_bytes},
        {.name = "max_fds", .number = server->service.max_fds},
        {.name = "fd_tables",
            .text = server->service.private_tables ? "private" : "shared"},
    };

    hcs_address_text(&server->address, address);
    hcs_log_write(server->log, HCS_LOG_INFO, "listening", fields,
        sizeof(fields) / sizeof(fields[0]));
}

static unsigned count_main_fds(const struct server *server)
{
    /* standard ones, signalfd, two eventfds, statm, the log's pipe, its eventfd,
     * the notify socket, and for each loop its listeners and a doorbell when
     * the table is main's own; shared ones count with the loops. */
    unsigned own = 3 + 4 + 3 + (server->notify.fd >= 0 ? 1 : 0);
    unsigned loops =
        server->service.private_tables ? server->service.shard_count : 0;

    own += loops + loops * listeners_each(server);
    /* Without statm, neither we nor the private tables, which are counted with
     * it, have one. */
    return server->statm >= 0 ? own : own - 1 - loops;
}

/* While this is the only thread, and with the descriptor limit that we were
 * started with: programs get that one. */
static int start_spawner(struct server *server)
{
    const struct hcs_config *config = server->config;
    bool needed = false;
    int rc = 0;

    for (size_t i = 0; i < config->routes.count; i++) {
        needed = needed ||
                 strcmp(config->routes.entries[i].kind, hcs_exec.name) == 0;
    }
    if (needed) {
        rc = hcs_spawner_start(&server->spawner);
    }
    return rc == 0 ? 0
                   : fail(EX_OSERR, "cannot start the spawner for exec: %s",
                         strerror(-rc));
}

/* 0, or an exit status with what went wrong said. */
static int begin(struct server *server, const char *notify_socket)
{
    const struct hcs_config *config = server->config;
    struct hcs_service *service = &server->service;
    struct hcs_pool *pool;
    char error[ERROR_LENGTH];
    int rc;

    rc = start_spawner(server);
    if (rc != 0) {
        return rc;
    }
    service->max_fds = raise_fd_limit();
    rc = open_descriptors(server);
    if (rc != 0) {
        return rc;
    }
    rc = hcs_log_open(
        &server->log, STDERR_FILENO, config->log_level, config->log_format);
    if (rc != 0) {
        return fail(EX_OSERR, "log: %s", strerror(-rc));
    }
    service->log = server->log;
    if (server->statm < 0) {
        hcs_log_print(server->log, HCS_LOG_WARN,
            "cannot read /proc/self/statm: MEMORY_BUDGET counts what was asked "
            "for, not what is resident");
    }
    rc = hcs_notify_open(&server->notify, notify_socket);
    if (rc != 0) {
        hcs_log_print(
            server->log, HCS_LOG_WARN, "NOTIFY_SOCKET: %s", strerror(-rc));
    }
    service->deferrals =
        hcs_deferrals_create(hcs_budget_take, hcs_budget_give, &server->budget);
    if (service->deferrals == NULL) {
        return fail(EX_OSERR, "out of memory");
    }
    server->host = (struct hcs_host){
        .log = server->log,
        .budget = &server->budget,
        .deferrals = service->deferrals,
        .calls = &server->calls,
        .workers = config->workers,
        .job_timeout_ms = config->job_timeout_ms,
    };
    rc = make_router(&service->sites[HCS_SITE_MAIN].router, &server->host,
        server->spawner, config, error, sizeof(error));
    if (rc != 0) {
        return fail(rc == -ENOMEM ? EX_OSERR : EX_CONFIG, "%s", error);
    }
    rc = open_listeners(server);
    if (rc != 0) {
        return rc;
    }
    server->jobs =
        (struct hcs_job_context){&server->budget, hcs_service_router(service)};
    pool = hcs_pool_create(config->workers, config->queue_size,
        &(struct hcs_pool_work){
            .context = &server->jobs,
            .open = HCS_JOB_WORK.open,
            .run = HCS_JOB_WORK.run,
            .returned = HCS_JOB_WORK.returned,
            .close = HCS_JOB_WORK.close,
        });
    if (pool == NULL) {
        return fail(EX_OSERR, "no memory for the queue");
    }
    hcs_service_set_pool(service, pool);
    rc = make_shards(server);
    if (rc != 0) {
        return rc;
    }
    rc = start_loops(server);
    if (rc != 0) {
        return fail(EX_OSERR, "LOOPS=%u: cannot start: %s", config->loops,
            strerror(-rc));
    }
    rc = start_opening(server);
    if (rc != 0) {
        rc = fail(EX_OSERR, "cannot start a thread: %s", strerror(-rc));
    } else if (await_opening(server, OPEN_GRACE_MS)) {
        /* What fails at once takes no connection from who starts next. */
        rc = conclude_opening(server);
    }
    if (rc != 0) {
        call_off_loops(server);
        return rc;
    }
    service->private_tables =
        config->private_fd_tables && server->table_error == 0;
    service->main_fds = count_main_fds(server);
    warn_about_limits(server);
    return 0;
}

/* Calls the opening off and waits for its thread. False when that thread, or a
 * worker that it started, is stuck in one call of a handler. */
static bool stop_opening(struct server *server)
{
    struct hcs_handler_calls *calls = &server->calls;
    unsigned before = atomic_load(&calls->ended);

    atomic_store(&calls->called_off, true);
    while (!await_opening(server, STUCK_OPEN_MS)) {
        unsigned ended = atomic_load(&calls->ended);

        if (atomic_load(&calls->inside) > 0 && ended == before) {
            return false;
        }
        before = ended;
    }
    return true;
}

/* Ends the workers. False when one is stuck in a job, or in a handler's
 * close_worker. Workers that are merely slow to end are waited for: there may be
 * many, and few processors. */
static bool end_workers(struct server *server)
{
    struct hcs_pool *pool = server->service.pool;
    struct hcs_handler_calls *calls = &server->calls;
    unsigned busy_before = hcs_pool_busy(pool);
    unsigned ended_before = atomic_load(&calls->ended);

    while (!hcs_pool_stop(pool, STUCK_JOB_MS)) {
        unsigned busy = hcs_pool_busy(pool);
        unsigned ended = atomic_load(&calls->ended);
        bool inside = busy > 0 || atomic_load(&calls->inside) > 0;

        if (inside && busy == busy_before && ended == ended_before) {
            return false;
        }
        busy_before = busy;
        ended_before = ended;
    }
    return true;
}

/* Waits for jobs that still run though nobody waits for them: in a drain as
 * long as it may take, or until a second signal. False when a worker is stuck
 * in a handler. */
static bool stop_pool(struct server *server)
{
    uint64_t now_ms = hcs_clock_ms();

    while (server->phase == DRAINING && now_ms < server->phase_end_ms) {
        uint64_t left_ms = server->phase_end_ms - now_ms;

        if (hcs_pool_stop(server->service.pool,
                left_ms < STUCK_JOB_MS ? (unsigned)left_ms : STUCK_JOB_MS)) {
            return true;
        }
        now_ms = hcs_clock_ms();
        read_signals(server, now_ms);
        if (now_ms >= server->tick_ms) {
            tick(server);
            server->tick_ms = now_ms + TICK_MS;
        }
    }
    return end_workers(server);
}

/* False when a thread is stuck in a handler. */
static bool stop_handling(struct server *server)
{
    return stop_opening(server) &&
           (server->service.pool == NULL || stop_pool(server));
}

/* Frees all; false when a thread is stuck in a handler, so that what it uses
 * must stay until the process is gone. */
static bool finish(struct server *server)
{
    struct hcs_service *service = &server->service;
    bool stuck;

    join_loops(server);
    stuck = !stop_handling(server);
    if (!stuck) {
        /* First the handlers: their threads may still send results home. */
        if (hcs_service_router(service) != NULL) {
            hcs_router_close(hcs_service_router(service));
        }
        for (unsigned i = 0; i < service->shard_count; i++) {
            hcs_shard_destroy(server->shards[i]);
        }
        hcs_pool_destroy(service->pool);
        hcs_router_destroy(hcs_service_router(service));
        hcs_deferrals_destroy(service->deferrals);
    }
    close_listeners(server);
    return !stuck;
}

static void fini(struct server *server)
{
    hcs_spawner_stop(server->spawner);
    hcs_notify_close(&server->notify);
    hcs_log_close(server->log, LOG_FLUSH_MS);
    for (size_t i = 0; i < 4; i++) {
        int fd = (int[]){server->signals, server->loops_ended,
            server->opening.ended, server->statm}[i];

        if (fd >= 0) {
            close(fd);
        }
    }
    pthread_mutex_destroy(&server->service.accept_lock);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
    free(server->listeners);
    free(server->shards);
    free(server->threads);
}

/* A part of MEMORY_BUDGET, within bounds. */
static uint64_t kept_back_bytes(uint64_t budget_bytes)
{
    uint64_t part = budget_bytes / KEPT_BACK_PART;

    if (part < KEPT_BACK_MIN) {
        return KEPT_BACK_MIN;
    }
    return part < KEPT_BACK_MAX ? part : KEPT_BACK_MAX;
}

int hcs_server_run(const struct hcs_config *config, const char *version,
    const char *notify_socket, unsigned inherited)
{
    struct server server = {
        .config = config,
        .inherited = inherited,
        .notify.fd = -1,
        .signals = -1,
        .loops_ended = -1,
        .opening.ended = -1,
        .statm = -1,
    };
    unsigned loops = config->loops;
    int rc;

    /* Fixed, or malloc raises them as it goes, and large bodies that were freed
     * stay resident. */
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    mallopt(M_TRIM_THRESHOLD, MMAP_THRESHOLD);
    hcs_job_install_allocator();
    hcs_budget_init(&server.budget, config->memory_budget_bytes);
    hcs_budget_keep_back(
        &server.budget, kept_back_bytes(config->memory_budget_bytes));
    pthread_mutex_init(&server.lock, NULL);
    pthread_mutex_init(&server.service.accept_lock, NULL);
    pthread_cond_init(&server.changed, NULL);
    copy_limits(&server.service.limits, config);
    hcs_gate_init(&server.service.gate, config->max_connections);
    server.service.budget = &server.budget;
    server.service.shard_count = loops;
    server.service.version = version;
    server.service.started_ns = hcs_clock_ns();
    server.service.started_at = (double)hcs_clock_realtime_ms() / 1e3;
    atomic_store(&server.service.pulse.threads, 2 + loops + config->workers);
    server.listener_count = inherited > 0 ? inherited : loops;
    server.listeners =
        malloc(server.listener_count * sizeof(*server.listeners));
    server.shards = calloc(loops, sizeof(struct hcs_shard *));
    server.threads = calloc(loops, sizeof(*server.threads));
    if (server.listeners == NULL || server.shards == NULL ||
        server.threads == NULL) {
        fini(&server);
        return fail(EX_OSERR, "out of memory");
    }
    for (unsigned i = 0; i < server.listener_count; i++) {
        server.listeners[i] = inherited > 0 ? HCS_INHERITED_FIRST + (int)i : -1;
    }
    rc = begin(&server, notify_socket);
    if (rc == 0) {
        tick(&server);
        hcs_budget_look_every(&server.budget, server.budget.kept_back / 2,
            look_for_budget, &server);
        say_listening(&server);
        if (hcs_service_is_open(&server.service)) {
            say_ready(&server);
        } else {
            hcs_notify_status(&server.notify, "Opening the handlers");
        }
        let_loops_run(&server);
        rc = serve(&server);
    }
    if (!finish(&server)) {
        hcs_log_print(server.log, HCS_LOG_WARN,
            "a handler did not return in time; ending without it");
        hcs_log_close(server.log, LOG_FLUSH_MS);
        _exit(rc);
    }
    if (rc == 0) {
        hcs_log_print(server.log, HCS_LOG_INFO, "stopped");
    }
    fini(&server);
    return rc;
}
