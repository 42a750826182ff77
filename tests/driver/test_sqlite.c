/* test_sqlite.c - the SQLite driver: the conformance suite, and what only files can do. */
#include "client.h"
#include "conformance.h"
#include "driver/driver_internal.h"
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000ull
#define COUNT_TO(n) \
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < " n ") "

static char folder[64], path[128];
static int n_paths;

static const char *new_path(void)
{
    snprintf(path, sizeof(path), "%s/db%d-%d", folder, ++n_paths, (int)getpid());
    return path;
}

static void file_config(orm_conn_config *config, bool fresh)
{
    config->database = fresh ? new_path() : path;
}

static const conformance fixture = {
    .driver = &orm_sqlite_driver,
    .can = CAN_SQL | CAN_LOCK | CAN_BLOCK | CAN_REWIND | CAN_DEFER | CAN_KEYS | CAN_INFINITY |
           CAN_NUL,
    .config = file_config,
    .create = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
              "n INTEGER CONSTRAINT positive CHECK (n > 0), "
              "peer INTEGER REFERENCES item(id) DEFERRABLE INITIALLY DEFERRED)",
    .insert = "INSERT INTO item (name, n) VALUES (?, ?)",
    .insert_peer = "INSERT INTO item (name, peer, n) VALUES (?, ?, 1)",
    .update = "UPDATE item SET n = ?",
    .remove = "DELETE FROM item WHERE id = ?",
    .select = "SELECT id, name, n FROM item ORDER BY id",
    .insert_rollback = "INSERT OR ROLLBACK INTO item (name, n) VALUES (?, ?)",
    .begin = "BEGIN IMMEDIATE",
    .commit = "COMMIT",
    .rollback = "ROLLBACK",
    .echo = "SELECT ?",
    .two_statements = "INSERT INTO item (name, n) VALUES ('two', 1); SELECT 1",
    .with_comment = "SELECT 1 ; /* and */ -- nothing more\n ;",
    .syntax = "SELECT name nick oops FROM item",
    .no_table = "SELECT * FROM nosuch",
    .no_column = "SELECT item.nosuch FROM item",
    .thousand = COUNT_TO("1000") "SELECT i FROM c",
    .slow_read = COUNT_TO("2000000") "SELECT count(*) FROM c",
    .endless = COUNT_TO("1000000000000") "SELECT count(*) FROM c",
    .slow_write = COUNT_TO("300000") "INSERT INTO item (name, n) SELECT 'slow', count(*) FROM c",
};

/* ---- helpers ------------------------------------------------------------------------------- */

static const orm_driver *const drv = &orm_sqlite_driver;

static orm_status open_path(const char *database, orm_conn **out, orm_error *err)
{
    orm_conn_config config = {.database = database, .create = true, .busy_timeout_ms = 50};
    *out = NULL;
    return drv->open(&config, out, err);
}

typedef struct answer {
    int64_t i;
    char text[64];
    size_t rows;
} answer;

static orm_status answer_row(void *self, const orm_cell *cells, orm_error *err)
{
    (void)err;
    answer *to = self;
    to->rows++;
    if (cells[0].kind == ORM_V_INT) to->i = cells[0].as.i;
    if (cells[0].kind == ORM_V_TEXT) client_copy_text(&cells[0], to->text, sizeof(to->text));
    return ORM_OK;
}

static orm_status ask_with(orm_conn *conn, const char *sql, answer *to, orm_exec_info *info,
                           orm_error *err)
{
    orm_row_target target = {answer_row, to};
    return client_run(conn, sql, NULL, 0, &target, NULL, NULL, info, err);
}

static answer ask(orm_conn *conn, const char *sql)
{
    answer to = {0};
    orm_error err = {0};
    ORM_TEST_OK(ask_with(conn, sql, &to, NULL, &err), &err);
    return to;
}

static orm_status try_sql(orm_conn *conn, const char *sql, orm_error *err)
{
    answer to = {0};
    *err = (orm_error){0};
    return ask_with(conn, sql, &to, NULL, err);
}

static void expect_open(const char *database, orm_status expected, const char *word)
{
    orm_conn *conn = NULL;
    orm_error err = {0};
    orm_status status = open_path(database, &conn, &err);
    if (status != expected)
        fail_msg("%s: %s (%s), expected %s", database, orm_status_name(status), err.message,
                 orm_status_name(expected));
    assert_null(conn);
    if (word && !strstr(err.message, word)) fail_msg("'%s' is not in: %s", word, err.message);
    assert_int_equal(open_path(database, &conn, NULL), expected);
}

static void write_file(const char *name, const void *bytes, size_t len)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

/* ---- settings -------------------------------------------------------------------------------- */

static void test_defaults(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    assert_string_equal(ask(conn, "PRAGMA journal_mode").text, "wal");
    assert_int_equal(ask(conn, "PRAGMA synchronous").i, 2);
    assert_int_equal(ask(conn, "PRAGMA foreign_keys").i, 1);
    assert_int_equal(ask(conn, "PRAGMA trusted_schema").i, 0);
    assert_int_equal(ask(conn, "PRAGMA wal_autocheckpoint").i, 0);
    assert_int_equal(try_sql(conn, "SELECT \"nosuch\"", &err), ORM_ENOCOLUMN);
    assert_true(try_sql(conn, "ATTACH 'other.db' AS other", &err) < 0);
    assert_true(try_sql(conn, "SELECT load_extension('x')", &err) < 0);
    assert_true(drv->max_params(conn) >= 999);
    drv->close(conn);
    /* in WAL from now on, and a new connection leaves it so */
    ORM_TEST_OK(open_path(path, &conn, &err), &err);
    assert_string_equal(ask(conn, "PRAGMA journal_mode").text, "wal");
    drv->close(conn);
}

static orm_status open_option(const char *name, const char *value, orm_conn **out, orm_error *err)
{
    orm_str names[] = {{name, strlen(name)}}, values[] = {{value, strlen(value)}};
    orm_conn_config config = {.database = path,
                              .create = true,
                              .busy_timeout_ms = 50,
                              .option_names = names,
                              .option_values = values,
                              .n_options = 1};
    *out = NULL;
    return drv->open(&config, out, err);
}

static void test_options(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *pragma, *text;
        int64_t i;
    } good[] = {
        {"journal_mode", "delete", "PRAGMA journal_mode", "delete", 0},
        {"journal_mode", "TRUNCATE", "PRAGMA journal_mode", "truncate", 0},
        {"journal_mode", "wal", "PRAGMA journal_mode", "wal", 0},
        {"synchronous", "normal", "PRAGMA synchronous", "", 1},
        {"synchronous", "extra", "PRAGMA synchronous", "", 3},
        {"synchronous", "off", "PRAGMA synchronous", "", 0},
        {"foreign_keys", "off", "PRAGMA foreign_keys", "", 0},
        {"foreign_keys", "true", "PRAGMA foreign_keys", "", 1},
    };
    static const struct {
        const char *name, *value;
    } bad[] = {
        {"journal_mode", "off"},    {"journal_mode", "wal; DROP TABLE x"}, {"synchronous", ""},
        {"synchronous", "fullest"}, {"foreign_keys", "perhaps"},           {"cache", "shared"},
    };
    new_path();
    for (size_t i = 0; i < ORM_COUNT(good); i++) {
        orm_conn *conn;
        orm_error err = {0};
        ORM_TEST_OK(open_option(good[i].name, good[i].value, &conn, &err), &err);
        answer now = ask(conn, good[i].pragma);
        assert_string_equal(now.text, good[i].text);
        assert_int_equal(now.i, good[i].i);
        drv->close(conn);
    }
    for (size_t i = 0; i < ORM_COUNT(bad); i++) {
        orm_conn *conn;
        orm_error err = {0};
        assert_int_equal(open_option(bad[i].name, bad[i].value, &conn, &err), ORM_ECONFIG);
        assert_non_null(strstr(err.message, bad[i].name));
    }
}

static void test_journal_mode_is_left_alone(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    new_path();
    ORM_TEST_OK(open_option("journal_mode", "delete", &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x)");
    drv->close(conn);
    ORM_TEST_OK(open_path(path, &conn, &err), &err);
    assert_string_equal(ask(conn, "PRAGMA journal_mode").text, "delete");
    drv->close(conn);
}

static void test_traits(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        uint32_t traits;
    } cases[] = {
        {"synchronous", "full", ORM_TRAIT_CONCURRENT | ORM_TRAIT_DURABLE}, /* a new file: WAL */
        {"synchronous", "normal", ORM_TRAIT_CONCURRENT},
        {"journal_mode", "delete", ORM_TRAIT_DURABLE},
        {"synchronous", "off", 0},
    };
    new_path();
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_conn *conn;
        orm_error err = {0};
        ORM_TEST_OK(open_option(cases[i].name, cases[i].value, &conn, &err), &err);
        assert_int_equal(drv->traits(conn), cases[i].traits);
        drv->close(conn);
    }
}

/* A setting that cannot take is an error, not a different setting. */
static void test_option_that_does_not_take(void **state)
{
    (void)state;
    orm_str names[] = {{"journal_mode", 12}}, values[] = {{"wal", 3}};
    orm_conn_config config = {.database = "file:/taken?vfs=memdb",
                              .memory = true,
                              .create = true,
                              .option_names = names,
                              .option_values = values,
                              .n_options = 1};
    orm_conn *conn = NULL;
    orm_error err = {0};
    assert_int_equal(drv->open(&config, &conn, &err), ORM_ECONFIG);
    assert_non_null(strstr(err.message, "journal_mode"));
}

/* ---- names of files --------------------------------------------------------------------------- */

static void test_paths_are_no_uris(void **state)
{
    (void)state;
    static const char *const names[] = {"file:plain.db", ":memory:", "file:x?mode=memory", "a%20b"};
    char here[256];
    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(chdir(folder), 0);
    for (size_t i = 0; i < ORM_COUNT(names); i++) {
        orm_conn *conn;
        orm_error err = {0};
        struct stat info;
        ORM_TEST_OK(open_path(names[i], &conn, &err), &err);
        if (stat(names[i], &info) != 0) fail_msg("'%s' is not a file of that name", names[i]);
        drv->close(conn);
    }
    assert_int_equal(chdir(here), 0);
}

static void test_memory(void **state)
{
    (void)state;
    orm_conn_config config = {.database = "file:/shared?vfs=memdb", .memory = true, .create = true};
    orm_conn *a = NULL, *b = NULL;
    orm_error err = {0};
    ORM_TEST_OK(drv->open(&config, &a, &err), &err);
    ORM_TEST_OK(drv->open(&config, &b, &err), &err);
    ask(a, "CREATE TABLE t AS SELECT 42 AS x");
    assert_int_equal(ask(b, "SELECT x FROM t").i, 42);
    assert_ptr_equal(drv->write_counter(a), drv->write_counter(b));
    config.database = "file:/other?vfs=memdb";
    drv->close(b);
    ORM_TEST_OK(drv->open(&config, &b, &err), &err);
    assert_int_equal(try_sql(b, "SELECT x FROM t", &err), ORM_ENOTABLE);
    assert_ptr_not_equal(drv->write_counter(a), drv->write_counter(b));
    drv->close(a);
    drv->close(b);
}

/* Two names of one file are one file. */
static void test_file_registry(void **state)
{
    (void)state;
    char link_path[160];
    orm_conn *a, *b;
    orm_error err = {0};
    ORM_TEST_OK(open_path(new_path(), &a, &err), &err);
    snprintf(link_path, sizeof(link_path), "%s-link", path);
    assert_int_equal(symlink(path, link_path), 0);
    ORM_TEST_OK(open_path(link_path, &b, &err), &err);
    assert_ptr_equal(drv->write_counter(a), drv->write_counter(b));
    drv->close(a);
    assert_int_equal(*drv->write_counter(b), 0);
    drv->close(b);
}

/* ---- files that cannot be used ----------------------------------------------------------------- */

static void test_cannot_open(void **state)
{
    (void)state;
    char name[200];
    snprintf(name, sizeof(name), "%s/missing/db", folder);
    expect_open(name, ORM_ECONNECT, "directory does not exist");
    expect_open(folder, ORM_ECONNECT, "it is a directory");
    expect_open("", ORM_ECONFIG, "expected a path");
    write_file(new_path(), "x", 1);
    snprintf(name, sizeof(name), "%s/db", path);
    expect_open(name, ORM_ECONNECT, "not a directory");

    orm_conn_config config = {.database = new_path(), .busy_timeout_ms = 50};
    orm_conn *conn = NULL;
    orm_error err = {0};
    assert_int_equal(drv->open(&config, &conn, &err), ORM_ECONNECT);
    assert_non_null(strstr(err.message, "no such file"));
    assert_int_equal(err.native & 0xff, SQLITE_CANTOPEN);
    assert_string_equal(err.backend, "sqlite");
    config.read_only = config.create = true; /* nothing is created for reading */
    assert_int_equal(drv->open(&config, &conn, &err), ORM_ECONNECT);
}

static void test_not_a_database(void **state)
{
    (void)state;
    char bytes[8192];
    memset(bytes, 'x', sizeof(bytes));
    write_file(new_path(), bytes, sizeof(bytes));
    expect_open(path, ORM_EINTERNAL, NULL);
}

static void test_truncated(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x)");
    ask(conn,
        COUNT_TO("2000") "INSERT INTO t SELECT 'a long enough text to fill pages ' || i FROM c");
    drv->close(conn);
    assert_int_equal(truncate(path, 3 * 4096 + 100), 0);
    orm_status status = open_path(path, &conn, &err);
    if (status >= 0) {
        status = try_sql(conn, "SELECT count(x), max(x) FROM t", &err);
        assert_int_equal(drv->state(conn), ORM_CONN_BROKEN);
    }
    drv->close(conn);
    assert_int_equal(status, ORM_EINTERNAL);
    assert_int_equal(err.native & 0xff, SQLITE_CORRUPT);
}

/* Damage anywhere: an error or an answer, never a crash (the sanitizers watch). */
static void test_damaged(void **state)
{
    (void)state;
    static char good[65536], bad[65536];
    orm_conn *conn;
    orm_error err = {0};
    new_path();
    ORM_TEST_OK(open_option("journal_mode", "delete", &conn, &err), &err);
    ask(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT UNIQUE)");
    ask(conn, COUNT_TO("300") "INSERT INTO t (x) SELECT 'text number ' || i FROM c");
    drv->close(conn);
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, good, sizeof(good));
    close(fd);
    assert_true(len > 8192);
    uint64_t random = 42;
    for (int round = 0; round < 400; round++) {
        memcpy(bad, good, (size_t)len);
        for (int i = 0; i < 1 + round % 20; i++) {
            random = orm_hash_mix(random, (uint64_t)round);
            /* half of the damage where the structure is */
            size_t at = (size_t)(random >> 8) % (size_t)(i % 2 ? 200 : len);
            bad[at] = (char)random;
        }
        write_file(new_path(), bad, (size_t)len);
        orm_status status = open_path(path, &conn, &err);
        if (status >= 0) {
            answer to = {0};
            ask_with(conn, "SELECT count(*), max(x) FROM t WHERE x LIKE '%9%'", &to, NULL, &err);
            ask_with(conn, "INSERT INTO t (x) VALUES ('new')", &to, NULL, &err);
            ask_with(conn, "DELETE FROM t WHERE id % 3 = 0", &to, NULL, &err);
        }
        drv->close(conn);
        unlink(path);
    }
}

/* The file may not grow: an error of the device, and the connection says that it must go. */
static void test_file_size_limit(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    struct rlimit before, small;
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x)");
    ask(conn, "INSERT INTO t VALUES (1)");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){100000, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    orm_status status = try_sql(conn, "INSERT INTO t VALUES (randomblob(1000000))", &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, ORM_EOPERATIONAL);
    assert_int_equal(err.native & 0xff, SQLITE_IOERR);
    assert_int_equal(drv->state(conn), ORM_CONN_BROKEN);
    drv->close(conn);
    ORM_TEST_OK(open_path(path, &conn, &err), &err);
    assert_int_equal(ask(conn, "SELECT count(*) FROM t").i, 1);
    drv->close(conn);
}

static void test_read_only(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    new_path();
    ORM_TEST_OK(open_option("journal_mode", "delete", &conn, &err), &err);
    ask(conn, "CREATE TABLE t AS SELECT 1 AS x");
    drv->close(conn);
    orm_conn_config config = {.database = path, .read_only = true};
    ORM_TEST_OK(drv->open(&config, &conn, &err), &err);
    assert_int_equal(ask(conn, "SELECT x FROM t").i, 1);
    assert_int_equal(try_sql(conn, "INSERT INTO t VALUES (2)", &err), ORM_EOPERATIONAL);
    assert_int_equal(err.native & 0xff, SQLITE_READONLY);
    drv->close(conn);

    if (geteuid() == 0) skip(); /* for root every file is writable */
    assert_int_equal(chmod(path, 0444), 0);
    ORM_TEST_OK(open_path(path, &conn, &err), &err);
    assert_int_equal(try_sql(conn, "INSERT INTO t VALUES (2)", &err), ORM_EOPERATIONAL);
    drv->close(conn);
    assert_int_equal(chmod(path, 0), 0);
    expect_open(path, ORM_ECONNECT, "permission denied");
}

/* Another process holds the file: waiting is bounded, and opening succeeds afterwards. */
static void test_locked_by_another_process(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    int ready[2], go[2];
    char byte = 'x';
    new_path();
    ORM_TEST_OK(open_option("journal_mode", "delete", &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x)");
    drv->close(conn);
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        sqlite3 *db;
        if (sqlite3_open(path, &db) || sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL))
            _exit(1);
        if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(2);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    uint64_t began = orm_now_ns();
    assert_int_equal(open_path(path, &conn, &err), ORM_ELOCKTIMEOUT);
    uint64_t took = orm_now_ns() - began;
    assert_true(took >= 50 * MS && took < ORM_TEST_SOON_NS);
    assert_true(err.flags & ORM_ERROR_RETRYABLE);
    assert_int_equal(err.native & 0xff, SQLITE_BUSY);
    int status;
    assert_int_equal(write(go[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ORM_TEST_OK(open_path(path, &conn, &err), &err);
    drv->close(conn);
    close(ready[0]), close(ready[1]), close(go[0]), close(go[1]);
}

static void test_disk_full(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x)");
    ask(conn, "PRAGMA max_page_count = 10");
    ask(conn, "BEGIN IMMEDIATE");
    ask(conn, "INSERT INTO t VALUES ('kept?')");
    assert_int_equal(try_sql(conn, "INSERT INTO t VALUES (randomblob(200000))", &err),
                     ORM_EDISKFULL);
    assert_int_equal(err.native, SQLITE_FULL);
    /* SQLite decides whether the transaction has survived; state and outcome agree */
    bool lost = drv->state(conn) == ORM_CONN_IDLE;
    assert_int_equal(err.outcome, lost ? ORM_OUTCOME_ROLLED_BACK : ORM_OUTCOME_NONE);
    if (!lost) ask(conn, "COMMIT");
    assert_int_equal(ask(conn, "SELECT count(*) FROM t").i, lost ? 0 : 1);
    ask(conn, "PRAGMA max_page_count = 1000");
    ask(conn, "INSERT INTO t VALUES (randomblob(200000))");
    drv->close(conn);
}

/* The file was removed under us: the connection says that it must go. */
static void test_unlinked(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    new_path();
    ORM_TEST_OK(open_option("journal_mode", "delete", &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x)");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_sql(conn, "INSERT INTO t VALUES (1)", &err), ORM_EOPERATIONAL);
    assert_int_equal(err.native, SQLITE_READONLY_DBMOVED);
    assert_int_equal(drv->state(conn), ORM_CONN_BROKEN);
    drv->close(conn);
}

/* ---- statements -------------------------------------------------------------------------------- */

static void test_generated_keys(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    orm_exec_info info;
    answer to = {0};
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ask(conn, "CREATE TABLE a (id INTEGER PRIMARY KEY, x UNIQUE)");
    ask(conn, "CREATE TABLE b (id INTEGER PRIMARY KEY, a)");
    ask(conn, "CREATE TABLE w (k TEXT PRIMARY KEY) WITHOUT ROWID");
    static const struct {
        const char *sql;
        int64_t affected, key;
    } cases[] = {
        {"INSERT INTO a (x) VALUES (1)", 1, 1},
        {"INSERT INTO b (a) VALUES (last_insert_rowid())", 1, 1}, /* the same key again */
        {"INSERT INTO a (x) VALUES (1) ON CONFLICT DO NOTHING", 0, 0},
        {"INSERT INTO w VALUES ('k')", 1, 0},
        {"INSERT INTO a (x) VALUES (2), (3)", 2, 3},
        {"CREATE TABLE c (x)", 0, 0},
        {"UPDATE a SET x = x + 10", 3, 0},
        {"INSERT INTO b (a) VALUES (last_insert_rowid())", 1, 2}, /* still a's 3 */
        {"INSERT INTO a (x) VALUES (13) ON CONFLICT (x) DO UPDATE SET x = 99", 1, 0},
        {"DELETE FROM a", 3, 0},
        {"DROP TABLE c", 0, 0},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        info = (orm_exec_info){.affected = 77, .last_key = 77};
        ORM_TEST_OK(ask_with(conn, cases[i].sql, &to, &info, &err), &err);
        bool keeps = strstr(cases[i].sql, "last_insert_rowid") != NULL;
        if (info.affected != cases[i].affected || (!keeps && info.last_key != cases[i].key))
            fail_msg("%s: %d rows, key %d", cases[i].sql, (int)info.affected, (int)info.last_key);
    }
    assert_int_equal(ask(conn, "SELECT a FROM b WHERE id = 2").i, 3);
    drv->close(conn);
}

/* SQLite asks once more whether to stop after a statement has committed: an error must mean that
 * nothing was written, whenever the deadline falls. */
static void test_deadlines_of_writes_tell_the_truth(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    static const char sql[] = "INSERT INTO t VALUES (NULL)";
    orm_stmt *stmt;
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x INTEGER PRIMARY KEY)");
    ask(conn, "PRAGMA synchronous = off");
    ORM_TEST_OK(drv->prepare(conn, sql, strlen(sql), NULL, &stmt, &err), &err);
    int64_t done = 0;
    for (unsigned i = 0; i < 60000; i++) {
        orm_budget budget = {.deadline_ns = orm_now_ns() + 1000 + i % 97 * 200};
        ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
        orm_status status = drv->step(conn, stmt, NULL, &budget, NULL, &err);
        drv->reset(conn, stmt);
        assert_true(status == ORM_DONE || status == ORM_EQUERYTIMEOUT);
        done += status == ORM_DONE;
    }
    drv->finalize(conn, stmt);
    assert_int_equal(ask(conn, "SELECT count(*) FROM t").i, done);
    drv->close(conn);
}

/* The schema changes under a prepared statement. */
static void test_columns_change(void **state)
{
    (void)state;
    orm_conn *conn, *other;
    orm_error err = {0};
    answer to = {0};
    orm_row_target target = {answer_row, &to};
    orm_budget budget = {0};
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ORM_TEST_OK(open_path(path, &other, &err), &err);
    ask(conn, "CREATE TABLE t AS SELECT 1 AS x");
    static const char star[] = "SELECT * FROM t", plain[] = "SELECT x FROM t";
    orm_stmt *all, *one;
    ORM_TEST_OK(drv->prepare(conn, star, strlen(star), NULL, &all, &err), &err);
    ORM_TEST_OK(drv->prepare(conn, plain, strlen(plain), NULL, &one, &err), &err);
    ask(other, "ALTER TABLE t ADD COLUMN y");
    ORM_TEST_OK(drv->start(conn, one, NULL, 0, &err), &err);
    assert_int_equal(drv->step(conn, one, &target, &budget, NULL, &err), ORM_DONE); /* no matter */
    drv->reset(conn, one);
    ORM_TEST_OK(drv->start(conn, all, NULL, 0, &err), &err);
    assert_int_equal(drv->step(conn, all, &target, &budget, NULL, &err), ORM_ECACHEDSTMT);
    assert_true(err.flags & ORM_ERROR_RETRYABLE);
    drv->finalize(conn, all);
    assert_int_equal(to.rows, 1);
    ask(other, "DROP TABLE t");
    ORM_TEST_OK(drv->start(conn, one, NULL, 0, &err), &err);
    assert_int_equal(drv->step(conn, one, &target, &budget, NULL, &err), ORM_ENOTABLE);
    assert_string_equal(err.table, "t");
    drv->finalize(conn, one);
    drv->close(other);
    drv->close(conn);
}

static orm_status refuse_row(void *self, const orm_cell *cells, orm_error *err)
{
    (void)self;
    (void)cells;
    return orm_fail(err, ORM_ENOMEM, "no room");
}

/* A write has happened when its first row comes: ending it early does not undo it, and an error
 * of the target says so. */
static void test_returning(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    orm_budget budget = {.yield_ns = 1};
    orm_exec_info info = {0};
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x INTEGER PRIMARY KEY)");
    static const char sql[] = COUNT_TO("100") "INSERT INTO t SELECT i FROM c RETURNING x";
    orm_stmt *stmt;
    ORM_TEST_OK(drv->prepare(conn, sql, strlen(sql), NULL, &stmt, &err), &err);
    assert_false(drv->is_readonly(stmt));
    assert_int_equal(drv->column_count(stmt), 1);
    answer to = {0};
    orm_row_target target = {answer_row, &to};
    orm_status status;
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    while ((status = drv->step(conn, stmt, &target, &budget, &info, &err)) == ORM_PENDING)
        assert_false(budget.rewound);
    assert_int_equal(status, ORM_DONE);
    assert_int_equal(to.rows, 100);
    assert_int_equal(info.affected, 100);
    drv->reset(conn, stmt);
    ask(conn, "DELETE FROM t");

    uint64_t commits = *drv->write_counter(conn);
    budget = (orm_budget){0};
    target = (orm_row_target){refuse_row, NULL};
    ORM_TEST_OK(drv->start(conn, stmt, NULL, 0, &err), &err);
    assert_int_equal(drv->step(conn, stmt, &target, &budget, NULL, &err), ORM_ENOMEM);
    assert_int_equal(err.outcome, ORM_OUTCOME_UNKNOWN);
    drv->finalize(conn, stmt);
    assert_int_equal(ask(conn, "SELECT count(*) FROM t").i, 100);
    assert_true(*drv->write_counter(conn) > commits);
    drv->close(conn);
}

/* The counter moves when something was committed that others may see, and only then. */
static void test_commits_of_writes_count(void **state)
{
    static const struct {
        const char *sql;
        bool counts;
    } steps[] = {
        {"CREATE TABLE t (x INTEGER)", true},
        {"SELECT count(*) FROM t", false},
        {"BEGIN", false},
        {"SELECT count(*) FROM t", false},
        {"COMMIT", false},
        {"BEGIN IMMEDIATE", false},
        {"SELECT count(*) FROM t", false},
        {"COMMIT", false},
        {"BEGIN", false},
        {"INSERT INTO t VALUES (1)", false},
        {"SAVEPOINT s", false},
        {"RELEASE s", false},
        {"COMMIT", true},
        {"BEGIN", false},
        {"COMMIT", false},
        {"SAVEPOINT s", false},
        {"INSERT INTO t VALUES (2)", false},
        {"RELEASE s", true},
        {"INSERT INTO t VALUES (3) RETURNING x", true},
        {"PRAGMA user_version = 7", true},
    };
    orm_conn_config config = {.database = "file:/writes?vfs=memdb", .memory = true, .create = true};
    orm_conn *conn = NULL;
    orm_error err = {0};
    (void)state;
    ORM_TEST_OK(drv->open(&config, &conn, &err), &err);
    volatile uint64_t *counter = drv->write_counter(conn);
    for (size_t i = 0; i < ORM_COUNT(steps); i++) {
        uint64_t before = *counter;
        ask(conn, steps[i].sql);
        if ((*counter > before) != steps[i].counts) fail_msg("%zu: %s", i, steps[i].sql);
    }
    drv->close(conn);
}

/* Which class an error is of, and what it names, is told without SQLite's English. */
static void test_diagnosis(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        orm_status status;
        const char *table, *column;
    } cases[] = {
        {"SELECT zz FROM t", ORM_ENOCOLUMN, "", "zz"},
        {"SELECT \"t\".\"z z\" FROM t", ORM_ENOCOLUMN, "t", "z z"},
        {"SELECT [zz] FROM t AS u", ORM_ENOCOLUMN, "", "zz"},
        {"SELECT v.a FROM t", ORM_ENOCOLUMN, "v", "a"},
        {"SELECT a FROM t WHERE a IN (SELECT zz FROM u)", ORM_ENOCOLUMN, "", "zz"},
        {"SELECT a FROM t ORDER BY zz", ORM_ENOCOLUMN, "", "zz"},
        {"INSERT INTO t (a, zz) VALUES (1, 2)", ORM_ENOCOLUMN, "t", "zz"},
        {"INSERT OR IGNORE INTO main.t (zz) VALUES (1)", ORM_ENOCOLUMN, "t", "zz"},
        {"UPDATE t SET a = 1, zz = 2", ORM_ENOCOLUMN, "t", "zz"},
        {"UPDATE OR IGNORE t SET a = max(b, 2), zz = 2", ORM_ENOCOLUMN, "t", "zz"},
        {"UPDATE t SET a = zz", ORM_ENOCOLUMN, "", "zz"},
        {"DELETE FROM t WHERE t.zz = 1", ORM_ENOCOLUMN, "t", "zz"},
        {"INSERT INTO t (a) VALUES (1) RETURNING zz", ORM_ENOCOLUMN, "", "zz"},
        {"INSERT INTO t (a) VALUES (1) ON CONFLICT (zz) DO NOTHING", ORM_ENOCOLUMN, "", "zz"},
        {"CREATE INDEX i ON t (zz)", ORM_ENOCOLUMN, "", "zz"},
        {"SELECT 1 FROM nosuch", ORM_ENOTABLE, "nosuch", ""},
        {"SELECT 1 FROM \"no \"\"such\"", ORM_ENOTABLE, "no \"such", ""},
        {"SELECT 1 FROM t, u AS x, nosuch", ORM_ENOTABLE, "nosuch", ""},
        {"SELECT 1 FROM t JOIN nosuch ON 1", ORM_ENOTABLE, "nosuch", ""},
        {"SELECT 1 FROM main.nosuch", ORM_ENOTABLE, "nosuch", ""},
        {"SELECT (SELECT 1 FROM nosuch) FROM t", ORM_ENOTABLE, "nosuch", ""},
        {"SELECT 1 FROM json_each('[]'), nosuch", ORM_ENOTABLE, "nosuch", ""},
        {"WITH q AS (SELECT 1), r(x) AS (SELECT 2) SELECT 1 FROM q, r, nosuch", ORM_ENOTABLE,
         "nosuch", ""},
        {"INSERT INTO nosuch (a) VALUES (1)", ORM_ENOTABLE, "nosuch", ""},
        {"UPDATE nosuch SET a = 1", ORM_ENOTABLE, "nosuch", ""},
        {"DELETE FROM nosuch", ORM_ENOTABLE, "nosuch", ""},
        {"DROP TABLE nosuch", ORM_ENOTABLE, "nosuch", ""},
        {"ALTER TABLE nosuch ADD COLUMN x", ORM_ENOTABLE, "nosuch", ""},
        {"CREATE INDEX i ON nosuch (a)", ORM_ENOTABLE, "nosuch", ""},
        {"SELEC 1", ORM_ESYNTAX, "", ""},
        {"SELECT a b c FROM t", ORM_ESYNTAX, "", ""},
        {"SELECT 1 FROM WHERE a", ORM_ESYNTAX, "", ""},
        {"SELECT 'open", ORM_ESYNTAX, "", ""},
        {"SELECT @", ORM_ESYNTAX, "", ""},
        {"SELECT a, FROM t", ORM_ESYNTAX, "", ""},
        {"SELECT a FROM t, u", ORM_EPROGRAMMING, "", ""}, /* ambiguous */
        {"SELECT nosuch(a) FROM t", ORM_EPROGRAMMING, "", ""},
        {"SELECT count(a, b) FROM t", ORM_EPROGRAMMING, "", ""},
        {"SELECT a FROM t WHERE count(a) > 1", ORM_EPROGRAMMING, "", ""},
        {"CREATE TABLE t (a)", ORM_EPROGRAMMING, "", ""},
        {"INSERT INTO t VALUES (1)", ORM_EPROGRAMMING, "", ""},
        {"SELECT 1 UNION SELECT 1, 2", ORM_EPROGRAMMING, "", ""},
        {"SELECT key FROM t", ORM_ENOCOLUMN, "", "key"}, /* a keyword, but not reserved */
        {"SELECT a IS DISTINCT FROM b, a, nosuch() FROM t", ORM_EPROGRAMMING, "", ""},
    };
    orm_conn *conn;
    orm_error err = {0};
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ask(conn, "CREATE TABLE t (a, b)");
    ask(conn, "CREATE TABLE u (a, c)");
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_status status = try_sql(conn, cases[i].sql, &err);
        if (status != cases[i].status || err.status != (int)status ||
            strcmp(err.table, cases[i].table) != 0 || strcmp(err.column, cases[i].column) != 0)
            fail_msg("%s: %s, table '%s', column '%s' (%s)", cases[i].sql, orm_status_name(status),
                     err.table, err.column, err.message);
        assert_int_equal(err.native, SQLITE_ERROR);
    }
    drv->close(conn);
}

/* ---- checkpoints -------------------------------------------------------------------------------- */

static void test_maintenance(void **state)
{
    (void)state;
    orm_conn *conn;
    orm_error err = {0};
    struct stat before, after;
    ORM_TEST_OK(open_path(new_path(), &conn, &err), &err);
    ask(conn, "CREATE TABLE t (x)");
    assert_false(drv->wants_maintenance(conn));
    drv->maintain(conn); /* nothing to do */
    ask(conn, "INSERT INTO t VALUES (zeroblob(6000000))");
    assert_true(drv->wants_maintenance(conn));
    assert_int_equal(stat(path, &before), 0);
    drv->maintain(conn);
    assert_false(drv->wants_maintenance(conn));
    assert_int_equal(stat(path, &after), 0);
    assert_true(after.st_size > before.st_size + 5000000); /* moved into the database */
    ask(conn, "INSERT INTO t VALUES (1)");                 /* the log starts over */
    assert_false(drv->wants_maintenance(conn));
    ask(conn, "INSERT INTO t VALUES (zeroblob(6000000))");
    assert_true(drv->wants_maintenance(conn));
    drv->close(conn);
}

int main(void)
{
    snprintf(folder, sizeof(folder), "%s", orm_test_temp_dir());
    int failed = conformance_run(&fixture);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_journal_mode_is_left_alone),
        cmocka_unit_test(test_traits),
        cmocka_unit_test(test_option_that_does_not_take),
        cmocka_unit_test(test_paths_are_no_uris),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_file_registry),
        cmocka_unit_test(test_cannot_open),
        cmocka_unit_test(test_not_a_database),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_locked_by_another_process),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_unlinked),
        cmocka_unit_test(test_generated_keys),
        cmocka_unit_test(test_columns_change),
        cmocka_unit_test(test_returning),
        cmocka_unit_test(test_commits_of_writes_count),
        cmocka_unit_test(test_deadlines_of_writes_tell_the_truth),
        cmocka_unit_test(test_diagnosis),
        cmocka_unit_test(test_maintenance),
    };
    return failed + cmocka_run_group_tests_name("sqlite files", tests, NULL, NULL);
}
