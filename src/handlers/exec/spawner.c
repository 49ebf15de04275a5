#include "handlers/exec/spawner.h"

#include "handlers/exec/spawner_message.h"
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
    REPLY_WAIT_MS = 10 * 1000,
    STOP_WAIT_MS = 5 * 1000,
};

struct hcs_spawner {
    pid_t pid;
    pthread_mutex_t lock; /* of the rest; held from a command to its reply */
    int socket; /* -1: the spawner is dead, or did not reply in time */
    union {
        struct hcs_spawner_command head;
        char bytes[HCS_COMMAND_MAX];
    } command;
};

/* False when the spawner sends nothing in time. A signal would begin the wait
 * anew, but the daemon's threads get none that interrupts poll. */
static bool wait_readable(int socket, int wait_ms)
{
    struct pollfd fd = {.fd = socket, .events = POLLIN};
    int n;

    do {
        n = poll(&fd, 1, wait_ms);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

static int receive(int socket, struct hcs_spawner_reply *reply)
{
    ssize_t n;

    if (!wait_readable(socket, REPLY_WAIT_MS)) {
        return -EPIPE;
    }
    do {
        n = recv(socket, reply, sizeof(*reply), 0);
    } while (n < 0 && errno == EINTR);
    return n == sizeof(*reply) ? 0 : -EPIPE;
}

/* --- Commands. */

/* Sends three descriptors along, unless ends is NULL. */
static int send_command(
    int socket, void *command, size_t bytes, const int *ends)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control = {0};
    struct iovec part = {command, bytes};
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

/* Sends the command and receives its reply, under the lock. 0, or -errno when
 * there is no reply. When the kernel does not take the message, the spawner has
 * not seen it, and later commands may still succeed. */
static int call(struct hcs_spawner *spawner, size_t bytes, const int *ends,
    struct hcs_spawner_reply *reply)
{
    int rc = -EPIPE;

    *reply = (struct hcs_spawner_reply){.step = HCS_SPAWN_REQUEST};
    if (spawner->socket < 0) {
        return -EPIPE;
    }
    rc = send_command(spawner->socket, &spawner->command, bytes, ends);
    if (rc == -ENOMEM || rc == -ENOBUFS || rc == -ETOOMANYREFS) {
        return rc;
    }
    if (rc == 0) {
        rc = receive(spawner->socket, reply);
    }
    if (rc != 0) {
        /* The spawner sees the end of the socket, ends all programs and
         * exits. */
        close(spawner->socket);
        spawner->socket = -1;
        *reply = (struct hcs_spawner_reply){.step = HCS_SPAWN_REQUEST};
        rc = -EPIPE;
    }
    return rc;
}

/* False when there is no room. */
static bool put_text(
    struct hcs_spawner_command *head, char *texts, const char *text)
{
    size_t bytes = strlen(text) + 1;

    if (bytes > HCS_SPAWN_TEXT_MAX - head->text_bytes) {
        return false;
    }
    memcpy(texts + head->text_bytes, text, bytes);
    head->text_bytes += bytes;
    return true;
}

/* Gives the size of the command, or 0 when the texts do not fit. */
static size_t write_command(
    struct hcs_spawner *spawner, const struct hcs_spawn *spawn)
{
    struct hcs_spawner_command *head = &spawner->command.head;
    char *groups = spawner->command.bytes + sizeof(*head);
    char *texts = groups + spawn->group_count * sizeof(gid_t);

    if (spawn->group_count > HCS_SPAWN_GROUPS_MAX) {
        return 0;
    }
    *head = (struct hcs_spawner_command){
        .kind = HCS_COMMAND_SPAWN,
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
    for (; spawn->argv[head->argument_count] != NULL; head->argument_count++) {
        if (head->argument_count == HCS_SPAWN_ARGUMENTS_MAX ||
            !put_text(head, texts, spawn->argv[head->argument_count])) {
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
    struct hcs_spawner_reply reply;
    size_t bytes;
    int rc;

    *step = HCS_SPAWN_REQUEST;
    pthread_mutex_lock(&spawner->lock);
    bytes = write_command(spawner, spawn);
    rc = bytes > 0 ? call(spawner, bytes, spawn->ends, &reply) : -E2BIG;
    pthread_mutex_unlock(&spawner->lock);
    if (rc == 0) {
        *step = reply.step;
        *program = reply.program;
        rc = reply.error;
    }
    return rc;
}

int hcs_spawner_end(struct hcs_spawner *spawner, struct hcs_spawned program,
    unsigned grace_ms, struct hcs_spawn_status *status)
{
    struct hcs_spawner_reply reply;
    int rc;

    pthread_mutex_lock(&spawner->lock);
    spawner->command.head = (struct hcs_spawner_command){
        .kind = HCS_COMMAND_END,
        .number = program.number,
        .grace_ms = grace_ms,
    };
    rc = call(spawner, sizeof(spawner->command.head), NULL, &reply);
    pthread_mutex_unlock(&spawner->lock);
    if (rc == 0) {
        rc = reply.error;
    }
    *status = rc == 0 ? reply.status
                      : (struct hcs_spawn_status){.end = HCS_SPAWN_KILLED};
    return rc;
}

/* --- The process. */

/* Sets spawner->pid and spawner->socket. */
static int fork_spawner(struct hcs_spawner *spawner)
{
    struct hcs_spawner_reply reply;
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
        rc = receive(ends[0], &reply);
        rc = rc == 0 ? reply.error : rc;
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
    rc = fork_spawner(spawner);
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
    bool has_ended = true;

    if (spawner == NULL) {
        return;
    }
    if (spawner->socket >= 0) {
        /* The spawner closes its end when all programs have ended. After that
         * it exits at once, so waitpid does not block. */
        (void)shutdown(spawner->socket, SHUT_WR);
        has_ended = wait_readable(spawner->socket, STOP_WAIT_MS);
        close(spawner->socket);
    }
    /* A spawner that did not reply in time may hang: then init reaps it. */
    (void)waitpid(
        spawner->pid, NULL, has_ended && spawner->socket >= 0 ? 0 : WNOHANG);
    pthread_mutex_destroy(&spawner->lock);
    free(spawner);
}
