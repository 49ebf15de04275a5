#include "handlers/sql/postgres_cancel.h"

#include "handlers/sql/postgres_error.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SECOND_NS = 1000000000,
    MS_NS = 1000000,
    CHECK_MS = 50, /* between two looks whether the pool stops */
};

static const uint64_t CANCEL_NS = 5 * UINT64_C(1000000000);
static const uint64_t CANCEL_AT_END_NS = 500 * UINT64_C(1000000);

struct canceller {
    PGcancel *handle;
    pthread_mutex_t lock; /* of the next three */
    pthread_cond_t ended;
    bool has_ended;
    bool left_behind; /* the thread is to free the canceller */
    bool done;        /* the server was asked */
    char error[256];
};

static struct canceller *make_canceller(PGconn *pg)
{
    struct canceller *canceller = calloc(1, sizeof *canceller);
    pthread_condattr_t attributes;

    if (canceller == NULL) {
        return NULL;
    }
    canceller->handle = PQgetCancel(pg);
    if (canceller->handle == NULL || pthread_condattr_init(&attributes) != 0) {
        PQfreeCancel(canceller->handle);
        free(canceller);
        return NULL;
    }
    /* With these arguments the next calls cannot fail (glibc). */
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&canceller->lock, NULL);
    (void)pthread_cond_init(&canceller->ended, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return canceller;
}

static void drop_canceller(struct canceller *canceller)
{
    (void)pthread_cond_destroy(&canceller->ended);
    (void)pthread_mutex_destroy(&canceller->lock);
    PQfreeCancel(canceller->handle);
    free(canceller);
}

static void *ask_to_cancel(void *argument)
{
    struct canceller *canceller = argument;
    bool left_behind;

    canceller->done =
        PQcancel(canceller->handle, canceller->error, sizeof canceller->error);
    (void)pthread_mutex_lock(&canceller->lock);
    canceller->has_ended = true;
    left_behind = canceller->left_behind;
    (void)pthread_cond_signal(&canceller->ended);
    (void)pthread_mutex_unlock(&canceller->lock);
    if (left_behind) {
        drop_canceller(canceller);
    }
    return NULL;
}

/* False when the thread did not end in time. Then canceller is the thread's. */
static bool await_canceller(
    struct canceller *canceller, const atomic_bool *stopping)
{
    uint64_t began_ns = hcs_sql_now_ns();
    uint64_t now_ns = began_ns;
    bool has_ended;

    (void)pthread_mutex_lock(&canceller->lock);
    while (!canceller->has_ended &&
           now_ns - began_ns <
               (atomic_load(stopping) ? CANCEL_AT_END_NS : CANCEL_NS)) {
        uint64_t next_ns = now_ns + (uint64_t)CHECK_MS * MS_NS;
        struct timespec at = {.tv_sec = (time_t)(next_ns / SECOND_NS),
            .tv_nsec = (long)(next_ns % SECOND_NS)};

        (void)pthread_cond_timedwait(&canceller->ended, &canceller->lock, &at);
        now_ns = hcs_sql_now_ns();
    }
    has_ended = canceller->has_ended;
    canceller->left_behind = !has_ended;
    (void)pthread_mutex_unlock(&canceller->lock);
    return has_ended;
}

/* Takes canceller. */
static void run_canceller(struct canceller *canceller,
    const atomic_bool *stopping, struct hcs_sql_error *error)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, ask_to_cancel, canceller);

    if (rc == 0 && !await_canceller(canceller, stopping)) {
        (void)pthread_detach(thread);
        (void)hcs_postgres_set_error(error, "it does not answer",
            "a statement could not be cancelled: no answer");
        return;
    }
    if (rc == 0) {
        (void)pthread_join(thread, NULL);
    }
    if (rc != 0 || !canceller->done) {
        (void)hcs_postgres_set_error(error, "a statement was not cancelled",
            "a statement could not be cancelled: %s",
            rc != 0 ? strerror(rc) : canceller->error);
    }
    drop_canceller(canceller);
}

void hcs_postgres_cancel(
    PGconn *pg, const atomic_bool *stopping, struct hcs_sql_error *error)
{
    struct canceller *canceller = make_canceller(pg);

    if (canceller == NULL) {
        (void)hcs_postgres_set_error(error, "out of memory", "out of memory");
        return;
    }
    run_canceller(canceller, stopping, error);
}
