/* write.c - what every write needs: valid values, defaults, and the values of its fields. */
#include "data.h"
#include "ops.h"

orm_value *py_writes_take(py_writes *self)
{
    self->n_rows = 0; /* the memory stays ours, the values are the core's */
    return self->values;
}

/* ---- validation: all fields are looked at before anything is raised ----------------------- */

static int add_message(PyObject **messages, PyObject *name, PyObject *text)
{
    if (!*messages) *messages = PyDict_New();
    int result = *messages && text ? PyDict_SetItem(*messages, name, text) : -1;
    Py_XDECREF(text);
    return result;
}

PyObject *py_write_validate(py_model *model, py_field *field, PyObject *value, PyObject **messages)
{
    PyObject *text = NULL;
    PyObject *valid = py_field_validate(model->state, field, value, &text);
    if (!valid && text) add_message(messages, field->name, text);
    return valid;
}

int py_write_check(py_model *model, PyObject *messages)
{
    if (PyErr_Occurred()) {
        Py_XDECREF(messages);
        return -1;
    }
    if (!messages) return 0;
    py_error_validation(model->state, messages);
    Py_DECREF(messages);
    return -1;
}

/* ---- instances --------------------------------------------------------------------------- */

static bool is_generated(const py_model *model, Py_ssize_t field)
{
    const py_field *f = &model->fields[field];
    return field == model->key && !f->has_default && f->type >= ORM_TYPE_INT16 &&
           f->type <= ORM_TYPE_INT64;
}

/* A field that was not given.  0: the rule holds, or messages tell. */
static int fill_field(py_instance *self, py_model *model, Py_ssize_t i, PyObject **messages)
{
    py_field *field = &model->fields[i];
    if (is_generated(model, i) || (field->read_only && !field->has_default && !field->nullable)) {
        Py_CLEAR(self->values[i]); /* None: the database's choice */
        return 0;
    }
    if (!field->has_default && !field->auto_now && !field->auto_now_add &&
        (!field->nullable || field->primary_key))
        return add_message(messages, field->name, PyUnicode_FromString("This field is required."));
    PyObject *value = py_field_default(model->state, field);
    PyObject *valid = value ? py_write_validate(model, field, value, messages) : NULL;
    Py_XDECREF(value);
    if (valid) py_instance_put(self, model, i, valid);
    return PyErr_Occurred() ? -1 : 0;
}

static int fill(py_instance *self, py_model *model, PyObject **messages)
{
    for (Py_ssize_t i = 0; i < model->n_fields; i++) {
        bool missing = !self->values[i] ||
                       (self->values[i] == Py_None && model->fields[i].primary_key);
        bool told = *messages && PyDict_Contains(*messages, model->fields[i].name) == 1;
        if (missing && !told && fill_field(self, model, i, messages) < 0) return -1;
    }
    return 0;
}

int py_write_complete(py_instance *instance, py_model *model)
{
    PyObject *messages = NULL;
    fill(instance, model, &messages);
    return py_write_check(model, messages);
}

/* A class with an __init__ of its own builds its instances itself. */
static py_instance *instance_called(py_model *model, PyObject *const *values, PyObject *kwnames)
{
    PyObject *self = PyObject_Vectorcall((PyObject *)model->type, values, 0, kwnames);
    if (self && !PyObject_TypeCheck(self, model->type)) {
        PyErr_Format(PyExc_TypeError, "%s() returned an object of type %.100s",
                     model->type->tp_name, Py_TYPE(self)->tp_name);
        Py_CLEAR(self);
    }
    if (self && py_write_complete((py_instance *)self, model) < 0) Py_CLEAR(self);
    return (py_instance *)self;
}

static int put_values(py_instance *self, py_model *model, PyObject *const *values,
                      PyObject *kwnames, PyObject **messages)
{
    size_t n = kwnames ? (size_t)PyTuple_GET_SIZE(kwnames) : 0;
    const orm_path *paths = NULL;
    bool owned = false;
    if (!n) return 0;
    if (py_keywords_resolve(model, kwnames, ORM_PATH_FIELD, &paths, &owned) < 0) return -1;
    uint16_t few[32], *fields = n <= 32 ? few : PyMem_Calloc(n, sizeof *fields);
    for (size_t i = 0; fields && i < n; i++) fields[i] = paths[i].field;
    if (owned) PyMem_Free((void *)paths);
    for (size_t i = 0; fields && i < n && !PyErr_Occurred(); i++) {
        if (model->fields[fields[i]].read_only) continue;
        PyObject *valid = py_write_validate(model, &model->fields[fields[i]], values[i], messages);
        if (valid) py_instance_put(self, model, fields[i], valid);
    }
    if (!fields) PyErr_NoMemory();
    if (fields != few) PyMem_Free(fields);
    return PyErr_Occurred() ? -1 : 0;
}

py_instance *py_write_instance(py_model *model, PyObject *const *values, PyObject *kwnames)
{
    if (model->calls_init) return instance_called(model, values, kwnames);
    py_instance *self = py_instance_new(model, false);
    if (!self) return NULL;
    PyObject *messages = NULL;
    if (put_values(self, model, values, kwnames, &messages) == 0) fill(self, model, &messages);
    if (py_write_check(model, messages) < 0) Py_CLEAR(self);
    return self;
}

PyObject *py_write_instance_of(py_model *model, PyObject *values)
{
    py_keyword_args keywords;
    if (py_keywords_of_dict(&keywords, values) < 0) return NULL;
    PyObject *instance = (PyObject *)py_write_instance(model, keywords.values, keywords.names);
    py_keywords_dispose(&keywords);
    return instance;
}

PyObject *py_write_new_row(PyObject *module, PyObject *args)
{
    PyObject *class, *row;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO!:new_row", &class, &PyDict_Type, &row)) return NULL;
    py_model *model = PyType_Check(class) ? py_model_of((PyTypeObject *)class) : NULL;
    if (!model) return PyErr_Format(PyExc_TypeError, "expected a model, not %.100R", class);
    return py_model_seal(model) < 0 ? NULL : py_write_instance_of(model, row);
}

/* ---- values ------------------------------------------------------------------------------ */

int py_write_add(py_writes *out, py_model *model, size_t field, PyObject *value)
{
    if (py_value_of_field(model->state, model, &model->fields[field], value, &out->values[out->n]) <
        0)
        return -1;
    out->fields[out->n++] = (uint16_t)field;
    return 0;
}

static bool is_set_in_any(PyObject *const *instances, size_t n, Py_ssize_t field)
{
    for (size_t i = 0; i < n; i++)
        if (((py_instance *)instances[i])->values[field]) return true;
    return false;
}

int py_write_insert(py_writes *out, py_model *model, PyObject *const *instances, size_t n)
{
    size_t columns = 0;
    if (py_writes_init(out, (size_t)model->n_fields, n) < 0) return -1;
    for (Py_ssize_t i = 0; i < model->n_fields; i++)
        if (is_set_in_any(instances, n, i)) out->fields[columns++] = (uint16_t)i;
    out->n = columns;
    for (size_t row = 0; row < n; row++)
        for (size_t k = 0; k < columns; k++) {
            size_t field = out->fields[k];
            PyObject *value = ((py_instance *)instances[row])->values[field];
            if (value && py_value_of_field(model->state, model, &model->fields[field], value,
                                           &out->values[row * columns + k]) < 0) {
                py_writes_dispose(out);
                return -1;
            }
        }
    return 0;
}

static int key_cond(py_instance *instance, py_model *model, int field, orm_cond *out)
{
    const char *name = orm_model_field(model->model, (size_t)field)->name;
    PyObject *value = instance->values[field];
    orm_error err = {0};
    if (!value || value == Py_None) {
        PyErr_Format(PyExc_AttributeError, "'%s' object has no key: '%s' is not set",
                     model->type->tp_name, name);
        return -1;
    }
    if (orm_path_resolve(model->model, name, strlen(name), ORM_PATH_LOOKUP, &out->path, &err) < 0) {
        py_error_raise(model->state, &err, NULL, 0);
        return -1;
    }
    out->value = orm_null();
    return py_value_of_path(model->state, &out->path, value, &out->value);
}

orm_query *py_write_row(py_instance *instance, py_model *model)
{
    size_t n = orm_model_key_count(model->model);
    orm_cond few[4], *conds = n <= 4 ? few : PyMem_Calloc(n, sizeof *conds);
    orm_query *query = NULL;
    if (!conds) return (orm_query *)PyErr_NoMemory();
    size_t done = 0;
    while (done < n &&
           key_cond(instance, model, orm_model_key_field(model->model, done), &conds[done]) == 0)
        done++;
    if (done == n)
        query = orm_query_filter(orm_query_new(model->model), conds, n, false);
    else
        for (size_t i = 0; i < done; i++) py_values_release(&conds[i].value, 1);
    if (conds != few) PyMem_Free(conds);
    if (!query && !PyErr_Occurred()) PyErr_NoMemory();
    return query;
}
