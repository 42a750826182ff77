/* Connecting on threads of its own: how many, for whom, and what becomes of what is late. */
#include "engine_fixture.h"

#include "driver/mock/mock.h"
#include <unistd.h>

enum {
    MANY = 20
};

static orm_mock_answer select_answer(void)
{
    static const orm_cell one[] = {{.kind = ORM_V_INT, .as.i = 1}};
    return (orm_mock_answer){.sql = "SELECT*", .n_columns = 1, .cells = one, .n_rows = 1};
}

/* An engine whose first attempts, as many as `at_once`, are made at once, and `blocked` behind them
 * (0 = all) when they are released. */
static world *world_new(orm_options options, int at_once, int blocked)
{
    orm_error err;
    orm_db *db;
    world *w = calloc(1, sizeof *w);
    orm_mock_answer quick = {.sql = "open", .times = at_once}, answer = select_answer(),
                    slow = {.sql = "open", .times = blocked, .blocks = true};
    orm_mock_driver.name = "sqlite"; /* its dialect; without the flag of embedded drivers */
    ORM_TEST_OK(orm_driver_register(&orm_mock_driver, &err), &err);
    orm_mock_reset();
    if (at_once) orm_mock_expect(&quick);
    orm_mock_expect(&slow);
    orm_mock_expect(&answer);
    ORM_TEST_OK(orm_open("sqlite:///mock", &options, &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &w->db, &err), &err);
    orm_close(db);
    return w;
}

/* What a thread has to do may take a while; what is asserted behind this is that it is done. */
static void until(bool (*is_so)(size_t), size_t what)
{
    uint64_t end = orm_now_ns() + ORM_TEST_SOON_NS;
    while (!is_so(what) && orm_now_ns() < end) usleep(1000);
    assert_true(is_so(what));
}

static bool are_opening(size_t n)
{
    return orm_mock_opening() == n;
}

static bool are_connected(size_t n)
{
    return orm_mock_connections() == n && orm_mock_statements() == 0;
}

static void world_free(world *w)
{
    orm_close_engine(w->db);
    while (orm_mock_opening()) {
        orm_mock_release();
        usleep(1000);
    }
    until(are_connected, 0);
    free(w);
}

/* The same, and n are told, unless an allocation has failed: then false, since nobody may come. */
static bool opens(const world *w, const told *t, size_t n_opening, int n_told)
{
    uint64_t end = orm_now_ns() + ORM_TEST_SOON_NS;
    while ((orm_mock_opening() != n_opening || t->count < n_told) && orm_now_ns() < end) {
        if (orm_test_lacks_memory()) return false;
        orm_wait(w->db, 5);
    }
    if (orm_test_lacks_memory()) return false;
    assert_int_equal(orm_mock_opening(), n_opening);
    assert_int_equal(t->count, n_told);
    return true;
}

static bool are_told(const world *w, const told *t, int n)
{
    while (t->count < n && !orm_test_lacks_memory()) orm_wait(w->db, 100);
    return !orm_test_lacks_memory();
}

/* Who waits for a connection for which there was no memory waits for one of the others.  When the
 * engine is closed all the same, each has been told. */
static void give_up(world *w, const told *t, int n_told)
{
    orm_close_engine(w->db);
    w->db = NULL;
    assert_int_equal(t->count, n_told);
    world_free(w);
}

static orm_op *select_one(orm_engine *engine)
{
    return orm_raw(engine, "SELECT 1", 8, NULL, 0, NULL, NULL);
}

static void turns(const world *w, int n)
{
    for (int i = 0; i < n; i++) orm_wait(w->db, 5);
}

/* Each transaction needs a connection of its own. */
static void test_two_threads_connect(void **state)
{
    (void)state;
    world *w = world_new(ORM_OPTIONS(.max_size = MANY), 0, 0);
    orm_engine *tx[MANY];
    told t = {0};
    for (int i = 0; i < MANY; i++) {
        tx[i] = world_begin(w->db, 0, false);
        orm_then(select_one(tx[i]), tell, &t);
    }
    for (int done = 0; done < MANY; done++) {
        size_t left = MANY - (size_t)done;
        if (!opens(w, &t, left < 2 ? left : 2, done)) {
            for (int i = 0; i < MANY; i++) orm_close_engine(tx[i]);
            give_up(w, &t, MANY);
            return;
        }
        turns(w, 2);
        assert_int_equal(orm_mock_opening(), left < 2 ? left : 2);
        assert_in_range(world_stats(w).threads, 1, 2);
        orm_mock_release();
    }
    if (!are_told(w, &t, MANY)) {
        for (int i = 0; i < MANY; i++) orm_close_engine(tx[i]);
        give_up(w, &t, MANY);
        return;
    }
    for (int i = 0; i < MANY; i++) assert_int_equal(t.status[i], ORM_OK);
    assert_int_equal(orm_mock_connections(), MANY);
    for (int i = 0; i < MANY; i++) orm_close_engine(tx[i]);
    world_free(w);
}

/* Nobody waits for the connection that was begun for him when there is another. */
static void test_the_first_connection_serves_all_that_wait(void **state)
{
    (void)state;
    world *w = world_new(ORM_OPTIONS(.max_size = MANY), 1, 0);
    told t = {0};
    for (int i = 0; i < MANY; i++) orm_then(select_one(w->db), tell, &t);
    if (!are_told(w, &t, MANY)) {
        give_up(w, &t, MANY);
        return;
    }
    for (int i = 0; i < MANY; i++) assert_int_equal(t.status[i], ORM_OK);
    assert_int_equal(orm_mock_connections(), 1);
    world_free(w); /* and closing does not wait for the other */
}

static void test_an_attempt_that_is_late_is_left(void **state)
{
    (void)state;
    world *w = world_new(ORM_OPTIONS(.max_size = 4, .connect_timeout_ms = 100), 0, 2);
    uint64_t began = orm_now_ns();
    RUN_FAILS(select_one(w->db), ORM_ECONNECT);
    RUN_FAILS(select_one(w->db), ORM_ECONNECT);
    assert_int_equal(orm_mock_opening(), 2);
    RUN_FAILS(select_one(w->db), ORM_ECONNECT); /* no thread is left to try: as late, no later */
    assert_true(orm_now_ns() - began < 3 * ORM_TEST_SOON_NS);
    assert_int_equal(world_stats(w).connections, 0);
    orm_mock_release();
    orm_mock_release();
    until(are_opening, 0);
    until(are_connected, 0);
    RUN(select_one(w->db)); /* the fault is gone */
    world_free(w);
}

/* The limit for a free connection does not hold for one that is being made. */
static void test_connecting_is_not_waiting_for_others(void **state)
{
    (void)state;
    world *w = world_new(ORM_OPTIONS(.max_size = 1, .acquire_timeout_ms = 20), 0, 0);
    told t = {0};
    orm_then(select_one(w->db), tell, &t);
    orm_then(select_one(w->db), tell, &t);
    if (!are_told(w, &t, 1)) {
        give_up(w, &t, 2);
        return;
    }
    assert_int_equal(t.status[0], ORM_EPOOLTIMEOUT); /* the second's: nothing is made for it */
    assert_non_null(strstr(t.error[0].message, "0 of 1 are held"));
    orm_mock_release();
    wait_for(w, &t, 2);
    assert_int_equal(t.status[1], ORM_OK);
    world_free(w);
}

static void test_cancelling_while_it_connects(void **state)
{
    (void)state;
    world *w = world_new(ORM_OPTIONS(.max_size = 1), 0, 1);
    told t = {0};
    orm_op *op = select_one(w->db);
    orm_then(op, tell, &t);
    if (!opens(w, &t, 1, 0)) {
        give_up(w, &t, 1);
        return;
    }
    orm_cancel(op);
    wait_for(w, &t, 1);
    assert_int_equal(t.status[0], ORM_ECANCELLED);
    orm_mock_release();
    RUN(select_one(w->db)); /* with the connection that was on its way */
    assert_int_equal(orm_mock_connections(), 1);
    world_free(w);
}

static void test_closing_does_not_wait_for_an_attempt(void **state)
{
    (void)state;
    world *w = world_new(ORM_OPTIONS(.max_size = 2), 0, 0);
    told t = {0};
    orm_then(select_one(w->db), tell, &t);
    if (!opens(w, &t, 1, 0)) {
        give_up(w, &t, 1);
        return;
    }
    uint64_t began = orm_now_ns();
    orm_close_engine(w->db);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    assert_int_equal(t.status[0], ORM_EPOOLCLOSED);
    assert_int_equal(orm_mock_opening(), 1);
    w->db = NULL;
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_threads_connect),
        cmocka_unit_test(test_the_first_connection_serves_all_that_wait),
        cmocka_unit_test(test_an_attempt_that_is_late_is_left),
        cmocka_unit_test(test_connecting_is_not_waiting_for_others),
        cmocka_unit_test(test_cancelling_while_it_connects),
        cmocka_unit_test(test_closing_does_not_wait_for_an_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
