/* The engine on a real server: statements that wait on their descriptor, the pool, transactions,
 * cancelling, connections that break.
 *
 * The argument says which: the server of ORM_TEST_POSTGRESQL_URL or of ORM_TEST_MARIADB_URL
 * (tests/servers/servers.py starts one and says so); without it the program is skipped.
 */
#include "engine_fixture.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

static const char *server_url;
static bool is_postgresql;

static orm_engine *connect_with(const char *options)
{
    char url[512];
    orm_engine *db = NULL;
    orm_error err;
    snprintf(url, sizeof url, "%s%s", server_url, options);
    ORM_TEST_OK(ORM_CONNECT(url, &db, &err, &Album_model, &Track_model), &err);
    return db;
}

static int server_setup(void **state)
{
    world *w = calloc(1, sizeof *w);
    w->db = connect_with("?max_size=3");
    RUN(orm_drop_all(w->db, NULL));
    RUN(orm_create_all(w->db, NULL));
    *state = w;
    return 0;
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, server_setup, world_teardown)

static orm_op *text_op(orm_engine *engine, const char *sql)
{
    return orm_raw(engine, sql, strlen(sql), NULL, 0, NULL, NULL);
}

static orm_op *sleep_op(orm_engine *engine, const char *seconds)
{
    char sql[64];
    snprintf(sql, sizeof sql, is_postgresql ? "SELECT pg_sleep(%s)" : "SELECT sleep(%s)", seconds);
    return text_op(engine, sql);
}

enum {
    SOON_MS = ORM_TEST_SOON_NS / 1000000u
};

static int64_t now_ms(void)
{
    return (int64_t)(orm_now_ns() / 1000000u);
}

static Album *find_album(const world *w, orm_engine *engine, int64_t id, orm_result **result)
{
    *result = world_rows(orm_get(engine, orm_query_where(albums(w), "id", orm_int(id)), NULL));
    return orm_result_rows(*result);
}

/* ---- statements ------------------------------------------------------------------------- */

static void test_a_row_goes_in_and_comes_out(void **state)
{
    world *w = *state;
    orm_result *result;
    int64_t id = add_album(w->db, "Malibu");
    Album *row = find_album(w, w->db, id, &result);
    assert_int_equal(row->id, id);
    assert_string_equal(row->name, "Malibu");
    orm_result_free(result);
    RUN_FAILS(orm_get(w->db, orm_query_where(albums(w), "id", orm_int(99)), NULL), ORM_ENOMATCH);
    Album again = {.name = "Malibu"};
    RUN_FAILS(ORM_INSERT(w->db, Album, &again), ORM_EUNIQUE);
    assert_int_equal(count_albums(w), 1);
}

static void test_statements_run_on_the_engines_thread(void **state)
{
    world *w = *state;
    int64_t id = add_album(w->db, "a");
    uint64_t workers = world_stats(w).worker_statements;
    for (int i = 0; i < 20; i++) {
        orm_result *result;
        (void)find_album(w, w->db, id, &result);
        orm_result_free(result);
    }
    assert_int_equal(world_stats(w).worker_statements, workers);
}

static void test_many_at_once_share_the_pool(void **state)
{
    world *w = *state;
    told t = {0};
    int64_t id = add_album(w->db, "a");
    for (int i = 0; i < 200; i++)
        orm_then(orm_get(w->db, orm_query_where(albums(w), "id", orm_int(id)), NULL), tell, &t);
    wait_for(w, &t, 200);
    for (int i = 0; i < 200; i++) assert_int_equal(t.status[i], ORM_OK);
    assert_true(world_stats(w).connections <= 3);
}

static void test_bulk_and_compound(void **state)
{
    world *w = *state;
    orm_value values[40];
    int64_t keys[40];
    uint16_t name = 1;
    char names[40][16];
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "album %02d", i);
        values[i] = orm_text(names[i]);
    }
    const orm_model *model = orm_engine_model(w->db, &Album_model);
    RUN(orm_insert_many(w->db, model, &name, 1, values, 40, keys));
    for (int i = 1; i < 40; i++) assert_true(keys[i] > keys[i - 1]);
    orm_value fresh = orm_text("new");
    orm_query *query = orm_query_where(albums(w), "name", orm_text("new"));
    RUN(orm_get_or_create(w->db, orm_query_ref(query), &name, 1, &fresh, NULL));
    fresh = orm_text("new");
    RUN(orm_get_or_create(w->db, query, &name, 1, &fresh, NULL));
    assert_int_equal(count_albums(w), 41);
}

static orm_op *names_op(const world *w, orm_engine *engine, size_t n, int64_t *keys)
{
    static orm_value values[5000];
    static char names[5000][16];
    uint16_t name = 1;
    assert_true(n <= ORM_COUNT(values));
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "1%05d", (int)i);
        values[i] = orm_text(names[i]);
    }
    return orm_insert_many(engine, orm_engine_model(w->db, &Album_model), &name, 1, values, n,
                           keys);
}

/* As many as one statement takes, and more: each row has the key that the caller is told. */
static void test_keys_of_many_rows(void **state)
{
    world *w = *state;
    static int64_t keys[5000];
    static const size_t sizes[] = {2, 3, 500, 501, 2000, 2001, 5000};
    for (size_t i = 0; i < ORM_COUNT(sizes); i++) {
        size_t n = sizes[i];
        RUN(names_op(w, w->db, n, keys));
        for (size_t k = 0; k < n; k += n / 2 + 1) {
            orm_result *result;
            char name[16];
            snprintf(name, sizeof name, "1%05d", (int)k);
            assert_string_equal(find_album(w, w->db, keys[k], &result)->name, name);
            orm_result_free(result);
        }
        assert_int_equal(count_albums(w), n);
        RUN_FAILS(names_op(w, w->db, n, keys), ORM_EUNIQUE);
        RUN(orm_delete(w->db, albums(w)));
    }
}

static void test_many_rows_are_one_statement(void **state)
{
    world *w = *state;
    int64_t keys[100];
    RUN(names_op(w, w->db, 100, keys));
    RUN(orm_delete(w->db, albums(w)));
    orm_engine_stats before = world_stats(w);
    RUN(names_op(w, w->db, 100, keys));
    orm_engine_stats after = world_stats(w);
    assert_int_equal(after.worker_statements, before.worker_statements);
    assert_int_equal(after.statements, before.statements + 1);
}

/* In a transaction a failure undoes the rows and nothing else. */
static void test_many_rows_in_a_transaction(void **state)
{
    world *w = *state;
    int64_t keys[100];
    orm_engine *tx = world_begin(w->db, 0, false);
    RUN(names_op(w, tx, 10, keys));
    RUN_FAILS(names_op(w, tx, 100, keys), ORM_EUNIQUE);
    (void)add_album(tx, "a");
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 11);
}

/* A column of another type than the model's, to which the server converts no array of texts. */
static void test_arrays_that_are_refused(void **state)
{
    world *w = *state;
    if (!is_postgresql) skip(); /* there are none */
    int64_t keys[3];
    RUN(text_op(w->db, "ALTER TABLE album DROP CONSTRAINT album_name_key"));
    RUN(text_op(w->db, "ALTER TABLE album ALTER COLUMN name TYPE json USING to_json(name)"));
    for (int i = 0; i < 2; i++) {
        orm_engine *tx = world_begin(w->db, 0, false);
        RUN(names_op(w, i ? tx : w->db, 3, keys));
        if (i) RUN(orm_commit(tx));
        orm_close_engine(tx);
        assert_int_equal(count_albums(w), 3 * (i + 1));
        assert_int_equal(keys[2], keys[0] + 2);
    }
}

static void test_given_keys_go_together(void **state)
{
    world *w = *state;
    int64_t keys[2] = {0};
    uint16_t fields[] = {0, 1};
    orm_value values[] = {orm_int(70), orm_text("b"), orm_int(60), orm_text("a")};
    orm_result *result;
    RUN(orm_insert_many(w->db, orm_engine_model(w->db, &Album_model), fields, 2, values, 2, keys));
    assert_int_equal(keys[0], 70);
    assert_string_equal(find_album(w, w->db, 60, &result)->name, "a");
    orm_result_free(result);
}

static void test_raw_rows_without_rows(void **state)
{
    world *w = *state;
    int64_t id = add_album(w->db, "a");
    RUN(text_op(w->db, "SELECT id, name FROM album WHERE 1 = 0"));
    const char *all = "SELECT id, name FROM album";
    const orm_model *model = orm_engine_model(w->db, &Album_model);
    orm_result *result = world_rows(orm_raw(w->db, all, strlen(all), NULL, 0, model, NULL));
    assert_int_equal(orm_result_count(result), 1);
    assert_int_equal(((Album *)orm_result_rows(result))->id, id);
    orm_result_free(result);
}

/* ---- transactions ----------------------------------------------------------------------- */

static void test_commit_and_rollback(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, ORM_ISOLATION_SERIALIZABLE, false);
    (void)add_album(tx, "kept");
    assert_int_equal(count_albums(w), 0);
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 1);
    tx = world_begin(w->db, 0, false);
    (void)add_album(tx, "dropped");
    RUN(orm_rollback(tx));
    orm_close_engine(tx);
    tx = world_begin(w->db, 0, false);
    (void)add_album(tx, "closed");
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 1);
}

static void test_savepoints_undo_alone(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, false);
    (void)add_album(tx, "a");
    orm_engine *inner = world_begin(tx, 0, false);
    Album again = {.name = "a"};
    RUN_FAILS(ORM_INSERT(inner, Album, &again), ORM_EUNIQUE);
    RUN(orm_rollback(inner));
    orm_close_engine(inner);
    inner = world_begin(tx, 0, false);
    (void)add_album(inner, "b");
    RUN(orm_commit(inner));
    orm_close_engine(inner);
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 2);
}

static void test_readonly_transactions_refuse_writes(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, true);
    Album row = {.name = "a"};
    orm_error err;
    assert_true(world_run(ORM_INSERT(tx, Album, &row), &err) < 0);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 0);
}

static void test_a_failed_transaction_is_not_committed(void **state)
{
    world *w = *state;
    if (!is_postgresql) skip(); /* MariaDB undoes the statement alone */
    orm_engine *tx = world_begin(w->db, 0, false);
    (void)add_album(tx, "a");
    Album again = {.name = "a"};
    RUN_FAILS(ORM_INSERT(tx, Album, &again), ORM_EUNIQUE);
    RUN_FAILS(orm_commit(tx), ORM_EROLLEDBACK);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 0);
}

/* A savepoint in what has failed is refused before anything is sent, and its end is no error. */
static void test_no_savepoint_in_a_failed_transaction(void **state)
{
    world *w = *state;
    if (!is_postgresql) skip(); /* MariaDB undoes the statement alone */
    orm_engine *tx = world_begin(w->db, 0, false);
    (void)add_album(tx, "a");
    Album again = {.name = "a"};
    RUN_FAILS(ORM_INSERT(tx, Album, &again), ORM_EUNIQUE);
    orm_engine *inner = world_begin(tx, 0, false);
    RUN_FAILS(orm_count(inner, albums(w)), ORM_EROLLEDBACK);
    RUN(orm_rollback(inner));
    orm_close_engine(inner);
    RUN(orm_rollback(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 0);
}

/* What is wrong with the first statement is found before it is sent: BEGIN goes with the next. */
static void test_a_transaction_may_begin_with_an_error(void **state)
{
    world *w = *state;
    char text[200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    orm_engine *tx = world_begin(w->db, 0, false);
    RUN_FAILS(orm_count(tx, orm_query_where(albums(w), "id", orm_float(NAN))), ORM_EDATA);
    orm_engine *inner = world_begin(tx, 0, false);
    Album row = {.name = text};
    RUN_FAILS(ORM_INSERT(inner, Album, &row), ORM_EDATA);
    RUN(orm_rollback(inner));
    orm_close_engine(inner);
    (void)add_album(tx, "a");
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 1);
}

/* ---- the pool --------------------------------------------------------------------------- */

static void test_an_exhausted_pool_says_who_holds_it(void **state)
{
    world *w = *state;
    orm_engine *held[3];
    orm_close_engine(w->db);
    w->db = connect_with("?max_size=3&acquire_timeout=0.4");
    for (int i = 0; i < 3; i++) {
        held[i] = world_begin(w->db, 0, false);
        RUN(orm_count(held[i], albums(w)));
    }
    orm_error err;
    int64_t began = now_ms();
    assert_int_equal(world_run(orm_count(w->db, albums(w)), &err), ORM_EPOOLTIMEOUT);
    assert_non_null(strstr(err.message, "3 of 3 are held, 3 of them by transactions"));
    assert_in_range(now_ms() - began, 390, SOON_MS);
    told t = {0};
    orm_then(orm_count(w->db, albums(w)), tell, &t);
    orm_close_engine(held[0]);
    wait_for(w, &t, 1);
    assert_int_equal(t.status[0], ORM_OK);
    orm_close_engine(held[1]);
    orm_close_engine(held[2]);
}

/* Until the server has no connection but this one. */
static void wait_to_be_alone(orm_engine *engine)
{
    const char *others = is_postgresql
                             ? "SELECT pid FROM pg_stat_activity WHERE pid <> "
                               "pg_backend_pid() AND backend_type = 'client backend'"
                             : "SELECT id FROM information_schema.processlist WHERE id <> "
                               "connection_id() AND user = substring_index(user(), '@', 1)";
    int64_t began = now_ms();
    for (size_t n = 1; n > 0;) {
        orm_result *rows = world_rows(text_op(engine, others));
        n = orm_result_count(rows);
        orm_result_free(rows);
        assert_true(now_ms() - began < SOON_MS);
        usleep(10000);
    }
}

/* The server's process behind the one connection; PostgreSQL's catalog forgets it before it ends. */
static pid_t process_behind(const world *w)
{
    const char *sql = "SELECT pg_backend_pid()::bigint AS id, 'its process' AS name";
    const orm_model *model = orm_engine_model(w->db, &Album_model);
    orm_result *result = world_rows(orm_raw(w->db, sql, strlen(sql), NULL, 0, model, NULL));
    pid_t pid = (pid_t)((Album *)orm_result_rows(result))->id;
    orm_result_free(result);
    return pid;
}

static void wait_for_end_of(pid_t pid)
{
    int64_t began = now_ms();
    while (kill(pid, 0) == 0 || errno != ESRCH) {
        assert_true(now_ms() - began < SOON_MS);
        usleep(1000);
    }
}

static void test_idle_connections_that_died_are_never_handed_out(void **state)
{
    world *w = *state;
    orm_engine *other = connect_with("?max_size=1");
    for (int round = 0; round < 5; round++) {
        RUN(orm_count(w->db, albums(w)));
        pid_t pid = is_postgresql ? process_behind(w) : 0;
        if (is_postgresql) {
            RUN(text_op(other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                               "WHERE pid <> pg_backend_pid() AND backend_type = "
                               "'client backend'"));
        } else {
            RUN(text_op(w->db, "SET SESSION wait_timeout = 1"));
        }
        wait_to_be_alone(other);
        if (is_postgresql) wait_for_end_of(pid);
        assert_int_equal(count_albums(w), 0);
        if (!is_postgresql) break;
    }
    orm_close_engine(other);
}

static void test_a_connection_grows_old(void **state)
{
    world *w = *state;
    (void)w;
    orm_engine *db = connect_with("?max_lifetime=0.05&max_size=1");
    world other = {.db = db};
    assert_int_equal(count_albums(&other), 0);
    usleep(60000);
    assert_int_equal(count_albums(&other), 0); /* its last */
    for (int i = 0; i < 3; i++) assert_int_equal(count_albums(&other), 0);
    orm_close_engine(db);
}

static void test_no_server_no_connection(void **state)
{
    (void)state;
    orm_engine *db = NULL;
    orm_error err;
    const char *url = is_postgresql ? "postgresql://u:canary@127.0.0.1:1/x"
                                    : "mariadb://u:canary@127.0.0.1:1/x";
    ORM_TEST_OK(ORM_CONNECT(url, &db, &err, &Album_model, &Track_model), &err);
    world w = {.db = db};
    for (int i = 0; i < 3; i++) {
        int64_t began = now_ms();
        assert_int_equal(world_run(orm_count(db, albums(&w)), &err), ORM_ECONNECT);
        assert_true(now_ms() - began < SOON_MS);
        assert_null(strstr(err.message, "canary"));
    }
    orm_close_engine(db);
}

/* ---- statements that must end ----------------------------------------------------------- */

static void test_a_deadline_ends_the_statement(void **state)
{
    world *w = *state;
    RUN(orm_count(w->db, albums(w)));
    for (int round = 0; round < 2; round++) {
        orm_op *op = sleep_op(w->db, "60");
        orm_op_set_deadline(op, 200);
        int64_t began = now_ms();
        RUN_FAILS(op, ORM_EQUERYTIMEOUT);
        assert_in_range(now_ms() - began, 190, SOON_MS);
        assert_int_equal(count_albums(w), 0);
    }
    assert_true(world_stats(w).connections <= 2);
}

static void test_a_deadline_inside_a_transaction(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, false);
    (void)add_album(tx, "a");
    orm_engine *inner = world_begin(tx, 0, false);
    orm_op *op = sleep_op(inner, "20");
    orm_op_set_deadline(op, 200);
    RUN_FAILS(op, ORM_EQUERYTIMEOUT);
    RUN(orm_rollback(inner));
    orm_close_engine(inner);
    (void)add_album(tx, "b");
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 2);
}

/* Cancelling at any moment never ends a statement of another. */
static void test_cancelling_hurts_nobody_else(void **state)
{
    world *w = *state;
    int64_t id = add_album(w->db, "a");
    for (int round = 0; round < 150; round++) {
        told t = {0};
        orm_op *op = round % 2
                         ? sleep_op(w->db, "5")
                         : orm_get(w->db, orm_query_where(albums(w), "id", orm_int(id)), NULL);
        (void)orm_start(op, NULL, NULL);
        for (int i = 0; i < round % 4; i++) orm_wait(w->db, 0);
        orm_cancel(op);
        for (int i = 0; i < 4; i++)
            orm_then(orm_get(w->db, orm_query_where(albums(w), "id", orm_int(id)), NULL), tell, &t);
        orm_op_free(op);
        wait_for(w, &t, 4);
        for (int i = 0; i < 4; i++) ORM_TEST_OK(t.status[i], &t.error[i]);
    }
}

static void test_closing_ends_what_runs(void **state)
{
    world *w = *state;
    orm_engine *db = connect_with("?max_size=2");
    world other = {.db = db};
    assert_int_equal(count_albums(&other), 0);
    told t = {0};
    for (int i = 0; i < 3; i++) orm_then(sleep_op(db, "60"), tell, &t);
    orm_wait(db, 10);
    int64_t began = now_ms();
    orm_close_engine(db);
    assert_true(now_ms() - began < SOON_MS);
    assert_int_equal(t.count, 3);
    for (int i = 0; i < 3; i++) assert_true(t.status[i] < 0);
    assert_int_equal(count_albums(w), 0);
}

/* ---- what becomes of writes whose connection breaks ------------------------------------- */

static void test_a_lost_connection_leaves_no_doubt_unsaid(void **state)
{
    world *w = *state;
    if (!is_postgresql) skip(); /* a connection cannot kill itself in the middle there */
    orm_error err;
    const char *suicide = "INSERT INTO album (name) SELECT 'x' || pg_terminate_backend("
                          "pg_backend_pid())::text";
    RUN(orm_count(w->db, albums(w)));
    assert_int_equal(world_run(text_op(w->db, suicide), &err), ORM_ECONNLOST);
    assert_int_equal(err.outcome, ORM_OUTCOME_UNKNOWN);
    orm_engine *tx = world_begin(w->db, 0, false);
    (void)add_album(tx, "a");
    assert_int_equal(world_run(text_op(tx, suicide), &err), ORM_ECONNLOST);
    assert_int_equal(err.outcome, ORM_OUTCOME_ROLLED_BACK);
    RUN_FAILS(orm_count(tx, albums(w)), ORM_EROLLEDBACK);
    RUN_FAILS(orm_commit(tx), ORM_EROLLEDBACK);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 0);
}

/* Statements prepared before a change of the table. */
static void test_statements_survive_ddl(void **state)
{
    world *w = *state;
    orm_result *result;
    int64_t id = add_album(w->db, "a");
    for (int i = 0; i < 3; i++) {
        (void)find_album(w, w->db, id, &result);
        orm_result_free(result);
        RUN(text_op(w->db, i % 2 ? "ALTER TABLE album DROP COLUMN extra"
                                 : "ALTER TABLE album ADD COLUMN extra INTEGER"));
        RUN(text_op(w->db, "SELECT * FROM album"));
    }
}

/* Several statements whose first is stale: their transaction, or savepoint, is run again. */
static void test_scripts_survive_ddl(void **state)
{
    world *w = *state;
    static int64_t keys[2001];
    static const char *const changes[] = {"BIGINT", "INTEGER", "BIGINT"};
    if (!is_postgresql) skip(); /* a table's change breaks no transaction there */
    for (int i = 0; i < 3; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "ALTER TABLE album ALTER COLUMN id TYPE %s", changes[i]);
        RUN(text_op(w->db, sql));
        RUN(names_op(w, w->db, 2001, keys));
        assert_int_equal(count_albums(w), 2001);
        RUN(orm_delete(w->db, albums(w)));
        RUN(text_op(w->db, sql));
        orm_engine *tx = world_begin(w->db, 0, false);
        (void)add_album(tx, "a");
        RUN(names_op(w, tx, 10, keys));
        RUN(orm_commit(tx));
        orm_close_engine(tx);
        assert_int_equal(count_albums(w), 11);
        RUN(orm_delete(w->db, albums(w)));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_a_row_goes_in_and_comes_out),
        SERVER_TEST(test_statements_run_on_the_engines_thread),
        SERVER_TEST(test_many_at_once_share_the_pool),
        SERVER_TEST(test_bulk_and_compound),
        SERVER_TEST(test_keys_of_many_rows),
        SERVER_TEST(test_many_rows_are_one_statement),
        SERVER_TEST(test_many_rows_in_a_transaction),
        SERVER_TEST(test_arrays_that_are_refused),
        SERVER_TEST(test_given_keys_go_together),
        SERVER_TEST(test_raw_rows_without_rows),
        SERVER_TEST(test_commit_and_rollback),
        SERVER_TEST(test_savepoints_undo_alone),
        SERVER_TEST(test_readonly_transactions_refuse_writes),
        SERVER_TEST(test_a_failed_transaction_is_not_committed),
        SERVER_TEST(test_no_savepoint_in_a_failed_transaction),
        SERVER_TEST(test_a_transaction_may_begin_with_an_error),
        SERVER_TEST(test_an_exhausted_pool_says_who_holds_it),
        SERVER_TEST(test_idle_connections_that_died_are_never_handed_out),
        SERVER_TEST(test_a_connection_grows_old),
        SERVER_TEST(test_no_server_no_connection),
        SERVER_TEST(test_a_deadline_ends_the_statement),
        SERVER_TEST(test_a_deadline_inside_a_transaction),
        SERVER_TEST(test_cancelling_hurts_nobody_else),
        SERVER_TEST(test_closing_ends_what_runs),
        SERVER_TEST(test_a_lost_connection_leaves_no_doubt_unsaid),
        SERVER_TEST(test_statements_survive_ddl),
        SERVER_TEST(test_scripts_survive_ddl),
    };
    is_postgresql = argc < 2 || strcmp(argv[1], "postgresql") == 0;
    server_url = getenv(is_postgresql ? "ORM_TEST_POSTGRESQL_URL" : "ORM_TEST_MARIADB_URL");
    if (!server_url) return 77;
    orm_test_repeat_when_asked();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
