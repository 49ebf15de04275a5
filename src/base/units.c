#include "base/units.h"

#include <string.h>

static const struct unit {
    const char *name;
    uint64_t ns;
} units[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1000000},
    {"s", 1000000000},
    {"m", 60 * UINT64_C(1000000000)},
    {"h", 3600 * UINT64_C(1000000000)},
};

enum { UNIT_COUNT = sizeof units / sizeof units[0] };

bool hcs_parse_duration(const char *text, uint64_t *ns)
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
    for (size_t i = 0; i < UNIT_COUNT; i++) {
        uint64_t value;

        if (strcmp(at, units[i].name) == 0) {
            if (__builtin_mul_overflow(number, units[i].ns, &value)) {
                return false;
            }
            *ns = value;
            return true;
        }
    }
    return false;
}
