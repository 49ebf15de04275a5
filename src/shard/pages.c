#include "shard/pages.h"

#include "base/uri.h"
#include "http/problem.h"
#include "observe/metrics.h"
#include "shard/snapshot.h"

#include <string.h>

struct hcs_page {
    const char *path; /* one that ends in "/" stands for all below it */
    unsigned methods;
    /* Whether the answer would be a 2xx. If not, preconditions are ignored.
     * NULL: the answer is always a 2xx. */
    bool (*is_there)(const struct hcs_page_request *request);
    void (*answer)(const struct hcs_page_request *request);
};

static void answer_text(
    const struct hcs_page_request *request, const char *body, size_t length)
{
    struct hcs_reply reply = {
        .content_type = "application/json",
        .no_store = true,
    };

    request->exchange->status = 200;
    request->exchange->bytes_out = length;
    hcs_conn_compose(
        request->c, request->exchange, &reply, body, NULL, request->more);
}

static void refuse(
    const struct hcs_page_request *request, enum hcs_reason reason)
{
    hcs_conn_refuse_request(request->c, request->exchange,
        &(struct hcs_refusal){.reason = reason, .more = request->more});
}

static const struct hcs_service *service_of(
    const struct hcs_page_request *request)
{
    return request->c->shard->service;
}

/* --- Health. */

static void answer_health(const struct hcs_page_request *request)
{
    static const char ok[] = "{\"status\":\"ok\"}";
    static const char draining[] = "{\"status\":\"draining\"}";
    static const char starting[] = "{\"status\":\"starting\"}";

    if (hcs_service_is_draining(service_of(request))) {
        answer_text(request, draining, sizeof(draining) - 1);
    } else if (!hcs_service_is_open(service_of(request))) {
        answer_text(request, starting, sizeof(starting) - 1);
    } else {
        answer_text(request, ok, sizeof(ok) - 1);
    }
}

static void answer_live(const struct hcs_page_request *request)
{
    static const char alive[] = "{\"status\":\"alive\"}";

    answer_text(request, alive, sizeof(alive) - 1);
}

static enum hcs_reason why_not_ready(const struct hcs_service *service)
{
    size_t capacity = hcs_pool_capacity(service->pool);

    if (hcs_service_is_draining(service)) {
        return HCS_REASON_DRAINING;
    }
    if (!hcs_service_is_open(service)) {
        return HCS_REASON_STARTING;
    }
    if (hcs_pool_depth(service->pool) >= capacity - capacity / 10) {
        return HCS_REASON_QUEUE_FULL; /* full, or nearly full */
    }
    return HCS_REASON_NONE;
}

static bool is_ready(const struct hcs_page_request *request)
{
    return why_not_ready(service_of(request)) == HCS_REASON_NONE;
}

static void answer_ready(const struct hcs_page_request *request)
{
    static const char ready[] = "{\"status\":\"ready\"}";
    enum hcs_reason reason = why_not_ready(service_of(request));

    if (reason == HCS_REASON_NONE) {
        answer_text(request, ready, sizeof(ready) - 1);
    } else {
        refuse(request, reason);
    }
}

/* --- Metrics. */

static void free_block(struct hcs_shard *shard, void *block)
{
    hcs_budget_free(shard->service->budget, block);
}

static void answer_metrics(const struct hcs_page_request *request)
{
    const struct hcs_head *head = request->head;
    struct hcs_service *service = request->c->shard->service;
    struct hcs_metrics metrics;
    struct hcs_metrics_loop loops[service->shard_count];
    struct hcs_metrics_handler
        handlers[hcs_router_jobs(hcs_service_router(service)) + 1];
    size_t custom_count = hcs_service_custom_metrics(service);
    struct hcs_custom_metric custom[custom_count + 1];
    enum hcs_metrics_format format = hcs_metrics_choose(
        request->bytes + head->accept.offset, head->accept.length,
        request->bytes + head->query.offset, head->query.length);
    struct hcs_reply reply = {
        .content_type = hcs_metrics_content_type(format),
        .no_store = true,
    };
    char small[HCS_CONN_COPY_MAX];
    size_t length;
    char *block;

    hcs_service_snapshot(
        service, &metrics, loops, handlers, custom, custom_count);
    length = hcs_metrics_write(&metrics, format, small, sizeof(small));
    request->exchange->status = 200;
    request->exchange->bytes_out = length;
    /* A page that fits needs no memory. So it can be read when the budget is
     * spent, and shows what has taken it. */
    if (request->exchange->head_only || length <= sizeof(small)) {
        hcs_conn_compose(
            request->c, request->exchange, &reply, small, NULL, request->more);
        return;
    }
    block = hcs_budget_alloc(service->budget, length);
    if (block == NULL) {
        refuse(request, HCS_REASON_MEMORY_PRESSURE);
        return;
    }
    hcs_metrics_write(&metrics, format, block, length);
    hcs_conn_compose(request->c, request->exchange, &reply, NULL,
        &(struct hcs_body){block, length, free_block, block}, request->more);
}

/* --- Problems. */

/* 0: there is no such problem. */
static size_t write_problem(
    const struct hcs_page_request *request, char page[HCS_PROBLEM_MAX])
{
    size_t prefix = request->route->path_length;
    char path[HCS_PROBLEM_MAX];
    size_t length;

    if (!hcs_uri_decode(request->bytes + request->head->path.offset,
            request->head->path.length, path, sizeof(path), &length)) {
        return 0;
    }
    return hcs_problem_page(page, path + prefix, length - prefix);
}

static bool is_problem(const struct hcs_page_request *request)
{
    char page[HCS_PROBLEM_MAX];

    return write_problem(request, page) > 0;
}

static void answer_problem(const struct hcs_page_request *request)
{
    char page[HCS_PROBLEM_MAX];
    size_t length = write_problem(request, page);

    if (length > 0) {
        answer_text(request, page, length);
    } else {
        refuse(request, HCS_REASON_NOT_FOUND);
    }
}

/* --- The table. */

static const struct hcs_page PAGES[] = {
    {"/health", HCS_METHODS_READ, NULL, answer_health},
    {"/livez", HCS_METHODS_READ, NULL, answer_live},
    {"/healthz", HCS_METHODS_READ, NULL, answer_live},
    {"/readyz", HCS_METHODS_READ, is_ready, answer_ready},
    {"/metrics", HCS_METHODS_READ, NULL, answer_metrics},
    {"/problems/", HCS_METHODS_READ, is_problem, answer_problem},
};

enum { PAGE_COUNT = sizeof(PAGES) / sizeof(PAGES[0]) };

int hcs_pages_add_to(struct hcs_router *router)
{
    for (size_t i = 0; i < PAGE_COUNT; i++) {
        int rc = hcs_router_add_page(
            router, &PAGES[i], PAGES[i].path, PAGES[i].methods);

        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

bool hcs_pages_is_reserved(const char *path)
{
    for (size_t i = 0; i < PAGE_COUNT; i++) {
        size_t length = strlen(PAGES[i].path);
        bool is_prefix = PAGES[i].path[length - 1] == '/';

        if (is_prefix ? strncmp(path, PAGES[i].path, length) == 0
                      : strcmp(path, PAGES[i].path) == 0) {
            return true;
        }
    }
    return false;
}

void hcs_pages_answer(const struct hcs_page_request *request)
{
    const struct hcs_page *page = request->route->page;

    if (request->head->precondition != HCS_PRECONDITION_HOLDS &&
        (page->is_there == NULL || page->is_there(request))) {
        hcs_conn_answer_precondition(
            request->c, request->exchange, request->head, true, request->more);
        return;
    }
    page->answer(request);
}
