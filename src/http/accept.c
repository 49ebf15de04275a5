#include "http/accept.h"

#include "http/octets.h"

#include <stdbool.h>
#include <string.h>

enum { QUALITY_MAX = 1000 }; /* a weight of 1, in thousandths */

struct slice {
    const char *at;
    size_t length;
};

static struct slice trim(struct slice text)
{
    while (text.length > 0 && hcs_octet_is_blank(text.at[0])) {
        text.at++;
        text.length--;
    }
    while (text.length > 0 && hcs_octet_is_blank(text.at[text.length - 1])) {
        text.length--;
    }
    return text;
}

/* Takes that many bytes off the text, and drops the mark behind them. */
static struct slice take(struct slice *text, size_t length)
{
    struct slice part = {text->at, length};

    if (length < text->length) {
        text->at += length + 1;
        text->length -= length + 1;
    } else {
        text->length = 0;
    }
    return part;
}

/* Takes the bytes before the next mark, or all. A mark in a quoted string does
 * not count (RFC 9110, section 5.6.4). */
static struct slice cut(struct slice *text, char mark)
{
    bool quoted = false;
    size_t i = 0;

    for (; i < text->length && (quoted || text->at[i] != mark); i++) {
        if (text->at[i] == '"') {
            quoted = !quoted;
        } else if (quoted && text->at[i] == '\\' && i + 1 < text->length) {
            i++; /* an escaped quote does not end the string */
        }
    }
    return take(text, i);
}

/* Compares without case; word is in lower case. */
static bool is_word(struct slice text, const char *word)
{
    if (text.length != strlen(word)) {
        return false;
    }
    for (size_t i = 0; i < text.length; i++) {
        if (hcs_octet_lower(text.at[i]) != word[i]) {
            return false;
        }
    }
    return true;
}

/* A weight (RFC 9110, section 12.4.2) in thousandths; 0 if it is not valid. */
static unsigned read_quality(struct slice text)
{
    unsigned quality = 0;
    unsigned scale = QUALITY_MAX;

    if (text.length > 0 && text.at[0] == '1') {
        return QUALITY_MAX;
    }
    if (text.length < 3 || text.at[0] != '0' || text.at[1] != '.') {
        return 0;
    }
    for (size_t i = 2; i < text.length; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return 0;
        }
        scale /= 10;
        quality += scale * (unsigned)(text.at[i] - '0');
    }
    return quality;
}

/* How well a media type meets an Accept value: the weight of the most specific
 * range that matches it (RFC 9110, section 12.5.1). */
struct match {
    unsigned detail; /* 0: none, 1: any type, 2: any subtype, 3, 4: a version */
    unsigned quality;
};

static struct match match_range(
    const struct hcs_media_type *offer, struct slice range)
{
    struct match match = {0, QUALITY_MAX};
    struct slice subtype = cut(&range, ';');
    struct slice type = trim(cut(&subtype, '/'));
    bool wanted = true;

    subtype = trim(subtype);
    if (is_word(type, "*") && is_word(subtype, "*")) {
        match.detail = 1;
    } else if (is_word(type, offer->type) && is_word(subtype, "*")) {
        match.detail = 2;
    } else if (is_word(type, offer->type) && is_word(subtype, offer->subtype)) {
        match.detail = 3;
    }
    while (range.length > 0) {
        struct slice value = cut(&range, ';');
        struct slice name = trim(cut(&value, '='));

        value = trim(value);
        if (value.length >= 2 && value.at[0] == '"') {
            value.at++;
            value.length -= 2;
        }
        if (is_word(name, "q")) {
            match.quality = read_quality(value);
        } else if (is_word(name, "version") && offer->version != NULL) {
            wanted = is_word(value, offer->version);
            match.detail = match.detail == 3 ? 4 : match.detail;
        }
    }
    return wanted ? match : (struct match){0, 0};
}

static struct match match_accept(
    const struct hcs_media_type *offer, struct slice accept)
{
    struct match best = {0, 0};

    while (accept.length > 0) {
        struct match match = match_range(offer, cut(&accept, ','));

        if (match.detail > best.detail) {
            best = match;
        }
    }
    return best;
}

size_t hcs_accept_choose(const char *accept, size_t length,
    const struct hcs_media_type *offers, size_t count)
{
    size_t chosen = 0;
    struct match best = {0, 0};

    for (size_t i = 0; i < count; i++) {
        struct match match =
            match_accept(&offers[i], (struct slice){accept, length});

        /* A type that is named goes before one that is merely not excluded. */
        if (match.quality > best.quality ||
            (match.quality == best.quality && match.quality > 0 &&
                match.detail > best.detail)) {
            best = match;
            chosen = i;
        }
    }
    return chosen;
}
