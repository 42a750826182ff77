/* plan.c - the life of a plan: its shape, its compilation, its references. */
#include "compile.h"

orm_plan *orm_plan_ref(orm_plan *plan)
{
    if (plan) __atomic_add_fetch(&plan->refs, 1, __ATOMIC_RELAXED);
    return plan;
}

void orm_plan_unref(orm_plan *plan)
{
    if (!plan || __atomic_sub_fetch(&plan->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    orm_model_unref(plan->model);
    orm_arena_dispose(&plan->arena);
    orm_dealloc(plan);
}

/* ---- shape ---- */

static size_t packed(size_t n)
{
    return (n + 3) / 4;
}

static uint64_t *pack(uint64_t *words, const uint16_t *fields, size_t n)
{
    for (size_t i = 0; i < packed(n); i++) words[i] = 0;
    for (size_t i = 0; i < n; i++) words[i / 4] |= (uint64_t)fields[i] << (i % 4 * 16);
    return words + packed(n);
}

/* model · fields, conflict fields and what is set of them · rows · the fields themselves */
static size_t write_words(const orm_write *write, uint64_t *words)
{
    uint64_t *w = words;
    size_t n = 3 + packed(write->n) + (write->conflict ? packed(write->n_conflict) : 0);
    if (!words) return n;
    *w++ = write->model->id;
    *w++ = write->n | (uint64_t)write->n_conflict << 32 | (uint64_t)write->returning_key << 62 |
           (uint64_t)write->arrays << 61 | (uint64_t)(write->conflict != NULL) << 63;
    *w++ = write->rows;
    w = pack(w, write->fields, write->n);
    if (write->conflict) pack(w, write->conflict, write->n_conflict);
    return n;
}

size_t orm_plan_shape(int kind, const orm_query *query, const orm_write *write, uint64_t *words,
                      size_t max, uint64_t *key)
{
    size_t n_write = write ? write_words(write, NULL) : 0;
    size_t n = 1 + n_write + (query ? query->n_words : 0);
    uint64_t head = (uint64_t)kind | (uint64_t)n_write << 8;
    uint64_t k = orm_hash_mix(query ? query->key : 0, head);
    if (n > max) return n;
    words[0] = head;
    if (write) write_words(write, words + 1);
    for (size_t i = 1; i <= n_write; i++) k = orm_hash_mix(k, words[i]);
    if (query) orm_query_shape(query, words + 1 + n_write, query->n_words);
    *key = k;
    return n;
}

/* ---- compilation ---- */

static void statement_add(orm_compiler *c, int kind, const orm_query *query, const orm_write *write,
                          orm_plan *plan)
{
    /* The values of a write come before its query's, whatever the order in the text. */
    switch (kind) {
    case ORM_OP_INSERT: orm_sql_insert(c, write, plan); break;
    case ORM_OP_UPDATE: orm_sql_update(c, query, write, plan); break;
    case ORM_OP_DELETE: orm_sql_delete(c, query, plan); break;
    default: orm_sql_select(c, kind, query, plan); break;
    }
}

static orm_status inputs_check(int kind, const orm_query *query, const orm_write *write,
                               orm_error *err)
{
    bool needs_write = kind == ORM_OP_INSERT || kind == ORM_OP_UPDATE;
    bool select = kind >= ORM_OP_ALL && kind <= ORM_OP_EXISTS;
    if (kind != ORM_OP_INSERT) {
        const orm_error *error = orm_query_error(query);
        if (error) {
            if (err) *err = *error;
            return (orm_status)error->status;
        }
    }
    if ((!select && !needs_write && kind != ORM_OP_DELETE) || (needs_write && !write)) {
        return orm_fail(err, ORM_EMISUSE, "operation %d has no SQL of its own", kind);
    }
    const orm_model *model = query ? query->model : write->model;
    for (size_t i = 0; write && i < write->n; i++) {
        if (write->fields[i] >= model->n_fields) {
            return orm_fail(err, ORM_EMISUSE, "%s has no field number %u", model->name,
                            write->fields[i]);
        }
    }
    return orm_model_seal(model, err);
}

/* What outlives the compiler goes into the plan's arena. */
static orm_status plan_finish(orm_compiler *c, int kind, const orm_query *query,
                              const orm_write *write, orm_plan *plan)
{
    if (c->status < 0) return c->status;
    ORM_TRY(orm_buf_status(&c->sql, c->err));
    size_t n = orm_plan_shape(kind, query, write, NULL, 0, &plan->key);
    uint64_t *words = orm_arena_alloc(&plan->arena, n * sizeof *words);
    plan->sql = orm_arena_copy(&plan->arena, c->sql.ptr, c->sql.len);
    if (!words || !plan->sql) return orm_fail_nomem(c->err);
    plan->n_words = orm_plan_shape(kind, query, write, words, n, &plan->key);
    plan->words = words;
    plan->sql_len = c->sql.len;
    plan->params = c->params;
    plan->n_params = (uint32_t)c->n_params;
    return ORM_OK;
}

orm_status orm_compile(const orm_dialect *dialect, int kind, const orm_query *query,
                       const orm_write *write, orm_plan **out, orm_error *err)
{
    orm_error own;
    *out = NULL;
    ORM_TRY(inputs_check(kind, query, write, err));
    orm_plan *plan = orm_alloc0(sizeof *plan);
    if (!plan) return orm_fail_nomem(err);
    plan->refs = 1;
    plan->kind = (uint8_t)kind;
    plan->model = orm_model_ref(query ? query->model : write->model);
    orm_arena_init(&plan->arena, 1024);
    orm_compiler c = {.dialect = dialect, .arena = &plan->arena, .err = err ? err : &own};
    orm_buf_init(&c.sql, ORM_SQL_MAX);
    statement_add(&c, kind, query, write, plan);
    orm_status status = plan_finish(&c, kind, query, write, plan);
    orm_buf_dispose(&c.sql);
    if (status < 0)
        orm_plan_unref(plan);
    else
        *out = plan;
    return status;
}
