/* floor.h - what the raw floors of the servers share: the clock, the questions, the answer.
 *
 *   floor_…  …  WORKLOAD COUNT      prints nanoseconds per unit (call or row)
 *
 * Connecting, logging in and preparing stand outside the timer.  With FLOOR_CPU in the environment
 * it is no clock: it counts the time that this process and its server's were on a CPU.
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

static char floor_server[64]; /* where the server's share stands; "": the clock is asked */

/* Before the first floor_now(): the thread, or process, that serves this connection. */
static inline void floor_serve(const char *thread)
{
    if (getenv("FLOOR_CPU"))
        snprintf(floor_server, sizeof floor_server, "/proc/%.20s/schedstat", thread);
}

/* Nanoseconds, by the clock or on a CPU. */
static inline double floor_now(void)
{
    struct timespec t;
    double server = 0;
    FILE *file = floor_server[0] ? fopen(floor_server, "r") : NULL;
    clock_gettime(file ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    if (file) {
        if (fscanf(file, "%lf", &server) != 1) server = 0;
        fclose(file);
    }
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec + server;
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
