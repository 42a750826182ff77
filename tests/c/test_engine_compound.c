/* Raw SQL, bulk inserts, get_or_create, update_or_create, loading, tables. */
#include "engine_fixture.h"

static orm_op *raw(orm_engine *engine, const char *sql)
{
    return orm_raw(engine, sql, strlen(sql), NULL, 0, NULL, NULL);
}

/* ---- raw ---- */

typedef struct names {
    orm_sink sink;
    size_t rows;
    char text[256];
} names;

static orm_status names_begin(orm_sink *sink, const orm_layout *layout, orm_error *err)
{
    names *self = (names *)sink;
    (void)err;
    self->text[0] = '\0';
    for (uint32_t i = 0; i < layout->n_columns; i++) {
        strcat(self->text, layout->names[i]);
        strcat(self->text, layout->columns[i].model ? "* " : " ");
    }
    return ORM_OK;
}
static orm_status names_row(orm_sink *sink, const orm_cell *cells, orm_error *err)
{
    (void)cells;
    (void)err;
    ((names *)sink)->rows++;
    return ORM_OK;
}
static size_t names_mark(const orm_sink *sink)
{
    return ((const names *)sink)->rows;
}
static void names_rewind(orm_sink *sink, size_t mark)
{
    ((names *)sink)->rows = mark;
}
static const orm_sink_vtable names_vtable = {
    sizeof(orm_sink_vtable), 0, names_begin, names_row, names_mark, names_rewind};

static void test_raw_rows(void **state)
{
    world *w = *state;
    add_album(w->db, "a");
    add_album(w->db, "b");
    const orm_model *model = orm_engine_model(w->db, &Album_model);
    const char sql[] = "SELECT name, id, 7 AS extra FROM album WHERE id >= ? ORDER BY id";
    for (int i = 0; i < 3; i++) {
        orm_value v[] = {orm_int(1)};
        orm_result *result = world_rows(orm_raw(w->db, sql, strlen(sql), v, 1, model, NULL));
        assert_int_equal(orm_result_count(result), 2);
        assert_string_equal(((Album *)orm_result_rows(result))[1].name, "b");
        assert_int_equal(((Album *)orm_result_rows(result))[1].id, 2);
        orm_result_free(result);
    }
    names sink = {.sink = {&names_vtable, 0}};
    orm_value v[] = {orm_int(9)};
    RUN(orm_raw(w->db, sql, strlen(sql), v, 1, model, &sink.sink));
    assert_string_equal(sink.text, "name* id* extra ");
    assert_int_equal(sink.rows, 0);
    const char bare[] = "SELECT 1 AS one, 'x'";
    RUN(orm_raw(w->db, bare, strlen(bare), NULL, 0, NULL, &sink.sink));
    assert_string_equal(sink.text, "one 'x' ");
    assert_int_equal(sink.rows, 1);
    const char keyless[] = "SELECT name FROM album";
    RUN_FAILS(orm_raw(w->db, keyless, strlen(keyless), NULL, 0, model, NULL), ORM_EPROGRAMMING);
}

static void test_raw_writes(void **state)
{
    world *w = *state;
    add_album(w->db, "a");
    for (int i = 0; i < 3; i++)
        assert_int_equal(world_number(w, raw(w->db, "UPDATE album SET name = name || 'x'")), 1);
    assert_int_equal(world_number(w, raw(w->db, "DELETE FROM album")), 1);
    assert_int_equal(world_number(w, raw(w->db, "DELETE FROM album")), 0);
    RUN_FAILS(raw(w->db, "SELECT 1; SELECT 2"), ORM_EPROGRAMMING);
    RUN_FAILS(raw(w->db, "DELETE FROM album; DELETE FROM track"), ORM_EPROGRAMMING);
    RUN_FAILS(raw(w->db, "SELEC 1"), ORM_ESYNTAX);
    RUN_FAILS(raw(w->db, "SELECT nosuch FROM album"), ORM_ENOCOLUMN);
    RUN_FAILS(orm_raw(w->db, "SELECT\0 1", 9, NULL, 0, NULL, NULL), ORM_EPROGRAMMING);
    orm_engine *tx = world_begin(w->db, 0, false);
    RUN(raw(tx, "INSERT INTO album (name) VALUES ('in tx')"));
    RUN(raw(tx, "SELECT * FROM album"));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 0);
}

static void test_raw_after_the_table_changed(void **state)
{
    world *w = *state;
    const orm_model *model = orm_engine_model(w->db, &Album_model);
    const char sql[] = "SELECT * FROM album";
    add_album(w->db, "a");
    for (int i = 0; i < 3; i++) {
        names sink = {.sink = {&names_vtable, 0}};
        RUN(orm_raw(w->db, sql, strlen(sql), NULL, 0, model, &sink.sink));
        assert_string_equal(sink.text, i == 0   ? "id* name* "
                                       : i == 1 ? "id* name* c0 "
                                                : "id* name* c0 c1 ");
        if (i == 2) break;
        RUN(raw(w->db, i ? "ALTER TABLE album ADD COLUMN c1" : "ALTER TABLE album ADD COLUMN c0"));
    }
}

/* ---- bulk ---- */

static orm_op *bulk(world *w, orm_engine *engine, char (*texts)[16], int n, int64_t *keys)
{
    orm_value *v = calloc((size_t)n + 1, sizeof *v);
    for (int i = 0; i < n; i++) v[i] = orm_text(texts[i]);
    orm_op *op = orm_insert_many(engine, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1,
                                 v, (size_t)n, keys);
    free(v);
    return op;
}

static void test_bulk(void **state)
{
    world *w = *state;
    enum {
        MANY = 1500
    };
    static char texts[MANY][16];
    static int64_t keys[MANY];
    for (int i = 0; i < MANY; i++) snprintf(texts[i], sizeof texts[i], "%d", i);
    for (int n = 0; n <= MANY; n += 750) {
        RUN(raw(w->db, "DELETE FROM album"));
        assert_int_equal(world_number(w, bulk(w, w->db, texts, n, keys)), n);
        for (int i = 1; i < n; i++) assert_int_equal(keys[i], keys[i - 1] + 1);
        assert_int_equal(count_albums(w), n);
    }
    /* All or nothing, and the keys untouched. */
    RUN(raw(w->db, "DELETE FROM album"));
    keys[0] = -1;
    strcpy(texts[1400], "0");
    RUN_FAILS(bulk(w, w->db, texts, MANY, keys), ORM_EUNIQUE);
    assert_int_equal(count_albums(w), 0);
    assert_int_equal(keys[0], -1);
    orm_engine *tx = world_begin(w->db, 0, false);
    add_album(tx, "before");
    RUN_FAILS(bulk(w, tx, texts, MANY, keys), ORM_EUNIQUE);
    assert_int_equal(world_number(w, bulk(w, tx, texts, 10, keys)), 10);
    RUN(orm_commit(tx));
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 11);
}

/* Rows that share a statement get their own keys, also where something else takes keys too. */
static void test_bulk_keys(void **state)
{
    world *w = *state;
    enum {
        MANY = 230
    };
    static const char *const disturbances[] = {
        "DELETE FROM album",
        "CREATE TRIGGER t AFTER INSERT ON album BEGIN"
        " INSERT INTO album (name) VALUES ('beside ' || new.name); END",
        "DROP TRIGGER t",
        "CREATE TRIGGER t BEFORE INSERT ON album BEGIN"
        " INSERT INTO album (name) VALUES ('before ' || new.name); END",
        "DROP TRIGGER t",
        "INSERT INTO album (id, name) VALUES (9223372036854775807, 'the highest key')",
    };
    static char texts[MANY][16];
    static int64_t keys[MANY];
    for (size_t d = 0; d < ORM_COUNT(disturbances); d++) {
        RUN(raw(w->db, disturbances[d]));
        for (int i = 0; i < MANY; i++) snprintf(texts[i], sizeof texts[i], "%zu.%d", d, i);
        assert_int_equal(world_number(w, bulk(w, w->db, texts, MANY, keys)), MANY);
        for (int i = 0; i < MANY; i++) {
            orm_query *query = orm_query_where(albums(w), "id", orm_int(keys[i]));
            orm_result *result = world_rows(orm_get(w->db, query, NULL));
            assert_string_equal(((Album *)orm_result_rows(result))->name, texts[i]);
            orm_result_free(result);
        }
    }
}

static void test_bulk_cancelled(void **state)
{
    world *w = *state;
    enum {
        MANY = 50000
    };
    char(*texts)[16] = calloc(MANY, sizeof *texts);
    for (int i = 0; i < MANY; i++) snprintf(texts[i], sizeof texts[i], "%d", i);
    told t = {0};
    orm_op *op = bulk(w, w->db, texts, MANY, NULL);
    orm_then(op, tell, &t);
    orm_wait(w->db, 5);
    orm_wait(w->db, 5);
    orm_cancel(op);
    wait_for(w, &t, 1);
    assert_true(t.status[0] == ORM_ECANCELLED || t.status[0] == ORM_OK);
    assert_int_equal(count_albums(w), t.status[0] == ORM_OK ? MANY : 0);
    free(texts);
    add_album(w->db, "next");
}

/* ---- get_or_create, update_or_create ---- */

static orm_op *get_or_create(world *w, orm_engine *engine, const char *name)
{
    orm_value v[] = {orm_text(name)};
    return orm_get_or_create(engine, orm_query_where(albums(w), "name", orm_text(name)),
                             (uint16_t[]){1}, 1, v, NULL);
}

static void check_get_or_create(world *w, orm_engine *engine, const char *name, int64_t created,
                                int64_t id)
{
    orm_op *op = get_or_create(w, engine, name);
    while (orm_start(op, NULL, NULL) == ORM_PENDING) orm_wait(w->db, 1000);
    ORM_TEST_OK(orm_op_status(op), orm_op_error(op));
    assert_int_equal(orm_op_number(op), created);
    orm_result *result = orm_op_take(op);
    assert_int_equal(orm_result_count(result), 1);
    assert_int_equal(ORM_ONE(Album, result)->id, id);
    assert_string_equal(ORM_ONE(Album, result)->name, name);
    orm_result_free(result);
    orm_op_free(op);
}

static void test_get_or_create(void **state)
{
    world *w = *state;
    for (int i = 0; i < 2; i++) {
        check_get_or_create(w, w->db, "a", i == 0, 1);
        check_get_or_create(w, w->db, "b", i == 0, 2);
    }
    orm_engine *tx = world_begin(w->db, 0, false);
    check_get_or_create(w, tx, "c", 1, 3);
    check_get_or_create(w, tx, "c", 0, 3);
    orm_close_engine(tx);
    assert_int_equal(count_albums(w), 2);
    orm_value v[] = {orm_text("x")};
    RUN_FAILS(orm_get_or_create(w->db, albums(w), (uint16_t[]){1}, 1, v, NULL), ORM_EMULTIPLE);
    /* What cannot be inserted leaves nothing behind. */
    orm_value taken[] = {orm_text("a")};
    RUN_FAILS(orm_get_or_create(w->db, orm_query_where(albums(w), "id", orm_int(9)),
                                (uint16_t[]){1}, 1, taken, NULL),
              ORM_EUNIQUE);
    assert_int_equal(count_albums(w), 2);
}

static void test_get_or_create_together(void **state)
{
    world *w = *state;
    told t = {0};
    for (int i = 0; i < 30; i++) orm_then(get_or_create(w, w->db, i % 2 ? "a" : "b"), tell, &t);
    wait_for(w, &t, 30);
    for (int i = 0; i < 30; i++) assert_int_equal(t.status[i], ORM_OK);
    assert_int_equal(count_albums(w), 2);
}

static void check_update_or_create(world *w, const char *find, const char *set, const char *insert,
                                   int64_t created, const char *name)
{
    orm_value s[] = {orm_text(set)}, v[] = {orm_text(insert)};
    orm_op *op = orm_update_or_create(w->db, orm_query_where(albums(w), "name", orm_text(find)),
                                      (uint16_t[]){1}, 1, s, (uint16_t[]){1}, 1, v, NULL);
    while (orm_start(op, NULL, NULL) == ORM_PENDING) orm_wait(w->db, 1000);
    ORM_TEST_OK(orm_op_status(op), orm_op_error(op));
    assert_int_equal(orm_op_number(op), created);
    orm_result *result = orm_op_take(op);
    assert_int_equal(ORM_ONE(Album, result)->id, 1);
    assert_string_equal(ORM_ONE(Album, result)->name, name);
    orm_result_free(result);
    orm_op_free(op);
}

static void test_update_or_create(void **state)
{
    world *w = *state;
    check_update_or_create(w, "a", "set", "a", 1, "a");
    check_update_or_create(w, "a", "b", "a", 0, "b");
    check_update_or_create(w, "b", "b", "x", 0, "b");
    assert_int_equal(count_albums(w), 1);
}

/* Who frees an operation that is under way may free with it what it was to be told in. */
static void test_freed_while_it_writes(void **state)
{
    world *w = *state;
    enum {
        MANY = 1500
    };
    static char texts[MANY][16];
    static int64_t keys[MANY];
    Album row = {.name = "a row"};
    for (int i = 0; i < MANY; i++) snprintf(texts[i], sizeof texts[i], "%d", i);
    orm_op *op = bulk(w, w->db, texts, MANY, keys);
    assert_int_equal(orm_start(op, NULL, NULL), ORM_PENDING);
    orm_op_free(op);
    op = orm_insert_row(w->db, &Album_model, &row);
    assert_int_equal(orm_start(op, NULL, NULL), ORM_PENDING);
    orm_op_free(op);
    while (world_stats(w).operations) orm_wait(w->db, 1000);
    assert_int_equal(count_albums(w), MANY + 1);
    for (int i = 0; i < MANY; i++) assert_int_equal(keys[i], 0);
    assert_int_equal(row.id, 0);
}

/* ---- relations ---- */

static void add_track(world *w, const char *title, int64_t album)
{
    Track row = {.title = title};
    if (album) ORM_SET_REF(row.album, album);
    RUN(orm_insert_row(w->db, &Track_model, &row));
}

static void test_load(void **state)
{
    world *w = *state;
    int64_t a = add_album(w->db, "a"), b = add_album(w->db, "b");
    for (int i = 0; i < 2500; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        if (i % 500 == 0) add_album(w->db, name);
    }
    for (int i = 0; i < 10; i++) add_track(w, "t", i % 2 ? a : b);
    orm_result *result = world_rows(orm_all(w->db, orm_query_order_by(tracks(w), "id"), NULL));
    Track *rows = orm_result_rows(result);
    assert_null(rows[0].album.obj);
    uint64_t before = world_stats(w).statements;
    RUN(orm_load(w->db, result, ORM_NAME(Track, album)));
    assert_int_equal(world_stats(w).statements - before, 1);
    for (int i = 0; i < 10; i++) assert_string_equal(rows[i].album.obj->name, i % 2 ? "a" : "b");
    assert_ptr_equal(rows[0].album.obj, rows[2].album.obj);
    RUN(orm_load(w->db, result, ORM_NAME(Track, album)));
    RUN_FAILS(orm_load(w->db, result, "title"), ORM_EFIELD);
    RUN_FAILS(orm_load(w->db, result, "nosuch"), ORM_EFIELD);
    RUN_FAILS(orm_load(w->db, NULL, "album"), ORM_EMISUSE);
    orm_result_free(result);
}

static void test_load_in_chunks(void **state)
{
    world *w = *state;
    enum {
        MANY = 2300
    };
    orm_value *v = calloc(MANY * 2, sizeof *v);
    static char texts[MANY][16];
    for (int i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof texts[i], "%d", i);
        v[i] = orm_text(texts[i]);
    }
    RUN(orm_insert_many(w->db, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1, v, MANY,
                        NULL));
    for (int i = 0; i < MANY; i++) {
        v[2 * i] = orm_int(i + 1);
        v[2 * i + 1] = orm_text("t");
    }
    RUN(orm_insert_many(w->db, orm_engine_model(w->db, &Track_model), (uint16_t[]){1, 2}, 2, v,
                        MANY, NULL));
    free(v);
    orm_result *result = world_rows(orm_all(w->db, tracks(w), NULL));
    uint64_t before = world_stats(w).statements;
    RUN(orm_load(w->db, result, "album"));
    assert_int_equal(world_stats(w).statements - before, 3);
    ORM_EACH(Track, t, result) assert_int_equal(t->album.id, t->album.obj->id);
    orm_result_free(result);
}

static void test_select_related(void **state)
{
    world *w = *state;
    int64_t a = add_album(w->db, "a");
    for (int i = 0; i < 5; i++) add_track(w, "t", a);
    orm_result *result = world_rows(
        orm_all(w->db, orm_query_select_related(tracks(w), "album"), NULL));
    const Track *rows = orm_result_rows(result);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(rows[i].album.obj->name, "a");
        assert_ptr_equal(rows[i].album.obj, rows[0].album.obj);
        assert_false(rows[i].position.has);
    }
    assert_true(orm_result_bytes(result) > 5 * sizeof(Track));
    orm_result_free(result);
}

/* ---- tables ---- */

static void test_tables(void **state)
{
    world *w = *state;
    RUN(orm_create_all(w->db, NULL)); /* IF NOT EXISTS */
    add_album(w->db, "a");
    RUN(orm_drop_all(w->db, NULL));
    RUN_FAILS(orm_count(w->db, albums(w)), ORM_ENOTABLE);
    orm_engine *tx = world_begin(w->db, 0, false);
    RUN(orm_create_all(tx, NULL));
    add_album(tx, "a");
    orm_close_engine(tx);
    RUN_FAILS(orm_count(w->db, albums(w)), ORM_ENOTABLE);
    RUN(orm_create_all(w->db, NULL));
    assert_int_equal(count_albums(w), 0);
}

static orm_status compound_life(void *arg)
{
    orm_error err;
    world w = {.db = NULL};
    orm_result *result = NULL;
    char texts[120][16];
    int64_t keys[120];
    for (int i = 0; i < 120; i++) snprintf(texts[i], sizeof texts[i], "%d", i);
    orm_status status = ORM_CONNECT(arg, &w.db, &err, &Album_model, &Track_model);
    if (status >= 0) status = orm_await(orm_create_all(w.db, NULL), NULL, &err);
    for (int i = 0; i < 2 && status >= 0; i++)
        status = orm_await(get_or_create(&w, w.db, "a"), NULL, &err);
    if (status >= 0) status = orm_await(bulk(&w, w.db, texts, 120, keys), NULL, &err);
    if (status >= 0) status = orm_await(raw(w.db, "SELECT * FROM album"), NULL, &err);
    Track row = {.title = "t"};
    ORM_SET_REF(row.album, 1);
    if (status >= 0) status = orm_await(ORM_INSERT(w.db, Track, &row), NULL, &err);
    if (status >= 0) status = orm_await(orm_all(w.db, tracks(&w), NULL), &result, &err);
    if (status >= 0) status = orm_await(orm_load(w.db, result, "album"), NULL, &err);
    orm_result_free(result);
    orm_close_engine(w.db);
    return status;
}

static void test_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(compound_life, (void *)WORLD_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TESTS(test_raw_rows),
        WORLD_TESTS(test_raw_writes),
        WORLD_TESTS(test_raw_after_the_table_changed),
        WORLD_TESTS(test_bulk),
        WORLD_TESTS(test_bulk_keys),
        WORLD_TESTS(test_bulk_cancelled),
        FULL_TEST(test_freed_while_it_writes),
        WORLD_TESTS(test_get_or_create),
        WORLD_TESTS(test_get_or_create_together),
        WORLD_TESTS(test_update_or_create),
        WORLD_TESTS(test_load),
        WORLD_TESTS(test_load_in_chunks),
        WORLD_TESTS(test_select_related),
        WORLD_TESTS(test_tables),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
