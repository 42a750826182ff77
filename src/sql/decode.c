/* decode.c - cells on their way out: one decoder per column type.
 *
 * Backends keep types that they do not have as something else (SQLite: dates as text, booleans
 * as 0 and 1, decimals as any of its numbers), and other programs may have written what our own
 * would not.  Whatever can be read without guessing is brought to the logical kind; anything
 * else is ORM_EDATA that names table.column, and the row before and after stay readable.
 */
#include "dialect.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SCRATCH = 48
};

static orm_status cell_fail(const orm_column *column, const orm_cell *cell, orm_error *err)
{
    static const char *const names[] = {
#define TYPE_NAME(constant, number, name) name,
        ORM_TYPE_MAP(TYPE_NAME)
#undef TYPE_NAME
    };
    const char *kind = orm_value_kind_name(cell->kind);
    const char *wanted = names[column->type];
    if (!column->model) {
        return orm_fail(err, ORM_EDATA, "a column of the result holds %s that is no %s", kind,
                        wanted);
    }
    const orm_field *field = &column->model->fields[column->field];
    orm_fail(err, ORM_EDATA, "%s.%s holds %s that is no %s", column->model->table,
             field->def.column, kind, wanted);
    if (err) {
        orm_error_set_name(err->table, column->model->table, column->model->table_len);
        orm_error_set_name(err->column, field->def.column, field->column_len);
    }
    return ORM_EDATA;
}

static bool cell_set_int(orm_cell *cell, int kind, int64_t i)
{
    cell->kind = (uint8_t)kind;
    cell->len = 0;
    cell->as.i = i;
    return true;
}

static bool cell_set_text(orm_cell *cell, const char *text, size_t len)
{
    cell->kind = ORM_V_TEXT;
    cell->len = (uint32_t)len;
    cell->as.ptr = text;
    return true;
}

/* ---- decimals ---- */

/* Short enough to be a scaled integer: exact for what a double can tell apart. */
static bool decimal_from_double(orm_cell *cell, int places, char scratch[SCRATCH])
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    double scaled = fabs(cell->as.f) * powers[places];
    if (!(scaled < 9e15)) return false;
    int64_t digits = llround(scaled);
    int64_t power = (int64_t)powers[places];
    const char *sign = cell->as.f < 0 && digits ? "-" : "";
    int len = places == 0
                  ? snprintf(scratch, SCRATCH, "%s%lld", sign, (long long)digits)
                  : snprintf(scratch, SCRATCH, "%s%lld.%0*lld", sign, (long long)(digits / power),
                             places, (long long)(digits % power));
    return cell_set_text(cell, scratch, (size_t)len);
}

/* Rewrites the text, which may lie in `scratch`, with `places` digits; it stays as it is when the
 * result is too long for the scratch space. */
static orm_status decimal_quantize(orm_cell *cell, int places, char scratch[SCRATCH])
{
    orm_buf out;
    orm_buf_init(&out, 2048);
    bool ok = orm_decimal_quantize(&out, cell->as.ptr, cell->len, places);
    orm_status status = orm_buf_status(&out, NULL);
    if (status != ORM_ENOMEM) status = ok && status == ORM_OK ? ORM_OK : ORM_EDATA;
    if (status == ORM_OK && out.len < SCRATCH) {
        memcpy(scratch, out.ptr, out.len);
        cell_set_text(cell, scratch, out.len);
    }
    orm_buf_dispose(&out);
    return status;
}

static bool has_places(const orm_cell *cell, int places)
{
    const char *text = cell->as.ptr;
    const char *point = memchr(text, '.', cell->len);
    if (memchr(text, 'e', cell->len) || memchr(text, 'E', cell->len)) return false;
    return places == (point ? (int)(text + cell->len - point - 1) : 0);
}

static orm_status decode_decimal(const orm_column *column, orm_cell *cell, char scratch[SCRATCH])
{
    bool known = column->digits > 0;
    orm_decimal_info info;
    if (cell->kind == ORM_V_FLOAT) {
        if (!isfinite(cell->as.f)) return ORM_EDATA;
        if (known && column->digits <= 15 && decimal_from_double(cell, column->places, scratch)) {
            return ORM_OK;
        }
        int len = snprintf(scratch, SCRATCH, "%.15g", cell->as.f);
        if (known && (fabs(cell->as.f) >= 1e15 || strtod(scratch, NULL) != cell->as.f)) {
            return ORM_EDATA; /* more digits than a REAL can tell: some may be lost already */
        }
        cell_set_text(cell, scratch, (size_t)len);
    } else if (cell->kind == ORM_V_INT) {
        int len = snprintf(scratch, SCRATCH, "%lld", (long long)cell->as.i);
        cell_set_text(cell, scratch, (size_t)len);
    } else if (cell->kind != ORM_V_TEXT || !orm_decimal_parse(cell->as.ptr, cell->len, &info)) {
        return ORM_EDATA;
    }
    if (!known || has_places(cell, column->places)) return ORM_OK;
    return decimal_quantize(cell, column->places, scratch);
}

/* ---- numbers, texts ---- */

/* Servers answer EXISTS with a boolean. */
static bool decode_int(orm_cell *cell)
{
    if (cell->kind == ORM_V_BOOL) cell->kind = ORM_V_INT;
    return cell->kind == ORM_V_INT;
}

static bool decode_bool(orm_cell *cell)
{
    bool number = cell->kind == ORM_V_INT || cell->kind == ORM_V_BOOL;
    return number && (cell->as.i == 0 || cell->as.i == 1) &&
           cell_set_int(cell, ORM_V_BOOL, cell->as.i);
}

static bool decode_float(orm_cell *cell)
{
    if (cell->kind == ORM_V_INT) {
        cell->as.f = (double)cell->as.i;
        cell->kind = ORM_V_FLOAT;
    }
    return cell->kind == ORM_V_FLOAT;
}

static bool decode_text(const orm_cell *cell)
{
    return cell->kind == ORM_V_TEXT && orm_utf8_is_valid(cell->as.ptr, cell->len);
}

/* A JSON number may come back as a number (SQLite's JSON columns prefer numbers). */
static bool decode_json(orm_cell *cell, char scratch[SCRATCH])
{
    int len = 0;
    if (cell->kind == ORM_V_TEXT) return decode_text(cell);
    if (cell->kind == ORM_V_INT) {
        len = snprintf(scratch, SCRATCH, "%lld", (long long)cell->as.i);
    } else if (cell->kind == ORM_V_FLOAT && isfinite(cell->as.f)) {
        len = snprintf(scratch, SCRATCH, "%.17g", cell->as.f);
    } else {
        return false;
    }
    return cell_set_text(cell, scratch, (size_t)len);
}

static bool decode_blob(orm_cell *cell)
{
    if (cell->kind == ORM_V_TEXT) cell->kind = ORM_V_BLOB;
    return cell->kind == ORM_V_BLOB;
}

static bool decode_uuid(orm_cell *cell, char scratch[SCRATCH])
{
    bool bytes = cell->kind == ORM_V_BLOB || cell->kind == ORM_V_UUID;
    if (cell->kind == ORM_V_TEXT) {
        if (!orm_uuid_parse(cell->as.ptr, cell->len, (uint8_t *)scratch)) return false;
        cell->as.ptr = scratch;
        cell->len = 16;
    } else if (!bytes || cell->len != 16) {
        return false;
    }
    cell->kind = ORM_V_UUID;
    return true;
}

/* ---- dates and times ---- */

static bool decode_date(orm_cell *cell)
{
    int32_t days;
    if (cell->kind == ORM_V_DATE) return true;
    return cell->kind == ORM_V_TEXT && orm_date_parse(cell->as.ptr, cell->len, &days) &&
           cell_set_int(cell, ORM_V_DATE, days);
}

static bool decode_time(orm_cell *cell)
{
    int64_t us;
    if (cell->kind == ORM_V_TIME) return true;
    return cell->kind == ORM_V_TEXT && orm_time_parse(cell->as.ptr, cell->len, &us) &&
           cell_set_int(cell, ORM_V_TIME, us);
}

/* A value with an offset in a column without, or the reverse, would have to be guessed. */
static bool decode_datetime(orm_cell *cell, bool aware, bool utc)
{
    int64_t us, offset;
    int kind = aware ? ORM_V_DATETIMETZ : ORM_V_DATETIME;
    if (cell->kind == kind) return true;
    if (aware && utc && cell->kind == ORM_V_DATETIME)
        return cell_set_int(cell, ORM_V_DATETIMETZ, cell->as.i);
    if (cell->kind != ORM_V_TEXT || !orm_datetime_parse(cell->as.ptr, cell->len, &us, &offset)) {
        return false;
    }
    if ((offset != INT64_MIN) != aware) return false;
    us = aware ? us - offset : us;
    return us >= ORM_DATE_MIN * ORM_US_PER_DAY && us < (ORM_DATE_MAX + 1) * ORM_US_PER_DAY &&
           cell_set_int(cell, kind, us);
}

static bool decode_interval(orm_cell *cell)
{
    if (cell->kind == ORM_V_INT) cell->kind = ORM_V_INTERVAL;
    return cell->kind == ORM_V_INTERVAL;
}

static bool decode(const orm_column *column, orm_cell *cell, char scratch[SCRATCH])
{
    switch (column->type) {
    case ORM_TYPE_NONE: return true;
    case ORM_TYPE_BOOL: return decode_bool(cell);
    case ORM_TYPE_INT16:
    case ORM_TYPE_INT32:
    case ORM_TYPE_INT64: return decode_int(cell);
    case ORM_TYPE_FLOAT: return decode_float(cell);
    case ORM_TYPE_BLOB: return decode_blob(cell);
    case ORM_TYPE_DATE: return decode_date(cell);
    case ORM_TYPE_TIME: return decode_time(cell);
    case ORM_TYPE_DATETIME: return decode_datetime(cell, false, false);
    case ORM_TYPE_DATETIMETZ: return decode_datetime(cell, true, column->utc);
    case ORM_TYPE_INTERVAL: return decode_interval(cell);
    case ORM_TYPE_UUID: return decode_uuid(cell, scratch);
    case ORM_TYPE_JSON:
    case ORM_TYPE_ARRAY: return decode_json(cell, scratch);
    default: return decode_text(cell);
    }
}

orm_status orm_cell_decode(const orm_column *column, orm_cell *cell, char scratch[48],
                           orm_error *err)
{
    orm_cell before = *cell;
    orm_status status = ORM_OK;
    if (cell->kind == ORM_V_NULL) return ORM_OK;
    if (column->type == ORM_TYPE_DECIMAL)
        status = decode_decimal(column, cell, scratch);
    else if (!decode(column, cell, scratch))
        status = ORM_EDATA;
    if (status == ORM_OK) return ORM_OK;
    *cell = before;
    return status == ORM_ENOMEM ? orm_fail_nomem(err) : cell_fail(column, cell, err);
}
