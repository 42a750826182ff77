/* result.c - rows as the caller's structs: the sink that makes them, and what they hold.
 *
 * Rows lie in one block that doubles; text and related objects in an arena, so that they stay
 * where they are while the rows move.  A related object is made once for each key and node.
 */
#include "engine.h"
#include "member.h"
#include <stdalign.h>

/* The objects of one model by integer key. */
typedef struct object_map {
    struct entry {
        int64_t key;
        void *object; /* NULL: free */
    } * entries;
    size_t count, mask; /* mask + 1 entries; none when entries is NULL */
} object_map;

/* How the rows of one node become objects. */
typedef struct node_state {
    const orm_model *model;
    int32_t parent;
    uint32_t via_offset;   /* of the referring member in the parent's struct */
    uint32_t first, count; /* columns */
    int32_t key_column;    /* the only key's; -1: none, or several */
    void *object;          /* of the row in hand */
    object_map map;
} node_state;

struct orm_result {
    orm_sink sink;          /* first: the sink is the result */
    const orm_model *model; /* a reference */
    char *rows;             /* the first few in the arena, then a block of their own */
    size_t count, cap;
    bool rows_in_arena;
    orm_arena arena;
    const orm_layout *layout; /* only while rows come */
    node_state *nodes;        /* in the arena */
    uint32_t n_nodes;
    struct loader *loader;
};

/* ---- maps ---- */

static struct entry *find_entry(const object_map *map, int64_t key)
{
    size_t i = orm_hash_mix(0x9e37, (uint64_t)key) & map->mask;
    while (map->entries[i].object && map->entries[i].key != key) i = (i + 1) & map->mask;
    return &map->entries[i];
}

static void *find_object(const object_map *map, int64_t key)
{
    return map->entries ? find_entry(map, key)->object : NULL;
}

static orm_status grow_map(object_map *map, orm_error *err)
{
    object_map larger = {.count = map->count, .mask = map->entries ? map->mask * 2 + 1 : 15};
    larger.entries = orm_alloc0((larger.mask + 1) * sizeof *larger.entries);
    if (!larger.entries) return orm_fail_nomem(err);
    for (size_t i = 0; map->entries && i <= map->mask; i++)
        if (map->entries[i].object) *find_entry(&larger, map->entries[i].key) = map->entries[i];
    orm_dealloc(map->entries);
    *map = larger;
    return ORM_OK;
}

static orm_status add_object(object_map *map, int64_t key, void *object, orm_error *err)
{
    if (!map->entries || map->count * 2 > map->mask) ORM_TRY(grow_map(map, err));
    struct entry *entry = find_entry(map, key);
    if (!entry->object) map->count++;
    *entry = (struct entry){key, object};
    return ORM_OK;
}

static void clear_map(object_map *map)
{
    orm_dealloc(map->entries);
    *map = (object_map){NULL, 0, 0};
}

/* ---- rows ---- */

static orm_status fill(orm_result *self, const orm_layout *layout, const node_state *node,
                       char *object, const orm_cell *cells, orm_error *err)
{
    for (uint32_t i = node->first; i < node->first + node->count; i++) {
        const orm_column *column = &layout->columns[i];
        if (!column->model) continue;
        ORM_TRY(orm_member_set(&node->model->fields[column->field], column, object, &cells[i],
                               &self->arena, err));
    }
    return ORM_OK;
}

static void *new_object(orm_result *self, const orm_model *model)
{
    void *object = orm_arena_alloc(&self->arena, model->struct_size);
    if (object) memset(object, 0, model->struct_size);
    return object;
}

static orm_status grow_rows(orm_result *self, orm_error *err)
{
    size_t size = self->model->struct_size, cap = self->cap ? self->cap * 2 : 2;
    if (cap > SIZE_MAX / 4 / size) return orm_fail_nomem(err);
    char *old = self->rows_in_arena ? NULL : self->rows;
    bool in_arena = self->cap == 0;
    char *rows = in_arena ? orm_arena_alloc(&self->arena, cap * size)
                          : orm_realloc(old, cap * size);
    if (!rows) return orm_fail_nomem(err);
    if (self->rows_in_arena) memcpy(rows, self->rows, self->count * size);
    self->rows = rows;
    self->rows_in_arena = in_arena;
    self->cap = cap;
    return ORM_OK;
}

static orm_status add_row(orm_result *self, const orm_cell *cells, orm_error *err)
{
    size_t size = self->model->struct_size;
    if (self->count == self->cap) ORM_TRY(grow_rows(self, err));
    char *row = self->rows + self->count * size;
    memset(row, 0, size);
    ORM_TRY(fill(self, self->layout, &self->nodes[0], row, cells, err));
    self->nodes[0].object = row;
    self->count++;
    return ORM_OK;
}

/* The object of a joined node: the one that is there for its key, or a new one. */
static orm_status take_related(orm_result *self, node_state *node, const orm_cell *cells,
                               orm_error *err)
{
    char *parent = self->nodes[node->parent].object;
    const orm_cell *key = node->key_column >= 0 ? &cells[node->key_column] : NULL;
    node->object = NULL;
    if (!parent || !key || key->kind == ORM_V_NULL) return ORM_OK;
    bool mapped = key->kind == ORM_V_INT;
    if (mapped) node->object = find_object(&node->map, key->as.i);
    if (!node->object) {
        void *object = new_object(self, node->model);
        if (!object) return orm_fail_nomem(err);
        ORM_TRY(fill(self, self->layout, node, object, cells, err));
        if (mapped) ORM_TRY(add_object(&node->map, key->as.i, object, err));
        node->object = object;
    }
    orm_ref_member *ref = (orm_ref_member *)(parent + node->via_offset);
    memcpy(&ref->obj, &node->object, sizeof ref->obj);
    return ORM_OK;
}

static orm_status result_row(orm_sink *sink, const orm_cell *cells, orm_error *err)
{
    orm_result *self = (orm_result *)sink;
    ORM_TRY(add_row(self, cells, err));
    for (uint32_t i = 1; i < self->n_nodes; i++)
        ORM_TRY(take_related(self, &self->nodes[i], cells, err));
    return ORM_OK;
}

static orm_status check_members(const orm_model *model, orm_error *err)
{
    for (uint16_t i = 0; i < model->n_fields; i++)
        if (model->fields[i].def.member == ORM_M_NONE)
            return orm_fail(err, ORM_EMISUSE, "'%s.%s' has no member in a struct: give a sink",
                            model->name, model->fields[i].def.name);
    return ORM_OK;
}

static orm_status init_node(node_state *state, const orm_layout *layout, const orm_node *node,
                            orm_error *err)
{
    ORM_TRY(check_members(node->model, err));
    *state = (node_state){.model = node->model,
                          .parent = node->parent,
                          .first = node->first,
                          .count = node->count,
                          .key_column = -1};
    if (node->parent >= 0) {
        const orm_field *via = &layout->nodes[node->parent].model->fields[node->via];
        if (via->def.member != ORM_M_REF)
            return orm_fail(err, ORM_EMISUSE, "'%s.%s' is not ORM_REF in its struct",
                            via->model->name, via->def.name);
        state->via_offset = via->def.offset;
    }
    for (uint32_t i = node->first; i < node->first + node->count; i++)
        if (layout->columns[i].model && node->model->n_keys == 1 &&
            layout->columns[i].field == node->model->keys[0])
            state->key_column = (int32_t)i;
    return ORM_OK;
}

static orm_status result_begin(orm_sink *sink, const orm_layout *layout, orm_error *err)
{
    orm_result *self = (orm_result *)sink;
    for (uint32_t i = 0; i < self->n_nodes; i++) clear_map(&self->nodes[i].map);
    self->n_nodes = 0;
    self->layout = layout;
    self->nodes = orm_arena_alloc(&self->arena, layout->n_nodes * sizeof *self->nodes);
    if (!self->nodes) return orm_fail_nomem(err);
    for (uint32_t i = 0; i < layout->n_nodes; i++) {
        ORM_TRY(init_node(&self->nodes[i], layout, &layout->nodes[i], err));
        self->n_nodes = i + 1;
    }
    return ORM_OK;
}

static size_t result_mark(const orm_sink *sink)
{
    return ((const orm_result *)sink)->count;
}

static void result_rewind(orm_sink *sink, size_t mark)
{
    ((orm_result *)sink)->count = mark;
}

static const orm_sink_vtable result_vtable = {
    .size = sizeof(orm_sink_vtable),
    .begin = result_begin,
    .row = result_row,
    .mark = result_mark,
    .rewind = result_rewind,
};

orm_result *orm_result_new(const orm_model *model)
{
    orm_result *self = orm_alloc0(sizeof *self);
    if (!self) return NULL;
    self->sink.vtable = &result_vtable;
    self->model = orm_model_ref(model);
    orm_arena_init(&self->arena, 512);
    return self;
}

orm_sink *orm_result_sink(orm_result *result)
{
    return &result->sink;
}

void orm_result_free(orm_result *result)
{
    if (!result) return;
    for (uint32_t i = 0; i < result->n_nodes; i++) clear_map(&result->nodes[i].map);
    orm_result_load_finish(result);
    orm_arena_dispose(&result->arena);
    if (!result->rows_in_arena) orm_dealloc(result->rows);
    orm_model_unref(result->model);
    orm_dealloc(result);
}

size_t orm_result_count(const orm_result *result)
{
    return result ? result->count : 0;
}

void *orm_result_rows(orm_result *result)
{
    return result ? result->rows : NULL;
}

size_t orm_result_bytes(const orm_result *result)
{
    if (!result) return 0;
    size_t own = result->rows_in_arena ? 0 : result->cap * result->model->struct_size;
    return own + result->arena.bytes;
}

/* ---- loading a relation afterwards ---- */

struct loader {
    orm_sink sink;
    orm_result *result;
    const orm_field *field;
    const orm_layout *layout;
    node_state node;
    size_t count;
};

static orm_ref_member *ref_of(const orm_result *result, size_t row, const orm_field *field)
{
    return (orm_ref_member *)(result->rows + row * result->model->struct_size + field->def.offset);
}

static orm_status load_begin(orm_sink *sink, const orm_layout *layout, orm_error *err)
{
    struct loader *self = (struct loader *)sink;
    object_map map = self->node.map;
    self->layout = layout;
    orm_status status = init_node(&self->node, layout, &layout->nodes[0], err);
    self->node.map = map;
    return status;
}

static orm_status load_row(orm_sink *sink, const orm_cell *cells, orm_error *err)
{
    struct loader *self = (struct loader *)sink;
    const orm_cell *key = &cells[self->node.key_column];
    void *object = new_object(self->result, self->node.model);
    if (!object) return orm_fail_nomem(err);
    ORM_TRY(fill(self->result, self->layout, &self->node, object, cells, err));
    self->count++;
    return add_object(&self->node.map, key->as.i, object, err);
}

static size_t load_mark(const orm_sink *sink)
{
    return ((const struct loader *)sink)->count;
}

/* Rows that come again replace the objects of their keys. */
static void load_rewind(orm_sink *sink, size_t mark)
{
    ((struct loader *)sink)->count = mark;
}

static const orm_sink_vtable load_vtable = {
    .size = sizeof(orm_sink_vtable),
    .begin = load_begin,
    .row = load_row,
    .mark = load_mark,
    .rewind = load_rewind,
};

orm_sink *orm_result_load_sink(orm_result *result, const orm_field *field, orm_error *err)
{
    if (field->def.member != ORM_M_REF || field->target->n_keys != 1) {
        orm_fail(err, ORM_EMISUSE, "'%s.%s' is not ORM_REF in its struct", field->model->name,
                 field->def.name);
        return NULL;
    }
    if (result->loader) {
        orm_fail(err, ORM_ECONCURRENT, "the result is being loaded already");
        return NULL;
    }
    struct loader *self = orm_alloc0(sizeof *self);
    if (!self) {
        orm_fail_nomem(err);
        return NULL;
    }
    self->sink.vtable = &load_vtable;
    self->result = result;
    self->field = field;
    result->loader = self;
    return &self->sink;
}

orm_status orm_result_collect(orm_result *result, const orm_field *field, orm_arena *arena,
                              orm_value **keys, size_t *n, orm_error *err)
{
    object_map seen = {NULL, 0, 0};
    orm_status status = ORM_OK;
    orm_value *list = orm_arena_alloc(arena, (result->count + 1) * sizeof *list);
    if (!list) return orm_fail_nomem(err);
    *n = 0;
    for (size_t i = 0; i < result->count && status >= 0; i++) {
        const orm_ref_member *ref = ref_of(result, i, field);
        if (!ref->has || ref->obj || find_object(&seen, ref->id)) continue;
        status = add_object(&seen, ref->id, list, err);
        list[(*n)++] = orm_int(ref->id);
    }
    clear_map(&seen);
    *keys = list;
    return status;
}

void orm_result_load_finish(orm_result *result)
{
    struct loader *self = result->loader;
    if (!self) return;
    for (size_t i = 0; i < result->count; i++) {
        orm_ref_member *ref = ref_of(result, i, self->field);
        if (ref->has && !ref->obj) ref->obj = find_object(&self->node.map, ref->id);
    }
    clear_map(&self->node.map);
    orm_dealloc(self);
    result->loader = NULL;
}

const orm_model *orm_result_model(const orm_result *result)
{
    return result->model;
}
