/* bulk.c - many rows at once, and the statements that make and drop tables. */
#include "bulk.h"
#include "../sql/dialect.h"

enum {
    BATCH_ROWS = 50, /* of one statement: more gains nothing */
    BATCH_PARAMS = 5000
};

typedef struct orm_bulk bulk;

/* A column's values as one list. */
static orm_status bind_column(orm_op *op, const orm_param *param, size_t row, size_t n,
                              orm_arena *arena, orm_value *out)
{
    const bulk *self = op->script;
    orm_value *members = orm_arena_alloc(arena, n * sizeof *members);
    if (!members) return orm_fail_nomem(&op->error);
    for (size_t i = 0; i < n; i++)
        ORM_TRY(orm_param_bind(op->root->dialect, param,
                               &self->values[(row + i) * op->write.n + param->value], -1, 0, arena,
                               &members[i], &op->error));
    *out = orm_list(members, n);
    return ORM_OK;
}

orm_status orm_bulk_bind(orm_op *op, orm_task *task, size_t row, size_t n, orm_arena *arena)
{
    const bulk *self = op->script;
    const orm_plan *plan = task->plan;
    const orm_value *values = self->values + row * op->write.n;
    orm_value *bound = (orm_value *)task->params;
    for (uint32_t i = 0; i < plan->n_params; i++) {
        const orm_param *param = &plan->params[i];
        orm_status status = self->arrays
                                ? bind_column(op, param, row, n, arena, &bound[i])
                                : orm_param_bind(op->root->dialect, param, &values[param->value],
                                                 -1, 0, arena, &bound[i], &op->error);
        if (status < 0) return status;
    }
    return ORM_OK;
}

static orm_status step_rows(orm_op *op, orm_lane *lane, orm_task *task, size_t row,
                            orm_arena *scratch)
{
    ORM_TRY(orm_bulk_bind(op, task, row, 1, scratch));
    orm_status status = orm_script_step(lane, task, &op->error);
    orm_arena_reset(scratch);
    return status;
}

/* A row whose key the database makes, among others that bring theirs: the statement leaves the key
 * out.  A server's sequence has no value for a NULL that is written. */
static orm_status step_keyless(orm_op *op, orm_lane *lane, size_t row, orm_arena *scratch)
{
    bulk *self = op->script;
    const orm_plan *plan = self->keyless.plan;
    orm_value *bound = (orm_value *)self->keyless.params;
    for (uint32_t i = 0; i < plan->n_params; i++) {
        const orm_param *param = &plan->params[i];
        size_t column = param->value + (param->value >= self->key);
        ORM_TRY(orm_param_bind(op->root->dialect, param, &self->values[row * op->write.n + column],
                               -1, 0, scratch, &bound[i], &op->error));
    }
    orm_status status = orm_script_step(lane, &self->keyless, &op->error);
    orm_arena_reset(scratch);
    if (self->made) self->made[row] = self->keyless.info.last_key;
    return status;
}

static orm_status step_one(orm_op *op, orm_lane *lane, size_t row, orm_arena *scratch)
{
    bulk *self = op->script;
    const orm_value *key = self->keyless.plan ? &self->values[row * op->write.n + self->key] : NULL;
    if (key && key->kind == ORM_V_NULL) return step_keyless(op, lane, row, scratch);
    orm_status status = step_rows(op, lane, &op->task, row, scratch);
    if (self->made) self->made[row] = key ? key->as.i : op->task.info.last_key;
    return status;
}

/* The rows of one statement get the keys behind the highest, in order; the last of them is known.
 * A trigger may interfere: then nothing is known. */
static void take_batch_keys(bulk *self, size_t row)
{
    const orm_exec_info *info = &self->many.info;
    if (!self->made) return;
    if (info->cascaded || info->affected != (int64_t)self->batch) self->unsure = true;
    for (size_t i = 0; i < self->batch; i++)
        self->made[row + i] = info->last_key - (int64_t)(self->batch - 1 - i);
}

static orm_status see_highest(void *data, const orm_cell *cells, orm_error *err)
{
    orm_op *op = data;
    (void)err;
    ((bulk *)op->script)->highest = cells[op->model->keys[0]].as.i;
    return ORM_OK;
}

static orm_status insert_batches(orm_op *op, orm_lane *lane, size_t *row, orm_arena *scratch)
{
    bulk *self = op->script;
    for (; self->n_rows - *row >= self->batch; *row += self->batch) {
        ORM_TRY(step_rows(op, lane, &self->many, *row, scratch));
        take_batch_keys(self, *row);
    }
    if (!self->made || self->unsure) return ORM_OK;
    /* With the highest key of all in the table SQLite picks free keys at random. */
    self->newest.target = (orm_row_target){see_highest, op};
    ORM_TRY(orm_script_step(lane, &self->newest, &op->error));
    self->unsure = self->highest != self->many.info.last_key;
    return ORM_OK;
}

/* Prepared INSERTs in a tight loop inside one transaction: the fastest there is on an embedded
 * database.  Values are bound statement by statement; the first that cannot be undoes all. */
static orm_status insert_rows(orm_op *op, orm_lane *lane)
{
    bulk *self = op->script;
    size_t row = 0;
    orm_arena scratch;
    orm_arena_init(&scratch, 1024);
    orm_status status = ORM_OK;
    if (self->batch && op->root->server) {
        status = orm_bulk_server_run(op, lane, &scratch);
        row = self->n_rows;
    } else if (self->batch) {
        status = insert_batches(op, lane, &row, &scratch);
    }
    for (; row < self->n_rows && status >= 0 && !self->unsure; row++)
        status = step_one(op, lane, row, &scratch);
    orm_arena_dispose(&scratch);
    return status;
}

/* Nothing of it may stay when the keys are not sure: then it is done anew, row by row. */
static orm_status insert_sure_rows(orm_op *op, orm_lane *lane)
{
    bulk *self = op->script;
    orm_status status = insert_rows(op, lane);
    if (status < 0) self->unsure = false;
    return self->unsure ? ORM_EINTERNAL : status;
}

static orm_status run_bulk(orm_op *op, orm_lane *lane)
{
    bulk *self = op->script;
    orm_status status = orm_script_run(op, lane, insert_sure_rows);
    if (!self->unsure) return status;
    self->batch = 0;
    self->unsure = false;
    return orm_script_run(op, lane, insert_sure_rows);
}

static orm_status prepare_task(orm_op *op, orm_task *task, const orm_write *write)
{
    ORM_TRY(orm_plans_get(op->root, ORM_OP_INSERT, NULL, write, &task->plan, &op->error));
    orm_value *bound = orm_arena_alloc(&op->arena, (task->plan->n_params + 1) * sizeof *bound);
    if (!bound) return orm_fail_nomem(&op->error);
    task->params = bound;
    task->n_params = task->plan->n_params;
    return ORM_OK;
}

orm_status orm_bulk_prepare(orm_op *op, orm_task *task, size_t rows)
{
    const bulk *self = op->script;
    orm_write write = op->write;
    bool many = task != &op->task && op->root->server;
    write.rows = rows;
    write.arrays = many && self->arrays;
    write.returning_key = many && self->made && !self->given;
    return prepare_task(op, task, &write);
}

static orm_status prepare_keyless(orm_op *op, size_t column)
{
    bulk *self = op->script;
    orm_write write = op->write;
    uint16_t *fields = orm_arena_alloc(&op->arena, write.n * sizeof *fields);
    if (!fields) return orm_fail_nomem(&op->error);
    for (size_t i = 0; i + 1 < write.n; i++) fields[i] = op->write.fields[i + (i >= column)];
    write.fields = fields;
    write.n--;
    write.rows = 1;
    self->key = (uint32_t)column;
    return prepare_task(op, &self->keyless, &write);
}

/* The place of the key among the fields that are written, or -1. */
static int key_column(const orm_op *op)
{
    int key = orm_model_auto_field(op->model);
    for (size_t i = 0; i < op->write.n; i++)
        if (op->write.fields[i] == key) return (int)i;
    return -1;
}

/* Every row brings its key along: then those are the keys. */
static bool takes_given_keys(orm_op *op, size_t column)
{
    bulk *self = op->script;
    for (size_t row = 0; row < self->n_rows; row++)
        if (self->values[row * op->write.n + column].kind != ORM_V_INT) return false;
    for (size_t row = 0; self->made && row < self->n_rows; row++)
        self->made[row] = self->values[row * op->write.n + column].as.i;
    self->given = true;
    return true;
}

/* Whether many rows may share a statement: not when the key is sometimes given and sometimes
 * made. */
static bool may_batch(const orm_op *op, int column)
{
    const bulk *self = op->script;
    if (op->write.n == 0 || op->write.n > BATCH_PARAMS / 2) return false;
    return column < 0 || self->given;
}

static orm_status prepare_batch(orm_op *op)
{
    bulk *self = op->script;
    size_t batch = BATCH_PARAMS / op->write.n;
    if (batch > BATCH_ROWS) batch = BATCH_ROWS;
    if (self->n_rows < 2 * batch) return ORM_OK;
    self->batch = batch;
    ORM_TRY(orm_bulk_prepare(op, &self->many, batch));
    if (!self->made) return ORM_OK;
    orm_query *query = orm_query_new(op->model);
    orm_status status = orm_plans_get(op->root, ORM_OP_LAST, query, NULL, &self->newest.plan,
                                      &op->error);
    orm_query_unref(query);
    return status;
}

static orm_status prepare_bulk(orm_op *op)
{
    bulk *self = op->script;
    self->n_rows = op->write.n ? op->n_values / op->write.n : self->n_rows;
    op->slow = self->n_rows > ORM_BULK_INLINE;
    op->blocking = true;
    op->quick = true;
    ORM_TRY(orm_bulk_prepare(op, &op->task, 1));
    int column = key_column(op);
    if (column >= 0 && op->root->server && !takes_given_keys(op, (size_t)column))
        ORM_TRY(prepare_keyless(op, (size_t)column));
    if (!may_batch(op, column)) return ORM_OK;
    if (orm_model_auto_field(op->model) < 0) self->made = NULL; /* there are none */
    return op->root->server ? orm_bulk_server_prepare(op) : prepare_batch(op);
}

static orm_status after_bulk(orm_op *op, orm_status status)
{
    bulk *self = op->script;
    if (op->root->server) status = orm_bulk_server_after(op, status);
    if (status < 0 || status == ORM_PENDING) return status;
    op->number = (int64_t)self->n_rows;
    /* Who has freed the operation may have freed the keys with it. */
    if (op->held && self->keys && self->made && self->n_rows)
        memcpy(self->keys, self->made, self->n_rows * sizeof *self->keys);
    return status;
}

static void dispose_bulk(orm_op *op)
{
    bulk *self = op->script;
    orm_task_dispose(&self->many);
    orm_task_dispose(&self->rest);
    orm_task_dispose(&self->newest);
    orm_task_dispose(&self->keyless);
}

orm_op *orm_insert_many(orm_engine *engine, const orm_model *model, const uint16_t *fields,
                        size_t n, orm_value *values, size_t n_rows, int64_t *keys)
{
    orm_op *op = orm_op_new(engine, ORM_OP_BULK);
    if (!orm_op_take_write(op, model, fields, n, values, n_rows)) return op;
    bulk *self = orm_arena_alloc(&op->arena, sizeof *self);
    int64_t *made = keys ? orm_arena_alloc(&op->arena, (n_rows + 1) * sizeof *made) : NULL;
    if (!self || (keys && !made)) return orm_op_fail(op, ORM_ENOMEM, "out of memory");
    *self = (bulk){.values = op->values, .n_rows = n_rows, .keys = keys, .made = made};
    self->run = run_bulk;
    op->script = self;
    op->dispose = dispose_bulk;
    op->model = op->kept_model = orm_model_ref(model);
    op->prepare = prepare_bulk;
    op->run = run_bulk;
    op->after = after_bulk;
    op->alone = true;
    return op;
}

/* ---- tables ---- */

typedef struct ddl {
    orm_schema *schema; /* a reference */
    const char *const *statements;
    size_t n;
} ddl;

static orm_status make_tables(orm_op *op, orm_lane *lane)
{
    const ddl *self = op->script;
    for (size_t i = 0; i < self->n; i++) {
        const char *sql = self->statements[i];
        ORM_TRY(orm_lane_exec(lane, sql, strlen(sql), &op->error));
    }
    return ORM_OK;
}

static orm_status run_ddl(orm_op *op, orm_lane *lane)
{
    return orm_script_run(op, lane, make_tables);
}

static orm_status prepare_ddl(orm_op *op)
{
    ddl *self = op->script;
    size_t n = 0;
    if (op->tx && op->root->dialect->ddl_commits)
        return orm_fail(&op->error, ORM_ENOTSUPPORTED,
                        "tables are made outside of transactions: %s would commit this one here",
                        op->root->dialect->name);
    for (const orm_model *m = orm_schema_first(self->schema); m; m = orm_model_next(m)) n++;
    const orm_model **models = orm_arena_alloc(&op->arena, (n + 1) * sizeof *models);
    if (!models) return orm_fail_nomem(&op->error);
    size_t i = 0;
    for (const orm_model *m = orm_schema_first(self->schema); m && i < n; m = orm_model_next(m)) {
        ORM_TRY(orm_model_seal(m, &op->error));
        models[i++] = m;
    }
    return orm_ddl(op->root->dialect, models, i, op->kind == ORM_OP_DROP_ALL, &op->arena,
                   &self->statements, &self->n, &op->error);
}

static void dispose_ddl(orm_op *op)
{
    orm_schema_unref(((ddl *)op->script)->schema);
}

static orm_op *ddl_op(orm_engine *engine, orm_schema *schema, int kind)
{
    orm_op *op = orm_op_new(engine, kind);
    if (op->fixed || op->status < 0) return op;
    ddl *self = orm_arena_alloc(&op->arena, sizeof *self);
    if (!self) return orm_op_fail(op, ORM_ENOMEM, "out of memory");
    if (!schema) schema = op->root->schema;
    if (!schema) return orm_op_fail(op, ORM_EMISUSE, "the schema is NULL");
    *self = (ddl){.schema = orm_schema_ref(schema)};
    op->script = self;
    op->dispose = dispose_ddl;
    op->prepare = prepare_ddl;
    op->run = run_ddl;
    op->writes = op->alone = op->slow = op->blocking = true;
    return op;
}

orm_op *orm_create_all(orm_engine *engine, orm_schema *schema)
{
    return ddl_op(engine, schema, ORM_OP_CREATE_ALL);
}

orm_op *orm_drop_all(orm_engine *engine, orm_schema *schema)
{
    return ddl_op(engine, schema, ORM_OP_DROP_ALL);
}
