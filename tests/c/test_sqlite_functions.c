/* test_sqlite_functions.c - the SQL functions and the collation of the SQLite driver. */
#include "harness.h"
#include "driver/sqlite/sqlite.h"
#include <stdio.h>

static sqlite3 *db;

static int open_db(void **state)
{
    (void)state;
    return sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ||
           functions_install(db);
}

static int close_db(void **state)
{
    (void)state;
    return sqlite3_close(db);
}

/* The first value of a query as text; "NULL"; or "error <extended code>". */
static void ask(const char *sql, char *out, size_t size)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(stmt);
    const unsigned char *text = code == SQLITE_ROW ? sqlite3_column_text(stmt, 0) : NULL;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        snprintf(out, size, "error %d", code);
    else
        snprintf(out, size, "%s", text ? (const char *)text : "NULL");
    sqlite3_finalize(stmt);
}

typedef struct expectation {
    const char *sql, *answer;
} expectation;

static void expect_all(const expectation *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char answer[600];
        ask(cases[i].sql, answer, sizeof(answer));
        if (sqlite3_errcode(db) == SQLITE_NOMEM) orm_test_note_status(ORM_ENOMEM);
        if (strcmp(answer, cases[i].answer) != 0)
            fail_msg("%s: '%s', expected '%s' (%s)", cases[i].sql, answer, cases[i].answer,
                     sqlite3_errmsg(db));
    }
}

static void test_fold(void **state)
{
    (void)state;
    static const expectation cases[] = {
        {"SELECT orm_fold(NULL)", "NULL"},
        {"SELECT orm_fold('')", ""},
        {"SELECT orm_fold('ABC xyz [@`{')", "abc xyz [@`{"},
        {"SELECT orm_fold('Straße')", "strasse"},
        {"SELECT orm_fold('ΣΊΣΥΦΟΣ')", "σίσυφοσ"},
        {"SELECT orm_fold('İ')", "i̇"},
        {"SELECT orm_fold(42)", "42"},
        {"SELECT orm_fold(1.5)", "1.5"},
        {"SELECT orm_fold(x'')", ""},
        {"SELECT orm_fold(x'4142')", "ab"},
        {"SELECT length(orm_fold(CAST(x'410042' AS TEXT)) || 'x')", "1"}, /* SQLite's length */
        {"SELECT hex(orm_fold(CAST(x'410042' AS TEXT)))", "610062"},      /* NUL is text */
        {"SELECT length(orm_fold(replace(hex(zeroblob(200)), '0', 'X')))", "400"}, /* heap */
        {"SELECT typeof(orm_fold('A'))", "text"},
    };
    expect_all(cases, ORM_COUNT(cases));
}

static void test_affixes(void **state)
{
    (void)state;
    static const expectation cases[] = {
        {"SELECT orm_startswith('abc', 'ab')", "1"},
        {"SELECT orm_startswith('abc', 'Ab')", "0"},
        {"SELECT orm_startswith('abc', '')", "1"},
        {"SELECT orm_startswith('ab', 'abc')", "0"},
        {"SELECT orm_startswith('a%c', 'a%')", "1"},
        {"SELECT orm_startswith('abc', 'a%')", "0"},
        {"SELECT orm_startswith(NULL, 'a')", "NULL"},
        {"SELECT orm_startswith('a', NULL)", "NULL"},
        {"SELECT orm_startswith(1234, 12)", "1"},
        {"SELECT orm_endswith('abc', 'bc')", "1"},
        {"SELECT orm_endswith('abc', 'BC')", "0"},
        {"SELECT orm_endswith('abc', '')", "1"},
        {"SELECT orm_endswith('bc', 'abc')", "0"},
        {"SELECT orm_endswith(NULL, 'a')", "NULL"},
        {"SELECT orm_endswith('Straße', 'ße')", "1"},
        {"SELECT orm_endswith(CAST(x'6100' AS TEXT), CAST(x'00' AS TEXT))", "1"},
    };
    expect_all(cases, ORM_COUNT(cases));
}

static void test_regexp(void **state)
{
    (void)state;
    static const expectation cases[] = {
        {"SELECT orm_regexp('b+', 'abbc')", "1"},
        {"SELECT orm_regexp('^b', 'abbc')", "0"},
        {"SELECT orm_regexp('B', 'abbc')", "0"},
        {"SELECT orm_iregexp('B', 'abbc')", "1"},
        {"SELECT orm_iregexp('É', 'é')", "1"},
        {"SELECT orm_regexp('^\\w$', 'é')", "1"},
        {"SELECT orm_regexp('^.$', '🐙')", "1"},
        {"SELECT orm_regexp('\\d', 7)", "1"},
        {"SELECT orm_regexp('', '')", "1"},
        {"SELECT orm_regexp(NULL, 'a')", "NULL"},
        {"SELECT orm_regexp('a', NULL)", "NULL"},
        {"SELECT orm_regexp('b', CAST(x'ff62' AS TEXT))", "1"}, /* invalid UTF-8 */
        {"SELECT orm_regexp('(', 'a')", "error 20"},            /* SQLITE_MISMATCH */
        {"SELECT orm_regexp('a{2,1}', 'a')", "error 20"},
        {"SELECT orm_regexp('\\C', 'a')", "error 20"},
        {"SELECT orm_regexp('(a+)+$', replace(hex(zeroblob(30)), '0', 'a') || 'b')", "error 20"},
        /* once per statement: many rows, and a pattern that differs from row to row */
        {"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100) "
         "SELECT sum(orm_regexp('1$', i)) FROM c",
         "10"},
        {"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100) "
         "SELECT sum(orm_regexp('^' || i || '$', i)) FROM c",
         "100"},
    };
    expect_all(cases, ORM_COUNT(cases));
}

static void test_decimal_order(void **state)
{
    (void)state;
    static const expectation cases[] = {
        {"SELECT '9' < '10' COLLATE orm_decimal", "1"},
        {"SELECT '1.50' = '1.5' COLLATE orm_decimal", "1"},
        {"SELECT '-2' < '-1.99999999999999999999' COLLATE orm_decimal", "1"},
        {"SELECT '12345678901234567890.1' < '12345678901234567890.2' COLLATE orm_decimal", "1"},
        {"SELECT '1E3' = '1000' COLLATE orm_decimal", "1"},
        {"SELECT group_concat(x, ' ') FROM (SELECT column1 AS x FROM (VALUES ('10'), ('9'), "
         "('-3'), ('0.5')) ORDER BY x COLLATE orm_decimal)",
         "-3 0.5 9 10"},
    };
    expect_all(cases, ORM_COUNT(cases));
}

/* Column affinities as they come in tables that others made; a number of up to 15 digits fits all. */
static void test_exact(void **state)
{
    (void)state;
    static const expectation cases[] = {
        {"CREATE TABLE d (t TEXT, b BLOB, u, n NUMERIC(38, 10), i BIGINT, r DOUBLE, c VARCHAR(9))",
         "NULL"},
        {"SELECT orm_exact('d', 'n', NULL)", "NULL"},
        {"SELECT orm_exact('d', 'n', '12345678901234.5')", "12345678901234.5"},
        {"SELECT orm_exact('d', 'n', '12345678901234.5000000')", "12345678901234.5000000"},
        {"SELECT orm_exact('d', 'n', '-0.0000000012345678901234')", "-0.0000000012345678901234"},
        {"SELECT orm_exact('d', 'n', '1234567890123456.5')", "error 20"}, /* SQLITE_MISMATCH */
        {"SELECT orm_exact('d', 'r', '1234567890123456.5')", "error 20"},
        {"SELECT orm_exact('d', 'i', '1234567890123456.5')", "error 20"},
        {"SELECT orm_exact('d', 't', '1234567890123456.5')", "1234567890123456.5"},
        {"SELECT orm_exact('d', 'b', '1234567890123456.5')", "1234567890123456.5"},
        {"SELECT orm_exact('d', 'u', '1234567890123456.5')", "1234567890123456.5"},
        {"SELECT orm_exact('d', 'c', '1234567890123456.5')", "1234567890123456.5"},
        /* a whole number becomes an integer of 64 bits, a float in a column of floats */
        {"SELECT orm_exact('d', 'n', '999999999999999999')", "999999999999999999"},
        {"SELECT orm_exact('d', 'n', '1234567890123456789')", "error 20"},
        {"SELECT orm_exact('d', 'r', '999999999999999999')", "error 20"},
        {"SELECT orm_exact('d', 'none', '1234567890123456.5')", "1234567890123456.5"},
        {"SELECT orm_exact('none', 'n', '1234567890123456.5')", "1234567890123456.5"},
        {"INSERT INTO d (n) VALUES (orm_exact('d', 'n', '1234567890123456.5'))", "error 20"},
        {"SELECT count(*) FROM d", "0"},
    };
    expect_all(cases, ORM_COUNT(cases));
}

/* Deterministic and innocuous: they may stand in an index and in a view of an untrusted file. */
static void test_in_schemas(void **state)
{
    (void)state;
    assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL), SQLITE_OK);
    static const expectation cases[] = {
        {"CREATE TABLE t (x TEXT)", "NULL"},
        {"CREATE INDEX folded ON t (orm_fold(x))", "NULL"},
        {"INSERT INTO t VALUES ('Straße'), ('other')", "NULL"},
        {"CREATE VIEW v AS SELECT x FROM t WHERE orm_fold(x) = 'strasse'", "NULL"},
        {"SELECT count(*) FROM v", "1"},
    };
    expect_all(cases, ORM_COUNT(cases));
}

static orm_status memory_body(void *arg)
{
    const char *const *sql = arg;
    for (; *sql; sql++) {
        char answer[64];
        ask(*sql, answer, sizeof(answer));
        if (strcmp(answer, "error 7") == 0) return ORM_ENOMEM;
        if (strncmp(answer, "error", 5) == 0 && strcmp(answer, "error 20") != 0)
            return ORM_EINTERNAL;
    }
    return ORM_OK;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    static const char *const sql[] = {
        "SELECT orm_fold('Straße')",
        "SELECT orm_fold(replace(hex(zeroblob(400)), '0', 'ß'))",
        "SELECT orm_regexp('(a|b)+[^x]{2,5}(?<n>c)', 'ababccccc')",
        "SELECT orm_regexp('(', 'a')",
        "SELECT orm_exact('d', 'n', '1234567890123456.5')",
        NULL,
    };
    orm_test_with_failing_allocations(memory_body, (void *)(uintptr_t)sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fold),
        cmocka_unit_test(test_affixes),
        cmocka_unit_test(test_regexp),
        cmocka_unit_test(test_decimal_order),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_in_schemas),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, open_db, close_db);
}
