/* create.c - the finishers of a queryset that write. */
#include "data.h"
#include "ops.h"

static py_queryset *queryset_of(PyObject *self)
{
    return (py_queryset *)self;
}

static orm_query *take_query(py_operation *self)
{
    orm_query *query = self->query;
    self->query = NULL;
    return query;
}

/* Closed without the warning: it could not be completed. */
static PyObject *drop(py_operation *op)
{
    if (op) {
        op->status = PY_OP_CLOSED;
        Py_DECREF(op);
    }
    return NULL;
}

static py_operation *write_new(py_model *model, const char *name, py_make_fn make,
                               py_finish_fn finish)
{
    py_database *database = py_model_database(model);
    py_operation *op = database
                           ? py_operation_new(model->state, database, model, name, make, finish)
                           : NULL;
    if (op) op->flags |= PY_OP_WRITES;
    return op;
}

/* ---- create ------------------------------------------------------------------------------ */

static orm_op *make_insert(py_operation *self, orm_engine *engine)
{
    py_writes *w = &self->writes;
    return orm_insert(engine, self->model->model, w->fields, w->n, py_writes_take(w));
}

static PyObject *finish_insert(py_operation *self, orm_op *op)
{
    if (py_instance_saved((py_instance *)self->subject, self->model, orm_op_number(op)) < 0)
        return NULL;
    return Py_NewRef(self->subject);
}

/* The values of a call, over those that the queryset gives to its rows. */
static PyObject *instance_with(py_queryset *self, PyObject *const *args, PyObject *kwnames)
{
    if (!self->given) return (PyObject *)py_write_instance(self->model, args, kwnames);
    PyObject *values = PyDict_Copy(self->given);
    for (Py_ssize_t i = 0; values && kwnames && i < PyTuple_GET_SIZE(kwnames); i++)
        if (PyDict_SetItem(values, PyTuple_GET_ITEM(kwnames, i), args[i]) < 0) Py_CLEAR(values);
    PyObject *instance = values ? py_write_instance_of(self->model, values) : NULL;
    Py_XDECREF(values);
    return instance;
}

PyObject *py_queryset_create(PyObject *object, PY_FASTCALL)
{
    py_model *model = queryset_of(object)->model;
    if (nargs) {
        PyErr_SetString(PyExc_TypeError, "create() takes values as keyword arguments");
        return NULL;
    }
    PyObject *instance = instance_with(queryset_of(object), args, kwnames);
    if (!instance) return NULL;
    py_operation *op = write_new(model, "create", make_insert, finish_insert);
    if (!op) {
        Py_DECREF(instance);
        return NULL;
    }
    op->subject = instance;
    if (py_write_insert(&op->writes, model, &instance, 1) < 0) return drop(op);
    return (PyObject *)op;
}

/* ---- bulk_create ------------------------------------------------------------------------- */

static orm_op *make_bulk(py_operation *self, orm_engine *engine)
{
    py_writes *w = &self->writes;
    size_t n_rows = w->n_rows;
    return orm_insert_many(engine, self->model->model, w->fields, w->n, py_writes_take(w), n_rows,
                           self->keys);
}

static PyObject *finish_bulk(py_operation *self, orm_op *op)
{
    (void)op;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(self->subject); i++) {
        py_instance *instance = (py_instance *)PyList_GET_ITEM(self->subject, i);
        if (py_instance_saved(instance, self->model, self->keys[i]) < 0) return NULL;
    }
    return Py_NewRef(self->subject);
}

/* Rows of one program have the same keys in the same order: as long as that holds, one tuple and
 * one array, `known`, serve all of them. */
static PyObject *bulk_instance(py_model *model, PyObject *row, py_keyword_args *known)
{
    if (PyObject_TypeCheck(row, model->type)) {
        if (py_write_complete((py_instance *)row, model) < 0) return NULL;
        return Py_NewRef(row);
    }
    if (!PyDict_Check(row)) {
        PyErr_Format(PyExc_TypeError, "bulk_create() takes dicts and instances of %s, not %.100R",
                     model->type->tp_name, row);
        return NULL;
    }
    if (!py_keywords_refill(known, row)) {
        py_keywords_dispose(known);
        if (py_keywords_of_dict(known, row) < 0) return NULL;
    }
    PyObject *instance = (PyObject *)py_write_instance(model, known->values, known->names);
    py_keywords_clear(known);
    return instance;
}

/* A row with what the queryset gives to its rows: a dict without it gets it in a copy, an instance
 * in which it is unset or None has it set. */
static PyObject *bulk_given(py_model *model, PyObject *given, PyObject *row)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    if (PyDict_Check(row)) {
        PyObject *copy = PyDict_Copy(given);
        if (copy && PyDict_Update(copy, row) < 0) Py_CLEAR(copy);
        return copy;
    }
    bool is_ours = PyObject_TypeCheck(row, model->type);
    while (is_ours && PyDict_Next(given, &position, &name, &value)) {
        int field = py_model_find_field(model, name);
        PyObject *now = field >= 0 ? ((py_instance *)row)->values[field] : Py_True;
        if ((!now || now == Py_None) && PyObject_SetAttr(row, name, value) < 0) return NULL;
    }
    return Py_NewRef(row);
}

static PyObject *bulk_instances(py_model *model, PyObject *given, PyObject *rows)
{
    PyObject *list = PySequence_List(rows);
    py_keyword_args known = {NULL, NULL};
    int paused = PyGC_Disable(); /* new rows are not garbage: as in the sink */
    for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list); i++) {
        PyObject *row = PyList_GET_ITEM(list, i);
        row = given ? bulk_given(model, given, row) : Py_NewRef(row);
        PyObject *instance = row ? bulk_instance(model, row, &known) : NULL;
        Py_XDECREF(row);
        if (instance)
            PyList_SetItem(list, i, instance);
        else
            Py_CLEAR(list);
    }
    py_keywords_dispose(&known);
    if (paused) PyGC_Enable();
    return list;
}

PyObject *py_queryset_bulk_create(PyObject *object, PyObject *rows)
{
    py_model *model = queryset_of(object)->model;
    PyObject *list = bulk_instances(model, queryset_of(object)->given, rows);
    if (!list) return NULL;
    size_t n = (size_t)PyList_GET_SIZE(list);
    py_database *database = py_model_database(model);
    if (!n && database) return py_operation_ready(model->state, database, "bulk_create", list);
    py_operation *op = write_new(model, "bulk_create", make_bulk, finish_bulk);
    if (!op) {
        Py_DECREF(list);
        return NULL;
    }
    op->subject = list;
    op->keys = PyMem_Calloc(n, sizeof *op->keys);
    if (!op->keys) PyErr_NoMemory();
    if (!op->keys || py_write_insert(&op->writes, model, ((PyListObject *)list)->ob_item, n) < 0)
        return drop(op);
    return (PyObject *)op;
}

/* ---- update, delete ---------------------------------------------------------------------- */

static orm_op *make_update(py_operation *self, orm_engine *engine)
{
    py_writes *w = &self->writes;
    return orm_update(engine, take_query(self), w->fields, w->n, py_writes_take(w));
}

static orm_op *make_delete(py_operation *self, orm_engine *engine)
{
    return orm_delete(engine, take_query(self));
}

/* Valid values by field, one reference each; NULL: not given. */
static int valid_values(py_model *model, PyObject *const *values, PyObject *kwnames,
                        PyObject **valid)
{
    PyObject *messages = NULL;
    const orm_path *paths = NULL;
    bool owned = false;
    size_t n = (size_t)PyTuple_GET_SIZE(kwnames);
    if (py_keywords_resolve(model, kwnames, ORM_PATH_FIELD, &paths, &owned) < 0) return -1;
    uint16_t *fields = PyMem_Calloc(n + 1, sizeof *fields);
    for (size_t i = 0; fields && i < n; i++) fields[i] = paths[i].field;
    if (owned) PyMem_Free((void *)paths);
    if (!fields) PyErr_NoMemory();
    for (size_t i = 0; fields && i < n && !PyErr_Occurred(); i++) {
        py_field *field = &model->fields[fields[i]];
        if (field->read_only) continue;
        Py_XSETREF(valid[fields[i]], py_write_validate(model, field, values[i], &messages));
    }
    PyMem_Free(fields);
    return py_write_check(model, messages);
}

/* Fields that every update sets. */
static int add_now(py_model *model, PyObject **valid)
{
    for (Py_ssize_t i = 0; i < model->n_fields; i++)
        if (model->fields[i].auto_now && !valid[i]) {
            valid[i] = py_field_default(model->state, &model->fields[i]);
            if (!valid[i]) return -1;
        }
    return 0;
}

PyObject **py_write_update(py_writes *out, py_model *model, PyObject *const *values,
                           PyObject *kwnames)
{
    size_t n = (size_t)model->n_fields;
    PyObject **valid = PyMem_Calloc(n + 1, sizeof *valid);
    if (!valid) return (PyObject **)PyErr_NoMemory();
    int result = valid_values(model, values, kwnames, valid);
    if (result == 0) result = add_now(model, valid);
    if (result == 0) result = py_writes_init(out, n, 1);
    out->n = 0;
    for (size_t i = 0; result == 0 && i < n; i++)
        if (valid[i]) result = py_write_add(out, model, i, valid[i]);
    if (result == 0) return valid;
    py_write_values_free(valid, n);
    return NULL;
}

void py_write_values_free(PyObject **values, size_t n)
{
    for (size_t i = 0; values && i < n; i++) Py_XDECREF(values[i]);
    PyMem_Free(values);
}

static PyObject *nothing_to_update(py_model *model)
{
    py_database *database = py_model_database(model);
    return database ? py_operation_ready(model->state, database, "update", PyLong_FromLong(0))
                    : NULL;
}

PyObject *py_queryset_update(PyObject *object, PY_FASTCALL)
{
    py_queryset *self = queryset_of(object);
    if (nargs || !kwnames || !PyTuple_GET_SIZE(kwnames)) {
        PyErr_SetString(PyExc_TypeError,
                        "update() takes values as keyword arguments, one at least");
        return NULL;
    }
    py_operation *op = write_new(self->model, "update", make_update, py_finish_number);
    if (!op) return NULL;
    PyObject **values = py_write_update(&op->writes, self->model, args, kwnames);
    if (!values) return drop(op);
    py_write_values_free(values, (size_t)self->model->n_fields);
    if (!op->writes.n) { /* only read-only fields were given */
        drop(op);
        return nothing_to_update(self->model);
    }
    op->query = orm_query_ref(self->query);
    return (PyObject *)op;
}

PyObject *py_queryset_delete(PyObject *object, PyObject *unused)
{
    py_queryset *self = queryset_of(object);
    (void)unused;
    py_operation *op = write_new(self->model, "delete", make_delete, py_finish_number);
    if (op) op->query = orm_query_ref(self->query);
    return (PyObject *)op;
}

/* ---- get_or_create, update_or_create ----------------------------------------------------- */

typedef struct split {  /* the arguments of both */
    PyObject *defaults; /* dict, or NULL; borrowed */
    PyObject *lookup;   /* dict of the conditions; owned */
    PyObject *creation; /* dict: the queryset's own, conditions without "__", defaults; owned */
} split;

static void split_dispose(split *self)
{
    Py_CLEAR(self->lookup);
    Py_CLEAR(self->creation);
}

static int split_keyword(split *self, PyObject *name, PyObject *value)
{
    if (PyUnicode_CompareWithASCIIString(name, "defaults") == 0) {
        self->defaults = value;
        return 0;
    }
    Py_ssize_t len = 0;
    const char *text = PyUnicode_AsUTF8AndSize(name, &len);
    if (!text || PyDict_SetItem(self->lookup, name, value) < 0) return -1;
    return strstr(text, "__") ? 0 : PyDict_SetItem(self->creation, name, value);
}

static int split_init(split *self, PyObject *given, const char *name, PY_FASTCALL)
{
    *self = (split){NULL, PyDict_New(), given ? PyDict_Copy(given) : PyDict_New()};
    if (!self->lookup || !self->creation) return -1;
    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError,
                     "%s(defaults=None, **conditions) takes one positional argument", name);
        return -1;
    }
    if (nargs) self->defaults = args[0];
    for (Py_ssize_t i = 0; kwnames && i < PyTuple_GET_SIZE(kwnames); i++)
        if (split_keyword(self, PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) < 0) return -1;
    if (self->defaults == Py_None) self->defaults = NULL;
    if (self->defaults && !PyDict_Check(self->defaults)) {
        PyErr_Format(PyExc_TypeError, "%s(): defaults is a dict or None, not %.100R", name,
                     self->defaults);
        return -1;
    }
    return self->defaults ? PyDict_Update(self->creation, self->defaults) : 0;
}

static orm_query *split_query(py_queryset *self, PyObject *lookup)
{
    py_keyword_args keywords;
    if (py_keywords_of_dict(&keywords, lookup) < 0) return NULL;
    orm_query *query = py_keywords_filter(self->model, self->query, keywords.values, keywords.names,
                                          false);
    py_keywords_dispose(&keywords);
    return query;
}

static orm_op *make_get_or_create(py_operation *self, orm_engine *engine)
{
    py_writes *w = &self->writes;
    return orm_get_or_create(engine, take_query(self), w->fields, w->n, py_writes_take(w),
                             &self->sink.base);
}

static orm_op *make_update_or_create(py_operation *self, orm_engine *engine)
{
    py_writes *w = &self->writes, *set = &self->set;
    return orm_update_or_create(engine, take_query(self), set->fields, set->n, py_writes_take(set),
                                w->fields, w->n, py_writes_take(w), &self->sink.base);
}

static PyObject *finish_created(py_operation *self, orm_op *op)
{
    PyObject *row = py_sink_take(&self->sink);
    bool created = orm_op_kind(op) != ORM_OP_GET && orm_op_number(op) != 0;
    if (!row && !PyErr_Occurred()) /* deleted by somebody else a moment ago */
        return py_error_format(self->state, ORM_ENOMATCH, "%s: the row is gone",
                               orm_model_name(self->model->model));
    PyObject *result = row ? PyTuple_Pack(2, row, created ? Py_True : Py_False) : NULL;
    Py_XDECREF(row);
    return result;
}

static orm_op *make_get_only(py_operation *self, orm_engine *engine)
{
    return orm_get(engine, take_query(self), &self->sink.base);
}

/* The row could not be created from these values, which matters only when there is none. */
static void invalid_instead(py_operation *self)
{
    PyObject *no_match = self->state->exceptions[-ORM_ENOMATCH];
    if (self->error && self->extra && PyErr_GivenExceptionMatches(self->error, no_match))
        Py_SETREF(self->error, Py_NewRef(self->extra));
}

static bool is_validation_error(py_model *model)
{
    return PyErr_ExceptionMatches(model->state->validation_error);
}

/* Whether the values themselves are good: then only something that was not given is missing. */
static bool is_valid(py_model *model, PyObject *creation)
{
    py_keyword_args keywords;
    PyObject **valid = PyMem_Calloc((size_t)model->n_fields + 1, sizeof *valid);
    bool result = valid && py_keywords_of_dict(&keywords, creation) == 0;
    if (result) {
        result = valid_values(model, keywords.values, keywords.names, valid) == 0;
        py_keywords_dispose(&keywords);
    }
    PyErr_Clear();
    py_write_values_free(valid, (size_t)model->n_fields);
    return result;
}

static int get_only(py_operation *op, PyObject *creation)
{
    PyObject *error = py_exception_take();
    if (!is_valid(op->model, creation)) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
        return -1;
    }
    op->extra = error;
    op->make = make_get_only;
    op->ended = invalid_instead;
    return 0;
}

static int prepare_creation(py_operation *op, PyObject *creation)
{
    py_model *model = op->model;
    PyObject *instance = py_write_instance_of(model, creation);
    if (!instance && op->make == make_get_or_create && is_validation_error(model))
        return get_only(op, creation);
    if (!instance) return -1;
    int result = py_write_insert(&op->writes, model, &instance, 1);
    Py_DECREF(instance);
    return result;
}

static int prepare_set(py_operation *op, PyObject *defaults)
{
    PyObject *none = NULL;
    py_keyword_args keywords;
    if (!defaults && !(defaults = none = PyDict_New())) return -1;
    int result = py_keywords_of_dict(&keywords, defaults);
    Py_XDECREF(none);
    if (result < 0) return -1;
    PyObject **values = py_write_update(&op->set, op->model, keywords.values, keywords.names);
    py_write_values_free(values, (size_t)op->model->n_fields);
    py_keywords_dispose(&keywords);
    return values ? 0 : -1;
}

static PyObject *or_create(PyObject *object, PY_FASTCALL, const char *name, py_make_fn make)
{
    py_queryset *self = queryset_of(object);
    split parts;
    py_operation *op = NULL;
    int result = split_init(&parts, self->given, name, args, nargs, kwnames);
    if (result == 0) {
        op = write_new(self->model, name, make, finish_created);
        result = op ? py_operation_add_sink(op, true) : -1;
    }
    if (result == 0) result = (op->query = split_query(self, parts.lookup)) ? 0 : -1;
    if (result == 0 && make == make_update_or_create) result = prepare_set(op, parts.defaults);
    if (result == 0) result = prepare_creation(op, parts.creation);
    split_dispose(&parts);
    return result == 0 ? (PyObject *)op : drop(op);
}

PyObject *py_queryset_get_or_create(PyObject *self, PY_FASTCALL)
{
    return or_create(self, args, nargs, kwnames, "get_or_create", make_get_or_create);
}

PyObject *py_queryset_update_or_create(PyObject *self, PY_FASTCALL)
{
    return or_create(self, args, nargs, kwnames, "update_or_create", make_update_or_create);
}
