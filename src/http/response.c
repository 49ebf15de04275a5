#include "http/response.h"

#include "base/clock.h"
#include "base/text.h"

#include <assert.h>
#include <string.h>

/* The statuses that hcsd sends, and all of the registry (RFC 9110, section
 * 16.2.1) that a handler may set. */
static const struct {
    unsigned status;
    const char *text;
} STATUSES[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
};

const char *hcs_status_text(unsigned status)
{
    for (size_t i = 0; i < sizeof(STATUSES) / sizeof(STATUSES[0]); i++) {
        if (STATUSES[i].status == status) {
            return STATUSES[i].text;
        }
    }
    return "";
}

static char *put(char *at, const char *text, size_t length)
{
    memcpy(at, text, length);
    return at + length;
}

#define PUT(at, literal) put((at), (literal), sizeof(literal) - 1)

static char *put_status_line(char *at, unsigned status)
{
    if (status == 200) {
        return PUT(at, "HTTP/1.1 200 OK\r\nDate: ");
    }
    const char *text = hcs_status_text(status);

    at = PUT(at, "HTTP/1.1 ");
    at += hcs_text_u64(at, status);
    *at++ = ' ';
    at = put(at, text, strlen(text));
    return PUT(at, "\r\nDate: ");
}

size_t hcs_response_head(char *out, const struct hcs_exchange *exchange,
    const struct hcs_reply *reply, const char *date)
{
    char *at = put_status_line(out, exchange->status);

    assert(exchange->id_length <= HCS_REQUEST_ID_MAX);
    at = put(at, date, HCS_HTTP_DATE_LENGTH);
    /* RFC 9110, 8.6: a 204 has no Content-Length. A 304 may have only that of
     * the 200, which is not known here. */
    if (exchange->status != 204 && exchange->status != 304) {
        at = PUT(at, "\r\nContent-Type: ");
        at = put(at, reply->content_type,
            strnlen(reply->content_type, HCS_CONTENT_TYPE_MAX));
        at = PUT(at, "\r\nContent-Length: ");
        at += hcs_text_u64(at, exchange->bytes_out);
    }
    if (exchange->id_length > 0) {
        at = PUT(at, "\r\nX-Request-ID: ");
        at = put(at, exchange->id, exchange->id_length);
    }
    if (exchange->timed) {
        at = PUT(at, "\r\nServer-Timing: queue;dur=");
        at += hcs_text_ms2(at, exchange->queue_ns);
        at = PUT(at, ", run;dur=");
        at += hcs_text_ms2(at, exchange->run_ns);
    }
    if (reply->no_store) {
        at = PUT(at, "\r\nCache-Control: no-store");
    }
    if (reply->allow != NULL) {
        at = PUT(at, "\r\nAllow: ");
        at = put(at, reply->allow, strlen(reply->allow));
    }
    if (reply->accept_json) {
        at = PUT(at, "\r\nAccept: application/json");
    }
    if (reply->retry_after_s > 0) {
        at = PUT(at, "\r\nRetry-After: ");
        at += hcs_text_u64(at, reply->retry_after_s);
    }
    if (reply->fields_length > 0) {
        at = PUT(at, "\r\n");
        at = put(at, reply->fields,
            reply->fields_length - 2); /* without the last CRLF */
    }
    if (reply->connection == HCS_REPLY_CLOSE) {
        at = PUT(at, "\r\nConnection: close");
    } else if (reply->connection == HCS_REPLY_KEEP_SAID) {
        at = PUT(at, "\r\nConnection: keep-alive");
    }
    at = PUT(at, "\r\n\r\n");
    assert((size_t)(at - out) <= HCS_RESPONSE_HEAD_MAX);
    return (size_t)(at - out);
}
