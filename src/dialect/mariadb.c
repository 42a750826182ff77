/* mariadb.c - MariaDB's differences.
 *
 * Dates and times are bound as they are; datetimes with time zone are UTC in DATETIME columns, UUIDs
 * 32 hex digits.
 *
 * Whether a comparison minds case, accents and spaces at the end is a matter of collations here.
 * Columns of text that we make are utf8mb4_nopad_bin, whatever the database's default is: equal
 * is equal, as on the other backends.  (UUIDs and addresses follow the default, so that they can
 * refer to the keys of older tables.)  In tables made by others `=`, IN and the order of rows
 * follow the column's own; the lookups that promise to mind case name the collation.  Those that
 * fold case compare lower(upper(…)), by the case tables of Unicode 14 (which the name of a
 * collation chooses) and with ss for ß, on both sides.  A collation that ignores case would ignore
 * more than that: full-width letters, ², hiragana and katakana are the same to it.
 */
#include "dialect.h"

#include <math.h>

#define BIN " COLLATE utf8mb4_nopad_bin"

/* ---- stored forms ---- */

static orm_status store_uuid(orm_arena *arena, orm_value *v, orm_error *err)
{
    const uint8_t *bytes = v->as.ptr;
    char text[32];
    for (size_t i = 0; i < 16; i++) {
        text[i * 2] = "0123456789abcdef"[bytes[i] >> 4];
        text[i * 2 + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    v->kind = ORM_V_TEXT;
    v->as.ptr = orm_arena_copy(arena, text, sizeof text);
    v->len = sizeof text;
    return v->as.ptr ? ORM_OK : orm_fail_nomem(err);
}

enum {
    DECIMAL_DIGITS = 65,
    DECIMAL_PLACES = 30, /* of a column that says nothing else */
    VARCHAR_MAX = 16383, /* characters of 4 bytes in a row of 65,535 bytes */
    KEY_CHARS = 255      /* of a key or index of text */
};

/* The server would round a number with more places without a word. */
static orm_status check_decimal(const orm_param *param, const orm_value *v, orm_error *err)
{
    orm_decimal_info info;
    if (param->field && param->field->digits) return ORM_OK; /* checked by the column's own */
    if (orm_decimal_parse(v->as.ptr, v->len, &info) && info.places <= DECIMAL_PLACES &&
        info.integer_digits <= DECIMAL_DIGITS - DECIMAL_PLACES)
        return ORM_OK;
    return orm_param_fail(param, err, "the number needs more than %d digits with %d places",
                          DECIMAL_DIGITS, DECIMAL_PLACES);
}

static orm_status store(const orm_param *param, int type, orm_arena *arena, orm_value *v,
                        orm_error *err)
{
    switch (type) {
    case ORM_TYPE_BOOL:
    case ORM_TYPE_INTERVAL: v->kind = ORM_V_INT; return ORM_OK;
    case ORM_TYPE_UUID: return store_uuid(arena, v, err);
    case ORM_TYPE_FLOAT:
        if (isfinite(v->as.f)) return ORM_OK;
        return orm_param_fail(param, err, "MariaDB holds finite numbers only");
    case ORM_TYPE_DECIMAL: return check_decimal(param, v, err);
    default: return ORM_OK;
    }
}

/* Decimals are sent as text.  One that is compared with a column becomes a decimal; one of a list
 * or of a range makes floats of both sides, in which long numbers are equal that are not. */
static void decimal_type(orm_buf *out, const orm_field *field)
{
    unsigned digits = field->digits ? field->digits : DECIMAL_DIGITS;
    unsigned places = field->digits ? field->places : DECIMAL_PLACES;
    orm_buf_addf(out, "DECIMAL(%u, %u)", digits, places);
}

static bool cast(orm_buf *type, int lookup, const orm_field *field)
{
    bool grouped = lookup == ORM_LOOKUP_IN || lookup == ORM_LOOKUP_RANGE;
    if (!grouped || field->type != ORM_TYPE_DECIMAL) return false;
    decimal_type(type, field);
    return true;
}

/* ---- column types ---- */

static void type_text(orm_buf *out, const orm_field *field)
{
    bool key = field->is_key || field->target;
    uint32_t length = field->max_length ? field->max_length : key ? KEY_CHARS : 0;
    if (length && length <= VARCHAR_MAX)
        orm_buf_addf(out, "VARCHAR(%u)" BIN, length);
    else
        orm_buf_adds(out, "LONGTEXT" BIN);
}

static void type_enum(orm_buf *out, const orm_field *field)
{
    orm_buf_adds(out, "ENUM(");
    for (const char *const *c = field->def.choices; *c; c++) {
        if (c != field->def.choices) orm_buf_adds(out, ", ");
        orm_ddl_literal(out, *c, true);
    }
    orm_buf_adds(out, ")" BIN);
}

static bool column_type(orm_buf *out, const orm_field *field)
{
    static const char *const own[] = {
        [ORM_TYPE_FLOAT] = "DOUBLE", /* FLOAT has half the digits */
        [ORM_TYPE_BLOB] = "LONGBLOB",        [ORM_TYPE_TIME] = "TIME(6)",
        [ORM_TYPE_DATETIME] = "DATETIME(6)", [ORM_TYPE_DATETIMETZ] = "DATETIME(6)",
    };
    const char *type = field->type < ORM_COUNT(own) ? own[field->type] : NULL;
    if (orm_model_auto_field(field->model) == field->index) {
        orm_ddl_type(out, field);
        orm_buf_adds(out, " AUTO_INCREMENT");
    } else if (field->type == ORM_TYPE_TEXT) {
        type_text(out, field);
    } else if (field->type == ORM_TYPE_ENUM && field->def.choices) {
        type_enum(out, field);
    } else if (field->type == ORM_TYPE_DECIMAL && !field->digits) {
        orm_buf_addf(out, "NUMERIC(%d, %d)", DECIMAL_DIGITS, DECIMAL_PLACES);
    } else if (type) {
        orm_buf_adds(out, type);
    } else {
        return false;
    }
    return true;
}

/* ---- the table ---- */

#define NO_CASE " COLLATE utf8mb4_uca1400_as_ci"
#define TEXT(x) "CONVERT(" x " USING utf8mb4)"
#define FOLDED(x) "REPLACE(LOWER(UPPER(" TEXT(x) NO_CASE "))" BIN ", 'ß', 'ss')"
#define LIKE "@ LIKE ?" BIN " ESCAPE '!'"
#define FOLDED_LIKE FOLDED("@") " LIKE " FOLDED("?") " ESCAPE '!'"
/* what comes out of JSON_UNQUOTE has the weakest of collations: that of the column is used */
#define NUMBERS " (SELECT n FROM JSON_TABLE(?, '$[*]' COLUMNS (n BIGINT PATH '$')) AS list)"
#define TEXTS \
    " (SELECT JSON_UNQUOTE(n) FROM JSON_TABLE(?, '$[*]' COLUMNS (n JSON PATH '$')) AS list)"

const orm_dialect orm_dialect_mariadb = {
    .name = "mariadb",
    .isolation_first = true,
    .ddl_commits = true,
    .quote = '`',
    .differs = "NOT (@ <=> ?)",
    .limit_all = " LIMIT 18446744073709551615",
    .cast = cast,
    .list_in = "@ IN" NUMBERS,
    .list_not_in = "@ NOT IN" NUMBERS,
    .texts_in = "@ IN" TEXTS,
    .texts_not_in = "@ NOT IN" TEXTS,
    .lookups =
        {
            [ORM_LOOKUP_IEXACT] = {FOLDED("@") " = " FOLDED("?"), ORM_BIND_PLAIN},
            [ORM_LOOKUP_CONTAINS] = {LIKE, ORM_BIND_LIKE_CONTAINS},
            [ORM_LOOKUP_ICONTAINS] = {FOLDED_LIKE, ORM_BIND_LIKE_CONTAINS},
            [ORM_LOOKUP_STARTSWITH] = {LIKE, ORM_BIND_LIKE_PREFIX},
            [ORM_LOOKUP_ISTARTSWITH] = {FOLDED_LIKE, ORM_BIND_LIKE_PREFIX},
            [ORM_LOOKUP_ENDSWITH] = {LIKE, ORM_BIND_LIKE_SUFFIX},
            [ORM_LOOKUP_IENDSWITH] = {FOLDED_LIKE, ORM_BIND_LIKE_SUFFIX},
            [ORM_LOOKUP_REGEX] = {TEXT("@") " REGEXP ?" BIN, ORM_BIND_PLAIN},
            [ORM_LOOKUP_IREGEX] = {TEXT("@") " REGEXP ?" NO_CASE, ORM_BIND_PLAIN},
            [ORM_LOOKUP_WEEK_DAY] = {"WEEKDAY(@) + 1 = ?", ORM_BIND_INT},
            [ORM_LOOKUP_SECOND] = {"EXTRACT(SECOND FROM @) = ?", ORM_BIND_INT},
            [ORM_LOOKUP_DATE] = {"CAST(@ AS DATE) = ?", ORM_BIND_DATE},
            [ORM_LOOKUP_TIME] = {"CAST(@ AS TIME(6)) = ?", ORM_BIND_TIME},
        },
    .max_params = 65535,
    .max_tables = 61,
    .text_nul = true,
    .naive_is_utc = true,
    .store = store,
    .on_duplicate = true,
    .default_row = " () VALUES ()",
    .derived_keys = true,
    .text_index = KEY_CHARS,
    .whole_indexes = true,
    .comments = true,
    .column_type = column_type,
};
