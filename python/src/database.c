/* database.c - Database: one orm_db, whatever loops and threads use it.
 *
 * Options are those of the URL: keyword arguments are written behind it and the core reads
 * them, so that there is one list of options and one kind of error.
 */
#include "ops.h"
#include "route.h"

static py_database *database_of(PyObject *self)
{
    return (py_database *)self;
}

/* ---- options ----------------------------------------------------------------------------- */

int py_tasks_parse(PyObject *text, uint8_t *out)
{
    static const char *const names[] = {"error", "join", "detach"};
    for (uint8_t i = 0; PyUnicode_Check(text) && i < 3; i++)
        if (PyUnicode_CompareWithASCIIString(text, names[i]) == 0) {
            *out = i;
            return 0;
        }
    PyErr_Format(PyExc_ValueError, "tasks is 'error', 'join' or 'detach', not %.100R", text);
    return -1;
}

/* Truth values as the URL spells them. */
static PyObject *plain_options(PyObject *options)
{
    PyObject *plain = PyDict_New();
    PyObject *name, *value;
    Py_ssize_t position = 0;
    while (plain && PyDict_Next(options, &position, &name, &value)) {
        PyObject *text = PyBool_Check(value)
                             ? PyUnicode_FromString(value == Py_True ? "true" : "false")
                             : PyObject_Str(value);
        if (!text || PyDict_SetItem(plain, name, text) < 0) Py_CLEAR(plain);
        Py_XDECREF(text);
    }
    return plain;
}

static PyObject *add_options(PyObject *url, PyObject *options)
{
    if (!PyDict_GET_SIZE(options)) return Py_NewRef(url);
    Py_ssize_t mark = PyUnicode_FindChar(url, '?', 0, PyUnicode_GET_LENGTH(url), 1);
    if (mark == -2) return NULL;
    PyObject *plain = plain_options(options), *result = NULL;
    PyObject *module = plain ? PyImport_ImportModule("urllib.parse") : NULL;
    PyObject *text = module ? PyObject_CallMethod(module, "urlencode", "O", plain) : NULL;
    if (text) result = PyUnicode_FromFormat("%U%c%U", url, mark < 0 ? '?' : '&', text);
    Py_XDECREF(text);
    Py_XDECREF(module);
    Py_XDECREF(plain);
    return result;
}

/* Statements go to the route.  How long they may take is the other library's business. */
static void use_route(py_database *self, const char *url, orm_options *options)
{
    char dialect[16] = {0};
    size_t len = strcspn(url, ":");
    memcpy(dialect, url, len < sizeof dialect ? len : 0);
    options->driver = route_driver(dialect);
    options->driver_user = py_route_hub(self->route);
    options->query_timeout_ms = options->acquire_timeout_ms = UINT32_MAX / 2;
    options->max_lifetime_ms = options->max_idle_ms = UINT32_MAX / 2;
}

static int open_database(py_database *self, PyObject *url)
{
    Py_ssize_t len = 0;
    const char *text = PyUnicode_AsUTF8AndSize(url, &len);
    if (!text) return -1;
    if (strlen(text) != (size_t)len) {
        py_error_format(self->state, ORM_ECONFIG, "a database URL has no NUL character in it");
        return -1;
    }
    orm_error err = {0};
    orm_options options = ORM_OPTIONS(0);
    if (self->route) use_route(self, text, &options);
    if (orm_open(text, &options, &self->db, &err) < 0) {
        py_error_raise(self->state, &err, NULL, 0);
        return -1;
    }
    self->single_writer = strcmp(orm_db_dialect(self->db), "sqlite") == 0;
    return 0;
}

static int take_tasks(py_database *self, PyObject *options)
{
    PyObject *tasks = PyDict_GetItemString(options, "tasks");
    if (!tasks) return 0;
    if (py_tasks_parse(tasks, &self->tasks) < 0) return -1;
    return PyDict_DelItemString(options, "tasks");
}

/* Of the databases that stand behind another library's: route=Route, origin=Database. */
static int take_route(py_database *self, PyObject *options)
{
    PyObject *route = PyDict_GetItemString(options, "route");
    PyObject *origin = PyDict_GetItemString(options, "origin");
    if (!route || !origin || !py_route_check(self->state, route) ||
        !PyObject_TypeCheck(origin, self->state->database_type))
        return 0; /* the URL has no such options, and says so */
    self->route = (py_route *)Py_NewRef(route);
    self->origin = (py_database *)Py_NewRef(origin);
    return PyDict_DelItemString(options, "route") < 0 || PyDict_DelItemString(options, "origin") < 0
               ? -1
               : 0;
}

static PyObject *database_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *url;
    if (!PyArg_ParseTuple(args, "O:Database", &url)) return NULL;
    py_database *self = (py_database *)type->tp_alloc(type, 0);
    PyObject *options = kwargs ? PyDict_Copy(kwargs) : PyDict_New();
    PyObject *text = PyObject_Str(url), *full = NULL;
    int result = -1;
    if (!self || !options || !text) goto done;
    self->state = py_state_of_type(type);
    if (take_tasks(self, options) < 0 || take_route(self, options) < 0 ||
        !(full = add_options(text, options)) || open_database(self, full) < 0)
        goto done;
    self->variable = PyContextVar_New("orm.transaction", NULL);
    result = self->variable ? 0 : -1;
done:
    Py_XDECREF(full);
    Py_XDECREF(text);
    Py_XDECREF(options);
    if (result < 0) Py_CLEAR(self);
    return (PyObject *)self;
}

/* The arguments were read by tp_new; a subclass may have more. */
static int database_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self, (void)args, (void)kwargs;
    return 0;
}

/* ---- connecting -------------------------------------------------------------------------- */

/* An operation about the engine, not about the current transaction. */
static py_operation *engine_operation(py_database *self, const char *name, py_make_fn make,
                                      py_finish_fn finish)
{
    py_operation *op = py_operation_new(self->state, self, NULL, name, make, finish);
    if (!op) return NULL;
    Py_CLEAR(op->scope);
    Py_CLEAR(op->ancestor);
    Py_CLEAR(op->error);
    return op;
}

static orm_op *make_connect(py_operation *operation, orm_engine *engine)
{
    (void)operation;
    return orm_open_connection(engine);
}

static PyObject *finish_connect(py_operation *operation, orm_op *op)
{
    (void)op;
    operation->database->connected = true;
    return Py_NewRef(operation->subject ? operation->subject : Py_None);
}

static PyObject *finish_disconnect(py_operation *operation, orm_op *op)
{
    (void)op;
    py_database *database = operation->database;
    database->connected = false;
    py_engine_close(operation->engine);
    for (py_engine *engine = database->engines; engine; engine = engine->next)
        if (!engine->loop && engine->thread == PyThread_get_thread_ident()) {
            py_engine_close(engine); /* the thread's own, for the blocking forms */
            break;
        }
    Py_RETURN_NONE;
}

static PyObject *database_connect(PyObject *self, PyObject *unused)
{
    (void)unused;
    return (PyObject *)engine_operation(database_of(self), "connect", make_connect, finish_connect);
}

static PyObject *database_disconnect(PyObject *self, PyObject *unused)
{
    (void)unused;
    return (PyObject *)engine_operation(database_of(self), "disconnect", NULL, finish_disconnect);
}

static PyObject *database_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_operation *op = engine_operation(database_of(self), "connect", make_connect, finish_connect);
    if (op) op->subject = Py_NewRef(self);
    return (PyObject *)op;
}

static PyObject *database_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args, (void)nargs;
    return database_disconnect(self, NULL);
}

/* All that this thread has open, now. */
static PyObject *database_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    py_database *self = database_of(object);
    self->connected = false;
    if (self->route) py_route_close(self->route); /* first: a worker may wait for its answer */
    for (py_engine *engine = self->engines, *next; engine; engine = next) {
        next = engine->next;
        if (engine->thread == PyThread_get_thread_ident()) py_engine_close(engine);
    }
    Py_RETURN_NONE;
}

static PyObject *get_force_rollback(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(database_of(object)->force_rollback);
}

static int set_force_rollback(PyObject *object, PyObject *value, void *unused)
{
    (void)unused;
    int truth = value ? PyObject_IsTrue(value) : 0;
    if (truth < 0) return -1;
    database_of(object)->force_rollback = truth;
    if (truth) database_of(object)->has_transactions = true; /* operations look for one */
    return 0;
}

static PyObject *database_is_idle(PyObject *object, PyObject *unused)
{
    (void)unused;
    for (py_engine *engine = database_of(object)->engines; engine; engine = engine->next)
        if (engine->pending) Py_RETURN_FALSE;
    Py_RETURN_TRUE;
}

/* ---- tables ------------------------------------------------------------------------------ */

static orm_op *make_create_all(py_operation *self, orm_engine *engine)
{
    return orm_create_all(engine, py_schema_get(self->state, self->subject));
}

static orm_op *make_drop_all(py_operation *self, orm_engine *engine)
{
    return orm_drop_all(engine, py_schema_get(self->state, self->subject));
}

static PyObject *tables_new(PyObject *self, PyObject *schema, const char *name, py_make_fn make)
{
    py_database *database = database_of(self);
    if (!py_schema_get(database->state, schema)) return NULL;
    py_operation *op = py_operation_new(database->state, database, NULL, name, make,
                                        py_finish_none);
    if (op) {
        op->subject = Py_NewRef(schema);
        op->flags |= PY_OP_WRITES;
    }
    return (PyObject *)op;
}

static PyObject *database_create_all(PyObject *self, PyObject *schema)
{
    return tables_new(self, schema, "create_all", make_create_all);
}

static PyObject *database_drop_all(PyObject *self, PyObject *schema)
{
    return tables_new(self, schema, "drop_all", make_drop_all);
}

/* ---- the rest ---------------------------------------------------------------------------- */

static PyObject *database_transaction(PyObject *self, PY_FASTCALL)
{
    return py_transaction_new(database_of(self), args, nargs, kwnames);
}

static PyObject *database_on_statement(PyObject *object, PyObject *callback)
{
    return py_hooks_add(&database_of(object)->hooks, callback, "on_statement");
}

static void add_stats(orm_engine_stats *sum, const orm_engine_stats *part)
{
    sum->statements += part->statements;
    sum->inline_statements += part->inline_statements;
    sum->worker_statements += part->worker_statements;
    sum->plans_compiled += part->plans_compiled;
    sum->plan_hits += part->plan_hits;
    sum->groups += part->groups;
    sum->grouped += part->grouped;
    sum->shared_read_transactions += part->shared_read_transactions;
    sum->overflows += part->overflows;
    sum->connections += part->connections;
    sum->operations += part->operations;
    sum->threads += part->threads;
    sum->plans += part->plans;
}

static PyObject *database_stats(PyObject *object, PyObject *unused)
{
    orm_engine_stats sum = {0};
    unsigned engines = 0;
    (void)unused;
    for (py_engine *engine = database_of(object)->engines; engine; engine = engine->next) {
        orm_engine_stats part = {0};
        if (!engine->engine || engine->thread != PyThread_get_thread_ident()) continue;
        orm_engine_get_stats(engine->engine, &part);
        add_stats(&sum, &part);
        engines++;
    }
    return Py_BuildValue(
        "{s:I,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:I,s:I,s:I,s:I}", "engines", engines,
        "statements", (unsigned long long)sum.statements, "inline_statements",
        (unsigned long long)sum.inline_statements, "worker_statements",
        (unsigned long long)sum.worker_statements, "plans_compiled",
        (unsigned long long)sum.plans_compiled, "plan_hits", (unsigned long long)sum.plan_hits,
        "groups", (unsigned long long)sum.groups, "grouped", (unsigned long long)sum.grouped,
        "shared_read_transactions", (unsigned long long)sum.shared_read_transactions, "overflows",
        (unsigned long long)sum.overflows, "connections", (unsigned)sum.connections, "operations",
        (unsigned)sum.operations, "threads", (unsigned)sum.threads, "plans", (unsigned)sum.plans);
}

static PyObject *get_url(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(orm_db_url(database_of(self)->db));
}

static PyObject *get_dialect(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(orm_db_dialect(database_of(self)->db));
}

static PyObject *get_is_connected(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(database_of(self)->connected);
}

static PyObject *database_repr(PyObject *self)
{
    return PyUnicode_FromFormat("Database('%s')", orm_db_url(database_of(self)->db));
}

static int database_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_database *self = database_of(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->dict);
    Py_VISIT(self->variable);
    Py_VISIT(self->hooks);
    Py_VISIT(self->everything);
    Py_VISIT(self->route);
    Py_VISIT(self->origin);
    return py_routes_traverse(self->routes, visit, arg);
}

static int database_clear(PyObject *object)
{
    py_database *self = database_of(object);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->hooks);
    Py_CLEAR(self->everything);
    py_routes_free(self->routes);
    self->routes = NULL;
    return 0;
}

/* Nothing is under way: operations and transactions would hold it.  Engines of other threads
 * end with their loop or their thread. */
static void drop_engines(py_database *self)
{
    for (py_engine *engine = self->engines, *next; engine; engine = next) {
        next = engine->next;
        if (engine->thread == PyThread_get_thread_ident())
            py_engine_close(engine);
        else
            engine->database = NULL;
    }
}

static void database_dealloc(PyObject *object)
{
    py_database *self = database_of(object);
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs) PyObject_ClearWeakRefs(object);
    drop_engines(self);
    database_clear(object);
    Py_CLEAR(self->variable);
    orm_close(self->db);
    if (self->route) py_route_close(self->route);
    Py_CLEAR(self->route);
    Py_CLEAR(self->origin);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Where the contract is broken it says yes: the statement itself raises what is wrong. */
static PyObject *database_in_transaction(PyObject *self, PyObject *unused)
{
    py_transaction *scope = NULL, *ancestor = NULL;
    PyObject *error = NULL;
    (void)unused;
    if (py_transaction_scope(database_of(self), &scope, &ancestor, &error) < 0) return NULL;
    bool is_inside = scope || error;
    Py_XDECREF((PyObject *)scope);
    Py_XDECREF((PyObject *)ancestor);
    Py_XDECREF(error);
    return PyBool_FromLong(is_inside);
}

#define FASTCALL(f) ((PyCFunction)(void (*)(void))(f))
#define WITH_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)
static PyMethodDef database_methods[] = {
    {"connect", database_connect, METH_NOARGS,
     "connect(): connects now rather than with the first query."},
    {"disconnect", database_disconnect, METH_NOARGS,
     "disconnect(): closes what this event loop and its thread have open; a later query opens it "
     "again."},
    {"_close", database_close, METH_NOARGS, "_close(): closes what this thread has open, now."},
    {"_in_transaction", database_in_transaction, METH_NOARGS,
     "_in_transaction(): what is asked now is part of a transaction."},
    {"_is_idle", database_is_idle, METH_NOARGS, "_is_idle(): nothing is under way."},
    {"_set_routes", py_routes_set, METH_VARARGS,
     "_set_routes(ask, signs, names, holders): statements may have to run elsewhere: see route.c."},
    {"__aenter__", database_enter, METH_NOARGS, NULL},
    {"__aexit__", FASTCALL(database_exit), METH_FASTCALL, NULL},
    {"transaction", FASTCALL(database_transaction), WITH_KEYWORDS,
     "transaction(*, isolation=None, readonly=False, tasks=None): a transaction, or a savepoint "
     "inside of the current one."},
    {"gather", FASTCALL(py_database_gather), METH_FASTCALL,
     "gather(*operations): runs them at once in this task; the list of their results."},
    {"execute", FASTCALL(py_database_execute), WITH_KEYWORDS,
     "execute(sql, values=None): one statement; the rows it changed."},
    {"fetch_all", FASTCALL(py_database_fetch_all), WITH_KEYWORDS,
     "fetch_all(sql, values=None): its rows as tuples."},
    {"fetch_one", FASTCALL(py_database_fetch_one), WITH_KEYWORDS,
     "fetch_one(sql, values=None): the first row as a tuple, or None."},
    {"fetch_val", FASTCALL(py_database_fetch_val), WITH_KEYWORDS,
     "fetch_val(sql, values=None): the first column of the first row, or None."},
    {"create_all", database_create_all, METH_O,
     "create_all(schema): creates the tables and indexes that are not there."},
    {"drop_all", database_drop_all, METH_O, "drop_all(schema): drops its tables."},
    {"on_statement", database_on_statement, METH_O,
     "on_statement(callback): calls it with a Statement for each statement that has ended, in the "
     "thread that ran it; what this returns takes it back when it is called."},
    {"stats", database_stats, METH_NOARGS,
     "stats(): counters of this thread's engines, as a dict."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef database_getset[] = {
    {"url", get_url, NULL, "The URL, without its password.", NULL},
    {"dialect", get_dialect, NULL, "'sqlite', …", NULL},
    {"_force_rollback", get_force_rollback, set_force_rollback,
     "What is done from now on is rolled back by disconnect().", NULL},
    {"is_connected", get_is_connected, NULL, "True between connect() and disconnect().", NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyMemberDef database_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(py_database, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(py_database, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot database_slots[] = {
    {Py_tp_doc, "Database(url, **options): connects lazily, once per event loop."},
    {Py_tp_new, database_new},
    {Py_tp_init, database_init},
    {Py_tp_repr, database_repr},
    {Py_tp_methods, database_methods},
    {Py_tp_getset, database_getset},
    {Py_tp_members, database_members},
    {Py_tp_traverse, database_traverse},
    {Py_tp_clear, database_clear},
    {Py_tp_dealloc, database_dealloc},
    {0, NULL},
};
PyType_Spec py_database_spec = {
    .name = "orm._core.Database",
    .basicsize = sizeof(py_database),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = database_slots,
};
