/* The bytes of a reply's head. */
#include "http/response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Not terminated, as in a loop. */
static const char DATE[29] = {'S', 'u', 'n', ',', ' ', '0', '6', ' ', 'N', 'o',
    'v', ' ', '1', '9', '9', '4', ' ', '0', '8', ':', '4', '9', ':', '3', '7',
    ' ', 'G', 'M', 'T'};

#define DATED "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

/* Behind the head nothing may be touched. */
static const char *head(
    const struct hcs_exchange *exchange, const struct hcs_reply *reply)
{
    static char out[HCS_RESPONSE_HEAD_MAX + 1];
    size_t length;

    memset(out, 0x5a, sizeof(out));
    length = hcs_response_head(out, exchange, reply, DATE);
    assert_true(length <= HCS_RESPONSE_HEAD_MAX);
    for (size_t i = length; i < sizeof(out); i++) {
        assert_int_equal(out[i], 0x5a);
    }
    out[length] = '\0';
    assert_int_equal(strlen(out), length);
    return out;
}

static void plain_reply_says_no_more_than_it_must(void **state)
{
    (void)state;
    assert_string_equal(
        head(&(struct hcs_exchange){.status = 200,
                 .bytes_out = 15,
                 .id = "abc-and-more",
                 .id_length = 3},
            &(struct hcs_reply){.content_type = "application/json"}),
        "HTTP/1.1 200 OK\r\n" DATED "Content-Type: application/json\r\n"
        "Content-Length: 15\r\nX-Request-ID: abc\r\n\r\n");
}

static void every_field_has_its_place(void **state)
{
    (void)state;
    assert_string_equal(head(&(struct hcs_exchange){.status = 503,
                                 .bytes_out = 0,
                                 .id = "id",
                                 .id_length = 2,
                                 .timed = true,
                                 .queue_ns = 1200000,
                                 .run_ns = 3410000},
                            &(struct hcs_reply){.connection = HCS_REPLY_CLOSE,
                                .content_type = "application/problem+json",
                                .allow = "GET",
                                .accept_json = true,
                                .no_store = true,
                                .retry_after_s = 30}),
        "HTTP/1.1 503 Service Unavailable\r\n" DATED
        "Content-Type: application/problem+json\r\nContent-Length: 0\r\n"
        "X-Request-ID: id\r\nServer-Timing: queue;dur=1.20, run;dur=3.41\r\n"
        "Cache-Control: no-store\r\nAllow: GET\r\nAccept: application/json\r\n"
        "Retry-After: 30\r\nConnection: close\r\n\r\n");
}

static void fields_of_a_handler_stand_before_the_connections(void **state)
{
    static const char fields[] = "ETag: \"7\"\r\nX-Empty: \r\nand what follows";

    (void)state;
    assert_string_equal(
        head(&(struct hcs_exchange){.status = 302},
            &(struct hcs_reply){.connection = HCS_REPLY_CLOSE,
                .content_type = "text/plain",
                .fields = fields,
                .fields_length = strlen("ETag: \"7\"\r\nX-Empty: \r\n")}),
        "HTTP/1.1 302 Found\r\n" DATED
        "Content-Type: text/plain\r\nContent-Length: 0\r\n"
        "ETag: \"7\"\r\nX-Empty: \r\nConnection: close\r\n\r\n");
}

static void keeping_is_said_only_where_it_needs_to_be(void **state)
{
    struct hcs_exchange exchange = {.status = 200};
    struct hcs_reply reply = {.content_type = "text/plain"};

    (void)state;
    reply.connection = HCS_REPLY_KEEP;
    assert_null(strstr(head(&exchange, &reply), "Connection:"));
    reply.connection = HCS_REPLY_KEEP_SAID;
    assert_non_null(
        strstr(head(&exchange, &reply), "\r\nConnection: keep-alive\r\n"));
    reply.connection = HCS_REPLY_CLOSE;
    assert_non_null(
        strstr(head(&exchange, &reply), "\r\nConnection: close\r\n"));
}

/* RFC 9110, section 8.6. */
static void no_content_has_no_length_and_no_type(void **state)
{
    (void)state;
    assert_string_equal(head(&(struct hcs_exchange){.status = 204},
                            &(struct hcs_reply){.allow = "GET, HEAD"}),
        "HTTP/1.1 204 No Content\r\n" DATED "Allow: GET, HEAD\r\n\r\n");
}

/* RFC 9110, sections 8.6 and 15.4.5: what describes content stays out, since it
 * would have to be that of the 200; what is about storing stays in. */
static void not_modified_has_no_length_and_no_type(void **state)
{
    (void)state;
    assert_string_equal(head(&(struct hcs_exchange){.status = 304},
                            &(struct hcs_reply){.content_type = "text/plain",
                                .no_store = true}),
        "HTTP/1.1 304 Not Modified\r\n" DATED
        "Cache-Control: no-store\r\n\r\n");
}

/* RFC 9112, section 4: the space stands even before an empty phrase. */
static void status_without_a_phrase_keeps_its_space(void **state)
{
    (void)state;
    assert_string_equal(hcs_status_text(599), "");
    assert_string_equal(head(&(struct hcs_exchange){.status = 599},
                            &(struct hcs_reply){.content_type = "a/b"}),
        "HTTP/1.1 599 \r\n" DATED
        "Content-Type: a/b\r\nContent-Length: 0\r\n\r\n");
}

static void phrases_are_those_of_the_registry(void **state)
{
    (void)state;
    assert_string_equal(hcs_status_text(200), "OK");
    assert_string_equal(hcs_status_text(413), "Content Too Large");
    assert_string_equal(hcs_status_text(422), "Unprocessable Content");
    assert_string_equal(
        hcs_status_text(431), "Request Header Fields Too Large");
    assert_string_equal(hcs_status_text(504), "Gateway Timeout");
    assert_string_equal(hcs_status_text(304), "Not Modified");
    assert_string_equal(hcs_status_text(308), "Permanent Redirect");
    assert_string_equal(hcs_status_text(401), "Unauthorized");
    /* Registered, but not for those who send them here. */
    for (unsigned status = 300; status < 400; status++) {
        assert_int_equal(hcs_status_text(status)[0] != '\0',
            (status >= 301 && status <= 304) || status == 307 || status == 308);
    }
    assert_string_equal(hcs_status_text(407), "");
    assert_string_equal(hcs_status_text(0), "");
}

static void longest_reply_fits(void **state)
{
    char type[HCS_CONTENT_TYPE_MAX + 100];
    char id[HCS_REQUEST_ID_MAX];
    char cut[sizeof("Content-Type: ") + sizeof(type)];
    static char fields[HCS_RESPONSE_FIELDS_MAX];
    struct hcs_exchange exchange = {.bytes_out = SIZE_MAX,
        .id = id,
        .id_length = sizeof(id),
        .timed = true,
        .queue_ns = UINT64_MAX,
        .run_ns = UINT64_MAX};
    struct hcs_reply reply = {.connection = HCS_REPLY_KEEP_SAID,
        .content_type = type,
        .fields = fields,
        .fields_length = sizeof(fields),
        .allow = "GET, HEAD, POST, OPTIONS",
        .accept_json = true,
        .no_store = true,
        .retry_after_s = UINT32_MAX};
    const char *text;

    (void)state;
    memset(type, 't', sizeof(type) - 1);
    type[sizeof(type) - 1] = '\0';
    memset(id, 'i', sizeof(id));
    memset(fields, 'f', sizeof(fields));
    memcpy(fields, "F: ", 3);
    memcpy(fields + sizeof(fields) - 2, "\r\n", 2);
    snprintf(cut, sizeof(cut), "Content-Type: %.*s\r\n",
        (int)HCS_CONTENT_TYPE_MAX, type);
    for (unsigned status = 200; status < 600; status++) {
        exchange.status = status;
        text = head(&exchange, &reply); /* looks that it fits */
        if (status != 204 && status != 304) {
            assert_non_null(strstr(text, cut));
            assert_non_null(strstr(text, "18446744073709551615"));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_reply_says_no_more_than_it_must),
        cmocka_unit_test(every_field_has_its_place),
        cmocka_unit_test(fields_of_a_handler_stand_before_the_connections),
        cmocka_unit_test(keeping_is_said_only_where_it_needs_to_be),
        cmocka_unit_test(no_content_has_no_length_and_no_type),
        cmocka_unit_test(not_modified_has_no_length_and_no_type),
        cmocka_unit_test(status_without_a_phrase_keeps_its_space),
        cmocka_unit_test(phrases_are_those_of_the_registry),
        cmocka_unit_test(longest_reply_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
