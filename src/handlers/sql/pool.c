#include "handlers/sql/pool.h"

#include <bsd/stdlib.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FIRST_ROOM = 64,
    SECOND_NS = 1000000000,
    THREAD_NAME_BYTES = 16, /* pthread_setname_np(3) */
};

static const uint64_t PAUSE_MIN_NS = 100 * UINT64_C(1000000);
static const uint64_t PAUSE_MAX_NS = 5 * UINT64_C(1000000000);

/* Jobs that wait: a ring whose room is a power of two. */
struct job_queue {
    struct hcs_token *ring;
    size_t room;
    size_t first;
    size_t count;
};

/* A thread and its connection. */
struct connection_thread {
    struct hcs_sql_pool *pool;
    pthread_t id;
    void *connection;    /* NULL: none */
    uint64_t checked_ns; /* when the connection was last known to be good */
    uint64_t pause_ns;   /* before the next attempt to connect */
    bool counts;         /* in usable */
};

struct hcs_sql_pool {
    struct hcs_mount *mount;
    const struct hcs_driver *driver;
    void *database;
    const struct hcs_statements *statements;
    atomic_bool stopping; /* set under the lock; read anywhere, as a hint */

    pthread_mutex_t lock;   /* of the fields from here to error */
    pthread_cond_t work;    /* a job was queued, or stopping was set */
    pthread_cond_t retry;   /* the database is back, or stopping was set */
    struct job_queue queue; /* empty while usable is 0 */
    unsigned connected;
    unsigned busy;
    /* Threads that have a connection, or have just lost it and make their first
     * attempt at another. Jobs are refused while this is 0. A server or a
     * firewall may drop an idle connection, and no job is to be refused for
     * that. */
    unsigned usable;
    unsigned returns;           /* how often usable rose from 0 */
    struct hcs_sql_error error; /* the last; empty when all are connected */

    struct hcs_metric *metric_connected;
    struct hcs_metric *metric_busy;
    struct hcs_metric *metric_waiting;
    struct hcs_metric *metric_connects;
    struct hcs_metric *metric_errors;

    unsigned started; /* threads that run */
    unsigned size;
    struct connection_thread threads[];
};

uint64_t hcs_sql_now_ns(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

static struct timespec as_timespec(uint64_t ns)
{
    return (struct timespec){
        .tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
}

/* Gives a random pause between half and all of pause_ns, so that the threads do
 * not connect all at once. Doubles pause_ns. */
static uint64_t next_pause(struct connection_thread *thread)
{
    uint64_t half_ns = thread->pause_ns / 2; /* fits 32 bits */

    thread->pause_ns = 4 * half_ns < PAUSE_MAX_NS ? 4 * half_ns : PAUSE_MAX_NS;
    return half_ns + arc4random_uniform((uint32_t)half_ns);
}

/* --- The queue. Under the lock. */

static struct hcs_token *nth(const struct job_queue *queue, size_t n)
{
    return &queue->ring[(queue->first + n) & (queue->room - 1)];
}

/* Removes the jobs whose clients do not wait any more. */
static void drop_dead(struct job_queue *queue, struct hcs_mount *mount)
{
    size_t kept = 0;

    for (size_t i = 0; i < queue->count; i++) {
        struct hcs_token token = *nth(queue, i);

        if (hcs_mount_awaits(mount, token)) {
            *nth(queue, kept++) = token;
        }
    }
    queue->count = kept;
}

static bool grow(struct job_queue *queue)
{
    size_t room = queue->room == 0 ? FIRST_ROOM : 2 * queue->room;
    struct hcs_token *ring = malloc(room * sizeof *ring);

    if (ring == NULL) {
        return false;
    }
    for (size_t i = 0; i < queue->count; i++) {
        ring[i] = *nth(queue, i);
    }
    free(queue->ring);
    *queue =
        (struct job_queue){.ring = ring, .room = room, .count = queue->count};
    return true;
}

/* Jobs that ended in the queue are removed only when it is full, and then it
 * grows unless half of it was such jobs. So a job costs little on average, and
 * the queue stays in proportion to the jobs that wait. */
static bool append(
    struct job_queue *queue, struct hcs_token token, struct hcs_mount *mount)
{
    if (queue->count == queue->room) {
        drop_dead(queue, mount);
        if (queue->count >= queue->room / 2 && !grow(queue) &&
            queue->count == queue->room) {
            return false;
        }
    }
    *nth(queue, queue->count++) = token;
    return true;
}

static struct hcs_token take_first(struct job_queue *queue)
{
    struct hcs_token token = *nth(queue, 0);

    queue->first = (queue->first + 1) & (queue->room - 1);
    queue->count--;
    return token;
}

/* --- Refused jobs. */

static void write_reason(struct hcs_job *job, const struct hcs_sql_error *error)
{
    hcs_sql_detail(job, "the database cannot be reached: %s",
        error->reason[0] != '\0' ? error->reason : "no connection");
}

static void refuse(struct hcs_sql_pool *pool, struct hcs_token token,
    enum hcs_outcome outcome, const struct hcs_sql_error *error)
{
    struct hcs_job *job = hcs_mount_resume(pool->mount, token);

    if (job == NULL) {
        return;
    }
    if (outcome == HCS_UNAVAILABLE) {
        write_reason(job, error);
    }
    hcs_job_complete(job, outcome);
}

static void refuse_all(struct hcs_sql_pool *pool, struct job_queue *queue,
    const struct hcs_sql_error *error)
{
    while (queue->count > 0) {
        refuse(pool, take_first(queue), HCS_UNAVAILABLE, error);
    }
    free(queue->ring);
}

/* --- From a worker. */

/* HCS_OK when the job was queued; else why not. */
static enum hcs_outcome push(struct hcs_sql_pool *pool, struct hcs_token token,
    struct hcs_sql_error *error)
{
    enum hcs_outcome outcome = HCS_OK;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->usable == 0) {
        *error = pool->error;
        outcome = HCS_UNAVAILABLE;
    } else if (!append(&pool->queue, token, pool->mount)) {
        outcome = HCS_NO_MEMORY;
    } else {
        hcs_metric_set(pool->metric_waiting, (int64_t)pool->queue.count);
        (void)pthread_cond_signal(&pool->work);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return outcome;
}

enum hcs_outcome hcs_sql_pool_submit(
    struct hcs_sql_pool *pool, struct hcs_job *job)
{
    struct hcs_sql_error error;
    struct hcs_token token;
    struct hcs_call *call;
    enum hcs_outcome outcome = hcs_call_read(job, pool->statements, &call);

    /* A job that is wrong is refused at once, even while the database is away.
     * A thread reads the call again: this one is in the worker's memory. */
    if (outcome != HCS_OK) {
        return outcome;
    }
    /* While the database is away the job need not be deferred. */
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->usable == 0) {
        error = pool->error;
        outcome = HCS_UNAVAILABLE;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (outcome != HCS_OK) {
        write_reason(job, &error);
        return outcome;
    }
    if (!hcs_job_defer(job, &token)) {
        return HCS_NO_MEMORY;
    }
    outcome = push(pool, token, &error);
    if (outcome != HCS_OK) {
        refuse(pool, token, outcome, &error);
    }
    return HCS_PENDING;
}

/* --- A thread's connection. */

/* Keeps the error. True when it differs from the last one, so that each is
 * logged once. Under the lock. */
static bool note_error(
    struct hcs_sql_pool *pool, const struct hcs_sql_error *error)
{
    bool is_new = strcmp(pool->error.text, error->text) != 0;

    pool->error = *error;
    hcs_metric_add(pool->metric_errors, 1);
    return is_new;
}

static void note_connected(struct connection_thread *thread, void *connection)
{
    struct hcs_sql_pool *pool = thread->pool;
    bool is_back;

    thread->connection = connection;
    thread->checked_ns = hcs_sql_now_ns();
    thread->pause_ns = PAUSE_MIN_NS;
    (void)pthread_mutex_lock(&pool->lock);
    pool->connected++;
    is_back = pool->usable == 0;
    if (!thread->counts) {
        thread->counts = true;
        pool->usable++;
    }
    if (is_back) {
        pool->returns++;
        (void)pthread_cond_broadcast(&pool->retry);
    }
    if (pool->connected == pool->size) {
        pool->error.text[0] = '\0';
    }
    hcs_metric_add(pool->metric_connects, 1);
    hcs_metric_set(pool->metric_connected, pool->connected);
    (void)pthread_mutex_unlock(&pool->lock);
    if (is_back) {
        hcs_mount_log(pool->mount, HCS_INFO, "connected to the database");
    }
}

static void note_lost(
    struct connection_thread *thread, const struct hcs_sql_error *error)
{
    struct hcs_sql_pool *pool = thread->pool;
    bool is_new;

    pool->driver->disconnect(thread->connection);
    thread->connection = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    pool->connected--;
    is_new = note_error(pool, error);
    hcs_metric_set(pool->metric_connected, pool->connected);
    /* This thread may have been woken for a job: another thread takes it. */
    (void)pthread_cond_signal(&pool->work);
    (void)pthread_mutex_unlock(&pool->lock);
    if (is_new) {
        hcs_mount_log(pool->mount, HCS_WARN,
            "lost a connection to the database: %s", error->text);
    }
}

/* Waits until the pause is over or the pool stops. When another thread has
 * connected meanwhile, a new and short pause begins. Under the lock. */
static void pause_before_retry(struct connection_thread *thread)
{
    struct hcs_sql_pool *pool = thread->pool;
    unsigned returns = pool->returns;
    struct timespec at = as_timespec(hcs_sql_now_ns() + next_pause(thread));

    while (!atomic_load(&pool->stopping)) {
        if (pthread_cond_timedwait(&pool->retry, &pool->lock, &at) ==
            ETIMEDOUT) {
            return;
        }
        if (returns != pool->returns) {
            returns = pool->returns;
            thread->pause_ns = PAUSE_MIN_NS;
            at = as_timespec(hcs_sql_now_ns() + next_pause(thread));
        }
    }
}

static void note_failed(
    struct connection_thread *thread, const struct hcs_sql_error *error)
{
    struct hcs_sql_pool *pool = thread->pool;
    struct job_queue queue = {0};
    bool is_new;
    bool is_last = false;

    (void)pthread_mutex_lock(&pool->lock);
    is_new = note_error(pool, error);
    if (thread->counts) {
        thread->counts = false;
        is_last = --pool->usable == 0;
    }
    if (is_last) {
        queue = pool->queue;
        pool->queue = (struct job_queue){0};
        hcs_metric_set(pool->metric_waiting, 0);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    refuse_all(pool, &queue, error);
    if (is_last) {
        hcs_mount_log(pool->mount, HCS_ERROR,
            "no connection to the database: %s", error->text);
    } else if (is_new) {
        hcs_mount_log(pool->mount, HCS_WARN,
            "cannot connect to the database: %s", error->text);
    }
}

static void connect_again(struct connection_thread *thread)
{
    struct hcs_sql_pool *pool = thread->pool;
    struct hcs_sql_error error = {0};
    void *connection;

    if (pool->driver->connect(
            pool->database, &pool->stopping, &connection, &error)) {
        note_connected(thread, connection);
        return;
    }
    if (atomic_load(&pool->stopping)) {
        return;
    }
    note_failed(thread, &error);
    (void)pthread_mutex_lock(&pool->lock);
    pause_before_retry(thread);
    (void)pthread_mutex_unlock(&pool->lock);
}

/* --- A thread's jobs. */

enum turn { TURN_JOB, TURN_CHECK, TURN_END };

static enum turn wait_for_turn(struct connection_thread *thread)
{
    struct hcs_sql_pool *pool = thread->pool;
    struct timespec at =
        as_timespec(thread->checked_ns + pool->driver->check_ns);
    enum turn turn = TURN_JOB;
    int rc = 0;

    (void)pthread_mutex_lock(&pool->lock);
    while (!atomic_load(&pool->stopping) && pool->queue.count == 0 &&
           rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&pool->work, &pool->lock, &at);
    }
    if (atomic_load(&pool->stopping)) {
        turn = TURN_END;
    } else if (pool->queue.count == 0) {
        turn = TURN_CHECK;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return turn;
}

/* False when another thread took the last job. */
static bool take_token(struct hcs_sql_pool *pool, struct hcs_token *token)
{
    bool taken = false;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->queue.count > 0) {
        *token = take_first(&pool->queue);
        taken = true;
        hcs_metric_set(pool->metric_waiting, (int64_t)pool->queue.count);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return taken;
}

static void count_busy(struct hcs_sql_pool *pool, int more)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->busy += (unsigned)more;
    hcs_metric_set(pool->metric_busy, pool->busy);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void run_job(struct connection_thread *thread, struct hcs_token token)
{
    struct hcs_sql_pool *pool = thread->pool;
    struct hcs_sql_error error = {0};
    struct hcs_job *job = hcs_mount_resume(pool->mount, token);
    struct hcs_call *call;
    enum hcs_outcome outcome;

    if (job == NULL) {
        return;
    }
    count_busy(pool, 1);
    outcome = hcs_call_read(job, pool->statements, &call);
    if (outcome == HCS_OK) {
        outcome = pool->driver->run(
            thread->connection, &pool->stopping, job, call, &error);
    }
    /* Before the reply is sent: a client that has its reply sees it in
     * /metrics. */
    count_busy(pool, -1);
    hcs_job_complete(job, outcome);
    thread->checked_ns = hcs_sql_now_ns();
    if (error.text[0] != '\0') {
        note_lost(thread, &error);
    }
}

static void run_turn(struct connection_thread *thread)
{
    struct hcs_sql_pool *pool = thread->pool;
    const struct hcs_driver *driver = pool->driver;
    struct hcs_sql_error error = {0};
    struct hcs_token token;

    switch (wait_for_turn(thread)) {
    case TURN_JOB:
        /* Before a job is taken: without a connection this thread would have to
         * refuse it, although another thread could run it. */
        if (!driver->is_alive(thread->connection, &error)) {
            note_lost(thread, &error);
        } else if (take_token(pool, &token)) {
            run_job(thread, token);
        }
        break;
    case TURN_CHECK:
        if (driver->check(thread->connection, &pool->stopping, &error)) {
            thread->checked_ns = hcs_sql_now_ns();
        } else if (!atomic_load(&pool->stopping)) {
            note_lost(thread, &error);
        }
        break;
    case TURN_END:
        break;
    }
}

static void *serve(void *argument)
{
    struct connection_thread *thread = argument;
    struct hcs_sql_pool *pool = thread->pool;

    while (!atomic_load(&pool->stopping)) {
        if (thread->connection == NULL) {
            connect_again(thread);
        } else {
            run_turn(thread);
        }
    }
    return NULL;
}

/* --- Start and end. */

int hcs_sql_pool_read_settings(struct hcs_sql_pool_settings *out,
    struct hcs_mount *mount, enum hcs_dialect dialect, const char *example)
{
    const char *file = NULL;
    int64_t size = HCS_SQL_POOL_SIZE_DEFAULT;
    char error[400];

    out->connection_string = hcs_mount_argument(mount);
    if (!hcs_mount_text(mount, "statements", &file) ||
        !hcs_mount_integer(mount, "pool", 1, HCS_SQL_POOL_SIZE_MAX, &size)) {
        return -1;
    }
    if (out->connection_string == NULL || out->connection_string[0] == '\0' ||
        file == NULL) {
        hcs_mount_fail(mount,
            "needs a database and a file of statements, as in "
            "%s?statements=FILE",
            example);
        return -1;
    }
    if (hcs_statements_open(
            &out->statements, file, dialect, error, sizeof error) != 0) {
        hcs_mount_fail(mount, "%s", error);
        return -1;
    }
    out->size = (unsigned)size;
    return 0;
}

static int init_sync(struct hcs_sql_pool *pool)
{
    pthread_condattr_t attributes;
    int rc = pthread_condattr_init(&attributes);

    if (rc != 0) {
        return -rc;
    }
    /* With these arguments the next three cannot fail (glibc). */
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->work, &attributes);
    (void)pthread_cond_init(&pool->retry, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return 0;
}

static void make_metrics(struct hcs_sql_pool *pool)
{
    struct hcs_mount *mount = pool->mount;

    hcs_metric_set(hcs_mount_metric(mount, HCS_GAUGE, "pool_size",
                       "Connections that the pool may have"),
        pool->size);
    pool->metric_connected = hcs_mount_metric(
        mount, HCS_GAUGE, "pool_connected", "Connections that the pool has");
    pool->metric_busy = hcs_mount_metric(
        mount, HCS_GAUGE, "pool_busy", "Connections that run a statement");
    pool->metric_waiting = hcs_mount_metric(
        mount, HCS_GAUGE, "pool_waiting", "Jobs that wait for a connection");
    pool->metric_connects = hcs_mount_metric(mount, HCS_COUNTER,
        "pool_connects_total", "Connections that were made");
    pool->metric_errors = hcs_mount_metric(mount, HCS_COUNTER,
        "pool_errors_total", "Connections that were lost or not made");
}

/* Makes the first connection, which shows whether the settings and the
 * statements are right. */
static int connect_first(struct hcs_sql_pool *pool)
{
    struct connection_thread *thread = &pool->threads[0];
    struct hcs_sql_error error = {0};
    void *connection;

    while (!pool->driver->connect(
        pool->database, &pool->stopping, &connection, &error)) {
        struct timespec pause;

        if (error.lasting) {
            hcs_mount_fail(pool->mount, "%s", error.text);
            return -1;
        }
        if (note_error(pool, &error)) {
            hcs_mount_log(pool->mount, HCS_WARN, "waiting for the database: %s",
                error.text);
        }
        pause = as_timespec(next_pause(thread));
        (void)nanosleep(&pause, NULL);
    }
    note_connected(thread, connection);
    return 0;
}

static void name_thread(pthread_t id, const char *kind, unsigned number)
{
    char name[THREAD_NAME_BYTES];

    (void)snprintf(name, sizeof name, "%s-%u", kind, number);
    (void)pthread_setname_np(id, name);
}

/* The threads inherit the signal mask, in which the daemon's signals are
 * blocked. */
static int start_threads(struct hcs_sql_pool *pool)
{
    int rc = 0;

    while (rc == 0 && pool->started < pool->size) {
        struct connection_thread *thread = &pool->threads[pool->started];

        rc = pthread_create(&thread->id, NULL, serve, thread);
        if (rc == 0) {
            pool->started++;
            name_thread(thread->id, pool->driver->thread_name, pool->started);
        }
    }
    if (rc != 0) {
        hcs_mount_fail(pool->mount,
            "cannot start a thread for a connection: %s", strerror(rc));
    }
    return -rc;
}

void hcs_sql_pool_close(struct hcs_sql_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stopping, true);
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_cond_broadcast(&pool->retry);
    (void)pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->started; i++) {
        (void)pthread_join(pool->threads[i].id, NULL);
    }
    for (unsigned i = 0; i < pool->size; i++) {
        if (pool->threads[i].connection != NULL) {
            pool->driver->disconnect(pool->threads[i].connection);
        }
    }
    (void)pthread_cond_destroy(&pool->retry);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->queue.ring);
    free(pool);
}

int hcs_sql_pool_open(struct hcs_sql_pool **out, struct hcs_mount *mount,
    const struct hcs_driver *driver, void *database,
    const struct hcs_sql_pool_settings *settings)
{
    unsigned size = settings->size;
    struct hcs_sql_pool *pool =
        calloc(1, sizeof *pool + size * sizeof pool->threads[0]);

    if (pool == NULL || init_sync(pool) != 0) {
        hcs_mount_fail(mount, "out of memory");
        free(pool);
        return -1;
    }
    pool->mount = mount;
    pool->driver = driver;
    pool->database = database;
    pool->statements = settings->statements;
    pool->size = size;
    for (unsigned i = 0; i < size; i++) {
        pool->threads[i] =
            (struct connection_thread){.pool = pool, .pause_ns = PAUSE_MIN_NS};
    }
    make_metrics(pool);
    if (connect_first(pool) != 0 || start_threads(pool) != 0) {
        hcs_sql_pool_close(pool);
        return -1;
    }
    *out = pool;
    return 0;
}
