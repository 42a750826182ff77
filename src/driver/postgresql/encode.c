/* encode.c - parameters on their way to the server.
 *
 * The server has said which type it takes each parameter for.  A value that is of that type goes
 * in binary; any other goes as text in the form that the type reads (a decimal for a NUMERIC, a
 * label for an enum), and the server judges it.  For a parameter whose place says nothing of its
 * type (`SELECT $1`) the server assumes text: then the value's own type is declared instead.
 */
#include "postgresql.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- before anything is sent -------------------------------------------------------------- */

static orm_status value_check(const orm_value *v, size_t number, size_t *total, orm_error *err)
{
    bool bytes = v->kind == ORM_V_TEXT || v->kind == ORM_V_BLOB || v->kind == ORM_V_UUID;
    *total += 64;
    if (bytes && (v->len > PG_MAX_BYTES || *total > PG_MAX_BYTES - v->len))
        return orm_fail(err, ORM_EDATA, "parameter %zu has %zu bytes; at most %d can be sent",
                        number, v->len, PG_MAX_BYTES);
    if (bytes) *total += v->len;
    if (v->kind == ORM_V_TEXT && v->len && memchr(v->as.ptr, 0, v->len))
        return orm_fail(err, ORM_EDATA,
                        "parameter %zu is a text with a NUL character; PostgreSQL has none",
                        number);
    if (v->kind == ORM_V_FLOAT && isnan(v->as.f))
        return orm_fail(err, ORM_EDATA, "parameter %zu is NaN; expected a number or NULL", number);
    if (v->kind > ORM_V_LIST)
        return orm_fail(err, ORM_EMISUSE, "parameter %zu: PostgreSQL has no kind '%s'", number,
                        orm_value_kind_name(v->kind));
    return ORM_OK;
}

orm_status pg_params_check(const orm_value *params, size_t n, orm_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        const orm_value *v = &params[i];
        ORM_TRY(value_check(v, i + 1, &total, err));
        for (size_t k = 0; v->kind == ORM_V_LIST && k < v->len; k++) {
            if (v->as.list[k].kind == ORM_V_LIST)
                return orm_fail(err, ORM_EMISUSE, "parameter %zu is a list in a list", i + 1);
            ORM_TRY(value_check(&v->as.list[k], i + 1, &total, err));
        }
    }
    return ORM_OK;
}

/* ---- binary forms ------------------------------------------------------------------------- */

typedef struct wire {
    const char *ptr;
    size_t len;
    bool binary;
} wire;

static void write_big(char *out, uint64_t value, int n)
{
    for (int i = n - 1; i >= 0; i--, value >>= 8) out[i] = (char)(value & 0xff);
}

/* An integer of n bytes; NULL: out of memory. */
static bool wire_int(wire *out, orm_arena *arena, int64_t value, int n)
{
    char *bytes = orm_arena_alloc(arena, (size_t)n);
    if (bytes) write_big(bytes, (uint64_t)value, n);
    *out = (wire){bytes, (size_t)n, true};
    return bytes != NULL;
}

static bool wire_float(wire *out, orm_arena *arena, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return wire_int(out, arena, (int64_t)bits, 8);
}

static bool wire_interval(wire *out, orm_arena *arena, int64_t us)
{
    char *bytes = orm_arena_alloc(arena, 16); /* microseconds, days, months */
    if (bytes) {
        memset(bytes, 0, 16);
        write_big(bytes, (uint64_t)us, 8);
    }
    *out = (wire){bytes, 16, true};
    return bytes != NULL;
}

static bool fits(int64_t value, int bits)
{
    int64_t max = ((int64_t)1 << (bits - 1)) - 1;
    return value >= -max - 1 && value <= max;
}

static bool is_text_type(Oid type)
{
    return type == PG_TEXT || type == PG_VARCHAR || type == PG_BPCHAR || type == PG_NAME ||
           type == PG_UNKNOWN || type == PG_JSON;
}

/* What came of an attempt. */
enum {
    WIRE_OK = 0,
    WIRE_OTHER,
    WIRE_NOMEM
}; /* OTHER: the value is not of the type */

static int wire_done(bool ok)
{
    return ok ? WIRE_OK : WIRE_NOMEM;
}

static int wire_number(wire *out, orm_arena *arena, const orm_value *v, Oid type)
{
    if (v->kind == ORM_V_INT && type == PG_INT8) return wire_done(wire_int(out, arena, v->as.i, 8));
    if (v->kind == ORM_V_INT && type == PG_INT4 && fits(v->as.i, 32))
        return wire_done(wire_int(out, arena, v->as.i, 4));
    if (v->kind == ORM_V_INT && type == PG_INT2 && fits(v->as.i, 16))
        return wire_done(wire_int(out, arena, v->as.i, 2));
    if (v->kind == ORM_V_BOOL && type == PG_BOOL)
        return wire_done(wire_int(out, arena, v->as.i != 0, 1));
    if (v->kind == ORM_V_FLOAT && type == PG_FLOAT8)
        return wire_done(wire_float(out, arena, v->as.f));
    return WIRE_OTHER;
}

static int wire_moment(wire *out, orm_arena *arena, const orm_value *v, Oid type)
{
    if (v->kind == ORM_V_DATE && type == PG_DATE)
        return wire_done(wire_int(out, arena, v->as.i - PG_EPOCH_DAYS, 4));
    if (v->kind == ORM_V_TIME && type == PG_TIME)
        return wire_done(wire_int(out, arena, v->as.i, 8));
    if ((v->kind == ORM_V_DATETIME && type == PG_TIMESTAMP) ||
        (v->kind == ORM_V_DATETIMETZ && type == PG_TIMESTAMPTZ))
        return wire_done(wire_int(out, arena, v->as.i - PG_EPOCH_US, 8));
    if (v->kind == ORM_V_INTERVAL && type == PG_INTERVAL)
        return wire_done(wire_interval(out, arena, v->as.i));
    return WIRE_OTHER;
}

/* The binary form, when the value is of that type.  Bytes go as they lie in the caller's memory. */
static int wire_binary(wire *out, orm_arena *arena, const orm_value *v, Oid type)
{
    bool bytes = (v->kind == ORM_V_TEXT && is_text_type(type)) ||
                 (v->kind == ORM_V_BLOB && type == PG_BYTEA) ||
                 (v->kind == ORM_V_UUID && type == PG_UUID);
    if (bytes) {
        *out = (wire){v->len ? v->as.ptr : "", v->len, true};
        return WIRE_OK;
    }
    if (v->kind >= ORM_V_DATE) return wire_moment(out, arena, v, type);
    return wire_number(out, arena, v, type);
}

/* ---- text forms --------------------------------------------------------------------------- */

/* The shortest that reads back as the same number. */
static void float_write(orm_buf *out, double value)
{
    char text[40];
    if (isinf(value)) {
        orm_buf_adds(out, value > 0 ? "Infinity" : "-Infinity");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    orm_buf_adds(out, text);
}

static void bytes_write(orm_buf *out, const uint8_t *bytes, size_t len)
{
    orm_buf_adds(out, "\\x");
    for (size_t i = 0; i < len; i++) {
        orm_buf_addc(out, "0123456789abcdef"[bytes[i] >> 4]);
        orm_buf_addc(out, "0123456789abcdef"[bytes[i] & 15]);
    }
}

static void value_write(orm_buf *out, const orm_value *v)
{
    char text[40];
    switch (v->kind) {
    case ORM_V_BOOL: orm_buf_addc(out, v->as.i ? 't' : 'f'); break;
    case ORM_V_INT: orm_buf_addi(out, v->as.i); break;
    case ORM_V_FLOAT: float_write(out, v->as.f); break;
    case ORM_V_TEXT: orm_buf_add(out, v->as.ptr, v->len); break;
    case ORM_V_BLOB: bytes_write(out, v->as.ptr, v->len); break;
    case ORM_V_DATE: orm_buf_add(out, text, orm_date_format(text, (int32_t)v->as.i)); break;
    case ORM_V_TIME: orm_buf_add(out, text, orm_time_format(text, v->as.i)); break;
    case ORM_V_DATETIME: orm_buf_add(out, text, orm_datetime_format(text, v->as.i)); break;
    case ORM_V_DATETIMETZ: orm_buf_add(out, text, orm_datetimetz_format(text, v->as.i)); break;
    case ORM_V_INTERVAL: orm_buf_addf(out, "%lld microseconds", (long long)v->as.i); break;
    case ORM_V_UUID: bytes_write(out, v->as.ptr, v->len); break;
    default: break;
    }
}

/* {1,NULL,"a\"b"}: for arrays of types that have no number known here. */
static void list_write(orm_buf *out, const orm_value *list)
{
    orm_buf item;
    orm_buf_init(&item, 0);
    orm_buf_addc(out, '{');
    for (size_t i = 0; i < list->len; i++) {
        if (i) orm_buf_addc(out, ',');
        if (list->as.list[i].kind == ORM_V_NULL) {
            orm_buf_adds(out, "NULL");
            continue;
        }
        orm_buf_reset(&item);
        value_write(&item, &list->as.list[i]);
        if (item.failed) break; /* emptied, and the next reset would forget it */
        orm_buf_addc(out, '"');
        for (size_t k = 0; k < item.len; k++) {
            if (item.ptr[k] == '"' || item.ptr[k] == '\\') orm_buf_addc(out, '\\');
            orm_buf_addc(out, item.ptr[k]);
        }
        orm_buf_addc(out, '"');
    }
    orm_buf_addc(out, '}');
    if (item.failed) out->failed = true;
    orm_buf_dispose(&item);
}

/* A uuid's text is its digits; libpq wants texts terminated. */
static bool wire_text(wire *out, orm_arena *arena, const orm_value *v)
{
    orm_buf text;
    orm_buf_init(&text, 0);
    if (v->kind == ORM_V_LIST)
        list_write(&text, v);
    else
        value_write(&text, v);
    size_t skip = v->kind == ORM_V_UUID ? 2 : 0; /* its \x */
    const char *copy = text.failed || !text.ptr
                           ? NULL
                           : orm_arena_copy(arena, text.ptr + skip, text.len - skip);
    *out = (wire){copy, text.len - skip, false};
    orm_buf_dispose(&text);
    return copy != NULL;
}

/* ---- arrays ------------------------------------------------------------------------------- */

static Oid array_member(Oid type)
{
    static const Oid types[][2] = {
        {1000, PG_BOOL},        {1001, PG_BYTEA},     {1005, PG_INT2},    {1007, PG_INT4},
        {1009, PG_TEXT},        {1014, PG_BPCHAR},    {1015, PG_VARCHAR}, {1016, PG_INT8},
        {1022, PG_FLOAT8},      {1115, PG_TIMESTAMP}, {1182, PG_DATE},    {1183, PG_TIME},
        {1185, PG_TIMESTAMPTZ}, {1187, PG_INTERVAL},  {2951, PG_UUID},
    };
    for (size_t i = 0; i < ORM_COUNT(types); i++) {
        if (types[i][0] == type) return types[i][1];
    }
    return 0;
}

/* Dimensions, flags, type; length and start of the one dimension; the members, each behind its
 * length. */
static int wire_array(wire *out, orm_arena *arena, const orm_value *list, Oid member)
{
    enum {
        HEADER = 20,
        EMPTY = 12
    };
    wire *items = orm_arena_alloc(arena, list->len * sizeof *items + 1);
    size_t total = HEADER;
    bool has_null = false;
    if (!items) return WIRE_NOMEM;
    for (size_t i = 0; i < list->len; i++) {
        const orm_value *v = &list->as.list[i];
        int done = WIRE_OK;
        items[i] = (wire){NULL, 0, true};
        if (v->kind == ORM_V_NULL)
            has_null = true;
        else
            done = wire_binary(&items[i], arena, v, member);
        if (done != WIRE_OK) return done;
        total += 4 + items[i].len;
    }
    char *bytes = orm_arena_alloc(arena, total);
    if (!bytes) return WIRE_NOMEM;
    write_big(bytes, list->len > 0, 4);
    write_big(bytes + 4, has_null, 4);
    write_big(bytes + 8, member, 4);
    write_big(bytes + 12, list->len, 4);
    write_big(bytes + 16, 1, 4);
    char *at = bytes + (list->len ? HEADER : EMPTY);
    for (size_t i = 0; i < list->len; i++) {
        write_big(at, items[i].ptr ? items[i].len : UINT32_MAX, 4);
        if (items[i].ptr && items[i].len) memcpy(at + 4, items[i].ptr, items[i].len);
        at += 4 + items[i].len;
    }
    *out = (wire){bytes, (size_t)(at - bytes), true};
    return WIRE_OK;
}

/* ---- one parameter ------------------------------------------------------------------------ */

/* What a kind is by itself; 0 = whatever the server takes a text for. */
static Oid kind_type(int kind)
{
    static const Oid types[] = {
        [ORM_V_BOOL] = PG_BOOL,          [ORM_V_INT] = PG_INT8,
        [ORM_V_FLOAT] = PG_FLOAT8,       [ORM_V_BLOB] = PG_BYTEA,
        [ORM_V_DATE] = PG_DATE,          [ORM_V_TIME] = PG_TIME,
        [ORM_V_DATETIME] = PG_TIMESTAMP, [ORM_V_DATETIMETZ] = PG_TIMESTAMPTZ,
        [ORM_V_INTERVAL] = PG_INTERVAL,  [ORM_V_UUID] = PG_UUID,
    };
    return (size_t)kind < ORM_COUNT(types) ? types[kind] : 0;
}

/* Whether the statement must be prepared anew with another type for this parameter: the server
 * guessed text, or an earlier run declared what does not fit any more. */
static bool redeclare(Oid *declared, const orm_value *v, Oid type)
{
    Oid own = kind_type(v->kind);
    if (*declared ? own == *declared : type != PG_TEXT || own == 0) return false;
    *declared = *declared ? 0 : own;
    return true;
}

static bool param_write(wire *out, orm_arena *arena, const orm_value *v, Oid type)
{
    Oid member = v->kind == ORM_V_LIST ? array_member(type) : 0;
    int done = member ? wire_array(out, arena, v, member) : wire_binary(out, arena, v, type);
    return done == WIRE_OTHER ? wire_text(out, arena, v) : done == WIRE_OK;
}

static bool params_alloc(pg_params *out, orm_arena *arena, size_t n, bool typed)
{
    if (typed && !(out->types = orm_arena_alloc(arena, n * sizeof *out->types + 1))) return false;
    out->values = orm_arena_alloc(arena, n * sizeof *out->values + 1);
    out->lengths = orm_arena_alloc(arena, n * sizeof *out->lengths + 1);
    out->formats = orm_arena_alloc(arena, n * sizeof *out->formats + 1);
    return out->values && out->lengths && out->formats;
}

orm_status pg_params_encode(orm_stmt *stmt, orm_arena *arena, pg_params *out, orm_error *err)
{
    bool again = false;
    size_t n = stmt->scan.n_params;
    if (!params_alloc(out, arena, n, stmt->conn->unprepared)) return orm_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        const orm_value *v = &stmt->params[i];
        Oid type = PQparamtype(stmt->described, (int)i);
        wire item = {NULL, 0, true};
        if (v->kind != ORM_V_NULL) {
            if (redeclare(&stmt->declared[i], v, type)) again = true;
            if (!again && !param_write(&item, arena, v, type)) return orm_fail_nomem(err);
        }
        if (item.len > INT_MAX) return orm_fail(err, ORM_EDATA, "parameter %zu is too long", i + 1);
        out->values[i] = item.ptr;
        out->lengths[i] = (int)item.len;
        out->formats[i] = item.binary;
        /* a type of the user's may be another by now: its values are text, which fits either */
        if (out->types) out->types[i] = type < PG_FIRST_USER_TYPE ? type : 0;
    }
    return again ? ORM_PENDING : ORM_OK;
}
