/*
 * probe - a module that does what its settings and its jobs' queries say, for
 * test_modules.py, which builds it by hand as an author would.
 *
 *   text, count, share, pause, room   a setting of each type
 *   label         may be given more than once
 *   diary=FILE    gets a line for each call but run
 *   await=FILE    open returns once that file is there
 *   await_worker=FILE   so does open_worker
 *   then=fail     open fails and says why, in two lines; then=mute: says
 *                 nothing; then=figure, then=help: makes a figure with a bad
 *                 name, a bad help
 *   worker=N      open_worker fails on that one
 *
 * A job's query is one of the names in ACTIONS, some with "=" and an argument.
 */
#include <cjson/cJSON.h>
#include <hcs/handler.h>
#include <hcs/json.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LABELS_MAX = 4, QUERY_MAX = 255, LONGEST_WAIT_MS = 60000 };

struct probe {
    struct hcs_mount *mount;
    const char *text;
    int64_t count;
    double share;
    uint64_t pause_ns;
    uint64_t room_bytes;
    const char *labels[LABELS_MAX];
    size_t label_count;
    const char *await;
    const char *await_worker;
    const char *then;
    int64_t bad_worker;
    int diary;
    atomic_uint met;
    struct hcs_metric *runs;
    struct hcs_metric *level;
};

struct worker {
    unsigned index;
    unsigned jobs;
    pthread_t thread;
};

static void note(const struct probe *probe, const char *what, int number)
{
    if (probe->diary >= 0) {
        (void)dprintf(probe->diary, "%s %d\n", what, number);
    }
}

static void nap(void)
{
    struct timespec pause = {.tv_nsec = 2000000};

    (void)nanosleep(&pause, NULL);
}

/* Until the file is there; not at all without one. */
static void await_file(const char *file)
{
    for (int waited = 0;
         file != NULL && waited < LONGEST_WAIT_MS && access(file, F_OK) != 0;
         waited += 2) {
        nap();
    }
}

/* --- Its life. */

static bool read_settings(struct probe *probe, struct hcs_mount *mount)
{
    const char *diary = NULL;
    size_t cursor = 0;

    while (probe->label_count < LABELS_MAX) {
        const char *label = hcs_mount_next(mount, "label", &cursor);

        if (label == NULL) {
            break;
        }
        probe->labels[probe->label_count++] = label;
    }
    if (!hcs_mount_text(mount, "text", &probe->text) ||
        !hcs_mount_integer(mount, "count", -5, 100, &probe->count) ||
        !hcs_mount_number(mount, "share", 0, 1, &probe->share) ||
        !hcs_mount_duration(
            mount, "pause", 1000000, 3600000000000, &probe->pause_ns) ||
        !hcs_mount_size(mount, "room", 1024, 1 << 20, &probe->room_bytes) ||
        !hcs_mount_text(mount, "await", &probe->await) ||
        !hcs_mount_text(mount, "await_worker", &probe->await_worker) ||
        !hcs_mount_text(mount, "then", &probe->then) ||
        !hcs_mount_integer(mount, "worker", 0, 1000, &probe->bad_worker) ||
        !hcs_mount_text(mount, "diary", &diary)) {
        return false;
    }
    if (diary != NULL) {
        probe->diary =
            open(diary, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (probe->diary < 0) {
            hcs_mount_fail(mount, "diary=%s: cannot be written", diary);
            return false;
        }
    }
    return true;
}

static bool come_up(struct probe *probe, struct hcs_mount *mount)
{
    bool figure = strcmp(probe->then, "figure") == 0;
    bool help = strcmp(probe->then, "help") == 0;

    await_file(probe->await);
    probe->runs = hcs_mount_metric(mount, HCS_COUNTER, "runs_total", "Runs.");
    probe->level = hcs_mount_metric(mount, HCS_GAUGE,
        figure ? "Level" : "level", help ? "Two\nlines." : "As it was set.");
    if (strcmp(probe->then, "fail") == 0) {
        hcs_mount_fail(mount, "the probe fails,\nas it was told");
        hcs_mount_fail(mount, "a second reason, which nobody asks for");
    }
    return strcmp(probe->then, "fail") != 0 &&
           strcmp(probe->then, "mute") != 0 && !figure && !help;
}

static int open_probe(void **self, struct hcs_mount *mount)
{
    struct probe *probe = calloc(1, sizeof(*probe));

    if (probe == NULL) {
        return -1;
    }
    probe->mount = mount;
    probe->text = "none";
    probe->share = 0.5;
    probe->then = "";
    probe->bad_worker = -1;
    probe->diary = -1;
    if (!read_settings(probe, mount) || !come_up(probe, mount)) {
        if (probe->diary >= 0) {
            close(probe->diary);
        }
        free(probe);
        return -1;
    }
    note(probe, "open", (int)hcs_mount_workers(mount));
    hcs_mount_log(
        mount, HCS_INFO, "the probe of %s is open", hcs_mount_path(mount));
    *self = probe;
    return 0;
}

static int open_worker(void *self, unsigned index, void **state)
{
    const struct probe *probe = self;
    struct worker *worker;

    await_file(probe->await_worker);
    if (probe->bad_worker == (int64_t)index) {
        hcs_mount_fail(probe->mount, "worker %u fails as it was told", index);
        return -1;
    }
    worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        return -1;
    }
    worker->index = index;
    worker->thread = pthread_self();
    *state = worker;
    note(probe, "open_worker", (int)index);
    return 0;
}

static void close_worker(void *self, void *state)
{
    struct worker *worker = state;
    bool same = pthread_equal(worker->thread, pthread_self()) != 0;

    note(self, same ? "close_worker" : "close_worker elsewhere",
        (int)worker->index);
    free(worker);
}

static void close_probe(void *self)
{
    struct probe *probe = self;

    note(probe, "close", 0);
    if (probe->diary >= 0) {
        close(probe->diary);
    }
    free(probe);
}

/* --- Its jobs. */

typedef enum hcs_outcome action_fn(
    struct probe *probe, struct hcs_job *job, const char *argument);

static enum hcs_outcome say(struct hcs_job *job, const char *text)
{
    return hcs_job_write(job, text, strlen(text)) ? HCS_OK : HCS_NO_MEMORY;
}

static enum hcs_outcome show_settings(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    cJSON *reply = cJSON_CreateObject();
    cJSON *labels = cJSON_AddArrayToObject(reply, "labels");

    (void)argument;
    (void)cJSON_AddStringToObject(reply, "text", probe->text);
    (void)cJSON_AddNumberToObject(reply, "count", (double)probe->count);
    (void)cJSON_AddNumberToObject(reply, "share", probe->share);
    (void)cJSON_AddNumberToObject(reply, "pause_ns", (double)probe->pause_ns);
    (void)cJSON_AddNumberToObject(
        reply, "room_bytes", (double)probe->room_bytes);
    for (size_t i = 0; i < probe->label_count; i++) {
        (void)cJSON_AddItemToArray(
            labels, cJSON_CreateString(probe->labels[i]));
    }
    /* Not deleted: in run, trees are the job's, and go with it. */
    return hcs_job_write_json(job, reply) ? HCS_OK : HCS_NO_MEMORY;
}

/* Returns once so many jobs have met: each on a worker of its own. */
static enum hcs_outcome meet(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    unsigned all = (unsigned)strtoul(argument, NULL, 10);
    struct worker *worker = hcs_job_worker_state(job);
    char text[80];

    (void)atomic_fetch_add(&probe->met, 1);
    while (atomic_load(&probe->met) < all && !hcs_job_cancelled(job)) {
        nap();
    }
    worker->jobs++;
    (void)snprintf(text, sizeof(text),
        "{\"worker\":%u,\"jobs\":%u,\"same\":%s}", worker->index, worker->jobs,
        pthread_equal(worker->thread, pthread_self()) ? "true" : "false");
    return say(job, text);
}

static bool write_span(
    struct hcs_job *job, const char *name, const char *text, size_t length)
{
    return hcs_job_write(job, ",", 1) &&
           hcs_job_write_string(job, name, strlen(name)) &&
           hcs_job_write(job, ":", 1) &&
           (text != NULL ? hcs_job_write_string(job, text, length)
                         : hcs_job_write(job, "null", 4));
}

/* All that can be asked about a request. */
static enum hcs_outcome show_request(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    static const struct {
        const char *name;
        const char *(*get)(const struct hcs_job *job, size_t *length);
    } texts[] = {
        {"body", hcs_job_body},
        {"path", hcs_job_path},
        {"query", hcs_job_query},
        {"request_id", hcs_job_request_id},
    };
    const char *method = hcs_job_method(job);
    const char *member;
    const char *field;
    size_t length;
    bool good;

    (void)probe;
    (void)argument;
    good = hcs_job_write(job, "{\"cancelled\":", 13) &&
           say(job, hcs_job_cancelled(job) ? "true" : "false") == HCS_OK &&
           say(job, ",\"deadline\":") == HCS_OK &&
           say(job, hcs_job_deadline_ns(job) == UINT64_MAX ? "false"
                                                           : "true") == HCS_OK;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *text = texts[i].get(job, &length);

        good = good && write_span(job, texts[i].name, text, length);
    }
    field = hcs_job_field(job, "X-Colour", &length);
    good = good && write_span(job, "colour", field, length) &&
           write_span(job, "method", method, strlen(method));
    if (hcs_job_member(job, "n", &member, &length)) {
        good = good && write_span(job, "n", member, length);
    }
    return good && hcs_job_write(job, "}", 1) ? HCS_OK : HCS_NO_MEMORY;
}

/* With fields, and what is not let in among them. */
static enum hcs_outcome redirect(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    (void)probe;
    if (hcs_job_set_status(job, 303) || /* before it has its Location */
        hcs_job_add_field(job, "Location", "/x\r\nX-Evil: 1") ||
        hcs_job_add_field(job, "Content-Length", "1") ||
        hcs_job_add_field(job, "Two words", "1")) {
        return HCS_FAILED;
    }
    if (!hcs_job_add_field(job, "Location", argument) ||
        !hcs_job_add_field(job, "X-One", "1") ||
        !hcs_job_add_field(job, "X-One", "2") ||
        !hcs_job_set_status(job, 303)) {
        return HCS_FAILED;
    }
    return HCS_OK;
}

static enum hcs_outcome set_status(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    (void)probe;
    return hcs_job_set_status(job, (unsigned)strtoul(argument, NULL, 10))
               ? say(job, "{}")
               : HCS_FAILED;
}

/* Any bytes of any type. */
static enum hcs_outcome write_bytes(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    size_t count = strtoul(argument, NULL, 10);
    unsigned char *bytes = hcs_job_alloc(job, count);

    (void)probe;
    for (size_t i = 0; bytes != NULL && i < count; i++) {
        bytes[i] = (unsigned char)i;
    }
    hcs_job_set_content_type(job, "application/octet-stream");
    return bytes != NULL && hcs_job_write(job, bytes, count) ? HCS_OK
                                                             : HCS_NO_MEMORY;
}

/* After something was written, which must not be seen. */
static enum hcs_outcome end_as(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    enum hcs_outcome outcome =
        (enum hcs_outcome)strtol(argument, NULL, 10); /* also what is none */

    (void)probe;
    (void)say(job, "{\"unseen\":1}");
    (void)hcs_job_add_field(job, "X-Unseen", "1");
    hcs_job_set_detail(job, "as it was \"told\"");
    return outcome;
}

static enum hcs_outcome set_level(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    hcs_metric_set(probe->level, strtol(argument, NULL, 10));
    hcs_metric_add(NULL, 1); /* is allowed */
    return say(job, "{}");
}

static enum hcs_outcome log_line(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    hcs_mount_log(probe->mount, HCS_WARN, "%s\nand %d", argument, 2);
    hcs_mount_log(probe->mount, HCS_DEBUG, "hardly ever seen");
    return say(job, "{}");
}

static enum hcs_outcome sum(
    struct probe *probe, struct hcs_job *job, const char *argument)
{
    const cJSON *tree = hcs_job_json(job);
    double total = 0;
    cJSON *reply = cJSON_CreateObject();
    const cJSON *item;

    (void)probe;
    (void)argument;
    if (!cJSON_IsArray(tree)) {
        return HCS_INVALID;
    }
    cJSON_ArrayForEach(item, tree)
    {
        total += item->valuedouble;
    }
    (void)cJSON_AddNumberToObject(reply, "sum", total);
    return hcs_job_write_json(job, reply) ? HCS_OK : HCS_NO_MEMORY;
}

static const struct {
    const char *name;
    action_fn *act;
} ACTIONS[] = {
    {"settings", show_settings},
    {"meet=", meet},
    {"request", show_request},
    {"redirect=", redirect},
    {"status=", set_status},
    {"bytes=", write_bytes},
    {"outcome=", end_as},
    {"level=", set_level},
    {"log=", log_line},
    {"sum", sum},
};

static enum hcs_outcome run(void *self, struct hcs_job *job)
{
    struct probe *probe = self;
    size_t length;
    const char *query = hcs_job_query(job, &length);
    char copy[QUERY_MAX + 1];

    hcs_metric_add(probe->runs, 1);
    if (query == NULL || length > QUERY_MAX) {
        return say(job, "{\"probe\":true}");
    }
    memcpy(copy, query, length);
    copy[length] = '\0';
    for (size_t i = 0; i < sizeof(ACTIONS) / sizeof(ACTIONS[0]); i++) {
        size_t name_length = strlen(ACTIONS[i].name);

        if (strncmp(copy, ACTIONS[i].name, name_length) == 0) {
            return ACTIONS[i].act(probe, job, copy + name_length);
        }
    }
    hcs_job_set_detail(job, "no such action");
    return HCS_INVALID;
}

const struct hcs_handler hcs_module = {
    .abi = HCS_HANDLER_ABI,
    .size = sizeof(struct hcs_handler),
    .name = "probe",
    .open = open_probe,
    .open_worker = open_worker,
    .run = run,
    .close_worker = close_worker,
    .close = close_probe,
};
