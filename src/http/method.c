#include "http/method.h"

/* A list of our own, so that the answer does not depend on the version of
 * llhttp. */
bool hcs_method_is_known(const char *method, size_t length)
{
    static const char *const names[] = {"ACL", "BIND", "CHECKOUT", "CONNECT",
        "COPY", "DELETE", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY",
        "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PATCH", "PROPFIND",
        "PROPPATCH", "PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SOURCE",
        "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i]) == length &&
            memcmp(names[i], method, length) == 0) {
            return true;
        }
    }
    return false;
}
