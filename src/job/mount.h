/*
 * mount - a handler at its path, with its settings: hcs_mount_* of
 * hcs/handler.h.
 *
 * Owns:    copies of its texts, the handler's self once it is open, and the
 *          metrics that it made.
 * Threads: create, open, close and destroy by one at a time, and not while jobs
 *          run; open_worker and close_worker by each worker; what stands in
 *          hcs/handler.h as it says there.
 * Waits:   open, open_worker, close_worker and close, as long as the handler's
 *          own do.
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

/* The calls of handlers' open, open_worker, close and close_worker, counted so
 * that main can tell a slow thread from one that is stuck in a handler. Any
 * thread. */
struct hcs_handler_calls {
    _Atomic bool called_off; /* no further open or open_worker begins */
    _Atomic unsigned inside; /* calls that have not returned yet */
    _Atomic unsigned ended;  /* calls that have returned */
};

/* What the daemon lends to all mounts until they are destroyed. */
struct hcs_host {
    struct hcs_log *log;
    struct hcs_budget *budget;
    struct hcs_deferrals *deferrals;
    struct hcs_handler_calls *calls; /* NULL: nobody looks at them */
    unsigned workers;
    bool checks;             /* nothing is served: settings are checked */
    uint64_t job_timeout_ms; /* 0: off; the default of a mount's own */
};

struct hcs_mount {
    const struct hcs_handler *handler; /* the mount's copy of it */
    void *self;
    const struct hcs_host *host;
    uint64_t job_timeout_ms;         /* 0: off; constant once it is created */
    struct hcs_mount_inside *inside; /* mount.c's */
};

enum { HCS_MOUNT_ERROR = 384 }; /* bytes that hold any error, its NUL too */

/* Copies the handler, which hcs_handler_check has passed, and the texts. path is
 * decoded; so is argument, which may be NULL. settings is the query as it was
 * written, or NULL. context: what open of the handler finds in *self; only for
 * handlers that are built in. NULL when there is no memory. Settings that cannot
 * be read are refused by open. */
struct hcs_mount *hcs_mount_create(const struct hcs_host *host,
    const struct hcs_handler *handler, void *context, const char *path,
    const char *argument, const char *settings);

/* Closes it if it is open. NULL is allowed. */
void hcs_mount_destroy(struct hcs_mount *mount);

/* 0; or -EINVAL: hcs_mount_error says why; or -ECANCELED: called off. */
int hcs_mount_open(struct hcs_mount *mount);
void hcs_mount_close(struct hcs_mount *mount);

/* Of an open mount. 0, -EINVAL or -ECANCELED likewise. */
int hcs_mount_open_worker(
    struct hcs_mount *mount, unsigned worker, void **state);
void hcs_mount_close_worker(struct hcs_mount *mount, void *state);

/* What hcs_mount_fail said first, or NULL. */
const char *hcs_mount_error(struct hcs_mount *mount);

/* The metrics that the handler made: writes at most room of them, and returns
 * how many it wrote. The names and helps are lent until destroy. */
size_t hcs_mount_metrics(
    const struct hcs_mount *mount, struct hcs_custom_metric *out, size_t room);
size_t hcs_mount_metric_count(const struct hcs_mount *mount);

#endif
