/* The spawner with real programs. What fails in its process is said in memory
 * that both share, since it was forked with this file's functions in it. */
/* wrap: prctl setrlimit */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "handlers/exec/spawner.h"
#include "subreaper.h"

#include <bsd/unistd.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, NOBODY = 65534 };

/* --- What fails, in both processes. */

struct faults {
    pid_t only_in; /* 0: in both */
    pid_t daemon;
    int socketpair_error;
    int fork_error;
    int pipe_error;
    int sendmsg_error;
    int subreaper_error;
    int limit_error;
    int limit_of;
    int poll_blind_ms; /* a poll that waits so long sees nothing */
    int longest_ms;    /* that the spawner has waited for children, */
    bool waits_blind;  /* of which it sees none that has ended */
    bool endless;      /* another orphan has always ended */
    bool no_list;      /* of children */
    bool no_folder;
};

static struct faults *faults;

static bool here(int error)
{
    errno = error;
    return error != 0;
}

int __real_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2])
{
    return here(faults->socketpair_error)
               ? -1
               : __real_socketpair(domain, type, protocol, ends);
}

pid_t __real_fork(void);
pid_t __wrap_fork(void)
{
    return here(faults->fork_error) ? -1 : __real_fork();
}

int __real_pipe2(int ends[2], int flags);
int __wrap_pipe2(int ends[2], int flags)
{
    return here(faults->pipe_error) ? -1 : __real_pipe2(ends, flags);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return here(faults->sendmsg_error) ? -1
                                       : __real_sendmsg(fd, message, flags);
}

int __real_prctl(int option, unsigned long a, unsigned long b, unsigned long c,
    unsigned long d);
int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c,
    unsigned long d);
int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c,
    unsigned long d)
{
    return option == PR_SET_CHILD_SUBREAPER && here(faults->subreaper_error)
               ? -1
               : __real_prctl(option, a, b, c, d);
}

int __real_setrlimit(int what, const struct rlimit *limit);
int __wrap_setrlimit(int what, const struct rlimit *limit);
int __wrap_setrlimit(int what, const struct rlimit *limit)
{
    return what == faults->limit_of && here(faults->limit_error)
               ? -1
               : __real_setrlimit(what, limit);
}

int __real_poll(struct pollfd *fds, nfds_t count, int wait_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int wait_ms)
{
    if (count == 1 && getpid() != faults->daemon &&
        wait_ms > faults->longest_ms) {
        faults->longest_ms = wait_ms;
    }
    return wait_ms != 0 && wait_ms == faults->poll_blind_ms
               ? 0
               : __real_poll(fds, count, wait_ms);
}

int __real_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    int rc = faults->waits_blind ? 0 : __real_waitid(type, id, info, options);

    if (faults->endless && (rc != 0 || info->si_pid == 0)) {
        info->si_pid = INT_MAX;
        rc = 0;
    }
    return rc;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    if (faults->no_list && strstr(path, "/children") != NULL) {
        errno = ENOENT;
        return -1;
    }
    return __real_open(path, flags, 0);
}

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path)
{
    return here(faults->no_folder ? EACCES : 0) ? NULL : __real_opendir(path);
}

static int make_faults(void **state)
{
    (void)state;
    faults = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    /* What a daemon does, and its children must not inherit. */
    (void)signal(SIGUSR1, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setenv("NOTIFY_SOCKET", "/run/x", 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    (void)setenv("WATCHDOG_USEC", "1000", 1);
    (void)setenv("OTHER", "kept", 1);
    return faults == MAP_FAILED ? -1 : 0;
}

/* --- Programs with pipes. */

struct fixture {
    struct hcs_spawner *spawner;
};

struct program {
    struct hcs_spawned name;
    enum hcs_spawn_step step;
    int in;
    int out;
    int rc;
};

static int set_up(void **state)
{
    static struct fixture fixture;

    memset(faults, 0, sizeof(*faults));
    faults->daemon = getpid();
    fixture.spawner = NULL;
    *state = &fixture;
    return hcs_spawner_start(&fixture.spawner);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    hcs_spawner_stop(fixture->spawner);
    /* Nothing of it is left. */
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : -1;
}

static struct hcs_spawn order(const char *program, const char *const *argv)
{
    return (struct hcs_spawn){
        .program = program,
        .argv = argv,
        .cpu_seconds = HCS_SPAWN_NO_LIMIT,
        .memory_bytes = HCS_SPAWN_NO_LIMIT,
        .files = HCS_SPAWN_NO_LIMIT,
    };
}

static struct program start(struct hcs_spawner *spawner, struct hcs_spawn spawn)
{
    struct program program = {.name.pid = 0};
    int in[2];
    int out[2];

    assert_int_equal(__real_pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(__real_pipe2(out, O_CLOEXEC), 0);
    spawn.ends[0] = in[0];
    spawn.ends[1] = out[1];
    spawn.ends[2] = STDERR_FILENO;
    program.rc =
        hcs_spawner_spawn(spawner, &spawn, &program.name, &program.step);
    close(in[0]);
    close(out[1]);
    program.in = in[1];
    program.out = out[0];
    return program;
}

static struct program start_shell(
    struct hcs_spawner *spawner, const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct program program = start(spawner, order("/bin/sh", argv));

    assert_int_equal(program.rc, 0);
    return program;
}

/* All that it writes until its end. */
static const char *read_all(const struct program *program)
{
    static char text[8192];
    size_t length = 0;
    ssize_t n;

    while ((n = read(program->out, text + length, sizeof(text) - length - 1)) >
           0) {
        length += (size_t)n;
    }
    text[length] = '\0';
    return text;
}

/* The number that it writes on a line. */
static pid_t read_pid(const struct program *program)
{
    char text[32];
    size_t length = 0;

    while (length < sizeof(text) - 1 &&
           read(program->out, text + length, 1) == 1 && text[length] != '\n') {
        length++;
    }
    text[length] = '\0';
    return (pid_t)strtol(text, NULL, 10);
}

static void drop(const struct program *program)
{
    close(program->in);
    close(program->out);
}

static struct hcs_spawn_status end(
    struct hcs_spawner *spawner, const struct program *program, unsigned grace)
{
    struct hcs_spawn_status status;

    assert_int_equal(
        hcs_spawner_end(spawner, program->name, grace, &status), 0);
    drop(program);
    return status;
}

/* Neither running nor a zombie. */
static bool is_gone(pid_t pid)
{
    for (int i = 0; i < PATIENCE_MS / 10; i++) {
        struct timespec pause = {.tv_nsec = 10 * 1000000};

        if (kill(pid, 0) != 0 && errno == ESRCH) {
            return true;
        }
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

static void test_program_has_its_three_ends(void **state)
{
    struct fixture *fixture = *state;
    struct program program = start_shell(fixture->spawner, "exec cat");

    assert_int_equal(write(program.in, "hello", 5), 5);
    close(program.in);
    program.in = -1;
    assert_string_equal(read_all(&program), "hello");
    assert_int_equal(
        end(fixture->spawner, &program, 1000).end, HCS_SPAWN_EXITED);
}

static void test_status_is_kept_until_asked_for(void **state)
{
    struct fixture *fixture = *state;
    struct program first = start_shell(fixture->spawner, "exit 3");
    struct program second = start_shell(fixture->spawner, "kill -SEGV $$");
    struct hcs_spawn_status status;

    assert_string_equal(read_all(&second), "");
    status = end(fixture->spawner, &second, 1000);
    assert_int_equal(status.end, HCS_SPAWN_SIGNALLED);
    assert_int_equal(status.value, SIGSEGV);
    assert_string_equal(read_all(&first), "");
    status = end(fixture->spawner, &first, 1000);
    assert_int_equal(status.end, HCS_SPAWN_EXITED);
    assert_int_equal(status.value, 3);
}

static void test_who_does_not_end_is_killed_with_its_group(void **state)
{
    struct fixture *fixture = *state;
    struct program program = start_shell(
        fixture->spawner, "trap '' TERM; sleep 1000 & echo $!; wait");
    pid_t sleeper = read_pid(&program);

    assert_true(sleeper > 0);
    assert_int_equal(end(fixture->spawner, &program, 1).end, HCS_SPAWN_KILLED);
    assert_true(is_gone(program.name.pid));
    assert_true(is_gone(sleeper));
}

static void test_group_dies_with_its_leader(void **state)
{
    struct fixture *fixture = *state;
    struct program program =
        start_shell(fixture->spawner, "sleep 1000 & echo $!");
    pid_t sleeper = read_pid(&program);

    assert_true(sleeper > 0);
    assert_true(is_gone(sleeper)); /* before anybody asks */
    assert_int_equal(
        end(fixture->spawner, &program, 1000).end, HCS_SPAWN_EXITED);
}

static void test_each_pid_is_given_up_once(void **state)
{
    struct fixture *fixture = *state;
    struct program program = start_shell(fixture->spawner, "exit 0");
    struct hcs_spawn_status status;

    (void)end(fixture->spawner, &program, 1000);
    assert_int_equal(
        hcs_spawner_end(fixture->spawner, program.name, 0, &status), -ESRCH);
    assert_int_equal(hcs_spawner_end(fixture->spawner,
                         (struct hcs_spawned){.pid = getpid()}, 0, &status),
        -ESRCH);
}

/* --- What a program starts with. */

static void assert_says(
    struct hcs_spawner *spawner, const char *script, const char *text)
{
    struct program program = start_shell(spawner, script);

    assert_string_equal(read_all(&program), text);
    (void)end(spawner, &program, 1000);
}

static void test_nothing_is_inherited(void **state)
{
    struct fixture *fixture = *state;
    int leak = dup2(STDERR_FILENO, 77); /* without CLOEXEC */

    assert_int_equal(leak, 77);
    /* 3 is the folder that ls reads. */
    assert_says(fixture->spawner, "exec ls /proc/self/fd", "0\n1\n2\n3\n");
    assert_says(fixture->spawner,
        "cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)' | "
        "tr -d '\t'",
        "SigBlk:0000000000000000\nSigIgn:0000000000000000\n"
        "SigCgt:0000000000000000\n");
    close(leak);
}

static void test_service_manager_speaks_to_the_daemon_alone(void **state)
{
    struct fixture *fixture = *state;

    assert_says(fixture->spawner,
        "echo ${NOTIFY_SOCKET-a} ${LISTEN_FDS-b} ${WATCHDOG_USEC-c} $OTHER",
        "a b c kept\n");
}

static void test_spawner_keeps_nothing_of_the_daemon(void **state)
{
    struct fixture *fixture = *state;
    /* The shell's parent: null, null, standard error, socket, signals. */
    struct program program = start_shell(fixture->spawner,
        "ls /proc/$PPID/fd | tr '\\n' ' '; cat /proc/$PPID/comm "
        "/proc/$PPID/cmdline");
    const char *said = read_all(&program);

    /* 5 to 9 may be what it got for this very program. */
    assert_memory_equal(said, "0 1 2 3 4 ", 10);
    assert_null(strstr(said, " 77 "));
    assert_non_null(strstr(said, "hcsd-spawner"));
    assert_non_null(strstr(said, ": spawner of programs"));
    (void)end(fixture->spawner, &program, 1000);
}

static void test_limits_and_directory_are_set(void **state)
{
    static const char *const argv[] = {
        "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -t; ulimit -v; pwd", NULL};
    struct fixture *fixture = *state;
    struct hcs_spawn spawn = order("/bin/sh", argv);
    struct program program;

    spawn.files = 33;
    spawn.cpu_seconds = 7;
    spawn.memory_bytes = 512 * 1024 * 1024;
    spawn.directory = "/proc";
    program = start(fixture->spawner, spawn);
    assert_int_equal(program.rc, 0);
    assert_string_equal(read_all(&program), "33\n33\n7\n524288\n/proc\n");
    (void)end(fixture->spawner, &program, 1000);
}

static void test_user_is_changed_with_its_groups(void **state)
{
    static const char *const argv[] = {"sh", "-c", "id -u; id -g; id -G", NULL};
    static const gid_t groups[] = {1234, 4321};
    struct fixture *fixture = *state;
    struct hcs_spawn spawn = order("/bin/sh", argv);
    struct program program;

    spawn.change_user = true;
    spawn.user = NOBODY;
    spawn.group = 1234;
    spawn.groups = groups;
    spawn.group_count = 2;
    program = start(fixture->spawner, spawn);
    if (geteuid() != 0) {
        assert_int_equal(program.rc, -EPERM);
        assert_int_equal(program.step, HCS_SPAWN_GROUP);
        drop(&program);
        return;
    }
    assert_int_equal(program.rc, 0);
    assert_string_equal(read_all(&program), "65534\n1234\n1234 4321\n");
    (void)end(fixture->spawner, &program, 1000);
}

/* As a service manager gives it. False for who may not. */
static bool set_ambient(unsigned capability, bool on)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &head, data) != 0) {
        return false;
    }
    data[0].inheritable &= ~(1u << capability);
    data[0].inheritable |= on ? 1u << capability : 0;
    /* Taking it from the inheritable ones takes it from the ambient ones. */
    return syscall(SYS_capset, &head, data) == 0 &&
           (!on || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE,
                       (unsigned long)capability, 0UL, 0UL) == 0);
}

static void test_capabilities_are_for_the_daemon_alone(void **state)
{
    struct fixture *fixture = *state;

    hcs_spawner_stop(fixture->spawner);
    fixture->spawner = NULL;
    if (!set_ambient(CAP_NET_BIND_SERVICE, true)) {
        skip();
    }
    assert_int_equal(hcs_spawner_start(&fixture->spawner), 0);
    assert_true(set_ambient(CAP_NET_BIND_SERVICE, false));
    assert_says(fixture->spawner,
        "grep ^CapAmb /proc/$PPID/status | tr -d '\t'; "
        "grep ^CapAmb /proc/self/status | tr -d '\t'",
        "CapAmb:0000000000000400\nCapAmb:0000000000000000\n");
}

static bool set_effective(unsigned capability, bool on)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &head, data) != 0) {
        return false;
    }
    data[0].effective &= ~(1u << capability);
    data[0].effective |= on ? 1u << capability : 0;
    return syscall(SYS_capset, &head, data) == 0;
}

/* It could not be killed: not at its deadline, and not at the daemon's end. */
static void test_nobody_is_started_who_could_not_be_ended(void **state)
{
    static const char *const argv[] = {"sh", "-c", "exit 0", NULL};
    static const gid_t groups[] = {1234};
    struct fixture *fixture = *state;
    struct hcs_spawn spawn = order("/bin/sh", argv);
    struct program program;

    if (geteuid() != 0) {
        skip();
    }
    spawn.change_user = true;
    spawn.user = NOBODY;
    spawn.group = 1234;
    spawn.groups = groups;
    spawn.group_count = 1;
    hcs_spawner_stop(fixture->spawner);
    fixture->spawner = NULL;
    assert_true(set_effective(CAP_KILL, false));
    assert_int_equal(hcs_spawner_start(&fixture->spawner), 0);
    assert_true(set_effective(CAP_KILL, true));

    program = start(fixture->spawner, spawn);
    assert_int_equal(program.rc, -EPERM);
    assert_int_equal(program.step, HCS_SPAWN_USER);
    drop(&program);

    spawn.user = 0; /* no stranger, of whatever group */
    program = start(fixture->spawner, spawn);
    assert_int_equal(program.rc, 0);
    (void)end(fixture->spawner, &program, 1000);
}

/* --- Starts that fail. */

static void assert_fails(struct hcs_spawner *spawner, struct hcs_spawn spawn,
    int rc, enum hcs_spawn_step step)
{
    struct program program = start(spawner, spawn);

    drop(&program);
    assert_int_equal(program.rc, rc);
    assert_int_equal(program.step, step);
}

static void assert_works(struct hcs_spawner *spawner)
{
    struct program program = start_shell(spawner, "echo works");

    assert_string_equal(read_all(&program), "works\n");
    (void)end(spawner, &program, 1000);
}

static void test_failed_start_names_its_step(void **state)
{
    static const char *const argv[] = {"sh", "-c", "exit 0", NULL};
    struct fixture *fixture = *state;
    struct hcs_spawn spawn = order("/bin/sh", argv);

    assert_fails(fixture->spawner, order("/nowhere/at/all", argv), -ENOENT,
        HCS_SPAWN_EXEC);
    assert_fails(
        fixture->spawner, order("/etc/passwd", argv), -EACCES, HCS_SPAWN_EXEC);
    spawn.directory = "/nowhere";
    assert_fails(fixture->spawner, spawn, -ENOENT, HCS_SPAWN_DIRECTORY);
    assert_works(fixture->spawner);
}

static void test_failed_limit_names_itself(void **state)
{
    static const char *const argv[] = {"sh", "-c", "exit 0", NULL};
    static const int limits[] = {RLIMIT_NOFILE, RLIMIT_CPU, RLIMIT_AS};
    static const enum hcs_spawn_step steps[] = {
        HCS_SPAWN_FILES, HCS_SPAWN_CPU, HCS_SPAWN_MEMORY};
    struct fixture *fixture = *state;
    struct hcs_spawn spawn = order("/bin/sh", argv);

    spawn.files = 100;
    spawn.cpu_seconds = 100;
    spawn.memory_bytes = 1024 * 1024 * 1024;
    faults->limit_error = EPERM;
    for (size_t i = 0; i < 3; i++) {
        faults->limit_of = limits[i];
        assert_fails(fixture->spawner, spawn, -EPERM, steps[i]);
    }
    faults->limit_error = 0;
    assert_works(fixture->spawner);
}

static void test_what_cannot_be_had_now_may_be_later(void **state)
{
    static const char *const argv[] = {"sh", "-c", "exit 0", NULL};
    struct fixture *fixture = *state;
    struct hcs_spawn spawn = order("/bin/sh", argv);

    faults->fork_error = EAGAIN;
    assert_fails(fixture->spawner, spawn, -EAGAIN, HCS_SPAWN_FORK);
    faults->fork_error = 0;
    faults->pipe_error = ENFILE;
    assert_fails(fixture->spawner, spawn, -ENFILE, HCS_SPAWN_FORK);
    faults->pipe_error = 0;
    faults->sendmsg_error = ENOMEM;
    assert_fails(fixture->spawner, spawn, -ENOMEM, HCS_SPAWN_REQUEST);
    faults->sendmsg_error = 0;
    faults->poll_blind_ms = 5000; /* as long as an execution may take */
    assert_fails(fixture->spawner, spawn, -ETIMEDOUT, HCS_SPAWN_EXEC);
    faults->poll_blind_ms = 0;
    assert_works(fixture->spawner);
}

static void test_what_is_too_much_is_refused(void **state)
{
    static char long_word[HCS_SPAWN_TEXT_MAX];
    static const char *many[HCS_SPAWN_ARGUMENTS_MAX + 2];
    static const char *const argv[] = {"sh", "-c", "exit 0", NULL};
    struct fixture *fixture = *state;
    const char *const long_words[] = {"sh", long_word, NULL};
    struct hcs_spawn spawn = order("/bin/sh", argv);

    memset(long_word, 'x', sizeof(long_word) - 1);
    for (size_t i = 0; i <= HCS_SPAWN_ARGUMENTS_MAX; i++) {
        many[i] = "x";
    }
    assert_fails(fixture->spawner, order("/bin/sh", long_words), -E2BIG,
        HCS_SPAWN_REQUEST);
    assert_fails(
        fixture->spawner, order("/bin/sh", many), -E2BIG, HCS_SPAWN_REQUEST);
    assert_fails(
        fixture->spawner, order(long_word, argv), -E2BIG, HCS_SPAWN_REQUEST);
    spawn.group_count = HCS_SPAWN_GROUPS_MAX + 1;
    assert_fails(fixture->spawner, spawn, -E2BIG, HCS_SPAWN_REQUEST);
    many[HCS_SPAWN_ARGUMENTS_MAX] = NULL;
    assert_fails(fixture->spawner, order("/nowhere", many), -ENOENT,
        HCS_SPAWN_EXEC); /* as many as may be */
    assert_works(fixture->spawner);
}

/* --- Ends. */

static void assert_stop_ends_all(struct fixture *fixture)
{
    struct program program = start_shell(fixture->spawner,
        "setsid sh -c 'setsid sleep 1000 & echo $!; exec sleep 1000' & wait");
    pid_t sleeper = read_pid(&program);

    assert_true(sleeper > 0);
    hcs_spawner_stop(fixture->spawner);
    fixture->spawner = NULL;
    /* Not later: it has waited for that. */
    assert_int_equal(kill(sleeper, 0), -1);
    assert_int_equal(kill(program.name.pid, 0), -1);
    assert_string_equal(read_all(&program), "");
    drop(&program);
}

static void test_stop_ends_those_in_sessions_of_their_own(void **state)
{
    assert_stop_ends_all(*state);
}

static void test_stop_ends_those_that_are_not_shown(void **state)
{
    faults->no_folder = true; /* as good as one that shows none of them */
    assert_stop_ends_all(*state);
}

static void test_stop_ends_all_where_the_kernel_keeps_no_list(void **state)
{
    faults->no_list = true;
    assert_stop_ends_all(*state);
}

static void test_killed_daemon_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct program told = {.in = -1};
    int ends[2];
    pid_t daemon;
    pid_t sleeper;

    (void)fixture;
    assert_int_equal(pipe(ends), 0);
    daemon = __real_fork();
    if (daemon == 0) {
        struct hcs_spawner *spawner = NULL;
        const char *argv[] = {"sh", "-c",
            "setsid sh -c 'setsid sleep 1000 & echo $!; exec sleep 1000' & "
            "exec sleep 1000",
            NULL};
        struct hcs_spawn spawn = order("/bin/sh", argv);
        enum hcs_spawn_step step;
        struct hcs_spawned name;

        spawn.ends[0] = ends[0];
        spawn.ends[1] = ends[1];
        spawn.ends[2] = STDERR_FILENO;
        if (hcs_spawner_start(&spawner) != 0 ||
            hcs_spawner_spawn(spawner, &spawn, &name, &step) != 0) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    told.out = ends[0];
    sleeper = read_pid(&told);
    assert_true(sleeper > 0);
    assert_int_equal(kill(daemon, SIGKILL), 0);
    assert_int_equal(waitpid(daemon, NULL, 0), daemon);
    assert_true(is_gone(sleeper));
    close(ends[1]);
    /* Nobody has the other end any more, at last. */
    assert_string_equal(read_all(&told), "");
    close(ends[0]);
}

static void test_dead_spawner_is_an_error_for_ever(void **state)
{
    static const char *const argv[] = {"sh", "-c", "exit 0", NULL};
    struct fixture *fixture = *state;
    struct program program =
        start_shell(fixture->spawner, "echo $PPID; exec sleep 1000");
    pid_t spawner = read_pid(&program);
    struct hcs_spawn_status status;

    assert_true(spawner > 0);
    assert_int_equal(kill(spawner, SIGKILL), 0);
    /* The program dies with it. */
    assert_string_equal(read_all(&program), "");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            hcs_spawner_end(fixture->spawner, program.name, 0, &status),
            -EPIPE);
        assert_int_equal(status.end, HCS_SPAWN_KILLED);
        assert_fails(fixture->spawner, order("/bin/sh", argv), -EPIPE,
            HCS_SPAWN_REQUEST);
    }
    /* Stopping does not wait for one that may hang. */
    assert_int_equal(waitpid(spawner, NULL, 0), spawner);
    drop(&program);
}

static void test_spawner_that_does_not_answer_is_given_up(void **state)
{
    static const char *const argv[] = {"sh", "-c", "exit 0", NULL};
    struct fixture *fixture = *state;
    struct program program =
        start_shell(fixture->spawner, "echo $PPID; exec sleep 1000");
    pid_t spawner = read_pid(&program);

    faults->poll_blind_ms = 10000; /* as long as an answer may take */
    assert_fails(
        fixture->spawner, order("/bin/sh", argv), -EPIPE, HCS_SPAWN_REQUEST);
    faults->poll_blind_ms = 0;
    assert_fails(
        fixture->spawner, order("/bin/sh", argv), -EPIPE, HCS_SPAWN_REQUEST);
    /* It sees that nobody is there any more, and clears up. */
    assert_string_equal(read_all(&program), "");
    assert_true(is_gone(program.name.pid));
    assert_int_equal(waitpid(spawner, NULL, 0), spawner);
    drop(&program);
}

/* As one that is traced, or that the kernel holds. */
static void test_who_cannot_be_killed_does_not_keep_the_others(void **state)
{
    struct fixture *fixture = *state;
    struct program program = start_shell(fixture->spawner, "exec sleep 1000");

    faults->waits_blind = true;
    faults->longest_ms = 0;
    assert_int_equal(end(fixture->spawner, &program, 0).end, HCS_SPAWN_KILLED);
    assert_in_range(faults->longest_ms, 1, 500);
    faults->waits_blind = false;
    assert_works(fixture->spawner);
    assert_true(is_gone(program.name.pid));
}

/* As a swarm of processes makes them that only fork and end. */
static void test_orphans_without_end_do_not_keep_the_others(void **state)
{
    struct fixture *fixture = *state;
    struct program program = start_shell(fixture->spawner, "exit 3");

    faults->endless = true;
    assert_works(fixture->spawner);
    assert_int_equal(end(fixture->spawner, &program, 1000).value, 3);
    faults->endless = false;
}

static void test_signals_for_the_daemon_do_not_end_it(void **state)
{
    struct fixture *fixture = *state;
    struct program program =
        start_shell(fixture->spawner, "echo $PPID; exec sleep 1000");
    pid_t spawner = read_pid(&program);

    assert_true(spawner > 0);
    assert_int_equal(kill(spawner, SIGTERM), 0);
    assert_int_equal(kill(spawner, SIGINT), 0);
    assert_int_equal(kill(spawner, SIGHUP), 0);
    assert_works(fixture->spawner);
    assert_int_equal(end(fixture->spawner, &program, 0).end, HCS_SPAWN_KILLED);
}

/* --- The spawner's own start. */

static void test_start_that_fails_says_why(void **state)
{
    struct hcs_spawner *spawner = NULL;

    (void)state;
    memset(faults, 0, sizeof(*faults));
    faults->socketpair_error = EMFILE;
    assert_int_equal(hcs_spawner_start(&spawner), -EMFILE);
    faults->socketpair_error = 0;
    faults->fork_error = EAGAIN;
    assert_int_equal(hcs_spawner_start(&spawner), -EAGAIN);
    faults->fork_error = 0;
    faults->subreaper_error = EINVAL;
    assert_int_equal(hcs_spawner_start(&spawner), -EINVAL);
    faults->subreaper_error = 0;
    faults->poll_blind_ms = 10000;
    assert_int_equal(hcs_spawner_start(&spawner), -EPIPE);
    assert_null(spawner);
    hcs_spawner_stop(NULL);
    /* None of them is left. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_program_has_its_three_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_status_is_kept_until_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_who_does_not_end_is_killed_with_its_group, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_group_dies_with_its_leader, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_each_pid_is_given_up_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_nothing_is_inherited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_service_manager_speaks_to_the_daemon_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_spawner_keeps_nothing_of_the_daemon, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_limits_and_directory_are_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_user_is_changed_with_its_groups, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_capabilities_are_for_the_daemon_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_nobody_is_started_who_could_not_be_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_failed_start_names_its_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_failed_limit_names_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_what_cannot_be_had_now_may_be_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_what_is_too_much_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_stop_ends_those_in_sessions_of_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_stop_ends_those_that_are_not_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_stop_ends_all_where_the_kernel_keeps_no_list, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            test_killed_daemon_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_dead_spawner_is_an_error_for_ever, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_spawner_that_does_not_answer_is_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_who_cannot_be_killed_does_not_keep_the_others, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            test_orphans_without_end_do_not_keep_the_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_signals_for_the_daemon_do_not_end_it, set_up, tear_down),
        cmocka_unit_test(test_start_that_fails_says_why),
    };

    setproctitle_init(argc, argv, environ);
    skip_without_subreaper();
    return cmocka_run_group_tests(tests, make_faults, NULL);
}
