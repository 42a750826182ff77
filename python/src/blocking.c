/* blocking.c - an operation run to its end without asyncio: len(queryset), iteration, indexing.
 *
 * The thread has an engine of its own for them.  Inside a transaction of the running task they
 * use its connection, so that they see what it has written.
 */
#include <errno.h>
#include <poll.h>

#include "ops.h"

/* Waits for the descriptor without the GIL; the core's own deadlines end every wait. */
static int wait_readable(py_engine *engine)
{
    struct pollfd p = {.fd = engine->fd, .events = POLLIN};
    int ready, code;
    Py_BEGIN_ALLOW_THREADS ready = poll(&p, 1, -1);
    code = errno;
    Py_END_ALLOW_THREADS if (ready < 0 && code != EINTR)
    {
        errno = code;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return PyErr_CheckSignals();
}

static int run(py_operation *self, py_engine *engine, PyObject *task)
{
    int started = py_operation_start(self, engine, task);
    if (started < 0) return -1;
    while (self->status == PY_OP_PENDING) {
        /* first what belongs to the end of the turn: the descriptor does not announce it */
        if (py_engine_process(engine) < 0 ||
            (self->status == PY_OP_PENDING && wait_readable(engine) < 0)) {
            py_operation_abandon(self);
            return -1;
        }
    }
    return 0;
}

static int warn_server(py_state *state, py_database *database)
{
    if (database->single_writer || !py_loop_running(state)) return 0;
    PyObject *package = PyImport_ImportModule("orm");
    PyObject *category = package ? PyObject_GetAttrString(package, "BlockingQueryWarning") : NULL;
    int result = category ? PyErr_WarnEx(category,
                                         "this query blocks the running event loop: "
                                         "await it instead",
                                         1)
                          : -1;
    Py_XDECREF(category);
    Py_XDECREF(package);
    return result;
}

static py_engine *place(py_operation *self, PyObject **task)
{
    if (self->database->routes &&
        py_routes_find(self->database, py_task_running(self->database)) != self->database) {
        if (!PyErr_Occurred())
            py_error_format(self->state, ORM_EMISUSE,
                            "await this queryset: the event loop that would be blocked serves the "
                            "connection of databases.Database that it runs on");
        return NULL;
    }
    if (!self->scope) return py_engine_private(self->database);
    if (self->scope->running) {
        py_error_format(self->state, ORM_EMISUSE,
                        "await this queryset: its transaction is busy with another operation");
        return NULL;
    }
    return py_engine_running(self->database, task);
}

PyObject *py_operation_block(py_operation *self)
{
    PyObject *task = NULL, *result = NULL;
    py_engine *engine = NULL;
    engine = place(self, &task);
    if (engine && warn_server(self->state, self->database) < 0) engine = NULL;
    if (!engine)
        self->status = PY_OP_CLOSED;
    else {
        Py_INCREF(engine);
        if (run(self, engine, task) == 0) result = py_operation_take(self);
        Py_DECREF(engine);
    }
    Py_DECREF(self);
    return result;
}

static py_engine *find_private(py_database *database)
{
    py_engine *engine = database->engines;
    while (engine && (engine->loop || engine->thread != PyThread_get_thread_ident()))
        engine = engine->next;
    return engine;
}

PyObject *py_operation_run_now(PyObject *module, PyObject *object)
{
    py_state *state = PyModule_GetState(module);
    if (!PyObject_TypeCheck(object, state->operation_type) ||
        ((py_operation *)object)->status != PY_OP_CREATED) {
        PyErr_Format(PyExc_TypeError, "expected an operation that has not been started, not %R",
                     object);
        return NULL;
    }
    py_operation *self = (py_operation *)object;
    py_database *database = (py_database *)Py_NewRef((PyObject *)self->database);
    bool was_open = find_private(database) != NULL;
    PyObject *value = py_operation_block((py_operation *)Py_NewRef(object));
    if (!was_open && find_private(database)) { /* nothing stays open that was not */
        PyObject *error = PyErr_Occurred() ? py_exception_take() : NULL;
        py_engine_close(find_private(database));
        if (error) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_XDECREF(error);
    }
    PyObject *result = py_operation_ready(state, database, self->name, value);
    Py_DECREF(database);
    return result;
}
