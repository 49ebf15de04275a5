/* limits - what a connection and a request may cost. Constant after the
 * start. */
#ifndef HCS_SHARD_LIMITS_H
#define HCS_SHARD_LIMITS_H

#include <stdint.h>

/* What a client's FIN means while its job waits or runs. */
enum hcs_half_close {
    HCS_HALF_CLOSE_CANCEL, /* the client has left: the job is cancelled */
    HCS_HALF_CLOSE_SERVE,  /* the client still reads: it is answered */
};

struct hcs_limits {
    uint64_t read_timeout_ms;  /* from a request's first byte to its last */
    uint64_t min_upload_rate;  /* bytes a second of a request; 0: no minimum */
    uint64_t write_timeout_ms; /* since the client last took a byte */
    uint64_t idle_timeout_ms;
    uint64_t drain_idle_ms;    /* idle time in a drain */
    uint64_t queue_timeout_ms; /* 0: off */
    uint64_t max_header_bytes;
    uint64_t max_body_bytes;
    enum hcs_half_close half_close;
};

#endif
