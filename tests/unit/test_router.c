/* Which resource a path names, and the life of the handlers behind it. */
/* wrap: calloc strdup reallocarray */
#include "job/router.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The allocation, counted from 0, that fails; none when it is negative. */
static int failing = -1;

static bool fails(void)
{
    return failing >= 0 && failing-- == 0;
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
void *__real_reallocarray(void *block, size_t count, size_t bytes);
void *__wrap_reallocarray(void *block, size_t count, size_t bytes);

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

void *__wrap_reallocarray(void *block, size_t count, size_t bytes)
{
    return fails() ? NULL : __real_reallocarray(block, count, bytes);
}

/* --- A handler that counts. */

static int opened, closed;

static int open_counting(void **self, struct hcs_mount *mount)
{
    const char *argument = hcs_mount_argument(mount);

    if (argument != NULL && strcmp(argument, "bad") == 0) {
        hcs_mount_fail(mount, "bad is not allowed");
        return -1;
    }
    *self = &opened;
    opened++;
    return 0;
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    (void)self;
    (void)job;
    return HCS_OK;
}

static void close_counting(void *self)
{
    assert_ptr_equal(self, &opened);
    closed++;
}

static const struct hcs_handler COUNTING = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "counting",
    .open = open_counting,
    .run = run,
    .close = close_counting,
};

static const struct hcs_handler PLAIN = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "plain",
    .run = run,
};

static int reset(void **state)
{
    (void)state;
    failing = -1;
    opened = 0;
    closed = 0;
    return 0;
}

static const struct hcs_route *find(
    const struct hcs_router *router, const char *path)
{
    /* Exactly as long as it is, so that a sanitizer sees a look behind it. */
    size_t length = strlen(path);
    char *copy = malloc(length > 0 ? length : 1);
    const struct hcs_route *route;

    assert_non_null(copy);
    memcpy(copy, path, length);
    route = hcs_router_find(router, copy, length);
    free(copy);
    return route;
}

enum what { NOTHING, JOB, PAGE, PAGES };

struct hcs_page { /* as the router sees them */
    enum what what;
};

static const struct hcs_page A_PAGE = {PAGE};
static const struct hcs_page MANY_PAGES = {PAGES};

static enum what what_is(const struct hcs_router *router, const char *path)
{
    const struct hcs_route *route = find(router, path);

    if (route == NULL) {
        return NOTHING;
    }
    return route->page == NULL ? JOB : route->page->what;
}

static struct hcs_router *make_router(void)
{
    struct hcs_router *router = hcs_router_create();

    assert_non_null(router);
    assert_int_equal(
        hcs_router_add_page(router, &A_PAGE, "/health", HCS_METHODS_READ), 0);
    assert_int_equal(
        hcs_router_add_page(router, &A_PAGE, "/metrics", HCS_METHODS_READ), 0);
    assert_int_equal(hcs_router_add_page(
                         router, &MANY_PAGES, "/problems/", HCS_METHODS_READ),
        0);
    return router;
}

static const struct hcs_host HOST = {.workers = 1};

static int add_mount(struct hcs_router *router, const char *path,
    const struct hcs_handler *handler, const char *argument)
{
    return hcs_router_add(
        router, hcs_mount_create(&HOST, handler, NULL, path, argument, NULL));
}

static void add(struct hcs_router *router, const char *path)
{
    assert_int_equal(add_mount(router, path, &PLAIN, NULL), 0);
}

/* --- Finding. */

static void pages_are_found_by_their_path_or_its_beginning(void **state)
{
    struct hcs_router *router = make_router();

    (void)state;
    assert_int_equal(what_is(router, "/health"), PAGE);
    assert_int_equal(what_is(router, "/problems/queue-full"), PAGES);
    assert_int_equal(what_is(router, "/problems/"), PAGES);
    assert_int_equal(find(router, "/health")->methods, HCS_METHODS_READ);
    assert_int_equal(hcs_router_jobs(router), 0);
    hcs_router_destroy(router);
}

static void paths_are_exact(void **state)
{
    static const char *const others[] = {"", "/", "x", "/health/", "/healt",
        "/Health", "health", "//health", "/healthz/", "/health?", "/problems",
        "/problem/x", "/jo", "/job/", "/jobs", "/job%", "/job%2", "/job%zz",
        "%", "/job%00"};
    struct hcs_router *router = make_router();

    (void)state;
    add(router, "/job");
    assert_int_equal(what_is(router, "/job"), JOB);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (find(router, others[i]) != NULL) {
            fail_msg("%s is found", others[i]);
        }
    }
    hcs_router_destroy(router);
}

static void encoded_path_is_the_same_path(void **state)
{
    struct hcs_router *router = make_router();

    (void)state;
    add(router, "/a b");
    add(router, "/p%q");
    assert_int_equal(what_is(router, "/a%20b"), JOB);
    assert_int_equal(what_is(router, "/%61%20%62"), JOB);
    assert_int_equal(what_is(router, "%2Fa%20b"), JOB);
    assert_int_equal(what_is(router, "%2fa%20b"), JOB);
    assert_int_equal(what_is(router, "/h%65alth"), PAGE);
    assert_int_equal(what_is(router, "/p%25q"), JOB);
    /* Once: what it gives is not decoded again. */
    assert_int_equal(what_is(router, "/a%2520b"), NOTHING);
    assert_int_equal(what_is(router, "/%%61"), NOTHING);
    /* What is no encoding stays as it is. */
    add(router, "/%6g");
    assert_int_equal(what_is(router, "/%6g"), JOB);
    assert_int_equal(what_is(router, "/%25%36g"), JOB);
    hcs_router_destroy(router);
}

static void encoded_path_beyond_all_bounds_is_not_found(void **state)
{
    enum { LENGTH = 16 * 1024 };
    struct hcs_router *router = make_router();
    char *path = malloc(LENGTH);

    (void)state;
    memset(path, 'a', LENGTH);
    path[0] = '/';
    memcpy(path + 1, "%41", 3);
    assert_null(hcs_router_find(router, path, LENGTH));
    memset(path + 1, 'a', 3);
    assert_null(hcs_router_find(router, path, LENGTH));
    free(path);
    hcs_router_destroy(router);
}

/* Many, so that some share whatever a search goes by. */
static void each_of_many_paths_is_found(void **state)
{
    enum { COUNT = 2000 };
    struct hcs_router *router = make_router();
    char path[32];

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof(path), "/%d/x", i * 7919 % COUNT);
        add(router, path);
    }
    assert_int_equal(hcs_router_jobs(router), COUNT);
    for (int i = 0; i < COUNT; i++) {
        const struct hcs_route *route;

        snprintf(path, sizeof(path), "/%d/x", i);
        route = find(router, path);
        assert_non_null(route);
        assert_string_equal(route->path, path);
        assert_int_equal(route->path_length, strlen(path));
    }
    assert_int_equal(what_is(router, "/2000/x"), NOTHING);
    assert_int_equal(what_is(router, "/metrics"), PAGE);
    hcs_router_destroy(router);
}

static void jobs_are_numbered_as_they_were_added(void **state)
{
    struct hcs_router *router = make_router();

    (void)state;
    add(router, "/z");
    add(router, "/a");
    add(router, "/mmm");
    for (size_t i = 0; i < 3; i++) {
        const struct hcs_route *route = hcs_router_job(router, i);

        assert_string_equal(
            route->path, ((const char *[]){"/z", "/a", "/mmm"})[i]);
        assert_int_equal(route->index, i);
        assert_string_equal(route->mount->handler->name, PLAIN.name);
    }
    hcs_router_destroy(router);
}

/* --- Adding. */

static void path_that_is_taken_is_refused(void **state)
{
    struct hcs_router *router = make_router();

    (void)state;
    add(router, "/job");
    for (size_t i = 0; i < 3; i++) {
        static const char *const taken[] = {
            "/job", "/health", "/problems/mine"};

        assert_int_equal(add_mount(router, taken[i], &COUNTING, NULL), -EINVAL);
    }
    assert_int_equal(hcs_router_open(router), 0);
    assert_int_equal(opened, 0);
    assert_int_equal(hcs_router_jobs(router), 1);
    hcs_router_destroy(router);
}

/* --- Opening. */

static void handler_that_does_not_open_is_named_and_the_others_are_closed(
    void **state)
{
    struct hcs_router *router = make_router();

    (void)state;
    assert_int_equal(add_mount(router, "/1", &COUNTING, "good"), 0);
    assert_int_equal(add_mount(router, "/2", &COUNTING, "bad"), 0);
    assert_int_equal(add_mount(router, "/3", &COUNTING, "good"), 0);
    assert_null(hcs_router_fault(router));
    assert_int_equal(hcs_router_open(router), -EINVAL);
    assert_string_equal(hcs_mount_path(hcs_router_fault(router)), "/2");
    assert_string_equal(
        hcs_mount_error(hcs_router_fault(router)), "bad is not allowed");
    assert_int_equal(opened, 1);
    assert_int_equal(closed, 1);
    hcs_router_destroy(router);
    assert_int_equal(closed, 1);
}

/* It is open by the time that this is seen. */
static void handler_that_is_refused_once_open_is_closed(void **state)
{
    struct hcs_router *router = make_router();

    (void)state;
    assert_int_equal(hcs_router_add(router, hcs_mount_create(&HOST, &COUNTING,
                                                NULL, "/a", NULL, "unknown=1")),
        0);
    assert_int_equal(hcs_router_open(router), -EINVAL);
    assert_int_equal(opened, 1);
    assert_int_equal(closed, 1);
    hcs_router_destroy(router);
    assert_int_equal(closed, 1);
}

static void each_opened_handler_is_closed_once(void **state)
{
    struct hcs_router *router = make_router();

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            add_mount(router, ((const char *[]){"/a", "/b", "/c"})[i],
                &COUNTING, "good"),
            0);
    }
    assert_int_equal(opened, 0);
    assert_int_equal(hcs_router_open(router), 0);
    assert_int_equal(opened, 3);
    assert_int_equal(closed, 0);
    hcs_router_close(router);
    assert_int_equal(closed, 3);
    hcs_router_destroy(router);
    assert_int_equal(closed, 3);
}

static void destroying_closes_what_is_open(void **state)
{
    struct hcs_router *router = make_router();

    (void)state;
    assert_int_equal(add_mount(router, "/a", &COUNTING, NULL), 0);
    assert_int_equal(hcs_router_open(router), 0);
    hcs_router_destroy(router);
    assert_int_equal(closed, 1);
}

static void destroying_nothing_is_allowed(void **state)
{
    (void)state;
    hcs_router_destroy(NULL);
}

/* --- Without memory. */

static void create_says_that_there_is_no_memory(void **state)
{
    struct hcs_router *router = NULL;
    int tries = 0;

    (void)state;
    while (router == NULL) {
        failing = tries++;
        router = hcs_router_create();
        if (router != NULL && hcs_router_add_page(router, &A_PAGE, "/health",
                                  HCS_METHODS_READ) != 0) {
            hcs_router_destroy(router);
            router = NULL;
        }
        assert_true(tries < 100);
    }
    assert_true(tries > 3); /* each allocation failed once */
    failing = -1;
    hcs_router_destroy(router);
}

static void add_says_that_there_is_no_memory(void **state)
{
    int tries = 0;
    int rc = -1;

    (void)state;
    while (rc != 0) {
        struct hcs_router *router = make_router();

        failing = tries++;
        rc = add_mount(router, "/job", &COUNTING, NULL);
        failing = -1;
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            assert_int_equal(what_is(router, "/job"), NOTHING);
            assert_int_equal(hcs_router_jobs(router), 0);
        }
        hcs_router_destroy(router);
        assert_true(tries < 100);
    }
    assert_true(tries > 5); /* of the mount, and of the router */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(
            pages_are_found_by_their_path_or_its_beginning, reset),
        cmocka_unit_test_setup(paths_are_exact, reset),
        cmocka_unit_test_setup(encoded_path_is_the_same_path, reset),
        cmocka_unit_test_setup(
            encoded_path_beyond_all_bounds_is_not_found, reset),
        cmocka_unit_test_setup(each_of_many_paths_is_found, reset),
        cmocka_unit_test_setup(jobs_are_numbered_as_they_were_added, reset),
        cmocka_unit_test_setup(path_that_is_taken_is_refused, reset),
        cmocka_unit_test_setup(
            handler_that_does_not_open_is_named_and_the_others_are_closed,
            reset),
        cmocka_unit_test_setup(
            handler_that_is_refused_once_open_is_closed, reset),
        cmocka_unit_test_setup(each_opened_handler_is_closed_once, reset),
        cmocka_unit_test_setup(destroying_closes_what_is_open, reset),
        cmocka_unit_test_setup(destroying_nothing_is_allowed, reset),
        cmocka_unit_test_setup(create_says_that_there_is_no_memory, reset),
        cmocka_unit_test_setup(add_says_that_there_is_no_memory, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
