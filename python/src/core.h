/* core.h - the rooms of the extension module orm._core, and what they lend each other.
 *
 * The extension sees only include/orm.  Python decides what a model *means* (python/orm), this
 * module makes it fast: instances with fixed slots, validation, values in and out, querysets,
 * awaitable operations, one engine per event loop.
 *
 *   module.c     module state, imports, constants
 *   errors.c     orm_error -> the exceptions of orm.exceptions
 *   model.c      ModelType, the metaclass: layout, class attributes, the class's own state
 *   instance.c   Instance, the base of every model: slots, dirty bits, sparse
 *   face.c       how an instance looks: repr, equality, mapping, pickle, methods
 *   reference.c  the descriptor of a foreign key
 *   field.c      a field's compiled form, read from the Python Field object once
 *   coerce.c     any value -> a field's Python type; temporal.c: dates, times, and their text
 *   validate.c   the rules of a field (encode/orm's texts)
 *   convert.c    Python object -> orm_value; argument.c: what filters accept beyond that
 *   cells.c      orm_cell -> Python object
 *   sink.c       the model sink: rows -> instances
 *   queryset.c   QuerySet: immutable steps, slices, blocking forms
 *   keywords.c   keyword arguments -> resolved paths -> conditions, remembered per call site
 *   terms.c      expressions, as orm.clauses describes them -> a step of the query
 *   fetch.c      the finishers that read: all get first last count exists, async iteration
 *   create.c     create, bulk_create, get_or_create, update_or_create, update, delete
 *   group.c      the rows of one result: no N + 1
 *   holders.c    who holds the connections, for errors that say so
 *   hooks.c      callbacks, and the handles that take them back
 *   save.c       operations on instances: save, update, delete, load, refresh
 *   raw.c        SQL of the caller's own
 *   operation.c  Operation: an orm_op that is a coroutine
 *   pending.c    its face towards asyncio while it waits; blocking.c: without asyncio
 *   engine.c     one orm_engine per running loop, and per thread for blocking forms
 *   database.c   Database: one orm_db
 *   transaction.c Transaction: task contract, savepoints; forgotten.c: those nobody ended
 *
 * Names: py_<noun>_<verb>.  Functions that return PyObject * or int follow CPython's habits
 * (NULL / -1 with an exception set).  Every function needs the GIL.
 */
#ifndef ORM_PY_CORE_H
#define ORM_PY_CORE_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <orm/orm.h>
#include "compat.h"

typedef struct py_model py_model;
typedef struct py_field py_field;
typedef struct py_database py_database;
typedef struct py_transaction py_transaction;

/* ---- module.c ---- one per module object; types are heap types made from specs */
typedef struct py_state {
    PyTypeObject *model_type;         /* the metaclass orm._core.ModelType */
    PyTypeObject *instance_type;      /* orm._core.Instance */
    PyTypeObject *sparse_type;        /* what hidden subclasses add: an attribute error that helps */
    PyTypeObject *reference_type;     /* descriptor of foreign keys */
    PyTypeObject *schema_type, *queryset_type, *operation_type, *database_type,
        *transaction_type, *iterator_type;
    PyObject *exceptions[64];         /* by -status; strong references to classes */
    PyObject *validation_error;
    /* interned names and imported objects are added by the rooms that use them */
    struct py_names *names;
    struct py_imports *imports;
    struct py_ops *ops;               /* ops.h */
} py_state;
extern struct PyModuleDef py_module_def;
py_state *py_state_of_type(PyTypeObject *type); /* any heap type of the module, or a subclass */

/* ---- errors.c ---- */
/* Raises the exception of err->status with all attributes; `sql` may be NULL.  Returns NULL. */
PyObject *py_error_raise(py_state *state, const orm_error *err, const char *sql, size_t sql_len);
/* The same with a text behind the message, or NULL. */
PyObject *py_error_raise_more(py_state *state, const orm_error *err, PyObject *more,
                              const char *sql, size_t sql_len);
/* Raises one of our exceptions with a formatted message (PyUnicode_FromFormat).  Returns NULL. */
PyObject *py_error_format(py_state *state, orm_status status, const char *format, ...);
/* ValidationError of {field: message}; takes nothing.  Returns NULL. */
PyObject *py_error_validation(py_state *state, PyObject *messages /* dict */);

/* ---- field.c ---- */
struct py_field {
    PyObject *object;                 /* the Python Field (strong) */
    PyObject *name;                   /* interned str; NULL in the item of an array */
    py_model *model;                  /* borrowed: whose field it is; NULL in items */
    uint16_t index;                   /* in the model */
    uint8_t type;                     /* orm_type as declared (REF for foreign keys) */
    bool primary_key, nullable, has_default, default_is_callable, default_is_mutable;
    bool is_reference, auto_now, auto_now_add;
    bool read_only;                   /* create() and update() take no value for it */
    bool calls_python;                /* its decoder runs Python code (after the statement) */
    PyObject *default_value;
    PyObject *encode, *decode;        /* custom column types: to and from what is stored; or NULL */
    PyObject *target;                 /* references: the model class once known (strong), else NULL */
    struct py_rules *rules;           /* validate.c: limits, pattern, choices, callables */
};

/* ---- model.c ---- the state of a model class; lives as long as the class */
struct py_model {
    py_state *state;
    PyTypeObject *type;               /* borrowed: the class owns this */
    PyTypeObject *sparse;             /* hidden subclass for sparse and deferred instances; NULL
                                         until the first one is made */
    const orm_model *model;           /* a reference is held; NULL for abstract classes */
    Py_ssize_t n_fields;
    py_field *fields;
    int key;                          /* index of the only key field, -1 when composite */
    bool calls_init;                  /* overrides __init__ or __setattr__: built by calling */
    bool registry_style;              /* encode/orm 0.2's face: str, repr, NULL keys, equality */
    bool loads_filtered;              /* ORM_QUERY_LOAD_FILTERED */
    struct py_keywords *keywords;     /* queryset.c: kwnames tuple -> resolved paths */
    orm_query *root;                  /* queryset.c: the query of `objects` */
    PyObject *objects;                /* strong: the type of `objects`, or what binds it; NULL: QuerySet */
    py_database *database;            /* strong, once resolved */
    PyObject *index;                  /* dict: name -> position in fields */
    PyMemberDef *members;             /* behind the member descriptors of the fields */
    orm_schema *schema;               /* a reference is held */
    bool sealed;                      /* the targets of all references are known */
    uint8_t reaches_python;           /* 1: no decoder of it or of a model it can be joined with
                                         runs Python code, 2: one does, 0: not asked yet */
};
py_model *py_model_of(PyTypeObject *type);            /* NULL without exception if none */
/* The model's Database: calls orm.database.resolve(cls) once.  Borrowed; ConfigurationError when
 * the model has none. */
py_database *py_model_database(py_model *model);
/* Resolves string targets and seals the core model; cheap after the first time.  -1: error. */
int py_model_seal(py_model *model);
int py_model_find_field(py_model *model, PyObject *name); /* -1, no exception */
/* The schema inside a _core.Schema; borrowed.  NULL with TypeError when it is none. */
orm_schema *py_schema_get(py_state *state, PyObject *object);

/* ---- instance.c ---- */
typedef struct py_instance {
    PyObject_VAR_HEAD
    PyObject *dict;                   /* extra attributes, made on demand */
    PyObject *weakrefs;
    uint64_t dirty;                   /* bit i: field i was set since load or save (i >= 63: bit 63) */
    uint32_t flags;                   /* PY_INSTANCE_… */
    uint32_t place;                   /* in the group: its own, or its parent's field */
    struct py_group *group;           /* group.c: the result it came with; or NULL */
    PyObject *values[];               /* NULL: not set (sparse, deferred) */
} py_instance;
enum {
    PY_INSTANCE_SAVED = 1,            /* a row of it is known to exist */
    PY_INSTANCE_CHILD = 2,            /* a related object of one of the group's members */
    PY_INSTANCE_FRESH = 4,            /* loaded beside another one that was asked for */
    PY_INSTANCE_SEEN = 8              /* group.c, while it looks through a result */
};
/* A bare instance: values all NULL, not tracked by the collector; `sparse`: of the hidden type. */
py_instance *py_instance_new(py_model *model, bool sparse);
void py_instance_track(py_instance *self);            /* idempotent; after storing GC objects */
/* The related object of a reference field, building the sparse one when only its key is known.
 * New reference (None for NULL). */
PyObject *py_instance_reference(py_instance *self, py_model *model, Py_ssize_t field);
/* The key (a tuple for composite keys); new reference; NULL with AttributeError when unset. */
PyObject *py_instance_key(py_instance *self, py_model *model);
/* After insert: stores the generated integer key if the key is unset, marks saved and clean. */
int py_instance_saved(py_instance *self, py_model *model, int64_t generated);
/* Copies every set value of `row` into self and makes self complete (load, refresh). */
int py_instance_assign(py_instance *self, py_model *model, py_instance *row);

/* ---- validate.c ---- */
/* The validated value (new reference), or NULL with *message set to a new str (the text of the
 * rule that failed) and no exception; NULL and *message NULL: an exception is set. */
PyObject *py_field_validate(py_state *state, py_field *field, PyObject *value, PyObject **message);
/* The field's default (called, copied), new reference; NULL: error. */
PyObject *py_field_default(py_state *state, py_field *field);

/* ---- convert.c ---- */
/* A validated Python object -> value for that field's column.  The value borrows the object's
 * memory and holds a reference that its release function drops.  -1: DataError. */
int py_value_of_field(py_state *state, py_model *model, py_field *field, PyObject *object,
                      orm_value *out);
/* A filter argument for a resolved path and lookup: also lists, model instances (their key),
 * querysets (subquery), enum members, ranges.  -1: DataError, FieldError, ValueError. */
int py_value_of_path(py_state *state, const orm_path *path, PyObject *object, orm_value *out);
/* Any Python object by its own type: raw SQL parameters. */
int py_value_of_object(py_state *state, PyObject *object, orm_value *out);
/* A cell of a column -> Python object (new reference); field NULL: by the cell's kind. */
PyObject *py_cell_object(py_state *state, const orm_column *column, py_field *field,
                         const orm_cell *cell);

/* ---- sink.c ---- lives inside its Operation */
typedef struct py_sink {
    orm_sink base;
    py_state *state;
    py_model *model;                  /* NULL: rows are tuples (raw without model) */
    PyObject *rows;                   /* list; or NULL with `single` */
    PyObject *one;                    /* the only row when single */
    bool single;                      /* at most one row is kept (get, first, last) */
    size_t count;
    const orm_layout *layout;
    struct py_sink_node *nodes;       /* per node: model, identity map */
    uint32_t n_nodes;
    PyObject *error_type, *error_value, *error_traceback; /* a Python error inside row() */
} py_sink;
int py_sink_init(py_sink *sink, py_state *state, py_model *model, bool single);
void py_sink_dispose(py_sink *sink);
/* The result: list, or the one instance (NULL without exception when there is none).  New ref. */
PyObject *py_sink_take(py_sink *sink);

/* ---- queryset.c ---- */
PyObject *py_queryset_new(py_model *model, PyTypeObject *type /* NULL: QuerySet */);
PyObject *py_queryset_objects(py_model *model);       /* what `objects` is */
orm_query *py_queryset_query(PyObject *queryset);     /* borrowed */
bool py_queryset_check(py_state *state, PyObject *object);

/* ---- group.c ---- the rows of one result */
/* `child` is the sparse object of parent's reference `field`; parent has a group. */
void py_group_adopt(py_instance *parent, py_instance *child, Py_ssize_t field);
void py_group_leave(py_instance *self);               /* before it goes; also without a group */

/* ---- operation.c ---- the struct is in ops.h: only the rooms of operations look inside */
typedef struct py_operation py_operation;
/* save.c: operations on instances, for instance.c's methods (new references). */
PyObject *py_instance_save(py_instance *self, py_model *model);
PyObject *py_instance_update(py_instance *self, py_model *model, PyObject *kwargs);
PyObject *py_instance_delete(py_instance *self, py_model *model);
PyObject *py_instance_load(py_instance *self, py_model *model);
PyObject *py_instance_refresh(py_instance *self, py_model *model); /* always asks the database */

/* ---- ops.h ---- the operations' part of the module state: module.c calls these */
int py_ops_init(PyObject *module, py_state *state);   /* after the types exist; -1: exception */
int py_ops_traverse(py_state *state, visitproc visit, void *arg);
void py_ops_free(py_state *state);                    /* from m_free, not from m_clear */
/* Frees model->keywords and model->root when the class goes. */
void py_model_drop_queries(py_model *model);

/* ---- the types' specs ---- */
extern PyType_Spec py_model_type_spec, py_instance_spec, py_reference_spec, py_schema_spec,
    py_queryset_spec, py_operation_spec, py_database_spec, py_transaction_spec, py_iterator_spec;
#endif
