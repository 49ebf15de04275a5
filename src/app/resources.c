#include "app/resources.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint64_t NO_LIMIT = UINT64_MAX;

/* The limit in a group's own directory. */
typedef uint64_t limit_fn(const char *directory);

struct controller {
    const char *name; /* as in the options of a version 1 mount */
    limit_fn *v1;
    limit_fn *v2;
};

struct mount {     /* one line of mountinfo, cut up in place */
    char *root;    /* the part of the hierarchy that is mounted */
    char *point;   /* where */
    char *type;    /* "cgroup", "cgroup2", ... */
    char *options; /* of the file system: a version 1 mount's controllers */
};

static FILE *open_below(const char *root, const char *path)
{
    char name[PATH_MAX];
    int length = snprintf(name, sizeof name, "%s%s", root, path);

    if (length < 0 || (size_t)length >= sizeof name) {
        return NULL;
    }
    return fopen(name, "re");
}

/* The first line of a file in a group's directory; false when there is none. */
static bool read_line(
    const char *directory, const char *file, char *line, size_t size)
{
    char name[PATH_MAX];
    int length = snprintf(name, sizeof name, "%s/%s", directory, file);
    FILE *in;
    bool read;

    if (length < 0 || (size_t)length >= sizeof name) {
        return false;
    }
    in = fopen(name, "re");
    if (in == NULL) {
        return false;
    }
    read = fgets(line, (int)size, in) != NULL;
    (void)fclose(in);
    return read;
}

/* The number at text. "max" and "-1", which mean no limit, count as none. */
static bool read_number(const char *text, uint64_t *out, char **end)
{
    if (!isdigit((unsigned char)*text)) {
        return false;
    }
    errno = 0;
    *out = strtoumax(text, end, 10);
    return errno == 0;
}

static uint64_t cores_of(uint64_t quota, uint64_t period)
{
    if (quota == 0 || period == 0) {
        return NO_LIMIT;
    }
    return quota / period + (quota % period != 0);
}

static uint64_t cpu_v2(const char *directory)
{
    char line[64];
    char *end;
    uint64_t quota;
    uint64_t period;

    if (!read_line(directory, "cpu.max", line, sizeof line) ||
        !read_number(line, &quota, &end) || *end != ' ' ||
        !read_number(end + 1, &period, &end)) {
        return NO_LIMIT;
    }
    return cores_of(quota, period);
}

static uint64_t cpu_v1(const char *directory)
{
    char line[64];
    char *end;
    uint64_t quota;
    uint64_t period;

    if (!read_line(directory, "cpu.cfs_quota_us", line, sizeof line) ||
        !read_number(line, &quota, &end) ||
        !read_line(directory, "cpu.cfs_period_us", line, sizeof line) ||
        !read_number(line, &period, &end)) {
        return NO_LIMIT;
    }
    return cores_of(quota, period);
}

static uint64_t read_bytes(const char *directory, const char *file)
{
    char line[64];
    char *end;
    uint64_t bytes;

    if (!read_line(directory, file, line, sizeof line) ||
        !read_number(line, &bytes, &end)) {
        return NO_LIMIT;
    }
    return bytes;
}

static uint64_t memory_v2(const char *directory)
{
    return read_bytes(directory, "memory.max");
}

/* Without a limit this file holds a number near 2^63. The machine's memory is
 * less, so that number needs no case of its own. */
static uint64_t memory_v1(const char *directory)
{
    return read_bytes(directory, "memory.limit_in_bytes");
}

/* Whether word is one of the parts of list, which commas separate. */
static bool holds(const char *list, const char *word)
{
    size_t length = strlen(word);

    while (*list != '\0') {
        size_t part = strcspn(list, ",");

        if (part == length && strncmp(list, word, length) == 0) {
            return true;
        }
        list += part + (list[part] == ',');
    }
    return false;
}

/* mountinfo writes blanks and backslashes in paths as \040; proc(5). */
static void unescape(char *text)
{
    char *to = text;

    while (*text != '\0') {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' &&
            text[2] >= '0' && text[2] <= '7' && text[3] >= '0' &&
            text[3] <= '7') {
            *to++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 +
                           (text[3] - '0'));
            text += 4;
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

/* "36 35 98:0 /root /point rw,noatime [optional ...] - type source options" */
static bool read_mount(char *line, struct mount *out)
{
    char *fields[5];
    char *rest = strstr(line, " - ");
    char *save;
    char *source;

    if (rest == NULL) {
        return false;
    }
    *rest = '\0';
    rest += strlen(" - ");
    for (size_t i = 0; i < 5; i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
        if (fields[i] == NULL) {
            return false;
        }
    }
    out->root = fields[3];
    out->point = fields[4];
    out->type = strtok_r(rest, " \n", &save);
    source = strtok_r(NULL, " \n", &save);
    out->options = strtok_r(NULL, " \n", &save);
    if (source == NULL || out->options == NULL) {
        return false;
    }
    unescape(out->root);
    unescape(out->point);
    return true;
}

/* The path of this process's group: of version 2 when controller is NULL, else
 * of the version 1 hierarchy with that controller. Lines are
 * "ID:CONTROLLERS:PATH"; version 2 is "0::PATH"; cgroups(7). */
static bool read_group(
    const char *root, const char *controller, char *path, size_t size)
{
    FILE *in = open_below(root, "/proc/self/cgroup");
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    if (in == NULL) {
        return false;
    }
    while (!found && getline(&line, &room, in) > 0) {
        char *list = strchr(line, ':');
        char *group = list != NULL ? strchr(list + 1, ':') : NULL;

        if (group == NULL) {
            continue;
        }
        list++;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        if (controller != NULL ? holds(list, controller)
                               : strcmp(line, "0:") == 0 && *list == '\0') {
            found = strlen(group) < size;
            if (found) {
                memcpy(path, group, strlen(group) + 1);
            }
        }
    }
    free(line);
    (void)fclose(in);
    return found;
}

/* The group's path below the mount point. Empty (the mount point itself) when the
 * group is not below the part that is mounted. That happens in a container that
 * sees only its own part of the hierarchy, without a namespace. */
static const char *below_mount(const char *group, const char *mount_root)
{
    size_t length = strlen(mount_root);

    if (strcmp(mount_root, "/") == 0) {
        length = 0;
    } else if (strncmp(group, mount_root, length) != 0) {
        return "";
    }
    group += length;
    if (*group != '/' || group[1] == '\0' || strstr(group, "/..") != NULL) {
        return "";
    }
    return group;
}

/* The smallest limit of the group and of those above it, up to the mount. */
static uint64_t smallest_on_mount(const char *root, const struct mount *mount,
    const char *group, limit_fn *limit_of)
{
    char directory[PATH_MAX];
    uint64_t smallest = NO_LIMIT;
    size_t top = strlen(root) + strlen(mount->point);
    int length = snprintf(directory, sizeof directory, "%s%s%s", root,
        mount->point, below_mount(group, mount->root));

    if (length < 0 || (size_t)length >= sizeof directory) {
        return NO_LIMIT;
    }
    for (;;) {
        uint64_t limit = limit_of(directory);

        if (limit < smallest) {
            smallest = limit;
        }
        if (strlen(directory) <= top) {
            return smallest;
        }
        *strrchr(directory, '/') = '\0';
    }
}

/* The smallest limit on any mounted hierarchy. Both versions may be mounted, and
 * each controller is in one of them. */
static uint64_t smallest_limit(
    const char *root, const struct controller *controller)
{
    FILE *in = open_below(root, "/proc/self/mountinfo");
    uint64_t smallest = NO_LIMIT;
    char *line = NULL;
    size_t room = 0;

    if (in == NULL) {
        return NO_LIMIT;
    }
    while (getline(&line, &room, in) > 0) {
        struct mount mount;
        char group[PATH_MAX];
        uint64_t limit = NO_LIMIT;

        if (!read_mount(line, &mount)) {
            continue;
        }
        if (strcmp(mount.type, "cgroup2") == 0) {
            if (read_group(root, NULL, group, sizeof group)) {
                limit = smallest_on_mount(root, &mount, group, controller->v2);
            }
        } else if (strcmp(mount.type, "cgroup") == 0 &&
                   holds(mount.options, controller->name)) {
            if (read_group(root, controller->name, group, sizeof group)) {
                limit = smallest_on_mount(root, &mount, group, controller->v1);
            }
        }
        if (limit < smallest) {
            smallest = limit;
        }
    }
    free(line);
    (void)fclose(in);
    return smallest;
}

/* The kernel refuses a mask smaller than its own with EINVAL, and its own may
 * be wider than a cpu_set_t; sched_getaffinity(2). */
static unsigned cores_in_mask(void)
{
    enum { MASK_MIN = 1024, MASK_MAX = 1024 * 1024 };

    for (size_t bits = MASK_MIN; bits <= MASK_MAX; bits *= 2) {
        cpu_set_t *mask = CPU_ALLOC(bits);
        size_t bytes = CPU_ALLOC_SIZE(bits);
        int rc;
        int error;
        int count;

        if (mask == NULL) {
            break;
        }
        CPU_ZERO_S(bytes, mask);
        rc = sched_getaffinity(0, bytes, mask);
        error = errno;
        count = rc == 0 ? CPU_COUNT_S(bytes, mask) : 0;
        CPU_FREE(mask);
        if (count > 0) {
            return (unsigned)count;
        }
        if (rc == 0 || error != EINVAL) {
            break;
        }
    }

    long online = sysconf(_SC_NPROCESSORS_ONLN);

    return online > 0 ? (unsigned)online : 1;
}

unsigned hcs_resources_cores(const char *root)
{
    static const struct controller cpu = {"cpu", cpu_v1, cpu_v2};
    unsigned cores = cores_in_mask();
    uint64_t quota = smallest_limit(root, &cpu);

    return quota < cores ? (unsigned)quota : cores;
}

/* MemTotal rather than sysconf: containers that show their own /proc/meminfo
 * put their limit there. */
static uint64_t machine_memory(const char *root)
{
    FILE *in = open_below(root, "/proc/meminfo");
    uint64_t kib = 0;
    char line[128];

    if (in != NULL) {
        while (kib == 0 && fgets(line, sizeof line, in) != NULL) {
            (void)sscanf(line, "MemTotal: %" SCNu64 " kB", &kib);
        }
        (void)fclose(in);
    }
    if (kib != 0 && kib <= UINT64_MAX / 1024) {
        return kib * 1024;
    }

    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);

    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

uint64_t hcs_resources_memory(const char *root)
{
    static const struct controller memory = {"memory", memory_v1, memory_v2};
    uint64_t machine = machine_memory(root);
    uint64_t limit = smallest_limit(root, &memory);

    return limit < machine ? limit : machine;
}
