/*
 * message - one line of text that grows in the caller's buffer.
 *
 * A message that does not fit is cut at the end of the buffer. It always ends
 * with a NUL, unless the buffer has no byte at all.
 *
 * Owns:    nothing; the buffer is borrowed as long as the message is in use.
 * Threads: one at a time.
 * Waits:   never.
 */
#ifndef HCS_APP_MESSAGE_H
#define HCS_APP_MESSAGE_H

#include <stddef.h>

struct hcs_message {
    char *text;
    size_t size; /* of the buffer */
    size_t used; /* without the NUL */
};

/* An empty message. */
void hcs_message_init(struct hcs_message *message, char *buffer, size_t size);

__attribute__((format(printf, 2, 3))) void hcs_message_add(
    struct hcs_message *message, const char *format, ...);

/* Adds a text that is not the daemon's own. Bytes other than printable ASCII
 * become \xHH, and a long text is cut, so that the message stays one short
 * line. */
void hcs_message_add_shown(struct hcs_message *message, const char *text);

/* Shortens the message to a length that it had before. */
void hcs_message_cut(struct hcs_message *message, size_t used);

#endif
