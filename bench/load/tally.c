#include "tally.h"

const char *const FAULT_WORDS[FAULTS] = {
    [FAULT_CONNECT_REFUSED] = "connect-refused",
    [FAULT_CONNECT_TIMEOUT] = "connect-timeout",
    [FAULT_CONNECT_ERROR] = "connect-error",
    [FAULT_NO_DESCRIPTOR] = "no-descriptor",
    [FAULT_NO_PORT] = "no-port",
    [FAULT_NOT_SENT] = "not-sent",
    [FAULT_SEND_ERROR] = "send-error",
    [FAULT_CLOSED] = "closed",
    [FAULT_RESET] = "reset",
    [FAULT_TIMEOUT] = "timeout",
    [FAULT_CUT_REPLY] = "cut-reply",
    [FAULT_BAD_REPLY] = "bad-reply",
    [FAULT_UNASKED] = "unasked-bytes",
    [FAULT_LEFT_OPEN] = "left-open",
    [FAULT_UNFINISHED] = "unfinished",
};

const char *const OUTCOME_WORDS[OUTCOMES] = {
    [OUTCOME_ANSWERED] = "answered",
    [OUTCOME_REFUSED] = "refused",
    [OUTCOME_FAILED] = "failed",
    [OUTCOME_LOST] = "lost",
};

static void sum_one(_Atomic uint64_t *sum, const _Atomic uint64_t *other,
    const _Atomic uint64_t *base)
{
    tally_add(sum, tally_get(other) - tally_get(base));
}

static void sum_row(_Atomic uint64_t *sum, const _Atomic uint64_t *other,
    const _Atomic uint64_t *base, int count)
{
    for (int i = 0; i < count; i++) {
        sum_one(&sum[i], &other[i], &base[i]);
    }
}

void tally_sum(
    struct tally *sum, const struct tally *other, const struct tally *base)
{
    sum_one(&sum->opened, &other->opened, &base->opened);
    sum_one(&sum->open_failed, &other->open_failed, &base->open_failed);
    tally_add(&sum->open_now, tally_get(&other->open_now));
    tally_add(&sum->most_open, tally_get(&other->most_open));
    sum_one(&sum->closed_by_server, &other->closed_by_server,
        &base->closed_by_server);
    sum_one(&sum->due, &other->due, &base->due);
    sum_one(&sum->sent, &other->sent, &base->sent);
    sum_one(&sum->reply_bytes, &other->reply_bytes, &base->reply_bytes);
    sum_row(sum->outcomes, other->outcomes, base->outcomes, OUTCOMES);
    sum_row(sum->faults, other->faults, base->faults, FAULTS);
    sum_row(sum->statuses, other->statuses, base->statuses, STATUS_MOST);
    histogram_add(&sum->latency, &other->latency, &base->latency);
}

bool tally_adds_up(const struct tally *t)
{
    uint64_t ended = 0;

    for (int i = 0; i < OUTCOMES; i++) {
        ended += tally_get(&t->outcomes[i]);
    }
    return ended == tally_get(&t->due);
}
