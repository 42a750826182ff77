/* group.c - the rows of one result, so that loading their relations is not N + 1 queries.
 *
 * The rows of a list are the members of a group; the sparse object that a member's reference is
 * read as is a child of it.  The first load() of a child loads that one.  The second loads the
 * relation for every member that still lacks it.  Those it loaded beside the asked one are
 * fresh: their own first load() is answered at once while no write went through the database.
 *
 * What was joined to the rows is a group as well, one for each relation.
 *
 * A group holds no row: members are borrowed and take themselves off when they go.
 */
#include "data.h"
#include "ops.h"

#define MAX_KEYS 1000

struct py_group {
    size_t refs;     /* members, children, operations */
    uint64_t writes; /* of the database, when the members were loaded as peers */
    uint64_t loaded; /* bit i: a child by field i has been loaded */
    uint64_t busy;   /* bit i: all by field i are being loaded */
    Py_ssize_t n;
    py_instance *members[]; /* NULL: gone */
};

static uint64_t bit_of(uint32_t field)
{
    return (uint64_t)1 << (field & 63);
}

static void group_unref(py_group *self)
{
    if (self && --self->refs == 0) PyMem_Free(self);
}

static bool has_references(const py_model *model)
{
    for (Py_ssize_t i = 0; i < model->n_fields && i < 64; i++)
        if (model->fields[i].is_reference) return true;
    return false;
}

static py_group *group_new(PyObject *rows)
{
    Py_ssize_t n = PyList_GET_SIZE(rows);
    py_group *self = PyMem_Calloc(1, sizeof *self + (size_t)n * sizeof *self->members);
    if (!self) {
        PyErr_NoMemory();
        return NULL;
    }
    self->n = n;
    for (Py_ssize_t i = 0; i < n; i++) {
        py_instance *row = (py_instance *)PyList_GET_ITEM(rows, i);
        py_group_leave(row);
        row->group = self;
        row->place = (uint32_t)i;
        self->members[i] = row;
        self->refs++;
    }
    return self;
}

/* The objects that were joined to the rows by one reference, each once: a list.  NULL without
 * exception: nothing was joined, or it has no references of its own. */
static PyObject *joined_objects(PyObject *rows, py_model *model, Py_ssize_t field)
{
    PyObject *list = NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(rows); i++) {
        PyObject *value = ((py_instance *)PyList_GET_ITEM(rows, i))->values[field];
        if (!value || value == Py_None) continue;
        if (!py_instance_check(model->state, value)) break; /* a bare key: so are the others */
        py_instance *object = (py_instance *)value;
        if (!list && (!has_references(py_model_get(object)) || !(list = PyList_New(0)))) break;
        if (object->group || (object->flags & PY_INSTANCE_SEEN)) continue;
        object->flags |= PY_INSTANCE_SEEN;
        if (PyList_Append(list, value) < 0) break;
    }
    for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list); i++)
        ((py_instance *)PyList_GET_ITEM(list, i))->flags &= ~(uint32_t)PY_INSTANCE_SEEN;
    if (PyErr_Occurred()) Py_CLEAR(list);
    return list;
}

static int group_joined(PyObject *rows, py_model *model)
{
    for (Py_ssize_t i = 0; i < model->n_fields && i < 64; i++) {
        if (!model->fields[i].is_reference) continue;
        PyObject *list = joined_objects(rows, model, i);
        if (!list && PyErr_Occurred()) return -1;
        int result = 0;
        if (list && PyList_GET_SIZE(list))
            result = py_group_rows(list, py_model_get((py_instance *)PyList_GET_ITEM(list, 0)));
        Py_XDECREF(list);
        if (result < 0) return -1;
    }
    return 0;
}

int py_group_rows(PyObject *rows, py_model *model)
{
    if (!model || PyList_GET_SIZE(rows) < 2 || PyList_GET_SIZE(rows) > INT32_MAX ||
        !has_references(model))
        return 0;
    return group_new(rows) ? group_joined(rows, model) : -1;
}

void py_group_adopt(py_instance *parent, py_instance *child, Py_ssize_t field)
{
    if (parent->flags & PY_INSTANCE_CHILD || field >= 64) return;
    child->group = parent->group;
    child->group->refs++;
    child->place = (uint32_t)field;
    child->flags |= PY_INSTANCE_CHILD;
}

void py_group_leave(py_instance *self)
{
    py_group *group = self->group;
    if (!group) return;
    self->group = NULL;
    if (!(self->flags & PY_INSTANCE_CHILD)) group->members[self->place] = NULL;
    self->flags &= ~(uint32_t)(PY_INSTANCE_CHILD | PY_INSTANCE_FRESH);
    group_unref(group);
}

/* ---- loading the peers ------------------------------------------------------------------- */

static bool is_child_of(const py_instance *self, const py_group *group)
{
    return self->group == group && (self->flags & PY_INSTANCE_CHILD);
}

/* The key of a reference that is not loaded; new reference; NULL: loaded, NULL or not set. */
static PyObject *missing_key(py_group *group, py_instance *member, uint32_t field, py_model *target)
{
    PyObject *value = member->values[field];
    if (!value || value == Py_None) return NULL;
    if (!py_instance_check(target->state, value)) return Py_NewRef(value);
    py_instance *child = (py_instance *)value;
    return is_child_of(child, group) ? py_instance_find_key(child, target) : NULL;
}

/* Distinct keys of what is missing, the asked one first: a list. */
static PyObject *missing_keys(py_group *group, py_instance *asked, py_model *target)
{
    PyObject *keys = PyDict_New();
    PyObject *key = keys ? py_instance_key(asked, target) : NULL;
    bool failed = !key || PyDict_SetItem(keys, key, Py_None) < 0;
    Py_XDECREF(key);
    for (Py_ssize_t i = 0; !failed && i < group->n && PyDict_GET_SIZE(keys) < MAX_KEYS; i++) {
        if (!group->members[i]) continue;
        key = missing_key(group, group->members[i], asked->place, target);
        failed = key ? PyDict_SetItem(keys, key, Py_None) < 0 : PyErr_Occurred() != NULL;
        Py_XDECREF(key);
    }
    PyObject *list = failed ? NULL : PyDict_Keys(keys);
    Py_XDECREF(keys);
    return list;
}

static orm_query *keys_query(py_model *target, PyObject *keys)
{
    char path[ORM_NAME_BYTES + 8];
    int len = PyOS_snprintf(path, sizeof path, "%s__in",
                            orm_model_field(target->model, (size_t)target->key)->name);
    orm_error err = {0};
    orm_cond cond = {.value = orm_null()};
    if (orm_path_resolve(target->model, path, (size_t)len, ORM_PATH_LOOKUP, &cond.path, &err) < 0)
        return (orm_query *)py_error_raise(target->state, &err, NULL, 0);
    if (py_value_of_path(target->state, &cond.path, keys, &cond.value) < 0) return NULL;
    return orm_query_filter(orm_query_new(target->model), &cond, 1, false);
}

PyObject *py_group_on_load(PyObject *module, PyObject *callback)
{
    py_state *state = PyModule_GetState(module);
    return py_hooks_add(&state->ops->load_hooks, callback, "on_implicit_load");
}

/* Tells the hooks; `operation->extra` is the place of the call: (filename, line). */
static void report_load(py_operation *operation, const py_group *group, uint32_t field,
                        Py_ssize_t rows)
{
    py_ops *ops = operation->state->ops;
    py_model *model = NULL;
    for (Py_ssize_t i = 0; i < group->n && !model; i++)
        if (group->members[i]) model = py_model_get(group->members[i]);
    PyObject *event = model ? PyStructSequence_New(ops->load_type) : NULL;
    if (event) {
        PyObject *items[] = {
            PyUnicode_FromFormat("%U.%U", py_model_name(model), model->fields[field].name),
            PyLong_FromSsize_t(rows),
            Py_NewRef(PyTuple_GET_ITEM(operation->extra, 0)),
            Py_NewRef(PyTuple_GET_ITEM(operation->extra, 1)),
        };
        for (Py_ssize_t i = 0; i < 4; i++) PyStructSequence_SetItem(event, i, items[i]);
        if (items[0] && items[1]) py_hooks_call(ops->load_hooks, event);
    }
    if (PyErr_Occurred()) PyErr_WriteUnraisable(NULL);
    Py_XDECREF(event);
}

orm_query *py_group_query(py_operation *operation, py_instance *asked)
{
    py_group *group = asked->group;
    py_model *target = operation->model;
    if (!is_child_of(asked, group) || target->key < 0) return NULL;
    uint64_t bit = bit_of(asked->place);
    bool first = !(group->loaded & bit);
    group->loaded |= bit;
    if (first || (group->busy & bit)) return NULL;
    PyObject *keys = missing_keys(group, asked, target);
    orm_query *query = keys ? keys_query(target, keys) : NULL;
    if (query && operation->extra)
        report_load(operation, group, asked->place, PyList_GET_SIZE(keys));
    Py_XDECREF(keys);
    if (query) {
        group->busy |= bit;
        group->refs++;
        operation->group = group;
        operation->place = asked->place;
    }
    return query;
}

void py_group_ended(py_operation *operation)
{
    py_group *group = operation->group;
    operation->group = NULL;
    if (group) group->busy &= ~bit_of(operation->place);
    group_unref(group);
}

static PyObject *rows_by_key(PyObject *rows, py_model *target)
{
    PyObject *map = PyDict_New();
    for (Py_ssize_t i = 0; map && i < PyList_GET_SIZE(rows); i++) {
        PyObject *row = PyList_GET_ITEM(rows, i);
        PyObject *key = py_instance_key((py_instance *)row, target);
        if (!key || PyDict_SetItem(map, key, row) < 0) Py_CLEAR(map);
        Py_XDECREF(key);
    }
    return map;
}

/* The member's related object becomes complete, and is one of `filled`. */
static int fill_member(py_group *group, py_instance *member, uint32_t field, py_model *target,
                       PyObject *map, PyObject *filled)
{
    PyObject *key = missing_key(group, member, field, target);
    if (!key) return PyErr_Occurred() ? -1 : 0;
    PyObject *row = PyDict_GetItemWithError(map, key);
    Py_DECREF(key);
    if (!row) return PyErr_Occurred() ? -1 : 0;
    PyObject *child = py_instance_reference(member, py_model_get(member), (Py_ssize_t)field);
    int result = child ? py_instance_assign((py_instance *)child, target, (py_instance *)row) : -1;
    if (result == 0) {
        py_group_leave((py_instance *)child); /* loaded: no child any more */
        result = PyList_Append(filled, child);
    }
    Py_XDECREF(child);
    return result;
}

/* They are rows of one result as well, and fresh until something is written. */
static int group_filled(py_operation *operation, PyObject *filled, py_instance *asked)
{
    py_group *group = group_new(filled);
    if (!group) return -1;
    group->writes = operation->database->writes;
    for (Py_ssize_t i = 0; i < group->n; i++) group->members[i]->flags |= PY_INSTANCE_FRESH;
    asked->flags &= ~(uint32_t)PY_INSTANCE_FRESH;
    return 0;
}

/* 1: its row is there, and it is no child any more. */
static int fill_asked(py_instance *asked, py_model *target, PyObject *map, PyObject *filled)
{
    PyObject *key = py_instance_key(asked, target);
    PyObject *row = key ? PyDict_GetItemWithError(map, key) : NULL;
    Py_XDECREF(key);
    if (!row) return PyErr_Occurred() ? -1 : 0;
    if (py_instance_assign(asked, target, (py_instance *)row) < 0 ||
        PyList_Append(filled, (PyObject *)asked) < 0)
        return -1;
    py_group_leave(asked);
    return 1;
}

static int fill_all(py_operation *operation, py_instance *asked, PyObject *map, PyObject *filled)
{
    py_group *group = operation->group;
    int result = fill_asked(asked, operation->model, map, filled);
    for (Py_ssize_t i = 0; result == 1 && i < group->n; i++)
        if (group->members[i] && fill_member(group, group->members[i], operation->place,
                                             operation->model, map, filled) < 0)
            result = -1;
    return result == 1 && group_filled(operation, filled, asked) < 0 ? -1 : result;
}

int py_group_fill(py_operation *operation, py_instance *asked, PyObject *rows)
{
    PyObject *map = rows_by_key(rows, operation->model);
    PyObject *filled = map ? PyList_New(0) : NULL;
    int result = filled ? fill_all(operation, asked, map, filled) : -1;
    Py_XDECREF(filled);
    Py_XDECREF(map);
    return result;
}

bool py_group_take_fresh(py_instance *self, const py_database *database)
{
    bool fresh = (self->flags & PY_INSTANCE_FRESH) && self->group &&
                 self->group->writes == database->writes;
    self->flags &= ~(uint32_t)PY_INSTANCE_FRESH;
    return fresh;
}
