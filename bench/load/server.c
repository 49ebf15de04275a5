#include "server.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Reads the number of kB in the line of a file of /proc that begins with word,
 * and stores it as bytes. */
static bool read_field(
    pid_t pid, const char *file, const char *word, uint64_t *bytes)
{
    char path[64];
    char line[256];
    bool found = false;
    FILE *in;

    snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, file);
    in = fopen(path, "re");
    if (in == NULL) {
        return false;
    }
    while (!found && fgets(line, sizeof(line), in) != NULL) {
        uint64_t kib;

        if (strncmp(line, word, strlen(word)) == 0 &&
            sscanf(line + strlen(word), " %" SCNu64 " kB", &kib) == 1) {
            *bytes = kib * 1024;
            found = true;
        }
    }
    fclose(in);
    return found;
}

bool server_usage(pid_t pid, struct usage *usage)
{
    struct timespec spent;
    clockid_t clock;

    /* The process's clock counts nanoseconds; /proc/PID/stat only counts
     * ticks. */
    if (clock_getcpuclockid(pid, &clock) != 0 ||
        clock_gettime(clock, &spent) != 0) {
        return false;
    }
    usage->cpu_seconds = (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
    return read_field(pid, "status", "VmRSS:", &usage->resident_bytes) &&
           read_field(pid, "smaps_rollup",
               "Private_Dirty:", &usage->private_dirty_bytes);
}
