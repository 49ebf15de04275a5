/*
 * reason - every refusal and every close has one name.
 *
 * The same word stands in the problem document (as /problems/WORD), in the log
 * line and in the label of the metric, because all three come from this table.
 *
 * Owns:    nothing.
 * Threads: any; no state.
 * Waits:   never.
 */
#ifndef HCS_HTTP_REASON_H
#define HCS_HTTP_REASON_H

/* name, word, status (0: closes without an answer), title */
#define HCS_REASONS(X)                                                         \
    X(NONE, "none", 0, "")                                                     \
    /* faults of the request */                                                \
    X(BAD_REQUEST_LINE, "bad-request-line", 400, "Bad request line")           \
    X(BAD_TARGET, "bad-target", 400, "Bad request target")                     \
    X(BAD_FIELD, "bad-field", 400, "Bad header field")                         \
    X(BAD_LINE_END, "bad-line-end", 400, "Bad line ending")                    \
    X(BAD_HOST, "bad-host", 400, "Bad or missing Host")                        \
    X(BAD_CONTENT_LENGTH, "bad-content-length", 400, "Bad Content-Length")     \
    X(BAD_TRANSFER_ENCODING, "bad-transfer-encoding", 400,                     \
        "Bad Transfer-Encoding")                                               \
    X(BAD_CHUNK, "bad-chunk", 400, "Bad chunk framing")                        \
    X(BAD_JSON, "bad-json", 400, "Body is not JSON")                           \
    X(NOT_FOUND, "not-found", 404, "No such path")                             \
    X(METHOD_NOT_ALLOWED, "method-not-allowed", 405, "Method not allowed")     \
    X(HEADER_TIMEOUT, "header-timeout", 408, "Header too slow")                \
    X(BODY_TIMEOUT, "body-timeout", 408, "Body too slow")                      \
    X(UPLOAD_TOO_SLOW, "upload-too-slow", 408, "Upload too slow")              \
    X(PRECONDITION_FAILED, "precondition-failed", 412, "Precondition failed")  \
    X(BODY_TOO_LARGE, "body-too-large", 413, "Body too large")                 \
    X(TARGET_TOO_LONG, "target-too-long", 414, "Request target too long")      \
    X(BAD_MEDIA_TYPE, "unsupported-media-type", 415, "Unsupported media type") \
    X(BAD_CONTENT_ENCODING, "unsupported-content-encoding", 415,               \
        "Unsupported content encoding")                                        \
    X(BAD_EXPECTATION, "bad-expectation", 417, "Unknown expectation")          \
    X(MISDIRECTED, "misdirected", 421, "Misdirected request")                  \
    X(INVALID_JOB, "invalid-job", 422, "Invalid job")                          \
    X(HEADER_TOO_LARGE, "header-too-large", 431, "Header too large")           \
    X(NOT_IMPLEMENTED, "unknown-method", 501, "Unknown method")                \
    X(BAD_CODING, "unknown-transfer-coding", 501, "Unknown transfer coding")   \
    X(BAD_VERSION, "unsupported-version", 505, "Unsupported HTTP version")     \
    /* limits and faults of hcsd */                                            \
    X(QUEUE_FULL, "queue-full", 503, "The queue is full")                      \
    X(QUEUE_TIMEOUT, "queue-timeout", 503, "Waited too long in the queue")     \
    X(MEMORY_PRESSURE, "memory-pressure", 503, "The memory budget is spent")   \
    X(TOO_MANY_CONNECTIONS, "too-many-connections", 503,                       \
        "Too many connections")                                                \
    X(NO_DESCRIPTORS, "no-descriptors", 503, "Out of file descriptors")        \
    X(DRAINING, "draining", 503, "Shutting down")                              \
    X(STARTING, "starting", 503, "Starting")                                   \
    X(HANDLER_UNAVAILABLE, "handler-unavailable", 503,                         \
        "The handler is unavailable")                                          \
    X(HANDLER_DIED, "handler-died", 502, "The handler died")                   \
    X(HANDLER_FAILED, "handler-failed", 500, "The handler failed")             \
    X(DEADLINE_EXCEEDED, "deadline-exceeded", 504, "The job took too long")    \
    /* closes without an answer */                                             \
    X(CLIENT_CLOSED, "client-closed", 0, "")                                   \
    X(CLIENT_LEFT, "client-left", 0, "") /* while its job waited or ran */     \
    X(CLIENT_RESET, "client-reset", 0, "")                                     \
    X(REQUEST_TRUNCATED, "request-truncated", 0, "")                           \
    X(KEEPALIVE_END, "keepalive-end", 0, "") /* Connection: close, 1.0 */      \
    X(IDLE_TIMEOUT, "idle-timeout", 0, "")                                     \
    X(WRITE_TIMEOUT, "write-timeout", 0, "")                                   \
    X(DRAINED, "drained", 0, "")   /* idle at shutdown */                      \
    X(SHUTDOWN, "shutdown", 0, "") /* cut off when SHUTDOWN_TIMEOUT passed */  \
    X(IO_ERROR, "io-error", 0, "")

enum hcs_reason {
#define X(name, word, status, title) HCS_REASON_##name,
    HCS_REASONS(X)
#undef X
        HCS_REASON_COUNT
};

const char *hcs_reason_word(enum hcs_reason reason);
unsigned hcs_reason_status(enum hcs_reason reason);
const char *hcs_reason_title(enum hcs_reason reason);

#endif
