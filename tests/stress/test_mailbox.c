/* ctest: cores=2 slow */
#include "sync/mailbox.h"

#include "storm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>

#include <cmocka.h>

enum { PRODUCERS = 3, SLOTS = 64, RUN_MS = 2000 };

struct letter {
    struct hcs_task task; /* first */
    unsigned producer;
    uint64_t serial;  /* how often it was put */
    uint64_t order;   /* among its producer's */
    _Atomic bool out; /* put, and not yet read */
};

struct post {
    struct hcs_mailbox box;
    struct letter letters[PRODUCERS][SLOTS];
    uint64_t put[PRODUCERS];
    pthread_t producers[PRODUCERS];
    _Atomic bool finished;
    uint64_t end_ms;
    unsigned burst_max; /* letters put for one ring */
    uint64_t taken;
    _Atomic uint64_t sleeps; /* that blocked */
};

static struct post post;

struct producer {
    unsigned index;
};

/* Puts a burst, rings where it owes that, and then waits until all of the
 * burst was read, like everybody else: so if the loop sleeps on one letter,
 * soon nobody is left to wake it by chance. */
static void *produce(void *argument)
{
    const unsigned index = ((const struct producer *)argument)->index;
    uint64_t state = 99991u * (index + 1);

    storm_join();
    while (storm_now_ms() < post.end_ms || atomic_load(&post.sleeps) == 0) {
        unsigned burst = 1 + (unsigned)(storm_random(&state) % post.burst_max);
        bool owed = false;

        for (unsigned i = 0; i < burst; i++) {
            struct letter *letter = &post.letters[index][i];

            CHECK(!atomic_load(&letter->out));
            letter->producer = index;
            letter->serial++;
            letter->order = post.put[index]++;
            atomic_store(&letter->out, true);
            if (hcs_mailbox_put(&post.box, &letter->task)) {
                owed = true;
            }
        }
        if (owed) {
            hcs_mailbox_ring(&post.box);
        }
        for (unsigned i = 0; i < burst; i++) {
            while (atomic_load_explicit(
                &post.letters[index][i].out, memory_order_acquire)) {
                if (storm_random(&state) % 64 == 0) {
                    storm_nap_us(5);
                }
            }
        }
    }
    storm_leave();
    return NULL;
}

/* As the loop of a shard does it: the doorbell is never read. */
static void *loop(void *argument)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t next[PRODUCERS] = {0};

    (void)argument;
    CHECK(epoll >= 0);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, post.box.fd, &event) == 0);
    storm_join();
    for (;;) {
        struct hcs_task *task;
        bool finished = atomic_load(&post.finished);
        int timeout_ms = hcs_mailbox_sleep(&post.box) ? -1 : 0;
        int count;

        storm_set_shelter(true);
        count = epoll_wait(epoll, &event, 1, finished ? 0 : timeout_ms);
        storm_set_shelter(false);
        CHECK(count >= 0);
        if (timeout_ms != 0) {
            atomic_fetch_add(&post.sleeps, 1);
        }
        task = hcs_mailbox_take(&post.box);
        while (task != NULL) {
            struct hcs_task *after = task->next;
            struct letter *letter = (struct letter *)(void *)task;

            CHECK(atomic_load(&letter->out));
            /* None lost, none twice, oldest first. */
            CHECK(letter->order == next[letter->producer]);
            next[letter->producer]++;
            post.taken++;
            atomic_store_explicit(&letter->out, false, memory_order_release);
            storm_progress();
            task = after;
        }
        if (finished) {
            break;
        }
    }
    storm_leave();
    close(epoll);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        CHECK(next[i] == post.put[i]);
    }
    return NULL;
}

static void run_post(unsigned burst_max)
{
    struct producer producers[PRODUCERS];
    pthread_t reader;
    uint64_t put = 0;

    memset(&post, 0, sizeof(post));
    assert_int_equal(hcs_mailbox_open(&post.box), 0);
    post.burst_max = burst_max;
    post.end_ms = storm_now_ms() + RUN_MS;
    storm_begin("mailbox");
    CHECK(pthread_create(&reader, NULL, loop, NULL) == 0);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i].index = i;
        CHECK(pthread_create(
                  &post.producers[i], NULL, produce, &producers[i]) == 0);
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        pthread_join(post.producers[i], NULL);
        put += post.put[i];
    }
    atomic_store(&post.finished, true);
    hcs_mailbox_ring(&post.box); /* as a command does, task or not */
    pthread_join(reader, NULL);
    storm_end();
    assert_int_equal(post.taken, put);
    assert_null(hcs_mailbox_take(&post.box));
    hcs_mailbox_close(&post.box);
}

static void no_single_letter_is_slept_on(void **state)
{
    (void)state;
    run_post(1);
}

static void no_letter_of_a_burst_is_slept_on_or_out_of_order(void **state)
{
    (void)state;
    run_post(SLOTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_single_letter_is_slept_on),
        cmocka_unit_test(no_letter_of_a_burst_is_slept_on_or_out_of_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
