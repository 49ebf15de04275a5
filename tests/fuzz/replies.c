#include "replies.h"

#include "fuzz.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char VERSION[] = "HTTP/1.1 ";
static const char INTERIM[] = "HTTP/1.1 100 Continue\r\n\r\n";

enum {
    VERSION_LENGTH = sizeof VERSION - 1,
    INTERIM_LENGTH = sizeof INTERIM - 1
};

static bool starts_with(
    const char *at, const char *end, const char *text, size_t length)
{
    return (size_t)(end - at) >= length && memcmp(at, text, length) == 0;
}

static bool is(struct text text, const char *word)
{
    return text.length == strlen(word) &&
           strncasecmp(text.at, word, text.length) == 0;
}

static bool starts(struct text text, const char *word)
{
    return text.length >= strlen(word) &&
           memcmp(text.at, word, strlen(word)) == 0;
}

/* What one head says. */
struct head {
    struct reply *reply;
    unsigned dates, lengths, ids, types, connections, allows;
    size_t length;
};

static size_t read_number(struct text text)
{
    size_t number = 0;

    fuzz_check(text.length > 0 && text.length <= 12 &&
                   (text.at[0] != '0' || text.length == 1),
        "Content-Length: %.*s", (int)text.length, text.at);
    for (size_t i = 0; i < text.length; i++) {
        fuzz_check(text.at[i] >= '0' && text.at[i] <= '9',
            "Content-Length: %.*s", (int)text.length, text.at);
        number = number * 10 + (size_t)(text.at[i] - '0');
    }
    return number;
}

static void read_field(struct head *head, const char *line, const char *end)
{
    const char *colon = memchr(line, ':', (size_t)(end - line));
    struct text name, value;

    fuzz_check(
        colon != NULL && colon > line && end - colon >= 2 && colon[1] == ' ',
        "a field line: %.*s", (int)(end - line), line);
    name = (struct text){line, (size_t)(colon - line)};
    value = (struct text){colon + 2, (size_t)(end - colon - 2)};
    for (size_t i = 0; i < value.length; i++) {
        unsigned char c = (unsigned char)value.at[i];

        fuzz_check(c >= ' ' && c < 0x7f, "byte %02x in a field", c);
    }
    if (is(name, "Date")) {
        fuzz_check(value.length == 29, "a date of %zu bytes", value.length);
        head->dates++;
    } else if (is(name, "Content-Length")) {
        head->length = read_number(value);
        head->lengths++;
    } else if (is(name, "Content-Type")) {
        head->reply->type = value;
        head->types++;
    } else if (is(name, "X-Request-ID")) {
        head->reply->id = value;
        head->ids++;
    } else if (is(name, "Connection")) {
        fuzz_check(is(value, "close") || is(value, "keep-alive"),
            "Connection: %.*s", (int)value.length, value.at);
        head->reply->last = is(value, "close");
        head->connections++;
    } else if (is(name, "Server-Timing")) {
        head->reply->job = true;
    } else if (is(name, "Allow")) {
        head->allows++;
    } else {
        fuzz_check(is(name, "Cache-Control") || is(name, "Accept") ||
                       is(name, "Retry-After"),
            "a field that is not ours: %.*s", (int)name.length, name.at);
    }
}

/* Behind the head; NULL when it is not all there. */
static const char *read_head(
    struct head *head, const char *bytes, const char *end)
{
    const char *line = bytes;
    const char *past = memmem(bytes, (size_t)(end - bytes), "\r\n\r\n", 4);

    if (past == NULL) {
        size_t known = (size_t)(end - bytes);

        known = known < VERSION_LENGTH ? known : VERSION_LENGTH;
        fuzz_check(memcmp(bytes, VERSION, known) == 0, "no status line");
        return NULL;
    }
    past += 4;
    fuzz_check(starts_with(bytes, past, VERSION, VERSION_LENGTH) &&
                   past - bytes > VERSION_LENGTH + 4 && bytes[12] == ' ',
        "no status line: %.20s", bytes);
    for (size_t i = 9; i < 12; i++) {
        fuzz_check(bytes[i] >= '0' && bytes[i] <= '9', "no status");
        head->reply->status =
            head->reply->status * 10 + (unsigned)(bytes[i] - '0');
    }
    line = (const char *)memmem(bytes, (size_t)(past - bytes), "\r\n", 2) + 2;
    while (past - line > 2) {
        const char *line_end = memmem(line, (size_t)(past - line), "\r\n", 2);

        read_field(head, line, line_end);
        line = line_end + 2;
    }
    return past;
}

static void check_head(const struct head *head)
{
    unsigned status = head->reply->status;
    unsigned bodies = status == 204 || status == 304 ? 0 : 1;

    fuzz_check(status >= 200 && status <= 599, "status %u", status);
    /* What needs more than hcsd ever says (RFC 9110, 15). */
    fuzz_check(status != 205 && status != 206 && status != 226 &&
                   (status / 100 != 3 || (status == 304 && !head->reply->job)),
        "status %u", status);
    fuzz_check(status != 401 && status != 407 && status != 416 &&
                   status != 426 && status != 511,
        "status %u", status);
    fuzz_check(status != 405 || (head->allows == 1 && !head->reply->job),
        "405 with %u Allow", head->allows);
    fuzz_check(status != 408 || head->reply->last, "408, and no end");
    fuzz_check(head->dates == 1 && head->ids == 1 && head->connections <= 1 &&
                   head->lengths == bodies && head->types == bodies,
        "status %u with %u dates, %u ids, %u connections, %u lengths, %u types",
        status, head->dates, head->ids, head->connections, head->lengths,
        head->types);
    fuzz_check(head->reply->id.length > 0, "an empty identifier");
}

static void check_body(const struct reply *reply)
{
    char status[32];
    char id[160];
    int length;

    if (reply->body.length == 0 ||
        (!is(reply->type, "application/json") &&
            !is(reply->type, "application/problem+json"))) {
        return;
    }
    fuzz_check(hcs_json_validate(reply->body.at, reply->body.length).error ==
                   HCS_JSON_OK,
        "a body that is no JSON: %.*s", (int)reply->body.length,
        reply->body.at);
    if (is(reply->type, "application/problem+json")) {
        length =
            snprintf(status, sizeof status, "\"status\":%u", reply->status);
        fuzz_check(memmem(reply->body.at, reply->body.length, status,
                       (size_t)length) != NULL,
            "a problem of another status than %u", reply->status);
    } else if (reply->job && starts(reply->body, "{\"status\":\"ok\"")) {
        length = snprintf(id, sizeof id, "\"request_id\":\"%.*s\"",
            (int)reply->id.length, reply->id.at);
        fuzz_check(memmem(reply->body.at, reply->body.length, id,
                       (size_t)length) != NULL,
            "the answer to another request");
    }
}

void replies_read(struct replies *replies, const char *bytes, size_t length)
{
    const char *at = bytes;
    const char *end;
    bool interim = false;

    replies->count = 0;
    replies->without_body = 0;
    replies->cut = false;
    if (length == 0) {
        return; /* bytes may be NULL, which has no NULL + 0 */
    }
    end = bytes + length;
    while (at < end) {
        struct reply *reply = &replies->list[replies->count];
        struct head head = {.reply = reply};
        const char *body;

        if (starts_with(at, end, INTERIM, INTERIM_LENGTH)) {
            fuzz_check(!interim, "two interim replies to one request");
            interim = true;
            at += INTERIM_LENGTH;
            continue;
        }
        fuzz_check(replies->count == 0 || !reply[-1].last,
            "a reply behind the last one");
        fuzz_check(replies->count + 1 < REPLIES_MAX, "too many replies");
        *reply = (struct reply){.status = 0};
        body = read_head(&head, at, end);
        if (body == NULL) {
            replies->cut = true;
            return;
        }
        check_head(&head);
        /* No body of ours starts as a reply does. */
        if (head.length > 0 &&
            (body == end || starts_with(body, end, VERSION, VERSION_LENGTH))) {
            replies->without_body++;
            head.length = 0;
        }
        if ((size_t)(end - body) < head.length) {
            replies->cut = true;
            return;
        }
        reply->body = (struct text){body, head.length};
        check_body(reply);
        at = body + head.length;
        replies->count++;
        interim = false;
    }
}

bool replies_is_made(struct text id)
{
    if (id.length != 36) {
        return false;
    }
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? id.at[i] != '-'
                 : memchr("0123456789abcdef", id.at[i], 16) == NULL) {
            return false;
        }
    }
    return id.at[14] == '7';
}
