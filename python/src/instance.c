/* instance.c - Instance, the base of every model: memory, fields, attributes.
 *
 * Memory.  An instance is made untracked by the collector and is tracked once it holds what may
 * lead back to it: a related object, a mutable value, an extra attribute.  Classes with
 * instances get these slots directly (py_instance_set_slots): the generic ones of a class
 * statement would track at once and walk the class for every instance that goes.
 *
 * Sparse.  An instance whose fields are not all known is of a hidden subclass of its model with
 * the same layout, whose attribute error says how to load it; loading changes its type.
 */
#include "data.h"

/* ---- memory ---- */

py_instance *py_instance_new(py_model *model, bool sparse)
{
    PyTypeObject *type = sparse ? py_model_sparse(model) : model->type;
    if (!type) return NULL;
    py_instance *self = PyObject_GC_NewVar(py_instance, type, model->n_fields);
    if (!self) return NULL;
    memset(&self->dict, 0,
           offsetof(py_instance, values) - offsetof(py_instance, dict) +
               (size_t)model->n_fields * sizeof(PyObject *));
    return self;
}

void py_instance_track(py_instance *self)
{
    if (!PyObject_GC_IsTracked((PyObject *)self)) PyObject_GC_Track(self);
}

static int instance_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_instance *self = (py_instance *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->dict);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) Py_VISIT(self->values[i]);
    return 0;
}

static int instance_clear(PyObject *object)
{
    py_instance *self = (py_instance *)object;
    Py_CLEAR(self->dict);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) Py_CLEAR(self->values[i]);
    return 0;
}

static void instance_dealloc(PyObject *object)
{
    py_instance *self = (py_instance *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (type->tp_finalize) {
        py_instance_track(self); /* __del__ may bring it back */
        if (PyObject_CallFinalizerFromDealloc(object) < 0) return;
    }
    PyObject_GC_UnTrack(self);
    if (self->group) py_group_leave(self); /* it may wait in the trashcan from here on */
    Py_TRASHCAN_BEGIN(self, instance_dealloc);
    if (self->weakrefs) PyObject_ClearWeakRefs(object);
    Py_XDECREF(self->dict);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) Py_XDECREF(self->values[i]);
    type = Py_TYPE(object);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END;
}

static PyObject *instance_alloc(PyTypeObject *type, Py_ssize_t n)
{
    (void)n;
    py_model *model = py_model_of(type);
    if (model) return (PyObject *)py_instance_new(model, type == model->sparse);
    PyErr_Format(PyExc_TypeError, "%s is abstract: it has no instances", type->tp_name);
    return NULL;
}

void py_instance_set_slots(PyTypeObject *type)
{
    type->tp_alloc = instance_alloc;
    type->tp_dealloc = instance_dealloc;
    type->tp_traverse = instance_traverse;
    type->tp_clear = instance_clear;
    type->tp_free = PyObject_GC_Del;
}

PyObject *py_instance_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    return instance_alloc(type, 0);
}

bool py_instance_check(py_state *state, PyObject *object)
{
    return PyObject_TypeCheck(object, state->instance_type);
}

static void change_type(py_instance *self, PyTypeObject *type)
{
    PyTypeObject *old = Py_TYPE((PyObject *)self);
    if (old == type) return;
    Py_INCREF(type);
    Py_SET_TYPE((PyObject *)self, type);
    Py_DECREF(old);
}

int py_instance_settle(py_instance *self, py_model *model)
{
    PyTypeObject *type = model->type;
    for (Py_ssize_t i = 0; i < model->n_fields; i++)
        if (!self->values[i]) type = py_model_sparse(model);
    if (!type) return -1;
    change_type(self, type);
    return 0;
}

/* ---- fields ---- */

static uint64_t dirty_bit(Py_ssize_t field)
{
    return UINT64_C(1) << (field < 63 ? field : 63);
}

void py_instance_put(py_instance *self, py_model *model, Py_ssize_t field, PyObject *value)
{
    (void)model;
    if (PyObject_IS_GC(value)) py_instance_track(self);
    PyObject *old = self->values[field];
    self->values[field] = value;
    self->dirty |= dirty_bit(field);
    Py_XDECREF(old);
}

/* Validates and stores; -1 with *message, or with an exception. */
static int set_field(py_instance *self, py_model *model, Py_ssize_t field, PyObject *value,
                     PyObject **message)
{
    PyObject *valid = py_field_validate(model->state, &model->fields[field], value, message);
    if (!valid) return -1;
    bool was_unset = !self->values[field];
    py_instance_put(self, model, field, valid);
    if (!was_unset || Py_TYPE((PyObject *)self) == model->type) return 0;
    return py_instance_settle(self, model);
}

/* `pk` stands for the key: one field, or a tuple for several. */
static int set_key(py_instance *self, py_model *model, PyObject *value, PyObject **message)
{
    if (model->key >= 0) return set_field(self, model, model->key, value, message);
    size_t n = orm_model_key_count(model->model);
    if (!PyTuple_Check(value) || (size_t)PyTuple_GET_SIZE(value) != n) {
        *message = PyUnicode_FromFormat("Must be a tuple of %zu values.", n);
        return -1;
    }
    for (size_t k = 0; k < n; k++) {
        PyObject *part = PyTuple_GET_ITEM(value, (Py_ssize_t)k);
        if (set_field(self, model, orm_model_key_field(model->model, k), part, message) < 0)
            return -1;
    }
    return 0;
}

int py_instance_set_attribute(PyObject *object, PyObject *name, PyObject *value)
{
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    py_names *names = model->state->names;
    int field = py_model_find_field(model, name);
    bool is_key = field < 0 && py_name_is(name, names->pk);
    if (field < 0 && !is_key) {
        py_instance_track(self);
        return PyObject_GenericSetAttr(object, name, value);
    }
    if (!value) {
        PyErr_Format(PyExc_AttributeError, "field '%U' of '%U' cannot be deleted", name,
                     py_model_name(model));
        return -1;
    }
    PyObject *message = NULL;
    int result = is_key ? set_key(self, model, value, &message)
                        : set_field(self, model, field, value, &message);
    if (result < 0 && message) return py_error_field(model->state, name, message);
    return result;
}

/* What a reference that is NULL reads as in the registry's style: `Team(id=None)`. */
static PyObject *absent(py_model *target)
{
    py_instance *related = py_instance_new(target, target->n_fields > 1);
    if (related) related->values[target->key] = Py_NewRef(Py_None);
    return (PyObject *)related;
}

bool py_instance_is_absent(const py_instance *self, const py_model *model)
{
    if (model->key < 0 || self->values[model->key] != Py_None) return false;
    for (Py_ssize_t i = 0; i < model->n_fields; i++)
        if (self->values[i] && i != model->key) return false;
    return true;
}

PyObject *py_instance_reference(py_instance *self, py_model *model, Py_ssize_t field)
{
    PyObject *value = self->values[field];
    if (!value) {
        PyErr_Format(PyExc_AttributeError, "'%U' object has no attribute '%U'",
                     py_model_name(model), model->fields[field].name);
        return NULL;
    }
    if (py_instance_check(model->state, value)) return Py_NewRef(value);
    if (value == Py_None && !model->registry_style) return Py_NewRef(value);
    py_model *target = NULL;
    if (!py_model_target(model, &model->fields[field], &target)) return NULL;
    if (value == Py_None) return absent(target);
    py_instance *related = py_instance_new(target, target->n_fields > 1);
    if (!related) return NULL;
    related->values[target->key] = value; /* the reference moves over */
    related->flags |= PY_INSTANCE_SAVED;
    self->values[field] = (PyObject *)related;
    if (self->group) py_group_adopt(self, related, field);
    py_instance_track(self);
    return Py_NewRef((PyObject *)related);
}

PyObject *py_instance_read(py_instance *self, py_model *model, Py_ssize_t field)
{
    if (!self->values[field]) return NULL;
    if (model->fields[field].is_reference) return py_instance_reference(self, model, field);
    return Py_NewRef(self->values[field]);
}

/* ---- keys ---- */

/* A key's part: of a related object, its key. */
static PyObject *find_part(py_instance *self, py_model *model, Py_ssize_t field)
{
    PyObject *value = self->values[field];
    if (!value || value == Py_None) return NULL;
    if (!model->fields[field].is_reference || !py_instance_check(model->state, value))
        return Py_NewRef(value);
    py_instance *related = (py_instance *)value;
    return py_instance_find_key(related, py_model_get(related));
}

PyObject *py_instance_find_key(py_instance *self, py_model *model)
{
    if (model->key >= 0) return find_part(self, model, model->key);
    Py_ssize_t n = (Py_ssize_t)orm_model_key_count(model->model);
    PyObject *key = PyTuple_New(n);
    for (Py_ssize_t k = 0; key && k < n; k++) {
        int field = orm_model_key_field(model->model, (size_t)k);
        PyObject *part = find_part(self, model, field);
        if (part)
            PyTuple_SET_ITEM(key, k, part);
        else
            Py_CLEAR(key);
    }
    return key;
}

PyObject *py_instance_key(py_instance *self, py_model *model)
{
    PyObject *key = py_instance_find_key(self, model);
    if (key || PyErr_Occurred()) return key;
    if (model->key >= 0 && self->values[model->key]) return Py_NewRef(Py_None);
    int first = orm_model_key_field(model->model, 0);
    PyErr_Format(PyExc_AttributeError, "'%U' object has no attribute '%U'", py_model_name(model),
                 model->fields[first].name);
    return NULL;
}

int py_instance_saved(py_instance *self, py_model *model, int64_t generated)
{
    if (model->key >= 0) {
        PyObject *key = self->values[model->key];
        int type = model->fields[model->key].type;
        if ((!key || key == Py_None) && type >= ORM_TYPE_INT16 && type <= ORM_TYPE_INT64) {
            PyObject *number = PyLong_FromLongLong(generated);
            if (!number) return -1;
            py_instance_put(self, model, model->key, number);
        }
    }
    self->flags |= PY_INSTANCE_SAVED;
    self->dirty = 0;
    return 0;
}

/* Whether a related object that is loaded stays: the row holds the same key. */
static bool keeps_related(py_model *model, PyObject *related, PyObject *key)
{
    if (!related || !py_instance_check(model->state, related)) return false;
    if (py_instance_check(model->state, key)) return false;
    PyObject *own = py_instance_find_key((py_instance *)related,
                                         py_model_get((py_instance *)related));
    int same = own ? PyObject_RichCompareBool(own, key, Py_EQ) : 0;
    Py_XDECREF(own);
    if (same < 0) PyErr_Clear();
    return same > 0;
}

int py_instance_assign(py_instance *self, py_model *model, py_instance *row)
{
    for (Py_ssize_t i = 0; i < model->n_fields; i++) {
        PyObject *value = row->values[i];
        if (!value) continue;
        if (model->fields[i].is_reference && keeps_related(model, self->values[i], value)) continue;
        py_instance_put(self, model, i, Py_NewRef(value));
    }
    self->flags |= PY_INSTANCE_SAVED;
    self->dirty = 0;
    return py_instance_settle(self, model);
}

/* ---- the constructor ---- */

static int refuse_keyword(py_model *model, PyObject *name)
{
    PyObject *nearest = py_import_get(model->state, PY_IMPORT_NEAREST);
    PyObject *names = nearest ? PyDict_Keys(model->index) : NULL;
    PyObject *near = names ? PyObject_CallFunction(nearest, "OOi", name, names, 1) : NULL;
    Py_XDECREF(names);
    if (!near) return -1;
    PyObject *sentence =
        model->registry_style
            ? PyUnicode_FromFormat("Invalid keyword %U for class %U", name, py_model_name(model))
        : PyList_GET_SIZE(near) > 0
            ? PyUnicode_FromFormat("%R is an invalid keyword argument for %U(). Did you mean %R?",
                                   name, py_model_name(model), PyList_GET_ITEM(near, 0))
            : PyUnicode_FromFormat("%R is an invalid keyword argument for %U().", name,
                                   py_model_name(model));
    Py_DECREF(near);
    return py_error_argument(model->state, name, PyUnicode_FromString("Invalid property name."),
                             sentence);
}

static int set_keyword(py_instance *self, py_model *model, PyObject *name, PyObject *value)
{
    PyObject *message = NULL;
    int field = PyUnicode_Check(name) ? py_model_find_field(model, name) : -1, result;
    if (field >= 0)
        result = set_field(self, model, field, value, &message);
    else if (PyUnicode_Check(name) && py_name_is(name, model->state->names->pk))
        result = set_key(self, model, value, &message);
    else
        return refuse_keyword(model, name);
    if (result == 0 || !message) return result;
    PyObject *sentence = PyUnicode_FromFormat("Invalid argument %R for %U(). %U", name,
                                              py_model_name(model), message);
    return py_error_argument(model->state, name, message, sentence);
}

/* `pk` comes last: it wins over the field that it stands for. */
static int set_keywords(py_instance *self, py_model *model, PyObject *keywords)
{
    PyObject *name, *value, *key = NULL;
    Py_ssize_t position = 0;
    while (PyDict_Next(keywords, &position, &name, &value)) {
        if (PyUnicode_Check(name) && py_name_is(name, model->state->names->pk)) {
            key = value;
            continue;
        }
        Py_INCREF(name);
        Py_INCREF(value); /* converters may do anything */
        int result = set_keyword(self, model, name, value);
        Py_DECREF(name);
        Py_DECREF(value);
        if (result < 0) return -1;
    }
    return key ? set_keyword(self, model, model->state->names->pk, key) : 0;
}

static int fill_defaults(py_instance *self, py_model *model)
{
    for (Py_ssize_t i = 0; i < model->n_fields; i++) {
        py_field *field = &model->fields[i];
        if (self->values[i] || !field->has_default) continue;
        PyObject *value = py_field_default(model->state, field);
        int result = value ? set_keyword(self, model, field->name, value) : -1;
        Py_XDECREF(value);
        if (result < 0) return -1;
    }
    return 0;
}

/* The attributes of an object that are named as fields, as they are; a new dict. */
static PyObject *attributes_of(py_model *model, PyObject *source)
{
    PyObject *found = PyDict_New();
    for (Py_ssize_t i = 0; found && i < model->n_fields; i++) {
        PyObject *name = model->fields[i].name, *value = PyObject_GetAttr(source, name);
        if (value ? PyDict_SetItem(found, name, value) < 0
                  : !PyErr_ExceptionMatches(PyExc_AttributeError))
            Py_CLEAR(found);
        else
            PyErr_Clear();
        Py_XDECREF(value);
    }
    return found;
}

/* Track(mapping), Track(object): what it has and no more. */
static int init_from(py_instance *self, py_model *model, PyObject *source)
{
    PyObject *found;
    if (PyDict_Check(source)) {
        found = PyDict_Copy(source);
    } else if (PyMapping_Check(source) && !py_instance_check(model->state, source)) {
        found = PyDict_New();
        if (found && PyDict_Update(found, source) < 0) {
            Py_CLEAR(found);
            if (PyErr_ExceptionMatches(PyExc_AttributeError)) PyErr_Clear();
        }
    } else {
        found = attributes_of(model, source);
    }
    if (found && (PyDict_GET_SIZE(found) || PyDict_Check(source))) {
        int result = set_keywords(self, model, found);
        Py_DECREF(found);
        if (result < 0) return -1;
        PyObject *key = py_instance_find_key(self, model);
        result = key ? py_instance_settle(self, model) : PyErr_Occurred() ? -1 : 0;
        Py_XDECREF(key);
        return result;
    }
    Py_XDECREF(found);
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError,
                     "%U() takes keyword arguments, or one mapping or object with its fields",
                     py_model_name(model));
    return -1;
}

int py_instance_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    Py_ssize_t n = PyTuple_GET_SIZE(args), given = kwargs ? PyDict_GET_SIZE(kwargs) : 0;
    if (n == 1 && !given && !model->registry_style)
        return init_from(self, model, PyTuple_GET_ITEM(args, 0));
    if (n) {
        PyErr_Format(PyExc_TypeError,
                     model->registry_style ? "%U() takes keyword arguments"
                                           : "%U() takes keyword arguments, or one mapping",
                     py_model_name(model));
        return -1;
    }
    if (kwargs && set_keywords(self, model, kwargs) < 0) return -1;
    return model->registry_style ? 0 : fill_defaults(self, model);
}

/* ---- attributes ---- */

static PyObject *get_pk(PyObject *self, void *closure)
{
    (void)closure;
    return py_instance_key((py_instance *)self, py_model_get((py_instance *)self));
}

static PyObject *get_objects(PyObject *self, void *closure)
{
    (void)closure;
    return py_queryset_objects(py_model_get((py_instance *)self));
}

static PyObject *get_sparse(PyObject *object, void *closure)
{
    py_instance *self = (py_instance *)object;
    (void)closure;
    return PyBool_FromLong(py_instance_length(object) < Py_SIZE(self));
}

static PyObject *get_dict(PyObject *self, void *closure)
{
    py_instance_track((py_instance *)self);
    return PyObject_GenericGetDict(self, closure);
}

/* The model, also while the instance is of its hidden subclass. */
static PyObject *get_class(PyObject *self, void *closure)
{
    (void)closure;
    return Py_NewRef((PyObject *)py_model_get((py_instance *)self)->type);
}

/* Another model's layout would be read past its end. */
static int set_class(PyObject *self, PyObject *value, void *closure)
{
    (void)self;
    (void)value;
    (void)closure;
    PyErr_SetString(PyExc_TypeError, "the class of a model's instance cannot be assigned");
    return -1;
}

static PyGetSetDef instance_getset[] = {
    {"__class__", get_class, set_class, PyDoc_STR("The model."), NULL},
    {"pk", get_pk, NULL, PyDoc_STR("The key; a tuple when it has several fields."), NULL},
    {"objects", get_objects, NULL, PyDoc_STR("The queryset of all rows."), NULL},
    {"is_sparse", get_sparse, NULL, PyDoc_STR("Whether a field is not set."), NULL},
    {"__dict__", get_dict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef instance_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(py_instance, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(py_instance, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot instance_slots[] = {
    {Py_tp_doc, "The base of every model's class."},
    {Py_tp_new, py_instance_make},
    {Py_tp_init, py_instance_init},
    {Py_tp_dealloc, instance_dealloc},
    {Py_tp_traverse, instance_traverse},
    {Py_tp_clear, instance_clear},
    {Py_tp_setattro, py_instance_set_attribute},
    {Py_tp_repr, py_instance_repr},
    {Py_tp_str, py_instance_str},
    {Py_tp_richcompare, py_instance_compare},
    {Py_tp_hash, py_instance_hash},
    {Py_tp_iter, py_instance_iterate},
    {Py_mp_length, py_instance_length},
    {Py_mp_subscript, py_instance_item},
    {Py_sq_contains, py_instance_contains},
    {Py_nb_bool, py_instance_truth},
    {Py_tp_methods, py_instance_methods},
    {Py_tp_getset, instance_getset},
    {Py_tp_members, instance_members},
    {0, NULL},
};

PyType_Spec py_instance_spec = {
    .name = "orm._core.Instance",
    .basicsize = (int)offsetof(py_instance, values),
    .itemsize = sizeof(PyObject *),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = instance_slots,
};

/* ---- what hidden classes mix in ---- */

/* Says of a field that is not loaded how to get it. */
static void explain_missing(py_instance *self, py_model *model, PyObject *name)
{
    PyObject *key = py_instance_find_key(self, model);
    if (!key) PyErr_Clear();
    int first = orm_model_key_field(model->model, 0);
    PyErr_Format(PyExc_AttributeError,
                 "%U(%U=%R) is sparse: '%U' is not loaded; await its load(), or fetch it with "
                 "select_related()",
                 py_model_name(model), model->fields[first].name, key ? key : Py_None, name);
    Py_XDECREF(key);
}

static PyObject *sparse_getattro(PyObject *object, PyObject *name)
{
    py_instance *self = (py_instance *)object;
    py_model *model = py_model_get(self);
    int field = py_model_find_field(model, name);
    if (field < 0 || self->values[field]) return PyObject_GenericGetAttr(object, name);
    explain_missing(self, model, name);
    return NULL;
}

/* The hidden class is nobody's subclass: no __init_subclass__ of the user's runs for it. */
static PyObject *sparse_init_subclass(PyObject *class, PyObject *args, PyObject *kwargs)
{
    (void)class;
    (void)args;
    (void)kwargs;
    Py_RETURN_NONE;
}

static PyMethodDef sparse_methods[] = {
    {"__init_subclass__", (PyCFunction)(void (*)(void))sparse_init_subclass,
     METH_CLASS | METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sparse_slots[] = {
    {Py_tp_doc, "An instance of which not every field is known."},
    {Py_tp_getattro, sparse_getattro},
    {Py_tp_methods, sparse_methods},
    {0, NULL},
};

PyType_Spec py_sparse_spec = {
    .name = "orm._core.Sparse",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = sparse_slots,
};
