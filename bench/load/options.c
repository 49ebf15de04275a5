#include "options.h"

#include "base/units.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECTIONS_MAX = 10000000,
    PROCESSES_MAX = 1000,
    REQUEST_MAX = 64 * 1024 * 1024,
    SOURCES_MAX = 1000,
};

static const double RATE_MIN = 1e-3;
static const double RATE_MAX = 1e8;
static const uint64_t DURATION_NS = 10000000000;

/* Options without a letter. */
enum {
    OPTION_BODY = 256,
    OPTION_BODY_FILE,
    OPTION_HEADER,
    OPTION_HELD_RATE,
    OPTION_HELP,
    OPTION_IN_FLIGHT,
    OPTION_INTERVAL,
    OPTION_JSON,
    OPTION_PID,
    OPTION_PROCESSES,
    OPTION_QUIET,
    OPTION_REQUEST,
    OPTION_SOURCES,
    OPTION_STEP,
    OPTION_TIMEOUT,
    OPTION_UNTIL_EOF,
    OPTION_VERSION,
};

static const struct option LONG_OPTIONS[] = {
    {"body", required_argument, NULL, OPTION_BODY},
    {"body-file", required_argument, NULL, OPTION_BODY_FILE},
    {"connections", required_argument, NULL, 'c'},
    {"duration", required_argument, NULL, 'd'},
    {"header", required_argument, NULL, OPTION_HEADER},
    {"held-rate", required_argument, NULL, OPTION_HELD_RATE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"in-flight", required_argument, NULL, OPTION_IN_FLIGHT},
    {"interval", required_argument, NULL, OPTION_INTERVAL},
    {"json", no_argument, NULL, OPTION_JSON},
    {"pid", required_argument, NULL, OPTION_PID},
    {"processes", required_argument, NULL, OPTION_PROCESSES},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"rate", required_argument, NULL, 'r'},
    {"request", required_argument, NULL, OPTION_REQUEST},
    {"rounds", required_argument, NULL, 'n'},
    {"sources", required_argument, NULL, OPTION_SOURCES},
    {"step", required_argument, NULL, OPTION_STEP},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"until-eof", no_argument, NULL, OPTION_UNTIL_EOF},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static const char USAGE[] =
    "usage: hcsd-load SHAPE [OPTION]... URL\n"
    "\n"
    "Loads an HTTP/1.1 server, and accounts for every request. SHAPE is\n"
    "  hold     opens connections, sends a request on each, and holds them\n"
    "  burst    opens connections, then sends a request on all at once and\n"
    "           waits for all answers\n"
    "  rate     sends requests at a constant rate, whatever the answers do;\n"
    "           a latency counts from when the request should have been sent\n"
    "  churn    a new connection for each request\n"
    "  trickle  sends and reads a few bytes at a time, by turns\n"
    "URL is http://HOST[:PORT][/PATH].\n"
    "\n"
    "  -c, --connections N   at the same time (64)\n"
    "  -r, --rate N          a second: requests (rate: 1000), or new\n"
    "                        connections (else: as fast as it goes)\n"
    "  -d, --duration TIME   how long (10s; trickle: until all are answered);\n"
    "                        hold: once all are open\n"
    "  -n, --rounds N        burst: how often (1)\n"
    "      --body TEXT       POST this, as application/json\n"
    "      --body-file FILE  the same, from a file\n"
    "      --header 'NAME: VALUE'   add a field; may be repeated\n"
    "      --request FILE    send these bytes, whatever they are\n"
    "      --timeout TIME    give up on an answer, or on a connection, for\n"
    "                        which nothing came for so long (30s)\n"
    "      --held-rate N     hold: requests a second on those that are held,\n"
    "                        by turns\n"
    "      --until-eof       hold: until standard input ends; --held-rate is\n"
    "                        from its first line to its second\n"
    "      --in-flight N     opened at once; hold: and not answered (512)\n"
    "      --interval TIME   trickle: between two pieces (1s)\n"
    "      --step BYTES      trickle: in a piece (16)\n"
    "      --processes N     share the work (as many as descriptors want)\n"
    "      --sources N       source addresses, from 127.0.0.2 on (as many as\n"
    "                        ports want, when the server is on loopback)\n"
    "      --pid PID         the server's: tells its CPU time and memory\n"
    "      --json            the summary as JSON\n"
    "      --quiet           no progress line each second\n"
    "      --version\n"
    "\n"
    "Times are 250ms, 15s, 2m. hold with --held-rate or --until-eof has two\n"
    "summaries: when all are open, and at the end, of what was since.\n"
    "\n"
    "'refused' is an answer of 429 or 503; 'failed' was not sent whole, or "
    "its\n"
    "reply is broken; 'lost' was sent, and nothing came back. Exit status: 0, "
    "1\n"
    "when anything failed or was lost, 2 when the command line is wrong.\n";

static _Noreturn void refuse(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

static _Noreturn void refuse(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("hcsd-load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("; --help tells more\n", stderr);
    va_end(arguments);
    exit(LOAD_USAGE);
}

static void *need(void *block)
{
    if (block == NULL) {
        fputs("hcsd-load: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return block;
}

static unsigned count_of(const char *name, const char *text, unsigned most)
{
    char *end = NULL;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' ||
        value < 1 || value > most) {
        refuse("--%s takes a number from 1 to %u, not '%s'", name, most, text);
    }
    return (unsigned)value;
}

static double rate_of(const char *name, const char *text)
{
    char *end = NULL;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= RATE_MIN) ||
        value > RATE_MAX) {
        refuse("--%s takes a number a second from 0.001 to 1e8, not '%s'", name,
            text);
    }
    return value;
}

static uint64_t time_of(const char *name, const char *text)
{
    uint64_t ns;

    if (!hcs_parse_duration(text, &ns) || ns == 0 || ns > (uint64_t)INT64_MAX) {
        refuse("--%s takes a time such as 250ms or 10s, not '%s'", name, text);
    }
    return ns;
}

/* Returns the bytes of a file. */
static char *content_of(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *content;

    if (file == NULL) {
        refuse("%s: %s", path, strerror(errno));
    }
    content = need(malloc(REQUEST_MAX));
    *bytes = fread(content, 1, REQUEST_MAX, file);
    if (ferror(file) || fgetc(file) != EOF) {
        refuse("%s cannot be read, or is more than 64 MiB", path);
    }
    fclose(file);
    return need(realloc(content, *bytes + 1));
}

/* Returns PATH of a URL, and stores HOST and PORT, which the caller frees. */
static const char *split_url(const char *url, char **host, char **port)
{
    static const char scheme[] = "http://";
    const char *at = url;
    const char *end;
    const char *path;

    if (strncmp(at, scheme, strlen(scheme)) != 0) {
        refuse("the URL has to begin with http://, which '%s' does not", url);
    }
    at += strlen(scheme);
    path = at + strcspn(at, "/?#");
    if (*at == '[') {
        at++;
        end = memchr(at, ']', (size_t)(path - at));
        if (end == NULL) {
            refuse("'%s' lacks the ] of its address", url);
        }
        *host = need(strndup(at, (size_t)(end - at)));
        at = end + 1;
    } else {
        end = memchr(at, ':', (size_t)(path - at));
        end = end == NULL ? path : end;
        *host = need(strndup(at, (size_t)(end - at)));
        at = end;
    }
    if (at == path) {
        *port = need(strdup("80"));
    } else if (*at == ':') {
        *port = need(strndup(at + 1, (size_t)(path - at - 1)));
    } else {
        refuse("'%s' has something between its host and its port", url);
    }
    if (**host == '\0' || strcspn(path, "# \t\r\n") != strlen(path)) {
        refuse("'%s' is no URL with a host and a path", url);
    }
    return path;
}

static void look_up(struct options *o, const char *host, const char *port)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    int rc;

    if (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 ||
        atoi(port) < 1 || atoi(port) > 65535) {
        refuse("'%s' is no port", port);
    }
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        refuse("%s:%s: %s", host, port, gai_strerror(rc));
    }
    memcpy(&o->server, found->ai_addr, found->ai_addrlen);
    o->server_length = found->ai_addrlen;
    freeaddrinfo(found);
}

/* The request that the options describe. */
static void build(struct options *o, const char *authority, const char *path,
    const char *fields, const char *body, size_t body_bytes)
{
    FILE *out = need(open_memstream(&o->request, &o->request_bytes));

    fprintf(out, "%s %s%s HTTP/1.1\r\nHost: %s\r\n",
        body == NULL ? "GET" : "POST", *path == '/' ? "" : "/", path,
        authority);
    if (body != NULL) {
        fprintf(out,
            "Content-Type: application/json\r\nContent-Length: %zu\r\n",
            body_bytes);
    }
    if (o->shape == SHAPE_CHURN) {
        fputs("Connection: close\r\n", out);
    }
    fprintf(out, "%s\r\n", fields);
    if (body != NULL) {
        fwrite(body, 1, body_bytes, out);
    }
    if (fclose(out) != 0) {
        need(NULL);
    }
}

static void take_shape(struct options *o, const char *word)
{
    static const char *const words[] = {
        [SHAPE_HOLD] = "hold",
        [SHAPE_BURST] = "burst",
        [SHAPE_RATE] = "rate",
        [SHAPE_CHURN] = "churn",
        [SHAPE_TRICKLE] = "trickle",
    };

    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(word, words[i]) == 0) {
            o->shape = (enum shape)i;
            o->shape_word = words[i];
            return;
        }
    }
    refuse("'%s' is no shape", word);
}

/* The parts of the request that options give. */
struct request_parts {
    char *fields;
    char *body;
    size_t body_bytes;
};

static void add_field(struct request_parts *parts, const char *line)
{
    char *longer = NULL;

    if (strchr(line, ':') == NULL || strpbrk(line, "\r\n") != NULL) {
        refuse("--header takes 'NAME: VALUE', not '%s'", line);
    }
    if (asprintf(&longer, "%s%s\r\n", parts->fields, line) < 0) {
        need(NULL);
    }
    free(parts->fields);
    parts->fields = longer;
}

static void take_option(struct options *o, struct request_parts *parts,
    int option, const char *name, char *value)
{
    switch (option) {
    case 'c':
        o->connections = count_of("connections", value, CONNECTIONS_MAX);
        return;
    case 'r':
        o->rate = rate_of("rate", value);
        return;
    case 'd':
        o->duration_ns = time_of("duration", value);
        return;
    case 'n':
        o->rounds = count_of("rounds", value, 1000000000);
        return;
    case OPTION_BODY:
        free(parts->body);
        parts->body = need(strdup(value));
        parts->body_bytes = strlen(value);
        return;
    case OPTION_BODY_FILE:
        free(parts->body);
        parts->body = content_of(value, &parts->body_bytes);
        return;
    case OPTION_HEADER:
        add_field(parts, value);
        return;
    case OPTION_REQUEST:
        free(o->request);
        o->request = content_of(value, &o->request_bytes);
        return;
    case OPTION_TIMEOUT:
        o->timeout_ns = time_of(name, value);
        return;
    case OPTION_HELD_RATE:
        o->held_rate = rate_of(name, value);
        return;
    case OPTION_UNTIL_EOF:
        o->until_eof = true;
        return;
    case OPTION_IN_FLIGHT:
        o->in_flight = count_of(name, value, CONNECTIONS_MAX);
        return;
    case OPTION_INTERVAL:
        o->interval_ns = time_of(name, value);
        return;
    case OPTION_STEP:
        o->step_bytes = count_of(name, value, 65536);
        return;
    case OPTION_PROCESSES:
        o->processes = count_of(name, value, PROCESSES_MAX);
        return;
    case OPTION_SOURCES:
        o->sources = count_of(name, value, SOURCES_MAX);
        return;
    case OPTION_PID:
        o->pid = (pid_t)count_of(name, value, INT32_MAX);
        return;
    case OPTION_JSON:
        o->json = true;
        return;
    case OPTION_QUIET:
        o->quiet = true;
        return;
    case OPTION_HELP:
        fputs(USAGE, stdout);
        exit(EXIT_SUCCESS);
    case OPTION_VERSION:
        puts("hcsd-load " HCS_VERSION);
        exit(EXIT_SUCCESS);
    default: /* getopt has said what is wrong */
        exit(LOAD_USAGE);
    }
}

void options_take(struct options *o, int argc, char **argv)
{
    struct request_parts parts = {.fields = need(strdup(""))};
    const char *path;
    const char *authority;
    char *host;
    char *port;
    char *whole;
    int option;
    int at = 0;

    while (true) {
        option = getopt_long(argc, argv, "c:d:n:r:", LONG_OPTIONS, &at);
        if (option == -1) {
            break;
        }
        take_option(o, &parts, option, LONG_OPTIONS[at].name, optarg);
    }
    if (optind != argc - 2) {
        refuse("a shape and a URL are wanted");
    }
    take_shape(o, argv[optind]);
    o->url = argv[optind + 1];
    path = split_url(o->url, &host, &port);
    look_up(o, host, port);
    if (o->request == NULL) {
        authority = o->url + strlen("http://");
        whole = need(strndup(authority, (size_t)(path - authority)));
        build(o, whole, path, parts.fields, parts.body, parts.body_bytes);
        free(whole);
    } else if (parts.body != NULL || *parts.fields != '\0') {
        refuse("--request is the whole request, nothing can be added to it");
    }
    if (o->request_bytes == 0) {
        refuse("the request is empty");
    }
    if (o->shape == SHAPE_RATE && o->rate == 0) {
        o->rate = 1000;
    }
    if (o->shape != SHAPE_TRICKLE && o->duration_ns == 0) {
        o->duration_ns = DURATION_NS;
    }
    free(host);
    free(port);
    free(parts.fields);
    free(parts.body);
}
