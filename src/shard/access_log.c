#include "shard/access_log.h"

#include "base/peer.h"

static void write_line(
    struct hcs_log *log, const struct hcs_exchange *exchange, uint64_t now_ns)
{
    uint64_t began_ns = exchange->began_ns;
    char client[HCS_PEER_TEXT];
    struct hcs_log_field fields[] = {
        {.name = "request_id",
            .text = exchange->id,
            .length = exchange->id_length},
        {.name = "client", .text = hcs_peer_text(exchange->peer, client)},
        {.name = "method",
            .text =
                exchange->understood ? hcs_method_word(exchange->method) : ""},
        {.name = "route",
            .text = exchange->route != NULL ? exchange->route : ""},
        {.name = "status", .number = exchange->status},
        {.name = "bytes_in", .number = exchange->bytes_in},
        {.name = "bytes_out", .number = exchange->bytes_out},
        {.name = "queue_us", .number = exchange->queue_ns / 1000},
        {.name = "run_us", .number = exchange->run_ns / 1000},
        {.name = "total_us",
            .number = began_ns != 0 && began_ns < now_ns
                          ? (now_ns - began_ns) / 1000
                          : 0},
        {.name = "reason", .text = hcs_reason_word(exchange->reason)},
    };

    hcs_log_write(log, HCS_LOG_DEBUG, "request", fields,
        sizeof(fields) / sizeof(fields[0]));
}

void hcs_access_log_write(
    struct hcs_log *log, const struct hcs_exchange *exchange, uint64_t now_ns)
{
    if (hcs_log_wants(log, HCS_LOG_DEBUG)) {
        write_line(log, exchange, now_ns);
    }
}
