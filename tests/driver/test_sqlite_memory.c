/* test_sqlite_memory.c - SQLite's own allocations fail, one after the other: every one gives
 * ORM_ENOMEM (or is survived), nothing leaks and the connection can be closed. */
#include "../c/harness.h"
#include "driver/driver_internal.h"
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

static sqlite3_mem_methods system_memory;
static size_t calls, fail_at; /* 0 = never */
static bool fail_all;         /* … and every later one */
static size_t failed;

static bool is_to_fail(void)
{
    calls++;
    bool fails = fail_at && (calls == fail_at || (fail_all && calls > fail_at));
    if (fails) failed++;
    return fails;
}

static void *failing_malloc(int size)
{
    return is_to_fail() ? NULL : system_memory.xMalloc(size);
}

static void *failing_realloc(void *p, int size)
{
    return is_to_fail() ? NULL : system_memory.xRealloc(p, size);
}

static char path[128];

static orm_status ignore_row(void *self, const orm_cell *cells, orm_error *err)
{
    (void)self;
    (void)cells;
    (void)err;
    return ORM_OK;
}

static orm_status run(orm_conn *conn, const char *sql, const orm_value *params, size_t n)
{
    const orm_driver *drv = &orm_sqlite_driver;
    orm_stmt *stmt = NULL;
    orm_budget budget = {0};
    orm_error err = {0};
    orm_row_target target = {ignore_row, NULL};
    orm_status status = drv->prepare(conn, sql, strlen(sql), &budget, &stmt, &err);
    if (status >= 0) status = drv->start(conn, stmt, params, n, &err);
    if (status >= 0) status = drv->step(conn, stmt, &target, &budget, NULL, &err);
    if (status < 0) assert_int_equal(err.status, status);
    drv->finalize(conn, stmt);
    return status;
}

/* Everything that a driver does, errors included; `memory` keeps the pages in memory. */
static orm_status everything(bool memory)
{
    static const struct {
        const char *sql;
        size_t n;
        orm_status expected;
    } steps[] = {
        {"CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n)", 0, ORM_DONE},
        {"CREATE INDEX folded ON t (orm_fold(name))", 0, ORM_DONE},
        {"BEGIN IMMEDIATE", 0, ORM_DONE},
        {"INSERT INTO t (name) VALUES (?)", 1, ORM_DONE},
        {"INSERT INTO t (name) VALUES (?)", 1, ORM_EUNIQUE},
        {"COMMIT", 0, ORM_DONE},
        {"SELECT id, name, n FROM t WHERE orm_regexp(?, name) ORDER BY name COLLATE orm_decimal", 1,
         ORM_DONE},
        {"SELECT nosuch FROM t", 0, ORM_ENOCOLUMN},
        {"SELECT 1 FROM nosuch", 0, ORM_ENOTABLE},
        {"SELECT a b c FROM t", 0, ORM_ESYNTAX},
        {"SELECT orm_regexp('(', name) FROM t", 0, ORM_EDATA},
        {"DROP TABLE t", 0, ORM_DONE},
    };
    const orm_driver *drv = &orm_sqlite_driver;
    orm_conn_config config = {
        .database = memory ? "file:/m?vfs=memdb" : path, .memory = memory, .create = true};
    orm_conn *conn = NULL;
    orm_error err = {0};
    orm_value name = orm_textn("Stra\xc3\x9f"
                               "e",
                               7);
    orm_status status = drv->open(&config, &conn, &err);
    for (size_t i = 0; status >= 0 && i < ORM_COUNT(steps); i++) {
        status = run(conn, steps[i].sql, &name, steps[i].n);
        if (status == ORM_ENOMEM) break;
        if (status != steps[i].expected)
            fail_msg("%s: %s, expected %s", steps[i].sql, orm_status_name(status),
                     orm_status_name(steps[i].expected));
        status = ORM_OK;
    }
    drv->close(conn);
    return status;
}

static void remove_files(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char name[160];
    for (size_t i = 0; i < ORM_COUNT(ends); i++) {
        snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        unlink(name);
    }
}

/* SQLite may keep a few bytes of its own after a failure, until the next call that succeeds:
 * what is compared is its memory before the sweep and after the last, undisturbed run. */
static void sweep(bool memory)
{
    remove_files(); /* of a repetition that ended half-way */
    assert_int_equal(everything(memory), ORM_OK);
    if (orm_test_is_repeating()) return; /* the library's own memory fails: one lack at a time */
    sqlite3_int64 used = sqlite3_memory_used();
    size_t blocks = orm_test_blocks();
    for (int all = 0; all <= 1; all++) {
        fail_all = all;
        for (size_t n = 1;; n++) {
            remove_files();
            calls = failed = 0;
            fail_at = n;
            orm_status status = everything(memory);
            fail_at = 0;
            if (status != ORM_OK && status != ORM_ENOMEM)
                fail_msg("allocation %zu: %s", n, orm_status_name(status));
            if (status == ORM_ENOMEM && !failed) fail_msg("ORM_ENOMEM of nothing, at %zu", n);
            if (orm_test_blocks() != blocks)
                fail_msg("allocation %zu: %zu blocks are left", n, orm_test_blocks() - blocks);
            if (!failed) break;
            assert_true(n < 20000);
        }
        assert_int_equal(sqlite3_memory_used(), used);
    }
    remove_files();
}

static void test_file(void **state)
{
    (void)state;
    sweep(false);
}

static void test_memory_database(void **state)
{
    (void)state;
    sweep(true);
}

int main(void)
{
    snprintf(path, sizeof(path), "%s/db", orm_test_temp_dir());
    orm_test_without_sync(); /* thousands of commits */
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &system_memory);
    sqlite3_mem_methods failing = system_memory;
    failing.xMalloc = failing_malloc;
    failing.xRealloc = failing_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) != SQLITE_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_memory_database),
    };
    return cmocka_run_group_tests_name("sqlite out of memory", tests, NULL, NULL);
}
