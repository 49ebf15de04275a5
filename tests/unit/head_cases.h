/*
 * Header sections and the verdict on each: for the tests of the head, and for
 * those that give it another llhttp. A case belongs to the test whose name its
 * list has.
 */
#ifndef HEAD_CASES_H
#define HEAD_CASES_H

#include "http/reason.h"

#include <stddef.h>

struct head_case {
    enum hcs_reason reason; /* of the refusal; NONE: accepted */
    size_t length;
    const char *bytes;
};

#define ROW(reason, bytes)                                                     \
    {                                                                          \
        HCS_REASON_##reason, sizeof(bytes) - 1, bytes                          \
    }

#define LINE "GET / HTTP/1.1\r\n"
#define HOST "Host: a\r\n"
#define END "\r\n"

/* ---- request line ---- */

static const struct head_case
    request_line_has_three_parts_and_two_spaces_cases[] = {
        ROW(NONE, LINE HOST END),
        ROW(BAD_REQUEST_LINE, "GET  / HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET /  HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.1 \r\n" HOST END),
        ROW(BAD_REQUEST_LINE, " GET / HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "\tGET / HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET\t/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET /\tHTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.1\t\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / a HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.1 HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET \r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET /\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / \r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.1GET / HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, " / HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "\r\n" LINE HOST END),
        ROW(BAD_REQUEST_LINE, ":\r\n\r\n"), ROW(BAD_REQUEST_LINE, "\0")};

static const struct head_case method_is_a_token_cases[] = {
    ROW(BAD_REQUEST_LINE, "G(T / HTTP/1.1\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "GET: / HTTP/1.1\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "G\"T / HTTP/1.1\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "G\0T / HTTP/1.1\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "GET\x80 / HTTP/1.1\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "GET\x7f / HTTP/1.1\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "\xef\xbb\xbfGET / HTTP/1.1\r\n" HOST END)};

static const struct head_case unknown_token_is_not_implemented_cases[] = {
    ROW(NOT_IMPLEMENTED, "FOO / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "G / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "get / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "Get / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "GETT / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "GE / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "POSTS / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "HEADS / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "OPTION * HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "OPTIONSX * HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "connect a:1 HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\n" HOST END),
    /* known to llhttp for RTSP only, or in some versions only */
    ROW(NOT_IMPLEMENTED, "DESCRIBE / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "PLAY / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "FLUSH / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "QUERY / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "PRI * HTTP/1.1\r\n" HOST END),
    /* 32 bytes wait for what follows, 33 do not */
    ROW(BAD_REQUEST_LINE, "0123456789abcdef0123456789ABCDEF\r\n"),
    ROW(NOT_IMPLEMENTED, "0123456789abcdef0123456789ABCDEF0\r\n"),
    ROW(NOT_IMPLEMENTED, "0123456789abcdef0123456789ABCDEF0")};

static const struct head_case
    major_versions_other_than_one_are_unsupported_cases[] = {
        ROW(BAD_VERSION, "GET / HTTP/0.9\r\n" HOST END),
        ROW(BAD_VERSION, "GET / HTTP/2.0\r\n" HOST END),
        ROW(BAD_VERSION, "GET / HTTP/2.1\r\n"),
        ROW(BAD_VERSION, "GET / HTTP/3.0\r\n" HOST END),
        ROW(BAD_VERSION, "GET / HTTP/9.9\r\n" HOST END),
        ROW(BAD_VERSION, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ROW(BAD_VERSION, "FOO / HTTP/2.0\r\n" HOST END)};

static const struct head_case malformed_version_is_a_bad_request_line_cases[] =
    {ROW(BAD_REQUEST_LINE, "GET / HTTP/1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/11\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.10\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/01.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/10.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1,1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/-1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/a.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.a\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP /1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / http/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / Http/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTPS/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / RTSP/1.0\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "SOURCE / ICE/1.0\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.1;\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET / HTTP/1.\xb9\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "FOO / HTTP/x.1\r\n" HOST END)};

/* ---- target ---- */

static const struct head_case
    target_has_the_form_that_goes_with_the_method_cases[] = {
        ROW(NONE, "OPTIONS * HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET * HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "HEAD * HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "POST * HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "TRACE * HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "M-SEARCH * HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "OPTIONS ** HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "OPTIONS *? HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "OPTIONS */ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET a HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET a/b HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET ?q HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET a:80 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET [::1]:80 HTTP/1.1\r\n" HOST END),
        ROW(NONE, "CONNECT a:80 HTTP/1.1\r\n" HOST END),
        ROW(NONE, "CONNECT 192.0.2.1:80 HTTP/1.1\r\n" HOST END),
        ROW(NONE, "CONNECT [::1]:65535 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT / HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT * HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT a HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT a: HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT a:0 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT a:65536 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT a:x HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT a:80/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT a:80?q HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT :80 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT u@a:80 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "CONNECT http://a:80/ HTTP/1.1\r\n" HOST END)};

static const struct head_case
    absolute_form_is_http_with_a_valid_authority_cases[] = {
        ROW(NONE, "GET http://a HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET http://a/ HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET https://a/ HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET HTTP://a/ HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET hTTps://a/ HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET http://a:80/b?c HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET http://a:/b HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET http://a?b HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET http://[::1]/ HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET http://[2001:db8::1.2.3.4]:80 HTTP/1.1\r\n" HOST END),
        ROW(NONE, "GET http://a.b-c_d~!$&'()*+;=%41/ HTTP/1.1\r\n" HOST END),
        ROW(NONE, "PUT http://a HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http:// HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http:/// HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http:///a HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://?a HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://:80/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http:/a HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http:a HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET ftp://a/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET httpx://a/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET httpss://a/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET urn:a HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://u@a/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://u:p@a/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://a,b/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://a:x/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://a:80:80/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://a:65536/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://[::1/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://::1]/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://[::g]/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://[::1]a/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://[v1.a]/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://a/[b] HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://a?[b] HTTP/1.1\r\n" HOST END)};

static const struct head_case absolute_form_has_the_say_over_host_cases[] = {
    ROW(BAD_HOST, "GET http://a/ HTTP/1.1\r\n" END),
    ROW(BAD_HOST, "GET http://a/ HTTP/1.1\r\nHost:\r\n" END),
    ROW(BAD_HOST, "GET http://a/ HTTP/1.1\r\nHost: a b\r\n" END),
    ROW(BAD_HOST, "GET http://a/ HTTP/1.1\r\n" HOST HOST END),
    ROW(BAD_HOST, "GET http://a/ HTTP/1.0\r\n" HOST HOST END)};

static const struct head_case
    percent_sign_needs_two_hexadecimal_digits_cases[] = {
        ROW(NONE, "GET /%0a%AF%fA HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET /% HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET /%4 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET /%g0 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET /%0g HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET /%%41 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET /?% HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET /%u0041 HTTP/1.1\r\n" HOST END),
        ROW(BAD_TARGET, "GET http://a%4/ HTTP/1.1\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET /%\r\n" HOST END),
        ROW(BAD_REQUEST_LINE, "GET /%4\r\n" HOST END),
        ROW(BAD_LINE_END, "GET /%4\n" HOST END)};

/* ---- lines and fields ---- */

static const struct head_case lines_end_in_crlf_exactly_cases[] = {
    ROW(BAD_LINE_END, "GET / HTTP/1.1\n" HOST END),
    ROW(BAD_LINE_END, "GET / HTTP/1.1\r" HOST END),
    ROW(BAD_LINE_END, "GET / HTTP/1.1\r\r\n" HOST END),
    ROW(BAD_LINE_END, "GET / HTTP/1.1\n\r" HOST END),
    ROW(BAD_LINE_END, "GET / HTTP/1.1\n\n"),
    ROW(BAD_LINE_END, "GET\n/ HTTP/1.1\r\n" HOST END),
    ROW(BAD_LINE_END, "GET\r/ HTTP/1.1\r\n" HOST END),
    ROW(BAD_LINE_END, "GE\rT / HTTP/1.1\r\n" HOST END),
    ROW(BAD_LINE_END, "GET /a\rb HTTP/1.1\r\n" HOST END),
    ROW(BAD_LINE_END, "GET /a\nb HTTP/1.1\r\n" HOST END),
    ROW(BAD_LINE_END, "GET /\n"), ROW(BAD_LINE_END, "GET /\rX"),
    ROW(BAD_LINE_END, "GET / HT\rTP/1.1\r\n" HOST END),
    ROW(BAD_LINE_END, "\n" LINE HOST END),
    ROW(BAD_LINE_END, "\rGET / HTTP/1.1\r\n" HOST END),
    ROW(BAD_LINE_END, LINE "Host: a\n\r\n"),
    ROW(BAD_LINE_END, LINE "Host: a\r\r\n\r\n"),
    ROW(BAD_LINE_END, LINE "Host: a\rb\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A: b\r c\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A: b\n c\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A\r: b\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A\n: b\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A\n\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "\n"), ROW(BAD_LINE_END, LINE HOST "\r\r"),
    ROW(BAD_LINE_END, LINE HOST "\rA: b\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A: b\nB: c\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A:\n\r\n")};

static const struct head_case fields_have_a_name_and_a_colon_behind_it_cases[] =
    {ROW(NONE, LINE HOST "A:b\r\n\r\n"), ROW(NONE, LINE HOST "A:\r\n\r\n"),
        ROW(NONE, LINE HOST "A: \r\n\r\n"),
        ROW(NONE, LINE HOST "A: \t \t\r\n\r\n"),
        ROW(NONE, LINE HOST "A: b \t c \t \r\n\r\n"),
        ROW(NONE, LINE HOST "A::b\r\n\r\n"),
        ROW(NONE, LINE HOST "A: \"b\x80\xff{}[]\\\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A : b\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A\t: b\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST ": b\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST ":\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A b\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A B: c\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A\0: b\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A: b\0\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "\0: b\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A: \x01\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A: \x0b\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "A: \x7f\r\n\r\n"),
        ROW(BAD_FIELD, LINE HOST "\xe9: b\r\n\r\n")};

static const struct head_case folded_lines_are_refused_cases[] = {
    ROW(BAD_FIELD, LINE " Host: a\r\n\r\n"),
    ROW(BAD_FIELD, LINE "\tHost: a\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A: b\r\n c\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A: b\r\n\tc\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A: b\r\n \r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A:\r\n b\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "Content-Length:\r\n 5\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "Transfer-Encoding:\r\n chunked\r\n\r\n")};

/* ---- Host ---- */

static const struct head_case host_is_there_once_cases[] = {
    ROW(BAD_HOST, LINE END), ROW(BAD_HOST, LINE "Hosts: a\r\n" END),
    ROW(BAD_HOST, LINE "Hos: a\r\nXost: a\r\n" END),
    ROW(BAD_HOST, LINE HOST HOST END),
    ROW(BAD_HOST, LINE HOST "A: b\r\nhOST: b\r\n" END),
    ROW(NONE, LINE "hOsT: a\r\n" END), ROW(NONE, LINE "HOST:a\r\n" END),
    ROW(BAD_HOST, "PUT / HTTP/1.1\r\n" END),
    ROW(BAD_HOST, "GET / HTTP/1.7\r\n" END),
    ROW(NONE, "GET / HTTP/1.0\r\n" END),
    ROW(NONE, "GET / HTTP/1.0\r\n" HOST END),
    ROW(BAD_HOST, "GET / HTTP/1.0\r\n" HOST HOST END),
    ROW(BAD_HOST, "GET / HTTP/1.0\r\nHost:\r\n" END)};

static const struct head_case
    host_is_a_name_or_address_with_an_optional_port_cases[] = {
        ROW(NONE, LINE "Host: localhost:8080\r\n" END),
        ROW(NONE, LINE "Host: \t a \t \r\n" END),
        ROW(NONE, LINE "Host: 192.0.2.1\r\n" END),
        ROW(NONE, LINE "Host: 192.0.2.1:80\r\n" END),
        ROW(NONE, LINE "Host: a.b-c_d~e!$&'()*+;=\r\n" END),
        ROW(NONE, LINE "Host: %41b%2e\r\n" END),
        ROW(NONE, LINE "Host: a:\r\n" END), ROW(NONE, LINE "Host: a:0\r\n" END),
        ROW(NONE, LINE "Host: a:00080\r\n" END),
        ROW(NONE, LINE "Host: a:65535\r\n" END),
        ROW(NONE, LINE "Host: [::]\r\n" END),
        ROW(NONE, LINE "Host: [::1]:80\r\n" END),
        ROW(NONE, LINE "Host: [2001:db8:1:2:3:4:5:6]\r\n" END),
        ROW(NONE, LINE "Host: [::ffff:192.0.2.1]\r\n" END),
        ROW(NONE, LINE "Host: [ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]"
                       ":65535\r\n" END),
        ROW(BAD_HOST, LINE "Host:\r\n" END),
        ROW(BAD_HOST, LINE "Host: \r\n" END),
        ROW(BAD_HOST, LINE "Host: :80\r\n" END),
        ROW(BAD_HOST, LINE "Host: a:65536\r\n" END),
        ROW(BAD_HOST, LINE "Host: a:4294967376\r\n" END),
        ROW(BAD_HOST, LINE "Host: a:18446744073709551696\r\n" END),
        ROW(BAD_HOST, LINE "Host: a:-1\r\n" END),
        ROW(BAD_HOST, LINE "Host: a:8x\r\n" END),
        ROW(BAD_HOST, LINE "Host: a:80:80\r\n" END),
        ROW(BAD_HOST, LINE "Host: a: 80\r\n" END),
        ROW(BAD_HOST, LINE "Host: a b\r\n" END),
        ROW(BAD_HOST, LINE "Host: a, b\r\n" END),
        ROW(BAD_HOST, LINE "Host: a,b\r\n" END),
        ROW(BAD_HOST, LINE "Host: a/\r\n" END),
        ROW(BAD_HOST, LINE "Host: a/b\r\n" END),
        ROW(BAD_HOST, LINE "Host: http://a\r\n" END),
        ROW(BAD_HOST, LINE "Host: u@a\r\n" END),
        ROW(BAD_HOST, LINE "Host: u:p@a\r\n" END),
        ROW(BAD_HOST, LINE "Host: a?b\r\n" END),
        ROW(BAD_HOST, LINE "Host: a#b\r\n" END),
        ROW(BAD_HOST, LINE "Host: a%\r\n" END),
        ROW(BAD_HOST, LINE "Host: a%4\r\n" END),
        ROW(BAD_HOST, LINE "Host: a%4g\r\n" END),
        ROW(BAD_HOST, LINE "Host: \xe9\r\n" END),
        ROW(BAD_HOST, LINE "Host: ::1\r\n" END),
        ROW(BAD_HOST, LINE "Host: [::1\r\n" END),
        ROW(BAD_HOST, LINE "Host: ::1]\r\n" END),
        ROW(BAD_HOST, LINE "Host: []\r\n" END),
        ROW(BAD_HOST, LINE "Host: [::1]80\r\n" END),
        ROW(BAD_HOST, LINE "Host: [::1]]\r\n" END),
        ROW(BAD_HOST, LINE "Host: [[::1]]\r\n" END),
        ROW(BAD_HOST, LINE "Host: [1::2::3]\r\n" END),
        ROW(BAD_HOST, LINE "Host: [12345::]\r\n" END),
        ROW(BAD_HOST, LINE "Host: [1:2:3:4:5:6:7:8:9]\r\n" END),
        ROW(BAD_HOST, LINE "Host: [::1%25eth0]\r\n" END),
        ROW(BAD_HOST, LINE "Host: [192.0.2.1]\r\n" END),
        ROW(BAD_HOST, LINE "Host: [v1.a]\r\n" END),
        ROW(BAD_HOST, LINE
            "Host: [ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255:]\r\n" END),
        ROW(BAD_HOST, LINE "Host: [0000:0000:0000:0000:0000:0000:0000:0000"
                           "0000]\r\n" END)};

static const struct head_case
    host_seen_before_is_no_excuse_for_another_cases[] = {
        ROW(NONE, LINE "Host: localhost:8080\r\n" END),
        ROW(NONE, LINE "Host: localhost:8080\r\n" END),
        ROW(BAD_HOST, LINE "Host: localhost/8080\r\n" END),
        ROW(BAD_HOST, LINE "Host: localhost:808x\r\n" END),
        ROW(BAD_HOST, LINE "Host: localhost:80 0\r\n" END),
        ROW(BAD_HOST, LINE "Host:\r\n" END),
        ROW(NONE, LINE "Host: [::1]:8080\r\n" END),
        ROW(BAD_HOST, LINE "Host: [::1\r\n" END),
        ROW(NONE, LINE "Host: localhost:8080\r\n" END),
        /* as long as is remembered, and one more */
        ROW(NONE, LINE "Host: 0123456789012345678901234567890123456789"
                       "012345678901234567890123\r\n" END),
        ROW(BAD_HOST, LINE "Host: 0123456789012345678901234567890123456789"
                           "01234567890123456789012/\r\n" END),
        ROW(NONE, LINE "Host: 0123456789012345678901234567890123456789"
                       "0123456789012345678901234\r\n" END),
        ROW(BAD_HOST, LINE "Host: 0123456789012345678901234567890123456789"
                           "012345678901234567890123/\r\n" END)};

/* ---- body framing ---- */

#define LENGTH(value)                                                          \
    ROW(BAD_CONTENT_LENGTH, LINE HOST "Content-Length:" value "\r\n" END),     \
        ROW(BAD_CONTENT_LENGTH,                                                \
            "PUT / HTTP/1.0\r\nContent-Length:" value "\r\n" END)

static const struct head_case content_length_is_one_plain_number_cases[] = {
    ROW(NONE, LINE HOST "Content-Length: 0\r\n" END),
    ROW(NONE, LINE HOST "content-length:5\r\n" END),
    ROW(NONE, LINE HOST "CONTENT-LENGTH:   5  \r\n" END),
    ROW(NONE, LINE HOST "Content-Length: 9223372036854775807\r\n" END),
    LENGTH(""), LENGTH(" "), LENGTH(" 00"), LENGTH(" 05"), LENGTH(" 0x5"),
    LENGTH(" +5"), LENGTH(" -5"), LENGTH(" 5 5"), LENGTH(" 5,5"),
    LENGTH(" 5, 5"), LENGTH(" 5,"), LENGTH(" ,5"), LENGTH(" 5;"), LENGTH("\t5"),
    LENGTH(" \t 5"), LENGTH(" 5\t"), LENGTH(" 5 \t "), LENGTH(" 5a"),
    LENGTH(" a"), LENGTH(" 5.0"), LENGTH(" 1e3"), LENGTH(" 5_0"),
    LENGTH(" \"5\""), LENGTH(" \xb2"), LENGTH(" chunked"),
    LENGTH(" 9223372036854775808"), LENGTH(" 9223372036854775810"),
    LENGTH(" 10000000000000000000"), LENGTH(" 18446744073709551616"),
    LENGTH(" 18446744073709551621"),
    LENGTH(" 340282366920938463463374607431768211461"),
    LENGTH(" 5\r\nContent-Length: 5"), LENGTH(" 5\r\nContent-Length: 6"),
    LENGTH(" 5\r\nA: b\r\ncontent-length:"), LENGTH("\r\nContent-Length: 5")};

#define CODING(reason, value)                                                  \
    ROW(reason, LINE HOST "Transfer-Encoding:" value "\r\n" END),              \
        ROW(reason,                                                            \
            "PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding:" value "\r\n" END)

/* Unknown is what stands before a "chunked" that ends the body. */
static const struct head_case unknown_codings_end_in_chunked_cases[] = {
    CODING(BAD_CODING, " gzip, chunked"), CODING(BAD_CODING, "gzip,chunked"),
    CODING(BAD_CODING, " GZIP , CHUNKED"),
    CODING(BAD_CODING, " gzip\t,\tChunked"),
    CODING(BAD_CODING, " identity, chunked"),
    CODING(BAD_CODING, " xchunked, chunked"),
    CODING(BAD_CODING, " a, b, c, chunked"),
    CODING(BAD_CODING, " !#$%&'*+-.^_`|~09AZaz, chunked"),
    CODING(BAD_CODING, " a;b=c, chunked"),
    CODING(BAD_CODING, " a ; b = c\t;d=\"e\", chunked"),
    CODING(BAD_CODING, " a;b=\", chunked\", chunked"),
    CODING(BAD_CODING, " a;b=\"\\\"\\\\ \t\xe9\", chunked"),
    CODING(BAD_TRANSFER_ENCODING, " gzip chunked"),
    CODING(BAD_TRANSFER_ENCODING, " gzip; chunked"),
    CODING(BAD_TRANSFER_ENCODING, " gzip, xchunked"),
    CODING(BAD_TRANSFER_ENCODING, " gzip, chunked;q=1"),
    CODING(BAD_TRANSFER_ENCODING, " gzip, chunked;"),
    CODING(BAD_TRANSFER_ENCODING, " gzip, \"chunked\""),
    CODING(BAD_TRANSFER_ENCODING, " gzip,, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " , gzip, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " gzip, chunked,"),
    CODING(BAD_TRANSFER_ENCODING, " gzip, chunked, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " chunked, gzip, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " chunked;q=1, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " \"gzip\", chunked"),
    CODING(BAD_TRANSFER_ENCODING, " g zip, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " gz(ip), chunked"),
    CODING(BAD_TRANSFER_ENCODING, " gz\xef\xfc, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " a;, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " a;b, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " a;b=, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " a;=c, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " a;b=\"c, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " a;b=\"c\\, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " a;b=\"c\\"),
    CODING(BAD_TRANSFER_ENCODING, " a;b=\"c\"d, chunked")};

static const struct head_case transfer_encoding_is_chunked_alone_cases[] = {
    CODING(NONE, " chunked"), CODING(NONE, "chunked"), CODING(NONE, " Chunked"),
    CODING(NONE, "  CHUNKED  "), CODING(BAD_TRANSFER_ENCODING, "\tchunked"),
    CODING(BAD_TRANSFER_ENCODING, " \t chunked"),
    CODING(BAD_TRANSFER_ENCODING, " chunked\t"),
    CODING(BAD_TRANSFER_ENCODING, " chunked \t "),
    CODING(BAD_TRANSFER_ENCODING, " gzip"),
    CODING(BAD_TRANSFER_ENCODING, " identity"),
    CODING(BAD_TRANSFER_ENCODING, " xchunked"),
    CODING(BAD_TRANSFER_ENCODING, " chunkedx"),
    CODING(BAD_TRANSFER_ENCODING, " chunke"),
    CODING(BAD_TRANSFER_ENCODING, " chunked;q=1"),
    CODING(BAD_TRANSFER_ENCODING, " \"chunked\""),
    CODING(BAD_TRANSFER_ENCODING, " chunked foo"),
    CODING(BAD_TRANSFER_ENCODING, " chun\xeb"
                                  "ed"),
    CODING(BAD_TRANSFER_ENCODING, " 5"), CODING(BAD_TRANSFER_ENCODING, ""),
    CODING(BAD_TRANSFER_ENCODING, " "), CODING(BAD_TRANSFER_ENCODING, " ,"),
    CODING(BAD_TRANSFER_ENCODING, " chunked,"),
    CODING(BAD_TRANSFER_ENCODING, " ,chunked"),
    CODING(BAD_TRANSFER_ENCODING, " chunked, chunked"),
    CODING(BAD_TRANSFER_ENCODING, " chunked, gzip"),
    CODING(BAD_TRANSFER_ENCODING, " chunked, identity"),
    CODING(BAD_TRANSFER_ENCODING, " chunked\r\nTransfer-Encoding: chunked"),
    CODING(BAD_TRANSFER_ENCODING, " gzip\r\nTransfer-Encoding: chunked"),
    CODING(BAD_TRANSFER_ENCODING, " chunked\r\ntransfer-encoding: identity"),
    CODING(BAD_TRANSFER_ENCODING, "\r\nTransfer-Encoding: chunked"),
    CODING(BAD_TRANSFER_ENCODING, " chunked\r\nTransfer-Encoding:"),
    ROW(BAD_TRANSFER_ENCODING,
        "GET / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n" END),
    ROW(BAD_TRANSFER_ENCODING,
        "GET / HTTP/1.0\r\n" HOST "Transfer-Encoding: gzip\r\n" END)};

#define L "Content-Length: 5\r\n"
#define T "Transfer-Encoding: chunked\r\n"

static const struct head_case length_and_coding_together_are_refused_cases[] = {
    ROW(BAD_TRANSFER_ENCODING, LINE HOST L T END),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST T L END),
    ROW(BAD_TRANSFER_ENCODING, LINE T HOST L END),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST "content-length: 0\r\n" T END),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST "Content-Length: x\r\n" T END),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST T "Content-Length:\r\n" END),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST L "Transfer-Encoding:\r\n" END),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST "Transfer-Encoding:\r\n" L END),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST L "Transfer-Encoding: gzip\r\n" END),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST L L T END),
    ROW(BAD_TRANSFER_ENCODING, LINE L T END),
    ROW(BAD_TRANSFER_ENCODING, "PUT / HTTP/1.1\r\n" HOST L T END),
    ROW(BAD_TRANSFER_ENCODING, "POST / HTTP/1.0\r\n" HOST L T END)};

static const struct head_case smuggling_classics_are_refused_cases[] = {
    ROW(BAD_FIELD, LINE HOST L "Transfer-Encoding : chunked\r\n" END),
    ROW(BAD_FIELD, LINE HOST L "Transfer-Encoding\t: chunked\r\n" END),
    ROW(BAD_FIELD, LINE HOST L " Transfer-Encoding: chunked\r\n" END),
    ROW(BAD_FIELD, LINE HOST L "X: y\r\n Transfer-Encoding: chunked\r\n" END),
    ROW(BAD_FIELD, LINE HOST L "Transfer-Encoding: \x0b"
                               "chunked\r\n" END),
    ROW(BAD_FIELD, LINE HOST L "Transfer-Encoding: chunked\0\r\n" END),
    ROW(BAD_FIELD, LINE HOST L "Transfer-Encoding\0: chunked\r\n" END),
    ROW(BAD_FIELD, LINE HOST L "\0Transfer-Encoding: chunked\r\n" END),
    ROW(BAD_FIELD, LINE HOST "\xff" T END),
    ROW(BAD_LINE_END, LINE HOST L "X: y\nTransfer-Encoding: chunked\r\n" END),
    ROW(BAD_LINE_END, LINE HOST L "X: y\rTransfer-Encoding: chunked\r\n" END),
    ROW(BAD_LINE_END, LINE HOST "X: y\n" T END),
    ROW(BAD_LINE_END, LINE HOST "Content-Length: 5\n" END),
    ROW(BAD_LINE_END, LINE HOST L "\n"),
    ROW(BAD_TRANSFER_ENCODING, LINE HOST L "Transfer-Encoding: chunked\r\n"
                                           "Transfer-encoding: cow\r\n" END),
    ROW(BAD_TRANSFER_ENCODING,
        LINE HOST L "Transfer-Encoding: xchunked\r\n" END),
    ROW(BAD_CONTENT_LENGTH,
        LINE HOST "Content-Length: 0\r\nContent-Length: 44\r\n" END),
    ROW(BAD_CONTENT_LENGTH, LINE HOST "Content-Length: 0, 44\r\n" END),
    ROW(BAD_HOST, LINE "Host: a\r\nHost: b\r\n" END),
    ROW(BAD_FIELD, LINE "Host : a\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "GET / HTTP/1.1 X: HTTP/1.1\r\n" HOST END)};

/* ---- Expect, Connection, and what is handed on ---- */

static const struct head_case expectation_is_100_continue_or_refused_cases[] = {
    /* A list may be empty, and say a thing twice. */
    ROW(NONE, LINE HOST "Expect:\r\n" END),
    ROW(NONE, LINE HOST "Expect: ,\t,\r\n" END),
    ROW(NONE, LINE HOST "Expect: ,100-continue , 100-CONTINUE\r\n" END),
    ROW(NONE, LINE HOST "Expect: 100-continue\r\nExpect:100-continue\r\n" END),
    ROW(NONE, "GET / HTTP/1.0\r\nExpect: 100-continue, 100-continue\r\n" END),
    ROW(NONE, "GET / HTTP/1.0\r\nExpect: 100-continue\r\n"
              "Expect: 100-continue\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: 100-continue;a=b\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: \"100-continue\"\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: x=\", 100-continue\"\r\n" END),
    ROW(BAD_EXPECTATION, "GET / HTTP/1.0\r\nExpect: 100-continue, x\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: 100\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: 100-continues\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: 100-continue, x\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: x=\"y\"\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: 100-continue\r\nExpect: x\r\n" END),
    ROW(BAD_EXPECTATION, LINE HOST "Expect: x\r\nExpect: 100-continue\r\n" END),
    ROW(BAD_EXPECTATION, "GET / HTTP/1.0\r\nExpect: x\r\n" END),
    ROW(BAD_EXPECTATION, "PUT / HTTP/1.1\r\n" HOST "Expect: x\r\n" END)};

static const struct head_case connection_holds_tokens_cases[] = {
    ROW(BAD_FIELD, LINE HOST "Connection: \"close\"\r\n" END),
    ROW(BAD_FIELD, LINE HOST "Connection: clo se\r\n" END),
    ROW(BAD_FIELD, LINE HOST "Connection: close;\r\n" END),
    ROW(BAD_FIELD, LINE HOST "Connection: close, \xe9\r\n" END)};

static const struct head_case repeated_fields_keep_one_meaning_cases[] = {
    ROW(BAD_FIELD, LINE HOST "Content-Type: a/b\r\ncontent-type: a/b\r\n" END)};

static const struct head_case malformed_comes_before_not_offered_cases[] = {
    ROW(BAD_HOST, LINE "Transfer-Encoding: a, chunked\r\nExpect: x\r\n" END),
    ROW(BAD_HOST, LINE "Expect: x\r\n" END),
    ROW(BAD_FIELD,
        LINE HOST "Transfer-Encoding: a, chunked\r\nConnection: (\r\n" END),
    ROW(BAD_CODING,
        LINE HOST "Transfer-Encoding: a, chunked\r\nExpect: x\r\n" END),
    ROW(BAD_TRANSFER_ENCODING, LINE "Transfer-Encoding: a\r\n" END),
    ROW(BAD_TRANSFER_ENCODING,
        LINE HOST "Transfer-Encoding: a\r\nExpect: x\r\n" END),
    ROW(BAD_CONTENT_LENGTH, LINE "Content-Length: x\r\nExpect: x\r\n" END)};

#undef L
#undef T

/* ---- what the versions of llhttp differ in ---- */

/* Each of them is let through by one version or another, or, the last three
 * lines, not taken to its end. */
static const struct head_case versions_of_llhttp_decide_nothing_cases[] = {
    ROW(BAD_FIELD, LINE HOST "A: b\r\n c: d\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A: b\r\n\tContent-Length: 5\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A:\r\n b\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "\n"), ROW(BAD_LINE_END, LINE "Host: a\n\n"),
    ROW(BAD_FIELD, LINE HOST ": b\r\n\r\n"),
    ROW(BAD_REQUEST_LINE, "GET  / HTTP/1.1\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "GET /  HTTP/1.1\r\n" HOST END),
    ROW(BAD_TRANSFER_ENCODING,
        "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n" END),
    ROW(BAD_TRANSFER_ENCODING,
        "POST / HTTP/1.1\r\n" HOST
        "Content-Length: 5\r\nTransfer-Encoding:\r\n" END),
    ROW(BAD_TRANSFER_ENCODING,
        "POST / HTTP/1.1\r\n" HOST
        "Transfer-Encoding:\r\nContent-Length: 5\r\n" END),
    ROW(BAD_TRANSFER_ENCODING,
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n" END),
    ROW(BAD_HOST, LINE END), ROW(BAD_HOST, LINE HOST HOST END),
    ROW(BAD_HOST, LINE "Host: a\r\nHost: b:80\r\n" END),
    ROW(BAD_VERSION, "GET / HTTP/2.0\r\n" HOST END),
    ROW(BAD_VERSION, "GET / HTTP/0.9\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "GET / RTSP/1.0\r\n" HOST END),
    ROW(BAD_REQUEST_LINE, "SOURCE / ICE/1.0\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "DESCRIBE / HTTP/1.1\r\n" HOST END),
    ROW(NOT_IMPLEMENTED, "QUERY / HTTP/1.1\r\n" HOST END),
    ROW(BAD_TARGET, "GET * HTTP/1.1\r\n" HOST END),
    ROW(BAD_TARGET, "GET /#a HTTP/1.1\r\n" HOST END),
    ROW(BAD_TARGET, "GET /\xc3\xa9 HTTP/1.1\r\n" HOST END),
    ROW(BAD_TARGET, "GET /\ta HTTP/1.1\r\n" HOST END),
    ROW(BAD_FIELD, LINE HOST "A: \x01\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A: \0\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A\0: b\r\n\r\n"),
    ROW(BAD_FIELD, LINE HOST "A : b\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A: b\rc\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A: b\r\r\n\r\n"),
    ROW(BAD_LINE_END, LINE HOST "A: b\r \r\n\r\n"),
    ROW(BAD_CONTENT_LENGTH, LINE HOST "Content-Length: 5\t\r\n\r\n"),
    ROW(BAD_CONTENT_LENGTH,
        LINE HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    ROW(NONE, LINE HOST "Upgrade: a\r\nConnection: upgrade\r\n" END "GET / H"),
    ROW(NONE, "POST / HTTP/1.1\r\n" HOST
              "Upgrade: a\r\nConnection: upgrade\r\nContent-Length: 5\r\n" END
              "abcde"),
    ROW(NONE, "CONNECT a:80 HTTP/1.1\r\n" HOST END "GET / H")};

/* ---- all of them ---- */

#define LIST(name)                                                             \
    {                                                                          \
#name, name##_cases, sizeof name##_cases / sizeof name##_cases[0]      \
    }

static const struct {
    const char *name;
    const struct head_case *cases;
    size_t count;
} head_case_lists[] = {LIST(request_line_has_three_parts_and_two_spaces),
    LIST(method_is_a_token), LIST(unknown_token_is_not_implemented),
    LIST(major_versions_other_than_one_are_unsupported),
    LIST(malformed_version_is_a_bad_request_line),
    LIST(target_has_the_form_that_goes_with_the_method),
    LIST(absolute_form_is_http_with_a_valid_authority),
    LIST(absolute_form_has_the_say_over_host),
    LIST(percent_sign_needs_two_hexadecimal_digits),
    LIST(lines_end_in_crlf_exactly),
    LIST(fields_have_a_name_and_a_colon_behind_it),
    LIST(folded_lines_are_refused), LIST(host_is_there_once),
    LIST(host_is_a_name_or_address_with_an_optional_port),
    LIST(host_seen_before_is_no_excuse_for_another),
    LIST(content_length_is_one_plain_number),
    LIST(transfer_encoding_is_chunked_alone),
    LIST(unknown_codings_end_in_chunked),
    LIST(length_and_coding_together_are_refused),
    LIST(smuggling_classics_are_refused),
    LIST(expectation_is_100_continue_or_refused), LIST(connection_holds_tokens),
    LIST(repeated_fields_keep_one_meaning),
    LIST(malformed_comes_before_not_offered),
    LIST(versions_of_llhttp_decide_nothing)};

#undef LIST

#endif
