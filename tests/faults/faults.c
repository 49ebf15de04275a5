/*
 * faults - makes chosen calls of the daemon fail.
 *
 * Linked into a daemon of its own, hcsd-faults, in which the functions below
 * stand before those of libc (ld(1), --wrap). A call is known by its site,
 * which is the function and where it is called, and by how often that was
 * reached.
 *
 * HCS_FAULTS holds rules, blank-separated:
 *
 *     NAME[@SITE]:FIRST-LAST[/STEP | ~STEP]=EFFECT
 *
 * NAME is a function's, or * for all. SITE is an offset in the program, in
 * hexadecimal. Of the calls that match, those numbered FIRST to LAST, or each
 * STEP of them, or about one in STEP without any rhythm, meet EFFECT: an errno,
 * "short" for one byte, or "vN" for number N of what the function can meet,
 * counted round. Calls that cannot meet the effect do not match.
 *
 * HCS_FAULT_FILE names a file that is mapped and holds struct report: what was
 * called, what failed, what was not given back. Rules hold while .armed is set.
 *
 * Owns:    the report, and a table of the blocks that the daemon has.
 * Threads: any; one lock around all that is shared.
 * Waits:   no longer than the function that it stands before.
 *
 * Names that begin with a line are looked for here alone:
 * wrap: _exit __getdelim __sched_cpualloc __sched_cpufree
 */
#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same on all architectures */
#endif

enum {
    SITES = 512,
    RULES = 8,
    NAME_LENGTH = 24,
    BLOCKS = 1 << 15, /* a power of two */
    WATCHED = 256,
    SEND_BUFFER = 16 * 1024,
    PAGE = 4096,
};

/* Effects that are no errno. */
enum {
    END = 0,
    SHORT = -1,    /* one byte */
    SPURIOUS = -2, /* returns without having waited */
    BY_NUMBER = -3,
};

struct site {
    uint64_t offset; /* of the return address in the program */
    char name[NAME_LENGTH];
    uint32_t calls;
    uint32_t struck;  /* of them, with a fault */
    uint32_t live;    /* blocks that were allocated here */
    int32_t effect;   /* the last one */
    uint32_t effects; /* how many it can meet */
    uint32_t padding;
};

/* The test reads this; tests/faults/faulty.py has its layout. */
struct report {
    uint32_t armed;
    uint32_t
        port; /* of the last that listens; the test's, if it hands one over */
    uint32_t waits;  /* calls of epoll_wait: 1 says that a loop turns */
    uint32_t struck; /* faults in all */
    uint32_t bad_closes;
    uint32_t quick_end; /* _exit was called */
    uint32_t ended;     /* main has returned; what follows is filled in */
    uint32_t fds_before;
    uint32_t fds_after;
    uint32_t live; /* blocks */
    uint32_t site_count;
    uint32_t padding;
    int64_t mapped;   /* bytes */
    int64_t forgiven; /* of them, for want of munmap */
    struct site sites[SITES];
};

struct rule {
    char name[NAME_LENGTH];
    uint64_t offset; /* 0: any */
    uint32_t first;
    uint32_t last;
    uint32_t step;
    bool scattered; /* one in step, else each step */
    int effect;
    unsigned number; /* for BY_NUMBER */
    uint32_t calls;
};

struct block {
    uintptr_t at; /* 0: none */
    struct site *site;
};

static struct report unread;
static struct report *report = &unread;
static struct rule rules[RULES];
static size_t rule_count;
static struct block blocks[BLOCKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The daemon has ended; what calls now is the compiler's, to write down its
 * counts. */
static _Atomic bool is_over;
static pid_t daemon_pid; /* others share the report: what it forks */

/* What this thread watches with epoll: an edge that a fault ate is asked for
 * again, as the kernel would tell of what it said was not there. */
static _Thread_local struct {
    int epoll; /* 0: not watched */
    struct epoll_event event;
} watched[WATCHED];

extern char __executable_start;

/* --- The functions that are stood before. */

int __real_accept4(int fd, struct sockaddr *at, socklen_t *length, int flags);
void *__real_aligned_alloc(size_t align, size_t bytes);
int __real_bind(int fd, const struct sockaddr *at, socklen_t length);
void *__real_calloc(size_t count, size_t bytes);
int __real_chdir(const char *path);
int __real_clock_getcpuclockid(pid_t pid, clockid_t *clock);
int __real_clock_nanosleep(clockid_t clock, int flags,
    const struct timespec *time, struct timespec *left);
int __real_close(int fd);
int __real_connect(int fd, const struct sockaddr *at, socklen_t length);
int __real_dup2(int from, int to);
int __real_dup3(int from, int to, int flags);
int __real_epoll_create1(int flags);
int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *e);
int __real_epoll_wait(int epoll, struct epoll_event *e, int max, int wait_ms);
int __real_eventfd(unsigned value, int flags);
int __real_eventfd_read(int fd, eventfd_t *value);
void __real__exit(int status);
int __real_execv(const char *path, char *const *words);
int __real_fclose(FILE *file);
int __real_fcntl(int fd, int command, long argument);
int __real_ferror(FILE *file);
int __real_fflush(FILE *file);
char *__real_fgets(char *line, int size, FILE *file);
FILE *__real_fopen(const char *path, const char *mode);
pid_t __real_fork(void);
void __real_free(void *block);
int __real_getc(FILE *file);
char *__real_getcwd(char *path, size_t size);
ssize_t __real_getdelim(char **line, size_t *size, int end, FILE *file);
int __real_getgrnam_r(const char *name, struct group *group, char *room,
    size_t size, struct group **found);
int __real_getgrouplist(
    const char *name, gid_t group, gid_t *groups, int *count);
int __real_getpwnam_r(const char *name, struct passwd *user, char *room,
    size_t size, struct passwd **found);
int __real_getpwuid_r(uid_t id, struct passwd *user, char *room, size_t size,
    struct passwd **found);
int __real_getrlimit(int what, struct rlimit *limit);
int __real_getsockname(int fd, struct sockaddr *at, socklen_t *length);
int __real_getsockopt(
    int fd, int level, int option, void *value, socklen_t *length);
int __real_ioctl(int fd, unsigned long request, void *argument);
int __real_listen(int fd, int backlog);
int __real_madvise(void *at, size_t bytes, int advice);
int __real_access(const char *path, int mode);
ssize_t __real_readlink(const char *path, char *text, size_t room);
void *__real_dlopen(const char *path, int flags);
void *__real_dlsym(void *module, const char *name);
void *__real_malloc(size_t bytes);
void *__real_mmap(
    void *at, size_t bytes, int prot, int flags, int fd, off_t from);
int __real_munmap(void *at, size_t bytes);
int __real_open(const char *path, int flags, mode_t mode);
DIR *__real_opendir(const char *path);
int __real_pipe2(int ends[2], int flags);
int __real_poll(struct pollfd *fds, nfds_t count, int wait_ms);
ssize_t __real_pread(int fd, void *bytes, size_t length, off_t from);
int __real_prctl(int option, unsigned long a, unsigned long b, unsigned long c,
    unsigned long d);
int __real_pthread_attr_init(pthread_attr_t *attributes);
int __real_pthread_cond_timedwait(pthread_cond_t *condition,
    pthread_mutex_t *mutex, const struct timespec *until);
int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument);
int __real_pthread_setname_np(pthread_t thread, const char *name);
struct pidfh *__real_pidfile_open(const char *path, mode_t mode, pid_t *other);
int __real_pidfile_write(struct pidfh *file);
ssize_t __real_read(int fd, void *bytes, size_t length);
void *__real_realloc(void *block, size_t bytes);
void *__real_reallocarray(void *block, size_t count, size_t bytes);
ssize_t __real_recv(int fd, void *bytes, size_t length, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
int __real_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *mask);
ssize_t __real_send(int fd, const void *bytes, size_t length, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
int __real_setgid(gid_t group);
int __real_setgroups(size_t count, const gid_t *groups);
int __real_setrlimit(int what, const struct rlimit *limit);
int __real_setsockopt(
    int fd, int level, int option, const void *value, socklen_t length);
int __real_setuid(uid_t user);
int __real_shutdown(int fd, int how);
int __real_signalfd(int fd, const sigset_t *mask, int flags);
int __real_socket(int domain, int type, int protocol);
int __real_socketpair(int domain, int type, int protocol, int ends[2]);
int __real_stat(const char *path, struct stat *out);
char *__real_strdup(const char *text);
long __real_syscall(
    long number, long a, long b, long c, long d, long e, long f);
long __real_sysconf(int name);
int __real_unshare(int flags);
ssize_t __real_write(int fd, const void *bytes, size_t length);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);
cpu_set_t *__real___sched_cpualloc(size_t count);
void __real___sched_cpufree(cpu_set_t *mask);

/* --- Rules. */

static unsigned count_effects(const int *effects)
{
    unsigned count = 0;

    while (effects[count] != END) {
        count++;
    }
    return count;
}

static bool can_meet(const int *effects, int effect)
{
    for (size_t i = 0; effects[i] != END; i++) {
        if (effects[i] == effect) {
            return true;
        }
    }
    return false;
}

/* The lock is held. It is the process's own, and what the daemon forks shares the
 * report: so a place is claimed by one step, and its offset, by which it is
 * found, is written last. Two processes may each claim one for the same call. */
static struct site *find_site(const char *name, const void *caller)
{
    uint64_t offset =
        (uint64_t)((uintptr_t)caller - (uintptr_t)&__executable_start);
    uint32_t count = __atomic_load_n(&report->site_count, __ATOMIC_RELAXED);
    struct site *site = report->sites;

    for (uint32_t i = 0; i < count; i++, site++) {
        if (__atomic_load_n(&site->offset, __ATOMIC_ACQUIRE) == offset &&
            strcmp(site->name, name) == 0) {
            return site;
        }
    }
    count = __atomic_fetch_add(&report->site_count, 1, __ATOMIC_RELAXED);
    assert(count < SITES);
    site = &report->sites[count];
    (void)snprintf(site->name, sizeof(site->name), "%s", name);
    __atomic_store_n(&site->offset, offset, __ATOMIC_RELEASE);
    return site;
}

/* The effect that the rule has for this call, or END. The lock is held. */
static int apply(struct rule *rule, const struct site *site, const int *effects)
{
    int effect = rule->effect;
    uint32_t number;

    if ((strcmp(rule->name, "*") != 0 && strcmp(rule->name, site->name) != 0) ||
        (rule->offset != 0 && rule->offset != site->offset)) {
        return END;
    }
    if (effect == BY_NUMBER) {
        effect = effects[rule->number % count_effects(effects)];
    }
    if (!can_meet(effects, effect)) {
        return END;
    }
    rule->calls++;
    if (rule->calls < rule->first || rule->calls > rule->last) {
        return END;
    }
    number = rule->calls - rule->first;
    if (rule->scattered) {
        number = (uint32_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 40);
    }
    return number % rule->step == 0 ? effect : END;
}

/* What this call meets: one of effects, or END. */
static int meet(const char *name, const int *effects, const void *caller)
{
    int effect = END;
    struct site *site;

    if (is_over) {
        return END;
    }
    pthread_mutex_lock(&lock);
    site = find_site(name, caller);
    __atomic_fetch_add(&site->calls, 1, __ATOMIC_RELAXED);
    site->effects = count_effects(effects);
    for (size_t i = 0; i < rule_count && effect == END; i++) {
        if (__atomic_load_n(&report->armed, __ATOMIC_RELAXED) != 0) {
            effect = apply(&rules[i], site, effects);
        }
    }
    if (effect != END) {
        site->struck++;
        site->effect = effect;
        __atomic_fetch_add(&report->struck, 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&lock);
    return effect;
}

/* As meet, for a function that says so with -1 and errno. */
static bool fails(const char *name, const int *effects, const void *caller)
{
    int effect = meet(name, effects, caller);

    if (effect != END) {
        errno = effect;
    }
    return effect != END;
}

static void read_rule(const char *word)
{
    struct rule *rule = &rules[rule_count];
    const char *name_end = strpbrk(word, "@:");
    const char *colon = strchr(word, ':');
    const char *equals = strchr(word, '=');
    char *end;

    if (rule_count == RULES || name_end == NULL || colon == NULL ||
        equals == NULL || name_end - word >= NAME_LENGTH) {
        fprintf(stderr, "faults: not a rule: %s\n", word);
        abort();
    }
    memcpy(rule->name, word, (size_t)(name_end - word));
    rule->offset = *name_end == '@' ? strtoull(name_end + 1, NULL, 16) : 0;
    rule->first = (uint32_t)strtoul(colon + 1, &end, 10);
    rule->last = *end == '-' ? (uint32_t)strtoul(end + 1, &end, 10) : 0;
    rule->scattered = *end == '~';
    rule->step =
        *end == '/' || *end == '~' ? (uint32_t)strtoul(end + 1, &end, 10) : 1;
    if (end != equals || rule->step == 0) {
        fprintf(stderr, "faults: not a range: %s\n", word);
        abort();
    }
    if (strcmp(equals + 1, "short") == 0) {
        rule->effect = SHORT;
    } else if (equals[1] == 'v') {
        rule->effect = BY_NUMBER;
        rule->number = (unsigned)strtoul(equals + 2, NULL, 10);
    } else {
        rule->effect = atoi(equals + 1);
    }
    rule_count++;
}

/* --- What must be given back. */

static size_t place_of(uintptr_t at)
{
    return (size_t)((uint64_t)at * UINT64_C(0x9e3779b97f4a7c15) >> 40) &
           (BLOCKS - 1);
}

static void keep(void *block, const char *name, const void *caller)
{
    size_t i = place_of((uintptr_t)block);

    if (block == NULL || is_over) {
        return;
    }
    pthread_mutex_lock(&lock);
    assert(report->live < BLOCKS / 2);
    while (blocks[i].at != 0) {
        i = (i + 1) & (BLOCKS - 1);
    }
    blocks[i].at = (uintptr_t)block;
    blocks[i].site = find_site(name, caller);
    blocks[i].site->live++;
    report->live++;
    pthread_mutex_unlock(&lock);
}

/* Blocks of libc's own, such as fopen's, are not known. The site, or NULL. */
static struct site *drop(void *block)
{
    size_t i = place_of((uintptr_t)block);
    struct site *site = NULL;

    if (block == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&lock);
    while (blocks[i].at != 0 && blocks[i].at != (uintptr_t)block) {
        i = (i + 1) & (BLOCKS - 1);
    }
    if (blocks[i].at != 0) {
        site = blocks[i].site;
        site->live--;
        report->live--;
        blocks[i].at = 0;
        /* Those behind it may have been pushed there by it. */
        for (size_t j = (i + 1) & (BLOCKS - 1); blocks[j].at != 0;
             j = (j + 1) & (BLOCKS - 1)) {
            size_t home = place_of(blocks[j].at);

            if (((j - home) & (BLOCKS - 1)) >= ((j - i) & (BLOCKS - 1))) {
                blocks[i] = blocks[j];
                blocks[j].at = 0;
                i = j;
            }
        }
    }
    pthread_mutex_unlock(&lock);
    return site;
}

static int64_t whole_pages(size_t bytes)
{
    return (int64_t)((bytes + PAGE - 1) / PAGE * PAGE);
}

/* Descriptors of this thread's table, that of the directory itself apart. */
static uint32_t count_fds(void)
{
    DIR *folder = __real_opendir("/proc/self/fd");
    uint32_t count = 0;

    if (folder == NULL) {
        return 0;
    }
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count - 3; /* ".", "..", and the directory */
}

/* Of a coverage build alone: _exit would leave the counts unwritten. */
void __gcov_dump(void) __attribute__((weak));

static void set_up(void) __attribute__((constructor));
static void tear_down(void) __attribute__((destructor));

static void set_up(void)
{
    const char *path = getenv("HCS_FAULT_FILE");
    const char *text = getenv("HCS_FAULTS");

    if (path != NULL) {
        int fd = __real_open(path, O_RDWR | O_CLOEXEC, 0);
        void *at = __real_mmap(
            NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (fd < 0 || at == MAP_FAILED) {
            perror(path);
            abort();
        }
        (void)__real_close(fd);
        report = at;
    }
    if (text != NULL) {
        char copy[1024];
        char *save;

        (void)snprintf(copy, sizeof(copy), "%s", text);
        for (char *word = strtok_r(copy, " ", &save); word != NULL;
             word = strtok_r(NULL, " ", &save)) {
            read_rule(word);
        }
    }
    daemon_pid = getpid();
    report->fds_before = count_fds();
}

static void tear_down(void)
{
    is_over = true;
    report->fds_after = count_fds();
    __atomic_store_n(&report->ended, 1, __ATOMIC_RELEASE);
}

void __wrap__exit(int status)
{
    if (getpid() == daemon_pid) {
        __atomic_store_n(&report->quick_end, 1, __ATOMIC_RELEASE);
    }
    if (__gcov_dump != NULL) {
        is_over = true;
        __gcov_dump();
    }
    __real__exit(status);
}

/* --- Memory. */

static const int NO_MEMORY[] = {ENOMEM, END};

void *__wrap_malloc(size_t bytes)
{
    const void *caller = __builtin_return_address(0);
    void *block = NULL;

    if (!fails("malloc", NO_MEMORY, caller)) {
        block = __real_malloc(bytes);
        keep(block, "malloc", caller);
    }
    return block;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    const void *caller = __builtin_return_address(0);
    void *block = NULL;

    if (!fails("calloc", NO_MEMORY, caller)) {
        block = __real_calloc(count, bytes);
        keep(block, "calloc", caller);
    }
    return block;
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
    const void *caller = __builtin_return_address(0);
    void *block = NULL;

    if (!fails("aligned_alloc", NO_MEMORY, caller)) {
        block = __real_aligned_alloc(align, bytes);
        keep(block, "aligned_alloc", caller);
    }
    return block;
}

void *__wrap_realloc(void *block, size_t bytes)
{
    const void *caller = __builtin_return_address(0);
    void *moved;

    if (fails("realloc", NO_MEMORY, caller)) {
        return NULL;
    }
    /* Before, since another thread may get its address in between. */
    (void)drop(block);
    moved = __real_realloc(block, bytes);
    keep(moved != NULL ? moved : block, "realloc", caller);
    return moved;
}

void *__wrap_reallocarray(void *block, size_t count, size_t bytes)
{
    const void *caller = __builtin_return_address(0);
    void *moved;

    if (fails("reallocarray", NO_MEMORY, caller)) {
        return NULL;
    }
    (void)drop(block); /* as in realloc */
    moved = __real_reallocarray(block, count, bytes);
    keep(moved != NULL ? moved : block, "reallocarray", caller);
    return moved;
}

char *__wrap_strdup(const char *text)
{
    const void *caller = __builtin_return_address(0);
    char *copy = NULL;

    if (!fails("strdup", NO_MEMORY, caller)) {
        copy = __real_strdup(text);
        keep(copy, "strdup", caller);
    }
    return copy;
}

cpu_set_t *__wrap___sched_cpualloc(size_t count)
{
    const void *caller = __builtin_return_address(0);
    cpu_set_t *mask = NULL;

    if (!fails("__sched_cpualloc", NO_MEMORY, caller)) {
        mask = __real___sched_cpualloc(count);
        keep(mask, "__sched_cpualloc", caller);
    }
    return mask;
}

void __wrap___sched_cpufree(cpu_set_t *mask)
{
    (void)drop(mask);
    __real___sched_cpufree(mask);
}

void __wrap_free(void *block)
{
    (void)drop(block);
    __real_free(block);
}

void *__wrap_mmap(
    void *at, size_t bytes, int prot, int flags, int fd, off_t from)
{
    void *mapped = MAP_FAILED;

    if (!fails("mmap", NO_MEMORY, __builtin_return_address(0))) {
        mapped = __real_mmap(at, bytes, prot, flags, fd, from);
    }
    if (mapped != MAP_FAILED) {
        __atomic_fetch_add(
            &report->mapped, whole_pages(bytes), __ATOMIC_RELAXED);
    }
    return mapped;
}

/* munmap(2): the limit of areas, which cutting one in two may pass. */
int __wrap_munmap(void *at, size_t bytes)
{
    if (fails("munmap", NO_MEMORY, __builtin_return_address(0))) {
        __atomic_fetch_add(
            &report->forgiven, whole_pages(bytes), __ATOMIC_RELAXED);
        return -1;
    }
    __atomic_fetch_sub(&report->mapped, whole_pages(bytes), __ATOMIC_RELAXED);
    return __real_munmap(at, bytes);
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
    static const int effects[] = {EINVAL, ENOMEM, END};

    return fails("madvise", effects, __builtin_return_address(0))
               ? -1
               : __real_madvise(at, bytes, advice);
}

/* --- Descriptors. */

static const int NO_DESCRIPTOR[] = {EMFILE, ENFILE, ENOMEM, END};

static void unwatch(int fd)
{
    if (fd >= 0 && fd < WATCHED) {
        watched[fd].epoll = 0;
    }
}

/* Asks for the edge again. Those that are not watched are looked at anew. */
static void rearm(int fd)
{
    if (fd < 0 || fd >= WATCHED || watched[fd].epoll <= 0) {
        return;
    }
    if ((watched[fd].event.events & EPOLLEXCLUSIVE) == 0) {
        (void)__real_epoll_ctl(
            watched[fd].epoll, EPOLL_CTL_MOD, fd, &watched[fd].event);
        return;
    }
    /* Which cannot be modified; epoll_ctl(2). */
    (void)__real_epoll_ctl(watched[fd].epoll, EPOLL_CTL_DEL, fd, NULL);
    (void)__real_epoll_ctl(
        watched[fd].epoll, EPOLL_CTL_ADD, fd, &watched[fd].event);
}

/* It is closed even when it says that this failed; close(2). */
int __wrap_close(int fd)
{
    static const int effects[] = {EINTR, EIO, END};
    int rc;

    unwatch(fd);
    rc = __real_close(fd);
    if (rc != 0 && errno == EBADF) {
        __atomic_fetch_add(&report->bad_closes, 1, __ATOMIC_RELAXED);
        return rc;
    }
    return fails("close", effects, __builtin_return_address(0)) ? -1 : rc;
}

int __wrap_dup2(int from, int to)
{
    static const int effects[] = {EBUSY, EINTR, EMFILE, END};

    if (fails("dup2", effects, __builtin_return_address(0))) {
        return -1;
    }
    unwatch(to);
    return __real_dup2(from, to);
}

int __wrap_dup3(int from, int to, int flags)
{
    static const int effects[] = {EBUSY, EINTR, EMFILE, END};

    if (fails("dup3", effects, __builtin_return_address(0))) {
        return -1;
    }
    unwatch(to);
    return __real_dup3(from, to, flags);
}

int __wrap_fcntl(int fd, int command, ...)
{
    static const int effects[] = {EMFILE, EPERM, EBUSY, END};
    va_list arguments;
    long argument;

    va_start(arguments, command);
    argument = va_arg(arguments, long);
    va_end(arguments);
    return fails("fcntl", effects, __builtin_return_address(0))
               ? -1
               : __real_fcntl(fd, command, argument);
}

int __wrap_open(const char *path, int flags, ...)
{
    static const int effects[] = {EMFILE, ENFILE, ENOMEM, EACCES, END};

    /* None is passed on but what a coverage build writes to in the end. */
    assert((flags & O_CREAT) == 0 || is_over);
    return fails("open", effects, __builtin_return_address(0))
               ? -1
               : __real_open(path, flags, 0666);
}

int __wrap_access(const char *path, int mode)
{
    static const int effects[] = {ENOENT, EACCES, ENOMEM, END};

    return fails("access", effects, __builtin_return_address(0))
               ? -1
               : __real_access(path, mode);
}

ssize_t __wrap_readlink(const char *path, char *text, size_t room)
{
    static const int effects[] = {ENOENT, EACCES, ENOMEM, END};

    return fails("readlink", effects, __builtin_return_address(0))
               ? -1
               : __real_readlink(path, text, room);
}

/* As without memory, or with an undefined symbol. */
void *__wrap_dlopen(const char *path, int flags)
{
    return fails("dlopen", NO_MEMORY, __builtin_return_address(0))
               ? NULL
               : __real_dlopen(path, flags);
}

void *__wrap_dlsym(void *module, const char *name)
{
    static const int effects[] = {ENOENT, END};

    return fails("dlsym", effects, __builtin_return_address(0))
               ? NULL
               : __real_dlsym(module, name);
}

int __wrap_pipe2(int ends[2], int flags)
{
    return fails("pipe2", NO_DESCRIPTOR, __builtin_return_address(0))
               ? -1
               : __real_pipe2(ends, flags);
}

int __wrap_eventfd(unsigned value, int flags)
{
    return fails("eventfd", NO_DESCRIPTOR, __builtin_return_address(0))
               ? -1
               : __real_eventfd(value, flags);
}

int __wrap_signalfd(int fd, const sigset_t *mask, int flags)
{
    return fails("signalfd", NO_DESCRIPTOR, __builtin_return_address(0))
               ? -1
               : __real_signalfd(fd, mask, flags);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    static const int effects[] = {ENOTTY, EINVAL, END};
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return fails("ioctl", effects, __builtin_return_address(0))
               ? -1
               : __real_ioctl(fd, request, argument);
}

static int socket_type(int fd)
{
    int type = 0;
    socklen_t length = sizeof(type);
    int before = errno;

    if (__real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
        type = 0;
        errno = before;
    }
    return type;
}

static bool is_pipe(int fd)
{
    struct stat what;

    return fstat(fd, &what) == 0 && S_ISFIFO(what.st_mode);
}

ssize_t __wrap_read(int fd, void *bytes, size_t length)
{
    static const int socket_effects[] = {
        EINTR, SHORT, EAGAIN, ECONNRESET, ETIMEDOUT, END};
    static const int pipe_effects[] = {EINTR, SHORT, EAGAIN, END};
    static const int other_effects[] = {EINTR, EAGAIN, END};
    const int *effects = socket_type(fd) != 0 ? socket_effects
                         : is_pipe(fd)        ? pipe_effects
                                              : other_effects;
    int effect = meet("read", effects, __builtin_return_address(0));
    ssize_t n;

    if (effect == SHORT) {
        n = __real_read(fd, bytes, length > 0 ? 1 : 0);
        rearm(fd); /* as when the rest arrives a moment later */
        return n;
    }
    if (effect != END) {
        if (effect == EAGAIN) {
            rearm(fd);
        }
        errno = effect;
        return -1;
    }
    return __real_read(fd, bytes, length);
}

ssize_t __wrap_pread(int fd, void *bytes, size_t length, off_t from)
{
    static const int effects[] = {EINTR, EIO, SHORT, END};
    int effect = meet("pread", effects, __builtin_return_address(0));

    if (effect != END && effect != SHORT) {
        errno = effect;
        return -1;
    }
    return __real_pread(fd, bytes, effect == SHORT ? 1 : length, from);
}

/* Into the log's pipe, which does not block and is written to in pieces that
 * go in whole, only EAGAIN is possible; pipe(7). */
ssize_t __wrap_write(int fd, const void *bytes, size_t length)
{
    static const int pipe_effects[] = {EAGAIN, END};
    static const int standard_effects[] = {
        SHORT, EINTR, EAGAIN, EPIPE, EIO, ENOSPC, END};
    int effect =
        meet("write", fd == STDERR_FILENO ? standard_effects : pipe_effects,
            __builtin_return_address(0));

    if (effect != END && effect != SHORT) {
        errno = effect;
        return -1;
    }
    return __real_write(fd, bytes, effect == SHORT ? 1 : length);
}

/* Its poll tells of it again. */
int __wrap_eventfd_read(int fd, eventfd_t *value)
{
    static const int effects[] = {EINTR, EAGAIN, END};

    return fails("eventfd_read", effects, __builtin_return_address(0))
               ? -1
               : __real_eventfd_read(fd, value);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int wait_ms)
{
    static const int effects[] = {EINTR, ENOMEM, END};

    return fails("poll", effects, __builtin_return_address(0))
               ? -1
               : __real_poll(fds, count, wait_ms);
}

/* --- epoll. */

int __wrap_epoll_create1(int flags)
{
    return fails("epoll_create1", NO_DESCRIPTOR, __builtin_return_address(0))
               ? -1
               : __real_epoll_create1(flags);
}

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *e)
{
    static const int effects[] = {ENOMEM, ENOSPC, END};
    int rc;

    /* Removing needs nothing that could be missing. */
    if (operation != EPOLL_CTL_DEL &&
        fails("epoll_ctl", effects, __builtin_return_address(0))) {
        return -1;
    }
    rc = __real_epoll_ctl(epoll, operation, fd, e);
    if (rc == 0 && fd < WATCHED) {
        watched[fd].epoll = operation == EPOLL_CTL_DEL ? 0 : epoll;
        if (operation != EPOLL_CTL_DEL) {
            watched[fd].event = *e;
        }
    }
    return rc;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *e, int max, int wait_ms)
{
    static const int effects[] = {EINTR, END};

    __atomic_fetch_add(&report->waits, 1, __ATOMIC_RELAXED);
    return fails("epoll_wait", effects, __builtin_return_address(0))
               ? -1
               : __real_epoll_wait(epoll, e, max, wait_ms);
}

/* --- Sockets. */

int __wrap_socket(int domain, int type, int protocol)
{
    static const int effects[] = {
        EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT, EACCES, END};

    return fails("socket", effects, __builtin_return_address(0))
               ? -1
               : __real_socket(domain, type, protocol);
}

int __wrap_socketpair(int domain, int type, int protocol, int ends[2])
{
    return fails("socketpair", NO_DESCRIPTOR, __builtin_return_address(0))
               ? -1
               : __real_socketpair(domain, type, protocol, ends);
}

int __wrap_bind(int fd, const struct sockaddr *at, socklen_t length)
{
    static const int effects[] = {
        EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOMEM, END};

    return fails("bind", effects, __builtin_return_address(0))
               ? -1
               : __real_bind(fd, at, length);
}

int __wrap_listen(int fd, int backlog)
{
    static const int effects[] = {EADDRINUSE, ENOMEM, END};
    struct sockaddr_in6 at; /* v4 has its port in the same place */
    socklen_t length = sizeof(at);
    int rc;

    if (fails("listen", effects, __builtin_return_address(0))) {
        return -1;
    }
    rc = __real_listen(fd, backlog);
    if (rc == 0 &&
        __real_getsockname(fd, (struct sockaddr *)&at, &length) == 0) {
        __atomic_store_n(&report->port, ntohs(at.sin6_port), __ATOMIC_RELEASE);
    }
    return rc;
}

int __wrap_getsockname(int fd, struct sockaddr *at, socklen_t *length)
{
    static const int effects[] = {ENOBUFS, END};

    return fails("getsockname", effects, __builtin_return_address(0))
               ? -1
               : __real_getsockname(fd, at, length);
}

struct pidfh *__wrap_pidfile_open(const char *path, mode_t mode, pid_t *other)
{
    static const int effects[] = {EACCES, ENOSPC, EMFILE, EEXIST, END};

    return fails("pidfile_open", effects, __builtin_return_address(0))
               ? NULL
               : __real_pidfile_open(path, mode, other);
}

int __wrap_pidfile_write(struct pidfh *file)
{
    static const int effects[] = {ENOSPC, EIO, END};

    return fails("pidfile_write", effects, __builtin_return_address(0))
               ? -1
               : __real_pidfile_write(file);
}

int __wrap_setsockopt(
    int fd, int level, int option, const void *value, socklen_t length)
{
    static const int effects[] = {ENOMEM, ENOPROTOOPT, EPERM, END};

    return fails("setsockopt", effects, __builtin_return_address(0))
               ? -1
               : __real_setsockopt(fd, level, option, value, length);
}

int __wrap_getsockopt(
    int fd, int level, int option, void *value, socklen_t *length)
{
    static const int effects[] = {ENOPROTOOPT, ENOBUFS, END};

    return fails("getsockopt", effects, __builtin_return_address(0))
               ? -1
               : __real_getsockopt(fd, level, option, value, length);
}

/* The accepted ones get a small buffer, so that a reply need not be large to be
 * more than the socket takes. */
int __wrap_accept4(int fd, struct sockaddr *at, socklen_t *length, int flags)
{
    static const int effects[] = {EMFILE, ECONNABORTED, ENFILE, ENOMEM, ENOBUFS,
        EINTR, EAGAIN, EPROTO, EPERM, END};
    int effect = meet("accept4", effects, __builtin_return_address(0));
    int bytes = SEND_BUFFER;
    int accepted;

    if (effect != END) {
        if (effect == EAGAIN) {
            rearm(fd);
        }
        errno = effect;
        return -1;
    }
    accepted = __real_accept4(fd, at, length, flags);
    if (accepted >= 0) {
        (void)__real_setsockopt(
            accepted, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    }
    return accepted;
}

int __wrap_connect(int fd, const struct sockaddr *at, socklen_t length)
{
    static const int effects[] = {ECONNREFUSED, ENOENT, EAGAIN, EINTR, END};

    return fails("connect", effects, __builtin_return_address(0))
               ? -1
               : __real_connect(fd, at, length);
}

int __wrap_shutdown(int fd, int how)
{
    static const int effects[] = {ENOTCONN, ENOBUFS, END};

    return fails("shutdown", effects, __builtin_return_address(0))
               ? -1
               : __real_shutdown(fd, how);
}

static const int SEND_EFFECTS[] = {
    SHORT, EINTR, EAGAIN, ENOBUFS, ENOMEM, ECONNRESET, EPIPE, END};

/* A datagram goes whole or not at all. */
static const int DATAGRAM_EFFECTS[] = {
    EINTR, EAGAIN, ENOBUFS, ECONNREFUSED, END};

static const int *send_effects(int fd)
{
    return socket_type(fd) == SOCK_STREAM ? SEND_EFFECTS : DATAGRAM_EFFECTS;
}

/* After EAGAIN an edge tells of room; after the others none does. */
static ssize_t refuse_to_send(int fd, int effect)
{
    if (effect == EAGAIN) {
        rearm(fd);
    }
    errno = effect;
    return -1;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags)
{
    int effect = meet("send", send_effects(fd), __builtin_return_address(0));

    if (effect != END && effect != SHORT) {
        return refuse_to_send(fd, effect);
    }
    return __real_send(
        fd, bytes, effect == SHORT && length > 0 ? 1 : length, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    int effect = meet("sendmsg", send_effects(fd), __builtin_return_address(0));

    if (effect != END && effect != SHORT) {
        return refuse_to_send(fd, effect);
    }
    if (effect == SHORT) {
        size_t i = 0;

        while (message->msg_iov[i].iov_len == 0) {
            i++;
        }
        return __real_send(fd, message->msg_iov[i].iov_base, 1, flags);
    }
    return __real_sendmsg(fd, message, flags);
}

ssize_t __wrap_recv(int fd, void *bytes, size_t length, int flags)
{
    static const int effects[] = {EINTR, SHORT, EAGAIN, ECONNRESET, END};
    int effect = meet("recv", effects, __builtin_return_address(0));
    ssize_t n;

    if (effect == SHORT) {
        n = __real_recv(fd, bytes, length > 0 ? 1 : 0, flags);
        rearm(fd);
        return n;
    }
    if (effect != END) {
        if (effect == EAGAIN) {
            rearm(fd);
        }
        errno = effect;
        return -1;
    }
    return __real_recv(fd, bytes, length, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    static const int effects[] = {EINTR, ENOMEM, ECONNRESET, END};

    return fails("recvmsg", effects, __builtin_return_address(0))
               ? -1
               : __real_recvmsg(fd, message, flags);
}

/* To a pipe. */
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    static const int effects[] = {EINTR, EAGAIN, EPIPE, SHORT, END};
    int effect = meet("writev", effects, __builtin_return_address(0));

    if (effect == SHORT) {
        return __real_write(fd, parts->iov_base, parts->iov_len > 0 ? 1 : 0);
    }
    if (effect != END) {
        errno = effect;
        return -1;
    }
    return __real_writev(fd, parts, count);
}

/* --- Files. */

static _Thread_local bool file_failed; /* the one that this thread reads */

FILE *__wrap_fopen(const char *path, const char *mode)
{
    static const int effects[] = {ENOMEM, EMFILE, EACCES, END};

    file_failed = false;
    return fails("fopen", effects, __builtin_return_address(0))
               ? NULL
               : __real_fopen(path, mode);
}

int __wrap_fclose(FILE *file)
{
    static const int effects[] = {EIO, END};
    int rc = __real_fclose(file);

    return fails("fclose", effects, __builtin_return_address(0)) ? EOF : rc;
}

int __wrap_fflush(FILE *file)
{
    static const int effects[] = {ENOSPC, EIO, END};

    return fails("fflush", effects, __builtin_return_address(0))
               ? EOF
               : __real_fflush(file);
}

int __wrap_ferror(FILE *file)
{
    return file_failed || __real_ferror(file);
}

static const int FILE_EFFECTS[] = {EIO, END};

char *__wrap_fgets(char *line, int size, FILE *file)
{
    if (fails("fgets", FILE_EFFECTS, __builtin_return_address(0))) {
        file_failed = true;
        return NULL;
    }
    return __real_fgets(line, size, file);
}

int __wrap_getc(FILE *file)
{
    if (fails("getc", FILE_EFFECTS, __builtin_return_address(0))) {
        file_failed = true;
        return EOF;
    }
    return __real_getc(file);
}

static ssize_t read_line(
    char **line, size_t *size, int end, FILE *file, const void *caller)
{
    static const int effects[] = {ENOMEM, EIO, END};
    ssize_t n;

    if (fails("getdelim", effects, caller)) {
        file_failed = true;
        return -1;
    }
    (void)drop(*line);
    n = __real_getdelim(line, size, end, file);
    keep(*line, "getdelim", caller);
    return n;
}

ssize_t __wrap_getdelim(char **line, size_t *size, int end, FILE *file)
{
    return read_line(line, size, end, file, __builtin_return_address(0));
}

/* What stdio.h makes of getline, when it optimises and when it does not. */
ssize_t __wrap___getdelim(char **line, size_t *size, int end, FILE *file)
{
    return read_line(line, size, end, file, __builtin_return_address(0));
}

ssize_t __wrap_getline(char **line, size_t *size, FILE *file)
{
    return read_line(line, size, '\n', file, __builtin_return_address(0));
}

DIR *__wrap_opendir(const char *path)
{
    return fails("opendir", NO_DESCRIPTOR, __builtin_return_address(0))
               ? NULL
               : __real_opendir(path);
}

static const int NO_FILE[] = {ENOENT, EACCES, ENOMEM, END};

int __wrap_stat(const char *path, struct stat *out)
{
    return fails("stat", NO_FILE, __builtin_return_address(0))
               ? -1
               : __real_stat(path, out);
}

int __wrap_chdir(const char *path)
{
    return fails("chdir", NO_FILE, __builtin_return_address(0))
               ? -1
               : __real_chdir(path);
}

char *__wrap_getcwd(char *path, size_t size)
{
    return fails("getcwd", NO_FILE, __builtin_return_address(0))
               ? NULL
               : __real_getcwd(path, size);
}

/* --- Users. Errors are returned; "there is none" is none. */

static const int NO_RECORD[] = {ERANGE, ENOMEM, EIO, END};

int __wrap_getpwnam_r(const char *name, struct passwd *user, char *room,
    size_t size, struct passwd **found)
{
    int effect = meet("getpwnam_r", NO_RECORD, __builtin_return_address(0));

    *found = NULL;
    return effect != END ? effect
                         : __real_getpwnam_r(name, user, room, size, found);
}

int __wrap_getpwuid_r(uid_t id, struct passwd *user, char *room, size_t size,
    struct passwd **found)
{
    int effect = meet("getpwuid_r", NO_RECORD, __builtin_return_address(0));

    *found = NULL;
    return effect != END ? effect
                         : __real_getpwuid_r(id, user, room, size, found);
}

int __wrap_getgrnam_r(const char *name, struct group *group, char *room,
    size_t size, struct group **found)
{
    int effect = meet("getgrnam_r", NO_RECORD, __builtin_return_address(0));

    *found = NULL;
    return effect != END ? effect
                         : __real_getgrnam_r(name, group, room, size, found);
}

int __wrap_getgrouplist(
    const char *name, gid_t group, gid_t *groups, int *count)
{
    static const int effects[] = {ERANGE, END};

    return fails("getgrouplist", effects, __builtin_return_address(0))
               ? -1
               : __real_getgrouplist(name, group, groups, count);
}

static const int NOT_PERMITTED[] = {EPERM, EAGAIN, END};

int __wrap_setgid(gid_t group)
{
    return fails("setgid", NOT_PERMITTED, __builtin_return_address(0))
               ? -1
               : __real_setgid(group);
}

int __wrap_setgroups(size_t count, const gid_t *groups)
{
    return fails("setgroups", NOT_PERMITTED, __builtin_return_address(0))
               ? -1
               : __real_setgroups(count, groups);
}

int __wrap_setuid(uid_t user)
{
    return fails("setuid", NOT_PERMITTED, __builtin_return_address(0))
               ? -1
               : __real_setuid(user);
}

/* --- Threads and the process. */

pid_t __wrap_fork(void)
{
    static const int effects[] = {EAGAIN, ENOMEM, END};

    return fails("fork", effects, __builtin_return_address(0)) ? -1
                                                               : __real_fork();
}

int __wrap_execv(const char *path, char *const *words)
{
    static const int effects[] = {ENOENT, EACCES, ENOMEM, ETXTBSY, END};

    return fails("execv", effects, __builtin_return_address(0))
               ? -1
               : __real_execv(path, words);
}

int __wrap_prctl(int option, ...)
{
    static const int effects[] = {EINVAL, EPERM, END};
    va_list arguments;
    unsigned long a[4];

    va_start(arguments, option);
    for (size_t i = 0; i < 4; i++) {
        a[i] = va_arg(arguments, unsigned long);
    }
    va_end(arguments);
    return fails("prctl", effects, __builtin_return_address(0))
               ? -1
               : __real_prctl(option, a[0], a[1], a[2], a[3]);
}

int __wrap_clock_getcpuclockid(pid_t pid, clockid_t *clock)
{
    static const int effects[] = {ESRCH, EPERM, END};
    int effect =
        meet("clock_getcpuclockid", effects, __builtin_return_address(0));

    return effect != END ? effect : __real_clock_getcpuclockid(pid, clock);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
    void *(*run)(void *), void *argument)
{
    static const int effects[] = {EAGAIN, EPERM, END};
    int effect = meet("pthread_create", effects, __builtin_return_address(0));

    return effect != END
               ? effect
               : __real_pthread_create(thread, attributes, run, argument);
}

int __wrap_pthread_attr_init(pthread_attr_t *attributes)
{
    int effect =
        meet("pthread_attr_init", NO_MEMORY, __builtin_return_address(0));

    return effect != END ? effect : __real_pthread_attr_init(attributes);
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    static const int effects[] = {ERANGE, END};
    int effect =
        meet("pthread_setname_np", effects, __builtin_return_address(0));

    return effect != END ? effect : __real_pthread_setname_np(thread, name);
}

static const int WAKES[] = {SPURIOUS, END};

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    return meet("pthread_cond_wait", WAKES, __builtin_return_address(0)) != END
               ? 0
               : __real_pthread_cond_wait(condition, mutex);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition,
    pthread_mutex_t *mutex, const struct timespec *until)
{
    return meet("pthread_cond_timedwait", WAKES, __builtin_return_address(0)) !=
                   END
               ? 0
               : __real_pthread_cond_timedwait(condition, mutex, until);
}

int __wrap_clock_nanosleep(clockid_t clock, int flags,
    const struct timespec *time, struct timespec *left)
{
    static const int effects[] = {EINTR, END};
    int effect = meet("clock_nanosleep", effects, __builtin_return_address(0));

    if (effect != END && left != NULL) {
        *left = *time;
    }
    return effect != END ? effect
                         : __real_clock_nanosleep(clock, flags, time, left);
}

int __wrap_unshare(int flags)
{
    static const int effects[] = {EPERM, ENOMEM, END};

    return fails("unshare", effects, __builtin_return_address(0))
               ? -1
               : __real_unshare(flags);
}

long __wrap_syscall(long number, ...)
{
    static const int waits[] = {EINTR, EAGAIN, END};
    static const int closes[] = {ENOSYS, EPERM, ENOMEM, END};
    static const int forbids[] = {EPERM, END};
    const void *caller = __builtin_return_address(0);
    va_list arguments;
    long a[6];

    va_start(arguments, number);
    for (size_t i = 0; i < 6; i++) {
        a[i] = va_arg(arguments, long);
    }
    va_end(arguments);
    /* To wake somebody cannot fail. */
    if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT &&
        fails("futex", waits, caller)) {
        return -1;
    }
    if (number == SYS_close_range && fails("close_range", closes, caller)) {
        return -1;
    }
    if (number == SYS_capget && fails("capget", forbids, caller)) {
        return -1;
    }
    assert(number == SYS_futex || number == SYS_close_range ||
           number == SYS_capget);
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int __wrap_getrlimit(int what, struct rlimit *limit)
{
    static const int effects[] = {EPERM, END};

    return fails("getrlimit", effects, __builtin_return_address(0))
               ? -1
               : __real_getrlimit(what, limit);
}

int __wrap_setrlimit(int what, const struct rlimit *limit)
{
    static const int effects[] = {EPERM, END};

    return fails("setrlimit", effects, __builtin_return_address(0))
               ? -1
               : __real_setrlimit(what, limit);
}

int __wrap_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *mask)
{
    static const int effects[] = {EINVAL, EPERM, END};

    return fails("sched_getaffinity", effects, __builtin_return_address(0))
               ? -1
               : __real_sched_getaffinity(pid, bytes, mask);
}

/* The size of a page is known without asking. */
long __wrap_sysconf(int name)
{
    static const int effects[] = {EINVAL, END};

    return name != _SC_PAGESIZE &&
                   fails("sysconf", effects, __builtin_return_address(0))
               ? -1
               : __real_sysconf(name);
}
