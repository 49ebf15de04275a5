#include "job/request.h"

#include <assert.h>
#include <string.h>

static size_t inline_capacity(void)
{
    return HCS_REQUEST_BYTES - offsetof(struct hcs_request, inline_bytes);
}

void hcs_request_init(struct hcs_request *request, struct hcs_budget *budget,
    struct hcs_mailbox *home)
{
    /* The inline bytes are not cleared: they are written before they are
     * read. */
    memset(request, 0, offsetof(struct hcs_request, inline_bytes));
    request->task.home = home;
    request->budget = budget;
    request->in = request->inline_bytes;
    request->in_capacity = (uint32_t)inline_capacity();
    request->status = 200;
    request->content_type = "application/json";
}

static bool is_inline(const struct hcs_request *request, const char *bytes)
{
    return bytes >= request->inline_bytes &&
           bytes < (const char *)request + HCS_REQUEST_BYTES;
}

void hcs_request_fini(struct hcs_request *request)
{
    if (request->in != NULL && !is_inline(request, request->in)) {
        hcs_budget_free(request->budget, request->in);
    }
    if (request->out != NULL && !is_inline(request, request->out)) {
        hcs_budget_free(request->budget, request->out);
    }
    request->in = NULL;
    request->out = NULL;
}

enum {
    DOUBLING_MAX = 64 * 1024, /* larger blocks grow by a quarter: more copies,
                                 and less of the budget unused */
    SLACK = 64,               /* for a few bytes written after a large piece */
    PAGE_MIN = 4096,          /* the smallest page of any machine */
};

/* Makes *bytes a block of at least need bytes, and keeps its first length
 * bytes. The block is larger than need, so that growing by a little stays
 * cheap. It is not larger than whole, if whole is enough. */
static bool grow(struct hcs_request *request, char **bytes, uint32_t *capacity,
    size_t length, size_t need, size_t whole)
{
    size_t size = *capacity < DOUBLING_MAX ? (size_t)*capacity * 2
                                           : (size_t)*capacity / 4 * 5;
    char *block;

    if (size < need + SLACK) {
        size = need + SLACK;
    }
    if (whole >= need && size > whole) {
        size = whole;
    }
    if (size > UINT32_MAX) {
        size = UINT32_MAX;
        if (size < need) {
            return false;
        }
    }
    if (*bytes == NULL || is_inline(request, *bytes)) {
        block = hcs_budget_alloc(request->budget, size);
        if (block != NULL && *bytes != NULL) {
            memcpy(block, *bytes, length);
        }
    } else {
        block = hcs_budget_resize(request->budget, *bytes, size);
    }
    if (block == NULL) {
        return false;
    }
    *bytes = block;
    *capacity = (uint32_t)size;
    return true;
}

/* Makes new room resident at once, when the budget begins to count it. The
 * budget compares the bytes that it gave with the bytes that are resident. Room
 * that was never written would hide as many bytes that were freed and are still
 * resident. A client could also make much room, let others take the rest of the
 * budget, and write the room then. This costs nothing more: the kernel would
 * make the same pages when the body arrives. */
static void touch(char *bytes, size_t from, size_t to)
{
    for (; from < to; from += PAGE_MIN) {
        *(volatile char *)(bytes + from) = 0;
    }
    *(volatile char *)(bytes + to - 1) = 0;
}

bool hcs_request_reserve(struct hcs_request *request, size_t more)
{
    size_t need = request->in_length + more;
    size_t whole = request->head_length + (size_t)request->head.content_length;

    if (need <= request->in_capacity) {
        return true;
    }
    if (!grow(request, &request->in, &request->in_capacity, request->in_length,
            need, whole)) {
        return false;
    }
    touch(request->in, request->in_length, request->in_capacity);
    return true;
}

bool hcs_request_append(
    struct hcs_request *request, const char *bytes, size_t length)
{
    if (!hcs_request_reserve(request, length)) {
        return false;
    }
    memcpy(request->in + request->in_length, bytes, length);
    request->in_length += (uint32_t)length;
    return true;
}

/* Makes room behind out_length. The reply begins where the input in the record
 * ends. If the input fills the record to its last byte, the reply gets a block:
 * is_inline would take the address behind the record for a block's. */
static bool make_room(struct hcs_request *request, size_t length)
{
    size_t need = request->out_length + length;

    if (request->out == NULL) {
        size_t used = is_inline(request, request->in) ? request->in_length : 0;

        if (used < inline_capacity()) {
            request->out = request->inline_bytes + used;
            request->out_capacity = (uint32_t)(inline_capacity() - used);
        }
    }
    return need <= request->out_capacity ||
           grow(request, &request->out, &request->out_capacity,
               request->out_length, need, 0);
}

bool hcs_request_write(
    struct hcs_request *request, const void *bytes, size_t length)
{
    if (length == 0) {
        return true;
    }
    if (length > request->out_capacity - request->out_length &&
        !make_room(request, length)) {
        return false;
    }
    memcpy(request->out + request->out_length, bytes, length);
    request->out_length += (uint32_t)length;
    return true;
}

bool hcs_request_write_field(
    struct hcs_request *request, const char *name, const char *value)
{
    size_t name_length = strlen(name);
    size_t value_length = strlen(value);
    size_t length = name_length + 2 + value_length + 2;
    char *at;

    if (length > request->out_capacity - request->out_length &&
        !make_room(request, length)) {
        return false;
    }
    at = request->out + request->fields_length;
    memmove(at + length, at, request->out_length - request->fields_length);
    memcpy(at, name, name_length);
    at += name_length;
    memcpy(at, ": ", 2);
    memcpy(at + 2, value, value_length);
    memcpy(at + 2 + value_length, "\r\n", 2);
    request->fields_length += (uint32_t)length;
    request->out_length += (uint32_t)length;
    return true;
}

const char *hcs_request_id(const struct hcs_request *request, size_t *length)
{
    if (request->id_length > 0) {
        *length = request->id_length;
        return request->made_id;
    }
    *length = request->head.request_id.length;
    return request->in + request->head.request_id.offset;
}
