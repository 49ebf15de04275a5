/* A daemon that was built with a later header, whose struct hcs_handler has one
 * more member: it runs modules that were built with today's header. The build
 * makes the later header from today's, and compiles this file and the loader
 * with it; the modules and all other files are built with today's. */
#include "app/kinds.h"

#include "handlers/builtin.h"
#include "job/mount.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct hcs_host HOST = {.workers = 1};

/* In the folder that the build puts beside this program. */
static const char *module(const char *name)
{
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

    while (length > 0 && path[length - 1] != '/') {
        length--;
    }
    assert_in_range(length, 1, PATH_MAX - 64);
    (void)snprintf(
        path + length, sizeof(path) - (size_t)length, "modules/%s", name);
    return path;
}

static struct hcs_mount *mount_of(const char *kind, const char *argument)
{
    const struct hcs_handler *handler = NULL;
    struct hcs_mount *mount;
    char error[512] = "";

    if (hcs_kinds_find(kind, argument, &handler, error, sizeof(error)) != 0) {
        fail_msg("%s", error);
    }
    mount = hcs_mount_create(&HOST, handler, NULL, "/", NULL, NULL);
    assert_non_null(mount);
    return mount;
}

static void module_of_todays_header_runs(void **state)
{
    struct hcs_mount *mount = mount_of("module", module("plain.so"));

    (void)state;
    assert_true(mount->handler->size < sizeof(struct hcs_handler));
    assert_true(mount->handler->later == NULL);
    assert_string_equal(mount->handler->name, "of-a-module");
    assert_int_equal(hcs_mount_open(mount), 0);
    assert_int_equal(mount->handler->run(mount->self, NULL), HCS_OK);
    hcs_mount_destroy(mount);
}

static void module_of_the_later_header_has_all(void **state)
{
    struct hcs_mount *mount = mount_of("module", module("newer.so"));

    (void)state;
    assert_int_equal(mount->handler->size, sizeof(struct hcs_handler));
    assert_true(mount->handler->later != NULL);
    hcs_mount_destroy(mount);
}

static void module_without_a_size_is_refused(void **state)
{
    const struct hcs_handler *handler = NULL;
    char error[512] = "";

    (void)state;
    assert_int_not_equal(hcs_kinds_find("module", module("sizeless.so"),
                             &handler, error, sizeof(error)),
        0);
    assert_non_null(strstr(error, ".size = sizeof(struct hcs_handler)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(module_of_todays_header_runs),
        cmocka_unit_test(module_of_the_later_header_has_all),
        cmocka_unit_test(module_without_a_size_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
