/* What SQL of the caller is held to leave something in its session. */
#include "fixture.h"

#include "engine/engine.h"

static const char *const harmless[] = {
    "SELECT 1",
    "select * from notes where id = $1 and text in ('a(', \"b(\", `c(`)",
    "SELECT count(*), max(id) FROM notes GROUP BY text HAVING count(*) > ?",
    "INSERT INTO notes (text) VALUES ('it''s @ # set_config(')",
    "WITH RECURSIVE t (n) AS (VALUES (1)) SELECT n FROM t",
    "CREATE TABLE IF NOT EXISTS t (id integer PRIMARY KEY, name varchar(10), CHECK (id > 0))",
    "UPDATE notes SET text = upper(text) WHERE EXISTS (SELECT 1)",
    "",
};

static const char *const traces[] = {
    "SET search_path = x",
    "LISTEN channel",
    "SELECT set_config('work_mem', '1MB', false)",
    "SELECT * FROM set_config('work_mem', '1MB', false)",
    "SELECT pg_advisory_lock(1)",
    "SELECT GET_LOCK ('a', 1)",
    "SELECT our.function(1)",
    "SELECT @a := 1",
    "SELECT 1 INTO @a",
    "SELECT 1 INTO TEMP t",
    "CREATE TEMPORARY TABLE t (id integer)",
    "DO 0",
    "CALL p",
    "SELECT 'a\\' || set_config('work_mem', '1MB', false) || '\\'",
    "SELECT 1 /*! , GET_LOCK('a', 1) */",
    "SELECT 1 -- \n, set_config('work_mem', '1MB', false)",
    "SELECT $x$ ' $x$ || set_config('work_mem', '1MB', false) || ''",
    "SELECT 'open",
    "-- first a comment\nSET a = 1",
};

static void test_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < ORM_COUNT(harmless); i++)
        if (orm_sql_leaves_traces(harmless[i], strlen(harmless[i]))) fail_msg("%s", harmless[i]);
}

static void test_traces(void **state)
{
    (void)state;
    for (size_t i = 0; i < ORM_COUNT(traces); i++)
        if (!orm_sql_leaves_traces(traces[i], strlen(traces[i]))) fail_msg("%s", traces[i]);
}

static void test_commits(void **state)
{
    (void)state;
    static const char *const yes[] = {"CREATE TABLE t (a integer)", "\n drop table t", "TRUNCATE t",
                                      "ALTER TABLE t ADD b integer",
                                      "CREATE OR REPLACE TABLE t (a integer)"};
    static const char *const no[] = {"SELECT 1",
                                     "CREATE TEMPORARY TABLE t (a integer)",
                                     "create or replace temporary table t (a integer)",
                                     "DROP TEMPORARY TABLE t",
                                     "UPDATE t SET a = 1",
                                     ""};
    for (size_t i = 0; i < ORM_COUNT(yes); i++)
        assert_true(orm_sql_commits(yes[i], strlen(yes[i])));
    for (size_t i = 0; i < ORM_COUNT(no); i++) assert_false(orm_sql_commits(no[i], strlen(no[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_harmless),
        cmocka_unit_test(test_traces),
        cmocka_unit_test(test_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
