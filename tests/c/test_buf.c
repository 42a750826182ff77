#include "harness.h"

static void test_adds(void **state)
{
    (void)state;
    orm_buf buf;
    orm_buf_init(&buf, 0);
    assert_string_equal(buf.ptr, "");
    orm_buf_add(&buf, "SELECT!", 6);
    orm_buf_addc(&buf, ' ');
    orm_buf_adds(&buf, "x");
    orm_buf_addf(&buf, "%s=%d", "y", 7);
    orm_buf_addf(&buf, "%s", "");
    orm_buf_add(&buf, NULL, 0);
    ORM_TEST_OK(orm_buf_status(&buf, NULL), NULL);
    assert_string_equal(buf.ptr, "SELECT xy=7");
    assert_int_equal(buf.len, 11);
    orm_buf_reset(&buf);
    assert_string_equal(buf.ptr, "");
    assert_int_equal(buf.len, 0);
    assert_int_equal(orm_buf_status(&buf, NULL), ORM_OK);
    orm_buf_dispose(&buf);
    orm_buf_dispose(&buf);
}

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        int64_t i;
        const char *text;
    } cases[] = {{0, "0"},
                 {-1, "-1"},
                 {10, "10"},
                 {INT64_MAX, "9223372036854775807"},
                 {INT64_MIN, "-9223372036854775808"}};
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_buf buf;
        orm_buf_init(&buf, 0);
        orm_buf_addi(&buf, cases[i].i);
        ORM_TEST_OK(orm_buf_status(&buf, NULL), NULL);
        assert_string_equal(buf.ptr, cases[i].text);
        orm_buf_dispose(&buf);
    }
}

static void test_grows(void **state)
{
    (void)state;
    orm_buf buf;
    orm_buf_init(&buf, 0);
    for (int i = 0; i < 100000; i++) orm_buf_addc(&buf, (char)('a' + i % 26));
    ORM_TEST_OK(orm_buf_status(&buf, NULL), NULL);
    assert_int_equal(buf.len, 100000);
    for (int i = 0; i < 100000; i++) assert_int_equal(buf.ptr[i], 'a' + i % 26);
    assert_int_equal(buf.ptr[100000], 0);
    orm_buf_dispose(&buf);
}

static void test_first_failure_sticks(void **state)
{
    (void)state;
    orm_buf buf;
    orm_error err;
    orm_buf_init(&buf, 10);
    orm_buf_adds(&buf, "0123456789"); /* the limit itself is allowed */
    assert_int_equal(orm_buf_status(&buf, &err), ORM_OK);
    orm_buf_addc(&buf, 'x');
    assert_true(buf.failed);
    assert_int_equal(buf.len, 0); /* half a text is never seen */
    orm_buf_adds(&buf, "y");
    orm_buf_addf(&buf, "%d", 1);
    assert_int_equal(buf.len, 0);
    assert_null(orm_buf_take(&buf));
    assert_int_equal(orm_buf_status(&buf, &err), ORM_ETOOCOMPLEX);
    assert_non_null(strstr(err.message, "10 bytes"));
    orm_buf_reset(&buf);
    orm_buf_adds(&buf, "z");
    ORM_TEST_OK(orm_buf_status(&buf, NULL), NULL);
    assert_string_equal(buf.ptr, "z");
    orm_buf_dispose(&buf);
}

static void test_take(void **state)
{
    (void)state;
    orm_buf buf;
    orm_buf_init(&buf, 0);
    char *text = orm_buf_take(&buf); /* an empty text is one too */
    assert_non_null(text);
    assert_string_equal(text, "");
    orm_dealloc(text);
    orm_buf_adds(&buf, "abc");
    text = orm_buf_take(&buf);
    assert_non_null(text);
    assert_string_equal(text, "abc");
    assert_string_equal(buf.ptr, "");
    orm_buf_adds(&buf, "d"); /* goes on as a new one */
    ORM_TEST_OK(orm_buf_status(&buf, NULL), NULL);
    assert_string_equal(text, "abc");
    assert_string_equal(buf.ptr, "d");
    orm_dealloc(text);
    orm_buf_dispose(&buf);
}

static orm_status build(void *arg)
{
    (void)arg;
    orm_buf buf;
    orm_error err;
    orm_buf_init(&buf, 0);
    for (int i = 0; i < 300; i++) orm_buf_addf(&buf, "column_%d, ", i);
    orm_status status = orm_buf_status(&buf, &err);
    if (status < 0) assert_string_equal(err.message, "out of memory");
    char *text = orm_buf_take(&buf);
    assert_int_equal(text == NULL, status < 0);
    orm_dealloc(text);
    orm_buf_dispose(&buf);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(build, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adds),  cmocka_unit_test(test_integers),
        cmocka_unit_test(test_grows), cmocka_unit_test(test_first_failure_sticks),
        cmocka_unit_test(test_take),  cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
