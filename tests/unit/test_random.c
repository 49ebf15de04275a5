#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Two states that were seeded one after the other give different numbers, and
 * each bit is set in some of them. */
static bool two_states_differ(void)
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
    return equal == 0 && seen == UINT64_MAX;
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

static void states_differ(void **state)
{
    (void)state;
    assert_true(two_states_differ());
}

static void the_same_state_is_seeded_anew(void **state)
{
    struct hcs_random random;
    uint64_t first;

    (void)state;
    hcs_random_init(&random);
    first = hcs_random_next(&random);
    hcs_random_init(&random);
    assert_true(first != hcs_random_next(&random));
}

/* Makes getrandom(2) and open(2) fail from now on. False where there is no
 * seccomp(2), as under emulators. */
static bool forbid_entropy(int error)
{
    const unsigned refuse = SECCOMP_RET_ERRNO | (unsigned)error;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, refuse),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {
        .len = sizeof(code) / sizeof(code[0]),
        .filter = code,
    };
    char byte;

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 &&
           syscall(SYS_getrandom, &byte, 1, 0) == -1 && errno == error;
}

/* EAGAIN: the kernel has no entropy yet. EPERM: a sandbox forbids it. */
static void states_differ_without_the_kernel(void **state)
{
    enum { DIFFER, EQUAL, NO_SECCOMP, PATIENCE_S = 60 };
    static const int errors[] = {EAGAIN, EPERM};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        int status;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
            (void)alarm(PATIENCE_S); /* it may not wait, either */
            if (!forbid_entropy(errors[i])) {
                _exit(NO_SECCOMP);
            }
            _exit(two_states_differ() ? DIFFER : EQUAL);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == NO_SECCOMP) {
            skip();
        }
        assert_int_equal(WEXITSTATUS(status), DIFFER);
    }
}

static void every_bit_is_set_half_of_the_time(void **state)
{
    struct hcs_random random;
    int ones[64] = {0};

    (void)state;
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
        cmocka_unit_test(states_differ),
        cmocka_unit_test(the_same_state_is_seeded_anew),
        cmocka_unit_test(states_differ_without_the_kernel),
        cmocka_unit_test(every_bit_is_set_half_of_the_time),
    };

    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
