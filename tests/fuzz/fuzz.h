/*
 * fuzz - what the fuzz targets have in common.
 *
 * A target is a file fuzz_NAME.c with a LLVMFuzzerTestOneInput. With libFuzzer
 * it is fed what libFuzzer makes up; without it (replay.c) with the files it is
 * given, which is how the seed corpus is a test in every build.
 *
 * Inputs are text as far as they can be, so that seeds and reproducers can be
 * read: what cannot be seen is written as an escape, and the targets decode it.
 *
 * Owns:    nothing. Threads: one. Waits: never.
 */
#ifndef HCS_FUZZ_H
#define HCS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A finding: says what, and aborts. */
__attribute__((noreturn, format(printf, 1, 2))) void fuzz_fail(
    const char *format, ...);

/* A finding unless holds. A macro, so that who reads the code, the analyzer
 * too, knows that it holds behind this. */
#define fuzz_check(holds, ...) ((holds) ? (void)0 : fuzz_fail(__VA_ARGS__))

enum fuzz_lines {
    FUZZ_LINES_KEEP, /* a line feed is a line feed */
    FUZZ_LINES_CRLF, /* a line feed that is not written "\n" is CR LF */
};

/* Decodes \r \n \t \0 \\ and \xHH; another backslash stays. out has room for
 * 2 * length bytes. Returns how many were written. */
size_t fuzz_decode(
    char *out, const char *text, size_t length, enum fuzz_lines lines);

/* A number that depends on all of the bytes, for choices that have to be the
 * same whenever the same input is run. */
uint64_t fuzz_hash(const void *bytes, size_t length);

/* The next of a row of such numbers. */
uint64_t fuzz_next(uint64_t *state);

/* Tells the address sanitizer, where there is one, that [at, at + length) may
 * not be touched; or that it may. */
void fuzz_forbid(void *at, size_t length);
void fuzz_allow(void *at, size_t length);

#endif
