/* route.c - statements that a connection of another library runs: Route, Job, and the way there.
 *
 * A Route belongs to one loop.  The loop calls it when its hub has requests; it makes a Job of
 * each and gives it to `serve`, a function of the package (orm/routes.py), which answers it from
 * a coroutine.  The exception that a job fails with is kept here under a number, which travels
 * as the error's native code, and is raised as it is.
 */
#include "data.h"
#include "ops.h"
#include "route.h"

#define BACKEND "databases" /* orm_error.backend of what a job failed with */
#define KEPT_EXCEPTIONS 64  /* those that nobody raises go when as many have come after them */

struct py_route {
    PyObject_HEAD py_state *state;
    route_hub *hub;
    PyObject *loop; /* weak reference; NULL: left it */
    PyObject *serve;
    PyObject *exceptions; /* dict: number -> exception */
    int32_t n_exceptions;
    unsigned long thread;
};

typedef struct py_job {
    PyObject_HEAD py_route *route; /* strong */
    route_request *request;        /* NULL: answered */
} py_job;

/* ---- values out -------------------------------------------------------------------------- */

static PyObject *value_object(py_state *state, const orm_value *value)
{
    static const orm_column bare = {.type = ORM_TYPE_NONE};
    if (value->kind != ORM_V_LIST) {
        orm_cell cell = {.kind = value->kind, .len = (uint32_t)value->len};
        memcpy(&cell.as, &value->as, sizeof cell.as);
        return py_cell_object(state, &bare, NULL, &cell);
    }
    PyObject *list = PyList_New((Py_ssize_t)value->len);
    for (size_t i = 0; list && i < value->len; i++) {
        PyObject *item = value_object(state, &value->as.list[i]);
        if (item)
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}

/* ---- rows in ----------------------------------------------------------------------------- */

static int cell_of_value(route_memory *memory, const orm_value *value, orm_cell *out)
{
    *out = (orm_cell){.kind = value->kind, .len = (uint32_t)value->len};
    if (value->kind == ORM_V_TEXT || value->kind == ORM_V_BLOB || value->kind == ORM_V_UUID) {
        out->as.ptr = route_memory_copy(memory, value->as.ptr, value->len);
        if (out->as.ptr) return 0;
        PyErr_NoMemory();
        return -1;
    }
    memcpy(&out->as, &value->as, sizeof out->as);
    return 0;
}

/* What a driver makes of types that we have no kind for: lists and dicts are JSON, as arrays and
 * JSON columns are stored; the rest is its text. */
static PyObject *text_of_other(py_state *state, PyObject *object)
{
    if (!PyList_Check(object) && !PyDict_Check(object) && !PyTuple_Check(object))
        return PyObject_Str(object);
    PyObject *dumps = py_import_get(state, PY_IMPORT_JSON_DUMPS);
    return dumps ? PyObject_CallOneArg(dumps, object) : NULL;
}

static bool is_other(PyObject *object)
{
    return PyErr_ExceptionMatches(PyExc_Exception) && !PyErr_ExceptionMatches(PyExc_MemoryError) &&
           object != Py_None;
}

static int cell_of_object(py_state *state, route_memory *memory, PyObject *object, orm_cell *out)
{
    orm_value value;
    if (PyUnicode_Check(object)) { /* the most of them, without a reference to give back */
        Py_ssize_t len;
        const char *text = PyUnicode_AsUTF8AndSize(object, &len);
        if (!text) return -1;
        value = orm_textn(text, (size_t)len);
        return cell_of_value(memory, &value, out);
    }
    if (py_value_of_object(state, object, &value) < 0) {
        if (!is_other(object)) return -1;
        PyErr_Clear();
        PyObject *text = text_of_other(state, object);
        int result = text ? cell_of_object(state, memory, text, out) : -1;
        Py_XDECREF(text);
        return result;
    }
    int result = cell_of_value(memory, &value, out);
    if (value.release) value.release(value.owner);
    return result;
}

static int add_row(py_state *state, route_reply *reply, PyObject *row, orm_cell *cells)
{
    PyObject *items = PySequence_Fast(row, "a row is a sequence");
    if (!items) return -1;
    int result = 0;
    if ((size_t)PySequence_Fast_GET_SIZE(items) != reply->n_columns) {
        PyErr_Format(PyExc_ValueError, "a row has %zd values for %zu columns",
                     PySequence_Fast_GET_SIZE(items), reply->n_columns);
        result = -1;
    }
    for (size_t i = 0; result == 0 && i < reply->n_columns; i++)
        result = cell_of_object(state, &reply->memory,
                                PySequence_Fast_GET_ITEM(items, (Py_ssize_t)i), &cells[i]);
    Py_DECREF(items);
    return result;
}

static int add_names(route_reply *reply, PyObject *names)
{
    reply->n_columns = (size_t)PyList_GET_SIZE(names);
    reply->names = route_memory_take(&reply->memory, (reply->n_columns + 1) * sizeof(char *));
    if (!reply->names) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < reply->n_columns; i++) {
        Py_ssize_t len;
        const char *text = PyUnicode_AsUTF8AndSize(PyList_GET_ITEM(names, (Py_ssize_t)i), &len);
        if (!text) return -1;
        reply->names[i] = route_memory_copy(&reply->memory, text, (size_t)len);
        if (!reply->names[i]) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

static int add_rows(py_state *state, route_reply *reply, PyObject *rows)
{
    size_t n = (size_t)PyList_GET_SIZE(rows);
    if (!n || !reply->n_columns) return 0;
    reply->cells = route_memory_take(&reply->memory, n * reply->n_columns * sizeof(orm_cell));
    if (!reply->cells) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n; i++)
        if (add_row(state, reply, PyList_GET_ITEM(rows, (Py_ssize_t)i),
                    &reply->cells[i * reply->n_columns]) < 0)
            return -1;
    reply->n_rows = n;
    return 0;
}

/* ---- exceptions -------------------------------------------------------------------------- */

/* Its number, or 0 with an exception set. */
static int32_t keep_exception(py_route *self, PyObject *exception)
{
    int32_t number = self->n_exceptions = self->n_exceptions % (INT32_MAX - 1) + 1;
    PyObject *key = PyLong_FromLong(number), *old = PyLong_FromLong(number - KEPT_EXCEPTIONS);
    int result = key && old ? PyDict_SetItem(self->exceptions, key, exception) : -1;
    if (result == 0 && PyDict_DelItem(self->exceptions, old) < 0) PyErr_Clear();
    Py_XDECREF(key);
    Py_XDECREF(old);
    return result < 0 ? 0 : number;
}

bool py_route_raise(py_engine *engine, const orm_error *err)
{
    py_route *self = engine && engine->database ? engine->database->route : NULL;
    if (!self || strcmp(err->backend, BACKEND) != 0) return false;
    PyObject *number = PyLong_FromLong(err->native);
    PyObject *exception = number ? PyDict_GetItemWithError(self->exceptions, number) : NULL;
    if (exception) {
        Py_INCREF(exception);
        if (PyDict_DelItem(self->exceptions, number) < 0) PyErr_Clear();
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    Py_XDECREF(number);
    return exception != NULL;
}

/* ---- jobs -------------------------------------------------------------------------------- */

static void job_close(py_job *self)
{
    route_request *request = self->request;
    self->request = NULL;
    route_request_free(request);
}

static int job_check(py_job *self)
{
    if (self->request) return 0;
    PyErr_SetString(PyExc_RuntimeError, "the job was answered before");
    return -1;
}

static PyObject *job_finish(PyObject *object, PyObject *args)
{
    py_job *self = (py_job *)object;
    PyObject *names, *rows;
    long long affected, key;
    int in_transaction;
    if (job_check(self) < 0 ||
        !PyArg_ParseTuple(args, "O!O!LLp:finish", &PyList_Type, &names, &PyList_Type, &rows,
                          &affected, &key, &in_transaction))
        return NULL;
    route_reply *reply = route_reply_new();
    if (!reply) return PyErr_NoMemory();
    reply->affected = affected;
    reply->key = key;
    reply->in_transaction = in_transaction;
    if (add_names(reply, names) < 0 || add_rows(self->route->state, reply, rows) < 0) {
        route_reply_free(reply);
        return NULL;
    }
    route_answer(self->request, reply);
    job_close(self);
    Py_RETURN_NONE;
}

static PyObject *job_fail(PyObject *object, PyObject *args)
{
    py_job *self = (py_job *)object;
    PyObject *exception;
    int status, in_transaction;
    if (job_check(self) < 0 ||
        !PyArg_ParseTuple(args, "Oip:fail", &exception, &status, &in_transaction))
        return NULL;
    int32_t number = keep_exception(self->route, exception);
    route_reply *reply = number ? route_reply_new() : NULL;
    if (!reply) return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    reply->in_transaction = in_transaction;
    reply->error = (orm_error){.status = status < 0 ? status : ORM_EDATABASE,
                               .native = number,
                               .backend = BACKEND,
                               .message = "the statement failed"};
    route_answer(self->request, reply);
    job_close(self);
    Py_RETURN_NONE;
}

/* Nobody has answered it, and nobody can any more. */
static void job_dealloc(PyObject *object)
{
    py_job *self = (py_job *)object;
    PyTypeObject *type = Py_TYPE(object);
    route_reply *reply = self->request && self->request->kind == ROUTE_RUN ? route_reply_new()
                                                                           : NULL;
    if (reply) {
        reply->error = (orm_error){.status = ORM_ECANCELLED,
                                   .message = "the statement was dropped by its event loop"};
        route_answer(self->request, reply);
    }
    job_close(self);
    Py_XDECREF(self->route);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *get_kind(PyObject *object, void *unused)
{
    static const char *const names[] = {"run", "cancel", "close"};
    py_job *self = (py_job *)object;
    (void)unused;
    return self->request ? PyUnicode_FromString(names[self->request->kind]) : Py_NewRef(Py_None);
}

static PyObject *get_sql(PyObject *object, void *unused)
{
    py_job *self = (py_job *)object;
    (void)unused;
    if (!self->request || !self->request->sql) Py_RETURN_NONE;
    return py_text_new(self->request->sql, self->request->sql_len);
}

static PyObject *get_values(PyObject *object, void *unused)
{
    py_job *self = (py_job *)object;
    (void)unused;
    orm_value list = {.kind = ORM_V_LIST};
    if (self->request) {
        list.len = self->request->n_values;
        list.as.list = self->request->values;
    }
    return value_object(self->route->state, &list);
}

static PyObject *get_line(PyObject *object, void *unused)
{
    py_job *self = (py_job *)object;
    (void)unused;
    return self->request ? PyLong_FromUnsignedLongLong(route_line_number(self->request->line))
                         : Py_NewRef(Py_None);
}

static PyMethodDef job_methods[] = {
    {"finish", job_finish, METH_VARARGS,
     "finish(names, rows, affected, key, in_transaction): it ended well."},
    {"fail", job_fail, METH_VARARGS,
     "fail(exception, status, in_transaction): the exception is raised as it is."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef job_getset[] = {
    {"kind", get_kind, NULL, "'run', 'cancel' or 'close'; None once it was answered.", NULL},
    {"sql", get_sql, NULL, "The statement, or None.", NULL},
    {"values", get_values, NULL, "Its values, a list.", NULL},
    {"line", get_line, NULL, "Which connection of the engine it comes from.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot job_slots[] = {
    {Py_tp_doc, "A statement that a connection of another library has to run."},
    {Py_tp_methods, job_methods},
    {Py_tp_getset, job_getset},
    {Py_tp_dealloc, job_dealloc},
    {0, NULL},
};
PyType_Spec py_job_spec = {
    .name = "orm._core.Job",
    .basicsize = sizeof(py_job),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = job_slots,
};

/* ---- the route --------------------------------------------------------------------------- */

bool py_route_check(py_state *state, PyObject *object)
{
    return PyObject_TypeCheck(object, state->ops->route_type);
}

route_hub *py_route_hub(py_route *self)
{
    return self->hub;
}

static int serve_one(py_route *self, route_request *request)
{
    PyTypeObject *type = self->state->ops->job_type;
    py_job *job = (py_job *)type->tp_alloc(type, 0);
    if (!job) {
        route_request_free(request);
        return -1;
    }
    job->route = (py_route *)Py_NewRef((PyObject *)self);
    job->request = request;
    PyObject *result = PyObject_CallOneArg(self->serve, (PyObject *)job);
    Py_DECREF(job);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* The loop calls it: its hub has requests. */
static PyObject *route_call(PyObject *object, PyObject *args, PyObject *kwargs)
{
    py_route *self = (py_route *)object;
    (void)args, (void)kwargs;
    for (route_request *request; (request = route_hub_take(self->hub));)
        if (serve_one(self, request) < 0) return NULL;
    Py_RETURN_NONE;
}

static void leave_loop(py_route *self)
{
    PyObject *reference = self->loop;
    if (!reference || self->thread != PyThread_get_thread_ident()) return;
    self->loop = NULL;
    PyObject *loop = py_weakref_peek(reference);
    PyObject *closed = loop ? PyObject_CallMethodNoArgs(loop, self->state->ops->is_closed) : NULL;
    if (closed == Py_False) {
        PyObject *done = PyObject_CallMethod(loop, "remove_reader", "i", route_hub_fd(self->hub));
        Py_XDECREF(done);
    }
    PyErr_Clear();
    Py_XDECREF(closed);
    Py_DECREF(reference);
}

void py_route_close(py_route *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    leave_loop(self);
    route_hub_close(self->hub);
    PyErr_Restore(type, value, traceback);
}

static PyObject *route_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *loop, *serve;
    static char *names[] = {"loop", "serve", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Route", names, &loop, &serve)) return NULL;
    py_route *self = (py_route *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->state = py_state_of_type(type);
    self->thread = PyThread_get_thread_ident();
    self->serve = Py_NewRef(serve);
    self->exceptions = PyDict_New();
    self->hub = route_hub_new();
    if (!self->hub && self->exceptions) PyErr_NoMemory();
    PyObject *done = NULL;
    if (self->hub && self->exceptions && (self->loop = PyWeakref_NewRef(loop, NULL)))
        done = PyObject_CallMethod(loop, "add_reader", "iO", route_hub_fd(self->hub), self);
    if (!done) Py_CLEAR(self);
    Py_XDECREF(done);
    return (PyObject *)self;
}

static int route_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_route *self = (py_route *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->serve);
    Py_VISIT(self->exceptions);
    return 0;
}

static int route_clear(PyObject *object)
{
    py_route *self = (py_route *)object;
    Py_CLEAR(self->serve);
    Py_CLEAR(self->exceptions);
    return 0;
}

static void route_dealloc(PyObject *object)
{
    py_route *self = (py_route *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    route_clear(object);
    Py_CLEAR(self->loop);
    if (self->hub) route_hub_close(self->hub);
    route_hub_unref(self->hub);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot route_slots[] = {
    {Py_tp_doc, "Route(loop, serve): gives the statements of a database to serve(job), in the "
                "loop."},
    {Py_tp_new, route_new},
    {Py_tp_call, route_call},
    {Py_tp_traverse, route_traverse},
    {Py_tp_clear, route_clear},
    {Py_tp_dealloc, route_dealloc},
    {0, NULL},
};
PyType_Spec py_route_spec = {
    .name = "orm._core.Route",
    .basicsize = sizeof(py_route),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = route_slots,
};

/* ---- which database an operation runs on ------------------------------------------------- */

/* 1: ask, 0: nothing tells of another place, -1: exception. */
static int has_holder(const py_routes *self, PyObject *task)
{
    if (PyContextVar_CheckExact(self->holders)) {
        PyObject *value = NULL;
        if (PyContextVar_Get(self->holders, NULL, &value) < 0) return -1;
        Py_XDECREF(value);
        return value != NULL;
    }
    if (!task || !PyDict_GET_SIZE(self->holders)) return 0;
    PyObject *reference = PyWeakref_NewRef(task, NULL);
    int found = reference ? PyDict_Contains(self->holders, reference) : -1;
    Py_XDECREF(reference);
    return found;
}

static int has_sign(const py_routes *self, PyObject *task)
{
    if (!self->signs) return 1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->names); i++) {
        PyObject *value = PyDict_GetItemWithError(self->signs, PyTuple_GET_ITEM(self->names, i));
        if (!value && PyErr_Occurred()) return -1;
        if (value && value != Py_None && value != Py_False) return 1;
    }
    return has_holder(self, task);
}

py_database *py_routes_find(py_database *self, PyObject *task)
{
    int sign = has_sign(self->routes, task);
    if (sign <= 0) return sign < 0 ? NULL : self;
    PyObject *place = PyObject_CallNoArgs(self->routes->ask);
    if (!place) return NULL;
    Py_DECREF(place); /* its routes keep it */
    if (place == Py_None) return self;
    if (PyObject_TypeCheck(place, self->state->database_type)) return (py_database *)place;
    PyErr_SetString(PyExc_TypeError, "a route leads to a Database");
    return NULL;
}

PyObject *py_routes_set(PyObject *object, PyObject *args)
{
    py_database *self = (py_database *)object;
    PyObject *ask, *signs, *names, *holders;
    if (!PyArg_ParseTuple(args, "OOO!O:_set_routes", &ask, &signs, &PyTuple_Type, &names, &holders))
        return NULL;
    bool always = signs == Py_None;
    if (!always &&
        (!PyDict_Check(signs) || !(PyDict_Check(holders) || PyContextVar_CheckExact(holders)))) {
        PyErr_SetString(PyExc_TypeError, "signs is a dict or None, holders a dict or a ContextVar");
        return NULL;
    }
    py_routes *routes = PyMem_Calloc(1, sizeof *routes);
    if (!routes) return PyErr_NoMemory();
    routes->ask = Py_NewRef(ask);
    routes->names = Py_NewRef(names);
    routes->signs = always ? NULL : Py_NewRef(signs);
    routes->holders = always ? NULL : Py_NewRef(holders);
    py_routes *old = self->routes;
    self->routes = routes;
    py_routes_free(old);
    Py_RETURN_NONE;
}

int py_routes_traverse(py_routes *self, visitproc visit, void *arg)
{
    if (!self) return 0;
    Py_VISIT(self->ask);
    Py_VISIT(self->signs);
    Py_VISIT(self->names);
    Py_VISIT(self->holders);
    return 0;
}

void py_routes_free(py_routes *self)
{
    if (!self) return;
    Py_XDECREF(self->ask);
    Py_XDECREF(self->signs);
    Py_XDECREF(self->names);
    Py_XDECREF(self->holders);
    PyMem_Free(self);
}
