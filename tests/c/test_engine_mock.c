/* The engine over a scripted driver: what real databases do seldom.  The mock takes the place of
 * the SQLite driver in this process.
 */
#include "engine_fixture.h"

#include "driver/mock/mock.h"

static uint32_t traits_now;

static uint32_t mock_traits(const orm_conn *conn)
{
    (void)conn;
    return traits_now;
}

static int mock_setup(void **state)
{
    orm_error err;
    world *w = calloc(1, sizeof *w);
    orm_mock_driver.name = "sqlite";
    orm_mock_driver.flags = ORM_DRIVER_EMBEDDED;
    orm_mock_driver.traits = mock_traits;
    traits_now = ORM_TRAIT_CONCURRENT;
    ORM_TEST_OK(orm_driver_register(&orm_mock_driver, &err), &err);
    orm_mock_reset();
    ORM_TEST_OK(ORM_CONNECT("sqlite:///mock", &w->db, &err, &Album_model, &Track_model), &err);
    *state = w;
    return 0;
}

static int mock_teardown(void **state)
{
    world_teardown(state);
    assert_int_equal(orm_mock_connections(), 0);
    assert_int_equal(orm_mock_statements(), 0);
    return 0;
}

/* How often a line of the log begins with the text. */
static int logged(const char *text)
{
    int n = 0;
    for (const char *line = orm_mock_log(); line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, text, strlen(text)) == 0) n++;
    }
    return n;
}

static const orm_cell album_cells[] = {
    {.kind = ORM_V_INT, .as.i = 1},
    {.kind = ORM_V_TEXT, .len = 1, .as.ptr = "a"},
    {.kind = ORM_V_INT, .as.i = 2},
    {.kind = ORM_V_TEXT, .len = 1, .as.ptr = "b"},
};

static orm_mock_answer rows_answer(size_t n)
{
    return (orm_mock_answer){.sql = "SELECT*", .n_columns = 2, .cells = album_cells, .n_rows = n};
}

static orm_op *get_album(const world *w)
{
    return orm_get(w->db, orm_query_where(albums(w), "id", orm_int(1)), NULL);
}

static void test_a_broken_connection_is_replaced(void **state)
{
    world *w = *state;
    orm_mock_answer lost = {.sql = "SELECT*",
                            .times = 1,
                            .n_columns = 2,
                            .status = ORM_ECONNLOST,
                            .flags = ORM_ERROR_DISCONNECT,
                            .state_after = ORM_CONN_BROKEN + 1};
    orm_mock_answer fine = rows_answer(1);
    orm_mock_expect(&lost);
    orm_mock_expect(&fine);
    RUN_FAILS(get_album(w), ORM_ECONNLOST);
    RUN(get_album(w));
    RUN(get_album(w));
    /* a worker closes the broken one, when it gets to it, and writes into the log as it does */
    for (int i = 0; i < 10000 && orm_mock_connections() > 1; i++) usleep(1000);
    int opened = logged("open");
    if (opened < 2 || !orm_test_lacks_memory()) assert_int_equal(opened, 2); /* else replaced too */
    assert_int_equal(logged("close"), opened - 1);
}

static void test_going_on_between_rows(void **state)
{
    world *w = *state;
    orm_mock_answer answer = rows_answer(2);
    answer.pending = 3;
    orm_mock_expect(&answer);
    orm_query *first = orm_query_where(albums(w), "id__in", orm_list((orm_value[]){orm_int(1)}, 1));
    orm_result *result = world_rows(orm_all(w->db, orm_query_ref(first), NULL));
    orm_result_free(result);
    for (int i = 0; i < 5; i++) {
        told t = {0};
        orm_then(orm_all(w->db, orm_query_ref(first), NULL), tell, &t);
        wait_for(w, &t, 1);
        assert_int_equal(t.status[0], ORM_OK);
    }
    orm_query_unref(first);
    assert_true(world_stats(w).overflows >= 3);
}

static void test_rewound_reads_run_again_on_a_worker(void **state)
{
    world *w = *state;
    orm_mock_answer warm = rows_answer(1), again = rows_answer(1);
    warm.times = 2;
    again.pending = 1;
    again.rewinds = true;
    again.times = 1;
    orm_mock_expect(&warm);
    orm_mock_expect(&again);
    RUN(get_album(w));
    RUN(get_album(w));
    orm_engine_stats before = world_stats(w);
    orm_result *result = world_rows(get_album(w));
    assert_int_equal(orm_result_count(result), 1);
    orm_result_free(result);
    orm_engine_stats after = world_stats(w);
    assert_int_equal(after.overflows - before.overflows, 1);
    assert_int_equal(after.worker_statements - before.worker_statements, 1);
}

static void test_locked_reads_wait_on_a_worker(void **state)
{
    world *w = *state;
    orm_mock_answer warm = rows_answer(1), fine = rows_answer(1);
    warm.times = 1;
    orm_mock_answer locked = {
        .sql = "SELECT*", .times = 1, .n_columns = 2, .status = ORM_ELOCKTIMEOUT};
    orm_mock_expect(&warm);
    orm_mock_expect(&locked);
    orm_mock_expect(&fine);
    RUN(get_album(w));
    uint64_t before = world_stats(w).worker_statements;
    RUN(get_album(w));
    assert_int_equal(world_stats(w).worker_statements, before + 1);
}

static void insert_group(world *w, Album *rows, int n, told *t)
{
    for (int i = 0; i < n; i++) {
        orm_engine_set_caller(w->db, &rows[i]);
        rows[i] = (Album){.name = "x"};
        orm_op *op = ORM_INSERT(w->db, Album, &rows[i]);
        orm_op_set_deadline(op, 80);
        orm_then(op, tell, t);
    }
    orm_engine_set_caller(w->db, NULL);
}

static void test_a_group_whose_commit_fails(void **state)
{
    world *w = *state;
    told t = {0};
    Album rows[4];
    orm_mock_answer insert = {.sql = "INSERT*", .info = {.affected = 1, .last_key = 5}};
    orm_mock_answer full = {.sql = "COMMIT", .times = 1, .status = ORM_EDISKFULL};
    orm_mock_expect(&insert);
    orm_mock_expect(&full);
    insert_group(w, rows, 4, &t);
    wait_for(w, &t, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(t.status[i], ORM_OK);
    assert_int_equal(logged("start INSERT"), 8);
    assert_int_equal(logged("start ROLLBACK"), 1);
    assert_int_equal(rows[3].id, 5);
}

static void test_a_group_beyond_its_deadline_is_unknown(void **state)
{
    world *w = *state;
    told t = {0};
    Album rows[3];
    orm_mock_answer stuck = {
        .sql = "INSERT*", .info = {.affected = 1, .last_key = 5}, .blocks = true};
    orm_mock_expect(&stuck);
    insert_group(w, rows, 3, &t);
    uint64_t began = orm_now_ns();
    wait_for(w, &t, 3);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(t.status[i], ORM_EQUERYTIMEOUT);
        assert_int_equal(t.error[i].outcome, ORM_OUTCOME_UNKNOWN);
    }
    assert_int_equal(world_stats(w).operations, 3); /* the lane still has them */
    for (int i = 0; i < 3; i++) orm_mock_release();
    for (int i = 0; world_stats(w).operations && i < 2000; i++) {
        orm_wait(w->db, 10);
        if (orm_test_lacks_memory()) orm_mock_release(); /* the group died: each runs alone again */
    }
    assert_int_equal(world_stats(w).operations, 0);
}

static void test_a_commit_beyond_its_deadline_is_unknown(void **state)
{
    world *w = *state;
    traits_now |= ORM_TRAIT_DURABLE;
    orm_mock_answer insert = {.sql = "INSERT*", .info = {.affected = 1, .last_key = 5}};
    orm_mock_answer stuck = {.sql = "COMMIT", .blocks = true};
    orm_mock_expect(&insert);
    orm_mock_expect(&stuck);
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "x");
    orm_op *op = orm_commit(tx);
    orm_op_set_deadline(op, 40);
    orm_error err = {0};
    assert_int_equal(world_run(op, &err), ORM_ECOMMITUNKNOWN);
    assert_int_equal(err.outcome, ORM_OUTCOME_UNKNOWN);
    orm_mock_release();
    orm_close_engine(tx);
    for (int i = 0; world_stats(w).operations && i < 2000; i++) orm_wait(w->db, 10);
    assert_int_equal(world_stats(w).operations, 0);
    orm_mock_release();
    add_album(w->db, "next");
}

static void test_failing_to_open(void **state)
{
    world *w = *state;
    orm_mock_answer refused = {.sql = "open", .times = 2, .status = ORM_ECONNECT};
    orm_mock_answer fine = rows_answer(1);
    orm_mock_expect(&refused);
    orm_mock_expect(&fine);
    RUN_FAILS(get_album(w), ORM_ECONNECT);
    RUN_FAILS(get_album(w), ORM_ECONNECT);
    RUN(get_album(w)); /* the fault is gone: service goes on */
}

#define MOCK_TEST(f) cmocka_unit_test_setup_teardown(f, mock_setup, mock_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MOCK_TEST(test_a_broken_connection_is_replaced),
        MOCK_TEST(test_going_on_between_rows),
        MOCK_TEST(test_rewound_reads_run_again_on_a_worker),
        MOCK_TEST(test_locked_reads_wait_on_a_worker),
        MOCK_TEST(test_a_group_whose_commit_fails),
        MOCK_TEST(test_a_group_beyond_its_deadline_is_unknown),
        MOCK_TEST(test_a_commit_beyond_its_deadline_is_unknown),
        MOCK_TEST(test_failing_to_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
