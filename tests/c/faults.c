/* faults.c - every test once more, with each of its allocations failing.
 *
 * A test is repeated in a child process of its own, because one that fails half-way leaves behind
 * what it had made.  The children come from a process that was forked before the first test ran:
 * it has no thread, no connection and none of the memory that tests leave in caches.
 *
 * How many allocations there are is counted in a run in which none fails.  Where the time does not
 * suffice for all of them, those that fail in turn lie as far apart as it takes.
 */
#include "harness.h"

#include "harness_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* No repetition may hold up those who wait for the suite.  All times are generous: what is slow
 * because the machine is busy is repeated less often, and is no finding. */
enum {
    PATIENCE = 60, /* seconds: a repetition that takes longer hangs, and the program's end there */
    BUDGET_MS = 5000, /* of a program, shared by its tests and modes; at twice this it ends */
    SHARE_MS = 300,   /* of one test and mode at most, unless a budget was given */
    SHOWN_MAX = 5     /* findings per test and mode; then the next test */
};

/* How a child ends. */
enum verdict {
    V_WHOLE = 0,    /* the test passed, or said that it lacked memory */
    V_OUT = 10,     /* it made fewer than n allocations */
    V_SKIPPED = 11, /* nothing to repeat */
    V_FINDING = 12  /* its output says what */
};

typedef struct group {
    const struct CMUnitTest *tests;
    size_t n_tests;
    CMFixtureFunction setup, teardown;
    int log;           /* what the child prints */
    uint64_t began_ns; /* the first repetition */
    uint64_t budget_ms, share_ms;
    bool is_over; /* one hung, or the time is up */
    size_t n_runs, n_findings;
    size_t *n_allocations; /* of the last repetition, which is another process */
} group;

/* ---- what the child knows about itself ---- */

static const group *the_group;
static const struct CMUnitTest *the_test;
static int the_mode;
static size_t the_n, bytes_at_start, blocks_at_start;
static uint64_t armed_ns;
static bool is_repeating, passed, was_skipped;
static atomic_bool lack_was_reported;
static orm_status last_status; /* of the check that fails; 0: it checks something else */

bool orm_test_is_repeating(void)
{
    return is_repeating;
}

bool orm_test_lacks_memory(void)
{
    return is_repeating && orm_test_n_failed();
}

void orm_test_note_status(orm_status status)
{
    last_status = status;
    if (status == ORM_ENOMEM) atomic_store(&lack_was_reported, true);
}

LargestIntegralType orm_test_note_int(LargestIntegralType n)
{
    if ((int)n == ORM_ENOMEM) atomic_store(&lack_was_reported, true);
    return n;
}

/* A function without a status says it with NULL. */
LargestIntegralType orm_test_note_pointer(const void *p)
{
    if (!p && orm_test_n_failed()) atomic_store(&lack_was_reported, true);
    return (LargestIntegralType)(uintptr_t)p;
}

void orm_test_skip(const char *file, int line)
{
    was_skipped = true;
    _skip(file, line);
}

static bool is_only_when_asked;

void orm_test_repeat_when_asked(void)
{
    is_only_when_asked = true;
}

void orm_test_not_repeated(const char *why)
{
    if (!is_repeating) return;
    printf("not repeated: %s\n", why);
    skip();
}

/* The linker puts these two in front of the library's own (--wrap). */
orm_status __real_orm_fail(orm_error *err, orm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
orm_status __wrap_orm_fail(orm_error *err, orm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
orm_status __real_orm_fail_nomem(orm_error *err);
orm_status __wrap_orm_fail_nomem(orm_error *err);

orm_status __wrap_orm_fail(orm_error *err, orm_status status, const char *format, ...)
{
    char message[sizeof err->message + 1];
    va_list args;
    if (status == ORM_ENOMEM) atomic_store(&lack_was_reported, true);
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return __real_orm_fail(err, status, "%s", message);
}

orm_status __wrap_orm_fail_nomem(orm_error *err)
{
    atomic_store(&lack_was_reported, true);
    return __real_orm_fail_nomem(err);
}

/* An operation for which there is no memory brings an error of its own. */
orm_status __real_orm_start(orm_op *op, orm_done_fn done, void *user);
orm_status __wrap_orm_start(orm_op *op, orm_done_fn done, void *user);
void __real_orm_then(orm_op *op, orm_done_fn done, void *user);
void __wrap_orm_then(orm_op *op, orm_done_fn done, void *user);

void __wrap_orm_then(orm_op *op, orm_done_fn done, void *user)
{
    if (orm_op_status(op) == ORM_ENOMEM) atomic_store(&lack_was_reported, true);
    __real_orm_then(op, done, user);
}

orm_status __wrap_orm_start(orm_op *op, orm_done_fn done, void *user)
{
    if (orm_op_status(op) == ORM_ENOMEM) atomic_store(&lack_was_reported, true);
    return __real_orm_start(op, done, user);
}

/* What is repeated thousands of times need not reach the disk. */
static bool is_durable = true;

void orm_test_without_sync(void)
{
    is_durable = false;
}

int fdatasync(int fd)
{
    return is_durable ? (int)syscall(SYS_fdatasync, fd) : 0;
}

int fsync(int fd)
{
    return is_durable ? (int)syscall(SYS_fsync, fd) : 0;
}

/* ---- one repetition, in its child ---- */

/* cmocka makes a failed test of a signal; here it must end the process. */
static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct sigaction as_found[ORM_COUNT(deadly)];

static void signals_remember(void)
{
    for (size_t i = 0; i < ORM_COUNT(deadly); i++) sigaction(deadly[i], NULL, &as_found[i]);
}

static void signals_restore(void)
{
    for (size_t i = 0; i < ORM_COUNT(deadly); i++) sigaction(deadly[i], &as_found[i], NULL);
}

static _Noreturn void end_child(enum verdict verdict)
{
    fflush(NULL);
    orm_test_remove_folders();
    _exit(verdict);
}

/* What the library's allocator does not see: there only where a sanitizer looks for it. */
__attribute__((weak)) int __lsan_do_recoverable_leak_check(void);

static bool leaked(void)
{
    return __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() != 0;
}

static _Noreturn void judge_failed(void)
{
    size_t failed = orm_test_n_failed();
    orm_test_fail_allocations(ORM_TEST_FAIL_NONE, 0);
    if (was_skipped) end_child(V_SKIPPED);
    if (orm_now_ns() - armed_ns > ORM_TEST_SOON_NS) {
        printf("failed only after it had waited in vain\n");
        end_child(V_FINDING);
    }
    if (failed && (last_status ? last_status == ORM_ENOMEM : atomic_load(&lack_was_reported)))
        end_child(V_WHOLE);
    if (!failed)
        printf("failed although no allocation did\n");
    else if (last_status)
        printf("reported %s\n", orm_status_name(last_status));
    else
        printf("nobody reported ORM_ENOMEM\n");
    end_child(V_FINDING);
}

static _Noreturn void judge_passed(void)
{
    size_t failed = orm_test_n_failed();
    *the_group->n_allocations = orm_test_n_tried();
    orm_test_fail_allocations(ORM_TEST_FAIL_NONE, 0);
    if (leaked()) {
        printf("memory of others leaked\n");
        end_child(V_FINDING);
    }
    if (orm_test_settles_at(bytes_at_start, blocks_at_start)) end_child(failed ? V_WHOLE : V_OUT);
    printf("%zu bytes in %zu blocks before, %zu in %zu after\n", bytes_at_start, blocks_at_start,
           orm_test_bytes(), orm_test_blocks());
    end_child(V_FINDING);
}

static void run_armed(void **state)
{
    signals_restore();
    armed_ns = orm_now_ns();
    orm_test_fail_allocations(the_mode, the_n);
    the_test->test_func(state);
    passed = true;
}

/* The memory stays scarce until all is given back: freeing needs none. */
static int tear_down(void **state)
{
    if (!passed) judge_failed();
    return the_test->teardown_func ? the_test->teardown_func(state) : 0;
}

static int group_set_up(void **state)
{
    bytes_at_start = orm_test_bytes();
    blocks_at_start = orm_test_blocks();
    return the_group->setup ? the_group->setup(state) : 0;
}

static int group_tear_down(void **state)
{
    if (the_group->teardown && the_group->teardown(state) != 0) {
        printf("the group's tear-down failed\n");
        end_child(V_FINDING);
    }
    if (passed) judge_passed();
    return -1;
}

/* ---- the process that has the children ---- */

/* Whoever is killed takes along what it forked. */
static void end_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
}

static _Noreturn void be_child(const group *g, const struct CMUnitTest *test, int mode, size_t n)
{
    (void)setpgid(0, 0);
    alarm(PATIENCE);
    (void)dup2(g->log, STDOUT_FILENO);
    (void)dup2(g->log, STDERR_FILENO);
    passed = was_skipped = false; /* by a group before this one */
    last_status = ORM_OK;
    atomic_store(&lack_was_reported, false);
    the_group = g;
    the_test = test;
    the_mode = mode;
    the_n = n;
    const struct CMUnitTest once[] = {
        {test->name, run_armed, test->setup_func, tear_down, test->initial_state}};
    (void)_cmocka_run_group_tests(test->name, once, 1, group_set_up, group_tear_down);
    printf("the set-up or tear-down failed\n");
    end_child(V_FINDING);
}

static void show(const group *g, const struct CMUnitTest *test, int mode, size_t n, int status)
{
    char text[4096];
    ssize_t len = 0, end = lseek(g->log, 0, SEEK_CUR);
    off_t from = end > (ssize_t)sizeof text ? end - (ssize_t)sizeof text : 0;
    len = pread(g->log, text, sizeof text, from);
    printf("[  FAILED  ] %s: allocation %zu %s failing: ", test->name, n,
           mode == ORM_TEST_FAIL_ONE ? "alone" : "and all later ones");
    if (WIFSIGNALED(status))
        printf("%s\n", WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
    else
        printf("exit status %d\n", WEXITSTATUS(status));
    printf("%.*s\n", (int)(len > 0 ? len : 0), text);
}

static enum verdict repeat(group *g, const struct CMUnitTest *test, int mode, size_t n)
{
    fflush(NULL);
    if (ftruncate(g->log, 0) != 0 || lseek(g->log, 0, SEEK_SET) != 0) abort();
    pid_t self = getpid(), child = fork();
    if (child == 0) {
        end_with(self);
        be_child(g, test, mode, n);
    }
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (child > 0) (void)kill(-child, SIGKILL); /* what the test forked and did not end */
    g->n_runs++;
    if (WIFEXITED(status) && WEXITSTATUS(status) <= V_SKIPPED &&
        (WEXITSTATUS(status) == V_WHOLE || WEXITSTATUS(status) >= V_OUT))
        return (enum verdict)WEXITSTATUS(status);
    show(g, test, mode, n, status);
    g->n_findings++;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) g->is_over = true;
    return V_FINDING;
}

static uint64_t ms_since(uint64_t ns)
{
    return (orm_now_ns() - ns) / 1000000u;
}

/* Every `step`-th allocation in its turn; when the share of the time is used up nevertheless, the
 * step doubles each time. */
static void repeat_with(group *g, const struct CMUnitTest *test, int mode, size_t step,
                        uint64_t share_ms)
{
    size_t n_shown = 0;
    uint64_t began = orm_now_ns();
    for (size_t n = 1; !g->is_over; n += step) {
        enum verdict verdict = repeat(g, test, mode, n);
        if (verdict == V_OUT || verdict == V_SKIPPED) return;
        if (verdict == V_FINDING && ++n_shown == SHOWN_MAX) return;
        if (ms_since(began) > share_ms) step *= 2;
        if (g->budget_ms && ms_since(g->began_ns) > 2 * g->budget_ms) g->is_over = true;
    }
}

/* What the tests before did not need is shared by those that are left; one that takes long is
 * repeated some times nevertheless. */
static uint64_t next_share(const group *g, size_t n_left, uint64_t run_ms)
{
    if (!g->budget_ms) return UINT64_MAX;
    uint64_t used = ms_since(g->began_ns), left = used < g->budget_ms ? g->budget_ms - used : 0;
    uint64_t most = 10 * run_ms > g->share_ms ? 10 * run_ms : g->share_ms;
    return left / n_left < most ? left / n_left : most;
}

/* A run in which nothing fails says how many allocations there are, and how long one takes. */
static void repeat_test(group *g, const struct CMUnitTest *test, size_t n_left)
{
    uint64_t began = orm_now_ns();
    if (repeat(g, test, ORM_TEST_FAIL_ONE, SIZE_MAX) != V_OUT) return;
    uint64_t ms = ms_since(began) + 1, n_allocations = *g->n_allocations;
    for (int mode = ORM_TEST_FAIL_ONE; mode <= ORM_TEST_FAIL_ALL_FROM; mode++) {
        uint64_t share_ms = next_share(g, 2 * n_left - (mode == ORM_TEST_FAIL_ALL_FROM), ms);
        uint64_t runs = share_ms / ms;
        repeat_with(g, test, mode, (size_t)(n_allocations / (runs ? runs : 1) + 1), share_ms);
    }
}

static void repeat_each(group *g)
{
    size_t i = 0;
    g->began_ns = orm_now_ns();
    for (; i < g->n_tests && !g->is_over; i++) repeat_test(g, &g->tests[i], g->n_tests - i);
    if (g->is_over)
        printf("[==========] ended in %s; %zu test(s) are not repeated.\n", g->tests[i - 1].name,
               g->n_tests - i);
}

static int repeat_all(group *g, const char *how)
{
    is_repeating = true;
    is_durable = false;
    orm_test_own_folders();
    g->log = memfd_create("output", 0);
    g->n_allocations = mmap(NULL, sizeof *g->n_allocations, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g->log < 0 || g->n_allocations == MAP_FAILED) return 1;
    char name[200], unit;
    int mode = 0;
    size_t n = 0;
    if (sscanf(how, "%d %zu %199[^\n]", &mode, &n, name) == 3) {
        for (size_t i = 0; i < g->n_tests; i++)
            if (strcmp(g->tests[i].name, name) == 0) (void)repeat(g, &g->tests[i], mode, n);
    } else {
        g->budget_ms = strcmp(how, "all") == 0 ? 0 : BUDGET_MS;
        g->share_ms = SHARE_MS;
        if (sscanf(how, "%zu%c", &n, &unit) == 2 && unit == 's') {
            g->budget_ms = n * 1000u;
            g->share_ms = UINT64_MAX;
        }
        repeat_each(g);
    }
    printf("[==========] %zu test(s) repeated %zu times with failing allocations, %zu wrong.\n",
           g->n_tests, g->n_runs, g->n_findings);
    fflush(NULL);
    orm_test_remove_folders();
    return g->n_findings != 0;
}

int orm_test_run(const char *name, const struct CMUnitTest *tests, size_t n_tests,
                 CMFixtureFunction setup, CMFixtureFunction teardown)
{
    const char *how = getenv("ORM_TEST_FAULTS");
    if (!how && is_only_when_asked) how = "off";
    group g = {.tests = tests, .n_tests = n_tests, .setup = setup, .teardown = teardown};
    int go[2] = {-1, -1};
    pid_t repeater = -1;
    signals_remember();
    fflush(NULL);
    if (!is_repeating && !(how && strcmp(how, "off") == 0)) {
        pid_t self = getpid();
        if (pipe(go) != 0 || (repeater = fork()) < 0) return 1;
        if (repeater == 0) {
            char byte;
            end_with(self);
            close(go[1]);
            bool is_wanted = read(go[0], &byte, 1) == 1;
            _exit(is_wanted ? repeat_all(&g, how ? how : "") : 0);
        }
        close(go[0]);
    }
    int failed = _cmocka_run_group_tests(name, tests, n_tests, setup, teardown);
    if (repeater < 0) return failed;
    fflush(NULL);
    int status = 0;
    if (failed == 0 && write(go[1], "", 1) != 1) failed = 1;
    close(go[1]);
    if (waitpid(repeater, &status, 0) != repeater || status != 0) failed++;
    return failed;
}
