/* test_postgresql.c - the PostgreSQL driver: the conformance suite, and what only a server does.
 *
 * The server is that of ORM_TEST_POSTGRESQL_URL (tests/servers/servers.py starts one); without
 * it the program is skipped. */
#include "client.h"
#include "conformance.h"
#include "driver/postgresql/postgresql.h"
#include "proxy.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS 1000000ull

static const orm_driver *const drv = &orm_postgresql_driver;
static orm_url url;
static PGconn *admin; /* libpq by itself: no allocation of the library */

static bool unprepared; /* with prepare=off */

static orm_conn_config server(void)
{
    static const orm_str name = {"prepare", 7}, off = {"off", 3};
    return (orm_conn_config){.option_names = &name,
                             .option_values = &off,
                             .n_options = unprepared,
                             .database = url.database.ptr,
                             .host = url.host.ptr,
                             .user = url.user.ptr,
                             .password = url.password.ptr,
                             .port = url.port,
                             .connect_timeout_ms = 5000};
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static orm_conn *connect_to_server(void)
{
    orm_conn_config config = server();
    return client_open(drv, &config);
}

static void admin_run(const char *sql)
{
    PGresult *result = PQexec(admin, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(admin));
    PQclear(result);
}

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg, (void)result;
}

static bool admin_connect(const char *text)
{
    admin = PQconnectdb(text);
    PQsetNoticeReceiver(admin, ignore_notice, NULL);
    return PQstatus(admin) == CONNECTION_OK;
}

/* ---- running statements --------------------------------------------------------------------- */

typedef struct answer {
    size_t rows;
    orm_cell cell;    /* the first of the last row … */
    char text[20000]; /* … and a copy of its bytes */
} answer;

static answer got;

static orm_status answer_row(void *self, const orm_cell *cells, orm_error *err)
{
    (void)self, (void)err;
    got.rows++;
    got.cell = cells[0];
    bool bytes = cells[0].kind == ORM_V_TEXT || cells[0].kind == ORM_V_BLOB ||
                 cells[0].kind == ORM_V_UUID;
    size_t len = bytes && cells[0].len < sizeof got.text ? cells[0].len : 0;
    memcpy(got.text, bytes ? cells[0].as.ptr : "", len);
    got.text[len] = '\0';
    return ORM_OK;
}

static orm_status finish(orm_conn *conn, orm_stmt *stmt, orm_exec_info *info, orm_error *err)
{
    orm_row_target target = {answer_row, NULL};
    got.rows = 0;
    return client_finish(conn, stmt, &target, NULL, info, err);
}

static orm_status run_with(orm_conn *conn, const char *sql, const orm_value *params, size_t n,
                           orm_exec_info *info, orm_error *err)
{
    orm_row_target target = {answer_row, NULL};
    got.rows = 0;
    return client_run(conn, sql, params, n, &target, NULL, NULL, info, err);
}

static orm_status run(orm_conn *conn, const char *sql, orm_error *err)
{
    return run_with(conn, sql, NULL, 0, NULL, err);
}

static void run_ok(orm_conn *conn, const char *sql)
{
    orm_error err = {0};
    ORM_TEST_OK(run(conn, sql, &err), &err);
}

/* ---- the fixture ----------------------------------------------------------------------------- */

static void server_config(orm_conn_config *config, bool fresh)
{
    if (fresh) {
        admin_run("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    }
    *config = server();
}

static const conformance fixture = {
    .driver = &orm_postgresql_driver,
    .can = CAN_SQL | CAN_BLOCK | CAN_DEFER | CAN_KEYS | CAN_INFINITY | CAN_DATES,
    .config = server_config,
    .create = "CREATE TABLE item (id SERIAL PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
              "n INTEGER CONSTRAINT positive CHECK (n > 0), "
              "peer INTEGER REFERENCES item(id) DEFERRABLE INITIALLY DEFERRED)",
    .insert = "INSERT INTO item (name, n) VALUES ($1, $2) RETURNING id",
    .insert_peer = "INSERT INTO item (name, peer, n) VALUES ($1, $2, 1)",
    .update = "UPDATE item SET n = $1",
    .remove = "DELETE FROM item WHERE id = $1",
    .select = "SELECT id, name, n FROM item ORDER BY id",
    .begin = "BEGIN",
    .commit = "COMMIT",
    .rollback = "ROLLBACK",
    .echo = "SELECT $1",
    .two_statements = "INSERT INTO item (name, n) VALUES ('two', 1); SELECT 1",
    .with_comment = "SELECT 1 ; /* and */ -- nothing more\n ;",
    .syntax = "SELECT name nick oops FROM item",
    .no_table = "SELECT * FROM nosuch",
    .no_column = "SELECT item.nosuch FROM item",
    .thousand = "SELECT generate_series(1, 1000)",
    .endless = "SELECT pg_sleep(3600)::text",
    .slow_write = "INSERT INTO item (name, n) SELECT 'slow', 1 FROM pg_sleep(0.05)",
};

/* ---- what a text says by itself --------------------------------------------------------------- */

static void test_scan(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        uint32_t n_params;
        bool empty, reads, commits;
    } cases[] = {
        {"", 0, true, false, false},
        {" ;-- a $1\n /* $2 /* $3 */ */ ", 0, true, false, false},
        {"SELECT $1, $12", 12, false, true, false},
        {"  select '$3', \"$4\", $1", 1, false, true, false},
        {"SELECT 'it''s $2', E'\\'$3', $1", 1, false, true, false},
        {"SELECT $$ $5 $$, $tag$ $6 $$ $tag$, $1", 1, false, true, false},
        {"SELECT a$1 FROM b", 0, false, true, false},
        {"(SELECT 1) UNION (SELECT $2)", 2, false, true, false},
        {"SELECT 1 FOR UPDATE", 0, false, false, false},
        {"SELECT 'insert' AS \"update\"", 0, false, true, false},
        {"WITH x AS (DELETE FROM y RETURNING z) SELECT * FROM x", 0, false, false, false},
        {"INSERT INTO x VALUES ($1)", 1, false, false, false},
        {"BEGIN", 0, false, false, false},
        {"COMMIT", 0, false, false, true},
        {"/* so */ end", 0, false, false, true},
        {"SELECT $70000", 65536, false, true, false},
        {"SELECT '", 0, false, true, false},
        {"SELECT $x", 0, false, true, false},
        {"SELECT $x$ $1", 0, false, true, false},
        {"SELECT /*", 0, false, true, false},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        pg_scan scan;
        size_t len = strlen(cases[i].sql);
        char *exact = orm_alloc(len + 1); /* the sanitizer sees a step too far */
        assert_non_null(exact);
        memcpy(exact, cases[i].sql, len);
        pg_scan_sql(exact, len, &scan);
        orm_dealloc(exact);
        bool many = scan.n_params > PG_MAX_PARAMS && cases[i].n_params > PG_MAX_PARAMS;
        if ((scan.n_params != cases[i].n_params && !many) || scan.empty != cases[i].empty ||
            scan.reads != cases[i].reads || scan.commits != cases[i].commits)
            fail_msg("%s: %u parameters, empty %d, reads %d, commits %d", cases[i].sql,
                     scan.n_params, scan.empty, scan.reads, scan.commits);
    }
}

/* ---- values ------------------------------------------------------------------------------------ */

static void test_results(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        int kind;
        int64_t i;
        const char *text;
    } cases[] = {
        {"true", ORM_V_BOOL, 1, ""},
        {"(-5)::int2", ORM_V_INT, -5, ""},
        {"2147483647::int4", ORM_V_INT, INT32_MAX, ""},
        {"(-9223372036854775808)::int8", ORM_V_INT, INT64_MIN, ""},
        {"'a''b'::varchar", ORM_V_TEXT, 0, "a'b"},
        {"'ab'::char(3)", ORM_V_TEXT, 0, "ab "},
        {"'x'::\"char\"", ORM_V_TEXT, 0, "x"},
        {"'abc'::bytea", ORM_V_BLOB, 0, "abc"},
        {"0::numeric", ORM_V_TEXT, 0, "0"},
        {"0.00::numeric(10,2)", ORM_V_TEXT, 0, "0.00"},
        {"-1.5::numeric", ORM_V_TEXT, 0, "-1.5"},
        {"0.0001234::numeric", ORM_V_TEXT, 0, "0.0001234"},
        {"12345678901234567890.000000000123456789", ORM_V_TEXT, 0,
         "12345678901234567890.000000000123456789"},
        {"1e20::numeric", ORM_V_TEXT, 0, "100000000000000000000"},
        {"100000000.00010000::numeric", ORM_V_TEXT, 0, "100000000.00010000"},
        {"'NaN'::numeric", ORM_V_TEXT, 0, "NaN"},
        {"'-Infinity'::numeric", ORM_V_TEXT, 0, "-Infinity"},
        {"'NaN'::float8", ORM_V_TEXT, 0, "NaN"},
        {"'2020-02-29'::date", ORM_V_DATE, 18321, ""},
        {"'0001-01-01'::date", ORM_V_DATE, ORM_DATE_MIN, ""},
        {"'9999-12-31'::date", ORM_V_DATE, ORM_DATE_MAX, ""},
        {"'infinity'::date", ORM_V_TEXT, 0, "infinity"},
        {"'0044-03-15 BC'::date", ORM_V_TEXT, 0, "0044-03-15 BC"},
        {"'10000-01-01'::date", ORM_V_TEXT, 0, "10000-01-01"},
        {"'23:59:59.999999'::time", ORM_V_TIME, 86399999999, ""},
        {"'24:00'::time", ORM_V_TEXT, 0, "24:00:00.000000"},
        {"'10:00+02'::timetz", ORM_V_TEXT, 0, "10:00:00.000000+02:00"},
        {"'1969-12-31 23:59:59.999999'::timestamp", ORM_V_DATETIME, -1, ""},
        {"'1970-01-01 01:00+01'::timestamptz", ORM_V_DATETIMETZ, 0, ""},
        {"'9999-12-31 23:59:59.999999'::timestamp", ORM_V_DATETIME, 253402300799999999, ""},
        {"'-infinity'::timestamptz", ORM_V_TEXT, 0, "-infinity"},
        {"'0001-12-31 10:00 BC'::timestamp", ORM_V_TEXT, 0, "0001-12-31 10:00:00.000000 BC"},
        {"'2 days 1 microsecond'::interval", ORM_V_INTERVAL, 172800000001, ""},
        {"'1 month'::interval", ORM_V_TEXT, 0, "1 months 0 days 0 microseconds"},
        {"'[1, 2]'::json", ORM_V_TEXT, 0, "[1, 2]"},
        {"'{\"a\":1}'::jsonb", ORM_V_TEXT, 0, "{\"a\": 1}"},
        {"'10.0.0.1'::inet", ORM_V_TEXT, 0, "10.0.0.1"},
        {"'10.0.0.0/8'::cidr", ORM_V_TEXT, 0, "10.0.0.0/8"},
        {"'::1'::inet", ORM_V_TEXT, 0, "::1"},
        {"'{00112233-4455-6677-8899-aabbccddeeff}'::uuid::text", ORM_V_TEXT, 0,
         "00112233-4455-6677-8899-aabbccddeeff"},
        {"NULL::int4", ORM_V_NULL, 0, ""},
        {"'sad'::mood", ORM_V_TEXT, 0, "sad"},
        {"42::oid", ORM_V_INT, 42, ""},
    };
    orm_conn *conn = connect_to_server();
    orm_error err = {0};
    run_ok(conn, "DROP TYPE IF EXISTS mood");
    run_ok(conn, "CREATE TYPE mood AS ENUM ('sad', 'it''s \"fine\"')");
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        char sql[200];
        snprintf(sql, sizeof sql, "SELECT %s FROM generate_series(1, 2)", cases[i].sql);
        ORM_TEST_OK(run(conn, sql, &err), &err);
        bool number = cases[i].kind != ORM_V_TEXT && cases[i].kind != ORM_V_BLOB;
        if (got.rows != 2 || got.cell.kind != cases[i].kind ||
            (number && cases[i].kind && got.cell.as.i != cases[i].i) ||
            (!number && strcmp(got.text, cases[i].text) != 0))
            fail_msg("%s: kind %d, %lld, '%s'", sql, got.cell.kind, (long long)got.cell.as.i,
                     got.text);
    }
    run_ok(conn, "DROP TYPE mood");
    drv->close(conn);
}

/* A value into a type; what the server then says it is, as text. */
static void expect_param(orm_conn *conn, orm_value value, const char *type, const char *text)
{
    char sql[100];
    orm_error err = {0};
    snprintf(sql, sizeof sql, "SELECT ($1::%s)::text", type);
    ORM_TEST_OK(run_with(conn, sql, &value, 1, NULL, &err), &err);
    if (strcmp(got.text, text) != 0) fail_msg("%s: '%s', expected '%s'", sql, got.text, text);
}

static void test_parameters(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    orm_value day = {.kind = ORM_V_DATE, .as.i = ORM_DATE_MIN};
    orm_value clock = {.kind = ORM_V_TIME, .as.i = 86399999999};
    orm_value moment = {.kind = ORM_V_DATETIME, .as.i = 253402300799999999};
    orm_value instant = {.kind = ORM_V_DATETIMETZ, .as.i = -1};
    orm_value span = {.kind = ORM_V_INTERVAL, .as.i = 90000000};
    orm_value uuid = {.kind = ORM_V_UUID,
                      .as.ptr = "\x01\x23\x45\x67\x89\xab\xcd\xef"
                                "0123456\xff",
                      .len = 16};
    orm_value numbers[] = {orm_int(1), orm_null(), orm_int(-3)};
    orm_value texts[] = {orm_text("a"), orm_text("b\"\\,"), orm_null()};
    run_ok(conn, "DROP TYPE IF EXISTS mood"); /* of a run that ended half-way */
    run_ok(conn, "CREATE TYPE mood AS ENUM ('sad', 'it''s \"fine\"')");
    expect_param(conn, orm_int(-7), "int2", "-7");
    expect_param(conn, orm_int(7), "numeric", "7");
    expect_param(conn, orm_int(7), "float8", "7");
    expect_param(conn, orm_float(0.1), "numeric", "0.1");
    expect_param(conn, orm_float(0.1), "float4", "0.1");
    expect_param(conn, orm_bool(true), "bool", "true");
    expect_param(conn, orm_text("12345678901234567890.123456789"), "numeric",
                 "12345678901234567890.123456789");
    expect_param(conn, orm_text("10.1.2.3"), "inet", "10.1.2.3/32");
    expect_param(conn, orm_text("[1,  2]"), "json", "[1,  2]");
    expect_param(conn, orm_text("[1,  2]"), "jsonb", "[1, 2]");
    expect_param(conn, orm_text("it's \"fine\""), "mood", "it's \"fine\"");
    expect_param(conn, orm_text("2020-01-02"), "date", "2020-01-02");
    expect_param(conn, orm_bytes("a\0\xff", 3), "bytea", "\\x6100ff");
    expect_param(conn, day, "date", "0001-01-01");
    expect_param(conn, day, "timestamp", "0001-01-01 00:00:00");
    expect_param(conn, clock, "time", "23:59:59.999999");
    expect_param(conn, moment, "timestamp", "9999-12-31 23:59:59.999999");
    expect_param(conn, instant, "timestamptz", "1969-12-31 23:59:59.999999+00");
    expect_param(conn, span, "interval", "00:01:30");
    expect_param(conn, uuid, "uuid", "01234567-89ab-cdef-3031-3233343536ff");
    expect_param(conn, orm_list(numbers, 3), "int4[]", "{1,NULL,-3}");
    expect_param(conn, orm_list(numbers, 3), "int2[]", "{1,NULL,-3}");
    expect_param(conn, orm_list(numbers, 3), "numeric[]", "{1,NULL,-3}");
    expect_param(conn, orm_list(numbers, 0), "int8[]", "{}");
    expect_param(conn, orm_list(texts, 3), "text[]", "{a,\"b\\\"\\\\,\",NULL}");
    expect_param(conn, orm_list(&uuid, 1), "uuid[]", "{01234567-89ab-cdef-3031-3233343536ff}");
    orm_value label = orm_text("sad");
    expect_param(conn, orm_list(&label, 1), "mood[]", "{sad}");
    run_ok(conn, "DROP TYPE mood");

    /* beyond the type: the server says so, and the connection is well */
    orm_error err = {0};
    orm_value big = orm_int(40000), text = orm_text("x");
    assert_int_equal(run_with(conn, "SELECT $1::int2", &big, 1, NULL, &err), ORM_EDATA);
    assert_string_equal(err.sqlstate, "22003");
    assert_int_equal(run_with(conn, "SELECT $1::int4", &text, 1, NULL, &err), ORM_EDATA);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    drv->close(conn);
}

/* One statement, values of many kinds: prepared anew where the types do not fit. */
/* A member for whose text there was no memory must not arrive as an empty one. */
static orm_status list_body(void *arg)
{
    (void)arg;
    orm_conn_config config = server();
    orm_conn *conn = NULL;
    orm_error err = {0};
    orm_value members[] = {orm_int(1), orm_int(-3)}, list = orm_list(members, 2);
    orm_status status = drv->open(&config, &conn, &err);
    if (status >= 0) status = run_with(conn, "SELECT $1::numeric[]::text", &list, 1, NULL, &err);
    if (status >= 0 && strcmp(got.text, "{1,-3}") != 0) status = ORM_EINTERNAL;
    drv->close(conn);
    return status;
}

static void test_lists_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(list_body, NULL);
}

/* What there was no memory for is asked for again the next time. */
static orm_status lead_body(void *arg)
{
    (void)arg;
    orm_conn_config config = server();
    orm_conn *conn = NULL;
    orm_error err = {0};
    orm_status status = drv->open(&config, &conn, &err);
    if (status >= 0) {
        status = drv->lead(conn, "BEGIN", 5, &err);
        size_t before = orm_test_allocations();
        if (status < 0 && drv->lead(conn, "BEGIN", 5, &err) < 0 && orm_test_allocations() == before)
            status = ORM_EINTERNAL;
    }
    drv->close(conn);
    return status;
}

static void test_lead_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(lead_body, NULL);
}

static void test_other_kinds(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    orm_stmt *stmt = NULL;
    orm_error err = {0};
    orm_value values[] = {orm_null(), orm_int(7),     orm_text("x"), orm_bool(true),   orm_int(8),
                          orm_null(), orm_float(0.5), orm_text("y"), orm_bytes("z", 1)};
    ORM_TEST_OK(drv->prepare(conn, "SELECT $1", 9, NULL, &stmt, &err), &err);
    for (size_t i = 0; i < ORM_COUNT(values); i++) {
        ORM_TEST_OK(drv->start(conn, stmt, &values[i], 1, &err), &err);
        ORM_TEST_OK(finish(conn, stmt, NULL, &err), &err);
        assert_int_equal(got.cell.kind, values[i].kind);
        drv->reset(conn, stmt);
    }
    drv->finalize(conn, stmt);
    ORM_TEST_OK(run(conn, "SELECT count(*) FROM pg_prepared_statements", &err), &err);
    /* The others were given back; a name that there is no memory to note goes with the connection. */
    if (!orm_test_lacks_memory()) assert_int_equal(got.cell.as.i, 1);
    drv->close(conn);
}

static void test_big_values(void **state)
{
    (void)state;
    enum {
        BYTES = 20 << 20
    };
    orm_conn *conn = connect_to_server();
    orm_error err = {0};
    char *bytes = orm_alloc0(BYTES);
    assert_non_null(bytes);
    orm_value value = orm_bytes(bytes, BYTES);
    ORM_TEST_OK(run_with(conn, "SELECT length($1::bytea), $1", &value, 1, NULL, &err), &err);
    assert_int_equal(got.cell.as.i, BYTES);
    orm_dealloc(bytes);
    drv->close(conn);
}

static size_t utf8_write(char out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(c | (uint8_t)(0xf00u >> n));
    return n;
}

/* Every character with a case, beside its case folding: what the dialect writes for "without regard
 * to case" takes them for equal, in a database whose locale is C. */
static void test_folding(void **state)
{
    (void)state;
    enum {
        MANY = 4096
    };
    static orm_value texts[MANY], folds[MANY];
    size_t n = 0;
    orm_arena arena;
    orm_buf fold;
    orm_arena_init(&arena, 65536);
    orm_buf_init(&fold, 0);
    for (uint32_t c = 1; c < 0x110000; c++) {
        char text[4];
        if (c >= 0xd800 && c < 0xe000) continue;
        size_t len = utf8_write(text, c);
        orm_buf_reset(&fold);
        orm_utf8_casefold(&fold, text, len);
        ORM_TEST_OK(orm_buf_status(&fold, NULL), NULL);
        if (fold.len == len && memcmp(fold.ptr, text, len) == 0) continue;
        assert_true(n < MANY);
        texts[n] = orm_textn(orm_arena_copy(&arena, text, len), len);
        folds[n] = orm_textn(orm_arena_copy(&arena, fold.ptr, fold.len), fold.len);
        assert_non_null(texts[n].as.ptr);
        assert_non_null(folds[n++].as.ptr);
    }
    assert_true(n > 1400);
    orm_conn *conn = connect_to_server();
    orm_error err = {0};
    orm_value params[] = {orm_list(texts, n), orm_list(folds, n)};
    ORM_TEST_OK(run_with(conn,
                         "SELECT count(*) FROM unnest($1::text[], $2::text[]) AS t(a, b) "
                         "WHERE upper(lower(a COLLATE \"und-x-icu\")) = "
                         "upper(lower(b COLLATE \"und-x-icu\"))",
                         params, 2, NULL, &err),
                &err);
    assert_int_equal(got.cell.as.i, n);
    drv->close(conn);
    orm_buf_dispose(&fold);
    orm_arena_dispose(&arena);
}

/* ---- writes ------------------------------------------------------------------------------------ */

static void test_last_key(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    orm_error err = {0};
    orm_exec_info info;
    run_ok(conn, "CREATE TEMP TABLE made (id BIGSERIAL, t TEXT UNIQUE, n INT)");
    static const struct {
        const char *sql;
        int64_t affected, key;
    } cases[] = {
        {"INSERT INTO made (t) VALUES ('a') RETURNING id", 1, 1},
        {"INSERT INTO made (t) VALUES ('b'), ('c') RETURNING id", 2, 3},
        {"INSERT INTO made (t) VALUES ('d')", 1, 0},
        {"INSERT INTO made (t) VALUES ('a') ON CONFLICT DO NOTHING RETURNING id", 0, 0},
        {"INSERT INTO made (t) VALUES ('e') RETURNING t", 1, 0},
        {"UPDATE made SET n = 1 RETURNING id", 5, 0},
        {"SELECT id FROM made", 0, 0},
        {"DELETE FROM made", 5, 0},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        ORM_TEST_OK(run_with(conn, cases[i].sql, NULL, 0, &info, &err), &err);
        if (info.affected != cases[i].affected || info.last_key != cases[i].key)
            fail_msg("%s: %lld rows, key %lld", cases[i].sql, (long long)info.affected,
                     (long long)info.last_key);
    }
    drv->close(conn);
}

static void test_commit_rolls_back(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    orm_error err = {0};
    run_ok(conn, "BEGIN");
    assert_int_equal(run(conn, "SELECT 1/0", &err), ORM_EDATA);
    assert_int_equal(drv->state(conn), ORM_CONN_FAILED_TX);
    assert_int_equal(run(conn, "SELECT 1", &err), ORM_EROLLEDBACK);
    assert_int_equal(run(conn, "COMMIT", &err), ORM_EROLLEDBACK);
    assert_int_equal(err.outcome, ORM_OUTCOME_ROLLED_BACK);
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    run_ok(conn, "BEGIN");
    run_ok(conn, "COMMIT");
    drv->close(conn);
}

static orm_status lead(orm_conn *conn, const char *sql)
{
    orm_error err = {0};
    return drv->lead(conn, sql, strlen(sql), &err);
}

/* What leads is sent with the next statement, and its failure is that statement's. */
static void test_lead(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    orm_error err = {0};
    run_ok(conn, "CREATE TEMP TABLE led (n INT)");
    assert_int_equal(lead(conn, "BEGIN"), ORM_OK);
    assert_int_equal(lead(conn, "SAVEPOINT a"), ORM_OK);
    assert_int_equal(drv->state(conn), ORM_CONN_IN_TX);
    run_ok(conn, "INSERT INTO led VALUES (1)");
    assert_int_equal(drv->state(conn), ORM_CONN_IN_TX);
    run_ok(conn, "ROLLBACK TO a");
    run_ok(conn, "COMMIT");
    assert_int_equal(lead(conn, "SAVEPOINT outside"), ORM_OK);
    assert_true(run(conn, "INSERT INTO led VALUES (2)", &err) < 0);
    assert_string_equal(err.sqlstate, "25P01");
    assert_int_equal(drv->state(conn), ORM_CONN_IDLE);
    assert_int_equal(lead(conn, "BEGIN"), ORM_OK);
    assert_true(run(conn, "SELECT 1/0", &err) < 0);
    assert_int_equal(drv->state(conn), ORM_CONN_FAILED_TX);
    assert_int_equal(lead(conn, "SAVEPOINT b"), ORM_EROLLEDBACK);
    run_ok(conn, "ROLLBACK");
    run_ok(conn, "SELECT count(*) FROM led");
    assert_int_equal(got.cell.as.i, 0);
    drv->close(conn);
}

/* Between lead and the next statement there is nothing on the server. */
static void test_lead_alone_sends_nothing(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    run_ok(conn, "SELECT pg_backend_pid()");
    char sql[128];
    snprintf(sql, sizeof sql,
             "SELECT 1/(count(*))::int FROM pg_stat_activity WHERE pid = %lld "
             "AND xact_start IS NULL",
             (long long)got.cell.as.i);
    assert_int_equal(lead(conn, "BEGIN"), ORM_OK);
    admin_run(sql);
    drv->close(conn);
}

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        orm_status status;
    } cases[] = {
        {"08006", ORM_ECONNLOST},     {"08001", ORM_ECONNECT},     {"08007", ORM_ECOMMITUNKNOWN},
        {"0A000", ORM_ENOTSUPPORTED}, {"22001", ORM_EDATA},        {"22P02", ORM_EDATA},
        {"23000", ORM_EINTEGRITY},    {"23502", ORM_ENOTNULL},     {"23503", ORM_EFOREIGNKEY},
        {"23505", ORM_EUNIQUE},       {"23514", ORM_ECHECK},       {"23P01", ORM_EEXCLUSION},
        {"25006", ORM_EOPERATIONAL},  {"25P02", ORM_EROLLEDBACK},  {"25P03", ORM_ECONNLOST},
        {"26000", ORM_ECACHEDSTMT},   {"28P01", ORM_EAUTH},        {"40001", ORM_ESERIALIZATION},
        {"40P01", ORM_EDEADLOCK},     {"42601", ORM_ESYNTAX},      {"42703", ORM_ENOCOLUMN},
        {"42P01", ORM_ENOTABLE},      {"42501", ORM_EPROGRAMMING}, {"42P05", ORM_ECACHEDSTMT},
        {"53100", ORM_EDISKFULL},     {"53300", ORM_ECONNECT},     {"54001", ORM_ETOOCOMPLEX},
        {"55P03", ORM_ELOCKTIMEOUT},  {"57014", ORM_ECANCELLED},   {"57P01", ORM_ECONNLOST},
        {"57P03", ORM_ECONNECT},      {"58030", ORM_EOPERATIONAL}, {"XX001", ORM_EINTERNAL},
        {"99999", ORM_EDATABASE},     {"P0001", ORM_EDATABASE},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_status status = pg_class(cases[i].sqlstate);
        if (status != cases[i].status)
            fail_msg("%s: %s", cases[i].sqlstate, orm_status_name(status));
    }
}

/* ---- statements that the server no longer takes ------------------------------------------------- */

static void test_cached_statement(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    orm_stmt *stmt = NULL;
    orm_error err = {0};
    static const char select[] = "SELECT * FROM grows";
    run_ok(conn, "CREATE TEMP TABLE grows AS SELECT 1 AS a");
    ORM_TEST_OK(drv->prepare(conn, select, strlen(select), NULL, &stmt, &err), &err);
    for (int round = 0; round < 2; round++) {
        ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
        ORM_TEST_OK(finish(conn, stmt, NULL, &err), &err);
        drv->reset(conn, stmt);
        run_ok(conn, round ? "DEALLOCATE ALL" : "ALTER TABLE grows ADD b INT");
        ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
        assert_int_equal(finish(conn, stmt, NULL, &err), ORM_ECACHEDSTMT);
        assert_true(err.flags & ORM_ERROR_RETRYABLE);
        drv->reset(conn, stmt);
        ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
        ORM_TEST_OK(finish(conn, stmt, NULL, &err), &err);
        assert_int_equal(drv->column_count(stmt), 2);
        drv->reset(conn, stmt);
    }
    assert_int_equal(run(conn, "SELECT 'x'::nosuchtype", &err), ORM_EPROGRAMMING);
    assert_int_equal(run(conn, "COPY grows FROM STDIN", &err), ORM_ENOTSUPPORTED);
    assert_int_equal(drv->state(conn), ORM_CONN_BROKEN);
    drv->close(conn);
}

/* ---- connections ------------------------------------------------------------------------------- */

static void test_lost(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    orm_error err = {0};
    orm_value pid;
    char kill[80];
    ORM_TEST_OK(run(conn, "SELECT pg_backend_pid()", &err), &err);
    pid = orm_int(got.cell.as.i);
    snprintf(kill, sizeof kill, "SELECT pg_terminate_backend(%d)", (int)pid.as.i);
    run_ok(conn, "BEGIN");
    admin_run(kill);
    conformance_wait_hangup(conn);
    orm_status status = run(conn, "DELETE FROM pg_class WHERE false", &err);
    assert_int_equal(status, ORM_ECONNLOST);
    assert_true(err.flags & ORM_ERROR_DISCONNECT);
    assert_int_equal(err.outcome, ORM_OUTCOME_ROLLED_BACK);
    assert_int_equal(drv->state(conn), ORM_CONN_BROKEN);
    assert_int_equal(run(conn, "SELECT 1", &err), ORM_ECONNLOST);
    drv->close(conn);
}

static void expect_refused(const orm_conn_config *config, orm_status expected, const char *sqlstate)
{
    orm_conn *conn = NULL;
    orm_error err = {0};
    uint64_t began = orm_now_ns();
    orm_status status = drv->open(config, &conn, &err);
    if (status != expected)
        fail_msg("%s (%s), expected %s", orm_status_name(status), err.message,
                 orm_status_name(expected));
    assert_null(conn);
    assert_string_equal(err.sqlstate, sqlstate);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    assert_null(strstr(err.message, "canary"));
    assert_null(strstr(err.message, url.password.ptr));
    assert_int_equal(drv->open(config, &conn, NULL), expected);
}

static void test_refused(void **state)
{
    (void)state;
    orm_conn_config config = server();
    config.password = "canary-7";
    expect_refused(&config, ORM_EAUTH, "28P01");
    config = server();
    config.user = "nobody-of-that-name";
    expect_refused(&config, ORM_EAUTH, "28P01");
    config = server();
    config.database = "nosuch";
    expect_refused(&config, ORM_ECONNECT, "3D000");
    config = server();
    config.host = "/nonexistent";
    expect_refused(&config, ORM_ECONNECT, "");

    orm_str name = {"ssl", 3}, value = {"verify-full", 11};
    config = server();
    config.option_names = &name;
    config.option_values = &value;
    config.n_options = 1;
    expect_refused(&config, ORM_ETLS, ""); /* the server has none */
    value = (orm_str){"perhaps", 7};
    expect_refused(&config, ORM_ECONFIG, "");
    name = (orm_str){"nosuch", 6};
    expect_refused(&config, ORM_ECONFIG, "");
}

/* Who accepts and says nothing is given up at the deadline; who does not listen, at once. */
static void test_deaf(void **state)
{
    (void)state;
    struct sockaddr_in address = loopback(0);
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    orm_conn_config config = server();
    config.host = "127.0.0.1";
    config.port = ntohs(address.sin_port);
    config.connect_timeout_ms = 150;
    expect_refused(&config, ORM_ECONNECT, "");
    assert_int_equal(listen(fd, 4), 0);
    uint64_t began = orm_now_ns();
    expect_refused(&config, ORM_ECONNECT, "");
    assert_true(orm_now_ns() - began >= 300 * MS); /* twice */
    close(fd);
}

static void test_options(void **state)
{
    (void)state;
    orm_str names[] = {{"statement_timeout", 17}, {"application_name", 16}};
    orm_str values[] = {{"60", 2}, {"mine", 4}};
    orm_conn_config config = server();
    orm_conn *conn = NULL;
    orm_error err = {0};
    config.option_names = names;
    config.option_values = values;
    config.n_options = 2;
    config.read_only = true;
    ORM_TEST_OK(drv->open(&config, &conn, &err), &err);
    assert_int_equal(run(conn, "SELECT pg_sleep(5)", &err), ORM_ECANCELLED);
    assert_int_equal(run(conn, "CREATE TABLE t (i INT)", &err), ORM_EOPERATIONAL);
    assert_string_equal(err.sqlstate, "25006");
    ORM_TEST_OK(run(conn, "SHOW application_name", &err), &err);
    assert_string_equal(got.text, "mine");
    ORM_TEST_OK(run(conn, "SHOW client_encoding", &err), &err);
    assert_string_equal(got.text, "UTF8");
    ORM_TEST_OK(run(conn, "SHOW timezone", &err), &err);
    assert_string_equal(got.text, "UTC");
    drv->close(conn);
}

/* Two statements at a time are one too many; a message of the server is nobody's. */
static void test_one_at_a_time(void **state)
{
    (void)state;
    orm_conn *conn = connect_to_server();
    orm_stmt *slow = NULL;
    orm_error err = {0};
    static const char sql[] = "SELECT pg_sleep(0.05)";
    ORM_TEST_OK(drv->prepare(conn, sql, strlen(sql), NULL, &slow, &err), &err);
    ORM_TEST_OK(drv->start(conn, slow, NULL, 0, &err), &err);
    assert_true(client_wants(drv->step(conn, slow, NULL, &(orm_budget){0}, NULL, &err)));
    assert_int_equal(run(conn, "SELECT 1", &err), ORM_EMISUSE);
    ORM_TEST_OK(finish(conn, slow, NULL, &err), &err);
    drv->finalize(conn, slow);
    run_ok(conn, "DO 'BEGIN RAISE WARNING ''not on stderr''; END'");
    run_ok(conn, "LISTEN here");
    run_ok(conn, "NOTIFY here");
    run_ok(conn, "SELECT 1");
    drv->close(conn);
}

/* ---- a bad line ---------------------------------------------------------------------------------- */

/* What comes out at the other end: an error, or all of it. */
static proxy_session session(void)
{
    return (proxy_session){.driver = drv,
                           .config = server(),
                           .sql = "SELECT repeat('x', i) FROM generate_series(1, 40) i",
                           .rows = 40,
                           .tls = true};
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
    orm_error err = {0};
    const char *text = getenv("ORM_TEST_POSTGRESQL_URL");
    if (!text) {
        printf("1..0 # SKIP ORM_TEST_POSTGRESQL_URL names no server\n");
        return 77;
    }
    if (orm_url_parse(text, strlen(text), &url, &err) < 0) {
        printf("ORM_TEST_POSTGRESQL_URL: %s\n", err.message);
        return 1;
    }
    if (!admin_connect(text)) {
        printf("ORM_TEST_POSTGRESQL_URL: the server does not answer\n");
        return 1;
    }
    orm_test_repeat_when_asked();
    int failed = conformance_run(&fixture);
    unprepared = true;
    failed += conformance_run(&fixture);
    unprepared = false;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_lists_without_memory),
        cmocka_unit_test(test_lead_without_memory),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_big_values),
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_last_key),
        cmocka_unit_test(test_commit_rolls_back),
        cmocka_unit_test(test_lead),
        cmocka_unit_test(test_lead_alone_sends_nothing),
        cmocka_unit_test(test_cached_statement),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_deaf),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_byte_by_byte),
    };
    failed += cmocka_run_group_tests_name("postgresql alone", tests, NULL, NULL);
    PQfinish(admin);
    return failed;
}
