/* clock.c - monotonic time: a jump of the wall clock has no effect on deadlines. */
#include "base.h"

#include <time.h>

uint64_t orm_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
