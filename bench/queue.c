/*
 * queue-bench - pointers through a queue, and nothing else.
 *
 * It measures the queue between loops and workers alone: hcsd's queue through
 * the functions that the daemon calls, beside a ring under a mutex and, where
 * it is installed, the ring of Concurrency Kit.
 *
 *     queue-bench [--milliseconds N] [--repetitions N] [--capacity N] [--json]
 *
 * All three have the same number of places, and carry pointers to the same kind
 * of item, which the producer writes and the consumer reads. When the queue is
 * full or empty, a thread looks again some times, then yields the processor.
 * With more threads than cores, the other side may need that core. An operation
 * is one item through the queue: a push, a pop, and the waiting for them. A run
 * is bounded by time, not by a number of items: where threads that wait for
 * each other share a core, one item can take the scheduler's time slice.
 *
 * Producers and consumers are dealt out to the cores like cards, so that with
 * one of each on two cores the item crosses over, and the scheduler has no say.
 * Repetitions go through the queues forwards and backwards by turns; "hcsd
 * again" is the same code a second time, and shows the noise.
 *
 * Every item carries a number of its own. The exit status is 1 when the items
 * that came out are not the items that went in.
 */
#include "sync/queue.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef HCS_BENCH_CK
#include <ck_ring.h>
#endif

enum {
    EXIT_USAGE = 2,
    SIDE_MAX = 4, /* producers, and as many consumers */
    THREADS_MAX = 2 * SIDE_MAX,
    SPINS = 64,        /* looks before the processor is yielded */
    WARM_UP_SHARE = 4, /* a quarter of the time, before the clock starts */
    MILLISECONDS_MAX = 60000,
    REPETITIONS_MAX = 1000,
    CAPACITY_MAX = (1 << 20) - 1,
    SERIAL_BITS = 48,
};

enum phase { WARM_UP, MEASURED, PHASES };

static const unsigned sides[] = {1, 2, SIDE_MAX};

enum { SHAPES = sizeof sides / sizeof sides[0] };

/* As a request is handed over: one line of the cache, written by the producer,
 * read by the consumer, and then handed back. */
struct item {
    alignas(64) struct hcs_task task;
    uint64_t value; /* 0: the consumer may go home */
    _Atomic bool out;
};

/* Of the items that went one way: how many, and two sums that no loss and no
 * doubling leaves as they were. */
struct account {
    uint64_t count;
    uint64_t sum;
    uint64_t squares;
};

struct mutex_ring {
    pthread_mutex_t lock;
    size_t head, tail, count, capacity;
    struct item **items;
};

struct rig {
    const struct kind *kind;
    union {
        struct hcs_queue *hcsd;
        struct mutex_ring *mutex;
#ifdef HCS_BENCH_CK
        struct ck {
            ck_ring_t ring;
            ck_ring_buffer_t buffer[];
        } * ck;
#endif
    } queue;
    unsigned side;
    size_t pool; /* items that a producer takes turns with */
    pthread_barrier_t barrier;
    alignas(64) _Atomic unsigned producing;
    alignas(64) _Atomic bool over[PHASES]; /* read at every item */
    struct item stops[SIDE_MAX];
};

struct thread {
    alignas(64) struct rig *rig;
    pthread_t handle;
    unsigned index;
    struct item *items;        /* a producer's */
    uint64_t start_ns, end_ns; /* of the phase that was the last */
    uint64_t warm_up_count;
    struct account account;
};

struct kind {
    const char *name;
    void (*create)(struct rig *rig, size_t capacity);
    void (*destroy)(struct rig *rig);
    void *(*produce)(void *thread);
    void *(*consume)(void *thread);
};

struct options {
    unsigned milliseconds;
    unsigned repetitions;
    size_t capacity;
    bool json;
};

_Noreturn static void die(const char *what, int error)
{
    fprintf(stderr, "queue-bench: %s: %s\n", what, strerror(error));
    exit(EXIT_FAILURE);
}

static void *allocate(size_t alignment, size_t bytes)
{
    void *memory =
        aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));

    if (memory == NULL) {
        die("memory", ENOMEM);
    }
    memset(memory, 0, bytes);
    return memory;
}

static uint64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static void wait_a_little(unsigned *looks)
{
    if (++*looks >= SPINS) {
        *looks = 0;
        sched_yield();
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void count_item(struct account *account, uint64_t value)
{
    account->count++;
    account->sum += value;
    account->squares += value * value;
}

/* --- The queues. Push and pop are seen whole by the loops below. */

static void hcsd_create(struct rig *rig, size_t capacity)
{
    rig->queue.hcsd = hcs_queue_create(capacity);
    if (rig->queue.hcsd == NULL) {
        die("hcs_queue_create", ENOMEM);
    }
}

static void hcsd_destroy(struct rig *rig)
{
    hcs_queue_destroy(rig->queue.hcsd);
}

static inline bool hcsd_push(struct rig *rig, struct item *item)
{
    return hcs_queue_push(rig->queue.hcsd, &item->task);
}

static inline struct item *hcsd_pop(struct rig *rig)
{
    struct hcs_task *task = hcs_queue_pop(rig->queue.hcsd);

    if (task == NULL) {
        return NULL;
    }
    hcs_queue_release(rig->queue.hcsd);
    /* What its loop does when the task is home. Relaxed: ours since the pop,
     * and handing the item back publishes it. */
    atomic_store_explicit(&task->state, HCS_TASK_IDLE, memory_order_relaxed);
    return (struct item *)(void *)task;
}

static void mutex_create(struct rig *rig, size_t capacity)
{
    struct mutex_ring *ring = allocate(64, sizeof *ring);

    ring->capacity = capacity;
    ring->items = allocate(64, capacity * sizeof(struct item *));
    pthread_mutex_init(&ring->lock, NULL);
    rig->queue.mutex = ring;
}

static void mutex_destroy(struct rig *rig)
{
    pthread_mutex_destroy(&rig->queue.mutex->lock);
    free((void *)rig->queue.mutex->items);
    free(rig->queue.mutex);
}

static inline bool mutex_push(struct rig *rig, struct item *item)
{
    struct mutex_ring *ring = rig->queue.mutex;
    bool pushed = false;

    pthread_mutex_lock(&ring->lock);
    if (ring->count < ring->capacity) {
        ring->items[ring->tail] = item;
        ring->tail = ring->tail + 1 < ring->capacity ? ring->tail + 1 : 0;
        ring->count++;
        pushed = true;
    }
    pthread_mutex_unlock(&ring->lock);
    return pushed;
}

static inline struct item *mutex_pop(struct rig *rig)
{
    struct mutex_ring *ring = rig->queue.mutex;
    struct item *item = NULL;

    pthread_mutex_lock(&ring->lock);
    if (ring->count > 0) {
        item = ring->items[ring->head];
        ring->head = ring->head + 1 < ring->capacity ? ring->head + 1 : 0;
        ring->count--;
    }
    pthread_mutex_unlock(&ring->lock);
    return item;
}

#ifdef HCS_BENCH_CK
static void ck_create(struct rig *rig, size_t capacity)
{
    /* One cell stays empty, to tell full from empty. */
    size_t cells = capacity + 1;

    rig->queue.ck =
        allocate(64, sizeof(struct ck) + cells * sizeof(ck_ring_buffer_t));
    ck_ring_init(&rig->queue.ck->ring, (unsigned)cells);
}

static void ck_destroy(struct rig *rig)
{
    free(rig->queue.ck);
}

static inline bool ck_push(struct rig *rig, struct item *item)
{
    return ck_ring_enqueue_mpmc(
        &rig->queue.ck->ring, rig->queue.ck->buffer, item);
}

static inline struct item *ck_pop(struct rig *rig)
{
    struct item *item;

    if (!ck_ring_dequeue_mpmc(
            &rig->queue.ck->ring, rig->queue.ck->buffer, (void *)&item)) {
        return NULL;
    }
    return item;
}
#endif

/* --- Producers and consumers, compiled anew for each queue, so that none pays
 * for a call that another is spared. */

static inline __attribute__((always_inline)) void push_until_taken(
    struct rig *rig, bool (*push)(struct rig *, struct item *),
    struct item *item)
{
    unsigned looks = 0;

    while (!push(rig, item)) {
        wait_a_little(&looks);
    }
}

static bool is_over(struct rig *rig, enum phase phase)
{
    /* Relaxed: it says no more than that. */
    return atomic_load_explicit(&rig->over[phase], memory_order_relaxed);
}

/* There are twice as many items as places, so this waits only for a consumer
 * that was stopped with the item in its hand; and for an item that was lost,
 * which is why it does not wait for ever. */
static bool await_return(struct rig *rig, enum phase phase, struct item *item)
{
    unsigned looks = 0;

    /* [bench.item] acquire: the consumer has read it. */
    while (atomic_load_explicit(&item->out, memory_order_acquire)) {
        if (is_over(rig, phase)) {
            return false;
        }
        wait_a_little(&looks);
    }
    return true;
}

static inline __attribute__((always_inline)) void *produce(
    struct thread *thread, bool (*push)(struct rig *, struct item *))
{
    struct rig *rig = thread->rig;
    uint64_t value = (uint64_t)thread->index << SERIAL_BITS;
    size_t next = 0;

    for (enum phase phase = WARM_UP; phase < PHASES; phase++) {
        pthread_barrier_wait(&rig->barrier);
        thread->warm_up_count = thread->account.count;
        thread->start_ns = now_ns();
        /* At least one, however late this thread got its turn. */
        do {
            struct item *item = &thread->items[next];

            next = next + 1 < rig->pool ? next + 1 : 0;
            if (!await_return(rig, phase, item)) {
                break;
            }
            /* Relaxed: the queue publishes the item. */
            atomic_store_explicit(&item->out, true, memory_order_relaxed);
            item->value = ++value;
            count_item(&thread->account, value);
            push_until_taken(rig, push, item);
        } while (!is_over(rig, phase));
        thread->end_ns = now_ns();
        /* The last producer sends the consumers home. */
        if (atomic_fetch_sub(&rig->producing, 1) == 1) {
            atomic_store(&rig->producing, rig->side);
            for (unsigned i = 0; i < rig->side; i++) {
                push_until_taken(rig, push, &rig->stops[i]);
            }
        }
    }
    return NULL;
}

static inline __attribute__((always_inline)) void *consume(
    struct thread *thread, struct item *(*pop)(struct rig *))
{
    struct rig *rig = thread->rig;

    for (enum phase phase = WARM_UP; phase < PHASES; phase++) {
        unsigned looks = 0;

        pthread_barrier_wait(&rig->barrier);
        thread->start_ns = now_ns();
        for (;;) {
            struct item *item = pop(rig);

            if (item == NULL) {
                wait_a_little(&looks);
                continue;
            }
            looks = 0;
            if (item->value == 0) {
                break;
            }
            count_item(&thread->account, item->value);
            /* [bench.item] release: it was read and may be written. */
            atomic_store_explicit(&item->out, false, memory_order_release);
        }
        thread->end_ns = now_ns();
    }
    return NULL;
}

static void *hcsd_produce(void *thread)
{
    return produce(thread, hcsd_push);
}

static void *hcsd_consume(void *thread)
{
    return consume(thread, hcsd_pop);
}

static void *mutex_produce(void *thread)
{
    return produce(thread, mutex_push);
}

static void *mutex_consume(void *thread)
{
    return consume(thread, mutex_pop);
}

#ifdef HCS_BENCH_CK
static void *ck_produce(void *thread)
{
    return produce(thread, ck_push);
}

static void *ck_consume(void *thread)
{
    return consume(thread, ck_pop);
}
#endif

static const struct kind kinds[] = {
    {"hcsd", hcsd_create, hcsd_destroy, hcsd_produce, hcsd_consume},
    {"mutex", mutex_create, mutex_destroy, mutex_produce, mutex_consume},
#ifdef HCS_BENCH_CK
    {"ck", ck_create, ck_destroy, ck_produce, ck_consume},
#endif
    {"hcsd again", hcsd_create, hcsd_destroy, hcsd_produce, hcsd_consume},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* --- One run. */

/* One of the cores that we may use, counted round; CPU_SETSIZE where the kernel
 * will not say which they are. */
static size_t core_at(unsigned position)
{
    cpu_set_t allowed;

    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return CPU_SETSIZE;
    }
    position %= (unsigned)CPU_COUNT(&allowed);
    for (size_t core = 0; core < CPU_SETSIZE; core++) {
        if (CPU_ISSET(core, &allowed) && position-- == 0) {
            return core;
        }
    }
    return CPU_SETSIZE;
}

static void start_thread(
    struct thread *thread, void *(*run)(void *), unsigned position)
{
    size_t core = core_at(position);
    pthread_attr_t attributes;
    int rc;

    pthread_attr_init(&attributes);
    if (core < CPU_SETSIZE) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(core, &set);
        pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    rc = pthread_create(&thread->handle, &attributes, run, thread);
    pthread_attr_destroy(&attributes);
    if (rc != 0) {
        die("pthread_create", rc);
    }
}

static void add_account(struct account *total, const struct account *part)
{
    total->count += part->count;
    total->sum += part->sum;
    total->squares += part->squares;
}

/* Producer and consumer i sit on neighbouring cores, the next pair the other
 * way round: each core gets as many of the ones as of the others. */
static void start_threads(struct rig *rig, struct thread *threads)
{
    for (unsigned i = 0; i < rig->side; i++) {
        struct thread *producer = &threads[i];
        struct thread *consumer = &threads[rig->side + i];

        producer->rig = rig;
        producer->index = i;
        producer->items = allocate(64, rig->pool * sizeof(struct item));
        consumer->rig = rig;
        consumer->index = i;
        start_thread(producer, rig->kind->produce, i);
        start_thread(consumer, rig->kind->consume, i + 1);
    }
}

static void let_run(struct rig *rig, const struct options *options)
{
    static const unsigned shares[PHASES] = {WARM_UP_SHARE, 1};

    for (enum phase phase = WARM_UP; phase < PHASES; phase++) {
        uint64_t left_ns =
            (uint64_t)options->milliseconds * 1000000 / shares[phase];
        struct timespec nap = {.tv_sec = (time_t)(left_ns / 1000000000),
            .tv_nsec = (long)(left_ns % 1000000000)};

        pthread_barrier_wait(&rig->barrier);
        while (nanosleep(&nap, &nap) != 0) {
        }
        atomic_store(&rig->over[phase], true);
    }
}

/* Nanoseconds an item. Ends the program when an item was lost or doubled. */
static double run_once(
    const struct kind *kind, unsigned side, const struct options *options)
{
    static struct rig rig;
    static struct thread threads[THREADS_MAX];
    struct account pushed = {0};
    struct account popped = {0};
    uint64_t start_ns = UINT64_MAX;
    uint64_t end_ns = 0;
    uint64_t measured = 0;

    memset(&rig, 0, sizeof rig);
    memset(threads, 0, sizeof threads);
    rig.kind = kind;
    rig.side = side;

    rig.pool = 2 * options->capacity;
    atomic_init(&rig.producing, side);
    pthread_barrier_init(&rig.barrier, NULL, 2 * side + 1);
    kind->create(&rig, options->capacity);
    start_threads(&rig, threads);
    let_run(&rig, options);
    for (unsigned i = 0; i < 2 * side; i++) {
        struct thread *thread = &threads[i];

        pthread_join(thread->handle, NULL);
        add_account(i < side ? &pushed : &popped, &thread->account);
        if (i < side) {
            measured += thread->account.count - thread->warm_up_count;
        }
        start_ns = thread->start_ns < start_ns ? thread->start_ns : start_ns;
        end_ns = thread->end_ns > end_ns ? thread->end_ns : end_ns;
    }
    for (unsigned i = 0; i < side; i++) {
        free(threads[i].items); /* no consumer looks any more */
    }
    kind->destroy(&rig);
    pthread_barrier_destroy(&rig.barrier);
    if (pushed.count != popped.count || pushed.sum != popped.sum ||
        pushed.squares != popped.squares) {
        fprintf(stderr,
            "queue-bench: %s, %u+%u: %llu items went in, %llu came out%s\n",
            kind->name, side, side, (unsigned long long)pushed.count,
            (unsigned long long)popped.count,
            pushed.count == popped.count ? ", and not the same" : "");
        exit(EXIT_FAILURE);
    }
    return (double)(end_ns - start_ns) / (double)measured;
}

/* --- All of them. */

static double times[KINDS][SHAPES][REPETITIONS_MAX];

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

static void measure_all(const struct options *options)
{
    for (unsigned turn = 0; turn < options->repetitions; turn++) {
        for (unsigned shape = 0; shape < SHAPES; shape++) {
            for (unsigned i = 0; i < KINDS; i++) {
                unsigned kind = turn % 2 == 0 ? i : KINDS - 1 - i;

                times[kind][shape][turn] =
                    run_once(&kinds[kind], sides[shape], options);
            }
        }
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned shape = 0; shape < SHAPES; shape++) {
            qsort(times[kind][shape], options->repetitions, sizeof(double),
                compare_doubles);
        }
    }
}

/* The middle one, or the mean of the two that share the middle. */
static double median(const double *sorted, unsigned count)
{
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

static void print_text(const struct options *options)
{
    unsigned last = options->repetitions - 1;

    printf("ns per item (a push and a pop), median and min..max of %u; %zu "
           "places\n%-12s",
        options->repetitions, options->capacity, "");
    for (unsigned shape = 0; shape < SHAPES; shape++) {
        printf("%12u+%u%14s", sides[shape], sides[shape], "");
    }
    putchar('\n');
    for (unsigned kind = 0; kind < KINDS; kind++) {
        printf("%-12s", kinds[kind].name);
        for (unsigned shape = 0; shape < SHAPES; shape++) {
            const double *of = times[kind][shape];
            char range[32];

            snprintf(range, sizeof range, "%.1f..%.1f", of[0], of[last]);
            printf("%12.1f%16s", median(of, options->repetitions), range);
        }
        putchar('\n');
    }
}

static void print_json(const struct options *options)
{
    const char *comma = "";

    printf("{\"unit\":\"ns per item, a push and a pop\",\"milliseconds\":%u,"
           "\"capacity\":%zu,\"repetitions\":%u,\"results\":[",
        options->milliseconds, options->capacity, options->repetitions);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned shape = 0; shape < SHAPES; shape++) {
            const double *of = times[kind][shape];

            printf("%s\n {\"queue\":\"%s\",\"producers\":%u,\"consumers\":%u,"
                   "\"median\":%.2f,\"all\":[",
                comma, kinds[kind].name, sides[shape], sides[shape],
                median(of, options->repetitions));
            for (unsigned i = 0; i < options->repetitions; i++) {
                printf("%s%.2f", i == 0 ? "" : ",", of[i]);
            }
            printf("]}");
            comma = ",";
        }
    }
    printf("]}\n");
}

/* --- Arguments. */

static bool read_number(
    const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *out >= least &&
           *out <= most;
}

/* Concurrency Kit's ring has a power of two cells and uses all but one. */
static bool is_capacity(uint64_t number)
{
    return ((number + 1) & number) == 0;
}

static bool read_options(struct options *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"milliseconds", required_argument, NULL, 'm'},
        {"repetitions", required_argument, NULL, 'r'},
        {"capacity", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    uint64_t number = 0;
    int option;
    bool good = true;

    while (good && (option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'm':
            good = read_number(optarg, 1, MILLISECONDS_MAX, &number);
            options->milliseconds = (unsigned)number;
            break;
        case 'r':
            good = read_number(optarg, 1, REPETITIONS_MAX, &number);
            options->repetitions = (unsigned)number;
            break;
        case 'c':
            good = read_number(optarg, 1, CAPACITY_MAX, &number) &&
                   is_capacity(number);
            options->capacity = (size_t)number;
            break;
        case 'j':
            options->json = true;
            break;
        default:
            good = false;
        }
    }
    return good && optind == argc;
}

int main(int argc, char **argv)
{
    struct options options = {
        .milliseconds = 200, .repetitions = 11, .capacity = 1023};

    if (!read_options(&options, argc, argv)) {
        fprintf(stderr,
            "usage: queue-bench [--milliseconds N] [--repetitions N] "
            "[--capacity N] [--json]\n"
            "       1 to %d milliseconds a run, 1 to %d repetitions; a "
            "capacity "
            "is a power of two less one, up to %d\n",
            MILLISECONDS_MAX, REPETITIONS_MAX, CAPACITY_MAX);
        return EXIT_USAGE;
    }
    measure_all(&options);
    if (options.json) {
        print_json(&options);
    } else {
        print_text(&options);
    }
    return EXIT_SUCCESS;
}
