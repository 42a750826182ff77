#include "fixture.h"

#include <pthread.h>

#define INT_KEY                                                \
    {                                                          \
        .name = "id", .type = ORM_TYPE_INT32, .primary_key = 1 \
    }

static orm_model_def model_def(const char *name, const orm_field_def *fields, uint32_t n)
{
    return (orm_model_def){.size = sizeof(orm_model_def),
                           .field_size = sizeof(orm_field_def),
                           .name = name,
                           .fields = fields,
                           .n_fields = n,
                           .constraint_size = sizeof(orm_constraint_def)};
}

/* The message with which a model of one key and `field` is refused. */
static void assert_refused(const orm_field_def *field, const char *part)
{
    const orm_field_def fields[] = {INT_KEY, *field};
    orm_model_def def = model_def("M", fields, 2);
    orm_schema *schema = orm_schema_new();
    orm_error err;
    orm_model *model = (orm_model *)schema;
    assert_non_null(schema);
    assert_int_equal(orm_schema_add(schema, &def, &model, &err), ORM_ECONFIG);
    assert_null(model);
    if (!strstr(err.message, part)) fail_msg("'%s' lacks '%s'", err.message, part);
    orm_schema_unref(schema);
}

static void test_bad_fields(void **state)
{
    (void)state;
    const char *const names[] = {
        "",          "1a",
        "a b",       "a__b",
        "a\"b",      "ü",
        "a\n",       "pk",
        "__class__", "a23456789012345678901234567890123456789012345678901234567890xyz4"};
    for (size_t i = 0; i < ORM_COUNT(names); i++) {
        orm_field_def f = {.name = names[i], .type = ORM_TYPE_INT32};
        assert_refused(&f, "is no field name");
    }
    const orm_field_def bad[] = {
        {.name = NULL, .type = ORM_TYPE_INT32},
        {.name = "a", .type = ORM_TYPE_NONE},
        {.name = "a", .type = 99},
        {.name = "id", .type = ORM_TYPE_INT32},
        {.name = "a", .column = "ID", .type = ORM_TYPE_INT32},
        {.name = "a", .column = "", .type = ORM_TYPE_INT32},
        {.name = "a", .column = "x\ny", .type = ORM_TYPE_INT32},
        {.name = "a", .column = "\xff", .type = ORM_TYPE_INT32},
        {.name = "a", .type = ORM_TYPE_DECIMAL, .digits = 5, .places = 6},
        {.name = "a", .type = ORM_TYPE_DECIMAL, .digits = 2000},
        {.name = "a", .type = ORM_TYPE_REF},
        {.name = "a", .type = ORM_TYPE_INT32, .target = "M"},
        {.name = "a", .type = ORM_TYPE_REF, .target = "M", .on_delete = ORM_SET_NULL},
        {.name = "a", .type = ORM_TYPE_REF, .target = "M", .on_update = 9},
        {.name = "a", .type = ORM_TYPE_INT32, .primary_key = 1, .nullable = 1},
    };
    const char *const parts[] = {"is no field name",  "unknown type",      "unknown type",
                                 "two fields",        "share column",      "must not be empty",
                                 "control character", "valid UTF-8",       "not possible",
                                 "not possible",      "names no target",   "is no reference",
                                 "SET NULL needs",    "unknown on_delete", "cannot be nullable"};
    for (size_t i = 0; i < ORM_COUNT(bad); i++) assert_refused(&bad[i], parts[i]);
}

static void assert_model_refused(const orm_model_def *def, const char *part)
{
    orm_schema *schema = orm_schema_new();
    orm_error err;
    assert_non_null(schema);
    assert_int_equal(orm_schema_add(schema, def, NULL, &err), ORM_ECONFIG);
    if (!strstr(err.message, part)) fail_msg("'%s' lacks '%s'", err.message, part);
    orm_schema_unref(schema);
}

static void test_bad_models(void **state)
{
    (void)state;
    const orm_field_def key[] = {INT_KEY}, none[] = {{.name = "a", .type = ORM_TYPE_INT32}};
    orm_model_def def = model_def("no name", key, 1);
    assert_model_refused(&def, "is no model name");
    def = model_def("M", none, 1);
    assert_model_refused(&def, "no primary key");
    def = model_def("M", key, 0);
    assert_model_refused(&def, "must have 1 to");
    def = model_def("M", key, 1);
    def.table = "a_table_name_of_more_than_sixty_three_bytes_is_cut_by_some_backends";
    assert_model_refused(&def, "longer than 63");
    def.size = 4;
    assert_model_refused(&def, "needs its size");
}

static void test_bad_constraints(void **state)
{
    (void)state;
    const char *const unknown[] = {"nope"}, *const twice[] = {"a", "a"}, *const a[] = {"a"};
    const orm_field_def fields[] = {INT_KEY, {.name = "a", .type = ORM_TYPE_INT32, .nullable = 1}};
    const struct {
        orm_constraint_def c;
        const char *part;
    } cases[] = {
        {{ORM_CONSTRAINT_UNIQUE, 1, NULL, unknown, NULL}, "unknown field 'nope'"},
        {{ORM_CONSTRAINT_UNIQUE, 2, NULL, twice, NULL}, "'a' twice"},
        {{ORM_CONSTRAINT_UNIQUE, 0, "u", NULL, NULL}, "says nothing"},
        {{ORM_CONSTRAINT_CHECK, 0, NULL, NULL, ""}, "says nothing"},
        {{77, 1, NULL, a, NULL}, "unknown constraint kind"},
        {{ORM_CONSTRAINT_UNIQUE, 1, "a\tb", a, NULL}, "control character"},
        {{ORM_CONSTRAINT_PRIMARY_KEY, 1, NULL, a, NULL}, "cannot be nullable"},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_model_def def = model_def("M", fields, 2);
        def.constraints = &cases[i].c;
        def.n_constraints = 1;
        assert_model_refused(&def, cases[i].part);
    }
    const char *const id[] = {"id"};
    const orm_constraint_def second = {ORM_CONSTRAINT_PRIMARY_KEY, 1, NULL, id, NULL};
    orm_model_def def = model_def("M", fields, 2);
    def.constraints = &second;
    def.n_constraints = 1;
    assert_model_refused(&def, "primary key twice");
}

static void test_same_names_and_removal(void **state)
{
    orm_schema *schema = *state;
    const orm_field_def key[] = {INT_KEY};
    orm_model_def def = model_def("Track", key, 1), other = model_def("Other", key, 1);
    orm_error err;
    orm_model *model;
    def.table = "elsewhere";
    other.table = "TRACK"; /* one table on most backends */
    assert_int_equal(orm_schema_add(schema, &def, &model, &err), ORM_ECONFIG);
    assert_non_null(strstr(err.message, "model 'Track' already"));
    assert_int_equal(orm_schema_add(schema, &other, &model, &err), ORM_ECONFIG);
    assert_non_null(strstr(err.message, "share the table"));
    orm_model *old = (orm_model *)fixture_model(schema, "Track");
    orm_schema_remove(schema, old);
    assert_null(fixture_model(schema, "Track"));
    ORM_TEST_OK(orm_schema_add(schema, &def, &model, &err), &err);
    assert_ptr_equal(fixture_model(schema, "Track"), model);
    assert_string_equal(orm_model_table(old), "track"); /* its holders keep it */
    assert_null(orm_schema_find_def(schema, &golden_models[1]));
    assert_ptr_equal(orm_schema_find_def(schema, &def), model);
}

static void test_reading(void **state)
{
    orm_schema *schema = *state;
    orm_error err;
    const orm_model *track = fixture_model(schema, "Track"), *node = fixture_model(schema, "Node");
    const orm_model *passport = fixture_model(schema, "Passport");
    const orm_model *seat = fixture_model(schema, "Seat");
    ORM_TEST_OK(orm_model_seal(track, &err), &err);
    ORM_TEST_OK(orm_model_seal(passport, &err), &err);
    ORM_TEST_OK(orm_model_seal(node, &err), &err);
    assert_string_equal(orm_model_name(track), "Track");
    assert_int_equal(orm_model_field_count(track), 7);
    assert_int_equal(orm_model_find_field(track, "title", 5), 2);
    assert_int_equal(orm_model_find_field(track, "title\0x", 7), -1);
    assert_int_equal(orm_model_find_field(track, "titl", 4), -1);
    assert_ptr_equal(orm_model_field_target(track, 1), fixture_model(schema, "Album"));
    assert_int_equal(orm_model_field_type(track, 1), ORM_TYPE_INT32);
    assert_int_equal(orm_model_field_type(node, 1), ORM_TYPE_INT64);
    assert_int_equal(orm_model_field_type(track, 99), ORM_TYPE_NONE);
    assert_null(orm_model_field(track, 99));
    assert_int_equal(orm_model_field_type(passport, 0), ORM_TYPE_INT32);
    assert_int_equal(orm_model_auto_field(track), 0);
    assert_int_equal(orm_model_auto_field(passport), -1);
    assert_int_equal(orm_model_auto_field(seat), -1);
    assert_int_equal(orm_model_key_count(seat), 2);
    assert_int_equal(orm_model_key_field(seat, 1), 1);
    assert_int_equal(orm_model_key_field(seat, 2), -1);
    /* sealing goes as far as references lead, and no further */
    assert_true(orm_model_is_sealed(fixture_model(schema, "Publisher")));
    assert_false(orm_model_is_sealed(fixture_model(schema, "Match")));
}

/* A key named by a constraint keeps the constraint's order; a target may be a definition. */
static void test_key_constraint_and_target_def(void **state)
{
    (void)state;
    const char *const order[] = {"b", "a"};
    const orm_constraint_def pk = {ORM_CONSTRAINT_PRIMARY_KEY, 2, NULL, order, NULL};
    const orm_field_def key[] = {INT_KEY};
    orm_model_def to = model_def("To", key, 1);
    const orm_field_def fields[] = {{.name = "a", .type = ORM_TYPE_INT32},
                                    {.name = "b", .type = ORM_TYPE_TEXT},
                                    {.name = "to", .type = ORM_TYPE_REF, .target_def = &to}};
    orm_model_def def = model_def("From", fields, 3);
    orm_schema *schema = orm_schema_new();
    orm_model *model, *target;
    orm_error err;
    def.constraints = &pk;
    def.n_constraints = 1;
    assert_non_null(schema);
    ORM_TEST_OK(orm_schema_add(schema, &def, &model, &err), &err);
    ORM_TEST_OK(orm_schema_add(schema, &to, &target, &err), &err);
    ORM_TEST_OK(orm_model_seal(model, &err), &err);
    assert_int_equal(orm_model_key_field(model, 0), 1);
    assert_int_equal(orm_model_key_field(model, 1), 0);
    assert_ptr_equal(orm_model_field_target(model, 2), target);
    assert_string_equal(orm_model_field(model, 2)->target, "To");
    orm_schema_unref(schema);
}

static void test_missing_target(void **state)
{
    (void)state;
    const orm_field_def fields[] = {INT_KEY, {.name = "a", .type = ORM_TYPE_REF, .target = "Late"}};
    const orm_field_def late[] = {INT_KEY};
    orm_model_def def = model_def("Early", fields, 2), late_def = model_def("Late", late, 1);
    orm_schema *schema = orm_schema_new();
    orm_model *early;
    orm_error err;
    assert_non_null(schema);
    ORM_TEST_OK(orm_schema_add(schema, &def, &early, &err), &err);
    assert_int_equal(orm_model_seal(early, &err), ORM_ECONFIG);
    assert_non_null(strstr(err.message, "Early.a refers to 'Late'"));
    ORM_TEST_OK(orm_schema_add(schema, &late_def, NULL, &err), &err);
    ORM_TEST_OK(orm_model_seal(early, &err), &err);
    orm_schema_unref(schema);
    assert_int_equal(orm_model_seal(NULL, &err), ORM_EMISUSE);
}

static void test_keys_in_a_circle(void **state)
{
    (void)state;
    const orm_field_def a[] = {
        {.name = "b", .type = ORM_TYPE_REF, .target = "B", .primary_key = 1}};
    const orm_field_def b[] = {
        {.name = "a", .type = ORM_TYPE_REF, .target = "A", .primary_key = 1}};
    const orm_field_def c[] = {INT_KEY, {.name = "s", .type = ORM_TYPE_REF, .target = "Seat"}};
    orm_model_def defs[] = {model_def("A", a, 1), model_def("B", b, 1), model_def("C", c, 2)};
    orm_schema *schema = fixture_schema(NULL);
    assert_non_null(schema);
    orm_model *models[3];
    orm_error err;
    for (int i = 0; i < 3; i++)
        ORM_TEST_OK(orm_schema_add(schema, &defs[i], &models[i], &err), &err);
    assert_int_equal(orm_model_seal(models[0], &err), ORM_ECONFIG);
    assert_non_null(strstr(err.message, "in a circle"));
    assert_int_equal(orm_model_seal(models[2], &err), ORM_ECONFIG);
    assert_non_null(strstr(err.message, "whose key has 2 fields"));
    orm_schema_unref(schema);
}

/* A definition that was compiled against an older, shorter field struct. */
static void test_older_definition(void **state)
{
    (void)state;
    struct {
        const char *name, *column;
        uint32_t type, member, offset, size, max_length;
        uint16_t digits, places;
        uint8_t primary_key;
        uint8_t pad[7];
    } fields[] = {{.name = "id", .type = ORM_TYPE_INT32, .primary_key = 1},
                  {.name = "x", .type = ORM_TYPE_TEXT, .max_length = 5}};
    orm_model_def def = model_def("Old", (const orm_field_def *)(const void *)fields, 2);
    def.field_size = sizeof fields[0];
    orm_schema *schema = orm_schema_new();
    orm_model *model;
    orm_error err;
    assert_non_null(schema);
    ORM_TEST_OK(orm_schema_add(schema, &def, &model, &err), &err);
    assert_int_equal(orm_model_field(model, 1)->max_length, 5);
    assert_null(orm_model_field(model, 1)->target);
    orm_schema_unref(schema);
}

/* Everything is copied: the caller's definition may go. */
static void test_definition_is_copied(void **state)
{
    (void)state;
    char name[] = "Gone", field[] = "id", choice[] = "RED", comment[] = "why";
    const char *choices[] = {choice, NULL};
    orm_field_def fields[] = {{.name = field, .type = ORM_TYPE_INT32, .primary_key = 1},
                              {.name = "c",
                               .type = ORM_TYPE_ENUM,
                               .choices = choices,
                               .comment = comment,
                               .enum_name = comment}};
    orm_model_def def = model_def(name, fields, 2);
    orm_schema *schema = orm_schema_new();
    orm_model *model;
    assert_non_null(schema);
    assert_int_equal(orm_schema_add(schema, &def, &model, NULL), ORM_OK);
    memset(name, 'x', 4), memset(field, 'x', 2), memset(choice, 'x', 3), memset(comment, 'x', 3);
    memset(fields, 0, sizeof fields);
    choices[0] = NULL;
    assert_string_equal(orm_model_name(model), "Gone");
    assert_string_equal(orm_model_table(model), "Gone");
    assert_string_equal(orm_model_field(model, 0)->column, "id");
    assert_string_equal(orm_model_field(model, 1)->choices[0], "RED");
    assert_string_equal(orm_model_field(model, 1)->comment, "why");
    assert_string_equal(orm_model_field(model, 1)->enum_name, "why");
    orm_model_set_user(model, schema);
    assert_ptr_equal(orm_model_get_user(model), schema);
    orm_model_ref(model);
    orm_schema_unref(schema);
    assert_string_equal(orm_model_name(model), "Gone");
    orm_model_unref(model);
    orm_model_unref(NULL);
    orm_schema_unref(NULL);
}

static void *seal_all(void *arg)
{
    orm_schema *schema = arg;
    for (const orm_model *m = orm_schema_first(schema); m; m = orm_model_next(m)) {
        if (orm_model_seal(m, NULL) < 0) return schema;
        orm_query *query = orm_query_new(m);
        (void)orm_test_note_pointer(query);
        if (orm_query_model(query) != m) return schema;
        orm_query_unref(query);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, seal_all, *state);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

static orm_status schema_body(void *arg)
{
    (void)arg;
    orm_error err;
    orm_schema *schema = fixture_schema(&err);
    if (!schema) return (orm_status)err.status;
    orm_status status = orm_model_seal(fixture_model(schema, "Track"), &err);
    orm_schema_unref(schema);
    return status;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(schema_body, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_fields),
        cmocka_unit_test(test_bad_models),
        cmocka_unit_test(test_bad_constraints),
        FIXTURE_TEST(test_same_names_and_removal),
        FIXTURE_TEST(test_reading),
        cmocka_unit_test(test_key_constraint_and_target_def),
        cmocka_unit_test(test_missing_target),
        cmocka_unit_test(test_keys_in_a_circle),
        cmocka_unit_test(test_older_definition),
        cmocka_unit_test(test_definition_is_copied),
        FIXTURE_TEST(test_threads),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
