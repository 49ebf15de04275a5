/*
 * Linked with -Wl,--wrap=sched_getaffinity, so that a machine has as many cores
 * as a test wants, and with wrapped sysconf and __sched_cpualloc (CPU_ALLOC).
 * /proc and the cgroup files are a directory of the test's.
 * wrap: __sched_cpualloc
 */
#include "app/resources.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t MIB = UINT64_C(1) << 20;

/* --- A machine. */

static unsigned machine_cores;
static size_t mask_bytes; /* the kernel's own; smaller ones get EINVAL */
static int affinity_error;

int __wrap_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *mask);

int __wrap_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *mask)
{
    assert_int_equal(pid, 0);
    if (affinity_error != 0 || bytes < mask_bytes) {
        errno = affinity_error != 0 ? affinity_error : EINVAL;
        return -1;
    }
    CPU_ZERO_S(bytes, mask);
    for (unsigned i = 0; i < machine_cores; i++) {
        CPU_SET_S(i * 2, bytes, mask); /* every other one is not ours */
    }
    return 0;
}

static bool no_memory;
static bool sysconf_fails;

cpu_set_t *__real___sched_cpualloc(size_t count);
cpu_set_t *__wrap___sched_cpualloc(size_t count);

cpu_set_t *__wrap___sched_cpualloc(size_t count)
{
    return no_memory ? NULL : __real___sched_cpualloc(count);
}

long __real_sysconf(int name);
long __wrap_sysconf(int name);

long __wrap_sysconf(int name)
{
    return sysconf_fails ? -1 : __real_sysconf(name);
}

static char root[64];

static void write_file(const char *path, const char *content)
{
    char name[PATH_MAX];
    FILE *out;

    (void)snprintf(name, sizeof name, "%s%s", root, path);
    for (char *slash = strchr(name + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(name, 0700) != 0) {
            assert_int_equal(errno, EEXIST);
        }
        *slash = '/';
    }
    out = fopen(name, "w");
    assert_non_null(out);
    assert_true(fputs(content, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static int remove_file(const char *path)
{
    char name[PATH_MAX];

    (void)snprintf(name, sizeof name, "%s%s", root, path);
    return remove(name);
}

static int remove_one(
    const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* A machine of eight cores and 8 GiB without cgroups. */
static int make_machine(void **state)
{
    (void)state;
    machine_cores = 8;
    mask_bytes = 8;
    affinity_error = 0;
    no_memory = false;
    sysconf_fails = false;
    (void)snprintf(root, sizeof root, "/tmp/hcs-resources-XXXXXX");
    assert_non_null(mkdtemp(root));
    write_file("/proc/meminfo", "MemTotal:        8388608 kB\n"
                                "MemFree:         1000000 kB\n");
    return 0;
}

static int remove_machine(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define V2_MOUNT                                                               \
    "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 "       \
    "cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS                                                              \
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup "              \
    "rw,cpu,cpuacct\n"                                                         \
    "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
#define OTHER_MOUNTS                                                           \
    "23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"                  \
    "32 31 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"        \
    "nonsense\n"                                                               \
    "37 31 - cgroup2\n"

static void use_v2(const char *group)
{
    char line[256];

    (void)snprintf(line, sizeof line, "0::%s\n", group);
    write_file("/proc/self/cgroup", line);
    write_file("/proc/self/mountinfo", OTHER_MOUNTS V2_MOUNT);
}

static void use_v1(const char *group)
{
    char lines[512];

    (void)snprintf(lines, sizeof lines,
        "9:name=systemd:/elsewhere\n4:memory:%s\n3:cpuset:/other\n"
        "1:cpu,cpuacct:%s\n0::/unified\n",
        group, group);
    write_file("/proc/self/cgroup", lines);
    write_file("/proc/self/mountinfo", OTHER_MOUNTS V1_MOUNTS);
}

/* --- Without limits. */

static void machine_counts_when_there_are_no_groups(void **state)
{
    (void)state;
    assert_int_equal(hcs_resources_cores(root), 8);
    assert_int_equal(hcs_resources_memory(root), 8192 * MIB);
}

static void affinity_mask_may_be_wider_than_usual(void **state)
{
    (void)state;
    machine_cores = 3000;
    mask_bytes = 8192 / 8;
    assert_int_equal(hcs_resources_cores(root), 3000);
}

static void without_an_affinity_mask_all_cores_count(void **state)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    (void)state;
    assert_true(online >= 1);
    affinity_error = ENOSYS;
    assert_int_equal(hcs_resources_cores(root), online);
    affinity_error = 0;
    mask_bytes = SIZE_MAX;
    assert_int_equal(hcs_resources_cores(root), online);
}

static void without_memory_for_a_mask_all_cores_count(void **state)
{
    (void)state;
    no_memory = true;
    assert_int_equal(
        hcs_resources_cores(root), __real_sysconf(_SC_NPROCESSORS_ONLN));
}

static void a_mask_without_cores_is_no_answer(void **state)
{
    (void)state;
    machine_cores = 0;
    assert_int_equal(
        hcs_resources_cores(root), __real_sysconf(_SC_NPROCESSORS_ONLN));
}

static void a_system_that_says_nothing_has_one_core_and_no_memory(void **state)
{
    (void)state;
    affinity_error = ENOSYS;
    sysconf_fails = true;
    write_file("/proc/meminfo", "");
    assert_int_equal(hcs_resources_cores(root), 1);
    assert_int_equal(hcs_resources_memory(root), 0);
}

static void memory_beyond_all_numbers_is_not_believed(void **state)
{
    (void)state;
    write_file("/proc/meminfo", "MemTotal: 18446744073709551615 kB\n");
    assert_int_equal(hcs_resources_memory(root),
        (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void without_meminfo_the_system_is_asked(void **state)
{
    (void)state;
    assert_int_equal(remove_file("/proc/meminfo"), 0);
    assert_int_equal(hcs_resources_memory(root),
        (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void unreadable_meminfo_leaves_what_the_system_says(void **state)
{
    uint64_t memory;

    (void)state;
    write_file("/proc/meminfo", "Nothing: 1 kB\n");
    memory = hcs_resources_memory(root);
    assert_int_equal(memory,
        (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    assert_true(memory > 0);
}

static void real_machine_has_cores_and_memory(void **state)
{
    (void)state;
    machine_cores = 2;
    assert_in_range(hcs_resources_cores(""), 1, 2);
    assert_true(hcs_resources_memory("") >= MIB);
}

/* --- Version 2. */

static void v2_quota_is_rounded_up_to_cores(void **state)
{
    static const struct {
        const char *line;
        unsigned cores;
    } cases[] = {
        {"max 100000\n", 8},
        {"100000 100000\n", 1},
        {"100001 100000\n", 2},
        {"150000 100000\n", 2},
        {"200000 100000\n", 2},
        {"1000 100000\n", 1},
        {"700000 100000\n", 7},
        {"1600000 100000\n", 8},
        {"18446744073709551615 1\n", 8},
        {"99999999999999999999999 1\n", 8},
        {"50000 10000\n", 5},
        {"100000 0\n", 8},
        {"100000 99999999999999999999999\n", 8},
        {"0 100000\n", 8},
        {"100000\n", 8},
        {"-1 100000\n", 8},
        {"", 8},
    };

    (void)state;
    use_v2("/system.slice/hcsd.service");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(
            "/sys/fs/cgroup/system.slice/hcsd.service/cpu.max", cases[i].line);
        if (hcs_resources_cores(root) != cases[i].cores) {
            fail_msg("%s gives %u", cases[i].line, hcs_resources_cores(root));
        }
    }
}

static void v2_smallest_limit_of_the_ancestors_counts(void **state)
{
    (void)state;
    use_v2("/a/b/c");
    write_file("/sys/fs/cgroup/a/b/c/cpu.max", "600000 100000\n");
    write_file("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
    write_file("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    write_file("/sys/fs/cgroup/a/memory.max", "1073741824\n");
    assert_int_equal(hcs_resources_cores(root), 3);
    assert_int_equal(hcs_resources_memory(root), 1024 * MIB);

    write_file("/sys/fs/cgroup/a/b/cpu.max", "200000 100000\n");
    write_file("/sys/fs/cgroup/a/b/memory.max", "536870912\n");
    assert_int_equal(hcs_resources_cores(root), 2);
    assert_int_equal(hcs_resources_memory(root), 512 * MIB);

    /* Those beside it do not. */
    write_file("/sys/fs/cgroup/a/x/cpu.max", "100000 100000\n");
    write_file("/sys/fs/cgroup/a/x/memory.max", "1048576\n");
    write_file("/sys/fs/cgroup/a/b/c/d/memory.max", "1048576\n");
    assert_int_equal(hcs_resources_cores(root), 2);
    assert_int_equal(hcs_resources_memory(root), 512 * MIB);
}

static void v2_container_in_a_namespace_reads_the_mount_point(void **state)
{
    (void)state;
    use_v2("/");
    write_file("/sys/fs/cgroup/cpu.max", "250000 100000\n");
    write_file("/sys/fs/cgroup/memory.max", "268435456\n");
    assert_int_equal(hcs_resources_cores(root), 3);
    assert_int_equal(hcs_resources_memory(root), 256 * MIB);

    /* A group outside of the namespace's root. */
    use_v2("/../other");
    write_file("/sys/fs/other/cpu.max", "100000 100000\n");
    assert_int_equal(hcs_resources_cores(root), 3);
    assert_int_equal(hcs_resources_memory(root), 256 * MIB);
}

static void limit_above_the_machine_is_no_limit(void **state)
{
    (void)state;
    use_v2("/a");
    write_file("/sys/fs/cgroup/a/cpu.max", "6400000 100000\n");
    write_file("/sys/fs/cgroup/a/memory.max", "1099511627776\n");
    assert_int_equal(hcs_resources_cores(root), 8);
    assert_int_equal(hcs_resources_memory(root), 8192 * MIB);
}

/* --- Version 1. */

static void v1_quota_and_limit_count(void **state)
{
    (void)state;
    use_v1("/docker/1234");
    write_file(
        "/sys/fs/cgroup/cpu,cpuacct/docker/1234/cpu.cfs_quota_us", "350000\n");
    write_file(
        "/sys/fs/cgroup/cpu,cpuacct/docker/1234/cpu.cfs_period_us", "100000\n");
    write_file("/sys/fs/cgroup/memory/docker/1234/memory.limit_in_bytes",
        "1073741824\n");
    assert_int_equal(hcs_resources_cores(root), 4);
    assert_int_equal(hcs_resources_memory(root), 1024 * MIB);

    write_file(
        "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "536870912\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "50000\n");
    assert_int_equal(hcs_resources_cores(root), 2);
    assert_int_equal(hcs_resources_memory(root), 512 * MIB);
}

static void v1_without_limit_leaves_the_machine(void **state)
{
    (void)state;
    use_v1("/");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    write_file(
        "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(hcs_resources_cores(root), 8);
    assert_int_equal(hcs_resources_memory(root), 8192 * MIB);
}

static void v1_quota_without_a_period_is_no_limit(void **state)
{
    (void)state;
    use_v1("/");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
    assert_int_equal(hcs_resources_cores(root), 8);
}

/* Docker without a cgroup namespace: the process sees the host's path, and is
 * given a mount of that part only. */
static void v1_mount_of_a_part_is_read_at_its_place(void **state)
{
    (void)state;
    use_v1("/docker/1234");
    write_file("/proc/self/mountinfo",
        "33 31 0:30 /docker/1234 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup "
        "rw,cpuacct,cpu\n"
        "36 31 0:33 /docker/12 /sys/fs/cgroup/memory ro - cgroup cgroup "
        "rw,memory\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "500000\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    /* Not below /docker/12, though the text starts alike. */
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    write_file("/sys/fs/cgroup/memory34/memory.limit_in_bytes", "1048576\n");
    assert_int_equal(hcs_resources_cores(root), 5);
    assert_int_equal(hcs_resources_memory(root), 1024 * MIB);

    /* Elsewhere, with a path as long. */
    use_v1("/y/z");
    write_file("/proc/self/mountinfo",
        "36 31 0:33 /x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    write_file("/sys/fs/cgroup/memory/z/memory.limit_in_bytes", "1048576\n");
    assert_int_equal(hcs_resources_memory(root), 1024 * MIB);

    /* A group of its own below that part. */
    use_v1("/docker/1234/inner");
    write_file("/proc/self/mountinfo",
        "33 31 0:30 /docker/1234 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup "
        "rw,cpuacct,cpu\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us", "400000\n");
    write_file(
        "/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us", "100000\n");
    assert_int_equal(hcs_resources_cores(root), 4);
}

/* --- Both, and odd places. */

static void controllers_of_both_versions_count_together(void **state)
{
    (void)state;
    write_file("/proc/self/cgroup", "4:memory:/v1\n0::/v2\n");
    write_file("/proc/self/mountinfo",
        "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    write_file(
        "/sys/fs/cgroup/memory/v1/memory.limit_in_bytes", "1073741824\n");
    write_file("/sys/fs/cgroup/unified/v2/cpu.max", "300000 100000\n");
    assert_int_equal(hcs_resources_cores(root), 3);
    assert_int_equal(hcs_resources_memory(root), 1024 * MIB);
}

static void mount_point_may_hold_blanks(void **state)
{
    (void)state;
    write_file("/proc/self/cgroup", "0::/a b\n");
    write_file("/proc/self/mountinfo",
        "41 31 0:38 / /my\\040groups\\134x rw - cgroup2 cgroup2 rw\n");
    write_file("/my groups\\x/a b/cpu.max", "200000 100000\n");
    assert_int_equal(hcs_resources_cores(root), 2);
}

static void backslash_that_escapes_nothing_stays(void **state)
{
    static const char *const odd[] = {"\\", "\\4", "\\400", "\\08", "\\008",
        "\\/00", "\\0/0", "\\00/", "\\z"};

    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char mount[128];
        char file[128];

        write_file("/proc/self/cgroup", "0::/\n");
        (void)snprintf(mount, sizeof mount,
            "41 31 0:38 / /m%zu%s/g rw - cgroup2 cgroup2 rw\n", i, odd[i]);
        write_file("/proc/self/mountinfo", mount);
        (void)snprintf(file, sizeof file, "/m%zu%s/g/cpu.max", i, odd[i]);
        write_file(file, "200000 100000\n");
        if (hcs_resources_cores(root) != 2) {
            fail_msg("not found: %s", file);
        }
    }
}

/* Neither is a reason to stop, or to miss what stands behind it. */
static void lines_that_make_no_sense_are_passed_over(void **state)
{
    (void)state;
    write_file("/proc/self/cgroup",
        "nonsense\n7:half\n0:cpu:/wrong\n1::/wrong\n0::/a\n");
    write_file("/proc/self/mountinfo",
        "\n1 2 3 4\n1 2 3 / /sys/fs/cgroup rw -\n"
        "1 2 3 / /sys/fs/cgroup rw - \n"
        "1 2 3 / /sys/fs/cgroup rw - cgroup2\n"
        "1 2 3 / /sys/fs/cgroup rw - cgroup2 cgroup2\n" V2_MOUNT);
    write_file("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    write_file("/sys/fs/cgroup/wrong/cpu.max", "100000 100000\n");
    assert_int_equal(hcs_resources_cores(root), 3);
}

static void a_group_that_is_in_no_file_limits_nothing(void **state)
{
    (void)state;
    use_v2("/a");
    write_file("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    assert_int_equal(hcs_resources_cores(root), 1);
    write_file("/proc/self/cgroup", "4:memory:/v1\n");
    assert_int_equal(hcs_resources_cores(root), 8);
    use_v1("/a");
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576\n");
    assert_int_equal(hcs_resources_memory(root), MIB);
    write_file("/proc/self/cgroup", "0::/a\n");
    assert_int_equal(hcs_resources_memory(root), 8192 * MIB);
    assert_int_equal(remove_file("/proc/self/cgroup"), 0);
    assert_int_equal(hcs_resources_memory(root), 8192 * MIB);
}

static void v1_period_that_is_no_number_is_no_limit(void **state)
{
    (void)state;
    use_v1("/");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "?\n");
    assert_int_equal(hcs_resources_cores(root), 8);
}

/* The directory fits, but not with the file's name. */
static void files_whose_path_is_too_long_limit_nothing(void **state)
{
    char line[PATH_MAX + 16];
    size_t length = PATH_MAX - strlen(root) - strlen("/sys/fs/cgroup") - 4;

    (void)state;
    use_v2("/a");
    write_file("/sys/fs/cgroup/cpu.max", "500000 100000\n");
    memcpy(line, "0::", 3);
    for (size_t i = 0; i < length; i++) {
        line[3 + i] = i % 200 == 0 ? '/' : 'x';
    }
    line[3 + length] = '\n';
    line[4 + length] = '\0';
    write_file("/proc/self/cgroup", line);
    assert_int_equal(hcs_resources_cores(root), 5);
}

static void paths_too_long_to_read_limit_nothing(void **state)
{
    char line[PATH_MAX + 64];
    char longer[PATH_MAX + 1];

    (void)state;
    use_v2("/a");
    memset(line, 'x', sizeof line);
    memcpy(line, "0::/", 4);
    line[PATH_MAX + 32] = '\n';
    line[PATH_MAX + 33] = '\0';
    write_file("/proc/self/cgroup", line);
    assert_int_equal(hcs_resources_cores(root), 8);

    /* Fits by itself, but not behind the mount point. */
    line[PATH_MAX - 8] = '\n';
    line[PATH_MAX - 7] = '\0';
    write_file("/proc/self/cgroup", line);
    assert_int_equal(hcs_resources_cores(root), 8);

    memset(longer, '/', sizeof longer);
    longer[PATH_MAX] = '\0';
    assert_int_equal(hcs_resources_cores(longer), 8);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, make_machine, remove_machine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(machine_counts_when_there_are_no_groups),
        TEST(affinity_mask_may_be_wider_than_usual),
        TEST(without_an_affinity_mask_all_cores_count),
        TEST(without_memory_for_a_mask_all_cores_count),
        TEST(a_mask_without_cores_is_no_answer),
        TEST(a_system_that_says_nothing_has_one_core_and_no_memory),
        TEST(memory_beyond_all_numbers_is_not_believed),
        TEST(without_meminfo_the_system_is_asked),
        TEST(unreadable_meminfo_leaves_what_the_system_says),
        TEST(real_machine_has_cores_and_memory),
        TEST(v2_quota_is_rounded_up_to_cores),
        TEST(v2_smallest_limit_of_the_ancestors_counts),
        TEST(v2_container_in_a_namespace_reads_the_mount_point),
        TEST(limit_above_the_machine_is_no_limit),
        TEST(v1_quota_and_limit_count),
        TEST(v1_without_limit_leaves_the_machine),
        TEST(v1_quota_without_a_period_is_no_limit),
        TEST(v1_mount_of_a_part_is_read_at_its_place),
        TEST(controllers_of_both_versions_count_together),
        TEST(mount_point_may_hold_blanks),
        TEST(backslash_that_escapes_nothing_stays),
        TEST(lines_that_make_no_sense_are_passed_over),
        TEST(a_group_that_is_in_no_file_limits_nothing),
        TEST(v1_period_that_is_no_number_is_no_limit),
        TEST(files_whose_path_is_too_long_limit_nothing),
        TEST(paths_too_long_to_read_limit_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
