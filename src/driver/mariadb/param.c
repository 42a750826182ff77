/* param.c - values on their way to the server, as parameters of the binary protocol. */
#include "mariadb.h"
#include <math.h>

/* A statement's packet holds more than its bytes: types, lengths, the header. */
enum {
    BYTES_PER_PARAM = 16,
    BYTES_OF_HEADER = 64
};

static orm_status value_check(const orm_value *value, size_t i, uint64_t *bytes, orm_error *err)
{
    switch (value->kind) {
    case ORM_V_NULL:
    case ORM_V_BOOL:
    case ORM_V_INT:
    case ORM_V_DATE:
    case ORM_V_TIME:
    case ORM_V_DATETIME:
    case ORM_V_DATETIMETZ: return ORM_OK;
    case ORM_V_FLOAT:
        if (isfinite(value->as.f)) return ORM_OK;
        return orm_fail(err, ORM_EDATA,
                        "parameter %zu is not finite; MariaDB holds finite numbers only", i + 1);
    case ORM_V_TEXT:
    case ORM_V_BLOB: *bytes += value->len; return ORM_OK;
    default:
        return orm_fail(err, ORM_EMISUSE, "parameter %zu: MariaDB has no kind '%s'", i + 1,
                        orm_value_kind_name(value->kind));
    }
}

orm_status params_check(orm_conn *conn, const orm_stmt *stmt, const orm_value *values, size_t n,
                        orm_error *err)
{
    uint64_t bytes = BYTES_OF_HEADER + (uint64_t)n * BYTES_PER_PARAM;
    if (stmt->is_prepared && n != stmt->n_params)
        return orm_fail(err, ORM_EPROGRAMMING, "the statement has %zu parameters, %zu were given",
                        stmt->n_params, n);
    if (n > MARIADB_MAX_PARAMS)
        return orm_fail(err, ORM_ETOOCOMPLEX, "a statement takes at most %u parameters, got %zu",
                        MARIADB_MAX_PARAMS, n);
    for (size_t i = 0; i < n; i++) ORM_TRY(value_check(&values[i], i, &bytes, err));
    if (bytes <= conn->max_packet) return ORM_OK;
    return orm_fail(err, ORM_EDATA,
                    "the parameters take %llu bytes; the server accepts %llu (max_allowed_packet)",
                    (unsigned long long)bytes, (unsigned long long)conn->max_packet);
}

static void bind_date(MYSQL_BIND *bind, MYSQL_TIME *time, int32_t days)
{
    int year, month, day;
    orm_civil_from_days(days, &year, &month, &day);
    time->year = (unsigned)year;
    time->month = (unsigned)month;
    time->day = (unsigned)day;
    time->time_type = MYSQL_TIMESTAMP_DATE;
    bind->buffer_type = MYSQL_TYPE_DATE;
}

/* Microseconds of one day. */
static void bind_time(MYSQL_BIND *bind, MYSQL_TIME *time, int64_t us)
{
    int64_t seconds = us / ORM_US_PER_SECOND;
    time->hour = (unsigned)(seconds / 3600);
    time->minute = (unsigned)(seconds / 60 % 60);
    time->second = (unsigned)(seconds % 60);
    time->second_part = (unsigned long)(us % ORM_US_PER_SECOND);
    time->time_type = MYSQL_TIMESTAMP_TIME;
    bind->buffer_type = MYSQL_TYPE_TIME;
}

static void bind_datetime(MYSQL_BIND *bind, MYSQL_TIME *time, int64_t us)
{
    int64_t days = us / ORM_US_PER_DAY, rest = us % ORM_US_PER_DAY;
    if (rest < 0) {
        rest += ORM_US_PER_DAY;
        days--;
    }
    bind_time(bind, time, rest);
    bind_date(bind, time, (int32_t)days);
    time->time_type = MYSQL_TIMESTAMP_DATETIME;
    bind->buffer_type = MYSQL_TYPE_DATETIME;
}

static void value_bind(MYSQL_BIND *bind, MYSQL_TIME *time, const orm_value *value)
{
    memset(bind, 0, sizeof(*bind));
    memset(time, 0, sizeof(*time));
    bind->buffer = time;
    switch (value->kind) {
    case ORM_V_NULL: bind->buffer_type = MYSQL_TYPE_NULL; break;
    case ORM_V_BOOL:
    case ORM_V_INT:
        bind->buffer_type = MYSQL_TYPE_LONGLONG;
        bind->buffer = (void *)(uintptr_t)&value->as.i;
        break;
    case ORM_V_FLOAT:
        bind->buffer_type = MYSQL_TYPE_DOUBLE;
        bind->buffer = (void *)(uintptr_t)&value->as.f;
        break;
    case ORM_V_DATE: bind_date(bind, time, (int32_t)value->as.i); break;
    case ORM_V_TIME: bind_time(bind, time, value->as.i); break;
    case ORM_V_DATETIME:
    case ORM_V_DATETIMETZ: bind_datetime(bind, time, value->as.i); break;
    default:
        /* the server reads the first as text in the connection's character set */
        bind->buffer_type = value->kind == ORM_V_TEXT ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
        bind->buffer = (void *)(uintptr_t)(value->len ? value->as.ptr : "");
        bind->buffer_length = value->len;
        break;
    }
}

orm_status params_bind(orm_stmt *stmt, orm_error *err)
{
    size_t n = stmt->n_params;
    if (n != stmt->n_values)
        return orm_fail(err, ORM_EPROGRAMMING, "the statement has %zu parameters, %zu were given",
                        n, stmt->n_values);
    if (n == 0) return ORM_OK;
    if (!stmt->params) {
        stmt->params = orm_alloc(n * (sizeof(*stmt->params) + sizeof(*stmt->times)));
        if (!stmt->params) return orm_fail_nomem(err);
        stmt->times = (MYSQL_TIME *)(void *)(stmt->params + n);
    }
    for (size_t i = 0; i < n; i++) value_bind(&stmt->params[i], &stmt->times[i], &stmt->values[i]);
    if (mysql_stmt_bind_param(stmt->handle, stmt->params))
        return maria_fail(stmt->conn, stmt->handle, err);
    return ORM_OK;
}
