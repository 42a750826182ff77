/* fuzz.h - what every fuzz target shares.
 *
 * A target is one file with LLVMFuzzerTestOneInput and a folder corpus/<name> of seeds.  With
 * -Dfuzz=true (clang) it is linked with libFuzzer; in every build it is linked with replay.c too,
 * which runs the corpus through it as an ordinary test.  A property that does not hold ends in
 * FUZZ_CHECK, which prints the place and traps.
 */
#ifndef ORM_FUZZ_H
#define ORM_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                              \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            __builtin_trap();                                                              \
        }                                                                                  \
    } while (0)

#endif
