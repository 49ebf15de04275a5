#include "http/problem.h"

#include "base/text.h"

#include <string.h>

static const char *const ADVICE[HCS_REASON_COUNT] = {
    [HCS_REASON_BAD_REQUEST_LINE] =
        "The request line must be METHOD, one space, target, one space, "
        "HTTP/1.1, CR LF (RFC 9112, section 3).",
    [HCS_REASON_BAD_TARGET] =
        "The request target must be a path with an optional query, without "
        "fragment, raw spaces, control or non-ASCII bytes; percent-encode "
        "them (RFC 9112, section 3.2).",
    [HCS_REASON_BAD_FIELD] =
        "A header field must be NAME: VALUE on one line, with no space before "
        "the colon and no control bytes (RFC 9112, section 5).",
    [HCS_REASON_BAD_LINE_END] =
        "Lines must end in CR LF; a CR or LF alone is refused (RFC 9112, "
        "section 2.2).",
    [HCS_REASON_BAD_HOST] =
        "An HTTP/1.1 request must have exactly one Host field, with a host "
        "and an optional port (RFC 9112, section 3.2).",
    [HCS_REASON_BAD_CONTENT_LENGTH] =
        "Content-Length must stand once and be a plain decimal number (RFC "
        "9112, section 6.3).",
    [HCS_REASON_BAD_TRANSFER_ENCODING] =
        "Transfer-Encoding must stand once, in HTTP/1.1 only, never beside "
        "Content-Length, and end in chunked (RFC 9112, section 6).",
    [HCS_REASON_BAD_CHUNK] =
        "The chunked body is not framed as RFC 9112, section 7.1 says.",
    [HCS_REASON_BAD_JSON] =
        "The body must be one JSON value (RFC 8259), in UTF-8.",
    [HCS_REASON_NOT_FOUND] =
        "No handler has this path. Paths are exact; HANDLERS maps them.",
    [HCS_REASON_METHOD_NOT_ALLOWED] =
        "The resource does not know this method; the Allow field lists those "
        "that it knows.",
    [HCS_REASON_HEADER_TIMEOUT] =
        "The header section did not arrive within READ_TIMEOUT.",
    [HCS_REASON_BODY_TIMEOUT] = "The body did not arrive within READ_TIMEOUT.",
    [HCS_REASON_UPLOAD_TOO_SLOW] =
        "The request arrived more slowly than MIN_UPLOAD_RATE.",
    [HCS_REASON_PRECONDITION_FAILED] =
        "The resource exists and has no entity tag: If-Match holds only with "
        "*, and If-None-Match only without (RFC 9110, section 13.1).",
    [HCS_REASON_BODY_TOO_LARGE] =
        "The body is larger than MAX_BODY_SIZE. Send less, or split the job.",
    [HCS_REASON_TARGET_TOO_LONG] =
        "The request line is longer than MAX_HEADER_SIZE. Send the data in "
        "the body.",
    [HCS_REASON_BAD_MEDIA_TYPE] =
        "A job's body must be JSON: send Content-Type: application/json "
        "(curl's -d alone says application/x-www-form-urlencoded; add -H "
        "'Content-Type: application/json').",
    [HCS_REASON_BAD_CONTENT_ENCODING] =
        "Send the body as it is, without a Content-Encoding.",
    [HCS_REASON_BAD_EXPECTATION] =
        "The only expectation that can be met is 100-continue.",
    [HCS_REASON_MISDIRECTED] =
        "The target is an https URI, and this connection is not secured. Send "
        "the path alone, or use http (RFC 9110, section 7.4).",
    [HCS_REASON_INVALID_JOB] =
        "The body is valid JSON, but not a job for this handler.",
    [HCS_REASON_HEADER_TOO_LARGE] =
        "The header section is larger than MAX_HEADER_SIZE, or has more "
        "fields than are allowed.",
    [HCS_REASON_NOT_IMPLEMENTED] =
        "The method is none that HTTP knows; methods are case-sensitive.",
    [HCS_REASON_BAD_CODING] =
        "The only transfer coding that is understood is chunked, alone.",
    [HCS_REASON_BAD_VERSION] = "Speak HTTP/1.1 or HTTP/1.0.",
    [HCS_REASON_QUEUE_FULL] =
        "More jobs wait than QUEUE_SIZE allows. Try again after Retry-After.",
    [HCS_REASON_QUEUE_TIMEOUT] =
        "No worker was free within QUEUE_TIMEOUT; the job was not run. Try "
        "again after Retry-After.",
    [HCS_REASON_MEMORY_PRESSURE] =
        "Bodies, parse trees and replies would take more than MEMORY_BUDGET. "
        "Try again after Retry-After, or send less at once.",
    [HCS_REASON_TOO_MANY_CONNECTIONS] =
        "MAX_CONNECTIONS are open. Use fewer, keep them alive, or try again "
        "later.",
    [HCS_REASON_NO_DESCRIPTORS] =
        "The process may open no more files. Raise its limit (LimitNOFILE, "
        "ulimit -n), or try again later.",
    [HCS_REASON_DRAINING] =
        "This process is ending. Try again: another one may answer.",
    [HCS_REASON_STARTING] =
        "Not all handlers are open yet. Jobs that are sent now wait in the "
        "queue; /readyz answers 200 when all handlers are open.",
    [HCS_REASON_HANDLER_UNAVAILABLE] =
        "What the handler works with, such as a database, is away. Try again "
        "after Retry-After.",
    [HCS_REASON_HANDLER_DIED] =
        "What did the job ended before it had answered, or answered what makes "
        "no sense. The job may have been done, or a part of it.",
    [HCS_REASON_HANDLER_FAILED] = "The handler could not do the job.",
    [HCS_REASON_DEADLINE_EXCEEDED] =
        "The job did not end within JOB_TIMEOUT, or its path's timeout; its "
        "late result is thrown away.",
    [HCS_REASON_CLIENT_CLOSED] = "The client closed an idle connection.",
    [HCS_REASON_CLIENT_LEFT] =
        "The client closed the connection while its job waited or ran.",
    [HCS_REASON_CLIENT_RESET] = "The client reset the connection.",
    [HCS_REASON_REQUEST_TRUNCATED] =
        "The client closed the connection in the middle of a request.",
    [HCS_REASON_KEEPALIVE_END] =
        "The connection ended after a reply, as one side had asked.",
    [HCS_REASON_IDLE_TIMEOUT] = "No request came within IDLE_TIMEOUT.",
    [HCS_REASON_WRITE_TIMEOUT] =
        "The client took no byte of its reply within WRITE_TIMEOUT.",
    [HCS_REASON_DRAINED] = "An idle connection was closed at shutdown.",
    [HCS_REASON_SHUTDOWN] =
        "SHUTDOWN_TIMEOUT passed before the connection could end.",
    [HCS_REASON_IO_ERROR] = "Reading or writing the socket failed.",
};

const char *hcs_reason_advice(enum hcs_reason reason)
{
    return ADVICE[reason] != NULL ? ADVICE[reason] : "";
}

struct page {
    char *at;
};

static void raw(struct page *page, const char *text, size_t length)
{
    memcpy(page->at, text, length);
    page->at += length;
}

static void text(struct page *page, const char *literal)
{
    raw(page, literal, strlen(literal));
}

/* Writes text of a handler or a parser as the inside of a JSON string. Bytes
 * that would need more than a backslash become "?". So do bytes that are not
 * UTF-8, such as half of a character that was cut. */
static void escaped(struct page *page, const char *from, size_t length)
{
    size_t step;

    for (size_t i = 0; i < length; i += step) {
        unsigned char c = (unsigned char)from[i];
        bool valid = c >= 0x20 && c != 0x7f;

        step = 1;
        if (c >= 0x80) {
            step = hcs_text_utf8(
                (const unsigned char *)from + i, length - i, &valid);
        } else if (c == '"' || c == '\\') {
            *page->at++ = '\\';
        }
        if (valid) {
            raw(page, from + i, step);
        } else {
            *page->at++ = '?';
        }
    }
}

static void number(struct page *page, const char *name, uint64_t value)
{
    text(page, ",\"");
    text(page, name);
    text(page, "\":");
    page->at += hcs_text_u64(page->at, value);
}

static void open_document(struct page *page, enum hcs_reason reason)
{
    text(page, "{\"type\":\"/problems/");
    text(page, hcs_reason_word(reason));
    text(page, "\",\"title\":\"");
    text(page, hcs_reason_title(reason));
    text(page, "\"");
    number(page, "status", hcs_reason_status(reason));
    text(page, ",\"detail\":\"");
}

size_t hcs_problem_write(char *out, const struct hcs_problem *problem)
{
    struct page page = {out};
    const char *detail = problem->detail;
    size_t length = problem->detail_length;

    open_document(&page, problem->reason);
    if (detail == NULL) {
        detail = hcs_reason_advice(problem->reason);
        length = strlen(detail);
    } else if (length > HCS_PROBLEM_DETAIL_MAX) {
        length = HCS_PROBLEM_DETAIL_MAX;
    }
    escaped(&page, detail, length);
    text(&page, "\"");
    if (problem->instance != NULL) {
        text(&page, ",\"instance\":\"urn:uuid:");
        raw(&page, problem->instance, HCS_TEXT_UUID_LENGTH);
        text(&page, "\"");
    }
    if (problem->retry_after_ms > 0) {
        number(&page, "retry_after_ms", problem->retry_after_ms);
        number(&page, "queue_depth", problem->queue_depth);
    }
    text(&page, "}\n");
    return (size_t)(page.at - out);
}

size_t hcs_problem_page(char *out, const char *word, size_t word_length)
{
    struct page page = {out};

    for (int i = HCS_REASON_NONE + 1; i < HCS_REASON_COUNT; i++) {
        enum hcs_reason reason = (enum hcs_reason)i;
        const char *own = hcs_reason_word(reason);

        if (strlen(own) == word_length && memcmp(own, word, word_length) == 0) {
            open_document(&page, reason);
            escaped(&page, hcs_reason_advice(reason),
                strlen(hcs_reason_advice(reason)));
            text(&page, "\"}\n");
            return (size_t)(page.at - out);
        }
    }
    return 0;
}
