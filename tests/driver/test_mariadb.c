/* test_mariadb.c - the MariaDB driver: the conformance suite, and what only this server does.
 *
 * Needs a server whose user may make databases: ORM_TEST_MARIADB_URL, as tests/servers/servers.py
 * sets it.  Without one the program exits with 77: skipped.
 */
#include "client.h"
#include "conformance.h"
#include "dialect/dialect.h"
#include "driver/driver_internal.h"
#include "proxy.h"
#include <arpa/inet.h>
#include <mysql.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS 1000000ull
#define COUNT_TO(n) "SELECT seq FROM seq_1_to_" n

static const orm_driver *const drv = &orm_mariadb_driver;
static orm_url url;
static char database[64];

/* ---- helpers ------------------------------------------------------------------------------- */

static void base_config(orm_conn_config *config)
{
    config->host = url.host.ptr;
    config->port = url.port;
    config->user = url.user.ptr;
    config->password = url.password.ptr;
    config->database = url.database.ptr;
    config->busy_timeout_ms = 1000;
}

typedef struct answer {
    size_t rows, columns;
    orm_cell cells[24];
    char texts[24][64];
} answer;

static orm_stmt *answering; /* whose columns are counted */

static orm_status answer_row(void *self, const orm_cell *cells, orm_error *err)
{
    (void)err;
    answer *to = self;
    to->rows++;
    to->columns = drv->column_count(answering);
    for (size_t i = 0; i < to->columns && i < ORM_COUNT(to->cells); i++) {
        to->cells[i] = cells[i];
        if (cells[i].kind != ORM_V_TEXT && cells[i].kind != ORM_V_BLOB) continue;
        client_copy_text(&cells[i], to->texts[i], sizeof(to->texts[i]));
    }
    return ORM_OK;
}

static orm_status finish(orm_conn *conn, orm_stmt *stmt, answer *to, orm_budget *budget,
                         orm_exec_info *info, orm_error *err)
{
    orm_row_target target = {answer_row, to};
    answering = stmt;
    return client_finish(conn, stmt, to ? &target : NULL, budget, info, err);
}

static orm_status run(orm_conn *conn, const char *sql, const orm_value *values, size_t n,
                      answer *to, orm_exec_info *info, orm_error *err)
{
    orm_row_target target = {answer_row, to};
    return client_run(conn, sql, values, n, to ? &target : NULL, &answering, NULL, info, err);
}

static orm_conn *open_base(void)
{
    orm_conn_config config = {0};
    base_config(&config);
    return client_open(drv, &config);
}

static answer ask(orm_conn *conn, const char *sql)
{
    answer to = {0};
    orm_error err = {0};
    ORM_TEST_OK(run(conn, sql, NULL, 0, &to, NULL, &err), &err);
    return to;
}

static orm_status try_sql(orm_conn *conn, const char *sql, orm_error *err)
{
    *err = (orm_error){0};
    return run(conn, sql, NULL, 0, NULL, NULL, err);
}

/* ---- the conformance suite ------------------------------------------------------------------ */

static void new_database(bool create)
{
    char sql[128];
    const unsigned tcp = MYSQL_PROTOCOL_TCP;
    MYSQL *mysql = mysql_init(NULL); /* not the library: its allocations may be about to fail */
    assert_int_equal(mysql_options(mysql, MYSQL_OPT_PROTOCOL, &tcp), 0);
    if (!mysql_real_connect(mysql, url.host.ptr, url.user.ptr, url.password.ptr, NULL, url.port,
                            NULL, 0))
        fail_msg("%s", mysql_error(mysql));
    snprintf(database, sizeof(database), "orm_driver_%d", (int)getpid());
    snprintf(sql, sizeof(sql), "DROP DATABASE IF EXISTS `%s`", database);
    assert_int_equal(mysql_query(mysql, sql), 0);
    if (create) {
        snprintf(sql, sizeof(sql), "CREATE DATABASE `%s` CHARACTER SET utf8mb4", database);
        assert_int_equal(mysql_query(mysql, sql), 0);
    }
    mysql_close(mysql);
}

static void server_config(orm_conn_config *config, bool fresh)
{
    if (fresh) new_database(true);
    base_config(config);
    config->database = database;
}

static const conformance fixture = {
    .driver = &orm_mariadb_driver,
    .can = CAN_SQL | CAN_BLOCK | CAN_KEYS | CAN_NUL | CAN_DATES,
    .config = server_config,
    .create = "CREATE TABLE item (id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY, "
              "name VARCHAR(100) NOT NULL UNIQUE, "
              "n INTEGER, CONSTRAINT positive CHECK (n > 0), "
              "peer INTEGER, FOREIGN KEY (peer) REFERENCES item (id))",
    .insert = "INSERT INTO item (name, n) VALUES (?, ?)",
    .insert_peer = "INSERT INTO item (name, peer, n) VALUES (?, ?, 1)",
    .update = "UPDATE item SET n = ?",
    .remove = "DELETE FROM item WHERE id = ?",
    .select = "SELECT id, name, n FROM item ORDER BY id",
    .begin = "START TRANSACTION",
    .commit = "COMMIT",
    .rollback = "ROLLBACK",
    .echo = "SELECT ?",
    .two_statements = "INSERT INTO item (name, n) VALUES ('two', 1); SELECT 1",
    .with_comment = "SELECT 1 ; /* and */ -- nothing more\n # here\n ;",
    .syntax = "SELECT name nick oops FROM item",
    .no_table = "SELECT * FROM nosuch",
    .no_column = "SELECT item.nosuch FROM item",
    .thousand = COUNT_TO("1000"),
    .endless = "SELECT COUNT(*) FROM seq_1_to_1000000 AS a, seq_1_to_1000000 AS b",
    .slow_write = "INSERT INTO item (name, n) SELECT 'slow', COUNT(*) FROM seq_1_to_2000000",
};

/* ---- opening --------------------------------------------------------------------------------- */

static void expect_open(const orm_conn_config *config, orm_status expected, const char *secret)
{
    orm_conn *conn = NULL;
    orm_error err = {0};
    orm_status status = drv->open(config, &conn, &err);
    if (status != expected)
        fail_msg("open: %s (%s), expected %s", orm_status_name(status), err.message,
                 orm_status_name(expected));
    assert_null(conn);
    assert_true(err.message[0] != '\0');
    if (secret) assert_null(strstr(err.message, secret));
}

static void test_settings(void **state)
{
    (void)state;
    orm_conn *conn = open_base();
    answer to = ask(conn, "SELECT @@time_zone, @@character_set_client, @@innodb_lock_wait_timeout, "
                          "FIND_IN_SET('ANSI_QUOTES', @@sql_mode), "
                          "FIND_IN_SET('NO_BACKSLASH_ESCAPES', @@sql_mode), "
                          "FIND_IN_SET('STRICT_ALL_TABLES', @@sql_mode) > 0, @@local_infile");
    assert_string_equal(to.texts[0], "+00:00");
    assert_string_equal(to.texts[1], "utf8mb4");
    assert_int_equal(to.cells[2].as.i, 1);
    assert_int_equal(to.cells[3].as.i, 0);
    assert_int_equal(to.cells[4].as.i, 0);
    assert_int_equal(to.cells[5].as.i, 1);
    drv->close(conn);
}

static void test_options(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"nosuch", "1"},
                                         {"ssl", "maybe"},
                                         {"charset", "latin1"},
                                         {"lock_wait_timeout", "-1"},
                                         {"innodb_lock_wait_timeout", ""}};
    for (size_t i = 0; i < ORM_COUNT(bad); i++) {
        orm_conn_config config = {0};
        orm_str name = {bad[i][0], strlen(bad[i][0])}, value = {bad[i][1], strlen(bad[i][1])};
        base_config(&config);
        config.option_names = &name;
        config.option_values = &value;
        config.n_options = 1;
        expect_open(&config, ORM_ECONFIG, NULL);
    }
    orm_conn_config config = {0};
    orm_str name = {"innodb_lock_wait_timeout", 24}, value = {"7", 1};
    base_config(&config);
    config.read_only = true;
    config.option_names = &name;
    config.option_values = &value;
    config.n_options = 1;
    orm_conn *conn = client_open(drv, &config);
    assert_int_equal(ask(conn, "SELECT @@innodb_lock_wait_timeout").cells[0].as.i, 7);
    orm_error err = {0};
    assert_int_equal(try_sql(conn, "CREATE TABLE nosuch (x INT)", &err), ORM_EOPERATIONAL);
    drv->close(conn);
}

static void test_cannot_open(void **state)
{
    (void)state;
    orm_conn_config config = {0};
    base_config(&config);
    config.password = "canary-4711";
    expect_open(&config, ORM_EAUTH, "canary-4711");
    base_config(&config);
    config.database = "no_such_database";
    expect_open(&config, ORM_ECONNECT, config.password);
    base_config(&config);
    config.port = 1; /* nobody listens */
    expect_open(&config, ORM_ECONNECT, config.password);
    base_config(&config);
    config.host = "/nosuch/socket";
    expect_open(&config, ORM_ECONNECT, config.password);
    base_config(&config);
    config.database = NULL;
    expect_open(&config, ORM_ECONFIG, NULL);
    /* TLS was asked for, and the server of the tests has none */
    orm_str name = {"ssl", 3}, value = {"require", 7};
    base_config(&config);
    config.option_names = &name;
    config.option_values = &value;
    config.n_options = 1;
    expect_open(&config, ORM_ETLS, config.password);
}

/* Somebody listens and never speaks. */
static void test_deaf_listener(void **state)
{
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    orm_conn_config config = {0};
    base_config(&config);
    config.host = "127.0.0.1";
    config.port = ntohs(address.sin_port);
    config.connect_timeout_ms = 100;
    uint64_t began = orm_now_ns();
    expect_open(&config, ORM_ECONNECT, config.password);
    uint64_t took = orm_now_ns() - began;
    assert_true(took >= 100 * MS && took < ORM_TEST_SOON_NS);
    close(fd);
}

/* ---- values ---------------------------------------------------------------------------------- */

static void expect_cell(const orm_cell *cell, int kind, int64_t i)
{
    assert_int_equal(cell->kind, kind);
    assert_true(cell->as.i == i);
}

static void test_column_types(void **state)
{
    (void)state;
    orm_conn *conn = open_base();
    ask(conn, "CREATE OR REPLACE TEMPORARY TABLE t ("
              "a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d INT UNSIGNED, e BIGINT, "
              "f BIGINT UNSIGNED, g FLOAT, h DOUBLE, i DECIMAL(38, 10), j BIT(10), k YEAR, "
              "l DATE, m TIME(6), n DATETIME(6), o TIMESTAMP(6) NULL, p VARCHAR(20), q TEXT, "
              "r VARBINARY(20), s LONGBLOB, t JSON, u ENUM('x', 'y'), v CHAR(32)) "
              "CHARACTER SET utf8mb4");
    ask(conn, "INSERT INTO t VALUES (-128, 65535, -8388608, 4294967295, -9223372036854775808, "
              "18446744073709551615, 0.1, 1e300, -1234567890123456789012345678.0123456789, "
              "b'1000000001', 2020, '0001-01-01', '23:59:59.999999', "
              "'9999-12-31 23:59:59.999999', '2020-01-02 03:04:05.000006', 'Stra\xc3\x9f"
              "e', 'text', x'00ff00', x'', '[1]', 'y', 'short')");
    answer to = ask(conn, "SELECT * FROM t");
    assert_int_equal(to.columns, 22);
    expect_cell(&to.cells[0], ORM_V_INT, -128);
    expect_cell(&to.cells[1], ORM_V_INT, 65535);
    expect_cell(&to.cells[2], ORM_V_INT, -8388608);
    expect_cell(&to.cells[3], ORM_V_INT, 4294967295);
    expect_cell(&to.cells[4], ORM_V_INT, INT64_MIN);
    assert_string_equal(to.texts[5], "18446744073709551615");
    assert_true(to.cells[6].kind == ORM_V_FLOAT && to.cells[6].as.f == 0.1);
    assert_true(to.cells[7].kind == ORM_V_FLOAT && to.cells[7].as.f == 1e300);
    assert_string_equal(to.texts[8], "-1234567890123456789012345678.0123456789");
    expect_cell(&to.cells[9], ORM_V_INT, 513);
    expect_cell(&to.cells[10], ORM_V_INT, 2020);
    expect_cell(&to.cells[11], ORM_V_DATE, ORM_DATE_MIN);
    expect_cell(&to.cells[12], ORM_V_TIME, ORM_US_PER_DAY - 1);
    expect_cell(&to.cells[13], ORM_V_DATETIME, (ORM_DATE_MAX + 1) * ORM_US_PER_DAY - 1);
    expect_cell(&to.cells[14], ORM_V_DATETIME, 1577934245000006);
    assert_string_equal(to.texts[15], "Stra\xc3\x9f"
                                      "e");
    assert_int_equal(to.cells[16].kind, ORM_V_TEXT);
    assert_int_equal(to.cells[17].kind, ORM_V_BLOB);
    assert_int_equal(to.cells[17].len, 3);
    assert_int_equal(to.cells[18].kind, ORM_V_BLOB);
    assert_int_equal(to.cells[18].len, 0);
    assert_int_equal(to.cells[19].kind, ORM_V_TEXT);
    assert_string_equal(to.texts[20], "y");
    assert_int_equal(to.cells[21].len, 5);
    ask(conn, "DELETE FROM t");
    ask(conn, "INSERT INTO t () VALUES ()");
    to = ask(conn, "SELECT * FROM t");
    for (size_t i = 0; i < to.columns; i++) assert_int_equal(to.cells[i].kind, ORM_V_NULL);
    drv->close(conn);
}

/* Days that are none come as text; the rows around them are readable. */
static void test_zero_dates(void **state)
{
    (void)state;
    orm_conn *conn = open_base();
    ask(conn, "SET SESSION sql_mode = ''");
    ask(conn, "CREATE OR REPLACE TEMPORARY TABLE t (d DATE, m DATETIME(6), c TIME(6))");
    ask(conn, "INSERT INTO t VALUES ('0000-00-00', '0000-00-00', '-00:00:01'), "
              "('2020-02-00', '2020-02-00 01:02:03', '24:00:00'), "
              "('2020-02-03', '2020-02-03', '838:59:59.999999')");
    answer to = ask(conn, "SELECT * FROM t WHERE d = '0000-00-00'");
    assert_string_equal(to.texts[0], "0000-00-00");
    assert_string_equal(to.texts[1], "0000-00-00 00:00:00");
    assert_string_equal(to.texts[2], "-00:00:01.000000");
    to = ask(conn, "SELECT * FROM t WHERE d > '0000-00-00' AND d < '2020-02-01'");
    assert_string_equal(to.texts[0], "2020-02-00");
    assert_string_equal(to.texts[1], "2020-02-00 01:02:03");
    assert_string_equal(to.texts[2], "24:00:00.000000");
    to = ask(conn, "SELECT * FROM t ORDER BY d");
    assert_int_equal(to.rows, 3);
    expect_cell(&to.cells[0], ORM_V_DATE, orm_days_from_civil(2020, 2, 3));
    assert_string_equal(to.texts[2], "838:59:59.999999");
    drv->close(conn);
}

static void expect_round_trip(orm_conn *conn, const char *sql, orm_value value, int kind)
{
    answer to = {0};
    orm_error err = {0};
    ORM_TEST_OK(run(conn, sql, &value, 1, &to, NULL, &err), &err);
    assert_int_equal(to.rows, 1);
    expect_cell(&to.cells[0], kind, value.as.i);
}

static void test_moments(void **state)
{
    (void)state;
    static const int64_t days[] = {ORM_DATE_MIN, -1, 0, 1, 18293, ORM_DATE_MAX};
    orm_conn *conn = open_base();
    for (size_t i = 0; i < ORM_COUNT(days); i++) {
        orm_value v = {.kind = ORM_V_DATE, .as.i = days[i]};
        expect_round_trip(conn, "SELECT CAST(? AS DATE)", v, ORM_V_DATE);
        v = (orm_value){.kind = ORM_V_DATETIME, .as.i = days[i] * ORM_US_PER_DAY};
        expect_round_trip(conn, "SELECT CAST(? AS DATETIME(6))", v, ORM_V_DATETIME);
        v.as.i += ORM_US_PER_DAY - 1;
        expect_round_trip(conn, "SELECT CAST(? AS DATETIME(6))", v, ORM_V_DATETIME);
        v.kind = ORM_V_DATETIMETZ;
        expect_round_trip(conn, "SELECT CAST(? AS DATETIME(6))", v, ORM_V_DATETIME);
        v = (orm_value){.kind = ORM_V_TIME, .as.i = (days[i] & 0xffff) * 1000001};
        expect_round_trip(conn, "SELECT CAST(? AS TIME(6))", v, ORM_V_TIME);
    }
    drv->close(conn);
}

static size_t long_length;
static bool long_is_right;

static orm_status long_row(void *self, const orm_cell *cells, orm_error *err)
{
    (void)self;
    (void)err;
    const char *a = cells[0].as.ptr, *b = cells[1].as.ptr;
    long_is_right = cells[0].len == long_length && cells[1].len == long_length + 1 &&
                    cells[2].as.i == 7;
    for (size_t i = 0; long_is_right && i < long_length; i++)
        long_is_right = a[i] == 'a' && b[i] == 'b';
    return ORM_OK;
}

/* On both sides of the buffers' size, and a long value followed by a short one. */
static void test_long_values(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 4094, 4095, 4096, 4097, 70000, 3, 1000000};
    static const char sql[] = "SELECT REPEAT('a', ?), CAST(REPEAT('b', ?) AS BINARY), 7";
    orm_conn *conn = open_base();
    orm_stmt *stmt = NULL;
    orm_error err = {0};
    ORM_TEST_OK(drv->prepare(conn, sql, strlen(sql), NULL, &stmt, &err), &err);
    for (size_t i = 0; i < ORM_COUNT(lengths); i++) {
        orm_value values[] = {orm_int((int64_t)lengths[i]), orm_int((int64_t)lengths[i] + 1)};
        orm_row_target target = {long_row, NULL};
        orm_budget budget = {0};
        orm_status status;
        long_length = lengths[i];
        long_is_right = false;
        ORM_TEST_OK(drv->start(conn, stmt, values, 2, &err), &err);
        while ((status = drv->step(conn, stmt, &target, &budget, NULL, &err)) == ORM_WANT_READ) {
            struct pollfd wait = {.fd = ((orm_conn_base *)(void *)conn)->fd, .events = POLLIN};
            poll(&wait, 1, 5);
        }
        ORM_TEST_OK(status, &err);
        if (!long_is_right) fail_msg("%zu bytes", lengths[i]);
        drv->reset(conn, stmt);
    }
    drv->close(conn);
}

static void test_limits(void **state)
{
    (void)state;
    orm_conn *conn = open_base();
    orm_error err = {0};
    size_t packet = (size_t)ask(conn, "SELECT @@max_allowed_packet").cells[0].as.i;
    assert_int_equal(drv->max_params(conn), 65535);
    orm_value big = orm_textn("never read", packet);
    assert_int_equal(run(conn, "SELECT ?", &big, 1, NULL, NULL, &err), ORM_EDATA);
    char *text = malloc(packet);
    memset(text, 'x', packet);
    big = orm_textn(text, packet - 1000);
    ORM_TEST_OK(run(conn, "SELECT LENGTH(?)", &big, 1, NULL, NULL, &err), &err);
    free(text);
    orm_value *many = calloc(65536, sizeof *many);
    assert_int_equal(run(conn, "SELECT 1", many, 65536, NULL, NULL, &err), ORM_ETOOCOMPLEX);
    static const char head[] = "SELECT 7 IN (";
    size_t len = sizeof(head) - 1;
    char *sql = malloc(200000);
    memcpy(sql, head, len);
    for (int i = 0; i < 65535; i++) {
        memcpy(sql + len, i ? ",?" : "?", i ? 2 : 1);
        len += i ? 2 : 1;
    }
    memcpy(sql + len, ")", 2);
    for (int i = 0; i < 65535; i++) many[i] = orm_int(i);
    answer to = {0};
    ORM_TEST_OK(run(conn, sql, many, 65535, &to, NULL, &err), &err);
    assert_int_equal(to.cells[0].as.i, 1);
    free(many);
    free(sql);
    drv->close(conn);
}

/* ---- statements ------------------------------------------------------------------------------ */

static void test_is_readonly(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        bool reads;
    } cases[] = {
        {" /* a */ (SELECT 1)", true},
        {"WITH q AS (SELECT 1) SELECT * FROM q", true},
        {"SHOW TABLES", true},
        {"SELECT 'update' FROM `into`", true},
        {"SELECT * FROM t FOR UPDATE", false},
        {"SELECT 1 INTO @x", false},
        {"SELECT NEXTVAL(s)", false},
        {"SELECT @x := 1", false},
        {"SELECT /*! 1 */ 2", false},
        {"/*M! SELECT */ 1", false},
        {"WITH q AS (SELECT 1) DELETE FROM t", false},
        {"SET @x = 1", false},
    };
    orm_conn *conn = open_base();
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_stmt *stmt = NULL;
        orm_error err = {0};
        ORM_TEST_OK(drv->prepare(conn, cases[i].sql, strlen(cases[i].sql), NULL, &stmt, &err),
                    &err);
        if (drv->is_readonly(stmt) != cases[i].reads) fail_msg("%s", cases[i].sql);
        drv->finalize(conn, stmt);
    }
    drv->close(conn);
}

static void test_one_statement(void **state)
{
    (void)state;
    static const char *const two[] = {"SELECT 1; SELECT 2", "SELECT ';'; x", "SELECT 1;;;y",
                                      "SELECT 1; /*! SELECT 2 */"};
    static const char *const one[] = {
        "SELECT ';'",     "SELECT \"a;\\\";b\"", "SELECT 1 AS `;`", "SELECT 1 -- ; x\n",
        "SELECT 1 # ; x", "SELECT 1 /* ; x */",  "SELECT 'it''s;'", "SELECT 1--1;"};
    orm_conn *conn = open_base();
    orm_error err = {0};
    for (size_t i = 0; i < ORM_COUNT(two); i++)
        assert_int_equal(try_sql(conn, two[i], &err), ORM_EPROGRAMMING);
    for (size_t i = 0; i < ORM_COUNT(one); i++) ORM_TEST_OK(try_sql(conn, one[i], &err), &err);
    assert_int_equal(try_sql(conn, "CALL nosuch()", &err), ORM_ENOTSUPPORTED);
    drv->close(conn);
}

static void test_found_rows_and_keys(void **state)
{
    (void)state;
    orm_conn *conn = open_base();
    orm_error err = {0};
    orm_exec_info info;
    ask(conn, "CREATE OR REPLACE TEMPORARY TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, "
              "name VARCHAR(20) UNIQUE)");
    ORM_TEST_OK(run(conn, "INSERT INTO t (name) VALUES ('a')", NULL, 0, NULL, &info, &err), &err);
    assert_int_equal(info.last_key, 1);
    /* rows that were found count, also when they are as they were */
    ORM_TEST_OK(run(conn, "UPDATE t SET name = 'a'", NULL, 0, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 1);
    assert_int_equal(info.last_key, 0);
    answer to = {0};
    ORM_TEST_OK(run(conn, "INSERT INTO t (name) VALUES ('b'), ('c') RETURNING id", NULL, 0, &to,
                    &info, &err),
                &err);
    assert_int_equal(to.rows, 2);
    assert_int_equal(info.affected, 2);
    drv->close(conn);
}

/* An INSERT with RETURNING fails among its rows; its statement can be used again all the same. */
static void test_a_failure_among_rows(void **state)
{
    (void)state;
    orm_conn *conn = open_base();
    orm_error err = {0};
    orm_stmt *stmt = NULL;
    static const char sql[] = "INSERT INTO t (name) VALUES (?), (?) RETURNING id";
    ask(conn, "CREATE OR REPLACE TEMPORARY TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, "
              "name VARCHAR(20) UNIQUE)");
    ORM_TEST_OK(drv->prepare(conn, sql, strlen(sql), NULL, &stmt, &err), &err);
    for (int round = 0; round < 6; round++) {
        char name[8];
        snprintf(name, sizeof name, "%d", round);
        bool twice = round % 3 != 0; /* and so a duplicate */
        orm_value params[] = {orm_text(name), orm_text(twice ? name : round ? "z" : "x")};
        ORM_TEST_OK(drv->start(conn, stmt, params, 2, &err), &err);
        answer to = {0};
        orm_budget budget = {.deadline_ns = orm_now_ns() + 5000000000ull};
        orm_status status = finish(conn, stmt, &to, &budget, NULL, &err);
        assert_int_equal(status, twice ? ORM_EUNIQUE : ORM_DONE);
        drv->reset(conn, stmt);
    }
    drv->finalize(conn, stmt);
    drv->close(conn);
}

static void test_error_names(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        orm_status status;
        const char *table, *column, *constraint;
    } cases[] = {
        {"INSERT INTO c (id, name, n) VALUES (1, 'x', 1)", ORM_EUNIQUE, "", "", "PRIMARY"},
        {"INSERT INTO c (name, n) VALUES ('it''s', 1)", ORM_EUNIQUE, "", "", "by_name"},
        {"INSERT INTO c (name) VALUES (NULL)", ORM_ENOTNULL, "", "name", ""},
        {"INSERT INTO c (n) VALUES (1)", ORM_ENOTNULL, "", "name", ""},
        {"INSERT INTO c (name, n) VALUES ('y', -1)", ORM_ECHECK, "c", "", "positive"},
        {"INSERT INTO c (name, n, p) VALUES ('y', 1, 99)", ORM_EFOREIGNKEY, "c", "p", "to_p"},
        {"DELETE FROM p", ORM_EFOREIGNKEY, "c", "p", "to_p"},
        {"INSERT INTO c (name, n) VALUES ('y', 1e10)", ORM_EDATA, "", "n", ""},
        {"INSERT INTO c (name, n) VALUES (REPEAT('y', 21), 1)", ORM_EDATA, "", "name", ""},
        {"INSERT INTO c (name, n) VALUES ('y', 'secret')", ORM_EDATA, "c", "n", ""},
        {"INSERT INTO c (name, n, day) VALUES ('y', 1, 'secret')", ORM_EDATA, "c", "day", ""},
        {"INSERT INTO c (name, n, price) VALUES ('y', 1, 1.239)", ORM_DONE, "", "", ""},
        {"SELECT nosuch FROM c", ORM_ENOCOLUMN, "", "nosuch", ""},
        {"SELECT c.nosuch FROM c", ORM_ENOCOLUMN, "c", "nosuch", ""},
        {"INSERT INTO c (nosuch) VALUES (1)", ORM_ENOCOLUMN, "", "nosuch", ""},
        {"SELECT * FROM nosuch", ORM_ENOTABLE, "nosuch", "", ""},
        {"DROP TABLE nosuch", ORM_ENOTABLE, "nosuch", "", ""},
        {"SELEC 1", ORM_ESYNTAX, "", "", ""},
        {"SELECT 1 +", ORM_ESYNTAX, "", "", ""},
        {"SELECT nosuch(1)", ORM_EPROGRAMMING, "", "", ""},
        {"SELECT 1 FROM c, p WHERE id = 1", ORM_EPROGRAMMING, "", "", ""},
        {"SELECT 1 / 0 FROM c WHERE 'a' REGEXP '('", ORM_EDATA, "", "", ""},
        {"SELECT * FROM mysql.global_priv AS g, nosuch.t", ORM_ENOTABLE, "t", "", ""},
    };
    new_database(true);
    orm_conn_config config = {0};
    server_config(&config, false);
    orm_conn *conn = client_open(drv, &config);
    orm_error err;
    ask(conn, "CREATE TABLE p (id INT PRIMARY KEY)");
    ask(conn, "CREATE TABLE c (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) NOT NULL, "
              "n INT, p INT, day DATE, price DECIMAL(10, 2), "
              "CONSTRAINT positive CHECK (n > 0), CONSTRAINT by_name UNIQUE (name), "
              "CONSTRAINT to_p FOREIGN KEY (p) REFERENCES p (id))");
    ask(conn, "INSERT INTO p VALUES (1)");
    ask(conn, "INSERT INTO c (id, name, n, p) VALUES (1, 'it''s', 1, 1)");
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_status status = try_sql(conn, cases[i].sql, &err);
        if (status != cases[i].status || strcmp(err.table, cases[i].table) != 0 ||
            strcmp(err.column, cases[i].column) != 0 ||
            strcmp(err.constraint, cases[i].constraint) != 0)
            fail_msg("%s: %s %d, table '%s', column '%s', constraint '%s' (%s)", cases[i].sql,
                     orm_status_name(status), err.native, err.table, err.column, err.constraint,
                     err.message);
        assert_null(strstr(err.message, "secret"));
        assert_null(strstr(err.message, "it's"));
    }
    drv->close(conn);
}

/* ---- transactions ------------------------------------------------------------------------------ */

static void *lock_two(void *arg)
{
    orm_conn *conn = arg;
    run(conn, "UPDATE t SET n = 2 WHERE id = 1", NULL, 0, NULL, NULL, NULL);
    return NULL;
}

/* The server rolls one of two back as a whole: its state says so, and the outcome. */
static void test_deadlock(void **state)
{
    (void)state;
    new_database(true);
    orm_conn_config config = {0};
    server_config(&config, false);
    orm_conn *a = client_open(drv, &config), *b = client_open(drv, &config);
    orm_error err = {0};
    pthread_t thread;
    ask(a, "CREATE TABLE t (id INT PRIMARY KEY, n INT)");
    ask(a, "INSERT INTO t VALUES (1, 0), (2, 0)");
    ask(a, "BEGIN");
    ask(b, "BEGIN");
    /* the heavier of two transactions is left alone */
    ask(b, "INSERT INTO t SELECT seq, 0 FROM seq_10_to_100");
    ask(b, "UPDATE t SET n = 1 WHERE id = 2");
    ask(a, "UPDATE t SET n = 1 WHERE id = 1");
    assert_int_equal(pthread_create(&thread, NULL, lock_two, b), 0);
    usleep(50000);
    assert_int_equal(try_sql(a, "UPDATE t SET n = 2 WHERE id = 2", &err), ORM_EDEADLOCK);
    assert_int_equal(err.outcome, ORM_OUTCOME_ROLLED_BACK);
    assert_true(err.flags & ORM_ERROR_RETRYABLE);
    assert_int_equal(drv->state(a), ORM_CONN_IDLE);
    pthread_join(thread, NULL);
    assert_int_equal(drv->state(b), ORM_CONN_IN_TX);
    drv->close(b);
    drv->close(a);
}

static void test_lock_wait(void **state)
{
    (void)state;
    new_database(true);
    orm_conn_config config = {0};
    server_config(&config, false);
    orm_conn *a = client_open(drv, &config), *b = client_open(drv, &config);
    orm_error err = {0};
    ask(a, "CREATE TABLE t (id INT PRIMARY KEY)");
    ask(a, "BEGIN");
    ask(a, "INSERT INTO t VALUES (1)");
    ask(b, "BEGIN");
    ask(b, "INSERT INTO t VALUES (2)");
    assert_int_equal(try_sql(b, "INSERT INTO t VALUES (1)", &err), ORM_ELOCKTIMEOUT);
    assert_int_equal(err.native, 1205);
    assert_int_equal(err.outcome, ORM_OUTCOME_NONE); /* the statement alone */
    assert_int_equal(drv->state(b), ORM_CONN_IN_TX);
    ask(b, "ROLLBACK");
    drv->close(b);
    drv->close(a);
}

/* DDL commits what was open, also when it then fails. */
static void test_ddl_ends_a_transaction(void **state)
{
    (void)state;
    new_database(true);
    orm_conn_config config = {0};
    server_config(&config, false);
    orm_conn *conn = client_open(drv, &config);
    orm_error err = {0};
    ask(conn, "CREATE TABLE t (id INT)");
    ask(conn, "BEGIN");
    ask(conn, "INSERT INTO t VALUES (1)");
    assert_int_equal(drv->state(conn), ORM_CONN_IN_TX);
    assert_true(try_sql(conn, "CREATE TABLE t (id INT)", &err) < 0);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    assert_int_equal(err.outcome, ORM_OUTCOME_NONE);
    ask(conn, "BEGIN");
    ask(conn, "CREATE TABLE u (id INT)");
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    drv->close(conn);
}

/* ---- lost connections, changed tables ---------------------------------------------------------- */

static void test_killed(void **state)
{
    (void)state;
    char sql[64];
    orm_conn *conn = open_base(), *other = open_base();
    orm_error err = {0};
    orm_stmt *stmt = NULL;
    orm_kill *kill = NULL;
    static const char kept[] = "SELECT 1";
    ORM_TEST_OK(drv->prepare(conn, kept, strlen(kept), NULL, &stmt, &err), &err);
    snprintf(sql, sizeof(sql), "KILL CONNECTION %lld",
             (long long)ask(conn, "SELECT CONNECTION_ID()").cells[0].as.i);
    ask(other, sql);
    conformance_wait_hangup(conn);
    orm_status status = try_sql(conn, "INSERT INTO nosuch VALUES (1)", &err);
    assert_int_equal(status, ORM_ECONNLOST);
    assert_true(err.flags & ORM_ERROR_DISCONNECT);
    assert_int_equal(drv->state(conn), ORM_CONN_BROKEN);
    assert_int_equal(try_sql(conn, "SELECT 1", &err), ORM_ECONNLOST);
    ORM_TEST_OK(drv->cancel(conn, &kill, &err), &err);
    ORM_TEST_OK(kill->send(kill, &err), &err); /* there is nobody left: fine */
    kill->free(kill);
    drv->finalize(conn, stmt);
    drv->close(conn);
    drv->close(other);
}

static void test_columns_change(void **state)
{
    (void)state;
    static const char star[] = "SELECT * FROM t", one[] = "SELECT a FROM t";
    new_database(true);
    orm_conn_config config = {0};
    server_config(&config, false);
    orm_conn *conn = client_open(drv, &config), *other = client_open(drv, &config);
    orm_error err = {0};
    orm_stmt *all = NULL, *plain = NULL;
    orm_budget budget = {0};
    answer to = {0};
    ask(conn, "CREATE TABLE t (a INT)");
    ask(conn, "INSERT INTO t VALUES (1)");
    ORM_TEST_OK(drv->prepare(conn, star, strlen(star), NULL, &all, &err), &err);
    ORM_TEST_OK(drv->prepare(conn, one, strlen(one), NULL, &plain, &err), &err);
    for (int round = 0; round < 3; round++) {
        ORM_TEST_OK(drv->start(conn, all, NULL, 0, &err), &err);
        orm_status status = finish(conn, all, &to, &budget, NULL, &err);
        if (round > 0) {
            /* another number of columns, another name: once refused, then as it is now */
            assert_int_equal(status, ORM_ECACHEDSTMT);
            assert_true(err.flags & ORM_ERROR_RETRYABLE);
            drv->reset(conn, all);
            ORM_TEST_OK(drv->start(conn, all, NULL, 0, &err), &err);
            status = finish(conn, all, &to, &budget, NULL, &err);
        }
        ORM_TEST_OK(status, &err);
        drv->reset(conn, all);
        ORM_TEST_OK(drv->start(conn, plain, NULL, 0, &err), &err);
        ORM_TEST_OK(finish(conn, plain, &to, &budget, NULL, &err), &err);
        drv->reset(conn, plain);
        ask(other, round ? "ALTER TABLE t MODIFY a VARCHAR(20)" : "ALTER TABLE t ADD b INT");
        if (round == 1) ask(other, "ALTER TABLE t CHANGE b c INT");
    }
    ORM_TEST_OK(drv->start(conn, plain, NULL, 0, &err), &err);
    ORM_TEST_OK(finish(conn, plain, &to, &budget, NULL, &err), &err);
    assert_int_equal(to.cells[0].kind, ORM_V_TEXT); /* other types are no matter */
    drv->close(other);
    drv->close(conn);
}

/* ---- the dialect's SQL --------------------------------------------------------------------------- */

/* How many of the rows of `sql` the dialect's template for a lookup keeps. */
static int64_t count_kept(orm_conn *conn, int lookup, orm_value value)
{
    orm_buf sql;
    answer to = {0};
    orm_error err = {0};
    orm_value values[2] = {value, value};
    orm_buf_init(&sql, 0);
    orm_buf_adds(&sql, "SELECT COUNT(*) FROM words WHERE ");
    for (const char *p = orm_dialect_mariadb.lookups[lookup].sql; *p; p++) {
        if (*p == '@')
            orm_buf_adds(&sql, "word");
        else
            orm_buf_addc(&sql, *p);
    }
    ORM_TEST_OK(run(conn, sql.ptr, values, 1, &to, NULL, &err), &err);
    orm_buf_dispose(&sql);
    return to.cells[0].as.i;
}

/* Case counts where it is said to, whatever the collation and the character set of the column; and
 * it does not where it is said not to, in any script. */
static void test_text_lookups(void **state)
{
    (void)state;
    static const char *const columns[] = {
        "VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "VARCHAR(40) CHARACTER SET utf8mb3 COLLATE utf8mb3_unicode_ci",
    };
    static const struct {
        int lookup;
        const char *value;
        size_t len;
        int kept;
    } cases[] = {
        {ORM_LOOKUP_CONTAINS, "%b%", 3, 1},
        {ORM_LOOKUP_CONTAINS, "%B%", 3, 2},
        {ORM_LOOKUP_CONTAINS, "%!%%", 4, 1},
        {ORM_LOOKUP_CONTAINS, "%\\%", 3, 1},
        {ORM_LOOKUP_CONTAINS, "%!_%", 4, 1},
        {ORM_LOOKUP_STARTSWITH, "a%", 2, 2},
        {ORM_LOOKUP_ENDSWITH, "%c", 2, 1},
        {ORM_LOOKUP_ICONTAINS, "%b%", 3, 3},
        {ORM_LOOKUP_ISTARTSWITH, "A%", 2, 3},
        {ORM_LOOKUP_IENDSWITH, "%C", 2, 2},
        {ORM_LOOKUP_IEXACT, "abC", 3, 2},
        {ORM_LOOKUP_IEXACT, "STRASSE", 7, 1},
        {ORM_LOOKUP_IEXACT, "\xcf\x83\xce\xb1\xcf\x83", 6, 1}, /* the sigma at a word's end */
        {ORM_LOOKUP_IEXACT, "\xc3\xa4", 2, 1},                 /* an accent is no case … */
        {ORM_LOOKUP_IEXACT, "e", 1, 0},
        {ORM_LOOKUP_IEXACT, "2", 1, 0}, /* … and a superscript none either */
        {ORM_LOOKUP_REGEX, "^a.c$", 5, 1},
        {ORM_LOOKUP_IREGEX, "^a.c$", 5, 2},
        {ORM_LOOKUP_REGEX, "^\\w$", 4, 3},
        {ORM_LOOKUP_IREGEX, "^\xc3\xa4$", 4, 1},
        {ORM_LOOKUP_CONTAINS, "%x\0y%", 5, 1},
    };
    char sql[200];
    orm_conn *conn = open_base();
    for (size_t c = 0; c < ORM_COUNT(columns); c++) {
        snprintf(sql, sizeof(sql), "CREATE OR REPLACE TEMPORARY TABLE words (word %s)", columns[c]);
        ask(conn, sql);
        ask(conn, "INSERT INTO words VALUES ('abc'), ('ABC'), ('a%_'), ('B\\\\'), "
                  "('Stra\xc3\x9f"
                  "e'), ('\xce\xa3\xce\x91\xce\xa3'), ('\xc3\x84'), ('\xc2\xb2'), "
                  "('\xc3\xa9'), (NULL), (CONCAT('x', CHAR(0), 'y'))");
        for (size_t i = 0; i < ORM_COUNT(cases); i++) {
            int64_t kept = count_kept(conn, cases[i].lookup,
                                      orm_textn(cases[i].value, cases[i].len));
            if (kept != cases[i].kept)
                fail_msg("%s: lookup %d of '%s' keeps %d, expected %d", columns[c], cases[i].lookup,
                         cases[i].value, (int)kept, cases[i].kept);
        }
    }
    drv->close(conn);
}

/* A list of texts is compared by the column's collation, one of numbers without losing digits. */
static void test_lists(void **state)
{
    (void)state;
    orm_conn *conn = open_base();
    orm_error err = {0};
    answer to = {0};
    char sql[300];
    static const char texts_json[] = "[\"ABC\",\"q\\\"\\\\\\u000a\"]",
                      numbers_json[] = "[9223372036854775806,-1]";
    orm_value texts = orm_textn(texts_json, sizeof(texts_json) - 1),
              numbers = orm_textn(numbers_json, sizeof(numbers_json) - 1);
    ask(conn, "CREATE OR REPLACE TEMPORARY TABLE words ("
              "word VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, n BIGINT)");
    ask(conn, "INSERT INTO words VALUES ('abc', 9223372036854775807), ('q\"\\\\\n', -1)");
    snprintf(sql, sizeof(sql), "SELECT COUNT(*) FROM words WHERE word%s",
             orm_dialect_mariadb.texts_in + 1);
    ORM_TEST_OK(run(conn, sql, &texts, 1, &to, NULL, &err), &err);
    assert_int_equal(to.cells[0].as.i, 2);
    snprintf(sql, sizeof(sql), "SELECT COUNT(*) FROM words WHERE n%s",
             orm_dialect_mariadb.list_in + 1);
    ORM_TEST_OK(run(conn, sql, &numbers, 1, &to, NULL, &err), &err);
    assert_int_equal(to.cells[0].as.i, 1);
    drv->close(conn);
}

/* A conflict of the fields that were named leaves the row as it is; one of another key is an error
 * that changes nothing. */
static void test_conflicts(void **state)
{
    (void)state;
    static const char insert[] =
        "INSERT INTO words (id, word, n) VALUES (?, ?, 7) ON DUPLICATE KEY "
        "UPDATE word = IF(word <=> VALUES(word), word, "
        "(SELECT NULL UNION ALL SELECT NULL))";
    orm_conn *conn = open_base();
    orm_error err = {0};
    ask(conn, "CREATE OR REPLACE TEMPORARY TABLE words (id INT AUTO_INCREMENT PRIMARY KEY, "
              "word VARCHAR(9) UNIQUE, n INT)");
    ask(conn, "INSERT INTO words VALUES (1, 'a', 1)");
    orm_value fresh[] = {orm_int(2), orm_textn("b", 1)}, same[] = {orm_int(3), orm_textn("a", 1)},
              other[] = {orm_int(1), orm_textn("c", 1)};
    orm_exec_info info;
    ORM_TEST_OK(run(conn, insert, fresh, 2, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 1);
    ORM_TEST_OK(run(conn, insert, same, 2, NULL, &info, &err), &err);
    assert_int_equal(info.affected, 1); /* found: only a generated key would tell */
    ORM_TEST_OK(run(conn, "INSERT INTO words (word) VALUES ('a') ON DUPLICATE KEY UPDATE id = id",
                    NULL, 0, NULL, &info, &err),
                &err);
    assert_int_equal(info.last_key, 0);
    assert_true(run(conn, insert, other, 2, NULL, NULL, &err) < 0);
    answer to = ask(conn, "SELECT GROUP_CONCAT(CONCAT(id, word, n) ORDER BY id) FROM words");
    assert_string_equal(to.texts[0], "1a1,2b7");
    drv->close(conn);
}

/* ---- a bad line ---------------------------------------------------------------------------------- */

/* What comes out at the other end: an error, or all of it. */
static proxy_session session(void)
{
    proxy_session self = {
        .driver = drv, .sql = "SELECT REPEAT('x', seq) FROM seq_1_to_40", .rows = 40};
    base_config(&self.config);
    return self;
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    proxy_session self = session();
    proxy_cut_anywhere(&self);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    proxy_session self = session();
    proxy_byte_by_byte(&self);
}

int main(void)
{
    const char *text = getenv("ORM_TEST_MARIADB_URL");
    orm_error err = {0};
    if (!text || !text[0]) {
        printf("skipped: ORM_TEST_MARIADB_URL is not set\n");
        return 77;
    }
    if (orm_url_parse(text, strlen(text), &url, &err) < 0) {
        fprintf(stderr, "ORM_TEST_MARIADB_URL: %s\n", err.message);
        return 1;
    }
    signal(SIGPIPE, SIG_DFL); /* a lost connection must not end a plain program */
    orm_test_repeat_when_asked();
    int failed = conformance_run(&fixture);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_cannot_open),
        cmocka_unit_test(test_deaf_listener),
        cmocka_unit_test(test_column_types),
        cmocka_unit_test(test_zero_dates),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_is_readonly),
        cmocka_unit_test(test_one_statement),
        cmocka_unit_test(test_found_rows_and_keys),
        cmocka_unit_test(test_a_failure_among_rows),
        cmocka_unit_test(test_error_names),
        cmocka_unit_test(test_deadlock),
        cmocka_unit_test(test_lock_wait),
        cmocka_unit_test(test_ddl_ends_a_transaction),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_columns_change),
        cmocka_unit_test(test_text_lookups),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_conflicts),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_byte_by_byte),
    };
    failed += cmocka_run_group_tests_name("mariadb", tests, NULL, NULL);
    new_database(false); /* gone again */
    return failed;
}
