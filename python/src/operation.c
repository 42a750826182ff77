/* operation.c - an orm_op that is a coroutine: made when it is first sent to, and finished
 * without a future when the answer is there at once.
 */
#include "data.h"
#include "ops.h"

/* "Track.objects.get", "Track.save", "connect": three arguments for %s%s%s. */
#define TITLE(self)                                                      \
    (self)->model ? ((PyTypeObject *)(self)->model_class)->tp_name : "", \
        !(self)->model                 ? ""                              \
        : (self)->flags & PY_OP_METHOD ? "."                             \
                                       : ".objects.",                    \
        (self)->name

PyObject *py_operation_title(const py_operation *self)
{
    return PyUnicode_FromFormat("%s%s%s", TITLE(self));
}

/* ---- writes ------------------------------------------------------------------------------ */

void py_values_release(orm_value *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (values[i].release)
            values[i].release(values[i].owner);
        else if (values[i].kind == ORM_V_QUERY)
            orm_query_unref(values[i].as.query);
    }
}

int py_writes_init(py_writes *self, size_t n, size_t n_rows)
{
    size_t count = n * (n_rows ? n_rows : 1);
    if (n_rows && count / n_rows != n) count = SIZE_MAX / sizeof(orm_value);
    self->n = n;
    self->n_rows = n_rows;
    self->fields = PyMem_Calloc(n + 1, sizeof *self->fields);
    self->values = PyMem_Calloc(count + 1, sizeof *self->values);
    if (self->fields && self->values) return 0;
    py_writes_dispose(self);
    PyErr_NoMemory();
    return -1;
}

void py_writes_dispose(py_writes *self)
{
    if (self->values) py_values_release(self->values, self->n * self->n_rows);
    PyMem_Free(self->values);
    PyMem_Free(self->fields);
    *self = (py_writes){0};
}

/* ---- making ------------------------------------------------------------------------------ */

py_operation *py_operation_new(py_state *state, py_database *database, py_model *model,
                               const char *name, py_make_fn make, py_finish_fn finish)
{
    py_operation *self = PyObject_GC_New(py_operation, state->operation_type);
    if (!self) return NULL;
    memset((char *)self + sizeof(PyObject), 0, offsetof(py_operation, sink) - sizeof(PyObject));
    self->state = state;
    self->database = (py_database *)Py_NewRef((PyObject *)database);
    self->model = model;
    self->model_class = model ? Py_NewRef((PyObject *)model->type) : NULL;
    self->name = name;
    self->make = make;
    self->finish = finish;
    if (database->has_transactions &&
        py_transaction_scope(database, &self->scope, &self->ancestor, &self->error) < 0) {
        self->status = PY_OP_CLOSED; /* nothing to warn about */
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

PyObject *py_operation_ready(py_state *state, py_database *database, const char *name,
                             PyObject *value)
{
    if (!value) return NULL;
    py_operation *self = PyObject_GC_New(py_operation, state->operation_type);
    if (!self) {
        Py_DECREF(value);
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, offsetof(py_operation, sink) - sizeof(PyObject));
    self->state = state;
    self->database = (py_database *)Py_NewRef((PyObject *)database);
    self->name = name;
    self->value = value;
    self->status = PY_OP_READY;
    return (PyObject *)self;
}

int py_operation_add_sink(py_operation *self, bool single)
{
    if (py_sink_init(&self->sink, self->state, self->model, single) < 0) return -1;
    self->flags |= PY_OP_SINK;
    return 0;
}

/* ---- finishing --------------------------------------------------------------------------- */

PyObject *py_finish_none(py_operation *self, orm_op *op)
{
    (void)self, (void)op;
    Py_RETURN_NONE;
}

PyObject *py_finish_number(py_operation *self, orm_op *op)
{
    (void)self;
    return PyLong_FromLongLong(orm_op_number(op));
}

PyObject *py_finish_rows(py_operation *self, orm_op *op)
{
    (void)op;
    PyObject *rows = py_sink_take(&self->sink);
    if (rows && py_group_rows(rows, self->model) < 0) Py_CLEAR(rows);
    return rows;
}

PyObject *py_finish_subject(py_operation *self, orm_op *op)
{
    (void)op;
    return Py_NewRef(self->subject);
}

/* On behalf of a databases.Database: the exception is its driver's as well. */
static void translate_error(py_operation *self)
{
    const py_routes *routes = self->database->routes;
    if (!routes || (self->engine && self->engine->database && self->engine->database->route))
        return;
    PyObject *error = py_exception_take();
    PyObject *translate = py_import_get(self->state, PY_IMPORT_DRIVER_ERROR);
    PyObject *done = translate ? PyObject_CallFunctionObjArgs(translate, error, routes->ask, NULL)
                               : NULL;
    if (done)
        Py_SETREF(error, done);
    else
        PyErr_WriteUnraisable((PyObject *)self);
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

static void operation_raise(py_operation *self)
{
    py_sink *sink = &self->sink;
    if ((self->flags & PY_OP_SINK) && sink->error_type) { /* Python failed inside row() */
        PyErr_Restore(sink->error_type, sink->error_value, sink->error_traceback);
        sink->error_type = sink->error_value = sink->error_traceback = NULL;
        return;
    }
    if (py_route_raise(self->engine, orm_op_error(self->op))) return;
    size_t len = 0;
    const char *sql = orm_op_sql(self->op, &len);
    const orm_error *err = orm_op_error(self->op);
    PyObject *more = NULL;
    if (err->status == ORM_EPOOLTIMEOUT && self->engine && !(more = py_holders_text(self->engine)))
        return;
    py_error_raise_more(self->state, err, more, sql, len);
    Py_XDECREF(more);
    translate_error(self);
}

PyObject *py_exception_take(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

static void operation_unlink(py_operation *self)
{
    py_engine *engine = self->engine;
    if (self->previous)
        self->previous->next = self->next;
    else
        engine->pending = self->next;
    if (self->next) self->next->previous = self->previous;
    self->next = self->previous = NULL;
}

static void operation_link(py_operation *self)
{
    py_engine *engine = self->engine;
    self->next = engine->pending;
    if (self->next) self->next->previous = self;
    engine->pending = (py_operation *)Py_NewRef((PyObject *)self);
    PyObject_GC_Track(self); /* from now on a task and its operation may refer to each other */
}

/* The op has ended (or never will): value or error, and nothing of the core is kept. */
static void operation_settle(py_operation *self)
{
    if (self->scope) self->scope->running--;
    if (self->flags & (PY_OP_WRITES | PY_OP_MAY_WRITE)) self->database->writes++;
    if (!self->error) {
        if (self->op && orm_op_status(self->op) >= 0)
            self->value = self->finish(self, self->op);
        else
            operation_raise(self);
        if (!self->value) self->error = py_exception_take();
    }
    orm_op *op = self->op;
    self->op = NULL;
    orm_op_free(op);
    self->status = PY_OP_READY;
    if (self->ended) self->ended(self);
    Py_CLEAR(self->engine);
}

static void operation_done(orm_op *op, void *user)
{
    py_operation *self = user;
    py_engine *engine = (py_engine *)Py_NewRef((PyObject *)self->engine);
    (void)op;
    operation_unlink(self);
    operation_settle(self);
    py_operation_wake(self, engine);
    Py_DECREF(engine);
    Py_DECREF(self); /* the engine's */
}

void py_operation_fail(py_operation *self)
{
    py_engine *engine = (py_engine *)Py_NewRef((PyObject *)self->engine);
    operation_unlink(self);
    py_error_format(self->state, ORM_EPOOLCLOSED,
                    "the database was disconnected while %s() was under way", self->name);
    self->error = py_exception_take();
    orm_cancel(self->op);
    operation_settle(self);
    py_operation_wake(self, engine);
    Py_DECREF(engine);
    Py_DECREF(self);
}

/* Which handle to run on, and whether it may wait there. */
static orm_engine *operation_place(py_operation *self, py_engine *engine)
{
    if (self->error) {
        PyObject *error = self->error;
        self->error = NULL;
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
        return NULL;
    }
    if (py_transaction_blocks(self)) {
        py_error_format(self->state, ORM_ECONCURRENT,
                        "%s() would wait for the transaction that its own task came from: end "
                        "that transaction first, or use transaction(tasks=\"join\")",
                        self->name);
        return NULL;
    }
    return self->scope ? py_transaction_handle(self->scope, engine) : engine->engine;
}

int py_operation_start(py_operation *self, py_engine *engine, PyObject *task)
{
    self->status = PY_OP_CLOSED; /* until it is clear that there is something to wait for */
    orm_engine *handle = operation_place(self, engine);
    if (!handle) return -1;
    self->engine = (py_engine *)Py_NewRef((PyObject *)engine);
    if (engine->observes != py_database_is_observed(self->database)) py_engine_observe(engine);
    orm_engine_set_caller(engine->engine, task ? (void *)task : self);
    self->op = self->make ? self->make(self, handle) : NULL;
    if (!self->op) {
        if (!PyErr_Occurred()) /* nothing to send */
            self->value = self->finish(self, NULL);
        Py_CLEAR(self->engine);
        self->status = self->value ? PY_OP_READY : PY_OP_CLOSED;
        return self->value ? 1 : -1;
    }
    if (self->scope) self->scope->running++;
    if (self->flags & (PY_OP_WRITES | PY_OP_MAY_WRITE)) self->database->writes++;
    operation_link(self);
    self->status = PY_OP_PENDING;
    self->op_sent = true;
    orm_status started = orm_start(self->op, operation_done, self);
    if (started != ORM_PENDING) {
        if (started < 0) { /* refused: another process, another thread */
            py_error_format(self->state, started, "%s() cannot use its engine here", self->name);
            self->error = py_exception_take();
        }
        operation_unlink(self);
        operation_settle(self);
        Py_DECREF(self);
    }
    if (engine->events) py_engine_report(engine);
    return self->status == PY_OP_READY;
}

PyObject *py_operation_take(py_operation *self)
{
    PyObject *value = self->value, *error = self->error;
    self->value = self->error = NULL;
    self->status = PY_OP_CLOSED;
    if (value) return value;
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

void py_operation_abandon(py_operation *self)
{
    if (self->status == PY_OP_PENDING) {
        operation_unlink(self);
        if (!(self->flags & PY_OP_SHIELD)) orm_cancel(self->op);
        if (self->scope) self->scope->running--;
        orm_op *op = self->op;
        self->op = NULL;
        orm_op_free(op);
        self->status = PY_OP_CLOSED;
        if (self->ended) self->ended(self);
        Py_CLEAR(self->engine);
        Py_CLEAR(self->callback);
        Py_CLEAR(self->context);
        Py_DECREF(self); /* the engine's: the caller holds one of its own */
        return;
    }
    self->status = PY_OP_CLOSED;
}

/* ---- the coroutine ----------------------------------------------------------------------- */

static PySendResult operation_wait(py_operation *self, PyObject **result)
{
    self->blocking = true;
    *result = Py_NewRef((PyObject *)self);
    return PYGEN_NEXT;
}

static PySendResult operation_finish(py_operation *self, PyObject **result)
{
    if (self->cancelled) { /* held back until now */
        PyObject *error = self->cancelled;
        self->cancelled = NULL;
        if (self->error && error != self->error)
            PyException_SetContext(error, Py_NewRef(self->error));
        Py_CLEAR(self->value);
        Py_XSETREF(self->error, error);
    }
    *result = py_operation_take(self);
    return *result ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult operation_first(py_operation *self, PyObject **result)
{
    PyObject *task = NULL;
    py_engine *engine = py_engine_running(self->database, &task);
    int started = engine ? py_operation_start(self, engine, task) : -1;
    bool sent = self->op_sent;
    if (started < 0) {
        self->status = PY_OP_CLOSED;
        return PYGEN_ERROR;
    }
    if (!started) return operation_wait(self, result);
    if (sent && py_engine_is_late(
                    engine, task)) { /* the result waits, so that other tasks get their turn */
        *result = Py_NewRef(Py_None);
        return PYGEN_NEXT;
    }
    return operation_finish(self, result);
}

static PySendResult operation_send(PyObject *object, PyObject *value, PyObject **result)
{
    py_operation *self = (py_operation *)object;
    (void)value;
    *result = NULL;
    switch (self->status) {
    case PY_OP_CREATED: return operation_first(self, result);
    case PY_OP_PENDING: return operation_wait(self, result);
    case PY_OP_READY: return operation_finish(self, result);
    default:
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited %s%s%s()", TITLE(self));
        return PYGEN_ERROR;
    }
}

static void set_stop_iteration(PyObject *value)
{
    if (value == Py_None)
        PyErr_SetNone(PyExc_StopIteration);
    else if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
        /* these would be taken for the arguments, or for the exception itself */
        PyObject *error = PyObject_CallOneArg(PyExc_StopIteration, value);
        if (error) PyErr_SetObject(PyExc_StopIteration, error);
        Py_XDECREF(error);
    } else
        PyErr_SetObject(PyExc_StopIteration, value);
    Py_DECREF(value);
}

static PyObject *operation_next(PyObject *self)
{
    PyObject *result;
    PySendResult sent = operation_send(self, Py_None, &result);
    if (sent == PYGEN_RETURN) {
        set_stop_iteration(result);
        return NULL;
    }
    return result;
}

PyObject *py_operation_step(PyObject *self)
{
    return operation_next(self);
}

static PyObject *operation_self(PyObject *self)
{
    return Py_NewRef(self);
}

/* ---- the object -------------------------------------------------------------------------- */

static PyObject *operation_repr(PyObject *object)
{
    static const char *const words[] = {"created", "pending", "ready", "closed"};
    py_operation *self = (py_operation *)object;
    return PyUnicode_FromFormat("<operation %s%s%s() %s>", TITLE(self), words[self->status]);
}

static int operation_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_operation *self = (py_operation *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->database);
    Py_VISIT(self->engine);
    Py_VISIT(self->scope);
    Py_VISIT(self->ancestor);
    Py_VISIT(self->model_class);
    Py_VISIT(self->subject);
    Py_VISIT(self->extra);
    Py_VISIT(self->value);
    Py_VISIT(self->error);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    Py_VISIT(self->message);
    Py_VISIT(self->cancelled);
    return 0;
}

static int operation_clear(PyObject *object)
{
    py_operation *self = (py_operation *)object;
    if (self->status == PY_OP_PENDING) py_operation_abandon(self);
    Py_CLEAR(self->scope);
    Py_CLEAR(self->ancestor);
    Py_CLEAR(self->subject);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->value);
    Py_CLEAR(self->error);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    Py_CLEAR(self->message);
    Py_CLEAR(self->cancelled);
    return 0;
}

static void operation_finalize(PyObject *object)
{
    py_operation *self = (py_operation *)object;
    if (self->status != PY_OP_CREATED) return;
    self->status = PY_OP_CLOSED;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "%s%s%s() was never awaited", TITLE(self)) < 0)
        PyErr_WriteUnraisable(object);
    PyErr_Restore(type, value, traceback);
}

static void operation_dealloc(PyObject *object)
{
    py_operation *self = (py_operation *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->status == PY_OP_CREATED && PyObject_CallFinalizerFromDealloc(object) < 0) return;
    PyObject_GC_UnTrack(object);
    operation_clear(object);
    if (self->flags & PY_OP_SINK) py_sink_dispose(&self->sink);
    py_group_ended(self);
    orm_query_unref(self->query);
    py_writes_dispose(&self->writes);
    py_writes_dispose(&self->set);
    PyMem_Free(self->keys);
    Py_XDECREF(self->engine);
    Py_XDECREF(self->database);
    Py_XDECREF(self->model_class);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyType_Slot operation_slots[] = {
    {Py_tp_doc, "One statement on its way: a coroutine.  It starts when it is first awaited, and "
                "may be given to asyncio.create_task, gather, wait_for and run."},
    {Py_tp_repr, operation_repr},
    {Py_tp_iter, operation_self},
    {Py_tp_iternext, operation_next},
    {Py_am_await, operation_self},
    {Py_am_send, operation_send},
    {Py_tp_methods, py_operation_methods},
    {Py_tp_getset, py_operation_getset},
    {Py_tp_traverse, operation_traverse},
    {Py_tp_clear, operation_clear},
    {Py_tp_finalize, operation_finalize},
    {Py_tp_dealloc, operation_dealloc},
    {0, NULL},
};
PyType_Spec py_operation_spec = {
    .name = "orm._core.Operation",
    .basicsize = sizeof(py_operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = operation_slots,
};
