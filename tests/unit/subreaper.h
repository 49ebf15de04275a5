/*
 * subreaper - leaves out a whole test where the kernel's emulation lacks what
 * the spawner is built on. Every kernel that hcsd runs on has it; qemu 7.2 does
 * not pass it on for a program of another architecture.
 */
#ifndef HCS_TESTS_SUBREAPER_H
#define HCS_TESTS_SUBREAPER_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SKIPPED = 77 }; /* ctest's SKIP_RETURN_CODE */

/* By its number: tests put a function of theirs in the place of prctl. */
static inline void skip_without_subreaper(void)
{
    int is_one = 0;

    if (syscall(SYS_prctl, PR_GET_CHILD_SUBREAPER, &is_one, 0UL, 0UL, 0UL) !=
        0) {
        printf("skipped: no PR_SET_CHILD_SUBREAPER under this emulator\n");
        exit(SKIPPED);
    }
}

#endif
