/* The engine as a whole: turns, callbacks, misuse, threads, forks, its end. */
#include "engine_fixture.h"

#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>

/* ---- turns and callbacks ---- */

static void test_start_completes_at_once(void **state)
{
    world *w = *state;
    add_album(w->db, "a");
    orm_op *op = orm_get(w->db, orm_query_where(albums(w), "name", orm_text("a")), NULL);
    orm_status first = orm_start(op, NULL, NULL);
    while (orm_op_status(op) == ORM_PENDING) orm_wait(w->db, 1000);
    ORM_TEST_OK(orm_op_status(op), orm_op_error(op));
    orm_op_free(op);
    /* The connection is open now, the plan bounded: no turn of the loop is spent. */
    for (int i = 0; i < 3; i++) {
        told t = {0};
        op = orm_get(w->db, orm_query_where(albums(w), "name", orm_text("a")), NULL);
        assert_int_equal(orm_start(op, tell, &t), ORM_DONE);
        orm_process(w->db, 0);
        assert_int_equal(t.count, 0);
        ORM_TEST_OK(orm_op_status(op), orm_op_error(op));
        orm_result *result = orm_op_take(op);
        assert_string_equal(ORM_ONE(Album, result)->name, "a");
        orm_result_free(result);
        orm_op_free(op);
    }
    (void)first;
}

static void test_then_calls_back_from_process(void **state)
{
    world *w = *state;
    told t = {0};
    for (int i = 0; i < 3; i++) {
        orm_then(orm_count(w->db, albums(w)), tell, &t);
        assert_int_equal(t.count, i);
        wait_for(w, &t, i + 1);
        assert_int_equal(t.status[i], ORM_OK);
    }
}

static void on_defer(orm_engine *engine, void *user)
{
    (void)engine;
    ++*(int *)user;
}

static void test_defer_asks_once_per_turn(void **state)
{
    world *w = *state;
    int asked = 0;
    told t = {0};
    (void)count_albums(w); /* opens the connection */
    orm_set_defer(w->db, on_defer, &asked);
    for (int i = 0; i < 5; i++)
        orm_then(orm_exists(w->db, orm_query_where(albums(w), "id", orm_int(1))), tell, &t);
    assert_int_equal(asked, 1);
    for (int i = 0; t.count < 5 && i < 100; i++) orm_wait(w->db, 1000);
    assert_int_equal(t.count, 5);
    orm_set_defer(w->db, NULL, NULL);
}

static void test_descriptor_is_readable_for_work(void **state)
{
    world *w = *state;
    told t = {0};
    struct pollfd fd = {.fd = orm_fd(w->db), .events = POLLIN};
    while (poll(&fd, 1, 0) > 0) orm_process(w->db, 0);
    orm_then(orm_count(w->db, albums(w)), tell, &t);
    for (int i = 0; t.count == 0 && i < 100; i++) {
        assert_int_equal(poll(&fd, 1, 1000), 1);
        orm_process(w->db, 0);
    }
    assert_int_equal(t.count, 1);
    while (poll(&fd, 1, 20) > 0) orm_process(w->db, 0);
    assert_int_equal(poll(&fd, 1, 0), 0);
}

typedef struct nested {
    world *w;
    orm_status status;
    int processed;
    bool called;
} nested;

static void on_nested(orm_op *op, void *user)
{
    nested *n = user;
    orm_error err;
    n->called = true;
    n->status = orm_await(orm_count(n->w->db, albums(n->w)), NULL, &err);
    n->processed = orm_process(n->w->db, 0) + orm_wait(n->w->db, 10);
    orm_op_free(op);
}

static void test_await_in_a_callback_is_misuse(void **state)
{
    nested n = {.w = *state};
    orm_then(orm_count(n.w->db, albums(n.w)), on_nested, &n);
    for (int i = 0; !n.called && i < 100; i++) orm_wait(n.w->db, 1000);
    assert_int_equal(n.status, ORM_EMISUSE);
    assert_int_equal(n.processed, 0);
}

static void test_await_leaves_other_callbacks_for_process(void **state)
{
    world *w = *state;
    told t = {0};
    for (int i = 0; i < 4; i++) orm_then(orm_count(w->db, albums(w)), tell, &t);
    RUN(orm_count(w->db, albums(w)));
    assert_int_equal(t.count, 0);
    wait_for(w, &t, 4);
}

static void on_chain(orm_op *op, void *user)
{
    told *t = user;
    orm_engine *db = *(orm_engine **)((char *)user - offsetof(
                                                         struct {
                                                             orm_engine *e;
                                                             told t;
                                                         },
                                                         t));
    t->status[t->count++] = orm_op_status(op);
    orm_op_free(op);
    if (t->count < 100) orm_then(orm_count(db, ORM_FROM(db, Album)), on_chain, t);
}

static void test_callbacks_may_start_operations(void **state)
{
    world *w = *state;
    struct {
        orm_engine *e;
        told t;
    } chain = {.e = w->db};
    orm_then(orm_count(w->db, albums(w)), on_chain, &chain.t);
    wait_for(w, &chain.t, 100);
}

/* ---- misuse ---- */

static void test_null_arguments(void **state)
{
    (void)state;
    orm_error err;
    orm_op *op = orm_all(NULL, NULL, NULL);
    assert_int_equal(orm_start(op, NULL, NULL), ORM_DONE);
    assert_int_equal(orm_op_status(op), ORM_EMISUSE);
    orm_op_free(op);
    orm_op_free(NULL);
    orm_close_engine(NULL);
    orm_close(NULL);
    orm_result_free(NULL);
    assert_null(orm_begin(NULL, 0, false));
    assert_int_equal(orm_process(NULL, 0), 0);
    assert_int_equal(orm_open(NULL, NULL, NULL, &err), ORM_EMISUSE);
}

static void test_failed_queries_report_at_the_end(void **state)
{
    world *w = *state;
    RUN_FAILS(orm_all(w->db, orm_query_where(albums(w), "nmae", orm_text("x")), NULL), ORM_EFIELD);
    RUN_FAILS(orm_delete(w->db, orm_query_where(albums(w), "nmae", orm_text("x"))), ORM_EFIELD);
    RUN_FAILS(orm_all(w->db, NULL, NULL), ORM_ENOMEM); /* what a step gives without memory */
    told t = {0};
    orm_then(orm_count(w->db, orm_query_where(albums(w), "id__nope", orm_int(1))), tell, &t);
    wait_for(w, &t, 1);
    assert_int_equal(t.status[0], ORM_EFIELD);
}

static void *other_thread(void *arg)
{
    world *w = arg;
    orm_op *op = orm_count(w->db, NULL);
    static orm_status result[3];
    orm_start(op, NULL, NULL);
    result[0] = orm_op_status(op);
    result[1] = orm_process(w->db, 0);
    result[2] = orm_begin(w->db, 0, false) == NULL;
    orm_op_free(op);
    orm_close_engine(w->db); /* not its owner: nothing happens */
    return result;
}

static void test_other_threads_are_refused(void **state)
{
    pthread_t thread;
    void *out;
    assert_int_equal(pthread_create(&thread, NULL, other_thread, *state), 0);
    pthread_join(thread, &out);
    const orm_status *result = out;
    assert_int_equal(result[0], ORM_EMISUSE);
    assert_int_equal(result[1], 0);
    assert_true(result[2]);
    assert_int_equal(count_albums(*state), 0);
}

static void test_forked_child_is_refused(void **state)
{
    world *w = *state;
    add_album(w->db, "parent");
    pid_t child = fork();
    if (child == 0) {
        orm_error err = {0};
        orm_status status = orm_await(orm_count(w->db, NULL), NULL, &err);
        orm_close_engine(w->db);
        _exit(status == ORM_EFORKED || status == ORM_ENOMEM ? 0 : 1);
    }
    int code = -1;
    waitpid(child, &code, 0);
    assert_int_equal(code, 0);
    add_album(w->db, "still there");
    assert_int_equal(count_albums(w), 2);
}

/* ---- the end ---- */

static void test_close_stops_what_runs(void **state)
{
    world *w = *state;
    told t = {0};
    for (int i = 0; i < 3; i++) orm_then(slow_op(w->db, 600), tell, &t);
    orm_wait(w->db, 50);
    orm_then(orm_count(w->db, albums(w)), tell, &t);
    Album row = {.name = "late"};
    orm_then(ORM_INSERT(w->db, Album, &row), tell, &t);
    uint64_t began = orm_now_ns();
    orm_close_engine(w->db);
    w->db = NULL;
    assert_true(orm_now_ns() - began < ORM_TEST_SOON_NS);
    assert_int_equal(t.count, 5);
    int failed = 0;
    for (int i = 0; i < 5; i++) failed += t.status[i] < 0;
    assert_true(failed >= 4); /* the count may have been ready */
    orm_error err;
    ORM_TEST_OK(ORM_CONNECT(w->url, &w->db, &err, &Album_model, &Track_model), &err);
}

static void test_handles_outlive_their_engine(void **state)
{
    world *w = *state;
    add_album(w->db, "a");
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "b");
    orm_op *fresh = orm_count(w->db, albums(w));
    orm_op *query = orm_all(w->db, albums(w), NULL);
    while (orm_start(query, NULL, NULL) == ORM_PENDING) orm_wait(w->db, 1000);
    ORM_TEST_OK(orm_op_status(query), orm_op_error(query));
    orm_result *result = orm_op_take(query);
    orm_close_engine(w->db);
    w->db = NULL;
    assert_string_equal(ORM_ONE(Album, result)->name, "a");
    orm_start(fresh, NULL, NULL);
    assert_int_equal(orm_op_status(fresh), ORM_EPOOLCLOSED);
    orm_op *commit = orm_commit(tx);
    orm_start(commit, NULL, NULL);
    assert_int_equal(orm_op_status(commit), ORM_EPOOLCLOSED);
    orm_op_free(fresh);
    orm_op_free(query);
    orm_op_free(commit);
    orm_close_engine(tx);
    orm_result_free(result);
    orm_error err;
    ORM_TEST_OK(ORM_CONNECT(w->url, &w->db, &err, &Album_model, &Track_model), &err);
}

/* ---- databases ---- */

static void test_memory_outlives_engines(void **state)
{
    (void)state;
    orm_error err;
    orm_db *db, *other;
    orm_engine *engine;
    const char sql[] = "CREATE TABLE t (x)";
    ORM_TEST_OK(orm_open("sqlite:///:memory:", NULL, &db, &err), &err);
    ORM_TEST_OK(orm_open("sqlite:///:memory:", NULL, &other, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &engine, &err), &err);
    RUN(orm_raw(engine, sql, sizeof sql - 1, NULL, 0, NULL, NULL));
    orm_close_engine(engine);
    ORM_TEST_OK(orm_engine_new(db, &engine, &err), &err);
    RUN_FAILS(orm_raw(engine, sql, sizeof sql - 1, NULL, 0, NULL, NULL), ORM_EPROGRAMMING);
    orm_close_engine(engine);
    ORM_TEST_OK(orm_engine_new(other, &engine, &err), &err);
    RUN(orm_raw(engine, sql, sizeof sql - 1, NULL, 0, NULL, NULL));
    orm_close_engine(engine);
    orm_close(other);
    orm_close(db);
}

/* `hint` is what a message does without when there is no memory for it. */
static void check_refused(const char *url, const char *part, const char *hint)
{
    orm_error err = {0};
    orm_db *db = NULL;
    assert_int_equal(orm_open(url, NULL, &db, &err), ORM_ECONFIG);
    assert_null(db);
    if (!strstr(err.message, part)) fail_msg("'%s' lacks '%s'", err.message, part);
    if (!strstr(err.message, hint) && !orm_test_lacks_memory())
        fail_msg("'%s' lacks '%s'", err.message, hint);
}

static void test_urls(void **state)
{
    (void)state;
    orm_error err;
    orm_db *db;
    check_refused("sqlite:///a.db?query_timout=3", "'query_timout'", "'query_timeout'");
    check_refused("sqlite:///a.db?jurnal_mode=wal", "'jurnal_mode'", "'journal_mode'");
    check_refused("sqlite:///a.db?query_timeout=0", "seconds above 0", "");
    check_refused("sqlite:///a.db?busy_timeout=x", "milliseconds", "");
    check_refused("sqlite:///a.db?shared_reads=maybe", "on or off", "");
    check_refused("sqlite:///a.db?statement_cache_size=0", "from 1", "");
    check_refused("sqlite:///a.db?mode=rx", "ro or rw", "");
    check_refused("oracle://u:s3cret@h/d", "oracle", "");
    ORM_TEST_OK(orm_open("sqlite:///a.db?query_timeout=1.5&acquire_timeout=2&busy_timeout=250&"
                         "statement_cache_size=3&shared_reads=off&inline=off&mode=ro&"
                         "journal_mode=wal&synchronous=normal&foreign_keys=off",
                         NULL, &db, &err),
                &err);
    assert_string_equal(orm_db_dialect(db), "sqlite");
    assert_non_null(strstr(orm_db_url(db), "a.db"));
    orm_close(orm_db_ref(db));
    orm_close(db);
}

static void test_a_file_that_cannot_be_opened(void **state)
{
    (void)state;
    orm_error err;
    orm_engine *engine;
    ORM_TEST_OK(ORM_CONNECT("sqlite:////nonexistent/folder/a.db", &engine, &err, &Album_model),
                &err);
    for (int i = 0; i < 2; i++) RUN_FAILS(orm_count(engine, ORM_FROM(engine, Album)), ORM_ECONNECT);
    Album row = {.name = "x"};
    RUN_FAILS(ORM_INSERT(engine, Album, &row), ORM_ECONNECT);
    orm_engine *tx = world_begin(engine, 0, false);
    RUN_FAILS(ORM_INSERT(tx, Album, &row), ORM_ECONNECT);
    orm_close_engine(tx);
    RUN_FAILS(orm_open_connection(engine), ORM_ECONNECT);
    orm_close_engine(engine);
}

static void on_event(const orm_event *event, void *user)
{
    char(*log)[64] = user;
    for (int i = 0; i < 16; i++) {
        if (log[i][0]) continue;
        snprintf(log[i], sizeof log[i], "%.*s %d", (int)(event->sql.len < 30 ? event->sql.len : 30),
                 event->sql.ptr, event->status < 0);
        return;
    }
}

static void on_rows(const orm_event *event, void *user)
{
    *(int64_t *)user = event->rows;
}

static void test_observer_counts_rows(void **state)
{
    world *w = *state;
    int64_t rows = -1;
    add_album(w->db, "a");
    add_album(w->db, "b");
    orm_engine_set_observer(w->db, on_rows, &rows);
    RUN(orm_all(w->db, albums(w), NULL));
    if (rows != -1 || !orm_test_lacks_memory()) assert_int_equal(rows, 2);
    rows = -1;
    RUN(orm_update(w->db, orm_query_where(albums(w), "id", orm_int(1)), (uint16_t[]){1}, 1,
                   (orm_value[]){orm_text("c")}));
    if (rows != -1 || !orm_test_lacks_memory()) assert_int_equal(rows, 1);
    orm_engine_set_observer(w->db, NULL, NULL);
}

static void test_observer_sees_every_statement(void **state)
{
    world *w = *state;
    char log[16][64] = {{0}};
    orm_engine_set_observer(w->db, on_event, log);
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "a");
    orm_engine *savepoint = world_begin(tx, 0, false);
    Album again = {.name = "a"};
    RUN_FAILS(ORM_INSERT(savepoint, Album, &again), ORM_EUNIQUE);
    orm_close_engine(savepoint);
    /* a savepoint that there was no memory to undo takes its transaction along */
    orm_error err = {0};
    orm_status status = world_run(orm_commit(tx), &err);
    if (status != ORM_EROLLEDBACK || !orm_test_lacks_memory()) ORM_TEST_OK(status, &err);
    orm_close_engine(tx);
    orm_engine_set_observer(w->db, NULL, NULL);
    RUN(orm_count(w->db, albums(w)));
    const char *wanted[] = {"BEGIN IMMEDIATE 0", "INSERT INTO",         "SAVEPOINT orm_1 0",
                            "INSERT INTO",       "ROLLBACK TO orm_1 0", "RELEASE SAVEPOINT orm_1 0",
                            "COMMIT 0"};
    /* what there was no memory to note is left out; the rest keeps its order */
    size_t k = 0;
    for (size_t i = 0; i < ORM_COUNT(wanted); i++) {
        bool is_there = strncmp(log[k], wanted[i], strlen(wanted[i])) == 0;
        if (is_there && i == 3) assert_int_equal(log[k][strlen(log[k]) - 1], '1');
        if (is_there)
            k++;
        else if (!orm_test_lacks_memory())
            fail_msg("'%s' where '%s' was expected", log[k], wanted[i]);
    }
    assert_int_equal(log[k][0], 0);
}

static orm_status whole_life(void *arg)
{
    orm_error err;
    orm_engine *db;
    orm_result *result = NULL;
    Album row = {.name = "a"};
    orm_status status = ORM_CONNECT(arg, &db, &err, &Album_model, &Track_model);
    if (status < 0) return status;
    status = orm_await(orm_create_all(db, NULL), NULL, &err);
    if (status >= 0) status = orm_await(ORM_INSERT(db, Album, &row), NULL, &err);
    if (status >= 0) {
        orm_engine *tx = orm_begin(db, 0, false);
        row = (Album){.name = "b"};
        status = tx ? orm_await(ORM_INSERT(tx, Album, &row), NULL, &err) : ORM_ENOMEM;
        if (status >= 0) status = orm_await(orm_commit(tx), NULL, &err);
        orm_close_engine(tx);
    }
    if (status >= 0)
        status = orm_await(orm_all(db, orm_query_order_by(ORM_FROM(db, Album), "-name"), NULL),
                           &result, &err);
    orm_result_free(result);
    orm_close_engine(db);
    return status;
}

static void test_whole_life_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(whole_life, (void *)"sqlite:///:memory:");
}

/* With workers, in a file that is new each time. */
static orm_status file_life(void *arg)
{
    static const char *const parts[] = {"", "-wal", "-shm"};
    const char *url = arg, *path = strstr(url, "///") + 3;
    char part[300];
    for (size_t i = 0; i < ORM_COUNT(parts); i++) {
        snprintf(part, sizeof part, "%.*s%s", (int)strcspn(path, "?"), path, parts[i]);
        (void)unlink(part);
    }
    return whole_life(arg);
}

static void test_whole_life_in_a_file_without_memory(void **state)
{
    (void)state;
    char url[300];
    snprintf(url, sizeof url, "sqlite:///%s/life.db?synchronous=off", orm_test_temp_dir());
    orm_test_with_failing_allocations(file_life, url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TESTS(test_start_completes_at_once),
        WORLD_TESTS(test_then_calls_back_from_process),
        WORLD_TESTS(test_defer_asks_once_per_turn),
        WORLD_TESTS(test_descriptor_is_readable_for_work),
        WORLD_TESTS(test_await_in_a_callback_is_misuse),
        WORLD_TESTS(test_await_leaves_other_callbacks_for_process),
        WORLD_TESTS(test_callbacks_may_start_operations),
        cmocka_unit_test(test_null_arguments),
        MEMORY_TEST(test_failed_queries_report_at_the_end),
        WORLD_TESTS(test_other_threads_are_refused),
        NORMAL_TEST(test_forked_child_is_refused),
        FULL_TEST(test_close_stops_what_runs),
        NORMAL_TEST(test_handles_outlive_their_engine),
        cmocka_unit_test(test_memory_outlives_engines),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_a_file_that_cannot_be_opened),
        MEMORY_TEST(test_observer_sees_every_statement),
        MEMORY_TEST(test_observer_counts_rows),
        cmocka_unit_test(test_whole_life_without_memory),
        cmocka_unit_test(test_whole_life_in_a_file_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
