#include "harness.h"

#include <stdio.h>

static void test_status_names(void **state)
{
    (void)state;
    assert_string_equal(orm_status_name(ORM_OK), "ORM_OK");
    assert_string_equal(orm_status_name(-13), "ORM_EUNIQUE");
    assert_string_equal(orm_status_name(ORM_EVALIDATION), "ORM_EVALIDATION");
    assert_string_equal(orm_status_name(4711), "ORM_?");
    assert_string_equal(orm_version(), ORM_VERSION);
}

static void test_fail_fills_all(void **state)
{
    (void)state;
    orm_error err;
    memset(&err, 0xff, sizeof err);
    assert_int_equal(orm_fail(&err, ORM_EFIELD, "no field '%s', have %d", "titel", 3), ORM_EFIELD);
    assert_int_equal(err.status, ORM_EFIELD);
    assert_string_equal(err.message, "no field 'titel', have 3");
    assert_string_equal(err.table, "");
    assert_string_equal(err.sqlstate, "");
    assert_int_equal(err.native, 0);
    assert_int_equal(err.flags, 0);
    assert_int_equal(orm_fail(NULL, ORM_EDATA, "%s", "nobody looks"), ORM_EDATA);
    orm_error_clear(&err);
    assert_int_equal(err.status, 0);
    assert_string_equal(err.message, "");
    orm_error_clear(NULL);
}

static void test_arguments_may_lie_in_the_error(void **state)
{
    (void)state;
    orm_error err;
    orm_fail(&err, ORM_EDATA, "inner");
    orm_fail(&err, ORM_EQUERY, "outer: %s", err.message);
    assert_string_equal(err.message, "outer: inner");
}

static void test_messages_are_one_clean_line(void **state)
{
    (void)state;
    orm_error err;
    orm_fail(&err, ORM_EDATA,
             "a\nb\tc\x7f"
             "d\xc2\x85"
             "e\xe2\x80\xa8"
             "f\xffg\xc3\xa4\xe2\x80\x99");
    assert_string_equal(err.message, "a b c d  e   f?g\xc3\xa4\xe2\x80\x99");
}

/* `before` times x, then 100 notes of four bytes each. */
static const char *make_long_text(int before)
{
    static char text[8 + 400 + 1];
    char *end = text;
    memset(text, 0, sizeof text);
    for (int i = 0; i < before; i++) *end++ = 'x';
    for (int i = 0; i < 100; i++, end += 4) memcpy(end, "\xf0\x9f\x8e\xb5", 4);
    return text;
}

/* For every length of the text before, the cut falls between characters. */
static void test_messages_are_cut_between_characters(void **state)
{
    (void)state;
    for (int before = 0; before < 8; before++) {
        orm_error err;
        orm_fail(&err, ORM_EDATA, "%s", make_long_text(before));
        size_t len = strlen(err.message);
        assert_in_range(len, sizeof err.message - 4, sizeof err.message - 1);
        assert_true(orm_utf8_is_valid(err.message, len));
        assert_int_equal((len - (size_t)before) % 4, 0);
        assert_null(strchr(err.message, '?'));
    }
}

static void test_names_hold_64_characters(void **state)
{
    (void)state;
    char field[ORM_NAME_BYTES];
    memset(field, 0x55, sizeof field);
    orm_error_set_name(field, make_long_text(0), 400);
    assert_int_equal(strlen(field), 256);
    orm_error_set_name(field, "al\nbum\xff", 7);
    assert_string_equal(field, "al bum?");
    assert_int_equal(field[ORM_NAME_BYTES - 1], 0);
    orm_error_set_name(field, NULL, 0);
    assert_string_equal(field, "");
}

static void test_scrub(void **state)
{
    (void)state;
    static const struct {
        const char *text, *scrubbed;
    } cases[] = {
        {"", ""},
        {"UNIQUE constraint failed: album.name", "UNIQUE constraint failed: album.name"},
        {"cannot reach postgresql://ann:s3cret@db:5432/x",
         "cannot reach postgresql://ann:***@db:5432/x"},
        {"postgresql://ann:s/3@c r:t@db/x", "postgresql://ann:***@db/x"},
        {"postgresql://ann:s@db and postgresql://bob:t@db", "postgresql://ann:***@db"},
        {"postgresql://db:5432/x", "postgresql://db:5432/x"},
        {"postgresql://ann@db:5432/x", "postgresql://ann@db:5432/x"},
        {"mail a:b@c", "mail a:b@c"},
        {"u://a:b@c", "u://a:*@c"}, /* no room for more stars */
        {"u://a:@c", "u://a:@c"},
        {"host=db password=s3cret user=ann", "host=db password=*** user=ann"},
        {"host=db password = 's3 c\\'ret' user=ann", "host=db password = *** user=ann"},
        {"PGPASSWORD=\"s3 cret", "PGPASSWORD=***"},
        {"sslpassword=s3cret&PassWd=abcdef&x=1", "sslpassword=***&PassWd=***&x=1"},
        {"PRAGMA key='s3cret'; foreign_key=5", "PRAGMA key=***; foreign_key=5"},
        {"password=", "password="},
        {"password=x", "password=*"},
        {"password", "password"},
        {"=", "="},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        char text[128];
        snprintf(text, sizeof text, "%s", cases[i].text);
        orm_error_scrub(text);
        assert_string_equal(text, cases[i].scrubbed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_names),
        cmocka_unit_test(test_fail_fills_all),
        cmocka_unit_test(test_arguments_may_lie_in_the_error),
        cmocka_unit_test(test_messages_are_one_clean_line),
        cmocka_unit_test(test_messages_are_cut_between_characters),
        cmocka_unit_test(test_names_hold_64_characters),
        cmocka_unit_test(test_scrub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
