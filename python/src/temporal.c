/* temporal.c - dates and times between Python's objects and counts of days and microseconds.
 *
 * The counts are orm_value's: days since 1970-01-01, microseconds since midnight, since the
 * epoch on the value's own clock (naive) or in UTC (aware).  Years 1 to 9999, exactly.
 */
#include "data.h"
#include <datetime.h>

#define DATE_MIN (-719162ll) /* 0001-01-01 */
#define DATE_MAX 2932896ll   /* 9999-12-31 */

int py_temporal_init(void)
{
    if (!PyDateTimeAPI) PyDateTime_IMPORT;
    return PyDateTimeAPI ? 0 : -1;
}

int py_temporal_kind(PyObject *object)
{
    if (PyDateTime_Check(object)) return ORM_V_DATETIME;
    if (PyDate_Check(object)) return ORM_V_DATE;
    if (PyTime_Check(object)) return ORM_V_TIME;
    return PyDelta_Check(object) ? ORM_V_INTERVAL : 0;
}

/* Days of the proleptic Gregorian calendar; the year begins in March, so that the leap day is
 * its last. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    int64_t shifted = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = (int)(y + era * 400 + (*month <= 2));
}

int64_t py_date_days(PyObject *date)
{
    return days_of(PyDateTime_GET_YEAR(date), PyDateTime_GET_MONTH(date), PyDateTime_GET_DAY(date));
}

int64_t py_time_us(PyObject *time)
{
    if (PyDateTime_TIME_GET_TZINFO(time) != Py_None) return -1;
    int64_t seconds = PyDateTime_TIME_GET_HOUR(time) * 3600ll +
                      PyDateTime_TIME_GET_MINUTE(time) * 60ll + PyDateTime_TIME_GET_SECOND(time);
    return seconds * 1000000 + PyDateTime_TIME_GET_MICROSECOND(time);
}

bool py_interval_us(PyObject *delta, int64_t *us)
{
    int64_t small = PyDateTime_DELTA_GET_SECONDS(delta) * 1000000ll +
                    PyDateTime_DELTA_GET_MICROSECONDS(delta);
    int64_t days;
    return !__builtin_mul_overflow((int64_t)PyDateTime_DELTA_GET_DAYS(delta), PY_US_PER_DAY,
                                   &days) &&
           !__builtin_add_overflow(days, small, us);
}

int py_datetime_us(PyObject *datetime, int64_t *us)
{
    int64_t seconds = PyDateTime_DATE_GET_HOUR(datetime) * 3600ll +
                      PyDateTime_DATE_GET_MINUTE(datetime) * 60ll +
                      PyDateTime_DATE_GET_SECOND(datetime);
    *us = py_date_days(datetime) * PY_US_PER_DAY + seconds * 1000000 +
          PyDateTime_DATE_GET_MICROSECOND(datetime);
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(datetime);
    if (zone == Py_None) return 0;
    if (zone == PyDateTime_TimeZone_UTC) return 1;
    /* datetime's own method: it checks what the zone returns, and the zone looks at the fold. */
    PyObject *offset = PyObject_CallMethod((PyObject *)PyDateTimeAPI->DateTimeType, "utcoffset",
                                           "O", datetime);
    if (!offset) return -1;
    int64_t offset_us = 0;
    int aware = PyDelta_Check(offset) && py_interval_us(offset, &offset_us);
    Py_DECREF(offset);
    *us -= offset_us;
    return aware;
}

PyObject *py_date_new(int64_t days)
{
    int year, month, day;
    date_of(days, &year, &month, &day);
    return PyDate_FromDate(year, month, day);
}

PyObject *py_time_new(int64_t us)
{
    int64_t seconds = us / 1000000;
    return PyTime_FromTime((int)(seconds / 3600), (int)(seconds / 60 % 60), (int)(seconds % 60),
                           (int)(us % 1000000));
}

PyObject *py_datetime_new(int64_t us, bool utc)
{
    int year, month, day;
    int64_t days = us / PY_US_PER_DAY - (us % PY_US_PER_DAY < 0);
    int64_t rest = us - days * PY_US_PER_DAY, seconds = rest / 1000000;
    date_of(days, &year, &month, &day);
    return PyDateTimeAPI->DateTime_FromDateAndTime(
        year, month, day, (int)(seconds / 3600), (int)(seconds / 60 % 60), (int)(seconds % 60),
        (int)(rest % 1000000), utc ? PyDateTime_TimeZone_UTC : Py_None,
        PyDateTimeAPI->DateTimeType);
}

PyObject *py_interval_new(int64_t us)
{
    int64_t days = us / PY_US_PER_DAY - (us % PY_US_PER_DAY < 0);
    int64_t rest = us - days * PY_US_PER_DAY;
    return PyDelta_FromDSU((int)days, (int)(rest / 1000000), (int)(rest % 1000000));
}

PyObject *py_date_of_datetime(PyObject *datetime)
{
    return PyDate_FromDate(PyDateTime_GET_YEAR(datetime), PyDateTime_GET_MONTH(datetime),
                           PyDateTime_GET_DAY(datetime));
}

PyObject *py_temporal_now(int type)
{
    PyObject *class = (PyObject *)PyDateTimeAPI->DateTimeType;
    if (type == ORM_TYPE_DATE)
        return PyObject_CallMethod((PyObject *)PyDateTimeAPI->DateType, "today", NULL);
    if (type == ORM_TYPE_DATETIMETZ)
        return PyObject_CallMethod(class, "now", "O", PyDateTime_TimeZone_UTC);
    return PyObject_CallMethod(class, "now", NULL);
}

/* ---- text: YYYY-M-D, H:M[:S[.f]], and both with [Z|±HH[[:]MM]] ---- */

typedef struct scanner {
    const char *at, *end;
} scanner;

/* Between min and max digits; -1: fewer. */
static int scan_number(scanner *self, int min, int max)
{
    int value = 0, digits = 0;
    while (digits < max && self->at < self->end && *self->at >= '0' && *self->at <= '9') {
        value = value * 10 + (*self->at++ - '0');
        digits++;
    }
    return digits < min ? -1 : value;
}

static bool scan_char(scanner *self, const char *any)
{
    if (self->at >= self->end || !strchr(any, *self->at) || !*self->at) return false;
    self->at++;
    return true;
}

typedef struct parsed {
    int year, month, day, hour, minute, second, us;
    bool has_zone;
    int64_t offset_us;
} parsed;

static bool scan_date(scanner *self, parsed *out)
{
    return (out->year = scan_number(self, 4, 4)) >= 0 && scan_char(self, "-") &&
           (out->month = scan_number(self, 1, 2)) >= 0 && scan_char(self, "-") &&
           (out->day = scan_number(self, 1, 2)) >= 0;
}

/* Digits beyond the microsecond are accepted and dropped, as encode/orm did. */
static bool scan_time(scanner *self, parsed *out)
{
    if ((out->hour = scan_number(self, 1, 2)) < 0 || !scan_char(self, ":") ||
        (out->minute = scan_number(self, 1, 2)) < 0)
        return false;
    if (!scan_char(self, ":")) return true;
    if ((out->second = scan_number(self, 1, 2)) < 0) return false;
    if (!scan_char(self, ".")) return true;
    const char *start = self->at;
    if ((out->us = scan_number(self, 1, 6)) < 0) return false;
    for (ptrdiff_t digits = self->at - start; digits < 6; digits++) out->us *= 10;
    scan_number(self, 0, 6);
    return true;
}

static bool scan_zone(scanner *self, parsed *out)
{
    if (self->at == self->end) return true;
    out->has_zone = true;
    if (scan_char(self, "Z")) return true;
    int sign = *self->at == '-' ? -1 : 1;
    if (!scan_char(self, "+-")) return false;
    int hours = scan_number(self, 2, 2), minutes = 0;
    if (self->at < self->end) {
        scan_char(self, ":");
        minutes = scan_number(self, 2, 2);
    }
    if (hours < 0 || minutes < 0 || hours > 23 || minutes > 59) return false;
    out->offset_us = sign * (hours * 60ll + minutes) * 60 * 1000000;
    return true;
}

static bool is_real_date(const parsed *p)
{
    if (p->year < 1 || p->month < 1 || p->month > 12 || p->day < 1 || p->day > 31) return false;
    int year, month, day;
    date_of(days_of(p->year, p->month, p->day), &year, &month, &day);
    return day == p->day && month == p->month;
}

static bool is_real_time(const parsed *p)
{
    return p->hour < 24 && p->minute < 60 && p->second < 60;
}

static PyObject *zone_new(const parsed *p)
{
    if (!p->has_zone) return Py_NewRef(Py_None);
    if (p->offset_us == 0) return Py_NewRef(PyDateTime_TimeZone_UTC);
    PyObject *delta = py_interval_new(p->offset_us);
    PyObject *zone = delta ? PyTimeZone_FromOffset(delta) : NULL;
    Py_XDECREF(delta);
    return zone;
}

static PyObject *build(int type, const parsed *p)
{
    if (type == ORM_TYPE_DATE) return PyDate_FromDate(p->year, p->month, p->day);
    if (type == ORM_TYPE_TIME) return PyTime_FromTime(p->hour, p->minute, p->second, p->us);
    PyObject *zone = zone_new(p);
    if (!zone) return NULL;
    PyObject *datetime = PyDateTimeAPI->DateTime_FromDateAndTime(p->year, p->month, p->day, p->hour,
                                                                 p->minute, p->second, p->us, zone,
                                                                 PyDateTimeAPI->DateTimeType);
    Py_DECREF(zone);
    return datetime;
}

PyObject *py_temporal_parse(int type, PyObject *text, PyObject **message)
{
    static const char *const words[] = {"date", "time", "datetime"};
    int word = type == ORM_TYPE_DATE ? 0 : type == ORM_TYPE_TIME ? 1 : 2;
    Py_ssize_t len = 0;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &len);
    if (!bytes) { /* a lone surrogate is in no date */
        PyErr_Clear();
        bytes = "";
        len = 0;
    }
    scanner scan = {bytes, bytes + len};
    parsed p = {.year = 1, .month = 1, .day = 1};
    bool formed = (word == 1 || scan_date(&scan, &p)) && (word != 2 || scan_char(&scan, "T ")) &&
                  (word == 0 || scan_time(&scan, &p)) && (word != 2 || scan_zone(&scan, &p)) &&
                  scan.at == scan.end;
    if (formed && is_real_date(&p) && is_real_time(&p)) return build(type, &p);
    *message = PyUnicode_FromFormat(formed ? "Must be a real %s." : "Must be a valid %s format.",
                                    words[word]);
    return NULL;
}
