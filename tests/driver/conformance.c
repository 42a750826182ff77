/* conformance.c - the promises of include/orm/driver.h, one test each. */
#include "conformance.h"
#include "client.h"
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define MS 1000000ull

static const conformance *fix;
static const orm_driver *drv;

#define NEEDS(what)                       \
    do {                                  \
        if (!(fix->can & (what))) skip(); \
    } while (0)

/* ---- helpers ------------------------------------------------------------------------------- */

/* Keeps what it needs of the rows that it is given. */
typedef struct sink {
    size_t columns;          /* to keep of the last row */
    orm_stmt *stmt;          /* … or as many as this one has */
    size_t rows, stop_after; /* 0 = never */
    orm_status stop_with;
    int64_t sum; /* of first columns that are integers */
    orm_cell last[4];
    char text[4][64]; /* copies of its texts, cut */
} sink;

static orm_status sink_row(void *self, const orm_cell *cells, orm_error *err)
{
    sink *to = self;
    to->rows++;
    if (to->stmt) to->columns = drv->column_count(to->stmt);
    if (cells[0].kind == ORM_V_INT) to->sum += cells[0].as.i;
    for (size_t i = 0; i < to->columns && i < ORM_COUNT(to->last); i++) {
        to->last[i] = cells[i];
        if (cells[i].kind != ORM_V_TEXT && cells[i].kind != ORM_V_BLOB) continue;
        client_copy_text(&cells[i], to->text[i], sizeof(to->text[i]));
    }
    if (!to->stop_after || to->rows < to->stop_after) return ORM_OK;
    if (to->stop_with < 0) return orm_fail(err, to->stop_with, "the sink says no");
    return to->stop_with;
}

static orm_conn *connect_to(bool fresh)
{
    orm_conn_config config = {.busy_timeout_ms = 60000, .create = true};
    fix->config(&config, fresh);
    return client_open(drv, &config);
}

void conformance_wait_hangup(orm_conn *conn)
{
    struct pollfd wait = {.fd = ((orm_conn_base *)(void *)conn)->fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, (int)(ORM_TEST_SOON_NS / MS)), 1);
}

static orm_kill *make_kill(orm_conn *conn)
{
    orm_kill *kill = NULL;
    orm_error err = {0};
    ORM_TEST_OK(drv->cancel(conn, &kill, &err), &err);
    assert_non_null(kill);
    return kill;
}

static void send_kill(orm_kill *kill)
{
    orm_error err = {0};
    ORM_TEST_OK(kill->send(kill, &err), &err);
    kill->free(kill);
}

/* What the engine does with a connection whose statement was left while it ran.  Where memory is
 * what failed it, it ends by itself. */
static void settle(orm_conn *conn)
{
    orm_error err = {0};
    orm_kill *kill = NULL;
    assert_non_null(drv->cancel);
    orm_status status = drv->cancel(conn, &kill, &err);
    if (status != ORM_ENOMEM) ORM_TEST_OK(status, &err);
    if (kill) send_kill(kill);
    while (client_wants(status = drv->settle(conn, &err))) client_wait(conn, status);
    ORM_TEST_OK(status, &err);
    assert_int_not_equal(drv->state(conn), ORM_CONN_BUSY);
}

/* Steps to the end whatever it takes; the budget may yield. */
static orm_status drive(orm_conn *conn, orm_stmt *stmt, sink *to, orm_budget *budget,
                        orm_exec_info *info, orm_error *err)
{
    orm_row_target target = {sink_row, to};
    orm_status status = client_finish(conn, stmt, to ? &target : NULL, budget, info, err);
    if (drv->state(conn) == ORM_CONN_BUSY) settle(conn);
    return status;
}

static orm_status run_with(orm_conn *conn, const char *sql, const orm_value *params, size_t n,
                           sink *to, orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    orm_row_target target = {sink_row, to};
    orm_status status = client_run(conn, sql, params, n, to ? &target : NULL, to ? &to->stmt : NULL,
                                   budget, info, err);
    if (drv->state(conn) == ORM_CONN_BUSY) settle(conn);
    return status;
}

static orm_status run(orm_conn *conn, const char *sql, orm_error *err)
{
    return run_with(conn, sql, NULL, 0, NULL, NULL, NULL, err);
}

static void run_ok(orm_conn *conn, const char *sql)
{
    orm_error err = {0};
    ORM_TEST_OK(run(conn, sql, &err), &err);
}

static orm_status insert_with(orm_conn *conn, const char *sql, const char *name, int64_t n,
                              orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    orm_value params[2] = {name ? orm_textn(name, strlen(name)) : orm_null(), orm_int(n)};
    return run_with(conn, sql, params, 2, NULL, budget, info, err);
}

static void insert_ok(orm_conn *conn, const char *name, int64_t n)
{
    orm_error err = {0};
    ORM_TEST_OK(insert_with(conn, fix->insert, name, n, NULL, NULL, &err), &err);
}

static size_t count_items(orm_conn *conn)
{
    sink to = {0};
    orm_error err = {0};
    ORM_TEST_OK(run_with(conn, fix->select, NULL, 0, &to, NULL, NULL, &err), &err);
    return to.rows;
}

static orm_conn *connect_with_table(void)
{
    orm_conn *conn = connect_to(true);
    run_ok(conn, fix->create);
    return conn;
}

/* ---- the table of functions, connections ----------------------------------------------------- */

static void test_table(void **state)
{
    (void)state;
    assert_int_equal(drv->size, sizeof(orm_driver));
    assert_non_null(drv->name);
    assert_true(drv->open && drv->close && drv->state && drv->prepare && drv->finalize);
    assert_true(drv->column_count && drv->column_name && drv->is_readonly);
    assert_true(drv->start && drv->step && drv->reset);
}

static void test_open_and_close(void **state)
{
    (void)state;
    drv->close(NULL);
    orm_conn *conn = connect_to(true);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    drv->finalize(conn, NULL);
    if (drv->flags & ORM_DRIVER_EMBEDDED) assert_int_equal(((orm_conn_base *)(void *)conn)->fd, -1);
    drv->close(conn);
}

static void test_close_ends_everything(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    orm_conn *conn = connect_with_table();
    insert_ok(conn, "kept", 1);
    run_ok(conn, fix->begin);
    insert_ok(conn, "lost", 1);
    orm_error err = {0};
    sink to = {.stop_after = 1, .stop_with = ORM_DONE};
    orm_stmt *idle = client_prepare(conn, fix->select), *open = client_prepare(conn, fix->thousand);
    ORM_TEST_OK(drv->start(conn, open, NULL, 0, &err), &err);
    assert_int_equal(drive(conn, open, &to, NULL, NULL, &err), ORM_DONE);
    assert_non_null(idle);
    drv->close(conn); /* frees both statements, rolls back */

    conn = connect_to(false);
    assert_int_equal(count_items(conn), 1);
    drv->close(conn);
}

/* ---- prepare ------------------------------------------------------------------------------- */

static bool is_embedded(void)
{
    return drv->flags & ORM_DRIVER_EMBEDDED;
}

/* What preparing says; servers say it in the first step. */
static orm_status try_prepare(orm_conn *conn, const char *sql, size_t len, orm_stmt **out,
                              orm_error *err)
{
    orm_stmt *stmt = *out;
    orm_status status = drv->prepare(conn, sql, len, NULL, &stmt, err);
    if (status < 0 || is_embedded()) {
        *out = stmt;
        return status;
    }
    status = drv->start(conn, stmt, NULL, 0, err);
    if (status >= 0) status = drive(conn, stmt, NULL, NULL, NULL, err);
    drv->finalize(conn, stmt);
    return status;
}

static void expect_prepare(orm_conn *conn, const char *sql, size_t len, orm_status expected,
                           const char *table, const char *column)
{
    orm_stmt *stmt = (orm_stmt *)(void *)&fix; /* must stay as it is */
    orm_error err = {0};
    orm_status status = try_prepare(conn, sql, len, &stmt, &err);
    /* servers see no difference between a text that ends early and one that is wrong */
    if (status == ORM_ESYNTAX && expected == ORM_EPROGRAMMING && !is_embedded()) expected = status;
    if (status != expected)
        fail_msg("%.*s: %s (%s), expected %s", (int)len, sql, orm_status_name(status), err.message,
                 orm_status_name(expected));
    assert_ptr_equal(stmt, &fix);
    assert_int_equal(err.status, expected);
    assert_true(err.message[0] != '\0');
    if (table) assert_string_equal(err.table, table);
    if (column) assert_string_equal(err.column, column);
    /* the same without an error to fill */
    assert_int_equal(try_prepare(conn, sql, len, &stmt, NULL), expected);
}

static void test_prepare_refuses(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    orm_conn *conn = connect_with_table();
    const char *two = fix->two_statements;
    expect_prepare(conn, two, strlen(two), ORM_EPROGRAMMING, NULL, NULL);
    expect_prepare(conn, "", 0, ORM_EPROGRAMMING, NULL, NULL);
    expect_prepare(conn, " -- nothing\n", 12, ORM_EPROGRAMMING, NULL, NULL);
    /* cut off; some servers take SELECT alone */
    expect_prepare(conn, fix->select, is_embedded() ? 6 : 10, ORM_EPROGRAMMING, NULL, NULL);
    expect_prepare(conn, fix->syntax, strlen(fix->syntax), ORM_ESYNTAX, NULL, NULL);
    expect_prepare(conn, fix->no_table, strlen(fix->no_table), ORM_ENOTABLE, "nosuch", "");
    expect_prepare(conn, fix->no_column, strlen(fix->no_column), ORM_ENOCOLUMN, NULL, "nosuch");
    assert_int_equal(count_items(conn), 0); /* nothing of `two` was run */
    run_ok(conn, fix->with_comment);
    drv->close(conn);
}

static void test_prepare_only_len_bytes(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    char sql[512];
    orm_conn *conn = connect_with_table();
    size_t len = strlen(fix->select);
    memcpy(sql, fix->select, len);
    memcpy(sql + len, "garbage", 8);
    orm_stmt *stmt = NULL;
    orm_error err = {0};
    ORM_TEST_OK(drv->prepare(conn, sql, len, NULL, &stmt, &err), &err);
    drv->finalize(conn, stmt);
    drv->close(conn);
}

static void test_columns(void **state)
{
    (void)state;
    orm_conn *conn = fix->can & CAN_SQL ? connect_with_table() : connect_to(true);
    orm_stmt *stmt = client_prepare(conn, fix->select);
    orm_error err = {0};
    if (!is_embedded()) {
        ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
        assert_int_equal(drive(conn, stmt, NULL, NULL, NULL, &err), ORM_DONE);
    }
    assert_int_equal(drv->column_count(stmt), 3);
    assert_string_equal(drv->column_name(stmt, 0), "id");
    assert_string_equal(drv->column_name(stmt, 2), "n");
    assert_null(drv->column_name(stmt, 3));
    drv->finalize(conn, stmt);
    stmt = client_prepare(conn, fix->begin);
    assert_int_equal(drv->column_count(stmt), 0);
    drv->finalize(conn, stmt);
    drv->close(conn);
}

static void test_is_readonly(void **state)
{
    (void)state;
    orm_conn *conn = fix->can & CAN_SQL ? connect_with_table() : connect_to(true);
    struct {
        const char *sql;
        bool reads;
    } cases[] = {
        {fix->select, true}, {fix->thousand, true}, {fix->insert, false},   {fix->update, false},
        {fix->begin, false}, {fix->commit, false},  {fix->rollback, false},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        if (!cases[i].sql) continue;
        orm_stmt *stmt = client_prepare(conn, cases[i].sql);
        if (drv->is_readonly(stmt) != cases[i].reads) fail_msg("is_readonly: %s", cases[i].sql);
        drv->finalize(conn, stmt);
    }
    drv->close(conn);
}

/* ---- start, step, reset ---------------------------------------------------------------------- */

static void test_order_of_calls(void **state)
{
    (void)state;
    orm_conn *conn = connect_to(true);
    orm_stmt *stmt = client_prepare(conn, fix->thousand);
    sink to = {0};
    orm_error err = {0};
    assert_int_equal(drive(conn, stmt, &to, NULL, NULL, &err), ORM_EMISUSE); /* not started */
    drv->reset(conn, stmt);                                                  /* harmless */
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drv->start(conn, stmt, NULL, 0, &err), ORM_EMISUSE); /* twice */
    for (int round = 0; round < 3; round++) {
        to.rows = 0;
        assert_int_equal(drive(conn, stmt, &to, NULL, NULL, &err), ORM_DONE);
        assert_int_equal(to.rows, 1000);
        drv->reset(conn, stmt);
        drv->reset(conn, stmt);
        ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    }
    drv->reset(conn, stmt); /* started and never stepped */
    drv->finalize(conn, stmt);
    drv->close(conn);
}

static void test_step_after_the_end(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    orm_conn *conn = connect_to(true);
    orm_stmt *stmt = client_prepare(conn, fix->thousand);
    orm_error err = {0};
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drive(conn, stmt, NULL, NULL, NULL, &err), ORM_DONE); /* no target */
    assert_int_equal(drive(conn, stmt, NULL, NULL, NULL, &err), ORM_EMISUSE);
    drv->finalize(conn, stmt);
    drv->close(conn);
}

static void test_rows_in_order(void **state)
{
    (void)state;
    orm_conn *conn = connect_to(true);
    sink to = {0};
    orm_error err = {0};
    orm_exec_info info = {.affected = 99, .last_key = 99};
    assert_int_equal(run_with(conn, fix->thousand, NULL, 0, &to, NULL, &info, &err), ORM_DONE);
    assert_int_equal(to.rows, 1000);
    assert_int_equal(to.sum, 500500);
    assert_int_equal(to.last[0].as.i, 1000);
    assert_int_equal(info.affected, 0);
    assert_int_equal(info.last_key, 0);
    drv->close(conn);
}

static void test_early_end(void **state)
{
    (void)state;
    orm_conn *conn = connect_to(true);
    orm_stmt *stmt = client_prepare(conn, fix->thousand);
    sink to = {.stop_after = 2, .stop_with = ORM_DONE};
    orm_error err = {0};
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drive(conn, stmt, &to, NULL, NULL, &err), ORM_DONE);
    assert_int_equal(to.rows, 2);
    drv->reset(conn, stmt);
    to = (sink){.stop_after = 3, .stop_with = ORM_EVALIDATION};
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drive(conn, stmt, &to, NULL, NULL, &err), ORM_EVALIDATION);
    assert_string_equal(err.message, "the sink says no");
    assert_int_equal(to.rows, 3);
    drv->reset(conn, stmt);
    to = (sink){0};
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drive(conn, stmt, &to, NULL, NULL, &err), ORM_DONE);
    assert_int_equal(to.rows, 1000);
    drv->finalize(conn, stmt);
    drv->close(conn);
}

/* ---- values ---------------------------------------------------------------------------------- */

static void expect_echo(orm_conn *conn, orm_value value, int kind)
{
    sink to = {.columns = 1};
    orm_error err = {0};
    orm_stmt *stmt = client_prepare(conn, fix->echo);
    ORM_TEST_OK(drv->start(conn, stmt, &value, 1, &err), &err);
    ORM_TEST_OK(drive(conn, stmt, &to, NULL, NULL, &err), &err);
    assert_int_equal(to.rows, 1);
    if (to.last[0].kind == ORM_V_BOOL && value.kind == ORM_V_BOOL) kind = ORM_V_BOOL;
    assert_int_equal(to.last[0].kind, kind);
    if (kind == ORM_V_INT || kind == ORM_V_BOOL) assert_true(to.last[0].as.i == value.as.i);
    if (kind == ORM_V_FLOAT) assert_memory_equal(&to.last[0].as.f, &value.as.f, sizeof(double));
    if (kind == ORM_V_TEXT || kind == ORM_V_BLOB) {
        assert_int_equal(to.last[0].len, value.len);
        assert_non_null(to.last[0].as.ptr);
        assert_memory_equal(to.text[0], value.as.ptr, value.len < 63 ? value.len : 63);
    }
    drv->finalize(conn, stmt);
}

static void test_values(void **state)
{
    (void)state;
    static const char million[1 << 20];
    orm_conn *conn = connect_to(true);
    expect_echo(conn, orm_null(), ORM_V_NULL);
    expect_echo(conn, orm_bool(true), ORM_V_INT);
    expect_echo(conn, orm_bool(false), ORM_V_INT);
    expect_echo(conn, orm_int(0), ORM_V_INT);
    expect_echo(conn, orm_int(INT64_MAX), ORM_V_INT);
    expect_echo(conn, orm_int(INT64_MIN), ORM_V_INT);
    expect_echo(conn, orm_float(0.1), ORM_V_FLOAT);
    expect_echo(conn, orm_float(-1e300), ORM_V_FLOAT);
    expect_echo(conn, orm_float(5e-324), ORM_V_FLOAT);
    if (fix->can & CAN_INFINITY) {
        expect_echo(conn, orm_float(INFINITY), ORM_V_FLOAT);
        expect_echo(conn, orm_float(-INFINITY), ORM_V_FLOAT);
    }
    expect_echo(conn, orm_textn("", 0), ORM_V_TEXT);
    if (fix->can & CAN_NUL) expect_echo(conn, orm_textn("a\0b", 3), ORM_V_TEXT);
    expect_echo(conn,
                orm_textn("Stra\xc3\x9f"
                          "e \xf0\x9f\x90\x99",
                          12),
                ORM_V_TEXT);
    expect_echo(conn, orm_bytes("", 0), ORM_V_BLOB);
    expect_echo(conn, orm_bytes("\0\xff\0", 3), ORM_V_BLOB);
    expect_echo(conn, orm_bytes(million, sizeof(million)), ORM_V_BLOB);
    drv->close(conn);
}

static void test_values_refused(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    orm_conn *conn = connect_to(true);
    orm_stmt *stmt = client_prepare(conn, fix->echo);
    orm_value day = {.kind = ORM_V_DATE, .as.i = 1};
    orm_value days = orm_list(&day, 1), list = orm_list(&days, 1); /* a list in a list */
    orm_value huge = {.kind = ORM_V_TEXT, .len = (size_t)5 << 30, .as.ptr = "never read"};
    struct {
        orm_value value;
        orm_status status;
    } cases[] = {
        {orm_float(NAN), ORM_EDATA},
        {fix->can & CAN_DATES ? list : day, ORM_EMISUSE},
        {huge, ORM_EDATA},
        {list, ORM_EMISUSE},
        {fix->can & CAN_INFINITY ? list : orm_float(INFINITY),
         fix->can & CAN_INFINITY ? ORM_EMISUSE : ORM_EDATA},
        {fix->can & CAN_NUL ? list : orm_textn("a\0b", 3),
         fix->can & CAN_NUL ? ORM_EMISUSE : ORM_EDATA},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_error err = {0};
        assert_int_equal(drv->start(conn, stmt, &cases[i].value, 1, &err), cases[i].status);
        assert_int_equal(err.status, cases[i].status);
        assert_int_equal(drive(conn, stmt, NULL, NULL, NULL, NULL), ORM_EMISUSE); /* not started */
    }
    orm_value two[2] = {orm_int(1), orm_int(2)};
    for (size_t n = 0; n <= 2; n += 2) {
        orm_status status = drv->start(conn, stmt, two, n, NULL);
        if (status >= 0 && !is_embedded()) {
            status = drive(conn, stmt, NULL, NULL, NULL, NULL);
            drv->reset(conn, stmt);
        }
        assert_int_equal(status, ORM_EPROGRAMMING);
    }
    drv->finalize(conn, stmt);
    expect_echo(conn, orm_int(7), ORM_V_INT);
    drv->close(conn);
}

/* ---- writes ---------------------------------------------------------------------------------- */

static void test_info(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    orm_conn *conn = connect_with_table();
    orm_exec_info info = {.affected = 9, .last_key = 9};
    orm_error err = {0};
    orm_value param = orm_int(7);
    ORM_TEST_OK(insert_with(conn, fix->insert, "a", 1, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 1);
    assert_int_equal(info.last_key, fix->can & CAN_KEYS ? 1 : 0);
    ORM_TEST_OK(insert_with(conn, fix->insert, "b", 1, NULL, &info, &err), &err);
    assert_int_equal(info.last_key, fix->can & CAN_KEYS ? 2 : 0);
    ORM_TEST_OK(run_with(conn, fix->update, &param, 1, NULL, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 2);
    assert_int_equal(info.last_key, 0);
    ORM_TEST_OK(run_with(conn, fix->remove, &param, 1, NULL, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 0);
    assert_int_equal(info.last_key, 0);
    ORM_TEST_OK(run_with(conn, fix->begin, NULL, 0, NULL, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 0);
    ORM_TEST_OK(run_with(conn, fix->rollback, NULL, 0, NULL, NULL, &info, &err), &err);
    param = orm_int(1);
    ORM_TEST_OK(run_with(conn, fix->remove, &param, 1, NULL, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 1);
    sink to = {0};
    ORM_TEST_OK(run_with(conn, fix->select, NULL, 0, &to, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 0);
    assert_int_equal(to.rows, 1);
    assert_int_equal(to.last[0].as.i, 2);
    assert_string_equal(to.text[1], "b");
    assert_int_equal(to.last[2].as.i, 7);
    drv->close(conn);
}

static void test_constraints(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    orm_conn *conn = connect_with_table();
    insert_ok(conn, "a", 1);
    orm_error err = {0};
    assert_int_equal(insert_with(conn, fix->insert, "a", 1, NULL, NULL, &err), ORM_EUNIQUE);
    /* the column, or the key by which it is unique */
    if (is_embedded() || err.table[0]) assert_string_equal(err.table, "item");
    if (is_embedded() || err.column[0]) assert_string_equal(err.column, "name");
    if (!err.column[0]) assert_non_null(strstr(err.constraint, "name"));
    assert_true(err.native != 0 || err.sqlstate[0]);
    assert_true(err.backend[0] != '\0');
    assert_int_equal(err.outcome, ORM_OUTCOME_NONE);
    assert_int_equal(insert_with(conn, fix->insert, NULL, 1, NULL, NULL, &err), ORM_ENOTNULL);
    assert_string_equal(err.column, "name");
    assert_int_equal(insert_with(conn, fix->insert, "b", 0, NULL, NULL, &err), ORM_ECHECK);
    assert_true(err.constraint[0] != '\0');
    assert_int_equal(insert_with(conn, fix->insert_peer, "b", 99, NULL, NULL, &err),
                     ORM_EFOREIGNKEY);
    assert_int_equal(insert_with(conn, fix->insert, "a", 1, NULL, NULL, NULL), ORM_EUNIQUE);
    assert_int_equal(count_items(conn), 1);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    drv->close(conn);
}

static void test_transactions(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    orm_conn *conn = connect_with_table();
    orm_error err = {0};
    run_ok(conn, fix->begin);
    assert_int_equal(drv->state(conn), ORM_CONN_IN_TX);
    insert_ok(conn, "a", 1);
    run_ok(conn, fix->rollback);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    assert_int_equal(count_items(conn), 0);

    run_ok(conn, fix->begin);
    insert_ok(conn, "a", 1);
    assert_int_equal(insert_with(conn, fix->insert, "a", 1, NULL, NULL, &err), ORM_EUNIQUE);
    size_t kept = 1;
    if (drv->state(conn) == ORM_CONN_FAILED_TX) {
        run_ok(conn, fix->rollback);
        kept = 0;
    } else {
        assert_int_equal(drv->state(conn), ORM_CONN_IN_TX); /* the statement alone has failed */
        run_ok(conn, fix->commit);
    }
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    assert_int_equal(count_items(conn), kept);
    drv->close(conn);
}

static void test_constraint_at_commit(void **state)
{
    (void)state;
    NEEDS(CAN_DEFER);
    orm_conn *conn = connect_with_table();
    orm_error err = {0};
    run_ok(conn, fix->begin);
    ORM_TEST_OK(insert_with(conn, fix->insert_peer, "b", 99, NULL, NULL, &err), &err);
    assert_int_equal(run(conn, fix->commit, &err), ORM_EFOREIGNKEY);
    if (drv->state(conn) == ORM_CONN_IN_TX) run_ok(conn, fix->rollback);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    assert_int_equal(count_items(conn), 0);
    drv->close(conn);
}

/* An error that takes the transaction with it. */
static void test_rolled_back_by_error(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    if (!fix->insert_rollback) skip();
    orm_conn *conn = connect_with_table();
    orm_error err = {0};
    insert_ok(conn, "a", 1);
    run_ok(conn, fix->begin);
    insert_ok(conn, "b", 1);
    assert_int_equal(insert_with(conn, fix->insert_rollback, "a", 1, NULL, NULL, &err),
                     ORM_EUNIQUE);
    assert_int_equal(err.outcome, ORM_OUTCOME_ROLLED_BACK);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    assert_int_equal(count_items(conn), 1);
    drv->close(conn);
}

static void test_write_counter(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    if (!drv->write_counter) skip();
    orm_conn *a = connect_with_table(), *b = connect_to(false);
    volatile uint64_t *counter = drv->write_counter(a);
    assert_ptr_equal(counter, drv->write_counter(b));
    uint64_t before = *counter;
    insert_ok(a, "a", 1);
    assert_true(*counter > before);
    before = *counter;
    assert_int_equal(count_items(b), 1);
    assert_true(*counter == before); /* reads count nothing */
    run_ok(a, fix->begin);
    insert_ok(a, "b", 1);
    assert_true(*counter == before);
    run_ok(a, fix->commit);
    assert_true(*counter > before);
    before = *counter;
    run_ok(a, fix->begin); /* a transaction that has only read */
    assert_int_equal(count_items(a), 2);
    run_ok(a, fix->commit);
    assert_true(*counter == before);
    drv->close(a);
    orm_conn *other = connect_to(true);
    assert_ptr_not_equal(counter, drv->write_counter(other));
    drv->close(other);
    drv->close(b);
}

/* ---- budgets --------------------------------------------------------------------------------- */

typedef struct later {
    orm_budget *budget;
    orm_conn *conn;
    unsigned ms;
    orm_status status; /* of what it ran; an assertion belongs to the test's own thread */
} later;

static void *stop_later(void *arg)
{
    later *what = arg;
    usleep(what->ms * 1000);
    __atomic_store_n(&what->budget->stop, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void *commit_later(void *arg)
{
    later *what = arg;
    usleep(what->ms * 1000);
    what->status = run(what->conn, fix->commit, NULL);
    if (what->status < 0) __atomic_store_n(&what->budget->stop, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void test_stop(void **state)
{
    (void)state;
    NEEDS(CAN_BLOCK);
    orm_conn *conn = connect_to(true);
    orm_budget budget = {0};
    orm_error err = {0};
    later what = {.budget = &budget, .ms = 20};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_later, &what), 0);
    uint64_t began = orm_now_ns();
    assert_int_equal(run_with(conn, fix->endless, NULL, 0, NULL, &budget, NULL, &err),
                     ORM_ECANCELLED);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    pthread_join(thread, NULL);
    assert_int_equal(err.status, ORM_ECANCELLED);
    /* one that is stopped before it begins; and then nothing is left of it */
    assert_int_equal(run_with(conn, fix->endless, NULL, 0, NULL, &budget, NULL, &err),
                     ORM_ECANCELLED);
    sink to = {0};
    assert_int_equal(run_with(conn, fix->thousand, NULL, 0, &to, NULL, NULL, &err), ORM_DONE);
    assert_int_equal(to.rows, 1000);
    drv->close(conn);
}

static void test_deadline(void **state)
{
    (void)state;
    NEEDS(CAN_BLOCK);
    orm_conn *conn = connect_to(true);
    orm_budget budget = {.deadline_ns = orm_now_ns() + 30 * MS};
    orm_error err = {0};
    assert_int_equal(run_with(conn, fix->endless, NULL, 0, NULL, &budget, NULL, &err),
                     ORM_EQUERYTIMEOUT);
    uint64_t now = orm_now_ns();
    assert_true(now >= budget.deadline_ns && now < budget.deadline_ns + ORM_TEST_SOON_NS);
    assert_int_equal(err.flags & ORM_ERROR_DISCONNECT, 0);
    assert_int_equal(run(conn, fix->thousand, NULL), ORM_DONE);
    drv->close(conn);
}

static void test_yield_between_rows(void **state)
{
    (void)state;
    orm_conn *conn = connect_to(true);
    orm_stmt *stmt = client_prepare(conn, fix->thousand);
    sink to = {0};
    orm_error err = {0};
    orm_budget budget = {.yield_ns = 1}; /* long past */
    orm_status status;
    int yields = 0;
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    while ((status = drive(conn, stmt, &to, &budget, NULL, &err)) == ORM_PENDING) {
        assert_false(budget.rewound);
        yields++;
    }
    assert_int_equal(status, ORM_DONE);
    assert_int_equal(to.rows, 1000); /* each row once */
    assert_int_equal(to.sum, 500500);
    assert_true(yields > 1);
    drv->finalize(conn, stmt);
    drv->close(conn);
}

static void test_yield_inside_a_step(void **state)
{
    (void)state;
    NEEDS(CAN_REWIND);
    orm_conn *conn = connect_to(true);
    orm_stmt *stmt = client_prepare(conn, fix->slow_read);
    sink to = {0};
    orm_error err = {0};
    orm_budget budget = {.yield_ns = orm_now_ns() + 2 * MS};
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drive(conn, stmt, &to, &budget, NULL, &err), ORM_PENDING);
    assert_true(budget.rewound);
    assert_int_equal(drive(conn, stmt, &to, &budget, NULL, &err), ORM_EMISUSE);
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drive(conn, stmt, &to, NULL, NULL, &err), ORM_DONE);
    assert_int_equal(to.rows, 1);
    drv->finalize(conn, stmt);
    drv->close(conn);
}

static void test_writes_are_not_rewound(void **state)
{
    (void)state;
    NEEDS(CAN_SQL);
    orm_conn *conn = connect_with_table();
    orm_error err = {0};
    orm_budget budget = {.yield_ns = 1};
    assert_int_equal(run_with(conn, fix->slow_write, NULL, 0, NULL, &budget, NULL, &err), ORM_DONE);
    assert_false(budget.rewound);
    assert_int_equal(count_items(conn), 1);
    /* but they can be stopped, and then nothing has happened */
    budget = (orm_budget){.deadline_ns = orm_now_ns() + 5 * MS};
    assert_int_equal(run_with(conn, fix->slow_write, NULL, 0, NULL, &budget, NULL, &err),
                     ORM_EQUERYTIMEOUT);
    assert_int_equal(count_items(conn), 1);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    drv->close(conn);
}

/* ---- locks ----------------------------------------------------------------------------------- */

static void test_lock_no_waiting(void **state)
{
    (void)state;
    NEEDS(CAN_LOCK);
    orm_conn *holder = connect_with_table(), *other = connect_to(false);
    run_ok(holder, fix->begin);
    insert_ok(holder, "held", 1);
    orm_error err = {0};
    orm_budget budget = {0};
    uint64_t began = orm_now_ns();
    assert_int_equal(insert_with(other, fix->insert, "x", 1, &budget, NULL, &err),
                     ORM_ELOCKTIMEOUT);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    assert_true(err.flags & ORM_ERROR_RETRYABLE);
    assert_true(err.native != 0);
    assert_int_equal(drv->state(other), ORM_CONN_IDLE);
    assert_int_equal(count_items(other), 0); /* readers see the old state */
    run_ok(holder, fix->commit);
    insert_ok(other, "x", 1);
    assert_int_equal(count_items(holder), 2);
    drv->close(other);
    drv->close(holder);
}

static void test_lock_waiting(void **state)
{
    (void)state;
    NEEDS(CAN_LOCK);
    orm_conn *holder = connect_with_table(), *other = connect_to(false);
    run_ok(holder, fix->begin);
    insert_ok(holder, "held", 1);
    orm_error err = {0};
    uint64_t began = orm_now_ns();
    orm_budget budget = {.lock_deadline_ns = began + 60 * MS};
    assert_int_equal(insert_with(other, fix->insert, "x", 1, &budget, NULL, &err),
                     ORM_ELOCKTIMEOUT);
    uint64_t took = orm_now_ns() - began;
    assert_true(took >= 60 * MS && took < ORM_TEST_SOON_NS);

    budget = (orm_budget){.lock_deadline_ns = orm_now_ns() + 60000 * MS,
                          .deadline_ns = orm_now_ns() + 40 * MS};
    assert_int_equal(insert_with(other, fix->insert, "x", 1, &budget, NULL, &err),
                     ORM_EQUERYTIMEOUT);

    pthread_t thread;
    budget = (orm_budget){.lock_deadline_ns = orm_now_ns() + 60000 * MS};
    later what = {.budget = &budget, .ms = 30};
    assert_int_equal(pthread_create(&thread, NULL, stop_later, &what), 0);
    assert_int_equal(insert_with(other, fix->insert, "x", 1, &budget, NULL, &err), ORM_ECANCELLED);
    pthread_join(thread, NULL);

    budget = (orm_budget){.lock_deadline_ns = orm_now_ns() + 60000 * MS};
    what = (later){.conn = holder, .budget = &budget, .ms = 30};
    assert_int_equal(pthread_create(&thread, NULL, commit_later, &what), 0);
    orm_status status = insert_with(other, fix->insert, "x", 1, &budget, NULL, &err);
    pthread_join(thread, NULL);
    ORM_TEST_OK(what.status, NULL);
    ORM_TEST_OK(status, &err);
    assert_int_equal(count_items(other), 2);
    drv->close(other);
    drv->close(holder);
}

/* ---- waiting for a descriptor ------------------------------------------------------------------ */

static void test_want_read(void **state)
{
    (void)state;
    NEEDS(CAN_WAIT);
    orm_conn *conn = connect_to(true);
    orm_stmt *stmt = client_prepare(conn, fix->waits);
    orm_error err = {0};
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drv->step(conn, stmt, NULL, &(orm_budget){0}, NULL, &err), ORM_WANT_READ);
    struct pollfd wait = {.fd = ((orm_conn_base *)(void *)conn)->fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 0), 0);
    fix->ready();
    assert_int_equal(poll(&wait, 1, 20000), 1);
    assert_int_equal(drive(conn, stmt, NULL, NULL, NULL, &err), ORM_DONE);
    drv->finalize(conn, stmt);
    drv->close(conn);
}

/* ---- cancel ------------------------------------------------------------------------------------ */

typedef struct canceller {
    orm_kill *kill;
    unsigned ms; /* until it is told, again and again; 0: at once, and once */
    atomic_bool over, failed;
    orm_error err;
} canceller;

/* One that comes before its statement ends nothing: it is told again. */
static void *cancel_later(void *arg)
{
    canceller *what = arg;
    do {
        usleep(what->ms * 1000);
        if (what->kill->send(what->kill, &what->err) < 0) atomic_store(&what->failed, true);
    } while (what->ms && !atomic_load(&what->over) && !atomic_load(&what->failed));
    what->kill->free(what->kill);
    return NULL;
}

static void check_canceller(const canceller *what)
{
    if (atomic_load(&what->failed)) ORM_TEST_OK((orm_status)what->err.status, &what->err);
}

/* Without a word in the budget: the server alone ends it. */
static void test_cancel(void **state)
{
    (void)state;
    if (!drv->cancel) skip();
    orm_conn *conn = connect_to(true);
    orm_error err = {0};
    canceller what = {.kill = make_kill(conn), .ms = 30};
    pthread_t thread;
    uint64_t began = orm_now_ns();
    orm_stmt *stmt = client_prepare(conn, fix->endless);
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, &what), 0);
    orm_status status;
    while ((status = drv->step(conn, stmt, NULL, &(orm_budget){0}, NULL, &err)) == ORM_WANT_READ ||
           status == ORM_WANT_WRITE) {
        if (atomic_load(&what.failed)) break;
        client_wait(conn, status);
    }
    atomic_store(&what.over, true);
    pthread_join(thread, NULL);
    check_canceller(&what);
    assert_int_equal(status, ORM_ECANCELLED);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    drv->finalize(conn, stmt);
    assert_int_equal(run(conn, fix->thousand, &err), ORM_DONE);
    drv->close(conn);
}

/* A cancel that comes when its statement is over, or not yet begun, ends no other. */
static void test_cancel_hits_no_neighbour(void **state)
{
    (void)state;
    if (!drv->cancel) skip();
    orm_conn *conn = connect_to(true);
    orm_error err = {0};
    for (unsigned round = 0; round < 60; round++) {
        canceller what = {.kill = make_kill(conn)};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, &what), 0);
        usleep(round * 20);
        orm_status status = run(conn, fix->thousand, &err);
        pthread_join(thread, NULL);
        check_canceller(&what);
        assert_int_equal(status == ORM_ECANCELLED ? ORM_DONE : status, ORM_DONE);
        for (int i = 0; i < 3; i++) ORM_TEST_OK(run(conn, fix->thousand, &err), &err);
        assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    }
    drv->close(conn);
}

/* What ends a statement needs no connection: nobody is there any more to be hit. */
static void test_cancel_outlives_its_connection(void **state)
{
    (void)state;
    if (!drv->cancel) skip();
    orm_error err = {0};
    orm_conn *conn = connect_to(true);
    orm_kill *kill = make_kill(conn), *unsent = make_kill(conn);
    drv->close(conn);
    conn = connect_to(true);
    (void)kill->send(kill, &err); /* the server may say that there is nobody */
    kill->free(kill);
    unsent->free(unsent);
    assert_int_equal(run(conn, fix->thousand, &err), ORM_DONE);
    drv->close(conn);
}

/* A statement that is reset, or finalized, while it runs leaves a connection that is busy. */
static void test_settle(void **state)
{
    (void)state;
    if (!drv->settle) skip();
    for (int finalizes = 0; finalizes <= 1; finalizes++) {
        orm_conn *conn = connect_to(true);
        orm_stmt *stmt = client_prepare(conn, fix->endless);
        orm_error err = {0};
        orm_status status = ORM_OK;
        ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
        uint64_t until = orm_now_ns() + 20 * MS; /* it is prepared, and runs */
        while (orm_now_ns() < until) {
            status = drv->step(conn, stmt, NULL, &(orm_budget){0}, NULL, &err);
            assert_true(status == ORM_WANT_READ || status == ORM_WANT_WRITE);
            client_wait(conn, status);
        }
        if (finalizes)
            drv->finalize(conn, stmt);
        else
            drv->reset(conn, stmt);
        assert_int_equal(drv->state(conn), ORM_CONN_BUSY);
        settle(conn);
        assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
        ORM_TEST_OK(run(conn, fix->thousand, &err), &err);
        if (!finalizes) {
            ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
            status = drv->step(conn, stmt, NULL, &(orm_budget){0}, NULL, &err);
            assert_true(status == ORM_WANT_READ || status == ORM_WANT_WRITE);
        }
        drv->close(conn); /* also while one runs */
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

static orm_status memory_body(void *arg)
{
    (void)arg;
    orm_conn_config config = {.busy_timeout_ms = 60000, .create = true};
    orm_conn *conn = NULL;
    orm_error err = {0};
    orm_value value = orm_textn("Stra\xc3\x9f"
                                "e",
                                7);
    sink to = {0};
    if (fix->setup) fix->setup();
    fix->config(&config, true);
    orm_status status = drv->open(&config, &conn, &err);
    if (status < 0) return status;
    if (fix->can & CAN_SQL) {
        status = run(conn, fix->create, &err);
        if (status >= 0) status = insert_with(conn, fix->insert, "a", 1, NULL, NULL, &err);
        if (status >= 0) {
            status = insert_with(conn, fix->insert, "a", 1, NULL, NULL, &err);
            if (status == ORM_EUNIQUE) status = ORM_OK;
        }
    }
    if (status >= 0) status = run_with(conn, fix->echo, &value, 1, &to, NULL, NULL, &err);
    if (status >= 0) status = run(conn, fix->thousand, &err);
    drv->close(conn);
    return status < 0 ? status : ORM_OK;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(memory_body, NULL);
}

static int each_setup(void **state)
{
    (void)state;
    if (fix->setup) fix->setup();
    return 0;
}

#define CASE(f) cmocka_unit_test_setup(f, each_setup)

int conformance_run(const conformance *fixture)
{
    fix = fixture;
    drv = fixture->driver;
    const struct CMUnitTest tests[] = {
        CASE(test_table),
        CASE(test_open_and_close),
        CASE(test_close_ends_everything),
        CASE(test_prepare_refuses),
        CASE(test_prepare_only_len_bytes),
        CASE(test_columns),
        CASE(test_is_readonly),
        CASE(test_order_of_calls),
        CASE(test_step_after_the_end),
        CASE(test_rows_in_order),
        CASE(test_early_end),
        CASE(test_values),
        CASE(test_values_refused),
        CASE(test_info),
        CASE(test_constraints),
        CASE(test_transactions),
        CASE(test_constraint_at_commit),
        CASE(test_rolled_back_by_error),
        CASE(test_write_counter),
        CASE(test_stop),
        CASE(test_deadline),
        CASE(test_yield_between_rows),
        CASE(test_yield_inside_a_step),
        CASE(test_writes_are_not_rewound),
        CASE(test_lock_no_waiting),
        CASE(test_lock_waiting),
        CASE(test_want_read),
        CASE(test_cancel),
        CASE(test_cancel_hits_no_neighbour),
        CASE(test_cancel_outlives_its_connection),
        CASE(test_settle),
        CASE(test_failing_allocations),
    };
    return cmocka_run_group_tests_name(drv->name, tests, NULL, NULL);
}
