/*
 * target - the forms of a request's target, and the host in it.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_TARGET_H
#define HCS_HTTP_TARGET_H

#include "http/request_head.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Whether [p, end) is uri-host [ ":" port ] (RFC 9110, 7.2): the host is not
 * empty (RFC 9110, 4.2.1), and the port is 65535 or below. User information is
 * refused (RFC 9110, 4.2.4), and so are IPvFuture addresses, which nobody
 * uses. */
bool hcs_target_is_authority(const char *p, const char *end, bool needs_port);

/* Absolute form: http or https. False if it is something else. */
bool hcs_target_split_absolute(const char *base, const char *target,
    const char *end, struct hcs_head *head);

/* path [ "?" query ] */
static inline void hcs_target_split_query(
    const char *base, const char *path, const char *end, struct hcs_head *head)
{
    const char *mark = memchr(path, '?', (size_t)(end - path));

    if (mark != NULL) {
        head->query = hcs_span_of(base, mark + 1, end);
        end = mark;
    }
    head->path = hcs_span_of(base, path, end);
}

/* Splits a target, whose octets were checked, into the head's host, path,
 * query, asterisk and secure, by the form that goes with the method (RFC 9112,
 * 3.2). head->method is known; connect: it is CONNECT. False if the target has
 * none of the forms. */
static inline bool hcs_target_split(const char *base, bool connect,
    const char *target, const char *end, struct hcs_head *head)
{
    if (connect) {
        head->host = hcs_span_of(base, target, end);
        return hcs_target_is_authority(target, end, true);
    }
    if (*target == '/') {
        hcs_target_split_query(base, target, end, head);
        return true;
    }
    if (*target == '*' && end - target == 1) {
        head->asterisk = true;
        return head->method == HCS_OPTIONS;
    }
    return hcs_target_split_absolute(base, target, end, head);
}

#endif
