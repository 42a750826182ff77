/* joins.c - the join tree of one FROM.
 *
 * A join is found by its parent and the parent's field, so that paths with a common beginning
 * share it, and two keys to one model, or a model that refers to itself, get an alias each.
 * INNER where every row must have the relation; LEFT where its key may be NULL or something
 * before it on the way is LEFT already.
 */
#include "compile.h"

static bool joins_grow(orm_compiler *c, orm_scope *scope)
{
    uint32_t cap = scope->cap_joins ? scope->cap_joins * 2 : 8;
    orm_join *joins = orm_arena_alloc(c->arena, cap * sizeof *joins);
    if (!joins) {
        orm_sql_fail(c, ORM_ENOMEM, "out of memory");
        return false;
    }
    if (scope->n_joins) memcpy(joins, scope->joins, scope->n_joins * sizeof *joins);
    scope->joins = joins;
    scope->cap_joins = cap;
    return true;
}

static uint32_t join_add(orm_compiler *c, orm_scope *scope, orm_join join)
{
    uint32_t max = c->dialect->max_tables;
    if (c->status < 0) return 0;
    if (max && scope->n_joins >= max) {
        orm_sql_fail(c, ORM_ETOOCOMPLEX, "a query joins at most %u tables on %s", max,
                     c->dialect->name);
        return 0;
    }
    if (scope->n_joins == scope->cap_joins && !joins_grow(c, scope)) return 0;
    join.alias = c->next_alias++;
    scope->joins[scope->n_joins] = join;
    return scope->n_joins++;
}

uint32_t orm_scope_join(orm_compiler *c, orm_scope *scope, uint32_t parent, uint16_t via)
{
    for (uint32_t i = 1; i < scope->n_joins; i++) {
        const orm_join *join = &scope->joins[i];
        if (join->parent == (int32_t)parent && join->via == via) return i;
    }
    if (c->status < 0) return 0;
    const orm_field *field = &scope->joins[parent].model->fields[via];
    orm_join join = {.model = field->target,
                     .parent = (int32_t)parent,
                     .via = via,
                     .left = field->def.nullable || scope->joins[parent].left};
    return join_add(c, scope, join);
}

/* Joins along the first `depth` relations of a path. */
static uint32_t path_join(orm_compiler *c, orm_scope *scope, const orm_path *path, size_t depth,
                          bool load)
{
    uint32_t join = 0;
    for (size_t i = 0; i < depth; i++) {
        join = orm_scope_join(c, scope, join, path->steps[i]);
        if (load && c->status == ORM_OK) scope->joins[join].loaded = true;
    }
    return join;
}

orm_operand orm_scope_operand(orm_compiler *c, orm_scope *scope, const orm_path *path)
{
    const orm_field *field = orm_path_field(path);
    size_t depth = path->depth;
    while (depth > 0 && field->is_key && field->model->n_keys == 1) {
        depth--;
        field = &orm_path_step_model(path, depth)->fields[path->steps[depth]];
    }
    uint32_t join = path_join(c, scope, path, depth, false);
    bool left = c->status == ORM_OK && scope->joins[join].left;
    return (orm_operand){join, field, left || field->def.nullable};
}

const orm_query *orm_scope_order(const orm_scope *scope)
{
    if (!scope->query->has_order) return NULL;
    const orm_query *node = scope->query;
    while (node->step != ORM_STEP_ORDER) node = node->parent;
    return node;
}

void orm_scope_add_order(orm_compiler *c, orm_scope *scope)
{
    const orm_query *order = orm_scope_order(scope);
    for (size_t i = 0; order && i < order->n; i++) orm_scope_operand(c, scope, &order->as.paths[i]);
}

static void conds_join(orm_compiler *c, orm_scope *scope, const orm_query *node, bool load)
{
    for (size_t i = 0; i < node->n; i++) {
        const orm_path *path = &node->as.conds[i].path;
        if (load)
            path_join(c, scope, path, path->depth, true);
        else
            orm_scope_operand(c, scope, path);
    }
}

static void related_join(orm_compiler *c, orm_scope *scope, const orm_query *node)
{
    for (size_t i = 0; i < node->n; i++) {
        const orm_path *path = &node->as.paths[i];
        uint32_t parent = path_join(c, scope, path, path->depth, true);
        uint32_t join = orm_scope_join(c, scope, parent, path->field);
        if (c->status == ORM_OK) scope->joins[join].loaded = true;
    }
}

void orm_scope_add_related(orm_compiler *c, orm_scope *scope)
{
    bool load = (scope->query->flags & ORM_QUERY_LOAD_FILTERED) != 0;
    for (size_t i = 0; i < scope->query->depth; i++) {
        const orm_query *node = scope->nodes[i];
        bool conds = node->step == ORM_STEP_FILTER || node->step == ORM_STEP_EXCLUDE;
        if (node->step == ORM_STEP_RELATED) related_join(c, scope, node);
        if (load && conds) conds_join(c, scope, node, true);
    }
}

void orm_scope_init_root(orm_compiler *c, orm_scope *scope, const orm_query *query)
{
    memset(scope, 0, sizeof *scope);
    scope->query = query;
    scope->nodes = orm_arena_alloc(c->arena, query->depth * sizeof *scope->nodes);
    if (!scope->nodes) {
        orm_sql_fail(c, ORM_ENOMEM, "out of memory");
        return;
    }
    orm_query_nodes(query, scope->nodes);
    join_add(c, scope, (orm_join){.model = query->model, .parent = -1, .loaded = true});
}

void orm_scope_init(orm_compiler *c, orm_scope *scope, const orm_query *query, unsigned wanted)
{
    orm_scope_init_root(c, scope, query);
    if (c->status < 0) return;
    if (wanted & ORM_SCOPE_LOAD) orm_scope_add_related(c, scope);
    for (size_t i = 0; i < query->depth; i++) {
        const orm_query *node = scope->nodes[i];
        if (node->step == ORM_STEP_FILTER || node->step == ORM_STEP_EXCLUDE) {
            conds_join(c, scope, node, false);
        } else if (node->step == ORM_STEP_MATCH) {
            orm_scope_add_match(c, scope, node);
        }
    }
    if (wanted & ORM_SCOPE_ORDER) orm_scope_add_order(c, scope);
}

bool orm_scope_is_joined(const orm_scope *scope)
{
    return scope->n_joins > 1;
}

void orm_scope_column(orm_compiler *c, const orm_scope *scope, uint32_t join,
                      const orm_field *field)
{
    if (c->status < 0) return;
    if (!scope->bare && scope->joins[join].named) {
        orm_sql_table(c, scope->joins[join].model);
        orm_sql_add(c, ".");
    } else if (!scope->bare) {
        orm_buf_addf(&c->sql, "t%u.", scope->joins[join].alias);
    }
    orm_sql_field(c, field);
}

void orm_scope_from(orm_compiler *c, const orm_scope *scope)
{
    for (uint32_t i = 0; i < scope->n_joins && c->status == ORM_OK; i++) {
        const orm_join *join = &scope->joins[i];
        orm_sql_add(c, i == 0 ? " FROM " : join->left ? " LEFT JOIN " : " INNER JOIN ");
        orm_sql_table(c, join->model);
        if (!join->named) orm_buf_addf(&c->sql, " AS t%u", join->alias);
        if (i == 0) continue;
        uint32_t parent = (uint32_t)join->parent;
        orm_sql_add(c, " ON ");
        orm_scope_column(c, scope, i, &join->model->fields[join->model->keys[0]]);
        orm_sql_add(c, " = ");
        orm_scope_column(c, scope, parent, &scope->joins[parent].model->fields[join->via]);
    }
}
