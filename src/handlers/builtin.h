/*
 * builtin - the handlers that are part of hcsd.
 *
 * They reply {"status":"ok","request_id":"...","data":...}. data is the member
 * of that name in the body, byte for byte as it was sent, or null.
 *
 * Owns:    nothing.
 * Threads: as for every handler (hcs/handler.h).
 * Waits:   sleep and wait, for their time; spin keeps its worker busy; echo
 *          never waits.
 */
#ifndef HCS_HANDLERS_BUILTIN_H
#define HCS_HANDLERS_BUILTIN_H

#include "hcs/handler.h"

/* echo: replies at once. Takes no argument. */
extern const struct hcs_handler hcs_echo;

/* sleep:100ms: parses the body and waits, like a job that asks another server.
 * */
extern const struct hcs_handler hcs_sleep;

/* spin:100us: parses the body and uses CPU time, like a job that computes. */
extern const struct hcs_handler hcs_spin;

/* wait:120s: waits as sleep does, but holds no worker while it waits. */
extern const struct hcs_handler hcs_wait;

#endif
