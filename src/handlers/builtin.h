/*
 * builtin - the handlers that hcsd brings along.
 *
 * They answer {"status":"ok","request_id":"...","data":...}, where data is
 * the member of that name in the body, byte for byte as it was sent, or null.
 *
 * Owns:    nothing.
 * Threads: as for every handler (hcs/handler.h).
 * Waits:   sleep does, and spin keeps its worker busy; echo never.
 */
#ifndef HCS_HANDLERS_BUILTIN_H
#define HCS_HANDLERS_BUILTIN_H

#include "hcs/handler.h"

/* echo: nothing but the answer. Takes no argument. */
extern const struct hcs_handler hcs_echo;

/* sleep:100ms: parses the body and waits, as a job does that asks others. */
extern const struct hcs_handler hcs_sleep;

/* spin:100us: parses the body and computes, as a job does that works itself. */
extern const struct hcs_handler hcs_spin;

/* wait:120s: waits as sleep does, and holds no worker meanwhile. */
extern const struct hcs_handler hcs_wait;

#endif
