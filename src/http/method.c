#include "http/method.h"

#include <assert.h>
#include <bsd/string.h>

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

const char *hcs_method_word(enum hcs_method method)
{
    static const char *const words[] = {
        [HCS_GET] = "GET",
        [HCS_HEAD] = "HEAD",
        [HCS_POST] = "POST",
        [HCS_OPTIONS] = "OPTIONS",
        [HCS_METHOD_OTHER] = "_OTHER",
    };

    assert((unsigned)method <= HCS_METHOD_OTHER);
    return words[method];
}

void hcs_method_allow(unsigned methods, char out[HCS_ALLOW_MAX])
{
    out[0] = '\0';
    for (int i = 0; i < HCS_METHOD_OTHER; i++) {
        if ((methods & 1u << i) != 0) {
            if (out[0] != '\0') {
                (void)strlcat(out, ", ", HCS_ALLOW_MAX);
            }
            (void)strlcat(
                out, hcs_method_word((enum hcs_method)i), HCS_ALLOW_MAX);
        }
    }
}
