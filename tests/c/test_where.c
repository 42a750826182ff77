/* Conditions as SQLite answers them: what every lookup finds, that exclude() finds exactly the
 * rest, and that every type comes back as it went in. */
#include "fixture.h"

#include "driver/driver_internal.h"

#include <stdio.h>

enum {
    ROWS = 4,
    MAX_PARAMS = 32
};

static orm_schema *schema;
static orm_conn *conn;
static orm_arena arena;

typedef struct answer {
    const orm_layout *layout;
    int64_t number; /* the first column of the last row */
    size_t rows;
    orm_cell cells[24]; /* of the last row, decoded */
    char scratch[24][48];
} answer;

static orm_status row_take(void *self, const orm_cell *cells, orm_error *err)
{
    answer *a = self;
    a->rows++;
    for (uint32_t i = 0; a->layout && i < a->layout->n_columns; i++) {
        a->cells[i] = cells[i];
        if (cells[i].kind != ORM_V_NULL && cells[i].kind != a->layout->columns[i].expect) {
            ORM_TRY(orm_cell_decode(&a->layout->columns[i], &a->cells[i], a->scratch[i], err));
        }
        if (a->cells[i].kind == ORM_V_TEXT || a->cells[i].kind == ORM_V_BLOB) {
            a->cells[i].as.ptr = orm_arena_copy(&arena, a->cells[i].as.ptr, a->cells[i].len);
            if (!a->cells[i].as.ptr) return orm_fail_nomem(err);
        }
    }
    a->number = a->layout ? a->cells[0].as.i : 0;
    return ORM_OK;
}

static void sql_run(const char *sql, const orm_value *params, size_t n, answer *out)
{
    orm_stmt *stmt;
    orm_error err;
    orm_exec_info info;
    orm_budget budget = {0};
    orm_row_target target = {row_take, out};
    ORM_TEST_OK(orm_sqlite_driver.prepare(conn, sql, strlen(sql), NULL, &stmt, &err), &err);
    ORM_TEST_OK(orm_sqlite_driver.start(conn, stmt, params, n, &err), &err);
    ORM_TEST_OK(orm_sqlite_driver.step(conn, stmt, &target, &budget, &info, &err), &err);
    orm_sqlite_driver.reset(conn, stmt);
    orm_sqlite_driver.finalize(conn, stmt);
}

/* Compiles, binds and runs; takes the query. */
static void run(int kind, orm_query *query, const orm_write *write, const orm_value *write_values,
                answer *out)
{
    orm_plan *plan;
    orm_error err;
    const orm_value *values[MAX_PARAMS];
    orm_value bound[MAX_PARAMS];
    size_t n = write ? write->n : 0;
    ORM_TEST_OK(orm_compile(&orm_dialect_sqlite, kind, query, write, &plan, &err), &err);
    for (size_t i = 0; i < n; i++) values[i] = &write_values[i];
    if (query) orm_query_values(query, values + n, MAX_PARAMS - n);
    for (size_t i = 0; i < plan->n_params; i++) {
        ORM_TEST_OK(orm_param_bind(&orm_dialect_sqlite, &plan->params[i],
                                   values[plan->params[i].value], -1, 0, &arena, &bound[i], &err),
                    &err);
    }
    memset(out, 0, sizeof *out);
    out->layout = plan->layout.n_columns ? &plan->layout : NULL;
    sql_run(plan->sql, bound, plan->n_params, out);
    out->layout = NULL;
    orm_plan_unref(plan);
    orm_query_unref(query);
}

static orm_value uuid_value(void)
{
    orm_value v = orm_bytes("0123456789abcdef", 16);
    v.kind = ORM_V_UUID;
    return v;
}

/* The fields of Everything behind its key, in order. */
static const uint16_t fields[] = {1,  2,  3,  4,  5,  6,  7,  8,  9, 10,
                                  11, 12, 13, 14, 15, 16, 17, 18, 19};
static orm_value rows[ROWS][ORM_COUNT(fields)];

static void rows_fill(void)
{
    const orm_value null = orm_null();
    for (size_t i = 0; i < ORM_COUNT(fields); i++) rows[0][i] = null;
    const orm_value second[] = {orm_bool(true),
                                orm_int(5),
                                orm_int(5),
                                orm_int(INT64_MAX),
                                orm_float(0.5),
                                orm_text("1.10"),
                                orm_text("1234567890123456789012345678.0123456789"),
                                orm_text("Straße Ünï"),
                                orm_bytes("\0\xff", 2),
                                orm_text("2020-12-31"),
                                orm_text("23:59:59.999900"),
                                orm_text("2020-12-31 23:59:59.999900"),
                                orm_text("2020-12-31 23:59:59.999900Z"),
                                orm_int(-1),
                                uuid_value(),
                                orm_text("{\"a\": 1}"),
                                orm_text("RED"),
                                orm_text("10.0.0.1"),
                                orm_text("[1]")};
    const orm_value third[] = {orm_bool(false),
                               orm_int(-5),
                               orm_int(-5),
                               orm_int(INT64_MIN),
                               orm_float(1e300),
                               orm_text("10.00"),
                               orm_text("9.5"),
                               orm_text("100%_\\"),
                               orm_bytes("", 0),
                               orm_text("2021-01-03"),
                               orm_text("00:00:00"),
                               orm_text("2021-01-03 00:00:00"),
                               orm_text("2021-01-03 00:00:00+00:00"),
                               orm_int(86400000000),
                               uuid_value(),
                               orm_text("5"),
                               orm_text("ULTRAMARINE"),
                               orm_text("::1"),
                               orm_text("[]")};
    memcpy(rows[1], second, sizeof second);
    memcpy(rows[2], third, sizeof third);
    rows[1][13].kind = rows[2][13].kind = ORM_V_INTERVAL;
    for (size_t i = 0; i < ORM_COUNT(fields); i++) rows[3][i] = null;
    rows[3][7] = orm_textn("a\0b", 3);
    rows[3][9] = orm_text("0001-01-01");
}

static void tables_make(void)
{
    const orm_model *models[ORM_COUNT(golden_models)];
    const char *const *statements;
    size_t n;
    orm_error err;
    answer none;
    for (size_t i = 0; i < ORM_COUNT(models); i++) {
        models[i] = fixture_model(schema, golden_models[i].name);
    }
    ORM_TEST_OK(orm_ddl(&orm_dialect_sqlite, models, ORM_COUNT(models), false, &arena, &statements,
                        &n, &err),
                &err);
    for (size_t i = 0; i < n; i++) sql_run(statements[i], NULL, 0, &none);
    orm_write write = {.model = fixture_model(schema, "Everything"),
                       .fields = fields,
                       .n = ORM_COUNT(fields),
                       .rows = 1};
    rows_fill();
    for (size_t i = 0; i < ROWS; i++) run(ORM_OP_INSERT, NULL, &write, rows[i], &none);
}

static int setup(void **state)
{
    orm_error err;
    orm_conn_config config = {.database = ":memory:", .memory = true, .create = true};
    (void)state;
    orm_arena_init(&arena, 4096);
    schema = fixture_schema(&err);
    ORM_TEST_OK(orm_sqlite_driver.open(&config, &conn, &err), &err);
    tables_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    orm_sqlite_driver.close(conn);
    orm_schema_unref(schema);
    orm_arena_dispose(&arena);
    return 0;
}

static orm_query *everything(void)
{
    return orm_query_new(fixture_model(schema, "Everything"));
}

/* filter() finds `wanted` rows, exclude() all others. */
static void assert_found(const char *path, orm_value value, int64_t wanted)
{
    answer kept, rest;
    run(ORM_OP_COUNT, orm_query_where(everything(), path, value), NULL, NULL, &kept);
    run(ORM_OP_COUNT, orm_query_exclude(everything(), path, value), NULL, NULL, &rest);
    if (kept.number != wanted || rest.number != ROWS - wanted) {
        fail_msg("%s: %d found and %d not, expected %d", path, (int)kept.number, (int)rest.number,
                 (int)wanted);
    }
}

static void test_text(void **state)
{
    (void)state;
    assert_found("text", orm_text("Straße Ünï"), 1);
    assert_found("text", orm_text("straße ünï"), 0);
    assert_found("text__iexact", orm_text("STRASSE ÜNÏ"), 1);
    assert_found("text__contains", orm_text("%_\\"), 1);
    assert_found("text__contains", orm_text("%\\"), 0);
    assert_found("text__contains", orm_text("STRA"), 0);
    assert_found("text__icontains", orm_text("STRASS"), 1);
    assert_found("text__contains", orm_text(""), 3);
    assert_found("text__contains", orm_textn("\0b", 2), 1);
    assert_found("text__startswith", orm_text("100%"), 1);
    assert_found("text__startswith", orm_textn("a\0", 2), 1);
    assert_found("text__istartswith", orm_text("sTRA"), 1);
    assert_found("text__endswith", orm_text("_\\"), 1);
    assert_found("text__iendswith", orm_text("ÜNÏ"), 1);
    assert_found("text__regex", orm_text("^1.0"), 1);
    assert_found("text__iregex", orm_text("ünï$"), 1);
    assert_found("text__ne", orm_text("x"), ROWS);
    assert_found("text", orm_null(), 1);
    assert_found("color__iexact", orm_text("red"), 1);
    assert_found("address__startswith", orm_text("10."), 1);
}

static void test_moments(void **state)
{
    (void)state;
    assert_found("day__year", orm_int(2020), 1);
    assert_found("day__year", orm_int(1), 1);
    assert_found("day__month", orm_int(12), 1);
    assert_found("day__day", orm_int(31), 1);
    assert_found("day__week_day", orm_int(4), 1);   /* a Thursday */
    assert_found("day__week_day", orm_int(7), 1);   /* a Sunday */
    assert_found("day__week_day", orm_int(1), 1);   /* 0001-01-01 was a Monday */
    assert_found("moment__year", orm_int(2020), 1); /* not rounded into the next year */
    assert_found("moment__hour", orm_int(23), 1);
    assert_found("moment__minute", orm_int(59), 1);
    assert_found("moment__second", orm_int(59), 1);
    assert_found("moment__second", orm_int(0), 1);
    assert_found("moment__date", orm_text("2020-12-31"), 1);
    assert_found("moment__time", orm_text("23:59:59.9999"), 1);
    assert_found("moment__week_day", orm_int(7), 1);
    assert_found("instant__date", orm_text("2021-01-03"), 1);
    assert_found("instant", orm_text("2021-01-03 02:00:00+02:00"), 1);
    assert_found("clock__hour", orm_int(0), 1);
    assert_found("clock__minute", orm_int(59), 1);
    assert_found("clock__second", orm_int(59), 1);
    assert_found("moment__lt", orm_text("2021-01-01 00:00"), 1);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_found("flag", orm_bool(true), 1);
    assert_found("number__gt", orm_int(-5), 1);
    assert_found("number__gte", orm_int(-5), 2);
    assert_found("big__lt", orm_int(0), 1);
    assert_found("big", orm_int(INT64_MAX), 1);
    assert_found("ratio", orm_float(0.5), 1);
    /* numbers, not texts: 10.00 is more than 9.00, and 9.5 less than a number of 28 digits */
    assert_found("price__gt", orm_text("9"), 1);
    assert_found("price", orm_text("1.1"), 1);
    assert_found("exact__gt", orm_text("10"), 1);
    assert_found("exact", orm_text("9.50"), 1);
    assert_found("exact__lt", orm_text("1234567890123456789012345678.0123456790"), 2);
    assert_found("span__lt", (orm_value){.kind = ORM_V_INTERVAL}, 1);
    assert_found("number__isnull", orm_bool(true), 2);
    assert_found("number__isnull", orm_bool(false), 2);
}

static void test_lists(void **state)
{
    (void)state;
    const orm_value ints[] = {orm_int(5), orm_int(7), orm_null()};
    const orm_value texts[] = {orm_textn("a\0b", 3), orm_text("100%_\\"), orm_text("x"),
                               orm_null()};
    const orm_value prices[] = {orm_text("1.1"), orm_int(10)};
    const orm_value tokens[] = {uuid_value()};
    orm_value many[600];
    for (size_t i = 0; i < ORM_COUNT(many); i++) many[i] = orm_text("\"x\\");
    many[599] = orm_text("100%_\\");
    assert_found("number__in", orm_list(ints, 2), 1);
    assert_found("number__in", orm_list(ints, 3), 3);
    assert_found("number__not_in", orm_list(ints, 2), 3);
    assert_found("number__not_in", orm_list(ints, 3), 1);
    assert_found("number__in", orm_list(ints, 0), 0);
    assert_found("number__not_in", orm_list(ints, 0), ROWS);
    assert_found("number__in", orm_list(ints + 2, 1), 2);
    assert_found("number__range", orm_list(ints, 2), 1);
    assert_found("text__in", orm_list(texts, 3), 2);
    assert_found("text__in", orm_list(texts, 4), 3);
    assert_found("text__in", orm_list(many, 600), 1);
    assert_found("text__not_in", orm_list(many, 600), 3);
    assert_found("price__in", orm_list(prices, 2), 2);
    assert_found("token__in", orm_list(tokens, 1), 2);
}

/* exclude() of two conditions is the complement of filter() of both, NULL or not. */
static void test_two_conditions(void **state)
{
    static const char *const paths[] = {"number",       "number__ne", "text__contains",
                                        "flag__isnull", "price__gt",  "day__week_day"};
    const orm_value values[] = {orm_int(5),     orm_int(5),    orm_text("a"),
                                orm_bool(true), orm_text("2"), orm_int(4)};
    const orm_model *model = fixture_model(schema, "Everything");
    (void)state;
    for (size_t i = 0; i < ORM_COUNT(paths); i++) {
        for (size_t k = 0; k < ORM_COUNT(paths); k++) {
            orm_cond conds[] = {{.value = values[i]}, {.value = values[k]}};
            answer kept, rest;
            orm_error err;
            ORM_TEST_OK(orm_path_resolve(model, paths[i], strlen(paths[i]), ORM_PATH_LOOKUP,
                                         &conds[0].path, &err),
                        &err);
            ORM_TEST_OK(orm_path_resolve(model, paths[k], strlen(paths[k]), ORM_PATH_LOOKUP,
                                         &conds[1].path, &err),
                        &err);
            run(ORM_OP_COUNT, orm_query_filter(everything(), conds, 2, false), NULL, NULL, &kept);
            run(ORM_OP_COUNT, orm_query_filter(everything(), conds, 2, true), NULL, NULL, &rest);
            if (kept.number + rest.number != ROWS) fail_msg("%s and %s", paths[i], paths[k]);
        }
    }
}

/* No condition holds for every row: exclude() of none leaves nothing. */
static void test_no_condition(void **state)
{
    answer kept, rest;
    (void)state;
    run(ORM_OP_COUNT, orm_query_filter(everything(), NULL, 0, false), NULL, NULL, &kept);
    run(ORM_OP_COUNT, orm_query_filter(everything(), NULL, 0, true), NULL, NULL, &rest);
    assert_int_equal(kept.number, ROWS);
    assert_int_equal(rest.number, 0);
}

/* As many conditions as the dialect allows, in the deepest form: SQLite takes them. */
static void test_many_conditions(void **state)
{
    enum {
        MANY = 900
    };
    static orm_cond conds[MANY];
    answer a;
    orm_error err;
    (void)state;
    assert_int_equal(orm_dialect_sqlite.max_terms, MANY);
    for (size_t i = 0; i < MANY; i++) {
        conds[i].value = orm_bool(true);
        ORM_TEST_OK(orm_path_resolve(fixture_model(schema, "Everything"), "text__isnull", 12,
                                     ORM_PATH_LOOKUP, &conds[i].path, &err),
                    &err);
    }
    run(ORM_OP_COUNT, orm_query_filter(everything(), conds, MANY, true), NULL, NULL, &a);
    assert_int_equal(a.number, ROWS - 1);
}

/* The logical kind of what comes back, against what went in (as text for decimals). */
static void test_round_trip(void **state)
{
    static const char *const texts[2][3] = {
        {"1.10", "1234567890123456789012345678.0123456789", "{\"a\": 1}"},
        {"10.00", "9.5000000000", "5"}};
    (void)state;
    for (int r = 1; r <= 2; r++) {
        answer a;
        run(ORM_OP_GET, orm_query_where(everything(), "id", orm_int(r + 1)), NULL, NULL, &a);
        assert_int_equal(a.rows, 1);
        assert_int_equal(a.cells[1].kind, ORM_V_BOOL);
        assert_int_equal(a.cells[1].as.i, r == 1);
        assert_int_equal(a.cells[4].as.i, r == 1 ? INT64_MAX : INT64_MIN);
        assert_true(a.cells[5].as.f == (r == 1 ? 0.5 : 1e300));
        for (int i = 0; i < 3; i++) {
            const orm_cell *cell = &a.cells[(const int[]){6, 7, 16}[i]];
            assert_int_equal(cell->len, strlen(texts[r - 1][i]));
            assert_memory_equal(cell->as.ptr, texts[r - 1][i], cell->len);
        }
        assert_int_equal(a.cells[8].len, rows[r][7].len);
        assert_int_equal(a.cells[9].kind, ORM_V_BLOB);
        assert_int_equal(a.cells[9].len, rows[r][8].len);
        assert_int_equal(a.cells[10].kind, ORM_V_DATE);
        assert_int_equal(a.cells[10].as.i, orm_days_from_civil(r == 1 ? 2020 : 2021,
                                                               r == 1 ? 12 : 1, r == 1 ? 31 : 3));
        assert_int_equal(a.cells[11].as.i, r == 1 ? ORM_US_PER_DAY - 100 : 0);
        assert_int_equal(a.cells[12].kind, ORM_V_DATETIME);
        assert_int_equal(a.cells[13].kind, ORM_V_DATETIMETZ);
        assert_int_equal(a.cells[12].as.i, a.cells[13].as.i);
        assert_int_equal(a.cells[14].kind, ORM_V_INTERVAL);
        assert_int_equal(a.cells[14].as.i, rows[r][13].as.i);
        assert_int_equal(a.cells[15].kind, ORM_V_UUID);
    }
}

static void test_relations(void **state)
{
    static const uint16_t person[] = {0, 1, 2, 3}, publisher[] = {0, 1};
    answer a;
    (void)state;
    orm_write write = {
        .model = fixture_model(schema, "Publisher"), .fields = publisher, .n = 2, .rows = 1};
    run(ORM_OP_INSERT, NULL, &write, (const orm_value[]){orm_int(1), orm_text("label")}, &a);
    write = (orm_write){
        .model = fixture_model(schema, "Person"), .fields = person, .n = 4, .rows = 1};
    run(ORM_OP_INSERT, NULL, &write,
        (const orm_value[]){orm_int(1), orm_text("Ann"), orm_null(), orm_int(1)}, &a);
    run(ORM_OP_INSERT, NULL, &write,
        (const orm_value[]){orm_int(2), orm_text("Bob"), orm_int(1), orm_int(1)}, &a);
    static const struct {
        const char *path, *text;
        int64_t wanted;
    } cases[] = {{"mentor__name", "Ann", 1},          {"mentor__name", "Bob", 0},
                 {"mentor__name__ne", "Ann", 1},      {"mentor__name__ne", "x", 2},
                 {"mentor__label__name", "label", 1}, {"label__name__icontains", "LAB", 2}};
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        for (int negate = 0; negate < 2; negate++) {
            orm_query *q = orm_query_new(write.model);
            q = negate ? orm_query_exclude(q, cases[i].path, orm_text(cases[i].text))
                       : orm_query_where(q, cases[i].path, orm_text(cases[i].text));
            run(ORM_OP_COUNT, q, NULL, NULL, &a);
            assert_int_equal(a.number, negate ? 2 - cases[i].wanted : cases[i].wanted);
        }
    }
    /* exactly the rows that the query selects, across a relation */
    orm_query *q = orm_query_where(orm_query_new(write.model), "mentor__name", orm_text("Ann"));
    run(ORM_OP_DELETE, q, NULL, NULL, &a);
    run(ORM_OP_COUNT, orm_query_new(write.model), NULL, NULL, &a);
    assert_int_equal(a.number, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_two_conditions),
        cmocka_unit_test(test_no_condition),
        cmocka_unit_test(test_many_conditions),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_relations),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
