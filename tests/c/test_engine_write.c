/* Writes outside transactions: alone, in groups, in the face of locks. */
#include "engine_fixture.h"

#include <sqlite3.h>

enum {
    N = 100
};

/* N inserts of one turn, each from a caller of its own; what each became in order. */
static void insert_together(world *w, Album *rows, told *t)
{
    for (int i = 0; i < N; i++) {
        orm_engine_set_caller(w->db, &rows[i]);
        orm_then(ORM_INSERT(w->db, Album, &rows[i]), tell, t);
    }
    orm_engine_set_caller(w->db, NULL);
    wait_for(w, t, N);
}

static void name_rows(Album *rows, char names[N][16])
{
    for (int i = 0; i < N; i++) {
        snprintf(names[i], 16, "%d", i);
        rows[i] = (Album){.name = names[i]};
    }
}

static void test_writes_of_a_turn_are_one_group(void **state)
{
    world *w = *state;
    Album rows[N];
    char names[N][16];
    told t = {0};
    add_album(w->db, "first");
    orm_engine_stats before = world_stats(w);
    name_rows(rows, names);
    insert_together(w, rows, &t);
    orm_engine_stats after = world_stats(w);
    assert_int_equal(after.groups - before.groups, 1);
    assert_true(after.grouped - before.grouped >= N - 1);
    for (int i = 0; i < N; i++) {
        assert_int_equal(t.status[i], ORM_OK);
        assert_int_equal(rows[i].id, i + 2);
    }
    assert_int_equal(count_albums(w), N + 1);
}

static void test_a_failing_member_undoes_itself_alone(void **state)
{
    world *w = *state;
    Album rows[N];
    char names[N][16];
    told t = {0};
    add_album(w->db, "50");
    name_rows(rows, names);
    rows[70].name = NULL;
    insert_together(w, rows, &t);
    int failed = 0;
    for (int i = 0; i < N; i++) failed += t.status[i] < 0;
    assert_int_equal(failed, 2);
    assert_int_equal(rows[50].id, 0);
    assert_int_equal(rows[70].id, 0);
    assert_int_equal(rows[99].id, N - 1);
    assert_int_equal(count_albums(w), N - 1);
}

/* A member that kills the transaction: the others run again, alone, with new keys. */
static void test_a_dying_group_runs_alone(void **state)
{
    world *w = *state;
    Album rows[N];
    char names[N][16];
    told t = {0};
    const char sql[] = "CREATE TRIGGER bomb BEFORE INSERT ON album WHEN NEW.name = '60' "
                       "BEGIN SELECT RAISE(ROLLBACK, 'bomb'); END";
    RUN(orm_raw(w->db, sql, sizeof sql - 1, NULL, 0, NULL, NULL));
    name_rows(rows, names);
    insert_together(w, rows, &t);
    int failed = 0;
    for (int i = 0; i < N; i++) failed += t.status[i] < 0;
    assert_int_equal(failed, 1);
    assert_int_equal(rows[60].id, 0);
    assert_int_equal(rows[99].id, N - 1);
    assert_int_equal(count_albums(w), N - 1);
}

static void test_a_deferred_key_kills_the_group(void **state)
{
    world *w = *state;
    told t = {0};
    const char sql[] = "CREATE TRIGGER late AFTER INSERT ON album WHEN NEW.name = '60' "
                       "BEGIN INSERT INTO child (album) VALUES (999); END";
    const char table[] = "CREATE TABLE child (id INTEGER PRIMARY KEY, album INTEGER REFERENCES "
                         "album (id) DEFERRABLE INITIALLY DEFERRED)";
    Album rows[N];
    char names[N][16];
    RUN(orm_raw(w->db, table, sizeof table - 1, NULL, 0, NULL, NULL));
    RUN(orm_raw(w->db, sql, sizeof sql - 1, NULL, 0, NULL, NULL));
    name_rows(rows, names);
    insert_together(w, rows, &t);
    int failed = 0;
    for (int i = 0; i < N; i++) failed += t.status[i] == ORM_EFOREIGNKEY;
    assert_int_equal(failed, 1);
    assert_int_equal(count_albums(w), N - 1);
}

static void test_one_caller_writes_one_by_one(void **state)
{
    world *w = *state;
    add_album(w->db, "first");
    orm_engine_stats before = world_stats(w);
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        Album row = {.name = name};
        orm_op *op = ORM_INSERT(w->db, Album, &row);
        RUN(op);
        assert_int_equal(row.id, i + 2);
    }
    orm_engine_stats after = world_stats(w);
    assert_int_equal(after.groups, before.groups);
    assert_int_equal(after.grouped, before.grouped);
    assert_int_equal(after.statements, before.statements + 20);
}

static void test_durable_commits_leave_the_thread_alone(void **state)
{
    world *w = *state;
    add_album(w->db, "first");
    orm_engine_stats before = world_stats(w);
    add_album(w->db, "second");
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "third");
    assert_int_equal(world_stats(w).worker_statements, before.worker_statements + 1);
    RUN(orm_commit(tx));
    assert_int_equal(world_stats(w).worker_statements, before.worker_statements + 2);
    orm_close_engine(tx);
}

static void test_cancelled_before_they_ran(void **state)
{
    world *w = *state;
    told t = {0};
    Album rows[10];
    char names[10][16];
    orm_op *ops[10];
    for (int i = 0; i < 10; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        rows[i] = (Album){.name = names[i]};
        orm_engine_set_caller(w->db, &rows[i]);
        ops[i] = ORM_INSERT(w->db, Album, &rows[i]);
        orm_then(ops[i], tell, &t);
    }
    orm_engine_set_caller(w->db, NULL);
    for (int i = 1; i < 10; i += 2) orm_cancel(ops[i]);
    wait_for(w, &t, 10);
    int cancelled = 0;
    for (int i = 0; i < 10; i++) cancelled += t.status[i] == ORM_ECANCELLED;
    assert_int_equal(cancelled, 5);
    assert_int_equal(count_albums(w), 5);
}

static void test_dropped_writes_still_happen(void **state)
{
    world *w = *state;
    orm_value v[] = {orm_text("dropped")};
    orm_op *op = orm_insert(w->db, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1, v);
    (void)orm_start(op, NULL, NULL);
    orm_op_free(op);
    for (int i = 0; count_albums(w) == 0 && i < 100; i++) orm_wait(w->db, 10);
    assert_int_equal(count_albums(w), 1);
    assert_int_equal(world_stats(w).operations, 0);
}

static void release(void *owner)
{
    ++*(int *)owner;
}

static void test_values_are_released_once(void **state)
{
    world *w = *state;
    int released = 0;
    char text[] = "owned";
    for (int i = 0; i < 4; i++) {
        orm_value v = orm_text(text);
        v.release = release;
        v.owner = &released;
        orm_op *op = orm_insert(w->db, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1,
                                &v);
        if (i == 2) {
            orm_op_free(op); /* never started */
        } else {
            orm_error err;
            assert_int_equal(orm_await(op, NULL, &err), i == 0 ? ORM_OK : ORM_EUNIQUE);
        }
        assert_int_equal(released, i + 1);
    }
}

static void test_update_and_delete(void **state)
{
    world *w = *state;
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "name %d", i);
        add_album(w->db, name);
    }
    const char *other[] = {"x"};
    assert_int_equal(
        world_number(w, orm_update(w->db, orm_query_where(albums(w), "id", orm_int(2)),
                                   (uint16_t[]){1}, 1, (orm_value[]){orm_text(*other)})),
        1);
    Album row = {.id = 3, .name = "saved"};
    RUN(ORM_SAVE(w->db, Album, &row));
    RUN(ORM_UPDATE(w->db, Album, &row, ORM_NAME(Album, name)));
    orm_result *result = world_rows(
        orm_get(w->db, ORM_FILTER(albums(w), ORM_IS(Album, id, 3)), NULL));
    assert_string_equal(ORM_ONE(Album, result)->name, "saved");
    orm_result_free(result);
    assert_int_equal(world_number(w, ORM_DELETE(w->db, Album, &row)), 1);
    assert_int_equal(world_number(w, ORM_DELETE(w->db, Album, &row)), 0);
    assert_int_equal(
        world_number(
            w, orm_delete(w->db, orm_query_where(albums(w), "name__startswith", orm_text("name")))),
        3);
    assert_int_equal(count_albums(w), 1);
    RUN_FAILS(orm_update(w->db, albums(w), NULL, 0, NULL), ORM_EMISUSE);
}

static void test_locks_of_others_are_waited_for(void **state)
{
    world *w = *state;
    sqlite3 *other;
    told t = {0};
    Album row = {.name = "waits"};
    add_album(w->db, "a");
    assert_int_equal(sqlite3_open(w->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", 0, 0, 0), SQLITE_OK);
    orm_then(ORM_INSERT(w->db, Album, &row), tell, &t);
    orm_wait(w->db, 30);
    assert_int_equal(t.count, 0);
    assert_int_equal(count_albums(w), 1); /* readers go on */
    assert_int_equal(sqlite3_exec(other, "COMMIT", 0, 0, 0), SQLITE_OK);
    wait_for(w, &t, 1);
    assert_int_equal(t.status[0], ORM_OK);
    assert_int_equal(row.id, 2);
    sqlite3_close(other);
}

static void test_bad_values_fail_before_anything_is_sent(void **state)
{
    world *w = *state;
    orm_value v[] = {orm_float(1.5)};
    orm_engine_stats before = world_stats(w);
    RUN_FAILS(orm_insert(w->db, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1, v),
              ORM_EDATA);
    orm_value list[] = {orm_list(v, 1)};
    RUN_FAILS(orm_insert(w->db, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1, list),
              ORM_EDATA);
    assert_int_equal(world_stats(w).statements, before.statements);
}

static orm_status group_life(void *arg)
{
    orm_error err;
    world w = {.db = NULL};
    told t = {0};
    Album rows[4] = {{.name = "a"}, {.name = "b"}, {.name = "a"}, {.name = "c"}};
    orm_status status = ORM_CONNECT(arg, &w.db, &err, &Album_model, &Track_model);
    if (status >= 0) status = orm_await(orm_create_all(w.db, NULL), NULL, &err);
    for (int i = 0; i < 4 && status >= 0; i++) {
        orm_engine_set_caller(w.db, &rows[i]);
        orm_then(ORM_INSERT(w.db, Album, &rows[i]), tell, &t);
    }
    for (int i = 0; t.count < 4 && status >= 0 && i < 100; i++) orm_wait(w.db, 100);
    orm_close_engine(w.db);
    for (int i = 0; i < t.count; i++)
        if (t.status[i] < 0 && t.status[i] != ORM_EUNIQUE) return t.status[i];
    return status;
}

static void test_groups_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(group_life, (void *)WORLD_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TESTS(test_writes_of_a_turn_are_one_group),
        WORLD_TESTS(test_a_failing_member_undoes_itself_alone),
        WORLD_TESTS(test_a_dying_group_runs_alone),
        WORLD_TESTS(test_a_deferred_key_kills_the_group),
        NORMAL_TEST(test_one_caller_writes_one_by_one),
        FULL_TEST(test_durable_commits_leave_the_thread_alone),
        WORLD_TESTS(test_cancelled_before_they_ran),
        WORLD_TESTS(test_dropped_writes_still_happen),
        WORLD_TESTS(test_values_are_released_once),
        WORLD_TESTS(test_update_and_delete),
        NORMAL_TEST(test_locks_of_others_are_waited_for),
        WORLD_TESTS(test_bad_values_fail_before_anything_is_sent),
        cmocka_unit_test(test_groups_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
