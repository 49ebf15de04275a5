/* Which resource a path names, and the life of the handlers behind it. */
/* wrap: calloc strdup realloc */
#include "http/router.h"

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
void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    return fails() ? NULL : __real_realloc(block, bytes);
}

/* --- A handler that counts. */

static int opened, closed;

static int open_counting(
    void **self, const char *argument, char *error, size_t error_size)
{
    if (argument != NULL && strcmp(argument, "bad") == 0) {
        snprintf(error, error_size, "bad is not allowed");
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
    .name = "counting",
    .open = open_counting,
    .run = run,
    .close = close_counting,
};

static const struct hcs_handler PLAIN = {
    .abi = HCS_HANDLER_ABI,
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

static enum hcs_resource resource_of(
    const struct hcs_router *router, const char *path)
{
    const struct hcs_route *route = find(router, path);

    return route == NULL ? HCS_RESOURCE_NONE : route->resource;
}

static void add(struct hcs_router *router, const char *path)
{
    char error[128] = "";

    if (hcs_router_add(router, path, &PLAIN, NULL, error, sizeof(error)) != 0) {
        fail_msg("%s: %s", path, error);
    }
}

/* --- Finding. */

static void own_resources_are_there_from_the_start(void **state)
{
    struct hcs_router *router = hcs_router_create();

    (void)state;
    assert_int_equal(resource_of(router, "/health"), HCS_RESOURCE_HEALTH);
    assert_int_equal(resource_of(router, "/livez"), HCS_RESOURCE_LIVE);
    assert_int_equal(resource_of(router, "/healthz"), HCS_RESOURCE_LIVE);
    assert_int_equal(resource_of(router, "/readyz"), HCS_RESOURCE_READY);
    assert_int_equal(resource_of(router, "/metrics"), HCS_RESOURCE_METRICS);
    assert_int_equal(
        resource_of(router, "/problems/queue-full"), HCS_RESOURCE_PROBLEM);
    assert_int_equal(hcs_router_jobs(router), 0);
    hcs_router_destroy(router);
}

static void paths_are_exact(void **state)
{
    static const char *const others[] = {"", "/", "x", "/health/", "/healt",
        "/Health", "health", "//health", "/healthz/", "/health?", "/problems",
        "/problem/x", "/jo", "/job/", "/jobs", "/job%", "/job%2", "/job%zz",
        "%", "/job%00"};
    struct hcs_router *router = hcs_router_create();

    (void)state;
    add(router, "/job");
    assert_int_equal(resource_of(router, "/job"), HCS_RESOURCE_JOB);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (find(router, others[i]) != NULL) {
            fail_msg("%s is found", others[i]);
        }
    }
    hcs_router_destroy(router);
}

static void encoded_path_is_the_same_path(void **state)
{
    struct hcs_router *router = hcs_router_create();

    (void)state;
    add(router, "/a b");
    add(router, "/p%q");
    assert_int_equal(resource_of(router, "/a%20b"), HCS_RESOURCE_JOB);
    assert_int_equal(resource_of(router, "/%61%20%62"), HCS_RESOURCE_JOB);
    assert_int_equal(resource_of(router, "%2Fa%20b"), HCS_RESOURCE_JOB);
    assert_int_equal(resource_of(router, "%2fa%20b"), HCS_RESOURCE_JOB);
    assert_int_equal(resource_of(router, "/h%65alth"), HCS_RESOURCE_HEALTH);
    assert_int_equal(resource_of(router, "/p%25q"), HCS_RESOURCE_JOB);
    /* Once: what it gives is not decoded again. */
    assert_int_equal(resource_of(router, "/a%2520b"), HCS_RESOURCE_NONE);
    assert_int_equal(resource_of(router, "/%%61"), HCS_RESOURCE_NONE);
    /* What is no encoding stays as it is. */
    add(router, "/%6g");
    assert_int_equal(resource_of(router, "/%6g"), HCS_RESOURCE_JOB);
    assert_int_equal(resource_of(router, "/%25%36g"), HCS_RESOURCE_JOB);
    hcs_router_destroy(router);
}

static void encoded_path_beyond_all_bounds_is_not_found(void **state)
{
    enum { LENGTH = 16 * 1024 };
    struct hcs_router *router = hcs_router_create();
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
    struct hcs_router *router = hcs_router_create();
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
    assert_int_equal(resource_of(router, "/2000/x"), HCS_RESOURCE_NONE);
    assert_int_equal(resource_of(router, "/metrics"), HCS_RESOURCE_METRICS);
    hcs_router_destroy(router);
}

static void jobs_are_numbered_as_they_were_added(void **state)
{
    struct hcs_router *router = hcs_router_create();

    (void)state;
    add(router, "/z");
    add(router, "/a");
    add(router, "/mmm");
    for (size_t i = 0; i < 3; i++) {
        const struct hcs_route *route = hcs_router_job(router, i);

        assert_string_equal(
            route->path, ((const char *[]){"/z", "/a", "/mmm"})[i]);
        assert_int_equal(route->index, i);
        assert_ptr_equal(route->handler, &PLAIN);
    }
    hcs_router_destroy(router);
}

/* --- Adding. */

static void refused(struct hcs_router *router, const char *path,
    const struct hcs_handler *handler, const char *argument, const char *word)
{
    char error[128] = "";

    assert_int_equal(
        hcs_router_add(router, path, handler, argument, error, sizeof(error)),
        -EINVAL);
    if (strstr(error, word) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error, word);
    }
    assert_null(strchr(error, '\n'));
}

static void path_that_is_taken_is_refused(void **state)
{
    struct hcs_router *router = hcs_router_create();

    (void)state;
    add(router, "/job");
    refused(router, "/job", &COUNTING, NULL, "/job is taken");
    refused(router, "/health", &COUNTING, NULL, "/health is taken");
    refused(router, "/problems/mine", &COUNTING, NULL, "taken");
    assert_int_equal(opened, 0);
    assert_int_equal(hcs_router_jobs(router), 1);
    hcs_router_destroy(router);
}

static void handler_that_cannot_be_used_is_refused_and_not_closed(void **state)
{
    const struct hcs_handler older = {
        .abi = HCS_HANDLER_ABI + 1,
        .name = "older",
        .open = open_counting,
        .run = run,
        .close = close_counting,
    };
    struct hcs_router *router = hcs_router_create();

    (void)state;
    refused(router, "/1", &COUNTING, "bad", "bad is not allowed");
    refused(router, "/2", &PLAIN, "argument", "no argument");
    refused(router, "/3", &older, NULL, "ABI");
    hcs_router_destroy(router);
    assert_int_equal(opened, 0);
    assert_int_equal(closed, 0);
}

static void each_opened_handler_is_closed_once(void **state)
{
    struct hcs_router *router = hcs_router_create();
    char error[128];

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            hcs_router_add(router, ((const char *[]){"/a", "/b", "/c"})[i],
                &COUNTING, "good", error, sizeof(error)),
            0);
    }
    assert_int_equal(opened, 3);
    assert_int_equal(closed, 0);
    hcs_router_destroy(router);
    assert_int_equal(closed, 3);
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
        assert_true(tries < 100);
    }
    assert_true(tries > 5); /* each allocation failed once */
    failing = -1;
    hcs_router_destroy(router);
}

static void add_says_that_there_is_no_memory(void **state)
{
    int tries = 0;
    int rc = -1;

    (void)state;
    while (rc != 0) {
        struct hcs_router *router = hcs_router_create();
        char error[128] = "";

        failing = tries++;
        rc = hcs_router_add(
            router, "/job", &COUNTING, NULL, error, sizeof(error));
        failing = -1;
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            assert_string_equal(error, "out of memory");
            assert_int_equal(resource_of(router, "/job"), HCS_RESOURCE_NONE);
            assert_int_equal(hcs_router_jobs(router), 0);
        }
        hcs_router_destroy(router);
        assert_true(tries < 100);
    }
    assert_true(tries > 2);
    assert_int_equal(opened, 1);
    assert_int_equal(closed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(own_resources_are_there_from_the_start, reset),
        cmocka_unit_test_setup(paths_are_exact, reset),
        cmocka_unit_test_setup(encoded_path_is_the_same_path, reset),
        cmocka_unit_test_setup(
            encoded_path_beyond_all_bounds_is_not_found, reset),
        cmocka_unit_test_setup(each_of_many_paths_is_found, reset),
        cmocka_unit_test_setup(jobs_are_numbered_as_they_were_added, reset),
        cmocka_unit_test_setup(path_that_is_taken_is_refused, reset),
        cmocka_unit_test_setup(
            handler_that_cannot_be_used_is_refused_and_not_closed, reset),
        cmocka_unit_test_setup(each_opened_handler_is_closed_once, reset),
        cmocka_unit_test_setup(destroying_nothing_is_allowed, reset),
        cmocka_unit_test_setup(create_says_that_there_is_no_memory, reset),
        cmocka_unit_test_setup(add_says_that_there_is_no_memory, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
