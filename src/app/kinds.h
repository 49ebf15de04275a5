/*
 * kinds - which handler a KIND of HANDLERS is: built in, or of a module.
 *
 * A KIND that is not built in is looked for as KIND.so in the folder of modules:
 * "modules" beside the executable, as in a build tree, or where an installation
 * has put it. "module" is any shared object, by its file's name.
 *
 * A built-in kind may need something that has to be made before the daemon has
 * threads: prepare makes it, and every mount of the kind gets it.
 *
 * Owns:    what prepare made, until finish; and loaded modules, until the process
 *          ends, since a module's threads may outlive its handler's close.
 * Threads: main; prepare before any other thread exists.
 * Waits:   as long as loading takes.
 */
#ifndef HCS_APP_KINDS_H
#define HCS_APP_KINDS_H

#include "hcs/handler.h"

#include <stddef.h>

enum { HCS_KINDS_BUILTIN = 5 };

/* What prepare made, by built-in kind; NULL: nothing. {{NULL}} where nothing is
 * prepared. */
struct hcs_kinds {
    void *made[HCS_KINDS_BUILTIN];
};

/* Makes what this kind needs, once however often it is called. 0, or -errno with
 * one line in error. */
int hcs_kinds_prepare(
    struct hcs_kinds *kinds, const char *kind, char *error, size_t error_size);

/* When no mount is open any more. */
void hcs_kinds_finish(struct hcs_kinds *kinds);

/* What was made for the kind of this handler, or NULL: what its open finds in
 * *self. */
void *hcs_kinds_context(
    const struct hcs_kinds *kinds, const struct hcs_handler *handler);

/* argument: a module's file; else it is the handler's. 0; or -EINVAL with one
 * line in error. */
int hcs_kinds_find(const char *kind, const char *argument,
    const struct hcs_handler **handler, char *error, size_t error_size);

/* Whether the argument of this kind is the file of the module. */
bool hcs_kinds_is_module(const char *kind);

#endif
