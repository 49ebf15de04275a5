#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum entropy { ENTROPY_REAL, ENTROPY_NONE, ENTROPY_SHORT, ENTROPY_ZEROS };

static enum entropy entropy = ENTROPY_REAL;
static unsigned asked_flags;
static bool time_stands_still;

ssize_t __real_getrandom(void *bytes, size_t length, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t length, unsigned flags);
int __real_clock_gettime(clockid_t id, struct timespec *now);
int __wrap_clock_gettime(clockid_t id, struct timespec *now);

ssize_t __wrap_getrandom(void *bytes, size_t length, unsigned flags)
{
    asked_flags = flags;
    switch (entropy) {
    case ENTROPY_REAL:
        return __real_getrandom(bytes, length, flags);
    case ENTROPY_NONE:
        errno = EAGAIN;
        return -1;
    case ENTROPY_SHORT:
        memset(bytes, 0x5a, length / 2);
        return (ssize_t)(length / 2);
    case ENTROPY_ZEROS:
        memset(bytes, 0, length);
        return (ssize_t)length;
    }
    return -1;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
    if (time_stands_still) {
        *now = (struct timespec){.tv_sec = 1000};
        return 0;
    }
    return __real_clock_gettime(id, now);
}

/* Two states made one after the other give different numbers, and none gives
 * zeros for ever. */
static void assert_two_states_differ(void)
{
    struct hcs_random randoms[2];
    uint64_t seen = 0;
    int equal = 0;

    memset(randoms, 0, sizeof randoms);
    hcs_random_init(&randoms[0]);
    hcs_random_init(&randoms[1]);
    for (int i = 0; i < 100; i++) {
        uint64_t first = hcs_random_next(&randoms[0]);

        equal += first == hcs_random_next(&randoms[1]) ? 1 : 0;
        seen |= first;
    }
    assert_int_equal(equal, 0);
    assert_true(seen == UINT64_MAX);
}

static void next_is_xoshiro256_starstar(void **state)
{
    /* What the reference implementation prints for this state. */
    static const uint64_t expected[] = {11520, 0, 1509978240,
        1215971899390074240, 1216172134540287360, 607988272756665600,
        16172922978634559625u, 8476171486693032832, 10595114339597558777u,
        2904607092377533576};
    struct hcs_random random = {.state = {1, 2, 3, 4}};

    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(hcs_random_next(&random) == expected[i]);
    }
}

static void states_seeded_by_the_kernel_differ(void **state)
{
    (void)state;
    entropy = ENTROPY_REAL;
    assert_two_states_differ();
}

static void seeding_never_waits_for_the_kernel(void **state)
{
    struct hcs_random random;

    (void)state;
    entropy = ENTROPY_REAL;
    asked_flags = 0;
    hcs_random_init(&random);
    assert_true((asked_flags & GRND_NONBLOCK) != 0);
}

static void states_differ_without_the_kernel(void **state)
{
    (void)state;
    entropy = ENTROPY_NONE;
    assert_two_states_differ();
    entropy = ENTROPY_SHORT;
    assert_two_states_differ();
}

static void states_made_at_one_time_differ_without_the_kernel(void **state)
{
    (void)state;
    entropy = ENTROPY_NONE;
    time_stands_still = true;
    assert_two_states_differ();
    time_stands_still = false;
}

static void the_same_state_is_seeded_anew_without_the_kernel(void **state)
{
    struct hcs_random random;
    uint64_t first;

    (void)state;
    entropy = ENTROPY_NONE;
    hcs_random_init(&random);
    first = hcs_random_next(&random);
    hcs_random_init(&random);
    assert_true(first != hcs_random_next(&random));
}

static void a_seed_of_zeros_is_replaced(void **state)
{
    (void)state;
    entropy = ENTROPY_ZEROS;
    assert_two_states_differ();
}

static void every_bit_is_set_half_of_the_time(void **state)
{
    struct hcs_random random;
    int ones[64] = {0};

    (void)state;
    entropy = ENTROPY_REAL;
    hcs_random_init(&random);
    for (int i = 0; i < 10000; i++) {
        uint64_t value = hcs_random_next(&random);

        for (int bit = 0; bit < 64; bit++) {
            ones[bit] += (int)(value >> bit & 1);
        }
    }
    for (int bit = 0; bit < 64; bit++) {
        /* Ten standard deviations. */
        assert_in_range(ones[bit], 4500, 5500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_is_xoshiro256_starstar),
        cmocka_unit_test(states_seeded_by_the_kernel_differ),
        cmocka_unit_test(seeding_never_waits_for_the_kernel),
        cmocka_unit_test(states_differ_without_the_kernel),
        cmocka_unit_test(states_made_at_one_time_differ_without_the_kernel),
        cmocka_unit_test(the_same_state_is_seeded_anew_without_the_kernel),
        cmocka_unit_test(a_seed_of_zeros_is_replaced),
        cmocka_unit_test(every_bit_is_set_half_of_the_time),
    };

    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
