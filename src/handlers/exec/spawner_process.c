#include "handlers/exec/spawner_process.h"

#include "handlers/exec/spawner_child.h"
#include "handlers/exec/spawner_message.h"

#include <bsd/sys/queue.h>
#include <bsd/unistd.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    /* The spawner's own descriptors, behind the standard ones. */
    SOCKET = 3,
    SIGNALS = 4,
    FIRST_OTHER = 5,

    START_WAIT_MS = 5000, /* for an execution: the file may be on a network */
    GRACE_MAX_MS = 1000,
    /* For the end of a program that was killed. No command is served meanwhile.
     * A program that another one traces does not end before its tracer lets
     * it. */
    KILL_WAIT_MS = 250,
    SWEEP_WAIT_MS = 50,

    /* So many processes are reaped before the spawner looks for commands again:
     * a program may fork faster than the spawner can reap. */
    REAP_MAX = 256,
};

struct program {
    LIST_ENTRY(program) link;
    struct hcs_spawned name;
    bool ended;    /* and reaped: status is set */
    bool killed;   /* the spawner sent SIGKILL while the program ran */
    bool given_up; /* no command will name it: freed when it has ended */
    struct hcs_spawn_status status;
};

struct process {
    LIST_HEAD(, program) programs;
    uint64_t started; /* how many programs: the number of the last one */
    union {
        struct hcs_spawner_command head;
        char bytes[HCS_COMMAND_MAX];
    } command;
    const char *argv[HCS_SPAWN_ARGUMENTS_MAX + 1];
};

static uint64_t now_ms(void)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000 + (uint64_t)at.tv_nsec / 1000000;
}

/* --- Children that end. */

static struct program *find(const struct process *process, uint64_t number)
{
    struct program *program;

    LIST_FOREACH (program, &process->programs, link) {
        if (program->name.number == number) {
            break;
        }
    }
    return program;
}

/* Leaves out programs that have ended: their pids may be other processes'. */
static struct program *find_living(const struct process *process, pid_t pid)
{
    struct program *program;

    LIST_FOREACH (program, &process->programs, link) {
        if (!program->ended && program->name.pid == pid) {
            break;
        }
    }
    return program;
}

static void forget(struct program *program)
{
    LIST_REMOVE(program, link);
    free(program);
}

static void note_end(struct program *program, const siginfo_t *info)
{
    program->ended = true;
    program->status.value = info->si_status;
    if (info->si_code == CLD_EXITED) {
        program->status.end = HCS_SPAWN_EXITED;
    } else if (program->killed && info->si_status == SIGKILL) {
        program->status.end = HCS_SPAWN_KILLED;
    } else {
        program->status.end = HCS_SPAWN_SIGNALLED;
    }
    if (program->given_up) {
        forget(program);
    }
}

/* Reaps one child that has ended, a program or an orphan. False when none has;
 * then *any says whether there are children that still run. */
static bool reap_one(struct process *process, bool *any)
{
    siginfo_t info = {0};
    struct program *program;

    /* WNOWAIT leaves it a zombie: no other process gets its pid until its group
     * is killed. */
    *any = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    if (!*any || info.si_pid == 0) {
        return false;
    }
    program = find_living(process, info.si_pid);
    if (program != NULL) {
        (void)kill(-info.si_pid, SIGKILL);
    }
    if (waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG) != 0) {
        return false;
    }
    if (program != NULL) {
        note_end(program, &info);
    }
    return true;
}

/* True when more children may have ended. *any: as in reap_one. */
static bool reap_some(struct process *process, bool *any)
{
    for (unsigned i = 0; i < REAP_MAX; i++) {
        if (!reap_one(process, any)) {
            return false;
        }
    }
    return true;
}

/* One SIGCHLD may stand for many children that have ended. Read before they are
 * reaped, so that a later one wakes poll again. */
static void read_signals(void)
{
    struct signalfd_siginfo info;

    while (read(SIGNALS, &info, sizeof(info)) == sizeof(info)) {
    }
}

/* Waits at most wait_ms until the program has ended. */
static void await_end(
    struct process *process, const struct program *program, unsigned wait_ms)
{
    uint64_t end_ms = now_ms() + wait_ms;
    bool any;
    bool more = reap_some(process, &any);

    while (!program->ended) {
        struct pollfd fd = {.fd = SIGNALS, .events = POLLIN};
        uint64_t at_ms = now_ms();

        if (at_ms >= end_ms) {
            return;
        }
        (void)poll(&fd, 1, more ? 0 : (int)(end_ms - at_ms));
        read_signals();
        more = reap_some(process, &any);
    }
}

/* --- Commands. */

/* Reads what write_command (spawner.c) wrote. spawn points into the command. */
static bool read_command(
    struct process *process, size_t bytes, struct hcs_spawn *spawn)
{
    const struct hcs_spawner_command *head = &process->command.head;
    const char *groups = process->command.bytes + sizeof(*head);
    const char *text = groups + head->group_count * sizeof(gid_t);
    const char *end = text + head->text_bytes;

    if (end != process->command.bytes + bytes ||
        head->argument_count > HCS_SPAWN_ARGUMENTS_MAX) {
        return false;
    }
    *spawn = (struct hcs_spawn){
        .argv = process->argv,
        .change_user = head->change_user,
        .user = head->user,
        .group = head->group,
        .groups = (const gid_t *)(const void *)groups,
        .group_count = head->group_count,
        .cpu_seconds = head->cpu_seconds,
        .memory_bytes = head->memory_bytes,
        .files = head->files,
    };
    spawn->program = text;
    text += strlen(text) + 1;
    spawn->directory = *text != '\0' ? text : NULL;
    text += strlen(text) + 1;
    for (size_t i = 0; i < head->argument_count; i++) {
        process->argv[i] = text;
        text += strlen(text) + 1;
    }
    process->argv[head->argument_count] = NULL;
    return text == end;
}

/* Waits until the child is executed, which closes its end of the pipe: 0. Or
 * until it reports a failure: -errno. */
static int await_execution(int report, struct hcs_spawner_reply *reply)
{
    struct pollfd fd = {.fd = report, .events = POLLIN};
    struct hcs_spawn_failure failure;
    ssize_t n;

    do {
        n = poll(&fd, 1, START_WAIT_MS);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        reply->step = HCS_SPAWN_EXEC;
        return -ETIMEDOUT;
    }
    do {
        n = read(report, &failure, sizeof(failure));
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        return 0;
    }
    reply->step = n == sizeof(failure) ? failure.step : HCS_SPAWN_FORK;
    return n == sizeof(failure) ? failure.error : -EIO;
}

static void spawn_program(struct process *process,
    const struct hcs_spawn *spawn, struct hcs_spawner_reply *reply)
{
    struct program *program = malloc(sizeof(*program));
    int report[2];

    reply->step = HCS_SPAWN_FORK;
    if (program == NULL || pipe2(report, O_CLOEXEC) != 0) {
        reply->error = program == NULL ? -ENOMEM : -errno;
        free(program);
        return;
    }
    *program = (struct program){.name.pid = fork()};
    if (program->name.pid == 0) {
        hcs_spawner_child(spawn, report[1]);
    }
    reply->error = program->name.pid < 0 ? -errno : 0;
    close(report[1]);
    if (program->name.pid < 0) {
        free(program);
    } else {
        LIST_INSERT_HEAD(&process->programs, program, link);
        program->name.number = ++process->started;
        reply->program = program->name;
        reply->error = await_execution(report[0], reply);
        if (reply->error != 0) {
            program->given_up = true;
            (void)kill(program->name.pid, SIGKILL);
        }
    }
    close(report[0]);
}

static void end_program(struct process *process,
    const struct hcs_spawner_command *command, struct hcs_spawner_reply *reply)
{
    struct program *program = find(process, command->number);

    if (program == NULL) {
        reply->error = -ESRCH;
        return;
    }
    await_end(process, program,
        command->grace_ms < GRACE_MAX_MS ? command->grace_ms : GRACE_MAX_MS);
    if (!program->ended) {
        program->killed = true;
        (void)kill(-program->name.pid, SIGKILL);
        await_end(process, program, KILL_WAIT_MS);
    }
    if (program->ended) {
        reply->status = program->status;
        forget(program);
    } else {
        /* The kernel still holds it: a disk that does not reply, much memory to
         * free, a tracer. It is reaped when it ends. */
        reply->status.end = HCS_SPAWN_KILLED;
        program->given_up = true;
    }
}

/* Takes the three descriptors that came with a command. False when some are
 * missing: then all are closed. */
static bool take_ends(struct msghdr *message, int ends[3])
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    size_t count = 0;

    if (head != NULL && head->cmsg_type == SCM_RIGHTS) {
        count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(ends, CMSG_DATA(head), count * sizeof(int));
    }
    if (count == 3) {
        return true;
    }
    while (count > 0) { /* this process had no room for the others */
        close(ends[--count]);
    }
    return false;
}

static void apply_command(struct process *process, size_t bytes,
    struct msghdr *message, struct hcs_spawner_reply *reply)
{
    struct hcs_spawn spawn;
    int ends[3];

    if (process->command.head.kind == HCS_COMMAND_END) {
        end_program(process, &process->command.head, reply);
        return;
    }
    reply->step = HCS_SPAWN_DESCRIPTORS;
    if (!take_ends(message, ends)) {
        reply->error = -EMFILE;
        return;
    }
    if (read_command(process, bytes, &spawn)) {
        memcpy(spawn.ends, ends, sizeof(ends));
        spawn_program(process, &spawn, reply);
    } else {
        reply->error = -EBADMSG;
    }
    for (size_t i = 0; i < 3; i++) {
        close(ends[i]);
    }
}

/* Receives a command, applies it and replies. False when the daemon is gone. */
static bool serve(struct process *process)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control;
    struct iovec part = {&process->command, sizeof(process->command)};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    struct hcs_spawner_reply reply;
    ssize_t n;

    memset(&reply, 0, sizeof(reply));
    do {
        n = recvmsg(SOCKET, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < (ssize_t)sizeof(process->command.head)) {
        return false;
    }
    apply_command(process, (size_t)n, &message, &reply);
    return send(SOCKET, &reply, sizeof(reply), MSG_NOSIGNAL) == sizeof(reply);
}

static void serve_all(struct process *process)
{
    bool more = false;
    bool any;

    for (;;) {
        struct pollfd fds[] = {
            {.fd = SOCKET, .events = POLLIN},
            {.fd = SIGNALS, .events = POLLIN},
        };

        if (poll(fds, 2, more ? 0 : -1) < 0) {
            continue; /* EINTR: after SIGSTOP and SIGCONT */
        }
        if (fds[1].revents != 0 || more) {
            read_signals();
            more = reap_some(process, &any);
        }
        if (fds[0].revents != 0 && !serve(process)) {
            return;
        }
    }
}

/* --- The end. */

/* Reads a small file below /proc. False when that fails. */
static bool read_small(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return false;
    }
    n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The file reads "PID (NAME) S PPID ...", where NAME may hold any bytes;
 * proc(5). */
static bool is_child(const char *pid, pid_t parent)
{
    char path[64];
    char text[256];
    const char *behind;

    if (snprintf(path, sizeof(path), "/proc/%s/stat", pid) >=
            (int)sizeof(path) ||
        !read_small(path, text, sizeof(text))) {
        return false;
    }
    behind = strrchr(text, ')');
    return behind != NULL && strlen(behind) > 4 &&
           strtol(behind + 4, NULL, 10) == parent;
}

/* Kills by the kernel's list of our children, which has a blank behind each
 * pid. False when the kernel has no such list (CONFIG_PROC_CHILDREN). */
static bool kill_listed(void)
{
    char path[64];
    char text[1024];
    pid_t pid = 0;
    ssize_t n;
    int fd;

    (void)snprintf(
        path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    while ((n = read(fd, text, sizeof(text))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (isdigit((unsigned char)text[i])) {
                pid = pid * 10 + (text[i] - '0');
            } else if (pid > 0) {
                (void)kill(pid, SIGKILL);
                pid = 0;
            }
        }
    }
    close(fd);
    return true;
}

/* Kills by a look at every process. Where /proc shows each user only his own
 * processes (hidepid=, ProtectProc=), children of another user are not
 * found. */
static void kill_found(void)
{
    pid_t self = getpid();
    DIR *all = opendir("/proc");
    const struct dirent *entry;

    if (all == NULL) {
        return;
    }
    while ((entry = readdir(all)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]) &&
            is_child(entry->d_name, self)) {
            (void)kill((pid_t)strtol(entry->d_name, NULL, 10), SIGKILL);
        }
    }
    closedir(all);
}

/* Kills all children that this process has now: programs and orphans. Their
 * pids cannot become other processes' before they are reaped. */
static void kill_children(void)
{
    if (!kill_listed()) {
        kill_found();
    }
}

/* Kills until no child is left. When a child is dead, the processes that it had
 * started become our children, whatever their session, and the next round kills
 * them. */
static void sweep(struct process *process)
{
    struct program *program;
    bool any = true;

    LIST_FOREACH (program, &process->programs, link) {
        if (!program->ended) {
            (void)kill(-program->name.pid, SIGKILL);
        }
    }
    while (any) {
        struct pollfd fd = {.fd = SIGNALS, .events = POLLIN};
        bool more = reap_some(process, &any);

        kill_children();
        (void)poll(&fd, 1, more || !any ? 0 : SWEEP_WAIT_MS);
        read_signals();
    }
}

/* --- The start. */

/* Blocks all signals: those of a terminal or a service manager are for the
 * daemon. Children unblock them again. */
static int open_signals(void)
{
    sigset_t set;

    sigfillset(&set);
    (void)sigprocmask(SIG_SETMASK, &set, NULL);
    (void)signal(SIGCHLD, SIG_DFL); /* if ignored, the kernel would reap */
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int move(int from, int to)
{
    if (from == to) {
        return 0;
    }
    return dup3(from, to, O_CLOEXEC) < 0 ? -errno : 0;
}

/* Of the daemon's descriptors the spawner keeps only standard error. */
static int arrange_descriptors(int socket)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int rc = null < 0 ? -errno : 0;
    int signals;

    if (rc == 0 && (dup2(null, 0) < 0 || dup2(null, 1) < 0)) {
        rc = -errno;
    }
    if (rc == 0 && socket == SIGNALS) {
        rc = move(socket, SOCKET); /* signals would overwrite it */
        socket = SOCKET;
    }
    signals = open_signals();
    if (rc == 0 && signals < 0) {
        rc = -errno;
    }
    /* In this order: signals may have SOCKET's number. */
    if (rc == 0) {
        rc = move(signals, SIGNALS);
    }
    if (rc == 0) {
        rc = move(socket, SOCKET);
    }
    if (rc == 0) {
        closefrom(FIRST_OTHER);
    }
    return rc;
}

/* Removes the variables that a service manager set for the daemon alone. */
static void clean_environment(void)
{
    static const char *const names[] = {"NOTIFY_SOCKET", "LISTEN_PID",
        "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)unsetenv(names[i]);
    }
}

_Noreturn void hcs_spawner_process(int socket)
{
    struct process process = {.started = 0};
    struct hcs_spawner_reply ready;

    memset(&ready, 0, sizeof(ready));
    (void)setsid();
    (void)prctl(PR_SET_NAME, "hcsd-spawner");
    setproctitle("spawner of programs");
    clean_environment();
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        ready.error = -errno;
    } else {
        ready.error = arrange_descriptors(socket);
    }
    LIST_INIT(&process.programs);
    /* If this is lost, the daemon's start fails after its wait. */
    if (send(ready.error == 0 ? SOCKET : socket, &ready, sizeof(ready),
            MSG_NOSIGNAL) == sizeof(ready) &&
        ready.error == 0) {
        serve_all(&process);
    }
    /* After an error nothing was started, and SIGNALS may be any descriptor. */
    if (ready.error == 0) {
        sweep(&process);
    }
    _exit(0);
}
