/*
 * child - a program for exec that answers each job with its body.
 *
 * It does as little as a child can, so its cost is the way there and back. It
 * trusts its parent to send the fields in the order of docs/exec.md: the id
 * first, and the body last.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char ID[] = "{\"id\":\"";
static const char BODY[] = ",\"body\":";

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    while ((length = getline(&line, &room, stdin)) > 0) {
        char *id_end = strchr(line + sizeof(ID) - 1, '"');
        char *body = strstr(line, BODY);

        if (strncmp(line, ID, sizeof(ID) - 1) != 0 || id_end == NULL ||
            body == NULL) {
            fprintf(stderr, "not a job: %s", line);
            return 1;
        }
        /* {"id":"..." ,"body":...}\n */
        fwrite(line, 1, (size_t)(id_end + 1 - line), stdout);
        fwrite(body, 1, (size_t)(line + length - body), stdout);
        if (fflush(stdout) != 0) {
            return 1;
        }
    }
    free(line);
    return 0;
}
