#include "app/setting.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* --- The place of a value. */

static void store(
    const struct hcs_setting *setting, void *values, uint64_t value)
{
    void *place = (char *)values + setting->offset;

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

static uint64_t load(const struct hcs_setting *setting, const void *values)
{
    const void *place = (const char *)values + setting->offset;

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

/* --- Words that stand for a value. */

bool hcs_setting_is_auto(const struct hcs_setting *setting, const char *text)
{
    return setting->automatic != NULL && strcmp(text, "auto") == 0;
}

/* False when text is neither "auto" nor "off", or the setting does not allow
 * it. */
static bool keep_word(
    const struct hcs_setting *setting, const char *text, void *values)
{
    if (hcs_setting_is_auto(setting, text)) {
        uint64_t chosen = setting->automatic();

        store(setting, values, chosen < setting->max ? chosen : setting->max);
        return true;
    }
    if (setting->zero_is_off && strcmp(text, "off") == 0) {
        store(setting, values, 0);
        return true;
    }
    return false;
}

/* --- Numbers, durations and sizes. */

static int parse_quantity(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error)
{
    enum hcs_quantity quantity = setting->type->quantity;
    char why[HCS_UNITS_WHY];
    uint64_t value;

    if (keep_word(setting, text, values)) {
        return 0;
    }
    if ((setting->zero_is_off &&
            hcs_units_read(quantity, text, 0, 0, &value, why)) ||
        hcs_units_read(
            quantity, text, setting->min, setting->max, &value, why)) {
        store(setting, values, value);
        return 0;
    }
    hcs_message_add(error, "%s", why);
    return -EINVAL;
}

static void print_quantity(
    const struct hcs_setting *setting, const void *values, FILE *out)
{
    char shown[HCS_UNITS_TEXT] = "off";
    uint64_t value = load(setting, values);

    if (!setting->zero_is_off || value != 0) {
        hcs_units_print(shown, setting->type->quantity, value);
    }
    (void)fputs(shown, out);
}

static void allow_quantity(
    const struct hcs_setting *setting, struct hcs_message *out)
{
    char min[HCS_UNITS_TEXT];
    char max[HCS_UNITS_TEXT];

    hcs_units_print(min, setting->type->quantity, setting->min);
    hcs_units_print(max, setting->type->quantity, setting->max);
    hcs_message_add(out, "%s to %s", min, max);
    if (setting->zero_is_off) {
        hcs_message_add(out, ", or 0 for off");
    }
    if (setting->automatic != NULL) {
        hcs_message_add(out, ", or auto");
    }
}

const struct hcs_setting_type hcs_setting_number = {
    HCS_COUNT, parse_quantity, print_quantity, allow_quantity};
const struct hcs_setting_type hcs_setting_duration = {
    HCS_MILLISECONDS, parse_quantity, print_quantity, allow_quantity};
const struct hcs_setting_type hcs_setting_size = {
    HCS_BYTES, parse_quantity, print_quantity, allow_quantity};

/* --- Choices. */

static int parse_choice(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error)
{
    if (keep_word(setting, text, values)) {
        return 0;
    }
    for (size_t i = 0; i < setting->word_count; i++) {
        if (strcmp(text, setting->words[i]) == 0) {
            store(setting, values, i);
            return 0;
        }
    }
    hcs_message_add(error, "unknown");
    return -EINVAL;
}

static void print_choice(
    const struct hcs_setting *setting, const void *values, FILE *out)
{
    (void)fputs(setting->words[load(setting, values)], out);
}

static void allow_choice(
    const struct hcs_setting *setting, struct hcs_message *out)
{
    for (size_t i = 0; i < setting->word_count; i++) {
        hcs_message_add(out, "%s%s", i == 0 ? "" : ", ", setting->words[i]);
    }
    if (setting->automatic != NULL) {
        hcs_message_add(out, ", auto");
    }
}

const struct hcs_setting_type hcs_setting_choice = {
    .parse = parse_choice, .print = print_choice, .allowed = allow_choice};

/* --- Texts. */

int hcs_setting_keep_text(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error)
{
    char *copy = strdup(text);

    if (copy == NULL) {
        hcs_message_add(error, "out of memory");
        return -ENOMEM;
    }
    memcpy((char *)values + setting->offset, &copy, sizeof copy);
    return 0;
}

/* Control characters become \xHH, so that the value stays one line. */
void hcs_setting_print_text(
    const struct hcs_setting *setting, const void *values, FILE *out)
{
    const char *text;

    memcpy(&text, (const char *)values + setting->offset, sizeof text);
    for (; text != NULL && *text != '\0'; text++) {
        if (iscntrl((unsigned char)*text)) {
            (void)fprintf(out, "\\x%02X", (unsigned)(unsigned char)*text);
        } else {
            (void)fputc(*text, out);
        }
    }
}

static int parse_address(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error)
{
    struct in6_addr bytes;

    if (*text == '\0') {
        return 0;
    }
    if (*text == '[') {
        hcs_message_add(error, "write the address without brackets");
        return -EINVAL;
    }
    if (inet_pton(AF_INET, text, &bytes) != 1 &&
        inet_pton(AF_INET6, text, &bytes) != 1) {
        hcs_message_add(error, "not an IP address");
        return -EINVAL;
    }
    return hcs_setting_keep_text(setting, text, values, error);
}

static void allow_address(
    const struct hcs_setting *setting, struct hcs_message *out)
{
    (void)setting;
    hcs_message_add(out, "an IPv4 or IPv6 address, or empty for all");
}

const struct hcs_setting_type hcs_setting_address = {.parse = parse_address,
    .print = hcs_setting_print_text,
    .allowed = allow_address};

static int parse_path(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error)
{
    return *text == '\0' ? 0
                         : hcs_setting_keep_text(setting, text, values, error);
}

static void allow_path(
    const struct hcs_setting *setting, struct hcs_message *out)
{
    (void)setting;
    hcs_message_add(out, "a file, or empty for none");
}

const struct hcs_setting_type hcs_setting_path = {.parse = parse_path,
    .print = hcs_setting_print_text,
    .allowed = allow_path};

/* --- Reading a value. */

void hcs_setting_begin_error(
    struct hcs_message *error, const char *name, const char *text)
{
    hcs_message_cut(error, 0);
    hcs_message_add(error, "%s=", name);
    hcs_message_add_shown(error, text);
    hcs_message_add(error, ": ");
}

int hcs_setting_read(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error)
{
    int rc;

    hcs_setting_begin_error(error, setting->name, text);
    rc = setting->type->parse(setting, text, values, error);
    if (rc == -EINVAL) {
        hcs_message_add(error, "; allowed: ");
        setting->type->allowed(setting, error);
    }
    return rc;
}
