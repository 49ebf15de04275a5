/*
 * config - the settings: one table, from the environment.
 *
 * One row of the table gives the name, the default, the range check, the line
 * of --help and the entry of the manual page.
 *
 * Owns:    the strings in struct hcs_config (hcs_config_fini).
 * Threads: read before any thread starts; constant afterwards.
 * Waits:   never, but for reading /proc, the cgroup files and HANDLERS_FILE.
 */
#ifndef HCS_APP_CONFIG_H
#define HCS_APP_CONFIG_H

#include "app/routes.h"
#include "base/log.h"
#include "shard/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct hcs_config {
    uint16_t port;
    char *address; /* NULL: all, v6 and v4 */
    unsigned loops;
    unsigned workers;
    unsigned queue_size;
    unsigned max_connections;
    uint64_t read_timeout_ms;
    uint64_t min_upload_rate; /* bytes a second; 0: off */
    uint64_t write_timeout_ms;
    uint64_t idle_timeout_ms;
    uint64_t shutdown_timeout_ms;
    uint64_t drain_delay_ms;
    uint64_t drain_idle_ms;
    uint64_t queue_timeout_ms; /* 0: off */
    uint64_t job_timeout_ms;   /* 0: off */
    uint64_t max_header_bytes;
    uint64_t max_body_bytes;
    uint64_t memory_budget_bytes;
    enum hcs_half_close half_close;
    char *pid_file; /* NULL: none */
    bool private_fd_tables;
    enum hcs_log_level log_level;
    enum hcs_log_format log_format;
    struct hcs_routes routes;
    char *handlers_file; /* the routes' file; NULL: they are from HANDLERS */
};

/* Reads every setting from env, which is like environ; NULL: no variable is
 * set. An empty value means the default. 0; or -EINVAL, with one line in error
 * that names the variable, the value and what is allowed (512 bytes hold any);
 * or -ENOMEM. If it is not 0, *config is empty. */
int hcs_config_load(struct hcs_config *config, char *const env[], char *error,
    size_t error_size);
void hcs_config_fini(struct hcs_config *config);

/* Every effective value and where it came from ("default", "environment",
 * "auto", for HANDLERS also "HANDLERS_FILE"), a line each: NAME=value, a tab,
 * and "# source". */
void hcs_config_print(
    const struct hcs_config *config, char *const env[], FILE *out);

/* The table of settings for --help: name, default, allowed, meaning. */
void hcs_config_help(FILE *out);

/* The same table as mdoc(7) list items, for the manual page. */
void hcs_config_man(FILE *out);

#endif
