/* postgresql.c - PostgreSQL's differences.
 *
 * Values are bound as they are: the driver speaks the server's binary types.  Tables look as
 * SQLAlchemy makes them for encode/orm there: SERIAL keys, native UUID, INET and enum types.
 *
 * Case is folded by Unicode, whatever the database's own locale is (under "C" the server's LOWER
 * knows ASCII only): upper(lower(…)) in the collation "und-x-icu" is the same for two texts when
 * their case foldings are, and beyond that it takes the dotless i for an i.  Regular
 * expressions use that collation too, so that \w and (?i) know more than ASCII.
 */
#include "dialect.h"

#define UNICODE " COLLATE \"und-x-icu\""
#define FOLDED(x) "upper(lower(" x UNICODE "))"

/* What stands for a column where it is not of the type that the SQL of a lookup needs. */
static const char *operand(int lookup, int type)
{
    bool equality = lookup == ORM_LOOKUP_EXACT || lookup == ORM_LOOKUP_IN;
    bool text = (lookup >= ORM_LOOKUP_IEXACT && lookup <= ORM_LOOKUP_IENDSWITH) ||
                lookup == ORM_LOOKUP_REGEX || lookup == ORM_LOOKUP_IREGEX;
    if (type == ORM_TYPE_IP && text) return "host(@)"; /* as text it would end in /32 */
    /* a text that is none of its labels is no error to compare with: it matches nothing */
    if (type == ORM_TYPE_ENUM && (text || equality)) return "CAST(@ AS TEXT)";
    if ((type == ORM_TYPE_JSON || type == ORM_TYPE_ARRAY) && equality) return "CAST(@ AS JSONB)";
    return "@";
}

/* ---- column types ---- */

static void ident_add(orm_buf *out, const char *name, size_t len)
{
    orm_buf_addc(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '"') orm_buf_addc(out, '"');
        orm_buf_addc(out, name[i]);
    }
    orm_buf_addc(out, '"');
}

/* Its own name, else one after table and column. */
static void enum_type(orm_buf *out, const orm_field *field)
{
    const char *own = field->def.enum_name;
    orm_buf name;
    orm_buf_init(&name, 0);
    if (own)
        orm_buf_adds(&name, own);
    else
        orm_ddl_field_name(&name, field);
    if (name.failed)
        out->failed = true;
    else
        ident_add(out, name.ptr, name.len);
    orm_buf_dispose(&name);
}

static bool column_type(orm_buf *out, const orm_field *field)
{
    static const char *const own[] = {
        [ORM_TYPE_BLOB] = "BYTEA",
        [ORM_TYPE_TIME] = "TIME WITHOUT TIME ZONE",
        [ORM_TYPE_DATETIME] = "TIMESTAMP WITHOUT TIME ZONE",
        [ORM_TYPE_DATETIMETZ] = "TIMESTAMP WITH TIME ZONE",
        [ORM_TYPE_INTERVAL] = "INTERVAL",
        [ORM_TYPE_UUID] = "UUID",
        [ORM_TYPE_IP] = "INET",
    };
    static const char *const serial[] = {
        [ORM_TYPE_INT16] = "SMALLSERIAL",
        [ORM_TYPE_INT32] = "SERIAL",
        [ORM_TYPE_INT64] = "BIGSERIAL",
    };
    const char *type = field->type < ORM_COUNT(own) ? own[field->type] : NULL;
    if (orm_model_auto_field(field->model) == field->index) type = serial[field->type];
    if (field->type == ORM_TYPE_ENUM && field->def.choices) {
        enum_type(out, field);
        return true;
    }
    if (type) orm_buf_adds(out, type);
    return type != NULL;
}

/* ---- many rows at once ---- */

/* Types that the server converts to those of other columns as it would single values.  A uuid, an
 * address, a label or a document is written otherwise into a column that holds text. */
static const char *array_type(int type)
{
    static const char *const types[] = {
        [ORM_TYPE_BOOL] = "BOOLEAN[]",
        [ORM_TYPE_INT16] = "SMALLINT[]",
        [ORM_TYPE_INT32] = "INTEGER[]",
        [ORM_TYPE_INT64] = "BIGINT[]",
        [ORM_TYPE_FLOAT] = "DOUBLE PRECISION[]",
        [ORM_TYPE_DECIMAL] = "NUMERIC[]",
        [ORM_TYPE_TEXT] = "VARCHAR[]",
        [ORM_TYPE_BLOB] = "BYTEA[]",
        [ORM_TYPE_DATE] = "DATE[]",
        [ORM_TYPE_TIME] = "TIME[]",
        [ORM_TYPE_DATETIME] = "TIMESTAMP[]",
        [ORM_TYPE_DATETIMETZ] = "TIMESTAMPTZ[]",
    };
    return (size_t)type < ORM_COUNT(types) ? types[type] : NULL;
}

/* ---- what knows no IF NOT EXISTS ---- */

/* SQL statements as the body of DO, an ordinary string: quotes doubled. */
static void do_add(orm_buf *out, const orm_buf *body, const char *unless)
{
    orm_buf_adds(out, "DO 'BEGIN ");
    for (size_t i = 0; i < body->len; i++) {
        if (body->ptr[i] == '\'') orm_buf_addc(out, '\'');
        orm_buf_addc(out, body->ptr[i]);
    }
    orm_buf_addf(out, "; EXCEPTION WHEN %s THEN NULL; END'", unless);
    if (body->failed) out->failed = true;
}

/* The table as a text that ::regclass reads. */
static void regclass_add(orm_buf *out, const orm_model *model)
{
    orm_buf name;
    orm_buf_init(&name, 0);
    ident_add(&name, model->table, model->table_len);
    if (name.failed)
        out->failed = true;
    else
        orm_ddl_literal(out, name.ptr, false);
    orm_buf_adds(out, "::regclass");
    orm_buf_dispose(&name);
}

static void comment_find(orm_buf *out, const orm_model *model, const orm_field *field)
{
    if (!field) {
        orm_buf_adds(out, "obj_description(");
        regclass_add(out, model);
        orm_buf_adds(out, ", 'pg_class')");
        return;
    }
    orm_buf_adds(out,
                 "(SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = ");
    regclass_add(out, model);
    orm_buf_adds(out, " AND attname = ");
    orm_ddl_literal(out, field->def.column, false);
    orm_buf_adds(out, ")");
}

/* A table that was there may lack the column, belong to somebody else, or have another comment. */
static bool comment(orm_buf *out, const orm_model *model, const orm_field *field)
{
    const char *text = field ? field->def.comment : model->comment;
    orm_buf body;
    if (!text) return false;
    orm_buf_init(&body, 0);
    orm_buf_adds(&body, "IF ");
    comment_find(&body, model, field);
    orm_buf_adds(&body,
                 field ? " IS NULL THEN COMMENT ON COLUMN " : " IS NULL THEN COMMENT ON TABLE ");
    ident_add(&body, model->table, model->table_len);
    if (field) {
        orm_buf_addc(&body, '.');
        ident_add(&body, field->def.column, field->column_len);
    }
    orm_buf_adds(&body, " IS ");
    orm_ddl_literal(&body, text, false);
    orm_buf_adds(&body, "; END IF");
    do_add(out, &body, "undefined_column OR insufficient_privilege");
    orm_buf_dispose(&body);
    return true;
}

/* DROP TYPE knows no "unless another table uses it" either. */
static bool field_type(orm_buf *out, const orm_field *field, bool drop)
{
    orm_buf body;
    if (field->type != ORM_TYPE_ENUM || !field->def.choices) return false;
    orm_buf_init(&body, 0);
    orm_buf_adds(&body, drop ? "DROP TYPE IF EXISTS " : "CREATE TYPE ");
    enum_type(&body, field);
    if (!drop) {
        orm_buf_adds(&body, " AS ENUM (");
        for (const char *const *c = field->def.choices; *c; c++) {
            if (c != field->def.choices) orm_buf_adds(&body, ", ");
            orm_ddl_literal(&body, *c, false);
        }
        orm_buf_adds(&body, ")");
    }
    do_add(out, &body, drop ? "dependent_objects_still_exist" : "duplicate_object");
    orm_buf_dispose(&body);
    return true;
}

/* ---- the table ---- */

#define LIKE FOLDED("@") " LIKE " FOLDED("?") " ESCAPE '!'"

const orm_dialect orm_dialect_postgresql = {
    .name = "postgresql",
    .numbered = true,
    .returning = true,
    .arrays = true,
    .list_in = "@ = ANY(?)",
    .list_not_in = "@ <> ALL(?)",
    .operand = operand,
    .lookups =
        {
            [ORM_LOOKUP_IEXACT] = {FOLDED("@") " = " FOLDED("?"), ORM_BIND_PLAIN},
            [ORM_LOOKUP_CONTAINS] = {"@ LIKE ? ESCAPE '!'", ORM_BIND_LIKE_CONTAINS},
            [ORM_LOOKUP_ICONTAINS] = {LIKE, ORM_BIND_LIKE_CONTAINS},
            [ORM_LOOKUP_ISTARTSWITH] = {LIKE, ORM_BIND_LIKE_PREFIX},
            [ORM_LOOKUP_IENDSWITH] = {LIKE, ORM_BIND_LIKE_SUFFIX},
            [ORM_LOOKUP_REGEX] = {"@" UNICODE " ~ ?", ORM_BIND_PLAIN},
            [ORM_LOOKUP_IREGEX] = {"@" UNICODE " ~* ?", ORM_BIND_PLAIN},
        },
    .max_params = 65535,
    .array_type = array_type,
    .column_type = column_type,
    .comment = comment,
    .field_type = field_type,
};
