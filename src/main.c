#include "app/config.h"
#include "app/mounts.h"
#include "app/server.h"
#include "app/systemd.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum action { SERVE, HELP, MANUAL, VERSION, CHECK, PRINT };

static const struct {
    const char *option;
    enum action action;
    const char *help; /* NULL: not shown */
} OPTIONS[] = {
    {"--help", HELP, "show this help"},
    {"-h", HELP, NULL},
    {"--help=man", MANUAL, NULL}, /* the settings, for the manual page */
    {"--version", VERSION, "show the version"},
    {"-V", VERSION, NULL},
    {"--check", CHECK, "check the settings, and end"},
    {"--print-config", PRINT,
        "show every effective setting and where it came from"},
};

static void print_help(void)
{
    printf("usage: hcsd [OPTION]\n\n"
           "Serves JSON jobs over HTTP/1.1. Configured by environment "
           "variables alone.\n\n");
    for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
        if (OPTIONS[i].help != NULL) {
            printf("  %-15s %s\n", OPTIONS[i].option, OPTIONS[i].help);
        }
    }
    printf("\nSettings:\n\n");
    hcs_config_help(stdout);
}

static int find_action(int count, char *const words[], enum action *action)
{
    *action = SERVE;
    if (count == 1) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
        if (count == 2 && strcmp(words[1], OPTIONS[i].option) == 0) {
            *action = OPTIONS[i].action;
            return 0;
        }
    }
    fprintf(stderr,
        "hcsd: unknown argument %s; settings are environment variables, see "
        "hcsd --help\n",
        words[count > 2 ? 2 : 1]);
    return EX_USAGE;
}

static int with_config(enum action action)
{
    struct hcs_config config;
    unsigned inherited = 0;
    char error[1024];
    int rc = hcs_config_load(&config, environ, error, sizeof(error));

    if (rc == 0 && action != SERVE) {
        rc = hcs_mounts_check(&config, error, sizeof(error));
    }
    if (rc == 0 && action == SERVE) {
        rc = hcs_inherited_read(&inherited, error, sizeof(error));
    }
    if (rc != 0) {
        fprintf(stderr, "hcsd: %s\n", error);
        hcs_config_fini(&config);
        return rc == -ENOMEM ? EX_OSERR : EX_CONFIG;
    }
    if (action == SERVE) {
        rc = hcs_server_run(
            &config, HCS_VERSION, getenv("NOTIFY_SOCKET"), inherited);
    } else if (action == PRINT) {
        hcs_config_print(&config, environ, stdout);
    } else {
        printf("hcsd: the settings are fine\n");
    }
    hcs_config_fini(&config);
    return rc;
}

/* The parent process may have closed the standard descriptors. No file of the
 * daemon may get their numbers: log lines would be written to that file. */
static void open_standard(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

int main(int count, char *words[])
{
    enum action action;
    int rc;

    open_standard();
    /* For exec's spawner and its children. It moves the environment, so it comes
     * before anything that keeps a pointer to a variable. */
    setproctitle_init(count, words, environ);
    rc = find_action(count, words, &action);
    if (rc != 0) {
        return rc;
    }
    switch (action) {
    case HELP:
        print_help();
        break;
    case MANUAL:
        hcs_config_man(stdout);
        break;
    case VERSION:
        printf("hcsd %s\n", HCS_VERSION);
        break;
    case SERVE:
    case CHECK:
    case PRINT:
        rc = with_config(action);
        break;
    }
    if (rc != 0 || action == SERVE) {
        return rc;
    }
    /* A full disk or a closed pipe must not look like success. */
    return fflush(stdout) == 0 ? 0 : EX_IOERR;
}
