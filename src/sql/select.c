/* select.c - SELECT: rows, counts, existence; and the key subqueries that writes use.
 *
 * A statement is an ordered list of clauses, each written by one function.
 */
#include "compile.h"

/* ---- what is selected ---- */

static void layout_make(orm_compiler *c, orm_scope *scope, orm_layout *layout)
{
    uint32_t nodes = 0, columns = 0;
    for (uint32_t i = 0; i < scope->n_joins; i++) {
        if (!scope->joins[i].loaded) continue;
        scope->joins[i].node = nodes++;
        columns += scope->joins[i].model->n_fields;
    }
    orm_node *node = orm_arena_alloc(c->arena, nodes * sizeof *node);
    orm_column *column = orm_arena_alloc(c->arena, columns * sizeof *column);
    if (!node || !column) {
        orm_sql_fail(c, ORM_ENOMEM, "out of memory");
        return;
    }
    *layout = (orm_layout){.n_nodes = nodes, .nodes = node, .columns = column};
    for (uint32_t i = 0; i < scope->n_joins; i++) {
        const orm_join *join = &scope->joins[i];
        if (!join->loaded) continue;
        int32_t parent = join->parent < 0 ? -1 : (int32_t)scope->joins[join->parent].node;
        *node++ = (orm_node){join->model, parent, join->via, layout->n_columns,
                             join->model->n_fields};
        for (uint16_t f = 0; f < join->model->n_fields; f++) {
            const orm_field *field = &join->model->fields[f];
            *column++ = (orm_column){.model = join->model,
                                     .field = f,
                                     .type = field->type,
                                     .digits = field->digits,
                                     .places = field->places,
                                     .expect = field->expect,
                                     .utc = c->dialect->naive_is_utc};
        }
        layout->n_columns += join->model->n_fields;
    }
}

void orm_sql_number_layout(orm_compiler *c, orm_layout *layout)
{
    orm_column *column = orm_arena_alloc(c->arena, sizeof *column);
    if (!column) {
        orm_sql_fail(c, ORM_ENOMEM, "out of memory");
        return;
    }
    *column = (orm_column){.type = ORM_TYPE_INT64, .expect = ORM_V_INT};
    *layout = (orm_layout){.n_columns = 1, .columns = column};
}

static void columns_add(orm_compiler *c, const orm_scope *scope)
{
    const char *comma = "SELECT ";
    for (uint32_t i = 0; i < scope->n_joins && c->status == ORM_OK; i++) {
        const orm_join *join = &scope->joins[i];
        for (uint16_t f = 0; join->loaded && f < join->model->n_fields; f++) {
            orm_sql_add(c, comma);
            orm_scope_column(c, scope, i, &join->model->fields[f]);
            comma = ", ";
        }
    }
}

void orm_scope_keys(orm_compiler *c, const orm_scope *scope, bool parens)
{
    const orm_model *model = scope->query->model;
    parens = parens && model->n_keys > 1;
    if (parens) orm_sql_add(c, "(");
    for (size_t k = 0; k < model->n_keys; k++) {
        if (k) orm_sql_add(c, ", ");
        orm_scope_column(c, scope, 0, &model->fields[model->keys[k]]);
    }
    if (parens) orm_sql_add(c, ")");
}

/* ---- order and slice ---- */

static void order_by_key(orm_compiler *c, const orm_scope *scope, bool reverse)
{
    const orm_model *model = scope->query->model;
    for (size_t k = 0; k < model->n_keys; k++) {
        orm_sql_add(c, k ? ", " : " ORDER BY ");
        orm_scope_column(c, scope, 0, &model->fields[model->keys[k]]);
        if (reverse) orm_sql_add(c, " DESC");
    }
}

/* by_key: the key decides when the query has no order. */
static void order_add(orm_compiler *c, orm_scope *scope, bool by_key, bool reverse)
{
    const orm_query *order = orm_scope_order(scope);
    if (!order && by_key) order_by_key(c, scope, reverse);
    for (size_t i = 0; order && i < order->n; i++) {
        orm_operand operand = orm_scope_operand(c, scope, &order->as.paths[i]);
        orm_sql_add(c, i ? ", " : " ORDER BY ");
        orm_scope_column(c, scope, operand.join, operand.field);
        if ((order->as.paths[i].descending != 0) != reverse) orm_sql_add(c, " DESC");
    }
}

/* The query's slice as parameters, at most `cap` rows when that is not 0. */
static void slice_add(orm_compiler *c, const orm_query *query, uint32_t cap)
{
    if (query->limit >= 0) {
        orm_sql_add(c, " LIMIT ");
        orm_sql_slice_param(c, ORM_BIND_LIMIT, cap);
    } else if (cap) {
        orm_buf_addf(&c->sql, " LIMIT %u", cap);
    } else if (query->offset > 0 && c->dialect->limit_all) {
        orm_sql_add(c, c->dialect->limit_all);
    }
    if (query->offset > 0) {
        orm_sql_add(c, " OFFSET ");
        orm_sql_slice_param(c, ORM_BIND_OFFSET, 0);
    }
}

static void slice_add_numbers(orm_compiler *c, const orm_query *query)
{
    if (query->limit >= 0)
        orm_buf_addf(&c->sql, " LIMIT %lld", (long long)query->limit);
    else if (query->offset > 0 && c->dialect->limit_all)
        orm_sql_add(c, c->dialect->limit_all);
    if (query->offset > 0) orm_buf_addf(&c->sql, " OFFSET %lld", (long long)query->offset);
}

void orm_sql_select_keys(orm_compiler *c, const orm_query *query, bool numbers)
{
    orm_scope scope;
    bool derived = c->dialect->derived_keys && (query->has_slice || c->writes);
    orm_scope_init(c, &scope, query, query->has_slice ? ORM_SCOPE_ORDER : 0);
    if (c->status < 0) return;
    orm_sql_add(c, derived ? "SELECT * FROM (SELECT " : "SELECT ");
    orm_scope_keys(c, &scope, false);
    orm_scope_from(c, &scope);
    orm_sql_where(c, &scope);
    if (query->has_slice) {
        order_add(c, &scope, false, false);
        if (numbers)
            slice_add_numbers(c, query);
        else
            slice_add(c, query, 0);
    }
    if (derived) orm_buf_addf(&c->sql, ") AS k%u", scope.joins[0].alias);
}

/* ---- the statements ---- */

/* Few rows to look at: by a unique field, or the first ones of a table in the order of its key. */
static bool is_bounded(const orm_scope *scope, int kind)
{
    const orm_query *order = orm_scope_order(scope);
    bool few = kind == ORM_OP_GET || kind == ORM_OP_FIRST || kind == ORM_OP_LAST ||
               kind == ORM_OP_EXISTS;
    if (orm_scope_is_by_key(scope)) return true;
    if (!few || orm_scope_has_conditions(scope) || scope->query->offset > 0) return false;
    if (!order || kind == ORM_OP_EXISTS) return true;
    const orm_path *path = &order->as.paths[0];
    const orm_field *field = orm_path_field(path);
    return order->n == 1 && path->depth == 0 && (field->is_unique || field->def.index);
}

static void select_rows(orm_compiler *c, int kind, const orm_query *query, orm_plan *plan)
{
    orm_scope scope;
    uint32_t cap = kind == ORM_OP_GET ? 2 : kind == ORM_OP_ALL ? 0 : 1;
    bool by_key = kind == ORM_OP_FIRST || kind == ORM_OP_LAST;
    orm_scope_init(c, &scope, query, ORM_SCOPE_LOAD | ORM_SCOPE_ORDER);
    if (c->status < 0) return;
    layout_make(c, &scope, &plan->layout);
    columns_add(c, &scope);
    orm_scope_from(c, &scope);
    orm_sql_where(c, &scope);
    order_add(c, &scope, by_key, kind == ORM_OP_LAST);
    slice_add(c, query, cap);
    if (is_bounded(&scope, kind)) plan->flags |= ORM_PLAN_BOUNDED;
}

/* The last row of a slice: the slice stands in a subquery, its rows are ordered backwards. */
static void select_last_of_slice(orm_compiler *c, const orm_query *query, orm_plan *plan)
{
    orm_scope scope;
    orm_scope_init_root(c, &scope, query);
    if (c->status < 0) return;
    orm_scope_add_related(c, &scope);
    orm_scope_add_order(c, &scope);
    if (c->status < 0) return;
    layout_make(c, &scope, &plan->layout);
    columns_add(c, &scope);
    orm_scope_from(c, &scope);
    orm_sql_add(c, " WHERE ");
    orm_scope_keys(c, &scope, true);
    orm_sql_add(c, " IN (");
    orm_sql_select_keys(c, query, false);
    orm_sql_add(c, ")");
    order_add(c, &scope, true, true);
    orm_sql_add(c, " LIMIT 1");
}

static void select_count(orm_compiler *c, const orm_query *query, orm_plan *plan)
{
    orm_scope scope;
    orm_scope_init(c, &scope, query, 0);
    if (c->status < 0) return;
    orm_sql_number_layout(c, &plan->layout);
    orm_sql_add(c, query->has_slice ? "SELECT COUNT(*) FROM (SELECT 1" : "SELECT COUNT(*)");
    orm_scope_from(c, &scope);
    orm_sql_where(c, &scope);
    if (query->has_slice) {
        slice_add(c, query, 0);
        orm_sql_add(c, ") AS s");
    }
    if (is_bounded(&scope, ORM_OP_COUNT)) plan->flags |= ORM_PLAN_BOUNDED;
}

static void select_exists(orm_compiler *c, const orm_query *query, orm_plan *plan)
{
    orm_scope scope;
    orm_scope_init(c, &scope, query, 0);
    if (c->status < 0) return;
    orm_sql_number_layout(c, &plan->layout);
    orm_sql_add(c, "SELECT EXISTS (SELECT 1");
    orm_scope_from(c, &scope);
    orm_sql_where(c, &scope);
    slice_add(c, query, 1);
    orm_sql_add(c, ")");
    if (is_bounded(&scope, ORM_OP_EXISTS)) plan->flags |= ORM_PLAN_BOUNDED;
}

void orm_sql_select(orm_compiler *c, int kind, const orm_query *query, orm_plan *plan)
{
    plan->flags |= ORM_PLAN_ROWS;
    if (kind == ORM_OP_COUNT)
        select_count(c, query, plan);
    else if (kind == ORM_OP_EXISTS)
        select_exists(c, query, plan);
    else if (kind == ORM_OP_LAST && query->has_slice)
        select_last_of_slice(c, query, plan);
    else
        select_rows(c, kind, query, plan);
}
