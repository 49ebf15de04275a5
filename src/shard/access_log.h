/*
 * access_log - writes a log line for each exchange.
 *
 * Owns:    nothing.
 * Threads: any.
 * Waits:   never: if the log has no room for a line, the line is dropped and
 *          counted.
 */
#ifndef HCS_SHARD_ACCESS_LOG_H
#define HCS_SHARD_ACCESS_LOG_H

#include "base/log.h"
#include "http/exchange.h"

/* Writes the line of an exchange that has ended, if the log takes debug lines.
 * now_ns: CLOCK_MONOTONIC. */
void hcs_access_log_write(
    struct hcs_log *log, const struct hcs_exchange *exchange, uint64_t now_ns);

#endif
