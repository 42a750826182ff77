/* harness.h - what every C test shares.  Include it first; it brings cmocka.
 *
 *   #include "harness.h"
 *
 *   static orm_status copy_body(void *arg)         // makes, uses, frees; asserts nothing of ENOMEM
 *   {
 *       orm_error err;
 *       orm_value copy, in = orm_text(arg);
 *       orm_status status = orm_value_own(&copy, &in, &err);
 *       orm_value_dispose(&copy);
 *       return status;
 *   }
 *   static void test_copy(void **state)
 *   {
 *       orm_test_with_failing_allocations(copy_body, "text");
 *   }
 *   int main(void)
 *   {
 *       const struct CMUnitTest tests[] = { cmocka_unit_test(test_copy) };
 *       return cmocka_run_group_tests(tests, NULL, NULL);
 *   }
 *
 * Each test is then repeated, in processes of its own, with its allocation 1, 2, 3 ... failing; alone,
 * and with all later ones.  A repetition is right when it ends
 *   - by passing, with as much memory in use as before its set-up, or
 *   - by a failed assertion after the allocation failed and somebody said so: the status that
 *     ORM_TEST_OK found is ORM_ENOMEM, or the library reported ORM_ENOMEM, or returned NULL.
 * A signal, a sanitizer's report, another class of error, a leak and a hang are failures, named
 * with the test and the allocation.  ORM_TEST_FAULTS in the environment: "off"; "20s" (so long for
 * the program; unset or empty: 5 s; what that does not suffice for is done with a stride); "all"
 * (every one, however long it takes); or one repetition, "1 17 test_copy" (2: all later ones).
 *
 * Linking the harness replaces the library's allocator before main() by one that counts; it is
 * thread-safe.  Memory that the library took from elsewhere (SQLite's own) is not counted.
 */
#ifndef ORM_TEST_HARNESS_H
#define ORM_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"

/* One run of what is tested.  It frees all it made, whatever happens, and returns the status of
 * the first step that failed; errors that the body expects are turned into ORM_OK by it. */
typedef orm_status (*orm_test_body_fn)(void *arg);

/* Runs `body` once undisturbed (so that caches which live as long as the process are made), then
 * with allocation 1, 2, 3 ... failing until a run meets no failure; first with that allocation
 * failing alone, then with it and all after it.  Fails the test when
 *   - a run with a failed allocation returns anything but ORM_ENOMEM or success,
 *   - a run without one returns an error,
 *   - a run ends with more or fewer bytes allocated than it began with. */
void orm_test_with_failing_allocations(orm_test_body_fn body, void *arg);

/* Runs a group and repeats its tests; the number that failed.  cmocka's own macros call it. */
int orm_test_run(const char *name, const struct CMUnitTest *tests, size_t n_tests,
                 CMFixtureFunction setup, CMFixtureFunction teardown);
#undef cmocka_run_group_tests
#undef cmocka_run_group_tests_name
#define cmocka_run_group_tests(tests, setup, teardown) \
    orm_test_run(#tests, tests, ORM_COUNT(tests), setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown) \
    orm_test_run(name, tests, ORM_COUNT(tests), setup, teardown)

/* What a repetition is judged by passes through these; else they are cmocka's. */
void orm_test_note_status(orm_status status);
LargestIntegralType orm_test_note_int(LargestIntegralType n);
LargestIntegralType orm_test_note_pointer(const void *p);
void orm_test_skip(const char *file, int line);
#undef assert_int_equal
#undef assert_non_null
#undef skip
#define assert_int_equal(a, b)                                                      \
    _assert_int_equal(orm_test_note_int(cast_to_largest_integral_type(a)),          \
                      cast_to_largest_integral_type(b), __FILE__, __LINE__)
#define assert_non_null(p) _assert_true(orm_test_note_pointer(p), #p, __FILE__, __LINE__)
#define skip() orm_test_skip(__FILE__, __LINE__)

/* Whether this is a repetition: its allocations fail already. */
bool orm_test_is_repeating(void);
/* Before the group runs, in a program that talks to a server: it is repeated only where
 * ORM_TEST_FAULTS says how. */
void orm_test_repeat_when_asked(void);

/* In a repetition, once an allocation has failed: what is done only where there is memory for it
 * (hints in messages, notes for an observer, reads that share a statement) is not to be expected.
 * Asked after the call that it is about. */
bool orm_test_lacks_memory(void);

/* First in a test whose repetition could say nothing, because it is about repetition: why. */
#define ORM_TEST_NOT_REPEATED(why) orm_test_not_repeated(why)
void orm_test_not_repeated(const char *why);

/* From now on fsync does nothing in this process. */
void orm_test_without_sync(void);

/* What the library has allocated and not yet freed: bytes, and blocks. */
size_t orm_test_bytes(void);
size_t orm_test_blocks(void);
/* Allocations since the start of the process; a reallocation counts as one. */
size_t orm_test_allocations(void);

/* What is over at once is over in this time on a machine busy with other things too.  What it is
 * held against takes longer, or never ends. */
#define ORM_TEST_SOON_NS 20000000000u

/* A new empty folder, removed with all in it when the process that made it exits.  The text is
 * valid until then. */
const char *orm_test_temp_dir(void);

/* Asserts that a call succeeded (status >= 0); otherwise fails with its message. */
#define ORM_TEST_OK(call, err) orm_test_ok((call), (err), #call, __FILE__, __LINE__)
void orm_test_ok(orm_status status, const orm_error *err, const char *call, const char *file,
                 int line);

/* Asserts that a call failed with that status, and that the error tells. */
#define ORM_TEST_FAILS(call, wanted, err) \
    orm_test_fails((call), (wanted), (err), #call, __FILE__, __LINE__)
void orm_test_fails(orm_status status, orm_status wanted, const orm_error *err, const char *call,
                    const char *file, int line);

#endif
