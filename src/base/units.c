#include "base/units.h"

#include <assert.h>
#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <ctype.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t scale;
    uint64_t from; /* values from here on may be printed in this unit */
};

#define SECOND_NS UINT64_C(1000000000)
#define KIB UINT64_C(1024)

static const struct unit NO_UNITS[] = {{"", 1, 0}, {NULL, 0, 0}};

static const struct unit DURATIONS[] = {
    {"ns", 1, 1},
    {"us", 1000, 1000},
    {"ms", 1000000, 1000000},
    {"s", SECOND_NS, 0},
    {"m", 60 * SECOND_NS, 2 * 60 * SECOND_NS},
    {"h", 3600 * SECOND_NS, 2 * 3600 * SECOND_NS},
    {NULL, 0, 0},
};

static const struct unit SIZES[] = {
    {"B", 1, 0},
    {"KiB", KIB, KIB},
    {"MiB", KIB *KIB, KIB *KIB},
    {"GiB", KIB *KIB *KIB, KIB *KIB *KIB},
    {"TiB", KIB *KIB *KIB *KIB, KIB *KIB *KIB *KIB},
    {NULL, 0, 0},
};

static const struct {
    const struct unit *units; /* a value of 1 is one of the first unit */
    bool needs_unit;
    const char *what_else; /* of a text that does not start with a digit */
} QUANTITIES[] = {
    [HCS_COUNT] = {NO_UNITS, false, "not a whole number"},
    [HCS_NANOSECONDS] = {DURATIONS, true, "not a duration"},
    [HCS_MILLISECONDS] = {DURATIONS + 2, true, "not a duration"},
    [HCS_BYTES] = {SIZES, false, "not a size"},
};

/* Reads the digits at *at, and moves *at behind them. False when their number
 * does not fit. */
static bool read_digits(const char **at, uint64_t *number)
{
    bool fits = true;

    *number = 0;
    for (; isdigit((unsigned char)**at); (*at)++) {
        unsigned digit = (unsigned)(**at - '0');

        fits = fits && !__builtin_mul_overflow(*number, 10u, number) &&
               !__builtin_add_overflow(*number, digit, number);
    }
    return fits;
}

/* NULL: there is no such unit. */
static const struct unit *find_unit(const struct unit *units, const char *name)
{
    while (units->name != NULL && strcmp(units->name, name) != 0) {
        units++;
    }
    return units->name != NULL ? units : NULL;
}

/* rest is what stands behind the digits of text, and is not a unit. */
static void explain_unit(const struct unit *units, const char *text,
    const char *rest, char why[HCS_UNITS_WHY])
{
    if (*rest == '\0') {
        (void)snprintf(
            why, HCS_UNITS_WHY, "no unit; write %.20ss or %.20sms", text, text);
        return;
    }
    if (*rest == '.' && isdigit((unsigned char)rest[1])) {
        (void)strlcpy(why, "a fraction; write a whole number of a smaller unit",
            HCS_UNITS_WHY);
        return;
    }
    (void)strlcpy(why, "the unit must be ", HCS_UNITS_WHY);
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        const char *before = unit == units          ? ""
                             : unit[1].name != NULL ? ", "
                                                    : " or ";

        (void)strlcat(why, before, HCS_UNITS_WHY);
        (void)strlcat(why, unit->name, HCS_UNITS_WHY);
    }
}

static bool read_count(const char *text, uint64_t min, uint64_t max,
    uint64_t *out, char why[HCS_UNITS_WHY])
{
    int64_t number;

    assert(max <= INT64_MAX);
    if (!hcs_units_read_integer(
            text, (int64_t)min, (int64_t)max, &number, why)) {
        return false;
    }
    *out = (uint64_t)number;
    return true;
}

bool hcs_units_read(enum hcs_quantity quantity, const char *text, uint64_t min,
    uint64_t max, uint64_t *out, char why[HCS_UNITS_WHY])
{
    const struct unit *units = QUANTITIES[quantity].units;
    const struct unit *unit;
    const char *rest = text;
    uint64_t number;
    bool fits;

    if (quantity == HCS_COUNT) {
        return read_count(text, min, max, out, why);
    }
    fits = read_digits(&rest, &number);
    if (rest == text) {
        (void)strlcpy(why, QUANTITIES[quantity].what_else, HCS_UNITS_WHY);
        return false;
    }
    unit = find_unit(units, rest);
    if (*rest == '\0' &&
        ((fits && number == 0) || !QUANTITIES[quantity].needs_unit)) {
        unit = units;
    }
    if (unit == NULL) {
        explain_unit(units, text, rest, why);
        return false;
    }
    fits = fits &&
           !__builtin_mul_overflow(number, unit->scale / units->scale, &number);
    if (!fits || number > max || number < min) {
        (void)strlcpy(why, fits && number < min ? "too small" : "too large",
            HCS_UNITS_WHY);
        return false;
    }
    *out = number;
    return true;
}

bool hcs_units_read_integer(const char *text, int64_t min, int64_t max,
    int64_t *out, char why[HCS_UNITS_WHY])
{
    const char *error = "invalid";
    int64_t number = 0;

    /* strtonum(3bsd) would skip white space, and take a plus. */
    if (*text == '-' || isdigit((unsigned char)*text)) {
        number = strtonum(text, min, max, &error);
    }
    if (error == NULL) {
        *out = number;
        return true;
    }
    /* Its other words are "too small" and "too large". */
    if (strcmp(error, "invalid") == 0) {
        error = QUANTITIES[HCS_COUNT].what_else;
    }
    (void)strlcpy(why, error, HCS_UNITS_WHY);
    return false;
}

void hcs_units_print(
    char out[HCS_UNITS_TEXT], enum hcs_quantity quantity, uint64_t value)
{
    const struct unit *first = QUANTITIES[quantity].units;
    const struct unit *best = first;

    for (const struct unit *unit = first; unit->name != NULL; unit++) {
        if (value >= unit->from / first->scale &&
            value % (unit->scale / first->scale) == 0) {
            best = unit;
        }
    }
    (void)snprintf(out, HCS_UNITS_TEXT, "%" PRIu64 "%s",
        value / (best->scale / first->scale), best->name);
}

bool hcs_parse_duration(const char *text, uint64_t *ns)
{
    char why[HCS_UNITS_WHY];

    return text[strspn(text, "0123456789")] != '\0' &&
           hcs_units_read(HCS_NANOSECONDS, text, 0, UINT64_MAX, ns, why);
}
