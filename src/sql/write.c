/* write.c - INSERT, UPDATE, DELETE.
 *
 * Updates and deletes touch exactly the rows that the query selects: conditions on the table
 * itself stand in the statement, anything that needs a join or a slice goes through the keys.
 */
#include "compile.h"

static orm_param store_param(const orm_field *field, uint32_t value)
{
    return (orm_param){
        .value = (uint16_t)value, .how = ORM_BIND_STORE, .type = field->type, .field = field};
}

static void value_add(orm_compiler *c, const orm_field *field)
{
    bool wrapped = c->dialect->stored && c->dialect->stored(&c->sql, field);
    orm_sql_param(c, store_param(field, c->next_value++));
    if (wrapped) orm_sql_add(c, ")");
}

static void fields_add(orm_compiler *c, const orm_model *model, const uint16_t *fields, size_t n)
{
    orm_sql_add(c, " (");
    for (size_t i = 0; i < n; i++) {
        if (i) orm_sql_add(c, ", ");
        orm_sql_field(c, &model->fields[fields[i]]);
    }
    orm_sql_add(c, ")");
}

static void rows_add(orm_compiler *c, const orm_write *write)
{
    for (size_t row = 0; row < write->rows && c->status == ORM_OK; row++) {
        orm_sql_add(c, row ? ", (" : " VALUES (");
        for (size_t i = 0; i < write->n; i++) {
            if (i) orm_sql_add(c, ", ");
            value_add(c, &write->model->fields[write->fields[i]]);
        }
        orm_sql_add(c, ")");
    }
}

/* All arrays have one length: their members come side by side, in order. */
static void arrays_add(orm_compiler *c, const orm_write *write)
{
    for (size_t i = 0; i < write->n; i++) {
        const orm_field *field = &write->model->fields[write->fields[i]];
        orm_sql_add(c, i ? ", unnest(CAST(" : " SELECT unnest(CAST(");
        orm_sql_param(c, store_param(field, c->next_value++));
        orm_sql_add(c, " AS ");
        orm_sql_add(c, c->dialect->array_type(field->type));
        orm_sql_add(c, "))");
    }
}

static void duplicate_field_add(orm_compiler *c, const orm_field *field, const char *format)
{
    for (; *format; format++) {
        if (*format == '@')
            orm_sql_field(c, field);
        else
            orm_buf_addc(&c->sql, *format);
    }
}

/* ON DUPLICATE KEY knows no fields: it comes for any unique key.  The row is left as it is, a field
 * being set to itself; when the fields that were named differ, it is another key that was met, and
 * a subquery of two rows makes that an error. */
static void duplicate_add(orm_compiler *c, const orm_write *write)
{
    const orm_model *model = write->model;
    uint16_t first = write->n_conflict ? write->conflict[0] : model->keys[0];
    orm_sql_add(c, " ON DUPLICATE KEY UPDATE ");
    duplicate_field_add(c, &model->fields[first], "@ = ");
    if (write->n_conflict == 0) {
        orm_sql_field(c, &model->fields[first]);
        return;
    }
    for (size_t i = 0; i < write->n_conflict; i++) {
        orm_sql_add(c, i ? " AND " : "IF(");
        duplicate_field_add(c, &model->fields[write->conflict[i]], "@ <=> VALUES(@)");
    }
    duplicate_field_add(c, &model->fields[first], ", @, (SELECT NULL UNION ALL SELECT NULL))");
}

static void conflict_add(orm_compiler *c, const orm_write *write)
{
    if (!write->conflict) return;
    if (c->dialect->on_duplicate) {
        duplicate_add(c, write);
        return;
    }
    orm_sql_add(c, " ON CONFLICT");
    if (write->n_conflict) fields_add(c, write->model, write->conflict, write->n_conflict);
    orm_sql_add(c, " DO NOTHING");
}

static bool has_field(const orm_write *write, int field)
{
    for (size_t i = 0; i < write->n; i++) {
        if (write->fields[i] == field) return true;
    }
    return false;
}

static void returning_add(orm_compiler *c, const orm_write *write, int key)
{
    orm_sql_add(c, " RETURNING ");
    orm_sql_field(c, &write->model->fields[key]);
}

/* The generated keys: rows of the result, or the one that the driver reports. */
static void keys_add(orm_compiler *c, const orm_write *write, int key, orm_plan *plan)
{
    if (write->returning_key) {
        orm_sql_number_layout(c, &plan->layout);
        plan->flags |= ORM_PLAN_ROWS;
        returning_add(c, write, key);
    } else if (!has_field(write, key) && !write->arrays) {
        plan->flags |= ORM_PLAN_GENERATED_KEY;
        if (c->dialect->returning && write->rows == 1) returning_add(c, write, key);
    }
}

void orm_sql_insert(orm_compiler *c, const orm_write *write, orm_plan *plan)
{
    uint32_t max = c->dialect->max_params ? c->dialect->max_params : UINT16_MAX;
    int key = orm_model_auto_field(write->model);
    plan->flags |= ORM_PLAN_WRITE;
    if (write->rows == 1 && !write->arrays) plan->flags |= ORM_PLAN_BOUNDED;
    if (write->rows == 0 || (write->n == 0 && (write->rows > 1 || write->conflict))) {
        orm_sql_fail(c, ORM_EMISUSE,
                     "an INSERT without columns has one row and no conflict clause, "
                     "any other at least one row");
        return;
    }
    if (write->n > max / write->rows) {
        orm_sql_fail(c, ORM_ETOOCOMPLEX, "a statement takes at most %u parameters on %s", max,
                     c->dialect->name);
        return;
    }
    if (write->arrays && !c->dialect->array_type) {
        orm_sql_fail(c, ORM_EMISUSE, "%s has no arrays of rows", c->dialect->name);
        return;
    }
    orm_sql_add(c, "INSERT INTO ");
    orm_sql_table(c, write->model);
    if (write->n == 0) {
        orm_sql_add(c, c->dialect->default_row ? c->dialect->default_row : " DEFAULT VALUES");
    } else {
        fields_add(c, write->model, write->fields, write->n);
        if (write->arrays)
            arrays_add(c, write);
        else
            rows_add(c, write);
    }
    conflict_add(c, write);
    if (key >= 0) keys_add(c, write, key, plan);
}

/* The WHERE of an update or delete. */
static void rows_where(orm_compiler *c, const orm_query *query, orm_plan *plan)
{
    orm_scope scope;
    uint32_t alias = c->next_alias;
    orm_scope_init(c, &scope, query, 0);
    if (c->status < 0) return;
    scope.bare = true;
    c->writes = true;
    if (!query->has_slice && !orm_scope_is_joined(&scope)) {
        orm_sql_where(c, &scope);
        if (orm_scope_is_by_key(&scope)) plan->flags |= ORM_PLAN_BOUNDED;
        return;
    }
    c->next_alias = alias; /* the scope only served to look: its aliases are free again */
    orm_sql_add(c, " WHERE ");
    orm_scope_keys(c, &scope, true);
    orm_sql_add(c, " IN (");
    orm_sql_select_keys(c, query, false);
    orm_sql_add(c, ")");
}

void orm_sql_update(orm_compiler *c, const orm_query *query, const orm_write *write, orm_plan *plan)
{
    plan->flags |= ORM_PLAN_WRITE;
    if (write->n == 0) {
        orm_sql_fail(c, ORM_EMISUSE, "an update of %s sets no field", query->model->name);
        return;
    }
    orm_sql_add(c, "UPDATE ");
    orm_sql_table(c, query->model);
    for (size_t i = 0; i < write->n; i++) {
        const orm_field *field = &query->model->fields[write->fields[i]];
        orm_sql_add(c, i ? ", " : " SET ");
        orm_sql_field(c, field);
        orm_sql_add(c, " = ");
        value_add(c, field);
    }
    rows_where(c, query, plan);
}

void orm_sql_delete(orm_compiler *c, const orm_query *query, orm_plan *plan)
{
    plan->flags |= ORM_PLAN_WRITE;
    orm_sql_add(c, "DELETE FROM ");
    orm_sql_table(c, query->model);
    rows_where(c, query, plan);
}
