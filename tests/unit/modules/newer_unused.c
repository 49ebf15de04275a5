/* As newer.c, but the later member is NULL. */
#define LATER 0
#include "newer.c" // NOLINT(bugprone-suspicious-include)
