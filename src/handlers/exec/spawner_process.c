#include "handlers/exec/spawner_process.h"

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
    /* Its own descriptors, behind the standard ones. */
    SOCKET = 3,
    SIGNALS = 4,
    FIRST_OTHER = 5,

    START_WAIT_MS = 5000, /* for an execution: the file may be far away */
    GRACE_MAX_MS = 1000,
    /* For the end of what was killed. All others wait meanwhile, and who is
     * traced by a program in another session ends for its tracer alone. */
    KILL_WAIT_MS = 250,
    SWEEP_WAIT_MS = 50,

    /* Those that have ended are reaped so many at a time: processes that do
     * nothing but fork and end may do so faster than one can reap. */
    REAP_MAX = 256,
};

struct program {
    struct hcs_spawned name;
    bool ended;    /* and reaped; status is good */
    bool killed;   /* by us, and not before */
    bool given_up; /* nobody will ask; freed once it ended */
    struct hcs_spawn_status status;
    struct program *next;
};

struct process {
    struct program *programs;
    uint64_t started;
    union {
        struct hcs_order head;
        char bytes[HCS_ORDER_MAX];
    } order;
    const char *words[HCS_SPAWN_WORDS_MAX + 1];
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
    struct program *program = process->programs;

    while (program != NULL && program->name.number != number) {
        program = program->next;
    }
    return program;
}

/* One that has ended keeps its status and not its pid, which may be another
 * one's by now. */
static struct program *find_living(const struct process *process, pid_t pid)
{
    struct program *program = process->programs;

    while (program != NULL && (program->ended || program->name.pid != pid)) {
        program = program->next;
    }
    return program;
}

static void forget(struct process *process, struct program *program)
{
    struct program **at = &process->programs;

    while (*at != program) {
        at = &(*at)->next;
    }
    *at = program->next;
    free(program);
}

static void note_end(
    struct process *process, struct program *program, const siginfo_t *info)
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
        forget(process, program);
    }
}

/* Reaps one that has ended, a program or an orphan. False when there is none;
 * *any then says whether there are others, which live. */
static bool reap_one(struct process *process, bool *any)
{
    siginfo_t info = {0};
    struct program *program;

    /* It stays a zombie, so that its number is nobody else's while its group is
     * killed. */
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
        note_end(process, program, &info);
    }
    return true;
}

/* True when there may be more that have ended; *any as of reap_one. */
static bool reap_some(struct process *process, bool *any)
{
    for (unsigned i = 0; i < REAP_MAX; i++) {
        if (!reap_one(process, any)) {
            return false;
        }
    }
    return true;
}

/* The kernel keeps one SIGCHLD pending for all: reading it makes the
 * descriptor quiet until the next. */
static void read_signals(void)
{
    struct signalfd_siginfo info;

    while (read(SIGNALS, &info, sizeof(info)) == sizeof(info)) {
    }
}

/* Waits until the program has ended, for so long at most. */
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

/* --- Orders. */

/* Gives the texts of an order that came as write_order (spawner.c) made it. */
static bool read_order(
    struct process *process, size_t bytes, struct hcs_spawn *spawn)
{
    const struct hcs_order *head = &process->order.head;
    const char *groups = process->order.bytes + sizeof(*head);
    const char *text = groups + head->group_count * sizeof(gid_t);
    const char *end = text + head->text_bytes;

    if (end != process->order.bytes + bytes ||
        head->word_count > HCS_SPAWN_WORDS_MAX) {
        return false;
    }
    *spawn = (struct hcs_spawn){
        .words = process->words,
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
    for (size_t i = 0; i < head->word_count; i++) {
        process->words[i] = text;
        text += strlen(text) + 1;
    }
    process->words[head->word_count] = NULL;
    return text == end;
}

/* What the child says before it is executed: 0 when nothing, and its end of
 * the pipe closed. */
static int await_execution(int report, struct hcs_answer *answer)
{
    struct pollfd fd = {.fd = report, .events = POLLIN};
    struct hcs_spawn_failure failure;
    ssize_t n;

    do {
        n = poll(&fd, 1, START_WAIT_MS);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        answer->step = HCS_SPAWN_EXEC;
        return -ETIMEDOUT;
    }
    do {
        n = read(report, &failure, sizeof(failure));
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        return 0;
    }
    answer->step = n == sizeof(failure) ? failure.step : HCS_SPAWN_FORK;
    return n == sizeof(failure) ? failure.error : -EIO;
}

static void spawn_program(struct process *process,
    const struct hcs_spawn *spawn, struct hcs_answer *answer)
{
    struct program *program = malloc(sizeof(*program));
    int report[2];

    answer->step = HCS_SPAWN_FORK;
    if (program == NULL || pipe2(report, O_CLOEXEC) != 0) {
        answer->error = program == NULL ? -ENOMEM : -errno;
        free(program);
        return;
    }
    *program = (struct program){.name.pid = fork()};
    if (program->name.pid == 0) {
        hcs_spawner_child(spawn, report[1]);
    }
    answer->error = program->name.pid < 0 ? -errno : 0;
    close(report[1]);
    if (program->name.pid < 0) {
        free(program);
    } else {
        program->next = process->programs;
        process->programs = program;
        program->name.number = ++process->started;
        answer->program = program->name;
        answer->error = await_execution(report[0], answer);
        if (answer->error != 0) {
            program->given_up = true;
            (void)kill(program->name.pid, SIGKILL);
        }
    }
    close(report[0]);
}

static void end_program(struct process *process, const struct hcs_order *order,
    struct hcs_answer *answer)
{
    struct program *program = find(process, order->number);

    if (program == NULL) {
        answer->error = -ESRCH;
        return;
    }
    await_end(process, program,
        order->grace_ms < GRACE_MAX_MS ? order->grace_ms : GRACE_MAX_MS);
    if (!program->ended) {
        program->killed = true;
        (void)kill(-program->name.pid, SIGKILL);
        await_end(process, program, KILL_WAIT_MS);
    }
    if (program->ended) {
        answer->status = program->status;
        forget(process, program);
    } else {
        /* The kernel holds it (a disk that is gone, much memory, a tracer); it
         * ends some day. */
        answer->status.end = HCS_SPAWN_KILLED;
        program->given_up = true;
    }
}

/* Takes the descriptors that came with an order; all three or none. */
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
    while (count > 0) { /* it had no room for more */
        close(ends[--count]);
    }
    return false;
}

static void obey(struct process *process, size_t bytes, struct msghdr *message,
    struct hcs_answer *answer)
{
    struct hcs_spawn spawn;
    int ends[3];

    if (process->order.head.kind == HCS_ORDER_END) {
        end_program(process, &process->order.head, answer);
        return;
    }
    answer->step = HCS_SPAWN_DESCRIPTORS;
    if (!take_ends(message, ends)) {
        answer->error = -EMFILE;
        return;
    }
    if (read_order(process, bytes, &spawn)) {
        memcpy(spawn.ends, ends, sizeof(ends));
        spawn_program(process, &spawn, answer);
    } else {
        answer->error = -EBADMSG;
    }
    for (size_t i = 0; i < 3; i++) {
        close(ends[i]);
    }
}

/* Takes one order and answers it. False when the daemon is gone. */
static bool serve(struct process *process)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control;
    struct iovec part = {&process->order, sizeof(process->order)};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    struct hcs_answer answer;
    ssize_t n;

    memset(&answer, 0, sizeof(answer));
    do {
        n = recvmsg(SOCKET, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < (ssize_t)sizeof(process->order.head)) {
        return false;
    }
    obey(process, (size_t)n, &message, &answer);
    return send(SOCKET, &answer, sizeof(answer), MSG_NOSIGNAL) ==
           sizeof(answer);
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
            continue; /* EINTR: somebody stopped us and let us go on */
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

/* A file of one line below /proc; false when it cannot be read. */
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

/* "PID (NAME) S PPID ...", where NAME may hold anything; proc(5). */
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

/* By the list that the kernel keeps for us, each number with a blank behind it.
 * False when it keeps none (CONFIG_PROC_CHILDREN). */
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

/* By a look at every process. One that hides itself is not found where /proc
 * shows to each user his own alone (hidepid=, ProtectProc=). */
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

/* All that are this process's children now: programs, and what they left
 * behind. Their numbers cannot go to others before we reap them. */
static void kill_children(void)
{
    if (!kill_listed()) {
        kill_found();
    }
}

/* Kills until nothing is left. What a child had started becomes ours when it is
 * dead, whatever session it made for itself, and is found in the next round. */
static void sweep(struct process *process)
{
    bool any = true;

    for (struct program *program = process->programs; program != NULL;
         program = program->next) {
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

/* --- The beginning. */

/* A terminal's signals and a service manager's are for the daemon. None gets
 * through here; children start with none blocked. */
static int open_signals(void)
{
    sigset_t set;

    sigfillset(&set);
    (void)sigprocmask(SIG_SETMASK, &set, NULL);
    (void)signal(SIGCHLD, SIG_DFL); /* ignored, it would reap by itself */
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

/* Keeps standard error alone of what the daemon has. */
static int arrange_descriptors(int socket)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int rc = null < 0 ? -errno : 0;
    int signals;

    if (rc == 0 && (dup2(null, 0) < 0 || dup2(null, 1) < 0)) {
        rc = -errno;
    }
    if (rc == 0 && socket == SIGNALS) {
        rc = move(socket, SOCKET); /* before that number is taken */
        socket = SOCKET;
    }
    signals = open_signals();
    if (rc == 0 && signals < 0) {
        rc = -errno;
    }
    /* The signals may have got the socket's number to be. */
    if (rc == 0) {
        rc = move(signals, SIGNALS);
    }
    if (rc == 0) {
        rc = move(socket, SOCKET);
    }
    if (rc == 0) {
        hcs_spawner_close_from(FIRST_OTHER);
    }
    return rc;
}

/* What a service manager says to the daemon, and to no child of its. */
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
    struct process process = {.programs = NULL};
    struct hcs_answer ready;

    memset(&ready, 0, sizeof(ready));
    (void)setsid();
    (void)prctl(PR_SET_NAME, "hcsd-spawner");
    clean_environment();
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        ready.error = -errno;
    } else {
        ready.error = arrange_descriptors(socket);
    }
    /* Should it not get through, the daemon waits in vain, and says so. */
    if (send(ready.error == 0 ? SOCKET : socket, &ready, sizeof(ready),
            MSG_NOSIGNAL) == sizeof(ready) &&
        ready.error == 0) {
        serve_all(&process);
    }
    if (ready.error == 0) { /* else nothing was started, and its descriptors
                               may have the numbers of others */
        sweep(&process);
    }
    _exit(0);
}
