/* Who holds the connections, on a server that is scripted; and who need not begin to wait. */
#include "engine_fixture.h"

#include "driver/mock/mock.h"

static int setup(void **state)
{
    orm_error err;
    world *w = calloc(1, sizeof *w);
    orm_mock_driver.name = "sqlite"; /* its dialect; without the flag of embedded drivers */
    ORM_TEST_OK(orm_driver_register(&orm_mock_driver, &err), &err);
    orm_mock_reset();
    orm_db *db;
    orm_options options = ORM_OPTIONS(.max_size = 2, .max_waiting = 1);
    ORM_TEST_OK(orm_open("sqlite:///mock", &options, &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &w->db, &err), &err);
    orm_close(db);
    *state = w;
    return 0;
}

static orm_op *text_op(orm_engine *engine, const char *sql)
{
    return orm_raw(engine, sql, strlen(sql), NULL, 0, NULL, NULL);
}

static void until_told(const world *w, const told *t, int count)
{
    for (int i = 0; t->count < count && i < 1000; i++) { /* its connection may not be open yet */
        orm_mock_ready();
        orm_wait(w->db, 20);
    }
    assert_int_equal(t->count, count);
}

/* A transaction of `first` holds one of two connections, a statement of `second` the other. */
static void test_holders_and_those_who_wait(void **state)
{
    world *w = *state;
    int first, second, third;
    orm_mock_answer slow = {.sql = "SELECT 2", .times = 1, .want_read = 1}, quick = {.sql = "*"};
    orm_mock_expect(&slow);
    orm_mock_expect(&quick);
    orm_holder holders[4] = {{0}};
    assert_int_equal(orm_engine_holders(w->db, holders, 4), 0);

    orm_engine_set_caller(w->db, &first);
    orm_engine *tx = world_begin(w->db, 0, false);
    RUN(text_op(tx, "SELECT 1"));
    assert_int_equal(orm_engine_holders(w->db, holders, 4), 1);
    assert_int_equal(holders[0].kind, ORM_HOLDER_TRANSACTION);
    assert_ptr_equal(holders[0].caller, &first);
    assert_ptr_equal(holders[0].transaction, tx);

    told t = {0};
    orm_engine_set_caller(w->db, &second);
    orm_then(text_op(w->db, "SELECT 2"), tell, &t);
    for (int i = 0; orm_engine_holders(w->db, holders, 4) < 2 && i < 1000; i++) {
        if (orm_test_lacks_memory() && i >= 10) break; /* for a second connection */
        orm_wait(w->db, 20);
    }
    assert_int_equal(t.count, 0);
    if (orm_test_lacks_memory() && orm_engine_holders(w->db, holders, 4) < 2) { /* it waits */
        RUN(orm_commit(tx));
        until_told(w, &t, 1);
        orm_close_engine(tx);
        return;
    }
    assert_int_equal(orm_engine_holders(w->db, holders, 4), 2);
    assert_ptr_equal(holders[0].transaction, tx); /* the oldest first */
    assert_int_equal(holders[1].kind, ORM_HOLDER_OPERATION);
    assert_ptr_equal(holders[1].caller, &second);
    assert_null(holders[1].transaction);
    assert_true(holders[0].held_ns >= holders[1].held_ns);
    assert_int_equal(orm_engine_holders(w->db, holders, 1), 2);
    assert_ptr_equal(holders[0].transaction, tx);
    assert_int_equal(orm_engine_holders(w->db, NULL, 0), 2);

    orm_engine_set_caller(w->db, &third);
    orm_then(text_op(w->db, "SELECT 3"), tell, &t); /* waits: one may */
    orm_wait(w->db, 0);
    bool waits = t.count == 0;
    orm_error err;
    orm_status status = waits ? world_run(text_op(w->db, "SELECT 4"), &err) : ORM_ENOMEM;

    RUN(orm_commit(tx));
    until_told(w, &t, 2);
    for (int i = 0; i < 2; i++) ORM_TEST_OK(t.status[i], &t.error[i]);
    for (int i = 0; orm_engine_holders(w->db, holders, 4) && i < 1000; i++) {
        assert_int_equal(holders[0].kind, ORM_HOLDER_UPKEEP);
        orm_wait(w->db, 20);
    }
    assert_int_equal(orm_engine_holders(w->db, holders, 4), 0);
    orm_close_engine(tx);

    /* judged where nothing is left that would have to be waited for */
    if (status == ORM_ENOMEM && orm_test_lacks_memory()) return;
    assert_int_equal(status, ORM_EPOOLTIMEOUT);
    assert_non_null(strstr(err.message, "max_waiting allows wait already (1): 2 of 2 are held"));
}

static void test_max_waiting_in_the_url(void **state)
{
    (void)state;
    orm_error err;
    orm_db *db;
    ORM_TEST_OK(orm_open("sqlite:///x.db?max_waiting=100", NULL, &db, &err), &err);
    orm_close(db);
    assert_int_equal(orm_open("sqlite:///x.db?max_waiting=some", NULL, &db, &err), ORM_ECONFIG);
    assert_non_null(strstr(err.message, "max_waiting"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_holders_and_those_who_wait, setup, world_teardown),
        cmocka_unit_test(test_max_waiting_in_the_url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
