/*
 * gate - admits or refuses connections and jobs.
 *
 * Every refusal for lack of capacity is decided here: that of a connection when
 * it is accepted, and that of a job when it was read. A further limit is a file
 * beside this one, and a call from here.
 *
 * Owns:    the number of open connections, and the rate at which jobs end.
 * Threads: init, set_queue and set_drain_rate by main; the others by any loop.
 * Waits:   never.
 */
#ifndef HCS_GUARD_GATE_H
#define HCS_GUARD_GATE_H

#include "http/reason.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_peer;
struct hcs_task;

/* The queue behind the gate. */
struct hcs_gate_queue {
    void *queue;
    /* Takes the task; false: the queue is full. */
    bool (*submit)(void *queue, struct hcs_task *task);
    /* How many tasks wait. */
    size_t (*depth)(const void *queue);
};

struct hcs_gate {
    unsigned max_connections;
    struct hcs_gate_queue queue;
    _Atomic uint64_t jobs_per_second; /* jobs that ended in the last seconds */
    alignas(64) _Atomic unsigned connections;
};

/* max_connections: 1 and above. */
void hcs_gate_init(struct hcs_gate *gate, unsigned max_connections);

/* Called before the first job. queue is copied. */
void hcs_gate_set_queue(
    struct hcs_gate *gate, const struct hcs_gate_queue *queue);

void hcs_gate_set_drain_rate(struct hcs_gate *gate, uint64_t jobs_per_second);

/* A client has connected. NONE: the connection is admitted, and counts until
 * hcs_gate_disconnect. Else the reason for which it is refused. */
enum hcs_reason hcs_gate_connect(
    struct hcs_gate *gate, const struct hcs_peer *peer);
void hcs_gate_disconnect(struct hcs_gate *gate, const struct hcs_peer *peer);

/* How many admitted connections are open. */
unsigned hcs_gate_connections(const struct hcs_gate *gate);

/* A job was read whole. NONE: the queue has taken its task. Else the reason for
 * which the job is refused. */
enum hcs_reason hcs_gate_admit(struct hcs_gate *gate, struct hcs_task *task);

/* What a client is told that was refused for lack of capacity. */
struct hcs_gate_advice {
    unsigned retry_after_s; /* 1 to 30 */
    size_t queue_depth;
};

/* The time until the jobs that wait now have ended, at the rate of the last
 * seconds. A random part is added, so that clients that were refused together
 * do not return together. */
struct hcs_gate_advice hcs_gate_advise(
    const struct hcs_gate *gate, uint64_t random);

#endif
