#include "shard/shard.h"

#include "base/text.h"

void hcs_shard_ask(struct hcs_shard *shard)
{
    /* [shard.asked] Relaxed: the kernel's locks order this store before the
     * ring [bell]. The loop reads asked after the ring. */
    atomic_store_explicit(&shard->asked, true, memory_order_relaxed);
    hcs_mailbox_ring(&shard->mailbox);
}

bool hcs_shard_is_paused(const struct hcs_shard *shard)
{
    /* Relaxed: for other loops this is only a hint, about which loop to ask. */
    return atomic_load_explicit(&shard->paused, memory_order_relaxed);
}

uint64_t hcs_shard_connections(const struct hcs_shard *shard)
{
    uint64_t sum = 0;

    for (int i = 0; i < HCS_CONN_CLOSED; i++) {
        sum += hcs_counter_get(&shard->counts.states[i]);
    }
    return sum;
}

uint64_t hcs_shard_realtime_ms(const struct hcs_shard *shard)
{
    return shard->loop.now_ms + shard->realtime_offset_ms;
}

const char *hcs_shard_date(struct hcs_shard *shard)
{
    uint64_t now_s = hcs_shard_realtime_ms(shard) / 1000;

    if (now_s != shard->date_s) {
        /* Once a second is often enough to notice that the clock was set. */
        shard->realtime_offset_ms =
            hcs_clock_realtime_ms() - shard->loop.now_ms;
        shard->date_s = hcs_shard_realtime_ms(shard) / 1000;
        hcs_clock_http_date(shard->date_s, shard->date);
    }
    return shard->date;
}

void hcs_shard_make_id(struct hcs_shard *shard, char out[HCS_EXCHANGE_ID_MADE])
{
    uint64_t a = hcs_random_next(&shard->random);
    uint64_t b = hcs_random_next(&shard->random);

    hcs_text_uuid7(out, hcs_shard_realtime_ms(shard), a, b);
}
