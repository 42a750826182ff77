/* sink.c - the model sink: rows -> instances.
 *
 * One pass over the cells of a row, no copy in between.  The common kinds (int, text, float,
 * NULL) are made on the spot; the rest goes through cells.c.
 *
 * Joined models.  A node that has a parent keeps a map from key to instance, so that an object
 * that many rows share is built once.  When the map knows the key, the object and all that
 * hangs below it are already linked.
 *
 * The collector.  Instances start untracked; what is tracked would be walked again and again
 * while thousands of rows grow, so the collector pauses inside `row`.
 */
#include "data.h"

enum {
    COLUMN_OTHER,
    COLUMN_INT,
    COLUMN_TEXT,
    COLUMN_FLOAT,
    COLUMN_CUSTOM, /* its decoder sees NULL as well */
    COLUMN_JOINED
};

typedef struct sink_column {
    py_field *field; /* whose decoder; a reference's is its target's key */
    uint16_t slot;   /* in the instance's values */
    uint8_t how;     /* COLUMN_… ; JOINED: the child's object goes there */
} sink_column;

typedef struct key_map { /* integer keys: open addressing */
    size_t n, capacity;  /* capacity: 0 or a power of two */
    int64_t *keys;
    PyObject **objects; /* strong; NULL: free */
} key_map;

typedef struct py_sink_node {
    py_model *model;
    int32_t parent;
    uint32_t via, first, count;
    int32_t key;       /* cell of the key (its first field); -1: none */
    int32_t via_cell;  /* cell of the parent's reference; -1: none */
    bool shares;       /* has a single key: objects are kept by it */
    bool complete;     /* every field has a cell */
    bool fresh;        /* `current` was made by this row */
    PyObject *current; /* this row's instance (borrowed), NULL: absent */
    sink_column *columns;
    key_map map;
    PyObject *others; /* dict: keys that are no integers */
} py_sink_node;

/* ---- key maps ---- */

static size_t map_place(const key_map *map, int64_t key)
{
    size_t place = (size_t)((uint64_t)key * UINT64_C(0x9E3779B97F4A7C15) >> 20);
    for (;; place++) {
        place &= map->capacity - 1;
        if (!map->objects[place] || map->keys[place] == key) return place;
    }
}

static void map_dispose(key_map *map)
{
    for (size_t i = 0; i < map->capacity; i++) Py_XDECREF(map->objects[i]);
    PyMem_Free(map->keys);
    PyMem_Free(map->objects);
    *map = (key_map){0};
}

static int map_grow(key_map *map)
{
    key_map larger = {.n = map->n, .capacity = map->capacity ? map->capacity * 2 : 64};
    larger.keys = PyMem_Malloc(larger.capacity * sizeof(int64_t));
    larger.objects = PyMem_Calloc(larger.capacity, sizeof(PyObject *));
    if (!larger.keys || !larger.objects) {
        PyMem_Free(larger.keys);
        PyMem_Free(larger.objects);
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (!map->objects[i]) continue;
        size_t place = map_place(&larger, map->keys[i]);
        larger.keys[place] = map->keys[i];
        larger.objects[place] = map->objects[i];
    }
    PyMem_Free(map->keys);
    PyMem_Free(map->objects);
    *map = larger;
    return 0;
}

/* The kept object of a key; borrowed; NULL: none, or an exception. */
static PyObject *node_find(py_sink_node *node, py_state *state, const orm_column *column,
                           const orm_cell *key)
{
    if (key->kind == ORM_V_INT)
        return node->map.capacity ? node->map.objects[map_place(&node->map, key->as.i)] : NULL;
    if (!node->others) return NULL;
    sink_column *decoder = &node->columns[node->key - (int32_t)node->first];
    PyObject *object = py_cell_object(state, column, decoder->field, key);
    PyObject *kept = object ? PyDict_GetItemWithError(node->others, object) : NULL;
    Py_XDECREF(object);
    return kept;
}

static int node_keep(py_sink_node *node, const orm_cell *key, PyObject *instance)
{
    if (key->kind == ORM_V_INT) {
        key_map *map = &node->map;
        if (map->n * 2 >= map->capacity && map_grow(map) < 0) return -1;
        size_t place = map_place(map, key->as.i);
        map->keys[place] = key->as.i;
        Py_XSETREF(map->objects[place], Py_NewRef(instance));
        map->n++;
        return 0;
    }
    if (!node->others && !(node->others = PyDict_New())) return -1;
    PyObject *object = ((py_instance *)instance)->values[node->model->key];
    return object ? PyDict_SetItem(node->others, object, instance) : 0;
}

/* ---- cells ---- */

static inline PyObject *column_value(py_state *state, const sink_column *plan,
                                     const orm_column *column, const orm_cell *cell)
{
    if (cell->kind == ORM_V_NULL && plan->how != COLUMN_CUSTOM) return Py_NewRef(Py_None);
    switch (plan->how) {
    case COLUMN_INT:
        if (cell->kind == ORM_V_INT) return PyLong_FromLongLong(cell->as.i);
        break;
    case COLUMN_TEXT:
        if (cell->kind == ORM_V_TEXT) {
            PyObject *text = py_text_new(cell->as.ptr, cell->len);
            if (text) return text;
            PyErr_Clear(); /* cells.c says which column it is */
        }
        break;
    case COLUMN_FLOAT:
        if (cell->kind == ORM_V_FLOAT) return PyFloat_FromDouble(cell->as.f);
        break;
    default: break;
    }
    return py_cell_object(state, column, plan->field, cell);
}

static PyObject *make_direct(py_sink *sink, py_sink_node *node, const orm_cell *cells)
{
    py_instance *self = py_instance_new(node->model, !node->complete);
    if (!self) return NULL;
    const orm_column *columns = sink->layout->columns;
    for (uint32_t i = 0; i < node->count; i++) {
        const sink_column *plan = &node->columns[i];
        if (plan->how == COLUMN_JOINED) continue;
        uint32_t at = node->first + i;
        PyObject *value = column_value(sink->state, plan, &columns[at], &cells[at]);
        if (!value) {
            Py_DECREF(self);
            return NULL;
        }
        Py_XSETREF(self->values[plan->slot], value);
        if (plan->field->calls_python && PyObject_IS_GC(value)) py_instance_track(self);
    }
    self->flags = PY_INSTANCE_SAVED;
    return (PyObject *)self;
}

/* A model with an __init__ of its own is made by calling it. */
static PyObject *make_by_call(py_sink *sink, py_sink_node *node, const orm_cell *cells)
{
    py_model *model = node->model;
    PyObject *keywords = PyDict_New(), *none = PyTuple_New(0), *instance = NULL;
    const orm_column *columns = sink->layout->columns;
    for (uint32_t i = 0; keywords && i < node->count; i++) {
        uint32_t at = node->first + i;
        const sink_column *plan = &node->columns[i];
        PyObject *value = py_cell_object(sink->state, &columns[at], plan->field, &cells[at]);
        if (!value || PyDict_SetItem(keywords, model->fields[plan->slot].name, value) < 0)
            Py_CLEAR(keywords);
        Py_XDECREF(value);
    }
    if (keywords && none) instance = PyObject_Call((PyObject *)model->type, none, keywords);
    Py_XDECREF(keywords);
    Py_XDECREF(none);
    if (!instance) return NULL;
    if (!py_instance_check(sink->state, instance) ||
        py_model_get((py_instance *)instance) != model) {
        PyErr_Format(PyExc_TypeError, "%U() returned a %s", py_model_name(model),
                     Py_TYPE(instance)->tp_name);
        Py_DECREF(instance);
        return NULL;
    }
    ((py_instance *)instance)->flags |= PY_INSTANCE_SAVED;
    ((py_instance *)instance)->dirty = 0;
    return instance;
}

static PyObject *make_instance(py_sink *sink, py_sink_node *node, const orm_cell *cells)
{
    return node->model->calls_init ? make_by_call(sink, node, cells)
                                   : make_direct(sink, node, cells);
}

/* ---- rows ---- */

/* What the parent holds when there is no joined row: NULL's None, or a key without its row. */
static PyObject *absent_value(py_sink *sink, py_sink_node *node, const orm_cell *cells)
{
    if (node->via_cell < 0) return Py_NewRef(Py_None);
    const py_sink_node *parent = &sink->nodes[node->parent];
    const sink_column *plan = &parent->columns[node->via_cell - (int32_t)parent->first];
    return py_cell_object(sink->state, &sink->layout->columns[node->via_cell], plan->field,
                          &cells[node->via_cell]);
}

/* The joined instance, new reference, or NULL without exception when there is none. */
static PyObject *joined_instance(py_sink *sink, py_sink_node *node, const orm_cell *cells)
{
    const orm_cell *key = node->key >= 0 ? &cells[node->key] : NULL;
    if (key && key->kind == ORM_V_NULL) return NULL;
    if (!key || !node->shares) return make_instance(sink, node, cells);
    PyObject *kept = node_find(node, sink->state, &sink->layout->columns[node->key], key);
    node->fresh = !kept;
    if (kept) return Py_NewRef(kept);
    if (PyErr_Occurred()) return NULL;
    PyObject *instance = make_instance(sink, node, cells);
    if (instance && node_keep(node, key, instance) < 0) Py_CLEAR(instance);
    return instance;
}

/* Sets the parent's reference to this row's object.  -1: exception. */
static int link_node(py_sink *sink, py_sink_node *node, const orm_cell *cells)
{
    py_sink_node *parent_node = &sink->nodes[node->parent];
    py_instance *parent = (py_instance *)parent_node->current;
    node->current = NULL;
    node->fresh = false;
    if (!parent) return 0;
    if (!parent_node->fresh) { /* linked when it was made */
        PyObject *value = parent->values[node->via];
        if (value && py_instance_check(sink->state, value)) node->current = value;
        return 0;
    }
    node->fresh = true;
    PyObject *value = joined_instance(sink, node, cells);
    if (value)
        node->current = value;
    else if (!PyErr_Occurred())
        value = absent_value(sink, node, cells);
    if (!value) return -1;
    if (node->current) py_instance_track(parent);
    Py_XSETREF(parent->values[node->via], value);
    return 0;
}

static PyObject *make_row(py_sink *sink, const orm_cell *cells)
{
    py_sink_node *root = &sink->nodes[0];
    PyObject *row = make_instance(sink, root, cells);
    if (!row) return NULL;
    root->current = row;
    root->fresh = true;
    for (uint32_t i = 1; i < sink->n_nodes; i++) {
        if (link_node(sink, &sink->nodes[i], cells) < 0) {
            Py_DECREF(row);
            return NULL;
        }
    }
    return row;
}

static PyObject *make_tuple(py_sink *sink, const orm_cell *cells)
{
    uint32_t n = sink->layout->n_columns;
    PyObject *row = PyTuple_New(n);
    for (uint32_t i = 0; row && i < n; i++) {
        PyObject *value = py_cell_object(sink->state, &sink->layout->columns[i], NULL, &cells[i]);
        if (value)
            PyTuple_SET_ITEM(row, i, value);
        else
            Py_CLEAR(row);
    }
    return row;
}

/* Keeps the Python exception for the operation to raise; the core hears of a failure only. */
static orm_status keep_error(py_sink *sink, orm_error *err)
{
    static const char message[] = "a row could not be read";
    if (sink->error_type) {
        PyErr_Clear();
    } else {
        PyErr_Fetch(&sink->error_type, &sink->error_value, &sink->error_traceback);
    }
    if (err) {
        *err = (orm_error){.status = ORM_EDATA};
        memcpy(err->message, message, sizeof(message));
    }
    return ORM_EDATA;
}

static orm_status sink_row(orm_sink *base, const orm_cell *cells, orm_error *err)
{
    py_sink *sink = (py_sink *)base;
    int paused = PyGC_Disable();
    PyObject *row = sink->n_nodes ? make_row(sink, cells) : make_tuple(sink, cells);
    if (paused) PyGC_Enable();
    if (!row) return keep_error(sink, err);
    sink->count++;
    if (!sink->single) {
        int result = PyList_Append(sink->rows, row);
        Py_DECREF(row);
        return result < 0 ? keep_error(sink, err) : ORM_OK;
    }
    if (sink->one)
        Py_DECREF(row);
    else
        sink->one = row;
    return ORM_OK;
}

/* ---- the plan of a layout ---- */

static void nodes_free(py_sink *sink)
{
    for (uint32_t i = 0; sink->nodes && i < sink->n_nodes; i++) {
        map_dispose(&sink->nodes[i].map);
        Py_XDECREF(sink->nodes[i].others);
        PyMem_Free(sink->nodes[i].columns);
    }
    PyMem_Free(sink->nodes);
    sink->nodes = NULL;
    sink->n_nodes = 0;
}

static uint8_t column_how(const orm_column *column)
{
    switch (column->type) {
    case ORM_TYPE_INT16:
    case ORM_TYPE_INT32:
    case ORM_TYPE_INT64: return COLUMN_INT;
    case ORM_TYPE_TEXT: return column->expect == ORM_V_TEXT ? COLUMN_TEXT : COLUMN_OTHER;
    case ORM_TYPE_FLOAT: return COLUMN_FLOAT;
    default: return COLUMN_OTHER;
    }
}

/* References are stored as their target's key, which may be one itself. */
static py_field *decoding_field(py_field *field)
{
    py_model *model = field->model;
    while (field && field->is_reference) field = py_model_target(model, field, &model);
    return field;
}

static int plan_columns(py_sink_node *node, const orm_layout *layout)
{
    py_model *model = node->model;
    Py_ssize_t covered = 0;
    int key = orm_model_key_field(model->model, 0);
    for (uint32_t i = 0; i < node->count; i++) {
        const orm_column *column = &layout->columns[node->first + i];
        sink_column *plan = &node->columns[i];
        if (column->field >= model->n_fields) {
            PyErr_SetString(PyExc_SystemError, "a result column without its field");
            return -1;
        }
        plan->slot = column->field;
        plan->how = column_how(column);
        plan->field = decoding_field(&model->fields[column->field]);
        if (!plan->field) return -1;
        if (plan->field->decode) plan->how = COLUMN_CUSTOM;
        if (column->field == key) node->key = (int32_t)(node->first + i);
        covered++;
    }
    node->complete = covered >= model->n_fields;
    return 0;
}

static int plan_node(py_sink *sink, uint32_t index, const orm_layout *layout)
{
    const orm_node *source = &layout->nodes[index];
    py_sink_node *node = &sink->nodes[index];
    node->model = py_model_of_core(source->model);
    if (!node->model) {
        py_error_format(sink->state, ORM_ECONFIG, "the class of model '%s' is gone",
                        orm_model_name(source->model));
        return -1;
    }
    node->parent = source->parent;
    node->via = source->via;
    node->first = source->first;
    node->count = source->count;
    node->key = node->via_cell = -1;
    node->shares = source->parent >= 0 && node->model->key >= 0;
    node->columns = PyMem_Calloc(node->count + 1u, sizeof(sink_column));
    if (!node->columns) {
        PyErr_NoMemory();
        return -1;
    }
    if (plan_columns(node, layout) < 0) return -1;
    if (!node->complete && !py_model_sparse(node->model)) return -1;
    if (source->parent < 0) return 0;
    py_sink_node *parent = &sink->nodes[source->parent];
    for (uint32_t i = 0; i < parent->count; i++) {
        if (parent->columns[i].slot != node->via) continue;
        parent->columns[i].how = COLUMN_JOINED;
        node->via_cell = (int32_t)(parent->first + i);
    }
    return 0;
}

static orm_status sink_begin(orm_sink *base, const orm_layout *layout, orm_error *err)
{
    py_sink *sink = (py_sink *)base;
    nodes_free(sink);
    sink->layout = layout;
    if (!sink->model || layout->n_nodes == 0) return ORM_OK;
    sink->nodes = PyMem_Calloc(layout->n_nodes, sizeof(py_sink_node));
    if (!sink->nodes) PyErr_NoMemory();
    for (uint32_t i = 0; sink->nodes && i < layout->n_nodes; i++) {
        sink->n_nodes = i + 1;
        if (plan_node(sink, i, layout) < 0) break;
    }
    return PyErr_Occurred() ? keep_error(sink, err) : ORM_OK;
}

static size_t sink_mark(const orm_sink *base)
{
    return ((const py_sink *)base)->count;
}

/* Rows that are read again may have changed: nothing is shared with what was dropped. */
static void sink_rewind(orm_sink *base, size_t mark)
{
    py_sink *sink = (py_sink *)base;
    for (uint32_t i = 0; i < sink->n_nodes; i++) {
        map_dispose(&sink->nodes[i].map);
        Py_CLEAR(sink->nodes[i].others);
    }
    if (mark == 0) Py_CLEAR(sink->one);
    if (sink->rows && (size_t)PyList_GET_SIZE(sink->rows) > mark &&
        PyList_SetSlice(sink->rows, (Py_ssize_t)mark, PY_SSIZE_T_MAX, NULL) < 0)
        keep_error(sink, NULL);
    sink->count = mark;
}

static const orm_sink_vtable sink_vtable = {
    .size = sizeof(orm_sink_vtable),
    .begin = sink_begin,
    .row = sink_row,
    .mark = sink_mark,
    .rewind = sink_rewind,
};

int py_sink_init(py_sink *sink, py_state *state, py_model *model, bool single)
{
    memset(sink, 0, sizeof(*sink));
    sink->base.vtable = &sink_vtable;
    sink->state = state;
    sink->model = model;
    sink->single = single;
    int runs_python = model ? py_model_reaches_python(model) : 0;
    if (runs_python < 0) return -1;
    if (runs_python) sink->base.flags = ORM_SINK_AFTER_RESET;
    if (single) return 0;
    sink->rows = PyList_New(0);
    return sink->rows ? 0 : -1;
}

void py_sink_dispose(py_sink *sink)
{
    nodes_free(sink);
    Py_CLEAR(sink->rows);
    Py_CLEAR(sink->one);
    Py_CLEAR(sink->error_type);
    Py_CLEAR(sink->error_value);
    Py_CLEAR(sink->error_traceback);
}

PyObject *py_sink_take(py_sink *sink)
{
    PyObject *result = sink->single ? sink->one : sink->rows;
    sink->one = NULL;
    sink->rows = NULL;
    return result;
}
