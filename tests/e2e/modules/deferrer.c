/*
 * deferrer - a module that answers later, or not at all, as a test tells it.
 *
 * The body of a job says what to do: {"do": "keep"}. Tokens and jobs that it
 * keeps are those of other jobs, which later ones resume and finish.
 */
#include <hcs/handler.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEPT_MOST = 1024 };

struct deferrer {
    struct hcs_mount *mount;
    pthread_mutex_t lock; /* of all below */
    unsigned tokens_kept;
    unsigned jobs_held;
    bool let_go;
    struct hcs_token tokens[KEPT_MOST];
    struct hcs_job *jobs[KEPT_MOST]; /* resumed, not yet completed */
};

static bool write_text(struct hcs_job *job, const char *text)
{
    return hcs_job_write(job, text, strlen(text));
}

/* What a job that was resumed is answered: its data, by way of the tree, so
 * that it needs an arena of its own. */
static enum hcs_outcome answer(struct hcs_job *job)
{
    size_t length;
    const char *data;
    char *copy;

    if (hcs_job_worker_state(job) != NULL) {
        return HCS_FAILED; /* no worker runs it */
    }
    if (!hcs_job_member(job, "data", &data, &length)) {
        return write_text(job, "{\"late\":true}") ? HCS_OK : HCS_NO_MEMORY;
    }
    copy = hcs_job_alloc(job, length);
    if (copy == NULL || hcs_job_json(job) == NULL) {
        return HCS_NO_MEMORY;
    }
    memcpy(copy, data, length);
    return write_text(job, "{\"late\":") && hcs_job_write(job, copy, length) &&
                   write_text(job, "}")
               ? HCS_OK
               : HCS_NO_MEMORY;
}

static void keep(struct deferrer *self, struct hcs_token token)
{
    pthread_mutex_lock(&self->lock);
    if (self->tokens_kept < KEPT_MOST) {
        self->tokens[self->tokens_kept++] = token;
    }
    pthread_mutex_unlock(&self->lock);
}

static void hold(struct deferrer *self, struct hcs_token token)
{
    struct hcs_job *job = hcs_mount_resume(self->mount, token);

    pthread_mutex_lock(&self->lock);
    if (job != NULL && self->jobs_held < KEPT_MOST) {
        self->jobs[self->jobs_held++] = job;
    }
    pthread_mutex_unlock(&self->lock);
}

/* --- What a job does that tells what becomes of the others. */

static enum hcs_outcome say(
    struct hcs_job *job, const char *what, unsigned done, unsigned dead)
{
    char text[80];
    int length = snprintf(
        text, sizeof(text), "{\"%s\":%u,\"dead\":%u}", what, done, dead);

    return hcs_job_write(job, text, (size_t)length) ? HCS_OK : HCS_NO_MEMORY;
}

/* Each token that was ever kept, also when it is dead. */
static enum hcs_outcome resume_all(struct deferrer *self, struct hcs_job *job)
{
    unsigned resumed = 0;
    unsigned dead = 0;

    pthread_mutex_lock(&self->lock);
    for (unsigned i = 0; i < self->tokens_kept; i++) {
        bool alive = hcs_mount_awaits(self->mount, self->tokens[i]);
        struct hcs_job *other = hcs_mount_resume(self->mount, self->tokens[i]);

        if (other != NULL && alive) {
            hcs_job_complete(other, answer(other));
            resumed++;
        } else if (other == NULL) {
            dead++;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return say(job, "resumed", resumed, dead);
}

static enum hcs_outcome hold_all(struct deferrer *self, struct hcs_job *job)
{
    for (unsigned i = 0; i < self->tokens_kept; i++) {
        hold(self, self->tokens[i]);
    }
    return say(job, "held", self->jobs_held, 0);
}

static enum hcs_outcome finish_all(struct deferrer *self, struct hcs_job *job)
{
    unsigned finished = 0;
    unsigned cancelled = 0;

    pthread_mutex_lock(&self->lock);
    while (self->jobs_held > 0) {
        struct hcs_job *other = self->jobs[--self->jobs_held];

        cancelled += hcs_job_cancelled(other);
        hcs_job_complete(other, answer(other));
        finished++;
    }
    pthread_mutex_unlock(&self->lock);
    return say(job, "finished", finished, cancelled);
}

/* --- What a job does with itself. */

struct early {
    struct deferrer *self;
    struct hcs_token token;
    bool second_was_refused;
};

static void *complete_early(void *argument)
{
    struct early *early = argument;
    struct hcs_job *job = hcs_mount_resume(early->self->mount, early->token);

    early->second_was_refused =
        hcs_mount_resume(early->self->mount, early->token) == NULL;
    if (job != NULL) {
        hcs_job_complete(
            job, early->second_was_refused ? answer(job) : HCS_FAILED);
    }
    return NULL;
}

/* Another thread has done it all before run returns. */
static enum hcs_outcome be_early(
    struct deferrer *self, struct hcs_token token, enum hcs_outcome outcome)
{
    struct early early = {.self = self, .token = token};
    pthread_t thread;

    if (pthread_create(&thread, NULL, complete_early, &early) != 0) {
        return HCS_FAILED;
    }
    pthread_join(thread, NULL);
    return outcome;
}

/* Until nobody waits any more. */
static void await_cancel(const struct hcs_job *job)
{
    while (!hcs_job_cancelled(job)) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* Whatever becomes of its client. */
static enum hcs_outcome be_stuck(struct deferrer *self, struct hcs_job *job)
{
    bool go = false;

    while (!go) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        pthread_mutex_lock(&self->lock);
        go = self->let_go;
        pthread_mutex_unlock(&self->lock);
    }
    return answer(job);
}

static enum hcs_outcome let_go(struct deferrer *self, struct hcs_job *job)
{
    pthread_mutex_lock(&self->lock);
    self->let_go = true;
    pthread_mutex_unlock(&self->lock);
    return say(job, "let_go", 1, 0);
}

static bool is(const char *wanted, const char *text, size_t length)
{
    return length == strlen(wanted) + 2 && text[0] == '"' &&
           memcmp(text + 1, wanted, length - 2) == 0;
}

static enum hcs_outcome run(void *context, struct hcs_job *job)
{
    struct deferrer *self = context;
    struct hcs_token token;
    const char *what;
    size_t length;

    if (!hcs_job_member(job, "do", &what, &length)) {
        return HCS_INVALID;
    }
    if (is("resume", what, length)) {
        return resume_all(self, job);
    }
    if (is("hold", what, length)) {
        return hold_all(self, job);
    }
    if (is("finish", what, length)) {
        return finish_all(self, job);
    }
    if (is("be stuck", what, length)) {
        return be_stuck(self, job);
    }
    if (is("let go", what, length)) {
        return let_go(self, job);
    }
    if (is("pend without a token", what, length)) {
        return HCS_PENDING;
    }
    if (is("withdraw", what, length) &&
        !write_text(job, "{\"withdrawn\":true}")) {
        return HCS_NO_MEMORY;
    }
    if (is("defer when it is cancelled", what, length)) {
        await_cancel(job);
    }
    if (!hcs_job_defer(job, &token)) {
        return HCS_NO_MEMORY;
    }
    keep(self, token);
    if (is("withdraw", what, length)) {
        return HCS_OK;
    }
    if (is("fail", what, length)) {
        return HCS_FAILED;
    }
    if (is("complete early", what, length)) {
        return be_early(self, token, HCS_PENDING);
    }
    if (is("complete early and withdraw", what, length)) {
        return be_early(self, token, HCS_FAILED); /* which does not count */
    }
    if (is("be held early", what, length)) {
        hold(self, token);
    }
    if (is("be held early and withdraw", what, length)) {
        hold(self, token);
        return HCS_FAILED; /* likewise */
    }
    if (is("stay until it is cancelled", what, length)) {
        await_cancel(job);
    }
    return HCS_PENDING; /* "keep" */
}

static int open_self(void **self, struct hcs_mount *mount)
{
    struct deferrer *made = calloc(1, sizeof(*made));

    if (made == NULL) {
        hcs_mount_fail(mount, "out of memory");
        return -1;
    }
    made->mount = mount;
    pthread_mutex_init(&made->lock, NULL);
    *self = made;
    return 0;
}

static int open_worker(void *self, unsigned worker, void **state)
{
    (void)worker;
    *state = self; /* anything that is not NULL */
    return 0;
}

static void close_self(void *context)
{
    struct deferrer *self = context;

    /* All are dead by now, but for those that were resumed. */
    for (unsigned i = 0; i < self->tokens_kept; i++) {
        if (hcs_mount_resume(self->mount, self->tokens[i]) != NULL) {
            hcs_mount_log(self->mount, HCS_ERROR, "a token outlived its job");
        }
    }
    while (self->jobs_held > 0) {
        hcs_job_complete(self->jobs[--self->jobs_held], HCS_FAILED);
    }
    pthread_mutex_destroy(&self->lock);
    free(self);
}

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "deferrer",
    .open = open_self,
    .open_worker = open_worker,
    .run = run,
    .close = close_self,
};
