#include "app/server.h"

#include "app/fail.h"
#include "app/kinds.h"
#include "app/listeners.h"
#include "app/loops.h"
#include "app/mounts.h"
#include "app/opening.h"
#include "app/pid_file.h"
#include "app/sampler.h"
#include "app/systemd.h"
#include "base/clock.h"
#include "base/log.h"
#include "guard/budget.h"
#include "job/tree.h"
#include "job/worker.h"
#include "sync/deferral.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    TICK_MS = 1000,
    LOG_FLUSH_MS = 2000,
    STEP_MS = 200,     /* while workers end: until main reads signals again */
    EXTEND_MS = 15000, /* a drain asks systemd for it, each second */
    MMAP_THRESHOLD = 128 * 1024,
    KEPT_BACK_PART = 32, /* of MEMORY_BUDGET: a 32nd, */
    KEPT_BACK_MIN = 1024 * 1024,
    KEPT_BACK_MAX = 64 * 1024 * 1024,
    ERROR_LENGTH = 1024,
    OPEN_GRACE_MS = 200, /* to open the handlers, before the loops run */
    KEPT_FDS = 2,
};

struct server {
    const struct hcs_config *config;
    struct hcs_service service;
    struct hcs_budget budget;
    struct hcs_kinds kinds;
    struct hcs_host host;
    struct hcs_job_context jobs;
    struct hcs_log *log;
    struct hcs_notify notify;
    struct pidfh *pid_file; /* NULL: none */
    struct hcs_listeners listeners;
    struct hcs_loops loops;
    struct hcs_opening opening;
    struct hcs_sampler sampler;
    int kept[KEPT_FDS]; /* descriptors that every loop uses */
    int signals;        /* signalfd */
    uint64_t phase_end_ms;
    uint64_t tick_ms; /* of the next tick */
};

static enum hcs_phase phase_of(const struct server *server)
{
    return hcs_service_phase(&server->service);
}

/* until_ms: when the phase ends by itself; UINT64_MAX: never. */
static void enter(
    struct server *server, enum hcs_phase phase, uint64_t until_ms)
{
    server->phase_end_ms = until_ms;
    atomic_store_explicit(
        &server->service.phase, (int)phase, memory_order_relaxed);
}

static unsigned connections(const struct server *server)
{
    return hcs_gate_connections(&server->service.gate);
}

/* --- Once a second. */

static void tell_drain(struct server *server)
{
    char status[80];

    (void)snprintf(status, sizeof(status), "Draining: %u connections left",
        connections(server));
    hcs_notify_status(&server->notify, status);
    hcs_notify_extend_timeout(&server->notify, EXTEND_MS * 1000ULL);
}

static void tick(struct server *server)
{
    hcs_sampler_tick(&server->sampler);
    if (phase_of(server) != HCS_PHASE_SERVING) {
        tell_drain(server);
    } else if (!hcs_service_is_open(&server->service)) {
        hcs_notify_extend_timeout(&server->notify, EXTEND_MS * 1000ULL);
    }
}

static void tick_if_due(struct server *server, uint64_t now_ms)
{
    if (now_ms >= server->tick_ms) {
        tick(server);
        server->tick_ms = now_ms + TICK_MS;
    }
}

/* --- Draining. */

/* Closes main's copies. With a shared table the copies belong to the loops,
 * once the loops run. */
static void close_listeners(struct server *server)
{
    if (!server->loops.go || server->service.private_tables) {
        hcs_listeners_close(&server->listeners);
    }
}

static void start_draining(struct server *server, uint64_t now_ms)
{
    enter(server, HCS_PHASE_DRAINING,
        now_ms + server->config->shutdown_timeout_ms);
    hcs_listeners_drop_new(&server->listeners, server->log);
    /* First main's copies, so that each loop's own copy is the last: the loop
     * closes it right after it found nothing more to accept. */
    close_listeners(server);
    hcs_loops_command(&server->loops, HCS_COMMAND_DRAIN);
}

static void cut(struct server *server)
{
    enter(server, HCS_PHASE_CUT, UINT64_MAX); /* the loops end it themselves */
    close_listeners(server);
    hcs_loops_command(&server->loops, HCS_COMMAND_CUT);
}

static void begin_stop(struct server *server, uint64_t now_ms)
{
    hcs_log_print(server->log, HCS_LOG_INFO,
        "stopping: %u connections, %zu jobs waiting", connections(server),
        hcs_pool_depth(server->service.pool));
    hcs_notify_stopping(&server->notify, "Draining");
    hcs_notify_extend_timeout(&server->notify, EXTEND_MS * 1000ULL);
    if (server->config->drain_delay_ms > 0) {
        enter(server, HCS_PHASE_DELAYING,
            now_ms + server->config->drain_delay_ms);
    } else {
        start_draining(server, now_ms);
    }
}

static void stop_requested(struct server *server, uint64_t now_ms)
{
    switch (phase_of(server)) {
    case HCS_PHASE_SERVING:
        begin_stop(server, now_ms);
        return;
    case HCS_PHASE_DELAYING:
    case HCS_PHASE_DRAINING:
        hcs_log_print(
            server->log, HCS_LOG_WARN, "second signal: ending without waiting");
        cut(server);
        return;
    case HCS_PHASE_CUT:
        return;
    }
}

static void end_phase_if_due(struct server *server, uint64_t now_ms)
{
    enum hcs_phase phase = phase_of(server);

    if (phase == HCS_PHASE_SERVING || now_ms < server->phase_end_ms) {
        return;
    }
    if (phase == HCS_PHASE_DELAYING) {
        start_draining(server, now_ms);
    } else if (phase == HCS_PHASE_DRAINING) {
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

/* --- Serving. */

static void say_ready(struct server *server)
{
    char address[HCS_LISTENER_TEXT];
    char status[HCS_LISTENER_TEXT + 32];

    hcs_address_text(&server->listeners.address, address);
    hcs_log_print(server->log, HCS_LOG_INFO, "ready");
    (void)snprintf(status, sizeof(status), "Serving on %s", address);
    hcs_notify_ready(&server->notify, status);
}

/* The opening has ended. 0; or, after a message, an exit status. */
static int conclude_opening(struct server *server)
{
    const struct hcs_router *router = hcs_service_router(&server->service);
    char error[ERROR_LENGTH];
    int rc = server->opening.rc;

    if (rc == 0) {
        /* [service.is_open] Release: loops that see it see the handlers
         * open. */
        atomic_store_explicit(
            &server->service.is_open, true, memory_order_release);
        return 0;
    }
    if (hcs_router_fault(router) != NULL) {
        hcs_mounts_say_fault(router, server->config, error, sizeof(error));
        return hcs_fail(EX_CONFIG, "%s", error);
    }
    return hcs_fail(EX_OSERR, "WORKERS=%u: cannot start: %s",
        server->config->workers, strerror(-rc));
}

/* 0; or, after a message, an exit status. */
static int read_opening(struct server *server)
{
    int rc;

    if (!hcs_opening_await(&server->opening, 0)) {
        return 0; /* poll(2) had no memory: main looks again */
    }
    rc = conclude_opening(server);
    if (rc != 0 && phase_of(server) != HCS_PHASE_CUT) {
        cut(server);
    } else if (rc == 0 && phase_of(server) == HCS_PHASE_SERVING) {
        say_ready(server); /* unless main was told to stop meanwhile */
    }
    return rc;
}

static int wait_ms(const struct server *server)
{
    uint64_t now_ms = hcs_clock_ms();
    uint64_t next_ms = server->tick_ms;

    if (phase_of(server) != HCS_PHASE_SERVING &&
        server->phase_end_ms < next_ms) {
        next_ms = server->phase_end_ms;
    }
    return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
}

/* Serves until every loop has ended. 0; or, after a message, an exit status. */
static int serve(struct server *server)
{
    bool ended = false;
    int rc = 0;

    server->tick_ms = hcs_clock_ms() + TICK_MS;
    while (!ended) {
        struct pollfd fds[] = {
            {.fd = server->signals, .events = POLLIN},
            {.fd = server->loops.ended_fd, .events = POLLIN},
            {.fd = server->opening.joined ? -1 : server->opening.ended_fd,
                .events = POLLIN},
        };
        uint64_t now_ms;

        (void)poll(fds, 3, wait_ms(server));
        now_ms = hcs_clock_ms();
        if ((fds[0].revents & POLLIN) != 0) {
            read_signals(server, now_ms);
        }
        if ((fds[1].revents & POLLIN) != 0) {
            ended = hcs_loops_have_ended(&server->loops);
        }
        if ((fds[2].revents & POLLIN) != 0) {
            rc = read_opening(server);
        }
        tick_if_due(server, now_ms);
        end_phase_if_due(server, now_ms);
    }
    return rc;
}

/* --- Starting. */

/* Raises the soft limit of descriptors to the hard one: there is no reason to
 * have less. Returns the limit. */
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
    /* In main before any thread starts: every thread inherits the mask. */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    signal(SIGPIPE, SIG_IGN); /* standard error may be a closed pipe */
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static struct hcs_limits limits_of(const struct hcs_config *config)
{
    return (struct hcs_limits){
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

/* Each of the following functions returns 0; or, after a message, an exit
 * status. */

/* Called while main is the only thread, and before the descriptor limit is
 * raised: the programs that exec starts get the limit that the daemon was
 * started with. */
static int prepare_kinds(struct server *server)
{
    const struct hcs_config *config = server->config;
    char error[ERROR_LENGTH];

    for (size_t i = 0; i < config->routes.count; i++) {
        if (hcs_kinds_prepare(&server->kinds, config->routes.entries[i].kind,
                error, sizeof(error)) != 0) {
            return hcs_fail(EX_OSERR, "%s", error);
        }
    }
    return 0;
}

static int open_descriptors(struct server *server)
{
    int rc;

    server->signals = block_signals();
    if (server->signals < 0) {
        return hcs_fail(EX_OSERR, "signalfd: %s", strerror(errno));
    }
    rc = hcs_loops_open(&server->loops);
    if (rc == 0) {
        rc = hcs_opening_open(&server->opening);
    }
    if (rc != 0) {
        return hcs_fail(EX_OSERR, "eventfd: %s", strerror(-rc));
    }
    hcs_sampler_open(&server->sampler, &server->service);
    return 0;
}

static int open_log(struct server *server, const char *notify_socket)
{
    const struct hcs_config *config = server->config;
    int rc = hcs_log_open(
        &server->log, STDERR_FILENO, config->log_level, config->log_format);

    if (rc != 0) {
        return hcs_fail(EX_OSERR, "log: %s", strerror(-rc));
    }
    server->service.log = server->log;
    if (server->sampler.statm < 0) {
        hcs_log_print(server->log, HCS_LOG_WARN,
            "cannot read /proc/self/statm: MEMORY_BUDGET counts what was asked "
            "for, not what is resident");
    }
    rc = hcs_notify_open(&server->notify, notify_socket);
    if (rc != 0) {
        hcs_log_print(
            server->log, HCS_LOG_WARN, "NOTIFY_SOCKET: %s", strerror(-rc));
    }
    return 0;
}

static int make_mounts(struct server *server)
{
    const struct hcs_config *config = server->config;
    struct hcs_service *service = &server->service;
    char error[ERROR_LENGTH];
    int rc;

    service->deferrals =
        hcs_deferrals_create(hcs_budget_take, hcs_budget_give, &server->budget);
    if (service->deferrals == NULL) {
        return hcs_fail(EX_OSERR, "out of memory");
    }
    server->host = (struct hcs_host){
        .log = server->log,
        .budget = &server->budget,
        .deferrals = service->deferrals,
        .calls = &server->opening.calls,
        .workers = config->workers,
        .job_timeout_ms = config->job_timeout_ms,
    };
    rc = hcs_mounts_make(&service->sites[HCS_SITE_MAIN].router, &server->host,
        &server->kinds, config, error, sizeof(error));
    return rc == 0
               ? 0
               : hcs_fail(rc == -ENOMEM ? EX_OSERR : EX_CONFIG, "%s", error);
}

static int make_pool(struct server *server)
{
    const struct hcs_config *config = server->config;
    struct hcs_service *service = &server->service;
    struct hcs_pool_work work = HCS_JOB_WORK;
    struct hcs_pool *pool;

    server->jobs =
        (struct hcs_job_context){&server->budget, hcs_service_router(service)};
    work.context = &server->jobs;
    pool = hcs_pool_create(config->workers, config->queue_size, &work);
    if (pool == NULL) {
        return hcs_fail(EX_OSERR, "no memory for the queue");
    }
    hcs_service_set_pool(service, pool);
    return 0;
}

static int start_loops(struct server *server)
{
    const struct hcs_config *config = server->config;
    size_t kept = 0;
    int rc;

    server->kept[kept++] = hcs_log_fd(server->log);
    if (server->sampler.statm >= 0) {
        server->kept[kept++] = server->sampler.statm;
    }
    rc = hcs_loops_start(&server->loops, config->private_fd_tables,
        server->kept, kept, server->opening.ended_fd);
    return rc == 0 ? 0
                   : hcs_fail(EX_OSERR, "LOOPS=%u: cannot start: %s",
                         config->loops, strerror(-rc));
}

static int start_opening(struct server *server)
{
    struct hcs_service *service = &server->service;
    int rc = hcs_opening_start(
        &server->opening, hcs_service_router(service), service->pool);

    if (rc != 0) {
        return hcs_fail(EX_OSERR, "cannot start a thread: %s", strerror(-rc));
    }
    /* A wrong setting shows within this time. Then the daemon accepts no
     * connection: it may be meant for the next process. */
    return hcs_opening_await(&server->opening, OPEN_GRACE_MS)
               ? conclude_opening(server)
               : 0;
}

static unsigned count_main_fds(const struct server *server)
{
    /* The three standard ones, signalfd, two eventfds, statm, the log's pipe
     * and its eventfd, the socket of notify, and the pid file. If main's table
     * is private, also the listeners and the doorbell of each loop. In a shared
     * table these are counted with the loops. */
    unsigned own = 3u + 4 + 3 + (server->notify.fd >= 0 ? 1 : 0) +
                   (server->pid_file != NULL ? 1 : 0);
    unsigned loops = server->service.private_tables ? server->loops.count : 0;

    own += loops + loops * hcs_listeners_each(&server->listeners);
    /* If there is no statm, main and the private tables have no descriptor of
     * it, but it was counted for all of them. */
    return server->sampler.statm >= 0 ? own : own - 1 - loops;
}

static void warn_about_limits(struct server *server)
{
    const struct hcs_config *config = server->config;
    const struct hcs_service *service = &server->service;
    uint64_t tables = service->private_tables ? server->loops.count : 1;

    if (server->loops.table_error != 0) {
        hcs_log_print(server->log, HCS_LOG_WARN,
            "descriptor tables cannot be private here (%s): all loops share "
            "one",
            strerror(-server->loops.table_error));
    }
    if (config->max_connections > service->max_fds * tables) {
        hcs_log_print(server->log, HCS_LOG_WARN,
            "MAX_CONNECTIONS=%u cannot be reached: %llu descriptors in each "
            "of %llu tables; raise the limit (LimitNOFILE, ulimit -n) or LOOPS",
            config->max_connections, (unsigned long long)service->max_fds,
            (unsigned long long)tables);
    }
}

/* 0: the loops wait for hcs_loops_run. Or, after a message, an exit status:
 * loops that were started end. */
static int begin(struct server *server, const char *notify_socket)
{
    struct hcs_service *service = &server->service;
    int rc = prepare_kinds(server);

    if (rc != 0) {
        return rc;
    }
    service->max_fds = raise_fd_limit();
    if ((rc = hcs_pid_file_open(&server->pid_file, server->config->pid_file)) !=
            0 ||
        (rc = open_descriptors(server)) != 0 ||
        (rc = open_log(server, notify_socket)) != 0 ||
        (rc = make_mounts(server)) != 0 ||
        (rc = hcs_listeners_open(
             &server->listeners, server->config, server->log)) != 0 ||
        (rc = make_pool(server)) != 0 ||
        (rc = hcs_loops_make(&server->loops, service, &server->listeners)) !=
            0 ||
        (rc = start_loops(server)) != 0) {
        return rc;
    }
    rc = start_opening(server);
    if (rc != 0) {
        hcs_loops_call_off(&server->loops);
        return rc;
    }
    service->private_tables = hcs_loops_are_private(&server->loops);
    service->main_fds = count_main_fds(server);
    warn_about_limits(server);
    return 0;
}

static void say_listening(struct server *server)
{
    const struct hcs_config *config = server->config;
    const struct hcs_service *service = &server->service;
    char address[HCS_LISTENER_TEXT];
    struct hcs_log_field fields[] = {
        {.name = "version", .text = service->version},
        {.name = "address", .text = address},
        {.name = "inherited", .number = server->listeners.inherited},
        {.name = "loops", .number = config->loops},
        {.name = "workers", .number = config->workers},
        {.name = "queue_size", .number = config->queue_size},
        {.name = "max_connections", .number = config->max_connections},
        {.name = "max_header_bytes", .number = config->max_header_bytes},
        {.name = "max_body_bytes", .number = config->max_body_bytes},
        {.name = "memory_budget_bytes", .number = config->memory_budget_bytes},
        {.name = "max_fds", .number = service->max_fds},
        {.name = "fd_tables",
            .text = service->private_tables ? "private" : "shared"},
    };

    hcs_address_text(&server->listeners.address, address);
    hcs_log_write(server->log, HCS_LOG_INFO, "listening", fields,
        sizeof(fields) / sizeof(fields[0]));
}

/* --- Ending. */

/* A job may still run although its client has gone. In a drain it may run until
 * the drain ends, or until a second signal. False: a worker is stuck in a
 * handler. */
static bool stop_workers(struct server *server)
{
    uint64_t now_ms = hcs_clock_ms();

    while (phase_of(server) == HCS_PHASE_DRAINING &&
           now_ms < server->phase_end_ms) {
        uint64_t left_ms = server->phase_end_ms - now_ms;

        if (hcs_pool_stop(server->service.pool,
                left_ms < STEP_MS ? (unsigned)left_ms : STEP_MS)) {
            return true;
        }
        now_ms = hcs_clock_ms();
        read_signals(server, now_ms);
        tick_if_due(server, now_ms);
    }
    return hcs_opening_end_workers(&server->opening);
}

/* Ends all threads and frees all. False: a thread is stuck in a handler, and
 * what it uses must stay until the process ends. */
static bool finish(struct server *server)
{
    struct hcs_service *service = &server->service;
    struct hcs_router *router = hcs_service_router(service);
    bool ended;

    hcs_loops_join(&server->loops);
    ended = hcs_opening_stop(&server->opening) &&
            (!server->opening.started || stop_workers(server));
    if (ended) {
        /* Handlers close first: until then their threads may send results
         * home. */
        if (router != NULL) {
            hcs_router_close(router);
        }
        hcs_loops_destroy(&server->loops);
        hcs_pool_destroy(service->pool);
        hcs_router_destroy(router);
        hcs_deferrals_destroy(service->deferrals);
    }
    close_listeners(server);
    return ended;
}

static void fini(struct server *server)
{
    hcs_kinds_finish(&server->kinds);
    hcs_pid_file_remove(server->pid_file);
    hcs_notify_close(&server->notify);
    hcs_log_close(server->log, LOG_FLUSH_MS);
    hcs_sampler_close(&server->sampler);
    hcs_opening_close(&server->opening);
    hcs_loops_fini(&server->loops);
    hcs_listeners_fini(&server->listeners);
    if (server->signals >= 0) {
        close(server->signals);
    }
    pthread_mutex_destroy(&server->service.accept_lock);
}

/* The part of MEMORY_BUDGET that is kept back: within bounds. */
static uint64_t kept_back_bytes(uint64_t budget_bytes)
{
    uint64_t part = budget_bytes / KEPT_BACK_PART;

    if (part < KEPT_BACK_MIN) {
        return KEPT_BACK_MIN;
    }
    return part < KEPT_BACK_MAX ? part : KEPT_BACK_MAX;
}

static void set_up_memory(struct server *server)
{
    const struct hcs_config *config = server->config;

    /* Fixed values. Otherwise malloc raises these thresholds while it runs, and
     * large bodies stay resident after they were freed. */
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    mallopt(M_TRIM_THRESHOLD, MMAP_THRESHOLD);
    hcs_tree_install_allocator();
    hcs_budget_init(&server->budget, config->memory_budget_bytes);
    hcs_budget_keep_back(
        &server->budget, kept_back_bytes(config->memory_budget_bytes));
}

static void set_up_service(struct server *server, const char *version)
{
    const struct hcs_config *config = server->config;
    struct hcs_service *service = &server->service;

    pthread_mutex_init(&service->accept_lock, NULL);
    service->limits = limits_of(config);
    hcs_gate_init(&service->gate, config->max_connections);
    service->budget = &server->budget;
    service->shard_count = config->loops;
    service->version = version;
    service->started_ns = hcs_clock_ns();
    service->started_at = (double)hcs_clock_realtime_ms() / 1e3;
    atomic_store(&service->pulse.threads, 2 + config->loops + config->workers);
}

/* Called after begin. Returns the exit status. */
static int run(struct server *server)
{
    tick(server);
    hcs_sampler_watch_budget(&server->sampler);
    say_listening(server);
    if (hcs_service_is_open(&server->service)) {
        say_ready(server);
    } else {
        hcs_notify_status(&server->notify, "Opening the handlers");
    }
    hcs_loops_run(&server->loops);
    return serve(server);
}

int hcs_server_run(const struct hcs_config *config, const char *version,
    const char *notify_socket, unsigned inherited)
{
    struct server server = {
        .config = config,
        .notify.fd = -1,
        .signals = -1,
        .opening.ended_fd = -1,
        .sampler.statm = -1,
    };
    bool has_listeners;
    bool has_loops;
    int rc;

    set_up_memory(&server);
    set_up_service(&server, version);
    has_listeners =
        hcs_listeners_init(&server.listeners, config->loops, inherited);
    has_loops = hcs_loops_init(&server.loops, config->loops);
    if (!has_listeners || !has_loops) {
        fini(&server);
        return hcs_fail(EX_OSERR, "out of memory");
    }
    rc = begin(&server, notify_socket);
    if (rc == 0) {
        rc = run(&server);
    }
    if (!finish(&server)) {
        hcs_log_print(server.log, HCS_LOG_WARN,
            "a handler did not return in time; ending without it");
        hcs_log_close(server.log, LOG_FLUSH_MS);
        hcs_pid_file_remove(server.pid_file);
        _exit(rc);
    }
    if (rc == 0) {
        hcs_log_print(server.log, HCS_LOG_INFO, "stopped");
    }
    fini(&server);
    return rc;
}
