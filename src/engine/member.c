/* member.c - one cell into one member of a C struct, and back. */
#include "engine.h"
#include "member.h"

/* Sizes of the members, by ORM_M_…: where the `has` of a nullable one lies. */
static const uint8_t member_sizes[] = {
    [ORM_M_BOOL] = sizeof(bool),
    [ORM_M_INT16] = 2,
    [ORM_M_INT32] = 4,
    [ORM_M_INT64] = 8,
    [ORM_M_DOUBLE] = 8,
    [ORM_M_CSTR] = sizeof(char *),
    [ORM_M_STR] = sizeof(orm_str),
    [ORM_M_BLOB] = sizeof(orm_blob),
    [ORM_M_DATE] = sizeof(orm_date),
    [ORM_M_TIME] = 8,
    [ORM_M_DATETIME] = 8,
    [ORM_M_DATETIMETZ] = 8,
    [ORM_M_INTERVAL] = 8,
    [ORM_M_UUID] = 16,
    [ORM_M_DECIMAL] = sizeof(orm_str),
    [ORM_M_JSON] = sizeof(orm_str),
};

static orm_status fail_member(const orm_field *field, orm_error *err, const char *problem)
{
    orm_status status = orm_fail(err, ORM_EDATA, "%s.%s %s", field->model->table, field->def.column,
                                 problem);
    if (err) {
        orm_error_set_name(err->table, field->model->table, field->model->table_len);
        orm_error_set_name(err->column, field->def.column, field->column_len);
    }
    return status;
}

static orm_status set_null(const orm_field *field, char *at, orm_error *err)
{
    uint32_t member = field->def.member;
    /* Rows start as zeros: `has` is false, pointers are NULL. */
    (void)at;
    if (member & ORM_M_OPT) return ORM_OK;
    switch (member) {
    case ORM_M_REF:
    case ORM_M_CSTR:
    case ORM_M_STR:
    case ORM_M_BLOB:
    case ORM_M_DECIMAL:
    case ORM_M_JSON:
    case ORM_M_NONE: return ORM_OK;
    default: return fail_member(field, err, "is NULL, but its member cannot be: use ORM_OPT");
    }
}

static orm_status set_int(const orm_field *field, uint32_t member, char *at, int64_t i,
                          orm_error *err)
{
    int16_t i16 = (int16_t)i;
    int32_t i32 = (int32_t)i;
    bool b = i != 0;
    switch (member) {
    case ORM_M_BOOL: memcpy(at, &b, sizeof b); return ORM_OK;
    case ORM_M_INT16:
        if (i16 != i) return fail_member(field, err, "holds a number beyond 16 bits");
        memcpy(at, &i16, sizeof i16);
        return ORM_OK;
    case ORM_M_INT32:
        if (i32 != i) return fail_member(field, err, "holds a number beyond 32 bits");
        memcpy(at, &i32, sizeof i32);
        return ORM_OK;
    case ORM_M_DATE: memcpy(at, &i32, sizeof i32); return ORM_OK;
    case ORM_M_REF:
        at[sizeof i] = true;
        memcpy(at, &i, sizeof i);
        return ORM_OK;
    default: memcpy(at, &i, sizeof i); return ORM_OK;
    }
}

static orm_status set_bytes(const orm_field *field, uint32_t member, char *at, const orm_cell *cell,
                            orm_arena *arena, orm_error *err)
{
    if (member == ORM_M_UUID) {
        memcpy(at, cell->as.ptr, sizeof(orm_uuid));
        return ORM_OK;
    }
    bool terminated = member == ORM_M_CSTR || member == ORM_M_CHARS;
    if (terminated && cell->len && memchr(cell->as.ptr, '\0', cell->len))
        return fail_member(field, err, "holds a NUL character: use orm_str for it");
    if (member == ORM_M_CHARS) {
        if (cell->len >= field->def.size)
            return fail_member(field, err, "holds a text that is longer than its member");
        memcpy(at, cell->as.ptr, cell->len);
        return ORM_OK;
    }
    orm_str copy = {orm_arena_copy(arena, cell->as.ptr, cell->len), cell->len};
    if (!copy.ptr) return orm_fail_nomem(err);
    memcpy(at, &copy, member == ORM_M_CSTR ? sizeof copy.ptr : sizeof copy);
    return ORM_OK;
}

/* Which kinds of cells go into a member, as bits; text members take text. */
#define KIND(kind) (1u << ORM_V_##kind)
static const uint32_t member_kinds[] = {
    [ORM_M_BOOL] = KIND(INT) | KIND(BOOL),
    [ORM_M_INT16] = KIND(INT) | KIND(BOOL),
    [ORM_M_INT32] = KIND(INT) | KIND(BOOL),
    [ORM_M_INT64] = KIND(INT) | KIND(BOOL),
    [ORM_M_REF] = KIND(INT) | KIND(BOOL),
    [ORM_M_DOUBLE] = KIND(FLOAT) | KIND(INT),
    [ORM_M_CSTR] = KIND(TEXT),
    [ORM_M_STR] = KIND(TEXT),
    [ORM_M_CHARS] = KIND(TEXT),
    [ORM_M_DECIMAL] = KIND(TEXT),
    [ORM_M_JSON] = KIND(TEXT),
    [ORM_M_BLOB] = KIND(BLOB),
    [ORM_M_DATE] = KIND(DATE),
    [ORM_M_TIME] = KIND(TIME),
    [ORM_M_DATETIME] = KIND(DATETIME),
    [ORM_M_DATETIMETZ] = KIND(DATETIMETZ),
    [ORM_M_INTERVAL] = KIND(INTERVAL),
    [ORM_M_UUID] = KIND(UUID),
};

static bool fits(uint32_t member, uint8_t kind)
{
    return member < ORM_COUNT(member_kinds) && member_kinds[member] & 1u << kind;
}

orm_status orm_member_set(const orm_field *field, const orm_column *column, char *row,
                          const orm_cell *from, orm_arena *arena, orm_error *err)
{
    uint32_t member = field->def.member & ~(uint32_t)ORM_M_OPT;
    char *at = row + field->def.offset, scratch[48];
    orm_cell cell = *from;
    if (cell.kind == ORM_V_NULL) return set_null(field, at, err);
    if (cell.kind != column->expect) ORM_TRY(orm_cell_decode(column, &cell, scratch, err));
    if (member == ORM_M_NONE) return ORM_OK;
    if (!fits(member, cell.kind))
        return fail_member(field, err, "holds a value that does not fit its member");
    if (field->def.member & ORM_M_OPT) at[member_sizes[member]] = true;
    if (member == ORM_M_DOUBLE) {
        double f = cell.kind == ORM_V_INT ? (double)cell.as.i : cell.as.f;
        memcpy(at, &f, sizeof f);
        return ORM_OK;
    }
    if (cell.kind == ORM_V_TEXT || cell.kind == ORM_V_BLOB || cell.kind == ORM_V_UUID)
        return set_bytes(field, member, at, &cell, arena, err);
    return set_int(field, member, at, cell.as.i, err);
}

/* ---- from the struct ---- */

static orm_value kind_value(int kind, int64_t i)
{
    orm_value v = orm_int(i);
    v.kind = (uint8_t)kind;
    return v;
}

static orm_value bytes_value(int kind, const void *ptr, size_t len)
{
    orm_value v = orm_bytes(ptr, len);
    if (ptr) v.kind = (uint8_t)kind;
    return v;
}

static orm_value number_value(uint32_t member, const char *at)
{
    int16_t i16;
    int32_t i32;
    int64_t i64;
    double f;
    switch (member) {
    case ORM_M_BOOL: return orm_bool(*at);
    case ORM_M_INT16: memcpy(&i16, at, sizeof i16); return orm_int(i16);
    case ORM_M_INT32: memcpy(&i32, at, sizeof i32); return orm_int(i32);
    case ORM_M_DATE: memcpy(&i32, at, sizeof i32); return kind_value(ORM_V_DATE, i32);
    case ORM_M_DOUBLE: memcpy(&f, at, sizeof f); return orm_float(f);
    default: break;
    }
    memcpy(&i64, at, sizeof i64);
    switch (member) {
    case ORM_M_TIME: return kind_value(ORM_V_TIME, i64);
    case ORM_M_DATETIME: return kind_value(ORM_V_DATETIME, i64);
    case ORM_M_DATETIMETZ: return kind_value(ORM_V_DATETIMETZ, i64);
    case ORM_M_INTERVAL: return kind_value(ORM_V_INTERVAL, i64);
    /* An id that is not 0 counts also where the program did not set `has`. */
    case ORM_M_REF: return at[sizeof i64] || i64 ? orm_int(i64) : orm_null();
    default: return orm_int(i64);
    }
}

orm_value orm_member_get(const orm_field *field, const char *row)
{
    uint32_t member = field->def.member & ~(uint32_t)ORM_M_OPT;
    const char *at = row + field->def.offset, *text;
    orm_str bytes;
    if (field->def.member & ORM_M_OPT && !at[member_sizes[member]]) return orm_null();
    switch (member) {
    case ORM_M_NONE: return orm_null();
    case ORM_M_CSTR: memcpy(&text, at, sizeof text); return orm_text(text);
    case ORM_M_CHARS: return orm_textn(at, strnlen(at, field->def.size));
    case ORM_M_UUID: return bytes_value(ORM_V_UUID, at, sizeof(orm_uuid));
    case ORM_M_STR:
    case ORM_M_DECIMAL:
    case ORM_M_JSON:
    case ORM_M_BLOB:
        memcpy(&bytes, at, sizeof bytes);
        return bytes_value(member == ORM_M_BLOB ? ORM_V_BLOB : ORM_V_TEXT, bytes.ptr, bytes.len);
    default: return number_value(member, at);
    }
}
