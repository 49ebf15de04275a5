/* ctest: builds=release,asan,tsan */
/*
 * What is made at the start, made again and again: each time the next
 * allocation of it fails, until there is none left to fail. Each time it must
 * say so, give back all it had, and leave no descriptor open.
 */
#include "base/arena.h"
#include "base/slab.h"
#include "event/timer.h"
#include "guard/budget.h"
#include "handlers/builtin.h"
#include "job/router.h"
#include "job/worker.h"
#include "shard/pages.h"
#include "shard/run.h"
#include "sync/deferral.h"
#include "sync/pool.h"
#include "sync/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUDGET = 64 * 1024 * 1024, NEVER = -1 };

/* --- Allocations: one fails, and those that are alive are counted. */

static int left_to_work = NEVER; /* then one fails */
static long alive;               /* blocks and mapped bytes */

static bool fails(void)
{
    if (left_to_work == NEVER || left_to_work-- > 0) {
        return false;
    }
    left_to_work = NEVER;
    errno = ENOMEM;
    return true;
}

static void *count(void *block)
{
    alive += block != NULL;
    return block;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : count(__real_malloc(bytes));
}

void *__real_calloc(size_t members, size_t bytes);
void *__wrap_calloc(size_t members, size_t bytes);
void *__wrap_calloc(size_t members, size_t bytes)
{
    return fails() ? NULL : count(__real_calloc(members, bytes));
}

void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes)
{
    void *moved;

    if (fails()) {
        return NULL;
    }
    moved = __real_realloc(block, bytes);
    alive += moved != NULL && block == NULL;
    return moved;
}

void *__real_reallocarray(void *block, size_t members, size_t bytes);
void *__wrap_reallocarray(void *block, size_t members, size_t bytes);
void *__wrap_reallocarray(void *block, size_t members, size_t bytes)
{
    void *moved;

    if (fails()) {
        return NULL;
    }
    moved = __real_reallocarray(block, members, bytes);
    alive += moved != NULL && block == NULL;
    return moved;
}

void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : count(__real_aligned_alloc(alignment, bytes));
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : count(__real_strdup(text));
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
    alive -= block != NULL;
    __real_free(block);
}

void *__real_mmap(
    void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(
    void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(
    void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    void *mapped;

    if (fails()) {
        return MAP_FAILED;
    }
    mapped = __real_mmap(at, length, protection, flags, fd, offset);
    alive += mapped != MAP_FAILED ? (long)length : 0;
    return mapped;
}

int __real_munmap(void *at, size_t length);
int __wrap_munmap(void *at, size_t length);
int __wrap_munmap(void *at, size_t length)
{
    int rc = __real_munmap(at, length);

    alive -= rc == 0 ? (long)length : 0;
    return rc;
}

int __real_pthread_attr_init(pthread_attr_t *attributes);
int __wrap_pthread_attr_init(pthread_attr_t *attributes);
int __wrap_pthread_attr_init(pthread_attr_t *attributes)
{
    return fails() ? ENOMEM : __real_pthread_attr_init(attributes);
}

/* --- What is made: each function makes it and drops it again; false when it
 * could not be made. */

static struct hcs_budget budget;

typedef bool make_fn(void);

static int next_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    close(fd);
    return fd;
}

/* Each of its allocations fails once, and there are at least so many. */
static void assert_gives_all_back(make_fn *make, int allocations)
{
    int fd = next_fd();
    int failures = 0;

    hcs_budget_init(&budget, BUDGET);
    for (;;) {
        long before = alive;
        bool made;

        left_to_work = failures;
        made = make();
        left_to_work = NEVER;
        assert_int_equal(alive, before);
        assert_int_equal(hcs_budget_used(&budget), 0);
        assert_int_equal(next_fd(), fd);
        if (made) {
            break;
        }
        failures++;
        assert_true(failures < 1000);
    }
    assert_true(failures >= allocations);
}

static bool make_arena(void)
{
    struct hcs_arena *arena =
        hcs_arena_create(hcs_budget_take, hcs_budget_give, &budget);
    bool made = arena != NULL && hcs_arena_alloc(arena, 100) != NULL;

    hcs_arena_destroy(arena);
    return made;
}

static bool make_arena_without_budget(void)
{
    struct hcs_arena *arena = hcs_arena_create(NULL, NULL, NULL);
    bool made = arena != NULL && hcs_arena_alloc(arena, 100) != NULL;

    hcs_arena_destroy(arena);
    return made;
}

static bool make_slab(void)
{
    struct hcs_slab *slab =
        hcs_slab_create(128, hcs_budget_take, hcs_budget_give, &budget);
    bool made = slab != NULL && hcs_slab_alloc(slab) != NULL;

    hcs_slab_destroy(slab);
    return made;
}

static bool make_slab_without_budget(void)
{
    struct hcs_slab *slab = hcs_slab_create(128, NULL, NULL, NULL);
    bool made = slab != NULL && hcs_slab_alloc(slab) != NULL;

    hcs_slab_destroy(slab);
    return made;
}

static bool make_wheel(void)
{
    struct hcs_wheel *wheel = hcs_wheel_create(1);

    hcs_wheel_destroy(wheel);
    return wheel != NULL;
}

static bool make_queue(void)
{
    struct hcs_queue *queue = hcs_queue_create(10);

    hcs_queue_destroy(queue);
    return queue != NULL;
}

/* Nothing fails meanwhile. */
static struct hcs_router *make_router_surely(void)
{
    int fails_at = left_to_work;
    struct hcs_router *router;

    left_to_work = NEVER;
    router = hcs_router_create();
    assert_non_null(router);
    left_to_work = fails_at;
    return router;
}

static bool make_pool(void)
{
    struct hcs_router *router = make_router_surely();
    struct hcs_job_context jobs = {&budget, router};
    struct hcs_pool *pool = hcs_pool_create(1, 10,
        &(struct hcs_pool_work){
            .context = &jobs,
            .open = HCS_JOB_WORK.open,
            .run = HCS_JOB_WORK.run,
            .returned = HCS_JOB_WORK.returned,
            .close = HCS_JOB_WORK.close,
        });
    bool made = false;

    if (pool != NULL && hcs_pool_start(pool) == 0) {
        made = true;
        while (!hcs_pool_stop(pool, 1000)) {
        }
    }
    hcs_pool_destroy(pool);
    hcs_router_destroy(router);
    return made;
}

/* With handlers that are closed again. */
static bool make_router(void)
{
    const struct hcs_host host = {.budget = &budget, .workers = 1};
    struct hcs_router *router = hcs_router_create();
    bool made = router != NULL && hcs_pages_add_to(router) == 0 &&
                hcs_router_add(router, hcs_mount_create(&host, &hcs_sleep, NULL,
                                           "/nap", "1ms", "timeout=2s")) == 0 &&
                hcs_router_add(router, hcs_mount_create(&host, &hcs_wait, NULL,
                                           "/wait", "1ms", NULL)) == 0 &&
                hcs_router_open(router) == 0;

    hcs_router_destroy(router);
    return made;
}

static bool make_deferrals(void)
{
    struct hcs_deferrals *deferrals =
        hcs_deferrals_create(hcs_budget_take, hcs_budget_give, &budget);
    struct hcs_task task = {0};
    uint64_t token = 0;

    if (deferrals != NULL) {
        token = hcs_deferrals_open(deferrals, &task);
    }
    if (token != 0) {
        assert_true(hcs_deferrals_withdraw(deferrals, &task));
    }
    hcs_deferrals_destroy(deferrals);
    return token != 0;
}

static bool make_shard(void)
{
    struct hcs_service service = {
        .budget = &budget,
        .sites[HCS_SITE_MAIN].router = make_router_surely(),
    };
    struct hcs_shard *shard;
    bool made;

    shard = hcs_shard_create(&service, 0, &(int){-1}, 1, HCS_LISTENER_OWN);
    made = shard != NULL;
    hcs_shard_destroy(shard);
    hcs_router_destroy(hcs_service_router(&service));
    return made;
}

static void memory_for_trees(void **state)
{
    (void)state;
    assert_gives_all_back(make_arena, 2);
    assert_gives_all_back(make_arena_without_budget, 2);
}

static void memory_for_records(void **state)
{
    (void)state;
    assert_gives_all_back(make_slab, 2);
    assert_gives_all_back(make_slab_without_budget, 2);
}

static void timers(void **state)
{
    (void)state;
    assert_gives_all_back(make_wheel, 1);
}

static void the_queue(void **state)
{
    (void)state;
    assert_gives_all_back(make_queue, 2);
}

static void workers(void **state)
{
    (void)state;
    assert_gives_all_back(make_pool, 7);
}

static void routes_and_their_handlers(void **state)
{
    (void)state;
    assert_gives_all_back(make_router, 20);
}

static void the_table_of_tokens(void **state)
{
    (void)state;
    assert_gives_all_back(make_deferrals, 2);
}

static void the_share_of_a_loop(void **state)
{
    (void)state;
    assert_gives_all_back(make_shard, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_for_trees),
        cmocka_unit_test(memory_for_records),
        cmocka_unit_test(timers),
        cmocka_unit_test(the_queue),
        cmocka_unit_test(workers),
        cmocka_unit_test(routes_and_their_handlers),
        cmocka_unit_test(the_table_of_tokens),
        cmocka_unit_test(the_share_of_a_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
