/* ddl.c - CREATE TABLE, CREATE INDEX, DROP TABLE.
 *
 * Tables look as SQLAlchemy would have made them for encode/orm, so that a database made by it
 * and one made here are the same: key and foreign keys as table constraints, unique columns as
 * UNIQUE (…) unless they are indexed, indexes named ix_<table>_<column>.
 */
#include "compile.h"

enum {
    NAME_BYTES = 63
};

/* ---- column types ---- */

static void type_text(orm_buf *out, const orm_field *field)
{
    if (field->max_length)
        orm_buf_addf(out, "VARCHAR(%u)", field->max_length);
    else
        orm_buf_adds(out, "TEXT");
}

static void type_decimal(orm_buf *out, const orm_field *field)
{
    if (field->digits)
        orm_buf_addf(out, "NUMERIC(%u, %u)", field->digits, field->places);
    else
        orm_buf_adds(out, "NUMERIC");
}

/* Wide enough for the longest name. */
static void type_enum(orm_buf *out, const orm_field *field)
{
    size_t longest = field->max_length;
    for (const char *const *c = field->def.choices; c && *c; c++) {
        size_t len = orm_utf8_length(*c, strlen(*c));
        if (len > longest) longest = len;
    }
    if (longest)
        orm_buf_addf(out, "VARCHAR(%zu)", longest);
    else
        orm_buf_adds(out, "TEXT");
}

void orm_ddl_type(orm_buf *out, const orm_field *field)
{
    static const char *const plain[] = {
        [ORM_TYPE_BOOL] = "BOOLEAN",      [ORM_TYPE_INT16] = "SMALLINT",
        [ORM_TYPE_INT32] = "INTEGER",     [ORM_TYPE_INT64] = "BIGINT",
        [ORM_TYPE_FLOAT] = "FLOAT",       [ORM_TYPE_BLOB] = "BLOB",
        [ORM_TYPE_DATE] = "DATE",         [ORM_TYPE_TIME] = "TIME",
        [ORM_TYPE_DATETIME] = "DATETIME", [ORM_TYPE_DATETIMETZ] = "DATETIME",
        [ORM_TYPE_INTERVAL] = "BIGINT",   [ORM_TYPE_UUID] = "CHAR(32)",
        [ORM_TYPE_JSON] = "JSON",         [ORM_TYPE_IP] = "CHAR(45)",
        [ORM_TYPE_ARRAY] = "JSON",
    };
    if (field->type == ORM_TYPE_TEXT)
        type_text(out, field);
    else if (field->type == ORM_TYPE_DECIMAL)
        type_decimal(out, field);
    else if (field->type == ORM_TYPE_ENUM)
        type_enum(out, field);
    else
        orm_buf_adds(out, plain[field->type]);
}

void orm_ddl_literal(orm_buf *out, const char *text, bool backslash)
{
    orm_buf_addc(out, '\'');
    for (; *text; text++) {
        if (*text == '\'' || (backslash && *text == '\\')) orm_buf_addc(out, *text);
        orm_buf_addc(out, *text);
    }
    orm_buf_addc(out, '\'');
}

/* ---- names ---- */

/* Names that a backend would cut end in a hash of the whole. */
static void name_cut(orm_buf *name)
{
    char tail[10] = "_";
    if (name->failed || name->len <= NAME_BYTES) return;
    uint64_t hash = orm_hash_bytes(name->ptr, name->len, 0);
    for (int i = 1; i < 9; i++) tail[i] = "0123456789abcdef"[hash >> (4 * (i - 1)) & 15];
    name->len = orm_utf8_cut(name->ptr, name->len, NAME_BYTES - 9);
    orm_buf_adds(name, tail);
}

void orm_ddl_field_name(orm_buf *out, const orm_field *field)
{
    orm_buf_addf(out, "%s_%s", field->model->table, field->def.column);
    name_cut(out);
}

/* `prefix_table_column_column`. */
static void made_name(orm_compiler *c, const char *prefix, const orm_model *model,
                      const orm_field *const *fields, size_t n)
{
    orm_buf name;
    orm_buf_init(&name, 65536);
    orm_buf_addf(&name, "%s_%s", prefix, model->table);
    for (size_t i = 0; i < n; i++) orm_buf_addf(&name, "_%s", fields[i]->def.column);
    name_cut(&name);
    if (name.failed)
        orm_sql_fail(c, ORM_ENOMEM, "out of memory");
    else
        orm_sql_ident(c, name.ptr, name.len);
    orm_buf_dispose(&name);
}

static void columns_add(orm_compiler *c, const orm_model *model, const orm_constraint_def *def)
{
    orm_sql_add(c, "(");
    for (size_t i = 0; i < def->n_fields; i++) {
        int f = orm_model_find_field(model, def->fields[i], strlen(def->fields[i]));
        if (i) orm_sql_add(c, ", ");
        orm_sql_field(c, &model->fields[f]);
    }
    orm_sql_add(c, ")");
}

/* ---- CREATE TABLE ---- */

static void comment_add(orm_compiler *c, const char *comment)
{
    if (!comment || !c->dialect->comments) return;
    orm_sql_add(c, " COMMENT ");
    orm_ddl_literal(&c->sql, comment, true);
}

/* The SQL type that the definition gives; a reference's is its target's key's. */
static const char *type_given(const orm_field *field)
{
    while (field->target) field = &field->target->fields[field->target->keys[0]];
    return field->def.sql_type;
}

static void column_add(orm_compiler *c, const orm_field *field)
{
    orm_sql_field(c, field);
    orm_sql_add(c, " ");
    const char *given = type_given(field);
    if (given)
        orm_sql_add(c, given);
    else if (!c->dialect->column_type || !c->dialect->column_type(&c->sql, field))
        orm_ddl_type(&c->sql, field);
    if (!field->def.nullable) orm_sql_add(c, " NOT NULL");
    comment_add(c, field->def.comment);
}

static void key_add(orm_compiler *c, const orm_model *model)
{
    orm_sql_add(c, ", PRIMARY KEY (");
    for (size_t k = 0; k < model->n_keys; k++) {
        if (k) orm_sql_add(c, ", ");
        orm_sql_field(c, &model->fields[model->keys[k]]);
    }
    orm_sql_add(c, ")");
}

static void action_add(orm_compiler *c, const char *event, int action)
{
    static const char *const names[] = {[ORM_CASCADE] = "CASCADE",
                                        [ORM_RESTRICT] = "RESTRICT",
                                        [ORM_SET_NULL] = "SET NULL",
                                        [ORM_SET_DEFAULT] = "SET DEFAULT"};
    if (action == ORM_NO_ACTION) return;
    orm_buf_addf(&c->sql, " %s %s", event, names[action]);
}

static void reference_add(orm_compiler *c, const orm_field *field)
{
    orm_sql_add(c, ", FOREIGN KEY (");
    orm_sql_field(c, field);
    orm_sql_add(c, ") REFERENCES ");
    orm_sql_table(c, field->target);
    orm_sql_add(c, " (");
    orm_sql_field(c, &field->target->fields[field->target->keys[0]]);
    orm_sql_add(c, ")");
    action_add(c, "ON DELETE", field->def.on_delete);
    action_add(c, "ON UPDATE", field->def.on_update);
}

static void constraint_add(orm_compiler *c, const orm_model *model, const orm_constraint_def *def)
{
    bool check = def->kind == ORM_CONSTRAINT_CHECK;
    if (!check && def->kind != ORM_CONSTRAINT_UNIQUE) return;
    orm_sql_add(c, ", ");
    if (def->name) {
        orm_sql_add(c, "CONSTRAINT ");
        orm_sql_ident(c, def->name, strlen(def->name));
        orm_sql_add(c, " ");
    }
    if (check) {
        orm_sql_add(c, "CHECK (");
        orm_sql_add(c, def->sql);
        orm_sql_add(c, ")");
    } else {
        orm_sql_add(c, "UNIQUE ");
        columns_add(c, model, def);
    }
}

static void create_table(orm_compiler *c, const orm_model *model)
{
    orm_sql_add(c, "CREATE TABLE IF NOT EXISTS ");
    orm_sql_table(c, model);
    orm_sql_add(c, " (");
    for (size_t i = 0; i < model->n_fields; i++) {
        if (i) orm_sql_add(c, ", ");
        column_add(c, &model->fields[i]);
    }
    key_add(c, model);
    for (size_t i = 0; i < model->n_fields; i++) {
        if (model->fields[i].target) reference_add(c, &model->fields[i]);
    }
    for (size_t i = 0; i < model->n_fields; i++) {
        const orm_field *field = &model->fields[i];
        if (!field->def.unique || field->def.index) continue;
        orm_sql_add(c, ", UNIQUE (");
        orm_sql_field(c, field);
        orm_sql_add(c, ")");
    }
    for (size_t i = 0; i < model->n_constraints; i++) {
        constraint_add(c, model, &model->constraints[i]);
    }
    orm_sql_add(c, ")");
    comment_add(c, model->comment);
}

/* ---- CREATE INDEX ---- */

/* Texts without a length that an index can take whole: it takes their beginnings. */
static void index_field_add(orm_compiler *c, const orm_field *field, bool unique)
{
    uint32_t most = c->dialect->text_index;
    bool bounded = field->type == ORM_TYPE_TEXT && field->max_length && field->max_length <= most;
    bool bytes = field->type == ORM_TYPE_TEXT || field->type == ORM_TYPE_BLOB ||
                 field->type == ORM_TYPE_JSON || field->type == ORM_TYPE_ARRAY;
    orm_sql_field(c, field);
    if (most && bytes && !bounded && !unique) orm_buf_addf(&c->sql, "(%u)", most);
}

static void index_begin(orm_compiler *c, bool unique)
{
    orm_sql_add(c, unique ? "CREATE UNIQUE INDEX IF NOT EXISTS " : "CREATE INDEX IF NOT EXISTS ");
}

static void create_field_index(orm_compiler *c, const orm_model *model, const orm_field *field)
{
    index_begin(c, field->def.unique);
    made_name(c, "ix", model, &field, 1);
    orm_sql_add(c, " ON ");
    orm_sql_table(c, model);
    orm_sql_add(c, " (");
    index_field_add(c, field, field->def.unique);
    orm_sql_add(c, ")");
}

static void create_index(orm_compiler *c, const orm_model *model, const orm_constraint_def *def)
{
    bool unique = def->kind == ORM_CONSTRAINT_UNIQUE_INDEX;
    if (unique && def->sql && c->dialect->whole_indexes) {
        orm_sql_fail(c, ORM_ENOTSUPPORTED, "%s: %s has no unique indexes with a condition",
                     model->name, c->dialect->name);
        return;
    }
    index_begin(c, unique);
    if (def->name) {
        orm_sql_ident(c, def->name, strlen(def->name));
    } else {
        const orm_field **fields = orm_arena_alloc(c->arena, def->n_fields * sizeof *fields);
        if (!fields) {
            orm_sql_fail(c, ORM_ENOMEM, "out of memory");
            return;
        }
        for (size_t i = 0; i < def->n_fields; i++) {
            int f = orm_model_find_field(model, def->fields[i], strlen(def->fields[i]));
            fields[i] = &model->fields[f];
        }
        made_name(c, "ix", model, fields, def->n_fields);
    }
    orm_sql_add(c, " ON ");
    orm_sql_table(c, model);
    orm_sql_add(c, " (");
    for (size_t i = 0; i < def->n_fields; i++) {
        int f = orm_model_find_field(model, def->fields[i], strlen(def->fields[i]));
        if (i) orm_sql_add(c, ", ");
        index_field_add(c, &model->fields[f], unique);
    }
    orm_sql_add(c, ")");
    if (def->sql && !c->dialect->whole_indexes) orm_buf_addf(&c->sql, " WHERE %s", def->sql);
}

/* ---- the list of statements ---- */

typedef struct statement_list {
    orm_compiler *c;
    const char **items;
    size_t n, cap;
} statement_list;

/* What the buffer holds becomes the next statement. */
static void statement_finish(statement_list *list)
{
    orm_compiler *c = list->c;
    if (c->status < 0) return;
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        const char **items = orm_arena_alloc(c->arena, cap * sizeof *items);
        if (items && list->n) memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->cap = items ? cap : 0;
    }
    char *text = c->sql.failed ? NULL : orm_arena_copy(c->arena, c->sql.ptr, c->sql.len);
    if (!list->items || !text) {
        orm_sql_fail(c, ORM_ENOMEM, "out of memory");
        return;
    }
    list->items[list->n++] = text;
    orm_buf_reset(&c->sql);
}

/* The types of their own that columns have on some backends. */
static void types_add(statement_list *list, const orm_model *model, bool drop)
{
    const orm_dialect *dialect = list->c->dialect;
    if (!dialect->field_type) return;
    for (size_t i = 0; i < model->n_fields; i++) {
        if (dialect->field_type(&list->c->sql, &model->fields[i], drop)) statement_finish(list);
    }
}

static void comments_add(statement_list *list, const orm_model *model)
{
    const orm_dialect *dialect = list->c->dialect;
    if (!dialect->comment) return;
    if (dialect->comment(&list->c->sql, model, NULL)) statement_finish(list);
    for (size_t i = 0; i < model->n_fields; i++) {
        if (dialect->comment(&list->c->sql, model, &model->fields[i])) statement_finish(list);
    }
}

static void model_create(statement_list *list, const orm_model *model)
{
    types_add(list, model, false);
    create_table(list->c, model);
    statement_finish(list);
    comments_add(list, model);
    for (size_t i = 0; i < model->n_fields; i++) {
        if (!model->fields[i].def.index) continue;
        create_field_index(list->c, model, &model->fields[i]);
        statement_finish(list);
    }
    for (size_t i = 0; i < model->n_constraints; i++) {
        uint32_t kind = model->constraints[i].kind;
        if (kind != ORM_CONSTRAINT_INDEX && kind != ORM_CONSTRAINT_UNIQUE_INDEX) continue;
        create_index(list->c, model, &model->constraints[i]);
        statement_finish(list);
    }
}

static void model_drop(statement_list *list, const orm_model *model)
{
    orm_sql_add(list->c, "DROP TABLE IF EXISTS ");
    orm_sql_table(list->c, model);
    statement_finish(list);
    types_add(list, model, true);
}

/* ---- order ---- */

static bool is_waiting(const orm_model *const *models, size_t n, const bool *done,
                       const orm_model *target)
{
    for (size_t i = 0; i < n; i++) {
        if (models[i] == target) return !done[i];
    }
    return false;
}

static bool is_ready(const orm_model *const *models, size_t n, const bool *done, size_t i)
{
    for (size_t f = 0; f < models[i]->n_fields; f++) {
        const orm_model *target = models[i]->fields[f].target;
        if (target && target != models[i] && is_waiting(models, n, done, target)) return false;
    }
    return true;
}

/* Referred tables first, otherwise in the given order; within a circle the first one goes
 * first. */
static void order_find(const orm_model *const *models, size_t n, bool *done,
                       const orm_model **ordered)
{
    for (size_t k = 0; k < n; k++) {
        size_t next = n;
        for (size_t i = 0; i < n; i++) {
            if (done[i]) continue;
            if (next == n) next = i;
            if (!is_ready(models, n, done, i)) continue;
            next = i;
            break;
        }
        done[next] = true;
        ordered[k] = models[next];
    }
}

orm_status orm_ddl(const orm_dialect *dialect, const orm_model *const *models, size_t n, bool drop,
                   orm_arena *arena, const char *const **statements, size_t *count, orm_error *err)
{
    orm_error own;
    orm_compiler c = {.dialect = dialect, .arena = arena, .err = err ? err : &own};
    statement_list list = {.c = &c};
    const orm_model **ordered = orm_arena_alloc(arena, n * sizeof *ordered + 1);
    bool *done = orm_arena_alloc(arena, n + 1);
    if (!ordered || !done) return orm_fail_nomem(err);
    for (size_t i = 0; i < n; i++) ORM_TRY(orm_model_seal(models[i], err));
    memset(done, 0, n + 1);
    order_find(models, n, done, ordered);
    orm_buf_init(&c.sql, ORM_SQL_MAX);
    for (size_t i = 0; i < n && c.status == ORM_OK; i++) {
        if (drop)
            model_drop(&list, ordered[n - 1 - i]);
        else
            model_create(&list, ordered[i]);
    }
    orm_buf_dispose(&c.sql);
    *statements = list.items;
    *count = list.n;
    return c.status;
}
