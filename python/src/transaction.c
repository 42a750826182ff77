/* transaction.c - transactions, savepoints, and which task may use them.
 *
 * The current transaction of a database is a ContextVar, so a child task inherits it; an
 * operation asks at its creation whether its own task opened it.  Starting sends nothing (BEGIN
 * travels with the first statement); the variable is set and taken back inside the send of the
 * task, whose context it is.
 */
#include "ops.h"

static py_transaction *root_of(const py_transaction *self)
{
    while (self->parent) self = self->parent;
    return (py_transaction *)self;
}

/* ---- making: its options come later ------------------------------------------------------ */

static py_transaction *transaction_alloc(py_database *database)
{
    PyTypeObject *type = database->state->transaction_type;
    py_transaction *self = (py_transaction *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->state = database->state;
    self->database = (py_database *)Py_NewRef((PyObject *)database);
    self->tasks = database->tasks;
    return self;
}

/* ---- which transaction an operation belongs to ------------------------------------------- */

static bool is_owner(const py_transaction *self, PyObject *task)
{
    return self->owner ? py_weakref_peek(self->owner) == task : !task;
}

static PyObject *outer_of(const py_transaction *self)
{
    if (self->parent && self->parent == self->database->everything) return Py_None;
    return self->parent     ? (PyObject *)self->parent
           : self->ancestor ? (PyObject *)self->ancestor
                            : Py_None;
}

static PyObject *contract_error(const py_transaction *self)
{
    if (self->closed)
        py_error_format(self->state, ORM_ETXCLOSED,
                        "the transaction that this task was started in has ended");
    else
        py_error_format(self->state, ORM_ECONCURRENT,
                        "this task was started inside of another task's transaction: open it "
                        "with transaction(tasks=\"join\") to take part in it, or "
                        "transaction(tasks=\"detach\") to work beside it");
    return py_exception_take();
}

/* The transaction of force_rollback, in which everything runs that is in no other.  It sends
 * nothing by itself; the engine's end rolls it back. */
static int everything_scope(py_database *database, py_transaction **scope, PyObject **error)
{
    py_transaction *self = database->everything;
    if (self && self->handle) {
        *scope = (py_transaction *)Py_NewRef((PyObject *)self);
        return 0;
    }
    if (!database->force_rollback) return 0;
    if (!py_loop_running(database->state)) {
        py_error_format(database->state, ORM_EMISUSE,
                        "with force_rollback an operation is made inside of the event loop, whose "
                        "transaction it belongs to");
        *error = py_exception_take();
        return 0;
    }
    PyObject *task;
    py_engine *engine = py_engine_running(database, &task);
    if (!engine || !(self = transaction_alloc(database))) return -1;
    self->handle = orm_begin(engine->engine, ORM_ISOLATION_DEFAULT, false);
    if (!self->handle) {
        Py_DECREF(self);
        PyErr_NoMemory();
        return -1;
    }
    self->engine = (py_engine *)Py_NewRef((PyObject *)engine);
    self->next = engine->transactions;
    engine->transactions = self;
    Py_XSETREF(database->everything, self);
    *scope = (py_transaction *)Py_NewRef((PyObject *)self);
    return 0;
}

int py_transaction_scope(py_database *database, py_transaction **scope, py_transaction **ancestor,
                         PyObject **error)
{
    PyObject *current = NULL;
    if (PyContextVar_Get(database->variable, NULL, &current) < 0) return -1;
    if (!current || current == Py_None) {
        Py_XDECREF(current);
        return everything_scope(database, scope, error);
    }
    PyObject *task = py_task_running(database);
    py_transaction *self = (py_transaction *)current;
    /* A task that has ended its own is outside again, though its context may not know: commit()
     * inside of wait_for runs in a copy of the context. */
    while (self->closed && is_owner(self, task)) {
        PyObject *outer = outer_of(self);
        if (outer == Py_None) {
            Py_DECREF(current);
            return everything_scope(database, scope, error);
        }
        Py_INCREF(outer);
        Py_SETREF(current, outer);
        self = (py_transaction *)current;
    }
    if (is_owner(self, task) || (self->tasks == PY_TASKS_JOIN && !self->closed)) {
        *scope = self;
        return 0;
    }
    if (self->tasks == PY_TASKS_DETACH) {
        *ancestor = self;
        return 0;
    }
    *error = contract_error(self);
    Py_DECREF(current);
    return 0;
}

orm_engine *py_transaction_handle(py_transaction *self, py_engine *engine)
{
    if (self->closed || !self->handle) {
        py_error_format(self->state, ORM_ETXCLOSED,
                        self->closed ? "the transaction has ended"
                                     : "the transaction was not started");
        return NULL;
    }
    if (engine != self->engine) {
        py_error_format(self->state, ORM_EWRONGLOOP,
                        "the transaction belongs to another event loop");
        return NULL;
    }
    return self->handle;
}

bool py_transaction_blocks(const py_operation *operation)
{
    const py_transaction *scope = operation->scope;
    const py_transaction *ancestor = scope ? scope->ancestor : operation->ancestor;
    bool writes = (operation->flags & PY_OP_WRITES) || (scope && !root_of(scope)->readonly);
    if (!ancestor || !writes || !operation->database->single_writer) return false;
    const py_transaction *holder = root_of(ancestor);
    return !holder->closed && !holder->readonly && holder->handle &&
           orm_transaction_state(holder->handle) == ORM_TX_OPEN;
}

/* ---- ending ------------------------------------------------------------------------------ */

static void transaction_unlink(py_transaction *self)
{
    for (py_transaction **place = &self->engine->transactions; *place; place = &(*place)->next)
        if (*place == self) {
            *place = self->next;
            break;
        }
    self->next = NULL;
}

/* A savepoint of `self` that is still open. */
static py_transaction *open_child(const py_transaction *self)
{
    py_transaction *child = self->engine->transactions;
    while (child && child->parent != self) child = child->next;
    return child;
}

void py_transaction_abandon(py_transaction *self)
{
    self->closed = true;
    if (!self->handle) return;
    for (py_transaction *child; (child = open_child(self));) py_transaction_abandon(child);
    transaction_unlink(self);
    orm_engine *handle = self->handle;
    self->handle = NULL;
    orm_close_engine(handle);
    Py_CLEAR(self->engine);
}

static void end_ended(py_operation *operation)
{
    py_transaction_abandon((py_transaction *)operation->subject);
}

/* The exception of the block wins; that of its rollback can be seen behind it. */
static void exit_ended(py_operation *operation)
{
    end_ended(operation);
    PyObject *last = operation->extra, *error = operation->error;
    if (!last || !error) return;
    operation->error = NULL;
    operation->value = Py_NewRef(Py_False);
    Py_INCREF(last);
    for (PyObject *next; (next = PyException_GetContext(last)); last = next) Py_DECREF(last);
    if (last != error)
        PyException_SetContext(last, error);
    else
        Py_DECREF(error);
    Py_DECREF(last);
}

/* Runs in the task's own context: from here on its operations are outside again. */
static int leave_context(py_transaction *self)
{
    PyObject *variable = self->database->variable, *current = NULL;
    if (PyContextVar_Get(variable, NULL, &current) < 0) return -1;
    bool mine = current == (PyObject *)self;
    Py_XDECREF(current);
    if (!mine) return 0;
    PyObject *token = PyContextVar_Set(variable, outer_of(self));
    Py_XDECREF(token);
    return token ? 0 : -1;
}

/* Whatever fails here, it does not stay open: later statements of the task would run in it. */
static orm_op *make_end(py_operation *operation, orm_op *(*end)(orm_engine *))
{
    py_transaction *self = (py_transaction *)operation->subject;
    if (!py_transaction_handle(self, operation->engine)) return NULL;
    if (leave_context(self) < 0) {
        py_transaction_abandon(self);
        return NULL;
    }
    return end(self->handle);
}

static orm_op *make_commit(py_operation *operation, orm_engine *engine)
{
    (void)engine;
    return make_end(operation, orm_commit);
}

static orm_op *make_rollback(py_operation *operation, orm_engine *engine)
{
    (void)engine;
    return make_end(operation, orm_rollback);
}

static PyObject *finish_false(py_operation *operation, orm_op *op)
{
    (void)operation, (void)op;
    Py_RETURN_FALSE;
}

/* Whoever ends it, the operation runs on this transaction and on no other. */
static py_operation *end_new(py_transaction *self, const char *name, py_make_fn make,
                             py_finish_fn finish, py_ended_fn ended)
{
    py_operation *op = py_operation_new(self->state, self->database, NULL, name, make, finish);
    if (!op) return NULL;
    Py_CLEAR(op->scope);
    Py_CLEAR(op->ancestor);
    Py_CLEAR(op->error);
    op->subject = Py_NewRef((PyObject *)self);
    op->ended = ended;
    op->flags |= PY_OP_SHIELD | PY_OP_MAY_WRITE;
    return op;
}

static PyObject *transaction_commit(PyObject *self, PyObject *unused)
{
    (void)unused;
    return (PyObject *)end_new((py_transaction *)self, "commit", make_commit, py_finish_none,
                               end_ended);
}

/* An end that cannot even be made: it is rolled back all the same. */
static PyObject *end_or_abandon(py_transaction *self, py_operation *op)
{
    if (!op) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        py_transaction_abandon(self);
        PyErr_Restore(type, value, traceback);
    }
    return (PyObject *)op;
}

static PyObject *transaction_rollback(PyObject *object, PyObject *unused)
{
    py_transaction *self = (py_transaction *)object;
    (void)unused;
    return end_or_abandon(self,
                          end_new(self, "rollback", make_rollback, py_finish_none, end_ended));
}

static PyObject *transaction_exit(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    py_transaction *self = (py_transaction *)object;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "__aexit__ takes three arguments");
        return NULL;
    }
    if (self->closed) /* the block has ended it itself, or the database was disconnected */
        return py_operation_ready(self->state, self->database, "__aexit__", Py_NewRef(Py_False));
    bool failed = args[0] != Py_None || self->force_rollback;
    py_operation *op = end_new(self, failed ? "rollback" : "commit",
                               failed ? make_rollback : make_commit, finish_false, exit_ended);
    if (op && PyExceptionInstance_Check(args[1])) op->extra = Py_NewRef(args[1]);
    return end_or_abandon(self, op);
}

/* ---- starting ---------------------------------------------------------------------------- */

static PyObject *start_finish(py_operation *operation, orm_op *op)
{
    py_transaction *self = (py_transaction *)operation->subject, *parent = operation->scope;
    py_database *database = self->database;
    (void)op;
    if (self->handle || self->owner || self->closed) {
        py_error_format(self->state, ORM_EMISUSE, "this transaction was started before");
        return NULL;
    }
    orm_engine *outer = parent ? parent->handle : operation->engine->engine;
    py_engine *engine = operation->engine;
    PyObject *loop = py_weakref_peek(engine->loop);
    PyObject *task = loop ? py_loop_task(self->state, loop) : NULL;
    if (task && !(self->owner = PyWeakref_NewRef(task, NULL))) return NULL;
    if (loop && py_site_remember(self, loop) < 0) return NULL;
    self->handle = orm_begin(outer, self->isolation, self->readonly);
    if (!self->handle) return PyErr_NoMemory();
    self->engine = (py_engine *)Py_NewRef((PyObject *)engine);
    self->parent = (py_transaction *)Py_XNewRef((PyObject *)parent);
    py_transaction *ancestor = parent ? parent->ancestor : operation->ancestor;
    self->ancestor = (py_transaction *)Py_XNewRef((PyObject *)ancestor);
    self->next = engine->transactions;
    engine->transactions = self;
    database->has_transactions = true;
    PyObject *token = PyContextVar_Set(database->variable, (PyObject *)self);
    if (!token) {
        py_transaction_abandon(self);
        return NULL;
    }
    Py_DECREF(token);
    return Py_NewRef((PyObject *)self);
}

static PyObject *transaction_start(PyObject *object, PyObject *unused)
{
    py_transaction *self = (py_transaction *)object;
    (void)unused;
    py_operation *op = py_operation_new(self->state, self->database, NULL, "transaction", NULL,
                                        start_finish);
    if (op) op->subject = Py_NewRef(object);
    return (PyObject *)op;
}

static PyObject *transaction_await(PyObject *self)
{
    return transaction_start(self, NULL);
}

/* ---- making ------------------------------------------------------------------------------ */

static int parse_isolation(PyObject *object, int *out)
{
    static const char *const names[] = {"read uncommitted", "read committed", "repeatable read",
                                        "serializable"};
    *out = ORM_ISOLATION_DEFAULT;
    if (object == Py_None) return 0;
    PyObject *lower = PyUnicode_Check(object) ? PyObject_CallMethod(object, "lower", NULL) : NULL;
    if (lower) Py_SETREF(lower, PyObject_CallMethod(lower, "replace", "ss", "_", " "));
    for (int i = 0; lower && i < 4; i++)
        if (PyUnicode_CompareWithASCIIString(lower, names[i]) == 0)
            *out = ORM_ISOLATION_READ_UNCOMMITTED + i;
    Py_XDECREF(lower);
    if (*out) return 0;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError,
                     "isolation is one of 'read uncommitted', 'read committed', 'repeatable "
                     "read', 'serializable' or None, not %.100R",
                     object);
    return -1;
}

static int set_flag(bool *flag, PyObject *value)
{
    int truth = PyObject_IsTrue(value);
    *flag = truth > 0;
    return truth < 0 ? -1 : 0;
}

static int set_option(py_transaction *self, PyObject *name, PyObject *value)
{
    if (PyUnicode_CompareWithASCIIString(name, "isolation") == 0)
        return parse_isolation(value, &self->isolation);
    if (PyUnicode_CompareWithASCIIString(name, "readonly") == 0)
        return set_flag(&self->readonly, value);
    if (PyUnicode_CompareWithASCIIString(name, "force_rollback") == 0)
        return set_flag(&self->force_rollback, value);
    if (PyUnicode_CompareWithASCIIString(name, "tasks") == 0)
        return value == Py_None ? 0 : py_tasks_parse(value, &self->tasks);
    PyErr_Format(PyExc_TypeError,
                 "transaction() got an unexpected keyword argument %R: isolation, readonly, "
                 "tasks and force_rollback are there",
                 name);
    return -1;
}

PyObject *py_transaction_new(py_database *database, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    if (nargs) {
        PyErr_SetString(PyExc_TypeError, "transaction() takes keyword arguments only");
        return NULL;
    }
    py_transaction *self = transaction_alloc(database);
    for (Py_ssize_t i = 0; self && kwnames && i < PyTuple_GET_SIZE(kwnames); i++)
        if (set_option(self, PyTuple_GET_ITEM(kwnames, i), args[i]) < 0) Py_CLEAR(self);
    return (PyObject *)self;
}

/* Another one with the same options: what a decorated function runs in at each call. */
static PyObject *transaction_again(PyObject *object, PyObject *unused)
{
    py_transaction *self = (py_transaction *)object;
    (void)unused;
    py_transaction *copy = transaction_alloc(self->database);
    if (copy) {
        copy->isolation = self->isolation;
        copy->readonly = self->readonly;
        copy->tasks = self->tasks;
        copy->force_rollback = self->force_rollback;
    }
    return (PyObject *)copy;
}

/* As a decorator. */
static PyObject *transaction_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *function;
    if (kwargs && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "a transaction decorates a coroutine function");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O", &function)) return NULL;
    PyObject *module = PyImport_ImportModule("orm.transactions");
    PyObject *result = module ? PyObject_CallMethod(module, "decorate", "OO", self, function)
                              : NULL;
    Py_XDECREF(module);
    return result;
}

/* ---- the object -------------------------------------------------------------------------- */

static PyObject *get_is_active(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((py_transaction *)self)->handle != NULL);
}

static PyObject *get_database(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((py_transaction *)self)->database);
}

static PyObject *transaction_repr(PyObject *object)
{
    py_transaction *self = (py_transaction *)object;
    return PyUnicode_FromFormat("<%s %s>", self->parent ? "savepoint" : "transaction",
                                self->closed   ? "ended"
                                : self->handle ? "active"
                                               : "not started");
}

static int transaction_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_transaction *self = (py_transaction *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->database);
    Py_VISIT(self->parent);
    Py_VISIT(self->ancestor);
    Py_VISIT(self->engine);
    Py_VISIT(self->owner);
    return 0;
}

static int transaction_clear(PyObject *object)
{
    py_transaction *self = (py_transaction *)object;
    py_transaction_abandon(self);
    Py_CLEAR(self->parent);
    Py_CLEAR(self->ancestor);
    Py_CLEAR(self->owner);
    return 0;
}

static void transaction_dealloc(PyObject *object)
{
    py_transaction *self = (py_transaction *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (PyObject_CallFinalizerFromDealloc(object) < 0) return; /* somebody keeps it after all */
    PyObject_GC_UnTrack(object);
    if (self->weakrefs) PyObject_ClearWeakRefs(object);
    transaction_clear(object);
    Py_XDECREF(self->site);
    Py_XDECREF(self->database);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef transaction_methods[] = {
    {"start", transaction_start, METH_NOARGS, "start(): begins it; awaits to the transaction."},
    {"commit", transaction_commit, METH_NOARGS, "commit(): makes its changes last."},
    {"rollback", transaction_rollback, METH_NOARGS, "rollback(): undoes its changes."},
    {"again", transaction_again, METH_NOARGS,
     "again(): a new transaction of the same database with the same options."},
    {"__aenter__", transaction_start, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))transaction_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef transaction_getset[] = {
    {"is_active", get_is_active, NULL, "True between its start and its end.", NULL},
    {"database", get_database, NULL, "The database it is a transaction of.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyMemberDef transaction_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(py_transaction, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot transaction_slots[] = {
    {Py_tp_doc, "A transaction, or a savepoint inside of one: `async with`, a decorator, or "
                "start(), commit() and rollback()."},
    {Py_tp_repr, transaction_repr},
    {Py_tp_call, transaction_call},
    {Py_am_await, transaction_await},
    {Py_tp_methods, transaction_methods},
    {Py_tp_getset, transaction_getset},
    {Py_tp_members, transaction_members},
    {Py_tp_traverse, transaction_traverse},
    {Py_tp_clear, transaction_clear},
    {Py_tp_finalize, py_transaction_warn},
    {Py_tp_dealloc, transaction_dealloc},
    {0, NULL},
};
PyType_Spec py_transaction_spec = {
    .name = "orm._core.Transaction",
    .basicsize = sizeof(py_transaction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = transaction_slots,
};
