#include "http/syntax.h"

#include "http/octets.h"

#include <stddef.h>
#include <string.h>

/* An octet that a quoted string may hold behind a backslash. Without a
 * backslash it may hold the same but the quote and the backslash (RFC 9110,
 * 5.6.4). */
static bool is_text(char c)
{
    unsigned char byte = (unsigned char)c;

    return c == '\t' || (byte >= 0x20 && byte != 0x7f);
}

/* Each of the next three functions returns the place behind the element that
 * starts at p, or NULL if no such element starts there. p may be NULL, so that
 * calls can be chained. */
static const char *skip_token(const char *p, const char *end)
{
    const char *start = p;

    while (p != NULL && p < end && hcs_octet_is(*p, HCS_OCTET_TOKEN)) {
        p++;
    }
    return p == start ? NULL : p;
}

static const char *skip_byte(const char *p, const char *end, char c)
{
    return p != NULL && p < end && *p == c ? p + 1 : NULL;
}

static const char *skip_quoted(const char *p, const char *end)
{
    for (p = skip_byte(p, end, '"'); p != NULL && p < end; p++) {
        if (*p == '"') {
            return p + 1;
        }
        if (*p == '\\' && ++p == end) {
            return NULL;
        }
        if (!is_text(*p)) {
            return NULL;
        }
    }
    return NULL;
}

/* name "=" value, where the value is a token or a quoted string. spaced: white
 * space may stand beside the "=", as old senders of transfer codings write
 * it. */
static const char *skip_parameter(const char *p, const char *end, bool spaced)
{
    p = skip_token(p, end);
    if (p != NULL && spaced) {
        p = hcs_octets_skip_blank(p, end);
    }
    p = skip_byte(p, end, '=');
    if (p != NULL && spaced) {
        p = hcs_octets_skip_blank(p, end);
    }
    return p != NULL && p < end && *p == '"' ? skip_quoted(p, end)
                                             : skip_token(p, end);
}

static bool is_word(const char *p, const char *end, const char *lower)
{
    size_t length = strlen(lower);

    if ((size_t)(end - p) != length) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (hcs_octet_lower(p[i]) != lower[i]) {
            return false;
        }
    }
    return true;
}

/* The parameters of one coding, and the white space behind them. */
static const char *skip_coding(const char *p, const char *end)
{
    for (;;) {
        p = hcs_octets_skip_blank(p, end);
        if (p == end || *p != ';') {
            return p;
        }
        p = skip_parameter(hcs_octets_skip_blank(p + 1, end), end, true);
        if (p == NULL) {
            return NULL;
        }
    }
}

bool hcs_syntax_ends_in_chunked(const char *p, const char *end)
{
    for (;;) {
        const char *past = skip_token(p, end);
        bool chunked;

        if (past == NULL) {
            return false;
        }
        chunked = is_word(p, past, "chunked");
        p = skip_coding(past, end);
        if (p == end) {
            /* The coding has no parameters (RFC 9112, 7.1). */
            return chunked && past == end;
        }
        p = skip_byte(p, end, ',');
        if (p == NULL || chunked) {
            return false;
        }
        p = hcs_octets_skip_blank(p, end);
    }
}

/* parameters = *( OWS ";" OWS [ parameter ] ) */
static bool are_parameters(const char *p, const char *end)
{
    for (;;) {
        p = hcs_octets_skip_blank(p, end);
        if (p == end) {
            return true;
        }
        p = skip_byte(p, end, ';');
        if (p == NULL) {
            return false;
        }
        p = hcs_octets_skip_blank(p, end);
        if (p < end && *p != ';') {
            p = skip_parameter(p, end, false);
            if (p == NULL) {
                return false;
            }
        }
    }
}

bool hcs_syntax_is_json(const char *p, const char *end)
{
    static const char suffix[] = "+json";
    const char *slash = skip_token(p, end);
    const char *subtype = skip_byte(slash, end, '/');
    const char *past = skip_token(subtype, end);

    if (past == NULL || !are_parameters(past, end)) {
        return false;
    }
    if (is_word(p, slash, "application") && is_word(subtype, past, "json")) {
        return true;
    }
    /* Something stands in front of the suffix. */
    return (size_t)(past - subtype) >= sizeof suffix &&
           is_word(past - (sizeof suffix - 1), past, suffix);
}

/* An entity tag (RFC 9110, 8.8.3) has no white space and no escapes. */
static const char *skip_tag(const char *p, const char *end)
{
    if (end - p >= 2 && p[0] == 'W' && p[1] == '/') {
        p += 2;
    }
    p = skip_byte(p, end, '"');
    while (p != NULL && p < end && *p != '"' && !hcs_octet_is_blank(*p) &&
           is_text(*p)) {
        p++;
    }
    return skip_byte(p, end, '"');
}

enum hcs_tags hcs_syntax_tags(const char *p, const char *end)
{
    if (end - p == 1 && *p == '*') {
        return HCS_TAGS_ANY;
    }
    for (;;) {
        p = hcs_octets_skip_blank(p, end);
        if (p < end && *p != ',') { /* else an empty element */
            p = skip_tag(p, end);
            if (p == NULL) {
                return HCS_TAGS_BAD;
            }
            p = hcs_octets_skip_blank(p, end);
        }
        if (p == end) {
            return HCS_TAGS_LIST;
        }
        p = skip_byte(p, end, ',');
        if (p == NULL) {
            return HCS_TAGS_BAD;
        }
    }
}

bool hcs_syntax_is_token(const char *p, const char *end)
{
    return skip_token(p, end) == end;
}

bool hcs_syntax_is_field_value(const char *p, const char *end)
{
    if (p < end && (hcs_octet_is_blank(*p) || hcs_octet_is_blank(end[-1]))) {
        return false;
    }
    while (p < end && is_text(*p)) {
        p++;
    }
    return p == end;
}
