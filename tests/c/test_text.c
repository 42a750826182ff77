#include "harness.h"

static void check_valid(const char *text, size_t len, bool expected)
{
    /* Also behind and before ASCII of every length, for the paths that take eight bytes. */
    for (size_t before = 0; before < 10; before++) {
        for (size_t after = 0; after < 10; after++) {
            char *whole = orm_alloc(before + len + after);
            assert_non_null(whole);
            memset(whole, 'x', before);
            memcpy(whole + before, text, len);
            memset(whole + before + len, 'y', after);
            if (orm_utf8_is_valid(whole, before + len + after) != expected)
                fail_msg("'%s' behind %zu and before %zu", text, before, after);
            orm_dealloc(whole);
        }
    }
}

static void test_utf8_is_valid(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a",
                                       "\x7f",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xb5"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2z",
                                      "\xe0\x9f\xbf",
                                      "\xe2\x82",
                                      "\xe2\x82z",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf0\x9f\x8e",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xfe",
                                      "\xff",
                                      "\xc3\xa4\x80"};
    for (size_t i = 0; i < ORM_COUNT(good); i++) check_valid(good[i], strlen(good[i]), true);
    for (size_t i = 0; i < ORM_COUNT(bad); i++) check_valid(bad[i], strlen(bad[i]), false);
    check_valid("\0", 1, true);
    assert_true(orm_utf8_is_valid(NULL, 0));
}

static void test_utf8_length(void **state)
{
    (void)state;
    static const char text[] = "\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xb5"
                               "abcdefghijkl\xc3\xa4";
    assert_int_equal(orm_utf8_length(text, sizeof text - 1), 16);
    assert_int_equal(orm_utf8_length(text, 9), 3);
    assert_int_equal(orm_utf8_length("", 0), 0);
}

static void test_utf8_cut(void **state)
{
    (void)state;
    static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xb5";
    static const size_t cuts[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
    for (size_t max = 0; max < ORM_COUNT(cuts); max++)
        assert_int_equal(orm_utf8_cut(text, 10, max), cuts[max]);
    assert_int_equal(orm_utf8_cut(text, 5, 100), 3); /* what is there ends within a character */
    assert_int_equal(orm_utf8_cut("\x80\x80\x80\x80\x80", 5, 4), 4);
}

static void check_fold(const char *text, size_t len, const char *expected, size_t expected_len)
{
    orm_buf out;
    orm_buf_init(&out, 0);
    orm_utf8_casefold(&out, text, len);
    ORM_TEST_OK(orm_buf_status(&out, NULL), NULL);
    assert_int_equal(out.len, expected_len);
    assert_memory_equal(out.ptr, expected, expected_len);
    orm_buf_dispose(&out);
}

/* Every code point is compared with Python's by the test "casefold". */
static void test_casefold(void **state)
{
    (void)state;
    char ascii[2 * 128], folded[2 * 128];
    for (int i = 0; i < 2 * 128; i++) {
        ascii[i] = (char)(i & 127);
        folded[i] = (char)(ascii[i] >= 'A' && ascii[i] <= 'Z' ? ascii[i] + 32 : ascii[i]);
    }
    for (size_t start = 0; start < 9; start++)
        check_fold(ascii + start, sizeof ascii - start, folded + start, sizeof ascii - start);
    check_fold("Stra\xc3\x9f"
               "e",
               7, "strasse", 7);
    check_fold("\xc3\x84R\xc3\x84", 5, "\xc3\xa4r\xc3\xa4", 5);
    check_fold("\xc4\xb0", 2, "i\xcc\x87", 3);
    check_fold("A\xff\xc3"
               "B\xe2\x82",
               6,
               "a\xff\xc3"
               "b\xe2\x82",
               6); /* no UTF-8: kept */
    check_fold("", 0, "", 0);
    assert_true(orm_text_is_ascii("0123456789abcdef\x7f", 17));
    assert_false(orm_text_is_ascii("0123456789abcdef\x80", 17));
    assert_false(orm_text_is_ascii("\xc3\xa4"
                                   "bcdefghijk",
                                   12));
}

static orm_status fold_long(void *arg)
{
    orm_buf out;
    orm_buf_init(&out, 0);
    for (int i = 0; i < 100; i++) orm_utf8_casefold(&out, arg, strlen(arg));
    orm_status status = orm_buf_status(&out, NULL);
    orm_buf_dispose(&out);
    return status;
}

static const char *get_name(const void *of, size_t i)
{
    return ((const char *const *)of)[i];
}

static void check_nearest(const char *wrong, const char *const *names, const char *expected,
                          size_t n)
{
    orm_buf out;
    orm_buf_init(&out, 0);
    size_t found = orm_text_nearest(&out, wrong, strlen(wrong), get_name, names);
    ORM_TEST_OK(orm_buf_status(&out, NULL), NULL);
    assert_int_equal(found, n);
    assert_string_equal(out.ptr, expected);
    orm_buf_dispose(&out);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {
        "id", "album", "title", "position", "tilt", "titles", "titel_of_a_very_long_name", NULL};
    check_nearest("titel", names, "'title', 'titles'", 2); /* the nearest first */
    check_nearest("albun", names, "'album'", 1);
    check_nearest("postion", names, "'position'", 1);
    check_nearest("ablum", names, "'album'", 1);
    check_nearest("di", names, "'id'", 1);
    check_nearest("publisher", names, "", 0);
    check_nearest("x", names, "", 0);
    check_nearest("", names, "", 0);
    check_nearest("titel_of_a_very_long_nam", names, "'titel_of_a_very_long_name'", 1);
    check_nearest("an_overlong_name_an_overlong_name_an_overlong_name_an_overlong_nam", names, "",
                  0);
    static const char *const many[] = {"abcdeX", "abcdXX", "abcdef", "abcdfe", "abcde", NULL};
    check_nearest("abcdef", many, "'abcdef', 'abcdeX', 'abcdfe'", 3);
    static const char *const none[] = {NULL};
    check_nearest("x", none, "", 0);
}

/* Not a proof of quality: equal bytes hash alike, and one bit more or less does not. */
static void test_hash(void **state)
{
    (void)state;
    char bytes[40] = {0};
    for (size_t len = 0; len <= sizeof bytes; len++) {
        uint64_t plain = orm_hash_bytes(bytes, len, 1);
        assert_true(plain == orm_hash_bytes(bytes, len, 1));
        assert_true(plain != orm_hash_bytes(bytes, len, 2));
        if (len) assert_true(plain != orm_hash_bytes(bytes, len - 1, 1));
        for (size_t bit = 0; bit < len * 8; bit++) {
            bytes[bit / 8] ^= (char)(1 << (bit % 8));
            assert_true(plain != orm_hash_bytes(bytes, len, 1));
            bytes[bit / 8] ^= (char)(1 << (bit % 8));
        }
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static char text[] = "ABC\xc3\x84\xc3\x9f";
    orm_test_with_failing_allocations(fold_long, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_is_valid), cmocka_unit_test(test_utf8_length),
        cmocka_unit_test(test_utf8_cut),      cmocka_unit_test(test_casefold),
        cmocka_unit_test(test_nearest),       cmocka_unit_test(test_hash),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
