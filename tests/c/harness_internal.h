/* harness_internal.h - what the two halves of the harness share: the allocator that fails when it
 * is told to (harness.c) and the repetition of tests (faults.c).  Tests do not include it. */
#ifndef ORM_TEST_HARNESS_INTERNAL_H
#define ORM_TEST_HARNESS_INTERNAL_H
#include "harness.h"

enum {
    ORM_TEST_FAIL_NONE,
    ORM_TEST_FAIL_ONE,     /* allocation n, counted from now */
    ORM_TEST_FAIL_ALL_FROM /* that one and all after it */
};

/* Begins to count; n = 1 is the next allocation. */
void orm_test_fail_allocations(int mode, size_t n);
/* How many have failed since. */
size_t orm_test_n_failed(void);
/* How many were asked for since. */
size_t orm_test_n_tried(void);

/* Whether just so much is allocated; threads that nobody joins may still have to give back. */
bool orm_test_settles_at(size_t n_bytes, size_t n_blocks);

/* From now on folders are made below one of this process's own, also those of its children;
 * removing it removes what children left that died. */
void orm_test_own_folders(void);
/* Those of this process. */
void orm_test_remove_folders(void);
#endif
