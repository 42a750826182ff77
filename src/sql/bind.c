/* bind.c - values on their way into a statement.
 *
 * Two steps.  First the value is checked against the column's type and brought to its logical
 * kind (a text "2020-01-02" for a date column becomes a date): the same on every backend.  Then
 * the dialect stores it, where the backend has no such kind.  What would change on the way is
 * ORM_EDATA here, before anything is sent.  Integers and texts pass without allocating.
 */
#include "dialect.h"

#include <math.h>
#include <stdio.h>

#define VALUE_BYTES 1000000000u /* what any backend takes in one value */

static const char *type_name(int type)
{
    static const char *const names[] = {
#define TYPE_NAME(constant, number, name) name,
        ORM_TYPE_MAP(TYPE_NAME)
#undef TYPE_NAME
    };
    return names[type];
}

orm_status orm_param_fail(const orm_param *param, orm_error *err, const char *format, ...)
{
    char message[160];
    const orm_field *field = param->field;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!field) return orm_fail(err, ORM_EDATA, "value %u: %s", param->value + 1u, message);
    orm_fail(err, ORM_EDATA, "%s.%s: %s", field->model->table, field->def.column, message);
    if (err) {
        orm_error_set_name(err->table, field->model->table, field->model->table_len);
        orm_error_set_name(err->column, field->def.column, field->column_len);
    }
    return ORM_EDATA;
}

static orm_status kind_fail(const orm_param *param, int type, const orm_value *v, orm_error *err)
{
    return orm_param_fail(param, err, "expected %s, got %s", type_name(type),
                          orm_value_kind_name(v->kind));
}

static orm_status text_fail(const orm_param *param, int type, orm_error *err)
{
    return orm_param_fail(param, err, "the text is no %s", type_name(type));
}

/* ---- texts ---- */

static orm_status text_check(const orm_dialect *dialect, const orm_param *param, const orm_value *v,
                             orm_error *err)
{
    if (v->len > VALUE_BYTES) {
        return orm_param_fail(param, err, "%zu bytes are too long, at most %u", v->len,
                              VALUE_BYTES);
    }
    if (!orm_text_is_ascii(v->as.ptr, v->len) && !orm_utf8_is_valid(v->as.ptr, v->len)) {
        return orm_param_fail(param, err, "the text is not valid UTF-8");
    }
    if (!dialect->text_nul && v->len && memchr(v->as.ptr, 0, v->len)) {
        return orm_param_fail(param, err, "a text with a NUL character cannot be stored in %s",
                              dialect->name);
    }
    return ORM_OK;
}

static bool is_choice(const orm_field *field, const orm_value *v)
{
    for (const char *const *c = field->def.choices; *c; c++) {
        if (strlen(*c) == v->len && memcmp(*c, v->as.ptr, v->len) == 0) return true;
    }
    return false;
}

/* The rules of a column that is written: filters may compare with anything. */
static orm_status text_check_store(const orm_param *param, int type, const orm_value *v,
                                   orm_error *err)
{
    const orm_field *field = param->field;
    if (!field) return ORM_OK;
    if (type == ORM_TYPE_ENUM && field->def.choices && !is_choice(field, v)) {
        return orm_param_fail(param, err, "the text is none of its choices");
    }
    if (type == ORM_TYPE_TEXT && field->max_length && v->len > field->max_length &&
        orm_utf8_length(v->as.ptr, v->len) > field->max_length) {
        return orm_param_fail(param, err, "the text is longer than %u characters",
                              field->max_length);
    }
    return ORM_OK;
}

/* ---- numbers ---- */

static orm_status int_convert(const orm_param *param, int type, orm_value *v, orm_error *err)
{
    int64_t max = type == ORM_TYPE_INT16   ? INT16_MAX
                  : type == ORM_TYPE_INT32 ? INT32_MAX
                                           : INT64_MAX;
    if (v->kind == ORM_V_BOOL) v->kind = ORM_V_INT;
    if (v->kind != ORM_V_INT) return kind_fail(param, type, v, err);
    if (v->as.i > max || v->as.i < -max - 1) {
        return orm_param_fail(param, err, "%lld is out of range for %s", (long long)v->as.i,
                              type_name(type));
    }
    return ORM_OK;
}

static orm_status bool_convert(const orm_param *param, orm_value *v, orm_error *err)
{
    if (v->kind != ORM_V_BOOL && v->kind != ORM_V_INT) {
        return kind_fail(param, ORM_TYPE_BOOL, v, err);
    }
    if (v->as.i != 0 && v->as.i != 1) {
        return orm_param_fail(param, err, "expected boolean, got the number %lld",
                              (long long)v->as.i);
    }
    v->kind = ORM_V_BOOL;
    return ORM_OK;
}

static orm_status float_convert(const orm_param *param, orm_value *v, orm_error *err)
{
    const int64_t exact = (int64_t)1 << 53;
    if (v->kind == ORM_V_INT) {
        if (v->as.i > exact || v->as.i < -exact) {
            return orm_param_fail(param, err, "%lld has no exact float", (long long)v->as.i);
        }
        v->as.f = (double)v->as.i;
        v->kind = ORM_V_FLOAT;
    }
    if (v->kind != ORM_V_FLOAT) return kind_fail(param, ORM_TYPE_FLOAT, v, err);
    if (isnan(v->as.f)) return orm_param_fail(param, err, "NaN cannot be stored");
    return ORM_OK;
}

/* Decimals travel as plain text with the column's places: no digit may be lost. */
static orm_status decimal_convert(const orm_param *param, orm_arena *arena, orm_value *v,
                                  orm_error *err)
{
    char digits[24];
    orm_decimal_info info;
    const orm_field *field = param->field;
    if (v->kind == ORM_V_INT) {
        v->len = (size_t)snprintf(digits, sizeof digits, "%lld", (long long)v->as.i);
        v->as.ptr = digits;
    } else if (v->kind != ORM_V_TEXT) {
        return kind_fail(param, ORM_TYPE_DECIMAL, v, err);
    }
    if (!orm_decimal_parse(v->as.ptr, v->len, &info)) {
        return orm_param_fail(param, err, "the text is no finite decimal");
    }
    bool known = field && field->digits > 0;
    if (known &&
        (info.places > field->places || info.integer_digits > field->digits - field->places)) {
        return orm_param_fail(param, err, "the number needs more than %u digits with %u places",
                              field->digits, field->places);
    }
    if (!known && info.integer_digits + info.places > 1000) {
        return orm_param_fail(param, err, "the number has more than 1000 digits");
    }
    orm_buf plain;
    orm_buf_init(&plain, 4096);
    bool ok = orm_decimal_format(&plain, v->as.ptr, v->len, known ? field->places : -1);
    char *copy = ok && !plain.failed ? orm_arena_copy(arena, plain.ptr, plain.len) : NULL;
    v->kind = ORM_V_TEXT;
    v->as.ptr = copy;
    v->len = plain.len;
    orm_buf_dispose(&plain);
    if (!ok) return orm_param_fail(param, err, "the text is no finite decimal");
    return copy ? ORM_OK : orm_fail_nomem(err);
}

/* ---- dates and times ---- */

static orm_status date_convert(const orm_param *param, orm_value *v, orm_error *err)
{
    int32_t days;
    if (v->kind == ORM_V_TEXT) {
        if (!orm_date_parse(v->as.ptr, v->len, &days)) return text_fail(param, ORM_TYPE_DATE, err);
        v->kind = ORM_V_DATE;
        v->as.i = days;
    }
    if (v->kind != ORM_V_DATE) return kind_fail(param, ORM_TYPE_DATE, v, err);
    if (v->as.i < ORM_DATE_MIN || v->as.i > ORM_DATE_MAX) {
        return orm_param_fail(param, err, "the date lies outside the years 1 to 9999");
    }
    return ORM_OK;
}

static orm_status time_convert(const orm_param *param, orm_value *v, orm_error *err)
{
    int64_t us;
    if (v->kind == ORM_V_TEXT) {
        if (!orm_time_parse(v->as.ptr, v->len, &us)) return text_fail(param, ORM_TYPE_TIME, err);
        v->kind = ORM_V_TIME;
        v->as.i = us;
    }
    if (v->kind != ORM_V_TIME) return kind_fail(param, ORM_TYPE_TIME, v, err);
    if (v->as.i < 0 || v->as.i >= ORM_US_PER_DAY) {
        return orm_param_fail(param, err, "the time lies outside of the day");
    }
    return ORM_OK;
}

static orm_status zone_fail(const orm_param *param, bool aware, orm_error *err)
{
    return orm_param_fail(param, err,
                          aware ? "a datetime without time zone given for one with"
                                : "a datetime with time zone given for one without");
}

static orm_status datetime_convert(const orm_param *param, int type, orm_value *v, orm_error *err)
{
    bool aware = type == ORM_TYPE_DATETIMETZ;
    if (v->kind == ORM_V_TEXT) {
        int64_t us, offset;
        if (!orm_datetime_parse(v->as.ptr, v->len, &us, &offset)) {
            return text_fail(param, type, err);
        }
        bool has_offset = offset != INT64_MIN;
        if (has_offset != aware) return zone_fail(param, aware, err);
        v->as.i = aware ? us - offset : us;
    } else if (v->kind == ORM_V_DATETIME || v->kind == ORM_V_DATETIMETZ) {
        if ((v->kind == ORM_V_DATETIMETZ) != aware) return zone_fail(param, aware, err);
    } else {
        return kind_fail(param, type, v, err);
    }
    v->kind = aware ? ORM_V_DATETIMETZ : ORM_V_DATETIME;
    if (v->as.i < ORM_DATE_MIN * ORM_US_PER_DAY || v->as.i >= (ORM_DATE_MAX + 1) * ORM_US_PER_DAY) {
        return orm_param_fail(param, err, "the datetime lies outside the years 1 to 9999");
    }
    return ORM_OK;
}

/* ---- uuid ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool orm_uuid_parse(const char *text, size_t len, uint8_t out[16])
{
    size_t digits = 0;
    if (len != 32 && len != 36) return false;
    for (size_t i = 0; i < len; i++) {
        if (len == 36 && (i == 8 || i == 13 || i == 18 || i == 23)) {
            if (text[i] != '-') return false;
            continue;
        }
        int d = hex_digit(text[i]);
        if (d < 0) return false;
        if (digits % 2 == 0)
            out[digits / 2] = (uint8_t)(d << 4);
        else
            out[digits / 2] = (uint8_t)(out[digits / 2] | d);
        digits++;
    }
    return digits == 32;
}

static orm_status uuid_convert(const orm_param *param, orm_arena *arena, orm_value *v,
                               orm_error *err)
{
    if (v->kind == ORM_V_TEXT) {
        uint8_t *bytes = orm_arena_alloc(arena, 16);
        if (!bytes) return orm_fail_nomem(err);
        if (!orm_uuid_parse(v->as.ptr, v->len, bytes)) return text_fail(param, ORM_TYPE_UUID, err);
        v->kind = ORM_V_UUID;
        v->as.ptr = bytes;
        v->len = 16;
    }
    if (v->kind != ORM_V_UUID || v->len != 16) return kind_fail(param, ORM_TYPE_UUID, v, err);
    return ORM_OK;
}

/* ---- one value ---- */

static orm_status blob_check(const orm_param *param, const orm_value *v, orm_error *err)
{
    if (v->kind != ORM_V_BLOB) return kind_fail(param, ORM_TYPE_BLOB, v, err);
    if (v->len <= VALUE_BYTES) return ORM_OK;
    return orm_param_fail(param, err, "%zu bytes are too long, at most %u", v->len, VALUE_BYTES);
}

static orm_status text_convert(const orm_dialect *dialect, const orm_param *param, int type,
                               const orm_value *v, orm_error *err)
{
    if (v->kind != ORM_V_TEXT) return kind_fail(param, type, v, err);
    ORM_TRY(text_check(dialect, param, v, err));
    return param->how == ORM_BIND_STORE ? text_check_store(param, type, v, err) : ORM_OK;
}

/* Brings v to the logical kind of `type`. */
static orm_status value_convert(const orm_dialect *dialect, const orm_param *param, int type,
                                orm_arena *arena, orm_value *v, orm_error *err)
{
    switch (type) {
    case ORM_TYPE_BOOL: return bool_convert(param, v, err);
    case ORM_TYPE_INT16:
    case ORM_TYPE_INT32:
    case ORM_TYPE_INT64: return int_convert(param, type, v, err);
    case ORM_TYPE_FLOAT: return float_convert(param, v, err);
    case ORM_TYPE_DECIMAL: return decimal_convert(param, arena, v, err);
    case ORM_TYPE_BLOB: return blob_check(param, v, err);
    case ORM_TYPE_DATE: return date_convert(param, v, err);
    case ORM_TYPE_TIME: return time_convert(param, v, err);
    case ORM_TYPE_DATETIME:
    case ORM_TYPE_DATETIMETZ: return datetime_convert(param, type, v, err);
    case ORM_TYPE_INTERVAL:
        return v->kind == ORM_V_INTERVAL ? ORM_OK : kind_fail(param, type, v, err);
    case ORM_TYPE_UUID: return uuid_convert(param, arena, v, err);
    default: return text_convert(dialect, param, type, v, err);
    }
}

/* The type that raw values have by themselves. */
static int kind_type(int kind)
{
    static const uint8_t types[] = {
        [ORM_V_BOOL] = ORM_TYPE_BOOL,
        [ORM_V_INT] = ORM_TYPE_INT64,
        [ORM_V_FLOAT] = ORM_TYPE_FLOAT,
        [ORM_V_TEXT] = ORM_TYPE_TEXT,
        [ORM_V_BLOB] = ORM_TYPE_BLOB,
        [ORM_V_DATE] = ORM_TYPE_DATE,
        [ORM_V_TIME] = ORM_TYPE_TIME,
        [ORM_V_DATETIME] = ORM_TYPE_DATETIME,
        [ORM_V_DATETIMETZ] = ORM_TYPE_DATETIMETZ,
        [ORM_V_INTERVAL] = ORM_TYPE_INTERVAL,
        [ORM_V_UUID] = ORM_TYPE_UUID,
    };
    return (size_t)kind < ORM_COUNT(types) ? types[kind] : ORM_TYPE_NONE;
}

/* Checks, converts and stores *v as a value of `type`; NULL stays NULL. */
static orm_status value_bind(const orm_dialect *dialect, const orm_param *param, int type,
                             orm_arena *arena, orm_value *v, orm_error *err)
{
    if (v->kind == ORM_V_NULL) return ORM_OK;
    if (type == ORM_TYPE_NONE) {
        return orm_param_fail(param, err, "%s cannot be a parameter", orm_value_kind_name(v->kind));
    }
    ORM_TRY(value_convert(dialect, param, type, arena, v, err));
    if (!dialect->store) return ORM_OK;
    return dialect->store(param, type, arena, v, err);
}

/* ---- patterns ---- */

static orm_status fold_bind(orm_arena *arena, orm_value *v, orm_error *err)
{
    const char *text = v->as.ptr;
    if (orm_text_is_ascii(text, v->len)) {
        char *lower = orm_arena_copy(arena, text, v->len);
        if (!lower) return orm_fail_nomem(err);
        for (size_t i = 0; i < v->len; i++) {
            if (lower[i] >= 'A' && lower[i] <= 'Z') lower[i] = (char)(lower[i] + 32);
        }
        v->as.ptr = lower;
        return ORM_OK;
    }
    orm_buf folded;
    orm_buf_init(&folded, (size_t)VALUE_BYTES + 1);
    orm_utf8_casefold(&folded, text, v->len);
    orm_status status = orm_buf_status(&folded, err);
    if (status == ORM_OK) {
        v->as.ptr = orm_arena_copy(arena, folded.ptr, folded.len);
        v->len = folded.len;
        if (!v->as.ptr) status = orm_fail_nomem(err);
    }
    orm_buf_dispose(&folded);
    return status;
}

/* A LIKE pattern in which nothing of the text is special: `!` is the escape character. */
static orm_status like_bind(int how, orm_arena *arena, orm_value *v, orm_error *err)
{
    const char *text = v->as.ptr;
    size_t n = 0;
    char *pattern = orm_arena_alloc(arena, v->len * 2 + 3);
    if (!pattern) return orm_fail_nomem(err);
    if (how != ORM_BIND_LIKE_PREFIX) pattern[n++] = '%';
    for (size_t i = 0; i < v->len; i++) {
        if (text[i] == '%' || text[i] == '_' || text[i] == '!') pattern[n++] = '!';
        pattern[n++] = text[i];
    }
    if (how != ORM_BIND_LIKE_SUFFIX) pattern[n++] = '%';
    v->as.ptr = pattern;
    v->len = n;
    return ORM_OK;
}

static orm_status pattern_bind(const orm_dialect *dialect, const orm_param *param, orm_arena *arena,
                               orm_value *v, orm_error *err)
{
    ORM_TRY(text_convert(dialect, param, ORM_TYPE_TEXT, v, err));
    if (param->how == ORM_BIND_FOLD) return fold_bind(arena, v, err);
    return like_bind(param->how, arena, v, err);
}

/* ---- lists ---- */

static orm_status member_bind(const orm_dialect *dialect, const orm_param *param, orm_arena *arena,
                              orm_value *v, orm_error *err)
{
    if (v->kind != ORM_V_LIST || v->len == 0) return kind_fail(param, param->type, v, err);
    size_t i = param->index < v->len ? param->index : v->len - 1;
    *v = v->as.list[i];
    return value_bind(dialect, param, param->type, arena, v, err);
}

static void json_text_add(orm_buf *out, const char *text, size_t len)
{
    orm_buf_addc(out, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') orm_buf_addc(out, '\\');
        if (c < 0x20)
            orm_buf_addf(out, "\\u%04x", c);
        else
            orm_buf_addc(out, text[i]);
    }
    orm_buf_addc(out, '"');
}

static orm_status json_members_add(const orm_dialect *dialect, const orm_param *param,
                                   orm_arena *arena, const orm_value *list, orm_buf *out,
                                   orm_error *err)
{
    for (size_t i = 0; i < list->len; i++) {
        orm_value v = list->as.list[i];
        ORM_TRY(value_bind(dialect, param, param->type, arena, &v, err));
        if (i) orm_buf_addc(out, ',');
        if (v.kind == ORM_V_INT)
            orm_buf_addi(out, v.as.i);
        else if (v.kind == ORM_V_TEXT)
            json_text_add(out, v.as.ptr, v.len);
        else
            return kind_fail(param, param->type, &v, err);
    }
    return ORM_OK;
}

static orm_status json_bind(const orm_dialect *dialect, const orm_param *param, orm_arena *arena,
                            orm_value *v, orm_error *err)
{
    orm_buf json;
    if (v->kind != ORM_V_LIST) return kind_fail(param, param->type, v, err);
    orm_buf_init(&json, VALUE_BYTES);
    orm_buf_addc(&json, '[');
    orm_status status = json_members_add(dialect, param, arena, v, &json, err);
    orm_buf_addc(&json, ']');
    if (status == ORM_OK) status = orm_buf_status(&json, err);
    if (status == ORM_OK) {
        v->kind = ORM_V_TEXT;
        v->as.ptr = orm_arena_copy(arena, json.ptr, json.len);
        v->len = json.len;
        if (!v->as.ptr) status = orm_fail_nomem(err);
    }
    orm_buf_dispose(&json);
    return status;
}

static orm_status array_bind(const orm_dialect *dialect, const orm_param *param, orm_arena *arena,
                             orm_value *v, orm_error *err)
{
    if (v->kind != ORM_V_LIST) return kind_fail(param, param->type, v, err);
    orm_value *members = orm_arena_alloc(arena, v->len * sizeof *members + 1);
    if (!members) return orm_fail_nomem(err);
    for (size_t i = 0; i < v->len; i++) {
        members[i] = v->as.list[i];
        members[i].release = NULL;
        ORM_TRY(value_bind(dialect, param, param->type, arena, &members[i], err));
    }
    v->as.list = members;
    return ORM_OK;
}

/* ---- the entry ---- */

static orm_status slice_bind(const orm_param *param, int64_t limit, int64_t offset, orm_value *out)
{
    int64_t n = param->how == ORM_BIND_LIMIT ? limit : offset;
    if (param->index && n > (int64_t)param->index) n = param->index;
    *out = orm_int(n);
    return ORM_OK;
}

orm_status orm_param_bind(const orm_dialect *dialect, const orm_param *param, const orm_value *v,
                          int64_t limit, int64_t offset, orm_arena *arena, orm_value *out,
                          orm_error *err)
{
    if (param->how == ORM_BIND_LIMIT || param->how == ORM_BIND_OFFSET) {
        return slice_bind(param, limit, offset, out);
    }
    *out = *v;
    out->release = NULL; /* the result borrows: its owner releases */
    out->owner = NULL;
    switch (param->how) {
    case ORM_BIND_PLAIN:
    case ORM_BIND_STORE: return value_bind(dialect, param, param->type, arena, out, err);
    case ORM_BIND_INT:
        if (out->kind == ORM_V_INT) return ORM_OK;
        return kind_fail(param, ORM_TYPE_INT32, out, err);
    case ORM_BIND_DATE: return value_bind(dialect, param, ORM_TYPE_DATE, arena, out, err);
    case ORM_BIND_TIME: return value_bind(dialect, param, ORM_TYPE_TIME, arena, out, err);
    case ORM_BIND_LIST_MEMBER: return member_bind(dialect, param, arena, out, err);
    case ORM_BIND_LIST_JSON: return json_bind(dialect, param, arena, out, err);
    case ORM_BIND_LIST_ARRAY: return array_bind(dialect, param, arena, out, err);
    case ORM_BIND_RAW: return value_bind(dialect, param, kind_type(out->kind), arena, out, err);
    default: return pattern_bind(dialect, param, arena, out, err);
    }
}
