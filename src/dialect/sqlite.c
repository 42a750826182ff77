/* sqlite.c - SQLite's differences.
 *
 * Dates, times and UUIDs are texts of fixed form, so that comparing the texts compares the
 * values, and their parts stand at fixed places: substr() is exact where SQLite's own date
 * functions round to milliseconds.  Text lookups call functions which the driver registers,
 * because LIKE folds ASCII only and has a limit on its pattern.
 */
#include "dialect.h"

#include <stdio.h>

/* ---- stored forms ---- */

static orm_status store_text(orm_arena *arena, orm_value *v, const char *text, size_t len,
                             orm_error *err)
{
    v->kind = ORM_V_TEXT;
    v->as.ptr = orm_arena_copy(arena, text, len);
    v->len = len;
    return v->as.ptr ? ORM_OK : orm_fail_nomem(err);
}

static orm_status store_moment(int type, orm_arena *arena, orm_value *v, orm_error *err)
{
    char text[32];
    size_t len;
    if (type == ORM_TYPE_DATE)
        len = orm_date_format(text, (int32_t)v->as.i);
    else if (type == ORM_TYPE_TIME)
        len = orm_time_format(text, v->as.i);
    else if (type == ORM_TYPE_DATETIME)
        len = orm_datetime_format(text, v->as.i);
    else
        len = orm_datetimetz_format(text, v->as.i);
    return store_text(arena, v, text, len, err);
}

static orm_status store_uuid(orm_arena *arena, orm_value *v, orm_error *err)
{
    const uint8_t *bytes = v->as.ptr;
    char text[32];
    for (size_t i = 0; i < 16; i++) {
        text[i * 2] = "0123456789abcdef"[bytes[i] >> 4];
        text[i * 2 + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    return store_text(arena, v, text, sizeof text, err);
}

/* A JSON column prefers numbers: a text that is one integer too big for 64 bits would become a
 * float and lose digits. */
static orm_status check_json(const orm_param *param, const orm_value *v, orm_error *err)
{
    enum {
        SAFE_DIGITS = 18
    };
    const char *p = v->as.ptr, *end = p + v->len;
    size_t digits = 0;
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    if (p < end && *p == '-') p++;
    for (; p < end && *p >= '0' && *p <= '9'; p++) digits++;
    if (digits <= SAFE_DIGITS) return ORM_OK;
    return orm_param_fail(param, err, "a JSON number of more than %d digits loses some of them",
                          SAFE_DIGITS);
}

static orm_status store(const orm_param *param, int type, orm_arena *arena, orm_value *v,
                        orm_error *err)
{
    switch (type) {
    case ORM_TYPE_BOOL:
    case ORM_TYPE_INTERVAL: v->kind = ORM_V_INT; return ORM_OK;
    case ORM_TYPE_DATE:
    case ORM_TYPE_TIME:
    case ORM_TYPE_DATETIME:
    case ORM_TYPE_DATETIMETZ: return store_moment(type, arena, v, err);
    case ORM_TYPE_UUID: return store_uuid(arena, v, err);
    case ORM_TYPE_JSON: return check_json(param, v, err);
    default: return ORM_OK;
    }
}

/* ---- column types ---- */

enum {
    NUMERIC_DIGITS = 15
}; /* what a NUMERIC column keeps exactly */

static bool is_wide(const orm_field *field)
{
    return field->type == ORM_TYPE_DECIMAL &&
           (field->digits == 0 || field->digits > NUMERIC_DIGITS);
}

/* A column that somebody else made may be NUMERIC: it turns text into a float without a word.  The
 * driver's function looks at the column before it gives a number of many digits to it. */
static bool stored(orm_buf *out, const orm_field *field)
{
    if (!is_wide(field)) return false;
    orm_buf_adds(out, "orm_exact(");
    orm_ddl_literal(out, field->model->table, false);
    orm_buf_adds(out, ", ");
    orm_ddl_literal(out, field->def.column, false);
    orm_buf_adds(out, ", ");
    return true;
}

static bool column_type(orm_buf *out, const orm_field *field)
{
    bool rowid = orm_model_auto_field(field->model) == field->index;
    if (rowid) {
        orm_buf_adds(out, "INTEGER"); /* of any size: only this word makes it the row's id */
        return true;
    }
    if (is_wide(field)) {
        orm_buf_adds(out, "TEXT COLLATE orm_decimal");
        return true;
    }
    return false;
}

/* ---- the table ---- */

#define PART(from, n) "CAST(substr(@, " from ", " n ") AS INTEGER) = ?"

const orm_dialect orm_dialect_sqlite = {
    .name = "sqlite",
    .differs = "@ IS NOT ?",
    .limit_all = " LIMIT -1",
    .list_in = "@ IN (SELECT value FROM json_each(?))",
    .list_not_in = "@ NOT IN (SELECT value FROM json_each(?))",
    .lookups =
        {
            [ORM_LOOKUP_IEXACT] = {"orm_fold(@) = ?", ORM_BIND_FOLD},
            [ORM_LOOKUP_CONTAINS] = {"instr(@, ?) > 0", ORM_BIND_PLAIN},
            [ORM_LOOKUP_ICONTAINS] = {"instr(orm_fold(@), ?) > 0", ORM_BIND_FOLD},
            [ORM_LOOKUP_STARTSWITH] = {"orm_startswith(@, ?)", ORM_BIND_PLAIN},
            [ORM_LOOKUP_ISTARTSWITH] = {"orm_startswith(orm_fold(@), ?)", ORM_BIND_FOLD},
            [ORM_LOOKUP_ENDSWITH] = {"orm_endswith(@, ?)", ORM_BIND_PLAIN},
            [ORM_LOOKUP_IENDSWITH] = {"orm_endswith(orm_fold(@), ?)", ORM_BIND_FOLD},
            [ORM_LOOKUP_REGEX] = {"orm_regexp(?, @)", ORM_BIND_PLAIN},
            [ORM_LOOKUP_IREGEX] = {"orm_iregexp(?, @)", ORM_BIND_PLAIN},
            [ORM_LOOKUP_YEAR] = {PART("1", "4"), ORM_BIND_INT},
            [ORM_LOOKUP_MONTH] = {PART("6", "2"), ORM_BIND_INT},
            [ORM_LOOKUP_DAY] = {PART("9", "2"), ORM_BIND_INT},
            [ORM_LOOKUP_WEEK_DAY] = {"(strftime('%w', substr(@, 1, 10)) + 6) % 7 + 1 = ?",
                                     ORM_BIND_INT},
            [ORM_LOOKUP_HOUR] = {PART("12", "2"), ORM_BIND_INT},
            [ORM_LOOKUP_MINUTE] = {PART("15", "2"), ORM_BIND_INT},
            [ORM_LOOKUP_SECOND] = {PART("18", "2"), ORM_BIND_INT},
            [ORM_LOOKUP_DATE] = {"substr(@, 1, 10) = ?", ORM_BIND_DATE},
            [ORM_LOOKUP_TIME] = {"substr(@, 12, 15) = ?", ORM_BIND_TIME},
            [ORM_LOOKUP_TIME_HOUR] = {PART("1", "2"), ORM_BIND_INT},
            [ORM_LOOKUP_TIME_MINUTE] = {PART("4", "2"), ORM_BIND_INT},
            [ORM_LOOKUP_TIME_SECOND] = {PART("7", "2"), ORM_BIND_INT},
        },
    .begin_write = "BEGIN IMMEDIATE",
    .begin_read = "BEGIN",
    .serializable = true,
    .max_params = 32766,
    .max_tables = 64,
    .max_terms = 900,
    .text_nul = true,
    .store = store,
    .stored = stored,
    .column_type = column_type,
};
