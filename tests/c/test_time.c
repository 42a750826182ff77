#include "harness.h"

/* Every day there is, walked through by the rules of the calendar. */
static void test_every_day(void **state)
{
    (void)state;
    int year = 1, month = 1, day = 1;
    for (int32_t days = ORM_DATE_MIN; days <= ORM_DATE_MAX; days++) {
        int y, m, d;
        int32_t parsed;
        char text[10];
        orm_civil_from_days(days, &y, &m, &d);
        if (y != year || m != month || d != day || orm_days_from_civil(y, m, d) != days)
            fail_msg("day %d: %d-%d-%d, expected %d-%d-%d", days, y, m, d, year, month, day);
        orm_date_format(text, days);
        if (!orm_date_parse(text, 10, &parsed) || parsed != days)
            fail_msg("day %d: '%.10s'", days, text);
        if (orm_civil_is_valid(year, month, day + 1)) {
            day++;
        } else {
            day = 1;
            month = month % 12 + 1;
            year += month == 1;
        }
    }
    assert_int_equal(year, 10000);
    assert_int_equal(orm_days_from_civil(1970, 1, 1), 0);
    assert_int_equal(orm_days_from_civil(2000, 3, 1), 11017);
}

static void test_days_that_are_none(void **state)
{
    (void)state;
    assert_true(orm_civil_is_valid(2000, 2, 29));
    assert_false(orm_civil_is_valid(1900, 2, 29));
    assert_false(orm_civil_is_valid(2023, 2, 29));
    assert_false(orm_civil_is_valid(2023, 4, 31));
    assert_false(orm_civil_is_valid(2023, 13, 1));
    assert_false(orm_civil_is_valid(2023, 0, 1));
    assert_false(orm_civil_is_valid(2023, 1, 0));
    assert_false(orm_civil_is_valid(0, 1, 1));
    assert_false(orm_civil_is_valid(10000, 1, 1));
}

static void test_format(void **state)
{
    (void)state;
    char text[33] = "";
    assert_int_equal(orm_time_format(text, 11045000006), 15);
    assert_string_equal(text, "03:04:05.000006");
    assert_int_equal(orm_datetimetz_format(text, 1577934245000006), 32);
    assert_string_equal(text, "2020-01-02 03:04:05.000006+00:00");
    text[orm_datetime_format(text, -1)] = '\0';
    assert_string_equal(text, "1969-12-31 23:59:59.999999");
    text[orm_datetime_format(text, ORM_DATE_MIN * ORM_US_PER_DAY)] = '\0';
    assert_string_equal(text, "0001-01-01 00:00:00.000000");
    text[orm_datetime_format(text, (ORM_DATE_MAX + 1) * ORM_US_PER_DAY - 1)] = '\0';
    assert_string_equal(text, "9999-12-31 23:59:59.999999");
}

static void test_parse_time(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us; /* -1: not a time */
    } cases[] = {
        {"00:00", 0},
        {"3:04", 11040000000},
        {"03:04:05", 11045000000},
        {"03:04:05.5", 11045500000},
        {"03:04:05.000006", 11045000006},
        {"03:04:05.0000069", 11045000006},
        {"23:59:59.999999999999", 86399999999},
        {"24:00", -1},
        {"12:60", -1},
        {"12:00:60", -1},
        {"12:00:00.", -1},
        {"12:00.5", -1},
        {"12:0", -1},
        {"12", -1},
        {"123:00", -1},
        {"", -1},
        {"-1:00", -1},
        {" 1:00", -1},
        {"12:00 ", -1},
        {"12:00:00Z", -1},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        int64_t us = -1;
        bool parsed = orm_time_parse(cases[i].text, strlen(cases[i].text), &us);
        if (parsed != (cases[i].us >= 0) || (parsed && us != cases[i].us))
            fail_msg("'%s': %d, %lld", cases[i].text, parsed, (long long)us);
    }
    int64_t us;
    assert_false(orm_time_parse("12:00\0", 6, &us));
    assert_false(orm_time_parse(NULL, 0, &us));
}

static void test_parse_datetime(void **state)
{
    (void)state;
    const int64_t base = 1577934245000000, none = INT64_MIN, minute = 60 * ORM_US_PER_SECOND;
    const struct {
        const char *text;
        int64_t us, offset;
    } good[] = {
        {"2020-01-02 03:04:05.000006", base + 6, none},
        {"2020-01-02T03:04:05", base, none},
        {"2020-01-02 3:04", base - 5000000, none},
        {"2020-01-02 03:04:05Z", base, 0},
        {"2020-01-02 03:04:05.000006+00:00", base + 6, 0},
        {"2020-01-02 03:04:05+02", base, 120 * minute},
        {"2020-01-02 03:04:05-05:30", base, -330 * minute},
    };
    for (size_t i = 0; i < ORM_COUNT(good); i++) {
        int64_t us, offset;
        if (!orm_datetime_parse(good[i].text, strlen(good[i].text), &us, &offset) ||
            us != good[i].us || offset != good[i].offset)
            fail_msg("'%s': %lld, %lld", good[i].text, (long long)us, (long long)offset);
    }
    static const char *const bad[] = {"",
                                      "2020-01-02",
                                      "2020-01-02 ",
                                      "2020-02-30 00:00",
                                      "2020-1-2 00:00",
                                      "0000-01-01 00:00",
                                      "2020-01-02  03:04",
                                      "2020-01-02x03:04",
                                      "2020-01-02 03:04 Z",
                                      "2020-01-02 03:04ZZ",
                                      "2020-01-02 03:04+2",
                                      "2020-01-02 03:04+24",
                                      "2020-01-02 03:04+02:",
                                      "2020-01-02 03:04+02:60",
                                      "2020-01-02 03:04+",
                                      "+020-01-02 03:04",
                                      "2020-01-02 03:04:05.5.5",
                                      "now"};
    for (size_t i = 0; i < ORM_COUNT(bad); i++) {
        int64_t us, offset;
        if (orm_datetime_parse(bad[i], strlen(bad[i]), &us, &offset)) fail_msg("'%s'", bad[i]);
    }
}

/* No text that is cut anywhere is read beyond its end (address sanitizers look on). */
static void test_every_prefix(void **state)
{
    (void)state;
    static const char whole[] = "2020-01-02 03:04:05.000006+02:30";
    for (size_t len = 0; len < sizeof whole; len++) {
        char *text = orm_alloc(len);
        int64_t us, offset;
        int32_t days;
        assert_non_null(text);
        memcpy(text, whole, len);
        assert_int_equal(orm_date_parse(text, len, &days), len == 10);
        /* Whole up to the minute, the second, each digit of the fraction, the hour's offset, all */
        bool good = len == 16 || len == 19 || (len >= 21 && len <= 26) || len == 29 || len == 32;
        if (orm_datetime_parse(text, len, &us, &offset) != good) fail_msg("%zu", len);
        orm_dealloc(text);
    }
}

static void test_clock_goes_on(void **state)
{
    (void)state;
    uint64_t before = orm_now_ns(), after = orm_now_ns();
    assert_true(before > 0 && after >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_day),      cmocka_unit_test(test_days_that_are_none),
        cmocka_unit_test(test_format),         cmocka_unit_test(test_parse_time),
        cmocka_unit_test(test_parse_datetime), cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_clock_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
