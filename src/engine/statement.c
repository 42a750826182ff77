/* statement.c - the finishers of single statements: all, get, first, last, count, exists, insert,
 * update, delete; and how values become parameters.
 */
#include "engine.h"

#define STACK_VALUES 48

/* Pointers to the statement's values: those of the write, then the query's. */
static const orm_value **gather_values(orm_op *op, const orm_query *query, size_t n_write,
                                       const orm_value *write_values, const orm_value **stack)
{
    const orm_value **all = stack;
    size_t n = n_write;
    if (n_write <= STACK_VALUES)
        n += query ? orm_query_values(query, all + n_write, STACK_VALUES - n_write) : 0;
    else
        n += query ? orm_query_values(query, NULL, 0) : 0;
    if (n > STACK_VALUES) {
        all = orm_arena_alloc(&op->arena, n * sizeof *all);
        if (!all) return NULL;
        if (query) (void)orm_query_values(query, all + n_write, n - n_write);
    }
    for (size_t i = 0; i < n_write; i++) all[i] = &write_values[i];
    return all;
}

orm_status orm_op_bind(orm_op *op, orm_task *task, int kind, const orm_query *query,
                       const orm_write *write, const orm_value *values, orm_value *room,
                       size_t n_room)
{
    orm_root *root = op->root;
    orm_plan *plan;
    ORM_TRY(orm_plans_get(root, kind, query, write, &plan, &op->error));
    orm_plan_unref(task->plan);
    task->plan = plan;
    const orm_value *stack[STACK_VALUES];
    const orm_value **all = gather_values(op, query, write && values ? write->n * write->rows : 0,
                                          values, stack);
    orm_value *bound = room;
    if (all && plan->n_params > n_room)
        bound = orm_arena_alloc(&op->arena, plan->n_params * sizeof *bound);
    if (!all || !bound) return orm_fail_nomem(&op->error);
    int64_t limit = query ? query->limit : -1, offset = query ? query->offset : 0;
    for (uint32_t i = 0; i < plan->n_params; i++) {
        const orm_param *param = &plan->params[i];
        bool slice = param->how == ORM_BIND_LIMIT || param->how == ORM_BIND_OFFSET;
        ORM_TRY(orm_param_bind(root->dialect, param, slice ? NULL : all[param->value], limit,
                               offset, &op->arena, &bound[i], &op->error));
    }
    task->params = bound;
    task->n_params = plan->n_params;
    return ORM_OK;
}

/* ---- queries ---- */

static orm_status prepare_query(orm_op *op)
{
    return orm_op_bind(op, &op->task, op->kind, op->query, NULL, NULL, op->params,
                       ORM_INLINE_PARAMS);
}

static orm_op *query_op(orm_engine *engine, int kind, orm_query *query, orm_sink *sink, bool rows)
{
    orm_op *op = orm_op_new(engine, kind);
    if (!orm_op_take_query(op, query)) return op;
    if (rows) (void)orm_op_set_sink(op, sink, op->model);
    op->prepare = prepare_query;
    return op;
}

orm_op *orm_all(orm_engine *engine, orm_query *query, orm_sink *sink)
{
    return query_op(engine, ORM_OP_ALL, query, sink, true);
}

orm_op *orm_get(orm_engine *engine, orm_query *query, orm_sink *sink)
{
    return query_op(engine, ORM_OP_GET, query, sink, true);
}

orm_op *orm_first(orm_engine *engine, orm_query *query, orm_sink *sink)
{
    return query_op(engine, ORM_OP_FIRST, query, sink, true);
}

orm_op *orm_last(orm_engine *engine, orm_query *query, orm_sink *sink)
{
    return query_op(engine, ORM_OP_LAST, query, sink, true);
}

orm_op *orm_count(orm_engine *engine, orm_query *query)
{
    return query_op(engine, ORM_OP_COUNT, query, NULL, false);
}

orm_op *orm_exists(orm_engine *engine, orm_query *query)
{
    return query_op(engine, ORM_OP_EXISTS, query, NULL, false);
}

/* ---- writes ---- */

static orm_status prepare_write(orm_op *op)
{
    return orm_op_bind(op, &op->task, op->kind, op->query, &op->write, op->values, op->params,
                       ORM_INLINE_PARAMS);
}

static orm_status prepare_delete(orm_op *op)
{
    return orm_op_bind(op, &op->task, op->kind, op->query, NULL, NULL, op->params,
                       ORM_INLINE_PARAMS);
}

bool orm_op_take_write(orm_op *op, const orm_model *model, const uint16_t *fields, size_t n,
                       orm_value *values, size_t n_rows)
{
    if (!orm_op_take_values(op, values, n * n_rows, &op->values)) return false;
    op->n_values = n * n_rows;
    uint16_t *copy = orm_arena_alloc(&op->arena, (n ? n : 1) * sizeof *copy);
    if (!copy) {
        orm_op_fail(op, ORM_ENOMEM, "out of memory");
        return false;
    }
    if (n) memcpy(copy, fields, n * sizeof *copy);
    op->write = (orm_write){.model = model, .fields = copy, .n = n, .rows = 1};
    op->writes = true;
    return true;
}

orm_op *orm_insert(orm_engine *engine, const orm_model *model, const uint16_t *fields, size_t n,
                   orm_value *values)
{
    orm_op *op = orm_op_new(engine, ORM_OP_INSERT);
    if (!orm_op_take_write(op, model, fields, n, values, 1)) return op;
    op->model = op->kept_model = orm_model_ref(model);
    op->prepare = prepare_write;
    return op;
}

orm_op *orm_update(orm_engine *engine, orm_query *query, const uint16_t *fields, size_t n,
                   orm_value *values)
{
    orm_op *op = orm_op_new(engine, ORM_OP_UPDATE);
    bool ok = orm_op_take_query(op, query);
    if (!orm_op_take_write(op, op->model, fields, n, values, 1) || !ok) return op;
    op->prepare = prepare_write;
    if (n == 0) orm_op_fail(op, ORM_EMISUSE, "an update needs at least one field");
    return op;
}

orm_op *orm_delete(orm_engine *engine, orm_query *query)
{
    orm_op *op = query_op(engine, ORM_OP_DELETE, query, NULL, false);
    if (op->fixed) return op;
    op->prepare = prepare_delete;
    op->writes = true;
    return op;
}

/* ---- connecting ---- */

static orm_status run_nothing(orm_op *op, orm_lane *lane)
{
    (void)op;
    (void)lane;
    return ORM_DONE;
}

orm_op *orm_open_connection(orm_engine *engine)
{
    orm_op *op = orm_op_new(engine, ORM_OP_CONNECT);
    if (op->fixed) return op;
    op->run = run_nothing;
    op->quick = true;
    return op;
}
