/* fixture.h - a schema of the golden models for the tests of schema, query and sql. */
#ifndef ORM_TEST_FIXTURE_H
#define ORM_TEST_FIXTURE_H
#include "harness.h"

#include "../golden/models.h"
#include "dialect/dialect.h"

/* NULL with err filled when memory is out. */
static inline orm_schema *fixture_schema(orm_error *err)
{
    orm_schema *schema = orm_schema_new();
    if (!schema) orm_fail_nomem(err);
    for (size_t i = 0; schema && i < ORM_COUNT(golden_models); i++) {
        orm_model *model;
        if (orm_schema_add(schema, &golden_models[i], &model, err) < 0) {
            orm_schema_unref(schema);
            return NULL;
        }
    }
    return schema;
}

static inline const orm_model *fixture_model(const orm_schema *schema, const char *name)
{
    return orm_schema_find(schema, name, strlen(name));
}

/* Set up and torn down around each test: *state is the schema. */
static inline int fixture_setup(void **state)
{
    *state = fixture_schema(NULL);
    return *state ? 0 : -1;
}

static inline int fixture_teardown(void **state)
{
    orm_schema_unref(*state);
    return 0;
}
#define FIXTURE_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

/* The status of a query that may have failed; unrefs it. */
static inline orm_status fixture_query_end(orm_query *query)
{
    const orm_error *error = orm_query_error(query);
    orm_status status = error ? (orm_status)error->status : ORM_OK;
    orm_query_unref(query);
    return status;
}
#endif
