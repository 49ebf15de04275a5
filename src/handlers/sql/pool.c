#include "handlers/sql/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIRST_ROOM = 64, SECOND_NS = 1000000000 };

static const uint64_t PAUSE_MIN_NS = 100 * UINT64_C(1000000);
static const uint64_t PAUSE_MAX_NS = 5 * UINT64_C(1000000000);

/* Jobs in line: a ring of a power of two. */
struct line {
    struct hcs_token *ring;
    size_t room;
    size_t first;
    size_t count;
};

/* A thread and its connection. */
struct lane {
    struct hcs_sql_pool *pool;
    pthread_t thread;
    void *connection;    /* NULL: none */
    uint64_t checked_ns; /* when it was last known to be good */
    uint64_t pause_ns;   /* before the next attempt to connect */
    uint64_t random;
    bool counts; /* among usable */
};

struct hcs_sql_pool {
    struct hcs_mount *mount;
    const struct hcs_driver *driver;
    void *database;
    const struct hcs_statements *statements;
    atomic_bool stopping; /* set under lock; read anywhere, as a hint */

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t work;  /* a job came, or the end */
    pthread_cond_t retry; /* the database is back, or the end */
    struct line line;     /* empty while none is usable */
    unsigned connected;
    unsigned busy;
    /* Lanes with a connection, and those that have just lost theirs and make
     * their first attempt at another: an idle connection that a server or a
     * firewall dropped is no reason to refuse jobs. */
    unsigned usable;
    unsigned returns;           /* how often one became usable when none was */
    struct hcs_trouble trouble; /* the last; empty when all are connected */

    struct hcs_metric *figure_connected;
    struct hcs_metric *figure_busy;
    struct hcs_metric *figure_waiting;
    struct hcs_metric *figure_connects;
    struct hcs_metric *figure_errors;

    unsigned started; /* lanes with a thread */
    unsigned size;
    struct lane lanes[];
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

/* Gives this pause, between half and all of it so that connections do not come
 * in step, and doubles the next. */
static uint64_t next_pause(struct lane *lane)
{
    uint64_t pause_ns = lane->pause_ns;

    lane->random ^= lane->random << 13;
    lane->random ^= lane->random >> 7;
    lane->random ^= lane->random << 17;
    lane->pause_ns = 2 * pause_ns < PAUSE_MAX_NS ? 2 * pause_ns : PAUSE_MAX_NS;
    return pause_ns / 2 + lane->random % (pause_ns / 2);
}

/* --- The line. Under the lock. */

static struct hcs_token *nth(const struct line *line, size_t n)
{
    return &line->ring[(line->first + n) & (line->room - 1)];
}

/* Takes out those for which nobody waits any more. */
static void drop_dead(struct line *line, struct hcs_mount *mount)
{
    size_t kept = 0;

    for (size_t i = 0; i < line->count; i++) {
        struct hcs_token token = *nth(line, i);

        if (hcs_mount_awaits(mount, token)) {
            *nth(line, kept++) = token;
        }
    }
    line->count = kept;
}

static bool grow(struct line *line)
{
    size_t room = line->room == 0 ? FIRST_ROOM : 2 * line->room;
    struct hcs_token *ring = malloc(room * sizeof *ring);

    if (ring == NULL) {
        return false;
    }
    for (size_t i = 0; i < line->count; i++) {
        ring[i] = *nth(line, i);
    }
    free(line->ring);
    *line = (struct line){.ring = ring, .room = room, .count = line->count};
    return true;
}

/* Jobs that ended in line are looked for only when it would have to grow, and
 * then have to be half of it: so that costs little a job, and the line stays
 * in proportion to those that wait. */
static bool append(
    struct line *line, struct hcs_token token, struct hcs_mount *mount)
{
    if (line->count == line->room) {
        drop_dead(line, mount);
        if (line->count >= line->room / 2 && !grow(line) &&
            line->count == line->room) {
            return false;
        }
    }
    *nth(line, line->count++) = token;
    return true;
}

static struct hcs_token take_first(struct line *line)
{
    struct hcs_token token = *nth(line, 0);

    line->first = (line->first + 1) & (line->room - 1);
    line->count--;
    return token;
}

/* --- Refusing. */

static void write_reason(struct hcs_job *job, const struct hcs_trouble *trouble)
{
    hcs_sql_detail(job, "the database cannot be reached: %s",
        trouble->reason[0] != '\0' ? trouble->reason : "no connection");
}

static void refuse(struct hcs_sql_pool *pool, struct hcs_token token,
    enum hcs_outcome outcome, const struct hcs_trouble *trouble)
{
    struct hcs_job *job = hcs_mount_resume(pool->mount, token);

    if (job == NULL) {
        return;
    }
    if (outcome == HCS_UNAVAILABLE) {
        write_reason(job, trouble);
    }
    hcs_job_complete(job, outcome);
}

static void refuse_all(struct hcs_sql_pool *pool, struct line *line,
    const struct hcs_trouble *trouble)
{
    while (line->count > 0) {
        refuse(pool, take_first(line), HCS_UNAVAILABLE, trouble);
    }
    free(line->ring);
}

/* --- From a worker. */

/* HCS_OK when the job stands in line; else why not. */
static enum hcs_outcome push(struct hcs_sql_pool *pool, struct hcs_token token,
    struct hcs_trouble *trouble)
{
    enum hcs_outcome outcome = HCS_OK;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->usable == 0) {
        *trouble = pool->trouble;
        outcome = HCS_UNAVAILABLE;
    } else if (!append(&pool->line, token, pool->mount)) {
        outcome = HCS_NO_MEMORY;
    } else {
        hcs_metric_set(pool->figure_waiting, (int64_t)pool->line.count);
        (void)pthread_cond_signal(&pool->work);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return outcome;
}

enum hcs_outcome hcs_sql_pool_submit(
    struct hcs_sql_pool *pool, struct hcs_job *job)
{
    struct hcs_trouble trouble;
    struct hcs_token token;
    struct hcs_call *call;
    enum hcs_outcome outcome = hcs_call_read(job, pool->statements, &call);

    /* What is wrong with the job is told at once, even while the database is
     * away. The call itself goes with the worker's memory. */
    if (outcome != HCS_OK) {
        return outcome;
    }
    /* Not deferred in vain while the database is away. */
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->usable == 0) {
        trouble = pool->trouble;
        outcome = HCS_UNAVAILABLE;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (outcome != HCS_OK) {
        write_reason(job, &trouble);
        return outcome;
    }
    if (!hcs_job_defer(job, &token)) {
        return HCS_NO_MEMORY;
    }
    outcome = push(pool, token, &trouble);
    if (outcome != HCS_OK) {
        refuse(pool, token, outcome, &trouble);
    }
    return HCS_PENDING;
}

/* --- A lane's connection. */

/* Keeps what is wrong. True when the log has not said it yet. Under the lock. */
static bool note_trouble(
    struct hcs_sql_pool *pool, const struct hcs_trouble *trouble)
{
    bool is_new = strcmp(pool->trouble.text, trouble->text) != 0;

    pool->trouble = *trouble;
    hcs_metric_add(pool->figure_errors, 1);
    return is_new;
}

static void have_connected(struct lane *lane, void *connection)
{
    struct hcs_sql_pool *pool = lane->pool;
    bool is_back;

    lane->connection = connection;
    lane->checked_ns = hcs_sql_now_ns();
    lane->pause_ns = PAUSE_MIN_NS;
    (void)pthread_mutex_lock(&pool->lock);
    pool->connected++;
    is_back = pool->usable == 0;
    if (!lane->counts) {
        lane->counts = true;
        pool->usable++;
    }
    if (is_back) {
        pool->returns++;
        (void)pthread_cond_broadcast(&pool->retry);
    }
    if (pool->connected == pool->size) {
        pool->trouble.text[0] = '\0';
    }
    hcs_metric_add(pool->figure_connects, 1);
    hcs_metric_set(pool->figure_connected, pool->connected);
    (void)pthread_mutex_unlock(&pool->lock);
    if (is_back) {
        hcs_mount_log(pool->mount, HCS_INFO, "connected to the database");
    }
}

static void have_lost(struct lane *lane, const struct hcs_trouble *trouble)
{
    struct hcs_sql_pool *pool = lane->pool;
    bool is_new;

    pool->driver->disconnect(lane->connection);
    lane->connection = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    pool->connected--;
    is_new = note_trouble(pool, trouble);
    hcs_metric_set(pool->figure_connected, pool->connected);
    /* What this lane was woken for, another one may take. */
    (void)pthread_cond_signal(&pool->work);
    (void)pthread_mutex_unlock(&pool->lock);
    if (is_new) {
        hcs_mount_log(pool->mount, HCS_WARN,
            "lost a connection to the database: %s", trouble->text);
    }
}

/* Until the pause is over, the end, or the database came back to another lane:
 * then soon, at its own moment. Under the lock. */
static void pause_attempts(struct lane *lane)
{
    struct hcs_sql_pool *pool = lane->pool;
    unsigned returns = pool->returns;
    struct timespec at = as_timespec(hcs_sql_now_ns() + next_pause(lane));

    while (!atomic_load(&pool->stopping)) {
        if (pthread_cond_timedwait(&pool->retry, &pool->lock, &at) ==
            ETIMEDOUT) {
            return;
        }
        if (returns != pool->returns) {
            returns = pool->returns;
            lane->pause_ns = PAUSE_MIN_NS;
            at = as_timespec(hcs_sql_now_ns() + next_pause(lane));
        }
    }
}

static void have_failed(struct lane *lane, const struct hcs_trouble *trouble)
{
    struct hcs_sql_pool *pool = lane->pool;
    struct line line = {0};
    bool is_new;
    bool is_last = false;

    (void)pthread_mutex_lock(&pool->lock);
    is_new = note_trouble(pool, trouble);
    if (lane->counts) {
        lane->counts = false;
        is_last = --pool->usable == 0;
    }
    if (is_last) {
        line = pool->line;
        pool->line = (struct line){0};
        hcs_metric_set(pool->figure_waiting, 0);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    refuse_all(pool, &line, trouble);
    if (is_last) {
        hcs_mount_log(pool->mount, HCS_ERROR,
            "no connection to the database: %s", trouble->text);
    } else if (is_new) {
        hcs_mount_log(pool->mount, HCS_WARN,
            "cannot connect to the database: %s", trouble->text);
    }
}

static void connect_again(struct lane *lane)
{
    struct hcs_sql_pool *pool = lane->pool;
    struct hcs_trouble trouble = {0};
    void *connection;

    if (pool->driver->connect(
            pool->database, &pool->stopping, &connection, &trouble)) {
        have_connected(lane, connection);
        return;
    }
    if (atomic_load(&pool->stopping)) {
        return;
    }
    have_failed(lane, &trouble);
    (void)pthread_mutex_lock(&pool->lock);
    pause_attempts(lane);
    (void)pthread_mutex_unlock(&pool->lock);
}

/* --- A lane's jobs. */

enum turn { TURN_JOB, TURN_CHECK, TURN_END };

static enum turn wait_for_turn(struct lane *lane)
{
    struct hcs_sql_pool *pool = lane->pool;
    struct timespec at = as_timespec(lane->checked_ns + pool->driver->check_ns);
    enum turn turn = TURN_JOB;
    int rc = 0;

    (void)pthread_mutex_lock(&pool->lock);
    while (!atomic_load(&pool->stopping) && pool->line.count == 0 &&
           rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&pool->work, &pool->lock, &at);
    }
    if (atomic_load(&pool->stopping)) {
        turn = TURN_END;
    } else if (pool->line.count == 0) {
        turn = TURN_CHECK;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return turn;
}

/* False when another lane took what was in line. */
static bool take_token(struct hcs_sql_pool *pool, struct hcs_token *token)
{
    bool taken = false;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->line.count > 0) {
        *token = take_first(&pool->line);
        taken = true;
        hcs_metric_set(pool->figure_waiting, (int64_t)pool->line.count);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return taken;
}

static void count_busy(struct hcs_sql_pool *pool, int more)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->busy += (unsigned)more;
    hcs_metric_set(pool->figure_busy, pool->busy);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void do_job(struct lane *lane, struct hcs_token token)
{
    struct hcs_sql_pool *pool = lane->pool;
    struct hcs_trouble trouble = {0};
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
            lane->connection, &pool->stopping, job, call, &trouble);
    }
    /* Before the reply is sent: who asks for /metrics then, sees it. */
    count_busy(pool, -1);
    hcs_job_complete(job, outcome);
    lane->checked_ns = hcs_sql_now_ns();
    if (trouble.text[0] != '\0') {
        have_lost(lane, &trouble);
    }
}

static void take_turn(struct lane *lane)
{
    struct hcs_sql_pool *pool = lane->pool;
    const struct hcs_driver *driver = pool->driver;
    struct hcs_trouble trouble = {0};
    struct hcs_token token;

    switch (wait_for_turn(lane)) {
    case TURN_JOB:
        /* Before a job is taken: one that was taken and not run would have to
         * be told so, though another lane might have run it. */
        if (!driver->is_alive(lane->connection, &trouble)) {
            have_lost(lane, &trouble);
        } else if (take_token(pool, &token)) {
            do_job(lane, token);
        }
        break;
    case TURN_CHECK:
        if (driver->check(lane->connection, &pool->stopping, &trouble)) {
            lane->checked_ns = hcs_sql_now_ns();
        } else if (!atomic_load(&pool->stopping)) {
            have_lost(lane, &trouble);
        }
        break;
    case TURN_END:
        break;
    }
}

static void *serve(void *argument)
{
    struct lane *lane = argument;
    struct hcs_sql_pool *pool = lane->pool;

    while (!atomic_load(&pool->stopping)) {
        if (lane->connection == NULL) {
            connect_again(lane);
        } else {
            take_turn(lane);
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

    out->place = hcs_mount_argument(mount);
    if (!hcs_mount_text(mount, "statements", &file) ||
        !hcs_mount_integer(mount, "pool", 1, HCS_SQL_POOL_SIZE_MAX, &size)) {
        return -1;
    }
    if (out->place == NULL || out->place[0] == '\0' || file == NULL) {
        hcs_mount_fail(mount,
            "needs to know where the database is, and a file of statements: "
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
    /* The three cannot fail with these arguments (glibc), nor leave anything
     * to be destroyed. */
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->work, &attributes);
    (void)pthread_cond_init(&pool->retry, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return 0;
}

static void make_figures(struct hcs_sql_pool *pool)
{
    struct hcs_mount *mount = pool->mount;

    hcs_metric_set(hcs_mount_metric(mount, HCS_GAUGE, "pool_size",
                       "Connections that the pool may have"),
        pool->size);
    pool->figure_connected = hcs_mount_metric(
        mount, HCS_GAUGE, "pool_connected", "Connections that the pool has");
    pool->figure_busy = hcs_mount_metric(
        mount, HCS_GAUGE, "pool_busy", "Connections that run a statement");
    pool->figure_waiting = hcs_mount_metric(
        mount, HCS_GAUGE, "pool_waiting", "Jobs that wait for a connection");
    pool->figure_connects = hcs_mount_metric(mount, HCS_COUNTER,
        "pool_connects_total", "Connections that were made");
    pool->figure_errors = hcs_mount_metric(mount, HCS_COUNTER,
        "pool_errors_total", "Connections that were lost or not made");
}

/* The first connection shows whether everything is right. */
static int connect_first(struct hcs_sql_pool *pool)
{
    struct lane *lane = &pool->lanes[0];
    struct hcs_trouble trouble = {0};
    void *connection;

    while (!pool->driver->connect(
        pool->database, &pool->stopping, &connection, &trouble)) {
        struct timespec pause;

        if (trouble.lasting) {
            hcs_mount_fail(pool->mount, "%s", trouble.text);
            return -1;
        }
        if (note_trouble(pool, &trouble)) {
            hcs_mount_log(pool->mount, HCS_WARN, "waiting for the database: %s",
                trouble.text);
        }
        pause = as_timespec(next_pause(lane));
        (void)nanosleep(&pause, NULL);
    }
    have_connected(lane, connection);
    return 0;
}

/* They inherit that the daemon's signals are blocked. */
static int start_lanes(struct hcs_sql_pool *pool)
{
    int rc = 0;

    while (rc == 0 && pool->started < pool->size) {
        struct lane *lane = &pool->lanes[pool->started];

        rc = pthread_create(&lane->thread, NULL, serve, lane);
        if (rc == 0) {
            (void)pthread_setname_np(lane->thread, pool->driver->name);
            pool->started++;
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
        (void)pthread_join(pool->lanes[i].thread, NULL);
    }
    for (unsigned i = 0; i < pool->size; i++) {
        if (pool->lanes[i].connection != NULL) {
            pool->driver->disconnect(pool->lanes[i].connection);
        }
    }
    (void)pthread_cond_destroy(&pool->retry);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->line.ring);
    free(pool);
}

int hcs_sql_pool_open(struct hcs_sql_pool **out, struct hcs_mount *mount,
    const struct hcs_driver *driver, void *database,
    const struct hcs_sql_pool_settings *settings)
{
    unsigned size = settings->size;
    struct hcs_sql_pool *pool =
        calloc(1, sizeof *pool + size * sizeof pool->lanes[0]);

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
        pool->lanes[i] = (struct lane){.pool = pool,
            .pause_ns = PAUSE_MIN_NS,
            .random = hcs_sql_now_ns() * 2 + 2 * i + 1};
    }
    make_figures(pool);
    if (connect_first(pool) != 0 || start_lanes(pool) != 0) {
        hcs_sql_pool_close(pool);
        return -1;
    }
    *out = pool;
    return 0;
}
