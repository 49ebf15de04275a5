/*
 * hcsd-load - loads an HTTP/1.1 server, and accounts for every request.
 *
 * The parent forks as many clients as the limit of descriptors needs. It tells
 * them when a stage begins, adds up what they count, watches the server's
 * memory and CPU time meanwhile, and prints the result.
 */
#include "client.h"
#include "options.h"
#include "report.h"
#include "server.h"
#include "tally.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DESCRIPTORS_ASIDE = 32, /* of a process, beside its connections */
    /* A source address has 28,000 ports. The kernel first looks at the ports of
     * one parity, one after the other. When half of all ports are taken, a
     * connect costs milliseconds. */
    PORTS_USED = 10000,
    TICK_MS = 20,
    QUIET_SECONDS = 10, /* between progress lines when nothing happens */
};

static const uint64_t SECOND_NS = 1000000000;

struct load {
    const struct options *o;
    struct board *board;
    int *commands; /* the pipe to each child */
    pid_t *children;
    unsigned started;
    unsigned awaited; /* the stage that the children are to end next */
    int signals;
    int arrivals;   /* an eventfd: a child has done its stage */
    bool stopped;   /* by a signal, or standard input or the time has ended */
    bool told;      /* the children were told to stop */
    unsigned lines; /* that standard input has given */
    struct tally *now;  /* the sums, as of the last time they were made */
    struct tally *last; /* at the last progress line */
    struct tally *base; /* at the beginning of what is reported */
    uint64_t begun_ns;
    uint64_t base_ns;
    uint64_t look_ns;     /* when the children were last looked at, */
    uint64_t progress_ns; /* and when a progress line was last printed */
    struct usage usage_before;
    bool with_server;
    uint64_t most_private_dirty_bytes;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "hcsd-load: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE); /* the children see the end of their pipes */
}

static void *share_memory(size_t bytes)
{
    void *block = mmap(
        NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (block == MAP_FAILED) {
        die("shared memory");
    }
    return block;
}

static void *allocate(size_t count, size_t bytes)
{
    void *block = calloc(count, bytes);

    if (block == NULL) {
        die("memory");
    }
    return block;
}

static size_t board_bytes(const struct options *o)
{
    return sizeof(struct board) + o->processes * sizeof(struct share);
}

/* --- Numbers of processes and connections. */

static bool is_loopback(const struct options *o)
{
    const struct sockaddr_in *in = (const void *)&o->server;

    return o->server.ss_family == AF_INET &&
           ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static void choose_processes(struct options *o)
{
    struct rlimit limit;
    unsigned room;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        die("getrlimit");
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        die("setrlimit");
    }
    room = limit.rlim_max > (rlim_t)o->connections + DESCRIPTORS_ASIDE
               ? o->connections
               : (unsigned)limit.rlim_max - DESCRIPTORS_ASIDE;
    if (o->processes == 0) {
        o->processes = (o->connections + room - 1) / room;
    }
    if (o->processes > o->connections) {
        o->processes = o->connections;
    }
    if ((o->connections + o->processes - 1) / o->processes > room) {
        fprintf(stderr,
            "hcsd-load: a process may have %u connections (ulimit -Hn): "
            "%u of them need more processes than %u\n",
            room, o->connections, o->processes);
        exit(LOAD_USAGE);
    }
}

static void choose_sources(struct options *o)
{
    if (!is_loopback(o)) {
        if (o->sources > 0) {
            fprintf(stderr,
                "hcsd-load: --sources is for a server on 127.0.0.0/8\n");
            exit(LOAD_USAGE);
        }
        return;
    }
    if (o->sources == 0 && o->connections > PORTS_USED) {
        o->sources = (o->connections + PORTS_USED - 1) / PORTS_USED;
    }
}

/* --- Children. */

static void start_child(struct load *load, unsigned index, unsigned first)
{
    const struct options *o = load->o;
    struct part part = {
        .index = index,
        .first = first,
        .count = o->connections / o->processes +
                 (index < o->connections % o->processes ? 1 : 0),
    };
    int ends[2];
    pid_t pid;

    if (pipe(ends) != 0) {
        die("pipe");
    }
    pid = fork();
    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        /* This child has copies of the other children's pipes. If it kept them
         * open, those children would not see that the parent is gone. */
        for (unsigned i = 0; i < index; i++) {
            close(load->commands[i]);
        }
        close(ends[1]);
        close(load->signals);
        part.commands = ends[0];
        part.arrivals = load->arrivals;
        _exit(client_run(o, load->board, &part));
    }
    close(ends[0]);
    load->commands[index] = ends[1];
    load->children[index] = pid;
    load->started++;
}

static void start_children(struct load *load)
{
    const struct options *o = load->o;
    unsigned first = 0;

    for (unsigned i = 0; i < o->processes; i++) {
        start_child(load, i, first);
        first += o->connections / o->processes +
                 (i < o->connections % o->processes ? 1 : 0);
    }
}

static unsigned stage_of(const struct load *load, unsigned index)
{
    return atomic_load_explicit(
        &load->board->shares[index].stage, memory_order_acquire);
}

static void command(struct load *load, char what)
{
    for (unsigned i = 0; i < load->started; i++) {
        if (write(load->commands[i], &what, 1) != 1) {
            die("a client process ended early");
        }
    }
}

static void stop_children(struct load *load)
{
    char stop = COMMAND_STOP;

    if (!load->told) {
        load->told = true;
        for (unsigned i = 0; i < load->started; i++) {
            (void)!write(
                load->commands[i], &stop, 1); /* the child may have ended */
        }
    }
}

/* A child that ended without a command has said why, or was killed. */
static void look_for_deaths(const struct load *load)
{
    for (unsigned i = 0; i < load->started; i++) {
        siginfo_t info = {.si_pid = 0};

        if (waitid(P_PID, (id_t)load->children[i], &info,
                WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0 &&
            (!load->told || stage_of(load, i) < load->awaited)) {
            fputs("hcsd-load: a client process ended early\n", stderr);
            exit(EXIT_FAILURE);
        }
    }
}

static bool all_have_done(const struct load *load)
{
    for (unsigned i = 0; i < load->started; i++) {
        if (stage_of(load, i) < load->awaited) {
            return false;
        }
    }
    return true;
}

/* --- Sums. */

static void sum_up(struct load *load, struct tally *sum)
{
    static const struct tally none;

    memset(sum, 0, sizeof(*sum));
    for (unsigned i = 0; i < load->started; i++) {
        tally_sum(sum, &load->board->shares[i].tally, &none);
    }
}

static void look_at_server(struct load *load)
{
    struct usage usage;

    if (load->with_server && server_usage(load->o->pid, &usage) &&
        usage.private_dirty_bytes > load->most_private_dirty_bytes) {
        load->most_private_dirty_bytes = usage.private_dirty_bytes;
    }
}

/* Whether anything has changed since the last progress line. */
static bool moves(const struct load *load)
{
    bool same =
        tally_get(&load->now->due) == tally_get(&load->last->due) &&
        tally_get(&load->now->open_now) == tally_get(&load->last->open_now);

    for (int i = 0; i < OUTCOMES; i++) {
        same = same && tally_get(&load->now->outcomes[i]) ==
                           tally_get(&load->last->outcomes[i]);
    }
    return !same;
}

static void show_progress(struct load *load)
{
    uint64_t now_ns = load_clock_ns();
    struct tally *old = load->last;
    uint64_t since_ns = now_ns - load->progress_ns;

    if (now_ns < load->look_ns + SECOND_NS) {
        return;
    }
    load->look_ns = now_ns;
    look_at_server(load);
    if (load->o->quiet) {
        return;
    }
    sum_up(load, load->now);
    if (!moves(load) && since_ns < QUIET_SECONDS * SECOND_NS) {
        return;
    }
    report_progress(load->now, load->last,
        (double)(now_ns - load->begun_ns) / 1e9, (double)since_ns / 1e9);
    load->last = load->now;
    load->now = old;
    load->progress_ns = now_ns;
}

/* Reports what happened since the last report. False: a request failed or was
 * lost. */
static bool report(struct load *load)
{
    static struct tally since;
    uint64_t now_ns = load_clock_ns();
    struct report r = {
        .o = load->o,
        .tally = &since,
        .seconds = (double)(now_ns - load->base_ns) / 1e9,
        .before = load->usage_before,
        .after = load->usage_before,
    };
    bool good;

    look_at_server(load);
    r.with_server = load->with_server && server_usage(load->o->pid, &r.after);
    r.most_private_dirty_bytes = load->most_private_dirty_bytes;
    sum_up(load, load->now);
    memset(&since, 0, sizeof(since));
    tally_sum(&since, load->now, load->base);
    if (load->o->json) {
        if (!report_json(&r)) {
            die("report");
        }
    } else {
        report_text(&r);
    }
    good = report_is_good(&since);
    memcpy(load->base, load->now, sizeof(*load->base));
    load->base_ns = now_ns;
    load->usage_before.cpu_seconds = r.after.cpu_seconds;
    return good;
}

/* --- Waiting. */

/* Reads standard input. Its end stops the load. A line begins requests on held
 * connections; the next line ends them. */
static void take_input(struct load *load)
{
    char text[256];
    ssize_t n = read(STDIN_FILENO, text, sizeof(text));

    if (n == 0 || (n < 0 && errno != EINTR)) {
        load->stopped = true;
    }
    for (ssize_t i = 0; i < n; i++) {
        load->lines += text[i] == '\n';
    }
}

static void take_signal(struct load *load)
{
    struct signalfd_siginfo info;

    if (read(load->signals, &info, sizeof(info)) == sizeof(info)) {
        if (load->stopped) {
            fputs("hcsd-load: interrupted\n", stderr);
            exit(EXIT_FAILURE);
        }
        load->stopped = true;
    }
}

/* Waits for a short time. True when the time is over. */
static bool pass_time(struct load *load, bool until_eof)
{
    struct pollfd polled[] = {
        {.fd = load->signals, .events = POLLIN},
        {.fd = until_eof ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = load->arrivals, .events = POLLIN},
    };
    eventfd_t arrived;

    if (poll(polled, 3, TICK_MS) > 0) {
        if (polled[0].revents != 0) {
            take_signal(load);
        }
        if (polled[1].revents != 0) {
            take_input(load);
        }
        if (polled[2].revents != 0) {
            (void)eventfd_read(load->arrivals, &arrived);
        }
    }
    look_for_deaths(load);
    show_progress(load);
    return load->stopped;
}

/* Waits until every child has done its stage. Children that were told to stop
 * have done so soon. */
static void await_stage(struct load *load)
{
    while (!all_have_done(load)) {
        if (pass_time(load, false)) {
            stop_children(load);
        }
    }
}

/* Waits until the children have ended. A child that was told to stop first
 * counts what still arrives. */
static void await_ends(struct load *load)
{
    for (unsigned i = 0; i < load->started; i++) {
        siginfo_t info;

        while (waitid(P_PID, (id_t)load->children[i], &info,
                   WEXITED | WNOWAIT) != 0 &&
               errno == EINTR) {
        }
    }
}

static void start_stage(struct load *load)
{
    load->awaited++;
    atomic_store_explicit(
        &load->board->start_ns, load_clock_ns(), memory_order_release);
    command(load, COMMAND_GO);
}

/* Waits until standard input has given that many lines, or until the end. */
static void await_line(struct load *load, unsigned lines, uint64_t end_ns)
{
    while (!load->stopped && load->lines < lines && load_clock_ns() < end_ns) {
        (void)pass_time(load, load->o->until_eof);
    }
}

/* All connections are open and were answered. Now they stay open. */
static bool hold(struct load *load)
{
    const struct options *o = load->o;
    uint64_t end_ns =
        o->until_eof ? UINT64_MAX : load_clock_ns() + o->duration_ns;
    bool good = true;

    if (o->until_eof || o->held_rate > 0) {
        good = report(load);
    }
    if (o->held_rate > 0) {
        await_line(load, o->until_eof ? 1 : 0, end_ns);
        start_stage(load);
        await_line(load, 2, end_ns);
        if (!load->stopped) {
            command(load, COMMAND_GO);
        }
        await_stage(load);
    }
    await_line(load, UINT_MAX, end_ns);
    look_at_server(load);
    load->stopped = true;
    stop_children(load);
    await_ends(load);
    return good;
}

static bool run(struct load *load)
{
    const struct options *o = load->o;
    bool good = true;

    load->awaited = 1;
    await_stage(load);
    if (o->shape != SHAPE_HOLD && o->shape != SHAPE_CHURN) {
        struct usage usage;

        /* The next report leaves the opening out. */
        load->base_ns = load_clock_ns();
        if (load->with_server && server_usage(o->pid, &usage)) {
            load->usage_before.cpu_seconds = usage.cpu_seconds;
        }
    }
    for (unsigned i = 0; i < o->rounds && !load->stopped; i++) {
        start_stage(load);
        await_stage(load);
    }
    if (o->shape == SHAPE_HOLD && !load->stopped) {
        good = hold(load);
    }
    return report(load) && good;
}

static void init(struct load *load)
{
    const struct options *o = load->o;
    sigset_t ending;

    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigprocmask(SIG_BLOCK, &ending, NULL);
    signal(SIGPIPE, SIG_IGN);
    load->signals = signalfd(-1, &ending, SFD_CLOEXEC);
    load->arrivals = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (load->signals < 0 || load->arrivals < 0) {
        die("signalfd, eventfd");
    }
    load->board = share_memory(board_bytes(o));
    load->commands = allocate(o->processes, sizeof(*load->commands));
    load->children = allocate(o->processes, sizeof(*load->children));
    load->now = allocate(1, sizeof(*load->now));
    load->last = allocate(1, sizeof(*load->last));
    load->base = allocate(1, sizeof(*load->base));
    load->begun_ns = load_clock_ns();
    load->base_ns = load->look_ns = load->progress_ns = load->begun_ns;
}

static void fini(struct load *load)
{
    for (unsigned i = 0; i < load->started; i++) {
        close(load->commands[i]);
        (void)waitpid(load->children[i], NULL, 0);
    }
    munmap(load->board, board_bytes(load->o));
    free(load->commands);
    free(load->children);
    free(load->now);
    free(load->last);
    free(load->base);
    close(load->signals);
    close(load->arrivals);
}

int main(int argc, char **argv)
{
    struct options o = {
        .connections = 64,
        .rounds = 1,
        .in_flight = 512,
        .step_bytes = 16,
        .timeout_ns = 30 * SECOND_NS,
        .interval_ns = SECOND_NS,
    };
    struct load load = {.o = &o};
    int status;

    /* No descriptor of this program may get the number of standard input or
     * output. */
    do {
        status = open("/dev/null", O_RDWR);
    } while (status >= 0 && status <= STDERR_FILENO);
    close(status);
    options_take(&o, argc, argv);
    if (o.shape != SHAPE_BURST) {
        o.rounds = 1;
    }
    choose_processes(&o);
    choose_sources(&o);
    load.with_server = o.pid != 0 && server_usage(o.pid, &load.usage_before);
    if (o.pid != 0 && !load.with_server) {
        fprintf(stderr, "hcsd-load: process %ld cannot be looked at\n",
            (long)o.pid);
        status = LOAD_USAGE;
    } else {
        init(&load);
        start_children(&load);
        status = run(&load) ? EXIT_SUCCESS : EXIT_FAILURE;
        fini(&load);
    }
    free(o.request);
    return status;
}
