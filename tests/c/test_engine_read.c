/* Reads: where they run, what a turn shares, what happens to long ones. */
#include "engine_fixture.h"

#include <sqlite3.h>

static orm_op *by_id(world *w, int64_t id)
{
    return orm_exists(w->db, orm_query_where(albums(w), "id", orm_int(id)));
}

static void fill(world *w, int n)
{
    orm_value *v = calloc((size_t)n, sizeof *v);
    char(*names)[16] = calloc((size_t)n, sizeof *names);
    for (int i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "%06d", i);
        v[i] = orm_text(names[i]);
    }
    RUN(orm_insert_many(w->db, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1, v,
                        (size_t)n, NULL));
    free(names);
    free(v);
}

/* ---- shared read transactions ---- */

static void test_reads_of_a_turn_share_a_transaction(void **state)
{
    world *w = *state;
    fill(w, 3);
    RUN(by_id(w, 1));
    orm_engine_stats before = world_stats(w);
    for (int i = 0; i < 10; i++) assert_int_equal(world_number(w, by_id(w, 1)), 1);
    orm_engine_stats after = world_stats(w);
    assert_true(after.shared_read_transactions > before.shared_read_transactions);
    assert_int_equal(after.worker_statements, before.worker_statements);
}

static void test_own_writes_are_seen_at_once(void **state)
{
    world *w = *state;
    RUN(by_id(w, 1));
    for (int i = 1; i <= 50; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        for (int k = 0; k < 3; k++) assert_int_equal(world_number(w, by_id(w, i)), 0);
        add_album(w->db, name);
        for (int k = 0; k < 3; k++) assert_int_equal(world_number(w, by_id(w, i)), 1);
    }
}

/* Another engine of this process, on the same thread, so that nothing but the counter tells. */
static void test_writes_of_other_engines_are_seen_at_once(void **state)
{
    world *w = *state, other = {.db = NULL};
    orm_error err;
    RUN(by_id(w, 1));
    ORM_TEST_OK(ORM_CONNECT(w->url, &other.db, &err, &Album_model, &Track_model), &err);
    for (int i = 1; i <= 50; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        for (int k = 0; k < 3; k++) assert_int_equal(world_number(w, by_id(w, i)), 0);
        add_album(other.db, name);
        assert_int_equal(world_number(w, by_id(w, i)), 1);
    }
    orm_close_engine(other.db);
}

static void test_foreign_writes_are_seen_within_a_millisecond(void **state)
{
    world *w = *state;
    sqlite3 *other;
    RUN(by_id(w, 1));
    assert_int_equal(sqlite3_open(w->path, &other), SQLITE_OK);
    for (int k = 0; k < 3; k++) assert_int_equal(world_number(w, by_id(w, 1)), 0);
    assert_int_equal(sqlite3_exec(other, "INSERT INTO album (name) VALUES ('x')", 0, 0, 0),
                     SQLITE_OK);
    usleep(1500);
    assert_int_equal(world_number(w, by_id(w, 1)), 1);
    sqlite3_close(other);
}

static void test_new_tables_are_found(void **state)
{
    world *w = *state;
    sqlite3 *other;
    RUN(by_id(w, 1));
    for (int k = 0; k < 3; k++) (void)world_number(w, by_id(w, 1));
    assert_int_equal(sqlite3_open(w->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "DROP TABLE track; DROP TABLE album", 0, 0, 0), SQLITE_OK);
    usleep(1500);
    RUN_FAILS(by_id(w, 1), ORM_ENOTABLE);
    assert_int_equal(
        sqlite3_exec(other, "CREATE TABLE album (id INTEGER PRIMARY KEY, name TEXT)", 0, 0, 0),
        SQLITE_OK);
    assert_int_equal(world_number(w, by_id(w, 1)), 0);
    sqlite3_close(other);
}

static void test_shared_reads_can_be_off(void **state)
{
    world *w = *state, other = {.db = NULL};
    orm_error err;
    char url[400];
    snprintf(url, sizeof url, "%s&shared_reads=off", w->url);
    ORM_TEST_OK(ORM_CONNECT(url, &other.db, &err, &Album_model, &Track_model), &err);
    RUN(by_id(&other, 1));
    for (int i = 0; i < 10; i++) (void)world_number(&other, by_id(&other, 1));
    assert_int_equal(world_stats(&other).shared_read_transactions, 0);
    orm_close_engine(other.db);
    snprintf(url, sizeof url, "%s&inline=off", w->url);
    ORM_TEST_OK(ORM_CONNECT(url, &other.db, &err, &Album_model, &Track_model), &err);
    for (int i = 0; i < 10; i++) (void)world_number(&other, by_id(&other, 1));
    assert_int_equal(world_stats(&other).inline_statements, 0);
    orm_close_engine(other.db);
}

/* ---- long reads ---- */

static void test_large_results_arrive_whole(void **state)
{
    world *w = *state;
    enum {
        ROWS = 30000
    };
    fill(w, ROWS);
    for (int round = 0; round < 5; round++) {
        orm_result *result = world_rows(orm_all(w->db, orm_query_order_by(albums(w), "id"), NULL));
        assert_int_equal(orm_result_count(result), ROWS);
        const Album *rows = orm_result_rows(result);
        for (int i = 0; i < ROWS; i++) {
            if (rows[i].id != i + 1 || atoi(rows[i].name) != i) fail_msg("row %d", i);
        }
        orm_result_free(result);
    }
    /* Reads that go on over turns leave room for others between. */
    told t = {0};
    orm_then(orm_all(w->db, albums(w), NULL), tell, &t);
    for (int i = 0; i < 20; i++) assert_int_equal(world_number(w, by_id(w, 1)), 1);
    wait_for(w, &t, 1);
    assert_int_equal(t.status[0], ORM_OK);
}

static void test_many_at_once(void **state)
{
    world *w = *state;
    told t = {0};
    fill(w, 3000);
    for (int i = 0; i < 60; i++)
        orm_then(i % 3
                     ? orm_count(w->db, orm_query_where(albums(w), "name__contains", orm_text("9")))
                     : orm_all(w->db, albums(w), NULL),
                 tell, &t);
    wait_for(w, &t, 60);
    for (int i = 0; i < 60; i++) assert_int_equal(t.status[i], ORM_OK);
    assert_true(world_stats(w).connections <= 6);
}

/* A query without rows for a long time: it overflows, and runs again on a worker. */
static void test_long_scans_leave_the_thread(void **state)
{
    world *w = *state;
    fill(w, 20000);
    orm_query *query = orm_query_where(albums(w), "name__icontains", orm_text("x"));
    for (int i = 0; i < 4; i++) {
        told t = {0};
        orm_then(orm_all(w->db, orm_query_ref(query), NULL), tell, &t);
        wait_for(w, &t, 1);
        assert_int_equal(t.status[0], ORM_OK);
    }
    orm_query_unref(query);
    assert_true(world_stats(w).worker_statements >= 4);
}

/* ---- sinks ---- */

typedef struct counting {
    orm_sink sink;
    size_t rows, begun, fail_at;
    bool *statement_open;
} counting;

static orm_status counting_begin(orm_sink *sink, const orm_layout *layout, orm_error *err)
{
    (void)err;
    ((counting *)sink)->begun++;
    assert_int_equal(layout->n_columns, 2);
    assert_ptr_equal(layout->columns[1].model, layout->nodes[0].model);
    return ORM_OK;
}

static orm_status counting_row(orm_sink *sink, const orm_cell *cells, orm_error *err)
{
    counting *self = (counting *)sink;
    assert_int_equal(cells[0].kind, ORM_V_INT);
    assert_int_equal(cells[1].kind, ORM_V_TEXT);
    if (++self->rows == self->fail_at) return orm_fail(err, ORM_EVALIDATION, "enough");
    return ORM_OK;
}

static size_t counting_mark(const orm_sink *sink)
{
    return ((const counting *)sink)->rows;
}

static void counting_rewind(orm_sink *sink, size_t mark)
{
    ((counting *)sink)->rows = mark;
}

static const orm_sink_vtable counting_vtable = {
    sizeof(orm_sink_vtable), 0, counting_begin, counting_row, counting_mark, counting_rewind};

static void test_sinks(void **state)
{
    world *w = *state;
    fill(w, 7000);
    for (int round = 0; round < 4; round++) {
        counting direct = {.sink = {&counting_vtable, 0}};
        counting after = {.sink = {&counting_vtable, ORM_SINK_AFTER_RESET}};
        counting failing = {.sink = {&counting_vtable, 0}, .fail_at = 5000};
        RUN(orm_all(w->db, albums(w), &direct.sink));
        RUN(orm_all(w->db, albums(w), &after.sink));
        RUN_FAILS(orm_all(w->db, albums(w), &failing.sink), ORM_EVALIDATION);
        assert_int_equal(direct.rows, 7000);
        assert_int_equal(direct.begun, 1);
        assert_int_equal(after.rows, 7000);
        assert_int_equal(after.begun, 1);
        assert_int_equal(failing.rows, 5000);
    }
}

static void test_dropped_and_cancelled_reads(void **state)
{
    world *w = *state;
    fill(w, 7000);
    for (int round = 0; round < 6; round++) {
        told t = {0};
        counting sink = {.sink = {&counting_vtable, round % 2 ? ORM_SINK_AFTER_RESET : 0}};
        orm_op *op = orm_all(w->db, albums(w), &sink.sink);
        (void)orm_start(op, NULL, NULL);
        orm_op_free(op);
        size_t rows = sink.rows;
        op = orm_all(w->db, albums(w), &sink.sink);
        orm_then(op, tell, &t);
        orm_cancel(op);
        assert_int_equal(sink.rows - rows <= 7000, 1);
        rows = sink.rows;
        wait_for(w, &t, 1);
        assert_int_equal(sink.rows, rows);
        assert_true(t.status[0] == ORM_OK || t.status[0] == ORM_ECANCELLED);
        op = orm_all(w->db, albums(w), &sink.sink);
        orm_cancel(op);
        assert_int_equal(orm_start(op, NULL, NULL), ORM_DONE);
        assert_int_equal(orm_op_status(op), ORM_ECANCELLED);
        orm_op_free(op);
    }
    assert_int_equal(count_albums(w), 7000);
}

/* ---- deadlines ---- */

static void test_deadlines(void **state)
{
    world *w = *state;
    RUN(by_id(w, 1));
    for (int i = 0; i < 3; i++) {
        uint64_t began = orm_now_ns();
        orm_op *op = slow_op(w->db, 600);
        orm_op_set_deadline(op, 60);
        RUN_FAILS(op, ORM_EQUERYTIMEOUT);
        uint64_t ms = (orm_now_ns() - began) / 1000000;
        assert_in_range(ms, 55, ORM_TEST_SOON_NS / 1000000);
    }
    assert_int_equal(world_number(w, by_id(w, 1)), 0);
}

static void test_cancel_running(void **state)
{
    world *w = *state;
    for (int i = 0; i < 20; i++) {
        told t = {0};
        orm_op *op = slow_op(w->db, 600);
        orm_then(op, tell, &t);
        for (int k = 0; k < i % 4; k++) orm_wait(w->db, 3);
        orm_cancel(op);
        uint64_t began = orm_now_ns();
        wait_for(w, &t, 1);
        assert_int_equal(t.status[0], ORM_ECANCELLED);
        assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
        assert_int_equal(world_number(w, by_id(w, 1)), 0);
    }
}

static void test_detached_reads_stop(void **state)
{
    world *w = *state;
    for (int i = 0; i < 6; i++) {
        orm_op *op = slow_op(w->db, 600);
        (void)orm_start(op, NULL, NULL);
        orm_wait(w->db, i % 2);
        orm_op_free(op);
    }
    uint64_t began = orm_now_ns();
    while (world_stats(w).operations && orm_now_ns() - began < ORM_TEST_SOON_NS)
        orm_wait(w->db, 10);
    assert_int_equal(world_stats(w).operations, 0);
}

static void test_waiting_for_a_connection(void **state)
{
    world *w = *state;
    orm_error err = {0};
    orm_db *db;
    orm_engine *engine;
    told t = {0};
    ORM_TEST_OK(orm_open(w->url, &ORM_OPTIONS(.acquire_timeout_ms = 60), &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &engine, &err), &err);
    orm_op *ops[5];
    for (int i = 0; i < 5; i++) {
        ops[i] = slow_op(engine, 600);
        orm_then(ops[i], tell, &t);
    }
    /* One of five that had no memory has left a place: then this one runs. */
    orm_op *sixth = slow_op(engine, 600);
    orm_op_set_deadline(sixth, 2000);
    orm_status status = world_run(sixth, &err);
    if (status != ORM_EQUERYTIMEOUT || !orm_test_lacks_memory())
        ORM_TEST_FAILS(status, ORM_EPOOLTIMEOUT, &err);
    for (int i = 0; i < 5; i++) orm_cancel(ops[i]);
    for (int i = 0; t.count < 5 && i < 200; i++) orm_wait(engine, 100);
    assert_int_equal(t.count, 5);
    orm_close_engine(engine);
    orm_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NORMAL_TEST(test_reads_of_a_turn_share_a_transaction),
        WORLD_TESTS(test_own_writes_are_seen_at_once),
        NORMAL_TEST(test_writes_of_other_engines_are_seen_at_once),
        FULL_TEST(test_writes_of_other_engines_are_seen_at_once),
        NORMAL_TEST(test_foreign_writes_are_seen_within_a_millisecond),
        NORMAL_TEST(test_new_tables_are_found),
        NORMAL_TEST(test_shared_reads_can_be_off),
        WORLD_TESTS(test_large_results_arrive_whole),
        WORLD_TESTS(test_many_at_once),
        WORLD_TESTS(test_long_scans_leave_the_thread),
        WORLD_TESTS(test_sinks),
        WORLD_TESTS(test_dropped_and_cancelled_reads),
        WORLD_TESTS(test_deadlines),
        WORLD_TESTS(test_cancel_running),
        WORLD_TESTS(test_detached_reads_stop),
        NORMAL_TEST(test_waiting_for_a_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
