/* The table of the daemon's own pages. */
#include "shard/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *const PATHS[] = {"/health", "/livez", "/healthz", "/readyz",
    "/metrics", "/problems/", "/problems/queue-full"};

static void each_page_is_found_and_can_be_read(void **state)
{
    struct hcs_router *router = hcs_router_create();

    (void)state;
    assert_non_null(router);
    assert_int_equal(hcs_pages_add_to(router), 0);
    for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
        const struct hcs_route *route =
            hcs_router_find(router, PATHS[i], strlen(PATHS[i]));

        assert_non_null(route);
        assert_non_null(route->page);
        assert_int_equal(route->methods, HCS_METHODS_READ);
    }
    hcs_router_destroy(router);
}

static void paths_of_pages_are_reserved_and_no_others(void **state)
{
    static const char *const free_paths[] = {
        "/", "/healthy", "/Health", "/health/", "/problems", "/metrics.json"};

    (void)state;
    for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
        assert_true(hcs_pages_is_reserved(PATHS[i]));
    }
    for (size_t i = 0; i < sizeof(free_paths) / sizeof(free_paths[0]); i++) {
        assert_false(hcs_pages_is_reserved(free_paths[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_page_is_found_and_can_be_read),
        cmocka_unit_test(paths_of_pages_are_reserved_and_no_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
