/*
 * kinds - which handler a KIND of HANDLERS is: built in, or of a module.
 *
 * A KIND that is not built in is looked for as KIND.so in the folder of modules:
 * "modules" beside the executable, as in a build tree, or where an installation
 * has put it. "module" is any shared object, by its file's name.
 *
 * Owns:    the modules that it loaded, until the process ends: a module's
 *          threads may outlive what its handler was asked to close.
 * Threads: main.
 * Waits:   as long as loading takes.
 */
#ifndef HCS_APP_KINDS_H
#define HCS_APP_KINDS_H

#include "hcs/handler.h"

#include <stddef.h>

/* argument: a module's file; else it is the handler's. 0; or -EINVAL with one
 * line in error. */
int hcs_kinds_find(const char *kind, const char *argument,
    const struct hcs_handler **handler, char *error, size_t error_size);

/* Whether the argument of this kind is the file of the module. */
bool hcs_kinds_is_module(const char *kind);

#endif
