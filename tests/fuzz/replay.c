/* Runs a target once on each file it is given, and on each file in the folders
 * it is given. Takes the place of libFuzzer where that is not linked. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static size_t replayed;

/* All of the file. */
static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rbe");
    struct stat about;
    uint8_t *bytes;

    if (in == NULL || fstat(fileno(in), &about) != 0) {
        fuzz_fail("%s: %s", path, strerror(errno));
    }
    *size = (size_t)about.st_size;
    /* No byte more than there is, so that a look beyond the end is seen. */
    bytes = malloc(*size > 0 ? *size : 1);
    if (bytes == NULL || fread(bytes, 1, *size, in) != *size) {
        fuzz_fail("%s: cannot be read", path);
    }
    (void)fclose(in);
    return bytes;
}

static void replay(const char *path)
{
    size_t size;
    uint8_t *bytes = read_file(path, &size);

    (void)fprintf(stderr, "%s\n", path); /* the last one said is the culprit */
    (void)LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    replayed++;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void replay_folder(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_visible, alphasort);

    if (count < 0) {
        fuzz_fail("%s: %s", path, strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        char file[4096];

        (void)snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        replay(file);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct stat about;

        if (stat(argv[i], &about) == 0 && S_ISDIR(about.st_mode)) {
            replay_folder(argv[i]);
        } else {
            replay(argv[i]);
        }
    }
    (void)printf("%zu inputs, nothing found\n", replayed);
    return replayed > 0 ? 0 : 1; /* an empty corpus would test nothing */
}
