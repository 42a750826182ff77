/* schema.c - the registry of models: adding, finding, sealing.
 *
 * Everything a model consists of is copied into the schema's arena, so that one reference count
 * (the schema's) keeps all of it alive, and a model that was replaced stays usable for those who
 * hold it.  The mutex guards the arena, the list and sealing; a sealed model is read without it.
 */
#include "schema.h"

#include <pthread.h>

struct orm_schema {
    volatile int refs;
    pthread_mutex_t lock;
    orm_arena arena;
    orm_model *first, **last;
    uint32_t pass; /* of sealing */
};

static uint64_t model_id_next(void)
{
    static uint64_t counter;
    return __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED);
}

orm_schema *orm_schema_new(void)
{
    orm_schema *schema = orm_alloc0(sizeof *schema);
    if (!schema) return NULL;
    if (pthread_mutex_init(&schema->lock, NULL) != 0) {
        orm_dealloc(schema);
        return NULL;
    }
    schema->refs = 1;
    schema->last = &schema->first;
    orm_arena_init(&schema->arena, 4096);
    return schema;
}

orm_schema *orm_schema_ref(orm_schema *schema)
{
    if (schema) __atomic_add_fetch(&schema->refs, 1, __ATOMIC_RELAXED);
    return schema;
}

void orm_schema_unref(orm_schema *schema)
{
    if (!schema || __atomic_sub_fetch(&schema->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    pthread_mutex_destroy(&schema->lock);
    orm_arena_dispose(&schema->arena);
    orm_dealloc(schema);
}

void *orm_schema_alloc(orm_schema *schema, size_t size)
{
    pthread_mutex_lock(&schema->lock);
    void *p = orm_arena_alloc(&schema->arena, size);
    pthread_mutex_unlock(&schema->lock);
    return p;
}

/* ---- adding ---- */

/* Copies `*text` into the arena; *failed is set once memory is out. */
static void text_keep(orm_arena *arena, const char **text, bool *failed)
{
    if (!*text) return;
    *text = orm_arena_copy(arena, *text, strlen(*text));
    if (!*text) *failed = true;
}

static void texts_keep(orm_arena *arena, const char *const **texts, size_t n, bool *failed)
{
    const char **copy = orm_arena_alloc(arena, (n + 1) * sizeof *copy);
    if (!copy) {
        *failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        copy[i] = (*texts)[i];
        text_keep(arena, &copy[i], failed);
    }
    copy[n] = NULL;
    *texts = copy;
}

/* The logical kind of cells of a type; NULL where every cell needs decoding (decimals come in
 * too many forms). */
static uint8_t type_kind(int type)
{
    static const uint8_t kinds[] = {
        [ORM_TYPE_BOOL] = ORM_V_BOOL,         [ORM_TYPE_INT16] = ORM_V_INT,
        [ORM_TYPE_INT32] = ORM_V_INT,         [ORM_TYPE_INT64] = ORM_V_INT,
        [ORM_TYPE_FLOAT] = ORM_V_FLOAT,       [ORM_TYPE_DECIMAL] = ORM_V_NULL,
        [ORM_TYPE_TEXT] = ORM_V_TEXT,         [ORM_TYPE_BLOB] = ORM_V_BLOB,
        [ORM_TYPE_DATE] = ORM_V_DATE,         [ORM_TYPE_TIME] = ORM_V_TIME,
        [ORM_TYPE_DATETIME] = ORM_V_DATETIME, [ORM_TYPE_DATETIMETZ] = ORM_V_DATETIMETZ,
        [ORM_TYPE_INTERVAL] = ORM_V_INTERVAL, [ORM_TYPE_UUID] = ORM_V_UUID,
        [ORM_TYPE_JSON] = ORM_V_TEXT,         [ORM_TYPE_ENUM] = ORM_V_TEXT,
        [ORM_TYPE_IP] = ORM_V_TEXT,           [ORM_TYPE_ARRAY] = ORM_V_TEXT,
        [ORM_TYPE_REF] = ORM_V_NULL,
    };
    return kinds[type];
}

static void field_init(orm_field *field, orm_model *model, size_t i, const orm_field_def *def,
                       orm_arena *arena, bool *failed)
{
    field->def = *def;
    if (!field->def.column) field->def.column = field->def.name;
    if (def->target_def && !def->target) field->def.target = def->target_def->name;
    text_keep(arena, &field->def.name, failed);
    text_keep(arena, &field->def.column, failed);
    text_keep(arena, &field->def.target, failed);
    text_keep(arena, &field->def.comment, failed);
    text_keep(arena, &field->def.enum_name, failed);
    text_keep(arena, &field->def.sql_type, failed);
    if (def->choices) {
        size_t n = 0;
        while (def->choices[n]) n++;
        texts_keep(arena, &field->def.choices, n, failed);
    }
    if (*failed) return;
    field->index = (uint16_t)i;
    field->type = (uint8_t)def->type;
    field->expect = type_kind((int)def->type);
    field->digits = def->digits;
    field->places = def->places;
    field->max_length = def->max_length;
    field->column_len = strlen(field->def.column);
    field->model = model;
}

static void constraints_init(orm_model *model, const orm_model_def *def, orm_arena *arena,
                             bool *failed)
{
    orm_constraint_def *list = orm_arena_alloc(arena, (def->n_constraints + 1) * sizeof *list);
    if (!list) {
        *failed = true;
        return;
    }
    for (size_t i = 0; i < def->n_constraints; i++) {
        list[i] = orm_model_def_constraint(def, i);
        text_keep(arena, &list[i].name, failed);
        text_keep(arena, &list[i].sql, failed);
        texts_keep(arena, &list[i].fields, list[i].n_fields, failed);
    }
    model->constraints = list;
    model->n_constraints = def->n_constraints;
}

static bool constraint_is_single(const orm_constraint_def *c, const char *field)
{
    bool unique = c->kind == ORM_CONSTRAINT_UNIQUE ||
                  (c->kind == ORM_CONSTRAINT_UNIQUE_INDEX && !c->sql);
    return unique && c->n_fields == 1 && strcmp(c->fields[0], field) == 0;
}

/* The order of a composite key is that of its constraint, or of its fields. */
static void keys_init(orm_model *model)
{
    for (size_t i = 0; i < model->n_fields; i++) {
        if (model->fields[i].def.primary_key) model->keys[model->n_keys++] = (uint16_t)i;
    }
    for (size_t i = 0; i < model->n_constraints; i++) {
        const orm_constraint_def *c = &model->constraints[i];
        if (c->kind != ORM_CONSTRAINT_PRIMARY_KEY) continue;
        for (size_t k = 0; k < c->n_fields; k++) {
            int f = orm_model_find_field(model, c->fields[k], strlen(c->fields[k]));
            model->keys[model->n_keys++] = (uint16_t)f;
        }
    }
    for (size_t k = 0; k < model->n_keys; k++) model->fields[model->keys[k]].is_key = true;
    for (size_t i = 0; i < model->n_fields; i++) {
        orm_field *f = &model->fields[i];
        f->is_unique = f->def.unique || (f->is_key && model->n_keys == 1);
        for (size_t c = 0; c < model->n_constraints; c++) {
            if (constraint_is_single(&model->constraints[c], f->def.name)) f->is_unique = true;
        }
    }
}

static orm_model *model_make(orm_schema *schema, const orm_model_def *def)
{
    orm_arena *arena = &schema->arena;
    bool failed = false;
    orm_model *model = orm_arena_alloc(arena, sizeof *model);
    if (!model) return NULL;
    memset(model, 0, sizeof *model);
    model->schema = schema;
    model->name = def->name;
    model->table = def->table ? def->table : def->name;
    model->comment = def->comment;
    text_keep(arena, &model->name, &failed);
    text_keep(arena, &model->table, &failed);
    text_keep(arena, &model->comment, &failed);
    model->fields = orm_arena_alloc(arena, def->n_fields * sizeof *model->fields);
    model->keys = orm_arena_alloc(arena, def->n_fields * sizeof *model->keys);
    if (failed || !model->fields || !model->keys) return NULL;
    memset(model->fields, 0, def->n_fields * sizeof *model->fields);
    model->table_len = strlen(model->table);
    model->n_fields = (uint16_t)def->n_fields;
    for (size_t i = 0; i < def->n_fields; i++) {
        orm_field_def f = orm_model_def_field(def, i);
        field_init(&model->fields[i], model, i, &f, arena, &failed);
    }
    constraints_init(model, def, arena, &failed);
    if (failed) return NULL;
    keys_init(model);
    model->struct_size = def->struct_size;
    model->def = def;
    model->id = model_id_next();
    return model;
}

/* ASCII case does not tell tables apart: it would not on most backends. */
static bool same_table(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        int x = *a >= 'A' && *a <= 'Z' ? *a + 32 : *a;
        int y = *b >= 'A' && *b <= 'Z' ? *b + 32 : *b;
        if (x != y) return false;
    }
    return *a == *b;
}

static orm_status model_is_new(const orm_schema *schema, const orm_model_def *def, orm_error *err)
{
    const char *table = def->table ? def->table : def->name;
    for (const orm_model *m = schema->first; m; m = m->next) {
        if (m->removed) continue;
        if (strcmp(m->name, def->name) == 0) {
            return orm_fail(err, ORM_ECONFIG, "there is a model '%s' already", def->name);
        }
        if (same_table(m->table, table)) {
            return orm_fail(err, ORM_ECONFIG,
                            "models %s and %s share the table '%.64s': give one of them another",
                            m->name, def->name, table);
        }
    }
    return ORM_OK;
}

orm_status orm_schema_add(orm_schema *schema, const orm_model_def *def, orm_model **out,
                          orm_error *err)
{
    orm_model *model = NULL;
    if (out) *out = NULL;
    if (!schema) return orm_fail(err, ORM_EMISUSE, "orm_schema_add needs a schema");
    ORM_TRY(orm_model_def_check(def, err));
    pthread_mutex_lock(&schema->lock);
    orm_status status = model_is_new(schema, def, err);
    if (status == ORM_OK) {
        model = model_make(schema, def);
        if (!model) status = orm_fail_nomem(err);
    }
    if (model) {
        *schema->last = model;
        schema->last = &model->next;
    }
    pthread_mutex_unlock(&schema->lock);
    if (out) *out = model;
    return status;
}

void orm_schema_remove(orm_schema *schema, orm_model *model)
{
    if (!schema || !model || model->schema != schema) return;
    pthread_mutex_lock(&schema->lock);
    model->removed = true;
    pthread_mutex_unlock(&schema->lock);
}

/* ---- finding ---- */

static const orm_model *model_find(const orm_schema *schema, const char *name, size_t len)
{
    for (const orm_model *m = schema->first; m; m = m->next) {
        if (!m->removed && strlen(m->name) == len && memcmp(m->name, name, len) == 0) return m;
    }
    return NULL;
}

const orm_model *orm_schema_find(const orm_schema *schema, const char *name, size_t len)
{
    if (!schema || !name) return NULL;
    pthread_mutex_t *lock = (pthread_mutex_t *)&schema->lock;
    pthread_mutex_lock(lock);
    const orm_model *model = model_find(schema, name, len);
    pthread_mutex_unlock(lock);
    return model;
}

static const orm_model *model_find_def(const orm_schema *schema, const orm_model_def *def)
{
    for (const orm_model *m = schema->first; m; m = m->next) {
        if (!m->removed && m->def == def) return m;
    }
    return NULL;
}

const orm_model *orm_schema_find_def(const orm_schema *schema, const orm_model_def *def)
{
    if (!schema || !def) return NULL;
    pthread_mutex_t *lock = (pthread_mutex_t *)&schema->lock;
    pthread_mutex_lock(lock);
    const orm_model *model = model_find_def(schema, def);
    pthread_mutex_unlock(lock);
    return model;
}

static const orm_model *model_present(const orm_schema *schema, orm_model *const *from)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&schema->lock;
    pthread_mutex_lock(lock);
    const orm_model *model = *from;
    while (model && model->removed) model = model->next;
    pthread_mutex_unlock(lock);
    return model;
}

const orm_model *orm_schema_first(const orm_schema *schema)
{
    return model_present(schema, &schema->first);
}

const orm_model *orm_model_next(const orm_model *model)
{
    return model_present(model->schema, &model->next);
}

/* ---- sealing ---- */

static orm_status target_find(orm_model *model, orm_field *field, orm_error *err)
{
    const orm_field_def *def = &field->def;
    const orm_model *target = def->target_def ? model_find_def(model->schema, def->target_def)
                                              : NULL;
    if (!target) target = model_find(model->schema, def->target, strlen(def->target));
    if (!target) {
        return orm_fail(err, ORM_ECONFIG,
                        "%s.%s refers to '%.64s', which is no known model: declare it in the same "
                        "schema before the first query, or correct the name",
                        model->name, def->name, def->target);
    }
    if (target->n_keys != 1) {
        return orm_fail(err, ORM_ECONFIG,
                        "%s.%s refers to %s, whose key has %u fields: only single keys can be "
                        "referred to",
                        model->name, def->name, target->name, target->n_keys);
    }
    field->target = target;
    return ORM_OK;
}

/* Finds the targets of `model` and everything behind them.  The models met carry the mark
 * of this pass, so that nothing recurses and nothing is allocated. */
static orm_status targets_find(orm_model *model, uint32_t pass, orm_error *err)
{
    bool again = true;
    model->mark = pass;
    while (again) {
        again = false;
        for (orm_model *m = model->schema->first; m; m = m->next) {
            if (m->mark != pass || m->sealed) continue;
            for (size_t i = 0; i < m->n_fields; i++) {
                orm_field *f = &m->fields[i];
                if (f->def.type == ORM_TYPE_REF) ORM_TRY(target_find(m, f, err));
            }
            for (size_t i = 0; i < m->n_fields; i++) {
                orm_model *target = (orm_model *)m->fields[i].target;
                if (target && target->mark != pass) {
                    target->mark = pass;
                    again = true;
                }
            }
        }
    }
    return ORM_OK;
}

/* A reference is stored as its target's key, which may be a reference itself. */
static orm_status stored_type_find(orm_field *field, orm_error *err)
{
    const orm_field *key = field;
    for (size_t hops = 0; key->def.type == ORM_TYPE_REF; hops++) {
        if (hops > UINT16_MAX) {
            return orm_fail(err, ORM_ECONFIG, "%s.%s: the keys refer to each other in a circle",
                            field->model->name, field->def.name);
        }
        key = &key->target->fields[key->target->keys[0]];
    }
    field->type = (uint8_t)key->def.type;
    field->expect = type_kind((int)key->def.type);
    field->digits = key->def.digits;
    field->places = key->def.places;
    field->max_length = key->def.max_length;
    return ORM_OK;
}

static orm_status model_seal_locked(orm_model *model, orm_error *err)
{
    orm_schema *schema = model->schema;
    uint32_t pass = ++schema->pass;
    ORM_TRY(targets_find(model, pass, err));
    for (orm_model *m = schema->first; m; m = m->next) {
        if (m->mark != pass || m->sealed) continue;
        for (size_t i = 0; i < m->n_fields; i++) {
            if (m->fields[i].def.type == ORM_TYPE_REF) {
                ORM_TRY(stored_type_find(&m->fields[i], err));
            }
        }
    }
    for (orm_model *m = schema->first; m; m = m->next) {
        if (m->mark == pass) __atomic_store_n(&m->sealed, 1, __ATOMIC_RELEASE);
    }
    return ORM_OK;
}

orm_status orm_model_seal(const orm_model *model, orm_error *err)
{
    if (!model) return orm_fail(err, ORM_EMISUSE, "there is no model here");
    if (orm_model_is_sealed(model)) return ORM_OK;
    pthread_mutex_lock(&model->schema->lock);
    orm_status status = ORM_OK;
    if (!model->sealed) status = model_seal_locked((orm_model *)model, err);
    pthread_mutex_unlock(&model->schema->lock);
    return status;
}

/* ---- reading ---- */

const orm_model *orm_model_ref(const orm_model *model)
{
    if (model) orm_schema_ref(model->schema);
    return model;
}

void orm_model_unref(const orm_model *model)
{
    if (model) orm_schema_unref(model->schema);
}

const char *orm_model_name(const orm_model *model)
{
    return model->name;
}
const char *orm_model_table(const orm_model *model)
{
    return model->table;
}
size_t orm_model_field_count(const orm_model *model)
{
    return model->n_fields;
}

int orm_model_find_field(const orm_model *model, const char *name, size_t len)
{
    for (int i = 0; i < model->n_fields; i++) {
        const char *own = model->fields[i].def.name;
        if (strlen(own) == len && memcmp(own, name, len) == 0) return i;
    }
    return -1;
}

const orm_field_def *orm_model_field(const orm_model *model, size_t index)
{
    return index < model->n_fields ? &model->fields[index].def : NULL;
}

orm_type orm_model_field_type(const orm_model *model, size_t index)
{
    return index < model->n_fields ? (orm_type)model->fields[index].type : ORM_TYPE_NONE;
}

const orm_model *orm_model_field_target(const orm_model *model, size_t index)
{
    return index < model->n_fields ? model->fields[index].target : NULL;
}

size_t orm_model_key_count(const orm_model *model)
{
    return model->n_keys;
}

int orm_model_key_field(const orm_model *model, size_t k)
{
    return k < model->n_keys ? model->keys[k] : -1;
}

void orm_model_set_user(orm_model *model, void *user)
{
    model->user = user;
}
void *orm_model_get_user(const orm_model *model)
{
    return model->user;
}

int orm_model_auto_field(const orm_model *model)
{
    if (model->n_keys != 1) return -1;
    const orm_field *key = &model->fields[model->keys[0]];
    bool integer = key->def.type >= ORM_TYPE_INT16 && key->def.type <= ORM_TYPE_INT64;
    return integer && key->def.autoincrement != 2 ? (int)key->index : -1;
}
