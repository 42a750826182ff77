/* floor.h - what the raw floors of the servers share: the clock, the questions, the answer.
 *
 *   floor_…  …  WORKLOAD COUNT      prints nanoseconds per unit (call or row)
 *
 * Connecting, logging in and preparing stand outside the timer.
 */
#ifndef FLOOR_H
#define FLOOR_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLOOR_TRACK "t.id, t.album, t.title, t.position, t.rating"
#define FLOOR_TITLE "a title of usual length"
enum {
    FLOOR_TRACKS = 10000,
    FLOOR_AT_ONCE = 100,
    FLOOR_BULK = 1000
};

static volatile int64_t floor_seen; /* what is read must be used */

static inline double floor_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int64_t floor_key(int i)
{
    return 1 + (int64_t)i * 7919 % FLOOR_TRACKS;
}

static inline void floor_fail(const char *what)
{
    fprintf(stderr, "floor: %s\n", what);
    exit(1);
}

#endif
