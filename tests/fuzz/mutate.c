/* Makes programs of programs (program.h), line by line, where libFuzzer would
 * mostly break the words. It still changes the bytes that clients send. */
#include "fuzz.h"
#include "program.h"

#include <stdio.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(
    uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size,
    const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
    unsigned seed);

enum { LINES_MAX = 512, LINE_MAX_BYTES = 1024, TEXT_MAX = 64 * 1024 };

static uint64_t chance;

static size_t below(size_t count)
{
    return (size_t)(fuzz_next(&chance) % count);
}

/* --- Lines made up. */

/* Whole requests and parts of them, as a program spells them. */
static const char *const snippets[] = {
    "GET /health HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "GET /health HTTP/1.0\\r\\n\\r\\n",
    "HEAD /metrics HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "GET /metrics HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: m1\\r\\n\\r\\n",
    "GET /readyz HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: y1\\r\\n\\r\\n",
    "GET /problems/queue-full HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "OPTIONS * HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "GET / HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: g1\\r\\n\\r\\n",
    "GET /slow HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: s1\\r\\n\\r\\n",
    "HEAD / HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: h1\\r\\n\\r\\n",
    "GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n",
    "GET / HTTP/1.0\\r\\nConnection: keep-alive\\r\\n\\r\\n",
    ("POST / HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: p1\\r\\n"
     "Content-Length: 10\\r\\n\\r\\n{\"data\":1}"),
    ("POST /slow HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: p2\\r\\n"
     "Transfer-Encoding: chunked\\r\\n\\r\\na\\r\\n{\"data\":2}\\r\\n"
     "0\\r\\n\\r\\n"),
    ("POST / HTTP/1.1\\r\\nHost: a\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
     "1;x=\"y\"\\r\\n{\\r\\n1\\r\\n}\\r\\n0\\r\\nX: y\\r\\n\\r\\n"),
    ("POST / HTTP/1.1\\r\\nHost: a\\r\\nExpect: 100-continue\\r\\n"
     "Content-Length: 2\\r\\n\\r\\n"),
    "{}",
    "POST /act?f HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 2\\r\\n\\r\\n{}",
    "GET /act?later HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: l1\\r\\n\\r\\n",
    "GET /act?now HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "GET /act?withdraw HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "GET /act?204 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "GET /act?304 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "GET /act?20000 HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: b1\\r\\n\\r\\n",
    "GET /act?100000 HTTP/1.1\\r\\nHost: a\\r\\nX-Request-ID: b2\\r\\n\\r\\n",
    "HEAD /act?100000 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "POST /health HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 3\\r\\n\\r\\nxyz",
    "POST /none HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 3\\r\\n\\r\\nxyz",
    "POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 20000\\r\\n\\r\\n",
    "POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 3000000\\r\\n\\r\\n",
    "POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1\\r\\n\\r\\n!",
    ("POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Type: text/html\\r\\n"
     "Content-Length: 1\\r\\n\\r\\n1"),
    "PUT / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
    "GET / HTTP/1.1\\r\\nHost: a\\r\\n",
    "GET / HT",
    "Host: a\\r\\n",
    "X-Request-ID: z9\\r\\n",
    "X-Y: 0123456789012345678901234567890123456789\\r\\n",
    "5000\\r\\n",
    "\\r\\n",
    "\\r",
    "\\n",
    "\\x00",
};

static size_t some_number(void)
{
    static const size_t numbers[] = {0, 1, 2, 3, 7, 8, 60, 100, 255, 500, 768,
        1000, 2300, 4096, 5000, 8192, 15001, 16384, 30001, 65536, 70000, 262144,
        300000};

    return below(4) == 0 ? below(1 << (1 + below(18)))
                         : numbers[below(sizeof numbers / sizeof numbers[0])];
}

/* Few clients, so that they meet. */
static size_t some_client(void)
{
    return below(3) == 0 ? below(8) : below(3);
}

static size_t print_fault(char *line, size_t size)
{
    static const char *const errors[] = {"EINTR", "ECONNRESET", "EPIPE",
        "ETIMEDOUT", "ENOBUFS", "ENOMEM", "EIO", "EHOSTUNREACH"};
    static const char *const accept_errors[] = {
        "ECONNABORTED", "EMFILE", "ENFILE", "ENOMEM", "EINTR", "EPERM"};
    int length;

    switch (below(5)) {
    case 0:
        length =
            snprintf(line, size, "fault accept %s", accept_errors[below(6)]);
        break;
    case 1:
        length = snprintf(line, size, "fault watch ENOMEM");
        break;
    case 2:
        length = snprintf(
            line, size, "fault read %zu %s", some_client(), errors[below(8)]);
        break;
    default:
        length = snprintf(
            line, size, "fault send %zu %s", some_client(), errors[below(8)]);
        break;
    }
    return (size_t)length;
}

static size_t print_line(char *line, size_t size)
{
    /* What is wanted more often stands here more often. */
    static const enum op ops[] = {OP_SEND, OP_SEND, OP_SEND, OP_SEND, OP_TURN,
        OP_TURN, OP_TURN, OP_TURN, OP_TURN, OP_OPEN, OP_OPEN, OP_LATE, OP_FILL,
        OP_FIN, OP_RESET, OP_LIMIT, OP_SIP, OP_INTR, OP_TAKE, OP_TAKE, OP_RUN,
        OP_PUT, OP_PUT, OP_WORK, OP_WORK, OP_TICK, OP_TICK, OP_JUMP, OP_DRAIN,
        OP_STOP, OP_NOMEM, OP_BUDGET, OP_FDS, OP_FAULT, OP_SET};
    enum op op = ops[below(sizeof ops / sizeof ops[0])];
    const char *word = program_words[op];
    int length = 0;

    switch (op) {
    case OP_NONE:
        break;
    case OP_SET:
        length = snprintf(line, size, "%s %s %zu", word,
            program_settings[below(SET_COUNT)], some_number());
        break;
    case OP_SEND:
    case OP_LATE:
        length = snprintf(line, size, "%s %zu %s", word, some_client(),
            snippets[below(sizeof snippets / sizeof snippets[0])]);
        break;
    case OP_OPEN:
    case OP_FIN:
        length = snprintf(line, size, "%s %zu", word, some_client());
        break;
    case OP_RESET:
    case OP_FILL:
    case OP_LIMIT:
    case OP_SIP:
        length = snprintf(
            line, size, "%s %zu %zu", word, some_client(), some_number());
        break;
    case OP_TURN:
    case OP_INTR:
    case OP_TAKE:
    case OP_WORK:
    case OP_DRAIN:
    case OP_STOP:
        length = snprintf(line, size, "%s", word);
        break;
    case OP_RUN:
    case OP_PUT:
    case OP_NOMEM:
    case OP_FDS:
        length = snprintf(line, size, "%s %zu", word, below(5));
        break;
    case OP_TICK:
    case OP_JUMP:
    case OP_BUDGET:
        length = snprintf(line, size, "%s %zu", word, some_number());
        break;
    case OP_FAULT:
        return print_fault(line, size);
    }
    return (size_t)length < size ? (size_t)length : size - 1;
}

/* --- Lines taken apart and put together. */

struct text {
    const char *at;
    size_t length;
};

struct lines {
    struct text list[LINES_MAX];
    size_t count;
};

static void split(struct lines *lines, const char *text, size_t length)
{
    const char *end = text + length;

    lines->count = 0;
    while (text < end && lines->count < LINES_MAX - 4) {
        const char *past = memchr(text, '\n', (size_t)(end - text));

        past = past != NULL ? past : end;
        lines->list[lines->count++] =
            (struct text){text, (size_t)(past - text)};
        text = past < end ? past + 1 : end;
    }
}

static size_t join(const struct lines *lines, char *out, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < lines->count; i++) {
        const struct text *line = &lines->list[i];

        if (line->length + 1 > size - used) {
            break;
        }
        memcpy(out + used, line->at, line->length);
        used += line->length;
        out[used++] = '\n';
    }
    return used;
}

static void insert(struct lines *lines, size_t index, struct text line)
{
    if (lines->count == LINES_MAX) {
        return;
    }
    memmove(&lines->list[index + 1], &lines->list[index],
        (lines->count - index) * sizeof line);
    lines->list[index] = line;
    lines->count++;
}

static void drop(struct lines *lines, size_t index)
{
    lines->count--;
    memmove(&lines->list[index], &lines->list[index + 1],
        (lines->count - index) * sizeof lines->list[0]);
}

/* "send I " of such a line; 0 when it is none. */
static size_t prefix_of(struct text line)
{
    return line.length >= 7 && line.at[6] == ' ' &&
                   (memcmp(line.at, "send ", 5) == 0 ||
                       memcmp(line.at, "late ", 5) == 0)
               ? 7
               : 0;
}

/* What clients send, as libFuzzer changes bytes; or a piece more. */
static struct text change_payload(struct text line, size_t prefix, char *room)
{
    struct text changed = {room, 0};
    size_t length =
        line.length < LINE_MAX_BYTES / 2 ? line.length : LINE_MAX_BYTES / 2;

    memcpy(room, line.at, length);
    if (below(3) == 0) {
        const char *more =
            snippets[below(sizeof snippets / sizeof snippets[0])];

        memcpy(room + length, more, strlen(more));
        changed.length = length + strlen(more);
    } else {
        changed.length = prefix + LLVMFuzzerMutate((uint8_t *)room + prefix,
                                      length - prefix, LINE_MAX_BYTES - prefix);
    }
    return changed;
}

static struct text change_number(struct text line, char *room)
{
    size_t word = line.length;

    for (size_t i = line.length; i > 0; i--) {
        if (line.at[i - 1] == ' ') {
            word = i;
            break;
        }
    }
    if (word == line.length || word > 64) {
        return line;
    }
    memcpy(room, line.at, word);
    return (struct text){
        room, word + (size_t)snprintf(room + word, LINE_MAX_BYTES - word, "%zu",
                         some_number())};
}

/* The bytes of one line in two pieces, with or without a turn between them. */
static void cut_payload(
    struct lines *lines, size_t index, size_t prefix, char *room)
{
    struct text line = lines->list[index];
    struct text rest = {room, prefix};
    size_t at = prefix + below(line.length - prefix + 1);

    if (at - prefix > 0 && line.at[at - 1] == '\\') {
        at--; /* not within "\r" */
    }
    memcpy(room, line.at, prefix);
    memcpy(room + prefix, line.at + at, line.length - at);
    rest.length += line.length - at;
    lines->list[index].length = at;
    insert(lines, index + 1, rest);
    if (below(2) == 0) {
        insert(lines, index + 1, (struct text){"turn", 4});
    }
}

static void change(struct lines *lines, char room[LINE_MAX_BYTES])
{
    size_t index = lines->count > 0 ? below(lines->count) : 0;
    size_t prefix = 0;

    if (lines->count == 0 || below(3) == 0) {
        insert(lines, index,
            (struct text){room, print_line(room, LINE_MAX_BYTES)});
        return;
    }
    if (lines->list[index].length < LINE_MAX_BYTES - 16) {
        prefix = prefix_of(lines->list[index]);
    }
    switch (below(7)) {
    case 0:
        drop(lines, index);
        return;
    case 1:
        insert(lines, below(lines->count + 1), lines->list[index]);
        return;
    case 2: {
        size_t other = below(lines->count);
        struct text line = lines->list[index];

        lines->list[index] = lines->list[other];
        lines->list[other] = line;
        return;
    }
    case 3:
        if (prefix > 0) {
            cut_payload(lines, index, prefix, room);
            return;
        }
        /* fall through */
    case 4:
    case 5:
        if (prefix > 0) {
            lines->list[index] =
                change_payload(lines->list[index], prefix, room);
            return;
        }
        /* fall through */
    default:
        if (prefix > 0) { /* another client's */
            memcpy(room, lines->list[index].at, lines->list[index].length);
            room[5] = (char)('0' + some_client());
            lines->list[index].at = room;
        } else {
            lines->list[index] = change_number(lines->list[index], room);
        }
        return;
    }
}

size_t LLVMFuzzerCustomMutator(
    uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static struct lines lines;
    static char text[TEXT_MAX];
    static char rooms[4][LINE_MAX_BYTES];
    size_t changes;

    chance = seed;
    if (size > TEXT_MAX || below(16) == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    memcpy(text, data, size);
    split(&lines, text, size);
    changes = 1 + below(4);
    for (size_t i = 0; i < changes; i++) {
        change(&lines, rooms[i]);
    }
    return join(&lines, (char *)data, max_size);
}

/* The lines of one up to some place, then those of the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size,
    const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
    unsigned seed)
{
    static struct lines first, second;
    size_t from;

    chance = seed;
    split(&first, (const char *)a, a_size);
    split(&second, (const char *)b, b_size);
    first.count = below(first.count + 1);
    from = below(second.count + 1);
    while (from < second.count && first.count < LINES_MAX) {
        first.list[first.count++] = second.list[from++];
    }
    return join(&first, (char *)out, max_size);
}
