/* bulk_server.c - many rows at once on a server, where every statement is a way there and back.
 *
 * Rows that fit into one statement are an ordinary operation: no transaction of its own, no
 * worker.  More of them are several statements in a transaction, on a worker; and inside of a
 * transaction any number is a savepoint, so that its failure undoes it alone.
 *
 * ARRAYS  Where the dialect has them, the values of a column travel as one array, and one plan
 * serves any number of rows.  The arrays have the types that the model says, and a column may be
 * of another one, to which the server converts single parameters but no array (a text that is
 * stored as an enum type of the server).  A statement that is refused for that has done nothing:
 * the rows are sent again as VALUES, and the plan remembers it.
 */
#include "bulk.h"
#include "../sql/dialect.h"

enum {
    VALUES_ROWS = 500, /* of one statement */
    VALUES_PARAMS = 10000,
    ARRAY_ROWS_INLINE = 2000, /* written on the caller's thread */
    ARRAY_ROWS = 10000
};

/* ---- the keys ---- */

static void key_take(orm_bulk *self, const orm_cell *cell)
{
    if (self->made && self->row < self->n_rows) self->made[self->row++] = cell->as.i;
}

static orm_status task_row(void *data, const orm_cell *cells, orm_error *err)
{
    orm_op *op = data;
    (void)err;
    key_take(op->script, cells);
    return ORM_OK;
}

static orm_bulk *bulk_of(const orm_sink *sink)
{
    return (orm_bulk *)(void *)sink; /* its first member */
}

static orm_status sink_begin(orm_sink *sink, const orm_layout *layout, orm_error *err)
{
    (void)sink, (void)layout, (void)err;
    return ORM_OK;
}

static orm_status sink_row(orm_sink *sink, const orm_cell *cells, orm_error *err)
{
    (void)err;
    key_take(bulk_of(sink), cells);
    return ORM_OK;
}

static size_t sink_mark(const orm_sink *sink)
{
    return bulk_of(sink)->row;
}

static void sink_rewind(orm_sink *sink, size_t mark)
{
    bulk_of(sink)->row = mark;
}

static const orm_sink_vtable keys_sink = {
    .size = sizeof keys_sink,
    .begin = sink_begin,
    .row = sink_row,
    .mark = sink_mark,
    .rewind = sink_rewind,
};

static orm_status keys_check(const orm_op *op, orm_error *err)
{
    const orm_bulk *self = op->script;
    if (!self->made || self->given || op->cancelled || self->row == self->n_rows) return ORM_OK;
    return orm_fail(err, ORM_EINTERNAL, "the server gave %zu keys for %zu rows", self->row,
                    self->n_rows);
}

/* ---- which way ---- */

static bool is_guest(const orm_op *op)
{
    return op->root->driver->flags & ORM_DRIVER_GUEST;
}

static bool has_array_types(const orm_op *op)
{
    const orm_dialect *dialect = op->root->dialect;
    if (!dialect->array_type || is_guest(op)) return false;
    for (size_t i = 0; i < op->write.n; i++)
        if (!dialect->array_type(op->model->fields[op->write.fields[i]].type)) return false;
    return true;
}

/* In a transaction its failure would be that of all. */
static bool may_go_alone(const orm_op *op)
{
    return !op->tx && !is_guest(op);
}

/* One statement, for all of them. */
static orm_status prepare_alone(orm_op *op)
{
    orm_bulk *self = op->script;
    orm_task_dispose(&op->task);
    op->task = self->many;
    self->many = (orm_task){.plan = NULL};
    ORM_TRY(orm_bulk_bind(op, &op->task, 0, self->n_rows, &op->arena));
    self->sink.vtable = &keys_sink;
    op->sink = self->made && !self->given ? &self->sink : NULL;
    op->run = orm_run_statement;
    op->blocking = false;
    return ORM_OK;
}

static size_t values_batch(const orm_op *op)
{
    size_t batch = VALUES_PARAMS / op->write.n;
    return batch < VALUES_ROWS ? batch : VALUES_ROWS;
}

static orm_status prepare_values(orm_op *op)
{
    orm_bulk *self = op->script;
    self->arrays = false;
    self->batch = values_batch(op);
    if (self->batch > self->n_rows) self->batch = self->n_rows;
    ORM_TRY(orm_bulk_prepare(op, &self->many, self->batch));
    if (self->batch == self->n_rows && may_go_alone(op)) return prepare_alone(op);
    size_t rest = self->n_rows % self->batch;
    return rest ? orm_bulk_prepare(op, &self->rest, rest) : ORM_OK;
}

orm_status orm_bulk_server_prepare(orm_op *op)
{
    orm_bulk *self = op->script;
    if (self->n_rows < 2) return ORM_OK;
    if (!has_array_types(op)) return prepare_values(op);
    self->arrays = true;
    ORM_TRY(orm_bulk_prepare(op, &self->many, 1));
    if (self->many.plan->arrays_refused) {
        orm_task_dispose(&self->many);
        return prepare_values(op);
    }
    self->batch = ARRAY_ROWS;
    return self->n_rows <= ARRAY_ROWS_INLINE && may_go_alone(op) ? prepare_alone(op) : ORM_OK;
}

/* ---- running ---- */

orm_status orm_bulk_server_run(orm_op *op, orm_lane *lane, orm_arena *scratch)
{
    orm_bulk *self = op->script;
    orm_row_target target = {self->given ? NULL : task_row, op};
    self->many.target = self->rest.target = target;
    self->row = 0;
    for (size_t row = 0, n; row < self->n_rows; row += n) {
        n = self->n_rows - row < self->batch ? self->n_rows - row : self->batch;
        orm_task *task = n < self->batch && !self->arrays ? &self->rest : &self->many;
        ORM_TRY(orm_bulk_bind(op, task, row, n, scratch));
        ORM_TRY(orm_script_step(lane, task, &op->error));
        orm_arena_reset(scratch);
    }
    return keys_check(op, &op->error);
}

/* Arrays were refused for what they are: nothing was done, the rows go as VALUES. */
static orm_status go_as_values(orm_op *op)
{
    orm_bulk *self = op->script;
    orm_error_clear(&op->error);
    orm_task_dispose(&self->many);
    self->row = op->rows = 0;
    op->sink = NULL;
    op->sink_begun = false;
    op->blocking = true;
    op->run = self->run;
    orm_status status = prepare_values(op);
    return status < 0 ? status : ORM_PENDING;
}

orm_status orm_bulk_server_after(orm_op *op, orm_status status)
{
    orm_bulk *self = op->script;
    bool alone = op->run == orm_run_statement;
    if (self->arrays && status == ORM_EPROGRAMMING && !op->cancelled) {
        orm_plan *plan = alone ? op->task.plan : self->many.plan;
        plan->arrays_refused = true;
        return go_as_values(op);
    }
    return status >= 0 && alone ? keys_check(op, &op->error) : status;
}
