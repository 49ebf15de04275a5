/* Which handler a KIND is. The modules are those of the folder modules/, which
 * the build puts beside this program. */
#include "app/kinds.h"

#include "handlers/builtin.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* --- What the kernel and the loader say. */

static const char *executable; /* NULL: what it is */
static int access_errno;       /* of one that has a slash */
static bool dlerror_is_silent;

ssize_t __real_readlink(const char *path, char *text, size_t room);
ssize_t __wrap_readlink(const char *path, char *text, size_t room);
ssize_t __wrap_readlink(const char *path, char *text, size_t room)
{
    size_t length;

    if (executable == NULL) {
        return __real_readlink(path, text, room);
    }
    assert_string_equal(path, "/proc/self/exe");
    length = strlen(executable);
    if (length == 0) {
        errno = EACCES;
        return -1;
    }
    length = length < room ? length : room;
    memcpy(text, executable, length); /* and no NUL: readlink(2) */
    return (ssize_t)length;
}

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
    if (access_errno != 0) {
        errno = access_errno;
        return -1;
    }
    return __real_access(path, mode);
}

char *__real_dlerror(void);
char *__wrap_dlerror(void);
char *__wrap_dlerror(void)
{
    return dlerror_is_silent ? NULL : __real_dlerror();
}

static char here[PATH_MAX]; /* the folder of the modules, with a slash */

static int find_here(void **state)
{
    ssize_t length = __real_readlink("/proc/self/exe", here, sizeof(here) - 1);

    (void)state;
    while (length > 0 && here[length - 1] != '/') {
        length--;
    }
    if (length <= 0 || (size_t)length > sizeof(here) - 64) {
        return -1;
    }
    strcpy(here + length, "modules/");
    return 0;
}

static int reset(void **state)
{
    (void)state;
    executable = NULL;
    access_errno = 0;
    dlerror_is_silent = false;
    return 0;
}

static const char *module(const char *name)
{
    static char path[PATH_MAX];

    assert_true(snprintf(path, sizeof(path), "%s%s", here, name) < PATH_MAX);
    return path;
}

static const struct hcs_handler *find(const char *kind, const char *argument)
{
    const struct hcs_handler *handler = NULL;
    char error[512] = "";

    if (hcs_kinds_find(kind, argument, &handler, error, sizeof(error)) != 0) {
        fail_msg("%s: %s", kind, error);
    }
    assert_string_equal(error, "");
    assert_non_null(handler);
    return handler;
}

/* The line begins and ends so. */
static void refused(
    const char *kind, const char *argument, const char *begin, const char *end)
{
    const struct hcs_handler *handler = NULL;
    char error[512] = "";

    assert_int_equal(
        hcs_kinds_find(kind, argument, &handler, error, sizeof(error)),
        -EINVAL);
    if (strncmp(error, begin, strlen(begin)) != 0 ||
        strlen(error) < strlen(end) ||
        strcmp(error + strlen(error) - strlen(end), end) != 0) {
        fail_msg("\"%s\", and not \"%s ... %s\"", error, begin, end);
    }
    assert_null(strchr(error, '\n'));
}

static void built_in_ones_go_by_their_names(void **state)
{
    (void)state;
    assert_ptr_equal(find("echo", NULL), &hcs_echo);
    assert_ptr_equal(find("sleep", "1s"), &hcs_sleep);
    assert_ptr_equal(find("spin", "nonsense"), &hcs_spin);
    assert_ptr_equal(find("wait", "1s"), &hcs_wait);
    assert_true(hcs_kinds_is_module("module"));
    assert_false(hcs_kinds_is_module("echo"));
    assert_false(hcs_kinds_is_module("plain"));
}

static void unknown_one_is_refused_with_those_that_there_are(void **state)
{
    (void)state;
    refused("nobody", NULL,
        "no such handler, built in or as a module; built in are: echo sleep "
        "spin wait ",
        " module");
    refused("Echo", NULL, "no such handler", " module");
}

static void module_is_found_by_its_file(void **state)
{
    const struct hcs_handler *handler = find("module", module("plain.so"));

    (void)state;
    assert_string_equal(handler->name, "of-a-module");
    /* Loaded once, however often it is asked for. */
    assert_ptr_equal(find("module", module("plain.so")), handler);
}

static void module_beside_the_program_is_found_by_its_name(void **state)
{
    (void)state;
    assert_ptr_equal(
        find("plain", "argument"), find("module", module("plain.so")));
    refused("idle", NULL, module("idle.so"), "lacks a name or run");
}

static void file_without_a_slash_is_of_the_working_folder(void **state)
{
    char was[PATH_MAX];
    char longest[PATH_MAX];

    (void)state;
    assert_non_null(getcwd(was, sizeof(was)));
    assert_int_equal(chdir(here), 0);
    assert_string_equal(find("module", "plain.so")->name, "of-a-module");
    assert_int_equal(chdir(was), 0);
    refused("module", "plain.so", "./plain.so: ", strerror(ENOENT));
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    refused("module", longest, "xxx", strerror(ENAMETOOLONG));
}

static void module_needs_a_file(void **state)
{
    static const char words[] =
        "module: needs a file, such as module:./score.so";

    (void)state;
    refused("module", NULL, words, words);
    refused("module", "", words, words);
}

static void file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    refused(
        "module", "/nowhere/none.so", "/nowhere/none.so: ", strerror(ENOENT));
    access_errno = EACCES;
    refused("module", module("plain.so"), module("plain.so"), strerror(EACCES));
}

static void file_that_is_no_shared_object_is_named(void **state)
{
    (void)state;
    refused("module", "/dev/null", "cannot load /dev/null", "");
    refused("module", "/", "cannot load /", "");
    dlerror_is_silent = true;
    refused("module", "/dev/null", "cannot load /dev/null", "/dev/null");
}

static void shared_object_that_is_no_module_is_refused(void **state)
{
    (void)state;
    refused("module", module("unrelated.so"), module("unrelated.so"),
        ": no symbol hcs_module; a module defines const struct hcs_handler "
        "hcs_module");
}

static void module_of_another_version_is_refused_with_both(void **state)
{
    char words[160];

    (void)state;
    (void)snprintf(words, sizeof(words),
        ": built for version 1 of the handler ABI; this hcsd has %u: build it "
        "again with this hcsd's hcs/handler.h",
        (unsigned)HCS_HANDLER_ABI);
    refused("module", module("older.so"), module("older.so"), words);
}

/* Members at the end of a longer struct matter only if they are set. */
static void module_of_a_newer_header_may_not_use_what_is_new(void **state)
{
    (void)state;
    assert_string_equal(
        find("module", module("newer_unused.so"))->name, "newer");
    refused("module", module("newer.so"), module("newer.so"),
        ": its handler uses what only a newer hcsd has: update hcsd, or build "
        "it again with this hcsd's hcs/handler.h");
}

static void module_says_the_size_of_its_handler(void **state)
{
    (void)state;
    refused("module", module("sizeless.so"), module("sizeless.so"),
        ": its handler has a wrong size; set .size = sizeof(struct "
        "hcs_handler)");
}

static void module_that_is_not_whole_is_refused(void **state)
{
    static const char words[] = ": its handler lacks a name or run";

    (void)state;
    refused("module", module("idle.so"), module("idle.so"), words);
    refused("module", module("nameless.so"), module("nameless.so"), words);
}

/* At the start, and not when the first job comes. */
static void module_that_calls_what_there_is_not_is_refused(void **state)
{
    const struct hcs_handler *handler = NULL;
    char error[512] = "";

    (void)state;
    assert_int_equal(hcs_kinds_find("module", module("unresolved.so"), &handler,
                         error, sizeof(error)),
        -EINVAL);
    assert_non_null(strstr(error, "cannot load "));
    assert_non_null(strstr(error, "hcs_job_of_a_newer_hcsd"));
}

static void without_a_folder_there_are_no_modules_but_by_file(void **state)
{
    char longest[PATH_MAX + 100];

    (void)state;
    executable = ""; /* no /proc */
    refused("plain", NULL, "no such handler", " module");
    executable = "noslash";
    refused("plain", NULL, "no such handler", " module");
    executable = "/nowhere/hcsd";
    refused("plain", NULL, "no such handler", " module");
    memset(longest, '/', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    executable = longest;
    refused("plain", NULL, "no such handler", " module");
    assert_string_equal(
        find("module", module("plain.so"))->name, "of-a-module");
}

/* Whatever the room, the line ends within it. */
static void message_that_has_no_room_is_cut(void **state)
{
    static const char *const kinds[] = {"nobody", "module"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t room = 1; room < 200; room++) {
            const struct hcs_handler *handler;
            char *error = malloc(room);

            assert_non_null(error);
            assert_int_equal(hcs_kinds_find(kinds[i], module("older.so"),
                                 &handler, error, room),
                -EINVAL);
            assert_true(strnlen(error, room) < room);
            free(error);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(built_in_ones_go_by_their_names, reset),
        cmocka_unit_test_setup(
            unknown_one_is_refused_with_those_that_there_are, reset),
        cmocka_unit_test_setup(module_is_found_by_its_file, reset),
        cmocka_unit_test_setup(
            module_beside_the_program_is_found_by_its_name, reset),
        cmocka_unit_test_setup(
            file_without_a_slash_is_of_the_working_folder, reset),
        cmocka_unit_test_setup(module_needs_a_file, reset),
        cmocka_unit_test_setup(file_that_cannot_be_read_is_named, reset),
        cmocka_unit_test_setup(file_that_is_no_shared_object_is_named, reset),
        cmocka_unit_test_setup(
            shared_object_that_is_no_module_is_refused, reset),
        cmocka_unit_test_setup(
            module_of_another_version_is_refused_with_both, reset),
        cmocka_unit_test_setup(
            module_of_a_newer_header_may_not_use_what_is_new, reset),
        cmocka_unit_test_setup(module_says_the_size_of_its_handler, reset),
        cmocka_unit_test_setup(module_that_is_not_whole_is_refused, reset),
        cmocka_unit_test_setup(
            module_that_calls_what_there_is_not_is_refused, reset),
        cmocka_unit_test_setup(
            without_a_folder_there_are_no_modules_but_by_file, reset),
        cmocka_unit_test_setup(message_that_has_no_room_is_cut, reset),
    };

    return cmocka_run_group_tests(tests, find_here, NULL);
}
