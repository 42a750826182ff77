/* ops.h - querysets, operations, engines and transactions: what these rooms share.
 *
 * Who keeps whom:
 *   loop (its reader) -> py_engine -> pending operations -> database
 *   thread's dictionary -> py_engine            (blocking forms)
 *   transaction -> py_engine, database, its parent
 *   database -> engines                         (borrowed; an engine takes itself off the list)
 * So an engine lives as long as its loop keeps it registered, and closing a loop closes it.
 *
 * Life of an operation (operation.c):
 *   CREATED --send--> [make, orm_start] --ready--> READY --send--> CLOSED
 *                                       --pending-> PENDING --done callback--> READY
 * `make` builds the orm_op, `finish` turns the finished one into the result; between the two
 * only the core knows what is going on.
 */
#ifndef ORM_PY_OPS_H
#define ORM_PY_OPS_H
#include "core.h"

typedef struct py_ops {               /* per module; created by py_ops_init */
    PyTypeObject *engine_type, *gather_type, *route_type, *job_type;
    PyTypeObject *event_type;         /* what on_statement hooks receive */
    PyObject *get_running_loop;       /* asyncio._get_running_loop */
    PyObject *current_task;           /* asyncio.current_task */
    PyObject *current_tasks;          /* its dict {loop: task}, or NULL (Python >= 3.14) */
    PyObject *cancelled_error;        /* asyncio.CancelledError */
    PyObject *context_keyword;        /* ("context",) */
    PyTypeObject *load_type;          /* what on_implicit_load hooks receive */
    PyObject *load_hooks;             /* list of them, or NULL */
    PyObject *fetch_mode;             /* ContextVar of PY_FETCH_… */
    PyObject *call_soon, *add_reader, *remove_reader, *is_closed; /* interned names */
} py_ops;

/* ---- engine.c ---------------------------------------------------------------------------- */
typedef struct py_operation py_operation;
typedef struct py_group py_group;
typedef struct py_routes py_routes;
typedef struct py_route py_route;
typedef struct py_engine {
    PyObject_HEAD
    py_state *state;
    py_database *database;            /* borrowed; NULL once the database is gone */
    struct py_engine *next, *previous;/* in the database's list */
    orm_engine *engine;               /* NULL: closed */
    PyObject *loop;                   /* weak reference; NULL: a thread's private engine */
    unsigned long thread;
    int fd;
    uint64_t turn_began;              /* ns, monotonic; 0: nothing has run in this turn */
    const void *turn_task;            /* whose operations have run since then (an identity) */
    bool soon;                        /* the loop is going to call us */
    bool observes;                    /* its statements are seen */
    py_operation *pending;            /* a list of strong references */
    py_transaction *transactions;     /* open on it, innermost first: borrowed */
    PyObject *events;                 /* statements seen, not yet handed to the hooks; or NULL */
    PyObject *names;                  /* of tasks by address (holders.c), or NULL; */
    uint64_t names_ns;                /* as of then */
} py_engine;

/* The engine of the running loop, made when there is none; with its current task (borrowed,
 * NULL when there is none).  Borrowed; RuntimeError when no loop runs. */
py_engine *py_engine_running(py_database *database, PyObject **task);
/* The private engine of this thread, for blocking forms.  Borrowed. */
py_engine *py_engine_private(py_database *database);
/* Runs orm_process and what follows from it.  -1: an exception is set. */
int py_engine_process(py_engine *self);
/* Asks the loop to call us soon, once per turn. */
void py_engine_soon(py_engine *self);
/* True when ready results of `task` have kept the loop from turning for too long. */
bool py_engine_is_late(py_engine *self, const void *task);
/* Gives the statements seen to the hooks, outside of any call into the core. */
void py_engine_report(py_engine *self);
/* Ends it now: pending operations fail with PoolClosed, the descriptor leaves the loop. */
void py_engine_close(py_engine *self);
/* Turns the observer on when the database has hooks, and off when it has none. */
void py_engine_observe(py_engine *self);
/* holders.c: "; held by task 'a' for 3 ms, …", or "" when nothing is held.  New reference. */
PyObject *py_holders_text(py_engine *self);
PyObject *py_loop_running(py_state *state);           /* borrowed; NULL: none, no exception */
PyObject *py_loop_task(py_state *state, PyObject *loop); /* borrowed; NULL: none, no exception */

PyObject *py_task_running(py_database *database);     /* borrowed; NULL: none, no exception */

/* ---- database.c -------------------------------------------------------------------------- */
enum { PY_TASKS_ERROR = 0, PY_TASKS_JOIN = 1, PY_TASKS_DETACH = 2 };
struct py_database {
    PyObject_HEAD
    PyObject *dict, *weakrefs;
    py_state *state;
    orm_db *db;
    py_engine *engines, *recent;      /* all of them; the one used last: both borrowed */
    PyObject *variable;               /* ContextVar: the current transaction */
    py_routes *routes;                /* it stands for a database of another library; or NULL */
    py_route *route;                  /* strong: whose statements that library runs; or NULL */
    py_database *origin;              /* strong, with a route: on whose behalf */
    PyObject *hooks;                  /* of on_statement, or NULL */
    uint64_t writes;                  /* that went through it, begun and ended */
    bool has_transactions;            /* one was opened since: look into the variable */
    bool force_rollback;              /* everything runs in `everything`, which is made on demand */
    py_transaction *everything;       /* strong; never committed; or NULL */
    bool single_writer;               /* the backend has one writer per database (SQLite) */
    bool connected;
    uint8_t tasks;                    /* PY_TASKS_… */
};
int py_tasks_parse(PyObject *text, uint8_t *out);     /* "error" "join" "detach"; ValueError */
/* The list of on_statement's callbacks, borrowed; or NULL. */
static inline PyObject *py_database_hooks(const py_database *self)
{
    return self->origin ? self->origin->hooks : self->hooks;
}
static inline bool py_database_is_observed(const py_database *self)
{
    PyObject *hooks = py_database_hooks(self);
    return hooks && PyList_GET_SIZE(hooks) > 0;
}

/* ---- route.c ----------------------------------------------------------------------------- */
/* What tells, without a call, that statements may have to run on a connection of theirs. */
struct py_routes {
    PyObject *ask;                    /* () -> the database to run on, None: this one */
    PyObject *signs, *names;          /* a dict, and its keys: one whose value is neither None
                                         nor False says "ask"; NULL: always ask */
    PyObject *holders;                /* a dict by weak reference of the task, or a ContextVar:
                                         what has an entry says "ask"; NULL with signs NULL */
};
/* Where an operation of `task` (or NULL) runs: `self`, or the database that a route leads to.
 * Borrowed: its routes keep it.  NULL: exception. */
py_database *py_routes_find(py_database *self, PyObject *task);
/* Database._set_routes(ask, signs, names, holders), for Python. */
PyObject *py_routes_set(PyObject *self, PyObject *args);
void py_routes_free(py_routes *self);
int py_routes_traverse(py_routes *self, visitproc visit, void *arg);
bool py_route_check(py_state *state, PyObject *object);
struct route_hub;
struct route_hub *py_route_hub(py_route *self);       /* borrowed */
void py_route_close(py_route *self);                  /* leaves the loop; what waits fails */
/* Sets the exception with which a statement of a route failed.  False: it was not there. */
bool py_route_raise(py_engine *engine, const orm_error *err);
extern PyType_Spec py_route_spec, py_job_spec;

/* ---- hooks.c ----------------------------------------------------------------------------- */
/* Adds a callback to the list, which is made when it is NULL; the handle that removes it.
 * `name` is the function that took it. */
PyObject *py_hooks_add(PyObject **list, PyObject *callback, const char *name);
/* Calls them all; what they raise is told to sys.unraisablehook. */
void py_hooks_call(PyObject *list, PyObject *event);

/* ---- operation.c ------------------------------------------------------------------------- */
enum { PY_OP_CREATED, PY_OP_PENDING, PY_OP_READY, PY_OP_CLOSED };
enum {
    PY_OP_WRITES = 1,                 /* belongs into a group of writes; needs the writer */
    PY_OP_SHIELD = 2,                 /* a cancel waits for its end (COMMIT, ROLLBACK) */
    PY_OP_SINK = 4,                   /* `sink` is in use */
    PY_OP_MAY_WRITE = 16,             /* may have changed rows, or shown those of others */
    PY_OP_METHOD = 8                  /* of an instance: Track.save, not Track.objects.save */
};
/* Makes the orm_op on the engine or transaction `engine`; NULL with an exception.  NULL without
 * one, or no function at all: there is nothing to send, `finish` is called with op NULL. */
typedef orm_op *(*py_make_fn)(py_operation *self, orm_engine *engine);
/* The result of an op that ended well (new reference); NULL with an exception. */
typedef PyObject *(*py_finish_fn)(py_operation *self, orm_op *op);
/* Called once when it has ended, well or not; may change self->value and self->error. */
typedef void (*py_ended_fn)(py_operation *self);

typedef struct py_writes {            /* fields and values of a write, one allocation each */
    uint16_t *fields;
    orm_value *values;                /* n_rows * n of them; NULL once the core has them */
    size_t n, n_rows;
} py_writes;

struct py_operation {
    PyObject_HEAD
    py_state *state;
    py_database *database;            /* strong */
    py_engine *engine;                /* strong while it runs */
    py_operation *next, *previous;    /* in engine->pending */
    py_transaction *scope;            /* strong: runs inside of it */
    py_transaction *ancestor;         /* strong: detached from it */
    PyObject *model_class;            /* strong; keeps model alive */
    py_model *model;
    const char *name;                 /* "get": for messages */
    py_make_fn make;
    py_finish_fn finish;
    py_ended_fn ended;
    orm_query *query;                 /* owned until make takes it */
    PyObject *subject, *extra;        /* strong, the finisher's own */
    py_writes writes, set;
    int64_t *keys;
    orm_op *op;
    PyObject *value, *error;          /* READY: one of them */
    PyObject *callback, *context;     /* PENDING: the waiter's */
    PyObject *message;                /* of the cancellation on its way to throw() */
    PyObject *cancelled;              /* the cancellation that a shielded operation holds back */
    uint8_t status;                   /* PY_OP_CREATED … */
    uint8_t flags;
    bool op_sent;                     /* there was something to send */
    bool blocking, is_cancelled;      /* the future protocol */
    uint64_t dirty;                   /* of the subject, while a save is under way */
    py_group *group;                  /* whose relation `place` is being loaded; strong */
    uint32_t place;
    py_sink sink;
};
/* A new operation of the current task and transaction.  `model` may be NULL. */
py_operation *py_operation_new(py_state *state, py_database *database, py_model *model,
                               const char *name, py_make_fn make, py_finish_fn finish);
/* One that has ended already; steals `value`. */
PyObject *py_operation_ready(py_state *state, py_database *database, const char *name,
                             PyObject *value);
int py_operation_add_sink(py_operation *self, bool single);
/* Makes and starts it on `engine`.  1: READY, 0: PENDING, -1: failed, exception set. */
int py_operation_start(py_operation *self, py_engine *engine, PyObject *task);
/* Cancels (shielded ones: detaches) what is still running and closes it. */
void py_operation_abandon(py_operation *self);
/* The engine is gone: ends a pending operation with PoolClosed. */
void py_operation_fail(py_operation *self);
/* The result of a READY operation, which is CLOSED then. */
PyObject *py_operation_take(py_operation *self);
/* Runs it to its end without a loop, the GIL released while waiting; consumes `self`. */
PyObject *py_operation_block(py_operation *self);
/* The same, as an operation that has ended: whoever likes may still await it. */
PyObject *py_operation_run_now(PyObject *module, PyObject *operation);
/* One step of the iterator protocol. */
PyObject *py_operation_step(PyObject *self);
/* The exception that is set, normalised and no longer set. */
PyObject *py_exception_take(void);
/* Sets the exception that the arguments of a coroutine's throw() describe.  -1: they do not,
 * and a TypeError is set. */
int py_exception_set_thrown(PyObject *const *args, Py_ssize_t nargs);
PyObject *py_operation_title(const py_operation *self); /* "Track.objects.get" */
/* pending.c: its methods, and telling the waiter. */
extern PyMethodDef py_operation_methods[];
extern PyGetSetDef py_operation_getset[];
void py_operation_wake(py_operation *self, py_engine *engine);

/* Finishers for many */
PyObject *py_finish_none(py_operation *self, orm_op *op);
PyObject *py_finish_number(py_operation *self, orm_op *op);
PyObject *py_finish_rows(py_operation *self, orm_op *op);
PyObject *py_finish_subject(py_operation *self, orm_op *op);

int py_writes_init(py_writes *self, size_t n, size_t n_rows);  /* values are NULL values */
void py_writes_dispose(py_writes *self);
void py_values_release(orm_value *values, size_t n);

/* ---- group.c ----------------------------------------------------------------------------- */
/* Makes the rows of a list one group. */
int py_group_rows(PyObject *rows, py_model *model);
/* The query that loads `asked` and its peers.  NULL without exception: load it alone. */
orm_query *py_group_query(py_operation *operation, py_instance *asked);
/* on_implicit_load(callback), the module's function. */
PyObject *py_group_on_load(PyObject *module, PyObject *callback);
/* Fills the peers from `rows`.  1: `asked` was among them, 0: its row is gone, -1: exception. */
int py_group_fill(py_operation *operation, py_instance *asked, PyObject *rows);
void py_group_ended(py_operation *operation);
/* How load() fetches, by the context: the rows of the same result along with it, itself alone,
 * or not at all. */
enum { PY_FETCH_PEERS, PY_FETCH_ONE, PY_FETCH_RAISE };
/* Whether its first load() is answered already. */
bool py_group_take_fresh(py_instance *self, const py_database *database);

/* ---- transaction.c ----------------------------------------------------------------------- */
struct py_transaction {
    PyObject_HEAD
    PyObject *weakrefs;
    py_state *state;
    py_database *database;            /* strong */
    py_transaction *parent;           /* strong: the one it is a savepoint of */
    py_transaction *ancestor;         /* strong: the one it is detached from */
    py_engine *engine;                /* strong while open */
    orm_engine *handle;               /* NULL: not begun, or closed */
    py_transaction *next;             /* in engine->transactions */
    PyObject *owner;                  /* weak: the task that opened it; NULL: outside of any */
    int isolation;
    bool readonly, closed;
    bool force_rollback;              /* its block rolls back however it ends */
    uint8_t tasks;                    /* PY_TASKS_… */
    size_t running;                   /* operations under way on it */
    PyObject *site;                   /* "file:line" where it began, in debug mode; or NULL */
};
/* forgotten.c: where it began, when the loop is in debug mode; and the ResourceWarning of one
 * that nobody has ended, as its finalizer. */
int py_site_remember(py_transaction *self, PyObject *loop);
void py_transaction_warn(PyObject *object);
PyObject *py_transaction_new(py_database *database, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
/* Which transaction an operation that is created now belongs to.  Sets *scope or *ancestor
 * (new references), or *error (new reference) to what its start will raise.  -1: exception. */
int py_transaction_scope(py_database *database, py_transaction **scope,
                         py_transaction **ancestor, PyObject **error);
/* The handle to run on in `engine`; NULL with TransactionClosed or WrongLoop. */
orm_engine *py_transaction_handle(py_transaction *self, py_engine *engine);
/* Its engine is going away: rolls back and closes it. */
void py_transaction_abandon(py_transaction *self);
/* True when the operation would wait for the writer that a transaction it was detached from
 * holds: that one may be waiting for this very operation. */
bool py_transaction_blocks(const py_operation *operation);

/* ---- queryset.c -------------------------------------------------------------------------- */
typedef struct py_queryset {
    PyObject_HEAD
    PyObject *dict, *weakrefs;
    py_model *model;
    PyObject *model_class;            /* strong */
    orm_query *query;                 /* owned */
    PyObject *rows;                   /* list kept by the blocking forms, or NULL */
    PyObject *given;                  /* dict: what rows that it creates have unless they say
                                         otherwise (the other end of a foreign key); or NULL */
} py_queryset;
/* The next queryset, of the same type; takes `query`; a failed query raises. */
PyObject *py_queryset_derive(py_queryset *self, orm_query *query);
/* The list of the blocking forms; borrowed. */
PyObject *py_queryset_rows(py_queryset *self);

/* ---- keywords.c -------------------------------------------------------------------------- */
/* Resolved paths of a call's keyword names: remembered for the names' tuple, which belongs to
 * the call site.  *owned: release with PyMem_Free. */
int py_keywords_resolve(py_model *model, PyObject *kwnames, int accept, const orm_path **paths,
                        bool *owned);
/* query (borrowed) plus the conditions; a new reference; NULL: exception. */
orm_query *py_keywords_filter(py_model *model, orm_query *query, PyObject *const *values,
                              PyObject *kwnames, bool negate);
/* terms.c: query (borrowed) plus an expression, described by a list of tuples. */
orm_query *py_terms_match(py_model *model, orm_query *query, PyObject *items);
/* The items of a dict as names and values for the functions above.  It holds them: validating one
 * value may run code that takes another out of the caller's dict. */
typedef struct py_keyword_args {
    PyObject **values;
    PyObject *names;
} py_keyword_args;
int py_keywords_of_dict(py_keyword_args *self, PyObject *dict);
/* The values of the next dict, after py_keywords_clear; false: its keys are not these objects in
 * this order. */
bool py_keywords_refill(py_keyword_args *self, PyObject *dict);
void py_keywords_clear(py_keyword_args *self); /* the values, not the names */
void py_keywords_dispose(py_keyword_args *self);

/* ---- fetch.c, create.c, raw.c: finishers of a queryset ----------------------------------- */
#define PY_FASTCALL PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames
PyObject *py_queryset_all(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_get(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_first(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_last(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_get_or_none(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_count(PyObject *self, PyObject *unused);
PyObject *py_queryset_exists(PyObject *self, PyObject *unused);
PyObject *py_queryset_iterate(PyObject *self);        /* __aiter__ */
PyObject *py_queryset_create(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_bulk_create(PyObject *self, PyObject *rows);
PyObject *py_queryset_update(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_delete(PyObject *self, PyObject *unused);
PyObject *py_queryset_get_or_create(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_update_or_create(PyObject *self, PY_FASTCALL);
PyObject *py_queryset_raw(PyObject *self, PY_FASTCALL);
/* All rows of `query` (taken). */
py_operation *py_fetch_new(py_model *model, orm_query *query, const char *name);

/* gather.c */
extern PyType_Spec py_gather_spec;
PyObject *py_database_gather(PyObject *self, PyObject *const *args, Py_ssize_t nargs);

PyObject *py_database_execute(PyObject *self, PY_FASTCALL);
PyObject *py_database_fetch_all(PyObject *self, PY_FASTCALL);
PyObject *py_database_fetch_one(PyObject *self, PY_FASTCALL);
PyObject *py_database_fetch_val(PyObject *self, PY_FASTCALL);

/* ---- write.c: what create.c and save.c share ---------------------------------------------- */
/* One valid field value (new reference), or NULL: either *messages {name: text} (made on
 * demand) tells why, or an exception is set. */
PyObject *py_write_validate(py_model *model, py_field *field, PyObject *value,
                            PyObject **messages);
/* Raises ValidationError when there are messages (consumed).  -1: an exception is set. */
int py_write_check(py_model *model, PyObject *messages);
/* A new instance from keyword arguments, complete and valid. */
py_instance *py_write_instance(py_model *model, PyObject *const *values, PyObject *kwnames);
PyObject *py_write_instance_of(py_model *model, PyObject *values); /* the same of a dict */
/* Fills in defaults; what is required and missing is a ValidationError. */
int py_write_complete(py_instance *instance, py_model *model);
/* The values of one INSERT of `instances` (a list or tuple of them). */
int py_write_insert(py_writes *out, py_model *model, PyObject *const *instances, size_t n);
/* Adds one field and its value; `out` has room for it. */
int py_write_add(py_writes *out, py_model *model, size_t field, PyObject *value);
/* create.c: valid values of an UPDATE by field (NULL: not set; free with py_write_values_free),
 * fields that every update touches among them, and the same in `out`. */
PyObject **py_write_update(py_writes *out, py_model *model, PyObject *const *values,
                           PyObject *kwnames);
void py_write_values_free(PyObject **values, size_t n);
/* The query of the instance's own row.  NULL: exception (its key is not set). */
orm_query *py_write_row(py_instance *instance, py_model *model);
/* The values belong to the core now: fields, how many, values: arguments of orm_insert & co. */
orm_value *py_writes_take(py_writes *self);
#endif
