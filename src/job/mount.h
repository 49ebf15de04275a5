/*
 * mount - a handler at its path, with its settings: hcs_mount_* of
 * hcs/handler.h.
 *
 * Owns:    copies of its texts, the handler's self while it is open, and the
 *          metrics that the handler made.
 * Threads: create, open, close and destroy by one thread at a time, and not
 *          while jobs run; open_worker and close_worker by each worker; the
 *          calls of hcs/handler.h as it says there.
 * Waits:   open, open_worker, close_worker and close: as long as the handler's
 *          own calls do.
 */
#ifndef HCS_JOB_MOUNT_H
#define HCS_JOB_MOUNT_H

#include "hcs/handler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hcs_budget;
struct hcs_custom_metric;
struct hcs_deferrals;
struct hcs_log;

/* Counts the calls of handlers' open, open_worker, close and close_worker. So
 * main can tell a thread that is slow from one that is stuck in a handler. Any
 * thread may use it. */
struct hcs_handler_calls {
    _Atomic bool called_off; /* no further open or open_worker begins */
    _Atomic unsigned inside; /* calls that have not returned yet */
    _Atomic unsigned ended;  /* calls that have returned */
};

/* Lent to all mounts by the daemon, until they are destroyed. */
struct hcs_host {
    struct hcs_log *log;
    struct hcs_budget *budget;
    struct hcs_deferrals *deferrals;
    struct hcs_handler_calls *calls; /* NULL: calls are not counted */
    unsigned workers;
    bool checks;             /* settings are only checked: no job comes */
    uint64_t job_timeout_ms; /* 0: off; the default for each mount */
};

struct hcs_mount {
    const struct hcs_handler *handler; /* the mount's copy */
    void *self;
    const struct hcs_host *host;
    uint64_t job_timeout_ms;         /* 0: off; constant */
    struct hcs_mount_inside *inside; /* private to mount.c */
};

enum { HCS_MOUNT_ERROR = 384 }; /* bytes of the longest error, with the NUL */

/* Copies the texts, and the handler, which hcs_handler_check has accepted. path
 * and argument are decoded; argument may be NULL. settings is the query as it
 * was written, or NULL. context: the handler's open finds it in *self; only for
 * handlers that are built in. Returns NULL when there is no memory.
 * hcs_mount_open reports settings that cannot be read. */
struct hcs_mount *hcs_mount_create(const struct hcs_host *host,
    const struct hcs_handler *handler, void *context, const char *path,
    const char *argument, const char *settings);

/* Closes the mount first, if it is open. NULL is allowed. */
void hcs_mount_destroy(struct hcs_mount *mount);

/* Returns 0; -EINVAL: hcs_mount_error says why; -ECANCELED: main has called the
 * start off. */
int hcs_mount_open(struct hcs_mount *mount);
void hcs_mount_close(struct hcs_mount *mount);

/* For a mount that is open. Returns the same as hcs_mount_open. */
int hcs_mount_open_worker(
    struct hcs_mount *mount, unsigned worker, void **state);
void hcs_mount_close_worker(struct hcs_mount *mount, void *state);

/* The text of the first call of hcs_mount_fail, or NULL. */
const char *hcs_mount_error(struct hcs_mount *mount);

/* Writes at most room of the metrics that the handler made. Returns how many
 * were written. Their names and helps are lent until hcs_mount_destroy. */
size_t hcs_mount_metrics(
    const struct hcs_mount *mount, struct hcs_custom_metric *out, size_t room);
size_t hcs_mount_metric_count(const struct hcs_mount *mount);

#endif
