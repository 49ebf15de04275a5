#include "handlers/exec/spawner_child.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    REPORT = STDERR_FILENO + 1, /* the descriptor report is moved there */
    FAILED_STATUS = 127,        /* a shell's status for "command not found" */
};

_Noreturn static void give_up(int report, enum hcs_spawn_step step)
{
    struct hcs_spawn_failure failure = {-errno, step};

    (void)!write(report, &failure, sizeof(failure));
    _exit(FAILED_STATUS);
}

/* Signals that are ignored or blocked stay so over execve(2). */
static void reset_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL); /* fails for SIGKILL and SIGSTOP */
    }
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Sets soft and hard limits, so that the program cannot raise them again. */
static void set_limits(const struct hcs_spawn *spawn, int report)
{
    struct rlimit files = {spawn->files, spawn->files};
    /* The soft limit sends SIGXCPU, which names the cause; SIGKILL comes a
     * second later. */
    struct rlimit cpu = {spawn->cpu_seconds, spawn->cpu_seconds + 1};

    if (spawn->files != HCS_SPAWN_NO_LIMIT &&
        setrlimit(RLIMIT_NOFILE, &files) != 0) {
        give_up(report, HCS_SPAWN_FILES);
    }
    if (spawn->cpu_seconds != HCS_SPAWN_NO_LIMIT &&
        setrlimit(RLIMIT_CPU, &cpu) != 0) {
        give_up(report, HCS_SPAWN_CPU);
    }
}

/* The last step: this process may be larger than the limit, and then cannot
 * allocate any more. */
static void set_memory(const struct hcs_spawn *spawn, int report)
{
    struct rlimit memory = {spawn->memory_bytes, spawn->memory_bytes};

    if (spawn->memory_bytes != HCS_SPAWN_NO_LIMIT &&
        setrlimit(RLIMIT_AS, &memory) != 0) {
        give_up(report, HCS_SPAWN_MEMORY);
    }
}

/* CAP_SETUID alone is not enough to run a program as another user: without
 * CAP_KILL the spawner could not kill it, and it would outlive its deadline and
 * the daemon. The death signal needs that permission too. */
static bool may_end_others(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &head, sets) != 0) {
        return false;
    }
    errno = EPERM;
    return (sets[0].effective & 1u << CAP_KILL) != 0;
}

static void become_user(const struct hcs_spawn *spawn, int report)
{
    if (!spawn->change_user) {
        return;
    }
    if (spawn->user != geteuid() && !may_end_others()) {
        give_up(report, HCS_SPAWN_USER);
    }
    if (setgroups(spawn->group_count, spawn->groups) != 0 ||
        setgid(spawn->group) != 0) {
        give_up(report, HCS_SPAWN_GROUP);
    }
    if (setuid(spawn->user) != 0) {
        give_up(report, HCS_SPAWN_USER);
    }
}

/* Ambient capabilities, which a service manager may have given to the daemon,
 * pass on to executed programs. A change of user removes them only if the user
 * was root. With CAP_SETUID among them the program could change its user
 * again. */
static void drop_capabilities(const struct hcs_spawn *spawn, int report)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL) != 0 &&
        errno != EINVAL && /* Linux before 4.3 has no ambient ones */
        spawn->change_user) {
        give_up(report, HCS_SPAWN_USER);
    }
}

/* Called after the change of user, at which the kernel clears the death signal
 * (prctl(2)). */
static void die_with(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) { /* the parent died before the call */
        _exit(FAILED_STATUS);
    }
}

_Noreturn void hcs_spawner_child(const struct hcs_spawn *spawn, int report)
{
    pid_t parent = getppid();

    setproctitle("start of %s", spawn->program);
    (void)setsid(); /* never fails after a fork */
    for (int i = 0; i < 3; i++) {
        /* All ends are above 2: the spawner keeps 0 to 4 for itself. So no end
         * is overwritten here. */
        if (dup2(spawn->ends[i], i) < 0) {
            give_up(report, HCS_SPAWN_DESCRIPTORS);
        }
    }
    if (report != REPORT && dup3(report, REPORT, O_CLOEXEC) < 0) {
        give_up(report, HCS_SPAWN_DESCRIPTORS);
    }
    closefrom(REPORT + 1);
    reset_signals();
    set_limits(spawn, REPORT);
    become_user(spawn, REPORT);
    drop_capabilities(spawn, REPORT);
    if (spawn->directory != NULL && chdir(spawn->directory) != 0) {
        give_up(REPORT, HCS_SPAWN_DIRECTORY);
    }
    die_with(parent);
    set_memory(spawn, REPORT);
    (void)execv(spawn->program, (char *const *)(uintptr_t)spawn->argv);
    give_up(REPORT, HCS_SPAWN_EXEC);
}
