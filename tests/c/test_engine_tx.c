/* Transactions and savepoints: what is seen, what is undone, what waits for what. */
#include "engine_fixture.h"
#include <poll.h>

#include <sqlite3.h>

static void test_commit_and_rollback(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, false);
    assert_int_equal(orm_transaction_state(tx), ORM_TX_NEW);
    assert_int_equal(orm_transaction_state(w->db), ORM_TX_NONE);
    add_album(tx, "a");
    assert_int_equal(orm_transaction_state(tx), ORM_TX_OPEN);
    assert_int_equal(world_number(w, orm_count(tx, albums(w))), 1);
    RUN(orm_commit(tx));
    assert_int_equal(orm_transaction_state(tx), ORM_TX_CLOSED);
    Album late = {.name = "late"};
    RUN_FAILS(ORM_INSERT(tx, Album, &late), ORM_ETXCLOSED);
    RUN_FAILS(orm_commit(tx), ORM_ETXCLOSED);
    orm_close_engine(tx);
    tx = world_begin(w->db, 0, false);
    add_album(tx, "b");
    RUN(orm_rollback(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 1);
}

static void test_close_rolls_back(void **state)
{
    world *w = *state;
    for (int i = 0; i < 3; i++) {
        orm_auto_engine *tx = world_begin(w->db, 0, false);
        add_album(tx, "a");
    }
    assert_int_equal(count_albums(w), 0);
    orm_close_engine(world_begin(w->db, 0, false));
    add_album(w->db, "a");
}

static void test_empty_transactions_end_at_once(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, false);
    orm_op *op = orm_commit(tx);
    assert_int_equal(orm_start(op, NULL, NULL), ORM_DONE);
    assert_int_equal(orm_op_status(op), ORM_OK);
    orm_op_free(op);
    assert_int_equal(orm_transaction_state(tx), ORM_TX_CLOSED);
    orm_close_engine(tx);
    RUN_FAILS(orm_commit(w->db), ORM_EMISUSE);
}

static void test_savepoints(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "kept");
    orm_engine *one = world_begin(tx, 0, false);
    add_album(one, "undone");
    orm_engine *two = world_begin(one, 0, false);
    add_album(two, "undone too");
    RUN(orm_commit(two));
    assert_int_equal(world_number(w, orm_count(tx, albums(w))), 3);
    RUN(orm_rollback(one));
    assert_int_equal(orm_transaction_state(one), ORM_TX_CLOSED);
    orm_close_engine(two);
    orm_close_engine(one);
    one = world_begin(tx, 0, false);
    add_album(one, "second");
    RUN(orm_commit(one));
    orm_close_engine(one);
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 2);
}

static void test_ten_levels(void **state)
{
    world *w = *state;
    for (int failing = 0; failing <= 10; failing++) {
        orm_engine *level[11];
        char name[32];
        level[0] = world_begin(w->db, 0, false);
        for (int i = 1; i <= 10; i++) {
            level[i] = world_begin(level[i - 1], 0, false);
            snprintf(name, sizeof name, "%d %d", failing, i);
            add_album(level[i], name);
        }
        for (int i = 10; i >= 0; i--) {
            RUN(i == failing ? orm_rollback(level[i]) : orm_commit(level[i]));
            orm_close_engine(level[i]);
        }
    }
    /* Rolling back level n undoes n..10; level 0 undoes all. */
    assert_int_equal(count_albums(w), 0 + 0 + 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9);
}

static void test_a_closed_parent_closes_its_savepoints(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, false);
    orm_engine *inner = world_begin(tx, 0, false);
    add_album(inner, "a");
    RUN(orm_commit(tx));
    Album row = {.name = "b"};
    RUN_FAILS(ORM_INSERT(inner, Album, &row), ORM_ETXCLOSED);
    orm_close_engine(inner);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 1);
}

static void test_a_failed_statement_undoes_itself_alone(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "a");
    Album again = {.name = "a"};
    RUN_FAILS(ORM_INSERT(tx, Album, &again), ORM_EUNIQUE);
    add_album(tx, "b");
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 2);
}

static void test_isolation_of_what_is_not_committed(void **state)
{
    world *w = *state;
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "a");
    assert_int_equal(count_albums(w), 0); /* readers see the last commit */
    RUN(orm_commit(tx));
    assert_int_equal(count_albums(w), 1);
    orm_close_engine(tx);
}

static void test_readonly_is_a_snapshot(void **state)
{
    world *w = *state;
    add_album(w->db, "a");
    orm_engine *tx = world_begin(w->db, 0, true);
    assert_int_equal(world_number(w, orm_count(tx, albums(w))), 1);
    add_album(w->db, "b");
    assert_int_equal(count_albums(w), 2);
    assert_int_equal(world_number(w, orm_count(tx, albums(w))), 1);
    Album row = {.name = "c"};
    RUN_FAILS(ORM_INSERT(tx, Album, &row), ORM_EOPERATIONAL);
    const char sql[] = "DELETE FROM album";
    RUN_FAILS(orm_raw(tx, sql, sizeof sql - 1, NULL, 0, NULL, NULL), ORM_EOPERATIONAL);
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 2);
}

static void test_statements_keep_their_order(void **state)
{
    world *w = *state;
    told t = {0};
    Album rows[20];
    char names[20][16];
    orm_engine *tx = world_begin(w->db, 0, false);
    for (int i = 0; i < 20; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        rows[i] = (Album){.name = names[i]};
        orm_then(ORM_INSERT(tx, Album, &rows[i]), tell, &t);
    }
    orm_then(orm_commit(tx), tell, &t);
    wait_for(w, &t, 21);
    for (int i = 0; i < 21; i++) assert_int_equal(t.status[i], ORM_OK);
    for (int i = 0; i < 20; i++) assert_int_equal(rows[i].id, i + 1);
    orm_close_engine(tx);
}

typedef struct ends {
    int all, failed;
} ends;

static void on_one(orm_op *op, void *user)
{
    ends *seen = user;
    seen->all++;
    seen->failed += orm_op_status(op) < 0;
    orm_op_free(op);
}

/* A queue that is longer than a turn may take: no call goes on for all of it. */
static void test_long_queues_take_several_turns(void **state)
{
    world *w = *state;
    enum {
        MANY = 3000
    };
    ends done = {0};
    int calls = 0;
    uint64_t most = 0; /* statements; callbacks that wait are quick, many of them fit into a turn */
    orm_engine *tx = world_begin(w->db, 0, false);
    RUN(orm_count(tx, albums(w)));
    for (int i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        orm_value v[] = {orm_text(name)};
        orm_then(orm_insert(tx, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1, v),
                 on_one, &done);
        if (i == 0) orm_then(slow_op(tx, 0), on_one, &done); /* the others queue behind it */
    }
    for (; done.all < MANY + 1 && calls < 100000; calls++) {
        uint64_t before = world_stats(w).statements;
        struct pollfd fd = {.fd = orm_fd(w->db), .events = POLLIN};
        poll(&fd, 1, 1000);
        orm_process(w->db, 200); /* microseconds */
        uint64_t n = world_stats(w).statements - before;
        if (n > most) most = n;
    }
    assert_int_equal(done.all, MANY + 1);
    assert_int_equal(done.failed, 0);
    assert_true(most < MANY / 2);
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), MANY);
}

static void test_other_writes_wait_for_the_transaction(void **state)
{
    world *w = *state;
    told t = {0};
    Album row = {.name = "waits"};
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "first");
    orm_then(ORM_INSERT(w->db, Album, &row), tell, &t);
    orm_engine *next = world_begin(w->db, 0, false);
    Album third = {.name = "third"};
    orm_then(ORM_INSERT(next, Album, &third), tell, &t);
    orm_wait(w->db, 20);
    assert_int_equal(t.count, 0);
    RUN(orm_commit(tx));
    wait_for(w, &t, 2);
    assert_int_equal(t.status[0], ORM_OK);
    assert_int_equal(t.status[1], ORM_OK);
    assert_true(row.id > 1 && third.id > row.id);
    orm_close_engine(next);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 2);
}

static void test_acquire_timeout_names_the_holder(void **state)
{
    world *w = *state;
    orm_error err = {0};
    orm_db *db;
    orm_engine *engine;
    ORM_TEST_OK(orm_open(w->url, &ORM_OPTIONS(.acquire_timeout_ms = 50), &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &engine, &err), &err);
    const char sql[] = "INSERT INTO album (name) VALUES ('x')";
    orm_engine *tx = world_begin(engine, 0, false);
    RUN(orm_raw(tx, sql, sizeof sql - 1, NULL, 0, NULL, NULL));
    uint64_t began = orm_now_ns();
    orm_engine *other = world_begin(engine, 0, false);
    assert_int_equal(world_run(orm_raw(other, sql, sizeof sql - 1, NULL, 0, NULL, NULL), &err),
                     ORM_EPOOLTIMEOUT);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    assert_non_null(strstr(err.message, "transaction has held it"));
    orm_close_engine(other);
    orm_close_engine(tx);
    orm_close_engine(engine);
    orm_close(db);
}

static void test_waiting_for_oneself_fails_at_once(void **state)
{
    world *w = *state;
    int task = 0;
    Album row = {.name = "b"};
    orm_engine_set_caller(w->db, &task);
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "a");
    RUN_FAILS(ORM_INSERT(w->db, Album, &row), ORM_ECONCURRENT);
    orm_engine *second = world_begin(w->db, 0, false);
    RUN_FAILS(ORM_INSERT(second, Album, &row), ORM_ECONCURRENT);
    orm_close_engine(second);
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    RUN(ORM_INSERT(w->db, Album, &row));
}

/* A trigger that rolls the whole transaction back. */
static void add_bomb(world *w)
{
    const char sql[] = "CREATE TRIGGER bomb BEFORE INSERT ON album WHEN NEW.name = 'bomb' "
                       "BEGIN SELECT RAISE(ROLLBACK, 'bomb'); END";
    RUN(orm_raw(w->db, sql, sizeof sql - 1, NULL, 0, NULL, NULL));
}

static void test_a_lost_transaction_fails_until_its_end(void **state)
{
    world *w = *state;
    add_bomb(w);
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "a");
    orm_engine *inner = world_begin(tx, 0, false);
    Album bomb = {.name = "bomb"}, after = {.name = "after"};
    orm_error err = {0};
    assert_true(world_run(ORM_INSERT(inner, Album, &bomb), &err) < 0);
    assert_int_equal(err.outcome, ORM_OUTCOME_ROLLED_BACK);
    assert_int_equal(orm_transaction_state(tx), ORM_TX_LOST);
    RUN_FAILS(ORM_INSERT(inner, Album, &after), ORM_EROLLEDBACK);
    RUN_FAILS(ORM_INSERT(tx, Album, &after), ORM_EROLLEDBACK);
    RUN_FAILS(orm_count(tx, albums(w)), ORM_EROLLEDBACK);
    RUN(orm_rollback(inner));
    RUN_FAILS(orm_commit(tx), ORM_EROLLEDBACK);
    assert_int_equal(orm_transaction_state(tx), ORM_TX_CLOSED);
    orm_close_engine(inner);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 0);
    add_album(w->db, "next");
}

static void test_a_deferred_key_fails_at_commit(void **state)
{
    world *w = *state;
    const char sql[] = "CREATE TABLE child (id INTEGER PRIMARY KEY, album INTEGER REFERENCES "
                       "album (id) DEFERRABLE INITIALLY DEFERRED)";
    const char bad[] = "INSERT INTO child (album) VALUES (99)";
    RUN(orm_raw(w->db, sql, sizeof sql - 1, NULL, 0, NULL, NULL));
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "a");
    RUN(orm_raw(tx, bad, sizeof bad - 1, NULL, 0, NULL, NULL));
    orm_error err = {0};
    assert_int_equal(world_run(orm_commit(tx), &err), ORM_EFOREIGNKEY);
    assert_int_equal(err.outcome, ORM_OUTCOME_ROLLED_BACK);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 0);
    add_album(w->db, "next");
}

static void test_cancel_while_waiting(void **state)
{
    world *w = *state;
    told t = {0};
    Album row = {.name = "cancelled"};
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "a");
    orm_engine *second = world_begin(w->db, 0, false);
    orm_op *op = ORM_INSERT(second, Album, &row);
    orm_then(op, tell, &t);
    orm_wait(w->db, 5);
    orm_cancel(op);
    wait_for(w, &t, 1);
    assert_int_equal(t.status[0], ORM_ECANCELLED);
    RUN(orm_commit(tx));
    add_album(second, "b");
    RUN(orm_commit(second));
    orm_close_engine(second);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 2);
}

/* Another connection holds the file's write lock. */
static void test_locked_by_another_process(void **state)
{
    world *w = *state;
    sqlite3 *other;
    orm_error err;
    orm_db *db;
    orm_engine *engine;
    add_album(w->db, "a");
    ORM_TEST_OK(orm_open(w->url, &ORM_OPTIONS(.busy_timeout_ms = 60), &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &engine, &err), &err);
    const char sql[] = "INSERT INTO album (name) VALUES ('x')";
    RUN(orm_raw(engine, "DELETE FROM track", 17, NULL, 0, NULL, NULL));
    assert_int_equal(sqlite3_open(w->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", 0, 0, 0), SQLITE_OK);
    orm_engine *tx = world_begin(engine, 0, false);
    RUN_FAILS(orm_raw(tx, sql, sizeof sql - 1, NULL, 0, NULL, NULL), ORM_ELOCKTIMEOUT);
    assert_int_equal(orm_transaction_state(tx), ORM_TX_NEW);
    RUN_FAILS(orm_raw(engine, sql, sizeof sql - 1, NULL, 0, NULL, NULL), ORM_ELOCKTIMEOUT);
    assert_int_equal(sqlite3_exec(other, "COMMIT", 0, 0, 0), SQLITE_OK);
    RUN(orm_raw(tx, sql, sizeof sql - 1, NULL, 0, NULL, NULL));
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    orm_close_engine(engine);
    orm_close(db);
    sqlite3_close(other);
    assert_int_equal(count_albums(w), 2);
}

static orm_status nested_body(void *arg)
{
    orm_error err;
    world *w = arg;
    Album row = {.name = "a"}, inner_row = {.name = "b"};
    orm_engine *tx = orm_begin(w->db, 0, false);
    if (!tx) return ORM_ENOMEM;
    orm_engine *inner = orm_begin(tx, 0, false);
    orm_status status = inner ? orm_await(ORM_INSERT(tx, Album, &row), NULL, &err) : ORM_ENOMEM;
    if (status >= 0) status = orm_await(ORM_INSERT(inner, Album, &inner_row), NULL, &err);
    if (status >= 0) status = orm_await(orm_rollback(inner), NULL, &err);
    orm_close_engine(inner);
    orm_close_engine(tx);
    return status;
}

static orm_status with_world(const char *url, orm_test_body_fn body)
{
    orm_error err;
    world w = {.db = NULL};
    orm_status status = ORM_CONNECT(url, &w.db, &err, &Album_model, &Track_model);
    if (status >= 0) status = orm_await(orm_create_all(w.db, NULL), NULL, &err);
    if (status >= 0) status = body(&w);
    orm_close_engine(w.db);
    return status;
}

static orm_status nested_life(void *arg)
{
    return with_world(arg, nested_body);
}

static void test_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(nested_life, (void *)WORLD_MEMORY);
}

/* What is closed without memory lets go of the writer: whoever waits behind it is served. */
static orm_status close_body(void *arg)
{
    orm_error err;
    world *w = arg;
    Album row = {.name = "undone"}, behind = {.name = "kept"};
    orm_engine *tx = orm_begin(w->db, 0, false);
    if (!tx) return ORM_ENOMEM;
    orm_op *first = ORM_INSERT(tx, Album, &row); /* kept until the end: its memory is not reused */
    orm_op *second = ORM_INSERT(w->db, Album, &behind);
    if (orm_start(first, NULL, NULL) == ORM_PENDING)
        while (orm_op_status(first) == ORM_PENDING) orm_wait(w->db, 1000);
    orm_status status = orm_op_status(first);
    orm_close_engine(tx);
    if (status >= 0)
        status = orm_await(second, NULL, &err);
    else
        orm_op_free(second);
    orm_op_free(first);
    return status;
}

static orm_status close_life(void *arg)
{
    return with_world(arg, close_body);
}

static void test_closed_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(close_life, (void *)"sqlite:///:memory:?acquire_timeout=1");
}

/* A savepoint whose end has failed leaves nothing to the transaction around it. */
static orm_status savepoint_body(void *arg)
{
    orm_error err;
    world *w = arg;
    Album outer = {.name = "outer"}, inner = {.name = "inner"};
    orm_engine *tx = orm_begin(w->db, 0, false);
    orm_engine *point = tx ? orm_begin(tx, 0, false) : NULL;
    orm_status status = point ? orm_await(ORM_INSERT(tx, Album, &outer), NULL, &err) : ORM_ENOMEM;
    if (status >= 0) status = orm_await(ORM_INSERT(point, Album, &inner), NULL, &err);
    orm_status released = status < 0 ? status : orm_await(orm_commit(point), NULL, &err);
    orm_close_engine(point);
    if (released == ORM_ENOMEM) status = orm_await(orm_commit(tx), NULL, &err);
    bool committed = released == ORM_ENOMEM && status >= 0;
    orm_close_engine(tx);
    if (!committed) return released < 0 ? ORM_ENOMEM : status;
    orm_op *op = orm_exists(w->db, orm_query_where(albums(w), "name", orm_text("inner")));
    (void)orm_start(op, NULL, NULL);
    while (orm_op_status(op) == ORM_PENDING) orm_wait(w->db, 1000);
    status = orm_op_status(op) < 0 ? orm_op_status(op) : orm_op_number(op) ? ORM_EINTERNAL : ORM_OK;
    orm_op_free(op);
    return status;
}

static orm_status savepoint_life(void *arg)
{
    return with_world(arg, savepoint_body);
}

static void test_a_savepoint_ends_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(savepoint_life, (void *)WORLD_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TESTS(test_commit_and_rollback),
        WORLD_TESTS(test_close_rolls_back),
        WORLD_TESTS(test_empty_transactions_end_at_once),
        WORLD_TESTS(test_savepoints),
        WORLD_TESTS(test_ten_levels),
        WORLD_TESTS(test_a_closed_parent_closes_its_savepoints),
        WORLD_TESTS(test_a_failed_statement_undoes_itself_alone),
        NORMAL_TEST(test_isolation_of_what_is_not_committed),
        NORMAL_TEST(test_readonly_is_a_snapshot),
        WORLD_TESTS(test_statements_keep_their_order),
        WORLD_TESTS(test_long_queues_take_several_turns),
        WORLD_TESTS(test_other_writes_wait_for_the_transaction),
        NORMAL_TEST(test_acquire_timeout_names_the_holder),
        WORLD_TESTS(test_waiting_for_oneself_fails_at_once),
        WORLD_TESTS(test_a_lost_transaction_fails_until_its_end),
        WORLD_TESTS(test_a_deferred_key_fails_at_commit),
        WORLD_TESTS(test_cancel_while_waiting),
        NORMAL_TEST(test_locked_by_another_process),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_closed_without_memory),
        cmocka_unit_test(test_a_savepoint_ends_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
