/* Connections: a whole shard with all that is in it, on a kernel, workers and
 * clients that do what a program says (program.h): bytes in any cut, jobs that
 * end at any time, timeouts, ends and faults.
 *
 * Held to:
 *   - nothing waits for ever: when the program is over and nothing is in the
 *     way any more, every byte is read, every job answered, every end seen;
 *   - all is given back: descriptors, records, memory; the counters add up;
 *   - what is sent is HTTP, in the order of the requests, one reply to each,
 *     and nothing behind the last;
 *   - the same bytes of each client, delivered at once and undisturbed, get the
 *     same replies; where a fault came between, the same until there.
 *
 * With FUZZ_SHOW in the environment it says what the clients got. */
#include "fake.h"
#include "fuzz.h"
#include "program.h"
#include "replies.h"

#include "base/arena.h"
#include "handlers/builtin.h"
#include "job/job.h"
#include "job/request.h"
#include "shard/conn.h"
#include "shard/pages.h"
#include "shard/run.h"
#include "sync/deferral.h"
#include "sync/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    INPUT_MAX = 16 * 1024,
    WORKERS = 4,
    QUEUE_SIZE = 64, /* more than there are clients: never full */
    BUDGET = 256 * 1024 * 1024,
    STREAM_MAX = 3 * 1024 * 1024, /* of a client */
    TIME_MAX_MS = 300 * 1000,     /* of a program */
    CALM_MS = 300,                /* until whatever is retried was */
    END_MS = 200 * 1000,          /* the longest timeouts, and some */
    SPINS_MAX = 3000,             /* turns while nothing happens */
    BRIEF_BATCH = 32,
    HARMLESS_MS = 1000, /* no default timeout passes in it */
};

/* --- The workers: as sync/pool.c has them, but that the program says when. */

struct hcs_pool {
    struct hcs_queue *queue;
    size_t capacity;
    void *states[WORKERS];
    struct {
        struct hcs_task *task; /* NULL: the worker is idle */
        bool has_run;
        bool deferred; /* by that run */
    } held[WORKERS];
    struct hcs_mailbox *owed; /* a ring */
    unsigned unannounced;
    uint64_t submitted;
    uint64_t put;
};

static void pay_ring(struct hcs_pool *pool)
{
    if (pool->owed != NULL) {
        hcs_mailbox_ring(pool->owed);
        pool->owed = NULL;
    }
    pool->unannounced = 0;
}

/* False when there is nothing to take, or nobody to take it. */
static bool take_job(struct hcs_pool *pool)
{
    for (size_t i = 0; i < WORKERS; i++) {
        if (pool->held[i].task == NULL) {
            pool->held[i].task = hcs_queue_pop(pool->queue);
            pool->held[i].has_run = false;
            pool->held[i].deferred = false;
            /* Who goes to sleep, or may be busy for long, announces first. */
            if (pool->held[i].task == NULL || !pool->held[i].task->brief) {
                pay_ring(pool);
            }
            return pool->held[i].task != NULL;
        }
    }
    return false;
}

/* Jobs that are answered later, the oldest first: by whom a program lets run on
 * a worker that is idle, or has run its job and not put it yet. */
enum { LATER_MAX = 512 };

static struct {
    struct hcs_mount *mount;
    struct hcs_token tokens[LATER_MAX];
    size_t count;
} later;

static enum hcs_outcome answer(struct hcs_job *job)
{
    return hcs_job_write(job, "{\"later\":true}", 14) ? HCS_OK : HCS_NO_MEMORY;
}

/* False when there is none. */
static bool answer_oldest(void)
{
    struct hcs_token token = later.tokens[0];
    struct hcs_job *job;

    if (later.count == 0) {
        return false;
    }
    later.count--;
    memmove(later.tokens, later.tokens + 1, later.count * sizeof token);
    fake_watch_memory(true);
    job = hcs_mount_resume(later.mount, token);
    if (job != NULL) {
        hcs_job_complete(job, answer(job));
    }
    fake_watch_memory(false);
    fuzz_check(hcs_mount_resume(later.mount, token) == NULL,
        "a token that was used is alive");
    return true;
}

static void run_job(struct hcs_pool *pool, size_t index)
{
    index %= WORKERS;
    if (pool->held[index].task == NULL || pool->held[index].has_run) {
        (void)answer_oldest();
        return;
    }
    fake_watch_memory(true);
    pool->held[index].deferred =
        !HCS_JOB_WORK.run(pool->states[index], pool->held[index].task);
    fake_watch_memory(false);
    pool->held[index].has_run = true;
}

static void put_job(struct hcs_pool *pool, size_t index)
{
    struct hcs_task *task;
    struct hcs_mailbox *home;

    index %= WORKERS;
    task = pool->held[index].task;
    if (task == NULL) {
        return;
    }
    if (!pool->held[index].has_run) {
        run_job(pool, index);
    }
    pool->held[index].task = NULL;
    home = task->home;
    hcs_queue_release(pool->queue);
    if (pool->held[index].deferred &&
        !HCS_JOB_WORK.returned(pool->states[index], task)) {
        return; /* it comes home from elsewhere */
    }
    if (hcs_mailbox_put(home, task)) {
        pool->owed = home;
    }
    pool->put++;
    if (++pool->unannounced == BRIEF_BATCH) {
        pay_ring(pool);
    }
}

/* All that is there. False when there was nothing. */
static bool work_off(struct hcs_pool *pool)
{
    bool some = pool->owed != NULL;

    do {
        for (size_t i = 0; i < WORKERS; i++) {
            some |= pool->held[i].task != NULL;
            put_job(pool, i);
        }
        while (answer_oldest()) {
            some = true;
        }
    } while (take_job(pool));
    return some;
}

static void open_pool(
    struct hcs_pool *pool, size_t queue_size, struct hcs_job_context *context)
{
    const size_t capacity = queue_size + WORKERS;

    *pool = (struct hcs_pool){
        .queue = hcs_queue_create(capacity),
        .capacity = capacity,
    };
    fuzz_check(pool->queue != NULL, "no memory");
    for (unsigned i = 0; i < WORKERS; i++) {
        pool->states[i] = HCS_JOB_WORK.open(context, i);
        fuzz_check(pool->states[i] != NULL, "no memory");
    }
}

static void close_pool(struct hcs_pool *pool)
{
    for (size_t i = 0; i < WORKERS; i++) {
        HCS_JOB_WORK.close(pool->states[i]);
    }
    hcs_queue_destroy(pool->queue);
}

/* What of sync/pool.h a shard calls. */

bool hcs_pool_submit(struct hcs_pool *pool, struct hcs_task *task)
{
    bool pushed = hcs_queue_push(pool->queue, task);

    pool->submitted += pushed ? 1 : 0;
    return pushed;
}

void hcs_pool_wake(struct hcs_pool *pool)
{
    (void)pool; /* the program wakes them */
}

bool hcs_pool_cancel(struct hcs_pool *pool, struct hcs_task *task)
{
    return hcs_queue_cancel(pool->queue, task);
}

unsigned hcs_pool_workers(const struct hcs_pool *pool)
{
    (void)pool;
    return WORKERS;
}

unsigned hcs_pool_busy(const struct hcs_pool *pool)
{
    unsigned busy = 0;

    for (size_t i = 0; i < WORKERS; i++) {
        busy += pool->held[i].task != NULL ? 1 : 0;
    }
    return busy;
}

size_t hcs_pool_depth(const struct hcs_pool *pool)
{
    return hcs_queue_depth(pool->queue);
}

size_t hcs_pool_capacity(const struct hcs_pool *pool)
{
    return pool->capacity;
}

size_t hcs_pool_bytes(const struct hcs_pool *pool)
{
    return hcs_queue_bytes(pool->queue);
}

/* --- The log: reads all it is given, so that a text which is gone is seen. */

bool hcs_log_wants(const struct hcs_log *log, enum hcs_log_level level)
{
    (void)log;
    (void)level;
    return true;
}

void hcs_log_write(struct hcs_log *log, enum hcs_log_level level,
    const char *message, const struct hcs_log_field *fields, size_t count)
{
    (void)log;
    (void)level;
    fuzz_check(message[0] != '\0', "a line without words");
    for (size_t i = 0; i < count; i++) {
        const char *text = fields[i].text;
        size_t length = fields[i].length;

        fuzz_check(fields[i].name[0] != '\0', "a field without a name");
        if (text == NULL) {
            continue;
        }
        length = length > 0 ? length : strlen(text);
        for (size_t j = 0; j < length; j++) {
            fuzz_check(text[j] >= ' ' && text[j] <= '~',
                "byte %02x in the field %s", (unsigned)(unsigned char)text[j],
                fields[i].name);
        }
    }
}

uint64_t hcs_log_dropped(const struct hcs_log *log)
{
    (void)log;
    return 0;
}

/* --- A handler that does what the query says: ?fail ?invalid ?memory, ?later,
 * ?now (as later, and before run returns), ?withdraw (as later, and then not), or
 * a number: a status, or from 600 on the length of a text. */

static enum hcs_outcome act_on_number(struct hcs_job *job, size_t number)
{
    static const char text[] = "0123456789abcdef0123456789abcdef0123456789"
                               "abcdef0123456789abcdef\n";

    if (number < 600) {
        (void)hcs_job_set_status(job, (unsigned)number);
        return hcs_job_write(job, "{}", 2) ? HCS_OK : HCS_NO_MEMORY;
    }
    hcs_job_set_content_type(job, "text/plain");
    while (number > 0) {
        size_t piece = number < sizeof text - 1 ? number : sizeof text - 1;

        if (!hcs_job_write(job, text, piece)) {
            return HCS_NO_MEMORY;
        }
        number -= piece;
    }
    return HCS_OK;
}

static enum hcs_outcome act_later(struct hcs_job *job, char how)
{
    struct hcs_token token;

    if (later.count == LATER_MAX) {
        return answer(job);
    }
    if (!hcs_job_defer(job, &token)) {
        return HCS_NO_MEMORY;
    }
    if (how == 'w') {
        return answer(job);
    }
    later.tokens[later.count++] = token;
    while (how == 'n' && answer_oldest()) {
    }
    fake_watch_memory(true); /* as it was */
    return HCS_PENDING;
}

static enum hcs_outcome act(void *self, struct hcs_job *job)
{
    size_t length;
    const char *query = hcs_job_query(job, &length);
    size_t number = 0;

    (void)self;
    if (query == NULL) {
        return HCS_OK;
    }
    switch (query[0]) {
    case 'f':
        hcs_job_set_detail(job, "said \"no\"\n");
        return HCS_FAILED;
    case 'i':
        return hcs_job_write(job, "lost", 4) ? HCS_INVALID : HCS_NO_MEMORY;
    case 'm':
        return HCS_NO_MEMORY;
    case 'l':
    case 'n':
    case 'w':
        return act_later(job, query[0]);
    default:
        break;
    }
    for (size_t i = 0; i < length && query[i] >= '0' && query[i] <= '9'; i++) {
        number = (number * 10 + (size_t)(query[i] - '0')) % (1 << 19);
    }
    return act_on_number(job, number);
}

static const struct hcs_handler ACT = {.abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "act",
    .run = act};

/* Constant, and so shared by all worlds. */
static struct hcs_host host = {.workers = WORKERS};

static bool add_mount(struct hcs_router *router, const char *path,
    const struct hcs_handler *handler, const char *argument)
{
    return hcs_router_add(router, hcs_mount_create(&host, handler, NULL, path,
                                      argument, NULL)) == 0;
}

/* All that are ever needed at once, or whether there is memory for the first
 * would depend on the worlds before. */
static void make_room_for_tokens(void)
{
    struct hcs_task task = {0};

    fuzz_check(hcs_deferrals_open(host.deferrals, &task) != 0, "no memory");
    fuzz_check(hcs_deferrals_withdraw(host.deferrals, &task), "withdrawn");
}

static struct hcs_router *make_router(void)
{
    struct hcs_router *router = hcs_router_create();

    fuzz_check(hcs_pages_add_to(router) == 0, "no memory");
    host.deferrals = hcs_deferrals_create(NULL, NULL, NULL);
    /* /slow is not brief, and reads the body into a tree. */
    fuzz_check(host.deferrals != NULL && router != NULL &&
                   add_mount(router, "/", &hcs_echo, NULL) &&
                   add_mount(router, "/slow", &hcs_sleep, "0s") &&
                   add_mount(router, "/act", &ACT, NULL) &&
                   hcs_router_open(router) == 0,
        "no router");
    later.mount = hcs_router_job(router, 2)->mount;
    make_room_for_tokens();
    return router;
}

static void set_job_timeout(const struct hcs_router *router, uint64_t ms)
{
    for (size_t i = 0; i < hcs_router_jobs(router); i++) {
        hcs_router_job(router, i)->mount->job_timeout_ms = ms;
    }
}

/* --- A world. */

enum phase { RUNNING, SETTLING, ENDING };

enum ending {
    END_WITH_CLIENTS, /* they leave, then the daemon drains */
    END_WITH_DRAIN,   /* it drains, and they leave */
    END_WITHOUT_THEM, /* it drains, and they stay */
    END_COUNT,
};

struct world {
    struct hcs_budget budget;
    struct hcs_job_context jobs;
    struct hcs_pool pool;
    struct hcs_service service;
    struct hcs_shard *shard;

    const struct program *program;
    size_t next; /* step */
    enum phase phase;
    enum ending ending;
    size_t time_left_ms; /* of a tick, or until it is calm */
    uint64_t passed_ms;  /* by the program */
    uint64_t ending_since_ms;
    bool has_left; /* the clients, at the end */
    bool settled;  /* it was seen to be */
    unsigned spins;
    bool disturbed; /* not only cuts: a fault, a timeout, an end */
    size_t settled_length[FAKE_CLIENTS];
};

static void take_setting(struct world *world, const struct step *step)
{
    struct hcs_limits *limits = &world->service.limits;
    size_t n = step->number;
    uint64_t ms = 1 + n % 60000;

    switch ((enum setting)step->which) {
    case SET_HEADER:
        limits->max_header_bytes = 256 + n % 65536;
        break;
    case SET_BODY:
        limits->max_body_bytes = n;
        break;
    case SET_QUEUE: /* made before */
        world->disturbed = true;
        break;
    case SET_CONNS:
        world->service.gate.max_connections = 1 + (unsigned)n;
        world->disturbed |= n < FAKE_CLIENTS;
        break;
    case SET_READ:
        limits->read_timeout_ms = ms;
        world->disturbed |= ms < HARMLESS_MS;
        break;
    case SET_WRITE:
        limits->write_timeout_ms = ms;
        world->disturbed |= ms < HARMLESS_MS;
        break;
    case SET_IDLE:
        limits->idle_timeout_ms = ms;
        world->disturbed |= ms < HARMLESS_MS;
        break;
    case SET_DRAIN_IDLE:
        limits->drain_idle_ms = ms;
        break;
    case SET_QUEUE_TIMEOUT:
        limits->queue_timeout_ms = n % 60000;
        world->disturbed |= n < HARMLESS_MS;
        break;
    case SET_JOB_TIMEOUT:
        set_job_timeout(hcs_service_router(&world->service), n % 60000);
        world->disturbed |= n < HARMLESS_MS;
        break;
    case SET_HALF_CLOSE:
        limits->half_close =
            n % 2 == 0 ? HCS_HALF_CLOSE_CANCEL : HCS_HALF_CLOSE_SERVE;
        break;
    case SET_RATE:
        limits->min_upload_rate = n;
        break;
    case SET_SHARED:
        world->service.private_tables = n % 2 == 0;
        break;
    case SET_COUNT:
        break;
    }
}

static size_t queue_size_of(const struct program *program)
{
    for (size_t i = 0; i < program->count; i++) {
        if (program->steps[i].op == OP_SET &&
            program->steps[i].which == SET_QUEUE) {
            return 1 + program->steps[i].number % QUEUE_SIZE;
        }
    }
    return QUEUE_SIZE;
}

/* --- What a step does. */

enum effect { NOTHING, TURN, INTERRUPTED };

static bool is_harmless(const struct step *step)
{
    return step->error == EINTR ||
           (step->which == CALL_SEND &&
               (step->error == ENOBUFS || step->error == ENOMEM));
}

static void cause_fault(struct world *world, const struct step *step)
{
    struct fake_client *client = fake_client(step->client);

    world->disturbed |= !is_harmless(step);
    switch ((enum call)step->which) {
    case CALL_READ:
        client->read_fault = step->error;
        return;
    case CALL_SEND:
        client->send_fault = step->error;
        return;
    case CALL_ACCEPT:
        fake_fail_accept(step->error);
        return;
    case CALL_WATCH:
        fake_fail_control(step->error);
        return;
    }
}

static void arrive(size_t client, const char *bytes, size_t length, bool late)
{
    if (fake_client(client)->in_length + length <= STREAM_MAX) {
        fake_arrive(client, bytes, length, late);
    }
}

static void command(struct world *world, enum hcs_command command)
{
    atomic_store(&world->service.phase, (int)HCS_PHASE_DRAINING);
    hcs_shard_command(world->shard, command);
    world->disturbed = true;
}

static void pass_time(struct world *world, size_t ms, bool at_once)
{
    if (world->passed_ms + ms > TIME_MAX_MS) {
        return;
    }
    world->passed_ms += ms;
    world->disturbed |= world->passed_ms + CALM_MS > HARMLESS_MS;
    if (at_once) {
        fake_advance(ms);
    } else {
        world->time_left_ms = ms;
    }
}

static enum effect do_step(struct world *world, const struct step *step)
{
    static char filling[PROGRAM_NUMBER_MAX];

    world->spins = 0;
    switch (step->op) {
    case OP_NONE:
    case OP_SET:
        break;
    case OP_OPEN:
        fake_connect(step->client);
        break;
    case OP_SEND:
    case OP_LATE:
        arrive(step->client, step->text, step->length, step->op == OP_LATE);
        break;
    case OP_FILL:
        if (filling[0] == '\0') {
            memset(filling, 'x', sizeof filling);
        }
        arrive(step->client, filling, step->number, false);
        break;
    case OP_FIN:
        fake_fin(step->client);
        /* Whoever still reads gets all its answers. */
        world->disturbed |=
            world->service.limits.half_close == HCS_HALF_CLOSE_CANCEL;
        break;
    case OP_RESET:
        fake_reset(step->client, step->number % 2 == 0 ? ECONNRESET : 0);
        world->disturbed = true;
        break;
    case OP_LIMIT:
        fake_limit(step->client, step->number);
        break;
    case OP_SIP:
        fake_take(step->client, step->number);
        break;
    case OP_TURN:
        return TURN;
    case OP_INTR:
        return INTERRUPTED;
    case OP_TAKE:
        (void)take_job(&world->pool);
        break;
    case OP_RUN:
        run_job(&world->pool, step->number);
        break;
    case OP_PUT:
        put_job(&world->pool, step->number);
        break;
    case OP_WORK:
        (void)work_off(&world->pool);
        break;
    case OP_TICK:
        pass_time(world, step->number % 70000, false);
        break;
    case OP_JUMP:
        pass_time(world, step->number % 70000, true);
        break;
    case OP_DRAIN:
        command(world, HCS_COMMAND_DRAIN);
        break;
    case OP_STOP:
        command(world, HCS_COMMAND_CUT);
        break;
    case OP_NOMEM:
        fake_fail_allocation(step->number);
        world->disturbed = true;
        break;
    case OP_BUDGET:
        world->budget.limit =
            hcs_budget_used(&world->budget) + step->number * 1024;
        world->disturbed = true;
        break;
    case OP_FDS:
        fake_spare_descriptors(step->number);
        world->disturbed = true;
        break;
    case OP_FAULT:
        cause_fault(world, step);
        break;
    }
    return NOTHING;
}

/* --- Nothing waits for ever. */

static uint64_t state_count(
    const struct world *world, enum hcs_conn_state state)
{
    return hcs_counter_get(&world->shard->counts.states[state]);
}

static void count_record(void *record, void *count)
{
    (void)record;
    ++*(size_t *)count;
}

static size_t records_in_use(struct hcs_slab *slab)
{
    size_t count = 0;

    hcs_slab_each(slab, count_record, &count);
    return count;
}

static void check_settled(struct world *world)
{
    const struct hcs_shard *shard = world->shard;

    fuzz_check(state_count(world, HCS_CONN_WORKING) == 0,
        "the result of a job is lost: %llu wait",
        (unsigned long long)state_count(world, HCS_CONN_WORKING));
    fuzz_check(state_count(world, HCS_CONN_WRITING) == 0,
        "there is room, and %llu wait for it",
        (unsigned long long)state_count(world, HCS_CONN_WRITING));
    fuzz_check(hcs_pool_depth(&world->pool) == 0, "places of no job");
    fuzz_check(records_in_use(shard->conns) == hcs_shard_connections(shard),
        "%zu records of %zu connections", records_in_use(shard->conns),
        (size_t)hcs_shard_connections(shard));
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        const struct fake_client *client = fake_client(i);

        world->settled_length[i] = client->out_length;
        if (!client->connected || client->closed) {
            continue;
        }
        fuzz_check(client->accepted, "client %zu waits to be accepted", i);
        fuzz_check(client->in_read == client->in_arrived,
            "client %zu: %zu bytes wait to be read", i,
            client->in_arrived - client->in_read);
        fuzz_check(!client->fin && !client->reset,
            "client %zu has left and nobody has seen it", i);
    }
    world->settled = true;
}

/* --- The end of a world. */

static void let_clients_leave(void)
{
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        fake_fin(i);
    }
}

static void begin_end(struct world *world)
{
    world->phase = ENDING;
    world->ending_since_ms = fake_now_ms();
    if (world->ending != END_WITHOUT_THEM) {
        let_clients_leave();
        world->has_left = true;
    }
    if (world->ending != END_WITH_CLIENTS) {
        hcs_shard_command(world->shard, HCS_COMMAND_DRAIN);
    }
}

/* A second later whoever has left is gone. */
static void go_on_ending(struct world *world)
{
    uint64_t since_ms = fake_now_ms() - world->ending_since_ms;

    if (world->has_left && since_ms >= 2000) {
        fuzz_check(hcs_shard_connections(world->shard) == 0,
            "all clients have left, and %zu connections are open",
            hcs_shard_connections(world->shard));
        if (world->ending == END_WITH_CLIENTS) {
            world->ending = END_WITH_DRAIN;
            hcs_shard_command(world->shard, HCS_COMMAND_DRAIN);
        }
    }
    fuzz_check(since_ms < END_MS, "the drain does not end");
}

/* --- What happens while the loop sleeps, or would. */

/* Time passes, until wake_ms or for time_left_ms. True when the loop wakes. */
static bool let_time_pass(struct world *world, uint64_t wake_ms)
{
    uint64_t left_ms = wake_ms - fake_now_ms();
    uint64_t step_ms =
        world->time_left_ms < left_ms ? world->time_left_ms : left_ms;

    fake_advance(step_ms);
    world->time_left_ms -= step_ms;
    if (step_ms > 0) {
        world->spins = 0;
    }
    return fake_now_ms() >= wake_ms;
}

/* True when the loop wakes. */
static bool calm_down(struct world *world, uint64_t wake_ms)
{
    if (world->phase == RUNNING) {
        world->phase = SETTLING;
        world->time_left_ms = CALM_MS;
        world->budget.limit = BUDGET;
        fake_calm();
    }
    if (fake_ready() || fake_now_ms() >= wake_ms) {
        return true;
    }
    if (work_off(&world->pool)) {
        return fake_ready();
    }
    if (world->time_left_ms > 0) {
        return let_time_pass(world, wake_ms);
    }
    if (world->phase == SETTLING) {
        check_settled(world);
        begin_end(world);
    } else {
        go_on_ending(world);
        world->time_left_ms = 500;
    }
    return fake_ready();
}

static bool world_goes_on(void *arg, int timeout_ms)
{
    struct world *world = arg;
    uint64_t now_ms = fake_now_ms();
    uint64_t wake_ms =
        timeout_ms < 0 ? UINT64_MAX : now_ms + (unsigned)timeout_ms;

    world->spins++;
    fuzz_check(world->spins < SPINS_MAX, "the loop spins");
    for (;;) {
        enum effect effect = NOTHING;

        if (world->phase == RUNNING && world->time_left_ms > 0) {
            if (fake_ready() || fake_now_ms() >= wake_ms ||
                let_time_pass(world, wake_ms)) {
                return true;
            }
        } else if (world->next < world->program->count) {
            effect = do_step(world, &world->program->steps[world->next++]);
        } else if (calm_down(world, wake_ms)) {
            return true;
        }
        if (effect == INTERRUPTED) {
            return false;
        }
        if (effect == TURN && (fake_ready() || fake_now_ms() >= wake_ms)) {
            return true;
        }
    }
}

/* --- A world's life. */

static void open_world(
    struct world *world, const struct program *program, enum ending ending)
{
    static struct hcs_router *router;
    struct hcs_service *service = &world->service;
    static struct hcs_shard *shards[1];

    if (router == NULL) {
        hcs_job_install_allocator();
        router = make_router();
    }
    memset(world, 0, sizeof *world);
    world->program = program;
    world->ending = ending;
    fake_begin(world_goes_on, world);
    hcs_budget_init(&world->budget, BUDGET);
    set_job_timeout(router, 0);
    world->jobs = (struct hcs_job_context){&world->budget, router};
    open_pool(&world->pool, queue_size_of(program), &world->jobs);
    service->limits = (struct hcs_limits){
        .read_timeout_ms = 15000,
        .write_timeout_ms = 15000,
        .idle_timeout_ms = 60000,
        .drain_idle_ms = 1000,
        .queue_timeout_ms = 30000,
        .max_header_bytes = 16 * 1024,
        .max_body_bytes = 1024 * 1024,
        .half_close = HCS_HALF_CLOSE_CANCEL,
    };
    service->sites[HCS_SITE_MAIN].router = router;
    hcs_gate_init(&service->gate, 1000);
    hcs_service_set_pool(service, &world->pool);
    service->deferrals = host.deferrals;
    atomic_store(&service->is_open, true);
    service->budget = &world->budget;
    service->shards = shards;
    service->shard_count = 1;
    service->private_tables = true;
    pthread_mutex_init(&service->accept_lock, NULL);
    service->version = "fuzz";
    service->started_ns = (fake_now_ms() - 1000) * 1000000;
    for (size_t i = 0; i < program->count; i++) {
        if (program->steps[i].op == OP_SET) {
            take_setting(world, &program->steps[i]);
        }
    }
    world->shard = hcs_shard_create(
        service, 0, &(int){fake_listen()}, 1, HCS_LISTENER_OWN);
    fuzz_check(world->shard != NULL, "no memory");
    shards[0] = world->shard;
    fuzz_check(hcs_shard_open(world->shard) == 0, "no memory");
}

static uint64_t sum(const struct hcs_counter *counters, size_t count)
{
    uint64_t total = 0;

    for (size_t i = 0; i < count; i++) {
        total += hcs_counter_get(&counters[i]);
    }
    return total;
}

static void check_equal(uint64_t a, uint64_t b, const char *what)
{
    fuzz_check(a == b, "%s: %llu and %llu", what, (unsigned long long)a,
        (unsigned long long)b);
}

/* The counters add up, when everything is closed. */
static void check_counters(const struct world *world)
{
    const struct hcs_shard *shard = world->shard;
    const struct hcs_counts *counts = &shard->counts;
    uint64_t ended = 0;
    uint64_t received = 0;
    uint64_t sent = 0;

    for (size_t i = 0; i < hcs_router_jobs(hcs_service_router(&world->service));
         i++) {
        ended += hcs_counter_get(&counts->routes[i].ok) +
                 hcs_counter_get(&counts->routes[i].error) +
                 hcs_counter_get(&counts->routes[i].timeout) +
                 hcs_counter_get(&counts->routes[i].cancelled);
    }
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        received += fake_client(i)->in_read;
        sent += fake_client(i)->out_length;
    }
    for (size_t i = 0; i < HCS_CONN_OPEN_STATES; i++) {
        check_equal(hcs_counter_get(&counts->states[i]), 0, "a gauge");
    }
    check_equal(hcs_counter_get(&counts->requests),
        hcs_counter_get(&counts->completed) + hcs_counter_get(&counts->errors) +
            hcs_counter_get(&counts->cancelled),
        "requests, and how they ended");
    check_equal(ended, world->pool.submitted, "jobs ended, and submitted");
    check_equal(hcs_counter_get(&counts->accepted) +
                    sum(counts->rejected, HCS_REASON_COUNT),
        fake_accepted(), "connections counted, and accepted");
    check_equal(hcs_counter_get(&counts->accepted),
        sum(counts->closed, HCS_REASON_COUNT), "connections opened and closed");
    check_equal(hcs_counter_get(&counts->received_bytes), received, "received");
    check_equal(hcs_counter_get(&counts->sent_bytes), sent, "sent");
    check_equal(hcs_shard_connections(shard), 0, "connections of the loop");
    check_equal(hcs_gate_connections(&world->service.gate), 0, "connections");
    check_equal(shard->lingering, 0, "lingering");
    check_equal(shard->shed_count, 0, "shed");
    check_equal(shard->spares_lent, 0, "spares lent");
    check_equal(records_in_use(shard->conns), 0, "records of connections");
}

/* Results that the loop did not stay for: hcs_shard_destroy would take them as
 * well, but the counters go with it. No worker is stuck when all have come. */
static void take_late_results(struct world *world)
{
    struct hcs_shard *shard = world->shard;
    struct hcs_task *task = hcs_mailbox_take(&shard->mailbox);

    while (task != NULL) {
        struct hcs_task *next = task->next;

        hcs_conn_result(shard, (struct hcs_request *)(void *)task);
        task = next;
    }
    check_equal(hcs_counter_get(&shard->counts.stuck), 0, "stuck workers");
}

/* What it leaves behind for a comparison. */
struct remains {
    struct {
        char *in;
        size_t in_length;
        char *out;
        size_t out_length;
        size_t settled_length;
    } clients[FAKE_CLIENTS];
    bool settled;
    bool disturbed;
};

static void close_world(struct world *world, struct remains *remains)
{
    check_counters(world);
    (void)work_off(&world->pool);
    take_late_results(world);
    hcs_shard_destroy(world->shard);
    fuzz_check(hcs_budget_used(&world->budget) <= WORKERS * HCS_ARENA_CHUNK_MIN,
        "workers keep more than a chunk each");
    close_pool(&world->pool);
    check_equal(hcs_budget_used(&world->budget), 0, "memory that is not back");
    check_equal(hcs_deferrals_open_count(host.deferrals), 0, "tokens");
    pthread_mutex_destroy(&world->service.accept_lock);
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        struct fake_client *client = fake_client(i);

        remains->clients[i].in = client->in;
        remains->clients[i].in_length = client->in_arrived;
        remains->clients[i].out = client->out;
        remains->clients[i].out_length = client->out_length;
        remains->clients[i].settled_length =
            world->settled ? world->settled_length[i] : client->out_length;
        client->in = NULL;
        client->out = NULL;
    }
    remains->settled = world->settled;
    remains->disturbed = world->disturbed;
    fake_end();
}

static void live(
    const struct program *program, enum ending ending, struct remains *remains)
{
    static struct world world;

    open_world(&world, program, ending);
    fake_watch_memory(true);
    hcs_shard_run(world.shard);
    fake_watch_memory(false);
    close_world(&world, remains);
}

static void free_remains(struct remains *remains)
{
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        free(remains->clients[i].in);
        free(remains->clients[i].out);
    }
}

/* --- The same bytes, at once and undisturbed. */

static void make_reference(struct program *reference,
    const struct program *program, const struct remains *remains)
{
    struct step *at = reference->steps;

    for (size_t i = 0; i < program->count; i++) {
        const struct step *step = &program->steps[i];

        if (step->op == OP_SET &&
            (step->which == SET_HEADER || step->which == SET_BODY)) {
            *at++ = *step;
        }
        if (at - reference->steps == PROGRAM_LINES_MAX / 2) {
            break;
        }
    }
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        *at++ = (struct step){.op = OP_OPEN, .client = i};
        *at++ = (struct step){.op = OP_SEND,
            .client = i,
            .text = remains->clients[i].in,
            .length = remains->clients[i].in_length};
    }
    *at++ = (struct step){.op = OP_TURN};
    reference->count = (size_t)(at - reference->steps);
}

static bool same_id(const struct reply *a, const struct reply *b)
{
    return (a->id.length == b->id.length &&
               memcmp(a->id.at, b->id.at, a->id.length) == 0) ||
           (replies_is_made(a->id) && replies_is_made(b->id));
}

/* What a handler wrote, behind the identifier. */
static struct text data_of(const struct reply *reply)
{
    const char *data =
        memmem(reply->body.at, reply->body.length, "\"data\":", 7);
    struct text text = reply->body;

    if (data != NULL) {
        text.length -= (size_t)(data - text.at);
        text.at = data;
    }
    return text;
}

static bool same_reply(const struct reply *a, const struct reply *b)
{
    struct text a_data = data_of(a);
    struct text b_data = data_of(b);

    return a->status == b->status && a->job == b->job &&
           (!a->job || a->status != 200 ||
               (a_data.length == b_data.length &&
                   memcmp(a_data.at, b_data.at, a_data.length) == 0));
}

/* Whether it holds a word, in any case. */
static size_t count_word(const char *bytes, size_t length, const char *word)
{
    size_t word_length = strlen(word);
    size_t found = 0;

    for (size_t i = 0; i + word_length <= length; i++) {
        found += strncasecmp(bytes + i, word, word_length) == 0 ? 1 : 0;
    }
    return found;
}

/* Answers that a fault may put in the place of a request's own. */
static bool is_refusal(const struct reply *reply)
{
    return reply->status == 408 || reply->status == 503 || reply->status == 504;
}

static void compare_pair(size_t client, size_t index, const struct reply *ours,
    const struct reply *theirs, bool disturbed)
{
    if (same_reply(ours, theirs) && same_id(ours, theirs)) {
        return;
    }
    fuzz_check(disturbed,
        "client %zu, reply %zu: %u to %.*s; undisturbed %u to %.*s", client,
        index, ours->status, (int)ours->id.length, ours->id.at, theirs->status,
        (int)theirs->id.length, theirs->id.at);
    fuzz_check(
        is_refusal(ours) && (same_id(ours, theirs) ||
                                (ours->last && replies_is_made(ours->id))),
        "client %zu, reply %zu: %u to %.*s, for no fault; undisturbed %u "
        "to %.*s",
        client, index, ours->status, (int)ours->id.length, ours->id.at,
        theirs->status, (int)theirs->id.length, theirs->id.at);
}

/* The replies that both have are the same; if one has more, there is a reason.
 */
static void compare(size_t client, const struct replies *ours,
    const struct replies *theirs, bool disturbed, const char *in,
    size_t in_length)
{
    size_t both = ours->count < theirs->count ? ours->count : theirs->count;

    for (size_t i = 0; i < both; i++) {
        compare_pair(client, i, &ours->list[i], &theirs->list[i], disturbed);
    }
    /* Where a body that nobody wants is not at hand, the reply is the last. */
    if (both > 0 && count_word(in, in_length, "Content-Length") > 0 &&
        ours->list[both - 1].last != theirs->list[both - 1].last) {
        return;
    }
    if (disturbed && ours->count == both + 1) {
        const struct reply *last = &ours->list[both];

        fuzz_check(last->last && is_refusal(last),
            "client %zu, reply %zu: %u to a request that is not all there",
            client, both, last->status);
        return;
    }
    fuzz_check(ours->count == both, "client %zu: %zu replies; undisturbed %zu",
        client, ours->count, both);
    fuzz_check(disturbed || theirs->count == both,
        "client %zu: %zu replies; undisturbed %zu", client, both,
        theirs->count);
}

/* For who reads an input: what the clients got. */
static void show(
    const char *world, size_t client, const struct replies *replies)
{
    (void)fprintf(stderr, "  %s, client %zu:", world, client);
    for (size_t i = 0; i < replies->count; i++) {
        const struct reply *reply = &replies->list[i];

        (void)fprintf(stderr, " %u to %.*s (%zu bytes)%s;", reply->status,
            (int)reply->id.length, reply->id.at, reply->body.length,
            reply->last ? ", the last" : "");
    }
    (void)fputc('\n', stderr);
}

static void check_replies(
    const struct remains *remains, const struct remains *reference)
{
    bool shown = getenv("FUZZ_SHOW") != NULL;
    static struct replies ours, theirs;

    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        const char *in = remains->clients[i].in;
        size_t in_length = remains->clients[i].in_length;
        size_t heads;
        bool disturbed = remains->disturbed || !remains->settled;

        /* All of it has to be in order, and what it had settled on the same. */
        replies_read(
            &ours, remains->clients[i].out, remains->clients[i].out_length);
        heads = count_word(in, in_length, "HEAD ");
        fuzz_check(ours.without_body <= heads + (remains->disturbed ? 1 : 0),
            "client %zu: %zu replies without a body to %zu HEAD", i,
            ours.without_body, heads);
        fuzz_check(!ours.cut || remains->disturbed,
            "client %zu: a part of a reply", i);
        if (!disturbed) {
            replies_read(&ours, remains->clients[i].out,
                remains->clients[i].settled_length);
            fuzz_check(!ours.cut, "client %zu: a part of a reply", i);
        }
        replies_read(&theirs, reference->clients[i].out,
            reference->clients[i].settled_length);
        if (shown && in_length > 0) {
            show(disturbed ? "disturbed" : "cut", i, &ours);
            show("undisturbed", i, &theirs);
        }
        compare(i, &ours, &theirs, disturbed, in, in_length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct program program, reference;
    struct remains remains, reference_remains;

    if (size > INPUT_MAX) {
        return 0;
    }
    program_read(&program, (const char *)data, size);
    live(&program, (enum ending)(fuzz_hash(data, size) % END_COUNT), &remains);
    make_reference(&reference, &program, &remains);
    live(&reference, END_WITH_CLIENTS, &reference_remains);
    check_replies(&remains, &reference_remains);
    free_remains(&remains);
    free_remains(&reference_remains);
    program_free(&program);
    return 0;
}
