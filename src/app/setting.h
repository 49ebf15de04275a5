/*
 * setting - the types of settings: how a value is read, checked and printed.
 *
 * Owns:    nothing. The texts that it stores belong to the struct they are
 *          stored in.
 * Threads: any; no state.
 * Waits:   never. A setting's own automatic() may read files.
 */
#ifndef HCS_APP_SETTING_H
#define HCS_APP_SETTING_H

#include "app/message.h"
#include "base/units.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct hcs_setting;

/* values points at the struct that holds the value of each setting. */
struct hcs_setting_type {
    enum hcs_quantity quantity; /* the unit of a number */

    /* Reads text into the setting's place in values. 0; or -EINVAL or -ENOMEM,
     * after adding to error what is wrong with text. */
    int (*parse)(const struct hcs_setting *setting, const char *text,
        void *values, struct hcs_message *error);

    /* Prints the value so that parse would read it back. */
    void (*print)(
        const struct hcs_setting *setting, const void *values, FILE *out);

    /* Adds to out, in words, which values are allowed. */
    void (*allowed)(const struct hcs_setting *setting, struct hcs_message *out);
};

/* A setting: one row of a table. */
struct hcs_setting {
    const char *name;
    const char *initial; /* the default, as a user would write it */
    const char *unset;   /* in words, what an empty default means */
    const char *meaning; /* sentences for --help and the manual */
    const struct hcs_setting_type *type;
    size_t offset; /* of the place in values, */
    size_t size;   /* and how many bytes it has */
    uint64_t min, max;
    bool zero_is_off;            /* "0" and "off" are allowed, below min too */
    uint64_t (*automatic)(void); /* the value of "auto"; NULL: not allowed */
    const char *const *words;    /* of a choice; the value is the index */
    size_t word_count;
};

/* A bool, or an unsigned integer of 16, 32 or 64 bits. A duration is kept in
 * milliseconds, a size in bytes. */
extern const struct hcs_setting_type hcs_setting_number;
extern const struct hcs_setting_type hcs_setting_duration;
extern const struct hcs_setting_type hcs_setting_size;

/* One of the words, as an enum or a bool. */
extern const struct hcs_setting_type hcs_setting_choice;

/* An IP address, as a char * that free(3) takes; NULL: empty. */
extern const struct hcs_setting_type hcs_setting_address;

/* The name of a file, as a char * likewise. */
extern const struct hcs_setting_type hcs_setting_path;

/* Reads text as the setting's value. 0; or -EINVAL or -ENOMEM: then error is
 * "NAME=text: what is wrong; allowed: what is allowed". */
int hcs_setting_read(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error);

/* Begins an error anew: "NAME=text: ". */
void hcs_setting_begin_error(
    struct hcs_message *error, const char *name, const char *text);

/* Whether text is "auto", and the setting allows it. */
bool hcs_setting_is_auto(const struct hcs_setting *setting, const char *text);

/* Parts of types whose value is a text: parse without a check, and print. */
int hcs_setting_keep_text(const struct hcs_setting *setting, const char *text,
    void *values, struct hcs_message *error);
void hcs_setting_print_text(
    const struct hcs_setting *setting, const void *values, FILE *out);

#endif
