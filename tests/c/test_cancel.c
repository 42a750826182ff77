/* Cancels go out on one thread; what is late costs the connection and nobody's time. */
#include "engine_fixture.h"

#include "driver/mock/mock.h"
#include <unistd.h>

enum {
    MANY = 10
};

/* ---- a server's side of cancelling, which the mock has not ---- */

static _Atomic int made, freed, sent, sending, most, held;

static orm_status kill_send(orm_kill *self, orm_error *err)
{
    (void)self, (void)err;
    int now = ++sending;
    if (now > most) most = now;
    while (held) usleep(1000);
    sending--;
    sent++;
    return ORM_OK;
}

static void kill_free(orm_kill *self)
{
    free(self);
    freed++;
}

static orm_status cancel(orm_conn *conn, orm_kill **out, orm_error *err)
{
    (void)conn;
    orm_kill *kill = malloc(sizeof *kill);
    if (!kill) return orm_fail_nomem(err);
    *kill = (orm_kill){.send = kill_send, .free = kill_free};
    *out = kill;
    made++;
    return ORM_OK;
}

/* ---- an engine whose first statement on each of its connections never ends ---- */

static world *world_new(int endless)
{
    static const orm_cell one[] = {{.kind = ORM_V_INT, .as.i = 1}};
    orm_error err;
    orm_db *db;
    orm_options options = ORM_OPTIONS(.max_size = MANY, .query_timeout_ms = 300);
    orm_mock_answer silent = {.sql = "SELECT*",
                              .times = endless,
                              .n_columns = 1,
                              .want_read = 1,
                              .busy_when_left = true},
                    answer = {.sql = "SELECT*", .n_columns = 1, .cells = one, .n_rows = 1};
    world *w = calloc(1, sizeof *w);
    made = freed = sent = sending = most = held = 0;
    orm_mock_driver.name = "sqlite"; /* its dialect; without the flag of embedded drivers */
    orm_mock_driver.cancel = cancel;
    ORM_TEST_OK(orm_driver_register(&orm_mock_driver, &err), &err);
    orm_mock_reset();
    orm_mock_expect(&silent);
    orm_mock_expect(&answer);
    ORM_TEST_OK(orm_open("sqlite:///mock", &options, &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &w->db, &err), &err);
    orm_close(db);
    return w;
}

static void until_equal(_Atomic int *what, _Atomic int *wanted)
{
    uint64_t end = orm_now_ns() + ORM_TEST_SOON_NS;
    while (*what != *wanted && orm_now_ns() < end) usleep(1000);
    assert_int_equal(*what, *wanted);
}

static orm_op *select_one(orm_engine *engine)
{
    return orm_raw(engine, "SELECT 1", 8, NULL, 0, NULL, NULL);
}

/* Each on a connection of its own, and all beyond their deadline. */
static void run_endless(world *w, int n)
{
    told t = {0};
    uint64_t began = orm_now_ns();
    for (int i = 0; i < n; i++) orm_then(select_one(w->db), tell, &t);
    wait_for(w, &t, n);
    for (int i = 0; i < n; i++) assert_int_equal(t.status[i], ORM_EQUERYTIMEOUT);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    world *w = world_new(MANY);
    run_endless(w, MANY);
    RUN(select_one(w->db));
    orm_close_engine(w->db);
    until_equal(&freed, &made);
    assert_int_equal(sent, made);
    assert_int_equal(made, MANY);
    assert_int_equal(most, 1);
    assert_int_equal(orm_mock_connections(), 0);
    free(w);
}

/* The first blocks the thread for longer than anybody waits: their connections are closed, others
 * are made, and every cancel goes out in the end. */
static void test_late_ones_close_their_connections(void **state)
{
    (void)state;
    world *w = world_new(3);
    held = 1;
    run_endless(w, 3);
    uint64_t end = orm_now_ns() + ORM_TEST_SOON_NS;
    while (orm_mock_connections() && orm_now_ns() < end) orm_wait(w->db, 10);
    assert_int_equal(orm_mock_connections(), 0);
    RUN(select_one(w->db));
    assert_int_equal(orm_mock_connections(), 1);
    assert_int_equal(sent, 0);
    held = 0;
    until_equal(&sent, &made);
    assert_int_equal(made, 3);
    assert_int_equal(most, 1);
    orm_close_engine(w->db);
    until_equal(&freed, &made);
    free(w);
}

static void test_closing_waits_for_no_cancel(void **state)
{
    (void)state;
    world *w = world_new(3);
    held = 1;
    run_endless(w, 3);
    uint64_t began = orm_now_ns();
    orm_close_engine(w->db);
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    held = 0;
    until_equal(&sent, &made);
    until_equal(&freed, &made);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_late_ones_close_their_connections),
        cmocka_unit_test(test_closing_waits_for_no_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
