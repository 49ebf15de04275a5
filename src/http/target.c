#include "http/target.h"

#include "http/octets.h"

#include <arpa/inet.h>

enum { PORT_MAX = 65535 };

static bool valid_ipv6(const char *address, size_t length)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr parsed;

    if (length >= sizeof text) {
        return false;
    }
    memcpy(text, address, length);
    text[length] = '\0';
    return inet_pton(AF_INET6, text, &parsed) == 1;
}

bool hcs_target_is_authority(const char *p, const char *end, bool needs_port)
{
    const char *host = p;
    unsigned port = 0;

    if (p < end && *p == '[') {
        p = memchr(p, ']', (size_t)(end - p));
        if (p == NULL || !valid_ipv6(host + 1, (size_t)(p - host - 1))) {
            return false;
        }
        p++;
    } else {
        p = hcs_octets_skip_encoded(p, end, HCS_OCTET_NAME);
        if (p == host) {
            return false;
        }
    }
    if (p == end) {
        return !needs_port;
    }
    if (*p != ':') {
        return false;
    }
    for (p++; p < end; p++) {
        if (!hcs_octet_is(*p, HCS_OCTET_DIGIT)) {
            return false;
        }
        port = port * 10 + (unsigned)(*p - '0');
        if (port > PORT_MAX) {
            return false;
        }
    }
    return !needs_port || port != 0; /* RFC 9110, 9.3.6 */
}

bool hcs_target_split_absolute(const char *base, const char *target,
    const char *end, struct hcs_head *head)
{
    static const char scheme[] = "https://";
    const char *p = target;
    const char *authority;

    for (size_t i = 0; i < sizeof scheme - 1; i++) {
        if (scheme[i] == 's' && p < end && *p == ':') {
            continue; /* http */
        }
        if (p == end || hcs_octet_fold(*p) != scheme[i]) {
            return false;
        }
        p++;
    }
    authority = p;
    while (p < end && *p != '/' && *p != '?') {
        p++;
    }
    if (!hcs_target_is_authority(authority, p, false) ||
        hcs_octets_skip_encoded(p, end, HCS_OCTET_TARGET) !=
            end) { /* a bracket may stand only in the authority */
        return false;
    }
    head->secure = authority - target == sizeof scheme - 1;
    head->host = hcs_span_of(base, authority, p);
    if (p < end && *p == '/') {
        hcs_target_split_query(base, p, end, head);
    } else if (p == end && head->method == HCS_OPTIONS) {
        head->asterisk = true; /* RFC 9112, 3.2.4 */
    } else {
        /* An empty path is "/". The byte before the authority is one. */
        hcs_target_split_query(base, p, end, head);
        head->path = hcs_span_of(base, authority - 1, authority);
    }
    return true;
}
