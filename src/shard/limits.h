/* limits - what a connection and a request may cost. Constant after start. */
#ifndef HCS_SHARD_LIMITS_H
#define HCS_SHARD_LIMITS_H

#include <stdint.h>

/* What a client's FIN means while its job waits or runs. */
enum hcs_half_close {
    HCS_HALF_CLOSE_CANCEL, /* it left */
    HCS_HALF_CLOSE_SERVE,  /* it still reads */
};

struct hcs_limits {
    uint64_t read_timeout_ms;  /* a request's first byte to its last */
    uint64_t min_upload_rate;  /* bytes a second of a request; 0: any */
    uint64_t write_timeout_ms; /* since the last byte the client took */
    uint64_t idle_timeout_ms;
    uint64_t drain_idle_ms;    /* idle time left during drain */
    uint64_t queue_timeout_ms; /* 0: off */
    uint64_t max_header_bytes;
    uint64_t max_body_bytes;
    enum hcs_half_close half_close;
};

#endif
