/* Negative controls: what the harness must find.  Each mistake is made in a child process, whose
 * test must turn red. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static orm_status leak_on_failure(void *arg)
{
    char *first = orm_alloc(8), *second = orm_alloc(8);
    orm_status status = first && second ? ORM_OK : ORM_ENOMEM;
    orm_dealloc(second);
    if (second)
        orm_dealloc(first);
    else
        *(char **)arg = first; /* forgotten, but for leak checkers that look on */
    return status;
}

static orm_status report_wrongly(void *arg)
{
    (void)arg;
    void *p = orm_alloc(8);
    orm_dealloc(p);
    return p ? ORM_OK : ORM_EINTERNAL;
}

static orm_status fail_always(void *arg)
{
    (void)arg;
    return ORM_EDATA;
}

static orm_status three_blocks(void *arg)
{
    (void)arg;
    bool whole = true;
    for (int i = 0; i < 3; i++) {
        void *p = orm_alloc(8);
        whole = p && whole;
        orm_dealloc(p);
    }
    return whole ? ORM_OK : ORM_ENOMEM;
}

static orm_test_body_fn chosen;

static void run_chosen(void **state)
{
    (void)state;
    static char *forgotten;
    orm_test_with_failing_allocations(chosen, &forgotten);
}

/* How many tests of a child failed that runs that one, and repeats it. */
static int run_test_in_child(CMUnitTestFunction test)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test)};
        setenv("ORM_TEST_FAULTS", "", 1);
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(99);
        _exit(cmocka_run_group_tests(tests, NULL, NULL));
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run_in_child(orm_test_body_fn body)
{
    chosen = body;
    return run_test_in_child(run_chosen);
}

/* ---- what only the repetition of a test shows ---- */

static void is_unchecked(void **state)
{
    (void)state;
    char *p = orm_alloc(8);
    memset(p, 'x', 8);
    orm_dealloc(p);
}

static void is_checked(void **state)
{
    (void)state;
    char *p = orm_alloc(8);
    assert_non_null(p);
    orm_dealloc(p);
}

static void is_silent(void **state)
{
    (void)state;
    char *p = orm_alloc(8);
    bool has = p != NULL;
    orm_dealloc(p);
    assert_true(has);
}

static void is_of_another_class(void **state)
{
    (void)state;
    char *p = orm_alloc(8);
    orm_status status = p ? ORM_OK : ORM_EDATA;
    orm_dealloc(p);
    (void)orm_fail_nomem(NULL);
    ORM_TEST_OK(status, NULL);
}

static void leaks_and_passes(void **state)
{
    (void)state;
    static char *kept;
    char *first = orm_alloc(8), *second = orm_alloc(8);
    orm_dealloc(first);
    if (first)
        orm_dealloc(second);
    else
        kept = second;
    assert_true(kept || !kept);
}

/* What the allocator of the library does not see: only a leak checker does. */
static void leaks_elsewhere(void **state)
{
    (void)state;
    char *p = orm_alloc(8);
    orm_dealloc(p);
    for (int i = 0; i < 3; i++) { /* the last may be found in a register */
        char *volatile forgotten = malloc(100);
        if (forgotten) forgotten[0] = 'x';
    }
}

/* For ever; a second of it is enough here. */
static void waits_for_ever(void **state)
{
    (void)state;
    char *p = orm_alloc(8);
    if (!p) alarm(1);
    while (!p) pause();
    orm_dealloc(p);
}

static int has_leak_checker(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 1;
#else
    return 0;
#endif
}

static void test_repetition_finds_mistakes(void **state)
{
    ORM_TEST_NOT_REPEATED("it is about repetition");
    (void)state;
    assert_int_equal(run_test_in_child(is_checked), 0);
    assert_int_equal(run_test_in_child(is_unchecked), 1);
    assert_int_equal(run_test_in_child(is_silent), 1);
    assert_int_equal(run_test_in_child(is_of_another_class), 1);
    assert_int_equal(run_test_in_child(leaks_and_passes), 1);
    assert_int_equal(run_test_in_child(leaks_elsewhere), has_leak_checker());
    assert_int_equal(run_test_in_child(waits_for_ever), 1);
}

static void test_finds_mistakes(void **state)
{
    ORM_TEST_NOT_REPEATED("it is about repetition");
    (void)state;
    assert_int_equal(run_in_child(three_blocks), 0);
    assert_int_equal(run_in_child(leak_on_failure), 1);
    assert_int_equal(run_in_child(report_wrongly), 1);
    assert_int_equal(run_in_child(fail_always), 1);
}

static void test_fails_every_allocation(void **state)
{
    ORM_TEST_NOT_REPEATED("it is about repetition");
    (void)state;
    size_t before = orm_test_allocations();
    orm_test_with_failing_allocations(three_blocks, NULL);
    /* Undisturbed, then for either mode three failing runs and the last. */
    assert_int_equal(orm_test_allocations() - before, 3 * (1 + 4 + 4));
}

static void test_temp_dirs_are_removed_at_exit(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        char inside[128];
        const char *folder = orm_test_temp_dir();
        snprintf(inside, sizeof inside, "%s/sub", folder);
        bool made = mkdir(inside, 0700) == 0;
        dprintf(ends[1], "%s", made ? folder : "");
        exit(0); /* runs what is to run at exit */
    }
    int status;
    char folder[128] = "";
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(read(ends[0], folder, sizeof folder - 1) > 0);
    assert_int_equal(access(folder, F_OK), -1);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(access(orm_test_temp_dir(), W_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_mistakes),
        cmocka_unit_test(test_repetition_finds_mistakes),
        cmocka_unit_test(test_fails_every_allocation),
        cmocka_unit_test(test_temp_dirs_are_removed_at_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
