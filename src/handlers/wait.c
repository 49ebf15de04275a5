#include "handlers/builtin.h"
#include "handlers/work.h"

#include <assert.h>
#include <bsd/sys/queue.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Jobs that wait hold no worker: each is deferred, and its token is in a queue
 * until its time has come. All wait equally long, so the queue is in the order
 * of their times, and one thread looks at its first entry. When the queue has
 * doubled, the entries of clients that have left are removed. So it stays in
 * proportion to the jobs that wait, even if clients come and go all day. */

enum {
    SECOND_NS = 1000000000,
    BLOCK_ENTRIES = 255,
    BATCH = 64,
    FEW = 4 * BLOCK_ENTRIES, /* a queue so short is not cleaned */
};

static const uint64_t LONGEST_NS = 24 * 3600 * UINT64_C(1000000000);

struct entry {
    uint64_t due_ns;
    struct hcs_token token;
};

struct block {
    STAILQ_ENTRY(block) link;
    unsigned first; /* entries from first to end are in the queue */
    unsigned end;
    struct entry entries[BLOCK_ENTRIES];
};

STAILQ_HEAD(block_list, block);

struct wait {
    struct hcs_mount *mount;
    uint64_t ns;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    struct block_list blocks;
    size_t count;       /* of entries */
    size_t clean_above; /* the queue is cleaned when it has more entries */
    bool sleeps;        /* the thread waits for an entry */
    bool ending;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* --- The queue. Under the lock. */

static struct block *last_block(struct wait *wait)
{
    /* The macro uses a statement as an expression (GNU C). */
    return __extension__ STAILQ_LAST(&wait->blocks, block, link);
}

/* Makes room for one more entry. False when there is no memory. */
static bool make_room(struct wait *wait)
{
    struct block *block = last_block(wait);

    if (block != NULL && block->end < BLOCK_ENTRIES) {
        return true;
    }
    block = malloc(sizeof(*block));
    if (block == NULL) {
        return false;
    }
    block->first = 0;
    block->end = 0;
    STAILQ_INSERT_TAIL(&wait->blocks, block, link);
    return true;
}

static const struct entry *first_entry(const struct wait *wait)
{
    const struct block *block = STAILQ_FIRST(&wait->blocks);

    return block != NULL && block->first < block->end
               ? &block->entries[block->first]
               : NULL;
}

static void drop_first(struct wait *wait)
{
    struct block *block = STAILQ_FIRST(&wait->blocks);

    wait->count--;
    block->first++;
    if (block->first == BLOCK_ENTRIES) {
        STAILQ_REMOVE_HEAD(&wait->blocks, link);
        free(block);
    } else if (block->first == block->end && STAILQ_NEXT(block, link) == NULL) {
        block->first = 0; /* empty: filled from its start again */
        block->end = 0;
    }
}

static void free_all(struct wait *wait)
{
    struct block *block;

    while ((block = STAILQ_FIRST(&wait->blocks)) != NULL) {
        STAILQ_REMOVE_HEAD(&wait->blocks, link);
        free(block);
    }
}

static void free_behind(struct wait *wait, struct block *block)
{
    struct block *next;

    while ((next = STAILQ_NEXT(block, link)) != NULL) {
        STAILQ_REMOVE_AFTER(&wait->blocks, block, link);
        free(next);
    }
}

/* Removes the entries whose clients do not wait any more; the others keep their
 * order. An entry moves only towards the first block, so the blocks are reused
 * in place. */
static void clean(struct wait *wait)
{
    struct block *to = STAILQ_FIRST(&wait->blocks);
    struct block *from;
    unsigned filled = 0;

    assert(to != NULL); /* there are more than a few entries */
    wait->count = 0;
    STAILQ_FOREACH (from, &wait->blocks, link) {
        unsigned end = from->end;

        for (unsigned i = from->first; i < end; i++) {
            if (!hcs_mount_awaits(wait->mount, from->entries[i].token)) {
                continue;
            }
            if (filled == BLOCK_ENTRIES) {
                to->first = 0;
                to->end = filled;
                to = STAILQ_NEXT(to, link);
                assert(to != NULL); /* it is from, or before it */
                filled = 0;
            }
            to->entries[filled++] = from->entries[i];
            wait->count++;
        }
    }
    to->first = 0;
    to->end = filled;
    free_behind(wait, to);
    wait->clean_above = 2 * wait->count + FEW;
}

static void add(struct wait *wait, const struct entry *entry)
{
    struct block *block = last_block(wait);

    block->entries[block->end++] = *entry;
    wait->count++;
    if (wait->count > wait->clean_above) {
        clean(wait);
    }
}

/* --- The thread. */

static void answer(const struct wait *wait, struct hcs_token token)
{
    struct hcs_job *job = hcs_mount_resume(wait->mount, token);

    if (job != NULL) { /* else the client does not wait any more */
        hcs_job_complete(job, hcs_work_reply(job));
    }
}

/* Takes tokens whose time has come, at most BATCH. */
static unsigned take_due(
    struct wait *wait, uint64_t now, struct hcs_token tokens[BATCH])
{
    const struct entry *entry = first_entry(wait);
    unsigned count = 0;

    while (entry != NULL && entry->due_ns <= now && count < BATCH) {
        tokens[count++] = entry->token;
        drop_first(wait);
        entry = first_entry(wait);
    }
    return count;
}

/* Waits until the first entry is due; without one, until there is one. */
static void sleep_until_due(struct wait *wait)
{
    const struct entry *entry = first_entry(wait);
    struct timespec at;

    if (entry == NULL) {
        wait->sleeps = true;
        (void)pthread_cond_wait(&wait->changed, &wait->lock);
        wait->sleeps = false;
        return;
    }
    at.tv_sec = (time_t)(entry->due_ns / SECOND_NS);
    at.tv_nsec = (long)(entry->due_ns % SECOND_NS);
    (void)pthread_cond_timedwait(&wait->changed, &wait->lock, &at);
}

static void *thread_main(void *argument)
{
    struct wait *wait = argument;

    pthread_mutex_lock(&wait->lock);
    while (!wait->ending) {
        struct hcs_token tokens[BATCH];
        unsigned count = take_due(wait, now_ns(), tokens);

        if (count == 0) {
            sleep_until_due(wait);
            continue;
        }
        pthread_mutex_unlock(&wait->lock);
        for (unsigned i = 0; i < count; i++) {
            answer(wait, tokens[i]);
        }
        pthread_mutex_lock(&wait->lock);
    }
    pthread_mutex_unlock(&wait->lock);
    return NULL;
}

/* --- The handler. */

static void init_changed(pthread_cond_t *changed)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static int open_wait(void **self, struct hcs_mount *mount)
{
    struct wait *wait = calloc(1, sizeof(*wait));
    int rc;

    if (wait == NULL) {
        hcs_mount_fail(mount, "out of memory");
        return -1;
    }
    wait->mount = mount;
    STAILQ_INIT(&wait->blocks);
    wait->clean_above = FEW;
    if (!hcs_work_duration(mount, LONGEST_NS,
            "wait needs a duration of at most 24h, such as wait:120s",
            &wait->ns)) {
        free(wait);
        return -1;
    }
    pthread_mutex_init(&wait->lock, NULL);
    init_changed(&wait->changed);
    rc = pthread_create(&wait->thread, NULL, thread_main, wait);
    if (rc != 0) {
        hcs_mount_fail(mount, "cannot start a thread: %s", strerror(rc));
        pthread_cond_destroy(&wait->changed);
        pthread_mutex_destroy(&wait->lock);
        free(wait);
        return -1;
    }
    (void)pthread_setname_np(wait->thread, "hcsd-wait");
    *self = wait;
    return 0;
}

static enum hcs_outcome defer(struct wait *wait, struct hcs_job *job)
{
    enum hcs_outcome outcome = HCS_NO_MEMORY;
    struct entry entry;

    pthread_mutex_lock(&wait->lock);
    if (make_room(wait) && hcs_job_defer(job, &entry.token)) {
        entry.due_ns = now_ns() + wait->ns; /* under the lock: in order */
        add(wait, &entry);
        if (wait->sleeps) {
            wait->sleeps = false; /* one signal is enough */
            (void)pthread_cond_signal(&wait->changed);
        }
        outcome = HCS_PENDING;
    }
    pthread_mutex_unlock(&wait->lock);
    return outcome;
}

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    enum hcs_outcome outcome = hcs_work_check(job);

    return outcome == HCS_OK ? defer(self, job) : outcome;
}

static void close_wait(void *self)
{
    struct wait *wait = self;

    pthread_mutex_lock(&wait->lock);
    wait->ending = true;
    (void)pthread_cond_signal(&wait->changed);
    pthread_mutex_unlock(&wait->lock);
    pthread_join(wait->thread, NULL);
    free_all(wait);
    pthread_cond_destroy(&wait->changed);
    pthread_mutex_destroy(&wait->lock);
    free(wait);
}

const struct hcs_handler hcs_wait = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .flags = HCS_HANDLER_BRIEF,
    .name = "wait",
    .open = open_wait,
    .run = run,
    .close = close_wait,
};
