/* gather.c - Database.gather: several operations under way at once, without tasks.
 *
 * It starts them all and then waits for one after the other by handing that one to the task as
 * its future.  They were created by this task, so inside a transaction they belong to it.
 */
#include "ops.h"

typedef struct py_gather {
    PyObject_HEAD py_database *database; /* strong */
    PyObject *operations;                /* tuple of py_operation */
    PyObject *results;                   /* list */
    PyObject *error;                     /* the first one; raised when all have ended */
    Py_ssize_t position;                 /* the one that is waited for */
    bool started, closed;
} py_gather;

static py_gather *gather_of(PyObject *self)
{
    return (py_gather *)self;
}

static py_operation *operation_at(py_gather *self, Py_ssize_t i)
{
    return (py_operation *)PyTuple_GET_ITEM(self->operations, i);
}

/* An operation as it is, of a queryset its all(). */
static PyObject *operation_of(py_database *database, PyObject *object)
{
    py_state *state = database->state;
    PyObject *op = py_queryset_check(state, object) ? py_queryset_all(object, NULL, 0, NULL)
                                                    : Py_NewRef(object);
    if (!op) return NULL;
    if (Py_TYPE(op) == state->operation_type && ((py_operation *)op)->database == database)
        return op;
    if (op != object) py_operation_abandon((py_operation *)op); /* closed without the warning */
    Py_DECREF(op);
    return PyErr_Format(PyExc_TypeError,
                        "gather() takes querysets and operations of this database, not %.100R",
                        object);
}

PyObject *py_database_gather(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    py_database *database = (py_database *)object;
    py_state *state = database->state;
    py_gather *self = (py_gather *)state->ops->gather_type->tp_alloc(state->ops->gather_type, 0);
    if (!self) return NULL;
    self->database = (py_database *)Py_NewRef(object);
    self->operations = PyTuple_New(nargs);
    self->results = PyList_New(0);
    if (!self->operations || !self->results) {
        Py_DECREF(self);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < nargs; i++) {
        PyObject *op = operation_of(database, args[i]);
        if (!op) {
            Py_DECREF(self);
            return NULL;
        }
        PyTuple_SET_ITEM(self->operations, i, op);
    }
    return (PyObject *)self;
}

static void keep_error(py_gather *self)
{
    PyObject *error = py_exception_take();
    if (self->error)
        Py_DECREF(error);
    else
        self->error = error;
}

static int start_all(py_gather *self)
{
    PyObject *task = NULL;
    py_engine *engine = py_engine_running(self->database, &task);
    if (!engine) return -1;
    self->started = true;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->operations); i++) {
        py_operation *op = operation_at(self, i);
        if (op->status == PY_OP_CREATED) {
            if (py_operation_start(op, engine, task) < 0) keep_error(self);
        } else if (op->status != PY_OP_READY) {
            PyErr_Format(PyExc_RuntimeError, "%R cannot be gathered: it was awaited before", op);
            keep_error(self);
        }
    }
    return 0;
}

/* Takes the results that are there.  The operation that is not, or NULL at the end. */
static PyObject *gather_next_pending(py_gather *self)
{
    for (; self->position < PyTuple_GET_SIZE(self->operations); self->position++) {
        py_operation *op = operation_at(self, self->position);
        if (op->status == PY_OP_PENDING) return (PyObject *)op;
        PyObject *result = op->status == PY_OP_READY ? py_operation_take(op) : NULL;
        if (PyErr_Occurred() || (result && PyList_Append(self->results, result) < 0))
            keep_error(self);
        Py_XDECREF(result);
    }
    return NULL;
}

static void abandon_all(py_gather *self)
{
    self->closed = true;
    for (Py_ssize_t i = 0; self->operations && i < PyTuple_GET_SIZE(self->operations); i++)
        py_operation_abandon(operation_at(self, i));
}

static PySendResult gather_send(PyObject *object, PyObject *value, PyObject **result)
{
    py_gather *self = gather_of(object);
    (void)value;
    *result = NULL;
    if (self->closed) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited gather()");
        return PYGEN_ERROR;
    }
    if (!self->started && start_all(self) < 0) {
        abandon_all(self);
        return PYGEN_ERROR;
    }
    PyObject *pending = gather_next_pending(self);
    if (pending) return PyIter_Send(pending, Py_None, result); /* it yields itself */
    self->closed = true;
    if (self->error) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->error), self->error);
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(self->results);
    return PYGEN_RETURN;
}

static PyObject *gather_next(PyObject *self)
{
    PyObject *result;
    if (gather_send(self, Py_None, &result) != PYGEN_RETURN) return result;
    PyErr_SetObject(PyExc_StopIteration, result);
    Py_DECREF(result);
    return NULL;
}

static PyObject *gather_send_method(PyObject *self, PyObject *value)
{
    (void)value;
    return gather_next(self);
}

static PyObject *gather_throw(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    if (py_exception_set_thrown(args, nargs) < 0) return NULL;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    abandon_all(gather_of(object));
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static PyObject *gather_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    abandon_all(gather_of(self));
    Py_RETURN_NONE;
}

static PyObject *gather_self(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *gather_await(PyObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(self);
}

static int gather_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_gather *self = gather_of(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->database);
    Py_VISIT(self->operations);
    Py_VISIT(self->results);
    Py_VISIT(self->error);
    return 0;
}

static int gather_clear(PyObject *object)
{
    py_gather *self = gather_of(object);
    Py_CLEAR(self->operations);
    Py_CLEAR(self->results);
    Py_CLEAR(self->error);
    return 0;
}

static void gather_dealloc(PyObject *object)
{
    py_gather *self = gather_of(object);
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->started && !self->closed) abandon_all(self);
    gather_clear(object);
    Py_XDECREF(self->database);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef gather_methods[] = {
    {"send", gather_send_method, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))gather_throw, METH_FASTCALL, NULL},
    {"close", gather_close, METH_NOARGS, NULL},
    {"__await__", gather_await, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot gather_slots[] = {
    {Py_tp_doc, "Several operations on their way: a coroutine."},
    {Py_tp_iter, gather_self},
    {Py_tp_iternext, gather_next},
    {Py_am_await, gather_self},
    {Py_am_send, gather_send},
    {Py_tp_methods, gather_methods},
    {Py_tp_traverse, gather_traverse},
    {Py_tp_clear, gather_clear},
    {Py_tp_dealloc, gather_dealloc},
    {0, NULL},
};
PyType_Spec py_gather_spec = {
    .name = "orm._core.Gather",
    .basicsize = sizeof(py_gather),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = gather_slots,
};
