#include "app/loops.h"

#include "app/fail.h"
#include "base/fdtable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

enum { THREAD_NAME_MAX = 16 }; /* bytes, with the NUL: pthread_setname_np(3) */

/* --- Life. */

bool hcs_loops_init(struct hcs_loops *loops, unsigned count)
{
    *loops = (struct hcs_loops){
        .shards = calloc(count, sizeof(struct hcs_shard *)),
        .threads = calloc(count, sizeof(*loops->threads)),
        .count = count,
        .ended_fd = -1,
    };
    pthread_mutex_init(&loops->lock, NULL);
    pthread_cond_init(&loops->changed, NULL);
    return loops->shards != NULL && loops->threads != NULL;
}

void hcs_loops_fini(struct hcs_loops *loops)
{
    if (loops->ended_fd >= 0) {
        close(loops->ended_fd);
    }
    pthread_cond_destroy(&loops->changed);
    pthread_mutex_destroy(&loops->lock);
    free(loops->threads);
    free(loops->shards);
}

int hcs_loops_open(struct hcs_loops *loops)
{
    loops->ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return loops->ended_fd < 0 ? -errno : 0;
}

int hcs_loops_make(struct hcs_loops *loops, struct hcs_service *service,
    struct hcs_listeners *listeners)
{
    unsigned each = hcs_listeners_each(listeners);

    loops->listeners = listeners;
    for (unsigned i = 0; i < loops->count; i++) {
        loops->shards[i] = hcs_shard_create(service, i,
            hcs_listeners_of(listeners, i), each, listeners->origin);
        if (loops->shards[i] == NULL) {
            return hcs_fail(EX_OSERR, "no memory or descriptor for loop %u", i);
        }
    }
    service->shards = loops->shards;
    return 0;
}

void hcs_loops_destroy(struct hcs_loops *loops)
{
    for (unsigned i = 0; i < loops->count; i++) {
        hcs_shard_destroy(loops->shards[i]);
        loops->shards[i] = NULL;
    }
}

/* --- A loop's thread. */

static int enter_private_table(
    const struct hcs_loops *loops, const struct hcs_shard *shard)
{
    int keep[1 + loops->kept_count + shard->listener_count + loops->count];
    size_t count = 0;

    keep[count++] = loops->ended_fd;
    for (size_t i = 0; i < loops->kept_count; i++) {
        keep[count++] = loops->kept[i];
    }
    for (unsigned i = 0; i < shard->listener_count; i++) {
        keep[count++] = shard->listeners[i].fd;
    }
    /* Every loop's doorbell: a loop that finds another loop's dead entry in the
     * queue rings there, and a client must not get that number. */
    for (unsigned i = 0; i < loops->count; i++) {
        keep[count++] = loops->shards[i]->mailbox.fd;
    }
    return hcs_fdtable_make_private(keep, count, loops->highest_fd);
}

/* Nobody cancels a thread here. For programs that do, glibc (2.36, for one) marks
 * the beginning and the end of each read, send and wait with a locked
 * instruction. A thread that may be cancelled anywhere needs no such marks. So
 * the thread says that it is of that type, after it has said that it may not be
 * cancelled. */
static void rule_out_cancellation(void)
{
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
}

static void set_name(unsigned index)
{
    char name[THREAD_NAME_MAX];

    (void)snprintf(name, sizeof(name), "hcsd-loop-%u", index);
    (void)pthread_setname_np(pthread_self(), name);
}

/* Tells main how the thread opened, and waits for main. True: serve. */
static bool await_go(struct hcs_loops *loops, int rc, int table_error)
{
    bool go;

    pthread_mutex_lock(&loops->lock);
    if (table_error != 0) {
        loops->table_error = table_error;
        loops->shared++;
    }
    if (rc == 0) {
        loops->opened++;
    } else {
        loops->failed++;
        loops->error = rc;
    }
    pthread_cond_broadcast(&loops->changed);
    while (!loops->go && loops->failed == 0) {
        pthread_cond_wait(&loops->changed, &loops->lock);
    }
    go = loops->go;
    pthread_mutex_unlock(&loops->lock);
    return go;
}

static void *loop_main(void *argument)
{
    struct hcs_loop_thread *thread = argument;
    struct hcs_loops *loops = thread->loops;
    struct hcs_shard *shard = thread->shard;
    int table_error = 0;
    int rc;

    set_name(shard->index);
    rule_out_cancellation();
    if (loops->private_tables) {
        table_error = enter_private_table(loops, shard);
    }
    rc = hcs_shard_open(shard);
    if (!await_go(loops, rc, table_error)) {
        hcs_shard_command(shard, HCS_COMMAND_CUT);
    }
    if (rc == 0) {
        hcs_shard_run(shard);
        if (!loops->private_tables || table_error != 0) {
            /* The loop has closed them, and main has the same numbers. Main
             * looks at them after it has joined this thread. */
            hcs_listeners_forget(loops->listeners, shard->index);
        }
    }
    (void)eventfd_write(loops->ended_fd, 1);
    return NULL;
}

/* --- Start. */

static int highest_fd(const struct hcs_loops *loops, int highest)
{
    int listener = hcs_listeners_highest(loops->listeners);

    highest = loops->ended_fd > highest ? loops->ended_fd : highest;
    highest = listener > highest ? listener : highest;
    for (unsigned i = 0; i < loops->count; i++) {
        int bell = loops->shards[i]->mailbox.fd;

        highest = bell > highest ? bell : highest;
    }
    return highest;
}

static int start_threads(struct hcs_loops *loops)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < loops->count; i++) {
        struct hcs_loop_thread *thread = &loops->threads[i];

        thread->loops = loops;
        thread->shard = loops->shards[i];
        rc = -pthread_create(&thread->id, NULL, loop_main, thread);
        if (rc == 0) {
            loops->started++;
        }
    }
    return rc;
}

/* With the lock. */
static void fail(struct hcs_loops *loops, int error)
{
    loops->failed++;
    loops->error = error;
    pthread_cond_broadcast(&loops->changed);
}

int hcs_loops_start(struct hcs_loops *loops, bool private_tables,
    const int *kept, size_t kept_count, int highest)
{
    int rc;

    loops->private_tables = private_tables;
    loops->kept = kept;
    loops->kept_count = kept_count;
    loops->highest_fd = highest_fd(loops, highest);
    rc = start_threads(loops);
    pthread_mutex_lock(&loops->lock);
    if (rc != 0) {
        fail(loops, rc);
    }
    while (loops->opened < loops->count && loops->failed == 0) {
        pthread_cond_wait(&loops->changed, &loops->lock);
    }
    if (loops->failed == 0 && loops->shared > 0 &&
        loops->shared < loops->count) {
        /* Private tables are not forbidden, then: one loop lacked memory. Main
         * has one rule for its copies of all loops' listeners. */
        fail(loops, loops->table_error);
    }
    rc = loops->failed > 0 ? loops->error : 0;
    pthread_mutex_unlock(&loops->lock);
    return rc;
}

bool hcs_loops_are_private(const struct hcs_loops *loops)
{
    return loops->private_tables && loops->table_error == 0;
}

void hcs_loops_run(struct hcs_loops *loops)
{
    pthread_mutex_lock(&loops->lock);
    loops->go = true;
    pthread_cond_broadcast(&loops->changed);
    pthread_mutex_unlock(&loops->lock);
}

/* --- End. */

void hcs_loops_call_off(struct hcs_loops *loops)
{
    pthread_mutex_lock(&loops->lock);
    fail(loops, -ECANCELED);
    pthread_mutex_unlock(&loops->lock);
}

void hcs_loops_command(struct hcs_loops *loops, enum hcs_command command)
{
    for (unsigned i = 0; i < loops->count; i++) {
        hcs_shard_command(loops->shards[i], command);
    }
}

bool hcs_loops_have_ended(struct hcs_loops *loops)
{
    eventfd_t count;

    if (eventfd_read(loops->ended_fd, &count) == 0) {
        loops->ended += (unsigned)count;
    }
    return loops->ended >= loops->started;
}

void hcs_loops_join(struct hcs_loops *loops)
{
    for (unsigned i = 0; i < loops->started; i++) {
        pthread_join(loops->threads[i].id, NULL);
    }
    loops->started = 0;
}
