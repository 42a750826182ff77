/* test_driver.c - the list of drivers. */
#include "harness.h"
#include "driver/driver_internal.h"

static orm_driver copies[17];
static char names[17][8];

static void test_find(void **state)
{
    (void)state;
    assert_ptr_equal(orm_driver_find("sqlite"), &orm_sqlite_driver);
    assert_null(orm_driver_find("SQLite"));
    assert_null(orm_driver_find("nosuch"));
    assert_null(orm_driver_find(""));
}

static void test_register(void **state)
{
    (void)state;
    orm_error err = {0};
    assert_int_equal(orm_driver_register(NULL, &err), ORM_EMISUSE);
    for (size_t i = 0; i < ORM_COUNT(copies); i++) {
        copies[i] = orm_sqlite_driver;
        names[i][0] = (char)('a' + i);
        copies[i].name = names[i];
    }
    orm_driver incomplete = orm_sqlite_driver;
    incomplete.size = 8;
    assert_int_equal(orm_driver_register(&incomplete, &err), ORM_EMISUSE);
    incomplete = orm_sqlite_driver;
    incomplete.reset = NULL;
    assert_int_equal(orm_driver_register(&incomplete, &err), ORM_EMISUSE);

    for (size_t i = 0; i < 15; i++) ORM_TEST_OK(orm_driver_register(&copies[i], &err), &err);
    assert_ptr_equal(orm_driver_find("c"), &copies[2]);
    ORM_TEST_OK(orm_driver_register(&copies[2], &err), &err); /* once more is the same */
    orm_driver other = copies[2];
    assert_int_equal(orm_driver_register(&other, &err), ORM_EMISUSE);
    assert_non_null(strstr(err.message, "'c'"));

    copies[15].name = "sqlite"; /* takes the place of the one built in */
    ORM_TEST_OK(orm_driver_register(&copies[15], &err), &err);
    assert_ptr_equal(orm_driver_find("sqlite"), &copies[15]);
    assert_int_equal(orm_driver_register(&copies[16], &err), ORM_EMISUSE); /* full */
}

static void *opened_for;

static orm_status open_own(const orm_conn_config *config, orm_conn **out, orm_error *err)
{
    opened_for = config->driver_user;
    return orm_sqlite_driver.open(config, out, err);
}

/* A driver that is given with the options serves that database alone. */
static void test_one_database(void **state)
{
    (void)state;
    orm_error err = {0};
    orm_driver own = orm_sqlite_driver;
    own.open = open_own;
    orm_options options = ORM_OPTIONS(.driver = &own, .driver_user = &options);
    orm_db *db = NULL, *other = NULL;
    orm_engine *engine = NULL;
    ORM_TEST_OK(orm_open("sqlite:///:memory:", &options, &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &engine, &err), &err);
    assert_ptr_equal(opened_for, &options);
    orm_close_engine(engine);
    orm_close(db);

    opened_for = NULL;
    ORM_TEST_OK(orm_open("sqlite:///:memory:", NULL, &other, &err), &err);
    ORM_TEST_OK(orm_engine_new(other, &engine, &err), &err);
    assert_null(opened_for);
    orm_close_engine(engine);
    orm_close(other);

    assert_int_equal(orm_open("postgresql://h/n", &options, &db, &err), ORM_EMISUSE);
    assert_non_null(strstr(err.message, "'postgresql'"));
    own.step = NULL;
    assert_int_equal(orm_open("sqlite:///:memory:", &options, &db, &err), ORM_EMISUSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_one_database),
        cmocka_unit_test(test_register),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
