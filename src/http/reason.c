#include "http/reason.h"

#include <assert.h>
#include <stdint.h>

struct row {
    const char *word;
    const char *title;
    uint16_t status;
};

static const struct row rows[HCS_REASON_COUNT] = {
#define X(name, word, status, title) {word, title, status},
    HCS_REASONS(X)
#undef X
};

/* Only a bug of hcsd can give a reason that is not in the table. */
static const struct row *row_of(enum hcs_reason reason)
{
    assert((unsigned)reason < HCS_REASON_COUNT);
    return &rows[reason];
}

const char *hcs_reason_word(enum hcs_reason reason)
{
    return row_of(reason)->word;
}

unsigned hcs_reason_status(enum hcs_reason reason)
{
    return row_of(reason)->status;
}

const char *hcs_reason_title(enum hcs_reason reason)
{
    return row_of(reason)->title;
}
