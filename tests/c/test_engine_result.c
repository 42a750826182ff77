/* Rows as C structs: every type of member, NULLs, what does not fit. */
#include "engine_fixture.h"

typedef struct Every {
    int64_t id;
    bool flag;
    int16_t small;
    int32_t medium;
    double real;
    const char *text;
    orm_str string;
    char chars[8];
    orm_blob blob;
    orm_date date;
    orm_time time;
    orm_datetime moment;
    orm_datetimetz instant;
    orm_interval span;
    orm_uuid uuid;
    orm_decimal price;
    orm_json json;
    ORM_OPT(bool) o_flag;
    ORM_OPT(int16_t) o_small;
    ORM_OPT(int32_t) o_medium;
    ORM_OPT(int64_t) o_big;
    ORM_OPT(double) o_real;
    ORM_OPT(orm_date) o_date;
    ORM_OPT(orm_time) o_time;
    ORM_OPT(orm_datetime) o_moment;
    ORM_OPT(orm_uuid) o_uuid;
} Every;

ORM_MODEL(Every, "every", ORM_FIELD(Every, id, .primary_key = 1), ORM_FIELD(Every, flag),
          ORM_FIELD(Every, small), ORM_FIELD(Every, medium), ORM_FIELD(Every, real),
          ORM_FIELD(Every, text, .nullable = 1), ORM_FIELD(Every, string, .nullable = 1),
          ORM_FIELD(Every, chars), ORM_FIELD(Every, blob, .nullable = 1), ORM_FIELD(Every, date),
          ORM_FIELD(Every, time), ORM_FIELD(Every, moment), ORM_FIELD(Every, instant),
          ORM_FIELD(Every, span), ORM_FIELD(Every, uuid),
          ORM_FIELD(Every, price, .digits = 10, .places = 2), ORM_FIELD(Every, json, .nullable = 1),
          ORM_FIELD(Every, o_flag), ORM_FIELD(Every, o_small), ORM_FIELD(Every, o_medium),
          ORM_FIELD(Every, o_big), ORM_FIELD(Every, o_real), ORM_FIELD(Every, o_date),
          ORM_FIELD(Every, o_time), ORM_FIELD(Every, o_moment), ORM_FIELD(Every, o_uuid));

static int every_setup(void **state)
{
    orm_error err;
    world *w = calloc(1, sizeof *w);
    ORM_TEST_OK(ORM_CONNECT(WORLD_MEMORY, &w->db, &err, &Every_model), &err);
    RUN(orm_create_all(w->db, NULL));
    *state = w;
    return 0;
}

static Every make_row(bool all)
{
    static const char nul[] = {'a', '\0', 'b'};
    Every row = {
        .flag = true,
        .small = -7,
        .medium = 1 << 30,
        .real = 1.25,
        .text = "t\xc3\xa9xt",
        .string = {nul, 3},
        .chars = "seven77",
        .blob = {nul, 3},
        .date = {18263},
        .time = {3723000004},
        .moment = {1577934245000006},
        .instant = {1577934245000006},
        .span = {-5},
        .uuid = {{1, 2, 3, 250}},
        .price = {"12.50", 5},
        .json = {"{\"a\":1}", 7},
    };
    if (!all) return row;
    row.o_flag.has = row.o_small.has = row.o_medium.has = row.o_big.has = row.o_real.has = true;
    row.o_date.has = row.o_time.has = row.o_moment.has = row.o_uuid.has = true;
    row.o_big.v = INT64_MIN;
    row.o_real.v = -0.5;
    row.o_date.v.days = -1;
    row.o_uuid.v.bytes[15] = 9;
    return row;
}

static void check_text(const char *ptr, size_t len, const char *want, size_t want_len)
{
    assert_int_equal(len, want_len);
    assert_memory_equal(ptr, want, len);
}

static void check_row(const Every *got, const Every *want)
{
    assert_true(got->flag);
    assert_int_equal(got->small, want->small);
    assert_int_equal(got->medium, want->medium);
    assert_true(got->real == want->real);
    assert_string_equal(got->text, want->text);
    check_text(got->string.ptr, got->string.len, want->string.ptr, want->string.len);
    assert_string_equal(got->chars, want->chars);
    check_text(got->blob.ptr, got->blob.len, want->blob.ptr, want->blob.len);
    assert_int_equal(got->date.days, want->date.days);
    assert_int_equal(got->time.us, want->time.us);
    assert_int_equal(got->moment.us, want->moment.us);
    assert_int_equal(got->instant.us, want->instant.us);
    assert_int_equal(got->span.us, want->span.us);
    assert_memory_equal(&got->uuid, &want->uuid, 16);
    check_text(got->price.ptr, got->price.len, "12.50", 5);
    assert_non_null(memchr(got->json.ptr, 'a', got->json.len));
    assert_int_equal(got->o_flag.has, want->o_flag.has);
    assert_int_equal(got->o_small.has, want->o_small.has);
    assert_int_equal(got->o_medium.has, want->o_medium.has);
    assert_int_equal(got->o_big.has, want->o_big.has);
    assert_int_equal(got->o_big.v, want->o_big.v);
    assert_true(got->o_real.v == want->o_real.v);
    assert_int_equal(got->o_date.has, want->o_date.has);
    assert_int_equal(got->o_date.v.days, want->o_date.v.days);
    assert_int_equal(got->o_time.has, want->o_time.has);
    assert_int_equal(got->o_moment.has, want->o_moment.has);
    assert_int_equal(got->o_uuid.has, want->o_uuid.has);
    assert_memory_equal(&got->o_uuid.v, &want->o_uuid.v, 16);
}

static void test_every_type(void **state)
{
    world *w = *state;
    for (int all = 0; all < 2; all++) {
        Every row = make_row(all);
        RUN(ORM_INSERT(w->db, Every, &row));
        orm_result *result = world_rows(
            orm_get(w->db, ORM_FILTER(ORM_FROM(w->db, Every), ORM_IS(Every, id, row.id)), NULL));
        check_row(ORM_ONE(Every, result), &row);
        orm_result_free(result);
    }
    Every nulls = make_row(false);
    nulls.text = NULL;
    nulls.string.ptr = NULL;
    nulls.blob.ptr = NULL;
    nulls.json.ptr = NULL;
    RUN(ORM_INSERT(w->db, Every, &nulls));
    orm_result *result = world_rows(
        orm_get(w->db, ORM_FILTER(ORM_FROM(w->db, Every), ORM_IS(Every, id, nulls.id)), NULL));
    const Every *got = ORM_ONE(Every, result);
    assert_null(got->text);
    assert_null(got->string.ptr);
    assert_null(got->blob.ptr);
    assert_null(got->json.ptr);
    orm_result_free(result);
}

static void test_filters_of_every_type(void **state)
{
    world *w = *state;
    Every row = make_row(true);
    const orm_uuid *uuid = &row.uuid;
    orm_value list[] = {orm_int(1), orm_int(2)};
    RUN(ORM_INSERT(w->db, Every, &row));
    orm_query *query = ORM_FILTER(
        ORM_FROM(w->db, Every), ORM_IS(Every, flag, true), ORM_CMP(Every, small, lt, 0),
        ORM_CMP(Every, real, gte, 1.25), ORM_CMP(Every, text, startswith, "t"),
        ORM_IS(Every, date, row.date), ORM_IS(Every, moment, row.moment),
        ORM_IS(Every, instant, row.instant), ORM_IS(Every, uuid, uuid),
        ORM_IS(Every, price, "12.5"), ORM_CMP(Every, id, in, orm_list(list, 2)),
        ORM_CMP(Every, o_big, isnull, false), ORM_CMP(Every, moment, year, 2020));
    assert_int_equal(world_number(w, orm_count(w->db, query)), 1);
}

static void check_data_error(world *w, const char *sql, const char *column)
{
    orm_error err = {0};
    orm_result *result = NULL;
    RUN(orm_raw(w->db, sql, strlen(sql), NULL, 0, NULL, NULL));
    assert_int_equal(orm_await(orm_all(w->db, ORM_FROM(w->db, Every), NULL), &result, &err),
                     ORM_EDATA);
    assert_null(result);
    assert_string_equal(err.table, "every");
    assert_string_equal(err.column, column);
}

static void test_what_does_not_fit(void **state)
{
    world *w = *state;
    Every row = make_row(true);
    RUN(ORM_INSERT(w->db, Every, &row));
    check_data_error(w, "UPDATE every SET small = 40000", "small");
    check_data_error(w, "UPDATE every SET small = 1, medium = 4000000000", "medium");
    check_data_error(w, "UPDATE every SET medium = 1, chars = '12345678'", "chars");
    check_data_error(w, "UPDATE every SET chars = '1', text = 'a' || char(0) || 'b'", "text");
    check_data_error(w, "UPDATE every SET text = '', moment = 'never'", "moment");
    check_data_error(w, "UPDATE every SET moment = '2020-01-01 00:00:00', uuid = 'x'", "uuid");
    RUN(orm_raw(w->db, "DELETE FROM every", 17, NULL, 0, NULL, NULL));
    orm_result *result = world_rows(orm_all(w->db, ORM_FROM(w->db, Every), NULL));
    assert_int_equal(orm_result_count(result), 0);
    orm_result_free(result);
}

static void test_models_without_structs_need_a_sink(void **state)
{
    (void)state;
    static const orm_field_def fields[] = {
        {.name = "id", .type = ORM_TYPE_INT64, .primary_key = 1}};
    static const orm_model_def bare = {.size = sizeof bare,
                                       .field_size = sizeof *fields,
                                       .name = "Bare",
                                       .table = "bare",
                                       .n_fields = 1,
                                       .fields = fields};
    orm_error err;
    orm_engine *db;
    ORM_TEST_OK(ORM_CONNECT(WORLD_MEMORY, &db, &err, &bare), &err);
    RUN(orm_create_all(db, NULL));
    RUN_FAILS(orm_all(db, orm_query_new(orm_engine_model(db, &bare)), NULL), ORM_EMISUSE);
    RUN(orm_count(db, orm_query_new(orm_engine_model(db, &bare))));
    Every row = make_row(false);
    RUN_FAILS(ORM_INSERT(db, Every, &row), ORM_EMISUSE);
    RUN_FAILS(ORM_SAVE(db, Every, &row), ORM_EMISUSE);
    RUN_FAILS(ORM_DELETE(db, Every, &row), ORM_EMISUSE);
    assert_null(orm_engine_model(db, &Every_model));
    orm_close_engine(db);
}

static orm_status every_life(void *arg)
{
    orm_error err;
    orm_engine *db;
    orm_result *result = NULL;
    Every row = make_row(true);
    orm_status status = ORM_CONNECT(arg, &db, &err, &Every_model);
    if (status < 0) return status;
    status = orm_await(orm_create_all(db, NULL), NULL, &err);
    if (status >= 0) status = orm_await(ORM_INSERT(db, Every, &row), NULL, &err);
    if (status >= 0) status = orm_await(orm_all(db, ORM_FROM(db, Every), NULL), &result, &err);
    if (status >= 0) status = orm_await(ORM_SAVE(db, Every, &row), NULL, &err);
    orm_result_free(result);
    orm_close_engine(db);
    return status;
}

static void test_without_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(every_life, (void *)WORLD_MEMORY);
}

#define EVERY_TEST(f) cmocka_unit_test_setup_teardown(f, every_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERY_TEST(test_every_type),
        EVERY_TEST(test_filters_of_every_type),
        EVERY_TEST(test_what_does_not_fit),
        cmocka_unit_test(test_models_without_structs_need_a_sink),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
