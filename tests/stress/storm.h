/*
 * storm - what the stress tests share: bad weather, and a watchdog.
 *
 * A race that needs one thread to stand still between two instructions is rare
 * as long as every thread keeps its core. So a thread of its own sends signals
 * to those that joined the storm, and the handler makes them stand still for a
 * while, wherever they are. A signal also ends a sleep in epoll_wait(2) and
 * makes futex(2) look again, which would hide a lost wake-up: whoever sleeps
 * takes shelter first.
 *
 * Owns:    its threads.
 * Threads: begin and end by the test; join, leave, shelter and CHECK by any.
 * Waits:   end only.
 */
#ifndef HCS_TESTS_STRESS_STORM_H
#define HCS_TESTS_STRESS_STORM_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* cmocka's assertions jump, and may do so in the test's own thread only. */
#define CHECK(truth)                                                           \
    ((truth) ? (void)0 : storm_fail(__FILE__, __LINE__, #truth))

enum {
    STORM_THREADS = 16,
    STORM_PATIENCE_S = 120, /* without progress, until a test has failed */
};

struct storm {
    pthread_mutex_t lock; /* of threads and count */
    pthread_t threads[STORM_THREADS];
    unsigned count;
    _Atomic bool over;
    _Atomic uint64_t progress; /* whatever grows while all is well */
    pthread_t weather;
    pthread_t watchdog;
    const char *what; /* is going on */
};

static struct storm storm = {.lock = PTHREAD_MUTEX_INITIALIZER};

_Noreturn static inline void storm_fail(
    const char *file, int line, const char *truth)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, truth);
    fflush(stderr);
    _exit(1);
}

/* xorshift64 */
static inline uint64_t storm_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline uint64_t storm_now_ms(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000 + (uint64_t)at.tv_nsec / 1000000;
}

static inline void storm_nap_us(long us)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

static inline void storm_stand_still(int number)
{
    static _Thread_local uint64_t state;

    (void)number;
    if (state == 0) {
        state = (uint64_t)(uintptr_t)&state | 1;
    }
    storm_nap_us((long)(storm_random(&state) % 8 == 0 ? 300 : 20));
}

static inline void storm_set_shelter(bool sheltered)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(sheltered ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* The caller is hit from now on, until it leaves. */
static inline void storm_join(void)
{
    storm_set_shelter(false);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    pthread_mutex_lock(&storm.lock);
    CHECK(storm.count < STORM_THREADS);
    storm.threads[storm.count++] = pthread_self();
    pthread_mutex_unlock(&storm.lock);
}

static inline void storm_leave(void)
{
    storm_set_shelter(true);
    pthread_mutex_lock(&storm.lock);
    for (unsigned i = 0; i < storm.count; i++) {
        if (pthread_equal(storm.threads[i], pthread_self())) {
            storm.threads[i] = storm.threads[--storm.count];
            break;
        }
    }
    pthread_mutex_unlock(&storm.lock);
}

static inline void *storm_weather(void *argument)
{
    uint64_t state = 88172645463325252u;

    (void)argument;
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    while (!atomic_load(&storm.over)) {
        pthread_mutex_lock(&storm.lock);
        if (storm.count > 0) {
            (void)pthread_kill(
                storm.threads[storm_random(&state) % storm.count], SIGUSR1);
        }
        pthread_mutex_unlock(&storm.lock);
        storm_nap_us((long)(storm_random(&state) % 60));
    }
    return NULL;
}

static inline void *storm_watchdog(void *argument)
{
    uint64_t seen = atomic_load(&storm.progress);
    uint64_t moved_ms = storm_now_ms();

    (void)argument;
    while (!atomic_load(&storm.over)) {
        uint64_t progress = atomic_load(&storm.progress);

        if (progress != seen) {
            seen = progress;
            moved_ms = storm_now_ms();
        } else if (storm_now_ms() - moved_ms > STORM_PATIENCE_S * 1000) {
            fprintf(stderr, "%s: no progress for %d s\n", storm.what,
                STORM_PATIENCE_S);
            _exit(1);
        }
        storm_nap_us(20 * 1000);
    }
    return NULL;
}

static inline void storm_progress(void)
{
    atomic_fetch_add_explicit(&storm.progress, 1, memory_order_relaxed);
}

/* Threads that are started afterwards begin in shelter. */
static inline void storm_begin(const char *what)
{
    struct sigaction action = {.sa_handler = storm_stand_still};

    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    storm_set_shelter(true);
    storm.what = what;
    atomic_store(&storm.over, false);
    CHECK(pthread_create(&storm.weather, NULL, storm_weather, NULL) == 0);
    CHECK(pthread_create(&storm.watchdog, NULL, storm_watchdog, NULL) == 0);
}

/* After the test's threads were joined. */
static inline void storm_end(void)
{
    atomic_store(&storm.over, true);
    pthread_join(storm.weather, NULL);
    pthread_join(storm.watchdog, NULL);
    CHECK(storm.count == 0);
}

#endif
