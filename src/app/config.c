#include "app/config.h"

#include "app/resources.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SHOWN_MAX = 160,  /* of a value, in a message */
    LINE_SIZE = 8192, /* of HANDLERS_FILE, with its NUL */
};

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

/* --- Messages: text that grows in the caller's buffer, and is cut at its
 * end. */

struct text {
    char *at;
    size_t size;
    size_t used;
};

static void cut(struct text *text, size_t used)
{
    text->used = used;
    if (text->size > 0) {
        text->at[used] = '\0';
    }
}

__attribute__((format(printf, 2, 3))) static void append(
    struct text *text, const char *format, ...)
{
    size_t room = text->size - text->used;
    va_list values;
    int length;

    if (room <= 1) {
        return;
    }
    va_start(values, format);
    length = vsnprintf(text->at + text->used, room, format, values);
    va_end(values);
    if (length > 0) {
        text->used += (size_t)length < room ? (size_t)length : room - 1;
    }
}

/* What somebody else wrote, so that it stays one line and one screen. */
static void append_shown(struct text *text, const char *value)
{
    size_t start = text->used;

    for (; *value != '\0'; value++) {
        if (text->used - start >= SHOWN_MAX) {
            append(text, "...");
            return;
        }
        if (*value >= ' ' && *value <= '~') {
            append(text, "%c", *value);
        } else {
            append(text, "\\x%02X", (unsigned)(unsigned char)*value);
        }
    }
}

/* --- The shape of the table. */

enum verdict {
    GOOD,
    REFUSED, /* and what is allowed should be added */
    FAILED,  /* the message says all there is to say */
    NO_MEMORY,
};

struct setting;

struct kind {
    /* Reads value into the setting's place, or appends to error why not. */
    enum verdict (*parse)(const struct setting *setting, const char *value,
        struct hcs_config *config, struct text *error);
    /* Prints the effective value so that parse would read it back. */
    void (*print)(const struct setting *setting,
        const struct hcs_config *config, FILE *out);
    void (*allowed)(const struct setting *setting, struct text *out);
};

struct unit {
    const char *name;
    uint64_t scale;
    uint64_t from; /* values from here on are shown in it: 60s, not 1m */
};

struct setting {
    const char *name;
    const char *initial; /* the default, as one would write it */
    const char *unset;   /* what an empty default means, for people */
    const char *meaning; /* sentences */
    const struct kind *kind;
    size_t offset; /* of its place in struct hcs_config, */
    size_t size;   /* and that place's size */
    uint64_t min, max;
    bool zero_is_off;            /* 0 or "off" is allowed, whatever min says */
    uint64_t (*automatic)(void); /* NULL: "auto" is not allowed */
    const char *const *words;    /* of a choice: by its number */
    size_t word_count;
};

static void *place_of(const struct setting *setting, struct hcs_config *config)
{
    return (char *)config + setting->offset;
}

static void store(
    const struct setting *setting, struct hcs_config *config, uint64_t value)
{
    void *place = place_of(setting, config);

    switch (setting->size) {
    case sizeof(bool):
        *(bool *)place = value != 0;
        return;
    case sizeof(uint16_t):
        *(uint16_t *)place = (uint16_t)value;
        return;
    case sizeof(uint32_t): { /* unsigned, or an enum */
        uint32_t narrow = (uint32_t)value;

        memcpy(place, &narrow, sizeof narrow);
        return;
    }
    default:
        assert(setting->size == sizeof(uint64_t));
        *(uint64_t *)place = value;
    }
}

static uint64_t load(
    const struct setting *setting, const struct hcs_config *config)
{
    const void *place = (const char *)config + setting->offset;

    switch (setting->size) {
    case sizeof(bool):
        return *(const bool *)place;
    case sizeof(uint16_t):
        return *(const uint16_t *)place;
    case sizeof(uint32_t): {
        uint32_t narrow;

        memcpy(&narrow, place, sizeof narrow);
        return narrow;
    }
    default:
        assert(setting->size == sizeof(uint64_t));
        return *(const uint64_t *)place;
    }
}

static bool is_auto(const struct setting *setting, const char *value)
{
    return setting->automatic != NULL && strcmp(value, "auto") == 0;
}

/* --- Numbers, durations and sizes: digits and a unit. */

enum {
    SECOND_MS = 1000,
    MINUTE_MS = 60 * SECOND_MS,
    HOUR_MS = 60 * MINUTE_MS,
    DAY_MS = 24 * HOUR_MS
};

static const struct unit duration_units[] = {
    {"ms", 1, 1},
    {"s", SECOND_MS, 0},
    {"m", MINUTE_MS, 2 * MINUTE_MS},
    {"h", HOUR_MS, 2 * HOUR_MS},
    {NULL, 0, 0},
};

static const struct unit size_units[] = {
    {"B", 1, 0},
    {"KiB", KIB, KIB},
    {"MiB", MIB, MIB},
    {"GiB", GIB, GIB},
    {"TiB", TIB, TIB},
    {NULL, 0, 0},
};

static const struct unit no_units[] = {{"", 1, 0}, {NULL, 0, 0}};

/* The digits at text as a number, UINT64_MAX if it is larger than that; gives
 * what stands behind them. */
static const char *read_digits(const char *text, uint64_t *out)
{
    uint64_t number = 0;
    bool overflow = false;

    for (; isdigit((unsigned char)*text); text++) {
        overflow |= __builtin_mul_overflow(number, 10u, &number);
        overflow |=
            __builtin_add_overflow(number, (unsigned)(*text - '0'), &number);
    }
    *out = overflow ? UINT64_MAX : number;
    return text;
}

static enum verdict keep_in_range(const struct setting *setting, uint64_t value,
    struct hcs_config *config, struct text *error)
{
    bool is_off = setting->zero_is_off && value == 0;

    if (value < setting->min && !is_off) {
        append(error, "too small");
        return REFUSED;
    }
    if (value > setting->max) {
        append(error, "too large");
        return REFUSED;
    }
    store(setting, config, value);
    return GOOD;
}

static enum verdict keep_scaled(const struct setting *setting, uint64_t number,
    uint64_t scale, struct hcs_config *config, struct text *error)
{
    uint64_t value;

    if (__builtin_mul_overflow(number, scale, &value)) {
        value = UINT64_MAX;
    }
    return keep_in_range(setting, value, config, error);
}

static bool keep_word(
    const struct setting *setting, const char *value, struct hcs_config *config)
{
    if (is_auto(setting, value)) {
        uint64_t chosen = setting->automatic();

        store(setting, config, chosen < setting->max ? chosen : setting->max);
        return true;
    }
    if (setting->zero_is_off && strcmp(value, "off") == 0) {
        store(setting, config, 0);
        return true;
    }
    return false;
}

static enum verdict parse_with_unit(const struct setting *setting,
    const char *value, const struct unit *units, const char *not_one,
    struct hcs_config *config, struct text *error)
{
    uint64_t number;
    const char *rest = read_digits(value, &number);

    if (rest == value) {
        append(error, "%s", not_one);
        return REFUSED;
    }
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (strcmp(rest, unit->name) == 0) {
            return keep_scaled(setting, number, unit->scale, config, error);
        }
    }
    if (*rest == '.' && isdigit((unsigned char)rest[1])) {
        append(error, "a fraction; write whole numbers, of a smaller unit");
        return REFUSED;
    }
    append(error, "the unit must be ");
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        append(error, "%s%s",
            unit == units  ? ""
            : unit[1].name ? ", "
                           : " or ",
            unit->name);
    }
    return REFUSED;
}

static enum verdict parse_number(const struct setting *setting,
    const char *value, struct hcs_config *config, struct text *error)
{
    uint64_t number;
    const char *rest = read_digits(value, &number);

    if (keep_word(setting, value, config)) {
        return GOOD;
    }
    if (rest == value || *rest != '\0') {
        append(error, "not a number");
        return REFUSED;
    }
    return keep_in_range(setting, number, config, error);
}

static enum verdict parse_duration(const struct setting *setting,
    const char *value, struct hcs_config *config, struct text *error)
{
    uint64_t number;
    const char *rest = read_digits(value, &number);

    if (keep_word(setting, value, config)) {
        return GOOD;
    }
    if (rest != value && *rest == '\0') {
        if (number == 0) {
            return keep_in_range(setting, 0, config, error);
        }
        append(error, "no unit; write %.20ss or %.20sms", value, value);
        return REFUSED;
    }
    return parse_with_unit(
        setting, value, duration_units, "not a duration", config, error);
}

static enum verdict parse_size(const struct setting *setting, const char *value,
    struct hcs_config *config, struct text *error)
{
    uint64_t number;
    const char *rest = read_digits(value, &number);

    if (keep_word(setting, value, config)) {
        return GOOD;
    }
    if (rest != value && *rest == '\0') {
        return keep_in_range(setting, number, config, error);
    }
    return parse_with_unit(
        setting, value, size_units, "not a size", config, error);
}

/* With the largest unit that leaves no remainder. */
static void append_quantity(
    struct text *out, uint64_t value, const struct unit *units)
{
    const struct unit *best = units;

    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (value >= unit->from && value % unit->scale == 0) {
            best = unit;
        }
    }
    append(out, "%" PRIu64 "%s", value / best->scale, best->name);
}

static void print_quantity(const struct setting *setting,
    const struct hcs_config *config, const struct unit *units, FILE *out)
{
    char shown[32];
    struct text text = {shown, sizeof shown, 0};
    uint64_t value = load(setting, config);

    if (setting->zero_is_off && value == 0) {
        append(&text, "off");
    } else {
        append_quantity(&text, value, units);
    }
    (void)fputs(shown, out);
}

static void allow_quantity(
    const struct setting *setting, const struct unit *units, struct text *out)
{
    append_quantity(out, setting->min, units);
    append(out, " to ");
    append_quantity(out, setting->max, units);
    if (setting->zero_is_off) {
        append(out, ", or 0 for off");
    }
    if (setting->automatic != NULL) {
        append(out, ", or auto");
    }
}

static void print_number(
    const struct setting *setting, const struct hcs_config *config, FILE *out)
{
    print_quantity(setting, config, no_units, out);
}

static void print_duration(
    const struct setting *setting, const struct hcs_config *config, FILE *out)
{
    print_quantity(setting, config, duration_units, out);
}

static void print_size(
    const struct setting *setting, const struct hcs_config *config, FILE *out)
{
    print_quantity(setting, config, size_units, out);
}

static void allow_number(const struct setting *setting, struct text *out)
{
    allow_quantity(setting, no_units, out);
}

static void allow_duration(const struct setting *setting, struct text *out)
{
    allow_quantity(setting, duration_units, out);
}

static void allow_size(const struct setting *setting, struct text *out)
{
    allow_quantity(setting, size_units, out);
}

static const struct kind NUMBER = {parse_number, print_number, allow_number};
static const struct kind DURATION = {
    parse_duration, print_duration, allow_duration};
static const struct kind SIZE = {parse_size, print_size, allow_size};

/* --- Choices. */

static enum verdict parse_choice(const struct setting *setting,
    const char *value, struct hcs_config *config, struct text *error)
{
    if (keep_word(setting, value, config)) {
        return GOOD;
    }
    for (size_t i = 0; i < setting->word_count; i++) {
        if (strcmp(value, setting->words[i]) == 0) {
            store(setting, config, i);
            return GOOD;
        }
    }
    append(error, "unknown");
    return REFUSED;
}

static void print_choice(
    const struct setting *setting, const struct hcs_config *config, FILE *out)
{
    (void)fputs(setting->words[load(setting, config)], out);
}

static void allow_choice(const struct setting *setting, struct text *out)
{
    for (size_t i = 0; i < setting->word_count; i++) {
        append(out, "%s%s", i == 0 ? "" : ", ", setting->words[i]);
    }
    if (setting->automatic != NULL) {
        append(out, ", auto");
    }
}

static const struct kind CHOICE = {parse_choice, print_choice, allow_choice};

/* --- Texts. */

static char **text_place(
    const struct setting *setting, struct hcs_config *config)
{
    return (char **)place_of(setting, config);
}

static enum verdict keep_text(const struct setting *setting, const char *value,
    struct hcs_config *config, struct text *error)
{
    char *copy = strndup(value, strlen(value));

    if (copy == NULL) {
        append(error, "out of memory");
        return NO_MEMORY;
    }
    *text_place(setting, config) = copy;
    return GOOD;
}

static void print_text(
    const struct setting *setting, const struct hcs_config *config, FILE *out)
{
    char *value;

    memcpy(&value, (const char *)config + setting->offset, sizeof value);
    for (const char *c = value; c != NULL && *c != '\0'; c++) {
        if (iscntrl((unsigned char)*c)) {
            (void)fprintf(out, "\\x%02X", (unsigned)(unsigned char)*c);
        } else {
            (void)fputc(*c, out);
        }
    }
}

static enum verdict parse_address(const struct setting *setting,
    const char *value, struct hcs_config *config, struct text *error)
{
    struct in6_addr bytes;

    if (*value == '\0') {
        return GOOD;
    }
    if (*value == '[') {
        append(error, "write the address without brackets");
        return REFUSED;
    }
    if (inet_pton(AF_INET, value, &bytes) != 1 &&
        inet_pton(AF_INET6, value, &bytes) != 1) {
        append(error, "not an IP address");
        return REFUSED;
    }
    return keep_text(setting, value, config, error);
}

static void allow_address(const struct setting *setting, struct text *out)
{
    (void)setting;
    append(out, "an IPv4 or IPv6 address, or empty for all");
}

static const struct kind ADDRESS = {parse_address, print_text, allow_address};

/* --- HANDLERS: PATH=KIND[:ARGUMENT][?key=value&...]. */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/* Decodes %XX in place. False when one is broken, or is a NUL, which would end
 * the text early. */
static bool decode(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++) {
        if (*text == '%') {
            int high = hex_value(text[1]);
            int low = high < 0 ? -1 : hex_value(text[2]);

            if (low < 0 || high + low == 0) {
                return false;
            }
            *to++ = (char)(high * 16 + low);
            text += 2;
        } else {
            *to++ = *text;
        }
    }
    *to = '\0';
    return true;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9');
}

/* What may stand in a path as it is: pchar and "/"; RFC 3986, 3.3. */
static bool is_path_character(char c)
{
    return is_alphanumeric(c) ||
           (c != '\0' && strchr("-._~!$&'()*+,;=:@/", c) != NULL);
}

static bool is_kind_character(char c)
{
    return is_alphanumeric(c) || c == '-' || c == '_';
}

static bool is_reserved(const char *path)
{
    static const char *const own[] = {
        "/health", "/livez", "/readyz", "/healthz", "/metrics"};

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strcmp(path, own[i]) == 0) {
            return true;
        }
    }
    return strncmp(path, "/problems/", strlen("/problems/")) == 0;
}

/* Points parts into entry, which is cut up and decoded. NULL, or what is
 * wrong. */
static const char *take_apart(char *entry, struct hcs_config_route *parts)
{
    char *equals = strchr(entry, '=');
    char *rest;

    if (entry[0] != '/') {
        return "the path must start with /";
    }
    if (equals == NULL) {
        return "no =KIND behind the path";
    }
    *equals = '\0';
    parts->path = entry;
    if (!decode(parts->path)) {
        return "a bad percent-encoding in the path";
    }
    for (const char *c = parts->path; *c != '\0'; c++) {
        if (!is_path_character(*c)) {
            return "the path may hold letters, digits and "
                   "-._~!$&'()*+,;=:@/ only";
        }
    }
    if (is_reserved(parts->path)) {
        return "the path is one of the daemon's own";
    }

    parts->kind = equals + 1;
    rest = parts->kind;
    while (is_kind_character(*rest)) {
        rest++;
    }
    if (rest == parts->kind ||
        (*rest != '\0' && *rest != ':' && *rest != '?')) {
        return "the handler's name must be letters, digits, - and _";
    }
    parts->query = strchr(rest, '?');
    if (parts->query != NULL) {
        *parts->query++ = '\0';
    }
    parts->argument = NULL;
    if (*rest == ':') {
        *rest = '\0';
        parts->argument = rest + 1;
        if (!decode(parts->argument)) {
            return "a bad percent-encoding in the argument";
        }
    }
    return NULL;
}

static void free_route(struct hcs_config_route *route)
{
    free(route->path);
    free(route->kind);
    free(route->argument);
    free(route->query);
}

static bool copy_part(char **out, const char *part)
{
    *out = part != NULL ? strndup(part, strlen(part)) : NULL;
    return part == NULL || *out != NULL;
}

static bool add_route(
    struct hcs_config *config, const struct hcs_config_route *parts)
{
    struct hcs_config_route route = {0};
    struct hcs_config_route *grown =
        realloc(config->routes, (config->route_count + 1) * sizeof *grown);

    if (grown == NULL) {
        return false;
    }
    config->routes = grown;
    if (!copy_part(&route.path, parts->path) ||
        !copy_part(&route.kind, parts->kind) ||
        !copy_part(&route.argument, parts->argument) ||
        !copy_part(&route.query, parts->query)) {
        free_route(&route);
        return false;
    }
    config->routes[config->route_count++] = route;
    return true;
}

static void drop_routes(struct hcs_config *config)
{
    for (size_t i = 0; i < config->route_count; i++) {
        free_route(&config->routes[i]);
    }
    free(config->routes);
    config->routes = NULL;
    config->route_count = 0;
}

static enum verdict add_entry(
    char *entry, struct hcs_config *config, struct text *error)
{
    size_t before = error->used;
    struct hcs_config_route parts;
    const char *wrong;

    append(error, "\"");
    append_shown(error, entry);
    append(error, "\": ");
    wrong = take_apart(entry, &parts);
    if (wrong != NULL) {
        append(error, "%s", wrong);
        return REFUSED;
    }
    for (size_t i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].path, parts.path) == 0) {
            append(error, "a second handler on one path");
            return REFUSED;
        }
    }
    if (config->route_count == HCS_CONFIG_ROUTES_MAX) {
        append(error, "more than %d handlers", (int)HCS_CONFIG_ROUTES_MAX);
        return REFUSED;
    }
    if (!add_route(config, &parts)) {
        append(error, "out of memory");
        return NO_MEMORY;
    }
    cut(error, before);
    return GOOD;
}

/* The next word of *cursor, ended and without its quotes, in place: up to a
 * blank that is not in quotes. NULL when there is none, or when it is broken:
 * then *wrong says how. */
static char *next_word(char **cursor, const char **wrong)
{
    char *from = *cursor;
    char *word;
    char *to;
    bool quoted = false;

    *wrong = NULL;
    while (is_blank(*from)) {
        from++;
    }
    if (*from == '\0') {
        return NULL;
    }
    word = from;
    to = from;
    for (; *from != '\0' && (quoted || !is_blank(*from)); from++) {
        if (*from == '"') {
            quoted = !quoted;
        } else if (iscntrl((unsigned char)*from)) {
            *wrong = "a control character; write it as %XX";
            return NULL;
        } else {
            *to++ = *from;
        }
    }
    if (quoted) {
        *wrong = "a quote is not closed";
        return NULL;
    }
    *cursor = *from != '\0' ? from + 1 : from;
    *to = '\0';
    return word;
}

static enum verdict add_entries(
    char *value, struct hcs_config *config, struct text *error)
{
    const char *wrong;
    char *entry;

    while ((entry = next_word(&value, &wrong)) != NULL) {
        enum verdict verdict = add_entry(entry, config, error);

        if (verdict != GOOD) {
            return verdict;
        }
    }
    if (wrong == NULL && config->route_count == 0) {
        wrong = "no entry";
    }
    if (wrong != NULL) {
        append(error, "%s", wrong);
        return REFUSED;
    }
    return GOOD;
}

static enum verdict parse_handlers(const struct setting *setting,
    const char *value, struct hcs_config *config, struct text *error)
{
    char *copy = strndup(value, strlen(value));
    enum verdict verdict;

    (void)setting;
    if (copy == NULL) {
        append(error, "out of memory");
        return NO_MEMORY;
    }
    verdict = add_entries(copy, config, error);
    free(copy);
    return verdict;
}

/* Bytes that would not come back as they are, or not in this part. */
static void print_encoded(const char *text, const char *special, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == ' ' || iscntrl((unsigned char)*text) ||
            strchr(special, *text) != NULL) {
            (void)fprintf(out, "%%%02X", (unsigned)(unsigned char)*text);
        } else {
            (void)fputc(*text, out);
        }
    }
}

static void print_route(const struct hcs_config_route *route, FILE *out)
{
    /* The query is not decoded, so blanks in it need quotes. */
    bool quoted = route->query != NULL && strchr(route->query, ' ') != NULL;

    if (quoted) {
        (void)fputc('"', out);
    }
    print_encoded(route->path, "=", out);
    (void)fprintf(out, "=%s", route->kind);
    if (route->argument != NULL) {
        (void)fputc(':', out);
        print_encoded(route->argument, "%?\"", out);
    }
    if (route->query != NULL) {
        (void)fprintf(out, "?%s", route->query);
    }
    if (quoted) {
        (void)fputc('"', out);
    }
}

static void print_handlers(
    const struct setting *setting, const struct hcs_config *config, FILE *out)
{
    (void)setting;
    for (size_t i = 0; i < config->route_count; i++) {
        if (i > 0) {
            (void)fputc(' ', out);
        }
        print_route(&config->routes[i], out);
    }
}

static void allow_handlers(const struct setting *setting, struct text *out)
{
    (void)setting;
    append(out, "PATH=KIND[:ARGUMENT][?key=value&...]");
}

static const struct kind HANDLERS = {
    parse_handlers, print_handlers, allow_handlers};

/* --- HANDLERS_FILE. */

enum line { LINE_READ, LINE_END, LINE_TOO_LONG, LINE_NUL };

/* One line without its line feed. Not getline: a wrong name such as /dev/zero
 * would be read until there is no memory left. */
static enum line read_line(FILE *in, char *line, size_t size)
{
    size_t used = 0;
    int c;

    while ((c = getc(in)) != EOF && c != '\n') {
        if (c == '\0') {
            return LINE_NUL;
        }
        if (used + 1 == size) {
            return LINE_TOO_LONG;
        }
        line[used++] = (char)c;
    }
    line[used] = '\0';
    return c == EOF && used == 0 ? LINE_END : LINE_READ;
}

/* Ends the text before a comment: a # in front of a word, not in quotes. */
static void strip_comment(char *line)
{
    bool quoted = false;

    for (char *c = line; *c != '\0'; c++) {
        if (*c == '"') {
            quoted = !quoted;
        } else if (*c == '#' && !quoted && (c == line || is_blank(c[-1]))) {
            *c = '\0';
            return;
        }
    }
}

static enum verdict add_line(
    char *line, struct hcs_config *config, struct text *error)
{
    const char *wrong;
    char *entry;
    char *second = NULL;

    strip_comment(line);
    entry = next_word(&line, &wrong);
    if (entry != NULL) {
        second = next_word(&line, &wrong);
    }
    if (second != NULL) {
        wrong = "more than one entry; put blanks in quotes";
    }
    if (wrong != NULL) {
        append(error, "%s", wrong);
        return REFUSED;
    }
    return entry == NULL ? GOOD : add_entry(entry, config, error);
}

static enum verdict add_lines(
    FILE *in, struct hcs_config *config, struct text *error)
{
    char line[LINE_SIZE];
    size_t before = error->used;
    enum line got;

    for (size_t number = 1;; number++) {
        enum verdict verdict = GOOD;

        got = read_line(in, line, sizeof line);
        if (ferror(in)) {
            append(error, "%s", strerror(errno));
            return REFUSED;
        }
        if (got == LINE_END) {
            break;
        }
        append(error, "line %zu: ", number);
        if (got == LINE_READ) {
            verdict = add_line(line, config, error);
        } else {
            append(error, "%s",
                got == LINE_NUL ? "a NUL byte; not a text file"
                                : "longer than 8191 bytes");
            verdict = REFUSED;
        }
        if (verdict != GOOD) {
            return verdict;
        }
        cut(error, before);
    }
    if (config->route_count == 0) {
        append(error, "no entry");
        return REFUSED;
    }
    return GOOD;
}

static enum verdict parse_handlers_file(const struct setting *setting,
    const char *value, struct hcs_config *config, struct text *error)
{
    enum verdict verdict;
    FILE *in;

    if (*value == '\0') {
        return GOOD;
    }
    in = fopen(value, "re");
    if (in == NULL) {
        append(error, "%s", strerror(errno));
        return REFUSED;
    }
    drop_routes(config); /* the default of HANDLERS */
    verdict = add_lines(in, config, error);
    (void)fclose(in);
    return verdict == GOOD ? keep_text(setting, value, config, error) : verdict;
}

static void allow_handlers_file(const struct setting *setting, struct text *out)
{
    (void)setting;
    append(out, "a file, one entry of HANDLERS a line");
}

static const struct kind HANDLERS_FILE = {
    parse_handlers_file, print_text, allow_handlers_file};

/* --- What "auto" means. */

static uint64_t automatic_loops(void)
{
    return hcs_resources_cores("");
}

static uint64_t automatic_workers(void)
{
    return 2 * (uint64_t)hcs_resources_cores("");
}

/* The other half is for stacks, idle connections, handlers and the system. */
static uint64_t automatic_memory(void)
{
    uint64_t half = hcs_resources_memory("") / 2;

    return half > 64 * MIB ? half : 64 * MIB;
}

static uint64_t automatic_log_format(void)
{
    return isatty(STDERR_FILENO) ? HCS_LOG_TEXT : HCS_LOG_JSON;
}

/* --- The table. */

static const char *const half_close_words[] = {
    [HCS_HALF_CLOSE_CANCEL] = "cancel", [HCS_HALF_CLOSE_SERVE] = "serve"};

static const char *const switch_words[] = {[false] = "off", [true] = "on"};

static const char *const log_level_words[] = {[HCS_LOG_ERROR] = "error",
    [HCS_LOG_WARN] = "warn",
    [HCS_LOG_INFO] = "info",
    [HCS_LOG_DEBUG] = "debug"};

static const char *const log_format_words[] = {[HCS_LOG_TEXT] = "text",
    [HCS_LOG_JSON] = "json",
    [HCS_LOG_LOGFMT] = "logfmt"};

/* The place of a setting, and all words of a choice. */
#define PLACE(member)                                                          \
    .offset = offsetof(struct hcs_config, member),                             \
    .size = sizeof(((struct hcs_config *)NULL)->member)
#define WORDS(array)                                                           \
    .words = (array), .word_count = sizeof(array) / sizeof((array)[0]),        \
    .max = sizeof(array) / sizeof((array)[0]) - 1

static const struct setting settings[] = {
    {.name = "PORT",
        .initial = "8080",
        .kind = &NUMBER,
        PLACE(port),
        .min = 0,
        .max = 65535,
        .meaning = "TCP port to serve on. 0 picks a free one and logs it."},
    {.name = "ADDRESS",
        .initial = "",
        .unset = "all",
        .kind = &ADDRESS,
        PLACE(address),
        .meaning =
            "Address to serve on. All means IPv6 and IPv4, or IPv4 alone "
            "where there is no IPv6."},
    {.name = "LOOPS",
        .initial = "auto",
        .kind = &NUMBER,
        PLACE(loops),
        .min = 1,
        .max = 1024,
        .automatic = automatic_loops,
        .meaning = "Threads that serve connections. auto is one for each core "
                   "that CPU affinity and the cgroup's quota allow."},
    {.name = "WORKERS",
        .initial = "auto",
        .kind = &NUMBER,
        PLACE(workers),
        .min = 1,
        .max = 65535,
        .automatic = automatic_workers,
        .meaning =
            "Threads that run jobs. auto is two for each core; more suit "
            "handlers that wait for something else."},
    {.name = "QUEUE_SIZE",
        .initial = "10000",
        .kind = &NUMBER,
        PLACE(queue_size),
        .min = 1,
        .max = 16777216,
        .meaning =
            "How many jobs may wait while all workers are busy. One more is "
            "answered 503."},
    {.name = "MAX_CONNECTIONS",
        .initial = "100000",
        .kind = &NUMBER,
        PLACE(max_connections),
        .min = 1,
        .max = 100000000,
        .meaning =
            "How many clients may be connected. One more is answered 503 "
            "and closed."},
    {.name = "READ_TIMEOUT",
        .initial = "15s",
        .kind = &DURATION,
        PLACE(read_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .meaning =
            "How long a request may take from its first byte to its last."},
    {.name = "MIN_UPLOAD_RATE",
        .initial = "240B",
        .kind = &SIZE,
        PLACE(min_upload_rate),
        .min = 1,
        .max = GIB,
        .zero_is_off = true,
        .meaning =
            "How many bytes of a request must arrive each second, in every "
            "10 seconds that it takes. Slower is answered 408, however long "
            "READ_TIMEOUT is."},
    {.name = "WRITE_TIMEOUT",
        .initial = "15s",
        .kind = &DURATION,
        PLACE(write_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .meaning = "How long a client may take no byte of its reply."},
    {.name = "IDLE_TIMEOUT",
        .initial = "60s",
        .kind = &DURATION,
        PLACE(idle_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .meaning = "How long a connection may stay silent between requests."},
    {.name = "SHUTDOWN_TIMEOUT",
        .initial = "30s",
        .kind = &DURATION,
        PLACE(shutdown_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .meaning =
            "How long requests may take to finish after SIGTERM; what is "
            "left then is answered 503."},
    {.name = "DRAIN_DELAY",
        .initial = "0s",
        .kind = &DURATION,
        PLACE(drain_delay_ms),
        .min = 0,
        .max = DAY_MS,
        .meaning =
            "How long to go on serving after SIGTERM while /readyz already "
            "says 503, so that a load balancer can look elsewhere."},
    {.name = "DRAIN_IDLE",
        .initial = "1s",
        .kind = &DURATION,
        PLACE(drain_idle_ms),
        .min = 0,
        .max = DAY_MS,
        .meaning = "How long an idle connection may still speak after the port "
                   "closed."},
    {.name = "MAX_HEADER_SIZE",
        .initial = "16KiB",
        .kind = &SIZE,
        PLACE(max_header_bytes),
        .min = 256,
        .max = MIB,
        .meaning = "How long a request's header section may be. Longer is "
                   "answered 431."},
    {.name = "MAX_BODY_SIZE",
        .initial = "1MiB",
        .kind = &SIZE,
        PLACE(max_body_bytes),
        .min = 0,
        .max = GIB,
        .meaning = "How long a request's body may be. Longer is answered 413."},
    {.name = "MEMORY_BUDGET",
        .initial = "auto",
        .kind = &SIZE,
        PLACE(memory_budget_bytes),
        .min = 16 * MIB,
        .max = 1024 * TIB,
        .automatic = automatic_memory,
        .meaning =
            "What bodies, parse trees and replies may take in all. Beyond "
            "it requests are answered 503. auto is half of what the cgroup "
            "or the machine allows, at least 64MiB."},
    {.name = "QUEUE_TIMEOUT",
        .initial = "30s",
        .kind = &DURATION,
        PLACE(queue_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .zero_is_off = true,
        .meaning =
            "How long a job may wait for a worker. Then it is answered 503."},
    {.name = "JOB_TIMEOUT",
        .initial = "off",
        .kind = &DURATION,
        PLACE(job_timeout_ms),
        .min = 1,
        .max = DAY_MS,
        .zero_is_off = true,
        .meaning = "How long a job may run before its client is answered 504."},
    {.name = "HALF_CLOSE",
        .initial = "cancel",
        .kind = &CHOICE,
        PLACE(half_close),
        WORDS(half_close_words),
        .meaning =
            "What it means when a client shuts its sending side while its "
            "job waits or runs: that it left (cancel), or that it still "
            "reads (serve)."},
    {.name = "HANDLERS",
        .initial = "/=echo",
        .kind = &HANDLERS,
        PLACE(routes),
        .meaning =
            "Which handler serves which path. KIND is echo, sleep, spin, "
            "wait, exec, module, or a module that is installed, such as "
            "sqlite and postgres. Entries stand between blanks; double quotes "
            "keep blanks; %XX is decoded in PATH and ARGUMENT. Paths are "
            "exact."},
    {.name = "HANDLERS_FILE",
        .initial = "",
        .unset = "none",
        .kind = &HANDLERS_FILE,
        PLACE(handlers_file),
        .meaning =
            "Read the handlers from this file, with # comments, instead of "
            "HANDLERS."},
    {.name = "PRIVATE_FD_TABLES",
        .initial = "on",
        .kind = &CHOICE,
        PLACE(private_fd_tables),
        WORDS(switch_words),
        .meaning =
            "Give each loop a table of descriptors of its own, so that the "
            "limit on open files holds for each."},
    {.name = "LOG_LEVEL",
        .initial = "info",
        .kind = &CHOICE,
        PLACE(log_level),
        WORDS(log_level_words),
        .meaning = "How much to log: this, and what is more serious."},
    {.name = "LOG_FORMAT",
        .initial = "auto",
        .kind = &CHOICE,
        PLACE(log_format),
        WORDS(log_format_words),
        .automatic = automatic_log_format,
        .meaning = "How log lines look. auto is text if standard error is a "
                   "terminal, else json."},
};

enum { SETTING_COUNT = sizeof settings / sizeof settings[0] };

/* The value of a variable; NULL when it is empty or not set. Of two the first
 * counts, as for getenv. */
static const char *look_up(char *const env[], const char *name)
{
    size_t length = strlen(name);

    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, name, length) == 0 && (*env)[length] == '=') {
            return (*env)[length + 1] != '\0' ? *env + length + 1 : NULL;
        }
    }
    return NULL;
}

static void begin_error(struct text *error, const char *name, const char *value)
{
    cut(error, 0);
    append(error, "%s=", name);
    append_shown(error, value);
    append(error, ": ");
}

static enum verdict load_setting(const struct setting *setting,
    struct hcs_config *config, char *const env[], struct text *error)
{
    const char *value = look_up(env, setting->name);
    enum verdict verdict;

    if (value == NULL) {
        value = setting->initial;
    }
    begin_error(error, setting->name, value);
    verdict = setting->kind->parse(setting, value, config, error);
    if (verdict == REFUSED) {
        append(error, "; allowed: ");
        setting->kind->allowed(setting, error);
    }
    return verdict;
}

int hcs_config_load(struct hcs_config *config, char *const env[], char *error,
    size_t error_size)
{
    struct text message = {error, error_size, 0};
    const char *file = look_up(env, "HANDLERS_FILE");

    memset(config, 0, sizeof *config);
    if (file != NULL && look_up(env, "HANDLERS") != NULL) {
        begin_error(&message, "HANDLERS_FILE", file);
        append(&message, "HANDLERS is set too; allowed: one of the two");
        return -EINVAL;
    }
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        enum verdict verdict =
            load_setting(&settings[i], config, env, &message);

        if (verdict != GOOD) {
            hcs_config_fini(config);
            return verdict == NO_MEMORY ? -ENOMEM : -EINVAL;
        }
    }
    cut(&message, 0);
    return 0;
}

void hcs_config_fini(struct hcs_config *config)
{
    drop_routes(config);
    free(config->address);
    free(config->handlers_file);
    memset(config, 0, sizeof *config);
}

static const char *source_of(const struct setting *setting,
    const struct hcs_config *config, char *const env[])
{
    const char *value = look_up(env, setting->name);

    if (setting->kind == &HANDLERS && config->handlers_file != NULL) {
        return "HANDLERS_FILE";
    }
    if (is_auto(setting, value != NULL ? value : setting->initial)) {
        return "auto";
    }
    return value != NULL ? "environment" : "default";
}

void hcs_config_print(
    const struct hcs_config *config, char *const env[], FILE *out)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];

        (void)fprintf(out, "%s=", setting->name);
        setting->kind->print(setting, config, out);
        (void)fprintf(out, "\t# %s\n", source_of(setting, config, env));
    }
}

/* --- The table, for people. */

static const char *shown_default(const struct setting *setting)
{
    return *setting->initial != '\0' ? setting->initial : setting->unset;
}

/* Lines of at most 76 columns, indented. */
static void print_wrapped(const char *text, FILE *out)
{
    enum { WIDTH = 72 };

    while (*text != '\0') {
        size_t length = strlen(text);

        if (length > WIDTH) {
            length = WIDTH;
            while (length > 1 && text[length] != ' ') {
                length--;
            }
        }
        (void)fprintf(out, "    %.*s\n", (int)length, text);
        text += length + (text[length] == ' ');
    }
}

void hcs_config_help(FILE *out)
{
    (void)fprintf(out, "%-18s %-8s %s\n", "SETTING", "DEFAULT", "ALLOWED");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        char buffer[128];
        struct text allowed = {buffer, sizeof buffer, 0};

        setting->kind->allowed(setting, &allowed);
        (void)fprintf(out, "%-18s %-8s %s\n", setting->name,
            shown_default(setting), buffer);
        print_wrapped(setting->meaning, out);
    }
}

/* A line each, so that roff puts its own space between them. */
static void print_sentences(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        (void)fputc(*text, out);
        if (text[0] == '.' && text[1] == ' ') {
            (void)fputc('\n', out);
            text++;
        }
    }
    (void)fputc('\n', out);
}

/* No text of the table holds a backslash, or starts a sentence with a dot or an
 * apostrophe, which roff would take for its own; the tests see to it. */
void hcs_config_man(FILE *out)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        char buffer[128];
        struct text allowed = {buffer, sizeof buffer, 0};

        setting->kind->allowed(setting, &allowed);
        (void)fprintf(out, ".It Ev %s\n", setting->name);
        print_sentences(setting->meaning, out);
        (void)fprintf(out, ".br\nDefault: %s; allowed: %s.\n",
            shown_default(setting), buffer);
    }
}
