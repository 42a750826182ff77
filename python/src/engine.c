/* engine.c - one orm_engine per running loop, and one per thread for the blocking forms.
 *
 * The object is the callable that the loop calls when the engine's descriptor is readable, so
 * the loop owns it: a loop that is closed lets go of it and the engine ends there.  The
 * database only keeps a list of borrowed pointers.
 */
#include <time.h>

#include "ops.h"

/* Ready results may keep the loop from turning for this long. */
#define LATE_NS 200000u

static uint64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the running loop and its task ------------------------------------------------------- */

static int import_asyncio(py_ops *ops)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *tasks = asyncio ? PyImport_ImportModule("asyncio.tasks") : NULL;
    int result = -1;
    if (!tasks) goto done;
    ops->get_running_loop = PyObject_GetAttrString(asyncio, "_get_running_loop");
    ops->current_task = PyObject_GetAttrString(asyncio, "current_task");
    ops->cancelled_error = PyObject_GetAttrString(asyncio, "CancelledError");
    if (!ops->get_running_loop || !ops->current_task || !ops->cancelled_error) goto done;
#if PY_VERSION_HEX < 0x030E0000
    ops->current_tasks = PyObject_GetAttrString(tasks, "_current_tasks");
    if (!ops->current_tasks || !PyDict_CheckExact(ops->current_tasks)) {
        PyErr_Clear();
        Py_CLEAR(ops->current_tasks);
    }
#endif
    result = 0;
done:
    if (result < 0) Py_CLEAR(ops->get_running_loop);
    Py_XDECREF(tasks);
    Py_XDECREF(asyncio);
    return result;
}

/* asyncio is imported when somebody else has: before, no loop can run, and `import orm` is quick. */
static bool has_asyncio(py_ops *ops)
{
    if (ops->get_running_loop) return true;
    if (!PyDict_GetItemString(PyImport_GetModuleDict(), "asyncio")) return false;
    if (import_asyncio(ops) == 0) return true;
    PyErr_Clear();
    return false;
}

PyObject *py_loop_running(py_state *state)
{
    if (!has_asyncio(state->ops)) return NULL;
    PyObject *loop = PyObject_CallNoArgs(state->ops->get_running_loop);
    if (!loop) {
        PyErr_Clear();
        return NULL;
    }
    Py_DECREF(loop); /* the thread keeps its running loop alive */
    return loop == Py_None ? NULL : loop;
}

PyObject *py_loop_task(py_state *state, PyObject *loop)
{
    py_ops *ops = state->ops;
    if (ops->current_tasks) {
        PyObject *task = PyDict_GetItemWithError(ops->current_tasks, loop);
        if (!task) PyErr_Clear();
        return task;
    }
    PyObject *task = PyObject_CallOneArg(ops->current_task, loop);
    if (!task) {
        PyErr_Clear();
        return NULL;
    }
    Py_DECREF(task); /* the loop keeps its running task alive */
    return task == Py_None ? NULL : task;
}

/* ---- statements seen --------------------------------------------------------------------- */

static PyObject *event_new(py_state *state, const orm_event *event)
{
    PyObject *self = PyStructSequence_New(state->ops->event_type);
    if (!self) return NULL;
    const char *error = event->status < 0 ? orm_status_name(event->status) : NULL;
    PyObject *items[] = {
        PyUnicode_DecodeUTF8(event->sql.ptr ? event->sql.ptr : "", (Py_ssize_t)event->sql.len,
                             "replace"),
        PyFloat_FromDouble((double)event->duration_ns * 1e-9),
        PyLong_FromLongLong(event->rows),
        PyLong_FromUnsignedLong(event->params),
        error ? PyUnicode_FromString(error) : Py_NewRef(Py_None),
        PyBool_FromLong(event->inline_),
    };
    bool failed = false;
    for (Py_ssize_t i = 0; i < (Py_ssize_t)(sizeof items / sizeof *items); i++) {
        failed |= !items[i];
        PyStructSequence_SetItem(self, i, items[i]);
    }
    if (failed) Py_CLEAR(self);
    return self;
}

/* Inside a call into the core: only remembers, because a hook may use this very engine. */
static void engine_observed(const orm_event *event, void *user)
{
    py_engine *self = user;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!self->events) self->events = PyList_New(0);
    PyObject *object = self->events ? event_new(self->state, event) : NULL;
    if (!object || PyList_Append(self->events, object) < 0) PyErr_WriteUnraisable(NULL);
    Py_XDECREF(object);
    PyErr_Restore(type, value, traceback);
}

void py_engine_report(py_engine *self)
{
    PyObject *events = self->events;
    if (!events) return;
    self->events = NULL;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *hooks = self->database ? py_database_hooks(self->database) : NULL;
    Py_XINCREF(hooks);
    for (Py_ssize_t i = 0; hooks && i < PyList_GET_SIZE(events); i++)
        py_hooks_call(hooks, PyList_GET_ITEM(events, i));
    Py_XDECREF(hooks);
    Py_DECREF(events);
    PyErr_Restore(type, value, traceback);
}

void py_engine_observe(py_engine *self)
{
    self->observes = self->database && py_database_is_observed(self->database);
    orm_engine_set_observer(self->engine, self->observes ? engine_observed : NULL, self);
}

/* ---- turns of the loop ------------------------------------------------------------------- */

void py_engine_soon(py_engine *self)
{
    PyObject *loop = self->loop ? py_weakref_peek(self->loop) : NULL;
    if (self->soon || !loop) return;
    PyObject *args[] = {loop, (PyObject *)self};
    PyObject *handle = PyObject_VectorcallMethod(self->state->ops->call_soon, args, 2, NULL);
    if (!handle) { /* the loop is closed: nobody is left to be told */
        PyErr_Clear();
        return;
    }
    Py_DECREF(handle);
    self->soon = true;
}

static void engine_deferred(orm_engine *engine, void *user)
{
    (void)engine;
    py_engine_soon(user);
}

/* Only the time of one task counts: many tasks with one ready result each are a turn as usual,
 * and would gain nothing from another. */
bool py_engine_is_late(py_engine *self, const void *task)
{
    uint64_t now = clock_now();
    if (self->turn_began && self->turn_task == task) return now - self->turn_began > LATE_NS;
    self->turn_began = now;
    self->turn_task = task;
    py_engine_soon(self);
    return false;
}

int py_engine_process(py_engine *self)
{
    self->soon = false;
    self->turn_began = 0;
    if (!self->engine) return 0;
    Py_INCREF(self);
    orm_process(self->engine, 0);
    py_engine_report(self);
    Py_DECREF(self);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *engine_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    if (py_engine_process((py_engine *)self) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- making and ending ------------------------------------------------------------------- */

static void engine_unlink(py_engine *self)
{
    py_database *database = self->database;
    if (!database) return;
    if (self->previous)
        self->previous->next = self->next;
    else
        database->engines = self->next;
    if (self->next) self->next->previous = self->previous;
    if (database->recent == self) database->recent = NULL;
    self->next = self->previous = NULL;
    self->database = NULL;
}

static bool loop_is_closed(py_state *state, PyObject *loop)
{
    PyObject *closed = PyObject_CallMethodNoArgs(loop, state->ops->is_closed);
    bool is = !closed || closed == Py_True;
    PyErr_Clear();
    Py_XDECREF(closed);
    return is;
}

/* Before the descriptor is closed: its number may be somebody else's a moment later. */
static void engine_leave_loop(py_engine *self)
{
    PyObject *loop = self->loop ? py_weakref_peek(self->loop) : NULL;
    if (!loop || self->thread != PyThread_get_thread_ident() || loop_is_closed(self->state, loop))
        return;
    PyObject *fd = PyLong_FromLong(self->fd);
    PyObject *args[] = {loop, fd};
    PyObject *done = fd ? PyObject_VectorcallMethod(self->state->ops->remove_reader, args, 2, NULL)
                        : NULL;
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(fd);
}

/* `wake`: those who wait are told; otherwise nobody is left to wait (the collector). */
static void engine_shut(py_engine *self, bool wake)
{
    if (!self->engine) {
        engine_unlink(self);
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_INCREF(self); /* the loop's reference and the operations' are about to go */
    while (self->pending) {
        if (wake)
            py_operation_fail(self->pending);
        else
            py_operation_abandon(self->pending);
    }
    while (self->transactions) py_transaction_abandon(self->transactions);
    engine_leave_loop(self);
    orm_engine *engine = self->engine;
    self->engine = NULL;
    orm_close_engine(engine);
    py_engine_report(self);
    engine_unlink(self);
    PyErr_Restore(type, value, traceback);
    Py_DECREF(self);
}

void py_engine_close(py_engine *self)
{
    engine_shut(self, true);
}

static py_engine *engine_new(py_database *database, PyObject *loop)
{
    py_state *state = database->state;
    PyTypeObject *type = state->ops->engine_type;
    py_engine *self = (py_engine *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->state = state;
    self->thread = PyThread_get_thread_ident();
    if (loop && !(self->loop = PyWeakref_NewRef(loop, NULL))) goto failed;
    orm_error err = {0};
    if (orm_engine_new(database->db, &self->engine, &err) < 0) {
        py_error_raise(state, &err, NULL, 0);
        goto failed;
    }
    self->fd = orm_fd(self->engine);
    self->database = database;
    self->next = database->engines;
    if (self->next) self->next->previous = self;
    database->engines = self;
    py_engine_observe(self);
    return self;
failed:
    Py_DECREF(self);
    return NULL;
}

static int engine_join_loop(py_engine *self, PyObject *loop)
{
    PyObject *fd = PyLong_FromLong(self->fd);
    PyObject *args[] = {loop, fd, (PyObject *)self};
    PyObject *done = fd ? PyObject_VectorcallMethod(self->state->ops->add_reader, args, 3, NULL)
                        : NULL;
    Py_XDECREF(fd);
    if (!done) return -1;
    Py_DECREF(done);
    orm_set_defer(self->engine, engine_deferred, self);
    return 0;
}

/* Loops that were closed while something kept their engine (an operation still under way). */
static void database_sweep(py_database *database)
{
    for (py_engine *self = database->engines, *next; self; self = next) {
        next = self->next;
        PyObject *loop = self->loop ? py_weakref_peek(self->loop) : NULL;
        if (self->loop && (!loop || loop_is_closed(self->state, loop))) py_engine_close(self);
    }
}

static py_engine *engine_find(py_database *database, PyObject *loop)
{
    unsigned long thread = PyThread_get_thread_ident();
    for (py_engine *self = database->engines; self; self = self->next)
        if (self->engine && self->thread == thread && self->loop &&
            py_weakref_peek(self->loop) == loop)
            return self;
    database_sweep(database);
    py_engine *self = engine_new(database, loop);
    if (!self) return NULL;
    int joined = engine_join_loop(self, loop);
    if (joined < 0) engine_shut(self, false);
    Py_DECREF(self); /* the loop has it */
    return joined < 0 ? NULL : self;
}

/* Asking asyncio for the running loop costs a system call before Python 3.12.  A loop that has a
 * current task is running, and in this thread if its engine was made here. */
static PyObject *recent_task(py_database *database)
{
    py_engine *recent = database->recent;
    if (!recent || !recent->engine || !database->state->ops->current_tasks ||
        recent->thread != PyThread_get_thread_ident())
        return NULL;
    PyObject *loop = py_weakref_peek(recent->loop);
    return loop ? py_loop_task(database->state, loop) : NULL;
}

PyObject *py_task_running(py_database *database)
{
    PyObject *task = recent_task(database);
    PyObject *loop = task ? NULL : py_loop_running(database->state);
    return loop ? py_loop_task(database->state, loop) : task;
}

py_engine *py_engine_running(py_database *database, PyObject **task)
{
    PyObject *loop = (*task = recent_task(database)) ? NULL : py_loop_running(database->state);
    if (!*task && !loop) {
        PyErr_SetString(PyExc_RuntimeError,
                        "no event loop is running: await inside one, or use a blocking form "
                        "such as list(queryset)");
        return NULL;
    }
    if (loop) *task = py_loop_task(database->state, loop);
    if (database->routes) {
        py_database *place = py_routes_find(database, *task);
        if (place != database) return place ? py_engine_running(place, task) : NULL;
    }
    if (!loop) return database->recent;
    py_engine *self = engine_find(database, loop);
    if (self) database->recent = self;
    return self;
}

py_engine *py_engine_private(py_database *database)
{
    PyObject *threads = PyThreadState_GetDict();
    if (!threads) return (py_engine *)PyErr_NoMemory();
    PyObject *key = PyLong_FromVoidPtr(database);
    if (!key) return NULL;
    py_engine *self = (py_engine *)PyDict_GetItemWithError(threads, key);
    if (self && (!self->engine || self->database != database))
        self = NULL; /* left behind by a database that is gone */
    if (!self && !PyErr_Occurred()) {
        self = engine_new(database, NULL);
        if (self && PyDict_SetItem(threads, key, (PyObject *)self) < 0)
            Py_CLEAR(self);
        else
            Py_XDECREF(self); /* the thread has it */
    }
    Py_DECREF(key);
    return self;
}

static int engine_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_engine *self = (py_engine *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->events);
    for (py_operation *op = self->pending; op; op = op->next) Py_VISIT(op);
    return 0;
}

static int engine_clear(PyObject *object)
{
    engine_shut((py_engine *)object, false);
    return 0;
}

static void engine_dealloc(PyObject *object)
{
    py_engine *self = (py_engine *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->engine) { /* nothing is pending and nothing open: they would hold it */
        orm_close_engine(self->engine);
        self->engine = NULL;
        Py_CLEAR(self->events);
    }
    engine_unlink(self);
    Py_CLEAR(self->events);
    Py_CLEAR(self->names);
    Py_CLEAR(self->loop);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "The reader of one event loop: the loop calls it when a database has answered."},
    {Py_tp_call, engine_call},
    {Py_tp_traverse, engine_traverse},
    {Py_tp_clear, engine_clear},
    {Py_tp_dealloc, engine_dealloc},
    {0, NULL},
};
static PyType_Spec engine_spec = {
    .name = "orm._core.Engine",
    .basicsize = sizeof(py_engine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = engine_slots,
};

/* ---- the module's part ------------------------------------------------------------------- */

static PyStructSequence_Field event_fields[] = {
    {"sql", "the statement, without its values"},
    {"seconds", "from its first step to its last"},
    {"rows", "delivered or changed"},
    {"params", "number of bound values"},
    {"error", "name of the status when it failed, else None"},
    {"inline", "True: ran on the loop's own thread"},
    {NULL, NULL},
};
static PyStructSequence_Desc event_description = {
    "orm._core.Statement", "One statement that has ended, as on_statement hooks see it.",
    event_fields, 6};
static PyStructSequence_Field load_fields[] = {
    {"relation", "such as 'Track.album'"},
    {"rows", "how many are asked for"},
    {"filename", "of the call of load()"},
    {"line", "of it"},
    {NULL, NULL},
};
static PyStructSequence_Desc load_description = {
    "orm._core.ImplicitLoad",
    "A load() that fetches its peers as well, as on_implicit_load hooks see it.", load_fields, 4};

/* Operations are Coroutines: create_task and asyncio.run ask for it. */
static int register_coroutine(PyTypeObject *type)
{
    PyObject *abc = PyImport_ImportModule("collections.abc");
    PyObject *coroutine = abc ? PyObject_GetAttrString(abc, "Coroutine") : NULL;
    PyObject *done = coroutine ? PyObject_CallMethod(coroutine, "register", "O", (PyObject *)type)
                               : NULL;
    Py_XDECREF(abc);
    Py_XDECREF(coroutine);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

int py_ops_init(PyObject *module, py_state *state)
{
    py_ops *ops = PyMem_Calloc(1, sizeof *ops);
    if (!ops) {
        PyErr_NoMemory();
        return -1;
    }
    state->ops = ops;
    ops->call_soon = PyUnicode_InternFromString("call_soon");
    ops->add_reader = PyUnicode_InternFromString("add_reader");
    ops->remove_reader = PyUnicode_InternFromString("remove_reader");
    ops->is_closed = PyUnicode_InternFromString("is_closed");
    ops->context_keyword = Py_BuildValue("(s)", "context");
    ops->event_type = PyStructSequence_NewType(&event_description);
    ops->load_type = PyStructSequence_NewType(&load_description);
    PyObject *peers = PyLong_FromLong(PY_FETCH_PEERS);
    ops->fetch_mode = peers ? PyContextVar_New("orm.fetch_mode", peers) : NULL;
    Py_XDECREF(peers);
    ops->engine_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &engine_spec, NULL);
    ops->gather_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &py_gather_spec, NULL);
    ops->route_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &py_route_spec, NULL);
    ops->job_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &py_job_spec, NULL);
    if (!ops->gather_type || !ops->route_type || !ops->job_type || !ops->call_soon ||
        !ops->add_reader || !ops->remove_reader || !ops->is_closed || !ops->context_keyword ||
        !ops->event_type || !ops->engine_type || !ops->load_type || !ops->fetch_mode ||
        register_coroutine(state->operation_type) < 0 || register_coroutine(ops->gather_type) < 0)
        return -1;
    if (PyModule_AddObjectRef(module, "Route", (PyObject *)ops->route_type) < 0 ||
        PyModule_AddObjectRef(module, "Job", (PyObject *)ops->job_type) < 0 ||
        PyModule_AddObjectRef(module, "fetch_mode", ops->fetch_mode) < 0 ||
        PyModule_AddObjectRef(module, "ImplicitLoad", (PyObject *)ops->load_type) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Statement", (PyObject *)ops->event_type);
}

int py_ops_traverse(py_state *state, visitproc visit, void *arg)
{
    py_ops *ops = state->ops;
    if (!ops) return 0;
    Py_VISIT(ops->engine_type);
    Py_VISIT(ops->gather_type);
    Py_VISIT(ops->route_type);
    Py_VISIT(ops->job_type);
    Py_VISIT(ops->event_type);
    Py_VISIT(ops->load_type);
    Py_VISIT(ops->load_hooks);
    Py_VISIT(ops->fetch_mode);
    Py_VISIT(ops->get_running_loop);
    Py_VISIT(ops->current_task);
    Py_VISIT(ops->current_tasks);
    Py_VISIT(ops->cancelled_error);
    return 0;
}

void py_ops_free(py_state *state)
{
    py_ops *ops = state->ops;
    if (!ops) return;
    state->ops = NULL;
    PyObject *objects[] = {
        (PyObject *)ops->engine_type,
        (PyObject *)ops->gather_type,
        (PyObject *)ops->route_type,
        (PyObject *)ops->job_type,
        (PyObject *)ops->event_type,
        (PyObject *)ops->load_type,
        ops->load_hooks,
        ops->fetch_mode,
        ops->get_running_loop,
        ops->current_task,
        ops->current_tasks,
        ops->cancelled_error,
        ops->context_keyword,
        ops->call_soon,
        ops->add_reader,
        ops->remove_reader,
        ops->is_closed,
    };
    PyMem_Free(ops);
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) Py_XDECREF(objects[i]);
}
