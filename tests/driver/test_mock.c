/* test_mock.c - the scripted driver passes what a driver without a database can pass, and does
 * as it is told. */
#include "conformance.h"
#include "driver/mock/mock.h"

static const char *const item_columns[] = {"id", "name", "n"};
static orm_cell thousand[1000];

static void mock_setup(void)
{
    for (size_t i = 0; i < ORM_COUNT(thousand); i++)
        thousand[i] = (orm_cell){.kind = ORM_V_INT, .as.i = (int64_t)i + 1};
    orm_mock_reset();
    orm_mock_expect(
        &(orm_mock_answer){.sql = "SELECT item", .n_columns = 3, .columns = item_columns});
    orm_mock_expect(&(orm_mock_answer){.sql = "SELECT thousand",
                                       .n_columns = 1,
                                       .cells = thousand,
                                       .n_rows = ORM_COUNT(thousand)});
    orm_mock_expect(&(orm_mock_answer){.sql = "SELECT slow", .n_columns = 1, .blocks = true});
    orm_mock_expect(&(orm_mock_answer){.sql = "SELECT echo", .n_columns = 1, .echo = true});
    orm_mock_expect(&(orm_mock_answer){.sql = "SELECT wait", .n_columns = 1, .want_read = 1});
    orm_mock_expect(&(orm_mock_answer){.sql = "INSERT*", .info = {.affected = 1, .last_key = 7}});
    orm_mock_expect(&(orm_mock_answer){.sql = "UPDATE*", .info = {.affected = 2}});
}

static void mock_config(orm_conn_config *config, bool fresh)
{
    config->database = fresh ? "fresh" : "again";
}

static const conformance fixture = {
    .driver = &orm_mock_driver,
    .can = CAN_BLOCK | CAN_WAIT | CAN_INFINITY | CAN_NUL,
    .setup = mock_setup,
    .config = mock_config,
    .ready = orm_mock_ready,
    .insert = "INSERT item",
    .update = "UPDATE item",
    .select = "SELECT item",
    .begin = "BEGIN IMMEDIATE",
    .commit = "COMMIT",
    .rollback = "ROLLBACK",
    .echo = "SELECT echo",
    .thousand = "SELECT thousand",
    .endless = "SELECT slow",
    .waits = "SELECT wait",
};

/* ---- the script -------------------------------------------------------------------------------- */

static const orm_driver *const drv = &orm_mock_driver;

static orm_conn *connect_mock(void)
{
    orm_conn_config config = {.database = "db"};
    orm_conn *conn = NULL;
    assert_int_equal(drv->open(&config, &conn, NULL), ORM_OK);
    return conn;
}

static orm_status run(orm_conn *conn, const char *sql, orm_exec_info *info, orm_error *err)
{
    orm_stmt *stmt = NULL;
    orm_budget budget = {0};
    orm_status status = drv->prepare(conn, sql, strlen(sql), &budget, &stmt, err);
    if (status >= 0) status = drv->start(conn, stmt, NULL, 0, err);
    while (status == ORM_OK || status == ORM_PENDING) {
        if (status == ORM_PENDING && budget.rewound) drv->start(conn, stmt, NULL, 0, err);
        status = drv->step(conn, stmt, NULL, &budget, info, err);
    }
    drv->finalize(conn, stmt);
    return status;
}

static void test_log(void **state)
{
    (void)state;
    orm_mock_reset();
    orm_mock_expect(&(orm_mock_answer){.sql = "SELECT 1", .n_columns = 1, .pending = 1});
    orm_conn *conn = connect_mock();
    assert_int_equal(orm_mock_connections(), 1);
    assert_int_equal(run(conn, "SELECT 1", NULL, NULL), ORM_DONE);
    orm_stmt *stmt = NULL;
    orm_value params[] = {orm_int(7), orm_textn("x", 1), orm_null()};
    assert_int_equal(drv->prepare(conn, "SELECT 1", 8, NULL, &stmt, NULL), ORM_OK);
    assert_int_equal(drv->start(conn, stmt, params, 3, NULL), ORM_OK);
    assert_int_equal(orm_mock_statements(), 1);
    drv->finalize(conn, stmt);
    drv->close(conn);
    assert_int_equal(orm_mock_connections() + orm_mock_statements(), 0);
    assert_string_equal(orm_mock_log(),
                        "open db\nprepare SELECT 1\nstart SELECT 1\nstep SELECT 1\n"
                        "step SELECT 1\nfinalize SELECT 1\nprepare SELECT 1\n"
                        "start SELECT 1 [7, 'x', NULL]\nfinalize SELECT 1\nclose\n");
}

static void test_answers(void **state)
{
    (void)state;
    orm_error err = {0};
    orm_exec_info info = {0};
    orm_mock_reset();
    orm_mock_expect(
        &(orm_mock_answer){.sql = "INSERT*", .times = 1, .info = {.affected = 1, .last_key = 5}});
    orm_mock_expect(&(orm_mock_answer){.sql = "INSERT*",
                                       .status = ORM_EUNIQUE,
                                       .native = 2067,
                                       .flags = ORM_ERROR_RETRYABLE,
                                       .message = "again",
                                       .state_after = ORM_CONN_FAILED_TX + 1});
    orm_mock_expect(&(orm_mock_answer){.sql = "bad", .status = ORM_ESYNTAX, .in_prepare = true});
    orm_mock_expect(&(orm_mock_answer){.sql = "SELECT 1", .pending = 3, .rewinds = true});
    orm_conn *conn = connect_mock();
    assert_int_equal(run(conn, "INSERT x", &info, &err), ORM_DONE);
    assert_int_equal(info.affected, 1);
    assert_int_equal(info.last_key, 5);
    assert_int_equal(run(conn, "INSERT x", &info, &err), ORM_EUNIQUE);
    assert_int_equal(err.native, 2067);
    assert_int_equal(err.flags, ORM_ERROR_RETRYABLE);
    assert_string_equal(err.message, "again");
    assert_int_equal(drv->state(conn), ORM_CONN_FAILED_TX);
    assert_int_equal(run(conn, "ROLLBACK", NULL, &err), ORM_DONE);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    assert_int_equal(run(conn, "bad", NULL, &err), ORM_ESYNTAX);
    assert_int_equal(run(conn, "nobody expects this", NULL, &err), ORM_ESYNTAX);
    assert_int_equal(run(conn, "SELECT 1", NULL, &err), ORM_DONE);
    drv->close(conn);

    orm_mock_reset();
    orm_mock_expect(&(orm_mock_answer){.sql = "open", .times = 1, .status = ORM_ECONNECT});
    orm_conn_config config = {.database = "db"};
    assert_int_equal(drv->open(&config, &conn, &err), ORM_ECONNECT);
    drv->close(connect_mock());
}

int main(void)
{
    int failed = conformance_run(&fixture);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_answers),
    };
    return failed + cmocka_run_group_tests_name("mock script", tests, NULL, NULL);
}
