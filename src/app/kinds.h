/*
 * kinds - finds the handler of a KIND in HANDLERS: built in, or in a module.
 *
 * If a KIND is not built in, its module is KIND.so in the folder of modules. In
 * a build tree that is "modules" beside the executable; in an installation, the
 * folder where modules are installed. The kind "module" loads any shared
 * object, by the name of its file.
 *
 * A built-in kind may need an object that must be made before the daemon has
 * threads. prepare makes the object, and every mount of the kind gets it.
 *
 * Owns:    the objects that prepare made, until finish; loaded modules, until
 *          the process ends, because a module's threads may run after its
 *          handler was closed.
 * Threads: main; prepare before any other thread exists.
 * Waits:   as long as loading takes.
 */
#ifndef HCS_APP_KINDS_H
#define HCS_APP_KINDS_H

#include "hcs/handler.h"

#include <stddef.h>

enum { HCS_KINDS_BUILTIN = 5 };

/* The object of each built-in kind; NULL: none. {{NULL}}: nothing is
 * prepared. */
struct hcs_kinds {
    void *made[HCS_KINDS_BUILTIN];
};

/* Makes the object that this kind needs. Further calls do nothing. 0, or -errno
 * with one line in error. */
int hcs_kinds_prepare(
    struct hcs_kinds *kinds, const char *kind, char *error, size_t error_size);

/* Frees the objects. Before, all mounts must be closed. */
void hcs_kinds_finish(struct hcs_kinds *kinds);

/* The object of this handler's kind, or NULL. The handler's open finds it in
 * *self. */
void *hcs_kinds_context(
    const struct hcs_kinds *kinds, const struct hcs_handler *handler);

/* Finds the handler of a kind. argument: the module's file, if the kind is
 * "module". 0; or -EINVAL with one line in error. */
int hcs_kinds_find(const char *kind, const char *argument,
    const struct hcs_handler **handler, char *error, size_t error_size);

/* Whether the argument of this kind is the file of the module. */
bool hcs_kinds_is_module(const char *kind);

#endif
