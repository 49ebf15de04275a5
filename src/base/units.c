#include "base/units.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t scale;
};

static const struct unit DURATIONS[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1000000},
    {"s", 1000000000},
    {"m", 60 * UINT64_C(1000000000)},
    {"h", 3600 * UINT64_C(1000000000)},
    {NULL, 0},
};

static const struct unit SIZES[] = {
    {"", 1},
    {"B", 1},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
    {NULL, 0},
};

static bool parse(const char *text, const struct unit *units, uint64_t *out)
{
    const char *at = text;
    uint64_t number = 0;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *at - '0', &number)) {
            return false;
        }
    }
    if (at == text) {
        return false;
    }
    for (; units->name != NULL; units++) {
        uint64_t value;

        if (strcmp(at, units->name) == 0) {
            if (__builtin_mul_overflow(number, units->scale, &value)) {
                return false;
            }
            *out = value;
            return true;
        }
    }
    return false;
}

bool hcs_parse_duration(const char *text, uint64_t *ns)
{
    return parse(text, DURATIONS, ns);
}

bool hcs_parse_size(const char *text, uint64_t *bytes)
{
    return parse(text, SIZES, bytes);
}

void hcs_duration_text(char out[HCS_DURATION_TEXT], uint64_t ns)
{
    const struct unit *best = DURATIONS;

    if (ns == 0) { /* a multiple of all; nobody writes 0ns */
        (void)snprintf(out, HCS_DURATION_TEXT, "0s");
        return;
    }
    for (const struct unit *unit = DURATIONS; unit->name != NULL; unit++) {
        if (ns % unit->scale == 0 && ns >= unit->scale) {
            best = unit;
        }
    }
    (void)snprintf(
        out, HCS_DURATION_TEXT, "%" PRIu64 "%s", ns / best->scale, best->name);
}
