/* face.c - how an instance looks: repr, equality, hash, mapping, pickle, methods. */
#include "data.h"

/* ---- repr ---- */

/* Text of a field's value; related objects whose target is not known show as their key. */
static PyObject *repr_value(py_instance *self, py_model *model, Py_ssize_t field)
{
    PyObject *value = py_instance_read(self, model, field);
    if (!value) {
        PyErr_Clear();
        return PyObject_Repr(self->values[field]);
    }
    PyObject *text = PyObject_Repr(value);
    Py_DECREF(value);
    return text;
}

static bool is_generated_key(py_model *model, Py_ssize_t field)
{
    return model->fields[field].primary_key || field == model->key;
}

static PyObject *repr_fields(py_instance *self, py_model *model)
{
    PyObject *parts = PyList_New(0), *comma = PyUnicode_FromString(", "), *text = NULL;
    bool sparse = false;
    for (Py_ssize_t i = 0; parts && i < model->n_fields; i++) {
        if (!self->values[i]) { /* a row that is not saved lacks its key, no more */
            if (!is_generated_key(model, i)) sparse = true;
            continue;
        }
        PyObject *value = repr_value(self, model, i);
        PyObject *part = value ? PyUnicode_FromFormat("%U=%U", model->fields[i].name, value) : NULL;
        if (!part || PyList_Append(parts, part) < 0) Py_CLEAR(parts);
        Py_XDECREF(value);
        Py_XDECREF(part);
    }
    PyObject *joined = parts && comma ? PyUnicode_Join(comma, parts) : NULL;
    if (joined)
        text = PyUnicode_FromFormat("%U(%U)%s", py_model_name(model), joined,
                                    sparse ? " [sparse]" : "");
    Py_XDECREF(joined);
    Py_XDECREF(parts);
    Py_XDECREF(comma);
    return text;
}

/* `User(id=1)`, whatever else is known of it. */
static PyObject *key_text(PyObject *object)
{
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    PyObject *key = py_instance_find_key(self, model);
    if (!key && PyErr_Occurred()) return NULL;
    int first = orm_model_key_field(model->model, 0);
    PyObject *name = model->key >= 0 ? model->fields[first].name : model->state->names->pk;
    PyObject *text = PyUnicode_FromFormat("%U(%U=%S)", py_model_name(model), name,
                                          key ? key : Py_None);
    Py_XDECREF(key);
    return text;
}

PyObject *py_instance_str(PyObject *self)
{
    bool short_form = py_model_get((py_instance *)self)->registry_style;
    return short_form ? key_text(self) : PyObject_Repr(self);
}

static PyObject *repr_of_str(PyObject *self, py_model *model)
{
    PyObject *text = PyObject_Str(self);
    PyObject *repr = text ? PyUnicode_FromFormat("<%U: %U>", py_model_name(model), text) : NULL;
    Py_XDECREF(text);
    return repr;
}

PyObject *py_instance_repr(PyObject *self)
{
    py_model *model = py_model_get((py_instance *)self);
    if (model->registry_style) return repr_of_str(self, model);
    int inside = Py_ReprEnter(self);
    if (inside < 0) return NULL;
    if (inside) return PyUnicode_FromFormat("%U(...)", py_model_name(model));
    PyObject *text = NULL;
    if (Py_EnterRecursiveCall(" while getting the repr of a model's instance") == 0) {
        text = repr_fields((py_instance *)self, model);
        Py_LeaveRecursiveCall();
    }
    Py_ReprLeave(self);
    return text;
}

/* ---- equality: the same row, or in the registry's style the same values ---- */

/* A field that is not set is like one that is None. */
static PyObject *compared_value(py_instance *self, py_model *model, Py_ssize_t field)
{
    PyObject *value = py_instance_read(self, model, field);
    return value || PyErr_Occurred() ? value : Py_NewRef(Py_None);
}

static bool is_sparse(PyObject *object)
{
    py_model *model = py_model_get((py_instance *)object);
    return Py_TYPE(object) == model->sparse;
}

/* Related objects of which one is not loaded are the same when their keys are: what create() was
 * given is loaded, what a query brings is not. */
static int equal_values(py_model *model, PyObject *a, PyObject *b)
{
    bool related = py_instance_check(model->state, a) && py_instance_check(model->state, b);
    if (!related || (!is_sparse(a) && !is_sparse(b))) return PyObject_RichCompareBool(a, b, Py_EQ);
    py_model *target = py_model_get((py_instance *)a);
    if (target != py_model_get((py_instance *)b)) return 0;
    PyObject *left = py_instance_find_key((py_instance *)a, target);
    PyObject *right = PyErr_Occurred() ? NULL : py_instance_find_key((py_instance *)b, target);
    int equal = PyErr_Occurred() ? -1 : !left && !right;
    if (left && right) equal = PyObject_RichCompareBool(left, right, Py_EQ);
    Py_XDECREF(left);
    Py_XDECREF(right);
    return equal;
}

static int equal_fields(py_instance *self, py_instance *other, py_model *model)
{
    int equal = 1;
    for (Py_ssize_t i = 0; equal == 1 && i < model->n_fields; i++) {
        PyObject *a = compared_value(self, model, i);
        PyObject *b = a ? compared_value(other, model, i) : NULL;
        equal = b ? equal_values(model, a, b) : -1;
        Py_XDECREF(a);
        Py_XDECREF(b);
    }
    return equal;
}

static PyObject *compare_fields(PyObject *self, PyObject *other, py_model *model, int op)
{
    if (Py_EnterRecursiveCall(" while comparing instances of a model")) return NULL;
    int equal = equal_fields((py_instance *)self, (py_instance *)other, model);
    Py_LeaveRecursiveCall();
    return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
}

PyObject *py_instance_compare(PyObject *self, PyObject *other, int op)
{
    if (op != Py_EQ && op != Py_NE) Py_RETURN_NOTIMPLEMENTED;
    if (self == other) return PyBool_FromLong(op == Py_EQ);
    py_model *model = py_model_get((py_instance *)self);
    if (!py_instance_check(model->state, other) || py_model_get((py_instance *)other) != model)
        Py_RETURN_NOTIMPLEMENTED;
    if (model->registry_style) return compare_fields(self, other, model, op);
    PyObject *a = py_instance_find_key((py_instance *)self, model);
    PyObject *b = a ? py_instance_find_key((py_instance *)other, model) : NULL;
    PyObject *result = NULL;
    if (b)
        result = PyObject_RichCompare(a, b, op);
    else if (!PyErr_Occurred())
        result = PyBool_FromLong(op == Py_NE);
    Py_XDECREF(a);
    Py_XDECREF(b);
    return result;
}

Py_hash_t py_instance_hash(PyObject *self)
{
    py_model *model = py_model_get((py_instance *)self);
    PyObject *key = py_instance_find_key((py_instance *)self, model);
    if (!key) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError,
                         "a '%U' without a key cannot be hashed: its hash is its key's, save it "
                         "first",
                         py_model_name(model));
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(key);
    Py_DECREF(key);
    if (hash == -1) return -1;
    hash = (Py_hash_t)((Py_uhash_t)hash * 1000003u ^ (Py_uhash_t)((uintptr_t)model->type >> 4));
    return hash == -1 ? -2 : hash;
}

/* ---- the mapping of the fields that are set ---- */

static PyObject *set_names(PyObject *object, PyObject *unused)
{
    (void)unused;
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    PyObject *names = PyList_New(0);
    for (Py_ssize_t i = 0; names && i < model->n_fields; i++)
        if (self->values[i] && PyList_Append(names, model->fields[i].name) < 0) Py_CLEAR(names);
    return names;
}

PyObject *py_instance_iterate(PyObject *self)
{
    PyObject *names = set_names(self, NULL);
    PyObject *iterator = names ? PyObject_GetIter(names) : NULL;
    Py_XDECREF(names);
    return iterator;
}

Py_ssize_t py_instance_length(PyObject *object)
{
    py_instance *self = (py_instance *)object;
    Py_ssize_t n = 0;
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) n += self->values[i] != NULL;
    return n;
}

int py_instance_truth(PyObject *self)
{
    (void)self;
    return 1;
}

/* Aware in UTC ends with Z. */
static PyObject *plain_moment(PyObject *moment /* stolen */)
{
    PyObject *text = PyObject_CallMethod(moment, "isoformat", NULL);
    Py_DECREF(moment);
    Py_ssize_t n = text ? PyUnicode_GET_LENGTH(text) - 6 : 0;
    PyObject *zone = n > 0 ? PyUnicode_Substring(text, n, n + 6) : NULL;
    if (zone && PyUnicode_CompareWithASCIIString(zone, "+00:00") == 0) {
        PyObject *clock = PyUnicode_Substring(text, 0, n);
        Py_SETREF(text, clock ? PyUnicode_FromFormat("%UZ", clock) : NULL);
        Py_XDECREF(clock);
    }
    Py_XDECREF(zone);
    return text;
}

/* What the mapping has for a value: what JSON can say, as typesystem's fields made it. */
static PyObject *plain_value(const py_field *field, PyObject *value /* stolen */)
{
    PyObject *plain;
    if (!value || value == Py_None) return value;
    switch (field->type) {
    case ORM_TYPE_DATE:
    case ORM_TYPE_TIME:
    case ORM_TYPE_DATETIME:
    case ORM_TYPE_DATETIMETZ: return plain_moment(value);
    case ORM_TYPE_DECIMAL: plain = PyNumber_Float(value); break;
    case ORM_TYPE_UUID:
    case ORM_TYPE_IP: plain = PyObject_Str(value); break;
    default: return value;
    }
    Py_DECREF(value);
    return plain;
}

PyObject *py_instance_item(PyObject *object, PyObject *name)
{
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    int field = PyUnicode_Check(name) ? py_model_find_field(model, name) : -1;
    PyObject *value = field >= 0 ? py_instance_read(self, model, field) : NULL;
    if (value) return plain_value(&model->fields[field], value);
    if (!PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, name);
    return NULL;
}

int py_instance_contains(PyObject *object, PyObject *name)
{
    py_instance *self = (py_instance *)object;
    int field = PyUnicode_Check(name) ? py_model_find_field(py_model_get(self), name) : -1;
    return field >= 0 && self->values[field];
}

static PyObject *get_item(PyObject *self, PyObject *args)
{
    PyObject *name, *otherwise = Py_None;
    if (!PyArg_ParseTuple(args, "O|O:get", &name, &otherwise)) return NULL;
    return py_instance_contains(self, name) ? py_instance_item(self, name) : Py_NewRef(otherwise);
}

/* (name, value) of every field that is set, or the values alone. */
static PyObject *list_items(PyObject *self, bool with_names)
{
    PyObject *names = set_names(self, NULL);
    for (Py_ssize_t i = 0; names && i < PyList_GET_SIZE(names); i++) {
        PyObject *name = PyList_GET_ITEM(names, i), *value = py_instance_item(self, name);
        PyObject *item = value && with_names ? PyTuple_Pack(2, name, value) : Py_XNewRef(value);
        Py_XDECREF(value);
        if (item)
            PyList_SetItem(names, i, item);
        else
            Py_CLEAR(names);
    }
    return names;
}

static PyObject *items(PyObject *self, PyObject *unused)
{
    (void)unused;
    return list_items(self, true);
}

static PyObject *values(PyObject *self, PyObject *unused)
{
    (void)unused;
    return list_items(self, false);
}

static PyObject *dict_of(PyObject *object);

/* A related object as a dict, or as its key while it is not loaded or on the way already. */
static PyObject *dict_of_value(py_instance *self, py_model *model, Py_ssize_t field)
{
    PyObject *value = self->values[field];
    if (!model->fields[field].is_reference || !py_instance_check(model->state, value))
        return Py_NewRef(value);
    py_instance *related = (py_instance *)value;
    py_model *target = py_model_get(related);
    if (Py_TYPE(value) != target->type) return py_instance_key(related, target);
    int inside = Py_ReprEnter(value);
    if (inside) return inside < 0 ? NULL : py_instance_key(related, target);
    PyObject *dict = dict_of(value);
    Py_ReprLeave(value);
    return dict;
}

static PyObject *dict_of(PyObject *object)
{
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    if (Py_EnterRecursiveCall(" while making a dict of a model's instance")) return NULL;
    PyObject *dict = PyDict_New();
    for (Py_ssize_t i = 0; dict && i < model->n_fields; i++) {
        if (!self->values[i]) continue;
        PyObject *value = dict_of_value(self, model, i);
        if (!value || PyDict_SetItem(dict, model->fields[i].name, value) < 0) Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    Py_LeaveRecursiveCall();
    return dict;
}

PyObject *py_instance_asdict(PyObject *module, PyObject *object)
{
    py_state *state = PyModule_GetState(module);
    if (!py_instance_check(state, object)) {
        PyErr_Format(PyExc_TypeError, "expected a model's instance, not %s",
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    int inside = Py_ReprEnter(object);
    if (inside < 0) return NULL;
    PyObject *dict = dict_of(object);
    if (!inside) Py_ReprLeave(object);
    return dict;
}

/* ---- pickle and copy: __newobj__(model), then the state ---- */

static PyObject *get_state(PyObject *object, PyObject *unused)
{
    (void)unused;
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    py_names *names = model->state->names;
    PyObject *fields = PyDict_New();
    for (Py_ssize_t i = 0; fields && i < model->n_fields; i++)
        if (self->values[i] && PyDict_SetItem(fields, model->fields[i].name, self->values[i]) < 0)
            Py_CLEAR(fields);
    if (!fields) return NULL;
    PyObject *extra = self->dict ? PyDict_Copy(self->dict) : Py_NewRef(Py_None);
    if (!extra) {
        Py_DECREF(fields);
        return NULL;
    }
    return Py_BuildValue("{ONONOOOOOK}", names->fields, fields, names->extra, extra, names->saved,
                         self->flags & PY_INSTANCE_SAVED ? Py_True : Py_False, names->sparse,
                         Py_TYPE(object) == model->type ? Py_False : Py_True, names->dirty,
                         (unsigned long long)self->dirty);
}

/* A field that the class no longer has becomes an attribute: nothing of the pickle is lost. */
static int restore_fields(py_instance *self, py_model *model, PyObject *fields)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    int result = 0;
    while (result == 0 && PyDict_Next(fields, &position, &name, &value)) {
        int field = PyUnicode_Check(name) ? py_model_find_field(model, name) : -1;
        Py_INCREF(name);
        Py_INCREF(value); /* a property's setter may do anything */
        if (field >= 0)
            py_instance_put(self, model, field, Py_NewRef(value));
        else
            result = PyObject_GenericSetAttr((PyObject *)self, name, value);
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return result;
}

static PyObject *set_state(PyObject *object, PyObject *state)
{
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    py_names *names = model->state->names;
    PyObject *fields = PyDict_Check(state) ? PyDict_GetItemWithError(state, names->fields) : NULL;
    if (!fields || !PyDict_Check(fields)) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError, "this is not the state of a '%U'", py_model_name(model));
        return NULL;
    }
    PyObject *extra = PyDict_GetItemWithError(state, names->extra);
    py_instance_track(self);
    if (restore_fields(self, model, fields) < 0) return NULL;
    if (extra && extra != Py_None) {
        PyObject *dict = PyObject_GenericGetDict(object, NULL);
        int result = dict ? PyDict_Update(dict, extra) : -1;
        Py_XDECREF(dict);
        if (result < 0) return NULL;
    }
    if (PyDict_GetItemWithError(state, names->saved) == Py_True) self->flags |= PY_INSTANCE_SAVED;
    PyObject *dirty = PyDict_GetItemWithError(state, names->dirty);
    self->dirty = dirty && PyLong_Check(dirty) ? PyLong_AsUnsignedLongLongMask(dirty) : 0;
    if (PyDict_GetItemWithError(state, names->sparse) == Py_True &&
        py_instance_settle(self, model) < 0)
        return NULL;
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyObject *reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_model *model = py_model_get((py_instance *)self);
    PyObject *make = py_import_get(model->state, PY_IMPORT_NEW_OBJECT);
    if (!make) return NULL;
    PyObject *state = PyObject_CallMethodNoArgs(self, model->state->names->__getstate__);
    return state ? Py_BuildValue("O(O)N", make, model->type, state) : NULL;
}

/* ---- methods ---- */

static PyObject *save(PyObject *self, PyObject *unused)
{
    (void)unused;
    return py_instance_save((py_instance *)self, py_model_get((py_instance *)self));
}

static PyObject *update(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args)) {
        PyErr_SetString(PyExc_TypeError, "update() takes keyword arguments only");
        return NULL;
    }
    PyObject *values = kwargs ? Py_NewRef(kwargs) : PyDict_New();
    if (!values) return NULL;
    PyObject *operation = py_instance_update((py_instance *)self, py_model_get((py_instance *)self),
                                             values);
    Py_DECREF(values);
    return operation;
}

static PyObject *delete (PyObject *self, PyObject *unused)
{
    (void)unused;
    return py_instance_delete((py_instance *)self, py_model_get((py_instance *)self));
}

static PyObject *load(PyObject *self, PyObject *unused)
{
    (void)unused;
    return py_instance_load((py_instance *)self, py_model_get((py_instance *)self));
}

static PyObject *refresh(PyObject *self, PyObject *unused)
{
    (void)unused;
    return py_instance_refresh((py_instance *)self, py_model_get((py_instance *)self));
}

PyMethodDef py_instance_methods[] = {
    {"save", save, METH_NOARGS,
     PyDoc_STR("save($self, /)\n--\n\nWrites the changed fields, or the new row: the instance.\n"
               "Await it.  NoMatch: the row is gone.  ValidationError, IntegrityError.")},
    {"update", (PyCFunction)(void (*)(void))update, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "update($self, /, **values)\n--\n\nSets fields and writes them: None, also when the row\n"
         "is gone.  Await it.  ValidationError, before anything is set; IntegrityError.")},
    {"delete", delete, METH_NOARGS,
     PyDoc_STR("delete($self, /)\n--\n\nDeletes the row: None, also when it is gone.  Await it.\n"
               "ForeignKeyViolation: others refer to it.")},
    {"load", load, METH_NOARGS,
     PyDoc_STR("load($self, /)\n--\n\nReads every field of the row into the instance: itself.\n"
               "Await it.  NoMatch: the row is gone.")},
    {"refresh", refresh, METH_NOARGS,
     PyDoc_STR(
         "refresh($self, /)\n--\n\nReads every field of the row again, for this instance alone:\n"
         "itself.  Await it.  NoMatch: the row is gone.")},
    {"keys", set_names, METH_NOARGS,
     PyDoc_STR("keys($self, /)\n--\n\nThe names of the fields that are set.")},
    {"items", items, METH_NOARGS,
     PyDoc_STR("items($self, /)\n--\n\nName and value of the fields that are set.")},
    {"values", values, METH_NOARGS,
     PyDoc_STR("values($self, /)\n--\n\nThe values of the fields that are set.")},
    {"get", get_item, METH_VARARGS,
     PyDoc_STR("get($self, name, default=None, /)\n--\n\nThe value of a field that is set.")},
    {"__getstate__", get_state, METH_NOARGS, NULL},
    {"__setstate__", set_state, METH_O, NULL},
    {"__reduce__", reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
