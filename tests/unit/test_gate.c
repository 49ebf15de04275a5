/* Who may enter, and what a refused caller is told. */
#include "guard/gate.h"

#include "base/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct hcs_peer PEER = {{1}};
static struct hcs_gate gate;
static size_t waiting;
static bool full;

static bool submit(void *queue, struct hcs_task *task)
{
    assert_ptr_equal(queue, &waiting);
    (void)task;
    waiting += !full;
    return !full;
}

static size_t depth(const void *queue)
{
    return *(const size_t *)queue;
}

static int set_up(void **state)
{
    (void)state;
    waiting = 0;
    full = false;
    hcs_gate_init(&gate, 2);
    hcs_gate_set_queue(
        &gate, &(struct hcs_gate_queue){&waiting, submit, depth});
    return 0;
}

static void connections_enter_up_to_the_limit(void **state)
{
    (void)state;
    assert_int_equal(hcs_gate_connect(&gate, &PEER), HCS_REASON_NONE);
    assert_int_equal(hcs_gate_connect(&gate, &PEER), HCS_REASON_NONE);
    assert_int_equal(
        hcs_gate_connect(&gate, &PEER), HCS_REASON_TOO_MANY_CONNECTIONS);
    /* One that was refused does not count. */
    assert_int_equal(hcs_gate_connections(&gate), 2);
    hcs_gate_disconnect(&gate, &PEER);
    assert_int_equal(hcs_gate_connect(&gate, &PEER), HCS_REASON_NONE);
}

static void job_is_refused_when_the_queue_is_full(void **state)
{
    (void)state;
    assert_int_equal(hcs_gate_admit(&gate, NULL), HCS_REASON_NONE);
    assert_int_equal(waiting, 1);
    full = true;
    assert_int_equal(hcs_gate_admit(&gate, NULL), HCS_REASON_QUEUE_FULL);
    assert_int_equal(waiting, 1);
}

static void advice_is_what_waits_over_what_ends(void **state)
{
    static const struct {
        size_t waiting;
        uint64_t rate, random;
        unsigned retry_after_s;
    } rows[] = {
        {0, 0, 0, 1},        /* nothing waits */
        {0, 0, 1, 2},        /* and the most that jitter adds */
        {7, 0, 0, 5},        /* nothing ends: not known */
        {100, 10, 0, 11},    /* ten seconds, rounded up */
        {100, 10, 3, 14},    /* jitter: up to a quarter and one */
        {100, 10, 4, 11},    /* of 11/4 + 2 values */
        {1000000, 1, 0, 30}, /* never more */
        {1000000, 1, 29, 30},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hcs_gate_advice advice;

        waiting = rows[i].waiting;
        hcs_gate_set_drain_rate(&gate, rows[i].rate);
        advice = hcs_gate_advise(&gate, rows[i].random);
        assert_int_equal(advice.retry_after_s, rows[i].retry_after_s);
        assert_int_equal(advice.queue_depth, rows[i].waiting);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(connections_enter_up_to_the_limit, set_up),
        cmocka_unit_test_setup(job_is_refused_when_the_queue_is_full, set_up),
        cmocka_unit_test_setup(advice_is_what_waits_over_what_ends, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
