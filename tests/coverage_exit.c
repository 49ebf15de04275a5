/*
 * Linked into hcsd with -Wl,--wrap=_exit in a coverage build, so that a daemon
 * that leaves a stuck handler behind still writes down what it has run.
 */
#include <gcov.h>

_Noreturn void __wrap__exit(int status);
_Noreturn void __real__exit(int status);

void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}
