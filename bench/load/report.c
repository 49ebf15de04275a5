#include "report.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *word;
    double percent;
} PERCENTILES[] = {
    {"p50", 50},
    {"p75", 75},
    {"p90", 90},
    {"p95", 95},
    {"p99", 99},
    {"p99.9", 99.9},
    {"p99.99", 99.99},
    {"max", 100},
};

enum { PERCENTILE_COUNT = sizeof(PERCENTILES) / sizeof(PERCENTILES[0]) };

static uint64_t replies(const struct tally *t)
{
    return tally_get(&t->outcomes[OUTCOME_ANSWERED]) +
           tally_get(&t->outcomes[OUTCOME_REFUSED]);
}

bool report_is_good(const struct tally *t)
{
    return tally_adds_up(t) && tally_get(&t->outcomes[OUTCOME_FAILED]) == 0 &&
           tally_get(&t->outcomes[OUTCOME_LOST]) == 0 &&
           tally_get(&t->open_failed) == 0 &&
           tally_get(&t->faults[FAULT_UNASKED]) == 0;
}

/* Memory of one connection: the most that was seen, less the memory before,
 * divided by the connections. */
static double bytes_each(const struct report *r)
{
    uint64_t most = tally_get(&r->tally->most_open);

    if (most == 0 ||
        r->most_private_dirty_bytes <= r->before.private_dirty_bytes) {
        return 0;
    }
    return (double)(r->most_private_dirty_bytes -
                    r->before.private_dirty_bytes) /
           (double)most;
}

/* --- Text. */

static void print_duration(const char *word, double ns)
{
    if (ns < 1e6) {
        printf("  %s %.0f us", word, ns / 1e3);
    } else if (ns < 1e9) {
        printf("  %s %.2f ms", word, ns / 1e6);
    } else {
        printf("  %s %.2f s", word, ns / 1e9);
    }
}

static void print_number(const char *word, uint64_t value)
{
    printf("  %s %" PRIu64, word, value);
}

void report_text(const struct report *r)
{
    const struct tally *t = r->tally;

    printf("%s %s, %.2f s\n", r->o->shape_word, r->o->url, r->seconds);
    printf("connections");
    print_number("opened", tally_get(&t->opened));
    print_number("failed", tally_get(&t->open_failed));
    print_number("most at once", tally_get(&t->most_open));
    print_number("closed by the server", tally_get(&t->closed_by_server));
    printf("\nrequests   ");
    print_number("due", tally_get(&t->due));
    print_number("sent", tally_get(&t->sent));
    for (int i = 0; i < OUTCOMES; i++) {
        print_number(OUTCOME_WORDS[i], tally_get(&t->outcomes[i]));
    }
    printf(tally_adds_up(t) ? "\n" : "  -- WHICH DOES NOT ADD UP\n");
    if (replies(t) > 0) {
        printf("replies    ");
        for (unsigned i = 0; i < STATUS_MOST; i++) {
            if (tally_get(&t->statuses[i]) > 0) {
                printf("  %u: %" PRIu64, i, tally_get(&t->statuses[i]));
            }
        }
        printf("  (%.0f a second, %.2f MB)\n", (double)replies(t) / r->seconds,
            (double)tally_get(&t->reply_bytes) / 1e6);
        printf("latency    ");
        print_duration("mean", histogram_mean(&t->latency));
        for (int i = 0; i < PERCENTILE_COUNT; i++) {
            print_duration(
                PERCENTILES[i].word, (double)histogram_percentile(
                                         &t->latency, PERCENTILES[i].percent));
        }
        putchar('\n');
    }
    for (int i = 0, any = 0; i < FAULTS; i++) {
        if (tally_get(&t->faults[i]) > 0) {
            printf(any++ == 0 ? "errors     " : "");
            print_number(FAULT_WORDS[i], tally_get(&t->faults[i]));
        }
        if (i == FAULTS - 1 && any > 0) {
            putchar('\n');
        }
    }
    if (r->with_server) {
        double cpu = r->after.cpu_seconds - r->before.cpu_seconds;

        printf("server       CPU %.2f s (%.0f %%", cpu, 100 * cpu / r->seconds);
        if (replies(t) > 0) {
            printf(", %.2f us a reply", 1e6 * cpu / (double)replies(t));
        }
        printf(")  resident %.1f MiB  a connection %.0f B\n",
            (double)r->after.resident_bytes / (1 << 20), bytes_each(r));
    }
    fflush(stdout);
}

void report_progress(const struct tally *t, const struct tally *last,
    double at_seconds, double seconds)
{
    fprintf(stderr,
        "%6.0f s  open %" PRIu64 "  due %" PRIu64 "  answered %" PRIu64
        "  refused %" PRIu64 "  failed %" PRIu64 "  lost %" PRIu64
        "  (%.0f opened, %.0f replies a second)\n",
        at_seconds, tally_get(&t->open_now), tally_get(&t->due),
        tally_get(&t->outcomes[OUTCOME_ANSWERED]),
        tally_get(&t->outcomes[OUTCOME_REFUSED]),
        tally_get(&t->outcomes[OUTCOME_FAILED]),
        tally_get(&t->outcomes[OUTCOME_LOST]),
        (double)(tally_get(&t->opened) - tally_get(&last->opened)) / seconds,
        (double)(replies(t) - replies(last)) / seconds);
}

/* --- JSON. cJSON returns NULL when there is no memory, and ignores a NULL that
 * it is given. So only the last result is checked. */

static void put(cJSON *object, const char *name, double value)
{
    cJSON_AddNumberToObject(object, name, value);
}

static void put_count(
    cJSON *object, const char *name, const _Atomic uint64_t *counter)
{
    put(object, name, (double)tally_get(counter));
}

static void put_requests(cJSON *root, const struct tally *t)
{
    cJSON *requests = cJSON_AddObjectToObject(root, "requests");
    cJSON *statuses = cJSON_AddObjectToObject(root, "status");
    cJSON *errors = cJSON_AddObjectToObject(root, "errors");
    char word[16];

    put_count(requests, "due", &t->due);
    put_count(requests, "sent", &t->sent);
    for (int i = 0; i < OUTCOMES; i++) {
        put_count(requests, OUTCOME_WORDS[i], &t->outcomes[i]);
    }
    cJSON_AddBoolToObject(requests, "adds_up", tally_adds_up(t));
    for (unsigned i = 0; i < STATUS_MOST; i++) {
        if (tally_get(&t->statuses[i]) > 0) {
            snprintf(word, sizeof(word), "%u", i);
            put_count(statuses, word, &t->statuses[i]);
        }
    }
    for (int i = 0; i < FAULTS; i++) {
        if (tally_get(&t->faults[i]) > 0) {
            put_count(errors, FAULT_WORDS[i], &t->faults[i]);
        }
    }
}

static void put_latency(cJSON *root, const struct histogram *h)
{
    cJSON *latency = cJSON_AddObjectToObject(root, "latency_us");

    put(latency, "mean", histogram_mean(h) / 1e3);
    for (int i = 0; i < PERCENTILE_COUNT; i++) {
        put(latency, PERCENTILES[i].word,
            (double)histogram_percentile(h, PERCENTILES[i].percent) / 1e3);
    }
}

static void put_server(cJSON *root, const struct report *r)
{
    cJSON *server = cJSON_AddObjectToObject(root, "server");

    put(server, "pid", r->o->pid);
    put(server, "cpu_seconds", r->after.cpu_seconds - r->before.cpu_seconds);
    put(server, "resident_bytes", (double)r->after.resident_bytes);
    put(server, "private_dirty_before", (double)r->before.private_dirty_bytes);
    put(server, "private_dirty_most", (double)r->most_private_dirty_bytes);
    put(server, "private_dirty_after", (double)r->after.private_dirty_bytes);
    put(server, "bytes_per_connection", bytes_each(r));
}

bool report_json(const struct report *r)
{
    const struct tally *t = r->tally;
    cJSON *root = cJSON_CreateObject();
    cJSON *connections;
    char *text;

    cJSON_AddStringToObject(root, "shape", r->o->shape_word);
    cJSON_AddStringToObject(root, "url", r->o->url);
    put(root, "seconds", r->seconds);
    connections = cJSON_AddObjectToObject(root, "connections");
    put(connections, "asked", r->o->connections);
    put_count(connections, "opened", &t->opened);
    put_count(connections, "failed", &t->open_failed);
    put_count(connections, "open", &t->open_now);
    put_count(connections, "most", &t->most_open);
    put_count(connections, "closed_by_server", &t->closed_by_server);
    put_requests(root, t);
    put(root, "requests_per_second", (double)replies(t) / r->seconds);
    put_latency(root, &t->latency);
    if (r->with_server) {
        put_server(root, r);
    }
    text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    if (text == NULL) {
        return false;
    }
    puts(text);
    fflush(stdout);
    free(text);
    return true;
}
