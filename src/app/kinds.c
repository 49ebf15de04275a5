#include "app/kinds.h"

#include "handlers/builtin.h"
#include "handlers/exec/exec.h"
#include "job/handler.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- Built-in kinds. */

static const struct {
    const struct hcs_handler *handler;
    const char *needs;           /* what prepare makes, for people */
    int (*prepare)(void **made); /* NULL: needs nothing; 0, or -errno */
    void (*finish)(void *made);
} BUILTIN[HCS_KINDS_BUILTIN] = {
    {&hcs_echo, NULL, NULL, NULL},
    {&hcs_sleep, NULL, NULL, NULL},
    {&hcs_spin, NULL, NULL, NULL},
    {&hcs_wait, NULL, NULL, NULL},
    {&hcs_exec, "the spawner", hcs_exec_prepare, hcs_exec_finish},
};

int hcs_kinds_prepare(
    struct hcs_kinds *kinds, const char *kind, char *error, size_t error_size)
{
    int rc;

    for (size_t i = 0; i < HCS_KINDS_BUILTIN; i++) {
        if (BUILTIN[i].prepare == NULL || kinds->made[i] != NULL ||
            strcmp(BUILTIN[i].handler->name, kind) != 0) {
            continue;
        }
        rc = BUILTIN[i].prepare(&kinds->made[i]);
        if (rc != 0) {
            (void)snprintf(error, error_size, "cannot start %s for %s: %s",
                BUILTIN[i].needs, kind, strerror(-rc));
            return rc;
        }
    }
    return 0;
}

void hcs_kinds_finish(struct hcs_kinds *kinds)
{
    for (size_t i = 0; i < HCS_KINDS_BUILTIN; i++) {
        if (kinds->made[i] != NULL) {
            BUILTIN[i].finish(kinds->made[i]);
            kinds->made[i] = NULL;
        }
    }
}

void *hcs_kinds_context(
    const struct hcs_kinds *kinds, const struct hcs_handler *handler)
{
    for (size_t i = 0; i < HCS_KINDS_BUILTIN; i++) {
        if (BUILTIN[i].handler == handler) {
            return kinds->made[i];
        }
    }
    return NULL;
}

/* --- All kinds. */

enum { SHOWN_MAX = 300 }; /* bytes of a file's name in a message */

static const char SYMBOL[] = "hcs_module";

/* Folders of modules, relative to the executable's folder: in a build tree, and
 * in an installation. */
static const char *const FOLDERS[] = {"modules", HCS_MODULE_DIR};

bool hcs_kinds_is_module(const char *kind)
{
    return strcmp(kind, "module") == 0;
}

static const struct hcs_handler *find_builtin(const char *kind)
{
    for (size_t i = 0; i < HCS_KINDS_BUILTIN; i++) {
        if (strcmp(BUILTIN[i].handler->name, kind) == 0) {
            return BUILTIN[i].handler;
        }
    }
    return NULL;
}

/* A long name is cut, so that there is room for what is wrong with it. */
static int refuse(
    char *error, size_t error_size, const char *file, const char *what)
{
    bool cut = strlen(file) > SHOWN_MAX;

    (void)snprintf(error, error_size, "%.*s%s: %s", (int)SHOWN_MAX, file,
        cut ? "..." : "", what);
    return -EINVAL;
}

static int check_handler(const struct hcs_handler *handler, const char *file,
    char *error, size_t error_size)
{
    switch (hcs_handler_check(handler, sizeof(*handler))) {
    case HCS_HANDLER_OTHER_ABI:
        (void)snprintf(error, error_size,
            "%s: built for version %u of the handler ABI; this hcsd has %u: "
            "build it again with this hcsd's hcs/handler.h",
            file, (unsigned)handler->abi, (unsigned)HCS_HANDLER_ABI);
        return -EINVAL;
    case HCS_HANDLER_BAD_SIZE:
        return refuse(error, error_size, file,
            "its handler has a wrong size; set .size = "
            "sizeof(struct hcs_handler)");
    case HCS_HANDLER_TOO_NEW:
        return refuse(error, error_size, file,
            "its handler uses what only a newer hcsd has: update hcsd, or "
            "build it again with this hcsd's hcs/handler.h");
    case HCS_HANDLER_FITS:
        break;
    }
    if (handler->run == NULL || handler->name == NULL) {
        return refuse(
            error, error_size, file, "its handler lacks a name or run");
    }
    return 0;
}

/* name: has a slash, so that dlopen(3) does not search LD_LIBRARY_PATH. */
static int load(const char *name, const struct hcs_handler **handler,
    char *error, size_t error_size)
{
    void *module;
    const char *why;

    if (access(name, R_OK) != 0) {
        return refuse(error, error_size, name, strerror(errno));
    }
    module = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (module == NULL) {
        why = dlerror(); /* begins with the name in most cases */
        (void)snprintf(
            error, error_size, "cannot load %s", why != NULL ? why : name);
        return -EINVAL;
    }
    *handler = dlsym(module, SYMBOL);
    if (*handler == NULL) {
        return refuse(error, error_size, name,
            "no symbol hcs_module; a module defines const struct hcs_handler "
            "hcs_module");
    }
    return check_handler(*handler, name, error, error_size);
}

static int load_file(const char *file, const struct hcs_handler **handler,
    char *error, size_t error_size)
{
    char here[PATH_MAX];

    if (file == NULL || *file == '\0') {
        return refuse(error, error_size, "module",
            "needs a file, such as module:./score.so");
    }
    if (strchr(file, '/') != NULL) {
        return load(file, handler, error, error_size);
    }
    if ((size_t)snprintf(here, sizeof(here), "./%s", file) >= sizeof(here)) {
        return refuse(error, error_size, file, strerror(ENAMETOOLONG));
    }
    return load(here, handler, error, error_size);
}

/* The file of an installed module. False when there is none. */
static bool find_installed(const char *kind, char out[PATH_MAX])
{
    char folder[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

    while (length > 0 && folder[length - 1] != '/') {
        length--;
    }
    if (length <= 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
        int written = snprintf(out, PATH_MAX, "%.*s%s/%s.so", (int)length,
            folder, FOLDERS[i], kind);

        if (written < PATH_MAX && access(out, R_OK) == 0) {
            return true;
        }
    }
    return false;
}

static int refuse_kind(char *error, size_t error_size)
{
    size_t used = (size_t)snprintf(error, error_size,
        "no such handler, built in or as a module; built in "
        "are:");

    for (size_t i = 0; i < HCS_KINDS_BUILTIN && used < error_size; i++) {
        used += (size_t)snprintf(
            error + used, error_size - used, " %s", BUILTIN[i].handler->name);
    }
    if (used < error_size) {
        (void)snprintf(error + used, error_size - used, " module");
    }
    return -EINVAL;
}

int hcs_kinds_find(const char *kind, const char *argument,
    const struct hcs_handler **handler, char *error, size_t error_size)
{
    char file[PATH_MAX];

    if (hcs_kinds_is_module(kind)) {
        return load_file(argument, handler, error, error_size);
    }
    *handler = find_builtin(kind);
    if (*handler != NULL) {
        return 0;
    }
    if (find_installed(kind, file)) {
        return load(file, handler, error, error_size);
    }
    return refuse_kind(error, error_size);
}
