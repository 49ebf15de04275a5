#include "handlers/exec/spawner.h"

#include "handlers/exec/spawner_process.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ANSWER_WAIT_MS = 10 * 1000,
    STOP_WAIT_MS = 5 * 1000,
};

struct hcs_spawner {
    pid_t pid;
    pthread_mutex_t lock; /* of the rest; held from an order to its answer */
    int socket;           /* -1: dead, or out of step */
    union {
        struct hcs_order head;
        char bytes[HCS_ORDER_MAX];
    } order;
};

/* Waits for the other side; false when it has nothing to say in time. A signal
 * does not prolong it: the daemon's threads have none that interrupt. */
static bool wait_readable(int socket, int wait_ms)
{
    struct pollfd fd = {.fd = socket, .events = POLLIN};
    int n;

    do {
        n = poll(&fd, 1, wait_ms);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

static int receive(int socket, struct hcs_answer *answer)
{
    ssize_t n;

    if (!wait_readable(socket, ANSWER_WAIT_MS)) {
        return -EPIPE;
    }
    do {
        n = recv(socket, answer, sizeof(*answer), 0);
    } while (n < 0 && errno == EINTR);
    return n == sizeof(*answer) ? 0 : -EPIPE;
}

/* --- Orders. */

/* With descriptors, unless ends is NULL. */
static int send_order(int socket, void *order, size_t bytes, const int *ends)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control = {0};
    struct iovec part = {order, bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n;

    if (ends != NULL) {
        struct cmsghdr *head;

        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(3 * sizeof(int));
        memcpy(CMSG_DATA(head), ends, 3 * sizeof(int));
    }
    do {
        n = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* The lock is held. 0 when answer is the answer; else it says why there is
 * none. What the kernel refuses to carry leaves both sides in step. */
static int ask(struct hcs_spawner *spawner, size_t bytes, const int *ends,
    struct hcs_answer *answer)
{
    int rc = -EPIPE;

    *answer = (struct hcs_answer){.step = HCS_SPAWN_ASK};
    if (spawner->socket < 0) {
        return -EPIPE;
    }
    rc = send_order(spawner->socket, &spawner->order, bytes, ends);
    if (rc == -ENOMEM || rc == -ENOBUFS || rc == -ETOOMANYREFS) {
        return rc;
    }
    if (rc == 0) {
        rc = receive(spawner->socket, answer);
    }
    if (rc != 0) {
        /* The process ends when it sees that, and with it the programs. */
        close(spawner->socket);
        spawner->socket = -1;
        *answer = (struct hcs_answer){.step = HCS_SPAWN_ASK};
        rc = -EPIPE;
    }
    return rc;
}

/* False when there is no room. */
static bool put_text(struct hcs_order *head, char *texts, const char *text)
{
    size_t bytes = strlen(text) + 1;

    if (bytes > HCS_SPAWN_TEXT_MAX - head->text_bytes) {
        return false;
    }
    memcpy(texts + head->text_bytes, text, bytes);
    head->text_bytes += bytes;
    return true;
}

/* Gives the number of bytes, or 0 when it does not fit. */
static size_t write_order(
    struct hcs_spawner *spawner, const struct hcs_spawn *spawn)
{
    struct hcs_order *head = &spawner->order.head;
    char *groups = spawner->order.bytes + sizeof(*head);
    char *texts = groups + spawn->group_count * sizeof(gid_t);

    if (spawn->group_count > HCS_SPAWN_GROUPS_MAX) {
        return 0;
    }
    *head = (struct hcs_order){
        .kind = HCS_ORDER_SPAWN,
        .change_user = spawn->change_user,
        .user = spawn->user,
        .group = spawn->group,
        .cpu_seconds = spawn->cpu_seconds,
        .memory_bytes = spawn->memory_bytes,
        .files = spawn->files,
        .group_count = spawn->group_count,
    };
    if (spawn->group_count > 0) {
        memcpy(groups, spawn->groups, spawn->group_count * sizeof(gid_t));
    }
    if (!put_text(head, texts, spawn->program) ||
        !put_text(
            head, texts, spawn->directory != NULL ? spawn->directory : "")) {
        return 0;
    }
    for (; spawn->words[head->word_count] != NULL; head->word_count++) {
        if (head->word_count == HCS_SPAWN_WORDS_MAX ||
            !put_text(head, texts, spawn->words[head->word_count])) {
            return 0;
        }
    }
    return sizeof(*head) + spawn->group_count * sizeof(gid_t) +
           head->text_bytes;
}

int hcs_spawner_spawn(struct hcs_spawner *spawner,
    const struct hcs_spawn *spawn, struct hcs_spawned *program,
    enum hcs_spawn_step *step)
{
    struct hcs_answer answer;
    size_t bytes;
    int rc;

    *step = HCS_SPAWN_ASK;
    pthread_mutex_lock(&spawner->lock);
    bytes = write_order(spawner, spawn);
    rc = bytes > 0 ? ask(spawner, bytes, spawn->ends, &answer) : -E2BIG;
    pthread_mutex_unlock(&spawner->lock);
    if (rc == 0) {
        *step = answer.step;
        *program = answer.program;
        rc = answer.error;
    }
    return rc;
}

int hcs_spawner_end(struct hcs_spawner *spawner, struct hcs_spawned program,
    unsigned grace_ms, struct hcs_spawn_status *status)
{
    struct hcs_answer answer;
    int rc;

    pthread_mutex_lock(&spawner->lock);
    spawner->order.head = (struct hcs_order){
        .kind = HCS_ORDER_END,
        .number = program.number,
        .grace_ms = grace_ms,
    };
    rc = ask(spawner, sizeof(spawner->order.head), NULL, &answer);
    pthread_mutex_unlock(&spawner->lock);
    if (rc == 0) {
        rc = answer.error;
    }
    *status = rc == 0 ? answer.status
                      : (struct hcs_spawn_status){.end = HCS_SPAWN_KILLED};
    return rc;
}

/* --- The process. */

/* Gives spawner->pid and spawner->socket. */
static int begin_process(struct hcs_spawner *spawner)
{
    struct hcs_answer answer;
    int ends[2];
    int rc;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return -errno;
    }
    spawner->pid = fork();
    if (spawner->pid == 0) {
        hcs_spawner_process(ends[1]);
    }
    rc = spawner->pid < 0 ? -errno : 0;
    close(ends[1]);
    if (rc == 0) {
        rc = receive(ends[0], &answer);
        rc = rc == 0 ? answer.error : rc;
        if (rc != 0) {
            (void)kill(spawner->pid, SIGKILL);
            (void)waitpid(spawner->pid, NULL, 0);
        }
    }
    if (rc != 0) {
        close(ends[0]);
        return rc;
    }
    spawner->socket = ends[0];
    return 0;
}

int hcs_spawner_start(struct hcs_spawner **out)
{
    struct hcs_spawner *spawner = malloc(sizeof(*spawner));
    int rc;

    if (spawner == NULL) {
        return -ENOMEM;
    }
    rc = begin_process(spawner);
    if (rc != 0) {
        free(spawner);
        return rc;
    }
    pthread_mutex_init(&spawner->lock, NULL);
    *out = spawner;
    return 0;
}

void hcs_spawner_stop(struct hcs_spawner *spawner)
{
    bool over = true;

    if (spawner == NULL) {
        return;
    }
    if (spawner->socket >= 0) {
        /* The other side ends its own when it is done, which is our sign that
         * waiting for the process takes no time. */
        (void)shutdown(spawner->socket, SHUT_WR);
        over = wait_readable(spawner->socket, STOP_WAIT_MS);
        close(spawner->socket);
    }
    /* One that got out of step may still hang: it is init's then. */
    (void)waitpid(
        spawner->pid, NULL, over && spawner->socket >= 0 ? 0 : WNOHANG);
    pthread_mutex_destroy(&spawner->lock);
    free(spawner);
}
