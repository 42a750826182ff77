/* harness.c - a counting, failing allocator; temporary folders. */
#include "harness.h"

#include "harness_internal.h"

#include <dirent.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the allocator ---- */

static atomic_size_t bytes, blocks, allocations;
static atomic_int mode;
static atomic_size_t countdown_base; /* `allocations` when the run began */
static atomic_size_t fail_at;        /* 1 = the first of the run */
static atomic_size_t n_failed;

/* Before every block: its size.  16 bytes keep malloc's alignment. */
typedef union header {
    size_t size;
    _Alignas(16) char align[16];
} header;

static bool is_to_fail(void)
{
    size_t n = atomic_fetch_add(&allocations, 1) + 1 - atomic_load(&countdown_base);
    int now = atomic_load(&mode);
    bool fails = (now == ORM_TEST_FAIL_ONE && n == atomic_load(&fail_at)) ||
                 (now == ORM_TEST_FAIL_ALL_FROM && n >= atomic_load(&fail_at));
    if (fails) atomic_fetch_add(&n_failed, 1);
    return fails;
}

static void *counting_alloc(void *p, size_t size, void *user)
{
    (void)user;
    header *old = p ? (header *)p - 1 : NULL;
    size_t old_size = old ? old->size : 0;
    if (size == 0) {
        if (old) {
            atomic_fetch_sub(&bytes, old_size);
            atomic_fetch_sub(&blocks, 1);
        }
        free(old);
        return NULL;
    }
    if (is_to_fail()) return NULL;
    /* Never in place: users of the old address are found at once. */
    header *block = malloc(sizeof *block + size);
    if (!block) return NULL;
    block->size = size;
    atomic_fetch_add(&bytes, size);
    atomic_fetch_sub(&bytes, old_size);
    if (old) {
        memcpy(block + 1, old + 1, old_size < size ? old_size : size);
        free(old);
    } else {
        atomic_fetch_add(&blocks, 1);
    }
    return block + 1;
}

__attribute__((constructor)) static void install(void)
{
    orm_set_allocator(counting_alloc, NULL);
}

size_t orm_test_bytes(void)
{
    return atomic_load(&bytes);
}

size_t orm_test_blocks(void)
{
    return atomic_load(&blocks);
}

size_t orm_test_allocations(void)
{
    return atomic_load(&allocations);
}

void orm_test_fail_allocations(int how, size_t n)
{
    atomic_store(&mode, ORM_TEST_FAIL_NONE);
    atomic_store(&n_failed, 0);
    atomic_store(&fail_at, n);
    atomic_store(&countdown_base, orm_test_allocations());
    atomic_store(&mode, how);
}

size_t orm_test_n_tried(void)
{
    return orm_test_allocations() - atomic_load(&countdown_base);
}

size_t orm_test_n_failed(void)
{
    return atomic_load(&n_failed);
}

static bool is_in_use(size_t n_bytes, size_t n_blocks)
{
    return orm_test_bytes() == n_bytes && orm_test_blocks() == n_blocks;
}

static bool has_other_threads(void)
{
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks && (entry = readdir(tasks));) n += entry->d_name[0] != '.';
    if (tasks) closedir(tasks);
    return n > 1;
}

bool orm_test_settles_at(size_t n_bytes, size_t n_blocks)
{
    uint64_t end = orm_now_ns() + ORM_TEST_SOON_NS;
    while (!is_in_use(n_bytes, n_blocks) && has_other_threads() && orm_now_ns() < end) usleep(1000);
    return is_in_use(n_bytes, n_blocks);
}

/* ---- failing allocations ---- */

#define RUNS_MAX 100000

/* One run with allocation n failing; true when one did. */
static bool run_failing(orm_test_body_fn body, void *arg, int how, size_t n)
{
    const char *what = how == ORM_TEST_FAIL_ONE ? "alone" : "and all later ones";
    size_t bytes_before = orm_test_bytes(), blocks_before = orm_test_blocks();
    orm_test_fail_allocations(how, n);
    orm_status status = body(arg);
    bool failed = orm_test_n_failed() > 0;
    orm_test_fail_allocations(ORM_TEST_FAIL_NONE, 0);
    if (!orm_test_settles_at(bytes_before, blocks_before))
        fail_msg("allocation %zu (%s) failing: %zu bytes in %zu blocks before, %zu in %zu after", n,
                 what, bytes_before, blocks_before, orm_test_bytes(), orm_test_blocks());
    if (status < 0 && !(failed && status == ORM_ENOMEM))
        fail_msg("allocation %zu (%s) %s: the body returned %s", n, what,
                 failed ? "failing" : "not reached", orm_status_name(status));
    return failed;
}

void orm_test_with_failing_allocations(orm_test_body_fn body, void *arg)
{
    orm_status status = body(arg);
    if (orm_test_is_repeating()) { /* with a failing allocation of its own: see faults.c */
        orm_test_note_status(status < 0 ? status : ORM_OK);
        assert_true(status >= 0);
        return;
    }
    if (status < 0) fail_msg("undisturbed, the body returned %s", orm_status_name(status));
    for (int how = ORM_TEST_FAIL_ONE; how <= ORM_TEST_FAIL_ALL_FROM; how++) {
        size_t n = 1;
        while (n < RUNS_MAX && run_failing(body, arg, how, n)) n++;
        if (n == RUNS_MAX) fail_msg("still allocating after %d runs", RUNS_MAX);
    }
}

void orm_test_ok(orm_status status, const orm_error *err, const char *call, const char *file,
                 int line)
{
    if (status >= 0) return;
    print_error("%s: %s: %s\n", call, orm_status_name(status), err ? err->message : "");
    orm_test_note_status(status);
    _fail(file, line);
}

void orm_test_fails(orm_status status, orm_status wanted, const orm_error *err, const char *call,
                    const char *file, int line)
{
    if (status == wanted && (!err || (err->status == status && err->message[0]))) return;
    print_error("%s: %s, expected %s: %s\n", call, orm_status_name(status), orm_status_name(wanted),
                err ? err->message : "");
    if (status < 0 && status != wanted) orm_test_note_status(status);
    _fail(file, line);
}

/* ---- temporary folders ---- */

static struct {
    char path[64];
    pid_t owner; /* a forked child leaves its parent's folders alone */
} folders[64];
static size_t n_folders;
static const char *above = "/tmp"; /* where the next is made */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *ftw)
{
    (void)status, (void)kind, (void)ftw;
    return remove(path);
}

void orm_test_remove_folders(void)
{
    for (size_t i = 0; i < n_folders; i++)
        if (folders[i].owner == getpid())
            nftw(folders[i].path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *orm_test_temp_dir(void)
{
    assert_true(n_folders < ORM_COUNT(folders));
    char *path = folders[n_folders].path;
    snprintf(path, sizeof folders[0].path, "%s/liborm-test-XXXXXX", above);
    assert_non_null(mkdtemp(path));
    if (n_folders == 0) atexit(orm_test_remove_folders);
    folders[n_folders++].owner = getpid();
    return path;
}

void orm_test_own_folders(void)
{
    above = orm_test_temp_dir();
}
