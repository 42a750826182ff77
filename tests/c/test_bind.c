#include "fixture.h"

#include <math.h>
#include <stdio.h>

/* A dialect without stored forms and without NUL in text: what a server's would be. */
static const orm_dialect server = {.name = "server", .list_in = "", .list_not_in = ""};

static orm_arena arena;

static orm_status bind(const orm_schema *schema, const orm_dialect *dialect, const char *column,
                       int how, orm_value v, orm_value *out, orm_error *err)
{
    const orm_model *model = fixture_model(schema, "Everything");
    orm_status status = orm_model_seal(model, err);
    if (status < 0) return status;
    const orm_field *field = &model->fields[orm_model_find_field(model, column, strlen(column))];
    orm_param param = {.how = (uint8_t)how, .type = field->type, .field = field};
    return orm_param_bind(dialect, &param, &v, 10, 20, &arena, out, err);
}

static int setup(void **state)
{
    orm_arena_init(&arena, 256);
    return fixture_setup(state);
}

static int teardown(void **state)
{
    orm_arena_dispose(&arena);
    return fixture_teardown(state);
}

static void assert_text(void **state, const char *column, int how, orm_value v, const char *wanted)
{
    orm_value out;
    orm_error err;
    ORM_TEST_OK(bind(*state, &orm_dialect_sqlite, column, how, v, &out, &err), &err);
    assert_int_equal(out.kind, ORM_V_TEXT);
    assert_int_equal(out.len, strlen(wanted));
    assert_memory_equal(out.as.ptr, wanted, out.len);
    assert_null(out.release);
}

static orm_value kind_of(int kind, int64_t i)
{
    orm_value v = orm_int(i);
    v.kind = (uint8_t)kind;
    return v;
}

static void test_stored_forms(void **state)
{
    static const uint8_t bytes[16] = {0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0,
                                      0,    0,    0,    0,    0, 0, 0, 0xff};
    orm_value uuid = orm_bytes(bytes, 16);
    uuid.kind = ORM_V_UUID;
    assert_text(state, "day", ORM_BIND_PLAIN, kind_of(ORM_V_DATE, ORM_DATE_MIN), "0001-01-01");
    assert_text(state, "day", ORM_BIND_PLAIN, kind_of(ORM_V_DATE, ORM_DATE_MAX), "9999-12-31");
    assert_text(state, "clock", ORM_BIND_PLAIN, kind_of(ORM_V_TIME, ORM_US_PER_DAY - 1),
                "23:59:59.999999");
    assert_text(state, "moment", ORM_BIND_PLAIN, kind_of(ORM_V_DATETIME, 0),
                "1970-01-01 00:00:00.000000");
    assert_text(state, "instant", ORM_BIND_PLAIN, kind_of(ORM_V_DATETIMETZ, 0),
                "1970-01-01 00:00:00.000000+00:00");
    assert_text(state, "instant", ORM_BIND_PLAIN, orm_text("2000-01-01T00:00:00-01:30"),
                "2000-01-01 01:30:00.000000+00:00");
    assert_text(state, "token", ORM_BIND_PLAIN, uuid, "123456780000000000000000000000ff");
    assert_text(state, "token", ORM_BIND_PLAIN, orm_text("12345678-0000-0000-0000-0000000000FF"),
                "123456780000000000000000000000ff");
    assert_text(state, "price", ORM_BIND_PLAIN, orm_text("1.5"), "1.50");
    assert_text(state, "price", ORM_BIND_PLAIN, orm_text("1E2"), "100.00");
    assert_text(state, "price", ORM_BIND_PLAIN, orm_int(-99999999), "-99999999.00");
    assert_text(state, "exact", ORM_BIND_PLAIN, orm_text("-0"), "0.0000000000");
}

static void test_patterns(void **state)
{
    assert_text(state, "text", ORM_BIND_FOLD, orm_text("ABC xyz"), "abc xyz");
    assert_text(state, "text", ORM_BIND_FOLD, orm_text("STRASSE Straße"), "strasse strasse");
    assert_text(state, "text", ORM_BIND_LIKE_CONTAINS, orm_text("50%_!\\"), "%50!%!_!!\\%");
    assert_text(state, "text", ORM_BIND_LIKE_PREFIX, orm_text("a%"), "a!%%");
    assert_text(state, "text", ORM_BIND_LIKE_SUFFIX, orm_text(""), "%");
}

static void test_lists(void **state)
{
    const orm_value texts[] = {orm_text("a\"b\\\n"), orm_text("ü")};
    const orm_value ints[] = {orm_int(-5), orm_int(7)};
    assert_text(state, "text", ORM_BIND_LIST_JSON, orm_list(texts, 2),
                "[\"a\\\"b\\\\\\u000a\",\"ü\"]");
    assert_text(state, "number", ORM_BIND_LIST_JSON, orm_list(ints, 2), "[-5,7]");
    assert_text(state, "number", ORM_BIND_LIST_JSON, orm_list(NULL, 0), "[]");
    const orm_value days[] = {orm_text("2020-01-02"), kind_of(ORM_V_DATE, 0)};
    assert_text(state, "day", ORM_BIND_LIST_JSON, orm_list(days, 2),
                "[\"2020-01-02\",\"1970-01-01\"]");
    /* members beyond the end repeat the last one */
    const orm_model *model = fixture_model(*state, "Everything");
    orm_value out, list = orm_list(ints, 2);
    orm_error err;
    for (uint32_t i = 0; i < 4; i++) {
        orm_param p = {.how = ORM_BIND_LIST_MEMBER,
                       .type = ORM_TYPE_INT32,
                       .index = i,
                       .field = &model->fields[3]};
        ORM_TEST_OK(orm_param_bind(&orm_dialect_sqlite, &p, &list, 0, 0, &arena, &out, &err), &err);
        assert_int_equal(out.as.i, i == 0 ? -5 : 7);
    }
    assert_int_equal(bind(*state, &server, "number", ORM_BIND_LIST_MEMBER, orm_int(1), &out, &err),
                     ORM_EDATA);
    assert_int_equal(bind(*state, &server, "number", ORM_BIND_LIST_JSON, orm_int(1), &out, &err),
                     ORM_EDATA);
}

static void test_slice(void **state)
{
    orm_value out;
    orm_param p = {.how = ORM_BIND_LIMIT};
    (void)state;
    orm_param_bind(&server, &p, NULL, 10, 20, &arena, &out, NULL);
    assert_int_equal(out.as.i, 10);
    p.index = 2;
    orm_param_bind(&server, &p, NULL, 10, 20, &arena, &out, NULL);
    assert_int_equal(out.as.i, 2);
    orm_param_bind(&server, &p, NULL, 0, 20, &arena, &out, NULL);
    assert_int_equal(out.as.i, 0);
    p = (orm_param){.how = ORM_BIND_OFFSET};
    orm_param_bind(&server, &p, NULL, 10, 20, &arena, &out, NULL);
    assert_int_equal(out.as.i, 20);
}

/* Servers' drivers bind the logical kinds themselves. */
static void test_logical_kinds(void **state)
{
    static const struct {
        const char *column, *text;
        int kind;
        int64_t i;
    } cases[] = {
        {"day", "1970-01-02", ORM_V_DATE, 1},
        {"clock", "00:00:01", ORM_V_TIME, 1000000},
        {"moment", "1970-01-01 00:00:01", ORM_V_DATETIME, 1000000},
        {"instant", "1970-01-01 00:00:01Z", ORM_V_DATETIMETZ, 1000000},
    };
    orm_value out;
    orm_error err;
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        ORM_TEST_OK(bind(*state, &server, cases[i].column, ORM_BIND_PLAIN, orm_text(cases[i].text),
                         &out, &err),
                    &err);
        assert_int_equal(out.kind, cases[i].kind);
        assert_int_equal(out.as.i, cases[i].i);
    }
    ORM_TEST_OK(bind(*state, &server, "flag", ORM_BIND_PLAIN, orm_int(1), &out, &err), &err);
    assert_int_equal(out.kind, ORM_V_BOOL);
    ORM_TEST_OK(bind(*state, &server, "token", ORM_BIND_PLAIN,
                     orm_text("00000000000000000000000000000001"), &out, &err),
                &err);
    assert_int_equal(out.kind, ORM_V_UUID);
    assert_int_equal(((const uint8_t *)out.as.ptr)[15], 1);
}

/* Every kind of value against every column: bound or refused by name, never anything else. */
static void test_all_kinds_on_all_columns(void **state)
{
    const orm_model *model = fixture_model(*state, "Everything");
    const orm_value members[] = {orm_int(1)};
    const orm_value values[] = {orm_bool(true),
                                orm_int(INT64_MAX),
                                orm_int(INT64_MIN),
                                orm_float(1.5),
                                orm_float(NAN),
                                orm_float(INFINITY),
                                orm_text(""),
                                orm_text("x"),
                                orm_bytes("", 0),
                                orm_bytes("\xff", 1),
                                kind_of(ORM_V_DATE, INT64_MAX),
                                kind_of(ORM_V_TIME, -1),
                                kind_of(ORM_V_DATETIME, INT64_MIN),
                                kind_of(ORM_V_DATETIMETZ, INT64_MAX),
                                kind_of(ORM_V_INTERVAL, INT64_MIN),
                                orm_list(members, 1),
                                kind_of(99, 0)};
    size_t bound = 0, refused = 0;
    for (size_t f = 0; f < model->n_fields; f++) {
        for (size_t i = 0; i < ORM_COUNT(values); i++) {
            orm_value out;
            orm_error err;
            const char *name = model->fields[f].def.name;
            orm_status status = bind(*state, &orm_dialect_sqlite, name, ORM_BIND_STORE, values[i],
                                     &out, &err);
            if (status == ORM_OK) {
                bound++;
                assert_true(out.kind <= ORM_V_BLOB && out.kind != ORM_V_BOOL);
                continue;
            }
            refused++;
            assert_int_equal(status, ORM_EDATA);
            assert_string_equal(err.table, "everything");
            assert_string_equal(err.column, name);
            assert_non_null(strstr(err.message, name));
        }
        orm_value out;
        orm_error err;
        ORM_TEST_OK(bind(*state, &orm_dialect_sqlite, model->fields[f].def.name, ORM_BIND_STORE,
                         orm_null(), &out, &err),
                    &err);
        assert_int_equal(out.kind, ORM_V_NULL);
    }
    assert_true(bound > 20 && refused > 200);
}

static void test_text_rules(void **state)
{
    orm_value out;
    orm_error err;
    orm_value nul = orm_textn("a\0b", 3);
    ORM_TEST_OK(bind(*state, &orm_dialect_sqlite, "text", ORM_BIND_PLAIN, nul, &out, &err), &err);
    assert_int_equal(out.len, 3);
    assert_int_equal(bind(*state, &server, "text", ORM_BIND_PLAIN, nul, &out, &err), ORM_EDATA);
    assert_non_null(strstr(err.message, "NUL"));
    /* longer than any backend takes: refused by its length, never read */
    orm_value huge = orm_textn("x", (size_t)3 << 30);
    assert_int_equal(bind(*state, &server, "text", ORM_BIND_PLAIN, huge, &out, &err), ORM_EDATA);
    huge.kind = ORM_V_BLOB;
    assert_int_equal(bind(*state, &server, "data", ORM_BIND_PLAIN, huge, &out, &err), ORM_EDATA);
    /* the rules of the column hold for what is written, not for what is compared */
    assert_int_equal(bind(*state, &server, "color", ORM_BIND_STORE, orm_text("PINK"), &out, &err),
                     ORM_EDATA);
    ORM_TEST_OK(bind(*state, &server, "color", ORM_BIND_PLAIN, orm_text("PINK"), &out, &err), &err);
}

static void test_raw(void **state)
{
    orm_value out;
    orm_error err;
    orm_param p = {.how = ORM_BIND_RAW, .value = 2};
    orm_value v = kind_of(ORM_V_DATE, 0);
    (void)state;
    ORM_TEST_OK(orm_param_bind(&orm_dialect_sqlite, &p, &v, 0, 0, &arena, &out, &err), &err);
    assert_memory_equal(out.as.ptr, "1970-01-01", 10);
    v = orm_bool(true);
    ORM_TEST_OK(orm_param_bind(&orm_dialect_sqlite, &p, &v, 0, 0, &arena, &out, &err), &err);
    assert_int_equal(out.kind, ORM_V_INT);
    v = orm_textn("\xff", 1);
    assert_int_equal(orm_param_bind(&orm_dialect_sqlite, &p, &v, 0, 0, &arena, &out, &err),
                     ORM_EDATA);
    assert_string_equal(err.message, "value 3: the text is not valid UTF-8");
    v = orm_list(NULL, 0);
    assert_int_equal(orm_param_bind(&orm_dialect_sqlite, &p, &v, 0, 0, &arena, &out, &err),
                     ORM_EDATA);
}

static void test_plain_values_do_not_allocate(void **state)
{
    orm_value out;
    orm_error err;
    bind(*state, &orm_dialect_sqlite, "number", ORM_BIND_PLAIN, orm_int(1), &out, &err);
    size_t before = orm_test_allocations();
    orm_value text = orm_text("plain");
    bind(*state, &orm_dialect_sqlite, "number", ORM_BIND_PLAIN, orm_int(1), &out, &err);
    bind(*state, &orm_dialect_sqlite, "text", ORM_BIND_STORE, text, &out, &err);
    assert_ptr_equal(out.as.ptr, text.as.ptr);
    assert_int_equal(orm_test_allocations(), before);
    assert_int_equal(arena.bytes, 0);
}

static void test_uuid_parse(void **state)
{
    static const char *const bad[] = {"",
                                      "1234",
                                      "12345678123456781234567812345678 ",
                                      "g2345678123456781234567812345678",
                                      "12345678-1234-5678-1234-56781234567",
                                      "12345678-1234-5678-123-4567812345678",
                                      "123456781234-5678-1234-567812345678-"};
    uint8_t out[16];
    (void)state;
    for (size_t i = 0; i < ORM_COUNT(bad); i++) {
        assert_false(orm_uuid_parse(bad[i], strlen(bad[i]), out));
    }
}

static orm_status bind_body(void *arg)
{
    static const struct {
        const char *column, *text;
        int how;
    } cases[] = {{"price", "1.5", ORM_BIND_STORE},
                 {"moment", "2020-01-02 03:04", ORM_BIND_STORE},
                 {"token", "00000000000000000000000000000001", ORM_BIND_PLAIN},
                 {"text", "Straße", ORM_BIND_FOLD},
                 {"text", "abc", ORM_BIND_FOLD},
                 {"text", "a%", ORM_BIND_LIKE_CONTAINS}};
    orm_status status = ORM_OK;
    orm_error err;
    orm_value out;
    orm_arena_dispose(&arena);
    orm_arena_init(&arena, 16);
    for (size_t i = 0; i < ORM_COUNT(cases) && status == ORM_OK; i++) {
        status = bind(arg, &orm_dialect_sqlite, cases[i].column, cases[i].how,
                      orm_text(cases[i].text), &out, &err);
    }
    const orm_value members[] = {orm_int(1), orm_int(2)};
    if (status == ORM_OK) {
        status = bind(arg, &orm_dialect_sqlite, "number", ORM_BIND_LIST_JSON, orm_list(members, 2),
                      &out, &err);
    }
    orm_arena_dispose(&arena);
    orm_arena_init(&arena, 16);
    return status;
}

static void test_failing_allocations(void **state)
{
    orm_test_with_failing_allocations(bind_body, *state);
}

#define BIND_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BIND_TEST(test_stored_forms),
        BIND_TEST(test_patterns),
        BIND_TEST(test_lists),
        BIND_TEST(test_slice),
        BIND_TEST(test_logical_kinds),
        BIND_TEST(test_all_kinds_on_all_columns),
        BIND_TEST(test_text_rules),
        BIND_TEST(test_raw),
        BIND_TEST(test_plain_values_do_not_allocate),
        cmocka_unit_test(test_uuid_parse),
        BIND_TEST(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
