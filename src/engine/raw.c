/* raw.c - the caller's own SQL: one statement, run as it is.
 *
 * Whether it reads or writes is known once it is prepared.  It goes to a worker with a reader;
 * one that turns out to write is not run there but sent to the writer, and the plan remembers.
 * Its layout is built from the names that the statement gives: when it was prepared, and again
 * with its first row, since the table may have changed between.
 */
#include "engine.h"
#include "../sql/dialect.h"
#include <strings.h>

orm_plan *orm_plan_new_raw(const char *sql, size_t len, uint64_t key, const uint64_t *words,
                           size_t n_words)
{
    orm_plan *plan = orm_alloc0(sizeof *plan);
    if (!plan) return NULL;
    orm_arena_init(&plan->arena, len * 2 + 64);
    char *text = orm_arena_copy(&plan->arena, sql, len);
    uint64_t *shape = orm_arena_alloc(&plan->arena, n_words * sizeof *shape);
    if (!text || !shape) {
        orm_arena_dispose(&plan->arena);
        orm_dealloc(plan);
        return NULL;
    }
    memcpy(shape, words, n_words * sizeof *shape);
    plan->refs = 1;
    plan->kind = ORM_OP_RAW;
    plan->sql = text;
    plan->sql_len = len;
    plan->key = key;
    plan->words = shape;
    plan->n_words = n_words;
    if (orm_sql_leaves_traces(sql, len)) plan->flags |= ORM_PLAN_TRACES;
    if (orm_sql_commits(sql, len)) plan->flags |= ORM_PLAN_COMMITS;
    return plan;
}

/* ---- on the lane's thread ---- */

static void describe_column(const orm_model *model, const char *name, orm_column *column)
{
    *column = (orm_column){.type = ORM_TYPE_NONE, .expect = ORM_V_NULL};
    for (uint16_t i = 0; model && i < model->n_fields; i++) {
        const orm_field *field = &model->fields[i];
        if (strcasecmp(field->def.column, name) != 0 && strcmp(field->def.name, name) != 0)
            continue;
        *column = (orm_column){.model = model,
                               .field = i,
                               .type = field->type,
                               .digits = field->digits,
                               .places = field->places,
                               .expect = field->expect};
        return;
    }
}

static orm_status check_keys(const orm_model *model, const orm_layout *layout, orm_error *err)
{
    for (uint16_t k = 0; k < model->n_keys; k++) {
        bool found = false;
        for (uint32_t i = 0; i < layout->n_columns && !found; i++)
            found = layout->columns[i].model && layout->columns[i].field == model->keys[k];
        if (!found)
            return orm_fail(err, ORM_EPROGRAMMING, "the rows lack '%s', the key of '%s'",
                            model->fields[model->keys[k]].def.column, model->name);
    }
    return ORM_OK;
}

/* `names` are kept behind the columns: bindings show them. */
static orm_status build_layout(orm_op *op, orm_stmt *stmt, orm_error *err)
{
    const orm_driver *driver = op->root->driver;
    size_t n = driver->column_count(stmt);
    orm_column *columns = orm_arena_alloc(&op->arena, (n ? n : 1) * sizeof *columns);
    const char **names = orm_arena_alloc(&op->arena, (n + 1) * sizeof *names);
    orm_node *node = orm_arena_alloc(&op->arena, sizeof *node);
    if (!columns || !names || !node) return orm_fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        const char *name = driver->column_name(stmt, i);
        names[i] = name ? orm_arena_copy(&op->arena, name, strlen(name)) : NULL;
        if (!names[i]) return orm_fail_nomem(err);
        describe_column(op->model, names[i], &columns[i]);
        columns[i].utc = op->root->dialect->naive_is_utc;
    }
    *node = (orm_node){.model = op->model, .parent = -1, .count = (uint32_t)n};
    op->layout = (orm_layout){.n_nodes = op->model ? 1 : 0,
                              .n_columns = (uint32_t)n,
                              .nodes = node,
                              .columns = columns,
                              .names = names};
    return op->model && n ? check_keys(op->model, &op->layout, err) : ORM_OK;
}

static orm_status row_raw(void *self, const orm_cell *cells, orm_error *err)
{
    orm_op *op = self;
    if (op->rows++ == 0) ORM_TRY(build_layout(op, op->task.stmt, err));
    return op->drops_rows ? ORM_OK : orm_batch_add(op->batch, cells, op->layout.n_columns, err);
}

/* All rows have come: without any, the names of the columns are only known now. */
static orm_status end_raw(void *self, orm_error *err)
{
    orm_op *op = self;
    return op->rows ? ORM_OK : build_layout(op, op->task.stmt, err);
}

/* Whether the prepared statement may run on this lane. */
static orm_status admit(orm_op *op)
{
    if (op->root->server) return ORM_OK; /* any connection may write, the server says where not */
    if (op->root->driver->is_readonly(op->task.stmt)) {
        __atomic_store_n(&op->only_reads, true, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&op->unwanted, __ATOMIC_SEQ_CST)) return ORM_OK;
        return orm_fail(&op->error, ORM_ECANCELLED, "the operation was dropped");
    }
    if (op->tx && op->tx->top->readonly)
        return orm_fail(&op->error, ORM_EOPERATIONAL, "the transaction is read-only");
    op->rerouted = !op->writes;
    return ORM_OK;
}

static orm_status run_raw(orm_op *op, orm_lane *lane)
{
    if (op->task.started) return orm_lane_step(lane, &op->task, &op->error);
    op->task.target = (orm_row_target){row_raw, op};
    op->task.at_end = op->root->server ? end_raw : NULL;
    op->rows = 0;
    if (op->root->server && op->task.plan->flags & ORM_PLAN_TRACES) lane->traced = true;
    orm_status status = orm_lane_find(lane, &op->task, &op->error);
    if (status >= 0) status = admit(op);
    if (status >= 0 && !op->rerouted && !op->root->server)
        status = build_layout(op, op->task.stmt, &op->error);
    if (status < 0 || op->rerouted) {
        orm_lane_abandon(lane, &op->task);
        return status < 0 ? status : ORM_DONE;
    }
    return orm_lane_step(lane, &op->task, &op->error);
}

/* ---- on the engine's thread ---- */

static orm_status prepare_raw(orm_op *op)
{
    orm_root *root = op->root;
    if (op->model) ORM_TRY(orm_model_seal(op->model, &op->error));
    ORM_TRY(orm_plans_get_raw(root, op->script, strlen(op->script), &op->task.plan, &op->error));
    if (op->task.plan->flags & ORM_PLAN_WRITE) op->writes = true;
    if (op->tx && root->dialect->ddl_commits && op->task.plan->flags & ORM_PLAN_COMMITS)
        return orm_fail(&op->error, ORM_ENOTSUPPORTED,
                        "%s would commit the transaction here: run the statement outside of it",
                        root->dialect->name);
    orm_value *bound = op->params;
    if (op->n_values > ORM_INLINE_PARAMS)
        bound = orm_arena_alloc(&op->arena, op->n_values * sizeof *bound);
    if (!bound) return orm_fail_nomem(&op->error);
    for (size_t i = 0; i < op->n_values; i++) {
        orm_param param = {.value = (uint16_t)i, .how = ORM_BIND_RAW};
        ORM_TRY(orm_param_bind(root->dialect, &param, &op->values[i], -1, 0, &op->arena, &bound[i],
                               &op->error));
    }
    op->task.params = bound;
    op->task.n_params = op->n_values;
    return ORM_OK;
}

static orm_status after_raw(orm_op *op, orm_status status)
{
    if (op->rerouted) {
        op->rerouted = false;
        op->writes = true;
        op->task.plan->flags |= ORM_PLAN_WRITE;
        return status < 0 ? status : ORM_PENDING;
    }
    if (status >= 0) op->number = op->layout.n_columns ? (int64_t)op->rows : op->task.info.affected;
    return status;
}

orm_op *orm_raw(orm_engine *engine, const char *sql, size_t len, orm_value *values, size_t n,
                const orm_model *model, orm_sink *sink)
{
    orm_op *op = orm_op_new(engine, ORM_OP_RAW);
    if (!orm_op_take_values(op, values, n, &op->values)) return op;
    op->n_values = n;
    if (!sql || memchr(sql, '\0', len))
        return orm_op_fail(op, ORM_EPROGRAMMING, "SQL text without NUL characters is expected");
    op->script = orm_arena_copy(&op->arena, sql, len);
    if (!op->script) return orm_op_fail(op, ORM_ENOMEM, "out of memory");
    if (model) op->model = op->kept_model = orm_model_ref(model);
    if (sink || model) (void)orm_op_set_sink(op, sink, model);
    op->prepare = prepare_raw;
    op->run = run_raw;
    op->after = after_raw;
    op->own_layout = true;
    op->alone = op->slow = true;
    op->drops_rows = !op->sink;
    op->writes = op->root->single || (op->tx && !op->tx->top->readonly);
    return op;
}
