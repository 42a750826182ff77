/* pending.c - what asyncio sees of an operation: a coroutine's methods, and those of a future
 * while it is pending.
 *
 * A pending operation yields itself.  A Task (of C, of Python in debug mode, or uvloop's) then
 * treats it as the future it waits for: sets _asyncio_future_blocking to False, asks get_loop,
 * adds its wake-up.  Outside of that time the attribute is None, so that asyncio.isfuture says
 * no and gather wraps the coroutine into a task.
 */
#include "ops.h"

static py_operation *operation_of(PyObject *self)
{
    return (py_operation *)self;
}

/* The waiter hears of it in the loop's next round, in its own context.  The loop need not be
 * running: asyncio.run cancels what is left between two runs. */
void py_operation_wake(py_operation *self, py_engine *engine)
{
    PyObject *callback = self->callback, *context = self->context;
    if (!callback) return;
    self->callback = self->context = NULL;
    py_state *state = self->state;
    PyObject *loop = engine && engine->loop ? py_weakref_peek(engine->loop) : NULL;
    PyObject *args[] = {loop, callback, (PyObject *)self, context};
    PyObject *handle = NULL;
    if (loop)
        handle = PyObject_VectorcallMethod(state->ops->call_soon, args, 3,
                                           context ? state->ops->context_keyword : NULL);
    if (!handle) /* the loop is closed: nobody waits any more */
        PyErr_Clear();
    Py_XDECREF(handle);
    Py_DECREF(callback);
    Py_XDECREF(context);
}

/* ---- the coroutine's methods ------------------------------------------------------------- */

static PyObject *operation_send_method(PyObject *self, PyObject *value)
{
    (void)value;
    return py_operation_step(self);
}

int py_exception_set_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_SetString(PyExc_TypeError, "throw() takes one to three arguments");
        return -1;
    }
    PyObject *type = args[0];
    PyObject *value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *traceback = nargs > 2 && args[2] != Py_None ? args[2] : NULL;
    if (PyExceptionInstance_Check(type)) {
        if (value) {
            PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
            return -1;
        }
        value = type;
        type = (PyObject *)Py_TYPE(value);
    } else if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, "
                     "not %.100s",
                     Py_TYPE(type)->tp_name);
        return -1;
    }
    if (traceback && !PyTraceBack_Check(traceback)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback object");
        return -1;
    }
    PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(traceback));
    return 0;
}

static PyObject *hold_back(py_operation *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    if (!self->cancelled)
        self->cancelled = value;
    else
        Py_XDECREF(value);
    self->is_cancelled = false;
    return py_operation_step((PyObject *)self);
}

/* Somebody else's connection runs it.  Its task goes on when that connection is at rest: it may
 * be about to use it. */
static bool is_routed(const py_operation *self)
{
    return self->engine && self->engine->database && self->engine->database->route;
}

static PyObject *operation_throw(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    py_operation *self = operation_of(object);
    if (py_exception_set_thrown(args, nargs) < 0) return NULL;
    bool under_way = self->status == PY_OP_PENDING || self->status == PY_OP_READY;
    bool routed = self->status == PY_OP_PENDING && is_routed(self);
    if (under_way && (routed || (self->flags & PY_OP_SHIELD)) &&
        PyErr_ExceptionMatches(self->state->ops->cancelled_error)) {
        if (routed && !(self->flags & PY_OP_SHIELD)) orm_cancel(self->op);
        return hold_back(self);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    py_operation_abandon(self);
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static PyObject *operation_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_operation_abandon(operation_of(self));
    Py_RETURN_NONE;
}

static PyObject *operation_await(PyObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(self);
}

/* ---- the future's methods ---------------------------------------------------------------- */

static PyObject *operation_add_done_callback(PyObject *object, PyObject *const *args,
                                             Py_ssize_t nargs, PyObject *kwnames)
{
    py_operation *self = operation_of(object);
    Py_ssize_t n_keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs != 1 || n_keywords > 1 ||
        (n_keywords &&
         PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "context") != 0)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback(callback, *, context=None)");
        return NULL;
    }
    if (self->callback || self->status != PY_OP_PENDING) {
        PyErr_SetString(PyExc_RuntimeError, self->callback
                                                ? "this operation is being awaited already"
                                                : "this operation is a coroutine: await it");
        return NULL;
    }
    PyObject *context = n_keywords && args[1] != Py_None ? args[1] : NULL;
    self->callback = Py_NewRef(args[0]);
    self->context = Py_XNewRef(context);
    Py_RETURN_NONE;
}

static PyObject *operation_remove_done_callback(PyObject *object, PyObject *callback)
{
    py_operation *self = operation_of(object);
    int same = self->callback ? PyObject_RichCompareBool(self->callback, callback, Py_EQ) : 0;
    if (same < 0) return NULL;
    if (same) {
        Py_CLEAR(self->callback);
        Py_CLEAR(self->context);
    }
    return PyLong_FromLong(same);
}

/* asked by the waiter's wake-up: only to learn of a cancellation */
static PyObject *operation_result(PyObject *object, PyObject *unused)
{
    py_operation *self = operation_of(object);
    (void)unused;
    if (self->is_cancelled) {
        self->is_cancelled = false;
        if (self->message)
            PyErr_SetObject(self->state->ops->cancelled_error, self->message);
        else
            PyErr_SetNone(self->state->ops->cancelled_error);
        Py_CLEAR(self->message);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Task.cancel: the waiter is woken with CancelledError, which comes back to us by throw(). */
static PyObject *operation_cancel(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames)
{
    py_operation *self = operation_of(object);
    Py_ssize_t total = nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    if (total > 1) {
        PyErr_SetString(PyExc_TypeError, "cancel(msg=None)");
        return NULL;
    }
    if (self->status != PY_OP_PENDING || !self->callback) Py_RETURN_FALSE;
    self->is_cancelled = true;
    Py_XSETREF(self->message, total && args[0] != Py_None ? Py_NewRef(args[0]) : NULL);
    py_operation_wake(self, self->engine);
    Py_RETURN_TRUE;
}

static PyObject *operation_get_loop(PyObject *object, PyObject *unused)
{
    py_operation *self = operation_of(object);
    (void)unused;
    PyObject *loop = self->engine && self->engine->loop ? py_weakref_peek(self->engine->loop)
                                                        : NULL;
    if (!loop) loop = py_loop_running(self->state);
    return Py_NewRef(loop ? loop : Py_None);
}

static PyObject *operation_done(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(operation_of(self)->status >= PY_OP_READY);
}

static PyObject *operation_is_cancelled(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(operation_of(self)->is_cancelled);
}

#define FASTCALL(f) ((PyCFunction)(void (*)(void))(f))
PyMethodDef py_operation_methods[] = {
    {"send", operation_send_method, METH_O, "send(value): runs it until it waits or ends."},
    {"throw", FASTCALL(operation_throw), METH_FASTCALL,
     "throw(exception): cancels what is under way and raises."},
    {"close", operation_close, METH_NOARGS, "close(): cancels what is under way."},
    {"__await__", operation_await, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {"add_done_callback", FASTCALL(operation_add_done_callback), METH_FASTCALL | METH_KEYWORDS,
     NULL},
    {"remove_done_callback", operation_remove_done_callback, METH_O, NULL},
    {"result", operation_result, METH_NOARGS, NULL},
    {"cancel", FASTCALL(operation_cancel), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"get_loop", operation_get_loop, METH_NOARGS, NULL},
    {"done", operation_done, METH_NOARGS, NULL},
    {"cancelled", operation_is_cancelled, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Operation[T], for annotations."},
    {NULL, NULL, 0, NULL},
};

static PyObject *operation_get_blocking(PyObject *object, void *unused)
{
    py_operation *self = operation_of(object);
    (void)unused;
    if (self->status != PY_OP_PENDING) Py_RETURN_NONE;
    return PyBool_FromLong(self->blocking);
}

static int operation_set_blocking(PyObject *object, PyObject *value, void *unused)
{
    (void)unused;
    int truth = value ? PyObject_IsTrue(value) : 0;
    if (truth < 0) return -1;
    operation_of(object)->blocking = truth;
    return 0;
}

static PyObject *operation_get_name(PyObject *object, void *unused)
{
    (void)unused;
    return py_operation_title(operation_of(object));
}

PyGetSetDef py_operation_getset[] = {
    {"_asyncio_future_blocking", operation_get_blocking, operation_set_blocking, NULL, NULL},
    {"__name__", operation_get_name, NULL, NULL, NULL},
    {"__qualname__", operation_get_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
