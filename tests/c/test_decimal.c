#include "harness.h"

static const char *const no_decimals[] = {
    "",    ".",   "-",   "+",    "e5",   "1e",       "1e+", "1e+-5", "1e5.5",    "1.2.3",
    "--1", "+-1", "1_0", "0x10", "NaN",  "sNaN",     "nan", "-NaN",  "Infinity", "-Infinity",
    "inf", " 1",  "1 ",  "1,5",  "1e5 ", "\xd9\xa1", "-.",  ".e1",
};

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int digits, integer_digits, places;
        bool negative, is_zero;
    } cases[] = {
        {"0", 0, 0, 0, false, true},
        {"-0.000", 0, 0, 0, false, true},
        {"0E+999999", 0, 0, 0, false, true},
        {"1", 1, 1, 0, false, false},
        {"-1.50", 2, 1, 1, true, false},
        {"+007.10", 2, 1, 1, false, false},
        {"100", 3, 3, 0, false, false},
        {"100.01", 5, 3, 2, false, false},
        {".05", 1, 0, 2, false, false},
        {"5.", 1, 1, 0, false, false},
        {"1E+3", 4, 4, 0, false, false},
        {"12.5e1", 3, 3, 0, false, false},
        {"125e-4", 3, 0, 4, false, false},
        {"1E+999999", 1000000, 1000000, 0, false, false},
        {"1E-999999", 1, 0, 999999, false, false},
        {"9E99999999999999999999999999", 1000000000, 1000000000, 0, false, false},
        {"9E-99999999999999999999999999", 1, 0, 1000000000, false, false},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_decimal_info info;
        if (!orm_decimal_parse(cases[i].text, strlen(cases[i].text), &info) ||
            info.digits != cases[i].digits || info.integer_digits != cases[i].integer_digits ||
            info.places != cases[i].places || info.negative != cases[i].negative ||
            info.is_zero != cases[i].is_zero)
            fail_msg("'%s': %d digits, %d + %d", cases[i].text, info.digits, info.integer_digits,
                     info.places);
    }
    for (size_t i = 0; i < ORM_COUNT(no_decimals); i++) {
        orm_decimal_info info;
        if (orm_decimal_parse(no_decimals[i], strlen(no_decimals[i]), &info))
            fail_msg("'%s' is no decimal", no_decimals[i]);
    }
    orm_decimal_info info;
    assert_false(orm_decimal_parse("1\0", 2, &info));
    assert_false(orm_decimal_parse(NULL, 0, &info));
}

typedef bool (*format_fn)(orm_buf *out, const char *text, size_t len, int places);

static void check_text(format_fn format, const char *text, int places, const char *expected)
{
    orm_buf out;
    orm_buf_init(&out, 0);
    orm_buf_adds(&out, "<"); /* what stands there already stays */
    bool done = format(&out, text, strlen(text), places);
    ORM_TEST_OK(orm_buf_status(&out, NULL), NULL);
    if (done != (expected != NULL) || (done && strcmp(out.ptr + 1, expected) != 0))
        fail_msg("'%s' to %d places: '%s'", text, places, done ? out.ptr + 1 : "(false)");
    assert_int_equal(out.ptr[0], '<');
    assert_int_equal(out.ptr[out.len], 0);
    orm_buf_dispose(&out);
}

static void test_format(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int places;
        const char *expected; /* NULL: not without loss */
    } cases[] = {
        {"1.50", -1, "1.5"},
        {"1.50", 2, "1.50"},
        {"1.50", 1, "1.5"},
        {"1.50", 0, NULL},
        {"1.50", 4, "1.5000"},
        {"-0.00", 2, "0.00"},
        {"0", -1, "0"},
        {"1E+3", -1, "1000"},
        {"1E+3", 2, "1000.00"},
        {"-12.5e-3", -1, "-0.0125"},
        {"-12.5e-3", 3, NULL},
        {"007", -1, "7"},
        {".5", 1, "0.5"},
        {"5.", 0, "5"},
        {"100", 0, "100"},
        {"1E+999999", 2, NULL},
        {"1E-999999", -1, NULL},
        {"0E+999999", 1, "0.0"},
        {"1", 2000000000, NULL},
        {"123456789012345678901234567890.125", 3, "123456789012345678901234567890.125"},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++)
        check_text(orm_decimal_format, cases[i].text, cases[i].places, cases[i].expected);
    for (size_t i = 0; i < ORM_COUNT(no_decimals); i++) {
        check_text(orm_decimal_format, no_decimals[i], 2, NULL);
        check_text(orm_decimal_quantize, no_decimals[i], 2, NULL);
    }
}

static void test_quantize(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int places;
        const char *expected;
    } cases[] = {
        {"1.005", 2, "1.00"},     {"1.015", 2, "1.02"},  {"1.0050001", 2, "1.01"},
        {"1.0049999", 2, "1.00"}, {"0.5", 0, "0"},       {"1.5", 0, "2"},
        {"2.5", 0, "2"},          {"0.50001", 0, "1"},   {"9.99", 1, "10.0"},
        {"-9.995", 2, "-10.00"},  {"99.5", 0, "100"},    {"-0.004", 2, "0.00"},
        {"-0.006", 2, "-0.01"},   {"0.05", 0, "0"},      {"1E-999999", 2, "0.00"},
        {"1E+999999", 2, NULL},   {"4.35", -1, "4.35"},  {"2.675000000000000266", 2, "2.68"},
        {"1e-2", 2, "0.01"},      {"123", 3, "123.000"}, {"0", 2, "0.00"},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++)
        check_text(orm_decimal_quantize, cases[i].text, cases[i].places, cases[i].expected);
}

/* Every text with every other, in both directions, against its place in this list. */
static void test_compare_is_a_total_order(void **state)
{
    (void)state;
    static const struct {
        int rank;
        const char *text;
    } order[] = {
        {0, "-1E+99999999999999999999"},
        {1, "-1E+999999"},
        {1, "-10E+999998"},
        {2, "-10"},
        {2, "-10.0"},
        {2, "-1e1"},
        {3, "-9.99"},
        {4, "-0.001"},
        {5, "0"},
        {5, "-0"},
        {5, "0E5"},
        {5, "+.0"},
        {6, "1E-999999"},
        {7, "0.001"},
        {7, "1e-3"},
        {8, "0.0010000000000000000000000001"},
        {9, "9"},
        {9, "09.00"},
        {10, "9.5"},
        {11, "10"},
        {11, "1E1"},
        {12, "10.05"},
        {13, "1E+99999999999999999999"},
        {14, ""},
        {15, "1.2.3"},
        {16, "NaN"},
        {17, "NaN2"},
        {18, "\xff\xfe"},
    };
    for (size_t i = 0; i < ORM_COUNT(order); i++) {
        for (size_t j = 0; j < ORM_COUNT(order); j++) {
            const char *a = order[i].text, *b = order[j].text;
            int sign = orm_decimal_compare(a, strlen(a), b, strlen(b));
            sign = (sign > 0) - (sign < 0);
            int expected = (order[i].rank > order[j].rank) - (order[i].rank < order[j].rank);
            if (sign != expected) fail_msg("'%s' and '%s': %d", a, b, sign);
        }
    }
}

/* A huge exponent is cheap: no digits are made. */
static void test_exponents_take_no_memory(void **state)
{
    (void)state;
    size_t before = orm_test_allocations();
    orm_buf out;
    orm_decimal_info info;
    orm_buf_init(&out, 0);
    assert_true(orm_decimal_parse("1E+999999", 9, &info));
    assert_false(orm_decimal_format(&out, "1E+999999", 9, -1));
    assert_false(orm_decimal_quantize(&out, "1E+999999999999999999", 21, 2));
    assert_true(orm_decimal_compare("1E+999999", 9, "1E-999999", 9) > 0);
    assert_int_equal(orm_test_allocations(), before);
    orm_buf_dispose(&out);
}

static orm_status format_both(void *arg)
{
    orm_buf out;
    orm_buf_init(&out, 0);
    assert_true(orm_decimal_quantize(&out, arg, strlen(arg), 70));
    assert_true(orm_decimal_format(&out, arg, strlen(arg), 90));
    orm_status status = orm_buf_status(&out, NULL);
    orm_buf_dispose(&out);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static char nines[] =
        "-0.99999999999999999999999999999999999999999999999999999999999999999999999999999";
    orm_test_with_failing_allocations(format_both, nines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_compare_is_a_total_order),
        cmocka_unit_test(test_exponents_take_no_memory),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
