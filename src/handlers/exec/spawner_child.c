#include "handlers/exec/spawner_process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same on all architectures */
#endif

enum {
    REPORT = STDERR_FILENO + 1, /* where the report goes on */
    FAILED_STATUS = 127,        /* as a shell's, for want of a program */
};

void hcs_spawner_close_from(unsigned first)
{
    struct rlimit limit;

    if (syscall(SYS_close_range, first, ~0U, 0U) == 0) {
        return;
    }
    /* Before Linux 5.9, or in a sandbox. What was opened under a higher limit
     * than today's is not found this way; everything of ours is closed on
     * execution. */
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit.rlim_cur = 1024;
    }
    for (unsigned fd = first; fd < limit.rlim_cur; fd++) {
        close((int)fd);
    }
}

_Noreturn static void give_up(int report, enum hcs_spawn_step step)
{
    struct hcs_spawn_failure failure = {-errno, step};

    (void)!write(report, &failure, sizeof(failure));
    _exit(FAILED_STATUS);
}

/* Those that somebody ignored for the daemon stay ignored over an execution,
 * and so does a mask. */
static void reset_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL); /* not for some, which have it */
    }
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Soft and hard, so that the program cannot raise it again. */
static void set_limits(const struct hcs_spawn *spawn, int report)
{
    struct rlimit files = {spawn->files, spawn->files};
    /* A second between SIGXCPU, which says what happened, and SIGKILL. */
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

/* Last: this process may be larger than the program will be. */
static void set_memory(const struct hcs_spawn *spawn, int report)
{
    struct rlimit memory = {spawn->memory_bytes, spawn->memory_bytes};

    if (spawn->memory_bytes != HCS_SPAWN_NO_LIMIT &&
        setrlimit(RLIMIT_AS, &memory) != 0) {
        give_up(report, HCS_SPAWN_MEMORY);
    }
}

/* Who may become another user may not therefore end what runs as that one:
 * with CAP_SETUID and without CAP_KILL a program would outlive its deadline,
 * and the daemon. Its death signal asks for that permission too. */
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

/* A service manager may have given the daemon ambient capabilities, which pass
 * to what it executes, and which a change of user takes from root alone: with
 * CAP_SETUID among them the program could be anybody again. */
static void drop_capabilities(const struct hcs_spawn *spawn, int report)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL) != 0 &&
        errno != EINVAL && /* Linux before 4.3 has none */
        spawn->change_user) {
        give_up(report, HCS_SPAWN_USER);
    }
}

/* The kernel forgets the death signal at a change of user; prctl(2). */
static void die_with(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) { /* it died before that */
        _exit(FAILED_STATUS);
    }
}

_Noreturn void hcs_spawner_child(const struct hcs_spawn *spawn, int report)
{
    pid_t parent = getppid();

    (void)setsid(); /* never fails after a fork */
    for (int i = 0; i < 3; i++) {
        /* The spawner has no end below its own descriptors, so none is
         * overwritten. */
        if (dup2(spawn->ends[i], i) < 0) {
            give_up(report, HCS_SPAWN_DESCRIPTORS);
        }
    }
    if (report != REPORT && dup3(report, REPORT, O_CLOEXEC) < 0) {
        give_up(report, HCS_SPAWN_DESCRIPTORS);
    }
    hcs_spawner_close_from(REPORT + 1);
    reset_signals();
    set_limits(spawn, REPORT);
    become_user(spawn, REPORT);
    drop_capabilities(spawn, REPORT);
    if (spawn->directory != NULL && chdir(spawn->directory) != 0) {
        give_up(REPORT, HCS_SPAWN_DIRECTORY);
    }
    die_with(parent);
    set_memory(spawn, REPORT);
    (void)execv(spawn->program, (char *const *)(uintptr_t)spawn->words);
    give_up(REPORT, HCS_SPAWN_EXEC);
}
