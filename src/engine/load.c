/* load.c - orm_load: the relation of every row of a result, with one query (of at most 1,000
 * keys each).  Also the operations on single C structs.
 */
#include "engine.h"
#include "member.h"
#include <stdio.h>

#define LOAD_KEYS ((size_t)1000)

typedef struct load {
    orm_result *result; /* the caller's */
    const orm_field *field;
    orm_value *keys;
    size_t n, done;
} load;

/* The query for the next keys. */
static orm_status prepare_chunk(orm_op *op)
{
    load *self = op->script;
    const orm_model *target = self->field->target;
    size_t n = self->n - self->done < LOAD_KEYS ? self->n - self->done : LOAD_KEYS;
    char lookup[160];
    int len = snprintf(lookup, sizeof lookup, "%s__in", target->fields[target->keys[0]].def.name);
    if (len < 0 || (size_t)len >= sizeof lookup)
        return orm_fail(&op->error, ORM_ENOTSUPPORTED, "the key's name is too long");
    orm_query_unref(op->query);
    op->query = orm_query_where(orm_query_new(target), lookup,
                                orm_list(self->keys + self->done, n));
    self->done += n;
    if (!op->query) return orm_fail_nomem(&op->error);
    const orm_error *sticky = orm_query_error(op->query);
    if (sticky) {
        op->error = *sticky;
        return (orm_status)sticky->status;
    }
    return orm_op_bind(op, &op->task, ORM_OP_ALL, op->query, NULL, NULL, op->params,
                       ORM_INLINE_PARAMS);
}

static orm_status after_load(orm_op *op, orm_status status)
{
    load *self = op->script;
    if (status >= 0 && self->done < self->n) {
        status = prepare_chunk(op);
        return status < 0 ? status : ORM_PENDING;
    }
    op->number = (int64_t)op->rows;
    return status;
}

static void dispose_load(orm_op *op)
{
    orm_result_load_finish(((load *)op->script)->result);
}

static orm_status prepare_load(orm_op *op)
{
    load *self = op->script;
    op->sink = orm_result_load_sink(self->result, self->field, &op->error);
    if (!op->sink) return (orm_status)op->error.status;
    op->dispose = dispose_load;
    ORM_TRY(orm_result_collect(self->result, self->field, &op->arena, &self->keys, &self->n,
                               &op->error));
    return prepare_chunk(op);
}

orm_op *orm_load(orm_engine *engine, orm_result *result, const char *relation)
{
    orm_op *op = orm_op_new(engine, ORM_OP_LOAD);
    if (op->fixed || op->status < 0) return op;
    load *self = orm_arena_alloc(&op->arena, sizeof *self);
    if (!self) return orm_op_fail(op, ORM_ENOMEM, "out of memory");
    if (!result || !relation) return orm_op_fail(op, ORM_EMISUSE, "the result is NULL");
    const orm_model *model = orm_result_model(result);
    int index = orm_model_find_field(model, relation, strlen(relation));
    if (index < 0 || !model->fields[index].target)
        return orm_op_fail(op, ORM_EFIELD, "'%s' has no relation '%s'", model->name, relation);
    *self = (load){.result = result, .field = &model->fields[index]};
    op->script = self;
    op->model = self->field->target;
    op->prepare = prepare_load;
    op->after = after_load;
    return op;
}

/* ---- single rows ---- */

static const orm_model *find_model(orm_op *op, const orm_model_def *def)
{
    if (op->fixed || op->status < 0) return NULL;
    const orm_model *model = orm_engine_model(&op->root->head, def);
    if (!model)
        orm_op_fail(op, ORM_EMISUSE, "'%s' was not registered with orm_connect",
                    def ? def->name : "NULL");
    return model;
}

/* An integer key that is 0 or unset is left to the database. */
static bool is_unset_key(const orm_model *model, uint16_t field, const orm_value *v)
{
    return field == orm_model_auto_field(model) &&
           (v->kind == ORM_V_NULL || (v->kind == ORM_V_INT && v->as.i == 0));
}

static orm_status after_insert_row(orm_op *op, orm_status status)
{
    int key = orm_model_auto_field(op->model);
    if (status < 0 || key < 0 || !op->held) return status; /* freed: the row may be, too */
    const orm_field *field = &op->model->fields[key];
    orm_value v = orm_member_get(field, op->row);
    if (!is_unset_key(op->model, (uint16_t)key, &v)) return status;
    orm_column column = {
        .model = op->model, .field = (uint16_t)key, .type = field->type, .expect = ORM_V_INT};
    orm_cell cell = {.kind = ORM_V_INT, .as.i = op->number};
    return orm_member_set(field, &column, op->row, &cell, &op->arena, &op->error);
}

/* Values of the row: those of `fields` (n of them), or of all fields but an unset key. */
static orm_op *write_row(orm_engine *engine, int kind, const orm_model *model, const void *row,
                         const uint16_t *fields, size_t n, orm_query *query)
{
    orm_op *op;
    orm_value *values = orm_alloc((n + 1) * sizeof *values);
    uint16_t *used = orm_alloc((n + 1) * sizeof *used);
    size_t count = 0;
    for (size_t i = 0; values && used && i < n; i++) {
        values[count] = orm_member_get(&model->fields[fields[i]], row);
        if (kind == ORM_OP_INSERT && is_unset_key(model, fields[i], &values[count])) continue;
        used[count++] = fields[i];
    }
    if (!values || !used) {
        orm_query_unref(query);
        op = orm_op_fail(orm_op_new(engine, kind), ORM_ENOMEM, "out of memory");
    } else if (kind == ORM_OP_INSERT) {
        op = orm_insert(engine, model, used, count, values);
    } else {
        op = orm_update(engine, query, used, count, values);
    }
    orm_dealloc(values);
    orm_dealloc(used);
    return op;
}

/* The model of a definition, or an operation that says what is wrong. */
static orm_op *resolve(orm_engine *engine, int kind, const orm_model_def *def, const void *row,
                       const orm_model **model)
{
    orm_op *op = orm_op_new(engine, kind);
    *model = find_model(op, def);
    if (*model && orm_model_seal(*model, &op->error) < 0) {
        op->status = op->error.status;
        *model = NULL;
    }
    if (*model && !row) {
        orm_op_fail(op, ORM_EMISUSE, "the row is NULL");
        *model = NULL;
    }
    if (!*model) return op;
    orm_op_free(op);
    return NULL;
}

static uint16_t *all_fields(const orm_model *model, bool keys, size_t *n)
{
    uint16_t *fields = orm_alloc((model->n_fields + 1u) * sizeof *fields);
    *n = 0;
    for (uint16_t i = 0; fields && i < model->n_fields; i++)
        if (keys || !model->fields[i].is_key) fields[(*n)++] = i;
    return fields;
}

static orm_op *fail_nomem(orm_engine *engine, int kind)
{
    return orm_op_fail(orm_op_new(engine, kind), ORM_ENOMEM, "out of memory");
}

orm_op *orm_insert_row(orm_engine *engine, const orm_model_def *def, void *row)
{
    const orm_model *model;
    orm_op *op = resolve(engine, ORM_OP_INSERT, def, row, &model);
    if (op) return op;
    size_t n;
    uint16_t *fields = all_fields(model, true, &n);
    if (!fields) return fail_nomem(engine, ORM_OP_INSERT);
    op = write_row(engine, ORM_OP_INSERT, model, row, fields, n, NULL);
    orm_dealloc(fields);
    if (op->fixed) return op;
    op->row = row;
    op->after = after_insert_row;
    return op;
}

static orm_query *row_query(const orm_model *model, const void *row)
{
    orm_query *query = orm_query_new(model);
    for (uint16_t k = 0; k < model->n_keys; k++) {
        const orm_field *field = &model->fields[model->keys[k]];
        query = orm_query_where(query, field->def.name, orm_member_get(field, row));
    }
    return query;
}

static uint16_t *find_fields(const orm_model *model, const char *const *names, size_t n,
                             const char **unknown)
{
    uint16_t *fields = orm_alloc((n + 1) * sizeof *fields);
    *unknown = NULL;
    for (size_t i = 0; fields && i < n; i++) {
        int index = orm_model_find_field(model, names[i], strlen(names[i]));
        if (index < 0) *unknown = names[i];
        fields[i] = (uint16_t)index;
    }
    return fields;
}

orm_op *orm_update_row(orm_engine *engine, const orm_model_def *def, const void *row,
                       const char *const *names, size_t n)
{
    const orm_model *model;
    const char *unknown = NULL;
    orm_op *op = resolve(engine, ORM_OP_UPDATE, def, row, &model);
    if (op) return op;
    uint16_t *fields = n ? find_fields(model, names, n, &unknown) : all_fields(model, false, &n);
    if (!fields) {
        op = fail_nomem(engine, ORM_OP_UPDATE);
    } else if (unknown) {
        op = orm_op_fail(orm_op_new(engine, ORM_OP_UPDATE), ORM_EFIELD, "'%s' has no field '%s'",
                         model->name, unknown);
    } else {
        op = write_row(engine, ORM_OP_UPDATE, model, row, fields, n, row_query(model, row));
    }
    orm_dealloc(fields);
    return op;
}

orm_op *orm_delete_row(orm_engine *engine, const orm_model_def *def, const void *row)
{
    const orm_model *model;
    orm_op *op = resolve(engine, ORM_OP_DELETE, def, row, &model);
    return op ? op : orm_delete(engine, row_query(model, row));
}

/* ---- orm_connect ---- */

const orm_model *orm_engine_model(orm_engine *engine, const orm_model_def *def)
{
    if (!engine || !def || !engine->root->schema) return NULL;
    return orm_schema_find_def(engine->root->schema, def);
}

orm_status orm_connect(const char *url, const orm_model_def *const *models, size_t n,
                       orm_engine **out, orm_error *err)
{
    orm_db *db = NULL;
    orm_engine *engine = NULL;
    orm_schema *schema = orm_schema_new();
    orm_status status = schema ? ORM_OK : orm_fail_nomem(err);
    for (size_t i = 0; i < n && status >= 0; i++) {
        orm_model *model;
        status = orm_schema_add(schema, models[i], &model, err);
    }
    if (status >= 0) status = orm_open(url, NULL, &db, err);
    if (status >= 0) status = orm_engine_new(db, &engine, err);
    orm_close(db);
    if (status < 0) {
        orm_schema_unref(schema);
        return status;
    }
    engine->root->schema = schema;
    *out = engine;
    return ORM_OK;
}
