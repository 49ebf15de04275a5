#include "app/message.h"

#include <stdarg.h>
#include <stdio.h>

enum { SHOWN_MAX = 160 };

void hcs_message_init(struct hcs_message *message, char *buffer, size_t size)
{
    *message = (struct hcs_message){.text = buffer, .size = size};
    hcs_message_cut(message, 0);
}

void hcs_message_cut(struct hcs_message *message, size_t used)
{
    message->used = used;
    if (message->size > 0) {
        message->text[used] = '\0';
    }
}

void hcs_message_add(struct hcs_message *message, const char *format, ...)
{
    size_t room = message->size - message->used;
    va_list values;
    int length;

    if (room <= 1) {
        return;
    }
    va_start(values, format);
    length = vsnprintf(message->text + message->used, room, format, values);
    va_end(values);
    if (length > 0) {
        message->used += (size_t)length < room ? (size_t)length : room - 1;
    }
}

void hcs_message_add_shown(struct hcs_message *message, const char *text)
{
    size_t start = message->used;

    for (; *text != '\0'; text++) {
        if (message->used - start >= SHOWN_MAX) {
            hcs_message_add(message, "...");
            return;
        }
        if (*text >= ' ' && *text <= '~') {
            hcs_message_add(message, "%c", *text);
        } else {
            hcs_message_add(message, "\\x%02X", (unsigned)(unsigned char)*text);
        }
    }
}
