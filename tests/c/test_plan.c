#include "fixture.h"

#include <stdio.h>

/* A dialect with no difference but numbered parameters and its own quote: what it compiles to is
 * the common SQL. */
static const orm_dialect common = {.name = "common",
                                   .quote = '`',
                                   .numbered = true,
                                   .list_in = "@ = ANY(?)",
                                   .list_not_in = "@ <> ALL(?)"};
static const orm_dialect tight = {.name = "tight",
                                  .list_in = "",
                                  .list_not_in = "",
                                  .max_params = 3,
                                  .max_tables = 3,
                                  .max_terms = 2};

static orm_query *start(void **state)
{
    return orm_query_new(fixture_model(*state, "Track"));
}

static void assert_sql(const orm_dialect *dialect, int kind, orm_query *query, const char *wanted)
{
    orm_plan *plan;
    orm_error err;
    ORM_TEST_OK(orm_compile(dialect, kind, query, NULL, &plan, &err), &err);
    if (!strstr(plan->sql, wanted)) fail_msg("'%s' lacks '%s'", plan->sql, wanted);
    orm_plan_unref(plan);
    orm_query_unref(query);
}

static void test_common_lookups(void **state)
{
    static const struct {
        const char *path, *sql;
        uint8_t how;
    } cases[] = {
        {"title", "WHERE t0.`title` = $1", ORM_BIND_PLAIN},
        {"title__contains", "t0.`title` LIKE $1 ESCAPE '!'", ORM_BIND_LIKE_CONTAINS},
        {"title__icontains", "LOWER(t0.`title`) LIKE LOWER($1) ESCAPE '!'", ORM_BIND_LIKE_CONTAINS},
        {"title__startswith", "t0.`title` LIKE $1 ESCAPE '!'", ORM_BIND_LIKE_PREFIX},
        {"title__iendswith", "LIKE LOWER($1) ESCAPE '!'", ORM_BIND_LIKE_SUFFIX},
        {"rating__ne", "t0.`rating` IS DISTINCT FROM $1", ORM_BIND_PLAIN},
        {"title__ne", "t0.`title` <> $1", ORM_BIND_PLAIN},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_query *q = orm_query_where(start(state), cases[i].path, orm_text("x"));
        orm_plan *plan;
        orm_error err;
        ORM_TEST_OK(orm_compile(&common, ORM_OP_ALL, q, NULL, &plan, &err), &err);
        if (!strstr(plan->sql, cases[i].sql)) fail_msg("%s", plan->sql);
        assert_int_equal(plan->n_params, 1);
        assert_int_equal(plan->params[0].how, cases[i].how);
        orm_plan_unref(plan);
        orm_query_unref(q);
    }
}

static void test_common_forms(void **state)
{
    const orm_value ints[] = {orm_int(1), orm_int(2)};
    assert_sql(&common, ORM_OP_ALL, orm_query_where(start(state), "id__in", orm_list(ints, 2)),
               "t0.`id` = ANY($1)");
    assert_sql(&common, ORM_OP_ALL, orm_query_exclude(start(state), "id__in", orm_list(ints, 2)),
               "t0.`id` <> ALL($1)");
    assert_sql(&common, ORM_OP_ALL, orm_query_slice(start(state), 1, 3), "LIMIT $1 OFFSET $2");
    assert_sql(&common, ORM_OP_ALL, orm_query_offset(start(state), 1), "AS t0 OFFSET $1");
    orm_query *q = orm_query_new(fixture_model(*state, "Everything"));
    assert_sql(&common, ORM_OP_ALL, orm_query_where(q, "moment__year", orm_int(1)),
               "EXTRACT(YEAR FROM t0.`moment`) = $1");
    q = orm_query_new(fixture_model(*state, "Everything"));
    assert_sql(&common, ORM_OP_ALL, orm_query_where(q, "clock__hour", orm_int(1)),
               "EXTRACT(HOUR FROM t0.`clock`) = $1");
}

static void test_layout(void **state)
{
    orm_plan *plan;
    orm_error err;
    orm_query *q = orm_query_select_related(start(state), "producer__label");
    ORM_TEST_OK(orm_compile(&orm_dialect_sqlite, ORM_OP_ALL, q, NULL, &plan, &err), &err);
    const orm_layout *l = &plan->layout;
    assert_int_equal(l->n_nodes, 3);
    assert_int_equal(l->n_columns, 7 + 4 + 2);
    assert_int_equal(l->nodes[0].parent, -1);
    assert_int_equal(l->nodes[1].parent, 0);
    assert_int_equal(l->nodes[1].via, 6);
    assert_int_equal(l->nodes[2].parent, 1);
    assert_int_equal(l->nodes[2].first, 11);
    assert_ptr_equal(l->columns[12].model, fixture_model(*state, "Publisher"));
    assert_int_equal(l->columns[12].field, 1);
    assert_int_equal(l->columns[12].expect, ORM_V_TEXT);
    assert_int_equal(l->columns[1].type, ORM_TYPE_INT32); /* a reference: its key's type */
    assert_int_equal(plan->flags, ORM_PLAN_ROWS);
    orm_plan_unref(plan);
    orm_query_unref(q);
}

static uint8_t flags_of(int kind, orm_query *query, const orm_write *write)
{
    orm_plan *plan;
    orm_error err;
    ORM_TEST_OK(orm_compile(&orm_dialect_sqlite, kind, query, write, &plan, &err), &err);
    uint8_t flags = plan->flags;
    orm_plan_unref(plan);
    orm_query_unref(query);
    return flags;
}

static void test_flags(void **state)
{
    const orm_model *track = fixture_model(*state, "Track");
    uint16_t id = 0, title = 2;
    orm_write write = {.model = track, .fields = &title, .n = 1, .rows = 1};
    assert_int_equal(flags_of(ORM_OP_INSERT, NULL, &write),
                     ORM_PLAN_WRITE | ORM_PLAN_BOUNDED | ORM_PLAN_GENERATED_KEY);
    write.fields = &id; /* the caller gives the key */
    assert_int_equal(flags_of(ORM_OP_INSERT, NULL, &write), ORM_PLAN_WRITE | ORM_PLAN_BOUNDED);
    write.fields = &title;
    write.rows = 5;
    write.returning_key = true;
    assert_int_equal(flags_of(ORM_OP_INSERT, NULL, &write), ORM_PLAN_WRITE | ORM_PLAN_ROWS);
    assert_int_equal(flags_of(ORM_OP_GET, orm_query_where(start(state), "id", orm_int(1)), NULL),
                     ORM_PLAN_ROWS | ORM_PLAN_BOUNDED);
    orm_query *q = orm_query_where(start(state), "id", orm_int(1));
    q = orm_query_where(q, "title__regex", orm_text("(a+)+$"));
    assert_int_equal(flags_of(ORM_OP_GET, q, NULL), ORM_PLAN_ROWS);
    q = orm_query_exclude(start(state), "id", orm_int(1));
    assert_int_equal(flags_of(ORM_OP_ALL, q, NULL), ORM_PLAN_ROWS);
    q = orm_query_where(start(state), "album__id", orm_int(1));
    assert_int_equal(flags_of(ORM_OP_DELETE, q, NULL), ORM_PLAN_WRITE);
    q = orm_query_where(start(state), "id", orm_int(1));
    assert_int_equal(flags_of(ORM_OP_DELETE, q, NULL), ORM_PLAN_WRITE | ORM_PLAN_BOUNDED);
}

/* Words of a plan and of the shape that looks it up are the same; other writes differ. */
static void test_shape(void **state)
{
    const orm_model *track = fixture_model(*state, "Track");
    uint16_t fields[] = {1, 2, 3, 4, 5}, conflict[] = {0};
    const orm_write writes[] = {
        {.model = track, .fields = fields, .n = 2, .rows = 1},
        {.model = track, .fields = fields, .n = 5, .rows = 1},
        {.model = track, .fields = fields + 1, .n = 2, .rows = 1},
        {.model = track, .fields = fields, .n = 2, .rows = 2},
        {.model = track, .fields = fields, .n = 2, .rows = 1, .conflict = conflict},
        {.model = track,
         .fields = fields,
         .n = 2,
         .rows = 1,
         .conflict = conflict,
         .n_conflict = 1},
        {.model = track, .fields = fields, .n = 2, .rows = 1, .returning_key = true},
    };
    uint64_t words[ORM_COUNT(writes)][32], keys[ORM_COUNT(writes)];
    size_t n[ORM_COUNT(writes)];
    for (size_t i = 0; i < ORM_COUNT(writes); i++) {
        orm_plan *plan;
        orm_error err;
        n[i] = orm_plan_shape(ORM_OP_INSERT, NULL, &writes[i], words[i], 32, &keys[i]);
        ORM_TEST_OK(orm_compile(&orm_dialect_sqlite, ORM_OP_INSERT, NULL, &writes[i], &plan, &err),
                    &err);
        assert_int_equal(plan->key, keys[i]);
        assert_int_equal(plan->n_words, n[i]);
        assert_memory_equal(plan->words, words[i], n[i] * sizeof(uint64_t));
        orm_plan_unref(plan);
        for (size_t k = 0; k < i; k++) {
            assert_true(keys[k] != keys[i]);
            assert_false(n[k] == n[i] && memcmp(words[k], words[i], n[i] * 8) == 0);
        }
    }
    uint64_t a, b;
    orm_query *q = orm_query_where(start(state), "id", orm_int(1));
    assert_non_null(q);
    orm_plan_shape(ORM_OP_GET, q, NULL, words[0], 32, &a);
    orm_plan_shape(ORM_OP_ALL, q, NULL, words[1], 32, &b);
    assert_true(a != b);
    assert_true(orm_plan_shape(ORM_OP_ALL, q, NULL, NULL, 0, &b) > 2);
    orm_query_unref(q);
}

static void assert_compile_fails(const orm_dialect *dialect, int kind, orm_query *query,
                                 const orm_write *write, int status, const char *part)
{
    orm_plan *plan;
    orm_error err;
    assert_int_equal(orm_compile(dialect, kind, query, write, &plan, &err), status);
    assert_null(plan);
    if (!strstr(err.message, part)) fail_msg("'%s' lacks '%s'", err.message, part);
    assert_int_equal(orm_compile(dialect, kind, query, write, &plan, NULL), status);
    orm_query_unref(query);
}

static void test_limits(void **state)
{
    const orm_value texts[] = {orm_text("a"), orm_text("b"), orm_text("c"), orm_text("d")};
    orm_query *q = orm_query_where(start(state), "title__in", orm_list(texts, 4));
    assert_compile_fails(&tight, ORM_OP_ALL, q, NULL, ORM_ETOOCOMPLEX, "at most 3 parameters");
    q = orm_query_select_related(start(state), "producer__mentor__label");
    assert_compile_fails(&tight, ORM_OP_ALL, q, NULL, ORM_ETOOCOMPLEX, "at most 3 tables");
    q = start(state);
    for (int i = 0; i < 3; i++) q = orm_query_where(q, "id", orm_int(i));
    assert_compile_fails(&tight, ORM_OP_ALL, q, NULL, ORM_ETOOCOMPLEX, "at most 2 conditions");
    q = start(state);
    for (int i = 0; i < 1000; i++) q = orm_query_where(q, "id__ne", orm_int(i));
    assert_compile_fails(&orm_dialect_sqlite, ORM_OP_COUNT, q, NULL, ORM_ETOOCOMPLEX,
                         "at most 900 conditions on sqlite");
    uint16_t fields[] = {1, 2, 3};
    orm_write write = {
        .model = fixture_model(*state, "Track"), .fields = fields, .n = 3, .rows = SIZE_MAX / 2};
    assert_compile_fails(&orm_dialect_sqlite, ORM_OP_INSERT, NULL, &write, ORM_ETOOCOMPLEX,
                         "32766 parameters");
}

static void test_misuse(void **state)
{
    uint16_t field = 99;
    orm_write write = {
        .model = fixture_model(*state, "Track"), .fields = &field, .n = 1, .rows = 1};
    assert_compile_fails(&orm_dialect_sqlite, ORM_OP_INSERT, NULL, &write, ORM_EMISUSE,
                         "no field number 99");
    assert_compile_fails(&orm_dialect_sqlite, ORM_OP_UPDATE, start(state), NULL, ORM_EMISUSE,
                         "no SQL of its own");
    assert_compile_fails(&orm_dialect_sqlite, ORM_OP_COMMIT, start(state), NULL, ORM_EMISUSE,
                         "no SQL of its own");
    assert_compile_fails(&orm_dialect_sqlite, ORM_OP_ALL,
                         orm_query_where(start(state), "nope", orm_int(1)), NULL, ORM_EFIELD,
                         "no field 'nope'");
    orm_plan *plan;
    orm_error err;
    assert_int_equal(orm_compile(&orm_dialect_sqlite, ORM_OP_ALL, NULL, NULL, &plan, &err),
                     ORM_ENOMEM);
}

static void test_query_sql(void **state)
{
    char *sql;
    orm_error err;
    orm_query *q = orm_query_where(start(state), "id", orm_int(1));
    ORM_TEST_OK(orm_query_sql(q, "sqlite", ORM_OP_EXISTS, &sql, &err), &err);
    assert_string_equal(sql, "SELECT EXISTS (SELECT 1 FROM \"track\" AS t0 WHERE t0.\"id\" = ? "
                             "LIMIT 1)");
    orm_text_free(sql);
    assert_int_equal(orm_query_sql(q, "oracle", ORM_OP_ALL, &sql, &err), ORM_ECONFIG);
    assert_null(sql);
    assert_int_equal(orm_query_sql(q, NULL, ORM_OP_ALL, &sql, &err), ORM_ECONFIG);
    assert_null(orm_dialect_find(NULL));
    orm_query_unref(q);
}

/* A plan holds its model, and so its schema. */
static void test_plan_outlives(void **state)
{
    (void)state;
    orm_plan *plan;
    orm_schema *schema = fixture_schema(NULL);
    orm_query *q = orm_query_new(fixture_model(schema, "Track"));
    assert_int_equal(orm_compile(&orm_dialect_sqlite, ORM_OP_ALL, q, NULL, &plan, NULL), ORM_OK);
    orm_query_unref(q);
    orm_schema_unref(schema);
    orm_plan_ref(plan);
    orm_plan_unref(plan);
    assert_string_equal(plan->model->name, "Track");
    orm_plan_unref(plan);
    orm_plan_unref(NULL);
}

static orm_status compile_body(void *arg)
{
    static const int kinds[] = {ORM_OP_ALL,    ORM_OP_LAST,   ORM_OP_COUNT,
                                ORM_OP_EXISTS, ORM_OP_UPDATE, ORM_OP_INSERT};
    uint16_t fields[] = {1, 2};
    orm_write write = {.model = fixture_model(arg, "Track"),
                       .fields = fields,
                       .n = 2,
                       .rows = 20,
                       .returning_key = true};
    orm_query *q = orm_query_new(write.model);
    q = orm_query_where(q, "producer__mentor__name__icontains", orm_text("x"));
    q = orm_query_select_related(orm_query_order_by(q, "album__name"), "album__publisher");
    q = orm_query_slice(q, 1, 3);
    orm_status status = ORM_OK;
    for (size_t i = 0; i < ORM_COUNT(kinds) && status == ORM_OK; i++) {
        orm_plan *plan;
        orm_error err;
        status = orm_compile(&orm_dialect_sqlite, kinds[i], q, &write, &plan, &err);
        orm_plan_unref(plan);
    }
    orm_query_unref(q);
    return status;
}

static void test_failing_allocations(void **state)
{
    orm_test_with_failing_allocations(compile_body, *state);
}

/* ---- tables ---- */

static void test_ddl_order(void **state)
{
    static const char *const names[] = {"Track", "Album", "Publisher", "Person"};
    const orm_model *models[4];
    const char *const *statements;
    size_t n;
    orm_arena arena;
    orm_error err;
    for (int i = 0; i < 4; i++) models[i] = fixture_model(*state, names[i]);
    orm_arena_init(&arena, 1024);
    ORM_TEST_OK(orm_ddl(&orm_dialect_sqlite, models, 4, false, &arena, &statements, &n, &err),
                &err);
    assert_int_equal(n, 5); /* with the index of person */
    assert_non_null(strstr(statements[0], "\"publisher\""));
    assert_non_null(strstr(statements[1], "\"album\""));
    assert_non_null(strstr(statements[2], "\"person\""));
    assert_non_null(strstr(statements[4], "\"track\""));
    ORM_TEST_OK(orm_ddl(&orm_dialect_sqlite, models, 4, true, &arena, &statements, &n, &err), &err);
    assert_int_equal(n, 4);
    assert_string_equal(statements[0], "DROP TABLE IF EXISTS \"track\"");
    assert_string_equal(statements[3], "DROP TABLE IF EXISTS \"publisher\"");
    ORM_TEST_OK(orm_ddl(&orm_dialect_sqlite, models, 0, false, &arena, &statements, &n, &err),
                &err);
    assert_int_equal(n, 0);
    orm_arena_dispose(&arena);
}

/* Two models that refer to each other: either order will do, none is lost. */
static void test_ddl_circle(void **state)
{
    (void)state;
    static const orm_field_def a[] = {KEY("id"), {REF("b", "B"), .nullable = 1}};
    static const orm_field_def b[] = {KEY("id"), {REF("a", "A"), .nullable = 1}};
    static const orm_model_def defs[] = {MODEL("A", "a", a), MODEL("B", "b", b)};
    orm_schema *schema = orm_schema_new();
    orm_model *models[2];
    const char *const *statements;
    size_t n;
    orm_arena arena;
    orm_error err;
    assert_non_null(schema);
    for (int i = 0; i < 2; i++)
        ORM_TEST_OK(orm_schema_add(schema, &defs[i], &models[i], &err), &err);
    orm_arena_init(&arena, 1024);
    ORM_TEST_OK(orm_ddl(&orm_dialect_sqlite, (const orm_model *const *)models, 2, false, &arena,
                        &statements, &n, &err),
                &err);
    assert_int_equal(n, 2);
    orm_arena_dispose(&arena);
    orm_schema_unref(schema);
}

static orm_status ddl_body(void *arg)
{
    const orm_model *models[2] = {fixture_model(arg, "Seat"), fixture_model(arg, "Strange")};
    const char *const *statements;
    size_t n;
    orm_arena arena;
    orm_error err;
    orm_arena_init(&arena, 64);
    orm_status status = orm_ddl(&orm_dialect_sqlite, models, 2, false, &arena, &statements, &n,
                                &err);
    orm_arena_dispose(&arena);
    return status;
}

static void test_ddl_failing_allocations(void **state)
{
    orm_test_with_failing_allocations(ddl_body, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_common_lookups),
        FIXTURE_TEST(test_common_forms),
        FIXTURE_TEST(test_layout),
        FIXTURE_TEST(test_flags),
        FIXTURE_TEST(test_shape),
        FIXTURE_TEST(test_limits),
        FIXTURE_TEST(test_misuse),
        FIXTURE_TEST(test_query_sql),
        cmocka_unit_test(test_plan_outlives),
        FIXTURE_TEST(test_failing_allocations),
        FIXTURE_TEST(test_ddl_order),
        cmocka_unit_test(test_ddl_circle),
        FIXTURE_TEST(test_ddl_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
