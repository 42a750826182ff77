#include "fixture.h"

#include <math.h>
#include <stdio.h>

static char scratch[48];

static orm_column column_of(const orm_schema *schema, const char *name)
{
    const orm_model *model = fixture_model(schema, "Everything");
    const orm_field *f = &model->fields[orm_model_find_field(model, name, strlen(name))];
    return (orm_column){.model = model,
                        .field = f->index,
                        .type = f->type,
                        .digits = f->digits,
                        .places = f->places,
                        .expect = f->expect};
}

static orm_cell cell_text(const char *text)
{
    return (orm_cell){.kind = ORM_V_TEXT, .len = (uint32_t)strlen(text), .as.ptr = text};
}
static orm_cell cell_int(int64_t i)
{
    return (orm_cell){.kind = ORM_V_INT, .as.i = i};
}
static orm_cell cell_float(double f)
{
    return (orm_cell){.kind = ORM_V_FLOAT, .as.f = f};
}

static void assert_text(void **state, const char *name, orm_cell cell, const char *wanted)
{
    orm_column column = column_of(*state, name);
    orm_error err;
    ORM_TEST_OK(orm_cell_decode(&column, &cell, scratch, &err), &err);
    assert_int_equal(cell.kind, ORM_V_TEXT);
    if (cell.len != strlen(wanted) || memcmp(cell.as.ptr, wanted, cell.len) != 0) {
        fail_msg("%.*s is not %s", (int)cell.len, (const char *)cell.as.ptr, wanted);
    }
}

static void assert_number(void **state, const char *name, orm_cell cell, int kind, int64_t wanted)
{
    orm_column column = column_of(*state, name);
    orm_error err;
    ORM_TEST_OK(orm_cell_decode(&column, &cell, scratch, &err), &err);
    assert_int_equal(cell.kind, kind);
    assert_int_equal(cell.as.i, wanted);
}

static void assert_refused(void **state, const char *name, orm_cell cell)
{
    orm_column column = column_of(*state, name);
    orm_cell before = cell;
    orm_error err;
    assert_int_equal(orm_cell_decode(&column, &cell, scratch, &err), ORM_EDATA);
    assert_string_equal(err.table, "everything");
    assert_string_equal(err.column, name);
    assert_memory_equal(&cell, &before, sizeof cell); /* the bytes stay reachable */
    assert_int_equal(orm_cell_decode(&column, &cell, scratch, NULL), ORM_EDATA);
}

static void test_decimals(void **state)
{
    assert_text(state, "price", cell_float(1.1), "1.10");
    assert_text(state, "price", cell_float(-0.005), "-0.01");
    assert_text(state, "price", cell_float(-0.001), "0.00");
    assert_text(state, "price", cell_float(99999999.99), "99999999.99");
    assert_text(state, "price", cell_float(0.29), "0.29");
    assert_text(state, "price", cell_int(-7), "-7.00");
    assert_text(state, "price", cell_text("1.5"), "1.50");
    assert_text(state, "price", cell_text("1.50"), "1.50");
    assert_text(state, "price", cell_text("1e1"), "10.00");
    assert_text(state, "exact", cell_text("1234567890123456789012345678.0123456789"),
                "1234567890123456789012345678.0123456789");
    /* a REAL in a column of 38 digits: a value of more digits than it can tell is lost already */
    assert_text(state, "exact", cell_float(1.5), "1.5000000000");
    assert_refused(state, "exact", cell_float(1e20));
    assert_refused(state, "exact", cell_float(0.1 + 0.2));
    assert_text(state, "exact", cell_int(INT64_MIN), "-9223372036854775808.0000000000");
    assert_refused(state, "price", cell_text("abc"));
    assert_refused(state, "price", cell_text("NaN"));
    assert_refused(state, "price", cell_float(INFINITY));
    orm_cell blob = cell_text("1.50");
    blob.kind = ORM_V_BLOB;
    assert_refused(state, "price", blob);
    /* every cent that a column of ten digits can hold comes back as itself */
    orm_column column = column_of(*state, "price");
    for (int64_t cents = 1; cents < 9999999999; cents = cents * 3 + 7) {
        char wanted[32];
        orm_cell cell = cell_float((double)cents / 100);
        snprintf(wanted, sizeof wanted, "%lld.%02lld", (long long)cents / 100,
                 (long long)cents % 100);
        assert_int_equal(orm_cell_decode(&column, &cell, scratch, NULL), ORM_OK);
        assert_int_equal(cell.len, strlen(wanted));
        assert_memory_equal(cell.as.ptr, wanted, cell.len);
    }
}

static void test_decimal_of_unknown_places(void **state)
{
    orm_column column = {.model = NULL, .type = ORM_TYPE_DECIMAL};
    orm_cell cell = cell_float(0.1);
    (void)state;
    assert_int_equal(orm_cell_decode(&column, &cell, scratch, NULL), ORM_OK);
    assert_int_equal(cell.len, 3);
    assert_memory_equal(cell.as.ptr, "0.1", 3);
    cell = cell_text("1.2300");
    assert_int_equal(orm_cell_decode(&column, &cell, scratch, NULL), ORM_OK);
    assert_int_equal(cell.len, 6);
}

static void test_numbers(void **state)
{
    assert_number(state, "flag", cell_int(1), ORM_V_BOOL, 1);
    assert_number(state, "flag", cell_int(0), ORM_V_BOOL, 0);
    assert_refused(state, "flag", cell_int(2));
    assert_refused(state, "flag", cell_text("1"));
    assert_number(state, "number", cell_int(INT64_MAX), ORM_V_INT, INT64_MAX);
    assert_refused(state, "number", cell_text("abc"));
    assert_refused(state, "number", cell_float(1.0));
    assert_number(state, "span", cell_int(-5), ORM_V_INTERVAL, -5);
    assert_refused(state, "span", cell_text("1 day"));
    orm_column column = column_of(*state, "ratio");
    orm_cell cell = cell_int(3);
    assert_int_equal(orm_cell_decode(&column, &cell, scratch, NULL), ORM_OK);
    assert_int_equal(cell.kind, ORM_V_FLOAT);
    assert_true(cell.as.f == 3.0);
    assert_refused(state, "ratio", cell_text("1.5"));
}

static void test_texts(void **state)
{
    assert_text(state, "text", cell_text("Grüße"), "Grüße");
    assert_refused(state, "text", cell_text("\xff"));
    assert_refused(state, "text", cell_text("\xed\xa0\x80"));
    assert_refused(state, "text", cell_int(1));
    orm_cell blob = cell_text("x");
    blob.kind = ORM_V_BLOB;
    assert_refused(state, "text", blob);
    assert_refused(state, "color", blob);
    assert_text(state, "color", cell_text("RED"), "RED");
    assert_text(state, "tree", cell_text("{}"), "{}");
    assert_text(state, "tree", cell_int(5), "5");
    assert_text(state, "tree", cell_float(0.5), "0.5");
    assert_refused(state, "tree", cell_float(INFINITY));
    assert_refused(state, "tree", blob);
    assert_refused(state, "list", cell_text("\xff"));
    orm_column column = column_of(*state, "data");
    orm_cell cell = cell_text("abc");
    assert_int_equal(orm_cell_decode(&column, &cell, scratch, NULL), ORM_OK);
    assert_int_equal(cell.kind, ORM_V_BLOB);
    assert_refused(state, "data", cell_int(1));
}

static void test_dates(void **state)
{
    assert_number(state, "day", cell_text("1970-01-02"), ORM_V_DATE, 1);
    assert_refused(state, "day", cell_text("1970-02-30"));
    assert_refused(state, "day", cell_text("garbage"));
    assert_refused(state, "day", cell_text("0000-00-00"));
    assert_refused(state, "day", cell_int(5));
    assert_number(state, "clock", cell_text("00:00:01.5"), ORM_V_TIME, 1500000);
    assert_refused(state, "clock", cell_text("24:00:00"));
    assert_number(state, "moment", cell_text("1970-01-01 00:00:00.000001"), ORM_V_DATETIME, 1);
    assert_number(state, "moment", cell_text("1970-01-01T00:00"), ORM_V_DATETIME, 0);
    assert_refused(state, "moment", cell_text("1970-01-01 00:00:00+00:00"));
    assert_refused(state, "moment", cell_text("10000-01-01 00:00:00"));
    assert_refused(state, "moment", cell_float(2440587.5));
    assert_number(state, "instant", cell_text("1970-01-01 01:00:00+01:00"), ORM_V_DATETIMETZ, 0);
    assert_refused(state, "instant", cell_text("1970-01-01 01:00:00"));
    assert_refused(state, "instant", cell_text("0001-01-01 00:00:00+05:00"));
}

static void test_uuid(void **state)
{
    static const char *const forms[] = {"000102030405060708090a0b0c0d0e0f",
                                        "00010203-0405-0607-0809-0A0B0C0D0E0F"};
    orm_column column = column_of(*state, "token");
    for (size_t i = 0; i < ORM_COUNT(forms); i++) {
        orm_cell cell = cell_text(forms[i]);
        assert_int_equal(orm_cell_decode(&column, &cell, scratch, NULL), ORM_OK);
        assert_int_equal(cell.kind, ORM_V_UUID);
        for (uint8_t k = 0; k < 16; k++) assert_int_equal(((const uint8_t *)cell.as.ptr)[k], k);
    }
    orm_cell bytes = {.kind = ORM_V_BLOB, .len = 16, .as.ptr = "0123456789abcdef"};
    assert_int_equal(orm_cell_decode(&column, &bytes, scratch, NULL), ORM_OK);
    assert_int_equal(bytes.kind, ORM_V_UUID);
    bytes.kind = ORM_V_BLOB;
    bytes.len = 15;
    assert_refused(state, "token", bytes);
    assert_refused(state, "token", cell_text("not-a-uuid"));
}

static void test_null_and_bare(void **state)
{
    orm_column column = column_of(*state, "day"), bare = {.type = ORM_TYPE_INT64};
    orm_cell cell = {.kind = ORM_V_NULL};
    orm_error err;
    assert_int_equal(orm_cell_decode(&column, &cell, scratch, NULL), ORM_OK);
    assert_int_equal(cell.kind, ORM_V_NULL);
    cell = cell_text("x");
    assert_int_equal(orm_cell_decode(&bare, &cell, scratch, &err), ORM_EDATA);
    assert_string_equal(err.message, "a column of the result holds text that is no bigint");
    bare.type = ORM_TYPE_NONE;
    assert_int_equal(orm_cell_decode(&bare, &cell, scratch, &err), ORM_OK);
}

static orm_status decode_body(void *arg)
{
    orm_column column = column_of(arg, "price");
    orm_cell cell = cell_text("1e1");
    orm_error err;
    orm_status status = orm_cell_decode(&column, &cell, scratch, &err);
    return status;
}

static void test_failing_allocations(void **state)
{
    orm_test_with_failing_allocations(decode_body, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_decimals),      FIXTURE_TEST(test_decimal_of_unknown_places),
        FIXTURE_TEST(test_numbers),       FIXTURE_TEST(test_texts),
        FIXTURE_TEST(test_dates),         FIXTURE_TEST(test_uuid),
        FIXTURE_TEST(test_null_and_bare), FIXTURE_TEST(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
