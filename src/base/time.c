/* time.c - the proleptic Gregorian calendar and its texts.
 *
 * Days are counted in years that begin in March, so that the leap day is the last of its year;
 * 400 such years have 146,097 days.  Years are 1..9999, so nothing here is negative but the
 * final shift to 1970.
 */
#include "base.h"

#define DAYS_PER_400_YEARS 146097
#define EPOCH_DAY 719468 /* 1970-01-01, counted from 0000-03-01 */

int32_t orm_days_from_civil(int year, int month, int day)
{
    int shifted = month > 2 ? month - 3 : month + 9; /* March = 0 */
    if (month <= 2) year--;
    int era = year / 400, of_era = year % 400;
    int of_year = (153 * shifted + 2) / 5 + day - 1;
    return era * DAYS_PER_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
           EPOCH_DAY;
}

void orm_civil_from_days(int32_t days, int *year, int *month, int *day)
{
    int from_start = days + EPOCH_DAY;
    int era = from_start / DAYS_PER_400_YEARS, of_era = from_start % DAYS_PER_400_YEARS;
    /* Leap days before this day are taken out: one in 1,461 days, less one in 36,524, and the
     * one at the very end of the era. */
    int y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * y + y / 4 - y / 100);
    int shifted = (5 * of_year + 2) / 153;
    *day = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = era * 400 + y + (*month <= 2);
}

bool orm_civil_is_valid(int year, int month, int day)
{
    static const int8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1) return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day <= days[month - 1] + (month == 2 && leap);
}

/* ---- to text ---- */

static void put2(char *out, int n)
{
    out[0] = (char)('0' + n / 10);
    out[1] = (char)('0' + n % 10);
}

size_t orm_date_format(char out[10], int32_t days)
{
    int year, month, day;
    orm_civil_from_days(days, &year, &month, &day);
    put2(out, year / 100);
    put2(out + 2, year % 100);
    out[4] = '-';
    put2(out + 5, month);
    out[7] = '-';
    put2(out + 8, day);
    return 10;
}

size_t orm_time_format(char out[15], int64_t us)
{
    int second = (int)(us / ORM_US_PER_SECOND), fraction = (int)(us % ORM_US_PER_SECOND);
    put2(out, second / 3600);
    out[2] = ':';
    put2(out + 3, second / 60 % 60);
    out[5] = ':';
    put2(out + 6, second % 60);
    out[8] = '.';
    put2(out + 9, fraction / 10000);
    put2(out + 11, fraction / 100 % 100);
    put2(out + 13, fraction % 100);
    return 15;
}

size_t orm_datetime_format(char out[26], int64_t us)
{
    int64_t days = us / ORM_US_PER_DAY, rest = us % ORM_US_PER_DAY;
    if (rest < 0) { /* before 1970: down, not towards zero */
        days--;
        rest += ORM_US_PER_DAY;
    }
    orm_date_format(out, (int32_t)days);
    out[10] = ' ';
    orm_time_format(out + 11, rest);
    return 26;
}

size_t orm_datetimetz_format(char out[32], int64_t us)
{
    orm_datetime_format(out, us);
    memcpy(out + 26, "+00:00", 6);
    return 32;
}

/* ---- from text ---- */

typedef struct cursor {
    const char *at, *end;
} cursor;

static cursor make_cursor(const char *text, size_t len)
{
    return (cursor){text, len ? text + len : text}; /* NULL is an empty text too */
}

/* A number of min..max digits. */
static bool take_number(cursor *in, int min, int max, int *number)
{
    int n = 0;
    for (*number = 0; n < max && in->at < in->end && *in->at >= '0' && *in->at <= '9'; n++)
        *number = *number * 10 + (*in->at++ - '0');
    return n >= min;
}

static bool take_char(cursor *in, char c)
{
    if (in->at == in->end || *in->at != c) return false;
    in->at++;
    return true;
}

static bool take_date(cursor *in, int32_t *days)
{
    int year, month, day;
    if (!take_number(in, 4, 4, &year) || !take_char(in, '-') || !take_number(in, 2, 2, &month) ||
        !take_char(in, '-') || !take_number(in, 2, 2, &day))
        return false;
    if (!orm_civil_is_valid(year, month, day)) return false;
    *days = orm_days_from_civil(year, month, day);
    return true;
}

/* Behind the point: digits beyond the sixth are dropped, as Python's fromisoformat does. */
static bool take_fraction(cursor *in, int *us)
{
    const char *start = in->at;
    int digit;
    if (!take_number(in, 1, 6, us)) return false;
    for (ptrdiff_t n = in->at - start; n < 6; n++) *us *= 10;
    while (take_number(in, 1, 1, &digit)) continue;
    return true;
}

static bool take_time(cursor *in, int64_t *us)
{
    int hour, minute, second = 0, fraction = 0;
    if (!take_number(in, 1, 2, &hour) || !take_char(in, ':') || !take_number(in, 2, 2, &minute))
        return false;
    if (take_char(in, ':')) {
        if (!take_number(in, 2, 2, &second)) return false;
        if (take_char(in, '.') && !take_fraction(in, &fraction)) return false;
    }
    if (hour > 23 || minute > 59 || second > 59) return false;
    *us = (hour * 3600 + minute * 60 + second) * ORM_US_PER_SECOND + fraction;
    return true;
}

static bool take_offset(cursor *in, int64_t *offset_us)
{
    int hour, minute = 0;
    *offset_us = INT64_MIN;
    if (in->at == in->end) return true;
    *offset_us = 0;
    if (take_char(in, 'Z')) return true;
    bool west = take_char(in, '-');
    if (!west && !take_char(in, '+')) return false;
    if (!take_number(in, 2, 2, &hour)) return false;
    if (take_char(in, ':') && !take_number(in, 2, 2, &minute)) return false;
    if (hour > 23 || minute > 59) return false;
    *offset_us = (west ? -1 : 1) * (hour * 3600 + minute * 60) * ORM_US_PER_SECOND;
    return true;
}

bool orm_date_parse(const char *text, size_t len, int32_t *days)
{
    cursor in = make_cursor(text, len);
    return take_date(&in, days) && in.at == in.end;
}

bool orm_time_parse(const char *text, size_t len, int64_t *us)
{
    cursor in = make_cursor(text, len);
    return take_time(&in, us) && in.at == in.end;
}

bool orm_datetime_parse(const char *text, size_t len, int64_t *us, int64_t *offset_us)
{
    cursor in = make_cursor(text, len);
    int32_t days;
    int64_t of_day;
    if (!take_date(&in, &days) || (!take_char(&in, ' ') && !take_char(&in, 'T'))) return false;
    if (!take_time(&in, &of_day) || !take_offset(&in, offset_us) || in.at != in.end) return false;
    *us = days * ORM_US_PER_DAY + of_day;
    return true;
}
