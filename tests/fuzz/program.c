#include "program.h"

#include "fake.h"
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const program_words[] = {
    [OP_SET] = "set",
    [OP_OPEN] = "open",
    [OP_SEND] = "send",
    [OP_LATE] = "late",
    [OP_FILL] = "fill",
    [OP_FIN] = "fin",
    [OP_RESET] = "reset",
    [OP_LIMIT] = "limit",
    [OP_SIP] = "sip",
    [OP_TURN] = "turn",
    [OP_INTR] = "intr",
    [OP_TAKE] = "take",
    [OP_RUN] = "run",
    [OP_PUT] = "put",
    [OP_WORK] = "work",
    [OP_TICK] = "tick",
    [OP_JUMP] = "jump",
    [OP_DRAIN] = "drain",
    [OP_STOP] = "stop",
    [OP_NOMEM] = "nomem",
    [OP_BUDGET] = "budget",
    [OP_FDS] = "fds",
    [OP_FAULT] = "fault",
};
const size_t program_word_count =
    sizeof program_words / sizeof program_words[0];

const char *const program_settings[SET_COUNT] = {
    [SET_HEADER] = "header",
    [SET_BODY] = "body",
    [SET_QUEUE] = "queue",
    [SET_CONNS] = "conns",
    [SET_READ] = "read",
    [SET_WRITE] = "write",
    [SET_IDLE] = "idle",
    [SET_DRAIN_IDLE] = "drain_idle",
    [SET_QUEUE_TIMEOUT] = "queue_timeout",
    [SET_JOB_TIMEOUT] = "job_timeout",
    [SET_HALF_CLOSE] = "half_close",
    [SET_RATE] = "rate",
    [SET_SHARED] = "shared",
};

static const char *const calls[] = {
    [CALL_READ] = "read",
    [CALL_SEND] = "send",
    [CALL_ACCEPT] = "accept",
    [CALL_WATCH] = "watch",
};

/* None that only a kernel that breaks its word would give, such as EAGAIN while
 * there is something to read. */
static const struct {
    const char *name;
    int number;
} errors[] = {
    {"EINTR", EINTR},
    {"ECONNRESET", ECONNRESET},
    {"EPIPE", EPIPE},
    {"ETIMEDOUT", ETIMEDOUT},
    {"ENOBUFS", ENOBUFS},
    {"ENOMEM", ENOMEM},
    {"EIO", EIO},
    {"EHOSTUNREACH", EHOSTUNREACH},
    {"ECONNABORTED", ECONNABORTED},
    {"EMFILE", EMFILE},
    {"ENFILE", ENFILE},
    {"EPROTO", EPROTO},
    {"EPERM", EPERM},
};

/* A line that is being read: what is left of it. */
struct rest {
    const char *at;
    const char *end;
};

/* The next word, which may be empty. One blank behind it goes with it. */
static struct rest next_word(struct rest *rest)
{
    struct rest word = {rest->at, rest->at};

    while (word.end < rest->end && *word.end != ' ') {
        word.end++;
    }
    rest->at = word.end < rest->end ? word.end + 1 : word.end;
    return word;
}

static bool is(struct rest word, const char *name)
{
    return name != NULL && (size_t)(word.end - word.at) == strlen(name) &&
           memcmp(word.at, name, strlen(name)) == 0;
}

/* Its place in the names; count when it is none of them. */
static size_t find(struct rest word, const char *const *names, size_t count)
{
    size_t i = 0;

    while (i < count && !is(word, names[i])) {
        i++;
    }
    return i;
}

static size_t next_number(struct rest *rest)
{
    struct rest word = next_word(rest);
    size_t number = 0;

    for (; word.at < word.end && *word.at >= '0' && *word.at <= '9';
         word.at++) {
        number = (number * 10 + (size_t)(*word.at - '0')) % PROGRAM_NUMBER_MAX;
    }
    return number;
}

static int next_error(struct rest *rest)
{
    struct rest word = next_word(rest);

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (is(word, errors[i].name)) {
            return errors[i].number;
        }
    }
    return 0;
}

static bool read_step(struct step *step, struct rest rest, char **texts)
{
    size_t word = find(next_word(&rest), program_words, program_word_count);

    *step = (struct step){
        .op = word < program_word_count ? (enum op)word : OP_NONE};
    switch (step->op) {
    case OP_NONE:
        return false;
    case OP_SET:
        step->which =
            (unsigned)find(next_word(&rest), program_settings, SET_COUNT);
        step->number = next_number(&rest);
        return step->which < SET_COUNT;
    case OP_SEND:
    case OP_LATE:
        step->client = next_number(&rest) % FAKE_CLIENTS;
        step->text = *texts;
        step->length = fuzz_decode(
            *texts, rest.at, (size_t)(rest.end - rest.at), FUZZ_LINES_KEEP);
        *texts += step->length;
        return true;
    case OP_OPEN:
    case OP_FILL:
    case OP_FIN:
    case OP_RESET:
    case OP_LIMIT:
    case OP_SIP:
        step->client = next_number(&rest) % FAKE_CLIENTS;
        step->number = next_number(&rest);
        return true;
    case OP_FAULT:
        step->which = (unsigned)find(
            next_word(&rest), calls, sizeof calls / sizeof calls[0]);
        if (step->which == CALL_READ || step->which == CALL_SEND) {
            step->client = next_number(&rest) % FAKE_CLIENTS;
        }
        step->error = next_error(&rest);
        return step->which <= CALL_WATCH && step->error != 0;
    case OP_TURN:
    case OP_INTR:
    case OP_TAKE:
    case OP_RUN:
    case OP_PUT:
    case OP_WORK:
    case OP_TICK:
    case OP_JUMP:
    case OP_DRAIN:
    case OP_STOP:
    case OP_NOMEM:
    case OP_BUDGET:
    case OP_FDS:
        step->number = next_number(&rest);
        return true;
    }
    return false;
}

void program_read(struct program *program, const char *text, size_t length)
{
    const char *end = text + length;
    char *texts = malloc(2 * length + 1);

    fuzz_check(texts != NULL, "no memory");
    program->texts = texts;
    program->count = 0;
    while (text < end && program->count < PROGRAM_LINES_MAX) {
        const char *past = memchr(text, '\n', (size_t)(end - text));

        past = past != NULL ? past : end;
        if (read_step(&program->steps[program->count],
                (struct rest){text, past}, &texts)) {
            program->count++;
        }
        text = past < end ? past + 1 : end;
    }
}

void program_free(struct program *program)
{
    free(program->texts);
    program->texts = NULL;
}
