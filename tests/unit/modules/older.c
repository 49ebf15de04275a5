/* A module of another version, in which nothing but the first number is where it
 * is looked for. */
#include <stdint.h>

const uint32_t hcs_module[1] = {1};
