/* fetch.c - the finishers that read, and `async for`. */
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

static orm_op *make_all(py_operation *self, orm_engine *engine)
{
    return orm_all(engine, take_query(self), &self->sink.base);
}

static orm_op *make_get(py_operation *self, orm_engine *engine)
{
    return orm_get(engine, take_query(self), &self->sink.base);
}

static orm_op *make_first(py_operation *self, orm_engine *engine)
{
    return orm_first(engine, take_query(self), &self->sink.base);
}

static orm_op *make_last(py_operation *self, orm_engine *engine)
{
    return orm_last(engine, take_query(self), &self->sink.base);
}

static orm_op *make_count(py_operation *self, orm_engine *engine)
{
    return orm_count(engine, take_query(self));
}

static orm_op *make_exists(py_operation *self, orm_engine *engine)
{
    return orm_exists(engine, take_query(self));
}

static PyObject *finish_one_or_none(py_operation *self, orm_op *op)
{
    (void)op;
    PyObject *row = py_sink_take(&self->sink);
    if (!row && !PyErr_Occurred()) Py_RETURN_NONE;
    return row;
}

static PyObject *finish_exists(py_operation *self, orm_op *op)
{
    (void)self;
    return PyBool_FromLong(orm_op_number(op) != 0);
}

/* get() that answers None: no row is an answer, several are not. */
static void none_instead(py_operation *self)
{
    PyObject *no_match = self->state->exceptions[-ORM_ENOMATCH];
    if (self->error && PyErr_GivenExceptionMatches(self->error, no_match)) {
        Py_CLEAR(self->error);
        self->value = Py_NewRef(Py_None);
    }
}

/* An operation on `query`, which it takes. */
static py_operation *read_new(py_model *model, orm_query *query, const char *name, py_make_fn make,
                              py_finish_fn finish)
{
    py_database *database = query ? py_model_database(model) : NULL;
    py_operation *op = database
                           ? py_operation_new(model->state, database, model, name, make, finish)
                           : NULL;
    if (op)
        op->query = query;
    else
        orm_query_unref(query);
    return op;
}

/* Drops an operation that could not be completed, without the warning. */
static py_operation *sink_added(py_operation *op, bool single)
{
    if (op && py_operation_add_sink(op, single) < 0) {
        op->status = PY_OP_CLOSED;
        Py_CLEAR(op);
    }
    return op;
}

py_operation *py_fetch_new(py_model *model, orm_query *query, const char *name)
{
    return sink_added(read_new(model, query, name, make_all, py_finish_rows), false);
}

static py_operation *one_new(PyObject *object, PY_FASTCALL, const char *name, py_make_fn make)
{
    py_queryset *self = queryset_of(object);
    if (nargs) {
        PyErr_Format(PyExc_TypeError, "%s() takes conditions as keyword arguments, not %.100R",
                     name, args[0]);
        return NULL;
    }
    orm_query *query = py_keywords_filter(self->model, self->query, args, kwnames, false);
    py_finish_fn finish = make == make_all ? py_finish_rows : finish_one_or_none;
    return sink_added(read_new(self->model, query, name, make, finish), make != make_all);
}

PyObject *py_queryset_all(PyObject *self, PY_FASTCALL)
{
    return (PyObject *)one_new(self, args, nargs, kwnames, "all", make_all);
}

PyObject *py_queryset_get(PyObject *self, PY_FASTCALL)
{
    return (PyObject *)one_new(self, args, nargs, kwnames, "get", make_get);
}

PyObject *py_queryset_first(PyObject *self, PY_FASTCALL)
{
    return (PyObject *)one_new(self, args, nargs, kwnames, "first", make_first);
}

PyObject *py_queryset_last(PyObject *self, PY_FASTCALL)
{
    return (PyObject *)one_new(self, args, nargs, kwnames, "last", make_last);
}

PyObject *py_queryset_get_or_none(PyObject *self, PY_FASTCALL)
{
    py_operation *op = one_new(self, args, nargs, kwnames, "get_or_none", make_get);
    if (op) op->ended = none_instead;
    return (PyObject *)op;
}

PyObject *py_queryset_count(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_queryset *q = queryset_of(self);
    return (PyObject *)read_new(q->model, orm_query_ref(q->query), "count", make_count,
                                py_finish_number);
}

PyObject *py_queryset_exists(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_queryset *q = queryset_of(self);
    return (PyObject *)read_new(q->model, orm_query_ref(q->query), "exists", make_exists,
                                finish_exists);
}

/* ---- async for ---------------------------------------------------------------------------
 *
 * A query that has no slice and no order but its key's is read CHUNK rows at a time, by the key: the
 * memory is bounded and no row comes twice.  Others have no such cursor and are read at once.
 */
#define CHUNK 1000

typedef struct py_iterator {
    PyObject_HEAD py_model *model;
    PyObject *model_class; /* strong */
    orm_query *query;      /* owned; NULL: nothing is left to ask for */
    PyObject *rows;        /* list: the chunk at hand */
    Py_ssize_t position;
    bool chunked, backwards;
} py_iterator;

static py_iterator *iterator_of(PyObject *self)
{
    return (py_iterator *)self;
}

PyObject *py_queryset_iterate(PyObject *object)
{
    py_queryset *q = queryset_of(object);
    PyTypeObject *type = q->model->state->iterator_type;
    py_iterator *self = (py_iterator *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->model = q->model;
    self->model_class = Py_NewRef(q->model_class);
    self->query = orm_query_ref(q->query);
    int order = orm_query_key_order(q->query);
    self->backwards = order < 0;
    self->chunked = q->model->key >= 0 && (order || !orm_query_is_ordered(q->query)) &&
                    !orm_query_is_sliced(q->query);
    return (PyObject *)self;
}

static int key_path(py_iterator *self, const char *text, int accept, orm_path *out)
{
    orm_error err = {0};
    if (orm_path_resolve(self->model->model, text, strlen(text), accept, out, &err) < 0) {
        py_error_raise(self->model->state, &err, NULL, 0);
        return -1;
    }
    return 0;
}

/* The query of the rows behind the last one. */
static orm_query *rest_query(py_iterator *self)
{
    orm_query *query = orm_query_ref(self->query);
    Py_ssize_t n = self->rows ? PyList_GET_SIZE(self->rows) : 0;
    if (!n) return query;
    py_instance *last = (py_instance *)PyList_GET_ITEM(self->rows, n - 1);
    orm_cond cond = {.value = orm_null()};
    PyObject *key = py_instance_key(last, self->model);
    if (!key ||
        key_path(self, self->backwards ? "pk__lt" : "pk__gt", ORM_PATH_LOOKUP, &cond.path) < 0 ||
        py_value_of_path(self->model->state, &cond.path, key, &cond.value) < 0) {
        Py_XDECREF(key);
        orm_query_unref(query);
        return NULL;
    }
    Py_DECREF(key);
    return orm_query_filter(query, &cond, 1, false);
}

static orm_query *next_query(py_iterator *self)
{
    if (!self->chunked) {
        orm_query *query = self->query;
        self->query = NULL;
        return query;
    }
    orm_path order;
    orm_query *query = rest_query(self);
    if (!query || key_path(self, self->backwards ? "-pk" : "pk", ORM_PATH_ORDER, &order) < 0) {
        orm_query_unref(query);
        return NULL;
    }
    return orm_query_limit(orm_query_order(query, &order, 1), CHUNK);
}

static PyObject *next_row(py_iterator *self)
{
    if (self->rows && self->position < PyList_GET_SIZE(self->rows))
        return Py_NewRef(PyList_GET_ITEM(self->rows, self->position++));
    return NULL;
}

static PyObject *finish_chunk(py_operation *operation, orm_op *op)
{
    py_iterator *self = iterator_of(operation->subject);
    PyObject *rows = py_finish_rows(operation, op);
    if (!rows) return NULL;
    if (self->chunked && PyList_GET_SIZE(rows) < CHUNK) {
        orm_query *query = self->query;
        self->query = NULL;
        orm_query_unref(query);
    }
    Py_XSETREF(self->rows, rows);
    self->position = 0;
    PyObject *row = next_row(self);
    if (!row) PyErr_SetNone(PyExc_StopAsyncIteration);
    return row;
}

static PyObject *iterator_next(PyObject *object)
{
    py_iterator *self = iterator_of(object);
    py_database *database = py_model_database(self->model);
    if (!database) return NULL;
    PyObject *row = next_row(self);
    if (row) return py_operation_ready(self->model->state, database, "__anext__", row);
    if (!self->query) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return NULL;
    }
    orm_query *query = next_query(self);
    py_operation *op = query ? py_fetch_new(self->model, query, "__anext__") : NULL;
    if (op) {
        op->finish = finish_chunk;
        op->subject = Py_NewRef(object);
    }
    return (PyObject *)op;
}

static PyObject *iterator_self(PyObject *self)
{
    return Py_NewRef(self);
}

static int iterator_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(iterator_of(object)->model_class);
    Py_VISIT(iterator_of(object)->rows);
    return 0;
}

static int iterator_clear(PyObject *object)
{
    Py_CLEAR(iterator_of(object)->rows);
    return 0;
}

static void iterator_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    iterator_clear(object);
    orm_query_unref(iterator_of(object)->query);
    Py_XDECREF(iterator_of(object)->model_class);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_doc, "The rows of a queryset, one by one."},
    {Py_am_aiter, iterator_self},
    {Py_am_anext, iterator_next},
    {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},
    {Py_tp_dealloc, iterator_dealloc},
    {0, NULL},
};
PyType_Spec py_iterator_spec = {
    .name = "orm._core.RowIterator",
    .basicsize = sizeof(py_iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = iterator_slots,
};
