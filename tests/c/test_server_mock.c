/* The engine on a server that is scripted: what waits, what comes too late, what is lost. */
#include "engine_fixture.h"

#include "driver/mock/mock.h"

static int mock_setup(void **state)
{
    orm_error err;
    world *w = calloc(1, sizeof *w);
    orm_mock_driver.name = "sqlite"; /* its dialect; without the flag of embedded drivers */
    ORM_TEST_OK(orm_driver_register(&orm_mock_driver, &err), &err);
    orm_mock_reset();
    orm_db *db;
    orm_options options = ORM_OPTIONS(.max_size = 2);
    ORM_TEST_OK(orm_open("sqlite:///mock", &options, &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &w->db, &err), &err);
    orm_close(db);
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

static int logged(const char *text)
{
    int n = 0;
    for (const char *line = orm_mock_log(); (line = strstr(line, text)); line++)
        if (line == orm_mock_log() || line[-1] == '\n') n++;
    return n;
}

static orm_op *text_op(orm_engine *engine, const char *sql)
{
    return orm_raw(engine, sql, strlen(sql), NULL, 0, NULL, NULL);
}

static orm_op *within(orm_op *op, uint32_t ms)
{
    orm_op_set_deadline(op, ms);
    return op;
}

static orm_mock_answer select_answer(void)
{
    static const orm_cell one[] = {{.kind = ORM_V_INT, .as.i = 1}};
    return (orm_mock_answer){.sql = "SELECT*", .n_columns = 1, .cells = one, .n_rows = 1};
}

/* The first statement opens the connection on a worker; the second waits on this thread. */
static void test_a_statement_waits_on_its_descriptor(void **state)
{
    world *w = *state;
    orm_mock_answer first = select_answer(), second = select_answer();
    first.times = 1;
    second.want_read = 2;
    orm_mock_expect(&first);
    orm_mock_expect(&second);
    RUN(text_op(w->db, "SELECT 1"));
    uint64_t workers = world_stats(w).worker_statements;
    told t = {0};
    orm_then(text_op(w->db, "SELECT 1"), tell, &t);
    for (int i = 0; i < 3; i++) orm_wait(w->db, 5);
    assert_int_equal(t.count, 0);
    orm_mock_ready();
    for (int i = 0; i < 3; i++) orm_wait(w->db, 5);
    assert_int_equal(t.count, 0);
    orm_mock_ready();
    wait_for(w, &t, 1);
    assert_int_equal(t.status[0], ORM_OK);
    assert_int_equal(world_stats(w).worker_statements, workers);
    assert_int_equal(logged("open"), 1);
}

static void test_begin_waits_before_the_first_statement(void **state)
{
    world *w = *state;
    orm_mock_answer begin = {.sql = "BEGIN*", .times = 1, .want_read = 1}, answer = select_answer(),
                    commit = {.sql = "COMMIT", .want_read = 1};
    answer.want_read = 0;
    orm_mock_expect(&begin);
    orm_mock_expect(&commit);
    orm_mock_expect(&answer);
    RUN(text_op(w->db, "SELECT 1"));
    orm_engine *tx = world_begin(w->db, 0, false);
    told t = {0};
    orm_then(text_op(tx, "SELECT 1"), tell, &t);
    orm_then(orm_commit(tx), tell, &t);
    for (int i = 0; i < 3; i++) orm_wait(w->db, 5);
    assert_int_equal(logged("start SELECT 1"), 1);
    orm_mock_ready();
    for (int i = 0; i < 5; i++) orm_wait(w->db, 5);
    assert_int_equal(t.status[0], ORM_OK); /* or what there was no memory for */
    assert_int_equal(logged("start SELECT 1"), 2);
    assert_int_equal(logged("start COMMIT"), 1);
    assert_int_equal(t.count, 1);
    orm_mock_ready();
    wait_for(w, &t, 2);
    assert_int_equal(t.status[1], ORM_OK);
    orm_close_engine(tx);
}

/* A driver that can neither cancel nor settle: the connection is given up. */
static void test_a_deadline_ends_what_waits(void **state)
{
    world *w = *state;
    orm_mock_answer first = select_answer(), silent = select_answer();
    first.times = 1;
    silent.times = 1;
    silent.want_read = 1;
    silent.state_after = ORM_CONN_BUSY + 1;
    orm_mock_answer after = select_answer();
    orm_mock_expect(&first);
    orm_mock_expect(&silent);
    orm_mock_expect(&after);
    RUN(text_op(w->db, "SELECT 1"));
    uint64_t began = orm_now_ns();
    RUN_FAILS(within(text_op(w->db, "SELECT 1"), 400), ORM_EQUERYTIMEOUT);
    assert_in_range((orm_now_ns() - began) / 1000000u, 390, ORM_TEST_SOON_NS / 1000000u);
    RUN(text_op(w->db, "SELECT 1"));
}

static void test_a_commit_that_is_lost_is_unknown(void **state)
{
    world *w = *state;
    orm_error err;
    orm_mock_answer answer = select_answer();
    orm_mock_answer commit = {.sql = "COMMIT",
                              .status = ORM_ECONNLOST,
                              .flags = ORM_ERROR_DISCONNECT,
                              .state_after = ORM_CONN_BROKEN + 1};
    orm_mock_expect(&answer);
    orm_mock_expect(&commit);
    orm_engine *tx = world_begin(w->db, 0, false);
    RUN(text_op(tx, "SELECT 1"));
    assert_int_equal(world_run(orm_commit(tx), &err), ORM_ECOMMITUNKNOWN);
    assert_int_equal(err.outcome, ORM_OUTCOME_UNKNOWN);
    orm_close_engine(tx);
    assert_int_equal(logged("start COMMIT"), 1);
}

static void test_a_commit_without_an_answer_is_unknown(void **state)
{
    world *w = *state;
    orm_error err;
    orm_mock_answer answer = select_answer(), commit = {.sql = "COMMIT", .want_read = 1};
    orm_mock_expect(&answer);
    orm_mock_expect(&commit);
    orm_engine *tx = world_begin(w->db, 0, false);
    RUN(text_op(tx, "SELECT 1"));
    uint64_t began = orm_now_ns();
    assert_int_equal(world_run(within(orm_commit(tx), 400), &err), ORM_ECOMMITUNKNOWN);
    assert_in_range((orm_now_ns() - began) / 1000000u, 390, ORM_TEST_SOON_NS / 1000000u);
    assert_int_equal(err.outcome, ORM_OUTCOME_UNKNOWN);
    orm_close_engine(tx);
    RUN(text_op(w->db, "SELECT 1"));
}

static void test_failed_attempts_to_connect_hold_off(void **state)
{
    world *w = *state;
    orm_mock_answer refused = {.sql = "open", .status = ORM_ECONNECT}, answer = select_answer();
    orm_mock_expect(&refused);
    orm_mock_expect(&answer);
    uint64_t began = orm_now_ns();
    for (int i = 0; i < 4; i++) RUN_FAILS(text_op(w->db, "SELECT 1"), ORM_ECONNECT);
    assert_true(orm_now_ns() - began >= 100 * 1000000u);
    assert_int_equal(logged("open"), 4);
}

/* A whole life: connecting, a statement there and one here, a transaction with a savepoint. */
static orm_status run_life(void *arg)
{
    (void)arg;
    orm_error err;
    orm_db *db = NULL;
    orm_engine *engine = NULL;
    orm_options options = ORM_OPTIONS(.max_size = 2);
    orm_status status = orm_open("sqlite:///mock", &options, &db, &err);
    if (status >= 0) status = orm_engine_new(db, &engine, &err);
    for (int i = 0; i < 2 && status >= 0; i++)
        status = orm_await(text_op(engine, "SELECT 1"), NULL, &err);
    orm_engine *tx = status >= 0 ? orm_begin(engine, 0, false) : NULL;
    orm_engine *inner = tx ? orm_begin(tx, 0, false) : NULL;
    if (status >= 0 && !inner) status = ORM_ENOMEM;
    if (status >= 0) status = orm_await(text_op(inner, "SELECT 1"), NULL, &err);
    if (status >= 0) status = orm_await(orm_commit(inner), NULL, &err);
    if (status >= 0) status = orm_await(orm_commit(tx), NULL, &err);
    orm_close_engine(inner);
    orm_close_engine(tx);
    orm_close_engine(engine);
    orm_close(db);
    return status;
}

static void test_a_life_without_memory(void **state)
{
    (void)state;
    orm_error err;
    orm_mock_driver.name = "sqlite";
    ORM_TEST_OK(orm_driver_register(&orm_mock_driver, &err), &err);
    orm_mock_reset();
    orm_mock_answer answer = select_answer();
    orm_mock_expect(&answer);
    orm_test_with_failing_allocations(run_life, NULL);
    assert_int_equal(orm_mock_connections(), 0);
}

#define MOCK_TEST(f) cmocka_unit_test_setup_teardown(f, mock_setup, mock_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MOCK_TEST(test_a_statement_waits_on_its_descriptor),
        MOCK_TEST(test_begin_waits_before_the_first_statement),
        MOCK_TEST(test_a_deadline_ends_what_waits),
        MOCK_TEST(test_a_commit_that_is_lost_is_unknown),
        MOCK_TEST(test_a_commit_without_an_answer_is_unknown),
        MOCK_TEST(test_failed_attempts_to_connect_hold_off),
        cmocka_unit_test(test_a_life_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
