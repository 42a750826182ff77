/* compound.c - get_or_create and update_or_create.
 *
 * get_or_create reads first, without the write lock; only when nothing is there does it take it,
 * look again, insert, and read the row that it made.  update_or_create takes it at once.  Both
 * then work on keys: the row that was found or made is read (and updated) by its key, so that
 * it is the same row whatever the new values do to the conditions.
 */
#include "engine.h"

#define NO_KEY UINT16_MAX

/* A statement some of whose parameters are the row's key, known only when it runs. */
typedef struct keyed {
    orm_task task;
    orm_value *params;
    uint16_t *key_of; /* per parameter: which part of the key, or NO_KEY */
} keyed;

typedef struct compound {
    orm_query *by_key;     /* the model by its key, with the query's relations */
    orm_write insert, set; /* set.n 0: get_or_create */
    const orm_value *insert_values, *set_values;
    orm_task find; /* captures the key */
    keyed insert_task, set_task, read;
    orm_value *key; /* as stored, n_keys of them */
    uint32_t found;
    bool created;
} compound;

/* ---- on the lane's thread ---- */

static orm_status copy_key(orm_op *op, const orm_cell *cell, orm_value *out, orm_error *err)
{
    *out = orm_null();
    out->kind = cell->kind;
    out->len = cell->len;
    if (cell->kind == ORM_V_FLOAT) {
        out->as.f = cell->as.f;
    } else if (cell->kind == ORM_V_TEXT || cell->kind == ORM_V_BLOB || cell->kind == ORM_V_UUID) {
        out->as.ptr = orm_arena_copy(&op->arena, cell->as.ptr, cell->len);
        if (!out->as.ptr) return orm_fail_nomem(err);
    } else {
        out->as.i = cell->as.i;
    }
    return ORM_OK;
}

static orm_status row_key(void *self, const orm_cell *cells, orm_error *err)
{
    orm_op *op = self;
    compound *c = op->script;
    if (c->found++) return ORM_DONE;
    for (uint16_t k = 0; k < op->model->n_keys; k++)
        ORM_TRY(copy_key(op, &cells[op->model->keys[k]], &c->key[k], err));
    return ORM_OK;
}

static orm_status run_keyed(orm_op *op, orm_lane *lane, keyed *self)
{
    const compound *c = op->script;
    for (size_t i = 0; i < self->task.n_params; i++)
        if (self->key_of[i] != NO_KEY) self->params[i] = c->key[self->key_of[i]];
    return orm_script_step(lane, &self->task, &op->error);
}

/* The key that a write gave to its row, as far as its fields say. */
static bool take_written_key(orm_op *op, const keyed *self, const orm_write *write, uint16_t k)
{
    compound *c = op->script;
    for (size_t i = 0; i < self->task.n_params; i++) {
        uint16_t value = self->task.plan->params[i].value;
        if (self->key_of[i] != NO_KEY || write->fields[value] != op->model->keys[k]) continue;
        c->key[k] = self->params[i];
        return true;
    }
    return false;
}

static orm_status create(orm_op *op, orm_lane *lane)
{
    compound *c = op->script;
    const orm_model *model = op->model;
    c->created = true;
    ORM_TRY(run_keyed(op, lane, &c->insert_task));
    for (uint16_t k = 0; k < model->n_keys; k++) {
        if (take_written_key(op, &c->insert_task, &c->insert, k)) continue;
        if (model->keys[k] != orm_model_auto_field(model))
            return orm_fail(&op->error, ORM_EDATA, "the key '%s' of the new '%s' is not known",
                            model->fields[model->keys[k]].def.name, model->name);
        c->key[k] = orm_int(c->insert_task.task.info.last_key);
    }
    return ORM_OK;
}

static orm_status change(orm_op *op, orm_lane *lane)
{
    compound *c = op->script;
    if (!c->set.n) return ORM_OK;
    ORM_TRY(run_keyed(op, lane, &c->set_task));
    for (uint16_t k = 0; k < op->model->n_keys; k++)
        (void)take_written_key(op, &c->set_task, &c->set, k);
    return ORM_OK;
}

static orm_status find_or_make(orm_op *op, orm_lane *lane)
{
    compound *c = op->script;
    c->found = 0;
    c->created = false;
    c->find.target = (orm_row_target){row_key, op};
    c->read.task.target = op->task.target;
    ORM_TRY(orm_script_step(lane, &c->find, &op->error));
    if (c->found > 1)
        return orm_fail(&op->error, ORM_EMULTIPLE, "more than one '%s' matches the query",
                        op->model->name);
    ORM_TRY(c->found ? change(op, lane) : create(op, lane));
    ORM_TRY(run_keyed(op, lane, &c->read));
    if (op->rows == 1) return ORM_OK;
    return orm_fail(&op->error, ORM_ENOMATCH, "the '%s' just written cannot be read",
                    op->model->name);
}

static orm_status run_compound(orm_op *op, orm_lane *lane)
{
    orm_status status = orm_script_run(op, lane, find_or_make);
    const compound *c = op->script;
    if (status != ORM_EUNIQUE || !c->created || !op->root->server) return status;
    /* Another connection has made the row between our look and our INSERT: look again, once. */
    orm_error_clear(&op->error);
    orm_op_rewind(op);
    return orm_script_run(op, lane, find_or_make);
}

/* ---- on the engine's thread ---- */

static orm_query *make_key_query(const orm_query *query)
{
    const orm_model *model = query->model;
    orm_query *result = orm_query_new(model);
    for (const orm_query *node = query; node; node = node->parent)
        if (node->step == ORM_STEP_RELATED)
            result = orm_query_related(result, node->as.paths, node->n);
    for (uint16_t k = 0; k < model->n_keys; k++)
        result = orm_query_where(result, model->fields[model->keys[k]].def.name, orm_int(0));
    return result;
}

/* Values of the write are bound now; those of the query are the key's. */
static orm_status bind_keyed(orm_op *op, keyed *self, int kind, const orm_query *query,
                             const orm_write *write, const orm_value *values)
{
    size_t n_write = write ? write->n : 0;
    ORM_TRY(orm_plans_get(op->root, kind, query, write, &self->task.plan, &op->error));
    const orm_plan *plan = self->task.plan;
    self->params = orm_arena_alloc(&op->arena, (plan->n_params + 1) * sizeof *self->params);
    self->key_of = orm_arena_alloc(&op->arena, (plan->n_params + 1) * sizeof *self->key_of);
    if (!self->params || !self->key_of) return orm_fail_nomem(&op->error);
    for (uint32_t i = 0; i < plan->n_params; i++) {
        const orm_param *param = &plan->params[i];
        self->key_of[i] = param->value >= n_write ? (uint16_t)(param->value - n_write) : NO_KEY;
        if (self->key_of[i] != NO_KEY) continue;
        ORM_TRY(orm_param_bind(op->root->dialect, param, &values[param->value], -1, 0, &op->arena,
                               &self->params[i], &op->error));
    }
    self->task.params = self->params;
    self->task.n_params = plan->n_params;
    return ORM_OK;
}

static orm_status enter_script(orm_op *op)
{
    compound *c = op->script;
    op->run = run_compound;
    op->writes = op->alone = op->blocking = true;
    op->quick = orm_plan_is_quick(c->find.plan);
    op->rows_layout = &c->read.task.plan->layout;
    return ORM_OK;
}

static orm_status prepare_compound(orm_op *op)
{
    compound *c = op->script;
    c->by_key = make_key_query(op->query);
    if (!c->by_key) return orm_fail_nomem(&op->error);
    ORM_TRY(orm_op_bind(op, &op->task, ORM_OP_GET, op->query, NULL, NULL, op->params,
                        ORM_INLINE_PARAMS));
    c->find = op->task;
    c->find.plan = orm_plan_ref(op->task.plan);
    c->key = orm_arena_alloc(&op->arena, op->model->n_keys * sizeof *c->key);
    if (!c->key) return orm_fail_nomem(&op->error);
    ORM_TRY(bind_keyed(op, &c->insert_task, ORM_OP_INSERT, NULL, &c->insert, c->insert_values));
    if (c->set.n)
        ORM_TRY(bind_keyed(op, &c->set_task, ORM_OP_UPDATE, c->by_key, &c->set, c->set_values));
    ORM_TRY(bind_keyed(op, &c->read, ORM_OP_GET, c->by_key, NULL, NULL));
    bool reads_first = op->kind == ORM_OP_GET_OR_CREATE && !op->tx && !op->root->single;
    return reads_first ? ORM_OK : enter_script(op);
}

static orm_status after_compound(orm_op *op, orm_status status)
{
    const compound *c = op->script;
    if (status < 0) return status;
    if (op->run == run_compound) {
        op->number = c->created;
        return status;
    }
    if (op->rows > 1)
        return orm_fail(&op->error, ORM_EMULTIPLE, "more than one '%s' matches the query",
                        op->model->name);
    if (op->rows == 1) return status;
    orm_op_rewind(op);
    op->sink_begun = false;
    (void)enter_script(op);
    return ORM_PENDING;
}

static void dispose_compound(orm_op *op)
{
    compound *c = op->script;
    orm_query_unref(c->by_key);
    orm_task_dispose(&c->find);
    orm_task_dispose(&c->insert_task.task);
    orm_task_dispose(&c->set_task.task);
    orm_task_dispose(&c->read.task);
}

static uint16_t *copy_fields(orm_op *op, const uint16_t *fields, size_t n)
{
    uint16_t *copy = orm_arena_alloc(&op->arena, (n + 1) * sizeof *copy);
    if (copy && n) memcpy(copy, fields, n * sizeof *copy);
    return copy;
}

static orm_op *compound_op(orm_engine *engine, int kind, orm_query *query, orm_value *all,
                           const uint16_t *set_fields, size_t n_set, const uint16_t *fields,
                           size_t n, orm_sink *sink)
{
    orm_op *op = orm_op_new(engine, kind);
    bool ok = orm_op_take_query(op, query);
    if (!orm_op_take_values(op, all, n_set + n, &op->values)) return op;
    op->n_values = n_set + n;
    if (!ok || !orm_op_set_sink(op, sink, op->model)) return op;
    compound *c = orm_arena_alloc(&op->arena, sizeof *c);
    uint16_t *own_set = copy_fields(op, set_fields, n_set), *own = copy_fields(op, fields, n);
    if (!c || !own_set || !own) return orm_op_fail(op, ORM_ENOMEM, "out of memory");
    memset(c, 0, sizeof *c);
    c->set = (orm_write){.model = op->model, .fields = own_set, .n = n_set, .rows = 1};
    c->insert = (orm_write){.model = op->model, .fields = own, .n = n, .rows = 1};
    c->set_values = op->values;
    c->insert_values = op->values + n_set;
    op->script = c;
    op->dispose = dispose_compound;
    op->prepare = prepare_compound;
    op->after = after_compound;
    return op;
}

orm_op *orm_get_or_create(orm_engine *engine, orm_query *query, const uint16_t *fields, size_t n,
                          orm_value *values, orm_sink *sink)
{
    return compound_op(engine, ORM_OP_GET_OR_CREATE, query, values, NULL, 0, fields, n, sink);
}

orm_op *orm_update_or_create(orm_engine *engine, orm_query *query, const uint16_t *set_fields,
                             size_t n_set, orm_value *set_values, const uint16_t *fields, size_t n,
                             orm_value *values, orm_sink *sink)
{
    orm_value *all = orm_alloc((n_set + n + 1) * sizeof *all);
    if (!all) {
        for (size_t i = 0; i < n_set; i++) orm_value_dispose(&set_values[i]);
        for (size_t i = 0; i < n; i++) orm_value_dispose(&values[i]);
        orm_query_unref(query);
        orm_op *op = orm_op_new(engine, ORM_OP_UPDATE_OR_CREATE);
        return orm_op_fail(op, ORM_ENOMEM, "out of memory");
    }
    if (n_set) memcpy(all, set_values, n_set * sizeof *all);
    if (n) memcpy(all + n_set, values, n * sizeof *all);
    orm_op *op = compound_op(engine, ORM_OP_UPDATE_OR_CREATE, query, all, set_fields, n_set, fields,
                             n, sink);
    orm_dealloc(all);
    return op;
}
