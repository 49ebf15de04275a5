#include "handlers/exec/program.h"

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    RECORD_MAX =
        256 * 1024,      /* bytes of a user, or of a group and its members */
    RECORD_FIRST = 4096, /* the first try */
};

static const uint64_t SECOND_NS = 1000000000;
static const uint64_t OUTPUT_DEFAULT = 16 * 1024 * 1024;
static const uint64_t OUTPUT_MIN = 1024;
static const uint64_t OUTPUT_MAX = UINT64_C(1) << 30;
static const uint64_t CPU_MAX_NS = 1000000 * UINT64_C(1000000000);
static const uint64_t MEMORY_MIN = 1024 * 1024;
static const int64_t FILES_MIN = 3;

static int out_of_memory(struct hcs_mount *mount)
{
    hcs_mount_fail(mount, "out of memory");
    return -1;
}

/* --- The file. */

/* Gives DIRECTORY/NAME, behind the working directory if that is relative. NULL
 * when there is no memory. */
static char *join(const char *directory, size_t length, const char *name)
{
    char here[PATH_MAX] = "";
    size_t room;
    char *path;

    if ((length == 0 || directory[0] != '/') &&
        getcwd(here, sizeof(here)) == NULL) {
        here[0] = '\0'; /* removed; a relative path may still lead somewhere */
    }
    room = strlen(here) + length + strlen(name) + 3;
    path = malloc(room);
    if (path != NULL) {
        (void)snprintf(path, room, "%s%s%.*s%s%s", here,
            here[0] != '\0' && length > 0 ? "/" : "", (int)length, directory,
            here[0] != '\0' || length > 0 ? "/" : "", name);
    }
    return path;
}

/* 0 if any user may execute the file; else an errno. The program may run as
 * another user, so only the start shows whether that user may execute it. */
static int check_file(const char *path)
{
    struct stat file;

    if (stat(path, &file) != 0) {
        return errno;
    }
    if (!S_ISREG(file.st_mode)) {
        return S_ISDIR(file.st_mode) ? EISDIR : EACCES;
    }
    return (file.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) != 0 ? 0 : EACCES;
}

/* Looks as execvp(3) does: for the first file in PATH that can be executed.
 * EACCES when PATH holds only files that cannot be executed; ENOENT when
 * none. */
static int search_path(struct hcs_exec_program *program)
{
    const char *path = getenv("PATH");
    int error = ENOENT;

    path = path != NULL ? path : "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        size_t length = strcspn(path, ":");
        char *file = join(path, length, program->name);
        int rc = file != NULL ? check_file(file) : ENOMEM;

        if (rc == 0 || rc == ENOMEM) {
            program->path = file;
            return rc;
        }
        free(file);
        error = rc == EACCES ? EACCES : error;
        path += length;
        if (*path == '\0') {
            return error;
        }
        path++;
    }
}

static int find_file(struct hcs_exec_program *program)
{
    if (strchr(program->name, '/') == NULL) {
        return search_path(program);
    }
    program->path = program->name[0] == '/' ? strdup(program->name)
                                            : join("", 0, program->name);
    return program->path != NULL ? check_file(program->path) : ENOMEM;
}

static int read_file(struct hcs_exec_program *program, struct hcs_mount *mount)
{
    int rc;

    program->name = hcs_mount_argument(mount);
    if (program->name == NULL || program->name[0] == '\0') {
        hcs_mount_fail(mount,
            "needs a program, such as exec:./resize.py, or exec:NAME for one "
            "in PATH");
        return -1;
    }
    rc = find_file(program);
    if (rc == ENOMEM) {
        return out_of_memory(mount);
    }
    if (rc == 0) {
        return 0;
    }
    if (program->path == NULL) {
        hcs_mount_fail(mount, "%s: %s", program->name,
            rc == EACCES ? "found in PATH, but it cannot be executed"
                         : "there is no such program in PATH");
    } else if (rc == EACCES) {
        hcs_mount_fail(mount,
            "%s: not an executable file (chmod +x makes a script one)",
            program->path);
    } else {
        hcs_mount_fail(mount, "%s: %s", program->path, strerror(rc));
    }
    return -1;
}

/* --- The arguments. */

static int read_arguments(
    struct hcs_exec_program *program, struct hcs_mount *mount)
{
    size_t count = 1;
    size_t bytes = strlen(program->name) + 1;
    size_t cursor = 0;
    const char *argument;

    while ((argument = hcs_mount_next(mount, "arg", &cursor)) != NULL) {
        count++;
        bytes += strlen(argument) + 1;
    }
    if (count > HCS_SPAWN_ARGUMENTS_MAX || bytes > HCS_SPAWN_TEXT_MAX / 2) {
        hcs_mount_fail(mount, "arg: at most %d, of %d bytes in all",
            HCS_SPAWN_ARGUMENTS_MAX - 1, HCS_SPAWN_TEXT_MAX / 2);
        return -1;
    }
    program->argv = calloc(count + 1, sizeof(*program->argv));
    if (program->argv == NULL) {
        return out_of_memory(mount);
    }
    program->argv[0] = program->name;
    cursor = 0;
    for (size_t i = 1; i < count; i++) {
        program->argv[i] = hcs_mount_next(mount, "arg", &cursor);
    }
    return 0;
}

static int read_directory(
    struct hcs_exec_program *program, struct hcs_mount *mount)
{
    struct stat file;

    if (!hcs_mount_text(mount, "directory", &program->directory)) {
        return -1;
    }
    if (program->directory == NULL) {
        return 0;
    }
    if (stat(program->directory, &file) != 0) {
        hcs_mount_fail(
            mount, "directory=%s: %s", program->directory, strerror(errno));
        return -1;
    }
    if (!S_ISDIR(file.st_mode) || strlen(program->directory) >= PATH_MAX) {
        hcs_mount_fail(
            mount, "directory=%s: not a directory", program->directory);
        return -1;
    }
    program->spawn.directory = program->directory;
    return 0;
}

/* --- The user. */

/* False unless text is a number of digits alone. UINT32_MAX is no id: setuid(2)
 * and setgid(2) take it for "no change". */
static bool read_id(const char *text, uint32_t *id)
{
    const char *error;

    if (text[0] < '0' || text[0] > '9') {
        return false; /* strtonum would take blanks and signs */
    }
    *id = (uint32_t)strtonum(text, 0, UINT32_MAX - 1, &error);
    return error == NULL;
}

struct person {
    uid_t user;
    gid_t group;
    bool has_group; /* false: a number that is no known user */
    char name[256]; /* empty: the same */
};

/* 0, or an errno. ENOENT: text is neither a known user nor a number. */
static int find_user(const char *text, struct person *person)
{
    struct passwd record;
    struct passwd *found = NULL;
    size_t size = RECORD_FIRST;
    uint32_t id;
    int rc;

    do {
        char *room = malloc(size);

        if (room == NULL) {
            return ENOMEM;
        }
        rc = getpwnam_r(text, &record, room, size, &found);
        if (rc == 0 && found == NULL && read_id(text, &id)) {
            rc = getpwuid_r(id, &record, room, size, &found);
        }
        if (rc == 0 && found != NULL) {
            person->user = record.pw_uid;
            person->group = record.pw_gid;
            person->has_group = true;
            (void)strlcpy(person->name, record.pw_name, sizeof(person->name));
        }
        free(room);
        size *= 4;
    } while (rc == ERANGE && size <= RECORD_MAX);
    if (rc == 0 && found == NULL) {
        if (!read_id(text, &id)) {
            return ENOENT;
        }
        person->user = id;
    }
    return rc;
}

static int find_group(const char *text, gid_t *group)
{
    struct group record;
    struct group *found = NULL;
    size_t size = RECORD_FIRST;
    uint32_t id;
    int rc;

    if (read_id(text, &id)) {
        *group = id;
        return 0;
    }
    do {
        char *room = malloc(size);

        if (room == NULL) {
            return ENOMEM;
        }
        rc = getgrnam_r(text, &record, room, size, &found);
        if (rc == 0 && found != NULL) {
            *group = record.gr_gid;
        }
        free(room);
        size *= 4;
    } while (rc == ERANGE && size <= RECORD_MAX);
    return rc == 0 && found == NULL ? ENOENT : rc;
}

/* Lists the supplementary groups: those of the user, or the program's group
 * alone when the user has no name. */
static int list_groups(
    struct hcs_exec_program *program, const struct person *person)
{
    int count = HCS_SPAWN_GROUPS_MAX;

    program->groups = calloc(HCS_SPAWN_GROUPS_MAX, sizeof(gid_t));
    if (program->groups == NULL) {
        return ENOMEM;
    }
    if (person->name[0] == '\0') {
        program->groups[0] = program->spawn.group;
        count = 1;
    } else if (getgrouplist(person->name, program->spawn.group, program->groups,
                   &count) < 0) {
        return E2BIG;
    }
    program->spawn.groups = program->groups;
    program->spawn.group_count = (size_t)count;
    return 0;
}

static int fail_person(
    struct hcs_mount *mount, const char *what, const char *text, int rc)
{
    if (rc == ENOENT) {
        hcs_mount_fail(mount, "%s=%s: there is no such %s", what, text, what);
    } else {
        hcs_mount_fail(mount, "%s=%s: %s", what, text, strerror(rc));
    }
    return -1;
}

static int read_person(
    struct hcs_exec_program *program, struct hcs_mount *mount)
{
    struct person person = {.user = geteuid(), .group = getegid()};
    struct hcs_spawn *spawn = &program->spawn;
    int rc;

    if (!hcs_mount_text(mount, "user", &program->user_text) ||
        !hcs_mount_text(mount, "group", &program->group_text)) {
        return -1;
    }
    if (program->user_text != NULL) {
        rc = find_user(program->user_text, &person);
        if (rc != 0) {
            return fail_person(mount, "user", program->user_text, rc);
        }
        if (!person.has_group && program->group_text == NULL) {
            hcs_mount_fail(mount,
                "user=%s: a number that is no known user needs a group too",
                program->user_text);
            return -1;
        }
    }
    if (program->group_text != NULL) {
        rc = find_group(program->group_text, &person.group);
        if (rc != 0) {
            return fail_person(mount, "group", program->group_text, rc);
        }
    }
    spawn->user = person.user;
    spawn->group = person.group;
    /* A program that runs as the daemon's own user needs no privilege. */
    spawn->change_user = person.user != geteuid() || person.group != getegid();
    if (spawn->change_user) {
        rc = list_groups(program, &person);
        if (rc != 0) {
            return fail_person(mount, "user",
                program->user_text != NULL ? program->user_text : "", rc);
        }
    }
    return 0;
}

/* --- The limits. */

static int read_limits(
    struct hcs_exec_program *program, struct hcs_mount *mount)
{
    struct hcs_spawn *spawn = &program->spawn;
    uint64_t cpu_ns = 0;
    int64_t files = 0;

    spawn->cpu_seconds = HCS_SPAWN_NO_LIMIT;
    spawn->memory_bytes = HCS_SPAWN_NO_LIMIT;
    spawn->files = HCS_SPAWN_NO_LIMIT;
    program->output_bytes = OUTPUT_DEFAULT;
    if (!hcs_mount_duration(mount, "cpu", 1, CPU_MAX_NS, &cpu_ns) ||
        !hcs_mount_size(
            mount, "memory", MEMORY_MIN, INT64_MAX, &spawn->memory_bytes) ||
        !hcs_mount_integer(mount, "files", FILES_MIN, INT_MAX, &files) ||
        !hcs_mount_size(
            mount, "output", OUTPUT_MIN, OUTPUT_MAX, &program->output_bytes)) {
        return -1;
    }
    if (cpu_ns > 0) {
        spawn->cpu_seconds = (cpu_ns + SECOND_NS - 1) / SECOND_NS;
    }
    if (files > 0) {
        spawn->files = (uint64_t)files;
    }
    return 0;
}

int hcs_exec_program_read(
    struct hcs_exec_program *program, struct hcs_mount *mount)
{
    *program = (struct hcs_exec_program){.name = NULL};
    if (read_file(program, mount) != 0 || read_arguments(program, mount) != 0 ||
        read_directory(program, mount) != 0 ||
        read_person(program, mount) != 0 || read_limits(program, mount) != 0) {
        return -1;
    }
    program->spawn.program = program->path;
    program->spawn.argv = program->argv;
    return 0;
}

void hcs_exec_program_fini(struct hcs_exec_program *program)
{
    free(program->path);
    free(program->argv);
    free(program->groups);
}

/* --- Why a start failed. */

static void explain_person(
    const struct hcs_exec_program *program, int rc, char *line, size_t size)
{
    bool by_user = program->user_text != NULL;

    (void)snprintf(line, size, "%s=%s: %s%s", by_user ? "user" : "group",
        by_user ? program->user_text : program->group_text, strerror(-rc),
        rc == -EPERM ? "; to change the user, the daemon has to be root, or to "
                       "have CAP_SETUID, CAP_SETGID and CAP_KILL"
                     : "");
}

static void explain_exec(
    const struct hcs_exec_program *program, int rc, char *line, size_t size)
{
    const char *hint = "";

    if (rc == -ENOENT) {
        hint = "; or the interpreter in its first line (#!) is missing";
    } else if (rc == -ENOEXEC) {
        hint = "; a script needs a first line such as #!/bin/sh";
    } else if (rc == -EACCES) {
        hint = "; its user may not execute it, or may not enter its directory";
    }
    (void)snprintf(line, size, "%s: %s%s", program->path, strerror(-rc), hint);
}

void hcs_exec_program_explain(const struct hcs_exec_program *program, int rc,
    enum hcs_spawn_step step, char *line, size_t size)
{
    const struct hcs_spawn *spawn = &program->spawn;
    const char *why = strerror(-rc);

    switch (step) {
    case HCS_SPAWN_REQUEST:
        (void)snprintf(line, size,
            rc == -EPIPE ? "the spawner, which starts programs, is gone"
                         : "cannot reach the spawner: %s",
            why);
        return;
    case HCS_SPAWN_FORK:
        (void)snprintf(line, size, "cannot start a process: %s", why);
        return;
    case HCS_SPAWN_DESCRIPTORS:
        (void)snprintf(line, size, "cannot open pipes: %s", why);
        return;
    case HCS_SPAWN_CPU:
        (void)snprintf(
            line, size, "cpu=%" PRIu64 "s: %s", spawn->cpu_seconds, why);
        return;
    case HCS_SPAWN_MEMORY:
        (void)snprintf(
            line, size, "memory=%" PRIu64 ": %s", spawn->memory_bytes, why);
        return;
    case HCS_SPAWN_FILES:
        (void)snprintf(line, size, "files=%" PRIu64 ": %s%s", spawn->files, why,
            rc == -EPERM ? "; the daemon's own hard limit is lower" : "");
        return;
    case HCS_SPAWN_GROUP:
    case HCS_SPAWN_USER:
        explain_person(program, rc, line, size);
        return;
    case HCS_SPAWN_DIRECTORY:
        (void)snprintf(line, size, "directory=%s: %s", program->directory, why);
        return;
    case HCS_SPAWN_EXEC:
        explain_exec(program, rc, line, size);
        return;
    }
}
